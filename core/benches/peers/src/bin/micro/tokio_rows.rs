//! tokio: tasks of a current-thread runtime.

use tokio::{
    runtime::Builder,
    sync::mpsc,
    task::{JoinSet, spawn, yield_now},
};

use crate::per_unit;

pub fn figure(row: &str) -> f64 {
    let runtime = Builder::new_current_thread().build().expect("a runtime");
    let (units, work): (u64, fn(&tokio::runtime::Runtime)) = match row {
        "yield" => (FIBERS * EACH, |runtime| runtime.block_on(async { spawn(yields()).await.unwrap() })),
        "spawn" => (SPAWNS, |runtime| runtime.block_on(async { spawn(spawns()).await.unwrap() })),
        "channel" => (ROUNDS, |runtime| runtime.block_on(async { spawn(channel()).await.unwrap() })),
        _ => panic!("no such row: {row}"),
    };
    per_unit(units, || work(&runtime))
}

const FIBERS: u64 = 100;
const EACH: u64 = 30_000;

async fn yields() {
    let mut tasks = JoinSet::new();
    for _ in 0..FIBERS {
        tasks.spawn(async {
            for _ in 0..EACH {
                yield_now().await;
            }
        });
    }
    tasks.join_all().await;
}

const SPAWNS: u64 = 1_000_000;

async fn spawns() {
    for n in 0..SPAWNS {
        assert_eq!(spawn(async move { n }).await.unwrap(), n);
    }
}

const ROUNDS: u64 = 1_000_000;

/// Only one item is under way at a time, so a bound would never be felt, and without one the channel is faster.
async fn channel() {
    let (there, mut inbound) = mpsc::unbounded_channel();
    let (outbound, mut back) = mpsc::unbounded_channel();
    let other = spawn(async move {
        while let Some(item) = inbound.recv().await {
            outbound.send(item).unwrap();
        }
    });
    for n in 0..ROUNDS {
        there.send(n).unwrap();
        assert_eq!(back.recv().await, Some(n));
    }
    drop(there);
    other.await.unwrap();
}
