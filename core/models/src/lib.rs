//! Models of the lock-free parts of polyphony-core, compiled from its own source.

#![cfg(test)]

mod channels;
#[allow(dead_code, unreachable_pub, reason = "what is modelled is part of something larger")]
#[path = "../../src/inbox.rs"]
mod inbox;
mod inboxes;
mod native;
mod parking;
#[allow(dead_code, unreachable_pub, reason = "what is modelled is part of something larger")]
#[path = "../../src/crew/shelf.rs"]
mod shelf;
mod shelves;

#[allow(dead_code, unreachable_pub, reason = "what is modelled is part of something larger")]
#[path = "../../src/crew/rest.rs"]
mod rest;
mod sync {
    pub(crate) use loom::sync::{
        Mutex,
        atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering},
    };

    /// A flag. Of sequential consistency loom knows fences only: so each such access has one on the side where
    /// others could pass it. And it lets a store come before an exchange that has read what an earlier store of the
    /// same thread has written, which no machine does: so stores are exchanges, too.
    #[derive(Debug)]
    pub(crate) struct AtomicBool(loom::sync::atomic::AtomicBool);

    impl AtomicBool {
        pub(crate) fn new(value: bool) -> Self {
            AtomicBool(loom::sync::atomic::AtomicBool::new(value))
        }

        pub(crate) fn load(&self, order: Ordering) -> bool {
            fence(order);
            self.0.load(order)
        }

        pub(crate) fn store(&self, value: bool, order: Ordering) {
            let no_more = if order == Ordering::Relaxed { order } else { Ordering::Release };
            self.0.swap(value, no_more);
            fence(order);
        }

        pub(crate) fn swap(&self, value: bool, order: Ordering) -> bool {
            fence(order);
            let before = self.0.swap(value, order);
            fence(order);
            before
        }
    }

    fn fence(order: Ordering) {
        if order == Ordering::SeqCst {
            loom::sync::atomic::fence(order);
        }
    }
}
/// The backend of a thread that sleeps: a wake-up ends its present sleep, or its next one.
mod backend {
    #[derive(Clone, Debug)]
    pub(crate) struct Waker(pub(crate) loom::sync::Arc<loom::sync::Notify>);

    impl Waker {
        pub(crate) fn wake(&self) {
            self.0.notify();
        }
    }
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
