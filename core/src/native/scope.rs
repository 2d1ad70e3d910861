//! Scopes: deadlines, children and shields.
//!
//! A scope is a deadline for everything that blocks within it, and the end of every child spawned in it. Scopes
//! nest, and the nearest deadline counts, whichever scope it belongs to. A scope's timer is armed by the first
//! call that might block and stays armed until the scope is closed, so calls within one scope share it; after a
//! move to another worker the next such call arms it there.
//!
//! The record of an open scope is ours; callers hold a serial number. A scope whose function has returned without
//! closing it is therefore still there: it is closed with the scope around it, or when the fiber ends, and its
//! number is an error from then on. A fiber's records are touched by its home thread, but for their families,
//! which have locks.

use std::{
    cell::Cell,
    ptr,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use super::{
    armed::Armed,
    cancel, current,
    errno::{Errno, Result},
    family::{self, Family},
    fiber::{CALM, FiberId, FiberRef, STRUCK},
    spawn::Placement,
    worker::Worker,
};
use crate::{time::Time, timers::TimerKey};

/// Names a scope, for ever: once it is closed, its name is an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope(u64);

/// An open scope.
#[derive(Default)]
pub(crate) struct Open {
    serial: Cell<u64>,
    /// What its owner told it apart by.
    place: Cell<usize>,
    deadline: Cell<Time>,
    outer: Cell<*const Open>,
    /// The scope with the nearest deadline, from this one outwards.
    nearest: Cell<*const Open>,
    timer: Cell<Option<Armed>>,
    passed: Cell<bool>,
    /// Whether its owner knows of children; they may bring others.
    owns: Cell<bool>,
    family: Family,
}

impl Scope {
    /// Opens a scope. Fibers only: `EPERM`.
    pub fn open(deadline: Time) -> Result<Scope> {
        Scope::open_at(0, deadline)
    }

    /// [`open`](Self::open), with an address to tell it apart by: `EINVAL` where a scope of the fiber's is open
    /// at the same, unless that is 0.
    #[inline]
    pub fn open_at(place: usize, deadline: Time) -> Result<Scope> {
        let fiber = current::fiber().ok_or(Errno::new(libc::EPERM))?;
        let outer = fiber.scope.get();
        if place != 0 && chain(fiber).any(|open| open.place.get() == place) {
            return Err(Errno::new(libc::EINVAL));
        }
        let (open, serial) = current::worker_of(fiber).scope();
        // SAFETY: an open scope's record stays where it is until it is closed.
        let around = unsafe { outer.as_ref() }.map(|outer| outer.nearest.get());
        // SAFETY: as above.
        let farther = around.filter(|&nearest| unsafe { (*nearest).deadline.get() } <= deadline);
        open.serial.set(serial);
        open.place.set(place);
        open.deadline.set(deadline);
        open.outer.set(outer);
        open.nearest.set(farther.unwrap_or(open));
        open.timer.set(None);
        open.passed.set(deadline == Time(0));
        open.owns.set(false);
        open.family.begin(serial, fiber);
        fiber.scope.set(open);
        Ok(Scope(serial))
    }

    /// Closes the scope, once its children have ended. `EINVAL` if it is none of the calling fiber's; `ENOTEMPTY`
    /// if scopes within it had been left open, which are closed first, as is this one.
    ///
    /// The answer is what ended it early: a child's failure; [`Errno::TIMED_OUT`] if its deadline has ended or
    /// refused a call, or children; [`Errno::CANCELED`] if children were cancelled by something else.
    #[inline]
    pub fn close(self) -> std::result::Result<(), Early> {
        let fiber = current::fiber().ok_or(Errno::new(libc::EPERM))?;
        let innermost = fiber.scope.get();
        // SAFETY: an open scope's record stays where it is until it is closed.
        match unsafe { innermost.as_ref() } {
            Some(open) if open.serial.get() == self.0 => close(fiber, open),
            _ => self.close_with_those_within(fiber),
        }
    }

    #[cold]
    fn close_with_those_within(self, fiber: FiberRef) -> std::result::Result<(), Early> {
        let open = self.find(fiber).ok_or(Errno::new(libc::EINVAL))?;
        while !ptr::eq(fiber.scope.get(), open) {
            abandon(fiber);
        }
        let _ = close(fiber, open);
        Err(Errno::new(libc::ENOTEMPTY).into())
    }

    /// Cancels its children, and every call of its owner's within it from now on, until it is closed. For its
    /// owner and its children; `EINVAL` for others.
    pub fn cancel(self) -> Result<()> {
        let fiber = current::fiber().ok_or(Errno::new(libc::EPERM))?;
        self.family(fiber)?.strike(CANCELED);
        Ok(())
    }

    /// Spawns a fiber that ends before the scope does. If it returns a negative number other than `-ECANCELED`,
    /// or panics, it has failed, and the scope is cancelled. For the scope's owner and its children; `EINVAL` for
    /// others, [`Errno::CANCELED`] once the scope is cancelled, each time; so is a scope within one that is, unless
    /// a shield is raised.
    ///
    /// Unless `detached` the child can be joined until the scope is closed; it need not be.
    pub fn spawn<F>(self, function: F, detached: bool, placement: Placement) -> Result<FiberId>
    where
        F: FnOnce() -> i64 + Send + 'static,
    {
        let fiber = current::fiber().ok_or(Errno::new(libc::EPERM))?;
        let worker = current::worker_of(fiber);
        let family = self.family(fiber)?;
        if let Some(open) = self.find(fiber) {
            open.owns.set(true);
            watch_nearest(fiber);
        }
        let child = move || {
            let value = function();
            family::child_says(value);
            value
        };
        super::spawn::fits_value(worker.slab(), &child)?;
        if fiber.shields.get() == 0 && is_to_end(fiber) {
            return Err(Errno::CANCELED);
        }
        let kin = family.admit()?;
        let spawned = worker.spawn(child, detached, placement, kin);
        match spawned {
            Ok(id) if !detached => family.is_joinable(id),
            Ok(_) => {}
            // SAFETY: it was admitted above, and has not been spawned.
            Err(_) => unsafe { family.dismiss(kin) },
        }
        if let (Ok(id), true) = (spawned, family.is_struck()) {
            // Whoever struck may have come before it had a name; if it has ended since, so much the better.
            let _ = id.cancel_by_post();
        }
        spawned
    }

    /// The record, if it is one of the fiber's.
    fn find<'a>(self, fiber: FiberRef) -> Option<&'a Open> {
        chain(fiber).find(|open| open.serial.get() == self.0)
    }

    /// Its family, if the fiber is its owner or a child of its.
    fn family<'a>(self, fiber: FiberRef) -> Result<&'a Family> {
        if let Some(open) = self.find(fiber) {
            return Ok(&open.family);
        }
        // SAFETY: a child's place and family stay until the child has ended, and it runs.
        let parents = unsafe { fiber.kin.get().as_ref() }.map(|kin| kin.family());
        parents.filter(|family| family.serial() == self.0).ok_or(Errno::new(libc::EINVAL))
    }
}

impl Scope {
    /// The name as a number; never 0.
    pub fn number(self) -> u64 {
        self.0
    }

    /// The name that `number` came from. Any number will do: a wrong one names nothing.
    pub fn from_number(number: u64) -> Self {
        Scope(number)
    }
}

/// Why a scope ended early: a negative number, an error's or what a child returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Early(pub i64);

impl From<Errno> for Early {
    fn from(errno: Errno) -> Self {
        Early(-i64::from(errno.number()))
    }
}

const CANCELED: i64 = -(libc::ECANCELED as i64);
const TIMED_OUT: i64 = -(libc::ETIMEDOUT as i64);

/// The fiber's open scopes, from the innermost outwards.
fn chain<'a>(fiber: FiberRef) -> impl Iterator<Item = &'a Open> {
    // SAFETY: an open scope's record stays where it is until it is closed.
    std::iter::successors(unsafe { fiber.scope.get().as_ref() }, |open| unsafe { open.outer.get().as_ref() })
}

/// Closes the innermost scope.
#[inline]
fn close(fiber: FiberRef, open: &Open) -> std::result::Result<(), Early> {
    if open.owns.get() {
        await_children(open);
    }
    fiber.scope.set(open.outer.get());
    if let Some(timer) = open.timer.get() {
        timer.disarm(fiber);
    }
    let passed = open.passed.get();
    let verdict = if open.owns.get() || fiber.latch.load(Ordering::SeqCst) & STRUCK != 0 {
        end_family(fiber, open)
    } else {
        0
    };
    current::worker_of(fiber).scope_closed(open);
    match (verdict, passed) {
        (0 | CANCELED, true) => Err(Early(TIMED_OUT)),
        (0, false) => Ok(()),
        (verdict, _) => Err(Early(verdict)),
    }
}

#[cold]
fn await_children(open: &Open) {
    if open.family.has_children() && open.family.wait().is_err() {
        // The owner was cancelled, or a deadline has passed, or a child has failed: that is told by now.
        open.family.strike(if open.passed.get() { TIMED_OUT } else { CANCELED });
        shielded(|| open.family.wait()).expect("nothing ends a shielded wait");
    }
}

/// The family has ended, and the scope is no longer open. Says what its verdict was.
#[cold]
fn end_family(fiber: FiberRef, open: &Open) -> i64 {
    let verdict = open.family.verdict();
    open.family.end();
    // First clear it, then look: whoever strikes another scope of the fiber's does so before setting it.
    fiber.latch.fetch_and(!STRUCK, Ordering::SeqCst);
    if is_struck(fiber) {
        fiber.latch.fetch_or(STRUCK, Ordering::SeqCst);
    }
    verdict
}

/// Closes the innermost scope, which nobody will close any more.
fn abandon(fiber: FiberRef) {
    // SAFETY: an open scope's record stays where it is until it is closed.
    if let Some(open) = unsafe { fiber.scope.get().as_ref() } {
        open.family.strike(CANCELED);
        let _ = close(fiber, open);
    }
}

/// Closes all scopes of a fiber that ends.
pub(crate) fn close_all(fiber: FiberRef) {
    while !fiber.scope.get().is_null() {
        abandon(fiber);
    }
}

/// Runs `body`; every call in it that blocks answers [`Errno::TIMED_OUT`] once `deadline` has passed.
/// The second value says whether it has ended or refused one.
///
/// Outside a fiber there are no deadlines: `body` runs without one.
pub fn until<T>(deadline: Time, body: impl FnOnce() -> T) -> (T, bool) {
    struct Close(Scope);
    impl Drop for Close {
        fn drop(&mut self) {
            let _ = self.0.close();
        }
    }
    let Ok(scope) = Scope::open(deadline) else { return (body(), false) };
    let close = Close(scope);
    let value = body();
    std::mem::forget(close);
    (value, scope.close() == Err(Early(TIMED_OUT)))
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
        && nearest.deadline.get() <= current::worker_of(fiber).shard().now()
    {
        nearest.passed.set(true);
    }
    cancel::point(fiber)
}

/// A blocking call begins within a scope: refuses it if the scope is cancelled or the deadline has passed, else
/// sees to it that somebody watches the deadline.
pub(crate) fn point(fiber: FiberRef) -> Result<()> {
    let Some(nearest) = nearest(fiber) else { return Ok(()) };
    if fiber.overdue.load(Ordering::Relaxed) {
        catch_up(fiber);
    }
    if nearest.passed.get() {
        spread(fiber, false);
        return Err(Errno::TIMED_OUT);
    }
    if fiber.latch.load(Ordering::SeqCst) & STRUCK != 0 && is_struck(fiber) {
        spread(fiber, false);
        return Err(Errno::CANCELED);
    }
    if nearest.deadline.get() != FOREVER {
        nearest.watch(fiber);
    }
    Ok(())
}

/// Whether it runs within a scope that has been cancelled: one of its own, or the one that it is a child of. Such a
/// fiber starts no others, also once it has been told: nobody would tell those.
fn is_to_end(fiber: FiberRef) -> bool {
    // SAFETY: a child's place and family stay until the child has ended, and it runs.
    let parents = unsafe { fiber.kin.get().as_ref() }.map(|kin| kin.family());
    parents.is_some_and(Family::is_struck) || is_struck(fiber)
}

fn is_struck(fiber: FiberRef) -> bool {
    chain(fiber).any(|open| open.family.is_struck())
}

fn watch_nearest(fiber: FiberRef) {
    if let Some(nearest) = nearest(fiber)
        && nearest.deadline.get() != FOREVER
        && !nearest.passed.get()
    {
        nearest.watch(fiber);
    }
}

/// What ends a call of the owner's ends the children of the scopes that it concerns: all of the fiber's where it
/// was cancelled, else those within the outermost scope that has been cancelled or whose deadline has passed. Home
/// thread only, with the fiber off its stack or running; touches no shard.
pub(crate) fn spread(fiber: FiberRef, cancelled: bool) {
    let concerned = |open: &Open| cancelled || open.passed.get() || open.family.is_struck();
    let Some(outermost) = chain(fiber).filter(|open| concerned(open)).last() else { return };
    for open in chain(fiber) {
        if open.owns.get() {
            open.family.strike(if open.passed.get() { TIMED_OUT } else { CANCELED });
        }
        if ptr::eq(open, outermost) {
            return;
        }
    }
}

/// A timer went off while nobody could tell the fiber: it looks by itself which deadlines have passed.
#[cold]
fn catch_up(fiber: FiberRef) {
    fiber.overdue.store(false, Ordering::Relaxed);
    let now = current::worker_of(fiber).shard().now();
    chain(fiber).filter(|open| open.deadline.get() <= now).for_each(|open| open.passed.set(true));
}

impl Open {
    /// Sees to it that the worker on which the fiber runs has a timer for the deadline.
    fn watch(&self, fiber: FiberRef) {
        match self.timer.get() {
            Some(timer) if timer.is_among(current::worker_of(fiber)) => return,
            Some(timer) => timer.disarm(fiber), // armed before it moved here
            None => {}
        }
        self.timer.set(Some(Armed::new(fiber, self.deadline.get())));
    }
}

/// A timer of this worker's has fired, for a fiber that stands here; says whether it is that of a scope.
pub(crate) fn expired(fiber: FiberRef, worker: *const Worker, timer: TimerKey) -> bool {
    let is_its = |open: &&Open| open.timer.get().is_some_and(|armed| armed.is(worker, timer));
    let Some(open) = chain(fiber).find(is_its) else { return false };
    open.timer.set(None);
    open.passed.set(true);
    if fiber.shields.get() == 0 {
        spread(fiber, false);
    }
    true
}

fn nearest<'a>(fiber: FiberRef) -> Option<&'a Open> {
    // SAFETY: an open scope's record stays where it is until it is closed, and the nearest is one of them.
    unsafe { fiber.scope.get().as_ref().map(|open| &*open.nearest.get()) }
}

/// A number for the scopes of a worker to count from: no two workers of the process count the same.
pub(crate) fn first_serial() -> u64 {
    static WORKERS: AtomicU64 = AtomicU64::new(1);
    WORKERS.fetch_add(1, Ordering::Relaxed) << 40
}

/// The deadline that never comes.
pub const FOREVER: Time = Time(u64::MAX);
