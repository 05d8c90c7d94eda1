//! The values: every key of the stock chart, ours, and what is no key.

use std::collections::BTreeSet;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use compat::program::Program;
use compat::selkie::binary;
use serde_json::{Value, json};

use crate::harness::*;
use crate::stock_keys::Comes::{Away, Error, To};
use crate::stock_keys::stock_keys;

#[test]
fn every_key_of_the_stock_chart_is_carried_out_or_refused() -> Result<()> {
    let theirs: BTreeSet<_> = paths(&yaml(&stock()?.join("values.yaml"))?)
        .into_iter()
        .collect();
    let keys = stock_keys();
    let told: BTreeSet<_> = keys.iter().map(|(path, ..)| (*path).to_owned()).collect();
    let missing: Vec<_> = theirs.difference(&told).collect();
    ensure!(missing.is_empty(), "no case for {missing:?}");
    ensure!(told.len() == keys.len(), "a key is there twice");

    let on = json!({
        "ingress": { "enabled": true },
        "metrics": { "serviceMonitor": { "enabled": true }, "prometheusRule": { "enabled": true }, "dashboards": { "create": true } },
        "pdb": { "create": true },
    });
    let usual = usual();
    let mut wrong = Vec::new();
    for (path, value, comes) in &keys {
        // What the key needs to count.
        let needs = match path.split('.').next().unwrap_or_default() {
            "startupProbe" => at("startupProbe.enabled", json!(true)),
            "customLivenessProbe" => at("livenessProbe.enabled", json!(false)),
            "customReadinessProbe" => at("readinessProbe.enabled", json!(false)),
            _ => match *path {
                "ingress.selfSigned" => at("ingress.tls", json!(true)),
                "ingress.tls" => at("ingress.selfSigned", json!(true)),
                "networkPolicy.egress.kubeapiPort" => {
                    at("networkPolicy.egress.kubeapiCidr", json!("10.0.0.0/8"))
                }
                "service.nodePort" => at("service.type", json!("LoadBalancer")),
                "metrics.service.nodePort" => at("metrics.service.type", json!("LoadBalancer")),
                "rbac.namespacedRolesName" => at("rbac.namespacedRoles", json!(true)),
                _ => json!({}),
            },
        };
        let before = merged(&on, &needs);
        // A switch that `needs` sets for its siblings is tried from off.
        let before = if path.ends_with("startupProbe.enabled") {
            on.clone()
        } else {
            before
        };
        let after = merged(&before, &at(path, value.clone()));
        if let Error(said) = comes {
            let error = usual.error(&after)?;
            ensure!(error.contains(said), "{path}: {error}");
            continue;
        }
        // Certificates that helm makes differ each time.
        let render = |values: &Value| -> Result<String> {
            let text = usual.text(values)?;
            let lines = text
                .lines()
                .filter(|line| !line.contains(".key: ") || line.ends_with("aw=="));
            Ok(lines.fold(String::new(), |text, line| text + line + "\n"))
        };
        let (before, after) = (render(&before)?, render(&after)?);
        let (To(text) | Away(text) | Error(text)) = comes;
        let expected = matches!(comes, Away(_));
        let (had, has) = (before.contains(text), after.contains(text));
        if (had, has) != (expected, !expected) {
            wrong.push(*path);
        }
    }
    ensure!(wrong.is_empty(), "not as the table says: {wrong:?}");
    println!(
        "verified: {} keys of the stock values file are carried out or refused by name",
        keys.len()
    );
    Ok(())
}

#[test]
fn what_is_no_key_is_an_error() -> Result<()> {
    for (path, value) in [
        ("canary", json!(1)),
        ("image.canary", json!("x")),
        ("rbac.serviceProxier.canary", json!(true)),
        ("external.canary", json!("x")),
        ("metrics.canary.enabled", json!(true)),
    ] {
        let error = usual().error(&at(path, value))?;
        ensure!(
            error.contains("canary") && error.contains("not allowed"),
            "{path}: {error}"
        );
    }
    for (path, value) in [
        ("keySize", json!(1024)),
        ("rateLimit", json!(0)),
        ("secretName", json!("Upper")),
        ("logLevel", json!("loud")),
        ("service.type", json!("Canary")),
        ("replicaCount", json!("two")),
        ("networkPolicy.egress.enabled", json!("all")),
    ] {
        let error = usual().error(&at(path, value))?;
        let pointer = format!("/{}", path.replace('.', "/"));
        ensure!(error.contains(&pointer), "{path}: {error}");
    }
    Ok(())
}

#[test]
fn what_would_not_work_is_an_error() -> Result<()> {
    for (values, said) in [
        (
            json!({ "replicaCount": 2, "rbac": { "create": false } }),
            "replicaCount is 2 without leader election",
        ),
        (
            json!({ "replicaCount": 2, "leaderElect": false }),
            "replicaCount is 2 without leader election",
        ),
        (
            json!({ "external": { "replicaCount": 3, "leaderElect": false } }),
            "external.replicaCount is 3",
        ),
        (
            json!({ "privateKeyLabels": { "a": "b,c=d" } }),
            "privateKeyLabels.a has to be a text without a comma",
        ),
        (
            json!({ "networkPolicy": { "egress": { "enabled": true } } }),
            "set networkPolicy.egress.kubeapiCidr",
        ),
    ] {
        let error = usual().error(&values)?;
        ensure!(error.contains(said), "{values}: {error}");
    }
    let given = json!({ "replicaCount": 2, "leaderElect": true, "rbac": { "create": false } });
    let arguments = usual().objects(&given)?.arguments("sealed-secrets")?;
    ensure!(
        !arguments.iter().any(|it| it.contains("leader-elect")),
        "{arguments:?}"
    );
    Ok(())
}

/// The pods with the keys talk to nobody else, and no other pod is meant.
#[test]
fn the_half_with_the_keys_reaches_the_api_server_and_dns() -> Result<()> {
    let policy = |values: Value| -> Result<Value> {
        let objects = usual().objects(&values)?;
        let policy = objects.get("NetworkPolicy", "sealed-secrets")?["spec"].clone();
        let pods = &objects.get("Deployment", "sealed-secrets")?["spec"]["selector"];
        ensure!(policy["podSelector"] == *pods, "{policy}");
        Ok(policy)
    };
    let ports = |numbers: [u16; 3]| numbers.map(|port| json!({ "port": port, "protocol": "TCP" }));
    let both = policy(json!({ "external": { "enabled": true } }))?;
    ensure!(
        both["policyTypes"] == json!(["Ingress", "Egress"]),
        "{both}"
    );
    let egress = both["egress"].as_array().context("egress")?;
    let [dns, api] = &egress[..] else {
        anyhow::bail!("{both}");
    };
    ensure!(
        dns["ports"]
            .as_array()
            .is_some_and(|all| all.iter().all(|it| it["port"] == 53)),
        "{dns}"
    );
    ensure!(
        dns["to"][0]["podSelector"]["matchLabels"]["k8s-app"] == "kube-dns",
        "{dns}"
    );
    ensure!(
        api == &json!({ "ports": ports([443, 6443, 8443]) }),
        "{api}"
    );
    let tight = policy(at("networkPolicy.egress.kubeapiCidr", json!("10.0.0.1/32")))?;
    let to = json!([{ "ipBlock": { "cidr": "10.0.0.1/32" } }]);
    ensure!(
        tight["egress"][1]["to"] == to
            && tight["egress"].as_array().is_some_and(|all| all.len() == 2),
        "{tight}"
    );
    Ok(())
}

#[test]
fn every_key_is_documented() -> Result<()> {
    let values = yaml(&ours().join("values.yaml"))?;
    let schema: Value = serde_json::from_slice(&std::fs::read(ours().join("values.schema.json"))?)?;
    for path in paths(&values) {
        let mut at = &schema;
        for key in path.split('.') {
            if at["properties"].is_null() && at["additionalProperties"].is_null() {
                break; // A map of Kubernetes' own.
            }
            at = &at["properties"][key];
            ensure!(
                at["description"]
                    .as_str()
                    .is_some_and(|text| text.len() > 3),
                "{path} has no description"
            );
        }
    }
    fn described(at: &Value, path: &str, values: &Value) -> Result<()> {
        for (key, below) in at["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}.{key}");
            let known = path == ".global"
                || path.ends_with("terminationGracePeriodSeconds")
                || !values[key].is_null()
                || values.get(key).is_some();
            ensure!(known, "{path} is described, and no value");
            described(below, &path, &values[key])?;
        }
        Ok(())
    }
    described(&schema, "", &values)
}

/// The program takes the arguments that the chart gives it.
#[test]
fn the_arguments_are_the_programs() -> Result<()> {
    let program = binary("selkie-controller", "selkie-controller")?;
    for values in [
        json!({}),
        json!({ "external": { "enabled": true, "logLevel": "debug", "logFormat": "text" } }),
        json!({ "keyrenewperiod": 0, "keyttl": "8760h00m00s", "keySize": 2048, "updateStatus": false, "leaderElect": false,
            "additionalNamespaces": ["a", "b"], "logLevel": "ERROR", "logFormat": "json", "secretName": "prefix",
            "containerPorts": { "http": "80", "metrics": 81 } }),
        json!({ "keycutofftime": "Mon, 14 Oct 2024 21:45:30 +0200", "privateKeyAnnotations": { "a.b/c": "d" },
            "privateKeyLabels": { "a": "b", "c": "d" }, "watchForSecrets": true, "skipRecreate": true, "maxRetries": 0, "rateLimit": 3,
            "rateLimitBurst": "0", "kubeClientQPS": -1, "kubeClientBurst": 20, "logInfoStdout": true,
            "extraArgs": ["--key-order-priority=SecretCreationTimestamp"] }),
        json!({ "rbac": { "namespacedRoles": true } }),
    ] {
        let objects = usual().objects(&values)?;
        let deployments: Vec<_> = objects
            .0
            .keys()
            .filter(|id| id.0 == "Deployment")
            .map(|id| id.2.clone())
            .collect();
        let external = values["external"]["enabled"] == true;
        ensure!(
            deployments.len() == 1 + usize::from(external),
            "{deployments:?}"
        );
        for name in deployments {
            let arguments = objects.arguments(&name)?;
            let said = Program::new(&program)
                .args(&arguments)
                .arg("--version")
                .ok();
            said.with_context(|| format!("{name}: {arguments:?}"))?;
        }
    }
    let unknown = Command::new(&program)
        .args(["--canary", "--version"])
        .output()?;
    ensure!(!unknown.status.success(), "any argument passes this test");
    Ok(())
}
