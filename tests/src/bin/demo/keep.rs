//! `make demo KEEP=1`: the demo runs in a process of its own that stays, with the servers as its
//! children.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use compat::bed::Cache;
use rustix::process::{Pid, Signal};
use tokio::signal::unix::{SignalKind, signal};

/// Runs the demo in a process of another process group, passes its output on, and returns when the
/// demo is done.
pub(crate) fn start() -> Result<ExitCode> {
    if let Some(pid) = kept()? {
        bail!(
            "a demo is up already (process {}); `make demo-stop` ends it",
            pid.as_raw_nonzero()
        );
    }
    let mut child = Command::new(std::env::current_exe()?)
        .arg("--kept")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()?;
    fs::write(pid_file()?, child.id().to_string())?;
    let mut output = child.stdout.take().context("stdout is a pipe")?;
    let mut buffer = [0; 8192];
    // The process closes its output when it has nothing more to say, by staying or by ending.
    loop {
        let read = output.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        std::io::stdout().write_all(&buffer[..read])?;
        std::io::stdout().flush()?;
    }
    std::thread::sleep(Duration::from_millis(200));
    let Some(status) = child.try_wait()? else {
        return Ok(ExitCode::SUCCESS);
    };
    fs::remove_file(pid_file()?)?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Closes the output and waits for the signal of [`stop`].
pub(crate) async fn stay() -> Result<()> {
    let mut stop = signal(SignalKind::terminate())?;
    std::io::stdout().flush()?;
    let nothing = fs::File::options().write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(&nothing)?;
    rustix::stdio::dup2_stderr(&nothing)?;
    stop.recv().await;
    Ok(())
}

/// Ends the process that stayed, and its servers with it.
pub(crate) fn stop() -> Result<ExitCode> {
    let Some(pid) = kept()? else {
        bail!("no demo is up")
    };
    rustix::process::kill_process(pid, Signal::TERM)?;
    let began = Instant::now();
    while kept()?.is_some() {
        if began.elapsed() > Duration::from_secs(20) {
            bail!("process {} does not end", pid.as_raw_nonzero());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    fs::remove_file(pid_file()?)?;
    Ok(ExitCode::SUCCESS)
}

/// The process that stayed, if it is still there and is a demo: process ids are used again.
fn kept() -> Result<Option<Pid>> {
    let Ok(text) = fs::read_to_string(pid_file()?) else {
        return Ok(None);
    };
    let pid = text
        .parse()
        .ok()
        .and_then(Pid::from_raw)
        .context("the file with the process id is damaged")?;
    let command = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
    let is_demo = command.split(|&byte| byte == 0).nth(1) == Some(b"--kept");
    Ok(is_demo.then_some(pid))
}

fn pid_file() -> Result<PathBuf> {
    Ok(Cache::open()?.root().join("demo.pid"))
}
