//! How many operations of a worker wait on each descriptor, for the other workers to see.
//!
//! Whoever closes a descriptor first ends what waits on it, also on other workers' rings. Mostly nothing does;
//! this is what tells so without asking anybody. Only the worker writes, so counting takes no locked
//! instruction.

use std::sync::{
    OnceLock,
    atomic::{AtomicU32, Ordering},
};

use crate::op::Op;

const CHUNK: usize = 1024;
/// Descriptors beyond this are counted together.
const CHUNKS: usize = 1024;

type Chunk = Box<[AtomicU32]>;

/// The counts of one worker.
pub(crate) struct Descriptors {
    chunks: Box<[OnceLock<Chunk>]>,
    beyond: AtomicU32,
}

impl Default for Descriptors {
    fn default() -> Self {
        Descriptors { chunks: (0..CHUNKS).map(|_| OnceLock::new()).collect(), beyond: AtomicU32::new(0) }
    }
}

impl Descriptors {
    /// An operation begins (1) or has ended (-1). The worker's thread only.
    #[inline]
    pub(crate) fn count(&self, op: &Op, change: i32) {
        if let Some(fd) = op.fd()
            && let Ok(fd) = usize::try_from(fd)
        {
            let count = self.of(fd);
            count.store(count.load(Ordering::Relaxed).wrapping_add_signed(change), Ordering::Release);
        }
    }

    /// Whether any waits on a descriptor. Any thread.
    pub(crate) fn are_waited_on(&self, fd: i32) -> bool {
        usize::try_from(fd).is_ok_and(|fd| match self.chunks.get(fd / CHUNK) {
            Some(chunk) => chunk.get().is_some_and(|chunk| chunk[fd % CHUNK].load(Ordering::Acquire) > 0),
            None => self.beyond.load(Ordering::Acquire) > 0,
        })
    }

    #[inline]
    fn of(&self, fd: usize) -> &AtomicU32 {
        let Some(chunk) = self.chunks.get(fd / CHUNK) else { return &self.beyond };
        &chunk.get_or_init(|| (0..CHUNK).map(|_| AtomicU32::new(0)).collect())[fd % CHUNK]
    }
}
