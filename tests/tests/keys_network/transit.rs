use anyhow::{Context, Result, ensure};
use compat::openbao::OpenBao;
use serde_json::json;

use crate::work::{PLAIN, Work, succeeded};

/// A server with the engine `team/sops`, the key `first`, and a token that may use it.
pub(crate) async fn start() -> Result<(OpenBao, String)> {
    let bao = OpenBao::start().await?;
    bao.write("sys/mounts/team/sops", &json!({"type": "transit"}))
        .await?;
    bao.write("team/sops/keys/first", &json!({})).await?;
    let rules = "path \"team/sops/+/first\" { capabilities = [\"update\"] }";
    bao.policy("sops", rules).await?;
    let token = bao.token(&["sops"]).await?;
    Ok((bao, token))
}

pub(crate) fn uri(bao: &OpenBao) -> String {
    format!("{}/v1/team/sops/keys/first", bao.url())
}

#[tokio::test]
async fn files_go_both_ways() -> Result<()> {
    let (bao, token) = start().await?;
    let mut work = Work::new(&[("VAULT_ADDR", &bao.url()), ("VAULT_TOKEN", &token)])?;
    let uri = uri(&bao);
    work.ours("ours.yaml", &["--hc-vault-transit", &uri])?;
    work.opens_in_both("ours.yaml")?;
    work.theirs("theirs.yaml", &["--hc-vault-transit", &uri])?;
    work.opens_in_both("theirs.yaml")?;
    work.write(
        ".sops.yaml",
        &format!(
            "creation_rules:\n- path_regex: flat\n  hc_vault_transit_uri: {uri}\n- path_regex: grouped\n  \
             key_groups:\n  - hc_vault:\n    - {uri}\n"
        ),
    )?;
    for name in ["flat.yaml", "grouped.yaml"] {
        work.ours(name, &[])?;
        work.opens_in_both(name)?;
    }
    std::fs::remove_file(work.path(".sops.yaml"))?;
    // The token of `vault login`.
    work.write(".vault-token", &format!("{token}\n"))?;
    work.set("VAULT_TOKEN", "");
    work.set("SOPS_VAULT_URIS", &uri);
    work.ours("variable.yaml", &[])?;
    work.opens_in_both("variable.yaml")
}

/// A key that the user names by a flag or a variable names its server too; a file does not.
#[tokio::test]
async fn a_server_that_only_the_file_names_gets_no_token() -> Result<()> {
    let (bao, token) = start().await?;
    let mut work = Work::new(&[("VAULT_TOKEN", &token)])?;
    work.ours("file.yaml", &["--hc-vault-transit", &uri(&bao)])?;
    let before = bao.requests()?.len();
    let text = work.refused("file.yaml")?;
    for expected in [&*bao.url(), "VAULT_ADDR", "SOPS_HC_VAULT_ALLOWLIST"] {
        ensure!(text.contains(expected), "{text}");
    }
    for list in ["none", "https://other.example", "all"] {
        work.set("SOPS_HC_VAULT_ALLOWLIST", list);
        work.refused("file.yaml")?;
    }
    work.set("SOPS_HC_VAULT_ALLOWLIST", "");
    let rules = format!("creation_rules:\n- hc_vault_transit_uri: {}\n", uri(&bao));
    work.write(".sops.yaml", &rules)?;
    work.write("new.yaml", PLAIN)?;
    let finished = work.selkie(&["encrypt", "new.yaml"])?;
    ensure!(finished.code == Some(1), "{finished:?}");
    ensure!(
        finished.stderr.contains("VAULT_ADDR"),
        "{}",
        finished.stderr
    );
    ensure!(work.read("new.yaml")? == PLAIN, "the file changed");
    ensure!(bao.requests()?.len() == before, "the server was asked");

    work.set(
        "SOPS_HC_VAULT_ALLOWLIST",
        &format!("https://other.example, {}", bao.url()),
    );
    work.opens_in_both("file.yaml")
}

#[tokio::test]
async fn each_refusal_of_vault_is_told_in_a_line() -> Result<()> {
    let (bao, token) = start().await?;
    let mut work = Work::new(&[("VAULT_ADDR", &bao.url()), ("VAULT_TOKEN", &token)])?;
    work.set("SELKIE_KEY_SERVICE_TIMEOUT", "2");
    work.ours("file.yaml", &["--hc-vault-transit", &uri(&bao)])?;
    let whole = work.read("file.yaml")?;

    work.set("VAULT_TOKEN", "s.canary");
    let text = work.refused("file.yaml")?;
    ensure!(
        text.contains("403") && text.contains("check the token"),
        "{text}"
    );
    ensure!(!text.contains("canary"), "{text}");
    work.set("VAULT_TOKEN", "");
    let text = work.refused("file.yaml")?;
    ensure!(text.contains("no token was sent"), "{text}");

    work.set("VAULT_TOKEN", &bao.token(&["root"]).await?);
    work.write("file.yaml", &whole.replace("team/sops", "team/other"))?;
    let text = work.refused("file.yaml")?;
    ensure!(
        text.contains("404") && text.contains("team/other"),
        "{text}"
    );
    work.write(
        "file.yaml",
        &whole.replace("key_name: first", "key_name: other"),
    )?;
    let text = work.refused("file.yaml")?;
    ensure!(
        text.contains("400") && text.contains("key not found"),
        "{text}"
    );
    let at = whole
        .find("vault:v1:")
        .context("the file has a wrapped key")?;
    let mut damaged = whole.clone();
    damaged.replace_range(at + 12..at + 16, "AAAA");
    work.write("file.yaml", &damaged)?;
    let text = work.refused("file.yaml")?;
    ensure!(text.contains("400") && text.contains("cipher"), "{text}");

    work.write("file.yaml", &whole)?;
    bao.seal().await?;
    let text = work.refused("file.yaml")?;
    ensure!(text.contains("503") && text.contains("sealed"), "{text}");
    bao.stop()?;
    let text = work.refused("file.yaml")?;
    ensure!(
        text.contains("cannot be reached") && text.contains("refused"),
        "{text}"
    );
    Ok(())
}

/// One Decrypt for each distinct wrapped key.
#[tokio::test]
async fn copies_of_a_file_cost_one_call() -> Result<()> {
    let (bao, token) = start().await?;
    let work = Work::new(&[("VAULT_ADDR", &bao.url()), ("VAULT_TOKEN", &token)])?;
    work.ours("a.yaml", &["--hc-vault-transit", &uri(&bao)])?;
    work.write("b.yaml", &work.read("a.yaml")?)?;
    let before = bao.requests()?.len();
    succeeded(work.selkie(&["decrypt", "-i", "a.yaml", "b.yaml"])?)?;
    ensure!(work.read("a.yaml")? == PLAIN && work.read("b.yaml")? == PLAIN);
    ensure!(bao.requests()?.len() == before + 1, "{:?}", bao.requests()?);
    Ok(())
}
