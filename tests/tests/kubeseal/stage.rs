//! The stage that transcripts are played on: two folders with the same files, one program in each.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Result, ensure};
use compat::bed::{Cache, Tool};
use compat::selkie;
use compat::transcript::Transcript;
use jiff::{SignedDuration, Timestamp};
use selkie_seal::{Certificate, PrivateKey, PrivateKeys};
use tempfile::TempDir;

use crate::judge::Judge;

/// The throw-away keys of sealed-secrets.md 14 and of the tests.
pub(crate) const KEY: &str = include_str!("../../../crates/seal/tests/vectors/key.pem");
const OTHER_KEY: &str = include_str!("../../../crates/seal/tests/vectors/other-key.pem");
const EC_CERTIFICATE: &str = include_str!("../cli/ec.pem");
/// A throw-away key on P-256.
const EC_KEY: &str = "\
-----BEGIN EC PRIVATE KEY-----
MHcCAQEEIJdvaH/XkrMBIkLAMTYH0U3FojOSnBIuOHK0S1+qK/WMoAoGCCqGSM49
AwEHoUQDQgAEZrJrun3nU5LYED4uw07oPp1Q10zznSJ29oPCIZOt6kFf6druFCXJ
PBxtR2WPP+sePCXHI1P83lePKHPq4YQBzg==
-----END EC PRIVATE KEY-----
";

const SECRET: &str = "\
apiVersion: v1
kind: Secret
metadata:
  name: db
  namespace: prod
  labels:
    app: web
  annotations:
    note: \"a <b> & c\"
type: Opaque
data:
  user: YWRtaW4=
stringData:
  password: s3cr3t
";

const SECRET_JSON: &str = r#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"db","namespace":"prod"},"data":{"user":"YWRtaW4=","empty":""}}
"#;

/// What is merged: a value that is there, one that is not, a label and an annotation.
const MORE: &str = "\
apiVersion: v1
kind: Secret
metadata:
  name: db
  namespace: prod
  labels:
    tier: back
  annotations:
    note: other
data:
  user: YWRtaW4y
stringData:
  more: secret
";

const KUBECONFIG: &str = "\
apiVersion: v1
kind: Config
current-context: main
clusters:
- name: c
  cluster: {server: 'http://127.0.0.1:9'}
users:
- name: u
  user: {token: t}
contexts:
- name: main
  context: {cluster: c, user: u, namespace: web}
- name: other
  context: {cluster: c, user: u, namespace: other}
- name: plain
  context: {cluster: c, user: u}
- name: broken
  context: {cluster: nosuch, user: nosuch}
";

/// What every transcript starts from.
pub(crate) struct Stage {
    /// Holds `props`, `ours/kubeseal` and `theirs/kubeseal`.
    folder: TempDir,
    url: String,
    /// More environment.
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) judge: Judge,
}

/// What a script left.
struct Played {
    code: i32,
    stdout: String,
    stderr: String,
    files: Vec<(PathBuf, String)>,
}

impl Stage {
    /// Makes the files that transcripts use; the sealed ones by the real kubeseal.
    pub(crate) fn set() -> Result<Self> {
        let folder = TempDir::with_prefix("selkie-kubeseal-")?;
        let props = folder.path().join("props");
        fs::create_dir(&props)?;
        let cache = Cache::open()?;
        for (name, program) in [
            ("theirs", cache.tool(Tool::Kubeseal)?),
            ("ours", selkie::binary("selkie-cli", "selkie")?),
        ] {
            fs::create_dir(folder.path().join(name))?;
            symlink(program, folder.path().join(name).join("kubeseal"))?;
        }
        let now = Timestamp::now();
        let years = SignedDuration::from_hours(87_600);
        let long_ago = Timestamp::from_second(1_500_000_000)?;
        let next_year = now + SignedDuration::from_hours(8_760);
        let day = SignedDuration::from_hours(24);
        for (name, key, from, time) in [
            ("cert.pem", KEY, now, years),
            ("other.pem", OTHER_KEY, now, years),
            ("expired.pem", KEY, long_ago, day),
            ("future.pem", KEY, next_year, years),
        ] {
            let key = PrivateKey::parse(key)?;
            let certificate = Certificate::self_signed(&key, "", from, time)?;
            fs::write(props.join(name), certificate.pem())?;
        }
        for (name, text) in [
            ("key.pem", KEY),
            ("other-key.pem", OTHER_KEY),
            ("ec.pem", EC_CERTIFICATE),
            ("ec-key.pem", EC_KEY),
            ("secret.yaml", SECRET),
            ("secret.json", SECRET_JSON),
            ("more.yaml", MORE),
            ("nons.yaml", &SECRET.replace("  namespace: prod\n", "")),
            (
                "two.yaml",
                &format!("{SECRET}---\n{}", SECRET.replace("name: db", "name: web")),
            ),
            ("kubeconfig", KUBECONFIG),
        ] {
            fs::write(props.join(name), text)?;
        }
        let url = serve(props.clone())?;
        let mut keys = PrivateKeys::default();
        keys.add(KEY)?;
        keys.add(OTHER_KEY)?;
        let stage = Self {
            judge: Judge::new(keys)?,
            folder,
            url,
            environment: Vec::new(),
        };
        let script = "
            seal() { kubeseal --cert cert.pem -o yaml \"$@\" < secret.yaml || exit 1; }
            seal > sealed.yaml
            kubeseal --cert cert.pem < secret.yaml > sealed.json || exit 1
            seal --scope namespace-wide > sealed-namespace-wide.yaml
            seal --scope cluster-wide > sealed-cluster-wide.yaml
            (cat sealed.yaml; seal --name web) > sealed-two.yaml
            bare() { kubeseal --cert cert.pem -o yaml \"$@\" < secret.json || exit 1; }
            bare > bare.yaml
            bare -o json > bare.json
            bare --scope namespace-wide > bare-namespace-wide.yaml
            bare --scope cluster-wide > bare-cluster-wide.yaml
            (bare; bare --name web) > bare-two.yaml
            key() {
                printf 'apiVersion: v1\\nkind: Secret\\nmetadata: {name: %s}\\ntype: kubernetes.io/tls\\ndata:\\n  tls.crt: %s\\n  tls.key: %s\\n' \\
                    $1 $(base64 -w0 $2) $(base64 -w0 $3)
            }
            key a cert.pem key.pem > one-key.yaml
            (printf 'apiVersion: v1\\nkind: List\\nitems:\\n'
             key a cert.pem key.pem | sed '1s/^/- /; 1!s/^/  /'
             key b other.pem other-key.pem | sed '1s/^/- /; 1!s/^/  /') > backup.yaml
        ";
        let made = stage.run("theirs", script, &props)?;
        let stderr = String::from_utf8_lossy(&made.stderr);
        ensure!(made.status.success(), "{stderr}");
        fs::remove_dir_all(props.join(".home"))?;
        Ok(stage)
    }

    /// The folder of the files that every transcript gets.
    pub(crate) fn props(&self) -> PathBuf {
        self.folder.path().join("props")
    }

    /// Runs a script in a folder with one of the two programs as `kubeseal`.
    fn run(&self, program: &str, script: &str, folder: &Path) -> Result<Output> {
        let home = folder.join(".home");
        fs::create_dir_all(&home)?;
        let bin = self.folder.path().join(program);
        let child = Command::new("/bin/sh")
            .arg("-c")
            .arg(script)
            .current_dir(folder)
            .env_clear()
            .env("PATH", format!("{}:/usr/bin:/bin", bin.display()))
            .env("HOME", &home)
            .env("URL", &self.url)
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        Ok(child.wait_with_output()?)
    }

    fn play(&self, program: &str, transcript: &Transcript) -> Result<Played> {
        let folder = TempDir::with_prefix_in("play-", self.folder.path())?;
        let work = folder.path().join("work");
        fs::create_dir(&work)?;
        for entry in fs::read_dir(self.props())? {
            let entry = entry?;
            fs::copy(entry.path(), work.join(entry.file_name()))?;
        }
        let output = self.run(program, &transcript.script, &work)?;
        let told = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes);
            let text = text.replace(&work.display().to_string(), "FOLDER");
            text.replace(&self.url, "URL")
        };
        let mut files = Vec::new();
        for entry in fs::read_dir(&work)? {
            let path = entry?.path();
            // Temporary files of the original stay behind when it fails; ours do not.
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if path.is_file() && !name.starts_with('.') {
                let content = fs::read(&path)?;
                files.push((
                    name.into_owned().into(),
                    self.judge.opened(&String::from_utf8_lossy(&content)),
                ));
            }
        }
        files.sort();
        let code = output.status.code();
        Ok(Played {
            code: code
                .or(output.status.signal().map(|signal| 128 + signal))
                .unwrap_or(-1),
            stdout: self.judge.opened(&told(&output.stdout)),
            stderr: told(&output.stderr),
            files,
        })
    }

    /// Plays a transcript with both programs and returns what differs though it should not.
    pub(crate) fn both(&self, transcript: &Transcript) -> Result<Vec<String>> {
        let theirs = self.play("theirs", transcript)?;
        let ours = self.play("ours", transcript)?;
        let mut told = Vec::new();
        if let Some(difference) = &transcript.difference {
            ensure!(!difference.reason.is_empty(), "it differs without a reason");
            let differs = ours.code != theirs.code
                || ours.stdout != theirs.stdout
                || ours.files != theirs.files
                || ours.stderr != theirs.stderr;
            if !differs {
                told.push("it is said to differ and does not".to_owned());
            }
            if difference.code.is_some_and(|code| code != ours.code) {
                told.push(format!("our code is {}", ours.code));
            }
            let expected = difference.stdout.as_ref();
            if expected.is_some_and(|expected| *expected != ours.stdout) {
                told.push(format!("our output: {}", ours.stdout));
            }
            for expected in &difference.stderr {
                if !ours.stderr.contains(expected) {
                    told.push(format!("{expected:?} is not in our standard error"));
                }
            }
            if !told.is_empty() {
                told.push(format!("our standard error: {}", ours.stderr));
            }
            return Ok(told);
        }
        if ours.code != theirs.code {
            told.push(format!("code: {}, ours: {}", theirs.code, ours.code));
        }
        if ours.stdout != theirs.stdout {
            told.push(format!(
                "--- their output\n{}\n--- our output\n{}",
                theirs.stdout, ours.stdout
            ));
        }
        if ours.files != theirs.files {
            let differing = |(path, text): &&(PathBuf, String), others: &[(PathBuf, String)]| {
                !others.contains(&(path.clone(), text.clone()))
            };
            for (who, mine, others) in [
                ("their", &theirs.files, &ours.files),
                ("our", &ours.files, &theirs.files),
            ] {
                for (path, text) in mine.iter().filter(|file| differing(file, others)) {
                    told.push(format!("--- {who} {}\n{text}", path.display()));
                }
            }
        }
        // Words may differ where the transcript names those that matter.
        let same_words = !transcript.stderr.is_empty() || ours.stderr == theirs.stderr;
        if !same_words || ours.stderr.is_empty() != theirs.stderr.is_empty() {
            told.push("standard error differs".to_owned());
        }
        for expected in &transcript.stderr {
            for (who, played) in [("their", &theirs), ("our", &ours)] {
                if !played.stderr.contains(expected) {
                    told.push(format!("{expected:?} is not in {who} standard error"));
                }
            }
        }
        if !told.is_empty() {
            told.push(format!("standard error:\n{}", theirs.stderr));
            told.push(format!("our standard error:\n{}", ours.stderr));
        }
        Ok(told)
    }
}

/// Serves the files of a folder over HTTP, also as a proxy would, and returns the address.
fn serve(folder: PathBuf) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}", listener.local_addr()?);
    let target = format!("{url}/cert.pem");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut request = Vec::new();
            let mut part = [0; 1024];
            while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                match stream.read(&mut part) {
                    Ok(length @ 1..) => request.extend_from_slice(&part[..length]),
                    _ => break,
                }
            }
            let request = String::from_utf8_lossy(&request).into_owned();
            let path = request.split(' ').nth(1).unwrap_or_default();
            let name = path.rsplit('/').next().unwrap_or_default();
            let (head, body) = match (name, fs::read(folder.join(name))) {
                ("moved", _) => (format!("302 Found\r\nLocation: {target}"), Vec::new()),
                (_, Ok(body)) => ("200 OK".to_owned(), body),
                _ => ("404 Not Found".to_owned(), b"no such file".to_vec()),
            };
            let length = body.len();
            let head =
                format!("HTTP/1.1 {head}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
            let _ = stream.write_all(head.as_bytes());
            let _ = stream.write_all(&body);
        }
    });
    Ok(url)
}
