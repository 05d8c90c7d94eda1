//! What goes wrong with Google's keys, and what is said.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use compat::clouds::{Clouds, Google, KMS_KEY, TOKEN};

use crate::google::behind;
use crate::same::under_sops_name;
use crate::work::{PLAIN, Work, succeeded};

const AGE: &str = "age1d2uzfwqvql005lz63kfs88wangjj5sl9uv3awardcvj9g537wads2hpzex";
const IDENTITY: &str = include_str!("../../../keys-example/age.txt");

fn with_token(clouds: &Clouds) -> Result<Work> {
    Work::new(&[
        ("SOPS_GCP_KMS_ENDPOINT", &clouds.url()),
        ("GOOGLE_OAUTH_ACCESS_TOKEN", TOKEN),
        ("SELKIE_KEY_SERVICE_TIMEOUT", "1"),
    ])
}

/// Encrypts a file, which must fail and leave it as it is.
fn unwrapped(work: &Work, key: &str) -> Result<String> {
    work.write("clear.yaml", PLAIN)?;
    let finished = work.selkie(&["encrypt", "--gcp-kms", key, "clear.yaml"])?;
    ensure!(finished.code != Some(0), "{}", finished.stderr);
    ensure!(work.read("clear.yaml")? == PLAIN, "the file is untouched");
    for secret in [TOKEN, "client-secret", "refresh/", "hunter2"] {
        ensure!(!finished.stderr.contains(secret), "{}", finished.stderr);
    }
    Ok(finished.stderr)
}

#[test]
fn each_refusal_names_its_cause() -> Result<()> {
    let clouds = Clouds::start()?;
    let mut work = with_token(&clouds)?;
    let ring = "locations/global/keyRings/r/cryptoKeys";
    for (key, words) in [
        (format!("projects/p/{ring}/absent"), "NOT_FOUND"),
        (format!("projects/q/{ring}/k"), "useToEncrypt"),
        (format!("projects/../{ring}/k"), "is not the name of a key"),
    ] {
        let text = unwrapped(&work, &key)?;
        ensure!(text.contains(words), "{text}");
    }
    work.ours("file.yaml", &["--gcp-kms", KMS_KEY])?;
    let whole = work.read("file.yaml")?;
    work.set("GOOGLE_OAUTH_ACCESS_TOKEN", "ya29.expired");
    let text = work.refused("file.yaml")?;
    ensure!(
        text.contains("401") && text.contains("log in again"),
        "{text}"
    );
    ensure!(!text.contains("ya29"), "{text}");
    work.set("GOOGLE_OAUTH_ACCESS_TOKEN", TOKEN);
    let at = whole.find("enc: ").unwrap_or_default() + "enc: ".len();
    let mut spoiled = whole.clone();
    spoiled.replace_range(at..at + 4, "AAAA");
    work.write("spoiled.yaml", &spoiled)?;
    let text = work.refused("spoiled.yaml")?;
    ensure!(text.contains("the ciphertext is invalid"), "{text}");
    for (status, body, words) in [
        (200, "<html>", "no JSON with a plaintext"),
        (200, r#"{"plaintext": "%"}"#, "not base64"),
        (
            200,
            r#"{"plaintext": "AAAA", "plaintextCrc32c": "1"}"#,
            "do not fit their checksum",
        ),
        (
            200,
            r#"{"plaintext": "AAAA", "plaintextCrc32c": 1}"#,
            "do not fit their checksum",
        ),
        (302, "", "refused (302)"),
        (400, "canary <html>", "something else than Cloud KMS"),
    ] {
        clouds.answer(":decrypt", status, body);
        let text = work.refused("file.yaml")?;
        ensure!(text.contains(words) && !text.contains("canary"), "{text}");
        clouds.as_usual();
    }
    // The checksum of `123456789`: the answer is taken, though it is no data key.
    let right = r#"{"plaintext": "MTIzNDU2Nzg5", "plaintextCrc32c": "3808858755"}"#;
    clouds.answer(":decrypt", 200, right);
    let text = work.refused("file.yaml")?;
    ensure!(!text.contains("checksum"), "{text}");
    clouds.as_usual();
    for name in [
        KMS_KEY.to_owned(),
        format!("{KMS_KEY}2/cryptoKeyVersions/1"),
    ] {
        let body = format!(r#"{{"name": "{name}", "ciphertext": "AAAA"}}"#);
        clouds.answer(":encrypt", 200, &body);
        let text = unwrapped(&work, KMS_KEY)?;
        ensure!(text.contains("another key than the one"), "{text}");
        clouds.as_usual();
    }
    Ok(())
}

/// A server that fails is asked three times in all.
#[test]
fn a_server_error_is_tried_again() -> Result<()> {
    let clouds = Clouds::start()?;
    let work = with_token(&clouds)?;
    work.ours("file.yaml", &["--gcp-kms", KMS_KEY])?;
    clouds.take();
    let body = r#"{"error": {"code": 503, "status": "UNAVAILABLE", "message": "try later"}}"#;
    clouds.answer(":decrypt", 503, body);
    let text = work.refused("file.yaml")?;
    ensure!(text.contains("UNAVAILABLE: try later"), "{text}");
    ensure!(clouds.take().len() == 3);
    Ok(())
}

/// A service that does not answer costs its time limit, and the other keys are tried.
#[test]
fn a_silent_service_leaves_the_others() -> Result<()> {
    let clouds = Clouds::start()?;
    let mut work = with_token(&clouds)?;
    work.ours("file.yaml", &["--gcp-kms", KMS_KEY, "--age", AGE])?;
    clouds.be_silent(":decrypt");
    let began = Instant::now();
    let text = work.refused("file.yaml")?;
    ensure!(began.elapsed() < Duration::from_secs(10));
    ensure!(text.contains("did not answer within 1 s"), "{text}");
    ensure!(text.contains(AGE), "the other key is named too: {text}");
    let variables = [
        ("SOPS_GCP_KMS_ENDPOINT", &*clouds.url()),
        ("GOOGLE_OAUTH_ACCESS_TOKEN", TOKEN),
        ("SELKIE_KEY_SERVICE_TIMEOUT", "1"),
        ("SOPS_DECRYPTION_ORDER", "gcp_kms,age"),
        ("SOPS_AGE_KEY", IDENTITY),
    ];
    clouds.take();
    let opened = under_sops_name(&work.path(""), &variables, &["decrypt", "file.yaml"])?;
    ensure!(succeeded(opened)?.text().contains("hunter2"));
    ensure!(clouds.take().len() == 1, "it was asked first");
    // Nobody there at all.
    work.set("SOPS_GCP_KMS_ENDPOINT", "http://127.0.0.1:1");
    let text = work.refused("file.yaml")?;
    ensure!(
        text.contains("http://127.0.0.1:1 cannot be reached"),
        "{text}"
    );
    Ok(())
}

#[test]
fn credentials_that_are_refused_or_missing() -> Result<()> {
    let clouds = Clouds::start()?;
    let mut user = Google::user();
    user["refresh_token"] = "refresh/revoked".into();
    let work = behind(&clouds, &[("GOOGLE_CREDENTIALS", &user.to_string())])?;
    let text = unwrapped(&work, KMS_KEY)?;
    ensure!(
        text.contains("oauth2.googleapis.com gave no token (400): invalid_grant"),
        "{text}"
    );
    ensure!(text.contains("log in again"), "{text}");
    // A server that gives back what it got.
    let echo = r#"{"error": "invalid_grant", "error_description": "bad client-secret and refresh/revoked"}"#;
    clouds.answer("/token", 400, echo);
    let text = unwrapped(&work, KMS_KEY)?;
    ensure!(
        text.contains("invalid_grant") && !text.contains("bad "),
        "{text}"
    );
    clouds.as_usual();
    let absent = behind(
        &clouds,
        &[("GOOGLE_APPLICATION_CREDENTIALS", "/absent.json")],
    )?;
    let text = unwrapped(&absent, KMS_KEY)?;
    ensure!(
        text.contains("GOOGLE_APPLICATION_CREDENTIALS") && text.contains("/absent.json"),
        "{text}"
    );
    let silent = behind(
        &clouds,
        &[
            ("GCE_METADATA_HOST", "127.0.0.1:1"),
            ("SELKIE_KEY_SERVICE_TIMEOUT", "1"),
        ],
    )?;
    let text = unwrapped(&silent, KMS_KEY)?;
    ensure!(text.contains("127.0.0.1:1 cannot be reached"), "{text}");
    Ok(())
}
