//! Where the scenes are played: a shard driven by hand, before the real kernel or before one that has to
//! be told; or fibers of the native host.

use std::{sync::Arc, time::Duration};

use polyphony_core::{
    backend::{
        Backend,
        any::Choice,
        epoll::Epoll,
        sim::{Answer, Sim},
        uring::{Uring, UringOptions},
    },
    native::{self, JoinHandle, Options, Placement, Runtime, sync::Event},
    op::{Kind, Op, OpKey},
    time::Time,
};

use crate::{
    rows::{Expected, Row, Scene},
    support::{self, Bench},
};

/// What became of an operation.
pub struct End {
    pub result: i32,
    /// What it read, as far as its scene wants to know.
    pub bytes: Vec<u8>,
}

/// Somebody who can play a scene.
pub trait Stage {
    /// Names an operation that was begun.
    type Key: Copy;

    /// The result of an operation that a deadline ended.
    const TIMED_OUT: i32;
    /// The result of an operation whose descriptor was closed.
    const CLOSED: i32;

    /// Begins an operation.
    fn begin(&mut self, op: Op) -> Self::Key;
    /// Begins one that ends by itself when that much time has passed.
    fn begin_within(&mut self, op: Op, span: Duration) -> Self::Key;
    /// Waits until the kernel has what was begun.
    fn settle(&mut self);
    fn cancel(&mut self, key: Self::Key);
    /// Closes a descriptor that operations wait on.
    fn close(&mut self, fd: i32);
    /// The other side does its part.
    fn act(&mut self, scene: &mut Scene);
    /// Waits for the end of an operation; one that would go on for ever is ended after its first outcome.
    fn end(&mut self, key: Self::Key, scene: &Scene) -> End;
    /// What holds in the world is as it should be.
    fn check(&mut self, scene: &mut Scene, result: i32);
    fn now(&self) -> Time;
    /// Asserts that nothing is in flight.
    fn is_empty(&self);
}

/// What a scene's operation has read into its memory, where it has any.
fn read_into_memory(scene: &Scene) -> Vec<u8> {
    let Some((buf, bytes)) = scene.bytes.filter(|(buf, _)| !buf.is_null()) else { return Vec::new() };
    // SAFETY: the memory of the tests lives for ever, and the operation has ended.
    unsafe { std::slice::from_raw_parts(buf, bytes.len()) }.to_vec()
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

/// A kernel, real or not.
pub trait Kernel: Backend + Sized {
    fn act(_: &mut Bench<Self>, scene: &mut Scene) {
        once(&mut scene.act)();
    }

    fn check(scene: &mut Scene, result: i32) {
        check_world(scene, result);
    }
}

impl Kernel for Uring {}
impl Kernel for Epoll {}

impl Kernel for Sim {
    fn act(bench: &mut Bench<Self>, scene: &mut Scene) {
        let answer = match (scene.bytes, scene.expected) {
            (Some((_, bytes)), _) => Answer::bytes(bytes),
            (None, Expected::Exactly(result)) => Answer::result(result),
            (None, Expected::Descriptor) => Answer::result(1_000_000),
        };
        let kind = scene.op.kind();
        let goes_on = matches!(kind, Kind::AcceptMany | Kind::PollMany) && answer_is_good(scene);
        let answer = if goes_on { answer.more() } else { answer };
        let fd = scene.op.fd().unwrap_or(-1);
        bench.shard.backend_mut().inner.script(fd, kind, answer.after(Duration::from_millis(1)));
    }

    fn check(_: &mut Scene, _: i32) {}
}

fn answer_is_good(scene: &Scene) -> bool {
    !matches!(scene.expected, Expected::Exactly(..0))
}

impl<B: Kernel> Stage for Bench<B> {
    type Key = OpKey;

    const TIMED_OUT: i32 = -libc::ECANCELED;
    const CLOSED: i32 = -libc::ECANCELED;

    fn begin(&mut self, op: Op) -> OpKey {
        self.submit(op)
    }

    fn begin_within(&mut self, op: Op, span: Duration) -> OpKey {
        let key = self.submit(op);
        self.cancel_after(span, key);
        key
    }

    fn settle(&mut self) {
        Bench::settle(self);
    }

    fn cancel(&mut self, key: OpKey) {
        self.shard.cancel(key);
    }

    /// Cancelled first, as hosts promise.
    fn close(&mut self, fd: i32) {
        assert_eq!(self.shard.cancel_fd(fd), 1);
        assert_eq!(self.perform(Op::Close { fd }), 0);
    }

    fn act(&mut self, scene: &mut Scene) {
        B::act(self, scene);
    }

    fn end(&mut self, key: OpKey, scene: &Scene) -> End {
        let outcome = self.outcomes_of(key, 1)[0];
        if outcome.more {
            self.shard.cancel(key);
            let last = self.result(key);
            // Or the same news once more, which were faster.
            assert!([-libc::ECANCELED, outcome.result].contains(&last), "{last} of {:?}", scene.op);
        }
        let Some(id) = outcome.buffer else {
            return End { result: outcome.result, bytes: read_into_memory(scene) };
        };
        let len = scene.bytes.map_or(0, |(_, bytes)| bytes.len());
        let bytes = self.shard.buffer(id, len).to_vec();
        self.shard.recycle(id);
        End { result: outcome.result, bytes }
    }

    fn check(&mut self, scene: &mut Scene, result: i32) {
        B::check(scene, result);
    }

    fn now(&self) -> Time {
        self.shard.now()
    }

    fn is_empty(&self) {
        assert_eq!(self.shard.in_flight(), 0);
    }
}

/// Fibers, one for each operation, played by a fiber of the same runtime; on its workers in turns.
pub struct Fibers {
    workers: usize,
    fibers: Vec<Option<JoinHandle<i32>>>,
}

impl Fibers {
    fn start(&mut self, body: impl FnOnce() -> i32 + Send + 'static) -> usize {
        let worker = self.fibers.len() % self.workers;
        let fiber = native::spawn_placed(body, Placement::on(worker)).unwrap();
        self.fibers.push(Some(fiber));
        self.on(worker, || ()); // it runs until it waits
        self.fibers.len() - 1
    }

    /// Has a worker do something, after all that it was given to do before: who is joined would overtake that.
    fn on(&self, worker: usize, body: impl FnOnce() + Send + 'static) {
        let done = Arc::new(Event::new());
        let tells = done.clone();
        let notes = move || {
            body();
            assert!(tells.set().is_ok());
        };
        let fiber = native::spawn_placed(notes, Placement::on(worker)).unwrap();
        done.wait().unwrap();
        fiber.join().unwrap();
    }
}

impl Stage for Fibers {
    type Key = usize;

    const TIMED_OUT: i32 = -libc::ETIMEDOUT;
    const CLOSED: i32 = -libc::EBADF;

    fn begin(&mut self, op: Op) -> usize {
        // SAFETY: the memory of the tests lives for ever.
        self.start(move || unsafe { native::perform(&op) })
    }

    fn begin_within(&mut self, op: Op, span: Duration) -> usize {
        // SAFETY: as above.
        self.start(move || native::within(span, || unsafe { native::perform(&op) }).0)
    }

    fn settle(&mut self) {
        let three_turns = || {
            for _ in 0..3 {
                // SAFETY: it points to nothing.
                assert_eq!(unsafe { native::perform(&Op::Nop) }, 0);
            }
        };
        (0..self.workers).for_each(|worker| self.on(worker, three_turns));
    }

    fn cancel(&mut self, key: usize) {
        self.fibers[key].as_ref().expect("it has not been joined").cancel().unwrap();
    }

    fn close(&mut self, fd: i32) {
        native::close(fd).unwrap();
    }

    fn act(&mut self, scene: &mut Scene) {
        once(&mut scene.act)();
    }

    fn end(&mut self, key: usize, scene: &Scene) -> End {
        let fiber = self.fibers[key].take().expect("it has not been joined");
        End { result: fiber.join().unwrap(), bytes: read_into_memory(scene) }
    }

    fn check(&mut self, scene: &mut Scene, result: i32) {
        check_world(scene, result);
    }

    fn now(&self) -> Time {
        Time::monotonic()
    }

    /// The runtime is asked when everything has been played.
    fn is_empty(&self) {}
}

/// What is done with the operation of a row on a stage. Not a closure, which would be compiled anew for each
/// of the thousands of cells.
pub type Column<S> = fn(&mut S, Row);

macro_rules! benches {
    ($($backend:ident: $kind:ty;)*) => { $(
        pub fn $backend(column: Column<Bench<$kind>>, row: Row) {
            column(&mut support::$backend(), row);
        }
    )* };
}

benches! {
    uring: Uring;
    tiny_uring: Uring;
    shared_uring: Uring;
    old_uring: Uring;
    epoll: Epoll;
    old_epoll: Epoll;
    sim: Sim;
}

/// The native host on io_uring.
pub fn fibers_on_uring(column: Column<Fibers>, row: Row) {
    in_a_fiber(Choice::IoUring, UringOptions::default(), 1, column, row);
}

/// The same on a ring with room for one submission and two completions.
pub fn fibers_on_tiny_uring(column: Column<Fibers>, row: Row) {
    let tiny = UringOptions { sq_entries: 1, cq_entries: 2, ..UringOptions::default() };
    in_a_fiber(Choice::IoUring, tiny, 1, column, row);
}

/// The same with operations on both of two workers.
pub fn fibers_on_two_workers_and_uring(column: Column<Fibers>, row: Row) {
    in_a_fiber(Choice::IoUring, UringOptions::default(), 2, column, row);
}

/// The same on epoll.
pub fn fibers_on_two_workers_and_epoll(column: Column<Fibers>, row: Row) {
    in_a_fiber(Choice::Epoll, UringOptions::default(), 2, column, row);
}

/// The same on epoll.
pub fn fibers_on_epoll(column: Column<Fibers>, row: Row) {
    in_a_fiber(Choice::Epoll, UringOptions::default(), 1, column, row);
}

fn in_a_fiber(backend: Choice, uring: UringOptions, workers: usize, column: Column<Fibers>, row: Row) {
    support::watchdog();
    let runtime =
        Runtime::new(Options { backend, uring, stack_size: 256 * 1024, ..Options::with_workers(workers) })
            .unwrap();
    runtime
        .run(move || column(&mut Fibers { workers, fibers: Vec::new() }, row))
        .expect("the scenes do not panic");
    let left = runtime.snapshot().unwrap();
    assert_eq!((left.in_flight, left.timers, left.fibers), (0, 0, 0), "something was left behind");
}
