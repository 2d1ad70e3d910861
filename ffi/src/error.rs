//! Errors and versions.

use std::{
    ffi::{c_char, c_int},
    panic::catch_unwind,
};

use polyphony_core::native::Errno;

/// The version of this header: major, as `POLY_ABI`.
pub const POLY_VERSION_MAJOR: u32 = 2;
/// The version of this header: minor.
pub const POLY_VERSION_MINOR: u32 = 0;
/// The version of this header: patch.
pub const POLY_VERSION_PATCH: u32 = 0;
/// The binary interface that this header describes; it changes with the soname only.
pub const POLY_ABI: u32 = 2;

/// The function of the fiber panicked (one written in Rust).
pub const POLY_EPANIC: i32 = 10001;
/// No such host, or no such service.
pub const POLY_ENOHOST: i32 = 10002;
/// The name server did not answer; it may do so later.
pub const POLY_ENOANSWER: i32 = 10003;
/// The object belongs to the process that this one was forked from: EOWNERDEAD.
pub const POLY_EFORKED: i32 = 130;

const _: () = assert!(POLY_EPANIC == Errno::PANIC.number() && POLY_EFORKED == Errno::FORKED.number());
const _: () = assert!(POLY_ENOHOST == Errno::NO_HOST.number() && POLY_ENOANSWER == Errno::NO_ANSWER.number());

/// The version of the library that runs: major << 16 | minor << 8 | patch.
///
/// Never suspends. Any thread. Since 2.0.
#[unsafe(no_mangle)]
pub extern "C" fn poly_version() -> u32 {
    POLY_VERSION_MAJOR << 16 | POLY_VERSION_MINOR << 8 | POLY_VERSION_PATCH
}

/// The binary interface of the library that runs. It is `POLY_ABI` if header and library fit together.
///
/// Never suspends. Any thread. Since 2.0.
#[unsafe(no_mangle)]
pub extern "C" fn poly_abi_version() -> u32 {
    POLY_ABI
}

/// An error in words, in English. `error` is a result of any function here, or its positive: the
/// system's numbers and ours alike.
///
/// The text is static: never free it. Never NULL. Never suspends. Any thread. Since 2.0.
#[unsafe(no_mangle)]
pub extern "C" fn poly_strerror(error: c_int) -> *const c_char {
    let number = error.checked_abs().unwrap_or(i32::MAX);
    catch_unwind(|| Errno::new(number).text().as_ptr()).unwrap_or(c"unknown error".as_ptr())
}
