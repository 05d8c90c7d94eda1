//! `sops exec-env` and `sops exec-file` (sops-cli.md 1.4).

use std::ffi::OsString;
use std::path::Path;

use selkie_secret::SecretString;
use selkie_sops::Format;
use selkie_text::Value;
use zeroize::Zeroizing;

use super::target::Target;
use super::{Exit, Invocation, told};
use crate::document;
use crate::exec::{self, FileKind, Outcome, Plaintext, Program, Setting};

impl Invocation {
    pub(super) fn exec_env(&self) -> Result<(), Exit> {
        let (target, command) = self.file_and_command()?;
        let mut shape = self.shape(&target.name)?;
        shape.output = shape.input;
        shape.anew = false;
        let options = self.opening()?;
        if self.own.switch("background") {
            self.deprecated("exec-env");
            if self.own.switch("same-process") {
                let message = "Error: The --same-process flag cannot be used with --background";
                return Err(Exit::Message(8, message.to_owned()));
            }
        }
        let ring = self.keyring(&self.environment.named_keys())?;
        let source = target.bytes()?;
        let plain = document::decrypt(source, &shape, &ring, &options)
            .map_err(|error| told::decrypting(&error, &ring.places()))?;
        let setting = Setting {
            variables: variables(plain.bytes.expose(), shape.input)?,
            pristine: self.own.switch("pristine"),
            user: self.user(),
            same_process: self.own.switch("same-process"),
            background: self.own.switch("background"),
        };
        ended(exec::with_variables(&command, &setting)?)
    }

    pub(super) fn exec_file(&self) -> Result<(), Exit> {
        let (target, command) = self.file_and_command()?;
        let shape = self.shape(&target.name)?;
        let options = self.opening()?;
        let ring = self.keyring(&self.environment.named_keys())?;
        let source = target.bytes()?;
        let plain = document::decrypt(source, &shape, &ring, &options)
            .map_err(|error| told::decrypting(&error, &ring.places()))?;
        if self.own.switch("background") {
            self.deprecated("exec-file");
        }
        let name = self.own.text("filename");
        let plaintext = Plaintext {
            content: &plain.bytes,
            name: Some(Path::new(name)).filter(|_| !name.is_empty()),
            kind: match self.own.switch("no-fifo") {
                true => FileKind::Regular,
                false => FileKind::Fifo,
            },
        };
        let setting = Setting {
            user: self.user(),
            background: self.own.switch("background"),
            ..Setting::default()
        };
        ended(exec::with_file(&command, &setting, &plaintext)?)
    }

    fn file_and_command(&self) -> Result<(Target, Program), Exit> {
        let [file, command] = &self.own.rest[..] else {
            let message = "error: missing file to decrypt";
            return Err(Exit::Message(1, message.to_owned()));
        };
        let target = self.target_of(Some(Path::new(file)));
        Ok((target, Program::Shell(OsString::from(command))))
    }

    fn user(&self) -> Option<String> {
        Some(self.own.text("user").to_owned()).filter(|user| !user.is_empty())
    }

    fn deprecated(&self, command: &str) {
        self.log.warn(&format!(
            "{command}'s --background option is deprecated and will be removed in a future version \
             of sops"
        ));
    }
}

/// The exit code of the command is that of the program; Go has -1 for one that a signal ended.
fn ended(outcome: Outcome) -> Result<(), Exit> {
    match outcome {
        Outcome::Running | Outcome::Code(0) => Ok(()),
        Outcome::Code(code) => Err(Exit::Message(code, format!("exit status {code}"))),
        Outcome::Signal(signal) => {
            let name = match signal {
                1 => "hangup".to_owned(),
                2 => "interrupt".to_owned(),
                9 => "killed".to_owned(),
                15 => "terminated".to_owned(),
                other => format!("signal {other}"),
            };
            Err(Exit::Message(255, format!("signal: {name}")))
        }
    }
}

/// The single values at the top of the first document.
fn variables(plain: &[u8], format: Format) -> Result<Vec<(String, SecretString)>, Exit> {
    let refused = |message: String| Exit::Message(1, message);
    let text = std::str::from_utf8(plain)
        .map_err(|_| refused("the decrypted file is not UTF-8 text".to_owned()))?;
    if format == Format::Binary {
        let value = SecretString::new(text.to_owned());
        return Ok(vec![("data".to_owned(), value)]);
    }
    let stream = format
        .parse(text)
        .map_err(|error| refused(format!("Error unmarshalling input: {error}")))?;
    let document = stream
        .to_value(0)
        .map_err(|error| refused(error.to_string()))?;
    let Some(Value::Map(entries)) = document else {
        return Ok(Vec::new());
    };
    let mut variables = Vec::new();
    for (key, value) in entries {
        let text = match value {
            Value::Comment(_) => continue,
            Value::Map(_) | Value::Seq(_) => {
                return Err(refused(format!(
                    "cannot use complex value in environment; offending key {key}"
                )));
            }
            Value::Str(text) | Value::Raw(text) | Value::Quoted(text) | Value::Time(text) => {
                Zeroizing::new(text)
            }
            Value::Int(number) => Zeroizing::new(number.to_string()),
            Value::Float(number) => Zeroizing::new(float(number)),
            Value::Bool(switch) => Zeroizing::new(switch.to_string()),
            Value::Null => Zeroizing::new("<nil>".to_owned()),
        };
        if key.contains('=') {
            return Err(refused(format!(
                "cannot use keys with '=' in environment: {key}"
            )));
        }
        let mut text = text;
        variables.push((key, SecretString::new(std::mem::take(&mut *text))));
    }
    Ok(variables)
}

/// Go's `FormatFloat(f, 'G', -1, 64)`, with `.0` where it would look like an integer.
fn float(number: f64) -> String {
    if !number.is_finite() {
        return match number {
            number if number.is_nan() => "NaN".to_owned(),
            number if number > 0.0 => "+Inf".to_owned(),
            _ => "-Inf".to_owned(),
        };
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if !(-4..SHORTEST).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}E{sign}{:02}", exponent.abs());
    }
    let plain = format!("{number}");
    match plain.contains('.') {
        true => plain,
        false => format!("{number:.1}"),
    }
}

/// From this exponent on Go writes the shortest form with an exponent.
const SHORTEST: i32 = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_spelled_as_go_spells_them() {
        for (number, text) in [
            (1.5, "1.5"),
            (2.0, "2.0"),
            (123_456.0, "123456.0"),
            (1_234_567.0, "1.234567E+06"),
            (1e10, "1E+10"),
            (-0.0001, "-0.0001"),
            (0.00001, "1E-05"),
            (f64::INFINITY, "+Inf"),
        ] {
            assert_eq!(float(number), text);
        }
    }

    #[test]
    fn single_values_become_variables() {
        let text = "A: x\nN: 42\nB: true\nZ: null\n# comment\nF: 1.5\n";
        let found = variables(text.as_bytes(), Format::Yaml).unwrap();
        let found: Vec<(&str, &str)> = found
            .iter()
            .map(|(name, value)| (name.as_str(), value.expose()))
            .collect();
        let expected = [
            ("A", "x"),
            ("N", "42"),
            ("B", "true"),
            ("Z", "<nil>"),
            ("F", "1.5"),
        ];
        assert_eq!(found, expected);
        for (text, message) in [
            ("a: [1]\n", "offending key a"),
            ("a=b: 1\n", "keys with '='"),
        ] {
            let refused = variables(text.as_bytes(), Format::Yaml).unwrap_err();
            assert!(matches!(refused, Exit::Message(1, found) if found.contains(message)));
        }
    }
}
