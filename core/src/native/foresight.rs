//! Fetching what will be touched soon, while there is something else to do.
//!
//! A thousand fibers that wait for bytes are out of the cache by the time the bytes come: each resume would
//! wait for the memory of the fiber's record and of its stack. Who runs in a moment is known, so that memory
//! can be on its way. Nothing here reads or writes: an address that is wrong costs time, no more.

const LINE: usize = 64;

/// Fetches the two lines of a fiber's record that a completion and a resume touch.
#[inline(always)]
pub(super) fn fetch_record(record: *const u8) {
    fetch(record);
    fetch(record.wrapping_add(LINE));
}

/// Fetches the stack of a call that waits, given the address of something in its frame: that line, three below
/// (what it called, down to the switch) and one above (who called it).
#[inline(always)]
pub(super) fn fetch_frames(frame: *const u8) {
    let lowest = frame.wrapping_sub(3 * LINE);
    (0..5).for_each(|line| fetch(lowest.wrapping_add(line * LINE)));
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn fetch(address: *const u8) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: a prefetch of any address is allowed, and never faults.
    unsafe { _mm_prefetch(address.cast(), _MM_HINT_T0) };
}

/// Elsewhere the processor is left to itself.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn fetch(_: *const u8) {}
