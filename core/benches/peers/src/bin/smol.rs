//! smol: a `LocalExecutor`, one thread; two of them where the row is about two.

use std::{
    future::Future,
    rc::Rc,
    time::{Duration, Instant},
};

use polyphony_peers::{Clock, Numbers, asked, file, listen, pipes, resident, size, task_rows};
use smol::{
    Async, LocalExecutor, Timer,
    channel::{Receiver, Sender, unbounded},
    future::{FutureExt, yield_now},
    io::{AsyncReadExt, AsyncWriteExt},
    lock::Mutex,
    net::TcpStream,
};

fn main() {
    let row = asked().remove(0);
    println!("{}", run(async { spawn(measure(row)).await }));
}

fn run<T>(future: impl Future<Output = T>) -> T {
    EXECUTOR.with(|executor| smol::block_on(executor.run(future)))
}

thread_local! {
    static EXECUTOR: &'static LocalExecutor<'static> = Box::leak(Box::new(LocalExecutor::new()));
}

type Task<T> = smol::Task<T>;

fn spawn<T: 'static>(future: impl Future<Output = T> + 'static) -> Task<T> {
    EXECUTOR.with(|executor| executor.spawn(future))
}

async fn joined<T>(task: Task<T>) -> T {
    task.await
}

async fn sleep(span: Duration) {
    Timer::after(span).await;
}

async fn sleep_until(due: Instant) {
    Timer::at(due).await;
}

async fn in_time(span: Duration, future: impl Future<Output = ()>) {
    let late = async {
        Timer::after(span).await;
        panic!("the timeout was reached");
    };
    future.or(late).await;
}

task_rows!();

async fn others(row: &str) -> f64 {
    let clock = Clock::start();
    match row {
        "channel" => {
            let ((there, inbound), (outbound, back)) = (unbounded(), unbounded());
            let other = spawn(pass_on(inbound, outbound));
            there_and_back(there, back, size::ROUNDS).await;
            other.await;
            clock.per(size::ROUNDS)
        }
        "channel, across two workers" => {
            let ((there, inbound), (outbound, back)) = (unbounded(), unbounded());
            let other = std::thread::spawn(|| run(pass_on(inbound, outbound)));
            there_and_back(there, back, size::FAR_ROUNDS).await;
            other.join().unwrap();
            clock.per(size::FAR_ROUNDS)
        }
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

async fn there_and_back(there: Sender<u64>, back: Receiver<u64>, rounds: u64) {
    for n in 0..rounds {
        there.send(n).await.unwrap();
        assert_eq!(back.recv().await, Ok(n));
    }
}

async fn pass_on(inbound: Receiver<u64>, outbound: Sender<u64>) {
    while let Ok(item) = inbound.recv().await {
        outbound.send(item).await.unwrap();
    }
}

async fn locks() {
    let (tasks, each) = size::LOCKERS;
    let mutex = Rc::new(Mutex::new(()));
    let locks = |mutex: Rc<Mutex<()>>| async move {
        for _ in 0..each {
            let guard = mutex.lock().await;
            yield_now().await;
            drop(guard);
        }
    };
    all((0..tasks).map(|_| spawn(locks(mutex.clone()))).collect()).await;
}

/// smol reads files on its pool of threads.
async fn reads() {
    let (path, pages) = file();
    let file = std::sync::Arc::new(std::fs::File::open(path).unwrap());
    let (tasks, each) = size::READERS;
    let reads = |number, file: std::sync::Arc<std::fs::File>| async move {
        let mut numbers = Numbers::seeded(number);
        let mut page = vec![0; 4096];
        for _ in 0..each {
            let (file, at) = (file.clone(), numbers.below(pages) * 4096);
            page = smol::unblock(move || {
                std::os::unix::fs::FileExt::read_exact_at(&*file, &mut page, at).unwrap();
                page
            })
            .await;
        }
    };
    all((0..tasks).map(|number| spawn(reads(number, file.clone()))).collect()).await;
}

async fn parked() -> f64 {
    let (tasks, pipes) = (size::PARKED.0, self::pipes(size::PARKED.1));
    let register = |ends: &[i32; 2]| {
        // SAFETY: the descriptor lives as long as the process.
        let pipe = unsafe { std::os::fd::BorrowedFd::borrow_raw(ends[0]) };
        Rc::new(Async::new_nonblocking(pipe).unwrap())
    };
    let readers: Vec<_> = pipes.iter().map(register).collect();
    let before = resident();
    let waiting: Vec<Task<()>> = (0..tasks)
        .map(|n| {
            let reader = readers[n % readers.len()].clone();
            spawn(async move { reader.readable().await.unwrap() })
        })
        .collect();
    for _ in 0..3 {
        yield_now().await;
    }
    let each = (resident() - before) as f64 / tasks as f64;
    drop(waiting);
    each
}

async fn serve_all() -> ! {
    let listener = Async::<std::net::TcpListener>::new(listen()).expect("a listener");
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        spawn(serve(stream.into())).detach();
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
