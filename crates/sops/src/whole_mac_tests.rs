//! The whole-file MAC: its bytes, what it notices, and that every operation renews it.

use std::fmt::Write as _;

use super::*;
use crate::clear_key::ClearKey;
use crate::encrypt::{EncryptPlan, Encryption, encrypt};
use crate::key_spec::KeySpec;
use crate::keys::MasterKey;
use crate::rekey::{DataKeyChange, KeyTarget};
use crate::selection::Selection;
use crate::set::{NewValue, SetOptions};
use crate::{
    AddClearError, AddClearOptions, DecryptError, EditOptions, Format, MacError, WrapError,
    add_clear, decrypt,
};

const A: ClearKey = ClearKey("age1a");
const B: ClearKey = ClearKey("age1b");

const YAML: &str = "\
# top
a: one
list: [x, x, {k: 5}]
plain_unencrypted:
  # inside
  image: nginx:1.27 # which
  port: 80
  word: \"yes\"
  empty: {}
  gone: null
---
b: two
";
const JSON: &str =
    "{\n  \"a\": \"one\",\n  \"u_unencrypted\": {\"n\": 1, \"m\": \"1\"},\n  \"e\": {}\n}\n";
const DOTENV: &str = "# note\nA=one\nB_unencrypted=clear\n";
const INI: &str = "; top\n[one]\na = 1\n\n[two]\nb_unencrypted = 3\n";

const TEXTS: [(Format, &str); 5] = [
    (Format::Yaml, YAML),
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

fn plan(whole_mac: bool) -> EncryptPlan<'static> {
    EncryptPlan {
        groups: vec![vec![&A]],
        threshold: None,
        selection: Selection::default(),
        mac_only_encrypted: false,
        whole_mac,
        now: time(0),
    }
}

fn encrypted(format: Format, plain: &str, whole_mac: bool) -> String {
    match encrypt(plain, format, &plan(whole_mac)).unwrap() {
        Encryption::Encrypted(encrypted) => encrypted.text,
        other => panic!("{other:?}"),
    }
}

fn options(ignore_mac: bool, require_whole_mac: bool) -> DecryptOptions {
    DecryptOptions {
        ignore_mac,
        require_whole_mac,
        ..DecryptOptions::default()
    }
}

fn open(source: &str, format: Format) -> OpenFile<'static> {
    let source = Box::leak(source.to_owned().into_boxed_str());
    OpenFile::open(source, format, &A, &options(false, true))
        .unwrap_or_else(|error| panic!("{format}: {error}\n{source}"))
}

fn refused(source: &str, format: Format, options: &DecryptOptions) -> WholeMacError {
    match decrypt(source, format, &A, options) {
        Err(DecryptError::Mac(MacError::Whole(error))) => error,
        Err(other) => panic!("{format}: {other}\n{source}"),
        Ok(_) => panic!("{format}: it opens\n{source}"),
    }
}

/// The bytes that docs/format.md gives, from an implementation in another language.
#[test]
fn the_published_vector() {
    let source = "\
# a note
a: ENC[AES256_GCM,data:oiS/qyc=,iv:ZGVm,tag:s9jM,type:str]
m: {port: 80, word: \"80\", list: [true, null, {}]} # behind
sops:
    age:
        - enc: wrapped
          recipient: age1x
    lastmodified: \"2026-01-02T03:04:05Z\"
    mac: ENC[x]
    mac_only_encrypted: true
    selkie_mac: v1
    shamir_threshold: 2
    version: '3.13.3'
";
    let key = DataKey::from_bytes(&(0..32).collect::<Vec<u8>>()).unwrap();
    let sealed = seal(source.to_owned(), Format::Yaml, &key).unwrap();
    let field = sealed
        .lines()
        .find_map(|line| line.strip_prefix("    selkie_mac: "));
    assert_eq!(field, Some(VECTOR));
    assert_eq!(sealed.replace(VECTOR, "v1"), source);
}

const VECTOR: &str =
    "v1.MKD8l5ByaojSZFKYqkw4GLdmhtE0iibHmGbeuhviaa8.xslNgFjB.k5Y20pzW.9Ca3CSEl.TQbHKWjU";

#[test]
fn files_open_as_before_with_it_and_without() {
    for (format, plain) in TEXTS {
        for whole in [false, true] {
            let text = encrypted(format, plain, whole);
            assert_eq!(text.contains(FIELD), whole, "{format}");
            let opened = decrypt(&text, format, &A, &options(false, false)).unwrap();
            assert_eq!(opened.text.expose(), plain, "{format}");
            if whole {
                decrypt(&text, format, &A, &options(false, true)).unwrap();
                decrypt(&text, format, &A, &options(true, true)).unwrap();
                continue;
            }
            for ignore_mac in [false, true] {
                let error = refused(&text, format, &options(ignore_mac, true));
                assert_eq!(error, WholeMacError::Absent);
            }
        }
    }
}

/// A file that is renamed is read by another program, as something else.
#[test]
fn the_format_is_covered() {
    let others = [
        (Format::Json, Format::Binary, "{\"data\": \"x\"}\n"),
        (Format::Json, Format::Yaml, "{\"data\": \"x\"}\n"),
        (Format::Binary, Format::Json, "x"),
    ];
    for (written, read, plain) in others {
        let with = encrypted(written, plain, true);
        let error = refused(&with, read, &options(false, false));
        assert_eq!(error, WholeMacError::Format { written, read });
        decrypt(&with, read, &A, &options(true, false)).unwrap();
        refused(&with, read, &options(true, true));
        let without = encrypted(written, plain, false);
        decrypt(&without, read, &A, &options(false, false)).unwrap();
    }
}

/// ini.v1 drops what stands behind a closing quote or bracket; another reader may not.
#[test]
fn what_readers_of_ini_pass_over_is_covered() {
    // Behind what is to be encrypted it is refused.
    let plain = "[one] x\n\"\"\"k_unencrypted\"\"\" y = `1` z\nl_unencrypted = \"\"\"2\n3\"\"\" w ; note\n[two]\nm = 4\n";
    let text = encrypted(Format::Ini, plain, true);
    assert_eq!(open(&text, Format::Ini).plain(), plain.as_bytes());
    for (from, to) in [
        ("[one] x", "[one] evil"),
        ("[one] x", "[one]"),
        ("[two]", "[two] x"),
        ("d\"\"\" y =", "d\"\"\" evil ="),
        ("` z", "` evil"),
        ("` z", "`"),
        ("\"\"\" w", "\"\"\" evil"),
    ] {
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text, "{from}");
        let error = refused(&changed, Format::Ini, &options(false, false));
        let expected = WholeMacError::Changed(vec![FilePart::Comments]);
        assert_eq!(error, expected, "{from} -> {to}");
    }
    // Moved from one line to another.
    let moved = text
        .replacen("[one] x", "[one]", 1)
        .replacen("[two]", "[two] x", 1);
    refused(&moved, Format::Ini, &options(false, false));
}

/// What is written, what somebody makes of it, and what the error names. sops's own MAC confirms
/// each of them.
const CHANGES: &[(Format, &str, &str, FilePart)] = &[
    // Keys and structure (weak points 1, 4).
    (Format::Yaml, "  image:", "  imago:", FilePart::Structure),
    (
        Format::Yaml,
        "  empty: {}",
        "  empty: []",
        FilePart::Structure,
    ),
    (Format::Yaml, "  gone: null\n", "", FilePart::Structure),
    (
        Format::Yaml,
        "  gone: null",
        "  gone: \"\"",
        FilePart::Values,
    ),
    (
        Format::Yaml,
        "  gone: null",
        "  gone: {}",
        FilePart::Structure,
    ),
    (
        Format::Yaml,
        "  port: 80\n",
        "  x: {port: 80}\n",
        FilePart::Structure,
    ),
    (Format::Json, "\"n\": 1", "\"o\": 1", FilePart::Structure),
    (
        Format::Json,
        "\"e\": {}",
        "\"e\": null",
        FilePart::Structure,
    ),
    (Format::Dotenv, "B_un", "C_un", FilePart::Structure),
    (Format::Ini, "b_un", "c_un", FilePart::Structure),
    (Format::Ini, "[two]", "[six]", FilePart::Structure),
    // Types (3): of clear values and of ciphertexts.
    (Format::Yaml, "port: 80", "port: \"80\"", FilePart::Values),
    (Format::Yaml, "word: \"yes\"", "word: yes", FilePart::Values),
    (Format::Yaml, "port: 80", "port: !!str 80", FilePart::Values),
    (
        Format::Yaml,
        "image: nginx",
        "image: !x nginx",
        FilePart::Values,
    ),
    (Format::Yaml, "type:int", "type:str", FilePart::Values),
    (Format::Json, "\"m\": \"1\"", "\"m\": 1", FilePart::Values),
    // Comments.
    (
        Format::Yaml,
        "# inside_clear",
        "# other",
        FilePart::Comments,
    ),
    // Metadata (2).
    (Format::Yaml, "'3.13.3'", "3.13.3", FilePart::Metadata),
    (Format::Yaml, "'3.13.3'", "'3.12.3'", FilePart::Metadata),
    (
        Format::Yaml,
        "_unencrypted\n    v",
        "_unencrypted\n    n: 1\n    v",
        FilePart::Metadata,
    ),
    (Format::Json, "\"3.13.3\"", "\"3.13.2\"", FilePart::Metadata),
    (
        Format::Dotenv,
        "_version=3.13.3",
        "_version=3.13.2",
        FilePart::Metadata,
    ),
    (Format::Ini, "3.13.3", "3.13.2", FilePart::Metadata),
    (
        Format::Binary,
        "\"3.13.3\"",
        "\"3.13.2\"",
        FilePart::Metadata,
    ),
    (
        Format::Binary,
        "\"recipient\": \"age1a\"",
        "\"recipient\": \"age1a\", \"x\": \"\"",
        FilePart::Metadata,
    ),
];

#[test]
fn what_the_mac_of_sops_does_not_notice_is_named_by_its_kind() {
    for (format, from, to, part) in CHANGES {
        let (_, plain) = TEXTS.iter().find(|(other, _)| other == format).unwrap();
        // A comment that stays clear, by another rule.
        let (plain, from) = match from.strip_suffix("_clear") {
            Some(from) => (*plain, from),
            None => (*plain, *from),
        };
        let clear_comments = *part == FilePart::Comments;
        let of = |whole_mac| {
            let settings = crate::SelectionSettings {
                encrypted_regex: Some("^(a|list|b)$".to_owned()),
                ..Default::default()
            };
            let selection = settings.compile().unwrap().unwrap();
            let plan = EncryptPlan {
                selection: if clear_comments {
                    selection
                } else {
                    Selection::default()
                },
                ..plan(whole_mac)
            };
            match encrypt(plain, *format, &plan).unwrap() {
                Encryption::Encrypted(encrypted) => encrypted.text,
                other => panic!("{other:?}"),
            }
        };
        let change = |text: &str| {
            let changed = text.replacen(from, to, 1);
            assert_ne!(changed, text, "{format}: {from}");
            changed
        };
        let without = change(&of(false));
        decrypt(&without, *format, &A, &options(false, false))
            .unwrap_or_else(|error| panic!("{format}: {from} -> {to}: {error}"));
        let with = change(&of(true));
        let error = refused(&with, *format, &options(false, false));
        let WholeMacError::Changed(parts) = &error else {
            panic!("{from}: {error}")
        };
        assert!(parts.contains(part), "{from} -> {to}: {parts:?}");
        assert!(error.to_string().contains(&part.to_string()), "{error}");
        decrypt(&with, *format, &A, &options(true, false)).unwrap();
        refused(&with, *format, &options(true, true));
    }
}

#[test]
fn comments_are_covered_with_their_places() {
    let plain = "a: x\nk_unencrypted:\n  # first\n  b: 1 # behind\n  c: 2\n  # last\nd: y\n";
    let settings = crate::SelectionSettings {
        encrypted_regex: Some("^[ad]$".to_owned()),
        ..Default::default()
    };
    let plan = EncryptPlan {
        selection: settings.compile().unwrap().unwrap(),
        ..plan(true)
    };
    let Encryption::Encrypted(done) = encrypt(plain, Format::Yaml, &plan).unwrap() else {
        panic!()
    };
    for (from, to) in [
        ("  # first\n", ""),
        ("  # first\n", "  # second\n"),
        (
            "  # first\n  b: 1 # behind\n",
            "  b: 1 # behind\n  # first\n",
        ),
        ("  b: 1 # behind\n", "  # behind\n  b: 1\n"),
        ("  c: 2\n  # last\n", "  c: 2\n# last\n"),
        ("  c: 2\n", "  c: 2 # new\n"),
        ("sops:\n", "# new\nsops:\n"),
    ] {
        let changed = done.text.replacen(from, to, 1);
        assert_ne!(changed, done.text, "{from}");
        let error = refused(&changed, Format::Yaml, &options(false, false));
        assert_eq!(
            error,
            WholeMacError::Changed(vec![FilePart::Comments]),
            "{from}"
        );
    }
}

#[test]
fn a_field_that_is_no_mac_is_refused_and_one_of_a_newer_version_named() {
    let text = encrypted(Format::Yaml, "a: x\n", true);
    let field = |text: &str| {
        let at = text.find("selkie_mac: ").unwrap() + "selkie_mac: ".len();
        text[at..].lines().next().unwrap().to_owned()
    };
    let own = field(&text);
    for (other, error) in [
        ("v2.x", WholeMacError::Newer("v2".to_owned())),
        ("\"\"", WholeMacError::Malformed),
        ("x", WholeMacError::Malformed),
        ("v1", WholeMacError::Malformed),
        (&own[..own.len() - 1], WholeMacError::Malformed),
        (&format!("{own}.AAAAAAAA"), WholeMacError::Malformed),
        (
            &format!("v1.{}{}", "A".repeat(43), &own[46..]),
            WholeMacError::Mixed,
        ),
    ] {
        let changed = text.replace(&own, other);
        assert_eq!(
            refused(&changed, Format::Yaml, &options(false, false)),
            error,
            "{other}"
        );
    }
    // Two states of one file put together: each part is as its own MAC has it.
    let Ok(Edited::Changed(later)) =
        open(&text, Format::Yaml).edited(b"a: x\nb_unencrypted: {}\n", &edit_options(60))
    else {
        panic!()
    };
    let (old, new): (Vec<&str>, String) = (own.split('.').collect(), field(&later));
    let new: Vec<&str> = new.split('.').collect();
    let mixed = [new[0], new[1], old[2], new[3], new[4], new[5]].join(".");
    let text = later
        .replace(&field(&later), &mixed)
        .replace("b_unencrypted: {}\n", "");
    assert_eq!(
        refused(&text, Format::Yaml, &options(false, false)),
        WholeMacError::Mixed
    );
}

fn edit_options(second: i64) -> EditOptions {
    EditOptions {
        now: time(second),
        raise_version: true,
    }
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
fn every_operation_renews_it() {
    for (format, plain) in TEXTS {
        let text = encrypted(format, plain, true);
        let file = open(&text, format);
        let changed = |edited: Edited| match edited {
            Edited::Changed(text) => text,
            Edited::Unchanged => panic!("{format}"),
        };
        let other = plain.replace("one", "other").replace("any", "no");
        let mut results = vec![(
            "edit",
            changed(file.edited(other.as_bytes(), &edit_options(60)).unwrap()),
        )];
        if format != Format::Binary {
            let path = match format {
                Format::Ini => "[\"one\"][\"new\"]",
                _ => "[\"new\"]",
            };
            let path = path.parse().unwrap();
            let set = changed(
                file.set(&path, &NewValue::text("v"), &set_options())
                    .unwrap(),
            );
            let unset = changed(open(&set, format).unset(&path, &set_options()).unwrap());
            results.push(("set", set));
            results.push(("unset", unset));
        }
        let keep = DataKeyChange::Keep;
        let both = KeyTarget {
            groups: vec![vec![A.spec(), B.spec()]],
            threshold: None,
        };
        let rotated = file.rotated(&[], &[], &make, time(60)).unwrap();
        let updated = file
            .with_keys(&both, keep, &make, time(60))
            .unwrap()
            .unwrap();
        let group = file
            .with_group(&[A.spec()], None, keep, &make, time(60))
            .unwrap();
        let ungrouped = open(&group.text, format)
            .without_group(1, Some(1), keep, &make, time(60))
            .unwrap();
        results.push(("rotate", rotated.text));
        results.push(("updatekeys", updated.text));
        results.push(("groups add", group.text));
        results.push(("groups delete", ungrouped.text));
        for (operation, result) in results {
            // The last one brings the file back to what it was.
            let same = result == text;
            assert_eq!(same, operation == "groups delete", "{format} {operation}");
            let opened = decrypt(&result, format, &A, &options(false, true));
            opened.unwrap_or_else(|error| panic!("{format} {operation}: {error}\n{result}"));
        }
    }
}

#[test]
fn a_file_gets_it_later_and_keeps_the_rest() {
    for (format, plain) in TEXTS {
        let before = encrypted(format, plain, false);
        let source = Box::leak(before.clone().into_boxed_str());
        let file = OpenFile::open(source, format, &A, &options(false, false)).unwrap();
        let Edited::Changed(after) = file.with_whole_mac().unwrap() else {
            panic!("{format}")
        };
        let kept = after.lines().filter(|line| !line.contains(FIELD));
        let mut same = String::new();
        kept.for_each(|line| writeln!(same, "{line}").unwrap());
        assert_eq!(same.trim_end(), before.trim_end(), "{format}");
        let again = open(&after, format).with_whole_mac().unwrap();
        assert!(matches!(again, Edited::Unchanged));
    }
}

/// New keys for a file that was opened in spite of its MAC must not confirm what was changed.
#[test]
fn other_keys_do_not_confirm_a_changed_file() {
    let text = encrypted(Format::Yaml, YAML, true).replace("port: 80", "port: \"80\"");
    let source = Box::leak(text.into_boxed_str());
    let file = OpenFile::open(source, Format::Yaml, &A, &options(true, false)).unwrap();
    let both = KeyTarget {
        groups: vec![vec![A.spec(), B.spec()]],
        threshold: None,
    };
    let keep = DataKeyChange::Keep;
    let done = file
        .with_keys(&both, keep, &make, time(60))
        .unwrap()
        .unwrap();
    let rotated = file.rotated(&[], &[], &make, time(60)).unwrap();
    let changed = |edited: Edited| match edited {
        Edited::Changed(text) => text,
        Edited::Unchanged => panic!("unchanged"),
    };
    let edited = std::str::from_utf8(file.plain()).unwrap();
    let edited = edited.replace("one", "other");
    let edited = file.edited(edited.as_bytes(), &edit_options(60)).unwrap();
    let path = "[\"a\"]".parse().unwrap();
    let set = file
        .set(&path, &NewValue::text("v"), &set_options())
        .unwrap();
    for text in [done.text, rotated.text, changed(edited), changed(set)] {
        let error = refused(&text, Format::Yaml, &options(false, false));
        assert!(matches!(error, WholeMacError::Changed(_)), "{error}");
        decrypt(&text, Format::Yaml, &A, &options(true, false)).unwrap();
    }
}

/// What one reader takes for the metadata, and another for data, is covered by nobody.
#[test]
fn a_second_spelling_of_the_metadata_key_is_refused() {
    let text = encrypted(Format::Yaml, YAML, true);
    for entry in [
        "!!binary c29wcw==: {image: evil}",
        "!!str sops: 1",
        "&x sops: 1",
    ] {
        let added = text.replacen("\na:", &format!("\n{entry}\na:"), 1);
        let error = decrypt(&added, Format::Yaml, &A, &options(false, true)).err();
        let error = error.unwrap_or_else(|| panic!("{entry}: it opens"));
        assert!(
            matches!(error, DecryptError::Metadata(_)),
            "{entry}: {error}"
        );
    }
    let odd = text.replacen("\nsops:\n", "\nsops:\n    5: evil\n", 1);
    assert!(decrypt(&odd, Format::Yaml, &A, &options(false, true)).is_err());
}

#[test]
fn what_is_added_in_clear_redirects_no_alias_and_repeats_no_key() {
    let plan = EncryptPlan {
        mac_only_encrypted: true,
        ..plan(true)
    };
    let plain = "role_unencrypted: &x viewer\ngrant_unencrypted: *x\nsecret: s\n";
    let text = match encrypt(plain, Format::Yaml, &plan).unwrap() {
        Encryption::Encrypted(encrypted) => encrypted.text,
        other => panic!("{other:?}"),
    };
    for (added, duplicate) in [
        ("new:\n  ? &x admin\n  : forgotten\ngrant_", false),
        ("secret: attacker\ngrant_", true),
    ] {
        let source = text.replacen("grant_", added, 1);
        let options = AddClearOptions {
            now: time(60),
            ignore_mac: false,
            require_whole_mac: true,
        };
        match add_clear(&source, Format::Yaml, &A, &options) {
            Err(AddClearError::DuplicateKey { .. }) => assert!(duplicate),
            Err(AddClearError::Alias { .. }) => assert!(!duplicate),
            other => panic!("{added}: {other:?}"),
        }
    }
}

#[test]
fn values_that_were_added_in_clear_are_let_in_and_other_changes_are_not() {
    let text = encrypted(Format::Yaml, YAML, true);
    let added = text.replacen("\na:", "\n# forgotten\nnew: {deep: [1, v]}\na:", 1);
    let add = |source: &str, ignore_mac, require_whole_mac| {
        let options = AddClearOptions {
            now: time(60),
            ignore_mac,
            require_whole_mac,
        };
        add_clear(source, Format::Yaml, &A, &options)
    };
    let done = add(&added, false, true).unwrap();
    assert_eq!((done.values, done.comments), (2, 1));
    decrypt(&done.text, Format::Yaml, &A, &options(false, true)).unwrap();
    let changed = added.replace("port: 80", "port: \"80\"");
    for (ignore, require, opens) in [
        (false, false, false),
        (true, true, false),
        (true, false, true),
    ] {
        match add(&changed, ignore, require) {
            Ok(_) => assert!(opens),
            Err(error) => {
                assert!(
                    matches!(error, AddClearError::Mac(MacError::Whole(_))),
                    "{error}"
                );
                assert!(!opens);
            }
        }
    }
    let without = encrypted(Format::Yaml, YAML, false).replacen("\na:", "\nnew: v\na:", 1);
    assert!(add(&without, false, false).is_ok());
    assert!(add(&without, true, true).is_err());
}

/// Whatever byte is put in the place of another: the file is refused, or gives the same text but for
/// blanks.
#[test]
fn a_changed_byte_is_noticed_or_means_nothing() {
    let bare = |text: &str| text.split_whitespace().collect::<String>();
    for (format, plain) in TEXTS {
        let settings = crate::SelectionSettings {
            encrypted_regex: Some("^(a|A|list)$".to_owned()),
            ..Default::default()
        };
        let plan = EncryptPlan {
            selection: settings.compile().unwrap().unwrap(),
            mac_only_encrypted: true,
            ..plan(true)
        };
        let text = match encrypt(plain, format, &plan).unwrap() {
            Encryption::Encrypted(encrypted) => encrypted.text,
            other => panic!("{other:?}"),
        };
        let mut opened = 0;
        for (at, byte) in text.bytes().enumerate() {
            for other in [b'x', b' ', b'\n'] {
                if byte == other {
                    continue;
                }
                let mut changed = text.clone().into_bytes();
                changed[at] = other;
                let changed = String::from_utf8(changed).unwrap();
                if let Ok(found) = decrypt(&changed, format, &A, &options(false, true)) {
                    opened += 1;
                    assert_eq!(
                        bare(found.text.expose()),
                        bare(plain),
                        "{format} {at}\n{changed}"
                    );
                }
            }
        }
        // Blanks of the layout, and little else.
        assert!(
            opened < text.len() / 3,
            "{format}: {opened} of {}",
            text.len()
        );
    }
}
