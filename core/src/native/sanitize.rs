//! What sanitizers must be told of stacks, in the builds that they instrument; in all others there is nothing here.
//!
//! ThreadSanitizer believes in threads: each fiber gets a context of its own, in which it runs, whatever thread runs
//! it. Both switches of contexts are made by the worker, around the switch of stacks, so that what the functions in
//! between push to a context they pop from the same. AddressSanitizer marks the frames on a stack, and those that a
//! fiber leaves behind when it ends are marked for the next one: its stack begins without marks. Of its switches
//! the crate that makes them tells it.

pub(crate) use chosen::{Context, begin};

#[cfg(feature = "thread-sanitizer")]
mod chosen {
    use std::{cell::Cell, ffi::c_void, ptr};

    unsafe extern "C" {
        fn __tsan_get_current_fiber() -> *mut c_void;
        fn __tsan_create_fiber(flags: libc::c_uint) -> *mut c_void;
        fn __tsan_destroy_fiber(context: *mut c_void);
        fn __tsan_switch_to_fiber(context: *mut c_void, flags: libc::c_uint);
    }

    /// A fiber as ThreadSanitizer sees it; none while it does not run.
    pub(crate) struct Context(Cell<*mut c_void>);

    impl Context {
        pub(crate) const fn none() -> Self {
            Context(Cell::new(ptr::null_mut()))
        }

        /// Runs `resume`, which says whether the fiber has ended, as the fiber.
        #[inline(always)]
        pub(crate) fn run(&self, resume: impl FnOnce() -> bool) -> bool {
            // SAFETY: contexts are made here, switched to by the one worker that has the fiber, and destroyed
            // when it has ended and the worker is back in its own.
            unsafe {
                let worker = __tsan_get_current_fiber();
                if self.0.get().is_null() {
                    self.0.set(__tsan_create_fiber(0));
                }
                __tsan_switch_to_fiber(self.0.get(), 0);
                let ended = resume();
                __tsan_switch_to_fiber(worker, 0);
                if ended {
                    __tsan_destroy_fiber(self.0.replace(ptr::null_mut()));
                }
                ended
            }
        }
    }

    /// A stack begins.
    pub(crate) fn begin(_limit: usize, _base: usize) {}
}

#[cfg(not(feature = "thread-sanitizer"))]
mod chosen {
    /// A fiber needs no context here.
    pub(crate) struct Context;

    impl Context {
        pub(crate) const fn none() -> Self {
            Context
        }

        #[inline(always)]
        pub(crate) fn run(&self, resume: impl FnOnce() -> bool) -> bool {
            resume()
        }
    }

    #[cfg(feature = "address-sanitizer")]
    unsafe extern "C" {
        fn __asan_unpoison_memory_region(address: *const std::ffi::c_void, size: usize);
    }

    /// A stack begins.
    #[cfg(feature = "address-sanitizer")]
    pub(crate) fn begin(limit: usize, base: usize) {
        // SAFETY: the slot of a fiber that has not begun, but for its guard.
        unsafe { __asan_unpoison_memory_region(limit as *const _, base - limit) };
    }

    /// A stack begins.
    #[cfg(not(feature = "address-sanitizer"))]
    #[inline(always)]
    pub(crate) fn begin(_limit: usize, _base: usize) {}
}
