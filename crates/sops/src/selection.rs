//! Which leaves are encrypted: the six settings, and comments that govern what follows
//! (sops-format.md 4).

use selkie_goregex::{GoRegex, RegexError};

/// The suffix that leaves a value in clear when no setting is given.
pub const DEFAULT_UNENCRYPTED_SUFFIX: &str = "_unencrypted";

/// The six settings as text: from flags, a creation rule, or a file's metadata.
///
/// An empty text counts as absent, as in sops.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SelectionSettings {
    /// Everything is encrypted but what stands under a key with this ending.
    pub unencrypted_suffix: Option<String>,
    /// Only what stands under a key with this ending is encrypted.
    pub encrypted_suffix: Option<String>,
    /// Everything is encrypted but what stands under a matching key.
    pub unencrypted_regex: Option<String>,
    /// Only what stands under a matching key is encrypted.
    pub encrypted_regex: Option<String>,
    /// Everything is encrypted but what a matching comment precedes.
    pub unencrypted_comment_regex: Option<String>,
    /// Only what a matching comment precedes is encrypted.
    pub encrypted_comment_regex: Option<String>,
}

/// Why settings give no selection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SelectionError {
    /// More than one of the six is set.
    #[error("{0} and {1} are both set; a file can have only one of them")]
    Conflict(&'static str, &'static str),
    /// A regular expression does not compile. sops would take it as "matches nothing" and write
    /// the file in clear (sops-format.md 4).
    #[error("{setting}: {source}")]
    Regex {
        /// Which setting.
        setting: &'static str,
        /// Why it does not compile.
        source: RegexError,
    },
}

impl SelectionSettings {
    /// Compiles the one setting that is present; returns `None` when none is.
    pub fn compile(&self) -> Result<Option<Selection>, SelectionError> {
        let Some((name, text)) = self.only_one()? else {
            return Ok(None);
        };
        let rule = match Rule::new(name, text) {
            Ok(rule) => rule,
            Err(source) => {
                return Err(SelectionError::Regex {
                    setting: name,
                    source,
                });
            }
        };
        Ok(Some(rule.into()))
    }

    /// As [`Self::compile`], but for a file that exists already: a regex that does not compile
    /// matches nothing, so that the file opens (sops-format.md 4). One that sops may be able to use
    /// though Selkie is not would show as a wrong MAC: that is an error.
    pub(crate) fn compile_lenient(&self) -> Result<Selection, SelectionError> {
        let Some((name, text)) = self.only_one()? else {
            return Ok(Selection::default());
        };
        let rule = match (Rule::new(name, text), name) {
            (Ok(rule), _) => rule,
            (Err(source), setting) if source.only_here => {
                return Err(SelectionError::Regex { setting, source });
            }
            (Err(_), "encrypted_regex" | "encrypted_comment_regex") => Rule::Nothing,
            (Err(_), _) => Rule::Everything,
        };
        Ok(rule.into())
    }

    fn only_one(&self) -> Result<Option<(&'static str, &str)>, SelectionError> {
        let settings = [
            ("unencrypted_suffix", &self.unencrypted_suffix),
            ("encrypted_suffix", &self.encrypted_suffix),
            ("unencrypted_regex", &self.unencrypted_regex),
            ("encrypted_regex", &self.encrypted_regex),
            ("unencrypted_comment_regex", &self.unencrypted_comment_regex),
            ("encrypted_comment_regex", &self.encrypted_comment_regex),
        ];
        let mut present = settings
            .into_iter()
            .filter_map(|(name, text)| Some((name, text.as_deref().filter(|t| !t.is_empty())?)));
        let first = present.next();
        if let (Some((one, _)), Some((two, _))) = (first, present.next()) {
            return Err(SelectionError::Conflict(one, two));
        }
        Ok(first)
    }
}

/// A compiled selection rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Selection {
    rule: Rule,
    /// Whether a file that it names nothing in is encrypted all the same.
    may_match_nothing: bool,
}

#[derive(Debug, Clone, PartialEq)]
enum Rule {
    UnencryptedSuffix(String),
    EncryptedSuffix(String),
    UnencryptedRegex(GoRegex),
    EncryptedRegex(GoRegex),
    UnencryptedCommentRegex(GoRegex),
    EncryptedCommentRegex(GoRegex),
    /// An `encrypted_*` regex that does not compile.
    Nothing,
    /// An `unencrypted_*` regex that does not compile.
    Everything,
}

impl Rule {
    fn new(name: &str, text: &str) -> Result<Self, RegexError> {
        let own = || text.to_owned();
        Ok(match name {
            "unencrypted_suffix" => Self::UnencryptedSuffix(own()),
            "encrypted_suffix" => Self::EncryptedSuffix(own()),
            "unencrypted_regex" => Self::UnencryptedRegex(GoRegex::new(text)?),
            "encrypted_regex" => Self::EncryptedRegex(GoRegex::new(text)?),
            "unencrypted_comment_regex" => Self::UnencryptedCommentRegex(GoRegex::new(text)?),
            _ => Self::EncryptedCommentRegex(GoRegex::new(text)?),
        })
    }
}

impl From<Rule> for Selection {
    fn from(rule: Rule) -> Self {
        Self {
            rule,
            may_match_nothing: false,
        }
    }
}

impl Default for Selection {
    fn default() -> Self {
        Rule::UnencryptedSuffix(DEFAULT_UNENCRYPTED_SUFFIX.to_owned()).into()
    }
}

impl Selection {
    /// Accepts a file in which nothing is encrypted, as sops does; else that is an error.
    #[must_use]
    pub fn even_if_nothing_matches(mut self) -> Self {
        self.may_match_nothing = true;
        self
    }

    pub(crate) fn may_match_nothing(&self) -> bool {
        self.may_match_nothing
    }

    /// Returns whether comments decide what is encrypted.
    pub fn is_by_comments(&self) -> bool {
        matches!(
            self.rule,
            Rule::EncryptedCommentRegex(_) | Rule::UnencryptedCommentRegex(_)
        )
    }

    /// Returns the rule as the setting it came from, and its text.
    ///
    /// `None` only for a rule read from a file whose regex does not compile.
    pub fn setting(&self) -> Option<(&'static str, &str)> {
        Some(match &self.rule {
            Rule::UnencryptedSuffix(text) => ("unencrypted_suffix", text),
            Rule::EncryptedSuffix(text) => ("encrypted_suffix", text),
            Rule::UnencryptedRegex(regex) => ("unencrypted_regex", regex.as_str()),
            Rule::EncryptedRegex(regex) => ("encrypted_regex", regex.as_str()),
            Rule::UnencryptedCommentRegex(regex) => ("unencrypted_comment_regex", regex.as_str()),
            Rule::EncryptedCommentRegex(regex) => ("encrypted_comment_regex", regex.as_str()),
            Rule::Nothing | Rule::Everything => return None,
        })
    }

    /// Returns whether a key on the path decides the rule: whether everything beneath the key is
    /// named (by an `encrypted_*` rule) or exempt (by an `unencrypted_*` rule).
    fn key_decides(&self, key: &str) -> bool {
        match &self.rule {
            Rule::UnencryptedSuffix(suffix) | Rule::EncryptedSuffix(suffix) => {
                key.ends_with(suffix.as_str())
            }
            Rule::UnencryptedRegex(regex) | Rule::EncryptedRegex(regex) => regex.is_match(key),
            _ => false,
        }
    }

    /// Returns whether a comment decides the rule for what it governs.
    fn comment_decides(&self, text: &str) -> bool {
        match &self.rule {
            Rule::UnencryptedCommentRegex(regex) | Rule::EncryptedCommentRegex(regex) => {
                regex.is_match(text)
            }
            _ => false,
        }
    }

    /// Returns whether what is not decided is encrypted.
    fn encrypts_by_default(&self) -> bool {
        matches!(
            self.rule,
            Rule::UnencryptedSuffix(_)
                | Rule::UnencryptedRegex(_)
                | Rule::UnencryptedCommentRegex(_)
                | Rule::Everything
        )
    }

    /// Returns whether the encrypted form of a comment would be taken for a marker
    /// (sops-format.md 4): sops refuses to write such a file.
    pub(crate) fn marks_ciphertext(&self, ciphertext: &str) -> bool {
        matches!(&self.rule, Rule::UnencryptedCommentRegex(regex) if regex.is_match(ciphertext))
    }
}

/// Where a walk stands with respect to the rule: one per open container.
///
/// A walk calls [`Scope::comment`] for every comment of the container, [`Scope::enter`] for what
/// stands under a key or at a sequence position, and [`Scope::item_done`] after each item.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scope {
    /// A key above, or a comment governing a container above, decided.
    inherited: bool,
    /// A comment before the current item of this container decided.
    pending: bool,
}

impl Scope {
    /// Returns the scope of a document's root.
    pub(crate) fn root() -> Self {
        Self {
            inherited: false,
            pending: false,
        }
    }

    /// Meets a comment of this container; returns whether the comment is encrypted.
    ///
    /// For `encrypted_comment_regex` the comment itself does not count, so that a marker stays
    /// clear; for `unencrypted_comment_regex` it does, for the same reason.
    pub(crate) fn comment(&mut self, rule: &Selection, text: &str) -> bool {
        let before = self.inherited || self.pending;
        self.pending |= rule.comment_decides(text);
        let decided = match rule.rule {
            Rule::EncryptedCommentRegex(_) => before,
            _ => self.inherited || self.pending,
        };
        decided != rule.encrypts_by_default()
    }

    /// Returns the scope of the item under `key` (`None` for a sequence element).
    pub(crate) fn enter(&self, rule: &Selection, key: Option<&str>) -> Self {
        let decided = self.inherited || self.pending;
        Self {
            inherited: decided || key.is_some_and(|key| rule.key_decides(key)),
            pending: false,
        }
    }

    /// Returns whether a scalar in this scope is encrypted.
    pub(crate) fn selects(&self, rule: &Selection) -> bool {
        self.inherited != rule.encrypts_by_default()
    }

    /// Leaves an item: comments before it no longer govern.
    pub(crate) fn item_done(&mut self) {
        self.pending = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(name: &str, text: &str) -> Selection {
        Rule::new(name, text).unwrap().into()
    }

    /// Whether a leaf under `path` is encrypted, without comments.
    fn selects(rule: &Selection, path: &[&str]) -> bool {
        path.iter()
            .fold(Scope::root(), |scope, key| scope.enter(rule, Some(key)))
            .selects(rule)
    }

    #[test]
    fn path_rules_look_at_every_key() {
        // Setting, text, path, encrypted.
        let table: &[(&str, &str, &[&str], bool)] = &[
            ("unencrypted_suffix", "_un", &["a"], true),
            ("unencrypted_suffix", "_un", &["a_un"], false),
            ("unencrypted_suffix", "_un", &["a_un", "b"], false),
            ("unencrypted_suffix", "_un", &["_un_x"], true),
            ("encrypted_suffix", "_enc", &["a"], false),
            ("encrypted_suffix", "_enc", &["a_enc", "b"], true),
            (
                "encrypted_regex",
                "^(data|stringData)$",
                &["data", "k"],
                true,
            ),
            (
                "encrypted_regex",
                "^(data|stringData)$",
                &["metadata", "name"],
                false,
            ),
            (
                "encrypted_regex",
                "^(data|stringData)$",
                &["a", "data"],
                true,
            ),
            ("unencrypted_regex", "^meta", &["metadata", "name"], false),
            ("unencrypted_regex", "^meta", &["data", "name"], true),
        ];
        for (name, text, path, expected) in table {
            assert_eq!(
                selects(&rule(name, text), path),
                *expected,
                "{name} {path:?}"
            );
        }
        assert!(selects(&Selection::default(), &["a"]));
        assert!(!selects(&Selection::default(), &["a_unencrypted"]));
    }

    #[test]
    fn a_top_level_comment_follows_the_empty_path() {
        for (name, text, encrypted) in [
            ("unencrypted_suffix", "_un", true),
            ("unencrypted_regex", "x", true),
            ("encrypted_suffix", "_enc", false),
            ("encrypted_regex", "x", false),
        ] {
            assert_eq!(
                Scope::root().comment(&rule(name, text), " x"),
                encrypted,
                "{name}"
            );
        }
    }

    #[test]
    fn a_marker_comment_stays_clear_and_governs_the_next_item() {
        let enc = rule("encrypted_comment_regex", "sops:enc");
        let mut scope = Scope::root();
        assert!(!scope.comment(&enc, " before"));
        assert!(!scope.comment(&enc, " sops:enc"));
        assert!(scope.comment(&enc, " after"));
        let item = scope.enter(&enc, Some("a"));
        assert!(item.selects(&enc) && item.enter(&enc, Some("b")).selects(&enc));
        scope.item_done();
        assert!(!scope.enter(&enc, Some("c")).selects(&enc));

        let clear = rule("unencrypted_comment_regex", "sops:clear");
        let mut scope = Scope::root();
        assert!(scope.comment(&clear, " before"));
        assert!(!scope.comment(&clear, " sops:clear"));
        assert!(!scope.comment(&clear, " after"));
        assert!(!scope.enter(&clear, Some("a")).selects(&clear));
        scope.item_done();
        assert!(scope.enter(&clear, None).selects(&clear));
    }

    #[test]
    fn settings_conflict_and_bad_regexes_are_named() {
        let mut settings = SelectionSettings {
            encrypted_regex: Some("(".to_owned()),
            unencrypted_suffix: Some(String::new()),
            ..SelectionSettings::default()
        };
        let error = settings.compile().unwrap_err().to_string();
        assert!(
            error.starts_with("encrypted_regex: the regular expression `(`"),
            "{error}"
        );
        assert!(!selects(&settings.compile_lenient().unwrap(), &["a"]));
        settings.encrypted_suffix = Some("_x".to_owned());
        assert_eq!(
            settings.compile().unwrap_err(),
            SelectionError::Conflict("encrypted_suffix", "encrypted_regex")
        );
        let none = SelectionSettings::default();
        assert_eq!(none.compile().unwrap(), None);
        assert_eq!(none.compile_lenient().unwrap(), Selection::default());
        let broken = SelectionSettings {
            unencrypted_comment_regex: Some("[".to_owned()),
            ..SelectionSettings::default()
        };
        assert!(selects(&broken.compile_lenient().unwrap(), &["a"]));
    }
}
