//! A fiber's name in the table: from its first word to its last.
//!
//! A fiber that nobody spun (an enumerator's, one of `Fiber.new`) is a visitor: it has a name for as long as it is
//! parked, so that others can wake it, and the fiber that has resumed it goes on when it does.

use magnus::{
    Error, Value,
    rb_sys::{AsRawValue, FromRawValue},
};
use polyphony_core::{run_queue::RunQueue, time::Time};
use rb_sys::VALUE;

use super::{
    Scheduler, report,
    variables::{Early, scheduler_id, set_name},
    waits::value_of,
};
use crate::roots::Name;

impl Scheduler {
    /// The name of the fiber that calls. A fiber that nobody spun gets one for as long as it is parked.
    #[inline]
    pub(super) fn me(&self) -> Me {
        let running = self.running.get();
        // SAFETY: called with the GVL, from a fiber.
        let fiber = unsafe { rb_sys::rb_fiber_current() };
        let known = self.with(|shard| {
            let record = shard.host_mut().record(running);
            record.is_some_and(|record| record.fiber == fiber)
        });
        if known { Me { name: running, base: None } } else { self.visitor(fiber, running) }
    }

    /// Names a fiber that nobody spun, which `base` has resumed, so that others can wake it; and gives it
    /// what they left for it before.
    #[cold]
    pub(super) fn visitor(&self, fiber: VALUE, base: Name) -> Me {
        if let Some(name) = self.returned(fiber) {
            self.running.set(name);
            return Me { name, base: None };
        }
        let name = self.with(|shard| {
            let roots = shard.host_mut();
            let name = roots.adopt(fiber);
            if let Some(record) = roots.record(base) {
                record.inner = Some(name);
            }
            name
        });
        // SAFETY: the fiber is the running one, the thread is the calling one.
        let (fiber, this) = unsafe {
            (Value::from_raw(fiber), rb_sys::rb_ivar_get(rb_sys::rb_thread_current(), scheduler_id()))
        };
        set_name(fiber, name, this);
        let early = Early::take(fiber);
        self.with(|shard| {
            let record = shard.host_mut().record(name).expect("adopted above");
            record.unblocked = early.unblocked;
            if early.scheduled.is_some() {
                record.scheduled = early.scheduled;
                shard.queue_mut().wake(name);
            }
        });
        Me { name, base: Some(base) }
    }

    /// Ends what `me` began for a foreign fiber.
    #[inline]
    pub(super) fn done(&self, me: Me) {
        let Some(base) = me.base else { return };
        self.running.set(base);
        self.with(|shard| {
            let roots = shard.host_mut();
            let kept = roots.record(me.name).and_then(|record| record.kept);
            if let Some(record) = roots.record(base) {
                record.inner = None;
                record.kept = kept.or(record.kept);
            }
            roots.move_late(me.name, base);
            roots.forget(me.name);
            let is_late = roots.bring_late(base);
            shard.queue_mut().remove(me.name);
            if is_late {
                shard.ready(base);
            }
        });
    }

    /// Gives a fiber a name, for as long as it lives.
    pub(crate) fn adopt(&self, fiber: Value, this: VALUE) -> Name {
        let name = self.with(|shard| {
            let name = shard.host_mut().adopt(fiber.as_raw());
            shard.host_mut().record(name).expect("adopted above").fresh = true;
            name
        });
        set_name(fiber, name, this);
        if self.is_traced() {
            self.trace("spin", &[fiber]);
        }
        name
    }

    /// [`adopt`](Self::adopt) for a fiber that was not made to be spun.
    pub(crate) fn adopt_raw(&self, fiber: Value, this: VALUE) -> Name {
        let name = self.adopt(fiber, this);
        self.with(|shard| shard.host_mut().unannounced(name));
        name
    }

    /// The fiber ends: its name with it.
    pub(crate) fn leave(&self) {
        if report::is_watching() {
            self.look_at_stretch();
        }
        let running = self.running.get();
        // SAFETY: called with the GVL, from a fiber.
        let fiber = unsafe { rb_sys::rb_fiber_current() };
        // SAFETY: the running fiber.
        self.tell_end(running, unsafe { Value::from_raw(fiber) });
        let has_ended = self.with_open(false, |shard| {
            let ends = shard.host_mut().record(running).is_some_and(|record| record.fiber == fiber);
            if ends {
                shard.queue_mut().remove(running);
                shard.host_mut().forget(running);
                self.ended.set(self.ended.get() + 1);
            }
            ends
        });
        if has_ended {
            // Ruby keeps the stack until the fiber is collected, and does not count it.
            // SAFETY: called with the GVL; the shard is not borrowed.
            unsafe { rb_sys::rb_gc_adjust_memory_usage(STACK) };
        }
    }

    /// The first thing that a spun fiber does: what was it started with?
    pub(crate) fn enter(&self) -> Result<Value, Error> {
        if report::is_watching() {
            self.began.set(Time::monotonic());
        }
        let running = self.running.get();
        self.with(|shard| {
            if let Some(record) = shard.host_mut().record(running) {
                (record.granted, record.fresh) = (false, false);
            }
        });
        if self.is_traced() {
            self.trace_park(running, "unblock")?;
        }
        self.run_interjections(running)?;
        value_of(Ok(self.take(running)))
    }
}

/// The fiber that parks; `base` is the fiber that resumed it, where nobody spun it.
#[derive(Clone, Copy)]
pub(crate) struct Me {
    pub(super) name: Name,
    pub(super) base: Option<Name>,
}

/// What the stack of a fiber that has ended weighs: two pages, at least. Were it not counted, tens of thousands
/// of them would be kept by a program that makes little else, and then Ruby cannot start another; after that
/// its own count of blocking fibers is wrong, for good.
const STACK: i64 = 8 * 1024;
