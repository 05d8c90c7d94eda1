//! What goes wrong with Azure's keys, and what is said.

use anyhow::{Result, ensure};
use compat::clouds::{Azure, Clouds};

use crate::azure::{behind, key};
use crate::same::under_sops_name;
use crate::work::{PLAIN, Work, succeeded};

const AGE: &str = "age1d2uzfwqvql005lz63kfs88wangjj5sl9uv3awardcvj9g537wads2hpzex";
const IDENTITY: &str = include_str!("../../../keys-example/age.txt");

/// Encrypts a file, which must fail and leave it as it is.
fn unwrapped(work: &Work, url: &str) -> Result<String> {
    work.write("clear.yaml", PLAIN)?;
    let finished = work.selkie(&["encrypt", "--azure-kv", url, "clear.yaml"])?;
    ensure!(finished.code != Some(0), "{}", finished.stderr);
    ensure!(work.read("clear.yaml")? == PLAIN, "the file is untouched");
    for secret in ["client+secret", "the-right-token", "hunter2"] {
        ensure!(!finished.stderr.contains(secret), "{}", finished.stderr);
    }
    Ok(finished.stderr)
}

/// Nothing is sent, not even the question where to log in.
#[test]
fn a_vault_that_only_the_file_names_is_not_asked() -> Result<()> {
    let clouds = Clouds::start()?;
    let mut work = behind(&clouds, &Azure::principal())?;
    work.ours("file.yaml", &["--azure-kv", &key(Azure::versions()[0])])?;
    clouds.take();
    for list in ["", "https://other.vault.azure.net"] {
        work.set("SELKIE_AZURE_VAULTS", list);
        let text = work.refused("file.yaml")?;
        ensure!(text.contains("SELKIE_AZURE_VAULTS"), "{text}");
        ensure!(clouds.take().is_empty(), "a request was sent");
    }
    // Under the name of sops scripts depend on it: it is asked, with a warning.
    let (proxy, authority) = (clouds.url(), clouds.authority().display().to_string());
    let mut variables = vec![("HTTPS_PROXY", &*proxy), ("SSL_CERT_FILE", &*authority)];
    variables.extend(Azure::principal());
    let finished = under_sops_name(&work.path(""), &variables, &["decrypt", "file.yaml"])?;
    let finished = succeeded(finished)?;
    ensure!(finished.text().contains("hunter2"));
    ensure!(
        finished.stderr.contains("named by the file alone"),
        "{}",
        finished.stderr
    );
    Ok(())
}

/// The attack: a vault that asks for a token of another service.
#[test]
fn a_challenge_for_another_resource_gets_no_token() -> Result<()> {
    let clouds = Clouds::start()?;
    let work = behind(&clouds, &Azure::principal())?;
    let url = key(Azure::versions()[0]);
    for resource in ["https://management.azure.com", "https://azure.net.example"] {
        clouds.azure().challenge_with(resource);
        clouds.take();
        let text = unwrapped(&work, &url)?;
        ensure!(
            text.contains(resource) && text.contains("gets none"),
            "{text}"
        );
        let sent = clouds.take();
        ensure!(
            sent.len() == 1 && sent[0].header("authorization").is_empty(),
            "{sent:?}"
        );
    }
    Ok(())
}

#[test]
fn each_refusal_names_its_cause() -> Result<()> {
    let clouds = Clouds::start()?;
    let mut work = behind(&clouds, &Azure::principal())?;
    let url = key(Azure::versions()[0]);
    for (url, words) in [
        (key("33333333333333333333333333333333"), "KeyNotFound"),
        (
            url.replace("/sops/", "/other/"),
            "check the vault, the key's name",
        ),
    ] {
        let text = unwrapped(&work, &url)?;
        ensure!(text.contains(words), "{text}");
    }
    work.ours("file.yaml", &["--azure-kv", &url])?;
    let whole = work.read("file.yaml")?;
    let at = whole.find("enc: ").unwrap_or_default() + "enc: ".len();
    let mut spoiled = whole.clone();
    spoiled.replace_range(at..at + 4, "AAAA");
    work.write("spoiled.yaml", &spoiled)?;
    ensure!(work.refused("spoiled.yaml")?.contains("BadParameter"));
    spoiled.replace_range(at..at + 4, "A.A.");
    work.write("spoiled.yaml", &spoiled)?;
    ensure!(
        work.refused("spoiled.yaml")?
            .contains("not URL-safe base64")
    );
    for (status, body, words) in [
        (200, "<html>", "does not ask for a login"),
        (
            403,
            r#"{"error": {"code": "Forbidden", "message": "no"}}"#,
            "does not ask for a login",
        ),
    ] {
        clouds.answer("/decrypt", status, body);
        let text = work.refused("file.yaml")?;
        ensure!(text.contains(words), "{text}");
        clouds.as_usual();
    }
    work.set("AZURE_CLIENT_SECRET", "wrong");
    let text = work.refused("file.yaml")?;
    ensure!(
        text.contains("AADSTS7000215") && text.contains("EnvironmentCredential"),
        "{text}"
    );
    work.set("AZURE_TENANT_ID", "other-tenant");
    let text = work.refused("file.yaml")?;
    ensure!(
        text.contains("AZURE_ADDITIONALLY_ALLOWED_TENANTS"),
        "{text}"
    );
    work.set("AZURE_TOKEN_CREDENTIALS", "WorkloadIdentityCredential");
    let text = work.refused("file.yaml")?;
    ensure!(text.contains("AZURE_FEDERATED_TOKEN_FILE"), "{text}");
    Ok(())
}

#[test]
fn a_silent_vault_leaves_the_others() -> Result<()> {
    let clouds = Clouds::start()?;
    let mut work = behind(&clouds, &Azure::principal())?;
    let url = key(Azure::versions()[0]);
    work.ours("file.yaml", &["--azure-kv", &url, "--age", AGE])?;
    work.set("SELKIE_KEY_SERVICE_TIMEOUT", "1");
    clouds.be_silent("/decrypt");
    let text = work.refused("file.yaml")?;
    ensure!(
        text.contains("did not answer within 1 s") && text.contains(AGE),
        "{text}"
    );
    let (proxy, authority) = (clouds.url(), clouds.authority().display().to_string());
    let mut variables = vec![
        ("HTTPS_PROXY", &*proxy),
        ("SSL_CERT_FILE", &*authority),
        ("SELKIE_AZURE_VAULTS", "azure"),
        ("SELKIE_KEY_SERVICE_TIMEOUT", "1"),
        ("SOPS_DECRYPTION_ORDER", "azure_kv,age"),
        ("SOPS_AGE_KEY", IDENTITY),
    ];
    variables.extend(Azure::principal());
    clouds.take();
    let opened = under_sops_name(&work.path(""), &variables, &["decrypt", "file.yaml"])?;
    ensure!(succeeded(opened)?.text().contains("hunter2"));
    ensure!(clouds.take().len() == 1, "it was asked first");
    Ok(())
}
