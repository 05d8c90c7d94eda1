//! `sops publish`: files where the config says (sops-format.md 17.3).

use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use selkie_cloud::kv::Written;
use selkie_sops::{CreationRule, Destination, KeySpec, KeyTarget, key_changes};

use super::config::{ConfigFile, absolute};
use super::keys::borrowed;
use super::updatekeys::told_groups;
use super::{Exit, Invocation, question, told};
use crate::publishing::{self, Content, PublishError};

fn exit(message: impl std::fmt::Display) -> Exit {
    Exit::Message(1, message.to_string())
}

impl Invocation {
    pub(super) fn publish(&self) -> Result<(), Exit> {
        let config = self
            .config()?
            .ok_or_else(|| exit("config file not found"))?;
        let root = Path::new(self.first_file()?);
        let found = fs::metadata(root).map_err(|error| {
            let reason = match error.kind() {
                std::io::ErrorKind::NotFound => "no such file or directory".to_owned(),
                _ => error.to_string(),
            };
            exit(format!("stat {}: {reason}", root.display()))
        })?;
        if found.is_dir() && !self.own.switch("recursive") {
            return Err(Exit::Fatal(
                "can't operate on a directory without --recursive flag.".to_owned(),
            ));
        }
        self.opening()?;
        let mut files = Vec::new();
        walk(root, &mut files)?;
        for file in &files {
            self.publish_file(config, root, file)?;
        }
        Ok(())
    }

    fn publish_file(&self, config: &ConfigFile, root: &Path, file: &Path) -> Result<(), Exit> {
        let rule = config
            .destination(file)
            .ok_or_else(|| exit("error loading config: no matching destination found in config"))?;
        let destination = rule
            .destination
            .as_ref()
            .ok_or_else(|| exit("no destination configured for this file"))?;
        let recursive = self.own.switch("recursive");
        let name = publishing::published_name(
            file,
            recursive.then_some(root),
            self.own.switch("omit-extensions") || rule.omit_extensions,
        );
        let target = self.target_of(Some(file));
        let format = self.shape(&target.name)?.input;
        let text = super::change::text_of(&target)?;
        if selkie_sops::status(text, format).is_err() {
            return Err(exit("sops metadata not found"));
        }
        let recreation = rule.recreation.as_ref();
        let recreation = recreation.map(|rule| (rule, rule.groups(&Default::default())));
        let recreation = recreation
            .filter(|(rule, groups)| rule.problem.is_some() || !groups.concat().is_empty());
        let ring = self.keyring(&self.environment.named_keys())?;
        let content = match (destination, recreation) {
            (Destination::Vault { .. }, _) => {
                let values = publishing::values(text.as_bytes(), format, &ring, &self.opening()?);
                Content::Values(values.map_err(|error| unpublished(error, &ring.places()))?)
            }
            (_, None) => Content::File(target.bytes()?.to_vec()),
            (_, Some((rule, groups))) => Content::File(self.recreated(text, format, rule, groups)?),
        };
        ring.warn(self.log);
        let place = publishing::place(destination, &name, ring.services());
        let path = absolute(file);
        if !self.own.switch("yes") {
            let question = format!("uploading {} to {place} ? (y/n): ", path.display());
            if !question::ask(&question)? {
                let message = format!("Publication of {} canceled", path.display());
                if !recursive {
                    return Err(exit(message));
                }
                return self.print(format!("{message}\n").as_bytes());
            }
        }
        let log = self.log.of("PUBLISH");
        let written = publishing::upload(destination, &name, &content, ring.services())
            .map_err(|error| unpublished(error, ""))?;
        ring.warn(log);
        if written == Written::UpToDate {
            log.info(&format!("Secret in {place} is already up-to-date."));
        }
        Ok(())
    }

    /// Encrypts a file anew by the rule of its destination.
    fn recreated(
        &self,
        text: &str,
        format: selkie_sops::Format,
        rule: &CreationRule,
        groups: Vec<Vec<KeySpec>>,
    ) -> Result<Vec<u8>, Exit> {
        if let Some(problem) = &rule.problem {
            return Err(exit(format!("error loading config: {problem}")));
        }
        let mut given = self.environment.named_keys();
        given.extend(groups.concat());
        let ring = self.keyring(&given)?;
        let plain = publishing::opened(text.as_bytes(), format, &ring, &self.opening()?)
            .map_err(|error| unpublished(error, &ring.places()))?;
        let masters = ring.masters(&groups, Timestamp::now())?;
        let wish = KeyTarget {
            groups,
            threshold: rule.threshold,
        };
        let changes =
            key_changes(text, format, &wish).map_err(|error| told::decrypt(&error, ""))?;
        if changes
            .groups
            .iter()
            .any(|group| !group.added.is_empty() || !group.removed.is_empty())
        {
            let told = format!(
                "The following changes will be made to the file's key groups:\n{}",
                told_groups(&changes)
            );
            self.print(told.as_bytes())?;
        }
        let now = Timestamp::now();
        let plain = plain.bytes.expose();
        let written = publishing::recreated(plain, format, rule, borrowed(&masters), false, now)
            .map_err(|error| match error {
                PublishError::Document(error) => told::encrypting(&error),
                other => unpublished(other, ""),
            })?;
        ring.warn(self.log);
        Ok(written)
    }
}

/// Every file below a path, in the order of Go's `filepath.Walk`.
fn walk(path: &Path, files: &mut Vec<PathBuf>) -> Result<(), Exit> {
    let failed = |error: &std::io::Error| exit(format!("{}: {error}", path.display()));
    // The path itself may be a link; links below it are files to the original.
    let kind = match files.is_empty() {
        true => fs::metadata(path),
        false => fs::symlink_metadata(path),
    };
    if !kind.map_err(|error| failed(&error))?.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    let entries = fs::read_dir(path).map_err(|error| failed(&error))?;
    let mut below = Vec::new();
    for entry in entries {
        below.push(entry.map_err(|error| failed(&error))?.path());
    }
    below.sort();
    for path in below {
        walk(&path, files)?;
    }
    Ok(())
}

fn unpublished(error: PublishError, places: &str) -> Exit {
    match error {
        PublishError::Document(error) => told::decrypting(&error, places),
        other => exit(other),
    }
}
