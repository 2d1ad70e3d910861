//! What a fiber has beside its stack: a name, values of its own, and what is to be done when it ends.
//!
//! Most fibers have nothing, and pay for nothing: the record points to nowhere. The name can be given and asked
//! by any thread, under the fiber's lock; the rest is touched by the fiber alone. What is to be done is done by
//! the fiber itself, after its function has returned and before anybody hears of its end:
//!
//! ```text
//! function returns ──▶ open scopes are closed ──▶ on_exit, the latest first ──▶ values are destroyed ──▶ ended
//! ```
//!
//! A shield is raised meanwhile: cleaning up may wait, and nothing ends it.

use std::{
    cell::RefCell,
    ffi::c_void,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    ptr,
    sync::atomic::{AtomicPtr, AtomicUsize, Ordering},
};

use super::{
    current,
    errno::{Errno, Result},
    fiber::{FiberId, FiberRef, Stage, swallow},
    name::Name,
    scope,
};

/// A fiber's belongings.
#[derive(Default)]
pub(crate) struct Belongings {
    name: Name,
    values: RefCell<Vec<*mut c_void>>,
    exits: RefCell<Vec<Exit>>,
}

type Exit = Box<dyn FnOnce() + Send>;

/// Destroys a value of a fiber that ends.
pub type Destructor = unsafe extern "C" fn(*mut c_void);

/// What each fiber has a value of its own for. Keys are made once and live as long as the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(u32);

impl Key {
    /// So many keys there can be.
    pub const MOST: usize = 1024;
    /// A destructor that leaves a new value is called again, so often.
    const ROUNDS: usize = 4;

    /// A key for which no fiber has a value yet; `EAGAIN` where there are [`Key::MOST`] already. When a fiber
    /// ends, `destructor` is called, in that fiber, for its value unless that is null.
    ///
    /// # Safety
    /// The destructor may be called with every value that a fiber is given for this key.
    pub unsafe fn new(destructor: Option<Destructor>) -> Result<Self> {
        let taken = KEYS
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |keys| (keys < Key::MOST).then_some(keys + 1));
        let key = taken.map_err(|_| Errno::new(libc::EAGAIN))?;
        let destructor = destructor.map_or(ptr::null_mut(), |destructor| destructor as *mut c_void);
        DESTRUCTORS[key].store(destructor, Ordering::Release);
        Ok(Key(key as u32))
    }

    /// The key as a number.
    pub fn number(self) -> u32 {
        self.0
    }

    /// The key that `number` came from; `EINVAL` if it came from none.
    pub fn from_number(number: u32) -> Result<Self> {
        if (number as usize) < KEYS.load(Ordering::SeqCst) {
            Ok(Key(number))
        } else {
            Err(Errno::new(libc::EINVAL))
        }
    }

    /// The calling fiber's value, null where it has been given none; `EPERM` outside a fiber.
    pub fn get(self) -> Result<*mut c_void> {
        let fiber = current::fiber().ok_or(Errno::new(libc::EPERM))?;
        let value = fiber.belongings().map(|belongings| belongings.value(self));
        Ok(value.unwrap_or(ptr::null_mut()))
    }

    /// Gives the calling fiber a value; `EPERM` outside a fiber.
    pub fn set(self, value: *mut c_void) -> Result<()> {
        let fiber = current::fiber().ok_or(Errno::new(libc::EPERM))?;
        let mut values = fiber.belongings_made().values.borrow_mut();
        let index = self.0 as usize;
        if values.len() <= index {
            values.resize(index + 1, ptr::null_mut());
        }
        values[index] = value;
        Ok(())
    }

    fn destructor(self) -> Option<Destructor> {
        let destructor = DESTRUCTORS[self.0 as usize].load(Ordering::Acquire);
        // SAFETY: null, or what `new` was given.
        unsafe { std::mem::transmute::<*mut c_void, Option<Destructor>>(destructor) }
    }
}

static KEYS: AtomicUsize = AtomicUsize::new(0);
static DESTRUCTORS: [AtomicPtr<c_void>; Key::MOST] = [const { AtomicPtr::new(ptr::null_mut()) }; Key::MOST];

/// Has something done when the calling fiber ends, however it does: what was asked for last is done first.
/// It is done in the fiber, shielded; a panic in it ends there. `EPERM` outside a fiber.
pub fn on_exit(callback: impl FnOnce() + Send + 'static) -> Result<()> {
    let fiber = current::fiber().ok_or(Errno::new(libc::EPERM))?;
    fiber.belongings_made().exits.borrow_mut().push(Box::new(callback));
    Ok(())
}

impl FiberId {
    /// Gives the fiber a name, for people. Any thread.
    pub fn set_name(self, name: Name) -> Result<()> {
        let fiber = self.find()?;
        let mut made = Some(Box::<Belongings>::default());
        let end = fiber.end.lock();
        if fiber.id() != self || end.stage.get() == Stage::Vacant {
            return Err(Errno::NO_SUCH_FIBER);
        }
        if fiber.belongings.load(Ordering::Acquire).is_null() {
            fiber.belongings.store(made.take().map_or(ptr::null_mut(), Box::into_raw), Ordering::Release);
        }
        // SAFETY: there are some, and names are touched under the lock only, which is held.
        unsafe { (&raw mut (*fiber.belongings.load(Ordering::Acquire)).name).write(name) };
        drop(end);
        Ok(())
    }

    /// The fiber's name; empty where it has been given none. Any thread.
    pub fn name(self) -> Result<Name> {
        let fiber = self.find()?;
        let end = fiber.end.lock();
        if fiber.id() != self || end.stage.get() == Stage::Vacant {
            return Err(Errno::NO_SUCH_FIBER);
        }
        let belongings = fiber.belongings.load(Ordering::Acquire);
        if belongings.is_null() {
            return Ok(Name::NONE);
        }
        // SAFETY: belongings go when the fiber's slot becomes vacant, under the lock that is held.
        Ok(unsafe { (&raw const (*belongings).name).read() })
    }
}

impl Belongings {
    fn value(&self, key: Key) -> *mut c_void {
        self.values.borrow().get(key.0 as usize).copied().unwrap_or(ptr::null_mut())
    }

    /// Takes out every value that is to be destroyed, with its destructor.
    fn take_values(&self) -> Vec<(Destructor, *mut c_void)> {
        let values = std::mem::take(&mut *self.values.borrow_mut());
        let keyed = values.into_iter().enumerate().filter(|(_, value)| !value.is_null());
        keyed.filter_map(|(key, value)| Some((Key(key as u32).destructor()?, value))).collect()
    }
}

impl FiberRef {
    /// The name of the fiber that runs, without its lock, which it may hold itself: for handlers of signals. What
    /// another thread writes meanwhile is torn. None of any other fiber.
    pub(crate) fn name_if_running(self) -> Name {
        let belongings = self.belongings.load(Ordering::Acquire);
        if belongings.is_null() || current::fiber() != Some(self) {
            return Name::NONE;
        }
        // SAFETY: they go with the fiber, which is interrupted; any bytes are a name.
        unsafe { (&raw const (*belongings).name).read_volatile() }
    }

    /// The belongings of the fiber that runs.
    fn belongings<'a>(self) -> Option<&'a Belongings> {
        // SAFETY: they go with the fiber, which runs. Other threads touch the name only, which nobody borrows.
        unsafe { self.belongings.load(Ordering::Acquire).as_ref() }
    }

    /// The same, made where there are none.
    fn belongings_made<'a>(self) -> &'a Belongings {
        if let Some(belongings) = self.belongings() {
            return belongings;
        }
        let made = Box::into_raw(Box::<Belongings>::default());
        let end = self.end.lock();
        let existing = self.belongings.load(Ordering::Acquire);
        if existing.is_null() {
            self.belongings.store(made, Ordering::Release);
        }
        drop(end);
        if !existing.is_null() {
            // SAFETY: ours alone: somebody named the fiber a moment ago, and theirs stands.
            drop(unsafe { Box::from_raw(made) });
        }
        self.belongings().expect("made above")
    }

    /// The slot becomes vacant: nobody asks for the name any more. Under the fiber's lock.
    #[cold]
    pub(crate) fn discard_belongings(self) {
        let belongings = self.belongings.swap(ptr::null_mut(), Ordering::AcqRel);
        // SAFETY: not null, made by a box, and taken out under the lock under which others look.
        drop(unsafe { Box::from_raw(belongings) });
    }
}

/// The function of the fiber that runs has returned: what it has left behind is cleaned up.
#[cold]
pub(crate) fn wind_up(fiber: FiberRef) {
    if current::fiber() != Some(fiber) {
        return; // it forked, and this is the child: a plain thread that is about to exit
    }
    fiber.shields.set(1);
    scope::close_all(fiber);
    let Some(belongings) = fiber.belongings() else { return };
    loop {
        let Some(exit) = belongings.exits.borrow_mut().pop() else { break };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(exit)) {
            swallow(panic);
        }
    }
    for _ in 0..Key::ROUNDS {
        for (destructor, value) in belongings.take_values() {
            // SAFETY: by the contract of `Key::new`.
            unsafe { destructor(value) };
        }
    }
    // Cleaning up may have opened some.
    scope::close_all(fiber);
}

impl fmt::Debug for Belongings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Belongings")
    }
}
