//! The host that runs fibers of its own: stackful coroutines on worker threads.
//!
//! A fiber calls what looks like a blocking function; its worker runs other fibers meanwhile. A call
//! made outside any fiber blocks its thread, as the plain system call does.
//!
//! ```
//! use polyphony_core::native::{self, Options, Runtime};
//!
//! let runtime = Runtime::new(Options::default())?;
//! let sum = runtime.run(|| {
//!     let halves = [1, 2].map(|half| native::spawn(move || half * 21).expect("memory for a fiber"));
//!     halves.into_iter().map(|fiber| fiber.join().expect("no panic")).sum::<i32>()
//! })?;
//! assert_eq!(sum, 63);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Four promises (tested): what a fiber asks for happens once it is off its stack (N1); thread-locals
//! are read anew after every suspension (N2); a fiber never resumes while the kernel can still write to
//! its buffers (N3); a fiber that has run stays on its worker (N4).

mod cancel;
mod current;
mod errno;
mod fiber;
mod foresight;
pub mod io;
mod lock;
mod park;
mod plain;
mod scope;
mod spawn;
mod stack;
pub mod sync;
mod worker;

use std::{
    fmt, process, ptr,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

pub use self::{
    current::forks,
    errno::{Errno, Result},
    fiber::FiberId,
    plain::KeepErrno,
    scope::{FOREVER, Scope, check, lower_shield, raise_shield, shielded, until, within},
    spawn::{JoinHandle, detach, join, myself, sleep, sleep_until, spawn, spawn_raw, yield_now},
};
use self::{fiber::Stage, stack::Slab, worker::Worker};
use crate::{
    backend::{
        any::{Any, Choice},
        uring::UringOptions,
    },
    error::Error,
    op::Op,
    stats::Stats,
};

/// How to make a runtime.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Which backend; `Auto` lets `POLYPHONY_BACKEND` say.
    pub backend: Choice,
    /// How the ring is made, where there is one.
    pub uring: UringOptions,
    /// How many bytes of stack a fiber has at least.
    pub stack_size: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options { backend: Choice::Auto, uring: UringOptions::default(), stack_size: 64 * 1024 }
    }
}

/// Worker threads and the fibers on them. Usable from any thread.
///
/// Dropping it cancels its fibers and waits until they have ended.
pub struct Runtime {
    shared: Arc<Shared>,
    workers: Vec<Arc<Worker>>,
    threads: Mutex<Vec<thread::JoinHandle<()>>>,
    forks: u32,
}

/// What the workers of a runtime share.
pub(crate) struct Shared {
    slab: &'static Slab,
    stopping: AtomicBool,
    /// Held while a fiber is sent to a worker from outside, so that none is sent to one that has ended.
    gate: Mutex<()>,
    ended: Mutex<Ended>,
    all_ended: Condvar,
}

#[derive(Default)]
struct Ended {
    workers: usize,
    stats: Stats,
}

/// What a runtime has done, and what it is doing.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Snapshot {
    /// What its shards have done.
    pub stats: Stats,
    /// Fibers that have not ended.
    pub fibers: usize,
    /// Operations in flight.
    pub in_flight: usize,
    /// Timers that are armed.
    pub timers: usize,
}

impl Shared {
    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// A worker ends, having done this much.
    fn count(&self, stats: Stats) {
        lock(&self.ended).stats = stats;
    }
}

impl Runtime {
    /// Starts the workers. Where `Auto` has to do without io_uring, one line on standard error says so.
    pub fn new(options: Options) -> std::result::Result<Self, StartError> {
        current::watch_forks();
        let choice = match options.backend {
            Choice::Auto => Choice::from_env().map_err(|unknown| StartError::Choice(unknown.to_string()))?,
            chosen => chosen,
        };
        let class = stack::class_of(options.stack_size).map_err(StartError::Memory)?;
        let shared = Arc::new(Shared {
            slab: stack::slab(class).map_err(StartError::Memory)?,
            stopping: AtomicBool::new(false),
            gate: Mutex::default(),
            ended: Mutex::default(),
            all_ended: Condvar::new(),
        });
        let (worker, thread) = start(choice, options.uring, shared.clone())?;
        let forks = current::forks();
        Ok(Runtime { shared, workers: vec![worker], threads: Mutex::new(vec![thread]), forks })
    }

    /// Starts a fiber. Any thread, and fibers of other runtimes.
    pub fn spawn<F, T>(&self, function: F) -> Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.spawn_raw(function, false).map(JoinHandle::new)
    }

    /// Starts a fiber and gives its name; unless `detached`, somebody must join or detach it.
    pub fn spawn_raw<F, T>(&self, function: F, detached: bool) -> Result<FiberId>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.in_this_process()?;
        if let Some(worker) = self.here() {
            return worker.spawn(function, detached);
        }
        let _keep = KeepErrno::new();
        let slab = self.shared.slab;
        spawn::fits::<F, T>(slab)?;
        let _open = lock(&self.shared.gate);
        if self.shared.is_stopping() {
            return Err(Errno::SHUTDOWN);
        }
        let mut vacant = Vec::new();
        slab.claim(&mut vacant, 1)?;
        let fiber = vacant.pop().expect("one was claimed");
        let worker = self.workers.first().expect("a runtime has a worker");
        let id = fiber.prepare(slab, function, detached);
        fiber.home.store(Arc::as_ptr(worker).cast_mut(), Ordering::Release);
        worker.inbox().push(fiber);
        Ok(id)
    }

    /// Runs `function` in a fiber and waits until it returns.
    pub fn run<F, T>(&self, function: F) -> Result<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.spawn(function)?.join()
    }

    /// Cancels all fibers, again and again, takes no more, and waits until they have ended.
    ///
    /// With a time to wait, fibers that do not end in it keep running, and the answer is
    /// [`Errno::TIMED_OUT`]; call again to wait longer.
    pub fn shutdown(&self, patience: Option<Duration>) -> Result<()> {
        self.in_this_process()?;
        if self.here().is_some() {
            return Err(Errno::new(libc::EDEADLK));
        }
        self.stop();
        let deadline = patience.and_then(|patience| Instant::now().checked_add(patience));
        let mut ended = lock(&self.shared.ended);
        while ended.workers < self.workers.len() {
            let Some(deadline) = deadline else {
                ended = self.shared.all_ended.wait(ended).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Errno::TIMED_OUT);
            }
            let waited = self.shared.all_ended.wait_timeout(ended, left);
            ended = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(ended);
        for thread in lock(&self.threads).drain(..) {
            let _ = thread.join(); // its panics have been reported, and it has nothing to tell
        }
        Ok(())
    }

    /// What the runtime has done so far. Waits for the workers to tell, where they still run.
    pub fn snapshot(&self) -> Result<Snapshot> {
        if let Some(worker) = self.here() {
            return Ok(Snapshot::of(worker));
        }
        match self.run(|| current::fiber().map(|fiber| Snapshot::of(current::worker_of(fiber)))) {
            // The fiber that asked is none of those asked about.
            Ok(Some(snapshot)) => Ok(Snapshot { fibers: snapshot.fibers.saturating_sub(1), ..snapshot }),
            Ok(None) => Ok(Snapshot::default()),
            Err(Errno::SHUTDOWN) => {
                Ok(Snapshot { stats: lock(&self.shared.ended).stats, ..Snapshot::default() })
            }
            Err(errno) => Err(errno),
        }
    }

    /// The backend and how it was set up, for people.
    pub fn describe(&self) -> &str {
        self.workers.first().map_or("", |worker| worker.describe())
    }

    /// Whether the calling fiber is one of this runtime's.
    pub fn is_current(&self) -> bool {
        self.here().is_some()
    }

    fn here(&self) -> Option<&Worker> {
        let worker = current::fiber().map(current::worker_of)?;
        worker.belongs_to(&self.shared).then_some(worker)
    }

    fn stop(&self) {
        let _open = lock(&self.shared.gate);
        self.shared.stopping.store(true, Ordering::SeqCst);
        self.workers.iter().for_each(|worker| worker.inbox().wake());
    }

    fn in_this_process(&self) -> Result<()> {
        if self.forks == current::forks() { Ok(()) } else { Err(Errno::FORKED) }
    }

    /// Vacates the slots of fibers that ended and were never joined.
    fn reclaim(&self) {
        for fiber in self.shared.slab.fibers() {
            let home = fiber.home.load(Ordering::Acquire).cast_const();
            if !self.workers.iter().any(|worker| ptr::eq(Arc::as_ptr(worker), home)) {
                continue;
            }
            let mut end = fiber.end.lock();
            if end.stage != Stage::Done {
                continue;
            }
            fiber.vacate(&mut end);
            drop(end);
            fiber.discard();
            stack::give_back(fiber);
        }
    }
}

impl Snapshot {
    fn of(worker: &Worker) -> Self {
        let shard = worker.shard();
        Snapshot {
            stats: worker.stats(),
            fibers: worker.live(),
            in_flight: shard.in_flight(),
            timers: shard.timers(),
        }
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        match self.shutdown(None) {
            Ok(()) => self.reclaim(),
            // The parent's workers do not exist here; nobody can tell what their memory looks like.
            Err(Errno::FORKED) => std::mem::take(&mut self.workers).into_iter().for_each(std::mem::forget),
            // One of its own fibers dropped it: the workers end by themselves, and are not waited for.
            Err(_) => {
                self.stop();
                std::mem::take(&mut self.workers).into_iter().for_each(std::mem::forget);
            }
        }
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime").field("backend", &self.describe()).finish_non_exhaustive()
    }
}

/// Why a runtime could not be made.
#[derive(Debug)]
pub enum StartError {
    /// `POLYPHONY_BACKEND` names no backend.
    Choice(String),
    /// The backend could not be had.
    Backend(Error),
    /// There is no memory for stacks, or no stack is that large.
    Memory(Errno),
    /// The system starts no more threads.
    Thread(std::io::Error),
}

impl StartError {
    /// The error as a number.
    pub fn errno(&self) -> Errno {
        match self {
            StartError::Choice(_) => Errno::new(libc::EINVAL),
            StartError::Backend(error) => Errno::new(error.errno()),
            StartError::Memory(errno) => *errno,
            StartError::Thread(error) => Errno::new(error.raw_os_error().unwrap_or(libc::EAGAIN)),
        }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Choice(text) => f.write_str(text),
            StartError::Backend(error) => error.fmt(f),
            StartError::Memory(errno) => write!(f, "stacks for fibers could not be reserved: {errno}"),
            StartError::Thread(error) => write!(f, "a worker thread could not be started: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

/// Performs an operation: suspends the calling fiber until its last completion, or blocks the thread
/// where no fiber runs. The result is a value or a negative errno; `EINVAL` for what tells more than once
/// or reads into a shard's own buffers, for a call returns one number, once.
///
/// # Safety
/// What the operation points to is valid until this returns.
#[inline]
pub unsafe fn perform(op: &Op) -> i32 {
    let Some(fiber) = current::fiber() else {
        // SAFETY: passed on.
        return unsafe { plain::perform(op) };
    };
    if !op.returns_once() {
        return -libc::EINVAL;
    }
    if let Err(errno) = cancel::point(fiber) {
        return -errno.number();
    }
    fiber.suspend(fiber::Ask::Perform(op));
    fiber.outcome.get()
}

/// Closes a descriptor, after ending every operation on it by a fiber of the caller's worker: their calls
/// answer `EBADF`. Fibers elsewhere, of another runtime say, go on waiting for the file that was closed
/// until they are cancelled. It is closed also when the fiber has been cancelled.
pub fn close(fd: i32) -> Result<()> {
    let op = Op::Close { fd };
    if let Some(fiber) = current::fiber() {
        current::worker_of(fiber).shard().cancel_fd(fd);
    }
    // SAFETY: the operation points to nothing.
    let result = shielded(|| unsafe { perform(&op) });
    Errno::check(result).map(drop)
}

/// Starts a worker, and waits until it has its ring.
fn start(
    choice: Choice,
    options: UringOptions,
    shared: Arc<Shared>,
) -> std::result::Result<(Arc<Worker>, thread::JoinHandle<()>), StartError> {
    let (tell, hear) = mpsc::sync_channel(1);
    let body = move || {
        let _honest = AbortOnPanic;
        let (backend, note) = match Any::new(choice, options) {
            Ok(made) => made,
            Err(error) => return drop(tell.send(Err(error))),
        };
        if let Some(note) = note {
            eprintln!("{note}");
        }
        let worker = Worker::new(backend, shared.clone());
        // Whoever starts us waits for this.
        let _ = tell.send(Ok(worker.clone()));
        worker.run();
        lock(&shared.ended).workers += 1;
        shared.all_ended.notify_all();
    };
    let thread = thread::Builder::new().name("polyphony-0".into()).spawn(body).map_err(StartError::Thread)?;
    match hear.recv() {
        Ok(Ok(worker)) => Ok((worker, thread)),
        Ok(Err(error)) => Err(StartError::Backend(error)),
        Err(_) => unreachable!("a worker that panics ends the process"),
    }
}

/// A worker that panics leaves fibers behind that nobody can resume or unwind: better end at once, after the
/// panic's message, than hang later.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            process::abort();
        }
    }
}

/// A lock that panics do not poison: what it guards is valid at every moment.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
