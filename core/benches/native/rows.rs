//! The table: what is measured, against what, and what the figure should be.

use crate::{memory, operations, switches, syscalls, timers, workers};

/// One row.
#[derive(Clone, Copy)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) ours: fn() -> f64,
    pub(crate) reference: Option<(&'static str, Side)>,
    pub(crate) goal: Option<Goal>,
    /// How many runs at most; 1 where the figure does not vary.
    pub(crate) most: usize,
}

/// Where a reference's figure comes from.
#[derive(Clone, Copy)]
pub(crate) enum Side {
    /// This program.
    Here(fn() -> f64),
    /// The program of core/benches/peers, told a runtime and one of its measurements.
    Peer(&'static str, &'static str),
}

/// What a row should show at most.
#[derive(Clone, Copy)]
pub(crate) enum Goal {
    /// So many times the reference.
    Times(f64),
    /// Such a figure.
    Figure(f64),
    /// So much more than the reference.
    More(f64),
}

use Goal::{Figure, More, Times};
use Side::{Here, Peer};

/// All rows, in the order in which they are measured.
pub(crate) const ROWS: &[Row] = &[
    row("yield among 100 native fibers", || switches::yields(1)).against(BARE_PAIR).goal(Times(6.0)),
    row("yield among 100 native fibers, and may's", || switches::yields(1))
        .against(("may", Peer("may", "yield")))
        .goal(Times(0.5)),
    row("yield among 100 native fibers, and tokio's", || switches::yields(1))
        .against(("tokio", Peer("tokio", "yield"))),
    row("spawn and join", || switches::spawns(1)).goal(Figure(80.0)),
    row("spawn and join, and tokio's", || switches::spawns(1))
        .against(("tokio", Peer("tokio", "spawn")))
        .goal(Times(0.4)),
    row("spawn and join, and may's", || switches::spawns(1)).against(("may", Peer("may", "spawn"))),
    row("channel round trip", || switches::channel(1)).goal(Figure(60.0)),
    row("channel round trip, and tokio's", || switches::channel(1))
        .against(("tokio", Peer("tokio", "channel"))),
    row("channel round trip, and may's", || switches::channel(1)).against(("may", Peer("may", "channel"))),
    row("lock of a contended mutex", switches::mutex).against(BARE_PAIR),
    row("yield among 100 native fibers, one of two workers", || switches::yields(2))
        .against(("the only worker", Here(|| switches::yields(1))))
        .goal(Times(1.2)),
    row("spawn and join, one of two workers", || switches::spawns(2))
        .against(("the only worker", Here(|| switches::spawns(1))))
        .goal(Times(1.2)),
    row("channel round trip, one of two workers", || switches::channel(2))
        .against(("the only worker", Here(|| switches::channel(1))))
        .goal(Times(1.2)),
    row("NOP of a native fiber, 128 at once", operations::nops)
        .against(("a bare ring", Here(operations::bare_nops)))
        .goal(Times(1.65)),
    row("read under a deadline, 128 at once", operations::reads::<128, true>)
        .against(("without", Here(operations::reads::<128, false>)))
        .goal(More(40.0)),
    row("read under a deadline, alone", operations::reads::<1, true>)
        .against(("without", Here(operations::reads::<1, false>)))
        .goal(More(40.0)),
    row("bare ring's read under a deadline, alone", operations::bare_reads::<true>)
        .against(("without", Here(operations::bare_reads::<false>))),
    row("timer armed and disarmed among 100,000", timers::wheel)
        .against(("a sorted map", Here(timers::sorted_map)))
        .goal(Figure(20.0)),
    row("sleep that is over at once", timers::sleeps).against(BARE_PAIR),
    row("memory of a parked native fiber, of 500,000", memory::parked)
        .in_unit("bytes")
        .goal(Figure(4500.0))
        .at_most(5),
    row("fibers that compute, on two workers", || workers::compute(2))
        .against(("on one", Here(|| workers::compute(1))))
        .goal(Times(1.0 / 1.7)),
    row("skynet of 100,000, on two workers", || workers::skynet(2, 100_000))
        .against(("on one", Here(|| workers::skynet(1, 100_000)))),
    row("skynet of 1,000,000, on two workers", || workers::skynet(2, 1_000_000))
        .against(("on one", Here(|| workers::skynet(1, 1_000_000))))
        .at_most(3),
    row("echo among 64 pairs, on two workers", || workers::echo(2))
        .against(("on one", Here(|| workers::echo(1))))
        .goal(Times(1.0 / 1.5)),
    row("io_uring_enter a turn", syscalls::enters_a_turn).in_unit("calls").goal(Figure(1.05)).at_most(1),
    row("system calls of an idle runtime, a second", syscalls::idle_calls)
        .in_unit("calls")
        .goal(Figure(0.0))
        .at_most(1),
];

const BARE_PAIR: (&str, Side) = ("resume and suspend of a bare coroutine", Here(switches::bare_pair));

/// The figure of a side of this program's, named `ours NAME` or `reference NAME`.
pub(crate) fn figure(side: &str) -> f64 {
    let (which, name) = side.split_once(' ').expect("which side of which row");
    let row = ROWS.iter().find(|row| row.name == name).expect("such a row");
    match (which, row.reference) {
        ("reference", Some((_, Here(measure)))) => measure(),
        _ => (row.ours)(),
    }
}

/// A row in nanoseconds, with nothing beside it.
const fn row(name: &'static str, ours: fn() -> f64) -> Row {
    Row { name, unit: "ns", ours, reference: None, goal: None, most: 21 }
}

impl Row {
    const fn against(self, reference: (&'static str, Side)) -> Row {
        Row { reference: Some(reference), ..self }
    }

    const fn goal(self, goal: Goal) -> Row {
        Row { goal: Some(goal), ..self }
    }

    const fn in_unit(self, unit: &'static str) -> Row {
        Row { unit, ..self }
    }

    const fn at_most(self, most: usize) -> Row {
        Row { most, ..self }
    }
}
