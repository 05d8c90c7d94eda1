//! The API server's audit log: every request by user, verb and resource.

use std::path::Path;

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::Deserialize;

/// What the API server shall log: each request once, when it was answered, without bodies. A watch
/// is logged when it ends.
pub(super) const POLICY: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules: [{level: Metadata}]
";

/// Verbs that change something.
const WRITES: [&str; 5] = ["create", "update", "patch", "delete", "deletecollection"];

/// Requests of the audit log, in the order of their answers.
#[derive(Debug, Clone, Default)]
pub struct Audit(Vec<AuditEvent>);

/// One request.
#[derive(Debug, Clone, Deserialize)]
#[serde(from = "Line")]
pub struct AuditEvent {
    /// When the request came.
    pub at: Timestamp,
    /// The name of the user.
    pub user: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verb: String,
    /// The plural of the resource; empty for paths such as `/readyz`.
    pub resource: String,
    /// `status`, `token`, ...; empty for the object itself.
    pub subresource: String,
    /// The namespace, or empty.
    pub namespace: String,
    /// The name, or empty.
    pub name: String,
    /// The HTTP status of the answer.
    pub code: u16,
}

impl Audit {
    /// Reads the log. A line that is still being written is left out.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let log = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let whole = log.rfind('\n').map_or("", |end| &log[..end]);
        whole
            .lines()
            .map(|line| {
                serde_json::from_str(line).with_context(|| format!("a line of {}", path.display()))
            })
            .collect::<Result<_>>()
            .map(Self)
    }

    /// Keeps the requests of a user.
    #[must_use]
    pub fn by(self, user: &str) -> Self {
        self.only(|event| event.user == user)
    }

    /// Keeps the requests that came at or after `time`.
    #[must_use]
    pub fn since(self, time: Timestamp) -> Self {
        self.only(|event| event.at >= time)
    }

    /// Keeps the requests for a resource, by its plural.
    #[must_use]
    pub fn resource(self, plural: &str) -> Self {
        self.only(|event| event.resource == plural)
    }

    /// Keeps the requests in a namespace.
    #[must_use]
    pub fn namespace(self, namespace: &str) -> Self {
        self.only(|event| event.namespace == namespace)
    }

    /// Keeps the requests that change something, the refused ones too.
    #[must_use]
    pub fn writes(self) -> Self {
        self.only(|event| WRITES.contains(&event.verb.as_str()))
    }

    /// Keeps what `condition` holds for.
    #[must_use]
    pub fn only(mut self, condition: impl Fn(&AuditEvent) -> bool) -> Self {
        self.0.retain(condition);
        self
    }

    /// The requests.
    pub fn events(&self) -> &[AuditEvent] {
        &self.0
    }

    /// Returns whether no request is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// One line of the log, in the names of `audit.k8s.io/v1`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    request_received_timestamp: Timestamp,
    verb: String,
    user: User,
    #[serde(default)]
    object_ref: ObjectRef,
    #[serde(default)]
    response_status: ResponseStatus,
}

#[derive(Deserialize)]
struct User {
    #[serde(default)]
    username: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ObjectRef {
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ResponseStatus {
    code: u16,
}

impl From<Line> for AuditEvent {
    fn from(line: Line) -> Self {
        Self {
            at: line.request_received_timestamp,
            user: line.user.username,
            verb: line.verb,
            resource: line.object_ref.resource,
            subresource: line.object_ref.subresource,
            namespace: line.object_ref.namespace,
            name: line.object_ref.name,
            code: line.response_status.code,
        }
    }
}
