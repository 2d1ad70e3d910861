//! Threads for work that blocks.
use crate::{
    backend::Waker,
    op::{Op, OpKey},
};

/// One backend's way to the pool.
#[derive(Debug)]
pub(crate) struct Lane;
impl Lane {
    pub(crate) fn new(_waker: Waker) -> Self {
        Lane
    }
    pub(crate) fn submit(&mut self, _key: OpKey, _op: Op) {}
    pub(crate) fn cancel(&mut self, _key: OpKey) -> bool {
        false
    }
    pub(crate) fn has_finished(&self) -> bool {
        false
    }
    pub(crate) fn take(&mut self, _each: &mut dyn FnMut(OpKey, i32)) {}
}
pub(crate) fn perform(_op: &Op) -> i32 {
    0
}
pub(crate) fn read_now(_op: &Op, _buf: *mut u8, _size: u32) -> i32 {
    0
}
