//! `selkie exec`: a command with secrets, and nothing left of them afterwards; and the refusal to run
//! where sops would write an audit trail.

use std::path::PathBuf;
use std::process::Stdio;

use compat::program::{Finished, Program};
use rustix::process::{Pid, Signal, kill_process};

use crate::bed::{CANARY, IDENTITY, Place, RECIPIENT};

/// A folder with `app.env` and `secret.yaml`, encrypted.
fn place() -> Place {
    let place = Place::with_encrypted();
    place.write("app.env", "TOKEN=canary-7f3a9c51\nPORT=8080\nEMPTY=\n");
    let done = place.run(&["encrypt", "--age", RECIPIENT, "app.env"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    place
}

fn program(place: &Place, arguments: &[&str]) -> Program {
    place
        .selkie()
        .args(arguments)
        .env("SOPS_AGE_KEY", IDENTITY)
        .env("PATH", "/usr/bin:/bin")
}

fn exec(place: &Place, arguments: &[&str]) -> Finished {
    let mut all = vec!["exec"];
    all.extend(arguments);
    program(place, &all).run().unwrap()
}

#[test]
fn values_become_variables_and_arguments_stay_as_they_are() {
    let place = place();
    let shown = exec(
        &place,
        &[
            "app.env", "--", "printf", "%s|", "$TOKEN", "a  b", "--flag", "",
        ],
    );
    assert_eq!(shown.text(), "$TOKEN|a  b|--flag||");
    assert_eq!((shown.code, shown.stderr.as_str()), (Some(0), ""));
    let shown = exec(&place, &["--env", "app.env", "--", "env"]).text();
    for line in [&format!("TOKEN={CANARY}"), "PORT=8080", "EMPTY="] {
        assert!(shown.lines().any(|found| found == line), "{shown}");
    }
    assert!(shown.contains("PATH="));
    let alone = exec(
        &place,
        &["--pristine", "app.env", "--", "/usr/bin/env", "-0"],
    );
    assert_eq!(alone.text().split('\0').count(), 4, "{}", alone.text());
    let part = ["--extract", "[\"stringData\"]", "secret.yaml", "--", "sh"];
    let part = [&part[..], &["-c", "echo \"$user $password\""]].concat();
    assert_eq!(exec(&place, &part).text(), format!("app {CANARY}\n"));
    let same = ["--same-process", "app.env", "--", "sh", "-c", "echo $PORT"];
    assert_eq!(exec(&place, &same).text(), "8080\n");
}

#[test]
fn the_code_of_the_command_is_ours() {
    let place = place();
    let code = |line: &str| exec(&place, &["app.env", "--", "sh", "-c", line]).code;
    assert_eq!(code("exit 7"), Some(7));
    assert_eq!(code("kill -9 $$"), Some(137));
    let input = ["exec", "app.env", "--", "tr", "a", "b"];
    let input = program(&place, &input).input("banana").run().unwrap();
    assert_eq!(input.text(), "bbnbnb");
}

#[test]
fn signals_reach_the_command() {
    let place = place();
    for signal in [
        Signal::TERM,
        Signal::INT,
        Signal::HUP,
        Signal::QUIT,
        Signal::USR1,
    ] {
        let line = "trap 'exit 42' TERM INT HUP QUIT USR1; touch ready; \
                    while true; do sleep 0.02; done";
        let arguments = ["exec", "app.env", "--", "sh", "-c", line];
        let mut child = program(&place, &arguments)
            .into_command()
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        place.wait_for("ready");
        kill_process(Pid::from_child(&child), signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(42), "{signal:?}");
        std::fs::remove_file(place.path("ready")).unwrap();
    }
}

#[test]
fn a_file_is_there_for_the_command_only() {
    let place = place();
    let line = "test -p \"$0\" && cat \"$0\" && printf %s \"$0\" > where";
    let shown = exec(&place, &["--file", "app.env", "--", "sh", "-c", line, "{}"]);
    assert_eq!(
        shown.text(),
        "TOKEN=canary-7f3a9c51\nPORT=8080\nEMPTY=\n",
        "{}",
        shown.stderr
    );
    let gone = || {
        let path = PathBuf::from(place.read("where"));
        assert!(!path.exists() && !path.parent().unwrap().exists());
        path
    };
    gone();
    let line = "test -f \"$0\" && stat -c %a \"$0\" && cat \"$0\" && printf %s \"$0\" > where";
    let flags = ["--file", "--regular", "--filename", "app.json"];
    let more = ["--output-type", "json", "app.env", "--", "sh", "-c", line];
    let shown = exec(&place, &[&flags[..], &more[..], &["{}"]].concat());
    assert!(
        shown.text().starts_with("600\n{\n\t\"TOKEN\": \"canary"),
        "{}",
        shown.text()
    );
    assert!(gone().ends_with("app.json"));
    let killed = ["--file", "--regular", "app.env", "--", "sh", "-c"];
    let line = "printf %s \"$0\" > where; kill -9 $$";
    exec(&place, &[&killed[..], &[line, "{}"]].concat());
    gone();
}

#[test]
fn what_cannot_be_passed_is_refused_and_no_command_runs() {
    let place = place();
    let before = place.names();
    let touch = ["--", "touch", "ran"];
    for (arguments, code, part) in [
        (&["secret.yaml"][..], 1, "`metadata` is a list or a mapping"),
        (&["--file", "app.env"], 1, "no {}"),
        (
            &["--extract", "[\"kind\"]", "secret.yaml"],
            91,
            "no mapping",
        ),
        (&["--extract", "kind", "secret.yaml"], 91, "not a path"),
        (&["no.env"], 100, "no such file"),
        (&[".sops.yaml"], 100, "no such file"),
        (&["--json", "app.env"], 8, "--json"),
    ] {
        let done = exec(&place, &[arguments, &touch].concat());
        assert_eq!(done.code, Some(code), "{}", done.stderr);
        assert!(done.stderr.contains(part), "{}", done.stderr);
        assert!(!done.stderr.contains(CANARY));
    }
    let none = exec(&place, &["app.env"]);
    assert_eq!(none.code, Some(1), "{}", none.stderr);
    let missing = exec(&place, &["app.env", "--", "/no/such/program"]);
    assert_eq!(missing.code, Some(1));
    assert!(
        missing.stderr.contains("/no/such/program"),
        "{}",
        missing.stderr
    );
    let wrong = place.run(&["exec", "app.env", "--", "touch", "ran"]);
    assert_eq!(wrong.code, Some(128), "{}", wrong.stderr);
    assert_eq!(place.names(), before);
}

/// In a mount namespace with an `/etc` of its own.
#[test]
fn a_wish_for_an_audit_trail_is_refused_unless_it_is_ignored() {
    let place = place();
    let selkie = compat::selkie::binary("selkie-cli", "selkie").unwrap();
    let sops = place.path("sops");
    std::os::unix::fs::symlink(&selkie, &sops).unwrap();
    let script = "mount -t tmpfs none /etc && mkdir /etc/sops && echo 'backends: {}' > \
                  /etc/sops/audit.yaml && exec \"$@\"";
    let inside = |name: &PathBuf, ignored: &str| {
        Program::new("/usr/bin/unshare")
            .args(["--mount", "--map-root-user", "sh", "-c", script, "sh"])
            .arg(name)
            .args(["decrypt", "secret.yaml"])
            .folder(place.folder())
            .env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin")
            .env("SOPS_AGE_KEY", IDENTITY)
            .env("SELKIE_IGNORE_AUDIT", ignored)
            .run()
            .unwrap()
    };
    for name in [&selkie, &sops] {
        let refused = inside(name, "");
        assert_eq!(refused.code, Some(1), "{}", refused.stderr);
        assert!(
            refused.stderr.contains("/etc/sops/audit.yaml")
                && refused.stderr.contains("SELKIE_IGNORE_AUDIT=1"),
            "{}",
            refused.stderr
        );
        assert!(refused.stdout.is_empty());
        let ignored = inside(name, "1");
        assert_eq!(ignored.code, Some(0), "{}", ignored.stderr);
        assert!(ignored.text().contains(CANARY));
    }
}
