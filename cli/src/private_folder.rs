//! Where clear text lies that another program has to read: in memory, where the system has such a place.

use std::env;
use std::path::{Path, PathBuf};

/// A folder in which private folders are made.
pub(crate) struct Place {
    pub(crate) path: PathBuf,
    /// Whether what is written there stays in memory.
    pub(crate) in_memory: bool,
}

impl Place {
    /// Finds one: XDG_RUNTIME_DIR or /dev/shm where that is memory, else the folder for temporary files.
    pub(crate) fn find() -> Self {
        let places = [env::var_os("XDG_RUNTIME_DIR"), Some("/dev/shm".into())];
        let usable = |path: &PathBuf| is_memory(path) && tempfile::tempfile_in(path).is_ok();
        let found = places.into_iter().flatten().map(PathBuf::from).find(usable);
        Self {
            in_memory: found.is_some(),
            path: found.unwrap_or_else(env::temp_dir),
        }
    }

    /// Returns what the user should know about a place on a disk.
    pub(crate) fn warning(&self) -> Option<String> {
        (!self.in_memory).then(|| {
            format!(
                "there is no folder in memory (XDG_RUNTIME_DIR, /dev/shm): the clear text lies in {}, which may be a \
                 disk, until the program ends",
                self.path.display()
            )
        })
    }
}

/// Whether what is written there stays in memory: tmpfs or ramfs (statfs(2)).
#[cfg(target_os = "linux")]
fn is_memory(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|found| matches!(found.f_type, 0x0102_1994 | 0x8584_58f6))
}

#[cfg(not(target_os = "linux"))]
fn is_memory(_: &Path) -> bool {
    false
}
