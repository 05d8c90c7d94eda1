//! Several files in one run: what goes where, one after the other, failures at the end.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use selkie_sops::Format;

use crate::failure::{Failure, Kind};
use crate::file::{self, Input, Secrecy, Source};
use crate::parallel;
use crate::trees::Tally;
use crate::ui::{self, Report, Ui};

/// Where a result goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Destination {
    /// The file it came from.
    InPlace,
    /// Standard output.
    Stdout,
    /// A file of its own.
    File(PathBuf),
}

/// What was typed about inputs and outputs.
pub(crate) struct Request<'a> {
    pub(crate) files: &'a [PathBuf],
    pub(crate) filename: Option<&'a Path>,
    pub(crate) stdout: bool,
    pub(crate) in_place: bool,
    pub(crate) output: Option<&'a Path>,
    /// Several results may follow each other on standard output.
    pub(crate) joined: bool,
}

/// The inputs of a run, all with the same kind of destination.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) sources: Vec<Source>,
    pub(crate) destination: Destination,
}

impl Batch {
    /// Resolves a request. Without flags a file is changed in place and standard input goes to
    /// standard output.
    pub(crate) fn resolve(request: &Request<'_>, ui: &Ui) -> Result<Self, Failure> {
        let stdin = |path: &PathBuf| path.as_os_str() == "-";
        let conflict = |message: &str| Err(Failure::new(Kind::Conflict, message));
        let mut sources: Vec<Source> = Vec::new();
        for path in request.files {
            sources.push(match stdin(path) {
                true => Source::Stdin(request.filename.map(Path::to_owned)),
                false => Source::File(path.clone()),
            });
        }
        if sources.is_empty() {
            if ui::stdin_is_terminal() {
                return Err(Failure::new(Kind::NoFile, "no file is given")
                    .hint("name one or more files, or pipe a document to standard input"));
            }
            sources.push(Source::Stdin(request.filename.map(Path::to_owned)));
        }
        let inputs = sources
            .iter()
            .filter(|s| matches!(s, Source::Stdin(_)))
            .count();
        if inputs > 1 {
            return conflict("standard input can be read only once");
        }
        if request.filename.is_some() && inputs == 0 {
            return conflict("--filename names standard input, but a file is given");
        }
        let several = sources.len() > 1;
        let to_stdout =
            request.stdout || request.output.is_some_and(|path| path.as_os_str() == "-");
        let destination = match request.output {
            _ if to_stdout => Destination::Stdout,
            Some(_) if several => return conflict("-o takes one file, and several are given"),
            Some(path) => Destination::File(path.to_owned()),
            None if inputs == 0 => Destination::InPlace,
            None if request.in_place => {
                return conflict("standard input cannot be changed in place");
            }
            None if several => {
                return conflict(
                    "standard input cannot be mixed with files that are changed in place",
                );
            }
            None => Destination::Stdout,
        };
        if destination == Destination::Stdout {
            ui.refuse_json()?;
            if several && !request.joined {
                return Err(Failure::new(
                    Kind::Conflict,
                    "several files would run together on standard output",
                )
                .hint("print them one by one, or change them in place"));
            }
        }
        Ok(Self {
            sources,
            destination,
        })
    }

    /// Runs `one` for every source, one after the other. A failure does not stop the others; the exit
    /// code is that of the first one.
    pub(crate) fn run(
        &self,
        ui: &Ui,
        mut one: impl FnMut(&Source, &Destination) -> Result<Report, Failure>,
    ) -> ExitCode {
        let mut tally = Tally::default();
        {
            let progress = ui.progress(self.sources.len());
            for source in &self.sources {
                let result = one(source, &self.destination);
                progress.step(|| tally.add(ui, &source.name(), &result));
            }
        }
        tally.end(ui, &[])
    }

    /// As [`Self::run`], on several threads; reports come in the order of the sources. `failures` are
    /// what was asked for and is not there.
    pub(crate) fn run_together(
        &self,
        ui: &Ui,
        failures: &[(PathBuf, Failure)],
        one: impl Fn(&Source, &Destination) -> Result<Report, Failure> + Sync,
    ) -> ExitCode {
        let mut tally = Tally::default();
        for (path, failure) in failures {
            tally.fail(ui, &path.display().to_string(), failure);
        }
        let progress = ui.progress(self.sources.len());
        let work = |source: &Source| one(source, &self.destination);
        parallel::in_order(&self.sources, work, |source, result| {
            progress.step(|| tally.add(ui, &source.name(), &result));
        });
        drop(progress);
        tally.end(ui, &[])
    }
}

impl Destination {
    /// Refuses, before any work is done, an input that could not be written back.
    pub(crate) fn check(&self, input: &Input) -> Result<(), Failure> {
        match self {
            Self::InPlace => input.check_replaceable(),
            Self::Stdout | Self::File(_) => Ok(()),
        }
    }

    /// Writes a result. `changed` tells whether it differs from the input, which is else left
    /// alone in place.
    pub(crate) fn write(
        &self,
        ui: &Ui,
        input: &Input,
        bytes: &[u8],
        changed: bool,
        secrecy: Secrecy,
    ) -> Result<(), Failure> {
        match self {
            Self::InPlace if changed => input.replace(bytes, secrecy),
            Self::InPlace => Ok(()),
            Self::Stdout => ui.document(bytes),
            Self::File(path) => file::write(path, bytes, secrecy).map_err(|mut failure| {
                failure.message = format!("{}: {}", path.display(), failure.message);
                failure
            }),
        }
    }
}

/// Returns the format of a source: the one given, else by its name; standard input without a name is
/// YAML.
pub(crate) fn format_of(source: &Source, given: Option<Format>) -> Format {
    let by_name = || match source.path() {
        Some(path) => Format::of_path(&path.to_string_lossy()),
        None => Format::Yaml,
    };
    given.unwrap_or_else(by_name)
}

/// Refuses a file that by its name is no manifest: neither YAML nor JSON.
pub(crate) fn check_manifest(source: &Source) -> Result<(), Failure> {
    if matches!(format_of(source, None), Format::Yaml | Format::Json) {
        return Ok(());
    }
    // What is not there is told as such, whatever its name.
    let is_missing = |path: &Path| matches!(source, Source::File(_)) && !path.is_file();
    if source.path().is_none_or(is_missing) {
        return Ok(());
    }
    let message = "a manifest is YAML or JSON, and the name does not end in .yaml, .yml or .json";
    Err(Failure::new(Kind::Input, message).hint("rename the file if it is one"))
}
