//! Descriptors of all kinds, and the plain system calls of the other side.

use std::{
    ffi::CString,
    io::{Read, Seek, Write},
    mem,
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
};

/// Whether a descriptor has O_NONBLOCK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Blocking,
    Nonblocking,
}

pub const MODES: [Mode; 2] = [Mode::Blocking, Mode::Nonblocking];

fn own(fd: RawFd) -> OwnedFd {
    assert!(fd >= 0, "{}", std::io::Error::last_os_error());
    // SAFETY: just made, and nobody else's.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// (read end, write end); the mode is the same for both.
pub fn pipe(mode: Mode) -> (OwnedFd, OwnedFd) {
    let mut ends = [0; 2];
    let flags = libc::O_CLOEXEC | if mode == Mode::Nonblocking { libc::O_NONBLOCK } else { 0 };
    // SAFETY: room for two descriptors.
    assert_eq!(unsafe { libc::pipe2(ends.as_mut_ptr(), flags) }, 0);
    (own(ends[0]), own(ends[1]))
}

/// A pipe of one page which is full.
pub fn full_pipe(mode: Mode) -> (OwnedFd, OwnedFd) {
    let (from, to) = pipe(mode);
    // SAFETY: no pointers.
    assert_eq!(unsafe { libc::fcntl(to.as_raw_fd(), libc::F_SETPIPE_SZ, 4096) }, 4096);
    write(&to, &[b'.'; 4096]);
    (from, to)
}

/// Two connected local sockets.
pub fn socket_pair(kind: i32, mode: Mode) -> (OwnedFd, OwnedFd) {
    let mut ends = [0; 2];
    let flags = libc::SOCK_CLOEXEC | if mode == Mode::Nonblocking { libc::SOCK_NONBLOCK } else { 0 };
    // SAFETY: room for two descriptors.
    assert_eq!(unsafe { libc::socketpair(libc::AF_UNIX, kind | flags, 0, ends.as_mut_ptr()) }, 0);
    (own(ends[0]), own(ends[1]))
}

/// The same, and the first cannot send any more; says how much is on its way.
pub fn full_socket_pair(mode: Mode) -> (OwnedFd, OwnedFd, usize) {
    let (here, there) = socket_pair(libc::SOCK_STREAM, mode);
    let mut sent = 0;
    loop {
        // SAFETY: 4096 readable bytes.
        let n =
            unsafe { libc::send(here.as_raw_fd(), [b'.'; 4096].as_ptr().cast(), 4096, libc::MSG_DONTWAIT) };
        if n < 0 {
            return (here, there, sent);
        }
        sent += n as usize;
    }
}

/// A terminal without line discipline: (its side, our side).
pub fn terminal(mode: Mode) -> (OwnedFd, OwnedFd) {
    let (mut master, mut slave) = (0, 0);
    let null = std::ptr::null_mut();
    // SAFETY: room for two descriptors; name, settings and size are not asked for.
    unsafe {
        assert_eq!(libc::openpty(&mut master, &mut slave, null, null.cast(), null.cast()), 0);
        let mut settings: libc::termios = mem::zeroed();
        libc::tcgetattr(slave, &mut settings);
        libc::cfmakeraw(&mut settings);
        libc::tcsetattr(slave, libc::TCSANOW, &settings);
    }
    let (slave, master) = (own(slave), own(master));
    set_mode(&slave, mode);
    (slave, master)
}

pub fn set_mode(fd: &OwnedFd, mode: Mode) {
    // SAFETY: no pointers.
    unsafe {
        let flags = libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) & !libc::O_NONBLOCK;
        let flags = flags | if mode == Mode::Nonblocking { libc::O_NONBLOCK } else { 0 };
        assert_eq!(libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags), 0);
    }
}

/// Whether a descriptor still has the mode that the test gave it.
pub fn mode(fd: RawFd) -> Mode {
    // SAFETY: no pointers.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFL) };
    if flags & libc::O_NONBLOCK == 0 { Mode::Blocking } else { Mode::Nonblocking }
}

/// A file with no name that holds these bytes.
pub fn file(bytes: &[u8]) -> OwnedFd {
    let name = CString::new("test").unwrap();
    // SAFETY: a name that ends with a zero byte.
    let fd = own(unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC) });
    let mut file = std::fs::File::from(fd);
    file.write_all(bytes).unwrap();
    file.rewind().unwrap();
    file.into()
}

/// Writes all of it, in one call.
pub fn write(to: &OwnedFd, bytes: &[u8]) {
    // SAFETY: as many readable bytes as the slice has.
    let n = unsafe { libc::write(to.as_raw_fd(), bytes.as_ptr().cast(), bytes.len()) };
    assert_eq!(n, bytes.len() as isize, "{}", std::io::Error::last_os_error());
}

/// Reads so many bytes.
pub fn read(from: &OwnedFd, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    let mut file = mem::ManuallyDrop::new(std::fs::File::from(from.try_clone().unwrap()));
    file.read_exact(&mut bytes).unwrap();
    drop(mem::ManuallyDrop::into_inner(file));
    bytes
}

/// An address of IPv4's or IPv6's loopback, as the kernel wants it.
pub fn sockaddr(address: std::net::SocketAddr) -> (&'static libc::sockaddr_storage, libc::socklen_t) {
    // SAFETY: plain data.
    let mut storage: libc::sockaddr_storage = unsafe { mem::zeroed() };
    let len = match address {
        std::net::SocketAddr::V4(v4) => {
            let at = (&raw mut storage).cast::<libc::sockaddr_in>();
            // SAFETY: the storage is large enough for every kind of address.
            unsafe {
                (*at).sin_family = libc::AF_INET as u16;
                (*at).sin_port = v4.port().to_be();
                (*at).sin_addr.s_addr = u32::from(*v4.ip()).to_be();
            }
            size_of::<libc::sockaddr_in>()
        }
        std::net::SocketAddr::V6(v6) => {
            let at = (&raw mut storage).cast::<libc::sockaddr_in6>();
            // SAFETY: as above.
            unsafe {
                (*at).sin6_family = libc::AF_INET6 as u16;
                (*at).sin6_port = v6.port().to_be();
                (*at).sin6_addr.s6_addr = v6.ip().octets();
            }
            size_of::<libc::sockaddr_in6>()
        }
    };
    (super::forever(storage), len as libc::socklen_t)
}

/// A message over one part, with room for ancillary data.
pub fn message(part: &'static mut [u8], control: &'static mut [u8]) -> &'static mut libc::msghdr {
    let iov = super::forever(libc::iovec { iov_base: part.as_mut_ptr().cast(), iov_len: part.len() });
    // SAFETY: plain data.
    let message = super::forever(unsafe { mem::zeroed::<libc::msghdr>() });
    message.msg_iov = iov;
    message.msg_iovlen = 1;
    if !control.is_empty() {
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = control.len();
    }
    message
}

/// Room for one descriptor as ancillary data, aligned as the kernel likes it.
pub fn control() -> &'static mut [u8] {
    let words = super::forever([0u64; 3]);
    // SAFETY: the words as bytes: 24 of them, which is CMSG_SPACE of one descriptor.
    unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), 24) }
}

/// Puts a descriptor into a message.
pub fn put_descriptor(message: &mut libc::msghdr, fd: RawFd) {
    // SAFETY: the message has room for one control header with one descriptor.
    unsafe {
        let header = libc::CMSG_FIRSTHDR(message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(4) as usize;
        libc::CMSG_DATA(header).cast::<RawFd>().write_unaligned(fd);
    }
}

/// Takes the descriptor out of a message.
pub fn take_descriptor(message: &libc::msghdr) -> Option<OwnedFd> {
    // SAFETY: the kernel has filled in the control data.
    unsafe {
        let header = libc::CMSG_FIRSTHDR(message);
        if header.is_null() || (*header).cmsg_type != libc::SCM_RIGHTS {
            return None;
        }
        Some(own(libc::CMSG_DATA(header).cast::<RawFd>().read_unaligned()))
    }
}
