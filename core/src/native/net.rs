//! Sockets by name: TCP, UDP and local ones, made, bound, connected.
//!
//! Names are looked up by the system's resolver on the offload pool; a question that nobody waits for any
//! more is answered to nobody, so a deadline ends also a connect whose name server is silent. Where a name
//! has several addresses they are tried as RFC 8305 says ("happy eyeballs"): the families in turns, the
//! next one when the last has failed or has kept us waiting for a quarter of a second, and the first that
//! answers wins. All others are closed.
//!
//! Whatever goes wrong, no descriptor is left behind. Sockets are closed on exec, and block.

mod resolve;

use std::{
    ffi::CStr,
    mem,
    os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd},
    time::Duration,
};

use self::resolve::Question;
use super::{
    current,
    errno::{Errno, Result},
    io, perform, scope,
};
use crate::{op::Op, syscall};

/// Which addresses of a name count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Family {
    /// All.
    #[default]
    Any,
    /// IPv4's.
    V4,
    /// IPv6's.
    V6,
}

impl Family {
    fn number(self) -> i32 {
        match self {
            Family::Any => libc::AF_UNSPEC,
            Family::V4 => libc::AF_INET,
            Family::V6 => libc::AF_INET6,
        }
    }
}

/// How to bind a socket.
#[derive(Clone, Copy, Debug, Default)]
pub struct Binding {
    /// Which addresses of the name count.
    pub family: Family,
    /// Others may bind to the same address: the kernel spreads what comes among them (SO_REUSEPORT).
    pub shared: bool,
}

/// A socket's address as the kernel wants it.
#[derive(Clone, Copy)]
pub(crate) struct Address {
    storage: libc::sockaddr_storage,
    len: libc::socklen_t,
}

impl Address {
    fn at(&self) -> *const libc::sockaddr {
        (&raw const self.storage).cast()
    }

    fn family(&self) -> i32 {
        i32::from(self.storage.ss_family)
    }

    /// The address that is the same for every family.
    fn is_unspecified_v6(&self) -> bool {
        // SAFETY: the family says which of the addresses it is, and the storage is large enough for each.
        self.family() == libc::AF_INET6
            && unsafe { (*self.at().cast::<libc::sockaddr_in6>()).sin6_addr.s6_addr == [0; 16] }
    }
}

/// How long an attempt to connect has before the next one begins beside it.
const PATIENCE: Duration = Duration::from_millis(250);

/// A connection to a service of a host.
pub fn tcp_connect(host: &CStr, service: &CStr, family: Family) -> Result<RawFd> {
    let question = Question { host: Some(host), service, kind: libc::SOCK_STREAM, family, passive: false };
    race(&in_turns(question.answer()?))
}

/// A listener at a service of a host, or at all addresses of this machine. It may be bound again at once
/// when it is gone (SO_REUSEADDR).
pub fn tcp_listen(host: Option<&CStr>, service: &CStr, backlog: i32, binding: Binding) -> Result<RawFd> {
    let socket = bind(host, service, libc::SOCK_STREAM, binding)?;
    // SAFETY: no pointers.
    checked(unsafe { libc::listen(socket.as_raw_fd(), backlog) })?;
    Ok(socket.into_raw_fd())
}

/// A socket for datagrams, bound to a service of a host, or at all addresses of this machine.
pub fn udp_bind(host: Option<&CStr>, service: &CStr, binding: Binding) -> Result<RawFd> {
    bind(host, service, libc::SOCK_DGRAM, binding).map(IntoRawFd::into_raw_fd)
}

/// A socket for datagrams whose peer is a service of a host.
pub fn udp_connect(host: &CStr, service: &CStr, family: Family) -> Result<RawFd> {
    let question = Question { host: Some(host), service, kind: libc::SOCK_DGRAM, family, passive: false };
    first_of(&question.answer()?, |address| {
        let socket = socket(address.family(), libc::SOCK_DGRAM)?;
        // SAFETY: the address is as long as it says. For datagrams this waits for nobody.
        checked(unsafe { libc::connect(socket.as_raw_fd(), address.at(), address.len) })?;
        Ok(socket.into_raw_fd())
    })
}

/// A connection to a local listener.
pub fn unix_connect(path: &CStr) -> Result<RawFd> {
    let address = local(path)?;
    let socket = socket(libc::AF_UNIX, libc::SOCK_STREAM)?;
    let op = Op::Connect { fd: socket.as_raw_fd(), addr: address.at(), len: address.len };
    // SAFETY: the address lives until the call returns.
    Errno::check(unsafe { perform(&op) })?;
    Ok(socket.into_raw_fd())
}

/// A local listener at a path where nothing is yet.
pub fn unix_listen(path: &CStr, backlog: i32) -> Result<RawFd> {
    let address = local(path)?;
    let socket = socket(libc::AF_UNIX, libc::SOCK_STREAM)?;
    // SAFETY: the address is as long as it says; the rest are numbers.
    unsafe {
        checked(libc::bind(socket.as_raw_fd(), address.at(), address.len))?;
        checked(libc::listen(socket.as_raw_fd(), backlog))?;
    }
    Ok(socket.into_raw_fd())
}

/// The port that a socket is bound to.
pub fn port(socket: RawFd) -> Result<u16> {
    // SAFETY: plain data.
    let mut storage: libc::sockaddr_storage = unsafe { mem::zeroed() };
    let mut len = size_of_val(&storage) as libc::socklen_t;
    // SAFETY: room for any address, as `len` says.
    checked(unsafe { libc::getsockname(socket, (&raw mut storage).cast(), &mut len) })?;
    let at = (&raw const storage).cast::<libc::sockaddr_in>();
    match i32::from(storage.ss_family) {
        // SAFETY: the port stands at the same place in both addresses, and there is room for either.
        libc::AF_INET | libc::AF_INET6 => Ok(u16::from_be(unsafe { (*at).sin_port })),
        _ => Err(Errno::new(libc::EAFNOSUPPORT)),
    }
}

/// The families in turns, each in its order, beginning with that of the first address.
fn in_turns(addresses: Vec<Address>) -> Vec<Address> {
    let first = addresses.first().map_or(libc::AF_UNSPEC, Address::family);
    let (mut same, mut other) = (Vec::new(), Vec::new());
    for address in addresses {
        if address.family() == first { same.push(address) } else { other.push(address) }
    }
    let (mut same, mut other) = (same.into_iter(), other.into_iter());
    let mut turns = Vec::new();
    loop {
        let pair = [same.next(), other.next()];
        if pair.iter().all(Option::is_none) {
            return turns;
        }
        turns.extend(pair.into_iter().flatten());
    }
}

/// Connects to the address that answers first. Of failures the first is told: that of the best address.
fn race(addresses: &[Address]) -> Result<RawFd> {
    let mut under_way: Vec<OwnedFd> = Vec::new();
    let mut failure = None;
    let mut rest = addresses.iter();
    loop {
        match rest.next().map(attempt) {
            Some(Ok((socket, true))) => return Ok(hand_over(socket)),
            Some(Ok((socket, false))) => under_way.push(socket),
            Some(Err(errno)) => {
                failure.get_or_insert(errno);
                continue;
            }
            None if under_way.is_empty() => return Err(failure.unwrap_or(Errno::NO_HOST)),
            None => {}
        }
        wait_for_any(&under_way, (rest.len() > 0).then_some(PATIENCE))?;
        let mut at = 0;
        while let Some(socket) = under_way.get(at) {
            match syscall::connected(socket.as_raw_fd()) {
                0 => return Ok(hand_over(under_way.swap_remove(at))),
                early if early == -libc::EAGAIN => at += 1,
                failed => {
                    failure.get_or_insert(Errno::new(-failed));
                    under_way.remove(at);
                }
            }
        }
    }
}

/// Begins to connect; says whether that is all.
fn attempt(address: &Address) -> Result<(OwnedFd, bool)> {
    let socket = socket(address.family(), libc::SOCK_STREAM | libc::SOCK_NONBLOCK)?;
    // SAFETY: the address is as long as it says; the socket does not block.
    match checked(unsafe { libc::connect(socket.as_raw_fd(), address.at(), address.len) }) {
        Ok(()) => Ok((socket, true)),
        Err(errno) if matches!(errno.number(), libc::EINPROGRESS | libc::EINTR) => Ok((socket, false)),
        Err(errno) => Err(errno),
    }
}

/// Waits until one of the sockets has an answer, or so long.
fn wait_for_any(sockets: &[OwnedFd], patience: Option<Duration>) -> Result<()> {
    if let [socket] = sockets {
        return wait_for(socket.as_raw_fd(), libc::POLLOUT, patience);
    }
    let epoll = Errno::check(syscall::epoll_create())?;
    // SAFETY: just made, and nobody else's.
    let all = unsafe { OwnedFd::from_raw_fd(epoll) };
    for socket in sockets {
        let events = libc::EPOLLOUT as u32;
        Errno::check(syscall::epoll_control(epoll, libc::EPOLL_CTL_ADD, socket.as_raw_fd(), events, 0))?;
    }
    wait_for(all.as_raw_fd(), libc::POLLIN, patience)
}

/// Waits until a descriptor is ready, or so long; it is the caller's to look which.
fn wait_for(fd: RawFd, events: libc::c_short, patience: Option<Duration>) -> Result<()> {
    let events = events as u32;
    if current::fiber().is_none() {
        let milliseconds = patience.map_or(-1, |span| span.as_millis() as i32);
        return Errno::check(syscall::poll(fd, events, milliseconds)).map(drop);
    }
    let Some(span) = patience else { return io::poll(fd, events).map(drop) };
    match scope::within(span, || io::poll(fd, events)) {
        (Err(Errno::TIMED_OUT), true) => Ok(()),
        (polled, _) => polled.map(drop),
    }
}

/// A connected socket, which blocks from here on as any other.
fn hand_over(socket: OwnedFd) -> RawFd {
    let flags = syscall::open_flags(socket.as_raw_fd());
    // SAFETY: no pointers.
    unsafe { libc::fcntl(socket.as_raw_fd(), libc::F_SETFL, flags & !libc::O_NONBLOCK) };
    socket.into_raw_fd()
}

/// Binds to the first address of a name that can be had.
fn bind(host: Option<&CStr>, service: &CStr, kind: i32, binding: Binding) -> Result<OwnedFd> {
    let question = Question { host, service, kind, family: binding.family, passive: true };
    first_of(&question.answer()?, |address| {
        let socket = socket(address.family(), kind)?;
        // A datagram socket that shares its address takes from the others what is theirs.
        if kind == libc::SOCK_STREAM {
            switch(&socket, libc::SOL_SOCKET, libc::SO_REUSEADDR, true)?;
        }
        if binding.shared {
            switch(&socket, libc::SOL_SOCKET, libc::SO_REUSEPORT, true)?;
        }
        if address.is_unspecified_v6() {
            switch(&socket, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, binding.family == Family::V6)?;
        }
        // SAFETY: the address is as long as it says.
        checked(unsafe { libc::bind(socket.as_raw_fd(), address.at(), address.len) })?;
        Ok(socket)
    })
}

/// The first success, or else the first failure.
fn first_of<T>(addresses: &[Address], mut each: impl FnMut(&Address) -> Result<T>) -> Result<T> {
    let mut failure = Errno::NO_HOST;
    for (number, address) in addresses.iter().enumerate() {
        match each(address) {
            Err(errno) if number == 0 => failure = errno,
            Err(_) => {}
            made => return made,
        }
    }
    Err(failure)
}

fn socket(family: i32, kind: i32) -> Result<OwnedFd> {
    // SAFETY: no pointers.
    let fd = unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, 0) };
    checked(fd)?;
    // SAFETY: just made, and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn switch(socket: &OwnedFd, level: i32, name: i32, on: bool) -> Result<()> {
    let on = i32::from(on);
    let (at, len) = ((&raw const on).cast(), size_of_val(&on) as libc::socklen_t);
    // SAFETY: `on` is four readable bytes.
    checked(unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, at, len) })
}

/// The address of a path.
fn local(path: &CStr) -> Result<Address> {
    // SAFETY: plain data.
    let mut storage: libc::sockaddr_storage = unsafe { mem::zeroed() };
    let at = (&raw mut storage).cast::<libc::sockaddr_un>();
    let bytes = path.to_bytes_with_nul();
    // SAFETY: the storage has room for an address of any family.
    let room = unsafe { &mut (*at).sun_path };
    if bytes.len() > room.len() {
        return Err(Errno::new(libc::ENAMETOOLONG));
    }
    room.iter_mut().zip(bytes).for_each(|(place, &byte)| *place = byte as libc::c_char);
    storage.ss_family = libc::AF_UNIX as libc::sa_family_t;
    Ok(Address { storage, len: (size_of::<libc::sa_family_t>() + bytes.len()) as libc::socklen_t })
}

/// What a call said that returns -1 where it failed.
pub(super) fn checked(returned: i32) -> Result<()> {
    if returned >= 0 {
        return Ok(());
    }
    let error = std::io::Error::last_os_error();
    Err(Errno::new(error.raw_os_error().unwrap_or(libc::EIO)))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};

    use super::*;
    use crate::native::{Options, Runtime};

    /// A listener that answers nobody any more: its queue is full.
    struct Silent {
        listener: TcpListener,
        _queued: Vec<OwnedFd>,
    }

    impl Silent {
        fn new() -> Self {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            // SAFETY: no pointers. A queue of one, from here on.
            assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
            let mut queued = Vec::new();
            loop {
                let (socket, done) = attempt(&address(&listener)).unwrap();
                let answered = done || wait_for(socket.as_raw_fd(), libc::POLLOUT, Some(PATIENCE)).is_ok();
                if !(answered && syscall::connected(socket.as_raw_fd()) == 0) {
                    return Silent { listener, _queued: queued };
                }
                queued.push(socket);
                assert!(queued.len() < 10, "the queue does not fill");
            }
        }
    }

    fn address(listener: &TcpListener) -> Address {
        let at = listener.local_addr().unwrap();
        Address::of(at.ip(), at.port())
    }

    fn in_a_fiber<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> T {
        Runtime::new(Options::with_workers(1)).unwrap().run(body).unwrap()
    }

    fn races_past_the_silent_one() {
        let (silent, good) = (Silent::new(), TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).unwrap());
        let refusing = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let refused = address(&refusing);
        drop(refusing);
        let winner = race(&[address(&silent.listener), refused, address(&good)]).unwrap();
        // SAFETY: the descriptor is ours from here on.
        let winner = unsafe { TcpStream::from_raw_fd(winner) };
        assert_eq!(winner.peer_addr().unwrap(), good.local_addr().unwrap());
        assert_eq!(syscall::open_flags(winner.as_raw_fd()) & libc::O_NONBLOCK, 0);
    }

    #[test]
    fn the_first_address_that_answers_wins() {
        races_past_the_silent_one();
        in_a_fiber(races_past_the_silent_one);
    }

    #[test]
    fn two_silent_addresses_do_not_hide_a_third() {
        in_a_fiber(|| {
            let silent = [Silent::new(), Silent::new()];
            let good = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let [one, other] = silent.each_ref().map(|silent| address(&silent.listener));
            let winner = race(&[one, other, address(&good)]).unwrap();
            // SAFETY: the descriptor is ours from here on.
            let winner = unsafe { TcpStream::from_raw_fd(winner) };
            assert_eq!(winner.peer_addr().unwrap(), good.local_addr().unwrap());
        });
    }

    #[test]
    fn a_deadline_ends_the_race() {
        in_a_fiber(|| {
            let silent = [Silent::new(), Silent::new()];
            let [one, other] = silent.each_ref().map(|silent| address(&silent.listener));
            for addresses in [vec![one], vec![one, other]] {
                let span = PATIENCE + Duration::from_millis(50);
                let (raced, passed) = scope::within(span, || race(&addresses));
                assert_eq!((raced, passed), (Err(Errno::TIMED_OUT), true));
            }
        });
    }

    #[test]
    fn the_families_take_turns_beginning_with_the_best() {
        let (v4, v6) =
            (Address::of(Ipv4Addr::LOCALHOST.into(), 1), Address::of(Ipv6Addr::LOCALHOST.into(), 1));
        let families = |addresses: Vec<Address>| -> Vec<bool> {
            in_turns(addresses).iter().map(|address| address.family() == libc::AF_INET6).collect()
        };
        assert_eq!(families(vec![v6, v6, v6, v4]), [true, false, true, true]);
        assert_eq!(families(vec![v4, v4, v6]), [false, true, false]);
        assert_eq!(families(vec![]), []);
    }
}
