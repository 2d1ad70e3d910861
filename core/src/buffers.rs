//! Buffers that a shard lends to reads which do not bring their own.
//!
//! A fiber parked in such a read owns no buffer: one is picked when the data is there. Ten thousand
//! idle connections then cost ten thousand table entries and not ten thousand buffers.

/// Names a buffer of a shard, from the outcome that filled it until it is recycled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BufferId(pub(crate) u16);

/// How many buffers a shard has, and how large each is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferShape {
    /// How many; a power of two, at most 32,768.
    pub count: u16,
    /// Bytes each.
    pub size: u32,
}

impl Default for BufferShape {
    fn default() -> Self {
        BufferShape { count: 128, size: 16 * 1024 }
    }
}

/// Memory for buffers, without saying who fills them. Not touched until it is used.
#[derive(Debug)]
pub(crate) struct Buffers {
    memory: Box<[u8]>,
    shape: BufferShape,
}

impl Buffers {
    pub(crate) fn new(shape: BufferShape) -> Self {
        // Zeroed memory of this size comes untouched from the system.
        Buffers { memory: vec![0; shape.count as usize * shape.size as usize].into(), shape }
    }

    pub(crate) fn shape(&self) -> BufferShape {
        self.shape
    }

    /// Where a buffer starts; it has `shape().size` bytes.
    pub(crate) fn address(&mut self, id: BufferId) -> *mut u8 {
        let start = self.start(id);
        self.memory[start..].as_mut_ptr()
    }

    /// The first `len` bytes of a buffer.
    pub(crate) fn bytes(&self, id: BufferId, len: usize) -> &[u8] {
        &self.memory[self.start(id)..][..len]
    }

    fn start(&self, id: BufferId) -> usize {
        id.0 as usize * self.shape.size as usize
    }
}
