//! Ractors: each may have schedulers, for its own threads.
//!
//! A scheduler is touched under the lock of its Ractor only. So what looks beyond the calling thread, at every
//! scheduler there is, sees those of the calling Ractor.

use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering},
};

use rb_sys::VALUE;

use crate::roots::NIL;

struct Key(rb_sys::rb_ractor_local_key_t);

// SAFETY: a key is made once and never changed; Ruby looks it up in the calling Ractor.
unsafe impl Send for Key {}
// SAFETY: as above.
unsafe impl Sync for Key {}

/// Where each Ractor has its number.
static NUMBER: OnceLock<Key> = OnceLock::new();

/// Names a Ractor that has had a scheduler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Name(VALUE);

/// Declares every method defined from here on fit for any Ractor.
pub(crate) fn watch() {
    // SAFETY: called by the extension's initialisation, with the GVL.
    NUMBER.get_or_init(|| unsafe {
        rb_sys::rb_ext_ractor_safe(true);
        Key(rb_sys::rb_ractor_local_storage_value_newkey())
    });
}

/// The calling Ractor, where it has had a scheduler.
pub(crate) fn current() -> Option<Name> {
    // SAFETY: a key that Ruby made.
    let number = unsafe { rb_sys::rb_ractor_local_storage_value(NUMBER.get()?.0) };
    (number != NIL).then_some(Name(number))
}

/// The calling Ractor, which gets a scheduler.
pub(crate) fn named() -> Name {
    static LAST: AtomicU64 = AtomicU64::new(0);
    current().unwrap_or_else(|| {
        let number = LAST.fetch_add(1, Ordering::Relaxed) + 1;
        let key = NUMBER.get().expect("the extension is initialised");
        // SAFETY: a key that Ruby made; a number this small is no object.
        unsafe {
            let number = rb_sys::rb_ull2inum(number);
            rb_sys::rb_ractor_local_storage_value_set(key.0, number);
            Name(number)
        }
    })
}
