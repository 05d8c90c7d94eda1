//! `make bench`: ours and sops 3.13.3 side by side, in turns, on the same files; medians, ratios and peak memory; then how cost grows.
//!
//! `--json` prints one JSON document instead of the tables, `--runs N` sets how often each small case runs (large ones a third of it, the
//! largest a tenth), `--only TEXT` runs the cases with this in their name. Ends with 1 when a target is missed or a command fails; with
//! `--report-only` a missed target is told and no failure.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that reports"
)]

mod cases;
mod documents;
mod growth;
mod measure;
mod rekey;
mod report;
mod slow_kms;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};
use compat::bed::{Cache, Tool};

use cases::{Size, Tools};
use measure::Invocation;

const RUNS: usize = 31;

fn main() -> Result<ExitCode> {
    let options = Options::read()?;
    let tools = Tools::new(release_build()?, Cache::open()?.tool(Tool::Sops3133)?)?;
    let floor = tools
        .measure(&Invocation::new(Path::new("/bin/true"), &[]))?
        .peak_kib;
    let mut rows = Vec::new();
    if options.wants(cases::START_UP) {
        let case = tools.start_up();
        rows.push(tools.compare(&case, options.runs_of(case.size))?);
    }
    for document in cases::DOCUMENTS {
        let [encrypt, decrypt] = document.names;
        if !options.wants(encrypt) && !options.wants(decrypt) {
            continue;
        }
        for case in tools.cases(&document)? {
            rows.push(tools.compare(&case, options.runs_of(case.size))?);
        }
    }
    if options.wants(slow_kms::NAME) {
        rows.extend(slow_kms::rows(&tools, options.runs_of(Size::Large))?);
    }
    if options.wants(rekey::NAME) {
        rows.extend(rekey::rows(&tools)?);
    }
    let mut growth = Vec::new();
    if options.wants(growth::NAME) {
        growth = growth::rows(&tools, options.runs_of(Size::Large))?;
    }
    if options.as_json {
        report::print_json(&rows, &growth, floor);
    } else {
        report::print_tables(&rows, &growth, floor);
    }
    let missed = report::missed(&rows, &growth);
    for line in &missed {
        eprintln!("{line}");
    }
    Ok(if missed.is_empty() || options.report_only {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

struct Options {
    runs: usize,
    as_json: bool,
    report_only: bool,
    only: String,
}

impl Options {
    fn read() -> Result<Self> {
        let mut options = Self {
            runs: RUNS,
            as_json: false,
            report_only: false,
            only: String::new(),
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--json" => options.as_json = true,
                "--report-only" => options.report_only = true,
                "--only" => options.only = arguments.next().context("--only needs a text")?,
                "--runs" => {
                    let number = arguments.next().context("--runs needs a number")?;
                    options.runs = number.parse().context("--runs needs a number")?;
                }
                other => bail!(
                    "unknown argument {other}; there are --json, --report-only, --only TEXT and --runs N"
                ),
            }
        }
        ensure!(options.runs > 0, "--runs needs a number above 0");
        Ok(options)
    }

    /// Whether a case shall run; says so, since some take minutes.
    fn wants(&self, name: &str) -> bool {
        let wanted = name.contains(&self.only);
        if wanted && !self.as_json {
            eprintln!("{name} ...");
        }
        wanted
    }

    fn runs_of(&self, size: Size) -> usize {
        self.runs.div_ceil(match size {
            Size::Small => 1,
            Size::Large => 3,
            Size::Largest => 10,
        })
    }
}

/// Builds the release binary, or takes it from `SELKIE_BIN_DIR`.
fn release_build() -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os("SELKIE_BIN_DIR") {
        return Ok(PathBuf::from(folder).join("selkie"));
    }
    let program = std::env::current_exe()?;
    let target = program
        .ancestors()
        .find(|folder| folder.join("CACHEDIR.TAG").is_file());
    let target = target.context("not in a cargo target folder: set SELKIE_BIN_DIR")?;
    let status = Command::new(env!("CARGO"))
        .args([
            "build",
            "--release",
            "--package",
            "selkie-cli",
            "--bin",
            "selkie",
            "--target-dir",
        ])
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()?;
    ensure!(
        status.success(),
        "cargo build --release --package selkie-cli failed"
    );
    Ok(target.join("release/selkie"))
}
