//! Filling Ruby's read buffer through the ring.
//!
//! A parked read owns no buffer: the kernel picks one of the shard's when the data is there, and the
//! bytes are copied behind those that Ruby holds already. What a cancelled read brought is found by the
//! next one. Only where large pieces come one after the other does a read bring a string of its own, which
//! is the answer then: new, locked and kept until the kernel has let go of it. Such a read is tried before it is
//! left to the ring, for what comes in large pieces is often there already.

use std::cell::RefCell;

use magnus::{
    Error, Integer, RModule, RString, Ruby, Value, method,
    prelude::*,
    rb_sys::{AsRawValue, FromRawValue},
};
use polyphony_core::op::{Op, Outcome, POSITION};
use rb_sys::VALUE;

use super::{attempt, litter, original, refuse_frozen, string_bytes, text::Text};
use crate::{
    errors,
    open_file::OpenFile,
    roots::{Keep, Roots},
    scheduler::{Performed, Scheduler, Woken},
};

/// How a fill ended.
pub(crate) enum Filled {
    /// The buffer holds more than before.
    More,
    /// The stream has ended.
    End,
    /// Somebody scheduled the fiber: that is the method's value.
    Woken(Value),
}

/// What stock Ruby does for those who read characters, lines and single bytes.
pub(crate) const FILLING: &str = "io_fillbuf";

/// The most that one fill asks for.
pub(crate) const CHUNK: u32 = 16 * 1024;

/// Waits for bytes and puts at most `len` of them into the IO's read buffer.
///
/// `function` is the one of stock Ruby that a failure is told of.
fn fill(
    ruby: &Ruby,
    scheduler: &Scheduler,
    io: Value,
    len: u32,
    function: &'static str,
) -> Result<Filled, Error> {
    let room = Room::Shared(len.min(CHUNK));
    fill_by(ruby, scheduler, io, &room, function, |performed| take_in(scheduler, io, performed.outcome))
}

/// Where a read puts what it finds.
enum Room {
    /// At most so many bytes in one of the shard's buffers.
    Shared(u32),
    /// In a string that nobody else has.
    Own(Piece),
}

impl Room {
    /// For at most `len` bytes, as large as the next piece is expected to be.
    fn for_piece(scheduler: &Scheduler, fd: i32, len: u32) -> Self {
        match scheduler.expected_piece(fd) {
            Some(expected) if len > CHUNK / 2 => Room::Own(Piece::new(len.min(expected))),
            _ => Room::Shared(len.min(CHUNK)),
        }
    }

    fn size(&self) -> u32 {
        match *self {
            Room::Shared(len) | Room::Own(Piece { len, .. }) => len,
        }
    }

    fn read(&self, fd: i32) -> Op {
        match self {
            Room::Shared(len) => Op::ReadPooled { fd, len: *len },
            Room::Own(piece) => Op::Read { fd, buf: piece.start(), len: piece.len, offset: POSITION },
        }
    }

    fn keep(&self, roots: &Roots) -> Keep {
        match self {
            Room::Shared(_) => Keep::Nothing,
            Room::Own(piece) => Keep::Value(roots.keep(piece.string.as_raw())),
        }
    }
}

/// A new string that the kernel fills. While it is locked nobody who finds it can change it.
#[derive(Clone, Copy)]
pub(super) struct Piece {
    string: RString,
    len: u32,
}

impl Piece {
    pub(super) fn new(len: u32) -> Self {
        // SAFETY: called with the GVL; a string with room for so many bytes, which is not embedded in its
        // object, so that they stay where they are.
        let string = unsafe {
            let string = rb_sys::rb_str_buf_new(len.into());
            Value::from_raw(rb_sys::rb_str_locktmp(string))
        };
        Piece { string: RString::from_value(string).expect("a new string is a string"), len }
    }

    pub(super) fn start(&self) -> *mut u8 {
        string_bytes(self.string.as_raw()).0.cast_mut()
    }

    pub(super) fn len(&self) -> u32 {
        self.len
    }

    /// The string, for who keeps it while the kernel writes to it.
    pub(super) fn raw(&self) -> VALUE {
        self.string.as_raw()
    }

    /// The first `len` bytes, which the kernel has written.
    fn bytes(&self, len: usize) -> &[u8] {
        // SAFETY: the string has room for more, and is on the caller's stack.
        unsafe { std::slice::from_raw_parts(self.start(), len.min(self.len as usize)) }
    }

    /// The string, as long as what came, and no larger.
    pub(super) fn cut(self, len: usize) -> RString {
        let string = self.string.as_raw();
        // SAFETY: a live string that was locked when it was made, with room for so many bytes, which the
        // kernel has written and let go of.
        unsafe {
            rb_sys::rb_str_unlocktmp(string);
            rb_sys::rb_str_set_len(string, len as _);
            if len < self.len as usize {
                rb_sys::rb_str_resize(string, len as _);
            }
        }
        self.string
    }
}

/// [`fill`], where `take` puts what a read brought.
fn fill_by(
    ruby: &Ruby,
    scheduler: &Scheduler,
    io: Value,
    room: &Room,
    function: &str,
    mut take: impl FnMut(&Performed),
) -> Result<Filled, Error> {
    refuse_frozen(io)?;
    loop {
        let file = OpenFile::expect(ruby, io)?;
        if file.has_unwritten() {
            let _: Value = io.funcall("flush", ())?;
        }
        let performed = scheduler.perform(room.read(file.fd()), |roots| room.keep(roots));
        take(&performed);
        match performed.woken {
            Some(Woken::Error(error)) => return Err(error),
            Some(Woken::Value(value)) => return Ok(Filled::Woken(value)),
            None => {}
        }
        match -performed.outcome.result {
            0 => return Ok(Filled::End),
            read if read < 0 => return Ok(Filled::More),
            // Every buffer waits for a fiber that is queued before this one.
            libc::ENOBUFS => drop(scheduler.snooze()?),
            libc::EINTR | libc::EAGAIN => {}
            libc::ECANCELED => return Err(errors::io(ruby, "stream closed in another thread")),
            errno if function == FILLING => return Err(errors::of_filling(ruby, io, errno)),
            errno => return Err(errors::of_io(ruby, io, errno, function)),
        }
    }
}

/// Copies what a read brought behind what the IO holds. If the IO was closed meanwhile the bytes go with it.
fn take_in(scheduler: &Scheduler, io: Value, outcome: Outcome) {
    scheduler.consume(outcome, |bytes| {
        if let Some(file) = OpenFile::of(io) {
            file.append(bytes);
        }
    });
}

/// Fills until `enough` holds of the IO or the stream has ended, then is the original.
pub(crate) fn when(
    ruby: &Ruby,
    io: Value,
    args: &[Value],
    len: u32,
    function: &'static str,
    enough: impl Fn(OpenFile) -> bool,
) -> Result<Value, Error> {
    let Some(scheduler) = Scheduler::current() else { return original(ruby, args) };
    loop {
        // A closed or unreadable IO, or something that is none: the original knows what to say.
        let Some(file) = OpenFile::of(io).filter(|file| file.is_readable()) else {
            return original(ruby, args);
        };
        if enough(file) {
            return original(ruby, args);
        }
        match fill(ruby, scheduler, io, len, function)? {
            Filled::More => {
                if let Filled::Woken(value) = go_on(ruby, scheduler, io, len as usize, function)? {
                    return Ok(value);
                }
            }
            Filled::End => return at_the_end(ruby, io, args),
            Filled::Woken(value) => return Ok(value),
        }
    }
}

/// Goes on where a fill brought as much as one can, and more is wanted: with what is at hand, and with what the
/// disk has still to give of a file, for which stock Ruby waits.
fn go_on(
    ruby: &Ruby,
    scheduler: &Scheduler,
    io: Value,
    wanted: usize,
    function: &'static str,
) -> Result<Filled, Error> {
    loop {
        let Some(file) = OpenFile::of(io) else { return Ok(Filled::More) };
        let held = file.buffered().len();
        if held < CHUNK as usize || held >= wanted {
            return Ok(Filled::More);
        }
        match at_hand(file.fd(), wanted - held, |bytes| file.append(bytes)) {
            Stopped::ByTheDisk => {}
            Stopped::AtTheLast => return Ok(Filled::More),
        }
        let left = wanted.saturating_sub(file.buffered().len());
        match fill(ruby, scheduler, io, left as u32, function)? {
            Filled::More => {}
            ended @ (Filled::End | Filled::Woken(_)) => return Ok(ended),
        }
    }
}

/// Why there is no more at hand.
enum Stopped {
    /// Here is all that was wanted, or all that there is now.
    AtTheLast,
    /// The rest of a file is not in memory, or its file system does not tell.
    ByTheDisk,
}

/// Takes what can be had without waiting.
fn at_hand(fd: i32, mut wanted: usize, mut take: impl FnMut(&[u8])) -> Stopped {
    let mut room = Vec::<u8>::with_capacity(wanted.min(4 * CHUNK as usize));
    while wanted > 0 {
        // SAFETY: room of ours.
        let read = unsafe { attempt::read_now(fd, room.as_mut_ptr(), room.capacity().min(wanted)) };
        match read {
            Some(read @ 1..) => {
                let read = read as usize;
                // SAFETY: the kernel has filled so many bytes.
                unsafe { room.set_len(read) };
                take(&room);
                wanted -= read;
            }
            None if attempt::is_slow(fd) => return Stopped::ByTheDisk,
            Some(_) | None => return Stopped::AtTheLast,
        }
    }
    Stopped::AtTheLast
}

/// The original, where the stream has just ended. A terminal or a FIFO says so once, and would keep whoever
/// asks again waiting for more: the original is shown an empty file in its place.
fn at_the_end(ruby: &Ruby, io: Value, args: &[Value]) -> Result<Value, Error> {
    let ended = OpenFile::of(io).filter(|file| file.may_go_on()).and_then(Ended::show);
    let Some(ended) = ended else { return original(ruby, args) };
    let value = original(ruby, args);
    ended.withdraw(io);
    value
}

/// An IO whose descriptor is, for the length of one call, that of an empty file.
struct Ended {
    descriptor: i32,
    empty: i32,
}

impl Ended {
    /// Nothing where there is no descriptor left for it.
    fn show(file: OpenFile) -> Option<Self> {
        // SAFETY: a constant path; the descriptor is ours.
        let empty = unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC) };
        (empty >= 0).then(|| Ended { descriptor: file.replace_fd(empty), empty })
    }

    /// Gives the IO its descriptor back. If another thread has closed the IO meanwhile it closed the empty
    /// file, and the descriptor is closed here.
    fn withdraw(self, io: Value) {
        let closed = match OpenFile::of(io).filter(|file| file.fd() == self.empty) {
            Some(file) => file.replace_fd(self.descriptor),
            None => self.descriptor,
        };
        // SAFETY: nobody else knows the one or has the other any more.
        unsafe { libc::close(closed) };
    }
}

pub(super) fn define(module: RModule) -> Result<(), Error> {
    module.define_method("read", method!(read, -1))?;
    module.define_method("readpartial", method!(readpartial, -1))?;
    module.define_method("sysread", method!(sysread, -1))?;
    for name in ["getc", "readchar"] {
        module.define_method(name, method!(character, -1))?;
    }
    for name in ["getbyte", "readbyte", "eof?", "eof"] {
        module.define_method(name, method!(byte, -1))?;
    }
    Ok(())
}

/// Whether a call has a form that only Polyphony knows: a place in the buffer, or a buffer that is no string.
fn names_a_place(args: &[Value]) -> bool {
    let Some(&buffer) = args.get(1) else { return false };
    args.get(2).is_some_and(|place| Integer::from_value(*place).is_some())
        || !buffer.is_nil() && RString::from_value(buffer).is_none() && is_memory(buffer)
}

/// Whether a buffer is given that cannot be read into: then the original says so, before it waits.
fn names_no_buffer(args: &[Value]) -> bool {
    let Some(&buffer) = args.get(1).filter(|buffer| !buffer.is_nil()) else { return false };
    match RString::from_value(buffer) {
        Some(string) => string.is_frozen(),
        None => !buffer.respond_to("to_str", true).unwrap_or(false),
    }
}

/// Whether a value is memory that bytes may be put into, and no string.
fn is_memory(value: Value) -> bool {
    // SAFETY: a live object.
    matches!(&*unsafe { value.classname() }, "Polyphony::RawBuffer" | "IO::Buffer")
}

/// How much is asked for. Nil is not even converted: Ruby would be called to make the error, and an interrupt that
/// is heard there would be dropped with it.
fn length(args: &[Value]) -> Option<u32> {
    let length = args.first().filter(|length| !length.is_nil())?;
    u32::try_convert(*length).ok()
}

fn read(ruby: &Ruby, io: Value, args: &[Value]) -> Result<Value, Error> {
    if names_a_place(args) {
        return io.funcall("__read_at__", args);
    }
    if names_no_buffer(args) || args.len() > 2 || io.is_frozen() {
        return original(ruby, args);
    }
    match length(args) {
        Some(len) => {
            let enough = |file: OpenFile| file.holds_characters() || file.buffered().len() >= len as usize;
            when(ruby, io, args, CHUNK, "io_fread", enough)
        }
        None if args.first().is_none_or(|len| len.is_nil()) => everything(ruby, io, args),
        None => original(ruby, args), // a negative or absurd length, or no length at all
    }
}

/// To the end, or to what cannot be converted.
fn everything(ruby: &Ruby, io: Value, args: &[Value]) -> Result<Value, Error> {
    let Some(file) =
        OpenFile::of(io).filter(|file| Scheduler::current().is_some() && file.conversion().is_some())
    else {
        return when(ruby, io, args, CHUNK, "io_fread", |_| false);
    };
    let text = RefCell::new(Text::of(file)?);
    when(ruby, io, args, CHUNK, FILLING, |file| text.borrow_mut().is(file, |_, _| false))
}

/// Takes what is there, and asks for no more than is wanted, so that nothing is left in the buffer.
fn readpartial(ruby: &Ruby, io: Value, args: &[Value]) -> Result<Value, Error> {
    if names_a_place(args) {
        return io.funcall("__readpartial_at__", args);
    }
    if names_no_buffer(args) || args.len() > 2 || io.is_frozen() {
        return original(ruby, args);
    }
    match length(args) {
        Some(len) if len > 0 && args.len() == 1 => piece(ruby, io, args, len),
        Some(len) if len > 0 => when(ruby, io, args, len, "io_getpartial", has_any),
        _ => original(ruby, args),
    }
}

/// `readpartial` without a buffer. Where the IO holds nothing when the bytes come they are the answer, without
/// going through Ruby's read buffer, unless the fiber was woken by something else: then they wait there.
fn piece(ruby: &Ruby, io: Value, args: &[Value], len: u32) -> Result<Value, Error> {
    let Some(scheduler) = Scheduler::current() else { return original(ruby, args) };
    litter::collect(ruby, scheduler)?;
    let holds_nothing = |file: &OpenFile| file.is_readable() && !has_any(*file);
    let Some(file) = OpenFile::of(io).filter(holds_nothing) else { return original(ruby, args) };
    if let Some((piece, left)) = large_piece(ruby, scheduler, io, file, len)? {
        let is_whole = left == 0 || !attempt::is_slow(file.fd());
        return if is_whole {
            Ok(dropped_soon(scheduler, piece))
        } else {
            longer(ruby, scheduler, io, args, piece, len)
        };
    }
    let fd = file.fd();
    let room = Room::for_piece(scheduler, fd, len);
    let mut piece = None;
    let filled = fill_by(ruby, scheduler, io, &room, "io_getpartial", |performed| {
        let Ok(came @ 1..) = usize::try_from(performed.outcome.result) else {
            return take_in(scheduler, io, performed.outcome);
        };
        let file = OpenFile::of(io);
        let ours = performed.woken.is_none() && file.is_some_and(|file| holds_nothing(&file));
        piece = match &room {
            Room::Own(own) if ours => Some(own.cut(came)),
            Room::Own(own) => {
                file.into_iter().for_each(|file| file.append(own.bytes(came)));
                None
            }
            Room::Shared(_) if ours => {
                scheduler.consume(performed.outcome, |bytes| ruby.str_from_slice(bytes))
            }
            Room::Shared(_) => {
                take_in(scheduler, io, performed.outcome);
                None
            }
        };
        scheduler.brought(fd, came as u32);
    })?;
    match (filled, piece) {
        (Filled::Woken(value), _) => Ok(value),
        (Filled::More, Some(piece)) if room.size() < len && piece.len() == room.size() as usize => {
            longer(ruby, scheduler, io, args, piece, len)
        }
        (Filled::More, Some(piece)) => match room {
            Room::Own(_) => Ok(dropped_soon(scheduler, piece)),
            Room::Shared(_) => Ok(piece.as_value()),
        },
        (Filled::More, None) => original(ruby, args),
        (Filled::End, _) => at_the_end(ruby, io, args),
    }
}

/// A piece that had no room for more, with what there is besides, up to `len` bytes. Where the disk is to be waited
/// for, all of it goes through Ruby's read buffer: there it stays if the fiber is woken by something else.
fn longer(
    ruby: &Ruby,
    scheduler: &Scheduler,
    io: Value,
    args: &[Value],
    piece: RString,
    len: u32,
) -> Result<Value, Error> {
    let Some(file) = OpenFile::of(io) else { return Ok(piece.as_value()) };
    match at_hand(file.fd(), len as usize - piece.len(), |bytes| piece.cat(bytes)) {
        Stopped::AtTheLast => return Ok(dropped_soon(scheduler, piece)),
        // SAFETY: the string is on this stack, and nobody changes it while its bytes are copied.
        Stopped::ByTheDisk => file.append(unsafe { piece.as_slice() }),
    }
    match go_on(ruby, scheduler, io, len as usize, "io_getpartial")? {
        Filled::Woken(value) => Ok(value),
        Filled::More | Filled::End => original(ruby, args),
    }
}

/// A string for the caller, who will most likely drop it before long.
fn dropped_soon(scheduler: &Scheduler, piece: RString) -> Value {
    scheduler.litter().grow(piece.len());
    piece.as_value()
}

/// The next piece of a stream of large ones, where one is there already: a string no larger than it, and how many
/// bytes that are wanted were there besides.
fn large_piece(
    ruby: &Ruby,
    scheduler: &Scheduler,
    io: Value,
    file: OpenFile,
    len: u32,
) -> Result<Option<(RString, usize)>, Error> {
    let fd = file.fd();
    if scheduler.expected_piece(fd).is_none() || file.has_unwritten() {
        return Ok(None);
    }
    let there = len.min(attempt::at_hand(fd));
    let len = there.min(LARGEST);
    if len < CHUNK / 2 || !scheduler.goes_straight(fd) {
        return Ok(None);
    }
    let piece = Piece::new(len);
    // SAFETY: the piece is room for so many bytes, and on this stack.
    let read = unsafe { attempt::read_now(fd, piece.start(), len as usize) }.unwrap_or(0);
    let piece = piece.cut(read.max(0) as usize);
    if read < 0 {
        return Err(errors::of_io(ruby, io, -read as i32, "io_fread"));
    }
    // Nothing: another process was faster.
    Ok((read > 0).then(|| (piece, (there as usize).saturating_sub(piece.len()))))
}

/// The most that is read without letting others run.
const LARGEST: u32 = 64 * 1024;

/// What was read and not taken comes first, where the original refuses: a cancelled read may have left it.
fn sysread(ruby: &Ruby, io: Value, args: &[Value]) -> Result<Value, Error> {
    let none_wanted = args.first().and_then(|length| i64::try_convert(*length).ok()) == Some(0);
    if super::unless_frozen(io).is_none() || none_wanted {
        return original(ruby, args);
    }
    io.funcall("readpartial", args)
}

fn character(ruby: &Ruby, io: Value, args: &[Value]) -> Result<Value, Error> {
    if OpenFile::of(io).is_some_and(has_plain_character) {
        return original(ruby, args); // which waits for nothing, whoever asks
    }
    let Some(file) = OpenFile::of(io).filter(|_| args.is_empty() && Scheduler::current().is_some()) else {
        return original(ruby, args);
    };
    let text = RefCell::new(Text::of(file)?);
    let enough = |file: OpenFile| text.borrow_mut().is(file, |bytes, encoding| encoding.has_character(bytes));
    when(ruby, io, args, CHUNK, FILLING, enough)
}

fn byte(ruby: &Ruby, io: Value, args: &[Value]) -> Result<Value, Error> {
    if !args.is_empty() {
        return original(ruby, args);
    }
    when(ruby, io, args, CHUNK, FILLING, has_any)
}

/// Whether a whole character is there and stays as it is: what nearly every call finds.
fn has_plain_character(file: OpenFile) -> bool {
    !file.converts() && file.encoding().has_character(file.buffered())
}

/// Whether anything is there; of characters, readers of bytes say that they cannot have them.
fn has_any(file: OpenFile) -> bool {
    !file.buffered().is_empty() || file.holds_characters()
}
