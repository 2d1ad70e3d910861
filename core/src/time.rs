//! The monotonic clock.

use std::{ops::Add, time::Duration};

/// Nanoseconds of a backend's monotonic clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub u64);

impl Time {
    /// The time that the kernel's monotonic clock shows.
    #[inline]
    pub fn monotonic() -> Self {
        Self::shown_by(libc::CLOCK_MONOTONIC)
    }

    /// What the same clock showed when it last ticked, some milliseconds ago. That is read at once, where
    /// the exact time may take longer than a turn has to spare.
    #[inline]
    pub fn recent() -> Self {
        Self::shown_by(libc::CLOCK_MONOTONIC_COARSE)
    }

    #[inline]
    fn shown_by(clock: libc::clockid_t) -> Self {
        let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `now` is a timespec for clock_gettime to fill; it cannot fail for the clocks above.
        unsafe { libc::clock_gettime(clock, &mut now) };
        Time(now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64)
    }

    /// How long from `earlier` until this time; zero if it has passed.
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Time;

    fn add(self, span: Duration) -> Time {
        Time(self.0.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }
}
