//! Where io_uring is refused: really, by a seccomp filter, in a process of its own.
//!
//! Each test runs itself again as a child to which the refusal is applied before it starts.
#![allow(unreachable_pub, reason = "a test binary has no outside")]

mod support;

use std::{
    env, io,
    os::{fd::AsRawFd, unix::process::CommandExt},
    process::Command,
};

use polyphony_core::{
    backend::{
        any::{Any, Choice},
        uring::{Features, UringOptions},
    },
    op::{Op, POSITION},
};
use support::{
    Bench,
    fds::{self, Mode},
    memory,
};

/// Runs one test of this binary again, in a child prepared by `prepare`.
fn in_child(test: &str, prepare: fn() -> io::Result<()>) {
    let mut child = Command::new(env::current_exe().unwrap());
    child.args(["--exact", test, "--nocapture"]).env(CHILD, "1");
    // SAFETY: `prepare` makes system calls only: nothing that the parent's threads may hold locked.
    unsafe { child.pre_exec(prepare) };
    let output = child.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("1 passed"), "no test has that name: {said}");
}

fn is_child() -> bool {
    env::var_os(CHILD).is_some()
}

const CHILD: &str = "POLYPHONY_TEST_CHILD";

/// From now on io_uring_setup fails with EPERM, as in a container with a strict profile.
fn refuse_io_uring() -> io::Result<()> {
    let statement = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    let mut filter = [
        // The number of the system call stands first in what the filter is shown.
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, libc::SYS_io_uring_setup as u32),
        statement(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
        statement(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: the program is alive for the call, which copies it.
    let refused = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) == 0
    };
    if refused { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// No memory may be locked, and nobody is privileged enough to do it all the same.
fn lock_no_memory() -> io::Result<()> {
    let nothing = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the limit is alive for the call; the others take no pointers.
    let limited = unsafe {
        libc::setrlimit(libc::RLIMIT_MEMLOCK, &nothing) == 0
            && (libc::getuid() != 0 || libc::setresuid(65_534, 65_534, 65_534) == 0)
    };
    if limited { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A pipe's bytes come through, read into one of the backend's buffers and into one of ours.
fn works(backend: Any) {
    let mut bench = Bench::new(backend);
    let (from, to) = fds::pipe(Mode::Blocking);
    let fd = from.as_raw_fd();
    for op in [
        Op::Read { fd, buf: memory(8).as_mut_ptr(), len: 8, offset: POSITION },
        Op::ReadPooled { fd, len: 8 },
    ] {
        let key = bench.submit(op);
        bench.settle();
        fds::write(&to, b"hello");
        assert_eq!(bench.result(key), 5);
    }
}

#[test]
fn auto_falls_back_to_epoll_and_says_so_in_one_line() {
    if !is_child() {
        return in_child("auto_falls_back_to_epoll_and_says_so_in_one_line", refuse_io_uring);
    }
    let (backend, note) = Any::new(Choice::Auto, UringOptions::default()).unwrap();
    assert_eq!(backend.name(), "epoll");
    assert_eq!(
        note.as_deref(),
        Some(
            "polyphony: io_uring is not permitted here (io_uring_setup: EPERM); falling back to epoll. \
             Set POLYPHONY_BACKEND=epoll to silence this."
        )
    );
    works(backend);
}

#[test]
fn asking_for_io_uring_where_it_is_refused_is_an_error_with_a_way_out() {
    if !is_child() {
        let test = "asking_for_io_uring_where_it_is_refused_is_an_error_with_a_way_out";
        return in_child(test, refuse_io_uring);
    }
    let error = Any::new(Choice::IoUring, UringOptions::default()).unwrap_err();
    assert!(error.is_refused());
    assert_eq!(
        error.to_string(),
        "io_uring is not permitted here (io_uring_setup: EPERM). \
         Set POLYPHONY_BACKEND=epoll to do without io_uring."
    );
}

#[test]
fn a_kernel_that_is_too_old_is_refused_by_name() {
    let features = Features { poll_many: false, ..Features::ALL };
    let (backend, note) =
        Any::new(Choice::Auto, UringOptions { features, ..UringOptions::default() }).unwrap();
    assert_eq!(backend.name(), "epoll");
    let note = note.unwrap();
    assert!(note.starts_with("polyphony: io_uring is too old here, Linux 5.13 is needed"), "{note}");
    works(backend);
}

#[test]
fn epoll_that_was_asked_for_says_nothing() {
    let (backend, note) = Any::new(Choice::Epoll, UringOptions::default()).unwrap();
    assert_eq!((backend.name(), note), ("epoll", None));
    works(backend);
}

#[test]
fn there_is_a_backend_where_no_memory_may_be_locked() {
    if !is_child() {
        return in_child("there_is_a_backend_where_no_memory_may_be_locked", || Ok(()));
    }
    // Not before the child starts: who is nobody may not even read a test in root's directory.
    lock_no_memory().unwrap();
    let (backend, _) = Any::new(Choice::Auto, UringOptions::default()).unwrap();
    works(backend);
}

#[test]
fn a_backend_is_chosen_by_name() {
    assert_eq!("auto".parse(), Ok(Choice::Auto));
    assert_eq!("io_uring".parse(), Ok(Choice::IoUring));
    assert_eq!("epoll".parse(), Ok(Choice::Epoll));
    let unknown = "kqueue".parse::<Choice>().unwrap_err();
    let text = "POLYPHONY_BACKEND: no backend is called \"kqueue\"; there are io_uring, epoll and auto";
    assert_eq!(unknown.to_string(), text);
}
