//! Workers that share their work: what each may take from the others, and whom to wake for it.
//!
//! A worker's queue is [`Lanes`]: one line, in which fibers run in the order in which they came. Those that
//! may move stand on a shelf besides, from which others steal; the line has a mark in their place:
//!
//! ```text
//! line    a ─ ● ─ b ─ ● ─ ●        a, b: fibers that stay; ●: the next of the shelf
//!             │       │   │
//! shelf       c ───── d ─ e ─▶ pushed here        thieves take c first, too
//! ```
//!
//! A mark whose fiber was stolen is skipped. So a fiber that is queued runs after those that were queued
//! before it, or earlier, whether it may move or not, and whoever yields lets everybody else run first.
//! What comes from outside stands in an injector, which each worker looks at whenever its shard looks
//! around.
//!
//! Who has nothing to do steals half of what another can spare. One that has a single fiber waiting will
//! mostly run it in a moment, beside the one that made it and with what both use in its cache; so a single
//! one is taken only if it has been waiting since the last look. When there is nothing to be had a worker
//! sleeps (`rest` says how nobody is forgotten).

pub(crate) mod rest;
pub(crate) mod shelf;
pub(crate) mod sync {
    pub(crate) use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};
}

use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering, fence},
    },
    time::Duration,
};

use crossbeam_deque::{Injector, Steal};

use self::{rest::Rest, shelf::Shelf};
use crate::{
    inbox::Inbox,
    run_queue::{RunQueue, Stock},
};

pub use self::rest::MOST;

/// A name of a fiber that others may take while it is queued.
pub trait Roaming: Copy + fmt::Debug {
    /// Names a worker.
    type Worker: Copy;

    /// What it is while others may take it: not 0.
    fn into_word(self) -> usize;

    /// Whose word that is.
    fn from_word(word: usize) -> Self;

    /// Whether others may take it. Asked when it is queued, by its worker.
    fn may_move(self) -> bool;

    /// From now on, until it is taken, it may be taken by others.
    fn exposed(self);

    /// It is taken by this worker, which runs it next; that may be the one that queued it.
    fn taken(self, by: Self::Worker);
}

/// What the workers of a crew share.
pub struct Crew<F> {
    injector: Injector<F>,
    seats: Box<[Seat<F>]>,
    rest: Rest,
}

/// What the others see of a worker. Written by the worker alone, but for what thieves take.
#[repr(align(128))]
struct Seat<F> {
    shelf: Shelf,
    /// How many fibers the worker has taken from its own shelf.
    taken: AtomicU64,
    /// `taken`, when it last called somebody.
    cried: AtomicU64,
    /// How often it has lain down after it did something.
    naps: AtomicU64,
    inbox: OnceLock<Arc<Inbox<F>>>,
}

/// A worker's place in a crew, before it has taken it.
pub struct Place<F> {
    crew: Arc<Crew<F>>,
    index: usize,
}

/// No more than this is stolen at once.
const ARMFUL: usize = 256;
/// For how many there is room on a shelf to begin with.
const ROOM: usize = 256;
/// No more than this is taken at once of what came from outside.
const FEW: usize = 32;
/// How many of the line, from its end, are looked at for a fiber that should overtake.
const LATE: usize = 16;
/// The watch looks again after this, then after twice as long, and so on.
const SOON: Duration = Duration::from_micros(100);
/// The watch looks again after this at the latest.
const LATER: Duration = Duration::from_millis(10);
/// No worker's `taken`.
const NEVER: u64 = u64::MAX;

impl<F: Roaming> Crew<F> {
    /// A crew of so many workers, [`MOST`] at most, and their places.
    pub fn new(workers: usize) -> (Arc<Self>, Vec<Place<F>>) {
        let crew = Arc::new(Crew {
            injector: Injector::new(),
            seats: (0..workers).map(|_| Seat::new()).collect(),
            rest: Rest::new(workers),
        });
        let places = (0..workers).map(|index| Place { crew: crew.clone(), index }).collect();
        (crew, places)
    }

    /// Gives a fiber that has been exposed to whoever comes first. Any thread.
    pub fn inject(&self, fiber: F) {
        self.injector.push(fiber);
        // Nobody but who is called would run it: this is what `Rest` asks of a giver.
        fence(Ordering::SeqCst);
        self.wake(self.rest.call());
    }

    /// How many workers sleep.
    pub fn asleep(&self) -> usize {
        self.rest.asleep() as usize
    }

    #[inline]
    fn wake(&self, called: Option<usize>) {
        if let Some(index) = called {
            self.nudge(index);
        }
    }

    #[cold]
    fn nudge(&self, index: usize) {
        if let Some(inbox) = self.seats[index].inbox.get() {
            inbox.wake();
        }
    }
}

impl<F> Seat<F> {
    fn new() -> Self {
        Seat {
            shelf: Shelf::new(ROOM),
            taken: AtomicU64::new(0),
            cried: AtomicU64::new(NEVER),
            naps: AtomicU64::new(0),
            inbox: OnceLock::new(),
        }
    }
}

/// The queue of a worker, which may be one of a crew or alone.
pub struct Lanes<F: Roaming> {
    urgent: VecDeque<F>,
    /// The line. Nothing stands for the next of the shelf.
    ready: VecDeque<Option<F>>,
    /// How many in the line are fibers.
    stay: usize,
    crew: Option<Box<Member<F>>>,
}

/// A worker in its place.
struct Member<F: Roaming> {
    crew: Arc<Crew<F>>,
    index: usize,
    me: F::Worker,
    /// It has registered as asleep.
    lies: bool,
    /// It keeps watch, or did when it slept last.
    watches: bool,
    /// It was called, and has not found anything yet.
    searches: bool,
    /// What it saw of each of the others: `taken`, where a fiber was waiting.
    seen: Vec<u64>,
    /// How long it sleeps next time that it keeps watch.
    patience: Duration,
    /// How often the others had lain down when it last kept watch.
    naps: u64,
    stolen: u64,
    random: u64,
}

impl<F: Roaming> Default for Lanes<F> {
    fn default() -> Self {
        Lanes { urgent: VecDeque::new(), ready: VecDeque::new(), stay: 0, crew: None }
    }
}

impl<F: Roaming> Lanes<F> {
    /// Takes a place in a crew. `inbox` is the one of the worker's shard, to wake it by.
    pub fn join(&mut self, place: Place<F>, me: F::Worker, inbox: Arc<Inbox<F>>) {
        let Place { crew, index } = place;
        let known = crew.seats[index].inbox.set(inbox);
        debug_assert!(known.is_ok(), "a place is taken once");
        self.crew = Some(Box::new(Member {
            index,
            me,
            lies: false,
            watches: false,
            searches: false,
            seen: vec![NEVER; crew.seats.len()],
            patience: SOON,
            naps: 0,
            stolen: 0,
            random: 0x9e37_79b9_7f4a_7c15 ^ (index as u64 + 1),
            crew,
        }));
    }

    /// Who runs after so many others, urgent fibers and those that may move aside.
    #[inline]
    pub fn peek(&self, others: usize) -> Option<F> {
        self.ready.get(others).copied().flatten()
    }

    /// Makes a fiber urgent that stays and is among the last in the line; says whether it was there.
    #[inline]
    pub fn overtake(&mut self, fiber: F) -> bool
    where
        F: PartialEq,
    {
        if self.ready.back() == Some(&Some(fiber)) {
            self.ready.pop_back();
        } else if !self.leave_line(fiber) {
            return false;
        }
        self.stay -= 1;
        self.urgent.push_back(fiber);
        true
    }

    /// [`overtake`](Self::overtake) of a fiber that others may take: whether nobody has.
    #[inline]
    pub fn overtake_exposed(&mut self, fiber: F) -> bool {
        let Some(member) = &self.crew else { return false };
        if !member.take_back(fiber) {
            return false;
        }
        // Its mark, if it is the last. Else there is one too many, which is skipped.
        if matches!(self.ready.back(), Some(None)) {
            self.ready.pop_back();
        }
        self.urgent.push_back(fiber);
        true
    }

    fn leave_line(&mut self, fiber: F) -> bool
    where
        F: PartialEq,
    {
        let count = self.ready.len();
        let place = (count.saturating_sub(LATE)..count).rev().find(|&place| self.ready[place] == Some(fiber));
        place.and_then(|place| self.ready.remove(place)).is_some()
    }

    #[inline(always)]
    fn line_up(&mut self, fiber: F) {
        self.stay += 1;
        self.ready.push_back(Some(fiber));
    }

    /// Puts a fiber where others may take it. Says whether it is the only one that waits here.
    #[inline]
    fn expose(&mut self, fiber: F) -> (&Member<F>, bool) {
        let alone = self.is_empty();
        let member = self.crew.as_ref().expect("only fibers of a crew may move");
        fiber.exposed();
        member.shelf().push(fiber.into_word());
        self.ready.push_back(None);
        (member, alone)
    }

    /// [`push`](RunQueue::push) of a fiber that may move. The fiber that calls runs on: should it be long until
    /// it parks, somebody has to come also for a fiber that waits alone; who keeps watch does so by himself.
    #[inline(never)]
    fn push_exposed(&mut self, fiber: F) {
        let (member, alone) = self.expose(fiber);
        let rest = &member.crew.rest;
        member.tell(if alone { rest.call_unless_watched() } else { rest.call() });
    }

    /// [`wake`](RunQueue::wake) of a fiber that may move. Alone it runs at once: no fiber calls.
    #[inline(never)]
    fn wake_exposed(&mut self, fiber: F) {
        if let (member, false) = self.expose(fiber) {
            member.tell(member.crew.rest.call());
        }
    }

    /// The next fiber is the shelf's.
    #[inline(never)]
    fn pop_exposed(&mut self) -> Option<F> {
        let member = self.crew.as_ref()?;
        loop {
            if let Some(fiber) = member.take_own() {
                return Some(fiber);
            }
            match self.ready.pop_front() {
                Some(Some(fiber)) => {
                    self.stay -= 1;
                    return Some(fiber);
                }
                Some(None) => {} // stolen as well
                None => return None,
            }
        }
    }

    /// Marks in the line what has come onto the shelf from elsewhere.
    fn mark(&mut self, count: usize) {
        // Others may have stolen some of it already: then there are marks too many, which are skipped.
        self.ready.extend(std::iter::repeat_n(None, count));
        let member = self.crew.as_mut().expect("only a crew has an elsewhere");
        member.go_to_work();
    }
}

impl<F: Roaming> Member<F> {
    #[inline]
    fn seat(&self) -> &Seat<F> {
        &self.crew.seats[self.index]
    }

    #[inline]
    fn shelf(&self) -> &Shelf {
        &self.seat().shelf
    }

    #[inline]
    fn take_own(&self) -> Option<F> {
        let fiber = F::from_word(self.shelf().pop()?);
        self.has_taken(fiber);
        Some(fiber)
    }

    #[inline]
    fn take_back(&self, fiber: F) -> bool {
        let took = self.shelf().take_back(fiber.into_word(), LATE);
        if took {
            self.has_taken(fiber);
        }
        took
    }

    #[inline]
    fn has_taken(&self, fiber: F) {
        let taken = &self.seat().taken;
        taken.store(taken.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        fiber.taken(self.me);
    }

    /// Wakes who was called. What waits here now is his, also if it is a single fiber, until we take one.
    #[inline]
    fn tell(&self, called: Option<usize>) {
        if let Some(called) = called {
            let seat = self.seat();
            seat.cried.store(seat.taken.load(Ordering::Relaxed), Ordering::Release);
            self.crew.nudge(called);
        }
    }

    /// There is something to run. Who gave something while we searched called nobody, what we took we can only
    /// run one by one, and we shall not keep watch: that is the next one's part now.
    fn go_to_work(&mut self) {
        let rest = &self.crew.rest;
        if std::mem::take(&mut self.searches) && !rest.found() {
            return;
        }
        let spare = |seat: &Seat<F>| seat.shelf.count(2) > 1;
        let more = !self.crew.injector.is_empty() || self.crew.seats.iter().any(spare);
        self.crew.wake(if more { rest.call() } else { rest.call_unless_watched() });
    }

    /// Takes some of what came from outside; says how many.
    fn take_injected(&mut self) -> usize {
        let injector = &self.crew.injector;
        if injector.is_empty() {
            return 0;
        }
        let share = injector.len().div_ceil(2).min(FEW);
        let taken = (0..share).map_while(|_| until_sure(|| injector.steal()));
        taken.map(|fiber| self.shelf().push(fiber.into_word())).count()
    }

    /// Takes half of what somebody else can spare; says how many.
    fn steal(&mut self) -> usize {
        let count = self.crew.seats.len();
        let first = self.random() as usize % count;
        let others = (0..count).map(|step| (first + step) % count);
        others.map(|victim| self.steal_from(victim)).find(|&stolen| stolen > 0).unwrap_or(0)
    }

    fn steal_from(&mut self, victim: usize) -> usize {
        if victim == self.index || !self.sees_spare(victim) {
            return 0;
        }
        let stolen = self.crew.seats[victim].shelf.steal(ARMFUL, |word| self.shelf().push(word));
        self.stolen += stolen as u64;
        stolen
    }

    /// Whether a worker has more waiting than it will run in a moment; remembers what was seen.
    fn sees_spare(&mut self, victim: usize) -> bool {
        let seat = &self.crew.seats[victim];
        let (waiting, taken) = (seat.shelf.count(2), seat.taken.load(Ordering::Relaxed));
        let before = std::mem::replace(&mut self.seen[victim], if waiting > 0 { taken } else { NEVER });
        waiting > 1 || waiting == 1 && (before == taken || seat.cried.load(Ordering::Acquire) == taken)
    }

    /// Whether [`steal`](Self::steal) or [`take_injected`](Self::take_injected) would find something.
    fn anything_left(&self) -> bool {
        !self.crew.injector.is_empty()
            || (0..self.crew.seats.len())
                .any(|victim| victim != self.index && self.crew.seats[victim].shelf.count(2) > 1)
    }

    /// Registers as asleep. Says after which time to look again, if at all.
    fn lie_down(&mut self) -> Option<Duration> {
        self.lies = true;
        // Who kept watch and has found nothing has done nothing: two that watch each other would go on for ever.
        if !self.watches {
            let naps = &self.seat().naps;
            naps.store(naps.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        }
        let rest = &self.crew.rest;
        let watches = rest.lie_down(self.index, std::mem::take(&mut self.searches));
        let others = self.crew.seats.iter().map(|seat| seat.naps.load(Ordering::Relaxed));
        let others = others.sum::<u64>() - self.seat().naps.load(Ordering::Relaxed);
        let changed = std::mem::replace(&mut self.naps, others) != others;
        // Who watched goes on while the others wake now and then, or each time they would have to call.
        let goes_on = || changed && self.patience > SOON && rest.watch_on(self.index);
        self.watches = watches || goes_on();
        if !self.watches {
            self.patience = SOON;
            return None;
        }
        let patience = self.patience;
        self.patience = (patience * 2).min(LATER);
        Some(patience)
    }

    fn get_up(&mut self) {
        if !std::mem::take(&mut self.lies) {
            return;
        }
        self.searches = self.crew.rest.get_up(self.index);
    }

    /// There is something to run, so somebody else has to keep watch, if we did and somebody relied on it.
    fn hand_over_the_watch(&mut self) {
        let waits = |seat: &Seat<F>| seat.shelf.count(1) > 0;
        if std::mem::take(&mut self.watches) && self.crew.seats.iter().any(waits) {
            self.crew.wake(self.crew.rest.call());
        }
    }

    fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }
}

/// Repeats what others were faster at, until it is clear whether there was something.
fn until_sure<F>(mut steal: impl FnMut() -> Steal<F>) -> Option<F> {
    loop {
        match steal() {
            Steal::Success(fiber) => return Some(fiber),
            Steal::Empty => return None,
            Steal::Retry => {}
        }
    }
}

impl<F: Roaming> RunQueue<F> for Lanes<F> {
    #[inline(always)]
    fn push(&mut self, fiber: F) {
        if fiber.may_move() { self.push_exposed(fiber) } else { self.line_up(fiber) }
    }

    #[inline]
    fn push_first(&mut self, fiber: F) {
        self.urgent.push_back(fiber);
    }

    #[inline(always)]
    fn wake(&mut self, fiber: F) {
        if fiber.may_move() { self.wake_exposed(fiber) } else { self.line_up(fiber) }
    }

    #[inline(always)]
    fn pop(&mut self) -> Option<F> {
        if !self.urgent.is_empty() {
            return self.urgent.pop_front();
        }
        match self.ready.pop_front() {
            Some(Some(fiber)) => {
                self.stay -= 1;
                Some(fiber)
            }
            Some(None) | None => self.pop_exposed(),
        }
    }

    #[inline]
    fn len(&self) -> usize {
        self.urgent.len()
            + self.stay
            + self.crew.as_ref().map_or(0, |member| member.shelf().count(usize::MAX))
    }

    #[inline(always)]
    fn is_empty(&self) -> bool {
        self.stay == 0
            && self.urgent.is_empty()
            && self.crew.as_ref().is_none_or(|member| member.shelf().is_empty())
    }

    fn replenish(&mut self) -> Stock {
        let was_empty = self.is_empty();
        let Some(member) = &mut self.crew else {
            return if was_empty { Stock::Empty(None) } else { Stock::Ready };
        };
        let injected = member.take_injected();
        if injected > 0 {
            self.mark(injected);
            return Stock::Ready;
        }
        if !was_empty {
            if member.searches {
                member.go_to_work();
            }
            member.hand_over_the_watch();
            return Stock::Ready;
        }
        loop {
            let mut found = member.take_injected();
            if found == 0 {
                found = member.steal();
            }
            if found > 0 {
                (member.patience, member.watches) = (SOON, false);
                self.mark(found);
                return Stock::Ready;
            }
            let look_again = member.lie_down();
            // What was given before anybody could see that we sleep.
            fence(Ordering::SeqCst);
            if !member.anything_left() {
                return Stock::Empty(look_again);
            }
            member.get_up();
        }
    }

    #[inline]
    fn awake(&mut self) -> bool {
        let Some(member) = &mut self.crew else { return false };
        member.get_up();
        member.searches || member.watches
    }

    fn stolen(&self) -> u64 {
        self.crew.as_ref().map_or(0, |member| member.stolen)
    }
}

impl<F> fmt::Debug for Crew<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Crew").field("workers", &self.seats.len()).field("rest", &self.rest).finish()
    }
}

impl<F> fmt::Debug for Place<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place").field("index", &self.index).finish_non_exhaustive()
    }
}

impl<F: Roaming> fmt::Debug for Lanes<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lanes").field("waiting", &self.len()).finish_non_exhaustive()
    }
}
