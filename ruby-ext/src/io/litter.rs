//! When the collector is asked to come for pieces of streams.
//!
//! A large piece is litter as soon as its reader has looked at it, but Ruby comes for it when there are 16 to 32 MiB:
//! until then every piece is written to memory that no cache holds, and that the kernel has to find and clear. To come
//! every few MiB keeps a stream where it is warm, which saves more than the collections take, where they are quick.
//! That is measured: a process with many objects or fibers is left alone.

use std::time::Duration;

use magnus::{Error, RModule, Ruby, Value, kwargs, prelude::*};

use crate::scheduler::{Scheduler, collections};

/// What was handed out since the collector came last.
#[derive(Debug)]
pub(crate) struct Litter {
    bytes: u64,
    /// For how much it is worth to come.
    worth: u64,
    /// How often the collector had run when it was looked at last.
    seen: usize,
    /// How long it took when it was asked last.
    took: Duration,
}

impl Default for Litter {
    fn default() -> Self {
        Litter { bytes: 0, worth: LEAST, seen: 0, took: Duration::ZERO }
    }
}

impl Litter {
    /// A piece of so many bytes was handed out.
    pub(crate) fn grow(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// Whether to come for it now. Where the collector has come by itself meanwhile little is left; that a collection
    /// took long is believed a little less each time.
    fn is_due(&mut self) -> bool {
        if self.bytes < self.worth {
            return false;
        }
        let seen = std::mem::replace(&mut self.seen, collections());
        if seen != self.seen {
            self.bytes = 0;
            self.worth = LEAST.max(self.worth - self.worth / 8);
        }
        seen == self.seen
    }

    /// The collector has come, and took so long. The quicker of two counts: one may have found what others left.
    fn collected(&mut self, took: Duration) {
        let before = std::mem::replace(&mut self.took, took);
        let quicker = u64::try_from(took.min(before).as_nanos()).unwrap_or(u64::MAX);
        (self.bytes, self.worth) = (0, LEAST.max(quicker.saturating_mul(BYTES)));
        self.seen = collections();
    }
}

/// Comes for what is young, unless the program wants no collections.
pub(super) fn collect(ruby: &Ruby, scheduler: &Scheduler) -> Result<(), Error> {
    if !scheduler.litter().is_due() || is_disabled() {
        return Ok(());
    }
    let collector: RModule = ruby.class_object().const_get("GC")?;
    let began = spent();
    // Bit by bit, as memory is needed: what is freed at once the allocator gives back to the kernel.
    let _: Value =
        collector.funcall("start", (kwargs!("full_mark" => false, "immediate_sweep" => false),))?;
    scheduler.litter().collected(spent() - began);
    Ok(())
}

/// Whether the program has disabled the collector.
fn is_disabled() -> bool {
    // SAFETY: called with the GVL; what the first call changes the second undoes.
    unsafe {
        let was = rb_sys::rb_gc_disable() == rb_sys::Qtrue as rb_sys::VALUE;
        if !was {
            rb_sys::rb_gc_enable();
        }
        was
    }
}

/// CPU time of this thread: what others do meanwhile is not the collector's.
fn spent() -> Duration {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a timespec for the call to fill; every thread has this clock.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut now) };
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// Less fits in most caches.
const LEAST: u64 = 4 << 20;
/// How many bytes are worth a nanosecond of the collector's: each saves a fifth of one, of which it takes a quarter.
const BYTES: u64 = 20;
