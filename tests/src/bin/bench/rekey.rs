//! A whole repository gets one more recipient: one run of ours against a shell loop over `sops updatekeys`, as people write it. Ours
//! flushes every file and its folder to the disk, sops does not.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use compat::sops_file::RECIPIENT;

use crate::cases::{Row, Target, Tools};
use crate::documents;
use crate::measure::{Invocation, Measured, median};

/// What `--only` selects.
pub(crate) const NAME: &str = "rekey, 1,000 age files";

const FILES: usize = 1_000;
const FOLDERS: usize = 50;
/// The loop takes the better part of a minute.
const RUNS: usize = 3;
/// Who is added.
const READER: &str = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";

const LOOP: &str = "find . -name '*.yaml' ! -name '.*' | while read -r file; do \
                    \"$0\" --disable-version-check updatekeys -y \"$file\" || exit 1; done";

pub(crate) fn rows(tools: &Tools) -> Result<Vec<Row>> {
    let repository = Repository::new(tools)?;
    let folder = repository.folder.to_string_lossy().into_owned();
    let ours = Invocation::new(&tools.selkie, &["rekey", "--quiet", &folder]);
    let script = format!("cd '{folder}' && {LOOP}");
    let sops = tools.sops.to_string_lossy().into_owned();
    let theirs = Invocation::new(Path::new("/bin/sh"), &["-c", &script, &sops]);
    let (mut selkie, mut loops) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        selkie.push(repository.measure(tools, &ours)?);
        loops.push(repository.measure(tools, &theirs)?);
    }
    Ok(vec![Row {
        name: NAME.to_owned(),
        runs: RUNS,
        selkie: median(&mut selkie),
        sops: median(&mut loops),
        calls: None,
        target: Target::TimesFaster(15.0),
    }])
}

/// Files that are encrypted for one recipient, with a rule that names two.
struct Repository {
    folder: PathBuf,
    files: Vec<(PathBuf, Vec<u8>)>,
}

impl Repository {
    fn new(tools: &Tools) -> Result<Self> {
        let folder = tools.path("repository");
        let rule = |recipients: &str| {
            let rules = format!("creation_rules:\n- path_regex: yaml$\n  age: {recipients}\n");
            fs::create_dir_all(&folder)?;
            fs::write(folder.join(".sops.yaml"), rules)
        };
        rule(RECIPIENT)?;
        let name = |number: usize| {
            let below = folder.join(format!("{:02}", number % FOLDERS));
            below.join(format!("{number}.yaml"))
        };
        let mut secret = Vec::new();
        documents::secret(&mut secret)?;
        for number in 0..FILES {
            let path = name(number);
            fs::create_dir_all(path.parent().context("a folder")?)?;
            fs::write(path, &secret)?;
        }
        let path = folder.to_string_lossy().into_owned();
        tools.measure(&Invocation::new(
            &tools.selkie,
            &["encrypt", "--quiet", &path],
        ))?;
        rule(&format!("{RECIPIENT},{READER}"))?;
        let read = |number| {
            let path = name(number);
            Ok((path.clone(), fs::read(path)?))
        };
        Ok(Self {
            files: (0..FILES).map(read).collect::<Result<_>>()?,
            folder: folder.clone(),
        })
    }

    /// Runs one on the files as they were first, and checks that it changed every one.
    fn measure(&self, tools: &Tools, invocation: &Invocation) -> Result<Measured> {
        for (path, content) in &self.files {
            fs::write(path, content)?;
        }
        // So that nobody flushes what another one wrote.
        rustix::fs::sync();
        let measured = tools.measure(invocation)?;
        for (path, _) in &self.files {
            let changed = fs::read_to_string(path)?.contains(READER);
            ensure!(changed, "{} was not changed", path.display());
        }
        Ok(measured)
    }
}
