use std::time::Duration;

use polyphony_core::native::{self, Errno, Options, Runtime, io, sleep, spawn, sync::Channel, yield_now};

use crate::{close_both, in_a_fiber, pair, pipe, watched};

const LONG: Duration = Duration::from_secs(3600);

#[test]
fn a_cancelled_read_answers_so_and_takes_no_bytes() {
    in_a_fiber(|| {
        let (read, write) = pipe();
        let reader = spawn(move || io::read(read, &mut [0; 8])).unwrap();
        yield_now().unwrap();
        reader.cancel().unwrap();
        assert_eq!(reader.join(), Ok(Err(Errno::CANCELED)));
        io::write_all(write, b"kept").unwrap();
        assert_eq!(io::read(read, &mut [0; 8]), Ok(4));
        close_both(read, write);
    });
}

#[test]
fn a_fiber_cancelled_before_it_runs_is_refused_its_first_blocking_call_and_only_that() {
    in_a_fiber(|| {
        let fiber = spawn(|| (yield_now(), yield_now())).unwrap();
        fiber.cancel().unwrap();
        fiber.cancel().unwrap();
        assert_eq!(fiber.join(), Ok((Err(Errno::CANCELED), Ok(()))));
    });
}

#[test]
fn a_read_that_was_faster_than_its_cancellation_returns_its_bytes_and_the_next_call_is_refused() {
    in_a_fiber(|| {
        let (read, write) = pipe();
        let reader = spawn(move || (io::read(read, &mut [0; 8]), yield_now())).unwrap();
        yield_now().unwrap();
        // The bytes are there before the kernel hears of the cancellation.
        // SAFETY: four readable bytes.
        assert_eq!(unsafe { libc::write(write, b"fast".as_ptr().cast(), 4) }, 4);
        reader.cancel().unwrap();
        match reader.join().unwrap() {
            (Ok(4), Err(Errno::CANCELED)) => {}
            (Err(Errno::CANCELED), Ok(())) => assert_eq!(io::read(read, &mut [0; 8]), Ok(4)),
            other => panic!("{other:?}"),
        }
        close_both(read, write);
    });
}

#[test]
fn a_cancellation_wakes_a_sleeper_a_joiner_and_a_receiver() {
    in_a_fiber(|| {
        let sleeper = spawn(|| sleep(LONG)).unwrap();
        let slept = sleeper.id();
        let joiner = spawn(move || native::join::<Result<(), Errno>>(slept)).unwrap();
        let receiver = spawn(|| Channel::<u8>::bounded(1).recv()).unwrap();
        (0..2).for_each(|_| yield_now().unwrap());
        joiner.cancel().unwrap();
        receiver.cancel().unwrap();
        assert_eq!(joiner.join(), Ok(Err(Errno::CANCELED)));
        assert_eq!(receiver.join(), Ok(Err(Errno::CANCELED)));
        sleeper.cancel().unwrap();
        assert_eq!(sleeper.join(), Ok(Err(Errno::CANCELED)));
    });
}

#[test]
fn a_fiber_is_cancelled_from_a_plain_thread() {
    let _watched = watched();
    let runtime = Runtime::new(Options::with_workers(1)).unwrap();
    for _ in 0..2000 {
        let sleeper = runtime.spawn(|| sleep(LONG)).unwrap();
        sleeper.cancel().unwrap();
        assert_eq!(sleeper.join(), Ok(Err(Errno::CANCELED)));
    }
}

/// A reader is cancelled at random moments while a writer sends numbered bytes: whatever is cancelled,
/// the bytes arrive once each and in order.
#[test]
fn no_byte_is_lost_or_doubled_by_twenty_thousand_cancellations_at_random_times() {
    in_a_fiber(|| {
        let (mine, theirs) = pair();
        let mut seed = 0x2545_f491_4f6c_dd1d_u64;
        let mut random = move |below: u64| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed % below
        };
        let (mut sent, mut heard, mut cancelled) = (0u64, 0u64, 0u32);
        for _ in 0..20_000 {
            let reader = spawn(move || {
                // The pattern tells whether anything was written here after the call returned.
                let mut buf = [0xEE; 64];
                let count = io::recv(mine, &mut buf, 0);
                let after = buf;
                let refused = yield_now();
                let _ = yield_now();
                assert_eq!(buf, after, "the buffer was written after the call had returned");
                (count, buf, refused)
            })
            .unwrap();
            (0..random(3)).for_each(|_| yield_now().unwrap());
            let burst: Vec<u8> = (0..random(4)).map(|n| (sent + n) as u8).collect();
            if !burst.is_empty() && random(2) == 0 {
                assert_eq!(io::send(theirs, &burst, 0), Ok(burst.len()));
                sent += burst.len() as u64;
            }
            (0..random(2)).for_each(|_| yield_now().unwrap());
            reader.cancel().unwrap();
            let (count, buf, refused) = reader.join().unwrap();
            match count {
                Ok(count) => {
                    buf[..count].iter().for_each(|&byte| {
                        assert_eq!(byte, heard as u8);
                        heard += 1;
                    });
                }
                Err(errno) => {
                    assert_eq!((errno, refused), (Errno::CANCELED, Ok(())));
                    assert_eq!(buf, [0xEE; 64]);
                    cancelled += 1;
                }
            }
        }
        while heard < sent {
            let mut buf = [0; 64];
            let count = io::recv(mine, &mut buf, 0).unwrap();
            buf[..count].iter().for_each(|&byte| {
                assert_eq!(byte, heard as u8);
                heard += 1;
            });
        }
        assert!(cancelled > 100, "the test cancelled only {cancelled} reads");
        close_both(mine, theirs);
    });
}

#[test]
fn a_connection_that_a_cancelled_accept_had_made_is_not_lost() {
    in_a_fiber(|| {
        use std::{net::TcpListener, os::fd::AsRawFd};
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (server, address) = (listener.as_raw_fd(), listener.local_addr().unwrap());
        let mut taken = 0;
        for round in 0..500 {
            let acceptor = spawn(move || io::accept(server, libc::SOCK_CLOEXEC)).unwrap();
            yield_now().unwrap();
            let client = std::net::TcpStream::connect(address).unwrap();
            if round % 2 == 0 {
                yield_now().unwrap();
            }
            acceptor.cancel().unwrap();
            // The connection was accepted, or it still waits to be.
            let socket = match acceptor.join().unwrap() {
                Ok(socket) => socket,
                Err(errno) => {
                    assert_eq!(errno, Errno::CANCELED);
                    io::accept(server, libc::SOCK_CLOEXEC).unwrap()
                }
            };
            assert_eq!(io::send(socket, b"!", 0), Ok(1));
            io::close(socket).unwrap();
            taken += 1;
            drop(client);
        }
        assert_eq!(taken, 500);
    });
}

#[test]
fn rearming_a_deadline_a_hundred_thousand_times_leaves_no_timer_behind() {
    in_a_fiber(|| {
        for _ in 0..100_000 {
            assert_eq!(native::within(LONG, yield_now), (Ok(()), false));
        }
    });
}
