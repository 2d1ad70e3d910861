//! Models of the lock-free parts of polyphony-core, compiled from its own source.

#![cfg(test)]

#[allow(dead_code, unreachable_pub, reason = "what is modelled is part of something larger")]
#[path = "../../src/crew/rest.rs"]
mod rest;
mod sync {
    pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};
}

use std::sync::atomic::{AtomicUsize as Count, Ordering::Relaxed};

use loom::{
    sync::{
        Arc, Notify,
        atomic::{AtomicUsize, Ordering::SeqCst, fence},
    },
    thread,
};

use rest::Rest;

/// A crew without queues: so many fibers to run, and what ends each worker's sleep.
struct Crew {
    rest: Rest,
    work: AtomicUsize,
    wakes: Vec<Notify>,
}

impl Crew {
    fn give(&self) {
        self.work.fetch_add(1, SeqCst);
        fence(SeqCst);
        self.call();
    }

    fn call(&self) {
        if let Some(worker) = self.rest.call() {
            self.wakes[worker].notify();
        }
    }

    fn take(&self) -> bool {
        self.work.fetch_update(SeqCst, SeqCst, |work| work.checked_sub(1)).is_ok()
    }

    /// Runs until it has run so many fibers: a worker that is forgotten sleeps for ever, which loom tells.
    fn work(&self, worker: usize, mut fibers: usize) {
        let mut searches = false;
        while fibers > 0 {
            if self.take() {
                fibers -= 1;
                if (!std::mem::take(&mut searches) || self.rest.found()) && self.work.load(SeqCst) > 0 {
                    self.call();
                }
                continue;
            }
            self.rest.lie_down(worker, std::mem::take(&mut searches));
            fence(SeqCst);
            if self.work.load(SeqCst) == 0 {
                self.wakes[worker].wait();
            }
            searches = self.rest.get_up(worker);
        }
        if searches && self.rest.found() && self.work.load(SeqCst) > 0 {
            self.call();
        }
    }
}

fn explore(name: &str, workers: usize, bound: Option<usize>, givers: usize, each: usize, both: bool) {
    static ORDERS: Count = Count::new(0);
    ORDERS.store(0, Relaxed);
    let mut model = loom::model::Builder::new();
    model.preemption_bound = bound;
    model.check(move || {
        ORDERS.fetch_add(1, Relaxed);
        let wakes = (0..workers).map(|_| Notify::new()).collect();
        let crew = Arc::new(Crew { rest: Rest::new(workers), work: AtomicUsize::new(0), wakes });
        let givers: Vec<_> = (0..givers)
            .map(|_| {
                let crew = crew.clone();
                thread::spawn(move || (0..each).for_each(|_| crew.give()))
            })
            .collect();
        let all = givers.len() * each;
        let (mine, others) = if both { (all / 2, all / 2) } else { (all, 0) };
        let other = crew.clone();
        let other = (others > 0).then(|| thread::spawn(move || other.work(1, others)));
        crew.work(0, mine);
        other.into_iter().for_each(|worker| worker.join().unwrap());
        givers.into_iter().for_each(|giver| giver.join().unwrap());
    });
    println!("{name}: {} orders", ORDERS.load(Relaxed));
}

#[test]
fn no_fiber_is_forgotten() {
    explore("one worker, one giver of two", 1, Some(3), 1, 2, false);
    explore("one worker, two givers", 1, Some(2), 2, 1, false);
    explore("two workers of whom one never looks up, one giver of two", 2, Some(2), 1, 2, false);
    explore("two workers, one giver of two", 2, Some(2), 1, 2, true);
}
