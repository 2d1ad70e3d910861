//! Fibers that may run now, in the order in which they will.
//!
//! Two lanes: the urgent one is emptied before the ready one. Which queue a host uses depends on
//! whether one of its fibers can be scheduled again while it is queued: a native fiber cannot
//! ([`Fifo`], and [`Lanes`](crate::crew::Lanes) where others may take it), a Ruby fiber can ([`Moving`]).

use std::{collections::VecDeque, fmt, time::Duration};

/// The order in which ready fibers run.
pub trait RunQueue<F>: Default {
    /// Puts a fiber behind all others; where it is queued already, it moves there.
    fn push(&mut self, fiber: F);
    /// Puts a fiber behind the urgent ones and before the others.
    fn push_first(&mut self, fiber: F);
    /// Puts a fiber behind all others unless it is queued already.
    fn wake(&mut self, fiber: F);
    /// Takes the next fiber.
    fn pop(&mut self) -> Option<F>;
    /// How many fibers are queued.
    fn len(&self) -> usize;
    /// Whether no fiber is queued.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Takes in what there is elsewhere; the shard asks now and then, and before it waits.
    #[inline]
    fn replenish(&mut self) -> Stock {
        if self.is_empty() { Stock::Empty(None) } else { Stock::Ready }
    }
    /// The shard's wait is over. Says whether it is to [`replenish`](Self::replenish) before anything runs.
    #[inline]
    fn awake(&mut self) -> bool {
        false
    }
    /// How many fibers were taken from others.
    fn stolen(&self) -> u64 {
        0
    }
}

/// What [`RunQueue::replenish`] finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stock {
    /// Somebody is ready, or was a moment ago.
    Ready,
    /// Nobody; the shard may wait. Should nothing happen here, it is to ask again after that time.
    Empty(Option<Duration>),
}

/// A queue for hosts whose fibers are in at most one container at a time.
#[derive(Debug)]
pub struct Fifo<F> {
    urgent: VecDeque<F>,
    ready: VecDeque<F>,
}

impl<F> Default for Fifo<F> {
    fn default() -> Self {
        Fifo { urgent: VecDeque::new(), ready: VecDeque::new() }
    }
}

impl<F: Copy> Fifo<F> {
    /// Who runs after so many others, urgent fibers aside.
    #[inline]
    pub fn peek(&self, others: usize) -> Option<F> {
        self.ready.get(others).copied()
    }
}

impl<F> RunQueue<F> for Fifo<F> {
    #[inline]
    fn push(&mut self, fiber: F) {
        self.ready.push_back(fiber);
    }

    #[inline]
    fn push_first(&mut self, fiber: F) {
        self.urgent.push_back(fiber);
    }

    #[inline]
    fn wake(&mut self, fiber: F) {
        self.ready.push_back(fiber);
    }

    #[inline]
    fn pop(&mut self) -> Option<F> {
        if self.urgent.is_empty() { self.ready.pop_front() } else { self.urgent.pop_front() }
    }

    #[inline]
    fn len(&self) -> usize {
        self.urgent.len() + self.ready.len()
    }
}

/// A name that has a small number, unique among the fibers alive in one host.
pub trait Numbered: Copy + Eq + fmt::Debug {
    /// The number.
    fn number(self) -> usize;
}

/// A queue in which a fiber stands once, and moves when it is scheduled again.
///
/// Nothing is searched for. Each entry carries a ticket; a fiber's latest ticket is the live one, and
/// an entry with another is skipped when its turn comes. When skipped entries would outnumber live
/// ones the queue is compacted, so rescheduling one fiber for ever takes no memory.
#[derive(Debug)]
pub struct Moving<F> {
    urgent: VecDeque<(F, u64)>,
    ready: VecDeque<(F, u64)>,
    /// The live ticket of each fiber by number; 0 where it is not queued.
    tickets: Vec<u64>,
    last: u64,
    live: usize,
    longest: usize,
}

impl<F> Default for Moving<F> {
    fn default() -> Self {
        let (urgent, ready) = (VecDeque::new(), VecDeque::new());
        Moving { urgent, ready, tickets: Vec::new(), last: 0, live: 0, longest: 0 }
    }
}

impl<F: Numbered> Moving<F> {
    /// Whether the fiber is queued.
    pub fn contains(&self, fiber: F) -> bool {
        self.tickets.get(fiber.number()).is_some_and(|&ticket| ticket != 0)
    }

    /// Takes a fiber out, wherever it stands; says whether it was queued.
    pub fn remove(&mut self, fiber: F) -> bool {
        let Some(ticket) = self.tickets.get_mut(fiber.number()) else { return false };
        let queued = std::mem::take(ticket) != 0;
        self.live -= usize::from(queued);
        self.compact();
        queued
    }

    /// How many fibers have been queued at most.
    pub fn longest(&self) -> usize {
        self.longest
    }

    /// For how many entries there is room without asking for memory.
    pub fn capacity(&self) -> usize {
        self.urgent.capacity() + self.ready.capacity()
    }

    /// The queued fibers, in the order in which they will run.
    pub fn iter(&self) -> impl Iterator<Item = F> + '_ {
        let live = |&(fiber, ticket): &(F, u64)| (self.tickets[fiber.number()] == ticket).then_some(fiber);
        self.urgent.iter().chain(self.ready.iter()).filter_map(live)
    }

    #[inline]
    fn ticket(&mut self, fiber: F) -> u64 {
        let number = fiber.number();
        if number >= self.tickets.len() {
            self.tickets.resize(number + 1, 0);
        }
        self.last += 1;
        self.live += usize::from(self.tickets[number] == 0);
        self.longest = self.longest.max(self.live);
        self.tickets[number] = self.last;
        self.last
    }

    #[inline]
    fn compact(&mut self) {
        if self.urgent.len() + self.ready.len() > 2 * self.live + 64 {
            let tickets = &self.tickets;
            self.urgent.retain(|&(fiber, ticket)| tickets[fiber.number()] == ticket);
            self.ready.retain(|&(fiber, ticket)| tickets[fiber.number()] == ticket);
        }
    }
}

impl<F: Numbered> RunQueue<F> for Moving<F> {
    #[inline]
    fn push(&mut self, fiber: F) {
        let ticket = self.ticket(fiber);
        self.ready.push_back((fiber, ticket));
        self.compact();
    }

    #[inline]
    fn push_first(&mut self, fiber: F) {
        let ticket = self.ticket(fiber);
        self.urgent.push_back((fiber, ticket));
        self.compact();
    }

    #[inline]
    fn wake(&mut self, fiber: F) {
        if !self.contains(fiber) {
            self.push(fiber);
        }
    }

    #[inline]
    fn pop(&mut self) -> Option<F> {
        loop {
            let (fiber, ticket) = self.urgent.pop_front().or_else(|| self.ready.pop_front())?;
            let latest = &mut self.tickets[fiber.number()];
            if *latest == ticket {
                *latest = 0;
                self.live -= 1;
                return Some(fiber);
            }
        }
    }

    #[inline]
    fn len(&self) -> usize {
        self.live
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Numbered for usize {
        fn number(self) -> usize {
            self
        }
    }

    fn drain<Q: RunQueue<usize>>(queue: &mut Q) -> Vec<usize> {
        std::iter::from_fn(|| queue.pop()).collect()
    }

    #[test]
    fn fibers_run_in_the_order_they_became_ready() {
        let mut queue = Fifo::default();
        [3, 1, 2].into_iter().for_each(|fiber| queue.push(fiber));
        assert_eq!(drain(&mut queue), [3, 1, 2]);
    }

    #[test]
    fn who_runs_after_so_many_others_can_be_told_before() {
        let mut queue = Fifo::default();
        [3, 1, 2].into_iter().for_each(|fiber| queue.push(fiber));
        assert_eq!([0, 2, 3].map(|others| queue.peek(others)), [Some(3), Some(2), None]);
    }

    #[test]
    fn urgent_fibers_run_before_ready_ones_and_in_their_own_order() {
        let mut queue = Fifo::default();
        queue.push(1);
        queue.push_first(2);
        queue.push_first(3);
        assert_eq!(drain(&mut queue), [2, 3, 1]);
    }

    #[test]
    fn a_fiber_scheduled_again_moves_to_the_tail_and_runs_once() {
        let mut queue = Moving::default();
        [1, 2, 3, 1].into_iter().for_each(|fiber| queue.push(fiber));
        assert_eq!(queue.len(), 3);
        assert_eq!(drain(&mut queue), [2, 3, 1]);
    }

    #[test]
    fn a_fiber_that_becomes_urgent_leaves_its_place_among_the_ready() {
        let mut queue = Moving::default();
        [1, 2].into_iter().for_each(|fiber| queue.push(fiber));
        queue.push_first(2);
        assert_eq!(drain(&mut queue), [2, 1]);
    }

    #[test]
    fn waking_a_queued_fiber_leaves_it_where_it_stands() {
        let mut queue = Moving::default();
        [1, 2].into_iter().for_each(|fiber| queue.push(fiber));
        queue.wake(1);
        assert_eq!(drain(&mut queue), [1, 2]);
    }

    #[test]
    fn a_removed_fiber_does_not_run() {
        let mut queue = Moving::default();
        [1, 2].into_iter().for_each(|fiber| queue.push(fiber));
        assert!(queue.remove(1));
        assert!(!queue.remove(1));
        assert_eq!(queue.iter().collect::<Vec<_>>(), [2]);
        assert_eq!(drain(&mut queue), [2]);
    }

    #[test]
    fn how_long_the_queue_was_is_remembered_when_it_is_short_again() {
        let mut queue = Moving::default();
        [1, 2, 1, 3].into_iter().for_each(|fiber| queue.push(fiber));
        drain(&mut queue);
        queue.push(1);
        assert_eq!((queue.longest(), queue.len()), (3, 1));
        assert!(queue.capacity() >= 3);
    }

    #[test]
    fn rescheduling_one_fiber_for_ever_takes_no_memory() {
        let mut queue = Moving::default();
        (0..100_000).for_each(|_| queue.push(7));
        assert!(queue.ready.len() <= 67, "{} entries for one fiber", queue.ready.len());
        assert_eq!(drain(&mut queue), [7]);
    }
}
