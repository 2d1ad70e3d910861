use std::{
    panic,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use polyphony_core::native::{
    self, Early, Errno, FOREVER, Name, Options, Placement, Runtime, Scope, myself, on_exit, sleep, spawn,
    yield_now,
};

use crate::{in_a_fiber, in_a_fiber_of, watched};

const LONG: Duration = Duration::from_secs(3600);
const ANYWHERE: Placement = Placement::ANYWHERE;

fn number(result: Result<(), Errno>) -> i64 {
    result.map_or_else(|errno| -i64::from(errno.number()), |()| 0)
}

#[test]
fn a_scope_ends_after_its_children_and_is_then_no_scope() {
    in_a_fiber(|| {
        let scope = Scope::open(FOREVER).unwrap();
        let ended = Arc::new(AtomicU64::new(0));
        for n in 0..100 {
            let ended = ended.clone();
            let child = move || {
                (0..n % 7).for_each(|_| yield_now().unwrap());
                ended.fetch_add(1, Ordering::SeqCst);
                0
            };
            scope.spawn(child, n % 2 == 0, ANYWHERE).unwrap();
        }
        assert_eq!(scope.close(), Ok(()));
        assert_eq!(ended.load(Ordering::SeqCst), 100);
        assert_eq!(scope.close(), Err(Early(-i64::from(libc::EINVAL))));
        assert_eq!(Scope::from_number(0).cancel(), Err(Errno::new(libc::EINVAL)));
    });
}

#[test]
fn a_child_that_panics_is_the_end_of_its_family() {
    in_a_fiber(|| {
        let scope = Scope::open(FOREVER).unwrap();
        let sleeper = scope.spawn(|| number(sleep(LONG)), false, ANYWHERE).unwrap();
        scope.spawn(|| panic::resume_unwind(Box::new("over")), true, ANYWHERE).unwrap();
        assert_eq!(native::join::<i64>(sleeper), Err(Errno::CANCELED));
        assert_eq!(scope.close(), Err(Early(-i64::from(Errno::PANIC.number()))));
        assert_eq!(yield_now(), Ok(()));
    });
}

#[test]
fn a_failure_deep_in_a_family_ends_all_of_it_that_is_within() {
    in_a_fiber(|| {
        let outer = Scope::open(FOREVER).unwrap();
        let grandparent = move || {
            let inner = Scope::open(FOREVER).unwrap();
            inner.spawn(|| number(sleep(LONG)), true, ANYWHERE).unwrap();
            inner.spawn(|| -5, true, ANYWHERE).unwrap();
            match inner.close() {
                Ok(()) => 0,
                Err(early) => early.0 - 1,
            }
        };
        outer.spawn(|| number(sleep(LONG)), true, ANYWHERE).unwrap();
        outer.spawn(grandparent, true, ANYWHERE).unwrap();
        assert_eq!(outer.close(), Err(Early(-6)));
    });
}

#[test]
fn a_parent_that_is_cancelled_takes_its_descendants_with_it() {
    in_a_fiber(|| {
        let ended = Arc::new(AtomicU64::new(0));
        fn descend(depth: u64, ended: Arc<AtomicU64>) -> i64 {
            let counted = ended.clone();
            on_exit(move || {
                yield_now().unwrap();
                counted.fetch_add(1, Ordering::SeqCst);
            })
            .unwrap();
            if depth == 0 {
                return number(sleep(LONG));
            }
            let scope = Scope::open(FOREVER).unwrap();
            for _ in 0..3 {
                let ended = ended.clone();
                scope.spawn(move || descend(depth - 1, ended), true, ANYWHERE).unwrap();
            }
            scope.close().map_or_else(|early| early.0, |()| 0)
        }
        let counted = ended.clone();
        let eldest = spawn(move || descend(3, counted)).unwrap();
        (0..10).for_each(|_| yield_now().unwrap());
        eldest.cancel().unwrap();
        assert_eq!(eldest.join(), Ok(-i64::from(libc::ECANCELED)));
        assert_eq!(ended.load(Ordering::SeqCst), 1 + 3 + 9 + 27);
    });
}

#[test]
fn who_waits_for_its_children_under_a_shield_lets_them_end_by_themselves() {
    in_a_fiber(|| {
        let scope = Scope::open(FOREVER).unwrap();
        scope.spawn(|| number(sleep(Duration::from_millis(2))), true, ANYWHERE).unwrap();
        myself().unwrap().cancel().unwrap();
        assert_eq!(native::shielded(|| scope.close()), Ok(()));
        assert_eq!(yield_now(), Err(Errno::CANCELED));
    });
}

#[test]
fn children_that_are_joined_are_not_kept_until_the_scope_ends() {
    in_a_fiber(|| {
        let scope = Scope::open(FOREVER).unwrap();
        for n in 0..10_000 {
            let child = scope.spawn(move || n, false, ANYWHERE).unwrap();
            assert_eq!(native::join(child), Ok(n));
        }
        scope.close().unwrap();
    });
}

/// Scopes end early from every side at once, on several workers: their owners are cancelled, children fail, deadlines
/// pass, owners and children move. Nobody is forgotten, and nothing is left.
#[test]
fn every_family_ends_whatever_happens_to_it() {
    const FAMILIES: u64 = 400;
    // SAFETY: nothing on the stacks of these functions belongs to a thread.
    let migratable = unsafe { Placement::migratable() };
    in_a_fiber_of(3, move || {
        let living = Arc::new(AtomicU64::new(0));
        let family = move |seed: u64, living: Arc<AtomicU64>| {
            let deadline = match seed % 3 {
                0 => polyphony_core::time::Time::monotonic() + Duration::from_micros(seed % 700),
                _ => FOREVER,
            };
            let (outer, inner) = (Scope::open(FOREVER).unwrap(), Scope::open(deadline).unwrap());
            for n in 0..6 {
                let (scope, living) = (if n % 2 == 0 { outer } else { inner }, living.clone());
                let child = move || {
                    living.fetch_add(1, Ordering::SeqCst);
                    let waited = match (seed + n) % 9 {
                        0 => Err(Errno::new(libc::EIO)),
                        1 => scope.cancel(),
                        2 => {
                            scope.spawn(|| number(sleep(LONG)), true, ANYWHERE).and_then(FiberCancel::cancel)
                        }
                        3..5 => sleep(Duration::from_micros(seed % 300)),
                        _ => (0..seed % 30).try_for_each(|_| yield_now()),
                    };
                    living.fetch_sub(1, Ordering::SeqCst);
                    number(waited)
                };
                let _ = scope.spawn(child, n % 3 == 0, if n < 3 { migratable } else { ANYWHERE });
            }
            if seed.is_multiple_of(4) {
                let _ = yield_now();
            }
            let (inner, outer) = (inner.close(), outer.close());
            let expected =
                [libc::EIO, libc::ECANCELED, libc::ETIMEDOUT].map(|errno| Err(Early(-i64::from(errno))));
            assert!(inner.is_ok() || expected.contains(&inner), "{inner:?}");
            assert!(outer.is_ok() || expected.contains(&outer), "{outer:?}");
        };
        let families: Vec<_> = (0..FAMILIES)
            .map(|n| {
                let living = living.clone();
                native::spawn_placed(move || family(n * 7919, living), migratable).unwrap()
            })
            .collect();
        for (n, each) in families.iter().enumerate() {
            if n % 5 == 0 {
                each.cancel().unwrap();
            }
        }
        families.into_iter().for_each(|each| each.join().unwrap());
        assert_eq!(living.load(Ordering::SeqCst), 0);
    });
}

/// A child that is cancelled by who has just brought it.
trait FiberCancel {
    fn cancel(self) -> Result<(), Errno>;
}

impl FiberCancel for native::FiberId {
    fn cancel(self) -> Result<(), Errno> {
        match native::FiberId::cancel(self) {
            Err(Errno::NO_SUCH_FIBER) => Ok(()), // it has ended
            done => done,
        }
    }
}

#[test]
fn a_fiber_keeps_its_name_until_nobody_can_ask_for_it() {
    in_a_fiber(|| {
        let fiber = spawn(|| myself().unwrap().name()).unwrap();
        fiber.id().set_name(Name::new("worker bee")).unwrap();
        let id = fiber.id();
        yield_now().unwrap();
        assert_eq!(id.name(), Ok(Name::new("worker bee")));
        assert_eq!(fiber.join(), Ok(Ok(Name::new("worker bee"))));
        assert_eq!(id.name(), Err(Errno::NO_SUCH_FIBER));
        assert_eq!(spawn(|| myself().unwrap().name()).unwrap().join(), Ok(Ok(Name::NONE)));
    });
}

#[test]
fn what_is_to_be_done_at_the_end_is_done_also_after_a_panic_and_its_own_panics_end_there() {
    in_a_fiber(|| {
        let done = Arc::new(AtomicU64::new(0));
        let counted = done.clone();
        let fiber = spawn(move || {
            for n in 0..3 {
                let counted = counted.clone();
                on_exit(move || {
                    counted.fetch_add(1 << (8 * n), Ordering::SeqCst);
                    panic::resume_unwind(Box::new("in a callback"));
                })
                .unwrap();
            }
            panic::resume_unwind(Box::new("in the fiber"));
        })
        .unwrap();
        assert_eq!(fiber.join(), Err::<(), _>(Errno::PANIC));
        assert_eq!(done.load(Ordering::SeqCst), 0x010101);
    });
}

#[test]
fn a_runtime_that_shuts_down_ends_families_too() {
    let _watched = watched();
    for _ in 0..50 {
        let runtime = Runtime::new(Options::with_workers(2)).unwrap();
        for _ in 0..20 {
            runtime
                .spawn(|| {
                    let scope = Scope::open(FOREVER)?;
                    scope.spawn(|| number(sleep(LONG)), true, ANYWHERE)?;
                    scope.spawn(|| number(sleep(LONG)), false, ANYWHERE)?;
                    Ok::<_, Errno>(scope.close())
                })
                .unwrap();
        }
        runtime.shutdown(None).unwrap();
    }
}
