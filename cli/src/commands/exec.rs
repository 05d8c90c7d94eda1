//! `selkie exec`: a command with the secrets of a file, which are gone when it ends.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use selkie_secret::SecretString;
use selkie_sops::{DecryptOptions, ExtractPath, Format};

use crate::document::{self, DocumentError, Plain, Shape};
use crate::environment::Environment;
use crate::exec::{self, FileKind, Outcome, Plaintext, Program, Setting};
use crate::explain;
use crate::failure::{Failure, Kind};
use crate::private_folder::Place;
use crate::session::{Document, Session};
use crate::ui::Ui;
use crate::variables::{VariablesError, variables};

/// Run a command with the secrets of a file
///
/// The command runs as it is typed, without a shell, with the values at the top of the file as
/// environment variables. With --file it gets the clear text as a file instead, whose name takes the
/// place of {} in its arguments: a pipe that can be read once and never touches a disk, or with
/// --regular a file, in memory where the system has such a place. Signals are passed on to the command, and its exit code is
/// that of this program.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES, verbatim_doc_comment)]
pub(crate) struct Exec {
    /// Pass the values as environment variables (the default)
    #[arg(long, conflicts_with = "as_file")]
    env: bool,
    /// Pass the clear text as a file
    #[arg(long = "file", id = "as_file")]
    as_file: bool,
    /// The encrypted file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The command and its arguments, behind --
    #[arg(value_name = "COMMAND", required = true, last = true)]
    command: Vec<OsString>,
    /// Pass this part of the file only: '["stringData"]'
    #[arg(long, value_name = "PATH")]
    extract: Option<String>,
    /// Give the command these variables alone, none of this process
    #[arg(long)]
    pristine: bool,
    /// Become the command instead of waiting for it
    #[arg(long, conflicts_with = "as_file")]
    same_process: bool,
    /// With --file: a regular file, for programs that read it twice or seek in it
    #[arg(long, alias = "no-fifo", requires = "as_file")]
    regular: bool,
    /// With --file: its name
    #[arg(long, value_name = "NAME", requires = "as_file")]
    filename: Option<PathBuf>,
    /// Read the file as this format: yaml, json, dotenv, ini, binary; by its name if not given
    #[arg(long, value_name = "FORMAT")]
    input_type: Option<Format>,
    /// With --file: pass it in another format
    #[arg(long, value_name = "FORMAT", requires = "as_file")]
    output_type: Option<Format>,
    /// Use the file even when its MAC does not match
    #[arg(long)]
    ignore_mac: bool,
}

const EXAMPLES: &str = "\
Examples:
  With variables:
    selkie exec app.env -- ./server --port 8080
  With the values of a Secret manifest:
    selkie exec --extract '[\"stringData\"]' secret.yaml -- ./migrate
  With a file:
    selkie exec --file config.json -- ./server --config {}
";

impl Exec {
    pub(crate) fn run(&self, ui: &Ui, environment: &Environment) -> ExitCode {
        match self.outcome(ui, environment) {
            Ok(outcome) => ExitCode::from(outcome.shell_code()),
            Err(failure) => {
                let name = self.file.display().to_string();
                ExitCode::from(ui.fail(Some(&name), &failure))
            }
        }
    }

    fn outcome(&self, ui: &Ui, environment: &Environment) -> Result<Outcome, Failure> {
        ui.refuse_json()?;
        let program = Program::Words(self.command.clone());
        if self.as_file && !program.takes_file() {
            let message = "the command has no {} where the name of the file would go";
            return Err(Failure::new(Kind::Other, message)
                .hint("write {} where the command takes it: --config {}"));
        }
        let path: Option<Result<ExtractPath, _>> = self.extract.as_ref().map(|path| path.parse());
        let path = path.transpose();
        let path = path.map_err(|error| Failure::new(Kind::ExtractPath, error))?;
        let (mut plain, shape) = self.open(ui, environment)?;
        let mut setting = Setting {
            pristine: self.pristine,
            same_process: self.same_process,
            ..Setting::default()
        };
        if self.as_file {
            if let Some(path) = &path {
                let part = document::extract(plain.bytes.expose(), &shape, path);
                plain.bytes = part.map_err(|error| Failure::new(Kind::Other, error))?;
            }
            if self.regular
                && let Some(warning) = Place::find().warning()
            {
                ui.warn(None, &warning);
            }
            let plaintext = Plaintext {
                content: &plain.bytes,
                name: self.filename.as_deref(),
                kind: match self.regular {
                    true => FileKind::RegularInMemory,
                    false => FileKind::Fifo,
                },
            };
            return exec::with_file(&program, &setting, &plaintext);
        }
        setting.variables = variables(plain.bytes.expose(), shape.output, path.as_ref(), "")
            .map_err(|error| explain_variables(&error))?;
        check(&setting.variables)?;
        if setting.variables.is_empty() {
            let message = "the file has no value at its top that a variable could hold";
            return Err(Failure::new(Kind::Other, message).hint("pass it with --file"));
        }
        exec::with_variables(&program, &setting)
    }

    fn open(&self, ui: &Ui, environment: &Environment) -> Result<(Plain, Shape), Failure> {
        let session = Session::new(environment, &environment.named_keys())?;
        let document = Document::read(&self.file, self.input_type)?;
        document.check_encrypted()?;
        let shape = Shape {
            input: document.format,
            output: self.output_type.unwrap_or(document.format),
            indent: None,
            anew: false,
        };
        let options = DecryptOptions {
            ignore_mac: self.ignore_mac,
            ..session.keys.opening()
        };
        let failed = |error: DocumentError| match error {
            DocumentError::Decrypt(error) => explain::decrypt(&error, &session.keys),
            DocumentError::Convert(error) => explain::convert(&error),
            DocumentError::Extract(error) => explain::extract(&error),
            DocumentError::Encrypt(error) => explain::encrypt(&error),
            DocumentError::NotText => Failure::new(Kind::Input, error),
        };
        let bytes = document.text().as_bytes();
        let plain = document::decrypt(bytes, &shape, &session.keys, &options);
        let plain = plain.map_err(|error| failed(error).of_format(document.format))?;
        session.clients.warn(ui);
        let name = self.file.display().to_string();
        for warning in &plain.warnings {
            ui.warn(Some(&name), &warning.to_string());
        }
        Ok((plain, shape))
    }
}

fn explain_variables(error: &VariablesError) -> Failure {
    match error {
        VariablesError::Complex(key) => Failure::new(
            Kind::Other,
            format!("`{key}` is a list or a mapping, which no variable can hold"),
        )
        .hint("pass a part of the file with --extract '[\"KEY\"]', or the whole of it with --file"),
        VariablesError::NoPart => Failure::new(
            Kind::ExtractPath,
            "--extract names no mapping in the file, and only a mapping gives variables",
        )
        .hint("name a mapping, or pass the part with --file"),
        VariablesError::Name(key) => Failure::new(
            Kind::Other,
            format!("`{key}` has a '=', which no variable's name can have"),
        )
        .hint("pass the file with --file"),
        error => Failure::new(Kind::Input, error),
    }
}

/// Refuses what the system takes for no variable.
fn check(variables: &[(String, SecretString)]) -> Result<(), Failure> {
    for (name, value) in variables {
        if name.is_empty() || name.contains('\0') || value.expose().contains('\0') {
            let message = match name.is_empty() {
                true => "a key is empty, which is no name for a variable".to_owned(),
                false => format!("`{name}` holds a zero byte, which no variable can"),
            };
            return Err(Failure::new(Kind::Other, message).hint("pass the file with --file"));
        }
    }
    Ok(())
}
