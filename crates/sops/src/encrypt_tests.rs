//! Encrypting and decrypting again, with a key that is stored in clear.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::*;
use crate::decrypt::{DecryptOptions, decrypt};
use crate::keys::{DataKeySource, KeyKind, UnwrapError, WrapError};
use crate::selection::SelectionSettings;

/// Stores the data key as it is: what is tested here is everything but the wrapping.
pub(crate) struct ClearKey;

impl MasterKey for ClearKey {
    fn kind(&self) -> KeyKind {
        KeyKind::Age
    }

    fn id(&self) -> &str {
        "age1clear"
    }

    fn wrap(&self, secret: &[u8]) -> Result<KeyEntry, WrapError> {
        Ok(KeyEntry {
            kind: KeyKind::Age,
            fields: vec![
                ("recipient".to_owned(), "age1clear".to_owned()),
                ("enc".to_owned(), BASE64_STANDARD.encode(secret) + "\n"),
            ],
            context: Default::default(),
        })
    }
}

impl DataKeySource for ClearKey {
    fn unwrap_key(&self, entry: &KeyEntry) -> Result<Zeroizing<Vec<u8>>, UnwrapError> {
        let text = entry.field("enc").unwrap_or_default().trim();
        let bytes = BASE64_STANDARD.decode(text);
        bytes.map(Zeroizing::new).map_err(|_| UnwrapError::NotMine)
    }
}

fn plan(setting: &str, text: &str) -> EncryptPlan<'static> {
    let mut settings = SelectionSettings::default();
    let text = Some(text.to_owned());
    match setting {
        "encrypted_regex" => settings.encrypted_regex = text,
        "unencrypted_regex" => settings.unencrypted_regex = text,
        "encrypted_suffix" => settings.encrypted_suffix = text,
        "encrypted_comment_regex" => settings.encrypted_comment_regex = text,
        "unencrypted_comment_regex" => settings.unencrypted_comment_regex = text,
        _ => settings.unencrypted_suffix = text,
    }
    EncryptPlan {
        groups: vec![vec![&ClearKey]],
        threshold: None,
        selection: settings.compile().unwrap().unwrap(),
        mac_only_encrypted: false,
        whole_mac: false,
        now: "2026-01-02T03:04:05Z".parse().unwrap(),
    }
}

fn all() -> EncryptPlan<'static> {
    plan("unencrypted_suffix", "_unencrypted")
}

fn encrypted(source: &str, plan: &EncryptPlan<'_>) -> Encrypted {
    match encrypt(source, Format::Yaml, plan) {
        Ok(Encryption::Encrypted(encrypted)) => encrypted,
        Ok(Encryption::AlreadyEncrypted(_)) => panic!("encrypted already:\n{source}"),
        Err(error) => panic!("{error}\n{source}"),
    }
}

fn refused(source: &str, plan: &EncryptPlan<'_>) -> String {
    encrypt(source, Format::Yaml, plan).unwrap_err().to_string()
}

fn back(source: &str) -> String {
    let opened = decrypt(source, Format::Yaml, &ClearKey, &DecryptOptions::default());
    let opened = opened.unwrap_or_else(|error| panic!("{error}\n{source}"));
    assert_eq!(opened.warnings, [], "{source}");
    opened.text.expose().to_owned()
}

/// Encrypts and decrypts; the file comes back byte for byte. Returns the encrypted text.
fn round(source: &str, plan: &EncryptPlan<'_>) -> String {
    let encrypted = encrypted(source, plan);
    assert_eq!(back(&encrypted.text), source, "\n{}", encrypted.text);
    encrypted.text
}

#[test]
fn files_come_back_byte_for_byte() {
    for source in [
        "a: 1\n",
        "a: 1",
        "a: 1\r\nb: two\r\n",
        "\u{feff}a: x\n",
        "# head\n\na: x # inline\n\n# foot\n",
        "a: yes\nb: \"yes\"\nc: 'no'\nd: True\ne: TRUE\nf: false\n",
        "a: 123456789012345678901234567890\n",
        "a: 1.50\nb: 1e3\nc: +05\nd: 1.0\ne: -0.0\nf: 08\ng: .5\nh: 5.\n",
        "a: 'it''s'\nb: \"plain\"\nc: plain # c\n",
        "a: |\n  one\n\n    two\nb: |-\n  x\nc: |+\n  y\n\nd: z\n",
        "a: {b: x, c: [1, yes, \"q\"]}\n",
        "{a: x, b: [y]}\n",
        "a:\n- x\n# mid\n- y # inline\n-   z: 1\n    # deep\n    w: 2\n# end\n",
        "a:\n    # first\n    - x\n    # last\n\nb: 1\n",
        "a: null\nb: ~\nc:\nd: \"\"\ne: {}\nf: []\ng: x\n",
        "---\na: x\n# c1\n---\n# c2\nb: y\n...\n",
        "--- # start\na: x\n",
        "a: x\n---\n---\nb: y\n---\nnull\n",
        "\"a:b\": x\n? long\n: y\n'c': z\n",
        "a: !foo bar\nb: !foo\n  c: d\n",
        "a: é😀\nключ: значение\n",
        "base: &a x\nother: 1\n",
        "a:\n  b:\n    c: x\n\n    # foot of c\n  # foot of b\n# foot of a\n",
        "a: x\n#\n# two\n",
    ] {
        let text = round(source, &all());
        assert!(text.contains("ENC[AES256_GCM,"), "{text}");
    }
}

#[test]
fn only_the_selected_leaves_and_the_block_change() {
    let source = "# c\napiVersion: v1\nmetadata:\n  name: 'x' # n\ndata:\n  # in data\n  a: eA==\n  b:   |\n    text\nkind: Secret\n";
    let text = round(source, &plan("encrypted_regex", "^data$"));
    let mut after = text.lines();
    for line in source.lines() {
        let found = after.next().unwrap();
        let secret = ["  # in data", "  a: eA==", "    text"].contains(&line);
        assert_eq!(found != line, secret, "{line} / {found}");
        assert_eq!(found.contains("ENC["), secret);
    }
    assert_eq!(after.next(), Some("sops:"));
    assert!(
        text.contains("    encrypted_regex: ^data$\n    lastmodified: \"2026-01-02T03:04:05Z\"\n")
    );
}

#[test]
fn forms_that_cannot_come_back_come_back_canonical() {
    for (source, expected) in [
        ("a: 0x1F\n", "a: 31\n"),
        ("a: 1_000\n", "a: 1000\n"),
        ("a: 017\n", "a: 15\n"),
        ("a: 2024-01-01\n", "a: 2024-01-01T00:00:00Z\n"),
        ("a: .inf\nb: .NaN\n", "a: .inf\nb: .nan\n"),
        ("a: !!int \"5\"\n", "a: 5\n"),
        ("a: !!float 1\n", "a: 1.0\n"),
        ("a: !!binary aGVsbG8=\n", "a: hello\n"),
        ("a: !!binary /wD+\n", "a: !!binary /wD+\n"),
        // Line breaks of Unicode, in every style that has them.
        ("a: x\u{2028}  y\n", "a: \"x\\Ly\"\n"),
        ("a: >-\n  x\u{2029}  y\n", "a: \"x\\Py\"\n"),
        ("a: 'x\u{2028}y'\n", "a: \"x\\Ly\"\n"),
        ("a: &x s\nb: *x\n", "a: &x s\nb: s\n"),
        ("a: &x k\n*x : one\n", "a: &x k\nk : one\n"),
    ] {
        let text = encrypted(source, &all()).text;
        assert_eq!(back(&text), expected, "{text}");
        // As it is now it comes back.
        let text = encrypted(expected, &all()).text;
        assert_eq!(back(&text), expected, "{text}");
    }
}

#[test]
fn aliases_stay_where_nothing_beneath_them_is_encrypted() {
    let source = "clear: &c {k: v}\nalso: *c\nmerged:\n  <<: *c\ndata:\n  p: x\n";
    let text = round(source, &plan("encrypted_regex", "^data$"));
    assert!(text.contains("also: *c\n") && text.contains("<<: *c\n"));

    round("a: &n null\nb: *n\nc: &e \"\"\nd: *e\nx: y\n", &all());

    let source = "base: &b\n  k: v\ndata:\n  <<: *b\n  p: x\nlist: [*b, *b]\n";
    let text = encrypted(source, &plan("encrypted_regex", "^data$")).text;
    assert!(text.contains("base: &b\n  k: v\n"), "{text}");
    assert!(!text.contains("<<: *b"), "{text}");
    let clear = back(&text);
    assert!(clear.contains("list: [*b, *b]\n"), "{clear}");

    let bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a, *a]\nc: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b, *b]\nd: &d [*c, *c, *c, *c, *c, *c, *c, *c, *c, *c]\ne: &e [*d, *d, *d, *d, *d, *d, *d, *d, *d, *d]\nf: &f [*e, *e, *e, *e, *e, *e, *e, *e, *e, *e]\ng: [*f, *f, *f, *f, *f, *f, *f, *f, *f, *f]\n";
    assert!(encrypt(bomb, Format::Yaml, &all()).is_err());
    assert!(encrypt("a: &a [x, *a]\n", Format::Yaml, &all()).is_err());
}

#[test]
fn an_alias_never_shows_what_is_encrypted_at_its_anchor() {
    let by_comment = plan("encrypted_comment_regex", "hide");
    let source = "a: &x\n  # hide\n  k: canary\nb: *x\n";
    assert!(refused(source, &by_comment).starts_with("line 4: the alias repeats a value"));
    let by_path = plan("encrypted_regex", "^data$");
    let source = "data:\n  k: &x canary\nother: *x\n";
    assert!(refused(source, &by_path).starts_with("line 3: the alias repeats a value"));
    let source = "data:\n  k: &x canary\nother:\n  data: *x\nnull1: &n\nnull2: *n\n";
    assert!(!encrypted(source, &by_path).text.contains("canary"));
}

#[test]
fn an_alias_in_a_clear_place_does_not_repeat_an_encrypted_comment() {
    let text = encrypted("a: &x\n  - {} # note\nb_unencrypted: *x\nc: y\n", &all()).text;
    assert!(text.contains("\nb_unencrypted:\n  - {}\n"), "{text}");
}

#[test]
fn a_comment_inside_the_metadata_block_comes_back_above_it() {
    let plan = plan("encrypted_regex", "^a$");
    let text = encrypted("a: x\nb: y\n", &plan)
        .text
        .replace("sops:\n", "sops: # note\n");
    let opened = decrypt(&text, Format::Yaml, &ClearKey, &DecryptOptions::default()).unwrap();
    assert_eq!(opened.text.expose(), "a: x\nb: y\n# note\n");
}

#[test]
fn comment_rules_work_on_the_layout_that_is_written() {
    round(
        "a: 1\n# sops:enc\nb: x\n# o\nc: 2\nd:\n  # sops:enc\n  # hidden\n  e: {f: 1}\n  g: 2\n",
        &plan("encrypted_comment_regex", "sops:enc"),
    );
    let text = round(
        "a: 1 # keep\nb: 2\n# keep\nc: 3\n# foot\n",
        &plan("unencrypted_comment_regex", "keep"),
    );
    assert!(text.starts_with("a: 1 # keep\nb: ENC["), "{text}");
    let error = refused("# x\na: 1\n", &plan("unencrypted_comment_regex", "ENC"));
    assert!(
        error.starts_with("line 1: the encrypted form of this comment"),
        "{error}"
    );
}

#[test]
fn the_mac_can_leave_clear_values_out() {
    let mut plan = plan("encrypted_regex", "^data$");
    plan.mac_only_encrypted = true;
    let text = round("image: x\ndata: y\n", &plan);
    assert!(text.contains("    mac_only_encrypted: true\n"));
    assert!(back(&text.replace("image: x", "image: z")).starts_with("image: z\n"));
}

#[test]
fn an_encrypted_file_is_an_outcome_of_its_own() {
    let text = encrypted("a: x\nb: y\n", &all()).text;
    let Encryption::AlreadyEncrypted(found) = encrypt(&text, Format::Yaml, &all()).unwrap() else {
        panic!("it has metadata")
    };
    assert_eq!(found.clear, []);
    assert_eq!(found.keys[0].id(), "age1clear");
}

#[test]
fn what_cannot_be_encrypted_is_refused_with_its_place() {
    for (source, part) in [
        ("", "holds no YAML document"),
        ("# only\n", "holds no YAML document"),
        ("- a\n", "line 1: the document is a list"),
        ("text\n", "line 1: the document is a single value"),
        ("a: x\n---\n- b\n", "line 3: the document is a list"),
        (
            "a: x\n5: y\n",
            "line 2: a key under the top level is not a string",
        ),
        ("a:\n  true: y\n", "line 2: a key under a is not a string"),
        ("a: 1\na: 2\n", "line 2: the key is there twice"),
        (
            "a: 1\n---\nb: {c: 1, c: 2}\n",
            "line 3: the key is there twice",
        ),
        (
            "a: 18446744073709551615\n",
            "line 1: a: the number is above",
        ),
        ("a: !!int x\n", "line 1: a: the value does not fit its tag"),
        ("a: [\n", "line "),
        ("sops: 1\n", "the top-level key `sops` is reserved"),
        (
            "a: x\n---\nsops: {}\n",
            "line 3: the top-level key `sops` is reserved",
        ),
        ("~\n---\na: x\n", "line 1: the first document is null"),
        (
            "a: null\nb: \"\"\n",
            "the rule `unencrypted_suffix: _unencrypted` matches nothing",
        ),
    ] {
        let error = refused(source, &all());
        assert!(error.contains(part), "{source:?}: {error}");
    }
    let error = refused("a: x\n", &plan("encrypted_regex", "^data$"));
    assert!(
        error.starts_with("the rule `encrypted_regex: ^data$` matches nothing"),
        "{error}"
    );
    let error = refused("# c\na: x\n", &plan("unencrypted_regex", "."));
    assert!(error.contains("matches nothing"), "{error}");
    let nobody = EncryptPlan {
        groups: Vec::new(),
        threshold: None,
        ..all()
    };
    assert!(refused("a: x\n", &nobody).contains("no recipient"));
}

#[test]
fn deep_and_long_files_work() {
    let deep: String = (0..1_000)
        .map(|level| format!("{}k:\n", " ".repeat(level)))
        .collect();
    round(&format!("{deep}{}v: x\n", " ".repeat(1_000)), &all());
    let long: String = (0..2_000).map(|n| format!("key{n}: value {n}\n")).collect();
    round(&long, &all());
    let commented: String = (0..2_000)
        .map(|n| format!("# c{n}\nkey{n}: {n}\n"))
        .collect();
    round(&commented, &all());
}

/// How long 10,000 keys take; run with `--release -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn ten_thousand_keys() {
    let source: String = (0..10_000)
        .map(|n| format!("key{n}: some value number {n}\n"))
        .collect();
    for _ in 0..5 {
        let start = std::time::Instant::now();
        let text = encrypted(&source, &all()).text;
        let middle = std::time::Instant::now();
        let clear = back(&text);
        println!(
            "encrypt {:?}, decrypt {:?}",
            middle - start,
            middle.elapsed()
        );
        assert_eq!(clear, source);
    }
}

/// A block scalar would take in what somebody added below it.
#[test]
fn a_text_of_several_lines_never_grows() {
    for (source, added, expected) in [
        (
            "a: \"x\\ny\"\n",
            "    # note\n",
            "a: \"x\\ny\"\n    # note\n",
        ),
        ("a: \"x\\ny\\n\\n\"\n", "\n", "a: \"x\\ny\\n\\n\"\n\n"),
        ("a: \"x\\n\\uFFFEy\"\n", "", "a: \"x\\n\\uFFFEy\"\n"),
    ] {
        let text = encrypted(source, &all()).text;
        let text = text
            .replace("'3.13.3'", "3.13.3")
            .replace("a: \"ENC", "a: ENC");
        let text = text.replace("]\"\nsops:", "]\nsops:");
        let text = text.replace("]\nsops:", &format!("]\n{added}sops:"));
        let opened = decrypt(&text, Format::Yaml, &ClearKey, &DecryptOptions::default()).unwrap();
        assert_eq!(opened.text.expose(), expected);
    }
}

#[test]
fn clear_values_that_an_alias_repeats_and_odd_blocks_are_refused() {
    let options = crate::AddClearOptions {
        now: "2026-01-02T03:04:05Z".parse().unwrap(),
        ignore_mac: false,
        require_whole_mac: false,
    };
    let text = encrypted("a: x\n", &all()).text;
    let added = text.replace("sops:\n", "b: &b y\nc_unencrypted: *b\nsops:\n");
    let error = crate::add_clear(&added, Format::Yaml, &ClearKey, &options).unwrap_err();
    assert!(matches!(error, crate::AddClearError::Alias { line: 2, .. }));
    let odd = format!("{text}---\nsops: 1\n");
    assert!(decrypt(&odd, Format::Yaml, &ClearKey, &DecryptOptions::default()).is_err());
    let shared = text.replace("sops:\n", "sops: &s\n") + "---\nsops: *s\n";
    let added = shared.replace("sops: &s\n", "b: y\nsops: &s\n");
    assert!(crate::add_clear(&added, Format::Yaml, &ClearKey, &options).is_ok());
}

/// Each made-up comment would be tried under every container above it.
#[test]
fn a_deep_file_of_comments_that_do_not_open_takes_no_hours() {
    let deep: String = (0..1_000)
        .map(|level| format!("{}k{level}:\n", " ".repeat(level)))
        .collect();
    let margin = " ".repeat(1_000);
    let source = format!("{deep}{margin}v: x\n{margin}w: y\n");
    let text = encrypted(&source, &all()).text;
    let bogus = "#ENC[AES256_GCM,data:AAAA,iv:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=,\
                 tag:AAAAAAAAAAAAAAAAAAAAAA==,type:comment]\n";
    let lines = format!("{margin}{bogus}").repeat(2_000);
    let text = text.replacen(&format!("{margin}w:"), &format!("{lines}{margin}w:"), 1);
    // Time of this thread, whatever else the machine does.
    let start = cpu_time::ThreadTime::now();
    let opened = decrypt(&text, Format::Yaml, &ClearKey, &DecryptOptions::default()).unwrap();
    assert_eq!(opened.warnings.len(), 2_000);
    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
}

/// go-yaml of another version gives a comment to a container above.
#[test]
fn a_comment_opens_under_the_path_of_a_container_above() {
    let deep: String = (0..40)
        .map(|level| format!("{}k{level}:\n", " ".repeat(level)))
        .collect();
    let text = encrypted(
        &format!("{deep}{}v: x\nz: y\n# note\n", " ".repeat(40)),
        &all(),
    )
    .text;
    let at = text.find("#ENC[").unwrap();
    let end = at + text[at..].find('\n').unwrap() + 1;
    let comment = text[at..end].to_owned();
    let text = text[..at].to_owned() + &text[end..];
    let margin = " ".repeat(40);
    let text = text.replacen(
        &format!("{margin}v:"),
        &format!("{margin}{comment}{margin}v:"),
        1,
    );
    assert!(back(&text).contains(&format!("{margin}# note\n")));
}

#[test]
fn a_regex_that_only_selkie_cannot_use_has_an_error_of_its_own() {
    let text = encrypted("data: x\nb: y\n", &plan("encrypted_regex", "^data$")).text;
    let text = text.replace("regex: ^data$", r"regex: (\pL{1000}){9}|^data$");
    let error = decrypt(&text, Format::Yaml, &ClearKey, &DecryptOptions::default()).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("encrypted_regex: the regular expression"),
        "{error}"
    );
    // One that sops cannot use either matches nothing, as there.
    let text = text.replace(r"(\pL{1000}){9}|^data$", "(");
    let error = decrypt(&text, Format::Yaml, &ClearKey, &DecryptOptions::default()).unwrap_err();
    assert!(matches!(error, crate::DecryptError::Mac(_)), "{error}");
}

#[test]
fn a_rule_with_an_inner_boundary_works() {
    let text = round("pass: x\nass: y\n", &plan("encrypted_regex", r"\Bass"));
    assert!(
        text.starts_with("pass: ENC[") && text.contains("\nass: y\n"),
        "{text}"
    );
}

fn add_options() -> crate::AddClearOptions {
    crate::AddClearOptions {
        now: "2026-01-02T03:04:05Z".parse().unwrap(),
        ignore_mac: false,
        require_whole_mac: false,
    }
}

fn forgotten(source: &str) -> Vec<(String, usize)> {
    let Encryption::AlreadyEncrypted(found) = encrypt(source, Format::Yaml, &all()).unwrap() else {
        panic!("it has metadata")
    };
    let clear = found.clear.into_iter();
    clear.map(|leaf| (leaf.path, leaf.line)).collect()
}

/// A comment alone went unnoticed.
#[test]
fn a_comment_added_in_clear_is_named_and_encrypted() {
    let text = encrypted("a:\n  b: x\n  c_unencrypted: y\n", &all()).text;
    assert_eq!(forgotten(&text), []);
    let added = text.replace("  c_", "  # canary\n  #\n  c_");
    // It heads what the rule leaves clear, but stands in the mapping, where comments are encrypted.
    assert_eq!(forgotten(&added), [("the comment in a".to_owned(), 3)]);
    let whole = crate::add_clear(&added, Format::Yaml, &ClearKey, &add_options()).unwrap();
    assert_eq!((whole.values, whole.comments), (0, 1));
    assert!(!whole.text.contains("canary"));
    assert_eq!(forgotten(&whole.text), []);
    assert_eq!(
        back(&whole.text),
        "a:\n  b: x\n  # canary\n  #\n  c_unencrypted: y\n"
    );

    let marked = plan("unencrypted_comment_regex", "keep");
    let text = encrypted("a: x\nb: y\n", &marked).text;
    let kept = text.replace("b: ENC", "# keep\nb: ENC");
    // The value behind the marker is clear by the rule now, and its ciphertext an ordinary text.
    assert_eq!(forgotten(&kept), []);
}
