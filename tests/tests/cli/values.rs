//! Verbs that change one file: values, key groups; and those that only tell.

use compat::program::Finished;

use crate::bed::{CANARY, IDENTITY, Place, RECIPIENT};

fn ok(done: &Finished) {
    assert_eq!(done.code, Some(0), "{}", done.stderr);
}

const PASSWORD: &str = "[\"stringData\"][\"password\"]";

fn password(place: &Place) -> String {
    let shown = place.run_with_key(&["decrypt", "--extract", PASSWORD, "secret.yaml"]);
    ok(&shown);
    shown.text()
}

#[test]
fn set_changes_one_value_and_no_other_byte() {
    let place = Place::with_encrypted();
    let before = place.read("secret.yaml");
    ok(&place.run_with_key(&["set", "secret.yaml", PASSWORD, "\"new\""]));
    assert_eq!(password(&place), "new");
    let after = place.read("secret.yaml");
    let changed: Vec<&str> = before
        .lines()
        .zip(after.lines())
        .filter(|(before, after)| before != after)
        .map(|(before, _)| before.trim().split(':').next().unwrap())
        // The same, when both runs fall into one second.
        .filter(|name| *name != "lastmodified")
        .collect();
    assert_eq!(changed, ["password", "mac"]);
}

#[test]
fn set_takes_a_text_from_standard_input_or_a_file_or_as_it_is() {
    let place = Place::with_encrypted();
    let set = |input: &str, more: &[&str]| {
        let mut arguments = vec!["set", "secret.yaml", PASSWORD];
        arguments.extend(more);
        let program = place
            .selkie()
            .args(&arguments)
            .env("SOPS_AGE_KEY", IDENTITY);
        program.input(input).run().unwrap()
    };
    ok(&set("from a pipe\n", &[]));
    assert_eq!(password(&place), "from a pipe");
    ok(&set("", &["--string", "123"]));
    assert_eq!(password(&place), "123");
    place.write("value", "two\nlines\n");
    ok(&set("", &["--value-file", "value"]));
    assert_eq!(password(&place), "two\nlines\n");
    ok(&set("[\"a\", 1]", &["--value-json"]));
    let shown = place.run_with_key(&[
        "decrypt",
        "--extract",
        &format!("{PASSWORD}[1]"),
        "secret.yaml",
    ]);
    assert_eq!(shown.text(), "1\n");
    let bad = set("", &["not json"]);
    assert_eq!(bad.code, Some(2));
    assert!(
        bad.stderr.contains("--string") && !bad.stderr.contains("not json"),
        "{}",
        bad.stderr
    );
}

#[test]
fn set_makes_a_file_where_a_rule_or_a_flag_says_for_whom() {
    let place = Place::new();
    let made = place.run(&[
        "set",
        "--age",
        RECIPIENT,
        "new.yaml",
        "[\"a\"][\"b\"]",
        "\"c\"",
    ]);
    ok(&made);
    assert!(place.read("new.yaml").contains("ENC["));
    let plain = place.run_with_key(&["decrypt", "new.yaml"]);
    assert_eq!(plain.stdout, b"a:\n    b: c\n");
    let none = place.run(&["set", "other.yaml", "[\"a\"]", "1"]);
    assert_eq!(none.code, Some(1));
    assert!(!place.path("other.yaml").exists());
}

#[test]
fn unset_takes_a_value_out() {
    let place = Place::with_encrypted();
    ok(&place.run_with_key(&["unset", "secret.yaml", PASSWORD]));
    let plain = place.run_with_key(&["decrypt", "secret.yaml"]).text();
    assert!(
        !plain.contains(CANARY) && plain.contains("user: app"),
        "{plain}"
    );
    let before = place.read("secret.yaml");
    let again = place.run_with_key(&["unset", "secret.yaml", PASSWORD]);
    assert_eq!(again.code, Some(91), "{}", again.stderr);
    ok(&place.run_with_key(&["unset", "--idempotent", "secret.yaml", PASSWORD]));
    assert_eq!(place.read("secret.yaml"), before);
}

#[test]
fn groups_split_the_data_key() {
    let place = Place::with_encrypted();
    let other = age::x25519::Identity::generate();
    let recipient = other.to_public().to_string();
    let refused = place.run_with_key(&["groups", "add", "secret.yaml"]);
    assert_eq!(refused.code, Some(1));
    let add = ["groups", "add", "secret.yaml", "--age", &recipient];
    let none = place.run_with_key(&[&add[..], &["--threshold", "0"]].concat());
    assert_eq!(none.code, Some(1), "{}", none.stderr);
    assert!(
        none.stderr.contains("no group would be needed"),
        "{}",
        none.stderr
    );
    let before = place.read("secret.yaml");
    let token = |text: &str| text.split("ENC[").nth(1).unwrap().to_owned();
    ok(&place.run_with_key(&[&add[..], &["--keep-data-key"]].concat()));
    assert_eq!(token(&before), token(&place.read("secret.yaml")));
    place.write("secret.yaml", &before);
    // He alone opened it, and no longer does.
    let added = place.run_with_key(&add);
    ok(&added);
    assert_ne!(token(&before), token(&place.read("secret.yaml")));
    let told = format!("age {RECIPIENT} could read stringData.password");
    assert!(
        added.stderr.contains("threshold 2, new data key") && added.stderr.contains(&told),
        "{}",
        added.stderr
    );
    let alone = place.run_with_key(&["decrypt", "secret.yaml"]);
    assert_eq!(
        alone.code,
        Some(128),
        "both groups are needed: {}",
        alone.stderr
    );
    let both = || {
        use age::secrecy::ExposeSecret as _;
        let keys = format!("{IDENTITY}\n{}", other.to_string().expose_secret());
        place.selkie().env("SOPS_AGE_KEY", keys)
    };
    ok(&both().args(["decrypt", "secret.yaml"]).run().unwrap());
    ok(&both()
        .args(["groups", "delete", "secret.yaml", "1"])
        .run()
        .unwrap());
    assert_eq!(password(&place), CANARY);
    let last = place.run_with_key(&["groups", "delete", "secret.yaml", "0"]);
    assert_eq!(last.code, Some(1), "{}", last.stderr);
}

#[test]
fn status_and_rules_say_who_and_why() {
    let place = Place::with_encrypted();
    let status = place
        .run(&["status", "--json", "secret.yaml"])
        .json()
        .unwrap();
    assert_eq!(status["encrypted"], true);
    assert_eq!(status["groups"][0][0], format!("age {RECIPIENT}"));
    place.write("plain.yaml", "a: b\n");
    let status = place
        .run(&["status", "--json", "plain.yaml"])
        .json()
        .unwrap();
    assert_eq!(status["encrypted"], false);
    place.write(
        ".sops.yaml",
        format!(
            "creation_rules:\n  - path_regex: ^prod/\n    age: {RECIPIENT}\n  - age: {RECIPIENT}\n    \
             encrypted_regex: ^x$\n  - path_regex: dev\n    age: {RECIPIENT}\n"
        ),
    );
    let rules = place
        .run(&["rules", "--json", "dev/a.yaml"])
        .json()
        .unwrap();
    assert_eq!(rules["rule"], 2);
    assert_eq!(rules["line"], 4);
    assert_eq!(rules["selection"]["encrypted_regex"], "^x$");
    assert!(rules["passed_over"][0].as_str().unwrap().contains("^prod/"));
    assert!(
        rules["warnings"][0]
            .as_str()
            .unwrap()
            .contains("can never match")
    );
    // A rule that encrypting refuses is refused here, in the same words.
    place.write("plain.yaml", "a: b\n");
    for rule in [
        "age: age1nonsense",
        "encrypted_regex: ^x$",
        "key_groups: [{age: []}]",
        &format!("key_groups: [{{age: [{RECIPIENT}]}}, {{age: []}}]"),
        &format!(
            "shamir_threshold: 3\n    key_groups: [{{age: [{RECIPIENT}]}}, {{age: [{RECIPIENT}]}}]"
        ),
    ] {
        place.write(".sops.yaml", format!("creation_rules:\n  - {rule}\n"));
        let rules = place.run(&["rules", "plain.yaml"]);
        let encrypt = place.run(&["encrypt", "plain.yaml"]);
        assert!(encrypt.code.is_some_and(|code| code != 0), "{rule}");
        assert_eq!(
            (rules.code, &rules.stderr),
            (encrypt.code, &encrypt.stderr),
            "{rule}"
        );
    }
    let schema = place.run(&["rules", "--schema"]).json().unwrap();
    assert!(schema["definitions"]["creation_rule"]["properties"]["age"].is_object());
}

#[test]
fn completion_knows_the_verbs() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = place.run(&["completion", shell]);
        ok(&script);
        assert!(script.text().contains("updatekeys"), "{shell}");
    }
}

#[test]
fn a_file_that_is_mounted_by_itself_is_written_in_place() {
    let place = Place::with_encrypted();
    place.write("mounted.yaml", "");
    let script = "mount --bind secret.yaml mounted.yaml && \"$@\"";
    let selkie = place.selkie().into_command();
    let program = selkie.get_program().to_owned();
    let inner = |arguments: &[&str]| {
        let unshare = compat::program::Program::new("unshare");
        unshare
            .args(["--mount", "--map-root-user", "sh", "-c", script, "sh"])
            .arg(&program)
            .args(arguments)
            .folder(place.folder())
            .env("SOPS_AGE_KEY", IDENTITY)
            .run()
            .unwrap()
    };
    ok(&inner(&["set", "mounted.yaml", PASSWORD, "\"in place\""]));
    assert_eq!(password(&place), "in place");
    ok(&inner(&["decrypt", "-i", "mounted.yaml"]));
    assert!(place.read("secret.yaml").contains("in place"));
    assert_eq!(
        place.names(),
        ["mounted.yaml", "secret.yaml"],
        "no copy is left"
    );
    // A write that was cut off is told, by every name of the file, and the way back is shown.
    place.write(".secret.yaml.selkie-recovery", "x");
    std::os::unix::fs::symlink("secret.yaml", place.path("link.yaml")).unwrap();
    for name in ["secret.yaml", "link.yaml"] {
        let cut = place.run_with_key(&["decrypt", name]);
        assert_eq!(cut.code, Some(2));
        let told = cut.stderr.contains(".secret.yaml.selkie-recovery");
        assert!(told, "{}", cut.stderr);
    }
}

/// A command that says that it set its value has set it.
#[test]
fn sets_at_the_same_time_lose_nothing() {
    let place = Place::with_encrypted();
    let set = |round: usize, name: &str| {
        let path = format!("[\"stringData\"][\"{name}{round}\"]");
        place.run_with_key(&["set", "secret.yaml", &path, "1"]).code == Some(0)
    };
    let mut done = Vec::new();
    for round in 0..12 {
        let (x, y) = std::thread::scope(|scope| {
            let other = scope.spawn(|| set(round, "y"));
            (set(round, "x"), other.join().unwrap())
        });
        assert!(x || y, "one of two has to go through");
        done.extend(x.then(|| format!("x{round}")));
        done.extend(y.then(|| format!("y{round}")));
    }
    let file = place.read("secret.yaml");
    for name in done {
        assert!(file.contains(&format!("{name}:")), "{name} was lost");
    }
    // A file that is new has one maker.
    for round in 0..6 {
        let name = format!("new{round}.yaml");
        let make = |key: &str| {
            let arguments = ["set", "--age", RECIPIENT, &name, key, "\"v\""];
            place.run_with_key(&arguments).code == Some(0)
        };
        let (x, y) = std::thread::scope(|scope| {
            let other = scope.spawn(|| make("[\"y\"]"));
            (make("[\"x\"]"), other.join().unwrap())
        });
        // The flag says that the file is new, so who comes when it is there is refused.
        assert!(x != y, "one of two makes it");
        assert_eq!(place.read(&name).starts_with("x:"), x);
    }
}

#[test]
fn a_value_that_the_rule_leaves_clear_is_refused() {
    let place = Place::with_encrypted();
    let before = place.read("secret.yaml");
    let path = "[\"password\"]";
    let refused = place.run_with_key(&["set", "secret.yaml", path, "--string", CANARY]);
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    assert!(refused.stderr.contains("--clear"), "{}", refused.stderr);
    assert!(!refused.stderr.contains(CANARY));
    assert_eq!(place.read("secret.yaml"), before);
    ok(&place.run_with_key(&["set", "secret.yaml", path, "3", "--clear"]));
    assert!(place.read("secret.yaml").contains("password: 3\n"));
    // What is clear already may change.
    ok(&place.run_with_key(&["set", "secret.yaml", path, "4"]));
}

#[test]
fn set_repeats_none_of_its_arguments() {
    let place = Place::with_encrypted();
    for arguments in [
        vec!["set", "secret.yaml", PASSWORD, "my", CANARY],
        vec!["set", "secret.yaml", PASSWORD, "x", "-----BEGIN", CANARY],
    ] {
        let refused = place.run_with_key(&arguments);
        assert_eq!(refused.code, Some(1), "{}", refused.stderr);
        let stderr = &refused.stderr;
        assert!(
            !stderr.contains(CANARY) && !stderr.contains("BEGIN"),
            "{stderr}"
        );
    }
    ok(&place.run_with_key(&["set", "secret.yaml", PASSWORD, "-5"]));
    let pem = ["set", "secret.yaml", PASSWORD, "--string", "-----BEGIN KEY"];
    ok(&place.run_with_key(&pem));
    assert_eq!(password(&place), "-----BEGIN KEY");
    let empty = place.run_with_key(&["set", "secret.yaml", PASSWORD]);
    assert_eq!(empty.code, Some(2), "{}", empty.stderr);
    assert_eq!(password(&place), "-----BEGIN KEY");
}

/// A disk that is full in the middle of a mounted file: the message says so, and where the copy is.
#[test]
fn a_mounted_file_that_cannot_be_written_to_its_end_is_told() {
    let place = Place::with_encrypted();
    let script = "mkdir -p disk && mount -t tmpfs -o size=8k tmpfs disk && cp secret.yaml disk/ && \
                  touch 'm y.yaml' && mount --bind disk/secret.yaml 'm y.yaml' && \"$@\"";
    let selkie = place.selkie().into_command();
    let long = "x".repeat(9000);
    let done = compat::program::Program::new("unshare")
        .args(["--mount", "--map-root-user", "sh", "-c", script, "sh"])
        .arg(selkie.get_program())
        .args(["set", "m y.yaml", PASSWORD, "--string", &long])
        .folder(place.folder())
        .env("SOPS_AGE_KEY", IDENTITY)
        .run()
        .unwrap();
    assert_eq!(done.code, Some(3), "{}", done.stderr);
    for part in [
        "only a part",
        "/.m y.yaml.selkie-recovery' > '",
        "/m y.yaml' && rm '",
    ] {
        assert!(done.stderr.contains(part), "{part}: {}", done.stderr);
    }
    let copy = place.read(".m y.yaml.selkie-recovery");
    place.write("whole.yaml", copy);
    let path = PASSWORD;
    let whole = place.run_with_key(&["decrypt", "--extract", path, "whole.yaml"]);
    assert_eq!(whole.text().len(), 9000, "{}", whole.stderr);
}
