//! Turns at a file, for calls that are made because it has just been ready.
//!
//! A call that cannot be told not to wait is made after the file was asked whether it would. Between the question and
//! the call another thread could take what there is, and the call would wait for the next, perhaps for ever. So threads
//! ask and call one after another; what happens in other processes nobody can know.
//!
//! Files share [`COUNT`] turns, by their numbers. In a forked child those of the parent may be held by threads that are
//! not there: each process has its own.

use std::{
    process, ptr,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicPtr, Ordering},
    },
};

/// How many turns a process has.
const COUNT: usize = 64;

struct Turns {
    process: u32,
    turns: [Mutex<()>; COUNT],
}

static TURNS: AtomicPtr<Turns> = AtomicPtr::new(ptr::null_mut());

/// The turn at a file, by its number in its file system; others wait until this is dropped.
pub(super) fn at(file: u64) -> MutexGuard<'static, ()> {
    let turn = &Turns::of(process::id()).turns[file as usize % COUNT];
    turn.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Turns {
    fn of(process: u32) -> &'static Self {
        let known = TURNS.load(Ordering::Acquire);
        // SAFETY: null, or made by a box that nobody takes back.
        match unsafe { known.as_ref() } {
            Some(turns) if turns.process == process => turns,
            _ => Turns::begin(process, known),
        }
    }

    /// The first that this process needs. Those of its parent stay where they are.
    #[cold]
    fn begin(process: u32, known: *mut Turns) -> &'static Self {
        let fresh = Box::new(Turns { process, turns: [const { Mutex::new(()) }; COUNT] });
        let fresh = Box::into_raw(fresh);
        let first = TURNS.compare_exchange(known, fresh, Ordering::AcqRel, Ordering::Acquire);
        let turns = first.map_or_else(
            |faster| {
                // SAFETY: made above, and nobody else knows of it.
                drop(unsafe { Box::from_raw(fresh) });
                faster
            },
            |_| fresh,
        );
        // SAFETY: made by a box that nobody takes back; where another thread was faster, by that one's.
        unsafe { &*turns }
    }
}
