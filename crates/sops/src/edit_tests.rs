//! Files that are changed and written again.

use super::*;
use crate::clear_key::ClearKey;
use crate::encrypt::Encryption;
use crate::selection::SelectionSettings;

const KEY: ClearKey = ClearKey("age1clear");

fn at(second: i64) -> jiff::Timestamp {
    jiff::Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn encrypted(plain: &str, settings: &SelectionSettings) -> String {
    let plan = EncryptPlan {
        groups: vec![vec![&KEY]],
        threshold: None,
        selection: settings.compile().unwrap().unwrap_or_default(),
        mac_only_encrypted: false,
        whole_mac: false,
        now: at(0),
    };
    match encrypt::encrypt(plain, Format::Yaml, &plan).unwrap() {
        Encryption::Encrypted(encrypted) => encrypted.text,
        other => panic!("{other:?}"),
    }
}

fn open(source: &str) -> OpenFile<'_> {
    OpenFile::open(source, Format::Yaml, &KEY, &DecryptOptions::default()).unwrap()
}

fn edit(source: &str, plain: &str) -> String {
    let options = EditOptions {
        now: at(60),
        raise_version: false,
    };
    match open(source).edited(plain.as_bytes(), &options).unwrap() {
        Edited::Changed(text) => text,
        Edited::Unchanged => panic!("unchanged"),
    }
}

/// The lines that are in one text and not in the other, the first's with `-`.
fn difference(before: &str, after: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut rest: Vec<&str> = after.lines().collect();
    for line in before.lines() {
        match rest.iter().position(|other| *other == line) {
            Some(at) => {
                rest.remove(at);
            }
            None => lines.push(format!("-{line}")),
        }
    }
    lines.extend(rest.iter().map(|line| format!("+{line}")));
    lines
}

/// What stands before the first colon of each line of a difference.
fn names(before: &str, after: &str) -> Vec<String> {
    let lines = difference(before, after);
    let name = |line: &String| {
        line.split(':')
            .next()
            .unwrap_or_default()
            .trim_end()
            .to_owned()
    };
    lines.iter().map(name).collect()
}

const PLAIN: &str = "\
# top
a: one
n: 1.50
yes: no   # inline
list:
    - same
    # in the list
    - same
    - 5
    - \"5\"
deep: {x: [1, 2], 'y': text}
text: |
    first
      second

z_unencrypted: clear
---
b: one
";

#[test]
fn what_is_not_touched_keeps_every_byte() {
    let before = encrypted(PLAIN, &SelectionSettings::default());
    let after = edit(&before, &PLAIN.replace("a: one", "a: two"));
    assert_eq!(
        names(&before, &after),
        [
            "-a",
            "-    lastmodified",
            "-    mac",
            "-    lastmodified",
            "-    mac",
            "+a",
            "+    lastmodified",
            "+    mac",
            "+    lastmodified",
            "+    mac"
        ]
    );
    assert_eq!(
        open(&after).plain_text().unwrap(),
        PLAIN.replace("a: one", "a: two")
    );
}

#[test]
fn an_element_in_front_leaves_the_others_their_ciphertexts() {
    let before = encrypted(PLAIN, &SelectionSettings::default());
    let plain = PLAIN.replace("list:\n", "list:\n    - new\n");
    let after = edit(&before, &plain);
    let changed = names(&before, &after);
    assert_eq!(
        changed
            .iter()
            .filter(|line| *line == "+    - ENC[AES256_GCM,data")
            .count(),
        1
    );
    assert!(
        !changed.contains(&"-    - ENC[AES256_GCM,data".to_owned()),
        "{changed:?}"
    );
    assert_eq!(open(&after).plain_text().unwrap(), plain);
    // The equal elements still do not show that they are equal.
    let tokens: Vec<&str> = after
        .lines()
        .filter(|line| line.starts_with("    - ENC"))
        .collect();
    let all: std::collections::HashSet<&&str> = tokens.iter().collect();
    assert_eq!((tokens.len(), all.len()), (4, 4));
}

#[test]
fn a_value_that_moves_within_its_path_keeps_its_ciphertext() {
    let before = encrypted(
        "m:\n  a: 1\n  b: x # note\n  c: y\n",
        &SelectionSettings::default(),
    );
    let after = edit(&before, "m:\n  c: y\n  b: x # note\n  a: 1\n");
    let mut moved: Vec<String> = difference(&before, &after);
    moved.retain(|line| !line.contains("mac: ") && !line.contains("lastmodified: "));
    assert_eq!(moved, Vec::<String>::new());
    // Under another key it is another value.
    let after = edit(&before, "other:\n  a: 1\n  b: x # note\n  c: y\n");
    assert_eq!(
        open(&after).plain_text().unwrap(),
        "other:\n  a: 1\n  b: x # note\n  c: y\n"
    );
}

#[test]
fn nothing_changed_is_nothing_to_write() {
    let before = encrypted(PLAIN, &SelectionSettings::default());
    let options = EditOptions {
        now: at(1),
        raise_version: true,
    };
    assert!(matches!(
        open(&before).edited(PLAIN.as_bytes(), &options),
        Ok(Edited::Unchanged)
    ));
}

#[test]
fn the_rule_of_the_file_decides_about_what_is_new() {
    let settings = SelectionSettings {
        encrypted_regex: Some("^data$".to_owned()),
        ..SelectionSettings::default()
    };
    let plain = "kind: X\ndata:\n  a: 1\n";
    let before = encrypted(plain, &settings);
    let after = edit(
        &before,
        "kind: X\nmore: clear\ndata:\n  a: 1\n  b: hidden\n",
    );
    assert!(after.contains("\nmore: clear\n"), "{after}");
    assert!(!after.contains("hidden"), "{after}");
    assert!(after.contains("encrypted_regex: ^data$"));
}

#[test]
fn what_cannot_be_encrypted_is_refused() {
    let before = encrypted("a: 1\n", &SelectionSettings::default());
    let options = EditOptions {
        now: at(1),
        raise_version: false,
    };
    let refused = |plain: &str| {
        open(&before)
            .edited(plain.as_bytes(), &options)
            .unwrap_err()
            .to_string()
    };
    assert!(refused("a: 1\nsops: x\n").contains("line 2: the top-level key `sops` is reserved"));
    assert!(refused("a: 1\na: 2\n").contains("line 2: the key is there twice"));
    assert!(refused("- a\n").contains("the document is a list"));
    assert!(refused("a: [\n").starts_with("line "));
    assert!(refused("null\n").contains("the first document is null"));
}

#[test]
fn a_changed_file_is_not_written_again() {
    let before = encrypted("a: 1\nb_unencrypted: 2\n", &SelectionSettings::default());
    let forged = before.replace("b_unencrypted: 2", "b_unencrypted: 3");
    let options = DecryptOptions {
        ignore_mac: true,
        ..DecryptOptions::default()
    };
    assert!(OpenFile::open(&forged, Format::Yaml, &KEY, &DecryptOptions::default()).is_err());
    let opened = OpenFile::open(&forged, Format::Yaml, &KEY, &options).unwrap();
    assert!(opened.plain_text().unwrap().contains("b_unencrypted: 3"));
}

#[test]
fn the_version_is_raised_and_never_lowered() {
    let before = encrypted("a: 1\n", &SelectionSettings::default());
    let old = before.replace("version: '3.13.3'", "version: 3.9.10");
    let options = EditOptions {
        now: at(1),
        raise_version: true,
    };
    for (source, expected) in [
        (&old, "version: 3.13.3\n"),
        (&before, "version: '3.13.3'\n"),
        (&old.replace("3.9.10", "3.99.0"), "version: 3.99.0\n"),
        (&old.replace("3.9.10", "odd"), "version: odd\n"),
    ] {
        let Ok(Edited::Changed(after)) = open(source).edited(b"a: 2\n", &options) else {
            panic!();
        };
        assert!(after.contains(expected), "{after}");
    }
}

#[test]
fn comments_follow_their_container_to_another_name() {
    let plain = "m:\n    # in m\n    a: 1 # and here\n    # last of m\nb: x\n";
    let before = encrypted(plain, &SelectionSettings::default());
    let changed = plain.replace("m:", "renamed:");
    let after = edit(&before, &changed);
    let opened = open(&after);
    assert_eq!(opened.plain_text(), Some(&*changed));
    // Each is under its own path, as sops wants it.
    let plain = opened.plain_text().unwrap();
    let Plain::Text { edits, stash, .. } = &opened.plain else {
        panic!();
    };
    let text = OpenText {
        file: &opened,
        text: plain,
        edits,
        stash,
    };
    assert_eq!(text.strays(&after, &Cipher::new(&opened.key)).unwrap(), 0);
}
