//! The operations on every format: the same values, the untouched lines as they were.

use crate::clear_key::ClearKey;
use crate::decrypt::DecryptOptions;
use crate::edit::{EditOptions, Edited, OpenFile};
use crate::encrypt::{EncryptPlan, Encryption, encrypt};
use crate::format::Format;
use crate::key_spec::KeySpec;
use crate::keys::MasterKey;
use crate::rekey::{self, DataKeyChange, KeyTarget};
use crate::selection::Selection;
use crate::set::{NewValue, SetOptions};
use crate::{WrapError, binary};

const A: ClearKey = ClearKey("age1a");
const B: ClearKey = ClearKey("age1b");

const JSON: &str = "{\n  \"a\": \"one\",\n  \"n\": 5,\n  \"f\": 1.50,\n  \"l\": [\"x\", \"x\", {\"k\": true}],\n  \
                    \"o_unencrypted\": {}\n}\n";
const DOTENV: &str = "# note\nA=one\n\nB=two words\nC_unencrypted=clear\nD=x\\ny\n";
const INI: &str = "; top\n[one]\na = 1\nlong_name = \"two\" ; why\n\n[two]\nb=3\n";

const TEXTS: &[(Format, &str)] = &[
    (Format::Json, JSON),
    (Format::Dotenv, DOTENV),
    (Format::Ini, INI),
    (Format::Binary, "any\nbytes"),
];

fn time(second: i64) -> jiff::Timestamp {
    jiff::Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn make(spec: &KeySpec) -> Result<Box<dyn MasterKey>, WrapError> {
    Ok(Box::new(if *spec == A.spec() { A } else { B }))
}

fn encrypted(format: Format, plain: &str) -> String {
    let plan = EncryptPlan {
        groups: vec![vec![&A]],
        threshold: None,
        selection: Selection::default(),
        mac_only_encrypted: false,
        whole_mac: false,
        now: time(0),
    };
    match encrypt(plain, format, &plan).unwrap() {
        Encryption::Encrypted(encrypted) => encrypted.text,
        other => panic!("{other:?}"),
    }
}

fn open(source: &str, format: Format, key: &ClearKey) -> OpenFile<'static> {
    let source = Box::leak(source.to_owned().into_boxed_str());
    OpenFile::open(source, format, key, &DecryptOptions::default())
        .unwrap_or_else(|error| panic!("{format}: {error}\n{source}"))
}

/// The lines of `before` that `after` has not, without what follows the first ciphertext.
fn lost(before: &str, after: &str) -> Vec<String> {
    let mut rest: Vec<&str> = after.lines().collect();
    let mut lost = Vec::new();
    for line in before.lines() {
        match rest.iter().position(|other| *other == line) {
            Some(at) => drop(rest.remove(at)),
            None => lost.push(line.split("ENC[").next().unwrap().trim().to_owned()),
        }
    }
    lost
}

#[test]
fn an_edit_changes_its_own_line() {
    let options = EditOptions {
        now: time(60),
        raise_version: false,
    };
    for (format, plain, old, new, line) in [
        (Format::Json, JSON, "\"one\"", "\"two\"", "\"a\": \""),
        (Format::Json, JSON, "\"f\": 1.50", "\"f\": 1.5", "\"f\": \""),
        (Format::Dotenv, DOTENV, "A=one", "A=1", "A="),
        (Format::Dotenv, DOTENV, "# note", "# other", "#"),
        (Format::Ini, INI, "b=3", "b=4", "b="),
    ] {
        let before = encrypted(format, plain);
        let changed = plain.replace(old, new);
        let opened = open(&before, format, &A);
        assert_eq!(opened.plain(), plain.as_bytes(), "{format}");
        let Ok(Edited::Changed(after)) = opened.edited(changed.as_bytes(), &options) else {
            panic!("{format}");
        };
        assert_eq!(
            open(&after, format, &A).plain(),
            changed.as_bytes(),
            "{format}"
        );
        let lost = lost(&before, &after);
        assert_eq!(lost.len(), 3, "{format} {lost:?}\n{before}\n{after}");
        assert!(lost.contains(&line.to_owned()), "{format} {lost:?}");
        let same = opened.edited(plain.as_bytes(), &options).unwrap();
        assert!(matches!(same, Edited::Unchanged));
    }
}

#[test]
fn bytes_that_are_no_text_are_edited_too() {
    let plan = EncryptPlan {
        groups: vec![vec![&A]],
        threshold: None,
        selection: Selection::default(),
        mac_only_encrypted: false,
        whole_mac: false,
        now: time(0),
    };
    let Ok(Encryption::Encrypted(before)) = binary::encrypt_binary(b"\xff\0\n", &plan) else {
        panic!();
    };
    let opened = open(&before.text, Format::Binary, &A);
    assert_eq!(opened.plain(), b"\xff\0\n");
    let options = EditOptions {
        now: time(60),
        raise_version: true,
    };
    for bytes in [&b"\xfe"[..], b"", b"text"] {
        let Ok(Edited::Changed(after)) = opened.edited(bytes, &options) else {
            panic!();
        };
        assert_eq!(open(&after, Format::Binary, &A).plain(), bytes);
    }
    let rotated = opened.rotated(&[B.spec()], &[], &make, time(60)).unwrap();
    assert_eq!(open(&rotated.text, Format::Binary, &B).plain(), b"\xff\0\n");
    let set = opened.set(
        &"[\"data\"]".parse().unwrap(),
        &NewValue::text("x"),
        &set_options(),
    );
    assert!(set.unwrap_err().to_string().contains("binary file"));
}

fn set_options() -> SetOptions {
    SetOptions {
        now: time(60),
        document: 0,
        idempotent: false,
        count_comments: false,
        refuse_clear: false,
    }
}

#[test]
fn values_are_set_and_taken_out() {
    for (format, plain, path, value, expected) in [
        (Format::Json, JSON, "[\"n\"]", "6", JSON.replace("5,", "6,")),
        (
            Format::Json,
            JSON,
            "[\"l\"][0]",
            "\"y\"",
            JSON.replacen("\"x\"", "\"y\"", 1),
        ),
        (
            Format::Dotenv,
            DOTENV,
            "[\"A\"]",
            "\"1\"",
            DOTENV.replace("=one", "=1"),
        ),
        (
            Format::Dotenv,
            DOTENV,
            "[\"E\"]",
            "\"e\"",
            format!("{DOTENV}E=e\n"),
        ),
        (
            Format::Ini,
            INI,
            "[\"two\"][\"b\"]",
            "\"4\"",
            INI.replace("b=3", "b=4"),
        ),
    ] {
        let before = encrypted(format, plain);
        let value: NewValue = value.parse().unwrap();
        let set = open(&before, format, &A).set(&path.parse().unwrap(), &value, &set_options());
        let Edited::Changed(after) = set.unwrap() else {
            panic!("{format}");
        };
        let found = open(&after, format, &A);
        assert_eq!(
            String::from_utf8_lossy(found.plain()),
            expected,
            "{format} {path}"
        );
    }
    for (format, plain, path, gone) in [
        (Format::Json, JSON, "[\"n\"]", "  \"n\": 5,\n"),
        (Format::Json, JSON, "[\"l\"][1]", ", \"x\""),
        (Format::Dotenv, DOTENV, "[\"B\"]", "B=two words\n"),
        (Format::Ini, INI, "[\"two\"][\"b\"]", "b=3\n"),
    ] {
        let before = encrypted(format, plain);
        let unset = open(&before, format, &A).unset(&path.parse().unwrap(), &set_options());
        let Edited::Changed(after) = unset.unwrap() else {
            panic!("{format}");
        };
        let found = open(&after, format, &A);
        let expected = plain.replacen(gone, "", 1);
        assert_eq!(
            String::from_utf8_lossy(found.plain()),
            expected,
            "{format} {path}"
        );
    }
    // A dotenv file holds no mapping.
    let before = encrypted(Format::Dotenv, DOTENV);
    let value: NewValue = "{\"a\": 1}".parse().unwrap();
    let set = open(&before, Format::Dotenv, &A);
    let error = set.set(&"[\"A\"]".parse().unwrap(), &value, &set_options());
    assert!(error.unwrap_err().to_string().contains("dotenv"));
}

#[test]
fn keys_come_and_go_in_every_format() {
    for (format, plain) in TEXTS {
        let before = encrypted(*format, plain);
        let opened = open(&before, *format, &A);
        let rotated = opened.rotated(&[B.spec()], &[A.spec()], &make, time(60));
        let rotated = rotated.unwrap_or_else(|error| panic!("{format}: {error}"));
        assert_eq!(
            open(&rotated.text, *format, &B).plain(),
            plain.as_bytes(),
            "{format}"
        );
        assert!(OpenFile::open(&rotated.text, *format, &A, &DecryptOptions::default()).is_err());

        let target = KeyTarget {
            groups: vec![vec![A.spec(), B.spec()]],
            threshold: None,
        };
        let keep = DataKeyChange::RenewIfNarrowed;
        let both = opened
            .with_keys(&target, keep, &make, time(60))
            .unwrap()
            .unwrap();
        assert_eq!(
            open(&both.text, *format, &B).plain(),
            plain.as_bytes(),
            "{format}"
        );
        assert!(
            rekey::key_changes(&both.text, *format, &target)
                .unwrap()
                .is_empty()
        );
        let grouped = opened
            .with_group(&[A.spec()], None, keep, &make, time(60))
            .unwrap();
        let found = open(&grouped.text, *format, &A);
        assert_eq!(found.plain(), plain.as_bytes(), "{format}");
        let single = found
            .without_group(0, Some(1), keep, &make, time(60))
            .unwrap();
        assert_eq!(
            open(&single.text, *format, &A).plain(),
            plain.as_bytes(),
            "{format}"
        );
        assert!(rekey::is_encrypted(&single.text, *format));
    }
}
