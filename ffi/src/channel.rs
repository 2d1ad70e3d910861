//! Channels.

use std::ffi::{c_int, c_void};

use polyphony_core::native::{Errno, Result, forks, sync::Channel};

use crate::{
    boundary::{call, done, object, put, wanted},
    debug,
};

/// A queue of pointers between fibers, and between fibers and threads. Freed by `poly_channel_free`.
pub struct poly_channel {
    items: Channel<Item>,
    forks: u32,
}

/// What is sent: a pointer that the sender gives away.
struct Item(*mut c_void);

// SAFETY: whoever sends a pointer gives what it points to to whoever receives it.
unsafe impl Send for Item {}

impl poly_channel {
    /// The channel, unless it is the parent's and we are the child of a fork.
    unsafe fn look<'a>(channel: *const poly_channel) -> Result<&'a Channel<Item>> {
        // SAFETY: a channel lives until it is freed.
        let channel = unsafe { object(channel) }?;
        if channel.forks == forks() { Ok(&channel.items) } else { Err(Errno::FORKED) }
    }
}

/// Makes a channel that holds `capacity` items: 0 hands each over in person, SIZE_MAX holds as many as
/// there is memory for.
///
/// On success `*channel` is the caller's, to be freed with `poly_channel_free`.
/// Never suspends. Any thread.
/// Returns 0, -EINVAL. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_channel_new(capacity: usize, channel: *mut *mut poly_channel) -> c_int {
    done(|| {
        wanted(channel)?;
        let made = Box::new(poly_channel { items: Channel::bounded(capacity), forks: forks() });
        let made = Box::into_raw(made);
        debug::made(made);
        // SAFETY: not null, and an output by the header's conventions.
        unsafe { put(channel, made) }
    })
}

/// Sends an item, waiting for room if need be. What it points to, if anything, becomes the receiver's.
///
/// Suspends, or blocks a plain thread, while the channel is full. Any thread.
/// Returns 0; -EPIPE if the channel is or becomes closed, -ECANCELED, -ETIMEDOUT, -POLY_EFORKED: then the
/// item is still the caller's. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_channel_send(channel: *mut poly_channel, item: *mut c_void) -> c_int {
    done(|| {
        // SAFETY: a channel lives until it is freed.
        let items = unsafe { poly_channel::look(channel) }?;
        items.send(Item(item)).map_err(|refused| refused.errno)
    })
}

/// Sends an item if that needs no waiting.
///
/// Never suspends. Any thread.
/// Returns 0; -EAGAIN if the channel is full, -EPIPE if it is closed: the item is still the caller's.
/// Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_channel_try_send(channel: *mut poly_channel, item: *mut c_void) -> c_int {
    done(|| {
        // SAFETY: a channel lives until it is freed.
        let items = unsafe { poly_channel::look(channel) }?;
        items.try_send(Item(item)).map_err(|refused| refused.errno)
    })
}

/// Receives the item that was sent first, waiting for one if need be.
///
/// Suspends, or blocks a plain thread, while the channel is empty. Any thread.
/// Returns 0 and the item in `*item`; -EPIPE once the channel is closed and empty; -ECANCELED or
/// -ETIMEDOUT, and then the item that would have come goes to the next receiver. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_channel_recv(channel: *mut poly_channel, item: *mut *mut c_void) -> c_int {
    done(|| {
        wanted(item)?;
        // SAFETY: a channel lives until it is freed; the output is not null.
        unsafe { put(item, poly_channel::look(channel)?.recv()?.0) }
    })
}

/// Receives an item if one is there.
///
/// Never suspends. Any thread.
/// Returns 0 and the item in `*item`; -EAGAIN if there is none, -EPIPE if there never will be. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_channel_try_recv(channel: *mut poly_channel, item: *mut *mut c_void) -> c_int {
    done(|| {
        wanted(item)?;
        // SAFETY: a channel lives until it is freed; the output is not null.
        unsafe { put(item, poly_channel::look(channel)?.try_recv()?.0) }
    })
}

/// Closes a channel: whoever waits is told, nothing more can be sent, and what is in it can still be
/// received.
///
/// Never suspends. Any thread.
/// Returns 0; -EALREADY if it was closed before. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_channel_close(channel: *mut poly_channel) -> c_int {
    done(|| {
        // SAFETY: a channel lives until it is freed.
        let closed = unsafe { poly_channel::look(channel) }?.close();
        if closed { Ok(()) } else { Err(Errno::new(libc::EALREADY)) }
    })
}

/// How many items are in a channel.
///
/// Never suspends. Any thread. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_channel_length(channel: *const poly_channel) -> i64 {
    // SAFETY: a channel lives until it is freed.
    call(|| Ok(unsafe { poly_channel::look(channel) }?.len() as i64))
}

/// Frees a channel, and forgets the items that are in it: receive them first if they own anything. No
/// other call on it may be running. NULL is fine.
///
/// Never suspends. Any thread.
/// Returns 0; -EBUSY if somebody waits for it, and then nothing has happened. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_channel_free(channel: *mut poly_channel) -> c_int {
    call(|| {
        if channel.is_null() {
            return Ok(0);
        }
        // SAFETY: a channel lives until it is freed.
        let known = unsafe { object(channel) }?;
        if known.forks == forks() && !known.items.is_idle() {
            return Err(Errno::new(libc::EBUSY));
        }
        if debug::freed(channel) {
            return Ok(0);
        }
        // SAFETY: it came from `poly_channel_new`, and by the header's conventions is freed once.
        drop(unsafe { Box::from_raw(channel) });
        Ok(0)
    })
}
