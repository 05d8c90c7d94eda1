use super::*;

const ARN: &str = "arn:aws:kms:us-east-1:1:key/a";

fn identities(rule: &CreationRule) -> Vec<String> {
    let groups = rule.groups(&BTreeMap::new());
    groups.iter().flatten().map(KeySpec::identity).collect()
}

fn recipients(config: &Config, path: &str) -> Vec<String> {
    identities(config.rule_for(path).unwrap())
}

#[test]
fn the_first_matching_rule_wins() {
    let config = Config::parse(
        "creation_rules:\n  - path_regex: \\.prod\\.yaml$\n    age: age1a, age1b\n    \
         encrypted_regex: ^data$\n  - path_regex: ^dev/\n    age:\n      - age1c\n      - age1d,age1e\n    \
         mac_only_encrypted: true\n  - key_groups:\n      - age: [age1f]\n        merge:\n          - age: [age1g, age1f]\n",
    )
    .unwrap();
    assert_eq!(recipients(&config, "x.prod.yaml"), ["age1a", "age1b"]);
    assert_eq!(
        recipients(&config, "dev/x.yaml"),
        ["age1c", "age1d", "age1e"]
    );
    assert_eq!(recipients(&config, "other.yaml"), ["age1f", "age1g"]);
    let rule = config.rule_for("x.prod.yaml").unwrap();
    assert_eq!(rule.line, 2);
    assert_eq!(
        rule.selection.as_ref().and_then(Selection::setting),
        Some(("encrypted_regex", "^data$"))
    );
    assert!(config.rule_for("dev/x.yaml").unwrap().mac_only_encrypted);
}

#[test]
fn no_rules_and_no_match_are_different() {
    for text in [
        "",
        "# nothing\n",
        "stores: {yaml: {indent: 2}}\n",
        "creation_rules:\n",
    ] {
        assert!(!Config::parse(text).unwrap().has_creation_rules(), "{text}");
    }
    let empty = Config::parse("creation_rules: []\n").unwrap();
    assert!(empty.has_creation_rules() && empty.rule_for("a").is_none());
}

#[test]
fn every_kind_of_key_is_read_in_both_forms() {
    let flat = format!(
        "creation_rules:\n  - age: age1a\n    pgp: [AB CD, EF]\n    kms: {ARN}\n    aws_profile: dev\n    \
         gcp_kms: projects/p/locations/l/keyRings/r/cryptoKeys/k\n    hckms: ['r:u']\n    \
         azure_keyvault: https://v/keys/k/1\n    hc_vault_transit_uri: https://v:8200/v1/sops/keys/k\n    \
         shamir_threshold: 2\n"
    );
    let config = Config::parse(&flat).unwrap();
    let context = BTreeMap::from([("env".to_owned(), "prod".to_owned())]);
    let rule = config.rule_for("x").unwrap();
    let groups = rule.groups(&context);
    let shown: Vec<String> = groups[0].iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "age age1a".to_owned(),
            "pgp ABCD".to_owned(),
            "pgp EF".to_owned(),
            format!("kms {ARN}|env:prod|dev"),
            "gcp_kms projects/p/locations/l/keyRings/r/cryptoKeys/k".to_owned(),
            "hckms r:u".to_owned(),
            "azure_kv https://v/keys/k/1".to_owned(),
            "hc_vault https://v:8200/v1/sops/keys/k".to_owned(),
        ]
    );
    assert_eq!(rule.threshold, Some(2));

    let grouped = format!(
        "x-keys:\n  - &me {{age: [age1a]}}\n\
         creation_rules:\n  - key_groups:\n    - merge: [*me]\n      pgp: [AB]\n      age: [age1a]\n      hc_vault: [https://v:8200/v1/sops/keys/k]\n    \
         - kms:\n      - arn: {ARN}\n        role: arn:aws:iam::1:role/r\n        context: {{a: b}}\n        aws_profile: p\n      \
           gcp_kms: [{{resource_id: projects/p/locations/l/keyRings/r/cryptoKeys/k}}]\n      \
           hckms: [{{key_id: 'r:u'}}]\n      azure_keyvault: [{{vaultUrl: 'https://v', key: k, version: '1'}}]\n    \
         age: age1ignored\n"
    );
    let groups = Config::parse(&grouped).unwrap();
    let groups = groups.rule_for("x").unwrap().groups(&context);
    let shown: Vec<Vec<String>> = groups
        .iter()
        .map(|group| group.iter().map(ToString::to_string).collect())
        .collect();
    assert_eq!(
        shown[0],
        [
            "age age1a",
            "pgp AB",
            "hc_vault https://v:8200/v1/sops/keys/k"
        ]
    );
    assert_eq!(
        shown[1],
        [
            format!("kms {ARN}+arn:aws:iam::1:role/r|a:b|p"),
            "gcp_kms projects/p/locations/l/keyRings/r/cryptoKeys/k".to_owned(),
            "hckms r:u".to_owned(),
            "azure_kv https://v/keys/k/1".to_owned(),
        ]
    );
}

#[test]
fn anchors_and_merge_keys_work_as_in_go() {
    let config = Config::parse(
        "keys:\n  - &admin age1admin\n  - &host age1host\nbase: &base\n  encrypted_regex: ^data$\n  age: age1base\n\
         creation_rules:\n  - path_regex: a\n    key_groups:\n      - age: [*admin, *host]\n  \
         - <<: *base\n    age: *admin\n",
    )
    .unwrap();
    assert_eq!(recipients(&config, "a"), ["age1admin", "age1host"]);
    let rule = config.rule_for("b").unwrap();
    assert_eq!(identities(rule), ["age1admin"]);
    assert!(rule.selection.is_some());
}

#[test]
fn an_explanation_names_the_rules_that_were_passed() {
    let config = Config::parse(
        "creation_rules:\n  - path_regex: ^prod/\n    age: age1a\n  - path_regex: \\.json$\n    age: age1b\n  - age: age1c\n",
    )
    .unwrap();
    let found = config.explain("dev/x.json");
    assert_eq!(
        found.rule.map(|(number, rule)| (number, rule.line)),
        Some((2, 4))
    );
    assert_eq!(found.passed, [(1, 2, "^prod/")]);
    assert_eq!(config.explain("x.yaml").rule.unwrap().0, 3);
    let none = Config::parse("creation_rules:\n  - path_regex: ^a\n    age: age1a\n").unwrap();
    assert!(none.explain("b").rule.is_none());
}

#[test]
fn rules_that_can_never_match_are_found() {
    let config = Config::parse(
        "creation_rules:\n  - path_regex: a\n    age: age1a\n  - path_regex: a\n    age: age1b\n  \
         - path_regex: .*\n    age: age1c\n  - path_regex: b\n    age: age1d\n  - age: age1e\n",
    )
    .unwrap();
    let found: Vec<(usize, usize, usize)> = config
        .shadowed_rules()
        .iter()
        .map(|rule| (rule.number, rule.line, rule.by))
        .collect();
    assert_eq!(found, [(2, 4, 1), (4, 8, 3), (5, 10, 3)]);
    let last =
        Config::parse("creation_rules:\n  - path_regex: '^.$'\n    age: age1a\n  - age: age1b\n");
    assert!(last.unwrap().shadowed_rules().is_empty());
}

#[test]
fn destinations_stores_and_our_own_section_are_read() {
    let config = Config::parse(
        "stores:\n  yaml: {indent: 2}\n  json: {indent: 4}\n  json_binary:\n  dotenv: {}\n\
         destination_rules:\n  - path_regex: ^s3/\n    s3_bucket: b\n    s3_prefix: p/\n    recreation_rule: {pgp: AB}\n  \
         - path_regex: ^v/\n    vault_path: team/\n    vault_kv_version: 1\n    omit_extensions: true\n\
         selkie:\n  allow: [https://vault.example]\n",
    )
    .unwrap();
    assert_eq!(config.stores().yaml_indent, Some(2));
    assert_eq!(config.stores().json_indent, Some(4));
    assert_eq!(config.stores().json_binary_indent, None);
    let s3 = config.destination_for("s3/x.yaml").unwrap();
    assert_eq!(
        s3.destination,
        Some(Destination::S3 {
            bucket: "b".to_owned(),
            prefix: "p/".to_owned()
        })
    );
    assert_eq!(
        s3.recreation
            .as_ref()
            .unwrap()
            .groups(&BTreeMap::new())
            .len(),
        1
    );
    let vault = config.destination_for("v/x.yaml").unwrap();
    assert!(vault.omit_extensions);
    assert_eq!(
        vault.destination,
        Some(Destination::Vault {
            address: None,
            path: "team/".to_owned(),
            mount: "secret/".to_owned(),
            version: 1
        })
    );
    assert!(config.destination_for("x").is_none());
    assert!(matches!(config.own_section(), Some(Value::Map(fields)) if fields[0].0 == "allow"));
}

#[test]
fn unknown_fields_of_rules_are_warnings_to_sops() {
    let text = "x-mine: 1\ncreation_rules:\n  - age: age1a\n    encrypted_regexp: a\n";
    let config = Config::parse_lenient(text).unwrap();
    assert_eq!(config.warnings().len(), 1);
    assert_eq!(config.warnings()[0].line, 4);
    assert!(Config::parse(text).is_err());
}

#[test]
fn sops_looks_at_a_rule_only_when_it_is_used() {
    let text = "creation_rules:\n  - path_regex: ^a\n    pgp: '--bad'\n  - path_regex: '['\n    age: age1b\n";
    let config = Config::parse_lenient(text).unwrap();
    let broken = config.rule_for("a").unwrap();
    assert_eq!(broken.problem.as_ref().map(|error| error.line), Some(3));
    assert!(broken.groups(&BTreeMap::new()).is_empty());
    // Nobody knows what the second rule would match, so whoever comes to it is told.
    assert!(config.rule_for("b").unwrap().problem.is_some());
    assert_eq!(Config::parse(text).unwrap_err().line, 3);
}

#[test]
fn mistakes_are_placed() {
    for (text, message) in [
        (
            "creation_rules:\n  - age: age1x\n    encrypted_regexp: a\n",
            "line 3, column 5: unknown key `encrypted_regexp`; did you mean `encrypted_regex`?",
        ),
        (
            "creation_rule: []\n",
            "line 1, column 1: unknown key `creation_rule`; did you mean `creation_rules`?",
        ),
        (
            "creation_rules:\n  - color: red\n",
            "line 2, column 5: unknown key `color`; known here: path_regex",
        ),
        (
            "creation_rules:\n  - encrypted_regex: (\n",
            "line 2, column 5: encrypted_regex: the regular expression `(` does not compile",
        ),
        (
            "creation_rules:\n  - path_regex: '['\n",
            "line 2, column 17: path_regex: the regular expression `[` does not compile",
        ),
        (
            "creation_rules:\n  - encrypted_regex: a\n    encrypted_suffix: b\n",
            "line 2, column 5: encrypted_suffix and encrypted_regex are both set",
        ),
        (
            "creation_rules: 5\n",
            "line 1, column 17: creation_rules is not a list",
        ),
        ("- a\n", "line 1, column 1: the file is not a mapping"),
        (
            "creation_rules:\n  - age: {a: b}\n",
            "line 2, column 10: age is not a text",
        ),
        (
            "creation_rules:\n  - age: age1a\n    age: age1b\n",
            "line 3, column 5: the key `age` is there twice",
        ),
        (
            "creation_rules:\n  - age: [age1a, AGE-SECRET-KEY-1]\n",
            "line 2, column 18: age: the text given is no age key: a recipient begins with",
        ),
        (
            "creation_rules:\n  - key_groups: [{kms: [{arn: x, profile: y}]}]\n",
            "line 2, column 25: kms: the text given is no kms key",
        ),
        (
            "creation_rules:\n  - key_groups: [{age: age1a}]\n",
            "line 2, column 24: age of a key group is not a list",
        ),
        (
            "creation_rules:\n  - shamir_threshold: two\n",
            "line 2, column 23: shamir_threshold is not a whole number",
        ),
        (
            "destination_rules:\n  - {s3_bucket: a, vault_path: b}\n",
            "line 2, column 5: a destination rule names more than one of",
        ),
        (
            "stores: {yaml: {indent: x}}\n",
            "line 1, column 25: indent is not a whole number",
        ),
    ] {
        let error = Config::parse(text).unwrap_err().to_string();
        assert!(error.starts_with(message), "{error}");
    }
    assert!(Config::parse("a: [").is_err());
}

#[test]
fn merges_without_end_end() {
    let mut text = "g0: &g0 {age: [age1a]}\n".to_owned();
    for level in 1..20 {
        let below = level - 1;
        text.push_str(&format!(
            "g{level}: &g{level} {{merge: [*g{below}, *g{below}]}}\n"
        ));
    }
    text.push_str("creation_rules: [{key_groups: [*g19]}]\n");
    let error = Config::parse(&text).unwrap_err().to_string();
    assert!(
        error.contains("merged without end") || error.contains("alias"),
        "{error}"
    );
}

#[test]
fn a_rule_asks_for_the_whole_file_mac() {
    let asks = |section: &str, path: &str| {
        Config::parse(&format!("creation_rules: []\nselkie:\n{section}")).map(|config| {
            assert!(config.warnings().is_empty());
            config.asks_whole_mac(path)
        })
    };
    for (section, path, expected) in [
        ("", "a.yaml", false),
        ("  whole_mac: false\n", "a.yaml", false),
        ("  whole_mac: true\n", "a.yaml", true),
        ("  whole_mac: [^prod/]\n", "prod/a.yaml", true),
        ("  whole_mac: [^prod/, '\\.env$']\n", "test/a.yaml", false),
        ("  whole_mac: [^prod/, '\\.env$']\n", "test/.env", true),
        ("  later: {}\n", "a.yaml", false),
    ] {
        assert_eq!(asks(section, path), Ok(expected), "{section} {path}");
    }
    for (section, part) in [
        (
            "  whole_mac: maybe\n",
            "line 3, column 14: whole_mac is not true or false",
        ),
        ("  whole_mac: ['(']\n", "path_regex"),
        ("  wholemac: true\n", "did you mean `whole_mac`?"),
        ("  - whole_mac\n", "selkie is not a mapping"),
    ] {
        let error = asks(section, "a.yaml").unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
        // sops passes over the section.
        let text = format!("selkie:\n{section}");
        assert!(
            !Config::parse_lenient(&text)
                .unwrap()
                .asks_whole_mac("a.yaml")
        );
    }
}
