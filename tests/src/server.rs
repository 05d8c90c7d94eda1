//! Child processes that serve: started so that they end with this process, whatever happens to it.

use std::fs::{self, File};
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal};

/// A running server. Dropping it kills it.
#[derive(Debug)]
pub struct Server {
    name: String,
    child: Mutex<Child>,
    pid: Pid,
    log: PathBuf,
}

impl Server {
    /// Starts `command` with its output appended to the file `log`.
    ///
    /// The kernel kills the server when this process ends, by any cause. The server gets a process
    /// group of its own: a Ctrl-C at the terminal reaches this process only.
    pub fn start(name: &str, mut command: Command, log: &Path) -> Result<Self> {
        let output = File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| log.display().to_string())?;
        command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0);
        let child = spawn(command).with_context(|| format!("{name} does not start"))?;
        let pid = Pid::from_child(&child);
        Ok(Self {
            name: name.to_owned(),
            child: Mutex::new(child),
            pid,
            log: log.to_owned(),
        })
    }

    /// Returns the process id.
    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Returns the path of the log.
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// Reads the whole log so far.
    pub fn log(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&fs::read(&self.log)?).into_owned())
    }

    /// Returns the exit status when the server has ended.
    pub fn ended(&self) -> Result<Option<ExitStatus>> {
        Ok(self.child().try_wait()?)
    }

    /// Fails, with the end of the log, when the server has ended.
    pub fn check_alive(&self) -> Result<()> {
        let Some(status) = self.ended()? else {
            return Ok(());
        };
        let log = self.log()?;
        let tail: Vec<&str> = log.lines().rev().take(5).collect();
        let tail: Vec<&str> = tail.into_iter().rev().collect();
        bail!(
            "{} ended with {status}; the end of {}:\n{}",
            self.name,
            self.log.display(),
            tail.join("\n")
        )
    }

    /// Waits until the server has ended and says how, with the end of the log.
    pub async fn end(&self) -> anyhow::Error {
        loop {
            if let Err(error) = self.check_alive() {
                return error;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Sends SIGTERM and waits for the end, at most `limit`; then fails and leaves the server
    /// running.
    pub fn terminate(&self, limit: Duration) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        let end = Instant::now() + limit;
        while Instant::now() < end {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        bail!(
            "{} did not end within {limit:?} of SIGTERM; its log is {}",
            self.name,
            self.log.display()
        )
    }

    /// Kills the server with SIGKILL and waits for its end.
    pub fn kill(&self) -> Result<()> {
        let mut child = self.child();
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Stops the process as a hanging server would be: connections stay open and nothing is
    /// answered.
    pub fn freeze(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets a frozen process go on.
    pub fn thaw(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        // The child is waited for under the same lock, so its id cannot have passed to another
        // process.
        let mut child = self.child();
        if child.try_wait()?.is_none() {
            rustix::process::kill_process(self.pid, signal)?;
        }
        Ok(())
    }

    fn child(&self) -> std::sync::MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// Returns a loopback port that nobody listens on. Another process may take it before it is used:
/// start again with a new one.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port())
}

/// Returns a client for the servers of the bed.
///
/// It keeps no connection: a server may be shared by tests, each has an async runtime of its own, and
/// a connection dies with the runtime that opened it.
pub fn http_client() -> Result<reqwest::Client> {
    let builder = reqwest::Client::builder()
        .no_proxy()
        .pool_max_idle_per_host(0);
    Ok(builder.timeout(Duration::from_secs(10)).build()?)
}

/// Runs `start` again, up to three times, when a server it started lost its port to another
/// process.
pub async fn with_new_ports<T, F, Fut>(mut start: F) -> Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T>>,
{
    for _ in 0..2 {
        match start().await {
            Err(error) if lost_port(&error) => {}
            result => return result,
        }
    }
    start().await
}

/// Go's message and Rust's differ in the first letter.
fn lost_port(error: &anyhow::Error) -> bool {
    format!("{error:#}")
        .to_lowercase()
        .contains("address already in use")
}

/// Spawns from a thread that never ends.
///
/// The parent death signal comes when the *thread* that forked ends, and a test's thread ends with
/// the test, while a server may serve the whole process.
fn spawn(command: Command) -> io::Result<Child> {
    type Request = (Command, Sender<io::Result<Child>>);
    static SPAWNER: OnceLock<Mutex<Sender<Request>>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, requests) = channel::<Request>();
        std::thread::spawn(move || {
            for (command, answer) in requests {
                let _ = answer.send(spawn_bound(command));
            }
        });
        Mutex::new(sender)
    });
    let gone = || io::Error::other("the thread that starts servers has ended");
    let (answer, result) = channel();
    spawner
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .send((command, answer))
        .map_err(|_| gone())?;
    result.recv().map_err(|_| gone())?
}

/// Spawns a child that the kernel kills when the calling thread ends.
#[allow(unsafe_code, reason = "pre_exec has no safe form")]
fn spawn_bound(mut command: Command) -> io::Result<Child> {
    let parent = rustix::process::getpid();
    let bind = move || {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        // The parent may have ended between the fork and the line above; nobody would kill us then.
        if rustix::process::getppid() != Some(parent) {
            return Err(io::Error::from_raw_os_error(
                rustix::io::Errno::SRCH.raw_os_error(),
            ));
        }
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes three system calls; it allocates nothing and
    // takes no lock.
    unsafe { command.pre_exec(bind) };
    command.spawn()
}
