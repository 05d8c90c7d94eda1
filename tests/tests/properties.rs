//! The properties of the fuzz targets (fuzz/src/properties.rs) with generated texts, so that every run of
//! the suites carries them.
//!
//! `SELKIE_FULL=1` runs twenty times as many.

#[allow(
    unreachable_pub,
    dead_code,
    reason = "shared with the fuzz targets, where it is a library"
)]
#[path = "../../fuzz/src/properties.rs"]
mod properties;

#[allow(unreachable_pub, reason = "as above")]
#[path = "../../fuzz/src/manifest.rs"]
mod manifest;

#[allow(unreachable_pub, reason = "as above")]
#[path = "../../fuzz/src/objects.rs"]
mod objects;

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use compat::counts;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::RngSeed;
use selkie_seal::{Certificate, PrivateKey};
use selkie_sops::Format;

const FORMATS: [(Format, &str); 4] = [
    (Format::Yaml, "yaml"),
    (Format::Json, "json"),
    (Format::Dotenv, "env"),
    (Format::Ini, "ini"),
];

/// The samples of the fuzz targets and the corpus, by suffix.
static SAMPLES: LazyLock<Vec<(String, Vec<u8>)>> = LazyLock::new(|| {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["corpus", "../fuzz/samples"] {
        for entry in fs::read_dir(here.join(folder)).expect(folder) {
            let path = entry.expect(folder).path();
            let name = path.display().to_string();
            files.push((name, fs::read(&path).expect(folder)));
        }
    }
    files.sort();
    files
});

static CERTIFICATE: LazyLock<Certificate> = LazyLock::new(|| {
    let key = PrivateKey::generate(2048).expect("a key");
    let day = jiff::SignedDuration::from_hours(24);
    Certificate::self_signed(&key, "", jiff::Timestamp::UNIX_EPOCH, day).expect("a certificate")
});

fn samples(suffix: &str) -> Vec<&'static [u8]> {
    let ending = format!(".{suffix}");
    SAMPLES
        .iter()
        .filter(|(name, _)| name.ends_with(&ending))
        .map(|(_, bytes)| bytes.as_slice())
        .collect()
}

fn cases(everyday: u32) -> ProptestConfig {
    ProptestConfig {
        cases: if counts::everything() {
            20 * everyday
        } else {
            everyday
        },
        failure_persistence: None,
        // The same cases in every run; `fuzz/run.sh` looks for new ones.
        rng_seed: RngSeed::Fixed(1),
        ..ProptestConfig::default()
    }
}

/// A text of what the formats are made of.
fn soup() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        "[ab\\n\\t:?,\\-\\[\\]{}#&*!|>'\" 1]{0,40}",
        "([ab]: ?([a1\"'|>{}*&-]{0,3}|true|1\\.50|null)?( #c)?\n( {0,4}- )?){0,6}",
        "\\{(\"[ab]\": ?(\"[a\\\\n]{0,3}\"|[0-9.eE-]{1,4}|\\[\\]|null|\\{\\}),? ?\n?){0,4}\\}",
        "((#|[AB]=)[a-c \"'#=\\\\]{0,6}\r?\n){0,5}",
        "((;|#|\\[[ab]\\]|[ab] ?[=:])[a-c \"'`;#=\\\\]{0,6}\r?\n){0,6}",
        any::<String>(),
    ]
    .prop_map(String::into_bytes)
}

/// One of the texts with some of its bytes changed.
fn changed(texts: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let changes = prop::collection::vec((any::<Index>(), any::<u8>(), 0..4_u8), 0..5);
    (any::<Index>(), changes).prop_map(move |(which, changes)| {
        let mut bytes = texts[which.index(texts.len())].clone();
        for (at, byte, how) in changes {
            if bytes.is_empty() {
                break;
            }
            let at = at.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                2 => drop(bytes.remove(at)),
                // What stands elsewhere in the text means more than any byte.
                _ => bytes[at] = bytes[usize::from(byte) % bytes.len()],
            }
        }
        bytes
    })
}

fn texts(suffix: &str) -> impl Strategy<Value = Vec<u8>> {
    let texts = samples(suffix).into_iter().map(<[u8]>::to_vec).collect();
    prop_oneof![soup(), changed(texts)]
}

fn check(everyday: u32, strategy: impl Strategy<Value = Vec<u8>>, property: impl Fn(&[u8])) {
    let mut runner = proptest::test_runner::TestRunner::new(cases(everyday));
    let result = runner.run(&strategy, |bytes| {
        property(&bytes);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

/// What a fuzzer or a generator found before is among the samples.
#[test]
fn every_sample_has_every_property() {
    for (_, bytes) in SAMPLES.iter() {
        for (format, _) in FORMATS {
            properties::parser(format, bytes);
            properties::round_trip(format, bytes);
            properties::encrypted_file(format, bytes);
        }
        properties::round_trip(Format::Binary, bytes);
        properties::rules(bytes);
        manifest::manifest(bytes, &CERTIFICATE);
        objects::secrets(bytes, &CERTIFICATE);
        objects::sealed(bytes);
    }
}

#[test]
fn a_parser_takes_or_refuses_any_text_and_edits_leave_no_trace() {
    for (format, suffix) in FORMATS {
        check(1_500, texts(suffix), |bytes| {
            properties::parser(format, bytes);
        });
    }
}

#[test]
fn what_is_encrypted_comes_back() {
    for (format, suffix) in FORMATS {
        check(400, texts(suffix), |bytes| {
            properties::round_trip(format, bytes);
        });
    }
    let bytes = prop::collection::vec(any::<u8>(), 0..200);
    check(200, bytes, |bytes| {
        properties::round_trip(Format::Binary, bytes);
    });
}

#[test]
fn a_changed_encrypted_file_opens_or_is_refused() {
    for (format, suffix) in [FORMATS.as_slice(), &[(Format::Binary, "bin")]].concat() {
        let sealed: Vec<Vec<u8>> = samples(suffix)
            .into_iter()
            .filter(|bytes| bytes.len() < 2_000)
            .filter_map(|bytes| properties::encrypted(format, bytes))
            .map(String::into_bytes)
            .collect();
        assert!(!sealed.is_empty(), "{suffix}");
        check(400, changed(sealed), |bytes| {
            properties::encrypted_file(format, bytes);
        });
        check(300, soup(), |bytes| {
            properties::encrypted_file(format, bytes);
        });
    }
}

#[test]
fn rules_are_read_or_refused() {
    let rules = SAMPLES
        .iter()
        .filter(|(name, _)| name.ends_with(".rule") || name.contains("/rules-"))
        .map(|(_, bytes)| bytes.clone())
        .collect();
    check(
        1_500,
        prop_oneof![soup(), changed(rules)],
        properties::rules,
    );
}

#[test]
fn a_manifest_is_sealed_once_or_refused() {
    for suffix in ["yaml", "json"] {
        check(200, texts(suffix), |bytes| {
            manifest::manifest(bytes, &CERTIFICATE);
        });
    }
}

const OBJECTS: [&str; 6] = [
    "apiVersion: v1\nkind: Secret\nmetadata:\n  name: db # c\n  namespace: prod\n  labels: {a: b}\ndata:\n  k: YQ==\nstringData:\n  p: |\n    x\n    y\n  n: 7\n---\nkind: Secret\nmetadata: {name: x}\n",
    r#"{"kind":"List","items":[{"kind":"Secret","metadata":{"name":"a","annotations":{"x":"\u003c\ud83d\ude00 y: z"}},"data":{"k":"AP8="}}]} {"kind":"Secret"}"#,
    "# c\napiVersion: bitnami.com/v1alpha1\nkind: SealedSecret # d\nmetadata:\n  name: db\n  namespace: prod\nspec:\n  encryptedData:\n    # about\n    a: AQID # e\n    'b': \"AQ==\"\n  template:\n    metadata:\n      labels: {x: y}\n    type: Opaque\n",
    "{\n  \"apiVersion\": \"bitnami.com/v1alpha1\",\n  \"kind\": \"SealedSecret\",\n  \"metadata\": {\"name\": \"a\"},\n  \"spec\": {\n    \"encryptedData\": {\n      \"k\": \"AQ==\"\n    },\n    \"template\": {}\n  }\n}\n",
    "apiVersion: bitnami.com/v1alpha1\nkind: SealedSecret\nspec: {encryptedData: {}, template: null}\n",
    "apiVersion: v1\nkind: List\nitems:\n- apiVersion: bitnami.com/v1alpha1\n  kind: SealedSecret\n  spec:\n    encryptedData: {a: x}\n    template:\n      metadata:\n        annotations:\n          n: |\n            a\n            b\n",
];

#[test]
fn objects_are_printed_and_changed_or_refused() {
    let texts = || OBJECTS.map(|text| text.as_bytes().to_vec()).to_vec();
    check(1_500, changed(texts()), |bytes| {
        objects::secrets(bytes, &CERTIFICATE);
    });
    check(1_500, changed(texts()), objects::sealed);
}
