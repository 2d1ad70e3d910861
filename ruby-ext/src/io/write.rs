//! Writing through the ring, until every byte is out.
//!
//! The kernel reads from a frozen copy of each string (Ruby shares the bytes until somebody changes
//! either), which is kept alive and in its place until the last completion. A large piece is tried first: what
//! there is room for needs no turn of the ring.

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
    module.define_method("syswrite", method!(syswrite, -1))
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
    if !file.writes_straight() {
        // Ruby's buffer takes it, or it is written in a fiber that Ruby's scheduler interface serves.
        let len = args.iter().filter_map(|arg| RString::from_value(*arg)).map(RString::len).sum();
        if file.has_room_for(len) || !ruby.fiber_current().funcall::<_, _, bool>("blocking?", ())? {
            return original(ruby, args);
        }
        return io.funcall("__aside__", (ruby.to_symbol("write"), ruby.ary_new_from_values(args)));
    }
    let Some(fd) = OpenFile::of(target).map(OpenFile::fd) else { return original(ruby, args) };
    scheduler.begin_writing(fd).inspect_err(|error| errors::tell_went_out(error, 0))?;
    let mut out = 0;
    let woken = write_each(ruby, scheduler, target, args, &mut out);
    scheduler.end_writing(fd);
    let woken = woken.inspect_err(|error| errors::tell_went_out(error, out))?;
    Ok(woken.unwrap_or_else(|| ruby.integer_from_u64(out as u64).as_value()))
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
        let file = OpenFile::expect(ruby, io)?;
        let fd = file.fd();
        let raw = string.as_raw();
        let performed = write_now(scheduler, fd, raw, from).unwrap_or_else(|| {
            scheduler.perform(write_op(fd, raw, from), |roots| Keep::Value(roots.keep(raw)))
        });
        *out += performed.outcome.result.max(0) as usize;
        match performed.woken {
            Some(Woken::Error(error)) => return Err(error),
            Some(Woken::Value(value)) => return Ok(Some(value)),
            None => {}
        }
        match performed.outcome.result {
            0.. => return Ok(None),
            result if result == -libc::EINTR || result == -libc::EAGAIN => {}
            result if result == -libc::ECANCELED => {
                return Err(errors::io(ruby, "stream closed in another thread"));
            }
            result => return Err(errors::of_io(ruby, io, -result, "io_write")),
        }
    }
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
