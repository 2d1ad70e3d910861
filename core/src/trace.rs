//! What a shard reports to whoever watches it.

use crate::{
    op::{Kind, OpKey},
    timers::TimerKey,
};

/// Something that happened in a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<F> {
    /// A fiber asked for an operation.
    Submitted {
        /// Who asked.
        fiber: F,
        /// The operation.
        op: OpKey,
        /// What it is.
        kind: Kind,
    },
    /// An operation has an outcome.
    Completed {
        /// Who asked; nobody where the operation was abandoned.
        fiber: Option<F>,
        /// The operation.
        op: OpKey,
        /// A count, a descriptor or a negative errno.
        result: i32,
    },
    /// Somebody asked for an operation to be cancelled.
    CancelAsked {
        /// The operation.
        op: OpKey,
    },
    /// A timer reached its deadline.
    Expired {
        /// Whose timer.
        fiber: F,
        /// The timer.
        timer: TimerKey,
    },
    /// The shard is about to look for completions.
    Turn {
        /// How many fibers are ready.
        ready: usize,
        /// How many operations are in flight.
        in_flight: usize,
    },
}
