//! The Ruby host: one scheduler a thread, Ruby's own fibers, symmetric transfer.
//!
//! Whichever fiber parks asks the shard what next and transfers there itself; there is no loop fiber.
//!
//! ```text
//! fiber A          shard              fiber B
//!   │ park           │                  │ (parked)
//!   ├─ next() ──────▶│                  │
//!   │◀─ Run(B) ──────┤                  │
//!   ├─ transfer ─────┼─────────────────▶│ granted
//! ```
//!
//! The shard is borrowed in [`Scheduler::with`] only, and no Ruby call is made inside: `mark` counts on it.
//! A fiber may be resumed for nothing (a fiber that ends by returning lands in the root's innermost one),
//! so a parked fiber goes on only if it finds itself granted.

mod fibers;
mod known;
mod native_thread;
mod operations;
mod overdue;
mod passing;
mod report;
mod switch;
mod tracing;
mod variables;
mod waits;
mod waking;

use std::{
    cell::{Cell, RefCell},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use magnus::{
    DataTypeFunctions, Error, Ruby, TypedData, Value, gc,
    prelude::*,
    rb_sys::{AsRawValue, FromRawValue},
    typed_data::Obj,
};
use polyphony_core::{
    backend::{
        Backend, Waker,
        any::{Any, Choice},
        uring::UringOptions,
    },
    run_queue::RunQueue,
    shard::{Shard, shut_down},
    stats::Stats,
    time::Time,
};
use rb_sys::VALUE;

pub(crate) use self::{
    known::{all, epoch, find},
    operations::{Performed, Woken},
    overdue::{Watched, interrupt_overdue},
    report::watch,
    switch::collections,
    variables::{hidden_id, make_what_is_made_once, name_of, schedule_early, scheduler_id, unblock_early},
};
use self::{
    known::{forget_cached, of_other, of_thread, register, unregister},
    variables::set_name,
};
use crate::{
    errors, fork,
    io::{Flow, Litter, Turns},
    roots::{NIL, Name, Roots},
};

pub(crate) type RubyShard = Shard<Roots, Any>;

/// The scheduler of one Ruby thread.
#[derive(TypedData)]
#[magnus(class = "Polyphony::Scheduler", free_immediately, mark, size)]
pub(crate) struct Scheduler {
    /// No other scheduler of the process ever has it.
    id: u32,
    /// Gone once the thread has ended.
    shard: RefCell<Option<RubyShard>>,
    /// Ends the shard's waits; gone with it.
    waker: RefCell<Option<Waker>>,
    /// The fiber that was granted last: the one that runs, or the one that resumed it.
    running: Cell<Name>,
    thread: VALUE,
    fork: Cell<u32>,
    /// How many fibers wait with a lock that a trap handler may want: meanwhile nothing is heard.
    deaf: Cell<usize>,
    /// Trap handlers are running inside a park: meanwhile every override is the original.
    interrupted: Cell<bool>,
    closed: Cell<bool>,
    /// Called, with the events of the original's tracing, where it is not nil.
    tracer: Cell<VALUE>,
    /// Some fiber may have interjections; they are looked for only then.
    interjected: Cell<bool>,
    /// Called by a switch that finds nobody ready, where it is not nil.
    idler: Cell<VALUE>,
    /// Who is inside `Fiber#raise` and has given another fiber the turn there: it goes on there, and not in a park.
    raising: RefCell<Vec<Name>>,
    /// How many spun fibers have ended since the collector was last asked for their stacks, and for how many it
    /// is worth asking.
    ended: Cell<usize>,
    worth: Cell<usize>,
    /// How often the collector had run when it was last asked.
    collected: Cell<usize>,
    /// How often the collector had run when Ruby last refused to start a fiber.
    full: Cell<Option<usize>>,
    /// Signals came whose handlers have no fiber yet.
    signalled: Cell<bool>,
    /// The main fiber is in `sleep`, which `Thread#wakeup` ends.
    asleep: Cell<bool>,
    turns: RefCell<Turns>,
    /// What had been done when somebody asked last.
    told: Cell<Stats>,
    /// The fiber of whose end the tracer has heard last.
    ending: Cell<Option<Name>>,
    flow: RefCell<Flow>,
    litter: RefCell<Litter>,
    /// How many transfers there were without the ring since it was last asked for one.
    straight: Cell<u32>,
    /// Bytes that were written to files in place since a write last went through the ring.
    in_place: Cell<usize>,
    /// How many fibers wait for what another thread of Ruby's does for them, and the parks meanwhile.
    elsewhere: Cell<usize>,
    parks: Cell<u32>,
    /// When the running fiber got its turn, while somebody watches.
    began: Cell<Time>,
    /// The last question whether the process can go on.
    asked: Cell<Option<switch::Asked>>,
    /// The thread waits, with nothing in flight and no timer armed.
    idle: Cell<bool>,
    /// The thread is in the kernel, or about to be.
    blocked: Cell<bool>,
    sent: Cell<Option<overdue::Sent>>,
    /// What was seen of fibers that seem to compute though their time is up.
    stretches: RefCell<Vec<overdue::Stretch>>,
    /// The running fiber has taken something that its caller has not got yet.
    takes: Cell<bool>,
    /// What the thread has used of the processor.
    clock: Cell<libc::clockid_t>,
    options: UringOptions,
    choice: Choice,
}

// SAFETY: a scheduler is touched under the GVL only (of its Ractor): by its own thread, by others that
// leave a value in its table, and by the collector. What runs without the GVL holds a `Wait` and a
// `Waker`, both made for that.
unsafe impl Send for Scheduler {}

impl DataTypeFunctions for Scheduler {
    fn mark(&self, marker: &gc::Marker) {
        // A collection starts in a Ruby call, and none is made while the shard is borrowed.
        let shard = self.shard.try_borrow().expect("no Ruby call is made while the shard is borrowed");
        shard.iter().for_each(|shard| shard.host().mark(marker));
        // SAFETY: the thread was alive when the scheduler was made and is marked here ever since.
        marker.mark(unsafe { Value::from_raw(self.thread) });
        let sent = self.sent.get().map_or(NIL, |sent| sent.marker());
        for hook in [self.tracer.get(), self.idler.get(), sent] {
            // SAFETY: set by a Ruby call, and marked here ever since.
            marker.mark(unsafe { Value::from_raw(hook) });
        }
    }

    fn free(self: Box<Self>) {
        unregister(&self);
        forget_cached();
        if self.fork.get() != fork::generation() {
            self.shard.into_inner().into_iter().for_each(RubyShard::disown);
        }
    }
}

impl Scheduler {
    /// The calling thread's scheduler, where it has one that may be used now.
    #[inline]
    pub(crate) fn current() -> Option<&'static Scheduler> {
        // SAFETY: called with the GVL.
        let thread = unsafe { rb_sys::rb_thread_current() };
        // SAFETY: the pointer came from a scheduler that its thread's variable keeps alive; freeing a
        // scheduler or ending one starts a new epoch, which empties every cache.
        let scheduler = unsafe { of_thread(thread).as_ref() }?;
        if scheduler.interrupted.get() || scheduler.closed.get() {
            return None;
        }
        if scheduler.fork.get() != fork::generation() {
            scheduler.start_anew();
        }
        Some(scheduler)
    }

    /// Makes the calling thread's scheduler; the calling fiber becomes its main fiber.
    pub(crate) fn start(
        ruby: &Ruby,
        choice: Option<String>,
        entries: Option<u32>,
    ) -> Result<Obj<Self>, Error> {
        let choice = match choice {
            Some(name) => name.parse(),
            None if native_thread::may_change(ruby)? => Ok(Choice::Epoll),
            None => Choice::from_env(),
        }
        .map_err(|error| Error::new(ruby.exception_arg_error(), error.to_string()))?;
        // First, for the ring belongs to the thread of the system that makes it.
        native_thread::keep();
        let mut options = UringOptions::default();
        if let Some(entries) = entries {
            (options.sq_entries, options.cq_entries) = (entries, entries * 2);
        }
        let backend = backend(choice, options)
            .map_err(|error| errors::system(ruby, error.errno(), &error.to_string()))?;
        let main = ruby.fiber_current().as_value();
        // SAFETY: called with the GVL.
        let thread = unsafe { rb_sys::rb_thread_current() };
        static LAST: AtomicU32 = AtomicU32::new(0);
        let scheduler = Scheduler {
            id: LAST.fetch_add(1, Ordering::Relaxed) + 1,
            waker: RefCell::new(Some(backend.waker())),
            shard: RefCell::new(Some(Shard::new(Roots::new(main.as_raw()), backend))),
            running: Cell::new(Name::MAIN),
            thread,
            fork: Cell::new(fork::generation()),
            deaf: Cell::default(),
            interrupted: Cell::new(false),
            closed: Cell::new(false),
            tracer: Cell::new(NIL),
            interjected: Cell::new(false),
            idler: Cell::new(NIL),
            raising: RefCell::default(),
            ended: Cell::new(0),
            worth: Cell::new(1),
            collected: Cell::new(0),
            full: Cell::new(None),
            signalled: Cell::new(false),
            asleep: Cell::new(false),
            turns: RefCell::default(),
            told: Cell::default(),
            ending: Cell::default(),
            flow: RefCell::default(),
            litter: RefCell::default(),
            straight: Cell::default(),
            in_place: Cell::default(),
            elsewhere: Cell::default(),
            parks: Cell::default(),
            began: Cell::default(),
            asked: Cell::default(),
            idle: Cell::default(),
            blocked: Cell::default(),
            sent: Cell::default(),
            stretches: RefCell::default(),
            takes: Cell::default(),
            clock: Cell::new(native_thread::clock()),
            options,
            choice,
        };
        let object = ruby.obj_wrap(scheduler);
        set_name(main, Name::MAIN, object.as_raw());
        // SAFETY: the thread is the calling one; the variable is invisible to Ruby code.
        unsafe { rb_sys::rb_ivar_set(thread, scheduler_id(), object.as_raw()) };
        register(&object);
        Ok(object)
    }

    /// [`with`](Self::with) for what may come after the thread has ended: then the answer is `closed`.
    #[inline]
    fn with_open<R>(&self, closed: R, f: impl FnOnce(&mut RubyShard) -> R) -> R {
        self.shard.borrow_mut().as_mut().map_or(closed, f)
    }

    /// The only way to the shard. No Ruby call inside.
    #[inline]
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut RubyShard) -> R) -> R {
        f(self.shard.borrow_mut().as_mut().expect("a closed scheduler is nobody's current one"))
    }

    #[inline]
    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// Whether its thread has not ended, as far as that was told, and did not stay in the parent of a fork.
    fn is_open(&self) -> bool {
        !self.closed.get() && self.fork.get() == fork::generation()
    }

    /// Whether the calling thread is the scheduler's own.
    pub(crate) fn is_local(&self) -> bool {
        // SAFETY: called with the GVL.
        self.thread == unsafe { rb_sys::rb_thread_current() }
    }

    /// The name of the fiber that runs, for timers and for waking it later.
    pub(crate) fn running(&self) -> Name {
        self.running.get()
    }

    /// What was done, and how much there is now. Who asks next hears of operations, switches and looks at the
    /// kernel since then.
    pub(crate) fn stats(&self) -> Figures {
        self.with_open(Figures::default(), |shard| {
            let done = shard.stats();
            let told = self.told.replace(done);
            let queue = shard.queue();
            Figures {
                done,
                operations: done.submitted - told.submitted,
                switches: done.switches - told.switches,
                looks: done.turns - told.turns,
                queued: queue.len(),
                queued_at_most: queue.longest(),
                room: queue.capacity(),
                in_flight: shard.in_flight(),
                timers: shard.timers(),
                fibers: shard.host().population(),
            }
        })
    }

    pub(crate) fn describe(&self) -> (&'static str, String) {
        self.with_open(("closed", "closed: its thread has ended".to_owned()), |shard| {
            (shard.backend().name(), shard.backend().describe())
        })
    }

    /// The thread ends: cancels what is in flight and waits for it, for a bounded time.
    pub(crate) fn close(&self) {
        if self.closed.replace(true) {
            return;
        }
        // The ring goes now, not when the collector comes: short threads would use up the descriptors.
        let shard = self.shard.borrow_mut().take();
        self.waker.take();
        shard.map(|shard| shut_down(shard, Duration::from_secs(1)));
        // SAFETY: the thread is alive: the scheduler marks it.
        unsafe { rb_sys::rb_ivar_set(self.thread, scheduler_id(), NIL) };
        forget_cached();
    }

    /// In a forked child: the ring is the parent's, and so are its fibers, but for the one that forked.
    fn start_anew(&self) {
        self.fork.set(fork::generation());
        let Ok(backend) = backend(self.choice, self.options) else { return };
        // SAFETY: called with the GVL, from the only fiber that the child has.
        let main = unsafe { rb_sys::rb_fiber_current() };
        *self.waker.borrow_mut() = Some(backend.waker());
        let mut fresh = Shard::new(Roots::new(main), backend);
        fresh.host_mut().listen(self.is_traced());
        self.shard.replace(Some(fresh)).into_iter().for_each(RubyShard::disown);
        self.running.set(Name::MAIN);
        self.clock.set(native_thread::clock());
        self.interrupted.set(false);
        self.deaf.take();
        self.turns.take();
        self.told.take();
        self.elsewhere.take(); // the threads stayed in the parent
        // SAFETY: the fiber is the running one.
        let this = unsafe { rb_sys::rb_ivar_get(self.thread, scheduler_id()) };
        // SAFETY: as above.
        set_name(unsafe { Value::from_raw(main) }, Name::MAIN, this);
    }
}

/// What [`Scheduler::stats`] tells.
#[derive(Default)]
pub(crate) struct Figures {
    /// Since the scheduler was made.
    pub(crate) done: Stats,
    pub(crate) operations: u64,
    pub(crate) switches: u64,
    pub(crate) looks: u64,
    pub(crate) queued: usize,
    pub(crate) queued_at_most: usize,
    pub(crate) room: usize,
    pub(crate) in_flight: usize,
    pub(crate) timers: usize,
    /// Now, and at most.
    pub(crate) fibers: (usize, usize),
}

/// Makes a backend; says once a process why it is not the one that was hoped for.
fn backend(choice: Choice, options: UringOptions) -> Result<Any, polyphony_core::error::Error> {
    static SAID: AtomicU32 = AtomicU32::new(0);
    let (backend, note) = Any::new(choice, options)?;
    if let Some(note) = note
        && SAID.swap(1, Ordering::Relaxed) == 0
    {
        eprintln!("{note}");
    }
    Ok(backend)
}

/// Ruby, for a caller that has the GVL.
pub(crate) fn ruby() -> Ruby {
    // SAFETY: everything in this crate but the wait itself runs with the GVL.
    unsafe { Ruby::get_unchecked() }
}
