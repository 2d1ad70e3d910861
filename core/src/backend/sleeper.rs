//! Where the thread of a ring sleeps, and how others end that.
//!
//! A thread that waits for the kernel sleeps in its ring, and an eventfd wakes it, which the ring polls. One that waits
//! for nothing but other threads sleeps on a word (futex(2)): nothing has to be asked of the ring then, neither before
//! nor after. Who calls a thread that does not sleep makes no system call at all.
//!
//! ```text
//! sleeper: AWAKE ──▶ LOOKING ──▶ ON_WORD ──▶ sleep ──▶ AWAKE
//!            └─▶ IN_RING ──▶ sleep ──▶ AWAKE
//! caller:  ? ──▶ CALLED ──▶ wake, by what the state was
//! ```
//!
//! A call that comes early is found where the sleeper lies down, which does not sleep then.
//!
//! To fall asleep and be woken takes tens of microseconds where the processor goes idle meanwhile, and two threads that
//! answer each other pay that for every answer. So one whose sleeps were all short looks at the word for as long as a
//! wake takes before it sleeps: in the worst case that doubles the price, in the best nothing is paid (A. Karlin et
//! al., "Empirical studies of competitive spinning for a shared-memory multiprocessor", 1991). Where it was in vain a
//! few times it sleeps at once again, and tries anew after many more short sleeps. Who sleeps for long never looks.

use std::{
    hint, io,
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicU32,
            Ordering::{Relaxed, SeqCst},
        },
    },
    time::Duration,
};

use super::Eventfd;
use crate::{syscall, time::Time};

const EAGAIN: i32 = -libc::EAGAIN;
const EINTR: i32 = -libc::EINTR;
const ETIMEDOUT: i32 = -libc::ETIMEDOUT;

const AWAKE: u32 = 0;
const IN_RING: u32 = 1;
const ON_WORD: u32 = 2;
const LOOKING: u32 = 3;
const CALLED: u32 = 4;

/// About as long as it takes to wake a thread.
const WAKE: Duration = Duration::from_micros(50);
/// A sleep that is shorter might have been none.
const SHORT: Duration = Duration::from_micros(200);
/// So many short sleeps in a row are reason to look before the next.
const MANY: u32 = 64;
/// How often it may be in vain, then, before it has been worth while once, and after that.
const TRIES: u32 = 3;
const MORE_TRIES: u32 = 8;

/// The thread of a ring, to those who wake it.
#[derive(Debug)]
pub(crate) struct Sleeper {
    state: AtomicU32,
    eventfd: Arc<Eventfd>,
    /// Whether it may sleep where only the eventfd wakes it, and that is not told here.
    elsewhere: AtomicBool,
    /// Whether it may look at the word before it sleeps: there is another processor, for those who would call.
    looks: bool,
    /// How many short sleeps came one after another. Like the next its own, and nobody else's.
    short: AtomicU32,
    /// How often it may look in vain.
    tries: AtomicU32,
}

impl Sleeper {
    pub(crate) fn new(looks: bool) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Sleeper {
            state: AtomicU32::new(AWAKE),
            eventfd: Eventfd::new()?,
            elsewhere: AtomicBool::new(false),
            looks,
            short: AtomicU32::new(0),
            tries: AtomicU32::new(0),
        }))
    }

    /// What wakes it where it sleeps in its ring, or elsewhere.
    pub(crate) fn eventfd(&self) -> &Eventfd {
        &self.eventfd
    }

    /// From now on it may sleep elsewhere: all calls go to the eventfd, too.
    pub(crate) fn sleeps_elsewhere(&self) {
        self.elsewhere.store(true, SeqCst);
    }

    /// Ends its present or next sleep. Any thread, also a signal handler.
    pub(crate) fn call(&self) {
        match self.state.swap(CALLED, SeqCst) {
            ON_WORD => syscall::futex_wake(&self.state),
            state if state == IN_RING || self.elsewhere.load(SeqCst) => self.eventfd.signal(),
            _ => {}
        }
    }

    /// It is about to sleep in its ring; false if it must not, because it has been called.
    pub(crate) fn lie_down_in_ring(&self) -> bool {
        self.change(AWAKE, IN_RING)
    }

    /// It is awake, and about to see what it was called for.
    pub(crate) fn get_up(&self) {
        self.state.swap(AWAKE, SeqCst); // reads it, too, and so what was written before the call
    }

    /// Sleeps on the word until it is called, a signal comes, or time is up.
    pub(crate) fn sleep(&self, deadline: Option<Time>) -> io::Result<()> {
        let tries = self.tries.load(Relaxed);
        let lies = if tries == 0 {
            self.change(AWAKE, ON_WORD)
        } else if self.change(AWAKE, LOOKING) && !self.look(deadline) {
            self.tries.store(tries - 1, Relaxed);
            self.change(LOOKING, ON_WORD)
        } else {
            self.tries.store(MORE_TRIES, Relaxed);
            false
        };
        if !lies {
            return Ok(());
        }
        let since = if self.looks { Time::monotonic() } else { Time(0) };
        let slept = self.wait(deadline);
        if self.looks {
            self.learn(Time::monotonic().since(since));
        }
        slept
    }

    fn change(&self, from: u32, to: u32) -> bool {
        self.state.compare_exchange(from, to, SeqCst, SeqCst).is_ok()
    }

    /// Looks at the word for a while; says whether it was called.
    fn look(&self, deadline: Option<Time>) -> bool {
        let end = Time::monotonic() + WAKE;
        let end = deadline.map_or(end, |deadline| deadline.min(end));
        while Time::monotonic() < end {
            for _ in 0..16 {
                if self.state.load(SeqCst) == CALLED {
                    return true;
                }
                hint::spin_loop();
            }
        }
        false
    }

    fn learn(&self, slept: Duration) {
        let called = self.state.load(SeqCst) == CALLED;
        let short = if called && slept < SHORT { self.short.load(Relaxed) + 1 } else { 0 };
        self.short.store(short % MANY, Relaxed);
        if short == MANY {
            self.tries.store(TRIES, Relaxed);
        }
    }

    fn wait(&self, deadline: Option<Time>) -> io::Result<()> {
        match syscall::futex_wait(&self.state, ON_WORD, deadline) {
            // Called just now, a signal came, time is up.
            0.. | EAGAIN | EINTR | ETIMEDOUT => Ok(()),
            error => Err(io::Error::from_raw_os_error(-error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const ENOUGH: Duration = Duration::from_secs(20);

    fn sleeper(looks: bool) -> Arc<Sleeper> {
        Sleeper::new(looks).unwrap()
    }

    /// Sleeps until it is called; says whether it was.
    fn sleep(sleeper: &Sleeper) -> bool {
        let end = Time::monotonic() + ENOUGH;
        while sleeper.state.load(SeqCst) != CALLED && Time::monotonic() < end {
            sleeper.sleep(Some(end)).unwrap();
        }
        let called = sleeper.state.load(SeqCst) == CALLED;
        sleeper.get_up();
        called
    }

    fn wants_to_look(sleeper: &Sleeper) -> bool {
        sleeper.tries.load(Relaxed) > 0
    }

    #[test]
    fn a_call_that_comes_early_ends_the_next_sleep() {
        let sleeper = sleeper(true);
        for tries in [0, 1] {
            sleeper.tries.store(tries, Relaxed);
            sleeper.call();
            sleeper.sleep(None).unwrap();
            sleeper.get_up();
        }
    }

    #[test]
    fn a_call_that_comes_early_forbids_to_sleep_in_the_ring() {
        let sleeper = sleeper(false);
        sleeper.call();
        assert!(!sleeper.lie_down_in_ring());
        sleeper.get_up();
        assert!(sleeper.lie_down_in_ring());
    }

    #[test]
    fn a_sleep_ends_in_time() {
        let sleeper = sleeper(true);
        for tries in [0, 1] {
            sleeper.tries.store(tries, Relaxed);
            let end = Time::monotonic() + Duration::from_millis(1);
            while Time::monotonic() < end {
                sleeper.sleep(Some(end)).unwrap();
                sleeper.get_up();
            }
            sleeper.sleep(Some(Time(0))).unwrap();
            sleeper.get_up();
        }
    }

    #[test]
    fn no_call_is_lost_between_two_that_answer_each_other() {
        const ROUNDS: usize = 20_000;
        for looks in [false, true] {
            let (one, other) = (sleeper(looks), sleeper(looks));
            let (caller, answerer) = (one.clone(), other.clone());
            let answers = thread::spawn(move || {
                (0..ROUNDS).all(|_| {
                    let called = sleep(&answerer);
                    caller.call();
                    called
                })
            });
            let answered = (0..ROUNDS).all(|_| {
                other.call();
                sleep(&one)
            });
            assert!(answers.join().unwrap() && answered, "a call was lost");
        }
    }

    #[test]
    fn after_many_short_sleeps_it_looks_and_where_that_is_in_vain_a_few_times_it_stops() {
        let sleeper = sleeper(true);
        sleeper.state.store(CALLED, SeqCst);
        (1..MANY).for_each(|_| sleeper.learn(SHORT / 2));
        assert!(!wants_to_look(&sleeper));
        sleeper.learn(SHORT / 2);
        assert!(wants_to_look(&sleeper));
        for _ in 0..TRIES {
            sleeper.get_up();
            sleeper.sleep(Some(Time::monotonic() + WAKE)).unwrap();
        }
        assert!(!wants_to_look(&sleeper));
    }

    #[test]
    fn who_sleeps_for_long_or_is_not_called_never_looks() {
        let sleeper = sleeper(true);
        sleeper.state.store(CALLED, SeqCst);
        for _ in 0..2 {
            (1..MANY).for_each(|_| sleeper.learn(SHORT / 2));
            sleeper.learn(SHORT);
        }
        sleeper.get_up();
        (0..MANY).for_each(|_| sleeper.learn(SHORT / 2));
        assert!(!wants_to_look(&sleeper));
    }

    #[test]
    fn one_that_may_not_look_never_does() {
        let sleeper = sleeper(false);
        let caller = sleeper.clone();
        let calls = thread::spawn(move || (0..1_000).for_each(|_| caller.call()));
        while !calls.is_finished() {
            sleeper.sleep(Some(Time::monotonic() + WAKE)).unwrap();
            sleeper.get_up();
            assert!(!wants_to_look(&sleeper));
        }
        calls.join().unwrap();
    }

    #[test]
    fn who_may_sleep_elsewhere_is_called_there_too() {
        let sleeper = sleeper(false);
        sleeper.sleeps_elsewhere();
        sleeper.call();
        assert_eq!(syscall::poll(sleeper.eventfd().fd(), libc::POLLIN as u32, 0), libc::POLLIN as i32);
    }
}
