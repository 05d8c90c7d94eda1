//! `sops updatekeys`: the keys of the rule for files that exist.

use std::path::Path;

use jiff::Timestamp;
use selkie_sops::{DataKeyChange, KeyChanges, KeySpec, KeyTarget, OpenFile, key_changes};

use super::change::text_of;
use super::config::ConfigFile;
use super::{Exit, Invocation, question, told};

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
        let told = format!(
            "The following changes will be made to the file's groups:\n{}{}",
            told_threshold(changes.threshold),
            told_groups(&changes)
        );
        self.print(told.as_bytes())?;
        if !self.own.switch("yes") && !question::ask("Is this okay? (y/n):")? {
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
}

fn told_threshold((old, new): (usize, usize)) -> String {
    let mut text = String::new();
    if old > 0 && old == new {
        return format!("shamir_threshold: {new}\n");
    }
    if new > 0 {
        text.push_str(&format!("+++ shamir_threshold: {new}\n"));
    }
    if old > 0 {
        text.push_str(&format!("--- shamir_threshold: {old}\n"));
    }
    text
}

/// The keys that stay, come and go, group by group.
pub(super) fn told_groups(changes: &KeyChanges) -> String {
    let mut text = String::new();
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
