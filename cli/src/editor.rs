//! Clear text in the user's editor (sops-format.md 19): a private file, in memory where the system
//! has such a place, that goes when the work ends, however it ends.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{env, process, thread};

use selkie_secret::SecretBytes;
use selkie_sops::Format;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;
use zeroize::Zeroizing;

use crate::exec::{self, Outcome, Program, Setting};
use crate::private_folder::Place;

/// The editors that are looked for when no variable names one.
const EDITORS: [&str; 3] = ["vim", "nano", "vi"];

/// The clear text on its way to the editor and back: a file for this user alone that goes with this
/// value or with the process.
pub(crate) struct Desk {
    folder: PathBuf,
    file: PathBuf,
    editing: Arc<AtomicBool>,
}

/// Why a text does not come back from the editor.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum DeskError {
    #[error("{0}")]
    Place(io::Error),
    #[error("{0}")]
    Editor(String),
    #[error("{0}")]
    Unreadable(io::Error),
}

impl Desk {
    /// Lays a text out under the last part of `name`, by which editors tell its kind.
    pub(crate) fn with(name: &Path, content: &[u8]) -> Result<Self, DeskError> {
        let folder = tempfile::Builder::new()
            .prefix(".selkie-edit-")
            .permissions(fs::Permissions::from_mode(0o700))
            .tempdir_in(Place::find().path)
            .map_err(DeskError::Place)?;
        let folder = folder.keep();
        let desk = Self {
            file: folder.join(name.file_name().unwrap_or("file".as_ref())),
            folder,
            editing: Arc::default(),
        };
        desk.watch().map_err(DeskError::Place)?;
        desk.lay_out(content).map_err(DeskError::Place)?;
        Ok(desk)
    }

    fn lay_out(&self, content: &[u8]) -> io::Result<()> {
        let mut options = File::options();
        let options = options.write(true).create_new(true).mode(0o600);
        options.open(&self.file)?.write_all(content)
    }

    /// Removes the folder when a signal ends this process. While the editor runs signals are passed
    /// on to it, and the folder goes when it has ended.
    fn watch(&self) -> io::Result<()> {
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2])?;
        let (folder, editing) = (self.folder.clone(), Arc::clone(&self.editing));
        thread::spawn(move || {
            for signal in signals.forever() {
                if !editing.load(Ordering::SeqCst) {
                    let _ = fs::remove_dir_all(&folder);
                    process::exit(128 + signal);
                }
            }
        });
        Ok(())
    }

    /// Runs the editor and returns what is in the file then; `None` when that is `before`.
    pub(crate) fn edit(&self, before: &[u8]) -> Result<Option<SecretBytes>, DeskError> {
        let mut words = editor().map_err(DeskError::Editor)?;
        words.push(self.file.clone().into_os_string());
        self.editing.store(true, Ordering::SeqCst);
        let ran = exec::with_variables(&Program::Words(words), &Setting::default());
        self.editing.store(false, Ordering::SeqCst);
        let failed = |cause: &str| Err(DeskError::Editor(cause.to_owned()));
        match ran {
            Ok(Outcome::Code(0)) => {}
            Ok(Outcome::Code(code)) => return failed(&format!("exit status {code}")),
            Ok(_) => return failed("it was ended by a signal"),
            Err(failure) => return failed(&failure.message),
        }
        let mut after = Zeroizing::new(Vec::new());
        File::open(&self.file)
            .and_then(|mut file| file.read_to_end(&mut after))
            .map_err(DeskError::Unreadable)?;
        if *after == before {
            return Ok(None);
        }
        Ok(Some(SecretBytes::new(std::mem::take(&mut *after))))
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The words of the editor's command line.
fn editor() -> Result<Vec<std::ffi::OsString>, String> {
    for variable in ["SOPS_EDITOR", "EDITOR"] {
        let Some(line) = env::var_os(variable).filter(|line| !line.is_empty()) else {
            continue;
        };
        let words = shlex::split(&line.to_string_lossy()).unwrap_or_default();
        if words.is_empty() {
            return Err(format!("invalid ${variable}: {}", line.to_string_lossy()));
        }
        return Ok(words.into_iter().map(Into::into).collect());
    }
    let folders = env::var_os("PATH").unwrap_or_default();
    let found = EDITORS.iter().find_map(|name| {
        let mut paths = env::split_paths(&folders).map(|folder| folder.join(name));
        paths.find(|path| path.is_file())
    });
    let found = found.ok_or_else(|| {
        format!(
            "no editor available: set SOPS_EDITOR or EDITOR; none of {} could be found",
            EDITORS.join(", ")
        )
    })?;
    Ok(vec![found.into_os_string()])
}

/// What a new file begins as, in the words of the original.
pub(crate) fn example(format: Format) -> &'static str {
    match format {
        Format::Yaml => {
            "hello: Welcome to SOPS! Edit this file as you please!\n\
             example_key: example_value\n\
             # Example comment\n\
             example_array:\n    - example_value1\n    - example_value2\n\
             example_number: 1234.56789\n\
             example_booleans:\n    - true\n    - false\n"
        }
        Format::Json => {
            "{\n\t\"hello\": \"Welcome to SOPS! Edit this file as you please!\",\n\
             \t\"example_key\": \"example_value\",\n\
             \t\"example_array\": [\n\t\t\"example_value1\",\n\t\t\"example_value2\"\n\t],\n\
             \t\"example_number\": 1234.56789,\n\
             \t\"example_booleans\": [\n\t\ttrue,\n\t\tfalse\n\t]\n}\n"
        }
        Format::Dotenv => {
            "# This is an example file.\n\
             hello=Welcome to SOPS! Edit this file as you please!\n\
             example_key=example_value\n\
             example_multiline=foo\\nbar\\nbaz\n"
        }
        Format::Ini => {
            "[Welcome!]\n; This is an example file.\n\
             hello       = Welcome to SOPS! Edit this file as you please!\n\
             example_key = example_value\n"
        }
        Format::Binary => "Welcome to SOPS! Edit this file as you please!",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_are_of_their_format() {
        for format in [Format::Yaml, Format::Json, Format::Dotenv, Format::Ini] {
            assert!(format.parse(example(format)).is_ok(), "{format}");
        }
    }

    #[test]
    fn the_desk_is_private_and_goes() {
        let desk = Desk::with(Path::new("/x/secret.yaml"), b"a: b\n").unwrap();
        let (file, folder) = (desk.file.clone(), desk.folder.clone());
        assert!(file.ends_with("secret.yaml"));
        assert_eq!(fs::read(&file).unwrap(), b"a: b\n");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&file), mode(&folder)), (0o600, 0o700));
        drop(desk);
        assert!(!folder.exists());
    }
}
