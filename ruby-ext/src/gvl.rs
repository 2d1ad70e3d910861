//! Leaving the GVL while the kernel is waited for, and hearing of interrupts at one place.
//!
//! The wait itself never raises (`RB_NOGVL_INTR_FAIL`): it refuses to start with an interrupt pending,
//! and an interrupt that comes later ends it through the shard's waker. Whoever waits then asks for the
//! interrupts, under protect, where nothing is borrowed.

use std::{
    ffi::c_void,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
};

use magnus::{
    Error, Value,
    prelude::*,
    rb_sys::{FromRawValue, protect},
};
use polyphony_core::backend::{Wait, Waker};

/// Blocks on a wait without the GVL. An interrupt ends it; false where one kept it from starting.
pub(crate) fn block<W: Wait>(wait: &mut W, waker: &Waker) -> std::io::Result<bool> {
    struct Blocking<'a, W> {
        wait: &'a mut W,
        result: std::io::Result<bool>,
    }

    unsafe extern "C" fn run<W: Wait>(data: *mut c_void) -> *mut c_void {
        // SAFETY: `data` is the `Blocking` below, which outlives the call and which nobody else uses.
        let blocking = unsafe { &mut *data.cast::<Blocking<'_, W>>() };
        blocking.result = blocking.wait.block().map(|()| true);
        std::ptr::null_mut()
    }

    unsafe extern "C" fn interrupt(data: *mut c_void) {
        // SAFETY: `data` is the waker below, alive until the call has returned.
        unsafe { &*data.cast::<Waker>() }.wake();
    }

    let mut blocking = Blocking { wait, result: Ok(false) };
    // SAFETY: both functions get what they expect; neither calls Ruby; waking is async-signal-safe.
    unsafe {
        rb_sys::rb_nogvl(
            Some(run::<W>),
            (&raw mut blocking).cast(),
            Some(interrupt),
            std::ptr::from_ref(waker).cast_mut().cast(),
            (rb_sys::RB_NOGVL_INTR_FAIL | rb_sys::RB_NOGVL_UBF_ASYNC_SAFE) as i32,
        );
    }
    blocking.result
}

/// Does what takes long, is bounded and knows nothing of Ruby without the GVL; with it where an interrupt is pending,
/// which then is heard of as soon as Ruby code runs.
pub(crate) fn without<R>(work: impl FnOnce() -> R) -> R {
    struct Working<F, R> {
        work: Option<F>,
        result: Option<std::thread::Result<R>>,
    }

    unsafe extern "C" fn run<F: FnOnce() -> R, R>(data: *mut c_void) -> *mut c_void {
        // SAFETY: `data` is the `Working` below, which outlives the call and which nobody else uses.
        let working = unsafe { &mut *data.cast::<Working<F, R>>() };
        let work = working.work.take();
        // A panic must not go through Ruby's frames.
        working.result = work.map(|work| catch_unwind(AssertUnwindSafe(work)));
        std::ptr::null_mut()
    }

    fn begin<F: FnOnce() -> R, R>(working: &mut Working<F, R>) {
        // SAFETY: the function gets what it expects and does not call Ruby. Nothing interrupts it, and told to fail
        // it raises nothing.
        unsafe {
            let data = std::ptr::from_mut(working).cast();
            let flags = rb_sys::RB_NOGVL_INTR_FAIL as i32;
            rb_sys::rb_nogvl(Some(run::<F, R>), data, None, std::ptr::null_mut(), flags);
        }
    }

    let mut working = Working { work: Some(work), result: None };
    begin(&mut working);
    match (working.result, working.work) {
        (Some(Ok(result)), _) => result,
        (Some(Err(panic)), _) => resume_unwind(panic),
        (None, work) => work.expect("it is taken where there is a result")(),
    }
}

/// Whether the calling Ruby thread has a signal or an exception pending.
pub(crate) fn is_interrupted() -> bool {
    // SAFETY: called with the GVL, for the calling thread.
    unsafe { rb_sys::rb_thread_interrupted(rb_sys::rb_thread_current()) != 0 }
}

/// Whether the calling Ruby thread has an exception pending, also one that it is kept from hearing of for now.
pub(crate) fn is_to_raise() -> Result<bool, Error> {
    if is_interrupted() {
        return Ok(true);
    }
    // SAFETY: called with the GVL.
    unsafe { Value::from_raw(rb_sys::rb_thread_current()) }.funcall("pending_interrupt?", ())
}

/// Lets another thread of Ruby's have the GVL, where one waits for it. Hears of interrupts, too.
pub(crate) fn pass() -> Result<(), Error> {
    protect(|| {
        // SAFETY: under protect: whatever it raises is caught.
        unsafe { rb_sys::rb_thread_schedule() };
        super::roots::NIL
    })
    .map(drop)
}

/// Runs trap handlers and hears of exceptions from other threads and of `Thread#kill`.
pub(crate) fn check_interrupts() -> Result<(), Error> {
    protect(|| {
        // SAFETY: under protect: whatever it raises is caught.
        unsafe { rb_sys::rb_thread_check_ints() };
        super::roots::NIL
    })
    .map(drop)
}
