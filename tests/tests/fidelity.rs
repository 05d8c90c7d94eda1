//! What encryption does not select keeps its bytes, and decryption gives back the file (issue 3, "Must show" 3).
//!
//! `SELKIE_FULL=1` runs all 300 generated trees, otherwise a sample of 60.

#![allow(clippy::print_stdout, reason = "the counts that `make verify` sums up")]

use anyhow::{Result, anyhow, ensure};
use compat::corpus::{self, Sample};
use compat::generate::{Case, seeds, without_metadata};
use compat::sops_file::{By, Folder, RECIPIENT, failures};

fn report(what: &str, total: usize, failures: &[String]) {
    println!(
        "verified: {what}: {} of {total} pass",
        total - failures.len()
    );
    assert!(
        failures.is_empty(),
        "{what}: {} of {total} fail:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

#[test]
fn a_tree_changes_in_the_selected_leaves_only_and_comes_back() {
    let everything = std::env::var_os("SELKIE_FULL").is_some_and(|value| value == "1");
    let cases: Vec<Case> = seeds(300, 60, everything)
        .into_iter()
        .map(Case::new)
        .collect();
    let failed = failures(
        &cases,
        |case| format!("seed {}", case.seed),
        tree_comes_back,
    );
    report("generated trees", cases.len(), &failed);
}

#[test]
fn a_corpus_file_comes_back_or_is_refused_as_recorded() {
    let samples = corpus::load().unwrap();
    assert!(
        samples
            .iter()
            .filter(|sample| sample.error.is_none())
            .count()
            >= 60
    );
    let failed = failures(&samples, |sample| sample.name.clone(), sample_comes_back);
    report("corpus", samples.len(), &failed);
}

fn tree_comes_back(case: &Case) -> Result<()> {
    let folder = Folder::new(&case.config(RECIPIENT))?;
    let source = case.source();
    let encrypted = encrypt(&folder, source.as_bytes())?;
    case.check_encrypted(&encrypted)
        .map_err(|mismatch| anyhow!("encrypted: {mismatch}"))?;
    let decrypted = decrypt(&folder, &encrypted)?;
    if case.is_exact() {
        ensure!(
            decrypted == source,
            "not the same bytes: {}",
            difference(&source, &decrypted)
        );
    } else {
        case.check_decrypted(&decrypted)
            .map_err(|mismatch| anyhow!("decrypted: {mismatch}"))?;
    }
    // A canonical form is final: the second round changes nothing.
    let again = decrypt(&folder, &encrypt(&folder, decrypted.as_bytes())?)?;
    ensure!(
        again == decrypted,
        "second round: {}",
        difference(&decrypted, &again)
    );
    Ok(())
}

fn sample_comes_back(sample: &Sample) -> Result<()> {
    let folder = Folder::new(&sample.config(RECIPIENT))?;
    let finished = folder.encrypt(By::Selkie, &sample.bytes)?;
    if let Some(error) = &sample.error {
        ensure!(
            !matches!(finished.code, Some(0) | None),
            "not refused, {:?}: {}",
            finished.code,
            finished.stderr
        );
        ensure!(
            finished.stdout.is_empty(),
            "refused, but something was printed"
        );
        ensure!(
            finished.stderr.contains(error),
            "refused, but not with {error:?}: {}",
            finished.stderr
        );
        return Ok(());
    }
    ensure!(finished.code == Some(0), "encrypt: {}", finished.stderr);
    let encrypted = finished.text();
    let source = std::str::from_utf8(&sample.bytes)?;
    only_ciphertext_is_new(sample, source, &encrypted)?;
    let expected = std::str::from_utf8(sample.expected.as_deref().unwrap_or(&sample.bytes))?;
    let decrypted = decrypt(&folder, &encrypted)?;
    ensure!(
        decrypted == expected,
        "decrypted: {}",
        difference(expected, &decrypted)
    );
    Ok(())
}

/// Every line outside the metadata is a line of the source, in order, or holds ciphertext; where a canonical form is expected, it may be
/// a line of that.
fn only_ciphertext_is_new(sample: &Sample, source: &str, encrypted: &str) -> Result<()> {
    let canonical = std::str::from_utf8(sample.expected.as_deref().unwrap_or_default())?;
    let mut rest = source.lines();
    for line in without_metadata(encrypted).lines() {
        // A block header without its `!!binary` is followed by the ciphertext.
        if line.contains("ENC[")
            || canonical
                .lines()
                .any(|other| other == line || other.strip_suffix('-') == Some(line))
        {
            continue;
        }
        ensure!(
            rest.any(|other| other == line),
            "encrypted: a line that is not in the source: {line:?}"
        );
    }
    Ok(())
}

fn encrypt(folder: &Folder, text: &[u8]) -> Result<String> {
    let finished = folder.encrypt(By::Selkie, text)?;
    ensure!(finished.code == Some(0), "encrypt: {}", finished.stderr);
    Ok(String::from_utf8(finished.stdout)?)
}

fn decrypt(folder: &Folder, text: &str) -> Result<String> {
    let finished = folder.decrypt(By::Selkie, text.as_bytes())?;
    ensure!(finished.code == Some(0), "decrypt: {}", finished.stderr);
    Ok(String::from_utf8(finished.stdout)?)
}

fn difference(expected: &str, found: &str) -> String {
    let at = expected
        .bytes()
        .zip(found.bytes())
        .take_while(|(a, b)| a == b)
        .count();
    let line = expected.as_bytes()[..at]
        .iter()
        .filter(|&&byte| byte == b'\n')
        .count()
        + 1;
    let show = |text: &str| {
        let bytes = text
            .as_bytes()
            .get(at.saturating_sub(20)..)
            .unwrap_or_default();
        String::from_utf8_lossy(bytes)
            .chars()
            .take(70)
            .collect::<String>()
    };
    format!(
        "line {line}: expected {:?}, found {:?}",
        show(expected),
        show(found)
    )
}
