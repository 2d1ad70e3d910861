//! What is in a directory.
//!
//! The system tells many entries at once, on a thread of the offload pool: most steps wait for nothing.

use std::{ffi::CStr, fmt, os::fd::RawFd};

use super::{
    close,
    errno::{Errno, Result},
    io,
    net::checked,
    perform,
    plain::KeepErrno,
};
use crate::op::Op;

/// A directory that is being read. One caller at a time.
pub struct Directory {
    fd: RawFd,
    /// As the kernel writes it: each entry is aligned to eight bytes.
    told: Box<[u64]>,
    at: usize,
    end: usize,
}

/// One of its entries.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Its name.
    pub name: &'a CStr,
    /// Its number in the file system.
    pub inode: u64,
    /// What it is: one of `DT_*`; `DT_UNKNOWN` where the file system does not say.
    pub kind: u8,
}

impl Directory {
    /// Opens a directory; `from` is where a relative path starts, a descriptor or `AT_FDCWD`.
    pub fn open(from: RawFd, path: &CStr) -> Result<Self> {
        let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC;
        let op = Op::OpenAt { dir: from, path: path.as_ptr(), flags, mode: 0 };
        // SAFETY: the path lives until the call returns.
        let fd = Errno::check(unsafe { perform(&op) })?;
        Ok(Directory { fd, told: vec![0; ROOM / 8].into(), at: 0, end: 0 })
    }

    /// The next entry, in no order; not `.` and `..`.
    #[allow(clippy::should_implement_trait, reason = "it can fail, and lends what it returns")]
    pub fn next(&mut self) -> Result<Option<Entry<'_>>> {
        loop {
            if self.at == self.end && !self.ask()? {
                return Ok(None);
            }
            let start = self.at;
            self.at += usize::from(self.head(start).2);
            if !matches!(self.name(start).to_bytes(), b"." | b"..") {
                let (inode, kind, _) = self.head(start);
                return Ok(Some(Entry { name: self.name(start), inode, kind }));
            }
        }
    }

    /// Asks for further entries; says whether there are any.
    fn ask(&mut self) -> Result<bool> {
        let (fd, told) = (self.fd, &mut self.told);
        let count = io::offload(|| {
            let _keep = KeepErrno::new();
            // SAFETY: so many writable bytes, which nobody else has meanwhile.
            let count = unsafe { libc::syscall(libc::SYS_getdents64, fd, told.as_mut_ptr(), ROOM) };
            checked(if count < 0 { -1 } else { 0 }).map(|()| count as usize)
        })??;
        (self.at, self.end) = (0, count);
        Ok(count > 0)
    }

    /// Number, kind and length of the entry that starts there: a `struct linux_dirent64`.
    fn head(&self, start: usize) -> (u64, u8, u16) {
        let bytes = self.bytes(start);
        let length = u16::from_ne_bytes([bytes[16], bytes[17]]);
        (self.told[start / 8], bytes[18], length)
    }

    fn name(&self, start: usize) -> &CStr {
        CStr::from_bytes_until_nul(&self.bytes(start)[19..]).expect("the kernel ends names with a zero")
    }

    fn bytes(&self, start: usize) -> &[u8] {
        // SAFETY: the kernel has written so many bytes.
        unsafe { std::slice::from_raw_parts(self.told.as_ptr().cast::<u8>().add(start), self.end - start) }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = close(self.fd); // there is nothing to be done about a failure
    }
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Directory").field("fd", &self.fd).finish_non_exhaustive()
    }
}

/// How many bytes of entries are asked for at once.
const ROOM: usize = 32 * 1024;
