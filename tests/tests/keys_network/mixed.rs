//! Files whose keys lie with several services, in one group or in several with a threshold: ours and the real sops
//! write and open them, each with the credentials of some services only (issue 4, "Must show" 1).
//!
//! `SELKIE_FULL=1` runs 300 files, otherwise a sample of 20.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use compat::counts::{everything, left_out, report};
use compat::generate::Random;
use compat::moto::Moto;
use compat::openbao::OpenBao;
use compat::program::{Finished, Program};
use compat::sops_file::{IDENTITY, RECIPIENT, failures};
use tempfile::TempDir;

use crate::compare::{canonical, with_comments_at_the_margin};
use crate::document::Document;
use crate::kms::symmetric_key;
use crate::transit;
use crate::work::{Work, succeeded};

/// The key of pgp.asc.
const PGP: &str = "001DBC1A02D4086EEE04B51D0F42229F3D70089F";

/// Files of a hundred in which nothing is selected, or that sops does not open itself.
const LEFT_OUT_PERCENT: usize = 30;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Service {
    Age,
    Kms,
    Transit,
    Pgp,
}

const SERVICES: [Service; 4] = [Service::Age, Service::Kms, Service::Transit, Service::Pgp];

/// The servers, and the keys that they hold.
struct Services {
    moto: Moto,
    arn: String,
    bao: OpenBao,
    token: String,
    keyring: TempDir,
}

impl Services {
    async fn start() -> Result<Self> {
        let moto = Moto::start().await?;
        let arn = symmetric_key(&moto).await?;
        let (bao, token) = transit::start().await?;
        // The socket of gpg's agent lies in it, and the path of a socket has at most 107 bytes.
        let keyring = TempDir::with_prefix_in("selkie-mixed-", "/tmp")?;
        fs::set_permissions(keyring.path(), fs::Permissions::from_mode(0o700))?;
        let key = Path::new(env!("CARGO_MANIFEST_DIR")).join("../keys-example/pgp.asc");
        Program::new("/usr/bin/gpg")
            .env("GNUPGHOME", keyring.path())
            .args(["--batch", "--import"])
            .arg(key)
            .ok()?;
        Ok(Self {
            moto,
            arn,
            bao,
            token,
            keyring,
        })
    }

    /// The field of a flat rule.
    fn flat(&self, service: Service) -> String {
        match service {
            Service::Age => format!("age: {RECIPIENT}"),
            Service::Kms => format!("kms: {}", self.arn),
            Service::Transit => format!("hc_vault_transit_uri: {}", transit::uri(&self.bao)),
            Service::Pgp => format!("pgp: {PGP}"),
        }
    }

    /// The field of a key group.
    fn grouped(&self, service: Service) -> String {
        match service {
            Service::Age => format!("age: [{RECIPIENT}]"),
            Service::Kms => format!("kms: [{{arn: '{}'}}]", self.arn),
            Service::Transit => format!("hc_vault: ['{}']", transit::uri(&self.bao)),
            Service::Pgp => format!("pgp: [{PGP}]"),
        }
    }

    /// A folder in which the keys of these services can be used.
    fn work(&self, usable: &[Service]) -> Result<Work> {
        let path = std::env::var("PATH")?;
        // Without credentials nobody asks the KMS; that it is the bed's has to be said in any case.
        let mut work = Work::new(&[("PATH", &path), ("AWS_ENDPOINT_URL", &self.moto.url())])?;
        let nobody = work.path("keyring").display().to_string();
        work.set("GNUPGHOME", &nobody);
        for service in usable {
            match service {
                Service::Age => work.set("SOPS_AGE_KEY", IDENTITY),
                Service::Kms => {
                    work.set("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE");
                    work.set("AWS_SECRET_ACCESS_KEY", "example");
                }
                Service::Transit => {
                    work.set("VAULT_ADDR", &self.bao.url());
                    work.set("VAULT_TOKEN", &self.token);
                }
                Service::Pgp => work.set("GNUPGHOME", &self.keyring.path().display().to_string()),
            }
        }
        Ok(work)
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        // The agent would stay; nobody is told when it cannot be ended.
        let end = Program::new("/usr/bin/gpgconf").env("GNUPGHOME", self.keyring.path());
        let _ = end.args(["--kill", "all"]).run();
    }
}

/// A generated file, and who holds its keys.
struct Case {
    document: Document,
    groups: Vec<Vec<Service>>,
    /// Groups that are needed.
    threshold: usize,
    /// Whose credentials the reader has.
    reader: Vec<Service>,
}

impl Case {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x6d69_7865);
        let some = |random: &mut Random, percent| {
            let chosen = SERVICES.into_iter().filter(|_| random.chance(percent));
            chosen.collect::<Vec<_>>()
        };
        let count = [1, 2, 3][random.below(3)];
        let groups: Vec<Vec<Service>> = (0..count)
            .map(|index| match (some(&mut random, 60), index) {
                (chosen, _) if chosen.is_empty() => vec![SERVICES[random.below(4)]],
                (chosen, _) => chosen,
            })
            .collect();
        Self {
            document: Document::new(seed),
            threshold: 1 + random.below(groups.len()),
            groups,
            reader: some(&mut random, 50),
        }
    }

    fn rules(&self, services: &Services) -> String {
        let mut text = "creation_rules:\n".to_owned();
        let lines: Vec<String> = match &self.groups[..] {
            [only] => only.iter().map(|service| services.flat(*service)).collect(),
            groups => {
                let mut lines = Vec::new();
                // sops 3.13.3 takes 1 for "all of them".
                lines.push(format!("shamir_threshold: {}", self.threshold.max(2)));
                lines.push("key_groups:".to_owned());
                for group in groups {
                    let fields: Vec<_> = group.iter().map(|one| services.grouped(*one)).collect();
                    lines.push(format!("  - {}", fields.join("\n        ")));
                }
                lines
            }
        };
        text.push_str("  - ");
        text.push_str(&lines.join("\n    "));
        text.push('\n');
        text + &self.document.selection()
    }

    /// Whether the reader's credentials suffice.
    fn opens(&self) -> bool {
        let open = |group: &&Vec<Service>| group.iter().any(|one| self.reader.contains(one));
        let needed = if self.groups.len() == 1 {
            1
        } else {
            self.threshold.max(2)
        };
        self.groups.iter().filter(open).count() >= needed
    }
}

#[tokio::test]
async fn files_of_several_services_go_both_ways() -> Result<()> {
    let services = Services::start().await?;
    let count = if everything() { 300 } else { 20 };
    let cases: Vec<Case> = (0..count).map(Case::new).collect();
    let skipped = std::sync::atomic::AtomicUsize::new(0);
    let failed = failures(
        &cases,
        |case| {
            format!(
                "seed {} ({}), {:?} of {}, reader {:?}",
                case.document.seed, case.document.format, case.groups, case.threshold, case.reader
            )
        },
        |case| {
            let compared = check(&services, case)?;
            skipped.fetch_add(usize::from(!compared), std::sync::atomic::Ordering::Relaxed);
            Ok(())
        },
    );
    report("mixed key services, both ways", cases.len(), &failed);
    left_out(
        "mixed key services",
        "nothing is selected, or sops does not open its own",
        skipped.into_inner(),
        cases.len(),
        LEFT_OUT_PERCENT,
    );
    Ok(())
}

/// Says false when there is nothing to compare with.
fn check(services: &Services, case: &Case) -> Result<bool> {
    let document = &case.document;
    let (name, source) = (document.name(), document.source());
    let writer = services.work(&SERVICES)?;
    writer.write(".sops.yaml", &case.rules(services))?;
    let place = |bytes: &[u8]| fs::write(writer.path(&name), bytes).context("written");
    place(&source)?;
    succeeded(writer.sops(&["encrypt", "-i", &name])?).context("sops encrypts")?;
    let theirs = fs::read(writer.path(&name))?;
    let expected = writer.sops(&["decrypt", &name])?;
    let broken = expected.code != Some(0) || expected.text().contains("ENC[AES256_GCM,");
    if broken || !String::from_utf8_lossy(&theirs).contains("ENC[AES256_GCM,data:") {
        return Ok(false);
    }
    place(&source)?;
    let encrypted = writer.selkie(&["encrypt", &name])?;
    if encrypted.code != Some(0) && encrypted.stderr.contains("nothing") {
        // Only values without a ciphertext, like empty texts, are selected.
        return Ok(false);
    }
    succeeded(encrypted).context("ours encrypts")?;
    let ours = fs::read(writer.path(&name))?;

    let reader = services.work(&case.reader)?;
    fs::write(reader.path(&name), &ours)?;
    let open = |bytes: &[u8], program: fn(&Work, &[&str]) -> Result<Finished>| {
        fs::write(reader.path(&name), bytes)?;
        program(&reader, &["decrypt", &name])
    };
    let code = if case.opens() { 0 } else { 128 };
    let told = |who: &str, finished: &Finished| {
        ensure!(
            finished.code == Some(code),
            "{who}: {:?} instead of {code}: {}",
            finished.code,
            finished.stderr
        );
        Ok(())
    };
    let ours_by_ours = open(&ours, Work::selkie)?;
    told("ours opens ours", &ours_by_ours)?;
    let ours_by_sops = open(&ours, Work::sops)?;
    told("sops opens ours", &ours_by_sops)?;
    let theirs_by_ours = open(&theirs, Work::selkie)?;
    told("ours opens theirs", &theirs_by_ours)?;
    told("sops opens theirs", &open(&theirs, Work::sops)?)?;
    if !case.opens() {
        for finished in [ours_by_ours, ours_by_sops, theirs_by_ours] {
            ensure!(finished.stdout.is_empty(), "something was printed");
        }
        return Ok(true);
    }
    ensure!(
        ours_by_ours.stdout == source,
        "ours does not come back as it was"
    );
    ensure!(
        with_comments_at_the_margin(&ours_by_sops.text())
            == with_comments_at_the_margin(&expected.text()),
        "sops prints ours otherwise:\n{}\nexpected:\n{}",
        ours_by_sops.text(),
        expected.text()
    );
    ensure!(
        canonical(document.format, &theirs_by_ours.stdout)?
            == canonical(document.format, &expected.stdout)?,
        "ours reads theirs otherwise"
    );
    Ok(true)
}
