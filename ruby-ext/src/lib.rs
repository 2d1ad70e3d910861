//! The Ruby host: Ruby's own fibers over `polyphony-core`.
//!
//! What is here is what must be fast, or must touch Ruby's insides; policy is Ruby (`gem/lib`). Loading
//! the extension changes no class of Ruby's: it defines the module `Polyphony`, and in it the modules that
//! the drop-in prepends.

#![allow(missing_docs, reason = "the only public item is the entry point that the macro makes")]

mod blocking;
mod deflate;
mod errors;
mod fork;
mod gvl;
mod hooks;
mod io;
mod line;
mod mailbox;
mod open_file;
mod paths;
mod process;
mod queue;
mod ractor;
mod recall;
mod roots;
mod ruby_api;
mod scheduler;
mod socket;
mod time;
mod traps;
mod write_lock;

use magnus::{Error, Ruby, TypedData, prelude::*};

#[magnus::init]
fn init(ruby: &Ruby) -> Result<(), Error> {
    ractor::watch();
    fork::watch();
    let polyphony = ruby.define_module("Polyphony")?;
    ruby_api::define(ruby, polyphony)?;
    let native = polyphony.define_module("Native")?;
    socket::define(native)?;
    paths::define(native)?;
    process::define(native)?;
    hooks::define(native)?;
    hooks::define_class(ruby, polyphony)?;
    io::splice::define(native)?;
    deflate::define(ruby, native)?;
    let extensions = polyphony.define_module("Extensions")?;
    socket::define_listeners(extensions)?;
    recall::define(ruby, polyphony)?;
    queue::define(ruby, polyphony, extensions)?;
    mailbox::define(polyphony, extensions)?;
    io::define(extensions.define_module("IO")?)?;
    make_what_is_made_once(ruby);
    Ok(())
}

/// While nobody else runs. Where Ruby is called to make it another thread may have its turn, and would wait for the first,
/// and keep Ruby's lock.
fn make_what_is_made_once(ruby: &Ruby) {
    line::Line::class(ruby);
    scheduler::Scheduler::class(ruby);
    deflate::make_what_is_made_once(ruby);
    queue::make_what_is_made_once();
    mailbox::make_what_is_made_once();
    scheduler::make_what_is_made_once();
}
