//! Waiting for the first of several sends and receives.
//!
//! First each channel is tried by itself, from a different one each time. If none is ready, all are locked, in the
//! order of their addresses, tried once more, and the caller stands in line at all of them; the worker lets go of
//! the locks once the fiber is off its stack. Whoever would serve the caller must claim it, and one claim is
//! granted: so exactly one case happens, or none where the wait is given up. What is left in other lines is taken
//! out by the caller, when it runs again; who meets it there before passes it over.
//!
//! ```text
//! lock all ─▶ none is ready ─▶ link to all ─▶ park, letting go of all ─▶ claimed by one ─▶ unlink from the others
//! ```

use std::{
    mem::MaybeUninit,
    ptr,
    sync::atomic::{AtomicUsize, Ordering},
};

use super::channel::{Channel, Offered, State};
use crate::{
    native::{
        current,
        errno::{Errno, Result},
        fiber::FiberRef,
        lock::Lock,
        park::{self, Choice, Waiter, Wake, What},
        scope,
    },
    time::Time,
};

/// One of several.
#[derive(Debug)]
pub enum Case<'a, T> {
    /// Sends the item, which is gone once it is sent.
    Send(&'a Channel<T>, Option<T>),
    /// Receives an item, which is there once it has come.
    Receive(&'a Channel<T>, Option<T>),
}

/// Waits for the first of several sends and receives, or for a deadline: [`Errno::TIMED_OUT`]. If several are ready
/// any of them happens, and only that one. Says which, and whether its channel was closed instead:
/// [`Errno::CLOSED`]. `EINVAL` if there is nothing to wait for.
///
/// With the deadline `Time(0)` it does not wait: `EAGAIN`.
pub fn select<T: Send>(cases: &mut [Case<'_, T>], deadline: Time) -> Result<(usize, Result<()>)> {
    let me = park::may_wait()?;
    if cases.is_empty() {
        return Err(Errno::new(libc::EINVAL));
    }
    if let Some(done) = try_each(cases, me)? {
        return Ok(done);
    }
    match me {
        _ if deadline == Time(0) => Err(Errno::new(libc::EAGAIN)),
        Some(_) if deadline != scope::FOREVER => scope::until(deadline, || choose(cases, deadline)).0,
        _ => choose(cases, deadline),
    }
}

/// Tries each by itself, the first of them in turn.
fn try_each<T: Send>(cases: &mut [Case<'_, T>], me: Option<FiberRef>) -> Result<Option<(usize, Result<()>)>> {
    let count = cases.len();
    let first = turn(me) % count;
    for index in (0..count).map(|n| (first + n) % count) {
        let mut state = cases[index].channel().0.enter()?;
        let tried = cases[index].attempt(&mut state);
        drop(state);
        if let Some((result, wake)) = tried {
            wake.into_iter().for_each(Wake::now);
            return Ok(Some((index, result)));
        }
    }
    Ok(None)
}

/// A number that grows.
fn turn(me: Option<FiberRef>) -> usize {
    static TURNS: AtomicUsize = AtomicUsize::new(0);
    match me {
        Some(fiber) => current::worker_of(fiber).turn(),
        None => TURNS.fetch_add(1, Ordering::Relaxed),
    }
}

/// Waits at all of them.
fn choose<T: Send>(cases: &mut [Case<'_, T>], deadline: Time) -> Result<(usize, Result<()>)> {
    // Once more: the scope of the deadline is new.
    let me = park::may_wait()?;
    let locks = lock_all(cases)?;
    for (index, case) in cases.iter_mut().enumerate() {
        // SAFETY: its lock is held, and nobody else has a reference.
        let state = unsafe { case.channel().0.alone() };
        if let Some((result, wake)) = case.attempt(state) {
            locks.iter().for_each(|lock| lock.unlock());
            wake.into_iter().for_each(Wake::now);
            return Ok((index, result));
        }
    }
    let choice = Choice::new(me);
    let mut items: Vec<MaybeUninit<T>> = cases.iter_mut().map(Case::lend).collect();
    let waiters: Vec<Waiter> = items
        .iter_mut()
        .map(|item| Waiter::choosing(&choice, What::Select, item.as_mut_ptr().cast()))
        .collect();
    for (case, waiter) in cases.iter().zip(&waiters) {
        case.line_up(waiter);
    }
    park::choose(&choice, &waiters[0], &locks, deadline);
    for (case, waiter) in cases.iter().zip(&waiters) {
        case.step_out(waiter);
    }
    let chosen = waiters.iter().position(|waiter| choice.is_for(waiter));
    for (index, (case, item)) in cases.iter_mut().zip(items).enumerate() {
        let granted = chosen == Some(index) && waiters[index].result() == 0;
        // SAFETY: a sender's item is there unless it was granted, a receiver's if it was.
        unsafe { case.settle(item, granted) };
    }
    let index = chosen.ok_or_else(|| choice.why())?;
    Ok((index, Errno::check(waiters[index].result()).map(drop)))
}

/// Locks the channels of all cases, each once, in the order of their addresses: nobody waits for a lock of a lower
/// address than those that it has.
fn lock_all<T: Send>(cases: &[Case<'_, T>]) -> Result<Vec<&'static Lock>> {
    let mut channels: Vec<&Channel<T>> = cases.iter().map(Case::channel).collect();
    channels.sort_unstable_by_key(|channel| ptr::from_ref(*channel).addr());
    channels.dedup_by_key(|channel| ptr::from_ref(*channel).addr());
    let mut locks: Vec<&'static Lock> = Vec::with_capacity(channels.len());
    for channel in channels {
        match channel.0.enter() {
            // SAFETY: a channel lives until the calls on it have returned, of which ours is one.
            Ok(held) => locks.push(unsafe { &*ptr::from_ref(held.keep()) }),
            Err(errno) => {
                locks.iter().for_each(|lock| lock.unlock());
                return Err(errno);
            }
        }
    }
    Ok(locks)
}

impl<'a, T: Send> Case<'a, T> {
    /// Whose it is.
    fn channel(&self) -> &'a Channel<T> {
        match self {
            Case::Send(channel, _) | Case::Receive(channel, _) => channel,
        }
    }

    /// Does it if that needs no waiting.
    fn attempt(&mut self, state: &mut State<T>) -> Option<(Result<()>, Option<Wake>)> {
        let here = current::worker();
        match self {
            Case::Send(_, item) => {
                let Some(sent) = item.take() else { return Some((Err(Errno::new(libc::EINVAL)), None)) };
                match state.offer(sent, here) {
                    Offered::Taken(wake) => Some((Ok(()), wake)),
                    Offered::Closed(kept) => {
                        *item = Some(kept);
                        Some((Err(Errno::CLOSED), None))
                    }
                    Offered::Full(kept) => {
                        *item = Some(kept);
                        None
                    }
                }
            }
            Case::Receive(_, item) => match state.take(here) {
                Some((received, wake)) => {
                    *item = Some(received);
                    Some((Ok(()), wake))
                }
                None => state.is_closed().then_some((Err(Errno::CLOSED), None)),
            },
        }
    }

    /// The item, or room for one, for whoever serves the caller.
    fn lend(&mut self) -> MaybeUninit<T> {
        match self {
            Case::Send(_, item) => item.take().map_or(MaybeUninit::uninit(), MaybeUninit::new),
            Case::Receive(..) => MaybeUninit::uninit(),
        }
    }

    /// Takes it back, or what has come.
    ///
    /// # Safety
    /// `lent` holds an item if this sends and was not granted, or receives and was.
    unsafe fn settle(&mut self, lent: MaybeUninit<T>, granted: bool) {
        match self {
            // SAFETY: by the caller; here and below.
            Case::Send(_, item) if !granted => *item = Some(unsafe { lent.assume_init() }),
            // SAFETY: as above.
            Case::Receive(_, item) if granted => *item = Some(unsafe { lent.assume_init() }),
            Case::Send(..) | Case::Receive(..) => {}
        }
    }

    /// Stands in line, with the lock held.
    fn line_up(&self, waiter: &Waiter) {
        // SAFETY: the lock is held, and the lists are changed under it only.
        let state = unsafe { self.channel().0.unguarded() };
        let list = match self {
            Case::Send(..) => state.senders(),
            Case::Receive(..) => state.receivers(),
        };
        list.push(waiter);
    }

    /// Stands in line no more.
    fn step_out(&self, waiter: &Waiter) {
        let state = self.channel().0.enter().expect("this is the process that locked it before");
        waiter.leave();
        drop(state);
    }
}
