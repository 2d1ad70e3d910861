//! What carries operations to the kernel and brings their completions back.
//!
//! Three exist: [`uring`] (io_uring), [`epoll`] (readiness and non-blocking system calls) and [`sim`]
//! (virtual time and scripted outcomes, for tests). [`any`] chooses between the first two at run time.
//!
//! One turn, as the host sees it:
//!
//! ```text
//! shard.next() ── Wait(w) ──▶ w.block() ──▶ shard.harvest(w) ──▶ shard.next() ── Run(fiber)
//!                             (no shard, no GVL: only the kernel)
//! ```

pub mod any;
pub mod epoll;
pub mod sim;
mod sleeper;
pub mod uring;

use std::{io, os::fd::RawFd, sync::Arc};

pub(crate) use self::sleeper::Sleeper;
use crate::{
    buffers::BufferId,
    op::{Op, OpKey, Outcome},
    time::Time,
};

/// Whether a backend could take what it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It has it.
    Yes,
    /// It is full, and submitting did not help: offer it again after the next harvest.
    Full,
}

/// Carries operations to the kernel. Used by its shard's thread only.
pub trait Backend {
    /// A wait, moved out of the shard so that blocking cannot touch it.
    type Wait: Wait;

    /// Takes an operation; its completions name `key`. Whatever else goes wrong is an outcome.
    fn submit(&mut self, key: OpKey, op: &Op) -> Taken;

    /// Asks for an operation to be cancelled. Its last completion comes all the same.
    fn cancel(&mut self, key: OpKey, op: &Op) -> Taken;

    /// Whether a visit to the kernel would bring something, although fibers are ready: submissions not
    /// yet made, or work that the kernel has for this thread.
    fn wants_turn(&self) -> bool;

    /// Makes a wait until something completes, the waker is called, or `deadline`.
    fn wait(&mut self, deadline: Option<Time>) -> Self::Wait;

    /// Tells `each` what has completed. `wait` is the wait that ended, where one did.
    fn harvest(&mut self, wait: Option<Self::Wait>, each: &mut dyn FnMut(OpKey, Outcome));

    /// The first `len` bytes of a buffer that an outcome named.
    fn buffer(&self, id: BufferId, len: usize) -> &[u8];

    /// Gives a buffer back.
    fn recycle(&mut self, id: BufferId);

    /// The backend's clock.
    fn now(&self) -> Time;

    /// Whether it is known, without a look at the clock, that a time has not come yet.
    fn is_ahead(&self, time: Time) -> bool;

    /// What ends a wait from another thread.
    fn waker(&self) -> Waker;

    /// Closes a descriptor that nobody took.
    fn discard(&mut self, fd: RawFd);

    /// What it is, for people: `io_uring` or `epoll`, and how it was set up.
    fn describe(&self) -> String;

    /// A descriptor that is readable while a wait would bring something, for hosts whose thread waits in a
    /// loop of others; nothing where there is none.
    fn descriptor(&mut self) -> Option<RawFd> {
        None
    }

    /// Until when such a thread may wait for the descriptor and nothing else: not at all, which is time 0, where
    /// the kernel has not been given everything.
    fn until(&self) -> Option<Time> {
        None
    }
}

/// Blocks the thread, touching nothing but the kernel: safe without the GVL.
pub trait Wait {
    /// Waits. An interrupted wait is a wait that ended; an error says that the backend cannot be used.
    fn block(&mut self) -> io::Result<()>;

    /// Whether this may really sleep, rather than visit the kernel and return.
    fn may_sleep(&self) -> bool;
}

/// Ends a backend's present or next wait. Any thread, also a signal handler.
#[derive(Clone, Debug)]
pub struct Waker(Ends);

#[derive(Clone, Debug)]
enum Ends {
    Eventfd(Arc<Eventfd>),
    Sleeper(Arc<Sleeper>),
    Nothing,
}

impl Waker {
    /// A waker over an eventfd that the backend watches.
    pub(crate) fn eventfd(fd: Arc<Eventfd>) -> Self {
        Waker(Ends::Eventfd(fd))
    }

    /// A waker of a thread that sleeps in more than one way.
    pub(crate) fn sleeper(sleeper: Arc<Sleeper>) -> Self {
        Waker(Ends::Sleeper(sleeper))
    }

    /// A waker for a backend that never sleeps.
    pub(crate) fn nothing() -> Self {
        Waker(Ends::Nothing)
    }

    /// Ends the wait.
    pub fn wake(&self) {
        match &self.0 {
            Ends::Eventfd(eventfd) => eventfd.signal(),
            Ends::Sleeper(sleeper) => sleeper.call(),
            Ends::Nothing => {}
        }
    }
}

/// An eventfd, closed with its last owner.
#[derive(Debug)]
pub(crate) struct Eventfd(RawFd);

impl Eventfd {
    pub(crate) fn new() -> io::Result<Arc<Self>> {
        // SAFETY: eventfd takes no pointers.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(Arc::new(Eventfd(fd))) }
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.0
    }

    pub(crate) fn signal(&self) {
        let one = 1u64;
        // SAFETY: eight readable bytes. A counter that is full (EAGAIN) wakes as well as one that is not.
        unsafe { libc::write(self.0, (&raw const one).cast(), 8) };
    }

    /// Takes what was signalled, so that the descriptor is not readable any more.
    pub(crate) fn clear(&self) {
        let mut count = 0u64;
        // SAFETY: eight writable bytes; the descriptor does not block.
        unsafe { libc::read(self.0, (&raw mut count).cast(), 8) };
    }
}

impl Drop for Eventfd {
    fn drop(&mut self) {
        // SAFETY: the descriptor is ours and nobody uses it any more.
        unsafe { libc::close(self.0) };
    }
}
