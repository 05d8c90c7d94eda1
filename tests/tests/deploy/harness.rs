//! Charts, what they render, and its objects.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use compat::bed::Cache;
use compat::originals::helm;
use compat::program::Finished;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind};
use serde_json::{Value, json};

/// The folder `deploy`.
pub(crate) fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}

/// Our chart.
pub(crate) fn ours() -> PathBuf {
    deploy().join("helm/selkie")
}

/// The stock chart, 2.19.0.
pub(crate) fn stock() -> Result<PathBuf> {
    Ok(Cache::open()?
        .original_crds("charts")?
        .join("sealed-secrets"))
}

/// A release that is rendered.
pub(crate) struct Release<'a> {
    pub(crate) chart: PathBuf,
    pub(crate) name: &'a str,
    pub(crate) namespace: &'a str,
}

impl<'a> Release<'a> {
    pub(crate) fn of(chart: PathBuf, name: &'a str, namespace: &'a str) -> Self {
        Self {
            chart,
            name,
            namespace,
        }
    }

    /// Renders it, whatever comes of it.
    pub(crate) fn run(&self, values: &Value) -> Result<Finished> {
        helm()?
            .args(["template", self.name])
            .arg(&self.chart)
            .args(["--namespace", self.namespace, "--values", "-"])
            .input(serde_json::to_vec(values)?)
            .run()
    }

    /// Renders it.
    pub(crate) fn text(&self, values: &Value) -> Result<String> {
        let finished = self.run(values)?;
        ensure!(
            finished.code == Some(0),
            "helm does not render {values}: {}",
            finished.stderr
        );
        Ok(finished.text())
    }

    /// Renders it and returns its objects.
    pub(crate) fn objects(&self, values: &Value) -> Result<Objects> {
        Objects::read(&self.text(values)?)
    }

    /// Returns the error that rendering ends with.
    pub(crate) fn error(&self, values: &Value) -> Result<String> {
        let finished = self.run(values)?;
        ensure!(finished.code != Some(0), "{values} renders");
        Ok(finished.stderr)
    }
}

/// Our chart, as `sealed-secrets` in `kube-system`.
pub(crate) fn usual() -> Release<'static> {
    Release::of(ours(), "sealed-secrets", "kube-system")
}

/// Kind, namespace (empty for none) and name.
pub(crate) type Id = (String, String, String);

/// The objects of some YAML documents.
#[derive(Debug)]
pub(crate) struct Objects(pub(crate) BTreeMap<Id, Value>);

impl Objects {
    pub(crate) fn read(text: &str) -> Result<Self> {
        let mut objects = BTreeMap::new();
        for document in format!("\n{text}").split("\n---") {
            let value: Option<Value> = serde_saphyr::from_str(document)
                .with_context(|| format!("not YAML:\n{document}"))?;
            let Some(value) = value.filter(|value| !value.is_null()) else {
                continue;
            };
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let meta = &value["metadata"];
            let id = (
                text(&value["kind"]),
                text(&meta["namespace"]),
                text(&meta["name"]),
            );
            ensure!(!id.0.is_empty() && !id.2.is_empty(), "no object: {value}");
            if objects.insert(id.clone(), value).is_some() {
                bail!("{id:?} is there twice");
            }
        }
        Ok(Self(objects))
    }

    /// Returns the object of a kind and name; namespaces are not looked at.
    pub(crate) fn get(&self, kind: &str, name: &str) -> Result<&Value> {
        let found = self.0.iter().find(|(id, _)| id.0 == kind && id.2 == name);
        let found = found.map(|(_, object)| object);
        found.with_context(|| format!("no {kind} {name}; there are {:?}", self.0.keys()))
    }

    /// Returns the objects of some kinds as one JSON list for kubectl.
    pub(crate) fn list(&self, kinds: &[&str]) -> Value {
        let wanted = self.0.iter().filter(|(id, _)| kinds.contains(&&*id.0));
        let items: Vec<_> = wanted.map(|(_, object)| object).collect();
        json!({ "apiVersion": "v1", "kind": "List", "items": items })
    }

    /// Returns the arguments of the container of a Deployment: what follows the name of the program in its command, and
    /// its args.
    pub(crate) fn arguments(&self, deployment: &str) -> Result<Vec<String>> {
        let container =
            &self.get("Deployment", deployment)?["spec"]["template"]["spec"]["containers"][0];
        let list = |field: &str| container[field].as_array().cloned().unwrap_or_default();
        let command = list("command").into_iter().skip(1).chain(list("args"));
        command
            .map(|word| Ok(word.as_str().context("a word")?.to_owned()))
            .collect()
    }
}

/// Leaves and empty containers of a values file, as `a.b`.
pub(crate) fn paths(value: &Value) -> Vec<String> {
    fn walk(value: &Value, at: &str, into: &mut Vec<String>) {
        match value.as_object() {
            Some(map) if !map.is_empty() => {
                for (key, value) in map {
                    let dot = if at.is_empty() { "" } else { "." };
                    walk(value, &format!("{at}{dot}{key}"), into);
                }
            }
            _ => into.push(at.to_owned()),
        }
    }
    let mut all = Vec::new();
    walk(value, "", &mut all);
    all
}

pub(crate) fn yaml(path: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    serde_saphyr::from_str(&text).with_context(|| path.display().to_string())
}

/// Puts `value` at `a.b.c`.
pub(crate) fn at(path: &str, value: Value) -> Value {
    path.rsplit('.')
        .fold(value, |value, key| json!({ key: value }))
}

/// Lays `over` over `under`, map by map.
pub(crate) fn merged(under: &Value, over: &Value) -> Value {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            let mut map = under.clone();
            for (key, value) in over {
                let below = map.get(key).unwrap_or(&Value::Null);
                map.insert(key.clone(), merged(below, value));
            }
            Value::Object(map)
        }
        _ => over.clone(),
    }
}

/// The SealedSecrets of a namespace.
pub(crate) fn sealed_secrets(client: &kube::Client, namespace: &str) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("bitnami.com", "v1alpha1", "SealedSecret");
    Api::namespaced_with(client.clone(), namespace, &ApiResource::from_gvk(&kind))
}
