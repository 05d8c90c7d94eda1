//! Files that the real sops wrote (tests/fixtures, made by `make-fixtures.sh`) open here to the data
//! that the real sops decrypts them to, and what was changed in them is noticed.
#![allow(clippy::unwrap_used)] // Functions beside the tests are test code too.

use selkie_keys::age::{AgeIdentities, IdentitySource, SourceForm};
use selkie_secret::SecretBytes;
use selkie_sops::{
    AddClearError, AddClearOptions, DecryptError, DecryptOptions, EncryptPlan, Encryption, Format,
    MacError, NoDataKey, Selection, Warning, add_clear, decrypt, encrypt,
};
use selkie_text::yaml::{self, Kind, NodeId, Scalar, Stream};

const IDENTITY: &str = include_str!("../../../keys-example/age.txt");

/// The complete file of sops-format.md 23, and its identity.
const VECTOR: &str = include_str!("fixtures/vector.enc.yaml");
const VECTOR_IDENTITY: &str =
    "AGE-SECRET-KEY-19H6GXE7LPFQ6RYQYP7Q7K9FF0KK6H77T08LCYSMV478SD2W36LEQLUSGLY";

fn identities(text: &str) -> AgeIdentities {
    AgeIdentities::from_sources(vec![IdentitySource {
        name: "test".to_owned(),
        content: Ok(SecretBytes::new(text.as_bytes().to_vec())),
        form: SourceForm::Identities,
    }])
}

fn open(source: &str) -> Result<(String, Vec<Warning>), DecryptError> {
    let opened = decrypt(
        source,
        Format::Yaml,
        &identities(IDENTITY),
        &DecryptOptions::default(),
    )?;
    Ok((opened.text.expose().to_owned(), opened.warnings))
}

/// Every leaf as path, type and text; and every comment, sorted: sops moves comments.
fn data(source: &str) -> (Vec<String>, Vec<String>) {
    let stream = yaml::parse(source, &yaml::Limits::default()).unwrap();
    let (mut leaves, mut comments) = (Vec::new(), Vec::new());
    for document in stream.documents() {
        leaves.push("---".to_owned());
        flatten(&stream, document.content, "", &mut leaves);
        let lists = [&document.head, &document.foot];
        comments.extend(lists.into_iter().flatten());
    }
    for (_, node) in stream.nodes() {
        comments.extend([&node.head, &node.line, &node.foot].into_iter().flatten());
    }
    let mut comments: Vec<String> = comments
        .into_iter()
        .map(|comment| stream.comment_text(comment).into_owned())
        .collect();
    comments.sort();
    (leaves, comments)
}

fn flatten(stream: &Stream<'_>, node: NodeId, path: &str, leaves: &mut Vec<String>) {
    let node = stream.target(node);
    match stream.node(node).kind {
        Kind::Mapping => {
            for (key, value) in stream.entries(node) {
                let key = &stream.node(key).value;
                flatten(stream, value, &format!("{path}/{key}"), leaves);
            }
        }
        Kind::Sequence => {
            for (index, child) in stream.node(node).children.iter().enumerate() {
                flatten(stream, *child, &format!("{path}/{index}"), leaves);
            }
        }
        Kind::Scalar | Kind::Alias => leaves.push(match stream.resolve(node).unwrap() {
            Scalar::Null => format!("{path}=null"),
            Scalar::Bool(value) => format!("{path}=bool {value}"),
            // sops prints integral floats without a fraction: they come back as integers.
            Scalar::Int(value) => format!("{path}=number {value}"),
            Scalar::Uint(value) => format!("{path}=number {value}"),
            Scalar::Float(value) => format!("{path}=number {value}"),
            Scalar::Timestamp(time) => format!("{path}=time {}", time.rfc3339),
            Scalar::Str(text) => format!("{path}=str {text:?}"),
            Scalar::Merge => format!("{path}=str \"<<\""),
            Scalar::Binary(bytes) => match String::from_utf8(bytes) {
                Ok(text) => format!("{path}=str {text:?}"),
                Err(error) => format!("{path}=bytes {:?}", error.into_bytes()),
            },
        }),
    }
}

macro_rules! recorded {
    ($($name:ident: $file:literal,)*) => {$(
        #[test]
        fn $name() {
            let encrypted = include_str!(concat!("fixtures/", $file, ".enc.yaml"));
            let expected = include_str!(concat!("fixtures/", $file, ".dec.yaml"));
            let (text, warnings) = open(encrypted).unwrap();
            assert_eq!(warnings, []);
            assert_eq!(data(&text), data(expected));
        }
    )*};
}

recorded! {
    every_kind_of_value_of_3_13: "kinds-3.13.3",
    every_kind_of_value_of_3_11: "kinds-3.11.0",
    several_documents_of_3_13: "multi-3.13.3",
    several_documents_of_3_11: "multi-3.11.0",
    encrypted_regex: "regex-3.13.3",
    encrypted_suffix: "suffix-3.11.0",
    mac_over_encrypted_leaves_only: "maconly-3.13.3",
    comment_markers: "marked-3.13.3",
}

const KINDS: &str = include_str!("fixtures/kinds-3.13.3.enc.yaml");

#[test]
fn canonical_forms_are_those_of_sops_but_for_floats() {
    let (text, _) = open(KINDS).unwrap();
    for line in [
        "yes\": \"yes\"",
        "quoted: \"yes\"",
        "single: it's",
        "whole: 1.0",
        "exp: 1e+10",
        "cap: true",
        "octal: 15",
        "inf: .inf",
        "date: 2024-01-01T00:00:00Z",
        "raw: !!binary /wD+",
        "    # first in list",
        "    a: 1 # inline",
        "multi: |\n    line one\n      more\n\n    last",
        "keep: |+\n    text\n",
    ] {
        assert!(text.contains(&format!("{line}\n")), "{line} in\n{text}");
    }
    assert!(!text.contains("sops:"));
}

#[test]
fn the_published_file_opens() {
    let opened = decrypt(
        VECTOR,
        Format::Yaml,
        &identities(VECTOR_IDENTITY),
        &DecryptOptions::default(),
    )
    .unwrap();
    let expected = "# note\na: hello\nm:\n    n: 42\nlist:\n    - true\n    # a note\n    - false\n    - - 3.14\nempty: \"\"\nnul: null\n";
    let (leaves, _) = data(expected);
    assert_eq!(data(opened.text.expose()).0, leaves);
    assert!(opened.text.expose().starts_with("# note\n"));
    assert_eq!(opened.values, 5);
}

#[test]
fn files_of_older_writers_open() {
    // 3.9 wrote empty lists, and an older library single quotes; 1.x wrote type:bytes for text.
    let old = VECTOR
        .replace(
            "sops:\n",
            "sops:\n    kms: []\n    gcp_kms: []\n    azure_kv: []\n    hc_vault: []\n",
        )
        .replace(
            "lastmodified: \"2026-01-02T03:04:05Z\"",
            "lastmodified: '2026-01-02T03:04:05Z'\n    pgp: []",
        )
        .replace("version: 3.13.1", "version: 3.9.0");
    let python = VECTOR.replace("version: 3.13.1", "version: 1.13").replace(
        "s9jMet4pi3DzIEWdLNqE0A==,type:str",
        "s9jMet4pi3DzIEWdLNqE0A==,type:bytes",
    );
    assert_ne!(old, VECTOR);
    let own = identities(VECTOR_IDENTITY);
    for source in [old, python] {
        let opened = decrypt(&source, Format::Yaml, &own, &DecryptOptions::default()).unwrap();
        assert!(opened.text.expose().contains("a: hello\n"));
    }
}

#[test]
fn every_changed_byte_is_noticed() {
    let own = identities(IDENTITY);
    let source = include_str!("fixtures/regex-3.13.3.enc.yaml");
    let fields = ["data:", ",iv:", ",tag:"];
    let user = source.find("user: ENC").unwrap();
    let mac = source.find("mac: ENC").unwrap();
    for (start, of_mac) in [(user, false), (mac, true)] {
        for field in fields {
            let at = start + source[start..].find(field).unwrap() + field.len();
            let mut changed = source.to_owned();
            let other = if &source[at..=at] == "A" { "B" } else { "A" };
            changed.replace_range(at..=at, other);
            let error =
                decrypt(&changed, Format::Yaml, &own, &DecryptOptions::default()).unwrap_err();
            if of_mac {
                assert!(
                    matches!(error, DecryptError::Mac(MacError::Undecryptable(_))),
                    "{error}"
                );
                let options = DecryptOptions {
                    ignore_mac: true,
                    ..DecryptOptions::default()
                };
                assert!(decrypt(&changed, Format::Yaml, &own, &options).is_ok());
            } else {
                let text = error.to_string();
                assert!(
                    text.starts_with("line 9: stringData.user does not decrypt"),
                    "{text}"
                );
            }
        }
    }
}

#[test]
fn changed_clear_values_order_and_type_are_noticed() {
    let source = include_str!("fixtures/regex-3.13.3.enc.yaml");
    let (user, password) = {
        let line = |name: &str| {
            let at = source.find(name).unwrap();
            &source[at..=at + source[at..].find('\n').unwrap()]
        };
        (line("    user: "), line("    password: "))
    };
    for changed in [
        source.replace("name: db", "name: dc"),
        source.replace("kind: Secret\n", "kind: Secret\nmore: x\n"),
        source.replace(&format!("{user}{password}"), &format!("{password}{user}")),
        source.replace(user, ""),
    ] {
        assert_ne!(changed, source);
        let error = open(&changed).unwrap_err();
        assert!(
            matches!(error, DecryptError::Mac(MacError::Mismatch)),
            "{error}"
        );
    }
    // In the file whose MAC covers encrypted leaves only, clear ones may change.
    let free = include_str!("fixtures/maconly-3.13.3.enc.yaml").replace("name: db", "name: dc");
    assert!(open(&free).unwrap().0.contains("name: dc"));
    let error = open(&source.replace("    mac: ENC", "    mac: \"\" #")).unwrap_err();
    assert!(error.to_string().contains("no MAC"), "{error}");
}

#[test]
fn a_changed_comment_warns_and_is_kept() {
    let at = KINDS.find("#ENC[AES256_GCM,data:").unwrap() + "#ENC[AES256_GCM,data:".len();
    let mut changed = KINDS.to_owned();
    let other = if &changed[at..=at] == "A" { "B" } else { "A" };
    changed.replace_range(at..=at, other);
    let (text, warnings) = open(&changed).unwrap();
    assert_eq!(warnings, [Warning::Comment { line: 1 }]);
    assert!(text.starts_with("#ENC["));
    let clear = KINDS.replacen("#ENC[", "# by hand\n#ENC[", 1);
    let (text, warnings) = open(&clear).unwrap();
    assert_eq!(warnings, [Warning::Comment { line: 1 }]);
    assert!(text.starts_with("# by hand\n# head comment\n"));
}

#[test]
fn without_a_fitting_identity_the_recipients_are_listed() {
    let other = identities(VECTOR_IDENTITY);
    let error = decrypt(KINDS, Format::Yaml, &other, &DecryptOptions::default()).unwrap_err();
    let recipient = include_str!("../../../keys-example/age.pub").trim();
    assert_eq!(
        error.to_string(),
        format!("no identity fits; the file is encrypted for age {recipient}")
    );
    let DecryptError::NoDataKey(NoDataKey::NoIdentity { attempts }) = error else {
        panic!("{error}")
    };
    assert_eq!(attempts.len(), 1);
}

#[test]
fn what_was_forgotten_in_clear_is_named_and_added() {
    let own = identities(IDENTITY);
    let source = include_str!("fixtures/regex-3.13.3.enc.yaml");
    let plan = EncryptPlan {
        groups: Vec::new(),
        threshold: None,
        selection: Selection::default(),
        mac_only_encrypted: false,
        whole_mac: false,
        now: "2026-03-04T05:06:07Z".parse().unwrap(),
    };
    let forgotten = |source: &str| match encrypt(source, Format::Yaml, &plan).unwrap() {
        Encryption::AlreadyEncrypted(found) => found.clear,
        Encryption::Encrypted(_) => panic!("it has metadata"),
    };
    assert_eq!(forgotten(source), []);

    let added = source.replace(
        "    password: ",
        "    # why\n    token: abc\n    n: 5\n    password: ",
    );
    let clear = forgotten(&added);
    let names: Vec<(&str, usize)> = clear.iter().map(|c| (c.path.as_str(), c.line)).collect();
    assert_eq!(
        names,
        [
            ("the comment in stringData", 10),
            ("stringData.token", 11),
            ("stringData.n", 12)
        ]
    );
    let error = open(&added).unwrap_err().to_string();
    assert!(
        error.starts_with("line 11: stringData.token should be encrypted"),
        "{error}"
    );

    let options = AddClearOptions {
        now: plan.now,
        ignore_mac: false,
        require_whole_mac: false,
    };
    let result = add_clear(&added, Format::Yaml, &own, &options).unwrap();
    assert_eq!((result.values, result.comments), (2, 1));
    let (text, warnings) = open(&result.text).unwrap();
    assert_eq!(warnings, []);
    assert!(
        text.contains("    # why\n    token: abc\n    n: 5\n    password: hunter2\n"),
        "{text}"
    );
    // Only the new lines, the time and the MAC differ.
    for (before, after) in added.lines().zip(result.text.lines()) {
        let changed = ["# why", "token:", "n:", "mac:", "lastmodified:"];
        let may_change = changed
            .iter()
            .any(|name| before.trim_start().starts_with(name));
        assert_eq!(before == after, !may_change, "{before}");
    }
    assert!(
        result
            .text
            .contains("lastmodified: \"2026-03-04T05:06:07Z\"")
    );

    let tampered = added.replace("name: db", "name: dc");
    let error = add_clear(&tampered, Format::Yaml, &own, &options).unwrap_err();
    assert!(
        matches!(error, AddClearError::Mac(MacError::Mismatch)),
        "{error}"
    );
    let accepted = AddClearOptions {
        ignore_mac: true,
        ..options
    };
    let result = add_clear(&tampered, Format::Yaml, &own, &accepted).unwrap();
    assert!(open(&result.text).is_ok());
}
