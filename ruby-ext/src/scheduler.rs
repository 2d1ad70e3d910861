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

use std::{
    cell::{Cell, RefCell},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use magnus::{
    DataTypeFunctions, Error, Exception, Ruby, TypedData, Value,
    error::{ErrorType, Tag},
    gc,
    prelude::*,
    rb_sys::{AsRawValue, FromRawValue, protect},
    typed_data::Obj,
};
use polyphony_core::{
    backend::{
        Backend, Time, Wait, Waker,
        any::{Any, AnyWait, Choice},
        uring::UringOptions,
    },
    op::{Op, Outcome},
    run_queue::RunQueue,
    shard::{Next, Shard, shut_down},
    stats::Stats,
    timers::TimerKey,
};
use rb_sys::VALUE;

use crate::{
    errors, fork, gvl,
    io::{Flow, Turns},
    line::Place,
    ractor,
    roots::{self, Keep, NIL, Name, Roots, Scheduled},
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
    /// Trap handlers are running inside a park: meanwhile every override is the original.
    interrupted: Cell<bool>,
    closed: Cell<bool>,
    /// Called, with the events of the original's tracing, where it is not nil.
    tracer: Cell<VALUE>,
    /// Some fiber may have interjections; they are looked for only then.
    interjected: Cell<bool>,
    /// Called by a switch that finds nobody ready, where it is not nil.
    idler: Cell<VALUE>,
    /// How many spun fibers have ended since the collector was last asked for their stacks.
    ended: Cell<usize>,
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
        for hook in [self.tracer.get(), self.idler.get()] {
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

/// What a fiber does after a step of its park.
enum Step {
    Granted,
    /// To a fiber, with what it is begun with where it cannot ask.
    Transfer(VALUE, Option<VALUE>, Name),
    Wait(AnyWait),
    Again,
    Idle,
}

/// How an operation ended: what the kernel said, and what somebody scheduled meanwhile.
pub(crate) struct Performed {
    pub(crate) outcome: Outcome,
    pub(crate) woken: Option<Woken>,
}

/// What a fiber was resumed with, besides completions.
pub(crate) enum Woken {
    Value(Value),
    Error(Error),
}

impl Woken {
    /// The value, or the exception raised.
    pub(crate) fn deliver(self) -> Result<Value, Error> {
        match self {
            Woken::Value(value) => Ok(value),
            Woken::Error(error) => Err(error),
        }
    }
}

impl Scheduler {
    /// The calling thread's scheduler, where it has one that may be used now.
    #[inline]
    pub(crate) fn current() -> Option<&'static Scheduler> {
        // SAFETY: called with the GVL.
        let thread = unsafe { rb_sys::rb_thread_current() };
        let cached = cached();
        let scheduler = if cached.thread == thread && cached.epoch == EPOCH.load(Ordering::Relaxed) {
            cached.scheduler
        } else {
            look_up(thread)
        };
        // SAFETY: the pointer came from a scheduler that its thread's variable keeps alive; freeing a
        // scheduler or ending one starts a new epoch, which empties every cache.
        let scheduler = unsafe { scheduler.as_ref() }?;
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
            None => Choice::from_env(),
        }
        .map_err(|error| Error::new(ruby.exception_arg_error(), error.to_string()))?;
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
            interrupted: Cell::new(false),
            closed: Cell::new(false),
            tracer: Cell::new(NIL),
            interjected: Cell::new(false),
            idler: Cell::new(NIL),
            ended: Cell::new(0),
            signalled: Cell::new(false),
            asleep: Cell::new(false),
            turns: RefCell::default(),
            told: Cell::default(),
            ending: Cell::default(),
            flow: RefCell::default(),
            options,
            choice,
        };
        let object = ruby.obj_wrap(scheduler);
        set_name(main, Name::MAIN, object.as_raw());
        // SAFETY: the thread is the calling one; the variable is invisible to Ruby code.
        unsafe { rb_sys::rb_ivar_set(thread, scheduler_id(), object.as_raw()) };
        ALL.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Known { scheduler: std::ptr::from_ref(&*object), ractor: ractor::named() });
        forget_cached();
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

    /// The name of the fiber that calls. A fiber that nobody spun gets one for as long as it is parked.
    #[inline]
    fn me(&self) -> Me {
        let running = self.running.get();
        // SAFETY: called with the GVL, from a fiber.
        let fiber = unsafe { rb_sys::rb_fiber_current() };
        let known = self.with(|shard| {
            let record = shard.host_mut().record(running);
            record.is_some_and(|record| record.fiber == fiber)
        });
        if known { Me { name: running, base: None } } else { self.visitor(fiber, running) }
    }

    /// Names a fiber that nobody spun, which `base` has resumed, so that others can wake it; and gives it
    /// what they left for it before.
    #[cold]
    fn visitor(&self, fiber: VALUE, base: Name) -> Me {
        let name = self.with(|shard| {
            let roots = shard.host_mut();
            let name = roots.adopt(fiber);
            if let Some(record) = roots.record(base) {
                record.inner = Some(name);
            }
            name
        });
        // SAFETY: the fiber is the running one, the thread is the calling one.
        let (fiber, this) = unsafe {
            (Value::from_raw(fiber), rb_sys::rb_ivar_get(rb_sys::rb_thread_current(), scheduler_id()))
        };
        set_name(fiber, name, this);
        let early = Early::take(fiber);
        self.with(|shard| {
            let record = shard.host_mut().record(name).expect("adopted above");
            record.unblocked = early.unblocked;
            if early.scheduled.is_some() {
                record.scheduled = early.scheduled;
                shard.queue_mut().wake(name);
            }
        });
        Me { name, base: Some(base) }
    }

    /// Ends what `me` began for a foreign fiber.
    #[inline]
    fn done(&self, me: Me) {
        let Some(base) = me.base else { return };
        self.running.set(base);
        self.with(|shard| {
            let roots = shard.host_mut();
            let kept = roots.record(me.name).and_then(|record| record.kept);
            if let Some(record) = roots.record(base) {
                record.inner = None;
                record.kept = kept.or(record.kept);
            }
            roots.move_late(me.name, base);
            roots.forget(me.name);
            let is_late = roots.bring_late(base);
            shard.queue_mut().remove(me.name);
            if is_late {
                shard.ready(base);
            }
        });
    }

    /// Lets others run until this fiber is granted. An error is an interrupt that this fiber must raise.
    fn park(&self, me: Name) -> Result<(), Error> {
        if self.is_traced() {
            self.trace_park(me, "block")?;
        }
        if self.idler.get() != NIL && self.with(|shard| shard.queue().is_empty()) {
            self.aside(me, || call(self.idler.get(), &[]))?;
        }
        self.park_untraced(me)?;
        if self.is_traced() {
            self.trace_park(me, "unblock")?;
        }
        if self.interjected.get() { self.run_interjections(me) } else { Ok(()) }
    }

    #[inline]
    fn park_untraced(&self, me: Name) -> Result<(), Error> {
        loop {
            if self.signalled.get() {
                self.begin_handlers(me)?;
            }
            let step = self.with(|shard| {
                let roots = shard.host_mut();
                if roots.record(me).is_some_and(|record| std::mem::take(&mut record.granted)) {
                    return Step::Granted;
                }
                match shard.next() {
                    Next::Run(name) => {
                        // Nobody's: a late wake-up, or a fiber that is held up.
                        let Some(name) = shard.host_mut().turn(name) else { return Step::Again };
                        if name == me {
                            return Step::Granted;
                        }
                        let Some((fiber, first)) = shard.host_mut().grant(name) else { return Step::Again };
                        Step::Transfer(fiber, first, name)
                    }
                    Next::Wait(wait) => Step::Wait(wait),
                    Next::Idle => Step::Idle,
                }
            });
            match step {
                Step::Granted => {
                    self.running.set(me);
                    return Ok(());
                }
                Step::Transfer(fiber, first, name) => self.transfer(fiber, first, name, me)?,
                Step::Wait(wait) => self.wait(wait, me)?,
                Step::Again => {}
                Step::Idle => self.idle(me)?,
            }
        }
    }

    /// The only place that switches. It returns when somebody transfers back.
    fn transfer(&self, fiber: VALUE, first: Option<VALUE>, name: Name, me: Name) -> Result<(), Error> {
        self.running.set(name);
        // SAFETY: under protect; nothing whose drop matters is alive in this frame or its callers.
        let switched = protect(|| unsafe {
            let first = first.as_slice();
            rb_sys::rb_fiber_transfer(fiber, first.len() as i32, first.as_ptr())
        });
        let Err(error) = switched else { return Ok(()) };
        let refused = self.with(|shard| {
            let record = shard.host_mut().record(name);
            record.is_some_and(|record| std::mem::take(&mut record.granted))
        });
        if !refused {
            return self.told(error, me);
        }
        // The fiber has ended, or somebody resumed it behind our back, or Ruby has no stack for it.
        // SAFETY: the record kept the fiber alive.
        let (alive, fiber) =
            unsafe { (rb_sys::rb_fiber_alive_p(fiber) == rb_sys::Qtrue as VALUE, Value::from_raw(fiber)) };
        if alive && self.frees_stacks() {
            self.with(|shard| shard.ready_first(name));
            return Ok(());
        }
        if !alive || refuse(fiber, error) {
            self.with(|shard| shard.host_mut().forget(name));
        }
        Ok(())
    }

    /// An error came to us after somebody transferred back. Where nobody granted us a turn it is `Fiber#raise`
    /// that did, and means us; who called it goes on.
    #[cold]
    fn told(&self, error: Error, me: Name) -> Result<(), Error> {
        let granted = self.with(|shard| shard.host_mut().record(me).is_none_or(|record| record.granted));
        let caller = self.running.get();
        if granted || caller == me || me == Name::MAIN {
            return self.interrupt(error, me);
        }
        self.with(|shard| shard.ready_first(caller));
        self.running.set(me);
        Err(error)
    }

    /// Has the collector free the stacks of fibers that have ended: Ruby keeps those of fibers that were
    /// transferred to until then, and does not look for them when it has no room for another. False where
    /// so few have ended that it is not worth the time.
    #[cold]
    fn frees_stacks(&self) -> bool {
        let (living, _) = self.with(|shard| shard.host().population());
        if self.ended.get() <= living / 4 {
            return false;
        }
        self.ended.set(0);
        // SAFETY: called with the GVL; the shard is not borrowed.
        unsafe { rb_sys::rb_gc_start() };
        true
    }

    fn wait(&self, mut wait: AnyWait, me: Name) -> Result<(), Error> {
        let traced = self.is_traced();
        let entered = if traced { self.trace_park(me, "enter_poll") } else { Ok(()) };
        if traced && wait.may_sleep() && self.with(|shard| !shard.queue().is_empty()) {
            self.wake_up(); // the tracer scheduled somebody
        }
        let put_off = if wait.may_sleep() { self.hear_what_was_put_off() } else { Ok(()) };
        let blocked = if !wait.may_sleep() {
            wait.block().map(|()| true)
        } else if put_off.is_err() {
            Ok(true)
        } else {
            let waker = self.waker.borrow().clone().expect("a scheduler that waits is open");
            gvl::block(&mut wait, &waker)
        };
        if fork::generation() != self.fork.get() {
            self.start_anew();
        }
        self.with(|shard| shard.harvest(wait));
        if traced {
            self.with(RubyShard::tend); // a timer that ended the wait is part of it
            entered.and_then(|()| self.trace_park(me, "leave_poll"))?;
        }
        if let Err(error) = put_off {
            return self.end_wait(error, me);
        }
        let started = blocked.map_err(|error| {
            errors::system(&ruby(), error.raw_os_error().unwrap_or(0), "waiting for completions")
        })?;
        // A wait that would not start has seen what `is_interrupted` does not tell: a time slice has ended.
        if started && !gvl::is_interrupted() {
            return Ok(());
        }
        self.check_interrupts().or_else(|error| self.end_wait(error, me))
    }

    fn check_interrupts(&self) -> Result<(), Error> {
        self.interrupted.set(true);
        let checked = gvl::check_interrupts();
        self.interrupted.set(false);
        checked
    }

    /// An interrupt ends a wait.
    fn end_wait(&self, error: Error, me: Name) -> Result<(), Error> {
        if me != Name::MAIN {
            // Here, and not where it is raised: what a tracer raises it is not told of.
            self.with(|shard| shard.host_mut().note_woken(Name::MAIN, true));
        }
        self.interrupt(error, me)
    }

    /// Hears of exceptions that `Thread.handle_interrupt` has put off until the thread blocks, which is now:
    /// of those `is_interrupted` tells nothing. What it does tell keeps the wait from starting.
    fn hear_what_was_put_off(&self) -> Result<(), Error> {
        if gvl::is_interrupted() { Ok(()) } else { self.check_interrupts() }
    }

    /// An exception or a kill came to the thread. The exception is the main fiber's. A kill is a tag that
    /// belongs to the stack where it was heard: it ends that fiber, and Ruby passes it on to the main one.
    fn interrupt(&self, error: Error, me: Name) -> Result<(), Error> {
        if me != Name::MAIN {
            return self.raise_in_main(error);
        }
        let ErrorType::Jump(tag) = error.error_type() else { return Err(error) };
        self.running.set(me);
        end_children(*tag)
    }

    /// Gives the handlers of signals their fibers: here, not where Ruby ran them, for a fiber that is made in
    /// a trap handler may lock nothing as long as it lives.
    #[cold]
    fn begin_handlers(&self, me: Name) -> Result<(), Error> {
        self.aside(me, || {
            self.signalled.set(false);
            let polyphony: magnus::RModule = ruby().class_object().const_get("Polyphony")?;
            let signals: magnus::RModule = polyphony.const_get("Signals")?;
            signals.funcall("begin", ())
        })
    }

    /// A handler waits for [`begin_handlers`](Self::begin_handlers).
    pub(crate) fn signalled(&self) {
        self.signalled.set(true);
    }

    /// Marks a `sleep` of the main fiber, or of one that it has resumed.
    pub(crate) fn asleep<R>(&self, sleep: impl FnOnce(&Self) -> R) -> R {
        let earlier = self.asleep.replace(self.running.get() == Name::MAIN);
        let slept = sleep(self);
        self.asleep.set(earlier);
        slept
    }

    /// Ends the main fiber's `sleep`, where it is in one. Any thread.
    pub(crate) fn wake_sleeper(&self) {
        if self.asleep.get() {
            self.schedule(Name::MAIN, ruby().qnil().as_value(), false);
        }
    }

    /// Raises an exception in the main fiber, before anybody else runs.
    fn raise_in_main(&self, error: Error) -> Result<(), Error> {
        let main = self.leave_to_main(error)?;
        self.with(|shard| shard.ready_first(main));
        Ok(())
    }

    /// Raises what a hook raised in the main fiber, at its turn: a hook that always raises must not keep the
    /// others from theirs.
    fn raise_in_main_at_its_turn(&self, error: Error) -> Result<(), Error> {
        let main = self.leave_to_main(error)?;
        self.with(|shard| shard.queue_mut().wake(main));
        Ok(())
    }

    /// Schedules an exception for the main fiber, or the fiber that it has resumed, and says which.
    fn leave_to_main(&self, error: Error) -> Result<Name, Error> {
        let ErrorType::Exception(exception) = error.error_type() else { return Err(error) };
        let scheduled = Scheduled::new(exception.as_raw(), true);
        Ok(self.with(|shard| {
            let main = shard.host_mut().innermost(Name::MAIN);
            shard.host_mut().schedule(main, scheduled);
            main
        }))
    }

    /// Nothing can happen by itself: a main fiber in `suspend` goes on, anybody else waits for threads.
    fn idle(&self, me: Name) -> Result<(), Error> {
        let wait = self.with(|shard| {
            let main = shard.host_mut().record(Name::MAIN);
            if main.is_some_and(|main| std::mem::take(&mut main.may_idle)) {
                shard.ready(Name::MAIN);
                return None;
            }
            Some(shard.wait_for_inbox(None))
        });
        match wait {
            Some(wait) => self.wait(wait, me),
            None => Ok(()),
        }
    }

    /// Takes what was scheduled for a fiber that has just been granted.
    #[inline]
    fn take(&self, me: Name) -> Option<Woken> {
        let scheduled = self.with(|shard| {
            let scheduled = shard.host_mut().record(me)?.scheduled.take()?;
            if scheduled.raises && shard.host_mut().bring_late(me) {
                shard.ready(me);
            }
            Some(scheduled)
        })?;
        // SAFETY: the value was rooted until now and stands on this stack.
        let value = unsafe { Value::from_raw(scheduled.value) };
        if !scheduled.raises {
            return Some(Woken::Value(value));
        }
        if self.is_astray(value) {
            return None;
        }
        let exception = Exception::from_value(value).expect("only exceptions are scheduled to be raised");
        Some(Woken::Error(exception.into()))
    }

    /// Whether a timeout means a fiber that nobody spun and that has yielded since: then that fiber finds it
    /// when it waits again, and who resumed it does not.
    #[cold]
    fn is_astray(&self, exception: Value) -> bool {
        // SAFETY: a live object; a variable that is not set reads as nil.
        let owner = unsafe { Value::from_raw(rb_sys::rb_ivar_get(exception.as_raw(), owner_id())) };
        // SAFETY: called with the GVL, from a fiber.
        if owner.is_nil() || owner.as_raw() == unsafe { rb_sys::rb_fiber_current() } {
            return false;
        }
        let earlier = self.interrupted.replace(true);
        let polyphony: Result<magnus::RModule, Error> = ruby().class_object().const_get("Polyphony");
        let yielded = polyphony.and_then(|polyphony| polyphony.funcall("yielded?", (owner,)));
        self.interrupted.set(earlier);
        if yielded.unwrap_or(false) {
            schedule_early(owner, exception);
            return true;
        }
        false
    }

    /// Parks once and says what for.
    #[inline]
    fn rest(&self, me: Name) -> Result<Option<Woken>, Error> {
        self.park(me)?;
        Ok(self.take(me))
    }

    /// Calls what others want called in the middle of this fiber's wait. It may wait, too: under a name of
    /// its own, so that what the fiber waits for cannot be mistaken for what the call waits for.
    #[inline]
    fn run_interjections(&self, me: Name) -> Result<(), Error> {
        while let Some((block, inside, ends)) = self.with(|shard| shard.host_mut().begin_aside(me)) {
            self.running.set(inside);
            if ends {
                self.with(|shard| shard.queue_mut().wake(inside));
            }
            let called = call(block, &[]);
            self.running.set(me);
            self.with(|shard| {
                shard.queue_mut().remove(inside);
                if shard.host_mut().end_aside(me, inside) {
                    shard.queue_mut().wake(me);
                }
            });
            called?;
        }
        Ok(())
    }

    /// Runs a hook in the middle of a park. It must not wait: meanwhile every override is the original.
    /// What it raises is raised in the main fiber.
    fn aside(&self, me: Name, hook: impl FnOnce() -> Result<Value, Error>) -> Result<(), Error> {
        if self.interrupted.replace(true) {
            return Ok(());
        }
        let called = hook();
        self.interrupted.set(false);
        called.map_or_else(
            |error| self.raise_in_main_at_its_turn(error).or_else(|kill| self.interrupt(kill, me)),
            |_| Ok(()),
        )
    }

    #[cold]
    fn trace_park(&self, me: Name, event: &'static str) -> Result<(), Error> {
        self.trace_woken();
        let (fiber, value) = self.seen(me);
        self.aside(me, || {
            let ruby = ruby();
            let event_name = ruby.to_symbol(event).as_value();
            match event {
                "block" => self.tell(&[event_name, fiber, caller(&ruby)?]),
                "unblock" => self.tell(&[event_name, fiber, value, caller(&ruby)?]),
                _ => self.tell(&[event_name, fiber]),
            }
        })
    }

    /// Tells the tracer of something that Ruby code did. What it raises is raised in the main fiber.
    #[cold]
    pub(crate) fn trace(&self, event: &'static str, arguments: &[Value]) {
        self.trace_woken();
        self.trace_now(event, arguments);
    }

    /// Tells of those who were made ready where no Ruby could be called: by a completion, a timer, another
    /// thread, a push into a queue.
    #[cold]
    pub(crate) fn trace_woken(&self) {
        if self.interrupted.get() {
            return; // a hook runs: they are told when it has returned
        }
        while let Some((name, first)) = self.with_open(None, |shard| shard.host_mut().next_woken()) {
            let (fiber, value) = self.seen(name);
            if fiber.is_nil() {
                continue; // it has ended since
            }
            let ruby = ruby();
            let first = if first { ruby.qtrue().as_value() } else { ruby.qfalse().as_value() };
            self.trace_now("schedule", &[fiber, value, first]);
        }
    }

    /// A fiber, and what was scheduled for it.
    fn seen(&self, name: Name) -> (Value, Value) {
        let (fiber, value) = self.with_open((NIL, NIL), |shard| {
            let record = shard.host_mut().record(name);
            record.map_or((NIL, NIL), |record| {
                (record.fiber, record.scheduled.map_or(NIL, |scheduled| scheduled.value))
            })
        });
        // SAFETY: the record's own values, which stand on this stack from now on.
        unsafe { (Value::from_raw(fiber), Value::from_raw(value)) }
    }

    fn trace_now(&self, event: &'static str, arguments: &[Value]) {
        if self.interrupted.replace(true) {
            return;
        }
        let ruby = ruby();
        let told = match event {
            "terminate" => self.tell(&[&[ruby.to_symbol(event).as_value()], arguments].concat()),
            _ => caller(&ruby).and_then(|caller| {
                self.tell(&[&[ruby.to_symbol(event).as_value()], arguments, &[caller]].concat())
            }),
        };
        self.interrupted.set(false);
        // A kill, which cannot be raised elsewhere, comes again at the next wait.
        told.or_else(|error| self.raise_in_main_at_its_turn(error).map(|()| ruby.qnil().as_value())).ok();
    }

    fn tell(&self, event: &[Value]) -> Result<Value, Error> {
        // What the tracer itself makes ready it need not hear of.
        self.with_open((), |shard| shard.host_mut().hush(true));
        let told = call(self.tracer.get(), event);
        self.with_open((), |shard| shard.host_mut().hush(false));
        told
    }

    #[inline]
    pub(crate) fn is_traced(&self) -> bool {
        self.tracer.get() != NIL
    }

    pub(crate) fn set_tracer(&self, tracer: Value) {
        self.tracer.set(tracer.as_raw());
        self.with_open((), |shard| shard.host_mut().listen(!tracer.is_nil()));
    }

    pub(crate) fn set_idler(&self, idler: Value) {
        self.idler.set(idler.as_raw());
    }

    /// `snooze`: to the tail of the queue.
    pub(crate) fn snooze(&self) -> Result<Value, Error> {
        let me = self.me();
        if self.is_traced() {
            let ruby = ruby();
            let (nil, no) = (ruby.qnil().as_value(), ruby.qfalse().as_value());
            self.trace("schedule", &[ruby.fiber_current().as_value(), nil, no]);
        }
        self.with(|shard| {
            shard.host_mut().bring_kept(me.name);
            shard.yielded(me.name);
        });
        let rested = self.rest(me.name);
        self.done(me);
        value_of(rested)
    }

    /// `suspend`: until somebody schedules the fiber. In the main fiber also until nothing can happen.
    ///
    /// Nothing else ends it, whatever else wakes the fiber.
    pub(crate) fn suspend(&self, may_idle: bool) -> Result<Value, Error> {
        let me = self.me();
        let may_idle = may_idle && me.name == Name::MAIN;
        self.bring_kept(me.name);
        self.with(|shard| {
            shard.host_mut().record(me.name).expect("a fiber that parks has a record").may_idle = may_idle;
        });
        let rested = loop {
            match self.rest(me.name) {
                Ok(None) if !(may_idle && self.has_idled(me.name)) => {}
                rested => break rested,
            }
        };
        self.with(|shard| shard.host_mut().record(me.name).map(|record| record.may_idle = false));
        self.done(me);
        value_of(rested)
    }

    fn has_idled(&self, me: Name) -> bool {
        self.with(|shard| shard.host_mut().record(me).is_none_or(|record| !record.may_idle))
    }

    /// `sleep`: until the deadline, or earlier if somebody schedules the fiber.
    pub(crate) fn sleep(&self, span: Duration) -> Result<Value, Error> {
        let me = self.me();
        self.bring_kept(me.name);
        let timer = self.arm(me.name, self.deadline(span));
        let rested = loop {
            match self.rest(me.name) {
                Ok(None) if self.with(|shard| shard.host_mut().record(me.name)?.alarm).is_some() => {}
                rested => break rested,
            }
        };
        self.forget_alarm(me.name, timer);
        self.done(me);
        value_of(rested)
    }

    /// Lets the next park return what was scheduled while the fiber waited for something else.
    #[inline]
    fn bring_kept(&self, me: Name) {
        self.with(|shard| {
            if shard.host_mut().bring_kept(me) {
                shard.queue_mut().wake(me);
            }
        });
    }

    /// Lets the next park raise a timeout that something else was raised before.
    #[inline]
    fn bring_late(&self, me: Name) {
        self.with(|shard| {
            if shard.host_mut().bring_late(me) {
                shard.ready(me);
            }
        });
    }

    /// The moment in so much time.
    pub(crate) fn deadline(&self, span: Duration) -> Time {
        self.with(|shard| shard.now() + span)
    }

    /// Ends what [`arm`](Self::arm) began.
    fn forget_alarm(&self, me: Name, timer: TimerKey) {
        self.with(|shard| {
            shard.disarm(timer);
            if let Some(record) = shard.host_mut().record(me) {
                record.alarm = None;
            }
        });
    }

    /// Arms the timer that ends a wait of this fiber: it has gone off once the record's alarm is gone.
    fn arm(&self, me: Name, deadline: Time) -> TimerKey {
        self.with(|shard| {
            let timer = shard.at(deadline, me);
            shard.host_mut().record(me).expect("a fiber that parks has a record").alarm = Some(timer);
            timer
        })
    }

    /// `block` of the scheduler interface: until `unblock`, or the time is up.
    ///
    /// An `unblock` that came first is not lost, but one that came too late for an earlier `block` must not
    /// end this one. So one that came while the fiber was not blocked counts only if it names the same
    /// blocker; where Ruby itself names another (`Thread#join`, `ConditionVariable#wait`), `loose` says so.
    pub(crate) fn block(&self, blocker: Value, loose: bool, limit: Option<Duration>) -> Result<bool, Error> {
        let me = self.me();
        self.with(|shard| {
            let record = shard.host_mut().record(me.name).expect("a fiber that parks has a record");
            record.unblocked = record.unblocked.filter(|&early| loose || early == blocker.as_raw());
        });
        let timer = limit.map(|span| self.arm(me.name, self.deadline(span)));
        let enough = |record: &roots::Record| {
            record.unblocked.is_some() || (timer.is_some() && record.alarm.is_none())
        };
        let early = self.with(|shard| shard.host_mut().record(me.name).is_none_or(|record| enough(record)));
        let held = if early { Ok(()) } else { self.hold(me.name, enough) };
        let unblocked = self.with(|shard| {
            timer.map(|timer| shard.disarm(timer));
            let record = shard.host_mut().record(me.name)?;
            record.alarm = None;
            record.unblocked.take()
        });
        self.done(me);
        held.map(|()| unblocked.is_some())
    }

    /// Begins a wait in a line.
    #[inline]
    pub(crate) fn begin_waiting(&self) -> (Me, Place) {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let ticket = LAST.fetch_add(1, Ordering::Relaxed) + 1;
        let me = self.me();
        self.with(|shard| {
            shard.host_mut().record(me.name).expect("a fiber that waits has a record").ticket = ticket;
        });
        (me, Place { scheduler: self.id, name: me.name, ticket })
    }

    /// Waits in a line to be called, or for the deadline. Others run meanwhile, also where the call came first.
    pub(crate) fn wait_for_call(&self, me: Me, deadline: Option<Time>) -> Result<(), Error> {
        let timer = deadline.map(|deadline| self.arm(me.name, deadline));
        let enough = |record: &roots::Record| record.called || (timer.is_some() && record.alarm.is_none());
        let held = self.hold(me.name, enough);
        if let Some(timer) = timer {
            self.forget_alarm(me.name, timer);
        }
        held
    }

    /// Ends a wait in a line: whoever calls now finds nobody.
    #[inline]
    pub(crate) fn end_waiting(&self, me: Me) {
        self.with(|shard| {
            if let Some(record) = shard.host_mut().record(me.name) {
                (record.ticket, record.called) = (0, false);
            }
        });
        self.done(me);
    }

    /// Wakes a fiber of this thread from its wait in a line; false where that wait is over.
    #[inline]
    pub(crate) fn call_local(&self, name: Name, ticket: u64) -> bool {
        self.with(|shard| {
            let called = shard.host_mut().call(name, ticket);
            if called {
                wake(shard, name);
            }
            called
        })
    }

    /// [`call_local`](Self::call_local) from whichever thread has the GVL.
    pub(crate) fn call(&self, name: Name, ticket: u64) -> bool {
        if self.is_local() {
            return self.call_local(name, ticket);
        }
        self.with_open(false, |shard| {
            let called = shard.host_mut().call(name, ticket);
            if called {
                shard.inbox().push(name);
            }
            called
        })
    }

    /// Whether the fiber is in that wait still.
    pub(crate) fn awaits(&self, name: Name, ticket: u64) -> bool {
        self.with_open(false, |shard| {
            shard.host_mut().record(name).is_some_and(|record| record.ticket == ticket)
        })
    }

    /// Parks, at least once, until `enough` holds of the fiber's record; an exception ends it.
    ///
    /// Such a wait has a result of its own, so a value that is scheduled meanwhile neither ends it nor is
    /// lost: it is kept for the next wait that returns what it was woken with.
    #[inline]
    fn hold(&self, me: Name, enough: impl Fn(&roots::Record) -> bool) -> Result<(), Error> {
        loop {
            self.park(me)?;
            let (scheduled, enough) = self.with(|shard| {
                shard
                    .host_mut()
                    .record(me)
                    .map_or((false, true), |record| (record.scheduled.is_some(), enough(record)))
            });
            match if scheduled { self.take(me) } else { None } {
                Some(Woken::Error(error)) => return Err(error),
                Some(Woken::Value(value)) => self.keep(me, value),
                None => {}
            }
            if enough {
                return Ok(());
            }
        }
    }

    /// Keeps a value that came while the calling fiber waited for something that has a result of its own.
    pub(crate) fn keep_for_later(&self, value: Value) {
        self.keep(self.running.get(), value);
    }

    /// Keeps a value for the next `suspend`, `snooze` or `sleep`.
    #[cold]
    fn keep(&self, me: Name, value: Value) {
        self.with(|shard| shard.host_mut().record(me).map(|record| record.kept = Some(value.as_raw())));
    }

    /// Performs an operation: parks until its last completion, whatever happens meanwhile.
    ///
    /// What somebody schedules cancels the operation and is handed over with its outcome. A later
    /// exception replaces an earlier one and takes it as its cause; none ends the wait.
    pub(crate) fn perform(&self, op: Op, keep: impl FnOnce(&Roots) -> Keep) -> Performed {
        self.perform_until(op, keep, None)
    }

    /// [`perform`](Self::perform) with a limit: at the deadline the operation is cancelled.
    pub(crate) fn perform_until(
        &self,
        op: Op,
        keep: impl FnOnce(&Roots) -> Keep,
        limit: Option<Duration>,
    ) -> Performed {
        let me = self.me();
        let key = self.with(|shard| {
            let keep = keep(shard.host());
            shard.submit(me.name, op, keep)
        });
        let timer = limit.map(|span| self.arm(me.name, self.deadline(span)));
        let mut woken = None;
        let outcome = loop {
            let parked = self.park(me.name);
            if matches!(woken, Some(Woken::Error(_))) {
                self.with(|shard| shard.host_mut().put_off(me.name));
            }
            let rested = parked.map_or_else(|error| Some(Woken::Error(error)), |()| self.take(me.name));
            woken = later(woken, rested);
            let outcome = self.with(|shard| {
                let record = shard.host_mut().record(me.name).expect("a parked fiber has a record");
                let late = timer.is_some() && record.alarm.is_none();
                let outcome = record.outcomes.pop();
                if outcome.is_none() && (woken.is_some() || late) {
                    shard.cancel(key);
                }
                outcome
            });
            if let Some(outcome) = outcome {
                break outcome;
            }
        };
        if let Some(timer) = timer {
            self.forget_alarm(me.name, timer);
        }
        self.bring_late(me.name);
        self.done(me);
        Performed { outcome, woken }
    }

    /// Performs operations that wait for the same thing until one of them has ended or the time is up, then
    /// cancels the others and waits for their ends: whether one ended by itself, and what was scheduled.
    pub(crate) fn perform_any(&self, ops: &[Op], limit: Option<Duration>) -> (bool, Option<Woken>) {
        let me = self.me();
        let keys: Vec<_> =
            self.with(|shard| ops.iter().map(|op| shard.submit(me.name, *op, Keep::Nothing)).collect());
        let timer = limit.map(|span| self.arm(me.name, self.deadline(span)));
        let (mut woken, mut left, mut ended, mut over) = (None, keys.len(), false, false);
        loop {
            let rested = self.rest(me.name).unwrap_or_else(|error| Some(Woken::Error(error)));
            woken = later(woken, rested);
            self.with(|shard| {
                let record = shard.host_mut().record(me.name).expect("a parked fiber has a record");
                let late = timer.is_some() && record.alarm.is_none();
                while let Some(outcome) = record.outcomes.pop() {
                    left -= 1;
                    ended |= !outcome.is_cancelled();
                }
                if !over && (ended || late || woken.is_some()) {
                    over = true;
                    keys.iter().for_each(|key| shard.cancel(*key));
                }
            });
            if over && left == 0 {
                break;
            }
        }
        if let Some(timer) = timer {
            self.forget_alarm(me.name, timer);
        }
        self.done(me);
        (ended, woken)
    }

    /// Waits for the turn to write to a descriptor; whoever gets it ends it.
    pub(crate) fn begin_writing(&self, fd: i32) -> Result<(), Error> {
        while !self.turns.borrow_mut().begin(fd) {
            let me = self.me();
            self.turns.borrow_mut().wait(fd, me.name);
            let rested = self.hold(me.name, |_| true);
            self.turns.borrow_mut().leave(fd, me.name);
            self.done(me);
            if let Err(error) = rested {
                self.wake(self.turns.borrow_mut().next(fd));
                return Err(error);
            }
        }
        Ok(())
    }

    /// Ends the turn, also of a fiber that nobody will hear of again: its descriptor is closed.
    pub(crate) fn end_writing(&self, fd: i32) {
        self.wake(self.turns.borrow_mut().end(fd));
    }

    /// How large the next piece from a descriptor may be, where it is large.
    pub(crate) fn expected_piece(&self, fd: i32) -> Option<u32> {
        self.flow.borrow().expected(fd)
    }

    /// A piece came from a descriptor, of which so much was asked.
    pub(crate) fn brought(&self, fd: i32, asked: u32, len: u32) {
        self.flow.borrow_mut().brought(fd, asked, len);
    }

    fn wake(&self, fiber: Option<Name>) {
        let Some(fiber) = fiber else { return };
        self.with(|shard| wake(shard, fiber));
    }

    /// Gives a fiber a name, for as long as it lives.
    pub(crate) fn adopt(&self, fiber: Value, this: VALUE) -> Name {
        let name = self.with(|shard| shard.host_mut().adopt(fiber.as_raw()));
        set_name(fiber, name, this);
        if self.is_traced() {
            self.trace("spin", &[fiber]);
        }
        name
    }

    /// [`adopt`](Self::adopt) for a fiber that was not made to be spun.
    pub(crate) fn adopt_raw(&self, fiber: Value, this: VALUE) -> Name {
        let name = self.adopt(fiber, this);
        self.with(|shard| shard.host_mut().unannounced(name));
        name
    }

    /// The fiber ends: its name with it.
    pub(crate) fn leave(&self) {
        let running = self.running.get();
        // SAFETY: called with the GVL, from a fiber.
        let fiber = unsafe { rb_sys::rb_fiber_current() };
        // SAFETY: the running fiber.
        self.tell_end(running, unsafe { Value::from_raw(fiber) });
        let has_ended = self.with_open(false, |shard| {
            let ends = shard.host_mut().record(running).is_some_and(|record| record.fiber == fiber);
            if ends {
                shard.queue_mut().remove(running);
                shard.host_mut().forget(running);
                self.ended.set(self.ended.get() + 1);
            }
            ends
        });
        if has_ended {
            // Ruby keeps the stack until the fiber is collected, and does not count it.
            // SAFETY: called with the GVL; the shard is not borrowed.
            unsafe { rb_sys::rb_gc_adjust_memory_usage(STACK) };
        }
    }

    /// Tells the tracer that a fiber has ended, once: before it hears of those whom that makes ready.
    #[inline]
    pub(crate) fn tell_end(&self, name: Name, fiber: Value) {
        if !self.is_traced() || self.ending.replace(Some(name)) == Some(name) {
            return;
        }
        let result = fiber.funcall("result", ());
        self.trace("terminate", &[fiber, result.unwrap_or_else(|_| ruby().qnil().as_value())]);
    }

    /// The first thing that a spun fiber does: what was it started with?
    pub(crate) fn enter(&self) -> Result<Value, Error> {
        let running = self.running.get();
        self.with(|shard| {
            if let Some(record) = shard.host_mut().record(running) {
                record.granted = false;
            }
        });
        if self.is_traced() {
            self.trace_park(running, "unblock")?;
        }
        self.run_interjections(running)?;
        value_of(Ok(self.take(running)))
    }

    /// Puts a shield around the running fiber; with a limit, a timer that takes it away.
    pub(crate) fn shield(&self, limit: Option<Duration>) -> Option<TimerKey> {
        let me = self.running.get();
        self.with(|shard| {
            shard.host_mut().shield(me);
            let timer = shard.at(shard.now() + limit?, me);
            shard.host_mut().open_shield_at(timer);
            Some(timer)
        })
    }

    /// Takes the shield away, unless the timer has. What was held back is raised: now, or where something
    /// else is being raised already, at the fiber's next wait.
    ///
    /// A timeout must not take the place of an exception that the shield stands in the way of: it waits, too.
    pub(crate) fn unshield(
        &self,
        timer: Option<TimerKey>,
        finished: bool,
        unwinding: bool,
    ) -> Result<(), Error> {
        let me = self.running.get();
        let held = self.with_open(None, |shard| {
            if let Some(timer) = timer {
                shard.host_mut().clear_alarm(timer);
                if !shard.disarm(timer) {
                    return None;
                }
            }
            let held = shard.host_mut().unshield(me);
            let raised = held.filter(|held| finished && !(unwinding && held.timeout.is_some()));
            if let (Some(held), None) = (held, raised) {
                shard.host_mut().schedule(me, held);
                shard.ready(me);
            } else if shard.host_mut().bring_late(me) {
                shard.ready(me);
            }
            raised
        });
        let Some(held) = held else { return Ok(()) };
        // SAFETY: rooted until now; it stands on this stack.
        let exception = Exception::from_value(unsafe { Value::from_raw(held.value) });
        Err(exception.expect("shields hold back only what raises").into())
    }

    /// No shield helps the fiber any more.
    pub(crate) fn expose(&self, name: Name) {
        self.with_open((), |shard| shard.host_mut().expose(name));
    }

    /// Lets a fiber call `block` at its next turn, in the middle of what it waits for.
    pub(crate) fn interject(&self, name: Name, block: Value) -> bool {
        let local = self.is_local();
        self.with_open(false, |shard| {
            if shard.host_mut().record(name).is_none() {
                return false;
            }
            shard.host_mut().interject(name, block.as_raw());
            self.interjected.set(true);
            if local {
                wake(shard, name)
            } else {
                shard.inbox().push(name)
            }
            true
        })
    }

    /// Holds a fiber up, and lets it go on.
    pub(crate) fn detain(&self, name: Name, on: bool) {
        self.with_open((), |shard| {
            if on {
                shard.host_mut().detain(name);
            } else if shard.host_mut().release(name) {
                shard.host_mut().note_woken(name, false);
                shard.ready(name);
            }
        });
    }

    pub(crate) fn is_detained(&self, name: Name) -> bool {
        self.with_open(false, |shard| shard.host_mut().is_detained(name))
    }

    /// Takes a fiber out of the run queue, with what was scheduled for it.
    pub(crate) fn unschedule(&self, name: Name) {
        self.with_open((), |shard| {
            shard.queue_mut().remove(name);
            shard.host_mut().record(name).map(|record| record.scheduled.take());
        });
    }

    /// Ends the wait of a thread that is blocked in the kernel. Any thread.
    pub(crate) fn wake_up(&self) {
        self.waker.borrow().iter().for_each(Waker::wake);
    }

    /// Schedules a fiber of this scheduler, from whichever thread has the GVL.
    pub(crate) fn schedule(&self, name: Name, value: Value, first: bool) -> bool {
        let scheduled = Scheduled::new(value.as_raw(), roots::is_exception(value));
        // A signal that ended a child is heard by a shielded parent as one that came to itself.
        let is_signal = scheduled.raises && value.is_kind_of(ruby().exception_signal());
        let depth = if is_signal { roots::THROUGH } else { 0 };
        let local = self.is_local();
        self.with_open(false, |shard| {
            if shard.host_mut().record(name).is_none() {
                return false;
            }
            let Some(name) = shard.host_mut().deliver(name, scheduled, depth) else {
                return true; // an exception stands there, which is stronger; or there is a shield
            };
            match (local, first) {
                (false, _) => shard.inbox().push(name),
                (true, true) => shard.ready_first(name),
                (true, false) if scheduled.raises && shard.queue().contains(name) => shard.ready_first(name),
                (true, false) => shard.ready(name),
            }
            true
        })
    }

    /// Ends a `block`; false where the fiber has no name now. Any thread; never raises.
    pub(crate) fn unblock(&self, blocker: Value, name: Name) -> bool {
        let local = self.is_local();
        self.with_open(false, |shard| {
            let name = shard.host_mut().innermost(name);
            let Some(record) = shard.host_mut().record(name) else { return false };
            record.unblocked = Some(blocker.as_raw());
            if local {
                wake(shard, name)
            } else {
                shard.inbox().push(name)
            }
            true
        })
    }

    /// Schedules a value into the calling fiber at a deadline; the fiber need not be parked.
    pub(crate) fn alarm(&self, name: Name, span: Duration, value: Value) -> TimerKey {
        // SAFETY: called with the GVL, from a fiber.
        let fiber = unsafe { rb_sys::rb_fiber_current() };
        let (timer, foreign) = self.with(|shard| {
            let timer = shard.at(shard.now() + span, name);
            let depth = shard.host_mut().depth(name);
            shard.host_mut().set_alarm(timer, value.as_raw(), depth);
            (timer, shard.host_mut().record(name).is_some_and(|record| record.fiber != fiber))
        });
        if foreign {
            // SAFETY: a live exception and the running fiber; the variable is invisible to Ruby code.
            unsafe { rb_sys::rb_ivar_set(value.as_raw(), owner_id(), fiber) };
        }
        timer
    }

    /// Forgets a timer. One that went off already may have scheduled its marker into the running fiber,
    /// which has not been raised yet: then that is taken back.
    pub(crate) fn disarm(&self, timer: TimerKey, marker: Option<Value>) -> bool {
        let running = self.running.get();
        self.with_open(false, |shard| {
            shard.host_mut().clear_alarm(timer);
            if shard.disarm(timer) {
                return true;
            }
            if marker.is_some_and(|marker| shard.host_mut().take_back(running, marker.as_raw())) {
                shard.queue_mut().remove(running);
            }
            false
        })
    }

    /// What was left for the calling fiber, which nobody spun, means a timeout that is over.
    pub(crate) fn forget_early(&self, marker: Value) {
        let fiber = ruby().fiber_current().as_value();
        if let Some(left) = Early::taken(fiber, SCHEDULED)
            && left.as_raw() != marker.as_raw()
        {
            schedule_early(fiber, left);
        }
    }

    /// Runs another fiber at once, and the calling one right after it.
    pub(crate) fn yield_to(&self, other: Name) -> Result<Value, Error> {
        let me = self.me();
        self.with(|shard| {
            shard.ready_first(other);
            shard.ready_first(me.name);
        });
        let rested = self.rest(me.name);
        self.done(me);
        value_of(rested)
    }

    pub(crate) fn is_queued(&self, name: Name) -> bool {
        self.with_open(false, |shard| shard.queue().contains(name))
    }

    pub(crate) fn rearm(&self, timer: TimerKey, span: Duration) -> bool {
        self.with_open(false, |shard| {
            let deadline = shard.now() + span;
            shard.rearm(timer, deadline)
        })
    }

    /// How many operations wait on a descriptor.
    pub(crate) fn in_flight_on(&self, fd: i32) -> usize {
        self.with(|shard| shard.in_flight_on(fd))
    }

    /// The fibers that wait on a descriptor.
    pub(crate) fn waiting_on(&self, fd: i32) -> Vec<Name> {
        self.with(|shard| shard.waiting_on(fd).collect())
    }

    #[inline]
    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// Whether the calling thread is the scheduler's own.
    pub(crate) fn is_local(&self) -> bool {
        // SAFETY: called with the GVL.
        self.thread == unsafe { rb_sys::rb_thread_current() }
    }

    /// Recycles a buffer after its bytes have been copied by `copy`, which may call Ruby.
    pub(crate) fn consume<R>(&self, outcome: Outcome, copy: impl FnOnce(&[u8]) -> R) -> Option<R> {
        let id = outcome.buffer?;
        let len = usize::try_from(outcome.result).unwrap_or(0);
        // The borrow ends before `copy` runs, for that may call Ruby. The bytes stay: the buffer is ours
        // until it is recycled.
        let (start, len) = self.with(|shard| {
            let bytes = shard.buffer(id, len);
            (bytes.as_ptr(), bytes.len())
        });
        // SAFETY: as said; the backend's memory moves only if the shard is replaced, which a fork does,
        // and no fork happens in `copy`.
        let copied = copy(unsafe { std::slice::from_raw_parts(start, len) });
        self.with(|shard| shard.recycle(id));
        Some(copied)
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
        self.interrupted.set(false);
        self.turns.take();
        self.told.take();
        // SAFETY: the fiber is the running one.
        let this = unsafe { rb_sys::rb_ivar_get(self.thread, scheduler_id()) };
        // SAFETY: as above.
        set_name(unsafe { Value::from_raw(main) }, Name::MAIN, this);
    }
}

/// Passes a kill on that leaves a main fiber, when its children have ended. Ruby before 3.3 tells a fiber
/// scheduler of a thread's end only where the thread's block returns.
///
/// What is being raised while it ends them is Ruby's to keep: so it is `rb_ensure` that does.
#[cold]
fn end_children(kill: Tag) -> Result<(), Error> {
    unsafe extern "C" fn go_on(tag: VALUE) -> VALUE {
        // SAFETY: the tag that a protected call has just ended with; below are only C frames and `rb_ensure`.
        unsafe { rb_sys::rb_jump_tag(tag as i32) }
    }
    unsafe extern "C" fn end(_: VALUE) -> VALUE {
        let main = ruby().fiber_current().as_value();
        let ended: Result<Option<Value>, Error> = main.check_funcall("shutdown_all_children", ()).transpose();
        drop(ended); // what a clean-up raises does not stop a kill
        NIL
    }
    protect(|| {
        // SAFETY: under protect; neither function leaves anything to drop when `go_on` jumps.
        unsafe { rb_sys::rb_ensure(Some(go_on), kill as VALUE, Some(end), NIL) }
    })
    .map(drop)
}

/// Makes a fiber ready where it is not.
#[inline]
fn wake(shard: &mut RubyShard, fiber: Name) {
    if shard.queue().contains(fiber) {
        return;
    }
    shard.host_mut().note_woken(fiber, false);
    shard.queue_mut().push(fiber);
}

/// Calls a Ruby block.
fn call(block: VALUE, arguments: &[Value]) -> Result<Value, Error> {
    // SAFETY: a hook or an interjection, which is kept alive by who holds it, or by this stack.
    unsafe { Value::from_raw(block) }.funcall("call", arguments)
}

/// Where the user's code is, as `Kernel#caller` says.
fn caller(ruby: &Ruby) -> Result<Value, Error> {
    let polyphony: magnus::RModule = ruby.class_object().const_get("Polyphony")?;
    polyphony.funcall("caller_lines", ())
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

/// The fiber that parks; `base` is the fiber that resumed it, where nobody spun it.
#[derive(Clone, Copy)]
pub(crate) struct Me {
    name: Name,
    base: Option<Name>,
}

/// Tells a spun fiber that Ruby would not start it, which ends it. False where it has started already.
fn refuse(fiber: Value, error: Error) -> bool {
    let told = errors::exception(&ruby(), error).and_then(|error| fiber.funcall("__refused__", (error,)));
    told.unwrap_or(false)
}

/// The last scheduled thing wins, but an exception yields to an exception only, which remembers it.
fn later(earlier: Option<Woken>, now: Option<Woken>) -> Option<Woken> {
    match (earlier, now) {
        (Some(Woken::Error(first)), Some(Woken::Error(second))) => {
            errors::set_cause(&second, &first);
            Some(Woken::Error(second))
        }
        (Some(Woken::Error(first)), _) => Some(Woken::Error(first)),
        (earlier, now) => now.or(earlier),
    }
}

fn value_of(rested: Result<Option<Woken>, Error>) -> Result<Value, Error> {
    match rested? {
        Some(woken) => woken.deliver(),
        None => Ok(ruby().qnil().as_value()),
    }
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

/// What the stack of a fiber that has ended weighs: two pages, at least. Were it not counted, tens of thousands
/// of them would be kept by a program that makes little else, and then Ruby cannot start another; after that
/// its own count of blocking fibers is wrong, for good.
const STACK: i64 = 8 * 1024;

/// Changes when a scheduler is made, ended or freed: what was cached before says nothing any more.
static EPOCH: AtomicU32 = AtomicU32::new(1);

/// Every scheduler of the process, for what concerns them all: closing a descriptor.
static ALL: Mutex<Vec<Known>> = Mutex::new(Vec::new());

#[derive(Clone, Copy)]
struct Known {
    scheduler: *const Scheduler,
    ractor: ractor::Name,
}

// SAFETY: followed in its own Ractor only, under the GVL, and taken off the list before the scheduler is freed.
unsafe impl Send for Known {}

/// The schedulers of the calling Ractor that are not closed.
pub(crate) fn all() -> Vec<&'static Scheduler> {
    let here = ractor::current();
    let known = ALL.lock().unwrap_or_else(PoisonError::into_inner);
    let schedulers = known.iter().filter(|known| Some(known.ractor) == here);
    // SAFETY: as said of `Known`: whatever is on the list has not been freed, and we have the GVL.
    let schedulers = schedulers.map(|known| unsafe { &*known.scheduler });
    schedulers
        .filter(|scheduler| !scheduler.closed.get() && scheduler.fork.get() == fork::generation())
        .collect()
}

/// The open scheduler of that number.
pub(crate) fn find(id: u32) -> Option<&'static Scheduler> {
    all().into_iter().find(|scheduler| scheduler.id == id)
}

fn unregister(scheduler: &Scheduler) {
    let this = std::ptr::from_ref(scheduler);
    ALL.lock().unwrap_or_else(PoisonError::into_inner).retain(|known| known.scheduler != this);
}

#[derive(Clone, Copy)]
struct Cached {
    thread: VALUE,
    scheduler: *const Scheduler,
    epoch: u32,
}

thread_local! {
    // Only a cache: which thread calls is asked of Ruby, each time.
    static CACHED: Cell<Cached> =
        const { Cell::new(Cached { thread: 0, scheduler: std::ptr::null(), epoch: 0 }) };
}

#[inline(never)]
fn cached() -> Cached {
    CACHED.get()
}

/// What was known before it changed says nothing about which schedulers there are.
pub(crate) fn epoch() -> u32 {
    EPOCH.load(Ordering::Relaxed)
}

fn forget_cached() {
    EPOCH.fetch_add(1, Ordering::Relaxed);
}

#[cold]
fn look_up(thread: VALUE) -> *const Scheduler {
    // SAFETY: the thread is the calling one.
    let object = unsafe { Value::from_raw(rb_sys::rb_ivar_get(thread, scheduler_id())) };
    let scheduler = match Obj::<Scheduler>::try_convert(object) {
        Ok(object) if !object.is_nil() => std::ptr::from_ref(&*object),
        _ => std::ptr::null(),
    };
    CACHED.set(Cached { thread, scheduler, epoch: EPOCH.load(Ordering::Relaxed) });
    scheduler
}

/// A variable's name that Ruby code cannot write.
pub(crate) fn hidden_id(name: &'static str) -> rb_sys::ID {
    // SAFETY: the pointer and the length are those of a static string.
    unsafe { rb_sys::rb_intern2(name.as_ptr().cast(), name.len() as _) }
}

/// The variable of a Thread, and of a Fiber, that holds its scheduler.
pub(crate) fn scheduler_id() -> rb_sys::ID {
    static ID: std::sync::OnceLock<rb_sys::ID> = std::sync::OnceLock::new();
    *ID.get_or_init(|| hidden_id("__polyphony_scheduler__"))
}

/// The variable of a timeout's marker that holds the fiber which nobody spun and which it is for.
fn owner_id() -> rb_sys::ID {
    static ID: std::sync::OnceLock<rb_sys::ID> = std::sync::OnceLock::new();
    *ID.get_or_init(|| hidden_id("__polyphony_owner__"))
}

/// The variable of a Fiber that holds its name.
fn name_id() -> rb_sys::ID {
    static ID: std::sync::OnceLock<rb_sys::ID> = std::sync::OnceLock::new();
    *ID.get_or_init(|| hidden_id("__polyphony_name__"))
}

fn set_name(fiber: Value, name: Name, scheduler: VALUE) {
    let number = ruby().integer_from_u64(name.number());
    // SAFETY: a live fiber, a Fixnum and a live scheduler; the variables are invisible to Ruby code.
    unsafe {
        rb_sys::rb_ivar_set(fiber.as_raw(), name_id(), number.as_raw());
        rb_sys::rb_ivar_set(fiber.as_raw(), scheduler_id(), scheduler);
    }
}

/// What came for a fiber that nobody spun while it was not parked, and so had no name.
///
/// It is about to park: it made itself known as one that waits, and another thread was quicker. What came
/// stands in variables of the Fiber until then.
#[derive(Default)]
struct Early {
    scheduled: Option<Scheduled>,
    unblocked: Option<VALUE>,
}

const SCHEDULED: &str = "__polyphony_scheduled__";

impl Early {
    fn take(fiber: Value) -> Early {
        let scheduled = Self::taken(fiber, SCHEDULED)
            .map(|value| Scheduled::new(value.as_raw(), roots::is_exception(value)));
        Early {
            scheduled,
            unblocked: Self::taken(fiber, "__polyphony_unblocked__").map(|value| value.as_raw()),
        }
    }

    /// An Array with what came, so that nil may come too.
    fn taken(fiber: Value, variable: &'static str) -> Option<Value> {
        let (fiber, variable) = (fiber.as_raw(), hidden_id(variable));
        // SAFETY: a live fiber; a variable that is not set reads as nil.
        let left = unsafe { Value::from_raw(rb_sys::rb_ivar_get(fiber, variable)) };
        let value = magnus::RArray::from_value(left)?.entry(0).ok()?;
        // SAFETY: a live fiber.
        unsafe { rb_sys::rb_ivar_set(fiber, variable, NIL) };
        Some(value)
    }

    fn leave(fiber: Value, variable: &'static str, value: Value) {
        let left = ruby().ary_new_from_values(&[value]);
        // SAFETY: a live fiber and a live array.
        unsafe { rb_sys::rb_ivar_set(fiber.as_raw(), hidden_id(variable), left.as_raw()) };
    }
}

/// Leaves what is scheduled for a fiber that has no name now.
pub(crate) fn schedule_early(fiber: Value, value: Value) {
    Early::leave(fiber, SCHEDULED, value);
}

/// Leaves what unblocks a fiber that has no name now.
pub(crate) fn unblock_early(fiber: Value, blocker: Value) {
    Early::leave(fiber, "__polyphony_unblocked__", blocker);
}

/// The name that a fiber was given when it was spun, or parked last; stale once it has ended, or goes on.
pub(crate) fn name_of(fiber: Value) -> Option<Name> {
    // SAFETY: a live object; a variable that is not set reads as nil.
    let number = unsafe { Value::from_raw(rb_sys::rb_ivar_get(fiber.as_raw(), name_id())) };
    magnus::Integer::from_value(number)?.to_u64().ok().map(Name::from_number)
}
