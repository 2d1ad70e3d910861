//! Operations that tell more than one number: those that go on for ever, and those that fill a buffer of
//! the shard's.
//!
//! The fiber is parked in such an operation as in any other, until its last outcome. Somebody who stands
//! beside it hears the rest, in the turn in which it comes and on the worker's thread, while the shard is
//! borrowed: it takes note, and wakes others by way of their inbox.

use std::ptr;

use super::{
    cancel, current,
    errno::Errno,
    fiber::{Ask, FiberRef},
};
use crate::op::{Op, Outcome};

/// Hears what an operation tells.
pub(crate) trait Hears {
    /// An outcome; the last one unless `outcome.more`. Says whether it has heard enough: then the operation
    /// is cancelled.
    fn hear(&self, outcome: Outcome) -> bool;
}

/// Such an operation, and who hears of it. The operation comes first: its address is all that a worker has.
#[repr(C)]
struct Telling<'a> {
    op: Op,
    hearer: &'a dyn Hears,
}

/// Performs an operation that tells more than one number; the answer is the last one.
///
/// # Safety
/// What the operation points to is valid until this returns.
pub(crate) unsafe fn perform(fiber: FiberRef, op: Op, hearer: &dyn Hears) -> i32 {
    debug_assert!(!op.returns_once(), "that has nobody to tell");
    if let Err(errno) = cancel::point(fiber) {
        return -errno.number();
    }
    let telling = Telling { op, hearer };
    fiber.suspend(Ask::Perform(ptr::from_ref(&telling).cast()));
    fiber.outcome.get()
}

/// An outcome of such an operation of a fiber's, which is parked in it.
#[cold]
pub(crate) fn tell(fiber: FiberRef, outcome: Outcome) -> bool {
    let Ask::Perform(op) = fiber.ask.get() else { unreachable!("the fiber is parked in an operation") };
    // SAFETY: the operation stands in the frame of `perform`, which has not returned; nothing else begins
    // operations of this kind: `native::perform` refuses them.
    let telling = unsafe { &*op.cast::<Telling<'_>>() };
    telling.hearer.hear(outcome)
}

/// The worker's fiber that calls, or why there is none.
pub(crate) fn caller() -> Result<FiberRef, Errno> {
    current::fiber().ok_or(Errno::new(libc::EPERM))
}
