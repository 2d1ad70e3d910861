//! Where the thread of a ring sleeps, and how others end that.
//!
//! A thread that waits for the kernel sleeps in its ring, and an eventfd wakes it, which the ring polls. One that waits
//! for nothing but other threads sleeps on a word (futex(2)): nothing has to be asked of the ring then, neither before
//! nor after, which is a third of the time that a message between two such threads takes. Who calls a thread that does
//! not sleep makes no system call at all.
//!
//! ```text
//! sleeper: AWAKE ──▶ IN_RING or ON_WORD ──▶ sleep ──▶ AWAKE
//! caller:  ? ──▶ CALLED ──▶ wake, by what the state was
//! ```
//!
//! A call that comes early is found where the sleeper lies down, which does not sleep then.

use std::{
    io, ptr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
    },
};

use super::Eventfd;
use crate::time::Time;

const AWAKE: u32 = 0;
const IN_RING: u32 = 1;
const ON_WORD: u32 = 2;
const CALLED: u32 = 3;

/// The thread of a ring, to those who wake it.
#[derive(Debug)]
pub(crate) struct Sleeper {
    state: AtomicU32,
    eventfd: Arc<Eventfd>,
    /// Whether it may sleep where only the eventfd wakes it, and that is not told here.
    elsewhere: AtomicBool,
}

impl Sleeper {
    pub(crate) fn new() -> io::Result<Arc<Self>> {
        let eventfd = Eventfd::new()?;
        Ok(Arc::new(Sleeper { state: AtomicU32::new(AWAKE), eventfd, elsewhere: AtomicBool::new(false) }))
    }

    /// What wakes it where it sleeps in its ring, or elsewhere.
    pub(crate) fn eventfd(&self) -> &Eventfd {
        &self.eventfd
    }

    /// From now on it may sleep elsewhere: all calls go to the eventfd.
    pub(crate) fn sleeps_elsewhere(&self) {
        self.elsewhere.store(true, SeqCst);
    }

    /// Ends its present or next sleep. Any thread, also a signal handler.
    pub(crate) fn call(&self) {
        match self.state.swap(CALLED, SeqCst) {
            ON_WORD => self.wake(),
            state if state == IN_RING || self.elsewhere.load(SeqCst) => self.eventfd.signal(),
            _ => {}
        }
    }

    /// It is about to sleep, in the ring or on the word; false if it must not, because it has been called.
    pub(crate) fn lie_down(&self, on_word: bool) -> bool {
        let state = if on_word { ON_WORD } else { IN_RING };
        self.state.compare_exchange(AWAKE, state, SeqCst, SeqCst).is_ok()
    }

    /// It is awake, and whatever it was called for it is about to see.
    pub(crate) fn get_up(&self) {
        self.state.store(AWAKE, SeqCst);
    }

    /// Sleeps on the word until it is called, a signal comes, or time is up.
    pub(crate) fn sleep(&self, deadline: Option<Time>) -> io::Result<()> {
        let at = deadline.map(|Time(at)| libc::timespec {
            tv_sec: (at / 1_000_000_000) as libc::time_t,
            tv_nsec: (at % 1_000_000_000) as libc::c_long,
        });
        let operation = libc::FUTEX_WAIT_BITSET | libc::FUTEX_PRIVATE_FLAG;
        let every = libc::FUTEX_BITSET_MATCH_ANY;
        let at = at.as_ref().map_or(ptr::null(), ptr::from_ref);
        // SAFETY: the word and the timespec outlive the call, which writes neither.
        let slept = unsafe {
            libc::syscall(
                libc::SYS_futex,
                self.state.as_ptr(),
                operation,
                ON_WORD,
                at,
                ptr::null::<u32>(),
                every,
            )
        };
        if slept >= 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EAGAIN | libc::EINTR | libc::ETIMEDOUT) => Ok(()),
            _ => Err(error),
        }
    }

    fn wake(&self) {
        let operation = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
        // SAFETY: the word outlives the call, which does not touch it.
        unsafe { libc::syscall(libc::SYS_futex, self.state.as_ptr(), operation, 1) };
    }
}
