//! Why a backend could not be had, or failed.

use std::{error, fmt, io};

/// What was tried, what the system said, and the way out.
#[derive(Debug)]
pub struct Error {
    tried: &'static str,
    source: io::Error,
    way_out: &'static str,
}

impl Error {
    #[cold]
    pub(crate) fn new(tried: &'static str, source: io::Error, way_out: &'static str) -> Self {
        Error { tried, source, way_out }
    }

    /// The errno behind the error, positive; 0 where there is none.
    pub fn errno(&self) -> i32 {
        self.source.raw_os_error().unwrap_or(0)
    }

    /// Whether io_uring is refused here as such: by the kernel, a sysctl or a seccomp profile.
    pub fn is_refused(&self) -> bool {
        matches!(self.errno(), libc::EPERM | libc::ENOSYS | libc::EACCES | libc::EINVAL)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.tried, self.source)?;
        if self.way_out.is_empty() { Ok(()) } else { write!(f, ". {}", self.way_out) }
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        Some(&self.source)
    }
}
