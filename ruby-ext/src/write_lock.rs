//! Ruby's own lock of what an IO has not written yet.
//!
//! Whoever takes bytes from the buffer holds it, stock code and ours. Stock Ruby waits for room without it, and hears of
//! signals only then, for a handler that writes to the same IO takes the lock, too. So what is here hears of nothing:
//! Ruby's methods of a lock do, as they return.

use magnus::{
    Error, Value,
    prelude::*,
    rb_sys::{AsRawValue, FromRawValue, protect},
};
use rb_sys::VALUE;

use crate::open_file::OpenFile;

/// The lock of one IO, alive as long as somebody holds the IO.
#[derive(Clone, Copy)]
pub(crate) struct WriteLock(VALUE);

impl WriteLock {
    /// The lock of an IO; nothing where it is closed, or has never had a buffer.
    pub(crate) fn of(io: Value) -> Option<Self> {
        OpenFile::of(io).and_then(OpenFile::write_lock).map(|lock| WriteLock(lock.as_raw()))
    }

    /// Waits for the lock. What is raised meanwhile is the error, and the lock is not held.
    pub(crate) fn lock(self) -> Result<(), Error> {
        // SAFETY: a live lock, by `of`; what it raises is caught.
        protect(|| unsafe { rb_sys::rb_mutex_lock(self.0) }).map(drop)
    }

    /// Does something with the lock. Who waits for it, which is rare, waits as for any other lock.
    pub(crate) fn with<T>(self, f: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
        // SAFETY: a live lock, by `of`.
        unsafe {
            if rb_sys::rb_mutex_trylock(self.0) == rb_sys::Qfalse as VALUE {
                let _: Value = Value::from_raw(self.0).funcall("lock", ())?;
            }
        }
        let done = f();
        let unlocked = self.unlock();
        done.and_then(|value| unlocked.map(|()| value))
    }

    /// Lets the lock go. An error where the calling fiber does not hold it.
    pub(crate) fn unlock(self) -> Result<(), Error> {
        // SAFETY: as above.
        protect(|| unsafe { rb_sys::rb_mutex_unlock(self.0) }).map(drop)
    }

    /// Whether somebody holds it.
    fn is_locked(self) -> bool {
        // SAFETY: a live lock, by `of`.
        unsafe { rb_sys::rb_mutex_locked_p(self.0) != rb_sys::Qfalse as VALUE }
    }

    /// Whether the calling fiber holds it. Others cannot get hold of it meanwhile.
    pub(crate) fn is_own(self) -> bool {
        self.is_locked() && self.unlock().is_ok() && self.lock().is_ok()
    }

    /// Does something without the lock, where the calling fiber holds it; nothing where it does not. It has the lock
    /// again in any case.
    pub(crate) fn without(self, f: impl FnOnce() -> Result<(), Error>) -> Result<(), Error> {
        if !self.is_locked() || self.unlock().is_err() {
            return Ok(());
        }
        let mut done = f();
        while let Err(error) = self.lock() {
            done = Err(error);
        }
        done
    }
}
