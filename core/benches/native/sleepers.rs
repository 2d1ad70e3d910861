//! Ten thousand fibers that sleep: what a sleep costs, and how late it ends.

use std::time::Duration;

use polyphony_core::{
    native::{Options, Runtime, sleep, sleep_until, spawn},
    time::Time,
};

use crate::measure::{Numbers, in_a_fiber};

const SLEEPERS: u64 = 10_000;

/// Sleeps of 5 to 15 milliseconds each: CPU time, the kernel's part of the waiting included.
pub(crate) fn naps() -> f64 {
    const EACH: u64 = 20;
    in_a_fiber(SLEEPERS * EACH, || {
        let naps = |number| {
            let mut numbers = Numbers::seeded(number);
            for _ in 0..EACH {
                sleep(Duration::from_micros(5_000 + numbers.below(10_000))).unwrap();
            }
        };
        let fibers: Vec<_> = (0..SLEEPERS).map(|number| spawn(move || naps(number)).unwrap()).collect();
        fibers.into_iter().for_each(|fiber| fiber.join().unwrap());
    })
}

/// Microseconds of lateness that so many in a hundred do not exceed, of sleepers that should wake at any time within a
/// second, once all have been started.
pub(crate) fn lateness(percent: usize) -> f64 {
    let runtime = Runtime::new(Options::with_workers(1)).expect("a runtime");
    let late = runtime.run(|| {
        let start = Time::monotonic() + Duration::from_millis(200);
        let sleeper = move |number| {
            let due = start + Duration::from_nanos(Numbers::seeded(number).below(1_000_000_000));
            sleep_until(due).unwrap();
            Time::monotonic().0 - due.0
        };
        let fibers: Vec<_> = (0..SLEEPERS).map(|number| spawn(move || sleeper(number)).unwrap()).collect();
        fibers.into_iter().map(|fiber| fiber.join().unwrap()).collect()
    });
    let mut late: Vec<u64> = late.expect("the bench neither panics nor is cancelled");
    late.sort_unstable();
    late[late.len() * percent / 100] as f64 / 1e3
}
