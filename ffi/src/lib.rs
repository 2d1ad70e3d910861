//! `libpolyphony`: the native host for C, and the core for hosts that others write (`host`).
//!
//! Each module is a section of `include/polyphony.h`, which is generated from these files and says what
//! C programmers need to know. Nothing here thinks: it checks what it is given, calls the core, and turns
//! the answer into a number.
//!
//! Three rules hold for every function. No panic leaves it ([`boundary`]). Results are >= 0 or a negative
//! error number, and `errno` is as it was. Outputs are written on success only.
#![allow(non_camel_case_types, reason = "the names are C's")]
#![allow(clippy::missing_safety_doc, reason = "the contract is the header's, and said there once for all")]

pub mod boundary;
pub mod buffer;
pub mod channel;
pub mod debug;
pub mod error;
pub mod fiber;
pub mod file;
pub mod host;
pub mod io;
pub mod local;
pub mod net;
pub mod operation;
pub mod process;
pub mod runtime;
pub mod scope;
pub mod signal;
pub mod sync;
pub mod timer;
