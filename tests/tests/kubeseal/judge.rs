//! When two outputs are the same: each sealed value is taken for what it opens to.

use anyhow::Result;
use regex::{Captures, Regex};
use selkie_seal::object::SealedSecret;
use selkie_seal::{Label, PrivateKeys, Scope, decode_value};

/// Opens every value of the transcripts.
pub(crate) struct Judge {
    keys: PrivateKeys,
    value: Regex,
    others: Vec<Label>,
}

/// The names and namespaces that transcripts use.
const NAMES: [&str; 7] = ["a", "b", "db", "web", "other", "third", "c"];
const NAMESPACES: [&str; 7] = ["n", "b", "prod", "web", "other", "default", "x"];

impl Judge {
    pub(crate) fn new(keys: PrivateKeys) -> Result<Self> {
        let mut others = vec![Scope::ClusterWide.label("", "")];
        for namespace in NAMESPACES {
            others.push(Scope::NamespaceWide.label(namespace, ""));
            let names = NAMES.iter();
            others.extend(names.map(|name| Scope::Strict.label(namespace, name)));
        }
        Ok(Self {
            keys,
            value: Regex::new("A[QgM][A-Za-z0-9+/]{340,}={0,2}")?,
            others,
        })
    }

    /// The text with each sealed value replaced by its label and what it opens to.
    pub(crate) fn opened(&self, text: &str) -> String {
        if !self.value.is_match(text) {
            return text.to_owned();
        }
        let objects = SealedSecret::read(text).unwrap_or_default();
        let mut labels: Vec<Label> = objects.iter().map(SealedSecret::label).collect();
        labels.extend(self.others.iter().cloned());
        let shown = |found: &Captures<'_>| self.shown(&found[0], &labels);
        self.value.replace_all(text, shown).into_owned()
    }

    fn shown(&self, value: &str, labels: &[Label]) -> String {
        let Ok(sealed) = decode_value(value) else {
            return value.to_owned();
        };
        let opened = labels.iter().find_map(|label| {
            let mut unsealer = self.keys.unsealer(label, None);
            let value = unsealer.unseal(&sealed).ok()?;
            let label = String::from_utf8_lossy(label.as_bytes()).into_owned();
            Some((label, unsealer.fitting(), value))
        });
        match opened {
            Some((label, key, value)) => {
                format!("SEALED<{label}|{key:?}|{}>", value.expose().escape_ascii())
            }
            None => "SEALED<does not open>".to_owned(),
        }
    }
}
