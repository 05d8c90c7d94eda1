//! Secrets and SealedSecrets as objects (sealed-secrets.md 6, 12).

#![allow(clippy::unwrap_used, reason = "a test that fails shows where")]

use jiff::{SignedDuration, Timestamp};
use selkie_seal::manifest::{SealManifestError, SealPlan};
use selkie_seal::object::{
    Additions, EditManifestError, OpenError, OutputFormat, PlainSecret, ReadSealedError,
    SealedSecret, merge_into, replace_values, reseal,
};
use selkie_seal::{Certificate, PrivateKey, PrivateKeys, PrivateKeysError, Scope};
use selkie_secret::SecretBytes;

const KEY: &str = include_str!("vectors/key.pem");
const OTHER_KEY: &str = include_str!("vectors/other-key.pem");

fn certificate(key: &str) -> Certificate {
    let key = PrivateKey::parse(key).unwrap();
    let now = Timestamp::from_second(1_700_000_000).unwrap();
    Certificate::self_signed(&key, "", now, SignedDuration::from_hours(24)).unwrap()
}

fn keys(texts: &[&str]) -> PrivateKeys {
    let mut keys = PrivateKeys::default();
    for text in texts {
        keys.add(text).unwrap();
    }
    keys
}

fn sealed(
    source: &str,
    change: impl FnOnce(&mut SealPlan<'_>),
) -> Result<Vec<SealedSecret>, SealManifestError> {
    let certificate = certificate(KEY);
    let mut plan = SealPlan {
        certificate: &certificate,
        scope: None,
        name: None,
        namespace: None,
        default_namespace: &|| None,
        allow_empty_data: false,
    };
    change(&mut plan);
    let secrets = PlainSecret::read(source)?;
    secrets.iter().map(|secret| secret.seal(&plan)).collect()
}

/// The values of a SealedSecret, opened.
fn opened(secret: &SealedSecret, keys: &PrivateKeys) -> Vec<(String, Vec<u8>)> {
    let label = secret.label();
    let values = secret
        .open_values(&mut keys.unsealer(&label, None))
        .unwrap();
    let values = values.into_iter();
    values
        .map(|(key, value)| (key, value.expose().to_vec()))
        .collect()
}

fn no_templates(
    _: &str,
    _: &str,
    _: &std::collections::BTreeMap<String, SecretBytes>,
) -> Result<SecretBytes, String> {
    Err("no templates here".to_owned())
}

const SECRET: &str = "\
apiVersion: v1
kind: Secret
metadata:
  name: db
  namespace: prod
  uid: 0f3a
  creationTimestamp: 2024-01-01T00:00:00Z
  labels: {app: web}
  annotations:
    kubectl.kubernetes.io/last-applied-configuration: '{}'
    note: kept
type: Opaque
immutable: true
data:
  a: YWJj
  empty: \"\"
stringData:
  port: 8080
  up: true
";

#[test]
fn a_secret_is_sealed_in_the_canonical_form() {
    let [secret] = &sealed(SECRET, |_| {}).unwrap()[..] else {
        panic!("not one");
    };
    let values = opened(secret, &keys(&[KEY]));
    let values: Vec<(&str, &[u8])> = values
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_slice()))
        .collect();
    assert_eq!(
        values,
        [
            ("a", &b"abc"[..]),
            ("empty", b""),
            ("port", b"8080"),
            ("up", b"true")
        ]
    );
    let mut masked = secret.clone();
    masked.replace(|key| Some(format!("<{key}>")));
    let expected = r#"---
apiVersion: bitnami.com/v1alpha1
kind: SealedSecret
metadata:
  name: db
  namespace: prod
spec:
  encryptedData:
    a: <a>
    empty: <empty>
    port: <port>
    up: <up>
  template:
    immutable: true
    metadata:
      annotations:
        note: kept
      labels:
        app: web
      name: db
      namespace: prod
    type: Opaque
"#;
    assert_eq!(masked.print(OutputFormat::Yaml), expected);
    let json: serde_json::Value = serde_json::from_str(&masked.print(OutputFormat::Json)).unwrap();
    assert_eq!(json["spec"]["template"]["immutable"], true);
}

#[test]
fn a_given_scope_replaces_the_annotations_and_strict_removes_them() {
    let source = SECRET.replace(
        "note: kept",
        "sealedsecrets.bitnami.com/cluster-wide: \"true\"",
    );
    for (scope, expected, annotations) in [
        (None, Scope::ClusterWide, 1),
        (Some(Scope::NamespaceWide), Scope::NamespaceWide, 1),
        (Some(Scope::Strict), Scope::Strict, 0),
    ] {
        let secrets = sealed(&source, |plan| plan.scope = scope).unwrap();
        assert_eq!(secrets[0].scope(), expected);
        assert_eq!(secrets[0].template_annotations().len(), annotations);
        assert_eq!(opened(&secrets[0], &keys(&[KEY])).len(), 4);
    }
}

#[test]
fn documents_objects_and_lists_are_all_read() {
    let json = r#"{"kind":"Secret","metadata":{"name":"a","namespace":"ns"},"data":{"k":"AA=="}}"#;
    let list =
        format!("apiVersion: v1\nkind: List\nitems:\n- {json}\n- {json}\n---\n---\n{json}\n");
    assert_eq!(sealed(&list, |_| {}).unwrap().len(), 3);
    let concatenated = format!("{json}\n{json}");
    assert_eq!(sealed(&concatenated, |_| {}).unwrap().len(), 2);
    assert_eq!(PlainSecret::read("# nothing\n---\n").unwrap().len(), 0);
    // Go's JSON reader takes names of fields in any case, and half a surrogate.
    let odd = r#"{"KIND":"Secret","Metadata":{"Name":"a","namespace":"ns"},"stringdata":{"k":"\ud83d\ude00\ud83d"}}"#;
    let secrets = sealed(odd, |_| {}).unwrap();
    assert_eq!(
        opened(&secrets[0], &keys(&[KEY]))[0].1,
        "\u{1f600}\u{fffd}".as_bytes()
    );
}

#[test]
fn nothing_is_dropped_in_silence() {
    let message = |source: &str| match sealed(source, |_| {}) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("sealed: {source}"),
    };
    for (source, expected) in [
        (
            "kind: ConfigMap\napiVersion: v1\nmetadata: {name: x}\ndata: {a: YQ==}\n",
            "line 1: the ConfigMap \"x\" of v1 cannot be sealed; only a Secret of apiVersion v1 can",
        ),
        (
            "---\nkind: Secret\n---\njust text\n",
            "line 4: the document is not a mapping",
        ),
        (
            "kind: Secret\ndata: {a: YQ==, a: Yg==}\n",
            "line 2: the same key stands on line 2 already",
        ),
        (
            "kind: Secret\nstringData: {version: 1.10}\n",
            "line 2: stringData.version is not a string; put the value in quotes",
        ),
        (
            "kind: Secret\nstringData: {answer: no}\n",
            "line 2: stringData.answer is not a string; put the value in quotes",
        ),
        (
            "{\"kind\":\"Secret\",\"stringData\":{\"half\":0.50}}",
            "line 1: stringData.half is not a string; put the value in quotes",
        ),
        (
            "kind: Secret\nmetadata: {name: x}\ndata: {}\n",
            "line 1: secret.data is empty in input Secret, assuming this is an error and aborting. \
             To work with empty data, --allow-empty-data can be used",
        ),
        (
            "kind: Secret\ndata: {a: YQ==}\nsops: {mac: x}\n",
            "line 3: the Secret is encrypted by SOPS",
        ),
    ] {
        assert_eq!(message(source), expected, "{source}");
    }
    assert!(message("{\"kind\":\"Secret\"} garbage").contains("line 1"));
    assert!(message("kind: Secret\n---\na: [\n").contains("line"));
    let secrets = PlainSecret::read(&format!("{SECRET}spec: {{}}\n")).unwrap();
    assert_eq!(secrets[0].unknown_fields().len(), 1);
    let repeated = SECRET
        .replace("note: kept", "note: my-long-password")
        .replace("port: 8080", "password: my-long-password");
    assert_eq!(
        PlainSecret::read(&repeated).unwrap()[0].repeated_values(),
        ["the annotation note"]
    );
}

#[test]
fn an_opened_secret_prints_as_kubeseal_prints_it() {
    let secret = &sealed(SECRET, |_| {}).unwrap()[0];
    let keys = keys(&[OTHER_KEY, KEY]);
    let label = secret.label();
    let opened = secret
        .open(&mut keys.unsealer(&label, None), &mut no_templates)
        .unwrap();
    let expected = "---
apiVersion: v1
data:
  a: YWJj
  empty: \"\"
  port: ODA4MA==
  up: dHJ1ZQ==
immutable: true
kind: Secret
metadata:
  annotations:
    note: kept
  labels:
    app: web
  name: db
  namespace: prod
  ownerReferences:
  - apiVersion: bitnami.com/v1alpha1
    controller: true
    kind: SealedSecret
    name: db
    uid: \"\"
type: Opaque
";
    assert_eq!(opened.print(OutputFormat::Yaml).expose(), expected);
    let wrong = keys_error(secret, &[OTHER_KEY]);
    assert_eq!(wrong, "no key could decrypt secret (a, empty, port, up)");
    assert_eq!(keys_error(secret, &[]), wrong);
}

fn keys_error(secret: &SealedSecret, texts: &[&str]) -> String {
    let keys = keys(texts);
    let label = secret.label();
    let opened = secret.open(&mut keys.unsealer(&label, None), &mut no_templates);
    opened.unwrap_err().to_string()
}

#[test]
fn templates_see_values_and_each_others_text_and_values_win() {
    let secret = &sealed(SECRET, |_| {}).unwrap()[0];
    let text = secret.print(OutputFormat::Yaml).replace(
        "  template:\n",
        "  template:\n    data: {a: ignored, url: 'x {{ .a }}'}\n",
    );
    let secret = &SealedSecret::read(&text).unwrap()[0];
    assert_eq!(secret.template_data().len(), 2);
    let keys = keys(&[KEY]);
    let label = secret.label();
    let opened = secret
        .open(
            &mut keys.unsealer(&label, None),
            &mut |key, text, context| {
                let seen: Vec<&str> = context.keys().map(String::as_str).collect();
                assert_eq!(seen, ["a", "empty", "port", "up", "url"]);
                assert_eq!(context["a"].expose(), b"abc");
                Ok(SecretBytes::new(format!("<{key}={text}>").into_bytes()))
            },
        )
        .unwrap();
    assert_eq!(opened.values()["a"].expose(), b"abc");
    assert_eq!(opened.values()["url"].expose(), b"<url=x {{ .a }}>");
}

const SEALED: &str = "\
# head
apiVersion: bitnami.com/v1alpha1 # api
kind: SealedSecret
metadata:
    name: db
    namespace: prod
    labels: {mine: 'yes'}
spec:
    encryptedData:
        # about the user
        user: USER # the user
        password: 'PASSWORD'
    template:
        metadata:
            name: db
            namespace: prod
";

/// [`SEALED`] with values for a key.
fn with_values(key: &str) -> String {
    let label = Scope::Strict.label("prod", "db");
    let certificate = certificate(key);
    let seal = |text: &str| {
        let sealed = selkie_seal::seal_value(&certificate, &label, text.as_bytes()).unwrap();
        selkie_seal::encode_value(&sealed)
    };
    SEALED
        .replace("USER", &seal("admin"))
        .replace("PASSWORD", &seal("s3cr3t"))
}

#[test]
fn resealing_changes_the_values_only_and_a_second_run_nothing() {
    for source in [
        with_values(KEY),
        with_values(KEY).replace('\n', "\r\n"),
        SealedSecret::read(&with_values(KEY)).unwrap()[0].print(OutputFormat::Json),
    ] {
        let all = keys(&[KEY, OTHER_KEY]);
        let new = certificate(OTHER_KEY);
        let done = reseal(&source, &new, &all).unwrap();
        assert_eq!((done.resealed, done.current), (2, 0));
        let secret = &SealedSecret::read(&done.text).unwrap()[0];
        let values = opened(secret, &keys(&[OTHER_KEY]));
        assert_eq!(values[0], ("password".to_owned(), b"s3cr3t".to_vec()));
        // Everything but the values is the same.
        let masked = |text: &str| {
            let mut text = text.to_owned();
            for item in SealedSecret::read(&text.clone()).unwrap()[0].items() {
                text = text.replace(item.text().unwrap(), item.key());
            }
            text
        };
        assert_eq!(masked(&done.text), masked(&source));
        let again = reseal(&done.text, &new, &all).unwrap();
        assert_eq!((again.resealed, again.current), (0, 2));
        assert_eq!(again.text, done.text);
        let old = keys(&[KEY]);
        let error = reseal(&done.text, &new, &old);
        assert!(
            error
                .unwrap_err()
                .to_string()
                .contains("no key could decrypt secret (")
        );
    }
}

#[test]
fn merging_keeps_every_other_byte_and_makes_what_is_missing() {
    let additions = Additions {
        values: vec![
            ("user".to_owned(), "NEW".to_owned()),
            ("token".to_owned(), "TOKEN".to_owned()),
        ],
        labels: vec![("app".to_owned(), "web".to_owned())],
        annotations: vec![("note".to_owned(), "on: it".to_owned())],
    };
    let merged = merge_into(SEALED, &additions).unwrap();
    let expected = SEALED
        .replace("user: USER", "user: NEW")
        .replace("'PASSWORD'\n", "'PASSWORD'\n        token: TOKEN\n")
        + "            labels:\n              app: web\n            annotations:\n              note: 'on: it'\n";
    assert_eq!(merged, expected);
    for (source, what) in [
        (
            "apiVersion: bitnami.com/v1alpha1\nkind: SealedSecret\nmetadata: {name: x}\n",
            "bare",
        ),
        (
            "apiVersion: bitnami.com/v1alpha1\nkind: SealedSecret\nspec:\n  encryptedData:\n  template: {metadata: {labels: null}}\n",
            "null",
        ),
        (
            "{\"apiVersion\":\"bitnami.com/v1alpha1\",\"kind\":\"SealedSecret\",\"spec\":{\"encryptedData\":{}}}",
            "json",
        ),
        (
            "{\n  \"apiVersion\": \"bitnami.com/v1alpha1\",\n  \"kind\": \"SealedSecret\",\n  \"spec\": {\n    \"encryptedData\": {\n      \"a\": \"b\"\n    }\n  }\n}\n",
            "indented json",
        ),
    ] {
        let merged = merge_into(source, &additions).unwrap();
        let secret = &SealedSecret::read(&merged).unwrap()[0];
        let texts: Vec<&str> = secret
            .items()
            .iter()
            .filter_map(|item| item.text())
            .collect();
        assert!(texts.ends_with(&["TOKEN", "NEW"]), "{what}: {merged}");
        assert_eq!(secret.template_labels().len(), 1, "{what}");
        assert_eq!(secret.template_annotations()[0].1, "on: it", "{what}");
    }
    assert_eq!(
        merge_into(&format!("{SEALED}---\n{SEALED}"), &additions).unwrap_err(),
        EditManifestError::Several { count: 2 }
    );
}

#[test]
fn other_objects_and_empty_input_are_refused() {
    assert_eq!(SealedSecret::read("").unwrap_err(), ReadSealedError::Empty);
    let error = SealedSecret::read(&format!("{SEALED}---\n{SECRET}")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "line 18: the Secret \"db\" of v1 is no SealedSecret"
    );
    let mut calls = 0;
    let error = replace_values::<EditManifestError>("a: [", |_, _| {
        calls += 1;
        Ok(None)
    });
    assert!(error.is_err() && calls == 0);
}

#[test]
fn older_forms_and_broken_values_are_read() {
    let source = SEALED
        .replace(
            "metadata:\n    name: db",
            "status: {}\nmetadata:\n    creationTimestamp: null\n    name: db",
        )
        .replace(
            "password: 'PASSWORD'",
            "password: 12\n        other: '*'\n        cut: AQA=",
        );
    let secret = &SealedSecret::read(&source).unwrap()[0];
    assert_eq!(secret.items().len(), 4);
    assert_eq!(secret.items()[1].text(), None);
    let problems = secret.problems(None);
    let told: Vec<String> = problems
        .iter()
        .map(|problem| format!("{}: {} {}", problem.line, problem.path, problem.what))
        .collect();
    assert_eq!(
        told,
        [
            "13: spec.encryptedData.user the sealed value is too short; it was cut or is not a sealed value",
            "14: spec.encryptedData.password is no text",
            "15: spec.encryptedData.other illegal base64 data at input byte 0",
            "16: spec.encryptedData.cut the sealed value is too short; it was cut or is not a sealed value",
        ]
    );
    assert!(problems.iter().all(|problem| problem.is_fatal));
    let fine = &SealedSecret::read(&with_values(KEY)).unwrap()[0];
    assert_eq!(fine.problems(Some(&certificate(KEY))), []);
    let old = SEALED.replace("spec:\n", "spec:\n    data: AQ==\n");
    let old = &SealedSecret::read(&old).unwrap()[0];
    let label = old.label();
    let keys = keys(&[KEY]);
    let refused = old.open_values(&mut keys.unsealer(&label, None));
    assert_eq!(refused.unwrap_err(), OpenError::Deprecated);
}

#[test]
fn keys_come_from_pem_and_from_every_form_of_a_backup() {
    let indent = |text: &str| text.replace('\n', "\n    ");
    let secret = |name: &str, pem: &str| {
        format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}}}\nstringData:\n  tls.key: |\n    {}\n",
            indent(pem.trim_end())
        )
    };
    let item = |pem: &str| {
        let secret = secret("x", pem);
        format!("- {}", secret.trim_end().replace('\n', "\n  "))
    };
    let list = |head: &str| format!("{head}items:\n{}\n{}\n", item(KEY), item(OTHER_KEY));
    for (text, count) in [
        (KEY.to_owned(), 1),
        (format!("{KEY}{OTHER_KEY}"), 2),
        (secret("a", KEY), 1),
        (
            format!("{}---\n{}", secret("a", KEY), secret("b", OTHER_KEY)),
            2,
        ),
        (list("apiVersion: v1\nkind: List\n"), 2),
        (list("apiVersion: v1\nkind: SecretList\n"), 2),
        (list(""), 2),
        (
            format!(
                "{}---\n{}",
                list("apiVersion: v1\nkind: List\n"),
                secret("c", KEY)
            ),
            2,
        ),
    ] {
        let mut keys = PrivateKeys::default();
        assert_eq!(keys.add(&text).unwrap(), count, "{text}");
        assert_eq!(keys.add(&text).unwrap(), 0);
        assert_eq!(keys.len(), count);
    }
    let mut keys = PrivateKeys::default();
    assert_eq!(keys.add("").unwrap_err(), PrivateKeysError::Empty);
    let error = keys.add("kind: Secret\nmetadata: {name: x}\ndata: {a: ''}\n");
    assert!(
        error
            .unwrap_err()
            .to_string()
            .contains("secret must contain a 'tls.data' key")
    );
    let error = keys.add("just text").unwrap_err().to_string();
    assert!(error.starts_with("neither a private key"), "{error}");
    assert!(keys.add(&secret("x", "nonsense")).is_err());
}

#[test]
fn ten_thousand_keys_are_read_changed_and_printed() {
    let mut source = String::from(
        "apiVersion: bitnami.com/v1alpha1\nkind: SealedSecret\nmetadata: {name: a, namespace: b}\nspec:\n  encryptedData:\n",
    );
    let value = "AgB".repeat(200);
    for at in 0..10_000 {
        source.push_str(&format!("    key{at}: {value}\n"));
    }
    let replaced = replace_values::<EditManifestError>(&source, |_, item| {
        Ok(item.key().ends_with('7').then(|| "NEW".to_owned()))
    })
    .unwrap();
    assert_eq!(replaced.values, 1_000);
    let secret = &SealedSecret::read(&replaced.text).unwrap()[0];
    assert_eq!(secret.items()[9_997].text(), Some("NEW"));
    assert!(secret.print(OutputFormat::Yaml).len() > 5_000_000);
}

#[test]
fn aliases_that_multiply_are_refused() {
    let mut bomb = String::from("x: &a0 [a, b, c, d, e, f, g, h, i, j]\n");
    for level in 1..9 {
        let of = level - 1;
        let items = vec![format!("*a{of}"); 10].join(", ");
        bomb.push_str(&format!("x{level}: &a{level} [{items}]\n"));
    }
    let of_metadata = format!(
        "{bomb}kind: Secret\nmetadata: {{name: a, namespace: b, finalizers: *a8}}\nstringData: {{k: v}}\n"
    );
    let error = PlainSecret::read(&of_metadata).err().unwrap();
    assert!(error.to_string().contains("aliases"), "{error}");
    let of_list = format!(
        "kind: List\nitems:\n- &s {{kind: Secret, metadata: {{name: a}}}}\n{}",
        "- *s\n".repeat(10)
    );
    let error = PlainSecret::read(&of_list).err().unwrap();
    assert!(
        matches!(error, SealManifestError::TooLarge { .. }),
        "{error}"
    );
}

/// As many objects as a body of 2 MiB holds. With 10,000 blank lines before each that is 7 GB.
#[test]
fn the_second_of_many_objects_is_refused_and_lines_count_in_the_manifest() {
    let empty = "{}\n".repeat(699_050);
    let error = SealedSecret::read_one(&empty).err().unwrap();
    assert!(matches!(error, ReadSealedError::NotSealed { line: 1, .. }));
    let lists = "{\"kind\":\"List\"}\n".repeat(120_000);
    assert_eq!(
        SealedSecret::read_one(&lists).err(),
        Some(ReadSealedError::Empty)
    );
    let one = "{\"kind\":\"SealedSecret\",\"apiVersion\":\"bitnami.com/v1alpha1\"}\n";
    assert_eq!(SealedSecret::read_one(one).unwrap().line(), 1);
    let error = SealedSecret::read_one(&one.repeat(30_000)).err();
    assert_eq!(error, Some(ReadSealedError::Several { line: 2 }));
    // Deeper than any padding: the manifest's own lines.
    let all = SealedSecret::read(&one.repeat(30_000)).unwrap();
    assert_eq!(all[29_999].line(), 30_000);
    let broken = format!("{}{{\"kind\": 1}}", one.repeat(30_000));
    let error = SealedSecret::read(&broken).err().unwrap().to_string();
    assert!(error.starts_with("line 30001: "), "{error}");
}

/// A search from the start for each entry is a hundred thousand million steps.
#[test]
fn very_many_entries_are_read_in_one_go() {
    let mut source = String::from(
        "{\"apiVersion\":\"bitnami.com/v1alpha1\",\"kind\":\"SealedSecret\",\"spec\":{\"encryptedData\":{",
    );
    for at in 0..190_000 {
        source.push_str(&format!("\n\"{at:x}\":0,"));
    }
    source.push_str("\"last\":\"\"}}}");
    let secret = &SealedSecret::read(&source).unwrap()[0];
    assert_eq!(secret.items().len(), 190_001);
    assert_eq!(secret.items()[189_999].line(), 190_001);
    // From anybody it is refused: no object of a cluster is so large.
    let error = SealedSecret::read_one(&source).err().unwrap().to_string();
    assert!(error.contains("more than 100000 values"), "{error}");
}

/// The first is small enough to pass the parser.
#[test]
fn lists_and_merge_keys_do_not_multiply() {
    let mut lists = String::from("kind: List\nl0: &l0 [{kind: List}]\n");
    for level in 1..4 {
        let items = vec![format!("{{kind: List, items: *l{}}}", level - 1); 12].join(", ");
        lists.push_str(&format!("l{level}: &l{level} [{items}]\n"));
    }
    lists.push_str("items: *l3\n");
    let mut merges = String::from("kind: List\nbase: &base\n");
    for at in 0..2_000 {
        merges.push_str(&format!("  k{at}:\n"));
    }
    merges.push_str(&format!("items:\n{}", "- {<<: *base}\n".repeat(300)));
    for source in [lists, merges] {
        let error = SealedSecret::read_one(&source).err().unwrap();
        assert!(error.to_string().contains("alias"), "{error}");
    }
}
