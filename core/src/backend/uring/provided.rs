//! The buffers from which the kernel picks one when data is there (Linux 5.19), and the same by hand
//! where it cannot.

use std::{
    alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error},
    sync::atomic::{AtomicU16, Ordering},
};

use io_uring::{IoUring, types::BufRingEntry};

use super::features::Features;
use crate::{
    buffers::{BufferId, BufferShape, Buffers},
    offload,
    op::{Op, Outcome},
};

/// The only buffer group of a ring.
pub(super) const GROUP: u16 = 0;

/// Buffers, and the ring through which the kernel gets them where it can.
pub(super) struct Provided {
    buffers: Buffers,
    ring: Option<BufferRing>,
    /// Buffers that nobody uses, where we pick.
    free: Vec<BufferId>,
    /// Whether a read can be told not to wait.
    nowait: bool,
}

/// Memory shared with the kernel: the buffers it may pick next.
struct BufferRing {
    entries: *mut BufRingEntry,
    layout: Layout,
    mask: u16,
    tail: u16,
}

// SAFETY: the ring belongs to its shard, which one thread uses at a time; only the kernel shares it.
unsafe impl Send for BufferRing {}

impl Provided {
    /// Makes the buffers and registers them, where the kernel can.
    pub(super) fn new(uring: &IoUring, shape: BufferShape, features: Features) -> Self {
        let Features { buffer_rings, nowait, .. } = features;
        let mut buffers = Buffers::new(shape);
        let ring = if buffer_rings { BufferRing::register(uring, shape) } else { None };
        let mut provided = match ring {
            None => {
                return Provided {
                    buffers,
                    ring: None,
                    free: (0..shape.count).rev().map(BufferId).collect(),
                    nowait,
                };
            }
            Some(ring) => ring,
        };
        (0..shape.count).for_each(|id| provided.add(&mut buffers, BufferId(id)));
        Provided { buffers, ring: Some(provided), free: Vec::new(), nowait }
    }

    pub(super) fn is_registered(&self) -> bool {
        self.ring.is_some()
    }

    /// Takes the buffers back from the kernel, where it has them; says whether that worked.
    pub(super) fn withdraw(&self, uring: &IoUring) -> bool {
        self.ring.is_none() || uring.submitter().unregister_buf_ring(GROUP).is_ok()
    }

    pub(super) fn bytes(&self, id: BufferId, len: usize) -> &[u8] {
        self.buffers.bytes(id, len)
    }

    pub(super) fn recycle(&mut self, id: BufferId) {
        match &mut self.ring {
            Some(ring) => ring.add(&mut self.buffers, id),
            None => self.free.push(id),
        }
    }

    /// Picks a buffer and reads what is there, without waiting.
    pub(super) fn read_now(&mut self, op: &Op) -> Outcome {
        let Some(id) = self.free.pop() else { return Outcome::last(-libc::ENOBUFS) };
        let (buf, size) = (self.buffers.address(id), self.buffers.shape().size);
        let result = offload::read_now(op, buf, size, self.nowait);
        if result > 0 {
            return Outcome { result, more: false, buffer: Some(id) };
        }
        self.free.push(id);
        Outcome::last(result)
    }
}

impl BufferRing {
    fn register(uring: &IoUring, shape: BufferShape) -> Option<Self> {
        let size = shape.count as usize * size_of::<BufRingEntry>();
        let layout = Layout::from_size_align(size, 4096).ok()?;
        // SAFETY: the layout is not empty: a shape has at least one buffer.
        let entries = unsafe { alloc_zeroed(layout) }.cast::<BufRingEntry>();
        if entries.is_null() {
            handle_alloc_error(layout);
        }
        let ring = BufferRing { entries, layout, mask: shape.count - 1, tail: 0 };
        // SAFETY: the memory is page-aligned, as large as the kernel is told, and lives as long as this
        // struct, which `Uring` drops after its ring.
        let registered =
            unsafe { uring.submitter().register_buf_ring_with_flags(entries as u64, shape.count, GROUP, 0) };
        registered.is_ok().then_some(ring)
    }

    /// Lets the kernel have a buffer.
    fn add(&mut self, buffers: &mut Buffers, id: BufferId) {
        let address = buffers.address(id) as u64;
        // SAFETY: the masked index is in bounds, and the kernel reads no entry at or behind the tail.
        let entry = unsafe { &mut *self.entries.add((self.tail & self.mask) as usize) };
        entry.set_addr(address);
        entry.set_len(buffers.shape().size);
        entry.set_bid(id.0);
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the tail stands in the first entry, which lives as long as this struct; the kernel reads
        // it atomically. Release: it must see the entry before the new tail.
        let tail = unsafe { AtomicU16::from_ptr(BufRingEntry::tail(self.entries).cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }
}

impl Drop for BufferRing {
    fn drop(&mut self) {
        // SAFETY: allocated with this very layout.
        unsafe { dealloc(self.entries.cast(), self.layout) };
    }
}
