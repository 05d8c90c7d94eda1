//! What is sent to Google, and by which login.

use anyhow::{Result, ensure};
use compat::clouds::{Clouds, Google, KMS_KEY, Request, TOKEN};

use crate::same::{field, python, same};
use crate::work::{Work, succeeded};

/// A folder whose programs reach the servers under their own names.
pub(crate) fn behind(clouds: &Clouds, variables: &[(&str, &str)]) -> Result<Work> {
    let authority = clouds.authority().display().to_string();
    let mut work = Work::new(&[
        ("HTTPS_PROXY", &clouds.url()),
        ("SSL_CERT_FILE", &authority),
        ("SOPS_GCP_KMS_CLIENT_TYPE", "rest"),
    ])?;
    for (name, value) in variables {
        work.set(name, value);
    }
    Ok(work)
}

/// Encrypts and decrypts with both programs; each opens both files, and the requests are the same.
fn equal(clouds: &Clouds, work: &Work) -> Result<Vec<Request>> {
    clouds.take();
    work.theirs("theirs.yaml", &["--gcp-kms", KMS_KEY])?;
    let theirs = clouds.take();
    work.ours("ours.yaml", &["--gcp-kms", KMS_KEY])?;
    same(&clouds.take(), &theirs, &["plaintext"])?;
    let entry = work.read("ours.yaml")?;
    ensure!(field(&entry, "resource_id")? == KMS_KEY, "{entry}");
    for name in ["theirs.yaml", "ours.yaml"] {
        succeeded(work.sops(&["decrypt", name])?)?;
        let theirs = clouds.take();
        succeeded(work.selkie(&["decrypt", name])?)?;
        same(&clouds.take(), &theirs, &[])?;
        work.opens_in_both(name)?;
        clouds.take();
    }
    Ok(theirs)
}

#[test]
fn a_token_at_an_endpoint() -> Result<()> {
    let clouds = Clouds::start()?;
    let mut work = Work::new(&[
        ("SOPS_GCP_KMS_CLIENT_TYPE", "rest"),
        ("SOPS_GCP_KMS_ENDPOINT", &clouds.url()),
        ("GOOGLE_OAUTH_ACCESS_TOKEN", TOKEN),
    ])?;
    let requests = equal(&clouds, &work)?;
    ensure!(requests.len() == 1, "{requests:?}");
    // The project that is billed, by the variable of Google's libraries.
    work.set("GOOGLE_CLOUD_QUOTA_PROJECT", "other");
    let requests = equal(&clouds, &work)?;
    ensure!(requests[0].header("x-goog-user-project") == "other");
    // The rule names the key; one call serves both files of a run.
    work.write(
        ".sops.yaml",
        &format!("creation_rules:\n- gcp_kms: {KMS_KEY}\n"),
    )?;
    work.ours("rule.yaml", &[])?;
    work.opens_in_both("rule.yaml")?;
    work.write("copy.yaml", &work.read("rule.yaml")?)?;
    clouds.take();
    succeeded(work.selkie(&["decrypt", "rule.yaml", "copy.yaml"])?)?;
    ensure!(
        clouds.take().len() == 1,
        "each wrapped key is unwrapped once"
    );
    std::fs::remove_file(work.path(".sops.yaml"))?;
    work.set("SOPS_GCP_KMS_IDS", KMS_KEY);
    work.ours("variable.yaml", &[])?;
    work.opens_in_both("variable.yaml")
}

/// Google's Python library leaves the name out of the body, as it stands in the path; all else is the
/// same, and what one encrypts the other decrypts.
#[test]
fn googles_own_library_sends_the_same() -> Result<()> {
    let clouds = Clouds::start()?;
    let work = behind(&clouds, &[("GOOGLE_OAUTH_ACCESS_TOKEN", TOKEN)])?;
    work.ours("file.yaml", &["--gcp-kms", KMS_KEY])?;
    let ours_encrypt = clouds.take();
    succeeded(work.selkie(&["decrypt", "file.yaml"])?)?;
    let ours_decrypt = clouds.take();
    let enc = field(&work.read("file.yaml")?, "enc")?;
    let script = format!(
        "import base64\n\
         from google.cloud import kms_v1\n\
         from google.oauth2.credentials import Credentials\n\
         c = kms_v1.KeyManagementServiceClient(transport='rest', credentials=Credentials('{TOKEN}'))\n\
         c.encrypt(request={{'name': '{KMS_KEY}', 'plaintext': bytes(32)}})\n\
         a = c.decrypt(request={{'name': '{KMS_KEY}', 'ciphertext': base64.b64decode('{enc}')}})\n\
         print(len(a.plaintext))\n"
    );
    ensure!(python(&clouds, &[], &script)?.trim() == "32");
    let mut theirs = clouds.take();
    ensure!(theirs.len() == 2, "{theirs:?}");
    for request in &mut theirs {
        let mut body = request.json();
        body["name"] = KMS_KEY.into();
        request.body = body.to_string().into_bytes();
    }
    same(&ours_encrypt, &theirs[..1], &["plaintext"])?;
    same(&ours_decrypt, &theirs[1..], &[])
}

#[test]
fn a_service_account() -> Result<()> {
    let clouds = Clouds::start()?;
    let path = clouds.folder().join("account.json");
    let path = clouds.google().service_account(&path, None)?;
    let path = path.display().to_string();
    // A path, the JSON itself, and the variable of Google's libraries.
    let json = std::fs::read_to_string(&path)?;
    for (name, value) in [
        ("GOOGLE_CREDENTIALS", &path),
        ("GOOGLE_CREDENTIALS", &json),
        ("GOOGLE_APPLICATION_CREDENTIALS", &path),
    ] {
        let work = behind(&clouds, &[(name, value)])?;
        let requests = equal(&clouds, &work)?;
        let hosts: Vec<&str> = requests.iter().map(|r| r.host.as_str()).collect();
        ensure!(
            hosts == ["oauth2.googleapis.com", "cloudkms.googleapis.com"],
            "{hosts:?}"
        );
    }
    Ok(())
}

/// Another universe has no token server: the account's own assertion is the token.
#[test]
fn a_service_account_of_another_universe() -> Result<()> {
    let clouds = Clouds::start()?;
    let path = clouds.folder().join("account.json");
    let path = clouds
        .google()
        .service_account(&path, Some("s3nsapis.fr"))?;
    let path = path.display().to_string();
    let mut work = behind(&clouds, &[("GOOGLE_CREDENTIALS", &path)])?;
    work.set("SOPS_GCP_KMS_UNIVERSE_DOMAIN", "s3nsapis.fr");
    let requests = equal(&clouds, &work)?;
    ensure!(requests.len() == 1 && requests[0].host == "cloudkms.s3nsapis.fr");
    work.set("SOPS_GCP_KMS_UNIVERSE_DOMAIN", "");
    let text = work.refused("ours.yaml")?;
    ensure!(
        text.contains("SOPS_GCP_KMS_UNIVERSE_DOMAIN=s3nsapis.fr"),
        "{text}"
    );
    ensure!(
        clouds.take().is_empty(),
        "nothing is sent to the wrong universe"
    );
    Ok(())
}

/// What `gcloud auth application-default login` leaves behind.
#[test]
fn a_user() -> Result<()> {
    let clouds = Clouds::start()?;
    let work = behind(&clouds, &[])?;
    std::fs::create_dir_all(work.path(".config/gcloud"))?;
    work.write(
        ".config/gcloud/application_default_credentials.json",
        &Google::user().to_string(),
    )?;
    let requests = equal(&clouds, &work)?;
    ensure!(requests[1].header("x-goog-user-project") == "billed");
    Ok(())
}

#[test]
fn a_workload_of_somebody_else() -> Result<()> {
    let clouds = Clouds::start()?;
    let subject = clouds.folder().join("subject");
    std::fs::write(&subject, r#"{"token": "their-token"}"#)?;
    for (impersonating, servers) in [(false, 2), (true, 3)] {
        let json = Google::external(&subject, impersonating).to_string();
        let work = behind(&clouds, &[("GOOGLE_CREDENTIALS", &json)])?;
        let requests = equal(&clouds, &work)?;
        ensure!(requests.len() == servers, "{requests:?}");
    }
    Ok(())
}

#[test]
fn a_user_who_impersonates_an_account() -> Result<()> {
    let clouds = Clouds::start()?;
    let json = Google::impersonated().to_string();
    let work = behind(&clouds, &[("GOOGLE_CREDENTIALS", &json)])?;
    let requests = equal(&clouds, &work)?;
    let hosts: Vec<&str> = requests.iter().map(|r| r.host.as_str()).collect();
    ensure!(
        hosts
            == [
                "oauth2.googleapis.com",
                "iamcredentials.googleapis.com",
                "cloudkms.googleapis.com"
            ],
        "{hosts:?}"
    );
    Ok(())
}

/// The original also asks the service for its universe.
#[test]
fn the_account_of_a_machine() -> Result<()> {
    let clouds = Clouds::start()?;
    let work = behind(&clouds, &[("GCE_METADATA_HOST", &clouds.address())])?;
    let relevant = |requests: Vec<Request>| -> Vec<Request> {
        let asked = |r: &Request| !r.path.contains("universe");
        requests.into_iter().filter(asked).collect()
    };
    work.theirs("theirs.yaml", &["--gcp-kms", KMS_KEY])?;
    let theirs = relevant(clouds.take());
    work.ours("ours.yaml", &["--gcp-kms", KMS_KEY])?;
    same(&relevant(clouds.take()), &theirs, &["plaintext"])?;
    work.opens_in_both("ours.yaml")?;
    work.opens_in_both("theirs.yaml")
}
