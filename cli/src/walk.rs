//! From what was typed to files: folders and patterns, with ignore files respected.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use ignore::WalkBuilder;
use ignore::overrides::OverrideBuilder;
use rustix::fs::{FlockOperation, flock};
use selkie_secret::SecretBytes;
use selkie_sops::Format;

use crate::failure::{Failure, Kind};
use crate::file::{RECOVERY_SUFFIX, TEMPORARY_SUFFIX};

/// The files of one run.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// In order, each once.
    pub(crate) files: Vec<Candidate>,
    /// What runs that were killed left behind.
    left_over: Vec<PathBuf>,
    /// What cannot be looked at.
    pub(crate) failures: Vec<(PathBuf, Failure)>,
    /// The path that is being looked at.
    path: usize,
    /// The paths, by their places, that something failed of.
    pub(crate) failed: BTreeSet<usize>,
}

/// A file, and how it came into the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) path: PathBuf,
    /// Named itself: whatever it is, it is worked on or refused. One found in a folder is passed over
    /// where the verb has nothing to do with it.
    pub(crate) named: bool,
    /// Which of the paths stand for it, by their places.
    pub(crate) paths: Vec<usize>,
}

/// Finds the files that `paths` stand for.
///
/// A folder stands for every regular file below it but those that ignore files name; hidden files
/// count, `.git` does not. A pattern (`*`, `?`, `[...]`, `**`) that the shell left alone stands for
/// what matches it.
pub(crate) fn find(paths: &[PathBuf]) -> Found {
    let mut found = Found::default();
    for (place, path) in paths.iter().enumerate() {
        found.path = place;
        let failures = found.failures.len();
        if path.is_dir() {
            found.add_folder(path, None);
        } else if fs::symlink_metadata(path).is_ok() || !is_pattern(path) {
            found.add(path.clone(), true);
        } else if let Err(failure) = found.add_pattern(path) {
            found.failures.push((path.clone(), failure));
        }
        if found.failures.len() > failures {
            found.failed.insert(place);
        }
    }
    found
}

impl Found {
    fn add(&mut self, path: PathBuf, named: bool) {
        self.files.push(Candidate {
            path,
            named,
            paths: vec![self.path],
        });
    }

    fn add_pattern(&mut self, path: &Path) -> Result<(), Failure> {
        let folder: PathBuf = path.iter().take_while(|part| !is_pattern(part)).collect();
        let folder = match folder.as_os_str().is_empty() {
            true => PathBuf::from("."),
            false => folder,
        };
        let before = (self.files.len(), self.failures.len());
        if folder.is_dir() {
            self.add_folder(&folder, Some(path));
        }
        if (self.files.len(), self.failures.len()) == before {
            return Err(
                Failure::new(Kind::NoFile, "no file matches this pattern").hint(
                    "patterns know *, ?, [...] and **; files that ignore files name do not count",
                ),
            );
        }
        Ok(())
    }

    fn add_folder(&mut self, folder: &Path, pattern: Option<&Path>) {
        let mut walk = WalkBuilder::new(folder);
        walk.hidden(false)
            .require_git(false)
            .follow_links(false)
            .filter_entry(|entry| entry.file_name() != ".git");
        if let Some(pattern) = pattern {
            // As a whole path: a pattern without a slash would match at every depth.
            let base = pattern.strip_prefix(folder).unwrap_or(pattern);
            let glob = format!("/{}", base.to_string_lossy());
            let mut overrides = OverrideBuilder::new(folder);
            let built = overrides.add(&glob).and_then(|overrides| overrides.build());
            match built {
                Ok(overrides) => walk.overrides(overrides),
                Err(error) => {
                    let failure = Failure::new(Kind::Other, format!("not a pattern: {error}"));
                    self.failures.push((pattern.to_owned(), failure));
                    return;
                }
            };
        }
        walk.sort_by_file_name(Ord::cmp);
        for entry in walk.build() {
            match entry {
                Ok(entry) if entry.file_type().is_some_and(|kind| kind.is_file()) => {
                    let path = entry.into_path();
                    if is_temporary(&path) {
                        self.left_over.push(path);
                        continue;
                    }
                    // The file beside it fails, and names this copy.
                    if path.to_string_lossy().ends_with(RECOVERY_SUFFIX) {
                        continue;
                    }
                    let shown = path.strip_prefix("./").map(Path::to_owned).unwrap_or(path);
                    self.add(shown, false);
                }
                Ok(_) => {}
                Err(error) => {
                    let cause = match error.io_error() {
                        Some(error) => error.to_string(),
                        None => error.to_string(),
                    };
                    let failure = Failure::new(Kind::Input, format!("cannot be read: {cause}"));
                    let place = place(&error).unwrap_or(folder).to_owned();
                    self.failures.push((place, failure));
                }
            }
        }
    }

    /// Removes what runs that were killed left behind in the folders that were walked; what is still
    /// being written is locked.
    pub(crate) fn tidy(&self) {
        for path in &self.left_over {
            let free = File::open(path)
                .is_ok_and(|file| flock(file, FlockOperation::NonBlockingLockExclusive).is_ok());
            if free {
                let _ = fs::remove_file(path);
            }
        }
    }

    /// Keeps each file once, however often it was named: under its first name, and as named itself if it
    /// was so anywhere.
    pub(crate) fn unique(mut self) -> Self {
        let mut places: HashMap<PathBuf, usize> = HashMap::new();
        let mut unique: Vec<Candidate> = Vec::new();
        for file in self.files {
            let key = fs::canonicalize(&file.path).unwrap_or_else(|_| file.path.clone());
            match places.get(&key) {
                Some(place) => {
                    let known = &mut unique[*place];
                    known.named |= file.named;
                    known.paths.extend(file.paths);
                }
                None => {
                    places.insert(key, unique.len());
                    unique.push(file);
                }
            }
        }
        self.files = unique;
        self
    }
}

/// Returns whether a file that was found in a folder may be an encrypted one: in every format the metadata
/// has these two words. Cheap for the many that are not. One that cannot be read may be one, too.
pub(crate) fn may_be_encrypted(path: &Path) -> bool {
    let Ok(bytes) = fs::read(path) else {
        return true;
    };
    let bytes = SecretBytes::new(bytes);
    let has = |word: &[u8]| bytes.expose().windows(word.len()).any(|part| part == word);
    // Programs have the two words in them, too; a manifest with a byte of another encoding is broken.
    let is_text = || {
        Format::of_path(&path.to_string_lossy()) != Format::Binary
            || std::str::from_utf8(bytes.expose()).is_ok()
    };
    has(b"sops") && has(b"ENC[AES256_GCM,") && is_text()
}

/// Where the walk failed.
fn place(error: &ignore::Error) -> Option<&Path> {
    match error {
        ignore::Error::WithPath { path, .. } => Some(path),
        ignore::Error::WithDepth { err, .. } | ignore::Error::WithLineNumber { err, .. } => {
            place(err)
        }
        _ => None,
    }
}

/// Returns whether a part of a path has signs of a pattern.
fn is_pattern(part: impl AsRef<std::ffi::OsStr>) -> bool {
    let text = part.as_ref().to_string_lossy().into_owned();
    text.contains(['*', '?', '['])
}

fn is_temporary(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with('.') && name.ends_with(TEMPORARY_SUFFIX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(root: &Path, paths: &[&str]) -> Vec<String> {
        let paths: Vec<PathBuf> = paths.iter().map(|path| root.join(path)).collect();
        let found = find(&paths).unique();
        assert!(found.failures.is_empty(), "{:?}", found.failures);
        let shown = found.files.iter().map(|file| {
            let path = file.path.strip_prefix(root).unwrap();
            path.display().to_string()
        });
        shown.collect()
    }

    fn tree() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "a.yaml",
            "b/c.yaml",
            "b/.env",
            "b/d/e.json",
            ".git/f.yaml",
            "out/g.yaml",
            "h.log",
        ] {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x: y\n").unwrap();
        }
        fs::write(folder.path().join(".gitignore"), "out/\n*.log\n").unwrap();
        folder
    }

    #[test]
    fn a_folder_is_walked_with_ignore_files_and_hidden_files() {
        let folder = tree();
        let expected = [".gitignore", "a.yaml", "b/.env", "b/c.yaml", "b/d/e.json"];
        assert_eq!(names(folder.path(), &[""]), expected);
        assert_eq!(
            names(folder.path(), &["b", "a.yaml", "b/c.yaml"]),
            ["b/.env", "b/c.yaml", "b/d/e.json", "a.yaml",]
        );
    }

    #[test]
    fn a_file_that_is_named_counts_as_named_wherever_it_was_found_first() {
        let folder = tree();
        let paths = ["b", "b/c.yaml", "", "b/c.yaml"].map(|name| folder.path().join(name));
        let found = find(&paths).unique();
        let of = |name: &str| {
            let path = folder.path().join(name);
            found.files.iter().find(|file| file.path == path).unwrap()
        };
        assert!(of("b/c.yaml").named && !of("b/d/e.json").named && !of("a.yaml").named);
        assert_eq!(of("b/c.yaml").paths, [0, 1, 2, 3]);
        assert_eq!(of("b/d/e.json").paths, [0, 2]);
        assert_eq!(of("a.yaml").paths, [2]);
    }

    #[test]
    fn a_pattern_matches_whole_paths() {
        let folder = tree();
        assert_eq!(names(folder.path(), &["*.yaml"]), ["a.yaml"]);
        assert_eq!(names(folder.path(), &["**/*.yaml"]), ["a.yaml", "b/c.yaml"]);
        assert_eq!(names(folder.path(), &["b/*/e.json"]), ["b/d/e.json"]);
        let none = find(&[folder.path().join("*.toml")]);
        assert_eq!(none.failures.len(), 1);
    }

    #[test]
    fn what_a_killed_run_left_is_removed_and_what_is_being_written_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (".a.yaml.x1.selkie-tmp", ".a.yaml.x2.selkie-tmp");
        fs::write(folder.path().join(old), "").unwrap();
        let held = File::create(folder.path().join(new)).unwrap();
        flock(&held, FlockOperation::LockExclusive).unwrap();
        let found = find(&[folder.path().to_owned()]);
        assert!(found.files.is_empty());
        assert!(folder.path().join(old).exists());
        found.tidy();
        assert!(!folder.path().join(old).exists());
        assert!(folder.path().join(new).exists());
    }
}
