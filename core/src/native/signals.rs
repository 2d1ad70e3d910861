//! Signals that are read instead of delivered.
//!
//! A signal reaches who reads it only where every thread of the process blocks it. A runtime's workers have
//! the mask of the thread that made it, so a program blocks its signals before anything else.

use std::{mem, os::fd::RawFd, ptr};

use super::{
    errno::{Errno, Result},
    io,
    net::checked,
    plain::KeepErrno,
};

/// A descriptor that becomes readable when one of these signals has come. `EINVAL` where the calling thread
/// does not block one of them: it would be delivered, and not read.
pub fn open(numbers: &[i32]) -> Result<RawFd> {
    let _keep = KeepErrno::new();
    // SAFETY: sets are plain data, alive for their calls.
    unsafe {
        let (mut wanted, mut blocked): (libc::sigset_t, libc::sigset_t) = (mem::zeroed(), mem::zeroed());
        libc::sigemptyset(&mut wanted);
        libc::pthread_sigmask(libc::SIG_BLOCK, ptr::null(), &mut blocked);
        for &number in numbers {
            checked(libc::sigaddset(&mut wanted, number))?;
            if libc::sigismember(&blocked, number) != 1 {
                return Err(Errno::new(libc::EINVAL));
            }
        }
        let fd = libc::signalfd(-1, &wanted, libc::SFD_CLOEXEC);
        checked(fd).map(|()| fd)
    }
}

/// The next signal, waiting for one if need be.
pub fn next(fd: RawFd) -> Result<libc::signalfd_siginfo> {
    // SAFETY: plain data, of which every pattern is valid.
    let mut info: libc::signalfd_siginfo = unsafe { mem::zeroed() };
    let size = size_of_val(&info);
    // SAFETY: the bytes of `info`, which nobody else has meanwhile.
    let bytes = unsafe { std::slice::from_raw_parts_mut((&raw mut info).cast::<u8>(), size) };
    // A signalfd tells whole signals.
    match io::read(fd, bytes)? {
        whole if whole == size => Ok(info),
        _ => Err(Errno::new(libc::EINVAL)),
    }
}
