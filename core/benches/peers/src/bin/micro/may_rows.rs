//! may: coroutines on one worker thread.

use may::{
    coroutine::{self, yield_now},
    go,
    sync::spsc,
};

use crate::per_unit;

pub fn figure(row: &str) -> f64 {
    may::config().set_workers(1);
    let (units, work): (u64, fn()) = match row {
        "yield" => (FIBERS * EACH, yields),
        "spawn" => (SPAWNS, spawns),
        "channel" => (ROUNDS, channel),
        _ => panic!("no such row: {row}"),
    };
    // In a coroutine, because the thread that starts them is not one of the scheduler's.
    go!(move || per_unit(units, work)).join().unwrap()
}

const FIBERS: u64 = 100;
const EACH: u64 = 30_000;

fn yields() {
    let fibers: Vec<coroutine::JoinHandle<()>> =
        (0..FIBERS).map(|_| go!(|| (0..EACH).for_each(|_| yield_now()))).collect();
    fibers.into_iter().for_each(|fiber| fiber.join().unwrap());
}

const SPAWNS: u64 = 500_000;

fn spawns() {
    for n in 0..SPAWNS {
        assert_eq!(go!(move || n).join().unwrap(), n);
    }
}

const ROUNDS: u64 = 1_000_000;

fn channel() {
    let (there, inbound) = spsc::channel();
    let (outbound, back) = spsc::channel();
    let other = go!(move || {
        while let Ok(item) = inbound.recv() {
            outbound.send(item).unwrap();
        }
    });
    for n in 0..ROUNDS {
        there.send(n).unwrap();
        assert_eq!(back.recv(), Ok(n));
    }
    drop(there);
    other.join().unwrap();
}
