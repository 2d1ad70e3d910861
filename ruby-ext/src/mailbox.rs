//! Messages between fibers: a mailbox is a `Thread::Queue` that its fiber holds, made at the first need.

use magnus::{
    Error, RModule, Value, method,
    prelude::*,
    rb_sys::{AsRawValue, FromRawValue},
};
use rb_sys::{ID, VALUE};

use crate::{recall, roots::NIL, scheduler::Scheduler};

pub(crate) fn define(polyphony: RModule, extensions: RModule) -> Result<(), Error> {
    let fiber = extensions.define_module("Fiber")?;
    fiber.define_method("mailbox", method!(mailbox_of, 0))?;
    let verbs = polyphony.define_module("Verbs")?;
    // SAFETY: Ruby calls a method of arity 0 with its object, one of arity 1 with an argument besides,
    // whatever type it is given as.
    unsafe {
        let receive = std::mem::transmute::<unsafe extern "C" fn(VALUE) -> VALUE, Raw>(receive);
        let receive_here = std::mem::transmute::<unsafe extern "C" fn(VALUE) -> VALUE, Raw>(receive_here);
        let send = std::mem::transmute::<unsafe extern "C" fn(VALUE, VALUE) -> VALUE, Raw>(send);
        rb_sys::rb_define_method(fiber.as_raw(), c"receive".as_ptr(), Some(receive), 0);
        rb_sys::rb_define_method(fiber.as_raw(), c"<<".as_ptr(), Some(send), 1);
        rb_sys::rb_define_method(verbs.as_raw(), c"receive".as_ptr(), Some(receive_here), 0);
    }
    Ok(())
}

type Raw = unsafe extern "C" fn() -> VALUE;

/// The names that messages need, looked up once.
struct Ids {
    mailbox: ID,
    push: ID,
    shift: ID,
    queue: ID,
    polyphony: ID,
    scheduler: ID,
}

/// See `lib.rs`.
pub(crate) fn make_what_is_made_once() {
    ids();
}

fn ids() -> &'static Ids {
    static IDS: std::sync::OnceLock<Ids> = std::sync::OnceLock::new();
    IDS.get_or_init(|| {
        // SAFETY: static strings, ended by a zero.
        let id = |name: &std::ffi::CStr| unsafe { rb_sys::rb_intern(name.as_ptr()) };
        Ids {
            mailbox: id(c"@mailbox"),
            push: id(c"push"),
            shift: id(c"shift"),
            queue: id(c"Queue"),
            polyphony: id(c"Polyphony"),
            scheduler: id(c"scheduler!"),
        }
    })
}

fn mailbox_of(this: Value) -> Value {
    // SAFETY: a live fiber; what a method returns is a live object. Making a queue raises nothing.
    unsafe { Value::from_raw(mailbox(this.as_raw())) }
}

/// The fiber's mailbox.
unsafe fn mailbox(fiber: VALUE) -> VALUE {
    // SAFETY: the caller's fiber is alive; a variable that is not set reads as nil. Nothing here is dropped
    // if one of the calls raises.
    unsafe {
        let mailbox = rb_sys::rb_ivar_get(fiber, ids().mailbox);
        if mailbox != NIL {
            return mailbox;
        }
        let queue = rb_sys::rb_const_get(rb_sys::rb_cThread, ids().queue);
        let made = rb_sys::rb_class_new_instance(0, std::ptr::null(), queue);
        // Ruby was called: another thread may have made it meanwhile, and left something there.
        let mailbox = rb_sys::rb_ivar_get(fiber, ids().mailbox);
        if mailbox == NIL { rb_sys::rb_ivar_set(fiber, ids().mailbox, made) } else { mailbox }
    }
}

/// [`mailbox`] of a fiber that has not ended; the next look is quick. A fiber that ends says so.
unsafe fn mailbox_in_use(fiber: VALUE) -> VALUE {
    match recall::variable(fiber, ids().mailbox) {
        // SAFETY: the caller's fiber is alive.
        NIL => unsafe { mailbox(fiber) },
        mailbox => mailbox,
    }
}

unsafe extern "C" fn receive(fiber: VALUE) -> VALUE {
    // SAFETY: Ruby called us with a live fiber; nothing here is dropped if it raises.
    unsafe { shift(mailbox(fiber)) }
}

unsafe fn shift(mailbox: VALUE) -> VALUE {
    // SAFETY: a live queue; nothing here is dropped if it raises.
    unsafe { rb_sys::rb_funcallv(mailbox, ids().shift, 0, std::ptr::null()) }
}

unsafe extern "C" fn receive_here(_this: VALUE) -> VALUE {
    // SAFETY: called with the GVL, from a fiber. Nothing here is dropped if a call raises.
    unsafe {
        if Scheduler::current().is_none() {
            // A thread that waits for messages runs fibers: whoever sends one looks for its main one.
            let polyphony = rb_sys::rb_const_get(rb_sys::rb_cObject, ids().polyphony);
            rb_sys::rb_funcallv(polyphony, ids().scheduler, 0, std::ptr::null());
        }
        shift(mailbox_in_use(rb_sys::rb_fiber_current()))
    }
}

unsafe extern "C" fn send(fiber: VALUE, message: VALUE) -> VALUE {
    // SAFETY: Ruby called us with live objects; nothing here is dropped if it raises.
    unsafe {
        let mailbox = recall::found(fiber, ids().mailbox).unwrap_or_else(|| mailbox_in_use(fiber));
        rb_sys::rb_funcallv(mailbox, ids().push, 1, &message);
    }
    fiber
}
