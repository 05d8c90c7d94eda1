//! The clear text of a file with its metadata behind it, in which keys can be changed by hand: what
//! `edit --show-keys` shows (sops-format.md 19).

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use selkie_secret::SecretBytes;
use selkie_sops::{
    AfreshError, DataKeyChange, DataKeySource, DecryptError, EditError, EditOptions, Edited,
    EncryptError, EncryptPlan, Encryption, Format, KeyChanges, KeyKind, KeyTarget, MasterKey,
    MasterKeyOf, OpenFile, RekeyError, SelectionChange, SelectionSettings, encrypt,
    selection_change, status,
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
    #[error(
        "{} of the metadata cannot be changed here: keys can be added and taken out, and \
         shamir_threshold (of several groups), the rule and mac_only_encrypted be changed",
        .0.join(", ")
    )]
    Fixed(Vec<String>),
    #[error(
        "another rule encrypts the file anew, and its MAC was ignored: open it without --ignore-mac first"
    )]
    Unconfirmed,
    #[error(transparent)]
    Afresh(#[from] AfreshError),
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
    /// What another rule put into clear.
    pub(crate) shows: SelectionChange,
}

/// What wraps and unwraps data keys.
pub(crate) struct Ring<'a> {
    pub(crate) source: &'a dyn DataKeySource,
    pub(crate) make: &'a MasterKeyOf<'a>,
    /// What becomes of the data key where the keys change.
    pub(crate) change: DataKeyChange,
}

/// Applies a text that shows the metadata, which was `before`: the values, then the keys where they are
/// others. Another rule encrypts the whole file anew. Any other change of the metadata is refused.
pub(crate) fn apply(
    file: &OpenFile<'_>,
    before: &str,
    after: &SecretBytes,
    format: Format,
    ring: &Ring<'_>,
    options: &EditOptions,
) -> Result<Applied, ShownKeysError> {
    let (plain, wish) = split(after, format)?;
    let shown = Shown::of(before, format)?;
    let now_shown = std::str::from_utf8(after.expose()).unwrap_or_default();
    let now_shown = Shown::of(now_shown, format)?;
    let changed = shown.changed(&now_shown);
    let same_keys = wish == file.keys();
    let fixed = changed.iter().filter(|name| match name.as_str() {
        name if is_rule(name) => false,
        // Entries that were changed, and still are the same keys.
        name if is_of_keys(name) => same_keys,
        _ => true,
    });
    let fixed: Vec<String> = fixed.cloned().collect();
    if !fixed.is_empty() {
        return Err(ShownKeysError::Fixed(fixed));
    }
    if changed.iter().any(|name| is_rule(name)) {
        let changes = (!same_keys).then(|| file.key_changes(&wish));
        let done = anew(file, &plain, &wish, &now_shown, format, ring, options);
        return done.map(|(text, shows)| Applied {
            edited: Edited::Changed(text),
            changes,
            renewed: true,
            shows,
        });
    }
    let edited = file.edited(plain.as_bytes(), options)?;
    let unchanged_keys = Applied {
        edited,
        changes: None,
        renewed: false,
        shows: SelectionChange::default(),
    };
    if same_keys {
        return Ok(unchanged_keys);
    }
    let now: Timestamp = options.now;
    let done = match &unchanged_keys.edited {
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
            shows: SelectionChange::default(),
        },
        None => unchanged_keys,
    })
}

/// Encrypts the clear text anew: for these keys, by the rule that the metadata shows. Returns with it
/// what is in clear now.
fn anew(
    file: &OpenFile<'_>,
    plain: &str,
    wish: &KeyTarget,
    shown: &Shown,
    format: Format,
    ring: &Ring<'_>,
    options: &EditOptions,
) -> Result<(String, SelectionChange), ShownKeysError> {
    if !file.is_confirmed() {
        return Err(ShownKeysError::Unconfirmed);
    }
    file.check_afresh()?;
    let invalid = |error: &dyn std::fmt::Display| ShownKeysError::Invalid(error.to_string());
    let of = |error: EncryptError| ShownKeysError::Edit(error.into());
    let settings = SelectionSettings {
        unencrypted_suffix: shown.text("unencrypted_suffix")?,
        encrypted_suffix: shown.text("encrypted_suffix")?,
        unencrypted_regex: shown.text("unencrypted_regex")?,
        encrypted_regex: shown.text("encrypted_regex")?,
        unencrypted_comment_regex: shown.text("unencrypted_comment_regex")?,
        encrypted_comment_regex: shown.text("encrypted_comment_regex")?,
    };
    let selection = settings.compile().map_err(|error| invalid(&error))?;
    let selection = selection.ok_or_else(|| {
        invalid(&"it has no rule; unencrypted_suffix: _unencrypted is the usual one")
    })?;
    let shows = selection_change(plain, format, file.selection(), &selection)?;
    let mut keys: Vec<Vec<Box<dyn MasterKey>>> = Vec::new();
    for group in &wish.groups {
        let made = group.iter().map(|spec| (ring.make)(spec));
        let made: Result<_, _> = made.collect();
        keys.push(made.map_err(|error| ShownKeysError::Rekey(RekeyError::Groups(error.into())))?);
    }
    let groups = keys
        .iter()
        .map(|group| group.iter().map(|key| &**key).collect());
    let plan = EncryptPlan {
        groups: groups.collect(),
        threshold: wish.threshold,
        selection,
        mac_only_encrypted: shown.is_true("mac_only_encrypted")?,
        whole_mac: file.has_whole_mac(),
        now: options.now,
    };
    match encrypt(plain, format, &plan).map_err(of)? {
        Encryption::Encrypted(done) => Ok((done.text, shows)),
        Encryption::AlreadyEncrypted(_) => Err(invalid(&"the text has metadata of its own")),
    }
}

/// Fields of the metadata that say what is encrypted.
fn is_rule(name: &str) -> bool {
    let rule = [
        "unencrypted_suffix",
        "encrypted_suffix",
        "unencrypted_regex",
        "encrypted_regex",
        "unencrypted_comment_regex",
        "encrypted_comment_regex",
        "mac_only_encrypted",
    ];
    rule.contains(&name)
}

/// Fields of the metadata that say for whom.
fn is_of_keys(name: &str) -> bool {
    let of_groups = ["key_groups", "shamir_threshold"].contains(&name);
    of_groups || KeyKind::ALL.iter().any(|kind| kind.name() == name)
}

/// The metadata of a text, field by field, by their names in lower case: one value each, or those that
/// a flattened one has.
struct Shown(BTreeMap<String, Vec<(String, Value)>>);

impl Shown {
    fn of(text: &str, format: Format) -> Result<Self, ShownKeysError> {
        let invalid = |error: &dyn std::fmt::Display| ShownKeysError::Invalid(error.to_string());
        let stream = format.parse(text).map_err(|error| invalid(&error))?;
        let mut fields: BTreeMap<String, Vec<(String, Value)>> = BTreeMap::new();
        let mut add = |name: String, value: Value| {
            let field = name.split("__").next().unwrap_or_default();
            let field = field.to_ascii_lowercase();
            fields.entry(field).or_default().push((name, value));
        };
        for document in 0..stream.documents().len() {
            let value = stream.to_value(document).map_err(|error| invalid(&error))?;
            let Some(Value::Map(entries)) = value else {
                continue;
            };
            for (key, value) in entries {
                match (value, key.strip_prefix("sops_")) {
                    (Value::Map(block), _) if is_metadata(&key, format) => {
                        block.into_iter().for_each(|(name, value)| add(name, value));
                    }
                    (value, Some(name)) if format == Format::Dotenv => add(name.to_owned(), value),
                    _ => {}
                }
            }
        }
        fields
            .values_mut()
            .for_each(|field| field.sort_by(|one, two| one.0.cmp(&two.0)));
        Ok(Self(fields))
    }

    /// Returns the names of the fields that differ.
    fn changed(&self, other: &Self) -> BTreeSet<String> {
        let names = self.0.keys().chain(other.0.keys());
        let differs = |name: &&String| self.0.get(*name) != other.0.get(*name);
        names.filter(differs).cloned().collect()
    }

    fn text(&self, name: &str) -> Result<Option<String>, ShownKeysError> {
        match self.0.get(name).map(Vec::as_slice) {
            None | Some([(_, Value::Null)]) => Ok(None),
            Some([(_, Value::Str(text) | Value::Quoted(text) | Value::Raw(text))]) => {
                Ok(Some(text.clone()))
            }
            _ => Err(ShownKeysError::Invalid(format!("{name} is not a text"))),
        }
    }

    fn is_true(&self, name: &str) -> Result<bool, ShownKeysError> {
        let word = match self.0.get(name).map(Vec::as_slice) {
            None => return Ok(false),
            Some([(_, Value::Bool(value))]) => return Ok(*value),
            _ => self.text(name)?,
        };
        match word.as_deref() {
            Some("true") => Ok(true),
            None | Some("false") => Ok(false),
            _ => Err(ShownKeysError::Invalid(format!(
                "{name} is not true or false"
            ))),
        }
    }
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
    after: &SecretBytes,
    format: Format,
) -> Result<(Zeroizing<String>, KeyTarget), ShownKeysError> {
    let failed = |error: &dyn std::fmt::Display| ShownKeysError::Invalid(error.to_string());
    let text = std::str::from_utf8(after.expose()).map_err(|error| failed(&error))?;
    let mut wish = status(text, format).map_err(|error| failed(&error))?.keys;
    wish.groups.retain(|group| !group.is_empty());
    // One group has none.
    wish.threshold = wish.threshold.filter(|_| wish.groups.len() > 1);
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
