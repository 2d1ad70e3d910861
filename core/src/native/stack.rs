//! Where fibers live: one reserved region a stack size, cut into slots that are used again and again.
//!
//! A slot, from low to high addresses:
//!
//! ```text
//! │ guard page │ stack, growing down ◀── │ packet │ Fiber │ colour │
//!                                          ▲ its closure    ▲ up to 1,984 bytes, by slot number
//! ```
//!
//! The fiber's record stands on the first page that the fiber's stack touches anyway, so a parked fiber
//! costs one page. Slots are an odd number of pages apart and their records are shifted by a *colour*:
//! without that all fibers would compete for the same few cache lines.
//!
//! The region is reserved once, made accessible as it fills, and never unmapped: the record of any
//! slot can be read at any time, which is what lets a stale name be an error and not a crash. The memory of stacks that
//! nobody needs any more is the system's again after a while ([`surplus`]). Guards cost no mapping where the kernel has MADV_GUARD_INSTALL (6.13); elsewhere each costs two, and the
//! system's limit of mappings (`vm.max_map_count`) is the limit of fibers.

mod surplus;

use std::{
    fmt, ptr,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicPtr, AtomicU32, Ordering},
    },
};

use corosensei::stack::{Stack, StackPointer};

use super::{
    errno::{Errno, Result},
    fiber::{Fiber, FiberId, FiberRef},
    name::Name,
    valgrind,
};

/// The stack sizes that exist: 16 KiB, and each four times the one before.
pub(crate) const CLASSES: usize = 8;
const SMALLEST: usize = 16 * 1024;
const PAGE: usize = 4096;
const COLOURS: usize = 32;
const COLOUR: usize = 64;
/// How many slots become accessible at a time.
const CHUNK: u32 = 64;
/// How many bytes of vacant stacks a worker keeps for itself, and how many stacks at least and at most.
const KEPT: usize = 32 << 20;
const FEW: usize = 32;
const MANY: usize = 4096;
/// No region has more slots: a fiber's name has 24 bits for them.
const MOST: usize = 1 << 24;
const MADV_GUARD_INSTALL: libc::c_int = 102;

/// The reach of a coroutine's stack within its slot.
#[derive(Debug)]
pub(crate) struct Reach {
    base: StackPointer,
    limit: StackPointer,
}

impl Reach {
    pub(crate) fn new(base: usize, limit: usize) -> Self {
        let pointer = |address| StackPointer::new(address).expect("no slot is at address 0");
        Reach { base: pointer(base), limit: pointer(limit) }
    }
}

// SAFETY: `base` is 16-aligned and `limit` is the start of a slot, whose first page is a guard; between
// them lie at least `SMALLEST` bytes less packet, record and colour, which together fit half of that.
unsafe impl Stack for Reach {
    #[inline]
    fn base(&self) -> StackPointer {
        self.base
    }

    #[inline]
    fn limit(&self) -> StackPointer {
        self.limit
    }
}

/// All slots of one stack size.
pub(crate) struct Slab {
    start: usize,
    stride: usize,
    capacity: u32,
    class: u8,
    /// How many slots have ever been used; the records of all of them can be read.
    used: AtomicU32,
    spare: Mutex<Spare>,
}

#[derive(Default)]
struct Spare {
    /// Vacant slots; those used last are at the end.
    fibers: Vec<FiberRef>,
    /// The fewest that there have been since somebody looked for a surplus.
    fewest: usize,
    /// Whether somebody looks.
    is_watched: bool,
    /// Slots that have no memory, by their numbers.
    bare: Vec<u32>,
    /// A generation that no fiber of any bare slot has had.
    generation: u64,
    accessible: u32,
    guards_are_pages: bool,
}

static SLABS: [AtomicPtr<Slab>; CLASSES] = [const { AtomicPtr::new(ptr::null_mut()) }; CLASSES];

/// The class of the smallest stacks that have `size` bytes.
pub(crate) fn class_of(size: usize) -> Result<usize> {
    (0..CLASSES).find(|class| SMALLEST << (2 * class) >= size).ok_or(Errno::new(libc::EINVAL))
}

/// How large a region may be, the best first. Address space is free, but may be limited (RLIMIT_AS): then at least half
/// of it is left to the program.
fn regions(limit: usize) -> impl Iterator<Item = usize> {
    [37, 35, 33, 31, 29, 27, 25].map(|bits| 1 << bits).into_iter().filter(move |&room| room <= limit / 2)
}

/// How much address space the process may have.
fn address_space() -> usize {
    let mut limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: the struct is ours to write; if it fails, it is as above.
    unsafe { libc::getrlimit(libc::RLIMIT_AS, &mut limit) };
    usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX)
}

/// The slots of a class, reserved at first use.
pub(crate) fn slab(class: usize) -> Result<&'static Slab> {
    if let Some(slab) = existing(class) {
        return Ok(slab);
    }
    // No lock: the child of a fork would find it held for ever if another thread was here.
    let made = Box::into_raw(Box::new(Slab::reserve(class)?));
    match SLABS[class].compare_exchange(ptr::null_mut(), made, Ordering::AcqRel, Ordering::Acquire) {
        // SAFETY: published, and never freed from here on.
        Ok(_) => Ok(unsafe { &*made }),
        Err(theirs) => {
            // SAFETY: ours was never published; theirs was, and is never freed.
            unsafe {
                let unused = Box::from_raw(made);
                libc::munmap(unused.start as *mut _, unused.capacity as usize * unused.stride);
                Ok(&*theirs)
            }
        }
    }
}

/// The record that a name's slot holds, whoever lives there now.
pub(crate) fn slot(class: usize, index: u32) -> Option<FiberRef> {
    let slab = existing(class)?;
    (index < slab.used.load(Ordering::Acquire)).then(|| slab.fiber(index))
}

/// Gives a vacant slot back to its slab.
pub(crate) fn give_back(fiber: FiberRef) {
    if let Some(slab) = existing(fiber.class()) {
        slab.release([fiber].into_iter());
    }
}

/// A stack that something has run over.
#[derive(Debug)]
pub(crate) struct Overrun {
    pub(crate) fiber: FiberId,
    pub(crate) name: Name,
    /// How many bytes its stack had, with what stands at its top.
    pub(crate) size: usize,
}

/// The stack whose guard page an address is in. For signal handlers: it reads, and nothing else.
pub(crate) fn overrun(address: usize) -> Option<Overrun> {
    (0..CLASSES).filter_map(existing).find_map(|slab| slab.overrun(address))
}

/// In the child of a fork: begins anew. The parent's stacks stay where they are, for the thread that
/// forked may be running on one.
pub(crate) fn forget_all() {
    SLABS.iter().for_each(|slab| slab.store(ptr::null_mut(), Ordering::Relaxed));
}

fn existing(class: usize) -> Option<&'static Slab> {
    let slab = SLABS.get(class)?.load(Ordering::Acquire);
    // SAFETY: a slab that was published is never freed.
    unsafe { slab.as_ref() }
}

impl Slab {
    fn reserve(class: usize) -> Result<Self> {
        let stride = (SMALLEST << (2 * class)) + PAGE;
        for room in regions(address_space()) {
            let capacity = (room / stride).min(MOST);
            if capacity == 0 {
                break;
            }
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_STACK;
            // SAFETY: a fresh mapping at an address of the kernel's choice.
            let start =
                unsafe { libc::mmap(ptr::null_mut(), capacity * stride, libc::PROT_NONE, flags, -1, 0) };
            if start == libc::MAP_FAILED {
                continue;
            }
            // SAFETY: our own mapping. A kernel without huge pages refuses, which is as good.
            unsafe { libc::madvise(start, capacity * stride, libc::MADV_NOHUGEPAGE) };
            return Ok(Slab {
                start: start as usize,
                stride,
                capacity: capacity as u32,
                class: class as u8,
                used: AtomicU32::new(0),
                spare: Mutex::default(),
            });
        }
        Err(Errno::new(libc::ENOMEM))
    }

    /// Takes vacant slots: the ones used last, else bare ones, else fresh ones.
    #[cold]
    pub(crate) fn claim(&self, into: &mut Vec<FiberRef>, count: usize) -> Result<()> {
        let spare = &mut *self.spare();
        let rest = spare.fibers.len().saturating_sub(count);
        into.extend(spare.fibers.drain(rest..));
        spare.fewest = spare.fewest.min(rest);
        if into.is_empty() {
            let rest = spare.bare.len().saturating_sub(count);
            let renewed = |index| self.fiber(index).renew(self.class, index, spare.generation);
            into.extend(spare.bare.drain(rest..).map(renewed));
        }
        if !into.is_empty() {
            return Ok(());
        }
        let used = self.used.load(Ordering::Relaxed);
        if used == spare.accessible {
            self.make_accessible(spare)?;
        }
        let until = spare.accessible.min(used.saturating_add(count as u32));
        // Backwards, so that the lowest is used first.
        for index in (used..until).rev() {
            let fiber = self.fiber(index);
            // SAFETY: the slot is accessible, its record lies within it, and nobody can name it yet.
            unsafe { fiber.as_ptr().write(Fiber::vacant(self.class, index)) };
            into.push(fiber);
        }
        self.used.store(until, Ordering::Release);
        Ok(())
    }

    /// Gives vacant slots back.
    pub(crate) fn release(&'static self, fibers: impl Iterator<Item = FiberRef>) {
        let mut spare = self.spare();
        spare.fibers.extend(fibers);
        let is_unwatched = !spare.is_watched && surplus::is_much(spare.fibers.len(), self.stride);
        spare.is_watched |= is_unwatched;
        drop(spare);
        if is_unwatched && !surplus::watch(self) {
            self.spare().is_watched = false;
        }
    }

    fn spare(&self) -> MutexGuard<'_, Spare> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The records of all slots that have ever been used.
    pub(crate) fn fibers(&self) -> impl DoubleEndedIterator<Item = FiberRef> + '_ {
        (0..self.used.load(Ordering::Acquire)).map(|index| self.fiber(index))
    }

    /// The lowest address of the slot that a record lies in.
    #[inline]
    pub(crate) fn limit(&self, index: u32) -> usize {
        self.start + index as usize * self.stride
    }

    fn overrun(&self, address: usize) -> Option<Overrun> {
        let within = address.checked_sub(self.start)?;
        let index = u32::try_from(within / self.stride).ok()?;
        let is_guard = within % self.stride < PAGE && index < self.used.load(Ordering::Acquire);
        let fiber = self.fiber(index);
        is_guard.then(|| Overrun {
            fiber: fiber.id(),
            name: fiber.name_if_running(),
            size: self.stride - PAGE,
        })
    }

    #[inline]
    pub(crate) fn class(&self) -> usize {
        self.class as usize
    }

    /// How many vacant slots a worker keeps; beyond that it gives half of them back.
    pub(crate) fn plenty(&self) -> usize {
        (KEPT / self.stride).clamp(FEW, MANY)
    }

    /// How many bytes a fiber's closure and result may take.
    pub(crate) fn largest_packet(&self) -> usize {
        self.stride / 8
    }

    #[inline]
    fn fiber(&self, index: u32) -> FiberRef {
        let top = self.limit(index) + self.stride;
        let colour = index as usize % COLOURS * COLOUR;
        FiberRef::at(top - colour - size_of::<Fiber>())
    }

    fn make_accessible(&self, spare: &mut Spare) -> Result<()> {
        let from = spare.accessible;
        let until = self.capacity.min(from + CHUNK);
        if from == until {
            return Err(Errno::new(libc::ENOMEM));
        }
        let (start, size) = (self.limit(from), (until - from) as usize * self.stride);
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: within our own mapping, and nobody uses these slots yet.
        if unsafe { libc::mprotect(start as *mut _, size, access) } != 0 {
            return Err(Errno::new(libc::ENOMEM));
        }
        for index in from..until {
            let lowest = self.limit(index);
            guard(lowest, &mut spare.guards_are_pages)?;
            valgrind::register_stack(lowest + PAGE, lowest + self.stride);
            spare.accessible = index + 1;
        }
        Ok(())
    }
}

/// Makes the page at `start` one that no access survives.
fn guard(start: usize, as_page: &mut bool) -> Result<()> {
    // SAFETY: the lowest page of a slot that nobody uses yet.
    if !*as_page && unsafe { libc::madvise(start as *mut _, PAGE, MADV_GUARD_INSTALL) } == 0 {
        return Ok(());
    }
    *as_page = true;
    // SAFETY: as above.
    match unsafe { libc::mprotect(start as *mut _, PAGE, libc::PROT_NONE) } {
        0 => Ok(()),
        _ => Err(Errno::new(libc::ENOMEM)),
    }
}

impl fmt::Debug for Slab {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slab").field("stride", &self.stride).field("used", &self.used).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the kernel can read a byte there.
    fn is_readable(address: usize) -> bool {
        let mut ends = [0; 2];
        // SAFETY: room for two descriptors, which are closed again. Where there is nothing to read, write(2)
        // says EFAULT and nobody else comes to harm.
        unsafe {
            assert_eq!(libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC), 0);
            let written = libc::write(ends[1], address as *const _, 1);
            ends.iter().for_each(|&end| assert_eq!(libc::close(end), 0));
            written == 1
        }
    }

    #[test]
    fn where_address_space_is_limited_half_of_it_is_left_to_the_program() {
        assert_eq!(regions(usize::MAX).next(), Some(128 << 30));
        assert_eq!(regions(1 << 30).next(), Some(512 << 20));
        assert_eq!(regions(600 << 20).next(), Some(128 << 20));
        assert_eq!(regions(64 << 20).collect::<Vec<_>>(), [32 << 20]);
        assert_eq!(regions(63 << 20).next(), None);
    }

    #[test]
    fn every_stack_has_a_guard_whatever_the_kernel_makes_it_of() {
        for guards_are_pages in [false, true] {
            let slab = Slab::reserve(0).unwrap();
            slab.spare.lock().unwrap().guards_are_pages = guards_are_pages;
            let mut fibers = Vec::new();
            slab.claim(&mut fibers, CHUNK as usize).unwrap();
            assert_eq!(fibers.len(), CHUNK as usize);
            for index in 0..CHUNK {
                let limit = slab.limit(index);
                let ends = [limit, limit + PAGE - 1, limit + PAGE, limit + slab.stride - 1];
                assert_eq!(ends.map(is_readable), [false, false, true, true], "slot {index}");
            }
            // SAFETY: the region of a slab that nobody else knows; its vacant fibers own nothing.
            unsafe { libc::munmap(slab.start as *mut _, slab.capacity as usize * slab.stride) };
        }
    }

    /// How many pages of a slab have memory.
    fn pages(slab: &Slab, slots: u32) -> usize {
        let size = slots as usize * slab.stride;
        let mut pages = vec![0u8; size / PAGE];
        // SAFETY: a byte for each page of a mapping that stays.
        assert_eq!(unsafe { libc::mincore(slab.start as *mut _, size, pages.as_mut_ptr()) }, 0);
        pages.iter().filter(|&&page| page & 1 == 1).count()
    }

    #[test]
    fn the_memory_of_stacks_that_were_not_needed_since_the_last_look_is_given_back_and_no_name_is_used_twice()
    {
        for guards_are_pages in [false, true] {
            let slab: &'static Slab = Box::leak(Box::new(Slab::reserve(0).unwrap()));
            slab.spare().guards_are_pages = guards_are_pages;
            let claim = |count: usize| {
                let mut claimed = Vec::new();
                while claimed.len() < count {
                    let mut some = Vec::new();
                    slab.claim(&mut some, count - claimed.len()).unwrap();
                    claimed.append(&mut some);
                }
                claimed
            };
            let fibers = claim(3 * CHUNK as usize);
            let mut names = std::collections::HashSet::new();
            for (generations, fiber) in fibers.iter().enumerate() {
                // SAFETY: the lowest page of a stack on which nothing runs.
                unsafe { ((slab.limit(fiber.index()) + PAGE) as *mut u8).write(1) };
                for _ in 0..generations {
                    names.insert(fiber.id());
                    fiber.vacate(&mut fiber.end.lock());
                }
            }
            slab.release(fibers.into_iter());
            slab.give_back_surplus();
            assert_eq!(pages(slab, 3 * CHUNK), 2 * 3 * CHUNK as usize, "they have been needed");
            slab.release(claim(CHUNK as usize).into_iter());
            slab.give_back_surplus();
            assert_eq!(pages(slab, 3 * CHUNK), 2 * CHUNK as usize, "two thirds of them have not");
            slab.give_back_surplus();
            assert_eq!(pages(slab, 3 * CHUNK), 0);

            assert!(slab.fibers().all(|fiber| fiber.id().number() == 0), "nobody");
            let fibers = claim(3 * CHUNK as usize);
            assert_eq!(slab.used.load(Ordering::Relaxed), 3 * CHUNK, "the same slots");
            for fiber in fibers {
                assert!(names.insert(fiber.id()), "{fiber:?} has been another");
                let limit = slab.limit(fiber.index());
                assert_eq!([limit, limit + PAGE].map(is_readable), [false, true], "{fiber:?}");
            }
        }
    }
}
