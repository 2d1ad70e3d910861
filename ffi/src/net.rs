//! Networking.

use std::ffi::{CStr, c_char, c_int, c_void};

use libc::{sockaddr, socklen_t};
use polyphony_core::{
    native::{
        self, Acceptor, Errno, Result,
        net::{self, Binding, Family},
    },
    op::Op,
};

use crate::boundary::{call, done_quietly, free, give, look, object, put, quietly, text, wanted};

/// Only IPv4 addresses count.
pub const POLY_NET_IPV4: u32 = 1;
/// Only IPv6 addresses count. Together with `POLY_NET_IPV4` both do, as without either.
pub const POLY_NET_IPV6: u32 = 2;
/// Several sockets may be bound to the same address, each with this flag; the kernel spreads connections and
/// datagrams among them (SO_REUSEPORT). For a listener a worker, say.
pub const POLY_NET_SHARED_PORT: u32 = 4;

/// What flags say, of those that the function knows.
fn binding(flags: u32, known: u32) -> Result<Binding> {
    if flags & !known != 0 {
        return Err(Errno::new(libc::EINVAL));
    }
    let family = match flags & (POLY_NET_IPV4 | POLY_NET_IPV6) {
        POLY_NET_IPV4 => Family::V4,
        POLY_NET_IPV6 => Family::V6,
        _ => Family::Any,
    };
    Ok(Binding { family, shared: flags & POLY_NET_SHARED_PORT != 0 })
}

const FAMILIES: u32 = POLY_NET_IPV4 | POLY_NET_IPV6;
const BINDING: u32 = FAMILIES | POLY_NET_SHARED_PORT;

/// A name that may be left out.
unsafe fn name<'a>(name: *const c_char) -> Result<Option<&'a CStr>> {
    // SAFETY: by the caller, as below.
    if name.is_null() { Ok(None) } else { unsafe { text(name) }.map(Some) }
}

/// Connects to a service of a host by TCP: `poly_tcp_connect("example.org", "443", 0)`. Both are names or
/// numbers, as for getaddrinfo(3), which is asked on the offload pool; `flags` are 0 or `POLY_NET_IPV4` or
/// `POLY_NET_IPV6`.
///
/// Where the host has several addresses, IPv6 and IPv4 are tried in turns (RFC 8305): the next begins when the
/// last has failed, or has taken a quarter of a second, and the first that answers wins.
/// Suspends, and heeds cancellation and deadlines also while the name is looked up. Outside a fiber it blocks
/// the thread. Any thread.
/// Returns a descriptor, which is the caller's to close, is closed on exec and blocks; -POLY_ENOHOST,
/// -POLY_ENOANSWER, or why the first address could not be connected to: -ECONNREFUSED, -ENETUNREACH and so on;
/// -ECANCELED, -ETIMEDOUT, -EINVAL. No descriptor is left behind then. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_tcp_connect(host: *const c_char, service: *const c_char, flags: u32) -> c_int {
    quietly(|| {
        // SAFETY: names end with a zero byte, by the header's conventions; so everywhere below.
        let (host, service) = unsafe { (text(host)?, text(service)?) };
        net::tcp_connect(host, service, binding(flags, FAMILIES)?.family)
    })
}

/// Listens for TCP connections: `poly_tcp_listen(NULL, "8080", 1024, 0)`. `host` is a name or address of this
/// machine, or NULL for all of them, IPv6's and IPv4's at once; service "0" has the system choose a port,
/// which `poly_local_port` tells. `flags` are 0 or some of `POLY_NET_*`.
///
/// The address can be bound again as soon as the listener is closed (SO_REUSEADDR).
/// May suspend, to look names up. Any thread.
/// Returns a descriptor, which is the caller's to close; -EADDRINUSE, -EACCES and the like of the first
/// address; -POLY_ENOHOST, -POLY_ENOANSWER, -ECANCELED, -ETIMEDOUT, -EINVAL. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_tcp_listen(
    host: *const c_char,
    service: *const c_char,
    backlog: c_int,
    flags: u32,
) -> c_int {
    quietly(|| {
        // SAFETY: as in `poly_tcp_connect`.
        let (host, service) = unsafe { (name(host)?, text(service)?) };
        net::tcp_listen(host, service, backlog, binding(flags, BINDING)?)
    })
}

/// Makes a socket for UDP datagrams that is bound to an address of this machine; arguments are those of
/// `poly_tcp_listen`.
///
/// May suspend, to look names up. Any thread.
/// Returns a descriptor, which is the caller's to close, or what `poly_tcp_listen` returns. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_udp_bind(host: *const c_char, service: *const c_char, flags: u32) -> c_int {
    quietly(|| {
        // SAFETY: as in `poly_tcp_connect`.
        let (host, service) = unsafe { (name(host)?, text(service)?) };
        net::udp_bind(host, service, binding(flags, BINDING)?)
    })
}

/// Makes a socket for UDP datagrams to and from one service of a host; arguments are those of
/// `poly_tcp_connect`. Nothing is sent.
///
/// May suspend, to look names up. Any thread.
/// Returns a descriptor, which is the caller's to close, or what `poly_tcp_connect` returns. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_udp_connect(host: *const c_char, service: *const c_char, flags: u32) -> c_int {
    quietly(|| {
        // SAFETY: as in `poly_tcp_connect`.
        let (host, service) = unsafe { (text(host)?, text(service)?) };
        net::udp_connect(host, service, binding(flags, FAMILIES)?.family)
    })
}

/// Connects to the local listener at a path.
///
/// Suspends while the listener's queue is full. Any thread.
/// Returns a descriptor, which is the caller's to close; -ENOENT, -ECONNREFUSED, -ENAMETOOLONG, -EINVAL,
/// -ECANCELED, -ETIMEDOUT and what else connect(2) says. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_unix_connect(path: *const c_char) -> c_int {
    // SAFETY: as in `poly_tcp_connect`.
    quietly(|| net::unix_connect(unsafe { text(path) }?))
}

/// Listens for local connections at a path, where nothing may be yet: who comes back removes its old socket
/// first (unlink). The file stays when the listener is closed.
///
/// Never suspends. Any thread.
/// Returns a descriptor, which is the caller's to close; -EADDRINUSE, -ENAMETOOLONG, -EINVAL and what else
/// bind(2) says. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_unix_listen(path: *const c_char, backlog: c_int) -> c_int {
    // SAFETY: as in `poly_tcp_connect`.
    quietly(|| net::unix_listen(unsafe { text(path) }?, backlog))
}

/// The port that a socket of IPv4 or IPv6 is bound to.
///
/// Never suspends. Any thread.
/// Returns the port; -EBADF, -ENOTSOCK, -EAFNOSUPPORT. Since 2.0.
#[unsafe(no_mangle)]
pub extern "C" fn poly_local_port(fd: c_int) -> c_int {
    quietly(|| net::port(fd).map(c_int::from))
}

/// Receives a datagram and says where it came from: recvfrom(2). `address` and `address_length` may both be
/// NULL; they are written on success.
///
/// Suspends, unless `flags` has MSG_DONTWAIT. What of a datagram does not fit is lost.
/// Returns the bytes received, or a negative error number. Any thread. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_recvfrom(
    fd: c_int,
    buffer: *mut c_void,
    length: usize,
    flags: c_int,
    address: *mut sockaddr,
    address_length: *mut socklen_t,
) -> i64 {
    call(|| {
        if address.is_null() != address_length.is_null() {
            return Err(Errno::new(libc::EINVAL));
        }
        // SAFETY: not null means a place of the caller's.
        let room = if address.is_null() { 0 } else { unsafe { *look(address_length)? } };
        let mut part = libc::iovec { iov_base: buffer, iov_len: length.min(native::io::MOST) };
        let mut message = message(&mut part, address, room);
        let op = Op::RecvMsg { fd, msg: &raw mut message, flags };
        // SAFETY: the message stands here until this returns, and what it points to is the caller's.
        let received = Errno::check(unsafe { native::perform(&op) })?;
        if !address_length.is_null() {
            // SAFETY: looked at above.
            unsafe { put(address_length, message.msg_namelen) }?;
        }
        Ok(i64::from(received))
    })
}

/// Sends a datagram to an address: sendto(2), which never raises SIGPIPE here. `address` may be NULL where the
/// socket is connected.
///
/// Suspends, unless `flags` has MSG_DONTWAIT.
/// Returns the bytes sent, or a negative error number. Any thread. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_sendto(
    fd: c_int,
    buffer: *const c_void,
    length: usize,
    flags: c_int,
    address: *const sockaddr,
    address_length: socklen_t,
) -> i64 {
    call(|| {
        let mut part = libc::iovec { iov_base: buffer.cast_mut(), iov_len: length.min(native::io::MOST) };
        let message = message(&mut part, address.cast_mut(), address_length);
        let op = Op::SendMsg { fd, msg: &raw const message, flags };
        // SAFETY: the message stands here until this returns, and what it points to is the caller's.
        Errno::check(unsafe { native::perform(&op) }).map(i64::from)
    })
}

/// A message of one part.
fn message(part: &mut libc::iovec, address: *mut sockaddr, len: socklen_t) -> libc::msghdr {
    // SAFETY: a header of zeros is an empty one.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    (message.msg_iov, message.msg_iovlen) = (part, 1);
    (message.msg_name, message.msg_namelen) = (address.cast(), if address.is_null() { 0 } else { len });
    message
}

/// A listener whose connections are accepted as they come. Freed by `poly_acceptor_free`.
pub struct poly_acceptor(Acceptor);

/// Begins to accept a listener's connections; `flags` are those of accept4(2), SOCK_CLOEXEC say. The listener
/// stays the caller's, and is closed after the acceptor is freed.
///
///     poly_acceptor *acceptor;
///     int fd;
///     if (poly_acceptor_new(listener, SOCK_CLOEXEC, &acceptor) < 0) return -1;
///     while ((fd = poly_acceptor_next(acceptor)) >= 0) {
///         if (poly_spawn(NULL, serve, (void *)(intptr_t)fd, NULL) < 0) poly_close(fd);
///     }
///     poly_acceptor_free(acceptor);
///
/// On io_uring one accept brings all of them. At most a few hundred are accepted before somebody takes them;
/// the others wait in the listener's queue. The acceptor is a fiber of the runtime's, on the worker of whoever
/// makes it, and counts among its fibers.
/// Never suspends. Any thread; outside a fiber nothing begins, and each `poly_acceptor_next` is accept4(2).
/// Returns 0, -EINVAL, -ENOMEM, -ESHUTDOWN. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_acceptor_new(
    listener: c_int,
    flags: c_int,
    acceptor: *mut *mut poly_acceptor,
) -> c_int {
    done_quietly(|| {
        wanted(acceptor)?;
        // SAFETY: not null, and an output by the header's conventions.
        unsafe { give(acceptor, poly_acceptor(Acceptor::new(listener, flags)?)) }
    })
}

/// The next connection. Several may ask at once; they are served in the order in which they came.
///
/// Suspends, or blocks a plain thread, while there is none. Any thread.
/// Returns a descriptor, which is the caller's to close; -EMFILE, -ENFILE, -ENOMEM, -ECONNABORTED and the like
/// of one connection: the next call tries again, so wait a little where descriptors have run out; -EBADF or
/// -EINVAL once the listener is closed or shut down, -ECANCELED also once the runtime is: there are no more;
/// -ETIMEDOUT, -POLY_EFORKED. No connection is lost by a call that is cancelled. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_acceptor_next(acceptor: *const poly_acceptor) -> c_int {
    // SAFETY: an acceptor lives until it is freed.
    call(|| unsafe { object(acceptor) }?.0.next())
}

/// Accepts no more, closes the connections that nobody has taken, and frees the acceptor. NULL is fine.
///
/// Suspends, or blocks a plain thread, until the accept has ended; never refused for a cancellation or a
/// deadline. Any thread.
/// Returns 0; -EBUSY if somebody waits for a connection, and then nothing has happened: cancel it first.
/// Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_acceptor_free(acceptor: *mut poly_acceptor) -> c_int {
    done_quietly(|| {
        if acceptor.is_null() {
            return Ok(());
        }
        // SAFETY: an acceptor lives until it is freed.
        let known = &unsafe { object(acceptor) }?.0;
        if known.in_this_process().is_ok() && !known.is_idle() {
            return Err(Errno::new(libc::EBUSY));
        }
        // SAFETY: it came from `poly_acceptor_new`, and by the header's conventions is freed once.
        unsafe { free(acceptor) };
        Ok(())
    })
}
