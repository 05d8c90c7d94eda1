//! `selkie edit`: what the editor sees, what comes back, and what is left behind.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use compat::program::{Finished, Program};
use rustix::process::{Pid, Signal, kill_process};

use crate::bed::{CANARY, IDENTITY, Place, RECIPIENT, SECRET};

/// A second reader.
const OTHER_IDENTITY: &str =
    "AGE-SECRET-KEY-1VGNM228VQCWCV0KWFC5ULR6VE9RHAJRNQT5P47DEXGSAJYAX2RJS2QMDHE";

fn other_recipient() -> String {
    let key: age::x25519::Identity = OTHER_IDENTITY.parse().unwrap();
    key.to_public().to_string()
}

/// Makes `editor` a script that notes which file it got in `where`, and then runs `lines` with `$1`.
fn editor(place: &Place, lines: &str) {
    let here = place.folder().display().to_string();
    place.write(
        "editor",
        format!("#!/bin/sh\nHERE='{here}'\nprintf %s \"$1\" > \"$HERE/where\"\n{lines}\n"),
    );
    fs::set_permissions(place.path("editor"), fs::Permissions::from_mode(0o755)).unwrap();
}

/// `selkie` with the editor of the folder.
fn program(place: &Place, arguments: &[&str]) -> Program {
    place
        .selkie()
        .args(arguments)
        .env("SOPS_AGE_KEY", IDENTITY)
        .env("PATH", "/usr/bin:/bin")
        .env("SOPS_EDITOR", place.path("editor"))
}

fn edit(place: &Place, lines: &str, arguments: &[&str]) -> Finished {
    editor(place, lines);
    program(place, arguments).run().unwrap()
}

/// The file that the editor had; neither it nor its folder may be there any more.
fn gone(place: &Place) -> PathBuf {
    let file = PathBuf::from(place.read("where"));
    assert!(!file.exists(), "{} is left", file.display());
    assert!(!file.parent().unwrap().exists());
    file
}

#[test]
fn touched_values_get_new_ciphertext_and_nothing_else() {
    let place = Place::with_encrypted();
    let before = place.read("secret.yaml");
    let script = "stat -c %a \"$1\" \"$(dirname \"$1\")\" > \"$HERE/modes\"\n\
                  stat -f -c %T \"$1\" > \"$HERE/kind\"\n\
                  sed -i 's/canary-7f3a9c51/changed/; s/# the name/# its name/' \"$1\"";
    let done = edit(&place, script, &["edit", "secret.yaml"]);
    assert_eq!(
        (done.code, done.stderr.as_str()),
        (Some(0), "secret.yaml: edited\n")
    );
    assert_eq!(place.read("modes"), "600\n700\n");
    if Path::new("/dev/shm").is_dir() {
        assert_eq!(place.read("kind"), "tmpfs\n");
    }
    assert_eq!(gone(&place).file_name().unwrap(), "secret.yaml");
    let after = place.read("secret.yaml");
    let changed: Vec<&str> = before
        .lines()
        .zip(after.lines())
        .filter(|(before, after)| before != after)
        .map(|(before, _)| before.trim().split(':').next().unwrap())
        .filter(|name| *name != "lastmodified")
        .collect();
    assert_eq!(changed, ["name", "password", "mac"]);
    let plain = place.run_with_key(&["decrypt", "secret.yaml"]).text();
    let expected = SECRET
        .replace(CANARY, "changed")
        .replace("# the name", "# its name");
    assert_eq!(plain, expected);
}

#[test]
fn nothing_is_written_when_nothing_changed() {
    let place = Place::with_encrypted();
    let stamp = || {
        let metadata = fs::metadata(place.path("secret.yaml")).unwrap();
        (metadata.modified().unwrap(), place.read("secret.yaml"))
    };
    let before = stamp();
    for script in [
        "true",
        "touch \"$1\"",
        "cp \"$1\" \"$1.x\"; mv \"$1.x\" \"$1\"",
    ] {
        let done = edit(&place, script, &["edit", "secret.yaml"]);
        assert_eq!(done.stderr, "secret.yaml: unchanged; nothing was written\n");
        assert_eq!(done.code, Some(0));
        gone(&place);
    }
    assert!(stamp() == before);
}

#[test]
fn an_editor_that_fails_leaves_the_file() {
    let place = Place::with_encrypted();
    let before = place.read("secret.yaml");
    let script = "echo broken >> \"$1\"; exit 3";
    let done = edit(&place, script, &["edit", "secret.yaml"]);
    assert_eq!(done.code, Some(1));
    assert!(done.stderr.contains("exit status 3"), "{}", done.stderr);
    gone(&place);
    let done = edit(&place, "kill -9 $$", &["edit", "secret.yaml"]);
    assert!(done.stderr.contains("by a signal"), "{}", done.stderr);
    gone(&place);
    let done = edit(&place, "rm \"$1\"", &["edit", "secret.yaml"]);
    assert_eq!(done.code, Some(2), "{}", done.stderr);
    gone(&place);
    let none = program(&place, &["edit", "secret.yaml"])
        .env("SOPS_EDITOR", "/no/such/editor")
        .run()
        .unwrap();
    assert_eq!(none.code, Some(1));
    assert!(none.stderr.contains("/no/such/editor"), "{}", none.stderr);
    assert_eq!(place.read("secret.yaml"), before);
}

#[test]
fn a_broken_edit_is_refused_without_a_terminal() {
    let place = Place::with_encrypted();
    let before = place.read("secret.yaml");
    for (script, code) in [
        ("echo '  broken: [canary' >> \"$1\"", 2),
        ("printf '\\377' >> \"$1\"", 2),
        ("echo 'sops: {x: 1}' >> \"$1\"", 203),
        (": > \"$1\"", 92),
    ] {
        let done = edit(&place, script, &["edit", "secret.yaml"]);
        assert_eq!(done.code, Some(code), "{script}: {}", done.stderr);
        assert!(!done.stderr.contains("canary"), "{}", done.stderr);
        gone(&place);
    }
    assert_eq!(place.read("secret.yaml"), before);
}

/// Runs a command on a terminal of its own; at the first "Press Enter" types what the first argument
/// says: `enter`, or the number of a signal for the program. Prints what the terminal showed.
const ON_A_TERMINAL: &str = r#"
import os, pty, signal, sys
answer = sys.argv[1]
child, terminal = pty.fork()
if child == 0:
    os.execv(sys.argv[2], sys.argv[2:])
shown = b""
while True:
    try:
        part = os.read(terminal, 4096)
    except OSError:
        break
    if not part:
        break
    shown += part
    if answer and b"Press Enter" in shown:
        if answer == "enter":
            os.write(terminal, b"\n")
        else:
            os.kill(child, int(answer))
        answer = ""
status = os.waitpid(child, 0)[1]
sys.stdout.buffer.write(shown)
print("code", os.waitstatus_to_exitcode(status))
"#;

fn on_a_terminal(place: &Place, answer: &str) -> String {
    let python = compat::bed::Cache::open()
        .unwrap()
        .root()
        .join("venv/bin/python");
    Program::new(python)
        .args(["-c", ON_A_TERMINAL, answer])
        .arg(compat::selkie::binary("selkie-cli", "selkie").unwrap())
        .args(["edit", "secret.yaml"])
        .folder(place.folder())
        .env("HOME", place.folder())
        .env("PATH", "/usr/bin:/bin")
        .env("SOPS_AGE_KEY", IDENTITY)
        .env("SOPS_EDITOR", place.path("editor"))
        .ok()
        .unwrap()
        .text()
}

/// Breaks the text the first time and mends it the second time.
const BREAK_THEN_MEND: &str = "if test -e \"$HERE/second\"; then\n\
    sed -i 's/: \\[unfinished/: finished/' \"$1\"\n\
    else touch \"$HERE/second\"; echo '  more: [unfinished' >> \"$1\"; fi";

#[test]
fn a_broken_edit_is_offered_back_on_a_terminal() {
    let place = Place::with_encrypted();
    editor(&place, BREAK_THEN_MEND);
    let shown = on_a_terminal(&place, "enter");
    assert!(shown.contains("not valid YAML: line 11"), "{shown}");
    assert!(shown.contains("secret.yaml: edited"), "{shown}");
    assert!(shown.contains("code 0"), "{shown}");
    gone(&place);
    let plain = place.run_with_key(&["decrypt", "secret.yaml"]).text();
    assert_eq!(plain, format!("{SECRET}  more: finished\n"));
}

#[test]
fn a_signal_at_the_question_removes_the_text() {
    for signal in [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT] {
        let place = Place::with_encrypted();
        let before = place.read("secret.yaml");
        editor(&place, BREAK_THEN_MEND);
        let shown = on_a_terminal(&place, &signal.as_raw().to_string());
        let code = format!("code {}", 128 + signal.as_raw());
        assert!(shown.contains(&code), "{shown}");
        gone(&place);
        assert_eq!(place.read("secret.yaml"), before);
    }
}

#[test]
fn a_signal_during_the_edit_removes_the_text() {
    for signal in [
        Signal::TERM,
        Signal::INT,
        Signal::HUP,
        Signal::QUIT,
        Signal::USR1,
    ] {
        let place = Place::with_encrypted();
        let before = place.read("secret.yaml");
        editor(
            &place,
            "echo more >> \"$1\"; touch \"$HERE/ready\"; exec sleep 60",
        );
        let mut command: Command = program(&place, &["edit", "secret.yaml"]).into_command();
        let mut child = command
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        place.wait_for("ready");
        kill_process(Pid::from_child(&child), signal).unwrap();
        let status = child.wait().unwrap();
        assert!(!status.success(), "{signal:?}");
        gone(&place);
        assert_eq!(place.read("secret.yaml"), before);
    }
}

#[test]
fn show_keys_applies_a_change_of_the_keys() {
    let place = Place::with_encrypted();
    let other = other_recipient();
    let script = format!("sed -i 's/{RECIPIENT}/{other}/; s/user: app/user: other/' \"$1\"");
    let token = |place: &Place| {
        let text = place.read("secret.yaml");
        text.split("ENC[").nth(1).unwrap().to_owned()
    };
    let before = token(&place);
    let done = edit(&place, &script, &["edit", "-s", "secret.yaml"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    for part in [
        format!("- age {RECIPIENT}"),
        format!("+ age {other}"),
        "new data key".to_owned(),
    ] {
        assert!(done.stderr.contains(&part), "{}", done.stderr);
    }
    gone(&place);
    assert_ne!(token(&place), before);
    let mine = place.run_with_key(&["decrypt", "secret.yaml"]);
    assert_eq!(mine.code, Some(128));
    let theirs = place.selkie().args(["decrypt", "secret.yaml"]);
    let theirs = theirs.env("SOPS_AGE_KEY", OTHER_IDENTITY).run().unwrap();
    assert_eq!(
        theirs.text(),
        SECRET.replace("user: app", "user: other"),
        "{}",
        theirs.stderr
    );
}

#[test]
fn show_keys_without_a_change_writes_nothing_and_a_bad_key_is_refused() {
    let place = Place::with_encrypted();
    let before = place.read("secret.yaml");
    let same = edit(&place, "true", &["edit", "-s", "secret.yaml"]);
    assert_eq!(same.stderr, "secret.yaml: unchanged; nothing was written\n");
    let script = format!("sed -i 's/{RECIPIENT}/age1nonsense/' \"$1\"");
    let bad = edit(&place, &script, &["edit", "-s", "secret.yaml"]);
    assert!(bad.code.is_some_and(|code| code != 0));
    assert!(bad.stderr.contains("age1nonsense"), "{}", bad.stderr);
    gone(&place);
    assert_eq!(place.read("secret.yaml"), before);
}

#[test]
fn a_new_file_begins_as_an_example() {
    let place = Place::new();
    let none = edit(&place, "true", &["edit", "new.yaml"]);
    assert_eq!(none.code, Some(1));
    assert!(!place.path("where").exists(), "no editor without a key");
    let rule = format!("creation_rules:\n  - age: {RECIPIENT}\n");
    place.write(".sops.yaml", rule);
    let same = edit(&place, "true", &["edit", "new.yaml"]);
    assert_eq!(same.stderr, "new.yaml: unchanged; nothing was written\n");
    assert!(!place.path("new.yaml").exists());
    let script = "grep -q example_key \"$1\" && echo 'a: b' > \"$1\"";
    let made = edit(&place, script, &["edit", "new.yaml"]);
    assert_eq!(
        (made.code, made.stderr.as_str()),
        (Some(0), "new.yaml: made\n")
    );
    gone(&place);
    let plain = place.run_with_key(&["decrypt", "new.yaml"]);
    assert_eq!(plain.text(), "a: b\n");
}

#[test]
fn an_edit_of_a_file_that_changed_meanwhile_is_kept_beside_it() {
    let place = Place::with_encrypted();
    let script = "sed -i 's/app/mine/' \"$1\"; echo '# theirs' >> \"$HERE/secret.yaml\"";
    let done = edit(&place, script, &["edit", "secret.yaml"]);
    assert_eq!(done.code, Some(3), "{}", done.stderr);
    assert!(
        done.stderr.contains("secret.edited.yaml"),
        "{}",
        done.stderr
    );
    gone(&place);
    assert!(place.read("secret.yaml").ends_with("# theirs\n"));
    assert!(!place.read("secret.edited.yaml").contains("mine"));
    let kept = place.run_with_key(&["decrypt", "secret.edited.yaml"]);
    assert!(kept.text().contains("user: mine"), "{}", kept.stderr);
}

#[test]
fn a_second_conflict_keeps_both_versions() {
    let place = Place::with_encrypted();
    let before = place.read("secret.yaml");
    for name in ["secret.edited.yaml", "secret.edited-2.yaml"] {
        let script = "sed -i 's/app/mine/' \"$1\"; echo '# theirs' >> \"$HERE/secret.yaml\"";
        let done = edit(&place, script, &["edit", "secret.yaml"]);
        assert!(done.stderr.contains(name), "{}", done.stderr);
        place.write("secret.yaml", &before);
        ok_decrypts(&place, name);
    }
}

fn ok_decrypts(place: &Place, name: &str) {
    let kept = place.run_with_key(&["decrypt", name]);
    assert_eq!(kept.code, Some(0), "{}", kept.stderr);
}

#[test]
fn a_new_file_never_replaces_one_that_appeared_meanwhile() {
    let place = Place::new();
    place.write(
        ".sops.yaml",
        format!("creation_rules:\n  - age: {RECIPIENT}\n"),
    );
    let script = "echo 'a: b' > \"$1\"; echo 'precious: 1' > \"$HERE/new.yaml\"";
    let done = edit(&place, script, &["edit", "new.yaml"]);
    assert_eq!(done.code, Some(3), "{}", done.stderr);
    assert_eq!(place.read("new.yaml"), "precious: 1\n");
    ok_decrypts(&place, "new.edited.yaml");
    gone(&place);
}

#[test]
fn no_editor_is_started_for_a_file_that_cannot_be_made() {
    let place = Place::new();
    let done = edit(
        &place,
        "true",
        &["edit", "--age", RECIPIENT, "nodir/new.yaml"],
    );
    assert_eq!(done.code, Some(3), "{}", done.stderr);
    assert!(done.stderr.contains("mkdir -p nodir"), "{}", done.stderr);
    assert!(!place.path("where").exists(), "the editor ran");
}

#[test]
fn flags_for_new_files_are_refused_where_one_exists() {
    let place = Place::with_encrypted();
    let before = place.read("secret.yaml");
    for verb in [
        vec!["edit", "secret.yaml", "--age", RECIPIENT],
        vec!["set", "secret.yaml", "[\"a\"]", "1", "--age", RECIPIENT],
        vec!["set", "secret.yaml", "[\"a\"]", "1", "--config", "/nowhere"],
    ] {
        let done = edit(&place, "true", &verb);
        assert_eq!(done.code, Some(8), "{verb:?}: {}", done.stderr);
        assert!(done.stderr.contains("new file only"), "{}", done.stderr);
    }
    assert_eq!(place.read("secret.yaml"), before);
}

/// A change of the metadata takes effect, or is refused by the field's name.
#[test]
fn show_keys_applies_another_rule_and_refuses_other_changes() {
    let place = Place::with_encrypted();
    let before = place.read("secret.yaml");
    for (script, name) in [
        ("s/lastmodified: \"20/lastmodified: \"19/", "lastmodified"),
        ("s/^    version: .*/    version: 3.0.0/", "version"),
        ("s/BEGIN AGE/BEGIN  AGE/", "age"),
        (
            "s/^    version:/    shamir_threshold: 2\\n&/",
            "shamir_threshold",
        ),
        ("s/^    version:/    unknown: 2\\n&/", "unknown"),
    ] {
        let script = format!("sed -i '{script}' \"$1\"");
        let done = edit(&place, &script, &["edit", "-s", "secret.yaml"]);
        assert_eq!(done.code, Some(2), "{name}: {}", done.stderr);
        let told = format!("{name} of the metadata cannot be changed here");
        assert!(done.stderr.contains(&told), "{}", done.stderr);
        assert_eq!(place.read("secret.yaml"), before);
        gone(&place);
    }
    let plain = place.run_with_key(&["decrypt", "secret.yaml"]).text();
    let rules = "/^    [a-z_]*encrypted_[a-z_]*: /d; \
                 s/^    version:/    encrypted_regex: ^password$\\n    mac_only_encrypted: true\\n&/";
    let script = format!("sed -i '{rules}' \"$1\"");
    let done = edit(&place, &script, &["edit", "-s", "secret.yaml"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(done.stderr.contains("new data key"), "{}", done.stderr);
    assert!(done.stderr.contains("now in clear: "), "{}", done.stderr);
    let text = place.read("secret.yaml");
    for part in ["encrypted_regex: ^password$", "mac_only_encrypted: true"] {
        assert!(text.contains(part), "{text}");
    }
    assert!(
        text.contains("password: \"ENC[") && !text.contains(CANARY),
        "{text}"
    );
    assert_ne!(text.matches("ENC[").count(), before.matches("ENC[").count());
    let again = place.run_with_key(&["decrypt", "secret.yaml"]).text();
    assert_eq!(again, plain);
    let bad = edit(
        &place,
        "sed -i 's/encrypted_regex: .*/encrypted_regex: (/' \"$1\"",
        &["edit", "-s", "secret.yaml"],
    );
    assert!(bad.code.is_some_and(|code| code != 0), "{}", bad.stderr);
    assert_eq!(place.read("secret.yaml"), text);
}

/// Another rule and other keys at once: who is told is who could open the file and no longer can.
#[test]
fn show_keys_tells_who_lost_access_beside_another_rule() {
    let other = other_recipient();
    let other = other.as_str();
    let third = age::x25519::Identity::generate().to_public().to_string();
    let third = third.as_str();
    let both = format!("{IDENTITY}\n{OTHER_IDENTITY}");
    let rule = "s/encrypted_regex: .*/encrypted_regex: ^(data|stringData|name)$/";
    let one = format!("creation_rules:\n  - age: {RECIPIENT}\n");
    let split = |groups: &[&[&str]]| {
        let groups = groups.iter();
        let groups: String = groups
            .map(|group| format!("      - age: [{}]\n", group.join(", ")))
            .collect();
        format!("creation_rules:\n  - key_groups:\n{groups}    shamir_threshold: 2\n")
    };
    for (rules, script, note, lost) in [
        (
            one,
            format!("s/^    age:/&\\n        - recipient: {third}/"),
            format!("+ age {third}, new data key"),
            None,
        ),
        // Out of one group, and still in the other.
        (
            split(&[&[RECIPIENT], &[RECIPIENT, other]]),
            format!("0,/{RECIPIENT}/!s/{RECIPIENT}/{third}/"),
            format!("- age {RECIPIENT} (group 2), + age {third} (group 2), new data key"),
            Some(format!("age {RECIPIENT}")),
        ),
        (
            split(&[&[RECIPIENT], &[other], &[third]]),
            "s/shamir_threshold: 2/shamir_threshold: 3/".to_owned(),
            "threshold 2 -> 3, new data key".to_owned(),
            Some(format!(
                "age {RECIPIENT} with age {other}, age {RECIPIENT} with age {third}, \
                 age {other} with age {third}"
            )),
        ),
    ] {
        let place = Place::with_secret();
        place.write(".sops.yaml", rules);
        let done = place.run(&["encrypt", "secret.yaml"]);
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        editor(&place, &format!("sed -i '{rule}; {script}' \"$1\""));
        let done = program(&place, &["edit", "-s", "secret.yaml"])
            .env("SOPS_AGE_KEY", &both)
            .run()
            .unwrap();
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        assert!(done.stderr.contains(&note), "{}", done.stderr);
        match lost {
            None => assert!(!done.stderr.contains("could read"), "{}", done.stderr),
            Some(lost) => {
                let told = format!("warning: secret.yaml: {lost} could read stringData.password, ");
                assert!(done.stderr.contains(&told), "{told}\n{}", done.stderr);
            }
        }
        let text = place.read("secret.yaml");
        assert!(text.contains("(data|stringData|name)"), "{text}");
    }
}

#[test]
fn show_keys_loses_no_metadata_of_others() {
    let place = Place::with_encrypted();
    let text = place.read("secret.yaml");
    let text = text.replace("    lastmodified:", "    team: payments\n    lastmodified:");
    place.write("secret.yaml", &text);
    for script in [
        "s/encrypted_regex: .*/encrypted_regex: ^password$/",
        "s/^    version:/    mac_only_encrypted: true\\n&/",
    ] {
        let script = format!("sed -i '{script}' \"$1\"");
        let done = edit(&place, &script, &["edit", "-s", "secret.yaml"]);
        assert_eq!(done.code, Some(23), "{}", done.stderr);
        let lost = "team of its metadata would be lost";
        assert!(done.stderr.contains(lost), "{}", done.stderr);
        assert_eq!(place.read("secret.yaml"), text);
        gone(&place);
    }
}

/// Another rule means another data key, and comments may be put into clear by it.
#[test]
fn show_keys_tells_of_comments_and_refuses_to_keep_the_data_key_of_another_rule() {
    let place = Place::new();
    place.write("a.yaml", "# head\npassword: one # why\nuser: app\n");
    let made = place.run(&["encrypt", "--age", RECIPIENT, "a.yaml"]);
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let before = place.read("a.yaml");
    let script = "sed -i 's/^    unencrypted_suffix: .*/    encrypted_regex: ^password$/' \"$1\"";
    let kept = edit(&place, script, &["edit", "-s", "--keep-data-key", "a.yaml"]);
    assert_eq!(kept.code, Some(8), "{}", kept.stderr);
    assert!(
        kept.stderr.contains("leave --keep-data-key out"),
        "{}",
        kept.stderr
    );
    assert_eq!(place.read("a.yaml"), before);
    let done = edit(&place, script, &["edit", "-s", "a.yaml"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(
        done.stderr.contains("now in clear: user, 2 comments\n"),
        "{}",
        done.stderr
    );
    let text = place.read("a.yaml");
    assert!(text.starts_with("# head\npassword: ENC["), "{text}");
}
