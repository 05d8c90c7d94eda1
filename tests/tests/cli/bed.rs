//! A folder of its own for each test of the command line, with a key and ways to look at the result.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use compat::program::{Finished, Program};
use compat::selkie::selkie;
use tempfile::TempDir;

/// A throw-away age identity (sops-format.md 23).
pub(crate) const IDENTITY: &str =
    "AGE-SECRET-KEY-19H6GXE7LPFQ6RYQYP7Q7K9FF0KK6H77T08LCYSMV478SD2W36LEQLUSGLY";
/// The recipient of [`IDENTITY`].
pub(crate) const RECIPIENT: &str = "age1khs6jtqk496puwsuttey2nwe6x6jds7z44vd02vr7haesw5x3yysysry4x";
/// The throw-away sealing key of sealed-secrets.md 14.
pub(crate) const SEALING_KEY: &str = include_str!("../../../crates/seal/tests/vectors/key.pem");
/// A certificate with an elliptic key.
pub(crate) const EC_CERTIFICATE: &str = include_str!("ec.pem");
/// Marks a value that nothing but `decrypt` may print.
pub(crate) const CANARY: &str = "canary-7f3a9c51";

/// A Secret with comments, whose password is the canary.
pub(crate) const SECRET: &str = "\
# head
apiVersion: v1
kind: Secret
metadata:
  name: db # the name
  namespace: prod
stringData:
  password: \"canary-7f3a9c51\"
  user: app
";

/// The folder.
#[derive(Debug)]
pub(crate) struct Place {
    folder: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let folder = TempDir::with_prefix("selkie-cli-").unwrap();
        // The test of a foreign user's files needs a way in.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Self { folder }
    }

    /// A folder with `secret.yaml`.
    pub(crate) fn with_secret() -> Self {
        let place = Self::new();
        place.write("secret.yaml", SECRET);
        place
    }

    /// A folder with `secret.yaml`, encrypted.
    pub(crate) fn with_encrypted() -> Self {
        let place = Self::with_secret();
        let done = place.run(&["encrypt", "--age", RECIPIENT, "secret.yaml"]);
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// Waits until another program has made a file.
    pub(crate) fn wait_for(&self, name: &str) {
        let end = Instant::now() + Duration::from_secs(30);
        while !self.path(name).exists() {
            assert!(Instant::now() < end, "{name} does not appear");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn mode(&self, name: &str) -> u32 {
        fs::metadata(self.path(name)).unwrap().permissions().mode() & 0o7777
    }

    /// The names in the folder, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// `selkie` in the folder, which is also its home; no identity.
    pub(crate) fn selkie(&self) -> Program {
        selkie()
            .unwrap()
            .folder(self.folder.path())
            .env("HOME", self.folder.path())
    }

    /// Runs `selkie` without an identity.
    pub(crate) fn run(&self, arguments: &[&str]) -> Finished {
        self.selkie().args(arguments).run().unwrap()
    }

    /// Runs `selkie` with [`IDENTITY`].
    pub(crate) fn run_with_key(&self, arguments: &[&str]) -> Finished {
        self.selkie()
            .args(arguments)
            .env("SOPS_AGE_KEY", IDENTITY)
            .run()
            .unwrap()
    }

    /// Writes a certificate that is valid for a long time, one that expired, and one with an
    /// elliptic key: `cert.pem`, `expired.pem`, `ec.pem`.
    pub(crate) fn write_certificates(&self) {
        use selkie_seal::{Certificate, PrivateKey};
        let key = PrivateKey::parse(SEALING_KEY).unwrap();
        let year = jiff::SignedDuration::from_hours(8760);
        let made = |from: &str, years: i32| {
            let from = from.parse().unwrap();
            Certificate::self_signed(&key, "", from, year * years).unwrap()
        };
        self.write("cert.pem", made("2020-01-01T00:00:00Z", 100).pem());
        self.write("expired.pem", made("2020-01-02T00:00:00Z", 1).pem());
        self.write("ec.pem", EC_CERTIFICATE);
        self.write("key.pem", SEALING_KEY);
    }
}

/// Answers so many HTTP requests with `body`, and returns their first lines.
pub(crate) fn answer(listener: TcpListener, body: String, count: usize) -> JoinHandle<Vec<String>> {
    std::thread::spawn(move || {
        let mut seen = Vec::new();
        while seen.len() < count {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            let mut part = [0; 1024];
            while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                match stream.read(&mut part).unwrap() {
                    0 => break,
                    length => request.extend_from_slice(&part[..length]),
                }
            }
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            stream.write_all(head.as_bytes()).unwrap();
            stream.write_all(body.as_bytes()).unwrap();
            let request = String::from_utf8_lossy(&request).into_owned();
            seen.push(request.lines().next().unwrap_or_default().to_owned());
        }
        seen
    })
}
