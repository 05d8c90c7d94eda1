use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use selkie_sops::{DataKeySource as _, KeyEntry, KeySpec, UnwrapError};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use super::*;
use crate::network::Network;

/// Wraps by turning the bytes round; counts what it did.
#[derive(Default)]
struct Reversing {
    denies: AtomicBool,
    worked: AtomicUsize,
    asked: Mutex<Vec<String>>,
}

impl KeyHolder for Reversing {
    fn allow(&self, operation: Operation, key: &KeySpec) -> Result<(), String> {
        let question = format!("{} {}", operation.name(), describe(key));
        self.asked.lock().unwrap().push(question);
        match self.denies.load(Ordering::SeqCst) {
            true => Err("not today".to_owned()),
            false => Ok(()),
        }
    }

    fn wrap(&self, _key: &KeySpec, secret: &[u8]) -> Result<String, String> {
        self.worked.fetch_add(1, Ordering::SeqCst);
        let turned = secret.iter().rev().copied().collect();
        String::from_utf8(turned).map_err(|_| "no text".to_owned())
    }

    fn unwrap_key(&self, entry: &KeyEntry) -> Result<Zeroizing<Vec<u8>>, String> {
        self.worked.fetch_add(1, Ordering::SeqCst);
        let enc = entry.field("enc").unwrap();
        Ok(Zeroizing::new(enc.bytes().rev().collect()))
    }
}

/// A service on a Unix socket.
struct Bed {
    holder: Arc<Reversing>,
    keys: RemoteKeys,
    end: Option<oneshot::Sender<()>>,
    served: Option<tokio::task::JoinHandle<std::io::Result<()>>>,
    runtime: Runtime,
    _folder: tempfile::TempDir,
}

impl Bed {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let holder = Arc::new(Reversing::default());
        let runtime = Runtime::new().unwrap();
        let (end, ended) = oneshot::channel::<()>();
        let shared: Arc<dyn KeyHolder> = Arc::clone(&holder) as _;
        let served = runtime.spawn(async move {
            let ended = async {
                let _ = ended.await;
            };
            serve(Listener::Unix(listener), shared, ended).await
        });
        Self {
            holder,
            keys: remote(ServiceAddress::Unix(path)),
            end: Some(end),
            served: Some(served),
            runtime,
            _folder: folder,
        }
    }
}

fn remote(address: ServiceAddress) -> RemoteKeys {
    let limits = ServiceLimits {
        connect: Duration::from_secs(5),
        answer: Duration::from_secs(10),
    };
    RemoteKeys::new(address, limits, &Arc::new(Network::default()))
}

fn age() -> KeySpec {
    KeySpec::Age {
        recipient: "age1x\u{1b}[2J".to_owned(),
    }
}

#[test]
fn a_data_key_goes_there_and_back() {
    let mut bed = Bed::new();
    assert_eq!(bed.keys.encrypt(&age(), b"abc").unwrap(), "cba");
    let entry = age().entry("cba", jiff::Timestamp::UNIX_EPOCH);
    assert_eq!(&**bed.keys.unwrap_key(&entry).unwrap(), b"abc");
    let asked = bed.holder.asked.lock().unwrap().clone();
    assert_eq!(
        asked,
        [
            "encrypt age key with recipient age1x [2J",
            "decrypt age key with recipient age1x [2J"
        ]
    );
    bed.end.take();
    let served = bed.served.take().unwrap();
    bed.runtime.block_on(served).unwrap().unwrap();
}

/// Weak point 11 of sops-cli.md: sops asks when the work is done.
#[test]
fn nothing_is_done_for_a_request_that_is_not_granted() {
    let bed = Bed::new();
    bed.holder.denies.store(true, Ordering::SeqCst);
    let error = bed.keys.encrypt(&age(), b"abc").unwrap_err();
    assert!(error.ends_with("it refused: not today"), "{error}");
    let entry = age().entry("cba", jiff::Timestamp::UNIX_EPOCH);
    assert!(bed.keys.unwrap_key(&entry).is_err());
    assert_eq!(bed.holder.worked.load(Ordering::SeqCst), 0);
    assert_eq!(bed.holder.asked.lock().unwrap().len(), 2);
}

#[test]
fn large_messages_are_refused_before_anybody_is_asked() {
    let bed = Bed::new();
    let large = vec![b'a'; LARGEST_MESSAGE + 1];
    assert!(bed.keys.encrypt(&age(), &large).is_err());
    assert!(bed.holder.asked.lock().unwrap().is_empty());
    assert_eq!(bed.keys.encrypt(&age(), b"abc").unwrap(), "cba");
}

#[test]
fn many_requests_are_all_answered() {
    let bed = Bed::new();
    std::thread::scope(|scope| {
        for number in 0..100 {
            let keys = &bed.keys;
            scope.spawn(move || {
                let text = format!("{number}");
                let turned: String = text.chars().rev().collect();
                assert_eq!(keys.encrypt(&age(), text.as_bytes()).unwrap(), turned);
            });
        }
    });
    assert_eq!(bed.holder.worked.load(Ordering::SeqCst), 100);
}

/// In a folder that others write to, somebody else may listen under the name first.
#[test]
fn a_socket_of_somebody_else_gets_nothing() {
    let mut bed = Bed::new();
    let own = rustix::process::geteuid().as_raw();
    bed.keys.trusted = [own + 1; 2];
    let error = bed.keys.encrypt(&age(), b"abc").unwrap_err();
    let expected =
        format!("its socket belongs to the user with the id {own}; only one of your own");
    assert!(error.contains(&expected), "{error}");
    assert!(bed.holder.asked.lock().unwrap().is_empty());
    bed.keys = remote(bed.keys.address().clone());
    assert_eq!(bed.keys.encrypt(&age(), b"abc").unwrap(), "cba");
}

#[test]
fn a_service_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("none.sock");
    let keys = remote(ServiceAddress::Unix(path.clone()));
    let entry = age().entry("cba", jiff::Timestamp::UNIX_EPOCH);
    let Err(UnwrapError::Failed(error)) = keys.unwrap_key(&entry) else {
        panic!("nobody serves");
    };
    let expected = format!(
        "key service unix://{}: it cannot be reached: No such file",
        path.display()
    );
    assert!(error.starts_with(&expected), "{error}");
}

#[test]
fn each_source_is_asked_until_one_has_the_key() {
    let bed = Bed::new();
    let none = remote("tcp://127.0.0.1:1".parse().unwrap());
    let entry = age().entry("cba", jiff::Timestamp::UNIX_EPOCH);
    let found = EachInTurn(vec![&none, &bed.keys]).unwrap_key(&entry);
    assert_eq!(&**found.unwrap(), b"abc");
    let Err(UnwrapError::Failed(error)) = EachInTurn(vec![&none, &none]).unwrap_key(&entry) else {
        panic!("nobody serves");
    };
    assert!(error.contains("refused") && error.contains("; "), "{error}");
    assert_eq!(
        EachInTurn(Vec::new()).unwrap_key(&entry),
        Err(UnwrapError::NotMine)
    );
}
