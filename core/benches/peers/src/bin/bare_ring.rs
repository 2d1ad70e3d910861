//! The barest TCP echo server over io_uring: one thread, one ring, a state a connection, nothing between.
//!
//!     bare_ring echo               the first line says which port the system chose
//!
//! It does with its operations what Polyphony's echo server does: receive, send what came, receive again. One
//! `io_uring_enter` a turn submits everybody's entries and waits. It ends when it is killed.

use std::{
    net::TcpListener,
    os::fd::{AsRawFd, RawFd},
};

use io_uring::{IoUring, cqueue, opcode, squeue, types::Fd};
use polyphony_peers::listen;

/// One connection and the operation that it is at.
struct Connection {
    fd: RawFd,
    at: At,
    bytes: Box<[u8; 1024]>,
}

#[derive(Clone, Copy)]
enum At {
    Receiving,
    Sending { from: usize, to: usize },
}

const ACCEPT: u64 = u64::MAX;

fn main() {
    let listener = listen();
    let mut builder = IoUring::builder();
    builder.setup_cqsize(4096).setup_submit_all().setup_single_issuer().setup_defer_taskrun();
    let mut ring = builder.build(256).expect("a ring");
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut completions: Vec<cqueue::Entry> = Vec::new();
    push(&mut ring, &accept(&listener));
    loop {
        ring.submit_and_wait(1).expect("the ring works");
        completions.extend(ring.completion());
        for completion in completions.drain(..) {
            let (number, result) = (completion.user_data(), completion.result());
            let next = match number {
                ACCEPT => {
                    let number = connections.len();
                    let connection = Connection::new(result);
                    push(&mut ring, &accept(&listener));
                    connections.push(Some(connection));
                    connections[number].as_ref().map(|connection| connection.entry(number))
                }
                number => go_on(&mut connections, number as usize, result),
            };
            if let Some(entry) = next {
                push(&mut ring, &entry);
            }
        }
    }
}

/// What a connection does after a completion; nothing where it has ended.
fn go_on(connections: &mut [Option<Connection>], number: usize, result: i32) -> Option<squeue::Entry> {
    let connection = connections[number].as_mut().expect("it has an operation in flight");
    if result <= 0 {
        // SAFETY: the descriptor is this connection's, and nothing of it is in flight any more.
        unsafe { libc::close(connection.fd) };
        connections[number] = None;
        return None;
    }
    connection.at = match connection.at {
        At::Receiving => At::Sending { from: 0, to: result as usize },
        At::Sending { from, to } if from + (result as usize) < to => {
            At::Sending { from: from + result as usize, to }
        }
        At::Sending { .. } => At::Receiving,
    };
    Some(connection.entry(number))
}

impl Connection {
    fn new(fd: RawFd) -> Self {
        assert!(fd >= 0, "accept: {}", std::io::Error::from_raw_os_error(-fd));
        Connection { fd, at: At::Receiving, bytes: Box::new([0; 1024]) }
    }

    fn entry(&self, number: usize) -> squeue::Entry {
        let (fd, bytes) = (Fd(self.fd), self.bytes.as_ptr().cast_mut());
        let entry = match self.at {
            At::Receiving => opcode::Recv::new(fd, bytes, self.bytes.len() as u32).build(),
            At::Sending { from, to } => {
                let rest = &self.bytes[from..to];
                opcode::Send::new(fd, rest.as_ptr(), rest.len() as u32).flags(libc::MSG_NOSIGNAL).build()
            }
        };
        entry.user_data(number as u64)
    }
}

fn accept(listener: &TcpListener) -> squeue::Entry {
    let (addr, len) = (std::ptr::null_mut(), std::ptr::null_mut());
    opcode::Accept::new(Fd(listener.as_raw_fd()), addr, len)
        .flags(libc::SOCK_CLOEXEC)
        .build()
        .user_data(ACCEPT)
}

fn push(ring: &mut IoUring, entry: &squeue::Entry) {
    loop {
        // SAFETY: a connection lives, with its bytes, until its operation has completed.
        if unsafe { ring.submission().push(entry) }.is_ok() {
            return;
        }
        ring.submit().expect("the ring works");
    }
}
