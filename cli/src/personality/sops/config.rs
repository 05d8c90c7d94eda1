//! `.sops.yaml` as sops finds and reads it: from the working directory upwards, with fields that it
//! does not know passed over (sops-format.md 17.1).

use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::{env, fs};

use selkie_sops::{Config, CreationRule, DestinationRule, Stores};

use super::{Exit, Invocation};
use crate::config_file::without_dots;

/// How far up sops looks.
const MAX_DEPTH: usize = 100;

/// A config file, with the folder that paths are relative to.
#[derive(Debug)]
pub(super) struct ConfigFile {
    folder: PathBuf,
    pub(super) path: PathBuf,
    config: Config,
}

/// The config file of a run, read when it is first asked for.
#[derive(Debug, Default)]
pub(super) struct Lookup(OnceCell<Option<ConfigFile>>);

impl ConfigFile {
    /// Returns the rule of a file, given by its absolute path; `None` when the config has no list of
    /// rules at all.
    pub(super) fn rule(&self, file: &Path) -> Result<Option<&CreationRule>, Exit> {
        if !self.config.has_creation_rules() {
            return Ok(None);
        }
        let relative = file.strip_prefix(&self.folder).unwrap_or(file);
        match self.config.rule_for(&relative.to_string_lossy()) {
            Some(rule) => Ok(Some(rule)),
            None => Err(Exit::Message(
                1,
                "error loading config: no matching creation rules found".to_owned(),
            )),
        }
    }

    /// Returns where a file is published to, by its path as it was typed.
    pub(super) fn destination(&self, typed: &Path) -> Option<&DestinationRule> {
        self.config.destination_for(&typed.to_string_lossy())
    }

    pub(super) fn stores(&self) -> &Stores {
        self.config.stores()
    }
}

impl Invocation {
    /// Returns the config file; `None` when there is none and none is named.
    pub(super) fn config(&self) -> Result<Option<&ConfigFile>, Exit> {
        if let Some(known) = self.lookup.0.get() {
            return Ok(known.as_ref());
        }
        let path = match self.global.text("config") {
            "" => self.search(),
            given => Some(absolute(Path::new(given))),
        };
        let found = match path {
            Some(path) => Some(self.load(path)?),
            None => None,
        };
        Ok(self.lookup.0.get_or_init(|| found).as_ref())
    }

    /// Returns the layout of output: nothing of the rules counts, so a rule that cannot be read does
    /// not keep a file from being decrypted.
    pub(super) fn stores(&self) -> Result<Stores, Exit> {
        match self.config() {
            Ok(config) => Ok(config
                .map(|config| config.stores().clone())
                .unwrap_or_default()),
            Err(Exit::Rule(message)) => {
                self.log.warn(&message);
                Ok(Stores::default())
            }
            Err(other) => Err(other),
        }
    }

    fn search(&self) -> Option<PathBuf> {
        let start = absolute(Path::new("."));
        for folder in start.ancestors().take(MAX_DEPTH) {
            let path = folder.join(".sops.yaml");
            if path.exists() {
                return Some(path);
            }
            if folder.join(".sops.yml").exists() {
                self.log.warn(&format!(
                    "ignoring {:?} when searching for config file; the config file must be called \
                     \".sops.yaml\"",
                    folder.join(".sops.yml")
                ));
            }
        }
        None
    }

    fn load(&self, path: PathBuf) -> Result<ConfigFile, Exit> {
        let text = fs::read_to_string(&path).map_err(|error| {
            let message = format!("could not read config file {:?}: {error}", path.display());
            Exit::Message(1, message)
        })?;
        let place = path.display();
        let config = Config::parse_lenient(&text).map_err(|error| {
            let message = format!("error loading config: {place}: {error}");
            let limits = selkie_text::Limits::default();
            match selkie_text::yaml::parse(&text, &limits) {
                Ok(_) => Exit::Rule(message),
                Err(_) => Exit::Message(1, message),
            }
        })?;
        for warning in config.warnings() {
            self.log
                .warn(&format!("{place}: {warning}; it has no effect"));
        }
        Ok(ConfigFile {
            folder: path.parent().unwrap_or(Path::new("/")).to_owned(),
            path,
            config,
        })
    }
}

/// Makes a path absolute by its text, as Go's `filepath.Abs`: below `PWD` where that names the
/// working directory.
pub(super) fn absolute(path: &Path) -> PathBuf {
    let here = env::current_dir().unwrap_or_default();
    let named = env::var_os("PWD").map(PathBuf::from).filter(|named| {
        named.is_absolute() && fs::canonicalize(named).ok() == fs::canonicalize(&here).ok()
    });
    without_dots(&named.unwrap_or(here).join(path))
}
