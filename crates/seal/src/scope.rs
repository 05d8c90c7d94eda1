//! Scopes, their annotations and the labels they bind a value to (sealed-secrets.md 2).

use std::fmt;
use std::str::FromStr;

/// Prefix of every annotation and label that the software knows (sealed-secrets.md 5).
pub const ANNOTATION_PREFIX: &str = "sealedsecrets.bitnami.com/";
/// The annotation of a namespace-wide object; only the value `true` counts.
pub const NAMESPACE_WIDE_ANNOTATION: &str = "sealedsecrets.bitnami.com/namespace-wide";
/// The annotation of a cluster-wide object; only the value `true` counts.
pub const CLUSTER_WIDE_ANNOTATION: &str = "sealedsecrets.bitnami.com/cluster-wide";

/// Where a sealed value may be opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Under one name in one namespace.
    #[default]
    Strict,
    /// Under any name in one namespace.
    NamespaceWide,
    /// Anywhere in the cluster.
    ClusterWide,
}

/// Text that names no scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a scope; write strict, namespace-wide or cluster-wide")]
pub struct ScopeParseError(String);

impl Scope {
    /// Every scope, narrowest first.
    pub const ALL: [Self; 3] = [Self::Strict, Self::NamespaceWide, Self::ClusterWide];

    /// Returns the name as the command line takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::NamespaceWide => "namespace-wide",
            Self::ClusterWide => "cluster-wide",
        }
    }

    /// Returns the annotation that marks an object of this scope; strict has none.
    pub fn annotation(self) -> Option<&'static str> {
        match self {
            Self::Strict => None,
            Self::NamespaceWide => Some(NAMESPACE_WIDE_ANNOTATION),
            Self::ClusterWide => Some(CLUSTER_WIDE_ANNOTATION),
        }
    }

    /// Reads the scope from annotations, given as a lookup by name.
    ///
    /// To unseal, these must be those of the SealedSecret's own `metadata`, never of its template:
    /// the template is under the control of whoever wrote the manifest, and would let them widen
    /// the scope of somebody else's value (sealed-secrets.md 2, fixed upstream in 0.36.0).
    pub fn of_annotations<'a>(annotation: impl Fn(&str) -> Option<&'a str>) -> Self {
        let set = |name| annotation(name) == Some("true");
        if set(CLUSTER_WIDE_ANNOTATION) {
            Self::ClusterWide
        } else if set(NAMESPACE_WIDE_ANNOTATION) {
            Self::NamespaceWide
        } else {
            Self::Strict
        }
    }

    /// Returns the label that binds a value to an object of this scope.
    pub fn label(self, namespace: &str, name: &str) -> Label {
        Label(match self {
            Self::Strict => format!("{namespace}/{name}").into_bytes(),
            Self::NamespaceWide => namespace.as_bytes().to_vec(),
            Self::ClusterWide => Vec::new(),
        })
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Scope {
    type Err = ScopeParseError;

    /// Parses a name; the empty text is strict, as for kubeseal (sealed-secrets.md 12.1).
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Ok(Self::Strict);
        }
        let found = Self::ALL.into_iter().find(|scope| scope.name() == text);
        found.ok_or_else(|| ScopeParseError(text.to_owned()))
    }
}

/// The OAEP label: what a sealed value is bound to. Made by [`Scope::label`] only.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Label(Vec<u8>);

impl Label {
    /// Returns the bytes, empty for cluster-wide.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(annotations: &[(&str, &str)]) -> Scope {
        Scope::of_annotations(|name| {
            let found = annotations.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| *value)
        })
    }

    #[test]
    fn only_the_exact_text_true_sets_a_scope_and_cluster_wide_wins() {
        assert_eq!(of(&[]), Scope::Strict);
        for value in ["TRUE", "True", "1", "yes", "", " true"] {
            assert_eq!(of(&[(CLUSTER_WIDE_ANNOTATION, value)]), Scope::Strict);
        }
        let namespace = (NAMESPACE_WIDE_ANNOTATION, "true");
        let cluster = (CLUSTER_WIDE_ANNOTATION, "true");
        assert_eq!(of(&[namespace]), Scope::NamespaceWide);
        assert_eq!(of(&[namespace, cluster]), Scope::ClusterWide);
    }

    #[test]
    fn labels_are_those_of_the_reference() {
        assert_eq!(Scope::Strict.label("ns", "n").as_bytes(), b"ns/n");
        assert_eq!(Scope::NamespaceWide.label("ns", "n").as_bytes(), b"ns");
        assert_eq!(Scope::ClusterWide.label("ns", "n").as_bytes(), b"");
    }

    #[test]
    fn names_parse_and_print() {
        for scope in Scope::ALL {
            assert_eq!(scope.to_string().parse(), Ok(scope));
        }
        assert_eq!("".parse(), Ok(Scope::Strict));
        let error = "Strict".parse::<Scope>().unwrap_err();
        assert!(error.to_string().contains("`Strict` is not a scope"));
    }
}
