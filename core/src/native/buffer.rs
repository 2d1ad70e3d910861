//! Bytes in a buffer that the reader did not bring.
//!
//! A fiber that waits for bytes this way owns no memory meanwhile: the worker's backend picks a buffer when
//! they are there, on io_uring the kernel itself. The buffer is the reader's until it gives it back, on any
//! thread: the worker that lent it takes it back the next time it looks around.
//!
//! ```text
//! worker's pool ──read──▶ Buffer ──dropped on the worker──────────────▶ worker's pool
//!                                └─dropped elsewhere─▶ Loans ─▶ worker ─▶
//! ```
//!
//! Where all are lent out a buffer of the heap takes their place, so no reader ever hears that there is none.
//! A worker that ends while some are lent leaves their memory where it is.

use std::{
    cell::Cell,
    fmt,
    os::fd::RawFd,
    ptr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use super::{
    current,
    errno::{Errno, Result},
    fiber::FiberRef,
    io, lock, perform, telling,
};
use crate::{
    buffers::{BufferId, BufferShape},
    op::{Op, Outcome, POSITION},
};

/// Bytes that were read, and the buffer in which they lie. Dropping it gives the buffer back.
pub struct Buffer {
    bytes: *const u8,
    len: usize,
    owner: Owner,
}

// SAFETY: the bytes are the holder's alone, and a loan is ended from any thread.
unsafe impl Send for Buffer {}
// SAFETY: nobody writes the bytes while the buffer is lent.
unsafe impl Sync for Buffer {}

#[derive(Debug)]
enum Owner {
    Nobody,
    Worker(Arc<Loans>, BufferId),
    Heap(*mut [u8]),
}

/// What a worker has lent, and what it is to take back.
#[derive(Debug)]
pub(crate) struct Loans {
    lent: AtomicUsize,
    returned: Mutex<Vec<BufferId>>,
    has_returned: AtomicBool,
    forks: u32,
}

impl Loans {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Loans {
            lent: AtomicUsize::new(0),
            returned: Mutex::default(),
            has_returned: AtomicBool::new(false),
            forks: current::forks(),
        })
    }

    /// Lends a buffer of the worker's, which has its bytes there.
    pub(crate) fn lend(self: &Arc<Self>, id: BufferId, bytes: &[u8]) -> Buffer {
        self.lent.fetch_add(1, Ordering::Relaxed);
        Buffer { bytes: bytes.as_ptr(), len: bytes.len(), owner: Owner::Worker(self.clone(), id) }
    }

    /// Whether somebody still has a buffer. The worker's thread only.
    pub(crate) fn are_out(&self) -> bool {
        self.lent.load(Ordering::Acquire) > 0
    }

    /// Whether there is something to take back.
    #[inline]
    pub(crate) fn have_returned(&self) -> bool {
        self.has_returned.load(Ordering::Relaxed)
    }

    /// What others have given back. The worker's thread only.
    pub(crate) fn take_back(&self) -> Vec<BufferId> {
        self.has_returned.store(false, Ordering::Relaxed);
        let returned = std::mem::take(&mut *lock(&self.returned));
        self.lent.fetch_sub(returned.len(), Ordering::Release);
        returned
    }

    fn give_back(self: &Arc<Self>, id: BufferId) {
        if self.forks != current::forks() {
            return; // the parent's, as is the lock
        }
        // SAFETY: the thread's own worker, where it is one; it is alive while its thread runs fibers.
        if let Some(worker) = unsafe { current::worker().as_ref() }
            && worker.has_lent(self)
        {
            self.lent.fetch_sub(1, Ordering::Relaxed);
            return worker.shard().recycle(id);
        }
        lock(&self.returned).push(id);
        self.has_returned.store(true, Ordering::Release);
    }
}

impl Buffer {
    /// A buffer as what C keeps of it: where the bytes are, how many, and whose they are.
    pub fn into_raw(self) -> (*const u8, usize, [u64; 2]) {
        let mut this = std::mem::ManuallyDrop::new(self);
        let whose = match std::mem::replace(&mut this.owner, Owner::Nobody) {
            Owner::Nobody => [0; 2],
            Owner::Worker(loans, id) => [Arc::into_raw(loans) as u64, u64::from(id.0)],
            Owner::Heap(memory) => [memory.cast::<u8>() as u64, HEAP | memory.len() as u64],
        };
        (this.bytes, this.len, whose)
    }

    /// Takes back what [`into_raw`](Self::into_raw) said about whose a buffer is. Its bytes are not asked for.
    ///
    /// # Safety
    /// It said so, and this is done once.
    pub unsafe fn from_raw(whose: [u64; 2]) -> Self {
        let owner = match whose {
            [0, _] => Owner::Nobody,
            [memory, len] if len & HEAP != 0 => {
                Owner::Heap(ptr::slice_from_raw_parts_mut(memory as *mut u8, (len & !HEAP) as usize))
            }
            [loans, id] => {
                // SAFETY: by the caller.
                let loans = unsafe { Arc::from_raw(loans as *const Loans) };
                Owner::Worker(loans, BufferId(id as u16))
            }
        };
        Buffer { bytes: ptr::null(), len: 0, owner }
    }

    fn empty() -> Self {
        Buffer { bytes: ptr::null(), len: 0, owner: Owner::Nobody }
    }
}

impl std::ops::Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        if self.bytes.is_null() {
            return &[];
        }
        // SAFETY: so many bytes were read there, and they stay until the buffer is given back.
        unsafe { std::slice::from_raw_parts(self.bytes, self.len) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        match std::mem::replace(&mut self.owner, Owner::Nobody) {
            Owner::Nobody => {}
            Owner::Worker(loans, id) => loans.give_back(id),
            // SAFETY: it came from a box, and is dropped once.
            Owner::Heap(memory) => drop(unsafe { Box::from_raw(memory) }),
        }
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffer").field("len", &self.len).field("owner", &self.owner).finish_non_exhaustive()
    }
}

/// read(2) of at most so many bytes, and at most what a buffer holds; empty at the end. `EINVAL` for none.
pub fn read_buffer(fd: RawFd, most: usize) -> Result<Buffer> {
    let plain = |buf, len| Op::Read { fd, buf, len, offset: POSITION };
    fill(fd, most, true, |len| Op::ReadPooled { fd, len }, plain)
}

/// recv(2) in the same way.
pub fn recv_buffer(fd: RawFd, most: usize, flags: i32) -> Result<Buffer> {
    let plain = |buf, len| Op::Recv { fd, buf, len, flags };
    let waits = flags & libc::MSG_DONTWAIT == 0;
    fill(fd, most, waits, |len| Op::RecvPooled { fd, len, flags }, plain)
}

fn fill(
    fd: RawFd,
    most: usize,
    waits: bool,
    pooled: impl FnOnce(u32) -> Op,
    plain: impl FnOnce(*mut u8, u32) -> Op,
) -> Result<Buffer> {
    if most == 0 {
        return Err(Errno::new(libc::EINVAL));
    }
    let len = io::length(most);
    let Some(me) = current::fiber() else { return on_heap(len, plain) };
    match me.staying(|| from_pool(me, pooled(len))) {
        Err(errno) if errno.number() == libc::ENOBUFS => {}
        filled => return filled,
    }
    if waits {
        io::poll(fd, libc::POLLIN as u32)?; // with no memory yet: it may take long
    }
    on_heap(len, plain)
}

fn from_pool(me: FiberRef, op: Op) -> Result<Buffer> {
    let worker = current::worker_of(me);
    worker.take_back_buffers();
    let picked = Picked(Cell::new(None));
    // SAFETY: the operation points to nothing.
    let result = unsafe { telling::perform(me, op, &picked) };
    match (picked.0.take(), usize::try_from(result)) {
        (Some(id), Ok(len @ 1..)) => Ok(worker.lend(id, len)),
        (unused, _) => {
            unused.into_iter().for_each(|id| worker.shard().recycle(id));
            Errno::check(result).map(|_| Buffer::empty())
        }
    }
}

/// The buffer that was picked, where one was.
struct Picked(Cell<Option<BufferId>>);

impl telling::Hears for Picked {
    fn hear(&self, outcome: Outcome) -> bool {
        self.0.set(outcome.buffer);
        false
    }
}

fn on_heap(len: u32, op: impl FnOnce(*mut u8, u32) -> Op) -> Result<Buffer> {
    let len = len.min(BufferShape::default().size);
    let mut memory = vec![0; len as usize].into_boxed_slice();
    // SAFETY: the memory is as long, and lives until this has returned.
    let read = Errno::check(unsafe { perform(&op(memory.as_mut_ptr(), len)) })?;
    if read == 0 {
        return Ok(Buffer::empty());
    }
    let memory = Box::into_raw(memory);
    Ok(Buffer { bytes: memory.cast(), len: read as usize, owner: Owner::Heap(memory) })
}

/// Says of what C keeps that the memory is of the heap; no length has this bit.
const HEAP: u64 = 1 << 63;
