//! The format string of `printf`, walked directive by directive.

use super::{Flags, Printer};
use crate::run::Buffer;
use crate::text;
use crate::value::Value;

/// Go takes no width or precision beyond this.
const TOO_LARGE: i64 = 1_000_000;

/// The format string while it is walked.
pub(super) struct Format<'p, 'b> {
    printer: Printer<'b>,
    format: &'p [u8],
    values: &'p [Value],
    at: usize,
    argument: usize,
    reordered: bool,
    good_index: bool,
}

impl<'p, 'b> Format<'p, 'b> {
    pub(super) fn new(out: &'b mut Buffer, format: &'p [u8], values: &'p [Value]) -> Self {
        Self {
            printer: Printer::new(out),
            format,
            values,
            at: 0,
            argument: 0,
            reordered: false,
            good_index: true,
        }
    }

    pub(super) fn run(mut self) {
        while self.at < self.format.len() && !self.printer.out.is_over() {
            self.good_index = true;
            let rest = &self.format[self.at..];
            let plain = rest.iter().position(|b| *b == b'%').unwrap_or(rest.len());
            self.printer.out.write(&rest[..plain]);
            self.at += plain;
            if self.at >= self.format.len() {
                break;
            }
            self.at += 1;
            if !self.directive() {
                break;
            }
        }
        self.extra();
    }

    /// Handles what follows a `%`; returns whether there was a verb.
    fn directive(&mut self) -> bool {
        self.printer.flags = Flags::default();
        self.read_flags();
        let mut after_index = self.index();
        after_index = self.width(after_index);
        after_index = self.precision(after_index);
        if !after_index {
            self.index();
        }
        if self.at >= self.format.len() {
            self.printer.out.write_str("%!(NOVERB)");
            return false;
        }
        let (verb, size) = text::decode(&self.format[self.at..]);
        self.at += size;
        if verb == '%' {
            self.printer.out.push(b'%');
        } else if !self.good_index {
            self.printer.complain(verb, "BADINDEX)");
        } else if let Some(value) = self.values.get(self.argument) {
            if matches!(verb, 'v' | 'w') {
                self.printer.flags.turn_into_value_flags();
            }
            self.printer.argument(value, verb);
            self.argument += 1;
        } else {
            self.printer.complain(verb, "MISSING)");
        }
        true
    }

    fn read_flags(&mut self) {
        while let Some(byte) = self.format.get(self.at) {
            let flags = &mut self.printer.flags;
            match byte {
                b'#' => flags.sharp = true,
                b'0' => flags.zero = true,
                b'+' => flags.plus = true,
                b'-' => flags.minus = true,
                b' ' => flags.space = true,
                _ => return,
            }
            self.at += 1;
        }
    }

    fn width(&mut self, after_index: bool) -> bool {
        if self.format.get(self.at) == Some(&b'*') {
            self.at += 1;
            match self.number_argument() {
                Some(width) => {
                    let flags = &mut self.printer.flags;
                    if width < 0 {
                        flags.minus = true;
                        flags.zero = false;
                    }
                    flags.width = usize::try_from(width.unsigned_abs()).ok();
                }
                None => self.printer.out.write_str("%!(BADWIDTH)"),
            }
            return false;
        }
        self.printer.flags.width = self.number();
        if after_index && self.printer.flags.width.is_some() {
            self.good_index = false;
        }
        after_index
    }

    fn precision(&mut self, after_index: bool) -> bool {
        if self.at + 1 >= self.format.len() || self.format[self.at] != b'.' {
            return after_index;
        }
        self.at += 1;
        if after_index {
            self.good_index = false;
        }
        let after_index = self.index();
        if self.format.get(self.at) == Some(&b'*') {
            self.at += 1;
            let precision = self.number_argument();
            self.printer.flags.precision = precision.and_then(|p| usize::try_from(p).ok());
            if self.printer.flags.precision.is_none() {
                self.printer.out.write_str("%!(BADPREC)");
            }
            return false;
        }
        self.printer.flags.precision = Some(self.number().unwrap_or(0));
        after_index
    }

    /// Reads a decimal number; a crazy long one swallows the rest of the format, as in Go.
    fn number(&mut self) -> Option<usize> {
        let (number, end) = number(self.format, self.at, self.format.len());
        self.at = end;
        number
    }

    fn number_argument(&mut self) -> Option<i64> {
        let value = self.values.get(self.argument)?;
        self.argument += 1;
        let number = match value {
            Value::Int(_, number) => *number,
            Value::Uint(_, number) => i64::try_from(*number).ok()?,
            _ => return None,
        };
        (-TOO_LARGE..=TOO_LARGE).contains(&number).then_some(number)
    }

    /// Reads `[n]`; returns whether there was one.
    fn index(&mut self) -> bool {
        if self.format.get(self.at) != Some(&b'[') {
            return false;
        }
        self.reordered = true;
        let rest = &self.format[self.at..];
        let close = rest
            .iter()
            .position(|b| *b == b']')
            .filter(|_| rest.len() >= 3);
        let Some(close) = close else {
            self.good_index = false;
            self.at += 1;
            return false;
        };
        let (number, end) = number(rest, 1, close);
        self.at += close + 1;
        let Some(number) = number.filter(|_| end == close) else {
            self.good_index = false;
            return false;
        };
        match number.checked_sub(1).filter(|n| *n < self.values.len()) {
            Some(argument) => self.argument = argument,
            None => self.good_index = false,
        }
        true
    }

    fn extra(&mut self) {
        let Some(extra) = self.values.get(self.argument..) else {
            return;
        };
        if self.reordered || extra.is_empty() {
            return;
        }
        self.printer.flags = Flags::default();
        self.printer.out.write_str("%!(EXTRA ");
        for (at, value) in extra.iter().enumerate() {
            if at > 0 {
                self.printer.out.write_str(", ");
            }
            self.printer.out.write_str(value.type_name());
            if !value.is_nil() {
                self.printer.out.push(b'=');
                self.printer.argument(value, 'v');
            }
        }
        self.printer.out.push(b')');
    }
}

fn number(format: &[u8], start: usize, end: usize) -> (Option<usize>, usize) {
    let mut number = None;
    for (at, byte) in format.iter().enumerate().take(end).skip(start) {
        if !byte.is_ascii_digit() {
            return (number, at);
        }
        let so_far = number.unwrap_or(0);
        if so_far > 1_000_000 {
            return (None, end);
        }
        number = Some(so_far * 10 + usize::from(byte - b'0'));
    }
    (number, end)
}
