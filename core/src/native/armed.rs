//! A timer that a fiber has armed, and the worker whose timers it is among.
//!
//! The fiber may have moved by the time it disarms it. A timer of another worker's is left to that worker,
//! which takes it out when it looks around; should it go off before, the fiber is not its any more.

use std::ptr;

use super::{current, fiber::FiberRef, worker::Worker};
use crate::{time::Time, timers::TimerKey};

/// A timer, and whose it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Armed {
    by: *const Worker,
    key: TimerKey,
}

impl Armed {
    /// Arms a timer for the fiber that runs.
    pub(crate) fn new(fiber: FiberRef, deadline: Time) -> Self {
        let worker = current::worker_of(fiber);
        Armed { by: worker, key: worker.shard().at(deadline, fiber) }
    }

    pub(crate) fn key(self) -> TimerKey {
        self.key
    }

    /// Whether it is that timer of that worker's.
    pub(crate) fn is(self, worker: *const Worker, key: TimerKey) -> bool {
        self.is_among(worker) && self.key == key
    }

    /// Whether it is among that worker's timers.
    #[inline]
    pub(crate) fn is_among(self, worker: *const Worker) -> bool {
        ptr::eq(self.by, worker)
    }

    /// Disarms it, for the fiber that runs and that has armed it.
    pub(crate) fn disarm(self, fiber: FiberRef) {
        let here = current::worker_of(fiber);
        if self.is_among(here) {
            here.shard().disarm(self.key);
        } else {
            // SAFETY: a worker outlives the fibers of its runtime, of which this is one.
            unsafe { &*self.by }.disarm_later(self.key);
        }
    }
}
