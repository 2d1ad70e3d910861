//! Giving the thread away: to the next fiber, or to the kernel.
//!
//! Whichever fiber parks asks the shard what next and transfers there itself; there is no loop fiber.

use std::time::Duration;

use magnus::{
    Error, Value,
    error::{ErrorType, Tag},
    prelude::*,
    rb_sys::{AsRawValue, FromRawValue, protect},
};
use polyphony_core::{
    backend::{Wait, Waker, any::AnyWait},
    run_queue::RunQueue,
    shard::Next,
    time::Time,
};
use rb_sys::VALUE;

use super::{RubyShard, Scheduler, report, ruby, variables::name_of};
use crate::{
    blocking, errors, fork, gvl,
    roots::{NIL, Name, Scheduled},
};

/// What a fiber does after a step of its park.
enum Step {
    Granted,
    /// To a fiber, with what it is begun with where it cannot ask.
    Transfer(VALUE, Option<VALUE>, Name),
    Wait(AnyWait),
    Again,
    Idle,
}

/// How long a process may do nothing, with nothing in flight, before it is asked whether anything ever will.
const PATIENCE: Duration = Duration::from_millis(100);

/// How many fibers get their turns before another thread may, where one is waited for.
const PARKS_A_PASS: u32 = 64;

/// When the process was last asked whether it can go on.
#[derive(Clone, Copy)]
pub(super) struct Asked {
    /// How many switches there had been.
    switches: u64,
    /// How long to wait before it is asked again, where a thread that runs no fibers could go on then: of its end nobody
    /// tells.
    again: Option<Duration>,
}

impl Scheduler {
    /// Lets others run until this fiber is granted. An error is an interrupt that this fiber must raise.
    pub(super) fn park(&self, me: Name) -> Result<(), Error> {
        if self.sent.get().is_some() {
            self.hear_of_sent()?;
        }
        if report::is_watching() {
            self.look_at_stretch();
        }
        if self.is_traced() {
            self.trace_park(me, "block")?;
        }
        if self.idler.get() != NIL && self.with(|shard| shard.queue().is_empty()) {
            self.aside(me, || call(self.idler.get(), &[]))?;
        }
        self.park_untraced(me)?;
        if report::is_watching() {
            self.began.set(Time::monotonic());
        }
        if self.is_traced() {
            self.trace_park(me, "unblock")?;
        }
        if self.interjected.get() { self.run_interjections(me) } else { Ok(()) }
    }

    #[inline]
    pub(super) fn park_untraced(&self, me: Name) -> Result<(), Error> {
        loop {
            if self.signalled.get() {
                self.begin_handlers(me)?;
            }
            if self.elsewhere.get() > 0 {
                self.pass_now_and_then(me)?;
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
    pub(super) fn transfer(
        &self,
        fiber: VALUE,
        first: Option<VALUE>,
        name: Name,
        me: Name,
    ) -> Result<(), Error> {
        if self.is_full() && self.refuses(fiber, name, me)? {
            return Ok(());
        }
        if !self.raising.borrow().is_empty() && self.goes_on_raising(name) {
            self.with(|shard| {
                let scheduled = shard.host_mut().record(name).is_some_and(|record| {
                    record.granted = false;
                    record.scheduled.is_some()
                });
                if scheduled {
                    shard.ready(name);
                }
            });
        }
        self.running.set(name);
        // SAFETY: under protect; nothing whose drop matters is alive in this frame or its callers.
        let switched = protect(|| unsafe {
            let first = first.as_slice();
            rb_sys::rb_fiber_transfer(fiber, first.len() as i32, first.as_ptr())
        });
        let Err(error) = switched else {
            if self.running.get() != me {
                self.forget_ended();
            }
            return Ok(());
        };
        let refused = self.with(|shard| {
            let record = shard.host_mut().record(name);
            record.is_some_and(|record| std::mem::take(&mut record.granted))
        });
        if !refused {
            self.bury()?;
            return self.told(error, me);
        }
        // The fiber has ended, or somebody resumed it behind our back, or Ruby has no stack for it.
        // SAFETY: the record kept the fiber alive.
        let (alive, fiber) =
            unsafe { (rb_sys::rb_fiber_alive_p(fiber) == rb_sys::Qtrue as VALUE, Value::from_raw(fiber)) };
        blocking::mend().or_else(|heard| self.interrupt(heard, me))?;
        if alive && self.frees_stacks() {
            self.with(|shard| shard.ready_first(name));
            return Ok(());
        }
        if alive {
            if self.tell_refused(fiber, Some(error), me)? {
                self.full.set(Some(collections()));
                self.with(|shard| shard.host_mut().forget(name));
            }
            return Ok(());
        }
        // That it was dead before is what a FiberError says. Anything else was raised in it before its first
        // word, as an interrupt may be.
        let dead: magnus::ExceptionClass = ruby().class_object().const_get("FiberError")?;
        if error.is_kind_of(dead) {
            self.with(|shard| shard.host_mut().forget(name));
            return Ok(());
        }
        self.bury()?;
        self.interrupt(error, me)
    }

    /// The fiber that had the last turn may have ended with what has come to us, before its first word or behind its
    /// last: then it has told nobody.
    #[cold]
    fn bury(&self) -> Result<(), Error> {
        let last = self.running.get();
        let Some(fiber) = self.with(|shard| shard.host_mut().record(last).map(|record| record.fiber)) else {
            return Ok(());
        };
        // SAFETY: called with the GVL; the record kept the fiber alive.
        let (alive, fiber) =
            unsafe { (rb_sys::rb_fiber_alive_p(fiber) == rb_sys::Qtrue as VALUE, Value::from_raw(fiber)) };
        if alive {
            return Ok(());
        }
        self.forget_ended();
        let told: Result<Option<Value>, Error> = fiber.check_funcall("__killed__", ()).transpose();
        told.map(|_| ())
    }

    /// A fiber that does not say its last word, for its block is its own, has ended: Ruby has come back to us.
    #[cold]
    fn forget_ended(&self) {
        let running = self.running.get();
        self.with(|shard| {
            let ended = shard.host_mut().record(running).is_some_and(|record| {
                // SAFETY: called with the GVL; the record keeps the fiber alive.
                unsafe { rb_sys::rb_fiber_alive_p(record.fiber) == rb_sys::Qfalse as VALUE }
            });
            if ended {
                shard.queue_mut().remove(running);
                shard.host_mut().forget(running);
            }
        });
    }

    /// Whether Ruby has refused to start a fiber and no stack has come free since: it would refuse again, after
    /// milliseconds of trying.
    #[inline]
    fn is_full(&self) -> bool {
        let Some(refused) = self.full.get() else { return false };
        if self.frees_stacks() || refused != collections() {
            self.full.set(None);
        }
        self.full.get().is_some()
    }

    /// Ends a fiber that has not begun, in Ruby's place.
    #[cold]
    fn refuses(&self, fiber: VALUE, name: Name, me: Name) -> Result<bool, Error> {
        let fresh = self.with(|shard| shard.host_mut().record(name).is_some_and(|record| record.fresh));
        // SAFETY: the record keeps the fiber alive.
        let refused = fresh && self.tell_refused(unsafe { Value::from_raw(fiber) }, None, me)?;
        if refused {
            self.with(|shard| shard.host_mut().forget(name));
        }
        Ok(refused)
    }

    /// Tells a spun fiber that Ruby would not start it, or would not now, which ends it. False where it has started
    /// already.
    ///
    /// An interrupt that is heard meanwhile goes where it belongs; asked again, the fiber says the same.
    #[cold]
    fn tell_refused(&self, fiber: Value, error: Option<Error>, me: Name) -> Result<bool, Error> {
        let error = error.map(|error| errors::exception(&ruby(), error)).transpose();
        let told = error.and_then(|error| fiber.funcall("__refused__", (error,)));
        told.or_else(|heard| {
            self.interrupt(heard, me)?;
            fiber.funcall("__refused__", ((),))
        })
    }

    /// An error came to us after somebody transferred back. Where nobody granted us a turn it is `Fiber#raise`
    /// that did, and means us; who called it goes on.
    #[cold]
    pub(super) fn told(&self, error: Error, me: Name) -> Result<(), Error> {
        let granted = self.with(|shard| shard.host_mut().record(me).is_none_or(|record| record.granted));
        let caller = self.running.get();
        if granted || caller == me || me == Name::MAIN {
            return self.interrupt(error, me);
        }
        self.raising.borrow_mut().push(caller);
        self.with(|shard| shard.ready_first(caller));
        self.running.set(me);
        Err(error)
    }

    /// Whether the fiber is inside `Fiber#raise`, where it goes on now.
    #[cold]
    fn goes_on_raising(&self, name: Name) -> bool {
        let mut raising = self.raising.borrow_mut();
        let place = raising.iter().position(|&raises| raises == name);
        place.map(|place| raising.swap_remove(place)).is_some()
    }

    /// The name of a fiber that goes on inside `Fiber#raise` because the one that it raised in has ended: Ruby came
    /// back by itself.
    #[cold]
    pub(super) fn returned(&self, fiber: VALUE) -> Option<Name> {
        // SAFETY: the running fiber.
        let name = name_of(unsafe { Value::from_raw(fiber) })?;
        if !self.goes_on_raising(name) {
            return None;
        }
        self.forget_ended();
        self.with(|shard| {
            let record = shard.host_mut().record(name)?;
            if record.scheduled.is_none() {
                shard.queue_mut().remove(name);
            }
            Some(name)
        })
    }

    /// Has the collector free the stacks of fibers that have ended: Ruby keeps those of fibers that were
    /// transferred to until then, and does not look for them when it has no room for another. False where too
    /// few have ended: where the program still holds those that had, more have to before it is tried again.
    #[cold]
    pub(super) fn frees_stacks(&self) -> bool {
        if self.ended.get() < self.worth.get() {
            return false;
        }
        let helped = self.collected.get() != collections();
        self.worth.set(if helped { 1 } else { self.worth.get() * 2 });
        self.ended.set(0);
        // SAFETY: called with the GVL; the shard is not borrowed.
        unsafe { rb_sys::rb_gc_start() };
        self.collected.set(collections());
        true
    }

    pub(super) fn wait(&self, mut wait: AnyWait, me: Name) -> Result<(), Error> {
        let traced = self.is_traced();
        let entered = if traced { self.trace_park(me, "enter_poll") } else { Ok(()) };
        if traced && wait.may_sleep() && self.with(|shard| !shard.queue().is_empty()) {
            self.wake_up(); // the tracer scheduled somebody
        }
        let deaf = self.deaf.get() > 0;
        let put_off = if wait.may_sleep() && !deaf { self.hear_what_was_put_off() } else { Ok(()) };
        let blocked = if !wait.may_sleep() || (deaf && gvl::is_interrupted()) {
            wait.block().map(|()| true)
        } else if put_off.is_err() {
            Ok(true)
        } else {
            let waker = self.waker.borrow().clone().expect("a scheduler that waits is open");
            self.blocked.set(true);
            let blocked = gvl::block(&mut wait, &waker);
            self.blocked.set(false);
            blocked
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
        if deaf || (started && !gvl::is_interrupted()) {
            return Ok(());
        }
        let heard = self.check_interrupts();
        self.go_on_after_handlers(me);
        heard.or_else(|error| self.end_wait(error, me))
    }

    /// A trap handler may have waited on this stack, and had the turn that was for who waits here.
    fn go_on_after_handlers(&self, me: Name) {
        self.with(|shard| {
            if shard.host_mut().record(me).is_some_and(|record| !record.outcomes.is_empty()) {
                shard.ready(me);
            }
        });
    }

    pub(crate) fn check_interrupts(&self) -> Result<(), Error> {
        self.hearing(gvl::check_interrupts)
    }

    /// Waits for what takes a bounded time with a lock that a trap handler may want: no wait of the thread hears of an
    /// interrupt meanwhile.
    pub(crate) fn deafly<R>(&self, wait: impl FnOnce() -> R) -> R {
        self.deaf.set(self.deaf.get() + 1);
        let waited = wait();
        self.deaf.set(self.deaf.get().saturating_sub(1)); // a child of a fork begins with none
        waited
    }

    /// Runs what may run trap handlers: for them every override is the original.
    fn hearing(&self, hear: impl FnOnce() -> Result<(), Error>) -> Result<(), Error> {
        self.interrupted.set(true);
        let heard = hear();
        self.interrupted.set(false);
        heard
    }

    /// A fiber waits for another thread, which may want the GVL. Fibers that always have something to do would
    /// keep it until their time slice is over: a tenth of a second to begin a call, and another to end it.
    #[cold]
    fn pass_now_and_then(&self, me: Name) -> Result<(), Error> {
        let parks = self.parks.get().wrapping_add(1);
        self.parks.set(parks);
        if !parks.is_multiple_of(PARKS_A_PASS) || self.deaf.get() > 0 {
            return Ok(());
        }
        self.hearing(gvl::pass).or_else(|error| self.end_wait(error, me))
    }

    /// An interrupt ends a wait.
    pub(super) fn end_wait(&self, error: Error, me: Name) -> Result<(), Error> {
        if me != Name::MAIN {
            // Here, and not where it is raised: what a tracer raises it is not told of.
            self.with(|shard| shard.host_mut().note_woken(Name::MAIN, true));
        }
        self.interrupt(error, me)
    }

    /// Hears of exceptions that `Thread.handle_interrupt` has put off until the thread blocks, which is now:
    /// of those `is_interrupted` tells nothing. What it does tell keeps the wait from starting.
    pub(super) fn hear_what_was_put_off(&self) -> Result<(), Error> {
        if gvl::is_interrupted() { Ok(()) } else { self.check_interrupts() }
    }

    /// An exception or a kill came to the thread. The exception is the main fiber's. A kill is a tag that
    /// belongs to the stack where it was heard: it ends that fiber, and Ruby passes it on to the main one.
    pub(super) fn interrupt(&self, error: Error, me: Name) -> Result<(), Error> {
        if self.takes_sent(&error) {
            return Ok(());
        }
        if me != Name::MAIN {
            return self.raise_in_main(error);
        }
        self.running.set(me); // whoever had the turn may have ended with it
        let ErrorType::Jump(tag) = error.error_type() else { return Err(error) };
        end_children(*tag)
    }

    /// Gives the handlers of signals their fibers: here, not where Ruby ran them, for a fiber that is made in
    /// a trap handler may lock nothing as long as it lives.
    #[cold]
    pub(super) fn begin_handlers(&self, me: Name) -> Result<(), Error> {
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

    /// Raises an exception in the main fiber, before anybody else runs.
    pub(super) fn raise_in_main(&self, error: Error) -> Result<(), Error> {
        let main = self.leave_to_main(error)?;
        self.with(|shard| shard.ready_first(main));
        Ok(())
    }

    /// Raises what a hook raised in the main fiber, at its turn: a hook that always raises must not keep the
    /// others from theirs.
    pub(super) fn raise_in_main_at_its_turn(&self, error: Error) -> Result<(), Error> {
        let main = self.leave_to_main(error)?;
        self.with(|shard| shard.queue_mut().wake(main));
        Ok(())
    }

    /// Schedules an exception for the main fiber, or the fiber that it has resumed, and says which.
    pub(super) fn leave_to_main(&self, error: Error) -> Result<Name, Error> {
        let ErrorType::Exception(exception) = error.error_type() else { return Err(error) };
        let scheduled = Scheduled::new(exception.as_raw(), true);
        Ok(self.with(|shard| {
            let main = shard.host_mut().innermost(Name::MAIN);
            shard.host_mut().schedule(main, scheduled);
            main
        }))
    }

    /// Nothing can happen by itself: a main fiber in `suspend` goes on, anybody else waits for threads.
    pub(super) fn idle(&self, me: Name) -> Result<(), Error> {
        let patience = self.patience();
        let wait = self.with(|shard| {
            let main = shard.host_mut().record(Name::MAIN);
            if main.is_some_and(|main| std::mem::take(&mut main.may_idle)) {
                shard.ready(Name::MAIN);
                return None;
            }
            let limit = patience.map(|patience| shard.now() + patience);
            Some(shard.wait_for_inbox(limit))
        });
        let Some(wait) = wait else { return Ok(()) };
        self.idle.set(true);
        let began = Time::monotonic();
        let waited = self.wait(wait, me);
        self.idle.set(false);
        waited?;
        // Half of it: what wakes a thread may be a little early, but not for nothing again and again.
        if patience.is_none_or(|patience| Time::monotonic().since(began) < patience / 2) {
            return Ok(());
        }
        let Some(asked) = self.looks_for_deadlock() else { return Ok(()) };
        self.aside(me, || {
            let again = report::raise_deadlock()?;
            if again.to_bool() {
                self.asked.set(Some(asked));
            }
            Ok(again)
        })
    }

    /// How long nothing may happen before somebody asks whether anything can: nothing where nobody need ask,
    /// because the thread may go on by itself, or has asked since the last switch and been told all.
    fn patience(&self) -> Option<Duration> {
        let switches = self.with(|shard| shard.stats().switches);
        let asked = self.asked.get().filter(|asked| asked.switches == switches);
        asked.map_or(Some(PATIENCE), |asked| asked.again).filter(|_| self.needs_others())
    }

    /// Whether a thread that has nothing to do depends on others: its main fiber does not sleep, as one does that
    /// means to wait for ever, and no thread works for one of its fibers.
    fn needs_others(&self) -> bool {
        !self.asleep.get() && self.elsewhere.get() == 0
    }

    /// Since which of its turns only another thread, or a signal, can let the thread go on, where none has done anything
    /// for that yet. Any thread that has the GVL.
    pub(crate) fn stuck_since(&self) -> Option<u64> {
        let waits = self.idle.get() && self.blocked.get() && self.needs_others() && !self.signalled.get();
        waits.then(|| self.called_or_turns()).flatten()
    }

    /// How many turns there have been, where nobody is to run.
    fn called_or_turns(&self) -> Option<u64> {
        self.with_open(None, |shard| {
            let called = shard.inbox().is_filled() || !shard.queue().is_empty();
            (!called).then(|| shard.stats().turns)
        })
    }

    /// Whether somebody is to run, or will as soon as the thread looks what others have left for it.
    pub(crate) fn is_called(&self) -> bool {
        self.called_or_turns().is_none()
    }

    /// Whether nothing has happened for so long: then what is to be remembered where the answer is not the last one.
    /// Each time twice as long is waited, so a program that does nothing is hardly woken.
    fn looks_for_deadlock(&self) -> Option<Asked> {
        let (switches, ready) = self.with(|shard| (shard.stats().switches, !shard.queue().is_empty()));
        let patience = self.patience().filter(|_| !ready)?;
        self.asked.set(Some(Asked { switches, again: None }));
        Some(Asked { switches, again: Some(patience.saturating_mul(2)) })
    }

    /// Calls what others want called in the middle of this fiber's wait. It may wait, too: under a name of
    /// its own, so that what the fiber waits for cannot be mistaken for what the call waits for.
    #[inline]
    pub(super) fn run_interjections(&self, me: Name) -> Result<(), Error> {
        while let Some((block, inside, ends)) = self.with(|shard| shard.host_mut().begin_aside(me)) {
            self.running.set(inside);
            if ends {
                self.with(|shard| shard.queue_mut().wake(inside));
            }
            let called = call(block, &[]);
            self.goes_on_raising(inside); // and has, if it raised in one that has ended
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
    pub(super) fn aside(&self, me: Name, hook: impl FnOnce() -> Result<Value, Error>) -> Result<(), Error> {
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

    /// Ends the wait of a thread that is blocked in the kernel. Any thread.
    pub(crate) fn wake_up(&self) {
        self.waker.borrow().iter().for_each(Waker::wake);
    }
}

/// Passes a kill on that leaves a main fiber, when its children have ended. Ruby before 3.3 tells a fiber
/// scheduler of a thread's end only where the thread's block returns.
///
/// What is being raised while it ends them is Ruby's to keep: so it is `rb_ensure` that does.
#[cold]
pub(super) fn end_children(kill: Tag) -> Result<(), Error> {
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

/// Calls a Ruby block.
pub(super) fn call(block: VALUE, arguments: &[Value]) -> Result<Value, Error> {
    // SAFETY: a hook or an interjection, which is kept alive by who holds it, or by this stack.
    unsafe { Value::from_raw(block) }.funcall("call", arguments)
}

/// How often the collector has run.
pub(crate) fn collections() -> usize {
    // SAFETY: called with the GVL.
    unsafe { rb_sys::rb_gc_count() as usize }
}
