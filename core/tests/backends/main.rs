//! One set of cases for every backend: each operation in each situation that it can get into.
//!
//! Each cell of the grid is a test of its own, named `backend::operation::situation`, and plays on
//! descriptors that block and on ones that do not, ready before and after it is asked for. The backends
//! are io_uring, io_uring with room for one submission and two completions, epoll, and the simulation.

#![allow(unreachable_pub, reason = "a test binary has no outside")]

#[path = "../support/mod.rs"]
mod support;

mod columns;
mod rows;
mod stories;

macro_rules! tell {
    ($($story:ident)*) => { $(mod $story {
        use crate::{stories, support};
        #[test]
        fn on_io_uring() { stories::$story(&mut support::uring()); }
        #[test]
        fn on_a_tiny_ring() { stories::$story(&mut support::tiny_uring()); }
        #[test]
        fn on_epoll() { stories::$story(&mut support::epoll()); }
    })* };
}

tell! {
    many_readers_share_one_descriptor
    both_directions_of_a_descriptor_wait_apart
    accepting_for_ever_brings_every_connection
    polling_for_ever_tells_of_changes
    polling_for_ever_leaves_readers_alone
    a_nearer_timer_fires_first_though_it_was_armed_last
    a_disarmed_timer_is_soon_forgotten
    a_timer_fires_while_fibers_only_compute
    pooled_reads_say_when_buffers_run_out
    parked_pooled_reads_own_no_buffer
    a_receive_that_wants_everything_gets_it_or_tells_what_came
    a_receive_that_must_not_wait_does_not
    no_descriptor_changes_its_mode
}

macro_rules! grid {
    ($($row:ident: $($column:ident)*;)*) => {
        play!(uring $($row: $($column)*;)*);
        play!(tiny_uring $($row: $($column)*;)*);
        play!(epoll $($row: $($column)*;)*);
    };
}

macro_rules! play {
    ($backend:ident $($row:ident: $($column:ident)*;)*) => {
        mod $backend {
            $(mod $row {
                use crate::{columns, rows, support};
                $(#[test]
                fn $column() {
                    columns::$column(&mut support::$backend(), rows::$row);
                })*
            })*
        }
    };
}

grid! {
    nop: whole cancelled_or_done full;
    read_pipe: whole short end error cancelled timed_out closed full;
    read_socket: whole short end error cancelled timed_out closed full;
    read_terminal: whole short error cancelled timed_out closed full;
    read_file: whole short end error cancelled_or_done full;
    pread_file: whole short end error cancelled_or_done full;
    readv: whole short end error cancelled timed_out closed full;
    readv_socket: whole short end error cancelled timed_out closed full;
    preadv_file: whole short end error cancelled_or_done full;
    read_pooled: whole short end error cancelled timed_out closed;
    recv_pooled: whole short end error cancelled timed_out closed;
    read_pooled_file: whole short end error cancelled_or_done;
    write_pipe: whole error cancelled timed_out closed full;
    write_socket: whole error cancelled timed_out closed full;
    writev: whole error cancelled timed_out closed full;
    pwrite_file: whole error cancelled_or_done full;
    recv: whole short end error cancelled timed_out closed full;
    send: whole error cancelled timed_out closed full;
    sendmsg: whole error cancelled timed_out closed full;
    recvmsg_udp: whole short end error cancelled timed_out closed full;
    recvmsg_udp6: whole short end error cancelled timed_out closed full;
    recvmsg_descriptor: whole cancelled timed_out closed full;
    sendmsg_udp: whole error cancelled_or_done full;
    sendmsg_udp6: whole error cancelled_or_done full;
    sendmsg_descriptor: whole cancelled_or_done full;
    accept: whole error cancelled timed_out closed full;
    connect: whole error cancelled_or_done full;
    openat: whole error full;
    statx: whole error cancelled_or_done full;
    fsync: whole error cancelled_or_done full;
    close: whole error full;
    shutdown: whole error cancelled_or_done full;
    socket: whole error full;
    poll_in: whole end error cancelled timed_out closed full;
    poll_out: whole end cancelled timed_out closed full;
    poll_file: whole cancelled_or_done full;
    splice: whole end error cancelled timed_out closed full;
    splice_file: whole end cancelled_or_done full;
    splice_to_socket: whole cancelled timed_out closed full;
    tee: whole end error cancelled timed_out closed full;
    timeout: whole cancelled_or_done full;
    late_timeout: only_cancelled;
    waitid: whole error cancelled timed_out full;
}

// The simulation has descriptors only in name, and makes up what nobody scripts.
play! { sim
    nop: whole cancelled_or_done full;
    read_pipe: whole short end error cancelled timed_out closed full;
    pread_file: whole short end error cancelled_or_done full;
    readv: whole short end error cancelled timed_out closed full;
    read_pooled: whole short end error cancelled timed_out closed;
    write_pipe: whole error cancelled timed_out closed full;
    writev: whole error cancelled timed_out closed full;
    recv: whole short end error cancelled timed_out closed full;
    recvmsg_udp: whole short end error cancelled timed_out closed full;
    sendmsg: whole error cancelled timed_out closed full;
    accept: whole error cancelled timed_out closed full;
    connect: whole error cancelled_or_done full;
    openat: whole error;
    statx: whole error;
    socket: whole error;
    shutdown: whole error cancelled_or_done full;
    poll_in: whole end error cancelled timed_out closed full;
    splice: whole end error cancelled timed_out closed full;
    tee: whole end error cancelled timed_out closed full;
    waitid: whole error cancelled timed_out;
}
