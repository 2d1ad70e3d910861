//! The timeouts of fibers that compute: as long as one does not give its thread away, nobody looks at timers there.
//!
//! `Timeout.timeout` ends a loop that never waits, in stock Ruby by `Thread#raise` from a thread that sleeps until
//! then. So one thread of the process looks for timeouts that are over and whose fiber has its thread all the same,
//! and raises in that thread what the timer would have raised.
//!
//! Such an exception is heard by whatever runs in the thread when Ruby looks next, and must be heard by that fiber in
//! that block only. While it is on its way the scheduler knows of it ([`Sent`]): who parks, or leaves the block, hears
//! of it there and then, and what is heard in the middle of a switch becomes what the timer would have done.

use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    time::Duration,
};

use magnus::{
    Error, RArray, RModule, Value,
    error::ErrorType,
    prelude::*,
    rb_sys::{AsRawValue, FromRawValue},
};
use polyphony_core::{time::Time, timers::TimerKey};
use rb_sys::VALUE;

use super::{Scheduler, native_thread, of_other, ruby};
use crate::{
    fork,
    roots::{Depth, Name, Scheduled},
};

/// A timeout of a block that is to end also where it computes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watched {
    pub(crate) fiber: Name,
    pub(crate) due: Time,
}

/// A timeout that was raised in the thread, and of which its fiber may not have heard yet.
#[derive(Clone, Copy)]
pub(super) struct Sent {
    fiber: Name,
    marker: VALUE,
    depth: Depth,
}

impl Sent {
    pub(super) fn marker(&self) -> VALUE {
        self.marker
    }
}

/// Where a fiber was that had its thread although its time was up, when that was seen first.
#[derive(Clone, Copy)]
pub(super) struct Stretch {
    timer: TimerKey,
    since: Time,
    /// How many switches there had been, and transfers without one.
    switches: u64,
    straight: u32,
    /// What the thread had used of the processor.
    used: Duration,
}

/// What a thread uses of the processor before its fiber is taken to compute: more than a wait's result takes on its way.
const ENOUGH: Duration = Duration::from_millis(1);

/// How long a thread is seen in a call without Ruby's lock before it is taken to wait there: one that has got what it
/// called for, and no processor or no lock since, looks the same.
const STAYS: Duration = Duration::from_millis(50);

/// How late such a timeout may be: the timer is nearly always faster, and needs no exception between threads.
const GRACE: Duration = Duration::from_millis(5);

/// How long the thread sleeps at most: it may miss that it is woken in the moment in which it begins to.
const REST: Duration = Duration::from_secs(1);

/// When the thread looks next, in nanoseconds; [`NEVER`] where it has ended.
static LOOKS_AT: AtomicU64 = AtomicU64::new(NEVER);

const NEVER: u64 = u64::MAX;

/// How many forks ago the thread began: in the child of one it is not there.
static PROCESS: AtomicU32 = AtomicU32::new(0);

/// Sees to it that somebody looks when this time has come.
#[inline]
pub(super) fn look_at(due: Time, now: Time) -> Result<(), Error> {
    let looks_at = Time(LOOKS_AT.load(Ordering::Relaxed));
    // A thread that should have looked long ago was killed.
    let is_gone = looks_at == Time(NEVER)
        || now > looks_at + REST
        || PROCESS.load(Ordering::Relaxed) != fork::generation();
    if is_gone || due < looks_at { call_for(due, is_gone) } else { Ok(()) }
}

#[cold]
fn call_for(due: Time, anew: bool) -> Result<(), Error> {
    // First: should the thread get its turn now, what it says itself is newer.
    let before = LOOKS_AT.swap(due.0, Ordering::Relaxed);
    let process = PROCESS.swap(fork::generation(), Ordering::Relaxed);
    if !overdue()?.funcall("look", (anew,))? {
        LOOKS_AT.store(before, Ordering::Relaxed);
        PROCESS.store(process, Ordering::Relaxed);
    }
    Ok(())
}

fn overdue() -> Result<RModule, Error> {
    ruby().class_object().const_get::<_, RModule>("Polyphony")?.const_get("Overdue")
}

/// Raises in every thread whose running fiber's time is up, by the method of Ruby's own that is given. For how many
/// seconds there is nothing to do then; nil where no timeout is left to be looked at and the thread is to end.
///
/// Nothing of ours lets another thread run, from the look to the raise, but Ruby may in the raise itself: who then
/// hears of nothing waits for this to end (`Overdue.heard?`).
pub(crate) fn interrupt_overdue(raise: Value, may_end: bool) -> Result<Option<f64>, Error> {
    let now = Time::monotonic();
    let mut next = None;
    // Not the list of schedulers: the collector may free those whose threads end while Ruby is called here.
    let threads: RArray = ruby().class_thread().funcall("list", ())?;
    for thread in threads {
        let look = interrupt_where_overdue(thread, raise, now)?;
        next = next.into_iter().chain(look).min();
    }
    let ends = next.is_none() && may_end;
    let rest = next.map_or(REST, |next| next.since(now).min(REST));
    LOOKS_AT.store(if ends { NEVER } else { (now + rest).0 }, Ordering::Relaxed);
    Ok((!ends).then_some(rest.as_secs_f64()))
}

/// Does so in one thread. When to look there again, where there is something to look at.
fn interrupt_where_overdue(thread: Value, raise: Value, now: Time) -> Result<Option<Time>, Error> {
    let Some(scheduler) = of_other(thread) else { return Ok(None) };
    // In a call that waits without Ruby's lock, and is no wait of ours.
    let stops = !scheduler.blocked.get() && thread.funcall("stop?", ())?;
    // Once more, for Ruby was called.
    let Some(scheduler) = of_other(thread) else { return Ok(None) };
    let mut next = None;
    let seen = scheduler.stretches.take();
    let watched: Vec<_> = scheduler.with_open(Vec::new(), |shard| shard.host().watched().collect());
    for (timer, watched, marker, depth) in watched {
        let look = watched.due + GRACE;
        if watched.due <= now && scheduler.has_thread(watched.fiber, depth) {
            let (stretch, used) = scheduler.stretch(timer, now, &seen);
            let stays = stops && now >= stretch.since + STAYS;
            if look <= now && (stays || used >= ENOUGH) {
                scheduler.send(timer, Sent { fiber: watched.fiber, marker, depth }, raise)?;
                // Ruby was called, and one at a time is enough.
                return Ok(Some(now + GRACE));
            }
            scheduler.stretches.borrow_mut().push(stretch);
        }
        // In the kernel, or not its turn: its timer is about to be looked at.
        let look = look.max(now + GRACE);
        next = Some(next.map_or(look, |next: Time| next.min(look)));
    }
    Ok(next)
}

impl Scheduler {
    /// The running fiber is about to take something, or has given it to its caller. No timeout comes in between, also where
    /// the collector makes it look as if the fiber computed.
    pub(crate) fn takes_something(&self, takes: bool) {
        self.takes.set(takes);
    }

    /// Whether the fiber has its thread, and no shield keeps off what is raised in it.
    fn has_thread(&self, fiber: Name, depth: Depth) -> bool {
        self.running.get() == fiber
            && !self.interrupted.get()
            && !self.takes.get()
            && !self.blocked.get()
            && self.sent.get().is_none()
            && self.with_open(false, |shard| shard.host_mut().depth(fiber) <= depth)
    }

    /// Since when the fiber has done nothing but compute, as far as that was seen, and how much since.
    fn stretch(&self, timer: TimerKey, since: Time, seen: &[Stretch]) -> (Stretch, Duration) {
        let switches = self.with_open(0, |shard| shard.stats().switches);
        let used = native_thread::used(self.clock.get());
        let now = Stretch { timer, since, switches, straight: self.straight.get(), used };
        let is_same = |earlier: &&Stretch| {
            (earlier.timer, earlier.switches, earlier.straight) == (timer, switches, now.straight)
        };
        let first = seen.iter().find(is_same).copied().unwrap_or(now);
        (first, used.saturating_sub(first.used))
    }

    fn send(&self, timer: TimerKey, sent: Sent, raise: Value) -> Result<(), Error> {
        self.with_open((), |shard| {
            shard.host_mut().clear_alarm(timer);
            shard.disarm(timer);
        });
        self.sent.set(Some(sent));
        // SAFETY: both are marked by the scheduler, which is alive.
        let (thread, marker) = unsafe { (Value::from_raw(self.thread), Value::from_raw(sent.marker)) };
        raise.funcall::<_, _, Value>("bind_call", (thread, marker)).map(drop)
    }

    /// A fiber is about to park: if its timeout is on its way, it is raised where the fiber waits.
    #[cold]
    pub(super) fn hear_of_sent(&self) -> Result<(), Error> {
        let Some(sent) = self.sent.take() else { return Ok(()) };
        if self.hear()? {
            self.put_back(sent);
        }
        Ok(())
    }

    /// A block is left: if its timeout is on its way, it must not be heard anywhere else.
    pub(crate) fn forget_sent(&self, marker: Value) -> Result<(), Error> {
        if self.sent.get().is_some_and(|sent| sent.marker == marker.as_raw()) {
            self.sent.set(None);
            self.hear()?;
        }
        Ok(())
    }

    /// Hears of a timeout that is on its way, whatever the program masks.
    fn hear(&self) -> Result<bool, Error> {
        overdue()?.funcall("heard?", ())
    }

    /// Whether an exception that came to the thread in the middle of a switch is a timeout on its way. Its fiber
    /// finds it there.
    pub(super) fn takes_sent(&self, error: &Error) -> bool {
        let Some(sent) = self.sent.get() else { return false };
        let ErrorType::Exception(exception) = error.error_type() else { return false };
        let is_sent = exception.as_raw() == sent.marker;
        if is_sent {
            self.sent.set(None);
            self.put_back(sent);
        }
        is_sent
    }

    fn put_back(&self, sent: Sent) {
        let scheduled = Scheduled { value: sent.marker, raises: true, timeout: Some(sent.depth) };
        self.with(|shard| {
            if let Some(fiber) = shard.host_mut().deliver(sent.fiber, scheduled, sent.depth) {
                shard.ready_first(fiber);
            }
        });
    }
}
