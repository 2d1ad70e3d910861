//! Operations through readiness.
use super::{Backend, Taken, Time, Wait, Waker};
use crate::{
    buffers::{BufferId, BufferShape},
    error::Error,
    op::{Op, OpKey, Outcome},
};
use std::{io, os::fd::RawFd};

/// Readiness and non-blocking system calls, for one thread.
#[derive(Debug)]
pub struct Epoll;
impl Epoll {
    /// An epoll for the calling thread.
    pub fn new(_buffers: BufferShape) -> Result<Self, Error> {
        Ok(Epoll)
    }
}
/// One `epoll_wait`.
#[derive(Debug)]
pub struct EpollWait;
impl Wait for EpollWait {
    fn block(&mut self) -> io::Result<()> {
        Ok(())
    }
    fn may_sleep(&self) -> bool {
        true
    }
}
impl Backend for Epoll {
    type Wait = EpollWait;
    fn submit(&mut self, _: OpKey, _: &Op) -> Taken {
        todo!()
    }
    fn cancel(&mut self, _: OpKey, _: &Op) -> Taken {
        todo!()
    }
    fn wants_turn(&self) -> bool {
        todo!()
    }
    fn wait(&mut self, _: Option<Time>) -> EpollWait {
        todo!()
    }
    fn harvest(&mut self, _: Option<EpollWait>, _: &mut dyn FnMut(OpKey, Outcome)) {
        todo!()
    }
    fn buffer(&self, _: BufferId, _: usize) -> &[u8] {
        todo!()
    }
    fn recycle(&mut self, _: BufferId) {
        todo!()
    }
    fn now(&self) -> Time {
        Time::monotonic()
    }
    fn waker(&self) -> Waker {
        todo!()
    }
    fn discard(&mut self, _: RawFd) {
        todo!()
    }
    fn describe(&self) -> String {
        "epoll".into()
    }
}
