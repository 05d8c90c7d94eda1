//! What is sent to Azure, and by which login.

use anyhow::{Result, ensure};
use compat::clouds::{Azure, Clouds, Request, TENANT, VAULT};

use crate::same::{field, python, same};
use crate::work::{Work, succeeded};

/// A folder whose programs reach the servers under their own names, and may use the vault.
pub(crate) fn behind(clouds: &Clouds, variables: &[(&str, &str)]) -> Result<Work> {
    let authority = clouds.authority().display().to_string();
    let mut work = Work::new(&[
        ("HTTPS_PROXY", &clouds.url()),
        ("SSL_CERT_FILE", &authority),
        ("SELKIE_AZURE_VAULTS", "azure"),
    ])?;
    for (name, value) in variables {
        work.set(name, value);
    }
    Ok(work)
}

/// The URL of the key in a version, or in none.
pub(crate) fn key(version: &str) -> String {
    let version = if version.is_empty() {
        ""
    } else {
        &format!("/{version}")
    };
    format!("{VAULT}/keys/sops{version}")
}

/// Ours knows where a login server keeps its token endpoint and does not ask for it.
fn relevant(requests: Vec<Request>) -> Vec<Request> {
    let asked = |r: &Request| !r.path.contains("/.well-known/") && !r.path.contains("/discovery/");
    requests.into_iter().filter(asked).collect()
}

/// Encrypts and decrypts with both programs; each opens both files, and the requests are the same.
fn equal(clouds: &Clouds, work: &Work) -> Result<Vec<Request>> {
    let url = key(Azure::versions()[0]);
    clouds.take();
    work.theirs("theirs.yaml", &["--azure-kv", &url])?;
    let theirs = relevant(clouds.take());
    work.ours("ours.yaml", &["--azure-kv", &url])?;
    same(&relevant(clouds.take()), &theirs, &["value"])?;
    for name in ["theirs.yaml", "ours.yaml"] {
        succeeded(work.sops(&["decrypt", name])?)?;
        let sent = relevant(clouds.take());
        succeeded(work.selkie(&["decrypt", name])?)?;
        same(&relevant(clouds.take()), &sent, &[])?;
        work.opens_in_both(name)?;
        clouds.take();
    }
    Ok(theirs)
}

#[test]
fn a_principal_with_a_secret() -> Result<()> {
    let clouds = Clouds::start()?;
    let work = behind(&clouds, &Azure::principal())?;
    let requests = equal(&clouds, &work)?;
    let hosts: Vec<&str> = requests.iter().map(|r| r.host.as_str()).collect();
    let vault = VAULT.trim_start_matches("https://");
    ensure!(
        hosts == [vault, "login.microsoftonline.com", vault],
        "{hosts:?}"
    );
    // The first request asks where to log in, and shows nothing.
    ensure!(requests[0].body.is_empty() && requests[0].header("authorization").is_empty());
    let entry = work.read("ours.yaml")?;
    ensure!(field(&entry, "vault_url")? == VAULT, "{entry}");
    ensure!(field(&entry, "version")? == Azure::versions()[0], "{entry}");
    Ok(())
}

#[test]
fn a_principal_with_a_certificate() -> Result<()> {
    let clouds = Clouds::start()?;
    let path = clouds
        .azure()
        .certificate(&clouds.folder().join("principal.pem"))?;
    let path = path.display().to_string();
    let mut work = behind(&clouds, &Azure::principal()[..2])?;
    work.set("AZURE_CLIENT_CERTIFICATE_PATH", &path);
    let requests = equal(&clouds, &work)?;
    ensure!(requests[1].form().contains_key("client_assertion"));
    work.set("AZURE_CLIENT_SEND_CERTIFICATE_CHAIN", "true");
    equal(&clouds, &work).map(drop)
}

#[test]
fn a_workload_of_kubernetes() -> Result<()> {
    let clouds = Clouds::start()?;
    let token = clouds.folder().join("token");
    std::fs::write(&token, "their.workload.token")?;
    let mut work = behind(&clouds, &Azure::principal()[..2])?;
    work.set("AZURE_FEDERATED_TOKEN_FILE", &token.display().to_string());
    equal(&clouds, &work).map(drop)
}

#[test]
fn the_identity_of_an_app_service() -> Result<()> {
    let clouds = Clouds::start()?;
    let mut work = behind(
        &clouds,
        &[
            ("IDENTITY_ENDPOINT", &format!("{}/msi/token", clouds.url())),
            ("IDENTITY_HEADER", "identity-header"),
        ],
    )?;
    equal(&clouds, &work)?;
    // An identity of the user's choice.
    work.set("AZURE_CLIENT_ID", "chosen");
    let requests = equal(&clouds, &work)?;
    ensure!(requests[1].query["client_id"] == "chosen", "{requests:?}");
    Ok(())
}

/// What `az login` left behind: both programs call `az` with the same arguments.
#[test]
fn the_azure_cli() -> Result<()> {
    let clouds = Clouds::start()?;
    let az = Azure::cli(clouds.folder())?;
    let path = format!("{}:/usr/bin:/bin", clouds.folder().display());
    let work = behind(
        &clouds,
        &[("PATH", &path), ("AZURE_TOKEN_CREDENTIALS", "dev")],
    )?;
    equal(&clouds, &work)?;
    let log = std::fs::read_to_string(az.with_extension("log"))?;
    let mut lines: Vec<&str> = log.lines().collect();
    lines.dedup();
    let expected = format!(
        "account get-access-token -o json --resource https://vault.azure.net --tenant {TENANT}"
    );
    ensure!(lines == [expected], "{log}");
    Ok(())
}

/// Azure's Python libraries: a virtual machine's identity, for which only they can be led to another
/// server, and the client of the vault.
#[test]
fn azures_own_library_sends_the_same() -> Result<()> {
    let clouds = Clouds::start()?;
    let variables = [
        ("AZURE_POD_IDENTITY_AUTHORITY_HOST", &*clouds.url()),
        ("AZURE_TOKEN_CREDENTIALS", "ManagedIdentityCredential"),
    ];
    let work = behind(&clouds, &variables)?;
    let version = Azure::versions()[0];
    work.ours("file.yaml", &["--azure-kv", &key(version)])?;
    let encrypting = clouds.take();
    succeeded(work.selkie(&["decrypt", "file.yaml"])?)?;
    let decrypting = clouds.take();
    let enc = field(&work.read("file.yaml")?, "enc")?;
    let script = |call: &str| {
        format!(
            "import base64\n\
             from azure.identity import ManagedIdentityCredential\n\
             from azure.keyvault.keys import KeyClient, ApiVersion\n\
             from azure.keyvault.keys.crypto import CryptographyClient, EncryptionAlgorithm as A\n\
             c = CryptographyClient('{VAULT}/keys/sops/{version}', ManagedIdentityCredential())\n\
             c._initialized = True\n\
             enc = base64.urlsafe_b64decode('{enc}' + '==')\n\
             {call}\n"
        )
    };
    for (call, ours, masked) in [
        (
            "print(len(c.encrypt(A.rsa_oaep_256, bytes(32)).ciphertext))",
            encrypting,
            &["value"][..],
        ),
        (
            "print(len(c.decrypt(A.rsa_oaep_256, enc).plaintext))",
            decrypting,
            &[],
        ),
    ] {
        python(&clouds, &variables, &script(call))?;
        same(&ours, &clouds.take(), masked)?;
    }
    Ok(())
}

/// A vault may ask for a token that proves more: one more login, as in Azure's libraries.
#[test]
fn claims_that_are_asked_for_are_brought() -> Result<()> {
    let clouds = Clouds::start()?;
    let work = behind(&clouds, &Azure::principal())?;
    let url = key(Azure::versions()[0]);
    clouds.azure().ask_for_claims();
    work.theirs("theirs.yaml", &["--azure-kv", &url])?;
    let theirs = relevant(clouds.take());
    clouds.azure().ask_for_claims();
    work.ours("ours.yaml", &["--azure-kv", &url])?;
    let ours = relevant(clouds.take());
    ensure!(ours.len() == 5, "{ours:?}");
    same(&ours, &theirs, &["value"])
}

/// A key without a version is the newest one, which the entry names from then on.
#[test]
fn the_newest_version_is_looked_up() -> Result<()> {
    let clouds = Clouds::start()?;
    let mut work = behind(&clouds, &Azure::principal())?;
    work.theirs("theirs.yaml", &["--azure-kv", &key("")])?;
    let theirs = relevant(clouds.take());
    work.ours("ours.yaml", &["--azure-kv", &key("")])?;
    let ours = relevant(clouds.take());
    // The original makes a client for each call, which asks again where to log in.
    same(&ours[..3], &theirs[..3], &[])?;
    same(&ours[3..], &theirs[theirs.len() - 1..], &["value"])?;
    for name in ["ours.yaml", "theirs.yaml"] {
        ensure!(field(&work.read(name)?, "version")? == Azure::versions()[1]);
        work.opens_in_both(name)?;
    }
    work.write(
        ".sops.yaml",
        &format!("creation_rules:\n- azure_keyvault: {}\n", key("")),
    )?;
    work.set("SELKIE_AZURE_VAULTS", VAULT);
    work.ours("rule.yaml", &[])?;
    work.opens_in_both("rule.yaml")?;
    std::fs::remove_file(work.path(".sops.yaml"))?;
    work.set("SELKIE_AZURE_VAULTS", "");
    work.set("SOPS_AZURE_KEYVAULT_URLS", &key(Azure::versions()[0]));
    work.ours("variable.yaml", &[])?;
    work.opens_in_both("variable.yaml")
}
