//! Buffers that the library lends.

use std::{ffi::c_int, ptr};

use polyphony_core::native::{self, Buffer, Result};

use crate::{
    boundary::{call, done_quietly, put, wanted},
    debug,
};

/// Bytes that were read into a buffer of the library's. The caller's until it gives the buffer back with
/// `poly_buf_release`; it may be copied and moved, and `data` and `length` may be changed as the bytes are
/// used up. All zeros is empty: there is nothing to give back.
#[repr(C)]
#[derive(Debug)]
pub struct poly_buf {
    /// The bytes; they are not to be written.
    pub data: *const u8,
    /// How many there are.
    pub length: usize,
    /// Ours.
    pub reserved: [u64; 2],
}

/// Gives the caller a buffer that was filled.
unsafe fn give(place: *mut poly_buf, filled: impl FnOnce() -> Result<Buffer>) -> i64 {
    call(|| {
        wanted(place)?;
        let (data, length, whose) = filled()?.into_raw();
        let reserved = receipt(whose);
        // SAFETY: not null, and an output by the header's conventions.
        unsafe { put(place, poly_buf { data, length, reserved }) }?;
        Ok(length as i64)
    })
}

/// What stands for an owner in the debug mode: where it is kept, in memory that is never anything else's. So a copy of
/// a buffer that has been given back is known, whoever has that buffer by then.
fn receipt(whose: [u64; 2]) -> [u64; 2] {
    if whose[0] == 0 || !debug::is_on() {
        return whose;
    }
    let kept = Box::into_raw(Box::new(whose));
    debug::made_copyable::<poly_buf>(kept.addr());
    [kept.expose_provenance() as u64, RECEIPT]
}

/// Whose a buffer is, which is being given back.
///
/// # Safety
///
/// It has been lent, and is given back once; where the debug mode is on it finds out.
unsafe fn redeem(buffer: *const poly_buf) -> Result<[u64; 2]> {
    // SAFETY: by the caller.
    let whose = unsafe { (*buffer).reserved };
    if whose[0] == 0 || !debug::is_on() {
        return Ok(whose);
    }
    let kept = whose[0] as usize;
    debug::expect_copy(kept, buffer)?;
    debug::freed_copies::<poly_buf>(kept);
    // SAFETY: written down where it was made, or by the parent of this process; never freed.
    Ok(unsafe { *ptr::with_exposed_provenance::<[u64; 2]>(kept) })
}

/// Marks a receipt, for people with a debugger.
const RECEIPT: u64 = u64::from_be_bytes(*b"receipt\0");

/// Reads up to `length` bytes from `fd` into a buffer that the library brings: read(2). A fiber that waits this
/// way holds no memory for bytes that have not come. A buffer holds 16 KiB, so it reads no more at once.
///
/// On success `*buffer` is the caller's, to be given back with `poly_buf_release`; at the end of the file it is
/// empty. Buffers are few: give each back soon. Where all are lent out, one is allocated.
/// Suspends the calling fiber, not the thread. A migratable fiber does not move during this call. Any thread.
/// Returns the bytes read, 0 at end of file, -EINVAL for a length of 0, or what `poly_read` returns. No byte is
/// lost by a call that is cancelled. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_read_buffer(fd: c_int, length: usize, buffer: *mut poly_buf) -> i64 {
    // SAFETY: an output by the header's conventions.
    unsafe { give(buffer, || native::read_buffer(fd, length)) }
}

/// Receives up to `length` bytes into a buffer that the library brings: recv(2). As `poly_read_buffer`; what of
/// a datagram does not fit is lost.
///
///     poly_buf bytes;
///     while (poly_recv_buffer(fd, SIZE_MAX, 0, &bytes) > 0) {
///         use(bytes.data, bytes.length);
///         poly_buf_release(&bytes);
///     }
///
/// Suspends, unless `flags` has MSG_DONTWAIT. Any thread.
/// Returns the bytes received, 0 at the end, -EINVAL for a length of 0, or what `poly_recv` returns. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_recv_buffer(
    fd: c_int,
    length: usize,
    flags: c_int,
    buffer: *mut poly_buf,
) -> i64 {
    // SAFETY: an output by the header's conventions.
    unsafe { give(buffer, || native::recv_buffer(fd, length, flags)) }
}

/// Gives a buffer back, once for all copies of the struct, and makes this one empty. An empty one is fine.
///
/// Never suspends. Any thread, also after the runtime has been freed; in the child of a fork nothing happens.
/// Returns 0; -EINVAL for NULL. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_buf_release(buffer: *mut poly_buf) -> c_int {
    done_quietly(|| {
        wanted(buffer)?;
        // SAFETY: not null, and by the header's conventions a buffer of ours or zeros, given back once.
        unsafe {
            drop(Buffer::from_raw(redeem(buffer)?));
            put(buffer, poly_buf { data: ptr::null(), length: 0, reserved: [0; 2] })
        }
    })
}
