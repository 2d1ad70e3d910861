//! tokio-uring: tokio's current-thread runtime with an io_uring beside it. What has nothing to do with the ring is tokio's
//! own, and measured there.

use std::{io::Result, rc::Rc};

use polyphony_peers::{Clock, Numbers, asked, file, listen, size};
use tokio_uring::{
    fs::File,
    net::{TcpListener, TcpStream},
    spawn,
};

fn main() {
    let row = asked().remove(0);
    let figure = tokio_uring::start(async move {
        match row.as_str() {
            "file reads" => reads().await,
            "echo" => serve_all().await,
            _ => panic!("no such row: {row}"),
        }
    });
    println!("{}", figure.unwrap());
}

async fn reads() -> Result<f64> {
    let (path, pages) = file();
    let file = Rc::new(File::open(path).await?);
    let (tasks, each) = size::READERS;
    let reads = |number, file: Rc<File>| async move {
        let mut numbers = Numbers::seeded(number);
        let mut page = vec![0; 4096];
        for _ in 0..each {
            let (read, filled) = file.read_at(page, numbers.below(pages) * 4096).await;
            assert_eq!(read.unwrap(), 4096);
            page = filled;
        }
    };
    let clock = Clock::start();
    let tasks: Vec<_> = (0..tasks).map(|number| spawn(reads(number, file.clone()))).collect();
    for task in tasks {
        task.await?;
    }
    Ok(clock.per(size::READERS.0 * each))
}

async fn serve_all() -> Result<f64> {
    let listener = TcpListener::from_std(listen());
    loop {
        let (stream, _) = listener.accept().await?;
        spawn(serve(stream));
    }
}

async fn serve(stream: TcpStream) {
    let mut bytes = vec![0; 1024];
    loop {
        let (read, filled) = stream.read(bytes).await;
        let Ok(count @ 1..) = read else { return };
        use tokio_uring::buf::BoundedBuf;
        let (written, sent) = stream.write_all(filled.slice(..count)).await;
        if written.is_err() {
            return;
        }
        bytes = sent.into_inner();
    }
}
