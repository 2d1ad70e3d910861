//! Waiting until a descriptor is ready.

use std::time::Duration;

use magnus::{Error, RModule, Ruby, Value, method, prelude::*};
use polyphony_core::op::Op;

use super::original;
use crate::{
    errors,
    open_file::OpenFile,
    roots::Keep,
    scheduler::{Scheduler, Woken},
    time,
};

pub(super) fn define(module: RModule) -> Result<(), Error> {
    module.define_method("wait_readable", method!(wait_readable, -1))?;
    module.define_method("wait_writable", method!(wait_writable, -1))?;
    Ok(())
}

fn wait_readable(ruby: &Ruby, io: Value, args: &[Value]) -> Result<Value, Error> {
    wait(ruby, io, args, libc::POLLIN)
}

fn wait_writable(ruby: &Ruby, io: Value, args: &[Value]) -> Result<Value, Error> {
    wait(ruby, io, args, libc::POLLOUT)
}

fn wait(ruby: &Ruby, io: Value, args: &[Value], events: i16) -> Result<Value, Error> {
    let Some(scheduler) = super::unless_frozen(io) else { return original(ruby, args) };
    let Some(file) = OpenFile::of(io) else { return original(ruby, args) };
    if !file.can_wait_for(events) {
        return original(ruby, args); // which says why not
    }
    if events == libc::POLLIN && !file.buffered().is_empty() {
        return Ok(io);
    }
    if events == libc::POLLOUT {
        file.go_back()?;
    }
    let limit = args.first().map(|limit| time::span(ruby, *limit)).transpose()?.flatten();
    match poll(ruby, scheduler, file.fd(), events as u32, limit)? {
        Polled::Ready(_) => Ok(io),
        Polled::Late => Ok(ruby.qnil().as_value()),
        Polled::Woken(value) => Ok(value),
    }
}

/// How a wait for readiness ended.
pub(crate) enum Polled {
    Ready(u32),
    Late,
    Woken(Value),
}

/// Waits for events on a descriptor.
pub(crate) fn poll(
    ruby: &Ruby,
    scheduler: &Scheduler,
    fd: i32,
    events: u32,
    limit: Option<Duration>,
) -> Result<Polled, Error> {
    let performed = scheduler.perform_until(Op::Poll { fd, events }, |_| Keep::Nothing, limit);
    match performed.woken {
        Some(Woken::Error(error)) => return Err(error),
        Some(Woken::Value(value)) => return Ok(Polled::Woken(value)),
        None => {}
    }
    match performed.outcome.result {
        ready if ready >= 0 => Ok(Polled::Ready(ready as u32)),
        result if result == -libc::ECANCELED && limit.is_some() => Ok(Polled::Late),
        result if result == -libc::ECANCELED => Err(errors::io(ruby, "stream closed in another thread")),
        result => Err(errors::system(ruby, -result, "poll")),
    }
}
