//! Templates render as Go's own text/template does with the functions of Sealed Secrets (issue 5, "Must show" 4).
//!
//! The cases of `templates/*.txt`, one in each line, and generated ones go through a small Go program of the test bed and
//! through `selkie-template`: the output is equal byte for byte, an error is an error of the same stage at the same place.
//! `SELKIE_FULL=1` generates 20,000 cases, otherwise 4,000.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use compat::counts::{everything, report, verified};
use compat::originals;
use selkie_secret::SecretBytes;
use selkie_template::{Data, Env, Error, Functions, Limits, MissingKey, Template};
use serde::{Deserialize, Serialize};
use serde_json::Value;

#[path = "templates/generate.rs"]
mod generate;

/// One template and what it is rendered over.
#[derive(Debug, Clone, Serialize)]
struct Case {
    template: String,
    data: Value,
    /// The data is a `map[string]string`, as the controller passes it.
    texts: bool,
    missing: String,
}

/// What Go made of a case.
#[derive(Debug, Deserialize)]
struct Original {
    output: Option<String>,
    #[serde(default)]
    parse: String,
    #[serde(default)]
    execute: String,
}

/// The name that the Go program gives to every template.
const NAME: &str = "case";

#[test]
fn written_cases_render_as_in_go() {
    let cases = written().unwrap();
    assert!(cases.len() >= 1_500, "{}", cases.len());
    let outcome = compare(&cases).unwrap();
    report("templates written by hand", cases.len(), &outcome.failures);
    verified(&format!(
        "templates written by hand: {} render, {} fail in both, {} of these with Go's own message",
        outcome.rendered, outcome.failed, outcome.same_message
    ));
    assert!(outcome.rendered >= 1_000 && outcome.failed >= 300);
}

#[test]
fn generated_cases_render_as_in_go() {
    let count = if everything() { 20_000 } else { 4_000 };
    let cases: Vec<Case> = (0..count).map(generate::case).collect();
    let outcome = compare(&cases).unwrap();
    report("generated templates", cases.len(), &outcome.failures);
    verified(&format!(
        "generated templates: {} render, {} fail in both",
        outcome.rendered, outcome.failed
    ));
    assert!(outcome.rendered * 3 >= cases.len(), "too few render");
}

/// Reads the cases of every file.
fn written() -> Result<Vec<Case>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/templates");
    let mut cases = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "txt") {
            continue;
        }
        let mut case = Case {
            template: String::new(),
            data: Value::Null,
            texts: false,
            missing: String::new(),
        };
        for line in fs::read_to_string(&path)?.lines() {
            if let Some(data) = line.strip_prefix("@data ") {
                case.data = serde_json::from_str(data).context("@data")?;
                case.texts = false;
            } else if let Some(texts) = line.strip_prefix("@texts ") {
                case.data = serde_json::from_str(texts).context("@texts")?;
                case.texts = true;
            } else if let Some(missing) = line.strip_prefix("@missing") {
                missing.trim().clone_into(&mut case.missing);
            } else if !line.is_empty() && !line.starts_with('#') {
                case.template = line.replace('⏎', "\n");
                cases.push(case.clone());
            }
        }
    }
    Ok(cases)
}

#[derive(Default)]
struct Outcome {
    failures: Vec<String>,
    rendered: usize,
    failed: usize,
    same_message: usize,
}

fn compare(cases: &[Case]) -> Result<Outcome> {
    let run = originals::templates()?
        .input(serde_json::to_vec(cases)?)
        .ok()?;
    let originals: Vec<Original> = serde_json::from_slice(&run.stdout)?;
    ensure!(originals.len() == cases.len());
    let mut outcome = Outcome::default();
    for (case, original) in cases.iter().zip(&originals) {
        if let Err(error) = compare_one(case, original, &mut outcome) {
            outcome
                .failures
                .push(format!("{:?}: {error:#}", case.template));
        }
    }
    Ok(outcome)
}

fn compare_one(case: &Case, original: &Original, outcome: &mut Outcome) -> Result<()> {
    let ours = render(case);
    if let Some(output) = &original.output {
        let wanted = base64::engine::general_purpose::STANDARD.decode(output)?;
        let ours = ours.with_context(|| format!("Go renders {:?}", shown(&wanted)))?;
        ensure!(
            ours == wanted,
            "Go renders {:?}, we {:?}",
            shown(&wanted),
            shown(&ours)
        );
        outcome.rendered += 1;
        return Ok(());
    }
    let go = format!("{}{}", original.parse, original.execute);
    let error = match ours {
        Ok(ours) => anyhow::bail!("Go fails ({go}), we render {:?}", shown(&ours)),
        Err(error) => error,
    };
    match &error {
        Error::Parse { .. } => {
            ensure!(error.to_string() == original.parse, "Go: {go}; we: {error}");
        }
        Error::Render { message, .. } => {
            // The cause may be told without a value; the place is always the same.
            let text = error.to_string();
            let place = text.strip_suffix(message.as_str()).unwrap_or(&text);
            ensure!(original.execute.starts_with(place), "Go: {go}; we: {error}");
        }
        // Go's own bound for templates that call each other.
        Error::Limit { .. } => {
            let is_gos = go.contains("exceeded maximum template depth");
            ensure!(is_gos, "Go: {go}; we: {error}");
        }
        other => anyhow::bail!("an unknown kind of error: {other}"),
    }
    outcome.failed += 1;
    outcome.same_message += usize::from(error.to_string() == go);
    Ok(())
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().take(2_000).collect()
}

fn render(case: &Case) -> Result<Vec<u8>, Error> {
    let functions = Functions::sealed_secrets();
    let mut template = Template::parse(NAME, &case.template, functions, &Limits::default())?;
    if case.missing == "error" {
        template = template.missing_key(MissingKey::Error);
    }
    let mut env = Env {
        now: &jiff::Timestamp::now,
        expired: &|| false,
        random: &mut |bytes| rand::fill(bytes),
        local: jiff::tz::TimeZone::UTC,
        zones: jiff::tz::TimeZoneDatabase::from_env(),
    };
    let rendered = match case.data.as_object().filter(|_| case.texts) {
        Some(entries) => {
            let texts: BTreeMap<String, SecretBytes> = entries
                .iter()
                .map(|(key, value)| {
                    let text = value.as_str().unwrap_or_default();
                    (key.clone(), SecretBytes::from(text.as_bytes().to_vec()))
                })
                .collect();
            template.render(&Data::texts(&texts), &mut env)?
        }
        None => template.render(&Data::json(case.data.to_string().as_bytes()), &mut env)?,
    };
    Ok(rendered.expose().to_vec())
}
