//! The seam between the scheduler and whoever runs fibers.
//!
//! A host has stacks; a shard has none. The shard tells the host what happened to a fiber and is
//! told what to do about it; it never calls user code and never switches.

use std::fmt;

use crate::{
    op::{OpKey, Outcome},
    run_queue::RunQueue,
    timers::TimerKey,
    trace::Event,
};

/// Whoever runs the fibers: native worker threads, or one Ruby thread.
///
/// The methods are called while the shard is borrowed. They record what happened in the fiber's own
/// record and answer; they do not switch, block or call into a language runtime.
pub trait Host {
    /// Names a fiber: copied, compared, queued, never followed by the core.
    type Fiber: Copy + Eq + fmt::Debug;

    /// What an operation keeps alive until the kernel has let go of it.
    type Keep;

    /// The order in which ready fibers run.
    type Queue: RunQueue<Self::Fiber>;

    /// An operation that `fiber` submitted has an outcome; the last one unless `outcome.more`.
    fn completed(&mut self, fiber: Self::Fiber, op: OpKey, outcome: Outcome) -> Then;

    /// A timer of `fiber` has reached its deadline. Its key is spent.
    fn expired(&mut self, fiber: Self::Fiber, timer: TimerKey) -> Then;

    /// Another thread put `fiber` into the inbox.
    fn notified(&mut self, fiber: Self::Fiber) -> Then;

    /// The shard will tell something of `fiber` in a moment: its record may be fetched meanwhile.
    #[inline]
    fn foreseen(&self, fiber: Self::Fiber) {
        let _ = fiber;
    }

    /// Whether [`traced`](Self::traced) wants to hear of events. Asked before each is made.
    #[inline]
    fn tracing(&self) -> bool {
        false
    }

    /// Something happened that a debugger or a profiler may want to know.
    #[inline]
    fn traced(&mut self, event: Event<Self::Fiber>) {
        let _ = event;
    }
}

/// What the shard does about a fiber once its host has been told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Leaves it as it is.
    Nothing,
    /// Queues it behind the others, unless it is queued already.
    Ready,
    /// Queues it before the others.
    ReadyFirst,
    /// Asks the kernel to cancel this operation; the fiber stays parked until its last completion.
    Cancel(OpKey),
}
