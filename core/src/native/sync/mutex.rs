//! A lock that fibers wait for without holding their thread.
//!
//! It passes from owner to owner in the order in which they asked; nobody overtakes.

use crate::native::{
    current,
    errno::{Errno, Result},
    lock::Guarded,
    park::{self, Waiters, What},
};

/// A lock without data of its own, so that C and Rust share it. All zeros is unlocked.
#[derive(Debug, Default)]
#[repr(transparent)]
pub struct Mutex(Guarded<State>);

#[repr(C)]
struct State {
    /// Who holds it; 0 for nobody.
    owner: u64,
    waiters: Waiters,
}

impl Default for State {
    fn default() -> Self {
        State { owner: 0, waiters: Waiters::new() }
    }
}

impl Mutex {
    /// An unlocked mutex.
    pub const fn new() -> Self {
        Mutex(Guarded::new(State { owner: 0, waiters: Waiters::new() }))
    }

    /// Takes the lock, waiting for it if need be. `EDEADLK` if the caller holds it already.
    pub fn lock(&self) -> Result<()> {
        park::may_wait()?;
        self.lock_anyway()
    }

    /// Takes the lock if nobody has it, else `EBUSY`.
    pub fn try_lock(&self) -> Result<()> {
        let mut state = self.0.enter()?;
        if state.owner != 0 {
            return Err(Errno::new(libc::EBUSY));
        }
        state.owner = caller();
        Ok(())
    }

    /// Gives the lock to who has waited longest. `EPERM` if the caller does not hold it.
    pub fn unlock(&self) -> Result<()> {
        let mut state = self.0.enter()?;
        if state.owner != caller() {
            return Err(Errno::new(libc::EPERM));
        }
        let Some(next) = state.waiters.pop() else {
            state.owner = 0;
            return Ok(());
        };
        // SAFETY: popped under the lock, which is held; its item is the number of the waiting caller.
        let wake = unsafe {
            state.owner = *(*next).item().cast();
            park::grant(next, 0)
        };
        drop(state);
        wake.now();
        Ok(())
    }

    /// Whether the caller holds the lock.
    pub fn is_mine(&self) -> bool {
        self.0.enter().is_ok_and(|state| state.owner == caller())
    }

    /// Whether nobody holds it.
    pub fn is_free(&self) -> bool {
        self.0.enter().is_ok_and(|state| state.owner == 0)
    }

    /// [`lock`](Self::lock) that is not refused to a fiber that has been cancelled before.
    pub(super) fn lock_anyway(&self) -> Result<()> {
        let mut me = caller();
        let mut state = self.0.enter()?;
        if state.owner == 0 {
            state.owner = me;
            return Ok(());
        }
        if state.owner == me {
            return Err(Errno::new(libc::EDEADLK));
        }
        Errno::check(park::wait(What::Mutex, state, |state| &state.waiters, (&raw mut me).cast())).map(drop)
    }
}

/// A number for the calling fiber, or for the thread where there is none.
pub(super) fn caller() -> u64 {
    match current::fiber() {
        Some(fiber) => fiber.id().number(),
        None => current::thread_number(),
    }
}
