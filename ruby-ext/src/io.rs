//! What IO does where a scheduler runs.
//!
//! A reading method waits until Ruby's read buffer holds what it needs, or the stream has ended, and
//! then *is* the original: separators, limits, encodings, `$_`, `lineno` and errors are Ruby's own. A
//! writing method writes itself, where Ruby would not buffer or convert; else it is the original.
//!
//! These methods are defined in Rust not for speed alone: `gets` sets the `$_` of the Ruby frame that
//! calls it, and a Ruby method in between would be that frame.

pub(crate) mod attempt;
mod close;
pub(crate) mod closer;
mod closing;
mod flow;
mod lines;
mod litter;
mod places;
mod poll;
mod read;
pub(crate) mod splice;
mod text;
mod turns;
mod write;

use magnus::{
    Error, RModule, Ruby, Value,
    rb_sys::{FromRawValue, protect},
};

pub(crate) use close::let_go;
pub(crate) use flow::Flow;
pub(crate) use litter::Litter;
pub(crate) use poll::{Polled, poll};
pub(crate) use turns::Turns;
pub(crate) use write::{bytes as string_bytes, frozen, write_in_place};

/// Defines the methods in the module that is prepended to IO.
pub(crate) fn define(module: RModule) -> Result<(), Error> {
    read::define(module)?;
    lines::define(module)?;
    write::define(module)?;
    places::define(module)?;
    poll::define(module)?;
    close::define(module)
}

/// Calls the original with the very arguments, keywords and block of this call.
pub(crate) fn original(ruby: &Ruby, args: &[Value]) -> Result<Value, Error> {
    let _ = ruby;
    // Numbers, not the slice: Ruby passes null for no arguments, which a slice must not be, and a closure
    // that holds such a slice looks like none at all.
    let (argc, argv) = (args.len() as i32, args.as_ptr());
    let raw = protect(|| {
        // Keywords stay keywords: a Hash in their place is another call form.
        // SAFETY: called from a method that Ruby called with these arguments; `Value` is a transparent VALUE.
        unsafe { rb_sys::rb_call_super_kw(argc, argv.cast(), rb_sys::rb_keyword_given_p()) }
    })?;
    // SAFETY: what a Ruby method returned.
    Ok(unsafe { Value::from_raw(raw) })
}
