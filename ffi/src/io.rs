//! Operations.

use std::ffi::{c_char, c_int, c_short, c_uint, c_void};

use libc::{iovec, mode_t, msghdr, sockaddr, socklen_t, statx};
use polyphony_core::{
    native::{self, Errno, Result, io::length},
    op::{Op, POSITION},
};

use crate::boundary::{call, done};

/// Performs an operation whose result is a count.
fn count(op: Op) -> i64 {
    call(|| perform(&op).map(i64::from))
}

/// Performs an operation whose result is an int.
fn int(op: Op) -> c_int {
    call(|| perform(&op))
}

fn perform(op: &Op) -> Result<i32> {
    // SAFETY: what it points to is the caller's, and by the header's conventions lives for the call.
    Errno::check(unsafe { native::perform(op) })
}

/// How many parts a vector has; a negative count is as wrong as the kernel says it is.
fn parts(count: c_int) -> Result<u32> {
    u32::try_from(count).map_err(|_| Errno::new(libc::EINVAL))
}

/// An offset of the caller's: negative for none, where the operation allows that.
fn offset(offset: i64) -> u64 {
    u64::try_from(offset).unwrap_or(POSITION)
}

/// An offset that must be given.
fn position(offset: i64) -> Result<u64> {
    u64::try_from(offset).map_err(|_| Errno::new(libc::EINVAL))
}

/// Reads up to `length` bytes from `fd` into `buffer`.
///
/// Suspends the calling fiber, not the thread. Outside a fiber it is read(2).
/// Returns the bytes read, 0 at end of file, or a negative error number. Any thread. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_read(fd: c_int, buffer: *mut c_void, length: usize) -> i64 {
    count(Op::Read { fd, buf: buffer.cast(), len: self::length(length), offset: POSITION })
}

/// Writes up to `length` bytes to `fd`; it may be fewer. Like write(2) it raises SIGPIPE where nobody reads.
///
/// Suspends the calling fiber, not the thread. Outside a fiber it is write(2).
/// Returns the bytes written, or a negative error number. Any thread. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_write(fd: c_int, buffer: *const c_void, length: usize) -> i64 {
    count(Op::Write { fd, buf: buffer.cast(), len: self::length(length), offset: POSITION })
}

/// Reads at an offset, which must not be negative, and leaves the file's position alone: pread(2).
/// For files: a pipe or a socket has no offsets, and may pass over this one or answer -ESPIPE.
///
/// Suspends. Returns the bytes read, 0 at end of file, or a negative error number. Any thread. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_pread(fd: c_int, buffer: *mut c_void, length: usize, offset: i64) -> i64 {
    call(|| {
        let op = Op::Read { fd, buf: buffer.cast(), len: self::length(length), offset: position(offset)? };
        perform(&op).map(i64::from)
    })
}

/// Writes at an offset, which must not be negative, and leaves the file's position alone: pwrite(2).
/// For files: a pipe or a socket has no offsets, and may pass over this one or answer -ESPIPE.
///
/// Suspends. Returns the bytes written, or a negative error number. Any thread. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_pwrite(fd: c_int, buffer: *const c_void, length: usize, offset: i64) -> i64 {
    call(|| {
        let op = Op::Write { fd, buf: buffer.cast(), len: self::length(length), offset: position(offset)? };
        perform(&op).map(i64::from)
    })
}

/// Reads into several buffers in turn: readv(2).
///
/// The vector is borrowed like the buffers. Suspends.
/// Returns the bytes read, 0 at end of file, or a negative error number. Any thread. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_readv(fd: c_int, vector: *const iovec, count: c_int) -> i64 {
    call(|| perform(&Op::Readv { fd, iov: vector, count: parts(count)?, offset: POSITION }).map(i64::from))
}

/// Writes several buffers in turn: writev(2).
///
/// The vector is borrowed like the buffers. Suspends.
/// Returns the bytes written, or a negative error number. Any thread. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_writev(fd: c_int, vector: *const iovec, count: c_int) -> i64 {
    call(|| perform(&Op::Writev { fd, iov: vector, count: parts(count)?, offset: POSITION }).map(i64::from))
}

/// Receives up to `length` bytes: recv(2).
///
/// Suspends, also where the socket does not block, unless `flags` has MSG_DONTWAIT.
/// Returns the bytes received, 0 at the end, or a negative error number. Any thread. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_recv(fd: c_int, buffer: *mut c_void, length: usize, flags: c_int) -> i64 {
    count(Op::Recv { fd, buf: buffer.cast(), len: self::length(length), flags })
}

/// Sends up to `length` bytes: send(2), which never raises SIGPIPE here.
///
/// Suspends, also where the socket does not block, unless `flags` has MSG_DONTWAIT.
/// Returns the bytes sent, or a negative error number. Any thread. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_send(fd: c_int, buffer: *const c_void, length: usize, flags: c_int) -> i64 {
    count(Op::Send { fd, buf: buffer.cast(), len: self::length(length), flags })
}

/// Receives a message: recvmsg(2). All that `message` points to is borrowed.
///
/// Suspends. Returns the bytes received, or a negative error number. Any thread. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_recvmsg(fd: c_int, message: *mut msghdr, flags: c_int) -> i64 {
    count(Op::RecvMsg { fd, msg: message, flags })
}

/// Sends a message: sendmsg(2), which never raises SIGPIPE here. All that `message` points to is borrowed.
///
/// Suspends. Returns the bytes sent, or a negative error number. Any thread. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_sendmsg(fd: c_int, message: *const msghdr, flags: c_int) -> i64 {
    count(Op::SendMsg { fd, msg: message, flags })
}

/// Accepts a connection: accept4(2). `address` and `length` may both be NULL.
///
/// Suspends. Returns a descriptor, which is the caller's to close, or a negative error number: with
/// -EMFILE the connection still waits, and can be accepted later. Any thread. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_accept(
    fd: c_int,
    address: *mut sockaddr,
    length: *mut socklen_t,
    flags: c_int,
) -> c_int {
    int(Op::Accept { fd, addr: address, len: length, flags })
}

/// Connects a socket: connect(2), to its end.
///
/// Suspends. Returns 0 or a negative error number. Any thread. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_connect(fd: c_int, address: *const sockaddr, length: socklen_t) -> c_int {
    int(Op::Connect { fd, addr: address, len: length })
}

/// Makes a socket: socket(2).
///
/// May suspend. Returns a descriptor, which is the caller's to close, or a negative error number.
/// Any thread. Since 2.0.
#[unsafe(no_mangle)]
pub extern "C" fn poly_socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int {
    int(Op::Socket { domain, kind, protocol })
}

/// Shuts a connection down, in one direction or both: shutdown(2).
///
/// Suspends. Returns 0 or a negative error number. Any thread. Since 2.0.
#[unsafe(no_mangle)]
pub extern "C" fn poly_shutdown(fd: c_int, how: c_int) -> c_int {
    int(Op::Shutdown { fd, how })
}

/// Closes a descriptor. Calls of the runtime's other fibers on it end first, with -EBADF; those of another
/// runtime, and of threads, are not told.
///
/// Suspends. It closes also when the calling fiber has been cancelled, and never answers -ECANCELED.
/// Returns 0 or a negative error number. Any thread. Since 2.0.
#[unsafe(no_mangle)]
pub extern "C" fn poly_close(fd: c_int) -> c_int {
    done(|| native::close(fd))
}

/// Wakes everybody who waits for a descriptor: the calls of the runtime's fibers on it end with -EBADF, as if it
/// were closed, an acceptor's too. For a descriptor that something else is about to close, which `poly_close`
/// does by itself.
///
/// May suspend; never refused for a cancellation or a deadline. Fibers only.
/// Returns how many calls were ended; -EPERM outside a fiber. Since 2.0.
#[unsafe(no_mangle)]
pub extern "C" fn poly_poll_cancel_fd(fd: c_int) -> i64 {
    call(|| native::cancel_fd(fd).map(|count| count as i64))
}

/// Opens a file: openat(2). `directory` may be AT_FDCWD; `mode` counts where the file is created.
///
/// Suspends. Returns a descriptor, which is the caller's to close, or a negative error number.
/// Any thread. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_openat(
    directory: c_int,
    path: *const c_char,
    flags: c_int,
    mode: mode_t,
) -> c_int {
    int(Op::OpenAt { dir: directory, path, flags, mode })
}

/// Writes a file's data, and its metadata too unless `data_only`, to its device: fsync(2), fdatasync(2).
///
/// Suspends. Returns 0 or a negative error number. Any thread. Since 2.0.
#[unsafe(no_mangle)]
pub extern "C" fn poly_fsync(fd: c_int, data_only: c_int) -> c_int {
    int(Op::Fsync { fd, data_only: data_only != 0 })
}

/// Describes a file: statx(2). `*into` is written on success.
///
/// Suspends. Returns 0 or a negative error number. Any thread. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_statx(
    directory: c_int,
    path: *const c_char,
    flags: c_int,
    mask: c_uint,
    into: *mut statx,
) -> c_int {
    int(Op::Statx { dir: directory, path, flags, mask, into })
}

/// Waits until one of `events` (POLLIN, …) has come to a descriptor.
///
/// Suspends; a scope gives it a deadline. Returns the events that have come, or a negative error number.
/// Any thread. Since 2.0.
#[unsafe(no_mangle)]
pub extern "C" fn poly_poll(fd: c_int, events: c_short) -> c_int {
    int(Op::Poll { fd, events: u32::from(events as u16) })
}

/// Moves bytes between a pipe and another descriptor without copying: splice(2). A negative offset is
/// none: pipes have none, files then use their position. Offsets are not updated.
///
/// Suspends. Returns the bytes moved, 0 at the end, or a negative error number. Any thread. Since 2.0.
#[unsafe(no_mangle)]
pub extern "C" fn poly_splice(
    from: c_int,
    from_offset: i64,
    to: c_int,
    to_offset: i64,
    length: usize,
    flags: c_uint,
) -> i64 {
    let (from_offset, to_offset) = (offset(from_offset), offset(to_offset));
    count(Op::Splice { from, from_offset, to, to_offset, len: self::length(length), flags })
}

/// Copies bytes from pipe to pipe and leaves them in the first: tee(2).
///
/// Suspends. Returns the bytes copied, 0 at the end, or a negative error number. Any thread. Since 2.0.
#[unsafe(no_mangle)]
pub extern "C" fn poly_tee(from: c_int, to: c_int, length: usize, flags: c_uint) -> i64 {
    count(Op::Tee { from, to, len: self::length(length), flags })
}

/// Waits for a child process: waitid(2). `kind` is an idtype_t (P_PID, P_ALL, …), `info` points to a
/// siginfo_t, which is written on success, or is NULL.
///
/// Suspends. Returns 0 or a negative error number. Any thread. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_waitid(kind: c_int, id: u32, info: *mut c_void, options: c_int) -> c_int {
    call(|| {
        let kind = u32::try_from(kind).map_err(|_| Errno::new(libc::EINVAL))?;
        perform(&Op::WaitId { kind, id, info: info.cast(), options })
    })
}
