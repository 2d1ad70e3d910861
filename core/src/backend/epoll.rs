//! Operations through readiness and the operation's own system call, made so that it does not wait.
//!
//! An operation is tried when it is submitted. Where it would wait, it joins the queue of its descriptor
//! and is tried again when that is ready; first come, first served. What never becomes ready (files,
//! children) goes through the offload pool. No flag of a user's descriptor is changed, but see
//! `syscall::connect`.
//!
//! ```text
//! submit ──▶ attempt ──Done──────▶ ready ──▶ harvest
//!               │ ▲                  ▲
//!               │ └─event, time──┐   │ result, cancelled
//!               ├─Wait, Later───▶ waiting
//!               └─Offload───────▶ a thread
//! ```
//!
//! Closing a descriptor under a waiting operation is the host's to avoid: it cancels first. Where it
//! happens all the same, the operation ends with `EBADF` once the number is closed through us or waited
//! for again; it never takes what belongs to the file that has the number next.

mod attempt;
mod wait;
mod watch;

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    io,
    os::fd::RawFd,
    sync::Arc,
    time::Duration,
};

pub use self::wait::EpollWait;
use self::{
    attempt::{Attempt, Progress, attempt},
    watch::{ALWAYS, Armed, Waiter, Watches},
};
use super::{Backend, Eventfd, Taken, Waker};
use crate::{
    buffers::{BufferId, BufferShape, Buffers},
    error::Error,
    offload,
    op::{Op, OpKey, Outcome},
    syscall,
    time::Time,
};

/// Readiness and non-blocking system calls, for one thread.
pub struct Epoll {
    watches: Watches,
    eventfd: Arc<Eventfd>,
    tasks: HashMap<OpKey, Task>,
    /// Operations that go on at a certain time.
    times: BTreeSet<(Time, u64)>,
    ready: VecDeque<(OpKey, Outcome)>,
    offload: offload::Lane,
    shape: BufferShape,
    pool: Option<Pool>,
    events: Vec<libc::epoll_event>,
    nowait: bool,
}

/// An operation that could not end at once.
#[derive(Debug)]
struct Task {
    op: Op,
    progress: Progress,
    stage: Stage,
}

/// What an operation waits for.
#[derive(Clone, Copy, Debug)]
enum Stage {
    Descriptor(RawFd),
    Time(Time),
    /// A thread, which may be filling one of our buffers.
    Thread(Option<BufferId>),
}

/// The buffers lent to pooled reads, and those that nobody has.
#[derive(Debug)]
struct Pool {
    buffers: Buffers,
    free: Vec<BufferId>,
}

/// The event of our own eventfd; no registration has its generation.
const WAKE: u64 = u64::MAX;

/// How many events one wait brings.
const EVENTS: usize = 256;

/// How many connections one look at a listener brings, so that others get their turn.
const ACCEPTS: usize = 64;

/// How long until a close is tried again whose descriptor a thread of the pool uses.
const IN_USE: Duration = Duration::from_millis(1);

impl Epoll {
    /// An epoll for the calling thread.
    pub fn new(buffers: BufferShape) -> Result<Self, Error> {
        let fail = |matter, tried| move |error| Error::new(matter, tried, error, "");
        let eventfd = Eventfd::new().map_err(fail("epoll cannot be woken", "eventfd"))?;
        let failed = |errno: i32| io::Error::from_raw_os_error(-errno);
        let watches =
            Watches::new().map_err(failed).map_err(fail("there is no epoll to be had", "epoll_create1"))?;
        let watched = watches.watch_always(eventfd.fd(), WAKE);
        if watched < 0 {
            return Err(fail("epoll cannot be woken", "epoll_ctl")(failed(watched)));
        }
        Ok(Epoll {
            offload: offload::Lane::new(Waker::eventfd(eventfd.clone())),
            watches,
            eventfd,
            tasks: HashMap::new(),
            times: BTreeSet::new(),
            ready: VecDeque::new(),
            shape: buffers,
            pool: None,
            events: Vec::new(),
            nowait: true,
        })
    }

    /// Whether to use RWF_NOWAIT where the kernel has it; only tests of the fallback do not.
    #[must_use]
    pub fn with_nowait(mut self, nowait: bool) -> Self {
        self.nowait = nowait;
        self
    }

    /// Takes an operation as far as it gets; says what it waits for on `here`, where it does.
    fn drive(&mut self, key: OpKey, mut task: Task, here: Option<RawFd>) -> Option<Waiter> {
        task.stage = Stage::Thread(None);
        match self.attempt(key, &mut task) {
            Attempt::Done(_) => {}
            Attempt::Wait(fd, events) => {
                let waiter = Waiter { key, events, many: matches!(task.op, Op::PollMany { .. }) };
                task.stage = Stage::Descriptor(fd);
                self.tasks.insert(key, task);
                if here == Some(fd) {
                    return Some(waiter);
                }
                self.wait_for(fd, waiter);
            }
            Attempt::At(at) => self.wait_until(key, task, Time(at)),
            Attempt::Later(span) => self.wait_until(key, task, Time::monotonic() + span),
            Attempt::Offload(op) => {
                self.tasks.insert(key, task);
                self.offload.submit(key, op);
            }
        }
        None
    }

    /// One attempt. What it achieved is ready to be told.
    fn attempt(&mut self, key: OpKey, task: &mut Task) -> Attempt {
        match task.op {
            Op::ReadPooled { .. } | Op::RecvPooled { .. } => self.attempt_pooled(key, task),
            Op::AcceptMany { .. } => self.attempt_many(key, task),
            // A thread that got to it later would find the number gone, or another's.
            Op::Close { fd } if self.offload.uses(fd) => Attempt::Later(IN_USE),
            _ => {
                let attempt = attempt(&task.op, &mut task.progress, None);
                if let Attempt::Done(result) = attempt {
                    self.finish(key, result);
                }
                attempt
            }
        }
    }

    fn attempt_pooled(&mut self, key: OpKey, task: &mut Task) -> Attempt {
        let pool = self.pool();
        let Some(id) = pool.lend() else {
            // Whether to wait comes first: what cannot read yet needs no buffer yet.
            let Some((fd, events)) = task.op.readiness() else { return self.done(key, -libc::ENOBUFS) };
            return match syscall::poll(fd, events, 0) {
                0 => Attempt::Wait(fd, events),
                _ => self.done(key, -libc::ENOBUFS),
            };
        };
        let lent = (pool.buffers.address(id), pool.buffers.shape().size);
        let attempt = attempt(&task.op, &mut task.progress, Some(lent));
        match attempt {
            Attempt::Done(result) if result > 0 => {
                self.ready.push_back((key, Outcome { result, more: false, buffer: Some(id) }));
                return attempt;
            }
            Attempt::Offload(_) => {
                task.stage = Stage::Thread(Some(id));
                return attempt;
            }
            Attempt::Done(result) => self.finish(key, result),
            Attempt::Wait(..) | Attempt::At(_) | Attempt::Later(_) => {}
        }
        self.pool().free.push(id);
        attempt
    }

    fn attempt_many(&mut self, key: OpKey, task: &mut Task) -> Attempt {
        for _ in 0..ACCEPTS {
            match attempt(&task.op, &mut task.progress, None) {
                Attempt::Done(result) if result >= 0 => {
                    self.ready.push_back((key, Outcome { result, more: true, buffer: None }));
                }
                Attempt::Done(result) => return self.done(key, result),
                other => return other,
            }
        }
        Attempt::Later(Duration::ZERO)
    }

    fn done(&mut self, key: OpKey, result: i32) -> Attempt {
        self.finish(key, result);
        Attempt::Done(result)
    }

    fn finish(&mut self, key: OpKey, result: i32) {
        self.ready.push_back((key, Outcome::last(result)));
    }

    fn wait_for(&mut self, fd: RawFd, waiter: Waiter) {
        let mut dead = Vec::new();
        let armed = self.watches.wait(fd, waiter, &mut dead);
        self.bury(dead);
        match armed {
            Armed::Yes => {}
            Armed::AlwaysReady => self.never_waits(waiter),
            Armed::Failed(errno) => {
                self.tasks.remove(&waiter.key);
                self.finish(waiter.key, errno);
            }
        }
    }

    /// A descriptor that epoll has no use for, because it is always ready.
    fn never_waits(&mut self, waiter: Waiter) {
        let Some(mut task) = self.tasks.remove(&waiter.key) else { return };
        match task.op {
            Op::Poll { .. } => {
                let ready = waiter.events & (libc::POLLIN | libc::POLLOUT) as u32;
                self.finish(waiter.key, ready as i32);
            }
            Op::PollMany { .. } => self.finish(waiter.key, -libc::EPERM),
            op => {
                task.stage = Stage::Thread(None);
                self.tasks.insert(waiter.key, task);
                self.offload.submit(waiter.key, op);
            }
        }
    }

    fn wait_until(&mut self, key: OpKey, mut task: Task, at: Time) {
        task.stage = Stage::Time(at);
        self.tasks.insert(key, task);
        self.times.insert((at, key.number()));
    }

    /// Ends those who waited for a file that is gone.
    fn bury(&mut self, dead: Vec<Waiter>) {
        for Waiter { key, .. } in dead {
            self.tasks.remove(&key);
            self.finish(key, -libc::EBADF);
        }
    }

    /// A descriptor is ready: tries those who wait for it, in their order.
    fn serve(&mut self, data: u64, found: u32) {
        let Some((fd, queue)) = self.watches.fired(data) else { return }; // a file that is gone
        let mut left = VecDeque::new();
        // Whoever waits for the same as one that must go on waiting stays behind it.
        let mut blocked = 0;
        for waiter in queue {
            let hit = found & (waiter.events | ALWAYS);
            if hit == 0 || waiter.events & blocked != 0 {
                left.push_back(waiter);
                continue;
            }
            let Some(task) = self.tasks.remove(&waiter.key) else { continue };
            match task.op {
                Op::Poll { .. } => self.finish(waiter.key, hit as i32),
                Op::PollMany { .. } => {
                    let outcome = Outcome { result: hit as i32, more: true, buffer: None };
                    self.ready.push_back((waiter.key, outcome));
                    self.tasks.insert(waiter.key, task);
                    left.push_back(waiter);
                }
                _ => {
                    if let Some(waiter) = self.drive(waiter.key, task, Some(fd)) {
                        blocked |= waiter.events;
                        left.push_back(waiter);
                    }
                }
            }
        }
        self.go_on(fd, left);
    }

    fn go_on(&mut self, fd: RawFd, left: VecDeque<Waiter>) {
        let mut dead = Vec::new();
        if let Armed::Failed(_) | Armed::AlwaysReady = self.watches.go_on(fd, left, &mut dead) {
            // Nobody was told why; their next attempt says it.
            for Waiter { key, .. } in dead {
                let Some(task) = self.tasks.remove(&key) else { continue };
                let here = Some(fd);
                if self.drive(key, task, here).is_some() {
                    self.tasks.remove(&key);
                    self.finish(key, -libc::EBADF);
                }
            }
            return;
        }
        self.bury(dead);
    }

    /// Goes on with what waited for a time that has come.
    fn pass_time(&mut self) {
        if self.times.is_empty() {
            return;
        }
        let now = Time::monotonic();
        while let Some(&(at, number)) = self.times.first()
            && at <= now
        {
            self.times.pop_first();
            let key = OpKey::from_number(number);
            let Some(task) = self.tasks.remove(&key) else { continue };
            match task.op {
                Op::Timeout { .. } => self.finish(key, 0),
                _ => {
                    self.drive(key, task, None);
                }
            }
        }
    }

    /// Takes in what threads have done.
    fn collect(&mut self) {
        let mut results = Vec::new();
        self.offload.take(&mut |key, result| results.push((key, result)));
        for (key, result) in results {
            let Some(task) = self.tasks.remove(&key) else { continue };
            if let Stage::Thread(Some(id)) = task.stage {
                let buffer = (result > 0).then_some(id);
                if buffer.is_none() {
                    self.pool().free.push(id);
                }
                self.ready.push_back((key, Outcome { result, more: false, buffer }));
                continue;
            }
            match task.op {
                // A pipe at one end of a file was not ready after all.
                Op::Splice { flags, .. }
                    if result == -libc::EAGAIN && flags & libc::SPLICE_F_NONBLOCK == 0 =>
                {
                    self.drive(key, task, None);
                }
                _ => self.finish(key, result),
            }
        }
    }

    fn pool(&mut self) -> &mut Pool {
        let shape = self.shape;
        self.pool.get_or_insert_with(|| Pool {
            buffers: Buffers::new(shape),
            free: (0..shape.count).rev().map(BufferId).collect(),
        })
    }
}

impl Pool {
    fn lend(&mut self) -> Option<BufferId> {
        self.free.pop()
    }
}

impl Backend for Epoll {
    type Wait = EpollWait;

    fn submit(&mut self, key: OpKey, op: &Op) -> Taken {
        if let Op::Close { fd } = *op {
            let waiting = self.watches.forget(fd);
            self.bury(waiting.into());
        }
        let task = Task { op: *op, progress: Progress::new(op, self.nowait), stage: Stage::Thread(None) };
        match op.readiness() {
            Some((fd, events)) if self.watches.is_contended(fd, events) => {
                self.tasks.insert(key, Task { stage: Stage::Descriptor(fd), ..task });
                self.wait_for(fd, Waiter { key, events, many: false });
            }
            _ => {
                self.drive(key, task, None);
            }
        }
        Taken::Yes
    }

    fn cancel(&mut self, key: OpKey, _op: &Op) -> Taken {
        let Some(task) = self.tasks.get(&key) else { return Taken::Yes }; // it has ended
        let done = task.progress.done;
        match task.stage {
            Stage::Thread(_) => {
                self.offload.cancel(key);
                return Taken::Yes;
            }
            Stage::Descriptor(fd) => self.watches.leave(fd, key),
            Stage::Time(at) => {
                self.times.remove(&(at, key.number()));
            }
        }
        self.tasks.remove(&key);
        self.finish(key, if done > 0 { done as i32 } else { -libc::ECANCELED });
        Taken::Yes
    }

    fn wants_turn(&self) -> bool {
        !self.ready.is_empty()
            || self.watches.waiting() > 0
            || !self.times.is_empty()
            || self.offload.has_finished()
    }

    fn wait(&mut self, deadline: Option<Time>) -> EpollWait {
        let mut events = std::mem::take(&mut self.events);
        events.resize(EVENTS, libc::epoll_event { events: 0, u64: 0 });
        let first = self.times.first().map(|&(at, _)| at);
        let deadline = deadline.into_iter().chain(first).min();
        let pending = !self.ready.is_empty() || self.offload.has_finished();
        // Even then a look at the kernel is due, where somebody waits for it: else a fiber that always has
        // something ready would keep the others waiting for ever.
        let needless = pending && self.watches.waiting() == 0;
        let deadline = if pending { Some(Time(0)) } else { deadline };
        EpollWait { epoll: self.watches.epoll(), deadline, needless, events, count: 0 }
    }

    fn harvest(&mut self, wait: Option<EpollWait>, each: &mut dyn FnMut(OpKey, Outcome)) {
        if let Some(EpollWait { events, count, .. }) = wait {
            for event in &events[..count] {
                match event.u64 {
                    WAKE => self.eventfd.clear(),
                    data => self.serve(data, event.events),
                }
            }
            self.events = events;
        }
        self.pass_time();
        self.collect();
        while let Some((key, outcome)) = self.ready.pop_front() {
            each(key, outcome);
        }
    }

    fn buffer(&self, id: BufferId, len: usize) -> &[u8] {
        self.pool.as_ref().expect("a buffer was handed out").buffers.bytes(id, len)
    }

    fn recycle(&mut self, id: BufferId) {
        self.pool().free.push(id);
    }

    fn now(&self) -> Time {
        Time::monotonic()
    }

    fn is_ahead(&self, _: Time) -> bool {
        false
    }

    fn waker(&self) -> Waker {
        Waker::eventfd(self.eventfd.clone())
    }

    fn discard(&mut self, fd: RawFd) {
        syscall::close(fd);
    }

    fn describe(&self) -> String {
        "epoll".into()
    }

    fn descriptor(&mut self) -> Option<RawFd> {
        Some(self.watches.epoll())
    }

    fn until(&self) -> Option<Time> {
        if !self.ready.is_empty() || self.offload.has_finished() {
            return Some(Time(0));
        }
        self.times.first().map(|&(at, _)| at)
    }
}

impl Drop for Epoll {
    /// A thread may still be reading into one of our buffers: then they stay.
    fn drop(&mut self) {
        let lent = |task: &Task| matches!(task.stage, Stage::Thread(Some(_)));
        if self.tasks.values().any(lent) {
            std::mem::forget(self.pool.take());
        }
    }
}

impl std::fmt::Debug for Epoll {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Epoll")
            .field("watches", &self.watches)
            .field("tasks", &self.tasks)
            .finish_non_exhaustive()
    }
}
