//! Bad input to the command line: a clear message, the exit code, and the file untouched (issue 3).

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use crate::bed::{CANARY, IDENTITY, Place, RECIPIENT, SECRET};

/// One bad input: the file, the arguments after it, the exit code and a part of the message.
struct Refused {
    what: &'static str,
    content: String,
    arguments: Vec<&'static str>,
    code: i32,
    message: &'static str,
}

fn refused(
    what: &'static str,
    content: impl Into<String>,
    arguments: &[&'static str],
    code: i32,
    message: &'static str,
) -> Refused {
    Refused {
        what,
        content: content.into(),
        arguments: arguments.to_vec(),
        code,
        message,
    }
}

fn bomb() -> String {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let below = level - 1;
        let item = format!("*a{below}");
        text.push_str(&format!(
            "a{level}: &a{level} [{}]\n",
            [item.as_str(); 9].join(", ")
        ));
    }
    text
}

fn nested(depth: usize) -> String {
    format!("a: {}1{}\n", "[".repeat(depth), "]".repeat(depth))
}

#[test]
fn every_bad_file_is_refused_and_untouched() {
    let age = "--age=age1khs6jtqk496puwsuttey2nwe6x6jds7z44vd02vr7haesw5x3yysysry4x";
    let encrypt = ["encrypt", age];
    let with = |more: &[&'static str]| [&encrypt[..], more].concat();
    let two = format!("{SECRET}---\nkind: ConfigMap\ndata:\n  k: v\n");
    let repeated = SECRET.replace("namespace: prod", "annotations: {copy: canary-7f3a9c51}");
    let cases = [
        refused(
            "broken",
            "a: 'canary-7f3a9c51\nb: 1\n",
            &encrypt,
            2,
            "line ",
        ),
        refused(
            "unclosed",
            "a: [1\n",
            &encrypt,
            2,
            "not valid YAML: line 2, column 1",
        ),
        refused("tab", "a:\n\tb: 1\n", &encrypt, 2, "not valid YAML: line 2"),
        refused(
            "deep",
            nested(100_000),
            &encrypt,
            2,
            "not valid YAML: line 1",
        ),
        refused("empty", "", &encrypt, 92, "no YAML document"),
        refused(
            "list",
            "- a\n",
            &encrypt,
            23,
            "line 1: the document is a list",
        ),
        refused(
            "no match",
            SECRET,
            &with(&["--encrypted-regex", "^nope$"]),
            23,
            "matches nothing in this file",
        ),
        refused(
            "bad regex",
            SECRET,
            &with(&["--encrypted-regex", "(a"]),
            1,
            "encrypted_regex",
        ),
        refused(
            "two rules",
            SECRET,
            &with(&["--encrypted-regex", "a", "--encrypted-suffix", "b"]),
            8,
            "are both set",
        ),
        refused(
            "no recipient",
            SECRET,
            &["encrypt"],
            1,
            "no recipient is given",
        ),
        refused(
            "bad recipient",
            SECRET,
            &["encrypt", "--age", "age1canary"],
            1,
            "--age: `age1canary` is not an age recipient",
        ),
        refused(
            "private key",
            SECRET,
            &["encrypt", "--age", IDENTITY],
            1,
            "private key",
        ),
        refused(
            "other keys",
            SECRET,
            &["encrypt", "--age", "ssh-ed25519 AAAA"],
            1,
            "not a line of an SSH public key file",
        ),
        refused("other document", two, &encrypt, 23, "creation_rules:"),
        refused("repeated", repeated, &encrypt, 23, "repeats the value of"),
        refused(
            "not encrypted",
            SECRET,
            &["decrypt", "-i"],
            1,
            "sops metadata not found",
        ),
        refused(
            "bad path",
            SECRET,
            &["decrypt", "--extract", "a.b"],
            91,
            "is not a path",
        ),
        refused(
            "sealed: broken",
            "a: [1\n",
            &["seal", "--cert", "cert.pem"],
            2,
            "not valid YAML: line 2",
        ),
        refused(
            "sealed: no Secret",
            "kind: Pod\n",
            &["seal", "--cert", "cert.pem"],
            1,
            "the file holds Pod",
        ),
        refused(
            "sealed: base64",
            "apiVersion: v1\nkind: Secret\nmetadata: {name: n, namespace: s}\ndata: {k: canary-7f3a9c51}\n",
            &["seal", "--cert", "cert.pem"],
            1,
            "line 4: data.k: illegal base64 data at input byte 6",
        ),
        refused(
            "expired",
            SECRET,
            &["seal", "--cert", "expired.pem"],
            1,
            "expired certificate on January 1, 2021",
        ),
        refused(
            "not RSA",
            SECRET,
            &["seal", "--cert", "ec.pem"],
            1,
            "expected RSA public key but found ECDSA",
        ),
        refused(
            "no certificate",
            SECRET,
            &["seal", "--cert", "key.pem"],
            1,
            "does not contain any valid",
        ),
        refused(
            "missing certificate",
            SECRET,
            &["seal", "--cert", "none.pem"],
            1,
            "No such file or directory",
        ),
        refused(
            "no scope",
            SECRET,
            &["seal", "--cert", "cert.pem", "--scope", "galaxy"],
            1,
            "is not a scope",
        ),
        refused(
            "no cluster",
            SECRET,
            &["seal", "--kubeconfig", "none"],
            1,
            "no usable cluster configuration",
        ),
        refused(
            "other namespace",
            SECRET,
            &["seal", "--cert", "cert.pem", "-n", "x"],
            1,
            "namespace mismatch",
        ),
    ];
    for case in cases {
        let place = Place::new();
        place.write_certificates();
        place.write("file.yaml", &case.content);
        let before = fs::metadata(place.path("file.yaml")).unwrap();
        let names = place.names();
        let arguments = [&case.arguments[..], &["file.yaml"]].concat();
        let done = place.run_with_key(&arguments);
        let what = format!("{}: {:?}: {}", case.what, done.code, done.stderr);
        assert_eq!(done.code, Some(case.code), "{what}");
        assert!(done.stderr.contains(case.message), "{what}");
        assert!(!done.stderr.contains(CANARY), "{what}");
        assert!(!done.stderr.contains("19H6GXE7LPFQ6R"), "{what}");
        assert!(!done.stderr.contains("panicked"), "{what}");
        let after = fs::metadata(place.path("file.yaml")).unwrap();
        assert_eq!(
            (after.ino(), after.mtime_nsec()),
            (before.ino(), before.mtime_nsec()),
            "{what}"
        );
        assert_eq!(place.read("file.yaml"), case.content, "{}", case.what);
        assert_eq!(place.names(), names, "{}", case.what);
    }
}

#[test]
fn a_bomb_of_aliases_ends_soon_and_a_deep_file_works() {
    let place = Place::new();
    place.write("bomb.yaml", bomb());
    // The first run may have to wait until cargo has built the program.
    assert_eq!(place.run(&["--version"]).code, Some(0));
    let started = std::time::Instant::now();
    let done = place.run(&["encrypt", "--age", RECIPIENT, "bomb.yaml"]);
    assert!(
        [Some(2), Some(23)].contains(&done.code),
        "{:?} {}",
        done.code,
        done.stderr
    );
    assert!(started.elapsed() < Duration::from_secs(30));
    assert_eq!(place.read("bomb.yaml"), bomb());
    place.write("deep.yaml", nested(1_000));
    let done = place.run(&["encrypt", "--age", RECIPIENT, "deep.yaml"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let back = place.run_with_key(&["decrypt", "deep.yaml"]);
    assert_eq!(back.text(), nested(1_000));
}

#[test]
fn without_an_identity_the_message_names_recipients_and_places() {
    let place = Place::with_encrypted();
    let other = place.run(&["keygen"]).text();
    let other = other.lines().last().unwrap().to_owned();
    place.write("bad", "no key\n");
    let before = place.read("secret.yaml");
    let done = place
        .selkie()
        .args(["decrypt", "-i", "secret.yaml"])
        .env("SOPS_AGE_KEY", &other)
        .env("SOPS_AGE_KEY_FILE", place.path("bad"))
        .env("SOPS_AGE_KEY_CMD", "/bin/false")
        .run()
        .unwrap();
    assert_eq!(done.code, Some(128));
    for part in [
        RECIPIENT,
        "SOPS_AGE_KEY: 1 identity, which does not fit",
        "bad): line 1 is not an age identity",
        ".config/sops/age/keys.txt: no such file",
        "SOPS_AGE_KEY_CMD: `/bin/false` failed",
    ] {
        assert!(done.stderr.contains(part), "{part}: {}", done.stderr);
    }
    assert!(!done.stderr.contains(&other), "{}", done.stderr);
    assert_eq!(place.read("secret.yaml"), before);
    let done = place.run(&["decrypt", "secret.yaml"]);
    assert!(
        done.stderr.contains("SOPS_AGE_KEY: not set"),
        "{}",
        done.stderr
    );
    assert!(done.stdout.is_empty());
}

#[test]
fn a_changed_file_does_not_decrypt() {
    let place = Place::with_encrypted();
    let encrypted = place.read("secret.yaml");
    let at = encrypted.find("GCM,data:").unwrap() + 9;
    let mut changed = encrypted.clone().into_bytes();
    changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
    let line = |name: &str| {
        encrypted
            .lines()
            .find(|line| line.trim_start().starts_with(name))
            .unwrap()
    };
    let swapped = encrypted.replace(line("user:"), "").replace("\n\n", "\n");
    for (text, code, message) in [
        (
            encrypted.replace("name: db", "name: other"),
            51,
            "MAC mismatch",
        ),
        (swapped, 51, "MAC mismatch"),
        (String::from_utf8(changed).unwrap(), 25, "line 8"),
        (
            encrypted.replace(
                line("lastmodified:"),
                "    lastmodified: \"2020-01-01T00:00:00Z\"",
            ),
            51,
            "lastmodified",
        ),
    ] {
        place.write("secret.yaml", &text);
        for arguments in [
            &["decrypt", "secret.yaml"][..],
            &["decrypt", "-i", "secret.yaml"],
        ] {
            let done = place.run_with_key(arguments);
            assert_eq!(done.code, Some(code), "{}", done.stderr);
            assert!(
                done.stderr.contains(message) && done.stdout.is_empty(),
                "{}",
                done.stderr
            );
            assert_eq!(place.read("secret.yaml"), text);
        }
    }
    let changed = encrypted.replace("name: db", "name: other");
    place.write("secret.yaml", &changed);
    let done = place.run_with_key(&["decrypt", "--ignore-mac", "secret.yaml"]);
    assert_eq!(done.text(), SECRET.replace("name: db", "name: other"));
}

#[test]
fn what_is_no_yaml_file_is_refused() {
    let place = Place::with_secret();
    place.write("d/x.yaml", "a: 1\n");
    place.write("a.json", "{}");
    place.write("utf16.yaml", b"\xff\xfea\0");
    for (arguments, code, message) in [
        (
            &["encrypt", "--age", RECIPIENT, "d"][..],
            100,
            "d: no rule of a .sops.yaml names a file in it",
        ),
        (
            &["encrypt", "--age", RECIPIENT, "none.yaml"],
            100,
            "none.yaml: no such file",
        ),
        (
            &["encrypt", "--age", RECIPIENT, "a.json"],
            23,
            "matches nothing in this file",
        ),
        (&["encrypt", "--age", RECIPIENT, "utf16.yaml"], 2, "UTF-16"),
        (&["decrypt", "d"], 100, "d: this is a directory, not a file"),
        (
            &["seal", "--cert", "d", "secret.yaml"],
            1,
            "the certificate d cannot be read",
        ),
        (
            &["keygen", "-o", "d"],
            3,
            "d: this is a directory, not a file",
        ),
        (
            &["encrypt", "--age", RECIPIENT, "-o", "d", "secret.yaml"],
            3,
            "not a regular file",
        ),
        (&["encrypt", "--age", RECIPIENT], 8, "--filename"),
        (
            &["encrypt", "--stdout", "-o", "x", "secret.yaml"],
            8,
            "cannot be used with",
        ),
        (&["encrypt", "--nope"], 1, "--nope"),
    ] {
        let done = place.run(arguments);
        assert_eq!(done.code, Some(code), "{arguments:?}: {}", done.stderr);
        assert!(
            done.stderr.contains(message),
            "{arguments:?}: {}",
            done.stderr
        );
    }
    assert_eq!(place.read("secret.yaml"), SECRET);
}

/// Every output of every command but `decrypt` itself, searched for the marked value.
#[test]
fn no_output_shows_a_value() {
    let place = Place::with_secret();
    place.write_certificates();
    place.write("bad.yaml", format!("{SECRET}  - {CANARY}\n"));
    place.write("bad2.yaml", format!("{CANARY}: [{CANARY}\n"));
    place.write("bad3.yaml", format!("? [{CANARY}]\n: {CANARY}\n"));
    place.write("bad4.yaml", format!("a: !!int {CANARY}\nb: *{CANARY}\n"));
    let mut shown = String::new();
    let mut look = |arguments: &[&str]| {
        for global in [&[][..], &["--json"], &["--quiet"]] {
            let done = place.run_with_key(&[global, arguments].concat());
            shown.push_str(&format!("{arguments:?}\n{}{}", done.text(), done.stderr));
        }
    };
    for file in [
        "secret.yaml",
        "bad.yaml",
        "bad2.yaml",
        "bad3.yaml",
        "bad4.yaml",
    ] {
        look(&["encrypt", "--age", RECIPIENT, "--stdout", file]);
        look(&["encrypt", "--age", RECIPIENT, "-o", "out.yaml", file]);
        look(&[
            "encrypt",
            "--age",
            RECIPIENT,
            "--encrypted-regex",
            "nothing",
            file,
        ]);
        look(&["decrypt", "-i", file]);
        look(&["seal", "--cert", "cert.pem", "--stdout", file]);
        look(&["seal", "--cert", "cert.pem", "-o", "sealed.yaml", file]);
    }
    look(&["decrypt", "-o", "plain.yaml", "out.yaml"]);
    look(&["decrypt", "--extract", "[\"nope\"]", "out.yaml"]);
    look(&[
        "decrypt",
        "--extract",
        "[\"stringData\"][\"password\"][\"x\"]",
        "out.yaml",
    ]);
    place.write(
        "out.yaml",
        place
            .read("out.yaml")
            .replace("user: ENC", &format!("user: {CANARY}ENC")),
    );
    look(&["encrypt", "out.yaml"]);
    look(&["encrypt", "--add-clear", "out.yaml"]);
    look(&["decrypt", "out.yaml"]);
    let encoded = "Y2FuYXJ5LTdmM2E5YzUx";
    assert_eq!(
        fs::read_to_string(place.path("plain.yaml")).unwrap(),
        SECRET
    );
    for line in shown.lines() {
        assert!(!line.contains(CANARY) && !line.contains(encoded), "{line}");
        assert!(!line.contains("panicked"), "{line}");
    }
    assert!(shown.contains("ENC[AES256_GCM,") && shown.contains("SealedSecret"));
}
