//! Ruby's own record of an open file, and its read buffer.
//!
//! There is one read buffer an IO: Ruby's. We fill it through the ring and let Ruby's own methods take
//! from it, so that every way of reading one IO sees the same stream: `gets`, `ungetc`, `read_nonblock`,
//! `IO.select` and C extensions alike. Bytes that a cancelled read brought go there too.

use magnus::{
    Error, RString, Ruby, Value,
    rb_sys::{AsRawValue, FromRawValue},
};
use rb_sys::{VALUE, rb_io_t};

use crate::errors;

const READABLE: i32 = 0x0000_0001;
const WRITABLE: i32 = 0x0000_0002;
const SYNC: i32 = 0x0000_0008;
const DUPLEX: i32 = 0x0000_0020;
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
    fn get<'a>(self) -> &'a mut rb_io_t {
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

    pub(crate) fn is_readable(self) -> bool {
        self.get().mode & READABLE != 0
    }

    /// Whether it was opened for what is waited for, and no characters are left that only readers of characters see.
    pub(crate) fn can_wait_for(self, events: i16) -> bool {
        let file = self.get();
        if events == libc::POLLOUT {
            file.mode & WRITABLE != 0
        } else {
            self.is_readable() && file.cbuf.len == 0
        }
    }

    /// Whether a write goes straight to the kernel: nothing is buffered and nothing is to be converted. A file
    /// that was read ahead of its position has to go back first.
    pub(crate) fn writes_straight(self) -> bool {
        let file = self.get();
        let mode = file.mode;
        mode & WRITABLE != 0
            && mode & SYNC != 0
            && file.wbuf.len == 0
            && (file.rbuf.len == 0 || mode & DUPLEX != 0)
            && file.writeconv.is_null()
            && file.encs.enc2.is_null()
            && file.encs.ecflags & NEWLINES == 0
    }

    /// Whether characters are converted as they are read.
    pub(crate) fn converts(self) -> bool {
        let file = self.get();
        !file.encs.enc2.is_null() || !file.readconv.is_null() || file.encs.ecflags & NEWLINES != 0
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

    pub(crate) fn has_unwritten(self) -> bool {
        self.get().wbuf.len > 0
    }

    /// The bytes read and not yet taken.
    pub(crate) fn buffered(&self) -> &[u8] {
        let buffer = &self.get().rbuf;
        if buffer.len <= 0 {
            return &[];
        }
        // SAFETY: Ruby's invariant: `len` bytes stand at `off`.
        unsafe { std::slice::from_raw_parts(buffer.ptr.add(buffer.off as usize).cast(), buffer.len as usize) }
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

    /// Whether the first character in the buffer is whole, in the IO's encoding.
    pub(crate) fn has_whole_character(self) -> bool {
        let bytes = self.buffered();
        let Some(&first) = bytes.first() else { return false };
        if first.is_ascii() && !self.converts() {
            return true;
        }
        let file = self.get();
        // SAFETY: an IO's encoding is null (the default is meant) or Ruby's own; the bytes are a slice.
        unsafe {
            let encoding = if file.encs.enc.is_null() {
                rb_sys::rb_default_external_encoding()
            } else {
                file.encs.enc.cast_mut()
            };
            let start = bytes.as_ptr().cast();
            let length = rb_sys::rb_enc_precise_mbclen(start, start.add(bytes.len()), encoding);
            length >= -1 // below -1: more bytes are needed; -1: invalid, which is an answer
        }
    }
}

/// `ECONV_NEWLINE_DECORATOR_MASK`: line ends are converted.
const NEWLINES: i32 = 0x0000_3f00;
