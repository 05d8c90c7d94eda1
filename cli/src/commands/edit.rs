//! `selkie edit`: the clear text of a file in the user's editor.

use std::ffi::OsStr;
use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use jiff::Timestamp;
use selkie_secret::SecretBytes;
use selkie_sops::{DataKeyChange, EditOptions, Edited, Format, KeySpec, OpenFile, SelectionChange};

use crate::editor::{Desk, DeskError, example};
use crate::environment::Environment;
use crate::explain;
use crate::failure::{Failure, Kind};
use crate::file;
use crate::key_changes;
use crate::plan::{KeyFlags, Planner};
use crate::private_folder::Place;
use crate::session::{Document, Session};
use crate::shown_keys::{self, Applied, Ring, ShownKeysError};
use crate::ui::{Report, Ui};

/// Edit the clear text of an encrypted file
///
/// The text lies in memory while the editor runs, and is gone afterwards, however that ends. Only
/// values that were touched get new ciphertext; where nothing changed nothing is written. A text that
/// cannot be taken back is offered to the editor again. A file that does not exist yet begins as an
/// example, if flags or rules say for whom.
///
/// The editor is SOPS_EDITOR, else EDITOR, else the first of vim, nano and vi that is there.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES, verbatim_doc_comment)]
pub(crate) struct Edit {
    /// The encrypted file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Show the metadata too, and apply changes of the keys and of the rule in it
    #[arg(short, long, alias = "show-master-keys")]
    show_keys: bool,
    /// With --show-keys: keep the data key even where somebody loses access, as sops does
    #[arg(long, requires = "show_keys")]
    keep_data_key: bool,
    /// Edit the file even when its MAC does not match
    #[arg(long)]
    ignore_mac: bool,
    /// Read the file as this format: yaml, json, dotenv, ini, binary; by its name if not given
    #[arg(long, value_name = "FORMAT")]
    input_type: Option<Format>,
    #[command(flatten)]
    keys: KeyFlags,
}

const EXAMPLES: &str = "\
Examples:
  Edit a file:
    selkie edit secret.yaml
  With another editor, which has to wait until the file is closed:
    SOPS_EDITOR='code --wait' selkie edit secret.yaml
  Edit its keys too:
    selkie edit -s secret.yaml
";

/// As many versions are kept beside a file.
const MOST_VERSIONS: usize = 99;

impl Edit {
    pub(crate) fn run(&self, ui: &Ui, environment: &Environment) -> ExitCode {
        let name = self.file.display().to_string();
        if let Some(warning) = Place::find().warning() {
            ui.warn(Some(&name), &warning);
        }
        let done = match self.file.exists() {
            true => self.edit(ui, environment),
            false => self.make(ui, environment),
        };
        match done {
            Ok(report) => {
                ui.report(&name, &report);
                ExitCode::SUCCESS
            }
            Err(failure) => ExitCode::from(ui.fail(Some(&name), &failure)),
        }
    }

    fn edit(&self, ui: &Ui, environment: &Environment) -> Result<Report, Failure> {
        self.keys.check_unused()?;
        let session = Session::new(environment, &environment.named_keys())?;
        let document = Document::read(&self.file, Some(self.format()))?;
        document.check_encrypted()?;
        document.check_replaceable()?;
        let open = document.open(&session, self.ignore_mac)?;
        let shown = match self.show_keys {
            true => shown_keys::shown(&open, document.text(), document.format)
                .map_err(|error| explain_keys(&error, &session))?,
            false => None,
        };
        let before = match &shown {
            Some(text) => text.as_bytes(),
            None => open.plain(),
        };
        let desk = Desk::with(&self.file, before).map_err(|error| explain_desk(&error))?;
        loop {
            let after = desk.edit(before).map_err(|error| explain_desk(&error))?;
            let Some(after) = after else {
                return Ok(unchanged());
            };
            let applied = match &shown {
                Some(before) => self.with_keys(&open, before, &after, document.format, &session),
                None => open
                    .edited(after.expose(), &options())
                    .map(|edited| Applied {
                        edited,
                        changes: None,
                        renewed: false,
                        shows: SelectionChange::default(),
                    })
                    .map_err(|error| explain::edit(&error, &session.keys)),
            };
            match applied.map_err(|failure| failure.of_format(document.format)) {
                Ok(applied) => return self.write(&document, &applied),
                Err(failure) => offer_again(ui, failure)?,
            }
        }
    }

    fn with_keys(
        &self,
        open: &OpenFile<'_>,
        before: &str,
        after: &SecretBytes,
        format: Format,
        session: &Session,
    ) -> Result<Applied, Failure> {
        let make = |spec: &KeySpec| session.make(spec);
        let ring = Ring {
            source: &session.keys,
            make: &make,
            change: match self.keep_data_key {
                true => DataKeyChange::Keep,
                false => DataKeyChange::RenewIfNarrowed,
            },
        };
        let applied = shown_keys::apply(open, before, after, format, &ring, &options())
            .map_err(|error| explain_keys(&error, session))?;
        if self.keep_data_key && applied.renewed {
            let message = "another rule encrypts the file anew, under a new data key";
            return Err(Failure::new(Kind::Conflict, message)
                .hint("leave --keep-data-key out, or the rule as it was"));
        }
        Ok(applied)
    }

    fn write(&self, document: &Document, applied: &Applied) -> Result<Report, Failure> {
        let Edited::Changed(text) = &applied.edited else {
            return Ok(unchanged());
        };
        let replaced = document.replace(text);
        replaced.map_err(|failure| self.kept_beside(text, failure))?;
        let mut report = Report::new("edited", document.hard_link_warning().into_iter().collect());
        let shown = key_changes::put_into_clear(&applied.shows);
        let shown = shown.map(|shown| format!("now in clear: {shown}"));
        report.warnings.extend(shown);
        if applied.renewed || applied.changes.is_some() {
            let changes = applied.changes.clone().unwrap_or_default();
            let lines = key_changes::lines(&changes);
            key_changes::tell(&mut report, document, &changes, lines, applied.renewed);
        }
        Ok(report)
    }

    /// An hour of work is not thrown away because somebody else saved first: it is kept, encrypted, under
    /// another name, which says the same format.
    fn kept_beside(&self, text: &str, failure: Failure) -> Failure {
        let part = |part: Option<&OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
        let stem = part(self.file.file_stem());
        let ending = match self.file.extension() {
            Some(extension) => format!(".{}", extension.to_string_lossy()),
            None => String::new(),
        };
        for number in 1..=MOST_VERSIONS {
            let mark = match number {
                1 => "edited".to_owned(),
                _ => format!("edited-{number}"),
            };
            let beside = self.file.with_file_name(format!("{stem}.{mark}{ending}"));
            if beside.symlink_metadata().is_ok() {
                continue;
            }
            return match file::create(&beside, text.as_bytes()) {
                Ok(()) => failure.hint(format!(
                    "the file was left as it is; your version is in {}, encrypted",
                    beside.display()
                )),
                Err(_) => failure,
            };
        }
        failure
    }

    /// Makes a file that does not exist yet.
    fn make(&self, ui: &Ui, environment: &Environment) -> Result<Report, Failure> {
        file::check_new(&self.file)?;
        let mut planner = Planner::new(&self.keys, environment)?;
        let mut named = environment.named_keys();
        named.extend(planner.given_keys()?.unwrap_or_default());
        let session = Session::new(environment, &named)?;
        let format = self.format();
        let mut encrypt = |plain: &[u8]| -> Result<(String, Vec<String>), Failure> {
            let text = std::str::from_utf8(plain).unwrap_or_default();
            let plan = planner.plan(&self.file, text, format)?;
            let text = plan.encrypt_new(plain, format, &session.clients)?;
            Ok((text, plan.warnings))
        };
        let example = example(format).as_bytes();
        // Before the editor, so that no work is lost on a key that cannot be used. A rule may select
        // nothing in the example.
        if let Err(failure) = encrypt(example)
            && failure.kind != Kind::Encrypt
        {
            return Err(failure);
        }
        let desk = Desk::with(&self.file, example).map_err(|error| explain_desk(&error))?;
        loop {
            let after = desk.edit(example).map_err(|error| explain_desk(&error))?;
            let Some(after) = after else {
                return Ok(unchanged());
            };
            match encrypt(after.expose()).map_err(|failure| failure.of_format(format)) {
                Ok((text, warnings)) => {
                    let made = file::create(&self.file, text.as_bytes());
                    made.map_err(|failure| self.kept_beside(&text, failure))?;
                    return Ok(Report::new("made", warnings));
                }
                Err(failure) => offer_again(ui, failure)?,
            }
        }
    }

    fn format(&self) -> Format {
        let by_name = || Format::of_path(&self.file.to_string_lossy());
        self.input_type.unwrap_or_else(by_name)
    }
}

fn options() -> EditOptions {
    EditOptions {
        now: Timestamp::now(),
        raise_version: true,
    }
}

/// The editor was left without a change: who meant to save it should know.
fn unchanged() -> Report {
    Report {
        note: Some("nothing was written".to_owned()),
        ..Report::new("unchanged", Vec::new())
    }
}

/// Says what is wrong with the text and waits for the user to go back to it; without a terminal the
/// run ends.
fn offer_again(ui: &Ui, failure: Failure) -> Result<(), Failure> {
    if !io::stdin().is_terminal() {
        return Err(failure);
    }
    ui.fail(None, &failure);
    ui.ask("Press Enter to return to the editor, or Ctrl-C to give up; nothing was written.");
    let mut answer = String::new();
    match io::stdin().read_line(&mut answer) {
        Ok(0) | Err(_) => Err(failure),
        Ok(_) => Ok(()),
    }
}

fn explain_desk(error: &DeskError) -> Failure {
    match error {
        DeskError::Place(error) => Failure::new(
            Kind::Output,
            format!("no private file can be made for the clear text: {error}"),
        )
        .hint("set XDG_RUNTIME_DIR or TMPDIR to a folder that can be written"),
        DeskError::Editor(error) => Failure::new(
            Kind::Other,
            format!("the editor failed: {error}; nothing was written"),
        )
        .hint("SOPS_EDITOR or EDITOR names another editor"),
        DeskError::Unreadable(error) => Failure::new(
            Kind::Input,
            format!("the edited text cannot be read: {error}; nothing was written"),
        ),
    }
}

fn explain_keys(error: &ShownKeysError, session: &Session) -> Failure {
    match error {
        ShownKeysError::Afresh(error) => explain::afresh(error, &session.keys),
        ShownKeysError::Edit(error) => explain::edit(error, &session.keys),
        ShownKeysError::Open(error) => explain::decrypt(error, &session.keys),
        ShownKeysError::Rekey(error) => explain::rekey(error),
        ShownKeysError::Unwritable(_) => Failure::new(Kind::Unwritable, error),
        ShownKeysError::Invalid(_) | ShownKeysError::Fixed(_) => Failure::new(Kind::Input, error),
        ShownKeysError::Unconfirmed => Failure::new(Kind::Conflict, error),
    }
}
