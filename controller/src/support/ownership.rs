//! Who may write a Secret: the guards in front of every write to one that exists.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::ObjectMeta;

/// Annotation on an existing Secret that hands it over (sealed-secrets.md 5).
pub const MANAGED: &str = "sealedsecrets.bitnami.com/managed";
/// Annotation on an existing Secret that lets values be merged into it.
pub const PATCH: &str = "sealedsecrets.bitnami.com/patch";
/// Annotation of a template that asks for a Secret without owner reference.
pub const SKIP_OWNER: &str = "sealedsecrets.bitnami.com/skip-set-owner-references";
/// All annotations that [`may_write`] reads.
pub const MARKS: [&str; 3] = [MANAGED, PATCH, SKIP_OWNER];

const TOKEN_TYPE: &str = "kubernetes.io/service-account-token";
const TOKEN_TYPES: [&str; 2] = [TOKEN_TYPE, "bootstrap.kubernetes.io/token"];
const SEALING_KEY_LABEL: &str = "sealedsecrets.bitnami.com/sealed-secrets-key";
const SERVICE_ACCOUNT_ANNOTATION: &str = "kubernetes.io/service-account.name";

/// The custom resource that wants to write.
#[derive(Clone, Copy, Debug)]
pub struct Claimant<'a> {
    /// As `bitnami.com/v1alpha1`.
    pub api_version: &'a str,
    /// As `SealedSecret`.
    pub kind: &'a str,
    /// Its name, which is also the name of the Secret.
    pub name: &'a str,
    /// Its UID.
    pub uid: &'a str,
    /// Whether its template asks for a Secret without owner reference.
    pub skips_owner: bool,
    /// UID of the Secret that this process wrote for it and that it owned then.
    pub wrote: Option<&'a str>,
}

/// Why the Secret may be written, and how.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Claim {
    /// It is the claimant's: data, type and owner are its to set.
    Owned,
    /// It was handed over by annotation. As [`Claim::Owned`], but it is never deleted to change
    /// its type: somebody else made it.
    HandedOver,
    /// Values, labels and annotations may be added to it, nothing is taken away.
    Merge {
        /// Whether the owner reference is set, too.
        own: bool,
    },
}

/// Why the Secret may not be written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Denied {
    /// Nothing on the Secret speaks for the claimant.
    Unmanaged,
    /// Another resource controls it.
    ControlledBy {
        /// Kind of that resource.
        kind: String,
        /// Name of that resource.
        name: String,
    },
}

/// Decides whether `claimant` may write the existing Secret `secret`.
///
/// The attack: somebody may create SealedSecrets in a namespace but not write its Secrets, and gives
/// a SealedSecret the name of a Secret of others, to replace their database password or to have a
/// service account's token exchanged. So a claim needs a word **on the Secret itself**, which only who
/// may write Secrets can put there, and nothing in the claimant's own manifest ever suffices.
///
/// What counts, in this order:
/// - another controller on the Secret denies everything but a merge that the Secret asks for;
/// - the claimant's UID as controller, or a controller of the same kind and name: that is an earlier
///   object of this name, which is gone, as names are unique (sealed-secrets.md 7.3, quick replace);
/// - `managed`, then `patch`;
/// - the UID of the Secret that this very process wrote: its owner reference was taken away by hand.
///   It is not remembered over a restart, where a Secret that was released on purpose looks the same;
/// - the mark that its template, and nothing else, leaves on a Secret that shall have no owner.
pub fn may_write(secret: &ObjectMeta, claimant: Claimant<'_>) -> Result<Claim, Denied> {
    let says = |annotation: &str| {
        let annotations = secret.annotations.as_ref();
        annotations
            .and_then(|all| all.get(annotation))
            .is_some_and(|value| value == "true")
    };
    let (managed, patch) = (says(MANAGED), says(PATCH));
    match controller_of(secret) {
        Some(owner) if patch => Ok(Claim::Merge {
            own: managed && is_claimant(owner, claimant),
        }),
        Some(owner) if is_claimant(owner, claimant) => Ok(Claim::Owned),
        Some(owner) => Err(Denied::ControlledBy {
            kind: owner.kind.clone(),
            name: owner.name.clone(),
        }),
        None if patch => Ok(Claim::Merge { own: managed }),
        None if managed => Ok(Claim::HandedOver),
        None if claimant.wrote.is_some() && claimant.wrote == secret.uid.as_deref() => {
            Ok(Claim::Owned)
        }
        None if claimant.skips_owner && says(SKIP_OWNER) => Ok(Claim::HandedOver),
        None => Err(Denied::Unmanaged),
    }
}

/// Returns the ServiceAccount whose token Kubernetes puts into such a Secret, if it does.
///
/// The attack: somebody may create custom resources and read Secrets, and has a Secret of type
/// service-account-token made with the annotation that names a ServiceAccount; Kubernetes fills it with
/// a token of that account (CVE-2026-42876). So it is asked about the Secret **as it would be
/// written**: type and annotation may come from the template, or be left on a Secret that is adopted.
pub fn token_account<'a>(
    type_: Option<&str>,
    annotations: Option<&'a BTreeMap<String, String>>,
) -> Option<&'a str> {
    let account = annotations?.get(SERVICE_ACCOUNT_ANNOTATION)?;
    (type_ == Some(TOKEN_TYPE)).then_some(account)
}

/// What a Secret does by itself, whoever reads it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Privilege {
    /// The controller would take it for a sealing key.
    SealingKey,
    /// Kubernetes fills it with a token of this ServiceAccount.
    Token {
        /// Name of the account.
        account: String,
    },
    /// Its type makes it a token that the API server accepts or makes.
    TokenType(String),
}

/// Returns what a Secret with this type, these labels and annotations would do by itself.
///
/// The attack: somebody may create SealedSecrets but no Secrets of his own, and has one made that Kubernetes fills with a
/// ServiceAccount's token ([`token_account`]), that is a bootstrap token (with it he joins the cluster as a node, or as any
/// group below `system:bootstrappers:`), or that a controller takes for a sealing key (then he reads what others seal).
pub fn privilege(
    type_: Option<&str>,
    labels: Option<&BTreeMap<String, String>>,
    annotations: Option<&BTreeMap<String, String>>,
) -> Option<Privilege> {
    if labels.is_some_and(|labels| labels.contains_key(SEALING_KEY_LABEL)) {
        return Some(Privilege::SealingKey);
    }
    if let Some(account) = token_account(type_, annotations) {
        let account = account.to_owned();
        return Some(Privilege::Token { account });
    }
    let type_ = type_.filter(|type_| TOKEN_TYPES.contains(type_))?;
    Some(Privilege::TokenType(type_.to_owned()))
}

/// Returns the owner reference that controls the object, if one does.
pub fn controller_of(object: &ObjectMeta) -> Option<&OwnerReference> {
    let owners = object.owner_references.as_deref().unwrap_or_default();
    owners.iter().find(|owner| owner.controller == Some(true))
}

/// Returns whether `owner` is the claimant or an earlier object of its kind and name.
pub fn is_claimant(owner: &OwnerReference, claimant: Claimant<'_>) -> bool {
    let group = |version: &str| version.split('/').next().unwrap_or_default().to_owned();
    owner.uid == claimant.uid
        || (owner.kind == claimant.kind
            && owner.name == claimant.name
            && group(&owner.api_version) == group(claimant.api_version))
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use super::*;

    const US: Claimant<'static> = Claimant {
        api_version: "bitnami.com/v1alpha1",
        kind: "SealedSecret",
        name: "db",
        uid: "new",
        skips_owner: false,
        wrote: None,
    };

    fn owner(kind: &str, name: &str, uid: &str) -> OwnerReference {
        OwnerReference {
            api_version: match kind {
                "SealedSecret" => "bitnami.com/v1alpha1",
                _ => "external-secrets.io/v1",
            }
            .to_owned(),
            kind: kind.to_owned(),
            name: name.to_owned(),
            uid: uid.to_owned(),
            controller: Some(true),
            block_owner_deletion: None,
        }
    }

    fn secret(owners: &[OwnerReference], annotations: &[&str]) -> ObjectMeta {
        let annotations = annotations
            .iter()
            .map(|name| ((*name).to_owned(), "true".to_owned()));
        ObjectMeta {
            uid: Some("secret".to_owned()),
            owner_references: Some(owners.to_vec()),
            annotations: Some(annotations.collect()),
            ..ObjectMeta::default()
        }
    }

    #[test]
    fn the_table() {
        let ours = owner("SealedSecret", "db", "new");
        let before = owner("SealedSecret", "db", "old");
        let sibling = owner("SealedSecret", "other", "x");
        let foreign = owner("ExternalSecret", "db", "y");
        let merge = |own| Ok(Claim::Merge { own });
        let controlled = |by: &OwnerReference| {
            Err(Denied::ControlledBy {
                kind: by.kind.clone(),
                name: by.name.clone(),
            })
        };
        let wrote = Claimant {
            wrote: Some("secret"),
            ..US
        };
        let wrote_other = Claimant {
            wrote: Some("another"),
            ..US
        };
        let skips = Claimant {
            skips_owner: true,
            ..US
        };
        for (name, secret, claimant, expected) in [
            ("ours", secret(from_ref(&ours), &[]), US, Ok(Claim::Owned)),
            (
                "same name before",
                secret(&[before], &[]),
                US,
                Ok(Claim::Owned),
            ),
            (
                "sibling",
                secret(from_ref(&sibling), &[]),
                US,
                controlled(&sibling),
            ),
            (
                "other kind",
                secret(from_ref(&foreign), &[]),
                US,
                controlled(&foreign),
            ),
            (
                "managed, other kind",
                secret(from_ref(&foreign), &[MANAGED]),
                US,
                controlled(&foreign),
            ),
            (
                "patch, other kind",
                secret(from_ref(&foreign), &[PATCH]),
                US,
                merge(false),
            ),
            (
                "patch, managed, other kind",
                secret(from_ref(&foreign), &[PATCH, MANAGED]),
                US,
                merge(false),
            ),
            (
                "other kind, once ours",
                secret(from_ref(&foreign), &[]),
                wrote,
                controlled(&foreign),
            ),
            ("unmanaged", secret(&[], &[]), US, Err(Denied::Unmanaged)),
            (
                "managed",
                secret(&[], &[MANAGED]),
                US,
                Ok(Claim::HandedOver),
            ),
            ("patch", secret(&[], &[PATCH]), US, merge(false)),
            (
                "patch and ours",
                secret(from_ref(&ours), &[PATCH]),
                US,
                merge(false),
            ),
            (
                "patch, managed and ours",
                secret(&[ours], &[PATCH, MANAGED]),
                US,
                merge(true),
            ),
            (
                "patch and managed",
                secret(&[], &[PATCH, MANAGED]),
                US,
                merge(true),
            ),
            (
                "owner taken away",
                secret(&[], &[]),
                wrote,
                Ok(Claim::Owned),
            ),
            (
                "made anew by others",
                secret(&[], &[]),
                wrote_other,
                Err(Denied::Unmanaged),
            ),
            (
                "skip on both",
                secret(&[], &[SKIP_OWNER]),
                skips,
                Ok(Claim::HandedOver),
            ),
            (
                "skip on the template only",
                secret(&[], &[]),
                skips,
                Err(Denied::Unmanaged),
            ),
            (
                "skip on the Secret only",
                secret(&[], &[SKIP_OWNER]),
                US,
                Err(Denied::Unmanaged),
            ),
        ] {
            assert_eq!(may_write(&secret, claimant), expected, "{name}");
        }
    }

    #[test]
    fn type_and_annotation_together_make_a_token() {
        let annotated =
            BTreeMap::from([(SERVICE_ACCOUNT_ANNOTATION.to_owned(), "admin".to_owned())]);
        let none = BTreeMap::new();
        assert_eq!(
            token_account(Some(TOKEN_TYPE), Some(&annotated)),
            Some("admin")
        );
        assert_eq!(token_account(Some(TOKEN_TYPE), Some(&none)), None);
        assert_eq!(token_account(Some(TOKEN_TYPE), None), None);
        assert_eq!(token_account(Some("Opaque"), Some(&annotated)), None);
        assert_eq!(token_account(None, Some(&annotated)), None);
    }

    #[test]
    fn what_a_secret_does_by_itself() {
        let map = |name: &str| BTreeMap::from([(name.to_owned(), "admin".to_owned())]);
        let (key, account) = (map(SEALING_KEY_LABEL), map(SERVICE_ACCOUNT_ANNOTATION));
        let none = BTreeMap::new();
        let token_type = |type_: &str| Some(Privilege::TokenType(type_.to_owned()));
        let token = Some(Privilege::Token {
            account: "admin".to_owned(),
        });
        for (type_, labels, annotations, expected) in [
            (Some("Opaque"), &none, &account, None),
            (None, &none, &none, None),
            (None, &key, &none, Some(Privilege::SealingKey)),
            (
                Some("kubernetes.io/tls"),
                &key,
                &none,
                Some(Privilege::SealingKey),
            ),
            (Some(TOKEN_TYPE), &none, &account, token),
            (Some(TOKEN_TYPE), &none, &none, token_type(TOKEN_TYPE)),
            (
                Some("bootstrap.kubernetes.io/token"),
                &none,
                &none,
                token_type("bootstrap.kubernetes.io/token"),
            ),
        ] {
            let found = privilege(type_, Some(labels), Some(annotations));
            assert_eq!(found, expected, "{type_:?} {labels:?}");
        }
    }

    #[test]
    fn only_the_exact_word_counts() {
        for value in ["TRUE", "True", "1", "yes", ""] {
            let mut secret = secret(&[], &[]);
            secret.annotations = Some(BTreeMap::from([(MANAGED.to_owned(), value.to_owned())]));
            assert_eq!(may_write(&secret, US), Err(Denied::Unmanaged), "{value}");
        }
    }

    #[test]
    fn an_owner_that_does_not_control_is_no_claim() {
        let mut loose = owner("SealedSecret", "db", "new");
        loose.controller = None;
        assert_eq!(
            may_write(&secret(&[loose], &[]), US),
            Err(Denied::Unmanaged)
        );
    }
}
