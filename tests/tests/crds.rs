//! Whatever the originals' CRDs accept and keep, ours accept and keep (issue 3).
//!
//! Three ways: schema against schema, field path by field path; objects with every field of every
//! provider on a real API server; and the originals' own documentation, where an API server with
//! the original's CRDs says which of it is valid.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use compat::bed::{Cache, new_folder};
use compat::cluster::Cluster;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, PostParams};
use serde_json::{Value, json};

/// Our file, and the original's project and file.
const PAIRS: [(&str, &str, &str); 4] = [
    (
        "externalsecrets.yaml",
        "external-secrets",
        "external-secrets.io_externalsecrets.yaml",
    ),
    (
        "secretstores.yaml",
        "external-secrets",
        "external-secrets.io_secretstores.yaml",
    ),
    (
        "clustersecretstores.yaml",
        "external-secrets",
        "external-secrets.io_clustersecretstores.yaml",
    ),
    (
        "sealedsecrets.yaml",
        "sealed-secrets",
        "bitnami.com_sealedsecrets.yaml",
    ),
];

#[test]
fn every_field_path_of_theirs_is_accepted_and_kept() -> Result<()> {
    let mut paths = 0;
    let mut refused = Vec::new();
    for (ours, project, theirs) in PAIRS {
        let (ours, theirs) = (crd(&our_folder().join(ours))?, original(project, theirs)?);
        assert_eq!(ours["spec"]["group"], theirs["spec"]["group"]);
        assert_eq!(ours["spec"]["scope"], theirs["spec"]["scope"]);
        for name in ["kind", "plural", "singular", "listKind"] {
            assert_eq!(ours["spec"]["names"][name], theirs["spec"]["names"][name]);
        }
        for short in theirs["spec"]["names"]["shortNames"]
            .as_array()
            .into_iter()
            .flatten()
        {
            ensure!(
                ours["spec"]["names"]["shortNames"]
                    .as_array()
                    .is_some_and(|names| names.contains(short)),
                "{short}"
            );
        }
        for version in theirs["spec"]["versions"].as_array().context("versions")? {
            let name = version["name"].as_str().context("name")?;
            let own = version_of(&ours, name).with_context(|| format!("we have no {name}"))?;
            // Ours serves all of them; theirs no longer serves v1beta1.
            assert_eq!(own["served"], true);
            assert_eq!(own["storage"], version["storage"]);
            let kind = theirs["spec"]["names"]["kind"].as_str().unwrap_or_default();
            let mut walk = Walk {
                paths: 0,
                refused: Vec::new(),
            };
            let at = format!("{kind} {name} ");
            walk.compare(&at, schema(version), Some(schema(own)));
            paths += walk.paths;
            refused.append(&mut walk.refused);
        }
    }
    ensure!(paths > 2000, "only {paths} field paths were compared");
    ensure!(
        refused.is_empty(),
        "{} of {paths} field paths:\n{}",
        refused.len(),
        refused.join("\n")
    );
    Ok(())
}

/// Compares two schemas, path by path.
struct Walk {
    paths: usize,
    refused: Vec<String>,
}

impl Walk {
    /// `ours` is `None` below a field that is kept whatever it holds.
    fn compare(&mut self, path: &str, theirs: &Value, ours: Option<&Value>) {
        self.paths += 1;
        if let Some(ours) = ours {
            self.check(path, theirs, ours);
        }
        for (name, field) in theirs["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}.{name}");
            match ours.map(|ours| (&ours["properties"][name], keeps_unknown(ours))) {
                None => self.compare(&path, field, None),
                Some((Value::Null, true)) => self.compare(&path, field, None),
                Some((Value::Null, false)) => self.refused.push(format!("{path} would be pruned")),
                Some((own, _)) => self.compare(&path, field, Some(own)),
            }
        }
        for (keyword, mark) in [("items", "[]"), ("additionalProperties", "{}")] {
            if !theirs[keyword].is_object() {
                continue;
            }
            let path = format!("{path}{mark}");
            match ours.map(|ours| (&ours[keyword], keeps_unknown(ours))) {
                None => self.compare(&path, &theirs[keyword], None),
                Some((Value::Null, true)) => self.compare(&path, &theirs[keyword], None),
                Some((Value::Null, false)) => self.refused.push(format!("{path} would be pruned")),
                Some((own, _)) => self.compare(&path, &theirs[keyword], Some(own)),
            }
        }
        if keeps_unknown(theirs) && ours.is_some_and(|ours| !keeps_unknown(ours)) {
            self.refused
                .push(format!("{path} keeps unknown fields there"));
        }
    }

    /// What theirs accepts here, ours has to accept.
    fn check(&mut self, path: &str, theirs: &Value, ours: &Value) {
        let mut refuse = |why: String| self.refused.push(format!("{path}: {why}"));
        let integer_or_string = ours["x-kubernetes-int-or-string"] == true;
        let any = ours["type"].is_null() && keeps_unknown(ours);
        if ours["type"] != theirs["type"] && !any && !integer_or_string {
            refuse(format!("type {} is {} there", ours["type"], theirs["type"]));
        }
        if let Some(own) = ours["enum"].as_array() {
            let listed = |value: &Value| own.contains(value);
            if !theirs["enum"]
                .as_array()
                .is_some_and(|values| values.iter().all(listed))
            {
                refuse(format!("enum {own:?} is {} there", theirs["enum"]));
            }
        }
        for keyword in [
            "pattern",
            "format",
            "minLength",
            "minimum",
            "minItems",
            "minProperties",
            "maximum",
            "maxItems",
        ] {
            if !ours[keyword].is_null() && ours[keyword] != theirs[keyword] {
                refuse(format!(
                    "{keyword} {} is {} there",
                    ours[keyword], theirs[keyword]
                ));
            }
        }
        for keyword in ["maxLength", "maxProperties"] {
            let (own, their) = (ours[keyword].as_u64(), theirs[keyword].as_u64());
            if own.is_some_and(|own| their.is_none_or(|their| own < their)) {
                refuse(format!("{keyword} {own:?} is {their:?} there"));
            }
        }
        for name in ours["required"].as_array().into_iter().flatten() {
            if !theirs["required"]
                .as_array()
                .is_some_and(|names| names.contains(name))
            {
                refuse(format!("{name} is not required there"));
            }
        }
        for keyword in ["x-kubernetes-validations", "oneOf", "anyOf", "allOf", "not"] {
            if !ours[keyword].is_null() {
                refuse(format!("{keyword} is not compared by this test"));
            }
        }
        if theirs["nullable"] == true && ours["nullable"] != true && !any {
            refuse("it is nullable there".to_owned());
        }
    }
}

/// Objects with every field of every provider, as v1beta1 and v1, come back as they were sent.
#[tokio::test]
async fn objects_with_every_field_come_back_whole() -> Result<()> {
    let cluster = Cluster::shared().await?;
    let namespace = cluster.namespace().await?;
    let client = cluster.client().await?;
    let mut objects = 0;
    for (_, project, file) in PAIRS {
        let crd = original(project, file)?;
        let names = &crd["spec"]["names"];
        let namespaced = crd["spec"]["scope"] == "Namespaced";
        for version in crd["spec"]["versions"].as_array().context("versions")? {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let gvk = GroupVersionKind {
                group: text(&crd["spec"]["group"]),
                version: text(&version["name"]),
                kind: text(&names["kind"]),
            };
            let resource = ApiResource::from_gvk_with_plural(&gvk, &text(&names["plural"]));
            let api = match namespaced {
                true => {
                    Api::<DynamicObject>::namespaced_with(client.clone(), &namespace, &resource)
                }
                false => Api::<DynamicObject>::all_with(client.clone(), &resource),
            };
            let spec = &schema(version)["properties"]["spec"];
            for (number, sent) in specs(spec).into_iter().enumerate() {
                let name = format!("{namespace}-{number}");
                let object: DynamicObject = serde_json::from_value(json!({
                    "apiVersion": format!("{}/{}", gvk.group, gvk.version), "kind": gvk.kind,
                    "metadata": { "name": name }, "spec": sent,
                }))?;
                let made = api.create(&PostParams::default(), &object).await;
                let about = || format!("{} {} {number}: {sent}", gvk.kind, gvk.version);
                made.with_context(about)?;
                let kept = api.get(&name).await?;
                let lost = lost("spec", &sent, &kept.data["spec"]);
                ensure!(lost.is_empty(), "{} {}: {lost:?}", gvk.kind, gvk.version);
                api.delete(&name, &DeleteParams::default()).await?;
                objects += 1;
            }
        }
    }
    // Each provider of two kinds of store in two versions, and the others.
    ensure!(objects > 140, "only {objects} objects");
    Ok(())
}

/// Every manifest of the originals' documentation that their CRDs accept is accepted by ours, and
/// keeps what it keeps there.
#[tokio::test]
async fn manifests_of_the_documentation_apply() -> Result<()> {
    let folder = new_folder("original-crds")?;
    for (_, project, file) in PAIRS {
        let from = Cache::open()?.original_crds(project)?.join(file);
        fs::copy(from, folder.join(file))?;
    }
    let (ours, theirs) = (
        Cluster::shared().await?,
        Cluster::start_with(&folder).await?,
    );
    let kinds = [
        "ExternalSecret",
        "SecretStore",
        "ClusterSecretStore",
        "SealedSecret",
    ];
    let (mut accepted, mut refused) = (0, 0);
    for project in ["external-secrets", "sealed-secrets"] {
        for (file, object) in samples(project)? {
            let kind = object["kind"].as_str().unwrap_or_default();
            if !kinds.contains(&kind) {
                continue;
            }
            let Ok(expected) = dry_run(&theirs, &object).await else {
                refused += 1;
                continue;
            };
            let kept = dry_run(&ours, &object).await;
            let kept = kept.with_context(|| format!("{file}: refused by ours: {object}"))?;
            let lost = lost(
                "spec",
                &expected_fields(&object["spec"], &expected["spec"]),
                &kept["spec"],
            );
            ensure!(lost.is_empty(), "{file}: {lost:?}");
            accepted += 1;
        }
    }
    ensure!(
        accepted > 130,
        "only {accepted} manifests, and {refused} that the originals refuse"
    );
    Ok(())
}

/// The fields that were sent and that the original kept.
fn expected_fields(sent: &Value, kept: &Value) -> Value {
    match (sent, kept) {
        (Value::Object(sent), Value::Object(kept)) => sent
            .iter()
            .filter_map(|(name, value)| {
                Some((name.clone(), expected_fields(value, kept.get(name)?)))
            })
            .collect(),
        (Value::Array(sent), Value::Array(kept)) => { sent.iter().zip(kept) }
            .map(|(sent, kept)| expected_fields(sent, kept))
            .collect(),
        _ => kept.clone(),
    }
}

async fn dry_run(cluster: &Cluster, object: &Value) -> Result<Value> {
    let text = |value: &Value| value.as_str().unwrap_or_default().trim().to_owned();
    let api_version = text(&object["apiVersion"]);
    let (group, version) = api_version.split_once('/').context("apiVersion")?;
    let kind = text(&object["kind"]);
    let gvk = GroupVersionKind::gvk(group, version, &kind);
    let resource = ApiResource::from_gvk_with_plural(&gvk, &format!("{}s", kind.to_lowercase()));
    let client = cluster.client().await?;
    let api = match kind.starts_with("Cluster") {
        true => Api::<DynamicObject>::all_with(client, &resource),
        false => Api::<DynamicObject>::namespaced_with(client, "default", &resource),
    };
    let mut object: DynamicObject = serde_json::from_value(object.clone())?;
    object.metadata.namespace = None;
    let params = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    Ok(serde_json::to_value(api.create(&params, &object).await?)?)
}

/// The documents of a project's samples, each with its file's name.
fn samples(project: &str) -> Result<Vec<(String, Value)>> {
    let folder = Cache::open()?.original_crds(project)?.join("samples");
    let mut samples = Vec::new();
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)
        .with_context(|| format!("{}: run `make testbed`", folder.display()))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    files.sort();
    for file in files {
        // Marks of the generator that the documentation is made with.
        let text: String = fs::read_to_string(&file)?
            .lines()
            .filter(|line| !line.trim_start().starts_with("{%"))
            .fold(String::new(), |text, line| text + line + "\n");
        let name = file
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        for document in text.split("\n---") {
            // A few are pieces of manifests, or of other languages.
            if let Ok(value) = serde_saphyr::from_str::<Value>(document) {
                samples.push((name.clone(), value));
            }
        }
    }
    Ok(samples)
}

/// Specifications with every field: one for each member of a provider, and of other choices.
fn specs(schema: &Value) -> Vec<Value> {
    let providers = &schema["properties"]["provider"]["properties"];
    let Some(providers) = providers.as_object() else {
        return (0..2).map(|choice| filled(schema, choice)).collect();
    };
    providers
        .iter()
        .map(|(name, provider)| {
            let mut spec = filled(schema, 0);
            let mut one = BTreeMap::new();
            one.insert(name, filled(provider, 0));
            spec["provider"] = json!(one);
            spec
        })
        .collect()
}

/// A value with every field that the schema names; where only one may be given, the one of number `choice`.
fn filled(schema: &Value, choice: usize) -> Value {
    if let Some(values) = schema["enum"].as_array() {
        return values[choice % values.len()].clone();
    }
    match schema["type"].as_str() {
        Some("object") => {
            let mut fields: Vec<(&String, &Value)> = schema["properties"]
                .as_object()
                .into_iter()
                .flatten()
                .collect();
            if schema["maxProperties"] == 1 && !fields.is_empty() {
                fields = vec![fields[choice % fields.len()]];
            }
            let mut object: serde_json::Map<String, Value> = fields
                .into_iter()
                .map(|(name, field)| (name.clone(), filled(field, choice)))
                .collect();
            if schema["additionalProperties"].is_object() {
                object.insert(
                    "any".to_owned(),
                    filled(&schema["additionalProperties"], choice),
                );
            }
            if keeps_unknown(schema) && !schema["additionalProperties"].is_object() {
                object.insert("unknown".to_owned(), json!({ "kept": [1, "two"] }));
            }
            Value::Object(object)
        }
        Some("array") => json!([filled(&schema["items"], choice)]),
        Some("integer") => schema["minimum"]
            .as_i64()
            .map_or(json!(7), |least| json!(least)),
        Some("number") => json!(1.5),
        Some("boolean") => json!(true),
        Some("string") => match schema["format"].as_str() {
            Some("byte") => json!("YQ=="),
            Some("date-time") => json!("2026-01-02T03:04:05Z"),
            _ => json!("a1"),
        },
        _ => json!({ "anything": ["goes"] }),
    }
}

/// The paths that are in `sent` and not, or not the same, in `kept`.
fn lost(path: &str, sent: &Value, kept: &Value) -> Vec<String> {
    match (sent, kept) {
        (Value::Object(sent), Value::Object(kept)) => {
            let of = |(name, value): (&String, &Value)| match kept.get(name) {
                Some(other) => lost(&format!("{path}.{name}"), value, other),
                None => vec![format!("{path}.{name}")],
            };
            sent.iter().flat_map(of).collect()
        }
        (Value::Array(sent), Value::Array(kept)) if sent.len() == kept.len() => {
            let pairs = sent.iter().zip(kept).enumerate();
            pairs
                .flat_map(|(i, (a, b))| lost(&format!("{path}[{i}]"), a, b))
                .collect()
        }
        (sent, kept) if sent == kept => Vec::new(),
        _ => vec![path.to_owned()],
    }
}

fn keeps_unknown(schema: &Value) -> bool {
    schema["x-kubernetes-preserve-unknown-fields"] == true
}

fn schema(version: &Value) -> &Value {
    &version["schema"]["openAPIV3Schema"]
}

fn version_of<'a>(crd: &'a Value, name: &str) -> Option<&'a Value> {
    let versions = crd["spec"]["versions"].as_array()?;
    versions.iter().find(|version| version["name"] == name)
}

fn our_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../crds")
}

fn original(project: &str, file: &str) -> Result<Value> {
    crd(&Cache::open()?.original_crds(project)?.join(file))
}

fn crd(path: &Path) -> Result<Value> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    Ok(serde_saphyr::from_str(&text)?)
}
