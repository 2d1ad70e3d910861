//! What has happened in a loop and was not told yet.
//!
//! The shard's queue says that somebody is next, and what there is to say to them stands here, in the same order:
//! whatever is put into that queue is put here too. Nothing here calls anybody; the loop's owner takes one event
//! after the other.
//!
//! ```text
//! completed, expired, notified ──▶ Then::Ready ──▶ the shard's queue ──▶ Next::Run ┐
//!                        └───────▶ events ────────────────────────────────────────┴──▶ poly_loop_next
//! ```

use std::{
    collections::{HashMap, HashSet, VecDeque},
    ffi::c_void,
};

use polyphony_core::{
    buffers::BufferId,
    host::{Host, Then},
    op::{OpKey, Outcome},
    run_queue::Fifo,
    timers::TimerKey,
};

/// Whom something is for, and what they asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waiter {
    pub(crate) user_data: u64,
    pub(crate) wish: Wish,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// A turn.
    Turn,
    /// To hear of another thread.
    News,
    /// An operation. A result of those that make descriptors is one.
    Operation { makes_fd: bool },
    /// A function on another thread.
    Errand,
    /// A timer.
    Timer,
}

/// Makes the numbers of timers others than those of operations. No shard has that many of either, so the bit is free.
const TIMER: u64 = 1 << 31;

/// The number that the program knows a timer by.
pub(crate) fn number(timer: TimerKey) -> u64 {
    timer.number() ^ TIMER
}

/// The timer of that number; for one of an operation's, a timer that never was.
pub(crate) fn timer(number: u64) -> TimerKey {
    TimerKey::from_number(number ^ TIMER)
}

/// An event that waits for `poly_loop_next`.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) waiter: Waiter,
    /// The operation or the timer, by its number.
    pub(crate) source: u64,
    pub(crate) result: i64,
    pub(crate) more: bool,
    pub(crate) buffer: Option<BufferId>,
}

impl Told {
    fn of(waiter: Waiter, source: u64) -> Self {
        Told { waiter, source, result: 0, more: false, buffer: None }
    }

    /// The descriptor that the event hands over, if it does.
    pub(crate) fn descriptor(&self) -> Option<i32> {
        let makes_fd = self.waiter.wish == Wish::Operation { makes_fd: true };
        i32::try_from(self.result).ok().filter(|&fd| makes_fd && fd >= 0)
    }
}

/// The host of a loop's shard.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    events: VecDeque<Told>,
    errands: HashMap<OpKey, Errand>,
    /// Timers that have expired and were not told yet, nor disarmed since.
    due: HashSet<u64>,
    /// Buffers that the program has, by their addresses.
    pub(crate) lent: HashMap<usize, BufferId>,
}

/// A function that is called elsewhere. Whoever drops this leaks it: a thread may be in the middle of it.
#[derive(Debug)]
pub(crate) struct Errand(*mut Call);

#[derive(Debug)]
struct Call {
    entry: unsafe extern "C" fn(*mut c_void) -> i64,
    argument: *mut c_void,
    result: i64,
}

impl Errand {
    pub(crate) fn new(entry: unsafe extern "C" fn(*mut c_void) -> i64, argument: *mut c_void) -> Self {
        Errand(Box::into_raw(Box::new(Call { entry, argument, result: 0 })))
    }

    /// What the pool is to call, with what; once.
    pub(crate) fn job(&self) -> (unsafe fn(*mut ()), *mut ()) {
        unsafe fn run(call: *mut ()) {
            // SAFETY: an errand's, which lives until the operation has ended, and nobody else touches it until then.
            let call = unsafe { &mut *call.cast::<Call>() };
            // SAFETY: the program says that this may be called.
            call.result = unsafe { (call.entry)(call.argument) };
        }
        (run, self.0.cast())
    }

    /// What it returned. The operation has ended.
    fn end(self) -> i64 {
        // SAFETY: a box in the beginning, and the only one who used it has ended.
        unsafe { Box::from_raw(self.0) }.result
    }
}

impl Desk {
    /// Somebody is to have a turn; the caller queues them.
    pub(crate) fn expect(&mut self, user_data: u64) -> Waiter {
        let waiter = Waiter { user_data, wish: Wish::Turn };
        self.events.push_back(Told::of(waiter, 0));
        waiter
    }

    /// An errand has been given to the pool.
    pub(crate) fn keep(&mut self, key: OpKey, errand: Errand) {
        self.errands.insert(key, errand);
    }

    /// Whether a timer has expired and was not told: then it will not be.
    pub(crate) fn take_back(&mut self, timer: TimerKey) -> bool {
        self.due.remove(&number(timer))
    }

    /// The event of whoever the queue says is next; nothing where that was taken back.
    pub(crate) fn next(&mut self, waiter: Waiter) -> Option<Told> {
        let told = self.events.pop_front().expect("there is an event for each who is queued");
        debug_assert_eq!(told.waiter, waiter, "events stand in the order of the queue");
        (waiter.wish != Wish::Timer || self.due.remove(&told.source)).then_some(told)
    }
}

impl Host for Desk {
    type Fiber = Waiter;
    /// The program keeps what its operations point to; see the header.
    type Keep = ();
    type Queue = Fifo<Waiter>;

    fn completed(&mut self, waiter: Waiter, op: OpKey, outcome: Outcome) -> Then {
        let mut result = i64::from(outcome.result);
        if waiter.wish == Wish::Errand
            && let Some(errand) = self.errands.remove(&op)
        {
            let returned = errand.end();
            result = if outcome.result < 0 { result } else { returned };
        }
        let Outcome { more, buffer, .. } = outcome;
        self.events.push_back(Told { result, more, buffer, ..Told::of(waiter, op.number()) });
        Then::Ready
    }

    fn expired(&mut self, waiter: Waiter, timer: TimerKey) -> Then {
        self.due.insert(number(timer));
        self.events.push_back(Told::of(waiter, number(timer)));
        Then::Ready
    }

    fn notified(&mut self, waiter: Waiter) -> Then {
        self.events.push_back(Told::of(waiter, 0));
        Then::Ready
    }
}
