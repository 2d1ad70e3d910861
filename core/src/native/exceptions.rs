//! The C++ exceptions of a fiber stay with it.
//!
//! C++ keeps a list of the exceptions that are being handled, and a count of those on their way, for each thread.
//! A fiber that suspends in a handler, or in a destructor while it unwinds, would leave both to the next fiber of
//! its thread. So it takes them along: they stand on its stack while it is suspended, and nobody has any whenever
//! a worker is off all stacks but its own.
//!
//! A process without C++ pays for a look at one pointer. Where the runtime of C++ is linked into a program without
//! a name that the dynamic linker knows, it is not found, and handlers must not suspend.

use std::{
    ffi::CStr,
    mem::{self, MaybeUninit},
    ptr,
    sync::atomic::{AtomicPtr, Ordering},
};

use libc::{c_uint, c_void};

/// `__cxa_eh_globals`, as the C++ ABI has it.
#[repr(C)]
#[derive(Clone, Copy)]
struct Exceptions {
    handled: *mut c_void,
    on_their_way: c_uint,
}

const NONE: Exceptions = Exceptions { handled: ptr::null_mut(), on_their_way: 0 };

/// `__cxa_get_globals`: the calling thread's, which are there as long as the thread.
type Current = unsafe extern "C" fn() -> *mut Exceptions;

/// Null where there is no C++.
static CURRENT: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());

/// Looks for the runtime of C++ among what is loaded.
pub(crate) fn find() {
    if CURRENT.load(Ordering::Relaxed).is_null() {
        CURRENT.store(current(), Ordering::Relaxed);
    }
}

/// Runs `suspend`, which leaves this stack and comes back to it, maybe on another thread.
///
/// `suspend` stands here once, and always inlined: else a return more would follow each switch, and the processor
/// foresees none of these.
#[inline(always)]
pub(crate) fn keep(suspend: impl FnOnce()) {
    let mut mine = MaybeUninit::uninit();
    let is_there = !CURRENT.load(Ordering::Relaxed).is_null();
    if is_there {
        mine.write(replace(NONE));
    }
    suspend();
    if is_there {
        // SAFETY: written above, under the same condition.
        put_back(unsafe { mine.assume_init_ref() });
    }
}

#[cold]
fn put_back(mine: &Exceptions) {
    if !mine.handled.is_null() || mine.on_their_way != 0 {
        replace(*mine);
    }
}

/// Asks for this thread's anew each time: a fiber may have moved (N2).
#[cold]
#[inline(never)]
fn replace(exceptions: Exceptions) -> Exceptions {
    let current = CURRENT.load(Ordering::Relaxed);
    // SAFETY: not null, by the callers, and then it is the function of that name, which any thread may call; what
    // it points to is this thread's own.
    unsafe { mem::replace(&mut *mem::transmute::<*mut c_void, Current>(current)(), exceptions) }
}

fn current() -> *mut c_void {
    const NAME: &CStr = c"__cxa_get_globals";
    // SAFETY: names that end with a zero. A library that is not loaded is not loaded now; one that is stays, for
    // what dlopen gives is never closed.
    unsafe {
        let global = libc::dlsym(libc::RTLD_DEFAULT, NAME.as_ptr());
        if !global.is_null() {
            return global;
        }
        // Out of sight where a program has loaded what is written in C++ for itself alone.
        let runtimes = [c"libstdc++.so.6", c"libc++abi.so.1"];
        let loaded = runtimes.map(|name| libc::dlopen(name.as_ptr(), libc::RTLD_LAZY | libc::RTLD_NOLOAD));
        let handle = loaded.into_iter().find(|handle| !handle.is_null());
        handle.map_or(ptr::null_mut(), |handle| libc::dlsym(handle, NAME.as_ptr()))
    }
}
