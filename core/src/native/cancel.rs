//! Cancelling a fiber.
//!
//! A cancellation is latched in the fiber's record and delivered once, by the blocking call that it ends
//! or by the next one. If an operation has completed all the same, its result wins and the latch stays:
//! nothing that has arrived is ever thrown away.
//!
//! ```text
//! cancel ──▶ latch ──▶ parked? ask the kernel, or leave the list ──last completion──▶ -ECANCELED
//!                          │                                       └─ it was faster ──▶ its result
//!                          └ not parked: the next blocking call answers -ECANCELED
//! ```

use std::{ptr, sync::atomic::Ordering};

use super::{
    current,
    errno::{Errno, Result},
    fiber::{CALM, CANCELLED, FiberId, FiberRef, Parked, STOPPED, Stage},
    park, scope,
};
use crate::host::Then;

impl FiberId {
    /// Makes the fiber's present blocking call, or else its next one, answer [`Errno::CANCELED`]. Any
    /// thread. Never suspends.
    pub fn cancel(self) -> Result<()> {
        let fiber = self.find()?;
        let end = fiber.end.lock();
        if fiber.id() != self {
            return Err(Errno::NO_SUCH_FIBER);
        }
        match end.stage.get() {
            Stage::Vacant => return Err(Errno::NO_SUCH_FIBER),
            Stage::Done => return Ok(()),
            Stage::Live { .. } => {}
        }
        fiber.latch.fetch_or(CANCELLED, Ordering::SeqCst);
        let home = fiber.home.load(Ordering::SeqCst);
        if ptr::eq(home, current::worker()) {
            let standing = fiber.standing(home);
            drop(end);
            // SAFETY: it is this thread's.
            unsafe { &*home }.interrupt(fiber, standing, Errno::CANCELED);
            return Ok(());
        }
        // SAFETY: the fiber is live and its lock is held, so it has not ended, and its home is alive.
        let inbox = unsafe { (*home).inbox().clone() };
        drop(end);
        park::push(fiber, &inbox);
        Ok(())
    }

    /// [`cancel`](Self::cancel) by a message, also to the caller's own worker: for whoever is called by a shard.
    pub(crate) fn cancel_by_post(self) -> Result<()> {
        let fiber = self.find()?;
        let end = fiber.end.lock();
        if fiber.id() != self || !matches!(end.stage.get(), Stage::Live { .. }) {
            return Err(Errno::NO_SUCH_FIBER);
        }
        fiber.latch.fetch_or(CANCELLED, Ordering::SeqCst);
        drop(end);
        park::forward(fiber);
        Ok(())
    }
}

/// Whether nothing can end or refuse a call of the fiber's, which runs.
#[inline]
pub(crate) fn is_calm(fiber: FiberRef) -> bool {
    // Sequentially consistent for the sake of fibers that move: see `Roaming::taken`.
    fiber.latch.load(Ordering::SeqCst) == CALM && fiber.scope.get().is_null()
}

/// Where a blocking call begins: whether it may. With no lock held: it may cancel children, which takes theirs.
#[inline]
pub(crate) fn point(fiber: FiberRef) -> Result<()> {
    if is_calm(fiber) { Ok(()) } else { point_within(fiber) }
}

fn point_within(fiber: FiberRef) -> Result<()> {
    if fiber.shields.get() > 0 {
        return Ok(());
    }
    if fiber.latch.load(Ordering::SeqCst) & (CANCELLED | STOPPED) != 0 {
        delivered(fiber, Errno::CANCELED);
        return Err(Errno::CANCELED);
    }
    scope::point(fiber)
}

/// A cancellation was delivered: it is over, unless the runtime shuts down. The children of the scopes that it
/// has ended something in are cancelled, too.
pub(crate) fn delivered(fiber: FiberRef, why: Errno) {
    let before = match why {
        Errno::CANCELED => fiber.latch.fetch_and(!CANCELLED, Ordering::SeqCst),
        _ => CALM,
    };
    if !fiber.scope.get().is_null() {
        scope::spread(fiber, before & (CANCELLED | STOPPED) != 0);
    }
}

/// A call that was interrupted has something to tell all the same: the cancellation is for the next one. A
/// deadline that has passed stays so.
pub(crate) fn put_off(fiber: FiberRef, why: Errno) {
    if why == Errno::CANCELED {
        let _ = fiber.latch.compare_exchange(CALM, CANCELLED, Ordering::SeqCst, Ordering::Relaxed);
    }
}

/// Begins to end what a fiber waits for. Home thread only, with the fiber off its stack.
pub(crate) fn interrupt(fiber: FiberRef, why: Errno) -> Then {
    if fiber.shields.get() > 0 {
        return Then::Nothing;
    }
    match fiber.parked.get() {
        Parked::Unstarted | Parked::Ready | Parked::Ended => Then::Nothing,
        Parked::Operation(key) => {
            if fiber.interrupt.get().is_none() {
                fiber.interrupt.set(Some(why));
            }
            Then::Cancel(key)
        }
        Parked::Asleep(_) => {
            fiber.outcome.set(-why.number());
            wake(fiber, why)
        }
        Parked::Listed(waiter) => {
            // SAFETY: the fiber is parked, so the call that holds its waiter has not returned.
            if unsafe { (*waiter).give_up(why) } { wake(fiber, why) } else { Then::Nothing }
        }
    }
}

fn wake(fiber: FiberRef, why: Errno) -> Then {
    delivered(fiber, why);
    fiber.parked.set(Parked::Ready);
    Then::Ready
}

/// The result of an operation that may have been interrupted.
#[inline]
pub(crate) fn settle(fiber: FiberRef, result: i32) -> i32 {
    let why = fiber.interrupt.take();
    match (result, why) {
        // An operation that blocks a thread of the kernel is interrupted by a signal of its own.
        (CANCELED | INTERRUPTED, Some(why)) => {
            delivered(fiber, why);
            -why.number()
        }
        // Nobody has interrupted the fiber: its descriptor was closed under it.
        (CANCELED, None) => -libc::EBADF,
        (result, _) => result,
    }
}

const CANCELED: i32 = -libc::ECANCELED;
const INTERRUPTED: i32 = -libc::EINTR;

/// The runtime shuts down: refuses every blocking call of the fiber from now on. Says whether that is new.
pub(crate) fn stop(fiber: FiberRef) -> bool {
    fiber.latch.fetch_or(STOPPED, Ordering::SeqCst) & STOPPED == 0
}
