use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use polyphony_core::native::{self, Errno, FiberId, Options, Runtime, spawn, yield_now};

use crate::{BUSY, close_both, in_a_fiber, pipe, watched};

const LONG: Duration = Duration::from_secs(3600);

#[test]
fn a_fiber_returns_its_value_to_who_joins_it() {
    assert_eq!(in_a_fiber(|| spawn(|| String::from("value")).unwrap().join()), Ok("value".into()));
}

#[test]
fn fibers_that_yield_take_turns() {
    let order = in_a_fiber(|| {
        let order = Arc::new(Mutex::new(Vec::new()));
        let fibers: Vec<_> = (0..3)
            .map(|me| {
                let order = order.clone();
                spawn(move || {
                    for _ in 0..3 {
                        order.lock().unwrap().push(me);
                        yield_now().unwrap();
                    }
                })
                .unwrap()
            })
            .collect();
        fibers.into_iter().for_each(|fiber| fiber.join().unwrap());
        Arc::into_inner(order).unwrap().into_inner().unwrap()
    });
    assert_eq!(order, [0, 1, 2, 0, 1, 2, 0, 1, 2]);
}

#[test]
fn a_fiber_that_is_joined_before_it_began_runs_before_the_others_and_who_joined_it_goes_on() {
    let order = in_a_fiber(|| {
        let order = Arc::new(Mutex::new(Vec::new()));
        let notes = |name| {
            let order = order.clone();
            move || order.lock().unwrap().push(name)
        };
        let others = [spawn(notes("first")).unwrap(), spawn(notes("second")).unwrap()];
        spawn(notes("joined")).unwrap().join().unwrap();
        notes("joiner")();
        others.into_iter().for_each(|other| other.join().unwrap());
        Arc::into_inner(order).unwrap().into_inner().unwrap()
    });
    assert_eq!(order, ["joined", "joiner", "first", "second"]);
}

#[test]
fn a_fiber_that_has_let_others_run_is_not_brought_forward_by_who_joins_it() {
    let order = in_a_fiber(|| {
        let order = Arc::new(Mutex::new(Vec::new()));
        let [first, second] = ["first", "second"].map(|name| {
            let order = order.clone();
            spawn(move || {
                yield_now().unwrap();
                order.lock().unwrap().push(name);
            })
            .unwrap()
        });
        yield_now().unwrap(); // both have begun
        second.join().unwrap();
        first.join().unwrap();
        Arc::into_inner(order).unwrap().into_inner().unwrap()
    });
    assert_eq!(order, ["first", "second"]);
}

#[test]
fn who_spawns_and_joins_for_ever_lets_others_run() {
    in_a_fiber(|| {
        let done = Arc::new(AtomicUsize::new(0));
        let count = done.clone();
        let other = spawn(move || count.fetch_add(1, Ordering::Relaxed)).unwrap();
        let joins = (0..1_000_000).position(|_| {
            spawn(|| ()).unwrap().join().unwrap();
            done.load(Ordering::Relaxed) > 0
        });
        assert!(joins.is_some(), "the other never ran");
        other.join().unwrap();
    });
}

#[test]
fn a_fiber_that_sleeps_longer_wakes_later() {
    let order = in_a_fiber(|| {
        let order = Arc::new(Mutex::new(Vec::new()));
        let fibers: Vec<_> = [30, 10, 20]
            .map(|millis| {
                let order = order.clone();
                spawn(move || {
                    native::sleep(Duration::from_millis(millis)).unwrap();
                    order.lock().unwrap().push(millis);
                })
                .unwrap()
            })
            .into_iter()
            .collect();
        fibers.into_iter().for_each(|fiber| fiber.join().unwrap());
        Arc::into_inner(order).unwrap().into_inner().unwrap()
    });
    assert_eq!(order, [10, 20, 30]);
}

#[test]
fn a_panic_becomes_the_error_of_the_join_and_the_runtime_lives_on() {
    let joined = in_a_fiber(|| {
        let panicked = spawn(|| -> u8 { std::panic::panic_any("on purpose") }).unwrap().join();
        (panicked, spawn(|| 5).unwrap().join())
    });
    assert_eq!(joined, (Err(Errno::PANIC), Ok(5)));
}

#[test]
fn a_name_of_a_fiber_that_was_joined_names_nobody_even_when_its_slot_is_used_again() {
    in_a_fiber(|| {
        let first = spawn(|| ()).unwrap();
        let stale = first.id();
        first.join().unwrap();
        let second = spawn(yield_now).unwrap();
        assert_ne!(second.id(), stale);
        assert_eq!(stale.cancel(), Err(Errno::NO_SUCH_FIBER));
        assert_eq!(native::join::<()>(stale), Err(Errno::NO_SUCH_FIBER));
        assert_eq!(native::detach(stale), Err(Errno::NO_SUCH_FIBER));
        second.join().unwrap().unwrap();
    });
}

#[test]
fn a_made_up_name_is_an_error_and_not_a_crash() {
    let _watched = watched();
    let mut seed = 7u64;
    for number in (0..100_000).chain([u64::MAX, 1 << 63]) {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(number);
        // The highest bit is never set in a name, so these name nobody.
        assert_eq!(FiberId::from_number(seed | 1 << 63).cancel(), Err(Errno::NO_SUCH_FIBER));
    }
}

#[test]
fn a_fiber_cannot_join_itself_and_only_one_can_join_it() {
    in_a_fiber(|| {
        let me = native::myself().unwrap();
        let slow = spawn(|| native::sleep(Duration::from_secs(3600))).unwrap();
        let id = slow.id();
        let joiner = spawn(move || native::join::<Result<(), Errno>>(id)).unwrap();
        yield_now().unwrap();
        assert_eq!(native::join::<Result<(), Errno>>(id), Err(BUSY));
        slow.cancel().unwrap();
        assert_eq!(joiner.join(), Ok(Ok(Err(Errno::CANCELED))));
        // The type of the body's own value is (): only that one gets as far as asking who joins.
        assert_eq!(native::join::<()>(me), Err(Errno::new(libc::EDEADLK)));
    });
}

#[test]
fn a_join_that_expects_another_type_is_refused_and_takes_nothing() {
    in_a_fiber(|| {
        let fiber = spawn(|| 7u32).unwrap();
        assert_eq!(native::join::<String>(fiber.id()), Err(Errno::new(libc::EINVAL)));
        assert_eq!(fiber.join(), Ok(7));
    });
}

#[test]
fn the_value_of_a_detached_fiber_is_dropped_once() {
    struct Counts(Arc<AtomicUsize>);
    impl Drop for Counts {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let drops = Arc::new(AtomicUsize::new(0));
    let seen = drops.clone();
    in_a_fiber(move || {
        let (before, after) = (Counts(seen.clone()), Counts(seen.clone()));
        let early = spawn(move || before).unwrap();
        drop(early);
        let late = spawn(move || after).unwrap();
        yield_now().unwrap();
        yield_now().unwrap();
        assert_eq!(seen.load(Ordering::SeqCst), 1, "the late one is still to be joined");
        drop(late);
        assert_eq!(seen.load(Ordering::SeqCst), 2);
    });
    assert_eq!(drops.load(Ordering::SeqCst), 2);
}

#[test]
fn what_a_fiber_captures_and_returns_must_fit_beside_its_stack() {
    in_a_fiber(|| {
        let large = [0u8; 9000];
        assert_eq!(spawn(move || large.len()).unwrap_err(), Errno::new(libc::E2BIG));
        let small = [1u8; 4096];
        assert_eq!(spawn(move || small).unwrap().join(), Ok([1; 4096]));
    });
}

#[test]
fn fibers_are_started_and_joined_from_plain_threads() {
    let _watched = watched();
    let runtime = Runtime::new(Options::with_workers(1)).unwrap();
    let sum: u64 = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4u64)
            .map(|thread| {
                let runtime = &runtime;
                scope.spawn(move || {
                    (0..500).map(|n| runtime.spawn(move || thread * n).unwrap().join().unwrap()).sum::<u64>()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(sum, (0..4).map(|thread| thread * (0..500).sum::<u64>()).sum());
}

#[test]
fn outside_a_fiber_there_is_nothing_to_start_one_beside() {
    assert_eq!(spawn(|| ()).unwrap_err(), Errno::new(libc::EPERM));
    assert_eq!(native::myself(), None);
    assert_eq!(yield_now(), Ok(()));
}

#[test]
fn a_shutdown_ends_fibers_that_wait_for_anything() {
    let _watched = watched();
    let runtime = Runtime::new(Options::with_workers(1)).unwrap();
    let (read, write) = pipe();
    let channel = Arc::new(native::sync::Channel::<u8>::bounded(0));
    let reader = runtime.spawn(move || native::io::read(read, &mut [0; 1])).unwrap();
    let sleeper = runtime.spawn(|| native::sleep(Duration::from_secs(3600))).unwrap();
    let receiver = runtime.spawn(move || channel.recv()).unwrap();
    let stubborn = runtime
        .spawn(|| (0..1000).filter(|_| native::sleep(Duration::from_secs(3600)).is_err()).count())
        .unwrap();
    runtime.run(|| (0..3).for_each(|_| yield_now().unwrap())).unwrap();
    runtime.shutdown(None).unwrap();
    assert_eq!(reader.join(), Ok(Err(Errno::CANCELED)));
    assert_eq!(sleeper.join(), Ok(Err(Errno::CANCELED)));
    assert_eq!(receiver.join(), Ok(Err(Errno::CANCELED)));
    assert_eq!(stubborn.join(), Ok(1000));
    assert_eq!(runtime.spawn(|| ()).unwrap_err(), Errno::SHUTDOWN);
    close_both(read, write);
}

#[test]
fn a_shutdown_that_runs_out_of_patience_can_be_asked_again() {
    let _watched = watched();
    let runtime = Runtime::new(Options::with_workers(1)).unwrap();
    let go = Arc::new(AtomicUsize::new(0));
    let seen = go.clone();
    // It computes: nothing can end that but itself.
    let busy = runtime
        .spawn(move || {
            while seen.load(Ordering::SeqCst) == 0 {
                std::hint::spin_loop()
            }
        })
        .unwrap();
    assert_eq!(runtime.shutdown(Some(Duration::from_millis(1))), Err(Errno::TIMED_OUT));
    go.store(1, Ordering::SeqCst);
    assert_eq!(runtime.shutdown(None), Ok(()));
    assert_eq!(busy.join(), Ok(()));
}

#[test]
fn ten_thousand_fibers_are_alive_at_once() {
    let sum = in_a_fiber(|| {
        let fibers: Vec<_> = (0..10_000u64)
            .map(|n| {
                spawn(move || {
                    yield_now().unwrap();
                    n
                })
                .unwrap()
            })
            .collect();
        fibers.into_iter().map(|fiber| fiber.join().unwrap()).sum::<u64>()
    });
    assert_eq!(sum, 49_995_000);
}

#[test]
fn the_child_of_a_fork_gets_errors_instead_of_hanging() {
    let _watched = watched();
    let runtime = Runtime::new(Options::with_workers(1)).unwrap();
    let runtime: &'static Runtime = Box::leak(Box::new(runtime));
    let status = runtime.run(move || fork_and_look(runtime)).unwrap();
    assert_eq!(status, 0, "the child failed at step {}", status >> 8);
    assert_eq!(runtime.run(|| 1), Ok(1), "the parent goes on");
}

fn fork_and_look(runtime: &'static Runtime) -> i32 {
    let (read, write) = pipe();
    // SAFETY: the child only makes calls that are allowed to fail, and leaves by `_exit`.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let step = look_around_in_the_child(runtime, read, write);
        // SAFETY: it takes a number.
        unsafe { libc::_exit(step) };
    }
    assert!(child > 0, "no child: {}", std::io::Error::last_os_error());
    let mut status = -1;
    // SAFETY: room for a status.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    close_both(read, write);
    status
}

/// The number of the first step that went wrong, or 0.
fn look_around_in_the_child(runtime: &Runtime, read: i32, write: i32) -> i32 {
    let checks = [
        runtime.spawn(|| ()).err() == Some(Errno::FORKED),
        runtime.shutdown(None) == Err(Errno::FORKED),
        spawn(|| ()).err() == Some(Errno::new(libc::EPERM)),
        native::io::write(write, b"x") == Ok(1),
        native::io::read(read, &mut [0; 8]) == Ok(1),
        Runtime::new(Options::with_workers(1)).is_ok_and(|fresh| fresh.run(|| 3) == Ok(3)),
    ];
    checks.iter().position(|&fine| !fine).map_or(0, |step| step as i32 + 1)
}

#[test]
fn a_fiber_that_runs_over_its_stack_hits_the_guard_and_harms_nobody() {
    use std::os::unix::process::ExitStatusExt;
    let _watched = watched();
    let this = std::env::current_exe().unwrap();
    let child = std::process::Command::new(this)
        .args(["--exact", "--ignored", "fibers::run_over_the_stack"])
        .output()
        .unwrap();
    let signal = child.status.signal();
    assert!(matches!(signal, Some(libc::SIGSEGV | libc::SIGABRT)), "{:?}", child.status);
}

#[test]
#[ignore = "it crashes, and is run by the test above"]
fn run_over_the_stack() {
    fn deeper(from: &[u8; 1024], depth: u64) -> u64 {
        if depth == 0 {
            return 0;
        }
        let frame = *std::hint::black_box(from);
        deeper(&frame, depth - 1) + u64::from(frame[1])
    }
    in_a_fiber(|| deeper(&[0; 1024], 1 << 20));
}

#[test]
fn fibers_of_two_runtimes_join_and_cancel_each_other() {
    let _watched = watched();
    let runtimes = [(); 2].map(|()| Arc::new(Runtime::new(Options::with_workers(1)).unwrap()));
    let [here, there] = runtimes.clone();
    here.run(move || {
        for n in 0..3000u32 {
            let fiber = there.spawn(move || if n % 2 == 0 { Ok(()) } else { native::sleep(LONG) }).unwrap();
            if n % 2 == 1 {
                fiber.cancel().unwrap();
            }
            let expected = if n % 2 == 0 { Ok(()) } else { Err(Errno::CANCELED) };
            assert_eq!(fiber.join(), Ok(expected));
        }
    })
    .unwrap();
}
