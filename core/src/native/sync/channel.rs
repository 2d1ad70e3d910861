//! Items handed from whoever sends to whoever receives.
//!
//! Bounded (senders wait for room), unbounded (they never wait), or rendezvous (bounded by 0: a sender
//! waits until its item is taken). An item is at every moment in exactly one place: with its sender, in
//! the channel, or with its receiver.
//!
//! ```text
//! send: a receiver waits? into its hands : room? into the queue : wait, with the item in hand
//! recv: the queue's first, and the first waiting sender's moves up : a sender's : closed? : wait
//! ```

use std::{collections::VecDeque, fmt, mem::MaybeUninit};

use crate::native::{
    current,
    errno::{Errno, Result},
    lock::Guarded,
    park::{self, Waiter, Waiters, Wake, What},
    worker::Worker,
};

/// A queue between fibers, and between fibers and threads.
pub struct Channel<T>(pub(super) Guarded<State<T>>);

pub(super) struct State<T> {
    items: VecDeque<T>,
    capacity: usize,
    closed: bool,
    senders: Waiters,
    receivers: Waiters,
}

/// What could not be sent, and why.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SendError<T> {
    /// The item, which is the sender's again.
    pub item: T,
    /// Why.
    pub errno: Errno,
}

impl<T> fmt::Debug for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendError").field("errno", &self.errno).finish_non_exhaustive()
    }
}

impl<T: Send> Channel<T> {
    /// A channel that holds so many items; with 0, each is handed over in person.
    pub fn bounded(capacity: usize) -> Self {
        Channel(Guarded::new(State {
            // A large bound may never be reached.
            items: VecDeque::with_capacity(capacity.min(64)),
            capacity,
            closed: false,
            senders: Waiters::new(),
            receivers: Waiters::new(),
        }))
    }

    /// A channel that holds as many items as there is memory for.
    pub fn unbounded() -> Self {
        Self::bounded(usize::MAX)
    }

    /// Sends an item, waiting for room if need be. [`Errno::CLOSED`] if the channel is or becomes closed.
    // Always inlined, as `park::wait_as` is.
    #[inline(always)]
    pub fn send(&self, item: T) -> std::result::Result<(), SendError<T>> {
        let me = match park::may_wait() {
            Ok(me) => me,
            Err(errno) => return Err(SendError { item, errno }),
        };
        let mut state = match self.0.enter() {
            Ok(state) => state,
            Err(errno) => return Err(SendError { item, errno }),
        };
        let mut item = match state.offer(item, park::here(me)) {
            Offered::Taken(wake) => {
                drop(state);
                if let Some(wake) = wake {
                    wake.now();
                }
                return Ok(());
            }
            Offered::Closed(item) => return Err(SendError { item, errno: Errno::CLOSED }),
            Offered::Full(item) => MaybeUninit::new(item),
        };
        match Errno::check(park::wait_as(
            me,
            What::Sending,
            state,
            |state| &state.senders,
            item.as_mut_ptr().cast(),
        )) {
            Ok(_) => Ok(()),
            // SAFETY: nobody has granted the wait, so nobody has taken the item out.
            Err(errno) => Err(SendError { item: unsafe { item.assume_init() }, errno }),
        }
    }

    /// Sends an item if that needs no waiting, else `EAGAIN`.
    pub fn try_send(&self, item: T) -> std::result::Result<(), SendError<T>> {
        let mut state = match self.0.enter() {
            Ok(state) => state,
            Err(errno) => return Err(SendError { item, errno }),
        };
        match state.offer(item, current::worker()) {
            Offered::Taken(wake) => {
                drop(state);
                wake.into_iter().for_each(Wake::now);
                Ok(())
            }
            Offered::Closed(item) => Err(SendError { item, errno: Errno::CLOSED }),
            Offered::Full(item) => Err(SendError { item, errno: Errno::new(libc::EAGAIN) }),
        }
    }

    /// Receives the item that was sent first, waiting for one if need be. [`Errno::CLOSED`] once the
    /// channel is closed and empty.
    // Always inlined, as `park::wait_as` is.
    #[inline(always)]
    pub fn recv(&self) -> Result<T> {
        let me = park::may_wait()?;
        let mut state = self.0.enter()?;
        if let Some((item, wake)) = state.take(park::here(me)) {
            drop(state);
            if let Some(wake) = wake {
                wake.now();
            }
            return Ok(item);
        }
        if state.closed {
            return Err(Errno::CLOSED);
        }
        let mut item = MaybeUninit::<T>::uninit();
        Errno::check(park::wait_as(
            me,
            What::Receiving,
            state,
            |state| &state.receivers,
            item.as_mut_ptr().cast(),
        ))?;
        // SAFETY: whoever granted the wait has put an item there.
        Ok(unsafe { item.assume_init() })
    }

    /// Receives an item if one is there, else `EAGAIN`.
    pub fn try_recv(&self) -> Result<T> {
        let mut state = self.0.enter()?;
        let Some((item, wake)) = state.take(current::worker()) else {
            return Err(if state.closed { Errno::CLOSED } else { Errno::new(libc::EAGAIN) });
        };
        drop(state);
        wake.into_iter().for_each(Wake::now);
        Ok(item)
    }

    /// Closes the channel: whoever waits is told, items that are in it can still be received. False if
    /// it was closed before.
    pub fn close(&self) -> Result<bool> {
        let mut state = self.0.enter()?;
        if std::mem::replace(&mut state.closed, true) {
            return Ok(false);
        }
        // Nobody begins to wait any more; what is left of the lists is ours to wake.
        while let Some(waiter) = state.senders.pop_claimed().or_else(|| state.receivers.pop_claimed()) {
            // SAFETY: popped under the lock, which is held.
            let wake = unsafe { park::grant(waiter, -Errno::CLOSED.number()) };
            drop(state);
            wake.now();
            state = self.0.enter()?;
        }
        Ok(true)
    }

    /// [`Errno::FORKED`] if it is the parent's of this process.
    pub fn is_ours(&self) -> Result<()> {
        self.0.enter().map(drop)
    }

    /// How many items are in it.
    pub fn len(&self) -> usize {
        self.0.enter().map_or(0, |state| state.items.len())
    }

    /// Whether no item is in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it is closed.
    pub fn is_closed(&self) -> bool {
        self.0.enter().is_ok_and(|state| state.closed)
    }

    /// Whether nobody waits.
    pub fn is_idle(&self) -> bool {
        self.0.enter().is_ok_and(|state| state.senders.is_empty() && state.receivers.is_empty())
    }
}

pub(super) enum Offered<T> {
    Taken(Option<Wake>),
    Full(T),
    Closed(T),
}

impl<T> State<T> {
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    pub(super) fn senders(&self) -> &Waiters {
        &self.senders
    }

    pub(super) fn receivers(&self) -> &Waiters {
        &self.receivers
    }

    #[inline(always)]
    pub(super) fn offer(&mut self, item: T, here: *const Worker) -> Offered<T> {
        if self.closed {
            return Offered::Closed(item);
        }
        if let Some(receiver) = self.receivers.pop_claimed() {
            // SAFETY: popped under the lock, which is held; a receiver's item is room for one.
            let wake = unsafe {
                (*receiver).item().cast::<T>().write(item);
                park::grant_from(here, receiver, 0)
            };
            return Offered::Taken(Some(wake));
        }
        if self.items.len() >= self.capacity {
            return Offered::Full(item);
        }
        self.items.push_back(item);
        Offered::Taken(None)
    }

    #[inline(always)]
    pub(super) fn take(&mut self, here: *const Worker) -> Option<(T, Option<Wake>)> {
        let Some(item) = self.items.pop_front() else {
            let sender = self.senders.pop_claimed()?;
            // SAFETY: popped under the lock, which is held.
            let (item, wake) = unsafe { take_from(here, sender) };
            return Some((item, Some(wake)));
        };
        let wake = self.senders.pop_claimed().map(|sender| {
            // SAFETY: as above.
            let (item, wake) = unsafe { take_from(here, sender) };
            self.items.push_back(item);
            wake
        });
        Some((item, wake))
    }
}

/// Takes a waiting sender's item out of its hands.
///
/// # Safety
/// The sender was popped under the channel's lock, which is still held.
#[inline(always)]
unsafe fn take_from<T>(here: *const Worker, sender: *const Waiter) -> (T, Wake) {
    // SAFETY: a sender's item is there until its wait is granted, which happens here.
    unsafe {
        let item = (*sender).item().cast::<T>().read();
        (item, park::grant_from(here, sender, 0))
    }
}

impl<T> fmt::Debug for Channel<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Channel")
    }
}
