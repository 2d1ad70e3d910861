//! Names for people: of fibers and of threads. What does not fit is cut off.

use std::{
    ffi::CStr,
    fmt::{self, Write},
};

/// A short text, ended by a zero for C's sake.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Name([u8; Name::ROOM]);

impl Name {
    /// How many bytes a name takes, with the zero.
    pub const ROOM: usize = 32;
    /// No name.
    pub const NONE: Name = Name([0; Name::ROOM]);

    /// As much of a text as fits, up to its first zero.
    pub fn new(text: &str) -> Self {
        Name::from_bytes(text.as_bytes())
    }

    /// As much of a text as fits, up to its first zero and without half a character at the end.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
        let mut fits = end.min(Name::ROOM - 1);
        // In UTF-8 a character goes on with bytes of the form 10xxxxxx.
        while fits < end && fits > 0 && bytes[fits] & 0xc0 == 0x80 {
            fits -= 1;
        }
        let mut name = Name::NONE;
        name.0[..fits].copy_from_slice(&bytes[..fits]);
        name
    }

    /// The name as C has it.
    pub fn as_c(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.0).expect("the last byte is never written")
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0[0] == 0
    }
}

impl Default for Name {
    fn default() -> Self {
        Name::NONE
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without an allocation: handlers of signals write names.
        for part in self.as_c().to_bytes().utf8_chunks() {
            f.write_str(part.valid())?;
            if !part.invalid().is_empty() {
                f.write_char(char::REPLACEMENT_CHARACTER)?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_c())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_too_long_is_cut_between_two_characters() {
        assert_eq!(Name::new("reader").to_string(), "reader");
        assert_eq!(Name::new(&"x".repeat(40)).to_string(), "x".repeat(31));
        assert_eq!(Name::new(&"é".repeat(20)).to_string(), "é".repeat(15));
        assert_eq!(Name::from_bytes(b"up to\0here"), Name::new("up to"));
        assert!(Name::new("").is_empty());
        assert_eq!(Name::from_bytes(b"half \xc3").to_string(), "half \u{fffd}");
    }
}
