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
    let log = bed.path("agent.log");
    let agent = format!("log-file {}\ndebug ipc\n", log.display());
    fs::write(keyring.join("gpg-agent.conf"), agent)?;
    bed.server_variables
        .push(("GNUPGHOME".to_owned(), keyring.display().to_string()));
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
    let gpg = |arguments: &[&str], input: &[u8]| -> Result<Vec<u8>> {
        let program = settled(Program::new(tool("gpg")?));
        let quiet = ["--batch", "--quiet", "--trust-model", "always"];
        let program = program.args(quiet).args(arguments).input(input);
        Ok(program.ok()?.stdout)
    };
    let asked = || -> Result<()> {
        another_key_is_not_used(&bed)?;
        a_message_within_a_message_is_not_opened(&bed, &gpg, &log)?;
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

/// The attack: a message for the key that its reader may ask for, around one for another key of the same
/// keyring, which gpg opens, too. What is inside is the data key, so that the file would open.
fn a_message_within_a_message_is_not_opened(
    bed: &Bed,
    gpg: RunGpg<'_>,
    agent_log: &Path,
) -> Result<()> {
    let running = bed.start(Who::Selkie, On::Unix)?;
    bed.goes_through(Who::Sops, &running.address, &["--pgp", PGP])?;
    let text = fs::read_to_string(bed.path("client/file.yaml"))?;
    let old = armor_in(&text)?;
    let last = old.lines().last().unwrap_or_default();
    let indent = &last[..last.len() - last.trim_start().len()];
    let data_key = gpg(&["-d"], old.replace(indent, "").as_bytes())?;

    let new_key = ["--passphrase", "", "--quick-generate-key", "victim"];
    gpg(
        &[&new_key[..], &["future-default", "default", "never"]].concat(),
        b"",
    )?;
    let listed = ["--with-colons", "--with-keygrip", "--list-keys", "victim"];
    let listed = String::from_utf8(gpg(&listed, b"")?)?;
    let mut grips = listed.lines().filter_map(|line| line.strip_prefix("grp:"));
    let grip = grips
        .next_back()
        .context("it has a subkey")?
        .trim_matches(':');
    // It writes what it is sent as it is, ciphertext included.
    let asked_for_it = || -> Result<usize> {
        let log = fs::read(agent_log)?;
        Ok(String::from_utf8_lossy(&log).matches(grip).count())
    };

    let victims = gpg(&["-e", "-r", "victim"], &data_key)?;
    let without_literal = |packets: &[u8], compression: &str| {
        let bare = ["--no-literal", "-z", compression, "-e", "-r", PGP];
        gpg(&bare, packets)
    };
    let nested = without_literal(&victims, "0")?;
    let compressed = without_literal(&victims, "6")?;
    let own_ids = gpg(&["--list-only", "--status-fd", "1", "-d"], &nested)?;
    let own_ids = String::from_utf8(own_ids)?;
    let own_ids = own_ids.lines().filter(|line| line.contains("ENC_TO"));
    let own_id = own_ids.collect::<String>();
    ensure!(own_id.starts_with("[GNUPG:] ENC_TO "), "{own_id}");
    let before = asked_for_it()?;
    for message in [&nested, &compressed] {
        ensure!(gpg(&["-d"], message)? == data_key, "gpg goes into it");
    }
    ensure!(asked_for_it()? > before, "the agent tells of its keys");

    // What gpg says of the last packets stands behind the text of the first one, in the same line.
    let prefixed = [literal(&format!("\n{own_id}\nxyz"))?, victims.clone()].concat();
    let forged = gpg(&["--list-only", "--status-fd", "1", "-d"], &prefixed)?;
    let forged = String::from_utf8(forged)?;
    ensure!(
        forged.contains(&format!("\n{own_id}\nxyz[GNUPG:] ")),
        "{forged}"
    );

    let before = asked_for_it()?;
    let below =
        "below the encryption for 001DBC1A02D4086EEE04B51D0F42229F3D70089F there is not data alone";
    let beside = "it is not one armored OpenPGP message that is encrypted for keys";
    let signed = gpg(&["-s", "-e", "-u", PGP, "-r", PGP], &data_key)?;
    for (name, message, why) in [
        ("nested", nested.clone(), Some(below)),
        ("compressed", compressed, Some(below)),
        ("beside", [nested, victims.clone()].concat(), Some(beside)),
        ("prefixed", prefixed, Some(beside)),
        ("for another", victims, Some("and not for")),
        ("signed", signed, None),
    ] {
        let armored = gpg(&["--enarmor"], &message)?;
        let armored = String::from_utf8(armored)?.replace("PGP ARMORED FILE", "PGP MESSAGE");
        let armored = armor_in(&armored)?.to_owned();
        let lines: Vec<&str> = armored.lines().collect();
        let file = text.replace(old, &lines.join(&format!("\n{indent}")));
        ensure!(file != text);
        fs::write(bed.path("client/file.yaml"), file)?;
        for client in [Who::Sops, Who::Selkie] {
            let service = [
                "--enable-local-keyservice=false",
                "--keyservice",
                &running.address,
            ];
            let answer = bed.decrypt(client, "file.yaml", &service)?;
            let told = words(&answer.stderr);
            let Some(why) = why else {
                ensure!(answer.text().contains("hunter2"), "{name}: {told}");
                continue;
            };
            ensure!(answer.code != Some(0), "{name}: {client:?} opened it");
            ensure!(answer.stdout.is_empty(), "{name}: {answer:?}");
            ensure!(told.contains(why), "{name}: {client:?}: {told}");
        }
    }
    ensure!(asked_for_it()? == before, "the other key was used");
    end(Who::Selkie, &running.server)
}

/// Runs gpg with these arguments and this input, and returns its output.
type RunGpg<'a> = &'a dyn Fn(&[&str], &[u8]) -> Result<Vec<u8>>;

/// Returns the armored message in a text, from its first to its last line.
fn armor_in(text: &str) -> Result<&str> {
    let end = "-----END PGP MESSAGE-----";
    let from = text
        .find("-----BEGIN PGP MESSAGE-----")
        .context("a beginning")?;
    let to = text.find(end).context("an end")? + end.len();
    Ok(&text[from..to])
}

/// Returns a text as a literal packet (RFC 9580 5.9).
fn literal(text: &str) -> Result<Vec<u8>> {
    let length = u8::try_from(text.len() + 6)?;
    Ok([&[0xcb, length, b'b', 0, 0, 0, 0, 0], text.as_bytes()].concat())
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
