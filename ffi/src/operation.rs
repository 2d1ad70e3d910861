//! Operations as data, for `poly_loop_submit`.

use std::ffi::c_void;

use polyphony_core::{
    native::{Errno, Result, io::length},
    op::{Kind, Op, POSITION},
};

/// Ends at once with 0.
pub const POLY_OPERATION_NOP: u32 = 1;
/// read(2): `fd`, `pointer` and `length`.
pub const POLY_OPERATION_READ: u32 = 2;
/// write(2): `fd`, `pointer` and `length`. It raises SIGPIPE where nobody reads.
pub const POLY_OPERATION_WRITE: u32 = 3;
/// pread(2): as READ, and `offset`.
pub const POLY_OPERATION_PREAD: u32 = 4;
/// pwrite(2): as WRITE, and `offset`.
pub const POLY_OPERATION_PWRITE: u32 = 5;
/// readv(2): `fd`; `pointer` is a struct iovec of `length` parts, at most 1024.
pub const POLY_OPERATION_READV: u32 = 6;
/// writev(2): as READV.
pub const POLY_OPERATION_WRITEV: u32 = 7;
/// recv(2): `fd`, `pointer`, `length` and `flags`.
pub const POLY_OPERATION_RECV: u32 = 8;
/// send(2), without SIGPIPE: as RECV.
pub const POLY_OPERATION_SEND: u32 = 9;
/// recvmsg(2): `fd`, `flags`; `pointer` is a struct msghdr.
pub const POLY_OPERATION_RECVMSG: u32 = 10;
/// sendmsg(2), without SIGPIPE: as RECVMSG.
pub const POLY_OPERATION_SENDMSG: u32 = 11;
/// read(2) into a buffer of the loop's, lent when there is something: `fd`, `length`. See `poly_loop_release`.
pub const POLY_OPERATION_READ_BUFFER: u32 = 12;
/// recv(2) into a buffer of the loop's: as READ_BUFFER, and `flags`.
pub const POLY_OPERATION_RECV_BUFFER: u32 = 13;
/// accept4(2): `fd`, `flags`; `pointer` is a struct sockaddr and `other` its socklen_t, or both are NULL. The
/// result is a descriptor.
pub const POLY_OPERATION_ACCEPT: u32 = 14;
/// accept4(2) for ever: `fd`, `flags`. An event for each connection, until it is cancelled or fails.
pub const POLY_OPERATION_ACCEPT_MANY: u32 = 15;
/// connect(2), to its end: `fd`; `pointer` is a struct sockaddr of `length` bytes.
pub const POLY_OPERATION_CONNECT: u32 = 16;
/// openat(2): `fd` is a directory or AT_FDCWD, `pointer` the path, `flags`, `mode`. The result is a descriptor.
pub const POLY_OPERATION_OPENAT: u32 = 17;
/// close(2): `fd`. What waits on it is cancelled first: `poly_loop_cancel_fd`.
pub const POLY_OPERATION_CLOSE: u32 = 18;
/// shutdown(2): `fd`; `flags` is SHUT_RD, SHUT_WR or SHUT_RDWR.
pub const POLY_OPERATION_SHUTDOWN: u32 = 19;
/// Waits until one of the events in `flags` (POLLIN, …) has come to `fd`. The result is the set that has.
pub const POLY_OPERATION_POLL: u32 = 20;
/// The same for ever: an event each time that the descriptor becomes ready, until it is cancelled or fails.
/// -EPERM for what is always ready.
pub const POLY_OPERATION_POLL_MANY: u32 = 21;
/// splice(2): from `fd` at `offset` to `other_fd` at `other_offset`, `length`, `flags`; a negative offset is none.
pub const POLY_OPERATION_SPLICE: u32 = 22;
/// tee(2): from `fd` to `other_fd`, `length`, `flags`.
pub const POLY_OPERATION_TEE: u32 = 23;
/// fsync(2): `fd`; fdatasync(2) where `flags` is 1.
pub const POLY_OPERATION_FSYNC: u32 = 24;
/// statx(2): `fd` is a directory or AT_FDCWD, `pointer` the path, `flags`, `mode` the mask; `other` is a struct
/// statx.
pub const POLY_OPERATION_STATX: u32 = 25;
/// renameat2(2): from `pointer` in `fd` to `other` in `other_fd`, paths in directories, with `flags`.
pub const POLY_OPERATION_RENAMEAT: u32 = 26;
/// unlinkat(2): `fd`, `pointer` and `flags`.
pub const POLY_OPERATION_UNLINKAT: u32 = 27;
/// mkdirat(2): `fd`, `pointer` and `mode`.
pub const POLY_OPERATION_MKDIRAT: u32 = 28;
/// waitid(2): `mode` is P_PID or another idtype_t, `length` the id, `flags` the options; `other` is a siginfo_t,
/// or NULL.
pub const POLY_OPERATION_WAITID: u32 = 29;
/// `poly_loop_offload`, for `poly_loop_answer`: it is not submitted this way.
pub const POLY_OPERATION_OFFLOAD: u32 = 30;

/// An operation, and whom its event is for. Begin with all zeros. Each `POLY_OPERATION_*` says what it uses; what it
/// does not use is not looked at.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct poly_operation {
    /// Comes back in the event: a coroutine's address, or its number.
    pub user_data: u64,
    /// One of `POLY_OPERATION_*`.
    pub kind: u32,
    /// The descriptor.
    pub fd: i32,
    /// A buffer, a path or a struct, by the kind. Borrowed until the last event of the operation, with all that it
    /// points to.
    pub pointer: *mut c_void,
    /// How long that is.
    pub length: u64,
    /// Where in the file.
    pub offset: i64,
    /// As in the system call.
    pub flags: u32,
    /// As in the system call.
    pub mode: u32,
    /// A second descriptor.
    pub other_fd: i32,
    /// 0.
    pub reserved: u32,
    /// A second pointer, borrowed like the first.
    pub other: *mut c_void,
    /// Where in the other file.
    pub other_offset: i64,
}

const _: () = assert!(size_of::<poly_operation>() == 72, "programs are compiled with this layout");

/// No vector has more parts: UIO_MAXIOV.
const MOST_PARTS: u64 = 1024;

impl poly_operation {
    /// The core's operation. Nothing that it points to has been looked at but for null, which the simulated kernel
    /// would follow.
    pub(crate) fn read(&self) -> Result<Op> {
        let poly_operation { fd, flags, mode, other_fd, .. } = *self;
        let signed = flags as i32;
        let len = length(usize::try_from(self.length).unwrap_or(usize::MAX));
        let buf = self.pointer.cast::<u8>();
        if self.reserved != 0 {
            return Err(Errno::new(libc::EINVAL));
        }
        Ok(match self.kind {
            POLY_OPERATION_NOP => Op::Nop,
            POLY_OPERATION_READ => Op::Read { fd, buf: self.bytes(buf)?, len, offset: POSITION },
            POLY_OPERATION_WRITE => Op::Write { fd, buf: self.bytes(buf)?, len, offset: POSITION },
            POLY_OPERATION_PREAD => Op::Read { fd, buf: self.bytes(buf)?, len, offset: self.position()? },
            POLY_OPERATION_PWRITE => Op::Write { fd, buf: self.bytes(buf)?, len, offset: self.position()? },
            POLY_OPERATION_READV => {
                Op::Readv { fd, iov: there(self.pointer)?.cast(), count: self.parts()?, offset: POSITION }
            }
            POLY_OPERATION_WRITEV => {
                Op::Writev { fd, iov: there(self.pointer)?.cast(), count: self.parts()?, offset: POSITION }
            }
            POLY_OPERATION_RECV => Op::Recv { fd, buf: self.bytes(buf)?, len, flags: signed },
            POLY_OPERATION_SEND => Op::Send { fd, buf: self.bytes(buf)?, len, flags: signed },
            POLY_OPERATION_RECVMSG => Op::RecvMsg { fd, msg: there(self.pointer)?.cast(), flags: signed },
            POLY_OPERATION_SENDMSG => Op::SendMsg { fd, msg: there(self.pointer)?.cast(), flags: signed },
            POLY_OPERATION_READ_BUFFER => Op::ReadPooled { fd, len: some(len)? },
            POLY_OPERATION_RECV_BUFFER => Op::RecvPooled { fd, len: some(len)?, flags: signed },
            POLY_OPERATION_ACCEPT => {
                Op::Accept { fd, addr: self.pointer.cast(), len: self.other.cast(), flags: signed }
            }
            POLY_OPERATION_ACCEPT_MANY => Op::AcceptMany { fd, flags: signed },
            POLY_OPERATION_CONNECT => Op::Connect { fd, addr: there(self.pointer)?.cast(), len },
            POLY_OPERATION_OPENAT => {
                Op::OpenAt { dir: fd, path: there(self.pointer)?.cast(), flags: signed, mode }
            }
            POLY_OPERATION_CLOSE => Op::Close { fd },
            POLY_OPERATION_SHUTDOWN => Op::Shutdown { fd, how: signed },
            POLY_OPERATION_POLL => Op::Poll { fd, events: flags },
            POLY_OPERATION_POLL_MANY => Op::PollMany { fd, events: flags },
            POLY_OPERATION_SPLICE => {
                let (from_offset, to_offset) = (offset(self.offset), offset(self.other_offset));
                Op::Splice { from: fd, from_offset, to: other_fd, to_offset, len, flags }
            }
            POLY_OPERATION_TEE => Op::Tee { from: fd, to: other_fd, len, flags },
            POLY_OPERATION_FSYNC => Op::Fsync { fd, data_only: flags == 1 },
            POLY_OPERATION_STATX => {
                let (path, into) = (there(self.pointer)?.cast(), there(self.other)?.cast());
                Op::Statx { dir: fd, path, flags: signed, mask: mode, into }
            }
            POLY_OPERATION_RENAMEAT => {
                let (path, to) = (there(self.pointer)?.cast(), there(self.other)?.cast());
                Op::RenameAt { dir: fd, path, to_dir: other_fd, to, flags }
            }
            POLY_OPERATION_UNLINKAT => {
                Op::UnlinkAt { dir: fd, path: there(self.pointer)?.cast(), flags: signed }
            }
            POLY_OPERATION_MKDIRAT => Op::MkdirAt { dir: fd, path: there(self.pointer)?.cast(), mode },
            POLY_OPERATION_WAITID => {
                let id = u32::try_from(self.length).map_err(|_| Errno::new(libc::EINVAL))?;
                Op::WaitId { kind: mode, id, info: self.other.cast(), options: signed }
            }
            _ => return Err(Errno::new(libc::EINVAL)),
        })
    }

    /// The buffer, which may be null if nothing is to go there.
    fn bytes(&self, buf: *mut u8) -> Result<*mut u8> {
        if self.length == 0 { Ok(buf) } else { there(buf) }
    }

    fn position(&self) -> Result<u64> {
        u64::try_from(self.offset).map_err(|_| Errno::new(libc::EINVAL))
    }

    fn parts(&self) -> Result<u32> {
        if self.length > MOST_PARTS {
            return Err(Errno::new(libc::EINVAL));
        }
        Ok(self.length as u32)
    }
}

/// Which operation of the core's a `POLY_OPERATION_*` is.
pub(crate) fn kind(number: u32) -> Result<Kind> {
    if number == POLY_OPERATION_OFFLOAD {
        return Ok(Kind::Offload);
    }
    // What any operation of that kind can be made of.
    let anything = std::ptr::dangling_mut();
    let operation = poly_operation {
        user_data: 0,
        kind: number,
        fd: -1,
        pointer: anything,
        length: 1,
        offset: 0,
        flags: 0,
        mode: 0,
        other_fd: -1,
        reserved: 0,
        other: anything,
        other_offset: 0,
    };
    operation.read().map(|op| op.kind())
}

fn there<T>(pointer: *mut T) -> Result<*mut T> {
    if pointer.is_null() { Err(Errno::new(libc::EFAULT)) } else { Ok(pointer) }
}

/// A lent buffer holds something, else it could not be told from the end of the file.
fn some(len: u32) -> Result<u32> {
    if len == 0 { Err(Errno::new(libc::EINVAL)) } else { Ok(len) }
}

/// An offset, negative for none.
fn offset(offset: i64) -> u64 {
    u64::try_from(offset).unwrap_or(POSITION)
}
