//! Whose turn it is to write: what one `write` is given goes out in one piece.
//!
//! A large write takes several operations; another fiber's must not come in between. One bit a descriptor
//! says that a write is under way, and only then does anybody wait. Closing a descriptor ends its turn, so
//! that its number begins anew.

use crate::roots::Name;

/// The descriptors of one scheduler that are being written to, and the fibers that wait to.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    busy: Vec<u64>,
    waiting: Vec<(i32, Name)>,
}

impl Turns {
    /// Takes the turn; false where another fiber has it.
    pub(crate) fn begin(&mut self, fd: i32) -> bool {
        let (word, bit) = place(fd);
        if word >= self.busy.len() {
            self.busy.resize(word + 1, 0);
        }
        let free = self.busy[word] & bit == 0;
        self.busy[word] |= bit;
        free
    }

    /// Whether somebody has the turn.
    pub(crate) fn is_busy(&self, fd: i32) -> bool {
        let (word, bit) = place(fd);
        self.busy.get(word).is_some_and(|word| word & bit != 0)
    }

    /// Ends the turn: the first who waits for it, to be woken.
    pub(crate) fn end(&mut self, fd: i32) -> Option<Name> {
        let (word, bit) = place(fd);
        if let Some(word) = self.busy.get_mut(word) {
            *word &= !bit;
        }
        self.next(fd)
    }

    /// The first who waits, where the turn is free: whoever was woken and left without it asks.
    pub(crate) fn next(&mut self, fd: i32) -> Option<Name> {
        if self.waiting.is_empty() || self.is_busy(fd) {
            return None;
        }
        let first = self.waiting.iter().position(|&(waits_for, _)| waits_for == fd)?;
        Some(self.waiting.remove(first).1)
    }

    pub(crate) fn wait(&mut self, fd: i32, fiber: Name) {
        self.waiting.push((fd, fiber));
    }

    pub(crate) fn leave(&mut self, fd: i32, fiber: Name) {
        self.waiting.retain(|&waiting| waiting != (fd, fiber));
    }
}

fn place(fd: i32) -> (usize, u64) {
    (fd as usize / 64, 1 << (fd % 64))
}
