//! Timers: a hundred thousand are armed, and one more comes and goes.

use std::{collections::BTreeMap, time::Duration};

use polyphony_core::{
    backend::sim::Sim,
    host::{Host, Then},
    native::{sleep_until, within, yield_now},
    op::{OpKey, Outcome},
    run_queue::Fifo,
    shard::Shard,
    time::Time,
    timers::TimerKey,
};

use crate::measure::{Numbers, in_a_fiber, per_unit};

const ARMED: u32 = 100_000;
const TURNS: u64 = 5_000_000;

/// The deadlines of timeouts: some time within the next minute, in no order.
fn spans() -> impl Iterator<Item = Duration> {
    let mut numbers = Numbers::seeded(0);
    std::iter::repeat_with(move || Duration::from_nanos(numbers.below(60_000_000_000)))
}

/// Arming and disarming in a shard's wheel.
pub(crate) fn wheel() -> f64 {
    let mut shard = Shard::new(Nobody, Sim::new(1));
    let now = shard.now();
    let mut spans = spans();
    spans.by_ref().zip(0..ARMED).for_each(|(span, fiber)| {
        let _ = shard.at(now + span, fiber);
    });
    let deadlines: Vec<Time> = spans.take(1024).map(|span| now + span).collect();
    per_unit(TURNS, || {
        for &deadline in deadlines.iter().cycle().take(TURNS as usize) {
            let timer = shard.at(deadline, 0);
            assert!(shard.disarm(timer));
        }
    })
}

/// Inserting into and removing from a sorted map.
pub(crate) fn sorted_map() -> f64 {
    let mut map: BTreeMap<(Time, u32), u32> = BTreeMap::new();
    let mut spans = spans();
    let at = |span| Time(0) + span;
    spans.by_ref().zip(0..ARMED).for_each(|(span, fiber)| {
        let _ = map.insert((at(span), fiber), fiber);
    });
    let deadlines: Vec<Time> = spans.take(1024).map(at).collect();
    per_unit(TURNS, || {
        for &deadline in deadlines.iter().cycle().take(TURNS as usize) {
            map.insert((deadline, ARMED), 0);
            assert_eq!(map.remove(&(deadline, ARMED)), Some(0));
        }
    })
}

/// Sleeps that are over at once.
pub(crate) fn sleeps() -> f64 {
    const SLEEPS: u64 = 1_000_000;
    in_a_fiber(SLEEPS, || (0..SLEEPS).for_each(|_| sleep_until(Time(1)).unwrap()))
}

/// Timeouts around something that is over sooner, and lets others run.
pub(crate) fn timeouts() -> f64 {
    const TIMEOUTS: u64 = 2_000_000;
    in_a_fiber(TIMEOUTS, || {
        for _ in 0..TIMEOUTS {
            assert_eq!(within(Duration::from_secs(3600), yield_now), (Ok(()), false));
        }
    })
}

/// A host without fibers, for a shard that is asked for timers only.
struct Nobody;

impl Host for Nobody {
    type Fiber = u32;
    type Keep = ();
    type Queue = Fifo<u32>;

    fn completed(&mut self, _: u32, _: OpKey, _: Outcome) -> Then {
        Then::Nothing
    }

    fn expired(&mut self, _: u32, _: TimerKey) -> Then {
        Then::Nothing
    }

    fn notified(&mut self, _: u32) -> Then {
        Then::Nothing
    }
}
