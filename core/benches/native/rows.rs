//! The table: what is measured, against what, and what the figure should be.

use crate::{files, memory, operations, peers, sleepers, switches, syscalls, timers, workers};

/// One row.
#[derive(Clone)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    pub(crate) ours: fn() -> f64,
    pub(crate) reference: Option<(&'static str, Side)>,
    pub(crate) goal: Option<Goal>,
    /// How many runs at most; 1 where the figure does not vary.
    pub(crate) most: usize,
    /// Whether it is about more than one core; else all its processes are kept on the same.
    pub(crate) on_all_cores: bool,
}

/// Where a reference's figure comes from.
#[derive(Clone, Copy)]
pub(crate) enum Side {
    /// This program.
    Here(fn() -> f64),
    /// A program of core/benches/peers with the words that choose its flavour, told one of its measurements.
    Peer(&'static [&'static str], &'static str),
    /// None, for that reason.
    Nobody(&'static str),
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
use Side::Here;

/// All rows, in the order in which they are measured.
pub(crate) fn all() -> Vec<Row> {
    own().into_iter().chain(peers::rows()).collect()
}

/// Those beside the barest thing that does the same, and those of figures alone.
fn own() -> Vec<Row> {
    vec![
        row("yield among 100 native fibers", || switches::yields(1)).against(BARE_PAIR).goal(Times(6.0)),
        row("spawn and join", || switches::spawns(1)).goal(Figure(80.0)),
        row("channel round trip", || switches::channel(1)).goal(Figure(60.0)),
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
        row("p50 lateness of 10,000 sleepers", || sleepers::lateness(50))
            .in_unit("us")
            .goal(Figure(200.0))
            .at_most(7),
        row("4 KiB read of a cached file, 64 at once", files::cached)
            .against(("a bare ring", Here(files::bare_cached)))
            .goal(Times(1.0 / 0.95)),
        row("4 KiB read from the disk, 64 at once, as time passes", files::direct)
            .against(("a bare ring", Here(files::bare_direct)))
            .goal(Times(1.0 / 0.95)),
        row("fibers that compute, on two workers", || workers::compute(2))
            .on_all_cores()
            .against(("on one", Here(|| workers::compute(1))))
            .goal(Times(1.0 / 1.7)),
        row("skynet of 100,000, on two workers", || workers::skynet(2, 100_000))
            .on_all_cores()
            .against(("on one", Here(|| workers::skynet(1, 100_000)))),
        row("skynet of 1,000,000, on two workers", || workers::skynet(2, 1_000_000))
            .on_all_cores()
            .against(("on one", Here(|| workers::skynet(1, 1_000_000))))
            .at_most(3),
        row("echo among 64 pairs, on two workers", || workers::echo(2))
            .on_all_cores()
            .against(("on one", Here(|| workers::echo(1))))
            .goal(Times(1.0 / 1.5)),
        row("io_uring_enter a turn", syscalls::enters_a_turn).in_unit("calls").goal(Figure(1.05)).at_most(1),
        row("system calls of an idle runtime, a second", syscalls::idle_calls)
            .in_unit("calls")
            .goal(Figure(0.0))
            .at_most(1),
    ]
}

const BARE_PAIR: (&str, Side) = ("resume and suspend of a bare coroutine", Here(switches::bare_pair));

/// The figure of a side of this program's, named `ours NAME` or `reference NAME`.
pub(crate) fn figure(side: &str) -> f64 {
    let (which, name) = side.split_once(' ').expect("which side of which row");
    let row = all().into_iter().find(|row| row.name == name).expect("such a row");
    match (which, row.reference) {
        ("reference", Some((_, Here(measure)))) => measure(),
        _ => (row.ours)(),
    }
}

/// A row in nanoseconds, with nothing beside it.
pub(crate) fn row(name: &str, ours: fn() -> f64) -> Row {
    Row { name: name.into(), unit: "ns", ours, reference: None, goal: None, most: 21, on_all_cores: false }
}

impl Row {
    pub(crate) fn named(self, name: String) -> Row {
        Row { name, ..self }
    }

    pub(crate) fn against(self, reference: (&'static str, Side)) -> Row {
        Row { reference: Some(reference), ..self }
    }

    pub(crate) fn goal(self, goal: Goal) -> Row {
        Row { goal: Some(goal), ..self }
    }

    pub(crate) fn in_unit(self, unit: &'static str) -> Row {
        Row { unit, ..self }
    }

    pub(crate) fn at_most(self, most: usize) -> Row {
        Row { most, ..self }
    }

    pub(crate) fn on_all_cores(self) -> Row {
        Row { on_all_cores: true, ..self }
    }
}
