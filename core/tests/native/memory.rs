//! What stays of fibers when they have ended. In a process of its own, for other tests have fibers, too.

use std::{collections::HashSet, fs, process::Command, thread, time::Duration};

use polyphony_core::native::{Errno, FiberId, Options, Runtime, spawn, sync::Event, yield_now};

use crate::watched;

const MANY: usize = 100_000;

/// How many bytes of memory this process has.
fn resident() -> usize {
    let pages = fs::read_to_string("/proc/self/statm").unwrap();
    4096 * pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap()
}

/// Whether somebody looks after stacks that nobody needs.
fn is_looked_after() -> bool {
    let mut tasks = fs::read_dir("/proc/self/task").unwrap();
    tasks.any(|task| {
        let name = fs::read_to_string(task.unwrap().path().join("comm")).unwrap_or_default();
        name.trim() == "polyphony-stack"
    })
}

/// Has so many fibers at once, says what they take, and lets them end.
fn burst(runtime: &Runtime) -> (usize, Vec<FiberId>) {
    let before = resident();
    runtime
        .run(move || {
            static GO: Event = Event::new();
            GO.reset().unwrap();
            let fibers: Vec<_> = (0..MANY).map(|_| spawn(|| GO.wait()).unwrap()).collect();
            yield_now().unwrap();
            let taken = resident().saturating_sub(before);
            let names = fibers.iter().map(|fiber| fiber.id()).collect();
            GO.set().unwrap();
            fibers.into_iter().for_each(|fiber| fiber.join().unwrap().unwrap());
            (taken, names)
        })
        .unwrap()
}

#[test]
fn the_memory_of_a_hundred_thousand_fibers_that_have_ended_goes_back_to_the_system() {
    let _watched = watched();
    let this = std::env::current_exe().unwrap();
    let child = Command::new(this)
        .args(["--exact", "--ignored", "memory::look_at_memory", "--nocapture"])
        .output()
        .unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
}

#[test]
#[ignore = "it needs a process of its own, and is run by the test above"]
fn look_at_memory() {
    let _watched = watched();
    let runtime = Runtime::new(Options::with_workers(1)).unwrap();
    let empty = resident();
    let (taken, names) = burst(&runtime);
    assert!(taken >= MANY * 4096, "{taken}");
    // A second or two later nobody has needed it; how long it takes the system to see that is its own affair.
    for _ in 0..1000 {
        thread::sleep(Duration::from_millis(50));
        if !is_looked_after() {
            break;
        }
    }
    let left = resident().saturating_sub(empty);
    assert!(left < taken / 8, "of {taken} bytes {left} are left");
    assert!(!is_looked_after(), "and then everybody sleeps");

    // Names lead nowhere, whether or not their places are used again.
    assert!(names[..MANY / 2].iter().all(|name| name.cancel() == Err(Errno::NO_SUCH_FIBER)));
    let (again, others) = burst(&runtime);
    assert!(again >= taken / 4, "{again}");
    assert!(names.iter().all(|name| name.cancel() == Err(Errno::NO_SUCH_FIBER)));
    let names: HashSet<_> = names.into_iter().collect();
    assert!(others.iter().all(|name| !names.contains(name)), "a name has been used twice");
}
