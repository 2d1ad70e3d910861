//! Mends Ruby's count of the blocking fibers of a thread.
//!
//! A fiber that blocks is counted while it runs. Ruby takes it off before it looks for a stack for the fiber
//! that is to run, and where it finds none it raises and does not count the first one again (3.1 to 3.4). From
//! then on the count is one short: every spun fiber seems to block, `Fiber.current_scheduler` is nil there, and
//! the next lock or backtick in one holds the thread for ever.
//!
//! Nothing that Ruby exports puts that right, so the word is looked for: the one behind the thread's
//! scheduler. It is changed only where Ruby then says of itself that the running fiber blocks.

use magnus::{Error, Value, prelude::*, rb_sys::FromRawValue};
use rb_sys::{VALUE, macros::RTYPEDDATA_GET_DATA};

use crate::roots::NIL;

/// Counts the running fiber again, where it blocks and Ruby says that it does not. An error is an interrupt.
#[cold]
pub(crate) fn mend() -> Result<(), Error> {
    if !seems_to_block() && blocks()? {
        count_again();
    }
    Ok(())
}

fn count_again() {
    // SAFETY: called with the GVL.
    let (scheduler, thread) = unsafe { (rb_sys::rb_fiber_scheduler_get(), rb_sys::rb_thread_current()) };
    // SAFETY: a thread is a typed object of Ruby's.
    let data = unsafe { RTYPEDDATA_GET_DATA(thread) };
    if data.is_null() || (data as usize).wrapping_sub(thread as usize) < 4096 {
        return; // embedded in the object: no allocation of its own
    }
    let data = data.cast::<VALUE>();
    // SAFETY: Ruby allocates the struct of a thread with malloc.
    let words = unsafe { libc::malloc_usable_size(data.cast()) } / size_of::<VALUE>();
    for place in 1..words {
        // SAFETY: both words lie within the allocation, which lives as long as the thread runs.
        let (before, count) = unsafe { (*data.add(place - 1), data.add(place).cast::<u32>()) };
        // SAFETY: as above; a VALUE's place is aligned for it.
        if before == scheduler && unsafe { *count } == 0 && is_the_count(count) {
            return;
        }
    }
}

/// Counts one there, and leaves it where Ruby heeds it.
fn is_the_count(count: *mut u32) -> bool {
    // SAFETY: a word of the running thread's struct, which nobody else writes to while we have the GVL.
    unsafe { *count = 1 };
    let heeded = seems_to_block();
    if !heeded {
        // SAFETY: as above: what stood there.
        unsafe { *count = 0 };
    }
    heeded
}

fn seems_to_block() -> bool {
    // SAFETY: called with the GVL.
    unsafe { rb_sys::rb_fiber_scheduler_current() == NIL }
}

fn blocks() -> Result<bool, Error> {
    // SAFETY: called with the GVL, from a fiber.
    let fiber = unsafe { Value::from_raw(rb_sys::rb_fiber_current()) };
    fiber.funcall("blocking?", ())
}
