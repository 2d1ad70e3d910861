//! Giving stacks back to the system that nobody has needed of late.
//!
//! A burst of fibers leaves its stacks behind, a page each at least. Who comes next takes the ones used last; those at
//! the bottom of the pile that a whole second has not reached are the surplus. Its slots become *bare*: they have no
//! memory, and so no records. What is read there is zeros, and a record of zeros is a vacant one that has no name.
//!
//! ```text
//!            bottom              fewest since the last look           top
//! vacant:    │ surplus, nobody came here │ taken and given back meanwhile │
//!                   └──▶ bare
//! ```
//!
//! None of that is done by a worker: where much lies about, a thread looks once a second, and ends when it does not. So a
//! program that spawns and joins pays nothing, and an idle one is left in peace.

use std::{thread, time::Duration};

use super::Slab;
use crate::{
    native::{fiber::FiberRef, plain::KeepErrno},
    syscall,
};

/// How many bytes of vacant stacks a slab has before anybody looks for a surplus.
const MUCH: usize = 64 << 20;
/// What has not been needed for so long is surplus.
const RECENTLY: Duration = Duration::from_secs(1);
/// How many slots become bare at a time: their names cannot be looked up meanwhile.
const AT_ONCE: usize = 64;

/// Whether somebody should look after so many vacant stacks.
#[inline]
pub(super) fn is_much(count: usize, stride: usize) -> bool {
    count * stride > MUCH
}

/// Looks after a slab until there is not much in it any more. Says whether anybody does.
#[cold]
pub(super) fn watch(slab: &'static Slab) -> bool {
    let _keep = KeepErrno::new();
    let look = move || {
        syscall::block_signals();
        loop {
            thread::sleep(RECENTLY);
            if !slab.give_back_surplus() {
                break;
            }
        }
    };
    thread::Builder::new().name("polyphony-stack".to_owned()).spawn(look).is_ok()
}

impl Slab {
    /// Gives the memory of the surplus back to the system. Says whether to look again.
    pub(super) fn give_back_surplus(&self) -> bool {
        let mut surplus = self.take_surplus();
        surplus.sort_unstable_by_key(|fiber| fiber.index());
        // Asked before: what is bare knows neither.
        let generation = surplus.iter().map(|fiber| fiber.generation()).max().unwrap_or(0);
        let places: Vec<_> = surplus.iter().map(|fiber| fiber.index()).collect();
        let runs = places.chunk_by(|one, other| one + 1 == *other);
        let pieces = runs.flat_map(|run| run.chunks(AT_ONCE));
        let bare: usize = pieces.map_while(|places| self.strip(places).then_some(places.len())).sum();

        let mut spare = self.spare();
        spare.generation = spare.generation.max(generation);
        // Backwards, as they are taken from the end: the lowest first.
        spare.bare.extend(places[..bare].iter().rev());
        surplus.drain(..bare);
        // Memory that is locked stays, and nobody need look again.
        let is_locked = !surplus.is_empty();
        spare.fibers.append(&mut surplus);
        spare.is_watched = is_locked || is_much(spare.fibers.len(), self.stride);
        spare.is_watched && !is_locked
    }

    /// Takes the vacant slots that nobody has needed since this was asked last.
    fn take_surplus(&self) -> Vec<FiberRef> {
        let mut spare = self.spare();
        let fewest = spare.fewest;
        let surplus = spare.fibers.drain(..fewest).collect();
        spare.fewest = spare.fibers.len();
        surplus
    }

    /// Takes the memory of slots that lie side by side. Guards stay; whoever looks a name up there waits, and then finds
    /// zeros. False if the system refuses, as it does where memory is locked.
    fn strip(&self, places: &[u32]) -> bool {
        let slots: Vec<_> = places.iter().map(|&place| self.fiber(place)).collect();
        let locks: Vec<_> = slots.iter().map(|slot| slot.end.lock().keep()).collect();
        let start = self.limit(places[0]);
        // SAFETY: vacant slots, which are the caller's alone but for who has news, or a name, of fibers that have ended.
        // Under the lock they find a record of zeros as vacant as it was. The locks become zeros, too: unlocked.
        let refused =
            unsafe { libc::madvise(start as *mut _, places.len() * self.stride, libc::MADV_DONTNEED) } != 0;
        if refused {
            locks.iter().for_each(|lock| lock.unlock());
        }
        !refused
    }
}
