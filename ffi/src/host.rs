//! Loops: the core for a language with fibers of its own.
//!
//! A loop is a shard whose host is the program: it owns the stacks and switches, and asks here what is next. The
//! shard is borrowed within a call only, and none of these calls anybody, so nothing of the host's can come back
//! while it is. Whoever comes all the same, a signal's handler, is refused.

mod desk;
mod kernel;

use std::{
    cell::RefCell,
    ffi::{c_char, c_int, c_void},
    fmt::Write,
    io,
    mem::size_of,
    ptr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use polyphony_core::{
    backend::{
        Backend,
        any::{Any, Choice},
        sim::{Answer, Sim},
    },
    inbox::Inbox,
    native::{self, Errno, Result},
    op::{Op, OpKey},
    run_queue::RunQueue,
    shard::{Next, Shard, block},
    time::Time,
};

use self::{
    desk::{Desk, Errand, Told, Waiter, Wish},
    kernel::Kernel,
};
use crate::{
    boundary::{self, done, done_quietly, free, give, look, object, put, quietly, wanted, write_text},
    fiber::poly_entry,
    operation::{kind, poly_operation},
    runtime::{POLY_FOREVER, choice, poly_counters, uring},
};

/// No kernel, for tests of hosts; loops only. Time stands still until a wait, then jumps to whatever comes first.
/// Operations end as `poly_loop_answer` says, or when they are cancelled; while one is in flight, the memory that it
/// reads into is overwritten again and again.
pub const POLY_BACKEND_SIM: u32 = 3;

/// Nothing is ready: `poly_loop_wait`.
pub const POLY_LOOP_WAIT: c_int = 0;
/// There is an event.
pub const POLY_LOOP_EVENT: c_int = 1;
/// Nothing is ready, in flight or timed: only another thread or a signal can help.
pub const POLY_LOOP_IDLE: c_int = 2;

/// `poly_loop_ready` was called with this `user_data`.
pub const POLY_LOOP_READY: u32 = 1;
/// The operation `source` has ended, or goes on where `flags` has `POLY_LOOP_MORE`.
pub const POLY_LOOP_COMPLETED: u32 = 2;
/// The timer `source` has reached its deadline, and is gone.
pub const POLY_LOOP_EXPIRED: u32 = 3;
/// `poly_loop_notify` was called with this `user_data`.
pub const POLY_LOOP_NOTIFIED: u32 = 4;

/// More events of the same operation will follow.
pub const POLY_LOOP_MORE: u32 = 1;

/// The scheduler of one thread, for a language whose runtime has fibers of its own: a queue of who is ready, timers,
/// operations in flight and what other threads have said, without stacks. The host keeps its coroutines and switches
/// between them; the loop tells it whose turn it is, and with what. No function of the loop's calls the host.
///
/// A loop belongs to the thread that made it: "its thread" below, and to any other -EPERM. It never suspends a
/// fiber: within one it would hold up the worker. Freed by `poly_loop_free`, before its thread ends.
///
///     for (;;) {
///         poly_loop_event event;
///         int next = poly_loop_next(loop, &event);
///         if (next == POLY_LOOP_EVENT)
///             resume((coroutine *)(uintptr_t)event.user_data, event.result); // which submits, and yields
///         else if (next == POLY_LOOP_WAIT)
///             poly_loop_wait(loop, POLY_FOREVER); // here an interpreter lets go of its lock
///         else
///             break;
///     }
pub struct poly_loop {
    owner: u64,
    forks: u32,
    /// The one part that other threads touch.
    inbox: Arc<Inbox<Waiter>>,
    /// `poly_loop_wake` has been called since the last wait; what the kernel is asked in between would use that up.
    woken: AtomicBool,
    shard: RefCell<Shard<Desk, Kernel>>,
}

/// How to make a loop. Begin with `POLY_LOOP_OPTIONS_INIT`; 0 is the default of every field but `size`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct poly_loop_options {
    /// `sizeof(poly_loop_options)`: tells which version of this struct it is.
    pub size: usize,
    /// One of `POLY_BACKEND_*`.
    pub backend: u32,
    /// Entries of io_uring's submission queue, as in `poly_runtime_options`.
    pub ring_entries: u32,
    /// Entries of io_uring's completion queue, as there.
    pub completion_entries: u32,
    /// 0.
    pub reserved: u32,
}

/// What the loop has to say: one turn of one coroutine.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct poly_loop_event {
    /// Whom it is for: what the operation, the timer or the call that caused it was given.
    pub user_data: u64,
    /// Of an operation: what its system call returns, or a negative error number. Else 0.
    pub result: i64,
    /// The number of the operation or the timer; no two of them have the same. Else 0.
    pub source: u64,
    /// Of a read into a buffer of the loop's: `result` bytes, until `poly_loop_release`. Else NULL.
    pub data: *const c_void,
    /// What happened: `POLY_LOOP_READY`, `_COMPLETED`, `_EXPIRED` or `_NOTIFIED`.
    pub kind: u32,
    /// 0 or `POLY_LOOP_MORE`.
    pub flags: u32,
}

const _: () = assert!(size_of::<poly_loop_options>() == 24 && size_of::<poly_loop_event>() == 40);

impl poly_loop {
    /// Has the owner do something with the shard; nobody else may.
    #[inline]
    fn with<T>(&self, body: impl FnOnce(&mut Shard<Desk, Kernel>) -> Result<T>) -> Result<T> {
        self.is_ours()?;
        if self.owner != native::thread_number() {
            return Err(Errno::new(libc::EPERM));
        }
        // A handler of a signal that came in the middle of a call.
        let mut shard = self.shard.try_borrow_mut().map_err(|_| Errno::new(libc::EBUSY))?;
        body(&mut shard)
    }

    #[inline]
    fn is_ours(&self) -> Result<()> {
        if self.forks == native::forks() { Ok(()) } else { Err(Errno::FORKED) }
    }
}

impl poly_loop_event {
    fn of(told: &Told, data: *const c_void) -> Self {
        let kind = match told.waiter.wish {
            Wish::Turn => POLY_LOOP_READY,
            Wish::News => POLY_LOOP_NOTIFIED,
            Wish::Operation { .. } | Wish::Errand => POLY_LOOP_COMPLETED,
            Wish::Timer => POLY_LOOP_EXPIRED,
        };
        poly_loop_event {
            user_data: told.waiter.user_data,
            result: told.result,
            source: told.source,
            data,
            kind,
            flags: if told.more { POLY_LOOP_MORE } else { 0 },
        }
    }
}

fn failed(error: &io::Error) -> Errno {
    Errno::new(error.raw_os_error().unwrap_or(libc::EIO))
}

/// A deadline of the caller's; nothing for one that never comes.
fn deadline(deadline: u64) -> Option<Time> {
    (deadline != POLY_FOREVER).then_some(Time(deadline))
}

/// Writes the number of an operation or a timer, if somebody wants it.
///
/// # Safety
/// As for [`put`].
unsafe fn tell(place: *mut u64, number: u64) -> Result<()> {
    // SAFETY: by the caller.
    if place.is_null() { Ok(()) } else { unsafe { put(place, number) } }
}

/// Makes the backend. Says once a process why it is not the one that was hoped for.
fn kernel(options: &poly_loop_options) -> Result<Kernel> {
    static SAID: AtomicBool = AtomicBool::new(false);
    if options.reserved != 0 {
        return Err(Errno::new(libc::EINVAL));
    }
    let uring = uring(options.ring_entries, options.completion_entries)?;
    if options.backend == POLY_BACKEND_SIM {
        return Ok(Kernel::Simulated(Box::new(Sim::new(1))));
    }
    let choice = match choice(options.backend)? {
        Choice::Auto => Choice::from_env().map_err(|_| Errno::new(libc::EINVAL))?,
        chosen => chosen,
    };
    let (backend, note) = Any::new(choice, uring).map_err(|error| Errno::new(error.errno()))?;
    if let Some(note) = note
        && !SAID.swap(true, Ordering::Relaxed)
    {
        eprintln!("{note}");
    }
    Ok(Kernel::Real(backend))
}

/// Makes a loop for the calling thread, which must be the one to use it.
///
/// `options` may be NULL: defaults. On success `*loop` is the caller's, to be freed with `poly_loop_free`. Where
/// io_uring is refused and `POLY_BACKEND_AUTO` falls back to epoll, one line on standard error says so.
/// Any thread; a thread may have several.
/// Returns 0; -EINVAL for options or a `POLYPHONY_BACKEND` that make no sense; -E2BIG for options that only a later
/// library knows; or what the system says: -ENOMEM, -EMFILE, -EPERM and -ENOSYS where io_uring alone was asked for
/// and is refused. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_loop_new(
    options: *const poly_loop_options,
    r#loop: *mut *mut poly_loop,
) -> c_int {
    done_quietly(|| {
        wanted(r#loop)?;
        native::watch_forks();
        let defaults = poly_loop_options {
            size: size_of::<poly_loop_options>(),
            backend: 0,
            ring_entries: 0,
            completion_entries: 0,
            reserved: 0,
        };
        // SAFETY: options live for the call and have their size, by the header's conventions.
        let options = if options.is_null() { defaults } else { unsafe { boundary::options(options) }? };
        let shard = Shard::new(Desk::default(), kernel(&options)?);
        let made = poly_loop {
            owner: native::thread_number(),
            forks: native::forks(),
            inbox: shard.inbox(),
            woken: AtomicBool::new(false),
            shard: RefCell::new(shard),
        };
        // SAFETY: not null, and an output by the header's conventions.
        unsafe { give(r#loop, made) }
    })
}

/// Ends a loop: cancels all that is in flight and waits until the kernel has let go of all memory, which takes as long
/// as a function takes that `poly_loop_offload` has begun. Events that nobody took are thrown away, and the
/// descriptors in them closed; lent buffers are gone. NULL is fine. No other call with this loop may be running.
///
/// A host that wants to hear how its operations ended calls `poly_loop_cancel_all` first and goes on until the loop
/// is idle. Blocks. Its thread; in the child of a fork any.
/// Returns 0; -EPERM for another thread, and then nothing has happened. In the child of a fork it frees what can be
/// freed there. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_loop_free(r#loop: *mut poly_loop) -> c_int {
    done_quietly(|| {
        if r#loop.is_null() {
            return Ok(());
        }
        // SAFETY: a loop lives until it is freed.
        let live = unsafe { object(r#loop) }?;
        if live.is_ours().is_ok() {
            live.with(drain)?;
        }
        // SAFETY: it came from `poly_loop_new`, and by the header's conventions is freed once.
        unsafe { free(r#loop) };
        Ok(())
    })
}

/// Waits for every last completion, and takes nothing that they bring.
fn drain(shard: &mut Shard<Desk, Kernel>) -> Result<()> {
    shard.cancel_all();
    loop {
        shard.tend();
        while let Some(waiter) = shard.queue_mut().pop() {
            let told = shard.host_mut().next(waiter);
            if let Some(fd) = told.and_then(|told| told.descriptor()) {
                shard.backend_mut().discard(fd);
            }
        }
        if shard.in_flight() == 0 {
            return Ok(());
        }
        let wait = shard.wait_until(None);
        block(shard, wait).map_err(|error| failed(&error))?;
    }
}

/// Begins an operation, whose events will come from `poly_loop_next`: one, or several of which all but the last have
/// `POLY_LOOP_MORE`. It cannot be full: what the kernel does not take yet waits. On io_uring nothing happens before
/// the next wait, and one system call then begins all that was submitted.
///
/// `operation` is borrowed for the call; what it points to until the operation's last event, also if it is cancelled:
/// the host keeps it where it is, out of its collector's reach. Where that is hard, POLY_OPERATION_RECV_BUFFER reads
/// into memory of the loop's. `*source` becomes the operation's number, for `poly_loop_cancel`; `source` may be NULL.
/// Its thread.
/// Returns 0; -EINVAL for what is no operation; -EFAULT for NULL where it needs memory; -EPERM, -EBUSY,
/// -POLY_EFORKED. Whatever else goes wrong is the result of the event. Since 2.0.
///
///     poly_operation read = { 0 };
///     read.kind = POLY_OPERATION_READ;
///     read.fd = fd;
///     read.pointer = self->buffer;
///     read.length = sizeof self->buffer;
///     read.user_data = (uintptr_t)self;
///     poly_loop_submit(loop, &read, &self->reading);
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_loop_submit(
    r#loop: *const poly_loop,
    operation: *const poly_operation,
    source: *mut u64,
) -> c_int {
    done_quietly(|| {
        // SAFETY: a loop lives until it is freed, arguments for the call.
        let (live, operation) = unsafe { (object(r#loop)?, look(operation)?) };
        let op = operation.read()?;
        let makes_fd = matches!(op, Op::Accept { .. } | Op::AcceptMany { .. } | Op::OpenAt { .. });
        let waiter = Waiter { user_data: operation.user_data, wish: Wish::Operation { makes_fd } };
        let key = live.with(|shard| Ok(shard.submit(waiter, op, ())))?;
        // SAFETY: an output by the header's conventions.
        unsafe { tell(source, key.number()) }
    })
}

/// Has `entry(argument)` called on a thread of the offload pool, for what blocks or computes. The result of its event
/// is what `entry` returned; -ECANCELED if it was cancelled before it began. Once it has begun, nothing ends it.
///
/// `entry` must not touch the host's objects, for the host runs meanwhile; nor may a C++ exception or longjmp leave
/// it. The simulated backend calls it within a wait, and needs an answer for it. `*source` becomes the operation's
/// number; `source` may be NULL.
/// Its thread.
/// Returns 0; -EINVAL, -EPERM, -EBUSY, -POLY_EFORKED. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_loop_offload(
    r#loop: *const poly_loop,
    entry: poly_entry,
    argument: *mut c_void,
    user_data: u64,
    source: *mut u64,
) -> c_int {
    done_quietly(|| {
        let entry = entry.ok_or(Errno::new(libc::EINVAL))?;
        // SAFETY: a loop lives until it is freed.
        let live = unsafe { object(r#loop) }?;
        let key = live.with(|shard| {
            let errand = Errand::new(entry, argument);
            let (function, argument) = errand.job();
            let waiter = Waiter { user_data, wish: Wish::Errand };
            let key = shard.submit(waiter, Op::Offload { function, argument }, ());
            shard.host_mut().keep(key, errand);
            Ok(key)
        })?;
        // SAFETY: an output by the header's conventions.
        unsafe { tell(source, key.number()) }
    })
}

/// Asks for an operation to be cancelled. Its last event comes all the same, and says what was faster: -ECANCELED, or
/// what the operation achieved. Until then its memory is the kernel's. Asking again changes nothing.
///
/// Its thread.
/// Returns 0; -ESRCH if it has ended: its last event waits in `poly_loop_next` or has been told; -EINVAL, -EPERM,
/// -EBUSY, -POLY_EFORKED. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_loop_cancel(r#loop: *const poly_loop, source: u64) -> c_int {
    done_quietly(|| {
        let key = OpKey::from_number(source);
        // SAFETY: a loop lives until it is freed.
        unsafe { object(r#loop) }?.with(|shard| {
            if !shard.is_in_flight(key) {
                return Err(Errno::new(libc::ESRCH));
            }
            shard.cancel(key);
            Ok(())
        })
    })
}

/// Cancels every operation that waits on a descriptor. Before a descriptor is closed their last events must have
/// come, else one of them may take what belongs to the file that has the number next.
///
/// Its thread.
/// Returns how many there are; -EINVAL, -EPERM, -EBUSY, -POLY_EFORKED. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_loop_cancel_fd(r#loop: *const poly_loop, fd: c_int) -> i64 {
    // SAFETY: a loop lives until it is freed.
    quietly(|| unsafe { object(r#loop) }?.with(|shard| Ok(shard.cancel_fd(fd) as i64)))
}

/// Cancels every operation. Timers stay.
///
/// Its thread.
/// Returns how many there are; -EINVAL, -EPERM, -EBUSY, -POLY_EFORKED. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_loop_cancel_all(r#loop: *const poly_loop) -> i64 {
    quietly(|| {
        // SAFETY: a loop lives until it is freed.
        unsafe { object(r#loop) }?.with(|shard| {
            shard.cancel_all();
            Ok(shard.in_flight() as i64)
        })
    })
}

/// Arms a timer: an event at `deadline` by the loop's clock, never before. An operation gets a deadline by a timer
/// whose event has the host cancel it, and which is disarmed when the operation was faster.
///
/// `*source` becomes the timer's number; `source` may be NULL. POLY_FOREVER never comes. Its thread.
/// Returns 0; -EINVAL, -EPERM, -EBUSY, -POLY_EFORKED. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_loop_arm(
    r#loop: *const poly_loop,
    deadline: u64,
    user_data: u64,
    source: *mut u64,
) -> c_int {
    done(|| {
        let waiter = Waiter { user_data, wish: Wish::Timer };
        // SAFETY: a loop lives until it is freed.
        let timer = unsafe { object(r#loop) }?.with(|shard| Ok(shard.at(Time(deadline), waiter)))?;
        // SAFETY: an output by the header's conventions.
        unsafe { tell(source, desk::number(timer)) }
    })
}

/// Moves a timer to another deadline.
///
/// Its thread.
/// Returns 0; -ESRCH if it has expired, and then its event waits or has been told, or was disarmed; -EINVAL, -EPERM,
/// -EBUSY, -POLY_EFORKED. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_loop_rearm(r#loop: *const poly_loop, source: u64, deadline: u64) -> c_int {
    done(|| {
        let timer = desk::timer(source);
        // SAFETY: a loop lives until it is freed.
        let moved = unsafe { object(r#loop) }?.with(|shard| Ok(shard.rearm(timer, Time(deadline))))?;
        if moved { Ok(()) } else { Err(Errno::new(libc::ESRCH)) }
    })
}

/// Forgets a timer. From then on it is not heard of, also if it has expired and nobody took its event: what
/// `user_data` names may be freed.
///
/// Its thread.
/// Returns 0; -ESRCH if its event has been told, or it was disarmed before; -EINVAL, -EPERM, -EBUSY, -POLY_EFORKED.
/// Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_loop_disarm(r#loop: *const poly_loop, source: u64) -> c_int {
    done(|| {
        let timer = desk::timer(source);
        // SAFETY: a loop lives until it is freed.
        let forgotten = unsafe { object(r#loop) }?
            .with(|shard| Ok(shard.disarm(timer) || shard.host_mut().take_back(timer)))?;
        if forgotten { Ok(()) } else { Err(Errno::new(libc::ESRCH)) }
    })
}

/// Queues a turn behind the others: for a coroutine that begins, yields, or has what it waited for from another one.
/// Each call is an event.
///
/// Its thread.
/// Returns 0; -EINVAL, -EPERM, -EBUSY, -POLY_EFORKED. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_loop_ready(r#loop: *const poly_loop, user_data: u64) -> c_int {
    done(|| {
        // SAFETY: a loop lives until it is freed.
        unsafe { object(r#loop) }?.with(|shard| {
            let waiter = shard.host_mut().expect(user_data);
            shard.ready(waiter);
            Ok(())
        })
    })
}

/// What next? Takes the next event, in the order in which they came about. Now and then, in a program that always has
/// something ready, it looks for completions, timers and other threads on the way; it never waits.
///
/// `*event` is written if there is one. A descriptor in it, the result of an accept or an open, is the host's to close.
/// Its thread.
/// Returns `POLY_LOOP_EVENT`; `POLY_LOOP_WAIT`; `POLY_LOOP_IDLE`; -EINVAL, -EPERM, -EBUSY, -POLY_EFORKED, or why the
/// kernel cannot be asked. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_loop_next(r#loop: *const poly_loop, event: *mut poly_loop_event) -> c_int {
    quietly(|| {
        wanted(event)?;
        // SAFETY: a loop lives until it is freed.
        unsafe { object(r#loop) }?.with(|shard| {
            if shard.queue().is_empty() {
                shard.tend();
            }
            while !shard.queue().is_empty() {
                match shard.next() {
                    Next::Run(waiter) => {
                        let Some(told) = shard.host_mut().next(waiter) else { continue };
                        let data = lend(shard, &told);
                        // SAFETY: not null, and an output by the header's conventions.
                        unsafe { put(event, poly_loop_event::of(&told, data)) }?;
                        return Ok(POLY_LOOP_EVENT);
                    }
                    // Does not sleep, for somebody is ready.
                    Next::Wait(wait) => block(shard, wait).map_err(|error| failed(&error))?,
                    Next::Idle => unreachable!("somebody is ready"),
                }
            }
            let is_idle = shard.in_flight() == 0 && shard.timers() == 0;
            Ok(if is_idle { POLY_LOOP_IDLE } else { POLY_LOOP_WAIT })
        })
    })
}

/// Where the bytes of a lent buffer are, which is the program's from now on. At the end of a file the kernel may have
/// picked one for nothing.
fn lend(shard: &mut Shard<Desk, Kernel>, told: &Told) -> *const c_void {
    let Some(id) = told.buffer else { return ptr::null() };
    if told.result <= 0 {
        shard.recycle(id);
        return ptr::null();
    }
    let data = shard.buffer(id, usize::try_from(told.result).unwrap_or(0)).as_ptr();
    shard.host_mut().lent.insert(data.addr(), id);
    data.cast()
}

/// Waits until there is an event, at most until `deadline` by the loop's clock, and gives the kernel what was
/// submitted. POLY_FOREVER waits as long as it takes; 0 does not sleep, nor does any deadline while events are ready.
/// A signal or `poly_loop_wake` ends it, too, and it may end for nothing.
///
/// Nothing of the host's is touched, so a host with a global lock lets go of it for this call, and no other. Its wish
/// to interrupt is told by `poly_loop_wake`, which ends this wait also if it has not begun. Blocks. Its thread.
/// Returns 1 if there is an event, else 0; -EINVAL, -EPERM, -EBUSY, -POLY_EFORKED, or why the kernel cannot be asked.
/// Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_loop_wait(r#loop: *const poly_loop, deadline: u64) -> c_int {
    quietly(|| {
        // SAFETY: a loop lives until it is freed.
        let live = unsafe { object(r#loop) }?;
        live.with(|shard| {
            shard.tend();
            let awake = live.woken.swap(false, Ordering::SeqCst) || !shard.queue().is_empty();
            let said = visit(shard, if awake { Some(Time(0)) } else { self::deadline(deadline) });
            live.woken.store(false, Ordering::SeqCst); // whoever called meanwhile meant this wait
            said
        })
    })
}

/// One turn to the kernel; says whether somebody is ready then.
fn visit(shard: &mut Shard<Desk, Kernel>, until: Option<Time>) -> Result<c_int> {
    let wait = shard.wait_until(until);
    block(shard, wait).map_err(|error| failed(&error))?;
    shard.tend();
    Ok(c_int::from(!shard.queue().is_empty()))
}

/// Tells the loop something from elsewhere: an event with `user_data`. Ends a wait. For whatever another thread has
/// done for a coroutine; what it did is written before this call and seen after the event.
///
/// Any thread, while the loop lives; not a signal's handler.
/// Returns 0; -EINVAL, -POLY_EFORKED. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_loop_notify(r#loop: *const poly_loop, user_data: u64) -> c_int {
    done_quietly(|| {
        // SAFETY: a loop lives until it is freed; this part of it is made for all threads.
        let live = unsafe { object(r#loop) }?;
        live.is_ours()?;
        live.inbox.push(Waiter { user_data, wish: Wish::News });
        Ok(())
    })
}

/// Ends the present `poly_loop_wait`, or the next one, with nothing to tell.
///
/// Any thread, while the loop lives, and handlers of signals.
/// Returns 0; -EINVAL, -POLY_EFORKED. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_loop_wake(r#loop: *const poly_loop) -> c_int {
    done_quietly(|| {
        // SAFETY: a loop lives until it is freed. Not asked of the debug mode, which takes locks: a handler may have
        // come in the middle of one.
        let live = unsafe { look(r#loop) }?;
        live.is_ours()?;
        live.woken.store(true, Ordering::SeqCst);
        live.inbox.wake();
        Ok(())
    })
}

/// Gives a lent buffer back: `data` of an event. They are few, 128 of 16 KiB; while all are lent, reads into them end
/// with -ENOBUFS.
///
/// NULL is fine. Its thread.
/// Returns 0; -EINVAL for what is not lent; -EPERM, -EBUSY, -POLY_EFORKED. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_loop_release(r#loop: *const poly_loop, data: *const c_void) -> c_int {
    done_quietly(|| {
        // SAFETY: a loop lives until it is freed.
        unsafe { object(r#loop) }?.with(|shard| {
            if data.is_null() {
                return Ok(());
            }
            let lent = shard.host_mut().lent.remove(&data.addr());
            shard.recycle(lent.ok_or(Errno::new(libc::EINVAL))?);
            Ok(())
        })
    })
}

/// The time by the loop's clock: `poly_now`, but for the simulated backend.
///
/// Its thread.
/// Returns nanoseconds; -EINVAL, -EPERM, -EBUSY, -POLY_EFORKED. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_loop_now(r#loop: *const poly_loop) -> i64 {
    // SAFETY: a loop lives until it is freed.
    quietly(|| unsafe { object(r#loop) }?.with(|shard| Ok(shard.now().0 as i64)))
}

/// A descriptor that is readable while `poly_loop_wait` would bring something, to put a loop into another: an epoll,
/// GLib's, libuv's. Before each wait there `poly_loop_prepare` is called.
///
/// It is the loop's: neither read nor closed by the host. Its thread.
/// Returns the descriptor; -ENOTSUP for the simulated backend, and where none can be made;
/// -EINVAL, -EPERM, -EBUSY, -POLY_EFORKED. Since 2.0.
///
///     for (;;) {
///         uint64_t deadline;
///         while (poly_loop_next(loop, &event) == POLY_LOOP_EVENT)
///             resume(&event);
///         if (poly_loop_prepare(loop, &deadline) == 0)
///             wait_for_it_and_others(poly_loop_fd(loop), deadline);
///     }
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_loop_fd(r#loop: *const poly_loop) -> c_int {
    quietly(|| {
        // SAFETY: a loop lives until it is freed.
        unsafe { object(r#loop) }?
            .with(|shard| shard.backend_mut().descriptor().ok_or(Errno::new(libc::ENOTSUP)))
    })
}

/// Says that the thread is about to wait by other means than `poly_loop_wait`: gives the kernel what was submitted,
/// takes in what has happened, and does not sleep.
///
/// `*deadline` is until when the wait may last at most, by the loop's clock; POLY_FOREVER if nothing is timed. It is
/// written if the result is 0.
/// Its thread.
/// Returns 0 if the host may wait until then, or until the loop's descriptor is readable; 1 if it must not, because
/// there may be events: `poly_loop_next`, and this again; -EINVAL, -EPERM, -EBUSY, -POLY_EFORKED, or why the kernel
/// cannot be asked. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_loop_prepare(r#loop: *const poly_loop, deadline: *mut u64) -> c_int {
    /// What completes at once may have to be submitted again, now and then.
    const VISITS: usize = 8;
    quietly(|| {
        wanted(deadline)?;
        // SAFETY: a loop lives until it is freed.
        let live = unsafe { object(r#loop) }?;
        live.with(|shard| {
            for _ in 0..VISITS {
                if visit(shard, Some(Time(0)))? == 1 {
                    return Ok(1);
                }
                match shard.rest() {
                    Some(Time(0)) => continue,
                    _ if live.woken.swap(false, Ordering::SeqCst) => return Ok(1),
                    until => {
                        // SAFETY: not null, and an output by the header's conventions.
                        unsafe { put(deadline, until.map_or(POLY_FOREVER, |until| until.0)) }?;
                        return Ok(0);
                    }
                }
            }
            Ok(1)
        })
    })
}

/// Reads the counters of a loop. Set `counters->size` first. `fibers` are events that nobody took yet, `switches`
/// those that were taken; `stolen` is 0.
///
/// Its thread.
/// Returns 0; -EINVAL, -EPERM, -EBUSY, -POLY_EFORKED. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_loop_stats(r#loop: *const poly_loop, counters: *mut poly_counters) -> c_int {
    done(|| {
        // SAFETY: a loop lives until it is freed.
        let told = unsafe { object(r#loop) }?.with(|shard| {
            Ok(poly_counters {
                fibers: shard.queue().len() as u64,
                in_flight: shard.in_flight() as u64,
                timers: shard.timers() as u64,
                ..poly_counters::of(shard.stats())
            })
        })?;
        // SAFETY: an output by the header's conventions.
        unsafe { told.put(counters) }
    })
}

/// Describes a loop, for people: its backend and how that was set up, and a line for each operation in flight.
///
///     io_uring (SINGLE_ISSUER DEFER_TASKRUN)
///     recv of descriptor 5 for 0x55d0c8a4e2a0
///
/// As much as fits into `room` bytes is written to `text`, with a zero at its end; `text` may be NULL if `room` is 0.
/// Its thread.
/// Returns the length of the whole text; -EINVAL, -EPERM, -EBUSY, -POLY_EFORKED. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_loop_describe(r#loop: *const poly_loop, text: *mut c_char, room: usize) -> i64 {
    quietly(|| {
        // SAFETY: a loop lives until it is freed.
        let whole = unsafe { object(r#loop) }?.with(|shard| Ok(describe(shard)))?;
        if room == 0 {
            return Ok(whole.len() as i64);
        }
        // SAFETY: that much room, by the header's conventions.
        unsafe { write_text(whole.as_bytes(), text, room) }
    })
}

fn describe(shard: &Shard<Desk, Kernel>) -> String {
    let mut text = shard.backend().describe() + "\n";
    for (waiter, op) in shard.operations() {
        let name = format!("{:?}", op.kind()).to_lowercase();
        let of = op.fd().map_or(String::new(), |fd| format!(" of descriptor {fd}"));
        writeln!(text, "{name}{of} for {:#x}", waiter.user_data)
            .expect("a string takes all that is written to it");
    }
    text
}

/// Says how an operation on the simulated backend ends: the next of that kind on `fd`, or one that is in flight
/// already and has no answer yet; -1 for those without a descriptor. `kind` is one of `POLY_OPERATION_*`. Several
/// answers for the same are given one after the other.
///
/// `result` is its result; if `bytes` is not NULL it is how many of those it reads, as far as they fit. It takes `after`
/// nanoseconds. `flags` are 0 or `POLY_LOOP_MORE`: the operation goes on, with its next answer. NOP and CLOSE need
/// none. `bytes` are copied. Its thread.
/// Returns 0; -ENOTSUP for other backends; -EINVAL, -EPERM, -EBUSY, -POLY_EFORKED. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_loop_answer(
    r#loop: *const poly_loop,
    fd: c_int,
    kind: u32,
    result: i32,
    bytes: *const c_void,
    after: u64,
    flags: u32,
) -> c_int {
    done(|| {
        let kind = self::kind(kind)?;
        if flags & !POLY_LOOP_MORE != 0 {
            return Err(Errno::new(libc::EINVAL));
        }
        let count = usize::try_from(result).unwrap_or(0);
        let answer = if bytes.is_null() || count == 0 {
            Answer::result(result)
        } else {
            // SAFETY: so many stand there, by the header's conventions.
            Answer::bytes(unsafe { std::slice::from_raw_parts(bytes.cast(), count) })
        };
        let answer = answer.after(Duration::from_nanos(after));
        let answer = if flags & POLY_LOOP_MORE == 0 { answer } else { answer.more() };
        // SAFETY: a loop lives until it is freed.
        unsafe { object(r#loop) }?.with(|shard| match shard.backend_mut() {
            Kernel::Simulated(sim) => {
                sim.script(fd, kind, answer);
                Ok(())
            }
            Kernel::Real(_) => Err(Errno::new(libc::ENOTSUP)),
        })
    })
}
