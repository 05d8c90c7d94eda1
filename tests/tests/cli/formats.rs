//! Every format on the command line: in place and back, converted, refused.

use crate::bed::{CANARY, Place, RECIPIENT};

#[test]
fn a_file_of_every_format_is_encrypted_in_place_and_comes_back() {
    let place = Place::new();
    let json = format!("{{\n  \"b\": \"{CANARY}\",\n  \"a\" : [1, 2.50]\n}}\n");
    let files = [
        ("a.json", json.into_bytes()),
        (
            "a.env",
            format!("# note\n\nPW={CANARY}\nB=x=y\n").into_bytes(),
        ),
        (
            "a.ini",
            format!("[s]\npw   = {CANARY} ; note\n").into_bytes(),
        ),
        ("a.bin", [CANARY.as_bytes(), b"\xff\x00"].concat()),
    ];
    for (name, content) in &files {
        place.write(name, content);
        let done = place.run(&["encrypt", "--age", RECIPIENT, name]);
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        let encrypted = place.read(name);
        assert!(encrypted.contains("ENC[AES256_GCM,") && !encrypted.contains(CANARY));
        let again = place.run(&["encrypt", "--age", RECIPIENT, name]);
        assert_eq!(again.code, Some(0));
        assert_eq!(place.read(name), encrypted);

        let printed = place.run_with_key(&["decrypt", name]);
        assert_eq!(&printed.stdout, content, "{name}: {}", printed.stderr);
        let done = place.run_with_key(&["decrypt", "-i", name]);
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        assert_eq!(&std::fs::read(place.path(name)).unwrap(), content, "{name}");
    }
}

#[test]
fn a_result_is_written_in_another_format() {
    let place = Place::new();
    let yaml = format!("# note\nA: {CANARY}\nB: 2\n");
    place.write("a.yaml", &yaml);
    let refused = place.run(&[
        "encrypt",
        "--age",
        RECIPIENT,
        "--output-type",
        "json",
        "a.yaml",
    ]);
    assert_eq!(refused.code, Some(8));
    assert!(
        refused
            .stderr
            .contains("yaml cannot be changed in place into json"),
        "{}",
        refused.stderr
    );
    assert_eq!(place.read("a.yaml"), yaml);
    let encrypted = place.run(&[
        "encrypt",
        "--age",
        RECIPIENT,
        "--output-type",
        "json",
        "-o",
        "a.json",
        "a.yaml",
    ]);
    assert_eq!(encrypted.code, Some(0), "{}", encrypted.stderr);
    assert!(place.read("a.json").starts_with("{\n\t\"A\": \"ENC["));

    for (arguments, text) in [
        (
            &["--output-type", "dotenv"][..],
            format!("A={CANARY}\nB=2\n"),
        ),
        (&["--output-type", "yaml"], format!("A: {CANARY}\nB: 2\n")),
        (&["--extract", "[\"B\"]"], "2\n".to_owned()),
    ] {
        let arguments = [&["decrypt"][..], arguments, &["a.json"]].concat();
        let printed = place.run_with_key(&arguments);
        assert_eq!(printed.text(), text, "{}", printed.stderr);
    }
    for (arguments, code, message) in [
        (
            &["--output-type", "toml"][..],
            1,
            "there is no format `toml`",
        ),
        (
            &["--output-type", "ini"],
            4,
            "an INI file is made of sections",
        ),
        (&["--output-type", "binary"], 4, "under the key `data`"),
        (&["-i", "--output-type", "yaml"], 8, "in place into yaml"),
        (&["--input-type", "dotenv"], 2, "line 1"),
    ] {
        let arguments = [&["decrypt"][..], arguments, &["a.json"]].concat();
        let refused = place.run_with_key(&arguments);
        assert!(refused.stderr.contains(message), "{}", refused.stderr);
        assert_eq!(refused.code, Some(code), "{}", refused.stderr);
        assert!(!refused.stderr.contains(CANARY) && refused.stdout.is_empty());
    }
}

#[test]
fn files_that_are_no_yaml_do_not_run_together() {
    let place = Place::new();
    for name in ["a.json", "b.json"] {
        place.write(name, format!("{{\"a\": \"{CANARY}\"}}"));
        let done = place.run(&["encrypt", "--age", RECIPIENT, name]);
        assert_eq!(done.code, Some(0), "{}", done.stderr);
    }
    let refused = place.run_with_key(&["decrypt", "a.json", "b.json"]);
    assert_eq!(refused.code, Some(8), "{}", refused.stderr);
    let joined = place.run_with_key(&["decrypt", "--output-type", "yaml", "a.json", "b.json"]);
    assert_eq!(joined.text(), format!("a: {CANARY}\n---\na: {CANARY}\n"));
}
