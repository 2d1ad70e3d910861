//! The line that no panic crosses.

use std::{
    mem::{align_of, size_of},
    panic::{AssertUnwindSafe, catch_unwind},
};

use polyphony_core::native::{Errno, KeepErrno, Result};

use crate::debug;

/// A result that C understands: a value, or a negative error number.
pub(crate) trait Number {
    fn refused(errno: Errno) -> Self;
}

impl Number for i32 {
    fn refused(errno: Errno) -> Self {
        -errno.number()
    }
}

impl Number for i64 {
    fn refused(errno: Errno) -> Self {
        -i64::from(errno.number())
    }
}

/// Runs a function's body. Its panic becomes an error. That `errno` stays as it was is the core's promise,
/// which keeps it where it makes system calls: doing so here would cost more than most calls do.
#[inline]
fn run<T, F: FnOnce() -> Result<T>>(body: F) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(errno)) => {
            debug::answered::<F>();
            Err(errno)
        }
        Err(panic) => {
            // Dropping what it carries could panic again.
            std::mem::forget(panic);
            Err(Errno::PANIC)
        }
    }
}

/// The answer of a function whose body gives a number.
#[inline]
pub(crate) fn call<N: Number>(body: impl FnOnce() -> Result<N>) -> N {
    run(body).unwrap_or_else(N::refused)
}

/// The answer of a function whose body says only whether it worked: 0.
#[inline]
pub(crate) fn done(body: impl FnOnce() -> Result<()>) -> i32 {
    run(body).map_or_else(i32::refused, |()| 0)
}

/// [`done`] for what makes system calls of all kinds.
pub(crate) fn done_quietly(body: impl FnOnce() -> Result<()>) -> i32 {
    let _keep = KeepErrno::new();
    done(body)
}

/// What a pointer points to; `EINVAL` for null and for what is not aligned.
///
/// # Safety
/// Otherwise it points to a value that lives, and is not written except through its own methods, for `'a`.
#[inline]
pub(crate) unsafe fn look<'a, T>(pointer: *const T) -> Result<&'a T> {
    if pointer.is_null() || !(pointer as usize).is_multiple_of(align_of::<T>()) {
        return Err(Errno::new(libc::EINVAL));
    }
    // SAFETY: by the caller; neither null nor misaligned.
    Ok(unsafe { &*pointer })
}

/// [`look`] at an object that one of our functions has made.
///
/// # Safety
/// As for [`look`].
#[inline]
pub(crate) unsafe fn object<'a, T>(pointer: *const T) -> Result<&'a T> {
    debug::expect(pointer)?;
    // SAFETY: by the caller.
    unsafe { look(pointer) }
}

/// An object of ours in memory of the caller's, which is as large and zeroed to begin with.
///
/// # Safety
/// As for [`look`]; and all zeros is a valid `T`.
#[inline]
pub(crate) unsafe fn embedded<'a, Outer, T>(pointer: *const Outer) -> Result<&'a T> {
    const { assert!(size_of::<T>() <= size_of::<Outer>() && align_of::<T>() <= align_of::<Outer>()) };
    // SAFETY: by the caller, and it is large enough.
    unsafe {
        debug::expect_embedded(look(pointer)?)?;
        look(pointer.cast())
    }
}

/// Writes an output; `EINVAL` for null.
///
/// # Safety
/// Otherwise the pointer may be written to.
#[inline]
pub(crate) unsafe fn put<T>(place: *mut T, value: T) -> Result<()> {
    if place.is_null() {
        return Err(Errno::new(libc::EINVAL));
    }
    // SAFETY: by the caller.
    unsafe { place.write(value) };
    Ok(())
}

/// Checks a place for an output before anything is done.
#[inline]
pub(crate) fn wanted<T>(place: *mut T) -> Result<()> {
    if place.is_null() { Err(Errno::new(libc::EINVAL)) } else { Ok(()) }
}
