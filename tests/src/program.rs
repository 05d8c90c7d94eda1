//! Programs that run to their end: their input, output and exit code.

use std::ffi::OsStr;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// A program and how it shall be run: with an empty environment but for what is given, and an empty
/// standard input.
#[derive(Debug)]
pub struct Program {
    name: String,
    command: Command,
    input: Vec<u8>,
}

impl Program {
    /// A program by its full path.
    pub fn new(path: impl AsRef<Path>) -> Self {
        let path = path.as_ref();
        let mut command = Command::new(path);
        command.env_clear();
        Self {
            name: path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
            command,
            input: Vec::new(),
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.command.args(arguments);
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Sets the folder it runs in.
    #[must_use]
    pub fn folder(mut self, path: impl AsRef<Path>) -> Self {
        self.command.current_dir(path);
        self
    }

    /// Sets what it reads from standard input.
    #[must_use]
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = bytes.into();
        self
    }

    /// Gives the command itself, for what has no method here (another user, limits, a kill while it
    /// runs).
    pub fn into_command(self) -> Command {
        self.command
    }

    /// Runs the program to its end, whatever its exit code.
    pub fn run(mut self) -> Result<Finished> {
        self.command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = self
            .command
            .spawn()
            .with_context(|| format!("{} does not start", self.name))?;
        let mut stdin = child.stdin.take().context("stdin is a pipe")?;
        let output = std::thread::scope(|scope| {
            // A program may end or print much before it has read all: write beside reading, and a
            // broken pipe is no failure.
            scope.spawn(|| {
                let _ = stdin.write_all(&self.input);
                drop(stdin);
            });
            child.wait_with_output()
        })?;
        Ok(Finished {
            name: self.name,
            code: output.status.code(),
            stdout: output.stdout,
            stderr: text(&output.stderr),
        })
    }

    /// Runs the program and fails, with what it wrote to standard error, unless its exit code is 0.
    pub fn ok(self) -> Result<Finished> {
        let finished = self.run()?;
        if finished.code != Some(0) {
            bail!(
                "{} ended with {:?}: {}",
                finished.name,
                finished.code,
                finished.stderr.trim_end()
            );
        }
        Ok(finished)
    }
}

/// What a program left.
#[derive(Debug, Clone)]
pub struct Finished {
    name: String,
    /// The exit code; none when a signal ended it.
    pub code: Option<i32>,
    /// The bytes of standard output.
    pub stdout: Vec<u8>,
    /// Standard error; bytes that are not UTF-8 are replaced.
    pub stderr: String,
}

impl Finished {
    /// Standard output as text; bytes that are not UTF-8 are replaced.
    pub fn text(&self) -> String {
        text(&self.stdout)
    }

    /// Parses standard output as JSON.
    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_slice(&self.stdout)
            .with_context(|| format!("{} did not print JSON", self.name))
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
