//! Numbers in a format.

use super::Printer;
use crate::strconv;
use crate::text;
use crate::value::Value;

impl Printer<'_> {
    pub(super) fn integer(&mut self, magnitude: u64, sign: Sign, verb: char, value: &Value) {
        let digits = match verb {
            'v' if self.flags.sharp_value && sign == Sign::None => {
                let sharp = std::mem::replace(&mut self.flags.sharp, true);
                self.digits(&format!("{magnitude:x}"), magnitude, sign, verb, "0x");
                self.flags.sharp = sharp;
                return;
            }
            'v' | 'd' => (magnitude.to_string(), ""),
            'b' => (format!("{magnitude:b}"), "0b"),
            'o' | 'O' => (format!("{magnitude:o}"), "0"),
            'x' => (format!("{magnitude:x}"), "0x"),
            'X' => (format!("{magnitude:X}"), "0X"),
            'c' => {
                let c = character(magnitude, sign);
                return self.pad(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
            'q' => {
                let quoted = strconv::quote_rune(character(magnitude, sign), self.flags.plus);
                return self.pad(&quoted);
            }
            'U' => return self.code_point(magnitude, sign),
            _ => return self.bad_verb(value, verb),
        };
        self.digits(&digits.0, magnitude, sign, verb, digits.1);
    }

    pub(super) fn digits(
        &mut self,
        digits: &str,
        magnitude: u64,
        sign: Sign,
        verb: char,
        prefix: &str,
    ) {
        let flags = &self.flags;
        let negative = sign == Sign::Minus;
        let mut wanted = 0;
        if let Some(precision) = flags.precision {
            if precision == 0 && magnitude == 0 {
                let width = flags.width.unwrap_or(0);
                let zero = std::mem::take(&mut self.flags.zero);
                self.padding(width);
                self.flags.zero = zero;
                return;
            }
            wanted = precision;
        } else if flags.zero
            && !flags.minus
            && let Some(width) = flags.width
        {
            let signed = negative || flags.plus || flags.space;
            wanted = width.saturating_sub(usize::from(signed));
        }
        let mut out = String::with_capacity(wanted.max(digits.len()) + 4);
        if negative {
            out.push('-');
        } else if flags.plus {
            out.push('+');
        } else if flags.space {
            out.push(' ');
        }
        if verb == 'O' {
            out.push_str("0o");
        }
        let zeros = wanted.saturating_sub(digits.len());
        if flags.sharp && (prefix != "0" || zeros == 0 && !digits.starts_with('0')) {
            out.push_str(prefix);
        }
        out.extend(std::iter::repeat_n('0', zeros));
        out.push_str(digits);
        self.pad_with_spaces(out.as_bytes());
    }

    pub(super) fn code_point(&mut self, magnitude: u64, sign: Sign) {
        let code = sign.wrapped(magnitude);
        let digits = self.flags.precision.unwrap_or(4).max(4);
        let mut out = format!("U+{code:0digits$X}");
        let printable = u32::try_from(code).ok().and_then(char::from_u32);
        if self.flags.sharp
            && let Some(c) = printable.filter(|c| text::is_print(*c))
        {
            out.push_str(&format!(" '{c}'"));
        }
        self.pad_with_spaces(out.as_bytes());
    }

    pub(super) fn float(&mut self, number: f64, verb: char, value: &Value) {
        let (verb, precision) = match verb {
            'v' => (b'g', None),
            'b' => (b'b', None),
            'g' => (b'g', None),
            'G' => (b'G', None),
            'x' => (b'x', None),
            'X' => (b'X', None),
            'f' | 'F' => (b'f', Some(6)),
            'e' => (b'e', Some(6)),
            'E' => (b'E', Some(6)),
            _ => return self.bad_verb(value, verb),
        };
        self.number(number, verb, self.flags.precision.or(precision));
    }

    pub(super) fn number(&mut self, number: f64, verb: u8, precision: Option<usize>) {
        let mut text = strconv::format_float(number, verb, precision);
        if !text.starts_with(['+', '-']) {
            text.insert(0, '+');
        }
        if self.flags.space && text.starts_with('+') && !self.flags.plus {
            text.replace_range(..1, " ");
        }
        if matches!(text.as_bytes()[1], b'I' | b'N') {
            let bare = text.as_bytes()[1] == b'N' && !self.flags.space && !self.flags.plus;
            // An infinity keeps its sign.
            let shown = if bare { &text[1..] } else { &text };
            return self.pad_with_spaces(shown.as_bytes());
        }
        if self.flags.sharp && verb != b'b' {
            text = with_point(&text, verb, precision);
        }
        if !self.flags.plus && text.starts_with('+') {
            return self.pad(&text.as_bytes()[1..]);
        }
        match self.flags.width {
            Some(width) if self.flags.zero && !self.flags.minus && width > text.len() => {
                // The sign stands before the zeros.
                self.out.write(&text.as_bytes()[..1]);
                self.padding(width - text.len());
                self.out.write(&text.as_bytes()[1..]);
            }
            _ => self.pad(text.as_bytes()),
        }
    }

    pub(super) fn complex(&mut self, real: f64, imaginary: f64, verb: char, value: &Value) {
        if !matches!(
            verb,
            'v' | 'b' | 'g' | 'G' | 'x' | 'X' | 'f' | 'F' | 'e' | 'E'
        ) {
            return self.bad_verb(value, verb);
        }
        self.out.push(b'(');
        self.float(real, verb, value);
        let plus = std::mem::replace(&mut self.flags.plus, true);
        self.float(imaginary, verb, value);
        self.out.write_str("i)");
        self.flags.plus = plus;
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sign {
    /// Of an unsigned type.
    None,
    Plus,
    Minus,
}

impl Sign {
    pub(super) fn of(negative: bool) -> Self {
        if negative { Self::Minus } else { Self::Plus }
    }

    /// The two's complement that Go prints.
    pub(super) fn wrapped(self, magnitude: u64) -> u64 {
        match self {
            Self::Minus => magnitude.wrapping_neg(),
            _ => magnitude,
        }
    }
}

fn character(magnitude: u64, sign: Sign) -> char {
    u32::try_from(sign.wrapped(magnitude))
        .ok()
        .and_then(char::from_u32)
        .unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// Adds the decimal point and the zeros that `#` asks for; `text` begins with its sign.
fn with_point(text: &str, verb: u8, precision: Option<usize>) -> String {
    let mut digits: i64 = match verb {
        b'g' | b'G' | b'x' => precision.map_or(6, |p| i64::try_from(p).unwrap_or(i64::MAX)),
        _ => 0,
    };
    let marks: &[char] = if matches!(verb, b'x' | b'X') {
        &['p', 'P']
    } else {
        &['e', 'E', 'p', 'P']
    };
    let end = text.find(marks).unwrap_or(text.len());
    let (number, tail) = text.split_at(end);
    let mut out = number.to_owned();
    let mut nonzero = false;
    for c in number.chars().skip(1).filter(|c| *c != '.') {
        nonzero |= c != '0';
        digits -= i64::from(nonzero);
    }
    if !number.contains('.') {
        if number.len() == 2 && number.ends_with('0') {
            digits -= 1;
        }
        out.push('.');
    }
    out.extend(std::iter::repeat_n(
        '0',
        usize::try_from(digits).unwrap_or(0),
    ));
    out.push_str(tail);
    out
}
