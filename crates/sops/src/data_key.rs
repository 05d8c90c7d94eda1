//! Wrapping a data key for the key groups of a file, and recovering it (sops-format.md 7.4, 10).

use std::str::FromStr;

use zeroize::Zeroizing;

use crate::key_spec::KeySpec;
use crate::keys::{
    DATA_KEY_LEN, DataKey, DataKeyLengthError, DataKeySource, KeyEntry, KeyKind, MasterKey,
    RandomError, UnwrapError, WrapError,
};
use crate::metadata::Metadata;
use crate::shamir::{self, MAX_SHARES, ShamirError};

/// Which types of keys are tried first within each group; others come after, in file order (7.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecryptionOrder(Vec<KeyKind>);

/// A type stands twice in a decryption order.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the decryption order names {0:?} twice")]
pub struct DecryptionOrderError(pub String);

impl FromStr for DecryptionOrder {
    type Err = DecryptionOrderError;

    /// Parses a comma-separated list of type names; unknown names have no effect.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let names: Vec<&str> = text.split(',').map(str::trim).collect();
        if let Some((_, name)) = names
            .iter()
            .enumerate()
            .find(|(i, name)| names[..*i].contains(name))
        {
            return Err(DecryptionOrderError((*name).to_owned()));
        }
        Ok(Self(
            names.into_iter().filter_map(KeyKind::of_name).collect(),
        ))
    }
}

impl Default for DecryptionOrder {
    /// `age,pgp`, as in sops.
    fn default() -> Self {
        Self(vec![KeyKind::Age, KeyKind::Pgp])
    }
}

impl DecryptionOrder {
    fn place(&self, kind: KeyKind) -> usize {
        let place = self.0.iter().position(|listed| *listed == kind);
        place.unwrap_or(self.0.len())
    }
}

/// Why a data key cannot be wrapped for key groups.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GroupError {
    /// There is no group, or no group has a key.
    #[error("no recipient is given, so nobody could decrypt the file")]
    None,
    /// A group has no key, so its share would be lost.
    #[error("key group {0} has no key; give it one, or take the group out")]
    Empty(usize),
    /// More groups than there are shares.
    #[error("{0} key groups are more than the {MAX_SHARES} that one data key can be split over")]
    TooMany(usize),
    /// A threshold that cannot be met, or that makes sharing pointless.
    #[error(
        "a Shamir threshold of {threshold} does not fit {groups} key groups; \
         it must be between 2 and {groups}"
    )]
    Threshold {
        /// The threshold asked for.
        threshold: usize,
        /// How many groups there are.
        groups: usize,
    },
    /// A recipient refused.
    #[error(transparent)]
    Wrap(#[from] WrapError),
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] RandomError),
}

/// A wrapped data key: the entries of each group, and the threshold to store.
#[derive(Debug, Clone)]
pub(crate) struct Wrapped {
    pub(crate) groups: Vec<Vec<KeyEntry>>,
    /// 0 where there is one group.
    pub(crate) threshold: usize,
}

/// Returns the threshold that `asked` means for so many groups: all of them where it is absent or 0.
pub(crate) fn threshold(asked: Option<usize>, groups: usize) -> Result<usize, GroupError> {
    if groups < 2 {
        return Ok(0);
    }
    if groups > MAX_SHARES {
        return Err(GroupError::TooMany(groups));
    }
    match asked.unwrap_or(0) {
        0 => Ok(groups),
        threshold if (2..=groups).contains(&threshold) => Ok(threshold),
        threshold => Err(GroupError::Threshold { threshold, groups }),
    }
}

/// Says whether a data key can be wrapped for these groups; asks no key.
pub fn check_groups(groups: &[Vec<KeySpec>], threshold: Option<usize>) -> Result<(), GroupError> {
    check_sizes(groups, threshold).map(|_| ())
}

fn check_sizes<T>(groups: &[Vec<T>], asked: Option<usize>) -> Result<usize, GroupError> {
    if groups.iter().all(Vec::is_empty) {
        return Err(GroupError::None);
    }
    if let Some(empty) = groups.iter().position(Vec::is_empty) {
        return Err(GroupError::Empty(empty + 1));
    }
    threshold(asked, groups.len())
}

/// Wraps a data key: whole for the keys of one group, a share of it for each of several (10).
pub(crate) fn wrap(
    key: &DataKey,
    groups: &[Vec<&dyn MasterKey>],
    asked: Option<usize>,
) -> Result<Wrapped, GroupError> {
    let threshold = check_sizes(groups, asked)?;
    let shares = match groups.len() {
        1 => vec![Zeroizing::new(key.expose().to_vec())],
        count => shamir::split(key.expose(), count, threshold)?,
    };
    let mut wrapped = Vec::with_capacity(groups.len());
    for (group, share) in groups.iter().zip(&shares) {
        let entries = group.iter().map(|recipient| recipient.wrap(share));
        wrapped.push(entries.collect::<Result<_, _>>()?);
    }
    Ok(Wrapped {
        groups: wrapped,
        threshold,
    })
}

/// Why the data key was not recovered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoDataKey {
    /// No entry of the metadata yields it.
    #[error("no identity fits; the file is encrypted for {}", list(.attempts))]
    NoIdentity {
        /// Each entry that was tried, in order, and why it did not help.
        attempts: Vec<(KeyEntry, UnwrapError)>,
    },
    /// It is split over several groups, of which too few gave their share.
    #[error(
        "{found} of the {needed} shares of the data key found ({of} key groups); {}",
        short(.groups)
    )]
    Shares {
        /// How many groups gave a share.
        found: usize,
        /// How many are needed.
        needed: usize,
        /// How many groups the file has.
        of: usize,
        /// The groups that gave none, by their 1-based number, with what was tried.
        groups: Vec<(usize, Vec<(KeyEntry, UnwrapError)>)>,
    },
    /// The shares do not belong together.
    #[error("the shares of the key groups give no data key: {0}")]
    Shamir(#[from] ShamirError),
    /// What the shares give is no data key.
    #[error(transparent)]
    Length(#[from] DataKeyLengthError),
}

fn list(attempts: &[(KeyEntry, UnwrapError)]) -> String {
    let each: Vec<String> = attempts
        .iter()
        .map(|(entry, error)| match error {
            UnwrapError::NotMine => format!("{} {}", entry.kind, entry.id()),
            other => format!("{} {} ({other})", entry.kind, entry.id()),
        })
        .collect();
    each.join(", ")
}

fn short(groups: &[(usize, Vec<(KeyEntry, UnwrapError)>)]) -> String {
    let each = groups.iter().map(|(number, attempts)| match attempts[..] {
        [] => format!("group {number} has no key"),
        _ => format!("no identity fits group {number}: {}", list(attempts)),
    });
    each.collect::<Vec<_>>().join("; ")
}

/// Recovers the data key of a file.
///
/// Without `order`, entries that the source says it fits come first, then age, then pgp; with one,
/// its types come first in every group. Of several groups, those with a fitting entry are opened
/// first, and only as many as the threshold needs.
pub(crate) fn recover(
    metadata: &Metadata,
    source: &dyn DataKeySource,
    order: Option<&DecryptionOrder>,
) -> Result<DataKey, NoDataKey> {
    let groups = &metadata.groups;
    let [group] = &groups[..] else {
        return recover_shares(metadata, source, order);
    };
    match unwrap_one(group, DATA_KEY_LEN, source, order) {
        Ok(secret) => Ok(DataKey::from_bytes(&secret)?),
        Err(attempts) => Err(NoDataKey::NoIdentity { attempts }),
    }
}

fn recover_shares(
    metadata: &Metadata,
    source: &dyn DataKeySource,
    order: Option<&DecryptionOrder>,
) -> Result<DataKey, NoDataKey> {
    let of = metadata.groups.len();
    let needed = match metadata.threshold {
        0 => of,
        threshold => threshold.max(2),
    };
    let mut numbered: Vec<(usize, &Vec<KeyEntry>)> = (1..).zip(&metadata.groups).collect();
    numbered.sort_by_key(|(_, group)| !group.iter().any(|entry| source.fits(entry)));
    let mut shares: Vec<Zeroizing<Vec<u8>>> = Vec::new();
    let mut short = Vec::new();
    for (number, group) in numbered {
        if shares.len() >= needed {
            break;
        }
        match unwrap_one(group, DATA_KEY_LEN + 1, source, order) {
            Ok(share) => shares.push(share),
            Err(attempts) => short.push((number, attempts)),
        }
    }
    // Without a stored threshold nobody knows how many are needed: sops tries what it has.
    let unknown = metadata.threshold == 0 && shares.len() > 1;
    if shares.len() < needed && !unknown {
        short.sort_by_key(|(number, _)| *number);
        return Err(NoDataKey::Shares {
            found: shares.len(),
            needed,
            of,
            groups: short,
        });
    }
    Ok(DataKey::from_bytes(&shamir::combine(&shares)?)?)
}

/// Unwraps one entry of a group: a secret of `length` bytes.
fn unwrap_one(
    group: &[KeyEntry],
    length: usize,
    source: &dyn DataKeySource,
    order: Option<&DecryptionOrder>,
) -> Result<Zeroizing<Vec<u8>>, Vec<(KeyEntry, UnwrapError)>> {
    let default = DecryptionOrder::default();
    let mut entries: Vec<&KeyEntry> = group.iter().collect();
    entries.sort_by_key(|entry| match order {
        Some(order) => (order.place(entry.kind), usize::from(!source.fits(entry))),
        None => (usize::from(!source.fits(entry)), default.place(entry.kind)),
    });
    let mut attempts = Vec::new();
    for entry in entries {
        match source.unwrap_key(entry) {
            Ok(secret) if secret.len() == length => return Ok(secret),
            Ok(secret) => {
                let reason = format!(
                    "what it wraps has {} bytes instead of {length}; the entry is damaged",
                    secret.len()
                );
                attempts.push((entry.clone(), UnwrapError::Failed(reason)));
            }
            Err(error) => attempts.push((entry.clone(), error)),
        }
    }
    Err(attempts)
}

#[cfg(test)]
#[path = "data_key_tests.rs"]
mod tests;
