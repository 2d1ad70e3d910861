//! The rows of the grid: each operation, in the situations that it can get into.

use std::{
    ffi::CString,
    net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream, UdpSocket},
    os::fd::{AsRawFd, IntoRawFd, OwnedFd, RawFd},
    path::Path,
    process::{Command, Stdio},
    ptr,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use polyphony_core::{
    op::{Op, POSITION},
    time::Time,
};

use crate::support::{
    fds::{self, Mode},
    forever, memory,
};

/// What an operation is to meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Situation {
    Whole,
    Short,
    End,
    Error,
}

/// What an operation is to end with.
#[derive(Clone, Copy, Debug)]
pub enum Expected {
    Exactly(i32),
    Descriptor,
}

/// An operation, what the other side does about it, and what is to come of it.
pub struct Scene {
    pub op: Op,
    pub act: Box<dyn FnOnce()>,
    pub expected: Expected,
    /// What it reads, into the memory that the operation was given or one of the shard's buffers.
    pub bytes: Option<(*const u8, &'static [u8])>,
    /// What holds afterwards outside of this operation.
    pub world: Box<dyn FnOnce()>,
    /// Descriptors that live as long as the scene.
    pub stage: Vec<OwnedFd>,
}

impl Scene {
    fn new(op: Op, expected: i32) -> Self {
        Scene {
            op,
            act: Box::new(|| ()),
            expected: Expected::Exactly(expected),
            bytes: None,
            world: Box::new(|| ()),
            stage: Vec::new(),
        }
    }

    fn making_descriptor(op: Op) -> Self {
        Scene { expected: Expected::Descriptor, ..Scene::new(op, 0) }
    }

    fn act(mut self, act: impl FnOnce() + 'static) -> Self {
        self.act = Box::new(act);
        self
    }

    fn world(mut self, world: impl FnOnce() + 'static) -> Self {
        self.world = Box::new(world);
        self
    }

    fn bytes(mut self, buf: *const u8, bytes: &'static [u8]) -> Self {
        self.bytes = Some((buf, bytes));
        self
    }

    fn on(mut self, fds: impl IntoIterator<Item = OwnedFd>) -> Self {
        self.stage.extend(fds);
        self
    }
}

/// A scene of an operation in a situation, on descriptors of a mode.
pub type Row = fn(Situation, Mode) -> Scene;

/// Reads eight bytes at `from`, which `to` feeds.
fn reading(situation: Situation, from: OwnedFd, to: OwnedFd, op: impl Fn(RawFd, *mut u8) -> Op) -> Scene {
    let buf = memory(8).as_mut_ptr();
    let scene = |result| Scene::new(op(from.as_raw_fd(), buf), result);
    let scene = match situation {
        Situation::Whole => scene(8).bytes(buf, b"polyphon").act(move || fds::write(&to, b"polyphon")),
        Situation::Short => scene(3).bytes(buf, b"pol").act(move || fds::write(&to, b"pol")),
        Situation::End => scene(0).act(move || drop(to)),
        Situation::Error => Scene::new(op(-1, buf), -libc::EBADF).on([to]),
    };
    scene.on([from])
}

/// Writes eight bytes into `to`, which is full; `from` is where `before` bytes stand before them.
fn writing(
    situation: Situation,
    from: OwnedFd,
    to: OwnedFd,
    before: usize,
    op: impl Fn(RawFd, *const u8) -> Op,
) -> Scene {
    let op = op(to.as_raw_fd(), b"polyphon".as_ptr());
    let scene = match situation {
        Situation::Error => Scene::new(op, -libc::EPIPE).act(move || drop(from)),
        Situation::Whole | Situation::Short | Situation::End => {
            let rest = from.try_clone().unwrap();
            Scene::new(op, 8)
                .act(move || drop(fds::read(&from, before)))
                .world(move || assert_eq!(fds::read(&rest, 8), b"polyphon"))
        }
    };
    scene.on([to])
}

fn read_op(fd: RawFd, buf: *mut u8) -> Op {
    Op::Read { fd, buf, len: 8, offset: POSITION }
}

fn readv_op(fd: RawFd, buf: *mut u8) -> Op {
    let parts = forever([
        libc::iovec { iov_base: buf.cast(), iov_len: 2 },
        libc::iovec { iov_base: buf.wrapping_add(2).cast(), iov_len: 6 },
    ]);
    Op::Readv { fd, iov: parts.as_ptr(), count: 2, offset: POSITION }
}

fn writev_op(fd: RawFd, buf: *const u8) -> Op {
    let parts = forever([
        libc::iovec { iov_base: buf.cast_mut().cast(), iov_len: 2 },
        libc::iovec { iov_base: buf.cast_mut().wrapping_add(2).cast(), iov_len: 6 },
    ]);
    Op::Writev { fd, iov: parts.as_ptr(), count: 2, offset: POSITION }
}

pub fn read_pipe(situation: Situation, mode: Mode) -> Scene {
    let (from, to) = fds::pipe(mode);
    reading(situation, from, to, read_op)
}

pub fn read_socket(situation: Situation, mode: Mode) -> Scene {
    let (from, to) = fds::socket_pair(libc::SOCK_STREAM, mode);
    reading(situation, from, to, read_op)
}

pub fn read_terminal(situation: Situation, mode: Mode) -> Scene {
    let (from, to) = fds::terminal(mode);
    match situation {
        // What the kernel says of a terminal that was hung up depends on its version: 0 or EIO.
        Situation::End => unreachable!("not in the grid"),
        _ => {
            // Our side stays: with it the terminal goes, and what was typed.
            let ours = to.try_clone().unwrap();
            reading(situation, from, to, read_op).on([ours])
        }
    }
}

pub fn readv(situation: Situation, mode: Mode) -> Scene {
    let (from, to) = fds::pipe(mode);
    reading(situation, from, to, readv_op)
}

pub fn readv_socket(situation: Situation, mode: Mode) -> Scene {
    let (from, to) = fds::socket_pair(libc::SOCK_STREAM, mode);
    reading(situation, from, to, readv_op)
}

pub fn recv(situation: Situation, mode: Mode) -> Scene {
    let (from, to) = fds::socket_pair(libc::SOCK_STREAM, mode);
    reading(situation, from, to, |fd, buf| Op::Recv { fd, buf, len: 8, flags: 0 })
}

pub fn read_pooled(situation: Situation, mode: Mode) -> Scene {
    let (from, to) = fds::pipe(mode);
    pooled(reading(situation, from, to, |fd, _| Op::ReadPooled { fd, len: 8 }))
}

pub fn recv_pooled(situation: Situation, mode: Mode) -> Scene {
    let (from, to) = fds::socket_pair(libc::SOCK_STREAM, mode);
    pooled(reading(situation, from, to, |fd, _| Op::RecvPooled { fd, len: 8, flags: 0 }))
}

/// What was read stands in the shard's buffer.
fn pooled(scene: Scene) -> Scene {
    Scene { bytes: scene.bytes.map(|(_, bytes)| (ptr::null(), bytes)), ..scene }
}

pub fn read_file(situation: Situation, _: Mode) -> Scene {
    reading_file(situation, |fd, buf| Op::Read { fd, buf, len: 8, offset: POSITION })
}

pub fn pread_file(situation: Situation, _: Mode) -> Scene {
    reading_file(situation, |fd, buf| Op::Read { fd, buf, len: 8, offset: 0 })
}

pub fn preadv_file(situation: Situation, _: Mode) -> Scene {
    reading_file(situation, |fd, buf| match readv_op(fd, buf) {
        Op::Readv { fd, iov, count, .. } => Op::Readv { fd, iov, count, offset: 0 },
        other => other,
    })
}

pub fn read_pooled_file(situation: Situation, _: Mode) -> Scene {
    pooled(reading_file(situation, |fd, _| Op::ReadPooled { fd, len: 8 }))
}

fn reading_file(situation: Situation, op: impl Fn(RawFd, *mut u8) -> Op) -> Scene {
    let buf = memory(8).as_mut_ptr();
    let (content, result): (&'static [u8], i32) = match situation {
        Situation::Whole => (b"polyphony", 8),
        Situation::Short => (b"pol", 3),
        Situation::End => (b"", 0),
        Situation::Error => {
            let directory = OwnedFd::from(std::fs::File::open("/").unwrap());
            return Scene::new(op(directory.as_raw_fd(), buf), -libc::EISDIR).on([directory]);
        }
    };
    let file = fds::file(content);
    Scene::new(op(file.as_raw_fd(), buf), result).bytes(buf, &content[..result as usize]).on([file])
}

pub fn write_pipe(situation: Situation, mode: Mode) -> Scene {
    let (from, to) = fds::full_pipe(mode);
    writing(situation, from, to, 4096, |fd, buf| Op::Write { fd, buf, len: 8, offset: POSITION })
}

pub fn write_socket(situation: Situation, mode: Mode) -> Scene {
    let (to, from, before) = fds::full_socket_pair(mode);
    writing(situation, from, to, before, |fd, buf| Op::Write { fd, buf, len: 8, offset: POSITION })
}

pub fn writev(situation: Situation, mode: Mode) -> Scene {
    let (from, to) = fds::full_pipe(mode);
    writing(situation, from, to, 4096, writev_op)
}

pub fn send(situation: Situation, mode: Mode) -> Scene {
    let (to, from, before) = fds::full_socket_pair(mode);
    writing(situation, from, to, before, |fd, buf| Op::Send { fd, buf, len: 8, flags: 0 })
}

pub fn sendmsg(situation: Situation, mode: Mode) -> Scene {
    let (to, from, before) = fds::full_socket_pair(mode);
    writing(situation, from, to, before, |fd, buf| {
        let part = memory(8);
        // SAFETY: the eight bytes that `writing` sends.
        part.copy_from_slice(unsafe { std::slice::from_raw_parts(buf, 8) });
        Op::SendMsg { fd, msg: fds::message(part, &mut []), flags: 0 }
    })
}

pub fn pwrite_file(situation: Situation, _: Mode) -> Scene {
    let file = fds::file(b"mono....");
    let fd = if situation == Situation::Error { -1 } else { file.as_raw_fd() };
    let op = Op::Write { fd, buf: b"poly".as_ptr(), len: 4, offset: 4 };
    let result = if situation == Situation::Error { -libc::EBADF } else { 4 };
    let written = file.try_clone().unwrap();
    let scene = Scene::new(op, result).on([file]);
    if result < 0 { scene } else { scene.world(move || assert_eq!(fds::read(&written, 8), b"monopoly")) }
}

/// Two datagram sockets of one family, the second connected to the first.
fn datagrams(v6: bool, mode: Mode) -> (OwnedFd, OwnedFd, std::net::SocketAddr) {
    let bind = || {
        if v6 { UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)) } else { UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)) }
    };
    let (here, there) = (bind().unwrap(), bind().unwrap());
    there.connect(here.local_addr().unwrap()).unwrap();
    let from = there.local_addr().unwrap();
    let (here, there) = (OwnedFd::from(here), OwnedFd::from(there));
    fds::set_mode(&here, mode);
    fds::set_mode(&there, mode);
    (here, there, from)
}

fn receiving_datagram(situation: Situation, v6: bool, mode: Mode) -> Scene {
    let (here, there, from) = datagrams(v6, mode);
    let part = memory(8);
    let buf = part.as_ptr();
    let name = forever([0u8; 128]);
    let msg = fds::message(part, &mut []);
    msg.msg_name = name.as_mut_ptr().cast();
    msg.msg_namelen = 128;
    let fd = if situation == Situation::Error { -1 } else { here.as_raw_fd() };
    let op = Op::RecvMsg { fd, msg, flags: 0 };
    let scene = match situation {
        Situation::Whole => Scene::new(op, 8).bytes(buf, b"polyphon"),
        Situation::Short => Scene::new(op, 3).bytes(buf, b"pol"),
        Situation::End => Scene::new(op, 0), // a datagram without bytes
        Situation::Error => return Scene::new(op, -libc::EBADF).on([here, there]),
    };
    let bytes = scene.bytes.map_or(&b""[..], |(_, bytes)| bytes);
    let (expected, _) = fds::sockaddr(from);
    let name = name.as_ptr();
    scene
        .act(move || {
            // SAFETY: as many readable bytes as the slice has.
            unsafe { libc::send(there.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0) };
        })
        .world(move || {
            // SAFETY: both are addresses: family and port stand in the first four bytes of either.
            let (seen, sent) =
                unsafe { (name.cast::<[u8; 4]>().read(), ptr::from_ref(expected).cast::<[u8; 4]>().read()) };
            assert_eq!(seen, sent, "the sender's address");
        })
        .on([here])
}

pub fn recvmsg_udp(situation: Situation, mode: Mode) -> Scene {
    receiving_datagram(situation, false, mode)
}

pub fn recvmsg_udp6(situation: Situation, mode: Mode) -> Scene {
    receiving_datagram(situation, true, mode)
}

fn sending_datagram(situation: Situation, v6: bool, mode: Mode) -> Scene {
    let (here, there, _) = datagrams(v6, mode);
    let part = memory(if situation == Situation::Error { 70_000 } else { 8 });
    part[..8].copy_from_slice(b"polyphon");
    let op = Op::SendMsg { fd: there.as_raw_fd(), msg: fds::message(part, &mut []), flags: 0 };
    match situation {
        Situation::Error => Scene::new(op, -libc::EMSGSIZE).on([here, there]),
        _ => Scene::new(op, 8).world(move || assert_eq!(fds::read(&here, 8), b"polyphon")).on([there]),
    }
}

pub fn sendmsg_udp(situation: Situation, mode: Mode) -> Scene {
    sending_datagram(situation, false, mode)
}

pub fn sendmsg_udp6(situation: Situation, mode: Mode) -> Scene {
    sending_datagram(situation, true, mode)
}

pub fn recvmsg_descriptor(_: Situation, mode: Mode) -> Scene {
    let (here, there) = fds::socket_pair(libc::SOCK_STREAM, mode);
    let part = memory(1);
    let buf = part.as_ptr();
    let msg = fds::message(part, fds::control());
    let seen = ptr::from_mut(msg);
    Scene::new(Op::RecvMsg { fd: here.as_raw_fd(), msg: seen, flags: libc::MSG_CMSG_CLOEXEC }, 1)
        .bytes(buf, b"!")
        .act(move || {
            let (from, to) = fds::pipe(Mode::Blocking);
            fds::write(&to, b"through");
            let part = memory(1);
            part[0] = b'!';
            let message = fds::message(part, fds::control());
            fds::put_descriptor(message, from.as_raw_fd());
            // SAFETY: a whole message.
            assert_eq!(unsafe { libc::sendmsg(there.as_raw_fd(), message, 0) }, 1);
        })
        .world(move || {
            // SAFETY: the memory of a message lives for ever.
            let from = fds::take_descriptor(unsafe { &*seen }).expect("a descriptor came along");
            assert_eq!(fds::read(&from, 7), b"through");
        })
        .on([here])
}

pub fn sendmsg_descriptor(_: Situation, mode: Mode) -> Scene {
    let (here, there) = fds::socket_pair(libc::SOCK_STREAM, mode);
    let (from, to) = fds::pipe(Mode::Blocking);
    fds::write(&to, b"through");
    let part = memory(1);
    part[0] = b'!';
    let message = fds::message(part, fds::control());
    fds::put_descriptor(message, from.as_raw_fd());
    Scene::new(Op::SendMsg { fd: there.as_raw_fd(), msg: message, flags: 0 }, 1)
        .world(move || {
            let message = fds::message(memory(1), fds::control());
            // SAFETY: a whole message.
            assert_eq!(unsafe { libc::recvmsg(here.as_raw_fd(), message, 0) }, 1);
            let from = fds::take_descriptor(message).expect("a descriptor came along");
            assert_eq!(fds::read(&from, 7), b"through");
        })
        .on([there, from])
}

/// A listener; its address.
fn listener(mode: Mode) -> (OwnedFd, std::net::SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let listener = OwnedFd::from(listener);
    fds::set_mode(&listener, mode);
    (listener, address)
}

pub fn accept(situation: Situation, mode: Mode) -> Scene {
    let null = ptr::null_mut();
    let accept = |fd| Op::Accept { fd, addr: null, len: null.cast(), flags: libc::SOCK_CLOEXEC };
    if situation == Situation::Error {
        let (from, to) = fds::pipe(mode);
        return Scene::new(accept(from.as_raw_fd()), -libc::ENOTSOCK)
            .act(move || fds::write(&to, b"!"))
            .on([from]);
    }
    let (listener, address) = listener(mode);
    // The client stays: a connection that is reset before it is accepted need not be.
    Scene::making_descriptor(accept(listener.as_raw_fd()))
        .act(move || {
            forever(TcpStream::connect(address).unwrap());
        })
        .on([listener])
}

pub fn accept_many(situation: Situation, mode: Mode) -> Scene {
    let scene = accept(situation, mode);
    let fd = scene.op.fd().expect("an accept has a listener");
    Scene { op: Op::AcceptMany { fd, flags: libc::SOCK_CLOEXEC }, ..scene }
}

pub fn connect(situation: Situation, mode: Mode) -> Scene {
    let (listener, address) = listener(mode);
    let (storage, len) = fds::sockaddr(address);
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC;
    let kind = kind | if mode == Mode::Nonblocking { libc::SOCK_NONBLOCK } else { 0 };
    // SAFETY: no pointers; the descriptor is ours.
    let socket: OwnedFd =
        unsafe { std::os::fd::FromRawFd::from_raw_fd(libc::socket(libc::AF_INET, kind, 0)) };
    let op = Op::Connect { fd: socket.as_raw_fd(), addr: ptr::from_ref(storage).cast(), len };
    let kept = socket.try_clone().unwrap();
    let keeps_mode = move || assert_eq!(fds::mode(kept.as_raw_fd()), mode, "the mode was changed");
    if situation == Situation::Error {
        drop(listener);
        return Scene::new(op, -libc::ECONNREFUSED).world(keeps_mode).on([socket]);
    }
    Scene::new(op, 0).world(keeps_mode).on([socket, listener])
}

pub fn openat(situation: Situation, _: Mode) -> Scene {
    let path: &'static CString = forever(match situation {
        Situation::Error => CString::new("/no such file").unwrap(),
        _ => CString::new("/dev/null").unwrap(),
    });
    let op = Op::OpenAt {
        dir: libc::AT_FDCWD,
        path: path.as_ptr(),
        flags: libc::O_RDONLY | libc::O_CLOEXEC,
        mode: 0,
    };
    if situation == Situation::Error { Scene::new(op, -libc::ENOENT) } else { Scene::making_descriptor(op) }
}

pub fn statx(situation: Situation, _: Mode) -> Scene {
    let file = fds::file(b"polyphony");
    // SAFETY: plain data.
    let into = ptr::from_mut(forever(unsafe { std::mem::zeroed::<libc::statx>() }));
    let dir = if situation == Situation::Error { -1 } else { file.as_raw_fd() };
    let op = Op::Statx { dir, path: c"".as_ptr(), flags: libc::AT_EMPTY_PATH, mask: libc::STATX_SIZE, into };
    match situation {
        Situation::Error => Scene::new(op, -libc::EBADF),
        // SAFETY: the memory lives for ever.
        _ => Scene::new(op, 0).world(move || assert_eq!(unsafe { (*into).stx_size }, 9)),
    }
    .on([file])
}

/// A path in the temporary directory that no other scene has; what is there goes with this.
struct Fresh(&'static CString);

impl Fresh {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("polyphony-{}-path-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name).into_os_string().into_encoded_bytes();
        Fresh(forever(CString::new(path).unwrap()))
    }

    fn path(&self) -> &'static Path {
        Path::new(self.0.to_str().unwrap())
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        // It may be a file, a directory, or nothing.
        let _ = std::fs::remove_file(self.path()).or_else(|_| std::fs::remove_dir(self.path()));
    }
}

/// Renames a file to where nothing is, or what is not there.
pub fn renameat(situation: Situation, _: Mode) -> Scene {
    let (old, new) = (Fresh::new(), Fresh::new());
    let dir = libc::AT_FDCWD;
    let op = Op::RenameAt { dir, path: old.0.as_ptr(), to_dir: dir, to: new.0.as_ptr(), flags: 0 };
    if situation == Situation::Error {
        return Scene::new(op, -libc::ENOENT);
    }
    std::fs::write(old.path(), "polyphony").unwrap();
    Scene::new(op, 0).world(move || {
        assert!(!old.path().exists());
        assert_eq!(std::fs::read(new.path()).unwrap(), b"polyphony");
    })
}

/// Removes a file, or a directory in the other mode.
pub fn unlinkat(situation: Situation, mode: Mode) -> Scene {
    let fresh = Fresh::new();
    let flags = if mode == Mode::Nonblocking { libc::AT_REMOVEDIR } else { 0 };
    let op = Op::UnlinkAt { dir: libc::AT_FDCWD, path: fresh.0.as_ptr(), flags };
    match (situation, mode) {
        (Situation::Error, _) => return Scene::new(op, -libc::ENOENT),
        (_, Mode::Blocking) => std::fs::write(fresh.path(), "").unwrap(),
        (_, Mode::Nonblocking) => std::fs::create_dir(fresh.path()).unwrap(),
    }
    Scene::new(op, 0).world(move || assert!(!fresh.path().exists()))
}

/// Makes a directory where nothing is, or where one is.
pub fn mkdirat(situation: Situation, _: Mode) -> Scene {
    let fresh = Fresh::new();
    let op = |path: *const libc::c_char| Op::MkdirAt { dir: libc::AT_FDCWD, path, mode: 0o700 };
    if situation == Situation::Error {
        return Scene::new(op(c"/".as_ptr()), -libc::EEXIST);
    }
    Scene::new(op(fresh.0.as_ptr()), 0).world(move || assert!(fresh.path().is_dir()))
}

pub fn fsync(situation: Situation, mode: Mode) -> Scene {
    let data_only = mode == Mode::Nonblocking; // both forms, one for each mode
    match situation {
        Situation::Error => {
            let (from, to) = fds::pipe(mode);
            Scene::new(Op::Fsync { fd: from.as_raw_fd(), data_only }, -libc::EINVAL).on([from, to])
        }
        _ => {
            let file = fds::file(b"polyphony");
            Scene::new(Op::Fsync { fd: file.as_raw_fd(), data_only }, 0).on([file])
        }
    }
}

pub fn close(situation: Situation, mode: Mode) -> Scene {
    let (from, to) = fds::pipe(mode);
    match situation {
        Situation::Error => Scene::new(Op::Close { fd: 1 << 19 }, -libc::EBADF).on([from, to]),
        _ => Scene::new(Op::Close { fd: to.into_raw_fd() }, 0)
            // Nobody can write any more.
            .world(move || assert_eq!(rest_of(from), b"")),
    }
}

fn rest_of(fd: OwnedFd) -> Vec<u8> {
    fds::set_mode(&fd, Mode::Blocking);
    let mut rest = Vec::new();
    std::io::Read::read_to_end(&mut std::fs::File::from(fd), &mut rest).unwrap();
    rest
}

pub fn shutdown(situation: Situation, mode: Mode) -> Scene {
    match situation {
        Situation::Error => {
            let (from, to) = fds::pipe(mode);
            Scene::new(Op::Shutdown { fd: to.as_raw_fd(), how: libc::SHUT_WR }, -libc::ENOTSOCK)
                .on([from, to])
        }
        _ => {
            let (here, there) = fds::socket_pair(libc::SOCK_STREAM, mode);
            Scene::new(Op::Shutdown { fd: here.as_raw_fd(), how: libc::SHUT_WR }, 0)
                .world(move || assert_eq!(rest_of(there), b""))
                .on([here])
        }
    }
}

pub fn socket(situation: Situation, _: Mode) -> Scene {
    let op = |domain| Op::Socket { domain, kind: libc::SOCK_STREAM | libc::SOCK_CLOEXEC, protocol: 0 };
    match situation {
        Situation::Error => Scene::new(op(4095), -libc::EAFNOSUPPORT),
        _ => Scene::making_descriptor(op(libc::AF_INET6)),
    }
}

pub fn nop(_: Situation, _: Mode) -> Scene {
    Scene::new(Op::Nop, 0)
}

pub fn poll_in(situation: Situation, mode: Mode) -> Scene {
    let (from, to) = fds::pipe(mode);
    let op = Op::Poll { fd: from.as_raw_fd(), events: libc::POLLIN as u32 };
    match situation {
        Situation::End => Scene::new(op, i32::from(libc::POLLHUP)).act(move || drop(to)),
        Situation::Error => Scene::new(Op::Poll { fd: -1, events: 1 }, -libc::EBADF),
        _ => {
            let to_keep = to.try_clone().unwrap();
            Scene::new(op, i32::from(libc::POLLIN)).act(move || fds::write(&to, b"!")).on([to_keep])
        }
    }
    .on([from])
}

pub fn poll_many(situation: Situation, mode: Mode) -> Scene {
    let scene = poll_in(situation, mode);
    let fd = scene.op.fd().expect("a poll has a descriptor");
    Scene { op: Op::PollMany { fd, events: libc::POLLIN as u32 }, ..scene }
}

pub fn poll_out(situation: Situation, mode: Mode) -> Scene {
    let (from, to) = fds::full_pipe(mode);
    let op = Op::Poll { fd: to.as_raw_fd(), events: libc::POLLOUT as u32 };
    match situation {
        Situation::End => Scene::new(op, i32::from(libc::POLLERR)).act(move || drop(from)),
        _ => {
            let keep = from.try_clone().unwrap();
            Scene::new(op, i32::from(libc::POLLOUT)).act(move || drop(fds::read(&from, 4096))).on([keep])
        }
    }
    .on([to])
}

pub fn poll_file(_: Situation, _: Mode) -> Scene {
    let file = fds::file(b"");
    Scene::new(Op::Poll { fd: file.as_raw_fd(), events: libc::POLLIN as u32 }, i32::from(libc::POLLIN))
        .on([file])
}

fn transferring(situation: Situation, mode: Mode, op: impl Fn(RawFd, RawFd) -> Op, moves: bool) -> Scene {
    let ((from, feed), (drain, to)) = (fds::pipe(mode), fds::pipe(mode));
    match situation {
        Situation::End => {
            Scene::new(op(from.as_raw_fd(), to.as_raw_fd()), 0).act(move || drop(feed)).on([drain])
        }
        Situation::Error => {
            let file = fds::file(b"");
            let scene = Scene::new(op(from.as_raw_fd(), file.as_raw_fd()), -libc::EBADF);
            Scene { op: op(-1, to.as_raw_fd()), ..scene }.on([file, drain, feed])
        }
        _ => {
            let source = from.try_clone().unwrap();
            Scene::new(op(from.as_raw_fd(), to.as_raw_fd()), 5)
                .act(move || fds::write(&feed, b"hello"))
                .world(move || {
                    assert_eq!(fds::read(&drain, 5), b"hello");
                    if !moves {
                        assert_eq!(fds::read(&source, 5), b"hello", "a tee leaves the bytes");
                    }
                })
        }
    }
    .on([from, to])
}

pub fn splice(situation: Situation, mode: Mode) -> Scene {
    let op = |from, to| {
        let (from_offset, to_offset) = (POSITION, POSITION);
        Op::Splice { from, from_offset, to, to_offset, len: 64, flags: 0 }
    };
    transferring(situation, mode, op, true)
}

pub fn tee(situation: Situation, mode: Mode) -> Scene {
    transferring(situation, mode, |from, to| Op::Tee { from, to, len: 64, flags: 0 }, false)
}

pub fn splice_file(situation: Situation, mode: Mode) -> Scene {
    let file = fds::file(if situation == Situation::End { b"" } else { b"polyphony" });
    let (drain, to) = fds::pipe(mode);
    let (from, to_fd) = (file.as_raw_fd(), to.as_raw_fd());
    let op = Op::Splice { from, from_offset: 4, to: to_fd, to_offset: POSITION, len: 64, flags: 0 };
    let scene = Scene::new(op, if situation == Situation::End { 0 } else { 5 }).on([file, to]);
    match situation {
        Situation::End => scene.on([drain]),
        _ => scene.world(move || assert_eq!(fds::read(&drain, 5), b"phony")),
    }
}

pub fn splice_to_socket(_: Situation, mode: Mode) -> Scene {
    let (from, feed) = fds::pipe(mode);
    let (here, there) = fds::socket_pair(libc::SOCK_STREAM, mode);
    let (from_fd, to) = (from.as_raw_fd(), here.as_raw_fd());
    let op = Op::Splice { from: from_fd, from_offset: POSITION, to, to_offset: POSITION, len: 64, flags: 0 };
    Scene::new(op, 5)
        .act(move || fds::write(&feed, b"hello"))
        .world(move || assert_eq!(fds::read(&there, 5), b"hello"))
        .on([from, here])
}

pub fn timeout(_: Situation, mode: Mode) -> Scene {
    let span = if mode == Mode::Blocking { Duration::ZERO } else { Duration::from_millis(2) };
    Scene::new(Op::Timeout { deadline: Time::monotonic() + span }, 0)
}

/// One that nobody lives to see.
pub fn late_timeout(_: Situation, _: Mode) -> Scene {
    Scene::new(Op::Timeout { deadline: Time::monotonic() + Duration::from_secs(1 << 20) }, 0)
}

pub fn offload(_: Situation, _: Mode) -> Scene {
    unsafe fn count(calls: *mut ()) {
        // SAFETY: the counter lives for ever.
        unsafe { &*calls.cast::<AtomicU32>() }.fetch_add(1, Ordering::SeqCst);
    }
    let calls: &AtomicU32 = forever(AtomicU32::new(0));
    let argument = ptr::from_ref(calls).cast_mut().cast();
    Scene::new(Op::Offload { function: count, argument }, 0)
        .world(move || assert_eq!(calls.load(Ordering::SeqCst), 1))
}

pub fn waitid(situation: Situation, _: Mode) -> Scene {
    // SAFETY: plain data.
    let info = ptr::from_mut(forever(unsafe { std::mem::zeroed::<libc::siginfo_t>() }));
    let op = |id| Op::WaitId { kind: libc::P_PID, id, info, options: libc::WEXITED };
    if situation == Situation::Error {
        return Scene::new(op(1), -libc::ECHILD);
    }
    #[expect(clippy::zombie_processes, reason = "the operation waits for it")]
    let mut child =
        Command::new("sh").args(["-c", "read line; exit 7"]).stdin(Stdio::piped()).spawn().unwrap();
    let input = child.stdin.take();
    let pid = child.id();
    Scene::new(op(pid), 0).act(move || drop(input)).world(move || {
        // SAFETY: waitid filled it in.
        assert_eq!(unsafe { ((*info).si_pid() as u32, (*info).si_status()) }, (pid, 7));
    })
}
