//! The shelf: every fiber that is put there is taken once, by whoever is first, also while its ring grows.

use std::sync::atomic::{AtomicUsize as Count, Ordering::Relaxed};

use loom::{sync::Arc, thread};

use crate::shelf::Shelf;

fn explore(name: &str, thieves: usize, bound: Option<usize>, work: fn(&Shelf) -> Vec<usize>, all: usize) {
    static ORDERS: Count = Count::new(0);
    static THEFTS: Count = Count::new(0);
    ORDERS.store(0, Relaxed);
    THEFTS.store(0, Relaxed);
    let mut model = loom::model::Builder::new();
    model.preemption_bound = bound;
    model.check(move || {
        ORDERS.fetch_add(1, Relaxed);
        let shelf = Arc::new(Shelf::new(2));
        let thieves: Vec<_> = (0..thieves)
            .map(|_| {
                let shelf = shelf.clone();
                thread::spawn(move || {
                    let mut loot = Vec::new();
                    shelf.steal(4, |word| loot.push(word));
                    loot
                })
            })
            .collect();
        let mut taken = work(&shelf);
        for thief in thieves {
            let loot = thief.join().unwrap();
            THEFTS.fetch_add(loot.len(), Relaxed);
            taken.extend(loot);
        }
        // What nobody has taken by now is still there.
        taken.extend(std::iter::from_fn(|| shelf.pop()));
        assert!(shelf.is_empty() && shelf.count(1) == 0);
        taken.sort_unstable();
        assert!(taken.iter().copied().eq(1..=all), "{taken:?}");
    });
    println!("{name}: {} orders, {} stolen", ORDERS.load(Relaxed), THEFTS.load(Relaxed));
    assert!(THEFTS.load(Relaxed) > 0, "the model is of what never happens");
}

/// Puts two there and takes the first.
fn passes_on(shelf: &Shelf) -> Vec<usize> {
    shelf.push(1);
    shelf.push(2);
    shelf.pop().into_iter().collect()
}

/// Puts one behind two, for whom the ring is too small.
fn grows(shelf: &Shelf) -> Vec<usize> {
    (1..=3).for_each(|word| shelf.push(word));
    shelf.pop().into_iter().collect()
}

/// Takes back the last of two, and the place is another's.
fn takes_back(shelf: &Shelf) -> Vec<usize> {
    shelf.push(1);
    shelf.push(2);
    let took = shelf.take_back(2, 16).then_some(2);
    shelf.push(3);
    took.into_iter().collect()
}

/// Goes once round the ring.
fn comes_round(shelf: &Shelf) -> Vec<usize> {
    let mut taken = Vec::new();
    for word in 1..=3 {
        shelf.push(word);
        taken.extend(shelf.pop());
    }
    taken
}

#[test]
fn every_fiber_on_a_shelf_is_taken_once() {
    explore("a shelf, one thief, one popped", 1, None, passes_on, 2);
    explore("a shelf, two thieves, one popped", 2, Some(1), passes_on, 2);
    explore("a shelf that grows, one thief", 1, Some(2), grows, 3);
    explore("a shelf, one thief, one taken back", 1, Some(3), takes_back, 3);
    explore("a shelf, two thieves, one taken back", 2, Some(1), takes_back, 3);
    explore("a shelf whose ring comes round, one thief", 1, Some(2), comes_round, 3);
}
