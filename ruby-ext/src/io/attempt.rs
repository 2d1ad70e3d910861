//! A read and a write as far as they get without waiting: for Ruby's scheduler interface, which asks for that, and
//! for large pieces, which need not wait for a turn of the ring where they are ready.
//!
//! The flags of the descriptor are shared with other processes, so they stay as they are.

use std::os::fd::RawFd;

use polyphony_core::op::POSITION;

/// How far a transfer got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attempt {
    /// To its end: a count of bytes, or a negative errno.
    Done(isize),
    /// Nothing is there, or no room.
    Early,
    /// It is always ready and slow all the same, as files on disks are: only the ring or a thread can do it.
    Slow,
}

/// read(2), or pread(2) where `offset` is not [`POSITION`]. What is slow is done all the same where nobody can do it
/// otherwise.
///
/// # Safety
///
/// `buf` is room for `len` bytes.
pub(crate) unsafe fn read(fd: RawFd, buf: *mut u8, len: usize, offset: u64, slowly: bool) -> Attempt {
    let part = libc::iovec { iov_base: buf.cast(), iov_len: len };
    // SAFETY: by the contract above; the vector is alive for the calls.
    let (now, asked) = unsafe {
        (call(|| libc::preadv2(fd, &part, 1, offset as i64, libc::RWF_NOWAIT)), || {
            call(|| {
                if offset == POSITION {
                    libc::readv(fd, &part, 1)
                } else {
                    libc::preadv(fd, &part, 1, offset as i64)
                }
            })
        })
    };
    finish(fd, now, libc::POLLIN, slowly, asked)
}

/// write(2), or pwrite(2) where `offset` is not [`POSITION`]; `slowly` as in [`read`].
///
/// # Safety
///
/// `len` bytes stand at `buf`.
pub(crate) unsafe fn write(fd: RawFd, buf: *const u8, len: usize, offset: u64, slowly: bool) -> Attempt {
    if len == 0 {
        // What takes a vector looks at its length first, and never at who reads.
        // SAFETY: no byte is looked at.
        return Attempt::Done(call(|| unsafe { libc::write(fd, buf.cast(), 0) }));
    }
    let part = libc::iovec { iov_base: buf.cast_mut().cast(), iov_len: len };
    // SAFETY: by the contract above; the vector is alive for the calls.
    let (now, asked) = unsafe {
        (call(|| libc::pwritev2(fd, &part, 1, offset as i64, libc::RWF_NOWAIT)), || {
            call(|| {
                if offset == POSITION {
                    libc::writev(fd, &part, 1)
                } else {
                    libc::pwritev(fd, &part, 1, offset as i64)
                }
            })
        })
    };
    finish(fd, now, libc::POLLOUT, slowly, asked)
}

/// [`read`], where whatever keeps it from being done at once is all the same.
///
/// # Safety
///
/// As for [`read`].
pub(crate) unsafe fn read_now(fd: RawFd, buf: *mut u8, len: usize) -> Option<isize> {
    let part = libc::iovec { iov_base: buf.cast(), iov_len: len };
    // SAFETY: by the contract; the vector is alive for the call.
    at_once(call(|| unsafe { libc::preadv2(fd, &raw const part, 1, CURRENT, libc::RWF_NOWAIT) }))
}

/// How many bytes are there to be read; 0 also where the kernel does not say.
pub(crate) fn at_hand(fd: RawFd) -> u32 {
    let mut count: libc::c_int = 0;
    // SAFETY: the kernel writes one number, alive for the call.
    let failed = unsafe { libc::ioctl(fd, libc::FIONREAD, &raw mut count) } != 0;
    if failed { 0 } else { count.max(0) as u32 }
}

/// [`write`], where whatever keeps it from being done at once is all the same.
///
/// # Safety
///
/// As for [`write`].
pub(crate) unsafe fn write_now(fd: RawFd, buf: *const u8, len: usize) -> Option<isize> {
    let part = libc::iovec { iov_base: buf.cast_mut().cast(), iov_len: len };
    // SAFETY: by the contract; the vector is alive for the call.
    at_once(call(|| unsafe { libc::pwritev2(fd, &raw const part, 1, CURRENT, libc::RWF_NOWAIT) }))
}

fn at_once(result: isize) -> Option<isize> {
    (!matches!(-result, EAGAIN | ENOTSUP)).then_some(result)
}

/// write(2), of what is sure to be taken at once.
///
/// # Safety
///
/// `len` bytes stand at `buf`.
pub(crate) unsafe fn write_in_place(fd: RawFd, buf: *const u8, len: usize) -> isize {
    // SAFETY: by the contract above.
    call(|| unsafe { libc::write(fd, buf.cast(), len) })
}

fn finish(fd: RawFd, now: isize, events: i16, slowly: bool, asked: impl FnOnce() -> isize) -> Attempt {
    match -now {
        ENOTSUP | EAGAIN if slowly && is_slow(fd) => Attempt::Done(asked()),
        // Terminals and the like do not take RWF_NOWAIT, and are asked first whether they are ready.
        ENOTSUP if is_slow(fd) => Attempt::Slow,
        ENOTSUP if !is_ready(fd, events) => Attempt::Early,
        ENOTSUP => Attempt::Done(asked()),
        EAGAIN if is_slow(fd) => Attempt::Slow,
        EAGAIN => Attempt::Early,
        _ => Attempt::Done(now),
    }
}

/// The position that the descriptor itself has.
const CURRENT: libc::off_t = -1;
const ENOTSUP: isize = libc::EOPNOTSUPP as isize;
const EAGAIN: isize = libc::EAGAIN as isize;

/// Whether a descriptor never says that it is not ready.
pub(crate) fn is_slow(fd: RawFd) -> bool {
    // SAFETY: `stat` is plain data, alive for the call that fills it.
    let (failed, stat) = unsafe {
        let mut stat: libc::stat = std::mem::zeroed();
        (libc::fstat(fd, &mut stat), stat)
    };
    failed == 0 && matches!(stat.st_mode & libc::S_IFMT, libc::S_IFREG | libc::S_IFDIR | libc::S_IFBLK)
}

/// Whether a write goes to memory, and to the disk later: to a plain file that nobody opened for more than that.
pub(crate) fn is_cached(fd: RawFd) -> bool {
    // SAFETY: `stat` is plain data, alive for the call that fills it; the other call takes no pointer.
    let (failed, stat, flags) = unsafe {
        let mut stat: libc::stat = std::mem::zeroed();
        (libc::fstat(fd, &mut stat), stat, libc::fcntl(fd, libc::F_GETFL))
    };
    let at_once = libc::O_SYNC | libc::O_DSYNC | libc::O_DIRECT;
    failed == 0 && stat.st_mode & libc::S_IFMT == libc::S_IFREG && flags & at_once == 0
}

fn is_ready(fd: RawFd, events: i16) -> bool {
    let mut polled = libc::pollfd { fd, events, revents: 0 };
    // SAFETY: one pollfd, alive for the call.
    unsafe { libc::poll(&mut polled, 1, 0) != 0 }
}

/// A system call's result, or its negative errno; made again where a signal interrupted it.
fn call(mut call: impl FnMut() -> isize) -> isize {
    loop {
        let result = call();
        if result >= 0 {
            return result;
        }
        let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO);
        if errno != libc::EINTR {
            return -(errno as isize);
        }
    }
}
