//! Runtimes.

use std::{
    ffi::{c_char, c_int},
    mem::size_of,
    time::Duration,
};

use polyphony_core::{
    backend::{any::Choice, uring::UringOptions},
    native::{self, Errno, FiberId, KeepErrno, Options, Placement, Result, Runtime},
    stats::Stats,
    time::Time,
};

use crate::{
    boundary::{self, call, done_quietly, free, give, look, object, put, wanted, write_text},
    fiber::{Call, poly_entry, poly_fiber, text},
};

/// io_uring where the kernel allows it, else epoll; the environment variable `POLYPHONY_BACKEND`
/// (`io_uring`, `epoll` or `auto`) decides otherwise.
pub const POLY_BACKEND_AUTO: u32 = 0;
/// io_uring or an error.
pub const POLY_BACKEND_IO_URING: u32 = 1;
/// epoll.
pub const POLY_BACKEND_EPOLL: u32 = 2;

/// A span or a deadline that never ends.
pub const POLY_FOREVER: u64 = u64::MAX;

/// No runtime has more workers.
pub const POLY_MOST_WORKERS: u32 = 64;
const _: () = assert!(POLY_MOST_WORKERS as usize == Options::MOST_WORKERS);

/// The most entries that the kernel gives a submission queue; a completion queue gets twice as many.
const MOST_SQ_ENTRIES: u32 = 32_768;

/// Worker threads and the fibers that run on them. Usable from any thread; freed by `poly_runtime_free`.
pub struct poly_runtime {
    runtime: Runtime,
}

/// How to make a runtime. Begin with `POLY_RUNTIME_OPTIONS_INIT` and change what you like; 0 is the default of
/// every field but `size`.
///
///     poly_runtime_options options = POLY_RUNTIME_OPTIONS_INIT;
///     options.workers = 1;
///     error = poly_runtime_new(&options, &runtime);
///
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct poly_runtime_options {
    /// `sizeof(poly_runtime_options)`: tells which version of this struct it is.
    pub size: usize,
    /// Threads that run fibers, at most `POLY_MOST_WORKERS`; as many as may run at once by default. With
    /// several, fibers run at the same time, and what they share needs a lock or a channel.
    pub workers: u32,
    /// One of `POLY_BACKEND_*`.
    pub backend: u32,
    /// Bytes of stack a fiber has at least; 64 KiB by default. It is never less than 16 KiB; more than 256 MiB is
    /// -EINVAL.
    pub stack_size: usize,
    /// Fibers that there may be at once, beyond which none is started: -EAGAIN. As many as there is memory for by
    /// default.
    pub max_fibers: usize,
    /// Threads that the pool of `poly_offload` may have. All runtimes of the process share it, so who asks last
    /// decides; as many as may run at once, but 4 to 16, by default.
    pub offload_threads: u32,
    /// Entries of io_uring's submission queue; 256 by default, at most 32,768. The kernel rounds up to a
    /// power of two.
    pub ring_entries: u32,
    /// Entries of io_uring's completion queue; 4096 by default, or twice as many as the other has if that is more. At
    /// least 2 and as many as the other has, so 256 where `ring_entries` is 0; at most 65,536.
    pub completion_entries: u32,
    /// 0.
    pub reserved: u32,
    /// What the worker threads are called, with a number behind it: copied; "polyphony" by default. The system
    /// shows 15 bytes.
    pub name: *const c_char,
}

/// What a runtime has done, and what it is doing.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct poly_counters {
    /// `sizeof(poly_counters)`, set by the caller.
    pub size: usize,
    /// Fibers that have not ended.
    pub fibers: u64,
    /// Operations that the kernel has.
    pub in_flight: u64,
    /// Timers that are armed.
    pub timers: u64,
    /// Times a fiber was resumed.
    pub switches: u64,
    /// Times the loop turned to the kernel.
    pub turns: u64,
    /// Operations begun.
    pub submitted: u64,
    /// Operations ended.
    pub completed: u64,
    /// Cancellations that the kernel was asked for.
    pub cancels: u64,
    /// Timers that reached their deadline.
    pub expired: u64,
    /// Fibers that one worker took from another.
    pub stolen: u64,
}

impl poly_counters {
    /// What a shard has done, or several have.
    pub(crate) fn of(stats: Stats) -> Self {
        poly_counters {
            size: size_of::<Self>(),
            fibers: 0,
            in_flight: 0,
            timers: 0,
            switches: stats.switches,
            turns: stats.turns,
            submitted: stats.submitted,
            completed: stats.completed,
            cancels: stats.cancels,
            expired: stats.expired,
            stolen: stats.stolen,
        }
    }

    /// Writes them where the caller has set `size`.
    ///
    /// # Safety
    /// Null, or as large as its `size` says.
    pub(crate) unsafe fn put(self, counters: *mut Self) -> Result<()> {
        // SAFETY: by the caller.
        let size = unsafe { look(counters) }?.size;
        if size < size_of::<Self>() {
            return Err(Errno::new(libc::EINVAL));
        }
        // SAFETY: by the caller, and large enough.
        unsafe { put(counters, poly_counters { size, ..self }) }
    }
}

impl poly_runtime_options {
    /// What they ask for.
    ///
    /// # Safety
    /// The name is null or ends with a zero.
    unsafe fn read(&self) -> Result<Options> {
        if self.workers > POLY_MOST_WORKERS || self.reserved != 0 {
            return Err(Errno::new(libc::EINVAL));
        }
        let uring = uring(self.ring_entries, self.completion_entries)?;
        let workers = self.workers as usize;
        let mut options = Options { backend: choice(self.backend)?, uring, ..Options::with_workers(workers) };
        if self.stack_size != 0 {
            options.stack_size = self.stack_size;
        }
        options.max_fibers = self.max_fibers;
        options.offload_threads = self.offload_threads as usize;
        if !self.name.is_null() {
            // SAFETY: by the caller it ends with a zero.
            options.name = unsafe { text(self.name) }?;
        }
        Ok(options)
    }
}

/// The backend of that number.
pub(crate) fn choice(backend: u32) -> Result<Choice> {
    match backend {
        POLY_BACKEND_AUTO => Ok(Choice::Auto),
        POLY_BACKEND_IO_URING => Ok(Choice::IoUring),
        POLY_BACKEND_EPOLL => Ok(Choice::Epoll),
        _ => Err(Errno::new(libc::EINVAL)),
    }
}

/// A ring with queues of so many entries; 0 is the default.
pub(crate) fn uring(sq: u32, cq: u32) -> Result<UringOptions> {
    if sq > MOST_SQ_ENTRIES || cq > 2 * MOST_SQ_ENTRIES {
        return Err(Errno::new(libc::EINVAL));
    }
    let mut options = UringOptions::default();
    if sq != 0 {
        options.sq_entries = sq;
        options.cq_entries = options.cq_entries.max(sq.saturating_mul(2));
    }
    if cq != 0 {
        options.cq_entries = cq;
    }
    // The kernel would refuse it, and a runtime fall back to epoll.
    if options.cq_entries < options.sq_entries.max(2) {
        return Err(Errno::new(libc::EINVAL));
    }
    Ok(options)
}

/// Makes a runtime and starts its worker threads, which inherit the signal mask of the caller.
///
/// `options` may be NULL: defaults. On success `*runtime` is the caller's, to be freed with
/// `poly_runtime_free`. Where io_uring is refused and `POLY_BACKEND_AUTO` falls back to epoll, one line on
/// standard error says so.
/// Never suspends. Any thread.
/// Returns 0; -EINVAL for options or a `POLYPHONY_BACKEND` that make no sense; -E2BIG for options that only
/// a later library knows; or what the system says: -ENOMEM, -EMFILE, -EAGAIN where no thread can be
/// started, -EPERM and -ENOSYS where io_uring alone was asked for and is refused. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_runtime_new(
    options: *const poly_runtime_options,
    runtime: *mut *mut poly_runtime,
) -> c_int {
    done_quietly(|| {
        wanted(runtime)?;
        let options = if options.is_null() {
            Options::default()
        } else {
            // SAFETY: options live for the call and have their size, by the header's conventions.
            unsafe { boundary::options(options)?.read() }?
        };
        let made = Runtime::new(options).map_err(|error| error.errno())?;
        // SAFETY: not null, and an output by the header's conventions.
        unsafe { give(runtime, poly_runtime { runtime: made }) }
    })
}

/// Runs `entry(argument)` in a fiber and waits until it has returned.
///
/// Blocks a plain thread; suspends a fiber. `*result` becomes what `entry` returned; `result` may be NULL.
/// Any thread.
/// Returns 0, -EAGAIN where there are `max_fibers`, -ESHUTDOWN, -ENOMEM, -POLY_EFORKED; in a fiber also -ECANCELED and
/// -ETIMEDOUT. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_runtime_run(
    runtime: *const poly_runtime,
    entry: poly_entry,
    argument: *mut libc::c_void,
    result: *mut i64,
) -> c_int {
    done_quietly(|| {
        // SAFETY: a runtime lives until it is freed.
        let runtime = unsafe { object(runtime) }?;
        let call = Call::new(entry, argument)?;
        let value = runtime.runtime.run(move || call.make())?;
        // SAFETY: an output by the header's conventions.
        if result.is_null() { Ok(()) } else { unsafe { put(result, value) } }
    })
}

/// Ends a runtime: takes no more fibers, cancels those that run, and waits until they have ended. From
/// then on every blocking call of such a fiber answers -ECANCELED, not only the next one.
///
/// Waits until `deadline` at most, which may be `POLY_FOREVER`. Blocks the thread; not for fibers of the same
/// runtime. Any other thread.
/// Returns 0; -ETIMEDOUT while fibers still run: `poly_runtime_fibers` names them, `poly_runtime_describe` says what
/// they wait for; call again to wait longer; -EDEADLK in one of its own fibers; -POLY_EFORKED. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_runtime_shutdown(runtime: *const poly_runtime, deadline: u64) -> c_int {
    done_quietly(|| {
        // SAFETY: a runtime lives until it is freed.
        let runtime = unsafe { object(runtime) }?;
        let left = deadline.saturating_sub(Time::monotonic().0);
        runtime.runtime.shutdown((deadline != POLY_FOREVER).then(|| Duration::from_nanos(left)))
    })
}

/// Names the fibers of a runtime that have not ended: those that a shutdown waits for, say. The first `room` of
/// them are written to `fibers`, which may be NULL if `room` is 0.
///
/// Never suspends. Any thread.
/// Returns how many there are, also if there is less room; -EINVAL, -POLY_EFORKED. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_runtime_fibers(
    runtime: *const poly_runtime,
    fibers: *mut poly_fiber,
    room: usize,
) -> i64 {
    call(|| {
        // SAFETY: a runtime lives until it is freed.
        let live = unsafe { object(runtime) }?.runtime.fibers()?;
        for (index, id) in live.iter().take(room).enumerate() {
            // SAFETY: there is that much room, by the header's conventions; null is refused.
            unsafe { put(fibers.wrapping_add(index), poly_fiber { id: id.number() }) }?;
        }
        Ok(live.len() as i64)
    })
}

/// How many workers a runtime has.
///
/// Never suspends. Any thread.
/// Returns a number from 1 to `POLY_MOST_WORKERS`; -EINVAL for NULL. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_runtime_workers(runtime: *const poly_runtime) -> c_int {
    // SAFETY: a runtime lives until it is freed.
    call(|| Ok(unsafe { object(runtime) }?.runtime.workers() as c_int))
}

/// Shuts a runtime down, waiting as long as it takes, and frees it. Fibers that nobody has joined are
/// forgotten. NULL is fine. No other call with this runtime may be running.
///
/// Blocks the thread; not for fibers of the same runtime. Any other thread.
/// Returns 0; -EDEADLK in one of its own fibers, and then nothing has happened. In the child of a fork it
/// frees what can be freed there. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_runtime_free(runtime: *mut poly_runtime) -> c_int {
    done_quietly(|| {
        if runtime.is_null() {
            return Ok(());
        }
        // SAFETY: a runtime lives until it is freed.
        if unsafe { object(runtime) }?.runtime.is_current() {
            return Err(Errno::new(libc::EDEADLK));
        }
        // SAFETY: it came from `poly_runtime_new`, and by the header's conventions is freed once.
        unsafe { free(runtime) };
        Ok(())
    })
}

/// Describes a runtime, for people: its backend and how that was set up, and a line for each fiber that has not
/// ended: its name, and what it waits for.
///
///     io_uring (SINGLE_ISSUER DEFER_TASKRUN)
///     fiber 0x8000001 "accept" on worker 0: waits for the kernel: accept of descriptor 5
///     fiber 0x8000002 "client" on worker 1: waits for an item in a channel, cancelled
///
/// As much as fits into `room` bytes is written to `text`, with a zero at its end; `text` may be NULL if `room` is 0.
/// Asks each worker, and waits for a fraction of a second at most where one is busy: blocks the thread.
/// Any thread.
/// Returns the length of the whole text; -EINVAL, -POLY_EFORKED. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_runtime_describe(
    runtime: *const poly_runtime,
    text: *mut c_char,
    room: usize,
) -> i64 {
    let _keep = KeepErrno::new();
    call(|| {
        // SAFETY: a runtime lives until it is freed.
        let runtime = &unsafe { object(runtime) }?.runtime;
        let whole = format!("{}\n{}", runtime.describe(), runtime.report()?);
        if room == 0 {
            return Ok(whole.len() as i64);
        }
        // SAFETY: that much room, by the header's conventions.
        unsafe { write_text(whole.as_bytes(), text, room) }
    })
}

/// Reads the counters of a runtime. Set `counters->size` first.
///
/// Asks each worker, so it waits while one is busy: blocks a plain thread and suspends a fiber; but for a
/// fiber of the same runtime where that has one worker.
/// Any thread.
/// Returns 0; -ENOMEM where there is no room for one fiber more, which does the asking; -EINVAL, -POLY_EFORKED.
/// Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_stats(runtime: *const poly_runtime, counters: *mut poly_counters) -> c_int {
    done_quietly(|| {
        // SAFETY: a runtime lives until it is freed.
        let snapshot = unsafe { object(runtime) }?.runtime.snapshot()?;
        let told = poly_counters {
            fibers: snapshot.fibers as u64,
            in_flight: snapshot.in_flight as u64,
            timers: snapshot.timers as u64,
            ..poly_counters::of(snapshot.stats)
        };
        // SAFETY: an output by the header's conventions.
        unsafe { told.put(counters) }
    })
}

/// Starts a fiber in a runtime, or beside the calling one.
pub(crate) unsafe fn spawn_in(
    runtime: *const poly_runtime,
    call: Call,
    detached: bool,
    placement: Placement,
) -> Result<FiberId> {
    if runtime.is_null() {
        return native::spawn_raw_placed(move || call.make(), detached, placement);
    }
    // SAFETY: a runtime lives until it is freed.
    unsafe { object(runtime) }?.runtime.spawn_raw_placed(move || call.make(), detached, placement)
}
