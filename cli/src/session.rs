//! What the files of one run share: clients, identities, the time; and one file that is worked on.

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use selkie_keys::{KeyContext, master_key};
use selkie_sops::{
    DecryptError, DecryptOptions, FileStatus, Format, KeySpec, MasterKey, OpenFile, WrapError,
};

use crate::environment::Environment;
use crate::explain;
use crate::failure::Failure;
use crate::file::{self, Input, Secrecy, Source};
use crate::keys::{Clients, Keys};

/// One run. Nothing in it connects anywhere before a key is used.
pub(crate) struct Session {
    pub(crate) clients: Arc<Clients>,
    pub(crate) keys: Keys,
    pub(crate) now: Timestamp,
    context: KeyContext,
}

impl Session {
    /// `given` are the keys that flags and variables name.
    pub(crate) fn new(environment: &Environment, given: &[KeySpec]) -> Result<Self, Failure> {
        let clients = Clients::new(environment, given)?;
        let now = Timestamp::now();
        Ok(Self {
            keys: Keys::collect(environment, &clients),
            context: clients.context(now),
            clients,
            now,
        })
    }

    /// Makes what wraps for a key.
    pub(crate) fn make(&self, spec: &KeySpec) -> Result<Box<dyn MasterKey>, WrapError> {
        match master_key(spec, &self.context) {
            Ok(key) => Ok(key),
            Err(error) => Err(WrapError {
                kind: spec.kind(),
                id: spec.identity(),
                reason: error.to_string(),
            }),
        }
    }
}

/// A file of secrets that was read.
pub(crate) struct Document {
    pub(crate) input: Input,
    pub(crate) format: Format,
}

impl Document {
    /// Reads a file, as `format` or as what its name says.
    pub(crate) fn read(path: &Path, format: Option<Format>) -> Result<Self, Failure> {
        let input = file::read(&Source::File(path.to_owned()))?;
        input.text()?;
        Ok(Self {
            input,
            format: format.unwrap_or_else(|| Format::of_path(&path.to_string_lossy())),
        })
    }

    pub(crate) fn text(&self) -> &str {
        // Checked when it was read.
        self.input.text().unwrap_or_default()
    }

    /// Returns what the file says about itself.
    pub(crate) fn status(&self) -> Result<FileStatus, DecryptError> {
        selkie_sops::status(self.text(), self.format)
    }

    /// Refuses a file that is not encrypted.
    pub(crate) fn check_encrypted(&self) -> Result<FileStatus, Failure> {
        let status = self.status();
        status.map_err(|error| explain::not_encrypted(&error).of_format(self.format))
    }

    pub(crate) fn open(
        &self,
        session: &Session,
        ignore_mac: bool,
    ) -> Result<OpenFile<'_>, Failure> {
        let options = DecryptOptions {
            ignore_mac,
            ..session.keys.opening()
        };
        OpenFile::open(self.text(), self.format, &session.keys, &options)
            .map_err(|error| explain::decrypt(&error, &session.keys).of_format(self.format))
    }

    /// Puts other ciphertext in the place of the file.
    pub(crate) fn replace(&self, text: &str) -> Result<(), Failure> {
        self.input.replace(text.as_bytes(), Secrecy::Sealed)
    }
}

impl Document {
    /// Refuses what cannot be replaced, before any work is done.
    pub(crate) fn check_replaceable(&self) -> Result<(), Failure> {
        self.input.check_replaceable()
    }

    /// Returns a warning when the file, which was replaced, has other names that keep the old content.
    pub(crate) fn hard_link_warning(&self) -> Option<String> {
        self.input.hard_link_warning()
    }

    /// The same for a file that would be replaced.
    pub(crate) fn hard_link_notice(&self) -> Option<String> {
        self.input.hard_link_notice()
    }
}
