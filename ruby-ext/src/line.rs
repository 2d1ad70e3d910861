//! Who waits for something in a queue, or for room in it: fibers of any thread, first come first served.
//!
//! The things themselves live in Ruby's own object, which objects made earlier, stock threads and C code
//! share; a line holds names only. Whoever changes a queue *calls* the first in line: it promises something
//! that is there. A fiber that leaves with its promise unused (it was cancelled) hands it on; one whose
//! promise a stock thread took goes back to the head. So nothing that is there stays unseen, and newcomers
//! do not push in.
//!
//! ```text
//! stand ──▶ waiting ──call──▶ called ──leave──▶ gone
//!    ▲        └─ leave: time is up, cancelled      │
//!    └────────── at the head ◀── found nothing ────┘
//! ```
//!
//! A place carries the ticket of one wait. A fiber's record knows the ticket of its present wait, so a place
//! that an ended thread, a forked parent or an earlier wait left behind is skipped, never woken.

use std::{
    cell::{Cell, RefCell, RefMut},
    collections::VecDeque,
};

use magnus::TypedData;

use crate::{
    fork,
    roots::Name,
    scheduler::{self, Scheduler},
};

/// One wait of one fiber.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) scheduler: u32,
    pub(crate) name: Name,
    pub(crate) ticket: u64,
}

impl Place {
    /// Wakes the fiber; false where that wait is over.
    #[inline]
    fn call(self, here: Option<&Scheduler>) -> bool {
        match here {
            Some(here) if here.id() == self.scheduler => here.call_local(self.name, self.ticket),
            _ => scheduler::find(self.scheduler).is_some_and(|there| there.call(self.name, self.ticket)),
        }
    }

    fn is_over(&self) -> bool {
        !scheduler::find(self.scheduler).is_some_and(|there| there.awaits(self.name, self.ticket))
    }
}

/// The fibers that wait at one end of a queue. It holds no Ruby value, so there is nothing to mark.
#[derive(Debug, TypedData)]
#[magnus(class = "Polyphony::Line", free_immediately, size)]
pub(crate) struct Line {
    standing: RefCell<Standing>,
    /// In the line of poppers: how many items the queue may hold, 0 where that is not limited.
    cap: Cell<usize>,
}

// A line is touched under the GVL only, and no Ruby call is made while it is borrowed.
impl magnus::DataTypeFunctions for Line {}

#[derive(Debug)]
struct Standing {
    waiting: VecDeque<Place>,
    /// Those that were promised something and have not run since.
    called: VecDeque<Place>,
    /// How much is there that nobody was promised. It saves most waits a look at the queue. Stock threads may
    /// have taken some of it: whoever then finds nothing has it counted.
    spare: usize,
    /// How often somebody called.
    calls: u64,
    /// The queue is closed: nothing more will come.
    closed: bool,
    /// Changes with the fork and with the end of a thread, whose promises are nobody's then.
    epoch: (u32, u32),
}

/// It has not been counted.
const UNKNOWN: usize = usize::MAX;

fn epoch() -> (u32, u32) {
    (fork::generation(), scheduler::epoch())
}

impl Line {
    pub(crate) fn new() -> Self {
        let standing = Standing {
            waiting: VecDeque::new(),
            called: VecDeque::new(),
            spare: UNKNOWN,
            calls: 0,
            closed: false,
            epoch: epoch(),
        };
        Line { standing: RefCell::new(standing), cap: Cell::new(0) }
    }

    #[inline]
    pub(crate) fn cap(&self) -> usize {
        self.cap.get()
    }

    pub(crate) fn set_cap(&self, cap: usize) {
        self.cap.set(cap);
    }

    #[inline]
    fn standing(&self) -> RefMut<'_, Standing> {
        let mut standing = self.standing.borrow_mut();
        if standing.epoch != epoch() {
            standing.begin_epoch();
        }
        standing
    }

    /// Puts a fiber behind the others, or before them.
    #[inline]
    pub(crate) fn stand(&self, place: Place, first: bool) {
        let mut standing = self.standing();
        if first { standing.waiting.push_front(place) } else { standing.waiting.push_back(place) }
    }

    /// Promises one more of what is there to the first in line.
    #[inline]
    pub(crate) fn call(&self, here: Option<&Scheduler>) {
        let mut standing = self.standing();
        standing.calls += 1;
        if !standing.call(here) {
            standing.spare = standing.spare.saturating_add(1);
        }
    }

    pub(crate) fn call_all(&self, here: Option<&Scheduler>) {
        let waiting = self.standing().waiting.len();
        (0..waiting).for_each(|_| self.call(here));
    }

    /// Whether the queue must be looked at to know what can be promised.
    #[inline]
    pub(crate) fn must_count(&self) -> bool {
        self.standing().spare == UNKNOWN
    }

    /// How often somebody called, so far.
    pub(crate) fn calls(&self) -> u64 {
        self.standing().calls
    }

    /// So much was there after so many calls. More may have come with those since: then it is not counted.
    pub(crate) fn count(&self, there: usize, calls: u64) {
        let mut standing = self.standing();
        if standing.calls == calls {
            standing.spare = there.saturating_sub(standing.called.len());
        }
    }

    /// Nobody knows how much is there: somebody found less than was promised, because a stock thread was faster, or the
    /// queue changed without a call.
    pub(crate) fn miscounted(&self) {
        self.standing().spare = UNKNOWN;
    }

    /// Promises what nobody was promised yet to those who wait.
    #[inline]
    pub(crate) fn offer(&self, here: Option<&Scheduler>) {
        let mut standing = self.standing();
        while standing.spare > 0 && standing.call(here) {
            standing.spare -= 1;
        }
    }

    /// Whether a newcomer may help itself.
    pub(crate) fn is_free(&self) -> bool {
        let standing = self.standing();
        standing.spare > 0 && standing.waiting.is_empty()
    }

    /// Lets a newcomer help itself to one, where something is there that nobody was promised, and nobody waits.
    #[inline]
    pub(crate) fn help(&self) -> bool {
        let mut standing = self.standing();
        let free = standing.spare > 0 && standing.waiting.is_empty();
        standing.spare -= usize::from(free);
        free
    }

    /// Whether somebody was called who has yet to run.
    #[inline]
    pub(crate) fn has_called(&self) -> bool {
        !self.standing().called.is_empty()
    }

    /// Ends a wait; says whether it was called.
    #[inline]
    pub(crate) fn leave(&self, place: Place) -> bool {
        let mut standing = self.standing();
        let called = take(&mut standing.called, place);
        if !called {
            take(&mut standing.waiting, place);
        }
        called
    }

    /// Wakes everybody and promises nothing; their tickets.
    pub(crate) fn dismiss(&self, here: Option<&Scheduler>) -> Vec<u64> {
        let waiting = std::mem::take(&mut self.standing().waiting);
        waiting.into_iter().filter(|place| place.call(here)).map(|place| place.ticket).collect()
    }

    pub(crate) fn close(&self) {
        self.standing().closed = true;
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.standing.borrow().closed
    }

    /// How many fibers wait.
    pub(crate) fn len(&self) -> usize {
        let mut standing = self.standing();
        standing.waiting.retain(|place| !place.is_over());
        standing.waiting.len()
    }
}

impl Standing {
    /// Wakes the first in line; false where nobody waits.
    #[inline]
    fn call(&mut self, here: Option<&Scheduler>) -> bool {
        while let Some(place) = self.waiting.pop_front() {
            if place.call(here) {
                self.called.push_back(place);
                return true;
            }
        }
        false
    }

    /// Whoever stood here before a fork is in the parent, and what fibers of an ended thread were promised
    /// is nobody's.
    #[cold]
    fn begin_epoch(&mut self) {
        self.epoch = epoch();
        self.waiting.retain(|place| !place.is_over());
        self.called.retain(|place| !place.is_over());
        self.spare = UNKNOWN;
    }
}

/// Takes a place out, mostly the first.
#[inline]
fn take(places: &mut VecDeque<Place>, place: Place) -> bool {
    let at = places.iter().position(|other| other.ticket == place.ticket);
    at.and_then(|at| places.remove(at)).is_some()
}
