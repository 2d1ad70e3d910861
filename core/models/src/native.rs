//! What the channel needs of the runtime, as loom has it: a lock, waiters that threads are, and a latch by which a
//! wait is cancelled. The order of steps in a wait is that of `native/park.rs`, where its own thread carries a
//! cancellation out.

#[allow(dead_code, unreachable_pub, reason = "what is modelled is part of something larger")]
#[path = "../../src/native/sync/channel.rs"]
pub(crate) mod channel;
#[allow(dead_code, unreachable_pub, reason = "what is modelled is part of something larger")]
#[path = "../../src/native/errno.rs"]
pub(crate) mod errno;

pub(crate) mod worker {
    pub(crate) struct Worker;
}

pub(crate) mod current {
    use super::worker::Worker;

    pub(crate) fn worker() -> *const Worker {
        std::ptr::null()
    }
}

pub(crate) mod lock {
    use std::ops::{Deref, DerefMut};

    use loom::sync::{Mutex, MutexGuard};

    use super::errno::Result;

    /// A value under a lock.
    pub(crate) struct Guarded<T>(Mutex<T>);

    // SAFETY: the value is reached through the lock only; what its waiters' pointers name is kept alive by the calls
    // that wait.
    unsafe impl<T: Send> Sync for Guarded<T> {}
    // SAFETY: as above.
    unsafe impl<T: Send> Send for Guarded<T> {}

    impl<T> Guarded<T> {
        pub(crate) fn new(value: T) -> Self {
            Guarded(Mutex::new(value))
        }

        pub(crate) fn enter(&self) -> Result<Held<'_, T>> {
            Ok(Held { guarded: self, held: self.0.lock().expect("no holder panics") })
        }
    }

    /// The value while the lock is held.
    pub(crate) struct Held<'a, T> {
        guarded: &'a Guarded<T>,
        held: MutexGuard<'a, T>,
    }

    impl<'a, T> Held<'a, T> {
        /// Lets go, and says of what.
        pub(super) fn let_go(self) -> &'a Guarded<T> {
            self.guarded
        }
    }

    impl<T> Deref for Held<'_, T> {
        type Target = T;

        fn deref(&self) -> &T {
            &self.held
        }
    }

    impl<T> DerefMut for Held<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            &mut self.held
        }
    }
}

pub(crate) mod park {
    use std::{
        cell::{Cell, RefCell},
        collections::VecDeque,
        ptr,
    };

    use loom::sync::{Arc, Notify};

    use super::{
        errno::{Errno, Result},
        lock::Held,
        worker::Worker,
    };
    use crate::sync::{AtomicBool, Ordering};

    /// Somebody who waits, one call after the other.
    pub(crate) struct Party {
        cancelled: AtomicBool,
        news: Arc<Notify>,
    }

    impl Party {
        pub(crate) fn new() -> Arc<Self> {
            Arc::new(Party { cancelled: AtomicBool::new(false), news: Arc::new(Notify::new()) })
        }

        /// Cancels the call that waits, or the next one that does.
        pub(crate) fn cancel(&self) {
            self.cancelled.store(true, Ordering::SeqCst);
            self.news.notify();
        }

        /// Whether it was cancelled, which is heard of once.
        pub(crate) fn hears(&self) -> bool {
            self.cancelled.swap(false, Ordering::SeqCst)
        }

        /// Has the calling thread's calls be this party's.
        pub(crate) fn enter(this: &Arc<Self>) {
            ME.with(|me| me.replace(Some(this.clone())));
        }
    }

    loom::thread_local! {
        static ME: RefCell<Option<Arc<Party>>> = RefCell::new(None);
    }

    /// The calling party, which outlives its calls.
    pub(crate) type Whom = *const Party;

    pub(crate) fn may_wait() -> Result<Whom> {
        Ok(ME.with(|me| me.borrow().as_ref().map_or(ptr::null(), Arc::as_ptr)))
    }

    pub(crate) fn here(_: Whom) -> *const Worker {
        ptr::null()
    }

    pub(crate) enum What {
        Sending,
        Receiving,
    }

    /// One waiting call.
    pub(crate) struct Waiter {
        item: *mut (),
        result: Cell<i32>,
        granted: AtomicBool,
        news: Arc<Notify>,
    }

    impl Waiter {
        pub(crate) fn item(&self) -> *mut () {
            self.item
        }
    }

    /// A list of them, touched under the lock of what they wait for.
    pub(crate) struct Waiters(RefCell<VecDeque<*const Waiter>>);

    impl Waiters {
        pub(crate) fn new() -> Self {
            Waiters(RefCell::default())
        }

        pub(crate) fn pop_claimed(&self) -> Option<*const Waiter> {
            self.0.borrow_mut().pop_front()
        }

        pub(crate) fn is_empty(&self) -> bool {
            self.0.borrow().is_empty()
        }

        fn link(&self, waiter: &Waiter) {
            self.0.borrow_mut().push_back(waiter);
        }

        fn unlink(&self, waiter: &Waiter) -> bool {
            let mut waiters = self.0.borrow_mut();
            let place = waiters.iter().position(|&other| ptr::eq(other, waiter));
            place.is_some_and(|place| waiters.remove(place).is_some())
        }
    }

    /// Waits until somebody grants it, or the party is cancelled: one of the two.
    pub(crate) fn wait_as<T>(
        me: Whom,
        _: What,
        held: Held<'_, T>,
        list: fn(&T) -> &Waiters,
        item: *mut (),
    ) -> i32 {
        // SAFETY: the thread's own party, which it keeps.
        let me = unsafe { &*me };
        if me.hears() {
            return -Errno::CANCELED.number();
        }
        let (news, granted) = (me.news.clone(), AtomicBool::new(false));
        let waiter = Waiter { item, result: Cell::new(0), granted, news };
        list(&held).link(&waiter);
        let guarded = held.let_go();
        while !waiter.granted.load(Ordering::Acquire) {
            if me.cancelled.load(Ordering::SeqCst) {
                let gave_up = list(&guarded.enter().expect("the lock is this process's")).unlink(&waiter);
                if gave_up && me.hears() {
                    return -Errno::CANCELED.number();
                }
            }
            me.news.wait();
        }
        waiter.result.get()
    }

    /// A waiter that is to be told.
    pub(crate) struct Wake(Arc<Notify>);

    impl Wake {
        pub(crate) fn now(self) {
            self.0.notify();
        }
    }

    /// Grants a waiter, which has been taken from its list.
    ///
    /// # Safety
    ///
    /// The lock is held under which it was.
    pub(crate) unsafe fn grant(waiter: *const Waiter, result: i32) -> Wake {
        // SAFETY: by the caller, its call still waits.
        let waiter = unsafe { &*waiter };
        waiter.result.set(result);
        let wake = Wake(waiter.news.clone());
        waiter.granted.store(true, Ordering::Release);
        wake
    }

    /// As [`grant`].
    ///
    /// # Safety
    ///
    /// As for [`grant`].
    pub(crate) unsafe fn grant_from(_: *const Worker, waiter: *const Waiter, result: i32) -> Wake {
        // SAFETY: by the caller.
        unsafe { grant(waiter, result) }
    }
}
