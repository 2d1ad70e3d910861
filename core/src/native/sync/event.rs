//! Something that has happened, or has not yet.

use crate::native::{
    errno::{Errno, Result},
    lock::Guarded,
    park::{self, Waiters, What},
};

/// An event: everybody waits until it is set, nobody while it is. All zeros is one that is not set.
#[derive(Debug, Default)]
#[repr(transparent)]
pub struct Event(Guarded<State>);

#[repr(C)]
struct State {
    is_set: u64,
    waiters: Waiters,
}

impl Default for State {
    fn default() -> Self {
        State { is_set: 0, waiters: Waiters::new() }
    }
}

impl Event {
    /// An event that is not set.
    pub const fn new() -> Self {
        Event(Guarded::new(State { is_set: 0, waiters: Waiters::new() }))
    }

    /// Waits until the event is set.
    pub fn wait(&self) -> Result<()> {
        park::may_wait()?;
        let state = self.0.enter()?;
        if state.is_set != 0 {
            return Ok(());
        }
        Errno::check(park::wait(What::Event, state, |state| &state.waiters, std::ptr::null_mut())).map(drop)
    }

    /// Sets the event and wakes everybody who waits; says how many.
    pub fn set(&self) -> Result<usize> {
        let mut state = self.0.enter()?;
        state.is_set = 1;
        Ok(park::wake_all(state, |state| &state.waiters))
    }

    /// Makes it an event that is not set.
    pub fn reset(&self) -> Result<()> {
        self.0.enter()?.is_set = 0;
        Ok(())
    }

    /// Whether it is set.
    pub fn is_set(&self) -> Result<bool> {
        Ok(self.0.enter()?.is_set != 0)
    }

    /// Whether nobody waits.
    pub fn is_idle(&self) -> bool {
        self.0.enter().is_ok_and(|state| state.waiters.is_empty())
    }
}
