//! `publish` to Google Cloud Storage, beside the real sops 3.13.3, whose client is Google's own: the
//! same objects afterwards, for a service account behind TLS and on an emulator.

use std::fs;

use anyhow::{Context, Result, ensure};
use compat::clouds::Clouds;
use compat::program::{Finished, Program};
use compat::sops_file::{IDENTITY, RECIPIENT};
use compat::{originals, selkie};
use tempfile::TempDir;

struct Bed {
    folder: TempDir,
    clouds: Clouds,
    variables: Vec<(&'static str, String)>,
}

impl Bed {
    fn new() -> Result<Self> {
        let folder = TempDir::with_prefix("selkie-publish-")?;
        let bed = Self {
            folder,
            clouds: Clouds::start()?,
            variables: Vec::new(),
        };
        for (name, text) in [("f.yaml", "a: s3cr3t\n"), ("g.json", "{\"a\": \"s3cr3t\"}")] {
            fs::write(bed.folder.path().join(name), text)?;
            bed.settled(originals::sops()?)
                .args(["encrypt", "-i", "--age", RECIPIENT, name])
                .ok()?;
        }
        Ok(bed)
    }

    fn settled(&self, program: Program) -> Program {
        let mut program = program
            .folder(self.folder.path())
            .env("HOME", self.folder.path())
            .env("SOPS_AGE_KEY", IDENTITY)
            .env("SOPS_DISABLE_VERSION_CHECK", "true");
        for (name, value) in &self.variables {
            program = program.env(name, value);
        }
        program
    }

    fn publish(&self, program: Program, rule: &str, file: &str) -> Result<Finished> {
        let rules = format!("destination_rules:\n- {rule}\n");
        fs::write(self.folder.path().join(".sops.yaml"), rules)?;
        let program = self.settled(program);
        program.args(["publish", "-y", file]).run()
    }

    /// Publishes with both programs and compares the objects.
    fn equal(&self) -> Result<()> {
        for file in ["f.yaml", "g.json"] {
            for (program, place) in [
                (originals::sops()?, "theirs"),
                (selkie::selkie()?, "our s+&"),
            ] {
                let rule = format!("gcs_bucket: team\n  gcs_prefix: \"{place}/\"");
                let done = self.publish(program, &rule, file)?;
                ensure!(done.code == Some(0), "{place}: {done:?}");
            }
            let objects = self.clouds.objects();
            let theirs = objects.get(&format!("theirs/{file}"));
            let theirs = theirs.context("sops put it there")?;
            let ours = objects.get(&format!("our s+&/{file}"));
            ensure!(ours == Some(theirs), "{ours:?}, not {theirs:?}");
            let text = fs::read_to_string(self.folder.path().join(file))?;
            ensure!(theirs.content == text);
        }
        Ok(())
    }
}

#[test]
fn an_emulator_takes_everybody() -> Result<()> {
    let mut bed = Bed::new()?;
    bed.variables = vec![("STORAGE_EMULATOR_HOST", bed.clouds.address())];
    bed.equal()?;
    let requests = bed.clouds.take();
    let known = |r: &&compat::clouds::Request| !r.header("authorization").is_empty();
    ensure!(requests.iter().find(known).is_none(), "{requests:?}");
    Ok(())
}

#[test]
fn a_service_account_at_the_services_own_name() -> Result<()> {
    let mut bed = Bed::new()?;
    let account = bed.folder.path().join("account.json");
    let account = bed.clouds.google().service_account(&account, None)?;
    bed.variables = vec![
        ("HTTPS_PROXY", bed.clouds.url()),
        (
            "SSL_CERT_FILE",
            bed.clouds.authority().display().to_string(),
        ),
        (
            "GOOGLE_APPLICATION_CREDENTIALS",
            account.display().to_string(),
        ),
    ];
    bed.equal()?;
    // Credentials for keys alone do not count.
    bed.variables.pop();
    bed.variables.push((
        "GOOGLE_OAUTH_ACCESS_TOKEN",
        compat::clouds::TOKEN.to_owned(),
    ));
    bed.variables
        .push(("GCE_METADATA_HOST", "127.0.0.1:1".to_owned()));
    let failed = bed.publish(selkie::selkie()?, "gcs_bucket: team", "f.yaml")?;
    ensure!(failed.code == Some(1), "{failed:?}");
    Ok(())
}

#[test]
fn a_refusal_is_told_in_googles_words() -> Result<()> {
    let mut bed = Bed::new()?;
    bed.variables = vec![("STORAGE_EMULATOR_HOST", bed.clouds.address())];
    let failed = bed.publish(selkie::selkie()?, "gcs_bucket: other", "f.yaml")?;
    ensure!(failed.code == Some(1), "{failed:?}");
    let expected = "refused gs://other/f.yaml (404): The specified bucket does not exist.";
    ensure!(failed.stderr.contains(expected), "{failed:?}");
    ensure!(bed.clouds.objects().is_empty());
    Ok(())
}
