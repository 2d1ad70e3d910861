//! Telling a tracer what happens, in the order in which it happens.

use magnus::{
    Error, Ruby, Value,
    prelude::*,
    rb_sys::{AsRawValue, FromRawValue},
};

use super::{Scheduler, ruby, switch::call};
use crate::roots::{NIL, Name};

impl Scheduler {
    #[cold]
    pub(super) fn trace_park(&self, me: Name, event: &'static str) -> Result<(), Error> {
        self.trace_woken();
        let (fiber, value) = self.seen(me);
        self.aside(me, || {
            let ruby = ruby();
            let event_name = ruby.to_symbol(event).as_value();
            match event {
                "block" => self.tell(&[event_name, fiber, caller(&ruby)?]),
                "unblock" => self.tell(&[event_name, fiber, value, caller(&ruby)?]),
                _ => self.tell(&[event_name, fiber]),
            }
        })
    }

    /// Tells the tracer of something that Ruby code did. What it raises is raised in the main fiber.
    #[cold]
    pub(crate) fn trace(&self, event: &'static str, arguments: &[Value]) {
        self.trace_woken();
        self.trace_now(event, arguments);
    }

    /// Tells of those who were made ready where no Ruby could be called: by a completion, a timer, another
    /// thread, a push into a queue.
    #[cold]
    pub(crate) fn trace_woken(&self) {
        if self.interrupted.get() {
            return; // a hook runs: they are told when it has returned
        }
        while let Some((name, first)) = self.with_open(None, |shard| shard.host_mut().next_woken()) {
            let (fiber, value) = self.seen(name);
            if fiber.is_nil() {
                continue; // it has ended since
            }
            let ruby = ruby();
            let first = if first { ruby.qtrue().as_value() } else { ruby.qfalse().as_value() };
            self.trace_now("schedule", &[fiber, value, first]);
        }
    }

    /// A fiber, and what was scheduled for it.
    pub(super) fn seen(&self, name: Name) -> (Value, Value) {
        let (fiber, value) = self.with_open((NIL, NIL), |shard| {
            let record = shard.host_mut().record(name);
            record.map_or((NIL, NIL), |record| {
                (record.fiber, record.scheduled.map_or(NIL, |scheduled| scheduled.value))
            })
        });
        // SAFETY: the record's own values, which stand on this stack from now on.
        unsafe { (Value::from_raw(fiber), Value::from_raw(value)) }
    }

    pub(super) fn trace_now(&self, event: &'static str, arguments: &[Value]) {
        if self.interrupted.replace(true) {
            return;
        }
        let ruby = ruby();
        let told = match event {
            "terminate" => self.tell(&[&[ruby.to_symbol(event).as_value()], arguments].concat()),
            _ => caller(&ruby).and_then(|caller| {
                self.tell(&[&[ruby.to_symbol(event).as_value()], arguments, &[caller]].concat())
            }),
        };
        self.interrupted.set(false);
        // A kill, which cannot be raised elsewhere, comes again at the next wait.
        told.or_else(|error| self.raise_in_main_at_its_turn(error).map(|()| ruby.qnil().as_value())).ok();
    }

    pub(super) fn tell(&self, event: &[Value]) -> Result<Value, Error> {
        // What the tracer itself makes ready it need not hear of.
        self.with_open((), |shard| shard.host_mut().hush(true));
        let told = call(self.tracer.get(), event);
        self.with_open((), |shard| shard.host_mut().hush(false));
        told
    }

    #[inline]
    pub(crate) fn is_traced(&self) -> bool {
        self.tracer.get() != NIL
    }

    pub(crate) fn set_tracer(&self, tracer: Value) {
        self.tracer.set(tracer.as_raw());
        self.with_open((), |shard| shard.host_mut().listen(!tracer.is_nil()));
    }

    pub(crate) fn set_idler(&self, idler: Value) {
        self.idler.set(idler.as_raw());
    }

    /// Tells the tracer that a fiber has ended, once: before it hears of those whom that makes ready.
    #[inline]
    pub(crate) fn tell_end(&self, name: Name, fiber: Value) {
        if !self.is_traced() || self.ending.replace(Some(name)) == Some(name) {
            return;
        }
        let result = fiber.funcall("result", ());
        self.trace("terminate", &[fiber, result.unwrap_or_else(|_| ruby().qnil().as_value())]);
    }
}

/// Where the user's code is, as `Kernel#caller` says.
pub(super) fn caller(ruby: &Ruby) -> Result<Value, Error> {
    let polyphony: magnus::RModule = ruby.class_object().const_get("Polyphony")?;
    polyphony.funcall("caller_lines", ())
}
