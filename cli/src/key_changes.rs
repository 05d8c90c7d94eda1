//! Changes of keys as the user reads them.

use std::collections::BTreeSet;

use selkie_sops::{EncryptedLeaf, Format, KeyChanges, KeySpec};

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

/// Says which values whoever lost access could have read.
pub(crate) fn seen_values(source: &str, format: Format, removed: &[KeySpec]) -> Option<String> {
    if removed.is_empty() {
        return None;
    }
    let leaves = selkie_sops::encrypted_leaves(source, format).unwrap_or_default();
    let names: BTreeSet<&str> = leaves
        .iter()
        .map(|leaf: &EncryptedLeaf| &*leaf.path)
        .collect();
    if names.is_empty() {
        return None;
    }
    let shown: Vec<&str> = names.iter().copied().take(SHOWN_VALUES).collect();
    let more = match names.len() - shown.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let readers: Vec<String> = removed.iter().map(name).collect();
    Some(format!(
        "{} could read {}{more}: replace them where they come from",
        readers.join(", "),
        shown.join(", ")
    ))
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
