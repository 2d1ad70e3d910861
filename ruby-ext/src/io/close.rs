//! Closing what others wait on.
//!
//! close(2) under a receive in flight wakes nobody, and the number would be used again under the
//! pending operation. So whoever waits gets the error that stock Ruby gives, its operation comes home,
//! and only then is the descriptor closed.

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
    if let Some(file) = OpenFile::of(io) {
        let_go(ruby, file.fd())?;
    }
    original(ruby, args)
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
