//! The life of a server.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Result, ensure};
use compat::server::Server;
use compat::sops_file::RECIPIENT;

use crate::bed::{Bed, On, Who, succeeded};

const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn the_usual_socket_is_its_owners_alone() -> Result<()> {
    let bed = Bed::new()?;
    let log = bed.path("server.log");
    let command = bed.serving(Who::Selkie)?.arg("keyservice").into_command();
    let server = Server::start("key service", command, &log)?;
    let socket = bed.path("server/selkie/keyservice.sock");
    let end = std::time::Instant::now() + LIMIT;
    while !socket.exists() {
        server.check_alive()?;
        ensure!(std::time::Instant::now() < end, "there is no socket");
        std::thread::sleep(Duration::from_millis(10));
    }
    let mode = |path: &std::path::Path| -> Result<u32> {
        Ok(fs::metadata(path)?.permissions().mode() & 0o777)
    };
    ensure!(mode(&socket)? == 0o600 && mode(&bed.path("server/selkie"))? == 0o700);
    let address = format!("unix://{}", socket.display());
    bed.goes_through(Who::Sops, &address, &["--age", RECIPIENT])?;

    // A second one does not take its place.
    let second = bed.serving(Who::Selkie)?.arg("keyservice").run()?;
    ensure!(second.code == Some(1), "{second:?}");
    ensure!(second.stderr.contains("may be running there already"));
    bed.goes_through(Who::Sops, &address, &["--age", RECIPIENT])?;

    let status = server.terminate(LIMIT)?;
    ensure!(status.success(), "{status}: {}", server.log()?);
    ensure!(!socket.exists(), "the socket is still there");
    let told = server.log()?;
    ensure!(told.contains(&format!("SOPS_KEYSERVICE={address} uses them")));
    let done = format!("decrypt with the age key with recipient {RECIPIENT}: done");
    ensure!(told.contains(&done), "{told}");
    ensure!(!told.contains("hunter2") && !told.contains("AGE ENCRYPTED"));
    Ok(())
}

#[test]
fn a_killed_server_leaves_nothing_in_the_way() -> Result<()> {
    let bed = Bed::new()?;
    let first = bed.start(Who::Selkie, On::Unix)?;
    first.server.kill()?;
    ensure!(bed.path("keys.sock").exists());
    let second = bed.start(Who::Selkie, On::Unix)?;
    bed.goes_through(Who::Sops, &second.address, &["--age", RECIPIENT])
}

#[test]
fn noise_and_idle_connections_do_not_keep_it_from_serving_and_ending() -> Result<()> {
    let bed = Bed::new()?;
    let running = bed.start(Who::Selkie, On::Unix)?;
    let mut open = Vec::new();
    for number in 0..50 {
        let mut connection = UnixStream::connect(bed.path("keys.sock"))?;
        if number % 2 == 0 {
            connection.write_all(&[number; 4096])?;
        }
        open.push(connection);
    }
    bed.goes_through(Who::Sops, &running.address, &["--age", RECIPIENT])?;
    let status = running.server.terminate(LIMIT)?;
    ensure!(status.success(), "{status}: {}", running.server.log()?);
    Ok(())
}

#[test]
fn other_machines_are_let_in_only_when_that_is_asked_for() -> Result<()> {
    let bed = Bed::new()?;
    let refused = bed
        .serving(Who::Selkie)?
        .args(["keyservice", "--listen", "tcp://0.0.0.0:5999"])
        .run()?;
    ensure!(refused.code == Some(8), "{refused:?}");
    ensure!(
        refused.stderr.contains("--insecure-network") && refused.stderr.contains("ssh -R"),
        "{}",
        refused.stderr
    );
    let running = bed.start(Who::OursAsSops, On::Tcp)?;
    running.server.terminate(LIMIT)?;
    let told = running.server.log()?;
    ensure!(
        told.contains("level=warning") && told.contains("can use the keys of this machine"),
        "{told}"
    );
    Ok(())
}

/// What sops says and how it ends.
#[test]
fn under_the_name_sops_it_speaks_as_sops() -> Result<()> {
    let mut logs = Vec::new();
    for who in [Who::Sops, Who::OursAsSops] {
        let bed = Bed::new()?;
        let mut lines = Vec::new();
        // The original may end before it has told that it does.
        for _ in 0..10 {
            lines = told_by(&bed, who)?;
            if who != Who::Sops || lines.len() == 2 {
                break;
            }
            let _ = fs::remove_file(bed.path("keys.sock"));
        }
        logs.push(lines);
        // An address in use.
        let running = bed.start(who, On::Tcp)?;
        let place = running.address.trim_start_matches("tcp://");
        let second = bed
            .serving(who)?
            .args(["keyservice", "--address", place])
            .run()?;
        ensure!(second.code == Some(1), "{who:?}: {second:?}");
        for words in ["Error running keyservice: listen tcp", "level=fatal"] {
            ensure!(second.stderr.contains(words), "{who:?}: {}", second.stderr);
        }
        succeeded(bed.encrypt(who, "file.yaml", &["--age", RECIPIENT])?)?;
    }
    ensure!(logs[0] == logs[1], "{logs:?}");
    ensure!(logs[0].len() == 2, "{logs:?}");
    Ok(())
}

/// Starts and ends a service on a socket, and returns the first two lines that it logs.
fn told_by(bed: &Bed, who: Who) -> Result<Vec<String>> {
    let running = bed.start_with(who, On::Unix, &["--verbose"])?;
    let status = running.server.terminate(LIMIT)?;
    // The original may notice that its socket is closed before it ends by itself.
    ensure!(status.success() || who == Who::Sops, "{who:?}: {status}");
    let is_gone = !bed.path("keys.sock").exists();
    ensure!(is_gone || who == Who::Sops, "{who:?} leaves its socket");
    let log = running.server.log()?;
    let place = bed.path("keys.sock").display().to_string();
    let lines = log.lines().map(|line| {
        let (part, rest) = line.split_once('\t').unwrap_or_default();
        let (_, rest) = rest.split_once("level=").unwrap_or_default();
        format!("{part} level={}", rest.replace(&place, "PLACE"))
    });
    Ok(lines.take(2).collect())
}
