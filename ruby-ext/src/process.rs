//! Waiting for child processes without holding the thread.
//!
//! The kernel is asked to tell when a child has something to say, and to leave it there (`WNOWAIT`).
//! Ruby's own `Process.wait` then takes it, at once, in the fiber that asked: `$?` is right, and a wait
//! that is cancelled has taken nothing.

use magnus::{Error, RModule, Ruby, Value, function, prelude::*, rb_sys::FromRawValue};
use polyphony_core::op::Op;

use crate::{
    errors,
    roots::Keep,
    scheduler::{Scheduler, Woken},
};

/// Defines the primitive in the module of the gem's own functions.
pub(crate) fn define(module: RModule) -> Result<(), Error> {
    module.define_singleton_method("await_process", function!(await_process, 2))?;
    module.define_singleton_method("make_last_status", function!(make_last_status, 2))
}

/// Makes a `Process::Status` of what waitpid(2) says: `$?` of the calling thread.
fn make_last_status(pid: i32, status: i32) -> Value {
    // SAFETY: called with the GVL; what is `$?` is a live object.
    unsafe {
        rb_sys::rb_last_status_set(status, pid);
        Value::from_raw(rb_sys::rb_last_status_get())
    }
}

/// Waits until a child that `pid` names can be waited for with `flags` (both as in waitpid(2)). Takes nothing.
fn await_process(ruby: &Ruby, pid: i32, flags: i32) -> Result<Value, Error> {
    let scheduler = Scheduler::current()
        .ok_or_else(|| Error::new(ruby.exception_runtime_error(), "no scheduler runs in this thread"))?;
    let (kind, id) = match pid {
        -1 => (libc::P_ALL, 0),
        0 => (libc::P_PGID, 0),
        pid if pid < 0 => (libc::P_PGID, pid.unsigned_abs()),
        pid => (libc::P_PID, pid as u32),
    };
    // WUNTRACED is WSTOPPED: a child that stops is news too, for whoever asks.
    let options = libc::WEXITED | libc::WNOWAIT | flags & (libc::WSTOPPED | libc::WCONTINUED);
    let op = Op::WaitId { kind, id, info: std::ptr::null_mut(), options };
    let performed = scheduler.perform(op, |_| Keep::Nothing);
    match performed.woken {
        Some(Woken::Error(error)) => return Err(error),
        Some(Woken::Value(value)) => return Ok(value),
        None => {}
    }
    match performed.outcome.result {
        // Nobody to wait for: the original says so.
        result if result >= 0 || matches!(-result, libc::EINTR | libc::ECHILD) => Ok(ruby.qnil().as_value()),
        result => Err(errors::system(ruby, -result, "waitid(2)")),
    }
}
