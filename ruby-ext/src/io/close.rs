//! Closing what others wait on.
//!
//! close(2) under a receive in flight wakes nobody, and the number would be used again under the
//! pending operation. So whoever waits gets the error that stock Ruby gives, its operation comes home,
//! and only then is the descriptor closed.
//!
//! Before all that, what Ruby has buffered is written, which may take as long as somebody else likes. A
//! close that is cancelled there leaves the IO open, with the bytes that are not out yet. From then on it is not
//! cancelled: where Ruby waits for other threads that are inside a call on the IO, it has forgotten the descriptor.

use magnus::{Error, ExceptionClass, RModule, Ruby, Value, method, prelude::*};

use super::{original, write::written_through};
use crate::{
    errors,
    open_file::OpenFile,
    roots::NIL,
    scheduler::{self, Scheduler},
};

pub(super) fn define(module: RModule) -> Result<(), Error> {
    module.define_method("close", method!(close, -1))?;
    module.define_method("close_write", method!(close_write, -1))
}

fn close(ruby: &Ruby, io: Value, args: &[Value]) -> Result<Value, Error> {
    write_out(ruby, io)?;
    if let Some(file) = OpenFile::of(io) {
        let_go(ruby, file.fd())?;
        if !file.runs_command() {
            return shielded(|| original(ruby, args));
        }
    }
    original(ruby, args)
}

/// Keeps off what others raise in the fiber until `close` is over.
fn shielded(close: impl FnOnce() -> Result<Value, Error>) -> Result<Value, Error> {
    let Some(scheduler) = Scheduler::current() else { return close() };
    let _ = scheduler.shield(None);
    let closed = close();
    // SAFETY: called with the GVL.
    let unwinding = unsafe { rb_sys::rb_errinfo() } != NIL;
    scheduler.unshield(None, closed.is_ok(), unwinding)?;
    closed
}

fn close_write(ruby: &Ruby, io: Value, args: &[Value]) -> Result<Value, Error> {
    write_out(ruby, io)?;
    original(ruby, args)
}

/// Writes what Ruby has buffered of an IO, or of the one that it writes through. What the kernel refuses is
/// for the original to say, which closes all the same.
fn write_out(ruby: &Ruby, io: Value) -> Result<(), Error> {
    let (Some(_), Some(target)) = (super::unless_frozen(io), written_through(io)) else { return Ok(()) };
    if !OpenFile::of(target).is_some_and(OpenFile::has_unwritten) {
        return Ok(());
    }
    let refused: ExceptionClass = ruby.exception_system_call_error();
    match target.funcall::<_, _, Value>("flush", ()) {
        Err(error) if !error.is_kind_of(refused) => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Ends every wait on a descriptor, in whichever thread.
pub(crate) fn let_go(ruby: &Ruby, fd: i32) -> Result<(), Error> {
    loop {
        tell_who_waits(ruby, fd)?;
        let Some(scheduler) = Scheduler::current() else { return Ok(()) };
        while scheduler.in_flight_on(fd) > 0 {
            scheduler.snooze()?;
        }
        if scheduler.is_writing(fd) {
            scheduler.snooze()?; // whoever wrote has been woken before us, and lets go of Ruby's lock
        }
        // Who had not been told, for a part of it was out by then, has gone on with the rest.
        if scheduler.in_flight_on(fd) == 0 {
            scheduler.end_writing(fd);
            return Ok(());
        }
    }
}

fn tell_who_waits(ruby: &Ruby, fd: i32) -> Result<(), Error> {
    // Collected first: where Ruby makes an error a thread may end, and its scheduler be freed.
    let waiting: Vec<_> = scheduler::all()
        .into_iter()
        .flat_map(|scheduler| scheduler.waiting_on(fd).into_iter().map(|name| (scheduler.id(), name)))
        .collect();
    for (id, name) in waiting {
        let error = errors::exception(ruby, errors::io(ruby, "stream closed in another thread"))?;
        if let Some(scheduler) = scheduler::find(id) {
            scheduler.schedule(name, error, false);
        }
    }
    Ok(())
}
