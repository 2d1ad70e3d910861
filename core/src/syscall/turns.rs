//! Turns at a file, for calls that are made because it has just been ready.
//!
//! A call that cannot be told not to wait is made after the file was asked whether it would. Between the question and
//! the call another thread could take what there is, and the call would wait for the next, perhaps for ever. So the
//! threads that come here ask and call one after another; what others do, and other processes, nobody can know. Who has
//! to wait for such a one in its call keeps only those from theirs that want the same of the same file.
//!
//! In a forked child the turns of the parent may be held by threads that are not there: each process has its own.

use std::{
    process, ptr,
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicPtr, Ordering},
    },
};

/// What a turn is at: a file, by the device and the number that it has there, and the events that it was asked for.
pub(super) type Matter = (u64, u64, u32);

#[derive(Debug)]
struct Turns {
    process: u32,
    taken: Mutex<Vec<Matter>>,
    given_back: Condvar,
}

static TURNS: AtomicPtr<Turns> = AtomicPtr::new(ptr::null_mut());

/// A turn; others have to wait for theirs until it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    turns: &'static Turns,
    matter: Matter,
}

/// The turn at a matter, once nobody has it.
pub(super) fn at(matter: Matter) -> Turn {
    let turns = Turns::of(process::id());
    let mut taken = turns.taken();
    while taken.contains(&matter) {
        taken = turns.given_back.wait(taken).unwrap_or_else(PoisonError::into_inner);
    }
    taken.push(matter);
    Turn { turns, matter }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.taken().retain(|taken| *taken != self.matter);
        self.turns.given_back.notify_all();
    }
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
        let fresh = Box::new(Turns { process, taken: Mutex::default(), given_back: Condvar::new() });
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

    fn taken(&self) -> MutexGuard<'_, Vec<Matter>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread};

    use super::*;

    #[test]
    fn of_several_who_want_the_same_of_a_file_one_has_its_turn_and_others_do_not_wait_for_it() {
        let turn = at((1, 7, 1));
        drop((at((1, 7, 4)), at((1, 8, 1)), at((2, 7, 1))));
        let (tell, hear) = mpsc::channel();
        let next = thread::spawn(move || {
            let _turn = at((1, 7, 1));
            tell.send(()).unwrap();
        });
        assert_eq!(hear.try_recv(), Err(mpsc::TryRecvError::Empty));
        drop(turn);
        assert_eq!(hear.recv(), Ok(()));
        next.join().unwrap();
    }
}
