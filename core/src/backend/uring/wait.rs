//! Entering the ring. Numbers only: nothing here can touch the ring's memory, so it is safe to block
//! without the GVL.

use std::{io, os::fd::RawFd, sync::Arc};

use super::{
    super::{Sleeper, Time, Wait},
    features::Features,
};

const ENTER_GETEVENTS: u32 = 1 << 0;
const ENTER_EXT_ARG: u32 = 1 << 3;
const ENTER_ABS_TIMER: u32 = 1 << 5;
const ENTER_REGISTERED_RING: u32 = 1 << 4;
const ENTER_NO_IOWAIT: u32 = 1 << 7;
const REGISTER_RING_FDS: u32 = 20;

/// How the ring is entered: by descriptor, or by the number under which it is registered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ring {
    fd: RawFd,
    flags: u32,
}

impl Ring {
    pub(super) fn new(fd: RawFd, features: Features) -> Self {
        let no_iowait = if features.no_iowait { ENTER_NO_IOWAIT } else { 0 };
        let waiting = no_iowait | if features.absolute_deadlines { ENTER_ABS_TIMER } else { 0 };
        if !features.registered_ring {
            return Ring { fd, flags: waiting };
        }
        #[repr(C)]
        struct Update {
            offset: u32,
            reserved: u32,
            data: u64,
        }
        let mut update = Update { offset: u32::MAX, reserved: 0, data: fd as u64 };
        // SAFETY: one struct of the kernel's layout (`io_uring_rsrc_update`), alive for the call.
        let registered =
            unsafe { libc::syscall(libc::SYS_io_uring_register, fd, REGISTER_RING_FDS, &raw mut update, 1) };
        if registered == 1 {
            return Ring { fd: update.offset as RawFd, flags: ENTER_REGISTERED_RING | waiting };
        }
        Ring { fd, flags: waiting }
    }

    /// Submits without waiting. What the kernel does not take stays queued.
    pub(super) fn submit(self, queued: u32) {
        let flags = self.flags & ENTER_REGISTERED_RING;
        // SAFETY: no pointer is passed.
        unsafe { libc::syscall(libc::SYS_io_uring_enter, self.fd, queued, 0, flags, 0, 0) };
    }

    /// A wait that leaves the ring alone.
    pub(super) fn wait_outside(self, sleeper: Arc<Sleeper>, deadline: Option<Time>) -> UringWait {
        UringWait { sleeper: Some(sleeper), ..self.wait(0, deadline, 0, false) }
    }

    /// A wait that submits `queued` entries, of which `told` are answered at once; `needless` where
    /// completions are there already.
    pub(super) fn wait(self, queued: u32, deadline: Option<Time>, told: u32, needless: bool) -> UringWait {
        UringWait { ring: self, queued, deadline, told, needless, sleeper: None }
    }
}

/// One `io_uring_enter`: submits, and waits for a completion or the deadline. Or none, where nothing is in the ring that
/// could complete.
#[derive(Debug)]
pub struct UringWait {
    /// By what it sleeps outside the ring.
    sleeper: Option<Arc<Sleeper>>,
    ring: Ring,
    queued: u32,
    deadline: Option<Time>,
    told: u32,
    needless: bool,
}

impl UringWait {
    #[cfg(test)]
    pub(super) fn is_outside(&self) -> bool {
        self.sleeper.is_some()
    }
}

impl Wait for UringWait {
    fn block(&mut self) -> io::Result<()> {
        if self.needless {
            return Ok(());
        }
        if let Some(sleeper) = &self.sleeper {
            return sleeper.sleep(self.deadline);
        }
        let now = match self.deadline {
            None | Some(Time(0)) => Time(0),
            Some(_) if self.ring.flags & ENTER_ABS_TIMER != 0 => Time(0),
            Some(_) => Time::monotonic(),
        };
        let left = self.deadline.map(|deadline| deadline.since(now));
        let span = left.unwrap_or_default();
        let timespec = [span.as_secs(), u64::from(span.subsec_nanos())];
        #[repr(C)]
        struct Arg {
            sigmask: u64,
            sigmask_size: u32,
            min_wait: u32,
            timespec: u64,
        }
        let at = if left.is_some() { (&raw const timespec) as u64 } else { 0 };
        let arg = Arg { sigmask: 0, sigmask_size: 8, min_wait: 0, timespec: at };
        // Whoever wants few completions has the kernel do little of the work that it has put off.
        let wanted = self.told.max(u32::from(left != Some(std::time::Duration::ZERO)));
        let flags = ENTER_GETEVENTS | ENTER_EXT_ARG | self.ring.flags;
        // SAFETY: `arg` and the timespec that it names have the kernel's layout and outlive the call.
        let entered = unsafe {
            libc::syscall(
                libc::SYS_io_uring_enter,
                self.ring.fd,
                self.queued,
                wanted,
                flags,
                &raw const arg,
                size_of::<Arg>(),
            )
        };
        if entered >= 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            // Time is up, a signal came, the completion queue wants draining first, memory is short:
            // the wait has ended, and what was not submitted is still queued.
            Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
            _ => Err(error),
        }
    }

    fn may_sleep(&self) -> bool {
        !self.needless && self.deadline != Some(Time(0))
    }
}
