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
        atomic::{AtomicBool, AtomicPtr, Ordering},
    },
    thread::{self, Thread},
    time::Duration,
};

use super::{
    cancel, current,
    errno::{Errno, Result},
    fiber::{Ask, FiberId, FiberRef, Parked, Stage},
    lock::{Held, Lock},
    plain::KeepErrno,
    scope,
    worker::Worker,
};
use crate::{inbox::Inbox, time::Time};

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
    RwLock,
    Once,
    WaitGroup,
    Select,
    Connection,
}

enum Who {
    Fiber(FiberRef),
    Thread(Thread),
    /// Somebody who waits in several lists; whose choice lives as long as the waiting call.
    Chooser(*const Choice),
}

impl Who {
    #[cold]
    fn this_thread() -> Self {
        Who::Thread(thread::current())
    }

    /// Who waits, for a waker that is on another thread. With the lock held under which it waits.
    #[cold]
    fn afar(&self) -> Box<Afar> {
        Box::new(match self {
            // SAFETY: a fiber that waits has a home, which outlives it. The inbox is our own from here on: the
            // home may wake the fiber by itself, see it end and be gone.
            Who::Fiber(fiber) => unsafe {
                Afar::Fiber(*fiber, (*fiber.home.load(Ordering::Acquire)).inbox().clone())
            },
            Who::Thread(thread) => Afar::Thread(thread.clone()),
            Who::Chooser(_) => unreachable!("who chooses is a fiber or a thread"),
        })
    }
}

/// Somebody who waits in several lists, for the first that serves them.
pub(crate) struct Choice {
    who: Who,
    /// The waiter that was served; null as long as none was.
    served: AtomicPtr<Waiter>,
    /// Why nobody serves it any more.
    why: Cell<Errno>,
    granted: AtomicBool,
}

/// Where a waiter would stand that was served: the wait was given up.
const NOBODY: *mut Waiter = ptr::without_provenance_mut(align_of::<Waiter>());

impl Choice {
    pub(crate) fn new(fiber: Option<FiberRef>) -> Self {
        Choice {
            who: fiber.map_or_else(Who::this_thread, Who::Fiber),
            served: AtomicPtr::new(ptr::null_mut()),
            why: Cell::new(Errno::CANCELED),
            granted: AtomicBool::new(false),
        }
    }

    /// Whether it is that waiter that was served.
    pub(crate) fn is_for(&self, waiter: &Waiter) -> bool {
        ptr::eq(self.served.load(Ordering::Acquire), waiter)
    }

    /// Why nobody was.
    pub(crate) fn why(&self) -> Errno {
        self.why.get()
    }

    fn claim(&self, waiter: *const Waiter) -> bool {
        let (open, taken) = (ptr::null_mut(), waiter.cast_mut());
        self.served.compare_exchange(open, taken, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    fn give_up(&self, why: Errno) -> bool {
        let given_up = self.claim(NOBODY);
        if given_up {
            self.why.set(why);
        }
        given_up
    }
}

impl Waiter {
    /// A waiter of somebody's who waits in several lists.
    pub(crate) fn choosing(choice: &Choice, what: What, item: *mut ()) -> Self {
        Waiter {
            next: Cell::new(ptr::null()),
            previous: Cell::new(ptr::null()),
            list: Cell::new(ptr::null()),
            lock: Cell::new(ptr::null()),
            who: Who::Chooser(choice),
            what,
            item,
            result: Cell::new(0),
            granted: AtomicBool::new(false),
        }
    }

    /// What the granting call has said.
    pub(crate) fn result(&self) -> i32 {
        self.result.get()
    }

    /// Whether it may be served: nobody else has served who waits. It was popped under its list's lock, and whoever
    /// claims it grants it.
    #[inline]
    fn claim(&self) -> bool {
        match self.who {
            Who::Fiber(_) | Who::Thread(_) => true,
            // SAFETY: a chooser unlinks its waiters, under the locks of their lists, before its choice goes.
            Who::Chooser(choice) => unsafe { (*choice).claim(self) },
        }
    }

    /// Takes it out of its list, if it is still there. With the list's lock held.
    pub(crate) fn leave(&self) {
        let list = self.list.get();
        if !list.is_null() {
            // SAFETY: a list lives as long as somebody is linked to it; its lock is held.
            unsafe { (*list).unlink(self) };
        }
    }

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
        match self.who {
            Who::Fiber(_) | Who::Thread(_) => self.granted.load(Ordering::Acquire),
            // SAFETY: the waiting call, whose choice it is, has not returned.
            Who::Chooser(choice) => unsafe { (*choice).granted.load(Ordering::Acquire) },
        }
    }

    /// Takes the waiter out of its list, unless somebody has granted it already; says whether.
    pub(crate) fn give_up(&self, why: Errno) -> bool {
        if let Who::Chooser(choice) = self.who {
            // SAFETY: the waiting call, whose choice it is, has not returned. It unlinks its waiters itself.
            return unsafe { (*choice).give_up(why) };
        }
        // SAFETY: the waiting call has not returned, so the object that it waits for is alive.
        let lock = unsafe { &*self.lock.get() };
        lock.lock_again();
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

    /// Takes out the waiter that came first of those that nobody has served elsewhere.
    #[inline]
    pub(crate) fn pop_claimed(&self) -> Option<*const Waiter> {
        loop {
            let first = self.pop()?;
            // SAFETY: it was linked a moment ago, and the lock is held: its call waits, or waits for the lock.
            if unsafe { (*first).claim() } {
                return Some(first);
            }
        }
    }

    #[inline]
    pub(crate) fn push(&self, waiter: &Waiter) {
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
    // Written where it stands: a copy would be read in pieces larger than those that were just written, and the
    // processor would wait for these to reach the cache.
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

/// Waits until one of the lists in which the caller stands serves it, or until a deadline where it is a plain
/// thread. The locks of all of them are held; they are let go of here.
#[allow(clippy::ptr_arg, reason = "the worker is told one word: where the vector stands")]
pub(crate) fn choose(choice: &Choice, first: &Waiter, locks: &Vec<&'static Lock>, deadline: Time) {
    match &choice.who {
        Who::Fiber(fiber) => {
            fiber.parked.set(Parked::Listed(first));
            fiber.suspend(Ask::ReleaseAll(locks));
        }
        Who::Thread(_) => block_until(choice, locks, deadline),
        Who::Chooser(_) => unreachable!("who chooses is a fiber or a thread"),
    }
}

#[cold]
fn block_until(choice: &Choice, locks: &[&Lock], deadline: Time) {
    let _keep = KeepErrno::new();
    locks.iter().for_each(|lock| lock.unlock());
    while !choice.granted.load(Ordering::Acquire) {
        let now = Time::monotonic();
        if deadline == scope::FOREVER {
            thread::park();
        } else if now < deadline {
            thread::park_timeout(Duration::from_nanos(deadline.0 - now.0));
        } else if choice.give_up(Errno::TIMED_OUT) {
            return;
        }
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
///
/// A tag and a pointer, whichever it is: so it stays in registers on its way out of the lock. One that is larger is
/// written to memory in pieces and copied as a whole, for which the processor waits: a third of a spawn and join.
#[must_use]
pub(crate) enum Wake {
    Here(FiberRef),
    Afar(Box<Afar>),
}

/// Somebody who does not run on this thread.
pub(crate) enum Afar {
    Fiber(FiberRef, Arc<Inbox<FiberRef>>),
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
    let (who, granted) = match &waiter.who {
        // SAFETY: it was claimed, so its call waits until it is granted below.
        Who::Chooser(choice) => unsafe { (&(**choice).who, &(**choice).granted) },
        who => (who, &waiter.granted),
    };
    let wake = match who {
        Who::Fiber(fiber) if ptr::eq(fiber.home.load(Ordering::Acquire), here) => Wake::Here(*fiber),
        who => Wake::Afar(who.afar()),
    };
    granted.store(true, Ordering::Release);
    wake
}

/// Lets whoever has waited longest in one of the lists of a held object go on, with the lock let go of; says whether
/// anybody waited.
#[inline]
pub(crate) fn wake_first<T>(held: Held<'_, T>, list: impl FnOnce(&T) -> &Waiters) -> bool {
    let Some(waiter) = list(&held).pop() else { return false };
    // SAFETY: popped under the lock, which is held.
    let wake = unsafe { grant(waiter, 0) };
    drop(held);
    wake.now();
    true
}

/// Lets all go on who wait now in one of the lists of a held object, and says how many; who comes meanwhile waits on.
pub(crate) fn wake_all<T>(held: Held<'_, T>, list: impl Fn(&T) -> &Waiters) -> usize {
    let mut wakes = Wakes::default();
    while let Some(waiter) = list(&held).pop() {
        // SAFETY: popped under the lock, which is held.
        wakes.push(unsafe { grant(waiter, 0) });
    }
    drop(held);
    wakes.now()
}

/// Those who are to be woken once a lock is let go of. The lock is not taken again for the next of them: whoever has
/// been woken may take the object away. One alone costs no memory.
#[derive(Default)]
pub(crate) struct Wakes {
    first: Option<Wake>,
    others: Vec<Wake>,
}

impl Wakes {
    pub(crate) fn push(&mut self, wake: Wake) {
        match self.first {
            None => self.first = Some(wake),
            Some(_) => self.others.push(wake),
        }
    }

    /// Wakes them, with no lock held, and says how many they were.
    pub(crate) fn now(self) -> usize {
        let count = usize::from(self.first.is_some()) + self.others.len();
        self.first.into_iter().chain(self.others).for_each(Wake::now);
        count
    }
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
            Wake::Afar(whom) => (*whom).wake(),
        }
    }
}

impl Afar {
    #[cold]
    fn wake(self) {
        match self {
            Afar::Fiber(fiber, inbox) => push(fiber, &inbox),
            Afar::Thread(thread) => {
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
