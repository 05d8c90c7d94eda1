//! The values: every key of the stock chart, ours, and what is no key.

use std::collections::BTreeSet;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use compat::program::Program;
use compat::selkie::binary;
use serde_json::{Value, json};

use crate::harness::*;

/// What a value of the stock chart comes to.
enum Comes {
    /// The text is in what is rendered, and was not before.
    To(&'static str),
    /// The text was in what is rendered, and is there no more.
    Away(&'static str),
    /// An error that says this.
    Error(&'static str),
    /// Nothing, since it is so in any case.
    AsItIs,
}
use Comes::{AsItIs, Away, Error, To};

/// Every key of the stock values file with a value that is not its default.
///
/// On top of what switches optional objects on, see [`every_key_of_the_stock_chart_is_carried_out_or_refused`].
fn stock_keys() -> Vec<(&'static str, Value, Comes)> {
    let map = || json!({ "canary": "c" });
    let probe = |path, name| (path, json!(47), To(name));
    vec![
        (
            "kubeVersion",
            json!("1.20.0"),
            Error("Kubernetes 1.20.0 is too old"),
        ),
        (
            "nameOverride",
            json!("canary"),
            To("name: sealed-secrets-canary"),
        ),
        (
            "fullnameOverride",
            json!("canary"),
            To("name: canary-key-admin"),
        ),
        ("namespace", json!("canary"), To("namespace: canary")),
        (
            "extraDeploy",
            json!([{ "kind": "Canary", "apiVersion": "v1", "metadata": { "name": "{{ .Release.Name }}-x" } }]),
            To("name: 'sealed-secrets-x'"),
        ),
        ("commonAnnotations", map(), To("canary: c")),
        ("commonLabels", map(), To("canary: c")),
        (
            "image.registry",
            json!("canary.example.com"),
            To("image: canary.example.com/selkie-controller:"),
        ),
        (
            "image.repository",
            json!("bitnami/sealed-secrets-controller"),
            Error("image.repository is bitnami/"),
        ),
        ("image.tag", json!("v47"), To("selkie-controller:v47")),
        (
            "image.pullPolicy",
            json!("Always"),
            To("imagePullPolicy: Always"),
        ),
        ("image.pullSecrets", json!(["canary"]), To("- name: canary")),
        (
            "revisionHistoryLimit",
            json!(0),
            To("revisionHistoryLimit: 0"),
        ),
        ("createController", json!(false), Away("--serve=sealed")),
        ("secretName", json!("canary"), To("--key-prefix=canary")),
        ("updateStatus", json!(false), To("--update-status=false")),
        ("skipRecreate", json!(true), Error("skipRecreate is set")),
        ("keyrenewperiod", json!("0"), To("--key-renew-period=0")),
        ("keyttl", json!("47h"), To("--key-ttl=47h")),
        (
            "keycutofftime",
            json!("Mon, 14 Oct 2024 21:45:30 +0200"),
            Error("keycutofftime is set"),
        ),
        ("rateLimit", json!(3), Error("rateLimit is set")),
        ("rateLimitBurst", json!("3"), Error("rateLimitBurst is set")),
        (
            "additionalNamespaces",
            json!(["canary", "b"]),
            To("--additional-namespaces=canary,b"),
        ),
        (
            "privateKeyAnnotations",
            map(),
            Error("privateKeyAnnotations is set"),
        ),
        ("privateKeyLabels", map(), Error("privateKeyLabels is set")),
        ("logInfoStdout", json!(true), AsItIs),
        ("logLevel", json!("ERROR"), To("--log-level=ERROR")),
        ("logFormat", json!("text"), To("--log-format=text")),
        ("maxRetries", json!(3), Error("maxRetries is set")),
        ("watchForSecrets", json!(true), AsItIs),
        ("kubeClientQPS", json!(-1), Error("kubeClientQPS is set")),
        ("kubeClientBurst", json!(3), Error("kubeClientBurst is set")),
        ("command", json!(["canary"]), To("- canary")),
        (
            "args",
            json!(["--canary={{ .Release.Name }}"]),
            To("- --canary=sealed-secrets"),
        ),
        (
            "livenessProbe.enabled",
            json!(false),
            Away("path: /healthz"),
        ),
        (
            "readinessProbe.enabled",
            json!(false),
            Away("path: /readyz"),
        ),
        ("startupProbe.enabled", json!(true), To("tcpSocket:")),
        probe(
            "livenessProbe.initialDelaySeconds",
            "initialDelaySeconds: 47",
        ),
        probe("livenessProbe.periodSeconds", "periodSeconds: 47"),
        probe("livenessProbe.timeoutSeconds", "timeoutSeconds: 47"),
        probe("livenessProbe.failureThreshold", "failureThreshold: 47"),
        probe("livenessProbe.successThreshold", "successThreshold: 47"),
        probe(
            "readinessProbe.initialDelaySeconds",
            "initialDelaySeconds: 47",
        ),
        probe("readinessProbe.periodSeconds", "periodSeconds: 47"),
        probe("readinessProbe.timeoutSeconds", "timeoutSeconds: 47"),
        probe("readinessProbe.failureThreshold", "failureThreshold: 47"),
        probe("readinessProbe.successThreshold", "successThreshold: 47"),
        probe(
            "startupProbe.initialDelaySeconds",
            "initialDelaySeconds: 47",
        ),
        probe("startupProbe.periodSeconds", "periodSeconds: 47"),
        probe("startupProbe.timeoutSeconds", "timeoutSeconds: 47"),
        probe("startupProbe.failureThreshold", "failureThreshold: 47"),
        probe("startupProbe.successThreshold", "successThreshold: 47"),
        (
            "customLivenessProbe",
            json!({ "exec": { "command": ["canary"] } }),
            To("livenessProbe:\n            exec:"),
        ),
        (
            "customReadinessProbe",
            json!({ "exec": { "command": ["canary"] } }),
            To("readinessProbe:\n            exec:"),
        ),
        (
            "customStartupProbe",
            json!({ "exec": { "command": ["canary"] } }),
            To("startupProbe:\n            exec:"),
        ),
        (
            "resources.limits",
            json!({ "memory": "47Mi" }),
            To("memory: 47Mi"),
        ),
        (
            "resources.requests",
            json!({ "memory": "47Mi" }),
            To("memory: 47Mi"),
        ),
        (
            "podSecurityContext.enabled",
            json!(false),
            Away("fsGroup: 65534"),
        ),
        ("podSecurityContext.fsGroup", json!(47), To("fsGroup: 47")),
        (
            "podSecurityContext.seccompProfile.type",
            json!("Localhost"),
            To("type: Localhost"),
        ),
        (
            "containerSecurityContext.enabled",
            json!(false),
            Away("readOnlyRootFilesystem"),
        ),
        (
            "containerSecurityContext.readOnlyRootFilesystem",
            json!(false),
            To("readOnlyRootFilesystem: false"),
        ),
        (
            "containerSecurityContext.runAsNonRoot",
            json!(false),
            To("runAsNonRoot: false"),
        ),
        (
            "containerSecurityContext.runAsUser",
            json!(47),
            To("runAsUser: 47"),
        ),
        (
            "containerSecurityContext.allowPrivilegeEscalation",
            json!(true),
            To("allowPrivilegeEscalation: true"),
        ),
        (
            "containerSecurityContext.capabilities.drop",
            json!(["CANARY"]),
            To("- CANARY"),
        ),
        ("podLabels", map(), To("canary: c")),
        ("podAnnotations", map(), To("canary: c")),
        (
            "priorityClassName",
            json!("canary"),
            To("priorityClassName: \"canary\""),
        ),
        (
            "runtimeClassName",
            json!("canary"),
            To("runtimeClassName: \"canary\""),
        ),
        (
            "affinity",
            json!({ "nodeAffinity": { "canary": "c" } }),
            To("canary: c"),
        ),
        ("nodeSelector", map(), To("canary: c")),
        (
            "tolerations",
            json!([{ "key": "canary" }]),
            To("- key: canary"),
        ),
        (
            "additionalVolumes",
            json!([{ "name": "canary", "emptyDir": {} }]),
            To("volumes:\n        - emptyDir: {}\n          name: canary"),
        ),
        (
            "additionalVolumeMounts",
            json!([{ "name": "canary", "mountPath": "/c" }]),
            To("mountPath: /c"),
        ),
        ("hostNetwork", json!(true), To("hostNetwork: true")),
        (
            "containerPorts.http",
            json!(4747),
            To("containerPort: 4747"),
        ),
        (
            "containerPorts.metrics",
            json!(4748),
            To("containerPort: 4748"),
        ),
        ("hostPorts.http", json!(4747), To("hostPort: 4747")),
        ("hostPorts.metrics", json!(4748), To("hostPort: 4748")),
        ("dnsPolicy", json!("Default"), To("dnsPolicy: Default")),
        ("service.type", json!("NodePort"), To("type: NodePort")),
        (
            "service.loadBalancerClass",
            json!("canary"),
            To("loadBalancerClass: canary"),
        ),
        ("service.port", json!(47), To("port: 47")),
        ("service.nodePort", json!(30047), To("nodePort: 30047")),
        ("service.annotations", map(), To("canary: c")),
        ("ingress.enabled", json!(false), Away("kind: Ingress")),
        ("ingress.pathType", json!("Exact"), To("pathType: Exact")),
        (
            "ingress.apiVersion",
            json!("extensions/v1beta1"),
            Error("ingress.apiVersion is extensions/v1beta1"),
        ),
        (
            "ingress.ingressClassName",
            json!("canary"),
            To("ingressClassName: \"canary\""),
        ),
        (
            "ingress.hostname",
            json!("canary.example.com"),
            To("host: \"canary.example.com\""),
        ),
        ("ingress.path", json!("/canary"), To("path: /canary")),
        ("ingress.annotations", map(), To("canary: c")),
        (
            "ingress.tls",
            json!(true),
            To("secretName: sealed-secrets.local-tls"),
        ),
        ("ingress.selfSigned", json!(true), To("ca.crt:")),
        (
            "ingress.extraHosts",
            json!([{ "name": "canary" }]),
            To("host: \"canary\""),
        ),
        (
            "ingress.extraPaths",
            json!([{ "path": "/canary" }]),
            To("path: /canary"),
        ),
        (
            "ingress.extraTls",
            json!([{ "hosts": ["canary"] }]),
            To("- canary"),
        ),
        (
            "ingress.secrets",
            json!([{ "name": "canary", "key": "k", "certificate": "c" }]),
            To("tls.crt: Yw=="),
        ),
        (
            "networkPolicy.enabled",
            json!(false),
            Away("kind: NetworkPolicy\nmetadata:\n  name: sealed-secrets\n"),
        ),
        (
            "networkPolicy.egress.enabled",
            json!(false),
            Away("egress:"),
        ),
        (
            "networkPolicy.egress.kubeapiCidr",
            json!("10.47.0.0/16"),
            To("cidr: 10.47.0.0/16"),
        ),
        (
            "networkPolicy.egress.kubeapiPort",
            json!(47),
            To("port: 47"),
        ),
        ("serviceAccount.annotations", map(), To("canary: c")),
        (
            "serviceAccount.create",
            json!(false),
            To("serviceAccountName: default"),
        ),
        ("serviceAccount.labels", map(), To("canary: c")),
        (
            "serviceAccount.name",
            json!("canary"),
            To("serviceAccountName: canary"),
        ),
        (
            "rbac.create",
            json!(false),
            Away("kind: ClusterRoleBinding"),
        ),
        (
            "rbac.clusterRole",
            json!(false),
            Away("kind: ClusterRole\nmetadata:\n  name: secrets-unsealer"),
        ),
        ("rbac.clusterRoleName", json!("canary"), To("name: canary")),
        (
            "rbac.namespacedRoles",
            json!(true),
            To("kind: Role\nmetadata:\n  name: secrets-unsealer"),
        ),
        (
            "rbac.namespacedRolesName",
            json!("canary"),
            To("name: canary"),
        ),
        ("rbac.labels", map(), To("canary: c")),
        (
            "rbac.pspEnabled",
            json!(true),
            Error("rbac.pspEnabled is true"),
        ),
        (
            "rbac.serviceProxier.create",
            json!(false),
            Away("service-proxier"),
        ),
        (
            "rbac.serviceProxier.bind",
            json!(false),
            Away("name: system:authenticated"),
        ),
        (
            "rbac.serviceProxier.subjects",
            json!("- kind: Group\n  name: canary\n"),
            To("name: canary"),
        ),
        (
            "metrics.prometheusRule.enabled",
            json!(false),
            Away("kind: PrometheusRule"),
        ),
        (
            "metrics.prometheusRule.namespace",
            json!("canary"),
            To("namespace: canary"),
        ),
        ("metrics.prometheusRule.labels", map(), To("canary: c")),
        ("metrics.prometheusRule.annotations", map(), To("canary: c")),
        (
            "metrics.prometheusRule.groups",
            json!([{ "name": "canary", "rules": [] }]),
            To("name: canary"),
        ),
        (
            "metrics.serviceMonitor.enabled",
            json!(false),
            Away("kind: ServiceMonitor"),
        ),
        (
            "metrics.serviceMonitor.namespace",
            json!("canary"),
            To("namespace: canary"),
        ),
        ("metrics.serviceMonitor.labels", map(), To("canary: c")),
        ("metrics.serviceMonitor.annotations", map(), To("canary: c")),
        (
            "metrics.serviceMonitor.interval",
            json!("47s"),
            To("interval: 47s"),
        ),
        (
            "metrics.serviceMonitor.scrapeTimeout",
            json!("47s"),
            To("scrapeTimeout: 47s"),
        ),
        (
            "metrics.serviceMonitor.honorLabels",
            json!(false),
            Away("honorLabels: true"),
        ),
        (
            "metrics.serviceMonitor.metricRelabelings",
            json!([{ "action": "canary" }]),
            To("- action: canary"),
        ),
        (
            "metrics.serviceMonitor.relabelings",
            json!([{ "action": "canary" }]),
            To("- action: canary"),
        ),
        (
            "metrics.dashboards.create",
            json!(false),
            Away("kind: ConfigMap"),
        ),
        ("metrics.dashboards.labels", map(), To("canary: c")),
        ("metrics.dashboards.annotations", map(), To("canary: c")),
        (
            "metrics.dashboards.namespace",
            json!("canary"),
            To("namespace: canary"),
        ),
        (
            "metrics.service.type",
            json!("NodePort"),
            To("type: NodePort"),
        ),
        (
            "metrics.service.loadBalancerClass",
            json!("canary"),
            To("loadBalancerClass: canary"),
        ),
        ("metrics.service.port", json!(47), To("port: 47")),
        (
            "metrics.service.nodePort",
            json!(30047),
            To("nodePort: 30047"),
        ),
        ("metrics.service.annotations", map(), To("canary: c")),
        (
            "pdb.create",
            json!(false),
            Away("kind: PodDisruptionBudget"),
        ),
        ("pdb.minAvailable", json!("47%"), To("minAvailable: 47%")),
        ("pdb.maxUnavailable", json!(47), To("maxUnavailable: 47")),
    ]
}

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
        let (had, has) = match comes {
            To(text) | Away(text) => (before.contains(text), after.contains(text)),
            AsItIs | Error(_) => (false, before == after),
        };
        let expected = match comes {
            Away(_) => (true, false),
            To(_) | AsItIs | Error(_) => (false, true),
        };
        if (had, has) != expected {
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
