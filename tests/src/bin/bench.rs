//! `make bench`: ours and sops 3.13.3 side by side, in turns, on the same files; medians, ratios and peak memory.
//!
//! `--json` prints one JSON document instead of the table, `--runs N` sets how often each small case runs (large ones a third of it). Ends
//! with 1 when a target is missed or a command fails; with `--report-only` a missed target is told and no failure.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that reports"
)]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use compat::bed::{Cache, Tool};
use compat::sops_file::{IDENTITY, RECIPIENT};
use serde_json::json;

const RUNS: usize = 31;
const SELECTION: &str = "--encrypted-regex=^(data|stringData)$";

fn main() -> Result<ExitCode> {
    let mut runs = RUNS;
    let mut as_json = false;
    let mut report_only = false;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--json" => as_json = true,
            "--report-only" => report_only = true,
            "--runs" => {
                runs = arguments
                    .next()
                    .context("--runs needs a number")?
                    .parse()
                    .context("--runs needs a number")?;
            }
            other => {
                bail!("unknown argument {other}; there are --json, --report-only and --runs N")
            }
        }
    }
    ensure!(runs > 0, "--runs needs a number above 0");
    let tools = Tools {
        selkie: release_build()?,
        sops: Cache::open()?.tool(Tool::Sops3133)?,
        folder: tempfile::tempdir()?,
    };
    let cases = tools.cases()?;
    let floor = tools
        .measure(&Invocation::new(Path::new("/bin/true"), &[], None))?
        .peak_kib;
    let mut results = Vec::new();
    for case in &cases {
        if !as_json {
            eprintln!("{} ...", case.name);
        }
        results.push(tools.compare(case, if case.large { runs.div_ceil(3) } else { runs })?);
    }
    if as_json {
        print_json(&results, floor);
    } else {
        print_table(&results, floor);
    }
    let missed = missed(&results);
    for line in &missed {
        eprintln!("{line}");
    }
    Ok(if missed.is_empty() || report_only {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The two programs and a folder for their files.
struct Tools {
    selkie: PathBuf,
    sops: PathBuf,
    folder: tempfile::TempDir,
}

/// What both do, and what ours is to reach (issue 3, "Must show" 7).
struct Case {
    name: &'static str,
    selkie: Invocation,
    sops: Invocation,
    large: bool,
    target: Target,
}

#[derive(Clone, Copy)]
enum Target {
    Below(Duration),
    TimesFaster(f64),
}

struct Invocation {
    program: PathBuf,
    arguments: Vec<String>,
    file: Option<PathBuf>,
}

/// One run.
#[derive(Clone, Copy)]
struct Measured {
    time: Duration,
    peak_kib: i64,
}

/// One case: the medians of the times, the highest peaks.
struct Compared {
    name: &'static str,
    runs: usize,
    selkie: Measured,
    sops: Measured,
    target: Target,
}

impl Tools {
    fn cases(&self) -> Result<Vec<Case>> {
        fs::write(self.path("identity.txt"), format!("{IDENTITY}\n"))?;
        let small = self.files("secret.yaml", &secret())?;
        let large = self.files("large.yaml", &ten_thousand_keys())?;
        let faster = Target::TimesFaster;
        Ok(vec![
            Case {
                name: "--version",
                selkie: Invocation::new(&self.selkie, &["--version"], None),
                sops: Invocation::new(&self.sops, &["--disable-version-check", "--version"], None),
                large: false,
                target: Target::Below(Duration::from_millis(5)),
            },
            self.case(
                "encrypt, Secret of 1 KB",
                "encrypt",
                &small,
                false,
                faster(5.0),
            ),
            self.case(
                "decrypt, Secret of 1 KB",
                "decrypt",
                &small,
                false,
                faster(5.0),
            ),
            self.case(
                "encrypt, YAML of 10,000 keys",
                "encrypt",
                &large,
                true,
                faster(15.0),
            ),
            self.case(
                "decrypt, YAML of 10,000 keys",
                "decrypt",
                &large,
                true,
                faster(15.0),
            ),
        ])
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes the file and lets each tool encrypt it once: (clear, by ours, by sops).
    fn files(&self, name: &str, text: &str) -> Result<[PathBuf; 3]> {
        let clear = self.path(name);
        fs::write(&clear, text)?;
        let [ours, theirs] = ["ours", "theirs"].map(|by| self.path(&format!("{by}-{name}")));
        for (program, flags, encrypted) in [
            (&self.selkie, &["encrypt", "--stdout"] as &[&str], &ours),
            (&self.sops, &["encrypt"], &theirs),
        ] {
            let mut command = self
                .command(&Invocation::new(program, flags, Some(&clear)).with(&selection(flags)));
            let output = command.output()?;
            ensure!(
                output.status.success(),
                "{}: {}",
                program.display(),
                String::from_utf8_lossy(&output.stderr)
            );
            fs::write(encrypted, output.stdout)?;
        }
        Ok([clear, ours, theirs])
    }

    fn case(
        &self,
        name: &'static str,
        verb: &'static str,
        files: &[PathBuf; 3],
        large: bool,
        target: Target,
    ) -> Case {
        let [clear, ours, theirs] = files;
        let (selkie, sops) = if verb == "encrypt" {
            let ours = Invocation::new(&self.selkie, &[verb, "--stdout"], Some(clear));
            (ours, Invocation::new(&self.sops, &[verb], Some(clear)))
        } else {
            (
                Invocation::new(&self.selkie, &[verb], Some(ours)),
                Invocation::new(&self.sops, &[verb], Some(theirs)),
            )
        };
        let selection = selection(&[verb]);
        Case {
            name,
            selkie: selkie.with(&selection),
            sops: sops.with(&selection),
            large,
            target,
        }
    }

    fn compare(&self, case: &Case, runs: usize) -> Result<Compared> {
        let (mut selkie, mut sops) = (Vec::new(), Vec::new());
        // One run each to warm the page cache, then in turns, the first of a pair changing.
        self.measure(&case.selkie)?;
        self.measure(&case.sops)?;
        for run in 0..runs {
            if run % 2 == 0 {
                selkie.push(self.measure(&case.selkie)?);
                sops.push(self.measure(&case.sops)?);
            } else {
                sops.push(self.measure(&case.sops)?);
                selkie.push(self.measure(&case.selkie)?);
            }
        }
        Ok(Compared {
            name: case.name,
            runs,
            selkie: median(&mut selkie),
            sops: median(&mut sops),
            target: case.target,
        })
    }

    fn command(&self, invocation: &Invocation) -> Command {
        let mut command = Command::new(&invocation.program);
        command
            .args(&invocation.arguments)
            .args(&invocation.file)
            .current_dir(self.folder.path());
        command
            .env_clear()
            .env("HOME", self.folder.path())
            .env("SOPS_AGE_KEY_FILE", self.path("identity.txt"));
        command
    }

    fn measure(&self, invocation: &Invocation) -> Result<Measured> {
        let mut command = self.command(invocation);
        let errors = self.path("stderr");
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&errors)?);
        let start = Instant::now();
        let child = command
            .spawn()
            .with_context(|| invocation.program.display().to_string())?;
        let (status, peak_kib) = wait_with_peak(child.id())?;
        let time = start.elapsed();
        ensure!(
            status == 0,
            "{} {:?}: {}",
            invocation.program.display(),
            invocation.arguments,
            fs::read_to_string(&errors)?
        );
        Ok(Measured { time, peak_kib })
    }
}

impl Invocation {
    fn new(program: &Path, arguments: &[&str], file: Option<&Path>) -> Self {
        let arguments = arguments
            .iter()
            .map(|&argument| argument.to_owned())
            .collect();
        Self {
            program: program.to_owned(),
            arguments,
            file: file.map(Path::to_owned),
        }
    }

    fn with(mut self, arguments: &[&str]) -> Self {
        self.arguments
            .extend(arguments.iter().map(|&argument| argument.to_owned()));
        self
    }
}

impl Target {
    fn is_met(self, compared: &Compared) -> bool {
        let lower_peak = compared.selkie.peak_kib < compared.sops.peak_kib;
        lower_peak
            && match self {
                Self::Below(limit) => compared.selkie.time < limit,
                Self::TimesFaster(times) => compared.ratio() >= times,
            }
    }

    fn text(self) -> String {
        match self {
            Self::Below(limit) => format!("below {} ms", limit.as_millis()),
            Self::TimesFaster(times) => format!("{times} times"),
        }
    }
}

impl Compared {
    fn ratio(&self) -> f64 {
        self.sops.time.as_secs_f64() / self.selkie.time.as_secs_f64()
    }
}

/// Says of each case that missed its target what it was; `verify.sh` looks for the first word.
fn missed(results: &[Compared]) -> Vec<String> {
    let missed = results
        .iter()
        .filter(|result| !result.target.is_met(result));
    missed
        .map(|result| {
            format!(
                "MISSED: {}: {:.1} ms, {:.1} times as fast as sops, peak {:.1} MiB against {:.1} MiB; the target is {} \
                 and a lower peak",
                result.name,
                milliseconds(result.selkie.time),
                result.ratio(),
                mebibytes(result.selkie.peak_kib),
                mebibytes(result.sops.peak_kib),
                result.target.text(),
            )
        })
        .collect()
}

/// The flags that select what a Kubernetes Secret hides; both tools take them, so both do the same work.
fn selection(flags: &[&str]) -> Vec<&'static str> {
    if flags.contains(&"encrypt") {
        vec!["--age", RECIPIENT, SELECTION]
    } else {
        Vec::new()
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

/// Waits for a child and returns its wait status and its peak resident memory in KiB.
///
/// The kernel counts a child's memory before `exec` too, which is this process: no number can be below that floor.
#[allow(
    unsafe_code,
    reason = "wait4 alone tells the memory of one child; std and rustix have no safe form"
)]
fn wait_with_peak(pid: u32) -> Result<(i32, i64)> {
    let pid = libc::pid_t::try_from(pid)?;
    let mut status = 0;
    // SAFETY: all zeroes is a valid rusage, a struct of integers.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: both pointers are to live, writable values of the right type; the child is ours and nobody else waits for it.
        let waited = unsafe { libc::wait4(pid, &raw mut status, 0, &raw mut usage) };
        if waited == pid {
            return Ok((status, usage.ru_maxrss));
        }
        let error = std::io::Error::last_os_error();
        ensure!(
            error.kind() == std::io::ErrorKind::Interrupted,
            "wait4: {error}"
        );
    }
}

fn median(runs: &mut [Measured]) -> Measured {
    runs.sort_by_key(|run| run.time);
    let peak_kib = runs
        .iter()
        .map(|run| run.peak_kib)
        .max()
        .unwrap_or_default();
    Measured {
        time: runs[runs.len() / 2].time,
        peak_kib,
    }
}

/// A Secret of 1 KB with 22 values, as in sops-cli.md 3.
fn secret() -> String {
    let mut text = "apiVersion: v1\nkind: Secret\nmetadata:\n  name: database\n  namespace: production\ntype: Opaque\nstringData:\n".to_owned();
    for i in 0..22 {
        text.push_str(&format!(
            "  setting-{i:02}: value-{:020x}\n",
            0x9e37_79b9_7f4a_7c15_u128 * (i + 1)
        ));
    }
    text
}

fn ten_thousand_keys() -> String {
    let mut text = String::from("data:\n");
    for i in 0..10_000_u128 {
        text.push_str(&format!(
            "  key-{i:05}: value-{:020x}\n",
            0x9e37_79b9_7f4a_7c15 * (i + 1)
        ));
    }
    text
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn print_table(results: &[Compared], floor: i64) {
    println!(
        "| case | runs | selkie | sops 3.13.3 | times as fast | target | peak selkie | peak sops | met |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    for result in results {
        println!(
            "| {} | {} | {:.1} ms | {:.1} ms | {:.1} | {} | {:.1} MiB | {:.1} MiB | {} |",
            result.name,
            result.runs,
            milliseconds(result.selkie.time),
            milliseconds(result.sops.time),
            result.ratio(),
            result.target.text(),
            mebibytes(result.selkie.peak_kib),
            mebibytes(result.sops.peak_kib),
            if result.target.is_met(result) {
                "yes"
            } else {
                "no"
            },
        );
    }
    println!(
        "\nMedians, in turns on one machine; process start included. Peaks below {:.1} MiB cannot be seen.",
        mebibytes(floor)
    );
}

fn print_json(results: &[Compared], floor: i64) {
    let cases: Vec<_> = results
        .iter()
        .map(|result| {
            json!({
                "case": result.name,
                "runs": result.runs,
                "selkie": {"median_ms": milliseconds(result.selkie.time), "peak_kib": result.selkie.peak_kib},
                "sops": {"median_ms": milliseconds(result.sops.time), "peak_kib": result.sops.peak_kib},
                "ratio": result.ratio(),
                "target": result.target.text(),
                "met": result.target.is_met(result),
            })
        })
        .collect();
    println!("{:#}", json!({"cases": cases, "peak_floor_kib": floor}));
}

#[allow(clippy::cast_precision_loss, reason = "kibibytes of a process fit")]
fn mebibytes(kib: i64) -> f64 {
    kib as f64 / 1024.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(milliseconds: u64, peak_kib: i64, target: Target) -> Compared {
        let measured = |milliseconds, peak_kib| Measured {
            time: Duration::from_millis(milliseconds),
            peak_kib,
        };
        Compared {
            name: "case",
            runs: 1,
            selkie: measured(milliseconds, peak_kib),
            sops: measured(100, 1000),
            target,
        }
    }

    #[test]
    fn a_missed_target_is_told() {
        let below = Target::Below(Duration::from_millis(5));
        let faster = Target::TimesFaster(5.0);
        assert!(missed(&[compared(4, 999, below), compared(20, 999, faster)]).is_empty());
        for wrong in [
            compared(5, 999, below),
            compared(21, 999, faster),
            compared(20, 1000, faster),
        ] {
            let lines = missed(&[compared(20, 999, faster), wrong]);
            assert_eq!(lines.len(), 1);
            assert!(lines[0].starts_with("MISSED: case: "), "{}", lines[0]);
        }
    }
}
