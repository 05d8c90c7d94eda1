//! Both clouds in one file, and the verbs that change keys.

use anyhow::{Result, ensure};
use compat::clouds::{Azure, Clouds, KMS_KEY, TOKEN, VAULT};

use crate::azure::key;
use crate::same::under_sops_name;
use crate::work::{PLAIN, Work, succeeded};

fn variables(clouds: &Clouds) -> Vec<(&'static str, String)> {
    let mut variables = vec![
        ("HTTPS_PROXY", clouds.url()),
        ("SSL_CERT_FILE", clouds.authority().display().to_string()),
        ("GOOGLE_OAUTH_ACCESS_TOKEN", TOKEN.to_owned()),
        ("SOPS_GCP_KMS_CLIENT_TYPE", "rest".to_owned()),
        ("SELKIE_AZURE_VAULTS", "azure".to_owned()),
    ];
    variables.extend(Azure::principal().map(|(name, value)| (name, value.to_owned())));
    variables
}

fn work(clouds: &Clouds) -> Result<Work> {
    let variables = variables(clouds);
    let shown: Vec<(&str, &str)> = variables.iter().map(|(k, v)| (*k, v.as_str())).collect();
    Work::new(&shown)
}

/// Both shares are needed; each lies with one cloud.
#[test]
fn a_data_key_is_split_between_the_clouds() -> Result<()> {
    let clouds = Clouds::start()?;
    let work = work(&clouds)?;
    let version = Azure::versions()[0];
    work.write(
        ".sops.yaml",
        &format!(
            "creation_rules:\n- shamir_threshold: 2\n  key_groups:\n  - gcp_kms:\n    - resource_id: {KMS_KEY}\n  \
             - azure_keyvault:\n    - {{vaultUrl: '{VAULT}', key: sops, version: '{version}'}}\n"
        ),
    )?;
    work.ours("ours.yaml", &[])?;
    work.theirs("theirs.yaml", &[])?;
    for name in ["ours.yaml", "theirs.yaml"] {
        work.opens_in_both(name)?;
    }
    clouds.be_silent("/decrypt");
    let mut silent = work;
    silent.set("SELKIE_KEY_SERVICE_TIMEOUT", "1");
    let text = silent.refused("ours.yaml")?;
    ensure!(
        text.contains(VAULT) && text.contains("did not answer within 1 s"),
        "{text}"
    );
    Ok(())
}

/// A rule without a version names the newest one; once it is there nothing is left to do, and no
/// vault is asked.
#[test]
fn keys_are_updated_to_what_the_rules_say() -> Result<()> {
    let clouds = Clouds::start()?;
    let work = work(&clouds)?;
    work.ours("file.yaml", &["--gcp-kms", KMS_KEY])?;
    work.write(
        ".sops.yaml",
        &format!("creation_rules:\n- azure_keyvault: {}\n", key("")),
    )?;
    succeeded(work.selkie(&["updatekeys", "file.yaml"])?)?;
    let whole = work.read("file.yaml")?;
    ensure!(
        !whole.contains("gcp_kms") && whole.contains(Azure::versions()[1]),
        "{whole}"
    );
    work.opens_in_both("file.yaml")?;
    clouds.take();
    succeeded(work.selkie(&["updatekeys", "file.yaml"])?)?;
    ensure!(work.read("file.yaml")? == whole, "the keys are up to date");
    ensure!(clouds.take().is_empty(), "nothing is asked");
    Ok(())
}

/// The flags of sops, with our program under its name; the real one opens what it wrote.
#[test]
fn the_flags_of_sops_change_keys() -> Result<()> {
    let clouds = Clouds::start()?;
    let work = work(&clouds)?;
    let variables = variables(&clouds);
    let shown: Vec<(&str, &str)> = variables.iter().map(|(k, v)| (*k, v.as_str())).collect();
    let sops = |arguments: &[&str]| -> Result<()> {
        succeeded(under_sops_name(&work.path(""), &shown, arguments)?).map(drop)
    };
    let (first, second) = (key(Azure::versions()[0]), key(Azure::versions()[1]));
    work.write("file.yaml", PLAIN)?;
    sops(&[
        "encrypt",
        "-i",
        "--gcp-kms",
        KMS_KEY,
        "--azure-kv",
        &first,
        "file.yaml",
    ])?;
    work.opens_in_both("file.yaml")?;
    let before = work.read("file.yaml")?;
    ensure!(
        before.contains(KMS_KEY) && before.contains(Azure::versions()[0]),
        "{before}"
    );
    let change = [
        "--add-azure-kv",
        &second,
        "--rm-azure-kv",
        &first,
        "--rm-gcp-kms",
        KMS_KEY,
    ];
    sops(&[&["rotate", "-i"], &change[..], &["file.yaml"]].concat())?;
    let after = work.read("file.yaml")?;
    ensure!(
        !after.contains(KMS_KEY) && after.contains(Azure::versions()[1]),
        "{after}"
    );
    ensure!(!after.contains(Azure::versions()[0]), "{after}");
    work.opens_in_both("file.yaml")
}
