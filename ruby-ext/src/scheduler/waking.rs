//! What others do to a fiber: schedule it, raise in it, hold it up, shield it.
//!
//! Any thread that has the GVL of the Ractor may come here; what is for another thread's fiber goes through that
//! thread's inbox.

use std::time::Duration;

use magnus::{
    Error, Exception, Value,
    prelude::*,
    rb_sys::{AsRawValue, FromRawValue},
};
use polyphony_core::{run_queue::RunQueue, timers::TimerKey};

use super::{
    RubyShard, Scheduler, Watched, overdue, ruby,
    variables::{Early, SCHEDULED, owner_id, schedule_early},
};
use crate::roots::{self, Name, Scheduled};

impl Scheduler {
    /// Wakes a fiber of this thread from its wait in a line; false where that wait is over.
    #[inline]
    pub(crate) fn call_local(&self, name: Name, ticket: u64) -> bool {
        self.with(|shard| {
            let called = shard.host_mut().call(name, ticket);
            if called {
                wake(shard, name);
            }
            called
        })
    }

    /// [`call_local`](Self::call_local) from whichever thread has the GVL.
    pub(crate) fn call(&self, name: Name, ticket: u64) -> bool {
        if self.is_local() {
            return self.call_local(name, ticket);
        }
        self.with_open(false, |shard| {
            let called = shard.host_mut().call(name, ticket);
            if called {
                shard.inbox().push(name);
            }
            called
        })
    }

    /// Whether the fiber is in that wait still.
    pub(crate) fn awaits(&self, name: Name, ticket: u64) -> bool {
        self.with_open(false, |shard| {
            shard.host_mut().record(name).is_some_and(|record| record.ticket == ticket)
        })
    }

    /// Puts a shield around the running fiber; with a limit, a timer that takes it away.
    pub(crate) fn shield(&self, limit: Option<Duration>) -> Option<TimerKey> {
        let me = self.running.get();
        self.with(|shard| {
            shard.host_mut().shield(me);
            let timer = shard.at(shard.now() + limit?, me);
            shard.host_mut().open_shield_at(timer);
            Some(timer)
        })
    }

    /// Takes the shield away, unless the timer has. What was held back is raised: now, or where something
    /// else is being raised already, at the fiber's next wait.
    ///
    /// A timeout must not take the place of an exception that the shield stands in the way of: it waits, too.
    pub(crate) fn unshield(
        &self,
        timer: Option<TimerKey>,
        finished: bool,
        unwinding: bool,
    ) -> Result<(), Error> {
        let me = self.running.get();
        let held = self.with_open(None, |shard| {
            if let Some(timer) = timer {
                shard.host_mut().clear_alarm(timer);
                if !shard.disarm(timer) {
                    return None;
                }
            }
            let held = shard.host_mut().unshield(me);
            let raised = held.filter(|held| finished && !(unwinding && held.timeout.is_some()));
            if let (Some(held), None) = (held, raised) {
                shard.host_mut().schedule(me, held);
                shard.ready(me);
            } else if shard.host_mut().bring_late(me) {
                shard.ready(me);
            }
            raised
        });
        let Some(held) = held else { return Ok(()) };
        // SAFETY: rooted until now; it stands on this stack.
        let exception = Exception::from_value(unsafe { Value::from_raw(held.value) });
        Err(exception.expect("shields hold back only what raises").into())
    }

    /// No shield helps the fiber any more.
    pub(crate) fn expose(&self, name: Name) {
        self.with_open((), |shard| shard.host_mut().expose(name));
    }

    /// Lets a fiber call `block` at its next turn, in the middle of what it waits for.
    pub(crate) fn interject(&self, name: Name, block: Value) -> bool {
        let local = self.is_local();
        self.with_open(false, |shard| {
            if shard.host_mut().record(name).is_none() {
                return false;
            }
            shard.host_mut().interject(name, block.as_raw());
            self.interjected.set(true);
            if local {
                wake(shard, name)
            } else {
                shard.inbox().push(name)
            }
            true
        })
    }

    /// Holds a fiber up, and lets it go on.
    pub(crate) fn detain(&self, name: Name, on: bool) {
        self.with_open((), |shard| {
            if on {
                shard.host_mut().detain(name);
            } else if shard.host_mut().release(name) {
                shard.host_mut().note_woken(name, false);
                shard.ready(name);
            }
        });
    }

    pub(crate) fn is_detained(&self, name: Name) -> bool {
        self.with_open(false, |shard| shard.host_mut().is_detained(name))
    }

    /// Takes a fiber out of the run queue, with what was scheduled for it.
    pub(crate) fn unschedule(&self, name: Name) {
        self.with_open((), |shard| {
            shard.queue_mut().remove(name);
            shard.host_mut().record(name).map(|record| record.scheduled.take());
        });
    }

    /// Schedules a fiber of this scheduler, from whichever thread has the GVL.
    pub(crate) fn schedule(&self, name: Name, value: Value, first: bool) -> bool {
        let scheduled = Scheduled::new(value.as_raw(), roots::is_exception(value));
        // A signal that ended a child is heard by a shielded parent as one that came to itself.
        let is_signal = scheduled.raises && value.is_kind_of(ruby().exception_signal());
        let depth = if is_signal { roots::THROUGH } else { 0 };
        let local = self.is_local();
        self.with_open(false, |shard| {
            if shard.host_mut().record(name).is_none() {
                return false;
            }
            let Some(name) = shard.host_mut().deliver(name, scheduled, depth) else {
                return true; // an exception stands there, which is stronger; or there is a shield
            };
            match (local, first) {
                (false, _) => shard.inbox().push(name),
                (true, true) => shard.ready_first(name),
                (true, false) if scheduled.raises && shard.queue().contains(name) => shard.ready_first(name),
                (true, false) => shard.ready(name),
            }
            true
        })
    }

    /// Ends a `block`; false where the fiber has no name now. Any thread; never raises.
    pub(crate) fn unblock(&self, blocker: Value, name: Name) -> bool {
        let local = self.is_local();
        self.with_open(false, |shard| {
            let name = shard.host_mut().innermost(name);
            let Some(record) = shard.host_mut().record(name) else { return false };
            record.unblocked = Some(blocker.as_raw());
            if local {
                wake(shard, name)
            } else {
                shard.inbox().push(name)
            }
            true
        })
    }

    /// Schedules a value into the calling fiber at a deadline; the fiber need not be parked.
    ///
    /// Where it is watched it is raised also while the fiber computes, unless nobody spun that: then who runs is not
    /// told apart from who resumed it.
    pub(crate) fn alarm(
        &self,
        name: Name,
        span: Duration,
        value: Value,
        watched: bool,
    ) -> Result<TimerKey, Error> {
        // SAFETY: called with the GVL, from a fiber.
        let fiber = unsafe { rb_sys::rb_fiber_current() };
        let (timer, foreign, watch) = self.with(|shard| {
            let now = shard.now();
            let timer = shard.at(now + span, name);
            let depth = shard.host_mut().depth(name);
            let foreign = shard.host_mut().record(name).is_some_and(|record| record.fiber != fiber);
            let watch = (watched && !foreign).then_some((now + span, now));
            let watched = watch.map(|(due, _)| Watched { fiber: name, due });
            shard.host_mut().set_alarm(timer, value.as_raw(), depth, watched);
            (timer, foreign, watch)
        });
        if foreign {
            // SAFETY: a live exception and the running fiber; the variable is invisible to Ruby code.
            unsafe { rb_sys::rb_ivar_set(value.as_raw(), owner_id(), fiber) };
        }
        watch.map_or(Ok(()), |(due, now)| overdue::look_at(due, now))?;
        Ok(timer)
    }

    /// Forgets a timer. One that went off already may have scheduled its marker into the running fiber,
    /// which has not been raised yet: then that is taken back.
    pub(crate) fn disarm(&self, timer: TimerKey, marker: Option<Value>) -> bool {
        let running = self.running.get();
        self.with_open(false, |shard| {
            shard.host_mut().clear_alarm(timer);
            if shard.disarm(timer) {
                return true;
            }
            if marker.is_some_and(|marker| shard.host_mut().take_back(running, marker.as_raw())) {
                shard.queue_mut().remove(running);
                // Timeouts further out that came after it are due as before.
                if shard.host_mut().bring_late(running) {
                    shard.ready(running);
                }
            }
            false
        })
    }

    /// What was left for the calling fiber, which nobody spun, means a timeout that is over.
    pub(crate) fn forget_early(&self, marker: Value) {
        let fiber = ruby().fiber_current().as_value();
        if let Some(left) = Early::taken(fiber, SCHEDULED)
            && left.as_raw() != marker.as_raw()
        {
            schedule_early(fiber, left);
        }
    }

    pub(crate) fn is_queued(&self, name: Name) -> bool {
        self.with_open(false, |shard| shard.queue().contains(name))
    }

    pub(crate) fn rearm(&self, timer: TimerKey, span: Duration) -> bool {
        self.with_open(false, |shard| {
            let deadline = shard.now() + span;
            shard.rearm(timer, deadline)
        })
    }
}

/// Makes a fiber ready where it is not.
#[inline]
pub(super) fn wake(shard: &mut RubyShard, fiber: Name) {
    if shard.queue().contains(fiber) {
        return;
    }
    shard.host_mut().note_woken(fiber, false);
    shard.queue_mut().push(fiber);
}
