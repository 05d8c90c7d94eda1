//! Weak point 11 of sops-cli.md: the question comes before anything is done, and names the key.

use std::fs::{self, File};
use std::io::Write as _;
use std::process::{Child, ChildStdin, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use compat::openbao::{OpenBao, ROOT_TOKEN};
use compat::program::Program;
use compat::selkie;
use compat::sops_file::RECIPIENT;
use serde_json::json;

use crate::bed::{Bed, PLAIN, Who, succeeded, words};

/// A server that asks on its standard output; killed when this is dropped.
struct Asking {
    child: Child,
    answers: ChildStdin,
}

impl Asking {
    /// Starts `sops keyservice --prompt` of ours.
    fn start(bed: &Bed, socket: &str) -> Result<Self> {
        let program = bed.serving(Who::OursAsSops)?.args([
            "keyservice",
            "--prompt",
            "--network",
            "unix",
            "--address",
            socket,
        ]);
        let mut child = program
            .into_command()
            .stdin(Stdio::piped())
            .stdout(File::create(bed.path("asked.txt"))?)
            .spawn()?;
        let answers = child.stdin.take().context("stdin is a pipe")?;
        let asking = Self { child, answers };
        let end = Instant::now() + Duration::from_secs(30);
        while fs::metadata(socket).is_err() {
            ensure!(Instant::now() < end, "there is no socket");
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(asking)
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn a_refused_request_reaches_no_key() -> Result<()> {
    let bao = OpenBao::start().await?;
    bao.write("sys/mounts/sops", &json!({"type": "transit"}))
        .await?;
    bao.write("sops/keys/first", &json!({})).await?;
    let key = format!("{}/v1/sops/keys/first", bao.url());
    let mut bed = Bed::new()?;
    for (name, value) in [
        ("VAULT_ADDR", bao.url()),
        ("VAULT_TOKEN", ROOT_TOKEN.to_owned()),
    ] {
        bed.server_variables.push((name.to_owned(), value));
    }
    let socket = bed.path("keys.sock").display().to_string();
    let address = format!("unix://{socket}");
    let mut server = Asking::start(&bed, &socket)?;
    let service = ["--enable-local-keyservice=false", "--keyservice", &address];
    let encrypt = [&service[..], &["--hc-vault-transit", &key]].concat();

    let before = bao.requests()?.len();
    // `maybe` is no answer: the question comes again.
    server.answers.write_all(b"maybe\nn\n")?;
    let refused = bed.encrypt(Who::Sops, "file.yaml", &encrypt)?;
    ensure!(refused.code != Some(0), "{refused:?}");
    ensure!(
        words(&refused.stderr).contains("Request rejected by user"),
        "{}",
        refused.stderr
    );
    ensure!(bao.requests()?.len() == before, "the key was used");
    ensure!(fs::read_to_string(bed.path("client/file.yaml"))? == PLAIN);

    server.answers.write_all(b"y\n")?;
    succeeded(bed.encrypt(Who::Sops, "file.yaml", &encrypt)?)?;
    ensure!(bao.requests()?.len() == before + 1);
    server.answers.write_all(b"n\n")?;
    let shut = bed.decrypt(Who::Selkie, "file.yaml", &service)?;
    ensure!(shut.code == Some(128), "{shut:?}");
    ensure!(
        words(&shut.stderr).contains("it refused: Request rejected by user"),
        "{}",
        shut.stderr
    );
    ensure!(bao.requests()?.len() == before + 1, "the key was used");
    let asked = fs::read_to_string(bed.path("asked.txt"))?;
    let question = |operation: &str| {
        format!(
            "\nReceived {operation} request using Hashicorp Vault key with URI {key}. Respond to \
             request? (y/n): "
        )
    };
    let expected = [
        question("encrypt"),
        question("encrypt"),
        question("encrypt"),
        question("decrypt"),
    ];
    ensure!(asked == expected.concat(), "{asked}");
    Ok(())
}

/// Runs a command on a terminal of its own that answers each question with the next line of
/// standard input, until one was granted; prints what the terminal showed.
const ON_A_TERMINAL: &str = r#"
import os, pty, signal, sys
answers = [line.rstrip("\n").encode() for line in sys.stdin]
signal.alarm(120)
child, terminal = pty.fork()
if child == 0:
    os.execv(sys.argv[1], sys.argv[1:])
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
    if shown[seen:].endswith(b"refuse) ") and answers:
        seen = len(shown)
        os.write(terminal, answers.pop(0) + b"\n")
    if b": done" in shown:
        os.kill(child, signal.SIGTERM)
sys.stdout.buffer.write(shown)
sys.stdout.buffer.write(b"status %d" % os.waitpid(child, 0)[1])
"#;

#[test]
fn selkie_asks_on_the_terminal() -> Result<()> {
    let bed = Bed::new()?;
    let address = format!("unix://{}", bed.path("keys.sock").display());
    succeeded(bed.encrypt(Who::Selkie, "file.yaml", &["--age", RECIPIENT])?)?;
    let python = compat::bed::Cache::open()?.root().join("venv/bin/python");
    let mut program = Program::new(python)
        .args(["-c", ON_A_TERMINAL])
        .arg(selkie::binary("selkie-cli", "selkie")?)
        .args(["keyservice", "--prompt", "--listen", &address])
        .input("n\ny\n");
    for (name, value) in &bed.server_variables {
        program = program.env(name, value);
    }
    let server = std::thread::spawn(move || program.ok());
    let end = Instant::now() + Duration::from_secs(30);
    while !bed.path("keys.sock").exists() {
        ensure!(Instant::now() < end, "there is no socket");
        std::thread::sleep(Duration::from_millis(10));
    }
    let shut = bed.decrypt(Who::Sops, "file.yaml", &["--keyservice", &address])?;
    ensure!(
        shut.code == Some(128)
            && words(&shut.stderr).contains("the user of the key service refused"),
        "{shut:?}"
    );
    let opened = succeeded(bed.decrypt(Who::Sops, "file.yaml", &["--keyservice", &address])?)?;
    ensure!(opened.text().contains("hunter2"));
    // The question says what is asked for; the file's data are not there.
    let finished = server.join().ok().context("it ran")??;
    let shown = finished.text();
    let question = format!(
        "A client wants to decrypt with the age key with recipient {RECIPIENT}. Allow it? (y: \
         allow, n: refuse) "
    );
    ensure!(shown.contains(&question), "{shown}");
    ensure!(!shown.contains("hunter2"), "{shown}");
    Ok(())
}

#[test]
fn without_a_terminal_it_does_not_start() -> Result<()> {
    let bed = Bed::new()?;
    let setsid = Program::new("/usr/bin/setsid").arg("--wait");
    let finished = setsid
        .arg(selkie::binary("selkie-cli", "selkie")?)
        .args(["keyservice", "--prompt", "--listen"])
        .arg(format!("unix://{}", bed.path("keys.sock").display()))
        .run()?;
    ensure!(finished.code == Some(8), "{finished:?}");
    ensure!(
        finished.stderr.contains("no terminal to ask on"),
        "{}",
        finished.stderr
    );
    Ok(())
}
