//! Lines: when does the buffer hold one?

use magnus::{Error, RHash, RModule, RString, Ruby, Value, method, prelude::*, rb_sys::FromRawValue};

use super::{original, read};
use crate::{open_file::OpenFile, scheduler::Scheduler};

/// What ends a line.
enum Until {
    /// The separator, or so many bytes.
    Separator(Vec<u8>, Option<usize>),
    /// An empty line, and the lines behind it that are empty too.
    Paragraph(Option<usize>),
    /// The end of the stream, or so many bytes.
    End(Option<usize>),
}

pub(super) fn define(module: RModule) -> Result<(), Error> {
    for name in ["gets", "readline"] {
        module.define_method(name, method!(gets, -1))?;
    }
    Ok(())
}

fn gets(ruby: &Ruby, io: Value, args: &[Value]) -> Result<Value, Error> {
    if Scheduler::current().is_none() {
        return original(ruby, args);
    }
    if args.is_empty() && has_newline(io) && is_default_separator() {
        return original(ruby, args);
    }
    // Arguments that make no sense are for the original to refuse.
    let Some(until) = until(args) else { return original(ruby, args) };
    let scanned = std::cell::Cell::new(0);
    read::when(ruby, io, args, read::CHUNK, |file| until.is_met(file.buffered(), &scanned))
}

fn has_newline(io: Value) -> bool {
    OpenFile::of(io).is_some_and(|file| memchr(b'\n', file.buffered()).is_some())
}

fn is_default_separator() -> bool {
    separator().is_some_and(|separator| separator == b"\n")
}

/// `$/`, nothing where it is nil.
#[expect(deprecated, reason = "the global variable itself may not be read in other Ractors")]
fn separator() -> Option<Vec<u8>> {
    // SAFETY: a variable of Ruby's, nil or a string that it keeps alive, read with the GVL.
    bytes(unsafe { Value::from_raw(rb_sys::rb_rs) })
}

fn bytes(value: Value) -> Option<Vec<u8>> {
    let string = RString::from_value(value)?;
    // SAFETY: copied at once; no Ruby call in between.
    Some(unsafe { string.as_slice() }.to_vec())
}

/// Reads the arguments of `gets(sep = $/, limit = nil, chomp: false)` in all their forms.
fn until(args: &[Value]) -> Option<Until> {
    let positional = match args.split_last() {
        Some((last, rest)) if RHash::from_value(*last).is_some() => rest,
        _ => args,
    };
    let (ends, limit) = match *positional {
        [] => (separator(), None),
        [only] if only.is_nil() => (None, None),
        [only] => match bytes(only) {
            Some(ends) => (Some(ends), None),
            None => (separator(), Some(i64::try_convert(only).ok()?)),
        },
        [ends, limit] => {
            let limit = if limit.is_nil() { None } else { Some(i64::try_convert(limit).ok()?) };
            (if ends.is_nil() { None } else { Some(bytes(ends)?) }, limit)
        }
        _ => return None,
    };
    // A negative limit is none; room for the rest of a character that the limit would cut.
    let limit =
        limit.and_then(|limit| usize::try_from(limit).ok()).map(|limit| limit + usize::from(limit > 0) * 16);
    Some(match ends {
        None => Until::End(limit),
        Some(ends) if ends.is_empty() => Until::Paragraph(limit),
        Some(ends) => Until::Separator(ends, limit),
    })
}

impl Until {
    /// Whether `buffered` holds a line. `scanned` remembers what need not be looked at again.
    fn is_met(&self, buffered: &[u8], scanned: &std::cell::Cell<usize>) -> bool {
        let (Until::Separator(_, limit) | Until::Paragraph(limit) | Until::End(limit)) = self;
        if limit.is_some_and(|limit| buffered.len() >= limit) {
            return true;
        }
        match self {
            Until::End(_) => false,
            Until::Separator(ends, _) => {
                let from = scanned.get().min(buffered.len());
                scanned.set(buffered.len().saturating_sub(ends.len() - 1));
                find(&buffered[from..], ends)
            }
            Until::Paragraph(_) => {
                let text = buffered.iter().position(|&byte| byte != b'\n').unwrap_or(buffered.len());
                let Some(end) = buffered[text..].windows(2).position(|pair| pair == b"\n\n") else {
                    return false;
                };
                buffered[text + end..].iter().any(|&byte| byte != b'\n')
            }
        }
    }
}

fn find(bytes: &[u8], ends: &[u8]) -> bool {
    let mut rest = bytes;
    while let Some(at) = memchr(ends[0], rest) {
        if rest[at..].starts_with(ends) {
            return true;
        }
        rest = &rest[at + 1..];
    }
    false
}

fn memchr(byte: u8, bytes: &[u8]) -> Option<usize> {
    // SAFETY: the length is that of the slice; the answer is null or inside it.
    let found = unsafe { libc::memchr(bytes.as_ptr().cast(), i32::from(byte), bytes.len()) };
    (!found.is_null()).then(|| found as usize - bytes.as_ptr() as usize)
}
