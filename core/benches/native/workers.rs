//! Two workers against one: how much sooner the same work is done.
//!
//! The figure is the CPU time of whichever thread has worked most, per unit: the time that the work takes where
//! each worker has a processor of its own. Wall time would tell of the neighbours on a shared machine; what the
//! workers wait for each other without computing, this does not tell.

use std::{fs, hint::black_box, os::fd::RawFd};

use polyphony_core::native::{Options, Placement, Runtime, io, spawn, spawn_placed};

/// Fibers that compute, a tenth of a millisecond each.
pub(crate) fn compute(workers: usize) -> f64 {
    const FIBERS: u64 = 5_000;
    busiest(workers, FIBERS, || {
        let fibers: Vec<_> = (0..FIBERS).map(|seed| spawn(move || crunch(seed)).unwrap()).collect();
        fibers.into_iter().for_each(|fiber| _ = black_box(fiber.join().unwrap()));
    })
}

fn crunch(seed: u64) -> u64 {
    (0..50_000u64).fold(seed, |sum, n| black_box(sum.rotate_left(5) ^ n))
}

/// [`branch`]es of one tree.
pub(crate) fn skynet(workers: usize, leaves: u64) -> f64 {
    busiest(workers, leaves, move || assert_eq!(branch(0, leaves), leaves * (leaves - 1) / 2))
}

/// Ten children a fiber, down to so many leaves, each of which returns its number.
pub(crate) fn branch(first: u64, leaves: u64) -> u64 {
    if leaves == 1 {
        return first;
    }
    let part = leaves / 10;
    let child = |n| spawn(move || branch(first + n * part, part)).expect("memory for a fiber");
    let children: [_; 10] = std::array::from_fn(|n| child(n as u64));
    children.into_iter().map(|child| child.join().unwrap()).sum()
}

/// Bytes there and back through socket pairs; whoever waits for them may go on on any worker.
pub(crate) fn echo(workers: usize) -> f64 {
    const PAIRS: u64 = 64;
    const ROUNDS: u64 = 3_000;
    fn bounce(socket: RawFd, serves: bool) {
        let mut buf = [0; 64];
        if serves {
            assert_eq!(io::send(socket, &buf, 0), Ok(64));
        }
        for round in 1..=ROUNDS {
            assert_eq!(io::recv(socket, &mut buf, 0), Ok(64));
            if !serves || round < ROUNDS {
                assert_eq!(io::send(socket, &buf, 0), Ok(64));
            }
        }
    }
    busiest(workers, PAIRS * ROUNDS, || {
        // SAFETY: the fibers keep numbers and bytes on their stacks.
        let anywhere = unsafe { Placement::migratable() };
        let fibers: Vec<_> = (0..PAIRS)
            .flat_map(|_| {
                let (mine, theirs) = pair();
                [
                    spawn_placed(move || bounce(mine, true), anywhere).unwrap(),
                    spawn_placed(move || bounce(theirs, false), anywhere).unwrap(),
                ]
            })
            .collect();
        fibers.into_iter().for_each(|fiber| fiber.join().unwrap());
    })
}

fn pair() -> (RawFd, RawFd) {
    let mut ends = [0; 2];
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC;
    // SAFETY: room for two descriptors.
    assert_eq!(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, ends.as_mut_ptr()) }, 0);
    (ends[0], ends[1])
}

/// Nanoseconds of CPU per unit of the worker that has used most.
fn busiest(workers: usize, units: u64, work: impl FnOnce() + Send + 'static) -> f64 {
    let runtime = Runtime::new(Options::with_workers(workers)).expect("a runtime");
    let before = times();
    runtime.run(work).expect("the bench neither panics nor is cancelled");
    let after = times();
    let spent = after.iter().zip(&before).map(|(after, before)| after - before);
    spent.max().expect("there are workers") as f64 / units as f64
}

/// Nanoseconds of CPU that each worker of this process has used.
fn times() -> Vec<u64> {
    let tasks = fs::read_dir("/proc/self/task").expect("/proc").map(|task| task.expect("a task").path());
    let is_worker = |task: &std::path::PathBuf| {
        fs::read_to_string(task.join("comm"))
            .is_ok_and(|name| name.starts_with("polyphony-") && name.len() < 13)
    };
    let mut workers: Vec<_> = tasks.filter(is_worker).collect();
    workers.sort();
    let time = |task: std::path::PathBuf| {
        let text = fs::read_to_string(task.join("schedstat")).expect("schedstat");
        text.split_whitespace().next().and_then(|time| time.parse().ok()).expect("a number")
    };
    workers.into_iter().map(time).collect()
}
