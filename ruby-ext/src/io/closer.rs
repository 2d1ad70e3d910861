//! Who closes a file waits until the other threads that are inside a call on it have heard of that; here they let
//! it go on.
//!
//! Each of those threads holds a lock of the closing one while it wakes it. Where that has a scheduler, Ruby 3.3 and
//! 3.4 wake it by `unblock` alone, although a fiber that blocks sleeps with its thread; and the `IOError` that the
//! waking thread is about to raise comes when `unblock` returns, before the lock is let go: it keeps the lock as long
//! as it lives, and the closing fiber waits for that. Ruby 3.1 has neither fault.
//!
//! The lock is shown to nobody. But it stands on the stack of the fiber that closes, where the collector sees it.

use std::ffi::{CStr, c_void};

use magnus::{
    Error, Value,
    rb_sys::{AsRawValue, protect},
};
use rb_sys::{
    ID, VALUE,
    macros::{RTYPEDDATA_GET_DATA, RTYPEDDATA_P, RTYPEDDATA_TYPE},
};

use crate::{gvl, roots::NIL};

/// After `unblock` was called for a fiber of this thread: wakes the thread, too, where `blocks` says that the fiber
/// may have stopped it; and no lock of the fiber's is kept by what the calling thread is about to raise.
pub(crate) fn wake(thread: Value, fiber: Value, blocks: bool) -> Result<(), Error> {
    if blocks {
        // SAFETY: a live thread; one that has ended is left alone. Nothing is raised.
        unsafe { rb_sys::rb_thread_wakeup_alive(thread.as_raw()) };
    }
    if !gvl::is_to_raise()? {
        return Ok(());
    }
    if let Some(lock) = Search::lock_kept_from(fiber) {
        // SAFETY: of the calling thread, and with a lock that Ruby marks as long as the function may be called.
        unsafe {
            let caller = rb_sys::rb_thread_current();
            rb_sys::rb_thread_add_event_hook(caller, Some(let_go), rb_sys::RUBY_EVENT_RAISE, lock);
        }
    }
    Ok(())
}

/// Called once, as the thread raises next. Where that was put off, Ruby has let go of the lock itself.
unsafe extern "C" fn let_go(_event: u32, lock: VALUE, _self: VALUE, _method: ID, _class: VALUE) {
    // SAFETY: called with the GVL; the lock is the one that the hook was added with.
    let (caller, is_kept) = unsafe {
        let kept = hidden_lock(lock).is_some_and(|lock| lock.owner == running());
        (rb_sys::rb_thread_current(), kept)
    };
    // What goes wrong is nobody's concern: the caller is about to raise.
    let _ = protect(|| {
        // SAFETY: the hook of this call; a lock of the running fiber. Under protect: what is raised is caught.
        unsafe {
            rb_sys::rb_thread_remove_event_hook_with_data(caller, Some(let_go), lock);
            if is_kept { rb_sys::rb_mutex_unlock(lock) } else { NIL }
        }
    });
}

/// The running fiber, as Ruby's locks know it.
fn running() -> *mut c_void {
    // SAFETY: called with the GVL, from a fiber, which is a typed object of Ruby's.
    unsafe { RTYPEDDATA_GET_DATA(rb_sys::rb_fiber_current()) }
}

/// Looks for a lock that Ruby keeps from programs, and that the running fiber has.
struct Search {
    owner: *mut c_void,
    found: Option<VALUE>,
}

impl Search {
    /// The one that stands on a fiber's stack.
    fn lock_kept_from(fiber: Value) -> Option<VALUE> {
        // SAFETY: a lookup by name; nothing is loaded.
        let reach = unsafe { libc::dlsym(libc::RTLD_DEFAULT, REACH.as_ptr()) };
        if reach.is_null() {
            return None;
        }
        // SAFETY: so Ruby declares it for its library `objspace`.
        let reach: Reach = unsafe { std::mem::transmute(reach) };
        let mut search = Search { owner: running(), found: None };
        // SAFETY: a live fiber, and no collection is running; `look` gets the search, and allocates nothing.
        unsafe { reach(fiber.as_raw(), look, (&raw mut search).cast()) };
        search.found
    }

    /// Of several the one that was locked last.
    fn see(&mut self, object: VALUE) {
        // SAFETY: the collector names live objects only.
        let Some(lock) = (unsafe { hidden_lock(object) }) else { return };
        let is_later = |found: VALUE| {
            // SAFETY: found as this one was.
            unsafe { hidden_lock(found) }.is_some_and(|found| lock.earlier == std::ptr::from_ref(found))
        };
        if lock.owner == self.owner && self.found.is_none_or(is_later) {
            self.found = Some(object);
        }
    }
}

/// What each object is handed to that a fiber's stacks hold.
unsafe extern "C" fn look(object: VALUE, search: *mut c_void) {
    // SAFETY: the search that `lock_kept_from` began, which nobody else has.
    unsafe { &mut *search.cast::<Search>() }.see(object);
}

/// How Ruby's own record of a lock begins, in 3.3 and 3.4.
#[repr(C)]
struct Lock {
    owner: *mut c_void,
    thread: VALUE,
    /// What the owner's thread had locked before.
    earlier: *const Lock,
}

/// The record of a lock that has no class.
///
/// # Safety
/// The object is alive.
unsafe fn hidden_lock<'a>(object: VALUE) -> Option<&'a Lock> {
    if rb_sys::SPECIAL_CONST_P(object) {
        return None;
    }
    // SAFETY: alive, says the caller; that it is a lock is seen before it is taken for one.
    unsafe {
        if (*(object as *const rb_sys::RBasic)).klass != 0
            || !rb_sys::RB_TYPE_P(object, rb_sys::ruby_value_type::RUBY_T_DATA)
            || !RTYPEDDATA_P(object)
            || CStr::from_ptr((*RTYPEDDATA_TYPE(object)).wrap_struct_name) != LOCK
        {
            return None;
        }
        RTYPEDDATA_GET_DATA(object).cast::<Lock>().as_ref()
    }
}

type Reach = unsafe extern "C" fn(VALUE, unsafe extern "C" fn(VALUE, *mut c_void), *mut c_void);

const REACH: &CStr = c"rb_objspace_reachable_objects_from";
const LOCK: &CStr = c"mutex";
