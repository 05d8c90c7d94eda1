//! Weak points and bugs of the original (sops-cli.md 2, sops-format.md 22 and 24) that no other suite
//! shows absent, each beside the real sops; and the tables that name a test for every one of them.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use compat::program::Finished;
use compat::repository::Repository;
use compat::sops_file::{By, RECIPIENT};

const OTHER: &str = include_str!("../../keys-example/age.pub");
const OTHER_IDENTITY: &str = include_str!("../../keys-example/age.txt");

/// The tables, and how many rows each has at least.
const TABLES: [(&str, usize); 2] = [("docs/threat-model.md", 16), ("docs/sops-traps.md", 35)];

/// Every row of the tables ends with what shows it: `FILE#TEST`, `FILE#CASE` of a transcript, a file of
/// the corpus, or `FILE#HEADING` of a page.
#[test]
fn the_tables_name_tests_that_exist() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for (table, least) in TABLES {
        let text = fs::read_to_string(root.join(table))?;
        let (mut shown, mut rows) = (false, 0);
        for line in text.lines() {
            // The last column of a table that counts is called so.
            shown = line.starts_with('|') && (shown || line.ends_with("| shown by |"));
            let is_head = line.ends_with("| shown by |") || line.starts_with("| ---");
            if !shown || is_head {
                continue;
            }
            rows += 1;
            let last = line.trim_matches(['|', ' ']).rsplit(" | ").next();
            let names = last.unwrap_or_default().split('`').skip(1).step_by(2);
            let names: Vec<&str> = names.collect();
            ensure!(!names.is_empty(), "{table}: no test in {line}");
            for name in names {
                ensure!(exists(&root, name)?, "{table}: there is no {name}");
            }
        }
        ensure!(rows >= least, "{table}: {rows} rows");
    }
    Ok(())
}

fn exists(root: &Path, name: &str) -> Result<bool> {
    let (file, part) = name.split_once('#').unwrap_or((name, ""));
    let path = root.join(file);
    if !path.is_file() {
        return Ok(false);
    }
    let text = fs::read_to_string(path)?;
    Ok(
        match Path::new(file).extension().and_then(|kind| kind.to_str()) {
            Some("rs") => {
                let macro_made = text.contains(&format!("    {part}: \""));
                macro_made || is_test(&text, part)
            }
            Some("txt") => text.lines().any(|line| line == format!("== {part}")),
            Some("md") => text
                .lines()
                .any(|line| line.trim_start_matches('#').trim() == part),
            _ => part.is_empty(),
        },
    )
}

fn is_test(text: &str, name: &str) -> bool {
    let function = format!("fn {name}(");
    let lines: Vec<&str> = text.lines().collect();
    let mut at = lines.iter().enumerate();
    at.any(|(at, line)| {
        let above = &lines[at.saturating_sub(4)..at];
        let line = line.trim_start();
        let line = line.strip_prefix("async ").unwrap_or(line);
        line.starts_with(&function) && above.iter().any(|line| line.contains("test]"))
    })
}

/// A folder with one encrypted file, by whomever.
fn with(by: By, name: &str, plain: &str) -> Result<Repository> {
    let here = Repository::ruled("")?;
    here.write(name, plain)?;
    match by {
        By::Selkie => here.selkie(["encrypt", name])?.ok()?,
        by => here.sops(by, ["encrypt", "-i", name])?.ok()?,
    };
    Ok(here)
}

/// Fails in words, without a crash (Go's exit code 2 and its trace).
fn ensure_said(finished: &Finished, word: &str) -> Result<()> {
    let crashed = finished.stderr.contains("goroutine") || finished.stderr.contains("panicked");
    let failed = finished.code.is_some_and(|code| code != 0);
    ensure!(failed && !crashed, "{finished:?}");
    ensure!(
        finished.stderr.contains(word),
        "{word}: {}",
        finished.stderr
    );
    Ok(())
}

#[test]
fn bad_paths_and_positions_are_errors_and_no_crashes() -> Result<()> {
    let here = with(By::Sops3133, "a.yaml", "s: text\nl: [x]\n")?;
    let before = here.read("a.yaml")?;
    let cases: &[(&[&str], &str, bool)] = &[
        (
            &["decrypt", "--extract", "[\"s\"][\"x\"]", "a.yaml"],
            "single value",
            true,
        ),
        (
            &["decrypt", "--extract", "[\"l\"][-1]", "a.yaml"],
            "position",
            true,
        ),
        (&["set", "a.yaml", "[\"l\"][-1]", "\"x\""], "", true),
        (&["set", "a.yaml", "", "\"x\""], "", false),
        (&["unset", "a.yaml", ""], "", false),
        (
            &["groups", "delete", "-i", "-f", "a.yaml", "7"],
            "group",
            true,
        ),
    ];
    for (arguments, word, crashes) in cases {
        let theirs = here.sops(By::Sops3133, [])?.args(*arguments).run()?;
        ensure!(
            !crashes || theirs.code == Some(2),
            "{arguments:?}: {theirs:?}"
        );
        here.write("a.yaml", &before)?;
        let ours = here.under_its_name([])?.args(*arguments).run()?;
        ensure_said(&ours, word).with_context(|| format!("{arguments:?}"))?;
        ensure!(here.read("a.yaml")? == before, "{arguments:?}");
    }
    Ok(())
}

#[test]
fn a_cycle_or_bomb_of_aliases_in_a_later_document_ends_soon() -> Result<()> {
    let bomb: String = (1..30)
        .map(|n| format!("b{n}: &b{n} [{0}, {0}, {0}, {0}]\n", format!("*b{}", n - 1)))
        .collect();
    for second in ["x: &a {y: *a}\n".to_owned(), format!("b0: &b0 [x]\n{bomb}")] {
        let here = Repository::ruled("")?;
        here.write("a.yaml", format!("a: b\n---\n{second}"))?;
        let before = here.read("a.yaml")?;
        for program in [
            here.selkie(["encrypt", "a.yaml"])?,
            here.under_its_name(["encrypt", "-i", "a.yaml"])?,
        ] {
            ensure_said(&program.run()?, "alias")?;
        }
        ensure!(here.read("a.yaml")? == before);
    }
    Ok(())
}

#[test]
fn a_text_of_lines_with_leading_space_in_a_list_stays_a_text() -> Result<()> {
    let plain = "list:\n  - key: \" a\\nb\"\n    other: 1\n";
    // The original writes what no reader of YAML takes.
    let here = with(By::Sops3133, "a.yaml", plain)?;
    let theirs = here.sops(By::Sops3133, ["decrypt", "a.yaml"])?.ok()?.text();
    here.write("theirs.yaml", &theirs)?;
    let again = here.selkie(["encrypt", "theirs.yaml"])?.run()?;
    ensure!(again.code == Some(2), "the original wrote YAML: {theirs}");
    let path = "[\"list\"][0][\"key\"]";
    for by in [By::Sops3133, By::Selkie] {
        let here = with(by, "a.yaml", plain)?;
        for program in [
            here.selkie(["decrypt", "a.yaml"])?,
            here.under_its_name(["decrypt", "a.yaml"])?,
        ] {
            here.write("b.yaml", program.ok()?.stdout)?;
            here.selkie(["encrypt", "b.yaml"])?.ok()?;
            let value = here
                .selkie(["decrypt", "--extract", path, "b.yaml"])?
                .ok()?;
            ensure!(value.text() == " a\nb", "{by:?}: {value:?}");
        }
    }
    Ok(())
}

#[test]
fn equal_values_of_a_list_stay_apart_after_a_change() -> Result<()> {
    let plain = "list: [same, same]\nother: x\n";
    let twins = |here: &Repository| -> Result<bool> {
        let text = here.read("a.yaml")?;
        let mut tokens: Vec<&str> = text.split("ENC[").skip(1).take(2).collect();
        tokens
            .iter_mut()
            .for_each(|token| *token = token.split(']').next().unwrap_or(""));
        ensure!(tokens.len() == 2, "{text}");
        Ok(tokens[0] == tokens[1])
    };
    let here = with(By::Sops3133, "a.yaml", plain)?;
    ensure!(!twins(&here)?);
    let before = here.read("a.yaml")?;
    here.sops(By::Sops3133, ["set", "a.yaml", "[\"other\"]", "\"y\""])?
        .ok()?;
    ensure!(twins(&here)?, "the original keeps them apart");
    for named in [true, false] {
        here.write("a.yaml", &before)?;
        match named {
            true => here
                .under_its_name(["set", "a.yaml", "[\"other\"]", "\"y\""])?
                .ok()?,
            false => here
                .selkie(["set", "a.yaml", "[\"other\"]"])?
                .input("y")
                .ok()?,
        };
        ensure!(!twins(&here)?, "{}", here.read("a.yaml")?);
    }
    Ok(())
}

/// The old reader keeps a copy of the file from when he could read it, and meets the new one.
#[test]
fn what_a_removed_reader_kept_does_not_open_what_came_later() -> Result<()> {
    let both = format!("creation_rules:\n  - age: {RECIPIENT},{}\n", OTHER.trim());
    for (original, opens) in [(true, true), (false, false)] {
        let here = Repository::new(&both)?;
        here.write("a.yaml", "pass: old\n")?;
        here.sops(By::Sops3133, ["encrypt", "-i", "a.yaml"])?.ok()?;
        let kept = here.read("a.yaml")?;
        here.write(
            ".sops.yaml",
            format!("creation_rules:\n  - age: {RECIPIENT}\n"),
        )?;
        match original {
            true => here
                .sops(By::Sops3133, ["updatekeys", "-y", "a.yaml"])?
                .ok()?,
            false => here.selkie(["updatekeys", "a.yaml"])?.ok()?,
        };
        here.under_its_name(["set", "a.yaml", "[\"pass\"]", "\"later\""])?
            .ok()?;
        let later = here.read("a.yaml")?;
        let block = |text: &str| text.find("    age:").zip(text.find("    lastmodified:"));
        let (from, to) = block(&kept).context("no list")?;
        let (start, end) = block(&later).context("no list")?;
        let stolen = format!("{}{}{}", &later[..start], &kept[from..to], &later[end..]);
        here.write("a.yaml", stolen)?;
        let read = here
            .selkie(["decrypt", "a.yaml"])?
            .env("SOPS_AGE_KEY", OTHER_IDENTITY)
            .run()?;
        ensure!(
            (read.code == Some(0)) == opens,
            "original {original}: {read:?}"
        );
        ensure!(read.text().contains("later") == opens, "{read:?}");
    }
    Ok(())
}

#[test]
fn a_rule_that_protects_nothing_writes_nothing_in_clear() -> Result<()> {
    for (rule, said) in [
        ("    encrypted_regex: '('\n", "encrypted_regex"),
        ("    encrypted_regexp: ^data$\n", "encrypted_regexp"),
        ("    encrypted_regex: ^date$\n", "matches nothing"),
    ] {
        let here = Repository::ruled(rule)?;
        here.write("a.yaml", "data: s3cret\n")?;
        let theirs = here.sops(By::Sops3133, ["encrypt", "a.yaml"])?.run()?;
        let clear = theirs.text().contains("data: s3cret");
        ensure!(
            theirs.code == Some(0) && (clear || rule.contains("regexp")),
            "{theirs:?}"
        );
        let ours = here.selkie(["encrypt", "a.yaml"])?.run()?;
        ensure_said(&ours, said)?;
        ensure!(here.read("a.yaml")? == "data: s3cret\n", "{rule}");
    }
    Ok(())
}

#[test]
fn whoever_encrypts_for_others_alone_is_told() -> Result<()> {
    let here = Repository::new(&format!("creation_rules:\n  - age: {}\n", OTHER.trim()))?;
    let said = "none of your age identities opens";
    here.write("a.yaml", "data: s3cret\n")?;
    let done = here.selkie(["encrypt", "a.yaml"])?.ok()?;
    ensure!(done.stderr.contains(said), "{done:?}");
    here.write("b.yaml", "data: s3cret\n")?;
    let done = here
        .selkie(["encrypt", "--age", RECIPIENT, "b.yaml"])?
        .ok()?;
    ensure!(!done.stderr.contains(said), "{done:?}");
    // Who has no identity at all, as a pipeline, knows.
    here.write("c.yaml", "data: s3cret\n")?;
    let done = here
        .selkie(["encrypt", "c.yaml"])?
        .env("SOPS_AGE_KEY", "")
        .ok()?;
    ensure!(!done.stderr.contains(said), "{done:?}");
    Ok(())
}

#[test]
fn comments_of_lists_and_behind_values_stay_where_they_are() -> Result<()> {
    let plain = "a: one # behind\nlist:\n  # above\n  - k: v # first entry\n    l: w\n  - x # item\n  #\n  - y\n";
    let here = with(By::Selkie, "a.yaml", plain)?;
    ensure!(!here.read("a.yaml")?.contains("above"));
    ensure!(here.selkie(["decrypt", "a.yaml"])?.ok()?.text() == plain);
    here.selkie(["set", "a.yaml", "[\"a\"]"])?
        .input("two")
        .ok()?;
    let changed = here.selkie(["decrypt", "a.yaml"])?.ok()?.text();
    ensure!(changed == plain.replace("one", "two"), "{changed}");
    // The values are those that sops reads.
    let theirs = here
        .sops(
            By::Sops3133,
            ["decrypt", "--extract", "[\"list\"][1]", "a.yaml"],
        )?
        .run()?;
    ensure!(theirs.code == Some(0), "{theirs:?}");
    Ok(())
}

#[test]
fn an_encrypted_binary_file_is_not_encrypted_again() -> Result<()> {
    let here = with(By::Sops3133, "a.bin", "any\nbytes")?;
    let before = here.read("a.bin")?;
    let twice = here.sops(By::Sops3133, ["encrypt", "a.bin"])?.ok()?.text();
    ensure!(twice != before && twice.contains("\"data\""));
    let ours = here.selkie(["encrypt", "a.bin"])?.ok()?;
    ensure!(
        ours.stderr.contains("already encrypted") && here.read("a.bin")? == before,
        "{ours:?}"
    );
    Ok(())
}

#[test]
fn the_older_sops_reads_post_quantum_files_of_ours() -> Result<()> {
    let recipient = include_str!("../../keys-example/age-pq.pub").trim();
    let identity = include_str!("../../keys-example/age-pq.txt");
    let here = Repository::new("")?;
    here.write("a.yaml", "a: b\n")?;
    here.selkie(["encrypt", "--age", recipient, "a.yaml"])?
        .ok()?;
    for by in By::SOPS {
        let opened = here
            .sops(by, ["decrypt", "a.yaml"])?
            .env("SOPS_AGE_KEY", identity)
            .ok()?;
        ensure!(opened.text() == "a: b\n", "{by:?}");
    }
    Ok(())
}

#[test]
fn list_positions_count_items_only_under_our_own_name() -> Result<()> {
    let here = with(
        By::Sops3133,
        "a.yaml",
        "list:\n  # first\n  - one\n  - two\n",
    )?;
    let at = |n: usize| format!("[\"list\"][{n}]");
    let theirs = here
        .sops(By::Sops3133, ["decrypt", "--extract", &at(1), "a.yaml"])?
        .ok()?;
    let ours = here
        .selkie(["decrypt", "--extract", &at(1), "a.yaml"])?
        .ok()?;
    ensure!(theirs.text() == "one", "{theirs:?}");
    ensure!(ours.text() == "two", "{ours:?}");
    Ok(())
}
