//! What became of an operation.

use crate::buffers::BufferId;

/// One completion of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// A count, a descriptor, a set of events, or a negative errno.
    pub result: i32,
    /// Further completions of the same operation will follow.
    pub more: bool,
    /// The shard's buffer that holds the bytes; whoever gets it gives it back with `Shard::recycle`.
    pub buffer: Option<BufferId>,
}

impl Outcome {
    /// The only completion of an operation.
    pub fn last(result: i32) -> Self {
        Outcome { result, more: false, buffer: None }
    }

    /// Whether the operation ended because somebody cancelled it.
    pub fn is_cancelled(&self) -> bool {
        self.result == -libc::ECANCELED
    }
}
