//! `sops updatekeys`: the keys of the rule for files that exist.

use std::io::{self, Write as _};
use std::path::Path;

use jiff::Timestamp;
use selkie_sops::{DataKeyChange, KeyChanges, KeySpec, KeyTarget, OpenFile, key_changes};

use super::change::text_of;
use super::config::ConfigFile;
use super::{Exit, Invocation, told};

impl Invocation {
    pub(super) fn updatekeys(&self) -> Result<(), Exit> {
        let config = self.config()?.ok_or_else(|| {
            let message = "config file not found";
            Exit::Message(1, message.to_owned())
        })?;
        self.first_file()?;
        let mut failed = 0;
        for file in &self.own.rest {
            let result = self.update(config, Path::new(file));
            match result {
                Err(error) if self.own.rest.len() == 1 => return Err(error),
                Err(error) => {
                    failed += 1;
                    self.log.error(&error.to_string());
                }
                Ok(()) => {}
            }
        }
        match failed {
            0 => Ok(()),
            _ => Err(Exit::Message(1, format!("failed updating {failed} key(s)"))),
        }
    }

    fn update(&self, config: &ConfigFile, file: &Path) -> Result<(), Exit> {
        let target = self.target_of(Some(file));
        let place = target.name.display().to_string();
        if !target.exists() {
            return Err(Exit::Message(
                1,
                format!("stat {place}: no such file or directory"),
            ));
        }
        if target.name.is_dir() {
            return Err(Exit::Message(1, "can't operate on a directory".to_owned()));
        }
        self.log.print(&format!("Syncing keys for file {place}"));
        let format = self.shape(&target.name)?.input;
        let source = text_of(&target)?;
        let groups = match config.rule(&target.name)? {
            Some(rule) => rule.groups(&Default::default()),
            None => {
                return Err(Exit::Message(
                    1,
                    format!(
                        "The config file {} does not contain any creation rule",
                        config.path.display()
                    ),
                ));
            }
        };
        let wish = KeyTarget {
            groups,
            threshold: None,
        };
        let changes =
            key_changes(source, format, &wish).map_err(|error| told::decrypt(&error, ""))?;
        if changes.is_empty() {
            self.log.print(&format!("File {place} already up to date"));
            return Ok(());
        }
        self.print(told_changes(&changes).as_bytes())?;
        if !self.own.switch("yes") && !self.is_okay()? {
            self.log.print(&format!("File {place} left unchanged"));
            return Ok(());
        }
        let ring = self.keyring(&self.environment.named_keys())?;
        let open = OpenFile::open(source, format, &ring, &self.opening()?)
            .map_err(|error| told::decrypt(&error, &ring.places()))?;
        let now = Timestamp::now();
        let make = |spec: &KeySpec| ring.master_key(spec, now);
        let done = open
            .with_keys(&wish, DataKeyChange::Keep, &make, now)
            .map_err(|error| told::rekeying(&error))?;
        if let Some(done) = done {
            self.put(&target, &done.text)?;
        }
        self.log
            .print(&format!("File {place} synced with new keys"));
        Ok(())
    }

    /// Asks until the answer is `y` or `n`; the end of standard input is an error, as in sops.
    fn is_okay(&self) -> Result<bool, Exit> {
        loop {
            self.print(b"Is this okay? (y/n):")?;
            let mut answer = String::new();
            let read = io::stdin().read_line(&mut answer);
            match read {
                Ok(0) => return Err(Exit::Message(1, "EOF".to_owned())),
                Ok(_) => {}
                Err(error) => return Err(Exit::Message(1, error.to_string())),
            }
            let _ = io::stdout().flush();
            match answer.trim() {
                "y" => return Ok(true),
                "n" => return Ok(false),
                "" => return Err(Exit::Message(1, "unexpected newline".to_owned())),
                _ => {}
            }
        }
    }
}

fn told_changes(changes: &KeyChanges) -> String {
    let mut text = String::from("The following changes will be made to the file's groups:\n");
    let (old, new) = changes.threshold;
    if old > 0 && old == new {
        text.push_str(&format!("shamir_threshold: {new}\n"));
    } else {
        if new > 0 {
            text.push_str(&format!("+++ shamir_threshold: {new}\n"));
        }
        if old > 0 {
            text.push_str(&format!("--- shamir_threshold: {old}\n"));
        }
    }
    for (number, group) in (1..).zip(&changes.groups) {
        text.push_str(&format!("Group {number}\n"));
        for (mark, keys) in [
            ("    ", &group.kept),
            ("+++ ", &group.added),
            ("--- ", &group.removed),
        ] {
            for key in keys {
                text.push_str(&format!("{mark}{}\n", key.identity()));
            }
        }
    }
    text
}
