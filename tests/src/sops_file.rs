//! One file in a folder of its own, encrypted and decrypted by ours or by the originals.

use std::fs;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::Result;
use tempfile::TempDir;

use crate::originals;
use crate::program::{Finished, Program};
use crate::selkie::selkie;

/// A throw-away age identity (sops-format.md 23).
pub const IDENTITY: &str =
    "AGE-SECRET-KEY-19H6GXE7LPFQ6RYQYP7Q7K9FF0KK6H77T08LCYSMV478SD2W36LEQLUSGLY";
/// The recipient of [`IDENTITY`].
pub const RECIPIENT: &str = "age1khs6jtqk496puwsuttey2nwe6x6jds7z44vd02vr7haesw5x3yysysry4x";

/// Who encrypts or decrypts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Ours.
    Selkie,
    /// sops 3.13.3.
    Sops3133,
    /// sops 3.11.0.
    Sops3110,
}

impl By {
    /// The two versions of sops.
    pub const SOPS: [By; 2] = [By::Sops3133, By::Sops3110];

    fn program(self) -> Result<Program> {
        match self {
            By::Selkie => selkie(),
            By::Sops3133 => originals::sops(),
            By::Sops3110 => originals::sops_3_11(),
        }
    }
}

/// A folder with a `.sops.yaml`; the file in it is replaced by each call.
#[derive(Debug)]
pub struct Folder {
    folder: TempDir,
}

impl Folder {
    /// Makes a folder with this `.sops.yaml`.
    pub fn new(config: &str) -> Result<Folder> {
        let folder = TempDir::with_prefix("selkie-file-")?;
        fs::write(folder.path().join(".sops.yaml"), config)?;
        Ok(Folder { folder })
    }

    /// Encrypts the text; the result is on standard output.
    pub fn encrypt(&self, by: By, text: &[u8]) -> Result<Finished> {
        let to_stdout: &[&str] = if by == By::Selkie { &["--stdout"] } else { &[] };
        self.run(by, "encrypt", to_stdout, text)
    }

    /// Decrypts the text; the result is on standard output.
    pub fn decrypt(&self, by: By, text: &[u8]) -> Result<Finished> {
        self.run(by, "decrypt", &[], text)
    }

    /// Decrypts the text without a look at the MAC.
    pub fn decrypt_ignoring_mac(&self, by: By, text: &[u8]) -> Result<Finished> {
        self.run(by, "decrypt", &["--ignore-mac"], text)
    }

    fn run(&self, by: By, verb: &str, flags: &[&str], text: &[u8]) -> Result<Finished> {
        fs::write(self.folder.path().join("file.yaml"), text)?;
        by.program()?
            .arg(verb)
            .args(flags)
            .arg("file.yaml")
            .folder(self.folder.path())
            .env("HOME", self.folder.path())
            .env("SOPS_AGE_KEY", IDENTITY)
            .run()
    }
}

/// Runs a check for every item on all cores and returns one line for each that failed.
///
/// The check returns what is wrong; an error of it counts as a failure too.
pub fn failures<T: Sync>(
    items: &[T],
    name: impl Fn(&T) -> String + Sync,
    check: impl Fn(&T) -> Result<()> + Sync,
) -> Vec<String> {
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(error) = check(item) {
                        let mut failures = failures.lock().unwrap_or_else(PoisonError::into_inner);
                        failures.push(format!("{}: {error:#}", name(item)));
                    }
                }
            });
        }
    });
    let mut failures = failures
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    failures.sort();
    failures
}
