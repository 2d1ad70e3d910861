//! What the original's queue can do and Ruby's cannot: hold no more than its cap, take an item in before the
//! others or out of their middle, send away whoever waits.
//!
//! The cap stands in the line of poppers, which every push looks at anyway. Where a method changes several
//! items it calls Ruby's own `push` and `pop` one after the other: no other thread runs in between, so
//! nobody sees the queue without them.

use magnus::{
    Error, RArray, RHash, RModule, Ruby, Value, method,
    prelude::*,
    rb_sys::{AsRawValue, FromRawValue},
};
use rb_sys::{ID, VALUE};

use super::{End, Turn, added, define_raw, make_room, recount, wait};
use crate::{
    errors,
    line::{Line, Place},
    ruby_api::here,
    scheduler::{Scheduler, hidden_id, ruby},
};

pub(super) fn define(queue: RModule, extras: RModule) -> Result<(), Error> {
    define_raw(queue, c"initialize", initialize);
    extras.define_private_method("__push_capped__", method!(push, 1))?;
    extras.define_method("cap", method!(set, 1))?;
    extras.define_method("capped?", method!(capped, 0))?;
    extras.define_method("unshift", method!(unshift, 1))?;
    extras.define_method("delete", method!(delete, 1))?;
    extras.define_method("flush_waiters", method!(flush_waiters, 1))
}

/// `Queue.new(3)`, which Ruby refuses, is a queue with a cap; every other form is Ruby's own.
unsafe extern "C" fn initialize(argc: i32, argv: *const VALUE, this: VALUE) -> VALUE {
    // SAFETY: Ruby called us with these arguments; nothing here is dropped if it raises.
    unsafe {
        if argc != 1 || !rb_sys::macros::FIXNUM_P(*argv) {
            return rb_sys::rb_call_super(argc, argv);
        }
        rb_sys::rb_call_super(0, std::ptr::null());
        rb_sys::rb_funcallv(this, rb_sys::rb_intern(c"cap".as_ptr()), 1, argv)
    }
}

/// `push` where there is a cap. Like `pop` it lets others run, also where there is room.
fn push(ruby: &Ruby, this: Value, item: Value) -> Result<Value, Error> {
    insert(ruby, this, || this.funcall("__put__", (item,)))
}

fn unshift(ruby: &Ruby, this: Value, item: Value) -> Result<Value, Error> {
    insert(ruby, this, || {
        let later = take_all(this)?;
        let put: Result<Value, Error> = this.funcall("__put__", (item,));
        put_all(this, later)?;
        put
    })
}

/// Puts something in by `put`: at once where the queue has no limit, else when it is this fiber's turn and
/// there is room.
fn insert(ruby: &Ruby, this: Value, put: impl Fn() -> Result<Value, Error>) -> Result<Value, Error> {
    check_open(ruby, this)?;
    if limit(this)?.is_none() {
        return added(this, put()?);
    }
    let line = End::Pushers.line_for(ruby, this)?.ok_or_else(|| frozen(ruby))?;
    // Nobody waits in a stock thread where there is room.
    let mut may_put = Scheduler::current().is_none() && {
        line.miscounted();
        End::Pushers.count(this, line)?;
        line.is_free()
    };
    let mut first = false;
    loop {
        if may_put && End::Pushers.there(this)? > 0 {
            match put() {
                Ok(done) => return added(this, done),
                Err(error) => {
                    recount(this);
                    return Err(error);
                }
            }
        }
        if may_put {
            line.miscounted(); // another thread was faster, or the cap is lower now
        }
        may_put = matches!(wait(here(ruby)?, (End::Pushers, line, this), first, None)?, Turn::Called);
        first = true;
        check_open(ruby, this)?;
    }
}

fn check_open(ruby: &Ruby, queue: Value) -> Result<(), Error> {
    if queue.funcall("closed?", ())? {
        return Err(Error::new(ruby.class_object().const_get("ClosedQueueError")?, "queue closed"));
    }
    Ok(())
}

fn frozen(ruby: &Ruby) -> Error {
    Error::new(ruby.exception_frozen_error(), "a frozen queue has no room to wait for")
}

/// Takes out what is equal to an item, whose `==` may be Ruby code: meanwhile the queue is empty.
fn delete(ruby: &Ruby, this: Value, item: Value) -> Result<Value, Error> {
    check_open(ruby, this)?;
    let items = take_all(this)?;
    let kept = items.dup();
    let compared: Result<Value, Error> = kept.funcall("delete", (item,));
    put_all(this, if compared.is_ok() { kept } else { items })?;
    End::Poppers.line(this).inspect(|line| line.miscounted());
    make_room(this)?;
    compared.map(|_| this)
}

fn take_all(queue: Value) -> Result<RArray, Error> {
    let items = ruby().ary_new();
    for _ in 0..queue.funcall::<_, _, usize>("size", ())? {
        items.push(queue.funcall::<_, _, Value>("__take__", (true,))?)?;
    }
    Ok(items)
}

fn put_all(queue: Value, items: RArray) -> Result<(), Error> {
    items.into_iter().try_for_each(|item| queue.funcall::<_, _, Value>("__put__", (item,)).map(drop))
}

/// How many items it may hold, if that is limited: by a cap, or because it is a `SizedQueue`.
pub(super) fn limit(queue: Value) -> Result<Option<usize>, Error> {
    match End::Poppers.line(queue).map_or(0, Line::cap) {
        0 => queue.check_funcall("max", ()).transpose(),
        cap => Ok(Some(cap)),
    }
}

fn capped(this: Value) -> Result<Option<usize>, Error> {
    limit(this)
}

/// Limits how many items it may hold; nil and 0 take the limit away. Pushers for whom there is room go on.
fn set(ruby: &Ruby, this: Value, cap: Option<i64>) -> Result<Value, Error> {
    let cap = usize::try_from(cap.unwrap_or(0)).map_err(|_| errors::arg(ruby, "a cap cannot be negative"))?;
    let poppers = End::Poppers.line_for(ruby, this)?.ok_or_else(|| frozen(ruby))?;
    End::Pushers.line_for(ruby, this)?; // a pusher finds it, also where the queue is frozen later
    poppers.set_cap(cap);
    make_room(this)?;
    Ok(this)
}

/// Ends the wait of every popper: it returns the value, or raises it where it is an exception.
fn flush_waiters(ruby: &Ruby, this: Value, value: Value) -> Result<Value, Error> {
    let Some(line) = End::Poppers.line(this) else { return Ok(this) };
    if this.is_frozen() {
        return Err(frozen(ruby));
    }
    let answers = answers(this).unwrap_or_else(|| ruby.hash_new());
    // SAFETY: live objects, and the queue is not frozen.
    unsafe { rb_sys::rb_ivar_set(this.as_raw(), answers_id(), answers.as_raw()) };
    line.dismiss(Scheduler::current()).into_iter().try_for_each(|ticket| answers.aset(ticket, value))?;
    Ok(this)
}

/// What a popper was sent away with.
#[cold]
pub(super) fn answer(queue: Value, place: Place) -> Option<Value> {
    answers(queue)?.delete::<_, Option<Value>>(place.ticket).ok()?
}

/// What dismissed poppers are to return, by ticket, until they have run.
fn answers(queue: Value) -> Option<RHash> {
    // SAFETY: a live object; a variable that is not set reads as nil.
    RHash::from_value(unsafe { Value::from_raw(rb_sys::rb_ivar_get(queue.as_raw(), answers_id())) })
}

/// The variable of a queue that holds them; invisible to Ruby code.
pub(super) fn answers_id() -> ID {
    static ID: std::sync::OnceLock<ID> = std::sync::OnceLock::new();
    *ID.get_or_init(|| hidden_id("__polyphony_answers__"))
}
