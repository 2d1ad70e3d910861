//! Who of a crew sleeps, who looks for work, and who keeps watch.
//!
//! A worker with nothing to do registers here *before* it looks round for the last time and sleeps; whoever
//! has work to give looks here *after* the work can be seen. So one of them sees the other:
//!
//! ```text
//! sleeper: lie_down ──▶ fence ──▶ look once more ──▶ sleep
//! giver:   show the work ──▶ fence ──▶ call ──▶ wake who was called
//! ```
//!
//! One sleeper is called at a time: while somebody searches, nobody else is called, and who stops searching
//! because something was found calls the next one if there is more. A worker that gives work of its own
//! leaves out its fence, because it would run that work itself in the end; what it may miss by that, the
//! *watch* sees: of those who sleep while others do not, one sleeps for a limited time and looks again.

use super::sync::{AtomicU32, AtomicU64, Ordering::SeqCst};

/// The crew at rest. Workers are numbered from 0, and there are [`MOST`] of them at most.
#[derive(Debug)]
pub(crate) struct Rest {
    /// A bit each worker that sleeps, or is about to, and that nobody has called.
    asleep: AtomicU64,
    /// How many have been called and have neither found anything nor gone to sleep again.
    searching: AtomicU32,
    /// Who keeps watch.
    watch: AtomicU32,
    everybody: u64,
}

/// A crew has no more workers.
pub const MOST: usize = 64;
const NOBODY: u32 = u32::MAX;

impl Rest {
    pub(crate) fn new(workers: usize) -> Self {
        assert!((1..=MOST).contains(&workers), "a crew has 1 to {MOST} workers");
        Rest {
            asleep: AtomicU64::new(0),
            searching: AtomicU32::new(0),
            watch: AtomicU32::new(NOBODY),
            everybody: u64::MAX >> (MOST - workers),
        }
    }

    /// There is work to give: who is to be woken for it. Nobody, if all are awake, or somebody searches.
    #[inline]
    pub(crate) fn call(&self) -> Option<usize> {
        if self.asleep.load(SeqCst) == 0 || self.searching.load(SeqCst) != 0 {
            return None;
        }
        self.call_one()
    }

    /// [`call`](Self::call), unless somebody keeps watch.
    #[inline]
    pub(crate) fn call_unless_watched(&self) -> Option<usize> {
        if self.watch.load(SeqCst) == NOBODY { self.call() } else { None }
    }

    #[cold]
    fn call_one(&self) -> Option<usize> {
        loop {
            if self.searching.compare_exchange(0, 1, SeqCst, SeqCst).is_err() {
                return None;
            }
            // The lowest number: under a light load the same few work, and the others sleep on.
            while let asleep @ 1.. = self.asleep.load(SeqCst) {
                let first = asleep.trailing_zeros();
                if self.asleep.fetch_and(!(1 << first), SeqCst) & 1 << first != 0 {
                    return Some(first as usize);
                }
            }
            self.searching.fetch_sub(1, SeqCst);
            // Somebody may have relied on our search who found nobody asleep to begin with.
            if self.asleep.load(SeqCst) == 0 {
                return None;
            }
        }
    }

    /// A worker is about to sleep; it looks round once more after this. Says whether it is to keep watch:
    /// somebody else is awake, and nobody watches so far.
    pub(crate) fn lie_down(&self, worker: usize, searching: bool) -> bool {
        let asleep = self.asleep.fetch_or(1 << worker, SeqCst) | 1 << worker;
        if searching {
            self.searching.fetch_sub(1, SeqCst);
        }
        asleep != self.everybody && self.watch.compare_exchange(NOBODY, worker as u32, SeqCst, SeqCst).is_ok()
    }

    /// A worker that keeps watch although all others sleep: something was going on a moment ago.
    pub(crate) fn watch_on(&self, worker: usize) -> bool {
        self.watch.compare_exchange(NOBODY, worker as u32, SeqCst, SeqCst).is_ok()
    }

    /// A worker is awake again. Says whether it was called: then it counts as searching.
    pub(crate) fn get_up(&self, worker: usize) -> bool {
        // Only the watch itself enters or takes out its number.
        if self.watch.load(SeqCst) == worker as u32 {
            self.watch.store(NOBODY, SeqCst);
        }
        self.asleep.fetch_and(!(1 << worker), SeqCst) & 1 << worker == 0
    }

    /// A worker that was called has found something. Says whether nobody searches any more: then it calls
    /// the next one if there is more to be had.
    pub(crate) fn found(&self) -> bool {
        self.searching.fetch_sub(1, SeqCst) == 1
    }

    /// How many sleep.
    pub(crate) fn asleep(&self) -> u32 {
        self.asleep.load(SeqCst).count_ones()
    }
}
