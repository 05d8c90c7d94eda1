//! Secret manifests become SealedSecret manifests in place (sealed-secrets.md 12.3, 12.5).

#![allow(clippy::unwrap_used, reason = "a test that fails shows where")]

use jiff::{SignedDuration, Timestamp};
use selkie_seal::manifest::{SealManifestError, SealPlan, Sealing, seal};
use selkie_seal::{Certificate, KeyRing, Label, PrivateKey, RingKey, Scope, decode_value};
use selkie_text::yaml::{self, Limits};

fn certificate() -> Certificate {
    let key = PrivateKey::parse(include_str!("vectors/key.pem")).unwrap();
    let now = Timestamp::from_second(1_700_000_000).unwrap();
    Certificate::self_signed(&key, "", now, SignedDuration::from_hours(24)).unwrap()
}

fn ring() -> KeyRing {
    let key = PrivateKey::parse(include_str!("vectors/key.pem")).unwrap();
    let mut ring = KeyRing::default();
    ring.insert(RingKey::new(&key, certificate(), Timestamp::UNIX_EPOCH).unwrap());
    ring
}

/// A plan that says nothing but the certificate.
fn with(
    source: &str,
    change: impl FnOnce(&mut SealPlan<'_>),
) -> Result<Sealing, SealManifestError> {
    let certificate = certificate();
    let mut plan = SealPlan {
        certificate: &certificate,
        scope: None,
        name: None,
        namespace: None,
        default_namespace: &|| None,
        allow_empty_data: false,
    };
    change(&mut plan);
    seal(source, &plan)
}

fn plain(source: &str) -> Result<Sealing, SealManifestError> {
    with(source, |_| {})
}

/// The manifest with every sealed value replaced by `<its plaintext>`, opened under `label`.
fn opened(text: &str, label: &Label) -> String {
    let stream = yaml::parse(text, &Limits::default()).unwrap();
    let mut shown = text.to_owned();
    for (_, node) in stream
        .nodes()
        .filter(|(_, node)| node.value.starts_with("AQ"))
    {
        let sealed = decode_value(&node.value).unwrap();
        let value = ring()
            .unseal(label, &sealed)
            .unwrap()
            .into_string()
            .unwrap();
        shown = shown.replace(&*node.value, &format!("<{}>", value.expose()));
    }
    shown
}

const COMMENTED: &str = r#"# file head

# doc head
apiVersion: v1 # api
kind: Secret
metadata:
  # about the name
  name: db # the name
  namespace: prod
  creationTimestamp: null
  uid: 0f3a
  managedFields: [{manager: kubectl}]
  ownerReferences:
  - kind: Deployment
  labels:
    app: 'web' # why
  annotations:
    kubectl.kubernetes.io/last-applied-configuration: |
      {"stringData":{"password":"hunter2hunter2"}}
    # kept
    note: |
      several
      lines
  finalizers:
  # f
  - a/b
type: Opaque # t
# the data
data:
  # the password
  password: aHVudGVyMmh1bnRlcjI= # rotate
  "user.name": YXBw
stringData:
  password: other
  multi: |
    a
    b
# trailing
"#;

#[test]
fn comments_stay_with_their_fields_and_server_fields_go() {
    let sealing = plain(COMMENTED).unwrap();
    assert_eq!(
        (sealing.secrets, sealing.values, sealing.already),
        (1, 3, 0)
    );
    let expected = r#"# file head

# doc head
apiVersion: bitnami.com/v1alpha1 # api
kind: SealedSecret
metadata:
  # about the name
  name: db # the name
  namespace: prod
spec:
  # the data
  encryptedData:
    # the password
    password: <other> # rotate
    "user.name": <app>
    multi: <a
b
>
  template:
    metadata:
      name: db
      namespace: prod
      labels:
        app: 'web' # why
      finalizers:
      # f
      - a/b
      annotations:
        # kept
        note: |
          several
          lines
    type: Opaque # t
# trailing
"#;
    let label = Scope::Strict.label("prod", "db");
    assert_eq!(opened(&sealing.text, &label), expected);
}

#[test]
fn other_documents_stay_byte_for_byte() {
    let before = "# c\nkind:   ConfigMap\ndata: {a: 'b'}   # odd\n---\n";
    let secret =
        "apiVersion: v1\nkind: Secret\nmetadata: {name: n, namespace: s}\nstringData: {k: v}\n";
    let after =
        "---\n# nothing\n--- \nkind: SealedSecret\napiVersion: bitnami.com/v1alpha1\n...\n# end";
    let sealing = plain(&format!("{before}{secret}{after}")).unwrap();
    assert_eq!((sealing.secrets, sealing.already), (1, 1));
    assert!(sealing.text.starts_with(before));
    assert!(sealing.text.ends_with(after));
    let middle = &sealing.text[before.len()..sealing.text.len() - after.len()];
    assert!(middle.starts_with("apiVersion: bitnami.com/v1alpha1\nkind: SealedSecret\n"));
    assert!(middle.ends_with("      namespace: s\n"), "{middle}");
}

#[test]
fn line_ends_indentation_and_a_missing_last_newline_stay() {
    let secret =
        "apiVersion: v1\nkind: Secret\nmetadata:\n  name: n\n  namespace: s\nstringData:\n  k: v";
    let label = Scope::Strict.label("s", "n");
    let expected = "apiVersion: bitnami.com/v1alpha1\nkind: SealedSecret\nmetadata:\n  name: n\n  namespace: s\n\
        spec:\n  encryptedData:\n    k: <v>\n  template:\n    metadata:\n      name: n\n      namespace: s";
    let text = |source: &str| opened(&plain(source).unwrap().text, &label);
    assert_eq!(text(secret), expected);
    assert_eq!(
        text(&secret.replace('\n', "\r\n")),
        expected.replace('\n', "\r\n")
    );
    assert_eq!(
        text(&format!("\u{feff}{secret}\n")),
        format!("\u{feff}{expected}\n")
    );
    let indent = |text: &str| format!("  {}", text.replace('\n', "\n  "));
    assert_eq!(text(&indent(secret)), indent(expected));
    let tagged = text(&format!("--- !!map\n{secret}"));
    assert_eq!(tagged, format!("---\n{expected}"));
}

#[test]
fn json_stays_json() {
    let source = r#"{"kind":"Secret","apiVersion":"v1","metadata":{"name":"n","namespace":"s","labels":{"a":"1"}},"immutable":true,"data":{"k":"YQ==","l":null}}"#;
    let sealing = plain(&format!("{source}\n")).unwrap();
    let label = Scope::Strict.label("s", "n");
    let expected = r#"{
  "apiVersion": "bitnami.com/v1alpha1",
  "kind": "SealedSecret",
  "metadata": {
    "name": "n",
    "namespace": "s"
  },
  "spec": {
    "encryptedData": {
      "k": "<a>",
      "l": "<>"
    },
    "template": {
      "metadata": {
        "name": "n",
        "namespace": "s",
        "labels": {
          "a": "1"
        }
      },
      "immutable": true
    }
  }
}
"#;
    assert_eq!(opened(&sealing.text, &label), expected);
    // Behind a marker, and with a comment, which JSON has not.
    let sealing = plain(&format!("--- {source} # c\n")).unwrap();
    assert!(
        sealing.text.starts_with("---\napiVersion: bitnami"),
        "{}",
        sealing.text
    );
}

/// `kubectl get secret -o json` and Go's encoder write both.
#[test]
fn json_objects_in_a_row_and_surrogates_are_sealed() {
    let one = |name: &str, value: &str| {
        format!(
            "{{\n  \"apiVersion\": \"v1\",\n  \"kind\": \"Secret\",\n  \"metadata\": {{\"name\": \"{name}\", \
             \"namespace\": \"s\"}},\n  \"stringData\": {{\"k\": {value}}}\n}}"
        )
    };
    let other = r#"{"kind": "ConfigMap", "data": {"x": "\ud83d\ude00"}}"#;
    let first = one("n", r#""a \ud83d\ude00#1 # no comment""#);
    let second = one("n", r#""b""#);
    let source = format!("{first}\n{other} {second}\n");
    let sealing = plain(&source).unwrap();
    assert_eq!((sealing.secrets, sealing.values), (2, 2));
    let text = opened(
        &sealing
            .text
            .replace(other, "{}")
            .replace("} {", "}\n---\n{")
            .replace("}\n{", "}\n---\n{"),
        &Scope::Strict.label("s", "n"),
    );
    assert!(
        text.contains("\"k\": \"<a \u{1f600}#1 # no comment>\"") && text.contains("\"k\": \"<b>\""),
        "{text}"
    );
    assert!(
        sealing.text.contains(&format!("}}\n{other} {{")),
        "{}",
        sealing.text
    );
    assert!(sealing.text.ends_with("}\n"));
    let values = serde_json::Deserializer::from_str(&sealing.text).into_iter::<serde_json::Value>();
    assert_eq!(values.filter(Result::is_ok).count(), 3);

    let again = plain(&sealing.text).unwrap();
    assert_eq!(
        (again.secrets, again.already, &again.text),
        (0, 2, &sealing.text)
    );
    let error = plain(&format!("{first}\n{}", one("m", "[]"))).unwrap_err();
    assert_eq!(
        error.to_string(),
        "line 11: stringData.k is not a string; put the value in quotes"
    );
    let error = plain("{\"kind\":\"A\"}{\"kind\":\"B\"}")
        .unwrap_err()
        .to_string();
    assert_eq!(error, "no Secret found; the file holds A, B");
    let error = with(&source, |plan| plan.name = Some("o")).unwrap_err();
    assert_eq!(error, SealManifestError::NameForSeveral { count: 2 });
}

#[test]
fn aliases_and_merge_keys_are_written_out() {
    let source = "apiVersion: v1\nkind: Secret\nmetadata:\n  name: &n app\n  namespace: s\n  labels: &l\n    a: *n\n  \
        annotations:\n    <<: *l\n    b: c\nstringData:\n  k: *n\n";
    let text = opened(
        &plain(source).unwrap().text,
        &Scope::Strict.label("s", "app"),
    );
    assert!(text.contains("    k: <app>\n"), "{text}");
    assert!(text.contains("      labels:\n        a: app\n"), "{text}");
    assert!(
        text.contains("      annotations:\n        b: c\n        a: app\n"),
        "{text}"
    );
    assert!(!text.contains(['&', '*']), "{text}");
}

#[test]
fn a_bomb_of_aliases_is_refused() {
    let mut source =
        "apiVersion: v1\nkind: Secret\nstringData: {k: v}\nmetadata:\n  name: n\n  namespace: s\n"
            .to_owned();
    source.push_str("  a0: &a0 [x]\n");
    for level in 1..30 {
        let below = level - 1;
        source.push_str(&format!(
            "  a{level}: &a{level} [*a{below}, *a{below}, *a{below}]\n"
        ));
    }
    let error = plain(&source).unwrap_err();
    let limited = matches!(
        error,
        SealManifestError::TooLarge { .. } | SealManifestError::Parse(_)
    );
    assert!(limited, "{error}");
}

fn secret(metadata: &str) -> String {
    format!("apiVersion: v1\nkind: Secret\nmetadata: {metadata}\nstringData: {{k: v}}\n")
}

/// Rules 2 to 4 of section 12.5: what the values are bound to.
#[test]
fn name_namespace_and_scope_decide_the_label() {
    use Scope::{ClusterWide, NamespaceWide, Strict};
    let own = secret("{name: n, namespace: s}");
    let bare = secret("{name: n}");
    let wide = secret(
        r#"{name: n, namespace: s, annotations: {sealedsecrets.bitnami.com/namespace-wide: "true"}}"#,
    );
    let opens = |sealing: Result<Sealing, _>, label: Label| {
        let sealing = sealing.unwrap();
        assert!(
            opened(&sealing.text, &label).contains("<v>"),
            "{}",
            sealing.text
        );
        sealing.text
    };
    opens(plain(&own), Strict.label("s", "n"));
    opens(
        with(&own, |plan| plan.name = Some("o")),
        Strict.label("s", "o"),
    );
    opens(
        with(&bare, |plan| plan.namespace = Some("t")),
        Strict.label("t", "n"),
    );
    opens(
        with(&bare, |plan| {
            plan.default_namespace = &|| Some("d".to_owned());
        }),
        Strict.label("d", "n"),
    );

    let text = opens(plain(&wide), NamespaceWide.label("s", ""));
    assert_eq!(
        text.matches("namespace-wide: \"true\"").count(),
        2,
        "{text}"
    );
    let text = opens(
        with(&wide, |plan| plan.scope = Some(Strict)),
        Strict.label("s", "n"),
    );
    assert!(!text.contains("namespace-wide"), "{text}");
    let text = opens(
        with(&wide, |plan| plan.scope = Some(ClusterWide)),
        ClusterWide.label("", ""),
    );
    assert!(!text.contains("namespace-wide"), "{text}");
    assert_eq!(text.matches("cluster-wide: \"true\"").count(), 2, "{text}");
    assert_eq!(text.matches("namespace: s").count(), 2, "{text}");
    let text = opens(
        with(&bare, |plan| plan.scope = Some(ClusterWide)),
        ClusterWide.label("", ""),
    );
    assert!(!text.contains("namespace:"), "{text}");

    let error = with(&own, |plan| plan.namespace = Some("t")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "line 1: namespace mismatch: input secret is in namespace \"s\" but \"t\" was specified"
    );
    let error = plain(&bare).unwrap_err();
    assert_eq!(error.to_string(), "line 1: secret must declare a namespace");
    let error = plain(&secret("{namespace: s}")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "line 1: missing metadata.name in input Secret"
    );
    let error = with(&format!("{own}---\n{own}"), |plan| plan.name = Some("o")).unwrap_err();
    assert_eq!(error.to_string(), "one name cannot be given to 2 Secrets");
}

#[test]
fn what_cannot_be_sealed_is_refused_with_its_place() {
    let head = "apiVersion: v1\nkind: Secret\nmetadata: {name: n, namespace: s}\n";
    for (source, expected) in [
        (
            "",
            "no secrets found. Ensure the input is valid and UTF-8 encoded",
        ),
        (
            "# only\n---\n",
            "no secrets found. Ensure the input is valid and UTF-8 encoded",
        ),
        (
            "kind: ConfigMap\n---\nkind: Pod\n",
            "no Secret found; the file holds ConfigMap, Pod",
        ),
        (
            "kind: Secret\n",
            "no Secret found; the file holds a Secret without apiVersion: v1",
        ),
        (
            "kind: List\nitems:\n- kind: Secret\n",
            "line 1: a List with a Secret in it",
        ),
        (
            &format!("{head}stringData: {{k: a}}\n---\nkind: Secret\nstringData: {{k: b}}\n"),
            "line 6: this Secret would stay in clear",
        ),
        (
            &format!("{head}stringData: {{k: a}}\n---\n- {{kind: Secret, data: {{k: Yg==}}}}\n"),
            "line 6: this Secret would stay in clear",
        ),
        (
            "kind: List\nitems:\n- kind: List\n  items:\n  - kind: Secret\n    data: {k: Yg==}\n",
            "line 5: this Secret would stay in clear",
        ),
        (
            &format!("{head}data: {{k: 'YQ=a'}}\n"),
            "line 4: data.k: illegal base64 data at input byte 2",
        ),
        (
            &format!("{head}stringData: {{k: 1}}\n"),
            "line 4: stringData.k is not a string",
        ),
        (
            &format!("{head}stringData: {{k: [a]}}\n"),
            "line 4: stringData.k is not a string",
        ),
        (
            &format!("{head}data: text\n"),
            "line 4: data is not a mapping",
        ),
        (
            &format!("{head}stringdata: {{}}\n"),
            "line 4: a Secret has no field `stringdata`",
        ),
        (
            &format!("{head}stringData: {{k: a}}\nsops: {{}}\n"),
            "line 5: the Secret is encrypted by SOPS",
        ),
        (
            &format!("{head}stringData:\n  k: a\n  k: b\n"),
            "line 6: the same key stands on line 5 already",
        ),
        (head, "line 1: secret.data is empty in input Secret"),
        (
            &format!("{head}stringData: {{}}\n"),
            "line 1: secret.data is empty in input Secret",
        ),
        ("a: [\n", "line 2"),
        (
            &format!("{head}stringData:\n  # was hunter2-canary\n  k: hunter2-canary\n"),
            "line 5: the comment repeats the value of stringData.k",
        ),
        (
            &format!("# aHVudGVyMi1jYW5hcnk=\n{head}stringData:\n  k: hunter2-canary\n"),
            "line 1: the comment repeats the value of stringData.k",
        ),
    ] {
        let error = plain(source).unwrap_err().to_string();
        assert!(error.contains(expected), "{source}: {error}");
        assert!(!error.contains("canary"), "{error}");
    }
    let sealing = with(head, |plan| plan.allow_empty_data = true).unwrap();
    assert!(
        sealing.text.contains("  encryptedData: {}\n"),
        "{}",
        sealing.text
    );
}

#[test]
fn an_annotation_that_repeats_a_value_is_refused() {
    let source = "apiVersion: v1\nkind: Secret\nmetadata:\n  name: n\n  namespace: s\n  annotations:\n    \
        copy: '{\"k\":\"hunter2-canary\"}'\nstringData: {k: hunter2-canary}\n";
    let error = plain(source).unwrap_err().to_string();
    assert_eq!(
        error,
        "line 7: the annotation copy repeats the value of stringData.k, and would stay in clear; remove it"
    );
}

/// Each of these was missed: escapes of JSON, single lines, labels.
#[test]
fn copies_in_other_forms_are_refused_by_field_and_line() {
    let source = |metadata: &str| {
        format!(
            "apiVersion: v1\nkind: Secret\nmetadata:\n  name: n\n  namespace: s\n{metadata}stringData:\n  \
             a: 'canary \"quoted\" \u{1f600}'\n  b: |\n    canary in line one\n    canary in line two\n  \
             c: canary-name\n"
        )
    };
    for (metadata, expected) in [
        (
            "  annotations:\n    x: '{\"stringData\":{\"a\":\"canary \\\"quoted\\\" \\ud83d\\ude00\"}}'\n",
            "line 7: the annotation x repeats the value of stringData.a",
        ),
        (
            "  annotations:\n    y: '{\"a\":\"{\\\"b\\\":\\\"canary-\\\\u006eame\\\"}\"}'\n",
            "line 7: the annotation y repeats the value of stringData.c",
        ),
        (
            "  annotations:\n    z: canary in line two\n",
            "line 7: the annotation z repeats the value of stringData.b",
        ),
        (
            "  # canary in line one\n",
            "line 6: the comment repeats the value of stringData.b",
        ),
        (
            "  labels:\n    l: canary-name\n",
            "line 7: the label l repeats the value of stringData.c",
        ),
    ] {
        let error = plain(&source(metadata)).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{metadata}: {error}");
        assert!(!error.contains("canary"), "{error}");
    }
    assert!(plain(&source("  labels:\n    l: canary\n")).is_ok());
}

#[test]
fn a_sealed_manifest_comes_back_as_it_is() {
    let sealed = plain(COMMENTED).unwrap().text;
    let again = plain(&sealed).unwrap();
    assert_eq!((again.secrets, again.already), (0, 1));
    assert_eq!(again.text, sealed);
}
