//! Text in a format: padding, precision, quotes, hexadecimal.

use super::Printer;
use crate::strconv;
use crate::text;
use crate::value::Value;

impl Printer<'_> {
    /// Writes bytes, padded to the width with spaces or, on the left, zeros.
    pub(super) fn pad(&mut self, bytes: &[u8]) {
        let missing = self
            .flags
            .width
            .map_or(0, |width| width.saturating_sub(text::rune_count(bytes)));
        if self.flags.minus {
            self.out.write(bytes);
            self.padding(missing);
        } else {
            self.padding(missing);
            self.out.write(bytes);
        }
    }

    pub(super) fn padding(&mut self, count: usize) {
        let zero = self.flags.zero && !self.flags.minus;
        self.out.repeat(if zero { b'0' } else { b' ' }, count);
    }

    pub(super) fn pad_with_spaces(&mut self, bytes: &[u8]) {
        let zero = std::mem::take(&mut self.flags.zero);
        self.pad(bytes);
        self.flags.zero = zero;
    }

    pub(super) fn truncated<'t>(&self, bytes: &'t [u8]) -> &'t [u8] {
        let Some(precision) = self.flags.precision else {
            return bytes;
        };
        let end = text::runes(bytes).nth(precision);
        end.map_or(bytes, |(at, _, _)| &bytes[..at])
    }

    pub(super) fn string(&mut self, bytes: &[u8], verb: char, value: &Value) {
        match verb {
            'v' if self.flags.sharp_value => self.quoted(bytes),
            'v' | 's' => self.pad(self.truncated(bytes)),
            'x' | 'X' => self.hex(bytes, verb == 'X'),
            'q' => self.quoted(bytes),
            _ => self.bad_verb(value, verb),
        }
    }

    pub(super) fn quoted(&mut self, bytes: &[u8]) {
        let bytes = self.truncated(bytes);
        if self.flags.sharp && strconv::can_backquote(bytes) {
            let raw = zeroize::Zeroizing::new([b"`", bytes, b"`"].concat());
            return self.pad(&raw);
        }
        let quoted = zeroize::Zeroizing::new(strconv::quote(bytes, b'"', self.flags.plus));
        self.pad(&quoted);
    }

    pub(super) fn hex(&mut self, bytes: &[u8], upper: bool) {
        let length = bytes.len().min(self.flags.precision.unwrap_or(usize::MAX));
        let bytes = &bytes[..length];
        if bytes.is_empty() {
            let width = self.flags.width.unwrap_or(0);
            return self.padding(width);
        }
        let (space, sharp) = (self.flags.space, self.flags.sharp);
        let mut width = 2 * length;
        if space {
            width = width * if sharp { 2 } else { 1 } + length - 1;
        } else if sharp {
            width += 2;
        }
        let missing = self.flags.width.map_or(0, |w| w.saturating_sub(width));
        if !self.flags.minus {
            self.padding(missing);
        }
        let prefix = if upper { "0X" } else { "0x" };
        for (at, byte) in bytes.iter().enumerate() {
            if space && at > 0 {
                self.out.push(b' ');
            }
            if sharp && (at == 0 || space) {
                self.out.write_str(prefix);
            }
            let digits = if upper {
                b"0123456789ABCDEF"
            } else {
                b"0123456789abcdef"
            };
            self.out.push(digits[usize::from(byte >> 4)]);
            self.out.push(digits[usize::from(byte & 15)]);
        }
        if self.flags.minus {
            self.padding(missing);
        }
    }
}
