//! Deadlines and shields.
//!
//! A scope is a deadline for everything that blocks within it. Scopes nest, and the nearest deadline
//! counts, whichever scope it belongs to. A scope's timer is armed by the first call that might block
//! and stays armed until the scope is left, so calls within one scope share it; after a move to another worker
//! the next such call arms it there.

use std::{cell::Cell, marker::PhantomPinned, ptr, sync::atomic::Ordering, time::Duration};

use super::{
    armed::Armed,
    cancel, current,
    errno::{Errno, Result},
    fiber::{CALM, FiberRef},
    worker::Worker,
};
use crate::{time::Time, timers::TimerKey};

/// A deadline, while it is in force. It stands in the frame of the call that opened it.
#[derive(Debug)]
pub struct Scope {
    deadline: Time,
    outer: *const Scope,
    /// The scope with the nearest deadline, from this one outwards.
    nearest: *const Scope,
    timer: Cell<Option<Armed>>,
    passed: Cell<bool>,
    _pinned: PhantomPinned,
}

impl Scope {
    /// Opens a scope in memory of the caller's; `EINVAL` where that is the innermost scope already.
    ///
    /// # Safety
    /// `place` is writable, and stays where it is, untouched by others, until [`Scope::leave`].
    pub unsafe fn enter(place: *mut Scope, deadline: Time) -> Result<()> {
        let fiber = current::fiber().ok_or(Errno::new(libc::EPERM))?;
        let outer = fiber.scope.get();
        if ptr::eq(outer, place) {
            return Err(Errno::new(libc::EINVAL));
        }
        // SAFETY: an open scope stays where it is until it is left.
        let farther =
            unsafe { outer.as_ref() }.filter(|outer| unsafe { (*outer.nearest).deadline } <= deadline);
        let nearest = farther.map_or(place.cast_const(), |outer| outer.nearest);
        let (timer, passed) = (Cell::new(None), Cell::new(deadline == Time(0)));
        let scope = Scope { deadline, outer, nearest, timer, passed, _pinned: PhantomPinned };
        // SAFETY: by the caller.
        unsafe { place.write(scope) };
        fiber.scope.set(place);
        Ok(())
    }

    /// Closes the innermost scope; says whether its deadline has ended or refused a call.
    ///
    /// # Safety
    /// `place` was given to [`Scope::enter`].
    pub unsafe fn leave(place: *const Scope) -> Result<bool> {
        let fiber = current::fiber().ok_or(Errno::new(libc::EPERM))?;
        // Where no scope is open, null would look like the innermost.
        if place.is_null() || !ptr::eq(fiber.scope.get(), place) {
            return Err(Errno::new(libc::EINVAL));
        }
        // SAFETY: it is the innermost scope of this fiber, so it is open.
        let scope = unsafe { &*place };
        fiber.scope.set(scope.outer);
        if let Some(timer) = scope.timer.get() {
            timer.disarm(fiber);
        }
        Ok(scope.passed.get())
    }
}

/// Runs `body`; every call in it that blocks answers [`Errno::TIMED_OUT`] once `deadline` has passed.
/// The second value says whether it has ended or refused one.
///
/// Outside a fiber there are no deadlines: `body` runs without one.
pub fn until<T>(deadline: Time, body: impl FnOnce() -> T) -> (T, bool) {
    struct Leave(*const Scope);
    impl Drop for Leave {
        fn drop(&mut self) {
            // SAFETY: the scope was entered below.
            let _ = unsafe { Scope::leave(self.0) };
        }
    }
    let mut place = std::mem::MaybeUninit::<Scope>::uninit();
    // SAFETY: `place` stays in this frame until `leave`, also when `body` panics.
    if unsafe { Scope::enter(place.as_mut_ptr(), deadline) }.is_err() {
        return (body(), false);
    }
    let leave = Leave(place.as_ptr());
    let value = body();
    std::mem::forget(leave);
    // SAFETY: entered above.
    let passed = unsafe { Scope::leave(place.as_ptr()) };
    (value, passed.unwrap_or(false))
}

/// [`until`] a time from now.
pub fn within<T>(span: Duration, body: impl FnOnce() -> T) -> (T, bool) {
    until(Time::monotonic() + span, body)
}

/// Runs `body`, in which neither cancellation nor deadlines end anything; both are heeded afterwards.
pub fn shielded<T>(body: impl FnOnce() -> T) -> T {
    struct Lower;
    impl Drop for Lower {
        fn drop(&mut self) {
            let _ = lower_shield();
        }
    }
    if raise_shield().is_err() {
        return body();
    }
    let _lower = Lower;
    body()
}

/// Begins a stretch in which neither cancellation nor deadlines end anything. Shields nest.
pub fn raise_shield() -> Result<()> {
    let fiber = current::fiber().ok_or(Errno::new(libc::EPERM))?;
    fiber.shields.set(fiber.shields.get() + 1);
    Ok(())
}

/// Ends what [`raise_shield`] began.
pub fn lower_shield() -> Result<()> {
    let fiber = current::fiber().ok_or(Errno::new(libc::EPERM))?;
    let shields = fiber.shields.get().checked_sub(1).ok_or(Errno::new(libc::EINVAL))?;
    fiber.shields.set(shields);
    Ok(())
}

/// Whether the calling fiber has been cancelled or a deadline of its has passed, for fibers that compute
/// for long. Never suspends; the cancellation counts as delivered.
pub fn check() -> Result<()> {
    let Some(fiber) = current::fiber() else { return Ok(()) };
    if fiber.latch.load(Ordering::SeqCst) == CALM
        && fiber.shields.get() == 0
        && let Some(nearest) = nearest(fiber)
        && nearest.deadline <= current::worker_of(fiber).shard().now()
    {
        nearest.passed.set(true);
    }
    cancel::point(fiber)
}

/// A blocking call begins within a scope: refuses it if the deadline has passed, else sees to it that
/// somebody watches the deadline.
pub(crate) fn point(fiber: FiberRef) -> Result<()> {
    let Some(nearest) = nearest(fiber) else { return Ok(()) };
    if fiber.overdue.load(Ordering::Relaxed) {
        catch_up(fiber);
    }
    if nearest.passed.get() {
        return Err(Errno::TIMED_OUT);
    }
    if nearest.deadline != FOREVER {
        nearest.watch(fiber);
    }
    Ok(())
}

/// A timer went off while nobody could tell the fiber: it looks by itself which deadlines have passed.
#[cold]
fn catch_up(fiber: FiberRef) {
    fiber.overdue.store(false, Ordering::Relaxed);
    let now = current::worker_of(fiber).shard().now();
    let mut scope = fiber.scope.get();
    // SAFETY: open scopes stay where they are.
    while let Some(open) = unsafe { scope.as_ref() } {
        if open.deadline <= now {
            open.passed.set(true);
        }
        scope = open.outer;
    }
}

impl Scope {
    /// Sees to it that the worker on which the fiber runs has a timer for the deadline.
    fn watch(&self, fiber: FiberRef) {
        match self.timer.get() {
            Some(timer) if timer.is_among(current::worker_of(fiber)) => return,
            Some(timer) => timer.disarm(fiber), // armed before it moved here
            None => {}
        }
        self.timer.set(Some(Armed::new(fiber, self.deadline)));
    }
}

/// A timer of this worker's has fired, for a fiber that stands here; says whether it is that of a scope.
pub(crate) fn expired(fiber: FiberRef, worker: *const Worker, timer: TimerKey) -> bool {
    let mut scope = fiber.scope.get();
    // SAFETY: open scopes stay where they are, and the fiber is off its stack.
    while let Some(open) = unsafe { scope.as_ref() } {
        if open.timer.get().is_some_and(|armed| armed.is(worker, timer)) {
            open.timer.set(None);
            open.passed.set(true);
            return true;
        }
        scope = open.outer;
    }
    false
}

fn nearest<'a>(fiber: FiberRef) -> Option<&'a Scope> {
    // SAFETY: open scopes stay where they are, and the nearest is one of them.
    unsafe { fiber.scope.get().as_ref().map(|scope| &*scope.nearest) }
}

/// The deadline that never comes.
pub const FOREVER: Time = Time(u64::MAX);
