//! Variables of objects, found again quickly.
//!
//! Ruby keeps the variables of fibers and queues in a table of tables, and a look there takes a third of the
//! time that a switch takes. A message needs four of them, the same ones each time: so what was found is
//! remembered, a few objects a thread.
//!
//! What is remembered keeps nothing alive: it is forgotten whenever the collector marks, and whenever it has
//! moved objects. Whatever was found after that was alive, and stands where it stood until the next time.
//! Only what never changes once it is set is looked up here.

use std::{
    cell::Cell,
    sync::atomic::{AtomicU32, Ordering},
};

use magnus::{DataTypeFunctions, Error, RModule, Ruby, TypedData, gc, prelude::*};
use rb_sys::{ID, VALUE};

use crate::roots::NIL;

/// Has no use but to be marked. It has no write barrier, so Ruby marks it at the end of a collection, too.
#[derive(TypedData)]
#[magnus(class = "Polyphony::Recall", free_immediately, mark, compact)]
struct Watch;

impl DataTypeFunctions for Watch {
    fn mark(&self, _: &gc::Marker) {
        forget();
    }

    fn compact(&self, _: &gc::Compactor) {
        forget();
    }
}

pub(crate) fn define(ruby: &Ruby, polyphony: RModule) -> Result<(), Error> {
    let watch = polyphony.define_class("Recall", ruby.class_object())?;
    watch.undef_default_alloc_func();
    polyphony.funcall::<_, _, magnus::Value>("private_constant", (ruby.to_symbol("Recall"),))?;
    ruby.gc_register_mark_object(ruby.obj_wrap(Watch));
    Ok(())
}

/// A variable that is set once, if ever; nil where it is not set.
#[inline]
pub(crate) fn variable(object: VALUE, id: ID) -> VALUE {
    found(object, id).unwrap_or_else(|| look_up(object, id))
}

/// The variable, where it was found lately.
#[inline(never)]
pub(crate) fn found(object: VALUE, id: ID) -> Option<VALUE> {
    let found = FOUND.with(|found| found[place(object, id)].get());
    let known = found.object == object && found.id == id && found.epoch == EPOCH.load(Ordering::Relaxed);
    known.then_some(found.value)
}

/// Forgets everything, in every thread.
fn forget() {
    EPOCH.fetch_add(1, Ordering::Relaxed);
}

#[inline(never)]
fn look_up(object: VALUE, id: ID) -> VALUE {
    // SAFETY: the caller's object is alive; a variable that is not set reads as nil.
    let value = unsafe { rb_sys::rb_ivar_get(object, id) };
    if value != NIL {
        let epoch = EPOCH.load(Ordering::Relaxed);
        FOUND.with(|found| found[place(object, id)].set(Found { object, id, value, epoch }));
    }
    value
}

/// Objects stand 40 bytes apart at least; a multiplication spreads them.
fn place(object: VALUE, id: ID) -> usize {
    ((object ^ id).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - PLACES.ilog2())) as usize
}

const PLACES: usize = 64;

#[derive(Clone, Copy)]
struct Found {
    object: VALUE,
    id: ID,
    value: VALUE,
    epoch: u32,
}

impl Found {
    const NOTHING: Found = Found { object: 0, id: 0, value: 0, epoch: 0 };
}

static EPOCH: AtomicU32 = AtomicU32::new(1);

thread_local! {
    static FOUND: [Cell<Found>; PLACES] = const { [const { Cell::new(Found::NOTHING) }; PLACES] };
}
