//! Every scheduler of the process, and the calling thread's, found quickly.

use std::{
    cell::Cell,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use magnus::{
    Value,
    prelude::*,
    rb_sys::{AsRawValue, FromRawValue},
    typed_data::Obj,
};
use rb_sys::VALUE;

use super::{Scheduler, variables::scheduler_id};
use crate::ractor;

/// Changes when a scheduler is made, ended or freed: what was cached before says nothing any more.
static EPOCH: AtomicU32 = AtomicU32::new(1);

/// Every scheduler of the process, for what concerns them all: closing a descriptor.
static ALL: Mutex<Vec<Known>> = Mutex::new(Vec::new());

#[derive(Clone, Copy)]
struct Known {
    scheduler: *const Scheduler,
    ractor: ractor::Name,
}

// SAFETY: followed in its own Ractor only, under the GVL, and taken off the list before the scheduler is freed.
unsafe impl Send for Known {}

/// The schedulers of the calling Ractor that are not closed. They are there until Ruby is called: a thread may end then,
/// and the collector free what was its own. The thread of one may have gone already: one that was killed before anybody
/// could see to its end.
pub(crate) fn all() -> Vec<&'static Scheduler> {
    let here = ractor::current();
    let known = ALL.lock().unwrap_or_else(PoisonError::into_inner);
    let schedulers = known.iter().filter(|known| Some(known.ractor) == here);
    // SAFETY: as said of `Known`: whatever is on the list has not been freed, and we have the GVL.
    let schedulers = schedulers.map(|known| unsafe { &*known.scheduler });
    schedulers.filter(|scheduler| scheduler.is_open()).collect()
}

/// The open scheduler of a thread, which lives. As those of [`all`], it is there until Ruby is called.
pub(super) fn of_other(thread: Value) -> Option<&'static Scheduler> {
    // SAFETY: the caller's thread is a live object; a variable that is not set reads as nil.
    let object = unsafe { Value::from_raw(rb_sys::rb_ivar_get(thread.as_raw(), scheduler_id())) };
    let object = (!object.is_nil()).then(|| Obj::<Scheduler>::try_convert(object))?.ok()?;
    // SAFETY: the variable keeps it alive until the thread ends, for which it needs the GVL.
    let scheduler = unsafe { &*std::ptr::from_ref(&*object) };
    scheduler.is_open().then_some(scheduler)
}

/// The open scheduler of that number.
pub(crate) fn find(id: u32) -> Option<&'static Scheduler> {
    all().into_iter().find(|scheduler| scheduler.id == id)
}

/// Puts a scheduler on the list, for as long as it lives.
pub(super) fn register(scheduler: &Scheduler) {
    let known = Known { scheduler: std::ptr::from_ref(scheduler), ractor: ractor::named() };
    ALL.lock().unwrap_or_else(PoisonError::into_inner).push(known);
    forget_cached();
}

pub(super) fn unregister(scheduler: &Scheduler) {
    let this = std::ptr::from_ref(scheduler);
    ALL.lock().unwrap_or_else(PoisonError::into_inner).retain(|known| known.scheduler != this);
}

#[derive(Clone, Copy)]
struct Cached {
    thread: VALUE,
    scheduler: *const Scheduler,
    epoch: u32,
}

thread_local! {
    // Only a cache: which thread calls is asked of Ruby, each time.
    static CACHED: Cell<Cached> =
        const { Cell::new(Cached { thread: 0, scheduler: std::ptr::null(), epoch: 0 }) };
}

/// The scheduler of the calling thread, which is `thread`; null where it has none.
#[inline]
pub(super) fn of_thread(thread: VALUE) -> *const Scheduler {
    let cached = cached();
    if cached.thread == thread && cached.epoch == EPOCH.load(Ordering::Relaxed) {
        cached.scheduler
    } else {
        look_up(thread)
    }
}

#[inline(never)]
fn cached() -> Cached {
    CACHED.get()
}

/// What was known before it changed says nothing about which schedulers there are.
pub(crate) fn epoch() -> u32 {
    EPOCH.load(Ordering::Relaxed)
}

pub(super) fn forget_cached() {
    EPOCH.fetch_add(1, Ordering::Relaxed);
}

#[cold]
fn look_up(thread: VALUE) -> *const Scheduler {
    // SAFETY: the thread is the calling one.
    let object = unsafe { Value::from_raw(rb_sys::rb_ivar_get(thread, scheduler_id())) };
    // Not by a conversion that fails: to make its error Ruby is called, where a `Thread#kill` may be heard, which
    // would be dropped with the error.
    let scheduler = match (!object.is_nil()).then(|| Obj::<Scheduler>::try_convert(object)) {
        Some(Ok(object)) => std::ptr::from_ref(&*object),
        _ => std::ptr::null(),
    };
    CACHED.set(Cached { thread, scheduler, epoch: EPOCH.load(Ordering::Relaxed) });
    scheduler
}
