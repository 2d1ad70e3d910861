//! Hearing that Ruby closes an IO which a hook waits on, where no class of Ruby's is touched.
//!
//! Before Ruby 4.0 no hook tells of it, and close(2) ends no wait: its fiber would wait for ever. But an open file
//! may have a function of its own, which is called in place of Ruby's to close it. The first time that a hook waits
//! on a file it gets ours: that ends the waits, as the drop-in's `close` does, and then has Ruby close the file.
//!
//! A file that has such a function already, from a C extension, keeps it.

use rb_sys::{RFile, rb_io_t};

use crate::open_file::OpenFile;

impl OpenFile {
    /// From now on whoever waits on the descriptor hears that Ruby closes it.
    #[inline]
    pub(crate) fn tell_who_waits(self) {
        let file = self.get();
        if file.finalize.is_none() && file.stdio_file.is_null() {
            file.finalize = Some(close);
        }
    }
}

/// Called in place of what closes a file; quietly by the collector, too, where nothing may call Ruby.
unsafe extern "C" fn close(file: *mut rb_io_t, quietly: i32) {
    if quietly != 0 {
        // SAFETY: Ruby's record of a file, which it gives nobody else before this returns.
        return close_quietly(unsafe { &mut *file });
    }
    // SAFETY: called with the GVL by a method of Ruby's that closes this file. What is raised passes over this frame,
    // where nothing is to be dropped. The record is freed no sooner than the IO, which stands on this stack.
    unsafe {
        let (io, fd) = ((*file).self_, (*file).fd);
        let (polyphony, number) =
            (rb_sys::rb_path2class(c"Polyphony".as_ptr()), rb_sys::rb_int2inum(fd as isize));
        rb_sys::rb_funcallv(polyphony, rb_sys::rb_intern(c"let_go".as_ptr()), 1, &raw const number);
        if (*file).fd != fd {
            return; // others ran meanwhile, and one of them has closed it
        }
        (*file).finalize = None;
        // `close_read` gives the IO another record before it closes this one.
        if (*(io as *const RFile)).fptr == file {
            rb_sys::rb_io_close(io);
        } else {
            close_quietly(&mut *file);
        }
    }
}

/// What Ruby does where it must not raise: what is buffered goes out as far as it can, and a descriptor of Ruby's
/// own is closed.
fn close_quietly(file: &mut rb_io_t) {
    while file.wbuf.len > 0 {
        // SAFETY: so many bytes of Ruby's buffer wait to be written.
        let written = unsafe {
            let start = file.wbuf.ptr.add(file.wbuf.off as usize);
            libc::write(file.fd, start.cast(), file.wbuf.len as usize)
        };
        if written <= 0 {
            break;
        }
        file.wbuf.off += written as i32;
        file.wbuf.len -= written as i32;
    }
    if file.mode & LENT == 0 && file.fd > libc::STDERR_FILENO {
        // SAFETY: the descriptor is the file's, which forgets it.
        unsafe { libc::close(file.fd) };
    }
    file.fd = -1;
}

/// `FMODE_PREP`, or `FMODE_EXTERNAL`: the descriptor is somebody else's to close.
const LENT: i32 = 0x0001_0000;
