//! The one part of a shard that other threads may touch.
//!
//! A sender pushes a name and wakes the owner only if it sleeps; a busy owner finds the name by
//! itself at its next turn. The order is what makes a wake-up impossible to lose:
//!
//! ```text
//! owner:  asleep = true ──▶ look once more ──▶ block
//! sender: push ──▶ if asleep.swap(false) { wake }
//! ```
//!
//! Either the owner sees what was pushed, or the sender sees that the owner is about to sleep.

use std::sync::PoisonError;

use crate::{
    backend::Waker,
    sync::{AtomicBool, Mutex, Ordering},
};

/// Names that other threads have sent to a shard.
#[derive(Debug)]
pub struct Inbox<F> {
    names: Mutex<Vec<F>>,
    filled: AtomicBool,
    asleep: AtomicBool,
    waker: Waker,
}

impl<F> Inbox<F> {
    pub(crate) fn new(waker: Waker) -> Self {
        Inbox {
            names: Mutex::default(),
            filled: AtomicBool::new(false),
            asleep: AtomicBool::new(false),
            waker,
        }
    }

    /// Tells the shard of a fiber. Any thread; never blocks for longer than another push takes.
    pub fn push(&self, fiber: F) {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).push(fiber);
        self.filled.store(true, Ordering::SeqCst);
        if self.asleep.swap(false, Ordering::SeqCst) {
            self.waker.wake();
        }
    }

    /// Ends the shard's present or next wait, with nothing to tell. Any thread, also a signal handler.
    pub fn wake(&self) {
        self.waker.wake();
    }

    /// Whether something has been pushed and not yet taken.
    #[inline]
    pub fn is_filled(&self) -> bool {
        self.filled.load(Ordering::Acquire)
    }

    /// Says that the owner is about to block; false if it must not, because something has come.
    pub(crate) fn fall_asleep(&self) -> bool {
        self.asleep.store(true, Ordering::SeqCst);
        if !self.filled.load(Ordering::SeqCst) {
            return true;
        }
        self.asleep.store(false, Ordering::SeqCst);
        false
    }

    pub(crate) fn awake(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }

    pub(crate) fn take(&self, into: &mut Vec<F>) {
        self.filled.store(false, Ordering::SeqCst);
        into.append(&mut self.names.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
