//! Mutexes, condition variables, semaphores, events: structs of the caller's, all zeros to begin with.

use std::ffi::c_int;

use polyphony_core::native::sync::{Condvar, Event, Mutex, Semaphore};

use crate::boundary::{call, done, embedded};

/// A lock that fibers wait for without holding their thread. All zeros is unlocked. Not copied or moved
/// while in use; there is nothing to free.
#[repr(C)]
#[derive(Debug)]
pub struct poly_mutex {
    /// Ours.
    pub reserved: [u64; 4],
}

/// A condition variable. All zeros is one that nobody waits for. Not copied or moved while in use.
#[repr(C)]
#[derive(Debug)]
pub struct poly_condition {
    /// Ours.
    pub reserved: [u64; 4],
}

/// A counting semaphore. All zeros is one without permits: release some first. Not copied or moved
/// while in use.
#[repr(C)]
#[derive(Debug)]
pub struct poly_semaphore {
    /// Ours.
    pub reserved: [u64; 4],
}

/// Something that has happened, or has not yet. All zeros is not yet. Not copied or moved while in use.
#[repr(C)]
#[derive(Debug)]
pub struct poly_event {
    /// Ours.
    pub reserved: [u64; 4],
}

/// Takes a lock, waiting for it if need be. It passes from owner to owner in the order in which they
/// asked. Who ends without giving it back keeps it for ever.
///
/// Suspends, or blocks a plain thread, while another has it. Any thread.
/// Returns 0; -EDEADLK if the caller has it already; -ECANCELED, -ETIMEDOUT. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_mutex_lock(mutex: *mut poly_mutex) -> c_int {
    // SAFETY: a zeroed struct of the caller's, which lives for the call; so everywhere below.
    done(|| unsafe { embedded::<_, Mutex>(mutex) }?.lock())
}

/// Takes a lock if nobody has it.
///
/// Never suspends. Any thread.
/// Returns 0, -EBUSY. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_mutex_try_lock(mutex: *mut poly_mutex) -> c_int {
    // SAFETY: as in `poly_mutex_lock`.
    done(|| unsafe { embedded::<_, Mutex>(mutex) }?.try_lock())
}

/// Gives a lock to whoever has waited longest.
///
/// Never suspends. The fiber or thread that has the lock.
/// Returns 0; -EPERM if the caller does not have it. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_mutex_unlock(mutex: *mut poly_mutex) -> c_int {
    // SAFETY: as in `poly_mutex_lock`.
    done(|| unsafe { embedded::<_, Mutex>(mutex) }?.unlock())
}

/// Unlocks `mutex`, waits to be signalled, and locks it again, whatever the answer is. There are no
/// spurious wake-ups.
///
/// Suspends, or blocks a plain thread. The fiber or thread that has the lock.
/// Returns 0; -EPERM if the caller does not have the lock; -ECANCELED or -ETIMEDOUT, and then the signal
/// that would have come goes to the next. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_condition_wait(
    condition: *mut poly_condition,
    mutex: *mut poly_mutex,
) -> c_int {
    done(|| {
        // SAFETY: as in `poly_mutex_lock`.
        let (condition, mutex) = unsafe { (embedded::<_, Condvar>(condition)?, embedded(mutex)?) };
        condition.wait(mutex)
    })
}

/// Wakes whoever has waited longest.
///
/// Never suspends. Any thread.
/// Returns how many were woken: 0 or 1. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_condition_signal(condition: *mut poly_condition) -> c_int {
    // SAFETY: as in `poly_mutex_lock`.
    call(|| Ok(i32::from(unsafe { embedded::<_, Condvar>(condition) }?.notify_one())))
}

/// Wakes everybody who waits.
///
/// Never suspends. Any thread.
/// Returns how many were woken. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_condition_broadcast(condition: *mut poly_condition) -> i64 {
    // SAFETY: as in `poly_mutex_lock`.
    call(|| Ok(unsafe { embedded::<_, Condvar>(condition) }?.notify_all() as i64))
}

/// Takes `permits`, all at once, waiting for them if need be. Whoever wants few does not overtake who has
/// waited for many.
///
/// Suspends, or blocks a plain thread, while there are too few. Any thread.
/// Returns 0, -ECANCELED, -ETIMEDOUT. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_semaphore_acquire(semaphore: *mut poly_semaphore, permits: u64) -> c_int {
    // SAFETY: as in `poly_mutex_lock`.
    done(|| unsafe { embedded::<_, Semaphore>(semaphore) }?.acquire(permits))
}

/// Takes `permits` if they are there and nobody waits.
///
/// Never suspends. Any thread.
/// Returns 0, -EAGAIN. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_semaphore_try_acquire(semaphore: *mut poly_semaphore, permits: u64) -> c_int {
    // SAFETY: as in `poly_mutex_lock`.
    done(|| unsafe { embedded::<_, Semaphore>(semaphore) }?.try_acquire(permits))
}

/// Puts `permits` back, or in for the first time.
///
/// Never suspends. Any thread.
/// Returns 0, -EOVERFLOW. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_semaphore_release(semaphore: *mut poly_semaphore, permits: u64) -> c_int {
    // SAFETY: as in `poly_mutex_lock`.
    done(|| unsafe { embedded::<_, Semaphore>(semaphore) }?.release(permits))
}

/// Waits until an event is set.
///
/// Suspends, or blocks a plain thread, while it is not. Any thread.
/// Returns 0, -ECANCELED, -ETIMEDOUT. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_event_wait(event: *mut poly_event) -> c_int {
    // SAFETY: as in `poly_mutex_lock`.
    done(|| unsafe { embedded::<_, Event>(event) }?.wait())
}

/// Sets an event and wakes everybody who waits for it.
///
/// Never suspends. Any thread.
/// Returns how many were woken. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_event_set(event: *mut poly_event) -> i64 {
    // SAFETY: as in `poly_mutex_lock`.
    call(|| Ok(unsafe { embedded::<_, Event>(event) }?.set() as i64))
}

/// Makes an event one that has not happened.
///
/// Never suspends. Any thread.
/// Returns 0. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_event_reset(event: *mut poly_event) -> c_int {
    done(|| {
        // SAFETY: as in `poly_mutex_lock`.
        unsafe { embedded::<_, Event>(event) }?.reset();
        Ok(())
    })
}

/// Asks whether an event is set.
///
/// Never suspends. Any thread.
/// Returns 1 or 0. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_event_is_set(event: *const poly_event) -> c_int {
    // SAFETY: as in `poly_mutex_lock`.
    call(|| Ok(i32::from(unsafe { embedded::<_, Event>(event) }?.is_set())))
}
