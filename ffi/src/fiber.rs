//! Fibers.

use std::{
    ffi::{CStr, c_char, c_int, c_void},
    time::Duration,
};

use polyphony_core::{
    native::{self, Errno, FiberId, Name, Placement, Result},
    time::Time,
};

use crate::{
    boundary::{call, done, put, wanted, write_text},
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

/// A fiber may go on, after each call that suspends, on another thread: wherever a worker has nothing to do.
/// Only for functions that keep nothing of their thread across such a call: compilers keep the addresses of
/// `errno` and of thread-local variables in registers, so neither may be used by a function that also suspends,
/// nor by one that is inlined into it; and no lock of pthreads may be held across the call.
pub const POLY_SPAWN_MIGRATABLE: u32 = 1;
/// A fiber runs on the worker of the fiber that starts it, from its first instruction. A plain thread starts
/// such fibers on the workers in turns.
pub const POLY_SPAWN_PINNED: u32 = 2;

/// Starts a fiber that runs `entry(argument)`: in `runtime`, or in the calling fiber's if `runtime` is
/// NULL. What `argument` points to must live until the fiber has used it. Whichever worker comes first runs
/// it, and runs it to its end.
///
///     poly_fiber fiber;
///     int64_t result;
///     if (poly_spawn(NULL, fetch, &first, &fiber) == 0)
///         error = poly_join(fiber, &result);
///
/// With `fiber` not NULL, `*fiber` becomes its name, and somebody must join or detach it, else its stack is
/// kept. With `fiber` NULL it is detached from the start.
/// Never suspends: the fiber runs when its turn comes. Any thread, if `runtime` is given.
/// Returns 0, -EINVAL, -EPERM outside a fiber without a runtime, -EAGAIN where there are `max_fibers`, -ENOMEM,
/// -ESHUTDOWN, -POLY_EFORKED. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_spawn(
    runtime: *const poly_runtime,
    entry: poly_entry,
    argument: *mut c_void,
    fiber: *mut poly_fiber,
) -> c_int {
    // SAFETY: by the caller.
    unsafe { spawn(runtime, Ok(Placement::ANYWHERE), entry, argument, fiber) }
}

/// `poly_spawn` that says how far the fiber may move: `flags` is 0, `POLY_SPAWN_MIGRATABLE` or
/// `POLY_SPAWN_PINNED`.
///
/// Never suspends. Any thread, if `runtime` is given.
/// Returns what `poly_spawn` returns; -EINVAL also for other flags. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_spawn_as(
    runtime: *const poly_runtime,
    flags: u32,
    entry: poly_entry,
    argument: *mut c_void,
    fiber: *mut poly_fiber,
) -> c_int {
    // SAFETY: by the caller.
    unsafe { spawn(runtime, placement(flags), entry, argument, fiber) }
}

/// `poly_spawn` on one worker, by its number from 0: the fiber runs there and nowhere else.
///
/// Never suspends. Any thread, if `runtime` is given.
/// Returns what `poly_spawn` returns; -EINVAL also for a worker that there is not. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_spawn_on(
    runtime: *const poly_runtime,
    worker: u32,
    entry: poly_entry,
    argument: *mut c_void,
    fiber: *mut poly_fiber,
) -> c_int {
    // SAFETY: by the caller.
    unsafe { spawn(runtime, Ok(Placement::on(worker as usize)), entry, argument, fiber) }
}

#[inline]
unsafe fn spawn(
    runtime: *const poly_runtime,
    placement: Result<Placement>,
    entry: poly_entry,
    argument: *mut c_void,
    fiber: *mut poly_fiber,
) -> c_int {
    done(|| {
        let call = Call::new(entry, argument)?;
        // SAFETY: a runtime lives until it is freed; the name is an output by the header's conventions.
        unsafe { name(fiber, spawn_in(runtime, call, fiber.is_null(), placement?)?) }
    })
}

/// Where a fiber may run, by the flags of the caller's.
pub(crate) fn placement(flags: u32) -> Result<Placement> {
    match flags {
        0 => Ok(Placement::ANYWHERE),
        // SAFETY: the caller says so, by the flag.
        POLY_SPAWN_MIGRATABLE => Ok(unsafe { Placement::migratable() }),
        POLY_SPAWN_PINNED => Ok(Placement::PINNED),
        _ => Err(Errno::new(libc::EINVAL)),
    }
}

/// Gives a new fiber's name to who wants it.
pub(crate) unsafe fn name(place: *mut poly_fiber, id: FiberId) -> Result<()> {
    if place.is_null() {
        return Ok(());
    }
    // SAFETY: an output, by the caller.
    unsafe { put(place, poly_fiber { id: id.number() }) }
}

/// The number of the worker on which the calling fiber runs, from 0. For a migratable fiber it may be another
/// after each call that suspends.
///
/// Never suspends. Fibers only.
/// Returns the number; -EPERM outside a fiber. Since 2.0.
#[unsafe(no_mangle)]
pub extern "C" fn poly_worker() -> c_int {
    call(|| native::worker().map(|worker| worker as c_int).ok_or(Errno::new(libc::EPERM)))
}

/// Runs `entry(argument)`, which may block or compute for long, on a thread of a pool that all runtimes of the
/// process share, while the fiber waits. `*result` becomes what it returned; `result` may be NULL. It runs
/// outside any fiber.
///
///     int64_t sum;
///     error = poly_offload(add_up, numbers, &sum);
///
/// Suspends; a plain thread runs `entry` itself. Any thread.
/// Returns 0; -EINVAL; -ECANCELED or -ETIMEDOUT, and then `entry` was never called: once it has begun, the call
/// waits until it has returned, and a cancellation is for the next call. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_offload(entry: poly_entry, argument: *mut c_void, result: *mut i64) -> c_int {
    done(|| {
        let call = Call::new(entry, argument)?;
        let value = native::io::offload(move || call.make())?;
        // SAFETY: an output by the header's conventions.
        if result.is_null() { Ok(()) } else { unsafe { put(result, value) } }
    })
}

/// Has `entry(argument)` called on a thread of the pool of `poly_offload`, if one is free to begin at once, and does
/// not wait for it. What it returns is lost: it tells by a channel, a wait group or an event, which such a thread may
/// use like any other.
///
/// Never suspends. Any thread.
/// Returns 0; -EAGAIN if every thread of the pool is taken, and then `entry` is not called; -EINVAL. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_try_offload(entry: poly_entry, argument: *mut c_void) -> c_int {
    done(|| {
        let call = Call::new(entry, argument)?;
        native::io::try_offload(move || {
            call.make();
        })
    })
}

/// Waits until a fiber has ended. `*result` becomes what its function returned; `result` may be NULL.
///
/// A fiber is joined once: then its name names nobody. One that has not begun, and that no other worker has taken,
/// begins at once. Suspends a fiber, blocks a plain thread.
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

/// No name has more bytes, with the zero that ends it; what is longer is cut.
pub const POLY_NAME_ROOM: usize = 32;
const _: () = assert!(POLY_NAME_ROOM == Name::ROOM);

/// Gives a fiber a name, for `poly_runtime_describe` and debuggers: as much of it as fits into `POLY_NAME_ROOM`.
/// It is copied.
///
/// Never suspends. Any thread.
/// Returns 0; -EINVAL for NULL; -ESRCH if there is no such fiber. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_fiber_set_name(fiber: poly_fiber, name: *const c_char) -> c_int {
    done(|| {
        // SAFETY: a text that ends with a zero, by the header's conventions.
        let name = unsafe { text(name) }?;
        fiber.id().set_name(name)
    })
}

/// Copies a fiber's name to `name`, which has `room` bytes: as much as fits, with a zero at its end.
///
/// Never suspends. Any thread.
/// Returns the length of the name, 0 where it has been given none; -EINVAL for NULL or no room; -ESRCH if there is
/// no such fiber. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_fiber_name(fiber: poly_fiber, name: *mut c_char, room: usize) -> i64 {
    call(|| {
        // SAFETY: that much room, by the header's conventions.
        unsafe { write_text(fiber.id().name()?.as_c().to_bytes(), name, room) }
    })
}

/// A name that the caller has given; `EINVAL` for null.
pub(crate) unsafe fn text(name: *const c_char) -> Result<Name> {
    if name.is_null() {
        return Err(Errno::new(libc::EINVAL));
    }
    // SAFETY: by the caller it ends with a zero.
    Ok(Name::from_bytes(unsafe { CStr::from_ptr(name) }.to_bytes()))
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
