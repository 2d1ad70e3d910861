//! The bell: a descriptor that says that the ring has something, for a thread that waits in a loop of others.
//!
//! The ring itself will not do. What completes waits until its thread enters the ring (DEFER_TASKRUN), and who sleeps
//! on the ring's descriptor is not told of that; a registered eventfd is. It is rung late for what another eventfd
//! brought about, for the kernel signals none within the other: so the one that other threads write to is watched
//! beside it.
//!
//! ```text
//! completion, or work for its thread ──▶ rung ──┐
//! another thread ──▶ the ring's eventfd ────────┴──▶ epoll, readable while either is
//! ```

use std::{os::fd::RawFd, sync::Arc};

use io_uring::IoUring;

use super::super::Eventfd;
use crate::syscall;

/// The bell of a ring, once somebody has asked for it.
#[derive(Debug)]
pub(super) struct Bell {
    rung: Arc<Eventfd>,
    epoll: RawFd,
}

impl Bell {
    /// A bell that is ringing, for there may be something already.
    pub(super) fn new(ring: &IoUring, waker: &Eventfd) -> Option<Self> {
        let rung = Eventfd::new().ok()?;
        let epoll = syscall::epoll_create();
        if epoll < 0 {
            return None;
        }
        let bell = Bell { rung, epoll };
        let watched = [bell.rung.fd(), waker.fd()].map(|fd| bell.watch(fd));
        if watched.contains(&false) || ring.submitter().register_eventfd(bell.rung.fd()).is_err() {
            return None;
        }
        bell.rung.signal();
        Some(bell)
    }

    pub(super) fn fd(&self) -> RawFd {
        self.epoll
    }

    /// It is heard. What comes from now on rings it again.
    pub(super) fn silence(&self) {
        self.rung.clear();
    }

    fn watch(&self, fd: RawFd) -> bool {
        syscall::epoll_control(self.epoll, libc::EPOLL_CTL_ADD, fd, libc::EPOLLIN as u32, 0) >= 0
    }
}

impl Drop for Bell {
    /// Closes this process's copy and no more: in a forked child the registrations are the parent's.
    fn drop(&mut self) {
        syscall::close(self.epoll);
    }
}
