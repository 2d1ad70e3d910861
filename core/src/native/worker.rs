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

use std::{
    cell::{Cell, UnsafeCell},
    mem::ManuallyDrop,
    process, ptr,
    sync::{Arc, atomic::Ordering},
};

use super::{
    Shared,
    cancel::{self, interrupt, settle},
    current,
    errno::{Errno, Result},
    fiber::{Ask, Fiber, FiberId, FiberRef, Parked, Stage},
    foresight,
    plain::KeepErrno,
    scope,
    stack::Slab,
};
use crate::{
    backend::{Backend, Wait, any::Any},
    host::{Host, Then},
    inbox::Inbox,
    op::{OpKey, Outcome},
    run_queue::Fifo,
    shard::{Next, Shard},
    stats::Stats,
    timers::TimerKey,
};

type NativeShard = Shard<Fibers, Any>;

/// A worker. Apart from `inbox` and `shared` it is its own thread's.
pub(crate) struct Worker {
    shard: UnsafeCell<ManuallyDrop<NativeShard>>,
    inbox: Arc<Inbox<FiberRef>>,
    shared: Arc<Shared>,
    vacant: UnsafeCell<Vec<FiberRef>>,
    running: Cell<*const Cell<*const Fiber>>,
    stopped: Cell<bool>,
    forks: u32,
    describe: String,
}

// SAFETY: other threads use `inbox`, `shared`, `describe` and the address of a worker; nothing else.
unsafe impl Sync for Worker {}
// SAFETY: as above. The shard is made, used and dropped by the worker's thread.
unsafe impl Send for Worker {}

/// How many slots a worker takes from the slab at a time.
const REFILL: usize = 32;
/// Whose stack is fetched when a fiber is resumed: that of the one which runs after so many others; its record
/// was, as many earlier.
const AHEAD: usize = 3;
/// How many vacant slots a worker keeps; beyond that it gives half of them back.
const PLENTY: usize = 4096;

impl Worker {
    /// A worker for the calling thread.
    pub(crate) fn new(backend: Any, shared: Arc<Shared>) -> Arc<Self> {
        let describe = backend.describe();
        let shard = Shard::new(Fibers { worker: ptr::null(), live: 0, cold: 0 }, backend);
        let worker = Arc::new(Worker {
            inbox: shard.inbox(),
            shard: UnsafeCell::new(ManuallyDrop::new(shard)),
            shared,
            vacant: UnsafeCell::default(),
            running: Cell::new(ptr::null()),
            stopped: Cell::new(false),
            forks: current::forks(),
            describe,
        });
        worker.shard().host_mut().worker = &*worker;
        worker
    }

    /// Runs fibers until the runtime shuts down and none is left.
    pub(crate) fn run(&self) {
        self.running.set(current::become_worker(self));
        loop {
            if self.shared.is_stopping() && !self.stopped.replace(true) {
                self.stop();
            }
            match self.shard().next() {
                Next::Run(fiber) => self.resume(fiber),
                Next::Wait(wait) => self.block(wait),
                Next::Idle if self.stopped.get() && self.live() == 0 && !self.inbox.is_filled() => break,
                Next::Idle => {
                    let wait = self.shard().wait_for_inbox(None);
                    self.block(wait);
                }
            }
        }
        self.shared.count(self.shard().stats());
        self.vacate_all();
        // SAFETY: no fiber is left, so nobody on this thread uses the shard any more; others never do.
        unsafe { ManuallyDrop::drop(&mut *self.shard.get()) };
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

    /// Starts a fiber, from one that runs here.
    #[inline]
    pub(crate) fn spawn<F, T>(&self, function: F, detached: bool) -> Result<FiberId>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        if self.stopped.get() {
            return Err(Errno::SHUTDOWN);
        }
        let slab = self.shared.slab;
        // SAFETY: this thread's, and `claim` does not come back here.
        let vacant = unsafe { &mut *self.vacant.get() };
        if vacant.is_empty() {
            let _keep = KeepErrno::new();
            slab.claim(vacant, REFILL)?;
        }
        let fiber = vacant.pop().expect("refilled above");
        let id = fiber.prepare(slab, function, detached);
        fiber.home.store(ptr::from_ref(self).cast_mut(), Ordering::Release);
        fiber.parked.set(Parked::Ready);
        let shard = self.shard();
        shard.host_mut().live += 1;
        shard.ready(fiber);
        Ok(id)
    }

    /// Keeps a slot that has become vacant for the next fiber.
    #[inline]
    pub(crate) fn vacate(&self, fiber: FiberRef) {
        // SAFETY: this thread's, and nothing below comes back here.
        let vacant = unsafe { &mut *self.vacant.get() };
        vacant.push(fiber);
        if vacant.len() > PLENTY {
            self.shared.slab.release(vacant.drain(..PLENTY / 2));
        }
    }

    /// Begins to end what a fiber of this worker waits for.
    pub(crate) fn interrupt(&self, fiber: FiberRef, why: Errno) {
        match interrupt(fiber, why) {
            Then::Nothing => {}
            Then::Ready => self.shard().ready(fiber),
            Then::ReadyFirst => self.shard().ready_first(fiber),
            Then::Cancel(key) => self.shard().cancel(key),
        }
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

    /// How many fibers live here; this thread only.
    pub(crate) fn live(&self) -> usize {
        self.shard().host().live
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
                let key = self.shard().submit(fiber, unsafe { **op }, ());
                fiber.parked.set(Parked::Operation(key));
            }
            // SAFETY: the object that the fiber waits for lives until its call returns.
            Ask::Release(lock) => unsafe { (**lock).unlock() },
            Ask::Sleep(timer) => fiber.parked.set(Parked::Asleep(*timer)),
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
        if let Some(fiber) = shard.queue().peek(AHEAD)
            && let Ask::Perform(op) = fiber.ask.get()
        {
            foresight::fetch_frames(op.cast());
        }
    }

    #[inline]
    fn finish(&self, fiber: FiberRef) {
        if self.forks != current::forks() {
            // A fiber forked, and the child's copy of it has returned: there is no loop to return to.
            // SAFETY: it takes a number.
            unsafe { libc::_exit(0) };
        }
        self.shard().host_mut().live -= 1;
        let (vacant, wake) = fiber.finish(self);
        if let Some(wake) = wake {
            wake.now();
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
    }

    /// The runtime shuts down: ends what every fiber waits for, now and from now on.
    fn stop(&self) {
        // The latest first, for the kernel's sake: see `Shard::cancel_all`.
        for fiber in self.shared.slab.fibers().rev() {
            if self.owns(fiber) {
                cancel::stop(fiber);
                self.interrupt(fiber, Errno::CANCELED);
            }
        }
    }

    fn owns(&self, fiber: FiberRef) -> bool {
        let here = ptr::eq(fiber.home.load(Ordering::Acquire), self);
        here && matches!(fiber.end.lock().stage, Stage::Live { .. })
    }

    fn vacate_all(&self) {
        // SAFETY: this thread's.
        let vacant = unsafe { &mut *self.vacant.get() };
        self.shared.slab.release(vacant.drain(..));
    }
}

/// The host: hears what happens to fibers, and says what to do about it.
#[derive(Debug)]
pub(crate) struct Fibers {
    worker: *const Worker,
    live: usize,
    /// How many resumes look ahead yet: one for each completion.
    cold: usize,
}

impl Host for Fibers {
    type Fiber = FiberRef;
    /// A fiber stays parked until its operation's last completion: its own stack keeps everything (N3).
    type Keep = ();
    type Queue = Fifo<FiberRef>;

    #[inline]
    fn completed(&mut self, fiber: FiberRef, _: OpKey, outcome: Outcome) -> Then {
        fiber.outcome.set(settle(fiber, outcome.result));
        fiber.parked.set(Parked::Ready);
        self.cold += 1;
        Then::Ready
    }

    fn expired(&mut self, fiber: FiberRef, timer: TimerKey) -> Then {
        match fiber.parked.get() {
            Parked::Asleep(asleep) if asleep == timer => {
                fiber.outcome.set(0);
                fiber.parked.set(Parked::Ready);
                Then::Ready
            }
            _ if scope::expired(fiber, timer) => interrupt(fiber, Errno::TIMED_OUT),
            _ => Then::Nothing,
        }
    }

    /// Somebody says that something may have happened to a fiber; what, the fiber's record tells. The
    /// news may be late, and the record another fiber's by now: then there is nothing to do.
    fn notified(&mut self, fiber: FiberRef) -> Then {
        if !ptr::eq(fiber.home.load(Ordering::Acquire), self.worker) {
            return Then::Nothing;
        }
        match fiber.parked.get() {
            Parked::Unstarted => {
                self.live += 1;
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
