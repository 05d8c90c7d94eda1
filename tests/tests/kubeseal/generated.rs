//! Sealing in both directions for generated Secrets: what ours seals the real kubeseal opens to the
//! same Secret, and the other way round (issue 5, "Must show" 3).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use compat::bed::{Cache, Tool};
use compat::counts;
use compat::generate::{Random, seeds};
use compat::program::Program;
use compat::selkie;
use jiff::{SignedDuration, Timestamp};
use selkie_seal::{Certificate, PrivateKey};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::stage::KEY;

/// A Secret to seal, and what its opened form has to be.
struct Case {
    seed: u64,
    secret: Value,
    scope: &'static str,
    /// Whether the annotation names the scope, instead of the flag.
    annotated: bool,
    values: BTreeMap<String, Vec<u8>>,
}

#[test]
fn generated_secrets_are_sealed_in_both_directions() -> Result<()> {
    let place = TempDir::with_prefix("selkie-generated-")?;
    let key = PrivateKey::parse(KEY)?;
    let years = SignedDuration::from_hours(87_600);
    let certificate = Certificate::self_signed(&key, "", Timestamp::now(), years)?;
    fs::write(place.path().join("cert.pem"), certificate.pem())?;
    fs::write(place.path().join("key.pem"), KEY)?;
    let seeds = seeds(1_000, 40, counts::everything());
    let (mut failures, total) = (Vec::new(), seeds.len());
    for seed in seeds {
        let case = Case::new(seed);
        if let Err(error) = case.check(place.path()) {
            failures.push(format!("seed {seed}: {error:#}"));
        }
    }
    counts::report(
        "kubeseal, generated Secrets sealed in both directions",
        total,
        &failures,
    );
    Ok(())
}

impl Case {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let scope = ["strict", "namespace-wide", "cluster-wide"][random.below(3)];
        let annotated = scope != "strict" && random.chance(30);
        let mut metadata = Map::new();
        metadata.insert("name".to_owned(), json!(word(&mut random, 1, 20)));
        if scope != "cluster-wide" || random.chance(50) {
            metadata.insert("namespace".to_owned(), json!(word(&mut random, 1, 12)));
        }
        for field in ["labels", "annotations"] {
            if random.chance(60) {
                let count = random.below(4);
                let texts: Map<String, Value> = (0..count)
                    .map(|_| {
                        let text = match field {
                            "labels" => word(&mut random, 0, 15),
                            // The original writes it raw in YAML, which reads back as a break.
                            _ => text(&mut random).replace('\u{2028}', "-"),
                        };
                        (word(&mut random, 1, 15), json!(text))
                    })
                    .collect();
                metadata.insert(field.to_owned(), Value::Object(texts));
            }
        }
        if annotated {
            let annotations = metadata
                .entry("annotations")
                .or_insert_with(|| json!({}))
                .as_object_mut();
            if let Some(annotations) = annotations {
                annotations.insert(format!("sealedsecrets.bitnami.com/{scope}"), json!("true"));
            }
        }
        if random.chance(20) {
            metadata.insert("finalizers".to_owned(), json!([word(&mut random, 1, 9)]));
        }
        let mut values = BTreeMap::new();
        let (mut data, mut string_data) = (Map::new(), Map::new());
        for _ in 0..=random.below(4) {
            let key = word(&mut random, 1, 15);
            if random.chance(60) {
                let most = [0, 1, 16, 300, 5000][random.below(5)];
                let length = random.below(most + 1);
                let bytes: Vec<u8> = (0..length)
                    .map(|_| u8::try_from(random.below(256)).unwrap_or_default())
                    .collect();
                data.insert(key.clone(), json!(BASE64_STANDARD.encode(&bytes)));
                // The same key in stringData wins.
                if !string_data.contains_key(&key) {
                    values.insert(key, bytes);
                }
            } else {
                let text = text(&mut random);
                string_data.insert(key.clone(), json!(text));
                values.insert(key, text.into_bytes());
            }
        }
        let mut secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata});
        if !data.is_empty() {
            secret["data"] = Value::Object(data);
        }
        if !string_data.is_empty() {
            secret["stringData"] = Value::Object(string_data);
        }
        if random.chance(40) {
            secret["type"] = json!(random.pick(&["Opaque", "example.com/x", ""]));
        }
        if random.chance(20) {
            secret["immutable"] = json!(random.chance(50));
        }
        Self {
            seed,
            secret,
            scope,
            annotated,
            values,
        }
    }

    /// Seals with each program and opens with the other one; both SealedSecrets and both Secrets
    /// have to be the same but for the ciphertext.
    fn check(&self, folder: &Path) -> Result<()> {
        let mut outer = Vec::new();
        let mut inner = Vec::new();
        let format = ["json", "yaml"][usize::from(self.seed % 2 == 1)];
        for (sealer, opener) in [("ours", "theirs"), ("theirs", "ours")] {
            let mut program = program(sealer, folder)?.args(["--cert", "cert.pem", "-o", format]);
            if !self.annotated {
                program = program.args(["--scope", self.scope]);
            }
            let sealed = program.input(self.secret.to_string()).ok();
            let sealed = sealed.with_context(|| format!("{sealer} seals"))?.text();
            let opened = program_opening(opener, folder)?
                .args(["-o", format])
                .input(sealed.as_str())
                .ok()
                .with_context(|| format!("{opener} opens what {sealer} sealed:\n{sealed}"))?;
            let json = program_opening(opener, folder)?
                .input(sealed.as_str())
                .ok()?
                .json()?;
            let values = json["data"].as_object().cloned().unwrap_or_default();
            let values: BTreeMap<String, Vec<u8>> = values
                .into_iter()
                .map(|(key, text)| {
                    let bytes = BASE64_STANDARD.decode(text.as_str().unwrap_or_default());
                    Ok((key, bytes?))
                })
                .collect::<Result<_>>()?;
            ensure!(values == self.values, "{sealer}: other values");
            outer.push(masked(&sealed));
            // The original prints an empty value as null, which means to take it out when the
            // Secret is applied over another one.
            inner.push(opened.text().replace(": null", ": \"\""));
        }
        ensure!(outer[0] == outer[1], "sealed:\n{}\n{}", outer[0], outer[1]);
        ensure!(inner[0] == inner[1], "opened:\n{}\n{}", inner[0], inner[1]);
        Ok(())
    }
}

fn program(who: &str, folder: &Path) -> Result<Program> {
    let link = folder.join(who).join("kubeseal");
    if !link.exists() {
        let path = match who {
            "ours" => selkie::binary("selkie-cli", "selkie")?,
            _ => Cache::open()?.tool(Tool::Kubeseal)?,
        };
        fs::create_dir_all(folder.join(who))?;
        std::os::unix::fs::symlink(path, &link)?;
    }
    Ok(Program::new(link).folder(folder).env("HOME", folder))
}

fn program_opening(who: &str, folder: &Path) -> Result<Program> {
    let keys = ["--recovery-unseal", "--recovery-private-key", "key.pem"];
    Ok(program(who, folder)?.args(keys))
}

/// The text without its ciphertext, but with its length.
fn masked(sealed: &str) -> String {
    let mut text = String::new();
    for line in sealed.lines() {
        let start = line.find(": ").map_or(0, |at| at + 2);
        let value = line[start..].trim_matches(['"', ',']);
        let is_value = value.len() > 300 && value.starts_with("AQ");
        let _ = match is_value {
            true => writeln!(text, "{}<{}>", &line[..start], value.len()),
            false => writeln!(text, "{line}"),
        };
    }
    text
}

/// A name of letters, digits, dashes and dots.
fn word(random: &mut Random, least: usize, most: usize) -> String {
    const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789ABCXYZ";
    let length = least + random.below(most - least + 1);
    (0..length)
        .map(|at| {
            let inside = at > 0 && at + 1 < length;
            match random.below(10) {
                0 if inside => '-',
                1 if inside => '.',
                _ => char::from(LETTERS[random.below(LETTERS.len())]),
            }
        })
        .collect()
}

/// Text with what YAML and JSON have to quote or fold.
fn text(random: &mut Random) -> String {
    const PARTS: [&str; 24] = [
        "true",
        "yes",
        "1.50",
        "0x1f",
        "~",
        "null",
        " ",
        "  ",
        "\n",
        "\n\n",
        "\t",
        ": ",
        " #",
        "'",
        "\"",
        "\\",
        "<a>&",
        "é",
        "😀",
        "\u{2028}",
        "\u{1}",
        "- ",
        "lorem ipsum dolor",
        "{a}",
    ];
    let count = random.below(12);
    (0..count).map(|_| random.pick(&PARTS)).collect()
}
