//! Ractors: fibers are scheduled in the main one; everywhere else every override is the original.
//!
//! The overrides are called in every Ractor, for a class has its methods in all of them. They ask for the
//! thread's scheduler first, and a thread of another Ractor never has one. What looks beyond the calling
//! thread, at every scheduler of the process, asks `is_main`: only the main Ractor's lock guards those.

use std::sync::OnceLock;

use rb_sys::VALUE;

struct Key(rb_sys::rb_ractor_local_key_t);

// SAFETY: a key is made once and never changed; Ruby looks it up in the calling Ractor.
unsafe impl Send for Key {}
// SAFETY: as above.
unsafe impl Sync for Key {}

/// Where the main Ractor, and no other, has a value.
static MARK: OnceLock<Key> = OnceLock::new();

/// Declares every method defined from here on fit for any Ractor, and marks this one as the main one.
pub(crate) fn watch() {
    // SAFETY: called by the extension's initialisation, in the main Ractor, with its GVL.
    MARK.get_or_init(|| unsafe {
        rb_sys::rb_ext_ractor_safe(true);
        let key = rb_sys::rb_ractor_local_storage_value_newkey();
        rb_sys::rb_ractor_local_storage_value_set(key, rb_sys::Qtrue as VALUE);
        Key(key)
    });
}

/// Whether the calling Ractor is the main one.
pub(crate) fn is_main() -> bool {
    let Some(key) = MARK.get() else { return true };
    // SAFETY: a key that Ruby made.
    unsafe { rb_sys::rb_ractor_local_storage_value(key.0) != rb_sys::Qnil as VALUE }
}
