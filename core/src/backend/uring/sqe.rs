//! Each operation as the kernel wants it.

use io_uring::{
    opcode::{
        Accept, AcceptMulti, Close, Connect, Fsync, MkDirAt, Nop, OpenAt, PollAdd, Read, Readv, Recv,
        RecvMsg, RenameAt, Send, SendMsg, Shutdown, Socket, Splice, Statx, Tee, Timeout, UnlinkAt, WaitId,
        Write, Writev,
    },
    squeue::{Entry, Flags},
    types::{Fd, FsyncFlags, TimeoutFlags, Timespec},
};

use super::provided::GROUP;
use crate::op::{Op, POSITION};

/// The submission entry of an operation. `timespec` is what a timeout points to.
#[inline]
pub(super) fn entry(op: &Op, timespec: *const Timespec) -> Entry {
    match *op {
        Op::Nop => Nop::new().build(),
        Op::Read { fd, buf, len, offset } => Read::new(Fd(fd), buf, len).offset(offset).build(),
        Op::Write { fd, buf, len, offset } => Write::new(Fd(fd), buf, len).offset(offset).build(),
        Op::Readv { fd, iov, count, offset } => Readv::new(Fd(fd), iov, count).offset(offset).build(),
        Op::Writev { fd, iov, count, offset } => Writev::new(Fd(fd), iov, count).offset(offset).build(),
        Op::ReadPooled { len, .. } | Op::RecvPooled { len, .. } => pooled(op, len),
        Op::Recv { fd, buf, len, flags } => Recv::new(Fd(fd), buf, len).flags(flags).build(),
        Op::Send { fd, buf, len, flags } => {
            Send::new(Fd(fd), buf, len).flags(flags | libc::MSG_NOSIGNAL).build()
        }
        Op::RecvMsg { fd, msg, flags } => RecvMsg::new(Fd(fd), msg).flags(flags as u32).build(),
        Op::SendMsg { fd, msg, flags } => {
            SendMsg::new(Fd(fd), msg).flags((flags | libc::MSG_NOSIGNAL) as u32).build()
        }
        Op::Accept { fd, addr, len, flags } => Accept::new(Fd(fd), addr, len).flags(flags).build(),
        Op::AcceptMany { fd, flags } => AcceptMulti::new(Fd(fd)).flags(flags).build(),
        Op::Connect { fd, addr, len } => Connect::new(Fd(fd), addr, len).build(),
        Op::OpenAt { dir, path, flags, mode } => OpenAt::new(Fd(dir), path).flags(flags).mode(mode).build(),
        Op::Close { fd } => Close::new(Fd(fd)).build(),
        Op::Shutdown { fd, how } => Shutdown::new(Fd(fd), how).build(),
        Op::Poll { fd, events } => PollAdd::new(Fd(fd), events).build(),
        Op::PollMany { fd, events } => PollAdd::new(Fd(fd), events).multi(true).build(),
        Op::Splice { from, from_offset, to, to_offset, len, flags } => {
            Splice::new(Fd(from), signed(from_offset), Fd(to), signed(to_offset), len).flags(flags).build()
        }
        Op::Tee { from, to, len, flags } => Tee::new(Fd(from), Fd(to), len).flags(flags).build(),
        Op::Fsync { fd, data_only } => {
            let flags = if data_only { FsyncFlags::DATASYNC } else { FsyncFlags::empty() };
            Fsync::new(Fd(fd)).flags(flags).build()
        }
        Op::Statx { dir, path, flags, mask, into } => {
            Statx::new(Fd(dir), path, into.cast()).flags(flags).mask(mask).build()
        }
        Op::RenameAt { dir, path, to_dir, to, flags } => {
            RenameAt::new(Fd(dir), path, Fd(to_dir), to).flags(flags).build()
        }
        Op::UnlinkAt { dir, path, flags } => UnlinkAt::new(Fd(dir), path).flags(flags).build(),
        Op::MkdirAt { dir, path, mode } => MkDirAt::new(Fd(dir), path).mode(mode).build(),
        Op::Timeout { .. } => Timeout::new(timespec).flags(TimeoutFlags::ABS).build(),
        Op::WaitId { kind, id, info, options } => WaitId::new(kind, id, options).infop(info).build(),
        Op::Socket { domain, kind, protocol } => Socket::new(domain, kind, protocol).build(),
        Op::Offload { .. } => unreachable!("the pool has it, not the ring"),
    }
}

/// A read whose buffer the kernel picks from the ring's own.
pub(super) fn pooled(op: &Op, len: u32) -> Entry {
    let entry = match *op {
        Op::RecvPooled { fd, flags, .. } => {
            Recv::new(Fd(fd), std::ptr::null_mut(), len).flags(flags).buf_group(GROUP).build()
        }
        _ => {
            let fd = op.fd().expect("a read has a descriptor");
            Read::new(Fd(fd), std::ptr::null_mut(), len).offset(POSITION).buf_group(GROUP).build()
        }
    };
    entry.flags(Flags::BUFFER_SELECT)
}

fn signed(offset: u64) -> i64 {
    offset as i64 // POSITION is -1, the kernel's own "no offset"
}
