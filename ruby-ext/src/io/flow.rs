//! Which descriptors bring large pieces.
//!
//! A read that waits in one of the shard's buffers costs nothing while nothing comes, and a copy when it
//! does. Where the last piece was large the next one is likely to be, and then the copy costs more than the
//! wait: such a read brings a string of its own, which the kernel fills.
//!
//! It is a guess and no more. A descriptor that is closed and opened anew may be guessed wrongly once.

/// What each descriptor of one scheduler is expected to bring: a power of two, 0 where it is little.
#[derive(Debug, Default)]
pub(crate) struct Flow {
    powers: Vec<u8>,
}

impl Flow {
    /// How large the next piece may be; nothing where it is small, or not known.
    pub(crate) fn expected(&self, fd: i32) -> Option<u32> {
        let power = *self.powers.get(fd as usize)?;
        (power > 0).then(|| 1 << power)
    }

    /// A piece of so many bytes came. The next has room for more: one that fills all may have been larger.
    pub(crate) fn brought(&mut self, fd: i32, len: u32) {
        let power = match len {
            ..LARGE => 0,
            _ => (len + 1).next_power_of_two().min(MOST).trailing_zeros(),
        };
        let fd = fd as usize;
        if power > 0 && fd >= self.powers.len() {
            self.powers.resize(fd + 1, 0);
        }
        if let Some(known) = self.powers.get_mut(fd) {
            *known = power as u8;
        }
    }
}

/// A piece that is worth a string of its own: copying it takes as long as making one.
const LARGE: u32 = 8 * 1024;
/// What a pipe holds, and most sockets have at once.
const MOST: u32 = 64 * 1024;
