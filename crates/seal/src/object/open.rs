//! Opening a SealedSecret with private keys (sealed-secrets.md 6, 12.8).

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use selkie_secret::{SecretBytes, SecretString};
use zeroize::Zeroizing;

use super::canonical::{Node, OutputFormat};
use super::metadata::Metadata;
use super::sealed::{API_VERSION, SealedSecret};
use crate::{Unsealer, decode_value};

/// A Secret that was opened.
pub struct OpenedSecret {
    metadata: Metadata,
    kind: String,
    immutable: Option<bool>,
    values: BTreeMap<String, SecretBytes>,
}

/// Why a SealedSecret was not opened. The text is that of kubeseal and its controller; keys are
/// sorted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The form of before 2018, which kubeseal does not open either.
    #[error("using deprecated 'data' field, use 'encryptedData' or flip the feature flag")]
    Deprecated,
    /// Values that do not open, by what is wrong with them.
    #[error("{}", joined(.0))]
    Values(Vec<Refusal>),
}

/// What is wrong, and with which keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// `no key could decrypt secret`.
    pub reason: String,
    /// Sorted.
    pub keys: Vec<String>,
}

fn joined(refusals: &[Refusal]) -> String {
    let lines: Vec<String> = refusals
        .iter()
        .map(|refusal| format!("{} ({})", refusal.reason, refusal.keys.join(", ")))
        .collect();
    lines.join("\n")
}

/// Renders the template of a key of `spec.template.data` with the values it may use; the error says
/// what is wrong without a value.
pub type Rendering<'a> =
    dyn FnMut(&str, &str, &BTreeMap<String, SecretBytes>) -> Result<SecretBytes, String> + 'a;

impl SealedSecret {
    /// Opens every value and renders the templates.
    ///
    /// Templates see the values and each other's text before it is rendered; a value wins over a
    /// template of the same key (sealed-secrets.md 13, 0.37). To check whether values open, use
    /// [`SealedSecret::open_values`]: a template must not be rendered for somebody who only asks.
    pub fn open(
        &self,
        unsealer: &mut Unsealer<'_>,
        render: &mut Rendering<'_>,
    ) -> Result<OpenedSecret, OpenError> {
        let mut values = self.open_values(unsealer)?;
        if !self.template_data.is_empty() {
            let mut context = BTreeMap::new();
            for (key, value) in &values {
                context.insert(key.clone(), value.duplicate());
            }
            for (key, text) in &self.template_data {
                let text = SecretBytes::new(text.clone().into_bytes());
                context.entry(key.clone()).or_insert(text);
            }
            let mut refusals = Vec::new();
            for (key, text) in &self.template_data {
                match render(key, text, &context) {
                    Ok(rendered) if !values.contains_key(key) => {
                        values.insert(key.clone(), rendered);
                    }
                    Ok(_) => {}
                    Err(reason) => refuse(&mut refusals, reason, key),
                }
            }
            if !refusals.is_empty() {
                return Err(OpenError::Values(refusals));
            }
        }
        Ok(OpenedSecret {
            metadata: self.secret_metadata(),
            kind: self.kind.clone(),
            immutable: self.immutable,
            values,
        })
    }

    /// Opens the values alone. All are tried, so that the error names every key.
    pub fn open_values(
        &self,
        unsealer: &mut Unsealer<'_>,
    ) -> Result<BTreeMap<String, SecretBytes>, OpenError> {
        if self.data.is_some() {
            return Err(OpenError::Deprecated);
        }
        let mut values = BTreeMap::new();
        let mut refusals = Vec::new();
        let mut items: Vec<_> = self.items.iter().collect();
        items.sort_by_key(|item| item.key());
        for item in items {
            // Upstream reads what is no text as empty, which then is too short.
            let opened = decode_value(item.text().unwrap_or_default())
                .map_err(|error| error.to_string())
                .and_then(|sealed| unsealer.unseal(&sealed).map_err(|error| error.to_string()));
            match opened {
                Ok(value) => {
                    values.insert(item.key().to_owned(), value);
                }
                Err(reason) => refuse(&mut refusals, reason, item.key()),
            }
        }
        match refusals.is_empty() {
            true => Ok(values),
            false => Err(OpenError::Values(refusals)),
        }
    }

    /// The metadata of the Secret to come (sealed-secrets.md 6.1).
    fn secret_metadata(&self) -> Metadata {
        let mut metadata = self.template.clone();
        metadata.set("name", Node::text(self.name()));
        metadata.set("namespace", Node::text(self.namespace()));
        let skips = "sealedsecrets.bitnami.com/skip-set-owner-references";
        if metadata.annotation(skips) != Some("true") {
            let entry = |key: &str, text: &str| (key.to_owned(), Node::text(text));
            let mut owner = vec![
                entry("apiVersion", API_VERSION),
                entry("kind", "SealedSecret"),
                entry("name", self.name()),
                entry("uid", self.metadata.text("uid")),
            ];
            owner.push(("controller".to_owned(), Node::Raw("true".to_owned())));
            metadata.set("ownerReferences", Node::List(vec![Node::Map(owner)]));
        }
        metadata
    }
}

fn refuse(refusals: &mut Vec<Refusal>, reason: String, key: &str) {
    let key = key.to_owned();
    match refusals.iter_mut().find(|known| known.reason == reason) {
        Some(known) => known.keys.push(key),
        None => refusals.push(Refusal {
            reason,
            keys: vec![key],
        }),
    }
}

impl OpenedSecret {
    /// The values by their keys.
    pub fn values(&self) -> &BTreeMap<String, SecretBytes> {
        &self.values
    }

    /// The type of the Secret, empty when the template names none.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Prints it as kubeseal does, owner reference included.
    pub fn print(&self, format: OutputFormat) -> SecretString {
        let entry = |key: &str, value: Node| (key.to_owned(), value);
        let mut object = vec![
            entry("kind", Node::text("Secret")),
            entry("apiVersion", Node::text("v1")),
            entry("metadata", self.metadata.node()),
        ];
        if let Some(immutable) = self.immutable {
            object.push(entry("immutable", Node::Raw(immutable.to_string())));
        }
        if !self.values.is_empty() {
            let data = self.values.iter().map(|(key, value)| {
                let text = Zeroizing::new(STANDARD.encode(value.expose()));
                (key.clone(), Node::Text(text))
            });
            object.push(entry("data", Node::Map(data.collect())));
        }
        if !self.kind.is_empty() {
            object.push(entry("type", Node::text(self.kind.as_str())));
        }
        let mut text = Node::Map(object).print(format);
        SecretString::new(std::mem::take(&mut *text))
    }
}

impl std::fmt::Debug for OpenedSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenedSecret")
            .field("name", &self.metadata.text("name"))
            .field("keys", &self.values.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}
