//! Ruby's own record of an open file, and its read buffer.
//!
//! There is one read buffer an IO: Ruby's. We fill it through the ring and let Ruby's own methods take
//! from it, so that every way of reading one IO sees the same stream: `gets`, `ungetc`, `read_nonblock`,
//! `IO.select` and C extensions alike. Bytes that a cancelled read brought go there too.

use std::ffi::c_char;

use magnus::{
    Error, RString, Ruby, Value,
    prelude::*,
    rb_sys::{AsRawValue, FromRawValue, protect},
};
use rb_sys::{OnigEncodingTypeST, VALUE, rb_io_buffer_t, rb_io_t};

use crate::errors;

const READABLE: i32 = 0x0000_0001;
const WRITABLE: i32 = 0x0000_0002;
const SYNC: i32 = 0x0000_0008;
const TERMINAL: i32 = 0x0000_0010;
const DUPLEX: i32 = 0x0000_0020;
/// `FMODE_TEXTMODE`: line ends are converted as they are read.
const TEXT: i32 = 0x0000_1000;
const NO_REVERSE_LOOKUP: i32 = 0x0000_0100;
/// The least that Ruby gives a read buffer.
const LEAST: usize = 8192;

/// An IO that was open a moment ago. Made anew after every switch: another fiber may close it.
#[derive(Clone, Copy)]
pub(crate) struct OpenFile(*mut rb_io_t);

impl OpenFile {
    /// The open file of an IO; nothing where `value` is no IO, or is closed.
    pub(crate) fn of(value: Value) -> Option<Self> {
        let raw = value.as_raw();
        // SAFETY: a live object; the type is checked before the object is looked at as a file.
        let file = unsafe {
            if !rb_sys::RB_TYPE_P(raw, rb_sys::ruby_value_type::RUBY_T_FILE) {
                return None;
            }
            (*(raw as *const rb_sys::RFile)).fptr
        };
        // SAFETY: Ruby keeps the record until the IO is freed or reopened, and the GVL is ours.
        (!file.is_null() && unsafe { (*file).fd } >= 0).then_some(OpenFile(file))
    }

    /// Like [`of`](Self::of), with the error that stock Ruby gives.
    pub(crate) fn expect(ruby: &Ruby, value: Value) -> Result<Self, Error> {
        Self::of(value).ok_or_else(|| errors::io(ruby, "closed stream"))
    }

    /// Ruby's record, until the next switch.
    pub(crate) fn get<'a>(self) -> &'a mut rb_io_t {
        // SAFETY: found by `of` since the last switch; only this thread has the GVL.
        unsafe { &mut *self.0 }
    }

    pub(crate) fn fd(self) -> i32 {
        self.get().fd
    }

    /// Makes another descriptor the IO's; the one that it had.
    pub(crate) fn replace_fd(self, fd: i32) -> i32 {
        std::mem::replace(&mut self.get().fd, fd)
    }

    /// Whether more may come after the end: from a terminal, or from the next who opens a FIFO.
    pub(crate) fn may_go_on(self) -> bool {
        // SAFETY: all zeros is a valid `stat`, which the kernel fills.
        let kind = unsafe {
            let mut stat: libc::stat = std::mem::zeroed();
            libc::fstat(self.fd(), &raw mut stat);
            stat.st_mode & libc::S_IFMT
        };
        matches!(kind, libc::S_IFCHR | libc::S_IFIFO)
    }

    /// Whether it stands for a command, for whose end its close waits.
    pub(crate) fn runs_command(self) -> bool {
        self.get().pid > 0
    }

    pub(crate) fn is_readable(self) -> bool {
        self.get().mode & READABLE != 0
    }

    /// Whether it was opened for what is waited for, and no characters are left that only readers of characters see.
    pub(crate) fn can_wait_for(self, events: i16) -> bool {
        let file = self.get();
        if events == libc::POLLOUT {
            file.mode & WRITABLE != 0
        } else {
            self.is_readable() && !self.holds_characters()
        }
    }

    /// Whether a write goes straight to the kernel: nothing is buffered and nothing is to be converted. A file
    /// that was read ahead of its position has to go back first.
    pub(crate) fn writes_straight(self) -> bool {
        let file = self.get();
        self.writes_plainly() && file.mode & SYNC != 0 && file.wbuf.len == 0
    }

    /// Whether what is to be written goes to the kernel as it is, behind what is buffered.
    pub(crate) fn writes_plainly(self) -> bool {
        let file = self.get();
        let mode = file.mode;
        mode & WRITABLE != 0
            && (file.rbuf.len == 0 || mode & DUPLEX != 0)
            && file.writeconv.is_null()
            && file.encs.enc2.is_null()
            && file.encs.ecflags & NEWLINES == 0
    }

    /// Whether characters are converted as they are read.
    pub(crate) fn converts(self) -> bool {
        let file = self.get();
        !file.encs.enc2.is_null() || file.mode & TEXT != 0
    }

    /// How characters are converted as they are read; nothing where they are not.
    pub(crate) fn conversion(self) -> Option<Conversion> {
        if !self.converts() {
            return None;
        }
        let encodings = &self.get().encs;
        // SAFETY: encodings of Ruby's, where they are not null.
        let name = |encoding: *const OnigEncodingTypeST| match unsafe { encoding.as_ref() } {
            Some(encoding) if !encodings.enc2.is_null() => encoding.name,
            Some(_) | None => c"".as_ptr(),
        };
        Some(Conversion {
            from: name(encodings.enc2),
            to: name(encodings.enc),
            flags: encodings.ecflags & !WRITTEN_NEWLINES,
            options: encodings.ecopts,
        })
    }

    /// The encoding of what is read.
    pub(crate) fn encoding(self) -> Encoding {
        let encoding = self.get().encs.enc;
        if !encoding.is_null() {
            return Encoding(encoding);
        }
        // SAFETY: Ruby always has a default.
        Encoding(unsafe { rb_sys::rb_default_external_encoding() })
    }

    /// The characters converted and not yet taken. What an ended conversion has left is none of them.
    pub(crate) fn characters(&self) -> &[u8] {
        if self.get().readconv.is_null() { &[] } else { held(&self.get().cbuf) }
    }

    /// Whether there are characters, of which readers of bytes say that they cannot have them; also those that
    /// an ended conversion has left.
    pub(crate) fn holds_characters(self) -> bool {
        self.get().cbuf.len > 0
    }

    /// The encoding that a string must be brought to before it is written; nothing where it goes as it is.
    pub(crate) fn encoding_for(self, string: VALUE) -> Option<VALUE> {
        let wanted = self.get().encs.enc.cast_mut();
        // SAFETY: a live string, and encodings, which Ruby never frees.
        unsafe {
            let is = rb_sys::rb_enc_get(string);
            let as_it_is = wanted.is_null()
                || wanted == is
                || wanted == rb_sys::rb_ascii8bit_encoding()
                || rb_sys::rb_enc_str_asciionly_p(string) != 0 && wanted == rb_sys::rb_utf8_encoding();
            (!as_it_is).then(|| rb_sys::rb_enc_from_encoding(wanted))
        }
    }

    /// What was opened, where Ruby knows.
    pub(crate) fn path(self) -> Option<String> {
        // SAFETY: nil or a string of Ruby's, alive as long as the record.
        let path = unsafe { Value::from_raw(self.get().pathv) };
        RString::from_value(path).and_then(|path| path.to_string().ok())
    }

    /// Whether Ruby's write buffer takes so many bytes more without being written out.
    pub(crate) fn has_room_for(self, len: usize) -> bool {
        const SIZE: usize = 8192; // Ruby's IO_WBUF_CAPA_MIN
        len + (self.get().wbuf.len.max(0) as usize) < SIZE
    }

    /// Whether a write may stay in Ruby's buffer, which a terminal's does for a line at most.
    pub(crate) fn is_terminal(self) -> bool {
        self.get().mode & TERMINAL != 0
    }

    pub(crate) fn has_unwritten(self) -> bool {
        self.get().wbuf.len > 0
    }

    /// The bytes written and not yet out.
    pub(crate) fn unwritten(&self) -> &[u8] {
        let buffer = &self.get().wbuf;
        if buffer.len <= 0 {
            return &[];
        }
        // SAFETY: Ruby's invariant: `len` bytes stand at `off`.
        unsafe { std::slice::from_raw_parts(buffer.ptr.add(buffer.off as usize).cast(), buffer.len as usize) }
    }

    /// So many of them are out.
    pub(crate) fn went_out(self, count: usize) {
        let buffer = &mut self.get().wbuf;
        let count = (count as i32).min(buffer.len);
        buffer.off += count;
        buffer.len -= count;
        if buffer.len == 0 {
            buffer.off = 0;
        }
    }

    /// Ruby's lock of the bytes that are not out yet, which whoever takes some of them holds.
    pub(crate) fn write_lock(self) -> Option<Value> {
        let lock = self.get().write_lock;
        // SAFETY: nothing yet, or a lock that the record keeps alive.
        (lock != 0).then(|| unsafe { Value::from_raw(lock) }).filter(|lock| !lock.is_nil())
    }

    pub(crate) fn is_writable(self) -> bool {
        self.get().mode & WRITABLE != 0
    }

    /// The bytes read and not yet taken.
    pub(crate) fn buffered(&self) -> &[u8] {
        held(&self.get().rbuf)
    }

    /// Makes the file's position that of its reader, and forgets what was read ahead, as every write does first. A
    /// socket has no position, and keeps its bytes.
    pub(crate) fn go_back(self) -> Result<(), Error> {
        if self.buffered().is_empty() {
            return Ok(());
        }
        // SAFETY: a live record, by `of`; what Ruby raises is caught.
        protect(|| unsafe {
            rb_sys::rb_io_check_writable(self.0);
            rb_sys::Qnil as VALUE
        })?;
        Ok(())
    }

    /// Puts bytes behind those that wait to be taken.
    pub(crate) fn append(self, bytes: &[u8]) {
        let buffer = &mut self.get().rbuf;
        let (held, wanted) = (buffer.len.max(0) as usize, buffer.len.max(0) as usize + bytes.len());
        // SAFETY: the memory is Ruby's, allocated by Ruby's allocator as `io_fillbuf` does; `capa` bytes
        // long; every copy below stays within it.
        unsafe {
            if buffer.ptr.is_null() {
                let capacity = wanted.next_power_of_two().max(LEAST);
                buffer.ptr = rb_sys::ruby_xmalloc(capacity as _).cast();
                (buffer.off, buffer.len, buffer.capa) = (0, 0, capacity as i32);
            }
            if buffer.off as usize + wanted > buffer.capa as usize {
                std::ptr::copy(buffer.ptr.add(buffer.off as usize), buffer.ptr, held);
                buffer.off = 0;
                if wanted > buffer.capa as usize {
                    let capacity = wanted.next_power_of_two();
                    buffer.ptr = rb_sys::ruby_xrealloc(buffer.ptr.cast(), capacity as _).cast();
                    buffer.capa = capacity as i32;
                }
            }
            if held == 0 {
                buffer.off = 0;
            }
            let end = buffer.ptr.add(buffer.off as usize + held).cast::<u8>();
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), end, bytes.len());
        }
        buffer.len = wanted as i32;
    }

    /// Makes the mode that of a socket.
    pub(crate) fn become_socket(self, no_reverse_lookup: bool) {
        let file = self.get();
        file.mode |= DUPLEX | SYNC | READABLE | WRITABLE;
        if no_reverse_lookup {
            file.mode |= NO_REVERSE_LOOKUP;
        }
    }
}

/// An encoding of Ruby's, which is never freed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Encoding(*const OnigEncodingTypeST);

impl Encoding {
    /// The encoding of a string.
    pub(crate) fn of(string: RString) -> Self {
        // SAFETY: a live string.
        Encoding(unsafe { rb_sys::rb_enc_get(string.as_raw()) })
    }

    /// Ruby's object for it.
    pub(crate) fn object(self) -> Value {
        // SAFETY: an encoding, whose object lives as long as Ruby.
        unsafe { Value::from_raw(rb_sys::rb_enc_from_encoding(self.0.cast_mut())) }
    }

    /// Whether ASCII is itself in it.
    pub(crate) fn has_ascii(self) -> bool {
        // SAFETY: an encoding.
        unsafe { (*self.0).min_enc_len == 1 && rb_sys::rb_enc_dummy_p(self.0.cast_mut()) == 0 }
    }

    /// Whether a character begins at a place.
    pub(crate) fn begins_character(self, bytes: &[u8], at: usize) -> bool {
        let range = bytes.as_ptr_range();
        let place = range.start.wrapping_add(at);
        // SAFETY: the place is in the slice.
        let head = unsafe {
            rb_sys::onigenc_get_left_adjust_char_head(self.0.cast_mut(), range.start, place, range.end)
        };
        head.cast_const() == place
    }

    /// Whether the last character needs bytes that are not there.
    pub(crate) fn is_cut(self, bytes: &[u8]) -> bool {
        let range = bytes.as_ptr_range();
        if bytes.is_empty() {
            return false;
        }
        // SAFETY: the last byte is in the slice, and so is what begins its character.
        unsafe {
            let last = range.end.sub(1);
            let head =
                rb_sys::onigenc_get_left_adjust_char_head(self.0.cast_mut(), range.start, last, range.end);
            needs_more(rb_sys::rb_enc_precise_mbclen(head.cast(), range.end.cast(), self.0.cast_mut()))
        }
    }

    /// Whether the first character is whole; one that is invalid is.
    pub(crate) fn has_character(self, bytes: &[u8]) -> bool {
        if bytes.first().is_some_and(u8::is_ascii) && self.has_ascii() {
            return true; // without asking Ruby, which takes as long as the rest
        }
        let range = bytes.as_ptr_range();
        // SAFETY: a slice.
        !bytes.is_empty()
            && !needs_more(unsafe {
                rb_sys::rb_enc_precise_mbclen(range.start.cast(), range.end.cast(), self.0.cast_mut())
            })
    }
}

/// Below -1 of what tells the length of a character: so many bytes more are needed. -1 is one that is invalid.
fn needs_more(length: i32) -> bool {
    length < -1
}

/// How an IO converts what it reads.
pub(crate) struct Conversion {
    /// The name of an encoding, or nothing where only line ends are converted.
    pub(crate) from: *const c_char,
    pub(crate) to: *const c_char,
    pub(crate) flags: i32,
    pub(crate) options: VALUE,
}

fn held(buffer: &rb_io_buffer_t) -> &[u8] {
    if buffer.len <= 0 || buffer.ptr.is_null() {
        return &[];
    }
    // SAFETY: Ruby's invariant: `len` bytes stand at `off`.
    unsafe { std::slice::from_raw_parts(buffer.ptr.add(buffer.off as usize).cast(), buffer.len as usize) }
}

/// `ECONV_NEWLINE_DECORATOR_MASK`: line ends are converted.
const NEWLINES: i32 = 0x0000_3f00;
/// Those of `ECONV_NEWLINE_DECORATOR_WRITE_MASK`, with the one of newer Rubies.
const WRITTEN_NEWLINES: i32 = 0x0000_7000;
