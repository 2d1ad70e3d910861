//! Switches between tasks or coroutines, without I/O. Prints nanoseconds of CPU per unit of work.
//!
//!     micro may|tokio yield|spawn|channel
//!
//! Each measurement does what the row of the same name in core/benches/native/switches.rs does, as a
//! programmer who knows that runtime would write it, on one thread.

mod may_rows;
mod tokio_rows;

use std::{env, time::Duration};

fn main() {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let figure = match words[..] {
        ["may", row] => may_rows::figure(row),
        ["tokio", row] => tokio_rows::figure(row),
        _ => panic!("usage: micro may|tokio yield|spawn|channel"),
    };
    println!("{figure}");
}

/// Nanoseconds of CPU per unit that `work` takes for `units`.
fn per_unit(units: u64, work: impl FnOnce()) -> f64 {
    let start = cpu();
    work();
    (cpu() - start).as_nanos() as f64 / units as f64
}

/// CPU time that this process has used, in all its threads and in the kernel.
fn cpu() -> Duration {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: room for a timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut now) };
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}
