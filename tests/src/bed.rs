//! The cache folder with the real programs, and the folder of one run.

use std::collections::HashSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail, ensure};

/// The folder that `make testbed` fills: `SELKIE_CACHE`, by default `~/.cache/selkie`.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// Finds the cache folder. Fails when neither `SELKIE_CACHE` nor `HOME` is set.
    pub fn open() -> Result<Self> {
        let root = match (std::env::var_os("SELKIE_CACHE"), std::env::var_os("HOME")) {
            (Some(cache), _) if !cache.is_empty() => PathBuf::from(cache),
            (_, Some(home)) => PathBuf::from(home).join(".cache/selkie"),
            _ => bail!("neither SELKIE_CACHE nor HOME is set, so there is no cache folder"),
        };
        Ok(Self { root })
    }

    /// Returns the folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the path of a program after a check, once in a process, that it is there and has the
    /// pinned version.
    pub fn tool(&self, tool: Tool) -> Result<PathBuf> {
        static CHECKED: OnceLock<Mutex<HashSet<Tool>>> = OnceLock::new();
        let path = self.root.join("bin").join(tool.file_name());
        let mut checked = CHECKED
            .get_or_init(Mutex::default)
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if !checked.contains(&tool) {
            tool.check(&path)
                .with_context(|| format!("{}: run `make testbed`", path.display()))?;
            checked.insert(tool);
        }
        Ok(path)
    }

    /// Returns a command for a program of the cache, with an empty environment.
    pub fn command(&self, tool: Tool) -> Result<Command> {
        let mut command = Command::new(self.tool(tool)?);
        command.env_clear();
        Ok(command)
    }

    /// Returns the folder of the CRDs of an original: `external-secrets` or `sealed-secrets`, one
    /// YAML file for each resource; or `charts`, the stock chart and the CRDs of the Prometheus operator.
    pub fn original_crds(&self, project: &str) -> Result<PathBuf> {
        let path = self.root.join("originals").join(project);
        ensure!(
            path.is_dir(),
            "{}: not there; run `make testbed`",
            path.display()
        );
        Ok(path)
    }
}

/// A program of the cache. Every one is called by its full path: `PATH` may hold another version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tool {
    /// etcd 3.6.8.
    Etcd,
    /// kube-apiserver 1.36.3.
    KubeApiserver,
    /// kube-controller-manager 1.36.3.
    KubeControllerManager,
    /// kubectl 1.36.3.
    Kubectl,
    /// OpenBao 2.7.2.
    Bao,
    /// moto 5.2.5.
    MotoServer,
    /// sops 3.13.3, built from its Go module.
    Sops3133,
    /// sops 3.11.0, the released binary.
    Sops3110,
    /// kubeseal 0.38.4.
    Kubeseal,
    /// The controller of Sealed Secrets 0.38.4.
    SealedSecretsController,
    /// age 1.3.2.
    Age,
    /// age-keygen 1.3.2.
    AgeKeygen,
    /// helm 3.22.0.
    Helm,
    /// The parser of Prometheus 0.314 (`tests/bed/promql`).
    Promql,
    /// Our small program around Go's text/template and sprig (tests/bed/template-oracle).
    TemplateOracle,
}

impl Tool {
    fn file_name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::KubeApiserver => "kube-apiserver",
            Self::KubeControllerManager => "kube-controller-manager",
            Self::Kubectl => "kubectl",
            Self::Bao => "bao",
            Self::MotoServer => "moto_server",
            Self::Sops3133 => "sops-3.13.3",
            Self::Sops3110 => "sops-3.11.0",
            Self::Kubeseal => "kubeseal",
            Self::SealedSecretsController => "sealed-secrets-controller",
            Self::Age => "age",
            Self::AgeKeygen => "age-keygen",
            Self::Helm => "helm",
            Self::Promql => "promql",
            Self::TemplateOracle => "template-oracle",
        }
    }

    /// The arguments that print the version, and a part of what they print.
    ///
    /// moto, promql and the template oracle print no version; they were checked when they were installed.
    fn version(self) -> Option<(&'static [&'static str], &'static str)> {
        Some(match self {
            Self::Etcd => (&["--version"], "etcd Version: 3.6.8"),
            Self::KubeApiserver | Self::KubeControllerManager => {
                (&["--version"], "Kubernetes v1.36.3")
            }
            Self::Kubectl => (&["version", "--client"], "Client Version: v1.36.3"),
            Self::Bao => (&["version"], "OpenBao v2.7.2"),
            Self::MotoServer | Self::TemplateOracle | Self::Promql => return None,
            Self::Helm => (&["version", "--short"], "v3.22.0"),
            Self::Sops3133 => (&["--disable-version-check", "--version"], "sops 3.13.3"),
            Self::Sops3110 => (&["--disable-version-check", "--version"], "sops 3.11.0"),
            Self::Kubeseal => (&["--version"], "kubeseal version: v0.38.4"),
            Self::SealedSecretsController => (&["--version"], "controller version: v0.38.4"),
            Self::Age | Self::AgeKeygen => (&["--version"], "v1.3.2"),
        })
    }

    fn check(self, path: &Path) -> Result<()> {
        ensure!(path.exists(), "not there");
        let Some((arguments, expected)) = self.version() else {
            return Ok(());
        };
        let output = Command::new(path)
            .args(arguments)
            .output()
            .context("it does not start")?;
        let printed = String::from_utf8_lossy(&output.stdout);
        ensure!(
            printed.contains(expected),
            "expected the version \"{expected}\", it printed \"{}\"",
            printed.trim()
        );
        Ok(())
    }
}

/// Returns the folder of this process for data and logs of servers,
/// `SELKIE_CACHE/runs/PROGRAM-PID`.
///
/// Logs and keys stay after the process, so that a failure can be looked into. Later runs remove
/// the data of ended ones, and their folders but for the newest ten.
pub fn run_folder() -> Result<&'static Path> {
    static RUN: OnceLock<(PathBuf, File)> = OnceLock::new();
    if RUN.get().is_none() {
        let made = make_run_folder(&Cache::open()?.root.join("runs"))?;
        // Two threads may get here at once; the folder of the slower one is removed again.
        if let Err((path, _)) = RUN.set(made) {
            fs::remove_dir_all(path)?;
        }
    }
    RUN.get()
        .map(|(path, _)| path.as_path())
        .context("the run folder was made above")
}

/// Makes a new folder below [`run_folder`], named after what it is for.
pub fn new_folder(name: &str) -> Result<PathBuf> {
    let folder = tempfile::Builder::new()
        .prefix(&format!("{name}-"))
        .tempdir_in(run_folder()?)?;
    Ok(folder.keep())
}

/// The folder, in that of a server, of what is of no use after its end: etcd's alone is 64 MiB or
/// more.
pub const DATA: &str = "data";

/// The held lock of a run folder says that its process lives.
const LOCK: &str = "lock";

fn make_run_folder(runs: &Path) -> Result<(PathBuf, File)> {
    fs::create_dir_all(runs).with_context(|| format!("{}", runs.display()))?;
    remove_ended(runs);
    let program = std::env::current_exe()?;
    let program = program
        .file_stem()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    // Test binaries end in a hash: demo, sealed-0123456789abcdef.
    let program = program
        .rsplit_once('-')
        .map_or(program.as_str(), |(name, _)| name)
        .to_owned();
    let folder = tempfile::Builder::new()
        .prefix(&format!("{program}-{}-", std::process::id()))
        .tempdir_in(runs)?;
    let lock = File::create(folder.path().join(LOCK))?;
    lock.lock()?;
    Ok((folder.keep(), lock))
}

/// Removes the data of ended runs, and their folders but for the newest ten. Another process may do
/// the same: a failure means nothing.
fn remove_ended(runs: &Path) {
    let mut ended: Vec<(SystemTime, PathBuf)> = fs::read_dir(runs)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let changed = entry.metadata().ok()?.modified().ok()?;
            // Between making the folder and its lock there is a moment: leave the young ones alone.
            let young = changed
                .elapsed()
                .is_ok_and(|age| age < Duration::from_secs(60));
            let unlocked =
                File::open(entry.path().join(LOCK)).is_ok_and(|lock| lock.try_lock().is_ok());
            (unlocked && !young).then(|| (changed, entry.path()))
        })
        .collect();
    ended.sort();
    for (position, (_, path)) in ended.iter().rev().enumerate() {
        if position >= 10 {
            let _ = fs::remove_dir_all(path);
            continue;
        }
        for server in fs::read_dir(path).into_iter().flatten().flatten() {
            let _ = fs::remove_dir_all(server.path().join(DATA));
        }
    }
}
