//! Verbs over whole repositories.

use std::fs;

use compat::program::Finished;

use crate::bed::{Place, RECIPIENT, SECRET};

/// A second reader.
const OTHER_IDENTITY: &str =
    "AGE-SECRET-KEY-1VGNM228VQCWCV0KWFC5ULR6VE9RHAJRNQT5P47DEXGSAJYAX2RJS2QMDHE";

fn other_recipient() -> String {
    let key: age::x25519::Identity = OTHER_IDENTITY.parse().unwrap();
    key.to_public().to_string()
}

fn rules(recipients: &[&str]) -> String {
    format!(
        "creation_rules:\n  - path_regex: '\\.(yaml|json|env|ini|bin)$'\n    age: {}\n",
        recipients.join(",")
    )
}

/// A repository of files of every format, encrypted for both readers.
fn repository() -> Place {
    let place = Place::new();
    let both = [RECIPIENT, &other_recipient()];
    place.write(".sops.yaml", rules(&both));
    place.write("a.yaml", "# head\npassword: one # why\nlist:\n  - two\n");
    place.write("b/c.json", "{\n  \"password\": \"three\"\n}\n");
    place.write("b/.env", "PASSWORD=four\n");
    place.write("b/d.ini", "[db]\npassword = five\n");
    place.write("e.bin", b"six\x00\xff");
    place.write("out/f.yaml", "password: seven\n");
    place.write(".gitignore", "out/\n");
    place.write("notes.txt", "sops is mentioned here\n");
    let done = place.run(&["encrypt", "."]);
    ok(&done);
    place
}

fn ok(done: &Finished) {
    assert_eq!(done.code, Some(0), "{}", done.stderr);
}

/// The files of the repository, all that are encrypted.
const FILES: [&str; 5] = ["a.yaml", "b/c.json", "b/.env", "b/d.ini", "e.bin"];

fn contents(place: &Place) -> Vec<String> {
    FILES.iter().map(|name| place.read(name)).collect()
}

#[test]
fn a_folder_is_encrypted_by_the_rules_that_name_files() {
    let place = repository();
    for (name, content) in FILES.iter().zip(contents(&place)) {
        assert!(content.contains("ENC[AES256_GCM,"), "{name}: {content}");
    }
    assert_eq!(place.read("out/f.yaml"), "password: seven\n");
    assert_eq!(place.read("notes.txt"), "sops is mentioned here\n");
    let plain = place.run_with_key(&["decrypt", "a.yaml"]);
    assert_eq!(
        plain.stdout,
        b"# head\npassword: one # why\nlist:\n  - two\n"
    );
    let plain = place.run_with_key(&["decrypt", "e.bin"]);
    assert_eq!(plain.stdout, b"six\x00\xff");
    let plain = place.run_with_key(&["decrypt", "--output-type", "json", "b/.env"]);
    assert_eq!(plain.stdout, b"{\n\t\"PASSWORD\": \"four\"\n}\n");
}

#[test]
fn decrypt_check_opens_every_file_and_tells_the_one_that_does_not() {
    let place = repository();
    let checked = place.run_with_key(&["decrypt", "--check", "."]);
    ok(&checked);
    assert!(checked.stderr.contains("opens   5"), "{}", checked.stderr);
    assert!(checked.stdout.is_empty());
    let broken = place.read("b/c.json").replace("\"password\"", "\"passwd\"");
    place.write("b/c.json", broken);
    let checked = place.run_with_key(&["decrypt", "--check", "."]);
    assert_eq!(checked.code, Some(25), "{}", checked.stderr);
    assert!(checked.stderr.contains("opens   4"), "{}", checked.stderr);
    assert!(checked.stderr.contains("failed  1"), "{}", checked.stderr);
    let none = place.run(&["decrypt", "--check", "."]);
    assert_eq!(none.code, Some(128));
    let empty = place.run_with_key(&["decrypt", "--check", "out"]);
    assert_eq!(empty.code, Some(100), "{}", empty.stderr);
    assert!(
        empty.stderr.contains("no encrypted file"),
        "{}",
        empty.stderr
    );
}

#[test]
fn updatekeys_gives_the_keys_of_the_rule_and_a_new_data_key_where_a_reader_goes() {
    let place = repository();
    let before = contents(&place);
    let same = place.run_with_key(&["updatekeys", "."]);
    ok(&same);
    assert!(same.stderr.contains("up to date  5"), "{}", same.stderr);
    assert_eq!(contents(&place), before);
    place.write(".sops.yaml", rules(&[RECIPIENT]));
    let dry = place.run(&["updatekeys", "--dry-run", "."]);
    ok(&dry);
    assert!(dry.stderr.contains("would update"), "{}", dry.stderr);
    assert_eq!(contents(&place), before);
    ok(&place.run_with_key(&["updatekeys", "."]));
    let status = place.run(&["status", "--json", "."]);
    assert!(!status.text().contains(&other_recipient()));
    let token = |text: &str| text.split("ENC[").nth(1).unwrap().to_owned();
    for (before, after) in before.iter().zip(contents(&place)) {
        assert_ne!(token(before), token(&after), "a new data key");
    }
    ok(&place.run_with_key(&["decrypt", "--check", "."]));
    let old = place.selkie().args(["decrypt", "--check", "."]);
    let old = old.env("SOPS_AGE_KEY", OTHER_IDENTITY).run().unwrap();
    assert_eq!(old.code, Some(128));
}

#[test]
fn rotate_changes_every_ciphertext_and_no_value() {
    let place = repository();
    let before = contents(&place);
    let rotated = place.run_with_key(&["rotate", "--json", "b", "a.yaml"]);
    ok(&rotated);
    assert_eq!(rotated.text().lines().count(), 4);
    for (name, (before, after)) in FILES.iter().zip(before.iter().zip(contents(&place))) {
        assert_eq!(*before == after, *name == "e.bin", "{name}");
    }
    let plain = place.run_with_key(&["decrypt", "b/d.ini"]);
    assert_eq!(plain.stdout, b"[db]\npassword = five\n");
    let last = place.run_with_key(&[
        "rotate",
        "--rm-age",
        RECIPIENT,
        "--rm-age",
        &other_recipient(),
        "a.yaml",
    ]);
    assert_eq!(last.code, Some(1));
    assert!(last.stderr.contains("last key"), "{}", last.stderr);
}

#[test]
fn rekey_follows_rules_and_age_and_names_what_was_seen() {
    let place = repository();
    let done = place.run(&["rekey", "."]);
    ok(&done);
    assert!(done.stderr.contains("up to date  5"), "{}", done.stderr);
    let rule = format!(
        "{}    encrypted_regex: ^(?i)password$\n",
        rules(&[RECIPIENT])
    );
    place.write(".sops.yaml", rule);
    let plan = place.run(&["rekey", "--plan", "--json", "a.yaml"]);
    ok(&plan);
    let report = plan.json().unwrap();
    assert_eq!(report["action"], "would-rekey");
    let seen = report["seen_by_removed"].to_string();
    assert!(seen.contains("password") && seen.contains("list"), "{seen}");
    let rekeyed = place.run_with_key(&["rekey", "--allow-clear", "."]);
    ok(&rekeyed);
    assert!(rekeyed.stderr.contains("could read"), "{}", rekeyed.stderr);
    let content = place.read("a.yaml");
    assert!(
        content.contains("- two"),
        "the rule leaves it clear now: {content}"
    );
    let again = place.run(&["rekey", "."]);
    assert!(again.stderr.contains("up to date  5"), "{}", again.stderr);
    let old = place.run_with_key(&["rekey", "--older-than", "1y", "."]);
    assert!(old.stderr.contains("up to date  5"), "{}", old.stderr);
    std::thread::sleep(std::time::Duration::from_secs(2));
    let old = place.run_with_key(&["rekey", "--older-than", "1s", "a.yaml"]);
    ok(&old);
    assert!(old.stderr.contains("rekeyed"), "{}", old.stderr);
}

/// What a rule no longer selects stays encrypted until somebody says that it is no secret.
#[test]
fn rekey_puts_nothing_into_clear_unasked() {
    let place = repository();
    let narrow = format!(
        "{}    encrypted_regex: ^(?i)password$\n",
        rules(&[RECIPIENT])
    );
    place.write(".sops.yaml", narrow);
    let before = contents(&place);
    let plan = place.run(&["rekey", "--plan", "--json", "a.yaml"]);
    ok(&plan);
    let report = plan.json().unwrap();
    assert_eq!(report["made_clear"], serde_json::json!(["list[0]"]));
    assert_eq!(report["comments_made_clear"], 2);
    assert!(
        plan.stderr.contains(
            "would be put into clear: list[0], 2 comments; without --allow-clear the file is refused"
        ),
        "{}",
        plan.stderr
    );
    let refused = place.run_with_key(&["rekey", "a.yaml"]);
    assert_eq!(refused.code, Some(23), "{}", refused.stderr);
    assert!(
        refused
            .stderr
            .contains("its rule would put into clear what is encrypted: list[0], 2 comments"),
        "{}",
        refused.stderr
    );
    assert_eq!(contents(&place), before);
    let done = place.run_with_key(&["rekey", "--allow-clear", "a.yaml"]);
    ok(&done);
    assert!(
        done.stderr.contains("now in clear: list[0], 2 comments"),
        "{}",
        done.stderr
    );
    assert!(place.read("a.yaml").contains("  - two\n"));
    // By comments, which are encrypted themselves: the file has to be opened, also for a plan.
    let by_comments = "    encrypted_comment_regex: ^ why$\n";
    let place = repository();
    place.write(".sops.yaml", rules(&[RECIPIENT]) + by_comments);
    assert_eq!(place.run(&["rekey", "--plan", "a.yaml"]).code, Some(128));
    let plan = place.run_with_key(&["rekey", "--plan", "--json", "a.yaml"]);
    let shown = plan.json().unwrap()["made_clear"].to_string();
    assert!(shown.contains("list[0]"), "{shown}");
    assert_eq!(place.run_with_key(&["rekey", "a.yaml"]).code, Some(23));
}

/// A rule that lost its selection, or its `mac_only_encrypted`, is another rule.
#[test]
fn rekey_follows_a_rule_from_which_something_was_taken_out() {
    let place = Place::new();
    let short = rules(&[RECIPIENT]);
    place.write(
        ".sops.yaml",
        format!("{short}    encrypted_regex: ^password$\n    mac_only_encrypted: true\n"),
    );
    place.write("a.yaml", "password: one\nuser: app\n");
    place.write("secret.yaml", SECRET);
    place.write("a.bin", "x");
    ok(&place.run(&["encrypt", "a.yaml", "a.bin"]));
    let secret = &[
        "encrypt",
        "--encrypted-regex",
        "^(data|stringData)$",
        "secret.yaml",
    ];
    ok(&place.run(secret));
    assert!(place.read("a.yaml").contains("user: app\n"));
    place.write(
        ".sops.yaml",
        format!("{short}    encrypted_regex: ^password$\n"),
    );
    let plan = place.run(&["rekey", "--plan", "a.yaml"]);
    assert!(
        plan.stderr.contains("MAC over clear values too"),
        "{}",
        plan.stderr
    );
    place.write(".sops.yaml", short);
    let plan = place.run(&["rekey", "--plan", "--json", "a.yaml"]);
    ok(&plan);
    let report = plan.json().unwrap();
    assert_eq!(report["made_encrypted"], serde_json::json!(["user"]));
    let reasons = report["reasons"].to_string();
    let expected = "(encrypted_regex ^password$ -> unencrypted_suffix _unencrypted)";
    assert!(reasons.contains(expected), "{reasons}");
    assert!(reasons.contains("MAC over clear values too"), "{reasons}");
    ok(&place.run_with_key(&["rekey", "."]));
    let text = place.read("a.yaml");
    assert!(
        text.contains("user: ENC[") && !text.contains("mac_only_encrypted"),
        "{text}"
    );
    // The rule of Secrets is the one that no rule has to name.
    let text = place.read("secret.yaml");
    assert!(
        text.contains("kind: Secret\n") && text.contains("encrypted_regex: ^(data|stringData)$"),
        "{text}"
    );
    let again = place.run(&["rekey", "."]);
    ok(&again);
    assert!(again.stderr.contains("up to date  3"), "{}", again.stderr);
    // A rule that says nothing is no word for less than there is.
    place.write("b.yaml", "password_unencrypted: one\nuser: app\n");
    ok(&place.run(&["encrypt", "--encrypted-regex", "^password", "b.yaml"]));
    let stays = place.run(&["rekey", "b.yaml"]);
    ok(&stays);
    assert!(
        stays
            .stderr
            .contains("names no selection, and the file keeps its own"),
        "{}",
        stays.stderr
    );
    // Nor may it hide what a manifest is.
    let release = "apiVersion: v1\nkind: Release\nspec:\n  password: one\n";
    place.write("c.yaml", release);
    ok(&place.run(&["encrypt", "--encrypted-regex", "^password$", "c.yaml"]));
    let stays = place.run(&["rekey", "c.yaml"]);
    ok(&stays);
    assert!(
        stays
            .stderr
            .contains("would encrypt the kind of a manifest"),
        "{}",
        stays.stderr
    );
}

/// Groups by their keys, as a rule writes them.
fn groups(groups: &[&[&str]], threshold: usize) -> String {
    let mut text = "creation_rules:\n  - key_groups:\n".to_owned();
    for group in groups {
        text.push_str(&format!("      - age: [{}]\n", group.join(", ")));
    }
    format!("{text}    shamir_threshold: {threshold}\n")
}

/// Nobody leaves every group, and yet somebody opens the file no more.
#[test]
fn whoever_loses_access_in_any_way_gets_no_data_key_that_counts() {
    let other = other_recipient();
    let other = other.as_str();
    let third = age::x25519::Identity::generate().to_public().to_string();
    let third = third.as_str();
    let both = format!("{}\n{OTHER_IDENTITY}", crate::bed::IDENTITY);
    let token = |text: &str| {
        let token = text.split("ENC[").nth(1).unwrap();
        token.split(']').next().unwrap().to_owned()
    };
    for (verb, before, after, lost) in [
        // Moved to the group of another.
        (
            "updatekeys",
            groups(&[&[RECIPIENT], &[other]], 2),
            groups(&[&[RECIPIENT, other], &[RECIPIENT, third]], 2),
            None,
        ),
        (
            "rekey",
            groups(&[&[RECIPIENT], &[other]], 2),
            groups(&[&[RECIPIENT, other], &[third]], 2),
            Some(format!("age {RECIPIENT} with age {other}")),
        ),
        // Out of one group, still in the other.
        (
            "updatekeys",
            groups(&[&[RECIPIENT], &[RECIPIENT, other]], 2),
            groups(&[&[RECIPIENT], &[other]], 2),
            Some(format!("age {RECIPIENT}")),
        ),
        // A higher threshold.
        (
            "rekey",
            groups(&[&[RECIPIENT], &[other], &[third]], 2),
            groups(&[&[RECIPIENT], &[other], &[third]], 3),
            Some(format!("age {RECIPIENT} with age {other}")),
        ),
        // One more group, that is needed; and one that is not.
        (
            "updatekeys",
            rules(&[RECIPIENT]),
            groups(&[&[RECIPIENT], &[other]], 2),
            Some(format!("age {RECIPIENT}")),
        ),
        (
            "rekey",
            groups(&[&[RECIPIENT], &[other]], 2),
            groups(&[&[RECIPIENT], &[other], &[third]], 2),
            None,
        ),
    ] {
        let place = Place::new();
        place.write(".sops.yaml", before);
        place.write("a.yaml", "password: one\n");
        ok(&place.run(&["encrypt", "a.yaml"]));
        let old = token(&place.read("a.yaml"));
        place.write(".sops.yaml", after);
        let run = || place.selkie().env("SOPS_AGE_KEY", &both);
        let done = run().args([verb, "--json", "a.yaml"]).run().unwrap();
        ok(&done);
        let report = done.json().unwrap();
        let new = token(&place.read("a.yaml"));
        assert_eq!(old != new, lost.is_some(), "{}", done.text());
        let Some(lost) = lost else {
            assert_eq!(report["seen_by_removed"], serde_json::json!([]));
            continue;
        };
        assert_eq!(report["lost_access"][0], serde_json::json!(lost));
        assert_eq!(report["seen_by_removed"], serde_json::json!(["password"]));
        let readers = report["lost_access"].as_array().unwrap().iter();
        let readers: Vec<&str> = readers.map(|reader| reader.as_str().unwrap()).collect();
        let told = format!("{} could read password", readers.join(", "));
        assert!(done.stderr.contains(&told), "{}", done.stderr);
        let again = run().args([verb, "a.yaml"]).run().unwrap();
        assert!(again.stderr.contains("up to date"), "{}", again.stderr);
    }
}

/// A file that is encrypted anew gets metadata of its own: what somebody else put there would be gone.
#[test]
fn rekey_loses_no_metadata_of_others() {
    let place = Place::new();
    place.write(".sops.yaml", rules(&[RECIPIENT]));
    place.write("a.yaml", "password: one\nuser: app\n");
    ok(&place.run(&["encrypt", "a.yaml"]));
    let text = place.read("a.yaml");
    let text = text.replace("    lastmodified:", "    team: payments\n    lastmodified:");
    place.write("a.yaml", &text);
    let lost = "team of its metadata would be lost";
    for more in [
        "    encrypted_regex: ^(password|user)$\n",
        "    mac_only_encrypted: true\n",
    ] {
        place.write(".sops.yaml", rules(&[RECIPIENT]) + more);
        let plan = place.run(&["rekey", "--plan", "a.yaml"]);
        let told = format!("would be refused: another rule encrypts the file anew, and {lost}");
        assert!(plan.stderr.contains(&told), "{}", plan.stderr);
        let refused = place.run_with_key(&["rekey", "a.yaml"]);
        assert_eq!(refused.code, Some(23), "{}", refused.stderr);
        assert!(refused.stderr.contains(lost), "{}", refused.stderr);
        assert_eq!(place.read("a.yaml"), text);
    }
    // Other keys are written in their place.
    place.write(".sops.yaml", rules(&[RECIPIENT, &other_recipient()]));
    ok(&place.run_with_key(&["rekey", "a.yaml"]));
    assert!(place.read("a.yaml").contains("    team: payments\n"));
    let text = text.replace("    team: payments\n", "");
    place.write("a.yaml", text);
    place.write(
        ".sops.yaml",
        rules(&[RECIPIENT]) + "    encrypted_regex: ^(password|user)$\n",
    );
    ok(&place.run_with_key(&["rekey", "a.yaml"]));
}

/// A file without the MAC that `.sops.yaml` asks for is work to do.
#[test]
fn rekey_adds_the_mac_that_the_rules_ask_for() {
    let place = repository();
    let asked = |recipients: &[&str]| rules(recipients) + "selkie:\n  whole_mac: true\n";
    place.write(".sops.yaml", asked(&[RECIPIENT, &other_recipient()]));
    let plan = place.run(&["rekey", "--plan", "--json", "a.yaml"]);
    ok(&plan);
    let report = plan.json().unwrap();
    assert_eq!(report["action"], "would-rekey");
    let reasons = serde_json::json!(["MAC over the whole file"]);
    assert_eq!(report["reasons"], reasons);
    assert_eq!(report["new_data_key"], false);
    let before = place.read("a.yaml");
    ok(&place.run_with_key(&["rekey", "a.yaml", "e.bin"]));
    let token = |text: &str| text.split("ENC[").nth(1).unwrap().to_owned();
    let after = place.read("a.yaml");
    assert!(after.contains("selkie_mac: "), "{after}");
    assert_eq!(token(&before), token(&after));
    // With other keys at once, and with another rule.
    place.write(".sops.yaml", asked(&[RECIPIENT]));
    ok(&place.run_with_key(&["rekey", "b"]));
    place.write(
        ".sops.yaml",
        rules(&[RECIPIENT]) + "    mac_only_encrypted: true\nselkie: {whole_mac: true}\n",
    );
    ok(&place.run_with_key(&["rekey", "."]));
    for (name, content) in FILES.iter().zip(contents(&place)) {
        assert!(content.contains("selkie_mac"), "{name}: {content}");
        assert!(!content.contains(&other_recipient()), "{name}: {content}");
    }
    ok(&place.run_with_key(&["decrypt", "--check", "."]));
    let again = place.run(&["rekey", "."]);
    assert!(again.stderr.contains("up to date  5"), "{}", again.stderr);
}

/// A time that a new entry has not must not make the file old for ever.
#[test]
fn rekey_older_than_comes_to_an_end() {
    let place = repository();
    let text = place.read("a.yaml");
    let recipient = format!("recipient: {RECIPIENT}\n");
    assert!(text.contains(&recipient), "{text}");
    for old in ["\"\"", "\"2001-01-01T00:00:00Z\""] {
        let entry = format!("created_at: {old}\n          {recipient}");
        place.write("a.yaml", text.replace(&recipient, &entry));
        let rekey = ["rekey", "--older-than", "1y", "a.yaml"];
        let first = place.run_with_key(&rekey);
        assert!(
            first.stderr.contains("rekeyed; data key of "),
            "{}",
            first.stderr
        );
        let second = place.run_with_key(&rekey);
        assert!(second.stderr.contains("up to date"), "{}", second.stderr);
    }
}

#[test]
fn updatekeys_and_rotate_name_what_a_removed_reader_could_see() {
    let place = repository();
    let other = other_recipient();
    let told = format!("age {other} could read password, list[0]: replace them");
    let rotate = [
        "rotate",
        "--rm-age",
        &other,
        "--dry-run",
        "--json",
        "a.yaml",
    ];
    let done = place.run_with_key(&rotate);
    ok(&done);
    assert!(done.stderr.contains(&told), "{}", done.stderr);
    let report = done.json().unwrap();
    let values = serde_json::json!(["password", "list[0]"]);
    assert_eq!(report["seen_by_removed"], values);
    assert_eq!(report["removed"][0], format!("age {other}"));
    let rotated = place.run_with_key(&["rotate", "a.yaml"]);
    assert!(!rotated.stderr.contains("could read"), "{}", rotated.stderr);
    place.write(".sops.yaml", rules(&[RECIPIENT]));
    for flags in [&["--dry-run", "--json"][..], &["--json"]] {
        let verb = [&["updatekeys"], flags, &["a.yaml"]].concat();
        let done = place.run_with_key(&verb);
        ok(&done);
        assert!(done.stderr.contains(&told), "{}", done.stderr);
        let report = done.json().unwrap();
        assert_eq!(report["seen_by_removed"], values);
        assert_eq!(report["new_data_key"], true);
        assert!(report["note"].to_string().contains(&other));
    }
    let done = place.run_with_key(&["rotate", "--rm-age", RECIPIENT, "b/.env"]);
    ok(&done);
    let told = format!("age {RECIPIENT} could read PASSWORD: replace them");
    assert!(done.stderr.contains(&told), "{}", done.stderr);
}

#[test]
fn a_misnamed_config_is_told_by_every_verb_that_follows_rules() {
    let place = Place::new();
    place.write("a.yaml", "password: one\n");
    ok(&place.run(&["encrypt", "--age", RECIPIENT, "a.yaml"]));
    place.write(".sops.yml", rules(&[RECIPIENT]));
    for verb in ["rekey", "updatekeys", "rules"] {
        let done = place.run(&[verb, "a.yaml"]);
        assert_eq!(done.code, Some(1), "{}", done.stderr);
        let told = ".sops.yml is not used; the name is .sops.yaml";
        assert_eq!(
            done.stderr.matches(told).count(),
            1,
            "{verb}: {}",
            done.stderr
        );
    }
    place.write(
        ".sops.yaml",
        "creation_rules:\n  - path_regex: ^x$\n    pgp: x\n",
    );
    for verb in ["rekey", "updatekeys", "rules"] {
        place.write("d/.sops.yml", rules(&[RECIPIENT]));
        place.write("d/a.yaml", place.read("a.yaml"));
        let done = place.run(&[verb, "d/a.yaml"]);
        assert_eq!(done.code, Some(1), "{}", done.stderr);
        let told = "d/.sops.yml is not used; the name is .sops.yaml";
        assert_eq!(
            done.stderr.matches(told).count(),
            1,
            "{verb}: {}",
            done.stderr
        );
    }
    // Beside a rule without keys.
    place.write(".sops.yaml", "creation_rules:\n  - path_regex: yaml$\n");
    let done = place.run(&["rules", "d/a.yaml"]);
    assert_eq!(done.code, Some(1), "{}", done.stderr);
    let told = "d/.sops.yml is not used; the name is .sops.yaml";
    assert!(done.stderr.contains(told), "{}", done.stderr);
    // Nearer than the one that is used.
    for name in ["b/c.yaml", "b/d.yaml"] {
        place.write(name, place.read("a.yaml"));
    }
    place.write("b/.sops.yml", "");
    fs::rename(place.path(".sops.yml"), place.path(".sops.yaml")).unwrap();
    for (verb, path) in [("rekey", "b"), ("updatekeys", "b"), ("rules", "b/c.yaml")] {
        let done = place.run(&[verb, path]);
        ok(&done);
        let told = "b/.sops.yml is not used; the name is .sops.yaml";
        assert_eq!(
            done.stderr.matches(told).count(),
            1,
            "{verb}: {}",
            done.stderr
        );
    }
}

#[test]
fn a_file_named_after_its_folder_is_named() {
    let place = repository();
    for verb in [
        &["rekey"][..],
        &["rotate"],
        &["decrypt", "--check"],
        &["updatekeys"],
    ] {
        ok(&place.run_with_key(&[verb, &["."]].concat()));
        let done = place.run_with_key(&[verb, &[".", "notes.txt"]].concat());
        assert_ne!(done.code, Some(0), "{verb:?}: {}", done.stderr);
        assert!(
            done.stderr.contains("error: notes.txt: "),
            "{}",
            done.stderr
        );
    }
}

#[test]
fn a_folder_without_an_encrypted_file_is_told_beside_others() {
    let place = repository();
    for paths in [["b", "out"], ["out", "b"], ["b", "out/*.yaml"]] {
        let done = place.run_with_key(&[&["decrypt", "--check"], &paths[..]].concat());
        assert_eq!(done.code, Some(100), "{}", done.stderr);
        assert!(done.stderr.contains("error: out"), "{}", done.stderr);
        assert!(done.stderr.contains("opens   3"), "{}", done.stderr);
    }
    // Of two names of a file the first counts.
    place.write("b/c.json", "{\n  \"password\": \"three\"\n}\n");
    let done = place.run(&["encrypt", "b", "b/c.json", "./b/c.json"]);
    ok(&done);
    assert_eq!(
        done.stderr.matches("b/c.json: ").count(),
        1,
        "{}",
        done.stderr
    );
    // One that is found by two of the paths counts for both.
    ok(&place.run_with_key(&["decrypt", "--check", "b", "b/c.json", "."]));
}

#[test]
fn a_dry_run_says_what_would_be() {
    let place = repository();
    fs::hard_link(place.path("a.yaml"), place.path("same.txt")).unwrap();
    place.write(".sops.yaml", rules(&[RECIPIENT]));
    for verb in [
        &["rotate", "--dry-run"][..],
        &["updatekeys", "--dry-run"],
        &["rekey", "--plan"],
    ] {
        let done = place.run_with_key(&[verb, &["a.yaml"]].concat());
        ok(&done);
        let told = "1 other name (hard link), which would keep the old content";
        assert!(done.stderr.contains(told), "{}", done.stderr);
    }
    let done = place.run_with_key(&["rotate", "a.yaml"]);
    let told = "1 other name (hard link), which still holds the old content";
    assert!(done.stderr.contains(told), "{}", done.stderr);
}

#[test]
fn encrypt_goes_on_tells_a_table_and_can_change_nothing() {
    let place = Place::new();
    place.write(".sops.yaml", rules(&[RECIPIENT]));
    for n in 0..30 {
        place.write(&format!("f/{n:02}.yaml"), format!("password: value {n}\n"));
    }
    place.write("f/bad.yaml", "a: [\n");
    let dry = place.run(&["encrypt", "--dry-run", "f"]);
    assert_eq!(dry.code, Some(2));
    assert!(
        dry.stderr.contains("would encrypt  30") && dry.stderr.contains("failed         1"),
        "{}",
        dry.stderr
    );
    let who = format!("f/00.yaml: would encrypt (1 value); for age {RECIPIENT}\n");
    assert!(dry.stderr.contains(&who), "{}", dry.stderr);
    assert_eq!(place.read("f/07.yaml"), "password: value 7\n");
    let done = place.run(&["encrypt", "none/*.yaml", "f", "nothing"]);
    assert_eq!(done.code, Some(100), "{}", done.stderr);
    for part in [
        "encrypted  30",
        "failed     3",
        "  f/bad.yaml: not valid YAML",
        "  nothing: no such",
    ] {
        assert!(done.stderr.contains(part), "{part}: {}", done.stderr);
    }
    let order: Vec<&str> = done
        .stderr
        .lines()
        .filter_map(|line| line.strip_suffix(": encrypted (1 value)"))
        .collect();
    assert!(order.is_sorted() && order.len() == 30, "{order:?}");
    assert_eq!(place.read("f/bad.yaml"), "a: [\n");
    let again = place.run(&["encrypt", "-q", "f/0*.yaml"]);
    assert_eq!((again.code, again.stderr.as_str()), (Some(0), ""));
    let opened = place.run_with_key(&["decrypt", "--check", "f"]);
    ok(&opened);
    let status = place.run(&["status", "--dry-run", "f"]);
    assert_eq!(status.code, Some(1), "it changes nothing anyway");
}

#[test]
fn a_broken_file_in_a_folder_is_told_and_prose_is_not() {
    let place = repository();
    place.write(
        "notes.md",
        "In `sops` a value is ENC[AES256_GCM,data:...]\n",
    );
    let conflict = format!("<<<<<<< ours\n{}>>>>>>> theirs\n", place.read("a.yaml"));
    place.write("a.yaml", &conflict);
    for verb in [
        &["decrypt", "--check", "."][..],
        &["rekey", "."],
        &["rotate", "--dry-run", "."],
    ] {
        let done = place.run_with_key(verb);
        assert_eq!(done.code, Some(2), "{}", done.stderr);
        assert!(
            done.stderr.contains("a.yaml: not valid YAML"),
            "{}",
            done.stderr
        );
        assert!(done.stderr.contains("failed"), "{}", done.stderr);
        assert!(!done.stderr.contains("notes.md"), "{}", done.stderr);
    }
    // Without its MAC a file does not drop out of sight.
    let other = place.read("b/c.json");
    let (head, tail) = other.split_once("\"mac\": \"").unwrap();
    let (_, tail) = tail.split_once('"').unwrap();
    place.write("b/c.json", format!("{head}\"mac\": \"\"{tail}"));
    place.write("a.yaml", "a: clear\n");
    let done = place.run_with_key(&["decrypt", "--check", "."]);
    assert!(done.code.is_some_and(|code| code != 0));
    assert!(done.stderr.contains("error: b/c.json"), "{}", done.stderr);
}

/// Nobody can tell whether the rules of a broken config name a file, so it is not left in clear in silence.
#[test]
fn a_config_that_does_not_parse_is_told_for_a_folder() {
    let place = Place::new();
    for folder in ["good", "bad"] {
        fs::create_dir(place.path(folder)).unwrap();
        place.write(&format!("{folder}/secret.yaml"), SECRET);
        place.write(&format!("{folder}/other.yaml"), SECRET);
    }
    let rule =
        |field: &str| format!("creation_rules:\n  - {field}: \\.yaml$\n    age: {RECIPIENT}\n");
    place.write("good/.sops.yaml", rule("path_regex"));
    place.write("bad/.sops.yaml", rule("pathregex"));
    let done = place.run(&["encrypt", "."]);
    assert_eq!(done.code, Some(1), "{}", done.stderr);
    let told = done.stderr.matches("pathregex").count();
    assert!(
        (1..=2).contains(&told),
        "told once, and again at the end: {}",
        done.stderr
    );
    assert!(place.read("good/secret.yaml").contains("ENC["));
    assert_eq!(place.read("bad/secret.yaml"), SECRET);
}
