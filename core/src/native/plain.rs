//! Operations by their plain system calls, for callers outside any fiber: the thread blocks.
//!
//! The result is a value or a negative errno. The thread's `errno` is left as it was.

use std::ptr;

use crate::{
    op::{Op, POSITION},
    time::Time,
};

/// Keeps the thread's `errno` as it is while it lives.
#[derive(Debug)]
pub struct KeepErrno(i32);

impl KeepErrno {
    /// Remembers `errno`.
    #[inline]
    #[allow(clippy::new_without_default, reason = "it is made for its effect")]
    pub fn new() -> Self {
        KeepErrno(read_errno())
    }
}

impl Drop for KeepErrno {
    #[inline]
    fn drop(&mut self) {
        write_errno(self.0);
    }
}

// Never inlined: its address must be computed anew after every suspension (N2).
#[inline(never)]
fn read_errno() -> i32 {
    // SAFETY: the location of this thread's errno can be read.
    unsafe { *libc::__errno_location() }
}

#[inline(never)]
fn write_errno(errno: i32) {
    // SAFETY: the location of this thread's errno can be written.
    unsafe { *libc::__errno_location() = errno }
}

/// Performs an operation, blocking the thread.
///
/// # Safety
/// What the operation points to is valid for it.
pub(crate) unsafe fn perform(op: &Op) -> i32 {
    let _keep = KeepErrno::new();
    // SAFETY: passed on.
    let result = unsafe { call(op) };
    if result < 0 { -read_errno() } else { result as i32 }
}

/// The system call of each operation, with the results of libc.
unsafe fn call(op: &Op) -> isize {
    // SAFETY: by the caller, pointers are valid for the call; everything else is a number.
    unsafe {
        match *op {
            Op::Nop => 0,
            Op::Read { fd, buf, len, offset: POSITION } => libc::read(fd, buf.cast(), len as usize),
            Op::Read { fd, buf, len, offset } => libc::pread(fd, buf.cast(), len as usize, offset as i64),
            Op::Write { fd, buf, len, offset: POSITION } => libc::write(fd, buf.cast(), len as usize),
            Op::Write { fd, buf, len, offset } => libc::pwrite(fd, buf.cast(), len as usize, offset as i64),
            Op::Readv { fd, iov, count, offset: POSITION } => libc::readv(fd, iov, count as i32),
            Op::Readv { fd, iov, count, offset } => libc::preadv(fd, iov, count as i32, offset as i64),
            Op::Writev { fd, iov, count, offset: POSITION } => libc::writev(fd, iov, count as i32),
            Op::Writev { fd, iov, count, offset } => libc::pwritev(fd, iov, count as i32, offset as i64),
            Op::Recv { fd, buf, len, flags } => libc::recv(fd, buf.cast(), len as usize, flags),
            Op::Send { fd, buf, len, flags } => {
                libc::send(fd, buf.cast(), len as usize, flags | libc::MSG_NOSIGNAL)
            }
            Op::RecvMsg { fd, msg, flags } => libc::recvmsg(fd, msg, flags),
            Op::SendMsg { fd, msg, flags } => libc::sendmsg(fd, msg, flags | libc::MSG_NOSIGNAL),
            Op::Accept { fd, addr, len, flags } => libc::accept4(fd, addr, len, flags) as isize,
            Op::Connect { fd, addr, len } => libc::connect(fd, addr, len) as isize,
            Op::OpenAt { dir, path, flags, mode } => libc::openat(dir, path, flags, mode) as isize,
            Op::Close { fd } => libc::close(fd) as isize,
            Op::Shutdown { fd, how } => libc::shutdown(fd, how) as isize,
            Op::Poll { fd, events } => poll(fd, events),
            Op::Splice { from, from_offset, to, to_offset, len, flags } => {
                splice(from, from_offset, to, to_offset, len as usize, flags)
            }
            Op::Tee { from, to, len, flags } => libc::tee(from, to, len as usize, flags),
            Op::Fsync { fd, data_only: false } => libc::fsync(fd) as isize,
            Op::Fsync { fd, data_only: true } => libc::fdatasync(fd) as isize,
            Op::Statx { dir, path, flags, mask, into } => libc::statx(dir, path, flags, mask, into) as isize,
            Op::RenameAt { dir, path, to_dir, to, flags } => {
                libc::renameat2(dir, path, to_dir, to, flags) as isize
            }
            Op::UnlinkAt { dir, path, flags } => libc::unlinkat(dir, path, flags) as isize,
            Op::MkdirAt { dir, path, mode } => libc::mkdirat(dir, path, mode) as isize,
            Op::Timeout { deadline } => sleep(deadline),
            Op::WaitId { kind, id, info, options } => libc::waitid(kind, id, info, options) as isize,
            Op::Socket { domain, kind, protocol } => libc::socket(domain, kind, protocol) as isize,
            Op::Offload { function, argument } => {
                function(argument);
                0
            }
            // These make no sense outside a shard: their buffers and further outcomes are a shard's.
            Op::ReadPooled { .. } | Op::RecvPooled { .. } | Op::AcceptMany { .. } | Op::PollMany { .. } => {
                write_errno(libc::EINVAL);
                -1
            }
        }
    }
}

unsafe fn poll(fd: i32, events: u32) -> isize {
    // poll(2) skips what is negative, and would wait for nothing, for ever.
    if fd < 0 {
        write_errno(libc::EBADF);
        return -1;
    }
    let mut poll = libc::pollfd { fd, events: events as i16, revents: 0 };
    // SAFETY: one pollfd.
    match unsafe { libc::poll(&mut poll, 1, -1) } {
        -1 => -1,
        _ if poll.revents & libc::POLLNVAL != 0 => {
            write_errno(libc::EBADF);
            -1
        }
        _ => poll.revents as isize,
    }
}

unsafe fn splice(from: i32, from_offset: u64, to: i32, to_offset: u64, len: usize, flags: u32) -> isize {
    let (mut in_, mut out) = (from_offset as i64, to_offset as i64);
    let at = |offset: u64, place: *mut i64| if offset == POSITION { ptr::null_mut() } else { place };
    // SAFETY: the offsets live until the end of this function.
    unsafe { libc::splice(from, at(from_offset, &mut in_), to, at(to_offset, &mut out), len, flags) }
}

/// Sleeps until a time of the monotonic clock; a signal does not end it.
fn sleep(deadline: Time) -> isize {
    let seconds = i64::try_from(deadline.0 / 1_000_000_000).expect("64 bits of nanoseconds");
    let until = libc::timespec { tv_sec: seconds, tv_nsec: (deadline.0 % 1_000_000_000) as i64 };
    let absolute = libc::TIMER_ABSTIME;
    // SAFETY: one timespec; nothing is written with an absolute time.
    while unsafe { libc::clock_nanosleep(libc::CLOCK_MONOTONIC, absolute, &until, ptr::null_mut()) }
        == libc::EINTR
    {}
    0
}
