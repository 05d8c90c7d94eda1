//! `sops edit`: the clear text of a file in the user's editor (sops-format.md 19).

use std::io::{self, IsTerminal as _};

use jiff::Timestamp;
use selkie_secret::SecretBytes;
use selkie_sops::{DataKeyChange, EditOptions, Edited, KeySpec, OpenFile};

use super::change::text_of;
use super::target::Target;
use super::{Exit, Invocation, told};
use crate::document::Shape;
use crate::editor::{Desk, DeskError, example};
use crate::shown_keys::{self, Ring, ShownKeysError};

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
            true => shown_keys::shown(&file, source, shape.input)
                .map_err(|error| told_of_keys(&error, &ring.places()))?,
            false => None,
        };
        let before = match &shown {
            Some(text) => text.as_bytes(),
            None => file.plain(),
        };
        let desk = Desk::with(&target.name, before).map_err(|error| told_of_desk(&error))?;
        loop {
            let after = edited(&desk, before)?;
            let options = EditOptions {
                now: Timestamp::now(),
                raise_version: true,
            };
            let done = match &shown {
                None => file
                    .edited(after.expose(), &options)
                    .map_err(|error| told::editing(&error, &ring.places())),
                Some(before) => {
                    let make = |spec: &KeySpec| ring.master_key(spec, options.now);
                    let keys = Ring {
                        source: &ring,
                        make: &make,
                        change: DataKeyChange::Keep,
                    };
                    shown_keys::apply(&file, before, &after, shape.input, &keys, &options)
                        .map(|applied| applied.edited)
                        .map_err(|error| told_of_keys(&error, &ring.places()))
                }
            };
            match done {
                Ok(Edited::Changed(text)) => return self.in_shape(text, shape, &ring),
                Ok(Edited::Unchanged) => return Err(unchanged()),
                Err(error) => self.offer_again(error)?,
            }
        }
    }

    fn edited_example(&self, target: &Target, shape: &Shape) -> Result<String, Exit> {
        let recipe = self.recipe(target, shape)?;
        let example = example(shape.input).as_bytes();
        // Before the editor, so that no work is lost on a key that cannot be used.
        self.encrypt_by(&recipe, example, shape)?;
        let desk = Desk::with(&target.name, example).map_err(|error| told_of_desk(&error))?;
        loop {
            let after = edited(&desk, example)?;
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

/// What comes back from the editor.
fn edited(desk: &Desk, before: &[u8]) -> Result<SecretBytes, Exit> {
    let after = desk.edit(before).map_err(|error| told_of_desk(&error))?;
    after.ok_or_else(unchanged)
}

fn told_of_desk(error: &DeskError) -> Exit {
    match error {
        DeskError::Place(error) => {
            Exit::Message(3, format!("Could not create temporary file: {error}"))
        }
        DeskError::Editor(error) => Exit::Message(201, format!("Could not run editor: {error}")),
        DeskError::Unreadable(error) => {
            Exit::Message(2, format!("Could not read edited file: {error}"))
        }
    }
}

fn told_of_keys(error: &ShownKeysError, places: &str) -> Exit {
    match error {
        ShownKeysError::Unwritable(error) => Exit::Message(4, error.clone()),
        ShownKeysError::Invalid(_)
        | ShownKeysError::Fixed(_)
        | ShownKeysError::Afresh(_)
        | ShownKeysError::Unconfirmed => Exit::Message(2, error.to_string()),
        ShownKeysError::Edit(error) => told::editing(error, places),
        ShownKeysError::Open(error) => told::decrypt(error, places),
        ShownKeysError::Rekey(error) => told::rekeying(error),
    }
}
