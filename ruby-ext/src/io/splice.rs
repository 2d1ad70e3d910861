//! Moving bytes between descriptors inside the kernel: splice(2) and tee(2) through the ring.
//!
//! One call is one operation, as much as the kernel moves at once. What Ruby holds of either IO in its
//! buffers is the caller's to take first (`gem/lib/polyphony/extensions/io/moving.rb`): these do not look.

use magnus::{
    Error, Integer, RModule, Ruby, Value, function,
    prelude::*,
    rb_sys::{AsRawValue, FromRawValue},
};
use polyphony_core::op::{Op, POSITION};

use crate::{
    errors,
    open_file::OpenFile,
    roots::Keep,
    scheduler::{Scheduler, Woken},
};

/// Defines the primitives in the module of the gem's own functions.
pub(crate) fn define(module: RModule) -> Result<(), Error> {
    module.define_singleton_method("splice", function!(splice, 3))?;
    module.define_singleton_method("tee", function!(tee, 3))
}

/// Moves at most `len` bytes, one of the two being a pipe: how many, 0 at the end of the stream.
fn splice(ruby: &Ruby, from: Value, to: Value, len: u32) -> Result<Value, Error> {
    let (from, to) = (descriptor(ruby, from)?, descriptor(ruby, written_through(to))?);
    if !is_pipe(from) && !is_pipe(to) {
        return Err(errors::system(ruby, libc::EINVAL, "splice(2)"));
    }
    let op = Op::Splice { from, from_offset: POSITION, to, to_offset: POSITION, len, flags: 0 };
    moved(ruby, op, "splice(2)")
}

/// Copies at most `len` bytes from a pipe to a pipe and leaves them where they were.
fn tee(ruby: &Ruby, from: Value, to: Value, len: u32) -> Result<Value, Error> {
    let (from, to) = (descriptor(ruby, from)?, descriptor(ruby, to)?);
    if !is_pipe(from) || !is_pipe(to) {
        return Err(errors::system(ruby, libc::EINVAL, "tee(2)"));
    }
    moved(ruby, Op::Tee { from, to, len, flags: 0 }, "tee(2)")
}

fn moved(ruby: &Ruby, op: Op, tried: &str) -> Result<Value, Error> {
    let scheduler = Scheduler::current()
        .ok_or_else(|| Error::new(ruby.exception_runtime_error(), "no scheduler runs in this thread"))?;
    loop {
        let performed = scheduler.perform(op, |_| Keep::Nothing);
        match performed.woken {
            Some(Woken::Error(error)) => return Err(error),
            Some(Woken::Value(value)) => return Ok(value),
            None => {}
        }
        match performed.outcome.result {
            count if count >= 0 => return Ok(ruby.integer_from_i64(i64::from(count)).as_value()),
            result if result == -libc::EINTR => {}
            result if result == -libc::ECANCELED => {
                return Err(errors::io(ruby, "stream closed in another thread"));
            }
            result => return Err(errors::system(ruby, -result, tried)),
        }
    }
}

/// Whether a descriptor is a pipe's. Asked first, for a backend may wait until it is ready and only then hear
/// that it will not do. What is no descriptor at all is for the kernel to refuse.
fn is_pipe(fd: i32) -> bool {
    let mut stat = std::mem::MaybeUninit::<libc::stat>::uninit();
    // SAFETY: room for the answer, which is looked at only where the kernel has given one.
    let mode = unsafe { if libc::fstat(fd, stat.as_mut_ptr()) < 0 { 0 } else { stat.assume_init().st_mode } };
    mode == 0 || mode & libc::S_IFMT == libc::S_IFIFO
}

/// The IO that `io` writes through: itself, or the other end of a command's.
fn written_through(io: Value) -> Value {
    if OpenFile::of(io).is_none() {
        return io;
    }
    // SAFETY: an open IO, as was seen just now.
    unsafe { Value::from_raw(rb_sys::rb_io_get_write_io(io.as_raw())) }
}

/// The descriptor of an IO, or the number that was given.
fn descriptor(ruby: &Ruby, io: Value) -> Result<i32, Error> {
    match Integer::from_value(io) {
        Some(fd) => fd.to_i32(),
        None => Ok(OpenFile::expect(ruby, io)?.fd()),
    }
}
