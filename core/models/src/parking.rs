//! Parking: who waits in a list is granted or cancelled, never both, and hears of it.
//!
//! The order of steps is that of `native/park.rs`, `native/cancel.rs` and `Fibers::notified`; the inbox is the real
//! one. A fiber takes items until it has so many; others give them, and cancel it.

use std::{
    cell::Cell,
    sync::atomic::{AtomicUsize as Count, Ordering::Relaxed},
};

use loom::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread,
};

use crate::inboxes::Owned;

/// What is waited for, under its lock: items, and whether the waiter is linked.
#[derive(Default)]
struct Object {
    items: usize,
    linked: bool,
}

const CALM: u32 = 0;
const CANCELLED: u32 = 1;

/// One fiber, its worker's inbox, its waiter, and the object.
struct World {
    home: Arc<Owned<()>>,
    object: Mutex<Object>,
    latch: AtomicU32,
    granted: AtomicBool,
}

/// What a call answers.
#[derive(Clone, Copy, PartialEq)]
enum Answer {
    Item,
    Cancelled,
}

impl World {
    fn new() -> Arc<Self> {
        Arc::new(World {
            home: Owned::new(),
            object: Mutex::default(),
            latch: AtomicU32::new(CALM),
            granted: AtomicBool::new(false),
        })
    }

    fn give(&self) {
        let mut object = self.object.lock().unwrap();
        if !std::mem::take(&mut object.linked) {
            object.items += 1;
            return;
        }
        self.granted.store(true, Ordering::Release);
        drop(object);
        self.home.inbox.push(());
    }

    fn cancel(&self) {
        let _ = self.latch.compare_exchange(CALM, CANCELLED, Ordering::SeqCst, Ordering::Relaxed);
        self.home.inbox.push(());
    }

    /// The cancellation is delivered, if there is one.
    fn deliver(&self) -> bool {
        self.latch.compare_exchange(CANCELLED, CALM, Ordering::SeqCst, Ordering::Relaxed).is_ok()
    }

    /// A call of the fiber: `notified` is what its worker does meanwhile.
    fn take(&self) -> Answer {
        if self.deliver() {
            return Answer::Cancelled;
        }
        let mut object = self.object.lock().unwrap();
        if object.items > 0 {
            object.items -= 1;
            return Answer::Item;
        }
        object.linked = true;
        self.granted.store(false, Ordering::Relaxed);
        drop(object); // the worker does so, with the fiber off its stack
        let answer = Cell::new(None);
        while answer.get().is_none() {
            // News that are late are news of a fiber that is ready: there is nothing to do.
            self.home
                .turn()
                .iter()
                .filter(|()| answer.get().is_none())
                .for_each(|()| answer.set(self.notified()));
        }
        answer.get().expect("the loop ends with one")
    }

    fn notified(&self) -> Option<Answer> {
        if self.granted.load(Ordering::Acquire) {
            return Some(Answer::Item);
        }
        if self.latch.load(Ordering::SeqCst) == CALM {
            return None;
        }
        let gave_up = std::mem::take(&mut self.object.lock().unwrap().linked);
        (gave_up && self.deliver()).then_some(Answer::Cancelled)
    }
}

fn explore(name: &str, givers: usize, cancellers: usize, bound: Option<usize>) {
    static ORDERS: Count = Count::new(0);
    static CANCELS: Count = Count::new(0);
    ORDERS.store(0, Relaxed);
    CANCELS.store(0, Relaxed);
    let mut model = loom::model::Builder::new();
    model.preemption_bound = bound;
    model.check(move || {
        ORDERS.fetch_add(1, Relaxed);
        let world = World::new();
        let others = [(givers, World::give as fn(&World)), (cancellers, World::cancel)];
        let threads: Vec<_> = others
            .into_iter()
            .flat_map(|(count, does)| std::iter::repeat_n(does, count))
            .map(|does| {
                let world = world.clone();
                thread::spawn(move || does(&world))
            })
            .collect();
        // An item that is lost, or news that nobody hears, and the fiber waits for ever, which loom tells.
        let (mut items, mut cancels) = (0, 0);
        while items < givers {
            match world.take() {
                Answer::Item => items += 1,
                Answer::Cancelled => cancels += 1,
            }
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(world.object.lock().unwrap().items, 0, "an item was doubled");
        // One that was not delivered is kept for the next call.
        let kept = usize::from(world.deliver());
        assert!(cancels + kept <= cancellers && (cancellers == 0 || cancels + kept > 0));
        CANCELS.fetch_add(usize::from(cancels > 0), Relaxed);
    });
    println!("{name}: {} orders, a call cancelled in {}", ORDERS.load(Relaxed), CANCELS.load(Relaxed));
    assert!((cancellers > 0) == (CANCELS.load(Relaxed) > 0), "the model is of what never happens");
}

#[test]
fn who_waits_is_granted_or_cancelled_and_nothing_is_lost() {
    explore("a waiter, one giver", 1, 0, None);
    explore("a waiter, one giver, one who cancels", 1, 1, Some(2));
    explore("a waiter, two givers, one who cancels", 2, 1, Some(1));
}
