//! Single values, put in place and taken out.

use super::*;
use crate::clear_key::ClearKey;
use crate::decrypt::DecryptOptions;
use crate::encrypt::{EncryptPlan, Encryption, encrypt};
use crate::format::Format;
use crate::selection::{Selection, SelectionSettings};

const KEY: ClearKey = ClearKey("age1clear");

fn encrypted(plain: &str, selection: Selection) -> String {
    let plan = EncryptPlan {
        groups: vec![vec![&KEY]],
        threshold: None,
        selection,
        mac_only_encrypted: false,
        whole_mac: false,
        now: jiff::Timestamp::from_second(1_800_000_000).unwrap(),
    };
    match encrypt(plain, Format::Yaml, &plan).unwrap() {
        Encryption::Encrypted(encrypted) => encrypted.text,
        other => panic!("{other:?}"),
    }
}

fn options() -> SetOptions {
    SetOptions {
        now: jiff::Timestamp::from_second(1_800_000_060).unwrap(),
        document: 0,
        idempotent: false,
        count_comments: false,
        refuse_clear: false,
    }
}

fn open(source: &str) -> OpenFile<'_> {
    OpenFile::open(source, Format::Yaml, &KEY, &DecryptOptions::default()).unwrap()
}

fn path(text: &str) -> ExtractPath {
    text.parse().unwrap()
}

fn plain_of(edited: Edited) -> Option<String> {
    match edited {
        Edited::Changed(text) => Some(open(&text).plain_text().unwrap().to_owned()),
        Edited::Unchanged => None,
    }
}

/// Sets a value in a file of which everything is encrypted, and returns what it decrypts to.
fn set(plain: &str, at: &str, value: &str, options: &SetOptions) -> Result<Option<String>, String> {
    let source = encrypted(plain, Selection::default());
    let value = value.parse().map_err(|e: NewValueError| e.to_string())?;
    let edited = open(&source).set(&path(at), &value, options);
    edited.map(plain_of).map_err(|error| error.to_string())
}

fn unset(plain: &str, at: &str, options: &SetOptions) -> Result<Option<String>, String> {
    let source = encrypted(plain, Selection::default());
    let edited = open(&source).unset(&path(at), options);
    edited.map(plain_of).map_err(|error| error.to_string())
}

const PLAIN: &str = "\
a: one # note
b:
    # above
    c: 5
    d: [x, y]
list:
    # first
    - x
    # second
    - y: 1
# last
";

#[test]
fn what_is_set_reads_back_and_the_rest_stays() {
    for (at, value, old, new) in [
        (r#"["a"]"#, r#""two""#, "a: one", "a: two"),
        (r#"["a"]"#, "43", "a: one", "a: 43"),
        (r#"["a"]"#, "-1.5", "a: one", "a: -1.5"),
        (r#"["a"]"#, "true", "a: one", "a: true"),
        (r#"["a"]"#, "null", "a: one", "a: null"),
        (r#"["a"]"#, r#""yes""#, "a: one", "a: \"yes\""),
        (r#"["b"]["c"]"#, "6", "c: 5", "c: 6"),
        (r#"["b"]["d"][1]"#, r#""z""#, "[x, y]", "[x, z]"),
        (r#"["b"]["d"][7]"#, "1", "[x, y]", "[x, y, 1]"),
        (r#"["list"][0]"#, r#""z""#, "- x\n", "- z\n"),
        (r#"["list"][1]["y"]"#, "2", "y: 1", "y: 2"),
        (r#"["list"][1]["m"]"#, "2", "y: 1\n", "y: 1\n      m: 2\n"),
        (r#"["list"][9]"#, "3", "- y: 1\n", "- y: 1\n    - 3\n"),
        (
            r#"["b"]["new"]["x"][5]"#,
            "1",
            "[x, y]\n",
            "[x, y]\n    new:\n        x:\n            - 1\n",
        ),
        (r#"["b"]["c"]["in"]"#, "1", "c: 5\n", "c:\n        in: 1\n"),
        (
            r#"["b"]["c"]"#,
            "[1, {\"k\": \"v\"}]",
            "c: 5\n",
            "c:\n        - 1\n        - k: v\n",
        ),
    ] {
        let result = set(PLAIN, at, value, &options());
        assert_eq!(
            result.unwrap().unwrap(),
            PLAIN.replace(old, new),
            "{at} {value}"
        );
    }
    let added = set(PLAIN, r#"["new"]"#, r#"{"k": 1, "a": [true]}"#, &options());
    let added = added.unwrap().unwrap();
    assert!(
        added.contains("new:\n    k: 1\n    a:\n        - true\n"),
        "{added}"
    );
}

#[test]
fn numbers_are_what_they_look_like_or_as_sops_has_them() {
    let source = encrypted(PLAIN, Selection::default());
    for (as_sops, kind) in [(false, "int"), (true, "float")] {
        let value = NewValue::parse("43", JsonOptions { as_sops }).unwrap();
        let Ok(Edited::Changed(text)) = open(&source).set(&path(r#"["a"]"#), &value, &options())
        else {
            panic!();
        };
        assert!(
            text.lines()
                .next()
                .unwrap()
                .contains(&format!("type:{kind}]")),
            "{text}"
        );
    }
    let as_sops = JsonOptions { as_sops: true };
    assert!(NewValue::parse("[1]", as_sops).is_err());
    assert!(NewValue::parse(r#"{"a": [1]}"#, as_sops).is_ok());
    for odd in ["", "one", "{", "1 2", "1}"] {
        assert!(odd.parse::<NewValue>().is_err(), "{odd}");
    }
    assert_eq!(
        format!("{:?}", NewValue::text("secret")),
        "NewValue(redacted)"
    );
}

#[test]
fn the_rule_leaves_clear_what_it_does_not_name() {
    let settings = SelectionSettings {
        encrypted_regex: Some("^data$".to_owned()),
        ..SelectionSettings::default()
    };
    let rule = settings.compile().unwrap().unwrap();
    let source = encrypted("kind: X\ndata:\n  a: b\n", rule);
    let set = |at: &str, value: &str| {
        let value = NewValue::text(value);
        match open(&source).set(&path(at), &value, &options()) {
            Ok(Edited::Changed(text)) => text,
            other => panic!("{other:?}"),
        }
    };
    assert!(set(r#"["kind"]"#, "Z").contains("kind: Z\n"));
    let hidden = set(r#"["data"]["b"]"#, "hidden-value");
    assert!(
        !hidden.contains("hidden-value") && hidden.contains("\n  b: ENC["),
        "{hidden}"
    );
}

#[test]
fn the_same_value_is_written_again_unless_idempotent() {
    let same = SetOptions {
        idempotent: true,
        ..options()
    };
    assert_eq!(set(PLAIN, r#"["b"]["c"]"#, "5", &same), Ok(None));
    assert_eq!(
        set(PLAIN, r#"["b"]["c"]"#, "5", &options()),
        Ok(Some(PLAIN.to_owned()))
    );
    // Another type is another value.
    assert_eq!(
        set(PLAIN, r#"["b"]["c"]"#, r#""5""#, &same)
            .unwrap()
            .unwrap(),
        PLAIN.replace("c: 5", "c: \"5\"")
    );
    assert_eq!(unset(PLAIN, r#"["none"]"#, &same), Ok(None));
    assert_eq!(unset(PLAIN, r#"["list"][5]"#, &same), Ok(None));
}

#[test]
fn what_is_unset_goes_with_its_line() {
    for (at, old, new) in [
        (r#"["a"]"#, "a: one # note\n", ""),
        (r#"["b"]["d"]"#, "    d: [x, y]\n", ""),
        (r#"["b"]["d"][0]"#, "[x, y]", "[y]"),
        (r#"["list"][1]["y"]"#, "- y: 1\n", "- {}\n"),
    ] {
        let result = unset(PLAIN, at, &options());
        assert_eq!(result.unwrap().unwrap(), PLAIN.replace(old, new), "{at}");
    }
    for (at, part) in [
        (
            r#"["none"]"#,
            "Key not found: the document has no key `none`",
        ),
        (r#"["b"]["none"]"#, "b has no key `none`"),
        (
            r#"["list"][2]"#,
            "Index 2 out of bounds: list has 2 elements",
        ),
        (r#"["a"]["x"]"#, "a is a single value, which has no keys"),
        (r#"["b"][0]"#, "b is a mapping, which has no positions"),
        (r#"["list"]["x"]"#, "list is a list, which has no keys"),
        ("", "the path is empty"),
    ] {
        let error = unset(PLAIN, at, &options()).unwrap_err();
        assert!(error.contains(part), "{at}: {error}");
    }
}

#[test]
fn positions_count_comments_where_sops_does() {
    let counted = SetOptions {
        count_comments: true,
        ..options()
    };
    let set = |index: usize| set(PLAIN, &format!(r#"["list"][{index}]"#), "7", &counted);
    assert_eq!(set(1).unwrap().unwrap(), PLAIN.replace("- x", "- 7"));
    assert!(
        set(0)
            .unwrap_err()
            .contains("position 0 of list is a comment")
    );
    assert_eq!(set(3).unwrap().unwrap(), PLAIN.replace("- y: 1", "- 7"));
    assert_eq!(
        set(4).unwrap().unwrap(),
        PLAIN.replace("- y: 1", "- y: 1\n    - 7")
    );
}

#[test]
fn documents_and_aliases() {
    let second = SetOptions {
        document: 1,
        ..options()
    };
    assert_eq!(
        set("a: 1\n---\na: 2\n", r#"["a"]"#, "3", &second),
        Ok(Some("a: 1\n---\na: 3\n".to_owned()))
    );
    let none = SetOptions {
        document: 2,
        ..options()
    };
    let error = set("a: 1\n---\na: 2\n", r#"["a"]"#, "3", &none).unwrap_err();
    assert!(error.contains("no document 2: it has 2"), "{error}");
    // The copy that the alias stands for gets the value, the anchor keeps its own.
    let rule = Selection::default();
    let source = encrypted("a_unencrypted: &x {k: 1}\nb_unencrypted: *x\nc: s\n", rule);
    let edited = open(&source).set(
        &path(r#"["b_unencrypted"]["k"]"#),
        &"2".parse().unwrap(),
        &options(),
    );
    let plain = plain_of(edited.unwrap()).unwrap();
    assert!(
        plain.starts_with("a_unencrypted: &x {k: 1}\nb_unencrypted:"),
        "{plain}"
    );
    assert!(plain.contains("k: 2"), "{plain}");
    let error = set(PLAIN, r#"["sops"]"#, "1", &options()).unwrap_err();
    assert!(error.contains("reserved for metadata"), "{error}");
}
