//! The cases: what both programs do, and what ours is to reach (issue 4, "Must show" 6).

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use compat::sops_file::{IDENTITY, RECIPIENT};

use crate::documents;
use crate::measure::{Invocation, Measured, median};

/// The flags that select what a Kubernetes Secret hides; both tools take them, so both do the same work.
const SELECTED: &[&str] = &["--age", RECIPIENT, "--encrypted-regex=^(data|stringData)$"];
const WHOLE: &[&str] = &["--age", RECIPIENT];

/// What `--only` selects.
pub(crate) const START_UP: &str = "--version";

/// The two programs and a folder for their files.
pub(crate) struct Tools {
    pub(crate) selkie: PathBuf,
    pub(crate) sops: PathBuf,
    folder: tempfile::TempDir,
}

pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) selkie: Invocation,
    pub(crate) sops: Invocation,
    pub(crate) size: Size,
    pub(crate) target: Target,
}

/// How long a run takes, which says how often it is repeated.
#[derive(Clone, Copy)]
pub(crate) enum Size {
    Small,
    Large,
    /// Seconds, in the original.
    Largest,
}

/// What ours is to reach; a lower peak than that of sops is part of each.
#[derive(Clone, Copy)]
pub(crate) enum Target {
    Below(Duration),
    TimesFaster(f64),
    /// And the peak in MiB.
    TimesFasterWithin(f64, i64),
    /// No longer, and with no more calls to a server.
    NoMoreCalls,
}

/// One case: the medians of the times, the highest peaks.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) runs: usize,
    pub(crate) selkie: Measured,
    pub(crate) sops: Measured,
    /// Calls to a server in one run: ours, theirs.
    pub(crate) calls: Option<(usize, usize)>,
    pub(crate) target: Target,
}

/// A document that both encrypt and decrypt.
pub(crate) struct Document {
    /// What encrypting and decrypting it is called.
    pub(crate) names: [&'static str; 2],
    file: &'static str,
    write: fn(&mut dyn Write) -> std::io::Result<()>,
    selection: &'static [&'static str],
    size: Size,
    target: Target,
}

pub(crate) const DOCUMENTS: [Document; 4] = [
    Document {
        names: ["encrypt, Secret of 1 KB", "decrypt, Secret of 1 KB"],
        file: "secret.yaml",
        write: documents::secret,
        selection: SELECTED,
        size: Size::Small,
        target: Target::TimesFaster(6.0),
    },
    Document {
        names: [
            "encrypt, YAML of 10,000 keys",
            "decrypt, YAML of 10,000 keys",
        ],
        file: "large.yaml",
        write: |file| documents::yaml(file, 10_000),
        selection: SELECTED,
        size: Size::Large,
        target: Target::TimesFaster(20.0),
    },
    Document {
        names: [
            "encrypt, JSON of 10,000 keys",
            "decrypt, JSON of 10,000 keys",
        ],
        file: "large.json",
        write: |file| documents::json(file, 10_000),
        selection: SELECTED,
        size: Size::Largest,
        target: Target::TimesFaster(50.0),
    },
    Document {
        names: ["encrypt, 20 MiB of bytes", "decrypt, 20 MiB of bytes"],
        file: "blob.bin",
        write: documents::binary,
        selection: WHOLE,
        size: Size::Large,
        target: Target::TimesFasterWithin(4.0, 100),
    },
];

impl Tools {
    pub(crate) fn new(selkie: PathBuf, sops: PathBuf) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join("identity.txt"), format!("{IDENTITY}\n"))?;
        Ok(Self {
            selkie,
            sops,
            folder,
        })
    }

    pub(crate) fn start_up(&self) -> Case {
        Case {
            name: START_UP,
            selkie: Invocation::new(&self.selkie, &["--version"]),
            sops: Invocation::new(&self.sops, &["--disable-version-check", "--version"]),
            size: Size::Small,
            target: Target::Below(Duration::from_millis(5)),
        }
    }

    /// Writes the document, lets each tool encrypt it once, and returns encrypting and decrypting it.
    pub(crate) fn cases(&self, document: &Document) -> Result<[Case; 2]> {
        let clear = self.write(document.file, document.write)?;
        let [ours, theirs] =
            ["ours", "theirs"].map(|by| self.path(&format!("{by}-{}", document.file)));
        let selkie = self.encrypt(&clear, document.selection);
        let sops = Invocation::new(&self.sops, &["encrypt"])
            .with(document.selection)
            .file(&clear);
        self.print_to(&selkie, &ours)?;
        self.print_to(&sops, &theirs)?;
        let case = |name, selkie, sops| Case {
            name,
            selkie,
            sops,
            size: document.size,
            target: document.target,
        };
        let [encrypt, decrypt] = document.names;
        Ok([
            case(encrypt, selkie, sops),
            case(
                decrypt,
                Invocation::new(&self.selkie, &["decrypt"]).file(&ours),
                Invocation::new(&self.sops, &["decrypt"]).file(&theirs),
            ),
        ])
    }

    /// Writes a file into the folder.
    pub(crate) fn write(
        &self,
        name: &str,
        write: impl Fn(&mut dyn Write) -> std::io::Result<()>,
    ) -> Result<PathBuf> {
        let path = self.path(name);
        let mut file = BufWriter::new(File::create(&path)?);
        write(&mut file)?;
        file.flush()?;
        Ok(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Ours encrypting a file to standard output.
    pub(crate) fn encrypt(&self, clear: &Path, selection: &[&str]) -> Invocation {
        Invocation::new(&self.selkie, &["encrypt", "--stdout"])
            .with(selection)
            .file(clear)
    }

    pub(crate) fn print_to(&self, invocation: &Invocation, file: &Path) -> Result<()> {
        invocation.print_to(file, self.folder.path())
    }

    pub(crate) fn measure(&self, invocation: &Invocation) -> Result<Measured> {
        invocation.measure(self.folder.path())
    }

    pub(crate) fn compare(&self, case: &Case, runs: usize) -> Result<Row> {
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
        Ok(Row {
            name: case.name.to_owned(),
            runs,
            selkie: median(&mut selkie),
            sops: median(&mut sops),
            calls: None,
            target: case.target,
        })
    }
}

impl Target {
    pub(crate) fn is_met(self, row: &Row) -> bool {
        let lower_peak = row.selkie.peak_kib < row.sops.peak_kib;
        lower_peak
            && match self {
                Self::Below(limit) => row.selkie.time < limit,
                Self::TimesFaster(times) => row.ratio() >= times,
                Self::TimesFasterWithin(times, mib) => {
                    row.ratio() >= times && row.selkie.peak_kib < mib << 10
                }
                Self::NoMoreCalls => {
                    row.ratio() >= 1.0 && row.calls.is_some_and(|(ours, theirs)| ours <= theirs)
                }
            }
    }

    pub(crate) fn text(self) -> String {
        match self {
            Self::Below(limit) => format!("below {} ms", limit.as_millis()),
            Self::TimesFaster(times) => format!("{times} times"),
            Self::TimesFasterWithin(times, mib) => format!("{times} times, below {mib} MiB"),
            Self::NoMoreCalls => "no slower, no more calls".to_owned(),
        }
    }
}

impl Row {
    pub(crate) fn ratio(&self) -> f64 {
        self.sops.time.as_secs_f64() / self.selkie.time.as_secs_f64()
    }
}
