//! Which fiber runs on this thread, and which worker the thread is.
//!
//! Thread-locals are read here and nowhere else, in functions that are never inlined: a compiler that
//! saw through them could keep the address of a thread-local across a suspension, and a fiber may wake
//! up on another thread (N2).

use std::{
    cell::Cell,
    ptr,
    sync::{
        Once,
        atomic::{AtomicU32, Ordering},
    },
};

use super::{
    fiber::{Fiber, FiberRef},
    lock, stack,
    worker::Worker,
};

thread_local! {
    static RUNNING: Cell<*const Fiber> = const { Cell::new(ptr::null()) };
    static WORKER: Cell<*const Worker> = const { Cell::new(ptr::null()) };
}

static FORKS: AtomicU32 = AtomicU32::new(0);

/// The fiber that runs on this thread.
#[inline(never)]
pub(crate) fn fiber() -> Option<FiberRef> {
    FiberRef::from_ptr(RUNNING.get())
}

/// The worker that this thread is, null where it is none.
#[inline(never)]
pub(crate) fn worker() -> *const Worker {
    WORKER.get()
}

/// The home of a fiber that runs, or is ready, on this very thread.
#[inline]
pub(crate) fn worker_of<'a>(fiber: FiberRef) -> &'a Worker {
    // SAFETY: a live fiber's home outlives it.
    unsafe { &*fiber.home.load(Ordering::Relaxed) }
}

/// A number that no other live thread has, and no fiber.
#[inline(never)]
pub fn thread_number() -> u64 {
    RUNNING.with(|running| ptr::from_ref(running) as u64) | 1 << 63
}

/// Makes this thread a worker. The answer is where it says which fiber runs; it is the thread's own.
pub(crate) fn become_worker(worker: *const Worker) -> *const Cell<*const Fiber> {
    WORKER.set(worker);
    RUNNING.with(|running| running as *const _)
}

/// How many forks this process is away from its first ancestor that used this library.
pub fn forks() -> u32 {
    FORKS.load(Ordering::Relaxed)
}

/// From now on the child of a fork knows that it is one.
pub fn watch_forks() {
    static WATCH: Once = Once::new();
    // SAFETY: the handler touches only thread-locals of its thread and atomics.
    WATCH.call_once(|| unsafe {
        libc::pthread_atfork(None, None, Some(in_child));
    });
}

/// The fiber that forked goes on as the only thread of the child: as a plain one.
extern "C" fn in_child() {
    RUNNING.set(ptr::null());
    WORKER.set(ptr::null());
    FORKS.fetch_add(1, Ordering::Relaxed);
    lock::begin_era();
    stack::forget_all();
}
