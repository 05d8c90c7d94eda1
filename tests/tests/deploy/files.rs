//! What is generated from the chart, byte for byte, and the container file.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use compat::bed::{Cache, Tool};
use compat::originals::helm;
use compat::program::Program;
use serde_json::{Value, json};

use crate::harness::*;

/// The names that kubeseal looks for.
fn flat(external: bool) -> Result<String> {
    let values = json!({
        "fullnameOverride": "sealed-secrets-controller",
        "external": { "enabled": external },
    });
    let text = usual().text(&values)?;
    // Nobody manages these with helm.
    let text = text.replace(
        "app.kubernetes.io/managed-by: Helm\n",
        "app.kubernetes.io/managed-by: selkie\n",
    );
    let chart: Vec<_> = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("helm.sh/chart:"))
        .collect();
    Ok(chart.join("\n") + "\n")
}

/// Keeps the documents whose objects belong to one half.
fn half(text: &str, external: bool) -> Result<String> {
    let mut kept = String::new();
    for document in text
        .split("---\n")
        .filter(|document| !document.trim().is_empty())
    {
        let object: Value = serde_saphyr::from_str(document)?;
        let name = object["metadata"]["labels"]["app.kubernetes.io/name"].as_str();
        if (name == Some("sealed-secrets-external")) == external {
            kept.push_str("---\n");
            kept.push_str(document);
        }
    }
    Ok(kept)
}

const NOTE: &str =
    "# Made from deploy/helm/selkie by the suite `deploy` (SNAPSHOTS=overwrite): do not edit.\n";

fn is_current(path: &Path, expected: &str) -> Result<()> {
    if std::env::var("SNAPSHOTS").is_ok_and(|what| what == "overwrite") {
        return Ok(std::fs::write(path, expected)?);
    }
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    ensure!(
        text == expected,
        "{} is out of date; run `SNAPSHOTS=overwrite cargo test -p compat --test deploy files`",
        path.display()
    );
    Ok(())
}

#[test]
fn generated_files_are_current() -> Result<()> {
    let crds = deploy().join("../crds");
    let crd = |name: &str| std::fs::read_to_string(crds.join(name));
    is_current(
        &ours().join("crds/sealedsecrets.yaml"),
        &crd("sealedsecrets.yaml")?,
    )?;
    let both = flat(true)?;
    let (sealed, external) = (half(&both, false)?, half(&both, true)?);
    ensure!(flat(false)? == sealed, "the halves depend on each other");
    is_current(
        &deploy().join("kustomize/sealed/selkie.yaml"),
        &format!("{NOTE}{sealed}"),
    )?;
    is_current(
        &deploy().join("kustomize/external/selkie.yaml"),
        &format!("{NOTE}{external}"),
    )?;
    let mut all = format!(
        "{NOTE}# Everything, into kube-system: kubectl apply --server-side -f selkie.yaml (docs/install.md)\n"
    );
    for name in [
        "sealedsecrets.yaml",
        "externalsecrets.yaml",
        "secretstores.yaml",
        "clustersecretstores.yaml",
    ] {
        all.push_str(&crd(name)?);
    }
    is_current(
        &deploy().join("selkie.yaml"),
        &format!("{all}{sealed}{external}"),
    )
}

#[test]
fn kustomize_builds_the_same_objects() -> Result<()> {
    let kustomize = |folder: &str| -> Result<Objects> {
        let kubectl = Program::new(Cache::open()?.tool(Tool::Kubectl)?);
        let built = kubectl.arg("kustomize").arg(deploy().join(folder)).ok()?;
        Objects::read(&built.text())
    };
    let flat = Objects::read(&std::fs::read_to_string(deploy().join("selkie.yaml"))?)?;
    let whole = kustomize("kustomize")?;
    ensure!(whole.0 == flat.0, "{:?}", whole.0.keys());
    let (sealed, external) = (
        kustomize("kustomize/sealed")?,
        kustomize("kustomize/external")?,
    );
    let crds = 4;
    ensure!(sealed.0.len() + external.0.len() + crds == whole.0.len());
    let accounts: Vec<_> = whole
        .0
        .keys()
        .filter(|id| id.0 == "ServiceAccount")
        .collect();
    ensure!(accounts.len() == 2, "{accounts:?}");
    Ok(())
}

/// No engine runs here: what the image has to be is in the file itself.
#[test]
fn the_image_has_no_shell_and_no_root() -> Result<()> {
    let text = std::fs::read_to_string(deploy().join("Containerfile"))?;
    let stage = text.rsplit("\nFROM ").next().context("a last stage")?;
    let (base, lines) = stage.split_once('\n').context("a base")?;
    ensure!(
        base.split(' ')
            .next()
            .is_some_and(|base| base.contains("distroless") || base == "scratch"),
        "{base}"
    );
    let has = |start: &str| lines.lines().any(|line| line.starts_with(start));
    ensure!(has("USER 1001"), "{lines}");
    ensure!(!has("RUN"), "there is no shell that it could run in");
    for program in ["selkie-controller", "controller"] {
        let at = format!(" /image/usr/local/bin/{program}");
        ensure!(text.lines().any(|line| line.contains(&at)), "no {program}");
    }
    ensure!(
        has("COPY --from=build /image/usr/local/bin/ /usr/local/bin/"),
        "{lines}"
    );
    // As the chart and the stock chart run it.
    let pod = usual().objects(&json!({}))?;
    let pod = &pod.get("Deployment", "sealed-secrets")?["spec"]["template"]["spec"];
    let container = &pod["containers"][0]["securityContext"];
    ensure!(
        container["runAsUser"] == 1001 && container["readOnlyRootFilesystem"] == true,
        "{container}"
    );
    Ok(())
}

#[test]
fn helm_finds_nothing_to_say() -> Result<()> {
    let linted = helm()?.args(["lint", "--strict"]).arg(ours()).run()?;
    ensure!(linted.code == Some(0), "{}{}", linted.text(), linted.stderr);
    let chart = yaml(&ours().join("Chart.yaml"))?;
    for version in ["version", "appVersion"] {
        ensure!(
            chart[version] == env!("CARGO_PKG_VERSION"),
            "{version} is {}",
            chart[version]
        );
    }
    Ok(())
}
