//! What Ruby sees of a scheduler: `Polyphony::Scheduler`, and the verbs that every fiber uses.

use std::ffi::CStr;

use magnus::{
    Error, Fiber, Integer, RHash, RModule, Ruby, Value, function, method,
    prelude::*,
    rb_sys::{AsRawValue, FromRawValue, protect},
    scan_args::{get_kwargs, scan_args},
    typed_data::Obj,
};
use polyphony_core::timers::TimerKey;

use crate::{
    errors,
    io::{Polled, let_go, poll},
    open_file::OpenFile,
    roots::Name,
    scheduler::{Scheduler, interrupt_overdue, name_of, schedule_early, scheduler_id, unblock_early, watch},
    time, traps,
};

pub(crate) fn define(ruby: &Ruby, polyphony: RModule) -> Result<(), Error> {
    polyphony.define_singleton_method("scheduler", function!(scheduler, 0))?;
    polyphony.define_singleton_method("schedule", function!(schedule, 3))?;
    polyphony.define_singleton_method("scheduler_of", function!(scheduler_of_thread, 1))?;
    polyphony.define_singleton_method("runnable?", function!(is_runnable, 1))?;
    polyphony.define_singleton_method("unblock", function!(unblock, 2))?;
    polyphony.define_singleton_method("trap_blocks", function!(traps::count, 0))?;
    polyphony.define_singleton_method("let_go", function!(let_go, 1))?;
    polyphony.define_singleton_method("unschedule", function!(unschedule, 1))?;
    polyphony.define_singleton_method("tell_end", function!(tell_end, 1))?;
    polyphony.define_singleton_method("interject", function!(interject, 2))?;
    polyphony.define_singleton_method("expose", function!(expose, 1))?;
    polyphony.define_singleton_method("detain", function!(detain, 2))?;
    polyphony.define_singleton_method("wake_sleeper", function!(wake_sleeper, 1))?;
    polyphony.define_singleton_method("watch_stretches", function!(watch, 1))?;
    polyphony.define_singleton_method("interrupt_overdue", function!(interrupt_overdue, 2))?;
    polyphony.define_singleton_method("detained?", function!(is_detained, 1))?;
    let class = polyphony.define_class("Scheduler", ruby.class_object())?;
    class.undef_default_alloc_func();
    // Looked up now, for later it might be in a place where a pending signal is heard: a child of a fork.
    let _ = <Scheduler as magnus::TypedData>::class(ruby);
    class.define_singleton_method("start", function!(start, -1))?;
    class.define_method("adopt", method!(adopt, 1))?;
    class.define_method("adopt_raw", method!(adopt_raw, 1))?;
    class.define_method("enter", method!(enter, 0))?;
    class.define_method("leave", method!(leave, 0))?;
    class.define_method("block", method!(block_here, 2))?;
    class.define_method("interject_main", method!(interject_main, 1))?;
    class.define_method("poll", method!(poll_io, -1))?;
    class.define_method("alarm", method!(alarm, 3))?;
    class.define_method("rearm", method!(rearm, 2))?;
    class.define_method("disarm", method!(disarm, -1))?;
    class.define_method("yield_to", method!(yield_to, 1))?;
    class.define_method("stats", method!(stats, 0))?;
    class.define_method("fibers", method!(fibers, 0))?;
    class.define_method("kind", method!(kind, 0))?;
    class.define_method("describe", method!(describe, 0))?;
    class.define_method("stuck_since", method!(stuck_since, 0))?;
    class.define_method("called?", method!(is_called, 0))?;
    class.define_method("close", method!(close, 0))?;
    class.define_method("suspend", method!(park, 0))?;
    class.define_method("shield", method!(shield, 1))?;
    class.define_method("unshield", method!(unshield, 3))?;
    class.define_method("wake", method!(wake, 0))?;
    class.define_method("waits_elsewhere", method!(waits_elsewhere, 1))?;
    class.define_method("signalled", method!(signalled, 0))?;
    class.define_method("trace_hook=", method!(set_trace_hook, 1))?;
    class.define_method("idle_hook=", method!(set_idle_hook, 1))?;
    let fibers = polyphony.define_module("Extensions")?.define_module("Fiber")?;
    fibers.define_method("resume", method!(resume, -1))?;
    fibers.define_method("transfer", method!(resume, -1))?;
    let verbs = polyphony.define_module("Verbs")?;
    verbs.define_method("snooze", method!(snooze, 0))?;
    verbs.define_method("suspend", method!(suspend, 0))?;
    let extensions = polyphony.define_module("Extensions")?;
    let functions = extensions.define_module("KernelFunctions")?;
    functions.define_method("sleep", method!(sleep, -1))?;
    functions.define_method("gets", method!(gets, -1))?;
    functions.define_method("readline", method!(readline, -1))?;
    functions.define_method("readlines", method!(readlines, -1))
}

/// The calling thread's scheduler, or nil.
fn scheduler() -> Option<Value> {
    Scheduler::current()?;
    // SAFETY: called with the GVL; the thread has a scheduler, as was seen just now.
    Some(unsafe {
        let object = rb_sys::rb_ivar_get(rb_sys::rb_thread_current(), scheduler_id());
        Value::from_raw(object)
    })
}

/// The calling thread's scheduler, made at the first call that only Polyphony has.
pub(crate) fn here(ruby: &Ruby) -> Result<&'static Scheduler, Error> {
    if let Some(scheduler) = Scheduler::current() {
        return Ok(scheduler);
    }
    let polyphony: RModule = ruby.class_object().const_get("Polyphony")?;
    let _: Value = polyphony.funcall("scheduler!", ())?;
    Scheduler::current().ok_or_else(|| {
        Error::new(ruby.exception_runtime_error(), "Polyphony cannot switch fibers in a trap handler")
    })
}

fn start(ruby: &Ruby, args: &[Value]) -> Result<Obj<Scheduler>, Error> {
    let args = scan_args::<(), (), (), (), RHash, ()>(args)?;
    let options = get_kwargs::<_, (), (Option<Option<String>>, Option<Option<u32>>), ()>(
        args.keywords,
        &[],
        &["backend", "entries"],
    )?;
    let (backend, entries) = options.optional;
    Scheduler::start(ruby, backend.flatten(), entries.flatten())
}

fn adopt(this: Obj<Scheduler>, fiber: Fiber) -> Integer {
    let name = this.adopt(fiber.as_value(), this.as_raw());
    crate::scheduler::ruby().integer_from_u64(name.number())
}

fn adopt_raw(this: Obj<Scheduler>, fiber: Fiber) -> Integer {
    let name = this.adopt_raw(fiber.as_value(), this.as_raw());
    crate::scheduler::ruby().integer_from_u64(name.number())
}

fn enter(this: Obj<Scheduler>) -> Result<Value, Error> {
    this.enter()
}

fn leave(this: Obj<Scheduler>) {
    this.leave();
}

fn close(this: Obj<Scheduler>) {
    this.close();
}

fn describe(this: Obj<Scheduler>) -> String {
    this.describe().1
}

fn stuck_since(this: Obj<Scheduler>) -> Option<u64> {
    this.stuck_since()
}

fn is_called(this: Obj<Scheduler>) -> bool {
    this.is_called()
}

/// Waits until somebody schedules the calling fiber, also if nothing seems to be able to.
fn park(this: Obj<Scheduler>) -> Result<Value, Error> {
    this.suspend(false)
}

/// Schedules a fiber with a value, or an exception to raise, from any thread. False where it has ended, or
/// nobody spun it and it does not wait: then it finds the value when it does.
fn schedule(ruby: &Ruby, fiber: Value, value: Value, first: bool) -> Result<bool, Error> {
    if Fiber::from_value(fiber).is_none() {
        // SAFETY: a live object.
        let class = unsafe { fiber.classname() }.into_owned();
        let message = format!("only a Fiber can be scheduled, not {class}");
        return Err(Error::new(ruby.exception_type_error(), message));
    }
    let scheduled = known(fiber).is_some_and(|(name, scheduler)| {
        // Another thread's tracer hears of it there, when the fiber is made ready.
        if scheduler.is_traced() && scheduler.is_local() {
            let first = if first { ruby.qtrue().as_value() } else { ruby.qfalse().as_value() };
            scheduler.trace("schedule", &[fiber, value, first]);
        }
        scheduler.schedule(name, value, first)
    });
    if !scheduled {
        schedule_early(fiber, value);
    }
    Ok(scheduled)
}

/// Lets the tracer hear that a fiber has ended.
fn tell_end(fiber: Value) {
    let Some(scheduler) = Scheduler::current() else { return };
    if scheduler.is_traced()
        && let Some(name) = name_of(fiber)
    {
        scheduler.tell_end(name, fiber);
    }
}

/// A fiber's name, and the scheduler that gave it.
fn known(fiber: Value) -> Option<(Name, Obj<Scheduler>)> {
    Some((name_of(fiber)?, scheduler_of(fiber)?))
}

/// Takes a fiber out of the run queue.
fn unschedule(fiber: Fiber) {
    if let Some((name, scheduler)) = known(fiber.as_value()) {
        scheduler.unschedule(name);
    }
}

/// Lets a fiber call a block in the middle of its wait. False where it has ended or was never spun.
fn interject(fiber: Fiber, block: Value) -> bool {
    known(fiber.as_value()).is_some_and(|(name, scheduler)| scheduler.interject(name, block))
}

/// Lets the main fiber of a scheduler call a block in the middle of its wait. Any thread.
fn interject_main(this: Obj<Scheduler>, block: Value) -> bool {
    this.interject(Name::MAIN, block)
}

/// From now on no shield helps the fiber.
fn expose(fiber: Fiber) {
    if let Some((name, scheduler)) = known(fiber.as_value()) {
        scheduler.expose(name);
    }
}

/// Holds a fiber up, or lets it go on.
fn detain(fiber: Fiber, on: bool) {
    if let Some((name, scheduler)) = known(fiber.as_value()) {
        scheduler.detain(name, on);
    }
}

fn is_detained(fiber: Fiber) -> bool {
    known(fiber.as_value()).is_some_and(|(name, scheduler)| scheduler.is_detained(name))
}

/// `shield(limit)`: keeps off what others raise in the running fiber. A key for `unshield`, or nil.
fn shield(ruby: &Ruby, this: Obj<Scheduler>, limit: Value) -> Result<Option<u64>, Error> {
    Ok(this.shield(time::span(ruby, limit)?).map(TimerKey::number))
}

/// `unshield(key, finished, unwinding)`: raises what was kept off, at once or at the next wait.
fn unshield(this: Obj<Scheduler>, timer: Option<u64>, finished: bool, unwinding: bool) -> Result<(), Error> {
    this.unshield(timer.map(TimerKey::from_number), finished, unwinding)
}

fn wake(this: Obj<Scheduler>) {
    this.wake_up();
}

/// One fiber more waits for another thread of Ruby's, or one less.
fn waits_elsewhere(this: Obj<Scheduler>, more: isize) {
    this.waits_elsewhere(more);
}

/// Handlers of signals wait to be given fibers.
fn signalled(this: Obj<Scheduler>) {
    this.signalled();
}

/// Ends the `sleep` of a thread's main fiber, where it is in one.
fn wake_sleeper(thread: magnus::Thread) {
    let scheduler = scheduler_of_thread(thread);
    if !scheduler.is_nil()
        && let Ok(scheduler) = Obj::<Scheduler>::try_convert(scheduler)
    {
        scheduler.wake_sleeper();
    }
}

fn set_trace_hook(this: Obj<Scheduler>, tracer: Value) {
    this.set_tracer(tracer);
}

fn set_idle_hook(this: Obj<Scheduler>, hook: Value) {
    this.set_idler(hook);
}

/// `resume` and `transfer`: not for a fiber that was spun, whose turns are its scheduler's to give.
///
/// In Rust, so that the backtraces of other fibers stay what they are.
fn resume(ruby: &Ruby, this: Value, args: &[Value]) -> Result<Value, Error> {
    if this.funcall::<_, _, bool>("__scheduled__?", ())? {
        let message =
            format!("{} was spun, and has its turn from its scheduler: use schedule", this.inspect());
        let polyphony: RModule = ruby.class_object().const_get("Polyphony")?;
        return Err(Error::new(polyphony.const_get("FiberError")?, message));
    }
    crate::io::original(ruby, args)
}

/// The scheduler that a fiber was adopted by.
fn scheduler_of(fiber: Value) -> Option<Obj<Scheduler>> {
    // SAFETY: a live fiber; a variable that is not set reads as nil.
    let object = unsafe { rb_sys::rb_ivar_get(fiber.as_raw(), scheduler_id()) };
    // SAFETY: what a variable holds is a live object.
    let object = unsafe { Value::from_raw(object) };
    // To make the error of a conversion that fails Ruby is called, and an interrupt heard there would be dropped.
    (!object.is_nil()).then(|| Obj::try_convert(object).ok()).flatten()
}

/// Ends a `block`. What comes too early for a fiber that nobody spun is kept for it. Never raises: what is no fiber
/// waits for nothing, and in a frozen one nothing can be kept.
pub(crate) fn unblock(blocker: Value, fiber: Value) {
    if Fiber::from_value(fiber).is_none() {
        return;
    }
    let unblocked = known(fiber).is_some_and(|(name, scheduler)| scheduler.unblock(blocker, name));
    if !unblocked && !fiber.is_frozen() {
        unblock_early(fiber, blocker);
    }
}

/// Whether a fiber may be stopping its thread: nobody has parked it, as far as is known.
pub(crate) fn may_block(fiber: Value) -> bool {
    known(fiber).is_none_or(|(name, scheduler)| scheduler.running() == name)
}

fn snooze(ruby: &Ruby, _this: Value) -> Result<Value, Error> {
    here(ruby)?.snooze()
}

fn suspend(ruby: &Ruby, _this: Value) -> Result<Value, Error> {
    here(ruby)?.suspend(true)
}

fn sleep(ruby: &Ruby, _this: Value, args: &[Value]) -> Result<Value, Error> {
    let Some(scheduler) = Scheduler::current() else { return crate::io::original(ruby, args) };
    match args {
        [] => scheduler.asleep(|scheduler| scheduler.suspend(false)),
        [seconds] => match time::span(ruby, *seconds)? {
            Some(span) => scheduler.asleep(|scheduler| scheduler.sleep(span)),
            None => scheduler.asleep(|scheduler| scheduler.suspend(false)),
        },
        _ => crate::io::original(ruby, args),
    }
}

fn gets(ruby: &Ruby, _this: Value, args: &[Value]) -> Result<Value, Error> {
    line_from_stdin(ruby, c"gets", args)
}

fn readline(ruby: &Ruby, _this: Value, args: &[Value]) -> Result<Value, Error> {
    line_from_stdin(ruby, c"readline", args)
}

fn readlines(ruby: &Ruby, _this: Value, args: &[Value]) -> Result<Value, Error> {
    if Scheduler::current().is_none() {
        return crate::io::original(ruby, args);
    }
    let argf: Value = ruby.class_object().const_get("ARGF")?;
    let before: usize = argf.funcall("lineno", ())?;
    let lines = from_stdin(ruby, c"readlines", args)?;
    if let Some(lines) = magnus::RArray::from_value(lines) {
        argf.funcall::<_, _, Value>("lineno=", (before + lines.len(),))?;
    }
    Ok(lines)
}

/// A line, which ARGF counts also where a limit ends it: `$.` tells.
fn line_from_stdin(ruby: &Ruby, name: &CStr, args: &[Value]) -> Result<Value, Error> {
    if args.is_empty() || Scheduler::current().is_none() {
        return from_stdin(ruby, name, args); // which counts it
    }
    let argf: Value = ruby.class_object().const_get("ARGF")?;
    let before: i64 = argf.funcall("lineno", ())?;
    let line = from_stdin(ruby, name, args)?;
    if !line.is_nil() && argf.funcall::<_, _, i64>("lineno", ())? == before {
        argf.funcall::<_, _, Value>("lineno=", (before + 1,))?;
    }
    Ok(line)
}

/// A function of Kernel, where ARGF would read `$stdin`: then `$stdin` does, in Rust as here, so that `$_` is
/// the caller's.
fn from_stdin(ruby: &Ruby, name: &CStr, args: &[Value]) -> Result<Value, Error> {
    if Scheduler::current().is_none() || !reads_stdin(ruby)? {
        return crate::io::original(ruby, args);
    }
    let (argc, argv) = (args.len() as i32, args.as_ptr());
    let line = protect(|| {
        // SAFETY: called from a method that Ruby called with these arguments; `Value` is a transparent VALUE.
        unsafe {
            let name = rb_sys::rb_intern(name.as_ptr());
            let keywords = rb_sys::rb_keyword_given_p();
            rb_sys::rb_funcallv_kw(rb_sys::rb_gv_get(c"$stdin".as_ptr()), name, argc, argv.cast(), keywords)
        }
    })?;
    // SAFETY: what a Ruby method returned.
    Ok(unsafe { Value::from_raw(line) })
}

/// Whether ARGF has no file left, and none behind it.
fn reads_stdin(ruby: &Ruby) -> Result<bool, Error> {
    let files: magnus::RArray = ruby.class_object().const_get("ARGV")?;
    if !files.is_empty() {
        return Ok(false);
    }
    let argf: Value = ruby.class_object().const_get("ARGF")?;
    Ok(argf.funcall::<_, _, String>("filename", ())? == "-")
}

pub(crate) fn block(ruby: &Ruby, scheduler: &Scheduler, blocker: Value, limit: Value) -> Result<bool, Error> {
    let limit = time::span(ruby, limit)?;
    let is_stock = !is_hidden(blocker)
        && (magnus::Thread::from_value(blocker).is_some() || magnus::Symbol::from_value(blocker).is_some());
    scheduler.block(blocker, is_stock, limit)
}

fn block_here(ruby: &Ruby, this: Obj<Scheduler>, blocker: Value, limit: Value) -> Result<bool, Error> {
    block(ruby, &this, blocker, limit)
}

/// Whether Ruby keeps an object from programs, as it does the lock of a file that `require` loads (from 3.2 on), and
/// that of who closes a file.
/// Such an object has no class, and nothing may be asked of it.
pub(crate) fn is_hidden(object: Value) -> bool {
    let raw = object.as_raw();
    // SAFETY: what Ruby gave a hook as an argument is alive, and begins with RBasic where it is no immediate value.
    !rb_sys::SPECIAL_CONST_P(raw) && unsafe { (*(raw as *const rb_sys::RBasic)).klass == 0 }
}

/// `poll(io, events, limit)` waits for events (`IO::READABLE` …) on an IO: those that are ready, or false when
/// the time is up. With less it is the original's `poll(blocking = false)`: looks at what has happened.
fn poll_io(ruby: &Ruby, this: Obj<Scheduler>, args: &[Value]) -> Result<Value, Error> {
    let &[io, events, limit] = args else {
        let (blocking,) = scan_args::<(), (Option<bool>,), (), (), (), ()>(args)?.optional;
        match blocking {
            Some(true) => this.sleep(std::time::Duration::ZERO)?,
            _ => this.snooze()?,
        };
        return Ok(this.as_value());
    };
    poll_for(ruby, &this, io, events, limit)
}

pub(crate) fn poll_for(
    ruby: &Ruby,
    scheduler: &Scheduler,
    io: Value,
    events: Value,
    limit: Value,
) -> Result<Value, Error> {
    let events = u32::try_convert(events)?;
    let limit = time::span(ruby, limit)?;
    let fd = match Integer::from_value(io) {
        Some(fd) => fd.to_i32()?,
        None => {
            let file = OpenFile::expect(ruby, io)?;
            file.tell_who_waits();
            file.fd()
        }
    };
    let polled = match poll(ruby, scheduler, fd, events, limit) {
        // Closed before the kernel heard of the wait.
        Err(_) if Integer::from_value(io).is_none() && OpenFile::of(io).is_none() => {
            return Err(errors::io(ruby, "stream closed in another thread"));
        }
        polled => polled?,
    };
    match polled {
        // A descriptor that failed is as good as ready: the call that follows says why.
        Polled::Ready(ready) if ready & events == 0 => {
            Ok(ruby.integer_from_u64(u64::from(events)).as_value())
        }
        Polled::Ready(ready) => Ok(ruby.integer_from_u64(u64::from(ready & events)).as_value()),
        Polled::Late => Ok(ruby.qfalse().as_value()),
        Polled::Woken(_) => Ok(ruby.qfalse().as_value()),
    }
}

/// Raises `exception` in the running fiber in so many seconds; a key to move or forget that.
fn alarm(
    ruby: &Ruby,
    this: Obj<Scheduler>,
    seconds: Value,
    exception: Value,
    watched: bool,
) -> Result<u64, Error> {
    let span =
        time::span(ruby, seconds)?.ok_or_else(|| errors::arg(ruby, "a timeout needs a number of seconds"))?;
    Ok(this.alarm(this.running(), span, exception, watched)?.number())
}

fn rearm(ruby: &Ruby, this: Obj<Scheduler>, timer: u64, seconds: Value) -> Result<bool, Error> {
    let span =
        time::span(ruby, seconds)?.ok_or_else(|| errors::arg(ruby, "a timeout needs a number of seconds"))?;
    Ok(this.rearm(TimerKey::from_number(timer), span))
}

/// `disarm(timer, marker = nil)`: also takes back the marker, where it has been scheduled but not raised.
fn disarm(ruby: &Ruby, this: Obj<Scheduler>, args: &[Value]) -> Result<bool, Error> {
    let &[timer, ref marker @ ..] = args else { return Err(errors::arg(ruby, "which timer?")) };
    let timer = TimerKey::from_number(u64::try_convert(timer)?);
    let marker = marker.first().copied().filter(|marker| !marker.is_nil());
    let disarmed = this.disarm(timer, marker);
    if let (false, Some(marker)) = (disarmed, marker) {
        this.forget_early(marker);
        this.forget_sent(marker)?;
    }
    Ok(disarmed)
}

fn yield_to(this: Obj<Scheduler>, fiber: Fiber) -> Result<Value, Error> {
    match name_of(fiber.as_value()) {
        Some(name) => this.yield_to(name),
        None => this.snooze(),
    }
}

/// The scheduler of a thread, or nil.
fn scheduler_of_thread(thread: magnus::Thread) -> Value {
    // SAFETY: a live thread; a variable that is not set reads as nil.
    unsafe { Value::from_raw(rb_sys::rb_ivar_get(thread.as_raw(), scheduler_id())) }
}

/// Whether a fiber is in a run queue.
fn is_runnable(fiber: Fiber) -> bool {
    known(fiber.as_value()).is_some_and(|(name, scheduler)| scheduler.is_queued(name))
}

fn kind(ruby: &Ruby, this: Obj<Scheduler>) -> magnus::Symbol {
    ruby.to_symbol(this.describe().0)
}

fn fibers(ruby: &Ruby, this: Obj<Scheduler>) -> Result<magnus::RArray, Error> {
    this.fibers(ruby)
}

fn stats(ruby: &Ruby, this: Obj<Scheduler>) -> Result<RHash, Error> {
    let figures = this.stats();
    let hash = ruby.hash_new();
    let counts = [
        ("runqueue_size", figures.room as u64),
        ("runqueue_length", figures.queued as u64),
        ("runqueue_max_length", figures.queued_at_most as u64),
        ("op_count", figures.operations),
        ("switch_count", figures.switches),
        ("poll_count", figures.looks),
        ("pending_ops", figures.in_flight as u64),
        ("completed", figures.done.completed),
        ("cancelled", figures.done.cancels),
        ("queued", figures.done.queued),
        ("retried", figures.done.retried),
        ("timers", figures.timers as u64),
        ("lag", figures.done.lag),
        ("lag_peak", figures.done.lag_peak),
        ("fibers", figures.fibers.0 as u64),
        ("fibers_peak", figures.fibers.1 as u64),
    ];
    for (name, count) in counts {
        hash.aset(ruby.to_symbol(name), count)?;
    }
    Ok(hash)
}
