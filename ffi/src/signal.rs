//! Signals.

use std::ffi::c_int;

use polyphony_core::native::{Errno, signals};

use crate::boundary::{done_quietly, look, put, quietly, wanted};

/// A signal that has come.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct poly_signal {
    /// Which: SIGINT, SIGTERM, …
    pub number: i32,
    /// Why it was sent: SI_USER, CLD_EXITED and so on; see sigaction(2).
    pub code: i32,
    /// Who sent it, where a process did.
    pub pid: i32,
    /// Whose process that is.
    pub uid: u32,
    /// Of a child that ended: its status or signal.
    pub status: i32,
    /// What sigqueue(3) sent along.
    pub value: i32,
}

/// Opens a descriptor on which signals arrive: signalfd(2). `numbers` are `count` of SIGINT, SIGTERM, …
///
///     const int wanted[] = { SIGINT, SIGTERM };
///     poly_signal signal;
///     int signals = poly_signal_open(wanted, 2);
///     error = poly_signal_next(signals, &signal);
///     poly_close(signals);
///
/// Every thread of the program must block them, else they are delivered as ever: block them first thing in
/// `main` (sigprocmask), before `poly_runtime_new`, whose workers have the mask of the thread that calls it.
/// Processes started by `poly_process_spawn` block none. Each signal is told once, to one reader; several of a
/// kind that come before one is read are one. Signals sent to one thread (pthread_kill) are not told.
/// Never suspends. Any thread.
/// Returns a descriptor for `poly_signal_next`, which the caller closes with `poly_close`; -EINVAL if the
/// calling thread does not block one of them or there is no such signal, -EMFILE. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_signal_open(numbers: *const c_int, count: usize) -> c_int {
    quietly(|| {
        // SAFETY: so many stand there, by the header's conventions.
        let numbers = unsafe { std::slice::from_raw_parts(look(numbers)?, count) };
        signals::open(numbers)
    })
}

/// The next signal, waiting for one if need be. Closing the descriptor ends it, as any other read.
///
/// Suspends, or blocks a plain thread. Any thread.
/// Returns 0; -EBADF; -EINVAL for NULL and for what is no such descriptor; -ECANCELED or -ETIMEDOUT, and no
/// signal is lost then. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_signal_next(fd: c_int, signal: *mut poly_signal) -> c_int {
    done_quietly(|| {
        wanted(signal)?;
        let info = signals::next(fd)?;
        let number = i32::try_from(info.ssi_signo).map_err(|_| Errno::new(libc::EINVAL))?;
        let told = poly_signal {
            number,
            code: info.ssi_code,
            pid: info.ssi_pid as i32,
            uid: info.ssi_uid,
            status: info.ssi_status,
            value: info.ssi_int,
        };
        // SAFETY: not null, and an output by the header's conventions.
        unsafe { put(signal, told) }
    })
}
