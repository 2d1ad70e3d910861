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

mod acceptor;
mod armed;
mod belongings;
mod buffer;
mod cancel;
mod current;
mod descriptors;
mod directory;
mod errno;
mod exceptions;
mod family;
mod fiber;
mod foresight;
mod inquiry;
pub mod io;
mod lock;
mod name;
pub mod net;
mod overflow;
mod park;
mod plain;
pub mod processes;
mod sanitize;
mod scope;
pub mod signals;
mod spawn;
mod stack;
pub mod sync;
mod telling;
mod ticker;
pub mod transfer;
mod valgrind;
mod worker;

use std::{
    fmt,
    num::NonZero,
    process, ptr,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

pub use self::{
    acceptor::Acceptor,
    belongings::{Destructor, Key, on_exit},
    buffer::{Buffer, read_buffer, recv_buffer},
    current::{forks, thread_number, watch_forks},
    directory::{Directory, Entry},
    errno::{Errno, Result},
    fiber::FiberId,
    name::Name,
    plain::KeepErrno,
    scope::{Early, FOREVER, Scope, check, lower_shield, raise_shield, shielded, until, within},
    spawn::{
        JoinHandle, Placement, detach, join, myself, sleep, sleep_until, spawn, spawn_placed, spawn_raw,
        spawn_raw_placed, worker, yield_now,
    },
    ticker::Ticker,
};
use self::{
    fiber::{End, FiberRef, Roams, Stage},
    inquiry::Inquiry,
    lock::Held,
    overflow::AlternateStack,
    park::push,
    spawn::Place,
    stack::Slab,
    worker::Worker,
};
use crate::{
    backend::{
        any::{Any, Choice},
        uring::UringOptions,
    },
    crew::{self, Crew, Roaming},
    error::Error,
    offload,
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
    /// How many threads run fibers, [`Options::MOST_WORKERS`] at most; 0 is as many as may run at once.
    pub workers: usize,
    /// How many fibers there may be at once; 0 is as many as there is memory for.
    pub max_fibers: usize,
    /// How many threads the offload pool may have, which all runtimes of the process share: who asks last
    /// decides. 0 asks for nothing; at first it may have as many as may run at once, but 4 to 16.
    pub offload_threads: usize,
    /// What the worker threads are called, with a number behind it; "polyphony" where it is empty.
    pub name: Name,
}

impl Options {
    /// No runtime has more workers.
    pub const MOST_WORKERS: usize = crew::MOST;

    /// The default, with that many workers.
    pub fn with_workers(workers: usize) -> Self {
        Options { workers, ..Options::default() }
    }

    fn count(&self) -> std::result::Result<usize, StartError> {
        match self.workers {
            0 => Ok(thread::available_parallelism().map_or(1, NonZero::get).min(Self::MOST_WORKERS)),
            workers if workers <= Self::MOST_WORKERS => Ok(workers),
            _ => Err(StartError::Workers),
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Options {
            backend: Choice::Auto,
            uring: UringOptions::default(),
            stack_size: 64 * 1024,
            workers: 0,
            max_fibers: 0,
            offload_threads: 0,
            name: Name::NONE,
        }
    }
}

/// Worker threads and the fibers on them. Usable from any thread.
///
/// Dropping it cancels its fibers and waits until they have ended.
pub struct Runtime {
    shared: Arc<Shared>,
    workers: Vec<Arc<Worker>>,
    threads: Mutex<Vec<thread::JoinHandle<()>>>,
    /// Which worker's turn it is to get a fiber that is to stay on one.
    next: AtomicUsize,
    forks: u32,
}

/// What the workers of a runtime share.
pub(crate) struct Shared {
    slab: &'static Slab,
    /// What the workers are to heed: bits.
    calls: AtomicU8,
    inquiry: Inquiry,
    /// Held while a fiber is sent to a worker from outside, so that none is sent to one that has ended.
    gate: Mutex<()>,
    ended: Mutex<Ended>,
    all_ended: Condvar,
    /// What the workers share their fibers through, where there are several.
    crew: Option<Arc<Crew<FiberRef>>>,
    /// How many fibers there may be, where that is limited, and how many there are.
    most_fibers: Option<NonZero<usize>>,
    fibers: AtomicUsize,
    /// Fibers that no worker has begun.
    from_outside: AtomicU64,
    /// Set before the first fiber is. They live until all their threads have ended.
    workers: OnceLock<Box<[WorkerPtr]>>,
}

/// The runtime shuts down.
const STOPPING: u8 = 1;
/// Somebody asks what the fibers are doing.
const ASKED: u8 = 2;

/// Who wants a fiber.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Whose {
    User,
    Library,
}

#[derive(Clone, Copy)]
struct WorkerPtr(*const Worker);

// SAFETY: a worker says itself what others may touch.
unsafe impl Send for WorkerPtr {}
// SAFETY: as above.
unsafe impl Sync for WorkerPtr {}

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
        self.calls() & STOPPING != 0
    }

    #[inline]
    fn calls(&self) -> u8 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Every worker is to tell what its fibers are doing.
    fn ask(&self) {
        self.calls.fetch_or(ASKED, Ordering::SeqCst);
        self.wake_all();
    }

    fn asked_enough(&self) {
        self.calls.fetch_and(!ASKED, Ordering::SeqCst);
    }

    /// The fibers that have not ended, as far as they can be seen.
    fn fibers(&self) -> impl Iterator<Item = FiberRef> + '_ {
        self.slab.fibers().filter(|fiber| self.hold(fiber).is_some())
    }

    /// A fiber is to begin, where they are limited; `EAGAIN` if there are enough. Those of the library's own count,
    /// but are never refused.
    #[cold]
    fn admit(&self, whose: Whose) -> Result<()> {
        let most = match (whose, self.most_fibers) {
            (Whose::User, Some(most)) => most.get(),
            (Whose::Library, _) | (_, None) => usize::MAX,
        };
        let admitted = self
            .fibers
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |fibers| (fibers < most).then_some(fibers + 1));
        admitted.map(drop).map_err(|_| Errno::new(libc::EAGAIN))
    }

    /// A fiber that was admitted has ended, or did not begin.
    #[cold]
    fn dismiss(&self) {
        self.fibers.fetch_sub(1, Ordering::SeqCst);
    }

    /// A worker ends, having done this much.
    fn count(&self, stats: Stats) {
        let mut ended = lock(&self.ended);
        ended.stats = ended.stats.plus(stats);
    }

    /// How many fibers have not ended. 0 is certain once nobody spawns from outside; else it is a moment ago.
    fn live(&self) -> usize {
        // First those that ended: each of them is among those that began, read afterwards.
        // SAFETY: workers live until all their threads have ended and the runtime is dropped.
        let workers = || self.workers().iter().map(|worker| unsafe { &*worker.0 });
        let ended: u64 = workers().map(|worker| worker.ended()).sum();
        let began: u64 = workers().map(|worker| worker.began()).sum();
        (began + self.from_outside.load(Ordering::SeqCst)).saturating_sub(ended) as usize
    }

    fn workers(&self) -> &[WorkerPtr] {
        self.workers.get().map_or(&[], |workers| workers)
    }

    fn worker(&self, index: usize) -> Result<*const Worker> {
        self.workers().get(index).map(|worker| worker.0).ok_or(Errno::new(libc::EINVAL))
    }

    /// The lock of a fiber that is one of this runtime's and has not ended.
    fn hold<'a>(&self, fiber: &'a FiberRef) -> Option<Held<'a, End>> {
        let is_ours = || {
            let home = fiber.home.load(Ordering::SeqCst).cast_const();
            self.workers().iter().any(|worker| ptr::eq(worker.0, home))
        };
        if !is_ours() {
            return None;
        }
        // Only under the lock, and of a live fiber, the answer is certain.
        let end = fiber.end.lock();
        (matches!(end.stage.get(), Stage::Live { .. }) && is_ours()).then_some(end)
    }

    fn wake_all(&self) {
        for worker in self.workers() {
            // SAFETY: they live until all their threads have ended, and who calls has not.
            unsafe { &*worker.0 }.inbox().wake();
        }
    }
}

impl Runtime {
    /// Starts the workers. Where `Auto` has to do without io_uring, one line on standard error says so.
    pub fn new(options: Options) -> std::result::Result<Self, StartError> {
        watch_forks();
        exceptions::find();
        overflow::watch();
        let choice = match options.backend {
            Choice::Auto => Choice::from_env().map_err(|unknown| StartError::Choice(unknown.to_string()))?,
            chosen => chosen,
        };
        let count = options.count()?;
        if options.offload_threads > 0 {
            offload::allow_threads(options.offload_threads);
        }
        let class = stack::class_of(options.stack_size).map_err(StartError::Memory)?;
        // A worker alone has nobody to share with, and pays for nothing.
        let (crew, places) = Crew::new(count);
        let shared = Arc::new(Shared {
            slab: stack::slab(class).map_err(StartError::Memory)?,
            calls: AtomicU8::new(0),
            inquiry: Inquiry::default(),
            gate: Mutex::default(),
            ended: Mutex::default(),
            all_ended: Condvar::new(),
            crew: (count > 1).then_some(crew),
            most_fibers: NonZero::new(options.max_fibers),
            fibers: AtomicUsize::new(0),
            from_outside: AtomicU64::new(0),
            workers: OnceLock::new(),
        });
        let mut runtime = Runtime {
            shared,
            workers: Vec::new(),
            threads: Mutex::default(),
            next: AtomicUsize::new(0),
            forks: current::forks(),
        };
        for (index, place) in places.into_iter().enumerate() {
            // If this fails, the runtime goes, and with it the workers that have started.
            let place = (count > 1).then_some(place);
            let (worker, thread) = start(choice, &options, runtime.shared.clone(), index, place)?;
            runtime.workers.push(worker);
            lock(&runtime.threads).push(thread);
        }
        let workers = runtime.workers.iter().map(|worker| WorkerPtr(Arc::as_ptr(worker))).collect();
        let known = runtime.shared.workers.set(workers);
        debug_assert!(known.is_ok(), "a runtime is made once");
        Ok(runtime)
    }

    /// Starts a fiber. Any thread, and fibers of other runtimes.
    pub fn spawn<F, T>(&self, function: F) -> Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.spawn_raw(function, false).map(JoinHandle::new)
    }

    /// [`spawn`](Self::spawn) that says where the fiber may run.
    pub fn spawn_placed<F, T>(&self, function: F, placement: Placement) -> Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.spawn_raw_placed(function, false, placement).map(JoinHandle::new)
    }

    /// Starts a fiber and gives its name; unless `detached`, somebody must join or detach it.
    pub fn spawn_raw<F, T>(&self, function: F, detached: bool) -> Result<FiberId>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.spawn_raw_placed(function, detached, Placement::ANYWHERE)
    }

    /// [`spawn_raw`](Self::spawn_raw) that says where the fiber may run; `EINVAL` for a worker that there is
    /// not.
    pub fn spawn_raw_placed<F, T>(&self, function: F, detached: bool, placement: Placement) -> Result<FiberId>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        if let Some(worker) = self.here() {
            return worker.spawn(function, detached, placement, ptr::null());
        }
        self.start(function, detached, placement, Whose::User)
    }

    /// Starts a fiber from outside.
    fn start<F, T>(&self, function: F, detached: bool, placement: Placement, whose: Whose) -> Result<FiberId>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.in_this_process()?;
        let _keep = KeepErrno::new();
        let slab = self.shared.slab;
        spawn::fits::<F, T>(slab)?;
        let home = match placement.0 {
            Place::On(index) => self.shared.worker(index)?,
            Place::Pinned => {
                let turn = self.next.fetch_add(1, Ordering::Relaxed);
                self.shared.worker(turn % self.workers.len())?
            }
            Place::Anywhere | Place::Migratable => self.shared.worker(0)?,
        };
        let _open = lock(&self.shared.gate);
        if self.shared.is_stopping() {
            return Err(Errno::SHUTDOWN);
        }
        let limited = self.shared.most_fibers.is_some();
        if limited {
            self.shared.admit(whose)?;
        }
        let mut vacant = Vec::new();
        slab.claim(&mut vacant, 1).inspect_err(|_| {
            if limited {
                self.shared.dismiss();
            }
        })?;
        let fiber = vacant.pop().expect("one was claimed");
        self.shared.from_outside.fetch_add(1, Ordering::SeqCst);
        let crew = self.shared.crew.as_ref().filter(|_| placement.roams() != Roams::Nowhere);
        let roams = if crew.is_some() { placement.roams() } else { Roams::Nowhere };
        let id = fiber.prepare(slab, home, roams, function);
        if crew.is_some() {
            fiber.parked.set(fiber::Parked::Ready);
            fiber.exposed();
        }
        fiber.live(detached);
        match crew {
            Some(crew) => crew.inject(fiber),
            // SAFETY: the runtime is alive, and with it its workers.
            None => push(fiber, unsafe { &*home }.inbox()),
        }
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

    /// The fibers that have not ended, as far as they can be seen.
    pub fn fibers(&self) -> Result<Vec<FiberId>> {
        self.in_this_process()?;
        Ok(self.shared.fibers().map(FiberRef::id).collect())
    }

    /// What each of the fibers that have not ended is doing, a line each, for people: those that a shutdown waits
    /// for, say. Waits for a fraction of a second at most, for workers that are busy.
    pub fn report(&self) -> Result<String> {
        self.in_this_process()?;
        if self.shared.live() == 0 {
            return Ok(String::new());
        }
        Ok(self.shared.inquiry.ask(&self.shared, self.here()))
    }

    /// How many workers it has.
    pub fn workers(&self) -> usize {
        self.workers.len()
    }

    /// How many of its workers sleep, of several; for tests, and for people.
    pub fn asleep(&self) -> usize {
        self.shared.crew.as_ref().map_or(0, |crew| crew.asleep())
    }

    /// What the runtime has done so far. Asks each worker that still runs, and waits until it has told: of its
    /// own, a fiber asks only the others.
    pub fn snapshot(&self) -> Result<Snapshot> {
        self.in_this_process()?;
        if let Some(worker) = self.here() {
            return snapshot_from(worker);
        }
        let ask = || snapshot().map(Snapshot::without_who_asks);
        let asked = self.start(ask, false, Placement::ANYWHERE, Whose::Library).and_then(join);
        match asked.and_then(|told| told) {
            Err(Errno::SHUTDOWN) => {
                Ok(Snapshot { stats: lock(&self.shared.ended).stats, ..Snapshot::default() })
            }
            told => told,
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
        self.shared.calls.fetch_or(STOPPING, Ordering::SeqCst);
        self.workers.iter().for_each(|worker| worker.inbox().wake());
    }

    fn in_this_process(&self) -> Result<()> {
        if self.forks == current::forks() { Ok(()) } else { Err(Errno::FORKED) }
    }

    /// Vacates the slots of fibers that ended and were never joined.
    fn reclaim(&self) {
        for fiber in self.shared.slab.fibers() {
            let is_ours = || {
                let home = fiber.home.load(Ordering::Acquire).cast_const();
                self.workers.iter().any(|worker| ptr::eq(Arc::as_ptr(worker), home))
            };
            if !is_ours() {
                continue;
            }
            // Under the lock once more: the slot may have become another runtime's fiber's meanwhile.
            let mut end = fiber.end.lock();
            if end.stage.get() != Stage::Done || !is_ours() {
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
        Snapshot { stats: worker.stats(), fibers: 0, in_flight: shard.in_flight(), timers: shard.timers() }
    }
}

/// [`Runtime::snapshot`] of the calling fiber's runtime; `EPERM` outside a fiber.
pub fn snapshot() -> Result<Snapshot> {
    let fiber = current::fiber().ok_or(Errno::new(libc::EPERM))?;
    snapshot_from(current::worker_of(fiber))
}

fn snapshot_from(here: &Worker) -> Result<Snapshot> {
    let shared = here.shared().clone();
    let mut told = Snapshot::of(here);
    let others = (0..shared.workers().len()).filter(|&index| index != here.index());
    let others: Vec<usize> = others.collect();
    for index in others {
        let answer = || current::fiber().map(|fiber| Snapshot::of(current::worker_of(fiber)));
        let asked = spawn::spawn_on_own_account(answer, index)?;
        told = told.plus(shielded(|| asked.join())?.expect("a fiber answers"));
    }
    Ok(Snapshot { fibers: shared.live(), ..told })
}

impl Snapshot {
    fn without_who_asks(self) -> Self {
        Snapshot { fibers: self.fibers.saturating_sub(1), ..self }
    }

    fn plus(self, other: Snapshot) -> Self {
        Snapshot {
            stats: self.stats.plus(other.stats),
            fibers: self.fibers + other.fibers,
            in_flight: self.in_flight + other.in_flight,
            timers: self.timers + other.timers,
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
    /// So many workers are too many.
    Workers,
}

impl StartError {
    /// The error as a number.
    pub fn errno(&self) -> Errno {
        match self {
            StartError::Choice(_) | StartError::Workers => Errno::new(libc::EINVAL),
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
            StartError::Workers => {
                write!(f, "a runtime has {} workers at most", Options::MOST_WORKERS)
            }
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

/// Closes a descriptor, after ending every operation on it by a fiber of the caller's runtime: their calls
/// answer `EBADF`. Fibers of another runtime go on waiting for the file that was closed until they are
/// cancelled. It is closed also when the fiber has been cancelled.
pub fn close(fd: i32) -> Result<()> {
    let op = Op::Close { fd };
    if let Some(fiber) = current::fiber() {
        cancel_elsewhere(fiber, fd, cancel_here);
        cancel_here(fd);
    }
    // SAFETY: the operation points to nothing.
    let result = shielded(|| unsafe { perform(&op) });
    if let Some(fiber) = current::fiber()
        && is_waited_on(fiber, fd)
        && !is_open(fd)
    {
        // What was begun after the others were asked would wait for a file that nobody can name any more.
        cancel_elsewhere(fiber, fd, cancel_late);
        cancel_late(fd);
    }
    Errno::check(result).map(drop)
}

/// Ends every operation on a descriptor by a fiber of the caller's runtime, and leaves it open: their calls
/// answer `EBADF`, as if it were closed. Says how many there were. `EPERM` outside a fiber.
pub fn cancel_fd(fd: i32) -> Result<usize> {
    let fiber = current::fiber().ok_or(Errno::new(libc::EPERM))?;
    Ok(cancel_elsewhere(fiber, fd, cancel_here) + cancel_here(fd))
}

/// Ends the operations of the calling fiber's worker on a descriptor, and says how many there were.
fn cancel_here(fd: i32) -> usize {
    current::fiber().map_or(0, |fiber| current::worker_of(fiber).shard().cancel_fd(fd))
}

/// The same once it has been closed. Where the number is another file's by now nothing is ended: nobody can tell
/// whose operations those are.
fn cancel_late(fd: i32) -> usize {
    if is_open(fd) { 0 } else { cancel_here(fd) }
}

fn is_open(fd: i32) -> bool {
    let _keep = KeepErrno::new();
    // SAFETY: it reads a flag of a number, whatever that is.
    unsafe { libc::fcntl(fd, libc::F_GETFD) >= 0 }
}

/// Whether an operation of a runtime's may be waiting on a descriptor.
fn is_waited_on(fiber: FiberRef, fd: i32) -> bool {
    let here = current::worker_of(fiber);
    // SAFETY: a worker outlives the fibers of its runtime, one of which calls.
    let elsewhere = || here.shared().workers().iter().any(|worker| unsafe { &*worker.0 }.waits_on(fd));
    here.shard().has_on_fd(fd) || elsewhere()
}

/// Ends the operations of other workers on a descriptor: each does so itself, before this returns. Says how
/// many there were.
fn cancel_elsewhere(fiber: FiberRef, fd: i32, cancel: fn(i32) -> usize) -> usize {
    let here = current::worker_of(fiber);
    let others = here.shared().workers().iter().filter(|worker| !ptr::eq(worker.0, here));
    // SAFETY: a worker outlives the fibers of its runtime, one of which calls.
    let waiting = others.map(|worker| unsafe { &*worker.0 }).filter(|worker| worker.waits_on(fd));
    let indices: Vec<usize> = waiting.map(Worker::index).collect();
    let mut count = 0;
    for index in indices {
        // Refused only when the runtime shuts down, which ends them all.
        if let Ok(canceller) = spawn::spawn_on_own_account(move || cancel(fd), index) {
            count += shielded(|| canceller.join()).unwrap_or(0);
        }
    }
    count
}

/// Starts a worker, and waits until it has its ring.
fn start(
    choice: Choice,
    options: &Options,
    shared: Arc<Shared>,
    index: usize,
    place: Option<crew::Place<FiberRef>>,
) -> std::result::Result<(Arc<Worker>, thread::JoinHandle<()>), StartError> {
    let (tell, hear) = mpsc::sync_channel(1);
    // Alone it is called from outside at most, and with one processor whoever would call waits for it.
    let looks = place.is_some() && thread::available_parallelism().is_ok_and(|count| count.get() > 1);
    let uring = UringOptions { looks: options.uring.looks || looks, ..options.uring };
    let name = thread_name(options.name, index);
    let body = move || {
        let _honest = AbortOnPanic;
        let _for_faults = AlternateStack::new();
        let (backend, note) = match Any::new(choice, uring) {
            Ok(made) => made,
            Err(error) => return drop(tell.send(Err(error))),
        };
        if let Some(note) = note.filter(|_| index == 0) {
            eprintln!("{note}");
        }
        let worker = Worker::new(backend, shared.clone(), index, place);
        // Whoever starts us waits for this.
        let _ = tell.send(Ok(worker.clone()));
        worker.run();
        lock(&shared.ended).workers += 1;
        shared.all_ended.notify_all();
    };
    let thread = thread::Builder::new().name(name).spawn(body).map_err(StartError::Thread)?;
    match hear.recv() {
        Ok(Ok(worker)) => Ok((worker, thread)),
        Ok(Err(error)) => Err(StartError::Backend(error)),
        Err(_) => unreachable!("a worker that panics ends the process"),
    }
}

/// What the thread of a worker is called. The system shows 15 bytes: of a long name the end goes, not the number.
fn thread_name(name: Name, index: usize) -> String {
    const SHOWN: usize = 15;
    let number = format!("-{index}");
    let name = if name.is_empty() { "polyphony".to_owned() } else { name.to_string() };
    let fits = (0..=SHOWN - number.len()).rev().find(|&end| name.is_char_boundary(end.min(name.len())));
    format!("{}{number}", &name[..fits.unwrap_or(0).min(name.len())])
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
