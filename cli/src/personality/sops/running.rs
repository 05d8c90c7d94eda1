//! `sops exec-env` and `sops exec-file` (sops-cli.md 1.4).

use std::ffi::OsString;
use std::path::Path;

use super::target::Target;
use super::{Exit, Invocation, told};
use crate::document;
use crate::exec::{self, FileKind, Outcome, Plaintext, Program, Setting};
use crate::variables::variables;

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
        let variables = variables(plain.bytes.expose(), shape.input, None, "<nil>")
            .map_err(|error| Exit::Message(1, error.to_string()))?;
        let setting = Setting {
            variables,
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
