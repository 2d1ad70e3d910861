//! Operations as calls that look blocking.
//!
//! Inside a fiber each suspends the fiber, never the thread; outside it is the system call of the same
//! name. What a call borrows is borrowed until it returns, also when it is cancelled: it then waits
//! until the kernel has let go. If an operation has completed although it was cancelled, its result is
//! returned, and the cancellation waits for the next call: no byte and no descriptor is ever lost.

use std::{
    os::fd::RawFd,
    panic::{AssertUnwindSafe, catch_unwind},
    thread,
};

use super::{
    errno::{Errno, Result},
    perform,
    plain::KeepErrno,
};
use crate::{
    offload,
    op::{Op, POSITION},
};

pub use super::close;

/// No call moves more bytes than this; Linux has the same limit.
pub const MOST: usize = 0x7fff_f000;

/// read(2).
pub fn read(fd: RawFd, buf: &mut [u8]) -> Result<usize> {
    let (buf, len) = (buf.as_mut_ptr(), length(buf.len()));
    // SAFETY: `buf` is borrowed until this returns.
    count(unsafe { perform(&Op::Read { fd, buf, len, offset: POSITION }) })
}

/// pread(2).
pub fn read_at(fd: RawFd, buf: &mut [u8], offset: u64) -> Result<usize> {
    let (buf, len) = (buf.as_mut_ptr(), length(buf.len()));
    // SAFETY: as in `read`.
    count(unsafe { perform(&Op::Read { fd, buf, len, offset }) })
}

/// write(2): may write less than everything.
pub fn write(fd: RawFd, buf: &[u8]) -> Result<usize> {
    let (buf, len) = (buf.as_ptr(), length(buf.len()));
    // SAFETY: as in `read`.
    count(unsafe { perform(&Op::Write { fd, buf, len, offset: POSITION }) })
}

/// pwrite(2): may write less than everything.
pub fn write_at(fd: RawFd, buf: &[u8], offset: u64) -> Result<usize> {
    let (buf, len) = (buf.as_ptr(), length(buf.len()));
    // SAFETY: as in `read`.
    count(unsafe { perform(&Op::Write { fd, buf, len, offset }) })
}

/// Writes everything, in as many writes as it takes.
pub fn write_all(fd: RawFd, mut buf: &[u8]) -> Result<()> {
    while !buf.is_empty() {
        buf = &buf[write(fd, buf)?..];
    }
    Ok(())
}

/// recv(2).
pub fn recv(fd: RawFd, buf: &mut [u8], flags: i32) -> Result<usize> {
    let (buf, len) = (buf.as_mut_ptr(), length(buf.len()));
    // SAFETY: as in `read`.
    count(unsafe { perform(&Op::Recv { fd, buf, len, flags }) })
}

/// send(2), which never raises SIGPIPE.
pub fn send(fd: RawFd, buf: &[u8], flags: i32) -> Result<usize> {
    let (buf, len) = (buf.as_ptr(), length(buf.len()));
    // SAFETY: as in `read`.
    count(unsafe { perform(&Op::Send { fd, buf, len, flags }) })
}

/// accept4(2), without the address; the descriptor is the caller's to close.
pub fn accept(fd: RawFd, flags: i32) -> Result<RawFd> {
    let (addr, len) = (std::ptr::null_mut(), std::ptr::null_mut());
    // SAFETY: null pointers ask for no address.
    Errno::check(unsafe { perform(&Op::Accept { fd, addr, len, flags }) })
}

/// socket(2); the descriptor is the caller's to close.
pub fn socket(domain: i32, kind: i32, protocol: i32) -> Result<RawFd> {
    // SAFETY: the operation points to nothing.
    Errno::check(unsafe { perform(&Op::Socket { domain, kind, protocol }) })
}

/// shutdown(2).
pub fn shutdown(fd: RawFd, how: i32) -> Result<()> {
    // SAFETY: the operation points to nothing.
    Errno::check(unsafe { perform(&Op::Shutdown { fd, how }) }).map(drop)
}

/// Waits until one of `events` (`POLLIN`, …) has come, and says which have.
pub fn poll(fd: RawFd, events: u32) -> Result<u32> {
    // SAFETY: the operation points to nothing.
    Errno::check(unsafe { perform(&Op::Poll { fd, events }) }).map(|events| events as u32)
}

/// fsync(2), or fdatasync(2).
pub fn sync(fd: RawFd, data_only: bool) -> Result<()> {
    // SAFETY: the operation points to nothing.
    Errno::check(unsafe { perform(&Op::Fsync { fd, data_only }) }).map(drop)
}

/// Runs what blocks, or computes for long, on a thread of the offload pool, while the fiber waits. A plain thread
/// runs it itself.
///
/// [`Errno::CANCELED`] and [`Errno::TIMED_OUT`] say that it was never called; once it has begun, nothing ends it,
/// and the fiber waits. [`Errno::PANIC`] if it panicked.
pub fn offload<F: FnOnce() -> T + Send, T: Send>(function: F) -> Result<T> {
    struct Job<F, T>(Option<F>, Option<thread::Result<T>>);
    unsafe fn run<F: FnOnce() -> T, T>(job: *mut ()) {
        // SAFETY: `offload` waits for this call, and leaves the job alone meanwhile.
        let job = unsafe { &mut *job.cast::<Job<F, T>>() };
        let function = job.0.take().expect("it is called once");
        job.1 = Some(catch_unwind(AssertUnwindSafe(function)));
    }
    let mut job = Job(Some(function), None);
    let op = Op::Offload { function: run::<F, T>, argument: (&raw mut job).cast() };
    // SAFETY: the job stands here until this returns.
    Errno::check(unsafe { perform(&op) })?;
    job.1.expect("it was called").map_err(|panic| {
        std::mem::forget(panic); // dropping what it carries could panic again
        Errno::PANIC
    })
}

/// Has a function called on a thread of the offload pool that is free for it, and does not wait; `EAGAIN` where none
/// is. Any thread. Its panic ends there.
pub fn try_offload<F: FnOnce() + Send + 'static>(function: F) -> Result<()> {
    unsafe fn run<F: FnOnce()>(function: *mut ()) {
        // SAFETY: made by a box below, and called once.
        let function = unsafe { Box::from_raw(function.cast::<F>()) };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(*function)) {
            std::mem::forget(panic); // dropping what it carries could panic again
        }
    }
    let _keep = KeepErrno::new();
    let function = Box::into_raw(Box::new(function));
    // SAFETY: the function may be sent, and is called once.
    if unsafe { offload::try_call(run::<F>, function.cast()) } {
        return Ok(());
    }
    // SAFETY: it was not called, so it is ours again.
    drop(unsafe { Box::from_raw(function) });
    Err(Errno::new(libc::EAGAIN))
}

/// A length as an operation has it: more than [`MOST`] is cut, as the kernel does.
pub fn length(len: usize) -> u32 {
    len.min(MOST) as u32
}

fn count(result: i32) -> Result<usize> {
    Errno::check(result).map(|count| count as usize)
}
