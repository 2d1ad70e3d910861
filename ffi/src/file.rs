//! Files and directories.

use std::ffi::{c_char, c_int, c_uint, c_void};

use libc::mode_t;
use polyphony_core::{
    native::{self, Directory, Errno, Result, transfer},
    op::Op,
};

use crate::boundary::{call, done, done_quietly, free, give, object, put, text, wanted};

fn perform(op: &Op) -> Result<()> {
    // SAFETY: what it points to is the caller's, and by the header's conventions lives for the call.
    Errno::check(unsafe { native::perform(op) }).map(drop)
}

/// Renames a file: renameat2(2). Both directories may be AT_FDCWD; `flags` are 0 or RENAME_NOREPLACE and such.
///
/// Suspends. Returns 0 or a negative error number. Any thread. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_renameat(
    directory: c_int,
    path: *const c_char,
    new_directory: c_int,
    new_path: *const c_char,
    flags: c_uint,
) -> c_int {
    done(|| perform(&Op::RenameAt { dir: directory, path, to_dir: new_directory, to: new_path, flags }))
}

/// Removes a file, or with AT_REMOVEDIR an empty directory: unlinkat(2). `directory` may be AT_FDCWD.
///
/// Suspends. Returns 0 or a negative error number. Any thread. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_unlinkat(directory: c_int, path: *const c_char, flags: c_int) -> c_int {
    done(|| perform(&Op::UnlinkAt { dir: directory, path, flags }))
}

/// Makes a directory: mkdirat(2). `directory` may be AT_FDCWD.
///
/// Suspends. Returns 0 or a negative error number. Any thread. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_mkdirat(directory: c_int, path: *const c_char, mode: mode_t) -> c_int {
    done(|| perform(&Op::MkdirAt { dir: directory, path, mode }))
}

/// Reads `length` bytes, in as many reads as it takes. For stream sockets `poly_recv` with MSG_WAITALL does it
/// in one.
///
/// Suspends. Returns the bytes read: fewer than asked for at the end of the file, or where an error, a
/// cancellation or a deadline came after the first of them, which is then for the next call; or a negative error
/// number. No byte is lost. -EINVAL for a buffer of NULL. Any thread. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_read_exactly(fd: c_int, buffer: *mut c_void, length: usize) -> i64 {
    call(|| {
        wanted(buffer)?;
        // SAFETY: so many writable bytes of the caller's; more than that no allocation has.
        let buf = unsafe { std::slice::from_raw_parts_mut(buffer.cast(), length.min(isize::MAX as usize)) };
        transfer::read_exactly(fd, buf).map(|count| count as i64)
    })
}

/// Writes `length` bytes, in as many writes as it takes. Like write(2) it raises SIGPIPE where nobody reads; for
/// sockets `poly_send` with MSG_WAITALL does it in one, and raises none.
///
/// Suspends. Returns the bytes written: fewer than asked for where an error, a cancellation or a deadline came
/// after the first of them, which is then for the next call; or a negative error number. -EINVAL for a buffer of
/// NULL. Any thread. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_write_all(fd: c_int, buffer: *const c_void, length: usize) -> i64 {
    call(|| {
        wanted(buffer.cast_mut())?;
        // SAFETY: so many readable bytes of the caller's; more than that no allocation has.
        let buf = unsafe { std::slice::from_raw_parts(buffer.cast(), length.min(isize::MAX as usize)) };
        transfer::write_exactly(fd, buf).map(|count| count as i64)
    })
}

/// Copies up to `length` bytes from one descriptor to another, each from where it stands: UINT64_MAX until the
/// end. Between files the file system copies (copy_file_range); a pipe at either end is spliced; everything else
/// passes through memory.
///
/// Suspends. Nobody else may read `from` meanwhile. Any thread.
/// Returns the bytes copied: fewer than asked for at the end of `from`, or where an error, a cancellation or a
/// deadline came after the first of them, which is then for the next call; or a negative error number. What is
/// taken from a file, a pipe or a stream socket has been written to `to`: no byte is lost. But what comes from a
/// datagram socket or a device, or from a pipe into something that takes no splice (a terminal, a file opened
/// with O_APPEND), is read first, and is lost if the write that follows is ended. Since 2.0.
#[unsafe(no_mangle)]
pub extern "C" fn poly_copy(from: c_int, to: c_int, length: u64) -> i64 {
    call(|| transfer::copy(from, to, length.min(i64::MAX as u64)).map(|count| count as i64))
}

/// A directory that is being read. Freed by `poly_directory_free`.
pub struct poly_directory(Directory);

/// What is in a directory.
#[repr(C)]
#[derive(Debug)]
pub struct poly_directory_entry {
    /// Its name: the directory's, until the next call with it.
    pub name: *const c_char,
    /// Its number in the file system.
    pub inode: u64,
    /// What it is: DT_REG, DT_DIR and so on of <dirent.h>; DT_UNKNOWN (0) where the file system does not say.
    pub kind: u32,
}

/// Opens a directory to be read. `from` is where a relative path starts, a descriptor or AT_FDCWD.
///
/// On success `*directory` is the caller's, to be freed with `poly_directory_free`. Suspends. Any thread.
/// Returns 0; -ENOENT, -ENOTDIR, -EINVAL for NULL, and what else open(2) says. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_directory_new(
    from: c_int,
    path: *const c_char,
    directory: *mut *mut poly_directory,
) -> c_int {
    done_quietly(|| {
        wanted(directory)?;
        // SAFETY: a path ends with a zero byte, by the header's conventions.
        let opened = Directory::open(from, unsafe { text(path) }?)?;
        // SAFETY: not null, and an output by the header's conventions.
        unsafe { give(directory, poly_directory(opened)) }
    })
}

/// The next entry of a directory, in no order; "." and ".." are left out.
///
///     poly_directory_entry entry;
///     while (poly_directory_next(directory, &entry) > 0)
///         puts(entry.name);
///
/// Suspends now and then, when the system is asked for more. Any thread, one at a time.
/// Returns 1 and the entry in `*entry`, 0 at the end, or a negative error number. A call that is cancelled skips
/// nothing. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_directory_next(
    directory: *mut poly_directory,
    entry: *mut poly_directory_entry,
) -> c_int {
    call(|| {
        // SAFETY: a directory lives until it is freed.
        unsafe { object(directory) }?;
        wanted(entry)?;
        // SAFETY: looked at above, and one caller has it at a time.
        let Some(found) = unsafe { &mut *directory }.0.next()? else { return Ok(0) };
        let told =
            poly_directory_entry { name: found.name.as_ptr(), inode: found.inode, kind: found.kind.into() };
        // SAFETY: not null, and an output by the header's conventions.
        unsafe { put(entry, told) }?;
        Ok(1)
    })
}

/// Closes a directory and frees it. NULL is fine.
///
/// Suspends; never refused for a cancellation or a deadline. Any thread.
/// Returns 0. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_directory_free(directory: *mut poly_directory) -> c_int {
    done_quietly(|| {
        if directory.is_null() {
            return Ok(());
        }
        // SAFETY: a directory lives until it is freed.
        unsafe { object(directory) }?;
        // SAFETY: it came from `poly_directory_new`, and by the header's conventions is freed once.
        unsafe { free(directory) };
        Ok(())
    })
}
