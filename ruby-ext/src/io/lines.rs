//! Lines: when does the buffer hold one?

use std::cell::{Cell, RefCell};

use magnus::{
    Error, Fixnum, RModule, RString, Ruby, Value, method,
    prelude::*,
    rb_sys::{AsRawValue, FromRawValue},
};

use super::{original, read, text::Text};
use crate::{
    open_file::{Encoding, OpenFile},
    scheduler::Scheduler,
};

/// What ends a line.
enum Until {
    /// The separator, or so many bytes.
    Separator(Vec<u8>, Option<usize>),
    /// An empty line, and the lines behind it that are empty too; with a newline as it is read.
    Paragraph(Vec<u8>, Option<usize>),
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
    let Some(file) = OpenFile::of(io) else { return original(ruby, args) };
    if names_no_separator(args) && has_plain_newline(file) && is_default_separator() {
        return original(ruby, args); // which waits for nothing, whoever asks
    }
    if Scheduler::current().is_none() {
        return original(ruby, args);
    }
    // Arguments that make no sense are for the original to refuse, before anything is waited for.
    let Some(until) = until(ruby, file, args) else { return original(ruby, args) };
    let text = RefCell::new(Text::of(file)?);
    let scanned = Cell::new(0);
    let enough = |file: OpenFile| {
        text.borrow_mut().is(file, |characters, encoding| until.is_met(characters, encoding, &scanned))
    };
    read::when(ruby, io, args, read::CHUNK, read::FILLING, enough)
}

/// Whether a line ends with `$/`, or before at a limit.
fn names_no_separator(args: &[Value]) -> bool {
    match positional(args) {
        [] => true,
        [only] => Fixnum::from_value(*only).is_some(),
        _ => false,
    }
}

/// The arguments without the keywords.
fn positional(args: &[Value]) -> &[Value] {
    let Some((_, rest)) = args.split_last() else { return args };
    // SAFETY: called from a method that Ruby called with these arguments.
    if unsafe { rb_sys::rb_keyword_given_p() } == 0 { args } else { rest }
}

fn has_plain_newline(file: OpenFile) -> bool {
    memchr(b'\n', file.buffered()).is_some() && !file.converts() && file.encoding().has_ascii()
}

fn is_default_separator() -> bool {
    separator().is_some_and(|ends| is_everybodys(ends) || bytes(ends).is_some_and(|ends| ends == b"\n"))
}

/// `$/`, nothing where it is nil.
#[expect(deprecated, reason = "the global variable itself may not be read in other Ractors")]
fn separator() -> Option<RString> {
    // SAFETY: a variable of Ruby's, nil or a string that it keeps alive, read with the GVL.
    RString::from_value(unsafe { Value::from_raw(rb_sys::rb_rs) })
}

/// Whether a separator is the one that every `$/` begins as, which fits every encoding.
fn is_everybodys(separator: RString) -> bool {
    // SAFETY: a constant of Ruby's.
    separator.as_raw() == unsafe { rb_sys::rb_default_rs }
}

fn bytes(string: RString) -> Option<Vec<u8>> {
    // SAFETY: copied at once; no Ruby call in between.
    Some(unsafe { string.as_slice() }.to_vec())
}

/// Reads the arguments of `gets(sep = $/, limit = nil, chomp: false)` in all their forms. Nothing where the
/// original will refuse them.
fn until(ruby: &Ruby, file: OpenFile, args: &[Value]) -> Option<Until> {
    let (ends, limit) = match *positional(args) {
        [] => (separator(), None),
        [only] if only.is_nil() => (None, None),
        [only] => match RString::from_value(only) {
            Some(ends) => (Some(ends), None),
            None => match i64::try_convert(only) {
                Ok(limit) => (separator(), Some(limit)),
                Err(_) => (Some(RString::try_convert(only).ok()?), None),
            },
        },
        [ends, limit] => {
            let limit = if limit.is_nil() { None } else { Some(i64::try_convert(limit).ok()?) };
            (if ends.is_nil() { None } else { Some(RString::try_convert(ends).ok()?) }, limit)
        }
        _ => return None,
    };
    // A negative limit is none.
    let limit = limit.and_then(|limit| usize::try_from(limit).ok());
    let Some(ends) = ends else { return Some(Until::End(limit)) };
    let ends = fitting(ruby, file, ends)?;
    if ends.is_empty() {
        let newline = encoded(ruby.str_new("\n"), file.encoding())?;
        return Some(Until::Paragraph(newline, limit));
    }
    Some(Until::Separator(ends, limit))
}

/// The bytes of a separator, in the encoding that is read; nothing where it has none there.
fn fitting(ruby: &Ruby, file: OpenFile, ends: RString) -> Option<Vec<u8>> {
    let encoding = file.encoding();
    let fits = Encoding::of(ends) == encoding || ends.is_empty() || is_ascii(ends) && encoding.has_ascii();
    if fits {
        return bytes(ends);
    }
    encoded(is_everybodys(ends).then(|| ruby.str_new("\n"))?, encoding)
}

/// The bytes of an ASCII string in an encoding; nothing where it has none there.
fn encoded(ascii: RString, encoding: Encoding) -> Option<Vec<u8>> {
    if encoding.has_ascii() {
        return bytes(ascii);
    }
    bytes(ascii.funcall("encode", (encoding.object(),)).ok()?)
}

fn is_ascii(string: RString) -> bool {
    // SAFETY: a live string.
    unsafe { rb_sys::rb_enc_str_asciionly_p(string.as_raw()) != 0 }
}

/// A character that a limit would cut is read on, for so many bytes.
const MOST_CUT: usize = 16;

impl Until {
    /// Whether the original finds a line in `text`. `scanned` remembers what need not be looked at again.
    fn is_met(&self, text: &[u8], encoding: Encoding, scanned: &Cell<usize>) -> bool {
        let (Until::Separator(_, limit) | Until::Paragraph(_, limit) | Until::End(limit)) = self;
        if *limit == Some(0) {
            return true;
        }
        match self {
            // Ruby looks for the separator -1 where there is none but a limit, and finds it in this byte.
            Until::End(limit) if limit.is_some() && memchr(0xff, text).is_some() => true,
            Until::End(_) => limited(text, encoding, *limit).is_some(),
            Until::Separator(ends, _) => {
                let from = scanned.get().min(text.len());
                scanned.set(text.len().saturating_sub(ends.len() - 1));
                find(text, from, ends, encoding) || limited(text, encoding, *limit).is_some()
            }
            Until::Paragraph(newline, _) => {
                let text = behind(newline, text);
                let empty = newline.repeat(2);
                let ends = (0..text.len()).step_by(newline.len()).find(|&at| text[at..].starts_with(&empty));
                let end = ends.map(|at| at + empty.len());
                let end = end.into_iter().chain(limited(text, encoding, *limit)).min();
                end.is_some_and(|end| behind(newline, &text[end..]).len() >= newline.len())
            }
        }
    }
}

/// What stands behind the newlines that a text begins with.
fn behind<'a>(newline: &[u8], mut text: &'a [u8]) -> &'a [u8] {
    while let Some(rest) = text.strip_prefix(newline) {
        text = rest;
    }
    text
}

/// Where a limit ends a line, with the rest of the character that it would cut.
fn limited(text: &[u8], encoding: Encoding, limit: Option<usize>) -> Option<usize> {
    let limit = limit?;
    let mut ends = limit..=limit + MOST_CUT;
    ends.find(|&end| end > text.len() || end == limit + MOST_CUT || !encoding.is_cut(&text[..end]))
        .filter(|&end| end <= text.len())
}

/// Whether a separator stands in `text` from a place on, and not within a character.
fn find(text: &[u8], from: usize, ends: &[u8], encoding: Encoding) -> bool {
    let mut from = from;
    while let Some(at) = memchr(ends[0], &text[from..]) {
        from += at;
        if text[from..].starts_with(ends) && encoding.begins_character(text, from) {
            return true;
        }
        from += 1;
    }
    false
}

fn memchr(byte: u8, bytes: &[u8]) -> Option<usize> {
    // SAFETY: the length is that of the slice; the answer is null or inside it.
    let found = unsafe { libc::memchr(bytes.as_ptr().cast(), i32::from(byte), bytes.len()) };
    (!found.is_null()).then(|| found as usize - bytes.as_ptr() as usize)
}
