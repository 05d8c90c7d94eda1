//! Running a command with secrets in its environment or in a file that is gone afterwards
//! (sops-cli.md 1.4).

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Component, Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User};
use selkie_secret::{SecretBytes, SecretString};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;

use crate::failure::{Failure, Kind};
use crate::private_folder::Place;

/// What stands for the name of the file in a command.
const PLACEHOLDER: &str = "{}";

/// The name of the file where none is asked for.
const DEFAULT_NAME: &str = "tmp-file";

/// A command to run.
#[derive(Debug, Clone)]
pub(crate) enum Program {
    /// A line for `/bin/sh -c`.
    Shell(OsString),
    /// A program and its arguments, taken as they are.
    Words(Vec<OsString>),
}

/// What the command runs with.
#[derive(Default)]
pub(crate) struct Setting {
    /// Variables to set.
    pub(crate) variables: Vec<(String, SecretString)>,
    /// Whether the command gets nothing but `variables`.
    pub(crate) pristine: bool,
    /// The user to run it as.
    pub(crate) user: Option<String>,
    /// Whether this process becomes the command.
    pub(crate) same_process: bool,
    /// Whether to return without waiting for it.
    pub(crate) background: bool,
}

/// A file for the command.
pub(crate) struct Plaintext<'a> {
    pub(crate) content: &'a SecretBytes,
    /// Its name, a path below the private folder.
    pub(crate) name: Option<&'a Path>,
    pub(crate) kind: FileKind,
}

/// How the command gets its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileKind {
    /// A FIFO, which can be read once and never touches a disk.
    Fifo,
    /// A regular file in TMPDIR where that is set, as sops has it.
    Regular,
    /// A regular file in memory, where the system has such a place.
    RegularInMemory,
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// With this code.
    Code(u8),
    /// By this signal.
    Signal(i32),
    /// It still runs.
    Running,
}

impl Outcome {
    /// The exit code that shells use: that of the command, or 128 and the signal's number.
    pub(crate) fn shell_code(self) -> u8 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => u8::try_from(128 + signal).unwrap_or(u8::MAX),
            Self::Running => 0,
        }
    }
}

/// Runs a command with variables; signals are passed on to it.
pub(crate) fn with_variables(program: &Program, setting: &Setting) -> Result<Outcome, Failure> {
    let account = setting.switch_user()?;
    let mut command = setting.command(program, account.as_ref());
    if setting.same_process {
        return Err(not_started(program, &command.exec()));
    }
    let mut signals = watched().map_err(|error| not_started(program, &error))?;
    setting.run(program, &mut command, &mut signals)
}

/// Runs a command with a file whose name replaces `{}` in it; the file is removed afterwards.
pub(crate) fn with_file(
    program: &Program,
    setting: &Setting,
    plaintext: &Plaintext<'_>,
) -> Result<Outcome, Failure> {
    if plaintext.name.is_some_and(|name| !is_local(name)) {
        let message = "The provided filename is not a local path.";
        return Err(Failure::new(Kind::Other, message)
            .hint("give a name such as config.yaml, without / at its start and without .."));
    }
    let account = setting.switch_user()?;
    // Before there is a file: a signal that comes now is passed on to the command later, and the file
    // goes when that has ended.
    let mut signals = watched().map_err(|error| not_started(program, &error))?;
    let folder = PrivateFolder::make(plaintext.kind)?;
    let path = folder.place(plaintext)?;
    let program = program.filled_in(path.as_os_str());
    let mut command = setting.command(&program, account.as_ref());
    let outcome = setting.run(&program, &mut command, &mut signals)?;
    if outcome == Outcome::Running {
        // The command needs the file for longer than this process lives.
        std::mem::forget(folder);
    }
    Ok(outcome)
}

impl Program {
    /// The command with a file's name in the place of `{}`.
    fn filled_in(&self, path: &OsStr) -> Self {
        let fill = |word: &OsString| {
            let path = path.to_string_lossy();
            match word.to_str() {
                Some(text) => OsString::from(text.replace(PLACEHOLDER, &path)),
                None => word.clone(),
            }
        };
        match self {
            Self::Shell(line) => Self::Shell(fill(line)),
            Self::Words(words) => Self::Words(words.iter().map(fill).collect()),
        }
    }

    /// Returns whether the name of a file goes anywhere in it.
    pub(crate) fn takes_file(&self) -> bool {
        let takes = |word: &OsString| word.to_string_lossy().contains(PLACEHOLDER);
        match self {
            Self::Shell(line) => takes(line),
            Self::Words(words) => words.iter().any(takes),
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Shell(_) => "/bin/sh".to_owned(),
            Self::Words(words) => match words.first() {
                Some(word) => word.to_string_lossy().into_owned(),
                None => String::new(),
            },
        }
    }
}

impl Setting {
    /// Becomes the user that the command is to run as.
    fn switch_user(&self) -> Result<Option<User>, Failure> {
        let Some(name) = &self.user else {
            return Ok(None);
        };
        let failed = |what: &str, error: nix::Error| {
            Failure::new(
                Kind::Other,
                format!("the user {name} {what}: {}", error.desc()),
            )
            .hint("only root can run a command as another user")
        };
        let account = User::from_name(name)
            .map_err(|error| failed("cannot be looked up", error))?
            .ok_or_else(|| Failure::new(Kind::Other, format!("there is no user {name}")))?;
        let c_name = std::ffi::CString::new(name.as_str())
            .map_err(|_| Failure::new(Kind::Other, "the user's name holds a zero byte"))?;
        nix::unistd::initgroups(&c_name, account.gid)
            .and_then(|()| nix::unistd::setgid(account.gid))
            .and_then(|()| nix::unistd::setuid(account.uid))
            .map_err(|error| failed("cannot be switched to", error))?;
        Ok(Some(account))
    }

    fn command(&self, program: &Program, account: Option<&User>) -> Command {
        let mut command = match program {
            Program::Shell(line) => {
                let mut command = Command::new("/bin/sh");
                command.arg("-c").arg(line);
                command
            }
            Program::Words(words) => {
                let mut command = Command::new(words.first().map_or(OsStr::new(""), |word| word));
                command.args(words.iter().skip(1));
                command
            }
        };
        if self.pristine {
            command.env_clear();
        }
        if let Some(account) = account {
            command.env("HOME", &account.dir);
            command.env("USER", &account.name);
            command.env("LOGNAME", &account.name);
        }
        for (name, value) in &self.variables {
            command.env(name, value.expose());
        }
        command
    }

    fn run(
        &self,
        program: &Program,
        command: &mut Command,
        signals: &mut Signals,
    ) -> Result<Outcome, Failure> {
        if self.background {
            command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            let started = command
                .spawn()
                .map_err(|error| not_started(program, &error))?;
            drop(started);
            return Ok(Outcome::Running);
        }
        let mut child = command
            .spawn()
            .map_err(|error| not_started(program, &error))?;
        let status = wait(&mut child, signals).map_err(|error| not_started(program, &error))?;
        Ok(match (status.code(), status.signal()) {
            (Some(code), _) => Outcome::Code(u8::try_from(code).unwrap_or(u8::MAX)),
            (None, signal) => Outcome::Signal(signal.unwrap_or_default()),
        })
    }
}

/// The signals that a command gets; from now on none of them ends this process.
fn watched() -> io::Result<Signals> {
    Signals::new([SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGCHLD])
}

/// Waits for the child and passes signals on. What the terminal sends (an interrupt, a quit) the
/// child has got already, being in the same process group.
fn wait(child: &mut Child, signals: &mut Signals) -> io::Result<ExitStatus> {
    let own_terminal = io::IsTerminal::is_terminal(&io::stdin());
    let id = Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
    if let Some(status) = child.try_wait()? {
        return Ok(status);
    }
    for number in signals.forever() {
        match number {
            SIGCHLD => {}
            SIGINT | SIGQUIT if own_terminal => {}
            _ => {
                if let Ok(signal) = Signal::try_from(number) {
                    // It may have ended just now.
                    let _ = kill(id, signal);
                }
            }
        }
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
    }
    child.wait()
}

/// A folder for this user alone, removed with all that is in it.
struct PrivateFolder {
    path: PathBuf,
}

impl PrivateFolder {
    /// Makes the folder: in memory where plaintext would lie in it, if the system has such a place
    /// (with [`FileKind::Regular`] TMPDIR wins).
    fn make(kind: FileKind) -> Result<Self, Failure> {
        let parent = match (kind, std::env::var_os("TMPDIR")) {
            (FileKind::RegularInMemory, _) | (FileKind::Regular, None) => Place::find().path,
            _ => std::env::temp_dir(),
        };
        let folder = tempfile::Builder::new()
            .prefix(".sops")
            .permissions(fs::Permissions::from_mode(0o700))
            .tempdir_in(&parent)
            .map_err(|error| {
                Failure::new(
                    Kind::Output,
                    format!(
                        "no private folder can be made in {}: {error}",
                        parent.display()
                    ),
                )
                .hint("set TMPDIR to a folder that can be written")
            })?;
        Ok(Self {
            path: folder.keep(),
        })
    }

    /// Makes the file and returns its path.
    fn place(&self, plaintext: &Plaintext<'_>) -> Result<PathBuf, Failure> {
        let name = plaintext.name.unwrap_or(Path::new(DEFAULT_NAME));
        let path = self.path.join(name);
        let failed = |error: &io::Error| {
            Failure::new(
                Kind::Output,
                format!(
                    "the temporary file {} cannot be made: {error}",
                    path.display()
                ),
            )
        };
        if let Some(parent) = path.parent().filter(|parent| *parent != self.path) {
            let mut folders = fs::DirBuilder::new();
            let made = folders.recursive(true).mode(0o700).create(parent);
            made.map_err(|error| failed(&error))?;
        }
        match plaintext.kind {
            FileKind::Regular | FileKind::RegularInMemory => {
                let mut options = File::options();
                let file = options.write(true).create_new(true).mode(0o600).open(&path);
                let written = file.and_then(|mut file| file.write_all(plaintext.content.expose()));
                written.map_err(|error| failed(&error))?;
            }
            FileKind::Fifo => {
                let mode = nix::sys::stat::Mode::from_bits_truncate(0o600);
                nix::unistd::mkfifo(&path, mode).map_err(|error| failed(&error.into()))?;
                let (target, content) = (path.clone(), plaintext.content.duplicate());
                // Opening waits for a reader; when none comes the process ends without this thread.
                thread::spawn(move || {
                    if let Ok(mut pipe) = File::options().write(true).open(target) {
                        let _ = pipe.write_all(content.expose());
                    }
                });
            }
        }
        Ok(path)
    }
}

impl Drop for PrivateFolder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Whether a path stays below the folder that it is joined to.
fn is_local(path: &Path) -> bool {
    let mut parts = path.components();
    path.components().next().is_some()
        && parts.all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
}

fn not_started(program: &Program, error: &io::Error) -> Failure {
    Failure::new(
        Kind::Other,
        format!("the command `{}` cannot be run: {error}", program.name()),
    )
    .hint("check its name and that it is on PATH")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(line: &str) -> Program {
        Program::Shell(line.into())
    }

    #[test]
    fn the_commands_code_and_signal_come_back() {
        let run = |line: &str| with_variables(&shell(line), &Setting::default()).unwrap();
        assert_eq!(run("exit 7"), Outcome::Code(7));
        assert_eq!(run("kill -TERM $$"), Outcome::Signal(SIGTERM));
        assert_eq!(Outcome::Signal(SIGTERM).shell_code(), 143);
    }

    #[test]
    fn variables_reach_the_command_alone_when_pristine() {
        let setting = Setting {
            variables: vec![("SECRET".to_owned(), SecretString::new("a b".to_owned()))],
            pristine: true,
            ..Setting::default()
        };
        let line = "test \"$SECRET\" = 'a b' && test -z \"$HOME\"";
        assert_eq!(
            with_variables(&shell(line), &setting).unwrap(),
            Outcome::Code(0)
        );
        let words = ["/bin/sh", "-c", "test \"$0\" = '$SECRET'", "$SECRET"];
        let words = Program::Words(words.map(OsString::from).to_vec());
        assert_eq!(with_variables(&words, &setting).unwrap(), Outcome::Code(0));
    }

    #[test]
    fn a_file_is_there_for_the_command_only() {
        let content = SecretBytes::new(b"hello\n".to_vec());
        for kind in [FileKind::Fifo, FileKind::Regular, FileKind::RegularInMemory] {
            let kept = tempfile::NamedTempFile::new().unwrap();
            let line = format!(
                "test \"$(cat {{}})\" = hello && printf %s {{}} > {}",
                kept.path().display()
            );
            let plaintext = Plaintext {
                content: &content,
                name: Some(Path::new("sub/config.yaml")),
                kind,
            };
            let outcome = with_file(&shell(&line), &Setting::default(), &plaintext).unwrap();
            assert_eq!(outcome, Outcome::Code(0));
            let path = PathBuf::from(fs::read_to_string(kept.path()).unwrap());
            assert!(path.ends_with("sub/config.yaml"), "{}", path.display());
            assert!(!path.parent().unwrap().parent().unwrap().exists());
        }
    }

    #[test]
    fn a_file_outside_of_the_private_folder_is_refused() {
        let content = SecretBytes::new(Vec::new());
        for name in ["/etc/x", "../x", "a/../../x", ""] {
            let plaintext = Plaintext {
                content: &content,
                name: Some(Path::new(name)),
                kind: FileKind::Regular,
            };
            let refused = with_file(&shell("true"), &Setting::default(), &plaintext);
            assert!(refused.unwrap_err().message.contains("not a local path"));
        }
    }

    #[test]
    fn a_command_that_is_not_there_is_named() {
        let words = Program::Words(vec!["/no/such/program".into()]);
        let failure = with_variables(&words, &Setting::default()).unwrap_err();
        assert!(failure.message.contains("/no/such/program"));
        let setting = Setting {
            user: Some("nobody-by-this-name".to_owned()),
            ..Setting::default()
        };
        let failure = with_variables(&shell("true"), &setting).unwrap_err();
        assert!(failure.message.contains("nobody-by-this-name"));
    }
}
