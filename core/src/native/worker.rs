//! A worker: a thread, its shard, and the fibers that live there.
//!
//! The loop asks the shard what is next and does it. A fiber that suspends says what it wants; the
//! worker acts on that once it is back on its own stack (N1):
//!
//! ```text
//! shard.next() ─ Run(fiber) ─▶ resume ─ ask ─▶ queue it, submit for it, let go of its lock
//!              ─ Wait ───────▶ block, harvest
//!              ─ Idle ───────▶ block until another thread says something, or end
//! ```
//!
//! While a fiber runs, nothing borrows the shard: `next` has returned. What a fiber calls may therefore
//! borrow it again, briefly, on the same thread.
//!
//! Several workers are a [crew](crate::crew): fibers that may move are taken by whoever has nothing to do.
//! What has begun on a worker's ring ends there, and the fiber that waits for it is that worker's until then.

use std::{
    cell::{Cell, UnsafeCell},
    mem::ManuallyDrop,
    process, ptr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{
    ASKED, STOPPING, Shared, Whose,
    buffer::{Buffer, Loans},
    cancel::{self, interrupt, settle},
    current,
    descriptors::Descriptors,
    errno::{Errno, Result},
    family::Kin,
    fiber::{Ask, Fiber, FiberId, FiberRef, Parked, Roams, Standing},
    foresight,
    inquiry::describe,
    lock,
    lock::Lock,
    park::{self, Wake},
    plain::KeepErrno,
    scope::{self, Open},
    spawn::{Place, Placement},
    stack::Slab,
    telling,
};
use crate::{
    backend::{Backend, Wait, any::Any},
    buffers::BufferId,
    crew::{self, Lanes},
    host::{Host, Then},
    inbox::Inbox,
    op::{OpKey, Outcome},
    shard::{Next, Shard},
    stats::Stats,
    time::Time,
    timers::TimerKey,
};

type NativeShard = Shard<Fibers, Any>;

/// A worker. Apart from what is said to be everybody's it is its own thread's.
pub(crate) struct Worker {
    shard: UnsafeCell<ManuallyDrop<NativeShard>>,
    /// Everybody's.
    inbox: Arc<Inbox<FiberRef>>,
    /// Everybody's.
    shared: Arc<Shared>,
    /// Its number. Everybody's.
    index: usize,
    /// How many fibers it has begun, and how many have ended here. Everybody's, written by the worker.
    began: AtomicU64,
    ended: AtomicU64,
    /// Timers of fibers that have left. Everybody's.
    unwanted: Mutex<Vec<TimerKey>>,
    /// Whether there are any. Everybody's.
    has_unwanted: AtomicBool,
    /// Which buffers it has lent. Everybody's.
    loans: Arc<Loans>,
    /// On which descriptors operations of this worker wait, where others may ask. Everybody's.
    descriptors: Option<Descriptors>,
    vacant: UnsafeCell<Vec<FiberRef>>,
    /// How many of those there are at most.
    plenty: usize,
    /// Records for scopes.
    scopes: UnsafeCell<Vec<*mut Open>>,
    next_scope: Cell<u64>,
    turns: Cell<usize>,
    /// How many turns have been lent, and when one was refused.
    lent: Cell<u32>,
    refused: Cell<Time>,
    running: Cell<*const Cell<*const Fiber>>,
    stopped: Cell<bool>,
    /// The last inquiry that it has answered.
    answered: Cell<u64>,
    /// Whether the runtime's fibers are counted.
    is_limited: bool,
    forks: u32,
    /// Everybody's.
    describe: String,
}

// SAFETY: other threads use the address of a worker and what is said to be everybody's; nothing else.
unsafe impl Sync for Worker {}
// SAFETY: as above. The shard is made, used and dropped by the worker's thread.
unsafe impl Send for Worker {}

/// How many slots a worker takes from the slab at a time.
const REFILL: usize = 32;
/// Whose stack is fetched when a fiber is resumed: that of the one which runs after so many others; its record
/// was, as many earlier.
const AHEAD: usize = 3;
/// After so many turns that were lent the worker looks at the clock, and every so often it refuses one anyway.
const LENT_UNSEEN: u32 = 32;
const MOST_LENT: u32 = 8192;
/// For how long turns are lent before others have theirs.
const LENT_FOR: Duration = Duration::from_micros(500);
/// How many records for scopes a worker keeps.
const PLENTY: usize = 4096;

impl Worker {
    /// A worker for the calling thread, with its place among others if there are any.
    pub(crate) fn new(
        backend: Any,
        shared: Arc<Shared>,
        index: usize,
        place: Option<crew::Place<FiberRef>>,
    ) -> Arc<Self> {
        let describe = backend.describe();
        let fibers = Fibers { worker: ptr::null(), counts_descriptors: place.is_some(), cold: 0 };
        let shard = Shard::new(fibers, backend);
        let (is_limited, plenty) = (shared.most_fibers.is_some(), shared.slab.plenty());
        let worker = Arc::new(Worker {
            is_limited,
            inbox: shard.inbox(),
            shard: UnsafeCell::new(ManuallyDrop::new(shard)),
            shared,
            index,
            began: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            unwanted: Mutex::default(),
            has_unwanted: AtomicBool::new(false),
            loans: Loans::new(),
            descriptors: place.is_some().then(Descriptors::default),
            vacant: UnsafeCell::default(),
            plenty,
            scopes: UnsafeCell::default(),
            next_scope: Cell::new(scope::first_serial()),
            turns: Cell::new(0),
            lent: Cell::new(0),
            refused: Cell::new(Time(0)),
            running: Cell::new(ptr::null()),
            stopped: Cell::new(false),
            answered: Cell::new(0),
            forks: current::forks(),
            describe,
        });
        worker.shard().host_mut().worker = &*worker;
        if let Some(place) = place {
            worker.shard().queue_mut().join(place, &*worker, worker.inbox.clone());
        }
        worker
    }

    /// Runs fibers until the runtime shuts down and none is left.
    pub(crate) fn run(&self) {
        self.running.set(current::become_worker(self));
        loop {
            let calls = self.shared.calls();
            if calls != 0 {
                self.heed(calls);
            }
            if self.stopped.get() && self.shared.live() == 0 {
                break;
            }
            match self.shard().next() {
                Next::Run(fiber) => self.resume(fiber),
                Next::Wait(wait) => self.block(wait),
                Next::Idle => {
                    let wait = self.shard().wait_for_inbox(None);
                    self.block(wait);
                }
            }
        }
        // The others may sleep, and nothing else would tell them that it is over.
        self.shared.wake_all();
        self.shared.count(self.shard().stats());
        self.vacate_all();
        self.take_back_buffers();
        // Who still has a buffer reads it: better a leak than that.
        if !self.loans.are_out() {
            // SAFETY: no fiber is left, so nobody on this thread uses the shard any more; others never do.
            unsafe { ManuallyDrop::drop(&mut *self.shard.get()) };
        }
        current::become_worker(ptr::null());
    }

    /// The shard, for a moment.
    #[inline]
    #[allow(clippy::mut_from_ref, reason = "one thread, and no borrow outlives the expression that makes it")]
    pub(crate) fn shard(&self) -> &mut NativeShard {
        // SAFETY: only the worker's thread comes here, and no caller keeps the reference while another
        // fiber runs or another borrow is made.
        unsafe { &mut *self.shard.get() }
    }

    /// Starts a fiber, from one that runs here; a child of a scope in its place, which is null for another's.
    #[inline]
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        function: impl FnOnce() -> T + Send + 'static,
        detached: bool,
        placement: Placement,
        kin: *const Kin,
    ) -> Result<FiberId> {
        if self.is_limited {
            return self.spawn_admitted(function, detached, placement, kin);
        }
        self.begin(function, detached, placement, kin)
    }

    /// [`spawn`](Self::spawn) where fibers are counted.
    #[cold]
    #[inline(never)]
    fn spawn_admitted<T: Send + 'static>(
        &self,
        function: impl FnOnce() -> T + Send + 'static,
        detached: bool,
        placement: Placement,
        kin: *const Kin,
    ) -> Result<FiberId> {
        self.shared.admit(Whose::User)?;
        self.begin(function, detached, placement, kin).inspect_err(|_| self.shared.dismiss())
    }

    /// Starts a fiber of the library's own, however many there are.
    pub(crate) fn spawn_own<T: Send + 'static>(
        &self,
        function: impl FnOnce() -> T + Send + 'static,
        worker: usize,
    ) -> Result<FiberId> {
        self.shared.admit(Whose::Library)?;
        let begun = self.begin(function, false, Placement::on(worker), ptr::null());
        if begun.is_err() || !self.is_limited {
            self.shared.dismiss();
        }
        begun
    }

    #[inline(always)]
    fn begin<T: Send + 'static>(
        &self,
        function: impl FnOnce() -> T + Send + 'static,
        detached: bool,
        placement: Placement,
        kin: *const Kin,
    ) -> Result<FiberId> {
        if self.stopped.get() {
            return Err(Errno::SHUTDOWN);
        }
        let home = match placement.0 {
            Place::On(index) => self.shared.worker(index)?,
            Place::Anywhere | Place::Migratable | Place::Pinned => ptr::from_ref(self),
        };
        let slab = self.shared.slab;
        // SAFETY: this thread's, and `claim` does not come back here.
        let vacant = unsafe { &mut *self.vacant.get() };
        if vacant.is_empty() {
            let _keep = KeepErrno::new();
            slab.claim(vacant, REFILL)?;
        }
        let fiber = vacant.pop().expect("refilled above");
        count_one(&self.began);
        let roams = if self.descriptors.is_some() { placement.roams() } else { Roams::Nowhere };
        let id = fiber.prepare(slab, home, roams, function);
        // SAFETY: a place that was given to the caller for this child.
        if let Some(place) = unsafe { kin.as_ref() } {
            fiber.kin.set(kin);
            place.settle(id);
        }
        fiber.live(detached);
        if ptr::eq(home, self) {
            fiber.parked.set(Parked::Ready);
            self.shard().ready(fiber);
        } else {
            // SAFETY: a worker outlives the fibers of its runtime, one of which calls.
            park::push(fiber, unsafe { &*home }.inbox());
        }
        Ok(id)
    }

    /// Keeps a slot that has become vacant for the next fiber.
    #[inline]
    pub(crate) fn vacate(&self, fiber: FiberRef) {
        // SAFETY: this thread's, and nothing below comes back here.
        let vacant = unsafe { &mut *self.vacant.get() };
        vacant.push(fiber);
        if vacant.len() > self.plenty {
            self.shared.slab.release(vacant.drain(..self.plenty / 2));
        }
    }

    /// A fiber is about to wait for the end of another, whose lock it has: if that has not begun yet, it does so before
    /// all others, on a stack that is still in the cache, and a tree of fibers that join their children is never there
    /// as a whole.
    #[inline(always)]
    pub(crate) fn lend_turn(&self, child: FiberRef) {
        let overtakes = match child.standing(self) {
            Standing::Here => child.is_new() && self.may_lend() && self.shard().queue_mut().overtake(child),
            // It has not begun; whoever else takes it from here begins it there.
            Standing::Exposed if child.settles() => {
                self.may_lend() && self.shard().queue_mut().overtake_exposed(child)
            }
            Standing::Exposed | Standing::Elsewhere => false,
        };
        if overtakes {
            child.lent.set(true);
        }
    }

    /// Others wait meanwhile: not for long, and not for ever where the clock stands still.
    #[inline]
    fn may_lend(&self) -> bool {
        let lent = self.lent.get().wrapping_add(1);
        self.lent.set(lent);
        !lent.is_multiple_of(LENT_UNSEEN) || !self.is_time_for_others(lent)
    }

    #[cold]
    fn is_time_for_others(&self, lent: u32) -> bool {
        let now = self.shard().now();
        let is_time = now > self.refused.get() + LENT_FOR || lent.is_multiple_of(MOST_LENT);
        if is_time {
            self.refused.set(now);
        }
        is_time
    }

    /// Begins to end what a fiber waits for that stood there a moment ago.
    pub(crate) fn interrupt(&self, fiber: FiberRef, standing: Standing, why: Errno) {
        match standing {
            Standing::Here => {}
            Standing::Exposed => return,
            Standing::Elsewhere => return park::forward(fiber),
        }
        match interrupt(fiber, why) {
            Then::Nothing => {}
            Then::Ready => self.shard().ready(fiber),
            Then::ReadyFirst => self.shard().ready_first(fiber),
            Then::Cancel(key) => self.shard().cancel(key),
        }
    }

    /// A number that grows; this thread only.
    pub(crate) fn turn(&self) -> usize {
        self.turns.replace(self.turns.get().wrapping_add(1))
    }

    /// A record for a scope that a fiber opens here, and its serial number.
    #[inline]
    pub(crate) fn scope(&self) -> (&'static Open, u64) {
        let serial = self.next_scope.replace(self.next_scope.get() + 1);
        // SAFETY: this thread's, and nothing here comes back.
        let spare = unsafe { &mut *self.scopes.get() };
        // SAFETY: made by a box, and given up only when the worker ends, after its fibers.
        (unsafe { &*spare.pop().unwrap_or_else(|| Box::into_raw(Box::default())) }, serial)
    }

    /// Keeps the record of a scope that is closed for the next one.
    #[inline]
    pub(crate) fn scope_closed(&self, open: &Open) {
        // SAFETY: as in `scope`.
        let spare = unsafe { &mut *self.scopes.get() };
        let open = ptr::from_ref(open).cast_mut();
        if spare.len() < PLENTY {
            return spare.push(open);
        }
        // SAFETY: made by a box in `scope`, and nobody else knows it any more.
        drop(unsafe { Box::from_raw(open) });
    }

    pub(crate) fn inbox(&self) -> &Arc<Inbox<FiberRef>> {
        &self.inbox
    }

    pub(crate) fn slab(&self) -> &'static Slab {
        self.shared.slab
    }

    pub(crate) fn belongs_to(&self, shared: &Arc<Shared>) -> bool {
        Arc::ptr_eq(&self.shared, shared)
    }

    pub(crate) fn describe(&self) -> &str {
        &self.describe
    }

    /// What the shard has done so far; this thread only.
    pub(crate) fn stats(&self) -> Stats {
        self.shard().stats()
    }

    /// How many fibers it has begun. Any thread.
    pub(crate) fn began(&self) -> u64 {
        self.began.load(Ordering::SeqCst)
    }

    /// How many fibers have ended here. Any thread.
    pub(crate) fn ended(&self) -> u64 {
        self.ended.load(Ordering::SeqCst)
    }

    /// Its number. Any thread.
    pub(crate) fn index(&self) -> usize {
        self.index
    }

    /// The worker's runtime. Any thread.
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Whether an operation of this worker's may be waiting on a descriptor. Any thread; what others began of
    /// late may not be seen, unless something has told the caller of it.
    pub(crate) fn waits_on(&self, fd: i32) -> bool {
        self.descriptors.as_ref().is_some_and(|descriptors| descriptors.are_waited_on(fd))
    }

    /// Takes out a timer of a fiber that has left, some time. Any thread.
    pub(crate) fn disarm_later(&self, timer: TimerKey) {
        lock(&self.unwanted).push(timer);
        self.has_unwanted.store(true, Ordering::Release);
    }

    /// Lends a buffer that was filled with so many bytes, to a fiber that runs here.
    pub(crate) fn lend(&self, id: BufferId, len: usize) -> Buffer {
        self.loans.lend(id, self.shard().buffer(id, len))
    }

    /// Whether those are its loans. Any thread.
    pub(crate) fn has_lent(&self, loans: &Arc<Loans>) -> bool {
        Arc::ptr_eq(&self.loans, loans)
    }

    /// Takes back what others have given back of its buffers.
    pub(crate) fn take_back_buffers(&self) {
        if self.loans.have_returned() {
            self.loans.take_back().into_iter().for_each(|id| self.shard().recycle(id));
        }
    }

    #[inline]
    fn resume(&self, fiber: FiberRef) {
        if self.shard().host().cold > 0 {
            self.look_ahead();
        }
        // SAFETY: this thread's own cell, which lives as long as the thread.
        let running = unsafe { &*self.running.get() };
        running.set(fiber.as_ptr());
        let ended = fiber.resume();
        running.set(ptr::null());
        if ended {
            return self.finish(fiber);
        }
        match fiber.asked() {
            Ask::Yield => self.shard().yielded(fiber),
            Ask::Perform(op) => {
                // epoll tries at once, by system calls that tell of failure in errno; a ring does not.
                let _keep = matches!(self.shard().backend(), Any::Epoll(_)).then(KeepErrno::new);
                // SAFETY: the op stands on the fiber's stack, and the fiber is parked. So does all that
                // it points to, by the contract of `perform`, until its last completion resumes it (N3).
                let op = unsafe { **op };
                if let Some(descriptors) = &self.descriptors {
                    descriptors.count(&op, 1);
                }
                let key = self.shard().submit(fiber, op, ());
                fiber.parked.set(Parked::Operation(key));
            }
            // SAFETY: the object that the fiber waits for lives until its call returns.
            Ask::Release(lock) => unsafe { (**lock).unlock() },
            // SAFETY: as above; the locks stand on the fiber's stack, which stays while this thread is here.
            Ask::ReleaseAll(locks) => release_all(unsafe { &**locks }),
            // SAFETY: the key stands on the fiber's stack, which stays while this thread is here.
            Ask::Sleep(timer) => fiber.parked.set(Parked::Asleep(unsafe { **timer })),
        }
    }

    /// Fetches what two fibers will need whose operations have completed: the record of one, the stack of
    /// another whose record has come meanwhile.
    #[inline]
    fn look_ahead(&self) {
        let shard = self.shard();
        shard.host_mut().cold -= 1;
        if let Some(fiber) = shard.queue().peek(2 * AHEAD) {
            foresight::fetch_record(fiber.as_ptr().cast());
        }
        let Some(fiber) = shard.queue().peek(AHEAD) else { return };
        match fiber.ask.get() {
            Ask::Perform(op) => foresight::fetch_frames(op.cast()),
            Ask::Sleep(timer) => foresight::fetch_frames(timer.cast()),
            Ask::Yield | Ask::Release(_) | Ask::ReleaseAll(_) => {}
        }
    }

    #[inline]
    fn finish(&self, fiber: FiberRef) {
        if self.forks != current::forks() {
            // A fiber forked, and the child's copy of it has returned: there is no loop to return to.
            // SAFETY: it takes a number.
            unsafe { libc::_exit(0) };
        }
        // Before anybody can know that it has: who waited for it may count.
        count_one(&self.ended);
        if self.is_limited {
            self.shared.dismiss();
        }
        let lent = fiber.lent.replace(false);
        let (vacant, wake) = fiber.finish(self);
        match wake {
            Some(Wake::Here(joiner)) if lent => {
                joiner.parked.set(Parked::Ready);
                self.shard().ready_first(joiner);
            }
            Some(wake) => wake.now(),
            None => {}
        }
        if vacant {
            self.vacate(fiber);
        }
    }

    fn block(&self, mut wait: <Any as Backend>::Wait) {
        // A wait that times out says so through errno, which belongs to the fibers.
        let _keep = KeepErrno::new();
        if let Err(error) = wait.block() {
            // Operations are in flight that nobody can ever hear of again, on stacks that the kernel may
            // write to: there is no way on from here.
            eprintln!("polyphony: waiting for the kernel failed: {error}");
            process::abort();
        }
        self.shard().harvest(wait);
        if self.has_unwanted.load(Ordering::Relaxed) {
            self.disarm_unwanted();
        }
        self.take_back_buffers();
    }

    #[cold]
    fn disarm_unwanted(&self) {
        self.has_unwanted.store(false, Ordering::Relaxed);
        let unwanted = std::mem::take(&mut *lock(&self.unwanted));
        for timer in unwanted {
            self.shard().disarm(timer);
        }
    }

    #[cold]
    fn heed(&self, calls: u8) {
        if calls & STOPPING != 0 && !self.stopped.replace(true) {
            self.stop();
        }
        if calls & ASKED != 0 {
            self.answer();
        }
    }

    /// Tells what the fibers here are doing, once to each who asks. This thread only.
    pub(crate) fn answer(&self) {
        let _keep = KeepErrno::new();
        let number = self.shared.inquiry.number();
        if self.answered.replace(number) != number {
            let fibers = self.shared.fibers().filter_map(|fiber| describe(fiber, self));
            self.shared.inquiry.tell(number, fibers);
        }
    }

    /// The runtime shuts down: ends what every fiber waits for, now and from now on.
    ///
    /// Each worker does so for those that it has and tells the others of the rest: a fiber that moves
    /// meanwhile passes by none of them.
    fn stop(&self) {
        // The latest first, for the kernel's sake: see `Shard::cancel_all`.
        for fiber in self.shared.slab.fibers().rev() {
            let Some(end) = self.shared.hold(&fiber) else { continue };
            let (is_new, standing) = (cancel::stop(fiber), fiber.standing(self));
            drop(end);
            if is_new || standing == Standing::Here {
                self.interrupt(fiber, standing, Errno::CANCELED);
            }
        }
    }

    fn vacate_all(&self) {
        // SAFETY: this thread's.
        let vacant = unsafe { &mut *self.vacant.get() };
        self.shared.slab.release(vacant.drain(..));
        // SAFETY: this thread's, and its fibers, which had scopes, have ended.
        let scopes = unsafe { &mut *self.scopes.get() };
        // SAFETY: made by boxes in `scope`, and nobody knows of them.
        scopes.drain(..).for_each(|open| drop(unsafe { Box::from_raw(open) }));
    }
}

/// Lets go of all locks under which a fiber has parked. Once the first is open the fiber can be woken, but by this
/// very thread only: it is this worker's, so its stack stays as it is meanwhile.
#[cold]
fn release_all(locks: &[&Lock]) {
    locks.iter().for_each(|lock| lock.unlock());
}

/// Adds one to a count that only this thread writes.
#[inline]
fn count_one(count: &AtomicU64) {
    count.store(count.load(Ordering::Relaxed) + 1, Ordering::Release);
}

/// The host: hears what happens to fibers, and says what to do about it.
#[derive(Debug)]
pub(crate) struct Fibers {
    worker: *const Worker,
    counts_descriptors: bool,
    /// How many resumes look ahead yet: one for each completion, and for each sleep that is over.
    cold: usize,
}

impl Host for Fibers {
    type Fiber = FiberRef;
    /// A fiber stays parked until its operation's last completion: its own stack keeps everything (N3).
    type Keep = ();
    type Queue = Lanes<FiberRef>;

    #[inline]
    fn completed(&mut self, fiber: FiberRef, key: OpKey, outcome: Outcome) -> Then {
        if outcome.more || outcome.buffer.is_some() {
            let enough = telling::tell(fiber, outcome);
            if outcome.more {
                return if enough { Then::Cancel(key) } else { Then::Nothing };
            }
        }
        if self.counts_descriptors {
            self.forget_descriptor(fiber);
        }
        fiber.outcome.set(settle(fiber, outcome.result));
        fiber.parked.set(Parked::Ready);
        self.cold += 1;
        Then::Ready
    }

    #[inline]
    fn foreseen(&self, fiber: FiberRef) {
        foresight::fetch_record(fiber.as_ptr().cast());
    }

    fn expired(&mut self, fiber: FiberRef, timer: TimerKey) -> Then {
        if fiber.stands(self.worker) != Some(Standing::Here) {
            // It is ready, and looks by itself at its next blocking call; where it has left for good it has
            // armed another timer there.
            fiber.overdue.store(true, Ordering::Relaxed);
            return Then::Nothing;
        }
        match fiber.parked.get() {
            Parked::Asleep(asleep) if asleep == timer => {
                fiber.outcome.set(0);
                fiber.parked.set(Parked::Ready);
                self.cold += 1;
                Then::Ready
            }
            _ if scope::expired(fiber, self.worker, timer) => interrupt(fiber, Errno::TIMED_OUT),
            _ => Then::Nothing,
        }
    }

    /// Somebody says that something may have happened to a fiber; what, the fiber's record tells. The
    /// news may be late, and the record another fiber's by now: then there is nothing to do.
    fn notified(&mut self, fiber: FiberRef) -> Then {
        match fiber.stands(self.worker) {
            Some(Standing::Here) => {}
            Some(Standing::Exposed) | None => return Then::Nothing, // it will look by itself; or nobody is there
            Some(Standing::Elsewhere) => {
                if fiber.latch.load(Ordering::SeqCst) != super::fiber::CALM {
                    park::forward(fiber);
                }
                return Then::Nothing;
            }
        }
        match fiber.parked.get() {
            Parked::Unstarted => {
                fiber.parked.set(Parked::Ready);
                Then::Ready
            }
            // SAFETY: the fiber is parked, so the call that holds its waiter has not returned.
            Parked::Listed(waiter) if unsafe { (*waiter).is_granted() } => {
                fiber.parked.set(Parked::Ready);
                Then::Ready
            }
            _ if fiber.latch.load(Ordering::SeqCst) != super::fiber::CALM => {
                interrupt(fiber, Errno::CANCELED)
            }
            _ => Then::Nothing,
        }
    }
}

impl Fibers {
    /// An operation of the fiber's has ended: its descriptor is waited on by one less.
    fn forget_descriptor(&self, fiber: FiberRef) {
        // SAFETY: the worker owns the shard that owns this host.
        let worker = unsafe { &*self.worker };
        if let (Some(descriptors), Ask::Perform(op)) = (&worker.descriptors, fiber.ask.get()) {
            // SAFETY: the fiber is still parked in the call on whose frame the operation stands.
            descriptors.count(unsafe { &*op }, -1);
        }
    }
}
