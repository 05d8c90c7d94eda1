//! What an ExternalSecret asks for, parsed: whatever is not carried out is refused by name here,
//! before anything is fetched.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use selkie_api::external_secret::{
    DataEntry, DataFromEntry, ExternalSecretSpec, RemoteRef, SourceRef, StoreRef, Target, Template,
};
use selkie_stores::values::{Conversion, Decoding};
use serde_json::{Map, Value};

use super::guard::{StoreKind, refuse_type};
use crate::support::duration::go_duration;

/// Annotation that is kubectl's own business and can hold a whole manifest.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// An ExternalSecret's specification, ready to be carried out.
#[derive(Clone, Debug, PartialEq)]
pub struct Wish {
    /// Name of the Secret.
    pub target: String,
    /// Its type; `None` keeps what is there.
    pub type_: Option<String>,
    /// Whether it is made immutable.
    pub immutable: bool,
    /// Its labels, besides the marks.
    pub labels: BTreeMap<String, String>,
    /// Its annotations, besides the marks.
    pub annotations: BTreeMap<String, String>,
    /// When to fetch.
    pub refresh: Refresh,
    /// What to fetch, in the order in which later entries win.
    pub entries: Vec<Entry>,
}

/// When to fetch (external-secrets.md 6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refresh {
    /// At each interval and when the ExternalSecret changes.
    Every(Duration),
    /// Once; also Periodic with an interval of 0.
    Once,
    /// When the ExternalSecret changes.
    OnChange,
}

/// One thing to fetch.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Where it stands, for messages: `spec.data[0] (key: database/prod)`.
    pub position: String,
    /// The store to ask.
    pub store: StoreName,
    /// What to ask for.
    pub remote: selkie_stores::RemoteRef,
    /// How to decode it.
    pub decoding: Decoding,
    /// Whether a zero byte is an error.
    pub refuse_null_bytes: bool,
    /// What becomes of it.
    pub into: Into,
}

/// What becomes of a fetched value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Into {
    /// The value of one key.
    Key(String),
    /// The members of the object, keys converted.
    Members(Conversion),
}

/// A store as an ExternalSecret names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StoreName {
    /// Which of the two kinds.
    pub kind: StoreKind,
    /// Its name.
    pub name: String,
}

/// Why an ExternalSecret cannot be carried out. Retrying does not help; editing it does.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{field} {why}")]
pub struct Refusal {
    /// Path of the field.
    pub field: String,
    /// Why, so that a sentence results.
    pub why: String,
}

const NOT_YET: &str = "is not supported by Selkie yet; the Secret stays as it is";

impl Wish {
    /// Parses the specification of the ExternalSecret `name`; `labels` and `annotations` are its own.
    pub fn parse(
        name: &str,
        labels: &BTreeMap<String, String>,
        annotations: &BTreeMap<String, String>,
        spec: &ExternalSecretSpec,
    ) -> Result<Self, Refusal> {
        known("spec", &spec.rest)?;
        target_policies(&spec.target)?;
        let template = spec.target.template.as_ref();
        let (type_, labels, annotations) = match template {
            Some(template) => from_template(template)?,
            // Copied from the ExternalSecret only without a template (external-secrets.md 19, 10).
            None => {
                let mut annotations = annotations.clone();
                annotations.remove(LAST_APPLIED);
                (None, labels.clone(), annotations)
            }
        };
        let target = spec.target.name.clone().filter(|text| !text.is_empty());
        Ok(Self {
            target: target.unwrap_or_else(|| name.to_owned()),
            type_,
            immutable: spec.target.immutable.unwrap_or_default(),
            labels,
            annotations,
            refresh: refresh(spec)?,
            entries: entries(spec)?,
        })
    }

    /// Returns the stores that are asked, each once.
    pub fn stores(&self) -> BTreeSet<&StoreName> {
        self.entries.iter().map(|entry| &entry.store).collect()
    }
}

/// Returns the stores that a specification names, parsed or not: what a watch has to look at.
pub fn named_stores(spec: &ExternalSecretSpec) -> BTreeSet<StoreName> {
    let own = spec
        .data
        .iter()
        .filter_map(|entry| entry.source_ref.as_ref());
    let from = spec
        .data_from
        .iter()
        .filter_map(|entry| entry.source_ref.as_ref());
    own.chain(from)
        .filter_map(|source| source.store_ref.as_ref())
        .chain(spec.secret_store_ref.as_ref())
        .filter_map(|store| store_name("", store).ok())
        .collect()
}

fn refused(field: impl std::convert::Into<String>, why: &str) -> Refusal {
    Refusal {
        field: field.into(),
        why: why.to_owned(),
    }
}

/// Refuses the first field that nobody carries out; an empty one asks for nothing.
fn known(path: &str, rest: &Map<String, Value>) -> Result<(), Refusal> {
    match rest.iter().find(|(_, value)| asks(value)) {
        Some((name, _)) => Err(refused(format!("{path}.{name}"), NOT_YET)),
        None => Ok(()),
    }
}

/// Whether a value that is not read would have changed anything.
pub fn asks(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => !members.is_empty(),
        _ => true,
    }
}

fn target_policies(target: &Target) -> Result<(), Refusal> {
    known("spec.target", &target.rest)?;
    match target.creation_policy.as_deref() {
        None | Some("" | "Owner") => {}
        Some(other) => {
            return Err(refused(
                "spec.target.creationPolicy",
                &format!("{other} {NOT_YET}"),
            ));
        }
    }
    match target.deletion_policy.as_deref() {
        None | Some("" | "Retain") => Ok(()),
        Some(other) => Err(refused(
            "spec.target.deletionPolicy",
            &format!("{other} {NOT_YET}"),
        )),
    }
}

type TypeAndMetadata = (
    Option<String>,
    BTreeMap<String, String>,
    BTreeMap<String, String>,
);

fn from_template(template: &Template) -> Result<TypeAndMetadata, Refusal> {
    let path = "spec.target.template";
    known(path, &template.rest)?;
    known(&format!("{path}.metadata"), &template.metadata.rest)?;
    if let Some(version) = template
        .engine_version
        .as_deref()
        .filter(|text| *text != "v2")
    {
        return Err(refused(
            format!("{path}.engineVersion"),
            &format!("{version} no longer exists; write v2"),
        ));
    }
    let metadata = &template.metadata;
    for (kind, map) in [
        ("labels", &metadata.labels),
        ("annotations", &metadata.annotations),
    ] {
        if let Some((key, _)) = map.iter().find(|(_, value)| value.contains("{{")) {
            return Err(refused(
                format!("{path}.metadata.{kind}[{key}]"),
                &format!("is a template, which {NOT_YET}"),
            ));
        }
    }
    let type_ = template.type_.clone().filter(|text| !text.is_empty());
    // Early and by the field's name; the Secret itself is judged before each write.
    if let Some(why) = refuse_type(type_.as_deref(), Some(&metadata.annotations)) {
        return Err(refused(
            format!("{path}.type"),
            &format!("is refused: {why}"),
        ));
    }
    Ok((type_, metadata.labels.clone(), metadata.annotations.clone()))
}

fn refresh(spec: &ExternalSecretSpec) -> Result<Refresh, Refusal> {
    let field = "spec.refreshInterval";
    // The CRD's default, for objects that were stored before it.
    let text = spec.refresh_interval.as_deref().unwrap_or("1h");
    let interval = go_duration(text).ok_or_else(|| {
        refused(
            field,
            &format!("{text:?} is not a duration; write it like 1h30m or 15s"),
        )
    })?;
    match spec.refresh_policy.as_deref() {
        None | Some("" | "Periodic") => Ok(match interval {
            Some(interval) => Refresh::Every(interval.max(Duration::from_secs(1))),
            None => Refresh::Once,
        }),
        Some("CreatedOnce") => Ok(Refresh::Once),
        Some("OnChange") => Ok(Refresh::OnChange),
        Some(other) => Err(refused(
            "spec.refreshPolicy",
            &format!("{other:?} is not Periodic, CreatedOnce or OnChange"),
        )),
    }
}

fn entries(spec: &ExternalSecretSpec) -> Result<Vec<Entry>, Refusal> {
    if spec.data.is_empty() && spec.data_from.is_empty() {
        return Err(refused(
            "spec.data",
            "and spec.dataFrom are both empty; one of them has to say what to fetch",
        ));
    }
    let mut entries = Vec::with_capacity(spec.data.len() + spec.data_from.len());
    for (i, entry) in spec.data_from.iter().enumerate() {
        entries.push(data_from(spec, &format!("spec.dataFrom[{i}]"), entry)?);
    }
    let mut keys = BTreeSet::new();
    for (i, entry) in spec.data.iter().enumerate() {
        let path = format!("spec.data[{i}]");
        // deletionPolicy Retain, the only one carried out, asks for unique keys (section 4, rule 5).
        if !keys.insert(&entry.secret_key) {
            return Err(refused(
                format!("{path}.secretKey"),
                &format!("{:?} appears twice", entry.secret_key),
            ));
        }
        entries.push(data(spec, &path, entry)?);
    }
    Ok(entries)
}

fn data(spec: &ExternalSecretSpec, path: &str, entry: &DataEntry) -> Result<Entry, Refusal> {
    known(path, &entry.rest)?;
    if entry.secret_key.is_empty() {
        return Err(refused(format!("{path}.secretKey"), "is empty"));
    }
    let remote = &entry.remote_ref;
    let at = format!("{path}.remoteRef");
    Ok(Entry {
        position: format!("{path} (key: {})", remote.key),
        store: entry_store(spec, path, entry.source_ref.as_ref())?,
        remote: remote_ref(&at, remote)?,
        decoding: decoding(&at, remote)?,
        refuse_null_bytes: null_bytes(&at, remote)?,
        into: Into::Key(entry.secret_key.clone()),
    })
}

fn data_from(
    spec: &ExternalSecretSpec,
    path: &str,
    entry: &DataFromEntry,
) -> Result<Entry, Refusal> {
    known(path, &entry.rest)?;
    let store = entry_store(spec, path, entry.source_ref.as_ref())?;
    let Some(remote) = entry.extract.as_ref() else {
        return Err(refused(path, "has no extract, so it would fetch nothing"));
    };
    let at = format!("{path}.extract");
    let conversion = match remote.conversion_strategy.as_deref() {
        None | Some("" | "Default") => Conversion::Default,
        Some("Unicode") => Conversion::Unicode,
        Some(other) => {
            return Err(refused(
                format!("{at}.conversionStrategy"),
                &format!("{other:?} is not Default or Unicode"),
            ));
        }
    };
    Ok(Entry {
        position: format!("{at} (key: {})", remote.key),
        store,
        remote: remote_ref(&at, remote)?,
        decoding: decoding(&at, remote)?,
        refuse_null_bytes: null_bytes(&at, remote)?,
        into: Into::Members(conversion),
    })
}

fn entry_store(
    spec: &ExternalSecretSpec,
    path: &str,
    source: Option<&SourceRef>,
) -> Result<StoreName, Refusal> {
    if let Some(source) = source {
        known(&format!("{path}.sourceRef"), &source.rest)?;
        let at = format!("{path}.sourceRef.storeRef");
        return match &source.store_ref {
            Some(store) => store_name(&at, store),
            None => Err(refused(at, "is missing")),
        };
    }
    match &spec.secret_store_ref {
        Some(store) => store_name("spec.secretStoreRef", store),
        None => Err(refused(
            "spec.secretStoreRef",
            &format!("is missing, and {path} names no store of its own"),
        )),
    }
}

fn store_name(path: &str, store: &StoreRef) -> Result<StoreName, Refusal> {
    known(path, &store.rest)?;
    if store.name.is_empty() {
        return Err(refused(format!("{path}.name"), "is empty"));
    }
    let kind = match store.kind.as_deref() {
        None | Some("" | "SecretStore") => StoreKind::Namespaced,
        Some("ClusterSecretStore") => StoreKind::Cluster,
        Some(other) => {
            return Err(refused(
                format!("{path}.kind"),
                &format!("{other:?} is not SecretStore or ClusterSecretStore"),
            ));
        }
    };
    Ok(StoreName {
        kind,
        name: store.name.clone(),
    })
}

fn remote_ref(at: &str, remote: &RemoteRef) -> Result<selkie_stores::RemoteRef, Refusal> {
    known(at, &remote.rest)?;
    if remote.key.is_empty() {
        return Err(refused(format!("{at}.key"), "is empty"));
    }
    if let Some(policy) = remote.metadata_policy.as_deref()
        && !matches!(policy, "" | "None")
    {
        return Err(refused(
            format!("{at}.metadataPolicy"),
            &format!("{policy} {NOT_YET}"),
        ));
    }
    Ok(selkie_stores::RemoteRef {
        key: remote.key.clone(),
        property: remote.property.clone(),
        version: remote.version.clone(),
    })
}

fn decoding(at: &str, remote: &RemoteRef) -> Result<Decoding, Refusal> {
    match remote.decoding_strategy.as_deref() {
        None | Some("" | "None") => Ok(Decoding::None),
        Some("Base64") => Ok(Decoding::Base64),
        Some("Base64URL") => Ok(Decoding::Base64Url),
        Some("Auto") => Ok(Decoding::Auto),
        Some(other) => Err(refused(
            format!("{at}.decodingStrategy"),
            &format!("{other:?} is not None, Base64, Base64URL or Auto"),
        )),
    }
}

fn null_bytes(at: &str, remote: &RemoteRef) -> Result<bool, Refusal> {
    match remote.null_byte_policy.as_deref() {
        None | Some("" | "Ignore") => Ok(false),
        Some("Fail") => Ok(true),
        Some(other) => Err(refused(
            format!("{at}.nullBytePolicy"),
            &format!("{other:?} is not Ignore or Fail"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(spec: Value) -> Result<Wish, Refusal> {
        let labels = BTreeMap::from([("team".to_owned(), "a".to_owned())]);
        let annotations = BTreeMap::from([
            (LAST_APPLIED.to_owned(), "{}".to_owned()),
            ("note".to_owned(), "n".to_owned()),
        ]);
        let spec: ExternalSecretSpec = serde_json::from_value(spec).unwrap();
        Wish::parse("db", &labels, &annotations, &spec)
    }

    /// A specification that is carried out, with the value at one JSON pointer replaced.
    fn changed(pointer: &str, value: Value) -> Result<Wish, Refusal> {
        let mut spec = json!({
            "refreshInterval": "1h",
            "secretStoreRef": { "name": "vault-backend", "kind": "SecretStore" },
            "target": { "name": "db-credentials", "creationPolicy": "Owner", "deletionPolicy": "Retain" },
            "data": [{ "secretKey": "user", "remoteRef": {
                "key": "database/prod", "property": "user",
                "conversionStrategy": "Default", "decodingStrategy": "None", "metadataPolicy": "None",
            } }],
            "dataFrom": [{ "extract": { "key": "all" } }],
        });
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        spec.pointer_mut(parent).unwrap()[name] = value;
        parse(spec)
    }

    #[test]
    fn a_whole_specification() {
        let wish = changed("/refreshInterval", json!("1h")).unwrap();
        assert_eq!(wish.target, "db-credentials");
        assert_eq!(wish.refresh, Refresh::Every(Duration::from_secs(3600)));
        let positions: Vec<&str> = wish.entries.iter().map(|entry| &*entry.position).collect();
        assert_eq!(
            positions,
            [
                "spec.dataFrom[0].extract (key: all)",
                "spec.data[0] (key: database/prod)"
            ]
        );
        assert_eq!(wish.labels["team"], "a");
        assert_eq!(wish.annotations.keys().collect::<Vec<_>>(), ["note"]);
        assert_eq!(wish.stores().len(), 1);
    }

    /// Every field that is not carried out is named.
    #[test]
    fn refusals_name_the_field() {
        let template = "/target/template";
        for (field, pointer, value) in [
            (
                "spec.syncWindows",
                "/syncWindows",
                json!({ "kind": "allow" }),
            ),
            (
                "spec.target.manifest",
                "/target/manifest",
                json!({ "kind": "ConfigMap" }),
            ),
            (
                "spec.target.creationPolicy",
                "/target/creationPolicy",
                json!("Merge"),
            ),
            (
                "spec.target.deletionPolicy",
                "/target/deletionPolicy",
                json!("Delete"),
            ),
            (
                "spec.target.template.data",
                template,
                json!({ "data": { "a": "b" } }),
            ),
            (
                "spec.target.template.templateFrom",
                template,
                json!({ "templateFrom": [{ "literal": "a: b" }] }),
            ),
            (
                "spec.target.template.metadata.finalizers",
                template,
                json!({ "metadata": { "finalizers": ["a/b"] } }),
            ),
            (
                "spec.target.template.metadata.labels[a]",
                template,
                json!({ "metadata": { "labels": { "a": "{{ .x }}" } } }),
            ),
            (
                "spec.target.template.type",
                template,
                json!({ "type": "bootstrap.kubernetes.io/token" }),
            ),
            (
                "spec.target.template.engineVersion",
                template,
                json!({ "engineVersion": "v1" }),
            ),
            (
                "spec.dataFrom[0].find",
                "/dataFrom",
                json!([{ "find": { "path": "a" } }]),
            ),
            (
                "spec.dataFrom[0].rewrite",
                "/dataFrom",
                json!([{ "extract": { "key": "a" }, "rewrite": [{ "regexp": { "source": "a", "target": "b" } }] }]),
            ),
            (
                "spec.dataFrom[0].sourceRef.generatorRef",
                "/dataFrom",
                json!([{ "sourceRef": { "generatorRef": { "kind": "UUID", "name": "x" } } }]),
            ),
            (
                "spec.dataFrom[0]",
                "/dataFrom",
                json!([{ "sourceRef": { "storeRef": { "name": "x" } } }]),
            ),
            (
                "spec.data[0].sourceRef.generatorRef",
                "/data",
                json!([{ "secretKey": "a", "sourceRef": { "generatorRef": { "kind": "UUID", "name": "x" } } }]),
            ),
            (
                "spec.data[0].remoteRef.metadataPolicy",
                "/data",
                json!([{ "secretKey": "a", "remoteRef": { "key": "x", "metadataPolicy": "Fetch" } }]),
            ),
            (
                "spec.data[1].secretKey",
                "/data",
                json!([
                    { "secretKey": "a", "remoteRef": { "key": "x" } },
                    { "secretKey": "a", "remoteRef": { "key": "y" } },
                ]),
            ),
            ("spec.refreshInterval", "/refreshInterval", json!("1 day")),
            ("spec.refreshPolicy", "/refreshPolicy", json!("Sometimes")),
            ("spec.secretStoreRef", "/secretStoreRef", Value::Null),
            (
                "spec.secretStoreRef.kind",
                "/secretStoreRef",
                json!({ "name": "a", "kind": "Store" }),
            ),
        ] {
            assert_eq!(changed(pointer, value).unwrap_err().field, field);
        }
        let nothing = parse(json!({ "secretStoreRef": { "name": "a" } }));
        assert_eq!(nothing.unwrap_err().field, "spec.data");
    }

    #[test]
    fn fields_that_ask_for_nothing_are_no_reason() {
        let template = json!({
            "engineVersion": "v2", "mergePolicy": "Replace", "data": {}, "templateFrom": [],
            "type": "kubernetes.io/basic-auth",
            "metadata": { "labels": { "a": "b" }, "finalizers": [] },
        });
        let wish = changed("/target/template", template).unwrap();
        assert_eq!(wish.type_.as_deref(), Some("kubernetes.io/basic-auth"));
        assert_eq!(wish.labels.keys().collect::<Vec<_>>(), ["a"]);
        assert!(wish.annotations.is_empty());
        let entries = json!([{ "extract": { "key": "a" }, "rewrite": [], "find": null }]);
        assert!(changed("/dataFrom", entries).is_ok());
    }

    #[test]
    fn refresh_policies() {
        let refresh = |interval: &str, policy: Option<&str>| {
            let wish = parse(json!({
                "refreshInterval": interval,
                "refreshPolicy": policy,
                "secretStoreRef": { "name": "a" },
                "data": [{ "secretKey": "a", "remoteRef": { "key": "x" } }],
            }));
            wish.unwrap().refresh
        };
        assert_eq!(refresh("0", None), Refresh::Once);
        assert_eq!(refresh("0s", None), Refresh::Once);
        assert_eq!(refresh("-5m", Some("Periodic")), Refresh::Once);
        assert_eq!(
            refresh("1m30s", None),
            Refresh::Every(Duration::from_secs(90))
        );
        assert_eq!(refresh("5ms", None), Refresh::Every(Duration::from_secs(1)));
        assert_eq!(refresh("1h", Some("CreatedOnce")), Refresh::Once);
        assert_eq!(refresh("1h", Some("OnChange")), Refresh::OnChange);
    }
}
