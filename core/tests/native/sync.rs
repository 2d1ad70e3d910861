use std::{
    cell::Cell,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use polyphony_core::native::{
    self, Errno, Options, Runtime, spawn,
    sync::{Channel, Condvar, Event, Mutex, Once, RwLock, Semaphore, WaitGroup},
    yield_now,
};

use crate::{in_a_fiber, watched};

const AGAIN: Errno = Errno::new(libc::EAGAIN);

#[test]
fn items_arrive_in_the_order_in_which_they_were_sent_whatever_the_capacity() {
    for capacity in [0, 1, 7, usize::MAX] {
        in_a_fiber(move || {
            let channel = Arc::new(Channel::bounded(capacity));
            let sender = {
                let channel = channel.clone();
                spawn(move || {
                    (0..1000).for_each(|n| channel.send(Box::new(n)).unwrap());
                    channel.close()
                })
                .unwrap()
            };
            let heard: Vec<i32> = std::iter::from_fn(|| channel.recv().ok().map(|item| *item)).collect();
            assert_eq!(heard, Vec::from_iter(0..1000));
            assert_eq!(sender.join(), Ok(Ok(true)));
            assert_eq!(channel.recv(), Err(Errno::CLOSED));
        });
    }
}

#[test]
fn an_item_meant_for_a_receiver_that_was_cancelled_goes_to_the_next() {
    in_a_fiber(|| {
        let channel = Arc::new(Channel::bounded(0));
        let receivers = [(); 3].map(|()| {
            let channel = channel.clone();
            spawn(move || channel.recv()).unwrap()
        });
        yield_now().unwrap();
        receivers[0].cancel().unwrap();
        channel.send("first").unwrap();
        channel.send("second").unwrap();
        let [none, first, second] = receivers.map(|receiver| receiver.join().unwrap());
        assert_eq!((none, first, second), (Err(Errno::CANCELED), Ok("first"), Ok("second")));
    });
}

#[test]
fn an_item_that_was_handed_over_before_the_cancellation_is_received_and_the_next_call_refused() {
    in_a_fiber(|| {
        let channel = Arc::new(Channel::bounded(0));
        let receiver = {
            let channel = channel.clone();
            spawn(move || (channel.recv(), channel.recv())).unwrap()
        };
        yield_now().unwrap();
        channel.send(1).unwrap();
        receiver.cancel().unwrap();
        assert_eq!(receiver.join(), Ok((Ok(1), Err(Errno::CANCELED))));
    });
}

#[test]
fn a_sender_that_is_cancelled_keeps_its_item() {
    in_a_fiber(|| {
        let channel = Arc::new(Channel::bounded(1));
        channel.send(String::from("in the way")).unwrap();
        let sender = {
            let channel = channel.clone();
            spawn(move || channel.send(String::from("mine")).unwrap_err()).unwrap()
        };
        yield_now().unwrap();
        sender.cancel().unwrap();
        let refused = sender.join().unwrap();
        assert_eq!((refused.item.as_str(), refused.errno), ("mine", Errno::CANCELED));
        assert_eq!(channel.try_recv().as_deref(), Ok("in the way"));
        assert_eq!(channel.try_recv(), Err(AGAIN));
    });
}

#[test]
fn closing_tells_senders_and_receivers_and_what_is_in_the_channel_can_still_be_received() {
    in_a_fiber(|| {
        let full = Arc::new(Channel::bounded(1));
        full.send(1).unwrap();
        let sender = {
            let full = full.clone();
            spawn(move || full.send(2).unwrap_err()).unwrap()
        };
        let empty = Arc::new(Channel::<u8>::unbounded());
        let receiver = {
            let empty = empty.clone();
            spawn(move || empty.recv()).unwrap()
        };
        yield_now().unwrap();
        assert_eq!((full.close(), empty.close()), (Ok(true), Ok(true)));
        assert_eq!(full.close(), Ok(false));
        let refused = sender.join().unwrap();
        assert_eq!((refused.item, refused.errno), (2, Errno::CLOSED));
        assert_eq!(receiver.join(), Ok(Err(Errno::CLOSED)));
        assert_eq!((full.recv(), full.recv()), (Ok(1), Err(Errno::CLOSED)));
        assert_eq!(full.try_send(3).unwrap_err().errno, Errno::CLOSED);
    });
}

/// Threads and fibers send and receive at once, receivers are cancelled all the time: each item is
/// received exactly once.
#[test]
fn every_item_is_received_once_between_threads_and_fibers_that_are_cancelled() {
    const ITEMS: u64 = 20_000;
    let _watched = watched();
    let runtime = Runtime::new(Options::with_workers(1)).unwrap();
    let channel = Arc::new(Channel::bounded(3));
    let (sum, count) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let receivers: Vec<_> = (0..4)
        .map(|_| {
            let (channel, sum, count) = (channel.clone(), sum.clone(), count.clone());
            runtime
                .spawn(move || {
                    loop {
                        match channel.recv() {
                            Ok(item) => {
                                sum.fetch_add(item, Ordering::SeqCst);
                                count.fetch_add(1, Ordering::SeqCst);
                            }
                            Err(Errno::CANCELED) => {}
                            Err(_) => return,
                        }
                    }
                })
                .unwrap()
        })
        .collect();
    thread::scope(|scope| {
        let senders: Vec<_> = (0..2)
            .map(|half| {
                let channel = &channel;
                scope.spawn(move || (0..ITEMS / 2).for_each(|n| channel.send(2 * n + half).unwrap()))
            })
            .collect();
        while senders.iter().any(|sender| !sender.is_finished()) {
            receivers.iter().for_each(|receiver| receiver.cancel().unwrap());
        }
    });
    channel.close().unwrap();
    receivers.into_iter().for_each(|receiver| receiver.join().unwrap());
    assert_eq!(count.load(Ordering::SeqCst), ITEMS);
    assert_eq!(sum.load(Ordering::SeqCst), ITEMS * (ITEMS - 1) / 2);
}

#[test]
fn a_mutex_passes_from_owner_to_owner_in_the_order_in_which_they_asked() {
    in_a_fiber(|| {
        let mutex = Arc::new(Mutex::new());
        let order = Arc::new(std::sync::Mutex::new(Vec::new()));
        mutex.lock().unwrap();
        let fibers: Vec<_> = (0..5)
            .map(|n| {
                let (mutex, order) = (mutex.clone(), order.clone());
                spawn(move || {
                    mutex.lock()?;
                    order.lock().unwrap().push(n);
                    yield_now()?;
                    mutex.unlock()
                })
                .unwrap()
            })
            .collect();
        yield_now().unwrap();
        fibers[2].cancel().unwrap();
        mutex.unlock().unwrap();
        let joined: Vec<_> = fibers.into_iter().map(|fiber| fiber.join().unwrap()).collect();
        assert_eq!(joined, [Ok(()), Ok(()), Err(Errno::CANCELED), Ok(()), Ok(())]);
        assert_eq!(*order.lock().unwrap(), [0, 1, 3, 4]);
        assert!(mutex.is_free());
    });
}

#[test]
fn a_mutex_knows_its_owner() {
    in_a_fiber(|| {
        let mutex = Arc::new(Mutex::new());
        assert_eq!(mutex.unlock(), Err(Errno::new(libc::EPERM)));
        mutex.lock().unwrap();
        assert_eq!(mutex.lock(), Err(Errno::new(libc::EDEADLK)));
        let other = mutex.clone();
        let stranger = spawn(move || (other.try_lock(), other.unlock())).unwrap();
        let refused = (Err(Errno::new(libc::EBUSY)), Err(Errno::new(libc::EPERM)));
        assert_eq!(stranger.join(), Ok(refused));
        mutex.unlock().unwrap();
    });
}

#[test]
fn threads_and_fibers_exclude_each_other() {
    struct Count(Cell<u64>);
    // SAFETY: the test touches it under the mutex only; that is what it tests.
    unsafe impl Sync for Count {}
    let _watched = watched();
    let runtime = Runtime::new(Options::with_workers(1)).unwrap();
    let shared = Arc::new((Mutex::new(), Count(Cell::new(0))));
    let increment = |shared: &(Mutex, Count)| {
        for _ in 0..2000 {
            shared.0.lock().unwrap();
            let count = shared.1.0.get();
            let _ = yield_now();
            shared.1.0.set(count + 1);
            shared.0.unlock().unwrap();
        }
    };
    let fibers: Vec<_> = (0..3)
        .map(|_| {
            let shared = shared.clone();
            runtime.spawn(move || increment(&shared)).unwrap()
        })
        .collect();
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| increment(&shared));
        }
    });
    fibers.into_iter().for_each(|fiber| fiber.join().unwrap());
    assert_eq!(shared.1.0.get(), 10_000);
}

#[test]
fn a_condition_that_is_cancelled_holds_its_mutex_again_and_leaves_the_notification_to_the_next() {
    in_a_fiber(|| {
        let shared = Arc::new((Mutex::new(), Condvar::new()));
        let waiters = [(); 3].map(|()| {
            let shared = shared.clone();
            spawn(move || {
                shared.0.lock().unwrap();
                let waited = shared.1.wait(&shared.0);
                assert!(shared.0.is_mine());
                shared.0.unlock().unwrap();
                waited
            })
            .unwrap()
        });
        yield_now().unwrap();
        waiters[0].cancel().unwrap();
        assert_eq!(shared.1.notify_one(), Ok(true));
        assert_eq!(shared.1.notify_all(), Ok(1));
        assert_eq!(shared.1.notify_one(), Ok(false));
        let waited = waiters.map(|waiter| waiter.join().unwrap());
        assert_eq!(waited, [Err(Errno::CANCELED), Ok(()), Ok(())]);
        assert_eq!(shared.1.wait(&shared.0), Err(Errno::new(libc::EPERM)));
    });
}

#[test]
fn a_semaphore_serves_who_came_first_even_if_others_want_less() {
    in_a_fiber(|| {
        let semaphore = Arc::new(Semaphore::new(1));
        let wants = |permits| {
            let semaphore = semaphore.clone();
            spawn(move || semaphore.acquire(permits)).unwrap()
        };
        let (many, few) = (wants(3), wants(1));
        yield_now().unwrap();
        assert_eq!(semaphore.try_acquire(1), Err(AGAIN));
        semaphore.release(1).unwrap();
        assert!(!semaphore.is_idle());
        // The one that wants three gives up: what is there is enough for the other.
        many.cancel().unwrap();
        assert_eq!(many.join(), Ok(Err(Errno::CANCELED)));
        assert_eq!(few.join(), Ok(Ok(())));
        assert_eq!(semaphore.permits(), 1);
        assert_eq!(semaphore.release(u64::MAX), Err(Errno::new(libc::EOVERFLOW)));
    });
}

#[test]
fn an_event_lets_everybody_pass_once_it_is_set() {
    in_a_fiber(|| {
        let event = Arc::new(Event::new());
        let waiters = [(); 3].map(|()| {
            let event = event.clone();
            spawn(move || event.wait()).unwrap()
        });
        yield_now().unwrap();
        assert_eq!(event.set(), Ok(3));
        assert_eq!(event.wait(), Ok(()));
        event.reset().unwrap();
        assert_eq!(event.is_set(), Ok(false));
        assert_eq!(waiters.map(|waiter| waiter.join()), [Ok(Ok(())); 3]);
        assert_eq!(
            native::within(std::time::Duration::from_millis(1), || event.wait()).0,
            Err(Errno::TIMED_OUT)
        );
    });
}

/// Items go round between the fibers of two runtimes, whose waits are cancelled all the time by a third
/// party: each comes round unharmed.
#[test]
fn an_item_goes_round_between_two_runtimes_whatever_is_cancelled() {
    const ROUNDS: u64 = 10_000;
    let _watched = watched();
    let runtimes = [(); 2].map(|()| Runtime::new(Options::with_workers(1)).unwrap());
    let ways = [(); 2].map(|()| Arc::new(Channel::bounded(0)));
    let persist = |channel: &Channel<u64>| loop {
        match channel.recv() {
            Err(Errno::CANCELED) => {}
            other => return other,
        }
    };
    let send = |channel: &Channel<u64>, mut item| loop {
        match channel.send(item) {
            Ok(()) => return,
            Err(refused) => item = refused.item,
        }
    };
    let [there, back] = ways;
    let (inbound, outbound) = (there.clone(), back.clone());
    let echo = runtimes[0].spawn(move || {
        while let Ok(item) = persist(&inbound) {
            send(&outbound, item + 1);
        }
    });
    let driver = runtimes[1].spawn(move || {
        for n in 0..ROUNDS {
            send(&there, n);
            assert_eq!(persist(&back), Ok(n + 1));
        }
        there.close().unwrap();
    });
    let (echo, driver) = (echo.unwrap(), driver.unwrap());
    while echo.cancel().is_ok() && driver.cancel().is_ok() && !is_over(&runtimes[1]) {
        thread::yield_now();
    }
    driver.join().unwrap();
    echo.join().unwrap();
}

/// Whether nothing but a joinable result is left of a runtime's fibers.
fn is_over(runtime: &Runtime) -> bool {
    runtime.snapshot().unwrap().fibers == 0
}

#[test]
fn readers_go_together_and_nobody_overtakes_a_writer() {
    in_a_fiber(|| {
        let lock = Arc::new(RwLock::new());
        let order = Arc::new(std::sync::Mutex::new(String::new()));
        let wants = |writes: bool, letter: char| {
            let (lock, order) = (lock.clone(), order.clone());
            spawn(move || {
                if writes {
                    lock.write()?
                } else {
                    lock.read()?
                }
                order.lock().unwrap().push(letter);
                yield_now()?;
                lock.unlock()
            })
            .unwrap()
        };
        lock.read().unwrap();
        let fibers = [(false, 'a'), (true, 'W'), (false, 'b'), (false, 'c'), (true, 'X')];
        let fibers = fibers.map(|(writes, letter)| wants(writes, letter));
        yield_now().unwrap();
        assert_eq!(*order.lock().unwrap(), "a");
        assert_eq!(lock.try_write(), Err(Errno::new(libc::EBUSY)));
        // The writer gives up: who stood behind it need not wait any longer.
        fibers[1].cancel().unwrap();
        (0..2).for_each(|_| yield_now().unwrap());
        assert_eq!(*order.lock().unwrap(), "abc");
        lock.unlock().unwrap();
        let joined: Vec<_> = fibers.into_iter().map(|fiber| fiber.join().unwrap()).collect();
        assert_eq!(joined, [Ok(()), Err(Errno::CANCELED), Ok(()), Ok(()), Ok(())]);
        assert_eq!(*order.lock().unwrap(), "abcX");
        assert!(lock.is_free());
        lock.write().unwrap();
        assert_eq!(lock.read(), Err(Errno::new(libc::EDEADLK)));
        assert_eq!(lock.write(), Err(Errno::new(libc::EDEADLK)));
        assert_eq!(lock.try_read(), Err(Errno::new(libc::EBUSY)));
        lock.unlock().unwrap();
        assert_eq!(lock.unlock(), Err(Errno::new(libc::EPERM)));
    });
}

/// Threads and fibers of two workers read and write; some waits are cancelled or run out of time.
#[test]
fn a_writer_is_alone_among_threads_and_fibers() {
    struct Pair(Cell<u64>, Cell<u64>);
    // SAFETY: the test writes under the lock only; that is what it tests.
    unsafe impl Sync for Pair {}
    let _watched = watched();
    let runtime = Runtime::new(Options::with_workers(2)).unwrap();
    let shared = Arc::new((RwLock::new(), Pair(Cell::new(0), Cell::new(0))));
    let work = |shared: &(RwLock, Pair), seed: u64| {
        let mut written = 0;
        for n in 0..1500 {
            let writes = (n + seed).is_multiple_of(3);
            let span = std::time::Duration::from_micros((n + seed) % 20);
            let take = || if writes { shared.0.write() } else { shared.0.read() };
            if (if n.is_multiple_of(4) { native::within(span, take).0 } else { take() }).is_err() {
                continue;
            }
            assert_eq!(shared.1.0.get(), shared.1.1.get());
            if writes {
                shared.1.0.set(shared.1.0.get() + 1);
                let _ = yield_now();
                shared.1.1.set(shared.1.1.get() + 1);
                written += 1;
            }
            shared.0.unlock().unwrap();
        }
        written
    };
    let fibers: Vec<_> = (0..4)
        .map(|seed| {
            let shared = shared.clone();
            runtime.spawn(move || work(&shared, seed)).unwrap()
        })
        .collect();
    let mut written: u64 = thread::scope(|scope| {
        let threads = [5, 6].map(|seed| {
            scope.spawn({
                let shared = &shared;
                move || work(shared, seed)
            })
        });
        while threads.iter().any(|thread| !thread.is_finished()) {
            fibers.iter().for_each(|fiber| fiber.cancel().unwrap());
            thread::yield_now();
        }
        threads.map(|thread| thread.join().unwrap()).iter().sum()
    });
    written += fibers.into_iter().map(|fiber| fiber.join().unwrap()).sum::<u64>();
    assert_eq!((shared.1.0.get(), shared.1.1.get()), (written, written));
    assert!(shared.0.is_free());
}

#[test]
fn a_thing_is_done_once_and_everybody_waits_until_it_is() {
    in_a_fiber(|| {
        let shared = Arc::new((Once::new(), AtomicU64::new(0)));
        let fibers: Vec<_> = (0..5)
            .map(|_| {
                let shared = shared.clone();
                spawn(move || {
                    let done = shared.0.run(|| {
                        yield_now().unwrap();
                        assert_eq!(shared.0.run(|| ()), Err(Errno::new(libc::EDEADLK)));
                        shared.1.fetch_add(1, Ordering::SeqCst);
                    });
                    (done, shared.1.load(Ordering::SeqCst))
                })
                .unwrap()
            })
            .collect();
        yield_now().unwrap();
        fibers[3].cancel().unwrap();
        let joined: Vec<_> = fibers.into_iter().map(|fiber| fiber.join().unwrap()).collect();
        assert_eq!(joined[3].0, Err(Errno::CANCELED));
        assert!([0, 1, 2, 4].iter().all(|&n| joined[n] == (Ok(()), 1)));
        assert_eq!(shared.0.is_done(), Ok(true));
    });
}

#[test]
fn who_panics_has_not_done_it_and_the_next_does() {
    in_a_fiber(|| {
        let once = Arc::new(Once::new());
        let first = once.clone();
        let first = spawn(move || {
            first.run(|| {
                yield_now().unwrap();
                std::panic::resume_unwind(Box::new("not done"));
            })
        })
        .unwrap();
        let second = once.clone();
        let second = spawn(move || second.run(|| ())).unwrap();
        assert_eq!(first.join(), Err(Errno::PANIC));
        assert_eq!(second.join(), Ok(Ok(())));
        assert_eq!(once.is_done(), Ok(true));
    });
}

#[test]
fn a_wait_group_lets_everybody_pass_once_nothing_is_left_to_do() {
    in_a_fiber(|| {
        let group = Arc::new(WaitGroup::new());
        assert_eq!((group.wait(), group.try_wait()), (Ok(()), Ok(())));
        assert_eq!(group.done(), Err(Errno::new(libc::EINVAL)));
        group.add(2).unwrap();
        let waiters = [(); 3].map(|()| {
            let group = group.clone();
            spawn(move || group.wait()).unwrap()
        });
        yield_now().unwrap();
        assert_eq!(group.try_wait(), Err(AGAIN));
        group.done().unwrap();
        waiters[1].cancel().unwrap();
        group.done().unwrap();
        assert_eq!(waiters.map(|waiter| waiter.join().unwrap()), [Ok(()), Err(Errno::CANCELED), Ok(())]);
        group.add(i64::MAX).unwrap();
        group.add(i64::MAX).unwrap();
        assert_eq!(group.add(2), Err(Errno::new(libc::EOVERFLOW)));
    });
}
