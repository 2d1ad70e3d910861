//! What people and programs may know of a scheduler at any time: who waits for what, and whether it gets on.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use magnus::{Error, RArray, RModule, Ruby, Value, prelude::*, rb_sys::FromRawValue};
use polyphony_core::{op::Op, time::Time};

use super::{RubyShard, Scheduler, ruby};
use crate::{
    roots::{Name, Record},
    time,
};

/// What a fiber is doing.
enum Doing {
    Running,
    Ready,
    Operation(Op),
    Sleeping,
    InLine,
    Waiting,
}

impl Doing {
    fn of(
        shard: &RubyShard,
        ops: &HashMap<Name, Op>,
        running: Option<Name>,
        name: Name,
        record: &Record,
    ) -> Self {
        if running == Some(name) {
            return Doing::Running;
        }
        if shard.queue().contains(name) {
            return Doing::Ready;
        }
        match ops.get(&name) {
            Some(op) => Doing::Operation(*op),
            None if record.ticket != 0 => Doing::InLine,
            None if record.alarm.is_some() => Doing::Sleeping,
            None => Doing::Waiting,
        }
    }

    /// In a word, and the descriptor that it is about.
    fn told(&self) -> (String, Option<i32>) {
        match self {
            Doing::Running => ("running".to_owned(), None),
            Doing::Ready => ("ready".to_owned(), None),
            Doing::Operation(op) => (format!("{:?}", op.kind()), op.fd()),
            Doing::Sleeping => ("asleep".to_owned(), None),
            Doing::InLine => ("in a line".to_owned(), None),
            Doing::Waiting => ("waiting".to_owned(), None),
        }
    }
}

impl Scheduler {
    /// `[fiber, what it does, descriptor, seconds]` for each fiber that has a name. Any thread.
    pub(crate) fn fibers(&self, ruby: &Ruby) -> Result<RArray, Error> {
        let now = Time::recent();
        // Who looks around for all, with a hook, waits itself; so does who has taken the thread into the kernel.
        let waits = self.interrupted.get() || self.blocked.get();
        let running = (!waits).then(|| self.running.get());
        let fibers: Vec<_> = self.with_open(Vec::new(), |shard| {
            let ops = shard.operations().map(|(fiber, op)| (fiber, *op)).collect();
            let each = shard.host().each();
            each.map(|(name, record)| {
                let doing = Doing::of(shard, &ops, running, name, record).told();
                (record.fiber, doing, now.since(record.since).as_secs_f64())
            })
            .collect()
        });
        let all = ruby.ary_new();
        // The fibers are in the table still, for nothing ran since; `all` keeps them from here on.
        for (fiber, (doing, descriptor), seconds) in fibers {
            // SAFETY: a live fiber, as said.
            all.push((unsafe { Value::from_raw(fiber) }, doing, descriptor, seconds))?;
        }
        Ok(all)
    }

    /// The running fiber gives the thread away: tells the watchdog where it has had it for too long.
    #[cold]
    pub(super) fn look_at_stretch(&self) {
        let began = self.began.replace(Time::default());
        let stretch = Time::monotonic().since(began);
        let is_alone = self.with_open(true, |shard| shard.host().population().0 < 2);
        if began == Time::default()
            || is_alone
            || stretch < Duration::from_nanos(THRESHOLD.load(Ordering::Relaxed))
        {
            return;
        }
        if self.interrupted.replace(true) {
            return;
        }
        let watchdog: Result<RModule, Error> = ruby().class_object().const_get("Polyphony");
        let told = watchdog.and_then(|polyphony| {
            polyphony
                .const_get::<_, Value>("Watchdog")?
                .funcall::<_, _, Value>("tell", (stretch.as_secs_f64(),))
        });
        self.interrupted.set(false);
        // What is no StandardError is the watchdog's own to hold back; a kill comes again at the next wait.
        drop(told);
    }
}

/// How many nanoseconds a fiber may have its thread; 0 while nobody asks.
static THRESHOLD: AtomicU64 = AtomicU64::new(0);

#[inline]
pub(super) fn is_watching() -> bool {
    THRESHOLD.load(Ordering::Relaxed) != 0
}

/// Lets every thread tell when a fiber has held it for so long; with no time, no longer.
pub(crate) fn watch(ruby: &Ruby, threshold: Value) -> Result<(), Error> {
    let span = time::span(ruby, threshold)?.map_or(0, |span| span.as_nanos() as u64);
    THRESHOLD.store(span, Ordering::Relaxed);
    Ok(())
}

/// Raises where no fiber of the process will ever go on; else whether it is to be asked again.
pub(super) fn raise_deadlock() -> Result<Value, Error> {
    let polyphony: RModule = ruby().class_object().const_get("Polyphony")?;
    let deadlock: magnus::RClass = polyphony.const_get("Deadlock")?;
    deadlock.funcall("check", ())
}
