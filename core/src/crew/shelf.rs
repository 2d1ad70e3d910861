//! What a worker has that others may take.
//!
//! A line in a ring of slots. Its worker puts fibers at the tail and takes them from the head, in their order; so do
//! thieves. A slot is emptied by one exchange, so each fiber is taken once, by whoever is first, wherever it stands;
//! that is how its worker can take back one of the last:
//!
//! ```text
//!          head                   tail
//!   ·   ·   a   ·   b   c   ·   d  ▼ pushed here
//!           ▲       ▲           ▲
//!   popped, or stolen       taken back: the tail comes down over what is empty
//! ```
//!
//! Only the worker moves head and tail. What a thief reads in a slot it takes only if that still stands there: should
//! the ring have come round meanwhile, it is one that stands there now, and nothing is lost or doubled.
//!
//! From a ring that is full all move to one of twice the size. A thief may miss them meanwhile, as one does that comes
//! a moment too early. Old rings stay until the end, for thieves may be reading there; together they are smaller than
//! the last.

use std::ptr;

use super::sync::{AtomicPtr, AtomicUsize, Ordering};

/// Fibers by their words, none of which is 0. One thread's to fill, everybody's to take from.
#[derive(Debug)]
pub(crate) struct Shelf {
    head: AtomicUsize,
    tail: AtomicUsize,
    ring: AtomicPtr<Ring>,
}

#[derive(Debug)]
struct Ring {
    slots: Box<[AtomicUsize]>,
    /// The one before it, which is half as large; or null.
    before: *mut Ring,
}

const EMPTY: usize = 0;

// SAFETY: rings are written through atomics, and owned by their shelf.
unsafe impl Send for Shelf {}
// SAFETY: as above.
unsafe impl Sync for Shelf {}

impl Shelf {
    /// With room for so many to begin with: a power of two.
    pub(crate) fn new(room: usize) -> Self {
        let ring = Box::into_raw(Ring::of(room, ptr::null_mut()));
        Shelf { head: AtomicUsize::new(0), tail: AtomicUsize::new(0), ring: AtomicPtr::new(ring) }
    }

    /// Puts one behind the others. Its worker only.
    #[inline]
    pub(crate) fn push(&self, word: usize) {
        let (head, tail) = self.ends();
        let mut ring = self.ring();
        if tail.wrapping_sub(head) == ring.slots.len() {
            ring = self.make_room();
        }
        ring.slot(tail).store(word, Ordering::Release);
        self.tail.store(tail.wrapping_add(1), Ordering::Release);
    }

    /// Takes the first. Its worker only.
    #[inline]
    pub(crate) fn pop(&self) -> Option<usize> {
        let (mut head, tail) = self.ends();
        let ring = self.ring();
        let mut word = EMPTY;
        while word == EMPTY && head != tail {
            let slot = ring.slot(head);
            if slot.load(Ordering::Relaxed) != EMPTY {
                word = slot.swap(EMPTY, Ordering::Acquire);
            }
            head = head.wrapping_add(1);
        }
        self.head.store(head, Ordering::Release);
        (word != EMPTY).then_some(word)
    }

    /// Takes back one that is among so many at the end; says whether it was there. Its worker only.
    #[inline]
    pub(crate) fn take_back(&self, word: usize, late: usize) -> bool {
        let (head, tail) = self.ends();
        let ring = self.ring();
        let slots = (1..=late.min(tail.wrapping_sub(head))).map(|back| ring.slot(tail.wrapping_sub(back)));
        let mut its = slots.filter(|slot| slot.load(Ordering::Relaxed) == word);
        let took = its.next().is_some_and(|slot| slot.swap(EMPTY, Ordering::Acquire) == word);
        self.lower_tail();
        took
    }

    #[inline]
    fn lower_tail(&self) {
        let (head, mut tail) = self.ends();
        let ring = self.ring();
        while tail != head && ring.slot(tail.wrapping_sub(1)).load(Ordering::Relaxed) == EMPTY {
            tail = tail.wrapping_sub(1);
        }
        self.tail.store(tail, Ordering::Release);
    }

    /// Whether nothing is there; leaves behind what others have emptied. Its worker only.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        let (head, tail) = self.ends();
        head == tail || self.raise_head() == tail
    }

    fn raise_head(&self) -> usize {
        let (mut head, tail) = self.ends();
        let ring = self.ring();
        while head != tail && ring.slot(head).load(Ordering::Relaxed) == EMPTY {
            head = head.wrapping_add(1);
        }
        self.head.store(head, Ordering::Release);
        head
    }

    /// How many are there, counted up to so many. Anybody.
    pub(crate) fn count(&self, most: usize) -> usize {
        self.slots().filter(|slot| slot.load(Ordering::Relaxed) != EMPTY).take(most).count()
    }

    /// Takes half of what is there, so many at most, from the head on; says how many. Anybody.
    pub(crate) fn steal(&self, most: usize, each: impl FnMut(usize)) -> usize {
        let half = self.count(2 * most).div_ceil(2);
        let mut stolen = 0;
        let taken = self.slots().filter_map(take).take(half).inspect(|_| stolen += 1);
        taken.for_each(each);
        stolen
    }

    /// Where somebody may stand.
    fn slots(&self) -> impl Iterator<Item = &AtomicUsize> {
        // In this order: a tail is never below an earlier head, and what it tells of has come into the ring that is
        // found after it, or into a later one.
        let (head, tail) = (self.head.load(Ordering::Acquire), self.tail.load(Ordering::Acquire));
        let ring = self.ring();
        let count = tail.wrapping_sub(head).min(ring.slots.len());
        (0..count).map(move |place| ring.slot(head.wrapping_add(place)))
    }

    /// Head and tail, as their worker knows them.
    #[inline]
    fn ends(&self) -> (usize, usize) {
        (self.head.load(Ordering::Relaxed), self.tail.load(Ordering::Relaxed))
    }

    #[inline]
    fn ring(&self) -> &Ring {
        // SAFETY: a ring lives as long as the shelf.
        unsafe { &*self.ring.load(Ordering::Acquire) }
    }

    /// A ring with room for one more.
    #[cold]
    fn make_room(&self) -> &Ring {
        let old = self.ring();
        let (head, tail) = (self.raise_head(), self.ends().1);
        if tail.wrapping_sub(head) < old.slots.len() {
            return old;
        }
        let new = Ring::of(2 * old.slots.len(), ptr::from_ref(old).cast_mut());
        for place in (0..old.slots.len()).map(|place| head.wrapping_add(place)) {
            new.slot(place).store(old.slot(place).swap(EMPTY, Ordering::Acquire), Ordering::Relaxed);
        }
        self.ring.store(Box::into_raw(new), Ordering::Release);
        self.ring()
    }
}

impl Drop for Shelf {
    fn drop(&mut self) {
        let mut ring = self.ring.load(Ordering::Relaxed);
        while !ring.is_null() {
            // SAFETY: made by a box and kept by nobody but this shelf, which nobody uses any more.
            ring = unsafe { Box::from_raw(ring) }.before;
        }
    }
}

impl Ring {
    fn of(room: usize, before: *mut Ring) -> Box<Self> {
        assert!(room.is_power_of_two(), "a place leads to its slot by its lowest bits");
        Box::new(Ring { slots: (0..room).map(|_| AtomicUsize::new(EMPTY)).collect(), before })
    }

    #[inline]
    fn slot(&self, place: usize) -> &AtomicUsize {
        &self.slots[place & (self.slots.len() - 1)]
    }
}

/// Empties a slot; nothing where it is, or where another was faster.
fn take(slot: &AtomicUsize) -> Option<usize> {
    let word = slot.load(Ordering::Relaxed);
    let is_mine =
        word != EMPTY && slot.compare_exchange(word, EMPTY, Ordering::Acquire, Ordering::Relaxed).is_ok();
    is_mine.then_some(word)
}
