//! What a fiber has of its own: values, and what is done when it ends.

use std::ffi::{c_int, c_void};

use polyphony_core::native::{self, Errno, Key, Result};

use crate::boundary::{done, put, wanted};

/// What each fiber has a value of its own for.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct poly_local_key {
    /// Meaningless.
    pub id: u32,
}

/// A call with an argument.
pub type poly_callback = Option<unsafe extern "C" fn(argument: *mut c_void)>;

/// No process has more keys.
pub const POLY_MOST_LOCAL_KEYS: u32 = 1024;
const _: () = assert!(POLY_MOST_LOCAL_KEYS as usize == Key::MOST);

/// A call that will be made later, perhaps on another thread.
pub(crate) struct Callback(unsafe extern "C" fn(*mut c_void), *mut c_void);

// SAFETY: the caller gave the argument to whatever thread its fiber ends on.
unsafe impl Send for Callback {}

impl Callback {
    pub(crate) fn new(callback: poly_callback, argument: *mut c_void) -> Result<Self> {
        callback.map(|callback| Callback(callback, argument)).ok_or(Errno::new(libc::EINVAL))
    }

    pub(crate) fn make(self) {
        // SAFETY: the caller says that this may be called.
        unsafe { (self.0)(self.1) }
    }
}

/// Makes a key, for which every fiber has a value of its own: NULL until it sets one. A key lives as long as the
/// process. When a fiber ends whose value is not NULL, `destructor(value)` is called in that fiber, if it is not
/// NULL; it may suspend, and nothing ends its calls. If it sets new values their destructors are called, too, four
/// times at most.
///
/// Unlike a variable of a thread the value goes with the fiber wherever it runs.
/// Never suspends. Any thread.
/// Returns 0; -EINVAL for NULL; -EAGAIN where there are `POLY_MOST_LOCAL_KEYS` keys. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_local_key_create(destructor: poly_callback, key: *mut poly_local_key) -> c_int {
    done(|| {
        wanted(key)?;
        // SAFETY: the caller says that the destructor may be called; the output is not null.
        unsafe { put(key, poly_local_key { id: Key::new(destructor)?.number() }) }
    })
}

/// Gives the calling fiber its value for a key. What was there before is not destroyed.
///
/// Never suspends. Fibers only.
/// Returns 0; -EINVAL for what is no key; -EPERM outside a fiber. Since 2.0.
#[unsafe(no_mangle)]
pub extern "C" fn poly_local_set(key: poly_local_key, value: *mut c_void) -> c_int {
    done(|| Key::from_number(key.id)?.set(value))
}

/// The calling fiber's value for a key; NULL where it has set none, outside a fiber, and for what is no key.
///
/// Never suspends. Any thread. Since 2.0.
#[unsafe(no_mangle)]
pub extern "C" fn poly_local_get(key: poly_local_key) -> *mut c_void {
    let value = std::panic::catch_unwind(|| Key::from_number(key.id).and_then(Key::get));
    value.ok().and_then(|value| value.ok()).unwrap_or(std::ptr::null_mut())
}

/// Has `callback(argument)` called when the calling fiber ends: when its function has returned, whatever made it
/// return, and its scopes are closed. Of several the last is called first. It is called in the fiber, before who
/// joins it goes on; it may suspend, and nothing ends its calls. In the child of a fork it is not called.
///
/// Never suspends. Fibers only.
/// Returns 0; -EINVAL for NULL; -EPERM outside a fiber. Since 2.0.
#[unsafe(no_mangle)]
pub extern "C" fn poly_on_exit(callback: poly_callback, argument: *mut c_void) -> c_int {
    done(|| {
        let callback = Callback::new(callback, argument)?;
        native::on_exit(move || callback.make())
    })
}
