//! One thread that waits for children on behalf of everybody.
//!
//! It sleeps until a pidfd says that a child has ended, or looks every few milliseconds where no pidfd
//! can tell: groups, and children that stop or go on. It only ever reaps without waiting, so that a wait
//! can be cancelled between two looks.

use std::{
    os::fd::RawFd,
    sync::{Arc, Mutex},
};

use super::{Job, lock, spawn};
use crate::{backend::Eventfd, op::Op, syscall};

/// Who is waited for.
#[derive(Default)]
pub(super) struct Children {
    incoming: Mutex<Vec<Arc<Job>>>,
    /// How its thread is called, which begins with the first wait.
    bell: Mutex<Option<Arc<Eventfd>>>,
}

/// A job, and what tells that it is worth a look.
struct Watched {
    job: Arc<Job>,
    pidfd: Option<RawFd>,
}

impl Children {
    pub(super) fn wait_for(&'static self, job: Arc<Job>) {
        let mut bell = lock(&self.bell);
        if bell.is_none() {
            *bell = self.begin();
        }
        let Some(bell) = bell.as_ref() else { return job.finish(-libc::EAGAIN) };
        lock(&self.incoming).push(job);
        bell.signal();
    }

    /// Has the thread look at everybody, and forget whom nobody waits for any more.
    pub(super) fn look(&self) {
        if let Some(bell) = lock(&self.bell).as_ref() {
            bell.signal();
        }
    }

    /// Starts the thread; `None` where the system has no descriptor or no thread left for it.
    fn begin(&'static self) -> Option<Arc<Eventfd>> {
        let bell = Eventfd::new().ok()?;
        let heard = bell.clone();
        spawn("polyphony-offload-children".into(), move || self.work(&heard)).then_some(bell)
    }

    fn work(&self, bell: &Eventfd) {
        let mut watched: Vec<Watched> = Vec::new();
        loop {
            watched.extend(lock(&self.incoming).drain(..).map(Watched::new));
            watched.retain(|child| child.goes_on());
            sleep(bell, &watched);
        }
    }
}

impl Watched {
    fn new(job: Arc<Job>) -> Self {
        let pidfd = match job.op {
            Op::WaitId { kind: libc::P_PID, id, options, .. } if options & AFTER_END == options => {
                Some(syscall::pidfd(id)).filter(|&fd| fd >= 0)
            }
            // It is the caller's to close.
            Op::WaitId { kind: libc::P_PIDFD, id, options, .. } if options & AFTER_END == options => {
                Some(syscall::duplicate(id as RawFd)).filter(|&fd| fd >= 0)
            }
            _ => None,
        };
        Watched { job, pidfd }
    }

    /// Looks at the child; false once there is nothing more to wait for.
    fn goes_on(&self) -> bool {
        let Op::WaitId { kind, id, info, options } = self.job.op else {
            unreachable!("only waits for children come here")
        };
        if !self.job.start() {
            return false; // cancelled, and told so
        }
        let result = syscall::wait_id_now(kind, id, info, options);
        if result != -libc::EAGAIN {
            self.job.finish(result);
            return false;
        }
        if !self.job.put_back() {
            self.job.finish(-libc::ECANCELED);
            return false;
        }
        true
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(fd) = self.pidfd {
            syscall::close(fd);
        }
    }
}

/// Until the bell rings, a child ends, or it is time to look at those that have no pidfd.
fn sleep(bell: &Eventfd, watched: &[Watched]) {
    let fds = watched.iter().filter_map(|child| child.pidfd).chain([bell.fd()]);
    let mut polled: Vec<libc::pollfd> =
        fds.map(|fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 }).collect();
    let all_tell = watched.iter().all(|child| child.pidfd.is_some());
    syscall::poll_all(&mut polled, if all_tell { -1 } else { LOOK_AGAIN });
    bell.clear();
}

/// The options under which a pidfd tells everything.
const AFTER_END: i32 = libc::WEXITED | libc::WNOWAIT | libc::WNOHANG;

/// Milliseconds between two looks at children that have no pidfd.
const LOOK_AGAIN: i32 = 5;
