use std::time::Instant;

use anyhow::{Context, Result, ensure};
use compat::moto::{Moto, REGION};
use serde_json::json;

use crate::work::{PLAIN, Work, succeeded};

const ROLE: &str = "arn:aws:iam::123456789012:role/sops-dev";

fn work(moto: &Moto) -> Result<Work> {
    Work::new(&[
        ("AWS_ENDPOINT_URL", &moto.url()),
        ("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "example"),
    ])
}

pub(crate) async fn symmetric_key(moto: &Moto) -> Result<String> {
    moto.create_key(&json!({})).await
}

async fn count(moto: &Moto, target: &str) -> Result<usize> {
    let requests = moto.requests().await?;
    Ok(requests.iter().filter(|r| r.target == target).count())
}

#[tokio::test]
async fn files_go_both_ways_with_key_alias_and_context() -> Result<()> {
    let moto = Moto::start().await?;
    let work = work(&moto)?;
    let key = symmetric_key(&moto).await?;
    let body = json!({"AliasName": "alias/sops", "TargetKeyId": key});
    moto.kms("CreateAlias", &body).await?;
    let alias = format!("arn:aws:kms:{REGION}:123456789012:alias/sops");
    for flags in [
        vec!["--kms", &key],
        vec!["--kms", &alias],
        vec!["--kms", &key, "--encryption-context", "team:web,env:prod"],
    ] {
        work.ours("ours.yaml", &flags)?;
        work.opens_in_both("ours.yaml")?;
        work.theirs("theirs.yaml", &flags)?;
        work.opens_in_both("theirs.yaml")?;
        let [ours, theirs] = ["ours.yaml", "theirs.yaml"].map(|name| work.read(name));
        for line in [
            "arn: ",
            "aws_profile: ",
            "context:",
            "team: web",
            "env: prod",
        ] {
            let in_both = [&ours, &theirs].map(|text| {
                let text = text.as_ref().map(String::as_str).unwrap_or_default();
                text.lines()
                    .filter(|found| found.trim().trim_start_matches("- ").starts_with(line))
                    .count()
            });
            ensure!(in_both[0] == in_both[1], "{line}: {in_both:?}\n{}", ours?);
        }
    }
    Ok(())
}

#[tokio::test]
async fn keys_come_from_variables_and_rules_too() -> Result<()> {
    let moto = Moto::start().await?;
    let mut work = work(&moto)?;
    let (one, two) = (symmetric_key(&moto).await?, symmetric_key(&moto).await?);
    work.write(
        ".sops.yaml",
        &format!(
            "creation_rules:\n- path_regex: flat\n  kms: '{one}+{ROLE}, {two}'\n- path_regex: grouped\n  \
             key_groups:\n  - kms:\n    - arn: {one}\n      role: {ROLE}\n      context:\n        a: b\n"
        ),
    )?;
    work.ours("flat.yaml", &[])?;
    let flat = work.read("flat.yaml")?;
    ensure!(
        flat.contains(&one) && flat.contains(&two) && flat.contains(ROLE),
        "{flat}"
    );
    work.opens_in_both("flat.yaml")?;
    work.ours("grouped.yaml", &[])?;
    let grouped = work.read("grouped.yaml")?;
    ensure!(
        grouped.contains("a: b") && grouped.contains(ROLE),
        "{grouped}"
    );
    work.opens_in_both("grouped.yaml")?;
    std::fs::remove_file(work.path(".sops.yaml"))?;
    work.set("SOPS_KMS_ARN", &two);
    work.ours("variable.yaml", &[])?;
    work.opens_in_both("variable.yaml")
}

/// The role is assumed first, under the session name of sops, and its own credentials are used.
#[tokio::test]
async fn a_role_is_assumed() -> Result<()> {
    let moto = Moto::start().await?;
    let work = work(&moto)?;
    let key = format!("{}+{ROLE}", symmetric_key(&moto).await?);
    work.theirs("theirs.yaml", &["--kms", &key])?;
    moto.record().await?;
    work.ours("ours.yaml", &["--kms", &key])?;
    succeeded(work.selkie(&["decrypt", "theirs.yaml"])?)?;
    let requests = moto.requests().await?;
    let assumed: Vec<&str> = requests
        .iter()
        .filter(|request| request.text.contains("Action=AssumeRole&"))
        .map(|request| request.text.as_str())
        .collect();
    ensure!(assumed.len() == 2, "{assumed:?}");
    for form in assumed {
        ensure!(form.contains("RoleSessionName=sops%40"), "{form}");
        ensure!(form.contains("role%2Fsops-dev"), "{form}");
    }
    let kms: Vec<_> = requests
        .iter()
        .filter(|r| r.target.starts_with("Trent"))
        .collect();
    ensure!(kms.len() == 2, "{kms:?}");
    for request in kms {
        // moto gives temporary keys, which begin so.
        ensure!(
            request.authorization.contains("Credential=ASIA"),
            "{request:?}"
        );
    }
    work.opens_in_both("ours.yaml")
}

/// The endpoint and the credentials of a profile, with no variable that names either.
#[tokio::test]
async fn a_profile_gives_credentials_and_endpoint() -> Result<()> {
    let moto = Moto::start().await?;
    let mut work = Work::new(&[])?;
    work.write(
        "config",
        &format!(
            "[profile dev]\naws_access_key_id = AKIADEV\naws_secret_access_key = example\n\
             endpoint_url = {}\n",
            moto.url()
        ),
    )?;
    let config = work.path("config").display().to_string();
    work.set("AWS_CONFIG_FILE", &config);
    let key = symmetric_key(&moto).await?;
    moto.record().await?;
    work.ours("ours.yaml", &["--kms", &key, "--aws-profile", "dev"])?;
    ensure!(work.read("ours.yaml")?.contains("aws_profile: dev"));
    let text = succeeded(work.selkie(&["decrypt", "ours.yaml"])?)?.text();
    ensure!(text == PLAIN, "{text}");
    let requests = moto.requests().await?;
    let by_dev = requests
        .iter()
        .filter(|r| r.authorization.contains("Credential=AKIADEV/"));
    ensure!(by_dev.count() == 2, "{requests:?}");
    let (from, to) = ("aws_profile: dev", "aws_profile: gone");
    work.write("ours.yaml", &work.read("ours.yaml")?.replace(from, to))?;
    let text = work.refused("ours.yaml")?;
    ensure!(
        text.contains("no AWS credentials") && text.contains("gone"),
        "{text}"
    );
    Ok(())
}

/// One Decrypt for each distinct wrapped key, one Encrypt for each new data key.
#[tokio::test]
async fn calls_are_as_few_as_can_be() -> Result<()> {
    let moto = Moto::start().await?;
    let work = work(&moto)?;
    let key = symmetric_key(&moto).await?;
    moto.record().await?;
    for name in ["a.yaml", "b.yaml"] {
        work.ours(name, &["--kms", &key])?;
    }
    ensure!(count(&moto, "TrentService.Encrypt").await? == 2);
    ensure!(count(&moto, "TrentService.Decrypt").await? == 0);
    for copy in ["c.yaml", "d.yaml", "e.yaml"] {
        work.write(copy, &work.read("a.yaml")?)?;
    }
    moto.record().await?;
    let files = ["a.yaml", "b.yaml", "c.yaml", "d.yaml", "e.yaml"];
    succeeded(work.selkie(&[&["decrypt", "-i"], &files[..]].concat())?)?;
    for name in files {
        ensure!(work.read(name)? == PLAIN, "{name}");
    }
    let decrypts = count(&moto, "TrentService.Decrypt").await?;
    ensure!(decrypts == 2, "{decrypts} calls for two distinct keys");
    Ok(())
}

/// sops before 3.3.0 could send one value for every key of the context (sops-format.md 8.3).
#[tokio::test]
async fn a_context_that_old_versions_spoilt_opens() -> Result<()> {
    let moto = Moto::start().await?;
    let work = work(&moto)?;
    let key = symmetric_key(&moto).await?;
    let context = ["--encryption-context", "env:prod,team:prod"];
    work.ours("old.yaml", &[&["--kms", &*key][..], &context].concat())?;
    let right = work.read("old.yaml")?.replace("team: prod", "team: web");
    work.write("old.yaml", &right)?;
    let text = succeeded(work.selkie(&["decrypt", "old.yaml"])?)?.text();
    ensure!(text == PLAIN, "{text}");
    // A context that no version wrote does not open.
    work.write("old.yaml", &right.replace("env: prod", "env: dev"))?;
    let text = work.refused("old.yaml")?;
    ensure!(
        text.contains("encryption context") && text.contains("env, team"),
        "{text}"
    );
    Ok(())
}

#[tokio::test]
async fn each_refusal_of_kms_is_told_in_a_line() -> Result<()> {
    let moto = Moto::start().await?;
    let mut work = work(&moto)?;
    let key = symmetric_key(&moto).await?;
    work.ours("file.yaml", &["--kms", &key])?;
    let whole = work.read("file.yaml")?;

    let id = key.rsplit('/').next().context("an ARN has an id")?;
    let gone = "00000000-0000-4000-8000-000000000000";
    work.write("file.yaml", &whole.replace(id, gone))?;
    let text = work.refused("file.yaml")?;
    ensure!(
        text.contains("NotFoundException") && text.contains("check the ARN"),
        "{text}"
    );
    ensure!(text.contains(gone), "the message names the key: {text}");

    // The region of the file is all that reaches a host name.
    work.write("file.yaml", &whole.replace(REGION, "evil.example/"))?;
    let text = work.refused("file.yaml")?;
    ensure!(text.contains("is not the ARN"), "{text}");

    work.write("file.yaml", &whole)?;
    work.set("AWS_ACCESS_KEY_ID", "");
    let start = Instant::now();
    let text = work.refused("file.yaml")?;
    ensure!(text.contains("no AWS credentials"), "{text}");
    ensure!(start.elapsed().as_secs() < 10, "{:?}", start.elapsed());
    Ok(())
}

/// Keys and policies are checked: a user without rights, and a key that nobody has.
#[tokio::test]
async fn missing_rights_are_told() -> Result<()> {
    let policy = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "sts:*", "Resource": "*"}
    ]});
    let (moto, user) = Moto::start_checking(&policy).await?;
    let mut work = work(&moto)?;
    work.set("AWS_ACCESS_KEY_ID", &user.id);
    work.set("AWS_SECRET_ACCESS_KEY", &user.secret);
    work.write("file.yaml", PLAIN)?;
    let key = format!("arn:aws:kms:{REGION}:123456789012:key/some");
    let encrypt = ["encrypt", "--kms", &key, "file.yaml"];
    let finished = work.selkie(&encrypt)?;
    ensure!(finished.code == Some(1), "{finished:?}");
    ensure!(
        finished.stderr.contains("refused access"),
        "{}",
        finished.stderr
    );
    ensure!(
        finished.stderr.contains("kms:Encrypt"),
        "{}",
        finished.stderr
    );
    work.set("AWS_SECRET_ACCESS_KEY", "canary");
    let finished = work.selkie(&encrypt)?;
    ensure!(
        finished.stderr.contains("refused access"),
        "{}",
        finished.stderr
    );
    ensure!(!finished.stderr.contains("canary"), "{}", finished.stderr);
    ensure!(work.read("file.yaml")? == PLAIN, "the file changed");
    Ok(())
}
