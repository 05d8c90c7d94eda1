//! The examples of the guide are run as they stand there.

use std::path::Path;

use crate::bed::{IDENTITY, Place, RECIPIENT};

/// The key of the second group in the examples.
const OTHER_IDENTITY: &str =
    "AGE-SECRET-KEY-1VGNM228VQCWCV0KWFC5ULR6VE9RHAJRNQT5P47DEXGSAJYAX2RJS2QMDHE";

const GUIDE: &str = include_str!("../../../docs/guide-cli.md");

/// Verbs that need a server; their own suites run them.
const WITH_A_SERVER: [&str; 3] = ["cert", "keyservice", "publish"];

/// `TRYCMD=overwrite` corrects the copy that is run, whose path is printed then.
#[test]
fn every_example_prints_what_the_guide_says() {
    let place = Place::new();
    place.write("guide.md", GUIDE);
    for (name, content) in [
        ("secret.yaml", secret("db", "correct horse", "app")),
        ("token.yaml", secret("api", "battery staple", "robot")),
        (
            ".sops.yaml",
            format!(
                "creation_rules:\n  - path_regex: ^prod/\n    age: {RECIPIENT}\n  - age: {RECIPIENT}\n"
            ),
        ),
        ("prod/db.yaml", secret("db", "tr0ub4dor", "app")),
    ] {
        place.write(&format!("guide.in/{name}"), content);
    }
    place.write_certificates();
    place.write("guide.in/cert.pem", place.read("cert.pem"));
    let both =
        format!("{RECIPIENT},age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p");
    let done = place
        .selkie()
        .args(["encrypt", "--age", &both, "prod/db.yaml"])
        .folder(place.path("guide.in"))
        .run()
        .unwrap();
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let selkie = compat::selkie::binary("selkie-cli", "selkie").unwrap();
    let cases = trycmd::TestCases::new();
    cases.register_bin("selkie", selkie.as_path());
    cases.register_bin("cat", Path::new("/bin/cat"));
    cases.env("SOPS_AGE_KEY", format!("{IDENTITY}\n{OTHER_IDENTITY}"));
    cases.env("HOME", place.folder().display().to_string());
    cases.case(place.path("guide.md"));
    cases.run();
    if std::env::var_os("TRYCMD").is_some() {
        std::fs::copy(
            place.path("guide.md"),
            std::env::temp_dir().join("guide-cli.md"),
        )
        .unwrap();
    }
}

#[test]
fn every_verb_has_an_example() {
    let place = Place::new();
    let help = place.run(&["--help"]).text();
    let (_, list) = help.split_once("\nCommands:\n").unwrap();
    let (list, _) = list.split_once("\n\n").unwrap();
    let verbs: Vec<&str> = list
        .lines()
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|verb| *verb != "help" && !WITH_A_SERVER.contains(verb))
        .collect();
    assert!(verbs.len() >= 15, "{verbs:?}");
    let examples: Vec<&str> = GUIDE
        .lines()
        .filter(|line| line.starts_with("$ "))
        .collect();
    for verb in verbs {
        let named = format!("selkie {verb} ");
        let shown = examples.iter().any(|line| line.contains(&named));
        assert!(shown, "docs/guide-cli.md has no example of `selkie {verb}`");
    }
}

fn secret(name: &str, password: &str, user: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata:\n  name: {name}\n  namespace: shop\nstringData:\n  \
         password: {password} # rotated in spring\n  user: {user}\n"
    )
}
