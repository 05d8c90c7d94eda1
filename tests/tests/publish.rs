//! `publish`, beside the real sops 3.13.3: what lies in OpenBao and in moto's S3 afterwards is the same
//! (issue 4; sops-format.md 17.3).

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use compat::bed::Cache;
use compat::moto::Moto;
use compat::openbao::{OpenBao, ROOT_TOKEN};
use compat::program::{Finished, Program};
use compat::sops_file::{IDENTITY, RECIPIENT};
use compat::{originals, selkie};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Who publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Selkie,
    OursAsSops,
    Sops,
}

/// A folder with encrypted files, and the environment of the programs.
struct Bed {
    folder: TempDir,
    variables: Vec<(&'static str, String)>,
}

impl Bed {
    fn new(variables: &[(&'static str, String)]) -> Result<Self> {
        let folder = TempDir::with_prefix("selkie-publish-")?;
        let bed = Self {
            folder,
            variables: variables.to_vec(),
        };
        std::os::unix::fs::symlink(selkie::binary("selkie-cli", "selkie")?, bed.path("sops"))?;
        Ok(bed)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn rules(&self, text: &str) -> Result<()> {
        Ok(fs::write(self.path(".sops.yaml"), text)?)
    }

    /// Writes a file and encrypts it by the real sops.
    fn encrypted(&self, name: &str, plain: &str, flags: &[&str]) -> Result<()> {
        let path = self.path(name);
        fs::create_dir_all(path.parent().context("it has a folder")?)?;
        fs::write(&path, plain)?;
        // Not by the rules of the folder.
        fs::write(self.path("none.yaml"), "{}")?;
        let config = ["--config", "none.yaml"];
        let encrypt = ["encrypt", "-i", "--age", RECIPIENT];
        self.settled(originals::sops()?)
            .args(config)
            .args(encrypt)
            .args(flags)
            .arg(name)
            .ok()?;
        Ok(())
    }

    fn publish(&self, who: Who, arguments: &[&str]) -> Result<Finished> {
        let program = match who {
            Who::Selkie => selkie::selkie()?,
            Who::OursAsSops => Program::new(self.path("sops")),
            Who::Sops => originals::sops()?,
        };
        self.settled(program).arg("publish").args(arguments).run()
    }

    fn settled(&self, mut program: Program) -> Program {
        program = program
            .folder(self.folder.path())
            .env("HOME", self.folder.path())
            .env("SOPS_AGE_KEY", IDENTITY)
            .env("SOPS_DISABLE_VERSION_CHECK", "true")
            .env("AWS_EC2_METADATA_DISABLED", "true");
        for (name, value) in &self.variables {
            program = program.env(name, value);
        }
        program
    }
}

fn succeeded(finished: &Finished) -> Result<()> {
    ensure!(finished.code == Some(0), "{finished:?}");
    ensure!(!finished.stderr.contains("s3cr3t"), "{finished:?}");
    Ok(())
}

/// One file of each format, with every type of value.
fn place_files(bed: &Bed) -> Result<Vec<&'static str>> {
    let yaml = "# about\nname: example # inline\ncount: 42\nbig: 12345678901234567890123\n\
                ratio: 1.5\nwhole: 2.0\nsmall: 1.0e-9\non: true\nnothing: null\nempty: \"\"\n\
                when: 2024-01-02T03:04:05Z\nlist: [one, 2, 1.0, null]\nlines: |\n  a\n  b\n\
                nested:\n  user: admin\n  password: s3cr3t \"quoted\" ä\n  deep: {key: value}\n";
    let json = "{\"a\": 1, \"b\": 1.5, \"c\": [true, null, \"x\"], \"d\": {\"e\": \"s3cr3t\"}}";
    bed.encrypted("files/all.yaml", yaml, &[])?;
    bed.encrypted("files/all.json", json, &[])?;
    bed.encrypted(
        "files/all.env",
        "# about\nNAME=example\nPASSWORD=s3cr3t\n",
        &[],
    )?;
    bed.encrypted(
        "files/all.ini",
        "top = x\n[section]\nkey = s3cr3t\nn = 1\n",
        &[],
    )?;
    bed.encrypted("files/all.txt", "any s3cr3t\ntext\n", &[])?;
    bed.encrypted("files/two.yaml", "a: 1\nb: 2\n---\nb: 3\nc: 4\n", &[])?;
    Ok(vec![
        "all.yaml", "all.json", "all.env", "all.ini", "all.txt", "two.yaml",
    ])
}

fn vault(bao: &OpenBao) -> [(&'static str, String); 2] {
    [
        ("VAULT_ADDR", bao.url()),
        ("VAULT_TOKEN", ROOT_TOKEN.to_owned()),
    ]
}

async fn kv1(bao: &OpenBao, path: &str) -> Result<Value> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    let request = client.get(format!("{}/v1/kv1/{path}", bao.url()));
    let answer = request.header("X-Vault-Token", ROOT_TOKEN).send().await?;
    let mut answer: Value = answer.error_for_status()?.json().await?;
    Ok(answer["data"].take())
}

#[tokio::test]
async fn vault_gets_what_sops_would_write() -> Result<()> {
    let bao = OpenBao::start().await?;
    bao.write(
        "sys/mounts/kv1",
        &json!({"type": "kv", "options": {"version": "1"}}),
    )
    .await?;
    let bed = Bed::new(&vault(&bao))?;
    let names = place_files(&bed)?;
    for (who, place) in [
        (Who::Sops, "theirs"),
        (Who::OursAsSops, "ours"),
        (Who::Selkie, "selkie"),
    ] {
        for (version, rule) in [
            (1, "vault_kv_mount_name: kv1\n  vault_kv_version: 1"),
            (2, "omit_extensions: false"),
        ] {
            bed.rules(&format!(
                "destination_rules:\n- vault_path: {place}\n  {rule}\n"
            ))?;
            for name in &names {
                let finished = bed.publish(who, &["-y", &format!("files/{name}")])?;
                succeeded(&finished).with_context(|| format!("{who:?} {version} {name}"))?;
            }
        }
    }
    for name in &names {
        let theirs = bao.kv_get(&format!("theirs/{name}")).await?;
        ensure!(!theirs.is_null(), "{name}");
        let theirs_1 = kv1(&bao, &format!("theirs/{name}")).await?;
        for place in ["ours", "selkie"] {
            let ours = bao.kv_get(&format!("{place}/{name}")).await?;
            ensure!(ours == theirs, "{name}: {ours}, not {theirs}");
            let ours = kv1(&bao, &format!("{place}/{name}")).await?;
            ensure!(ours == theirs_1, "{name}: {ours}, not {theirs_1}");
        }
    }
    Ok(())
}

/// sops writes mappings in lists as `{"Key", "Value"}` and comments as `{"Value", "Inline"}`.
#[tokio::test]
async fn what_stands_in_lists_stays_what_it_is() -> Result<()> {
    let bao = OpenBao::start().await?;
    let bed = Bed::new(&vault(&bao))?;
    let plain = "list:\n# about\n- a: 1\n  b: s3cr3t\n- [x, {c: null}]\n";
    bed.encrypted("f.yaml", plain, &[])?;
    bed.rules("destination_rules: [{vault_path: p, omit_extensions: true}]")?;
    for who in [Who::Selkie, Who::OursAsSops] {
        succeeded(&bed.publish(who, &["--yes", "f.yaml"])?)?;
        let found = bao.kv_get("p/f").await?;
        ensure!(
            found == json!({"list": [{"a": 1, "b": "s3cr3t"}, ["x", {"c": null}]]}),
            "{found}"
        );
        bao.kv_delete("p/f").await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_secret_that_is_up_to_date_gets_no_new_version() -> Result<()> {
    let bao = OpenBao::start().await?;
    let bed = Bed::new(&vault(&bao))?;
    place_files(&bed)?;
    bed.rules("destination_rules: [{vault_path: p}]")?;
    let writes = || -> Result<usize> {
        let requests = bao.requests()?;
        let writes = requests
            .iter()
            .filter(|r| ["create", "update"].contains(&&*r.operation) && r.path.contains("/p/"));
        Ok(writes.count())
    };
    let publish = |who| bed.publish(who, &["-y", "files/all.yaml"]);
    let first = publish(Who::Selkie)?;
    succeeded(&first)?;
    ensure!(first.stderr.contains("published"), "{first:?}");
    ensure!(writes()? == 1);
    let second = publish(Who::Selkie)?;
    succeeded(&second)?;
    ensure!(second.stderr.contains("up to date"), "{second:?}");
    succeeded(&publish(Who::OursAsSops)?)?;
    ensure!(writes()? == 1, "it was written again");
    bao.kv_put("p/all.yaml", &json!({"other": 1})).await?;
    succeeded(&publish(Who::OursAsSops)?)?;
    ensure!(writes()? == 3);
    Ok(())
}

#[tokio::test]
async fn a_server_that_only_the_config_names_gets_no_token() -> Result<()> {
    let bao = OpenBao::start().await?;
    let bed = Bed::new(&[("VAULT_TOKEN", ROOT_TOKEN.to_owned())])?;
    bed.encrypted("f.yaml", "a: s3cr3t\n", &[])?;
    bed.rules(&format!(
        "destination_rules: [{{vault_path: p, vault_address: \"{}\"}}]",
        bao.url()
    ))?;
    let before = bao.requests()?.len();
    let refused = bed.publish(Who::Selkie, &["-y", "f.yaml"])?;
    ensure!(refused.code == Some(1), "{refused:?}");
    ensure!(refused.stderr.contains("VAULT_ADDR"), "{refused:?}");
    ensure!(bao.requests()?.len() == before);
    // Under the name sops it does, as there, and is warned of.
    let done = bed.publish(Who::OursAsSops, &["-y", "f.yaml"])?;
    succeeded(&done)?;
    ensure!(done.stderr.contains("level=warning"), "{done:?}");
    ensure!(bao.kv_get("p/f.yaml").await? == json!({"a": "s3cr3t"}));
    Ok(())
}

/// Buckets and objects by boto3, which is nobody's here.
fn boto(moto: &Moto, key: &[(&str, String)], script: &str) -> Result<Finished> {
    let python = Cache::open()?.root().join("venv/bin/python");
    let script = format!(
        "import boto3, sys\ns3 = boto3.client('s3', endpoint_url='{}', region_name='eu-west-1')\n{script}",
        moto.url()
    );
    let mut program = Program::new(python).args(["-c", &script]);
    for (name, value) in key {
        program = program.env(name, value);
    }
    program.ok()
}

/// A moto that checks signatures and rights, and the environment for it.
async fn checking() -> Result<(Moto, Vec<(&'static str, String)>)> {
    let policy = json!({
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}],
    });
    let (moto, key) = Moto::start_checking(&policy).await?;
    let variables = vec![
        ("AWS_ENDPOINT_URL_S3", moto.url()),
        ("AWS_REGION", "eu-west-1".to_owned()),
        ("AWS_ACCESS_KEY_ID", key.id),
        ("AWS_SECRET_ACCESS_KEY", key.secret),
    ];
    Ok((moto, variables))
}

const NEW_BUCKET: &str = "s3.create_bucket(Bucket='team', \
    CreateBucketConfiguration={'LocationConstraint': 'eu-west-1'})";

fn objects(moto: &Moto, key: &[(&str, String)], prefix: &str) -> Result<Value> {
    let script = format!(
        "import json\nfound = {{}}\nfor o in s3.list_objects_v2(Bucket='team', Prefix='{prefix}').get('Contents', []):\n  \
         found[o['Key'][len('{prefix}'):]] = s3.get_object(Bucket='team', Key=o['Key'])['Body'].read().decode()\n\
         print(json.dumps(found))"
    );
    boto(moto, key, &script)?.json()
}

#[tokio::test]
async fn a_bucket_gets_the_files_as_they_are() -> Result<()> {
    let (moto, key) = checking().await?;
    boto(&moto, &key, NEW_BUCKET)?;
    let bed = Bed::new(&key)?;
    place_files(&bed)?;
    bed.encrypted("files/deep/a b+(1)~ä.yaml", "a: s3cr3t\n", &[])?;
    for (who, place) in [
        (Who::Sops, "theirs/"),
        (Who::OursAsSops, "ours/"),
        (Who::Selkie, "selkie/"),
    ] {
        bed.rules(&format!(
            "destination_rules: [{{s3_bucket: team, s3_prefix: {place}}}]"
        ))?;
        let arguments: &[&str] = match who {
            Who::Selkie => &["-y", "--below", "files", "files"],
            _ => &["-y", "--recursive", "files"],
        };
        succeeded(&bed.publish(who, arguments)?).with_context(|| format!("{who:?}"))?;
    }
    let theirs = objects(&moto, &key, "theirs/")?;
    ensure!(theirs.as_object().is_some_and(|o| o.len() == 7), "{theirs}");
    for place in ["ours/", "selkie/"] {
        ensure!(objects(&moto, &key, place)? == theirs, "{place}");
    }
    Ok(())
}

/// The original drops the regex of the rule, and cannot open what it wrote.
#[tokio::test]
async fn a_recreated_file_follows_every_setting_of_the_rule() -> Result<()> {
    let (moto, key) = checking().await?;
    boto(&moto, &key, NEW_BUCKET)?;
    let bed = Bed::new(&key)?;
    let plain = "name: example\npassword: s3cr3t\nuser_unencrypted: me\n";
    let all = ["--unencrypted-regex", "^nothing$"];
    bed.encrypted("f.yaml", plain, &all)?;
    bed.encrypted("f.json", "{\"a\": \"s3cr3t\"}", &[])?;
    bed.encrypted("f.bin", "s3cr3t", &[])?;
    let other = originals::age_keygen()?.ok()?.text();
    let identity = other
        .lines()
        .find(|line| line.starts_with("AGE-SECRET-KEY-"))
        .context("it made a key")?
        .to_owned();
    let recipient = other
        .lines()
        .find_map(|line| line.strip_prefix("# public key: "))
        .context("it names the recipient")?
        .to_owned();
    bed.rules(&format!(
        "destination_rules:\n- s3_bucket: team\n  recreation_rule:\n    age: {recipient}\n    \
         encrypted_regex: ^(password|user_unencrypted|a)$\n    mac_only_encrypted: true\n"
    ))?;
    for who in [Who::Selkie, Who::OursAsSops] {
        for name in ["f.yaml", "f.json", "f.bin"] {
            let before = fs::read(bed.path(name))?;
            let done = bed.publish(who, &["-y", name])?;
            succeeded(&done)?;
            if who == Who::OursAsSops {
                let told = format!("+++ {recipient}\n--- {RECIPIENT}\n");
                ensure!(done.text().contains(&told), "{done:?}");
            }
            ensure!(fs::read(bed.path(name))? == before, "the file changed");
            let found = objects(&moto, &key, "")?;
            let text = found[name].as_str().context("it is there")?;
            fs::create_dir_all(bed.path("back"))?;
            fs::write(bed.path("back").join(name), text)?;
            let opened = bed
                .settled(originals::sops()?)
                .env("SOPS_AGE_KEY", &identity)
                .args(["decrypt", &format!("back/{name}")])
                .ok()?
                .text();
            ensure!(opened.contains("s3cr3t"), "{opened}");
            if name == "f.yaml" {
                ensure!(opened == plain, "{opened}");
                ensure!(text.contains("name: example\n") && !text.contains("unencrypted: me"));
                ensure!(text.contains("mac_only_encrypted: true"), "{text}");
            }
            // With the old key it does not open.
            let shut = bed.settled(originals::sops()?);
            let shut = shut.args(["decrypt", &format!("back/{name}")]).run()?;
            ensure!(shut.code == Some(128), "{shut:?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn failures_upload_nothing() -> Result<()> {
    let (moto, key) = checking().await?;
    boto(&moto, &key, NEW_BUCKET)?;
    let mut bed = Bed::new(&key)?;
    bed.encrypted("f.yaml", "a: s3cr3t\n", &[])?;
    bed.rules("destination_rules: [{path_regex: f, s3_bucket: other}]")?;
    for who in [Who::Selkie, Who::OursAsSops, Who::Sops] {
        let failed = bed.publish(who, &["-y", "f.yaml"])?;
        ensure!(failed.code == Some(1), "{failed:?}");
        ensure!(failed.stderr.contains("NoSuchBucket"), "{failed:?}");
    }
    let dry = bed.publish(Who::Selkie, &["--dry-run", "f.yaml"])?;
    succeeded(&dry)?;
    ensure!(
        dry.stderr.contains("would publish; s3://other/f.yaml"),
        "{dry:?}"
    );
    fs::write(bed.path("clear.yaml"), "a: s3cr3t\n")?;
    bed.rules("destination_rules: [{s3_bucket: team}]")?;
    let failed = bed.publish(Who::Selkie, &["-y", "clear.yaml"])?;
    ensure!(failed.code == Some(1), "{failed:?}");
    bed.variables.retain(|(name, _)| *name != "AWS_REGION");
    let failed = bed.publish(Who::Selkie, &["-y", "f.yaml"])?;
    ensure!(
        failed.code == Some(1) && failed.stderr.contains("AWS_REGION"),
        "{failed:?}"
    );
    ensure!(objects(&moto, &key, "")? == json!({}));
    Ok(())
}
