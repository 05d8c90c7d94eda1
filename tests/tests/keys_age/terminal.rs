//! The passphrase is asked for on the terminal, which shows nothing of it and is left as it was.

use anyhow::{Result, ensure};
use compat::program::{Finished, Program};
use compat::selkie;

use crate::fixtures::{Home, PASSPHRASE, PLAIN, example, text_of};

/// Runs a command on a terminal of its own, answers each question with the next line of standard
/// input, and prints what the terminal showed, and last whether it still echoes.
const ON_A_TERMINAL: &str = r#"
import os, pty, sys, termios
answers = [line.rstrip("\n").encode() for line in sys.stdin]
child, terminal = pty.fork()
if child == 0:
    # A shell keeps the terminal open when the program has ended.
    os.execv("/bin/sh", ["/bin/sh", "-c", '"$@"; echo "code $?"; stty -a', "sh"] + sys.argv[1:])
shown = b""
seen = 0
while True:
    try:
        part = os.read(terminal, 4096)
    except OSError:
        break
    if not part:
        break
    shown += part
    if answers and b"Enter the passphrase" in shown[seen:] and shown.endswith(b": "):
        seen = len(shown)
        os.write(terminal, answers.pop(0))
sys.stdout.buffer.write(shown)
os.waitpid(child, 0)
"#;

fn on_a_terminal(home: &Home, answers: &str) -> Result<Finished> {
    let python = compat::bed::Cache::open()?.root().join("venv/bin/python");
    Program::new(python)
        .args(["-c", ON_A_TERMINAL])
        .arg(selkie::binary("selkie-cli", "selkie")?)
        .args(["decrypt", "s.yaml"])
        .folder(home.path())
        .env("HOME", home.path())
        .env("PATH", "/usr/bin:/bin")
        .env("SOPS_AGE_KEY_FILE", example("age-protected.age"))
        .input(answers)
        .ok()
}

#[test]
fn a_wrong_and_a_right_passphrase() -> Result<()> {
    let home = Home::new()?;
    home.encrypt(&text_of("age-protected.pub")?, &[])?;
    // With a slip of the finger, taken back.
    let shown = on_a_terminal(&home, &format!("wrong\r\n{PASSPHRASE}x\u{7f}\r\n"))?.text();
    ensure!(
        shown.contains("Enter the passphrase of the identity file"),
        "{shown}"
    );
    ensure!(shown.contains("That was wrong. Enter"), "{shown}");
    ensure!(shown.contains(&PLAIN.replace('\n', "\r\n")), "{shown}");
    ensure!(shown.contains("code 0"), "{shown}");
    ensure!(!shown.contains(PASSPHRASE), "{shown}");
    ensure!(
        shown.contains(" echo ") && !shown.contains("-icanon"),
        "{shown}"
    );
    Ok(())
}

#[test]
fn control_c_ends_the_question_and_restores_the_terminal() -> Result<()> {
    let home = Home::new()?;
    home.encrypt(&text_of("age-protected.pub")?, &[])?;
    let shown = on_a_terminal(&home, "thr\u{3}\n")?.text();
    ensure!(shown.contains("code 128"), "{shown}");
    ensure!(shown.contains("no passphrase was given"), "{shown}");
    ensure!(
        shown.contains(" echo ") && !shown.contains("-icanon"),
        "{shown}"
    );
    Ok(())
}
