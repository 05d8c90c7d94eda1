//! Being a key service for other processes (sops-format.md 21), under either name.

use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rustix::fs::Mode;
use rustix::process::umask;
use selkie_keys::master_key;
use selkie_keys::service::{KeyHolder, Listener, Operation};
use selkie_sops::{DataKeySource as _, KeyEntry, KeySpec};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use zeroize::Zeroizing;

use crate::environment::Environment;
use crate::keys::{Clients, Keys};

/// After a signal, requests that were begun have this long to be finished.
const GRACE: Duration = Duration::from_secs(5);

/// Says whether a request is granted, or why not.
type Ask = dyn Fn(Operation, &KeySpec) -> Result<(), String> + Send + Sync;

/// Told of a request and whether it succeeded.
type Done = dyn Fn(Operation, &KeySpec, bool) + Send + Sync;

/// The keys of this machine, as clients use them.
pub(crate) struct Holder {
    clients: Arc<Clients>,
    keys: Keys,
    /// Asked before anything is done; all is granted without it.
    pub(crate) ask: Option<Box<Ask>>,
    /// Told what the user should know.
    pub(crate) tell: Box<dyn Fn(&str) + Send + Sync>,
    /// Told what was done: the request, and whether it succeeded.
    pub(crate) done: Option<Box<Done>>,
}

impl Holder {
    /// Grants all and says nothing, until its fields say otherwise.
    pub(crate) fn new(environment: &Environment, clients: &Arc<Clients>) -> Self {
        Self {
            keys: Keys::for_others(environment, clients),
            clients: Arc::clone(clients),
            ask: None,
            tell: Box::new(|_| {}),
            done: None,
        }
    }

    fn report(&self, operation: Operation, key: &KeySpec, success: bool) {
        for warning in self.clients.take_warnings() {
            (self.tell)(&warning);
        }
        if let Some(done) = &self.done {
            done(operation, key, success);
        }
    }
}

impl KeyHolder for Holder {
    fn allow(&self, operation: Operation, key: &KeySpec) -> Result<(), String> {
        match &self.ask {
            Some(ask) => ask(operation, key),
            None => Ok(()),
        }
    }

    fn wrap(&self, key: &KeySpec, secret: &[u8]) -> Result<String, String> {
        let context = self.clients.context(Timestamp::now());
        let wrapped = master_key(key, &context)
            .map_err(|error| error.to_string())
            .and_then(|master| master.wrap(secret).map_err(|error| error.reason));
        self.report(Operation::Encrypt, key, wrapped.is_ok());
        let entry = wrapped?;
        let enc = entry.field("enc").ok_or("nothing was wrapped")?;
        Ok(enc.to_owned())
    }

    fn unwrap_key(&self, entry: &KeyEntry) -> Result<Zeroizing<Vec<u8>>, String> {
        let unwrapped = self.keys.unwrap_key(entry);
        let key = KeySpec::of_entry(entry);
        self.report(Operation::Decrypt, &key, unwrapped.is_ok());
        unwrapped.map_err(|error| error.to_string())
    }
}

/// A process that signals end in good order from now on. To be made before there is a socket, which
/// has to go in the end.
pub(crate) struct Server {
    runtime: Runtime,
    signals: Signals,
}

impl Server {
    /// Listens for signals.
    pub(crate) fn new() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("key-service")
            .enable_all()
            .build()?;
        let signals = {
            let _entered = runtime.enter();
            Signals::listen()?
        };
        Ok(Self { runtime, signals })
    }

    /// Serves until a signal ends it, and returns the signal's name.
    pub(crate) fn run(self, listener: Listener, holder: Holder) -> io::Result<&'static str> {
        let Self {
            runtime,
            mut signals,
        } = self;
        let ended = runtime.block_on(async {
            let (end, told) = tokio::sync::watch::channel(false);
            let mut told = (told.clone(), told);
            let serving = selkie_keys::service::serve(listener, Arc::new(holder), async move {
                let _ = told.0.wait_for(|ended| *ended).await;
            });
            let late = async {
                let _ = told.1.wait_for(|ended| *ended).await;
                tokio::time::sleep(GRACE).await;
            };
            let signalled = async {
                let name = signals.next().await;
                let _ = end.send(true);
                name
            };
            let finished = async {
                tokio::select! {
                    served = serving => served,
                    () = late => Ok(()),
                }
            };
            let (name, served) = tokio::join!(signalled, finished);
            served.map(|()| name)
        });
        // A question that nobody answered must not keep the process alive.
        runtime.shutdown_background();
        ended
    }
}

/// The signals that end a server.
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "interrupt",
            _ = self.terminate.recv() => "terminated",
            _ = self.hangup.recv() => "hangup",
        }
    }
}

/// Who may connect to a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SocketMode {
    /// Its owner alone. A socket that a dead process left is replaced.
    Owner,
    /// Whom the umask lets through, as with sops.
    Umask,
}

/// A Unix socket, which is removed when this is dropped: after its listener, and unless another process
/// listens there by then.
pub(crate) struct Socket {
    path: PathBuf,
}

impl Socket {
    /// Makes a socket.
    pub(crate) fn bind(path: &Path, mode: SocketMode) -> io::Result<(Self, UnixListener)> {
        if mode == SocketMode::Owner && is_abandoned(path) {
            fs::remove_file(path)?;
        }
        let listener = match mode {
            SocketMode::Umask => UnixListener::bind(path)?,
            SocketMode::Owner => {
                // From its first moment on; nothing else here makes files.
                let before = umask(Mode::from_raw_mode(0o177));
                let listener = UnixListener::bind(path);
                umask(before);
                listener?
            }
        };
        let socket = Self {
            path: path.to_owned(),
        };
        Ok((socket, listener))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if is_abandoned(&self.path) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Whether this is a socket that nobody listens on any more.
fn is_abandoned(path: &Path) -> bool {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    is_socket && UnixStream::connect(path).is_err_and(refused)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_socket_is_its_owners_and_goes_with_its_server() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.sock");
        let (socket, listener) = Socket::bind(&path, SocketMode::Owner).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        // Somebody serves: not replaced.
        let second = Socket::bind(&path, SocketMode::Owner).err().unwrap();
        assert_eq!(second.kind(), io::ErrorKind::AddrInUse);
        drop(listener);
        assert!(is_abandoned(&path));
        let (next, listener) = Socket::bind(&path, SocketMode::Owner).unwrap();
        // The older one leaves the newer one's file alone.
        drop(socket);
        assert!(path.exists());
        drop((listener, next));
        assert!(!path.exists());
        // A file that is no socket stays.
        fs::write(&path, "mine").unwrap();
        assert!(Socket::bind(&path, SocketMode::Owner).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    }
}
