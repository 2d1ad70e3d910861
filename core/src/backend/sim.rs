//! A kernel that does what it is told, in virtual time.
//!
//! Time stands still until a wait, then jumps to whatever comes first. An operation ends as scripted
//! for its descriptor and kind; one without a script waits until it is cancelled, or, in a chaotic
//! simulation, does whatever a kernel might do: whole, short, late, `EAGAIN`, cancelled or not. The same
//! seed tells the same story.
//!
//! While an operation is in flight its buffer belongs to the kernel, and the simulation uses that right:
//! at every step it writes a fresh pattern there. What reads or frees a buffer too early sees it.
//!
//! ```
//! use polyphony_core::{backend::sim::{Answer, Sim}, op::Kind};
//! use std::time::Duration;
//!
//! let mut sim = Sim::new(1);
//! sim.script(5, Kind::Read, Answer::bytes(b"hello").after(Duration::from_millis(3)));
//! sim.script(5, Kind::Read, Answer::result(0));
//! ```

mod memory;

use std::{
    collections::{HashMap, VecDeque},
    io,
    os::fd::RawFd,
    time::Duration,
};

use super::{Backend, Taken, Wait, Waker};
use crate::{
    buffers::{BufferId, BufferShape, Buffers},
    op::{Kind, Op, OpKey, Outcome},
    time::Time,
};

/// How a scripted operation ends, or goes on.
#[derive(Clone, Debug)]
pub struct Answer {
    result: i32,
    bytes: Vec<u8>,
    after: Duration,
    more: bool,
    stubborn: bool,
}

impl Answer {
    /// It ends with this result.
    pub fn result(result: i32) -> Self {
        Answer { result, bytes: Vec::new(), after: Duration::ZERO, more: false, stubborn: false }
    }

    /// It reads these bytes, or as many as fit.
    pub fn bytes(bytes: &[u8]) -> Self {
        Answer { bytes: bytes.to_vec(), ..Answer::result(0) }
    }

    /// It takes that long.
    pub fn after(self, after: Duration) -> Self {
        Answer { after, ..self }
    }

    /// More outcomes of the same operation follow: the next answer scripted for it.
    pub fn more(self) -> Self {
        Answer { more: true, ..self }
    }

    /// Cancelling it comes too late: it ends as scripted all the same.
    pub fn stubborn(self) -> Self {
        Answer { stubborn: true, ..self }
    }
}

/// A simulated kernel, for one shard.
#[derive(Debug)]
pub struct Sim {
    now: Time,
    random: Random,
    chaotic: bool,
    /// How much is taken between two harvests.
    capacity: usize,
    taken: usize,
    scripts: HashMap<(RawFd, Kind), VecDeque<Answer>>,
    in_flight: Vec<Running>,
    steps: u64,
    next_fd: RawFd,
    made: Vec<RawFd>,
    discarded: Vec<RawFd>,
    buffers: Buffers,
    free: Vec<BufferId>,
}

#[derive(Debug)]
struct Running {
    key: OpKey,
    op: Op,
    /// When and how it goes on; `None` where only a cancellation helps.
    due: Option<(Time, Answer)>,
    cancelled: bool,
}

impl Sim {
    /// A simulation in which unscripted operations wait until they are cancelled.
    pub fn new(seed: u64) -> Self {
        let shape = BufferShape { count: 8, size: 64 };
        Sim {
            now: Time(1_000_000_000),
            random: Random::new(seed),
            chaotic: false,
            capacity: usize::MAX,
            taken: 0,
            scripts: HashMap::new(),
            in_flight: Vec::new(),
            steps: 0,
            next_fd: FIRST_FD,
            made: Vec::new(),
            discarded: Vec::new(),
            buffers: Buffers::new(shape),
            free: (0..shape.count).map(BufferId).collect(),
        }
    }

    /// A simulation in which unscripted operations do anything that a kernel might do.
    pub fn chaotic(seed: u64) -> Self {
        Sim { chaotic: true, ..Sim::new(seed) }
    }

    /// Takes no more than `capacity` operations and cancellations between two harvests.
    pub fn with_capacity(self, capacity: usize) -> Self {
        Sim { capacity, ..self }
    }

    /// How the next operation of that kind on `fd` ends; -1 for operations without a descriptor.
    pub fn script(&mut self, fd: RawFd, kind: Kind, answer: Answer) {
        self.scripts.entry((fd, kind)).or_default().push_back(answer);
        let now = self.now;
        let waits = |running: &&mut Running| {
            running.due.is_none() && running.op.kind() == kind && running.op.fd().unwrap_or(-1) == fd
        };
        if let Some(running) = self.in_flight.iter_mut().find(waits) {
            let answer = self.scripts.get_mut(&(fd, kind)).and_then(VecDeque::pop_front);
            running.due = answer.map(|answer| (now + answer.after, answer));
        }
    }

    /// Lets time pass.
    pub fn advance(&mut self, span: Duration) {
        self.now = self.now + span;
    }

    /// Descriptors that operations have made so far.
    pub fn made(&self) -> &[RawFd] {
        &self.made
    }

    /// Descriptors that were made for nobody and closed.
    pub fn discarded(&self) -> &[RawFd] {
        &self.discarded
    }

    /// How many operations the kernel has.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// How many pooled buffers are with nobody.
    pub fn free_buffers(&self) -> usize {
        self.free.len()
    }

    /// One step of the kernel: it writes to every buffer that it has been lent.
    fn step(&mut self) {
        self.steps += 1;
        for (index, running) in self.in_flight.iter().enumerate() {
            memory::scribble(&running.op, (self.steps as u8).wrapping_add(index as u8) | 0x80);
        }
    }

    fn take(&mut self) -> Taken {
        let refused = self.chaotic && self.random.one_in(16);
        if refused || self.taken >= self.capacity {
            return Taken::Full;
        }
        self.taken += 1;
        Taken::Yes
    }

    /// How an operation will go on: as scripted, else by itself, else at random.
    fn fate(&mut self, op: &Op) -> Option<(Time, Answer)> {
        let script = self.scripts.get_mut(&(op.fd().unwrap_or(-1), op.kind()));
        if let Some(answer) = script.and_then(VecDeque::pop_front) {
            return Some((self.now + answer.after, answer));
        }
        match *op {
            Op::Nop | Op::Close { .. } => Some((self.now, Answer::result(0))),
            Op::Timeout { deadline } => Some((deadline, Answer::result(0))),
            _ if self.chaotic => self.chance(op),
            _ => None,
        }
    }

    fn chance(&mut self, op: &Op) -> Option<(Time, Answer)> {
        if self.random.one_in(4) {
            return None;
        }
        let after = Duration::from_nanos(self.random.below(1_000_000));
        let answer = match self.random.below(8) {
            0 if op.readiness().is_some() => Answer::result(-libc::EAGAIN),
            1 => Answer::result(-libc::ECONNRESET),
            2 if !op.makes_fd() => Answer::result(0),
            _ => self.success(op),
        };
        let answer = if self.random.one_in(4) { answer.stubborn() } else { answer };
        Some((self.now + after, answer))
    }

    fn success(&mut self, op: &Op) -> Answer {
        let room = memory::room(op);
        let count = if self.random.one_in(2) { room } else { self.random.below(room as u64 + 1) as usize };
        match *op {
            Op::Read { .. }
            | Op::Readv { .. }
            | Op::ReadPooled { .. }
            | Op::RecvPooled { .. }
            | Op::Recv { .. }
            | Op::RecvMsg { .. } => Answer::bytes(&vec![self.random.below(128) as u8; count]),
            Op::Write { .. }
            | Op::Writev { .. }
            | Op::Send { .. }
            | Op::SendMsg { .. }
            | Op::Splice { .. }
            | Op::Tee { .. } => Answer::result(count as i32),
            Op::Accept { .. } | Op::OpenAt { .. } | Op::Socket { .. } => Answer::result(self.make_fd()),
            Op::AcceptMany { .. } => Answer::result(self.make_fd()).more(),
            Op::Poll { events, .. } => Answer::result(events as i32),
            Op::PollMany { events, .. } => Answer::result(events as i32).more(),
            Op::Nop
            | Op::Connect { .. }
            | Op::Close { .. }
            | Op::Shutdown { .. }
            | Op::Fsync { .. }
            | Op::Statx { .. }
            | Op::RenameAt { .. }
            | Op::UnlinkAt { .. }
            | Op::MkdirAt { .. }
            | Op::Timeout { .. }
            | Op::WaitId { .. }
            | Op::Offload { .. } => Answer::result(0),
        }
    }

    fn make_fd(&mut self) -> RawFd {
        self.next_fd += 1;
        self.next_fd
    }

    /// Everything that is due, each operation at most once; in the order in which it is due, or none.
    fn due(&mut self) -> Vec<usize> {
        let mut due: Vec<(Time, usize)> = (self.in_flight.iter().enumerate())
            .filter_map(|(index, running)| Some((running.due.as_ref()?.0, index)))
            .filter(|&(at, _)| at <= self.now)
            .collect();
        due.sort();
        if self.chaotic {
            self.random.shuffle(&mut due);
        }
        due.into_iter().map(|(_, index)| index).collect()
    }

    /// The next completion of an operation in flight; what follows is settled here too.
    fn complete(&mut self, index: usize) -> (OpKey, Outcome) {
        let op = self.in_flight[index].op;
        let key = self.in_flight[index].key;
        let (_, answer) = self.in_flight[index].due.take().expect("the caller chose one that is due");
        let (mut result, mut buffer) = (answer.result, None);
        if !answer.bytes.is_empty() {
            (result, buffer) = self.deliver(&op, &answer.bytes);
        }
        if op.makes_fd() && result >= 0 {
            self.made.push(result);
        }
        if result >= 0 {
            memory::call(&op);
        }
        if answer.more {
            let cancelled = self.in_flight[index].cancelled;
            let next =
                if cancelled { Some((self.now, Answer::result(-libc::ECANCELED))) } else { self.fate(&op) };
            self.in_flight[index].due = next;
        }
        (key, Outcome { result, more: answer.more, buffer })
    }

    fn deliver(&mut self, op: &Op, bytes: &[u8]) -> (i32, Option<BufferId>) {
        if !matches!(op, Op::ReadPooled { .. } | Op::RecvPooled { .. }) {
            return (memory::deliver(op, bytes) as i32, None);
        }
        let Some(id) = self.free.pop() else { return (-libc::ENOBUFS, None) };
        let len = bytes.len().min(memory::room(op)).min(self.buffers.shape().size as usize);
        let (buf, size) = (self.buffers.address(id), len as u32);
        memory::deliver(&Op::Read { fd: -1, buf, len: size, offset: 0 }, bytes);
        (len as i32, Some(id))
    }
}

impl Backend for Sim {
    type Wait = SimWait;

    fn submit(&mut self, key: OpKey, op: &Op) -> Taken {
        self.step();
        if self.take() == Taken::Full {
            return Taken::Full;
        }
        let due = self.fate(op);
        self.in_flight.push(Running { key, op: *op, due, cancelled: false });
        Taken::Yes
    }

    fn cancel(&mut self, key: OpKey, _op: &Op) -> Taken {
        self.step();
        if self.take() == Taken::Full {
            return Taken::Full;
        }
        let late = self.chaotic && self.random.one_in(2);
        let delay = if late { self.random.below(1_000_000) } else { 0 };
        let at = self.now + Duration::from_nanos(delay);
        let Some(running) = self.in_flight.iter_mut().find(|running| running.key == key) else {
            return Taken::Yes;
        };
        running.cancelled = true;
        match &running.due {
            Some((_, answer)) if answer.stubborn => {}
            // In time only if the operation would not have ended before.
            Some((due, _)) if self.chaotic && *due <= at => {}
            _ => running.due = Some((at, Answer::result(-libc::ECANCELED))),
        }
        Taken::Yes
    }

    fn wants_turn(&self) -> bool {
        let is_due = |running: &Running| running.due.as_ref().is_some_and(|&(at, _)| at <= self.now);
        self.taken > 0 || self.in_flight.iter().any(is_due)
    }

    fn wait(&mut self, deadline: Option<Time>) -> SimWait {
        self.step();
        SimWait { deadline }
    }

    fn harvest(&mut self, wait: Option<SimWait>, each: &mut dyn FnMut(OpKey, Outcome)) {
        self.step();
        self.taken = 0;
        if let Some(SimWait { deadline }) = wait {
            let dues = self.in_flight.iter().filter_map(|running| Some(running.due.as_ref()?.0));
            let first = dues.chain(deadline).min();
            self.now = first.map_or(self.now, |first| first.max(self.now));
        }
        for index in self.due() {
            let (key, outcome) = self.complete(index);
            each(key, outcome);
            if !outcome.more {
                self.in_flight[index].key = OpKey::NONE;
            }
        }
        self.in_flight.retain(|running| running.key != OpKey::NONE);
    }

    fn buffer(&self, id: BufferId, len: usize) -> &[u8] {
        self.buffers.bytes(id, len)
    }

    fn recycle(&mut self, id: BufferId) {
        assert!(!self.free.contains(&id), "{id:?} was given back twice");
        self.free.push(id);
    }

    fn now(&self) -> Time {
        self.now
    }

    fn is_ahead(&self, _: Time) -> bool {
        false
    }

    fn waker(&self) -> Waker {
        Waker::nothing()
    }

    fn discard(&mut self, fd: RawFd) {
        assert!(self.made.contains(&fd), "nothing made the descriptor {fd}");
        assert!(!self.discarded.contains(&fd), "the descriptor {fd} was closed twice");
        self.discarded.push(fd);
    }

    fn describe(&self) -> String {
        "sim".into()
    }

    fn until(&self) -> Option<Time> {
        self.in_flight.iter().filter_map(|running| Some(running.due.as_ref()?.0)).min()
    }
}

/// A jump in time.
#[derive(Debug)]
pub struct SimWait {
    deadline: Option<Time>,
}

impl Wait for SimWait {
    fn block(&mut self) -> io::Result<()> {
        // Where nothing is to come, only another thread can help: let it run.
        std::thread::yield_now();
        Ok(())
    }

    fn may_sleep(&self) -> bool {
        self.deadline != Some(Time(0))
    }
}

/// Seeded numbers (xorshift64*): small, fast, the same everywhere.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The numbers that belong to a seed.
    pub fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `limit`; 0 where that is 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16) % limit.max(1)
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// Puts things in another order.
    pub fn shuffle<T>(&mut self, things: &mut [T]) {
        for end in (1..things.len()).rev() {
            things.swap(end, self.below(end as u64 + 1) as usize);
        }
    }
}

/// Descriptors of the simulation start above anything that a test would use by hand.
const FIRST_FD: RawFd = 1_000_000;
