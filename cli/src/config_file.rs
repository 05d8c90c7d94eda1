//! Finding the `.sops.yaml` that rules a file (sops-format.md 17.1): the nearest one above the
//! *file*, not above the working directory.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use selkie_sops::{Config, CreationRule};

use crate::failure::{Failure, Kind};

/// A `.sops.yaml` with its place.
pub(crate) struct ConfigFile {
    /// Absolute.
    pub(crate) path: PathBuf,
    pub(crate) config: Config,
}

impl ConfigFile {
    /// Returns whether a new file gets a whole-file MAC.
    pub(crate) fn asks_whole_mac(&self, file: &Path) -> bool {
        let relative = self.relative(file).to_string_lossy();
        self.config.asks_whole_mac(&relative)
    }

    /// Returns an absolute path as the rules see it: without the folder of the config, where it is
    /// below that (sops-format.md 17.2).
    pub(crate) fn relative<'f>(&self, file: &'f Path) -> &'f Path {
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        file.strip_prefix(folder).unwrap_or(file)
    }

    /// Returns the rule for a file; `Ok(None)` when the config has no creation rules at all.
    pub(crate) fn rule_for(&self, file: &Path) -> Result<Option<&CreationRule>, Failure> {
        if !self.config.has_creation_rules() {
            return Ok(None);
        }
        let relative = self.relative(file);
        match self.config.rule_for(&relative.to_string_lossy()) {
            Some(rule) => Ok(Some(rule)),
            None => Err(Failure::new(
                Kind::Other,
                format!(
                    "no creation rule of {} matches this file",
                    self.path.display()
                ),
            )
            .hint(format!(
                "add a rule whose path_regex matches {}",
                relative.display()
            ))),
        }
    }
}

/// The config files read so far.
#[derive(Default)]
pub(crate) struct ConfigFiles {
    /// `--config` or `SOPS_CONFIG`.
    given: Option<PathBuf>,
    read: HashMap<PathBuf, Arc<ConfigFile>>,
    /// A `.sops.yml` that was met and is not used.
    pub(crate) misnamed: Option<PathBuf>,
}

impl ConfigFiles {
    /// `given` replaces the search.
    pub(crate) fn new(given: Option<PathBuf>) -> Self {
        Self {
            given,
            ..Self::default()
        }
    }

    /// Returns the config for a file whose path is absolute, or `None` when there is none above it.
    pub(crate) fn for_file(&mut self, file: &Path) -> Result<Option<Arc<ConfigFile>>, Failure> {
        if let Some(given) = self.given.clone() {
            return match self.load(&absolute(&given))? {
                Some(config) => Ok(Some(config)),
                None => {
                    let message = format!("the config file {} does not exist", given.display());
                    Err(Failure::new(Kind::Other, message).hint("see --config and SOPS_CONFIG"))
                }
            };
        }
        for folder in file.ancestors().skip(1) {
            if let Some(config) = self.load(&folder.join(".sops.yaml"))? {
                return Ok(Some(config));
            }
            let misnamed = folder.join(".sops.yml");
            if self.misnamed.is_none() && misnamed.is_file() {
                self.misnamed = Some(misnamed);
            }
        }
        Ok(None)
    }

    fn load(&mut self, path: &Path) -> Result<Option<Arc<ConfigFile>>, Failure> {
        if let Some(known) = self.read.get(path) {
            return Ok(Some(Arc::clone(known)));
        }
        let place = path.display();
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                return match error.kind() {
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Ok(None),
                    _ => Err(Failure::new(
                        Kind::Other,
                        format!("{place} cannot be read: {error}"),
                    )),
                };
            }
        };
        let config = Config::parse(&text).map_err(|error| {
            let message = format!("{place}:{}:{}: {}", error.line, error.column, error.reason);
            Failure::new(Kind::Other, message).hint("correct the config file; nothing was changed")
        })?;
        let file = Arc::new(ConfigFile {
            path: path.to_owned(),
            config,
        });
        self.read.insert(path.to_owned(), Arc::clone(&file));
        Ok(Some(file))
    }
}

/// Makes a path absolute: the folder with its links resolved where it exists, else by its text.
pub(crate) fn absolute(path: &Path) -> PathBuf {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    match (fs::canonicalize(folder), path.file_name()) {
        (Ok(folder), Some(name)) => folder.join(name),
        _ => without_dots(&std::path::absolute(path).unwrap_or_else(|_| path.to_owned())),
    }
}

pub(crate) fn without_dots(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                plain.pop();
            }
            Component::CurDir => {}
            part => plain.push(AsRef::<OsStr>::as_ref(&part)),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn the_nearest_config_above_the_file_rules_it() {
        let folder = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(folder.path()).unwrap();
        place(&root.join(".sops.yaml"), "creation_rules: []\n");
        place(
            &root.join("a/b/.sops.yaml"),
            "creation_rules: [{path_regex: '^c/x'}]\n",
        );
        place(&root.join("a/.sops.yml"), "");
        let mut files = ConfigFiles::new(None);
        let mut of = |name: &str| {
            let file = absolute(&root.join(name));
            let config = files.for_file(&file).unwrap().unwrap();
            let rule = config.rule_for(&file).map(|rule| rule.is_some());
            (
                config.path.strip_prefix(&root).unwrap().to_owned(),
                rule.is_ok(),
            )
        };
        assert_eq!(of("a/b/c/x.yaml"), ("a/b/.sops.yaml".into(), true));
        assert_eq!(of("a/b/c/../c/x.yaml"), ("a/b/.sops.yaml".into(), true));
        assert_eq!(of("a/b/y.yaml"), ("a/b/.sops.yaml".into(), false));
        assert_eq!(of("a/x.yaml"), (".sops.yaml".into(), false));
        assert_eq!(files.misnamed, Some(root.join("a/.sops.yml")));
    }

    #[test]
    fn a_given_config_must_exist_and_parse() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.yaml");
        let mut files = ConfigFiles::new(Some(path.clone()));
        let failure = files.for_file(Path::new("/x.yaml")).err().unwrap();
        assert!(
            failure.message.contains("does not exist"),
            "{}",
            failure.message
        );
        fs::write(&path, "creation_rules:\n  - encrypted_regexp: x\n").unwrap();
        let failure = files.for_file(Path::new("/x.yaml")).err().unwrap();
        assert!(
            failure.message.contains("c.yaml:2:5:"),
            "{}",
            failure.message
        );
    }
}
