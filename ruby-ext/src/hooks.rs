//! The hooks of Ruby's Fiber::Scheduler interface that move bytes and wait for descriptors.
//!
//! Ruby lends each call a piece of memory: of a string, or of an IO's buffer. It is touched only while no
//! other fiber can run, because one of them may close the IO and free it: a call that has to wait first waits
//! until the descriptor is ready, or has the ring read into a string of ours, and then looks whether the IO is
//! the one that it was.
//!
//! A failure is a negative errno, as the interface wants it. Exceptions are only what somebody raised in the
//! fiber meanwhile.

use std::ffi::c_void;

use magnus::{
    Error, Integer, RArray, RModule, Ruby, Value, function,
    prelude::*,
    rb_sys::{AsRawValue, protect},
};
use polyphony_core::op::{Op, POSITION};
use rb_sys::VALUE;

use crate::{
    errors,
    io::{
        attempt::{self, Attempt},
        string_bytes,
    },
    open_file::OpenFile,
    roots::{Keep, NIL},
    scheduler::{Performed, Scheduler, Woken},
    socket::{hidden, set_len},
    time,
};

/// Defines the hooks in the module of the gem's own functions.
pub(crate) fn define(module: RModule) -> Result<(), Error> {
    module.define_singleton_method("io_read", function!(io_read, 6))?;
    module.define_singleton_method("io_write", function!(io_write, 6))?;
    module.define_singleton_method("poll_any", function!(poll_any, 2))
}

/// Reads into an `IO::Buffer` from `offset` on, at least `least` bytes unless the stream ends, and at most
/// `most`; with 0, what is there, and `-EAGAIN` where nothing is. `from` is where in the file, or nil.
fn io_read(
    ruby: &Ruby,
    io: Value,
    buffer: Value,
    from: Value,
    offset: usize,
    least: usize,
    most: Option<usize>,
) -> Result<i64, Error> {
    let transfer = Transfer { ruby, io, from: position(from)?, least };
    let room = |done| Ok::<_, Error>(lent(writable(buffer)?, offset, most, done));
    transfer.run(
        libc::POLLIN,
        |fd, done, at| {
            let (base, len) = room(done)?;
            // SAFETY: Ruby lends so many bytes to this call, and nothing else runs before it returns.
            Ok((unsafe { attempt::read(fd, base, len, at) }, len))
        },
        |scheduler, fd, done, at| {
            let len = room(done)?.1.min(MOST);
            let string = hidden(len);
            let into = string_bytes(string).0.cast_mut();
            let op = Op::Read { fd, buf: into, len: len as u32, offset: at };
            let performed = scheduler.perform(op, |roots| Keep::Value(roots.keep(string)));
            let read = transfer.after(scheduler, fd, performed)?;
            if read > 0 {
                set_len(string, read as usize);
                // SAFETY: the string holds so many bytes, and there is room for as many: the IO is the same.
                unsafe { std::ptr::copy_nonoverlapping(into, room(done)?.0, read as usize) };
            }
            Ok(read)
        },
    )
}

/// Writes from an `IO::Buffer`, from `offset` on, at least `least` bytes and at most `most`; with 0, what there
/// is room for, and `-EAGAIN` where there is none.
fn io_write(
    ruby: &Ruby,
    io: Value,
    buffer: Value,
    from: Value,
    offset: usize,
    least: usize,
    most: Option<usize>,
) -> Result<i64, Error> {
    let transfer = Transfer { ruby, io, from: position(from)?, least };
    let bytes = |done| Ok::<_, Error>(lent(readable(buffer)?, offset, most, done));
    transfer.run(
        libc::POLLOUT,
        |fd, done, at| {
            let (base, len) = bytes(done)?;
            // SAFETY: as in `io_read`.
            Ok((unsafe { attempt::write(fd, base, len, at) }, len))
        },
        |scheduler, fd, done, at| {
            let (base, len) = bytes(done)?;
            // SAFETY: so many bytes stand there; Ruby copies them before anything else runs.
            let string = unsafe { rb_sys::rb_str_new(base.cast(), len.min(MOST) as _) };
            let (start, len) = string_bytes(string);
            let op = Op::Write { fd, buf: start, len: len as u32, offset: at };
            let performed = scheduler.perform(op, |roots| Keep::Value(roots.keep(string)));
            transfer.after(scheduler, fd, performed)
        },
    )
}

/// The most that one operation moves.
const MOST: usize = 1 << 30;

/// One call of a hook that moves bytes.
struct Transfer<'a> {
    ruby: &'a Ruby,
    io: Value,
    /// Where in the file; [`POSITION`] for where it stands.
    from: u64,
    /// How many bytes are wanted at least.
    least: usize,
}

impl Transfer<'_> {
    /// Moves bytes by `now` as long as that gets anywhere, and by `slowly` where waiting for readiness is no use.
    fn run(
        &self,
        events: i16,
        now: impl Fn(i32, usize, u64) -> Result<(Attempt, usize), Error>,
        slowly: impl Fn(&Scheduler, i32, usize, u64) -> Result<i64, Error>,
    ) -> Result<i64, Error> {
        let mut done = 0;
        loop {
            let Some(file) = OpenFile::of(self.io) else { return Ok(-i64::from(libc::EBADF)) };
            let fd = file.fd();
            let at = if self.from == POSITION { POSITION } else { self.from + done as u64 };
            let (attempt, room) = now(fd, done, at)?;
            let moved = match (attempt, Scheduler::current()) {
                (Attempt::Done(moved), _) => moved as i64,
                (Attempt::Slow, Some(scheduler)) => slowly(scheduler, fd, done, at)?,
                (Attempt::Early, Some(scheduler)) if self.least > done => {
                    self.wait(scheduler, fd, events)?;
                    continue;
                }
                (Attempt::Early | Attempt::Slow, _) => -i64::from(libc::EAGAIN),
            };
            if moved <= 0 {
                return Ok(if done > 0 { done as i64 } else { moved });
            }
            done += moved as usize;
            if done >= self.least || moved as usize >= room {
                return Ok(done as i64);
            }
        }
    }

    /// Waits until the descriptor is ready.
    fn wait(&self, scheduler: &Scheduler, fd: i32, events: i16) -> Result<(), Error> {
        let performed = scheduler.perform(Op::Poll { fd, events: events as u32 }, |_| Keep::Nothing);
        self.after(scheduler, fd, performed).map(drop)
    }

    /// The result of an operation, where nothing was raised meanwhile and the IO is the one that it was.
    fn after(&self, scheduler: &Scheduler, fd: i32, performed: Performed) -> Result<i64, Error> {
        match performed.woken {
            Some(Woken::Error(error)) => return Err(error),
            Some(Woken::Value(value)) => scheduler.keep_for_later(value),
            None => {}
        }
        if OpenFile::of(self.io).is_none_or(|file| file.fd() != fd) {
            return Err(errors::io(self.ruby, "stream closed in another thread"));
        }
        Ok(i64::from(performed.outcome.result))
    }
}

fn position(from: Value) -> Result<u64, Error> {
    Ok(if from.is_nil() { POSITION } else { u64::try_convert(from)? })
}

/// Waits until one of several descriptors, given as `[io, events]`, is ready, or for so many seconds. Which one
/// is for the caller to find out.
fn poll_any(ruby: &Ruby, polled: RArray, limit: Value) -> Result<bool, Error> {
    let scheduler = Scheduler::current()
        .ok_or_else(|| Error::new(ruby.exception_runtime_error(), "no scheduler runs in this thread"))?;
    let limit = time::span(ruby, limit)?;
    let mut ops = Vec::with_capacity(polled.len());
    for pair in polled {
        let (io, events) = <(Value, u32)>::try_convert(pair)?;
        let fd = match Integer::from_value(io) {
            Some(fd) => fd.to_i32()?,
            None => OpenFile::expect(ruby, io)?.fd(),
        };
        ops.push(Op::Poll { fd, events });
    }
    let (ended, woken) = scheduler.perform_any(&ops, limit);
    match woken {
        Some(Woken::Error(error)) => Err(error),
        Some(Woken::Value(_)) | None => Ok(ended),
    }
}

/// The part of lent memory from `offset` on, at most so many bytes, that is left when so many are done.
fn lent((base, size): (*mut u8, usize), offset: usize, most: Option<usize>, done: usize) -> (*mut u8, usize) {
    let end = most.map_or(size, |most| size.min(offset.saturating_add(most)));
    let begin = offset.saturating_add(done).min(end);
    (base.wrapping_add(begin), end - begin)
}

/// The memory of an `IO::Buffer` that may be written to.
fn writable(buffer: Value) -> Result<(*mut u8, usize), Error> {
    memory(buffer, |buffer, base, size| {
        // SAFETY: under protect; Ruby checks what the object is and sets both.
        unsafe { rb_sys::rb_io_buffer_get_bytes_for_writing(buffer, base, size) }
    })
}

/// The memory of an `IO::Buffer` that may be read.
fn readable(buffer: Value) -> Result<(*mut u8, usize), Error> {
    memory(buffer, |buffer, base, size| {
        // SAFETY: as above.
        unsafe { rb_sys::rb_io_buffer_get_bytes_for_reading(buffer, base.cast(), size) }
    })
}

fn memory(
    buffer: Value,
    get: impl Fn(VALUE, *mut *mut c_void, *mut rb_sys::size_t),
) -> Result<(*mut u8, usize), Error> {
    let (mut base, mut size) = (std::ptr::null_mut(), 0);
    let raw = buffer.as_raw();
    protect(|| {
        get(raw, &raw mut base, &raw mut size);
        NIL
    })?;
    Ok((base.cast(), size as usize))
}
