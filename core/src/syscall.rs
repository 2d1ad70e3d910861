//! The operations as plain system calls: [`perform`] waits as long as it takes, the others never wait, but for
//! [`futex_wait`].
//!
//! Every result is >= 0 or a negative errno. A call that a signal interrupted is made again, but for that one. Nothing
//! here changes the flags of a user's descriptor, but [`connect`] for as long as its call takes.

mod turns;

use std::{
    mem,
    os::fd::RawFd,
    ptr,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    time::Duration,
};

use crate::{
    op::{Op, POSITION},
    time::Time,
};

/// What the kernel makes of a descriptor, as far as waiting goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nature {
    /// Takes MSG_DONTWAIT.
    Socket,
    /// Becomes ready: pipes, terminals, eventfds and other devices. Takes RWF_NOWAIT, or says that not.
    Stream,
    /// The same where nothing takes RWF_NOWAIT: it is asked first whether it is ready.
    Asked,
    /// Always ready, and slow all the same: files, directories, disks.
    Disk,
}

impl Nature {
    /// Looks at a descriptor; a bad one is a stream, whose first call says so.
    pub(crate) fn of(fd: RawFd) -> Self {
        // SAFETY: `stat` is plain data, for fstat to fill.
        let mut stat: libc::stat = unsafe { mem::zeroed() };
        // SAFETY: `stat` is alive for the call.
        if unsafe { libc::fstat(fd, &mut stat) } != 0 {
            return Nature::Stream;
        }
        match stat.st_mode & libc::S_IFMT {
            libc::S_IFSOCK => Nature::Socket,
            libc::S_IFREG | libc::S_IFDIR | libc::S_IFBLK => Nature::Disk,
            _ => Nature::Stream,
        }
    }

    /// The same descriptor before a kernel that has RWF_NOWAIT or not.
    pub(crate) fn with(self, nowait: bool) -> Self {
        if self == Nature::Stream && !nowait { Nature::Asked } else { self }
    }
}

/// Makes the operation's own system call and waits for its end.
///
/// A pooled read has no buffer here and a repeated operation no end: those are for their backends to
/// translate first, and fail with `EINVAL`.
pub(crate) fn perform(op: &Op) -> i32 {
    // SAFETY: what an op points to is alive until its last completion, by the contract of
    // `Shard::submit`, and that completion is what this call's result becomes. Paths end with a zero
    // byte; the pointers of an accept and of a waitid may be null.
    unsafe {
        match *op {
            Op::Nop => 0,
            Op::Read { fd, buf, len, offset: POSITION } => retry(|| libc::read(fd, buf.cast(), len as usize)),
            Op::Read { fd, buf, len, offset } => {
                retry(|| libc::pread64(fd, buf.cast(), len as usize, offset as i64))
            }
            Op::Write { fd, buf, len, offset: POSITION } => {
                retry(|| libc::write(fd, buf.cast(), len as usize))
            }
            Op::Write { fd, buf, len, offset } => {
                retry(|| libc::pwrite64(fd, buf.cast(), len as usize, offset as i64))
            }
            // The offset -1 means the position to these two as well.
            Op::Readv { fd, iov, count, offset } => {
                retry(|| libc::preadv2(fd, iov, count as i32, offset as i64, 0))
            }
            Op::Writev { fd, iov, count, offset } => {
                retry(|| libc::pwritev2(fd, iov, count as i32, offset as i64, 0))
            }
            Op::Recv { fd, buf, len, flags } => retry(|| libc::recv(fd, buf.cast(), len as usize, flags)),
            Op::Send { fd, buf, len, flags } => {
                retry(|| libc::send(fd, buf.cast(), len as usize, flags | libc::MSG_NOSIGNAL))
            }
            Op::RecvMsg { fd, msg, flags } => retry(|| libc::recvmsg(fd, msg, flags)),
            Op::SendMsg { fd, msg, flags } => retry(|| libc::sendmsg(fd, msg, flags | libc::MSG_NOSIGNAL)),
            Op::Accept { fd, addr, len, flags } => retry(|| libc::accept4(fd, addr, len, flags) as isize),
            Op::Connect { fd, addr, len } => retry(|| libc::connect(fd, addr, len) as isize),
            Op::OpenAt { dir, path, flags, mode } => retry(|| libc::openat(dir, path, flags, mode) as isize),
            // Linux closes even when a signal interrupts: never again.
            Op::Close { fd } => match result(libc::close(fd) as isize) {
                interrupted if interrupted == -libc::EINTR => 0,
                other => other,
            },
            Op::Shutdown { fd, how } => result(libc::shutdown(fd, how) as isize),
            Op::Poll { fd, events } => poll(fd, events, -1),
            Op::Splice { from, from_offset, to, to_offset, len, flags } => {
                splice(from, from_offset, to, to_offset, len, flags)
            }
            Op::Tee { from, to, len, flags } => retry(|| libc::tee(from, to, len as usize, flags)),
            Op::Fsync { fd, data_only: true } => retry(|| libc::fdatasync(fd) as isize),
            Op::Fsync { fd, data_only: false } => retry(|| libc::fsync(fd) as isize),
            Op::Statx { dir, path, flags, mask, into } => {
                retry(|| libc::statx(dir, path, flags, mask, into) as isize)
            }
            Op::RenameAt { dir, path, to_dir, to, flags } => {
                retry(|| libc::renameat2(dir, path, to_dir, to, flags) as isize)
            }
            Op::UnlinkAt { dir, path, flags } => retry(|| libc::unlinkat(dir, path, flags) as isize),
            Op::MkdirAt { dir, path, mode } => retry(|| libc::mkdirat(dir, path, mode) as isize),
            Op::Timeout { deadline } => sleep_until(deadline.0),
            Op::WaitId { kind, id, info, options } => {
                let no_usage = ptr::null::<libc::rusage>();
                retry(|| libc::syscall(libc::SYS_waitid, kind, id, info, options, no_usage) as isize)
            }
            Op::Socket { domain, kind, protocol } => result(libc::socket(domain, kind, protocol) as isize),
            Op::Offload { function, argument } => {
                function(argument);
                0
            }
            Op::ReadPooled { .. } | Op::RecvPooled { .. } | Op::AcceptMany { .. } | Op::PollMany { .. } => {
                -libc::EINVAL
            }
        }
    }
}

/// Reads what is there into a buffer of ours, for a pooled read: `-EAGAIN` where nothing is.
pub(crate) fn read_now(op: &Op, buf: *mut u8, size: u32, nowait: bool) -> i32 {
    match *op {
        Op::RecvPooled { fd, len, flags } => receive(fd, buf, len.min(size), flags),
        Op::ReadPooled { fd, len } => read(fd, Nature::of(fd).with(nowait), buf, len.min(size)),
        _ => -libc::EINVAL,
    }
}

/// read(2) without waiting.
pub(crate) fn read(fd: RawFd, nature: Nature, buf: *mut u8, len: u32) -> i32 {
    if nature == Nature::Socket {
        return receive(fd, buf, len, 0);
    }
    let part = libc::iovec { iov_base: buf.cast(), iov_len: len as usize };
    readv(fd, nature, &part, 1)
}

/// write(2) without waiting.
pub(crate) fn write(fd: RawFd, nature: Nature, buf: *const u8, len: u32) -> i32 {
    if nature == Nature::Socket {
        return send(fd, buf, len, 0);
    }
    let part = libc::iovec { iov_base: buf.cast_mut().cast(), iov_len: len as usize };
    writev(fd, nature, &part, 1)
}

/// readv(2) without waiting.
pub(crate) fn readv(fd: RawFd, nature: Nature, iov: *const libc::iovec, count: u32) -> i32 {
    if nature == Nature::Socket {
        return receive_message(fd, &mut message(iov, count), 0);
    }
    if nature != Nature::Asked {
        // SAFETY: the vectors and what they point to are alive until the operation's last completion.
        let read = retry(|| unsafe { libc::preadv2(fd, iov, count as i32, -1, libc::RWF_NOWAIT) });
        if read != -libc::EOPNOTSUPP {
            return read;
        }
    }
    // SAFETY: as in the call above.
    where_ready(fd, libc::POLLIN as u32, || retry(|| unsafe { libc::readv(fd, iov, count as i32) }))
}

/// writev(2) without waiting.
pub(crate) fn writev(fd: RawFd, nature: Nature, iov: *const libc::iovec, count: u32) -> i32 {
    if nature == Nature::Socket {
        return send_message(fd, &message(iov, count), 0);
    }
    if nature != Nature::Asked {
        // SAFETY: as in `readv`.
        let written = retry(|| unsafe { libc::pwritev2(fd, iov, count as i32, -1, libc::RWF_NOWAIT) });
        if written != -libc::EOPNOTSUPP {
            return written;
        }
    }
    where_ready(fd, libc::POLLOUT as u32, || write_first_bytes(fd, iov, count))
}

/// Writes no more than a descriptor that says it is writable takes without waiting: a terminal has room
/// for 256 bytes then, a pipe for a page.
fn write_first_bytes(fd: RawFd, iov: *const libc::iovec, count: u32) -> i32 {
    const ROOM: usize = 256;
    let mut room = ROOM;
    for index in 0..count as usize {
        // SAFETY: there are `count` vectors.
        let libc::iovec { iov_base, iov_len } = unsafe { *iov.add(index) };
        match iov_len {
            fits if fits <= room => room -= fits,
            // SAFETY: the first bytes of the caller's memory.
            _ if room == ROOM => return retry(|| unsafe { libc::write(fd, iov_base, room) }),
            // SAFETY: the first of the caller's vectors.
            _ => return retry(|| unsafe { libc::writev(fd, iov, index as i32) }),
        }
    }
    // SAFETY: the caller's vectors.
    retry(|| unsafe { libc::writev(fd, iov, count as i32) })
}

/// recv(2) without waiting.
pub(crate) fn receive(fd: RawFd, buf: *mut u8, len: u32, flags: i32) -> i32 {
    // SAFETY: the caller's `len` bytes are alive for the call.
    retry(|| unsafe { libc::recv(fd, buf.cast(), len as usize, flags | libc::MSG_DONTWAIT) })
}

/// send(2) without waiting.
pub(crate) fn send(fd: RawFd, buf: *const u8, len: u32, flags: i32) -> i32 {
    let flags = flags | libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the caller's `len` bytes are alive for the call.
    retry(|| unsafe { libc::send(fd, buf.cast(), len as usize, flags) })
}

/// recvmsg(2) without waiting.
pub(crate) fn receive_message(fd: RawFd, msg: *mut libc::msghdr, flags: i32) -> i32 {
    // SAFETY: the header and what it points to are alive for the call.
    retry(|| unsafe { libc::recvmsg(fd, msg, flags | libc::MSG_DONTWAIT) })
}

/// sendmsg(2) without waiting.
pub(crate) fn send_message(fd: RawFd, msg: *const libc::msghdr, flags: i32) -> i32 {
    let flags = flags | libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the header and what it points to are alive for the call.
    retry(|| unsafe { libc::sendmsg(fd, msg, flags) })
}

/// accept4(2) without waiting.
pub(crate) fn accept(fd: RawFd, addr: *mut libc::sockaddr, len: *mut libc::socklen_t, flags: i32) -> i32 {
    // SAFETY: both pointers are null, or alive for the call.
    let accept = || retry(|| unsafe { libc::accept4(fd, addr, len, flags) as isize });
    match where_ready(fd, libc::POLLIN as u32, accept) {
        // Of what does not listen nothing would ever come; the call says so at once.
        early if early == -libc::EAGAIN && option(fd, libc::SO_ACCEPTCONN) != 1 => accept(),
        result => result,
    }
}

/// A call that cannot be told not to wait, made where the file says that it would not: else `-EAGAIN`. No other thread
/// that comes here takes in between what there is; another process, or a plain thread, that does so can still make us wait
/// for the next.
fn where_ready(fd: RawFd, events: u32, call: impl FnOnce() -> i32) -> i32 {
    if is_nonblocking(fd) {
        return call(); // it has been told not to wait
    }
    let asked = || match poll(fd, events, 0) {
        0 => -libc::EAGAIN,
        failed if failed < 0 => failed,
        _ => 0,
    };
    // Who would have to wait anyway does not wait for a turn.
    let early = asked();
    if early < 0 {
        return early;
    }
    let (device, number) = identity(fd);
    let _turn = turns::at((device, number, events));
    match asked() {
        0 => call(),
        early => early,
    }
}

/// What a file is known by, whatever descriptors it has.
fn identity(fd: RawFd) -> (u64, u64) {
    // SAFETY: `stat` is plain data, for fstat to fill.
    let mut stat: libc::stat = unsafe { mem::zeroed() };
    // SAFETY: `stat` is alive for the call. A bad descriptor leaves the zeroes.
    unsafe { libc::fstat(fd, &mut stat) };
    (stat.st_dev, stat.st_ino)
}

/// Starts a connect(2) without waiting: `-EINPROGRESS` where readiness will tell the end of it.
///
/// This call alone cannot be told not to wait, so a socket that blocks is made not to for as long as the
/// call takes. Nobody reads or writes a socket that is about to be connected, so nobody sees it.
pub(crate) fn connect(fd: RawFd, addr: *const libc::sockaddr, len: libc::socklen_t) -> i32 {
    let flags = open_flags(fd);
    let blocks = flags >= 0 && flags & libc::O_NONBLOCK == 0;
    if blocks {
        // SAFETY: no pointers.
        unsafe { libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK) };
    }
    // SAFETY: `len` bytes stand at `addr` for the call.
    let result = retry(|| unsafe { libc::connect(fd, addr, len) as isize });
    if blocks {
        // SAFETY: no pointers.
        unsafe { libc::fcntl(fd, libc::F_SETFL, flags) };
    }
    result
}

/// How a connect that was in progress ended; `-EAGAIN` where it has not.
pub(crate) fn connected(fd: RawFd) -> i32 {
    match poll(fd, libc::POLLOUT as u32, 0) {
        0 => return -libc::EAGAIN,
        failed if failed < 0 => return failed,
        _ => {}
    }
    let mut error = 0;
    let mut len = size_of::<i32>() as libc::socklen_t;
    let at = (&raw mut error).cast();
    // SAFETY: `error` is room for the four bytes that `len` says.
    match result(unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_ERROR, at, &mut len) as isize }) {
        0 => -error,
        failed => failed,
    }
}

/// poll(2) on one descriptor: the events that are there, 0 where time ran out.
pub(crate) fn poll(fd: RawFd, events: u32, milliseconds: i32) -> i32 {
    if fd < 0 {
        return -libc::EBADF; // which poll(2) would pass over
    }
    let mut polled = libc::pollfd { fd, events: events as i16, revents: 0 };
    // SAFETY: one pollfd, alive for the call.
    let count = retry(|| unsafe { libc::poll(&mut polled, 1, milliseconds) as isize });
    match polled.revents {
        _ if count < 0 => count,
        revents if revents & libc::POLLNVAL != 0 => -libc::EBADF,
        revents => i32::from(revents as u16),
    }
}

/// poll(2) on many descriptors.
pub(crate) fn poll_all(polled: &mut [libc::pollfd], milliseconds: i32) {
    // SAFETY: as many pollfds as the slice has.
    unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, milliseconds) };
}

/// splice(2).
fn splice(from: RawFd, from_at: u64, to: RawFd, to_at: u64, len: u32, flags: u32) -> i32 {
    let (mut from_at, mut to_at) = (from_at as i64, to_at as i64);
    let offset = |at: &mut i64| if *at as u64 == POSITION { ptr::null_mut() } else { ptr::from_mut(at) };
    let (from_at, to_at) = (offset(&mut from_at), offset(&mut to_at));
    // SAFETY: the offsets are null or this function's own.
    retry(|| unsafe { libc::splice(from, from_at, to, to_at, len as usize, flags) })
}

/// Whether a socket carries a stream, in which bytes that come later belong to those that came.
pub(crate) fn carries_stream(fd: RawFd) -> bool {
    option(fd, libc::SO_TYPE) == libc::SOCK_STREAM
}

/// A number that a socket tells of itself; 0 for what is no socket.
fn option(fd: RawFd, name: i32) -> i32 {
    let mut value = 0;
    let mut len = size_of::<i32>() as libc::socklen_t;
    let at = (&raw mut value).cast();
    // SAFETY: `value` is room for the four bytes that `len` says.
    unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, name, at, &mut len) };
    value
}

/// Whether operations on a descriptor never wait because somebody made it so.
pub(crate) fn is_nonblocking(fd: RawFd) -> bool {
    let flags = open_flags(fd);
    flags >= 0 && flags & libc::O_NONBLOCK != 0
}

/// How a descriptor was opened, as in open(2), or -1 where there is none.
pub(crate) fn open_flags(fd: RawFd) -> i32 {
    // SAFETY: no pointers.
    unsafe { libc::fcntl(fd, libc::F_GETFL) }
}

/// Whether a descriptor never becomes ready because it always is: files, directories and some devices.
pub(crate) fn is_always_ready(fd: RawFd) -> bool {
    if Nature::of(fd) == Nature::Socket {
        return false;
    }
    // Only an epoll says so.
    let epoll = epoll_create();
    let added = epoll_control(epoll, libc::EPOLL_CTL_ADD, fd, 0, 0);
    close(epoll);
    added == -libc::EPERM
}

/// An epoll of our own.
pub(crate) fn epoll_create() -> i32 {
    // SAFETY: no pointers.
    result(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) as isize })
}

/// epoll_ctl(2).
pub(crate) fn epoll_control(epoll: RawFd, action: i32, fd: RawFd, events: u32, data: u64) -> i32 {
    let mut event = libc::epoll_event { events, u64: data };
    // SAFETY: one event, alive for the call.
    result(unsafe { libc::epoll_ctl(epoll, action, fd, &mut event) as isize })
}

/// epoll_pwait2(2): fills `events` and says how many came; no `span` means until one comes.
pub(crate) fn epoll_wait(epoll: RawFd, events: &mut [libc::epoll_event], span: Option<Duration>) -> i32 {
    let most = events.len() as i32;
    if !NO_PWAIT2.load(Ordering::Relaxed) {
        let timespec = span.map(|span| libc::timespec {
            tv_sec: span.as_secs().min(i64::MAX as u64) as i64,
            tv_nsec: span.subsec_nanos().into(),
        });
        let timespec = timespec.as_ref().map_or(ptr::null(), ptr::from_ref);
        // SAFETY: room for `most` events and a timespec or none, alive for the call; no signal mask.
        let count = result(unsafe {
            let call = libc::SYS_epoll_pwait2;
            libc::syscall(call, epoll, events.as_mut_ptr(), most, timespec, ptr::null::<u8>(), 0) as isize
        });
        if count != -libc::ENOSYS {
            return count;
        }
        NO_PWAIT2.store(true, Ordering::Relaxed);
    }
    // Rounded up: a timer that is looked for too early would be looked for again.
    let milliseconds =
        span.map_or(-1, |span| i32::try_from(span.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX));
    // SAFETY: as above.
    result(unsafe { libc::epoll_wait(epoll, events.as_mut_ptr(), most, milliseconds) as isize })
}

/// Whether the kernel is too old for epoll_pwait2 (Linux 5.11).
static NO_PWAIT2: AtomicBool = AtomicBool::new(false);

/// Reaps a child without waiting: `-EAGAIN` where none has anything to tell.
pub(crate) fn wait_id_now(
    kind: libc::idtype_t,
    id: libc::id_t,
    info: *mut libc::siginfo_t,
    options: i32,
) -> i32 {
    // SAFETY: plain data, for waitid to fill.
    let mut reaped: libc::siginfo_t = unsafe { mem::zeroed() };
    // SAFETY: `reaped` is alive for the call.
    let waited = retry(|| unsafe { libc::waitid(kind, id, &mut reaped, options | libc::WNOHANG) as isize });
    // SAFETY: waitid filled in what a SIGCHLD carries, or left the zeroes, which stand for nobody.
    if waited == 0 && unsafe { reaped.si_pid() } == 0 && options & libc::WNOHANG == 0 {
        return -libc::EAGAIN;
    }
    if waited == 0 && !info.is_null() {
        // SAFETY: the submitter keeps `info` alive until the completion that this result becomes.
        unsafe { info.write(reaped) };
    }
    waited
}

/// A descriptor that becomes readable when a process ends.
pub(crate) fn pidfd(pid: libc::id_t) -> i32 {
    // SAFETY: no pointers. A pidfd is always closed on exec.
    result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) as isize })
}

/// Another descriptor of the same file.
pub(crate) fn duplicate(fd: RawFd) -> i32 {
    // SAFETY: no pointers.
    result(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 0) as isize })
}

/// Closes a descriptor of our own.
pub(crate) fn close(fd: RawFd) {
    // SAFETY: the callers own what they close.
    unsafe { libc::close(fd) };
}

/// The calling process.
pub(crate) fn pid() -> i32 {
    // SAFETY: takes nothing, cannot fail.
    unsafe { libc::getpid() }
}

/// Keeps signal handlers away from the calling thread.
pub(crate) fn block_signals() {
    // SAFETY: the set is alive for both calls, and the old mask is not asked for.
    unsafe {
        let mut all: libc::sigset_t = mem::zeroed();
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_BLOCK, &all, ptr::null_mut());
    }
}

/// A message without address and ancillary data.
fn message(iov: *const libc::iovec, count: u32) -> libc::msghdr {
    // SAFETY: a header of zeroes is an empty one.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = iov.cast_mut();
    message.msg_iovlen = count as usize;
    message
}

/// Sleeps while a word has a value, until somebody wakes it, a signal comes (`-EINTR`), or that time of the monotonic
/// clock (`-ETIMEDOUT`); `-EAGAIN` where it has another value. futex(2), for threads of this process.
pub(crate) fn futex_wait(word: &AtomicU32, value: u32, deadline: Option<Time>) -> i32 {
    // Without a time the kernel begins the wait again after a handler with SA_RESTART.
    let at = timespec(deadline.map_or(u64::MAX, |Time(at)| at));
    let operation = libc::FUTEX_WAIT_BITSET | libc::FUTEX_PRIVATE_FLAG;
    let (unused, everybody) = (ptr::null::<u32>(), libc::FUTEX_BITSET_MATCH_ANY);
    // SAFETY: the word and the timespec are alive for the call, which writes neither.
    let slept = unsafe {
        libc::syscall(libc::SYS_futex, word.as_ptr(), operation, value, &raw const at, unused, everybody)
    };
    result(slept as isize)
}

/// Wakes one who sleeps on a word.
pub(crate) fn futex_wake(word: &AtomicU32) {
    let operation = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
    // SAFETY: the word's address is all that is looked at.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), operation, 1) };
}

fn timespec(nanoseconds: u64) -> libc::timespec {
    libc::timespec {
        tv_sec: (nanoseconds / 1_000_000_000) as i64,
        tv_nsec: (nanoseconds % 1_000_000_000) as i64,
    }
}

fn sleep_until(nanoseconds: u64) -> i32 {
    let at = timespec(nanoseconds);
    let (clock, absolute) = (libc::CLOCK_MONOTONIC, libc::TIMER_ABSTIME);
    // This call alone returns its errno instead of setting it.
    // SAFETY: `at` is alive for the call.
    while unsafe { libc::clock_nanosleep(clock, absolute, &at, ptr::null_mut()) } == libc::EINTR {}
    0
}

/// Makes a call until no signal interrupts it.
fn retry(mut call: impl FnMut() -> isize) -> i32 {
    loop {
        match result(call()) {
            interrupted if interrupted == -libc::EINTR => continue,
            other => return other,
        }
    }
}

/// What a call returned, or its errno, negative.
fn result(returned: isize) -> i32 {
    if returned >= 0 {
        return i32::try_from(returned).unwrap_or(i32::MAX);
    }
    -std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)
}
