//! Waiting in somebody's list: how fibers and threads wait for each other.
//!
//! A waiter stands on the stack of the call that waits. Its list and its fields are guarded by the lock
//! of the object that is waited for:
//!
//! ```text
//! waiting call:  lock ─▶ nothing to be had ─▶ link ─▶ park, letting go of the lock once off the stack
//! granting call: lock ─▶ unlink, write the item and the result ─▶ unlock ─▶ wake
//! cancellation:  lock ─▶ still linked? unlink, write the error ─▶ unlock ─▶ ready
//! ```
//!
//! So a waiter is either granted or cancelled, never both: what was given to it is never lost, and what
//! was not yet given to it goes to the next. A cancellation is always carried out by the fiber's home
//! thread, which is the one that would resume it: the waiting call cannot return meanwhile. Nor can the fiber
//! move: it does so only when it is ready.

use std::{
    cell::Cell,
    ptr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, Thread},
};

use super::{
    cancel, current,
    errno::{Errno, Result},
    fiber::{Ask, FiberId, FiberRef, Parked, Stage},
    lock::{Held, Lock},
    plain::KeepErrno,
    worker::Worker,
};
use crate::inbox::Inbox;

/// One waiting call.
pub(crate) struct Waiter {
    next: Cell<*const Waiter>,
    previous: Cell<*const Waiter>,
    list: Cell<*const Waiters>,
    lock: Cell<*const Lock>,
    who: Who,
    what: What,
    item: *mut (),
    result: Cell<i32>,
    granted: AtomicBool,
}

/// What a call waits for, for people who ask.
#[derive(Clone, Copy, Debug)]
pub(crate) enum What {
    Fiber(FiberId),
    Children,
    Mutex,
    Condition,
    Semaphore,
    Event,
    Sending,
    Receiving,
}

enum Who {
    Fiber(FiberRef),
    Thread(Thread),
}

impl Who {
    #[cold]
    fn this_thread() -> Self {
        Who::Thread(thread::current())
    }
}

impl Waiter {
    /// What the waiting call lends: where an item goes, or the item itself.
    pub(crate) fn item(&self) -> *mut () {
        self.item
    }

    /// What the call waits for.
    pub(crate) fn what(&self) -> What {
        self.what
    }

    /// Whether somebody has granted what the waiter waits for.
    pub(crate) fn is_granted(&self) -> bool {
        self.granted.load(Ordering::Acquire)
    }

    /// Takes the waiter out of its list, unless somebody has granted it already; says whether.
    pub(crate) fn give_up(&self, why: Errno) -> bool {
        // SAFETY: the waiting call has not returned, so the object that it waits for is alive.
        let lock = unsafe { &*self.lock.get() };
        lock.lock();
        let list = self.list.get();
        if !list.is_null() {
            // SAFETY: as above; the lock is held.
            unsafe { (*list).unlink(self) };
            self.result.set(-why.number());
        }
        lock.unlock();
        !list.is_null()
    }
}

/// Waiters in the order in which they came. All zeros is empty.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Waiters {
    first: Cell<*const Waiter>,
    last: Cell<*const Waiter>,
}

// SAFETY: a list is touched under the lock of the object that it belongs to; what it points to is kept
// alive by the waiting calls.
unsafe impl Send for Waiters {}

impl Waiters {
    pub(crate) const fn new() -> Self {
        Waiters { first: Cell::new(ptr::null()), last: Cell::new(ptr::null()) }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.first.get().is_null()
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        // SAFETY: linked waiters are alive: their calls wait.
        let next = |&waiter: &*const Waiter| unsafe { (*waiter).next.get() };
        let linked = |waiter: &*const Waiter| !waiter.is_null();
        std::iter::successors(self.first(), |waiter| Some(next(waiter)).filter(linked)).count()
    }

    /// The waiter that came first.
    #[inline]
    pub(crate) fn first(&self) -> Option<*const Waiter> {
        (!self.is_empty()).then(|| self.first.get())
    }

    /// Takes out the waiter that came first.
    #[inline]
    pub(crate) fn pop(&self) -> Option<*const Waiter> {
        let first = self.first()?;
        // SAFETY: a linked waiter is alive: its call waits.
        unsafe { self.unlink(&*first) };
        Some(first)
    }

    #[inline]
    fn push(&self, waiter: &Waiter) {
        let last = self.last.replace(waiter);
        waiter.previous.set(last);
        waiter.list.set(self);
        if last.is_null() {
            self.first.set(waiter);
        } else {
            // SAFETY: a linked waiter is alive: its call waits.
            unsafe { (*last).next.set(waiter) };
        }
    }

    #[inline]
    fn unlink(&self, waiter: &Waiter) {
        let (previous, next) = (waiter.previous.get(), waiter.next.get());
        // SAFETY: the neighbours of a linked waiter are linked, hence alive.
        unsafe {
            if previous.is_null() {
                self.first.set(next)
            } else {
                (*previous).next.set(next)
            }
            if next.is_null() { self.last.set(previous) } else { (*next).previous.set(previous) }
        }
        waiter.list.set(ptr::null());
    }
}

/// Waits at the end of one of the lists of a held object; the result is what the granting call says, or
/// a negative errno. Blocks the thread where no fiber runs.
#[inline]
pub(crate) fn wait<T>(
    what: What,
    held: Held<'_, T>,
    list: impl FnOnce(&T) -> &Waiters,
    item: *mut (),
) -> i32 {
    wait_as(current::fiber(), what, held, list, item)
}

/// [`wait`] where the calling fiber is known.
///
/// Always inlined: the processor foresees where a return goes by the calls before it. After a switch those are
/// another stack's, so every function that returns between one switch and the next is a surprise.
#[inline(always)]
pub(crate) fn wait_as<T>(
    fiber: Option<FiberRef>,
    what: What,
    held: Held<'_, T>,
    list: impl FnOnce(&T) -> &Waiters,
    item: *mut (),
) -> i32 {
    let who = fiber.map_or_else(Who::this_thread, Who::Fiber);
    let waiter = Waiter {
        next: Cell::new(ptr::null()),
        previous: Cell::new(ptr::null()),
        list: Cell::new(ptr::null()),
        lock: Cell::new(ptr::null()),
        who,
        what,
        item,
        result: Cell::new(0),
        granted: AtomicBool::new(false),
    };
    list(&held).push(&waiter);
    let lock = held.keep();
    waiter.lock.set(lock);
    match fiber {
        Some(fiber) => {
            fiber.parked.set(Parked::Listed(&waiter));
            fiber.suspend(Ask::Release(lock));
        }
        None => block(&waiter, lock),
    }
    waiter.result.get()
}

/// Blocks the thread until its waiter is granted.
#[cold]
fn block(waiter: &Waiter, lock: &Lock) {
    let _keep = KeepErrno::new();
    lock.unlock();
    while !waiter.is_granted() {
        thread::park();
    }
}

/// Whether the calling fiber may wait now: it has not been cancelled, and no deadline has passed. Says
/// which it is.
#[inline]
pub(crate) fn may_wait() -> Result<Option<FiberRef>> {
    let fiber = current::fiber();
    fiber.map_or(Ok(()), cancel::point).map(|()| fiber)
}

/// The worker that a fiber runs on; null where there is none.
#[inline]
pub(crate) fn here(fiber: Option<FiberRef>) -> *const Worker {
    fiber.map_or(ptr::null(), |fiber| fiber.home.load(Ordering::Relaxed).cast_const())
}

/// Whom to wake once the lock is let go of.
#[must_use]
pub(crate) enum Wake {
    Here(FiberRef),
    There(FiberRef, Arc<Inbox<FiberRef>>),
    Thread(Thread),
}

/// Lets a waiter have what it waits for. It was popped from its list, whose lock is still held; once the
/// lock is let go of, it must not be touched any more.
#[inline]
pub(crate) unsafe fn grant(waiter: *const Waiter, result: i32) -> Wake {
    // SAFETY: passed on.
    unsafe { grant_from(current::worker(), waiter, result) }
}

/// [`grant`] where the calling thread's worker is known.
#[inline]
pub(crate) unsafe fn grant_from(here: *const Worker, waiter: *const Waiter, result: i32) -> Wake {
    // SAFETY: by the caller, the waiter's call still waits.
    let waiter = unsafe { &*waiter };
    waiter.result.set(result);
    let wake = match &waiter.who {
        Who::Fiber(fiber) => {
            let home = fiber.home.load(Ordering::Acquire);
            if ptr::eq(home, here) {
                Wake::Here(*fiber)
            } else {
                // SAFETY: a fiber that waits has a home, which outlives it. The inbox is our own from
                // here on: the home may wake the fiber by itself, see it end and be gone.
                Wake::There(*fiber, unsafe { (*home).inbox().clone() })
            }
        }
        Who::Thread(thread) => Wake::Thread(thread.clone()),
    };
    waiter.granted.store(true, Ordering::Release);
    wake
}

impl Wake {
    /// Wakes it, with no lock held.
    #[inline(always)]
    pub(crate) fn now(self) {
        match self {
            Wake::Here(fiber) => {
                let home: &Worker = current::worker_of(fiber);
                fiber.parked.set(Parked::Ready);
                home.shard().ready(fiber);
            }
            Wake::There(fiber, inbox) => push(fiber, &inbox),
            Wake::Thread(thread) => {
                let _keep = KeepErrno::new();
                thread.unpark();
            }
        }
    }
}

/// Tells a fiber's worker that something has happened to it, wherever that is by now.
#[cold]
pub(crate) fn forward(fiber: FiberRef) {
    let end = fiber.end.lock();
    if !matches!(end.stage.get(), Stage::Live { .. }) {
        return;
    }
    // SAFETY: the fiber is live and its lock is held, so it has not ended, and its home is alive.
    let inbox = unsafe { (*fiber.home.load(Ordering::SeqCst)).inbox().clone() };
    drop(end);
    push(fiber, &inbox);
}

/// Tells the worker of another thread about a fiber.
#[cold]
pub(crate) fn push(fiber: FiberRef, inbox: &Inbox<FiberRef>) {
    let _keep = KeepErrno::new();
    inbox.push(fiber);
}
