//! Ruby's exceptions, from the kernel's numbers and for our own reasons.

use magnus::{Error, Exception, Ruby, Value, error::ErrorType, prelude::*, rb_sys::AsRawValue};
use rb_sys::VALUE;

use crate::open_file::OpenFile;

/// The `SystemCallError` of an errno, saying what was tried.
pub(crate) fn system(ruby: &Ruby, errno: i32, tried: &str) -> Error {
    let made: Result<Exception, Error> = ruby.exception_system_call_error().funcall("new", (tried, errno));
    made.map_or_else(|error| error, Into::into)
}

/// The `SystemCallError` of an errno as stock Ruby gives it for an IO: with the path, where there is one.
pub(crate) fn of_io(ruby: &Ruby, io: Value, errno: i32, function: &str) -> Error {
    let class = ruby.exception_system_call_error();
    let made: Result<Exception, Error> = match OpenFile::of(io).and_then(OpenFile::path) {
        Some(path) => class.funcall("new", (path, errno, function)),
        None => class.funcall("new", (ruby.qnil(), errno)),
    };
    made.map_or_else(|error| error, Into::into)
}

/// The `SystemCallError` of stock Ruby's `io_fillbuf`, which names the descriptor, too.
pub(crate) fn of_filling(ruby: &Ruby, io: Value, errno: i32) -> Error {
    let Some(file) = OpenFile::of(io) else { return of_io(ruby, io, errno, "io_fillbuf") };
    let place = format!("fd:{} {}", file.fd(), file.path().unwrap_or_default());
    let made: Result<Exception, Error> =
        ruby.exception_system_call_error().funcall("new", (place, errno, "io_fillbuf"));
    made.map_or_else(|error| error, Into::into)
}

/// An `IOError`.
pub(crate) fn io(ruby: &Ruby, message: &'static str) -> Error {
    Error::new(ruby.exception_io_error(), message)
}

/// The exception behind an error, made if need be.
pub(crate) fn exception(ruby: &Ruby, error: Error) -> Result<Value, Error> {
    match error.error_type() {
        ErrorType::Exception(exception) => Ok(exception.as_value()),
        ErrorType::Error(class, message) => class.funcall("new", (ruby.str_new(message),)),
        ErrorType::Jump(_) => Err(error),
    }
}

/// Lets `error` remember the exception that it replaces, unless it has a cause already.
pub(crate) fn set_cause(error: &Error, earlier: &Error) {
    let (ErrorType::Exception(error), ErrorType::Exception(earlier)) =
        (error.error_type(), earlier.error_type())
    else {
        return;
    };
    let (error, earlier) = (error.as_raw(), earlier.as_raw());
    // SAFETY: live exceptions. Ruby keeps the cause in a variable of this name, invisible to Ruby code,
    // and sets it itself at the raise only where it is not set.
    unsafe {
        let cause = rb_sys::rb_intern2(c"cause".as_ptr(), 5);
        if error != earlier && rb_sys::rb_ivar_defined(error, cause) != rb_sys::Qtrue as VALUE {
            rb_sys::rb_ivar_set(error, cause, earlier);
        }
    }
}

/// Lets an exception that ended a write tell how many bytes went out: `Exception#bytes_written`.
pub(crate) fn tell_went_out(error: &Error, bytes: usize) {
    let ErrorType::Exception(exception) = error.error_type() else { return };
    // One that cannot be changed says nothing.
    let _: Result<Value, Error> = exception.funcall("instance_variable_set", ("@__bytes_written__", bytes));
}

/// An `ArgumentError`.
pub(crate) fn arg(ruby: &Ruby, message: &'static str) -> Error {
    Error::new(ruby.exception_arg_error(), message)
}
