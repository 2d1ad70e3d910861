//! Moving bytes by many operations, of which a cancellation loses none.
//!
//! Each call here says how many bytes it has moved, also where something ended it half way: the next call is
//! told why. What it takes from a file or a stream it takes only once it has been written:
//!
//! ```text
//! look at the next bytes ──▶ write some of them ──▶ take those ──▶ …
//! ```

use std::{mem, os::fd::RawFd};

use super::{
    cancel, current,
    errno::{Errno, Result},
    io,
    plain::KeepErrno,
};
use crate::{
    native::perform,
    op::{Op, POSITION},
    syscall,
};

/// Reads until the buffer is full; fewer bytes at the end of the file, or where something ended it.
pub fn read_exactly(fd: RawFd, buf: &mut [u8]) -> Result<usize> {
    let len = buf.len() as u64;
    all(len, |done| io::read(fd, &mut buf[done as usize..]).map(|count| count as u64))
        .map(|done| done as usize)
}

/// Writes everything, or as much as could be written before something ended it.
pub fn write_exactly(fd: RawFd, buf: &[u8]) -> Result<usize> {
    let len = buf.len() as u64;
    all(len, |done| io::write(fd, &buf[done as usize..]).map(|count| count as u64)).map(|done| done as usize)
}

/// Copies so many bytes from where one descriptor stands to where another stands, or as many as there are.
///
/// Between files the file system copies; a pipe at either end is spliced; what comes from a file or a stream
/// socket else passes through memory, and is taken from there once it has been written. What comes from
/// anything else, or from a pipe into what takes no splice, is read first: bytes that have been read are lost
/// where the write that follows is ended.
pub fn copy(from: RawFd, to: RawFd, length: u64) -> Result<u64> {
    let (source, target) = (Kind::of(from)?, Kind::of(to)?);
    let mut memory = Vec::new();
    let mut way = match (source, target) {
        (Kind::File, Kind::File) => Way::Ranges,
        (Kind::Pipe, _) | (_, Kind::Pipe) => Way::Splice,
        _ => Way::Memory,
    };
    all(length, |done| {
        let left = length - done;
        let moved = match way {
            Way::Ranges => copy_range(from, to, left),
            Way::Splice => splice(from, to, left),
            Way::Memory => return carry(from, source, to, target, &mut memory, left),
        };
        match moved {
            // Files of which the system does not know the size, and those that it cannot copy or splice.
            Ok(0) if done == 0 && way == Way::Ranges => {}
            Err(errno) if done == 0 && is_unfit(errno) => {}
            moved => return moved,
        }
        way = Way::Memory;
        carry(from, source, to, target, &mut memory, left)
    })
}

/// How bytes are moved.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Ranges,
    Splice,
    Memory,
}

/// What a descriptor is, as far as copying goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    File,
    Pipe,
    /// A socket whose bytes can be looked at and taken later.
    Stream,
    /// Another socket.
    Socket,
    Other,
}

impl Kind {
    fn of(fd: RawFd) -> Result<Self> {
        let _keep = KeepErrno::new();
        // SAFETY: plain data, for fstat to fill.
        let mut stat: libc::stat = unsafe { mem::zeroed() };
        // SAFETY: `stat` is alive for the call.
        super::net::checked(unsafe { libc::fstat(fd, &mut stat) })?;
        Ok(match stat.st_mode & libc::S_IFMT {
            libc::S_IFREG => Kind::File,
            libc::S_IFIFO => Kind::Pipe,
            libc::S_IFSOCK if syscall::carries_stream(fd) => Kind::Stream,
            libc::S_IFSOCK => Kind::Socket,
            _ => Kind::Other,
        })
    }
}

/// Takes steps until so many bytes are done, a step does none, or fails. A failure after the first step is for
/// the next call.
fn all(len: u64, mut step: impl FnMut(u64) -> Result<u64>) -> Result<u64> {
    let mut done = 0;
    while done < len {
        match step(done) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(Errno::INTERRUPTED) => {}
            Err(errno) if done == 0 => return Err(errno),
            Err(errno) => {
                if let Some(fiber) = current::fiber() {
                    cancel::put_off(fiber, errno);
                }
                break;
            }
        }
    }
    Ok(done)
}

/// One step between files, on a thread of the pool.
fn copy_range(from: RawFd, to: RawFd, left: u64) -> Result<u64> {
    let len = left.min(RANGE) as usize;
    io::offload(|| {
        let _keep = KeepErrno::new();
        let (here, there) = (std::ptr::null_mut(), std::ptr::null_mut());
        // SAFETY: no offsets: both files are used where they stand.
        let copied = unsafe { libc::copy_file_range(from, here, to, there, len, 0) };
        if copied >= 0 { Ok(copied as u64) } else { super::net::checked(-1).map(|()| 0) }
    })?
}

/// One step with a pipe at one end.
fn splice(from: RawFd, to: RawFd, left: u64) -> Result<u64> {
    let (from_offset, to_offset, len) = (POSITION, POSITION, left.min(RANGE) as u32);
    let op = Op::Splice { from, from_offset, to, to_offset, len, flags: 0 };
    // SAFETY: the operation points to nothing.
    Errno::check(unsafe { perform(&op) }).map(|count| count as u64)
}

/// One step through memory.
fn carry(from: RawFd, source: Kind, to: RawFd, target: Kind, memory: &mut Vec<u8>, left: u64) -> Result<u64> {
    memory.resize(left.min(CHUNK) as usize, 0);
    let seen = match source {
        Kind::File => io::read_at(from, memory, position(from)?)?,
        Kind::Stream => io::recv(from, memory, libc::MSG_PEEK)?,
        Kind::Pipe | Kind::Socket | Kind::Other => io::read(from, memory)?,
    };
    let mut written = 0;
    while written < seen {
        written += match write(to, target, &memory[written..seen]) {
            Ok(count) => count,
            Err(Errno::INTERRUPTED) => 0,
            Err(errno) if written == 0 => return Err(errno),
            Err(errno) => {
                if let Some(fiber) = current::fiber() {
                    cancel::put_off(fiber, errno);
                }
                break;
            }
        };
        if matches!(source, Kind::File | Kind::Stream) {
            break; // the rest is still where it was
        }
    }
    match source {
        Kind::File => advance(from, written)?,
        Kind::Stream => take(from, &mut memory[..written])?,
        Kind::Pipe | Kind::Socket | Kind::Other => {}
    }
    Ok(written as u64)
}

fn write(to: RawFd, target: Kind, bytes: &[u8]) -> Result<usize> {
    match target {
        Kind::Stream | Kind::Socket => io::send(to, bytes, 0),
        Kind::File | Kind::Pipe | Kind::Other => io::write(to, bytes),
    }
}

/// Where a file stands.
fn position(file: RawFd) -> Result<u64> {
    let _keep = KeepErrno::new();
    // SAFETY: no pointers.
    let at = unsafe { libc::lseek(file, 0, libc::SEEK_CUR) };
    u64::try_from(at).map_err(|_| super::net::checked(-1).expect_err("it failed"))
}

/// Lets a file stand behind what has been written of it.
fn advance(file: RawFd, count: usize) -> Result<()> {
    let _keep = KeepErrno::new();
    // SAFETY: no pointers.
    let at = unsafe { libc::lseek(file, count as i64, libc::SEEK_CUR) };
    super::net::checked(if at < 0 { -1 } else { 0 })
}

/// Takes out of a stream what has been looked at, which does not wait. TCP does not even copy it.
fn take(stream: RawFd, bytes: &mut [u8]) -> Result<()> {
    let _keep = KeepErrno::new();
    let mut taken = 0;
    while taken < bytes.len() {
        let rest = &mut bytes[taken..];
        match syscall::receive(stream, rest.as_mut_ptr(), rest.len() as u32, libc::MSG_TRUNC) {
            count @ 1.. => taken += count as usize,
            // Somebody else has read them.
            _ => return Err(Errno::new(libc::EIO)),
        }
    }
    Ok(())
}

/// Whether a descriptor can be copied from and to, but not in this way.
fn is_unfit(errno: Errno) -> bool {
    matches!(
        errno.number(),
        libc::EXDEV
            | libc::EINVAL
            | libc::EOPNOTSUPP
            | libc::ENOSYS
            | libc::EBADF
            | libc::ETXTBSY
            | libc::EPERM
    )
}

/// How much the file system copies before the fiber looks around.
const RANGE: u64 = 16 * 1024 * 1024;
/// How much passes through memory at once.
const CHUNK: u64 = 64 * 1024;
