//! Deadlines.

use std::ffi::c_int;

use polyphony_core::{
    native::{self, Errno, Scope},
    time::Time,
};

use crate::boundary::{done, look};

/// A deadline while it is in force. It lives in the caller's frame, is not moved or copied, and is
/// closed before the frame is left.
#[repr(C)]
#[derive(Debug)]
pub struct poly_scope {
    /// Ours.
    pub reserved: [u64; 8],
}

const _: () = assert!(size_of::<Scope>() <= size_of::<poly_scope>());

/// Opens a scope: until it is closed, every blocking call of this fiber returns -ETIMEDOUT once `poly_now`
/// has reached `deadline`. Scopes nest; the nearest deadline counts, whichever scope it belongs to.
/// `POLY_FOREVER` is no deadline.
///
/// Never suspends. Fibers only.
/// Returns 0; -EPERM outside a fiber; -EINVAL for NULL, and for the innermost scope, which is open. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_scope_open(scope: *mut poly_scope, deadline: u64) -> c_int {
    done(|| {
        // SAFETY: only whether it is null or misaligned is asked here.
        unsafe { look(scope.cast::<u64>()) }?;
        // SAFETY: the scope stays where it is until it is left, by the header's conventions.
        unsafe { Scope::enter(scope.cast(), Time(deadline)) }
    })
}

/// Closes the scope that was opened last.
///
/// Never suspends. Fibers only.
/// Returns 0; -ETIMEDOUT if its own deadline has ended or refused a call, and not an outer one's; -EINVAL
/// if it is not the innermost; -EPERM outside a fiber. The scope is closed unless the answer is -EINVAL or
/// -EPERM. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_scope_close(scope: *mut poly_scope) -> c_int {
    done(|| {
        // SAFETY: a scope that is the innermost of this fiber was entered; any other is only compared.
        let passed = unsafe { Scope::leave(scope.cast()) }?;
        if passed { Err(Errno::TIMED_OUT) } else { Ok(()) }
    })
}

/// Begins a stretch in which neither cancellations nor deadlines end or refuse a call of this fiber: for
/// cleaning up. They are heeded once the shield is lowered. Shields nest.
///
/// Never suspends. Fibers only.
/// Returns 0; -EPERM outside a fiber. Since 2.0.
#[unsafe(no_mangle)]
pub extern "C" fn poly_shield_raise() -> c_int {
    done(native::raise_shield)
}

/// Ends what `poly_shield_raise` began.
///
/// Never suspends. Fibers only.
/// Returns 0; -EINVAL if no shield is raised; -EPERM outside a fiber. Since 2.0.
#[unsafe(no_mangle)]
pub extern "C" fn poly_shield_lower() -> c_int {
    done(native::lower_shield)
}
