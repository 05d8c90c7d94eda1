//! One verb over files, folders and patterns: at once, with reports in order, to the end in spite of
//! failures, and a table at last.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use selkie_sops::{DecryptError, FileStatus, Format, MetadataError};

use crate::failure::{Failure, Kind};
use crate::parallel;
use crate::session::Document;
use crate::ui::{Report, Ui};
use crate::walk::{self, Candidate};

/// The files, folders and patterns of a verb.
#[derive(Debug, Args)]
pub(crate) struct TreeFlags {
    /// Files, folders and patterns ('**/*.yaml'); of a folder, the encrypted files that no ignore
    /// file names
    #[arg(value_name = "PATH", required = true)]
    pub(crate) paths: Vec<PathBuf>,
    /// Read every file as this format: yaml, json, dotenv, ini, binary; by its name if not given
    #[arg(long, value_name = "FORMAT")]
    pub(crate) input_type: Option<Format>,
}

/// What became of one file.
pub(crate) enum Outcome {
    /// Reported.
    Done(Report),
    /// Nothing to do: counted, and reported only if the file was named.
    Unchanged(Report),
    /// Not a file of this verb.
    PassedOver,
}

impl TreeFlags {
    /// Does `work` for every encrypted file; `tidy` removes what killed runs left behind. The exit code is
    /// that of the first failure.
    pub(crate) fn each(
        &self,
        ui: &Ui,
        tidy: bool,
        work: impl Fn(&Path, &Document, &FileStatus) -> Result<Outcome, Failure> + Sync,
    ) -> ExitCode {
        each(ui, &self.paths, tidy, |candidate| {
            match encrypted(candidate, self.input_type)? {
                Some((document, status)) => work(&candidate.path, &document, &status),
                None => Ok(Outcome::PassedOver),
            }
        })
    }
}

/// Reads an encrypted file; `None` for one that was found in a folder and is none. One that was
/// encrypted and is broken is a failure, not passed over.
pub(crate) fn encrypted(
    candidate: &Candidate,
    format: Option<Format>,
) -> Result<Option<(Document, FileStatus)>, Failure> {
    if !candidate.named && !walk::may_be_encrypted(&candidate.path) {
        return Ok(None);
    }
    let document = Document::read(&candidate.path, format)?;
    let not_one = match document.status() {
        Ok(status) => return Ok(Some((document, status))),
        // A text of any kind may mention both words.
        Err(_) if document.format == Format::Binary => true,
        Err(error) => matches!(error, DecryptError::Metadata(MetadataError::NotFound)),
    };
    match not_one && !candidate.named {
        true => Ok(None),
        false => document
            .check_encrypted()
            .map(|status| Some((document, status))),
    }
}

/// Does `work` for every file that `paths` stand for, each of which has to have one; `tidy` removes what
/// killed runs left behind.
pub(crate) fn each(
    ui: &Ui,
    paths: &[PathBuf],
    tidy: bool,
    work: impl Fn(&Candidate) -> Result<Outcome, Failure> + Sync,
) -> ExitCode {
    let found = walk::find(paths).unique();
    if tidy {
        found.tidy();
    }
    let mut tally = Tally::default();
    // The paths of which a file, or a failure, was met.
    let mut met = found.failed.clone();
    for (path, failure) in &found.failures {
        tally.fail(ui, &path.display().to_string(), failure);
    }
    let progress = ui.progress(found.files.len());
    parallel::in_order(&found.files, work, |candidate, outcome| {
        let name = candidate.path.display().to_string();
        if !matches!(outcome, Ok(Outcome::PassedOver)) {
            met.extend(&candidate.paths);
        }
        progress.step(|| match outcome {
            Ok(Outcome::PassedOver) => {}
            Ok(Outcome::Done(report)) => tally.done(ui, &name, &report),
            Ok(Outcome::Unchanged(report)) => {
                tally.files += 1;
                *tally.actions.entry(report.action).or_default() += 1;
                if candidate.named || ui.is_json() || !report.warnings.is_empty() {
                    tally.reported = true;
                    ui.report(&name, &report);
                }
            }
            Err(failure) => tally.fail(ui, &name, &failure),
        });
    });
    drop(progress);
    // If there is none at all, that is said of all of them together.
    if tally.files > 0 {
        for (_, path) in paths.iter().enumerate().filter(|(at, _)| !met.contains(at)) {
            let failure = Failure::new(Kind::NoFile, "no encrypted file in it");
            tally.fail(ui, &path.display().to_string(), &failure.hint(NO_FILE));
        }
    }
    tally.end(ui, paths)
}

/// What became of the files of a run.
#[derive(Default)]
pub(crate) struct Tally {
    files: usize,
    actions: BTreeMap<&'static str, usize>,
    failed: Vec<(String, String)>,
    code: Option<u8>,
    /// Whether anything was said about a file.
    reported: bool,
}

impl Tally {
    pub(crate) fn done(&mut self, ui: &Ui, name: &str, report: &Report) {
        self.reported = true;
        self.files += 1;
        *self.actions.entry(report.action).or_default() += 1;
        ui.report(name, report);
    }

    pub(crate) fn add(&mut self, ui: &Ui, name: &str, result: &Result<Report, Failure>) {
        match result {
            Ok(report) => self.done(ui, name, report),
            Err(failure) => self.fail(ui, name, failure),
        }
    }

    pub(crate) fn fail(&mut self, ui: &Ui, name: &str, failure: &Failure) {
        self.reported = true;
        self.files += 1;
        let first = failure.message.lines().next().unwrap_or_default();
        self.failed.push((name.to_owned(), first.to_owned()));
        let code = ui.fail(Some(name), failure);
        self.code.get_or_insert(code);
    }

    /// Ends the run: with a table, if there were several files, and the exit code of the first failure.
    pub(crate) fn end(self, ui: &Ui, paths: &[PathBuf]) -> ExitCode {
        if self.files == 0 {
            let names: Vec<String> = paths
                .iter()
                .map(|path| path.display().to_string())
                .collect();
            let failure = Failure::new(
                Kind::NoFile,
                format!("no encrypted file in {}", names.join(", ")),
            );
            return ExitCode::from(ui.fail(None, &failure.hint(NO_FILE)));
        }
        if (self.files > 1 || !self.reported) && !ui.is_json() {
            let width = self.actions.keys().map(|action| action.len()).max();
            let width = width.unwrap_or_default().max("failed".len());
            let mut lines = vec![format!("{:width$}  files", "")];
            for (action, count) in &self.actions {
                lines.push(format!("{:width$}  {count}", action.replace('-', " ")));
            }
            if !self.failed.is_empty() {
                lines.push(format!("{:width$}  {}", "failed", self.failed.len()));
            }
            // Where the screen is full of other lines, or more than it.
            let again = match self.files > SCREEN {
                true => SHOWN_FAILURES,
                false => 0,
            };
            for (name, reason) in self.failed.iter().take(again) {
                lines.push(format!("  {name}: {reason}"));
            }
            if again > 0 && self.failed.len() > again {
                let more = self.failed.len() - SHOWN_FAILURES;
                lines.push(format!("  and {more} more, named above"));
            }
            ui.note(&lines.join("\n"));
        }
        ExitCode::from(self.code.unwrap_or_default())
    }
}

const NO_FILE: &str = "files that ignore files name do not count; name a file itself";
/// With more files than this, failures are told again at the end.
const SCREEN: usize = 10;
/// So many of them.
const SHOWN_FAILURES: usize = 20;
