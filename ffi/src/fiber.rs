//! Fibers.

use std::{
    ffi::{c_int, c_void},
    time::Duration,
};

use polyphony_core::{
    native::{self, Errno, FiberId, Result},
    time::Time,
};

use crate::{
    boundary::{done, put, wanted},
    runtime::{poly_runtime, spawn_in},
};

/// Names a fiber. Copy it freely; a name whose fiber is gone names nobody, for ever.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct poly_fiber {
    /// Meaningless, and never 0 in a name.
    pub id: u64,
}

/// What a fiber runs. It must return; neither a C++ exception nor longjmp may leave it.
pub type poly_entry = Option<unsafe extern "C" fn(argument: *mut c_void) -> i64>;

/// A call to be made in a fiber.
pub(crate) struct Call {
    entry: unsafe extern "C" fn(*mut c_void) -> i64,
    argument: *mut c_void,
}

// SAFETY: the caller gave the argument to another fiber, on whatever thread that runs.
unsafe impl Send for Call {}

impl Call {
    pub(crate) fn new(entry: poly_entry, argument: *mut c_void) -> Result<Self> {
        entry.map(|entry| Call { entry, argument }).ok_or(Errno::new(libc::EINVAL))
    }

    pub(crate) fn make(self) -> i64 {
        // SAFETY: the caller says that this may be called.
        unsafe { (self.entry)(self.argument) }
    }
}

impl poly_fiber {
    fn id(self) -> FiberId {
        FiberId::from_number(self.id)
    }
}

/// Starts a fiber that runs `entry(argument)`: in `runtime`, or beside the calling fiber if `runtime` is
/// NULL. What `argument` points to must live until the fiber has used it.
///
/// With `fiber` not NULL, `*fiber` becomes its name, and somebody must join or detach it, else its stack is
/// kept. With `fiber` NULL it is detached from the start.
/// Never suspends: the fiber runs when its turn comes. Any thread, if `runtime` is given.
/// Returns 0, -EINVAL, -EPERM outside a fiber without a runtime, -ENOMEM, -ESHUTDOWN, -POLY_EFORKED.
/// Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_spawn(
    runtime: *const poly_runtime,
    entry: poly_entry,
    argument: *mut c_void,
    fiber: *mut poly_fiber,
) -> c_int {
    done(|| {
        let call = Call::new(entry, argument)?;
        // SAFETY: a runtime lives until it is freed.
        let id = unsafe { spawn_in(runtime, call, fiber.is_null()) }?;
        if fiber.is_null() {
            return Ok(());
        }
        // SAFETY: an output by the header's conventions.
        unsafe { put(fiber, poly_fiber { id: id.number() }) }
    })
}

/// Waits until a fiber has ended. `*result` becomes what its function returned; `result` may be NULL.
///
/// A fiber is joined once: then its name names nobody. Suspends a fiber, blocks a plain thread.
/// Any thread.
/// Returns 0; -ESRCH if there is no such fiber (any more) or it was detached; -EBUSY if somebody else
/// waits for it; -EDEADLK for oneself; -ECANCELED or -ETIMEDOUT, and then it can be joined later.
/// Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_join(fiber: poly_fiber, result: *mut i64) -> c_int {
    done(|| {
        let value = native::join::<i64>(fiber.id())?;
        // SAFETY: an output by the header's conventions.
        if result.is_null() { Ok(()) } else { unsafe { put(result, value) } }
    })
}

/// Lets a fiber end by itself: nobody will join it, and its name names nobody once it has ended.
///
/// Never suspends. Any thread.
/// Returns 0; -ESRCH if there is no such fiber or it is detached; -EBUSY if somebody waits for it.
/// Since 2.0.
#[unsafe(no_mangle)]
pub extern "C" fn poly_detach(fiber: poly_fiber) -> c_int {
    done(|| native::detach(fiber.id()))
}

/// Cancels what a fiber waits for. Its present blocking call, or else its next one, returns -ECANCELED;
/// the one after that works again, so it can clean up. A second cancellation before the first was
/// delivered changes nothing. If what it waits for has happened all the same, that call returns its
/// result and the next one -ECANCELED: nothing that has arrived is lost.
///
/// Never suspends, and does not wait for the fiber: join it for that. Any thread.
/// Returns 0, also for a fiber that has ended and was not joined; -ESRCH if there is no such fiber.
/// Since 2.0.
#[unsafe(no_mangle)]
pub extern "C" fn poly_cancel(fiber: poly_fiber) -> c_int {
    done(|| fiber.id().cancel())
}

/// Names the calling fiber.
///
/// Never suspends. Any thread.
/// Returns 0; -EPERM outside any fiber; -EINVAL for NULL. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_self(fiber: *mut poly_fiber) -> c_int {
    done(|| {
        wanted(fiber)?;
        let id = native::myself().ok_or(Errno::new(libc::EPERM))?;
        // SAFETY: not null, and an output by the header's conventions.
        unsafe { put(fiber, poly_fiber { id: id.number() }) }
    })
}

/// Lets every other fiber that is ready run first.
///
/// Suspends. Outside a fiber it is sched_yield(2). Any thread.
/// Returns 0, -ECANCELED, -ETIMEDOUT. Since 2.0.
#[unsafe(no_mangle)]
pub extern "C" fn poly_yield() -> c_int {
    done(native::yield_now)
}

/// Sleeps for so many nanoseconds; a signal does not end it.
///
/// Suspends; blocks a plain thread. Any thread.
/// Returns 0, -ECANCELED, -ETIMEDOUT. Since 2.0.
#[unsafe(no_mangle)]
pub extern "C" fn poly_sleep(nanoseconds: u64) -> c_int {
    done(|| native::sleep(Duration::from_nanos(nanoseconds)))
}

/// Sleeps until `poly_now` has reached `deadline`.
///
/// Suspends; blocks a plain thread. Any thread.
/// Returns 0, -ECANCELED, -ETIMEDOUT. Since 2.0.
#[unsafe(no_mangle)]
pub extern "C" fn poly_sleep_until(deadline: u64) -> c_int {
    done(|| native::sleep_until(Time(deadline)))
}

/// The time in nanoseconds, by the clock that deadlines are read on (CLOCK_MONOTONIC).
///
/// Never suspends. Any thread. Since 2.0.
#[unsafe(no_mangle)]
pub extern "C" fn poly_now() -> u64 {
    Time::monotonic().0
}

/// Asks whether the calling fiber has been cancelled or its deadline has passed: for code that computes
/// for long. The cancellation counts as delivered.
///
/// Never suspends. Any thread.
/// Returns 0, -ECANCELED, -ETIMEDOUT. Since 2.0.
#[unsafe(no_mangle)]
pub extern "C" fn poly_check() -> c_int {
    done(native::check)
}
