//! Under valgrind, which knows the fibers' stacks, the C tests are as clean as without it. On epoll: io_uring's memory
//! is written by the kernel, behind valgrind's back.

use std::process::Command;

mod support;

use support::{Language, compile};

/// Runs a test under valgrind; its complaints are the message.
fn is_clean(test: &str, arguments: &[&str]) {
    if Command::new("valgrind").arg("--version").output().is_err() {
        eprintln!("valgrind is not here, so {test} runs without it only");
        return;
    }
    let output = Command::new("valgrind")
        .args(["-q", "--error-exitcode=9", "--fair-sched=yes"])
        .arg(compile(&format!("tests/c/{test}.c"), Language::C))
        .args(arguments)
        .env("POLYPHONY_BACKEND", "epoll")
        .env("TEST_SLOWNESS", "20")
        .output()
        .expect("it starts");
    assert!(output.status.success(), "{test}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn fibers_are_clean() {
    is_clean("fibers", &[]);
}

#[test]
fn sync_objects_are_clean() {
    is_clean("sync", &[]);
}

#[test]
fn several_workers_are_clean() {
    is_clean("workers", &[]);
}

#[test]
fn loops_are_clean() {
    is_clean("loop", &[]);
    is_clean("loop", &["sim"]);
}

#[test]
fn everything_at_once_is_clean() {
    is_clean("soak", &["1", "1"]);
}
