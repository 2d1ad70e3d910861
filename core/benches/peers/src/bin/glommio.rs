//! glommio: one executor, over io_uring; two where the row is about two.

use std::{
    future::Future,
    os::fd::{FromRawFd, IntoRawFd},
    rc::Rc,
    time::{Duration, Instant},
};

use futures_lite::{AsyncReadExt, AsyncWriteExt};
use glommio::{
    LocalExecutorBuilder, Placement,
    channels::{local_channel, shared_channel},
    io::BufferedFile,
    net::{TcpListener, TcpStream},
    spawn_local as spawn,
    sync::RwLock,
    timer::sleep,
};
use polyphony_peers::{Clock, Numbers, asked, file, listen, size, task_rows, yield_once as yield_now};

fn main() {
    let row = asked().remove(0);
    println!("{}", executor().spawn(|| async { spawn(measure(row)).await }).unwrap().join().unwrap());
}

fn executor() -> LocalExecutorBuilder {
    LocalExecutorBuilder::new(Placement::Unbound)
}

type Task<T> = glommio::Task<T>;

async fn joined<T>(task: Task<T>) -> T {
    task.await
}

async fn sleep_until(due: Instant) {
    sleep(due.saturating_duration_since(Instant::now())).await;
}

async fn in_time(span: Duration, future: impl Future<Output = ()>) {
    let future = async {
        future.await;
        Ok(())
    };
    glommio::timer::timeout(span, future).await.unwrap();
}

task_rows!();

async fn others(row: &str) -> f64 {
    let clock = Clock::start();
    match row {
        "channel" => {
            channel().await;
            clock.per(size::ROUNDS)
        }
        "channel, across two workers" => {
            between_executors().await;
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
        "echo" => serve_all().await,
        _ => panic!("no such row: {row}"),
    }
}

async fn channel() {
    let (there, inbound) = local_channel::new_unbounded();
    let (outbound, back) = local_channel::new_unbounded();
    let other = spawn(async move {
        while let Some(item) = inbound.recv().await {
            outbound.try_send(item).unwrap();
        }
    });
    for n in 0..size::ROUNDS {
        there.try_send(n).unwrap();
        assert_eq!(back.recv().await, Some(n));
    }
    drop(there);
    other.await;
}

async fn between_executors() {
    let (there, inbound) = shared_channel::new_bounded(1);
    let (outbound, back) = shared_channel::new_bounded(1);
    let passes_on = || async {
        let (inbound, outbound) = (inbound.connect().await, outbound.connect().await);
        while let Some(item) = inbound.recv().await {
            outbound.send(item).await.unwrap();
        }
    };
    let other = executor().spawn(passes_on).unwrap();
    let (there, back) = (there.connect().await, back.connect().await);
    for n in 0..size::FAR_ROUNDS {
        there.send(n).await.unwrap();
        assert_eq!(back.recv().await, Some(n));
    }
    // The other executor ends when the process does: to wait for its thread would block this one's.
    drop(other);
}

/// Its lock is one for readers and writers.
async fn locks() {
    let (tasks, each) = size::LOCKERS;
    let lock = Rc::new(RwLock::new(()));
    let locks = |lock: Rc<RwLock<()>>| async move {
        for _ in 0..each {
            let guard = lock.write().await.unwrap();
            yield_now().await;
            drop(guard);
        }
    };
    all((0..tasks).map(|_| spawn(locks(lock.clone()))).collect()).await;
}

async fn reads() {
    let (path, pages) = file();
    let file = Rc::new(BufferedFile::open(path).await.unwrap());
    let (tasks, each) = size::READERS;
    let reads = |number, file: Rc<BufferedFile>| async move {
        let mut numbers = Numbers::seeded(number);
        for _ in 0..each {
            assert_eq!(file.read_at(numbers.below(pages) * 4096, 4096).await.unwrap().len(), 4096);
        }
    };
    all((0..tasks).map(|number| spawn(reads(number, file.clone()))).collect()).await;
}

async fn serve_all() -> ! {
    // SAFETY: the descriptor is a listener's and nobody else's.
    let listener = unsafe { TcpListener::from_raw_fd(listen().into_raw_fd()) };
    loop {
        let stream = listener.accept().await.expect("a connection");
        spawn(serve(stream)).detach();
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
