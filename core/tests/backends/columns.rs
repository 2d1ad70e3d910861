//! The columns of the grid: what is done with an operation, and what must come of it.

use std::time::Duration;

use polyphony_core::{
    backend::{
        Backend, Time,
        epoll::Epoll,
        sim::{Answer, Sim},
        uring::Uring,
    },
    op::{Op, OpKey},
};

use crate::{
    rows::{Expected, Row, Scene, Situation},
    support::{
        Bench,
        fds::{MODES, Mode},
    },
};

/// Where the scenes are played: before the real kernel, or before one that has to be told.
pub trait Theatre: Backend + Sized {
    /// The other side does its part.
    fn act(bench: &mut Bench<Self>, scene: &mut Scene);
    /// What holds in the world is as it should be.
    fn check(scene: &mut Scene, result: i32);
}

/// Takes a step of a scene out of it, to be played once.
fn once(step: &mut Box<dyn FnOnce()>) -> Box<dyn FnOnce()> {
    std::mem::replace(step, Box::new(|| ()))
}

fn check_world(scene: &mut Scene, result: i32) {
    once(&mut scene.world)();
    if matches!(scene.expected, Expected::Descriptor) {
        // SAFETY: a descriptor that was made for this test, and is nobody else's.
        assert_eq!(unsafe { libc::close(result) }, 0, "{result} is no descriptor");
    }
}

impl Theatre for Uring {
    fn act(_: &mut Bench<Self>, scene: &mut Scene) {
        once(&mut scene.act)();
    }

    fn check(scene: &mut Scene, result: i32) {
        check_world(scene, result);
    }
}

impl Theatre for Epoll {
    fn act(_: &mut Bench<Self>, scene: &mut Scene) {
        once(&mut scene.act)();
    }

    fn check(scene: &mut Scene, result: i32) {
        check_world(scene, result);
    }
}

impl Theatre for Sim {
    fn act(bench: &mut Bench<Self>, scene: &mut Scene) {
        let answer = match (scene.bytes, scene.expected) {
            (Some((_, bytes)), _) => Answer::bytes(bytes),
            (None, Expected::Exactly(result)) => Answer::result(result),
            (None, Expected::Descriptor) => Answer::result(1_000_000),
        };
        let kind = scene.op.kind();
        let fd = scene.op.fd().unwrap_or(-1);
        bench.shard.backend_mut().inner.script(fd, kind, answer.after(Duration::from_millis(1)));
    }

    fn check(_: &mut Scene, _: i32) {}
}

/// The operation ends as its scene expects.
fn ends_well<B: Theatre>(bench: &mut Bench<B>, mut scene: Scene, key: OpKey) {
    let outcome = bench.outcome(key);
    match scene.expected {
        Expected::Exactly(expected) => assert_eq!(outcome.result, expected, "of {:?}", scene.op),
        Expected::Descriptor => assert!(outcome.result >= 0, "{} of {:?}", outcome.result, scene.op),
    }
    if let Some((buf, expected)) = scene.bytes {
        let seen = match outcome.buffer {
            Some(id) => bench.shard.buffer(id, expected.len()).to_vec(),
            None if expected.is_empty() => Vec::new(),
            // SAFETY: the memory of the tests lives for ever, and the operation has ended.
            None => unsafe { std::slice::from_raw_parts(buf, expected.len()) }.to_vec(),
        };
        assert_eq!(seen, expected);
    }
    if let Some(id) = outcome.buffer {
        bench.shard.recycle(id);
    }
    B::check(&mut scene, outcome.result);
    assert_eq!(bench.shard.in_flight(), 0);
}

/// Ready before it is asked for, and asked for before it is ready: both modes, both ways.
fn plays<B: Theatre>(bench: &mut Bench<B>, row: Row, situation: Situation) {
    for mode in MODES {
        let mut scene = row(situation, mode);
        B::act(bench, &mut scene);
        let key = bench.submit(scene.op);
        ends_well(bench, scene, key);

        let mut scene = row(situation, mode);
        let key = bench.submit(scene.op);
        bench.settle();
        B::act(bench, &mut scene);
        ends_well(bench, scene, key);
    }
}

pub fn whole<B: Theatre>(bench: &mut Bench<B>, row: Row) {
    plays(bench, row, Situation::Whole);
}

pub fn short<B: Theatre>(bench: &mut Bench<B>, row: Row) {
    plays(bench, row, Situation::Short);
}

pub fn end<B: Theatre>(bench: &mut Bench<B>, row: Row) {
    plays(bench, row, Situation::End);
}

pub fn error<B: Theatre>(bench: &mut Bench<B>, row: Row) {
    plays(bench, row, Situation::Error);
}

/// Cancelled in the turn in which it was submitted, or later: it ends as cancelled, and what it waited
/// for is there for the next of its kind.
pub fn cancelled<B: Theatre>(bench: &mut Bench<B>, row: Row) {
    for mode in MODES {
        for settled in [false, true] {
            let mut scene = row(Situation::Whole, mode);
            let key = bench.submit(scene.op);
            if settled {
                bench.settle();
            }
            bench.shard.cancel(key);
            bench.shard.cancel(key);
            assert_eq!(bench.result(key), -libc::ECANCELED, "of {:?}", scene.op);
            B::act(bench, &mut scene);
            let again = bench.submit(scene.op);
            ends_well(bench, scene, again);
        }
    }
}

/// The same for what nobody lives to see the end of.
pub fn only_cancelled<B: Theatre>(bench: &mut Bench<B>, row: Row) {
    for settled in [false, true] {
        let scene = row(Situation::Whole, Mode::Blocking);
        let key = bench.submit(scene.op);
        if settled {
            bench.settle();
        }
        bench.shard.cancel(key);
        assert_eq!(bench.result(key), -libc::ECANCELED);
        assert_eq!(bench.shard.in_flight(), 0);
    }
}

/// What hardly waits may end before it is cancelled; it says which of the two it was.
pub fn cancelled_or_done<B: Theatre>(bench: &mut Bench<B>, row: Row) {
    for mode in MODES {
        let mut scene = row(Situation::Whole, mode);
        B::act(bench, &mut scene);
        let key = bench.submit(scene.op);
        bench.shard.cancel(key);
        if bench.result(key) != -libc::ECANCELED {
            ends_well(bench, scene, key);
        }
        assert_eq!(bench.shard.in_flight(), 0);
    }
}

/// A deadline of the shard's cancels it.
pub fn timed_out<B: Theatre>(bench: &mut Bench<B>, row: Row) {
    for mode in MODES {
        let mut scene = row(Situation::Whole, mode);
        let key = bench.submit(scene.op);
        let asked = bench.shard.now();
        bench.cancel_after(Duration::from_millis(2), key);
        assert_eq!(bench.result(key), -libc::ECANCELED);
        assert!(bench.shard.now().since(asked) >= Duration::from_millis(2), "it was cancelled too early");
        B::act(bench, &mut scene);
        let again = bench.submit(scene.op);
        ends_well(bench, scene, again);
    }
}

/// Its descriptor is closed while it waits: cancelled first, as the host promises.
pub fn closed<B: Theatre>(bench: &mut Bench<B>, row: Row) {
    for mode in MODES {
        let mut scene = row(Situation::Whole, mode);
        let fd = scene.op.fd().expect("the grid closes only what has a descriptor");
        let key = bench.submit(scene.op);
        bench.settle();
        assert_eq!(bench.shard.cancel_fd(fd), 1);
        let at = scene.stage.iter().position(|owned| std::os::fd::AsRawFd::as_raw_fd(owned) == fd).unwrap();
        let fd = std::os::fd::IntoRawFd::into_raw_fd(scene.stage.swap_remove(at));
        let closing = bench.submit(Op::Close { fd });
        assert_eq!(bench.result(key), -libc::ECANCELED);
        assert_eq!(bench.result(closing), 0);
        assert_eq!(bench.shard.in_flight_on(fd), 0);
    }
}

/// More of them than any queue holds, ready one after the other; every other one is cancelled.
pub fn full<B: Theatre>(bench: &mut Bench<B>, row: Row) {
    for cancelling in [false, true] {
        let mut scenes: Vec<(Scene, OpKey)> = (0..CROWD)
            .map(|number| {
                let scene = row(Situation::Whole, MODES[number % 2]);
                let key = bench.submit(scene.op);
                (scene, key)
            })
            .collect();
        if cancelling {
            for (_, key) in scenes.iter().skip(1).step_by(2) {
                bench.shard.cancel(*key);
            }
        }
        for (number, (scene, _)) in scenes.iter_mut().enumerate() {
            if !cancelling || number % 2 == 0 {
                B::act(bench, scene);
            }
        }
        for (number, (mut scene, key)) in scenes.into_iter().enumerate() {
            let outcome = bench.outcome(key);
            if let Some(id) = outcome.buffer {
                bench.shard.recycle(id);
            }
            match scene.expected {
                _ if cancelling && number % 2 == 1 && outcome.is_cancelled() => continue,
                Expected::Exactly(expected) => assert_eq!(outcome.result, expected, "of {:?}", scene.op),
                Expected::Descriptor => assert!(outcome.result >= 0, "{}", outcome.result),
            }
            B::check(&mut scene, outcome.result);
        }
        assert_eq!(bench.shard.in_flight(), 0);
    }
    assert!(bench.shard.now() > Time(0));
}

/// How many make a crowd.
const CROWD: usize = 24;
