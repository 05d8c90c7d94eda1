//! What becomes of an encrypted file under another selection rule (sops-format.md 4).

use crate::decrypt::{self, DecryptError};
use crate::format::Format;
use crate::manifest;
use crate::metadata::Metadata;
use crate::selection::Selection;
use crate::tree::{self, TreeError, What};

/// What another selection changes. Names places, never values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SelectionChange {
    /// Paths of values that are encrypted and would be clear, as often as there are values.
    pub made_clear: Vec<String>,
    /// How many comments are encrypted and would be clear.
    pub comments_made_clear: usize,
    /// Paths of values that are clear and would be encrypted.
    pub made_encrypted: Vec<String>,
}

impl SelectionChange {
    /// Returns whether something that is encrypted would be clear.
    pub fn shows(&self) -> bool {
        !self.made_clear.is_empty() || self.comments_made_clear > 0
    }
}

/// Says what changes in a file whose values are selected by `before`, when it is `after`; needs no key.
///
/// `source` is the encrypted file, or its clear text: where `after` goes by comments
/// ([`Selection::is_by_comments`]) only the clear text tells.
pub fn selection_change(
    source: &str,
    format: Format,
    before: &Selection,
    after: &Selection,
) -> Result<SelectionChange, DecryptError> {
    let stream = format.parse(source)?;
    let mut selected = Vec::new();
    tree::walk(&stream, before, |leaf| {
        selected.push(leaf.selected);
        Ok::<(), TreeError>(())
    })?;
    let mut selected = selected.into_iter();
    let mut change = SelectionChange::default();
    // Every rule meets the same leaves in the same order.
    tree::walk(&stream, after, |leaf| {
        let was = selected.next().unwrap_or(true);
        // One met through an alias stands elsewhere.
        if was == leaf.selected || leaf.alias.is_some() {
            return Ok(());
        }
        let is_comment = match leaf.what {
            What::Comment(comment) if stream.comment_text(comment).is_empty() => return Ok(()),
            What::Comment(_) => true,
            What::Scalar(node) => {
                let value = tree::value_of(&stream, node, || leaf.path())?;
                if value.is_none_or(|value| value.is_empty_text()) {
                    // Never encrypted.
                    return Ok(());
                }
                let text = stream.node(node).value.trim_end();
                leaf.in_sequence && text.ends_with(",type:comment]")
            }
        };
        match (was, is_comment) {
            (true, true) => change.comments_made_clear += 1,
            (true, false) => change.made_clear.push(leaf.path()),
            (false, true) => {}
            (false, false) => change.made_encrypted.push(leaf.path()),
        }
        Ok::<(), TreeError>(())
    })?;
    Ok(change)
}

/// Returns the selection that an encrypted file would get today if no rule and no flag gave one: that of
/// Kubernetes Secrets, if it is a file of them, else everything but `_unencrypted` keys. Needs no key.
///
/// `None` where the file would be refused without a rule, or is not encrypted.
pub fn implied_selection(source: &str, format: Format) -> Option<Selection> {
    if !source.contains("Secret") {
        // Cheap for the many that are none.
        return Some(Selection::default());
    }
    let stream = format.parse(source).ok()?;
    let metadata = Metadata::read(&stream).ok()?;
    let bare = decrypt::without_blocks(&stream, &metadata.selection).ok()?;
    let selection = manifest::default_selection(&bare, format).ok()?;
    Some(selection.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clear_key::ClearKey;
    use crate::encrypt::{EncryptPlan, Encryption, encrypt};
    use crate::selection::SelectionSettings;

    fn rule(setting: &str) -> Selection {
        let mut settings = SelectionSettings::default();
        let (name, text) = setting.split_once('=').unwrap();
        let place = match name {
            "encrypted_regex" => &mut settings.encrypted_regex,
            "unencrypted_regex" => &mut settings.unencrypted_regex,
            "encrypted_comment_regex" => &mut settings.encrypted_comment_regex,
            _ => &mut settings.unencrypted_suffix,
        };
        *place = Some(text.to_owned());
        settings.compile().unwrap().unwrap()
    }

    fn encrypted(source: &str, selection: Selection) -> String {
        let key = ClearKey("age1a");
        let plan = EncryptPlan {
            groups: vec![vec![&key]],
            threshold: None,
            selection,
            mac_only_encrypted: false,
            whole_mac: false,
            now: jiff::Timestamp::UNIX_EPOCH,
        };
        match encrypt(source, Format::Yaml, &plan).unwrap() {
            Encryption::Encrypted(encrypted) => encrypted.text,
            other => panic!("{other:?}"),
        }
    }

    const PLAIN: &str = "\
# head
password: &p one
again: *p
user: app
nothing: null
empty: ''
list:
  # inside
  - two
---
user: other
";

    #[test]
    fn what_another_rule_shows_and_hides_is_named() {
        let everything = Selection::default();
        let narrow = rule("encrypted_regex=^password$");
        let source = encrypted(PLAIN, everything.clone());
        for text in [PLAIN, &source] {
            let change = selection_change(text, Format::Yaml, &everything, &narrow).unwrap();
            assert!(change.shows());
            // In the encrypted file the alias is written out.
            let clear: Vec<&String> = change.made_clear.iter().filter(|p| *p != "again").collect();
            assert_eq!(clear, ["user", "list[0]", "user"]);
            assert_eq!(change.comments_made_clear, 2);
            assert!(change.made_encrypted.is_empty());
        }
        let without_alias = PLAIN.replace("&p ", "").replace("*p", "x");
        let source = encrypted(&without_alias, narrow.clone());
        let change = selection_change(&source, Format::Yaml, &narrow, &everything).unwrap();
        assert!(!change.shows());
        assert_eq!(change.made_encrypted, ["again", "user", "list[0]", "user"]);
        let same = selection_change(&source, Format::Yaml, &narrow, &narrow).unwrap();
        assert_eq!(same, SelectionChange::default());
    }

    #[test]
    fn a_rule_by_comments_is_looked_up_in_the_clear_text() {
        let text = "# sops:enc\na: one\nb: two\n";
        let by_comments = rule("encrypted_comment_regex=sops:enc");
        assert!(by_comments.is_by_comments() && !Selection::default().is_by_comments());
        let change = selection_change(text, Format::Yaml, &Selection::default(), &by_comments);
        let change = change.unwrap();
        assert_eq!(change.made_clear, ["b"]);
        assert_eq!(change.comments_made_clear, 1, "the marker");
    }

    #[test]
    fn a_secret_implies_its_own_rule() {
        let secret = "apiVersion: v1\nkind: Secret\ndata:\n  a: b25l\n";
        let own = rule(&format!("encrypted_regex={}", manifest::SECRET_REGEX));
        let source = encrypted(secret, own.clone());
        assert_eq!(implied_selection(&source, Format::Yaml), Some(own.clone()));
        // Nobody can tell what an encrypted kind is.
        let source = encrypted(secret, Selection::default());
        let implied = implied_selection(&source, Format::Yaml);
        assert_eq!(implied, Some(Selection::default()));
        let source = encrypted("password: one\n", rule("encrypted_regex=^password$"));
        let implied = implied_selection(&source, Format::Yaml);
        assert_eq!(implied, Some(Selection::default()));
        let both = format!("{secret}---\nkind: ConfigMap\ndata:\n  c: d\n");
        let source = encrypted(&both, rule("encrypted_regex=^a$"));
        assert_eq!(implied_selection(&source, Format::Yaml), None);
        assert_eq!(implied_selection("kind: Secret\n", Format::Yaml), None);
    }
}
