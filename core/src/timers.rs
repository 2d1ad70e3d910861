//! Timers: a hierarchical wheel (Varghese and Lauck, 1987), its entries in one slab.
//!
//! Nine levels of 64 slots, enough for every 64-bit nanosecond. A timer lives in the level of the highest bit in which its tick differs
//! from now; when the clock reaches its slot it falls to a lower level, and from the lowest it fires.
//! Arming, disarming and re-arming unlink and link a list node: no allocation, no search.
//!
//! A tick is 2^14 ns (16 us). A timer never fires early, and timers that fire together do so in the
//! order of their deadlines. Who waits for a timer waits for those that follow closely as well.

use crate::time::Time;

const TICK_BITS: u32 = 14;
const SLOT_BITS: u32 = 6;
const SLOTS: usize = 1 << SLOT_BITS;
const LEVELS: usize = 9;
const NIL: u32 = u32::MAX;

/// Names a timer. A key whose timer has fired or was disarmed names nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimerKey {
    index: u32,
    generation: u32,
}

impl TimerKey {
    /// The key as one number, unique among all keys of its shard.
    pub fn number(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    /// The key that `number` came from.
    pub fn from_number(number: u64) -> Self {
        TimerKey { index: number as u32, generation: (number >> 32) as u32 }
    }
}

/// All timers of a shard.
#[derive(Debug)]
pub(crate) struct Timers<F> {
    nodes: Vec<Node<F>>,
    free: u32,
    /// First node of each slot, by level and slot.
    heads: [[u32; SLOTS]; LEVELS],
    /// Which slots of a level hold a node.
    occupied: [u64; LEVELS],
    /// The tick up to which timers have fired.
    tick: u64,
    armed: usize,
    /// What `earliest` has found, while it holds.
    earliest: Option<Time>,
    due: Vec<(Time, u32)>,
}

#[derive(Debug)]
struct Node<F> {
    deadline: Time,
    fiber: Option<F>,
    generation: u32,
    level: u8,
    slot: u8,
    previous: u32,
    next: u32,
}

impl<F: Copy> Timers<F> {
    pub(crate) fn new(now: Time) -> Self {
        Timers {
            nodes: Vec::new(),
            free: NIL,
            heads: [[NIL; SLOTS]; LEVELS],
            occupied: [0; LEVELS],
            tick: now.0 >> TICK_BITS,
            armed: 0,
            earliest: None,
            due: Vec::new(),
        }
    }

    pub(crate) fn arm(&mut self, deadline: Time, fiber: F) -> TimerKey {
        let index = self.claim();
        let node = &mut self.nodes[index as usize];
        node.deadline = deadline;
        node.fiber = Some(fiber);
        let generation = node.generation;
        self.earliest =
            if self.armed == 0 { Some(deadline) } else { self.earliest.map(|at| at.min(deadline)) };
        self.armed += 1;
        self.link(index);
        TimerKey { index, generation }
    }

    /// Moves an armed timer; false where the key names nothing.
    pub(crate) fn rearm(&mut self, key: TimerKey, deadline: Time) -> bool {
        if !self.names(key) {
            return false;
        }
        self.unlink(key.index);
        self.nodes[key.index as usize].deadline = deadline;
        self.earliest = self.earliest.map(|at| at.min(deadline));
        self.link(key.index);
        true
    }

    /// Forgets an armed timer; false where the key names nothing.
    pub(crate) fn disarm(&mut self, key: TimerKey) -> bool {
        if !self.names(key) {
            return false;
        }
        self.unlink(key.index);
        self.release(key.index);
        true
    }

    /// Fires every timer whose deadline is not after `now`.
    pub(crate) fn expire(&mut self, now: Time, mut fire: impl FnMut(F, TimerKey)) {
        let until = now.0 >> TICK_BITS;
        self.earliest = None;
        while self.armed > 0 && self.tick <= until {
            // The earliest occupied slot tells how far the clock can jump.
            let Some((level, slot, starts)) = self.first_slot() else { break };
            if starts > until {
                break;
            }
            self.tick = self.tick.max(starts);
            if level > 0 {
                self.cascade(level, slot);
                continue;
            }
            if self.collect(slot, now) {
                break;
            }
        }
        if self.due.is_empty() {
            self.tick = self.tick.max(until);
            return;
        }
        let mut due = std::mem::take(&mut self.due);
        due.sort_by_key(|&(deadline, _)| deadline);
        for &(_, index) in &due {
            let node = &self.nodes[index as usize];
            let key = TimerKey { index, generation: node.generation };
            let fiber = node.fiber.expect("a due timer has a fiber");
            self.release(index);
            fire(fiber, key);
        }
        due.clear();
        self.due = due;
        self.tick = self.tick.max(until);
    }

    /// A time by which `expire` wants to be called; not later than the earliest deadline.
    #[inline]
    pub(crate) fn earliest(&mut self) -> Option<Time> {
        if self.armed == 0 {
            return None;
        }
        if self.earliest.is_none() {
            self.earliest = self.find_earliest();
        }
        self.earliest
    }

    /// Until when to wait for timers: the earliest deadline, or where others follow closely, a moment later, so that
    /// they need no turns of their own.
    pub(crate) fn worth_waiting_for(&mut self) -> Option<Time> {
        let earliest = self.earliest()?;
        let first = (earliest.0 >> TICK_BITS).max(self.tick);
        Some(self.end_of_crowd(first).unwrap_or(earliest))
    }

    /// The end of the last tick that timers are due in, of those few that begin with `first`; nothing where one timer
    /// is all that there is, or where they are too far away to tell.
    fn end_of_crowd(&self, first: u64) -> Option<Time> {
        let (level, slot) = self.place(first);
        let ahead = self.occupied[0] >> slot & CROWD;
        if level > 0 || ahead & 1 == 0 {
            return None;
        }
        let alone = ahead == 1 && self.nodes[self.heads[0][slot] as usize].next == NIL;
        let last = first + u64::from(ahead.ilog2());
        (!alone).then(|| Time((last + 1) << TICK_BITS))
    }

    fn find_earliest(&self) -> Option<Time> {
        let (level, slot, starts) = self.first_slot()?;
        let mut index = self.heads[level][slot];
        let mut earliest = Time(u64::MAX);
        // A slot of a high level spans long: its exact minimum saves a wake-up for nothing, but it is
        // not worth walking a long list for.
        for _ in 0..LONG_WALK {
            let node = &self.nodes[index as usize];
            earliest = earliest.min(node.deadline);
            index = node.next;
            if index == NIL {
                return Some(earliest);
            }
        }
        Some(earliest.min(Time(starts << TICK_BITS)))
    }

    pub(crate) fn len(&self) -> usize {
        self.armed
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.armed == 0
    }

    #[inline]
    fn names(&self, key: TimerKey) -> bool {
        self.nodes
            .get(key.index as usize)
            .is_some_and(|node| node.generation == key.generation && node.fiber.is_some())
    }

    #[inline]
    fn claim(&mut self) -> u32 {
        if self.free == NIL {
            let index = u32::try_from(self.nodes.len()).expect("fewer than 2^32 timers");
            self.nodes.push(Node {
                deadline: Time(0),
                fiber: None,
                generation: 1,
                level: 0,
                slot: 0,
                previous: NIL,
                next: NIL,
            });
            return index;
        }
        let index = self.free;
        self.free = self.nodes[index as usize].next;
        index
    }

    #[inline]
    fn release(&mut self, index: u32) {
        let node = &mut self.nodes[index as usize];
        node.fiber = None;
        node.generation = node.generation.wrapping_add(1);
        node.next = self.free;
        self.free = index;
        self.armed -= 1;
    }

    #[inline]
    fn link(&mut self, index: u32) {
        let deadline = self.nodes[index as usize].deadline;
        let tick = (deadline.0 >> TICK_BITS).max(self.tick);
        let (level, slot) = self.place(tick);
        let head = std::mem::replace(&mut self.heads[level][slot], index);
        let node = &mut self.nodes[index as usize];
        (node.level, node.slot) = (level as u8, slot as u8);
        (node.previous, node.next) = (NIL, head);
        if head != NIL {
            self.nodes[head as usize].previous = index;
        }
        self.occupied[level] |= 1 << slot;
    }

    #[inline]
    fn unlink(&mut self, index: u32) {
        let node = &self.nodes[index as usize];
        let (level, slot, previous, next) =
            (node.level as usize, node.slot as usize, node.previous, node.next);
        if self.earliest == Some(node.deadline) {
            self.earliest = None;
        }
        if next != NIL {
            self.nodes[next as usize].previous = previous;
        }
        if previous != NIL {
            self.nodes[previous as usize].next = next;
            return;
        }
        self.heads[level][slot] = next;
        if next == NIL {
            self.occupied[level] &= !(1 << slot);
        }
    }

    /// Where a tick belongs: the level of the highest bit in which it differs from now.
    #[inline]
    fn place(&self, tick: u64) -> (usize, usize) {
        let differs = (tick ^ self.tick) | (SLOTS as u64 - 1);
        let level = ((63 - differs.leading_zeros()) / SLOT_BITS) as usize;
        (level, (tick >> (SLOT_BITS * level as u32)) as usize & (SLOTS - 1))
    }

    /// The occupied slot that comes first, and the tick at which it starts.
    fn first_slot(&self) -> Option<(usize, usize, u64)> {
        for level in 0..LEVELS {
            let shift = SLOT_BITS * level as u32;
            let here = (self.tick >> shift) as u32 & (SLOTS as u32 - 1);
            // Slots before the hand would have been emptied; rotating puts the hand at bit 0.
            let ahead = self.occupied[level].rotate_right(here);
            if ahead == 0 {
                continue;
            }
            let distance = u64::from(ahead.trailing_zeros());
            let starts = ((self.tick >> shift) + distance) << shift;
            let slot = (here as usize + distance as usize) & (SLOTS - 1);
            return Some((level, slot, starts));
        }
        None
    }

    /// Spreads a slot of a high level over the lower ones.
    fn cascade(&mut self, level: usize, slot: usize) {
        let mut index = std::mem::replace(&mut self.heads[level][slot], NIL);
        self.occupied[level] &= !(1 << slot);
        while index != NIL {
            let next = self.nodes[index as usize].next;
            self.link(index);
            index = next;
        }
    }

    /// Moves what is due in a slot of the lowest level to `due`; true where something is left for later.
    fn collect(&mut self, slot: usize, now: Time) -> bool {
        let mut index = self.heads[0][slot];
        while index != NIL {
            let Node { deadline, next, .. } = self.nodes[index as usize];
            if deadline <= now {
                self.unlink(index);
                self.due.push((deadline, index));
            }
            index = next;
        }
        self.heads[0][slot] != NIL
    }
}

/// How many nodes of a slot `earliest` looks at before it settles for the slot's start.
const LONG_WALK: usize = 64;
/// The ticks that one wait may be for, as bits: 49 us, as long as the kernel lets sleepers wait for each other.
const CROWD: u64 = 0b111;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn fired(timers: &mut Timers<u32>, now: u64) -> Vec<u32> {
        let mut fired = Vec::new();
        timers.expire(Time(now), |fiber, _| fired.push(fiber));
        fired
    }

    #[test]
    fn a_timer_fires_at_its_deadline_and_not_before() {
        let mut timers = Timers::new(Time(0));
        timers.arm(Time(1_000_000), 1);
        assert!(fired(&mut timers, 999_999).is_empty());
        assert_eq!(fired(&mut timers, 1_000_000), [1]);
        assert!(fired(&mut timers, u64::MAX >> 1).is_empty());
    }

    #[test]
    fn timers_fire_in_the_order_of_their_deadlines() {
        let mut timers = Timers::new(Time(5));
        for (fiber, deadline) in [(1, 3_600_000_000_000), (2, 40), (3, 7_000_000), (4, 41)] {
            timers.arm(Time(deadline), fiber);
        }
        assert_eq!(fired(&mut timers, 3_600_000_000_000), [2, 4, 3, 1]);
    }

    #[test]
    fn a_deadline_in_the_past_fires_at_once() {
        let mut timers = Timers::new(Time(1 << 40));
        timers.arm(Time(3), 9);
        assert_eq!(timers.earliest(), Some(Time(3)));
        assert_eq!(fired(&mut timers, 1 << 40), [9]);
    }

    #[test]
    fn a_disarmed_timer_never_fires_and_its_key_names_nothing() {
        let mut timers = Timers::new(Time(0));
        let key = timers.arm(Time(100), 1);
        assert!(timers.disarm(key));
        assert!(!timers.disarm(key));
        assert!(!timers.rearm(key, Time(1)));
        let other = timers.arm(Time(200), 2);
        assert!(!timers.disarm(key), "a key survived its timer");
        assert!(timers.disarm(other));
        assert!(fired(&mut timers, 1 << 50).is_empty());
    }

    #[test]
    fn timers_that_follow_closely_are_waited_for_together_and_one_alone_to_the_nanosecond() {
        let mut timers = Timers::new(Time(0));
        timers.arm(Time(100_001), 1);
        assert_eq!(timers.worth_waiting_for(), Some(Time(100_001)));
        timers.arm(Time(200_000), 2);
        assert_eq!(timers.worth_waiting_for(), Some(Time(100_001)), "the other is too far behind");
        let third = timers.arm(Time(130_000), 3);
        let together = timers.worth_waiting_for().unwrap();
        assert!((130_000..150_000).contains(&together.0), "{together:?}");
        assert!(timers.disarm(third));
        assert_eq!(timers.worth_waiting_for(), Some(Time(100_001)));
    }

    #[test]
    fn disarmed_timers_take_no_memory() {
        let mut timers = Timers::new(Time(0));
        for _ in 0..10_000 {
            let key = timers.arm(Time(1 << 40), 1);
            assert!(timers.disarm(key));
        }
        assert_eq!((timers.nodes.len(), timers.len()), (1, 0));
    }

    #[test]
    fn a_rearmed_timer_fires_once_at_its_new_deadline() {
        let mut timers = Timers::new(Time(0));
        let key = timers.arm(Time(100), 1);
        for later in 1..=1_000_000u64 {
            assert!(timers.rearm(key, Time(later * 1000)));
        }
        assert_eq!(timers.nodes.len(), 1, "re-arming allocated");
        assert!(fired(&mut timers, 999_999_999).is_empty());
        assert_eq!(fired(&mut timers, 1_000_000_000), [1]);
    }

    /// Against a sorted map, over seeded random arms, re-arms, disarms and jumps of the clock.
    #[test]
    fn the_wheel_agrees_with_a_sorted_map() {
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = move |below: u64| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed % below
        };
        let mut now = 12_345_678_901_u64;
        let mut timers = Timers::new(Time(now));
        let mut model: BTreeMap<(u64, u32), TimerKey> = BTreeMap::new();
        let mut keys: Vec<(u64, u32)> = Vec::new();
        for fiber in 0..60_000u32 {
            let span = 1u64 << random(48);
            let deadline = now + random(span);
            let key = timers.arm(Time(deadline), fiber);
            model.insert((deadline, fiber), key);
            keys.push((deadline, fiber));
            if random(3) == 0 {
                let at = random(keys.len() as u64) as usize;
                let (old, victim) = keys[at];
                if let Some(key) = model.remove(&(old, victim)) {
                    if random(2) == 0 {
                        assert!(timers.disarm(key));
                    } else {
                        let moved = now + random(1 << 40);
                        assert!(timers.rearm(key, Time(moved)));
                        model.insert((moved, victim), key);
                        keys[at] = (moved, victim);
                    }
                }
            }
            if random(2) == 0 {
                let bits = random(42);
                now += random(1 << bits);
                let expected: Vec<(u64, u32)> = model.range(..=(now, u32::MAX)).map(|(&at, _)| at).collect();
                let mut seen = Vec::new();
                timers.expire(Time(now), |fiber, _| seen.push(fiber));
                let mut order: Vec<u32> = expected.iter().map(|&(_, fiber)| fiber).collect();
                let deadlines: BTreeMap<u32, u64> = expected.iter().map(|&(at, fiber)| (fiber, at)).collect();
                assert!(seen.windows(2).all(|pair| deadlines[&pair[0]] <= deadlines[&pair[1]]));
                order.sort_unstable();
                seen.sort_unstable();
                assert_eq!(seen, order);
                model.retain(|&(at, _), _| at > now);
                let earliest = model.keys().next().map(|&(at, _)| at);
                assert_eq!(timers.len(), model.len());
                match (timers.earliest(), earliest) {
                    (Some(hint), Some(exact)) => {
                        assert!(hint.0 <= exact);
                        assert!(timers.worth_waiting_for().unwrap() <= Time(exact.max(now) + 50_000));
                    }
                    (hint, exact) => assert_eq!(hint.is_some(), exact.is_some()),
                }
            }
        }
    }
}
