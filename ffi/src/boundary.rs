//! The line that no panic crosses.

use std::{
    ffi::{CStr, c_char},
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

/// [`call`] for what makes system calls of all kinds.
pub(crate) fn quietly<N: Number>(body: impl FnOnce() -> Result<N>) -> N {
    let _keep = KeepErrno::new();
    call(body)
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

/// Options of the caller's, which begin with their size; `E2BIG` where they ask for what only a later library
/// knows.
///
/// # Safety
/// Null, or as long as the size says.
pub(crate) unsafe fn options<T: Copy>(options: *const T) -> Result<T> {
    // SAFETY: every version of such a struct begins with its size.
    let size = *unsafe { look(options.cast::<usize>()) }?;
    if size < size_of::<T>() {
        return Err(Errno::new(libc::EINVAL));
    }
    if size > LARGEST_STRUCT {
        return Err(Errno::new(libc::E2BIG));
    }
    // SAFETY: that many bytes, by the caller.
    let bytes = unsafe { std::slice::from_raw_parts(options.cast::<u8>(), size) };
    if bytes[size_of::<T>()..].iter().any(|&byte| byte != 0) {
        return Err(Errno::new(libc::E2BIG));
    }
    // SAFETY: at least that large.
    Ok(*unsafe { look(options) }?)
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

/// Gives the caller an object of its own, which [`free`] ends.
///
/// # Safety
/// As for [`put`].
pub(crate) unsafe fn give<T>(place: *mut *mut T, made: T) -> Result<()> {
    let made = Box::into_raw(Box::new(made));
    debug::made(made);
    // SAFETY: by the caller.
    unsafe { put(place, made) }
}

/// Ends an object that [`give`] has given.
///
/// # Safety
/// It has been looked at, and nobody uses it any more.
pub(crate) unsafe fn free<T>(object: *mut T) {
    if debug::freed(object) {
        // SAFETY: by the caller. The memory is kept, and nobody gets past the check to it.
        unsafe { std::ptr::drop_in_place(object) };
    } else {
        // SAFETY: by the caller; a box in the beginning.
        drop(unsafe { Box::from_raw(object) });
    }
}

/// A text of the caller's; `EINVAL` for null.
///
/// # Safety
/// Otherwise it ends with a zero byte and stays as it is for `'a`.
pub(crate) unsafe fn text<'a>(text: *const c_char) -> Result<&'a CStr> {
    if text.is_null() {
        return Err(Errno::new(libc::EINVAL));
    }
    // SAFETY: by the caller.
    Ok(unsafe { CStr::from_ptr(text) })
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

/// Writes as much of a text as there is room for, and a zero; the answer is how long the whole is. `EINVAL` for null
/// or no room.
///
/// # Safety
/// There is that much room.
pub(crate) unsafe fn write_text(text: &[u8], place: *mut c_char, room: usize) -> Result<i64> {
    if place.is_null() || room == 0 {
        return Err(Errno::new(libc::EINVAL));
    }
    let fits = text.len().min(room - 1);
    // SAFETY: so much and a zero fit, by the caller.
    unsafe {
        place.cast::<u8>().copy_from_nonoverlapping(text.as_ptr(), fits);
        place.add(fits).write(0);
    }
    Ok(text.len() as i64)
}

/// Checks a place for an output before anything is done.
#[inline]
pub(crate) fn wanted<T>(place: *mut T) -> Result<()> {
    if place.is_null() { Err(Errno::new(libc::EINVAL)) } else { Ok(()) }
}

/// No version of a struct of options is larger than this.
const LARGEST_STRUCT: usize = 4096;
