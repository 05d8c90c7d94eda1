//! Transcripts: shell scripts that are run with an original and with ours under its name.
//!
//! ```text
//! == name of the transcript
//! output: yaml            what standard output is: bytes (default), or a document of this format
//! stderr: some text       standard error of both must hold this text
//! differs: reason         we differ on purpose; `our code:`, `our stdout:` and `our stderr:`
//!                         say how, and only the code of the original is not asserted
//! $ sops decrypt enc.yaml
//! $ echo "a second line of the same shell script"
//! ```
//!
//! Lines that begin with `#` outside of a script are comments. The lines with `$` are one script
//! for `/bin/sh`, whose exit code is that of its last line.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, Result, bail, ensure};

use crate::counts;

/// What standard output is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// What it is.
    Bytes,
    /// A document of the format with this file ending.
    Document(&'static str),
}

/// One script that both programs run.
#[derive(Debug, Clone)]
pub struct Transcript {
    /// The name of its file and its own.
    pub name: String,
    /// For `/bin/sh`.
    pub script: String,
    /// What standard output is.
    pub output: Output,
    /// What standard error holds.
    pub stderr: Vec<String>,
    /// Set where we differ on purpose.
    pub difference: Option<Difference>,
}

/// How ours differs, and why.
#[derive(Debug, Clone, Default)]
pub struct Difference {
    /// Why.
    pub reason: String,
    /// Our exit code.
    pub code: Option<i32>,
    /// Our standard output.
    pub stdout: Option<String>,
    /// What our standard error holds.
    pub stderr: Vec<String>,
}

const FORMATS: [&str; 5] = ["yaml", "json", "env", "ini", "bin"];

/// Reads every `.txt` file of a folder.
pub fn read_folder(folder: &Path) -> Result<Vec<Transcript>> {
    let mut paths: Vec<_> = fs::read_dir(folder)
        .with_context(|| folder.display().to_string())?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    paths.sort();
    let mut all: Vec<Transcript> = Vec::new();
    for path in paths {
        let text = fs::read_to_string(&path)?;
        let stem = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        all.extend(read(&stem, &text).with_context(|| path.display().to_string())?);
    }
    for (at, transcript) in all.iter().enumerate() {
        let again = all[..at].iter().any(|other| other.name == transcript.name);
        ensure!(!again, "two transcripts are named {}", transcript.name);
    }
    Ok(all)
}

/// Reads the transcripts of a run: all when the full counts are asked for, else one in `sample` of
/// them, others every day. The variable `TRANSCRIPT` picks those whose name holds it.
pub fn read_sample(folder: &Path, sample: i64) -> Result<Vec<Transcript>> {
    let filter = std::env::var("TRANSCRIPT").unwrap_or_default();
    let mut transcripts = read_folder(folder)?;
    transcripts.retain(|transcript| transcript.name.contains(&filter));
    if filter.is_empty() && !counts::everything() {
        let mut number = jiff::Timestamp::now().as_second() / 86_400 % sample;
        transcripts.retain(|_| {
            number += 1;
            number % sample == 0
        });
    }
    Ok(transcripts)
}

/// Plays all of them, on as many threads as are given or the machine has, and fails with all that differs.
/// `play` returns the differences of one.
pub fn play_all(
    transcripts: &[Transcript],
    threads: Option<usize>,
    play: impl Fn(&Transcript) -> Result<Vec<String>> + Sync,
) -> Result<()> {
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let of_machine = || thread::available_parallelism().map_or(2, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads.unwrap_or_else(of_machine) {
            scope.spawn(|| {
                while let Some(transcript) = transcripts.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let played = play(transcript)
                        .with_context(|| format!("{} cannot be played", transcript.name));
                    let told = match played {
                        Ok(differences) if differences.is_empty() => continue,
                        Ok(differences) => differences.join("\n"),
                        Err(error) => format!("{error:#}"),
                    };
                    if let Ok(mut failures) = failures.lock() {
                        failures.push((transcript.name.clone(), told));
                    }
                }
            });
        }
    });
    let mut failures = failures.into_inner().unwrap_or_default();
    failures.sort();
    let mut report = String::new();
    for (name, told) in &failures {
        writeln!(report, "\n=== {name}\n{told}")?;
    }
    ensure!(
        failures.is_empty(),
        "{} of {} transcripts differ:{report}",
        failures.len(),
        transcripts.len()
    );
    Ok(())
}

fn read(stem: &str, text: &str) -> Result<Vec<Transcript>> {
    let mut all: Vec<Transcript> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let here = || format!("line {}", number + 1);
        if let Some(name) = line.strip_prefix("== ") {
            all.push(Transcript {
                name: format!("{stem}: {name}"),
                script: String::new(),
                output: Output::Bytes,
                stderr: Vec::new(),
                difference: None,
            });
            continue;
        }
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let transcript = all.last_mut().with_context(here)?;
        if let Some(command) = line.strip_prefix("$ ") {
            transcript.script.push_str(command);
            transcript.script.push('\n');
            continue;
        }
        let (key, value) = line.split_once(": ").with_context(here)?;
        transcript.assign(key, value).with_context(here)?;
    }
    if let Some(empty) = all.iter().find(|transcript| transcript.script.is_empty()) {
        bail!("{} has no script", empty.name);
    }
    Ok(all)
}

impl Transcript {
    fn assign(&mut self, key: &str, value: &str) -> Result<()> {
        if key == "differs" {
            self.difference.get_or_insert_default().reason = value.to_owned();
            return Ok(());
        }
        let ours = key.strip_prefix("our ");
        match (key, ours, &mut self.difference) {
            ("output", ..) => {
                let format = FORMATS.iter().find(|format| **format == value);
                self.output = Output::Document(format.with_context(|| value.to_owned())?);
            }
            ("stderr", ..) => self.stderr.push(value.to_owned()),
            (_, Some("code"), Some(difference)) => difference.code = Some(value.parse()?),
            (_, Some("stdout"), Some(difference)) => {
                difference.stdout = Some(value.replace("\\n", "\n"));
            }
            (_, Some("stderr"), Some(difference)) => difference.stderr.push(value.to_owned()),
            _ => bail!("no such key: {key}"),
        }
        Ok(())
    }
}
