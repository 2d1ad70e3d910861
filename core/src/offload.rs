//! Threads for work that blocks: files, functions of users', and whatever else never becomes ready.
//!
//! One pool serves the process, a `Lane` each backend. A lane owns its results: a thread that has
//! finished leaves the result there and wakes the backend's wait.
//!
//! ```text
//! Lane::submit ──▶ injector ──▶ polyphony-offload-N: perform ──▶ Lane::take
//!              └─▶ polyphony-offload-children: waitid ────────────┘
//! ```
//!
//! A job that has not started can be cancelled and never starts; one that has started ends by itself.
//! Waiting for a child could last for ever, so it takes no thread of the pool: one thread waits for all
//! of them, and each can be cancelled at any time.
//!
//! Threads take one job at a time from the common queue: jobs taken in advance would wait behind one
//! that blocks. They and the pool are made when first needed, and anew in the child of a fork.

mod children;

use std::{
    collections::HashMap,
    num::NonZero,
    os::fd::RawFd,
    ptr,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicUsize, Ordering},
    },
    thread,
};

use crossbeam_deque::{Injector, Steal};

use self::children::Children;
pub(crate) use crate::syscall::{perform, read_now};
use crate::{
    backend::Waker,
    op::{Op, OpKey},
    syscall,
};

/// One backend's way to the pool and back.
#[derive(Debug)]
pub(crate) struct Lane {
    results: Arc<Results>,
    jobs: HashMap<OpKey, Arc<Job>>,
}

/// What has finished for one lane.
#[derive(Debug)]
struct Results {
    finished: Mutex<Vec<(OpKey, i32)>>,
    filled: AtomicBool,
    waker: Waker,
}

#[derive(Debug)]
struct Job {
    key: OpKey,
    op: Op,
    state: AtomicU8,
    results: Arc<Results>,
}

const WAITING: u8 = 0;
const STARTED: u8 = 1;
const CANCELLED: u8 = 2;

impl Lane {
    /// A lane whose results end the waits of `waker`'s backend.
    pub(crate) fn new(waker: Waker) -> Self {
        let results = Results { finished: Mutex::default(), filled: AtomicBool::new(false), waker };
        Lane { results: Arc::new(results), jobs: HashMap::new() }
    }

    /// Has an operation performed by a thread.
    pub(crate) fn submit(&mut self, key: OpKey, op: Op) {
        let results = self.results.clone();
        let job = Arc::new(Job { key, op, state: AtomicU8::new(WAITING), results });
        self.jobs.insert(key, job.clone());
        match op {
            Op::WaitId { .. } => Pool::of_this_process().children.wait_for(job),
            _ => Pool::of_this_process().push(job),
        }
    }

    /// Cancels a job; says whether the lane had it. One that has started ends by itself.
    pub(crate) fn cancel(&mut self, key: OpKey) -> bool {
        let Some(job) = self.jobs.get(&key) else { return false };
        if job.state.swap(CANCELLED, Ordering::AcqRel) == WAITING {
            self.results.put(key, -libc::ECANCELED);
            if matches!(job.op, Op::WaitId { .. }) {
                Pool::of_this_process().children.look();
            }
        }
        true
    }

    /// Whether a job uses a descriptor.
    pub(crate) fn uses(&self, fd: RawFd) -> bool {
        self.jobs.values().any(|job| {
            let ends = [job.op.fd(), job.op.readiness_of_target().map(|(fd, _)| fd)];
            ends.contains(&Some(fd)) || job.op.directories().contains(&Some(fd))
        })
    }

    /// Whether `take` has something to tell.
    pub(crate) fn has_finished(&self) -> bool {
        self.results.filled.load(Ordering::Acquire)
    }

    /// Tells what has finished.
    pub(crate) fn take(&mut self, each: &mut dyn FnMut(OpKey, i32)) {
        if !self.results.filled.swap(false, Ordering::AcqRel) {
            return;
        }
        let finished = std::mem::take(&mut *lock(&self.results.finished));
        for (key, result) in finished {
            self.jobs.remove(&key);
            each(key, result);
        }
    }
}

/// Lets the pool have so many threads from now on; those that it has stay.
#[cfg(feature = "native")]
pub(crate) fn allow_threads(most: usize) {
    Pool::of_this_process().most.store(most, Ordering::Relaxed);
}

/// Has a function called by a thread that is free for it, and nobody told; false where none is, and then it is not
/// called.
///
/// # Safety
/// The function may be called with the argument on any thread, at any time from now on.
#[cfg(feature = "native")]
pub(crate) unsafe fn try_call(function: unsafe fn(*mut ()), argument: *mut ()) -> bool {
    let results =
        Results { finished: Mutex::default(), filled: AtomicBool::new(false), waker: Waker::nothing() };
    let (key, op) = (OpKey::from_number(0), Op::Offload { function, argument });
    let job = Job { key, op, state: AtomicU8::new(WAITING), results: Arc::new(results) };
    Pool::of_this_process().try_push(Arc::new(job))
}

impl Results {
    fn put(&self, key: OpKey, result: i32) {
        lock(&self.finished).push((key, result));
        self.filled.store(true, Ordering::Release);
    }
}

impl Job {
    /// Takes the job on; false where it was cancelled before.
    fn start(&self) -> bool {
        self.state.compare_exchange(WAITING, STARTED, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Gives it back as it was; false where it was cancelled meanwhile.
    fn put_back(&self) -> bool {
        self.state.compare_exchange(STARTED, WAITING, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    fn finish(&self, result: i32) {
        self.results.put(self.key, result);
        self.results.waker.wake();
    }

    fn run(&self) {
        if self.start() {
            self.finish(perform(&self.op));
        }
    }
}

/// The threads of one process.
struct Pool {
    pid: i32,
    jobs: Injector<Arc<Job>>,
    staff: Mutex<Staff>,
    called: Condvar,
    most: AtomicUsize,
    children: Children,
}

#[derive(Default)]
struct Staff {
    threads: usize,
    idle: usize,
}

impl Pool {
    /// The pool of this process. A forked child finds its parent's, whose threads it has not and whose
    /// locks may stand in any state: it leaves that one alone and makes its own.
    fn of_this_process() -> &'static Pool {
        static CURRENT: AtomicPtr<Pool> = AtomicPtr::new(ptr::null_mut());
        let pid = syscall::pid();
        let current = CURRENT.load(Ordering::Acquire);
        // SAFETY: only leaked boxes are ever stored there.
        if let Some(pool) = unsafe { current.as_ref() }
            && pool.pid == pid
        {
            return pool;
        }
        let made = Box::into_raw(Box::new(Pool::new(pid)));
        match CURRENT.compare_exchange(current, made, Ordering::AcqRel, Ordering::Acquire) {
            // SAFETY: leaked just now, never freed.
            Ok(_) => unsafe { &*made },
            Err(faster) => {
                // SAFETY: `made` is ours alone; `faster` was leaked by a thread of this process.
                unsafe {
                    drop(Box::from_raw(made));
                    &*faster
                }
            }
        }
    }

    fn new(pid: i32) -> Self {
        let most = thread::available_parallelism().map_or(1, NonZero::get).clamp(4, 16);
        Pool {
            pid,
            jobs: Injector::new(),
            staff: Mutex::default(),
            called: Condvar::new(),
            most: AtomicUsize::new(most),
            children: Children::default(),
        }
    }

    fn push(&'static self, job: Arc<Job>) {
        self.jobs.push(job);
        let mut staff = lock(&self.staff);
        if staff.idle > 0 {
            self.called.notify_one();
        }
        // An idle thread may have been called for an earlier job already, and that one may block.
        if staff.idle >= self.jobs.len() || staff.threads >= self.most.load(Ordering::Relaxed) {
            return; // who is idle, or whoever finishes first, takes it
        }
        let name = format!("polyphony-offload-{}", staff.threads + 1);
        if spawn(name, || self.work()) {
            staff.threads += 1;
        } else if staff.threads == 0 {
            // No thread is to be had: a late answer is better than none.
            drop(staff);
            while let Some(job) = self.steal() {
                job.run();
            }
        }
    }

    /// [`push`](Self::push) where a thread is free, or can be had, to begin at once.
    #[cfg(feature = "native")]
    fn try_push(&'static self, job: Arc<Job>) -> bool {
        {
            let staff = lock(&self.staff);
            if staff.idle <= self.jobs.len() && staff.threads >= self.most.load(Ordering::Relaxed) {
                return false;
            }
        }
        self.push(job);
        true
    }

    fn work(&self) {
        loop {
            while let Some(job) = self.steal() {
                job.run();
            }
            // Whoever pushes does so before it takes the lock: either we see the job, or it sees us idle.
            let mut staff = lock(&self.staff);
            if self.jobs.is_empty() {
                staff.idle += 1;
                staff = self.called.wait(staff).unwrap_or_else(PoisonError::into_inner);
                staff.idle -= 1;
            }
        }
    }

    fn steal(&self) -> Option<Arc<Job>> {
        loop {
            match self.jobs.steal() {
                Steal::Success(job) => return Some(job),
                Steal::Empty => return None,
                Steal::Retry => {}
            }
        }
    }
}

/// Starts a thread that handles no signals: those are for the threads of the program.
fn spawn(name: String, body: impl FnOnce() + Send + 'static) -> bool {
    let body = || {
        syscall::block_signals();
        body();
    };
    thread::Builder::new().name(name).stack_size(STACK).spawn(body).is_ok()
}

/// A system call needs little stack, however deep; what users offload may need as much as on a thread of theirs.
/// Memory that is never touched costs nothing.
const STACK: usize = 1024 * 1024;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

    use super::*;
    use crate::{backend::Eventfd, op::POSITION, syscall::Nature};

    struct Bench {
        lane: Lane,
        wakes: Arc<Eventfd>,
        results: HashMap<OpKey, i32>,
    }

    impl Bench {
        fn new() -> Self {
            let wakes = Eventfd::new().unwrap();
            Bench { lane: Lane::new(Waker::eventfd(wakes.clone())), wakes, results: HashMap::new() }
        }

        fn submit(&mut self, number: u64, op: Op) -> OpKey {
            let key = OpKey::from_number(number);
            self.lane.submit(key, op);
            key
        }

        /// Waits for an operation, and for a minute at most.
        fn result(&mut self, key: OpKey) -> i32 {
            loop {
                self.lane.take(&mut |key, result| assert_eq!(self.results.insert(key, result), None));
                if let Some(&result) = self.results.get(&key) {
                    return result;
                }
                assert_ne!(syscall::poll(self.wakes.fd(), libc::POLLIN as u32, 60_000), 0, "no wake came");
                self.wakes.clear();
            }
        }
    }

    fn pipe() -> (OwnedFd, OwnedFd) {
        let mut ends = [0; 2];
        // SAFETY: room for two descriptors, which are ours from here on.
        unsafe {
            assert_eq!(libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC), 0);
            (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1]))
        }
    }

    fn read_into(byte: &mut u8, from: &OwnedFd) -> Op {
        Op::Read { fd: from.as_raw_fd(), buf: byte, len: 1, offset: POSITION }
    }

    fn child(code: i32) -> libc::id_t {
        // SAFETY: the child calls nothing but _exit.
        match unsafe { libc::fork() } {
            // SAFETY: ends the child without running anything of its parent's.
            0 => unsafe { libc::_exit(code) },
            pid => pid as libc::id_t,
        }
    }

    fn wait_for(pid: libc::id_t, info: &mut libc::siginfo_t) -> Op {
        Op::WaitId { kind: libc::P_PID, id: pid, info, options: libc::WEXITED }
    }

    fn no_info() -> libc::siginfo_t {
        // SAFETY: plain data.
        unsafe { std::mem::zeroed() }
    }

    #[test]
    fn a_blocking_read_ends_when_its_bytes_come() {
        let (from, to) = pipe();
        let mut bench = Bench::new();
        let mut byte = 0;
        let key = bench.submit(1, read_into(&mut byte, &from));
        assert_eq!(syscall::write(to.as_raw_fd(), Nature::Stream, b"x".as_ptr(), 1), 1);
        assert_eq!(bench.result(key), 1);
        assert_eq!(byte, b'x');
    }

    #[test]
    fn a_job_that_has_not_started_is_cancelled_and_never_runs() {
        let (from, to) = pipe();
        let mut bench = Bench::new();
        let mut bytes = [0u8; 64];
        // More reads than threads: the last ones wait for a thread, and for bytes.
        let keys: Vec<OpKey> = (bytes.iter_mut().enumerate())
            .map(|(number, byte)| bench.submit(number as u64, read_into(byte, &from)))
            .collect();
        for &key in &keys[32..] {
            assert!(bench.lane.cancel(key));
            assert_eq!(bench.result(key), -libc::ECANCELED);
        }
        assert_eq!(syscall::write(to.as_raw_fd(), Nature::Stream, [7u8; 32].as_ptr(), 32), 32);
        keys[..32].iter().for_each(|&key| assert_eq!(bench.result(key), 1));
        assert_eq!(bytes.iter().filter(|&&byte| byte == 7).count(), 32);
        assert!(!bench.lane.cancel(keys[0]), "the lane still has a job that ended");
    }

    #[test]
    fn a_job_does_not_wait_behind_one_that_blocks() {
        let mut bench = Bench::new();
        let first = bench.submit(0, Op::Nop);
        assert_eq!(bench.result(first), 0);
        // Each time one more than there have been threads so far; there may be at least four.
        for count in 1..4u64 {
            let (from, to) = pipe();
            let mut bytes = [0; 3];
            let blocking: Vec<OpKey> = (bytes.iter_mut().zip(0..count))
                .map(|(byte, number)| bench.submit(10 * count + number, read_into(byte, &from)))
                .collect();
            let next = bench.submit(10 * count + count, Op::Nop);
            assert_eq!(bench.result(next), 0);
            assert_eq!(
                syscall::write(to.as_raw_fd(), Nature::Stream, b"...".as_ptr(), count as u32),
                count as i32
            );
            blocking.into_iter().for_each(|key| assert_eq!(bench.result(key), 1));
        }
    }

    #[test]
    fn a_child_that_ends_is_told_with_its_code() {
        let mut bench = Bench::new();
        let mut info = no_info();
        let pid = child(7);
        let key = bench.submit(1, wait_for(pid, &mut info));
        assert_eq!(bench.result(key), 0);
        // SAFETY: waitid filled it in.
        assert_eq!(unsafe { (info.si_pid() as u32, info.si_status()) }, (pid, 7));
    }

    #[test]
    fn waiting_for_a_child_can_be_cancelled_at_any_time() {
        let mut bench = Bench::new();
        let mut info = no_info();
        // SAFETY: the child calls nothing but pause.
        let pid = match unsafe { libc::fork() } {
            0 => loop {
                // SAFETY: waits for the signal that ends it.
                unsafe { libc::pause() };
            },
            pid => pid as libc::id_t,
        };
        for number in 0..200 {
            let key = bench.submit(number, wait_for(pid, &mut info));
            assert!(bench.lane.cancel(key));
            assert_eq!(bench.result(key), -libc::ECANCELED);
        }
        // SAFETY: our own child, not reaped yet.
        unsafe { libc::kill(pid as i32, libc::SIGKILL) };
        let key = bench.submit(1000, wait_for(pid, &mut info));
        assert_eq!(bench.result(key), 0);
        // SAFETY: waitid filled it in.
        assert_eq!(unsafe { info.si_status() }, libc::SIGKILL);
    }

    #[test]
    fn waiting_for_what_is_no_child_says_so() {
        let mut bench = Bench::new();
        let key = bench.submit(1, wait_for(1, &mut no_info()));
        assert_eq!(bench.result(key), -libc::ECHILD);
    }
}
