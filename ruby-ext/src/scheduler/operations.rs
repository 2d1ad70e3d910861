//! Operations of the kernel's, from a fiber that waits for their ends.

use std::{cell::RefMut, time::Duration};

use magnus::{Error, Value};
use polyphony_core::{
    op::{Op, Outcome},
    time::Time,
};

use super::{Scheduler, waking::wake};
use crate::{
    errors,
    io::Litter,
    roots::{Keep, Name, Roots},
};

/// How an operation ended: what the kernel said, and what somebody scheduled meanwhile.
pub(crate) struct Performed {
    pub(crate) outcome: Outcome,
    pub(crate) woken: Option<Woken>,
}

impl Performed {
    /// What the kernel did without a wait.
    pub(crate) fn at_once(result: i32) -> Self {
        Performed { outcome: Outcome::last(result), woken: None }
    }
}

/// What a fiber was resumed with, besides completions.
pub(crate) enum Woken {
    Value(Value),
    Error(Error),
}

impl Woken {
    /// The value, or the exception raised.
    pub(crate) fn deliver(self) -> Result<Value, Error> {
        match self {
            Woken::Value(value) => Ok(value),
            Woken::Error(error) => Err(error),
        }
    }
}

/// From so many bytes on a write takes longer than what it costs to have the ring do it.
const MOST_IN_PLACE: usize = 64 * 1024;
/// What a small write counts as: the call costs as much as copying this.
const LEAST_IN_PLACE: usize = 1024;
/// So much is written in place before a write goes through the ring.
const PAUSE_IN_PLACE: usize = 128 * 1024;

impl Scheduler {
    /// Performs an operation: parks until its last completion, whatever happens meanwhile.
    ///
    /// What somebody schedules cancels the operation and is handed over with its outcome. A later
    /// exception replaces an earlier one and takes it as its cause; none ends the wait.
    pub(crate) fn perform(&self, op: Op, keep: impl FnOnce(&Roots) -> Keep) -> Performed {
        self.perform_until(op, keep, None)
    }

    /// [`perform`](Self::perform) with a limit: at the deadline the operation is cancelled.
    pub(crate) fn perform_until(
        &self,
        op: Op,
        keep: impl FnOnce(&Roots) -> Keep,
        limit: Option<Duration>,
    ) -> Performed {
        let me = self.me();
        self.straight.set(0);
        let key = self.with(|shard| {
            let keep = keep(shard.host());
            if let Some(record) = shard.host_mut().record(me.name) {
                record.since = Time::recent();
            }
            shard.submit(me.name, op, keep)
        });
        let timer = limit.map(|span| self.arm(me.name, self.deadline(span)));
        let mut woken = None;
        let outcome = loop {
            let parked = self.park(me.name);
            if matches!(woken, Some(Woken::Error(_))) {
                self.with(|shard| shard.host_mut().put_off(me.name));
            }
            let rested = parked.map_or_else(|error| Some(Woken::Error(error)), |()| self.take(me.name));
            woken = later(woken, rested);
            let outcome = self.with(|shard| {
                let record = shard.host_mut().record(me.name).expect("a parked fiber has a record");
                let late = timer.is_some() && record.alarm.is_none();
                let outcome = record.outcomes.take(key);
                if outcome.is_none() && (woken.is_some() || late) {
                    shard.cancel(key);
                }
                outcome
            });
            if let Some(outcome) = outcome {
                break outcome;
            }
        };
        if let Some(timer) = timer {
            self.forget_alarm(me.name, timer);
        }
        self.bring_late(me.name);
        self.done(me);
        Performed { outcome, woken }
    }

    /// Performs operations that wait for the same thing until one of them has ended or the time is up, then
    /// cancels the others and waits for their ends: whether one ended by itself, and what was scheduled.
    pub(crate) fn perform_any(&self, ops: &[Op], limit: Option<Duration>) -> (bool, Option<Woken>) {
        let me = self.me();
        let keys: Vec<_> =
            self.with(|shard| ops.iter().map(|op| shard.submit(me.name, *op, Keep::Nothing)).collect());
        let timer = limit.map(|span| self.arm(me.name, self.deadline(span)));
        let (mut woken, mut left, mut ended, mut over) = (None, keys.len(), false, false);
        loop {
            let rested = self.rest(me.name).unwrap_or_else(|error| Some(Woken::Error(error)));
            woken = later(woken, rested);
            self.with(|shard| {
                let record = shard.host_mut().record(me.name).expect("a parked fiber has a record");
                let late = timer.is_some() && record.alarm.is_none();
                while let Some(outcome) = keys.iter().find_map(|key| record.outcomes.take(*key)) {
                    left -= 1;
                    ended |= !outcome.is_cancelled();
                }
                if !over && (ended || late || woken.is_some()) {
                    over = true;
                    keys.iter().for_each(|key| shard.cancel(*key));
                }
            });
            if over && left == 0 {
                break;
            }
        }
        if let Some(timer) = timer {
            self.forget_alarm(me.name, timer);
        }
        self.done(me);
        (ended, woken)
    }

    /// Waits for the turn to write to a descriptor; whoever gets it ends it.
    pub(crate) fn begin_writing(&self, fd: i32) -> Result<(), Error> {
        while !self.turns.borrow_mut().begin(fd) {
            let me = self.me();
            self.turns.borrow_mut().wait(fd, me.name);
            let rested = self.hold(me.name, |_| true);
            self.turns.borrow_mut().leave(fd, me.name);
            self.done(me);
            if let Err(error) = rested {
                self.wake(self.turns.borrow_mut().next(fd));
                return Err(error);
            }
        }
        Ok(())
    }

    /// Ends the turn, also of a fiber that nobody will hear of again: its descriptor is closed.
    pub(crate) fn end_writing(&self, fd: i32) {
        self.wake(self.turns.borrow_mut().end(fd));
    }

    /// Whether a transfer may be tried before it is left to the ring. Not where others wait on the descriptor, for
    /// they came first; not where something was scheduled for the fiber, for that ends its next wait, or a timeout is on
    /// its way there; and not too often in a row, for others want a turn.
    pub(crate) fn goes_straight(&self, fd: i32) -> bool {
        let before = self.straight.get();
        let running = self.running.get();
        // SAFETY: called with the GVL, from a fiber.
        let fiber = unsafe { rb_sys::rb_fiber_current() };
        let may = before < STRAIGHT
            && self.sent.get().is_none()
            && self.with(|shard| {
                let record = shard.host_mut().record(running);
                let undisturbed =
                    record.is_some_and(|record| record.fiber == fiber && record.scheduled.is_none());
                undisturbed && shard.in_flight_on(fd) == 0
            });
        self.straight.set(before + u32::from(may));
        may
    }

    /// Whether so many bytes may be written to a file's place in the page cache at once. Now and then they may not:
    /// a fiber that writes small pieces for a long time lets others run, and a slow disk is waited for elsewhere.
    pub(crate) fn may_write_in_place(&self, len: usize) -> bool {
        let written = self.in_place.get() + len.max(LEAST_IN_PLACE);
        let may = len < MOST_IN_PLACE && written <= PAUSE_IN_PLACE;
        self.in_place.set(if may { written } else { 0 });
        may
    }

    /// Whether a write is under way.
    pub(crate) fn is_writing(&self, fd: i32) -> bool {
        self.turns.borrow().is_busy(fd)
    }

    /// One fiber more waits for another thread of Ruby's, or one less.
    pub(crate) fn waits_elsewhere(&self, more: isize) {
        self.elsewhere.set(self.elsewhere.get().saturating_add_signed(more));
    }

    /// How large the next piece from a descriptor may be, where it is large.
    pub(crate) fn expected_piece(&self, fd: i32) -> Option<u32> {
        self.flow.borrow().expected(fd)
    }

    /// A piece came from a descriptor.
    pub(crate) fn brought(&self, fd: i32, len: u32) {
        self.flow.borrow_mut().brought(fd, len);
    }

    /// What readers were given and have dropped by now, most likely. Held for no call of Ruby's.
    pub(crate) fn litter(&self) -> RefMut<'_, Litter> {
        self.litter.borrow_mut()
    }

    pub(super) fn wake(&self, fiber: Option<Name>) {
        let Some(fiber) = fiber else { return };
        self.with(|shard| wake(shard, fiber));
    }

    /// How many operations wait on a descriptor.
    pub(crate) fn in_flight_on(&self, fd: i32) -> usize {
        self.with(|shard| shard.in_flight_on(fd))
    }

    /// The fibers that wait on a descriptor.
    pub(crate) fn waiting_on(&self, fd: i32) -> Vec<Name> {
        self.with(|shard| shard.waiting_on(fd).collect())
    }

    /// Recycles a buffer after its bytes have been copied by `copy`, which may call Ruby.
    pub(crate) fn consume<R>(&self, outcome: Outcome, copy: impl FnOnce(&[u8]) -> R) -> Option<R> {
        let id = outcome.buffer?;
        let len = usize::try_from(outcome.result).unwrap_or(0);
        // The borrow ends before `copy` runs, for that may call Ruby. The bytes stay: the buffer is ours
        // until it is recycled.
        let (start, len) = self.with(|shard| {
            let bytes = shard.buffer(id, len);
            (bytes.as_ptr(), bytes.len())
        });
        // SAFETY: as said; the backend's memory moves only if the shard is replaced, which a fork does,
        // and no fork happens in `copy`.
        let copied = copy(unsafe { std::slice::from_raw_parts(start, len) });
        self.with(|shard| shard.recycle(id));
        Some(copied)
    }
}

/// How many transfers in a row are tried before the ring is asked, which lets others run.
const STRAIGHT: u32 = 8;

/// The last scheduled thing wins, but an exception yields to an exception only, which remembers it.
pub(super) fn later(earlier: Option<Woken>, now: Option<Woken>) -> Option<Woken> {
    match (earlier, now) {
        (Some(Woken::Error(first)), Some(Woken::Error(second))) => {
            errors::set_cause(&second, &first);
            Some(Woken::Error(second))
        }
        (Some(Woken::Error(first)), _) => Some(Woken::Error(first)),
        (earlier, now) => now.or(earlier),
    }
}
