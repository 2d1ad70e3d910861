//! What a fiber waits for that is no operation: a turn, a time, another fiber, its call in a line.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use magnus::{
    Error, Exception, Value,
    prelude::*,
    rb_sys::{AsRawValue, FromRawValue},
};
use polyphony_core::{run_queue::RunQueue, time::Time, timers::TimerKey};

use super::{
    Scheduler, Woken,
    fibers::Me,
    passing, ruby,
    variables::{owner_id, schedule_early},
};
use crate::{
    errors,
    line::Place,
    roots::{self, Name},
};

impl Scheduler {
    /// Marks a `sleep` of the main fiber, or of one that it has resumed. What others sleep changes nothing about it.
    pub(crate) fn asleep<R>(&self, sleep: impl FnOnce(&Self) -> R) -> R {
        if self.running.get() != Name::MAIN {
            return sleep(self);
        }
        let earlier = self.asleep.replace(true);
        let slept = sleep(self);
        self.asleep.set(earlier);
        slept
    }

    /// Ends the main fiber's `sleep`, where it is in one. Any thread.
    pub(crate) fn wake_sleeper(&self) {
        if self.asleep.get() {
            self.schedule(Name::MAIN, ruby().qnil().as_value(), false);
        }
    }

    /// Takes what was scheduled for a fiber that has just been granted.
    #[inline]
    pub(super) fn take(&self, me: Name) -> Option<Woken> {
        let scheduled = self.with(|shard| {
            let scheduled = shard.host_mut().record(me)?.scheduled.take()?;
            if scheduled.raises && shard.host_mut().bring_late(me) {
                shard.ready(me);
            }
            Some(scheduled)
        })?;
        // SAFETY: the value was rooted until now and stands on this stack.
        let value = unsafe { Value::from_raw(scheduled.value) };
        if !scheduled.raises {
            return Some(Woken::Value(value));
        }
        match self.is_astray(value, me) {
            Ok(true) => return None,
            Ok(false) => {}
            Err(heard) => return Some(Woken::Error(heard)),
        }
        let exception = Exception::from_value(value).expect("only exceptions are scheduled to be raised");
        Some(Woken::Error(exception.into()))
    }

    /// Whether a timeout means a fiber that nobody spun and that has yielded since: then that fiber finds it
    /// when it waits again, and who resumed it does not. An error is what was heard meanwhile and is to be raised here.
    #[cold]
    pub(super) fn is_astray(&self, exception: Value, me: Name) -> Result<bool, Error> {
        // SAFETY: a live object; a variable that is not set reads as nil.
        let owner = unsafe { Value::from_raw(rb_sys::rb_ivar_get(exception.as_raw(), owner_id())) };
        // SAFETY: called with the GVL, from a fiber.
        if owner.is_nil() || owner.as_raw() == unsafe { rb_sys::rb_fiber_current() } {
            return Ok(false);
        }
        let earlier = self.interrupted.replace(true);
        let polyphony: Result<magnus::RModule, Error> = ruby().class_object().const_get("Polyphony");
        let yielded = polyphony.and_then(|polyphony| polyphony.funcall("yielded?", (owner,)));
        self.interrupted.set(earlier);
        let astray = yielded.or_else(|heard| self.interrupt(heard, me).map(|()| false));
        if !matches!(astray, Ok(false)) {
            schedule_early(owner, exception);
        }
        astray
    }

    /// Parks once and says what for.
    #[inline]
    pub(super) fn rest(&self, me: Name) -> Result<Option<Woken>, Error> {
        self.park(me)?;
        Ok(self.take(me))
    }

    /// `snooze`: to the tail of the queue.
    pub(crate) fn snooze(&self) -> Result<Value, Error> {
        let me = self.me();
        if self.is_traced() {
            let ruby = ruby();
            let (nil, no) = (ruby.qnil().as_value(), ruby.qfalse().as_value());
            self.trace("schedule", &[ruby.fiber_current().as_value(), nil, no]);
        }
        self.with(|shard| {
            shard.host_mut().bring_kept(me.name);
            shard.yielded(me.name);
        });
        let rested = self.rest(me.name);
        self.done(me);
        value_of(rested)
    }

    /// To the tail of the queue, as [`snooze`](Self::snooze), where no value is wanted: one that comes meanwhile
    /// is kept for a wait that returns it.
    pub(crate) fn pass(&self) -> Result<(), Error> {
        let me = self.me();
        self.with(|shard| shard.yielded(me.name));
        let held = self.hold(me.name, |_| true);
        self.done(me);
        held
    }

    /// `suspend`: until somebody schedules the fiber. In the main fiber also until nothing can happen.
    ///
    /// Nothing else ends it, whatever else wakes the fiber.
    pub(crate) fn suspend(&self, may_idle: bool) -> Result<Value, Error> {
        let me = self.me();
        let may_idle = may_idle && me.name == Name::MAIN;
        self.bring_kept(me.name);
        self.with(|shard| {
            let record = shard.host_mut().record(me.name).expect("a fiber that parks has a record");
            (record.may_idle, record.since) = (may_idle, Time::recent());
        });
        let rested = loop {
            match self.rest(me.name) {
                Ok(None) if !(may_idle && self.has_idled(me.name)) => {}
                rested => break rested,
            }
        };
        self.with(|shard| shard.host_mut().record(me.name).map(|record| record.may_idle = false));
        self.done(me);
        value_of(rested)
    }

    pub(super) fn has_idled(&self, me: Name) -> bool {
        self.with(|shard| shard.host_mut().record(me).is_none_or(|record| !record.may_idle))
    }

    /// `sleep`: until the deadline, or earlier if somebody schedules the fiber.
    pub(crate) fn sleep(&self, span: Duration) -> Result<Value, Error> {
        let me = self.me();
        self.bring_kept(me.name);
        let timer = self.arm(me.name, self.deadline(span));
        let rested = loop {
            match self.rest(me.name) {
                Ok(None) if self.with(|shard| shard.host_mut().record(me.name)?.alarm).is_some() => {}
                rested => break rested,
            }
        };
        self.forget_alarm(me.name, timer);
        self.done(me);
        value_of(rested)
    }

    /// Lets the next park return what was scheduled while the fiber waited for something else.
    #[inline]
    pub(super) fn bring_kept(&self, me: Name) {
        self.with(|shard| {
            if shard.host_mut().bring_kept(me) {
                shard.queue_mut().wake(me);
            }
        });
    }

    /// Lets the next park raise a timeout that something else was raised before.
    #[inline]
    pub(super) fn bring_late(&self, me: Name) {
        self.with(|shard| {
            if shard.host_mut().bring_late(me) {
                shard.ready(me);
            }
        });
    }

    /// The moment in so much time.
    pub(crate) fn deadline(&self, span: Duration) -> Time {
        self.with(|shard| shard.now() + span)
    }

    /// Ends what [`arm`](Self::arm) began.
    pub(super) fn forget_alarm(&self, me: Name, timer: TimerKey) {
        self.with(|shard| {
            shard.disarm(timer);
            if let Some(record) = shard.host_mut().record(me) {
                record.alarm = None;
            }
        });
    }

    /// Arms the timer that ends a wait of this fiber: it has gone off once the record's alarm is gone.
    pub(super) fn arm(&self, me: Name, deadline: Time) -> TimerKey {
        self.with(|shard| {
            let timer = shard.at(deadline, me);
            let record = shard.host_mut().record(me).expect("a fiber that parks has a record");
            (record.alarm, record.since) = (Some(timer), Time::recent());
            timer
        })
    }

    /// `block` of the scheduler interface: until `unblock`, or the time is up.
    ///
    /// An `unblock` that came first is not lost, but one that came too late for an earlier `block` must not
    /// end this one. So one that came while the fiber was not blocked counts only if it names the same
    /// blocker; where Ruby itself names another (`Thread#join`, `ConditionVariable#wait`), `loose` says so.
    ///
    /// Where an exception ends the wait although it was unblocked, the next who waits gets that instead.
    pub(crate) fn block(&self, blocker: Value, loose: bool, limit: Option<Duration>) -> Result<bool, Error> {
        let me = self.me();
        self.with(|shard| {
            let record = shard.host_mut().record(me.name).expect("a fiber that parks has a record");
            record.unblocked = record.unblocked.filter(|&early| loose || early == blocker.as_raw());
            record.since = Time::recent();
        });
        let timer = limit.map(|span| self.arm(me.name, self.deadline(span)));
        let enough = |record: &roots::Record| {
            record.unblocked.is_some() || (timer.is_some() && record.alarm.is_none())
        };
        let early = self.with(|shard| shard.host_mut().record(me.name).is_none_or(|record| enough(record)));
        let held = if early { Ok(()) } else { self.hold(me.name, enough) };
        let unblocked = self.with(|shard| {
            timer.map(|timer| shard.disarm(timer));
            let record = shard.host_mut().record(me.name)?;
            record.alarm = None;
            record.unblocked.take()
        });
        self.done(me);
        if held.is_err() {
            passing::pass_on(blocker, unblocked.is_some());
        }
        held.map(|()| unblocked.is_some())
    }

    /// Begins a wait in a line.
    #[inline]
    pub(crate) fn begin_waiting(&self) -> (Me, Place) {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let ticket = LAST.fetch_add(1, Ordering::Relaxed) + 1;
        let me = self.me();
        self.with(|shard| {
            let record = shard.host_mut().record(me.name).expect("a fiber that waits has a record");
            (record.ticket, record.since) = (ticket, Time::recent());
        });
        (me, Place { scheduler: self.id, name: me.name, ticket })
    }

    /// Waits in a line to be called, or for the deadline. Others run meanwhile, also where the call came first.
    pub(crate) fn wait_for_call(&self, me: Me, deadline: Option<Time>) -> Result<(), Error> {
        let timer = deadline.map(|deadline| self.arm(me.name, deadline));
        let enough = |record: &roots::Record| record.called || (timer.is_some() && record.alarm.is_none());
        let held = self.hold(me.name, enough);
        if let Some(timer) = timer {
            self.forget_alarm(me.name, timer);
        }
        held
    }

    /// Ends a wait in a line: whoever calls now finds nobody.
    #[inline]
    pub(crate) fn end_waiting(&self, me: Me) {
        self.with(|shard| {
            if let Some(record) = shard.host_mut().record(me.name) {
                (record.ticket, record.called) = (0, false);
            }
        });
        self.done(me);
    }

    /// Parks, at least once, until `enough` holds of the fiber's record; an exception ends it.
    ///
    /// Such a wait has a result of its own, so a value that is scheduled meanwhile neither ends it nor is
    /// lost: it is kept for the next wait that returns what it was woken with.
    #[inline]
    pub(super) fn hold(&self, me: Name, enough: impl Fn(&roots::Record) -> bool) -> Result<(), Error> {
        loop {
            self.park(me)?;
            let (scheduled, enough) = self.with(|shard| {
                shard
                    .host_mut()
                    .record(me)
                    .map_or((false, true), |record| (record.scheduled.is_some(), enough(record)))
            });
            match if scheduled { self.take(me) } else { None } {
                Some(Woken::Error(error)) => return Err(error),
                Some(Woken::Value(value)) => self.keep(me, value),
                None => {}
            }
            if enough {
                return Ok(());
            }
        }
    }

    /// Keeps a value that came while the calling fiber waited for something that has a result of its own.
    pub(crate) fn keep_for_later(&self, value: Value) {
        self.keep(self.running.get(), value);
    }

    /// Leaves what ended a wait to the running fiber's next one, for this one has brought something. An error where it is
    /// nothing that can be scheduled.
    #[cold]
    pub(crate) fn put_off(&self, woken: Woken) -> Result<(), Error> {
        match woken {
            Woken::Value(value) => self.keep_for_later(value),
            Woken::Error(error) => {
                let exception = errors::exception(&ruby(), error)?;
                self.schedule(self.running.get(), exception, false);
            }
        }
        Ok(())
    }

    /// Keeps a value for the next `suspend`, `snooze` or `sleep`.
    #[cold]
    pub(super) fn keep(&self, me: Name, value: Value) {
        self.with(|shard| shard.host_mut().record(me).map(|record| record.kept = Some(value.as_raw())));
    }

    /// Runs another fiber at once, and the calling one right after it.
    pub(crate) fn yield_to(&self, other: Name) -> Result<Value, Error> {
        let me = self.me();
        self.with(|shard| {
            shard.ready_first(other);
            shard.ready_first(me.name);
        });
        let rested = self.rest(me.name);
        self.done(me);
        value_of(rested)
    }
}

pub(super) fn value_of(rested: Result<Option<Woken>, Error>) -> Result<Value, Error> {
    match rested? {
        Some(woken) => woken.deliver(),
        None => Ok(ruby().qnil().as_value()),
    }
}
