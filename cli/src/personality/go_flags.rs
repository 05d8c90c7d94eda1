//! Command lines as Go programs read them: the `flag` package, with the rules that urfave/cli v1
//! adds (sops-cli.md 1). Flags take one or two dashes, switches take `=false`, and the flags of a
//! subcommand may also follow its positional arguments.

use std::ffi::OsString;

/// A flag that a command knows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flag {
    /// Its names; values are asked by the first one.
    pub(crate) names: &'static [&'static str],
    /// What it takes.
    pub(crate) kind: FlagKind,
    /// The environment variable that gives its value when the command line does not.
    pub(crate) env: Option<&'static str>,
    /// One line of help.
    pub(crate) help: &'static str,
}

/// What a flag takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FlagKind {
    /// A switch that is off until it is given.
    Switch,
    /// A switch that is on until `=false` is given.
    SwitchOn,
    /// One text; the last one counts.
    Text,
    /// Texts; each occurrence adds one.
    Texts,
    /// An integer.
    Number,
}

/// Why a command line cannot be read, in the words of Go's `flag` package.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FlagError {
    #[error("flag provided but not defined: -{0}")]
    Unknown(String),
    #[error("flag needs an argument: -{0}")]
    NoValue(String),
    #[error("bad flag syntax: {0}")]
    Syntax(String),
    #[error("invalid boolean value {value:?} for -{name}: parse error")]
    NoSwitch { name: String, value: String },
    #[error("invalid value {value:?} for flag -{name}: parse error")]
    NoNumber { name: String, value: String },
    #[error("Cannot use two forms of the same flag: {0} {1}")]
    TwoForms(&'static str, &'static str),
    #[error("could not parse {value} as bool value for flag {name}: invalid syntax")]
    Environment { name: &'static str, value: String },
}

/// What a command line says.
#[derive(Debug, Default, Clone)]
pub(crate) struct Values {
    found: Vec<(&'static str, Value)>,
    /// Flags that the command line or the environment sets.
    set: Vec<&'static str>,
    /// The positional arguments.
    pub(crate) rest: Vec<OsString>,
}

#[derive(Debug, Clone)]
enum Value {
    Switch(bool),
    Text(String),
    Texts(Vec<String>),
    Number(i64),
}

/// Reads the arguments behind a command's name.
///
/// With `reorder`, flags that the command knows are read wherever they stand, as urfave/cli does
/// for subcommands; without, the first argument that is no flag ends them.
pub(crate) fn parse(
    flags: &[Flag],
    arguments: &[OsString],
    variable: &dyn Fn(&str) -> Option<OsString>,
    reorder: bool,
) -> Result<Values, FlagError> {
    let mut values = Values::initial(flags, variable)?;
    let arguments = match reorder {
        true => flags_first(flags, arguments),
        false => arguments.to_vec(),
    };
    let mut left = arguments.as_slice();
    // How each flag was spelled so far.
    let mut spelled: Vec<(&'static str, &'static str)> = Vec::new();
    while let Some((first, rest)) = left.split_first() {
        let text = first.to_string_lossy();
        if !text.starts_with('-') || text == "-" {
            break;
        }
        left = rest;
        if text == "--" {
            break;
        }
        let body = text.strip_prefix("--").unwrap_or(&text[1..]);
        if body.starts_with(['-', '=']) {
            return Err(FlagError::Syntax(text.into_owned()));
        }
        let (name, inline) = match body.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (body, None),
        };
        let (flag, spelling) =
            find(flags, name).ok_or_else(|| FlagError::Unknown(name.to_owned()))?;
        let value = match (inline, flag.kind) {
            (Some(value), _) => value,
            (None, FlagKind::Switch | FlagKind::SwitchOn) => "true".to_owned(),
            (None, _) => {
                let next = left.split_first();
                let (value, rest) = next.ok_or_else(|| FlagError::NoValue(name.to_owned()))?;
                left = rest;
                value.to_string_lossy().into_owned()
            }
        };
        let key = flag.names[0];
        let is_first = !spelled.iter().any(|(found, _)| *found == key);
        spelled.push((key, spelling));
        values.assign(key, name, value, is_first)?;
    }
    for flag in flags {
        let mut forms = flag.names.iter().filter(|name| {
            let mut spellings = spelled.iter().map(|(_, spelling)| spelling);
            spellings.any(|spelling| spelling == *name)
        });
        if let (Some(first), Some(second)) = (forms.next(), forms.next()) {
            return Err(FlagError::TwoForms(second, first));
        }
    }
    values.rest = left.to_vec();
    Ok(values)
}

impl Values {
    /// Whether a switch is on.
    pub(crate) fn switch(&self, name: &str) -> bool {
        matches!(self.get(name), Some(Value::Switch(true)))
    }

    /// The text of a flag; empty when it is not given.
    pub(crate) fn text(&self, name: &str) -> &str {
        match self.get(name) {
            Some(Value::Text(text)) => text,
            _ => "",
        }
    }

    /// The texts of a flag that may be repeated.
    pub(crate) fn texts(&self, name: &str) -> &[String] {
        match self.get(name) {
            Some(Value::Texts(texts)) => texts,
            _ => &[],
        }
    }

    /// The number of a flag; 0 when it is not given.
    pub(crate) fn number(&self, name: &str) -> i64 {
        match self.get(name) {
            Some(Value::Number(number)) => *number,
            _ => 0,
        }
    }

    /// Whether the command line or the environment gives the flag.
    pub(crate) fn is_set(&self, name: &str) -> bool {
        self.set.contains(&name)
    }

    /// What holds before the command line is read.
    fn initial(
        flags: &[Flag],
        variable: &dyn Fn(&str) -> Option<OsString>,
    ) -> Result<Self, FlagError> {
        let mut values = Self::default();
        for flag in flags {
            let given = flag.env.and_then(variable);
            let given = given.map(|value| value.to_string_lossy().into_owned());
            let key = flag.names[0];
            if given.is_some() {
                values.set.push(key);
            }
            let switch = |given: Option<String>, unset: bool| match given.as_deref() {
                None => Ok(unset),
                Some("") => Ok(false),
                Some(text) => read_switch(text).ok_or_else(|| FlagError::Environment {
                    name: key,
                    value: text.to_owned(),
                }),
            };
            let value = match flag.kind {
                FlagKind::Switch => Value::Switch(switch(given, false)?),
                FlagKind::SwitchOn => Value::Switch(switch(given, true)?),
                FlagKind::Text => Value::Text(given.unwrap_or_default()),
                FlagKind::Texts => {
                    let texts = given.iter().flat_map(|given| given.split(','));
                    let texts = texts.map(|text| text.trim().to_owned());
                    Value::Texts(texts.filter(|text| !text.is_empty()).collect())
                }
                FlagKind::Number => Value::Number(
                    given
                        .and_then(|text| read_number(&text))
                        .unwrap_or_default(),
                ),
            };
            values.found.push((key, value));
        }
        Ok(values)
    }

    fn assign(
        &mut self,
        key: &'static str,
        name: &str,
        text: String,
        is_first: bool,
    ) -> Result<(), FlagError> {
        let name = name.to_owned();
        let slot = self.found.iter_mut().find(|(found, _)| *found == key);
        match slot.map(|(_, value)| value) {
            Some(Value::Switch(on)) => {
                *on = read_switch(&text).ok_or(FlagError::NoSwitch { name, value: text })?;
            }
            Some(Value::Number(number)) => {
                *number = read_number(&text).ok_or(FlagError::NoNumber { name, value: text })?;
            }
            Some(Value::Text(found)) => *found = text,
            Some(Value::Texts(found)) => {
                // The command line replaces what the environment says.
                if is_first {
                    found.clear();
                }
                found.push(text);
            }
            None => {}
        }
        if !self.set.contains(&key) {
            self.set.push(key);
        }
        Ok(())
    }

    fn get(&self, name: &str) -> Option<&Value> {
        let found = self.found.iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| value)
    }
}

/// Moves flags, and the argument behind each that may be its value, before everything else
/// (urfave/cli v1, `reorderArgs`).
fn flags_first(flags: &[Flag], arguments: &[OsString]) -> Vec<OsString> {
    let (mut first, mut rest) = (Vec::new(), Vec::new());
    let mut value_may_follow = false;
    for (at, argument) in arguments.iter().enumerate() {
        let text = argument.to_string_lossy();
        let is_flag = is_known_flag(flags, &text);
        if value_may_follow && !is_flag {
            value_may_follow = false;
            first.push(argument.clone());
        } else if text == "--" {
            rest.insert(0, argument.clone());
            rest.extend_from_slice(&arguments[at + 1..]);
            break;
        } else if is_flag {
            // urfave/cli takes what follows a switch for its value, too, so that a file behind one
            // stays before the other positional arguments.
            value_may_follow = !text.contains('=');
            first.push(argument.clone());
        } else {
            rest.push(argument.clone());
        }
    }
    first.extend(rest);
    first
}

fn is_known_flag(flags: &[Flag], text: &str) -> bool {
    if text == "-" || text == "--" {
        return false;
    }
    let body = text.strip_prefix("--").or_else(|| text.strip_prefix('-'));
    let Some(body) = body else { return false };
    let name = body.split('=').next().unwrap_or_default();
    find(flags, name).is_some()
}

fn find<'f>(flags: &'f [Flag], name: &str) -> Option<(&'f Flag, &'static str)> {
    flags.iter().find_map(|flag| {
        let spelling = flag.names.iter().find(|found| **found == name)?;
        Some((flag, *spelling))
    })
}

/// Go's `strconv.ParseBool`.
fn read_switch(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

/// Go's `strconv.ParseInt` with base 0, without its underscores.
fn read_number(text: &str) -> Option<i64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = digits.to_ascii_lowercase();
    let (base, digits) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, &lower[2..]),
        [b'0', b'b', ..] => (2, &lower[2..]),
        [b'0', b'o', ..] => (8, &lower[2..]),
        [b'0', _, ..] => (8, &lower[1..]),
        _ => (10, lower.as_str()),
    };
    if !digits.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return None;
    }
    i64::from_str_radix(&format!("{sign}{digits}"), base).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLAGS: &[Flag] = &[
        flag(&["in-place", "i"], FlagKind::Switch, None),
        flag(&["local"], FlagKind::SwitchOn, Some("LOCAL")),
        flag(&["age", "a"], FlagKind::Text, Some("AGE")),
        flag(&["service"], FlagKind::Texts, Some("SERVICE")),
        flag(&["indent"], FlagKind::Number, None),
    ];

    const fn flag(
        names: &'static [&'static str],
        kind: FlagKind,
        env: Option<&'static str>,
    ) -> Flag {
        Flag {
            names,
            kind,
            env,
            help: "",
        }
    }

    fn read(line: &str, env: &[(&str, &str)], reorder: bool) -> Result<Values, FlagError> {
        let arguments: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        let variable = |name: &str| {
            let found = env.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| OsString::from(value))
        };
        parse(FLAGS, &arguments, &variable, reorder)
    }

    #[test]
    fn one_dash_and_two_are_the_same_and_switches_take_a_value() {
        for line in ["-in-place f", "--in-place f", "-i f", "--i=true f"] {
            let values = read(line, &[], false).unwrap();
            assert!(values.switch("in-place"), "{line}");
            assert_eq!(values.rest, ["f"], "{line}");
        }
        assert!(!read("-i=F f", &[], false).unwrap().switch("in-place"));
        assert!(!read("--local=0", &[], false).unwrap().switch("local"));
        assert!(read("", &[], false).unwrap().switch("local"));
    }

    #[test]
    fn values_stand_behind_the_flag_or_an_equals_sign() {
        for line in ["-a x f", "--age x f", "--a=x f"] {
            assert_eq!(read(line, &[], false).unwrap().text("age"), "x", "{line}");
        }
        assert_eq!(read("--age=a=b", &[], false).unwrap().text("age"), "a=b");
        let values = read("--service a --service b", &[("SERVICE", "c, d")], false).unwrap();
        assert_eq!(values.texts("service"), ["a", "b"]);
        let values = read("", &[("SERVICE", "c, d")], false).unwrap();
        assert_eq!(values.texts("service"), ["c", "d"]);
        assert!(values.is_set("service") && !values.is_set("age"));
        assert_eq!(
            read("--indent -0x10", &[], false).unwrap().number("indent"),
            -16
        );
    }

    #[test]
    fn the_environment_gives_what_the_command_line_does_not() {
        let env = &[("AGE", "e"), ("LOCAL", "")];
        let values = read("", env, false).unwrap();
        assert_eq!((values.text("age"), values.switch("local")), ("e", false));
        assert_eq!(read("-a x", env, false).unwrap().text("age"), "x");
        assert!(matches!(
            read("", &[("LOCAL", "maybe")], false),
            Err(FlagError::Environment { name: "local", .. })
        ));
    }

    #[test]
    fn a_subcommands_flags_may_follow_its_arguments() {
        let values = read("f -i", &[], true).unwrap();
        assert!(values.switch("in-place"));
        assert_eq!(values.rest, ["f"]);
        let values = read("f -i", &[], false).unwrap();
        assert_eq!(values.rest, ["f", "-i"]);
        let values = read("f --age x g -- -i", &[], true).unwrap();
        assert_eq!(values.text("age"), "x");
        assert_eq!(values.rest, ["f", "g", "-i"]);
        // An argument that looks like a flag of somebody else stays an argument.
        assert_eq!(read("f --other", &[], true).unwrap().rest, ["f", "--other"]);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let message = |line: &str| read(line, &[], true).unwrap_err().to_string();
        assert_eq!(message("--nope f"), "flag provided but not defined: -nope");
        assert_eq!(message("--age"), "flag needs an argument: -age");
        assert_eq!(message("---x"), "bad flag syntax: ---x");
        assert_eq!(
            message("-i=x"),
            "invalid boolean value \"x\" for -i: parse error"
        );
        assert_eq!(
            message("--indent x"),
            "invalid value \"x\" for flag -indent: parse error"
        );
        assert_eq!(
            message("-i --in-place f"),
            "Cannot use two forms of the same flag: i in-place"
        );
    }
}
