//! may: coroutines on one worker thread, or two where the row is about two.

use std::{
    io::{Read, Write},
    net::SocketAddr,
    os::fd::{FromRawFd, IntoRawFd},
    sync::Arc,
    time::{Duration, Instant},
};

use may::{
    config,
    coroutine::{self, JoinHandle, yield_now},
    go,
    net::{TcpListener, TcpStream},
    sync::{Mutex, spsc},
};
use polyphony_peers::{Clock, Numbers, asked, listen, nap, percentile, size, wake_up};

fn main() {
    let row = asked().remove(0);
    config().set_workers(if row.ends_with("two workers") { 2 } else { 1 });
    // In a coroutine, because the thread that starts them is not one of the scheduler's.
    println!("{}", go!(move || measure(&row)).join().unwrap());
}

fn measure(row: &str) -> f64 {
    let clock = Clock::start();
    match row {
        "yield" => {
            let (tasks, each) = size::YIELDERS;
            all((0..tasks).map(|_| go!(move || (0..each).for_each(|_| yield_now()))).collect());
            clock.per(tasks * each)
        }
        "spawn" => {
            (0..size::SPAWNS).for_each(|n| assert_eq!(go!(move || n).join().unwrap(), n));
            clock.per(size::SPAWNS)
        }
        "skynet of 100,000" => skynet(clock, 100_000),
        "skynet of 1,000,000" => skynet(clock, 1_000_000),
        "channel" | "channel, of two workers" => {
            channel();
            clock.per(size::ROUNDS)
        }
        "mutex" => {
            locks();
            clock.per(size::LOCKERS.0 * size::LOCKERS.1)
        }
        "sleep" => {
            let (tasks, each) = size::SLEEPERS;
            all((0..tasks).map(|number| go!(move || naps(number, each))).collect());
            clock.per(tasks * each)
        }
        "p50" => percentile(lateness(), 50),
        "p99" => percentile(lateness(), 99),
        "echo" => serve_all(),
        _ => panic!("no such row: {row}"),
    }
}

fn all<T>(coroutines: Vec<JoinHandle<T>>) -> Vec<T> {
    coroutines.into_iter().map(|coroutine| coroutine.join().unwrap()).collect()
}

fn skynet(clock: Clock, leaves: u64) -> f64 {
    assert_eq!(branch(0, leaves), leaves * (leaves - 1) / 2);
    clock.per(leaves)
}

fn branch(first: u64, leaves: u64) -> u64 {
    if leaves == 1 {
        return first;
    }
    let part = leaves / 10;
    let children = (0..10).map(|n| go!(move || branch(first + n * part, part))).collect();
    all(children).into_iter().sum()
}

fn channel() {
    let (there, inbound) = spsc::channel();
    let (outbound, back) = spsc::channel();
    let other = go!(move || {
        while let Ok(item) = inbound.recv() {
            outbound.send(item).unwrap();
        }
    });
    for n in 0..size::ROUNDS {
        there.send(n).unwrap();
        assert_eq!(back.recv(), Ok(n));
    }
    drop(there);
    other.join().unwrap();
}

fn locks() {
    let (tasks, each) = size::LOCKERS;
    let mutex = Arc::new(Mutex::new(()));
    let locks = move |mutex: Arc<Mutex<()>>| {
        for _ in 0..each {
            let guard = mutex.lock().unwrap();
            yield_now();
            drop(guard);
        }
    };
    let coroutines = (0..tasks).map(|_| {
        let mutex = mutex.clone();
        go!(move || locks(mutex))
    });
    all(coroutines.collect());
}

fn naps(number: u64, each: u64) {
    let mut numbers = Numbers::seeded(number);
    (0..each).for_each(|_| coroutine::sleep(nap(&mut numbers)));
}

fn lateness() -> Vec<Duration> {
    let start = Instant::now();
    let sleeper = move |number| {
        let due = wake_up(start, number);
        coroutine::sleep(due.saturating_duration_since(Instant::now()));
        due.elapsed()
    };
    all((0..size::SLEEPERS.0).map(|number| go!(move || sleeper(number))).collect())
}

fn serve_all() -> f64 {
    let listener: std::net::TcpListener = listen();
    // SAFETY: the descriptor is a listener's and nobody else's.
    let listener = unsafe { TcpListener::from_raw_fd(listener.into_raw_fd()) };
    loop {
        let (stream, _): (TcpStream, SocketAddr) = listener.accept().expect("a connection");
        go!(move || serve(stream));
    }
}

fn serve(mut stream: TcpStream) {
    let mut bytes = [0; 1024];
    while let Ok(count @ 1..) = stream.read(&mut bytes) {
        if stream.write_all(&bytes[..count]).is_err() {
            return;
        }
    }
}
