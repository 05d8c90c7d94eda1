//! Changes of keys as the user reads them.

use std::collections::BTreeSet;

use selkie_sops::{EncryptedLeaf, Format, KeyChanges, KeySpec};
use serde_json::{Map, Value, json};

/// Returns a line for every key that comes or goes, and one for another threshold.
pub(crate) fn lines(changes: &KeyChanges) -> Vec<String> {
    let several = changes.groups.len() > 1;
    let mut lines = Vec::new();
    for (number, group) in (1..).zip(&changes.groups) {
        let place = match several {
            true => format!(" (group {number})"),
            false => String::new(),
        };
        let line = |sign: char, spec: &KeySpec| format!("{sign} {}{place}", name(spec));
        lines.extend(group.removed.iter().map(|spec| line('-', spec)));
        lines.extend(group.added.iter().map(|spec| line('+', spec)));
    }
    let (before, after) = changes.threshold;
    match (before, after) {
        (before, after) if before == after => {}
        // One group has none.
        (0, after) => lines.push(format!("threshold {after}")),
        (_, 0) => lines.push("no threshold any more".to_owned()),
        (before, after) => lines.push(format!("threshold {before} -> {after}")),
    }
    lines
}

/// Returns the name of a key, with its kind.
pub(crate) fn name(spec: &KeySpec) -> String {
    format!("{} {}", spec.kind(), shortened(&spec.identity()))
}

/// Says who could open a file and no longer can: keys that did it alone, and keys that did it together.
pub(crate) fn lost_readers(changes: &KeyChanges) -> Vec<String> {
    let sets = changes.lost.iter().flat_map(|lost| &lost.readers);
    let together = |set: &Vec<KeySpec>| set.iter().map(name).collect::<Vec<_>>().join(" with ");
    let mut readers: Vec<String> = sets.clone().map(together).collect();
    // Whoever is gone and needed others, who still can.
    let untold = changes
        .removed
        .iter()
        .filter(|key| !sets.clone().any(|set| set.contains(key)));
    let untold: BTreeSet<String> = untold.map(name).collect();
    readers.extend(untold.iter().map(|key| format!("{key} with other groups")));
    if readers.is_empty() && changes.lost.is_some() {
        readers.push("some of those who had keys".to_owned());
    }
    readers
}

/// What whoever lost access could have read.
pub(crate) struct Seen {
    readers: Vec<String>,
    /// Paths, each once, in the order of the file.
    values: Vec<String>,
}

impl Seen {
    /// Reads it off the file as it was; needs no key.
    pub(crate) fn of(source: &str, format: Format, changes: &KeyChanges) -> Self {
        let readers = lost_readers(changes);
        let leaves = match readers.is_empty() {
            true => Vec::new(),
            false => selkie_sops::encrypted_leaves(source, format).unwrap_or_default(),
        };
        let mut met = BTreeSet::new();
        let paths = leaves.into_iter().map(|leaf: EncryptedLeaf| leaf.path);
        Self {
            readers,
            values: paths.filter(|path| met.insert(path.clone())).collect(),
        }
    }

    /// Names the values; `None` where there are none.
    pub(crate) fn warning(&self) -> Option<String> {
        if self.readers.is_empty() || self.values.is_empty() {
            return None;
        }
        Some(format!(
            "{} could read {}: replace them where they come from",
            self.readers.join(", "),
            some_of(&self.values)
        ))
    }

    /// Says it in full, for programs.
    pub(crate) fn details(&self, changes: &KeyChanges) -> Map<String, Value> {
        let removed: Vec<String> = changes.removed.iter().map(name).collect();
        let Value::Object(details) = json!({
            "removed": removed,
            "lost_access": self.readers,
            "seen_by_removed": self.values,
        }) else {
            return Map::new();
        };
        details
    }
}

/// Names the first of many places, each once.
pub(crate) fn some_of(paths: &[String]) -> String {
    let mut met = BTreeSet::new();
    let distinct: Vec<&str> = paths
        .iter()
        .map(String::as_str)
        .filter(|path| met.insert(*path))
        .collect();
    let shown = &distinct[..distinct.len().min(SHOWN_VALUES)];
    let more = match distinct.len() - shown.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{}{more}", shown.join(", "))
}

/// A post-quantum recipient has 1,959 characters.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(100) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// So many values are named; --json names all.
const SHOWN_VALUES: usize = 20;
