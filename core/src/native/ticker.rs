//! Something that happens again and again, at times that do not drift.

use super::{errno::Result, spawn::sleep_until};
use crate::time::Time;

/// Ticks, a period apart from one another. One caller at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticker {
    /// When it ticks next.
    pub next: Time,
    /// Nanoseconds between two ticks; not 0.
    pub period: u64,
    /// Ticks that were missed are made up for, one after the other; else they are counted and skipped.
    pub catches_up: bool,
}

impl Ticker {
    /// Waits for the next tick; says how many have been since the last one that was told, always one where it
    /// catches up. A wait that is interrupted leaves the tick for the next.
    pub fn wait(&mut self) -> Result<u64> {
        sleep_until(self.next)?;
        let ticks = if self.catches_up { 1 } else { self.ticks_until(Time::monotonic()) };
        self.next = Time(self.next.0.saturating_add(self.period.saturating_mul(ticks)));
        Ok(ticks)
    }

    fn ticks_until(&self, now: Time) -> u64 {
        now.0.saturating_sub(self.next.0) / self.period.max(1) + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_that_were_missed_are_counted_and_the_rest_stay_in_step() {
        let ticker = Ticker { next: Time(100), period: 10, catches_up: false };
        let counts = [100, 109, 110, 119, 145].map(|now| ticker.ticks_until(Time(now)));
        assert_eq!(counts, [1, 1, 2, 2, 5]);
    }

    #[test]
    fn a_ticker_that_catches_up_tells_every_tick() {
        let start = Time(Time::monotonic().0.saturating_sub(95));
        let mut ticker = Ticker { next: start, period: 10, catches_up: true };
        for count in 1..=5 {
            assert_eq!(ticker.wait(), Ok(1));
            assert_eq!(ticker.next, Time(start.0 + 10 * count));
        }
    }

    #[test]
    fn a_ticker_that_skips_tells_a_late_one_how_many_there_were() {
        let start = Time(Time::monotonic().0.saturating_sub(1_000_000));
        let mut ticker = Ticker { next: start, period: 100_000, catches_up: false };
        assert!(ticker.wait().unwrap() >= 10);
        assert_eq!((ticker.next.0 - start.0) % 100_000, 0);
    }
}
