//! What encryption does not select keeps its bytes, and decryption gives back the file (issue 3, "Must show" 3).
//!
//! `SELKIE_FULL=1` runs all 300 generated trees, otherwise a sample of 60.

use anyhow::{Result, anyhow, ensure};
use compat::corpus::{self, Sample};
use compat::counts::{report, trees};
use compat::generate::{Case, without_metadata};
use compat::sops_file::{By, Folder, RECIPIENT, failures};

#[test]
fn a_tree_changes_in_the_selected_leaves_only_and_comes_back() {
    let cases = trees();
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

/// Every line outside the metadata is a line of the source, in order, and so is what stands around ciphertext; where a canonical form is
/// expected, it may be a line of that. Which leaves are ciphertext is compared with sops in interop.rs.
fn only_ciphertext_is_new(sample: &Sample, source: &str, encrypted: &str) -> Result<()> {
    let canonical = std::str::from_utf8(sample.expected.as_deref().unwrap_or_default())?;
    // Old Macintosh line ends.
    let lines = |text: &str| match text.contains('\n') {
        true => text.to_owned(),
        false => text.replace('\r', "\n"),
    };
    let source = lines(source);
    let mut rest = source.as_str();
    for line in without_metadata(&lines(encrypted)).lines() {
        let clear = clear_pieces(line);
        // Where a block scalar is empty, its line is new.
        if clear.len() > 1 && clear.iter().all(|piece| piece.trim().is_empty()) {
            continue;
        }
        if let Some(after) = after_line(rest, &clear) {
            rest = after;
            continue;
        }
        // A block header without its `!!binary` is followed by the ciphertext.
        let is_canonical = canonical.lines().any(|other| {
            other == line || (clear.len() == 1 && other.strip_suffix('-') == Some(line))
        });
        ensure!(
            is_canonical || after_line(canonical, &clear).is_some_and(|_| clear.len() > 1),
            "encrypted: a line that is not in the source: {line:?}"
        );
    }
    Ok(())
}

/// Takes a line apart into what stands around its ciphertexts, without the quotes that they got.
fn clear_pieces(line: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("ENC[AES256_GCM,") {
        pieces.push(before.trim_end_matches(['"', '\'']));
        // In flow style the last character may be an escape.
        rest = after
            .split_once("type:")
            .and_then(|(_, after)| after.split_once(']').or_else(|| after.split_once("\\x5D")))
            .map_or("", |(_, after)| after.trim_start_matches(['"', '\'']));
    }
    pieces.push(rest);
    pieces
}

/// Returns what comes after the first line of `text` that is the only piece, or that starts with the first one, the others following.
fn after_line<'a>(text: &'a str, pieces: &[&str]) -> Option<&'a str> {
    let (first, others) = pieces.split_first()?;
    let mut rest = text;
    while !rest.is_empty() {
        let (line, after) = rest.split_once('\n').unwrap_or((rest, ""));
        let line = line.strip_suffix('\r').unwrap_or(line);
        if others.is_empty() && line == *first {
            return Some(after);
        }
        if !others.is_empty() && line.starts_with(first) {
            let mut at = &rest[first.len()..];
            for piece in others {
                at = &at[at.find(piece)? + piece.len()..];
            }
            return Some(at.split_once('\n').map_or("", |(_, after)| after));
        }
        rest = after;
    }
    None
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
