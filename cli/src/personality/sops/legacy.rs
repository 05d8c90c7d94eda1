//! The command line without a command: `sops -d file` and its like (sops-cli.md 1.2).

use super::{Exit, Invocation};
use crate::file::Secrecy;

impl Invocation {
    pub(super) fn legacy(&self) -> Result<(), Exit> {
        let decrypts = self.own.switch("decrypt");
        let encrypts = self.own.switch("encrypt");
        let rotates = self.own.switch("rotate");
        let sets = !self.own.text("set").is_empty();
        let edits = !(decrypts || encrypts || rotates || sets);
        self.first_file()?;
        let target = self.target();
        self.check_outputs()?;
        self.check_keys_of(&target, "use `--kms` and `--pgp` instead.")?;
        if encrypts || decrypts || rotates {
            self.check_exists(&target)?;
        }
        if [decrypts, encrypts, rotates, sets]
            .iter()
            .filter(|is| **is)
            .count()
            > 1
        {
            self.log.warn(
                "More than one command (--encrypt, --decrypt, --rotate, --set) has been specified. \
                 Only the changes made by the last one will be visible. Note that this behavior is \
                 deprecated and will cause an error eventually.",
            );
        }
        // As the original: the rule must be there although it is not needed.
        if encrypts || rotates || sets || edits {
            self.rule(&target)?;
        }
        if edits {
            return self.edit_target(&target);
        }
        let mut output = None;
        let mut secrecy = Secrecy::Sealed;
        if encrypts {
            match self.encrypted(&target) {
                Ok(text) => output = Some(text.into_bytes().into()),
                // What another command makes takes its place.
                Err(error) if !decrypts && !rotates && !sets => return Err(error),
                Err(_) => {}
            }
        }
        if decrypts {
            secrecy = Secrecy::Clear;
            output = match self.decrypted(&target) {
                Ok(plain) => Some(plain),
                Err(error) if !rotates && !sets => return Err(error),
                Err(_) => None,
            };
        }
        if rotates {
            secrecy = Secrecy::Sealed;
            output = Some(self.rotated(&target)?.into_bytes().into());
        }
        if sets {
            let text = self.set_legacy(&target)?;
            return self.put(&target, &text);
        }
        match output {
            Some(output) => self.write(&target, output.expose(), secrecy),
            None => Ok(()),
        }
    }
}
