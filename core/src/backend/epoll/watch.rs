//! Who waits for which descriptor, and what the kernel knows of it.
//!
//! A descriptor has one registration and one queue, whatever waits for it. The registration is good for
//! one event (EPOLLONESHOT) and is armed again while somebody waits: what nobody waits for cannot spin,
//! and each arming finds out whether the number still means the same file. Only somebody who wants to
//! hear of every change makes it stay (EPOLLET).
//!
//! ```text
//! wait ──▶ armed ──event──▶ disarmed, known ──wait──▶ armed (MOD)
//!            │                     └──closed, number used again──▶ MOD: ENOENT ──▶ ADD
//!            └──the last one is cancelled──▶ DEL, unknown
//! ```
//!
//! An event carries the generation of its registration: one of a file that had the number before finds
//! nobody.

use std::{
    collections::{HashMap, VecDeque},
    os::fd::RawFd,
};

use crate::{op::OpKey, syscall};

/// Readiness that is told whether or not anybody asked.
pub(super) const ALWAYS: u32 = (libc::EPOLLERR | libc::EPOLLHUP) as u32;

/// An operation that waits for a descriptor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiter {
    pub(super) key: OpKey,
    pub(super) events: u32,
    /// It stays when it has been told: the registration then tells changes only.
    pub(super) many: bool,
}

/// How arming a registration went.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Armed {
    /// The kernel will tell.
    Yes,
    /// This descriptor never makes anybody wait.
    AlwaysReady,
    /// Nobody can wait for it: this errno, negative, is why.
    Failed(i32),
}

#[derive(Debug, Default)]
struct Watch {
    queue: VecDeque<Waiter>,
    generation: u32,
    /// The kernel has a registration, unless the descriptor was closed since.
    known: bool,
    /// That registration tells every change and stays armed.
    stays: bool,
}

/// All descriptors that are, or were, waited for.
#[derive(Debug)]
pub(super) struct Watches {
    epoll: RawFd,
    by_fd: HashMap<RawFd, Watch>,
    generation: u32,
    waiting: usize,
}

impl Watches {
    /// An epoll that watches nothing yet.
    pub(super) fn new() -> Result<Self, i32> {
        match syscall::epoll_create() {
            failed if failed < 0 => Err(failed),
            epoll => Ok(Watches { epoll, by_fd: HashMap::new(), generation: 0, waiting: 0 }),
        }
    }

    pub(super) fn epoll(&self) -> RawFd {
        self.epoll
    }

    /// Registers a descriptor of the backend's own, for good.
    pub(super) fn watch_always(&self, fd: RawFd, data: u64) -> i32 {
        syscall::epoll_control(self.epoll, libc::EPOLL_CTL_ADD, fd, libc::EPOLLIN as u32, data)
    }

    /// How many operations wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Whether somebody waits for the same, who comes first.
    pub(super) fn is_contended(&self, fd: RawFd, events: u32) -> bool {
        self.by_fd.get(&fd).is_some_and(|watch| watch.queue.iter().any(|waiter| waiter.events & events != 0))
    }

    /// Puts a waiter behind the others and arms. Those in `dead` waited for a file that is gone: the
    /// number has been given to another since.
    pub(super) fn wait(&mut self, fd: RawFd, waiter: Waiter, dead: &mut Vec<Waiter>) -> Armed {
        self.by_fd.entry(fd).or_default().queue.push_back(waiter);
        self.waiting += 1;
        let armed = self.arm(fd, 1, dead);
        if armed != Armed::Yes {
            // An epoll takes all waiters of a descriptor or none.
            dead.extend(self.take(fd).into_iter().filter(|other| other.key != waiter.key));
            self.by_fd.remove(&fd);
        }
        armed
    }

    /// Takes the queue of the registration that an event is about.
    pub(super) fn fired(&mut self, data: u64) -> Option<(RawFd, VecDeque<Waiter>)> {
        let (generation, fd) = ((data >> 32) as u32, data as u32 as RawFd);
        self.by_fd.get(&fd).filter(|watch| watch.generation == generation)?;
        Some((fd, self.take(fd)))
    }

    /// Gives back those of a queue who go on waiting, and arms for them.
    pub(super) fn go_on(&mut self, fd: RawFd, queue: VecDeque<Waiter>, dead: &mut Vec<Waiter>) -> Armed {
        self.waiting += queue.len();
        let count = queue.len();
        let watch = self.by_fd.entry(fd).or_default();
        watch.queue = queue;
        // Arming tells again what is ready: somebody who wants changes only would hear of it for ever.
        if count == 0 || watch.stays && watch.has_many() {
            return Armed::Yes;
        }
        let armed = self.arm(fd, 0, dead);
        if armed != Armed::Yes {
            dead.extend(self.take(fd));
            self.by_fd.remove(&fd);
        }
        armed
    }

    /// Takes out one waiter; with the last one the registration goes.
    pub(super) fn leave(&mut self, fd: RawFd, key: OpKey) {
        let Some(watch) = self.by_fd.get_mut(&fd) else { return };
        // From the back: who cancels many begins with the latest.
        let Some(at) = watch.queue.iter().rposition(|waiter| waiter.key == key) else { return };
        watch.queue.remove(at);
        self.waiting -= 1;
        if watch.queue.is_empty() {
            self.forget(fd);
        }
    }

    /// Gives up a descriptor; says who waited for it.
    pub(super) fn forget(&mut self, fd: RawFd) -> VecDeque<Waiter> {
        let queue = self.take(fd);
        if self.by_fd.remove(&fd).is_some_and(|watch| watch.known) {
            // A number that is closed, or means another file by now, has no registration to remove.
            syscall::epoll_control(self.epoll, libc::EPOLL_CTL_DEL, fd, 0, 0);
        }
        queue
    }

    fn take(&mut self, fd: RawFd) -> VecDeque<Waiter> {
        let queue = self.by_fd.get_mut(&fd).map(|watch| std::mem::take(&mut watch.queue)).unwrap_or_default();
        self.waiting -= queue.len();
        queue
    }

    /// Arms for everybody in the queue. Where the number means another file than before, all but the
    /// last `fresh` waiters are dead.
    fn arm(&mut self, fd: RawFd, fresh: usize, dead: &mut Vec<Waiter>) -> Armed {
        let watch = self.by_fd.get_mut(&fd).expect("the callers have just queued somebody");
        if watch.known {
            let data = u64::from(watch.generation) << 32 | u64::from(fd as u32);
            let events = watch.interest();
            match syscall::epoll_control(self.epoll, libc::EPOLL_CTL_MOD, fd, events, data) {
                0 => {
                    watch.stays = watch.has_many();
                    return Armed::Yes;
                }
                gone if gone == -libc::ENOENT => {}
                failed => return Armed::Failed(failed),
            }
            let old = watch.queue.len() - fresh;
            self.waiting -= old;
            dead.extend(watch.queue.drain(..old));
            if watch.queue.is_empty() {
                watch.known = false;
                return Armed::Yes;
            }
        }
        self.generation = self.generation.wrapping_add(1) & GENERATIONS;
        (watch.generation, watch.known, watch.stays) = (self.generation, true, watch.has_many());
        let data = u64::from(watch.generation) << 32 | u64::from(fd as u32);
        let events = watch.interest();
        let mut added = syscall::epoll_control(self.epoll, libc::EPOLL_CTL_ADD, fd, events, data);
        if added == -libc::EEXIST {
            // The same file came back to its number after we had given it up.
            added = syscall::epoll_control(self.epoll, libc::EPOLL_CTL_MOD, fd, events, data);
        }
        match added {
            0 => Armed::Yes,
            refused if refused == -libc::EPERM => Armed::AlwaysReady,
            failed => Armed::Failed(failed),
        }
    }
}

impl Watch {
    fn has_many(&self) -> bool {
        self.queue.iter().any(|waiter| waiter.many)
    }

    fn interest(&self) -> u32 {
        let events = self.queue.iter().fold(0, |events, waiter| events | waiter.events);
        events | if self.has_many() { libc::EPOLLET } else { libc::EPOLLONESHOT } as u32
    }
}

impl Drop for Watches {
    /// Closes this process's copy and no more: in a forked child the registrations are the parent's.
    fn drop(&mut self) {
        syscall::close(self.epoll);
    }
}

/// The highest value is left to descriptors of the backend's own.
const GENERATIONS: u32 = u32::MAX >> 1;
