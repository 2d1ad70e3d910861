//! Reading and writing at a place of a file, past its position and past Ruby's buffers.
//!
//! What stands in memory is read at once, and a little is written there at once. The rest goes through the ring, a
//! piece at a time where it is read, so that others run while the kernel copies. What cannot be done is for the
//! original to say.

use magnus::{Error, RModule, RString, Ruby, Value, method, prelude::*, rb_sys::AsRawValue};
use polyphony_core::op::Op;

use super::{
    attempt::{self, Attempt},
    original,
    read::Piece,
    write::{bytes, frozen},
};
use crate::{
    open_file::OpenFile,
    roots::Keep,
    scheduler::{Performed, Scheduler, Woken},
};

/// So much may be read at once: copying it takes as long as a switch or two.
const AT_ONCE: u32 = 64 * 1024;
/// So much is read by one operation.
const PIECE: u32 = 256 * 1024;

pub(super) fn define(module: RModule) -> Result<(), Error> {
    module.define_method("pread", method!(pread, -1))?;
    module.define_method("pwrite", method!(pwrite, -1))
}

fn pread(ruby: &Ruby, io: Value, args: &[Value]) -> Result<Value, Error> {
    let (Some(scheduler), Some((len, from, buffer))) = (super::unless_frozen(io), wanted(args)) else {
        return original(ruby, args);
    };
    let piece = Piece::new(len);
    let mut done = 0;
    while done < len {
        let Some(file) = OpenFile::of(io).filter(|file| file.is_readable()) else { break };
        match read_some(scheduler, file.fd(), piece, done, from)? {
            read @ 1.. => done += read as u32,
            again if again == -libc::EINTR || again == -libc::ECANCELED => {}
            _ => break,
        }
    }
    let read = piece.cut(done as usize);
    match buffer {
        _ if done == 0 => original(ruby, args),
        None => Ok(read.as_value()),
        Some(buffer) => {
            let _: Value =
                read.funcall("force_encoding", (buffer.funcall::<_, _, Value>("encoding", ())?,))?;
            buffer.funcall("replace", (read,))
        }
    }
}

/// How much is to be read, from where, and into what; nothing where the original would refuse.
fn wanted(args: &[Value]) -> Option<(u32, u64, Option<RString>)> {
    let (len, from, buffer) = match *args {
        [len, from] => (len, from, None),
        [len, from, buffer] if buffer.is_nil() => (len, from, None),
        [len, from, buffer] => (len, from, Some(RString::from_value(buffer).filter(|it| !it.is_frozen())?)),
        _ => return None,
    };
    let len = u32::try_convert(len).ok().filter(|len| (1..1 << 30).contains(len))?;
    let from = i64::try_convert(from).ok().and_then(|from| u64::try_from(from).ok())?;
    Some((len, from, buffer))
}

/// One read behind the `done` bytes that are there: a count, or a negative errno.
fn read_some(scheduler: &Scheduler, fd: i32, piece: Piece, done: u32, from: u64) -> Result<i32, Error> {
    let buf = piece.start().wrapping_add(done as usize);
    let offset = from + u64::from(done);
    let len = piece.len() - done;
    if done == 0 && len <= AT_ONCE {
        // SAFETY: the piece has room for so many bytes, and nobody else has it.
        match unsafe { attempt::read(fd, buf, len as usize, offset, false) } {
            Attempt::Done(read) => return Ok(read as i32),
            Attempt::Early => return Ok(-libc::EAGAIN),
            Attempt::Slow => {}
        }
    }
    if !attempt::is_slow(fd) {
        return Ok(-libc::ESPIPE); // a stream has no places, and the ring would read where it stands
    }
    let op = Op::Read { fd, buf, len: len.min(PIECE), offset };
    told(scheduler, scheduler.perform(op, |roots| Keep::Value(roots.keep(piece.raw()))))
}

fn pwrite(ruby: &Ruby, io: Value, args: &[Value]) -> Result<Value, Error> {
    let (Some(scheduler), &[data, from]) = (super::unless_frozen(io), args) else {
        return original(ruby, args);
    };
    let Some(offset) = i64::try_convert(from).ok().and_then(|from| u64::try_from(from).ok()) else {
        return original(ruby, args);
    };
    let string = frozen(data)?;
    loop {
        let Some(file) = OpenFile::of(io).filter(|file| file.is_writable()) else {
            return original(ruby, args);
        };
        let fd = file.fd();
        if !attempt::is_slow(fd) || attempt::is_cached(fd) && scheduler.may_write_in_place(string.len()) {
            return original(ruby, args);
        }
        let raw = string.as_raw();
        let (buf, len) = bytes(raw);
        let op = Op::Write { fd, buf, len: len.min(1 << 30) as u32, offset };
        match told(scheduler, scheduler.perform(op, |roots| Keep::Value(roots.keep(raw))))? {
            written @ 0.. => return Ok(ruby.integer_from_i64(written.into()).as_value()),
            again if again == -libc::EINTR || again == -libc::ECANCELED => {}
            _ => return original(ruby, args),
        }
    }
}

/// The result of an operation. What else somebody has scheduled is for the fiber's next `suspend`.
fn told(scheduler: &Scheduler, performed: Performed) -> Result<i32, Error> {
    match performed.woken {
        Some(Woken::Error(error)) => return Err(error),
        Some(Woken::Value(value)) => scheduler.keep_for_later(value),
        None => {}
    }
    Ok(performed.outcome.result)
}
