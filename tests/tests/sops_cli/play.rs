//! The stage that transcripts are played on: two folders with the same files, one program in each.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use compat::bed::{Cache, Tool};
use compat::selkie;
use compat::sops_file::{IDENTITY, RECIPIENT};
use compat::transcript::{Output, Transcript};
use tempfile::TempDir;

use crate::compare::{self, Original};

/// What every transcript starts from.
pub(crate) struct Stage {
    /// Holds `props`, `ours/sops` and `theirs/sops`.
    folder: TempDir,
    other_recipient: String,
    pub(crate) original: Original,
}

/// What a script left.
pub(crate) struct Played {
    pub(crate) code: i32,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
    pub(crate) files: Vec<(PathBuf, Vec<u8>)>,
}

const PLAIN_YAML: &str = "\
# about the file
name: example # inline
count: 42
ratio: 1.5
on: true
nothing: null
empty: \"\"
when: 2024-01-02T03:04:05Z
list:
    - one
    # about two
    - two
    - 3
nested:
    user: admin
    password: s3cr3t
    deep:
        key: value
text: |
    several
    lines
open_unencrypted: seen
";

const PLAIN_JSON: &str = "{
\t\"name\": \"example\",
\t\"count\": 42,
\t\"ratio\": 1.5,
\t\"on\": true,
\t\"nothing\": null,
\t\"empty\": \"\",
\t\"list\": [
\t\t\"one\",
\t\t2
\t],
\t\"nested\": {
\t\t\"password\": \"s3cr3t\"
\t}
}
";

const PLAIN_ENV: &str = "# about the file\nNAME=example\nPASSWORD=s3cr3t\nLINES=a\\nb\nEMPTY=\n";

const PLAIN_INI: &str = "top = level\n\n[section]\n; about the key\nkey   = value\nother = 1\n";

impl Stage {
    /// Makes the files that transcripts use; the encrypted ones by the real sops.
    pub(crate) fn set() -> Result<Self> {
        let folder = TempDir::with_prefix("selkie-transcripts-")?;
        let props = folder.path().join("props");
        fs::create_dir(&props)?;
        let cache = Cache::open()?;
        for (name, program) in [
            ("theirs", cache.tool(Tool::Sops3133)?),
            ("ours", selkie::binary("selkie-cli", "selkie")?),
        ] {
            fs::create_dir(folder.path().join(name))?;
            symlink(program, folder.path().join(name).join("sops"))?;
        }
        fs::write(props.join("keys.txt"), format!("{IDENTITY}\n"))?;
        let keygen = cache.tool(Tool::AgeKeygen)?;
        let made = Command::new(&keygen)
            .arg("-o")
            .arg(props.join("other.txt"))
            .output()?;
        ensure!(made.status.success(), "age-keygen failed");
        let recipient = Command::new(&keygen)
            .arg("-y")
            .arg(props.join("other.txt"))
            .output()?;
        let other_recipient = String::from_utf8(recipient.stdout)?.trim().to_owned();
        // The judge opens everything.
        let judge = folder.path().join("judge.txt");
        let other = fs::read_to_string(props.join("other.txt"))?;
        fs::write(&judge, format!("{IDENTITY}\n{other}"))?;
        let stage = Self {
            original: Original::new(cache.tool(Tool::Sops3133)?, judge),
            folder,
            other_recipient,
        };
        for (name, text) in [
            ("plain.yaml", PLAIN_YAML),
            ("plain.json", PLAIN_JSON),
            ("plain.env", PLAIN_ENV),
            ("plain.ini", PLAIN_INI),
        ] {
            fs::write(props.join(name), text)?;
        }
        let binary: Vec<u8> = (0..=255).collect();
        fs::write(props.join("plain.bin"), binary)?;
        let script = "
            for e in yaml json env ini bin; do sops encrypt --age $AGE plain.$e > enc.$e || exit 1; done
            printf 'a: 1\\n---\\nb: 2\\n' > plain-two.yaml
            sops encrypt --age $AGE plain-two.yaml > enc-two.yaml || exit 1
            sops encrypt --age $OTHER plain.yaml > foreign.yaml || exit 1
            sops encrypt --age $AGE,$OTHER plain.yaml > both.yaml || exit 1
            printf 'creation_rules:\\n- shamir_threshold: 2\\n  key_groups:\\n  - age: [%s]\\n  - age: [%s]\\n' $AGE $AGE > groups.sops.yaml
            sops --config groups.sops.yaml encrypt plain.yaml > groups.yaml || exit 1
            printf 'creation_rules:\\n- path_regex: two\\n  age: %s,%s\\n- age: %s\\n' $AGE $OTHER $AGE > rules.sops.yaml
        ";
        let made = stage.run("theirs", script, &props)?;
        ensure!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        Ok(stage)
    }

    /// Runs a script in a folder with one of the two programs as `sops`.
    fn run(&self, program: &str, script: &str, folder: &Path) -> Result<std::process::Output> {
        let home = folder.join(".home");
        let temporary = folder.join(".tmp");
        fs::create_dir_all(&home)?;
        fs::create_dir_all(&temporary)?;
        let bin = self.folder.path().join(program);
        let child = Command::new("/bin/sh")
            .arg("-c")
            .arg(script)
            .current_dir(folder)
            .env_clear()
            .env("PATH", format!("{}:/usr/bin:/bin", bin.display()))
            .env("HOME", &home)
            .env("TMPDIR", &temporary)
            .env("SOPS_AGE_KEY_FILE", folder.join("keys.txt"))
            .env("SOPS_DISABLE_VERSION_CHECK", "true")
            .env("AGE", RECIPIENT)
            .env("OTHER", &self.other_recipient)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        Ok(child.wait_with_output()?)
    }

    fn play(&self, program: &str, transcript: &Transcript) -> Result<Played> {
        let folder = TempDir::with_prefix_in("play-", self.folder.path())?;
        let work = folder.path().join("work");
        copy(&self.folder.path().join("props"), &work)?;
        let output = self.run(program, &transcript.script, &work)?;
        let code = output.status.code();
        let mut files = Vec::new();
        collect(&work, &work, &mut files)?;
        files.retain(|(path, _)| !path.starts_with(".home"));
        files.sort();
        // The folder's own name is in messages.
        let stderr = String::from_utf8_lossy(&output.stderr);
        Ok(Played {
            code: code
                .or(output.status.signal().map(|s| 128 + s))
                .unwrap_or(-1),
            stdout: output.stdout,
            stderr: stderr.replace(&work.display().to_string(), "FOLDER"),
            files,
        })
    }
}

/// Plays a transcript with both programs and returns what differs though it should not.
pub(crate) fn both(stage: &Stage, transcript: &Transcript) -> Result<Vec<String>> {
    let theirs = stage.play("theirs", transcript)?;
    let ours = stage.play("ours", transcript)?;
    let mut told = Vec::new();
    let same_code = ours.code == theirs.code;
    if let Some(difference) = &transcript.difference {
        ensure!(!difference.reason.is_empty(), "it differs without a reason");
        let differs = !same_code
            || ours.stdout != theirs.stdout
            || ours.files != theirs.files
            || !difference.stderr.is_empty();
        if !differs {
            told.push("it is said to differ and does not".to_owned());
        }
        if difference.code.is_some_and(|code| code != ours.code) {
            told.push(format!("our code is {}", ours.code));
        }
        if let Some(expected) = &difference.stdout
            && String::from_utf8_lossy(&ours.stdout) != *expected
        {
            told.push(format!(
                "our output: {}",
                String::from_utf8_lossy(&ours.stdout)
            ));
        }
        for expected in &difference.stderr {
            if !ours.stderr.contains(expected) {
                told.push(format!("{expected:?} is not in our standard error"));
            }
        }
        if !told.is_empty() {
            told.push(format!("our standard error: {}", ours.stderr));
        }
        return Ok(told);
    }
    if !same_code {
        told.push(format!("code: {}, ours: {}", theirs.code, ours.code));
    }
    for expected in &transcript.stderr {
        for (who, played) in [("their", &theirs), ("our", &ours)] {
            if !played.stderr.contains(expected) {
                told.push(format!("{expected:?} is not in {who} standard error"));
            }
        }
    }
    let format = match transcript.output {
        Output::Bytes => "",
        Output::Document(format) => format,
    };
    told.extend(compare::contents(
        &stage.original,
        "standard output",
        format,
        &theirs.stdout,
        &ours.stdout,
    )?);
    told.extend(compare::files(&stage.original, &theirs.files, &ours.files)?);
    if !told.is_empty() {
        told.push(format!("standard error:\n{}", theirs.stderr));
        told.push(format!("our standard error:\n{}", ours.stderr));
    }
    Ok(told)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy(&entry.path(), &target)?,
            false => {
                fs::copy(entry.path(), target)?;
            }
        }
    }
    Ok(())
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<(PathBuf, Vec<u8>)>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let kind = fs::symlink_metadata(&path)?;
        if kind.is_dir() {
            collect(root, &path, files)?;
        } else if kind.is_file() {
            let name = path.strip_prefix(root)?.to_owned();
            files.push((name, fs::read(&path).context("a file that was left")?));
        }
    }
    Ok(())
}
