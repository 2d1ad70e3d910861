//! A lock for one who writes or many who read.
//!
//! It passes on in the order in which they asked: readers that come behind a waiting writer wait, too, so a writer
//! is never starved; readers that stand together go together.

use super::mutex::caller;
use crate::native::{
    errno::{Errno, Result},
    lock::{Guarded, Held},
    park::{self, Waiters, Wakes, What},
};

/// A lock for one writer or many readers. All zeros is unlocked.
#[derive(Debug, Default)]
#[repr(transparent)]
pub struct RwLock(Guarded<State>);

#[repr(C)]
struct State {
    /// Who writes; 0 for nobody.
    writer: u64,
    readers: u64,
    waiters: Waiters,
}

impl Default for State {
    fn default() -> Self {
        State { writer: 0, readers: 0, waiters: Waiters::new() }
    }
}

/// What a waiting call lends: it becomes the writer of that number, or a reader where that is 0.
struct Wish(u64);

impl RwLock {
    /// An unlocked one.
    pub const fn new() -> Self {
        RwLock(Guarded::new(State { writer: 0, readers: 0, waiters: Waiters::new() }))
    }

    /// Takes the lock to read. `EDEADLK` if the caller has it to write.
    pub fn read(&self) -> Result<()> {
        self.take(Wish(0))
    }

    /// Takes the lock to write. `EDEADLK` if the caller has it to write already.
    pub fn write(&self) -> Result<()> {
        self.take(Wish(caller()))
    }

    /// Takes the lock to read if that needs no waiting, else `EBUSY`.
    pub fn try_read(&self) -> Result<()> {
        self.try_take(Wish(0))
    }

    /// Takes the lock to write if that needs no waiting, else `EBUSY`.
    pub fn try_write(&self) -> Result<()> {
        self.try_take(Wish(caller()))
    }

    /// Gives the lock back, whichever way the caller has it. `EPERM` if nobody reads and the caller does not write.
    pub fn unlock(&self) -> Result<()> {
        let mut state = self.0.enter()?;
        if state.writer == caller() {
            state.writer = 0;
        } else {
            state.readers = state.readers.checked_sub(1).ok_or(Errno::new(libc::EPERM))?;
        }
        self.serve(state);
        Ok(())
    }

    /// Whether nobody has it.
    pub fn is_free(&self) -> bool {
        self.0.enter().is_ok_and(|state| state.writer == 0 && state.readers == 0)
    }

    fn try_take(&self, wish: Wish) -> Result<()> {
        let mut state = self.0.enter()?;
        let taken = state.waiters.is_empty() && state.grant(&wish);
        taken.then_some(()).ok_or(Errno::new(libc::EBUSY))
    }

    fn take(&self, mut wish: Wish) -> Result<()> {
        park::may_wait()?;
        let mut state = self.0.enter()?;
        if state.waiters.is_empty() && state.grant(&wish) {
            return Ok(());
        }
        if state.writer == caller() {
            return Err(Errno::new(libc::EDEADLK));
        }
        let item = (&raw mut wish).cast();
        let waited = Errno::check(park::wait(What::RwLock, state, |state| &state.waiters, item));
        if waited.is_err() {
            // Readers may have stood behind a writer that gives up.
            self.serve(self.0.enter()?);
        }
        waited.map(drop)
    }

    /// Lets in who has waited longest, and whoever may go with them.
    fn serve(&self, mut state: Held<'_, State>) {
        let mut wakes = Wakes::default();
        while let Some(first) = state.waiters.first() {
            // SAFETY: a linked waiter waits, and its item is its wish.
            let wish = unsafe { &*(*first).item().cast::<Wish>() };
            if !state.grant(wish) {
                break;
            }
            state.waiters.pop();
            // SAFETY: popped under the lock, which is held.
            wakes.push(unsafe { park::grant(first, 0) });
        }
        drop(state);
        wakes.now();
    }
}

impl State {
    /// Grants a wish if nobody is in the way who has the lock; says whether.
    fn grant(&mut self, wish: &Wish) -> bool {
        if self.writer != 0 || wish.0 != 0 && self.readers > 0 {
            return false;
        }
        match wish.0 {
            0 => self.readers += 1,
            writer => self.writer = writer,
        }
        true
    }
}
