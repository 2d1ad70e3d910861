//! A TCP echo server on may, one worker.
//!
//!     echo_may          the first line says which port the system chose

use std::{
    io::{Read, Write},
    net::SocketAddr,
    os::fd::{FromRawFd, IntoRawFd},
};

use may::{
    config, coroutine, go,
    net::{TcpListener, TcpStream},
};

fn main() {
    config().set_workers(1);
    let listener: std::net::TcpListener = polyphony_peers::listen();
    // SAFETY: the descriptor is a listener's and nobody else's.
    let listener = unsafe { TcpListener::from_raw_fd(listener.into_raw_fd()) };
    let accepting = go!(move || {
        loop {
            let (stream, _): (TcpStream, SocketAddr) = listener.accept().expect("a connection");
            go!(move || serve(stream));
        }
    });
    let accepting: coroutine::JoinHandle<()> = accepting;
    accepting.join().expect("it goes on for ever");
}

fn serve(mut stream: TcpStream) {
    let mut bytes = [0; 1024];
    while let Ok(count @ 1..) = stream.read(&mut bytes) {
        if stream.write_all(&bytes[..count]).is_err() {
            return;
        }
    }
}
