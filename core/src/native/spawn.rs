//! Starting fibers, waiting for them, and letting others run.

use std::{marker::PhantomData, mem::MaybeUninit, ptr, time::Duration};

use super::{
    armed::Armed,
    cancel, current,
    errno::{Errno, Result},
    fiber::{Ask, Delivery, FiberId, FiberRef, Roams, Stage},
    park::{self, What},
    plain,
    stack::{self, Slab},
};
use crate::{op::Op, time::Time};

/// Starts a fiber in the calling one's runtime. It may begin on any worker, and stays there.
#[inline]
pub fn spawn<F, T>(function: F) -> Result<JoinHandle<T>>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    spawn_raw(function, false).map(JoinHandle::new)
}

/// [`spawn`] that says where the fiber may run.
pub fn spawn_placed<F, T>(function: F, placement: Placement) -> Result<JoinHandle<T>>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    spawn_raw_placed(function, false, placement).map(JoinHandle::new)
}

/// Starts a fiber and gives its name; unless `detached`, somebody must join or detach it. Outside a
/// fiber there is no runtime to start it in: `EPERM`.
#[inline]
pub fn spawn_raw<F, T>(function: F, detached: bool) -> Result<FiberId>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    spawn_raw_placed(function, detached, Placement::ANYWHERE)
}

/// [`spawn_raw`] that says where the fiber may run; `EINVAL` for a worker that there is not.
#[inline]
pub fn spawn_raw_placed<F, T>(function: F, detached: bool, placement: Placement) -> Result<FiberId>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let worker = current::worker_of(current::fiber().ok_or(Errno::new(libc::EPERM))?);
    fits::<F, T>(worker.slab())?;
    worker.spawn(function, detached, placement, ptr::null())
}

/// Starts a fiber of the library's own on a worker, also where users may start no more.
pub(crate) fn spawn_on_own_account<F, T>(function: F, worker: usize) -> Result<JoinHandle<T>>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let here = current::worker_of(current::fiber().ok_or(Errno::new(libc::EPERM))?);
    fits::<F, T>(here.slab())?;
    here.spawn_own(function, worker).map(JoinHandle::new)
}

/// On which workers a fiber may run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Placement(pub(crate) Place);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Place {
    #[default]
    Anywhere,
    Migratable,
    Pinned,
    On(usize),
}

impl Placement {
    /// On whichever comes first; from then on it stays there.
    pub const ANYWHERE: Placement = Placement(Place::Anywhere);
    /// On the worker of the fiber that starts it; on any, but from the start on one only, where a plain
    /// thread does.
    pub const PINNED: Placement = Placement(Place::Pinned);

    /// On the worker of that number, from 0.
    pub const fn on(worker: usize) -> Self {
        Placement(Place::On(worker))
    }

    /// On any, and after each wait on any other.
    ///
    /// # Safety
    /// Whatever stands on the fiber's stack while it waits may be sent to another thread, as if it were
    /// captured by what the fiber runs: no `Rc`, no guard of a lock of the standard library, no reference into
    /// a thread-local.
    pub const unsafe fn migratable() -> Self {
        Placement(Place::Migratable)
    }

    /// How far it lets a fiber of a crew move.
    #[inline]
    pub(crate) fn roams(self) -> Roams {
        match self.0 {
            Place::Anywhere => Roams::UntilItRuns,
            Place::Migratable => Roams::Always,
            Place::Pinned | Place::On(_) => Roams::Nowhere,
        }
    }
}

/// Whether a function, and the value it returns, fit beside a stack: `E2BIG` beyond an eighth of it.
#[inline]
pub(crate) fn fits<F, T>(slab: &Slab) -> Result<()> {
    let size = size_of::<F>().max(size_of::<T>()) + align_of::<F>().max(align_of::<T>());
    if size <= slab.largest_packet() { Ok(()) } else { Err(Errno::new(libc::E2BIG)) }
}

/// [`fits`] for a function at hand.
pub(crate) fn fits_value<F: FnOnce() -> T, T>(slab: &Slab, _: &F) -> Result<()> {
    fits::<F, T>(slab)
}

/// A fiber that somebody will join. Dropping it detaches the fiber.
#[derive(Debug)]
pub struct JoinHandle<T: 'static> {
    id: FiberId,
    value: PhantomData<fn() -> T>,
}

impl<T: Send + 'static> JoinHandle<T> {
    pub(crate) fn new(id: FiberId) -> Self {
        JoinHandle { id, value: PhantomData }
    }

    /// The fiber's name.
    pub fn id(&self) -> FiberId {
        self.id
    }

    /// Waits until the fiber has ended, and takes its value; [`Errno::PANIC`] if it panicked.
    ///
    /// If the waiting fiber is cancelled, the one that it waits for is detached and goes on.
    #[inline(always)]
    pub fn join(self) -> Result<T> {
        let joined = join(self.id);
        if matches!(joined, Ok(_) | Err(Errno::PANIC)) {
            std::mem::forget(self); // nobody is left to detach
        }
        joined
    }

    /// Makes the fiber's present or next blocking call answer [`Errno::CANCELED`].
    pub fn cancel(&self) -> Result<()> {
        self.id.cancel()
    }
}

impl<T: 'static> Drop for JoinHandle<T> {
    #[inline]
    fn drop(&mut self) {
        // After a join there is nobody to detach, which is what it says.
        let _ = detach(self.id);
    }
}

/// Waits until a fiber has ended, and takes its value. Any thread; a thread without a fiber blocks.
///
/// A fiber can be joined once. `ESRCH` if it was joined or detached, `EBUSY` if somebody waits already,
/// `EDEADLK` for oneself, `EINVAL` if its value is of another type, [`Errno::PANIC`] if it panicked.
/// A wait that is cancelled leaves the fiber to be joined again.
///
/// A fiber that has not begun yet, and that no other worker has taken, begins at once, and who joins it goes on as soon
/// as it has ended, as if it had called a function; now and then both wait for their turns, so that others have theirs.
// Always inlined, for the reason that `park::wait_as` is.
#[inline(always)]
pub fn join<T: Send + 'static>(id: FiberId) -> Result<T> {
    let fiber = id.find()?;
    let mut value = MaybeUninit::<T>::uninit();
    let mut delivery = Delivery { arrived: false, into: value.as_mut_ptr().cast() };
    let me = current::fiber();
    let mut may_wait = me.is_none_or(cancel::is_calm);
    let mut end = fiber.end.lock();
    loop {
        if fiber.id() != id {
            return Err(Errno::NO_SUCH_FIBER);
        }
        match end.stage.get() {
            Stage::Vacant | Stage::Live { detached: true } => return Err(Errno::NO_SUCH_FIBER),
            Stage::Live { detached: false } | Stage::Done if !fiber.yields::<T>() => {
                return Err(Errno::new(libc::EINVAL));
            }
            Stage::Done => {
                // SAFETY: the fiber is done, and `value` has room for what it is, as was asked above.
                unsafe { fiber.deliver(&mut delivery) };
                fiber.vacate(&mut end);
                drop(end);
                give_back(fiber);
                break;
            }
            Stage::Live { detached: false } if me == Some(fiber) => return Err(Errno::new(libc::EDEADLK)),
            Stage::Live { detached: false } if !end.joiners.is_empty() => {
                return Err(Errno::new(libc::EBUSY));
            }
            Stage::Live { detached: false } if !may_wait => {
                // Not under the lock: who is refused cancels its scopes' children, of whom this may be one.
                drop(end);
                park::may_wait()?;
                may_wait = true;
                end = fiber.end.lock();
            }
            Stage::Live { detached: false } => {
                if let Some(me) = me {
                    current::worker_of(me).lend_turn(fiber);
                }
                let item = (&raw mut delivery).cast();
                Errno::check(park::wait_as(me, What::Fiber(id), end, |end| &end.joiners, item))?;
                break;
            }
        }
    }
    if !delivery.arrived {
        return Err(Errno::PANIC);
    }
    // SAFETY: it arrived, and is of this type.
    Ok(unsafe { value.assume_init() })
}

/// Lets a fiber end by itself: nobody will join it. `ESRCH` where that has happened already. Any thread.
pub fn detach(id: FiberId) -> Result<()> {
    let fiber = id.find()?;
    let mut end = fiber.end.lock();
    if fiber.id() != id {
        return Err(Errno::NO_SUCH_FIBER);
    }
    match end.stage.get() {
        Stage::Vacant | Stage::Live { detached: true } => Err(Errno::NO_SUCH_FIBER),
        Stage::Live { detached: false } if !end.joiners.is_empty() => Err(Errno::new(libc::EBUSY)),
        Stage::Live { detached: false } => {
            end.stage.set(Stage::Live { detached: true });
            Ok(())
        }
        Stage::Done => {
            fiber.vacate(&mut end);
            drop(end);
            fiber.discard();
            give_back(fiber);
            Ok(())
        }
    }
}

/// The calling fiber.
pub fn myself() -> Option<FiberId> {
    current::fiber().map(FiberRef::id)
}

/// The number of the worker on which the calling fiber runs, from 0. One that was spawned
/// [migratable](Placement::migratable) may run on another after each call that suspends.
pub fn worker() -> Option<usize> {
    current::fiber().map(|fiber| current::worker_of(fiber).index())
}

/// Lets every other ready fiber run first.
#[inline]
pub fn yield_now() -> Result<()> {
    let Some(fiber) = current::fiber() else {
        std::thread::yield_now();
        return Ok(());
    };
    cancel::point(fiber)?;
    fiber.suspend(Ask::Yield);
    Ok(())
}

/// Sleeps for a time.
pub fn sleep(span: Duration) -> Result<()> {
    sleep_until(Time::monotonic() + span)
}

/// Sleeps until a time of the monotonic clock.
pub fn sleep_until(deadline: Time) -> Result<()> {
    let Some(fiber) = current::fiber() else {
        // SAFETY: the operation points to nothing.
        return Errno::check(unsafe { plain::perform(&Op::Timeout { deadline }) }).map(drop);
    };
    cancel::point(fiber)?;
    let timer = Armed::new(fiber, deadline);
    fiber.suspend(Ask::Sleep(&timer.key()));
    let outcome = fiber.outcome.get();
    if outcome < 0 {
        // Something else ended the sleep: its timer is still armed.
        timer.disarm(fiber);
    }
    Errno::check(outcome).map(drop)
}

/// Puts a slot that has become vacant where it is used soonest: here, or in its slab.
fn give_back(fiber: FiberRef) {
    match current::fiber().map(current::worker_of) {
        Some(worker) if worker.slab().class() == fiber.class() => worker.vacate(fiber),
        _ => stack::give_back(fiber),
    }
}
