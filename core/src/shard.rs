//! All scheduling state of one thread.
//!
//! A shard answers one question: *what next?* It never switches, never blocks, reads no clock but its
//! backend's and calls no user code. Its thread does what it is told:
//!
//! ```text
//! loop {
//!     match shard.next() {
//!         Next::Run(fiber) => resume(fiber),
//!         Next::Wait(mut wait) => { wait.block()?; shard.harvest(wait) }
//!         Next::Idle => …only another thread can help: block on `shard.wait_for_inbox()`
//!     }
//! }
//! ```
//!
//! An operation that its backend cannot take waits in the backlog, with its fiber parked as usual; so
//! does a request to cancel. Both keep their order, so a cancel never overtakes its operation.

use std::{collections::VecDeque, io, sync::Arc, time::Duration};

use crate::{
    backend::{Backend, Taken, Wait},
    buffers::BufferId,
    host::{Host, Then},
    inbox::Inbox,
    op::{
        Op, OpKey, Outcome,
        table::{Entry, Phase, Table},
    },
    run_queue::{RunQueue, Stock},
    stats::Stats,
    time::Time,
    timers::{TimerKey, Timers},
    trace::Event,
};

/// How many fibers run before completions, timers and the inbox are looked at again.
pub const BUDGET: u32 = 64;

/// How long the backlog of a full backend waits at most.
const OFFER_AGAIN: Duration = Duration::from_millis(1);

/// What the thread of a shard does next.
#[derive(Debug)]
pub enum Next<F, W> {
    /// Resume this fiber.
    Run(F),
    /// Block on this, then hand it to [`Shard::harvest`].
    Wait(W),
    /// Nothing is queued, in flight or timed: only another thread can help.
    Idle,
}

/// Run queue, timers, operations in flight, backend and inbox of one thread.
#[derive(Debug)]
pub struct Shard<H: Host, B: Backend> {
    host: H,
    backend: B,
    queue: H::Queue,
    budget: u32,
    ops: Table<H::Fiber, H::Keep>,
    backlog: VecDeque<Pending>,
    ended: VecDeque<OpKey>,
    timers: Timers<H::Fiber>,
    inbox: Arc<Inbox<H::Fiber>>,
    stats: Stats,
    // Kept for their capacity only.
    names: Vec<H::Fiber>,
    completions: Vec<(OpKey, Outcome)>,
    expired: Vec<(H::Fiber, TimerKey)>,
}

/// What the backend could not take yet.
#[derive(Clone, Copy, Debug)]
enum Pending {
    Submit(OpKey),
    Cancel(OpKey),
}

impl<H: Host, B: Backend> Shard<H, B> {
    /// A shard for the calling thread.
    pub fn new(host: H, backend: B) -> Self {
        Shard {
            host,
            queue: H::Queue::default(),
            budget: BUDGET,
            ops: Table::default(),
            backlog: VecDeque::new(),
            ended: VecDeque::new(),
            timers: Timers::new(backend.now()),
            inbox: Arc::new(Inbox::new(backend.waker())),
            stats: Stats::default(),
            names: Vec::new(),
            completions: Vec::new(),
            expired: Vec::new(),
            backend,
        }
    }

    /// Queues a fiber behind the others.
    #[inline]
    pub fn ready(&mut self, fiber: H::Fiber) {
        self.queue.push(fiber);
    }

    /// Queues a fiber before the others.
    #[inline]
    pub fn ready_first(&mut self, fiber: H::Fiber) {
        self.queue.push_first(fiber);
    }

    /// Queues a fiber that lets the others run, unless it is queued already.
    ///
    /// Where there are none, those that wait are meant: the shard looks around next. It would take a fiber
    /// that computes and yields, all alone, the whole budget until they had a turn.
    #[inline]
    pub fn yielded(&mut self, fiber: H::Fiber) {
        if self.queue.is_empty() && self.is_waited_in() {
            self.budget = 0;
        }
        self.queue.wake(fiber);
    }

    /// Whether anything can become ready.
    #[inline]
    fn is_waited_in(&self) -> bool {
        self.ops.len() > 0 || !self.timers.is_empty() || self.inbox.is_filled()
    }

    /// Starts an operation for a fiber; `keep` lives until its last completion.
    ///
    /// It cannot fail: what the backend cannot take yet is queued, what the kernel refuses is an
    /// outcome. Nothing of `op` may be freed before the last completion.
    pub fn submit(&mut self, fiber: H::Fiber, op: Op, keep: H::Keep) -> OpKey {
        let entry = Entry { fiber: Some(fiber), keep, op, phase: Phase::InFlight, cancelled: false };
        let key = self.ops.insert(entry);
        self.stats.submitted += 1;
        if self.host.tracing() {
            self.host.traced(Event::Submitted { fiber, op: key, kind: op.kind() });
        }
        if !self.backlog.is_empty() || self.backend.submit(key, &op) == Taken::Full {
            self.put_off(key);
        }
        key
    }

    /// Asks the kernel to cancel an operation. Its last completion comes all the same, and tells whether
    /// the cancellation or the operation was faster. Asking again changes nothing.
    pub fn cancel(&mut self, key: OpKey) {
        let Some(entry) = self.ops.entry(key) else { return };
        if std::mem::replace(&mut entry.cancelled, true) {
            return;
        }
        self.stats.cancels += 1;
        if self.host.tracing() {
            self.host.traced(Event::CancelAsked { op: key });
        }
        match entry.phase {
            Phase::Queued => {
                entry.phase = Phase::Ended;
                self.ended.push_back(key);
            }
            Phase::InFlight | Phase::Polling | Phase::PollingTarget => {
                let op = entry.op;
                if !self.backlog.is_empty() || self.backend.cancel(key, &op) == Taken::Full {
                    self.backlog.push_back(Pending::Cancel(key));
                }
            }
            Phase::Ended => {}
        }
    }

    /// Cancels an operation that nobody will wait for. What it keeps lives until its last completion, a
    /// descriptor that it makes is closed, a buffer that it fills is recycled.
    pub fn abandon(&mut self, key: OpKey) {
        let Some(entry) = self.ops.entry(key) else { return };
        entry.fiber = None;
        self.cancel(key);
    }

    /// Whether any operation is on a descriptor.
    pub fn has_on_fd(&self, fd: i32) -> bool {
        self.ops.on_fd(fd) > 0
    }

    /// Cancels every operation on a descriptor; says how many there are. Their fibers are told as usual.
    pub fn cancel_fd(&mut self, fd: i32) -> usize {
        if !self.has_on_fd(fd) {
            return 0;
        }
        let on_fd = self.ops.keys().filter(|(_, entry)| entry.op.fd() == Some(fd));
        let keys: Vec<OpKey> = on_fd.map(|(key, _)| key).collect();
        self.cancel_latest_first(&keys);
        keys.len()
    }

    /// Cancels every operation in flight.
    pub fn cancel_all(&mut self) {
        let keys: Vec<OpKey> = self.ops.keys().map(|(key, _)| key).collect();
        self.cancel_latest_first(&keys);
    }

    /// The kernel looks for what it is to cancel in lists that begin with the latest: the other way round,
    /// each of very many would be looked for behind all the others.
    fn cancel_latest_first(&mut self, keys: &[OpKey]) {
        keys.iter().rev().for_each(|&key| self.cancel(key));
    }

    /// Arms a timer: the host hears of it at the deadline, never before.
    #[inline]
    pub fn at(&mut self, deadline: Time, fiber: H::Fiber) -> TimerKey {
        self.timers.arm(deadline, fiber)
    }

    /// Moves an armed timer; false where it has fired or was disarmed.
    #[inline]
    pub fn rearm(&mut self, timer: TimerKey, deadline: Time) -> bool {
        self.timers.rearm(timer, deadline)
    }

    /// Forgets an armed timer; false where it has fired or was disarmed.
    #[inline]
    pub fn disarm(&mut self, timer: TimerKey) -> bool {
        self.timers.disarm(timer)
    }

    /// What next? Never blocks.
    #[inline]
    #[allow(clippy::should_implement_trait, reason = "it never ends, and is no iterator")]
    pub fn next(&mut self) -> Next<H::Fiber, B::Wait> {
        if self.budget > 0
            && let Some(fiber) = self.queue.pop()
        {
            self.budget -= 1;
            self.stats.switches += 1;
            return Next::Run(fiber);
        }
        self.look_around()
    }

    /// Takes in what has happened during a wait.
    pub fn harvest(&mut self, wait: B::Wait) {
        self.inbox.awake();
        if self.queue.awake() {
            self.budget = 0;
        }
        self.reap(Some(wait));
        self.catch_up();
        // Timers wait for the next look around: it comes as soon as nothing is ready, or soon enough, and
        // reading the clock once a turn is enough.
    }

    /// A wait that only the inbox, a signal or the deadline ends, for a thread whose shard is idle.
    pub fn wait_for_inbox(&mut self, deadline: Option<Time>) -> B::Wait {
        self.stats.turns += 1;
        let deadline = if self.inbox.fall_asleep() { self.soon_if_full(deadline) } else { Some(Time(0)) };
        self.backend.wait(deadline)
    }

    /// A wait that `deadline` ends too, for hosts that are told how long to wait.
    pub fn wait_until(&mut self, deadline: Option<Time>) -> B::Wait {
        let deadline = self.timers.worth_waiting_for().into_iter().chain(deadline).min();
        self.wait_for_inbox(deadline)
    }

    /// Says that the thread is about to wait by other means, for [`Backend::descriptor`], and until when it may.
    /// Time 0 says that it must not: something has come, or the kernel has not been given everything. A wait that
    /// does not sleep helps, and then it asks again.
    pub fn rest(&mut self) -> Option<Time> {
        if !self.queue.is_empty() || !self.inbox.fall_asleep() {
            return Some(Time(0));
        }
        let deadline = self.timers.worth_waiting_for().into_iter().chain(self.backend.until()).min();
        self.soon_if_full(deadline)
    }

    /// The bytes that an outcome put into one of the shard's buffers.
    pub fn buffer(&self, id: BufferId, len: usize) -> &[u8] {
        self.backend.buffer(id, len)
    }

    /// Gives a buffer back.
    pub fn recycle(&mut self, id: BufferId) {
        self.backend.recycle(id);
    }

    /// The backend's clock.
    #[inline]
    pub fn now(&self) -> Time {
        self.backend.now()
    }

    /// Where other threads leave names.
    pub fn inbox(&self) -> Arc<Inbox<H::Fiber>> {
        self.inbox.clone()
    }

    /// The host.
    #[inline]
    pub fn host(&self) -> &H {
        &self.host
    }

    /// The host.
    #[inline]
    pub fn host_mut(&mut self) -> &mut H {
        &mut self.host
    }

    /// The run queue.
    #[inline]
    pub fn queue(&self) -> &H::Queue {
        &self.queue
    }

    /// The run queue, for hosts that take fibers out of it.
    #[inline]
    pub fn queue_mut(&mut self) -> &mut H::Queue {
        &mut self.queue
    }

    /// The backend.
    pub fn backend(&self) -> &B {
        &self.backend
    }

    /// The backend, for tests that script it.
    pub fn backend_mut(&mut self) -> &mut B {
        &mut self.backend
    }

    /// How many operations are in flight.
    pub fn in_flight(&self) -> usize {
        self.ops.len()
    }

    /// Whether an operation has not had its last completion.
    pub fn is_in_flight(&mut self, key: OpKey) -> bool {
        self.ops.entry(key).is_some()
    }

    /// How many operations wait on a descriptor.
    pub fn in_flight_on(&self, fd: i32) -> usize {
        self.ops.on_fd(fd)
    }

    /// The fibers whose operations wait on a descriptor.
    pub fn waiting_on(&self, fd: i32) -> impl Iterator<Item = H::Fiber> + '_ {
        let none = self.ops.on_fd(fd) == 0;
        let entries = self.ops.keys().take(if none { 0 } else { usize::MAX });
        entries.filter(move |(_, entry)| entry.op.fd() == Some(fd)).filter_map(|(_, entry)| entry.fiber)
    }

    /// The operations in flight, and the fibers that wait for them.
    pub fn operations(&self) -> impl Iterator<Item = (H::Fiber, &Op)> + '_ {
        self.ops.keys().filter_map(|(_, entry)| Some((entry.fiber?, &entry.op)))
    }

    /// How many timers are armed.
    pub fn timers(&self) -> usize {
        self.timers.len()
    }

    /// What the shard has done so far.
    pub fn stats(&self) -> Stats {
        Stats { stolen: self.queue.stolen(), ..self.stats }
    }

    /// In the child of a fork: gives up what belongs to the parent without touching the kernel's side of
    /// it. What operations keep is leaked, for the parent's kernel requests point there.
    pub fn disown(mut self) {
        self.ops.leak();
    }

    /// Out of budget, or nothing is ready.
    #[cold]
    fn look_around(&mut self) -> Next<H::Fiber, B::Wait> {
        self.budget = BUDGET;
        self.tend();
        let look_again = match self.queue.replenish() {
            Stock::Ready if self.backend.wants_turn() => {
                self.stats.turns += 1;
                return Next::Wait(self.backend.wait(Some(Time(0))));
            }
            // Where others were faster, that looks around once more.
            Stock::Ready => return self.next(),
            Stock::Empty(look_again) => look_again,
        };
        if self.ops.len() == 0 && self.timers.is_empty() && look_again.is_none() {
            return Next::Idle;
        }
        let look_again = look_again.map(|span| self.backend.now() + span);
        Next::Wait(self.wait_until(look_again))
    }

    /// A full backend wants what is in the backlog offered again, even if nothing completes until then.
    fn soon_if_full(&self, deadline: Option<Time>) -> Option<Time> {
        if self.backlog.is_empty() {
            return deadline;
        }
        deadline.into_iter().chain([self.backend.now() + OFFER_AGAIN]).min()
    }

    /// Everything that needs no kernel: backlog, inbox, timers. [`next`](Self::next) does it now and then; a
    /// host may ask for it earlier.
    pub fn tend(&mut self) {
        self.catch_up();
        if let Some(earliest) = self.timers.earliest()
            && !self.backend.is_ahead(earliest)
        {
            self.expire(earliest);
            self.tell_ended();
        }
    }

    /// Backlog and inbox.
    fn catch_up(&mut self) {
        self.offer_backlog();
        if self.inbox.is_filled() {
            self.take_inbox();
        }
        self.tell_ended();
    }

    /// Last, for all of the above can cancel what was still queued, and nothing else would tell.
    fn tell_ended(&mut self) {
        while let Some(key) = self.ended.pop_front() {
            self.complete(key, Outcome::last(-libc::ECANCELED));
        }
    }

    fn take_inbox(&mut self) {
        let mut names = std::mem::take(&mut self.names);
        self.inbox.take(&mut names);
        for fiber in names.drain(..) {
            self.stats.notified += 1;
            let then = self.host.notified(fiber);
            self.obey(fiber, then);
        }
        self.names = names;
    }

    fn expire(&mut self, earliest: Time) {
        let now = self.backend.now();
        let mut expired = std::mem::take(&mut self.expired);
        self.timers.expire(now, |fiber, timer| {
            self.host.foreseen(fiber);
            expired.push((fiber, timer));
        });
        if !expired.is_empty() {
            self.stats.lag = u64::try_from(now.since(earliest).as_nanos()).unwrap_or(u64::MAX);
            self.stats.lag_peak = self.stats.lag_peak.max(self.stats.lag);
        }
        for (fiber, timer) in expired.drain(..) {
            self.stats.expired += 1;
            if self.host.tracing() {
                self.host.traced(Event::Expired { fiber, timer });
            }
            let then = self.host.expired(fiber, timer);
            self.obey(fiber, then);
        }
        self.expired = expired;
    }

    fn offer_backlog(&mut self) {
        while let Some(&pending) = self.backlog.front() {
            let taken = match pending {
                Pending::Submit(key) => match self.ops.entry(key) {
                    Some(entry) if entry.phase == Phase::Queued => {
                        let taken = self.backend.submit(key, &entry.op);
                        if taken == Taken::Yes {
                            entry.phase = Phase::InFlight;
                        }
                        taken
                    }
                    _ => Taken::Yes, // cancelled while it waited
                },
                Pending::Cancel(key) => match self.ops.entry(key) {
                    Some(entry) => self.backend.cancel(key, &entry.op),
                    None => Taken::Yes, // it ended by itself
                },
            };
            if taken == Taken::Full {
                return;
            }
            self.backlog.pop_front();
        }
    }

    fn reap(&mut self, wait: Option<B::Wait>) {
        let mut completions = std::mem::take(&mut self.completions);
        self.backend.harvest(wait, &mut |key, outcome| completions.push((key, outcome)));
        for (key, outcome) in completions.drain(..) {
            self.complete(key, outcome);
        }
        self.completions = completions;
    }

    fn complete(&mut self, key: OpKey, mut outcome: Outcome) {
        let Some(entry) = self.ops.entry(key) else { return }; // late completion of a recycled key
        match entry.phase {
            Phase::Polling | Phase::PollingTarget => return self.try_again(key, outcome),
            Phase::InFlight if outcome.result == -libc::EAGAIN && !entry.cancelled => {
                if let Some((fd, events)) = entry.op.readiness() {
                    outcome.buffer.into_iter().for_each(|id| self.backend.recycle(id));
                    return self.poll_first(key, Op::Poll { fd, events }, Phase::Polling);
                }
            }
            // The kernel's own signals to its threads are nobody's business.
            Phase::InFlight
                if outcome.result == -libc::EINTR && !entry.cancelled && entry.op.begins_again() =>
            {
                outcome.buffer.into_iter().for_each(|id| self.backend.recycle(id));
                return self.go_on(key);
            }
            Phase::InFlight | Phase::Queued | Phase::Ended => {}
        }
        if matches!(entry.op, Op::Close { .. }) && outcome.result == -libc::EINTR {
            outcome.result = 0; // Linux closes all the same.
        }
        if entry.cancelled && matches!(-outcome.result, libc::EINTR | libc::EAGAIN) {
            // How an operation ends whose thread in the kernel was interrupted, or that would wait again.
            outcome.result = -libc::ECANCELED;
        }
        if matches!(entry.op, Op::AcceptMany { .. } | Op::PollMany { .. })
            && outcome.result >= 0
            && !outcome.more
            && !entry.cancelled
        {
            // The kernel lost its patience (its completion queue was full) or never had any; we have not.
            outcome.more = true;
            self.go_on(key);
        }
        let entry = self.ops.entry(key).expect("found above, and it goes on");
        let fiber = entry.fiber;
        let makes_fd = entry.op.makes_fd();
        if !outcome.more {
            self.stats.completed += 1;
            drop(self.ops.remove(key));
        }
        if self.host.tracing() {
            self.host.traced(Event::Completed { fiber, op: key, result: outcome.result });
        }
        let Some(fiber) = fiber else {
            if makes_fd && outcome.result >= 0 {
                self.backend.discard(outcome.result);
            }
            if let Some(id) = outcome.buffer {
                self.backend.recycle(id);
            }
            return;
        };
        let then = self.host.completed(fiber, key, outcome);
        self.obey(fiber, then);
    }

    /// A descriptor that does not block was not ready: wait for readiness under the same key.
    fn poll_first(&mut self, key: OpKey, poll: Op, phase: Phase) {
        self.stats.retried += 1;
        let taken = if self.backlog.is_empty() { self.backend.submit(key, &poll) } else { Taken::Full };
        let entry = self.ops.entry(key).expect("the caller found the entry");
        entry.phase = match taken {
            Taken::Yes => phase,
            // Offered again as the operation itself, which asks for readiness again if it must.
            Taken::Full => {
                self.backlog.push_back(Pending::Submit(key));
                Phase::Queued
            }
        };
    }

    /// The descriptor is ready, or the wait for that failed or was cancelled.
    fn try_again(&mut self, key: OpKey, polled: Outcome) {
        let entry = self.ops.entry(key).expect("the caller found the entry");
        let phase = std::mem::replace(&mut entry.phase, Phase::InFlight);
        if polled.result < 0 {
            return self.complete(key, polled);
        }
        if entry.cancelled {
            return self.complete(key, Outcome::last(-libc::ECANCELED));
        }
        if phase == Phase::Polling
            && let Some((fd, events)) = entry.op.readiness_of_target()
        {
            return self.poll_first(key, Op::Poll { fd, events }, Phase::PollingTarget);
        }
        self.go_on(key);
    }

    /// Submits an operation once more, under its key.
    fn go_on(&mut self, key: OpKey) {
        let op = self.ops.entry(key).expect("the callers found the entry").op;
        if !self.backlog.is_empty() || self.backend.submit(key, &op) == Taken::Full {
            self.put_off(key);
        }
    }

    fn put_off(&mut self, key: OpKey) {
        self.stats.queued += 1;
        self.backlog.push_back(Pending::Submit(key));
        self.ops.entry(key).expect("the caller has just submitted it").phase = Phase::Queued;
    }

    #[inline]
    fn obey(&mut self, fiber: H::Fiber, then: Then) {
        match then {
            Then::Nothing => {}
            Then::Ready => self.queue.wake(fiber),
            Then::ReadyFirst => self.queue.push_first(fiber),
            Then::Cancel(key) => self.cancel(key),
        }
    }
}

impl<H: Host, B: Backend> Drop for Shard<H, B> {
    /// Operations that have not come home keep what they keep: the kernel may still write there.
    fn drop(&mut self) {
        self.ops.leak();
    }
}

/// Runs a shard's wait to its end on the calling thread: the loop of tests and simple hosts.
pub fn block<H: Host, B: Backend>(shard: &mut Shard<H, B>, mut wait: B::Wait) -> io::Result<()> {
    wait.block()?;
    shard.harvest(wait);
    Ok(())
}

/// Ends a shard on its own thread: cancels everything, waits for every last completion, at most `within`.
///
/// Says how many operations did not come home. What those keep is leaked, for the kernel may still write
/// there; and so, by the backend's own care, is what it lent them.
pub fn shut_down<H: Host, B: Backend>(mut shard: Shard<H, B>, within: Duration) -> usize {
    let deadline = shard.now() + within;
    shard.cancel_all();
    while shard.in_flight() > 0 && shard.now() < deadline {
        shard.tend();
        if shard.in_flight() == 0 {
            break;
        }
        let wait = shard.wait_for_inbox(Some(deadline));
        if block(&mut shard, wait).is_err() {
            break;
        }
    }
    shard.in_flight()
}
