//! What a side uses to measure itself: CPU time, because wall time on a shared machine tells of its
//! neighbours, and resident memory.

use std::{process, time::Duration};

use polyphony_core::native::{Options, Runtime};

/// CPU time that this process has used, in all its threads and in the kernel.
fn cpu() -> Duration {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: room for a timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut now) };
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// Nanoseconds of CPU per unit that `work` takes for `units`.
pub(crate) fn per_unit(units: u64, work: impl FnOnce()) -> f64 {
    let start = cpu();
    work();
    (cpu() - start).as_nanos() as f64 / units as f64
}

/// [`per_unit`] in a fiber of a fresh runtime of one worker.
pub(crate) fn in_a_fiber(units: u64, work: impl FnOnce() + Send + 'static) -> f64 {
    in_a_fiber_of(1, units, work)
}

/// [`per_unit`] in a fiber of a fresh runtime.
pub(crate) fn in_a_fiber_of(workers: usize, units: u64, work: impl FnOnce() + Send + 'static) -> f64 {
    let runtime = Runtime::new(Options::with_workers(workers)).expect("a runtime");
    runtime.run(move || per_unit(units, work)).expect("the bench neither panics nor is cancelled")
}

/// Bytes of this process in memory, page tables included.
pub(crate) fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc");
    let field = |name: &str| -> usize {
        let line = status.lines().find(|line| line.starts_with(name)).expect("the field");
        line.split_whitespace().nth(1).and_then(|kilobytes| kilobytes.parse().ok()).expect("a number")
    };
    (field("VmRSS:") + field("VmPTE:")) * 1024
}

/// A sequence of numbers that look random, each run the same.
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn seeded(seed: u64) -> Self {
        Numbers(0x9e37_79b9_7f4a_7c15 ^ seed.wrapping_mul(0xd134_2543_de82_ef95))
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// Says why there is no figure, in its place.
pub(crate) fn missing(why: &str) -> ! {
    println!("{why}");
    process::exit(0);
}

/// Both ends of a new pipe, which live as long as the process.
pub(crate) fn pipe() -> [i32; 2] {
    let mut ends = [0; 2];
    // SAFETY: room for two descriptors.
    assert_eq!(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) }, 0);
    ends
}
