//! What a call answers when it cannot do what it was asked: a positive error number.
//!
//! Numbers below 4096 are the system's. Ours begin far behind them, so that neither is ever mistaken
//! for the other.

use std::{ffi::CStr, fmt};

/// Why a call failed.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(i32);

impl Errno {
    /// The call was cancelled before it did anything.
    pub const CANCELED: Errno = Errno(libc::ECANCELED);
    /// The deadline of a scope passed before the call did anything.
    pub const TIMED_OUT: Errno = Errno(libc::ETIMEDOUT);
    /// No such fiber: it has ended and was joined or detached, or never was.
    pub const NO_SUCH_FIBER: Errno = Errno(libc::ESRCH);
    /// A signal came.
    pub const INTERRUPTED: Errno = Errno(libc::EINTR);
    /// The other side has closed.
    pub const CLOSED: Errno = Errno(libc::EPIPE);
    /// The runtime is shutting down and takes no more fibers.
    pub const SHUTDOWN: Errno = Errno(libc::ESHUTDOWN);
    /// The function of the fiber panicked.
    pub const PANIC: Errno = Errno(10_001);
    /// No such host, or no such service.
    pub const NO_HOST: Errno = Errno(10_002);
    /// The name server did not answer; it may do so later.
    pub const NO_ANSWER: Errno = Errno(10_003);
    /// The runtime belongs to the process that this one was forked from.
    pub const FORKED: Errno = Errno(libc::EOWNERDEAD);

    /// The error of that positive number.
    pub const fn new(number: i32) -> Self {
        Errno(number)
    }

    /// The number, positive.
    pub const fn number(self) -> i32 {
        self.0
    }

    /// Takes a result apart that is a value or a negative error number.
    pub fn check(result: i32) -> Result<i32> {
        if result < 0 { Err(Errno(-result)) } else { Ok(result) }
    }

    /// The error in words, without touching the thread's `errno`.
    pub fn text(self) -> &'static CStr {
        match self {
            Errno::PANIC => c"the function of the fiber panicked",
            Errno::FORKED => c"the runtime belongs to the parent of this process",
            Errno::NO_HOST => c"no such host or service",
            Errno::NO_ANSWER => c"the name server does not answer",
            Errno(number) => {
                // SAFETY: strerrordesc_np takes any number and answers with a static string or null.
                let text = unsafe { strerrordesc_np(number) };
                if text.is_null() {
                    return c"unknown error";
                }
                // SAFETY: not null, so a static string that ends with a zero.
                unsafe { CStr::from_ptr(text) }
            }
        }
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Errno({}: {})", self.0, self.text().to_string_lossy())
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text().to_string_lossy())
    }
}

impl std::error::Error for Errno {}

/// A result whose error is an error number.
pub type Result<T> = std::result::Result<T, Errno>;

unsafe extern "C" {
    fn strerrordesc_np(number: i32) -> *const libc::c_char;
}
