//! A file of a key service that takes 50 ms for every call: moto behind a proxy on loopback that holds each answer back.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use compat::moto::Moto;
use serde_json::json;

use crate::cases::{Case, Row, Size, Target, Tools};
use crate::documents;
use crate::measure::Invocation;

/// What `--only` selects.
pub(crate) const NAME: &str = "KMS at 50 ms a call";

const DELAY: Duration = Duration::from_millis(50);

pub(crate) fn rows(tools: &Tools, runs: usize) -> Result<Vec<Row>> {
    let runtime = tokio::runtime::Runtime::new()?;
    let moto = runtime.block_on(Moto::start())?;
    let keys = (0..3)
        .map(|_| runtime.block_on(moto.create_key(&json!({}))))
        .collect::<Result<Vec<String>>>()?;
    let server = SlowServer::start(&moto.url())?;
    let clear = tools.write("kms.yaml", documents::secret)?;

    let mut rows = Vec::new();
    for (names, keys) in [
        (["encrypt, one KMS key", "decrypt, one KMS key"], &keys[..1]),
        (
            ["encrypt, three KMS keys", "decrypt, three KMS keys"],
            &keys[..],
        ),
    ] {
        let keys = keys.join(",");
        let encrypting = [&tools.selkie, &tools.sops].map(|program| {
            let to_stdout: &[&str] = if program == &tools.selkie {
                &["--stdout"]
            } else {
                &[]
            };
            let invocation = Invocation::new(program, &["encrypt", "--kms", &keys]);
            server.serve(invocation.with(to_stdout).file(&clear))
        });
        let encrypted = tools.path(&format!("kms-{}.enc.yaml", keys.len()));
        tools.print_to(&encrypting[1], &encrypted)?;
        let decrypting = [&tools.selkie, &tools.sops]
            .map(|program| server.serve(Invocation::new(program, &["decrypt"]).file(&encrypted)));
        for (name, [selkie, sops]) in names.into_iter().zip([encrypting, decrypting]) {
            let calls = (
                server.calls_of(tools, &selkie)?,
                server.calls_of(tools, &sops)?,
            );
            let case = Case {
                name,
                selkie,
                sops,
                size: Size::Large,
                target: Target::NoMoreCalls,
            };
            let mut row = tools.compare(&case, runs)?;
            row.calls = Some(calls);
            rows.push(row);
        }
    }
    Ok(rows)
}

/// A proxy that counts the calls and holds each answer back; it ends with the process.
struct SlowServer {
    address: SocketAddr,
    calls: Arc<AtomicUsize>,
}

impl SlowServer {
    fn start(behind: &str) -> Result<Self> {
        let behind = behind.strip_prefix("http://").context("an http address")?;
        let behind: SocketAddr = behind.parse()?;
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&calls);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let calls = Arc::clone(&counted);
                thread::spawn(move || {
                    // A client that goes away is no failure of the measurement.
                    let _ = forward(&client, behind, &calls);
                });
            }
        });
        Ok(Self { address, calls })
    }

    /// Adds what makes a program take this server for AWS.
    fn serve(&self, invocation: Invocation) -> Invocation {
        invocation
            .env("AWS_ENDPOINT_URL", &format!("http://{}", self.address))
            .env("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
            .env("AWS_SECRET_ACCESS_KEY", "example")
            .env("AWS_EC2_METADATA_DISABLED", "true")
    }

    fn calls_of(&self, tools: &Tools, invocation: &Invocation) -> Result<usize> {
        self.calls.store(0, Ordering::SeqCst);
        tools.measure(invocation)?;
        Ok(self.calls.load(Ordering::SeqCst))
    }
}

/// Copies both ways; a request on a connection ends where its answer begins.
fn forward(client: &TcpStream, behind: SocketAddr, calls: &AtomicUsize) -> std::io::Result<()> {
    let server = TcpStream::connect(behind)?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let asked = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let copied = copy(client, &server, || {
                if !asked.swap(true, Ordering::SeqCst) {
                    calls.fetch_add(1, Ordering::SeqCst);
                }
            });
            let _ = server.shutdown(Shutdown::Write);
            copied
        });
        let copied = copy(&server, client, || {
            if asked.swap(false, Ordering::SeqCst) {
                thread::sleep(DELAY);
            }
        });
        let _ = client.shutdown(Shutdown::Both);
        copied
    })
}

fn copy(mut from: &TcpStream, mut to: &TcpStream, before: impl Fn()) -> std::io::Result<()> {
    let mut buffer = [0; 16 << 10];
    loop {
        let count = from.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        before();
        to.write_all(&buffer[..count])?;
    }
}
