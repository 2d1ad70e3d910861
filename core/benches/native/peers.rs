//! The rows beside other runtimes: what each runtime is asked for, and what is not to be had from it.
//!
//! The goal is to be first, so every ratio should be 1 at most, but where a row only shows what a fiber with a stack of
//! its own costs beside a future that is a few words. Some were asked for more.

use crate::{
    files, memory,
    rows::{Goal, Row, Side, row},
    sleepers, switches, timers,
};

/// A runtime: what it is called, and its program with the words that choose its flavour.
type Peer = (&'static str, &'static [&'static str]);

const BOOST: Peer = ("Boost.Fiber", &["boost"]);
const COMPIO: Peer = ("compio", &["compio"]);
const GLOMMIO: Peer = ("glommio", &["glommio"]);
const GO: Peer = ("Go", &["go"]);
const LIBUV: Peer = ("libuv", &["libuv"]);
const MAY: Peer = ("may", &["may"]);
const MONOIO: Peer = ("monoio", &["monoio"]);
const SMOL: Peer = ("smol", &["smol"]);
const TOKIO: Peer = ("tokio", &["tokio", "current"]);
const TOKIO_MULTI: Peer = ("tokio, multi-thread", &["tokio", "multi"]);
const TOKIO_URING: Peer = ("tokio-uring", &["tokio_uring"]);

/// All that can spawn and yield. libuv has no tasks, and tokio-uring's are tokio's.
const TASKS: &[Peer] = &[BOOST, COMPIO, GLOMMIO, GO, MAY, MONOIO, SMOL, TOKIO, TOKIO_MULTI];
/// Those with a channel and a lock of their own.
const CHANNELS: &[Peer] = &[BOOST, GLOMMIO, GO, MAY, SMOL, TOKIO, TOKIO_MULTI];
/// Those that schedule two workers as they like.
const CREWS: &[Peer] = &[GO, MAY, TOKIO_MULTI];
/// Those of which one can say what runs where: a runtime a thread, or a goroutine that is locked to its own.
const PLACED: &[Peer] = &[BOOST, GLOMMIO, GO, SMOL, TOKIO];
/// may and Boost.Fiber have no timeouts around anything.
const TIMEOUTS: &[Peer] = &[COMPIO, GLOMMIO, GO, LIBUV, MONOIO, SMOL, TOKIO, TOKIO_MULTI];
const SLEEPS: &[Peer] = &[BOOST, COMPIO, GLOMMIO, GO, LIBUV, MAY, MONOIO, SMOL, TOKIO, TOKIO_MULTI];
/// Those with files.
const FILES: &[Peer] = &[COMPIO, GLOMMIO, GO, LIBUV, MONOIO, SMOL, TOKIO, TOKIO_URING];
/// Those where many may wait for one descriptor.
const MANY_READERS: &[Peer] = &[GO, SMOL, TOKIO];

/// What all of some peers are asked.
struct Asked {
    row: Row,
    /// What the programs of core/benches/peers call it.
    word: &'static str,
    peers: &'static [Peer],
}

/// The rows, in the order in which they are measured: one a peer.
pub(crate) fn rows() -> impl Iterator<Item = Row> {
    asked().into_iter().flat_map(|asked| {
        asked.peers.iter().map(move |peer| {
            let row = asked.row.clone().against((peer.0, side(*peer, asked.word)));
            let row = row.named(format!("{} ({})", asked.row.name, peer.0));
            match goal(asked.word, peer.0) {
                Some(goal) => row.goal(Goal::Times(goal)),
                None => row,
            }
        })
    })
}

fn asked() -> Vec<Asked> {
    let ask = |word, peers, row| Asked { row, word, peers };
    vec![
        ask("yield", TASKS, row("yield among 100", || switches::yields(1))),
        ask("spawn", TASKS, row("spawn and join", || switches::spawns(1))),
        ask(
            "skynet of 100,000",
            TASKS,
            row("skynet of 100,000, a leaf", || switches::skynet(100_000)).at_most(7),
        ),
        ask(
            "skynet of 1,000,000",
            TASKS,
            row("skynet of 1,000,000, a leaf", || switches::skynet(1_000_000)).at_most(3),
        ),
        ask("channel", CHANNELS, row("channel round trip", || switches::channel(1))),
        ask(
            "channel, of two workers",
            CREWS,
            row("channel round trip, two workers' choice", || switches::channel(2)).on_all_cores(),
        ),
        ask(
            "channel, across two workers",
            PLACED,
            row("channel round trip across two workers", switches::far_channel).on_all_cores().at_most(7),
        ),
        ask("mutex", CHANNELS, row("lock that others want", switches::mutex)),
        ask("timeout", TIMEOUTS, row("timeout that is not reached", timers::timeouts)),
        ask("sleep", SLEEPS, row("sleep of 5 to 15 ms, among 10,000", sleepers::naps).at_most(7)),
        ask(
            "p50",
            SLEEPS,
            row("p50 lateness of 10,000 sleepers", || sleepers::lateness(50)).in_unit("us").at_most(5),
        ),
        ask(
            "p99",
            SLEEPS,
            row("p99 lateness of 10,000 sleepers", || sleepers::lateness(99)).in_unit("us").at_most(5),
        ),
        ask("file reads", FILES, row("4 KiB read of a cached file, 64 at once", files::cached)),
        ask(
            "parked",
            MANY_READERS,
            row("memory of a parked reader, of 500,000", memory::parked).in_unit("bytes").at_most(1),
        ),
    ]
}

fn goal(word: &str, peer: &str) -> Option<f64> {
    match (word, peer) {
        ("yield", "may") => Some(0.5),
        ("spawn", "tokio") => Some(0.4),
        ("parked" | "file reads" | "p50", _) => None,
        _ => Some(1.0),
    }
}

fn side(peer: Peer, word: &'static str) -> Side {
    match (peer.0, word) {
        ("Boost.Fiber", "skynet of 1,000,000") => {
            Side::Nobody("its pool of stacks takes 12 GB and more than a minute")
        }
        _ => Side::Peer(peer.1, word),
    }
}
