//! The way from the stock chart to ours and back: names, selectors, rights; and helm itself on a real API server.

use anyhow::{Context, Result, ensure};
use compat::bed::Cache;
use compat::cluster::Cluster;
use compat::originals::helm;
use compat::program::Program;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Service;
use kube::api::Api;
use serde_json::{Value, json};

use crate::harness::*;

/// What people set, by name.
fn value_sets() -> Vec<(&'static str, &'static str, Value)> {
    let everything = json!({
        "ingress": { "enabled": true, "tls": true, "selfSigned": true, "hostname": "seal.example.com",
            "extraHosts": [{ "name": "other.example.com" }], "ingressClassName": "nginx" },
        "metrics": { "serviceMonitor": { "enabled": true }, "prometheusRule": { "enabled": true },
            "dashboards": { "create": true } },
        "pdb": { "create": true },
        "networkPolicy": { "enabled": true, "egress": { "enabled": true, "kubeapiCidr": "10.0.0.1/32", "kubeapiPort": 6443 } },
        "commonLabels": { "team": "a" }, "commonAnnotations": { "note": "b" },
        "podLabels": { "p": "q" }, "revisionHistoryLimit": 3,
    });
    vec![
        ("defaults", "sealed-secrets", json!({})),
        ("another release", "team", json!({})),
        (
            "kubeseal's names",
            "sealed-secrets",
            json!({ "fullnameOverride": "sealed-secrets-controller" }),
        ),
        (
            "another name",
            "x",
            json!({ "nameOverride": "seal", "namespace": "elsewhere" }),
        ),
        (
            "its own names",
            "sealed-secrets",
            json!({
            "serviceAccount": { "name": "account" }, "rbac": { "clusterRoleName": "unsealer" } }),
        ),
        (
            "given accounts and rights",
            "sealed-secrets",
            json!({
            "serviceAccount": { "create": false, "name": "given" }, "rbac": { "create": false } }),
        ),
        (
            "a given ClusterRole",
            "sealed-secrets",
            json!({ "rbac": { "clusterRole": false } }),
        ),
        (
            "namespaces",
            "sealed-secrets",
            json!({
            "additionalNamespaces": ["a", "b"], "rbac": { "clusterRole": false, "namespacedRoles": true } }),
        ),
        (
            "namespaces under a ClusterRole",
            "sealed-secrets",
            json!({ "additionalNamespaces": ["a"] }),
        ),
        ("everything", "sealed-secrets", everything),
    ]
}

#[test]
fn names_and_selectors_are_the_stock_charts() -> Result<()> {
    let mut objects = 0;
    for (what, name, values) in value_sets() {
        let theirs = Release::of(stock()?, name, "kube-system").objects(&values)?;
        let ours = Release::of(ours(), name, "kube-system").objects(&values)?;
        for (id, their) in &theirs.0 {
            let our = ours.0.get(id).with_context(|| {
                format!("{what}: {id:?} is gone; there are {:?}", ours.0.keys())
            })?;
            same(&id.0, their, our).with_context(|| format!("{what}: {id:?}"))?;
            objects += 1;
        }
    }
    ensure!(objects > 80, "{objects} objects only");
    println!(
        "verified: {objects} objects of the stock chart keep names, selectors, references and ports in ours"
    );
    Ok(())
}

/// Compares what cannot be changed in place, and what others rely on.
fn same(kind: &str, theirs: &Value, ours: &Value) -> Result<()> {
    let pointers: &[&str] = match kind {
        "Deployment" => &[
            "/spec/selector",
            "/spec/replicas",
            "/spec/revisionHistoryLimit",
            "/spec/template/metadata/labels",
            "/spec/template/spec/serviceAccountName",
            "/spec/template/spec/securityContext",
            "/spec/template/spec/containers/0/name",
            "/spec/template/spec/containers/0/ports",
            "/spec/template/spec/containers/0/securityContext",
        ],
        "Service" => &[
            "/spec/selector",
            "/spec/type",
            "/spec/ports/0/name",
            "/spec/ports/0/port",
            "/spec/ports/0/targetPort",
        ],
        "RoleBinding" | "ClusterRoleBinding" => {
            return binding(theirs, ours);
        }
        "ClusterRole" | "Role" => return no_further_rights(theirs, ours),
        "Ingress" => &["/spec"],
        "PodDisruptionBudget" => &["/spec"],
        "NetworkPolicy" => &["/spec/podSelector"],
        "ServiceMonitor" => &["/spec"],
        "ServiceAccount" | "PrometheusRule" | "ConfigMap" | "Secret" => &["/metadata/name"],
        other => anyhow::bail!("{other} is not known here"),
    };
    for pointer in pointers {
        let (theirs, ours) = (theirs.pointer(pointer), ours.pointer(pointer));
        ensure!(theirs == ours, "{pointer} was {theirs:?} and is {ours:?}");
    }
    for label in [
        "app.kubernetes.io/name",
        "app.kubernetes.io/instance",
        "app.kubernetes.io/component",
    ] {
        let of = |object: &Value| object["metadata"]["labels"][label].clone();
        ensure!(of(theirs) == of(ours), "label {label}");
    }
    Ok(())
}

fn binding(theirs: &Value, ours: &Value) -> Result<()> {
    ensure!(
        theirs["roleRef"] == ours["roleRef"],
        "roleRef cannot be changed"
    );
    let subjects = |object: &Value| -> Vec<(Value, Value, Value)> {
        let list = object["subjects"].as_array().into_iter().flatten();
        list.map(|one| {
            (
                one["kind"].clone(),
                one["namespace"].clone(),
                one["name"].clone(),
            )
        })
        .collect()
    };
    ensure!(subjects(theirs) == subjects(ours), "subjects");
    Ok(())
}

/// We ask for nothing that the stock role of this name has not, but for Leases.
fn no_further_rights(theirs: &Value, ours: &Value) -> Result<()> {
    let (theirs, ours) = (rights(theirs)?, rights(ours)?);
    for right in &ours {
        let is_lease = right.resource == "leases";
        let had = theirs.iter().any(|their| {
            (&their.resource, &their.verb) == (&right.resource, &right.verb)
                && (their.name.is_none() || their.name == right.name)
        });
        ensure!(had || is_lease, "a further right: {right:?}");
    }
    Ok(())
}

/// One verb on one resource.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Right {
    pub(crate) group: String,
    pub(crate) resource: String,
    pub(crate) name: Option<String>,
    pub(crate) verb: String,
}

/// Takes a role apart.
pub(crate) fn rights(role: &Value) -> Result<Vec<Right>> {
    let words = |value: &Value| -> Vec<String> {
        let list = value.as_array().into_iter().flatten();
        list.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let mut all = Vec::new();
    for rule in role["rules"].as_array().context("rules")? {
        let names = words(&rule["resourceNames"]);
        let names: Vec<_> = if names.is_empty() {
            vec![None]
        } else {
            names.into_iter().map(Some).collect()
        };
        for group in words(&rule["apiGroups"]) {
            for resource in words(&rule["resources"]) {
                for verb in words(&rule["verbs"]) {
                    for name in &names {
                        all.push(Right {
                            group: group.clone(),
                            resource: resource.clone(),
                            name: name.clone(),
                            verb: verb.clone(),
                        });
                    }
                }
            }
        }
    }
    Ok(all)
}

/// helm on the cluster; the values come from standard input.
fn release(cluster: &Cluster, verb: &str, name: &str, namespace: &str) -> Result<Program> {
    Ok(helm()?.env("KUBECONFIG", cluster.admin().path()).args([
        verb,
        name,
        "--namespace",
        namespace,
    ]))
}

#[tokio::test]
async fn helm_upgrades_from_the_stock_chart_and_back() -> Result<()> {
    let cluster = Cluster::shared().await?;
    let namespace = cluster.namespace().await?;
    let client = cluster.client().await?;
    let theirs = json!({ "fullnameOverride": "seal", "rbac": { "clusterRoleName": format!("unsealer-{namespace}") },
        "keyrenewperiod": "240h", "pdb": { "create": true } });
    release(&cluster, "install", "r", &namespace)?
        .arg(stock()?)
        .args(["--values", "-", "--skip-crds"])
        .input(serde_json::to_vec(&theirs)?)
        .ok()?;
    let deployments = Api::<Deployment>::namespaced(client.clone(), &namespace);
    let services = Api::<Service>::namespaced(client, &namespace);
    let before = (deployments.get("seal").await?, services.get("seal").await?);

    // What people reach for first keeps the stock chart's defaults, its image among them: it says so.
    let kept = release(&cluster, "upgrade", "r", &namespace)?
        .arg(ours())
        .arg("--reuse-values")
        .run()?;
    ensure!(
        kept.code != Some(0) && kept.stderr.contains("--reset-then-reuse-values"),
        "{}",
        kept.stderr
    );
    release(&cluster, "upgrade", "r", &namespace)?
        .arg(ours())
        .args([
            "--reset-then-reuse-values",
            "--set",
            "networkPolicy.egress.enabled=true",
        ])
        .ok()?;
    let after = (deployments.get("seal").await?, services.get("seal").await?);
    ensure!(
        before.0.metadata.uid == after.0.metadata.uid,
        "another Deployment"
    );
    ensure!(
        before.1.metadata.uid == after.1.metadata.uid,
        "another Service"
    );
    let container = |deployment: &Deployment| -> Result<Value> {
        let container = serde_json::to_value(deployment)?;
        Ok(container["spec"]["template"]["spec"]["containers"][0].clone())
    };
    let ours = container(&after.0)?;
    ensure!(
        ours["command"] == json!(["selkie-controller", "--serve=sealed"]),
        "{ours}"
    );
    ensure!(
        ours["args"].to_string().contains("--key-renew-period=240h"),
        "{ours}"
    );
    // The address that this API server publishes.
    let policy = cluster
        .kubectl()
        .args([
            "get",
            "networkpolicy",
            "seal",
            "--namespace",
            &namespace,
            "--output",
            "json",
        ])
        .ok()?
        .json()?;
    let to = &policy["spec"]["egress"][1]["to"][0]["ipBlock"]["cidr"];
    ensure!(to == "192.0.2.1/32", "{policy}");

    release(&cluster, "rollback", "r", &namespace)?
        .arg("1")
        .ok()?;
    let back = deployments.get("seal").await?;
    ensure!(
        before.0.metadata.uid == back.metadata.uid,
        "another Deployment"
    );
    let theirs = container(&back)?;
    ensure!(theirs == container(&before.0)?, "{theirs}");
    release(&cluster, "uninstall", "r", &namespace)?.ok()?;
    Ok(())
}

#[tokio::test]
async fn the_api_server_takes_every_object() -> Result<()> {
    let cluster = Cluster::shared().await?;
    cluster
        .install_crds(
            &Cache::open()?
                .original_crds("charts")?
                .join("prometheus-operator"),
        )
        .await?;
    for name in ["kube-system", "elsewhere", "a", "b"] {
        let namespace =
            json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
        cluster.apply("default", &namespace.to_string())?;
    }
    let both = json!({ "external": { "enabled": true, "replicaCount": 2, "pdb": { "create": true }, "env": { "A": "b" } },
        "replicaCount": 2, "keySize": 2048, "image": { "digest": format!("sha256:{}", "0".repeat(64)) } });
    let mut taken = 0;
    for (what, name, values) in value_sets() {
        for values in [values.clone(), merged(&values, &both)] {
            // Two replicas would write without a Lease.
            let given = values["rbac"]["create"] == false;
            let values = if given {
                merged(
                    &values,
                    &json!({ "replicaCount": 1, "external": { "replicaCount": 1 } }),
                )
            } else {
                values
            };
            let text = Release::of(ours(), name, "kube-system").text(&values)?;
            taken += dry_run(&cluster, &text).with_context(|| format!("{what}: {values}"))?;
        }
    }
    for text in [
        std::fs::read_to_string(deploy().join("selkie.yaml"))?,
        cluster
            .kubectl()
            .arg("kustomize")
            .arg(deploy().join("kustomize"))
            .ok()?
            .text(),
    ] {
        taken += dry_run(&cluster, &text)?;
    }
    println!("verified: {taken} objects of deploy/ are taken by the API server");
    Ok(())
}

/// Lets the API server check every object, unknown fields included; returns how many there were.
fn dry_run(cluster: &Cluster, text: &str) -> Result<usize> {
    let applied = cluster
        .kubectl()
        .args([
            "apply",
            "--server-side",
            "--force-conflicts",
            "--dry-run=server",
            "--validate=strict",
        ])
        .args(["--output", "name", "--filename", "-"])
        .input(text)
        .ok()?;
    let count = applied.text().lines().count();
    ensure!(count == Objects::read(text)?.0.len(), "{}", applied.text());
    Ok(count)
}

/// The strictest of Kubernetes' own standards for pods, enforced by the API server.
#[tokio::test]
async fn pods_are_restricted() -> Result<()> {
    let cluster = Cluster::shared().await?;
    let namespace = cluster.namespace().await?;
    let label = [
        "label",
        "namespace",
        &namespace,
        "pod-security.kubernetes.io/enforce=restricted",
    ];
    cluster.kubectl().args(label).ok()?;
    let objects = usual().objects(&json!({ "external": { "enabled": true } }))?;
    for name in ["sealed-secrets", "sealed-secrets-external"] {
        let mut pod = objects.get("Deployment", name)?["spec"]["template"].clone();
        pod["apiVersion"] = json!("v1");
        pod["kind"] = json!("Pod");
        pod["metadata"]["name"] = json!("pod");
        let create = |pod: &Value| {
            cluster
                .kubectl()
                .args([
                    "create",
                    "--dry-run=server",
                    "--namespace",
                    &namespace,
                    "--filename",
                    "-",
                ])
                .input(pod.to_string())
                .run()
        };
        let made = create(&pod)?;
        ensure!(made.code == Some(0), "{name}: {}", made.stderr);
        pod["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = json!(true);
        let made = create(&pod)?;
        ensure!(
            made.stderr.contains("violates PodSecurity"),
            "nothing is enforced: {}",
            made.stderr
        );
    }
    Ok(())
}
