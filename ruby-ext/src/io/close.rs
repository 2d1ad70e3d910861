//! Closing what others wait on.
//!
//! close(2) under a receive in flight wakes nobody, and the number would be used again under the
//! pending operation. So whoever waits gets the error that stock Ruby gives, its operation comes home,
//! and only then is the descriptor closed. What was written and is buffered goes out before.

use magnus::{Error, RModule, Ruby, Value, method, prelude::*};

use super::original;
use crate::{
    errors,
    open_file::OpenFile,
    ractor,
    scheduler::{self, Scheduler},
};

pub(super) fn define(module: RModule) -> Result<(), Error> {
    module.define_method("close", method!(close, -1))?;
    Ok(())
}

fn close(ruby: &Ruby, io: Value, args: &[Value]) -> Result<Value, Error> {
    let written = write_out(io);
    if written.as_ref().is_err_and(|error| !is_of_system(ruby, error)) {
        return written.and_then(|()| original(ruby, args)); // cancelled: it can be closed again
    }
    if let Some(file) = OpenFile::of(io) {
        let_go(ruby, file.fd())?;
    }
    let closed = original(ruby, args);
    written.and(closed)
}

/// Writes what Ruby has buffered, so that closing need not wait for whoever is to read it with the thread held.
fn write_out(io: Value) -> Result<(), Error> {
    let unwritten = Scheduler::current().is_some() && OpenFile::of(io).is_some_and(OpenFile::has_unwritten);
    if unwritten { io.funcall::<_, _, Value>("flush", ()).map(drop) } else { Ok(()) }
}

fn is_of_system(ruby: &Ruby, error: &Error) -> bool {
    error.is_kind_of(ruby.exception_system_call_error())
}

/// Ends every wait on a descriptor, in whichever thread.
pub(crate) fn let_go(ruby: &Ruby, fd: i32) -> Result<(), Error> {
    if !ractor::is_main() {
        return Ok(());
    }
    for scheduler in scheduler::all() {
        for name in scheduler.waiting_on(fd) {
            let error = errors::io(ruby, "stream closed in another thread");
            scheduler.schedule(name, errors::exception(ruby, error)?, false);
        }
    }
    let Some(scheduler) = Scheduler::current() else { return Ok(()) };
    while scheduler.in_flight_on(fd) > 0 {
        scheduler.snooze()?;
    }
    scheduler.end_writing(fd);
    Ok(())
}
