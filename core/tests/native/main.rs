//! The native host: fibers on worker threads, over the real kernel.

mod cancellation;
mod deadlines;
mod fibers;
mod io;
mod memory;
mod scopes;
mod select;
mod sync;
mod workers;

use std::{
    os::fd::RawFd,
    process,
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use polyphony_core::native::{self, Errno, Options, Runtime};

/// Runs a test's body in a fiber of a fresh runtime of one worker, where fibers take turns as they come;
/// aborts with a message if it hangs.
fn in_a_fiber<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> T {
    in_a_fiber_of(1, body)
}

/// [`in_a_fiber`] of a runtime of so many workers.
fn in_a_fiber_of<T: Send + 'static>(workers: usize, body: impl FnOnce() -> T + Send + 'static) -> T {
    let _watched = watched();
    let runtime = Runtime::new(Options::with_workers(workers)).expect("a runtime");
    let value = runtime.run(body).expect("the body neither panics nor is cancelled");
    let left = runtime.snapshot().expect("a snapshot");
    assert_eq!((left.in_flight, left.timers), (0, 0), "something was left behind");
    value
}

/// While it lives the test may run; after a minute without an end the process aborts.
fn watched() -> mpsc::Sender<()> {
    let (alive, watch) = mpsc::channel::<()>();
    let name = thread::current().name().unwrap_or("a test").to_owned();
    thread::spawn(move || {
        if watch.recv_timeout(Duration::from_secs(60)) == Err(RecvTimeoutError::Timeout) {
            eprintln!("{name} hangs");
            process::abort();
        }
    });
    alive
}

/// A pipe: where to read and where to write.
fn pipe() -> (RawFd, RawFd) {
    let mut ends = [0; 2];
    // SAFETY: room for two descriptors.
    assert_eq!(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) }, 0);
    (ends[0], ends[1])
}

/// Closes both ends of something.
fn close_both(one: RawFd, other: RawFd) {
    native::close(one).unwrap();
    native::close(other).unwrap();
}

/// A pair of connected stream sockets.
fn pair() -> (RawFd, RawFd) {
    let mut ends = [0; 2];
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC;
    // SAFETY: room for two descriptors.
    assert_eq!(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, ends.as_mut_ptr()) }, 0);
    (ends[0], ends[1])
}

const EBADF: Errno = Errno::new(libc::EBADF);
const BUSY: Errno = Errno::new(libc::EBUSY);
