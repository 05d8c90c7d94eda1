//! `sops encrypt`, `sops decrypt` and `sops filestatus`.

use std::path::Path;

use selkie_secret::SecretBytes;
use selkie_sops::{ExtractPath, Format};

use super::target::Target;
use super::{Exit, Invocation, told};
use crate::document;
use crate::file::Secrecy;

impl Invocation {
    pub(super) fn encrypt(&self) -> Result<(), Exit> {
        if self.own.rest.is_empty() {
            self.refuse_in_place_of_stdin()?;
            if self.own.text("filename-override").is_empty() {
                let message = "Error: must specify --filename-override when reading from stdin";
                return Err(Exit::Message(8, message.to_owned()));
            }
        }
        let target = self.target();
        self.check_outputs()?;
        self.check_exists(&target)?;
        let text = self.encrypted(&target)?;
        self.write(&target, text.as_bytes(), Secrecy::Sealed)
    }

    pub(super) fn decrypt(&self) -> Result<(), Exit> {
        if self.own.rest.is_empty() {
            self.refuse_in_place_of_stdin()?;
        }
        let target = self.target();
        self.check_outputs()?;
        self.check_exists(&target)?;
        let plain = self.decrypted(&target)?;
        self.write(&target, plain.expose(), Secrecy::Clear)
    }

    pub(super) fn filestatus(&self) -> Result<(), Exit> {
        let file = self.first_file()?;
        let target = self.target_of(Some(Path::new(file)));
        let format = self.shape(&target.name)?.input;
        let failed = |cause: &dyn std::fmt::Display| {
            Exit::Fatal(format!(
                "cannot check file status: cannot load encrypted file: {cause}"
            ))
        };
        let bytes = target.bytes().map_err(|error| match error {
            Exit::Message(_, message) => failed(&message),
            other => other,
        })?;
        let text = std::str::from_utf8(bytes).map_err(|error| failed(&error))?;
        format.parse(text).map_err(|error| failed(&error))?;
        let encrypted = selkie_sops::is_encrypted(text, format);
        self.print(format!("{{\"encrypted\":{encrypted}}}\n").as_bytes())
    }

    /// Encrypts the input by flags and rules.
    pub(super) fn encrypted(&self, target: &Target) -> Result<String, Exit> {
        let shape = self.shape(&target.name)?;
        let recipe = self.recipe(target, &shape)?;
        self.encrypt_by(&recipe, target.bytes()?, &shape)
    }

    /// Decrypts the input, or what `--extract` names of it.
    pub(super) fn decrypted(&self, target: &Target) -> Result<SecretBytes, Exit> {
        let mut shape = self.shape(&target.name)?;
        let options = self.opening()?;
        let path = match self.own.text("extract") {
            "" => None,
            path => Some(path.parse::<ExtractPath>().map_err(|error| {
                Exit::Message(91, format!("error parsing --extract path: {error}"))
            })?),
        };
        // Binary output holds no tree to take a part from.
        if path.is_some() && shape.output == Format::Binary {
            shape.output = shape.input;
        }
        let ring = self.keyring(&self.environment.named_keys())?;
        let told = |error| told::decrypting(&error, &ring.places());
        let source = target.bytes()?;
        let plain = document::decrypt(source, &shape, &ring, &options).map_err(told)?;
        ring.warn(self.log);
        for warning in &plain.warnings {
            self.log.warn(&warning.to_string());
        }
        match path {
            None => Ok(plain.bytes),
            Some(path) => document::extract(plain.bytes.expose(), &shape, &path).map_err(told),
        }
    }

    /// Returns the first positional argument.
    pub(super) fn first_file(&self) -> Result<&std::ffi::OsStr, Exit> {
        match self.own.rest.first() {
            Some(file) => Ok(file),
            None => Err(Exit::Message(100, "Error: no file specified".to_owned())),
        }
    }

    fn refuse_in_place_of_stdin(&self) -> Result<(), Exit> {
        if self.own.switch("in-place") {
            let message = "Error: cannot use --in-place when reading from stdin";
            return Err(Exit::Message(8, message.to_owned()));
        }
        Ok(())
    }
}
