//! Mutexes, condition variables, semaphores, events and the like: structs of the caller's, all zeros to begin with.

use std::ffi::{c_int, c_void};

use polyphony_core::native::sync::{Condvar, Event, Mutex, Once, RwLock, Semaphore, WaitGroup};

use crate::{
    boundary::{call, done, embedded},
    local::{Callback, poly_callback},
};

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

/// A lock for one who writes or many who read. All zeros is unlocked. Not copied or moved while in use.
#[repr(C)]
#[derive(Debug)]
pub struct poly_rwlock {
    /// Ours.
    pub reserved: [u64; 6],
}

/// Something that is done once. All zeros is not yet. Not copied or moved while in use.
#[repr(C)]
#[derive(Debug)]
pub struct poly_once {
    /// Ours.
    pub reserved: [u64; 4],
}

/// A count of things to be done. All zeros is nothing to be done. Not copied or moved while in use.
#[repr(C)]
#[derive(Debug)]
pub struct poly_wait_group {
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
///     error = poly_mutex_lock(&mutex);
///     if (error < 0) return error;
///     while (first == 0 && error == 0)
///         error = poly_condition_wait(&condition, &mutex);
///     poly_mutex_unlock(&mutex);
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
    call(|| Ok(i32::from(unsafe { embedded::<_, Condvar>(condition) }?.notify_one()?)))
}

/// Wakes everybody who waits.
///
/// Never suspends. Any thread.
/// Returns how many were woken. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_condition_broadcast(condition: *mut poly_condition) -> i64 {
    // SAFETY: as in `poly_mutex_lock`.
    call(|| Ok(unsafe { embedded::<_, Condvar>(condition) }?.notify_all()? as i64))
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
    call(|| Ok(unsafe { embedded::<_, Event>(event) }?.set()? as i64))
}

/// Makes an event one that has not happened.
///
/// Never suspends. Any thread.
/// Returns 0. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_event_reset(event: *mut poly_event) -> c_int {
    // SAFETY: as in `poly_mutex_lock`.
    done(|| unsafe { embedded::<_, Event>(event) }?.reset())
}

/// Asks whether an event is set.
///
/// Never suspends. Any thread.
/// Returns 1 or 0. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_event_is_set(event: *const poly_event) -> c_int {
    // SAFETY: as in `poly_mutex_lock`.
    call(|| Ok(i32::from(unsafe { embedded::<_, Event>(event) }?.is_set()?)))
}

/// Takes a lock to read, with others who read, waiting if need be. Who asks behind one that waits to write waits,
/// too: so nobody waits for ever, but who reads already must not ask again.
///
/// Suspends, or blocks a plain thread, while another has it to write or has asked before. Any thread.
/// Returns 0; -EDEADLK if the caller has it to write; -ECANCELED, -ETIMEDOUT, -POLY_EFORKED. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_rwlock_read(lock: *mut poly_rwlock) -> c_int {
    // SAFETY: as in `poly_mutex_lock`.
    done(|| unsafe { embedded::<_, RwLock>(lock) }?.read())
}

/// Takes a lock to write, alone, waiting if need be.
///
/// Suspends, or blocks a plain thread, while another has it. Any thread.
/// Returns 0; -EDEADLK if the caller has it to write already; -ECANCELED, -ETIMEDOUT, -POLY_EFORKED. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_rwlock_write(lock: *mut poly_rwlock) -> c_int {
    // SAFETY: as in `poly_mutex_lock`.
    done(|| unsafe { embedded::<_, RwLock>(lock) }?.write())
}

/// Takes a lock to read if nobody has it to write or waits for it.
///
/// Never suspends. Any thread.
/// Returns 0, -EBUSY, -POLY_EFORKED. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_rwlock_try_read(lock: *mut poly_rwlock) -> c_int {
    // SAFETY: as in `poly_mutex_lock`.
    done(|| unsafe { embedded::<_, RwLock>(lock) }?.try_read())
}

/// Takes a lock to write if nobody has it or waits for it.
///
/// Never suspends. Any thread.
/// Returns 0, -EBUSY, -POLY_EFORKED. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_rwlock_try_write(lock: *mut poly_rwlock) -> c_int {
    // SAFETY: as in `poly_mutex_lock`.
    done(|| unsafe { embedded::<_, RwLock>(lock) }?.try_write())
}

/// Gives a lock back, whichever way the caller has it.
///
/// Never suspends. Who has the lock.
/// Returns 0; -EPERM if nobody reads and the caller does not write; -POLY_EFORKED. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_rwlock_unlock(lock: *mut poly_rwlock) -> c_int {
    // SAFETY: as in `poly_mutex_lock`.
    done(|| unsafe { embedded::<_, RwLock>(lock) }?.unlock())
}

/// Has `callback(argument)` called if that has not happened yet, and waits until it has returned, whoever calls it.
/// Once it has returned it has happened, whatever became of the calls in it: what must not be left half done is done
/// under a shield. Who has been cancelled before does not begin.
///
/// Suspends, or blocks a plain thread, while another calls it. Any thread.
/// Returns 0; -EDEADLK in the callback itself; -ECANCELED or -ETIMEDOUT if it was refused or the wait ended;
/// -EINVAL, -POLY_EFORKED. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_once_run(
    once: *mut poly_once,
    callback: poly_callback,
    argument: *mut c_void,
) -> c_int {
    done(|| {
        let callback = Callback::new(callback, argument)?;
        // SAFETY: as in `poly_mutex_lock`.
        unsafe { embedded::<_, Once>(once) }?.run(|| callback.make())
    })
}

/// Says that `more` things are to be done, or have been done where it is negative. Whoever waits goes on once
/// nothing is left.
///
/// Never suspends. Any thread.
/// Returns 0; -EINVAL if more were done than there were to do; -EOVERFLOW, -POLY_EFORKED. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_wait_group_add(group: *mut poly_wait_group, more: i64) -> c_int {
    // SAFETY: as in `poly_mutex_lock`.
    done(|| unsafe { embedded::<_, WaitGroup>(group) }?.add(more))
}

/// Says that one thing is done.
///
/// Never suspends. Any thread.
/// Returns 0; -EINVAL if nothing was to be done; -POLY_EFORKED. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_wait_group_done(group: *mut poly_wait_group) -> c_int {
    // SAFETY: as in `poly_mutex_lock`.
    done(|| unsafe { embedded::<_, WaitGroup>(group) }?.done())
}

/// Waits until nothing is left to be done.
///
/// Suspends, or blocks a plain thread, while something is. Any thread.
/// Returns 0, -ECANCELED, -ETIMEDOUT, -POLY_EFORKED. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_wait_group_wait(group: *mut poly_wait_group) -> c_int {
    // SAFETY: as in `poly_mutex_lock`.
    done(|| unsafe { embedded::<_, WaitGroup>(group) }?.wait())
}

/// Asks whether nothing is left to be done.
///
/// Never suspends. Any thread.
/// Returns 0, or -EAGAIN while something is; -POLY_EFORKED. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_wait_group_try_wait(group: *mut poly_wait_group) -> c_int {
    // SAFETY: as in `poly_mutex_lock`.
    done(|| unsafe { embedded::<_, WaitGroup>(group) }?.try_wait())
}
