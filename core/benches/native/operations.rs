//! Operations that the kernel completes at once, so that what is left is the way there and back.

use std::{fs::File, hint::black_box, os::fd::AsRawFd, time::Duration};

use io_uring::{EnterFlags, IoUring, opcode, types};
use polyphony_core::{
    native::{io, perform, spawn, until},
    op::Op,
    time::Time,
};

use crate::measure::{in_a_fiber, per_unit};

const AT_ONCE: u64 = 128;

/// Many fibers, each parked until its NOP has completed.
pub(crate) fn nops() -> f64 {
    const EACH: u64 = 20_000;
    in_a_fiber(AT_ONCE * EACH, || {
        let nops = || {
            for _ in 0..EACH {
                // SAFETY: the operation points to nothing.
                assert_eq!(unsafe { perform(&Op::Nop) }, 0);
            }
        };
        let fibers: Vec<_> = (0..AT_ONCE).map(|_| spawn(nops).unwrap()).collect();
        fibers.into_iter().for_each(|fiber| fiber.join().unwrap());
    })
}

/// As many NOPs, without fibers.
pub(crate) fn bare_nops() -> f64 {
    const TURNS: u64 = 20_000;
    let mut ring = bare_ring();
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
pub(crate) fn reads<const FIBERS: u64, const IN_TIME: bool>() -> f64 {
    const READS: u64 = 400_000;
    let file = File::open("/dev/zero").expect("/dev/zero");
    in_a_fiber(READS / FIBERS * FIBERS, move || {
        let fd = file.as_raw_fd();
        let deadline = Time::monotonic() + Duration::from_secs(3600);
        let read = move || io::read(fd, &mut [0; 1]);
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

/// Reads of a byte without fibers, one at a time; the wait has a deadline or not. The difference is the
/// kernel's part of what a deadline costs a fiber that is alone.
pub(crate) fn bare_reads<const IN_TIME: bool>() -> f64 {
    const READS: u64 = 400_000;
    let file = File::open("/dev/zero").expect("/dev/zero");
    let mut ring = bare_ring();
    let deadline = Time::monotonic() + Duration::from_secs(3600);
    let at = types::Timespec::new().sec(deadline.0 / 1_000_000_000);
    let mut byte = 0u8;
    let read = opcode::Read::new(types::Fd(file.as_raw_fd()), &raw mut byte, 1).build();
    per_unit(READS, || {
        for _ in 0..READS {
            // SAFETY: `byte` outlives the read, which is waited for below.
            unsafe { ring.submission().push(&read) }.expect("room");
            let arg = types::SubmitArgs::new();
            let arg = if IN_TIME { arg.timespec(&at) } else { arg };
            let flags = EnterFlags::GETEVENTS | EnterFlags::EXT_ARG | EnterFlags::from_bits_retain(ABS_TIMER);
            // SAFETY: `arg` and the timespec that it names outlive the call.
            unsafe { ring.submitter().enter(1, 1, flags.bits(), Some(&arg)) }.expect("the ring works");
            assert_eq!(ring.completion().map(|cqe: io_uring::cqueue::Entry| cqe.result()).sum::<i32>(), 1);
        }
    })
}

/// `IORING_ENTER_ABS_TIMER`, as ours passes it.
const ABS_TIMER: u32 = 1 << 5;

/// A ring with what ours has.
pub(crate) fn bare_ring() -> IoUring {
    let mut builder = IoUring::builder();
    builder.setup_single_issuer().setup_defer_taskrun().setup_cqsize(4096);
    builder.build(256).expect("a ring")
}
