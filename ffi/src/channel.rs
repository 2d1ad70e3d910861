//! Channels.

use std::ffi::{c_int, c_void};

use polyphony_core::{
    native::{
        Errno, Result,
        sync::{Case, Channel, select},
    },
    time::Time,
};

use crate::boundary::{call, done, free, give, look, object, put, wanted};

/// A queue of pointers between fibers, and between fibers and threads. Freed by `poly_channel_free`.
pub struct poly_channel {
    items: Channel<Item>,
}

/// What is sent: a pointer that the sender gives away.
struct Item(*mut c_void);

// SAFETY: whoever sends a pointer gives what it points to to whoever receives it.
unsafe impl Send for Item {}

impl poly_channel {
    unsafe fn look<'a>(channel: *const poly_channel) -> Result<&'a Channel<Item>> {
        // SAFETY: a channel lives until it is freed.
        Ok(&unsafe { object(channel) }?.items)
    }
}

/// One of the sends and receives of `poly_select`.
#[repr(C)]
#[derive(Debug)]
pub struct poly_case {
    /// The channel; NULL for a case that never happens.
    pub channel: *mut poly_channel,
    /// What is sent; or where what is received is put.
    pub item: *mut c_void,
    /// `POLY_CASE_SEND` or `POLY_CASE_RECV`.
    pub operation: u32,
    /// Of the case that has happened: 0, or -EPIPE if its channel is closed.
    pub result: i32,
}

/// The case sends its item.
pub const POLY_CASE_SEND: u32 = 1;
/// The case receives an item.
pub const POLY_CASE_RECV: u32 = 2;

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
        // SAFETY: not null, and an output by the header's conventions.
        unsafe { give(channel, poly_channel { items: Channel::bounded(capacity) }) }
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
///     while (poly_channel_recv(work, &item) == 0)
///         fetch(item);  // until it is closed and empty
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
        let closed = unsafe { poly_channel::look(channel) }?.close()?;
        if closed { Ok(()) } else { Err(Errno::new(libc::EALREADY)) }
    })
}

/// How many items are in a channel.
///
/// Never suspends. Any thread. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_channel_length(channel: *const poly_channel) -> i64 {
    call(|| {
        // SAFETY: a channel lives until it is freed.
        let items = unsafe { poly_channel::look(channel) }?;
        items.is_ours()?;
        Ok(items.len() as i64)
    })
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
        if known.items.is_ours().is_ok() && !known.items.is_idle() {
            return Err(Errno::new(libc::EBUSY));
        }
        // SAFETY: it came from `poly_channel_new`, and by the header's conventions is freed once.
        unsafe { free(channel) };
        Ok(0)
    })
}

/// Waits for the first of several sends and receives, and does it: exactly one of them. If several need no waiting
/// it is any of them, in turns. A case whose channel is closed has happened, too.
///
///     poly_case cases[2] = { { work, &item, POLY_CASE_RECV, 0 }, { results, result, POLY_CASE_SEND, 0 } };
///     switch (poly_select(cases, 2, deadline)) {
///     case 0: break;  // cases[0].result is 0 and the item is in `item`, or -EPIPE
///     case 1: break;  // cases[1].result is 0 and the receiver has `result`, or -EPIPE
///     case -ETIMEDOUT: break;
///     }
///
/// Suspends, or blocks a plain thread, until `deadline`, which may be `POLY_FOREVER`; with 0 it does not wait.
/// Any thread.
/// Returns the index of the case, whose `result` says more; -EAGAIN with the deadline 0 if none needs no waiting;
/// -ETIMEDOUT, -ECANCELED; -EINVAL if no case has a channel, or one makes no sense; -POLY_EFORKED. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_select(cases: *mut poly_case, count: usize, deadline: u64) -> c_int {
    call(|| {
        // SAFETY: only whether it is null or misaligned is asked here.
        unsafe { look(cases) }?;
        // SAFETY: so many of the caller's, by the header's conventions.
        let cases = unsafe { std::slice::from_raw_parts_mut(cases, count) };
        let present: Vec<usize> = (0..count).filter(|&index| !cases[index].channel.is_null()).collect();
        let mut asked = Vec::with_capacity(present.len());
        for &index in &present {
            // SAFETY: channels live until they are freed.
            asked.push(unsafe { cases[index].read() }?);
        }
        let (chosen, result) = select(&mut asked, Time(deadline))?;
        let case = &mut cases[present[chosen]];
        if let Case::Receive(_, Some(item)) = &asked[chosen] {
            // SAFETY: an output that is not null, which was asked above.
            unsafe { put(case.item.cast(), item.0) }?;
        }
        case.result = result.map_or_else(|errno| -errno.number(), |()| 0);
        Ok(present[chosen] as c_int)
    })
}

impl poly_case {
    unsafe fn read<'a>(&self) -> Result<Case<'a, Item>> {
        // SAFETY: by the caller the channel lives until it is freed.
        let channel = unsafe { poly_channel::look(self.channel) }?;
        match self.operation {
            POLY_CASE_SEND => Ok(Case::Send(channel, Some(Item(self.item)))),
            POLY_CASE_RECV if !self.item.is_null() => Ok(Case::Receive(channel, None)),
            _ => Err(Errno::new(libc::EINVAL)),
        }
    }
}
