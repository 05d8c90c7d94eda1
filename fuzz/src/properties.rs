//! What holds for any bytes: nothing panics, nothing is lost, and what opens opens to what was
//! encrypted. Each function fails by panicking, as a fuzzer wants it.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use selkie_sops::{
    Config, DataKeySource, DecryptOptions, EditOptions, Edited, EncryptPlan, Encryption,
    ExtractPath, Format, KeyEntry, KeyKind, KeySpec, KeyTarget, MasterKey, OpenFile, Selection,
    SelectionSettings, UnwrapError, WrapError, decrypt, decrypt_binary, encrypt, encrypt_binary,
    encrypted_leaves, is_encrypted, key_changes,
};
use selkie_text::{
    Edits, Kind, NodeId, Scalar, Stream, Syntax, Value, append_entry, remove_entry, set_scalar,
    set_token,
};
use zeroize::Zeroizing;

/// Longer texts tell nothing more, and the walks below are not all linear.
const LONGEST: usize = 16 << 10;

/// The parser of a format, its edits, and the values it reads.
pub fn parser(format: Format, bytes: &[u8]) {
    let Some(source) = text_of(bytes) else { return };
    let Ok(stream) = format.parse(source) else {
        return;
    };
    check_nodes(&stream);
    let unchanged = Edits::new().try_apply(source).expect("no edit");
    assert_eq!(unchanged.as_str(), source);
    if fits_metadata(&stream) {
        entry_comes_and_goes(&stream);
        tokens_come_and_go(&stream);
    }
}

fn text_of(bytes: &[u8]) -> Option<&str> {
    (bytes.len() <= LONGEST)
        .then(|| std::str::from_utf8(bytes).ok())
        .flatten()
}

/// Spans lie in the text, children in their parents; every node resolves or says why not.
fn check_nodes(stream: &Stream<'_>) {
    let source = stream.source();
    for (id, node) in stream.nodes() {
        assert!(source.get(node.span.clone()).is_some(), "{node:?}");
        let _ = stream.resolve(id);
        let _ = stream.line_column(node.span.start);
        for &child in &node.children {
            assert_eq!(stream.node(child).parent, Some(id));
        }
        for comment in node.head.iter().chain(&node.line).chain(&node.foot) {
            assert!(source.get(comment.span.clone()).is_some());
            let _ = stream.comment_text(comment);
        }
    }
    for document in 0..stream.documents().len() {
        let _ = stream.to_value(document);
        let _ = stream.duplicate_key(document);
    }
}

/// Whether metadata could be put into every document.
fn fits_metadata(stream: &Stream<'_>) -> bool {
    stream.documents().iter().all(|document| {
        let root = document.root.unwrap_or(document.content);
        stream.node(root).kind != Kind::Mapping
            || !stream
                .entries(root)
                .any(|(key, _)| stream.node(key).value.starts_with("sops"))
    })
}

/// An entry at the end of every document goes in and out again, and leaves no trace.
fn entry_comes_and_goes(stream: &Stream<'_>) {
    let source = stream.source();
    let value = Value::Map(vec![
        ("mac".to_owned(), Value::Str("ENC[x,type:str]".to_owned())),
        ("version".to_owned(), Value::Str("3.13.3".to_owned())),
    ]);
    let mut edits = Edits::new();
    for document in 0..stream.documents().len() {
        if append_entry(stream, &mut edits, document, "sops", &value, 4).is_err() {
            return;
        }
    }
    let Ok(with) = edits.try_apply(source) else {
        return;
    };
    let sealed = again(stream.syntax(), &with, source);
    let mut edits = Edits::new();
    for document in 0..stream.documents().len() {
        let removed = remove_entry(&sealed, &mut edits, document, "sops");
        assert!(
            removed.expect("it was put in"),
            "{source:?} {:?}",
            with.as_str()
        );
    }
    let back = edits.try_apply(&with).expect("it was put in");
    assert_eq!(back.as_str(), source, "{:?}", with.as_str());
}

/// Ciphertext takes the place of every string and goes again: the values are back, and what is no
/// string kept its text.
fn tokens_come_and_go(stream: &Stream<'_>) {
    const TOKEN: &str = "ENC[AES256_GCM,data:6i+8sy0=,iv:AA==,tag:AA==,type:str]";
    let source = stream.source();
    let leaves = strings(stream);
    let mut edits = Edits::new();
    for (id, _) in &leaves {
        set_token(stream, &mut edits, *id, TOKEN, false);
    }
    let Ok(with) = edits.try_apply(source) else {
        return;
    };
    let sealed = again(stream.syntax(), &with, source);
    for ((id, node), (_, new)) in stream.nodes().zip(sealed.nodes()) {
        if node.kind == Kind::Scalar && !leaves.iter().any(|(leaf, _)| *leaf == id) {
            assert_eq!(node.value, new.value, "{source:?} {:?}", with.as_str());
        }
    }
    let mut edits = Edits::new();
    for (id, text) in &leaves {
        assert_eq!(
            sealed.node(*id).value.trim_end(),
            TOKEN,
            "{source:?} {:?}",
            with.as_str()
        );
        set_scalar(&sealed, &mut edits, *id, text, false);
    }
    let back = edits.try_apply(&with).expect("the value stood there");
    let found = again(stream.syntax(), &back, source);
    assert_eq!(
        found.nodes().count(),
        stream.nodes().count(),
        "{source:?} {:?}",
        back.as_str()
    );
    for ((_, old), (_, new)) in stream.nodes().zip(found.nodes()) {
        assert_eq!(old.value, new.value, "{source:?} {:?}", back.as_str());
    }
}

/// The strings that stand as values, not empty.
fn strings(stream: &Stream<'_>) -> Vec<(NodeId, String)> {
    stream
        .nodes()
        .filter(|(id, node)| {
            node.kind == Kind::Scalar
                && !node.value.is_empty()
                && node.parent.is_some_and(|parent| {
                    stream.node(parent).kind != Kind::Mapping
                        || stream.entries(parent).any(|(_, value)| value == *id)
                })
                && matches!(stream.resolve(*id), Ok(Scalar::Str(_)))
        })
        .map(|(id, node)| (id, node.value.to_string()))
        .collect()
}

fn again<'t>(syntax: Syntax, text: &'t str, source: &str) -> Stream<'t> {
    let format = match syntax {
        Syntax::Yaml => Format::Yaml,
        Syntax::Json => Format::Json,
        Syntax::Dotenv => Format::Dotenv,
        Syntax::Ini => Format::Ini,
    };
    match format.parse(text) {
        Ok(stream) => stream,
        Err(error) => panic!("{source:?} became {text:?}: {error}"),
    }
}

/// What is encrypted opens again: the same values, and a text that another round does not change.
///
/// One of the two selections comes with a whole-file MAC. The text itself is the same, but for what docs/format.md lists as canonical forms.
pub fn round_trip(format: Format, bytes: &[u8]) {
    if format == Format::Binary {
        return binary_round_trip(bytes);
    }
    let Some(source) = text_of(bytes) else { return };
    for (selection, whole_mac) in [(Selection::default(), false), (some_keys(), true)] {
        let Some(encrypted) = sealed(source, format, &selection, whole_mac) else {
            continue;
        };
        let clear = opened(&encrypted, format, source);
        assert_eq!(
            values(&clear, format),
            values(source, format),
            "{source:?} came back as {clear:?}"
        );
        let second = sealed(&clear, format, &selection, whole_mac)
            .unwrap_or_else(|| panic!("{source:?} came back as {clear:?}, which is refused"));
        let third = opened(&second, format, source);
        assert_eq!(third, clear, "{source:?}");
        nothing_changes(&encrypted, format, &clear);
    }
}

fn binary_round_trip(bytes: &[u8]) {
    let Ok(Encryption::Encrypted(encrypted)) =
        encrypt_binary(bytes, &plan(&Selection::default(), false))
    else {
        return;
    };
    let back = decrypt_binary(&encrypted.text, &ClearKey, &DecryptOptions::default());
    assert_eq!(back.expect("it was encrypted").expose(), bytes);
}

/// An editor that saves what it was shown changes no byte.
fn nothing_changes(encrypted: &str, format: Format, clear: &str) {
    let file = OpenFile::open(encrypted, format, &ClearKey, &DecryptOptions::default());
    let file = file.unwrap_or_else(|error| panic!("{clear:?} does not open: {error}"));
    let options = EditOptions {
        now: jiff::Timestamp::UNIX_EPOCH,
        raise_version: false,
    };
    let edited = file.edited(clear.as_bytes(), &options);
    assert!(matches!(edited, Ok(Edited::Unchanged)), "{clear:?}");
}

fn some_keys() -> Selection {
    let settings = SelectionSettings {
        encrypted_regex: Some("^(a|data|password)".to_owned()),
        ..SelectionSettings::default()
    };
    settings.compile().expect("it compiles").expect("it is set")
}

fn plan(selection: &Selection, whole_mac: bool) -> EncryptPlan<'static> {
    EncryptPlan {
        groups: vec![vec![&ClearKey]],
        threshold: None,
        selection: selection.clone().even_if_nothing_matches(),
        mac_only_encrypted: false,
        whole_mac,
        now: jiff::Timestamp::UNIX_EPOCH,
    }
}

fn sealed(source: &str, format: Format, selection: &Selection, whole_mac: bool) -> Option<String> {
    match encrypt(source, format, &plan(selection, whole_mac)) {
        Ok(Encryption::Encrypted(encrypted)) => Some(encrypted.text),
        Ok(_) => None,
        Err(error) => {
            // A defect that the product's own check noticed is a defect all the same.
            let told = error.to_string();
            assert!(!told.contains("defect"), "{source:?}: {told}");
            None
        }
    }
}

fn opened(encrypted: &str, format: Format, source: &str) -> String {
    match decrypt(encrypted, format, &ClearKey, &DecryptOptions::default()) {
        Ok(decrypted) => decrypted.text.expose().to_owned(),
        Err(error) => panic!("{source:?} became {encrypted:?}: {error}"),
    }
}

/// Every document as data, without its comments.
fn values(text: &str, format: Format) -> Vec<String> {
    let stream = format
        .parse(text)
        .unwrap_or_else(|error| panic!("{text:?}: {error}"));
    (0..stream.documents().len())
        .map(|document| {
            let value = stream.to_value(document).ok().flatten();
            // NaN is not equal to itself.
            format!("{:?}", value.map(without_comments))
        })
        .collect()
}

fn without_comments(value: Value) -> Value {
    match value {
        Value::Map(entries) => Value::Map(
            entries
                .into_iter()
                .filter(|(_, value)| !matches!(value, Value::Comment(_)))
                .map(|(key, value)| (key, without_comments(value)))
                .collect(),
        ),
        Value::Seq(items) => Value::Seq(
            items
                .into_iter()
                .filter(|value| !matches!(value, Value::Comment(_)))
                .map(without_comments)
                .collect(),
        ),
        other => other,
    }
}

/// Encrypts a file so that [`encrypted_file`] can open it; nothing where it is refused.
pub fn encrypted(format: Format, bytes: &[u8]) -> Option<String> {
    if format == Format::Binary {
        return match encrypt_binary(bytes, &plan(&Selection::default(), false)) {
            Ok(Encryption::Encrypted(encrypted)) => Some(encrypted.text),
            _ => None,
        };
    }
    sealed(text_of(bytes)?, format, &Selection::default(), false)
}

/// Any bytes where an encrypted file is expected: every reader of metadata, and what comes after
/// it. What opens can be opened to be changed, and an unchanged one stays.
pub fn encrypted_file(format: Format, bytes: &[u8]) {
    let Some(source) = text_of(bytes) else { return };
    let target = KeyTarget {
        groups: vec![vec![ClearKey::spec()]],
        threshold: None,
    };
    let changes = key_changes(source, format, &target);
    assert!(
        !is_encrypted(source, format) || changes.is_ok(),
        "{source:?}"
    );
    let _ = encrypted_leaves(source, format);
    if format == Format::Binary {
        let _ = decrypt_binary(source, &ClearKey, &DecryptOptions::default());
        return;
    }
    for ignore_mac in [false, true] {
        let options = DecryptOptions {
            ignore_mac,
            ..DecryptOptions::default()
        };
        let Ok(decrypted) = decrypt(source, format, &ClearKey, &options) else {
            continue;
        };
        if !ignore_mac {
            let clear = decrypted.text.expose();
            let file = OpenFile::open(source, format, &ClearKey, &options);
            assert!(file.is_ok(), "{source:?} decrypts, and does not open");
            assert!(format.parse(clear).is_ok(), "{source:?} became {clear:?}");
        }
    }
}

/// `.sops.yaml`, and what stands in it: regular expressions, key lists, paths.
pub fn rules(bytes: &[u8]) {
    let Some(text) = text_of(bytes) else { return };
    let strict = Config::parse(text);
    let lenient = Config::parse_lenient(text);
    assert!(strict.is_err() || lenient.is_ok(), "{text:?}");
    for config in strict.iter().chain(&lenient) {
        for path in ["a.yaml", "secrets/db.prod.json", "", "é/\u{1f600}.env"] {
            let explained = config.explain(path);
            let found = config.rule_for(path).map(|rule| rule.line);
            assert_eq!(explained.rule.map(|(_, rule)| rule.line), found, "{text:?}");
            let _ = config.destination_for(path);
        }
        for rule in config.rules() {
            let _ = rule.groups(&std::collections::BTreeMap::new());
        }
        let _ = (config.shadowed_rules(), config.warnings(), config.stores());
    }
    let line = text.lines().next().unwrap_or_default();
    let _ = line.parse::<ExtractPath>();
    for kind in KeyKind::ALL {
        if let Ok(spec) = KeySpec::parse(kind, line) {
            let entry = spec.entry("enc", jiff::Timestamp::UNIX_EPOCH);
            assert_eq!(
                KeySpec::of_entry(&entry).identity(),
                spec.identity(),
                "{line:?}"
            );
        }
    }
}

/// A master key that wraps nothing: its entries hold the secret in base64.
struct ClearKey;

impl ClearKey {
    const NAME: &str = "age1clear";

    fn spec() -> KeySpec {
        KeySpec::Age {
            recipient: Self::NAME.to_owned(),
        }
    }
}

impl MasterKey for ClearKey {
    fn kind(&self) -> KeyKind {
        KeyKind::Age
    }

    fn id(&self) -> &str {
        Self::NAME
    }

    fn wrap(&self, secret: &[u8]) -> Result<KeyEntry, WrapError> {
        let enc = BASE64_STANDARD.encode(secret);
        Ok(Self::spec().entry(&enc, jiff::Timestamp::UNIX_EPOCH))
    }
}

impl DataKeySource for ClearKey {
    fn unwrap_key(&self, entry: &KeyEntry) -> Result<Zeroizing<Vec<u8>>, UnwrapError> {
        let text = entry.field("enc").unwrap_or_default().trim();
        let bytes = BASE64_STANDARD.decode(text);
        bytes.map(Zeroizing::new).map_err(|_| UnwrapError::NotMine)
    }
}
