//! Services that do not answer, and one that is never asked.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use compat::moto::{Moto, REGION};
use compat::sops_file::{IDENTITY, RECIPIENT};
use serde_json::json;

use crate::transit;
use crate::work::{PLAIN, Work, succeeded};

/// The other keys are tried, each cause is named, and it ends in bounded time.
#[tokio::test]
async fn a_kms_that_never_answers() -> Result<()> {
    let (bao, token) = transit::start().await?;
    let moto = Moto::start().await?;
    let mut work = Work::new(&[
        ("AWS_ENDPOINT_URL", &moto.url()),
        ("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "example"),
        ("VAULT_ADDR", &bao.url()),
        ("VAULT_TOKEN", &token),
        ("SELKIE_KEY_SERVICE_TIMEOUT", "1"),
    ])?;
    let key = moto.create_key(&json!({})).await?;
    let uri = format!("{}/v1/team/sops/keys/first", bao.url());
    let flags = [
        "--kms",
        &key,
        "--hc-vault-transit",
        &uri,
        "--age",
        RECIPIENT,
    ];
    work.ours("file.yaml", &flags)?;

    // It takes connections and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0")?;
    let address = format!("http://{}", silent.local_addr()?);
    work.set("AWS_ENDPOINT_URL", &address);
    let start = Instant::now();
    let text = succeeded(work.selkie(&["decrypt", "file.yaml"])?)?.text();
    ensure!(text == PLAIN, "{text}");
    ensure!(
        start.elapsed() < Duration::from_secs(6),
        "{:?}",
        start.elapsed()
    );

    work.set("VAULT_TOKEN", "s.none");
    let start = Instant::now();
    let text = work.refused("file.yaml")?;
    ensure!(
        start.elapsed() < Duration::from_secs(6),
        "{:?}",
        start.elapsed()
    );
    for cause in [
        &*format!("AWS KMS in {REGION} did not answer within 2 s"),
        "403",
        "no identity fits",
        RECIPIENT,
        &key,
        &*format!("{}/team/sops/first", bao.url()),
    ] {
        ensure!(text.contains(cause), "no {cause:?} in:\n{text}");
    }

    // Whoever holds the age key does not wait for any service.
    work.set("SOPS_AGE_KEY", IDENTITY);
    let start = Instant::now();
    succeeded(work.selkie(&["decrypt", "file.yaml"])?)?;
    ensure!(
        start.elapsed() < Duration::from_secs(1),
        "{:?}",
        start.elapsed()
    );

    // A service that is down costs a run over many files the time of three.
    work.set("SOPS_AGE_KEY", "");
    let names: Vec<String> = (0..12).map(|n| format!("{n}.yaml")).collect();
    for name in &names {
        work.write(name, &work.read("file.yaml")?)?;
    }
    let mut arguments = vec!["decrypt", "-i"];
    arguments.extend(names.iter().map(String::as_str));
    let start = Instant::now();
    let finished = work.selkie(&arguments)?;
    ensure!(finished.code == Some(128), "{finished:?}");
    ensure!(
        start.elapsed() < Duration::from_secs(12),
        "{:?}",
        start.elapsed()
    );
    Ok(())
}

/// What AWS answers and moto does not know: each becomes one line with what to do, and the file stays.
#[test]
fn answers_of_the_real_kms() -> Result<()> {
    let asymmetric = "symmetric key for encryption and decryption";
    for (status, code, text, expected) in [
        (
            400,
            "InvalidKeyUsageException",
            "You cannot use this key",
            asymmetric,
        ),
        (400, "UnsupportedOperationException", "", asymmetric),
        (400, "DisabledException", "arn:x is disabled.", "enable it"),
        (
            400,
            "KMSInvalidStateException",
            "arn:x is pending deletion.",
            "cancel its deletion",
        ),
        (
            400,
            "AccessDeniedException",
            "User: arn:x is not authorized",
            "kms:Encrypt",
        ),
        (
            400,
            "ExpiredTokenException",
            "The security token expired",
            "check the credentials",
        ),
        (
            400,
            "ValidationException",
            "1 validation error",
            "ValidationException",
        ),
        (500, "KMSInternalException", "", "answered 500"),
        (400, "ThrottlingException", "Rate exceeded", "Rate exceeded"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = format!("http://{}", listener.local_addr()?);
        let body = json!({"__type": code, "message": text}).to_string();
        let answer = format!(
            "HTTP/1.1 {status} Whatever\r\nconnection: close\r\ncontent-type: \
             application/x-amz-json-1.1\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        // Ends with this process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let _ = answer_one(stream, &answer);
            }
        });
        let work = Work::new(&[
            ("AWS_ENDPOINT_URL", &address),
            ("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE"),
            ("AWS_SECRET_ACCESS_KEY", "example"),
        ])?;
        work.write("new.yaml", PLAIN)?;
        let key = format!("arn:aws:kms:{REGION}:123456789012:key/some");
        let finished = work.selkie(&["encrypt", "--kms", &key, "new.yaml"])?;
        ensure!(finished.code == Some(1), "{code}: {finished:?}");
        let told = finished.stderr;
        ensure!(
            told.contains(expected) && told.contains(code),
            "{code}: {told}"
        );
        ensure!(told.contains(&key), "{told}");
        ensure!(work.read("new.yaml")? == PLAIN, "{code}: the file changed");
    }
    Ok(())
}

/// Reads a request whole, so that the connection does not end with a reset, and answers it.
fn answer_one(stream: TcpStream, answer: &str) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let line = line.trim().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.parse().unwrap_or_default();
        }
        if line.is_empty() {
            break;
        }
    }
    reader.read_exact(&mut vec![0; length])?;
    reader.get_mut().write_all(answer.as_bytes())
}

#[tokio::test]
async fn huawei_entries_are_kept_and_nothing_is_wrapped_with_them() -> Result<()> {
    let mut work = Work::new(&[("SOPS_AGE_KEY", IDENTITY)])?;
    work.ours("file.yaml", &["--age", RECIPIENT])?;
    let hckms = "    hckms:\n        - created_at: \"2026-01-02T03:04:05Z\"\n          enc: huawei-enc\n          \
                 key_id: tr-west-1:0a1b\n";
    let text = work.read("file.yaml")?;
    let text = text.replacen("    lastmodified:", &format!("{hckms}    lastmodified:"), 1);
    ensure!(text.contains("hckms"), "{text}");
    work.write("file.yaml", &text.replacen("user:", "more: new\nuser:", 1))?;
    succeeded(work.selkie(&["encrypt", "--add-clear", "--ignore-mac", "file.yaml"])?)?;
    let text = work.read("file.yaml")?;
    for kept in ["huawei-enc", "tr-west-1:0a1b", "2026-01-02T03:04:05Z"] {
        ensure!(text.contains(kept), "{kept} is lost:\n{text}");
    }
    succeeded(work.selkie(&["decrypt", "file.yaml"])?)?;
    work.set("SOPS_AGE_KEY", "");
    let refused = work.refused("file.yaml")?;
    ensure!(
        refused.contains("Huawei") && refused.contains("tr-west-1:0a1b"),
        "{refused}"
    );

    work.write("new.yaml", PLAIN)?;
    for (flags, variable) in [
        (&["--hckms", "tr-west-1:0a1b"][..], ""),
        (&[], "tr-west-1:0a1b"),
    ] {
        work.set("SOPS_HUAWEICLOUD_KMS_IDS", variable);
        let arguments = [&["encrypt"], flags, &["new.yaml"]].concat();
        let finished = work.selkie(&arguments)?;
        ensure!(finished.code == Some(1), "{finished:?}");
        ensure!(finished.stderr.contains("Huawei"), "{}", finished.stderr);
        ensure!(work.read("new.yaml")? == PLAIN, "the file changed");
    }
    Ok(())
}
