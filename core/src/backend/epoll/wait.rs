//! Waiting for readiness. The events lie in the wait itself, so it is safe to block without the GVL.

use std::{io, os::fd::RawFd};

use super::super::Wait;
use crate::syscall;
use crate::time::Time;

/// One `epoll_pwait2`.
pub struct EpollWait {
    pub(super) epoll: RawFd,
    pub(super) deadline: Option<Time>,
    /// Something has completed already, so there is nothing to wait for.
    pub(super) needless: bool,
    pub(super) events: Vec<libc::epoll_event>,
    pub(super) count: usize,
}

impl Wait for EpollWait {
    fn block(&mut self) -> io::Result<()> {
        if self.needless {
            return Ok(());
        }
        let span = self.deadline.map(|deadline| match deadline {
            Time(0) => std::time::Duration::ZERO,
            _ => deadline.since(Time::monotonic()),
        });
        match syscall::epoll_wait(self.epoll, &mut self.events, span) {
            interrupted if interrupted == -libc::EINTR => Ok(()),
            failed if failed < 0 => Err(io::Error::from_raw_os_error(-failed)),
            count => {
                self.count = count as usize;
                Ok(())
            }
        }
    }

    fn may_sleep(&self) -> bool {
        !self.needless && self.deadline != Some(Time(0))
    }
}

impl std::fmt::Debug for EpollWait {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EpollWait")
            .field("deadline", &self.deadline)
            .field("needless", &self.needless)
            .finish_non_exhaustive()
    }
}
