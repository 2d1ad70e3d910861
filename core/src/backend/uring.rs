//! Operations through io_uring.
//!
//! Submitting writes an SQE and makes no system call. One `io_uring_enter` a turn submits everybody's
//! entries and waits for completions; it happens in [`wait::UringWait`], which holds no part of the
//! ring's memory. What the kernel is too old for goes through the offload pool, operation by operation.
//!
//! The ring is entered by its own thread only (SINGLE_ISSUER, DEFER_TASKRUN). Other threads end a wait
//! by an eventfd whose poll is always in flight: it is armed before we block, not after, so that a wake
//! that lands in between ends the wait. While nothing is in flight the thread sleeps outside its ring
//! (`sleeper`), and is woken faster.

mod alarm;
mod bell;
mod features;
mod provided;
mod sqe;
mod wait;

use std::{
    collections::{HashMap, VecDeque},
    io,
    os::fd::{AsRawFd, RawFd},
    sync::Arc,
};

use io_uring::{IoUring, Probe, opcode, squeue, types};

use self::{alarm::Alarm, bell::Bell, provided::Provided, wait::Ring};
pub use self::{features::Features, wait::UringWait};
use super::{Backend, Sleeper, Taken, Waker};
use crate::{
    buffers::{BufferId, BufferShape},
    error::Error,
    offload,
    op::{Op, OpKey, Outcome},
    syscall,
    time::Time,
};

/// How to make a ring.
#[derive(Clone, Copy, Debug)]
pub struct UringOptions {
    /// Submission entries; a power of two.
    pub sq_entries: u32,
    /// Completion entries; a power of two, larger than `sq_entries`.
    pub cq_entries: u32,
    /// Promise that one thread enters the ring, which makes it faster. Without it any thread may, one at
    /// a time.
    pub single_issuer: bool,
    /// What to use of the kernel.
    pub features: Features,
    /// Whether its thread may compute for some microseconds, to see whether another calls, before it sleeps where others
    /// have called it soon many times.
    pub looks: bool,
    /// The buffers lent to reads that bring none.
    pub buffers: BufferShape,
}

impl Default for UringOptions {
    fn default() -> Self {
        UringOptions {
            sq_entries: 256,
            cq_entries: 4096,
            single_issuer: true,
            features: Features::ALL,
            looks: false,
            buffers: BufferShape::default(),
        }
    }
}

/// io_uring, for one thread.
pub struct Uring {
    ring: IoUring,
    entered: Ring,
    setup: &'static str,
    features: Features,
    sleeper: Arc<Sleeper>,
    armed: bool,
    alarm: Alarm,
    bell: Option<Bell>,
    buffers: BufferShape,
    provided: Option<Provided>,
    /// Pooled reads that wait for readiness, because the kernel has no buffer rings.
    polled: HashMap<u64, Op>,
    timespecs: HashMap<u64, Box<types::Timespec>>,
    /// Completions that needed no kernel.
    ready: VecDeque<(OpKey, Outcome)>,
    offload: offload::Lane,
    /// Entries whose last completion has not come, but for cancellations.
    outstanding: usize,
    /// Cancellations that the next wait will bring the answers of.
    cancels: u32,
    /// Whose ring this is: a forked child has it too, and must not touch it.
    pid: i32,
}

/// What a completion is about: the two bits of `user_data` above the key.
const TAG: u64 = 0b11 << 62;
const CANCEL: u64 = 0b01 << 62;
const POLLED: u64 = 0b10 << 62;
const WAKE: u64 = u64::MAX;
const ALARM: u64 = u64::MAX - 1;

/// The best setup, by its name: completions wait until this thread enters the ring, and a flag says so.
const DEFERRED: &str = "SINGLE_ISSUER DEFER_TASKRUN";

/// The kernel's own name for EINTR, which it lets slip where a thread of the ring is interrupted.
const ERESTARTSYS: i32 = 512;

impl Uring {
    /// A ring for the calling thread, with the best flags that the kernel has.
    pub fn new(options: UringOptions) -> Result<Self, Error> {
        let fail = |matter, tried| {
            let way_out = "Set POLYPHONY_BACKEND=epoll to do without io_uring.";
            move |error| Error::new(matter, tried, error, way_out)
        };
        let (ring, setup) = build(options).map_err(|error| fail(why(&error), "io_uring_setup")(error))?;
        let mut probe = Probe::new();
        let probed = ring.submitter().register_probe(&mut probe);
        probed.map_err(fail("io_uring does not say what it can do", "io_uring_register"))?;
        let features = options.features.of_kernel(ring.params(), &probe);
        if !features.poll_many {
            let old = io::Error::from_raw_os_error(libc::ENOSYS);
            return Err(fail("io_uring is too old here, Linux 5.13 is needed", "io_uring_setup")(old));
        }
        // A profile may allow making a ring and refuse using it: better known now than at the first wait.
        ring.submitter().submit().map_err(|error| fail(why(&error), "io_uring_enter")(error))?;
        let sleeper = Sleeper::new(options.looks).map_err(fail("io_uring cannot be woken", "eventfd"))?;
        let entered = Ring::new(ring.as_raw_fd(), features);
        let waker = Waker::sleeper(sleeper.clone());
        Ok(Uring {
            ring,
            entered,
            setup,
            features,
            sleeper,
            armed: false,
            alarm: Alarm::new(setup == DEFERRED),
            bell: None,
            buffers: options.buffers,
            provided: None,
            polled: HashMap::new(),
            timespecs: HashMap::new(),
            ready: VecDeque::new(),
            offload: offload::Lane::new(waker),
            outstanding: 0,
            cancels: 0,
            pid: syscall::pid(),
        })
    }

    /// Writes an SQE; where the queue is full, submits and tries once more.
    #[inline]
    fn push(&mut self, entry: squeue::Entry) -> Taken {
        // SAFETY: what the entry points to lives until its last completion: an op's by the contract of
        // `Shard::submit`, the timespecs because this struct owns them, boxed.
        if unsafe { self.ring.submission().push(&entry) }.is_ok() {
            return Taken::Yes;
        }
        self.push_when_full(&entry)
    }

    #[cold]
    fn push_when_full(&mut self, entry: &squeue::Entry) -> Taken {
        let queued = self.ring.submission().len() as u32;
        self.entered.submit(queued);
        // SAFETY: as in `push`.
        match unsafe { self.ring.submission().push(entry) } {
            Ok(()) => Taken::Yes,
            Err(_) => Taken::Full,
        }
    }

    /// Writes the SQE of an operation, whose last completion is owed from then on.
    #[inline]
    fn push_op(&mut self, entry: squeue::Entry) -> Taken {
        let taken = self.push(entry);
        self.outstanding += usize::from(taken == Taken::Yes);
        taken
    }

    /// Keeps the poll of the eventfd in flight. Where the queue is full it is armed at the next turn:
    /// that turn cannot sleep before it has submitted, so no wake is slept through.
    fn arm(&mut self) -> bool {
        if self.armed {
            return true;
        }
        let fd = types::Fd(self.sleeper.eventfd().fd());
        // A poll, not a read: the descriptor does not block, for the wakers' sake. It completes for each signal, and
        // what was signalled is never taken: that would be a system call a wake, for a counter of 64 bits.
        let entry = opcode::PollAdd::new(fd, libc::POLLIN as u32).multi(true).build().user_data(WAKE);
        self.armed = self.push(entry) == Taken::Yes;
        self.armed
    }

    /// Leaves a deadline to the alarm, where that is set for it or worth setting. What is returned the wait
    /// has to bring along.
    #[inline]
    fn entrust(&mut self, deadline: Option<Time>) -> Option<Time> {
        let deadline = deadline?;
        if self.alarm.covers(deadline) {
            return None;
        }
        if !self.alarm.is_worth_setting(deadline) || self.ring.submission().is_full() {
            return Some(deadline);
        }
        let entry = self.alarm.set(deadline);
        let taken = self.push(entry);
        debug_assert_eq!(taken, Taken::Yes, "the queue was not full");
        None
    }

    /// Whether a wait until then would end by its deadline, a signal or other threads, and nothing else.
    fn waits_for_threads_only(&mut self, deadline: Option<Time>) -> bool {
        self.outstanding == 0
            && !self.alarm.is_set()
            && self.bell.is_none()
            && deadline != Some(Time(0))
            && !self.wants_turn()
    }

    /// Completes without the kernel, at the next harvest.
    fn finish(&mut self, key: OpKey, result: i32) -> Taken {
        self.ready.push_back((key, Outcome::last(result)));
        Taken::Yes
    }

    /// A read into one of our buffers.
    fn submit_pooled(&mut self, key: OpKey, op: &Op, fd: RawFd, len: u32) -> Taken {
        if self.provided.is_none() {
            self.provided = Some(Provided::new(&self.ring, self.buffers, self.features));
        }
        let provided = self.provided.as_mut().expect("made above");
        if provided.is_registered() {
            let len = len.min(self.buffers.size);
            return self.push_op(sqe::pooled(op, len).user_data(key.number()));
        }
        if op.readiness().is_none() {
            let outcome = provided.read_now(op); // told not to wait
            self.ready.push_back((key, outcome));
            return Taken::Yes;
        }
        self.polled.insert(key.number(), *op);
        let poll = opcode::PollAdd::new(types::Fd(fd), libc::POLLIN as u32).build();
        let taken = self.push_op(poll.user_data(key.number() | POLLED));
        if taken == Taken::Full {
            self.polled.remove(&key.number());
        }
        taken
    }
}

impl Backend for Uring {
    type Wait = UringWait;

    #[inline]
    fn submit(&mut self, key: OpKey, op: &Op) -> Taken {
        match *op {
            Op::ReadPooled { fd, len } | Op::RecvPooled { fd, len, .. } => {
                return self.submit_pooled(key, op, fd, len);
            }
            Op::Timeout { deadline } => {
                let at = types::Timespec::new()
                    .sec(deadline.0 / 1_000_000_000)
                    .nsec((deadline.0 % 1_000_000_000) as u32);
                self.timespecs.insert(key.number(), Box::new(at));
            }
            // The kernel would tell of it, end the poll, be asked again, and so on.
            Op::PollMany { fd, .. } if syscall::is_always_ready(fd) => return self.finish(key, -libc::EPERM),
            Op::WaitId { .. } if !self.features.wait_id => {
                self.offload.submit(key, *op);
                return Taken::Yes;
            }
            Op::MkdirAt { .. } if !self.features.make_dir => {
                self.offload.submit(key, *op);
                return Taken::Yes;
            }
            Op::Offload { .. } => {
                self.offload.submit(key, *op);
                return Taken::Yes;
            }
            Op::Socket { .. } if !self.features.socket => {
                let result = offload::perform(op);
                return self.finish(key, result);
            }
            Op::AcceptMany { fd, flags } if !self.features.accept_many => {
                let (addr, len) = (std::ptr::null_mut(), std::ptr::null_mut());
                return self.submit(key, &Op::Accept { fd, addr, len, flags });
            }
            _ => {}
        }
        let timespec = self.timespecs.get(&key.number()).filter(|_| matches!(op, Op::Timeout { .. }));
        let entry = sqe::entry(op, timespec.map_or(std::ptr::null(), |at| &raw const **at));
        let taken = self.push_op(entry.user_data(key.number()));
        if taken == Taken::Full && matches!(op, Op::Timeout { .. }) {
            self.timespecs.remove(&key.number());
        }
        taken
    }

    fn cancel(&mut self, key: OpKey, op: &Op) -> Taken {
        if self.offload.cancel(key) {
            return Taken::Yes;
        }
        let pooled = matches!(op, Op::ReadPooled { .. } | Op::RecvPooled { .. });
        let polled = pooled && self.polled.contains_key(&key.number());
        let target = if polled { key.number() | POLLED } else { key.number() };
        let entry = opcode::AsyncCancel::new(target).build().user_data(key.number() | CANCEL);
        // Where the queue is full a turn comes first, in which the kernel takes what it was told to cancel out
        // of its lists: it would look through all of that for each further one.
        // SAFETY: the entry points to nothing.
        let taken = match unsafe { self.ring.submission().push(&entry) } {
            Ok(()) => Taken::Yes,
            Err(_) => Taken::Full,
        };
        self.cancels += u32::from(taken == Taken::Yes);
        if polled && taken == Taken::Yes {
            // Should its descriptor be ready already: whoever cancels may close it, and the number may be
            // another's when we would read.
            self.polled.remove(&key.number());
        }
        taken
    }

    #[inline]
    fn wants_turn(&self) -> bool {
        // SAFETY: the queues are read while nobody else holds them: this struct is borrowed.
        let (submission, completion) =
            unsafe { (self.ring.submission_shared(), self.ring.completion_shared()) };
        !submission.is_empty()
            || submission.taskrun()
            || submission.cq_overflow()
            || !completion.is_empty()
            || !self.ready.is_empty()
            || self.offload.has_finished()
    }

    fn wait(&mut self, deadline: Option<Time>) -> UringWait {
        if self.waits_for_threads_only(deadline) {
            return self.entered.wait_outside(self.sleeper.clone(), deadline);
        }
        let armed = self.arm();
        let pending =
            !self.ring.completion().is_empty() || !self.ready.is_empty() || self.offload.has_finished();
        let stays_awake = pending || !armed || deadline == Some(Time(0)) || !self.sleeper.lie_down_in_ring();
        let deadline = if stays_awake { Some(Time(0)) } else { self.entrust(deadline) };
        let queued = self.ring.submission().len() as u32;
        let overflowed = self.ring.submission().cq_overflow();
        let told = std::mem::take(&mut self.cancels);
        self.entered.wait(queued, deadline, told, pending && queued == 0 && !overflowed)
    }

    fn harvest(&mut self, wait: Option<UringWait>, each: &mut dyn FnMut(OpKey, Outcome)) {
        if wait.is_some() {
            self.sleeper.get_up();
        }
        // First, so that it rings again for what comes behind the completions that are found.
        if let Some(bell) = &self.bell {
            bell.silence();
            self.sleeper.eventfd().clear();
        }
        let Uring { ring, alarm, timespecs, polled, provided, outstanding, .. } = self;
        let mut disarmed = false;
        for cqe in ring.completion() {
            let (data, result, flags) = (cqe.user_data(), cqe.result(), cqe.flags());
            let key = OpKey::from_number(data & !TAG);
            if data & TAG == 0 {
                // What a timeout is meant to do, the kernel calls an error.
                let timed = !timespecs.is_empty() && timespecs.remove(&data).is_some();
                let result = match -result {
                    libc::ETIME if timed => 0,
                    ERESTARTSYS => -libc::EINTR,
                    _ => result,
                };
                let buffer = io_uring::cqueue::buffer_select(flags).map(BufferId);
                let more = io_uring::cqueue::more(flags);
                *outstanding -= usize::from(!more);
                each(key, Outcome { result, more, buffer });
            } else if data == WAKE {
                disarmed |= !io_uring::cqueue::more(flags);
            } else if data == ALARM {
                alarm.rang();
            } else if data & TAG == POLLED {
                *outstanding -= 1;
                each(key, read_polled(polled, provided, key, result));
            }
            // Else the answer to a cancellation, or to moving the alarm: their own completions say how it went.
        }
        self.armed &= !disarmed;
        while let Some((key, outcome)) = self.ready.pop_front() {
            each(key, outcome);
        }
        self.offload.take(&mut |key, result| each(key, Outcome::last(result)));
    }

    fn buffer(&self, id: BufferId, len: usize) -> &[u8] {
        self.provided.as_ref().expect("a buffer was handed out").bytes(id, len)
    }

    fn recycle(&mut self, id: BufferId) {
        self.provided.as_mut().expect("a buffer was handed out").recycle(id);
    }

    #[inline]
    fn now(&self) -> Time {
        Time::monotonic()
    }

    #[inline]
    fn is_ahead(&self, time: Time) -> bool {
        self.alarm.covers(time)
    }

    fn waker(&self) -> Waker {
        Waker::sleeper(self.sleeper.clone())
    }

    fn discard(&mut self, fd: RawFd) {
        // SAFETY: the kernel has just made this descriptor for an operation that nobody waits for.
        unsafe { libc::close(fd) };
    }

    fn describe(&self) -> String {
        format!("io_uring ({})", self.setup)
    }

    fn descriptor(&mut self) -> Option<RawFd> {
        if self.bell.is_none() {
            self.sleeper.sleeps_elsewhere();
            self.bell = Bell::new(&self.ring, self.sleeper.eventfd());
        }
        self.bell.as_ref().map(Bell::fd)
    }

    fn until(&self) -> Option<Time> {
        // Not armed, a wake would go unnoticed.
        (!self.armed || self.wants_turn()).then_some(Time(0))
    }
}

impl Drop for Uring {
    /// Closing a ring ends its operations some time later. Until then the kernel may pick buffers and
    /// fill them, so it is told to pick no more, and those that it may be filling stay.
    fn drop(&mut self) {
        if self.pid != syscall::pid() {
            return; // the parent's kernel requests point to the parent's memory, not to this copy
        }
        let Some(provided) = self.provided.take() else { return };
        if !provided.withdraw(&self.ring) || self.outstanding > 0 {
            std::mem::forget(provided);
        }
    }
}

impl std::fmt::Debug for Uring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Uring")
            .field("setup", &self.setup)
            .field("features", &self.features)
            .finish_non_exhaustive()
    }
}

/// The descriptor of a pooled read is ready and the kernel picks no buffers: pick one and read.
fn read_polled(
    polled: &mut HashMap<u64, Op>,
    provided: &mut Option<Provided>,
    key: OpKey,
    result: i32,
) -> Outcome {
    match (polled.remove(&key.number()), provided) {
        (Some(op), Some(provided)) if result >= 0 => provided.read_now(&op),
        (None, _) => Outcome::last(-libc::ECANCELED),
        (Some(_), _) => Outcome::last(result),
    }
}

/// What the errno of io_uring_setup means for people.
fn why(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => "io_uring is not permitted here",
        Some(libc::ENOSYS) => "this kernel has no io_uring",
        Some(libc::ENOMEM) => "there is no memory for io_uring, or RLIMIT_MEMLOCK is too low",
        _ => "io_uring is not to be had here",
    }
}

/// Makes a ring with the best flags that the kernel knows; says which.
fn build(options: UringOptions) -> io::Result<(IoUring, &'static str)> {
    let UringOptions { sq_entries, cq_entries, single_issuer, features, .. } = options;
    let mut best = IoUring::builder();
    best.setup_cqsize(cq_entries).setup_submit_all();
    let mut plain = IoUring::builder();
    plain.setup_cqsize(cq_entries);
    let mut cooperative = best.clone();
    cooperative.setup_coop_taskrun().setup_taskrun_flag();
    if single_issuer {
        best.setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag();
    } else {
        best = cooperative.clone();
    }
    let named = if single_issuer { DEFERRED } else { "COOP_TASKRUN" };
    // EINVAL means a flag that the kernel does not know; anything else is final.
    let kinds = [(best, named), (cooperative, "COOP_TASKRUN"), (plain, "no flags")];
    for (builder, setup) in kinds.into_iter().skip(if features.setup_flags { 0 } else { 2 }) {
        match builder.build(sq_entries) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => continue,
            built => return built.map(|ring| (ring, setup)),
        }
    }
    Err(io::Error::from_raw_os_error(libc::EINVAL))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Wait;

    /// How many turns until a key's completion has come.
    fn turns_until(uring: &mut Uring, wanted: OpKey) -> usize {
        for turn in 1..10 {
            let mut come = false;
            let mut wait = uring.wait(Some(Time(0)));
            wait.block().unwrap();
            uring.harvest(Some(wait), &mut |key, _| come |= key == wanted);
            if come {
                return turn;
            }
        }
        panic!("it does not complete");
    }

    #[test]
    fn a_thread_sleeps_in_the_ring_only_while_there_is_something_that_may_complete() {
        let Ok(mut uring) = Uring::new(UringOptions::default()) else { return };
        let key = OpKey::from_number(7);
        let eventfd = super::super::Eventfd::new().unwrap();
        let sleeps_outside = |uring: &mut Uring| {
            let wait = uring.wait(None);
            let outside = wait.is_outside();
            uring.waker().wake();
            uring.harvest(Some(wait), &mut |_, _| {});
            outside
        };
        assert!(sleeps_outside(&mut uring));
        uring.submit(key, &Op::Poll { fd: eventfd.fd(), events: libc::POLLIN as u32 });
        assert!(!sleeps_outside(&mut uring));
        eventfd.signal();
        turns_until(&mut uring, key);
        assert!(sleeps_outside(&mut uring));
    }
}
