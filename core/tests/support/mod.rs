//! What the tests of shards and backends share: a host that remembers everything, a backend that checks
//! every word spoken to it, and descriptors of all kinds.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test binary uses its own part of this")]

pub mod busy;
pub mod fds;

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, HashSet},
    os::fd::RawFd,
    rc::Rc,
    time::Duration,
};

use polyphony_core::{
    backend::{
        Backend, Taken, Wait, Waker,
        epoll::Epoll,
        sim::Sim,
        uring::{Features, Uring, UringOptions},
    },
    buffers::{BufferId, BufferShape},
    host::{Host, Then},
    op::{Op, OpKey, Outcome},
    run_queue::Fifo,
    shard::{Next, Shard},
    time::Time,
    timers::TimerKey,
};

/// Remembers what it is told.
#[derive(Default)]
pub struct Recorder {
    pub outcomes: HashMap<OpKey, Vec<Outcome>>,
    pub order: Vec<OpKey>,
    pub expired: Vec<u32>,
    pub notified: Vec<u32>,
    /// What the timers of a fiber cancel.
    pub deadlines: HashMap<u32, OpKey>,
    /// What a note from another thread cancels.
    pub notes: HashMap<u32, OpKey>,
    pub then: Option<Then>,
}

/// The fiber whose timer says that a test hangs.
pub const HUNG: u32 = u32::MAX;

impl Host for Recorder {
    type Fiber = u32;
    type Keep = Keep;
    type Queue = Fifo<u32>;

    fn completed(&mut self, _: u32, op: OpKey, outcome: Outcome) -> Then {
        let outcomes = self.outcomes.entry(op).or_default();
        assert!(outcomes.last().is_none_or(|last| last.more), "{op:?} ended twice");
        outcomes.push(outcome);
        self.order.push(op);
        self.then.unwrap_or(Then::Ready)
    }

    fn expired(&mut self, fiber: u32, _: TimerKey) -> Then {
        assert_ne!(fiber, HUNG, "nothing happens any more");
        self.expired.push(fiber);
        self.deadlines.get(&fiber).map_or(self.then.unwrap_or(Then::Nothing), |&op| Then::Cancel(op))
    }

    fn notified(&mut self, fiber: u32) -> Then {
        self.notified.push(fiber);
        self.notes.get(&fiber).map_or(self.then.unwrap_or(Then::Nothing), |&op| Then::Cancel(op))
    }
}

/// What the backend has, by key: shared with the keeps, which must not go while their operation is there.
pub type InFlight = Rc<RefCell<HashSet<OpKey>>>;

/// Asserts when it is dropped that the last completion of its operation has come.
#[derive(Default)]
pub struct Keep {
    guard: Option<(InFlight, Rc<Cell<Option<OpKey>>>)>,
    pub dropped: Option<Rc<Cell<usize>>>,
}

impl Drop for Keep {
    fn drop(&mut self) {
        if let Some((in_flight, key)) = &self.guard
            && let Some(key) = key.get()
            && !std::thread::panicking()
        {
            assert!(!in_flight.borrow().contains(&key), "{key:?} was let go before its last completion");
        }
        if let Some(dropped) = &self.dropped {
            dropped.set(dropped.get() + 1);
        }
    }
}

/// Passes everything on to another backend and holds both sides to the contract.
pub struct Watchful<B> {
    pub inner: B,
    pub in_flight: InFlight,
}

impl<B: Backend> Backend for Watchful<B> {
    type Wait = B::Wait;

    fn submit(&mut self, key: OpKey, op: &Op) -> Taken {
        let taken = self.inner.submit(key, op);
        if taken == Taken::Yes {
            assert!(self.in_flight.borrow_mut().insert(key), "{key:?} was submitted twice");
        }
        taken
    }

    fn cancel(&mut self, key: OpKey, op: &Op) -> Taken {
        self.inner.cancel(key, op)
    }

    fn wants_turn(&self) -> bool {
        self.inner.wants_turn()
    }

    fn wait(&mut self, deadline: Option<Time>) -> B::Wait {
        self.inner.wait(deadline)
    }

    fn harvest(&mut self, wait: Option<B::Wait>, each: &mut dyn FnMut(OpKey, Outcome)) {
        let in_flight = &self.in_flight;
        self.inner.harvest(wait, &mut |key, outcome| {
            assert!(in_flight.borrow().contains(&key), "{key:?} completed without being in flight");
            if !outcome.more {
                in_flight.borrow_mut().remove(&key);
            }
            each(key, outcome);
        });
    }

    fn buffer(&self, id: BufferId, len: usize) -> &[u8] {
        self.inner.buffer(id, len)
    }

    fn recycle(&mut self, id: BufferId) {
        self.inner.recycle(id);
    }

    fn now(&self) -> Time {
        self.inner.now()
    }

    fn is_ahead(&self, time: Time) -> bool {
        self.inner.is_ahead(time)
    }

    fn waker(&self) -> Waker {
        self.inner.waker()
    }

    fn discard(&mut self, fd: RawFd) {
        self.inner.discard(fd);
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }
}

/// A shard, its recorder and a watchful backend.
pub struct Bench<B: Backend> {
    pub shard: Shard<Recorder, Watchful<B>>,
    pub in_flight: InFlight,
    fibers: u32,
}

pub const BUFFERS: BufferShape = BufferShape { count: 8, size: 4096 };

/// io_uring with room for everything.
pub fn uring() -> Bench<Uring> {
    Bench::new(Uring::new(UringOptions { buffers: BUFFERS, ..UringOptions::default() }).unwrap())
}

/// io_uring with room for one submission and two completions.
pub fn tiny_uring() -> Bench<Uring> {
    let options = UringOptions { sq_entries: 1, cq_entries: 2, buffers: BUFFERS, ..UringOptions::default() };
    Bench::new(Uring::new(options).unwrap())
}

/// io_uring that any thread may enter, one at a time.
pub fn shared_uring() -> Bench<Uring> {
    let options = UringOptions { single_issuer: false, buffers: BUFFERS, ..UringOptions::default() };
    Bench::new(Uring::new(options).unwrap())
}

/// io_uring as the oldest kernel has it for which it is used: everything goes its other way.
pub fn old_uring() -> Bench<Uring> {
    let options = UringOptions { features: Features::OLDEST, buffers: BUFFERS, ..UringOptions::default() };
    let uring = Uring::new(options).unwrap();
    assert_eq!(uring.describe(), "io_uring (no flags)");
    Bench::new(uring)
}

/// epoll.
pub fn epoll() -> Bench<Epoll> {
    Bench::new(Epoll::new(BUFFERS).unwrap())
}

/// epoll where nothing can be told not to wait.
pub fn old_epoll() -> Bench<Epoll> {
    Bench::new(Epoll::new(BUFFERS).unwrap().with_nowait(false))
}

/// The simulated kernel, doing nothing unasked.
pub fn sim() -> Bench<Sim> {
    Bench::new(Sim::new(1).with_capacity(4))
}

impl<B: Backend> Bench<B> {
    pub fn new(backend: B) -> Self {
        let mut bench = Bench::unguarded(backend);
        let limit = bench.shard.now() + Duration::from_secs(30);
        bench.shard.at(limit, HUNG);
        bench
    }

    /// One in which it is no fault that nothing happens.
    pub fn unguarded(backend: B) -> Self {
        watchdog();
        let in_flight = InFlight::default();
        let backend = Watchful { inner: backend, in_flight: in_flight.clone() };
        let shard = Shard::new(Recorder::default(), backend);
        Bench { shard, in_flight, fibers: 0 }
    }

    /// Submits for a fiber of its own.
    pub fn submit(&mut self, op: Op) -> OpKey {
        self.fibers += 1;
        self.submit_for(self.fibers, op, None)
    }

    pub fn submit_for(&mut self, fiber: u32, op: Op, dropped: Option<Rc<Cell<usize>>>) -> OpKey {
        let named = Rc::new(Cell::new(None));
        let keep = Keep { guard: Some((self.in_flight.clone(), named.clone())), dropped };
        let key = self.shard.submit(fiber, op, keep);
        named.set(Some(key));
        key
    }

    /// Cancels an operation when that much time has passed.
    pub fn cancel_after(&mut self, span: Duration, op: OpKey) {
        self.fibers += 1;
        self.shard.host_mut().deadlines.insert(self.fibers, op);
        self.shard.at(self.shard.now() + span, self.fibers);
    }

    /// Does what the shard says, once.
    pub fn turn(&mut self) {
        match self.shard.next() {
            Next::Run(_) => {}
            Next::Wait(mut wait) => {
                wait.block().unwrap();
                self.shard.harvest(wait);
            }
            Next::Idle => panic!("idle, and yet something is waited for"),
        }
    }

    /// Visits the kernel without sleeping, until it has what was submitted.
    pub fn settle(&mut self) {
        for _ in 0..3 {
            self.visit();
        }
    }

    pub fn visit(&mut self) {
        let mut wait = self.shard.wait_for_inbox(Some(Time(0)));
        wait.block().unwrap();
        self.shard.harvest(wait);
    }

    /// Runs until an operation has ended; its last outcome.
    pub fn outcome(&mut self, op: OpKey) -> Outcome {
        loop {
            if let Some(&last) = self.outcomes(op).last()
                && !last.more
            {
                return last;
            }
            self.turn();
        }
    }

    pub fn result(&mut self, op: OpKey) -> i32 {
        self.outcome(op).result
    }

    pub fn perform(&mut self, op: Op) -> i32 {
        let key = self.submit(op);
        self.result(key)
    }

    /// Runs until an operation has had that many outcomes.
    pub fn outcomes_of(&mut self, op: OpKey, count: usize) -> Vec<Outcome> {
        while self.outcomes(op).len() < count {
            self.turn();
        }
        self.outcomes(op).to_vec()
    }

    pub fn outcomes(&self, op: OpKey) -> &[Outcome] {
        self.shard.host().outcomes.get(&op).map_or(&[], |outcomes| outcomes)
    }
}

/// Ends a test binary that hangs where no timer of a shard can help.
pub fn watchdog() {
    // SAFETY: takes no pointers; SIGALRM ends the process.
    unsafe { libc::alarm(300) };
}

/// Memory that lives as long as the test process, so that no test can free it too early.
pub fn memory(len: usize) -> &'static mut [u8] {
    Box::leak(vec![0; len].into())
}

/// The same for any value.
pub fn forever<T>(value: T) -> &'static mut T {
    Box::leak(Box::new(value))
}
