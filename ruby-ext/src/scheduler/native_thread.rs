//! Which thread of the system runs a Ruby thread: always the same, once it has a scheduler.
//!
//! Since 3.3, Ruby runs the threads of a Ractor (and all of them under `RUBY_MN_THREADS`) on whichever thread of the
//! system is free. Its own switch from fiber to fiber may keep the address of a thread-local meanwhile: compiled by
//! newer compilers, it crashes when a fiber goes on elsewhere than where it stopped.

use std::{ffi::CStr, mem, time::Duration};

use magnus::{Error, RClass, Ruby, Value, prelude::*};

/// Has the calling Ruby thread run on the system's thread that it is on, and no other Ruby thread there.
pub(super) fn keep() {
    // SAFETY: a lookup by name, which Rubies before 3.3 do not have; nothing is loaded.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, NAME.as_ptr()) };
    if found.is_null() {
        return;
    }
    // SAFETY: ruby/thread.h declares it so.
    let lock: extern "C" fn() -> bool = unsafe { mem::transmute(found) };
    lock();
}

/// Whether the calling Ruby thread may be run by another thread of the system all the same: in a Ractor of Ruby 3.3. The
/// ring of one cannot be entered by the other: a wait there failed again and again, in 16 of 200 runs of a small program.
pub(super) fn may_change(ruby: &Ruby) -> Result<bool, Error> {
    let version: String = ruby.class_object().const_get("RUBY_VERSION")?;
    if !version.starts_with("3.3.") {
        return Ok(false);
    }
    let ractor: RClass = ruby.class_object().const_get("Ractor")?;
    let (current, main): (Value, Value) = (ractor.funcall("current", ())?, ractor.funcall("main", ())?);
    Ok(!current.equal(main)?)
}

/// The clock that tells what the calling thread uses of the processor.
pub(super) fn clock() -> libc::clockid_t {
    let mut clock = libc::CLOCK_MONOTONIC;
    // SAFETY: the running thread, and a place for the answer; where there is none the clock stays the other one.
    unsafe { libc::pthread_getcpuclockid(libc::pthread_self(), &raw mut clock) };
    clock
}

/// What a thread has used of the processor; nothing where it has ended.
pub(super) fn used(clock: libc::clockid_t) -> Duration {
    let mut used = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a place for the answer, which is left as it is where there is none.
    unsafe { libc::clock_gettime(clock, &raw mut used) };
    Duration::new(used.tv_sec.unsigned_abs(), used.tv_nsec as u32)
}

const NAME: &CStr = c"rb_thread_lock_native_thread";
