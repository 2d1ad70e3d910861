//! monoio: one thread, over io_uring. It has no channel and no lock of its own.

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use monoio::{
    IoUringDriver, RuntimeBuilder,
    fs::File,
    io::{AsyncReadRent, AsyncWriteRentExt},
    net::{TcpListener, TcpStream},
    spawn,
    task::JoinHandle,
    time::sleep,
};
use polyphony_peers::{Clock, Numbers, asked, file, listen, size, task_rows, yield_once as yield_now};

fn main() {
    let row = asked().remove(0);
    let mut runtime =
        RuntimeBuilder::<IoUringDriver>::new().with_entries(256).enable_timer().build().expect("a runtime");
    println!("{}", runtime.block_on(async { spawn(measure(row)).await }));
}

type Task<T> = JoinHandle<T>;

async fn joined<T>(task: Task<T>) -> T {
    task.await
}

async fn sleep_until(due: Instant) {
    monoio::time::sleep_until(due.into()).await;
}

async fn in_time(span: Duration, future: impl Future<Output = ()>) {
    monoio::time::timeout(span, future).await.unwrap();
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
            let (read, filled) = file.read_at(page, numbers.below(pages) * 4096).await;
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
        spawn(serve(stream));
    }
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
