//! Changes of keys as the user reads them.

use std::collections::{BTreeSet, HashSet};

use selkie_sops::{EncryptedLeaf, Format, KeyChanges, KeyKind, KeySpec, SelectionChange};
use serde_json::{Map, Value, json};

use crate::session::Document;
use crate::ui::Report;

/// Tells in a report what becomes of the keys of a file, in these lines, and which values whoever lost
/// access could have read. People get the first of many, programs all.
pub(crate) fn tell(
    report: &mut Report,
    document: &Document,
    changes: &KeyChanges,
    mut lines: Vec<String>,
    new_data_key: bool,
) {
    if new_data_key {
        lines.push("new data key".to_owned());
    }
    let seen = Seen::of(document.text(), document.format, changes);
    let mut details = seen.details(changes);
    details.insert("note".to_owned(), json!(lines.join(", ")));
    details.insert("new_data_key".to_owned(), json!(new_data_key));
    if let Some(Value::Object(others)) = report.details.take() {
        details.extend(others);
    }
    report.details = Some(Value::Object(details));
    report.note = Some(some_of(&lines)).filter(|note| !note.is_empty());
    report.warnings.extend(seen.warning());
}

/// Names what another selection puts into clear; `None` where there is nothing.
pub(crate) fn put_into_clear(change: &SelectionChange) -> Option<String> {
    let comments = match change.comments_made_clear {
        0 => None,
        1 => Some("1 comment".to_owned()),
        count => Some(format!("{count} comments")),
    };
    let values = Some(some_of(&change.made_clear)).filter(|text| !text.is_empty());
    let shown: Vec<String> = values.into_iter().chain(comments).collect();
    Some(shown.join(", ")).filter(|text| !text.is_empty())
}

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
fn lost_readers(changes: &KeyChanges) -> Vec<String> {
    let sets = changes.lost.iter().flat_map(|lost| &lost.readers);
    let mut readers: Vec<String> = sets.clone().map(|set| together(set)).collect();
    // Whoever is gone and needed others, who still can.
    let id = |key: &KeySpec| (key.kind(), key.identity());
    let told: HashSet<(KeyKind, String)> = sets.flatten().map(id).collect();
    let untold = changes
        .removed
        .iter()
        .filter(|key| !told.contains(&id(key)));
    let untold: BTreeSet<String> = untold.map(name).collect();
    readers.extend(untold.iter().map(|key| format!("{key} with other groups")));
    if readers.is_empty() && changes.lost.is_some() {
        readers.push("some of those who had keys".to_owned());
    }
    readers
}

/// Names the keys of a set, which may be one of each of 255 groups.
fn together(set: &[KeySpec]) -> String {
    let mut names: Vec<String> = set.iter().take(SHOWN_TOGETHER).map(name).collect();
    if set.len() > SHOWN_TOGETHER {
        names.push(format!("{} more keys", set.len() - SHOWN_TOGETHER));
    }
    names.join(" with ")
}

/// What whoever lost access could have read.
struct Seen {
    readers: Vec<String>,
    /// Paths, each once, in the order of the file.
    values: Vec<String>,
}

impl Seen {
    /// Reads it off the file as it was; needs no key.
    fn of(source: &str, format: Format, changes: &KeyChanges) -> Self {
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
    fn warning(&self) -> Option<String> {
        if self.readers.is_empty() || self.values.is_empty() {
            return None;
        }
        Some(format!(
            "{} could read {}: replace them where they come from",
            some_of(&self.readers),
            some_of(&self.values)
        ))
    }

    /// Says it in full, for programs.
    fn details(&self, changes: &KeyChanges) -> Map<String, Value> {
        let removed: Vec<String> = changes.removed.iter().map(name).collect();
        let lists = [
            ("removed", &removed),
            ("lost_access", &self.readers),
            ("seen_by_removed", &self.values),
        ];
        let named = lists.map(|(list, names)| (list.to_owned(), json!(names)));
        named.into_iter().collect()
    }
}

/// Names the first of many places, keys or changes, each once.
pub(crate) fn some_of(names: &[String]) -> String {
    let mut met = BTreeSet::new();
    let distinct: Vec<&str> = names
        .iter()
        .map(String::as_str)
        .filter(|path| met.insert(*path))
        .collect();
    let shown = &distinct[..distinct.len().min(SHOWN)];
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

/// So many values, or keys, are named; --json names all.
const SHOWN: usize = 20;
/// So many keys are named of a set that opens a file together.
const SHOWN_TOGETHER: usize = 8;

#[cfg(test)]
mod tests {
    use selkie_sops::{KeyTarget, key_changes};

    use super::*;

    /// A file of somebody else in sizes that would take hours, and fill a screen.
    #[test]
    fn many_readers_are_counted_not_listed() {
        const MANY: usize = 100_000;
        let key = |number: usize| KeySpec::Age {
            recipient: format!("age{number:06}"),
        };
        let rule = KeyTarget {
            groups: vec![vec![key(MANY)]],
            threshold: None,
        };
        let source = |keys: &str| {
            format!(
                "a: ENC[AES256_GCM,data:x,iv:x,tag:x,type:str]\nsops:\n{keys}    \
                 lastmodified: \"2026-01-01T00:00:00Z\"\n    mac: x\n    version: 3.9.0\n"
            )
        };
        let entry = |number: usize, indent: &str| {
            format!("{indent}- {{recipient: age{number:06}, enc: x}}\n")
        };
        let group: String = (0..MANY / 4)
            .map(|number| entry(number, "        "))
            .collect();
        let one_group = source(&format!("    age:\n{group}"));
        let changes = key_changes(&one_group, Format::Yaml, &rule).unwrap();
        let warning = Seen::of(&one_group, Format::Yaml, &changes)
            .warning()
            .unwrap();
        assert!(
            warning.contains("age age000019 and 24980 more could read a"),
            "{warning}"
        );
        assert!(!warning.contains("age000020"));
        let group = |number: usize| {
            let entry = entry(number, "            ");
            format!("        - age:\n{entry}")
        };
        let groups: String = (0..255).map(group).collect();
        let several = source(&format!(
            "    key_groups:\n{groups}    shamir_threshold: 255\n"
        ));
        let changes = key_changes(&several, Format::Yaml, &rule).unwrap();
        let warning = Seen::of(&several, Format::Yaml, &changes)
            .warning()
            .unwrap();
        assert!(
            warning.contains("with age age000007 with 247 more keys could read a"),
            "{warning}"
        );
        assert!(!warning.contains("age000008"));
    }
}
