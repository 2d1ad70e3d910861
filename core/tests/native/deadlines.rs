use std::time::Duration;

use polyphony_core::{
    native::{self, Errno, check, io, sleep, spawn, until, within, yield_now},
    time::Time,
};

use crate::{close_both, in_a_fiber, pipe};

const SHORT: Duration = Duration::from_millis(2);
const LONG: Duration = Duration::from_secs(3600);

#[test]
fn a_read_under_a_deadline_ends_when_it_passes() {
    in_a_fiber(|| {
        let (read, write) = pipe();
        assert_eq!(within(SHORT, || io::read(read, &mut [0; 1])), (Err(Errno::TIMED_OUT), true));
        io::write_all(write, b"x").unwrap();
        assert_eq!(within(LONG, || io::read(read, &mut [0; 1])), (Ok(1), false));
        close_both(read, write);
    });
}

#[test]
fn the_nearest_deadline_counts_whichever_scope_it_belongs_to() {
    in_a_fiber(|| {
        let inner_is_nearer = within(LONG, || within(SHORT, || sleep(LONG)));
        assert_eq!(inner_is_nearer, ((Err(Errno::TIMED_OUT), true), false));
        let outer_is_nearer = within(SHORT, || within(LONG, || sleep(LONG)));
        assert_eq!(outer_is_nearer, ((Err(Errno::TIMED_OUT), false), true));
    });
}

#[test]
fn every_call_after_the_deadline_is_refused_until_the_scope_is_left() {
    in_a_fiber(|| {
        let (answers, passed) = within(SHORT, || [sleep(LONG), yield_now(), check(), sleep(SHORT)]);
        assert_eq!(answers, [Err(Errno::TIMED_OUT); 4]);
        assert!(passed);
        assert_eq!(yield_now(), Ok(()));
    });
}

#[test]
fn a_deadline_that_has_passed_already_is_found_by_who_only_computes() {
    in_a_fiber(|| {
        assert_eq!(until(Time(1), check), (Err(Errno::TIMED_OUT), true));
        assert_eq!(until(native::FOREVER, check), (Ok(()), false));
    });
}

#[test]
fn a_shield_holds_off_deadline_and_cancellation_until_it_is_lowered() {
    in_a_fiber(|| {
        let fiber = spawn(|| {
            native::myself().unwrap().cancel().unwrap();
            let (inside, passed) = within(SHORT, || native::shielded(|| sleep(2 * SHORT)));
            (inside, passed, yield_now(), yield_now())
        });
        let (inside, _, first, second) = fiber.unwrap().join().unwrap();
        assert_eq!((inside, first, second), (Ok(()), Err(Errno::CANCELED), Ok(())));
    });
}

#[test]
fn a_scope_that_a_panic_leaves_is_closed() {
    in_a_fiber(|| {
        let panicked = std::panic::catch_unwind(|| {
            within(SHORT, || {
                let _ = sleep(LONG);
                std::panic::panic_any("on purpose")
            })
        });
        assert!(panicked.is_err());
        assert_eq!(sleep(SHORT), Ok(()));
    });
}

#[test]
fn a_joined_fiber_goes_on_when_the_join_runs_out_of_time() {
    in_a_fiber(|| {
        let slow = spawn(|| sleep(LONG)).unwrap();
        let id = slow.id();
        let joined = within(SHORT, || native::join::<Result<(), Errno>>(id));
        assert_eq!(joined, (Err(Errno::TIMED_OUT), true));
        slow.cancel().unwrap();
        assert_eq!(slow.join(), Ok(Err(Errno::CANCELED)));
    });
}

#[test]
fn ten_thousand_sleepers_wake_in_order() {
    in_a_fiber(|| {
        let start = Time::monotonic() + SHORT;
        let fibers: Vec<_> = (0..10_000u64)
            .map(|n| {
                let at = start + Duration::from_micros(n * 7919 % 10_000);
                spawn(move || {
                    native::sleep_until(at).unwrap();
                    assert!(Time::monotonic() >= at, "woken early");
                })
                .unwrap()
            })
            .collect();
        fibers.into_iter().for_each(|fiber| fiber.join().unwrap());
    });
}
