//! What a fiber can ask the kernel for.
//!
//! An [`Op`] is plain data. Each backend has one exhaustive `match` over it, so a new operation does
//! not compile until every backend answers for it. Pointers in it are borrowed by the kernel until the
//! operation's last completion: whoever submits sees to it that what they point to lives that long,
//! through the host's `Keep` or because the submitting fiber stays parked.

mod outcome;
pub(crate) mod table;

use std::os::fd::RawFd;

pub use self::{outcome::Outcome, table::OpKey};
use crate::time::Time;

/// The offset that means "where the file stands".
pub const POSITION: u64 = u64::MAX;

/// One operation.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "the fields are the parameters of the system call of the same name")]
pub enum Op {
    /// Completes at once with 0.
    Nop,
    /// read(2), or pread(2) where `offset` is not [`POSITION`].
    Read { fd: RawFd, buf: *mut u8, len: u32, offset: u64 },
    /// write(2), or pwrite(2) where `offset` is not [`POSITION`].
    Write { fd: RawFd, buf: *const u8, len: u32, offset: u64 },
    /// readv(2) or preadv(2).
    Readv { fd: RawFd, iov: *const libc::iovec, count: u32, offset: u64 },
    /// writev(2) or pwritev(2).
    Writev { fd: RawFd, iov: *const libc::iovec, count: u32, offset: u64 },
    /// read(2) into one of the shard's buffers, picked when data is there; see `Outcome::buffer`.
    ReadPooled { fd: RawFd, len: u32 },
    /// recv(2) into one of the shard's buffers, picked when data is there; see `Outcome::buffer`.
    RecvPooled { fd: RawFd, len: u32, flags: i32 },
    /// recv(2).
    Recv { fd: RawFd, buf: *mut u8, len: u32, flags: i32 },
    /// send(2); never raises SIGPIPE.
    Send { fd: RawFd, buf: *const u8, len: u32, flags: i32 },
    /// recvmsg(2).
    RecvMsg { fd: RawFd, msg: *mut libc::msghdr, flags: i32 },
    /// sendmsg(2); never raises SIGPIPE.
    SendMsg { fd: RawFd, msg: *const libc::msghdr, flags: i32 },
    /// accept4(2); `addr` and `len` may be null.
    Accept { fd: RawFd, addr: *mut libc::sockaddr, len: *mut libc::socklen_t, flags: i32 },
    /// accept4(2) for ever: an outcome a connection, until it is cancelled or fails.
    AcceptMany { fd: RawFd, flags: i32 },
    /// connect(2), to its end.
    Connect { fd: RawFd, addr: *const libc::sockaddr, len: libc::socklen_t },
    /// openat(2).
    OpenAt { dir: RawFd, path: *const libc::c_char, flags: i32, mode: u32 },
    /// close(2).
    Close { fd: RawFd },
    /// shutdown(2).
    Shutdown { fd: RawFd, how: i32 },
    /// Waits until one of `events` (`POLLIN`, …); the result is the set that is ready.
    Poll { fd: RawFd, events: u32 },
    /// [`Poll`](Op::Poll) for ever: an outcome each time the descriptor becomes ready, until it is cancelled
    /// or fails. What is ready already is told; what has been told may be told once more where the kernel
    /// ran out of room to tell. `EPERM` for what is always ready, as from epoll_ctl(2).
    PollMany { fd: RawFd, events: u32 },
    /// splice(2); offsets as in the system call, [`POSITION`] for none.
    Splice { from: RawFd, from_offset: u64, to: RawFd, to_offset: u64, len: u32, flags: u32 },
    /// tee(2).
    Tee { from: RawFd, to: RawFd, len: u32, flags: u32 },
    /// fsync(2), or fdatasync(2).
    Fsync { fd: RawFd, data_only: bool },
    /// statx(2).
    Statx { dir: RawFd, path: *const libc::c_char, flags: i32, mask: u32, into: *mut libc::statx },
    /// renameat2(2).
    RenameAt { dir: RawFd, path: *const libc::c_char, to_dir: RawFd, to: *const libc::c_char, flags: u32 },
    /// unlinkat(2).
    UnlinkAt { dir: RawFd, path: *const libc::c_char, flags: i32 },
    /// mkdirat(2).
    MkdirAt { dir: RawFd, path: *const libc::c_char, mode: u32 },
    /// Completes with 0 at the deadline.
    Timeout { deadline: Time },
    /// waitid(2). A negative result says that `info` was not written.
    WaitId { kind: libc::idtype_t, id: libc::id_t, info: *mut libc::siginfo_t, options: i32 },
    /// socket(2).
    Socket { domain: i32, kind: i32, protocol: i32 },
    /// Calls a function on a thread of the offload pool, where it may block; completes with 0 once it has
    /// returned. Cancelled before it began, it is not called.
    Offload { function: unsafe fn(*mut ()), argument: *mut () },
}

// SAFETY: an op is the parameters of a system call. Sending the pointers to another thread is sound
// because nobody but the kernel, or an offload thread in its stead, follows them, and whoever submits
// the op keeps what they point to alive until its last completion.
unsafe impl Send for Op {}
// SAFETY: as above; and no method of a shared op follows a pointer.
unsafe impl Sync for Op {}

macro_rules! kinds {
    ($($kind:ident)*) => {
        /// Which operation an [`Op`] is, for traces and counters.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(missing_docs, reason = "the variants are those of `Op`")]
        #[repr(u8)]
        pub enum Kind {
            $($kind,)*
        }

        impl Kind {
            /// All of them.
            pub const ALL: &[Kind] = &[$(Kind::$kind,)*];
        }

        impl Op {
            /// Which operation this is.
            pub fn kind(&self) -> Kind {
                match self {
                    $(Op::$kind { .. } => Kind::$kind,)*
                }
            }
        }
    };
}

kinds! {
    Nop Read Write Readv Writev ReadPooled RecvPooled Recv Send RecvMsg SendMsg Accept AcceptMany Connect
    OpenAt Close Shutdown Poll PollMany Splice Tee Fsync Statx RenameAt UnlinkAt MkdirAt
    Timeout WaitId Socket Offload
}

impl Op {
    /// The descriptor that the operation waits on, where it has one.
    pub fn fd(&self) -> Option<RawFd> {
        match *self {
            Op::Read { fd, .. }
            | Op::Write { fd, .. }
            | Op::Readv { fd, .. }
            | Op::Writev { fd, .. }
            | Op::ReadPooled { fd, .. }
            | Op::RecvPooled { fd, .. }
            | Op::Recv { fd, .. }
            | Op::Send { fd, .. }
            | Op::RecvMsg { fd, .. }
            | Op::SendMsg { fd, .. }
            | Op::Accept { fd, .. }
            | Op::AcceptMany { fd, .. }
            | Op::Connect { fd, .. }
            | Op::Close { fd }
            | Op::Shutdown { fd, .. }
            | Op::Poll { fd, .. }
            | Op::PollMany { fd, .. }
            | Op::Fsync { fd, .. } => Some(fd),
            Op::Splice { from, .. } | Op::Tee { from, .. } => Some(from),
            Op::Nop
            | Op::OpenAt { .. }
            | Op::Statx { .. }
            | Op::RenameAt { .. }
            | Op::UnlinkAt { .. }
            | Op::MkdirAt { .. }
            | Op::Timeout { .. }
            | Op::WaitId { .. }
            | Op::Socket { .. }
            | Op::Offload { .. } => None,
        }
    }

    /// The directories that the operation's paths start at.
    pub(crate) fn directories(&self) -> [Option<RawFd>; 2] {
        match *self {
            Op::OpenAt { dir, .. }
            | Op::Statx { dir, .. }
            | Op::UnlinkAt { dir, .. }
            | Op::MkdirAt { dir, .. } => [Some(dir), None],
            Op::RenameAt { dir, to_dir, .. } => [Some(dir), Some(to_dir)],
            _ => [None, None],
        }
    }

    /// What to wait for when the operation's descriptor says `EAGAIN`; nothing where that is an answer.
    pub(crate) fn readiness(&self) -> Option<(RawFd, u32)> {
        const IN: u32 = libc::POLLIN as u32;
        const OUT: u32 = libc::POLLOUT as u32;
        match *self {
            Op::Read { fd, .. }
            | Op::Readv { fd, .. }
            | Op::ReadPooled { fd, .. }
            | Op::Accept { fd, .. }
            | Op::AcceptMany { fd, .. } => Some((fd, IN)),
            Op::Write { fd, .. } | Op::Writev { fd, .. } => Some((fd, OUT)),
            Op::Recv { fd, flags, .. } | Op::RecvPooled { fd, flags, .. } | Op::RecvMsg { fd, flags, .. } => {
                (flags & libc::MSG_DONTWAIT == 0).then_some((fd, IN))
            }
            Op::Send { fd, flags, .. } | Op::SendMsg { fd, flags, .. } => {
                (flags & libc::MSG_DONTWAIT == 0).then_some((fd, OUT))
            }
            Op::Splice { from, flags, .. } | Op::Tee { from, flags, .. } => {
                (flags & libc::SPLICE_F_NONBLOCK == 0).then_some((from, IN))
            }
            Op::Nop
            | Op::Connect { .. }
            | Op::OpenAt { .. }
            | Op::Close { .. }
            | Op::Shutdown { .. }
            | Op::Poll { .. }
            | Op::PollMany { .. }
            | Op::Fsync { .. }
            | Op::Statx { .. }
            | Op::RenameAt { .. }
            | Op::UnlinkAt { .. }
            | Op::MkdirAt { .. }
            | Op::Timeout { .. }
            | Op::WaitId { .. }
            | Op::Socket { .. }
            | Op::Offload { .. } => None,
        }
    }

    /// What to wait for besides, where the operation has two ends.
    pub(crate) fn readiness_of_target(&self) -> Option<(RawFd, u32)> {
        match *self {
            Op::Splice { to, .. } | Op::Tee { to, .. } => Some((to, libc::POLLOUT as u32)),
            _ => None,
        }
    }

    /// Whether one number is all that it has to tell: no buffer of the shard's, no further outcomes.
    #[cfg_attr(not(feature = "native"), expect(dead_code, reason = "the native host's calls ask"))]
    #[inline]
    pub(crate) fn returns_once(&self) -> bool {
        !matches!(
            self,
            Op::ReadPooled { .. } | Op::RecvPooled { .. } | Op::AcceptMany { .. } | Op::PollMany { .. }
        )
    }

    /// Whether it is made again where the kernel's thread that did it was interrupted: nothing has happened then, but
    /// for a close, which has closed, and a connect, which goes on.
    pub(crate) fn begins_again(&self) -> bool {
        !matches!(self, Op::Close { .. } | Op::Connect { .. } | Op::Offload { .. })
    }

    /// Whether a result >= 0 is a descriptor that somebody must take or close.
    pub(crate) fn makes_fd(&self) -> bool {
        matches!(self, Op::Accept { .. } | Op::AcceptMany { .. } | Op::OpenAt { .. } | Op::Socket { .. })
    }
}
