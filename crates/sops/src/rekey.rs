//! Other keys for an encrypted file: rotation, the keys of a creation rule, key groups
//! (sops-format.md 10, 19).

use std::fmt;

use selkie_text::{self as text, Edits, NodeId, Stream};
use sha2::{Digest as _, Sha256};

use crate::access::{self, LostAccess};
use crate::block::Block;
use crate::cipher::{Cipher, Ivs, Kind};
use crate::data_key::{self, GroupError, Wrapped};
use crate::decrypt::{self, DecryptError, DecryptOptions};
use crate::edit::{self, OpenFile};
use crate::encrypt::EncryptError;
use crate::format::Format;
use crate::key_map::KeyMap;
use crate::key_spec::KeySpec;
use crate::keys::{DataKey, KeyEntry, KeyKind, MasterKey, WrapError};
use crate::mac::Mac;
use crate::metadata::{self, Metadata, MetadataError};
use crate::open::{self, MacError, OpenError, Opened};
use crate::selection::Selection;
use crate::tree::{self, TreeError, What};
use crate::whole_mac;

/// Gives the master key that a spec names.
pub type MasterKeyOf<'a> = dyn Fn(&KeySpec) -> Result<Box<dyn MasterKey>, WrapError> + 'a;

/// The keys that a file shall have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyTarget {
    /// The key groups; one unless the data key is split.
    pub groups: Vec<Vec<KeySpec>>,
    /// How many groups are needed to decrypt; all where it is absent. Of no meaning for one group.
    pub threshold: Option<usize>,
}

/// Whether the values are encrypted anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataKeyChange {
    /// The data key stays: who had it keeps it.
    Keep,
    /// A new data key; every value and comment is encrypted anew.
    Renew,
    /// A new data key if the change [narrows](KeyChanges::narrows) who can read the file, else the old
    /// one.
    RenewIfNarrowed,
}

/// What a change of keys means.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyChanges {
    /// Each group, as many as the longer of the two lists has.
    pub groups: Vec<GroupChange>,
    /// The threshold before and after; 0 where there is one group. Before, 2 where a file of several has
    /// none: nobody knows then.
    pub threshold: (usize, usize),
    /// Keys that are in no group any more.
    pub removed: Vec<KeySpec>,
    /// Who could open the file, alone or together, and no longer can.
    pub lost: Option<LostAccess>,
}

/// The keys of one group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupChange {
    /// Keys that were there and stay.
    pub kept: Vec<KeySpec>,
    /// New keys.
    pub added: Vec<KeySpec>,
    /// Keys that go.
    pub removed: Vec<KeySpec>,
}

impl KeyChanges {
    /// Returns whether every group has the same keys as before, and the threshold is the same.
    pub fn is_empty(&self) -> bool {
        let same = |group: &GroupChange| group.added.is_empty() && group.removed.is_empty();
        self.groups.iter().all(same) && self.threshold.0 == self.threshold.1
    }

    /// Returns whether somebody who could read the file no longer shall: by a key that is gone, moved to
    /// another group or left in fewer of them, by a higher threshold, or by one more group that is
    /// needed. Only a new data key keeps from him what comes later.
    pub fn narrows(&self) -> bool {
        !self.removed.is_empty() || self.lost.is_some()
    }

    pub(crate) fn between(
        before: &[Vec<KeySpec>],
        old_threshold: usize,
        target: &KeyTarget,
    ) -> Self {
        let count = before.len().max(target.groups.len());
        let group = |number: usize| {
            let old = before.get(number).map_or(&[][..], Vec::as_slice);
            let new = target.groups.get(number).map_or(&[][..], Vec::as_slice);
            let (was, is) = (KeyMap::of(old), KeyMap::of(new));
            let (kept, removed) = old.iter().cloned().partition(|spec| is.contains(spec));
            GroupChange {
                kept,
                added: new
                    .iter()
                    .filter(|key| !was.contains(key))
                    .cloned()
                    .collect(),
                removed,
            }
        };
        let all = KeyMap::of(target.groups.iter().flatten());
        let goes = |key: &&KeySpec| !all.contains(key);
        let threshold = |asked: usize, groups: usize, absent: usize| match groups {
            0 | 1 => 0,
            _ if asked == 0 => absent,
            _ => asked,
        };
        let new_threshold = target.threshold.unwrap_or(0);
        let old = KeyTarget {
            groups: before.to_vec(),
            threshold: Some(old_threshold),
        };
        Self {
            lost: access::lost_access(&old, target),
            groups: (0..count).map(group).collect(),
            threshold: (
                threshold(old_threshold, before.len(), 2),
                threshold(new_threshold, target.groups.len(), target.groups.len()),
            ),
            removed: before.iter().flatten().filter(goes).cloned().collect(),
        }
    }
}

/// sops compares keys by their text form (sops-format.md 8). A key of an Azure vault that names no
/// version is the same as the one in any: its newest version is looked up when something is wrapped.
pub(crate) fn same(one: &KeySpec, two: &KeySpec) -> bool {
    if let (
        KeySpec::AzureKv {
            vault_url: vault,
            name,
            version,
        },
        KeySpec::AzureKv {
            vault_url: other_vault,
            name: other_name,
            version: other_version,
        },
    ) = (one, two)
        && (version.is_none() || other_version.is_none())
    {
        return vault == other_vault && name == other_name;
    }
    one.kind() == two.kind() && one.identity() == two.identity()
}

/// A file with other keys.
#[derive(Clone)]
pub struct Rekeyed {
    /// The whole file.
    pub text: String,
    /// What changed.
    pub changes: KeyChanges,
    /// Whether the data key is a new one.
    pub renewed: bool,
}

impl fmt::Debug for Rekeyed {
    /// Leaves the text out: its clear part is nobody's business in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rekeyed")
            .field("changes", &self.changes)
            .field("renewed", &self.renewed)
            .finish_non_exhaustive()
    }
}

/// Why the keys are not changed. No variant holds a value of the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RekeyError {
    /// A key that cannot wrap, an empty group, a threshold that does not fit.
    #[error(transparent)]
    Groups(#[from] GroupError),
    /// Every key would go.
    #[error("this would remove the last key of the file, so nobody could decrypt it")]
    LastKey,
    /// There is no such group.
    #[error("there is no key group {index}: the file has {groups} (positions start at 0)")]
    NoGroup {
        /// The position asked for.
        index: usize,
        /// How many groups there are.
        groups: usize,
    },
    /// Without the group the threshold could never be met.
    #[error(
        "without this key group {groups} would be left, but the Shamir threshold is {threshold}, so \
         nobody could decrypt the file; give a new threshold as well"
    )]
    ThresholdStays {
        /// The threshold of the file.
        threshold: usize,
        /// How many groups would be left.
        groups: usize,
    },
    /// The metadata cannot be read.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// The result would not open again. Nothing was written.
    #[error(transparent)]
    Write(#[from] EncryptError),
}

/// Says what another set of keys would change; needs no key.
///
/// The threshold that the file has stays where `target` gives none, but is at most the number of
/// groups, as `sops updatekeys` has it.
pub fn key_changes(
    source: &str,
    format: Format,
    target: &KeyTarget,
) -> Result<KeyChanges, DecryptError> {
    let stream = format.parse(source)?;
    let metadata = Metadata::read(&stream)?;
    Ok(KeyChanges::between(
        &specs(&metadata),
        metadata.threshold,
        &with_threshold(target, metadata.threshold),
    ))
}

/// Returns whether a text is an encrypted file: its metadata loads and has a version and a MAC
/// (sops-format.md 19, `filestatus`).
pub fn is_encrypted(source: &str, format: Format) -> bool {
    let Ok(stream) = format.parse(source) else {
        return false;
    };
    let metadata = Metadata::read(&stream);
    metadata.is_ok_and(|metadata| !metadata.version.is_empty() && !metadata.mac.is_empty())
}

/// An encrypted value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncryptedLeaf {
    /// Its path, for a message.
    pub path: String,
    /// Its 1-based line.
    pub line: usize,
}

/// Returns the values that whoever had the data key could read: those to replace at their source
/// when a key was removed. Needs no key.
pub fn encrypted_leaves(source: &str, format: Format) -> Result<Vec<EncryptedLeaf>, DecryptError> {
    let stream = format.parse(source)?;
    let metadata = Metadata::read(&stream)?;
    let mut leaves = Vec::new();
    tree::walk(&stream, &metadata.selection, |leaf| {
        if let What::Scalar(node) = leaf.what {
            let text = &stream.node(node).value;
            let comment = leaf.in_sequence && text.trim_end().ends_with(",type:comment]");
            if leaf.selected && open::looks_encrypted(text) && !comment {
                leaves.push(EncryptedLeaf {
                    path: leaf.path(),
                    line: leaf.line(),
                });
            }
        }
        Ok::<(), TreeError>(())
    })?;
    Ok(leaves)
}

pub(crate) fn specs(metadata: &Metadata) -> Vec<Vec<KeySpec>> {
    let group = |entries: &Vec<KeyEntry>| entries.iter().map(KeySpec::of_entry).collect();
    metadata.groups.iter().map(group).collect()
}

pub(crate) fn with_threshold(target: &KeyTarget, old: usize) -> KeyTarget {
    let kept = Some(old.min(target.groups.len())).filter(|threshold| *threshold > 0);
    KeyTarget {
        groups: target.groups.clone(),
        threshold: target.threshold.or(kept),
    }
}

impl OpenFile<'_> {
    /// Returns the keys that the file has.
    pub fn keys(&self) -> KeyTarget {
        let threshold = self.metadata.threshold;
        KeyTarget {
            groups: specs(&self.metadata),
            threshold: Some(threshold).filter(|threshold| *threshold > 0),
        }
    }

    /// Says what other keys mean for the file, as [`with_keys`](Self::with_keys) takes them.
    pub fn key_changes(&self, target: &KeyTarget) -> KeyChanges {
        let threshold = self.metadata.threshold;
        let target = with_threshold(target, threshold);
        KeyChanges::between(&specs(&self.metadata), threshold, &target)
    }

    /// Returns whether its MACs confirm the file as it was opened: false where that was done in spite
    /// of them.
    pub fn is_confirmed(&self) -> bool {
        !self.ignore_mac
    }

    /// Gives the file a new data key, wrapped for its keys with `add` in the first group and without
    /// `remove` in any, as `sops rotate`.
    pub fn rotated(
        &self,
        add: &[KeySpec],
        remove: &[KeySpec],
        make: &MasterKeyOf<'_>,
        now: jiff::Timestamp,
    ) -> Result<Rekeyed, RekeyError> {
        let mut target = self.keys();
        for spec in add {
            let Some(first) = target.groups.first_mut() else {
                return Err(RekeyError::LastKey);
            };
            if !first.iter().any(|other| same(other, spec)) {
                first.push(spec.clone());
            }
        }
        for group in &mut target.groups {
            group.retain(|spec| !remove.iter().any(|other| same(other, spec)));
        }
        if target.groups.iter().all(Vec::is_empty) {
            return Err(RekeyError::LastKey);
        }
        self.rekeyed(&target, DataKeyChange::Renew, make, now)
    }

    /// Gives the file the keys of `target`, as `sops updatekeys`; `None` when it has them already.
    ///
    /// Without a threshold in `target` that of the file stays, at most the number of groups.
    pub fn with_keys(
        &self,
        target: &KeyTarget,
        data_key: DataKeyChange,
        make: &MasterKeyOf<'_>,
        now: jiff::Timestamp,
    ) -> Result<Option<Rekeyed>, RekeyError> {
        if self.key_changes(target).is_empty() && data_key != DataKeyChange::Renew {
            return Ok(None);
        }
        let target = with_threshold(target, self.metadata.threshold);
        self.rekeyed(&target, data_key, make, now).map(Some)
    }

    /// Adds a key group; the data key is split anew over all of them.
    pub fn with_group(
        &self,
        group: &[KeySpec],
        threshold: Option<usize>,
        data_key: DataKeyChange,
        make: &MasterKeyOf<'_>,
        now: jiff::Timestamp,
    ) -> Result<Rekeyed, RekeyError> {
        let mut target = self.keys();
        target.groups.push(group.to_vec());
        target.threshold = threshold.or(target.threshold);
        self.rekeyed(&target, data_key, make, now)
    }

    /// Takes the key group at a position, counted from 0, out.
    pub fn without_group(
        &self,
        index: usize,
        threshold: Option<usize>,
        data_key: DataKeyChange,
        make: &MasterKeyOf<'_>,
        now: jiff::Timestamp,
    ) -> Result<Rekeyed, RekeyError> {
        let mut target = self.keys();
        let groups = target.groups.len();
        if index >= groups {
            return Err(RekeyError::NoGroup { index, groups });
        }
        if groups == 1 {
            return Err(RekeyError::LastKey);
        }
        target.groups.remove(index);
        let left = target.groups.len();
        if let (None, Some(stays)) = (threshold, target.threshold)
            && stays > left
        {
            return Err(RekeyError::ThresholdStays {
                threshold: stays,
                groups: left,
            });
        }
        target.threshold = threshold.or(target.threshold);
        self.rekeyed(&target, data_key, make, now)
    }

    /// Wraps the data key, or a new one, for the keys of `target`. Every key must be able to wrap.
    pub fn rekeyed(
        &self,
        target: &KeyTarget,
        data_key: DataKeyChange,
        make: &MasterKeyOf<'_>,
        now: jiff::Timestamp,
    ) -> Result<Rekeyed, RekeyError> {
        let threshold = self.metadata.threshold;
        let changes = KeyChanges::between(&specs(&self.metadata), threshold, target);
        let renewed = match data_key {
            DataKeyChange::Keep => false,
            DataKeyChange::Renew => true,
            DataKeyChange::RenewIfNarrowed => changes.narrows(),
        };
        let fresh = DataKey::generate().map_err(GroupError::from)?;
        let key = if renewed { &fresh } else { &self.key };
        let cipher = Cipher::new(key);
        let wrapped = self.wrap(key, renewed, target, make)?;
        let mut block = self.block.clone();
        block.set_groups(&self.metadata.groups, &wrapped);
        let reencrypted = match renewed {
            true => Some(self.reencrypted(&cipher)?),
            false => None,
        };
        let text = reencrypted.as_deref().unwrap_or(self.source);
        let format = self.format;
        let text = replace_block(text, format, &block, &self.metadata.selection)?;
        // Unless a value changed, the MAC and its time stay as they are.
        let confirm = self.whole_mac_holds()?;
        let text = if renewed {
            edit::sign(&text, format, &cipher, now, confirm)?
        } else if confirm {
            whole_mac::seal(text, format, key)?
        } else {
            // Opened though its MACs do not confirm it: it must not become a file that they confirm.
            text
        };
        let stale = self.metadata.whole_mac.is_some() && !confirm;
        self.check_same(&text, &cipher, self.ignore_mac && (!renewed || stale))?;
        Ok(Rekeyed {
            text,
            changes,
            renewed,
        })
    }

    /// Returns whether the file's whole-file MAC confirms it as it was opened.
    pub(crate) fn whole_mac_holds(&self) -> Result<bool, EncryptError> {
        let Some(stored) = &self.metadata.whole_mac else {
            return Ok(false);
        };
        if !self.ignore_mac {
            // Else it would not have opened.
            return Ok(true);
        }
        let stream = self.format.parse(self.source)?;
        let without = whole_mac::Without::default();
        Ok(whole_mac::compare(&stream, self.format, stored, &self.key, &without).is_ok())
    }

    /// Refuses a text that does not open to the values of this file.
    pub(crate) fn check_same(
        &self,
        text: &str,
        cipher: &Cipher<'_>,
        ignore_mac: bool,
    ) -> Result<(), EncryptError> {
        let failed = |error: DecryptError| EncryptError::SelfCheck(error.to_string());
        let old = Cipher::new(&self.key);
        let before = opened(self.source, self.format, &old, true).map_err(failed)?;
        match opened(text, self.format, cipher, ignore_mac).map_err(failed)? == before {
            true => Ok(()),
            false => Err(EncryptError::SelfCheck("other values".to_owned())),
        }
    }

    /// Wraps for every key. The entry of a key that was there before keeps all but what was wrapped, and
    /// with a new data key its time; where the same data key was wrapped whole for it, it stays as it is.
    fn wrap(
        &self,
        key: &DataKey,
        renewed: bool,
        target: &KeyTarget,
        make: &MasterKeyOf<'_>,
    ) -> Result<Wrapped, RekeyError> {
        let old = |spec: &KeySpec| {
            let mut entries = self.metadata.keys();
            entries.find(|entry| same(&KeySpec::of_entry(entry), spec))
        };
        let whole = !renewed && self.metadata.groups.len() == 1 && target.groups.len() == 1;
        let mut masters: Vec<Vec<Box<dyn MasterKey>>> = Vec::new();
        for group in &target.groups {
            let specs = group.iter();
            let masters_of_group = specs.map(|spec| match old(spec) {
                Some(entry) if whole => Ok(Box::new(Kept::new(entry, spec)) as Box<dyn MasterKey>),
                _ => make(spec),
            });
            let group: Result<_, WrapError> = masters_of_group.collect();
            masters.push(group.map_err(GroupError::from)?);
        }
        let masters: Vec<Vec<&dyn MasterKey>> = masters
            .iter()
            .map(|group| group.iter().map(AsRef::as_ref).collect())
            .collect();
        let mut wrapped = data_key::wrap(key, &masters, target.threshold)?;
        for entry in wrapped.groups.iter_mut().flatten() {
            let Some(old) = old(&KeySpec::of_entry(entry)) else {
                continue;
            };
            let mut kept = old.clone();
            let new = |name: &str| entry.field(name).map(str::to_owned);
            let mut take = |name: &str| {
                let place = kept.fields.iter_mut().find(|(known, _)| known == name);
                let taken = place.zip(new(name)).map(|((_, text), new)| *text = new);
                taken.is_some()
            };
            if !take("enc") {
                continue;
            }
            if renewed {
                // sops keeps the time, and nobody can tell then how old the data key is. What the kind
                // has no time for (age) must not keep that of the old one.
                if !take("created_at") {
                    kept.fields.retain(|(name, _)| name != "created_at");
                }
            }
            *entry = kept;
        }
        Ok(wrapped)
    }

    /// Encrypts every value and comment in its place under another data key.
    fn reencrypted(&self, cipher: &Cipher<'_>) -> Result<String, EncryptError> {
        let stream = self.format.parse(self.source)?;
        let old = Cipher::new(&self.key);
        let rule = &self.metadata.selection;
        let mut ivs = Ivs::new();
        let mut edits = Edits::new();
        let failed = |error: &dyn fmt::Display| EncryptError::SelfCheck(error.to_string());
        tree::walk(&stream, rule, |leaf| {
            let opened =
                open::open(&stream, &leaf, &old).map_err(|error: OpenError| failed(&error))?;
            if leaf.alias.is_some() {
                // Encrypted where it stands.
                return Ok(());
            }
            let comment_token = |text: &[u8], ivs: &mut Ivs| {
                let token = cipher.encrypt(text, leaf.aad, Kind::Comment, ivs)?;
                if rule.marks_ciphertext(&token) {
                    return Err(EncryptError::MarkerMatchesCiphertext { line: leaf.line() });
                }
                Ok(token)
            };
            match opened {
                Opened::Value(node, value, plain) => {
                    let token = cipher.encrypt(&plain, leaf.aad, value.kind(), &mut ivs)?;
                    set_token(&stream, &mut edits, node, &token);
                }
                Opened::Element(node, text) => {
                    let token = comment_token(text.as_bytes(), &mut ivs)?;
                    set_token(&stream, &mut edits, node, &token);
                }
                Opened::Comment(comment, text) => {
                    let token = comment_token(text.as_bytes(), &mut ivs)?;
                    text::set_comment(&stream, &mut edits, comment, &token);
                }
                Opened::ClearComment(comment) => {
                    let text = stream.comment_text(comment);
                    // What was damaged is lost under any key.
                    if !open::looks_encrypted(&text) {
                        let token = comment_token(text.as_bytes(), &mut ivs)?;
                        text::set_comment(&stream, &mut edits, comment, &token);
                    }
                }
                Opened::Kept(_) | Opened::KeptComment => {}
                Opened::Clear(..) => {
                    let what = format!("line {}: {} is clear", leaf.line(), leaf.path());
                    return Err(EncryptError::SelfCheck(what));
                }
            }
            Ok::<(), EncryptError>(())
        })?;
        let mut text = edits
            .try_apply(self.source)
            .map_err(|error| failed(&error))?;
        Ok(std::mem::take(&mut *text))
    }
}

/// Puts a token in the place of another one, whatever is around it: quotes, a block, the mark of a
/// text that was plain.
fn set_token(stream: &Stream<'_>, edits: &mut Edits, node: NodeId, token: &str) {
    let found = stream.node(node);
    let old = found.value.trim_end();
    // All but the last bracket, which may be an escape.
    let (old, new) = (&old[..old.len() - 1], &token[..token.len() - 1]);
    match stream.source()[found.span.clone()].find(old) {
        Some(at) if found.value.trim_end().ends_with(']') => {
            let start = found.span.start + at;
            edits.replace(start..start + old.len(), new);
        }
        _ => text::set_token(stream, edits, node, token, true),
    }
}

/// Writes another metadata block into every document that has one.
pub(crate) fn replace_block(
    source: &str,
    format: Format,
    block: &Block,
    rule: &Selection,
) -> Result<String, EncryptError> {
    let failed = |error: &dyn fmt::Display| EncryptError::SelfCheck(error.to_string());
    let stream = format.parse(source)?;
    let bare = decrypt::without_blocks(&stream, rule).map_err(|error| failed(&error))?;
    let stream = format.parse(&bare)?;
    let mut edits = Edits::new();
    metadata::append(&stream, &mut edits, &block.to_value(), block.indent)?;
    let mut text = edits.try_apply(&bare).map_err(|error| failed(&error))?;
    Ok(std::mem::take(&mut *text))
}

/// Returns a digest of what every leaf of an encrypted file opens to, and the MAC's verdict.
fn opened(
    source: &str,
    format: Format,
    cipher: &Cipher<'_>,
    ignore_mac: bool,
) -> Result<[u8; 32], DecryptError> {
    let stream = format.parse(source)?;
    let metadata = Metadata::read(&stream)?;
    let mut mac = Mac::new(metadata.mac_only_encrypted);
    let mut hash = Sha256::new();
    tree::walk(&stream, &metadata.selection, |leaf| {
        let mut add = |kind: u8, text: &[u8]| {
            for part in [leaf.aad.as_bytes(), &[kind], text] {
                hash.update((part.len() as u64).to_le_bytes());
                hash.update(part);
            }
        };
        match open::open(&stream, &leaf, cipher)? {
            Opened::Value(_, value, plain) => {
                mac.add(&value, true);
                add(value.kind() as u8, &plain);
            }
            Opened::Kept(Some(value)) => {
                mac.add(&value, leaf.selected);
                add(value.kind() as u8, &value.bytes());
            }
            Opened::Kept(None) => add(u8::MAX, &[]),
            // Whether a comment was clear before does not count: it is encrypted now.
            Opened::Comment(_, text) | Opened::Element(_, text) => {
                add(Kind::Comment as u8, text.as_bytes());
            }
            Opened::ClearComment(comment) => {
                add(Kind::Comment as u8, stream.comment_text(comment).as_bytes());
            }
            Opened::KeptComment => {}
            Opened::Clear(..) => {
                return Err(DecryptError::Clear {
                    path: leaf.path(),
                    line: leaf.line(),
                });
            }
        }
        Ok::<(), DecryptError>(())
    })?;
    if !ignore_mac {
        open::check_mac(&metadata, cipher, &mac.finish())?;
        let options = DecryptOptions::default();
        whole_mac::check(&stream, format, &metadata, cipher, &options).map_err(MacError::from)?;
    }
    Ok(hash.finalize().into())
}

/// A master key whose entry for the data key is there already.
struct Kept {
    entry: KeyEntry,
    id: String,
}

impl Kept {
    fn new(entry: &KeyEntry, spec: &KeySpec) -> Self {
        Self {
            entry: entry.clone(),
            id: spec.identity(),
        }
    }
}

impl MasterKey for Kept {
    fn kind(&self) -> KeyKind {
        self.entry.kind
    }

    fn id(&self) -> &str {
        &self.id
    }

    fn wrap(&self, _: &[u8]) -> Result<KeyEntry, WrapError> {
        Ok(self.entry.clone())
    }
}

#[cfg(test)]
#[path = "rekey_tests.rs"]
mod tests;
