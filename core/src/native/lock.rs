//! A lock that is held for a few instructions, and can be let go of by somebody else.
//!
//! A fiber that is about to park takes the lock of what it waits for, links itself into a list there,
//! and leaves its stack *with the lock held*; its worker lets go of it. Whoever finds the fiber in the
//! list therefore finds it off its stack:
//!
//! ```text
//! fiber:  lock ──▶ link ──▶ suspend ─┐
//! worker:                            └──▶ unlock        nobody sees the fiber before this
//! ```

use std::{
    cell::UnsafeCell,
    fmt,
    mem::ManuallyDrop,
    ops::{Deref, DerefMut},
    sync::atomic::{AtomicU32, Ordering},
    thread,
};

use super::errno::{Errno, Result};

/// The lock without what it guards. All zeros is unlocked.
///
/// The lowest bit says that it is held. The others are 0, or say in which process it was taken last: what objects
/// that users share guard, a forked child finds as its parent's threads have left it, held for ever perhaps.
#[derive(Debug, Default)]
pub(crate) struct Lock(AtomicU32);

const HELD: u32 = 1;
/// An unlocked lock of this process.
static FREE: AtomicU32 = AtomicU32::new(2);

/// This is the child of a fork: locks that were ever taken are the parent's.
pub(crate) fn begin_era() {
    FREE.fetch_add(2, Ordering::Relaxed);
}

impl Lock {
    #[inline]
    pub(crate) fn lock(&self) {
        if self.0.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_err() {
            self.contend();
        }
    }

    /// Takes a lock that this process has taken before.
    pub(crate) fn lock_again(&self) {
        let free = self.0.load(Ordering::Relaxed) & !HELD;
        if self.0.compare_exchange(free, free | HELD, Ordering::Acquire, Ordering::Relaxed).is_err() {
            self.contend_for(free).expect("this process has taken it before");
        }
    }

    /// Takes a lock that another process may have taken: [`Errno::FORKED`] if it has.
    #[inline]
    fn enter(&self) -> Result<()> {
        let free = FREE.load(Ordering::Relaxed);
        match self.0.compare_exchange(free, free | HELD, Ordering::Acquire, Ordering::Relaxed) {
            Ok(_) => Ok(()),
            Err(_) => self.contend_for(free),
        }
    }

    /// Lets go. Only for whoever holds the lock, or acts for its holder.
    #[inline]
    pub(crate) fn unlock(&self) {
        self.0.store(self.0.load(Ordering::Relaxed) & !HELD, Ordering::Release);
    }

    #[cold]
    fn contend_for(&self, free: u32) -> Result<()> {
        let mut spins = 0u32;
        loop {
            let word = self.0.load(Ordering::Relaxed);
            // One that was never taken belongs to whoever takes it first.
            if word == free || word == 0 {
                let taken = self.0.compare_exchange(word, free | HELD, Ordering::Acquire, Ordering::Relaxed);
                if taken.is_ok() {
                    return Ok(());
                }
            } else if word != free | HELD {
                return Err(Errno::FORKED);
            }
            spins += 1;
            // The holder may have lost its processor: let it have ours.
            if spins.is_multiple_of(64) { thread::yield_now() } else { std::hint::spin_loop() }
        }
    }

    #[cold]
    fn contend(&self) {
        let mut spins = 0u32;
        while self.0.load(Ordering::Relaxed) != 0
            || self.0.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_err()
        {
            spins += 1;
            // The holder may have lost its processor: let it have ours.
            if spins.is_multiple_of(64) { thread::yield_now() } else { std::hint::spin_loop() }
        }
    }
}

/// A value that is touched under a [`Lock`] only.
#[derive(Default)]
#[repr(C)]
pub(crate) struct Guarded<T> {
    lock: Lock,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached through the lock only, by one thread at a time.
unsafe impl<T: Send> Sync for Guarded<T> {}
// SAFETY: nothing in it knows its thread; what waiters' pointers name is kept alive by the waiting calls.
unsafe impl<T: Send> Send for Guarded<T> {}

impl<T> Guarded<T> {
    pub(crate) const fn new(value: T) -> Self {
        Guarded { lock: Lock(AtomicU32::new(0)), value: UnsafeCell::new(value) }
    }

    /// The value without the lock.
    ///
    /// # Safety
    /// What the caller touches of it can be touched by several threads at once.
    #[inline]
    pub(crate) unsafe fn unguarded(&self) -> &T {
        // SAFETY: by the caller.
        unsafe { &*self.value.get() }
    }

    /// The value without the lock, to be changed.
    ///
    /// # Safety
    /// Nobody else knows of it.
    #[inline]
    #[allow(clippy::mut_from_ref, reason = "by the contract nobody else has a reference")]
    pub(crate) unsafe fn alone(&self) -> &mut T {
        // SAFETY: by the caller.
        unsafe { &mut *self.value.get() }
    }

    #[inline]
    pub(crate) fn lock(&self) -> Held<'_, T> {
        self.lock.lock();
        Held { guarded: self }
    }

    /// [`lock`](Self::lock) for what a forked child may meet: [`Errno::FORKED`] if its parent has ever taken it.
    /// Either this is used for a lock, always, or the other.
    #[inline]
    pub(crate) fn enter(&self) -> Result<Held<'_, T>> {
        self.lock.enter()?;
        Ok(Held { guarded: self })
    }
}

impl<T> fmt::Debug for Guarded<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Guarded")
    }
}

/// The value while the lock is held.
pub(crate) struct Held<'a, T> {
    guarded: &'a Guarded<T>,
}

impl<'a, T> Held<'a, T> {
    /// Keeps the lock: somebody else will let go of it.
    #[inline]
    pub(crate) fn keep(self) -> &'a Lock {
        let held = ManuallyDrop::new(self);
        &held.guarded.lock
    }
}

impl<T> Deref for Held<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the lock is held.
        unsafe { &*self.guarded.value.get() }
    }
}

impl<T> DerefMut for Held<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the lock is held, by this guard alone.
        unsafe { &mut *self.guarded.value.get() }
    }
}

impl<T> Drop for Held<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.guarded.lock.unlock();
    }
}
