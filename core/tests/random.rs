//! A hundred thousand random steps before a kernel that does anything it may, and the books after each.
//!
//! What must hold, whatever happens in whatever order:
//! - every operation ends exactly once, and only then lets go of what it keeps;
//! - the shard, the backend and our own books agree on what is in flight;
//! - after its last completion a buffer is never written again, and holds what was told;
//! - every descriptor that was made was told to a fiber or closed, every pooled buffer is somewhere;
//! - a forked child frees nothing.
#![allow(unreachable_pub, reason = "a test binary has no outside")]

mod support;

use std::{cell::Cell, collections::VecDeque, rc::Rc, thread, time::Duration};

use polyphony_core::{
    backend::{
        Wait,
        sim::{Random, Sim},
    },
    buffers::BufferId,
    op::{Op, OpKey, POSITION},
    shard::Next,
    timers::TimerKey,
};
use support::{Bench, memory};

const STEPS: usize = 120_000;

/// An operation in our books.
struct Entry {
    key: OpKey,
    op: Op,
    /// How often its keep was dropped: once, at its end.
    dropped: Rc<Cell<usize>>,
    abandoned: bool,
    /// How many of its outcomes the books know.
    seen: usize,
}

/// Memory that no kernel may touch any more, and what it held when it was given back.
struct Sealed {
    at: *const u8,
    bytes: Vec<u8>,
}

struct World {
    random: Random,
    bench: Bench<Sim>,
    entries: Vec<Entry>,
    sealed: VecDeque<Sealed>,
    timers: Vec<TimerKey>,
    buffers: Vec<BufferId>,
    /// Descriptors that fibers were told of.
    told: usize,
    ended: usize,
    submitted: usize,
    leaked: usize,
    notes: usize,
    fiber: u32,
}

fn bench(seed: u64) -> Bench<Sim> {
    let capacity = 1 + seed as usize % 7;
    Bench::unguarded(Sim::chaotic(seed).with_capacity(capacity))
}

impl World {
    fn new(seed: u64) -> Self {
        World {
            random: Random::new(seed),
            bench: bench(seed),
            entries: Vec::new(),
            sealed: VecDeque::new(),
            timers: Vec::new(),
            buffers: Vec::new(),
            told: 0,
            ended: 0,
            submitted: 0,
            leaked: 0,
            notes: 0,
            fiber: 0,
        }
    }

    fn step(&mut self) {
        match self.random.below(2000) {
            0..600 if self.entries.len() < 40 => self.submit(),
            0..1500 => self.turn(),
            1500..1650 => self.cancel(),
            1650..1720 => self.abandon(),
            1720..1740 => drop(self.bench.shard.cancel_fd(self.random.below(6) as i32)),
            1740..1840 => self.arm(),
            1840..1870 => self.move_timer(),
            1870..1930 => self.note(),
            1930..1932 => self.note_from_a_thread(),
            1932..1990 => self.advance(),
            1990..1999 => self.recycle(),
            _ if self.random.one_in(4) => self.fork(),
            _ => {}
        }
        self.look();
        self.check();
    }

    fn submit(&mut self) {
        let op = self.any_op();
        self.fiber += 1;
        let dropped = Rc::new(Cell::new(0));
        let key = self.bench.submit_for(self.fiber, op, Some(dropped.clone()));
        self.entries.push(Entry { key, op, dropped, abandoned: false, seen: 0 });
        self.submitted += 1;
    }

    fn any_op(&mut self) -> Op {
        let fd = self.random.below(6) as i32;
        let len = 1 + self.random.below(24) as u32;
        let buf = memory(len as usize).as_mut_ptr();
        let (addr, addr_len) = (std::ptr::null_mut(), std::ptr::null_mut());
        let soon = self.bench.shard.now() + Duration::from_nanos(self.random.below(2_000_000));
        match self.random.below(17) {
            0..3 => Op::Read { fd, buf, len, offset: POSITION },
            3..5 => Op::Recv { fd, buf, len, flags: 0 },
            5 => Op::ReadPooled { fd, len },
            6 => Op::RecvPooled { fd, len, flags: 0 },
            7 => Op::Write { fd, buf, len, offset: POSITION },
            8 => Op::Accept { fd, addr, len: addr_len, flags: 0 },
            9 => Op::AcceptMany { fd, flags: 0 },
            10 => Op::OpenAt { dir: -1, path: c"somewhere".as_ptr(), flags: 0, mode: 0 },
            11 => Op::Poll { fd, events: 1 },
            12 => Op::PollMany { fd, events: 1 },
            13 => Op::Timeout { deadline: soon },
            14 => Op::Nop,
            15 => Op::Close { fd },
            _ => {
                let (from_offset, to_offset) = (POSITION, POSITION);
                Op::Splice { from: fd, from_offset, to: 5, to_offset, len, flags: 0 }
            }
        }
    }

    fn any_entry(&mut self) -> Option<&mut Entry> {
        let at = self.random.below(self.entries.len() as u64) as usize;
        self.entries.get_mut(at)
    }

    fn turn(&mut self) {
        match self.bench.shard.next() {
            Next::Run(_) => {}
            Next::Wait(mut wait) => {
                wait.block().unwrap();
                self.bench.shard.harvest(wait);
            }
            Next::Idle => assert!(self.entries.iter().all(|entry| entry.dropped.get() == 1)),
        }
    }

    fn cancel(&mut self) {
        if let Some(&mut Entry { key, .. }) = self.any_entry() {
            self.bench.shard.cancel(key);
        }
    }

    fn abandon(&mut self) {
        let Some(entry) = self.any_entry() else { return };
        entry.abandoned = true;
        let key = entry.key;
        self.bench.shard.abandon(key);
    }

    /// A timer that cancels an operation, or one that does nothing.
    fn arm(&mut self) {
        let span = Duration::from_nanos(self.random.below(3_000_000));
        self.fiber += 1;
        let fiber = self.fiber;
        if let Some(&mut Entry { key, .. }) = self.any_entry() {
            self.bench.shard.host_mut().deadlines.insert(fiber, key);
        }
        let timer = self.bench.shard.at(self.bench.shard.now() + span, fiber);
        self.timers.push(timer);
    }

    fn move_timer(&mut self) {
        let at = self.random.below(self.timers.len() as u64) as usize;
        let Some(&timer) = self.timers.get(at) else { return };
        if self.random.one_in(2) {
            let later = self.bench.shard.now() + Duration::from_nanos(self.random.below(3_000_000));
            self.bench.shard.rearm(timer, later);
        } else {
            self.bench.shard.disarm(timer);
            self.timers.swap_remove(at);
        }
    }

    fn note(&mut self) {
        self.fiber += 1;
        let fiber = self.fiber;
        if let Some(&mut Entry { key, .. }) = self.any_entry() {
            self.bench.shard.host_mut().notes.insert(fiber, key);
        }
        self.bench.shard.inbox().push(fiber);
        self.notes += 1;
    }

    fn note_from_a_thread(&mut self) {
        let inbox = self.bench.shard.inbox();
        thread::spawn(move || inbox.push(0)).join().unwrap();
        self.notes += 1;
    }

    fn advance(&mut self) {
        let span = Duration::from_nanos(self.random.below(500_000));
        self.bench.shard.backend_mut().inner.advance(span);
    }

    fn recycle(&mut self) {
        if let Some(id) = self.buffers.pop() {
            self.bench.shard.recycle(id);
        }
    }

    /// The child goes on with a shard of its own; what its parent's kernel has stays alive.
    fn fork(&mut self) {
        let dropped: usize = self.entries.iter().map(|entry| entry.dropped.get()).sum();
        let seed = self.random.below(u64::MAX);
        std::mem::replace(&mut self.bench, bench(seed)).shard.disown();
        let now: usize = self.entries.iter().map(|entry| entry.dropped.get()).sum();
        assert_eq!(now, dropped, "a forked child let something go");
        self.leaked += self.entries.len();
        self.entries.clear();
        self.timers.clear();
        self.buffers.clear();
        (self.told, self.notes) = (0, 0);
    }

    /// Takes in what has been told since the last step.
    fn look(&mut self) {
        let World { bench, entries, sealed, buffers, told, .. } = self;
        for entry in entries.iter_mut() {
            let outcomes = bench.outcomes(entry.key).to_vec();
            for outcome in &outcomes[entry.seen..] {
                let makes = matches!(entry.op, Op::Accept { .. } | Op::AcceptMany { .. } | Op::OpenAt { .. });
                *told += usize::from(makes && outcome.result >= 0);
                buffers.extend(outcome.buffer);
                if let Some(id) = outcome.buffer {
                    check_bytes(bench.shard.buffer(id, outcome.result as usize));
                }
            }
            entry.seen = outcomes.len();
            if entry.dropped.get() == 0 {
                assert!(outcomes.iter().all(|outcome| outcome.more), "an end was told before its time");
                continue;
            }
            assert_eq!(entry.dropped.get(), 1);
            let ended = outcomes.last().is_some_and(|last| !last.more);
            assert!(ended || entry.abandoned, "{:?} ended and its fiber was not told", entry.op);
            if let Op::Read { buf, len, .. } | Op::Recv { buf, len, .. } = entry.op {
                // SAFETY: the memory of the tests lives for ever, and its operation has ended.
                let bytes = unsafe { std::slice::from_raw_parts(buf, len as usize) }.to_vec();
                let count = outcomes.last().map_or(0, |last| last.result.max(0));
                check_bytes(&bytes[..count as usize]);
                sealed.push_back(Sealed { at: buf, bytes });
            }
        }
        let before = self.entries.len();
        self.entries.retain(|entry| entry.dropped.get() == 0);
        self.ended += before - self.entries.len();
        while self.sealed.len() > 48 {
            self.sealed.pop_front();
        }
        if self.bench.shard.host().outcomes.len() > 4096 {
            let live: Vec<OpKey> = self.entries.iter().map(|entry| entry.key).collect();
            self.bench.shard.host_mut().outcomes.retain(|key, _| live.contains(key));
        }
    }

    fn check(&mut self) {
        assert_eq!(self.bench.shard.in_flight(), self.entries.len());
        assert_eq!(self.submitted, self.ended + self.leaked + self.entries.len());
        let in_flight = self.bench.in_flight.borrow();
        assert!(in_flight.len() <= self.entries.len());
        let known = |key| self.entries.iter().any(|entry| entry.key == key);
        assert!(in_flight.iter().all(|&key| known(key)), "the backend has what the shard has not");
        let kernel = &self.bench.shard.backend().inner;
        assert_eq!(kernel.in_flight(), in_flight.len());
        assert_eq!(kernel.made().len(), self.told + kernel.discarded().len(), "a descriptor leaked");
        assert_eq!(kernel.free_buffers() + self.buffers.len(), 8, "a pooled buffer leaked");
        for Sealed { at, bytes } in &self.sealed {
            // SAFETY: as in `look`.
            let now = unsafe { std::slice::from_raw_parts(*at, bytes.len()) };
            assert_eq!(now, bytes, "a buffer was written after its last completion");
        }
    }

    /// Everything comes home.
    fn end(mut self) {
        self.bench.shard.cancel_all();
        for _ in 0..10_000 {
            if self.bench.shard.in_flight() == 0 {
                break;
            }
            self.turn();
            self.look();
            self.check();
        }
        assert_eq!(self.bench.shard.in_flight(), 0, "not everything came home");
        self.bench.visit();
        assert_eq!(self.bench.shard.stats().notified as usize, self.notes, "a note was lost");
        assert!(self.submitted > STEPS / 8, "hardly anything happened");
    }
}

/// What the simulation reads is one byte below 0x80, repeated; what it scribbles is above.
fn check_bytes(bytes: &[u8]) {
    assert!(bytes.iter().all(|&byte| byte == bytes[0] && byte < 0x80), "not what was read: {bytes:x?}");
}

#[test]
fn whatever_happens_in_whatever_order_the_books_balance() {
    let mut world = World::new(20_260_101);
    for _ in 0..STEPS {
        world.step();
    }
    world.end();
}

#[test]
fn the_same_seed_tells_the_same_story() {
    let story = |seed| {
        let mut world = World::new(seed);
        (0..3_000).for_each(|_| world.step());
        (world.submitted, world.ended, world.told, world.bench.shard.now())
    };
    assert_eq!(story(7), story(7));
    assert_ne!(story(7), story(8));
}
