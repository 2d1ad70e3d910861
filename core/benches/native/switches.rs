//! Fibers among themselves: no operation, no kernel.

use std::sync::Arc;

use corosensei::{Coroutine, CoroutineResult, Yielder};
use polyphony_core::native::{
    Placement, spawn, spawn_placed,
    sync::{Channel, Mutex},
    yield_now,
};

use crate::{
    measure::{in_a_fiber, in_a_fiber_of, per_unit},
    workers,
};

/// A coroutine resumed, and suspended: the least that any switch to a fiber and back costs.
pub(crate) fn bare_pair() -> f64 {
    const PAIRS: u64 = 40_000_000;
    let mut coroutine = Coroutine::<(), (), ()>::new(|yielder: &Yielder<(), ()>, ()| {
        (0..PAIRS).for_each(|_| yielder.suspend(()))
    });
    per_unit(PAIRS, || while let CoroutineResult::Yield(()) = coroutine.resume(()) {})
}

/// A hundred fibers that let each other run.
#[inline(never)]
pub(crate) fn yields(workers: usize) -> f64 {
    const FIBERS: u64 = 100;
    const EACH: u64 = 80_000;
    in_a_fiber_of(workers, FIBERS * EACH, || {
        let yields = || (0..EACH).for_each(|_| yield_now().unwrap());
        let fibers: Vec<_> = (0..FIBERS).map(|_| spawn(yields).unwrap()).collect();
        fibers.into_iter().for_each(|fiber| fiber.join().unwrap());
    })
}

/// One fiber after the other, each with a value.
#[inline(never)]
pub(crate) fn spawns(workers: usize) -> f64 {
    const FIBERS: u64 = 2_000_000;
    in_a_fiber_of(workers, FIBERS, || {
        for n in 0..FIBERS {
            assert_eq!(spawn(move || n).unwrap().join(), Ok(n));
        }
    })
}

/// There and back: two items handed over, two switches.
#[inline(never)]
pub(crate) fn channel(workers: usize) -> f64 {
    const ROUNDS: u64 = 2_000_000;
    in_a_fiber_of(workers, ROUNDS, || {
        let (there, back) = (Arc::new(Channel::bounded(1)), Arc::new(Channel::bounded(1)));
        let (inbound, outbound) = (there.clone(), back.clone());
        let other = spawn(move || {
            while let Ok(item) = inbound.recv() {
                outbound.send(item).unwrap();
            }
        });
        for n in 0..ROUNDS {
            there.send(n).unwrap();
            assert_eq!(back.recv(), Ok(n));
        }
        there.close().unwrap();
        other.unwrap().join().unwrap();
    })
}

/// There and back between a fiber on one worker and one on another.
pub(crate) fn far_channel() -> f64 {
    const ROUNDS: u64 = 50_000;
    in_a_fiber_of(2, ROUNDS, || {
        let (there, back) = (Arc::new(Channel::bounded(1)), Arc::new(Channel::bounded(1)));
        let (inbound, outbound) = (there.clone(), back.clone());
        let other = spawn_placed(
            move || {
                while let Ok(item) = inbound.recv() {
                    outbound.send(item).unwrap();
                }
            },
            Placement::on(1),
        );
        let here = spawn_placed(
            move || {
                for n in 0..ROUNDS {
                    there.send(n).unwrap();
                    assert_eq!(back.recv(), Ok(n));
                }
                there.close().unwrap();
            },
            Placement::on(0),
        );
        here.unwrap().join().unwrap();
        other.unwrap().join().unwrap();
    })
}

/// Ten children a fiber, down to so many leaves, each of which returns its number.
pub(crate) fn skynet(leaves: u64) -> f64 {
    in_a_fiber(leaves, move || assert_eq!(workers::branch(0, leaves), leaves * (leaves - 1) / 2))
}

/// A lock that is always asked for by another.
pub(crate) fn mutex() -> f64 {
    const FIBERS: u64 = 4;
    const EACH: u64 = 500_000;
    in_a_fiber(FIBERS * EACH, || {
        let mutex = Arc::new(Mutex::new());
        let locks = |mutex: Arc<Mutex>| {
            for _ in 0..EACH {
                mutex.lock().unwrap();
                yield_now().unwrap();
                mutex.unlock().unwrap();
            }
        };
        let fibers: Vec<_> = (0..FIBERS)
            .map(|_| {
                let mutex = mutex.clone();
                spawn(move || locks(mutex)).unwrap()
            })
            .collect();
        fibers.into_iter().for_each(|fiber| fiber.join().unwrap());
    })
}
