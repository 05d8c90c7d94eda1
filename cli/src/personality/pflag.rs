//! Command lines as Go programs with spf13/pflag read them, and as they print their flags. Flags may
//! stand behind positional arguments, short ones may be joined, switches take `=false`.

use std::fmt::Write as _;

use zeroize::Zeroizing;

/// A flag that a program knows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flag {
    pub(crate) name: &'static str,
    /// Its one-letter name.
    pub(crate) short: Option<char>,
    pub(crate) kind: Kind,
    /// What stands for its value in the help; empty for a switch.
    pub(crate) value: &'static str,
    pub(crate) help: &'static str,
    /// The default as the help shows it; empty when it shows none.
    pub(crate) default: &'static str,
    /// What to use instead; such a flag is not in the help.
    pub(crate) deprecated: Option<&'static str>,
}

/// What a flag takes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// A switch.
    Bool,
    /// One text; the last one counts.
    Text,
    /// Comma-separated texts; each occurrence adds some.
    List,
    /// Texts; each occurrence adds one.
    Array,
    /// A text of a fixed set, checked by a function.
    Checked(fn(&str) -> Result<(), String>),
}

/// Why a command line cannot be read, in the words of pflag.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FlagError {
    /// `-h` where no flag has this letter.
    #[error("pflag: help requested")]
    Help,
    #[error("unknown flag: --{0}")]
    Unknown(String),
    #[error("unknown shorthand flag: {0:?} in -{1}")]
    UnknownShort(char, String),
    #[error("flag needs an argument: --{0}")]
    NoValue(String),
    #[error("flag needs an argument: {0:?} in -{1}")]
    NoShortValue(char, String),
    #[error("bad flag syntax: {0}")]
    Syntax(String),
    #[error("invalid argument {value:?} for \"{flag}\" flag: {reason}")]
    Invalid {
        value: String,
        flag: String,
        reason: String,
    },
}

/// What a command line says. Values may be credentials, so they are cleared on drop.
#[derive(Default)]
pub(crate) struct Values {
    found: Vec<(&'static str, Vec<Zeroizing<String>>)>,
    /// What to tell about deprecated flags, in the order they stand there.
    pub(crate) notices: Vec<String>,
}

/// Reads a command line without the program's name. Positional arguments are left out.
///
/// `variable` gives the value that the environment has for a flag; one that cannot be used is
/// passed over, and lists go on behind it.
pub(crate) fn parse(
    flags: &'static [Flag],
    arguments: &[String],
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Values, FlagError> {
    let mut values = Values::default();
    for flag in flags {
        if let Some(text) = variable(flag.name) {
            // As the original: an unusable value is as if it were not there.
            let _ = values.set(flag, &text);
        }
    }
    let mut left = arguments;
    while let Some((argument, rest)) = left.split_first() {
        left = rest;
        if argument == "--" {
            break;
        }
        if let Some(body) = argument.strip_prefix("--") {
            long(flags, argument, body, &mut left, &mut values)?;
        } else if let Some(body) = argument.strip_prefix('-').filter(|body| !body.is_empty()) {
            short(flags, body, &mut left, &mut values)?;
        }
    }
    Ok(values)
}

fn long(
    flags: &'static [Flag],
    argument: &str,
    body: &str,
    left: &mut &[String],
    values: &mut Values,
) -> Result<(), FlagError> {
    if body.starts_with(['-', '=']) {
        return Err(FlagError::Syntax(argument.to_owned()));
    }
    let (name, inline) = match body.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (body, None),
    };
    let flag = flags.iter().find(|flag| flag.name == name);
    let flag = flag.ok_or_else(|| FlagError::Unknown(name.to_owned()))?;
    let value = match (inline, flag.kind) {
        (Some(value), _) => value,
        (None, Kind::Bool) => "true",
        (None, _) => {
            let next = left.split_first();
            let (value, rest) = next.ok_or_else(|| FlagError::NoValue(name.to_owned()))?;
            *left = rest;
            value
        }
    };
    values.assign(flag, value)
}

fn short(
    flags: &'static [Flag],
    mut body: &str,
    left: &mut &[String],
    values: &mut Values,
) -> Result<(), FlagError> {
    while let Some(letter) = body.chars().next() {
        let rest = &body[letter.len_utf8()..];
        let Some(flag) = flags.iter().find(|flag| flag.short == Some(letter)) else {
            return Err(match letter {
                'h' => FlagError::Help,
                _ => FlagError::UnknownShort(letter, body.to_owned()),
            });
        };
        let inline = rest.strip_prefix('=').filter(|value| !value.is_empty());
        let value = match (inline, flag.kind) {
            (Some(value), _) => value,
            (None, Kind::Bool) => {
                values.assign(flag, "true")?;
                body = rest;
                continue;
            }
            (None, _) if !rest.is_empty() => rest,
            (None, _) => {
                let next = left.split_first();
                let error = || FlagError::NoShortValue(letter, body.to_owned());
                let (value, rest) = next.ok_or_else(error)?;
                *left = rest;
                value
            }
        };
        return values.assign(flag, value);
    }
    Ok(())
}

impl Values {
    /// Whether a switch is on.
    pub(crate) fn switch(&self, name: &str) -> bool {
        self.last(name)
            .is_some_and(|text| read_bool(text) == Some(true))
    }

    /// The text of a flag; empty when it is not given.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.last(name).unwrap_or_default()
    }

    /// The texts of a list.
    pub(crate) fn texts(&self, name: &str) -> Vec<&str> {
        let found = self.found.iter().find(|(known, _)| *known == name);
        let texts = found.map(|(_, texts)| texts.as_slice()).unwrap_or_default();
        texts.iter().map(|text| text.as_str()).collect()
    }

    /// Whether the command line or the environment gives it.
    pub(crate) fn is_given(&self, name: &str) -> bool {
        self.found.iter().any(|(known, _)| *known == name)
    }

    fn last(&self, name: &str) -> Option<&str> {
        self.texts(name).last().copied()
    }

    fn assign(&mut self, flag: &Flag, value: &str) -> Result<(), FlagError> {
        self.set(flag, value).map_err(|reason| FlagError::Invalid {
            value: value.to_owned(),
            flag: match flag.short {
                Some(letter) => format!("-{letter}, --{}", flag.name),
                None => format!("--{}", flag.name),
            },
            reason,
        })?;
        if let Some(instead) = flag.deprecated {
            let notice = format!("Flag --{} has been deprecated, {instead}", flag.name);
            self.notices.push(notice);
        }
        Ok(())
    }

    fn set(&mut self, flag: &Flag, value: &str) -> Result<(), String> {
        let owned = |text: &str| Zeroizing::new(text.to_owned());
        let texts = match flag.kind {
            Kind::Bool => {
                read_bool(value).ok_or_else(|| {
                    format!("strconv.ParseBool: parsing {value:?}: invalid syntax")
                })?;
                vec![owned(value)]
            }
            Kind::Checked(check) => {
                check(value)?;
                vec![owned(value)]
            }
            Kind::Text | Kind::Array => vec![owned(value)],
            Kind::List => read_csv(value)?.iter().map(|text| owned(text)).collect(),
        };
        match self.found.iter_mut().find(|(name, _)| *name == flag.name) {
            Some((_, known)) if matches!(flag.kind, Kind::List | Kind::Array) => {
                known.extend(texts);
            }
            Some((_, known)) => *known = texts,
            None => self.found.push((flag.name, texts)),
        }
        Ok(())
    }
}

/// The flags as `PrintDefaults` prints them.
pub(crate) fn usage(flags: &[Flag]) -> String {
    let mut flags: Vec<&Flag> = flags.iter().filter(|f| f.deprecated.is_none()).collect();
    flags.sort_by_key(|flag| flag.name);
    let heads: Vec<String> = flags
        .iter()
        .map(|flag| {
            let short = match flag.short {
                Some(letter) => format!("  -{letter}, --{}", flag.name),
                None => format!("      --{}", flag.name),
            };
            match flag.value {
                "" => short,
                value => format!("{short} {value}"),
            }
        })
        .collect();
    let width = heads.iter().map(String::len).max().unwrap_or_default() + 3;
    let mut text = String::new();
    for (flag, head) in flags.iter().zip(&heads) {
        // Writing to a string cannot fail.
        let _ = write!(text, "{head:width$}{}", flag.help);
        if !flag.default.is_empty() {
            let _ = write!(text, " (default {})", flag.default);
        }
        text.push('\n');
    }
    text
}

/// Go's `strconv.ParseBool`.
fn read_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

/// The first record of Go's `encoding/csv`.
fn read_csv(text: &str) -> Result<Vec<String>, String> {
    let mut fields = Vec::new();
    let line = text.split('\n').next().unwrap_or_default();
    if text.is_empty() {
        return Ok(fields);
    }
    let broken =
        |at: usize, what: &str| format!("parse error on line 1, column {}: {what}", at + 1);
    let mut rest = line;
    loop {
        let at = line.len() - rest.len();
        if let Some(quoted) = rest.strip_prefix('"') {
            let mut field = String::new();
            let mut left = quoted;
            loop {
                let end = left.find('"').ok_or_else(|| {
                    broken(line.len(), "extraneous or missing \" in quoted-field")
                })?;
                field.push_str(&left[..end]);
                left = &left[end + 1..];
                match left.strip_prefix('"') {
                    Some(after) => {
                        field.push('"');
                        left = after;
                    }
                    None => break,
                }
            }
            fields.push(field);
            match left.strip_prefix(',') {
                Some(after) => rest = after,
                None if left.is_empty() => return Ok(fields),
                None => {
                    let at = line.len() - left.len() - 1;
                    return Err(broken(at, "extraneous or missing \" in quoted-field"));
                }
            }
        } else {
            let (field, after) = match rest.split_once(',') {
                Some((field, after)) => (field, Some(after)),
                None => (rest, None),
            };
            if let Some(quote) = field.find('"') {
                return Err(broken(at + quote, "bare \" in non-quoted field"));
            }
            fields.push(field.to_owned());
            match after {
                Some(after) => rest = after,
                None => return Ok(fields),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLAGS: &[Flag] = &[
        flag("raw", None, Kind::Bool),
        flag("format", Some('o'), Kind::Text),
        flag("key", None, Kind::List),
        flag("group", None, Kind::Array),
        Flag {
            deprecated: Some("please use --raw instead"),
            ..flag("old", None, Kind::Bool)
        },
        Flag {
            value: "name",
            help: "Says it",
            default: "\"x\"",
            ..flag("scope", Some('s'), Kind::Checked(only_a))
        },
    ];

    fn only_a(text: &str) -> Result<(), String> {
        match text {
            "a" => Ok(()),
            _ => Err("must be a".to_owned()),
        }
    }

    const fn flag(name: &'static str, short: Option<char>, kind: Kind) -> Flag {
        Flag {
            name,
            short,
            kind,
            value: "",
            help: "",
            default: "",
            deprecated: None,
        }
    }

    fn read(line: &str, env: &[(&str, &str)]) -> Result<Values, FlagError> {
        let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        parse(FLAGS, &arguments, |name| {
            let found = env.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn flags_stand_anywhere_in_every_form() {
        for line in [
            "-o yaml x --raw",
            "x -oyaml --raw=1",
            "--format=yaml --raw -- --format=x",
        ] {
            let values = read(line, &[]).unwrap();
            assert_eq!(values.text("format"), "yaml", "{line}");
            assert!(values.switch("raw"), "{line}");
        }
        assert_eq!(read("-o=a=b", &[]).unwrap().text("format"), "a=b");
        assert!(!read("--raw=F", &[]).unwrap().switch("raw"));
        assert_eq!(read("--format --raw", &[]).unwrap().text("format"), "--raw");
        let values = read("--key a,b --key \"c,d\" --group a,b", &[("key", "e")]).unwrap();
        assert_eq!(values.texts("key"), ["e", "a", "b", "c,d"]);
        assert_eq!(values.texts("group"), ["a,b"]);
    }

    #[test]
    fn the_environment_is_passed_over_where_it_cannot_be_used() {
        let env = &[("raw", "maybe"), ("scope", "b"), ("format", "yaml")];
        let values = read("", env).unwrap();
        assert!(!values.is_given("raw") && !values.is_given("scope"));
        assert_eq!(values.text("format"), "yaml");
        assert_eq!(read("-o json", env).unwrap().text("format"), "json");
    }

    #[test]
    fn errors_are_worded_as_pflag_words_them() {
        let message = |line: &str| match read(line, &[]) {
            Err(error) => error.to_string(),
            Ok(_) => panic!("read: {line}"),
        };
        for (line, expected) in [
            ("--nope", "unknown flag: --nope"),
            ("-z", "unknown shorthand flag: 'z' in -z"),
            ("--format", "flag needs an argument: --format"),
            ("-o", "flag needs an argument: 'o' in -o"),
            ("--=x", "bad flag syntax: --=x"),
            (
                "--raw=x",
                "invalid argument \"x\" for \"--raw\" flag: strconv.ParseBool: parsing \"x\": invalid syntax",
            ),
            (
                "-s b",
                "invalid argument \"b\" for \"-s, --scope\" flag: must be a",
            ),
            (
                "--key \"a",
                "invalid argument \"\\\"a\" for \"--key\" flag: parse error on line 1, column 3: extraneous or missing \" in quoted-field",
            ),
            ("-h", "pflag: help requested"),
        ] {
            assert_eq!(message(line), expected, "{line}");
        }
        let notices = read("--old", &[]).unwrap().notices;
        assert_eq!(
            notices,
            ["Flag --old has been deprecated, please use --raw instead"]
        );
    }

    #[test]
    fn the_help_is_laid_out_as_pflag_lays_it_out() {
        let text = usage(&FLAGS[4..]);
        assert_eq!(text, "  -s, --scope name   Says it (default \"x\")\n");
    }
}
