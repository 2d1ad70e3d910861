//! Each operation as far as it gets without waiting.

use std::{os::fd::RawFd, time::Duration};

use crate::{
    op::{Op, POSITION},
    syscall::{self, Nature},
};

const IN: u32 = libc::POLLIN as u32;
const OUT: u32 = libc::POLLOUT as u32;

/// How far an operation got.
#[derive(Clone, Copy, Debug)]
pub(super) enum Attempt {
    /// To its end.
    Done(i32),
    /// It goes on when this descriptor is ready.
    Wait(RawFd, u32),
    /// It goes on at that time, monotonic: nothing tells when it could.
    At(u64),
    /// It goes on after a while.
    Later(Duration),
    /// Only a thread can do this.
    Offload(Op),
}

/// What an operation has to remember between attempts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Progress {
    nature: Nature,
    /// Bytes that have been received or sent where all are wanted.
    pub(super) done: u32,
    connecting: bool,
}

impl Progress {
    pub(super) fn new(op: &Op, nowait: bool) -> Self {
        let nature = match *op {
            Op::Read { fd, .. }
            | Op::Write { fd, .. }
            | Op::Readv { fd, .. }
            | Op::Writev { fd, .. }
            | Op::ReadPooled { fd, .. } => Nature::of(fd).with(nowait),
            _ => Nature::Socket,
        };
        Progress { nature, done: 0, connecting: false }
    }
}

use self::Attempt::{At, Done, Later, Offload, Wait};

/// Does what can be done now. A pooled read brings its buffer in `lent`.
///
/// An offset is meant for files; pipes and sockets have none and pass over it, as in the ring.
pub(super) fn attempt(op: &Op, progress: &mut Progress, lent: Option<(*mut u8, u32)>) -> Attempt {
    let nature = progress.nature;
    match *op {
        Op::Nop => Done(0),
        Op::Read { .. } | Op::Write { .. } | Op::Readv { .. } | Op::Writev { .. }
            if nature == Nature::Disk =>
        {
            Offload(*op)
        }
        Op::Read { fd, buf, len, .. } => wait_if_early(syscall::read(fd, nature, buf, len), fd, IN),
        Op::Write { fd, buf, len, .. } => wait_if_early(syscall::write(fd, nature, buf, len), fd, OUT),
        Op::Readv { fd, iov, count, .. } => wait_if_early(syscall::readv(fd, nature, iov, count), fd, IN),
        Op::Writev { fd, iov, count, .. } => wait_if_early(syscall::writev(fd, nature, iov, count), fd, OUT),
        Op::ReadPooled { fd, len } => {
            let Some((buf, size)) = lent else { return Done(-libc::ENOBUFS) };
            match nature {
                Nature::Disk => Offload(Op::Read { fd, buf, len: len.min(size), offset: POSITION }),
                Nature::Socket | Nature::Stream | Nature::Asked => {
                    wait_if_early(syscall::read(fd, nature, buf, len.min(size)), fd, IN)
                }
            }
        }
        Op::RecvPooled { fd, len, flags } => {
            let Some((buf, size)) = lent else { return Done(-libc::ENOBUFS) };
            unless_told(flags, syscall::receive(fd, buf, len.min(size), flags), fd, wanted(flags))
        }
        Op::Recv { fd, buf, len, flags } => receive_all(fd, buf, len, flags, &mut progress.done),
        Op::Send { fd, buf, len, flags } => send_all(fd, buf, len, flags, &mut progress.done),
        Op::RecvMsg { fd, msg, flags } => {
            unless_told(flags, syscall::receive_message(fd, msg, flags), fd, wanted(flags))
        }
        Op::SendMsg { fd, msg, flags } => unless_told(flags, syscall::send_message(fd, msg, flags), fd, OUT),
        Op::Accept { fd, addr, len, flags } => wait_if_early(syscall::accept(fd, addr, len, flags), fd, IN),
        Op::AcceptMany { fd, flags } => {
            let nobody = std::ptr::null_mut();
            wait_if_early(syscall::accept(fd, nobody, nobody.cast(), flags), fd, IN)
        }
        Op::Connect { fd, .. } if progress.connecting => wait_if_early(syscall::connected(fd), fd, OUT),
        Op::Connect { fd, addr, len } => match syscall::connect(fd, addr, len) {
            started if started == -libc::EINPROGRESS => {
                progress.connecting = true;
                Wait(fd, OUT)
            }
            // A local listener whose queue is full does not tell when it has room again.
            full if full == -libc::EAGAIN => Later(FULL_QUEUE),
            result => Done(result),
        },
        Op::Poll { fd, events } => match syscall::poll(fd, events, 0) {
            0 => Wait(fd, events),
            ready => Done(ready),
        },
        Op::PollMany { fd, events } => Wait(fd, events),
        Op::Splice { from, to, flags, .. } => transfer(op, from, to, flags),
        Op::Tee { from, to, flags, .. } => transfer(op, from, to, flags),
        Op::Timeout { deadline } => At(deadline.0),
        Op::OpenAt { .. }
        | Op::Statx { .. }
        | Op::RenameAt { .. }
        | Op::UnlinkAt { .. }
        | Op::MkdirAt { .. }
        | Op::Fsync { .. }
        | Op::WaitId { .. }
        | Op::Offload { .. } => Offload(*op),
        Op::Close { .. } | Op::Shutdown { .. } | Op::Socket { .. } => Done(syscall::perform(op)),
    }
}

fn wait_if_early(result: i32, fd: RawFd, events: u32) -> Attempt {
    if result == -libc::EAGAIN { Wait(fd, events) } else { Done(result) }
}

/// To be told at once that nothing is there is what MSG_DONTWAIT asks for.
fn unless_told(flags: i32, result: i32, fd: RawFd, events: u32) -> Attempt {
    if flags & libc::MSG_DONTWAIT != 0 { Done(result) } else { wait_if_early(result, fd, events) }
}

/// What makes a receive worth a try. A socket's error queue has no event but the one always told.
fn wanted(flags: i32) -> u32 {
    match flags {
        _ if flags & libc::MSG_ERRQUEUE != 0 => 0,
        _ if flags & libc::MSG_OOB != 0 => libc::POLLPRI as u32,
        _ => IN,
    }
}

fn receive_all(fd: RawFd, buf: *mut u8, len: u32, flags: i32, done: &mut u32) -> Attempt {
    let rest = buf.wrapping_add(*done as usize);
    let received = syscall::receive(fd, rest, len - *done, flags);
    all_of(received, fd, len, flags, wanted(flags), done)
}

fn send_all(fd: RawFd, buf: *const u8, len: u32, flags: i32, done: &mut u32) -> Attempt {
    let rest = buf.wrapping_add(*done as usize);
    let sent = syscall::send(fd, rest, len - *done, flags);
    all_of(sent, fd, len, flags, OUT, done)
}

/// With MSG_WAITALL a stream goes on until everything is there, or no more can come.
fn all_of(result: i32, fd: RawFd, len: u32, flags: i32, events: u32, done: &mut u32) -> Attempt {
    *done += result.max(0) as u32;
    let whole = flags & (libc::MSG_WAITALL | libc::MSG_PEEK | libc::MSG_DONTWAIT) == libc::MSG_WAITALL;
    match result {
        early if early == -libc::EAGAIN && flags & libc::MSG_DONTWAIT == 0 => Wait(fd, events),
        part if part > 0 && whole && *done < len && syscall::carries_stream(fd) => Wait(fd, events),
        _ if *done > 0 => Done(*done as i32),
        _ => Done(result),
    }
}

/// Moves bytes between two descriptors once both are ready.
fn transfer(op: &Op, from: RawFd, to: RawFd, flags: u32) -> Attempt {
    let told = flags & libc::SPLICE_F_NONBLOCK != 0;
    for (fd, events) in [(from, IN), (to, OUT)] {
        match syscall::poll(fd, events, 0) {
            0 if !told => return refusal(from, to).map_or(Wait(fd, events), Done),
            failed if failed < 0 => return Done(failed),
            _ => {}
        }
    }
    let op = without_waiting(op);
    if Nature::of(from) == Nature::Disk || Nature::of(to) == Nature::Disk {
        return Offload(op);
    }
    match syscall::perform(&op) {
        early if early == -libc::EAGAIN && !told => Later(CONTENDED),
        result => Done(result),
    }
}

/// Why a transfer can never be made, where its ends alone say so: an end that is open for the other
/// direction never becomes ready, and nobody would hear of it.
fn refusal(from: RawFd, to: RawFd) -> Option<i32> {
    let closed = |fd, way| syscall::open_flags(fd) & libc::O_ACCMODE == way;
    (closed(from, libc::O_WRONLY) || closed(to, libc::O_RDONLY)).then_some(-libc::EBADF)
}

/// The same transfer such that neither end makes it wait, if both have just been ready.
fn without_waiting(op: &Op) -> Op {
    match *op {
        Op::Splice { from, from_offset, to, to_offset, len, flags } => {
            let flags = flags | libc::SPLICE_F_NONBLOCK;
            // The flag is for pipes: a socket that blocks would wait for room for all of it.
            let blocks = Nature::of(to) == Nature::Socket && !syscall::is_nonblocking(to);
            let len = if blocks { len.min(PAGE) } else { len };
            Op::Splice { from, from_offset, to, to_offset, len, flags }
        }
        Op::Tee { from, to, len, flags } => Op::Tee { from, to, len, flags: flags | libc::SPLICE_F_NONBLOCK },
        other => other,
    }
}

/// How long until a local listener's full queue is tried again.
const FULL_QUEUE: Duration = Duration::from_millis(1);

/// How long until a transfer is tried again that somebody else got in the way of.
const CONTENDED: Duration = Duration::from_millis(1);

/// What a writable socket takes without waiting.
const PAGE: u32 = 4096;
