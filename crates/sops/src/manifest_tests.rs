use super::*;

const SECRET: &str = "\
apiVersion: v1
kind: Secret
metadata:
  name: db
  labels: {app: hunter2-app}
stringData:
  password: hunter2-app
  user: admin
";
const CONFIG: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata:\n  mode: fast\n";

fn setting(source: &str) -> Option<String> {
    let rule = default_selection(source, Format::Yaml).unwrap_or_else(|error| panic!("{error}"));
    rule.and_then(|rule| rule.setting().map(|(name, text)| format!("{name}={text}")))
}

const RULE: &str = "encrypted_regex=^(data|stringData)$";

#[test]
fn files_of_secrets_get_the_rule_of_secrets() {
    assert_eq!(setting(SECRET).as_deref(), Some(RULE));
    assert_eq!(
        setting(&format!("{SECRET}---\n{SECRET}")).as_deref(),
        Some(RULE)
    );
    let service = "apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {ports: []}\n";
    assert_eq!(
        setting(&format!("{service}---\n{SECRET}")).as_deref(),
        Some(RULE)
    );
    let empty = CONFIG.replace("  mode: fast\n", "  {}\n");
    assert_eq!(
        setting(&format!("{empty}---\n{SECRET}")).as_deref(),
        Some(RULE)
    );
    let list =
        "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Secret\n  data: {a: eA==}\n";
    assert_eq!(setting(list).as_deref(), Some(RULE));

    for other in [
        "a: Secret\n",
        CONFIG,
        "",
        "kind: Secret\napiVersion: other/v1\ndata: {a: b}\n",
    ] {
        assert_eq!(setting(other), None, "{other}");
    }
    let encrypted = format!("{SECRET}sops: {{age: []}}\n---\n{CONFIG}");
    assert_eq!(setting(&encrypted), None);
}

#[test]
fn a_rule_that_would_hide_something_else_is_refused_with_a_better_one() {
    let error = default_selection(&format!("{SECRET}---\n{CONFIG}"), Format::Yaml)
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("line 14: data.mode of a ConfigMap would be encrypted too"),
        "{error}"
    );
    assert!(
        error.contains("    encrypted_regex: ^(password|user)$"),
        "{error}"
    );
    let clash = CONFIG.replace("mode", "user");
    let error = default_selection(&format!("{SECRET}---\n{clash}"), Format::Yaml)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("    encrypted_regex: ^(data|stringData)$"),
        "{error}"
    );
    let list = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Secret\n  data: {a: eA==}\n- apiVersion: v1\n  kind: ConfigMap\n  data: {b: c}\n";
    let error = default_selection(list, Format::Yaml)
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("line 9: items[1].data.b of a ConfigMap"),
        "{error}"
    );
}

fn repeats(source: &str) -> Option<RepeatedValue> {
    let stream = yaml::parse(source, &yaml::Limits::default()).unwrap();
    let settings = SelectionSettings {
        encrypted_regex: Some(SECRET_REGEX.to_owned()),
        ..SelectionSettings::default()
    };
    let rule = settings.compile().unwrap().unwrap();
    match check_repeats(&stream, &rule) {
        Ok(()) => None,
        Err(CheckError::Repeated(found)) => Some(found),
        Err(CheckError::Tree(error)) => panic!("{error}"),
    }
}

fn annotated(annotation: &str) -> String {
    SECRET.replace(
        "  labels:",
        &format!("  annotations:\n    {annotation}\n  labels:"),
    )
}

#[test]
fn repeated_values_are_found_in_every_form() {
    // hunter2-app = aHVudGVyMi1hcHA=, admin = YWRtaW4=
    for annotation in [
        "note: hunter2-app",
        "note: aHVudGVyMi1hcHA=",
        "note: the password is hunter2-app!",
        "user: admin",
        r#"json: '{"a": ["admin"]}'"#,
        r#"kubectl.kubernetes.io/last-applied-configuration: '{"data":{"user":"YWRtaW4="}}'"#,
        r#"kubectl.kubernetes.io/last-applied-configuration: "{\"stringData\":{\"x\":\"\\u0061dmin\"}}""#,
    ] {
        let found = repeats(&annotated(annotation)).unwrap_or_else(|| panic!("{annotation}"));
        assert_eq!(found.line, 6);
        assert!(found.field.starts_with("metadata.annotations"), "{found}");
        assert!(found.secret.starts_with("stringData."), "{found}");
        let shown = found.to_string();
        assert!(
            !shown.contains("hunter2") && !shown.contains("admin"),
            "{shown}"
        );
    }
    let data = "apiVersion: v1\nkind: Secret\nmetadata:\n  annotations: {note: plain-value}\ndata: {a: cGxhaW4tdmFsdWU=}\n";
    assert_eq!(repeats(data).unwrap().secret, "data.a");
}

#[test]
fn names_and_short_words_are_no_repetition() {
    assert_eq!(repeats(SECRET), None);
    assert_eq!(repeats(&annotated("note: administrator of it")), None);
    assert_eq!(repeats(&SECRET.replace("name: db", "name: admin")), None);
    let short = SECRET.replace("user: admin", "tls: 'on'");
    assert_eq!(
        repeats(&short.replace("  labels:", "  annotations: {x: 'on'}\n  labels:")),
        None
    );
}

/// The copy in another Secret, or in a comment, shows the value just as well.
#[test]
fn repetitions_in_other_secrets_and_in_comments_are_found() {
    let other = |note: &str| {
        let other =
            "apiVersion: v1\nkind: Secret\nmetadata: {annotations: {n: NOTE}}\ndata: {a: eA==}\n";
        repeats(&format!("{SECRET}---\n{}", other.replace("NOTE", note)))
    };
    let found = other("hunter2-app").unwrap();
    assert_eq!(
        (found.line, found.field.as_str()),
        (12, "metadata.annotations.n")
    );
    assert_eq!(other("admin"), None);

    for (source, line) in [
        (format!("# was hunter2-app\n{SECRET}"), 1),
        (
            SECRET.replace("name: db\n", "name: db # aHVudGVyMi1hcHA=\n"),
            4,
        ),
        (format!("{SECRET}---\n# hunter2-app\nkind: ConfigMap\n"), 10),
        (SECRET.replace("{app:", "{ # hunter2-app\n    app:"), 5),
    ] {
        let found = repeats(&source).unwrap_or_else(|| panic!("{source}"));
        assert_eq!(
            (found.line, found.field.as_str()),
            (line, "the comment"),
            "{source}"
        );
    }
    // One that is encrypted itself may say anything; a short word stands anywhere.
    for source in [
        SECRET.replace("  user:", "  # hunter2-app\n  user:"),
        format!("# of the admin\n{SECRET}"),
        format!("# admin\n{SECRET}"),
    ] {
        assert_eq!(repeats(&source), None, "{source}");
    }
    let many = SECRET.replace("admin", "|\n    first line of it\n    second line of it");
    let found = repeats(&format!("# second line of it\n{many}")).unwrap();
    assert_eq!(found.secret, "stringData.user");
}
