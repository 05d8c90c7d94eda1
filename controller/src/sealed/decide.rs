//! From what was observed to what shall be written and said: pure, no clock, no I/O.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
use kube::{Resource, api::ObjectMeta};
use selkie_api::sealed_secret::{
    SealedSecret, SealedSecretCondition, SealedSecretStatus, TemplateMetadata,
};

use super::unseal::{Content, Shape, UnsealError};
use crate::support::{
    events::{Note, Severity},
    managed_fields::SetBy,
    ownership::{
        Claim, Claimant, Denied, Privilege, SKIP_OWNER, is_claimant, may_write, privilege,
    },
    secret_object::{SecretData, SecretObject},
    secret_write::successor,
};

/// Manager under which the API server books the fields that we set: how a label of ours that left
/// the template is told from one that somebody else put there.
pub const FIELD_MANAGER: &str = "selkie-sealed-secrets";
/// The one condition type.
pub const SYNCED: &str = "Synced";

const API_VERSION: &str = "bitnami.com/v1alpha1";
const KIND: &str = "SealedSecret";

/// What a decision stands on.
#[derive(Debug)]
pub struct Observed<'a> {
    /// The SealedSecret.
    pub sealed: &'a SealedSecret,
    /// The Secret of its name, if there is one.
    pub live: Option<&'a SecretObject>,
    /// UID of the Secret that this process wrote for this SealedSecret.
    pub wrote: Option<&'a str>,
    /// Whether Secrets with the label of keys or of a token type are made.
    pub allow_privileged: bool,
    /// The values.
    pub opened: Result<Content, UnsealError>,
}

/// What to write.
#[derive(Debug)]
pub enum Write {
    /// The Secret is as it shall be.
    Nothing,
    /// There is none: make it.
    Create(SecretObject),
    /// Put this in its place; it carries the resource version that was read.
    Update(SecretObject),
    /// Delete the one with this UID and resource version, then make this. The type of a Secret
    /// cannot change in place.
    Replace {
        /// UID of the one to delete.
        uid: String,
        /// Its resource version.
        resource_version: String,
        /// The one to make.
        new: SecretObject,
    },
}

/// Why nothing is written. The existing Secret stays as it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Failure {
    /// What kind of failure, which sets event reason and metric label.
    pub kind: FailureKind,
    /// Text of the condition.
    pub status: String,
    /// Text of the Event.
    pub event: String,
}

/// Kind of a [`Failure`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FailureKind {
    /// The SealedSecret cannot be opened or asks for something that is not done.
    Unseal,
    /// The Secret is not ours to write.
    Unmanaged,
    /// The Secret cannot be written.
    Update,
    /// Somebody else changed the Secret, and it is not put right.
    Drift,
}

impl FailureKind {
    /// Reason of the Event (sealed-secrets.md 7.6).
    pub fn event_reason(self) -> &'static str {
        match self {
            Self::Unseal => "ErrUnsealFailed",
            Self::Unmanaged | Self::Update => "ErrUpdateFailed",
            Self::Drift => "Drifted",
        }
    }

    /// Reason of the condition, which upstream leaves out.
    pub fn condition_reason(self) -> &'static str {
        match self {
            Self::Unseal => "UnsealFailed",
            Self::Unmanaged => "Unmanaged",
            Self::Update => "UpdateFailed",
            Self::Drift => "Drifted",
        }
    }

    /// Label of the error counter (sealed-secrets.md 9.5).
    pub fn metric_reason(self) -> &'static str {
        match self {
            Self::Unseal => "unseal",
            Self::Unmanaged => "unmanaged",
            Self::Update => "update",
            Self::Drift => "drift",
        }
    }
}

/// Decides what to write.
pub fn decide(observed: Observed<'_>) -> Result<Write, Failure> {
    let live = observed.live;
    let allowed = observed.allow_privileged;
    let write = wanted(observed)?;
    let new = match &write {
        Write::Nothing => return Ok(write),
        Write::Create(new) | Write::Update(new) | Write::Replace { new, .. } => new,
    };
    match privilege_of(new) {
        Some(privilege) if !allowed && !is_held(live, &privilege) => {
            Err(privilege_refused(new, &privilege))
        }
        _ => Ok(write),
    }
}

fn privilege_of(secret: &SecretObject) -> Option<Privilege> {
    let meta = &secret.metadata;
    privilege(
        secret.type_.as_deref(),
        meta.labels.as_ref(),
        meta.annotations.as_ref(),
    )
}

/// Returns whether the Secret is what it would become already. A token is there then, with or without us; a sealing key
/// is nobody's to change.
fn is_held(live: Option<&SecretObject>, privilege: &Privilege) -> bool {
    *privilege != Privilege::SealingKey && live.and_then(privilege_of).as_ref() == Some(privilege)
}

fn wanted(observed: Observed<'_>) -> Result<Write, Failure> {
    let sealed = observed.sealed;
    let of_template = Shape::of_template(&sealed.spec).map_err(|error| unseal_failure(&error))?;
    let content = observed.opened.map_err(|error| unseal_failure(&error))?;
    let shape = content.shape.unwrap_or(of_template);
    let (metadata, data) = (&shape.metadata, content.data);
    let claimant = claimant(sealed, metadata, observed.wrote);
    let Some(live) = observed.live else {
        return Ok(Write::Create(new_secret(sealed, &shape, claimant, data)));
    };
    let claim =
        may_write(&live.metadata, claimant).map_err(|denied| unmanaged(claimant.name, &denied))?;
    if live.metadata.deletion_timestamp.is_some() {
        return Err(being_deleted(live));
    }
    let mut wanted = SecretObject {
        metadata: wanted_metadata(&live.metadata, metadata, claimant, claim),
        type_: live.type_.clone(),
        immutable: live.immutable,
        data: wanted_data(live, data, claim),
    };
    let type_ = shape.type_.as_ref();
    // Without a type in the template the Secret's own stays: Opaque is only the API server's default.
    let type_differs = type_.is_some() && type_ != live.type_.as_ref();
    if live.immutable == Some(true) && (wanted.data != live.data || type_differs) {
        return Err(immutable(live));
    }
    if type_differs {
        wanted.type_ = type_.cloned();
        return match claim {
            Claim::Owned => Ok(replacement(live, wanted)),
            Claim::HandedOver | Claim::Merge { .. } => Err(type_fixed(live, &wanted)),
        };
    }
    let same = wanted.data == live.data && same_metadata(&wanted.metadata, &live.metadata);
    Ok(if same {
        Write::Nothing
    } else {
        Write::Update(wanted)
    })
}

/// Returns whether an owner is a SealedSecret of this name, whatever its UID.
pub fn is_of(owner: &OwnerReference, name: &str) -> bool {
    let claimant = Claimant {
        api_version: API_VERSION,
        kind: KIND,
        name,
        uid: "",
        skips_owner: false,
        wrote: None,
    };
    is_claimant(owner, claimant)
}

/// How a pass ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// The Secret is as it shall be.
    Synced,
    /// It is not.
    Failed(Failure),
}

/// What to say about an outcome.
#[derive(Debug, PartialEq)]
pub struct Report {
    /// The status to write; `None` when the present one says it already.
    pub status: Option<SealedSecretStatus>,
    /// The Event to write; `None` when nothing happened.
    pub note: Option<Note>,
}

/// Decides what to say.
///
/// `present` is the status that is there, `before` how the last pass of this process ended, `wrote`
/// whether this pass wrote the Secret. The status is written when anything in it but the times would
/// change; an Event tells of a write or of a change, never of a pass that found all in order.
pub fn report(
    generation: Option<i64>,
    present: Option<&SealedSecretStatus>,
    before: Option<&Outcome>,
    outcome: &Outcome,
    wrote: bool,
    now: Timestamp,
) -> Report {
    let status = status(generation, present, outcome, now);
    let note = match outcome {
        Outcome::Synced if wrote || status.is_some() => Some(Note {
            severity: Severity::Normal,
            reason: "Unsealed",
            message: "SealedSecret unsealed successfully".to_owned(),
        }),
        Outcome::Synced => None,
        Outcome::Failed(failure) if status.is_some() || before != Some(outcome) => Some(Note {
            severity: Severity::Warning,
            reason: failure.kind.event_reason(),
            message: failure.event.clone(),
        }),
        Outcome::Failed(_) => None,
    };
    Report { status, note }
}

/// Returns the status to write, or `None` when the present one says it already
/// (sealed-secrets.md 7.4; a new message alone is written, too, which upstream does not). The reason alone is no cause to
/// write: upstream's conditions have none, and are taken over as they are.
fn status(
    generation: Option<i64>,
    present: Option<&SealedSecretStatus>,
    outcome: &Outcome,
    now: Timestamp,
) -> Option<SealedSecretStatus> {
    let (value, reason, message) = match outcome {
        Outcome::Synced => ("True", "Unsealed", None),
        Outcome::Failed(failure) => (
            "False",
            failure.kind.condition_reason(),
            Some(failure.status.clone()),
        ),
    };
    let conditions = present
        .map(|status| status.conditions.as_slice())
        .unwrap_or_default();
    let old = conditions
        .iter()
        .find(|condition| condition.type_ == SYNCED);
    let said = old.is_some_and(|old| {
        let old_message = old.message.as_deref().filter(|message| !message.is_empty());
        old.status == value && old_message == message.as_deref()
    });
    if said && present.and_then(|status| status.observed_generation) == generation {
        return None;
    }
    let since = old
        .filter(|old| old.status == value)
        .and_then(|old| old.last_transition_time.clone());
    let condition = SealedSecretCondition {
        type_: SYNCED.to_owned(),
        status: value.to_owned(),
        last_update_time: Some(Time(now)),
        last_transition_time: Some(since.unwrap_or(Time(now))),
        reason: Some(reason.to_owned()),
        message,
    };
    // Printer columns read index 0, so `Synced` comes first.
    let others = conditions
        .iter()
        .filter(|condition| condition.type_ != SYNCED);
    Some(SealedSecretStatus {
        observed_generation: generation,
        conditions: std::iter::once(condition).chain(others.cloned()).collect(),
    })
}

fn claimant<'a>(
    sealed: &'a SealedSecret,
    metadata: &TemplateMetadata,
    wrote: Option<&'a str>,
) -> Claimant<'a> {
    let meta = sealed.meta();
    Claimant {
        api_version: API_VERSION,
        kind: KIND,
        name: meta.name.as_deref().unwrap_or_default(),
        uid: meta.uid.as_deref().unwrap_or_default(),
        skips_owner: metadata
            .annotations
            .get(SKIP_OWNER)
            .is_some_and(|value| value == "true"),
        wrote,
    }
}

fn new_secret(
    sealed: &SealedSecret,
    shape: &Shape,
    claimant: Claimant<'_>,
    data: SecretData,
) -> SecretObject {
    let metadata = &shape.metadata;
    SecretObject {
        metadata: ObjectMeta {
            name: sealed.meta().name.clone(),
            namespace: sealed.meta().namespace.clone(),
            labels: some_map(metadata.labels.clone()),
            annotations: some_map(metadata.annotations.clone()),
            finalizers: Some(metadata.finalizers.clone()).filter(|list| !list.is_empty()),
            owner_references: (!claimant.skips_owner).then(|| vec![owner_reference(claimant)]),
            ..ObjectMeta::default()
        },
        type_: shape.type_.clone(),
        immutable: shape.immutable,
        data,
    }
}

/// Returns the metadata that the Secret shall have: what the template says, and what others put
/// there; only what we set ourselves and the template no longer has goes away.
fn wanted_metadata(
    live: &ObjectMeta,
    template: &TemplateMetadata,
    claimant: Claimant<'_>,
    claim: Claim,
) -> ObjectMeta {
    let ours = SetBy::of(FIELD_MANAGER, live);
    let merged =
        |ours: &BTreeSet<String>, present: &Option<BTreeMap<_, _>>, template: &BTreeMap<_, _>| {
            let mut all = present.clone().unwrap_or_default();
            if !matches!(claim, Claim::Merge { .. }) {
                all.retain(|name, _| template.contains_key(name) || !ours.contains(name));
            }
            all.extend(template.clone());
            some_map(all)
        };
    ObjectMeta {
        labels: merged(&ours.labels, &live.labels, &template.labels),
        annotations: merged(&ours.annotations, &live.annotations, &template.annotations),
        owner_references: wanted_owners(live, claimant, claim),
        // The API server keeps its own books when these are absent.
        managed_fields: None,
        ..live.clone()
    }
}

/// Returns the owner references that the Secret shall have. Those of others that do not control it
/// stay; one of an earlier SealedSecret of this name goes, or the garbage collector would delete.
fn wanted_owners(
    live: &ObjectMeta,
    claimant: Claimant<'_>,
    claim: Claim,
) -> Option<Vec<OwnerReference>> {
    if claim == (Claim::Merge { own: false }) {
        return live.owner_references.clone();
    }
    let present = live.owner_references.iter().flatten();
    let mut owners: Vec<_> = present
        .filter(|owner| !is_claimant(owner, claimant) || is_in_order(owner, claimant))
        .filter(|owner| !claimant.skips_owner || owner.uid != claimant.uid)
        .cloned()
        .collect();
    if !claimant.skips_owner && !owners.iter().any(|owner| owner.uid == claimant.uid) {
        owners.push(owner_reference(claimant));
    }
    Some(owners).filter(|owners| !owners.is_empty())
}

fn is_in_order(owner: &OwnerReference, claimant: Claimant<'_>) -> bool {
    let expected = owner_reference(claimant);
    *owner
        == OwnerReference {
            block_owner_deletion: owner.block_owner_deletion,
            ..expected
        }
}

fn owner_reference(claimant: Claimant<'_>) -> OwnerReference {
    OwnerReference {
        api_version: claimant.api_version.to_owned(),
        kind: claimant.kind.to_owned(),
        name: claimant.name.to_owned(),
        uid: claimant.uid.to_owned(),
        controller: Some(true),
        block_owner_deletion: None,
    }
}

fn wanted_data(live: &SecretObject, opened: SecretData, claim: Claim) -> SecretData {
    if !matches!(claim, Claim::Merge { .. }) {
        return opened;
    }
    let mut merged = live.data.duplicate();
    merged.0.extend(opened.0);
    merged
}

/// Absent and empty maps are equal.
fn same_metadata(wanted: &ObjectMeta, live: &ObjectMeta) -> bool {
    fn map(map: &Option<BTreeMap<String, String>>) -> BTreeMap<&String, &String> {
        map.iter().flatten().collect()
    }
    let owners = |meta: &ObjectMeta| meta.owner_references.clone().unwrap_or_default();
    map(&wanted.labels) == map(&live.labels)
        && map(&wanted.annotations) == map(&live.annotations)
        && owners(wanted) == owners(live)
}

/// Makes the successor of a Secret whose type has to change; it keeps the labels and annotations
/// that others put on it.
fn replacement(live: &SecretObject, wanted: SecretObject) -> Write {
    Write::Replace {
        uid: live.metadata.uid.clone().unwrap_or_default(),
        resource_version: live.metadata.resource_version.clone().unwrap_or_default(),
        new: SecretObject {
            metadata: successor(wanted.metadata),
            ..wanted
        },
    }
}

fn unseal_failure(error: &UnsealError) -> Failure {
    Failure {
        kind: FailureKind::Unseal,
        status: error.to_string(),
        event: format!("Failed to unseal: {error}"),
    }
}

fn unmanaged(name: &str, denied: &Denied) -> Failure {
    let mut event =
        format!("Resource \"{name}\" already exists and is not managed by SealedSecret");
    if let Denied::ControlledBy { kind, name } = denied {
        event += &format!(" (it is controlled by {kind} \"{name}\")");
    }
    Failure {
        kind: FailureKind::Unmanaged,
        status: format!("failed update: {event}"),
        event,
    }
}

/// The text that upstream's users and tests look for (sealed-secrets.md 7.3).
fn immutable(live: &SecretObject) -> Failure {
    let name = live.metadata.name.as_deref().unwrap_or_default();
    let namespace = live.metadata.namespace.as_deref().unwrap_or_default();
    Failure {
        kind: FailureKind::Update,
        status: format!(
            "Secret \"{name}\" is invalid: data: Forbidden: field is immutable when `immutable` is set"
        ),
        event: format!(
            "Error updating {namespace}/{name}: the target Secret is immutable. Once a Secret is marked as \
             immutable, it is not possible to revert this change nor to mutate the contents of the data field. \
             You can only delete and recreate the Secret."
        ),
    }
}

fn being_deleted(live: &SecretObject) -> Failure {
    let name = live.metadata.name.as_deref().unwrap_or_default();
    let finalizers = live.metadata.finalizers.as_deref().unwrap_or_default();
    let text = format!(
        "Secret \"{name}\" is being deleted and waits for its finalizers ({}); it is made again once it is gone",
        finalizers.join(", ")
    );
    Failure {
        kind: FailureKind::Update,
        status: text.clone(),
        event: text,
    }
}

fn type_fixed(live: &SecretObject, wanted: &SecretObject) -> Failure {
    let name = live.metadata.name.as_deref().unwrap_or_default();
    let type_ = |secret: &SecretObject| secret.type_.clone().unwrap_or_default();
    let text = format!(
        "Secret \"{name}\" has type {} and spec.template.type asks for {}: the type of a Secret cannot change, and \
         this one was not made for the SealedSecret; delete it, or give the template its type",
        type_(live),
        type_(wanted)
    );
    Failure {
        kind: FailureKind::Update,
        status: text.clone(),
        event: text,
    }
}

fn privilege_refused(secret: &SecretObject, privilege: &Privilege) -> Failure {
    let name = secret.metadata.name.as_deref().unwrap_or_default();
    let why = match privilege {
        Privilege::SealingKey => {
            "with the label sealedsecrets.bitnami.com/sealed-secrets-key it would be a sealing key; take the label \
             out of spec.template"
                .to_owned()
        }
        Privilege::Token { account } => format!(
            "with type kubernetes.io/service-account-token and the annotation kubernetes.io/service-account.name \
             Kubernetes would put a token of ServiceAccount \"{account}\" into it; take the type or the annotation out \
             of spec.template"
        ),
        Privilege::TokenType(type_) => format!(
            "of type {type_} it would let somebody log in to the cluster; take the type out of spec.template"
        ),
    };
    let text = format!(
        "Secret \"{name}\" is refused: {why}, or make the Secret by hand (--allow-privileged-secrets allows it)"
    );
    Failure {
        kind: FailureKind::Update,
        status: text.clone(),
        event: text,
    }
}

fn some_map(map: BTreeMap<String, String>) -> Option<BTreeMap<String, String>> {
    Some(map).filter(|map| !map.is_empty())
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
