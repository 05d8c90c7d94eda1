//! Lines on standard error as sops's logger writes them when standard error is no terminal, and
//! the plain messages of its exits. Scripts match both.

use std::io::{self, Write as _};

use jiff::Timestamp;

/// What is worth a line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Logger {
    /// Whether progress is worth one (`--verbose`).
    verbose: bool,
    /// The part of the program that speaks.
    part: &'static str,
}

impl Logger {
    pub(super) fn new() -> Self {
        Self {
            verbose: false,
            part: MAIN,
        }
    }

    /// Says more.
    pub(super) fn verbose(self) -> Self {
        Self {
            verbose: true,
            ..self
        }
    }

    /// Speaks as a part of the program.
    pub(super) fn of(self, part: &'static str) -> Self {
        Self { part, ..self }
    }

    pub(super) fn warn(self, message: &str) {
        line(self.part, "warning", message);
    }

    pub(super) fn error(self, message: &str) {
        line(self.part, "error", message);
    }

    /// Says what commands say in any case.
    pub(super) fn print(self, message: &str) {
        let time = Timestamp::now().strftime("%Y/%m/%d %H:%M:%S");
        plain(&format!("{time} {message}"));
    }

    pub(super) fn info(self, message: &str) {
        if self.verbose {
            line(self.part, "info", message);
        }
    }
}

/// What the commands themselves are called.
const MAIN: &str = "CMD";

/// Says why the program ends.
pub(super) fn fatal(message: &str) {
    line(MAIN, "fatal", message);
}

/// Prints a message as it is.
pub(super) fn plain(message: &str) {
    // A closed standard error leaves nobody to tell.
    let _ = writeln!(io::stderr(), "{message}");
}

fn line(part: &str, level: &str, message: &str) {
    let time = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ");
    let message = quoted(message);
    let _ = writeln!(
        io::stderr(),
        "[{part}]\t time=\"{time}\" level={level} msg={message}"
    );
}

/// Go's `%q`, which logrus uses for all but simple words.
fn quoted(message: &str) -> String {
    let simple = |c: char| c.is_ascii_alphanumeric() || "-._/@^+".contains(c);
    if !message.is_empty() && message.chars().all(simple) {
        return message.to_owned();
    }
    let mut text = String::from("\"");
    for c in message.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\t' => text.push_str("\\t"),
            '\r' => text.push_str("\\r"),
            c if (c as u32) < 0x20 => text.push_str(&format!("\\x{:02x}", c as u32)),
            c => text.push(c),
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn messages_are_quoted_as_logrus_does() {
        assert_eq!(quoted("word-1.0"), "word-1.0");
        assert_eq!(quoted("two words"), "\"two words\"");
        assert_eq!(quoted("a \"b\"\n"), "\"a \\\"b\\\"\\n\"");
        assert_eq!(quoted(""), "\"\"");
    }
}
