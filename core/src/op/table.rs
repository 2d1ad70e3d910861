//! Operations in flight.
//!
//! An operation enters with `insert` and leaves with its last completion, never before. If its fiber
//! stops caring, the entry stays: the kernel may still write to the buffer that it keeps.
//!
//! ```text
//! insert ──▶ InFlight ──last completion──▶ gone, outcome to the fiber
//!               │ abandon
//!               └──▶ nobody's ──last completion──▶ gone, keep dropped, stray fd closed
//! ```
//!
//! An entry's place is used again under a new generation, so that the late completion or cancellation
//! of an earlier operation finds nothing.

use super::Op;

/// Names an operation in flight. A key whose operation has ended names nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OpKey(u64);

impl OpKey {
    /// A key that names no operation: table indices end below it.
    pub(crate) const NONE: OpKey = OpKey((GENERATIONS as u64) << 32 | NIL as u64);

    /// The key as the kernel's `user_data`; below 2^62.
    pub fn number(self) -> u64 {
        self.0
    }

    /// The key that `number` came from.
    pub fn from_number(number: u64) -> Self {
        OpKey(number)
    }

    fn new(index: u32, generation: u32) -> Self {
        OpKey(u64::from(generation & GENERATIONS) << 32 | u64::from(index))
    }

    fn index(self) -> usize {
        self.0 as u32 as usize
    }

    fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// Two bits of `user_data` are left to the backends for completions of their own.
const GENERATIONS: u32 = (1 << 30) - 1;

/// Where an operation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The backend could not take it yet.
    Queued,
    /// The backend has it.
    InFlight,
    /// Its descriptor does not block and was not ready: the backend waits for readiness in its stead.
    Polling,
    /// The same for the descriptor at its other end.
    PollingTarget,
    /// Cancelled while queued: its outcome is waiting to be told.
    Ended,
}

#[derive(Debug)]
pub(crate) struct Entry<F, K> {
    pub(crate) fiber: Option<F>,
    #[expect(dead_code, reason = "dropped with the last completion, which is all that it is for")]
    pub(crate) keep: K,
    pub(crate) op: Op,
    pub(crate) phase: Phase,
    pub(crate) cancelled: bool,
}

#[derive(Debug)]
enum Slot<F, K> {
    Vacant { next: u32 },
    Taken(Entry<F, K>),
}

#[derive(Debug)]
pub(crate) struct Table<F, K> {
    slots: Vec<(u32, Slot<F, K>)>,
    free: u32,
    len: usize,
    /// How many operations wait on each descriptor.
    on_fd: Vec<u32>,
}

const NIL: u32 = u32::MAX;

impl<F, K> Default for Table<F, K> {
    fn default() -> Self {
        Table { slots: Vec::new(), free: NIL, len: 0, on_fd: Vec::new() }
    }
}

impl<F, K> Table<F, K> {
    #[inline]
    pub(crate) fn insert(&mut self, entry: Entry<F, K>) -> OpKey {
        self.count(&entry.op, 1);
        self.len += 1;
        if self.free == NIL {
            let index = u32::try_from(self.slots.len()).expect("fewer than 2^32 operations");
            self.slots.push((1, Slot::Taken(entry)));
            return OpKey::new(index, 1);
        }
        let index = self.free;
        let (generation, slot) = &mut self.slots[index as usize];
        let Slot::Vacant { next } = *slot else { unreachable!("the free list names vacant slots") };
        self.free = next;
        *slot = Slot::Taken(entry);
        OpKey::new(index, *generation)
    }

    #[inline]
    pub(crate) fn entry(&mut self, key: OpKey) -> Option<&mut Entry<F, K>> {
        match self.slots.get_mut(key.index()) {
            Some((generation, Slot::Taken(entry))) if *generation == key.generation() => Some(entry),
            _ => None,
        }
    }

    #[inline]
    pub(crate) fn remove(&mut self, key: OpKey) -> Option<Entry<F, K>> {
        self.entry(key)?;
        let (generation, slot) = &mut self.slots[key.index()];
        *generation = (*generation + 1) & GENERATIONS;
        let Slot::Taken(entry) = std::mem::replace(slot, Slot::Vacant { next: self.free }) else {
            unreachable!("the entry was found above")
        };
        self.free = key.index() as u32;
        self.len -= 1;
        self.count(&entry.op, -1);
        Some(entry)
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// How many operations wait on a descriptor.
    pub(crate) fn on_fd(&self, fd: i32) -> usize {
        usize::try_from(fd).ok().and_then(|fd| self.on_fd.get(fd)).map_or(0, |&count| count as usize)
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = (OpKey, &Entry<F, K>)> {
        self.slots.iter().enumerate().filter_map(|(index, (generation, slot))| match slot {
            Slot::Taken(entry) => Some((OpKey::new(index as u32, *generation), entry)),
            Slot::Vacant { .. } => None,
        })
    }

    /// Gives up every entry without dropping what it keeps: the kernel may still write there.
    pub(crate) fn leak(&mut self) {
        std::mem::take(&mut self.slots).into_iter().for_each(std::mem::forget);
        *self = Self::default();
    }

    #[inline]
    fn count(&mut self, op: &Op, by: i32) {
        let Some(fd) = op.fd().and_then(|fd| usize::try_from(fd).ok()) else { return };
        if fd >= self.on_fd.len() {
            if fd > FD_LIMIT {
                return;
            }
            self.on_fd.resize(fd + 1, 0);
        }
        self.on_fd[fd] = self.on_fd[fd].wrapping_add_signed(by);
    }
}

/// No descriptor is larger (the kernel's `sysctl_nr_open` tops out here); larger numbers are bad input.
const FD_LIMIT: usize = 1 << 20;
