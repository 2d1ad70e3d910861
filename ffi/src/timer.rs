//! Tickers.

use std::ffi::c_int;

use polyphony_core::{
    native::{Errno, Ticker},
    time::Time,
};

use crate::boundary::{call, done, put, wanted};

/// A ticker tells every tick: who is late gets those that were missed one after the other, without a wait.
/// Without this flag they are skipped, and told as a number.
pub const POLY_TICKER_CATCH_UP: u32 = 1;

/// Something that happens again and again. A struct of the caller's, to be copied and forgotten at will; there
/// is nothing to free.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct poly_ticker {
    /// When it ticks next, as `poly_now` tells the time.
    pub next: u64,
    /// Nanoseconds between two ticks.
    pub period: u64,
    /// 0 or `POLY_TICKER_CATCH_UP`.
    pub flags: u32,
}

/// Starts a ticker whose first tick comes when one period has passed. Ticks do not drift: each is a period after
/// the one before, however late that was heard.
///
///     poly_ticker ticker;
///     poly_ticker_start(&ticker, POLY_SECOND, 0);
///     while (poly_ticker_wait(&ticker) > 0)
///         puts("a second has passed");
///
/// Never suspends. Any thread.
/// Returns 0; -EINVAL for NULL, a period of 0 and other flags. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_ticker_start(ticker: *mut poly_ticker, period: u64, flags: u32) -> c_int {
    done(|| {
        if period == 0 || flags & !POLY_TICKER_CATCH_UP != 0 {
            return Err(Errno::new(libc::EINVAL));
        }
        let next = Time::monotonic().0.saturating_add(period);
        // SAFETY: an output by the header's conventions.
        unsafe { put(ticker, poly_ticker { next, period, flags }) }
    })
}

/// Waits for the next tick.
///
/// Suspends; blocks a plain thread. Any thread, one at a time.
/// Returns how many ticks there have been since the last one that was told: 1, or more where some were missed;
/// always 1 for a ticker that catches up. -ECANCELED or -ETIMEDOUT, and then the tick is for the next call;
/// -EINVAL. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_ticker_wait(ticker: *mut poly_ticker) -> i64 {
    call(|| {
        wanted(ticker)?;
        // SAFETY: not null, and one caller has it at a time.
        let place = unsafe { &mut *ticker };
        if place.period == 0 {
            return Err(Errno::new(libc::EINVAL));
        }
        let catches_up = place.flags & POLY_TICKER_CATCH_UP != 0;
        let mut ticking = Ticker { next: Time(place.next), period: place.period, catches_up };
        let ticks = ticking.wait()?;
        place.next = ticking.next.0;
        Ok(ticks as i64)
    })
}
