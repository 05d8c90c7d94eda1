//! What kubeseal prints, and where.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use selkie_seal::object::OutputFormat;

use super::{Invocation, Stop, stop};
use crate::file::{self, Secrecy};

/// Where the result goes.
pub(super) enum Destination {
    Stdout,
    /// A file that is replaced when the run has succeeded.
    File {
        path: PathBuf,
        /// It is the input, and was not named with `-w`.
        in_place: bool,
    },
}

impl Destination {
    /// `-w`; `--re-encrypt -f FILE` changes its input. A place where no file can be made is an
    /// error before anything is done.
    pub(super) fn of(invocation: &Invocation) -> Result<Self, Stop> {
        let values = &invocation.values;
        let (named, input) = (
            values.text("sealed-secret-file"),
            values.text("secret-file"),
        );
        let (path, in_place) = match (named, input) {
            ("", input) if invocation.re_encrypts() && !input.is_empty() => (input, true),
            ("", _) => return Ok(Self::Stdout),
            (named, _) => (named, false),
        };
        file::check_new(Path::new(path)).map_err(stop)?;
        let path = PathBuf::from(path);
        Ok(Self::File { path, in_place })
    }

    pub(super) fn path(&self) -> Option<&Path> {
        match self {
            Self::Stdout => None,
            Self::File { path, .. } => Some(path),
        }
    }

    pub(super) fn is_in_place(&self) -> bool {
        matches!(self, Self::File { in_place: true, .. })
    }

    /// Writes the whole result. A new file is for its owner alone, as with kubeseal.
    pub(super) fn write(&self, bytes: &[u8]) -> Result<(), Stop> {
        match self {
            Self::Stdout => Ok(out(bytes)?),
            Self::File { path, .. } => file::write(path, bytes, Secrecy::Clear).map_err(stop),
        }
    }
}

impl Invocation {
    /// What is printed: `-o`, unless the output file is called `.yaml`.
    pub(super) fn format(&self, destination: &Destination) -> Result<OutputFormat, Stop> {
        if destination.path().is_some_and(is_yaml) {
            return Ok(OutputFormat::Yaml);
        }
        let given = self.values.text("format");
        match given.to_ascii_lowercase().as_str() {
            "json" | "" => Ok(OutputFormat::Json),
            "yaml" => Ok(OutputFormat::Yaml),
            _ => Err(Stop(format!("unsupported output format: {given}"))),
        }
    }
}

fn is_yaml(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    matches!(extension, Some("yaml" | "yml"))
}

/// Prints on standard output.
pub(super) fn out(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()
}

/// Prints on standard error; there is nobody to tell when that fails.
pub(super) fn err(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

pub(super) fn stderr_is_terminal() -> bool {
    io::stderr().is_terminal()
}
