//! Something that is done once, by whoever comes first; the others wait until it is done.

use super::mutex::caller;
use crate::native::{
    errno::{Errno, Result},
    lock::Guarded,
    park::{self, Waiters, What},
};

/// Says whether something has been done. All zeros is not yet.
#[derive(Debug, Default)]
#[repr(transparent)]
pub struct Once(Guarded<State>);

#[repr(C)]
struct State {
    /// Who does it; 0 for nobody yet.
    doer: u64,
    waiters: Waiters,
}

/// No caller's number: it is done.
const DONE: u64 = u64::MAX;

impl Default for State {
    fn default() -> Self {
        State { doer: 0, waiters: Waiters::new() }
    }
}

impl Once {
    /// Something that has not been done.
    pub const fn new() -> Self {
        Once(Guarded::new(State { doer: 0, waiters: Waiters::new() }))
    }

    /// Has it done if it has not been, and waits until it is. `EDEADLK` in who does it. A function that panics has
    /// not done it: the next does; so it is with one that has been cancelled before it came, which is refused.
    pub fn run(&self, function: impl FnOnce()) -> Result<()> {
        let me = caller();
        if !self.begin(me)? {
            return Ok(());
        }
        let mut ends = Ends { once: self, doer: 0 };
        function();
        ends.doer = DONE;
        Ok(())
    }

    /// Whether it has been done.
    pub fn is_done(&self) -> Result<bool> {
        Ok(self.0.enter()?.doer == DONE)
    }

    /// Waits until it is done, or the caller is to do it: true.
    fn begin(&self, me: u64) -> Result<bool> {
        let mut asked = false;
        loop {
            let mut state = self.0.enter()?;
            match state.doer {
                DONE => return Ok(false),
                doer if doer == me => return Err(Errno::new(libc::EDEADLK)),
                // Who has been cancelled does not begin either: what it does would be half done, and count as done.
                _ if !asked => {
                    drop(state);
                    park::may_wait()?;
                    asked = true;
                }
                0 => {
                    state.doer = me;
                    return Ok(true);
                }
                _ => {
                    let item = std::ptr::null_mut();
                    Errno::check(park::wait(What::Once, state, |state| &state.waiters, item))?;
                }
            }
        }
    }

    fn set(&self, doer: u64) -> Result<()> {
        let mut state = self.0.enter()?;
        state.doer = doer;
        // Who waits for another that begins anew is woken by that one.
        park::wake_all(state, |state| &state.waiters);
        Ok(())
    }
}

/// What becomes of it when the function is left.
struct Ends<'a> {
    once: &'a Once,
    doer: u64,
}

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        // Refused only in the child of a fork, where nobody waits.
        let _ = self.once.set(self.doer);
    }
}
