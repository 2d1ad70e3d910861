//! Whether a program has signal handlers: those may wake a fiber that nothing else would.
//!
//! Ruby tells what a signal has only to who puts another handler there. But it marks its handlers, and nothing else that
//! is a Proc, for the virtual machine; of that its library `objspace` is told, and so are we.

use std::ffi::{CStr, c_char, c_void};

use rb_sys::VALUE;

/// How many signal handlers are blocks, or other Procs.
pub(crate) fn count() -> usize {
    // SAFETY: a lookup by name; nothing is loaded.
    let reach = unsafe { libc::dlsym(libc::RTLD_DEFAULT, REACH.as_ptr()) };
    if reach.is_null() {
        return 0;
    }
    // SAFETY: so Ruby declares it for its library `objspace`.
    let reach: Reach = unsafe { std::mem::transmute(reach) };
    let mut procs = 0_usize;
    // SAFETY: called with the GVL, and no collection is running; `look` gets the count, and allocates nothing.
    unsafe { reach(look, (&raw mut procs).cast()) };
    procs
}

/// What each object is handed to that the collector begins with.
unsafe extern "C" fn look(category: *const c_char, object: VALUE, procs: *mut c_void) {
    // SAFETY: Ruby hands over a string of its own and a live object; the count is the one that `count` began.
    unsafe {
        if CStr::from_ptr(category) == MACHINE && rb_sys::rb_obj_is_proc(object) == rb_sys::Qtrue as VALUE {
            *procs.cast::<usize>() += 1;
        }
    }
}

type Reach = unsafe extern "C" fn(unsafe extern "C" fn(*const c_char, VALUE, *mut c_void), *mut c_void);

const REACH: &CStr = c"rb_objspace_reachable_objects_from_root";
const MACHINE: &CStr = c"vm";
