//! Several workers: what moves, what stays, and that nothing is lost on the way.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    os::fd::{AsRawFd, IntoRawFd, RawFd},
    sync::{
        Arc, Mutex as StdMutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use polyphony_core::native::{
    self, Errno, JoinHandle, Options, Placement, Runtime, io, sleep, spawn, spawn_placed,
    sync::{Channel, Event, Mutex, Semaphore},
    worker, yield_now,
};

use crate::{EBADF, close_both, in_a_fiber_of, pair, pipe, watched};

const LONG: Duration = Duration::from_secs(3600);
const WORKERS: usize = 2;

/// Anywhere, at any time. The fibers of these tests keep nothing on their stacks that knows its thread.
fn migratable() -> Placement {
    // SAFETY: as said.
    unsafe { Placement::migratable() }
}

fn placement(random: &mut Random) -> Placement {
    match random.below(4) {
        0 => Placement::ANYWHERE,
        1 => Placement::PINNED,
        2 => Placement::on(random.below(WORKERS as u64) as usize),
        _ => migratable(),
    }
}

/// The same numbers for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// Computes until then: its worker runs nothing else. Its thread is polite to others of the machine.
fn spin_until(condition: impl Fn() -> bool) {
    while !condition() {
        thread::yield_now();
    }
}

fn on_worker<T: Send + 'static>(index: usize, body: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    spawn_placed(body, Placement::on(index)).unwrap()
}

#[test]
fn a_fiber_that_has_not_started_is_stolen_from_a_worker_that_computes() {
    let _watched = watched();
    let runtime = Runtime::new(Options::with_workers(WORKERS)).unwrap();
    let workers = runtime.run(|| {
        let ran = Arc::new(AtomicBool::new(false));
        let tell = ran.clone();
        let other = spawn(move || {
            tell.store(true, SeqCst);
            worker()
        })
        .unwrap();
        // It never parks: only another worker can run the other fiber.
        spin_until(|| ran.load(SeqCst));
        (worker(), other.join().unwrap())
    });
    let (mine, its) = workers.unwrap();
    assert_ne!(mine, its);
    assert_eq!(runtime.snapshot().unwrap().stats.stolen, 1);
}

#[test]
fn a_fiber_that_nobody_has_stolen_begins_at_once_when_it_is_joined() {
    let order = in_a_fiber_of(WORKERS, || {
        let go = Arc::new(AtomicBool::new(false));
        let (told, seen) = (Arc::new(AtomicBool::new(false)), go.clone());
        let tell = told.clone();
        let elsewhere = 1 - worker().unwrap();
        let busy = on_worker(elsewhere, move || {
            tell.store(true, SeqCst);
            spin_until(|| seen.load(SeqCst));
        });
        spin_until(|| told.load(SeqCst));
        let order = Arc::new(StdMutex::new(Vec::new()));
        let notes = |name: &'static str| {
            let order = order.clone();
            move || order.lock().unwrap().push(name)
        };
        let others = [spawn(notes("first")).unwrap(), spawn(notes("second")).unwrap()];
        spawn(notes("joined")).unwrap().join().unwrap();
        notes("joiner")();
        others.into_iter().for_each(|other| other.join().unwrap());
        go.store(true, SeqCst);
        busy.join().unwrap();
        std::mem::take(&mut *order.lock().unwrap())
    });
    assert_eq!(order, ["joined", "joiner", "first", "second"]);
}

#[test]
fn each_of_many_fibers_that_wait_for_each_other_gets_a_worker_while_there_are_any() {
    in_a_fiber_of(4, || {
        for _ in 0..50 {
            let here = Arc::new(AtomicUsize::new(0));
            let meet = |here: Arc<AtomicUsize>| {
                here.fetch_add(1, SeqCst);
                spin_until(|| here.load(SeqCst) == 4);
            };
            let others = [(); 3].map(|()| {
                let here = here.clone();
                spawn(move || meet(here)).unwrap()
            });
            meet(here);
            others.into_iter().for_each(|other| other.join().unwrap());
        }
    });
}

#[test]
fn a_fiber_that_is_given_from_outside_is_run_although_a_worker_computes() {
    let _watched = watched();
    let runtime = Runtime::new(Options::with_workers(WORKERS)).unwrap();
    let go = Arc::new(AtomicBool::new(false));
    let seen = go.clone();
    let busy = runtime.spawn(move || spin_until(|| seen.load(SeqCst))).unwrap();
    for n in 0..1000 {
        assert_eq!(runtime.run(move || n), Ok(n));
    }
    go.store(true, SeqCst);
    busy.join().unwrap();
}

#[test]
fn a_pinned_fiber_and_what_it_pins_never_move() {
    in_a_fiber_of(WORKERS, || {
        let keeps = || {
            let mine = worker();
            let (read, write) = pipe();
            for _ in 0..100 {
                io::write_all(write, b"x").unwrap();
                assert_eq!((io::read(read, &mut [0; 1]), worker()), (Ok(1), mine));
                yield_now().unwrap();
                assert_eq!(worker(), mine);
            }
            close_both(read, write);
            mine
        };
        let fibers: Vec<_> = (0..64).map(|n| (n % WORKERS, on_worker(n % WORKERS, keeps))).collect();
        for (index, fiber) in fibers {
            assert_eq!(fiber.join(), Ok(Some(index)));
        }
        let mine = worker();
        let pinned: Vec<_> = (0..64).map(|_| spawn_placed(keeps, Placement::PINNED).unwrap()).collect();
        pinned.into_iter().for_each(|fiber| assert_eq!(fiber.join(), Ok(mine)));
    });
}

#[test]
fn a_fiber_that_has_started_stays_where_it_is() {
    in_a_fiber_of(WORKERS, || {
        let fibers: Vec<_> = (0..200)
            .map(|_| {
                spawn(|| {
                    let mine = worker();
                    (0..50).for_each(|_| {
                        yield_now().unwrap();
                        assert_eq!(worker(), mine);
                    });
                })
                .unwrap()
            })
            .collect();
        fibers.into_iter().for_each(|fiber| fiber.join().unwrap());
    });
}

#[test]
fn there_is_no_fiber_on_a_worker_that_does_not_exist() {
    in_a_fiber_of(WORKERS, || {
        let refused = spawn_placed(|| (), Placement::on(WORKERS)).unwrap_err();
        assert_eq!(refused, Errno::new(libc::EINVAL));
    });
    let too_many = Runtime::new(Options::with_workers(Options::MOST_WORKERS + 1)).unwrap_err();
    assert_eq!(too_many.errno(), Errno::new(libc::EINVAL));
}

/// A migratable fiber waits for bytes beside one that computes as soon as both have got theirs.
#[test]
fn a_migratable_fiber_moves_and_its_operation_completes_where_it_was_begun() {
    in_a_fiber_of(WORKERS, || {
        let moves = Arc::new(AtomicUsize::new(0));
        for _ in 0..10_000 {
            let (read, write) = pair();
            let moved = moves.clone();
            let progress = Arc::new(AtomicBool::new(false));
            let arrived = progress.clone();
            let roaming = spawn_placed(
                move || {
                    let before = worker();
                    let mut buf = [0xEE; 8];
                    assert_eq!(io::recv(read, &mut buf, 0), Ok(4));
                    assert_eq!(&buf, b"wake\xEE\xEE\xEE\xEE");
                    arrived.store(true, SeqCst);
                    moved.fetch_add(usize::from(worker() != before), SeqCst);
                    io::close(read).unwrap();
                },
                migratable(),
            );
            yield_now().unwrap();
            assert_eq!(io::send(write, b"wake", 0), Ok(4));
            yield_now().unwrap();
            // Whoever is here computes until the other has gone on, or has its completion still to come.
            (0..50).take_while(|_| !progress.load(SeqCst)).for_each(|_| thread::yield_now());
            roaming.unwrap().join().unwrap();
            io::close(write).unwrap();
            if moves.load(SeqCst) >= 10 {
                return;
            }
        }
        // Readiness, unlike a completion, seldom finds the other worker awake.
        assert!(moves.load(SeqCst) > 0, "it never moved");
    });
}

#[test]
fn closing_a_descriptor_ends_the_calls_on_it_on_every_worker() {
    in_a_fiber_of(WORKERS, || {
        for _ in 0..200 {
            let (mine, theirs) = pair();
            let readers: Vec<_> = (0..2 * WORKERS)
                .map(|n| on_worker(n % WORKERS, move || io::recv(mine, &mut [0; 8], 0)))
                .collect();
            // Each worker has begun what was sent to it before.
            for index in 0..WORKERS {
                on_worker(index, || yield_now().unwrap()).join().unwrap();
            }
            io::close(mine).unwrap();
            for reader in readers {
                assert_eq!(reader.join(), Ok(Err(EBADF)));
            }
            assert_eq!(io::recv(theirs, &mut [0; 8], 0), Ok(0), "the other side was not told");
            io::close(theirs).unwrap();
        }
    });
}

#[test]
fn a_cancelled_fiber_hears_of_it_once_wherever_it_is_by_then() {
    in_a_fiber_of(WORKERS, || {
        let mut random = Random(0x9e37_79b9);
        for round in 0..20_000 {
            let placement = placement(&mut random);
            let fiber = spawn_placed(
                || {
                    let mut refused = 0;
                    // It moves, parks and runs on until it has heard.
                    while refused == 0 {
                        refused += usize::from(yield_now().is_err());
                    }
                    refused += usize::from(yield_now().is_err());
                    refused + usize::from(sleep(Duration::ZERO).is_err())
                },
                placement,
            )
            .unwrap();
            (0..random.below(3)).for_each(|_| yield_now().unwrap());
            fiber.cancel().unwrap();
            assert_eq!(fiber.join(), Ok(1), "round {round}, {placement:?}");
        }
    });
}

#[test]
fn a_cancellation_reaches_fibers_that_wait_on_any_worker() {
    in_a_fiber_of(WORKERS, || {
        let mut random = Random(0xdead_beef);
        for round in 0..5_000 {
            let (placement, kind) = (placement(&mut random), random.below(3));
            let ends = pipe();
            let fiber = spawn_placed(
                move || match kind {
                    0 => io::read(ends.0, &mut [0; 1]).map(drop),
                    1 => sleep(LONG),
                    _ => Event::new().wait(),
                },
                placement,
            )
            .unwrap();
            (0..random.below(3)).for_each(|_| yield_now().unwrap());
            fiber.cancel().unwrap();
            assert_eq!(fiber.join(), Ok(Err(Errno::CANCELED)), "round {round}, {placement:?}, {kind}");
            close_both(ends.0, ends.1);
        }
    });
}

#[test]
fn a_deadline_goes_with_a_fiber_that_moves() {
    in_a_fiber_of(WORKERS, || {
        let fibers: Vec<_> = (0..200u64)
            .map(|n| {
                spawn_placed(
                    move || {
                        let span = Duration::from_millis(1 + n % 20);
                        // An outer one that is left in time, on whatever worker, leaves no timer behind.
                        let (inner, outer) = native::within(LONG, || {
                            native::within(span, || -> Result<(), Errno> {
                                loop {
                                    yield_now()?;
                                }
                            })
                        });
                        assert!(!outer);
                        inner
                    },
                    migratable(),
                )
                .unwrap()
            })
            .collect();
        for fiber in fibers {
            assert_eq!(fiber.join(), Ok((Err(Errno::TIMED_OUT), true)));
        }
        let mut left = usize::MAX;
        while left > 0 {
            // What was armed elsewhere is taken out at that worker's next turn.
            let wait_a_turn = |index| on_worker(index, || sleep(Duration::ZERO).unwrap()).join().unwrap();
            (0..WORKERS).for_each(wait_a_turn);
            left = native_timers();
        }
    });
}

/// How many timers there are on all workers.
fn native_timers() -> usize {
    native::snapshot().unwrap().timers
}

/// Numbered items between senders and receivers of all kinds, some of which are cancelled: every item that was
/// sent is received once, and every one that was not is still its sender's.
#[test]
fn no_item_is_lost_or_doubled_between_workers_under_random_cancellation() {
    for (seed, capacity) in [(1, 0), (2, 1), (3, 7), (4, usize::MAX)] {
        in_a_fiber_of(WORKERS, move || hand_over_items(seed, capacity));
    }
}

fn hand_over_items(seed: u64, capacity: usize) {
    const ITEMS: u64 = 4_000;
    let mut random = Random(seed);
    let channel = Arc::new(Channel::bounded(capacity));
    let ledger: Arc<Vec<AtomicUsize>> = Arc::new((0..ITEMS).map(|_| AtomicUsize::new(0)).collect());
    let kept = Arc::new(AtomicU64::new(0));
    let (mut sending, mut receiving) = (Vec::new(), Vec::new());
    for first in (0..ITEMS).step_by(8) {
        let (there, kept) = (channel.clone(), kept.clone());
        let send = move || {
            for item in first..first + 8 {
                if let Err(refused) = there.send(item) {
                    assert_eq!((refused.item, refused.errno), (item, Errno::CANCELED));
                    kept.fetch_add(1, SeqCst);
                }
            }
        };
        sending.push(spawn_placed(send, placement(&mut random)).unwrap());
        let (here, ledger) = (channel.clone(), ledger.clone());
        let receive = move || {
            for _ in 0..8 {
                match here.recv() {
                    Ok(item) => drop(ledger[item as usize].fetch_add(1, SeqCst)),
                    Err(errno) => assert!([Errno::CANCELED, Errno::CLOSED].contains(&errno)),
                }
            }
        };
        receiving.push(spawn_placed(receive, placement(&mut random)).unwrap());
        for victims in [&sending, &receiving] {
            if random.below(2) == 0 {
                let victim = &victims[random.below(victims.len() as u64) as usize];
                victim.cancel().unwrap();
            }
        }
        if random.below(4) == 0 {
            yield_now().unwrap();
        }
    }
    // What cancelled receivers did not take is taken here; the last sender ends.
    let (here, taker) = (channel.clone(), ledger.clone());
    let rest = spawn(move || {
        while let Ok(item) = here.recv() {
            taker[item as usize].fetch_add(1, SeqCst);
        }
    })
    .unwrap();
    sending.into_iter().for_each(|fiber| fiber.join().unwrap());
    channel.close().unwrap();
    receiving.into_iter().for_each(|fiber| fiber.join().unwrap());
    rest.join().unwrap();
    let times: Vec<usize> = ledger.iter().map(|times| times.load(SeqCst)).collect();
    assert!(times.iter().all(|&times| times <= 1), "an item came twice");
    assert_eq!(times.iter().sum::<usize>() as u64 + kept.load(SeqCst), ITEMS);
}

#[test]
fn a_mutex_and_a_semaphore_pass_between_workers_under_random_cancellation() {
    in_a_fiber_of(WORKERS, || {
        struct Counted(std::cell::UnsafeCell<u64>);
        // SAFETY: it is touched with the mutex locked.
        unsafe impl Sync for Counted {}
        let mut random = Random(77);
        let (mutex, permits) = (Arc::new(Mutex::new()), Arc::new(Semaphore::new(3)));
        let count = Arc::new(Counted(std::cell::UnsafeCell::new(0)));
        let (locked, inside) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicUsize::new(0)));
        let fibers: Vec<_> = (0..400)
            .map(|_| {
                let (mutex, permits, count) = (mutex.clone(), permits.clone(), count.clone());
                let (locked, inside) = (locked.clone(), inside.clone());
                let body = move || {
                    for _ in 0..40 {
                        if permits.acquire(1).is_ok() {
                            assert!(inside.fetch_add(1, SeqCst) < 3);
                            let _ = yield_now();
                            inside.fetch_sub(1, SeqCst);
                            permits.release(1).unwrap();
                        }
                        if mutex.lock().is_ok() {
                            let whole = &count;
                            // SAFETY: the mutex is locked.
                            unsafe { *whole.0.get() += 1 };
                            let _ = yield_now();
                            locked.fetch_add(1, SeqCst);
                            mutex.unlock().unwrap();
                        }
                    }
                };
                spawn_placed(body, placement(&mut random)).unwrap()
            })
            .collect();
        for _ in 0..4_000 {
            fibers[random.below(fibers.len() as u64) as usize].cancel().unwrap();
            if random.below(8) == 0 {
                yield_now().unwrap();
            }
        }
        fibers.into_iter().for_each(|fiber| fiber.join().unwrap());
        assert!(mutex.is_free() && permits.is_idle());
        assert_eq!(permits.permits(), 3);
        // SAFETY: nobody else is left.
        assert_eq!(unsafe { *count.0.get() }, locked.load(SeqCst));
    });
}

/// Bytes through sockets whose readers move and are cancelled: each arrives once, and in order.
#[test]
fn no_byte_is_lost_or_doubled_between_workers_under_random_cancellation() {
    in_a_fiber_of(WORKERS, || {
        let streams: Vec<_> =
            (1..=16).map(|seed| spawn_placed(move || carry_bytes(seed), migratable()).unwrap()).collect();
        let cancelled: u32 = streams.into_iter().map(|stream| stream.join().unwrap()).sum();
        assert!(cancelled > 100, "the test cancelled only {cancelled} reads");
    });
}

fn carry_bytes(seed: u64) -> u32 {
    const ROUNDS: u32 = 1_500;
    let mut random = Random(seed);
    let (mine, theirs) = pair();
    let (mut sent, mut heard, mut cancelled) = (0u64, 0u64, 0);
    for _ in 0..ROUNDS {
        let reader = spawn_placed(move || read_some(mine), placement(&mut random)).unwrap();
        (0..random.below(3)).for_each(|_| yield_now().unwrap());
        let burst: Vec<u8> = (0..random.below(4)).map(|n| (sent + n) as u8).collect();
        if !burst.is_empty() {
            assert_eq!(io::send(theirs, &burst, 0), Ok(burst.len()));
            sent += burst.len() as u64;
        }
        (0..random.below(2)).for_each(|_| yield_now().unwrap());
        reader.cancel().unwrap();
        match reader.join().unwrap() {
            Ok(bytes) => bytes.iter().for_each(|&byte| {
                assert_eq!(byte, heard as u8);
                heard += 1;
            }),
            Err(errno) => {
                assert_eq!(errno, Errno::CANCELED);
                cancelled += 1;
            }
        }
    }
    while heard < sent {
        for byte in read_some(mine).unwrap() {
            assert_eq!(byte, heard as u8);
            heard += 1;
        }
    }
    close_both(mine, theirs);
    cancelled
}

fn read_some(fd: RawFd) -> Result<Vec<u8>, Errno> {
    let mut buf = [0xEE; 64];
    let count = io::recv(fd, &mut buf, 0);
    let after = buf;
    let _ = yield_now();
    assert_eq!(buf, after, "the buffer was written after the call had returned");
    count.map(|count| buf[..count].to_vec())
}

#[test]
fn a_shutdown_ends_fibers_that_move_spawn_and_wait_meanwhile() {
    let _watched = watched();
    fn breed(depth: u32, born: &Arc<AtomicUsize>) -> Result<(), Errno> {
        born.fetch_add(1, SeqCst);
        for _ in 0..3 {
            if depth > 0 {
                let born = born.clone();
                drop(spawn_placed(move || breed(depth - 1, &born), migratable())?);
            }
            yield_now()?;
        }
        sleep(LONG)
    }
    for round in 0..200u64 {
        let runtime = Arc::new(Runtime::new(Options::with_workers(1 + round as usize % 4)).unwrap());
        let born = Arc::new(AtomicUsize::new(0));
        let outside: Vec<_> = (0..2)
            .map(|_| {
                let (runtime, born) = (runtime.clone(), born.clone());
                thread::spawn(move || {
                    (0..50).for_each(|_| {
                        let born = born.clone();
                        let body = move || breed(2, &born);
                        match runtime.spawn_raw_placed(body, true, migratable()) {
                            Ok(_) | Err(Errno::SHUTDOWN) => {}
                            Err(errno) => panic!("{errno:?}"),
                        }
                    });
                })
            })
            .collect();
        spin_until(|| born.load(SeqCst) as u64 > round % 50);
        runtime.shutdown(None).unwrap();
        assert_eq!(runtime.fibers(), Ok(vec![]));
        outside.into_iter().for_each(|thread| thread.join().unwrap());
    }
}

#[test]
fn a_shutdown_that_runs_out_of_patience_tells_which_fibers_have_not_ended() {
    let _watched = watched();
    let runtime = Runtime::new(Options::with_workers(WORKERS)).unwrap();
    let go = Arc::new(AtomicBool::new(false));
    let (begun, seen) = (Arc::new(AtomicUsize::new(0)), go.clone());
    let begin = begun.clone();
    let busy = runtime
        .spawn(move || {
            begin.fetch_add(1, SeqCst);
            spin_until(|| seen.load(SeqCst));
        })
        .unwrap();
    spin_until(|| begun.load(SeqCst) == 1);
    // From here on a worker computes: whatever else has begun there would not hear of its end, so this begins elsewhere.
    let sleeper = runtime.spawn(|| sleep(LONG)).unwrap();
    let mut left = Err(Errno::TIMED_OUT);
    while left != Ok(vec![busy.id()]) {
        assert_eq!(runtime.shutdown(Some(Duration::from_millis(1))), Err(Errno::TIMED_OUT));
        left = runtime.fibers();
    }
    assert_eq!(sleeper.join(), Ok(Err(Errno::CANCELED)));
    go.store(true, SeqCst);
    assert_eq!(runtime.shutdown(None), Ok(()));
    assert_eq!(runtime.fibers(), Ok(vec![]));
    busy.join().unwrap();
}

#[test]
fn fibers_are_joined_in_whatever_order_by_whatever_worker() {
    in_a_fiber_of(4, || {
        let mut random = Random(5);
        let sums: Vec<_> = (0..64)
            .map(|_| {
                spawn(|| {
                    let mut fibers: Vec<_> = (0..100u64).map(|n| spawn(move || n).unwrap()).collect();
                    fibers.reverse();
                    fibers.into_iter().map(|fiber| fiber.join().unwrap()).sum::<u64>()
                })
                .unwrap()
            })
            .collect();
        let mut sums: Vec<Option<_>> = sums.into_iter().map(Some).collect();
        while let Some(left) = (!sums.is_empty()).then(|| random.below(sums.len() as u64)) {
            let sum = sums.swap_remove(left as usize).expect("each once");
            assert_eq!(sum.join(), Ok(4950));
        }
    });
}

/// How often the workers of this process have gone to sleep in the kernel, by their names.
fn naps() -> u64 {
    let mut naps = 0;
    for task in fs::read_dir("/proc/self/task").unwrap() {
        let status = fs::read_to_string(task.unwrap().path().join("status")).unwrap_or_default();
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        if field("Name:").is_some_and(|name| name.starts_with("polyphony-")) {
            naps += field("voluntary_ctxt_switches:").map_or(0, |count| count.parse().unwrap());
        }
    }
    naps
}

/// In a process of its own, for other tests have workers, too.
#[test]
fn workers_that_have_nothing_to_do_sleep_and_are_not_woken() {
    let _watched = watched();
    let this = std::env::current_exe().unwrap();
    let child = std::process::Command::new(this)
        .args(["--exact", "--ignored", "workers::look_at_idle_workers", "--nocapture"])
        .output()
        .unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
}

#[test]
#[ignore = "it needs a process of its own, and is run by the test above"]
fn look_at_idle_workers() {
    let _watched = watched();
    let runtime = Runtime::new(Options::with_workers(4)).unwrap();
    let ends = pipe();
    let reader = runtime.spawn(move || io::read(ends.0, &mut [0; 1])).unwrap();
    let busy: Vec<_> = (0..100).map(|_| runtime.spawn(yield_now).unwrap()).collect();
    busy.into_iter().for_each(|fiber| fiber.join().unwrap().unwrap());
    // The watch looks a few times more; then nobody does anything, for as long as one cares to look.
    let mut quiet = 0;
    let mut before = naps();
    for _ in 0..1000 {
        thread::sleep(Duration::from_millis(50));
        let now = naps();
        quiet = if now == before { quiet + 1 } else { 0 };
        before = now;
        if quiet == 10 {
            assert_eq!(runtime.asleep(), 4);
            reader.cancel().unwrap();
            assert_eq!(reader.join(), Ok(Err(Errno::CANCELED)));
            return;
        }
    }
    panic!("the workers keep waking up");
}

#[test]
fn a_snapshot_tells_of_all_workers() {
    let _watched = watched();
    let runtime = Runtime::new(Options::with_workers(WORKERS)).unwrap();
    let ends = pipe();
    let readers: Vec<_> = (0..10)
        .map(|n| {
            let read = move || io::read(ends.0, &mut [0; 1]);
            runtime.spawn_placed(read, Placement::on(n % WORKERS)).unwrap()
        })
        .collect();
    let snapshot = runtime.snapshot().unwrap();
    assert_eq!((snapshot.fibers, snapshot.in_flight), (10, 10));
    let inside = runtime.run(|| native::snapshot().map(|all| (all.fibers, all.in_flight))).unwrap();
    assert_eq!(inside, Ok((11, 10)));
    readers.iter().for_each(|reader| reader.cancel().unwrap());
    readers.into_iter().for_each(|reader| assert_eq!(reader.join(), Ok(Err(Errno::CANCELED))));
    close_both(ends.0, ends.1);
}

/// Fibers as they come, in one line, however many workers there are.
#[test]
fn fibers_that_yield_let_all_others_on_their_worker_run_first() {
    let order = in_a_fiber_of(WORKERS, || {
        let order = Arc::new(StdMutex::new(Vec::new()));
        let fibers: Vec<_> = (0..3)
            .map(|me| {
                let order = order.clone();
                let body = move || {
                    for _ in 0..3 {
                        order.lock().unwrap().push(me);
                        yield_now().unwrap();
                    }
                };
                spawn_placed(body, Placement::PINNED).unwrap()
            })
            .collect();
        fibers.into_iter().for_each(|fiber| fiber.join().unwrap());
        Arc::into_inner(order).unwrap().into_inner().unwrap()
    });
    assert_eq!(order, [0, 1, 2, 0, 1, 2, 0, 1, 2]);
}

/// A worker is told again and again of a fiber that has ended, while the fiber's slot becomes that of another one,
/// which waits for whoever takes it first.
#[test]
fn late_news_of_a_fiber_does_not_start_the_one_that_has_its_place_now() {
    const NEWS: usize = 50_000;
    const ROUNDS: usize = 200;
    let _watched = watched();
    // Nobody else's slots have stacks of that size.
    let options = Options { stack_size: 1 << 20, ..Options::with_workers(WORKERS) };
    let runtime = Runtime::new(options).unwrap();
    let runs = Arc::new(AtomicUsize::new(0));
    for round in 0..ROUNDS {
        let told = Arc::new(AtomicBool::new(false));
        let busy = {
            let told = told.clone();
            move || spin_until(|| told.load(SeqCst))
        };
        let first = runtime.spawn_placed(busy, Placement::on(0)).unwrap();
        for _ in 0..NEWS {
            first.cancel().unwrap();
        }
        told.store(true, SeqCst);
        spin_until(|| !runtime.fibers().unwrap().contains(&first.id()));
        first.join().unwrap();
        let runs_of_all = runs.clone();
        let second = runtime.spawn(move || runs_of_all.fetch_add(1, SeqCst)).unwrap();
        assert_eq!(second.join(), Ok(round));
    }
    assert_eq!(runs.load(SeqCst), ROUNDS);
}

#[test]
fn workers_that_accept_from_one_listener_do_not_get_stuck_where_another_was_faster() {
    const WORKERS: usize = 4;
    in_a_fiber_of(WORKERS, || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, server) = (listener.local_addr().unwrap(), listener.as_raw_fd());
        let accept_all = move || {
            let next = || io::accept(server, libc::SOCK_CLOEXEC);
            std::iter::repeat_with(next)
                .map_while(Result::ok)
                .for_each(|socket| native::close(socket).unwrap());
        };
        let acceptors = [0, 1, 2, 3].map(|index| on_worker(index, accept_all));
        for _ in 0..1000 {
            drop(TcpStream::connect(address).unwrap());
            // Whose thread the kernel keeps does not answer.
            (0..WORKERS).for_each(|index| on_worker(index, || ()).join().unwrap());
        }
        native::close(listener.into_raw_fd()).unwrap();
        acceptors.into_iter().for_each(|acceptor| acceptor.join().unwrap());
    });
}
