//! Writing through the ring, until every byte is out.
//!
//! The kernel reads from a frozen copy of each string (Ruby shares the bytes until somebody changes
//! either), which is kept alive and in its place until the last completion. A large piece is tried first: what
//! there is room for needs no turn of the ring.
//!
//! What Ruby has buffered stays in its buffer until the kernel has taken it, and whoever takes it has Ruby's own
//! lock of that buffer: a write that is cancelled in the middle loses no byte, and stock code beside it writes none
//! twice.
//!
//! A little for a plain file is written in place, for that only fills memory; see
//! [`Scheduler::may_write_in_place`].

use std::ops::RangeInclusive;

use magnus::{
    Error, RModule, RString, Ruby, Value, method,
    prelude::*,
    rb_sys::{AsRawValue, FromRawValue},
};
use polyphony_core::op::{Op, POSITION};
use rb_sys::VALUE;

use super::{attempt, original};
use crate::{
    errors,
    open_file::OpenFile,
    roots::Keep,
    scheduler::{Performed, Scheduler, Woken},
};

pub(super) fn define(module: RModule) -> Result<(), Error> {
    module.define_method("write", method!(write, -1))?;
    module.define_method("syswrite", method!(syswrite, -1))?;
    // What stock Ruby writes its buffer out for first.
    for name in ["flush", "pos", "tell", "pos=", "seek", "rewind"] {
        module.define_method(name, method!(after_the_buffer, -1))?;
    }
    module.define_method("fsync", method!(fsync, -1))?;
    module.define_method("fdatasync", method!(fdatasync, -1))
}

fn write(ruby: &Ruby, io: Value, args: &[Value]) -> Result<Value, Error> {
    let Some(scheduler) = Scheduler::current() else { return original(ruby, args) };
    let target = if OpenFile::of(io).is_some() {
        // SAFETY: `io` is the receiver, and open; the answer is it or the IO that it writes through.
        unsafe { Value::from_raw(rb_sys::rb_io_get_write_io(io.as_raw())) }
    } else {
        io
    };
    let Some(file) = OpenFile::of(target).filter(|_| !args.is_empty()) else { return original(ruby, args) };
    let straight = file.writes_straight();
    if !straight {
        let len = args.iter().filter_map(|arg| RString::from_value(*arg)).map(RString::len).sum();
        // Ruby's buffer takes it.
        if file.has_room_for(len) {
            return original(ruby, args);
        }
        if !file.writes_plainly() || file.is_terminal() {
            return write_by_ruby(ruby, io, args);
        }
    }
    let out_of = |out: &mut usize| {
        if straight {
            return write_each(ruby, scheduler, target, args, out);
        }
        locked(target, || {
            drain(ruby, scheduler, target)?;
            write_each(ruby, scheduler, target, args, out)
        })
    };
    let fd = file.fd();
    scheduler.begin_writing(fd).inspect_err(|error| errors::tell_went_out(error, 0))?;
    let mut out = 0;
    let woken = out_of(&mut out);
    scheduler.end_writing(fd);
    let woken = woken.inspect_err(|error| errors::tell_went_out(error, out))?;
    Ok(woken.unwrap_or_else(|| ruby.integer_from_u64(out as u64).as_value()))
}

/// The original, which converts, and waits as Ruby's scheduler interface has it: in a fiber that it serves.
fn write_by_ruby(ruby: &Ruby, io: Value, args: &[Value]) -> Result<Value, Error> {
    write_out(ruby, io)?;
    if !ruby.fiber_current().funcall::<_, _, bool>("blocking?", ())? {
        return original(ruby, args);
    }
    io.funcall("__aside__", (ruby.to_symbol("write"), ruby.ary_new_from_values(args)))
}

fn after_the_buffer(ruby: &Ruby, io: Value, args: &[Value]) -> Result<Value, Error> {
    write_out(ruby, io)?;
    original(ruby, args)
}

/// Writes what Ruby has buffered of an IO, or of the one that it writes through.
pub(super) fn write_out(ruby: &Ruby, io: Value) -> Result<(), Error> {
    let Some(scheduler) = Scheduler::current() else { return Ok(()) };
    let Some(target) = written_through(io) else { return Ok(()) };
    let Some(file) = OpenFile::of(target).filter(|file| file.has_unwritten()) else { return Ok(()) };
    let fd = file.fd();
    scheduler.begin_writing(fd)?;
    let drained = locked(target, || drain(ruby, scheduler, target));
    scheduler.end_writing(fd);
    drained
}

/// The IO that an IO writes through, which is mostly itself; nothing where it is closed.
pub(super) fn written_through(io: Value) -> Option<Value> {
    OpenFile::of(io)?;
    // SAFETY: `io` is open; the answer is it or the IO that it writes through.
    Some(unsafe { Value::from_raw(rb_sys::rb_io_get_write_io(io.as_raw())) })
}

/// Keeps everybody else, stock code and other threads too, from what Ruby has buffered of an IO.
fn locked<T>(io: Value, f: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    let Some(lock) = OpenFile::of(io).and_then(OpenFile::write_lock) else { return f() };
    let _: Value = lock.funcall("lock", ())?;
    let done = f();
    let unlocked: Result<Value, Error> = lock.funcall("unlock", ());
    done.and_then(|value| unlocked.map(|_| value))
}

/// Writes what Ruby has buffered. Whatever ends it, what is not out stays where it is.
fn drain(ruby: &Ruby, scheduler: &Scheduler, io: Value) -> Result<(), Error> {
    while let Some(file) = OpenFile::of(io).filter(|file| file.has_unwritten()) {
        let bytes = ruby.str_from_slice(file.unwritten());
        let performed = put(scheduler, io, file.fd(), bytes.as_raw(), 0);
        if let Some(file) = OpenFile::of(io) {
            file.went_out(performed.outcome.result.max(0) as usize);
        }
        match performed.woken {
            Some(Woken::Error(error)) => return Err(error),
            Some(Woken::Value(value)) => {
                scheduler.keep_for_later(value);
                continue;
            }
            None => {}
        }
        went(ruby, io, performed.outcome.result)?;
    }
    Ok(())
}

fn fsync(ruby: &Ruby, io: Value, args: &[Value]) -> Result<Value, Error> {
    synchronize(ruby, io, args, false)
}

fn fdatasync(ruby: &Ruby, io: Value, args: &[Value]) -> Result<Value, Error> {
    synchronize(ruby, io, args, true)
}

/// Waits for the disk. What cannot be done is for the original to say.
fn synchronize(ruby: &Ruby, io: Value, args: &[Value], data_only: bool) -> Result<Value, Error> {
    write_out(ruby, io)?;
    let (Some(scheduler), Some(target), true) = (Scheduler::current(), written_through(io), args.is_empty())
    else {
        return original(ruby, args);
    };
    loop {
        let fd = OpenFile::expect(ruby, target)?.fd();
        let performed = scheduler.perform(Op::Fsync { fd, data_only }, |_| Keep::Nothing);
        match performed.woken {
            Some(Woken::Error(error)) => return Err(error),
            Some(Woken::Value(value)) => scheduler.keep_for_later(value),
            None => {}
        }
        match -performed.outcome.result {
            0 => return Ok(ruby.integer_from_i64(0).as_value()),
            libc::ECANCELED | libc::EINTR => {}
            // The kernel tells it once.
            errno @ (libc::EIO | libc::ENOSPC | libc::EDQUOT) => {
                return Err(errors::of_io(ruby, target, errno, "rb_io_fsync"));
            }
            _ => return original(ruby, args),
        }
    }
}

/// Writes every string; what the fiber was scheduled with, if that ended it. `out` counts the bytes that went
/// out, whatever ends it.
fn write_each(
    ruby: &Ruby,
    scheduler: &Scheduler,
    io: Value,
    args: &[Value],
    out: &mut usize,
) -> Result<Option<Value>, Error> {
    let mut taken = 0;
    while taken < args.len() {
        let string = together(ruby, io, &args[taken..], &mut taken)?;
        let end = *out + string.len();
        while *out < end {
            let from = string.len() - (end - *out);
            if let Some(woken) = write_some(ruby, scheduler, io, string, from, out)? {
                return Ok(Some(woken));
            }
        }
    }
    Ok(None)
}

/// So much is copied to be written at once.
const SHORT: usize = 64 * 1024;

/// The first of some strings, and as long as it is short those behind it: a line and its newline are one
/// packet, and what one `write` is given one datagram.
fn together(ruby: &Ruby, io: Value, args: &[Value], taken: &mut usize) -> Result<RString, Error> {
    let first = encoded(io, frozen(args[0])?)?;
    *taken += 1;
    if args.len() == 1 || first.len() >= SHORT {
        return Ok(first);
    }
    let whole = ruby.str_buf_new(SHORT.min(2 * first.len()));
    append(whole, first);
    for &arg in &args[1..] {
        if whole.len() + RString::from_value(arg).map_or(0, RString::len) > SHORT {
            break;
        }
        append(whole, encoded(io, frozen(arg)?)?);
        *taken += 1;
    }
    Ok(whole)
}

fn append(whole: RString, next: RString) {
    // SAFETY: copied at once; no Ruby code runs in between.
    whole.cat(unsafe { next.as_slice() });
}

/// One write, as much as the kernel takes.
fn syswrite(ruby: &Ruby, io: Value, args: &[Value]) -> Result<Value, Error> {
    let (Some(scheduler), &[arg]) = (Scheduler::current(), args) else { return original(ruby, args) };
    if !OpenFile::of(io).is_some_and(OpenFile::writes_straight) {
        return original(ruby, args);
    }
    let string = frozen(arg)?;
    if string.is_empty() {
        return original(ruby, args); // which waits for nothing, and is told where nobody reads
    }
    let mut out = 0;
    let woken = write_some(ruby, scheduler, io, string, 0, &mut out)
        .inspect_err(|error| errors::tell_went_out(error, out))?;
    Ok(woken.unwrap_or_else(|| ruby.integer_from_u64(out as u64).as_value()))
}

/// A frozen string with the bytes of what is to be written, whatever becomes of the original.
pub(crate) fn frozen(value: Value) -> Result<RString, Error> {
    let string = match RString::from_value(value) {
        Some(string) => string,
        None => value.funcall("to_s", ())?,
    };
    // SAFETY: a live string; Ruby answers with a frozen one that shares its bytes.
    let frozen = unsafe { Value::from_raw(rb_sys::rb_str_new_frozen(string.as_raw())) };
    Ok(RString::from_value(frozen).expect("a frozen string is a string"))
}

/// The string in the encoding that the IO writes.
fn encoded(io: Value, string: RString) -> Result<RString, Error> {
    let Some(encoding) = OpenFile::of(io).and_then(|file| file.encoding_for(string.as_raw())) else {
        return Ok(string);
    };
    // SAFETY: an encoding's object lives as long as Ruby.
    let encoding = unsafe { Value::from_raw(encoding) };
    frozen(string.funcall("encode", (encoding,))?)
}

/// Where a string's bytes stand, and how many. Valid while the string is pinned and not changed.
pub(crate) fn bytes(string: VALUE) -> (*const u8, usize) {
    // SAFETY: a live string; looked at under the GVL.
    unsafe { (rb_sys::RSTRING_PTR(string).cast(), rb_sys::RSTRING_LEN(string) as usize) }
}

/// One write of a string from a byte on. `out` grows by what went out, also where something ends it.
fn write_some(
    ruby: &Ruby,
    scheduler: &Scheduler,
    io: Value,
    string: RString,
    from: usize,
    out: &mut usize,
) -> Result<Option<Value>, Error> {
    loop {
        let fd = OpenFile::expect(ruby, io)?.fd();
        let performed = put(scheduler, io, fd, string.as_raw(), from);
        *out += performed.outcome.result.max(0) as usize;
        match performed.woken {
            Some(Woken::Error(error)) => return Err(error),
            Some(Woken::Value(value)) => return Ok(Some(value)),
            None => {}
        }
        if went(ruby, io, performed.outcome.result)? {
            return Ok(None);
        }
    }
}

/// Whether a write got anywhere, or is to be made again.
fn went(ruby: &Ruby, io: Value, result: i32) -> Result<bool, Error> {
    match -result {
        ..=0 => Ok(true),
        libc::EINTR | libc::EAGAIN => Ok(false),
        libc::ECANCELED => Err(errors::io(ruby, "stream closed in another thread")),
        errno => Err(errors::of_io(ruby, io, errno, "io_write")),
    }
}

/// Has the kernel write a string from a byte on, as much as it takes: in place, or through the ring.
fn put(scheduler: &Scheduler, io: Value, fd: i32, string: VALUE, from: usize) -> Performed {
    let (start, len) = bytes(string);
    let len = len - from;
    // SAFETY: so many bytes stand there, of a string on the caller's stack; no Ruby code runs meanwhile.
    if let Some(written) = unsafe { write_in_place(scheduler, io, fd, start.wrapping_add(from), len) } {
        return Performed::at_once(written as i32);
    }
    write_now(scheduler, fd, string, from).unwrap_or_else(|| {
        scheduler.perform(write_op(fd, string, from), |roots| Keep::Value(roots.keep(string)))
    })
}

/// Writes a little to a plain file's place in memory. None where that is not what it would be, or it is not to be
/// now; see [`Scheduler::may_write_in_place`].
///
/// # Safety
///
/// `len` bytes stand at `start`.
pub(crate) unsafe fn write_in_place(
    scheduler: &Scheduler,
    io: Value,
    fd: i32,
    start: *const u8,
    len: usize,
) -> Option<isize> {
    let may = is_file(io) && attempt::is_cached(fd) && scheduler.may_write_in_place(len);
    // SAFETY: by the contract above.
    may.then(|| unsafe { attempt::write_in_place(fd, start, len) })
}

/// Whether an IO may be a plain file: others need not be looked at by the kernel.
fn is_file(io: Value) -> bool {
    // SAFETY: called with the GVL; a live object and Ruby's own class.
    unsafe { rb_sys::rb_obj_is_kind_of(io.as_raw(), rb_sys::rb_cFile) == rb_sys::Qtrue as VALUE }
}

/// Writes what there is room for, where that is worth a system call of its own.
fn write_now(scheduler: &Scheduler, fd: i32, string: VALUE, from: usize) -> Option<Performed> {
    let (start, len) = bytes(string);
    let len = len - from;
    if !LARGE.contains(&len) || !scheduler.goes_straight(fd) {
        return None;
    }
    // SAFETY: so many bytes stand there; the string is on the caller's stack.
    let written = unsafe { attempt::write_now(fd, start.wrapping_add(from), len) }?;
    Some(Performed::at_once(written as i32))
}

/// How many bytes are worth a system call of their own. Fewer cost less in the ring, beside others'; more would
/// hold the thread up, and in parts they would no longer go to a file in one piece.
const LARGE: RangeInclusive<usize> = 8 * 1024..=64 * 1024;

/// At most a gigabyte at once: the kernel takes no more than `i32::MAX` bytes anyway.
fn write_op(fd: i32, string: VALUE, from: usize) -> Op {
    let (start, len) = bytes(string);
    let len = (len - from).min(1 << 30) as u32;
    Op::Write { fd, buf: start.wrapping_add(from), len, offset: POSITION }
}
