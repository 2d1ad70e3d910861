//! Waiting, with a mutex unlocked meanwhile, until somebody says that things have changed.

use super::Mutex;
use crate::native::{
    errno::{Errno, Result},
    lock::Guarded,
    park::{self, Waiters, What},
    scope::shielded,
};

/// A condition variable. All zeros is one that nobody waits for.
#[derive(Debug, Default)]
#[repr(transparent)]
pub struct Condvar(Guarded<State>);

#[repr(C)]
struct State {
    waiters: Waiters,
}

impl Default for State {
    fn default() -> Self {
        State { waiters: Waiters::new() }
    }
}

impl Condvar {
    /// A condition variable that nobody waits for.
    pub const fn new() -> Self {
        Condvar(Guarded::new(State { waiters: Waiters::new() }))
    }

    /// Unlocks `mutex`, waits to be notified, and locks it again, also when the wait is cancelled.
    /// `EPERM` if the caller does not hold the mutex. There are no spurious wake-ups.
    pub fn wait(&self, mutex: &Mutex) -> Result<()> {
        if !mutex.is_mine() {
            return Err(Errno::new(libc::EPERM));
        }
        park::may_wait()?;
        let state = self.0.enter()?;
        // Whoever takes the mutex now and notifies must wait for our lock: no notification is missed.
        mutex.unlock()?;
        let waited =
            Errno::check(park::wait(What::Condition, state, |state| &state.waiters, std::ptr::null_mut()));
        shielded(|| mutex.lock_anyway())?;
        waited.map(drop)
    }

    /// Wakes who has waited longest; says whether anybody waited.
    pub fn notify_one(&self) -> Result<bool> {
        Ok(park::wake_first(self.0.enter()?, |state| &state.waiters))
    }

    /// Wakes everybody who waits now; says how many.
    pub fn notify_all(&self) -> Result<usize> {
        Ok(park::wake_all(self.0.enter()?, |state| &state.waiters))
    }

    /// Whether nobody waits.
    pub fn is_idle(&self) -> bool {
        self.0.enter().is_ok_and(|state| state.waiters.is_empty())
    }
}
