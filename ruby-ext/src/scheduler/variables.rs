//! What stands in variables of Ruby's objects that Ruby code cannot see: names, and what comes for a fiber that has
//! none now.

use magnus::{
    Value,
    rb_sys::{AsRawValue, FromRawValue},
};
use rb_sys::VALUE;

use super::ruby;
use crate::roots::{self, NIL, Name, Scheduled};

/// A variable's name that Ruby code cannot write.
pub(crate) fn hidden_id(name: &'static str) -> rb_sys::ID {
    // SAFETY: the pointer and the length are those of a static string.
    unsafe { rb_sys::rb_intern2(name.as_ptr().cast(), name.len() as _) }
}

/// See `lib.rs`.
pub(crate) fn make_what_is_made_once() {
    scheduler_id();
    owner_id();
    name_id();
}

/// The variable of a Thread, and of a Fiber, that holds its scheduler.
pub(crate) fn scheduler_id() -> rb_sys::ID {
    static ID: std::sync::OnceLock<rb_sys::ID> = std::sync::OnceLock::new();
    *ID.get_or_init(|| hidden_id("__polyphony_scheduler__"))
}

/// The variable of a timeout's marker that holds the fiber which nobody spun and which it is for.
pub(super) fn owner_id() -> rb_sys::ID {
    static ID: std::sync::OnceLock<rb_sys::ID> = std::sync::OnceLock::new();
    *ID.get_or_init(|| hidden_id("__polyphony_owner__"))
}

/// The variable of a Fiber that holds its name.
pub(super) fn name_id() -> rb_sys::ID {
    static ID: std::sync::OnceLock<rb_sys::ID> = std::sync::OnceLock::new();
    *ID.get_or_init(|| hidden_id("__polyphony_name__"))
}

pub(super) fn set_name(fiber: Value, name: Name, scheduler: VALUE) {
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
pub(super) struct Early {
    pub(super) scheduled: Option<Scheduled>,
    pub(super) unblocked: Option<VALUE>,
}

pub(super) const SCHEDULED: &str = "__polyphony_scheduled__";

impl Early {
    pub(super) fn take(fiber: Value) -> Early {
        let scheduled = Self::taken(fiber, SCHEDULED)
            .map(|value| Scheduled::new(value.as_raw(), roots::is_exception(value)));
        Early {
            scheduled,
            unblocked: Self::taken(fiber, "__polyphony_unblocked__").map(|value| value.as_raw()),
        }
    }

    /// An Array with what came, so that nil may come too.
    pub(super) fn taken(fiber: Value, variable: &'static str) -> Option<Value> {
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
