//! Waiting until so many things are done.

use crate::native::{
    errno::{Errno, Result},
    lock::Guarded,
    park::{self, Waiters, What},
};

/// A count of things to be done: everybody waits until it is 0. All zeros is nothing to be done.
#[derive(Debug, Default)]
#[repr(transparent)]
pub struct WaitGroup(Guarded<State>);

#[repr(C)]
struct State {
    count: u64,
    waiters: Waiters,
}

impl Default for State {
    fn default() -> Self {
        State { count: 0, waiters: Waiters::new() }
    }
}

impl WaitGroup {
    /// Nothing to be done.
    pub const fn new() -> Self {
        WaitGroup(Guarded::new(State { count: 0, waiters: Waiters::new() }))
    }

    /// So many things more are to be done, or have been where that is negative. `EINVAL` if more were done than
    /// there were to do, `EOVERFLOW` if they cannot be counted.
    pub fn add(&self, more: i64) -> Result<()> {
        let mut state = self.0.enter()?;
        let error = if more < 0 { libc::EINVAL } else { libc::EOVERFLOW };
        state.count = state.count.checked_add_signed(more).ok_or(Errno::new(error))?;
        if state.count > 0 {
            return Ok(());
        }
        park::wake_all(state, |state| &state.waiters);
        Ok(())
    }

    /// One thing is done.
    pub fn done(&self) -> Result<()> {
        self.add(-1)
    }

    /// Waits until nothing is to be done.
    pub fn wait(&self) -> Result<()> {
        park::may_wait()?;
        let state = self.0.enter()?;
        if state.count == 0 {
            return Ok(());
        }
        let item = std::ptr::null_mut();
        Errno::check(park::wait(What::WaitGroup, state, |state| &state.waiters, item)).map(drop)
    }

    /// Whether nothing is to be done; else `EAGAIN`.
    pub fn try_wait(&self) -> Result<()> {
        match self.0.enter()?.count {
            0 => Ok(()),
            _ => Err(Errno::new(libc::EAGAIN)),
        }
    }
}
