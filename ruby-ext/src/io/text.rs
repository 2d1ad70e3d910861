//! What Ruby will make of the bytes that an IO holds: its characters, converted where the IO converts.
//!
//! Limits and separators count in what Ruby makes, so whoever asks whether a line is there looks at that. The
//! IO's own converter is left alone: ours begins where Ruby will, and is fed every byte once.

use magnus::{Error, rb_sys::protect};
use rb_sys::rb_econv_t;

use crate::open_file::{Encoding, OpenFile};

/// The characters of one IO, as long as one call waits for more of them.
pub(super) struct Text {
    /// Null where nothing is converted.
    converter: *mut rb_econv_t,
    /// How many of the IO's bytes are converted.
    taken: usize,
    made: Vec<u8>,
    /// Something cannot be converted, and the original will say so.
    failed: bool,
}

impl Text {
    pub(super) fn of(file: OpenFile) -> Result<Self, Error> {
        let made = file.characters().to_vec();
        let mut text = Text { converter: std::ptr::null_mut(), taken: 0, made, failed: false };
        if let Some(conversion) = file.conversion() {
            // SAFETY: the names are those of encodings, which Ruby never frees, and the options the IO's own.
            let opened = protect(|| unsafe {
                rb_sys::rb_econv_open_opts(
                    conversion.from,
                    conversion.to,
                    conversion.flags,
                    conversion.options,
                ) as rb_sys::VALUE
            })?;
            text.converter = opened as *mut rb_econv_t;
            text.failed = text.converter.is_null();
        }
        Ok(text)
    }

    /// Whether the original finds what it needs: what `enough` says of the characters, or what is to be refused.
    pub(super) fn is(&mut self, file: OpenFile, enough: impl FnOnce(&[u8], Encoding) -> bool) -> bool {
        if self.failed {
            return true;
        }
        if self.converter.is_null() {
            return enough(file.buffered(), file.encoding());
        }
        // Where another fiber has read meanwhile there is less than there was.
        if self.taken > file.buffered().len() {
            match Text::of(file) {
                Ok(text) => *self = text,
                Err(_) => return true,
            }
        }
        self.convert(&file.buffered()[self.taken..]);
        self.taken = file.buffered().len();
        self.failed || enough(&self.made, file.encoding())
    }

    fn convert(&mut self, bytes: &[u8]) {
        use rb_sys::rb_econv_result_t as Result;
        const PARTIAL: i32 = rb_sys::ruby_econv_flag_type::RUBY_ECONV_PARTIAL_INPUT as i32;
        let range = bytes.as_ptr_range();
        let mut from = range.start;
        loop {
            let mut room = [0_u8; 4096];
            let base = room.as_mut_ptr();
            let mut to = base;
            // SAFETY: the converter is open as long as this lives; both ranges are of live memory.
            let (result, made) = unsafe {
                let end = base.add(room.len());
                let result =
                    rb_sys::rb_econv_convert(self.converter, &mut from, range.end, &mut to, end, PARTIAL);
                (result, to.offset_from(base) as usize)
            };
            self.made.extend_from_slice(&room[..made]);
            match result {
                Result::econv_destination_buffer_full | Result::econv_after_output => {}
                Result::econv_source_buffer_empty | Result::econv_finished => return,
                Result::econv_invalid_byte_sequence
                | Result::econv_undefined_conversion
                | Result::econv_incomplete_input => {
                    self.failed = true;
                    return;
                }
            }
        }
    }
}

impl Drop for Text {
    fn drop(&mut self) {
        if !self.converter.is_null() {
            // SAFETY: opened in `of`, and nobody else knows it.
            unsafe { rb_sys::rb_econv_close(self.converter) };
        }
    }
}
