//! `sops edit`: the clear text of a file in the user's editor (sops-format.md 19).

use std::fs::{self, File};
use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{env, process, thread};

use jiff::Timestamp;
use selkie_secret::SecretBytes;
use selkie_sops::{
    DataKeyChange, EditOptions, Edited, Format, KeySpec, KeyTarget, OpenFile, key_changes,
};
use selkie_text::{Edits, Value};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use zeroize::Zeroizing;

use super::change::text_of;
use super::target::Target;
use super::{Exit, Invocation, told};
use crate::document::Shape;
use crate::exec::{self, Outcome, Program, Setting};

/// The editors that are looked for when no variable names one.
const EDITORS: [&str; 3] = ["vim", "nano", "vi"];

const AGAIN: &str = "Press enter to return to the editor, or Ctrl+C to exit.";

impl Invocation {
    pub(super) fn edit(&self) -> Result<(), Exit> {
        self.first_file()?;
        let target = self.target();
        self.edit_target(&target)
    }

    /// Edits a file, or makes one from an example.
    pub(super) fn edit_target(&self, target: &Target) -> Result<(), Exit> {
        let shape = self.shape(&target.name)?;
        let text = match target.exists() {
            true => self.edited(target, &shape)?,
            false => self.edited_example(target, &shape)?,
        };
        self.put(target, &text)
    }

    fn edited(&self, target: &Target, shape: &Shape) -> Result<String, Exit> {
        let ring = self.keyring(&self.environment.named_keys())?;
        let opening = self.opening()?;
        let source = text_of(target)?;
        let file = OpenFile::open(source, shape.input, &ring, &opening)
            .map_err(|error| told::decrypt(&error, &ring.places()))?;
        let shown = match self.own.switch("show-master-keys") {
            true => with_metadata(&file, source, shape.input)?,
            false => None,
        };
        let before = match &shown {
            Some(text) => text.as_bytes(),
            None => file.plain(),
        };
        let desk = Desk::with(&target.name, before)?;
        loop {
            let after = desk.edit(before)?;
            let now = Timestamp::now();
            let options = EditOptions {
                now,
                raise_version: true,
            };
            let done = match &shown {
                None => file
                    .edited(after.expose(), &options)
                    .map_err(|error| told::editing(&error, &ring.places())),
                Some(_) => self.with_edited_keys(&file, &after, shape.input, &ring, &options),
            };
            match done {
                Ok(Edited::Changed(text)) => return self.in_shape(text, shape, &ring),
                Ok(Edited::Unchanged) => return Err(unchanged()),
                Err(error) => self.offer_again(error)?,
            }
        }
    }

    /// Applies a text that shows the metadata: the values, then the keys where they are others.
    fn with_edited_keys(
        &self,
        file: &OpenFile<'_>,
        after: &SecretBytes,
        format: Format,
        ring: &super::keys::Keyring,
        options: &EditOptions,
    ) -> Result<Edited, Exit> {
        let (plain, wish) = split_metadata(file, after, format)?;
        let changed = file
            .edited(plain.as_bytes(), options)
            .map_err(|error| told::editing(&error, &ring.places()))?;
        let text = match (changed, wish == file.keys()) {
            (Edited::Changed(text), true) => return Ok(Edited::Changed(text)),
            (Edited::Unchanged, true) => return Ok(Edited::Unchanged),
            (Edited::Changed(text), false) => Some(text),
            (Edited::Unchanged, false) => None,
        };
        let make = |spec: &KeySpec| ring.master_key(spec, options.now);
        let keep = DataKeyChange::Keep;
        let done = match &text {
            None => file.with_keys(&wish, keep, &make, options.now),
            Some(text) => {
                let changed = OpenFile::open(text, format, ring, &Default::default())
                    .map_err(|error| told::decrypt(&error, &ring.places()))?;
                changed.with_keys(&wish, keep, &make, options.now)
            }
        };
        match (done.map_err(|error| told::rekeying(&error))?, text) {
            (Some(done), _) => Ok(Edited::Changed(done.text)),
            (None, Some(text)) => Ok(Edited::Changed(text)),
            (None, None) => Ok(Edited::Unchanged),
        }
    }

    fn edited_example(&self, target: &Target, shape: &Shape) -> Result<String, Exit> {
        let recipe = self.recipe(target, shape)?;
        let example = example(shape.input).as_bytes();
        // Before the editor, so that no work is lost on a key that cannot be used.
        self.encrypt_by(&recipe, example, shape)?;
        let desk = Desk::with(&target.name, example)?;
        loop {
            let after = desk.edit(example)?;
            match self.encrypt_by(&recipe, after.expose(), shape) {
                Ok(text) => return Ok(text),
                Err(error) => self.offer_again(error)?,
            }
        }
    }

    /// Says what is wrong with the text and waits for the user to go back to it; without one the
    /// run ends.
    fn offer_again(&self, error: Exit) -> Result<(), Exit> {
        if !io::stdin().is_terminal() {
            return Err(error);
        }
        self.log
            .error(&format!("Could not load tree: {error}. {AGAIN}"));
        let mut answer = String::new();
        match io::stdin().read_line(&mut answer) {
            Ok(0) | Err(_) => Err(error),
            Ok(_) => Ok(()),
        }
    }
}

fn unchanged() -> Exit {
    Exit::Message(200, "File has not changed, exiting.".to_owned())
}

/// The clear text on its way to the editor and back: a file for this user alone, in memory where the
/// system has such a place, that goes with this value or with the process.
struct Desk {
    folder: PathBuf,
    file: PathBuf,
    editing: Arc<AtomicBool>,
}

impl Desk {
    fn with(name: &Path, content: &[u8]) -> Result<Self, Exit> {
        let failed = |error: &io::Error| {
            Exit::Message(3, format!("Could not create temporary file: {error}"))
        };
        let folder = tempfile::Builder::new()
            .prefix(".sops-edit-")
            .permissions(fs::Permissions::from_mode(0o700))
            .tempdir_in(parent())
            .map_err(|error| failed(&error))?;
        let folder = folder.keep();
        let desk = Self {
            file: folder.join(name.file_name().unwrap_or("file".as_ref())),
            folder,
            editing: Arc::default(),
        };
        desk.watch().map_err(|error| failed(&error))?;
        let mut options = File::options();
        let file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&desk.file);
        file.and_then(|mut file| file.write_all(content))
            .map_err(|error| failed(&error))?;
        Ok(desk)
    }

    /// Removes the folder when a signal ends this process. While the editor runs signals are its own.
    fn watch(&self) -> io::Result<()> {
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
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

    /// Runs the editor and returns what is in the file then.
    fn edit(&self, before: &[u8]) -> Result<SecretBytes, Exit> {
        let failed = |cause: &dyn std::fmt::Display| {
            Exit::Message(201, format!("Could not run editor: {cause}"))
        };
        let mut words = editor().map_err(|error| failed(&error))?;
        words.push(self.file.clone().into_os_string());
        self.editing.store(true, Ordering::SeqCst);
        let ran = exec::with_variables(&Program::Words(words), &Setting::default());
        self.editing.store(false, Ordering::SeqCst);
        match ran {
            Ok(Outcome::Code(0)) => {}
            Ok(Outcome::Code(code)) => return Err(failed(&format!("exit status {code}"))),
            Ok(_) => return Err(failed(&"it was ended by a signal")),
            Err(failure) => return Err(failed(&failure.message)),
        }
        let mut after = Zeroizing::new(Vec::new());
        File::open(&self.file)
            .and_then(|mut file| file.read_to_end(&mut after))
            .map_err(|error| Exit::Message(2, format!("Could not read edited file: {error}")))?;
        if *after == before {
            return Err(unchanged());
        }
        Ok(SecretBytes::new(std::mem::take(&mut *after)))
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Where memory takes the place of a disk; else the folder for temporary files.
fn parent() -> PathBuf {
    let places = [env::var_os("XDG_RUNTIME_DIR"), Some("/dev/shm".into())];
    let usable = |path: &PathBuf| tempfile::tempfile_in(path).is_ok();
    let mut places = places.into_iter().flatten().map(PathBuf::from);
    places.find(usable).unwrap_or_else(env::temp_dir)
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

/// The clear text with the metadata of the file behind it; `None` for a binary file, which has no
/// place for it.
fn with_metadata(
    file: &OpenFile<'_>,
    source: &str,
    format: Format,
) -> Result<Option<Zeroizing<String>>, Exit> {
    let failed = |error: &dyn std::fmt::Display| Exit::Message(4, error.to_string());
    let Ok(plain) = std::str::from_utf8(file.plain()) else {
        return Ok(None);
    };
    if format == Format::Binary {
        return Ok(None);
    }
    let encrypted = format.parse(source).map_err(|error| failed(&error))?;
    let document = encrypted.to_value(0).map_err(|error| failed(&error))?;
    let Some(Value::Map(entries)) = document else {
        return Ok(None);
    };
    let stream = format.parse(plain).map_err(|error| failed(&error))?;
    let mut edits = Edits::new();
    for (key, value) in entries {
        if is_metadata(&key, format) {
            selkie_text::append_entry(&stream, &mut edits, 0, &key, &value, INDENT)
                .map_err(|error| failed(&error))?;
        }
    }
    let mut text = edits.try_apply(plain).map_err(|error| failed(&error))?;
    Ok(Some(Zeroizing::new(std::mem::take(&mut *text))))
}

/// Columns per level of the metadata.
const INDENT: usize = 4;

fn is_metadata(key: &str, format: Format) -> bool {
    match format {
        Format::Dotenv => key.starts_with("sops_"),
        _ => key == "sops",
    }
}

/// Takes the metadata out of an edited text again, and reads the keys in it.
fn split_metadata(
    file: &OpenFile<'_>,
    after: &SecretBytes,
    format: Format,
) -> Result<(Zeroizing<String>, KeyTarget), Exit> {
    let failed = |error: &dyn std::fmt::Display| {
        Exit::Message(2, format!("SOPS metadata is invalid: {error}"))
    };
    let text = std::str::from_utf8(after.expose()).map_err(|error| failed(&error))?;
    let changes = key_changes(text, format, &file.keys()).map_err(|error| failed(&error))?;
    // The changes lead from the edited keys to those of the file.
    let groups = changes.groups.iter().map(|group| {
        let keys = group.kept.iter().chain(&group.removed);
        keys.cloned().collect::<Vec<_>>()
    });
    let groups: Vec<Vec<KeySpec>> = groups.filter(|group| !group.is_empty()).collect();
    let wish = KeyTarget {
        groups,
        threshold: Some(changes.threshold.0).filter(|threshold| *threshold > 0),
    };
    let stream = format.parse(text).map_err(|error| failed(&error))?;
    let mut edits = Edits::new();
    for document in 0..stream.documents().len() {
        let value = stream.to_value(document).map_err(|error| failed(&error))?;
        let Some(Value::Map(entries)) = value else {
            continue;
        };
        for (key, _) in entries {
            if is_metadata(&key, format) {
                selkie_text::remove_entry(&stream, &mut edits, document, &key)
                    .map_err(|error| failed(&error))?;
            }
        }
    }
    let mut plain = edits.try_apply(text).map_err(|error| failed(&error))?;
    Ok((Zeroizing::new(std::mem::take(&mut *plain)), wish))
}

/// What a new file begins as, in the words of the original.
fn example(format: Format) -> &'static str {
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
