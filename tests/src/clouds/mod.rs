//! Google Cloud KMS, Azure Key Vault and the servers that give their tokens, on loopback: the crypto
//! is real, every request is recorded, and each refuses what the real one would refuse.
//!
//! One port serves all of them: as plain HTTP, and as a proxy under the services' own names, with
//! TLS by an authority that is made for the run. The official clients are served by it first, and
//! what they send is what ours has to send.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use crate::bed::new_folder;

mod azure;
mod google;
mod request;
mod storage;

pub use azure::{Azure, TENANT, VAULT};
pub use google::{Google, KMS_KEY, TOKEN};
pub use request::Request;
pub use storage::StoredObject;

/// The names that the authority of the run vouches for.
const NAMES: [&str; 11] = [
    "cloudkms.googleapis.com",
    "storage.googleapis.com",
    "oauth2.googleapis.com",
    "sts.googleapis.com",
    "iamcredentials.googleapis.com",
    "cloudkms.s3nsapis.fr",
    "*.vault.azure.net",
    "login.microsoftonline.com",
    "login.example",
    "vault.example",
    "localhost",
];

/// The running servers. They end when this is dropped.
pub struct Clouds {
    address: SocketAddr,
    folder: PathBuf,
    shared: Arc<Shared>,
}

struct Shared {
    storage: storage::Storage,
    google: Google,
    azure: Azure,
    tls: Arc<ServerConfig>,
    requests: Mutex<Vec<Request>>,
    /// Answers instead of the usual ones, to requests whose host and path contain the text.
    orders: Mutex<Vec<(String, Order)>>,
    ended: AtomicBool,
}

/// What a server does instead of its work.
#[derive(Debug, Clone)]
enum Order {
    Answer(u16, String),
    Silence,
}

/// An answer to send.
pub(crate) struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: String,
}

impl Clouds {
    /// Starts the servers.
    pub fn start() -> Result<Self> {
        let folder = new_folder("clouds")?;
        let (authority, tls) = certificates()?;
        std::fs::write(folder.join("ca.pem"), authority)?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            storage: storage::Storage::default(),
            google: Google::new()?,
            azure: Azure::new()?,
            tls: Arc::new(tls),
            requests: Mutex::default(),
            orders: Mutex::default(),
            ended: AtomicBool::new(false),
        });
        let serving = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if serving.ended.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let shared = Arc::clone(&serving);
                // A client that goes away ends its thread.
                std::thread::spawn(move || drop(shared.serve(stream)));
            }
        });
        Ok(Self {
            address,
            folder,
            shared,
        })
    }

    /// `http://127.0.0.1:PORT`: every service, and the proxy.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Host and port.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// A PEM file with the authority that vouches for the services' own names.
    pub fn authority(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// A folder for files of the run.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the objects of Cloud Storage by bucket and name; there is one bucket, `team`.
    pub fn objects(&self) -> BTreeMap<String, StoredObject> {
        self.shared.storage.objects()
    }

    /// Google's side.
    pub fn google(&self) -> &Google {
        &self.shared.google
    }

    /// Azure's side.
    pub fn azure(&self) -> &Azure {
        &self.shared.azure
    }

    /// Returns the requests since the last call.
    pub fn take(&self) -> Vec<Request> {
        std::mem::take(&mut *lock(&self.shared.requests))
    }

    /// Lets requests whose host and path contain `part` be answered so, until [`Self::as_usual`].
    pub fn answer(&self, part: &str, status: u16, body: &str) {
        let order = Order::Answer(status, body.to_owned());
        lock(&self.shared.orders).push((part.to_owned(), order));
    }

    /// Lets requests whose host and path contain `part` stay without an answer.
    pub fn be_silent(&self, part: &str) {
        lock(&self.shared.orders).push((part.to_owned(), Order::Silence));
    }

    /// Takes back what was ordered.
    pub fn as_usual(&self) {
        lock(&self.shared.orders).clear();
    }
}

impl Drop for Clouds {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn serve(&self, stream: TcpStream) -> Result<()> {
        let mut stream = BufReader::new(stream);
        loop {
            let Some(request) = Request::read(&mut stream)? else {
                return Ok(());
            };
            if request.method != "CONNECT" {
                self.reply(&mut stream, request)?;
                continue;
            }
            let (host, port) = request.path.rsplit_once(':').context("CONNECT HOST:PORT")?;
            ensure!(port == "443", "CONNECT to another port than 443");
            let host = host.to_owned();
            let mut tcp = stream.into_inner();
            tcp.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
            let tls = ServerConnection::new(Arc::clone(&self.tls))?;
            let mut stream = BufReader::new(StreamOwned::new(tls, tcp));
            while let Some(request) = Request::read(&mut stream)? {
                ensure!(request.host == host, "another host than the tunnel's");
                self.reply(&mut stream, request)?;
            }
            return Ok(());
        }
    }

    fn reply<S: Read + Write>(&self, stream: &mut BufReader<S>, request: Request) -> Result<()> {
        let place = format!("{}{}", request.host, request.path);
        let order = lock(&self.orders)
            .iter()
            .find(|(part, _)| place.contains(part.as_str()))
            .map(|(_, order)| order.clone());
        let answer = match order {
            Some(Order::Silence) => {
                lock(&self.requests).push(request);
                while !self.ended.load(Ordering::SeqCst) {
                    std::thread::sleep(Duration::from_millis(50));
                }
                bail!("ended");
            }
            Some(Order::Answer(status, body)) => Answer::json_text(status, body),
            None => self
                .storage
                .answer(&request, |bearer| self.google.accepts(bearer))
                .or_else(|| self.google.answer(&request))
                .or_else(|| self.azure.answer(&request))
                .unwrap_or_else(|| Answer::json(404, &json!({"error": "no such service"}))),
        };
        lock(&self.requests).push(request);
        answer.write(stream.get_mut())
    }
}

impl Answer {
    fn json(status: u16, body: &Value) -> Self {
        Self::json_text(status, body.to_string())
    }

    fn json_text(status: u16, body: String) -> Self {
        Self {
            status,
            headers: vec![("Content-Type", "application/json; charset=utf-8".to_owned())],
            body,
        }
    }

    fn write(&self, to: &mut impl Write) -> Result<()> {
        let mut text = format!("HTTP/1.1 {} Answer\r\n", self.status);
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str(&format!("Content-Length: {}\r\n\r\n", self.body.len()));
        text.push_str(&self.body);
        to.write_all(text.as_bytes())?;
        Ok(to.flush()?)
    }
}

/// Makes an authority, in PEM, and a certificate of its for [`NAMES`].
fn certificates() -> Result<(String, ServerConfig)> {
    let mut params = CertificateParams::new(Vec::new())?;
    let name = &mut params.distinguished_name;
    name.push(DnType::CommonName, "the authority of the run");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    let names: Vec<String> = NAMES.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names)?;
    let name = &mut params.distinguished_name;
    name.push(DnType::CommonName, "the servers of the run");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let leaf = params.signed_by(&key, &authority)?;
    let secret = PrivateKeyDer::try_from(key.serialize_der()).map_err(anyhow::Error::msg)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], secret)?;
    Ok((authority.pem(), config))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Splits `a=b&c=d`.
fn pairs(text: &str) -> BTreeMap<String, String> {
    url::form_urlencoded::parse(text.as_bytes())
        .into_owned()
        .collect()
}

fn read_line(stream: &mut impl BufRead) -> Result<String> {
    let mut line = String::new();
    stream.take(64 * 1024).read_line(&mut line)?;
    Ok(line.trim_end().to_owned())
}
