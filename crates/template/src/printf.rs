//! Go's package `fmt`: what `print`, `printf`, `println` and every `{{value}}` write.

use crate::functions::semver::Version;
use crate::run::Buffer;
use crate::strconv;
use crate::text;
use crate::time::{Time, Zone};
use crate::value::{IntType, List, Map, UintType, Value};

/// `fmt.Fprint`: a space between two operands that are both no strings.
pub(crate) fn print(out: &mut Buffer, values: &[Value]) {
    let mut after_string = true;
    for (at, value) in values.iter().enumerate() {
        let is_string = matches!(value, Value::String(_));
        if at > 0 && !is_string && !after_string {
            out.push(b' ');
        }
        Printer::new(out).argument(value, 'v');
        after_string = is_string;
    }
}

/// `fmt.Fprintln`.
pub(crate) fn println(out: &mut Buffer, values: &[Value]) {
    for (at, value) in values.iter().enumerate() {
        if at > 0 {
            out.push(b' ');
        }
        Printer::new(out).argument(value, 'v');
    }
    out.push(b'\n');
}

/// `fmt.Fprintf`.
pub(crate) fn printf(out: &mut Buffer, format: &[u8], values: &[Value]) {
    Format {
        printer: Printer::new(out),
        format,
        values,
        at: 0,
        argument: 0,
        reordered: false,
        good_index: true,
    }
    .run();
}

/// What stands for the address that Go prints.
const ADDRESS: &[u8] = b"0xc000000000";
/// Go takes no width or precision beyond this.
const TOO_LARGE: i64 = 1_000_000;

/// The format string while it is walked.
struct Format<'p, 'b> {
    printer: Printer<'b>,
    format: &'p [u8],
    values: &'p [Value],
    at: usize,
    argument: usize,
    reordered: bool,
    good_index: bool,
}

impl Format<'_, '_> {
    fn run(mut self) {
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

/// The flags of one directive.
#[derive(Debug, Clone, Default)]
#[expect(clippy::struct_excessive_bools, reason = "they are flags")]
struct Flags {
    width: Option<usize>,
    precision: Option<usize>,
    minus: bool,
    plus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    /// `%+v`
    plus_value: bool,
    /// `%#v`
    sharp_value: bool,
}

impl Flags {
    fn turn_into_value_flags(&mut self) {
        self.sharp_value = std::mem::take(&mut self.sharp);
        self.plus_value = std::mem::take(&mut self.plus);
    }
}

/// Writes single values.
pub(crate) struct Printer<'b> {
    out: &'b mut Buffer,
    flags: Flags,
}

impl<'b> Printer<'b> {
    pub(crate) fn new(out: &'b mut Buffer) -> Self {
        Self {
            out,
            flags: Flags::default(),
        }
    }

    fn complain(&mut self, verb: char, what: &str) {
        self.out.write_str("%!");
        self.write_char(verb);
        self.out.push(b'(');
        self.out.write_str(what);
    }

    fn write_char(&mut self, c: char) {
        self.out.write_str(c.encode_utf8(&mut [0; 4]));
    }

    fn argument(&mut self, value: &Value, verb: char) {
        match verb {
            _ if value.is_nil() => match verb {
                'T' | 'v' => self.pad(b"<nil>"),
                _ => self.bad_verb(value, verb),
            },
            'T' => self.string(value.type_name().as_bytes(), 's', value),
            'p' => self.pointer(value),
            _ => self.value(value, verb, 0),
        }
    }

    /// Go prints an address; ours is no real one.
    fn pointer(&mut self, value: &Value) {
        match value {
            Value::List(_) | Value::Map(_) | Value::Version(_) => {
                self.pad(ADDRESS);
            }
            _ => self.bad_verb(value, 'p'),
        }
    }

    fn bad_verb(&mut self, value: &Value, verb: char) {
        self.complain(verb, value.type_name());
        if !value.is_nil() {
            self.out.push(b'=');
            self.plain(value, 'v', 0);
        }
        self.out.push(b')');
    }

    fn value(&mut self, value: &Value, verb: char, depth: u32) {
        if !self.out.enter(depth) {
            return;
        }
        if verb == 'w' {
            return self.bad_verb(value, verb);
        }
        if matches!(verb, 'v' | 's' | 'x' | 'X' | 'q')
            && !self.flags.sharp_value
            && let Some(text) = own_text(value)
        {
            return self.string(text.as_bytes(), verb, value);
        }
        self.plain(value, verb, depth);
    }

    /// Prints without the type's own `String` method.
    fn plain(&mut self, value: &Value, verb: char, depth: u32) {
        match value {
            Value::Invalid | Value::Nil => match verb {
                'v' if self.flags.sharp_value => self.out.write_str("interface {}(nil)"),
                'v' => self.out.write_str("<nil>"),
                // A null inside a list has no type to complain about.
                _ => self.out.write_str("<nil>"),
            },
            Value::Bool(bool) => match verb {
                't' | 'v' => self.pad(if *bool { b"true" } else { b"false" }),
                _ => self.bad_verb(value, verb),
            },
            Value::Int(_, number) => {
                self.integer(number.unsigned_abs(), Sign::of(*number < 0), verb, value);
            }
            Value::Uint(_, number) => self.integer(*number, Sign::None, verb, value),
            Value::Float(number) => self.float(*number, verb, value),
            Value::Complex(real, imaginary) => self.complex(*real, *imaginary, verb, value),
            Value::String(text) => self.string(text, verb, value),
            Value::List(list) => self.list(list, verb, depth),
            Value::Map(map) => self.map(map, verb, depth),
            Value::Certificate(certificate) => {
                let fields = [("Cert", &certificate.cert), ("Key", &certificate.key)];
                if self.flags.sharp_value {
                    self.out.write_str(value.type_name());
                }
                self.out.push(b'{');
                for (at, (name, text)) in fields.into_iter().enumerate() {
                    if at > 0 {
                        self.separate();
                    }
                    if self.flags.plus_value || self.flags.sharp_value {
                        self.out.write_str(name);
                        self.out.push(b':');
                    }
                    self.string(text, verb, &Value::String(text.clone()));
                }
                self.out.push(b'}');
            }
            Value::Time(time) => self.time(time, verb),
            Value::Version(version) => self.version(version, verb, depth),
        }
    }

    /// The private fields of a time, where its text is not asked for.
    fn time(&mut self, time: &Time, verb: char) {
        let year_one = Time::zero().seconds;
        let seconds = Value::int64(time.seconds.wrapping_sub(year_one));
        let wall = Value::Uint(UintType::Uint64, u64::from(time.nanoseconds));
        self.out.push(b'{');
        self.plain(&wall, verb, 1);
        self.out.push(b' ');
        self.plain(&seconds, verb, 1);
        self.out.push(b' ');
        // The zone is a pointer, and nil for UTC.
        match (&time.zone, verb) {
            (Zone::Utc, 'v') => self.pad(b"<nil>"),
            (Zone::Utc, 'b' | 'o' | 'd' | 'x' | 'X') => {
                self.plain(&Value::Uint(UintType::Uint64, 0), verb, 1);
            }
            (Zone::Utc, _) => {
                self.complain(verb, "*time.Location=");
                self.pad(b"<nil>");
                self.out.push(b')');
            }
            _ => self.pad(ADDRESS),
        }
        self.out.push(b'}');
    }

    /// The private fields of a version, where its text is not asked for.
    fn version(&mut self, version: &Version, verb: char, depth: u32) {
        if !version.by_value {
            if depth > 0 {
                return self.pad(ADDRESS);
            }
            self.out.push(b'&');
        }
        self.out.push(b'{');
        for number in [version.major, version.minor, version.patch] {
            self.plain(&Value::Uint(UintType::Uint64, number), verb, 1);
            self.out.push(b' ');
        }
        for (at, text) in [&version.pre, &version.metadata, &version.original]
            .into_iter()
            .enumerate()
        {
            if at > 0 {
                self.out.push(b' ');
            }
            self.plain(&Value::string(text.as_str()), verb, 1);
        }
        self.out.push(b'}');
    }

    fn separate(&mut self) {
        let separator = if self.flags.sharp_value { ", " } else { " " };
        self.out.write_str(separator);
    }

    fn list(&mut self, list: &List, verb: char, depth: u32) {
        let type_name = Value::List(list.clone()).type_name();
        let brackets = self.open(type_name, list.nil, "[", "]");
        let Some(close) = brackets else {
            return;
        };
        for (at, item) in list.items.iter().enumerate() {
            if at > 0 {
                self.separate();
            }
            if self.out.is_over() {
                return;
            }
            self.value(item, verb, depth + 1);
        }
        self.out.write_str(close);
    }

    fn map(&mut self, map: &Map, verb: char, depth: u32) {
        let type_name = Value::Map(map.clone()).type_name();
        let Some(close) = self.open(type_name, map.entries.is_none(), "map[", "]") else {
            return;
        };
        for (at, (key, item)) in map.snapshot().iter().enumerate() {
            if at > 0 {
                self.separate();
            }
            if self.out.is_over() {
                return;
            }
            self.string(key, verb, &Value::String(key.clone()));
            self.out.push(b':');
            self.value(item, verb, depth + 1);
        }
        self.out.write_str(close);
    }

    /// Writes how a list or map begins; returns how it ends, nothing when it has ended.
    fn open(
        &mut self,
        name: &str,
        nil: bool,
        open: &str,
        close: &'static str,
    ) -> Option<&'static str> {
        if !self.flags.sharp_value {
            self.out.write_str(open);
            return Some(close);
        }
        self.out.write_str(name);
        if nil {
            self.out.write_str("(nil)");
            return None;
        }
        self.out.push(b'{');
        Some("}")
    }

    // ---- text ----

    /// Writes bytes, padded to the width with spaces or, on the left, zeros.
    fn pad(&mut self, bytes: &[u8]) {
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

    fn padding(&mut self, count: usize) {
        let zero = self.flags.zero && !self.flags.minus;
        self.out.repeat(if zero { b'0' } else { b' ' }, count);
    }

    fn pad_with_spaces(&mut self, bytes: &[u8]) {
        let zero = std::mem::take(&mut self.flags.zero);
        self.pad(bytes);
        self.flags.zero = zero;
    }

    fn truncated<'t>(&self, bytes: &'t [u8]) -> &'t [u8] {
        let Some(precision) = self.flags.precision else {
            return bytes;
        };
        let end = text::runes(bytes).nth(precision);
        end.map_or(bytes, |(at, _, _)| &bytes[..at])
    }

    fn string(&mut self, bytes: &[u8], verb: char, value: &Value) {
        match verb {
            'v' if self.flags.sharp_value => self.quoted(bytes),
            'v' | 's' => self.pad(self.truncated(bytes)),
            'x' | 'X' => self.hex(bytes, verb == 'X'),
            'q' => self.quoted(bytes),
            _ => self.bad_verb(value, verb),
        }
    }

    fn quoted(&mut self, bytes: &[u8]) {
        let bytes = self.truncated(bytes);
        if self.flags.sharp && strconv::can_backquote(bytes) {
            let raw = zeroize::Zeroizing::new([b"`", bytes, b"`"].concat());
            return self.pad(&raw);
        }
        let quoted = zeroize::Zeroizing::new(strconv::quote(bytes, b'"', self.flags.plus));
        self.pad(&quoted);
    }

    fn hex(&mut self, bytes: &[u8], upper: bool) {
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

    // ---- numbers ----

    fn integer(&mut self, magnitude: u64, sign: Sign, verb: char, value: &Value) {
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

    fn digits(&mut self, digits: &str, magnitude: u64, sign: Sign, verb: char, prefix: &str) {
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

    fn code_point(&mut self, magnitude: u64, sign: Sign) {
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

    fn float(&mut self, number: f64, verb: char, value: &Value) {
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

    fn number(&mut self, number: f64, verb: u8, precision: Option<usize>) {
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

    fn complex(&mut self, real: f64, imaginary: f64, verb: char, value: &Value) {
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

/// What the type's own `String` method gives.
fn own_text(value: &Value) -> Option<String> {
    Some(match value {
        Value::Time(time) => time.to_string(),
        Value::Version(version) => version.to_string(),
        Value::Int(IntType::Duration, nanoseconds) => crate::time::duration_text(*nanoseconds),
        Value::Int(IntType::Month, month) => crate::time::month_text(*month),
        Value::Int(IntType::Weekday, day) => crate::time::weekday_text(*day),
        _ => return None,
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sign {
    /// Of an unsigned type.
    None,
    Plus,
    Minus,
}

impl Sign {
    fn of(negative: bool) -> Self {
        if negative { Self::Minus } else { Self::Plus }
    }

    /// The two's complement that Go prints.
    fn wrapped(self, magnitude: u64) -> u64 {
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
