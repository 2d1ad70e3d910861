//! Scopes: deadlines, children, shields.

use std::ffi::{c_int, c_void};

use polyphony_core::{
    native::{self, Placement, Result, Scope},
    time::Time,
};

use crate::{
    boundary::{call, done, look, put},
    fiber::{Call, placement, poly_entry, poly_fiber},
};

/// A deadline and the children of a fiber, while they are in force. It lives in the caller's frame, and is closed
/// before the frame is left.
///
///     poly_scope scope;
///     poly_scope_open(&scope, poly_now() + 5 * POLY_SECOND);
///     poly_scope_spawn(&scope, 0, fetch, &first, NULL);
///     poly_scope_spawn(&scope, 0, fetch, &second, NULL);
///     error = poly_scope_close(&scope);  // both have ended: both have fetched, or neither goes on
///
/// In C++ a guard does that, also where an exception passes:
///
///     struct Scope {
///         poly_scope scope;
///         explicit Scope(uint64_t deadline) { poly_scope_open(&scope, deadline); }
///         ~Scope() { poly_scope_close(&scope); }
///     };
///
/// One that is left open, by `return`, longjmp or an exception, stays in force until the scope around it is closed,
/// which answers -ENOTEMPTY, or until the fiber ends: then its children are cancelled and waited for.
#[repr(C)]
#[derive(Debug)]
pub struct poly_scope {
    /// Ours.
    pub reserved: [u64; 8],
}

impl poly_scope {
    /// The scope that stands there, if there is one.
    unsafe fn read(scope: *const poly_scope) -> Result<Scope> {
        // SAFETY: by the header's conventions it was given to `poly_scope_open`, which wrote its first word.
        Ok(Scope::from_number(unsafe { look(scope.cast::<u64>()) }.copied()?))
    }
}

/// Opens a scope: until it is closed, every blocking call of this fiber returns -ETIMEDOUT once `poly_now`
/// has reached `deadline`, and its children are cancelled then. Scopes nest; the nearest deadline counts, whichever
/// scope it belongs to. `POLY_FOREVER` is no deadline.
///
/// Never suspends. Fibers only.
/// Returns 0; -EPERM outside a fiber; -EINVAL for NULL, and for a scope that is open, also if the function that
/// opened it has returned. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_scope_open(scope: *mut poly_scope, deadline: u64) -> c_int {
    done(|| {
        // SAFETY: only whether it is null or misaligned is asked here.
        unsafe { look(scope.cast::<u64>()) }?;
        let opened = Scope::open_at(scope.addr(), Time(deadline))?;
        // SAFETY: as large as a scope, which begins with a word of ours.
        unsafe { put(scope.cast(), opened.number()) }
    })
}

/// Starts a fiber that runs `entry(argument)` and ends before the scope does: a child of the scope. If it returns a
/// negative number other than -ECANCELED it has failed, and the scope is cancelled with that number as its
/// result: its other children are cancelled, and the owner's calls within the scope are refused. `flags` are those
/// of `poly_spawn_as`.
///
/// With `fiber` not NULL, `*fiber` becomes its name. It can be joined for its result until the scope is closed, and
/// need not be.
/// Never suspends. The scope's owner, and its children.
/// Returns 0; -ECANCELED, each time, if the scope is cancelled, or one that the caller is in, unless it has raised a
/// shield; -EINVAL if it is none of the caller's; -EPERM outside a fiber; what `poly_spawn` returns. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_scope_spawn(
    scope: *mut poly_scope,
    flags: u32,
    entry: poly_entry,
    argument: *mut c_void,
    fiber: *mut poly_fiber,
) -> c_int {
    done(|| {
        let child = Call::new(entry, argument)?;
        let placement = placement(flags)?;
        spawn(scope, placement, child, fiber)
    })
}

fn spawn(scope: *mut poly_scope, placement: Placement, child: Call, fiber: *mut poly_fiber) -> Result<()> {
    // SAFETY: a scope was given to `poly_scope_open`, by the header's conventions; the name is an output.
    unsafe {
        let id = poly_scope::read(scope)?.spawn(move || child.make(), fiber.is_null(), placement)?;
        crate::fiber::name(fiber, id)
    }
}

/// Cancels a scope: its children, and every blocking call of its owner's within it from now on, which returns
/// -ECANCELED until the scope is closed.
///
/// Never suspends. The scope's owner, and its children.
/// Returns 0; -EINVAL if it is none of the caller's; -EPERM outside a fiber. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_scope_cancel(scope: *mut poly_scope) -> c_int {
    // SAFETY: a scope was given to `poly_scope_open`, by the header's conventions.
    done(|| unsafe { poly_scope::read(scope) }?.cancel())
}

/// Waits until every child of a scope has ended, and closes it. If the wait is cancelled or a deadline passes, the
/// children are cancelled, and waited for all the same.
///
/// Suspends while there are children. Fibers only.
/// Returns 0, or why the scope ended early: what the first child to fail returned (-POLY_EPANIC if it
/// panicked); -ETIMEDOUT if the scope's own deadline has ended or refused a call, or children; -ECANCELED if its
/// children were cancelled: by `poly_scope_cancel`, with their owner, or by an outer scope.
/// -ENOTEMPTY if scopes that were opened within it had been left open: they are closed then, their children
/// cancelled, and so is this one.
/// -EINVAL if it is no open scope of this fiber; -EPERM outside a fiber: then nothing has happened. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_scope_close(scope: *mut poly_scope) -> i64 {
    call(|| {
        // SAFETY: by the header's conventions it was given to `poly_scope_open`.
        let closed = unsafe { poly_scope::read(scope) }?.close();
        Ok(closed.map_or_else(|early| early.0, |()| 0))
    })
}

/// Begins a stretch in which neither cancellations nor deadlines end or refuse a call of this fiber: for
/// cleaning up. They are heeded once the shield is lowered. Shields nest.
///
///     poly_shield_raise();
///     poly_write_all(fd, "bye\n", 4);
///     poly_shield_lower();
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
