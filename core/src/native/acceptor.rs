//! Connections, accepted as they come.
//!
//! An acceptor keeps one accept in flight that goes on for ever, so a connection costs no submission.
//! A fiber of its own, the keeper, is parked in that accept; connections wait in a hall for whoever asks
//! for the next one. A connection is at every moment in exactly one place: with the kernel, in the hall, or
//! with whoever has taken it.
//!
//! ```text
//! accept for ever ──fd──▶ hall ──▶ next ──▶ the caller's
//!       ▲                  │ full, or no more descriptors: the accept ends
//!       └──asked again─────┘ when somebody waits for the next and there is none
//! ```
//!
//! Where nobody takes connections no more than [`ROOM`] are accepted: the rest wait in the listener's own
//! queue, as the system meant them to.

use std::{collections::VecDeque, fmt, os::fd::RawFd, ptr, sync::Arc};

use super::{
    current,
    errno::{Errno, Result},
    fiber::FiberId,
    io,
    lock::{Guarded, Held},
    park::{self, Waiters, Wake},
    plain::KeepErrno,
    scope,
    spawn::{self, Placement},
    sync::Event,
    telling::{self, Hears},
};
use crate::{
    op::{Op, Outcome},
    syscall,
};

/// How many connections wait in the hall at most.
const ROOM: usize = 256;

/// A listener's connections. Any fiber and any thread may ask for the next one, also several at once.
pub struct Acceptor {
    listener: RawFd,
    flags: i32,
    forks: u32,
    kept: Option<Kept>,
}

/// What an acceptor has that was made in a fiber.
struct Kept {
    hall: Arc<Hall>,
    keeper: FiberId,
}

/// Where connections wait, and those who wait for connections.
struct Hall {
    state: Guarded<State>,
    /// Set when an accept that has ended is to begin again.
    wanted: Event,
}

struct State {
    connections: VecDeque<RawFd>,
    takers: Waiters,
    /// An error that nobody has been told yet.
    trouble: Option<Errno>,
    stage: Stage,
}

/// What the keeper does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It accepts.
    Accepting,
    /// It has stopped, or is about to, until somebody wants a connection.
    Resting,
    /// It has ended, for this reason.
    Ended(Errno),
}

impl Acceptor {
    /// Begins to accept a listener's connections; `flags` are those of accept4(2). The listener stays the
    /// caller's. Outside a fiber nothing begins: each [`next`](Acceptor::next) is then an accept of its own.
    pub fn new(listener: RawFd, flags: i32) -> Result<Self> {
        let acceptor = |kept| Acceptor { listener, flags, forks: current::forks(), kept };
        if current::fiber().is_none() {
            return Ok(acceptor(None));
        }
        let hall = Arc::new(Hall::new());
        let kept = hall.clone();
        let keeper = spawn::spawn_raw_placed(move || kept.keep(listener, flags), false, Placement::PINNED)?;
        Ok(acceptor(Some(Kept { hall, keeper })))
    }

    /// The next connection, waiting for one if need be; its descriptor is the caller's.
    ///
    /// `EMFILE` and the like say that no connection could be accepted just now, and leave it in the listener's
    /// queue: the next call tries again. [`Errno::CANCELED`] also once the runtime has been shut down.
    pub fn next(&self) -> Result<RawFd> {
        self.in_this_process()?;
        match &self.kept {
            Some(Kept { hall, .. }) => hall.next(),
            None => io::accept(self.listener, self.flags),
        }
    }

    /// Whether nobody waits for the next connection.
    pub fn is_idle(&self) -> bool {
        self.kept.as_ref().is_none_or(|kept| kept.hall.state.lock().takers.is_empty())
    }

    /// Whether it belongs to this process and not to the one that this was forked from.
    pub fn in_this_process(&self) -> Result<()> {
        if self.forks == current::forks() { Ok(()) } else { Err(Errno::FORKED) }
    }
}

impl Drop for Acceptor {
    /// Accepts no more, and closes the connections that nobody has taken.
    fn drop(&mut self) {
        let Some(Kept { hall, keeper }) = self.kept.take().filter(|_| self.forks == current::forks()) else {
            return;
        };
        // It may have ended with its runtime.
        let _ = keeper.cancel();
        let _ = scope::shielded(|| spawn::join::<()>(keeper));
        let _keep = KeepErrno::new();
        hall.state.lock().connections.drain(..).for_each(syscall::close);
    }
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acceptor").field("listener", &self.listener).finish_non_exhaustive()
    }
}

impl Hall {
    fn new() -> Self {
        let state = State {
            connections: VecDeque::new(),
            takers: Waiters::new(),
            trouble: None,
            stage: Stage::Accepting,
        };
        Hall { state: Guarded::new(state), wanted: Event::new() }
    }

    /// The keeper's work: accepts until it is cancelled or the listener is gone.
    fn keep(&self, listener: RawFd, flags: i32) {
        let accept = Op::AcceptMany { fd: listener, flags };
        loop {
            // SAFETY: the operation points to nothing.
            let last = telling::caller().map(|me| unsafe { telling::perform(me, accept, self) });
            let wakes = self.settle(last.unwrap_or_else(|errno| -errno.number()));
            wakes.into_iter().for_each(Wake::now);
            let stage = self.state.lock().stage;
            match stage {
                Stage::Accepting => continue,
                Stage::Ended(_) => return,
                Stage::Resting => {}
            }
            if let Err(errno) = self.wanted.wait() {
                let wakes = self.end(self.state.lock(), errno);
                return wakes.into_iter().for_each(Wake::now);
            }
            let mut state = self.state.lock();
            // Refused only in a forked child, where nobody accepts.
            let _ = self.wanted.reset();
            state.stage = Stage::Accepting;
        }
    }

    /// The accept has ended; says whom to wake.
    fn settle(&self, last: i32) -> Vec<Wake> {
        let mut state = self.state.lock();
        match Errno::check(last) {
            Ok(connection) => state.arrive(connection).into_iter().collect(),
            Err(Errno::CANCELED) => self.end(state, Errno::CANCELED),
            // It was ended because the hall is full.
            Err(_) if state.stage == Stage::Resting => Vec::new(),
            Err(errno) if is_passing(errno) => {
                state.stage = Stage::Resting;
                let wakes = state.tell_all(errno);
                state.trouble = wakes.is_empty().then_some(errno);
                wakes
            }
            Err(errno) => self.end(state, errno),
        }
    }

    fn end(&self, mut state: Held<'_, State>, errno: Errno) -> Vec<Wake> {
        state.stage = Stage::Ended(errno);
        state.tell_all(errno)
    }

    fn next(&self) -> Result<RawFd> {
        let me = park::may_wait()?;
        let mut state = self.state.lock();
        if let Some(connection) = state.connections.pop_front() {
            return Ok(connection);
        }
        if let Some(errno) = state.trouble.take() {
            return Err(errno);
        }
        match state.stage {
            Stage::Ended(errno) => return Err(errno),
            Stage::Accepting => {}
            Stage::Resting => drop(self.wanted.set()),
        }
        Errno::check(park::wait_as(me, park::What::Connection, state, |state| &state.takers, ptr::null_mut()))
    }
}

impl Hears for Hall {
    fn hear(&self, outcome: Outcome) -> bool {
        let mut state = self.state.lock();
        let wake = Errno::check(outcome.result).ok().and_then(|connection| state.arrive(connection));
        let is_full = state.connections.len() >= ROOM;
        if is_full {
            state.stage = Stage::Resting;
        }
        drop(state);
        if let Some(wake) = wake {
            wake.now();
        }
        is_full
    }
}

impl State {
    /// A connection goes to who has waited longest, or into the hall.
    fn arrive(&mut self, connection: RawFd) -> Option<Wake> {
        let Some(taker) = self.takers.pop() else {
            self.connections.push_back(connection);
            return None;
        };
        // SAFETY: popped under the lock, which is held.
        Some(unsafe { from_afar(taker, connection) })
    }

    fn tell_all(&mut self, errno: Errno) -> Vec<Wake> {
        let takers = std::iter::from_fn(|| self.takers.pop());
        // SAFETY: as above.
        takers.map(|taker| unsafe { from_afar(taker, -errno.number()) }).collect()
    }
}

/// Grants as another thread would: the worker's own shard may be borrowed.
unsafe fn from_afar(taker: *const park::Waiter, result: i32) -> Wake {
    // SAFETY: by the caller.
    unsafe { park::grant_from(ptr::null(), taker, result) }
}

/// Whether the next accept may do better.
fn is_passing(errno: Errno) -> bool {
    !matches!(
        errno.number(),
        libc::EBADF | libc::EINVAL | libc::ENOTSOCK | libc::EOPNOTSUPP | libc::EFAULT | libc::ENOSYS
    )
}
