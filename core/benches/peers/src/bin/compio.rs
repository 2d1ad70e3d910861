//! compio: one thread, over io_uring. It has no channel and no lock of its own.

use std::{
    future::Future,
    rc::Rc,
    time::{Duration, Instant},
};

use compio::{
    BufResult,
    buf::{IntoInner, IoBuf},
    fs::File,
    io::{AsyncRead, AsyncReadAt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::{JoinHandle, Runtime, spawn},
    time::sleep,
};
use polyphony_peers::{Clock, Numbers, asked, file, listen, size, task_rows, yield_once as yield_now};

fn main() {
    let row = asked().remove(0);
    let runtime = Runtime::new().expect("a runtime");
    println!("{}", runtime.block_on(async { joined(spawn(measure(row))).await }));
}

type Task<T> = JoinHandle<T>;

async fn joined<T>(task: Task<T>) -> T {
    task.await.unwrap()
}

async fn sleep_until(due: Instant) {
    compio::time::sleep_until(due).await;
}

async fn in_time(span: Duration, future: impl Future<Output = ()>) {
    compio::time::timeout(span, future).await.unwrap();
}

task_rows!();

async fn others(row: &str) -> f64 {
    let clock = Clock::start();
    match row {
        "file reads" => {
            reads().await;
            clock.per(size::READERS.0 * size::READERS.1)
        }
        "echo" => serve_all().await,
        _ => panic!("no such row: {row}"),
    }
}

async fn reads() {
    let (path, pages) = file();
    let file = Rc::new(File::open(path).await.unwrap());
    let (tasks, each) = size::READERS;
    let reads = |number, file: Rc<File>| async move {
        let mut numbers = Numbers::seeded(number);
        let mut page = vec![0; 4096];
        for _ in 0..each {
            page.clear();
            let BufResult(read, filled) = file.read_at(page, numbers.below(pages) * 4096).await;
            assert_eq!(read.unwrap(), 4096);
            page = filled;
        }
    };
    all((0..tasks).map(|number| spawn(reads(number, file.clone()))).collect()).await;
}

async fn serve_all() -> ! {
    let listener = TcpListener::from_std(listen()).expect("a listener");
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        spawn(serve(stream)).detach();
    }
}

async fn serve(mut stream: TcpStream) {
    let mut bytes = Vec::with_capacity(1024);
    loop {
        let BufResult(read, filled) = stream.read(bytes).await;
        let Ok(count @ 1..) = read else { return };
        let BufResult(written, sent) = stream.write_all(filled.slice(..count)).await;
        if written.is_err() {
            return;
        }
        bytes = sent.into_inner();
        bytes.clear();
    }
}
