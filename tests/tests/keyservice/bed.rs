//! Servers and clients in folders of their own.

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use compat::bed::{Cache, Tool};
use compat::program::{Finished, Program};
use compat::selkie;
use compat::server::{Server, free_port};
use compat::sops_file::IDENTITY;
use tempfile::TempDir;

/// What is encrypted everywhere here.
pub(crate) const PLAIN: &str = "user: admin # who\npassword: hunter2\nport: 5432\n";

/// A program that serves or asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// `selkie`.
    Selkie,
    /// Ours, under the name `sops`.
    OursAsSops,
    /// The real sops 3.13.3.
    Sops,
}

/// What the key service listens on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum On {
    Unix,
    Tcp,
}

/// A folder; the variables that hold for the server, and those that hold for its clients.
pub(crate) struct Bed {
    folder: TempDir,
    pub(crate) server_variables: Vec<(String, String)>,
    pub(crate) client_variables: Vec<(String, String)>,
}

/// A running key service.
pub(crate) struct Running {
    pub(crate) server: Server,
    pub(crate) address: String,
}

impl Bed {
    /// The server has the age identity of `compat::sops_file`, clients have nothing.
    pub(crate) fn new() -> Result<Self> {
        // The path of a socket has at most 107 bytes.
        let folder = TempDir::with_prefix_in("selkie-ks-", "/tmp")?;
        let mut bed = Self {
            folder,
            server_variables: Vec::new(),
            client_variables: Vec::new(),
        };
        for home in ["server", "client"] {
            fs::create_dir(bed.path(home))?;
            fs::set_permissions(bed.path(home), fs::Permissions::from_mode(0o700))?;
        }
        symlink(binary()?, bed.path("sops"))?;
        fs::write(bed.path("server/keys.txt"), format!("{IDENTITY}\n"))?;
        let path = std::env::var("PATH").unwrap_or_default();
        for (home, variables) in [
            ("server", &mut bed.server_variables),
            ("client", &mut bed.client_variables),
        ] {
            let home = bed.folder.path().join(home).display().to_string();
            for (name, value) in [
                ("HOME", home.as_str()),
                ("XDG_RUNTIME_DIR", &home),
                ("PATH", &path),
                ("SOPS_DISABLE_VERSION_CHECK", "true"),
                ("AWS_EC2_METADATA_DISABLED", "true"),
            ] {
                variables.push((name.to_owned(), value.to_owned()));
            }
        }
        let keys = bed.path("server/keys.txt").display().to_string();
        bed.server_variables
            .push(("SOPS_AGE_KEY_FILE".to_owned(), keys));
        Ok(bed)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A program with the server's environment.
    pub(crate) fn serving(&self, who: Who) -> Result<Program> {
        Ok(settle(
            self.program(who)?,
            &self.server_variables,
            &self.path("server"),
        ))
    }

    /// A program with the clients' environment, which starts in their folder.
    pub(crate) fn asking(&self, who: Who) -> Result<Program> {
        Ok(settle(
            self.program(who)?,
            &self.client_variables,
            &self.path("client"),
        ))
    }

    fn program(&self, who: Who) -> Result<Program> {
        Ok(Program::new(match who {
            Who::Selkie => binary()?,
            Who::OursAsSops => self.path("sops"),
            Who::Sops => Cache::open()?.tool(Tool::Sops3133)?,
        }))
    }

    /// Starts a key service and waits until it takes connections.
    pub(crate) fn start(&self, who: Who, on: On) -> Result<Running> {
        self.start_with(who, on, &[])
    }

    /// The same with more flags.
    pub(crate) fn start_with(&self, who: Who, on: On, flags: &[&str]) -> Result<Running> {
        // Another process may take the port first.
        let mut left = 3;
        loop {
            match self.try_start(who, on, flags) {
                Err(_) if on == On::Tcp && left > 0 => left -= 1,
                result => return result,
            }
        }
    }

    fn try_start(&self, who: Who, on: On, flags: &[&str]) -> Result<Running> {
        let address = match on {
            On::Unix => format!("unix://{}", self.path("keys.sock").display()),
            On::Tcp => format!("tcp://127.0.0.1:{}", free_port()?),
        };
        let (network, place) = address.split_once("://").context("it has a scheme")?;
        let program = self.serving(who)?.arg("keyservice").args(flags);
        let program = match who {
            Who::Selkie => program.args(["--listen", &address]),
            _ => program.args(["--network", network, "--address", place]),
        };
        let log = self.path("server.log");
        let server = Server::start("key service", program.into_command(), &log)?;
        let end = Instant::now() + Duration::from_secs(30);
        let connects = || match on {
            On::Unix => UnixStream::connect(place).is_ok(),
            On::Tcp => TcpStream::connect(place).is_ok(),
        };
        while !connects() {
            server.check_alive()?;
            ensure!(Instant::now() < end, "nobody listens on {address}");
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(Running { server, address })
    }

    /// Writes [`PLAIN`] into a file of the clients and encrypts it with these flags.
    pub(crate) fn encrypt(&self, who: Who, name: &str, flags: &[&str]) -> Result<Finished> {
        fs::write(self.path("client").join(name), PLAIN)?;
        let in_place: &[&str] = if who == Who::Selkie { &[] } else { &["-i"] };
        let program = self.asking(who)?.arg("encrypt").args(in_place).args(flags);
        program.arg(name).run()
    }

    pub(crate) fn decrypt(&self, who: Who, name: &str, flags: &[&str]) -> Result<Finished> {
        let program = self.asking(who)?.arg("decrypt").args(flags);
        program.arg(name).run()
    }

    /// Makes an identity in the clients' folder and returns its recipient.
    pub(crate) fn identity(&self, name: &str) -> Result<String> {
        self.asking(Who::Selkie)?
            .args(["keygen", "-o", name])
            .ok()?;
        let text = fs::read_to_string(self.path("client").join(name))?;
        let mut lines = text.lines();
        let line = lines.find_map(|line| line.strip_prefix("# public key: "));
        Ok(line.context("the file names its recipient")?.to_owned())
    }

    /// Encrypts by the service alone, and opens by the service alone.
    pub(crate) fn goes_through(&self, who: Who, address: &str, keys: &[&str]) -> Result<()> {
        let service = ["--enable-local-keyservice=false", "--keyservice", address];
        let encrypted = self.encrypt(who, "file.yaml", &[&service, keys].concat())?;
        succeeded(encrypted).context("encrypt")?;
        let text = fs::read_to_string(self.path("client/file.yaml"))?;
        ensure!(text.contains("ENC["), "it is not encrypted: {text}");
        let opened = succeeded(self.decrypt(who, "file.yaml", &service)?).context("decrypt")?;
        ensure!(opened.text().contains("password: hunter2\nport: 5432\n"));
        Ok(())
    }
}

fn binary() -> Result<PathBuf> {
    selkie::binary("selkie-cli", "selkie")
}

fn settle(mut program: Program, variables: &[(String, String)], folder: &Path) -> Program {
    for (name, value) in variables {
        program = program.env(name, value);
    }
    program.folder(folder)
}

/// The words of a message whose lines are broken at blanks.
pub(crate) fn words(message: &str) -> String {
    let words: Vec<&str> = message.split_whitespace().collect();
    words.join(" ").replace("| ", "")
}

pub(crate) fn succeeded(finished: Finished) -> Result<Finished> {
    ensure!(
        finished.code == Some(0),
        "ended with {:?}: {}",
        finished.code,
        finished.stderr
    );
    Ok(finished)
}
