//! What the fibers of a runtime are doing, for people who wonder.
//!
//! A fiber's record is its worker's, so each worker is asked, and tells of the fibers that stand with it. One that
//! is busy does not answer: of its fibers only the names are known, and that is said. Nobody waits long.

use std::{
    collections::BTreeMap,
    fmt::Write,
    sync::{Condvar, Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{
    Shared, current,
    fiber::{Ask, CALM, FiberId, FiberRef, Parked, Standing},
    lock,
    park::What,
    worker::Worker,
};
use crate::op::Op;

/// A question to all workers of a runtime, one at a time, and what they have answered.
#[derive(Default)]
pub(crate) struct Inquiry {
    turn: Mutex<()>,
    answers: Mutex<Answers>,
    answered: Condvar,
}

#[derive(Default)]
struct Answers {
    number: u64,
    workers: usize,
    fibers: BTreeMap<u64, String>,
}

/// How long a worker may take to answer.
const PATIENCE: Duration = Duration::from_millis(200);

impl Inquiry {
    /// Asks what all fibers are doing: a line each.
    pub(crate) fn ask(&self, shared: &Shared, here: Option<&Worker>) -> String {
        let _turn = lock(&self.turn);
        {
            let mut answers = lock(&self.answers);
            (answers.workers, answers.number) = (0, answers.number + 1);
            answers.fibers.clear();
        }
        shared.ask();
        if let Some(worker) = here {
            worker.answer();
        }
        let until = Instant::now() + PATIENCE;
        let mut answers = lock(&self.answers);
        while answers.workers < shared.workers().len() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.answered.wait_timeout(answers, left);
            answers = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        shared.asked_enough();
        let mut told = std::mem::take(&mut answers.fibers);
        drop(answers);
        for fiber in shared.fibers() {
            let id = fiber.id();
            told.entry(id.number()).or_insert_with(|| format!("{}: its worker is busy", title(id)));
        }
        told.into_values().fold(String::new(), |text, line| text + &line + "\n")
    }

    /// The number of the question that has been asked last.
    pub(crate) fn number(&self) -> u64 {
        lock(&self.answers).number
    }

    /// A worker tells of its fibers.
    pub(crate) fn tell(&self, number: u64, fibers: impl Iterator<Item = (FiberId, String)>) {
        let told: Vec<_> = fibers.collect();
        let mut answers = lock(&self.answers);
        if answers.number != number {
            return; // too late
        }
        answers.fibers.extend(told.into_iter().map(|(id, line)| (id.number(), line)));
        answers.workers += 1;
        self.answered.notify_all();
    }
}

/// What a fiber of this worker's is doing, said by the worker's own thread; nothing of others' fibers.
pub(crate) fn describe(fiber: FiberRef, worker: &Worker) -> Option<(FiberId, String)> {
    let standing = fiber.stands(worker)?;
    let id = fiber.id();
    let mut line = format!("{} on worker {}: ", title(id), worker.index());
    let said = match standing {
        Standing::Elsewhere => return None,
        Standing::Exposed => write!(line, "ready"),
        Standing::Here if current::fiber() == Some(fiber) => write!(line, "runs"),
        Standing::Here => match fiber.parked.get() {
            Parked::Ended => return None,
            Parked::Unstarted | Parked::Ready => write!(line, "ready"),
            Parked::Asleep(_) => write!(line, "sleeps"),
            Parked::Operation(_) => operation(fiber, &mut line),
            // SAFETY: the fiber is parked, so the call that holds its waiter has not returned.
            Parked::Listed(waiter) => waits_for(unsafe { (*waiter).what() }, &mut line),
        },
    };
    debug_assert!(said.is_ok(), "a string takes all that is written to it");
    if fiber.latch.load(std::sync::atomic::Ordering::SeqCst) != CALM {
        line += ", cancelled";
    }
    if standing == Standing::Here && fiber.shields.get() > 0 {
        line += ", shielded";
    }
    Some((id, line))
}

fn title(id: FiberId) -> String {
    match id.name() {
        Ok(name) if !name.is_empty() => format!("fiber {:#x} \"{name}\"", id.number()),
        _ => format!("fiber {:#x}", id.number()),
    }
}

fn operation(fiber: FiberRef, line: &mut String) -> std::fmt::Result {
    let Ask::Perform(op) = fiber.ask.get() else { return write!(line, "waits for the kernel") };
    // SAFETY: the fiber is parked in the call on whose frame the operation stands.
    let op: Op = unsafe { *op };
    let name = format!("{:?}", op.kind()).to_lowercase();
    match op.fd() {
        Some(fd) => write!(line, "waits for the kernel: {name} of descriptor {fd}"),
        None => write!(line, "waits for the kernel: {name}"),
    }
}

fn waits_for(what: What, line: &mut String) -> std::fmt::Result {
    let what = match what {
        What::Fiber(id) => return write!(line, "joins {}", title(id)),
        What::Children => "the children of a scope",
        What::Mutex => "a mutex",
        What::Condition => "a condition",
        What::Semaphore => "a semaphore",
        What::Event => "an event",
        What::Sending => "room in a channel",
        What::Receiving => "an item in a channel",
        What::RwLock => "a rwlock",
        What::Once => "another to have done it once",
        What::WaitGroup => "a wait group",
        What::Select => "one of several channels",
        What::Connection => "a connection",
    };
    write!(line, "waits for {what}")
}
