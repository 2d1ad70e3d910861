//! Compressing and decompressing a piece at a time: the streams behind `IO.gzip` and its kin.
//!
//! A stream is lent a String and a place in it, takes what it can from there on, and answers with what came out. It
//! takes [`PIECE`] bytes and gives [`ROOM`] bytes at most, so that others may run in between, and keeps hold of
//! neither. Where it says that it is hungry all that it would take at once is taken; where not, there is more to come out.
//!
//! A bare stream has neither header nor footer: gzip(1)'s are made and judged in Ruby, by the sum and the length that
//! the stream keeps of what is not compressed.

use std::{
    cell::{RefCell, RefMut},
    hint::black_box,
};

use magnus::{
    DataTypeFunctions, Error, ExceptionClass, RModule, RString, Ruby, TypedData, function, method, prelude::*,
};
use zlib_rs::{Deflate, DeflateFlush, Inflate, InflateError, InflateFlush, Status, crc32::crc32};

use crate::gvl;

/// See `lib.rs`.
pub(crate) fn make_what_is_made_once(ruby: &Ruby) {
    Stream::class(ruby);
}

pub(crate) fn define(ruby: &Ruby, native: RModule) -> Result<(), Error> {
    let class = native.define_class("Deflation", ruby.class_object())?;
    class.undef_default_alloc_func();
    class.define_singleton_method("deflate", function!(Stream::deflate, 1))?;
    class.define_singleton_method("inflate", function!(Stream::inflate, 1))?;
    class.define_method("run", method!(Stream::run, 2))?;
    class.define_method("finish", method!(Stream::finish, 0))?;
    class.define_method("close", method!(Stream::close, 0))?;
    class.define_method("place", method!(Stream::place, 0))?;
    class.define_method("hungry?", method!(Stream::is_hungry, 0))?;
    class.define_method("finished?", method!(Stream::is_finished, 0))?;
    class.define_method("sum", method!(Stream::sum, 0))?;
    class.define_method("length", method!(Stream::length, 0))
}

/// Bytes that are taken at once, at most: half a millisecond where it is packed.
const PIECE: usize = 16 * 1024;
/// Bytes that are given at once, at most.
const ROOM: usize = 64 * 1024;
/// Bytes from which it is worth letting go of Ruby's lock: more than ten times as long as that takes.
const LARGE: usize = 4 * 1024;
/// Makes no more of it than zlib at its default, 6, does, in less time. The 6 here is faster still, and what it makes of
/// what repeats itself is twice as large.
const LEVEL: i32 = 7;
/// The largest window, as a power of two.
const WINDOW: u8 = 15;

/// What the library says where its fast path found the damage: it has forgotten which by then. Nobody calls again.
const FORGOTTEN: &str = "repeated call with bad state";

/// What Ruby holds. It holds no Ruby value, so there is nothing to mark.
#[derive(TypedData)]
#[magnus(class = "Polyphony::Native::Deflation", free_immediately, size)]
struct Stream(RefCell<State>);

impl DataTypeFunctions for Stream {
    fn size(&self) -> usize {
        size_of::<Self>()
    }
}

struct State {
    /// None where it was closed, which gives its memory back at once.
    way: Option<Way>,
    bare: bool,
    room: Vec<u8>,
    /// How much of the room the last step filled.
    made: usize,
    /// Where in the String that it was lent the last step ended.
    place: usize,
    hungry: bool,
    finished: bool,
    /// Of what is not compressed.
    sum: u32,
    length: u32,
}

enum Way {
    Packing(Box<Deflate>),
    Unpacking(Box<Inflate>),
}

/// An error of Zlib's: the name of its class, and what it says.
struct Fault(&'static str, &'static str);

impl Stream {
    fn deflate(bare: bool) -> Self {
        Stream::new(Way::Packing(Box::new(Deflate::new(LEVEL, !bare, WINDOW))), bare)
    }

    fn inflate(bare: bool) -> Self {
        Stream::new(Way::Unpacking(Box::new(Inflate::new(!bare, WINDOW))), bare)
    }

    fn new(way: Way, bare: bool) -> Self {
        Stream(RefCell::new(State {
            way: Some(way),
            bare,
            room: vec![0; ROOM],
            made: 0,
            place: 0,
            hungry: true,
            finished: false,
            sum: 0,
            length: 0,
        }))
    }

    /// Takes what stands in a String from a place on; what came out of it.
    fn run(ruby: &Ruby, this: &Self, bytes: RString, place: usize) -> Result<RString, Error> {
        let bytes = RString::new_frozen(bytes);
        // SAFETY: frozen, so nobody changes it, and alive until it is looked at below.
        let whole = unsafe { bytes.as_slice() };
        let rest = whole.get(place..).unwrap_or_default();
        let made = this.step(ruby, &rest[..rest.len().min(PIECE)], false);
        black_box(bytes);
        this.state(ruby)?.place += place;
        made
    }

    /// What comes out behind the last that was taken; all of it did where the stream then says that it is finished.
    fn finish(ruby: &Ruby, this: &Self) -> Result<RString, Error> {
        this.step(ruby, &[], true)
    }

    fn close(ruby: &Ruby, this: &Self) -> Result<(), Error> {
        this.state(ruby)?.way = None;
        Ok(())
    }

    fn place(ruby: &Ruby, this: &Self) -> Result<usize, Error> {
        Ok(this.state(ruby)?.place)
    }

    fn is_hungry(ruby: &Ruby, this: &Self) -> Result<bool, Error> {
        Ok(this.state(ruby)?.hungry)
    }

    fn is_finished(ruby: &Ruby, this: &Self) -> Result<bool, Error> {
        Ok(this.state(ruby)?.finished)
    }

    fn sum(ruby: &Ruby, this: &Self) -> Result<u32, Error> {
        Ok(this.state(ruby)?.sum)
    }

    fn length(ruby: &Ruby, this: &Self) -> Result<u32, Error> {
        Ok(this.state(ruby)?.length)
    }

    fn step(&self, ruby: &Ruby, input: &[u8], last: bool) -> Result<RString, Error> {
        let mut state = self.state(ruby)?;
        let done = if input.len() < LARGE && !last {
            state.step(input, last)
        } else {
            gvl::without(|| state.step(input, last))
        };
        done.map_err(|fault| fault.error(ruby))?;
        Ok(ruby.str_from_slice(&state.room[..state.made]))
    }

    /// Refused to a thread that comes while another is at work without Ruby's lock.
    fn state(&self, ruby: &Ruby) -> Result<RefMut<'_, State>, Error> {
        self.0
            .try_borrow_mut()
            .map_err(|_| Error::new(ruby.exception_thread_error(), "another thread uses it"))
    }
}

impl State {
    fn step(&mut self, input: &[u8], last: bool) -> Result<(), Fault> {
        self.made = 0;
        let ended = match &mut self.way {
            None => return Err(Fault("StreamError", "stream error")),
            Some(Way::Packing(stream)) => {
                let (taken, made) = (stream.total_in(), stream.total_out());
                let flush = if last { DeflateFlush::Finish } else { DeflateFlush::NoFlush };
                let status = stream.compress(input, &mut self.room, flush);
                self.place = (stream.total_in() - taken) as usize;
                self.made = (stream.total_out() - made) as usize;
                status.map_err(|error| Fault("StreamError", error.as_str()))?
            }
            Some(Way::Unpacking(stream)) => {
                let (taken, made) = (stream.total_in(), stream.total_out());
                let status = stream.decompress(input, &mut self.room, InflateFlush::NoFlush);
                self.place = (stream.total_in() - taken) as usize;
                self.made = (stream.total_out() - made) as usize;
                status.map_err(|error| Fault::new(error, stream.error_message()))?
            }
        };
        self.finished = ended == Status::StreamEnd;
        self.hungry = !self.finished && self.made < self.room.len();
        self.count(input);
        Ok(())
    }

    fn count(&mut self, input: &[u8]) {
        let plain = match self.way {
            Some(Way::Unpacking(_)) => &self.room[..self.made],
            Some(Way::Packing(_)) | None => &input[..self.place],
        };
        if self.bare {
            self.sum = crc32(self.sum, plain);
            self.length = self.length.wrapping_add(plain.len() as u32);
        }
    }
}

impl Fault {
    fn new(error: InflateError, message: Option<&'static str>) -> Self {
        let class = match error {
            InflateError::NeedDict { .. } => "NeedDict",
            InflateError::StreamError => "StreamError",
            InflateError::DataError => "DataError",
            InflateError::MemError => "MemError",
        };
        Fault(class, message.filter(|message| *message != FORGOTTEN).unwrap_or(error.as_str()))
    }

    #[cold]
    fn error(self, ruby: &Ruby) -> Error {
        let Fault(class, message) = self;
        let zlib: Result<RModule, Error> = ruby.class_object().const_get("Zlib");
        let class: Result<ExceptionClass, Error> = zlib.and_then(|zlib| zlib.const_get(class));
        class.map_or_else(|error| error, |class| Error::new(class, message))
    }
}
