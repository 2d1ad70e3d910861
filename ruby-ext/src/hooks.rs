//! The hooks of Ruby's Fiber::Scheduler interface that are called most: those that move bytes, wait for
//! descriptors, sleep, block and unblock. The others are Ruby, in the class that these are methods of.
//!
//! Ruby lends each call a piece of memory: of a string, or of an IO's buffer. It is touched only while no
//! other fiber can run, because one of them may close the IO and free it: a call that has to wait first waits
//! until the descriptor is ready, or has the ring read into a string of ours, and then looks whether the IO is
//! the one that it was.
//!
//! A failure is a negative errno, as the interface wants it. Exceptions are only what somebody raised in the
//! fiber meanwhile.

use std::{ffi::c_void, time::Duration};

use magnus::{
    Error, Integer, RArray, RModule, RString, Ruby, Thread, Value, function, method,
    prelude::*,
    rb_sys::{AsRawValue, FromRawValue, protect},
    typed_data::Obj,
};
use polyphony_core::op::{Op, POSITION};
use rb_sys::VALUE;

use crate::{
    errors, gvl,
    io::{
        attempt::{self, Attempt},
        closer, string_bytes, write_in_place,
    },
    open_file::OpenFile,
    roots::{Keep, NIL},
    ruby_api,
    scheduler::{Performed, Scheduler, Woken},
    socket::{hidden, set_len},
    time,
    write_lock::WriteLock,
};

/// Defines the hooks in the module of the gem's own functions.
pub(crate) fn define(module: RModule) -> Result<(), Error> {
    module.define_singleton_method("io_read", function!(io_read, 6))?;
    module.define_singleton_method("io_write", function!(io_write, 6))?;
    module.define_singleton_method("poll_any", function!(poll_any, 2))
}

/// Defines the hooks that Ruby calls most.
pub(crate) fn define_class(ruby: &Ruby, polyphony: RModule) -> Result<(), Error> {
    let class = polyphony.define_class("FiberScheduler", ruby.class_object())?;
    class.define_method("block", method!(hook_block, -1))?;
    class.define_method("unblock", method!(hook_unblock, 2))?;
    class.define_method("kernel_sleep", method!(hook_sleep, -1))?;
    class.define_method("io_wait", method!(hook_wait, -1))?;
    class.define_method("io_read", method!(hook_read, -1))?;
    class.define_method("io_write", method!(hook_write, -1))
}

/// The thread's scheduler, made when a hook is first called. A trap handler has it, too, in the middle of a
/// fiber's wait.
fn with_scheduler<R>(this: Value, hook: impl FnOnce(&Scheduler) -> Result<R, Error>) -> Result<R, Error> {
    if let Some(scheduler) = Scheduler::current() {
        return hook(scheduler);
    }
    let scheduler: Obj<Scheduler> = this.funcall("here", ())?;
    hook(&scheduler)
}

fn hook_block(ruby: &Ruby, this: Value, args: &[Value]) -> Result<bool, Error> {
    let (blocker, limit) = one_or_two(ruby, args)?;
    with_scheduler(this, |scheduler| ruby_api::block(ruby, scheduler, blocker, limit))
}

/// Ruby names the thread as the blocker where the fiber waits for another thread, or for those that are inside a
/// call on what it closes.
fn hook_unblock(_this: Value, blocker: Value, fiber: Value) -> Result<(), Error> {
    ruby_api::unblock(blocker, fiber);
    if ruby_api::is_hidden(blocker) || Thread::from_value(blocker).is_none() {
        return Ok(());
    }
    closer::wake(blocker, fiber, ruby_api::may_block(fiber))
}

fn hook_sleep(ruby: &Ruby, this: Value, args: &[Value]) -> Result<bool, Error> {
    let span = match args {
        [] => None,
        [span] => time::span(ruby, *span)?,
        _ => return Err(wrong_number(ruby, args, "0..1")),
    };
    with_scheduler(this, |scheduler| match span {
        Some(Duration::ZERO) => scheduler.pass(),
        span => scheduler.block(ruby.to_symbol("sleep").as_value(), true, span).map(drop),
    })?;
    Ok(true)
}

fn hook_wait(ruby: &Ruby, this: Value, args: &[Value]) -> Result<Value, Error> {
    let (io, events, limit) = match *args {
        [io, events] => (io, events, ruby.qnil().as_value()),
        [io, events, limit] => (io, events, limit),
        _ => return Err(wrong_number(ruby, args, "2..3")),
    };
    let limit = if limit.is_nil() { timeout_of(ruby, io)? } else { limit };
    // Ruby 3.4's `IO.copy_stream` asks for its caller's scheduler, also in the thread that `blocking_operation_wait` gave it.
    if Scheduler::current().is_none() && this.funcall("elsewhere?", ())? {
        return io.funcall("wait", (events, limit));
    }
    with_scheduler(this, |scheduler| ruby_api::poll_for(ruby, scheduler, io, events, limit))
}

/// What Ruby 3.2 and later have as `IO#timeout`.
fn timeout_of(ruby: &Ruby, io: Value) -> Result<Value, Error> {
    io.check_funcall("timeout", ()).unwrap_or_else(|| Ok(ruby.qnil().as_value()))
}

fn hook_read(ruby: &Ruby, this: Value, args: &[Value]) -> Result<i64, Error> {
    let (io, buffer, least, offset) = lent_to(ruby, args)?;
    with_scheduler(this, |_| io_read(ruby, io, buffer, ruby.qnil().as_value(), offset, least, None))
}

fn hook_write(ruby: &Ruby, this: Value, args: &[Value]) -> Result<i64, Error> {
    let (io, buffer, least, offset) = lent_to(ruby, args)?;
    let least = least.max(1);
    with_scheduler(this, |_| io_write(ruby, io, buffer, ruby.qnil().as_value(), offset, least, None))
}

/// An IO, a buffer, how many bytes at least, and from where on in the buffer.
fn lent_to(ruby: &Ruby, args: &[Value]) -> Result<(Value, Value, usize, usize), Error> {
    match *args {
        [io, buffer, least] => Ok((io, buffer, usize::try_convert(least)?, 0)),
        [io, buffer, least, offset] => {
            Ok((io, buffer, usize::try_convert(least)?, usize::try_convert(offset)?))
        }
        _ => Err(wrong_number(ruby, args, "3..4")),
    }
}

fn one_or_two(ruby: &Ruby, args: &[Value]) -> Result<(Value, Value), Error> {
    match *args {
        [first] => Ok((first, ruby.qnil().as_value())),
        [first, second] => Ok((first, second)),
        _ => Err(wrong_number(ruby, args, "1..2")),
    }
}

#[cold]
fn wrong_number(ruby: &Ruby, args: &[Value], expected: &str) -> Error {
    let message = format!("wrong number of arguments (given {}, expected {expected})", args.len());
    Error::new(ruby.exception_arg_error(), message)
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
    let transfer = Transfer { ruby, io, from: position(from)?, least, events: libc::POLLIN };
    let room = |done| Ok::<_, Error>(lent(writable(buffer)?, offset, most, done));
    transfer.run(
        |fd, done, at, slowly| {
            let (base, len) = room(done)?;
            // SAFETY: Ruby lends so many bytes to this call, and nothing else runs before it returns.
            Ok((unsafe { attempt::read(fd, base, len, at, slowly) }, len))
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
    let transfer = Transfer { ruby, io, from: position(from)?, least, events: libc::POLLOUT };
    let bytes = |done| Ok::<_, Error>(lent(readable(buffer)?, offset, most, done));
    let written = transfer.run(
        |fd, done, at, slowly| {
            let (base, len) = bytes(done)?;
            // SAFETY: as in `io_read`.
            let attempt = unsafe {
                let in_place = (at == POSITION).then(Scheduler::current).flatten();
                let written = in_place.and_then(|scheduler| write_in_place(scheduler, io, fd, base, len));
                written.map_or_else(|| attempt::write(fd, base, len, at, slowly), Attempt::Done)
            };
            Ok((attempt, len))
        },
        |scheduler, fd, done, at| {
            let (base, len) = bytes(done)?;
            // SAFETY: so many bytes stand there; Ruby copies them before anything else runs.
            let string = unsafe { rb_sys::rb_str_new(base.cast(), len.min(MOST) as _) };
            let (start, len) = string_bytes(string);
            let op = Op::Write { fd, buf: start, len: len as u32, offset: at };
            let performed =
                scheduler.deafly(|| scheduler.perform(op, |roots| Keep::Value(roots.keep(string))));
            transfer.after(scheduler, fd, performed)
        },
    )?;
    if gvl::is_interrupted() { hear_unlocked(io, bytes(0)?.0, written) } else { Ok(written) }
}

/// Hears of a signal that has come during a write. Ruby does as the hook returns, with its lock of the IO held, which
/// the handler may want.
///
/// The handler may write what Ruby has buffered, too. So what of that is out is taken from the buffer first, and Ruby is
/// told to look again.
#[cold]
fn hear_unlocked(io: Value, base: *const u8, written: i64) -> Result<i64, Error> {
    let Some(lock) = WriteLock::of(io).filter(|lock| lock.is_own()) else { return Ok(written) };
    let mut answer = written;
    if let Some(file) = OpenFile::of(io).filter(|file| file.unwritten().as_ptr_range().contains(&base)) {
        file.went_out(written.max(0) as usize);
        answer = -i64::from(libc::EINTR);
    }
    lock.without(|| Scheduler::current().map_or_else(gvl::check_interrupts, Scheduler::check_interrupts))?;
    Ok(answer)
}

/// Whether the hook is called by `IO#sysread`, which asks once. All others that want what is there ask again, or tell
/// their caller.
fn is_sysread() -> bool {
    // The hook's own frame, one of a class that overrides it, and its caller's.
    let (mut frames, mut lines) = ([NIL; 3], [0; 3]);
    // SAFETY: called with the GVL; there is room for so many.
    let found = unsafe { rb_sys::rb_profile_frames(0, 3, frames.as_mut_ptr(), lines.as_mut_ptr()) };
    frames.iter().take(found.unsigned_abs() as usize).any(|&frame| {
        // SAFETY: a frame that Ruby has just told.
        let name = unsafe { Value::from_raw(rb_sys::rb_profile_frame_method_name(frame)) };
        // SAFETY: nothing changes the string, or frees it, while it is compared.
        RString::from_value(name).is_some_and(|name| unsafe { name.as_slice() } == b"sysread")
    })
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
    /// What the descriptor is ready for when it may go on.
    events: i16,
}

impl Transfer<'_> {
    /// Moves bytes by `now` as long as that gets anywhere, and by `slowly` where waiting for readiness is no use.
    fn run(
        &self,
        now: impl Fn(i32, usize, u64, bool) -> Result<(Attempt, usize), Error>,
        slowly: impl Fn(&Scheduler, i32, usize, u64) -> Result<i64, Error>,
    ) -> Result<i64, Error> {
        let mut done = 0;
        loop {
            let Some(file) = OpenFile::of(self.io) else { return Ok(-i64::from(libc::EBADF)) };
            let fd = file.fd();
            let at = if self.from == POSITION { POSITION } else { self.from + done as u64 };
            // A trap handler in the middle of a wait has nobody who does it for it: it takes its time, as in stock Ruby.
            let (attempt, room) = now(fd, done, at, Scheduler::current().is_none())?;
            if !matches!(attempt, Attempt::Done(_)) {
                file.tell_who_waits();
            }
            let moved = match (attempt, Scheduler::current()) {
                (Attempt::Done(moved), _) => moved as i64,
                (Attempt::Slow, Some(scheduler)) => slowly(scheduler, fd, done, at)?,
                (Attempt::Early, Some(scheduler)) if self.waits(done) && !self.is_locked() => {
                    self.wait(scheduler, fd)?;
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

    /// Whether a call that has moved so many bytes waits for more.
    fn waits(&self, done: usize) -> bool {
        self.least > done || (self.least == 0 && self.events == libc::POLLIN && is_sysread())
    }

    /// Whether Ruby holds its lock of the IO for this call: it waits for room itself then, without the lock.
    fn is_locked(&self) -> bool {
        self.events == libc::POLLOUT && WriteLock::of(self.io).is_some_and(WriteLock::is_own)
    }

    /// Waits until the descriptor is ready.
    fn wait(&self, scheduler: &Scheduler, fd: i32) -> Result<(), Error> {
        let performed = scheduler.perform(Op::Poll { fd, events: self.events as u32 }, |_| Keep::Nothing);
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
