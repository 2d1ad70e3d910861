//! What the native host costs, against the barest thing that does the same.
//!
//!     cargo bench -p polyphony-core --bench native [NAME…]
//!
//! CPU time of the whole process per unit of work, kernel included; the median of the runs, and the ratio
//! to the reference measured between them.

use std::{
    env,
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use corosensei::{Coroutine, CoroutineResult};
use io_uring::{IoUring, opcode};
use polyphony_core::{
    backend::Time,
    native::{self, Options, Runtime, perform, spawn, sync::Channel, until, yield_now},
    op::Op,
};

const RUNS: usize = 7;

/// One row: what is measured, ours and the reference, both as nanoseconds per unit.
struct Row {
    name: &'static str,
    ours: fn() -> f64,
    reference: fn() -> f64,
    what: &'static str,
}

const ROWS: [Row; 8] = [
    Row { name: "yield", ours: yields, reference: bare_pair, what: "resume+suspend of a bare coroutine" },
    Row { name: "spawn", ours: spawns, reference: bare_pair, what: "the same" },
    Row { name: "channel", ours: channel, reference: bare_pair, what: "the same" },
    Row {
        name: "operation",
        ours: operations,
        reference: bare_ring,
        what: "a NOP of a bare ring, 128 at once",
    },
    Row {
        name: "deadline",
        ours: read_zeros::<128, true>,
        reference: read_zeros::<128, false>,
        what: "a read without a deadline, 128 at once",
    },
    Row {
        name: "deadline-1",
        ours: read_zeros::<1, true>,
        reference: read_zeros::<1, false>,
        what: "a read without a deadline, alone",
    },
    Row { name: "mutex", ours: mutex, reference: bare_pair, what: "resume+suspend of a bare coroutine" },
    Row { name: "sleep", ours: sleeps, reference: bare_pair, what: "the same" },
];

fn main() {
    let asked: Vec<String> = env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    println!("{:>10} {:>9} {:>9} {:>6}", "", "ours ns", "ref ns", "ratio");
    for row in ROWS.iter().filter(|row| asked.is_empty() || asked.iter().any(|name| name == row.name)) {
        // Alternating, so that a change of clock speed meets both.
        let runs: Vec<(f64, f64)> = (0..RUNS).map(|_| ((row.ours)(), (row.reference)())).collect();
        let ours = median(runs.iter().map(|run| run.0));
        let reference = median(runs.iter().map(|run| run.1));
        let ratio = median(runs.iter().map(|run| run.0 / run.1));
        println!("{:>10} {ours:>9.1} {reference:>9.1} {ratio:>6.2}  {}", row.name, row.what);
    }
    if asked.is_empty() || asked.iter().any(|name| name == "memory") {
        memory();
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// CPU time that this process has used.
fn cpu() -> Duration {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: room for a timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut now) };
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// Nanoseconds of CPU per unit that `work` takes for `units`.
fn per_unit(units: u64, work: impl FnOnce()) -> f64 {
    let start = cpu();
    work();
    (cpu() - start).as_nanos() as f64 / units as f64
}

/// [`per_unit`] in a fiber of a fresh runtime.
fn in_a_fiber(units: u64, work: impl FnOnce() + Send + 'static) -> f64 {
    let runtime = Runtime::new(Options::default()).expect("a runtime");
    runtime.run(move || per_unit(units, work)).expect("the bench neither panics nor is cancelled")
}

fn bare_pair() -> f64 {
    const PAIRS: u64 = 5_000_000;
    let mut coroutine = Coroutine::<(), (), ()>::new(|yielder: &corosensei::Yielder<(), ()>, ()| {
        (0..PAIRS).for_each(|_| yielder.suspend(()))
    });
    per_unit(PAIRS, || while let CoroutineResult::Yield(()) = coroutine.resume(()) {})
}

fn yields() -> f64 {
    const FIBERS: u64 = 100;
    const EACH: u64 = 30_000;
    in_a_fiber(FIBERS * EACH, || {
        let fibers: Vec<_> =
            (0..FIBERS).map(|_| spawn(|| (0..EACH).for_each(|_| yield_now().unwrap())).unwrap()).collect();
        fibers.into_iter().for_each(|fiber| fiber.join().unwrap());
    })
}

fn spawns() -> f64 {
    const FIBERS: u64 = 1_000_000;
    in_a_fiber(FIBERS, || {
        for n in 0..FIBERS {
            assert_eq!(spawn(move || n).unwrap().join(), Ok(n));
        }
    })
}

/// There and back: two items handed over, two switches.
fn channel() -> f64 {
    const ROUNDS: u64 = 1_000_000;
    in_a_fiber(ROUNDS, || {
        let (there, back) = (Arc::new(Channel::bounded(1)), Arc::new(Channel::bounded(1)));
        let (inbound, outbound) = (there.clone(), back.clone());
        let other = spawn(move || {
            while let Ok(item) = inbound.recv() {
                outbound.send(item).unwrap();
            }
        });
        for n in 0..ROUNDS {
            there.send(n).unwrap();
            assert_eq!(back.recv(), Ok(n));
        }
        there.close();
        other.unwrap().join().unwrap();
    })
}

/// A lock that is always asked for by another.
fn mutex() -> f64 {
    const FIBERS: u64 = 4;
    const EACH: u64 = 200_000;
    in_a_fiber(FIBERS * EACH, || {
        let mutex = Arc::new(native::sync::Mutex::new());
        let fibers: Vec<_> = (0..FIBERS)
            .map(|_| {
                let mutex = mutex.clone();
                spawn(move || {
                    for _ in 0..EACH {
                        mutex.lock().unwrap();
                        yield_now().unwrap();
                        mutex.unlock().unwrap();
                    }
                })
                .unwrap()
            })
            .collect();
        fibers.into_iter().for_each(|fiber| fiber.join().unwrap());
    })
}

const AT_ONCE: u64 = 128;

fn operations() -> f64 {
    const EACH: u64 = 20_000;
    in_a_fiber(AT_ONCE * EACH, || {
        let fibers: Vec<_> = (0..AT_ONCE)
            .map(|_| {
                spawn(|| {
                    for _ in 0..EACH {
                        // SAFETY: the operation points to nothing.
                        assert_eq!(unsafe { perform(&Op::Nop) }, 0);
                    }
                })
                .unwrap()
            })
            .collect();
        fibers.into_iter().for_each(|fiber| fiber.join().unwrap());
    })
}

fn bare_ring() -> f64 {
    const TURNS: u64 = 20_000;
    let mut builder = IoUring::builder();
    builder.setup_single_issuer().setup_defer_taskrun().setup_cqsize(4096);
    let mut ring = builder.build(256).expect("a ring");
    per_unit(AT_ONCE * TURNS, || {
        for _ in 0..TURNS {
            for n in 0..AT_ONCE {
                // SAFETY: the operation points to nothing.
                unsafe { ring.submission().push(&opcode::Nop::new().build().user_data(n)) }.expect("room");
            }
            ring.submit_and_wait(AT_ONCE as usize).expect("the ring works");
            assert_eq!(
                ring.completion().map(|cqe: io_uring::cqueue::Entry| black_box(cqe.result())).sum::<i32>(),
                0
            );
        }
    })
}

/// Reads of a byte, so many fibers at once; under a deadline each or not.
fn read_zeros<const FIBERS: u64, const IN_TIME: bool>() -> f64 {
    use std::os::fd::AsRawFd;
    const READS: u64 = 400_000;
    let file = std::fs::File::open("/dev/zero").expect("/dev/zero");
    in_a_fiber(READS / FIBERS * FIBERS, move || {
        let fd = file.as_raw_fd();
        let deadline = Time::monotonic() + Duration::from_secs(3600);
        let read = move || native::io::read(fd, &mut [0; 1]);
        let in_time = move || until(deadline, read).0;
        let reads = move || {
            for _ in 0..READS / FIBERS {
                assert_eq!(if IN_TIME { in_time() } else { read() }, Ok(1));
            }
        };
        let fibers: Vec<_> = (0..FIBERS).map(|_| spawn(reads).unwrap()).collect();
        fibers.into_iter().for_each(|fiber| fiber.join().unwrap());
    })
}

/// Sleeps that are over at once, among a hundred thousand others.
fn sleeps() -> f64 {
    const SLEEPS: u64 = 200_000;
    in_a_fiber(SLEEPS, || {
        for _ in 0..SLEEPS {
            native::sleep_until(Time(1)).unwrap();
        }
    })
}

/// What half a million fibers that wait for bytes take.
fn memory() {
    const FIBERS: usize = 500_000;
    const DESCRIPTORS: usize = 1000;
    let runtime = Runtime::new(Options::default()).expect("a runtime");
    let start = Instant::now();
    let told = runtime.run(|| {
        let pipes: Vec<[i32; 2]> = (0..DESCRIPTORS).map(|_| pipe()).collect();
        let before = resident();
        let fibers: Vec<_> = (0..FIBERS)
            .map(|n| {
                let fd = pipes[n % DESCRIPTORS][0];
                spawn(move || native::io::read(fd, &mut [0; 1])).unwrap()
            })
            .collect();
        (0..3).for_each(|_| yield_now().unwrap());
        let each = (resident() - before) as f64 / FIBERS as f64;
        let bytes = vec![0; FIBERS / DESCRIPTORS];
        pipes.iter().for_each(|pipe| native::io::write_all(pipe[1], &bytes).unwrap());
        let ended = fibers.into_iter().map(|fiber| fiber.join().unwrap());
        (each, ended.filter(|read| *read == Ok(1)).count())
    });
    let (each, served) = told.expect("the bench neither panics nor is cancelled");
    assert_eq!(served, FIBERS);
    println!(
        "{:>10} {each:>9.0} bytes a fiber parked in a read, {FIBERS} of them; {:?}",
        "memory",
        start.elapsed()
    );
}

fn pipe() -> [i32; 2] {
    let mut ends = [0; 2];
    // SAFETY: room for two descriptors.
    assert_eq!(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) }, 0);
    ends
}

/// Bytes of this process in memory, page tables included.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc");
    let field = |name: &str| -> usize {
        let line = status.lines().find(|line| line.starts_with(name)).expect("the field");
        line.split_whitespace().nth(1).and_then(|kilobytes| kilobytes.parse().ok()).expect("a number")
    };
    (field("VmRSS:") + field("VmPTE:")) * 1024
}
