//! The only code that prints. Reports and errors go to standard error, documents and JSON to
//! standard output.

use std::fs::File;
use std::io::{self, IsTerminal as _, Write as _};
use std::os::fd::AsFd as _;
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use clap::error::ErrorKind;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};

use crate::arguments::OutputFlags;
use crate::failure::{Failure, Kind};

/// Where a run reports to.
#[derive(Debug, Clone)]
pub(crate) struct Ui {
    quiet: bool,
    json: bool,
}

/// What was done with one file.
#[derive(Debug)]
pub(crate) struct Report {
    /// What was done: `encrypted`, `already-encrypted`, `decrypted`, `sealed`, `already-sealed`.
    pub(crate) action: &'static str,
    /// How many of what, singular.
    pub(crate) counts: Vec<(&'static str, usize)>,
    /// What the user should look at. Names places, never values.
    pub(crate) warnings: Vec<String>,
    /// Said after the counts.
    pub(crate) note: Option<String>,
    /// An object whose members `--json` adds.
    pub(crate) details: Option<Value>,
}

impl Report {
    pub(crate) fn new(action: &'static str, warnings: Vec<String>) -> Self {
        Self {
            action,
            counts: Vec::new(),
            warnings,
            note: None,
            details: None,
        }
    }

    /// A report whose `note` people read, and whose `details` programs read.
    pub(crate) fn with_details(action: &'static str, note: Option<String>, details: Value) -> Self {
        Self {
            note,
            details: Some(details),
            ..Self::new(action, Vec::new())
        }
    }
}

impl Ui {
    pub(crate) fn new(flags: &OutputFlags) -> Self {
        Self {
            quiet: flags.quiet,
            json: flags.json,
        }
    }

    /// Without flags, for a program that has none for reports.
    pub(crate) fn plain() -> Self {
        Self {
            quiet: false,
            json: false,
        }
    }

    /// Refuses `--json` where standard output carries a document.
    pub(crate) fn refuse_json(&self) -> Result<(), Failure> {
        if self.json {
            let message = "--json reports on standard output, where the document would go";
            return Err(
                Failure::new(Kind::Conflict, message).hint("write to a file (-o) or in place")
            );
        }
        Ok(())
    }

    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Writes a document to standard output, unbuffered, so that no copy of it stays in memory.
    pub(crate) fn document(&self, bytes: &[u8]) -> Result<(), Failure> {
        let write = || -> io::Result<()> {
            let mut out = File::from(io::stdout().as_fd().try_clone_to_owned()?);
            out.write_all(bytes)
        };
        write().map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => {
                Failure::new(Kind::Output, "the reader of the output has gone")
            }
            _ => Failure::new(
                Kind::Output,
                format!("standard output cannot be written: {error}"),
            ),
        })
    }

    /// Writes one JSON object on a line of standard output.
    pub(crate) fn object(&self, object: &Value) {
        // A reader that has gone is noticed by nobody; the exit code still tells.
        let _ = writeln!(io::stdout(), "{object}");
    }

    /// Reports what was done with a file.
    pub(crate) fn report(&self, path: &str, report: &Report) {
        if self.json {
            let mut object = Map::new();
            object.insert("path".to_owned(), json!(path));
            object.insert("action".to_owned(), json!(report.action));
            for (name, count) in &report.counts {
                object.insert(plural(name), json!(count));
            }
            match (&report.details, &report.note) {
                (Some(Value::Object(details)), _) => object.extend(details.clone()),
                (_, Some(note)) => {
                    object.insert("note".to_owned(), json!(note));
                }
                _ => {}
            }
            object.insert("warnings".to_owned(), json!(report.warnings));
            self.object(&Value::Object(object));
        }
        for warning in &report.warnings {
            self.warn(Some(path), warning);
        }
        if self.quiet || self.json {
            return;
        }
        let counts: Vec<String> = report
            .counts
            .iter()
            .filter(|(_, count)| *count > 0)
            .map(|(name, count)| match count {
                1 => format!("1 {name}"),
                _ => format!("{count} {}", plural(name)),
            })
            .collect();
        let mut line = format!("{path}: {}", report.action.replace('-', " "));
        if !counts.is_empty() {
            line = format!("{line} ({})", counts.join(", "));
        }
        if let Some(note) = &report.note {
            line = format!("{line}; {note}");
        }
        let _ = writeln!(anstream::stderr(), "{line}");
    }

    /// Reports a failure, of one file or of the whole run, and returns its exit code.
    pub(crate) fn fail(&self, path: Option<&str>, failure: &Failure) -> u8 {
        let code = failure.kind.code();
        if self.json {
            let mut error = Map::new();
            error.insert("code".to_owned(), json!(code));
            error.insert("message".to_owned(), json!(failure.message));
            error.insert("hint".to_owned(), json!(failure.hint));
            self.object(&json!({"path": path, "action": "failed", "error": error}));
        }
        let place = path.map(|path| format!("{path}: ")).unwrap_or_default();
        let mut text = format!("{ERROR}error:{ERROR:#} {place}{}\n", failure.message);
        if let Some(hint) = &failure.hint {
            let mut lines = hint.lines();
            let first = lines.next().unwrap_or_default();
            text.push_str(&format!("  {HINT}hint:{HINT:#} {first}\n"));
            for line in lines {
                text.push_str(&format!("        {line}\n"));
            }
        }
        let _ = anstream::stderr().write_all(text.as_bytes());
        code
    }

    /// Says something the user should look at.
    pub(crate) fn warn(&self, path: Option<&str>, message: &str) {
        if self.quiet {
            return;
        }
        let place = path.map(|path| format!("{path}: ")).unwrap_or_default();
        let _ = writeln!(
            anstream::stderr(),
            "{WARNING}warning:{WARNING:#} {place}{message}"
        );
    }

    /// Says something worth knowing.
    pub(crate) fn note(&self, message: &str) {
        if !self.quiet {
            let _ = writeln!(anstream::stderr(), "{message}");
        }
    }

    /// Says what is awaited of the user at the terminal, even when reports are not wanted.
    pub(crate) fn ask(&self, message: &str) {
        let _ = writeln!(anstream::stderr(), "{message}");
    }

    /// Shows progress when there are many files and somebody looks on.
    pub(crate) fn progress(&self, files: usize) -> Progress {
        if files < MANY_FILES || self.quiet || self.json || !io::stderr().is_terminal() {
            return Progress(None);
        }
        let bar = ProgressBar::new(files as u64);
        if let Ok(style) = ProgressStyle::with_template("{pos}/{len} {wide_bar} {eta}") {
            bar.set_style(style);
        }
        Progress(Some(bar))
    }
}

/// A progress bar, or none.
pub(crate) struct Progress(Option<ProgressBar>);

impl Progress {
    /// Runs something that prints, and counts one file as done.
    pub(crate) fn step(&self, print: impl FnOnce()) {
        match &self.0 {
            Some(bar) => {
                bar.suspend(print);
                bar.inc(1);
            }
            None => print(),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

/// Prints what the argument parser has to say: help, version, or what is wrong with the arguments.
///
/// Of the arguments of `selkie set` nothing is repeated: one too many may be a part of the value.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    let sets = std::env::args_os().nth(1).is_some_and(|verb| verb == "set");
    if sets && error.kind() == ErrorKind::UnknownArgument {
        let message =
            "an argument is unknown, or one too many (not shown, as it may be a part of the value)";
        let hint = "selkie set [OPTIONS] FILE PATH [VALUE]; a value with blanks stands in quotes; see selkie set --help";
        Ui::plain().fail(None, &Failure::new(Kind::Other, message).hint(hint));
    } else {
        let _ = error.print();
    }
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
        ErrorKind::ArgumentConflict => ExitCode::from(Kind::Conflict.code()),
        _ => ExitCode::from(Kind::Other.code()),
    }
}

/// Returns whether standard input is a terminal, on which nobody would type a manifest.
pub(crate) fn stdin_is_terminal() -> bool {
    io::stdin().is_terminal()
}

/// Returns whether standard output is a terminal.
pub(crate) fn stdout_is_terminal() -> bool {
    io::stdout().is_terminal()
}

fn plural(name: &str) -> String {
    format!("{name}s")
}

/// From here on a progress bar is shown.
const MANY_FILES: usize = 5;
const ERROR: Style = AnsiColor::Red.on_default().bold();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();
const HINT: Style = AnsiColor::Cyan.on_default().bold();
