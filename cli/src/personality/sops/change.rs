//! Commands that change an encrypted file: `sops rotate`, `set`, `unset` and `groups`.

use std::fs;
use std::io::{self, Read as _};
use std::path::Path;

use jiff::Timestamp;
use selkie_secret::SecretBytes;
use selkie_sops::{
    DataKeyChange, DecryptOptions, Edited, EncryptPlan, ExtractPath, JsonOptions, KeySpec,
    NewValue, NewValueError, OpenFile, RekeyError, Rekeyed, Selection, SetError, SetOptions,
};
use zeroize::Zeroizing;

use super::keys::{Keyring, borrowed};
use super::target::Target;
use super::{Exit, Invocation, told};
use crate::document::{self, Shape};
use crate::file::Secrecy;

impl Invocation {
    pub(super) fn rotate(&self) -> Result<(), Exit> {
        self.first_file()?;
        let target = self.target();
        self.check_outputs()?;
        self.check_keys_of(&target, "use the `edit` subcommand instead.")?;
        let text = self.rotated(&target)?;
        self.write(&target, text.as_bytes(), Secrecy::Sealed)
    }

    /// Refuses to add or remove keys of a file that is not there.
    pub(super) fn check_keys_of(&self, target: &Target, instead: &str) -> Result<(), Exit> {
        let changes = || -> Result<bool, Exit> {
            Ok(self.given_keys("add-")?.is_some() || self.given_keys("rm-")?.is_some())
        };
        if target.exists() || !changes()? {
            return Ok(());
        }
        let name = target.name.display().to_string();
        let message =
            format!("Error: cannot add or remove keys on non-existent file {name:?}, {instead}");
        Err(Exit::Message(49, message))
    }

    pub(super) fn rotated(&self, target: &Target) -> Result<String, Exit> {
        let shape = self.shape(&target.name)?;
        let add = self.given_keys("add-")?.unwrap_or_default();
        let remove = self.given_keys("rm-")?.unwrap_or_default();
        self.rekeyed(target, &shape, &|file, ring, now| {
            let make = |spec: &KeySpec| ring.master_key(spec, now);
            file.rotated(&add, &remove, &make, now)
        })
    }

    pub(super) fn set(&self) -> Result<(), Exit> {
        let (from_file, from_stdin) = (
            self.own.switch("value-file"),
            self.own.switch("value-stdin"),
        );
        if from_file && from_stdin {
            let message = "Error: cannot use both --value-file and --value-stdin";
            return Err(Exit::Message(1, message.to_owned()));
        }
        let count = if from_stdin { 2 } else { 3 };
        if self.own.rest.len() != count {
            let because = match from_stdin {
                true => {
                    "Error: file specified, or index and value are missing. Need precisely 2 \
                         positional arguments since --value-stdin is used."
                }
                false => {
                    "Error: no file specified, or index and value are missing. Need precisely \
                          3 positional arguments."
                }
            };
            return Err(Exit::Message(100, because.to_owned()));
        }
        let target = self.target_of(self.own.rest.first().map(Path::new));
        let shape = self.shape(&target.name)?;
        let path = self.path("Invalid set index format")?;
        let unreadable =
            |error: io::Error| Exit::Message(1, format!("the value cannot be read: {error}"));
        let text = match self.own.rest.get(2) {
            None => {
                let mut bytes = Zeroizing::new(Vec::new());
                io::stdin().read_to_end(&mut bytes).map_err(unreadable)?;
                SecretBytes::new(std::mem::take(&mut *bytes))
            }
            Some(file) if from_file => SecretBytes::new(fs::read(file).map_err(unreadable)?),
            Some(text) => SecretBytes::new(text.to_string_lossy().into_owned().into_bytes()),
        };
        let value = new_value(&text)?;
        let changed = self.value_set(&target, &shape, &path, &value)?;
        match changed {
            Some(text) => self.put(&target, &text),
            None => Ok(()),
        }
    }

    /// The legacy `--set '["path"] value'`.
    pub(super) fn set_legacy(&self, target: &Target) -> Result<String, Exit> {
        let invalid = || Exit::Message(7, "Invalid --set format".to_owned());
        let (path, value) = self.own.text("set").split_once("] ").ok_or_else(invalid)?;
        let value = new_value(&SecretBytes::new(value.as_bytes().to_vec()))?;
        let path: ExtractPath = format!("{path}]").parse().map_err(|_| invalid())?;
        let shape = self.shape(&target.name)?;
        let changed = self.value_set(target, &shape, &path, &value)?;
        // Nothing is idempotent here: the file is written anew in any case.
        changed.ok_or_else(|| Exit::Message(1, "the file did not change".to_owned()))
    }

    pub(super) fn unset(&self) -> Result<(), Exit> {
        if self.own.rest.len() != 2 {
            let message = "Error: no file specified, or index is missing";
            return Err(Exit::Message(100, message.to_owned()));
        }
        let target = self.target_of(self.own.rest.first().map(Path::new));
        let shape = self.shape(&target.name)?;
        let path = self.path("Invalid unset index format")?;
        let changed =
            self.value_changed(&target, &shape, &|file, options| file.unset(&path, options))?;
        match changed {
            Some(text) => self.put(&target, &text),
            None => Ok(()),
        }
    }

    pub(super) fn groups_add(&self) -> Result<(), Exit> {
        if !self.own.rest.is_empty() {
            let message = "error: no positional arguments allowed";
            return Err(Exit::Message(1, message.to_owned()));
        }
        // sops stores a group without a key as well, and the file is lost.
        let group = self.given_keys("")?.unwrap_or_default();
        let threshold = self.threshold()?;
        self.regroup(&|file, ring, now| {
            let make = |spec: &KeySpec| ring.master_key(spec, now);
            file.with_group(&group, threshold, DataKeyChange::Keep, &make, now)
        })
    }

    pub(super) fn groups_delete(&self) -> Result<(), Exit> {
        let [index] = &self.own.rest[..] else {
            let message = "error: exactly one positional argument (index) required";
            return Err(Exit::Message(1, message.to_owned()));
        };
        let index = index.to_string_lossy();
        let index: u32 = index.parse().map_err(|_| {
            Exit::Fatal(format!(
                "failed to parse [index] argument: {index:?} is no number"
            ))
        })?;
        let threshold = self.threshold()?;
        self.regroup(&|file, ring, now| {
            let make = |spec: &KeySpec| ring.master_key(spec, now);
            let index = index as usize;
            file.without_group(index, threshold, DataKeyChange::Keep, &make, now)
        })
    }

    /// Changes the groups of `--file`.
    fn regroup(&self, change: &Rekeying<'_>) -> Result<(), Exit> {
        let target = self.target_of(Some(Path::new(self.own.text("file"))));
        let mut shape = self.shape(&target.name)?;
        shape.output = shape.input;
        // sops has no code of its own here for a file that does not open.
        let text = self
            .rekeyed(&target, &shape, change)
            .map_err(|error| match error {
                Exit::Message(128, message) => Exit::Fatal(message),
                other => other,
            })?;
        self.write(&target, text.as_bytes(), Secrecy::Sealed)
    }

    fn rekeyed(
        &self,
        target: &Target,
        shape: &Shape,
        change: &Rekeying<'_>,
    ) -> Result<String, Exit> {
        let ring = self.keyring(&self.environment.named_keys())?;
        let source = text_of(target)?;
        let file = OpenFile::open(source, shape.input, &ring, &self.opening()?)
            .map_err(|error| told::decrypt(&error, &ring.places()))?;
        let done =
            change(&file, &ring, Timestamp::now()).map_err(|error| told::rekeying(&error))?;
        ring.warn(self.log);
        self.in_shape(done.text, shape, &ring)
    }

    fn value_set(
        &self,
        target: &Target,
        shape: &Shape,
        path: &ExtractPath,
        value: &NewValue,
    ) -> Result<Option<String>, Exit> {
        self.value_changed(target, shape, &|file, options| {
            file.set(path, value, options)
        })
    }

    fn value_changed(
        &self,
        target: &Target,
        shape: &Shape,
        change: &dyn Fn(&OpenFile<'_>, &SetOptions) -> Result<Edited, SetError>,
    ) -> Result<Option<String>, Exit> {
        let opening = self.opening()?;
        let ring = self.keyring(&self.environment.named_keys())?;
        let source = text_of(target)?;
        let file = OpenFile::open(source, shape.input, &ring, &opening)
            .map_err(|error| told::decrypt(&error, &ring.places()))?;
        let options = SetOptions {
            now: Timestamp::now(),
            document: 0,
            idempotent: self.own.switch("idempotent"),
            count_comments: true,
            refuse_clear: false,
        };
        match change(&file, &options).map_err(|error| told::setting(&error, &ring.places()))? {
            Edited::Unchanged => Ok(None),
            Edited::Changed(text) => self.in_shape(text, shape, &ring).map(Some),
        }
    }

    /// Writes an encrypted text in the output format.
    pub(super) fn in_shape(
        &self,
        text: String,
        shape: &Shape,
        ring: &Keyring,
    ) -> Result<String, Exit> {
        if shape.input == shape.output {
            return Ok(text);
        }
        let options = DecryptOptions::default();
        let file = OpenFile::open(&text, shape.input, ring, &options)
            .map_err(|error| told::decrypt(&error, &ring.places()))?;
        let keys = file.keys();
        let now = Timestamp::now();
        let masters = ring.masters(&keys.groups, now)?;
        let plan = EncryptPlan {
            groups: borrowed(&masters),
            threshold: keys.threshold,
            selection: Selection::default(),
            mac_only_encrypted: false,
            whole_mac: false,
            now,
        };
        document::rewrite(&file, shape, plan).map_err(|error| told::encrypting(&error))
    }

    /// Writes an encrypted text in the place of the file.
    pub(super) fn put(&self, target: &Target, text: &str) -> Result<(), Exit> {
        target.replace(text.as_bytes(), Secrecy::Sealed)?;
        self.log.info("File written successfully");
        Ok(())
    }

    fn path(&self, invalid: &str) -> Result<ExtractPath, Exit> {
        let path = self.own.rest.get(1);
        let path = path.map(|path| path.to_string_lossy()).unwrap_or_default();
        path.parse()
            .map_err(|_| Exit::Message(7, invalid.to_owned()))
    }
}

/// A change of the keys of an open file.
type Rekeying<'a> = dyn Fn(&OpenFile<'_>, &Keyring, Timestamp) -> Result<Rekeyed, RekeyError> + 'a;

/// The text of an encrypted file.
pub(super) fn text_of(target: &Target) -> Result<&str, Exit> {
    std::str::from_utf8(target.bytes()?)
        .map_err(|error| Exit::Message(1, format!("Error unmarshalling input: {error}")))
}

fn new_value(text: &SecretBytes) -> Result<NewValue, Exit> {
    let refused = |message: &str| Exit::Message(7, message.to_owned());
    let text = std::str::from_utf8(text.expose())
        .map_err(|_| refused("Value for --set is not valid JSON"))?;
    NewValue::parse(text, JsonOptions { as_sops: true }).map_err(|error| match error {
        NewValueError::List => refused("Invalid --set value format"),
        _ => refused("Value for --set is not valid JSON"),
    })
}
