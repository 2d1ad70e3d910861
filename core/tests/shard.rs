//! The shard by hand: no stacks, no kernel, no clock, but where a test is about the kernel's part.
#![allow(unreachable_pub, reason = "a test binary has no outside")]

mod support;

use std::{cell::Cell, rc::Rc, thread, time::Duration};

use polyphony_core::{
    backend::{
        Backend, Wait,
        sim::{Answer, Sim},
    },
    host::Then,
    op::{Kind, Op, OpKey, POSITION},
    shard::{self, BUDGET, Next},
    time::Time,
};
use support::{Bench, memory};

const READABLE: u32 = libc::POLLIN as u32;

fn sim() -> Bench<Sim> {
    Bench::new(Sim::new(1))
}

fn kernel(bench: &mut Bench<Sim>) -> &mut Sim {
    &mut bench.shard.backend_mut().inner
}

fn read(fd: i32) -> Op {
    let buf = memory(8);
    Op::Read { fd, buf: buf.as_mut_ptr(), len: 8, offset: POSITION }
}

/// The fibers that the shard hands out until it wants to wait.
fn runs(bench: &mut Bench<Sim>) -> Vec<u32> {
    let mut fibers = Vec::new();
    while let Next::Run(fiber) = bench.shard.next() {
        fibers.push(fiber);
    }
    fibers
}

#[test]
fn fibers_run_in_the_order_they_became_ready() {
    let mut bench = sim();
    [3, 1, 2].into_iter().for_each(|fiber| bench.shard.ready(fiber));
    assert_eq!(runs(&mut bench), [3, 1, 2]);
}

#[test]
fn an_urgent_fiber_runs_before_those_that_are_ready() {
    let mut bench = sim();
    bench.shard.ready(1);
    bench.shard.ready_first(2);
    bench.shard.ready_first(3);
    assert_eq!(runs(&mut bench), [2, 3, 1]);
}

#[test]
fn a_completion_makes_its_fiber_ready_where_the_host_says_so() {
    let mut bench = sim();
    bench.shard.host_mut().then = Some(Then::Ready);
    kernel(&mut bench).script(5, Kind::Read, Answer::bytes(b"hello"));
    let op = bench.submit_for(9, read(5), None);
    assert_eq!(bench.result(op), 5);
    assert_eq!(runs(&mut bench), [9]);
}

#[test]
fn an_empty_shard_is_idle() {
    let mut shard = shard::Shard::new(support::Recorder::default(), Sim::new(1));
    assert!(matches!(shard.next(), Next::Idle));
    shard.at(shard.now() + Duration::from_secs(1), 1);
    assert!(matches!(shard.next(), Next::Wait(_)));
}

#[test]
fn fibers_that_are_always_ready_leave_room_for_completions() {
    let mut bench = sim();
    kernel(&mut bench).script(5, Kind::Read, Answer::bytes(b"hello"));
    let op = bench.submit(read(5));
    for _ in 0..=BUDGET {
        bench.shard.ready(1);
        bench.turn();
    }
    assert_eq!(bench.outcomes(op).len(), 1, "{BUDGET} fibers ran and nobody looked around");
}

#[test]
fn fibers_that_are_always_ready_leave_room_for_timers_and_for_the_inbox() {
    let mut bench = sim();
    bench.shard.at(bench.shard.now(), 7);
    bench.shard.inbox().push(8);
    for _ in 0..=BUDGET {
        bench.shard.ready(1);
        bench.turn();
    }
    assert_eq!(bench.shard.host().expired, [7]);
    assert_eq!(bench.shard.host().notified, [8]);
}

#[test]
fn a_fiber_that_yields_to_nobody_yields_to_those_that_wait() {
    let mut bench = sim();
    bench.shard.host_mut().then = Some(Then::Ready);
    kernel(&mut bench).script(5, Kind::Read, Answer::bytes(b"hello"));
    bench.submit_for(9, read(5), None);
    bench.shard.yielded(1);
    let Next::Wait(wait) = bench.shard.next() else { panic!("the shard does not look at the kernel") };
    bench.shard.harvest(wait);
    assert_eq!(runs(&mut bench), [1, 9]);
}

#[test]
fn an_operation_cancelled_before_it_was_taken_never_reaches_the_kernel() {
    let mut bench = Bench::new(Sim::new(1).with_capacity(0));
    let op = bench.submit(read(5));
    bench.shard.cancel(op);
    assert!(bench.result(op) == -libc::ECANCELED);
    assert_eq!(bench.shard.stats().queued, 1);
    assert!(bench.in_flight.borrow().is_empty());
}

#[test]
fn an_operation_cancelled_in_flight_waits_for_its_last_completion() {
    let mut bench = sim();
    let dropped = Rc::new(Cell::new(0));
    kernel(&mut bench).script(5, Kind::Read, Answer::bytes(b"late").after(Duration::from_secs(1)).stubborn());
    let op = bench.submit_for(1, read(5), Some(dropped.clone()));
    bench.shard.cancel(op);
    bench.visit();
    assert_eq!(dropped.get(), 0, "the kernel may still write");
    assert_eq!(bench.result(op), 4, "bytes that arrived in spite of the cancellation are told");
    assert_eq!(dropped.get(), 1);
}

#[test]
fn cancelling_twice_or_too_late_changes_nothing() {
    let mut bench = sim();
    let op = bench.submit(read(5));
    bench.shard.cancel(op);
    bench.shard.cancel(op);
    assert_eq!(bench.result(op), -libc::ECANCELED);
    bench.shard.cancel(op);
    assert_eq!(bench.shard.stats().cancels, 1);
}

// A timer that cancelled an operation still queued left it without an outcome: the shard then slept.
#[test]
fn a_deadline_ends_an_operation_that_the_kernel_has_not_taken() {
    let mut bench = Bench::new(Sim::new(1).with_capacity(0));
    let op = bench.submit(read(5));
    bench.cancel_after(Duration::from_millis(5), op);
    let (asked, limit) = (bench.shard.now(), Duration::from_secs(1));
    assert_eq!(bench.result(op), -libc::ECANCELED);
    assert!(bench.shard.now().since(asked) < limit, "it was told at the next timer only");
}

#[test]
fn a_note_from_another_thread_ends_an_operation_that_the_kernel_has_not_taken() {
    let mut bench = Bench::new(Sim::new(1).with_capacity(0));
    let op = bench.submit(read(5));
    bench.shard.host_mut().notes.insert(3, op);
    bench.shard.inbox().push(3);
    let (asked, limit) = (bench.shard.now(), Duration::from_secs(1));
    assert_eq!(bench.result(op), -libc::ECANCELED);
    assert!(bench.shard.now().since(asked) < limit, "it was told at the next timer only");
}

#[test]
fn an_abandoned_operation_tells_nobody_and_keeps_its_memory_to_the_end() {
    let mut bench = sim();
    let dropped = Rc::new(Cell::new(0));
    kernel(&mut bench).script(5, Kind::Read, Answer::bytes(b"late").after(Duration::from_secs(1)).stubborn());
    let op = bench.submit_for(1, read(5), Some(dropped.clone()));
    bench.shard.abandon(op);
    bench.visit();
    assert_eq!((bench.shard.in_flight(), dropped.get()), (1, 0));
    while bench.shard.in_flight() > 0 {
        bench.turn();
    }
    assert_eq!(dropped.get(), 1);
    assert!(bench.outcomes(op).is_empty());
}

#[test]
fn an_abandoned_accept_closes_the_connection_nobody_took() {
    let mut bench = sim();
    let (addr, len) = (std::ptr::null_mut(), std::ptr::null_mut());
    kernel(&mut bench).script(4, Kind::Accept, Answer::result(77).stubborn());
    let op = bench.submit(Op::Accept { fd: 4, addr, len, flags: 0 });
    bench.shard.abandon(op);
    bench.visit();
    assert_eq!(kernel(&mut bench).discarded(), [77]);
}

#[test]
fn an_abandoned_read_gives_its_pooled_buffer_back() {
    let mut bench = sim();
    kernel(&mut bench).script(5, Kind::ReadPooled, Answer::bytes(b"hello").stubborn());
    let op = bench.submit(Op::ReadPooled { fd: 5, len: 8 });
    bench.shard.abandon(op);
    bench.visit();
    assert_eq!(kernel(&mut bench).free_buffers(), 8);
}

#[test]
fn a_descriptor_that_an_operation_made_in_spite_of_its_cancellation_is_told() {
    let mut bench = sim();
    kernel(&mut bench).script(-1, Kind::Socket, Answer::result(77).stubborn());
    let op = bench.submit(Op::Socket { domain: 1, kind: 1, protocol: 0 });
    bench.shard.cancel(op);
    assert_eq!(bench.result(op), 77);
    assert!(kernel(&mut bench).discarded().is_empty());
}

#[test]
fn what_a_full_kernel_cannot_take_keeps_its_order() {
    let mut bench = Bench::new(Sim::new(1).with_capacity(2));
    let ops: Vec<OpKey> = (0..20)
        .map(|_| {
            kernel(&mut bench).script(5, Kind::Read, Answer::result(0));
            bench.submit(read(5))
        })
        .collect();
    for &op in &ops {
        assert_eq!(bench.result(op), 0);
    }
    assert_eq!(bench.shard.host().order, ops);
    assert_eq!(bench.shard.stats().queued, 18);
}

#[test]
fn a_cancellation_that_finds_the_kernel_full_is_not_lost() {
    let mut bench = Bench::new(Sim::new(1).with_capacity(1));
    let ops: Vec<OpKey> = (0..10).map(|_| bench.submit(read(5))).collect();
    while !kernel_has_all(&mut bench) {
        bench.visit();
    }
    ops.iter().for_each(|&op| bench.shard.cancel(op));
    for &op in &ops {
        assert_eq!(bench.result(op), -libc::ECANCELED);
    }
}

fn kernel_has_all(bench: &mut Bench<Sim>) -> bool {
    kernel(bench).in_flight() == bench.shard.in_flight()
}

#[test]
fn cancelling_a_descriptor_ends_all_that_wait_on_it_and_nothing_else() {
    let mut bench = sim();
    let (here, there) = ([bench.submit(read(5)), bench.submit(read(5))], bench.submit(read(6)));
    assert_eq!(bench.shard.cancel_fd(5), 2);
    assert_eq!(bench.shard.cancel_fd(7), 0);
    here.iter().for_each(|&op| assert_eq!(bench.result(op), -libc::ECANCELED));
    assert_eq!(bench.shard.in_flight_on(5), 0);
    assert!(bench.outcomes(there).is_empty());
}

#[test]
fn a_descriptor_that_does_not_block_is_polled_and_tried_again() {
    let mut bench = sim();
    kernel(&mut bench).script(5, Kind::Read, Answer::result(-libc::EAGAIN));
    kernel(&mut bench).script(5, Kind::Poll, Answer::result(READABLE as i32).after(Duration::from_secs(1)));
    kernel(&mut bench).script(5, Kind::Read, Answer::bytes(b"hello"));
    let op = bench.submit(read(5));
    assert_eq!(bench.result(op), 5);
    assert_eq!(bench.shard.stats().retried, 1);
}

#[test]
fn a_splice_waits_for_both_of_its_ends() {
    let mut bench = sim();
    let (from_offset, to_offset) = (POSITION, POSITION);
    kernel(&mut bench).script(5, Kind::Splice, Answer::result(-libc::EAGAIN));
    kernel(&mut bench).script(5, Kind::Poll, Answer::result(1));
    kernel(&mut bench).script(6, Kind::Poll, Answer::result(4));
    kernel(&mut bench).script(5, Kind::Splice, Answer::result(3));
    let op = bench.submit(Op::Splice { from: 5, from_offset, to: 6, to_offset, len: 8, flags: 0 });
    assert_eq!(bench.result(op), 3);
    assert_eq!(bench.shard.stats().retried, 2);
}

#[test]
fn an_operation_cancelled_while_it_waits_for_readiness_is_not_tried_again() {
    let mut bench = sim();
    kernel(&mut bench).script(5, Kind::Read, Answer::result(-libc::EAGAIN));
    kernel(&mut bench).script(5, Kind::Poll, Answer::result(1).after(Duration::from_secs(1)).stubborn());
    kernel(&mut bench).script(5, Kind::Read, Answer::bytes(b"for another"));
    let op = bench.submit(read(5));
    bench.settle();
    bench.shard.cancel(op);
    assert_eq!(bench.result(op), -libc::ECANCELED);
}

// A cancelled read that the kernel had tried once more ended with EAGAIN, which is nobody's business.
#[test]
fn a_cancelled_operation_that_would_wait_again_ends_as_cancelled() {
    let mut bench = sim();
    for errno in [libc::EAGAIN, libc::EINTR] {
        kernel(&mut bench).script(5, Kind::Read, Answer::result(-errno).stubborn());
        let op = bench.submit(read(5));
        bench.shard.cancel(op);
        assert_eq!(bench.result(op), -libc::ECANCELED);
    }
}

#[test]
fn an_operation_that_a_signal_interrupts_is_made_again() {
    let mut bench = sim();
    kernel(&mut bench).script(5, Kind::Read, Answer::result(-libc::EINTR));
    kernel(&mut bench).script(5, Kind::Read, Answer::result(-libc::EINTR).after(Duration::from_millis(1)));
    kernel(&mut bench).script(5, Kind::Read, Answer::bytes(b"hello"));
    let op = bench.submit(read(5));
    assert_eq!(bench.result(op), 5);
}

#[test]
fn a_close_that_a_signal_interrupts_has_closed() {
    let mut bench = sim();
    kernel(&mut bench).script(5, Kind::Close, Answer::result(-libc::EINTR));
    kernel(&mut bench).script(5, Kind::Close, Answer::result(-libc::EBADF));
    let op = bench.submit(Op::Close { fd: 5 });
    assert_eq!(bench.result(op), 0);
}

#[test]
fn an_operation_for_ever_tells_every_outcome_and_ends_once() {
    let mut bench = sim();
    for fd in 70..73 {
        let answer = Answer::result(fd).more().after(Duration::from_millis(1));
        kernel(&mut bench).script(4, Kind::AcceptMany, answer);
    }
    let op = bench.submit(Op::AcceptMany { fd: 4, flags: 0 });
    let told: Vec<i32> = bench.outcomes_of(op, 3).iter().map(|outcome| outcome.result).collect();
    assert_eq!(told, [70, 71, 72]);
    bench.shard.cancel(op);
    assert_eq!(bench.result(op), -libc::ECANCELED);
    assert_eq!(bench.shard.in_flight(), 0);
}

// io_uring ends a repeated accept when its completion queue is full: connections then came to nobody.
#[test]
fn accepting_for_ever_goes_on_where_the_kernel_gives_up() {
    let mut bench = sim();
    for fd in 70..73 {
        kernel(&mut bench).script(4, Kind::AcceptMany, Answer::result(fd));
    }
    let op = bench.submit(Op::AcceptMany { fd: 4, flags: 0 });
    assert!(bench.outcomes_of(op, 3).iter().all(|outcome| outcome.more));
    bench.shard.cancel(op);
    assert_eq!(bench.result(op), -libc::ECANCELED);
}

#[test]
fn the_late_completion_of_a_recycled_key_finds_nobody() {
    let mut bench = sim();
    kernel(&mut bench).script(5, Kind::Read, Answer::result(0));
    let first = bench.submit(read(5));
    assert_eq!(bench.result(first), 0);
    let second = bench.submit(read(5));
    assert_ne!(first, second, "a key was given out twice");
    bench.shard.cancel(first);
    bench.visit();
    assert!(bench.outcomes(second).is_empty(), "the wrong operation was cancelled");
}

#[test]
fn timers_fire_in_order_and_never_early() {
    let mut bench = sim();
    let start = bench.shard.now();
    for (fiber, seconds) in [(1, 20), (2, 5), (3, 10)] {
        bench.shard.at(start + Duration::from_secs(seconds), fiber);
    }
    for (expected, seconds) in [(vec![2], 5), (vec![2, 3], 10), (vec![2, 3, 1], 20)] {
        while bench.shard.host().expired.len() < expected.len() {
            assert!(bench.shard.now() <= start + Duration::from_secs(seconds));
            bench.turn();
        }
        assert_eq!(bench.shard.host().expired, expected);
        assert!(bench.shard.now() >= start + Duration::from_secs(seconds));
    }
}

#[test]
fn timers_that_follow_closely_share_a_turn() {
    let mut bench = sim();
    let start = bench.shard.now();
    for fiber in 1..=3 {
        bench.shard.at(start + Duration::from_micros(10 * u64::from(fiber)), fiber);
    }
    while bench.shard.host().expired.is_empty() {
        bench.turn();
    }
    assert_eq!(bench.shard.host().expired, [1, 2, 3]);
}

#[test]
fn a_disarmed_timer_does_not_fire_and_a_moved_one_fires_once() {
    let mut bench = sim();
    let start = bench.shard.now();
    let gone = bench.shard.at(start + Duration::from_secs(1), 1);
    let moved = bench.shard.at(start + Duration::from_secs(2), 2);
    assert!(bench.shard.disarm(gone));
    assert!(bench.shard.rearm(moved, start + Duration::from_secs(9)));
    while bench.shard.host().expired.is_empty() {
        bench.turn();
    }
    assert_eq!(bench.shard.host().expired, [2]);
    assert!(bench.shard.now() >= start + Duration::from_secs(9));
}

#[test]
fn a_forked_child_lets_go_of_nothing_that_its_parent_s_kernel_may_write_to() {
    let mut bench = sim();
    let dropped = Rc::new(Cell::new(0));
    bench.submit_for(1, read(5), Some(dropped.clone()));
    bench.visit();
    bench.shard.disown();
    assert_eq!(dropped.get(), 0);
}

#[test]
fn a_shard_shuts_down_when_every_last_completion_has_come() {
    let mut bench = sim();
    let dropped = Rc::new(Cell::new(0));
    for _ in 0..3 {
        bench.submit_for(1, read(5), Some(dropped.clone()));
    }
    assert_eq!(shard::shut_down(bench.shard, Duration::from_secs(1)), 0);
    assert_eq!(dropped.get(), 3);
}

#[test]
fn a_shard_that_shuts_down_leaks_what_does_not_come_home_in_time() {
    let mut bench = sim();
    let dropped = Rc::new(Cell::new(0));
    kernel(&mut bench).script(5, Kind::Read, Answer::result(0).after(Duration::from_secs(60)).stubborn());
    bench.submit_for(1, read(5), Some(dropped.clone()));
    bench.submit_for(1, read(6), Some(dropped.clone()));
    assert_eq!(shard::shut_down(bench.shard, Duration::from_secs(1)), 1);
    assert_eq!(dropped.get(), 1, "one came home, the other stays alive");
}

/// Another thread sends one name after the other, each when the one before has been seen.
fn wakes_are_never_lost<B: Backend>(mut bench: Bench<B>) {
    const WAKES: u32 = 20_000;
    let inbox = bench.shard.inbox();
    let (seen, see) = std::sync::mpsc::sync_channel(1);
    let sender = thread::spawn(move || {
        for number in 0..WAKES {
            inbox.push(number);
            see.recv().unwrap();
        }
    });
    for number in 0..WAKES {
        while bench.shard.host().notified.len() <= number as usize {
            let mut wait = bench.shard.wait_for_inbox(Some(bench.shard.now() + Duration::from_secs(20)));
            let slept_from = Time::monotonic();
            wait.block().unwrap();
            assert!(Time::monotonic().since(slept_from) < Duration::from_secs(20), "a wake was lost");
            bench.shard.harvest(wait);
        }
        seen.send(()).unwrap();
    }
    sender.join().unwrap();
    assert!(bench.shard.host().notified.iter().copied().eq(0..WAKES));
}

#[test]
fn no_wake_is_lost_on_io_uring() {
    wakes_are_never_lost(support::uring());
}

#[test]
fn no_wake_is_lost_on_a_tiny_ring() {
    wakes_are_never_lost(support::tiny_uring());
}

#[test]
fn no_wake_is_lost_on_epoll() {
    wakes_are_never_lost(support::epoll());
}
