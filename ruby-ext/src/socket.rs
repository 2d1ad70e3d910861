//! Sockets: accept, connect, receive and send through the ring.
//!
//! Memory that the kernel reads or writes stands in Ruby strings that no Ruby code sees, kept in their
//! place until the last completion. An accept that is cancelled takes no connection: the next one finds it.

use magnus::{
    Error, RClass, RModule, RString, Ruby, Value,
    prelude::*,
    rb_sys::{AsRawValue, FromRawValue},
};
use polyphony_core::op::Op;
use rb_sys::VALUE;

use crate::{
    errors,
    io::{frozen, original, string_bytes, unless_frozen},
    open_file::OpenFile,
    roots::Keep,
    scheduler::{Performed, Scheduler, Woken},
};

/// Defines the primitives in the module of the gem's own functions.
pub(crate) fn define(module: RModule) -> Result<(), Error> {
    module.define_singleton_method("accept", magnus::function!(accept, 2))?;
    module.define_singleton_method("connect", magnus::function!(connect, 2))?;
    module.define_singleton_method("recv", magnus::function!(recv, 3))?;
    module.define_singleton_method("send", magnus::function!(send, 4))?;
    module.define_singleton_method("buffered?", magnus::function!(is_buffered, 1))?;
    module.define_singleton_method("datagrams?", magnus::function!(has_datagrams, 1))?;
    module.define_singleton_method("become_socket", magnus::function!(become_socket, 2))?;
    Ok(())
}

/// Defines `accept` in the modules that are prepended to the classes of listeners. Not in Ruby: what is raised in the
/// thread would come in between, and leave a connection that nobody has.
pub(crate) fn define_listeners(extensions: RModule) -> Result<(), Error> {
    extensions.define_module("TCPServer")?.define_method("accept", magnus::method!(accept_tcp, 0))?;
    extensions.define_module("UNIXServer")?.define_method("accept", magnus::method!(accept_unix, 0))?;
    extensions.define_module("Socket")?.define_method("accept", magnus::method!(accept_pair, 0))
}

fn accept_tcp(ruby: &Ruby, io: Value) -> Result<Value, Error> {
    accept_as(ruby, io, "TCPSocket")
}

fn accept_unix(ruby: &Ruby, io: Value) -> Result<Value, Error> {
    accept_as(ruby, io, "UNIXSocket")
}

/// The connection is a pair, too, to who takes it apart.
fn accept_pair(ruby: &Ruby, io: Value) -> Result<Value, Error> {
    let accepted = accept_as(ruby, io, "TCPSocket")?;
    if accepted.is_kind_of(class(ruby, "TCPSocket")?) {
        accepted.funcall::<_, _, Value>("instance_variable_set", (ruby.to_symbol("@__pair__"), false))?;
    }
    Ok(accepted)
}

fn accept_as(ruby: &Ruby, io: Value, name: &str) -> Result<Value, Error> {
    if unless_frozen(io).is_none() {
        return original(ruby, &[]);
    }
    accept(ruby, io, class(ruby, name)?)
}

fn class(ruby: &Ruby, name: &str) -> Result<RClass, Error> {
    ruby.class_object().const_get(name)
}

/// The calling thread's scheduler; the Ruby methods above ask for it before they come here.
fn scheduler(ruby: &Ruby) -> Result<&'static Scheduler, Error> {
    Scheduler::current()
        .ok_or_else(|| Error::new(ruby.exception_runtime_error(), "no scheduler runs in this thread"))
}

/// The result of an operation, or what ended it.
fn result(ruby: &Ruby, performed: Performed, tried: &str) -> Result<Ended, Error> {
    match performed.woken {
        Some(Woken::Error(error)) => return Err(error),
        Some(Woken::Value(value)) => return Ok(Ended::Woken(value)),
        None => {}
    }
    match performed.outcome.result {
        result if result >= 0 => Ok(Ended::Result(result)),
        result if result == -libc::ECANCELED => Err(errors::io(ruby, "stream closed in another thread")),
        result => Err(errors::system(ruby, -result, tried)),
    }
}

enum Ended {
    Result(i32),
    Woken(Value),
}

/// Waits for a connection: an instance of the class, or what the fiber was scheduled with.
fn accept(ruby: &Ruby, io: Value, class: RClass) -> Result<Value, Error> {
    let scheduler = scheduler(ruby)?;
    let accepted = connection(ruby, scheduler, io).and_then(|ended| match ended {
        Ended::Woken(value) => Ok(value),
        Ended::Result(fd) => class.funcall("for_fd", (fd,)),
    });
    scheduler.takes_something(false);
    accepted
}

/// It is waited for, and only then taken, with no switch in between: whoever is cancelled has taken none.
fn connection(ruby: &Ruby, scheduler: &Scheduler, io: Value) -> Result<Ended, Error> {
    let mut is_ready = false;
    loop {
        let fd = OpenFile::expect(ruby, io)?.fd();
        if blocks(fd) {
            return accept_by_ring(ruby, scheduler, io);
        }
        if is_ready || scheduler.goes_straight(fd) {
            // What is raised in the thread is raised before there is something to lose.
            scheduler.check_interrupts()?;
            scheduler.takes_something(true);
            match accept_now(fd) {
                Ok(accepted) => return Ok(Ended::Result(accepted)),
                Err(errno) => {
                    scheduler.takes_something(false);
                    if is_passing(errno) {
                        continue;
                    }
                    if errno != libc::EAGAIN {
                        return Err(errors::system(ruby, errno, "accept(2)"));
                    }
                }
            }
        }
        let poll = Op::Poll { fd, events: libc::POLLIN as u32 };
        if let woken @ Ended::Woken(_) =
            result(ruby, scheduler.perform(poll, |_| Keep::Nothing), "accept(2)")?
        {
            return Ok(woken);
        }
        is_ready = true;
    }
}

/// A descriptor whose accept(2) blocks, and whose mode is not ours to change: another process may have it, too, and take
/// what we have seen. So the kernel takes the connection while the fiber waits, and a cancellation that comes with it is
/// for the fiber's next wait.
fn accept_by_ring(ruby: &Ruby, scheduler: &Scheduler, io: Value) -> Result<Ended, Error> {
    loop {
        let fd = OpenFile::expect(ruby, io)?.fd();
        let op = Op::Accept { fd, addr: std::ptr::null_mut(), len: std::ptr::null_mut(), flags: ACCEPTED };
        let mut performed = scheduler.perform(op, |_| Keep::Nothing);
        let accepted = performed.outcome.result;
        if performed.woken.is_none() && is_passing(-accepted) {
            continue;
        }
        if accepted >= 0
            && let Some(woken) = performed.woken.take()
            && let Err(error) = scheduler.put_off(woken)
        {
            // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
            unsafe { libc::close(accepted) };
            return Err(error);
        }
        return result(ruby, performed, "accept(2)");
    }
}

/// A connection that is there; or the errno.
fn accept_now(fd: i32) -> Result<i32, i32> {
    // SAFETY: no address is asked for.
    let accepted = unsafe { libc::accept4(fd, std::ptr::null_mut(), std::ptr::null_mut(), ACCEPTED) };
    if accepted >= 0 {
        return Ok(accepted);
    }
    Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO))
}

/// Whether a call on a descriptor blocks the thread.
fn blocks(fd: i32) -> bool {
    // SAFETY: takes no pointer.
    unsafe { libc::fcntl(fd, libc::F_GETFL) & libc::O_NONBLOCK == 0 }
}

/// A connection that was gone before it could be taken is no error of the listener.
fn is_passing(errno: i32) -> bool {
    matches!(errno, libc::ECONNABORTED | libc::EINTR | libc::EPROTO)
}

/// How the descriptor of a connection begins.
const ACCEPTED: i32 = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;

/// Connects to a packed address: 0, or what the fiber was scheduled with.
fn connect(ruby: &Ruby, io: Value, address: RString) -> Result<Value, Error> {
    let scheduler = scheduler(ruby)?;
    let fd = OpenFile::expect(ruby, io)?.fd();
    let address = frozen(address.as_value())?.as_raw();
    let (start, len) = string_bytes(address);
    let op = Op::Connect { fd, addr: start.cast(), len: len as libc::socklen_t };
    let performed = scheduler.perform(op, |roots| Keep::Value(roots.keep(address)));
    match result(ruby, performed, "connect(2)")? {
        Ended::Result(result) => Ok(ruby.integer_from_i64(i64::from(result)).as_value()),
        Ended::Woken(value) => Ok(value),
    }
}

/// Receives at most `len` bytes: a string, empty at the end of the stream.
fn recv(ruby: &Ruby, io: Value, len: usize, flags: i32) -> Result<Value, Error> {
    let scheduler = scheduler(ruby)?;
    loop {
        let file = OpenFile::expect(ruby, io)?;
        let string = hidden(len);
        let buf = string_bytes(string).0.cast_mut();
        let op = Op::Recv { fd: file.fd(), buf, len: len.min(1 << 30) as u32, flags };
        let performed = scheduler.perform(op, |roots| Keep::Value(roots.keep(string)));
        let brought = performed.outcome.result;
        if performed.woken.is_some() && brought > 0 && flags & libc::MSG_PEEK == 0 {
            // A cancelled receive brought bytes: the next read finds them.
            set_len(string, brought as usize);
            let (start, len) = string_bytes(string);
            if let Some(file) = OpenFile::of(io) {
                // SAFETY: the string is alive on this stack, and `append` copies before anybody changes it.
                file.append(unsafe { std::slice::from_raw_parts(start, len) });
            }
        }
        if performed.woken.is_none() && matches!(-brought, libc::EINTR) {
            continue;
        }
        return match result(ruby, performed, "recvfrom(2)")? {
            Ended::Result(read) => Ok(shown(string, read as usize)),
            Ended::Woken(value) => Ok(value),
        };
    }
}

/// Sends a string, to an address where one is given: how many bytes went out.
fn send(ruby: &Ruby, io: Value, data: Value, flags: i32, address: Option<RString>) -> Result<Value, Error> {
    let scheduler = scheduler(ruby)?;
    let fd = OpenFile::expect(ruby, io)?.fd();
    let data = frozen(data)?.as_raw();
    let (buf, len) = string_bytes(data);
    let tried = if address.is_some() { "sendto(2)" } else { "send(2)" };
    let performed = match address {
        None => {
            let op = Op::Send { fd, buf, len: len as u32, flags };
            scheduler.perform(op, |roots| Keep::Value(roots.keep(data)))
        }
        Some(address) => {
            let address = frozen(address.as_value())?.as_raw();
            let message = Message::new(
                buf.cast_mut(),
                len,
                string_bytes(address).0.cast_mut(),
                string_bytes(address).1,
            );
            let op = Op::SendMsg { fd, msg: &raw const message.header, flags };
            scheduler.perform(op, |roots| Keep::Memory(message, vec![roots.keep(data), roots.keep(address)]))
        }
    };
    let sent = performed.outcome.result.max(0) as usize;
    let ended = result(ruby, performed, tried).inspect_err(|error| errors::tell_went_out(error, sent))?;
    match ended {
        Ended::Result(sent) => Ok(ruby.integer_from_i64(i64::from(sent)).as_value()),
        Ended::Woken(value) => Ok(value),
    }
}

/// Whether Ruby holds bytes of an IO that nobody has taken.
fn is_buffered(io: Value) -> bool {
    OpenFile::of(io).is_some_and(|file| !file.buffered().is_empty())
}

/// Whether a socket carries messages that come whole or not at all.
fn has_datagrams(ruby: &Ruby, io: Value) -> Result<bool, Error> {
    let fd = OpenFile::expect(ruby, io)?.fd();
    let (mut kind, mut len) = (0_i32, size_of::<i32>() as libc::socklen_t);
    // SAFETY: the kernel writes at most `len` bytes to `kind`.
    unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_TYPE, (&raw mut kind).cast(), &raw mut len) };
    Ok(kind == libc::SOCK_DGRAM)
}

/// Makes a freshly initialised IO what the socket classes make theirs.
fn become_socket(ruby: &Ruby, io: Value, no_reverse_lookup: bool) -> Result<(), Error> {
    OpenFile::expect(ruby, io)?.become_socket(no_reverse_lookup);
    Ok(())
}

/// A message header and its only part, in one place.
struct Message {
    header: libc::msghdr,
    part: libc::iovec,
}

impl Message {
    fn new(data: *mut u8, len: usize, address: *mut u8, address_len: usize) -> Box<Self> {
        let mut message = Box::<Self>::new_uninit();
        // SAFETY: room for one message; `write` fills it.
        unsafe {
            Self::write(message.as_mut_ptr(), data, len, address, address_len);
            message.assume_init()
        }
    }

    /// # Safety
    /// `at` has room for a message and stays in place as long as the kernel uses it.
    unsafe fn write(at: *mut Self, data: *mut u8, len: usize, address: *mut u8, address_len: usize) {
        // SAFETY: the caller's promise; an all-zero header is a valid one.
        unsafe {
            at.write(Message {
                header: std::mem::zeroed(),
                part: libc::iovec { iov_base: data.cast(), iov_len: len },
            });
            (*at).header.msg_name = address.cast();
            (*at).header.msg_namelen = address_len as libc::socklen_t;
            (*at).header.msg_iov = &raw mut (*at).part;
            (*at).header.msg_iovlen = 1;
        }
    }
}

/// A string of at least that capacity, allocated apart from its object, that no Ruby code has seen.
pub(crate) fn hidden(capacity: usize) -> VALUE {
    // SAFETY: a fresh string; so large that Ruby does not embed it (3.2 embeds up to 640 bytes).
    unsafe { rb_sys::rb_str_buf_new(capacity.max(1024) as _) }
}

pub(crate) fn set_len(string: VALUE, len: usize) {
    // SAFETY: a string of ours with room for what the kernel wrote.
    unsafe { rb_sys::rb_str_set_len(string, len as _) };
}

/// The string for Ruby code: just its bytes, not the room.
fn shown(string: VALUE, len: usize) -> Value {
    set_len(string, len);
    // SAFETY: a live string; a short one is copied, so that it does not hold on to the room.
    unsafe {
        let shown =
            if len < 1024 { rb_sys::rb_str_new(rb_sys::RSTRING_PTR(string), len as _) } else { string };
        Value::from_raw(shown)
    }
}
