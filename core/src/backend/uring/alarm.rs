//! The alarm: one timeout in the kernel's hands, for a deadline that is some time away.
//!
//! Most deadlines never come: what they are for ends first. A wait that brings one along makes the kernel
//! read it, and start and stop a timer where the thread sleeps; and each turn has to look at the clock to
//! see whether it has passed. So a deadline that is far is given to the kernel once, as an operation.
//! While that is in flight, waits for this deadline or later ones bring none along, and nobody looks at
//! the clock: as long as the alarm has not rung, its time has not come.
//!
//! ```text
//! deadline   ──────5 s────6 s────7 s──▶   each disarmed in time, and the next one armed
//! the alarm        5 s ─────────────▶ rings once, perhaps for nothing; the next wait sets it anew
//! ```
//!
//! Nobody stops an alarm. An earlier deadline moves it; a near one goes with the wait, for an entry and a
//! completion of its own cost more than that.

use std::time::Duration;

use io_uring::{
    opcode::{Timeout, TimeoutUpdate},
    squeue,
    types::{TimeoutFlags, Timespec},
};

use super::{ALARM, CANCEL};
use crate::time::Time;

/// How far a deadline is away for which the alarm is set; more than the recent time is behind.
const FAR: Duration = Duration::from_millis(20);

/// The alarm of a ring.
#[derive(Debug)]
pub(super) struct Alarm {
    /// Whether the kernel says by a flag that it rings, also to a thread that makes no system calls.
    usable: bool,
    /// For when it is set, if it is.
    set: Option<Time>,
    /// The same for the kernel, which reads it with the entry.
    at: Box<Timespec>,
}

impl Alarm {
    pub(super) fn new(usable: bool) -> Self {
        Alarm { usable, set: None, at: Box::new(Timespec::new()) }
    }

    /// Whether it rings before `deadline` or then: not before this it has passed.
    #[inline]
    pub(super) fn covers(&self, deadline: Time) -> bool {
        self.set.is_some_and(|set| set <= deadline)
    }

    /// Whether it is in the kernel's hands.
    #[inline]
    pub(super) fn is_set(&self) -> bool {
        self.set.is_some()
    }

    pub(super) fn is_worth_setting(&self, deadline: Time) -> bool {
        self.usable && deadline > Time::recent() + FAR
    }

    /// Sets it, or moves it. The entry must get into the queue.
    pub(super) fn set(&mut self, deadline: Time) -> squeue::Entry {
        // An older entry that the kernel has not read yet then sets it for this deadline as well.
        *self.at = Timespec::new().sec(deadline.0 / 1_000_000_000).nsec((deadline.0 % 1_000_000_000) as u32);
        match self.set.replace(deadline) {
            None => Timeout::new(&*self.at).flags(TimeoutFlags::ABS).build().user_data(ALARM),
            // It may have rung meanwhile. Then this fails, and the completion that says so is on its way.
            Some(_) => {
                TimeoutUpdate::new(ALARM, &*self.at).flags(TimeoutFlags::ABS).build().user_data(CANCEL)
            }
        }
    }

    /// Its completion has come.
    pub(super) fn rang(&mut self) {
        self.set = None;
    }
}
