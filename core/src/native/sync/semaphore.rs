//! Permits: so many at a time, and the others wait.

use crate::native::{
    errno::{Errno, Result},
    lock::Guarded,
    park::{self, Waiters, Wakes, What},
};

/// A counting semaphore. All zeros is one without permits.
#[derive(Debug, Default)]
#[repr(transparent)]
pub struct Semaphore(Guarded<State>);

#[repr(C)]
struct State {
    permits: u64,
    waiters: Waiters,
}

impl Default for State {
    fn default() -> Self {
        State { permits: 0, waiters: Waiters::new() }
    }
}

impl Semaphore {
    /// A semaphore with that many permits.
    pub const fn new(permits: u64) -> Self {
        Semaphore(Guarded::new(State { permits, waiters: Waiters::new() }))
    }

    /// Takes permits, all at once, waiting for them if need be. Who wants few does not overtake who has
    /// waited for many.
    pub fn acquire(&self, mut permits: u64) -> Result<()> {
        park::may_wait()?;
        let mut state = self.0.enter()?;
        if state.waiters.is_empty() && state.permits >= permits {
            state.permits -= permits;
            return Ok(());
        }
        let waited = Errno::check(park::wait(
            What::Semaphore,
            state,
            |state| &state.waiters,
            (&raw mut permits).cast(),
        ));
        if waited.is_err() {
            // Who stood behind us may want less than is there.
            self.release(0)?;
        }
        waited.map(drop)
    }

    /// Takes permits if they are there and nobody waits, else `EAGAIN`.
    pub fn try_acquire(&self, permits: u64) -> Result<()> {
        let mut state = self.0.enter()?;
        if !state.waiters.is_empty() || state.permits < permits {
            return Err(Errno::new(libc::EAGAIN));
        }
        state.permits -= permits;
        Ok(())
    }

    /// Puts permits back. `EOVERFLOW` if there were more than can be counted.
    pub fn release(&self, permits: u64) -> Result<()> {
        let mut state = self.0.enter()?;
        state.permits = state.permits.checked_add(permits).ok_or(Errno::new(libc::EOVERFLOW))?;
        let mut wakes = Wakes::default();
        while let Some(first) = state.waiters.first() {
            // SAFETY: a linked waiter waits, and its item is how many permits it wants.
            let wanted: u64 = unsafe { *(*first).item().cast() };
            let Some(left) = state.permits.checked_sub(wanted) else { break };
            state.permits = left;
            state.waiters.pop();
            // SAFETY: popped under the lock, which is held.
            wakes.push(unsafe { park::grant(first, 0) });
        }
        drop(state);
        wakes.now();
        Ok(())
    }

    /// How many permits are there.
    pub fn permits(&self) -> u64 {
        self.0.enter().map_or(0, |state| state.permits)
    }

    /// Whether nobody waits.
    pub fn is_idle(&self) -> bool {
        self.0.enter().is_ok_and(|state| state.waiters.is_empty())
    }
}
