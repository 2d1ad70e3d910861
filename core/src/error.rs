//! Why a backend could not be had, or failed.

use std::{error, fmt, io};

/// What is the matter, what was tried, what the system said, and the way out.
#[derive(Debug)]
pub struct Error {
    matter: &'static str,
    tried: &'static str,
    source: io::Error,
    way_out: &'static str,
}

impl Error {
    #[cold]
    pub(crate) fn new(
        matter: &'static str,
        tried: &'static str,
        source: io::Error,
        way_out: &'static str,
    ) -> Self {
        Error { matter, tried, source, way_out }
    }

    /// The errno behind the error, positive; 0 where there is none.
    pub fn errno(&self) -> i32 {
        self.source.raw_os_error().unwrap_or(0)
    }

    /// Whether io_uring is refused here as such: by the kernel, a sysctl or a seccomp profile.
    pub fn is_refused(&self) -> bool {
        matches!(self.errno(), libc::EPERM | libc::ENOSYS | libc::EACCES | libc::EINVAL)
    }

    /// The matter and what the system said, without the way out.
    pub fn in_short(&self) -> String {
        match name(self.errno()) {
            Some(name) => format!("{} ({}: {name})", self.matter, self.tried),
            None => format!("{} ({}: {})", self.matter, self.tried, self.source),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.in_short())?;
        if self.way_out.is_empty() { Ok(()) } else { write!(f, ". {}", self.way_out) }
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        Some(&self.source)
    }
}

/// The errnos that a backend meets when it is made, by the names under which people look them up.
fn name(errno: i32) -> Option<&'static str> {
    Some(match errno {
        libc::EPERM => "EPERM",
        libc::EACCES => "EACCES",
        libc::ENOSYS => "ENOSYS",
        libc::EINVAL => "EINVAL",
        libc::ENOMEM => "ENOMEM",
        libc::EMFILE => "EMFILE",
        libc::ENFILE => "ENFILE",
        _ => return None,
    })
}
