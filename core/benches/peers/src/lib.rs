//! What other runtimes cost. Each program in `bin` measures one of them, the way Polyphony's own row does.

use std::net::TcpListener;

/// A listener on the loopback, whose port the first line of output says.
pub fn listen() -> TcpListener {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    println!("listening on port {}", listener.local_addr().expect("a bound socket").port());
    listener
}
