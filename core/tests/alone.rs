//! What needs a process for itself: descriptors are counted, numbers are used again, forks are made.
//!
//! The tests of this binary take turns, whatever the number of test threads.
#![allow(unreachable_pub, reason = "a test binary has no outside")]

mod support;

use std::{
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
    ptr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use polyphony_core::{
    backend::{Backend, sim::Random},
    op::{Op, OpKey, POSITION},
    shard::{self, Next},
};
use support::{
    Bench,
    busy::{Hogs, stay_on_one_cpu},
    fds::{self, Mode},
    memory,
};

/// One test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many descriptors the process has.
fn census() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// No descriptor has leaked. A thread of the pool may let go of an eventfd a moment after the shard that
/// it served: fewer than before are no fault, and more are one only if they stay.
fn leaked_none(before: usize) {
    let start = std::time::Instant::now();
    while census() > before {
        assert!(start.elapsed() < Duration::from_secs(5), "{} descriptors, {before} before", census());
        thread::yield_now();
    }
}

macro_rules! on_each_kernel {
    ($($test:ident)*) => { $(mod $test {
        use super::*;
        #[test]
        fn on_io_uring() { let _turn = alone(); super::$test(support::uring); }
        #[test]
        fn on_a_tiny_ring() { let _turn = alone(); super::$test(support::tiny_uring); }
        #[test]
        fn on_an_old_ring() { let _turn = alone(); super::$test(support::old_uring); }
        #[test]
        fn on_epoll() { let _turn = alone(); super::$test(support::epoll); }
    })* };
}

on_each_kernel! {
    cancelled_reads_of_a_pipe_lose_no_byte
    cancelled_reads_of_a_socket_lose_no_byte
    cancelled_reads_into_pooled_buffers_lose_no_byte
    cancelled_accepts_leak_no_descriptor
    cancelled_opens_leak_no_descriptor
    a_shard_that_ends_leaves_no_descriptor
    a_number_that_is_used_again_is_another_file
    a_forked_child_makes_its_own_backend_and_leaves_its_parent_s_alone
    nothing_is_lost_on_one_busy_cpu
}

/// How many reads are raced with a write and a cancellation, in each mode.
const RACES: usize = 5_000;

fn cancelled_reads_of_a_pipe_lose_no_byte<B: Backend>(make: fn() -> Bench<B>) {
    for mode in fds::MODES {
        race(make(), fds::pipe(mode), RACES, |fd, buf| Op::Read { fd, buf, len: 4, offset: POSITION });
    }
}

fn cancelled_reads_of_a_socket_lose_no_byte<B: Backend>(make: fn() -> Bench<B>) {
    for mode in fds::MODES {
        let ends = fds::socket_pair(libc::SOCK_STREAM, mode);
        race(make(), ends, RACES, |fd, buf| Op::Recv { fd, buf, len: 4, flags: 0 });
    }
}

fn cancelled_reads_into_pooled_buffers_lose_no_byte<B: Backend>(make: fn() -> Bench<B>) {
    let ends = fds::socket_pair(libc::SOCK_STREAM, Mode::Blocking);
    race(make(), ends, 2 * RACES, |fd, _| Op::RecvPooled { fd, len: 4, flags: 0 });
}

fn nothing_is_lost_on_one_busy_cpu<B: Backend>(make: fn() -> Bench<B>) {
    let _hogs = Hogs::new(2);
    // A thread of its own, for the pinning to go with it.
    let tried = thread::scope(|scope| {
        scope
            .spawn(|| {
                stay_on_one_cpu().unwrap();
                let ends = fds::pipe(Mode::Nonblocking);
                race(make(), ends, 500, |fd, buf| Op::Read { fd, buf, len: 4, offset: POSITION });
            })
            .join()
    });
    tried.unwrap();
}

/// Another thread writes numbers while reads are submitted and cancelled: the reads must return all of
/// them, in order, whether they say that they were cancelled or not; and no buffer may change later.
fn race<B: Backend>(
    mut bench: Bench<B>,
    (from, to): (OwnedFd, OwnedFd),
    rounds: usize,
    op: fn(RawFd, *mut u8) -> Op,
) {
    const MARK: u8 = 0xee;
    fds::set_mode(&to, Mode::Blocking);
    let (order, orders) = std::sync::mpsc::sync_channel::<(u32, u64)>(1);
    let writer = thread::spawn(move || {
        for (number, delay) in orders {
            (0..delay).for_each(|_| std::hint::spin_loop());
            fds::write(&to, &number.to_le_bytes());
        }
    });
    let mut random = Random::new(rounds as u64);
    let (mut written, mut expected, mut cancelled) = (0u32, 0u32, 0);
    let mut buffers: [&mut [u8]; 2] = [memory(4), memory(4)];
    buffers[0].fill(MARK);
    while (expected as usize) < rounds {
        buffers.swap(0, 1);
        buffers[0].fill(MARK);
        let key = bench.submit(op(from.as_raw_fd(), buffers[0].as_mut_ptr()));
        if random.one_in(2) {
            bench.visit();
        }
        if written == expected {
            order.send((written, random.below(2_000))).unwrap();
            written += 1;
        }
        let patience = random.below(3_000);
        (0..patience).for_each(|_| std::hint::spin_loop());
        if random.one_in(4) {
            bench.visit();
        }
        bench.shard.cancel(key);
        let outcome = bench.outcome(key);
        assert!(buffers[1].iter().all(|&byte| byte == MARK), "a buffer was written after the end");
        if outcome.is_cancelled() {
            cancelled += 1;
            assert!(buffers[0].iter().all(|&byte| byte == MARK), "a cancelled read has read something");
            continue;
        }
        assert_eq!(outcome.result, 4);
        let bytes = match outcome.buffer {
            Some(id) => bench.shard.buffer(id, 4).to_vec(),
            None => buffers[0].to_vec(),
        };
        if let Some(id) = outcome.buffer {
            bench.shard.recycle(id);
        }
        assert_eq!(bytes, expected.to_le_bytes(), "bytes were lost or came out of order");
        expected += 1;
        buffers[0].fill(MARK);
    }
    drop(order);
    writer.join().unwrap();
    assert_eq!(shard::shut_down(bench.shard, Duration::from_secs(5)), 0);
    assert!(cancelled > 0, "no cancellation was in time");
}

/// Connections come while accepts are submitted, cancelled and abandoned: each is told, taken later or
/// closed.
fn cancelled_accepts_leak_no_descriptor<B: Backend>(make: fn() -> Bench<B>) {
    let before = census();
    let mut bench = make();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let fd = listener.as_raw_fd();
    let mut random = Random::new(3);
    let (addr, len) = (ptr::null_mut(), ptr::null_mut());
    for round in 0..2_000 {
        let many = random.one_in(3);
        let op = if many { Op::AcceptMany { fd, flags: 0 } } else { Op::Accept { fd, addr, len, flags: 0 } };
        let key = bench.submit(op);
        if random.one_in(2) {
            bench.visit();
        }
        let client = random.one_in(2).then(|| TcpStream::connect(address).unwrap());
        if random.one_in(2) {
            bench.visit();
        }
        give_up(&mut bench, key, round % 5 == 0);
        drop(client);
    }
    drop(listener);
    assert_eq!(shard::shut_down(bench.shard, Duration::from_secs(5)), 0);
    leaked_none(before);
}

/// Ends an operation that makes a descriptor, with nobody waiting or as a fiber does; what was told is closed.
fn give_up<B: Backend>(bench: &mut Bench<B>, key: OpKey, nobody_waits: bool) {
    if nobody_waits {
        bench.shard.abandon(key);
        while bench.shard.in_flight() > 0 {
            bench.visit();
        }
    } else {
        bench.shard.cancel(key);
        bench.outcome(key);
    }
    close_what_was_told(bench, key);
}

fn close_what_was_told<B: Backend>(bench: &Bench<B>, key: OpKey) {
    for outcome in bench.outcomes(key).iter().filter(|outcome| outcome.result >= 0) {
        // SAFETY: a descriptor made for us.
        drop(unsafe { OwnedFd::from_raw_fd(outcome.result) });
    }
}

fn cancelled_opens_leak_no_descriptor<B: Backend>(make: fn() -> Bench<B>) {
    let mut bench = make();
    // The threads that epoll needs for this, and their descriptors, stay.
    let path = c"/dev/null".as_ptr();
    let op = Op::OpenAt { dir: libc::AT_FDCWD, path, flags: libc::O_RDONLY, mode: 0 };
    let first = bench.perform(op);
    // SAFETY: a descriptor made for us.
    drop(unsafe { OwnedFd::from_raw_fd(first) });
    let before = census();
    for round in 0..2_000 {
        let key = bench.submit(op);
        if round % 3 == 0 {
            bench.visit();
        }
        give_up(&mut bench, key, round % 2 == 0);
    }
    leaked_none(before);
}

fn a_shard_that_ends_leaves_no_descriptor<B: Backend>(make: fn() -> Bench<B>) {
    drop(make());
    let before = census();
    for _ in 0..50 {
        let mut bench = make();
        let (from, _to) = fds::pipe(Mode::Blocking);
        let fd = from.as_raw_fd();
        bench.submit(Op::Read { fd, buf: memory(4).as_mut_ptr(), len: 4, offset: POSITION });
        bench.submit(Op::ReadPooled { fd, len: 4 });
        bench.settle();
        assert_eq!(shard::shut_down(bench.shard, Duration::from_secs(5)), 0);
    }
    leaked_none(before);
}

/// A descriptor is closed behind the shard's back, and its number becomes another file's.
fn a_number_that_is_used_again_is_another_file<B: Backend>(make: fn() -> Bench<B>) {
    let mut bench = make();
    let op = |fd, buf: &mut [u8]| Op::Read { fd, buf: buf.as_mut_ptr(), len: 8, offset: POSITION };
    for kept in [false, true] {
        let (from, to) = fds::pipe(Mode::Blocking);
        let copy = kept.then(|| from.try_clone().unwrap());
        let number = from.as_raw_fd();
        let old = bench.submit(op(number, memory(8)));
        bench.settle();
        let (other, feed) = fds::pipe(Mode::Blocking);
        drop(from);
        // SAFETY: the number is free, and this process has no other thread that makes descriptors.
        let other = unsafe {
            assert_eq!(libc::dup2(other.as_raw_fd(), number), number);
            OwnedFd::from_raw_fd(number)
        };
        let buf = memory(8);
        let bytes = buf.as_ptr();
        let new = bench.submit(op(number, buf));
        bench.settle();
        fds::write(&feed, b"the new");
        assert_eq!(bench.result(new), 7);
        // SAFETY: the memory of the tests lives for ever, and its operation has ended.
        assert_eq!(unsafe { std::slice::from_raw_parts(bytes, 7) }, b"the new");
        if let Some(outcome) = bench.outcomes(old).last() {
            assert_eq!(outcome.result, -libc::EBADF, "the old read took from the new file");
        }
        if copy.is_some() {
            fds::write(&to, b"the old"); // ready for ever: nobody may spin on it
        }
        spins_not(&mut bench);
        bench.shard.cancel(old);
        let result = bench.result(old);
        assert!([-libc::EBADF, -libc::ECANCELED, 7].contains(&result), "{result}");
        drop((other, to));
    }
}

/// With nothing to do the shard sleeps until its deadline, rather than be woken for nothing.
fn spins_not<B: Backend>(bench: &mut Bench<B>) {
    let turns = 20;
    let deadline = bench.shard.now() + Duration::from_millis(20);
    bench.shard.at(deadline, 1);
    for _ in 0..turns {
        if bench.shard.now() >= deadline {
            return;
        }
        bench.turn();
    }
    panic!("woken {turns} times within 20 ms, for nothing");
}

/// The child disowns what it inherited, works with a backend of its own, and its parent's reads go on.
fn a_forked_child_makes_its_own_backend_and_leaves_its_parent_s_alone<B: Backend>(make: fn() -> Bench<B>) {
    let mut bench = make();
    let (from, to) = fds::pipe(Mode::Blocking);
    let fd = from.as_raw_fd();
    let reads: [OpKey; 2] = [
        bench.submit(Op::Read { fd, buf: memory(4).as_mut_ptr(), len: 4, offset: POSITION }),
        bench.submit(Op::ReadPooled { fd, len: 4 }),
    ];
    // A thread of the pool is there, which the child will not have.
    let file = fds::file(b"polyphony");
    let read_file = |bench: &mut Bench<B>| {
        let buf = memory(9).as_mut_ptr();
        bench.perform(Op::Read { fd: file.as_raw_fd(), buf, len: 9, offset: 0 })
    };
    assert_eq!(read_file(&mut bench), 9);
    bench.settle();
    // SAFETY: the child uses what it has made itself, and leaves by _exit.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let survived = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            bench.shard.disown();
            let mut bench = make();
            assert_eq!(read_file(&mut bench), 9);
            let (from, to) = fds::pipe(Mode::Nonblocking);
            let buf = memory(8).as_mut_ptr();
            let fd = from.as_raw_fd();
            let key = bench.submit(Op::Read { fd, buf, len: 8, offset: POSITION });
            bench.settle();
            fds::write(&to, b"child");
            assert_eq!(bench.result(key), 5);
        }));
        // SAFETY: ends the child without running what belongs to its parent.
        unsafe { libc::_exit(if survived.is_ok() { 0 } else { 1 }) };
    }
    let mut status = -1;
    // SAFETY: room for the status of our own child.
    assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
    assert_eq!(status, 0, "the child failed");
    // Enough for both, whichever the kernel serves first.
    fds::write(&to, b"fourfour");
    for read in reads {
        assert_eq!(bench.result(read), 4, "the parent's read ended otherwise");
    }
    assert_eq!(read_file(&mut bench), 9);
}

/// Where each were looked for behind all others this would take minutes, and the bench would say so.
#[test]
fn very_many_operations_are_cancelled_in_time() {
    fn on<B: Backend>(mut bench: Bench<B>) {
        let pipes: Vec<_> = (0..400).map(|_| fds::pipe(Mode::Blocking)).collect();
        for (from, _) in pipes.iter().cycle().take(200_000) {
            bench.submit(Op::Poll { fd: from.as_raw_fd(), events: libc::POLLIN as u32 });
        }
        bench.settle();
        assert_eq!(bench.shard.cancel_fd(pipes[0].0.as_raw_fd()), 500);
        bench.shard.cancel_all();
        while bench.shard.in_flight() > 0 {
            bench.turn();
        }
    }
    let _turn = alone();
    on(support::uring());
    on(support::epoll());
}

/// A signal that comes while the shard sleeps ends the wait, and nothing else.
#[test]
fn a_signal_ends_a_wait() {
    extern "C" fn nothing(_: i32) {}
    let _turn = alone();
    // SAFETY: a handler that does nothing, without SA_RESTART.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = nothing as extern "C" fn(i32) as usize;
        libc::sigaction(libc::SIGUSR1, &action, ptr::null_mut());
    }
    signalled(support::uring());
    signalled(support::epoll());
}

fn signalled<B: Backend>(mut bench: Bench<B>) {
    let (from, to) = fds::pipe(Mode::Blocking);
    let buf = memory(4).as_mut_ptr();
    let key = bench.submit(Op::Read { fd: from.as_raw_fd(), buf, len: 4, offset: POSITION });
    bench.settle();
    // SAFETY: the calling thread's own name.
    let me = unsafe { libc::pthread_self() };
    let done = Arc::new(AtomicBool::new(false));
    let seen = done.clone();
    let sender = thread::spawn(move || {
        // Again and again, for one that comes before the wait ends nothing.
        while !seen.load(Ordering::Acquire) {
            // SAFETY: the thread lives until it has joined this one.
            unsafe { libc::pthread_kill(me, libc::SIGUSR1) };
            thread::sleep(Duration::from_millis(1));
        }
    });
    let Next::Wait(mut wait) = bench.shard.next() else { panic!("there is something to wait for") };
    polyphony_core::backend::Wait::block(&mut wait).unwrap();
    done.store(true, Ordering::Release);
    bench.shard.harvest(wait);
    sender.join().unwrap();
    assert!(bench.outcomes(key).is_empty());
    fds::write(&to, b"four");
    assert_eq!(bench.result(key), 4);
}
