//! One run of one program: its time and its peak memory.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

/// A program with its arguments and what its environment has beside the common one.
pub(crate) struct Invocation {
    program: PathBuf,
    arguments: Vec<String>,
    variables: Vec<(&'static str, String)>,
}

/// One run, or the median time and highest peak of several.
#[derive(Clone, Copy)]
pub(crate) struct Measured {
    pub(crate) time: Duration,
    pub(crate) peak_kib: i64,
}

impl Invocation {
    pub(crate) fn new(program: &Path, arguments: &[&str]) -> Self {
        Self {
            program: program.to_owned(),
            arguments: Vec::new(),
            variables: Vec::new(),
        }
        .with(arguments)
    }

    pub(crate) fn with(mut self, arguments: &[&str]) -> Self {
        let more = arguments.iter().map(|&argument| argument.to_owned());
        self.arguments.extend(more);
        self
    }

    pub(crate) fn file(self, path: &Path) -> Self {
        self.with(&[&path.to_string_lossy()])
    }

    pub(crate) fn env(mut self, name: &'static str, value: &str) -> Self {
        self.variables.push((name, value.to_owned()));
        self
    }

    /// Runs it once, and writes what it prints to a file.
    pub(crate) fn print_to(&self, file: &Path, folder: &Path) -> Result<()> {
        self.run(File::create(file)?.into(), folder).map(drop)
    }

    /// Runs it once, what it prints being thrown away.
    pub(crate) fn measure(&self, folder: &Path) -> Result<Measured> {
        self.run(Stdio::null(), folder)
    }

    fn run(&self, stdout: Stdio, folder: &Path) -> Result<Measured> {
        let mut command = self.command(folder);
        let errors = folder.join("stderr");
        command
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(File::create(&errors)?);
        let start = Instant::now();
        let child = command
            .spawn()
            .with_context(|| self.program.display().to_string())?;
        let (status, peak_kib) = wait_with_peak(child.id())?;
        let time = start.elapsed();
        ensure!(
            status == 0,
            "{} {:?}: {}",
            self.program.display(),
            self.arguments,
            fs::read_to_string(&errors)?
        );
        Ok(Measured { time, peak_kib })
    }

    fn command(&self, folder: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .current_dir(folder)
            .env_clear()
            .env("HOME", folder)
            .env("SOPS_AGE_KEY_FILE", folder.join("identity.txt"));
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }
}

pub(crate) fn median(runs: &mut [Measured]) -> Measured {
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
