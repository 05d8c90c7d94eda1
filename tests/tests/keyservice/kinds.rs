//! Keys of other kinds than age: the server has the credentials, its clients have none.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use compat::moto::Moto;
use compat::openbao::OpenBao;
use compat::program::Program;
use serde_json::json;

use crate::bed::{Bed, On, Who, succeeded, words};

/// Who asks whom.
const PAIRS: [(Who, Who); 3] = [
    (Who::Sops, Who::Selkie),
    (Who::Selkie, Who::Sops),
    (Who::OursAsSops, Who::OursAsSops),
];

#[tokio::test]
async fn kms() -> Result<()> {
    let moto = Moto::start().await?;
    let arn = moto.create_key(&json!({})).await?;
    let mut bed = Bed::new()?;
    for (name, value) in [
        ("AWS_ENDPOINT_URL", moto.url()),
        ("AWS_ACCESS_KEY_ID", "bed".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "bed".to_owned()),
    ] {
        bed.server_variables.push((name.to_owned(), value));
    }
    for (client, server) in PAIRS {
        let running = bed.start(server, On::Unix)?;
        let keys = ["--kms", &arn, "--encryption-context", "app:db"];
        moto.record().await?;
        bed.goes_through(client, &running.address, &keys)
            .with_context(|| format!("{client:?} asks {server:?}"))?;
        let bodies: Vec<_> = moto.requests().await?;
        let contexts = bodies
            .iter()
            .filter(|r| r.body["EncryptionContext"] == json!({"app": "db"}));
        ensure!(contexts.count() == 2, "{bodies:?}");
        end(server, &running.server)?;
    }
    Ok(())
}

/// A server that only a client names gets no token of ours.
#[tokio::test]
async fn transit() -> Result<()> {
    let bao = OpenBao::start().await?;
    bao.write("sys/mounts/sops", &json!({"type": "transit"}))
        .await?;
    bao.write("sops/keys/first", &json!({})).await?;
    let key = format!("{}/v1/sops/keys/first", bao.url());
    let mut bed = Bed::new()?;
    bed.server_variables.push((
        "VAULT_TOKEN".to_owned(),
        compat::openbao::ROOT_TOKEN.to_owned(),
    ));
    let flags = ["--hc-vault-transit", &key];
    let running = bed.start(Who::Selkie, On::Unix)?;
    let before = bao.requests()?.len();
    let refused = bed.goes_through(Who::Sops, &running.address, &flags);
    let refused = format!("{:#}", refused.err().context("it got the token")?);
    ensure!(refused.contains("VAULT_ADDR"), "{refused}");
    ensure!(bao.requests()?.len() == before);
    end(Who::Selkie, &running.server)?;

    bed.server_variables
        .push(("VAULT_ADDR".to_owned(), bao.url()));
    for (client, server) in PAIRS {
        let running = bed.start(server, On::Unix)?;
        bed.goes_through(client, &running.address, &flags)
            .with_context(|| format!("{client:?} asks {server:?}"))?;
        end(server, &running.server)?;
    }
    Ok(())
}

/// The key of pgp.asc.
const PGP: &str = "001DBC1A02D4086EEE04B51D0F42229F3D70089F";

#[test]
fn pgp() -> Result<()> {
    let mut bed = Bed::new()?;
    let keyring = bed.path("server/.gnupg");
    fs::create_dir(&keyring)?;
    fs::set_permissions(&keyring, fs::Permissions::from_mode(0o700))?;
    let key = Path::new(env!("CARGO_MANIFEST_DIR")).join("../keys-example/pgp.asc");
    let path = std::env::var("PATH").unwrap_or_default();
    let tool = |name: &str| {
        let found = path.split(':').map(|folder| Path::new(folder).join(name));
        let found = found.into_iter().find(|program| program.is_file());
        found.with_context(|| format!("{name} is not on PATH"))
    };
    let settled = |program: Program| {
        let program = program.env("HOME", bed.path("server")).env("PATH", &path);
        program.env("GNUPGHOME", &keyring)
    };
    settled(Program::new(tool("gpg")?))
        .args(["--batch", "--import"])
        .arg(&key)
        .ok()?;
    let other = Path::new(env!("CARGO_MANIFEST_DIR")).join("../keys-example/pgp-protected.asc");
    settled(Program::new(tool("gpg")?))
        .args(["--batch", "--import"])
        .arg(&other)
        .ok()?;
    bed.server_variables
        .push(("GNUPGHOME".to_owned(), keyring.display().to_string()));
    let asked = || -> Result<()> {
        another_key_is_not_used(&bed)?;
        for (client, server) in PAIRS {
            let running = bed.start(server, On::Unix)?;
            bed.goes_through(client, &running.address, &["--pgp", PGP])
                .with_context(|| format!("{client:?} asks {server:?}"))?;
            end(server, &running.server)?;
        }
        Ok(())
    };
    let result = asked();
    // Its agent would outlive the test.
    let program = Program::new(tool("gpgconf")?);
    let program = program.env("PATH", &path).env("GNUPGHOME", &keyring);
    succeeded(program.args(["--kill", "all"]).run()?)?;
    result
}

/// The attack: a file that names the key that its reader may ask for, around a message for another key
/// of the same keyring.
fn another_key_is_not_used(bed: &Bed) -> Result<()> {
    let running = bed.start(Who::Selkie, On::Unix)?;
    bed.goes_through(Who::Sops, &running.address, &["--pgp", PGP])?;
    let file = bed.path("client/file.yaml");
    let text = fs::read_to_string(&file)?;
    for (claimed, why) in [
        (OTHER_PGP, "it is for the key B2AC665A01796B1C, and not for"),
        (&"0".repeat(40), "gpg has no public key"),
        ("Selkie", "gpg has no public key Selkie"),
    ] {
        fs::write(&file, text.replace(PGP, claimed))?;
        let service = [
            "--enable-local-keyservice=false",
            "--keyservice",
            &running.address,
        ];
        let shut = bed.decrypt(Who::Sops, "file.yaml", &service)?;
        ensure!(shut.code == Some(128), "{claimed}: {shut:?}");
        ensure!(
            words(&shut.stderr).contains(why),
            "{claimed}: {}",
            shut.stderr
        );
    }
    end(Who::Selkie, &running.server)
}

/// The key of pgp-protected.asc.
const OTHER_PGP: &str = "D27C9BFA5F820C62E462B6874DCB1C6FC34D72B6";

fn end(who: Who, server: &compat::server::Server) -> Result<()> {
    let status = server.terminate(std::time::Duration::from_secs(20))?;
    // The original may notice that its socket is closed before it ends by itself.
    let well = status.success() || who == Who::Sops;
    ensure!(well, "{status}: {}", server.log()?);
    Ok(())
}
