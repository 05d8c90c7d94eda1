//! The structure of a SealedSecret, looked at without any key.

use super::sealed::SealedSecret;
use crate::cipher::Sealed;
use crate::{CLUSTER_WIDE_ANNOTATION, Certificate, NAMESPACE_WIDE_ANNOTATION, Scope, decode_value};

/// Something that keeps a SealedSecret from being opened, or will surprise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Line in the manifest.
    pub line: usize,
    /// Path of the field: `spec.encryptedData.password`.
    pub path: String,
    /// What is wrong with it, without any value.
    pub what: String,
    /// Whether it will not be opened; else it only may surprise.
    pub is_fatal: bool,
}

impl SealedSecret {
    /// Looks at name, namespace, scope and the form of every value. With a certificate, also
    /// whether the values have the size of its key.
    pub fn problems(&self, certificate: Option<&Certificate>) -> Vec<Problem> {
        let mut found = Vec::new();
        let mut add = |line: usize, path: &str, what: String, is_fatal: bool| {
            let path = path.to_owned();
            found.push(Problem {
                line,
                path,
                what,
                is_fatal,
            });
        };
        let line = self.line();
        if self.name().is_empty() {
            add(line, "metadata.name", "is missing".to_owned(), true);
        }
        if self.namespace().is_empty() && self.scope() != Scope::ClusterWide {
            let what = "is missing; the values are bound to it".to_owned();
            add(line, "metadata.namespace", what, true);
        }
        for name in [CLUSTER_WIDE_ANNOTATION, NAMESPACE_WIDE_ANNOTATION] {
            let value = self.annotation(name);
            if value.is_some_and(|value| value != "true") {
                let path = format!("metadata.annotations.{name}");
                let what = "only the text \"true\" counts; it has no effect".to_owned();
                add(line, &path, what, false);
            }
        }
        for (line, field) in self.unknown_fields() {
            add(
                *line,
                field,
                "is no field of a SealedSecret".to_owned(),
                false,
            );
        }
        if self.is_deprecated_form() {
            let what = "is deprecated; use encryptedData".to_owned();
            add(line, "spec.data", what, !self.items().is_empty());
        } else if self.items().is_empty() && self.template_data().is_empty() {
            let what = "is empty: the Secret will have no value".to_owned();
            add(line, "spec.encryptedData", what, false);
        }
        for item in self.items() {
            let problem = match item.text() {
                None => Some("is no text".to_owned()),
                Some(text) => match decode_value(text) {
                    Err(error) => Some(error.to_string()),
                    Ok(sealed) => Sealed::parse(&sealed).err().map_or_else(
                        || wrong_size(&sealed, certificate),
                        |error| Some(error.to_string()),
                    ),
                },
            };
            if let Some(what) = problem {
                let path = format!("spec.encryptedData.{}", item.key());
                add(item.line(), &path, what, true);
            }
        }
        found
    }
}

/// What is wrong with the lengths in a value (sealed-secrets.md 1).
fn wrong_size(sealed: &[u8], certificate: Option<&Certificate>) -> Option<String> {
    let block = Sealed::parse(sealed).ok()?.block_len();
    // RSA of 1024 to 16384 bits; anything else is not a modulus.
    if !(128..=2048).contains(&block) {
        return Some("does not begin like a sealed value".to_owned());
    }
    if sealed.len() < 2 + block + 16 {
        return Some("was cut: it ends before its authentication tag".to_owned());
    }
    let expected = certificate?.key_len();
    (expected != block).then(|| {
        format!(
            "was sealed for a key of {} bits, the certificate has {}",
            block * 8,
            expected * 8
        )
    })
}
