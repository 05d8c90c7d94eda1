//! What the values of a Secret are bound to, and the metadata that says so.

use std::borrow::Cow;

use super::nodes::{Field, Reader};
use super::write::{Entry, Remarks, Tree};
use super::{SealManifestError, SealPlan};
use crate::{CLUSTER_WIDE_ANNOTATION, NAMESPACE_WIDE_ANNOTATION, Scope};

/// What a Secret says of itself.
pub(crate) struct Declared<'a> {
    pub(crate) name: &'a str,
    pub(crate) namespace: &'a str,
    /// The scope that its annotations name.
    pub(crate) scope: Scope,
}

/// Name, namespace and scope: what the values are bound to.
pub(crate) struct Identity {
    pub(crate) name: String,
    /// Empty only for cluster-wide.
    pub(crate) namespace: String,
    pub(crate) scope: Scope,
    /// Whether the scope was given, so that the annotations are rewritten.
    rewrites_scope: bool,
}

impl Identity {
    /// Rules 2 to 4 of sealed-secrets.md 12.5; `line` is that of the Secret.
    pub(crate) fn of(
        line: usize,
        declared: &Declared<'_>,
        plan: &SealPlan<'_>,
    ) -> Result<Self, SealManifestError> {
        let name = plan.name.unwrap_or(declared.name).to_owned();
        if name.is_empty() {
            return Err(SealManifestError::NoName { line });
        }
        let scope = plan.scope.unwrap_or(declared.scope);
        let found = declared.namespace.to_owned();
        let namespace = match (scope, plan.namespace) {
            (Scope::ClusterWide, _) => found,
            (_, Some(given)) if !found.is_empty() && found != given => {
                let given = given.to_owned();
                return Err(SealManifestError::NamespaceMismatch { line, found, given });
            }
            (_, Some(given)) => given.to_owned(),
            (_, None) if !found.is_empty() => found,
            (_, None) => {
                let default = (plan.default_namespace)().filter(|name| !name.is_empty());
                default.ok_or(SealManifestError::NoNamespace { line })?
            }
        };
        Ok(Self {
            name,
            namespace,
            scope,
            rewrites_scope: plan.scope.is_some(),
        })
    }

    /// Reads what the metadata of a Secret says.
    pub(super) fn decide(
        reader: &Reader<'_, '_>,
        metadata: &[Field],
        plan: &SealPlan<'_>,
    ) -> Result<Self, SealManifestError> {
        let text = |name: &str| match metadata.iter().find(|field| field.name == name) {
            Some(field) => reader.text(field.value, || format!("metadata.{name}")),
            None => Ok(Cow::Borrowed("")),
        };
        let name = text("name")?;
        let annotations = match metadata.iter().find(|field| field.name == "annotations") {
            Some(field) => reader.fields(field.value, "metadata.annotations")?,
            None => Vec::new(),
        };
        let scope = Scope::of_annotations(|name| {
            let found = annotations.iter().find(|field| field.name == name)?;
            Some(reader.stream.node(found.value).value.as_ref())
        });
        let namespace = text("namespace")?;
        let declared = Declared {
            name: &name,
            namespace: &namespace,
            scope,
        };
        Self::of(reader.line, &declared, plan)
    }

    /// The SealedSecret's own metadata: name, namespace, and the annotation of the scope alone.
    pub(super) fn own_metadata(
        &self,
        reader: &Reader<'_, '_>,
        metadata: &[Field],
    ) -> Result<Vec<Entry>, SealManifestError> {
        let mut entries = self.names(reader, metadata)?;
        if let Some(annotation) = self.scope.annotation() {
            let mark = Entry::new(annotation, Tree::quoted("true"));
            entries.push(Entry::new("annotations", Tree::Map(vec![mark])));
        }
        Ok(entries)
    }

    /// The metadata of the Secret to come: all of it but what a server fills in.
    pub(super) fn template_metadata(
        &self,
        reader: &Reader<'_, '_>,
        metadata: &[Field],
    ) -> Result<Vec<Entry>, SealManifestError> {
        let mut entries = self.names(reader, metadata)?;
        let mut annotations = Vec::new();
        let mut of_annotations = Remarks::default();
        for field in metadata {
            match field.name.as_str() {
                "name" | "namespace" => {}
                name if SERVER_FIELDS.contains(&name) => {}
                "annotations" => {
                    of_annotations = reader.remarks(field);
                    for annotation in reader.fields(field.value, "metadata.annotations")? {
                        let name = annotation.name.as_str();
                        let scope =
                            name == CLUSTER_WIDE_ANNOTATION || name == NAMESPACE_WIDE_ANNOTATION;
                        if LAST_APPLIED.contains(&name) || (scope && self.rewrites_scope) {
                            continue;
                        }
                        annotations.push(reader.entry(&annotation)?);
                    }
                }
                _ => entries.push(reader.entry(field)?),
            }
        }
        let scope = self.scope.annotation().filter(|_| self.rewrites_scope);
        annotations.extend(scope.map(|name| Entry::new(name, Tree::quoted("true"))));
        if !annotations.is_empty() {
            entries.push(Entry::new("annotations", Tree::Map(annotations)).with(of_annotations));
        }
        Ok(entries)
    }

    /// `name` and `namespace` with the comments they had.
    fn names(
        &self,
        reader: &Reader<'_, '_>,
        metadata: &[Field],
    ) -> Result<Vec<Entry>, SealManifestError> {
        let mut entries = Vec::new();
        for (name, text) in [("name", &self.name), ("namespace", &self.namespace)] {
            if text.is_empty() {
                continue;
            }
            let field = metadata.iter().find(|field| field.name == name);
            let kept = match field.map(|field| reader.entry(field)).transpose()? {
                Some(entry) if entry.value.is_text(text) => entry,
                Some(entry) => Entry::new(name, Tree::text(text.clone())).with(entry.remarks),
                None => Entry::new(name, Tree::text(text.clone())),
            };
            entries.push(kept);
        }
        Ok(entries)
    }
}

/// Fields of metadata that a server fills in (sealed-secrets.md 12.5, rule 5). Upstream keeps
/// managedFields, which mean nothing in a template.
pub(crate) const SERVER_FIELDS: [&str; 9] = [
    "selfLink",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "ownerReferences",
    "managedFields",
];
/// Annotations that hold a copy of the whole manifest, in clear.
pub(crate) const LAST_APPLIED: [&str; 2] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    "kubecfg.ksonnet.io/last-applied-configuration",
];
