//! tokio: `current`, a current-thread runtime, or `multi`, a multi-thread one with one worker or, where the row is about
//! two, with two.

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use polyphony_peers::{Clock, Numbers, asked, file, listen, pipes, resident, size, task_rows};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, Interest, unix::AsyncFd},
    net::{TcpListener, TcpStream},
    runtime::{Builder, Runtime},
    sync::{
        Mutex,
        mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    },
    task::{JoinHandle, spawn, yield_now},
    time::sleep,
};

fn main() {
    let words = asked();
    let (flavour, row) = (words[0].as_str(), words[1].clone());
    let runtime = match flavour {
        "current" => current(),
        "multi" => {
            let workers = if row.ends_with("two workers") { 2 } else { 1 };
            Builder::new_multi_thread().worker_threads(workers).enable_all().build().expect("a runtime")
        }
        _ => panic!("usage: tokio current|multi ROW"),
    };
    // In a task, because `block_on`'s own future is none of the scheduler's.
    println!("{}", runtime.block_on(async { spawn(measure(row)).await.unwrap() }));
}

fn current() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

type Task<T> = JoinHandle<T>;

async fn joined<T>(task: Task<T>) -> T {
    task.await.unwrap()
}

async fn sleep_until(due: Instant) {
    tokio::time::sleep_until(due.into()).await;
}

async fn in_time(span: Duration, future: impl Future<Output = ()>) {
    tokio::time::timeout(span, future).await.unwrap();
}

task_rows!();

async fn others(row: &str) -> f64 {
    let clock = Clock::start();
    match row {
        "channel" | "channel, of two workers" => {
            channel().await;
            clock.per(size::ROUNDS)
        }
        "channel, across two workers" => between_threads(),
        "mutex" => {
            locks().await;
            clock.per(size::LOCKERS.0 * size::LOCKERS.1)
        }
        "file reads" => {
            reads().await;
            clock.per(size::READERS.0 * size::READERS.1)
        }
        "parked" => parked().await,
        "echo" => serve_all().await,
        _ => panic!("no such row: {row}"),
    }
}

/// Only one item is under way at a time, so a bound would never be felt, and without one the channel is faster.
async fn channel() {
    let (there, inbound) = unbounded_channel();
    let (outbound, back) = unbounded_channel();
    let other = spawn(pass_on(inbound, outbound));
    there_and_back(there, back, size::ROUNDS).await;
    other.await.unwrap();
}

async fn there_and_back(there: UnboundedSender<u64>, mut back: UnboundedReceiver<u64>, rounds: u64) {
    for n in 0..rounds {
        there.send(n).unwrap();
        assert_eq!(back.recv().await, Some(n));
    }
}

async fn pass_on(mut inbound: UnboundedReceiver<u64>, outbound: UnboundedSender<u64>) {
    while let Some(item) = inbound.recv().await {
        outbound.send(item).unwrap();
    }
}

/// A current-thread runtime each side.
fn between_threads() -> f64 {
    let (there, inbound) = unbounded_channel();
    let (outbound, back) = unbounded_channel();
    let clock = Clock::start();
    let other = std::thread::spawn(|| current().block_on(pass_on(inbound, outbound)));
    let here = std::thread::spawn(|| current().block_on(there_and_back(there, back, size::FAR_ROUNDS)));
    here.join().unwrap();
    other.join().unwrap();
    clock.per(size::FAR_ROUNDS)
}

async fn locks() {
    let (tasks, each) = size::LOCKERS;
    let mutex = Arc::new(Mutex::new(()));
    let locks = |mutex: Arc<Mutex<()>>| async move {
        for _ in 0..each {
            let guard = mutex.lock().await;
            yield_now().await;
            drop(guard);
        }
    };
    all((0..tasks).map(|_| spawn(locks(mutex.clone()))).collect()).await;
}

/// tokio reads files on its pool of threads.
async fn reads() {
    let (path, pages) = file();
    let file = Arc::new(std::fs::File::open(path).unwrap());
    let (tasks, each) = size::READERS;
    let reads = |number, file: Arc<std::fs::File>| async move {
        let mut numbers = Numbers::seeded(number);
        let mut page = vec![0; 4096];
        for _ in 0..each {
            let (file, at) = (file.clone(), numbers.below(pages) * 4096);
            page = tokio::task::spawn_blocking(move || {
                std::os::unix::fs::FileExt::read_exact_at(&*file, &mut page, at).unwrap();
                page
            })
            .await
            .unwrap();
        }
    };
    all((0..tasks).map(|number| spawn(reads(number, file.clone()))).collect()).await;
}

async fn parked() -> f64 {
    let (tasks, pipes) = (size::PARKED.0, self::pipes(size::PARKED.1));
    let register = |ends: &[i32; 2]| {
        // SAFETY: the descriptor lives as long as the process.
        Arc::new(unsafe { AsyncFd::register_with_interest(ends[0], Interest::READABLE) }.unwrap())
    };
    let readers: Vec<Arc<AsyncFd<i32>>> = pipes.iter().map(register).collect();
    let before = resident();
    let read = |reader: Arc<AsyncFd<i32>>| async move {
        let mut byte = 0u8;
        loop {
            let mut guard = reader.readable().await.unwrap();
            // SAFETY: room for a byte.
            if unsafe { libc::read(*reader.get_ref(), (&raw mut byte).cast(), 1) } == 1 {
                return;
            }
            guard.clear_ready();
        }
    };
    let waiting: Vec<_> = (0..tasks).map(|n| spawn(read(readers[n % readers.len()].clone()))).collect();
    for _ in 0..3 {
        yield_now().await;
    }
    let each = (resident() - before) as f64 / tasks as f64;
    drop(waiting);
    each
}

async fn serve_all() -> ! {
    let listener = listen();
    listener.set_nonblocking(true).expect("a descriptor");
    let listener = TcpListener::from_std(listener).expect("a listener");
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        spawn(serve(stream));
    }
}

async fn serve(mut stream: TcpStream) {
    let mut bytes = [0; 1024];
    while let Ok(count @ 1..) = stream.read(&mut bytes).await {
        if stream.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}
