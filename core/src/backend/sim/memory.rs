//! The simulated kernel's hand in user memory: the only unsafe code of the simulation.
//!
//! It writes where a real kernel may write while an operation is in flight, so that a buffer which is
//! freed or read too early shows.

use crate::op::Op;

/// Overwrites every byte that the kernel may write to for `op`.
pub(super) fn scribble(op: &Op, pattern: u8) {
    each_part(op, |buf, len| {
        // SAFETY: whoever submitted the op keeps its memory alive until the last completion, which the
        // simulation has not told yet.
        unsafe { buf.write_bytes(pattern, len) };
    });
}

/// Puts the bytes that `op` read where they belong; says how many fitted.
pub(super) fn deliver(op: &Op, mut bytes: &[u8]) -> usize {
    let whole = bytes.len();
    each_part(op, |buf, len| {
        let (now, later) = bytes.split_at(len.min(bytes.len()));
        // SAFETY: as in `scribble`; `now` is no longer than the part.
        unsafe { buf.copy_from_nonoverlapping(now.as_ptr(), now.len()) };
        bytes = later;
    });
    whole - bytes.len()
}

/// Calls what is to be called on another thread; here there is none.
pub(super) fn call(op: &Op) {
    if let Op::Offload { function, argument } = *op {
        // SAFETY: whoever submitted the op says that this may be called.
        unsafe { function(argument) };
    }
}

/// How many bytes `op` can read, or has to write.
pub(super) fn room(op: &Op) -> usize {
    match *op {
        Op::Read { len, .. }
        | Op::Write { len, .. }
        | Op::ReadPooled { len, .. }
        | Op::RecvPooled { len, .. }
        | Op::Recv { len, .. }
        | Op::Send { len, .. }
        | Op::Splice { len, .. }
        | Op::Tee { len, .. } => len as usize,
        Op::Readv { iov, count, .. } | Op::Writev { iov, count, .. } => {
            parts(iov, count as usize).map(|part| part.iov_len).sum()
        }
        Op::RecvMsg { msg, .. } => of_message(msg).map(|part| part.iov_len).sum(),
        Op::SendMsg { msg, .. } => of_message(msg).map(|part| part.iov_len).sum(),
        Op::Nop
        | Op::Accept { .. }
        | Op::AcceptMany { .. }
        | Op::Connect { .. }
        | Op::OpenAt { .. }
        | Op::Close { .. }
        | Op::Shutdown { .. }
        | Op::Poll { .. }
        | Op::PollMany { .. }
        | Op::Fsync { .. }
        | Op::RenameAt { .. }
        | Op::UnlinkAt { .. }
        | Op::MkdirAt { .. }
        | Op::Statx { .. }
        | Op::Timeout { .. }
        | Op::WaitId { .. }
        | Op::Socket { .. }
        | Op::Offload { .. } => 0,
    }
}

fn each_part(op: &Op, mut each: impl FnMut(*mut u8, usize)) {
    match *op {
        Op::Read { buf, len, .. } | Op::Recv { buf, len, .. } => each(buf, len as usize),
        Op::Readv { iov, count, .. } => {
            parts(iov, count as usize).for_each(|part| each(part.iov_base.cast(), part.iov_len));
        }
        Op::RecvMsg { msg, .. } => {
            of_message(msg).for_each(|part| each(part.iov_base.cast(), part.iov_len));
        }
        Op::Statx { into, .. } => each(into.cast(), size_of::<libc::statx>()),
        Op::WaitId { info, .. } if !info.is_null() => each(info.cast(), size_of::<libc::siginfo_t>()),
        Op::Nop
        | Op::Write { .. }
        | Op::Writev { .. }
        | Op::ReadPooled { .. }
        | Op::RecvPooled { .. }
        | Op::Send { .. }
        | Op::SendMsg { .. }
        | Op::Accept { .. }
        | Op::AcceptMany { .. }
        | Op::Connect { .. }
        | Op::OpenAt { .. }
        | Op::Close { .. }
        | Op::Shutdown { .. }
        | Op::Poll { .. }
        | Op::PollMany { .. }
        | Op::Splice { .. }
        | Op::Tee { .. }
        | Op::Fsync { .. }
        | Op::RenameAt { .. }
        | Op::UnlinkAt { .. }
        | Op::MkdirAt { .. }
        | Op::Timeout { .. }
        | Op::WaitId { .. }
        | Op::Socket { .. }
        | Op::Offload { .. } => {}
    }
}

fn of_message(msg: *const libc::msghdr) -> impl Iterator<Item = libc::iovec> {
    // SAFETY: the submitter keeps the header alive until the last completion.
    let (iov, count) = unsafe { ((*msg).msg_iov, (*msg).msg_iovlen) };
    parts(iov, count)
}

fn parts(iov: *const libc::iovec, count: usize) -> impl Iterator<Item = libc::iovec> {
    // SAFETY: `count` vectors stand at `iov` until the last completion, by the same promise.
    (0..count).map(move |index| unsafe { *iov.add(index) })
}
