//! One set of cases for every backend: each operation in each situation that it can get into.
//!
//! Each cell of the grid is a test of its own, named `backend::operation::situation`, and plays on
//! descriptors that block and on ones that do not, ready before and after it is asked for. The backends
//! are io_uring, io_uring with room for one submission and two completions, io_uring that any thread may
//! enter, io_uring and epoll as old kernels have them, epoll, and the simulation. On io_uring and on epoll
//! fibers of the native host play the same once more, on one worker and on two.

#![allow(unreachable_pub, reason = "a test binary has no outside")]

#[path = "../support/mod.rs"]
mod support;

mod columns;
mod rows;
mod stages;
mod stories;

use std::{env, os::unix::process::CommandExt, process::Command};

use polyphony_core::op::Kind;
use support::busy::{Hogs, stay_on_one_cpu};

/// Everything in this binary once more, in a process whose threads have one CPU, which they share.
#[test]
fn all_of_this_holds_on_one_busy_cpu() {
    let mut child = Command::new(env::current_exe().unwrap());
    child.args(["--skip", "all_of_this_holds_on_one_busy_cpu", "--test-threads", "4"]);
    // SAFETY: it makes system calls only: nothing that the parent's threads may hold locked.
    unsafe { child.pre_exec(stay_on_one_cpu) };
    let hogs = Hogs::new(2);
    let output = child.output().unwrap();
    drop(hogs);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains(" passed; 0 failed") && !said.contains(" 0 passed"), "{said}");
}

#[test]
fn every_operation_has_a_row() {
    let of = |kinds: &[Kind], backend| {
        let missing: Vec<_> = Kind::ALL.iter().filter(|kind| !kinds.contains(kind)).collect();
        assert!(missing.is_empty(), "no row of {missing:?} on {backend}");
    };
    of(&[uring::kinds(), of_shards::uring::kinds()].concat(), "the real kernel");
    of(&sim::kinds(), "the simulation");
}

macro_rules! tell {
    ($($story:ident)*) => { $(mod $story {
        use crate::{stories, support};
        #[test]
        fn on_io_uring() { stories::$story(&mut support::uring()); }
        #[test]
        fn on_a_tiny_ring() { stories::$story(&mut support::tiny_uring()); }
        #[test]
        fn on_a_shared_ring() { stories::$story(&mut support::shared_uring()); }
        #[test]
        fn on_an_old_ring() { stories::$story(&mut support::old_uring()); }
        #[test]
        fn on_epoll() { stories::$story(&mut support::epoll()); }
        #[test]
        fn on_old_epoll() { stories::$story(&mut support::old_epoll()); }
    })* };
}

tell! {
    many_readers_share_one_descriptor
    both_directions_of_a_descriptor_wait_apart
    accepting_for_ever_brings_every_connection
    polling_for_ever_tells_of_changes
    polling_for_ever_outlives_a_flood
    polling_a_file_for_ever_is_refused
    polling_for_ever_leaves_readers_alone
    a_nearer_timer_fires_first_though_it_was_armed_last
    a_disarmed_timer_is_soon_forgotten
    a_timer_fires_while_fibers_only_compute
    pooled_reads_say_when_buffers_run_out
    parked_pooled_reads_own_no_buffer
    a_receive_that_wants_everything_gets_it_or_tells_what_came
    a_write_in_parts_says_how_much_it_wrote
    a_refused_operation_holds_up_none_behind_it
    a_send_raises_no_signal
    a_receive_that_must_not_wait_does_not
    a_descriptor_is_closed_after_those_who_use_it
    no_descriptor_changes_its_mode
}

/// Plays rows on each of these stages.
macro_rules! grid {
    ($($stage:ident)*: $rows:tt) => { $(play! { $stage $rows })* };
}

macro_rules! play {
    ($stage:ident { $($row:ident: $($column:ident)*;)* }) => {
        pub(crate) mod $stage {
            /// Which operations there are rows of.
            #[allow(dead_code, reason = "one stage stands for those with the same rows")]
            pub fn kinds() -> Vec<polyphony_core::op::Kind> {
                use crate::{rows, support::fds::Mode};
                let row_of = |row: rows::Row| row(rows::Situation::Whole, Mode::Blocking).op.kind();
                vec![$(row_of(rows::$row)),*]
            }

            $(mod $row {
                use crate::{columns, rows, stages};
                $(#[test]
                fn $column() {
                    stages::$stage(columns::$column, rows::$row);
                })*
            })*
        }
    };
}

grid! { uring tiny_uring shared_uring old_uring epoll old_epoll fibers_on_uring fibers_on_tiny_uring fibers_on_epoll
    fibers_on_two_workers_and_uring fibers_on_two_workers_and_epoll: {
    nop: whole cancelled_or_done timed_out_or_done full;
    read_pipe: whole short end error cancelled timed_out closed full;
    read_socket: whole short end error cancelled timed_out closed full;
    read_terminal: whole short error cancelled timed_out closed full;
    read_file: whole short end error cancelled_or_done timed_out_or_done closed_or_done full;
    pread_file: whole short end error cancelled_or_done timed_out_or_done closed_or_done full;
    readv: whole short end error cancelled timed_out closed full;
    readv_socket: whole short end error cancelled timed_out closed full;
    preadv_file: whole short end error cancelled_or_done timed_out_or_done closed_or_done full;
    write_pipe: whole error cancelled timed_out closed full;
    write_socket: whole error cancelled timed_out closed full;
    writev: whole error cancelled timed_out closed full;
    pwrite_file: whole error cancelled_or_done timed_out_or_done closed_or_done full;
    recv: whole short end error cancelled timed_out closed full;
    send: whole error cancelled timed_out closed full;
    sendmsg: whole error cancelled timed_out closed full;
    recvmsg_udp: whole short end error cancelled timed_out closed full;
    recvmsg_udp6: whole short end error cancelled timed_out closed full;
    recvmsg_descriptor: whole cancelled timed_out closed full;
    sendmsg_udp: whole error cancelled_or_done timed_out_or_done closed_or_done full;
    sendmsg_udp6: whole error cancelled_or_done timed_out_or_done closed_or_done full;
    sendmsg_descriptor: whole cancelled_or_done timed_out_or_done closed_or_done full;
    accept: whole error cancelled timed_out closed full;
    connect: whole error cancelled_or_done timed_out_or_done closed_or_done full;
    openat: whole error cancelled_or_done timed_out_or_done full;
    statx: whole error cancelled_or_done timed_out_or_done full;
    renameat: whole error cancelled_or_done timed_out_or_done full;
    unlinkat: whole error cancelled_or_done timed_out_or_done full;
    mkdirat: whole error cancelled_or_done timed_out_or_done full;
    fsync: whole error cancelled_or_done timed_out_or_done closed_or_done full;
    close: whole error cancelled_or_done timed_out_or_done full;
    shutdown: whole error cancelled_or_done timed_out_or_done closed_or_done full;
    socket: whole error cancelled_or_done timed_out_or_done full;
    poll_in: whole end error cancelled timed_out closed full;
    poll_out: whole end cancelled timed_out closed full;
    poll_file: whole cancelled_or_done timed_out_or_done closed_or_done full;
    splice: whole end error cancelled timed_out closed full;
    splice_file: whole end cancelled_or_done timed_out_or_done closed_or_done full;
    splice_to_socket: whole cancelled timed_out closed full;
    tee: whole end error cancelled timed_out closed full;
    timeout: whole cancelled_or_done timed_out_or_done full;
    late_timeout: only_cancelled;
    waitid: whole error cancelled timed_out full;
    offload: whole cancelled_or_done timed_out_or_done full;
} }

/// Operations of which a fiber could make nothing: buffers are a shard's, and a call returns once.
mod of_shards {
    grid! { uring tiny_uring shared_uring old_uring epoll old_epoll: {
        read_pooled: whole short end error cancelled timed_out closed;
        recv_pooled: whole short end error cancelled timed_out closed;
        read_pooled_file: whole short end error cancelled_or_done timed_out_or_done closed_or_done;
        accept_many: whole error cancelled timed_out closed full;
        poll_many: whole end error cancelled timed_out closed full;
    } }
}

// The simulation has descriptors only in name, and makes up what nobody scripts.
grid! { sim: {
    nop: whole cancelled_or_done full;
    read_pipe: whole short end error cancelled timed_out closed full;
    pread_file: whole short end error cancelled_or_done full;
    readv: whole short end error cancelled timed_out closed full;
    read_pooled: whole short end error cancelled timed_out closed;
    write_pipe: whole error cancelled timed_out closed full;
    writev: whole error cancelled timed_out closed full;
    recv: whole short end error cancelled timed_out closed full;
    recv_pooled: whole short end error cancelled timed_out closed;
    send: whole error cancelled timed_out closed full;
    recvmsg_udp: whole short end error cancelled timed_out closed full;
    sendmsg: whole error cancelled timed_out closed full;
    accept: whole error cancelled timed_out closed full;
    connect: whole error cancelled timed_out closed full;
    openat: whole error cancelled timed_out;
    statx: whole error cancelled timed_out;
    renameat: whole error cancelled timed_out;
    unlinkat: whole error cancelled timed_out;
    mkdirat: whole error cancelled timed_out;
    socket: whole error cancelled timed_out;
    close: whole cancelled_or_done full;
    fsync: whole error cancelled timed_out closed full;
    shutdown: whole error cancelled_or_done full;
    poll_in: whole end error cancelled timed_out closed full;
    splice: whole end error cancelled timed_out closed full;
    tee: whole end error cancelled timed_out closed full;
    late_timeout: only_cancelled;
    waitid: whole error cancelled timed_out;
    accept_many: whole error cancelled timed_out closed full;
    poll_many: whole end error cancelled timed_out closed full;
    offload: whole cancelled_or_done;
} }
