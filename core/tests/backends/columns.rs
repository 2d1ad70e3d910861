//! The columns of the grid: what is done with an operation, and what must come of it.

use std::{
    os::fd::{AsRawFd, IntoRawFd, RawFd},
    time::Duration,
};

use crate::{
    rows::{Expected, Row, Scene, Situation},
    stages::{End, Stage},
    support::fds::{MODES, Mode},
};

/// The operation ends as its scene expects.
fn ends_well<S: Stage>(stage: &mut S, scene: Scene, key: S::Key) {
    let end = stage.end(key, &scene);
    ended_well(stage, scene, end);
    stage.is_empty();
}

fn ended_well<S: Stage>(stage: &mut S, mut scene: Scene, end: End) {
    match scene.expected {
        Expected::Exactly(expected) => assert_eq!(end.result, expected, "of {:?}", scene.op),
        Expected::Descriptor => assert!(end.result >= 0, "{} of {:?}", end.result, scene.op),
    }
    assert_eq!(end.bytes, scene.bytes.map_or(&b""[..], |(_, bytes)| bytes));
    stage.check(&mut scene, end.result);
}

/// Ready before it is asked for, and asked for before it is ready: both modes, both ways.
fn plays<S: Stage>(stage: &mut S, row: Row, situation: Situation) {
    for mode in MODES {
        let mut scene = row(situation, mode);
        stage.act(&mut scene);
        let key = stage.begin(scene.op);
        ends_well(stage, scene, key);

        let mut scene = row(situation, mode);
        let key = stage.begin(scene.op);
        stage.settle();
        stage.act(&mut scene);
        ends_well(stage, scene, key);
    }
}

pub fn whole<S: Stage>(stage: &mut S, row: Row) {
    plays(stage, row, Situation::Whole);
}

pub fn short<S: Stage>(stage: &mut S, row: Row) {
    plays(stage, row, Situation::Short);
}

pub fn end<S: Stage>(stage: &mut S, row: Row) {
    plays(stage, row, Situation::End);
}

pub fn error<S: Stage>(stage: &mut S, row: Row) {
    plays(stage, row, Situation::Error);
}

/// Cancelled in the turn in which it was submitted, or later: it ends as cancelled, and what it waited
/// for is there for the next of its kind.
pub fn cancelled<S: Stage>(stage: &mut S, row: Row) {
    for mode in MODES {
        for settled in [false, true] {
            let mut scene = row(Situation::Whole, mode);
            let key = stage.begin(scene.op);
            if settled {
                stage.settle();
            }
            stage.cancel(key);
            stage.cancel(key);
            assert_eq!(stage.end(key, &scene).result, -libc::ECANCELED, "of {:?}", scene.op);
            stage.act(&mut scene);
            let again = stage.begin(scene.op);
            ends_well(stage, scene, again);
        }
    }
}

/// The same for what nobody lives to see the end of.
pub fn only_cancelled<S: Stage>(stage: &mut S, row: Row) {
    for settled in [false, true] {
        let scene = row(Situation::Whole, Mode::Blocking);
        let key = stage.begin(scene.op);
        if settled {
            stage.settle();
        }
        stage.cancel(key);
        assert_eq!(stage.end(key, &scene).result, -libc::ECANCELED);
        stage.is_empty();
    }
}

/// What hardly waits may end before it is cancelled; it says which of the two it was.
pub fn cancelled_or_done<S: Stage>(stage: &mut S, row: Row) {
    for mode in MODES {
        let mut scene = row(Situation::Whole, mode);
        stage.act(&mut scene);
        let key = stage.begin(scene.op);
        stage.cancel(key);
        this_or_done(stage, scene, key, -libc::ECANCELED);
    }
}

fn this_or_done<S: Stage>(stage: &mut S, scene: Scene, key: S::Key, this: i32) {
    let end = stage.end(key, &scene);
    if end.result != this {
        ended_well(stage, scene, end);
    }
    stage.is_empty();
}

/// A deadline cancels it.
pub fn timed_out<S: Stage>(stage: &mut S, row: Row) {
    for mode in MODES {
        let mut scene = row(Situation::Whole, mode);
        let asked = stage.now();
        let key = stage.begin_within(scene.op, Duration::from_millis(2));
        assert_eq!(stage.end(key, &scene).result, S::TIMED_OUT, "of {:?}", scene.op);
        assert!(stage.now().since(asked) >= Duration::from_millis(2), "it was cancelled too early");
        stage.act(&mut scene);
        let again = stage.begin(scene.op);
        ends_well(stage, scene, again);
    }
}

/// The same for what hardly waits.
pub fn timed_out_or_done<S: Stage>(stage: &mut S, row: Row) {
    for mode in MODES {
        let mut scene = row(Situation::Whole, mode);
        stage.act(&mut scene);
        let key = stage.begin_within(scene.op, Duration::from_nanos(1));
        this_or_done(stage, scene, key, S::TIMED_OUT);
    }
}

/// Its descriptor is closed while it waits.
pub fn closed<S: Stage>(stage: &mut S, row: Row) {
    for mode in MODES {
        let mut scene = row(Situation::Whole, mode);
        let fd = take_descriptor(&mut scene);
        let key = stage.begin(scene.op);
        stage.settle();
        stage.close(fd);
        assert_eq!(stage.end(key, &scene).result, S::CLOSED, "of {:?}", scene.op);
        stage.is_empty();
    }
}

/// The same for what hardly waits.
pub fn closed_or_done<S: Stage>(stage: &mut S, row: Row) {
    for mode in MODES {
        let mut scene = row(Situation::Whole, mode);
        stage.act(&mut scene);
        let fd = take_descriptor(&mut scene);
        let key = stage.begin(scene.op);
        stage.close(fd);
        this_or_done(stage, scene, key, S::CLOSED);
    }
}

/// The descriptor that an operation waits on, which its scene does not own any more.
fn take_descriptor(scene: &mut Scene) -> RawFd {
    let fd = scene.op.fd().expect("the grid closes only what has a descriptor");
    let at = scene.stage.iter().position(|owned| owned.as_raw_fd() == fd).expect("the scene owns it");
    scene.stage.swap_remove(at).into_raw_fd()
}

/// More of them than any queue holds, ready one after the other; every other one is cancelled.
pub fn full<S: Stage>(stage: &mut S, row: Row) {
    for cancelling in [false, true] {
        let mut scenes: Vec<(Scene, S::Key)> = (0..CROWD)
            .map(|number| {
                let scene = row(Situation::Whole, MODES[number % 2]);
                let key = stage.begin(scene.op);
                (scene, key)
            })
            .collect();
        if cancelling {
            for (_, key) in scenes.iter().skip(1).step_by(2) {
                stage.cancel(*key);
            }
        }
        for (number, (scene, _)) in scenes.iter_mut().enumerate() {
            if !cancelling || number % 2 == 0 {
                stage.act(scene);
            }
        }
        for (number, (scene, key)) in scenes.into_iter().enumerate() {
            let end = stage.end(key, &scene);
            if !(cancelling && number % 2 == 1 && end.result == -libc::ECANCELED) {
                ended_well(stage, scene, end);
            }
        }
        stage.is_empty();
    }
}

/// How many make a crowd.
const CROWD: usize = 24;
