//! The commands of docs/install.md, run as they stand there.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use compat::bed::{Cache, new_folder};
use compat::cluster::Cluster;
use compat::program::Program;
use serde_json::Value;

use crate::harness::*;

const PAGE: &str = include_str!("../../../docs/install.md");

/// The blocks of commands of a section.
fn blocks(section: &str) -> Result<Vec<String>> {
    let heading = format!("\n## {section}\n");
    let (_, rest) = PAGE
        .split_once(&heading)
        .with_context(|| format!("no section {section}"))?;
    let text = rest.split("\n## ").next().unwrap_or_default();
    Ok(text
        .split("```\n")
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect())
}

/// A folder that looks like the repository, and the cluster that the commands are for.
struct Shell<'a> {
    cluster: &'a Cluster,
    folder: PathBuf,
    path: String,
}

impl<'a> Shell<'a> {
    fn new(cluster: &'a Cluster) -> Result<Self> {
        let folder = new_folder("install")?;
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("..")
            .canonicalize()?;
        for name in ["deploy", "crds"] {
            std::os::unix::fs::symlink(root.join(name), folder.join(name))?;
        }
        let bin = Cache::open()?.root().join("bin");
        Ok(Self {
            cluster,
            folder,
            path: format!("{}:/usr/bin:/bin", bin.display()),
        })
    }

    fn run(&self, commands: &str) -> Result<()> {
        Program::new("/bin/sh")
            .args(["-eu", "-c", commands])
            .env("PATH", &self.path)
            .env("HOME", &self.folder)
            .env("KUBECONFIG", self.cluster.admin().path())
            .folder(&self.folder)
            .ok()
            .with_context(|| commands.to_owned())?;
        Ok(())
    }

    /// The Deployments of kube-system: name, UID and the image of the container.
    fn deployments(&self) -> Result<Vec<(String, String, String)>> {
        let list = self
            .cluster
            .kubectl()
            .args([
                "get",
                "deployments",
                "--namespace",
                "kube-system",
                "--output",
                "json",
            ])
            .ok()?
            .json()?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let items = list["items"].as_array().context("items")?;
        let image =
            |item: &Value| text(&item["spec"]["template"]["spec"]["containers"][0]["image"]);
        Ok(items
            .iter()
            .map(|item| {
                (
                    text(&item["metadata"]["name"]),
                    text(&item["metadata"]["uid"]),
                    image(item),
                )
            })
            .collect())
    }
}

#[tokio::test]
async fn the_commands_of_the_page_work() -> Result<()> {
    let cluster = Cluster::start().await?;
    let shell = Shell::new(&cluster)?;
    let names = || -> Result<Vec<String>> {
        Ok(shell
            .deployments()?
            .into_iter()
            .map(|(name, ..)| name)
            .collect())
    };
    let mut count = 0;

    for block in blocks("With Helm")? {
        shell.run(&block)?;
        count += 1;
    }
    let both = [
        "sealed-secrets-controller",
        "sealed-secrets-controller-external",
    ];
    ensure!(names()? == both, "{:?}", names()?);
    let uninstall = "helm uninstall sealed-secrets --namespace kube-system --wait";
    shell.run(uninstall)?;

    let install = format!(
        "helm install sealed-secrets '{}' --namespace kube-system",
        stock()?.display()
    );
    shell.run(&install)?;
    let [theirs] = &shell.deployments()?[..] else {
        anyhow::bail!("{:?}", names()?);
    };
    let upgrading = blocks("Upgrading from the Sealed Secrets chart")?;
    ensure!(upgrading.len() == 2, "{upgrading:?}");
    shell.run(&upgrading[0])?;
    let [ours] = &shell.deployments()?[..] else {
        anyhow::bail!("{:?}", names()?);
    };
    ensure!(
        (&ours.0, &ours.1) == (&theirs.0, &theirs.1),
        "another Deployment"
    );
    ensure!(
        ours.2 == "registry.example.com/selkie-controller:0.1.0",
        "{}",
        ours.2
    );
    shell.run(&upgrading[1])?;
    ensure!(
        shell.deployments()? == [theirs.clone()],
        "not what was there before"
    );
    shell.run(uninstall)?;
    count += upgrading.len();

    for block in blocks("Without Helm")? {
        shell.run(&block)?;
        count += 1;
    }
    // The last one takes a Deployment away.
    ensure!(
        names()? == ["sealed-secrets-controller-external"],
        "{:?}",
        names()?
    );
    println!("verified: {count} blocks of commands of docs/install.md run as they stand there");
    Ok(())
}
