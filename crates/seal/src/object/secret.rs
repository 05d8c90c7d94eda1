//! Secrets as kubeseal reads them, and the SealedSecrets that it makes of them
//! (sealed-secrets.md 12.5).

use selkie_secret::{HiddenValues, SHORTEST_PART, SecretBytes};
use selkie_text::yaml::{Limits, Stream};
use zeroize::Zeroizing;

use super::canonical::Node;
use super::metadata::Metadata;
use super::pieces::{Object, Piece, field, objects};
use super::sealed::{SealedItem, SealedSecret};
use crate::manifest::identity::{Declared, Identity, LAST_APPLIED, SERVER_FIELDS};
use crate::manifest::nodes::Reader;
use crate::manifest::{SealManifestError, SealPlan};
use crate::{
    CLUSTER_WIDE_ANNOTATION, Certificate, NAMESPACE_WIDE_ANNOTATION, Scope, encode_value,
    seal_value,
};

/// A Secret in clear.
pub struct PlainSecret {
    line: usize,
    metadata: Metadata,
    kind: String,
    immutable: Option<bool>,
    values: Vec<PlainValue>,
    unknown: Vec<(usize, String)>,
}

struct PlainValue {
    key: String,
    plaintext: SecretBytes,
}

impl PlainSecret {
    /// Reads every Secret of a manifest: YAML documents, JSON objects one after the other, and the
    /// items of Lists. Nothing is left out: a document of another kind is an error that names it.
    ///
    /// An object without `kind` is taken for a Secret, and names of fields may differ in case, as
    /// for kubeseal. A manifest without any object gives none.
    pub fn read(source: &str) -> Result<Vec<Self>, SealManifestError> {
        let mut secrets = Vec::new();
        for piece in Piece::of(source) {
            let stream = piece.parse(&Limits::default())?;
            for object in objects(&stream, piece.lines_before)? {
                secrets.push(Self::of(&stream, &object)?);
            }
        }
        Ok(secrets)
    }

    fn of(stream: &Stream<'_>, object: &Object) -> Result<Self, SealManifestError> {
        let line = object.line;
        let reader = Reader::new(stream, line)
            .below(object.lines_before)
            .reading_as_go();
        let mut unknown = Vec::new();
        let metadata = field(&object.fields, "metadata");
        let metadata = Metadata::read(&reader, metadata, "metadata", &mut unknown)?;
        let is_secret = matches!(object.kind.as_str(), "" | "Secret")
            && matches!(object.version.as_str(), "" | "v1");
        if !is_secret {
            return Err(SealManifestError::NotASecret {
                line,
                kind: object.kind.clone(),
                version: object.version.clone(),
                name: metadata.text("name").to_owned(),
            });
        }
        if let Some(sops) = object.fields.iter().find(|field| field.name == "sops") {
            let line = reader.line_of(sops.key);
            return Err(SealManifestError::Encrypted { line });
        }
        for field in &object.fields {
            let known = FIELDS
                .iter()
                .any(|name| name.eq_ignore_ascii_case(&field.name));
            if !known {
                unknown.push((reader.line_of(field.key), field.name.clone()));
            }
        }
        let values = reader.values(
            field(&object.fields, "data"),
            field(&object.fields, "stringData"),
        )?;
        let values = values.into_iter().map(|mut value| PlainValue {
            key: value.key,
            plaintext: SecretBytes::new(std::mem::take(&mut *value.plaintext)),
        });
        let kind = match field(&object.fields, "type") {
            Some(field) => reader.text(field.value, || "type".to_owned())?.into_owned(),
            None => String::new(),
        };
        let immutable = reader.boolean(field(&object.fields, "immutable"), "immutable")?;
        Ok(Self {
            line,
            metadata,
            kind,
            immutable,
            values: values.collect(),
            unknown,
        })
    }

    /// Line of its first key in the manifest.
    pub fn line(&self) -> usize {
        self.line
    }

    /// The name that it has, or nothing.
    pub fn name(&self) -> &str {
        self.metadata.text("name")
    }

    /// Gives it another name, and another namespace unless that is empty: those of the SealedSecret
    /// that it is merged into.
    pub fn bind(&mut self, name: &str, namespace: &str) {
        self.metadata.set("name", Node::text(name));
        if !namespace.is_empty() {
            self.metadata.set("namespace", Node::text(namespace));
        }
    }

    /// Its fields that a Secret does not have, each with its line: a SealedSecret has no place for
    /// them.
    pub fn unknown_fields(&self) -> &[(usize, String)] {
        &self.unknown
    }

    /// The labels and annotations that repeat a value, which would stay in clear: `the label x`.
    ///
    /// Values shorter than [`SHORTEST_PART`] are too common to tell a repetition from chance.
    pub fn repeated_values(&self) -> Vec<String> {
        let mut hidden = HiddenValues::default();
        for value in &self.values {
            hidden.add(0, &value.key, value.plaintext.expose());
        }
        let mut found = Vec::new();
        for (part, one) in [("labels", "label"), ("annotations", "annotation")] {
            for (name, text) in self.metadata.texts(part) {
                let text = Zeroizing::new(text);
                let dropped = LAST_APPLIED.contains(&name.as_str());
                if !dropped && hidden.repeated_in(&text, &|_| SHORTEST_PART).is_some() {
                    found.push(format!("the {one} {name}"));
                }
            }
        }
        found
    }

    /// Seals it (sealed-secrets.md 12.5).
    pub fn seal(&self, plan: &SealPlan<'_>) -> Result<SealedSecret, SealManifestError> {
        if self.values.is_empty() && !plan.allow_empty_data {
            return Err(SealManifestError::EmptyData { line: self.line });
        }
        let identity = Identity::of(
            self.line,
            &Declared {
                name: self.metadata.text("name"),
                namespace: self.metadata.text("namespace"),
                scope: Scope::of_annotations(|name| self.metadata.annotation(name)),
            },
            plan,
        )?;
        let items = self.seal_values(plan.certificate, &identity)?;
        let mut own = Metadata::named(&identity.name, &identity.namespace);
        if let Some(annotation) = identity.scope.annotation() {
            own.edit_annotations(|list| list.push((annotation.to_owned(), "true".to_owned())));
        }
        let mut template = self.metadata.clone();
        template.remove(&SERVER_FIELDS);
        template.set("name", Node::text(identity.name.as_str()));
        template.set("namespace", Node::text(identity.namespace.as_str()));
        template.edit_annotations(|list| {
            list.retain(|(name, _)| {
                let is_scope = name == CLUSTER_WIDE_ANNOTATION || name == NAMESPACE_WIDE_ANNOTATION;
                let stays = !is_scope || plan.scope.is_none();
                stays && !LAST_APPLIED.contains(&name.as_str())
            });
            let chosen = identity.scope.annotation();
            if let Some(name) = chosen.filter(|_| plan.scope.is_some()) {
                list.push((name.to_owned(), "true".to_owned()));
            }
        });
        Ok(SealedSecret::new(
            own,
            template,
            self.kind.clone(),
            self.immutable,
            items,
        ))
    }

    fn seal_values(
        &self,
        certificate: &Certificate,
        identity: &Identity,
    ) -> Result<Vec<SealedItem>, SealManifestError> {
        let label = identity.scope.label(&identity.namespace, &identity.name);
        let values = self.values.iter().map(|value| {
            let sealed = seal_value(certificate, &label, value.plaintext.expose())?;
            Ok(SealedItem::new(value.key.clone(), encode_value(&sealed)))
        });
        values.collect()
    }

    /// The value under a key.
    pub(crate) fn value(&self, key: &str) -> Option<&SecretBytes> {
        let found = self.values.iter().find(|value| value.key == key);
        found.map(|value| &value.plaintext)
    }
}

/// The fields of a Secret, and those that lists of a server add.
const FIELDS: [&str; 7] = [
    "apiVersion",
    "kind",
    "metadata",
    "data",
    "stringData",
    "type",
    "immutable",
];
