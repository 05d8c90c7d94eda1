//! What every writer of Secrets does alike: it tries a successor before it deletes, and it knows what a
//! refusal means.

use kube::Api;
use kube::api::{DeleteParams, ObjectMeta, PostParams, Preconditions};
use selkie_secret::SecretBytes;

use super::answer::shown;
use super::secret_object::SecretObject;

/// Why a write did not happen. The texts hold no value.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum WriteError {
    /// Somebody else wrote in between: observe again, soon.
    #[error("somebody else wrote in between")]
    Conflict,
    /// The API server refuses what we want; worth a word to the user.
    #[error("{0}")]
    Rejected(String),
    /// It cannot be said now: no connection, an overloaded server, a namespace that is going away.
    #[error("{0}")]
    Unavailable(String),
}

impl WriteError {
    /// Says what an error about a write means; `values` are those of the Secret, old and new.
    pub fn of<'a>(error: &kube::Error, values: impl IntoIterator<Item = &'a SecretBytes>) -> Self {
        let kube::Error::Api(status) = error else {
            return Self::Unavailable(shown(error, values));
        };
        if status.is_conflict() || status.is_already_exists() || status.is_not_found() {
            return Self::Conflict;
        }
        let mut causes = status.details.iter().flat_map(|details| &details.causes);
        if status.code >= 500
            || status.code == 429
            || causes.any(|cause| cause.reason == "NamespaceTerminating")
        {
            return Self::Unavailable(shown(error, values));
        }
        Self::Rejected(shown(error, values))
    }
}

/// Deletes the Secret that `uid` and `resource_version` name and makes `wanted` in its place: the only
/// way to another type. Its metadata is that of a new object, see [`successor`].
///
/// The API server is asked first whether it would take `wanted`: a type without its required keys must
/// not cost the Secret that is there.
pub async fn recreate(
    api: &Api<SecretObject>,
    params: &PostParams,
    uid: Option<String>,
    resource_version: Option<String>,
    wanted: &SecretObject,
) -> Result<SecretObject, kube::Error> {
    let mut rehearsal = wanted.duplicate();
    rehearsal.metadata.name = None;
    rehearsal.metadata.generate_name = Some("selkie-rehearsal-".to_owned());
    let dry_run = PostParams {
        dry_run: true,
        ..params.clone()
    };
    api.create(&dry_run, &rehearsal).await?;
    let name = wanted.metadata.name.as_deref().unwrap_or_default();
    delete(api, name, uid, resource_version).await?;
    api.create(params, wanted).await
}

/// Deletes this very Secret, and none that took its name meanwhile.
pub async fn delete(
    api: &Api<SecretObject>,
    name: &str,
    uid: Option<String>,
    resource_version: Option<String>,
) -> Result<(), kube::Error> {
    let only_this_one = DeleteParams {
        preconditions: Some(Preconditions {
            uid,
            resource_version,
        }),
        ..DeleteParams::default()
    };
    // Not `Secret`'s answer: it may be the object or a status.
    api.delete(name, &only_this_one).await.map(drop)
}

/// Returns what of an object's metadata its successor may have.
pub fn successor(metadata: ObjectMeta) -> ObjectMeta {
    ObjectMeta {
        name: metadata.name,
        namespace: metadata.namespace,
        labels: metadata.labels,
        annotations: metadata.annotations,
        owner_references: metadata.owner_references,
        finalizers: metadata.finalizers,
        ..ObjectMeta::default()
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;
    use kube::core::response::{StatusCause, StatusDetails};

    use super::*;

    #[test]
    fn what_an_answer_means() {
        let of = |code: u16, reason: &str, cause: Option<&str>| {
            let mut status = Status::failure("canary-1 is wrong", reason).with_code(code);
            status.details = cause.map(|reason| StatusDetails {
                name: String::new(),
                group: String::new(),
                kind: String::new(),
                uid: String::new(),
                causes: vec![StatusCause {
                    reason: reason.to_owned(),
                    message: String::new(),
                    field: String::new(),
                }],
                retry_after_seconds: 0,
            });
            let value = SecretBytes::new(b"canary-1".to_vec());
            WriteError::of(&kube::Error::Api(status.boxed()), [&value])
        };
        assert_eq!(of(409, "Conflict", None), WriteError::Conflict);
        assert_eq!(of(409, "AlreadyExists", None), WriteError::Conflict);
        assert_eq!(of(404, "NotFound", None), WriteError::Conflict);
        let hidden = |head: &str| format!("{head}; the message holds a value and is not shown");
        assert_eq!(
            of(422, "Invalid", None),
            WriteError::Rejected(hidden("Invalid, 422"))
        );
        assert_eq!(
            of(503, "ServiceUnavailable", None),
            WriteError::Unavailable(hidden("ServiceUnavailable, 503"))
        );
        assert_eq!(
            of(403, "Forbidden", Some("NamespaceTerminating")),
            WriteError::Unavailable(hidden("Forbidden, 403"))
        );
    }
}
