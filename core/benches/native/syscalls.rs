//! System calls, counted by strace: one `io_uring_enter` a turn, and none where nothing happens.
//!
//! A side runs strace on this program, which then is one of the programs here.

use std::{
    env, fs,
    path::PathBuf,
    process::{self, Command},
    thread,
    time::Duration,
};

use polyphony_core::native::{Options, Runtime, io, spawn};

use crate::measure::{missing, pipe};

/// Calls of `io_uring_enter` for a turn of the loop, while fibers write to each other through pipes.
pub(crate) fn enters_a_turn() -> f64 {
    let (printed, log) = traced("turns", &["-c"]);
    let turns: f64 = printed.trim().parse().expect("the program prints its turns");
    // "% time, seconds, usecs/call, calls, errors (may be empty), syscall"
    let line = log.lines().find(|line| line.ends_with("io_uring_enter")).unwrap_or_default();
    let calls: f64 = line.split_whitespace().nth(3).map_or(0.0, |calls| calls.parse().expect("a number"));
    if calls == 0.0 {
        missing("io_uring is not in use here");
    }
    calls / turns
}

/// System calls of a worker that has nothing to do, in a second of that.
pub(crate) fn idle_calls() -> f64 {
    let (main, log) = traced("idle", &[]);
    let main = format!("{} ", main.trim());
    let marks = |line: &&str| line.contains(&format!("close({MARK})"));
    let idle = log.lines().skip_while(|line| !marks(line)).skip(1).take_while(|line| !marks(line));
    assert_eq!(log.lines().filter(marks).count(), 2, "strace has seen both marks");
    idle.filter(|line| !line.starts_with(&main)).count() as f64
}

/// Runs one of the programs that are traced.
pub(crate) fn run(program: &str) {
    match program {
        "turns" => turns(),
        "idle" => idle(),
        _ => panic!("no such program: {program}"),
    }
}

fn turns() {
    const PAIRS: usize = 8;
    const ROUNDS: usize = 1_000;
    let runtime = Runtime::new(Options::with_workers(1)).expect("a runtime");
    let served = runtime.run(|| {
        let pass_on = |from: i32, to: i32| {
            for _ in 0..ROUNDS {
                assert_eq!(io::read(from, &mut [0; 1]), Ok(1));
                io::write_all(to, &[0]).unwrap();
            }
        };
        let pairs = (0..PAIRS).flat_map(|_| {
            let (there, back) = (pipe(), pipe());
            io::write_all(there[1], &[0]).unwrap();
            [(there[0], back[1]), (back[0], there[1])]
        });
        let fibers: Vec<_> = pairs.map(|(from, to)| spawn(move || pass_on(from, to)).unwrap()).collect();
        fibers.into_iter().for_each(|fiber| fiber.join().unwrap());
    });
    served.expect("the bench neither panics nor is cancelled");
    println!("{}", runtime.snapshot().expect("a snapshot").stats.turns);
}

/// A worker whose only fiber waits for what does not come, between two marks.
fn idle() {
    println!("{}", process::id());
    let runtime = Runtime::new(Options::with_workers(1)).expect("a runtime");
    let ends = pipe();
    runtime.spawn_raw(move || io::read(ends[0], &mut [0; 1]).is_ok(), true).expect("a fiber");
    // The snapshot is taken by a fiber, after the first has parked; then the worker has a while to settle.
    runtime.snapshot().expect("a snapshot");
    thread::sleep(Duration::from_millis(200));
    mark();
    thread::sleep(Duration::from_secs(1));
    mark();
    process::exit(0);
}

/// A number that is no descriptor, easily found in a log.
const MARK: i32 = -4711;

fn mark() {
    // SAFETY: it is no descriptor, so nothing is closed.
    unsafe { libc::close(MARK) };
}

/// What a program prints under strace, and what strace says.
fn traced(program: &str, options: &[&str]) -> (String, String) {
    let log: PathBuf = env::temp_dir().join(format!("polyphony-strace-{}", process::id()));
    let this = env::current_exe().expect("the path of this program");
    let mut strace = Command::new("strace");
    strace.arg("-f").args(options).arg("-o").arg(&log).arg(this).args(["--traced", program]);
    let Ok(ended) = strace.output() else { missing("strace is not installed") };
    let seen = fs::read_to_string(&log).unwrap_or_default();
    let _ = fs::remove_file(&log);
    if !ended.status.success() {
        missing("strace may not trace here");
    }
    (String::from_utf8_lossy(&ended.stdout).into_owned(), seen)
}
