//! The inbox: no name that is pushed is overslept.

use std::sync::atomic::{AtomicUsize as Count, Ordering::Relaxed};

use loom::{
    sync::{Arc, Notify},
    thread,
};

use crate::{backend::Waker, inbox::Inbox};

/// An inbox, and what its owner sleeps by.
pub(crate) struct Owned<F> {
    pub(crate) inbox: Inbox<F>,
    sleep: Arc<Notify>,
}

impl<F> Owned<F> {
    pub(crate) fn new() -> Arc<Self> {
        let sleep = Arc::new(Notify::new());
        Arc::new(Owned { inbox: Inbox::new(Waker(sleep.clone())), sleep })
    }

    /// One turn of the owner, as a shard has it: sleeps unless something has come, then takes what has.
    pub(crate) fn turn(&self) -> Vec<F> {
        if self.inbox.fall_asleep() {
            self.sleep.wait();
        }
        self.inbox.awake();
        let mut names = Vec::new();
        if self.inbox.is_filled() {
            self.inbox.take(&mut names);
        }
        names
    }
}

fn explore(name: &str, senders: usize, each: usize, bound: Option<usize>) {
    static ORDERS: Count = Count::new(0);
    ORDERS.store(0, Relaxed);
    let mut model = loom::model::Builder::new();
    model.preemption_bound = bound;
    model.check(move || {
        ORDERS.fetch_add(1, Relaxed);
        let owned = Owned::new();
        let senders: Vec<_> = (0..senders)
            .map(|sender| {
                let owned = owned.clone();
                thread::spawn(move || (0..each).for_each(|name| owned.inbox.push(sender * each + name)))
            })
            .collect();
        // A name that is overslept is never taken: then the owner sleeps for ever, which loom tells.
        let mut taken = Vec::new();
        while taken.len() < senders.len() * each {
            taken.extend(owned.turn());
        }
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        taken.sort_unstable();
        assert!(taken.iter().copied().eq(0..taken.len()), "{taken:?}");
    });
    println!("{name}: {} orders", ORDERS.load(Relaxed));
}

#[test]
fn no_name_is_overslept() {
    explore("an inbox, one sender of two", 1, 2, Some(3));
    explore("an inbox, two senders", 2, 1, Some(2));
}
