//! `selkie set` and `selkie unset`: one value of a file.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use selkie_secret::SecretString;
use selkie_sops::{Edited, ExtractPath, Format, JsonOptions, KeySpec, NewValue, SetOptions};

use crate::environment::Environment;
use crate::explain;
use crate::failure::{Failure, Kind};
use crate::file::{self, Source};
use crate::plan::{KeyFlags, Planner};
use crate::session::{Document, Session};
use crate::terminal;
use crate::ui::{self, Report, Ui};

/// Set one value of an encrypted file
///
/// Missing levels are made; a position at or behind the end of a list appends. Every other value keeps
/// its ciphertext, and every other line its bytes. A file that does not exist yet is made if flags or
/// rules say for whom.
///
/// VALUE is JSON, as for `sops set`: a text stands in double quotes, a list or a mapping is taken
/// whole; with --string it is a text as it is. Arguments are seen by other users of the machine and
/// kept by shells: without VALUE the value is a text that is read from standard input (its last line
/// break does not count), or asked for on a terminal.
#[derive(Debug, Args)]
#[command(after_long_help = SET_EXAMPLES, verbatim_doc_comment)]
pub(crate) struct Set {
    #[command(flatten)]
    place: PlaceFlags,
    /// The value, as JSON
    #[arg(value_name = "VALUE", allow_hyphen_values = true)]
    value: Option<String>,
    /// VALUE is a text as it is
    #[arg(long, requires = "value")]
    string: bool,
    /// What standard input or the file holds is JSON
    #[arg(long, conflicts_with_all = ["value", "string"])]
    value_json: bool,
    /// Read the value from this file, to its last byte
    #[arg(long, value_name = "FILE", conflicts_with = "value")]
    value_file: Option<PathBuf>,
    /// Take a value that the rule of the file leaves in clear
    #[arg(long)]
    clear: bool,
    #[command(flatten)]
    keys: KeyFlags,
}

/// Take one value out of an encrypted file
///
/// Its line goes, with the comment on it; a key with all that is below it.
#[derive(Debug, Args)]
#[command(after_long_help = UNSET_EXAMPLES, verbatim_doc_comment)]
pub(crate) struct Unset {
    #[command(flatten)]
    place: PlaceFlags,
}

/// A place in a file.
#[derive(Debug, Args)]
struct PlaceFlags {
    /// The encrypted file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Where in it: '["key"]["other"][0]'
    #[arg(value_name = "PATH")]
    path: String,
    /// Which document of a YAML file, counted from 0
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    document: usize,
    /// Leave the file alone where nothing would change
    #[arg(long)]
    idempotent: bool,
    /// Change the file even when its MAC does not match
    #[arg(long)]
    ignore_mac: bool,
    /// Read the file as this format: yaml, json, dotenv, ini; by its name if not given
    #[arg(long, value_name = "FORMAT")]
    input_type: Option<Format>,
}

const SET_EXAMPLES: &str = "\
Examples:
  Set a text that is asked for:
    selkie set secret.yaml '[\"stringData\"][\"password\"]'
  Set what another program prints:
    pwgen 32 1 | selkie set secret.yaml '[\"stringData\"][\"password\"]'
  Set a list:
    selkie set config.yaml '[\"hosts\"]' '[\"a.example\", \"b.example\"]'
";

const UNSET_EXAMPLES: &str = "\
Examples:
  Take a key out:
    selkie unset secret.yaml '[\"stringData\"][\"password\"]'
";

impl Set {
    pub(crate) fn run(&self, ui: &Ui, environment: &Environment) -> ExitCode {
        self.place.end(ui, self.set(environment))
    }

    fn set(&self, environment: &Environment) -> Result<Report, Failure> {
        let path = self.place.path()?;
        if !self.place.file.exists() {
            file::check_new(&self.place.file)?;
            if self.place.document != 0 {
                let message = "a new file has one document, with the number 0";
                return Err(Failure::new(Kind::Conflict, message));
            }
            let mut planner = Planner::new(&self.keys, environment)?;
            let mut named = environment.named_keys();
            named.extend(planner.given_keys()?.unwrap_or_default());
            let plan = planner.plan(&self.place.file, "", self.place.format())?;
            let session = Session::new(environment, &named)?;
            let value = self.value()?;
            let plain = value
                .alone(&path, self.place.format())
                .map_err(|error| explain::set(&error, &session.keys))?;
            let bytes = plain.expose().as_bytes();
            let text = plan.encrypt_new(bytes, self.place.format(), &session.clients)?;
            file::create(&self.place.file, text.as_bytes())?;
            return Ok(Report::new("made", plan.warnings));
        }
        self.keys.check_unused()?;
        let session = Session::new(environment, &environment.named_keys())?;
        let document = self.place.document()?;
        let value = self.value()?;
        let open = document.open(&session, self.place.ignore_mac)?;
        let options = SetOptions {
            refuse_clear: !self.clear,
            ..self.place.options(&session)
        };
        let edited = open.set(&path, &value, &options);
        let edited = edited.map_err(|error| explain::set(&error, &session.keys))?;
        write(&document, &edited, "set")
    }

    fn value(&self) -> Result<NewValue, Failure> {
        let json = |text: &str| {
            NewValue::parse(text, JsonOptions::default()).map_err(|error| {
                Failure::new(Kind::Input, error).hint("give --string to set a text as it is")
            })
        };
        if let Some(text) = &self.value {
            return match self.string {
                true => Ok(NewValue::text(text)),
                false => json(text),
            };
        }
        let text = self.read_value()?;
        match self.value_json {
            true => json(text.expose()),
            false => Ok(NewValue::text(text.expose())),
        }
    }

    fn read_value(&self) -> Result<SecretString, Failure> {
        if let Some(path) = &self.value_file {
            let read = file::read(&Source::File(path.clone())).map_err(|failure| Failure {
                message: format!("{}: {}", path.display(), failure.message),
                ..failure
            });
            return Ok(SecretString::new(read?.text()?.to_owned()));
        }
        if ui::stdin_is_terminal() {
            let question = format!("Value of {}: ", self.place.path);
            return terminal::hidden_line(&question)
                .ok()
                .flatten()
                .ok_or_else(|| Failure::new(Kind::Other, "no value was entered"));
        }
        let input = file::read(&Source::Stdin(None))?;
        let line = input.text()?;
        if line.is_empty() {
            let message = "standard input has no value: it is empty";
            return Err(
                Failure::new(Kind::Input, message).hint("give --string '' for an empty text")
            );
        }
        let line = line.strip_suffix('\n').unwrap_or(line);
        let line = line.strip_suffix('\r').unwrap_or(line);
        Ok(SecretString::new(line.to_owned()))
    }
}

impl Unset {
    pub(crate) fn run(&self, ui: &Ui, environment: &Environment) -> ExitCode {
        self.place.end(ui, self.unset(environment))
    }

    fn unset(&self, environment: &Environment) -> Result<Report, Failure> {
        let path = self.place.path()?;
        let named: Vec<KeySpec> = environment.named_keys();
        let session = Session::new(environment, &named)?;
        let document = self.place.document()?;
        let open = document.open(&session, self.place.ignore_mac)?;
        let edited = open.unset(&path, &self.place.options(&session));
        let edited = edited.map_err(|error| explain::set(&error, &session.keys))?;
        write(&document, &edited, "unset")
    }
}

impl PlaceFlags {
    fn path(&self) -> Result<ExtractPath, Failure> {
        let path = self.path.parse();
        path.map_err(|error| Failure::new(Kind::ExtractPath, error))
    }

    fn format(&self) -> Format {
        let by_name = || Format::of_path(&self.file.to_string_lossy());
        self.input_type.unwrap_or_else(by_name)
    }

    fn document(&self) -> Result<Document, Failure> {
        let path: &Path = &self.file;
        let document = Document::read(path, Some(self.format()))?;
        document.check_encrypted()?;
        document.check_replaceable()?;
        Ok(document)
    }

    fn options(&self, session: &Session) -> SetOptions {
        SetOptions {
            now: session.now,
            document: self.document,
            idempotent: self.idempotent,
            count_comments: false,
            refuse_clear: false,
        }
    }

    fn end(&self, ui: &Ui, result: Result<Report, Failure>) -> ExitCode {
        let name = self.file.display().to_string();
        match result {
            Ok(report) => {
                ui.report(&name, &report);
                ExitCode::SUCCESS
            }
            Err(failure) => ExitCode::from(ui.fail(Some(&name), &failure)),
        }
    }
}

fn write(document: &Document, edited: &Edited, action: &'static str) -> Result<Report, Failure> {
    match edited {
        Edited::Unchanged => Ok(Report::new("unchanged", Vec::new())),
        Edited::Changed(text) => {
            document.replace(text)?;
            Ok(Report::new(
                action,
                document.hard_link_warning().into_iter().collect(),
            ))
        }
    }
}
