//! Go's package `fmt`: what `print`, `printf`, `println` and every `{{value}}` write.

mod format;
mod number;
mod text;

use format::Format;
use number::Sign;

use crate::functions::semver::Version;
use crate::run::Buffer;
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
    Format::new(out, format, values).run();
}

/// What stands for the address that Go prints.
const ADDRESS: &[u8] = b"0xc000000000";

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
