//! Keys found by what they are compared by, without comparing each with each.

use std::collections::HashMap;

use crate::key_spec::KeySpec;
use crate::keys::KeyKind;

/// Numbers by keys: a key has those of all keys that are the [same](crate::rekey::same).
///
/// A file of somebody else may have 50,000 entries, and nobody waits for 50,000 times as many comparisons.
#[derive(Default)]
pub(crate) struct KeyMap {
    /// Of the keys that equal none but themselves.
    exact: HashMap<(KeyKind, String), Vec<usize>>,
    /// Of the keys of Azure vaults, by vault and name: those that name no version, and all.
    unversioned: HashMap<(String, String), Vec<usize>>,
    versions: HashMap<(String, String), Vec<usize>>,
}

impl KeyMap {
    /// Numbers keys by their place.
    pub(crate) fn of<'k>(keys: impl IntoIterator<Item = &'k KeySpec>) -> Self {
        let mut map = Self::default();
        for (number, key) in keys.into_iter().enumerate() {
            map.insert(key, number);
        }
        map
    }

    /// Adds a number to those of a key. They have to come in ascending order.
    pub(crate) fn insert(&mut self, key: &KeySpec, number: usize) {
        let mut lists = Vec::new();
        match azure(key) {
            Some((place, versioned)) => {
                if versioned {
                    lists.push(self.exact.entry(exact(key)).or_default());
                } else {
                    lists.push(self.unversioned.entry(place.clone()).or_default());
                }
                lists.push(self.versions.entry(place).or_default());
            }
            None => lists.push(self.exact.entry(exact(key)).or_default()),
        }
        for list in lists {
            if list.last() != Some(&number) {
                list.push(number);
            }
        }
    }

    /// Returns the numbers of a key, possibly some of them twice.
    pub(crate) fn numbers(&self, key: &KeySpec) -> impl Iterator<Item = usize> {
        let (one, two) = match azure(key) {
            Some((place, false)) => (self.versions.get(&place), None),
            Some((place, true)) => (self.exact.get(&exact(key)), self.unversioned.get(&place)),
            None => (self.exact.get(&exact(key)), None),
        };
        one.into_iter().chain(two).flatten().copied()
    }

    /// Returns the lowest number of a key.
    pub(crate) fn first(&self, key: &KeySpec) -> Option<usize> {
        self.numbers(key).min()
    }

    /// Returns whether the key, or one that is the same, is there.
    pub(crate) fn contains(&self, key: &KeySpec) -> bool {
        self.numbers(key).next().is_some()
    }
}

fn exact(key: &KeySpec) -> (KeyKind, String) {
    (key.kind(), key.identity())
}

/// Returns vault and name of a key of Azure, and whether it names a version.
fn azure(key: &KeySpec) -> Option<((String, String), bool)> {
    match key {
        KeySpec::AzureKv {
            vault_url,
            name,
            version,
        } => Some(((vault_url.clone(), name.clone()), version.is_some())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rekey::same;

    #[test]
    fn it_finds_what_a_comparison_finds() {
        let azure = |name: &str, version: Option<&str>| KeySpec::AzureKv {
            vault_url: "https://v".to_owned(),
            name: name.to_owned(),
            version: version.map(str::to_owned),
        };
        let age = |text: &str| KeySpec::Age {
            recipient: text.to_owned(),
        };
        let keys = [
            age("a"),
            azure("k", Some("1")),
            age("b"),
            azure("k", Some("2")),
            azure("k", None),
            age("a"),
            azure("other", Some("1")),
            KeySpec::Pgp {
                fingerprint: "a".to_owned(),
            },
        ];
        for known in 0..=keys.len() {
            let (known, _) = keys.split_at(known);
            let map = KeyMap::of(known);
            for key in &keys {
                let all = known.iter().enumerate();
                let expected: Vec<usize> = all
                    .filter(|(_, other)| same(other, key))
                    .map(|(number, _)| number)
                    .collect();
                let mut found: Vec<usize> = map.numbers(key).collect();
                found.sort_unstable();
                assert_eq!(found, expected, "{key:?}");
                assert_eq!(map.first(key), expected.first().copied());
                assert_eq!(map.contains(key), !expected.is_empty());
            }
        }
    }
}
