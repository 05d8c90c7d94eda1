//! The clear text of a file with its metadata behind it, in which keys can be changed by hand: what
//! `edit --show-keys` shows (sops-format.md 19).

use jiff::Timestamp;
use selkie_secret::SecretBytes;
use selkie_sops::{
    DataKeyChange, DataKeySource, DecryptError, EditError, EditOptions, Edited, Format, KeyChanges,
    KeySpec, KeyTarget, MasterKeyOf, OpenFile, RekeyError, key_changes,
};
use selkie_text::{Edits, Value};
use zeroize::Zeroizing;

/// Why a text with metadata is not applied. No variant holds a value of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ShownKeysError {
    #[error("the keys of the file cannot be shown: {0}")]
    Unwritable(String),
    #[error("SOPS metadata is invalid: {0}")]
    Invalid(String),
    #[error(transparent)]
    Edit(#[from] EditError),
    #[error(transparent)]
    Open(#[from] DecryptError),
    #[error(transparent)]
    Rekey(#[from] RekeyError),
}

/// What a changed text leads to.
pub(crate) struct Applied {
    pub(crate) edited: Edited,
    /// What became of the keys, where they changed.
    pub(crate) changes: Option<KeyChanges>,
    /// Whether there is a new data key.
    pub(crate) renewed: bool,
}

/// What wraps and unwraps data keys.
pub(crate) struct Ring<'a> {
    pub(crate) source: &'a dyn DataKeySource,
    pub(crate) make: &'a MasterKeyOf<'a>,
    /// What becomes of the data key where the keys change.
    pub(crate) change: DataKeyChange,
}

/// Applies a text that shows the metadata: the values, then the keys where they are others.
pub(crate) fn apply(
    file: &OpenFile<'_>,
    after: &SecretBytes,
    format: Format,
    ring: &Ring<'_>,
    options: &EditOptions,
) -> Result<Applied, ShownKeysError> {
    let (plain, wish) = split(file, after, format)?;
    let edited = file.edited(plain.as_bytes(), options)?;
    let same_keys = Applied {
        edited,
        changes: None,
        renewed: false,
    };
    if wish == file.keys() {
        return Ok(same_keys);
    }
    let now: Timestamp = options.now;
    let done = match &same_keys.edited {
        Edited::Unchanged => file.with_keys(&wish, ring.change, ring.make, now)?,
        Edited::Changed(text) => {
            let changed = OpenFile::open(text, format, ring.source, &Default::default())?;
            changed.with_keys(&wish, ring.change, ring.make, now)?
        }
    };
    Ok(match done {
        Some(done) => Applied {
            edited: Edited::Changed(done.text),
            changes: Some(done.changes),
            renewed: done.renewed,
        },
        None => same_keys,
    })
}

/// The clear text with the metadata of the file behind it; `None` for a binary file, which has no
/// place for it.
pub(crate) fn shown(
    file: &OpenFile<'_>,
    source: &str,
    format: Format,
) -> Result<Option<Zeroizing<String>>, ShownKeysError> {
    let failed = |error: &dyn std::fmt::Display| ShownKeysError::Unwritable(error.to_string());
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
fn split(
    file: &OpenFile<'_>,
    after: &SecretBytes,
    format: Format,
) -> Result<(Zeroizing<String>, KeyTarget), ShownKeysError> {
    let failed = |error: &dyn std::fmt::Display| ShownKeysError::Invalid(error.to_string());
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
