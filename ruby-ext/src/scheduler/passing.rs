//! What a fiber was woken for and cannot use, because it was cancelled in the same turn: the next one gets it.
//!
//! Ruby takes a waiter out of an object's own list when it wakes it, and asks no more whether it was of any use.
//! So a lock stayed free with others waiting for it, an item lay there, and a condition's signal was lost. What
//! can be done from outside the object is to do again what wakes one of those who wait: none of this changes
//! the object. A waiter that is woken for nothing looks, as it must ever, and waits again.

use std::{ffi::c_void, ops::ControlFlow};

use magnus::{
    Error, RClass, Value,
    prelude::*,
    rb_sys::{AsRawValue, FromRawValue, protect},
};
use rb_sys::{VALUE, rb_debug_inspector_t};

use super::ruby;
use crate::{roots::NIL, ruby_api::is_hidden};

/// Wakes the next who waits for what a fiber was blocked for, which an exception ends now, if it had been woken.
///
/// Who waits for a lock in `ConditionVariable#wait` was woken before, by a signal: that goes on, too. Whether it was
/// rather its time that was up is not known here; then one of the others looks for nothing.
///
/// What goes wrong here is nobody's concern: the caller is about to hear of that exception.
#[cold]
pub(super) fn pass_on(blocker: Value, woken: bool) {
    if is_hidden(blocker) {
        return drop(woken.then(|| pass_hidden(blocker)));
    }
    let is_a = |name| class(name).is_ok_and(|class| blocker.is_kind_of(class));
    let passed = if is_a("Mutex") {
        let passed = if woken { pass_lock(blocker) } else { Ok(()) };
        passed.and_then(|()| pass_signal())
    } else if !woken {
        Ok(())
    } else if is_a("SizedQueue") {
        pass_item(blocker).and_then(|()| pass_room(blocker))
    } else if is_a("Queue") {
        pass_item(blocker)
    } else if blocker.is_kind_of(ruby().class_symbol()) {
        pass_signal()
    } else {
        Ok(())
    };
    drop(passed);
}

/// One of the classes that threads wait by.
fn class(name: &str) -> Result<RClass, Error> {
    ruby().class_thread().const_get(name)
}

/// The lock that Ruby keeps from programs: of a file that `require` loads, or of who closes a file that others are
/// inside of. Nothing else of the kind is ever waited for.
fn pass_hidden(lock: Value) -> Result<(), Error> {
    let lock = lock.as_raw();
    protect(|| {
        // SAFETY: alive, as it was waited for; no lock is a TypeError. Under protect: what is raised is caught.
        unsafe { if rb_sys::rb_mutex_trylock(lock) == TRUE { rb_sys::rb_mutex_unlock(lock) } else { NIL } }
    })
    .map(drop)
}

/// A free lock wakes the next when it is let go.
fn pass_lock(lock: Value) -> Result<(), Error> {
    if lock.funcall("try_lock", ())? {
        lock.funcall::<_, _, Value>("unlock", ())?;
    }
    Ok(())
}

/// Every item is put in anew, which wakes one for each, and leaves their order as it was: unless another thread has
/// its turn in between, which only Ruby 3.3 and later allow, where `pop` is no C function.
fn pass_item(queue: Value) -> Result<(), Error> {
    let mut left: usize = queue.funcall("size", ())?;
    while left > 0 && !is_over(queue)? {
        let item: Value = queue.funcall("pop", (true,))?;
        queue.funcall::<_, _, Value>("push", (item,))?;
        left -= 1;
    }
    Ok(())
}

/// A limit that grows wakes those who wait for room.
fn pass_room(queue: Value) -> Result<(), Error> {
    let limit: usize = queue.funcall("max", ())?;
    let size: usize = queue.funcall("size", ())?;
    if size < limit && !is_over(queue)? {
        queue.funcall::<_, _, Value>("max=", (limit + 1,))?;
        queue.funcall::<_, _, Value>("max=", (limit,))?;
    }
    Ok(())
}

/// Whether nobody waits, or everybody has been woken for good.
fn is_over(queue: Value) -> Result<bool, Error> {
    Ok(queue.funcall::<_, _, bool>("closed?", ())? || queue.funcall::<_, _, usize>("num_waiting", ())? == 0)
}

/// A sleep ended by a wake-up was in a `ConditionVariable#wait`. The hook is not told of which, but Ruby knows the
/// receivers of the methods that are running.
fn pass_signal() -> Result<(), Error> {
    let raw = protect(|| {
        // SAFETY: under protect; the function borrows nothing but its argument.
        unsafe { rb_sys::rb_debug_inspector_open(Some(find_condition), std::ptr::null_mut()) }
    })?;
    if raw != NIL {
        // SAFETY: the receiver of a method that is running.
        unsafe { Value::from_raw(raw) }.funcall::<_, _, Value>("signal", ())?;
    }
    Ok(())
}

/// How many methods may stand between a hook and the `wait` of a condition: the hook's own, and the lock's.
const NEAR: i64 = 8;

const TRUE: VALUE = rb_sys::Qtrue as VALUE;

/// The condition whose `wait` is running, or nil.
unsafe extern "C" fn find_condition(frames: *const rb_debug_inspector_t, _: *mut c_void) -> VALUE {
    let Ok(class) = class("ConditionVariable") else { return NIL };
    let found = (0..NEAR).try_for_each(|index| {
        // SAFETY: the frames of the running fiber, for as long as this function runs; an index beyond them raises,
        // which `protect` hears of.
        match protect(|| unsafe { rb_sys::rb_debug_inspector_frame_self_get(frames, index) }) {
            // SAFETY: the receiver of a method that is running.
            Ok(receiver) if unsafe { Value::from_raw(receiver) }.is_kind_of(class) => {
                ControlFlow::Break(receiver)
            }
            Ok(_) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(NIL),
        }
    });
    match found {
        ControlFlow::Break(receiver) => receiver,
        ControlFlow::Continue(()) => NIL,
    }
}
