//! A TCP echo server on monoio, one thread, over io_uring.
//!
//!     echo_monoio          the first line says which port the system chose

use monoio::{
    IoUringDriver, RuntimeBuilder,
    io::{AsyncReadRent, AsyncWriteRentExt},
    net::{TcpListener, TcpStream},
};

fn main() {
    let listener = polyphony_peers::listen();
    let mut runtime = RuntimeBuilder::<IoUringDriver>::new().with_entries(256).build().expect("a runtime");
    runtime.block_on(async {
        let listener = TcpListener::from_std(listener).expect("a listener");
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            monoio::spawn(serve(stream));
        }
    });
}

async fn serve(mut stream: TcpStream) {
    let mut bytes = Vec::with_capacity(1024);
    loop {
        let (read, filled) = stream.read(bytes).await;
        let Ok(1..) = read else { return };
        let (written, sent) = stream.write_all(filled).await;
        if written.is_err() {
            return;
        }
        bytes = sent;
        bytes.clear();
    }
}
