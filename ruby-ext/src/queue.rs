//! `Thread::Queue` and `Thread::SizedQueue` where fibers wait: only the waiting is ours.
//!
//! Every item goes through Ruby's own `push` and `pop(true)`, reached by `super`. What stands here decides
//! who may call them, and when: see [`Line`]. A queue gets its lines when the first fiber waits, or when it
//! gets a cap.

mod capped;

use std::ffi::CStr;

use magnus::{
    Error, Exception, RHash, RModule, Ruby, Value, method,
    prelude::*,
    rb_sys::{AsRawValue, FromRawValue, protect},
    scan_args::{get_kwargs, scan_args},
};
use polyphony_core::time::Time;
use rb_sys::{ID, Qtrue, VALUE};

use crate::{
    errors,
    io::original,
    line::Line,
    recall,
    roots::NIL,
    scheduler::{Scheduler, hidden_id},
    time,
};

pub(crate) fn define(ruby: &Ruby, polyphony: RModule, extensions: RModule) -> Result<(), Error> {
    let line = polyphony.define_class("Line", ruby.class_object())?;
    line.undef_default_alloc_func();
    polyphony.funcall::<_, _, Value>("private_constant", (ruby.to_symbol("Line"),))?;
    let queue = extensions.define_module("Queue")?;
    let sized = extensions.define_module("SizedQueue")?;
    capped::define(queue, extensions.define_module("QueueExtras")?)?;
    for name in ["pop", "shift", "deq"] {
        queue.define_method(name, method!(pop::<false>, -1))?;
        sized.define_method(name, method!(pop::<true>, -1))?;
    }
    for name in [c"push", c"<<", c"enq"] {
        define_raw(queue, name, push);
        sized.define_method(name.to_str().expect("ASCII"), method!(push_sized, -1))?;
    }
    for module in [queue, sized] {
        module.define_method("close", method!(close, -1))?;
        module.define_method("clear", method!(roomier, -1))?;
    }
    queue.define_method("num_waiting", method!(num_waiting::<false>, -1))?;
    sized.define_method("num_waiting", method!(num_waiting::<true>, -1))?;
    sized.define_method("max=", method!(roomier, -1))
}

/// A method that is plain C to Ruby: what it calls may raise through it, for it has nothing to drop.
type Raw = unsafe extern "C" fn(i32, *const VALUE, VALUE) -> VALUE;

fn define_raw(module: RModule, name: &CStr, method: Raw) {
    // SAFETY: Ruby calls a method of arity -1 with exactly these arguments, whatever type it is given as.
    unsafe {
        let method = std::mem::transmute::<Raw, unsafe extern "C" fn() -> VALUE>(method);
        rb_sys::rb_define_method(module.as_raw(), name.as_ptr(), Some(method), -1);
    }
}

/// See `lib.rs`.
pub(crate) fn make_what_is_made_once() {
    End::Poppers.id();
    push_capped_id();
    capped::answers_id();
}

/// The two ends of a queue where fibers wait.
#[derive(Clone, Copy)]
enum End {
    /// For items.
    Poppers,
    /// For room.
    Pushers,
}

impl End {
    /// The variable of a queue that holds the line; invisible to Ruby code.
    #[inline]
    fn id(self) -> ID {
        static IDS: std::sync::OnceLock<[ID; 2]> = std::sync::OnceLock::new();
        let ids = IDS.get_or_init(|| ["__polyphony_poppers__", "__polyphony_pushers__"].map(hidden_id));
        ids[self as usize]
    }

    /// How much is there for whoever waits at this end.
    fn there(self, queue: Value) -> Result<usize, Error> {
        let size: usize = queue.funcall("size", ())?;
        match self {
            End::Poppers => Ok(size),
            End::Pushers => Ok(capped::limit(queue)?.unwrap_or(NO_LIMIT).saturating_sub(size)),
        }
    }

    /// Counts what is there, where that is not known. Other threads may have a turn wherever Ruby is called, and change it.
    #[inline]
    fn count(self, queue: Value, line: &Line) -> Result<(), Error> {
        while line.must_count() {
            let calls = line.calls();
            line.count(self.there(queue)?, calls);
        }
        Ok(())
    }

    /// Promises what is there to those who wait; nothing will come any more where the queue is closed.
    #[inline]
    fn offer(self, queue: Value, line: &Line, here: Option<&Scheduler>) -> Result<(), Error> {
        self.count(queue, line)?;
        if line.is_closed() {
            line.call_all(here);
        } else {
            line.offer(here);
        }
        Ok(())
    }

    /// Whether a newcomer may take one of what is there, which then is promised to it. It takes no item before those
    /// who were called: they came first, and get what came first.
    #[inline]
    fn helps(self, queue: Value, line: &Line) -> Result<bool, Error> {
        self.count(queue, line)?;
        Ok(match self {
            End::Poppers => !line.has_called() && line.help(),
            End::Pushers => line.help(),
        })
    }

    /// The line at this end, where there is one. It lives as long as the queue, which the caller holds.
    #[inline]
    fn line<'a>(self, queue: Value) -> Option<&'a Line> {
        // SAFETY: a live object. Ruby code cannot write its variable, so what that holds is what `make_line`
        // put there, once: a wrapped line, whose data pointer is the line.
        unsafe {
            let line = recall::variable(queue.as_raw(), self.id());
            (line != NIL).then(|| &*rb_sys::macros::RTYPEDDATA_GET_DATA(line).cast::<Line>())
        }
    }

    /// The line at this end, made if need be; none where the queue is frozen, which Ruby 3.1 permits.
    #[inline]
    fn line_for<'a>(self, ruby: &Ruby, queue: Value) -> Result<Option<&'a Line>, Error> {
        match self.line(queue) {
            Some(line) => Ok(Some(line)),
            None if queue.is_frozen() => Ok(None),
            None => self.make_line(ruby, queue).map(Some),
        }
    }

    #[cold]
    fn make_line<'a>(self, ruby: &Ruby, queue: Value) -> Result<&'a Line, Error> {
        let made = ruby.obj_wrap(Line::new());
        // Ruby was called: another thread may have made one meanwhile, and stand in it.
        if self.line(queue).is_none() {
            // SAFETY: live objects, and the queue is not frozen.
            unsafe { rb_sys::rb_ivar_set(queue.as_raw(), self.id(), made.as_raw()) };
        }
        let line = self.line(queue).expect("set by now");
        // Asked once the line is there, for from then on `close` tells it: another thread may close the queue, or come to
        // stand in the line, at any call of Ruby.
        if queue.funcall("closed?", ())? {
            line.close();
            line.call_all(Scheduler::current());
        }
        Ok(line)
    }

    /// Promises one more of what is there to the first who waits.
    #[inline]
    fn call(self, queue: Value) {
        if let Some(line) = self.line(queue) {
            call_first(line);
        }
    }

    fn call_all(self, queue: Value) {
        if let Some(line) = self.line(queue) {
            line.call_all(Scheduler::current());
        }
    }
}

/// Room for everybody.
const NO_LIMIT: usize = usize::MAX / 2;

/// How a wait in a line ended.
enum Turn {
    Called,
    Late,
    /// Sent away by `flush_waiters`, with what it said.
    Dismissed(Value),
}

/// Stands in line until called, or until the deadline. A call that an exception makes useless goes to the
/// next. Others run meanwhile, also where something is there.
fn wait(
    scheduler: &Scheduler,
    (end, line, queue): (End, &Line, Value),
    first: bool,
    deadline: Option<Time>,
) -> Result<Turn, Error> {
    let (me, place) = scheduler.begin_waiting();
    line.stand(place, first);
    // What came before the fiber stood in line called nobody.
    let offered = end.offer(queue, line, Some(scheduler));
    let waited = offered.and_then(|()| scheduler.wait_for_call(me, deadline));
    // While the place is left the wait is not over: a line may drop the places of those that are.
    let called = line.leave(place);
    scheduler.end_waiting(me);
    let answer = if called { None } else { capped::answer(queue, place) };
    match waited {
        Ok(()) => Ok(match answer {
            Some(answer) => Turn::Dismissed(answer),
            None if called => Turn::Called,
            None => Turn::Late,
        }),
        Err(error) => {
            if called {
                line.call(Some(scheduler));
            }
            Err(error)
        }
    }
}

/// What the options of a `push` or a `pop` say.
struct Asked {
    /// Given, and true: raise instead of waiting.
    non_block: bool,
    deadline: Option<Time>,
}

impl Asked {
    fn new(
        ruby: &Ruby,
        scheduler: &Scheduler,
        non_block: Option<Value>,
        keywords: RHash,
    ) -> Result<Self, Error> {
        let options = get_kwargs::<_, (), (Option<Value>,), ()>(keywords, &[], &["timeout"])?;
        let timeout = options.optional.0.filter(|timeout| !timeout.is_nil());
        let non_block = non_block.is_some_and(Value::to_bool);
        if non_block && timeout.is_some() {
            return Err(errors::arg(ruby, "can't set a timeout if non_block is enabled"));
        }
        let span = timeout.map_or(Ok(None), |timeout| time::span(ruby, timeout))?;
        Ok(Asked { non_block, deadline: span.map(|span| scheduler.deadline(span)) })
    }
}

fn pop<const SIZED: bool>(ruby: &Ruby, this: Value, args: &[Value]) -> Result<Value, Error> {
    let Some(scheduler) = Scheduler::current() else {
        let item = original(ruby, args).inspect_err(|_| recount(this))?;
        return Ok(taken::<SIZED>(this, End::Poppers.line(this), item));
    };
    let asked = match args {
        [] => Asked { non_block: false, deadline: None },
        [non_block] if RHash::from_value(*non_block).is_none() => {
            Asked { non_block: non_block.to_bool(), deadline: None }
        }
        _ => {
            let given = scan_args::<(), (Option<Value>,), (), (), RHash, ()>(args)?;
            Asked::new(ruby, scheduler, given.optional.0, given.keywords)?
        }
    };
    if asked.non_block {
        return Ok(taken::<SIZED>(this, End::Poppers.line(this), pop_now()?));
    }
    let Some(line) = End::Poppers.line_for(ruby, this)? else {
        return Ok(taken::<SIZED>(this, None, original(ruby, args)?));
    };
    // The original's queue gives the others a turn each time; a SizedQueue it left to Ruby.
    let mut turn = SIZED && End::Poppers.helps(this, line)?;
    let mut first = false;
    loop {
        if !std::mem::take(&mut turn) {
            match wait(scheduler, (End::Poppers, line, this), first, asked.deadline)? {
                Turn::Called => {}
                Turn::Late => break,
                Turn::Dismissed(answer) => return answered(answer),
            }
        }
        if line.is_closed() && End::Poppers.there(this)? == 0 {
            break;
        }
        match pop_now() {
            Ok(item) => return Ok(taken::<SIZED>(this, Some(line), item)),
            Err(error) if is_thread_error(ruby, &error) => line.miscounted(), // another thread was faster
            Err(error) => {
                recount(this);
                return Err(error);
            }
        }
        first = true;
    }
    Ok(ruby.qnil().as_value())
}

/// What another thread raises in this one is heard as Ruby's own method returns, and nobody can tell whether that has
/// changed the queue: what is there is counted anew, for all who wait.
#[cold]
fn recount(queue: Value) {
    for end in [End::Poppers, End::Pushers] {
        if let Some(line) = end.line(queue) {
            line.miscounted();
            // Where it fails the next who waits counts.
            drop(end.offer(queue, line, Scheduler::current()));
        }
    }
}

/// An item has been taken: where there is a limit there is room.
#[inline]
fn taken<const SIZED: bool>(queue: Value, poppers: Option<&Line>, item: Value) -> Value {
    if SIZED || poppers.is_some_and(|line| line.cap() > 0) {
        End::Pushers.call(queue);
    }
    item
}

/// Promises one more to the first in line; a tracer hears of it where it happens.
#[inline]
fn call_first(line: &Line) {
    let here = Scheduler::current();
    line.call(here);
    if let Some(here) = here
        && here.is_traced()
    {
        here.trace_woken();
    }
}

/// What a popper returns that was sent away.
#[cold]
fn answered(answer: Value) -> Result<Value, Error> {
    Exception::from_value(answer).map_or(Ok(answer), |exception| Err(exception.into()))
}

/// `push` of a queue without limit: nobody waits. It raises where the queue is closed. Where there is a cap
/// another method does it, which may raise what it likes.
unsafe extern "C" fn push(argc: i32, argv: *const VALUE, this: VALUE) -> VALUE {
    // SAFETY: Ruby called us with these arguments; nothing here is dropped if it raises.
    unsafe {
        let queue = Value::from_raw(this);
        let Some(line) = End::Poppers.line(queue) else {
            let added = rb_sys::rb_call_super(argc, argv);
            End::Poppers.call(queue); // somebody came meanwhile, where what is called there is Ruby code
            return added;
        };
        if line.cap() > 0 {
            return rb_sys::rb_funcallv(this, push_capped_id(), argc, argv);
        }
        // Nobody runs before the item is there; behind it, what another thread raises could be in the way.
        call_first(line);
        rb_sys::rb_call_super(argc, argv)
    }
}

fn push_capped_id() -> ID {
    static ID: std::sync::OnceLock<ID> = std::sync::OnceLock::new();
    *ID.get_or_init(|| hidden_id("__push_capped__"))
}

fn push_sized(ruby: &Ruby, this: Value, args: &[Value]) -> Result<Value, Error> {
    let Some(scheduler) = Scheduler::current() else {
        return added(this, original(ruby, args).inspect_err(|_| recount(this))?);
    };
    let (item, asked) = match *args {
        [item] if RHash::from_value(item).is_none() => (item, Asked { non_block: false, deadline: None }),
        _ => {
            let given = scan_args::<(Value,), (Option<Value>,), (), (), RHash, ()>(args)?;
            let asked = Asked::new(ruby, scheduler, given.optional.0, given.keywords)?;
            (given.required.0, asked)
        }
    };
    if asked.non_block {
        return added(this, push_now(item)?);
    }
    let Some(line) = End::Pushers.line_for(ruby, this)? else { return added(this, original(ruby, args)?) };
    let mut first = false;
    let mut turn = End::Pushers.helps(this, line)?;
    loop {
        if line.is_closed() {
            return Err(Error::new(ruby.class_object().const_get("ClosedQueueError")?, "queue closed"));
        }
        if turn {
            match push_now(item) {
                Ok(done) => return added(this, done),
                Err(error) if is_thread_error(ruby, &error) => line.miscounted(), // another thread was faster
                Err(error) => {
                    recount(this);
                    return Err(error);
                }
            }
        }
        turn = match wait(scheduler, (End::Pushers, line, this), first, asked.deadline)? {
            Turn::Called => true,
            Turn::Late => return Ok(ruby.qnil().as_value()),
            Turn::Dismissed(answer) => return answered(answer),
        };
        first = true;
    }
}

/// An item has been added.
fn added(queue: Value, done: Value) -> Result<Value, Error> {
    End::Poppers.call(queue);
    Ok(done)
}

fn close(ruby: &Ruby, this: Value, args: &[Value]) -> Result<Value, Error> {
    let closed = original(ruby, args)?;
    for end in [End::Poppers, End::Pushers] {
        end.line(this).inspect(|line| line.close());
        end.call_all(this);
    }
    Ok(closed)
}

/// Who waits for an item; in a `SizedQueue`, as Ruby counts it, also who waits for room.
fn num_waiting<const SIZED: bool>(ruby: &Ruby, this: Value, args: &[Value]) -> Result<usize, Error> {
    let threads = usize::try_convert(original(ruby, args)?)?;
    let fibers = |end: End| end.line(this).map_or(0, |line| line.len());
    Ok(threads + fibers(End::Poppers) + if SIZED { fibers(End::Pushers) } else { 0 })
}

/// `clear` and `max=`.
fn roomier(ruby: &Ruby, this: Value, args: &[Value]) -> Result<Value, Error> {
    let done = original(ruby, args)?;
    make_room(this)?;
    Ok(done)
}

/// There may be more room than before: promises it to those who wait, in their order.
fn make_room(queue: Value) -> Result<(), Error> {
    let Some(line) = End::Pushers.line(queue) else { return Ok(()) };
    line.miscounted();
    End::Pushers.offer(queue, line, Scheduler::current())
}

/// Ruby's own `pop(true)`, from a method that overrides it.
#[inline]
fn pop_now() -> Result<Value, Error> {
    superior([Qtrue as VALUE])
}

/// Ruby's own `push(item, true)`, from a method that overrides it.
#[inline]
fn push_now(item: Value) -> Result<Value, Error> {
    superior([item.as_raw(), Qtrue as VALUE])
}

/// Calls what the running method overrides.
#[inline]
fn superior<const N: usize>(args: [VALUE; N]) -> Result<Value, Error> {
    // SAFETY: called from a method; the arguments are alive, on this stack.
    let raw = protect(|| unsafe { rb_sys::rb_call_super(N as i32, args.as_ptr()) })?;
    // SAFETY: what a Ruby method returned.
    Ok(unsafe { Value::from_raw(raw) })
}

fn is_thread_error(ruby: &Ruby, error: &Error) -> bool {
    error.is_kind_of(ruby.exception_thread_error())
}
