//! The command line: what goes where, what is reported, what the exit code is.

use std::net::TcpListener;
use std::thread::JoinHandle;

use anyhow::Result;
use compat::originals::kubeseal;
use serde_json::{Value, json};

use crate::bed::{CANARY, IDENTITY, Place, RECIPIENT, SECRET, answer};

fn lines(bytes: &[u8]) -> Vec<Value> {
    let text = String::from_utf8_lossy(bytes);
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn encrypt_in_place_and_back() {
    let place = Place::with_secret();
    let done = place.run(&["encrypt", "--age", RECIPIENT, "secret.yaml"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert_eq!(done.stderr, "secret.yaml: encrypted (2 values)\n");
    assert!(done.stdout.is_empty());
    let encrypted = place.read("secret.yaml");
    assert!(
        encrypted.starts_with("# head\napiVersion: v1\nkind: Secret\n"),
        "{encrypted}"
    );
    assert!(
        encrypted.contains("  password: \"ENC[AES256_GCM,"),
        "{encrypted}"
    );
    assert!(!encrypted.contains(CANARY));

    let again = place.run(&["encrypt", "secret.yaml"]);
    assert_eq!(again.code, Some(0));
    assert_eq!(
        again.stderr,
        "secret.yaml: already encrypted (1 recipient); left as it is\n"
    );
    assert_eq!(place.read("secret.yaml"), encrypted);

    let printed = place.run_with_key(&["decrypt", "secret.yaml"]);
    assert_eq!(
        (printed.text().as_str(), printed.stderr.as_str()),
        (SECRET, "")
    );
    let value = place.run_with_key(&[
        "decrypt",
        "--extract",
        "[\"stringData\"][\"password\"]",
        "secret.yaml",
    ]);
    assert_eq!(value.text(), CANARY);
    let done = place.run_with_key(&["decrypt", "-i", "secret.yaml"]);
    assert_eq!(done.stderr, "secret.yaml: decrypted (2 values)\n");
    assert_eq!(place.read("secret.yaml"), SECRET);
    assert_eq!(place.names(), ["secret.yaml"]);
}

#[test]
fn results_go_where_they_are_asked_to() {
    let place = Place::with_secret();
    let printed = place.run(&["encrypt", "--age", RECIPIENT, "--stdout", "secret.yaml"]);
    assert!(printed.text().contains("ENC[AES256_GCM,"));
    let done = place.run(&[
        "encrypt",
        "--age",
        RECIPIENT,
        "-o",
        "out.yaml",
        "secret.yaml",
    ]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert_eq!(place.read("secret.yaml"), SECRET);
    let piped = place
        .selkie()
        .args(["encrypt", "--age", RECIPIENT, "--filename", "a.yaml"])
        .input(SECRET)
        .run()
        .unwrap();
    let back = place
        .selkie()
        .args(["decrypt", "-"])
        .env("SOPS_AGE_KEY", IDENTITY);
    assert_eq!(back.input(piped.stdout).run().unwrap().text(), SECRET);
    let done = place.run_with_key(&["decrypt", "-o", "plain.yaml", "out.yaml"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert_eq!(place.read("plain.yaml"), SECRET);
    assert_eq!(place.mode("plain.yaml"), 0o600);
    let quiet = place.run(&["-q", "encrypt", "--age", RECIPIENT, "secret.yaml"]);
    assert_eq!(
        (quiet.code, quiet.stderr.as_str(), quiet.stdout.len()),
        (Some(0), "", 0)
    );
}

#[test]
fn keys_and_rules_come_from_flags_then_environment_then_the_nearest_config() {
    let place = Place::new();
    place.write(
        ".sops.yaml",
        format!("creation_rules:\n  - path_regex: ^a/\n    age: {RECIPIENT}\n    encrypted_regex: ^only$\n"),
    );
    place.write("a/x.yaml", "only: 1\nother: 2\n");
    let printed = |arguments: &[&str], environment: &[(&str, &str)]| {
        let mut program = place.selkie().args(arguments).folder("/");
        for (name, value) in environment {
            program = program.env(name, value);
        }
        program.run().unwrap()
    };
    let file = place.path("a/x.yaml");
    let file = file.to_str().unwrap();
    let by_rule = printed(&["encrypt", "--stdout", file], &[]);
    assert!(
        by_rule.text().contains("\nother: 2\n"),
        "{}",
        by_rule.stderr
    );
    let by_flag = printed(
        &["encrypt", "--stdout", "--encrypted-regex", "^other$", file],
        &[],
    );
    assert!(
        by_flag.text().starts_with("only: 1\nother: ENC["),
        "{}",
        by_flag.stderr
    );
    let other = place.run(&["keygen"]).text();
    let other = other
        .lines()
        .nth(1)
        .unwrap()
        .trim_start_matches("# public key: ")
        .to_owned();
    let by_environment = printed(
        &["encrypt", "--stdout", file],
        &[("SOPS_AGE_RECIPIENTS", &other)],
    );
    assert!(by_environment.text().contains(&other) && !by_environment.text().contains(RECIPIENT));
    let flag = printed(
        &["encrypt", "--stdout", "--age", RECIPIENT, file],
        &[("SOPS_AGE_RECIPIENTS", &other)],
    );
    assert!(flag.text().contains(RECIPIENT) && !flag.text().contains(&other));
    let config = place.path("c.yaml");
    place.write("c.yaml", format!("creation_rules:\n  - age: {other}\n"));
    let by_config = printed(
        &["encrypt", "--stdout", file],
        &[("SOPS_CONFIG", config.to_str().unwrap())],
    );
    assert!(by_config.text().contains(&other), "{}", by_config.stderr);
    place.write("b/x.yaml", "only: 1\n");
    let unmatched = place.run(&["encrypt", "b/x.yaml"]);
    assert_eq!(unmatched.code, Some(1));
    assert!(
        unmatched.stderr.contains("no creation rule of"),
        "{}",
        unmatched.stderr
    );
}

#[test]
fn identities_come_from_every_place() {
    let place = Place::with_encrypted();
    place.write("id", format!("# mine\n{IDENTITY}\n"));
    let id = place.path("id");
    let id = id.to_str().unwrap();
    let opens = |environment: &[(&str, &str)]| {
        let mut program = place.selkie().args(["decrypt", "secret.yaml"]);
        for (name, value) in environment {
            program = program.env(name, value);
        }
        let done = program.run().unwrap();
        assert_eq!(done.text(), SECRET, "{environment:?}: {}", done.stderr);
    };
    opens(&[("SOPS_AGE_KEY", IDENTITY)]);
    opens(&[("SOPS_AGE_KEY_FILE", id)]);
    let command = format!("/bin/sh -c 'test \"$SOPS_AGE_RECIPIENT\" = {RECIPIENT} && cat {id}'");
    opens(&[("SOPS_AGE_KEY_CMD", &command)]);
    place.write("x/sops/age/keys.txt", IDENTITY);
    opens(&[("XDG_CONFIG_HOME", place.path("x").to_str().unwrap())]);
    place.write(".config/sops/age/keys.txt", IDENTITY);
    opens(&[]);
}

#[test]
fn several_files_go_on_after_a_failure() {
    let place = Place::with_secret();
    place.write("b.yaml", "a: [\n");
    place.write("c.yaml", "k: v\n");
    let done = place.run(&[
        "encrypt",
        "--age",
        RECIPIENT,
        "secret.yaml",
        "b.yaml",
        "none.yaml",
        "c.yaml",
    ]);
    assert_eq!(done.code, Some(2));
    assert_eq!(place.read("b.yaml"), "a: [\n");
    assert!(place.read("secret.yaml").contains("\nsops:\n"));
    assert!(place.read("c.yaml").contains("\nsops:\n"));
    assert!(
        done.stderr
            .contains("error: b.yaml: not valid YAML: line 2"),
        "{}",
        done.stderr
    );
    assert!(
        done.stderr
            .ends_with("           files\nencrypted  2\nfailed     2\n"),
        "{}",
        done.stderr
    );
    let both = place.run_with_key(&["decrypt", "secret.yaml", "none.yaml", "c.yaml"]);
    assert_eq!(both.code, Some(100));
    assert_eq!(both.text(), format!("{SECRET}---\nk: v\n"));
    let both = place.run_with_key(&["decrypt", "-i", "secret.yaml", "c.yaml"]);
    assert_eq!(both.code, Some(0), "{}", both.stderr);
    assert_eq!(place.read("secret.yaml"), SECRET);
}

#[test]
fn json_has_one_object_per_file() {
    let place = Place::with_secret();
    let done = place.run(&[
        "--json",
        "encrypt",
        "--age",
        RECIPIENT,
        "secret.yaml",
        "none.yaml",
    ]);
    let found = lines(&done.stdout);
    assert_eq!(
        found[0],
        json!({"path": "secret.yaml", "action": "encrypted", "values": 2, "comments": 0, "warnings": []})
    );
    assert_eq!(found[1]["action"], "failed");
    assert_eq!(found[1]["error"]["code"], 100);
    assert_eq!(done.code, Some(100));
    let done = place.run_with_key(&["decrypt", "--json", "-i", "secret.yaml"]);
    assert_eq!(lines(&done.stdout)[0]["action"], "decrypted");
    assert_eq!(
        place.run(&["decrypt", "--json", "secret.yaml"]).code,
        Some(8)
    );
}

#[test]
fn a_value_added_by_hand_is_told_and_added() {
    let place = Place::with_encrypted();
    let text = place
        .read("secret.yaml")
        .replace("  user:", "  token: canary-7f3a9c51-token\n  user:");
    place.write("secret.yaml", &text);
    let done = place.run(&["encrypt", "secret.yaml"]);
    assert_eq!(done.code, Some(203));
    assert!(done.stderr.contains("token (line 9)"), "{}", done.stderr);
    assert!(
        done.stderr.contains("--add-clear") && !done.stderr.contains(CANARY),
        "{}",
        done.stderr
    );
    assert_eq!(place.read("secret.yaml"), text);
    let done = place.run_with_key(&["encrypt", "--add-clear", "secret.yaml"]);
    assert_eq!(done.stderr, "secret.yaml: added (1 value)\n");
    let encrypted = place.read("secret.yaml");
    assert!(!encrypted.contains(CANARY));
    let ciphertext = |text: &str| {
        text.lines()
            .find(|line| line.contains("password:"))
            .map(str::to_owned)
    };
    assert_eq!(ciphertext(&encrypted), ciphertext(&text));
    let plain = place.run_with_key(&["decrypt", "secret.yaml"]).text();
    assert_eq!(
        plain,
        SECRET.replace("  user:", "  token: canary-7f3a9c51-token\n  user:")
    );
}

#[test]
fn keygen_makes_a_private_file_once() {
    let place = Place::new();
    let done = place.run(&["keygen", "-o", "keys.txt"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert_eq!(place.mode("keys.txt"), 0o600);
    let keys = place.read("keys.txt");
    let public = done.stderr.trim().strip_prefix("Public key: ").unwrap();
    assert!(keys.contains(&format!("# public key: {public}\n")));
    let again = place.run(&["keygen", "-o", "keys.txt"]);
    assert_eq!(again.code, Some(3));
    assert_eq!(place.read("keys.txt"), keys);
    place.write("a.yaml", "k: v\n");
    assert_eq!(
        place.run(&["encrypt", "--age", public, "a.yaml"]).code,
        Some(0)
    );
    let key_file = place.path("keys.txt");
    let back = place
        .selkie()
        .args(["decrypt", "a.yaml"])
        .env("SOPS_AGE_KEY_FILE", key_file);
    assert_eq!(back.run().unwrap().text(), "k: v\n");
}

/// Must show 4: ours opens with the real kubeseal, for the three scopes.
#[test]
fn what_we_seal_opens_with_kubeseal() -> Result<()> {
    let place = Place::with_secret();
    place.write_certificates();
    for scope in ["strict", "namespace-wide", "cluster-wide"] {
        let sealed = place.run(&[
            "seal",
            "--cert",
            "cert.pem",
            "--scope",
            scope,
            "--stdout",
            "secret.yaml",
        ]);
        assert_eq!(sealed.code, Some(0), "{}", sealed.stderr);
        assert!(
            sealed
                .text()
                .starts_with("# head\napiVersion: bitnami.com/v1alpha1\n")
        );
        assert!(sealed.text().contains("  name: db # the name\n"));
        let open = |text: Vec<u8>| {
            kubeseal()?
                .args(["--recovery-unseal", "--recovery-private-key"])
                .arg(place.path("key.pem"))
                .env("HOME", place.folder())
                .input(text)
                .run()
        };
        let opened = open(sealed.stdout.clone())?;
        assert_eq!(opened.code, Some(0), "{}", opened.stderr);
        let secret = opened.json()?;
        assert_eq!(
            secret["data"]["password"],
            json!("Y2FuYXJ5LTdmM2E5YzUx"),
            "{secret}"
        );
        assert_eq!(secret["data"]["user"], json!("YXBw"));
        assert_eq!(secret["metadata"]["name"], json!("db"));
        let renamed = open(
            sealed
                .text()
                .replace("name: db", "name: other")
                .into_bytes(),
        )?;
        assert_eq!(
            renamed.code == Some(0),
            scope != "strict",
            "{scope}: {}",
            renamed.stderr
        );
        let moved = open(
            sealed
                .text()
                .replace("namespace: prod", "namespace: test")
                .into_bytes(),
        )?;
        assert_eq!(
            moved.code == Some(0),
            scope == "cluster-wide",
            "{scope}: {}",
            moved.stderr
        );
    }
    Ok(())
}

#[test]
fn seal_in_place_leaves_other_documents_and_sealed_files() {
    let place = Place::new();
    place.write_certificates();
    let other = "---\nkind:  ConfigMap\ndata: {a: b}  # odd\n";
    place.write("m.yaml", format!("{SECRET}{other}"));
    let done = place.run(&["seal", "--cert", "cert.pem", "m.yaml"]);
    assert_eq!(done.stderr, "m.yaml: sealed (1 secret, 2 values)\n");
    let sealed = place.read("m.yaml");
    assert!(
        sealed.ends_with(other) && !sealed.contains(CANARY),
        "{sealed}"
    );
    let done = place.run(&["seal", "--cert", "cert.pem", "m.yaml"]);
    assert_eq!(done.stderr, "m.yaml: already sealed; left as it is\n");
    assert_eq!(place.read("m.yaml"), sealed);
}

#[test]
fn a_certificate_comes_from_a_file_a_url_or_a_proxy() -> Result<()> {
    let place = Place::with_secret();
    place.write_certificates();
    let pem = place.read("cert.pem");
    let file_url = format!("file://{}", place.path("cert.pem").display());
    let fetched = place.run(&["cert", "--url", &file_url]);
    assert_eq!(fetched.text(), pem, "{}", fetched.stderr);
    let (url, requests) = serve(pem.clone(), 3)?;
    let fetched = place.run(&[
        "cert",
        "--url",
        &format!("{url}/v1/cert.pem"),
        "-o",
        "got.pem",
    ]);
    assert_eq!(fetched.code, Some(0), "{}", fetched.stderr);
    assert_eq!(place.read("got.pem"), pem);
    let sealed = place.run(&[
        "seal",
        "--cert",
        &format!("{url}/c"),
        "--stdout",
        "secret.yaml",
    ]);
    assert_eq!(sealed.code, Some(0), "{}", sealed.stderr);
    let proxied = place
        .selkie()
        .args(["cert", "--url", "http://certificates.example/c"])
        .env("http_proxy", &url)
        .run()?;
    assert_eq!(proxied.text(), pem, "{}", proxied.stderr);
    let seen = requests.join().unwrap();
    assert!(seen[0].starts_with("GET /v1/cert.pem "), "{}", seen[0]);
    assert!(
        seen[2].starts_with("GET http://certificates.example/c "),
        "{}",
        seen[2]
    );
    let gone = place.run(&["cert", "--url", &url]);
    assert_eq!(gone.code, Some(1));
    assert!(gone.stderr.contains("cannot fetch"), "{}", gone.stderr);
    Ok(())
}

#[test]
fn a_certificate_report_is_json_on_request() {
    let place = Place::new();
    place.write_certificates();
    let url = format!("file://{}", place.path("cert.pem").display());
    let done = place.run(&["cert", "--json", "--url", &url]);
    let found = &lines(&done.stdout)[0];
    assert_eq!(
        found["fingerprint"],
        "SHA256:G1iTSfiwtIK+8GsraO/BFz58AKTr/xiS65WbxFn5A4Y"
    );
    assert_eq!(found["not_before"], "2020-01-01T00:00:00Z");
}

/// A comment alone went unnoticed by both.
#[test]
fn a_comment_added_in_clear_is_named_and_encrypted() {
    let place = Place::with_encrypted();
    let added = place
        .read("secret.yaml")
        .replace("  user:", "  # was canary-7f3a9c51\n  user:");
    place.write("secret.yaml", &added);
    let done = place.run(&["encrypt", "secret.yaml"]);
    assert_ne!(done.code, Some(0));
    let named = "the comment in stringData (line 9)";
    assert!(
        done.stderr.contains(named) && !done.stderr.contains(CANARY),
        "{}",
        done.stderr
    );
    assert_eq!(place.read("secret.yaml"), added);
    let done = place.run_with_key(&["encrypt", "--add-clear", "secret.yaml"]);
    assert_eq!(done.stderr, "secret.yaml: added (1 comment)\n");
    assert!(!place.read("secret.yaml").contains(CANARY));
    let done = place.run(&["encrypt", "secret.yaml"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let plain = place.run_with_key(&["decrypt", "secret.yaml"]).text();
    assert!(plain.contains("\n  # was canary-7f3a9c51\n"), "{plain}");
}

#[test]
fn the_byte_order_mark_of_a_second_file_goes() {
    let place = Place::new();
    for name in ["a.yaml", "b.yaml"] {
        place.write(name, "\u{feff}k: v\n");
        let done = place.run(&["encrypt", "--age", RECIPIENT, name]);
        assert_eq!(done.code, Some(0), "{}", done.stderr);
    }
    let printed = place.run_with_key(&["decrypt", "a.yaml", "b.yaml"]);
    assert_eq!(printed.text(), "\u{feff}k: v\n---\nk: v\n");
}

#[test]
fn output_goes_where_a_link_points_though_nothing_is_there() {
    let place = Place::with_secret();
    std::os::unix::fs::symlink("later.yaml", place.path("link.yaml")).unwrap();
    let done = place.run(&[
        "encrypt",
        "--age",
        RECIPIENT,
        "-o",
        "link.yaml",
        "secret.yaml",
    ]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(place.path("link.yaml").is_symlink());
    assert!(place.read("later.yaml").contains("\nsops:\n"));
}

#[test]
fn empty_variables_count_as_not_set() {
    let place = Place::with_secret();
    place.write_certificates();
    let mut selkie = place.selkie().args(["seal", "--stdout", "secret.yaml"]);
    for name in [
        "NAME",
        "NAMESPACE",
        "SCOPE",
        "CONTROLLER_NAME",
        "CONTROLLER_NAMESPACE",
    ] {
        selkie = selkie.env(format!("SEALED_SECRETS_{name}"), "");
    }
    let done = selkie.env("SEALED_SECRETS_CERT", "cert.pem").run().unwrap();
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(
        done.text().contains("\n  name: db # the name\n"),
        "{}",
        done.text()
    );
}

#[test]
fn a_misnamed_config_and_a_clear_document_before_are_told() {
    let place = Place::with_secret();
    place.write(".sops.yml", "creation_rules: []\n");
    let done = place.run(&["encrypt", "secret.yaml"]);
    assert_ne!(done.code, Some(0));
    assert!(
        done.stderr
            .contains(".sops.yml is not used; the name is .sops.yaml"),
        "{}",
        done.stderr
    );

    let place = Place::with_encrypted();
    let both = format!("kind: ConfigMap\n---\n{}", place.read("secret.yaml"));
    place.write("secret.yaml", &both);
    let done = place.run(&["encrypt", "--age", RECIPIENT, "secret.yaml"]);
    assert_ne!(done.code, Some(0));
    assert!(
        done.stderr.contains("give each a file of its own"),
        "{}",
        done.stderr
    );
    let done = place.run_with_key(&["decrypt", "secret.yaml"]);
    assert!(
        done.stderr.contains("give each a file of its own"),
        "{}",
        done.stderr
    );
    assert_eq!(place.read("secret.yaml"), both);
}

/// Commands with their output, as a reader of the guide sees them.
#[test]
fn transcripts() {
    let selkie = compat::selkie::binary("selkie-cli", "selkie").unwrap();
    let cases = trycmd::TestCases::new();
    cases.register_bin("selkie", selkie.as_path());
    cases.env("SOPS_AGE_KEY", IDENTITY);
    cases.case("transcripts/*.trycmd");
    cases.run();
}

/// Answers so many requests on a free port of loopback.
fn serve(body: String, count: usize) -> Result<(String, JoinHandle<Vec<String>>)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}", listener.local_addr()?);
    Ok((url, answer(listener, body, count)))
}
