use std::{net::TcpListener, os::fd::AsRawFd};

use polyphony_core::{
    native::{self, Errno, KeepErrno, io, spawn, yield_now},
    op::Op,
};

use crate::{EBADF, close_both, in_a_fiber, pair, pipe};

#[test]
fn a_read_suspends_the_fiber_until_another_writes() {
    let heard = in_a_fiber(|| {
        let (read, write) = pipe();
        let reader = spawn(move || {
            let mut buf = [0; 16];
            let count = io::read(read, &mut buf).unwrap();
            buf[..count].to_vec()
        })
        .unwrap();
        yield_now().unwrap();
        io::write_all(write, b"hello").unwrap();
        let heard = reader.join().unwrap();
        close_both(read, write);
        heard
    });
    assert_eq!(heard, b"hello");
}

#[test]
fn a_server_and_its_clients_share_one_thread() {
    in_a_fiber(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = listener.as_raw_fd();
        let clients: Vec<_> = (0..32u8)
            .map(|n| {
                spawn(move || {
                    let socket =
                        io::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0).unwrap();
                    connect(socket, address.port()).unwrap();
                    for round in 0..50u8 {
                        let sent = [n ^ round; 64];
                        assert_eq!(io::send(socket, &sent, 0), Ok(64));
                        let mut heard = [0; 64];
                        assert_eq!(io::recv(socket, &mut heard, libc::MSG_WAITALL), Ok(64));
                        assert_eq!(heard, sent);
                    }
                    io::close(socket).unwrap();
                })
                .unwrap()
            })
            .collect();
        let echoes: Vec<_> = (0..32)
            .map(|_| {
                let socket = io::accept(server, libc::SOCK_CLOEXEC).unwrap();
                spawn(move || echo(socket)).unwrap()
            })
            .collect();
        clients.into_iter().chain(echoes).for_each(|fiber| fiber.join().unwrap());
    });
}

fn echo(socket: i32) {
    let mut buf = [0; 256];
    while let Ok(count @ 1..) = io::recv(socket, &mut buf, 0) {
        assert_eq!(io::send(socket, &buf[..count], 0), Ok(count));
    }
    io::close(socket).unwrap();
}

fn connect(socket: i32, port: u16) -> Result<i32, Errno> {
    let address = libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes([127, 0, 0, 1]) },
        sin_zero: [0; 8],
    };
    let op = Op::Connect { fd: socket, addr: (&raw const address).cast(), len: size_of_val(&address) as u32 };
    // SAFETY: the address lives until the call returns.
    Errno::check(unsafe { native::perform(&op) })
}

#[test]
fn closing_a_descriptor_ends_the_calls_on_it() {
    in_a_fiber(|| {
        let (mine, theirs) = pair();
        let readers = [(); 3].map(|()| spawn(move || io::recv(mine, &mut [0; 8], 0)).unwrap());
        yield_now().unwrap();
        io::close(mine).unwrap();
        assert_eq!(readers.map(|reader| reader.join()), [Ok(Err(EBADF)); 3]);
        assert_eq!(io::recv(theirs, &mut [0; 8], 0), Ok(0), "the other side was not told");
        io::close(theirs).unwrap();
    });
}

#[test]
fn a_bad_descriptor_is_an_error() {
    in_a_fiber(|| {
        assert_eq!(io::read(-1, &mut [0; 1]), Err(EBADF));
        assert_eq!(io::write(1_000_000, &[0; 1]), Err(EBADF));
        assert_eq!(io::close(-1), Err(EBADF));
    });
}

#[test]
fn a_descriptor_that_does_not_block_suspends_the_fiber_all_the_same() {
    in_a_fiber(|| {
        let (read, write) = pipe();
        // SAFETY: it takes numbers.
        assert_eq!(unsafe { libc::fcntl(read, libc::F_SETFL, libc::O_NONBLOCK) }, 0);
        let reader = spawn(move || io::read(read, &mut [0; 8])).unwrap();
        (0..3).for_each(|_| yield_now().unwrap());
        io::write_all(write, b"late").unwrap();
        assert_eq!(reader.join(), Ok(Ok(4)));
        close_both(read, write);
    });
}

#[test]
fn outside_a_fiber_a_call_is_the_plain_system_call_and_leaves_errno_alone() {
    let (read, write) = pipe();
    // SAFETY: this thread's errno.
    unsafe { *libc::__errno_location() = 4711 };
    assert_eq!(io::write(write, b"ab"), Ok(2));
    assert_eq!(io::read(read, &mut [0; 8]), Ok(2));
    assert_eq!(io::read(-1, &mut [0; 8]), Err(EBADF));
    close_both(read, write);
    // SAFETY: this thread's errno.
    assert_eq!(unsafe { *libc::__errno_location() }, 4711);
    drop(KeepErrno::new());
}

#[test]
fn a_hundred_thousand_bytes_cross_a_pipe_unharmed() {
    in_a_fiber(|| {
        let (read, write) = pipe();
        let sent: Vec<u8> = (0..100_000u32).map(|n| ((n * 31) >> 3) as u8).collect();
        let expected = sent.clone();
        let writer = spawn(move || {
            io::write_all(write, &sent).unwrap();
            io::close(write).unwrap();
        })
        .unwrap();
        let mut heard = Vec::new();
        let mut buf = [0; 4000];
        while let count @ 1.. = io::read(read, &mut buf).unwrap() {
            heard.extend_from_slice(&buf[..count]);
        }
        writer.join().unwrap();
        assert!(heard == expected);
        io::close(read).unwrap();
    });
}

#[test]
fn what_tells_more_than_one_number_is_refused() {
    in_a_fiber(|| {
        let (read, write) = pipe();
        io::write_all(write, b"!").unwrap();
        let ops = [
            Op::ReadPooled { fd: read, len: 1 },
            Op::RecvPooled { fd: read, len: 1, flags: 0 },
            Op::AcceptMany { fd: read, flags: 0 },
            Op::PollMany { fd: read, events: libc::POLLIN as u32 },
        ];
        // SAFETY: they point to nothing.
        assert_eq!(ops.map(|op| unsafe { native::perform(&op) }), [-libc::EINVAL; 4]);
        close_both(read, write);
    });
}
