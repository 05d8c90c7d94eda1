//! Asking on the terminal: passphrases of identities, and what age plugins want to know.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::sync::Mutex;

use rustix::termios::{
    LocalModes, OptionalActions, QueueSelector, Termios, tcflush, tcgetattr, tcsetattr,
};
use selkie_keys::prompt::{Passphrase, Prompt};
use selkie_secret::SecretString;
use zeroize::Zeroizing;

use crate::identities::output_of;

/// The person at the controlling terminal, be standard input a pipe or not; or the command that
/// stands in for them.
#[derive(Debug, Default)]
pub(crate) struct Terminal {
    /// `SELKIE_PASSPHRASE_CMD`: prints a passphrase; `SELKIE_PASSPHRASE_FOR` tells it whose.
    pub(crate) passphrase_command: Option<String>,
    /// One question at a time.
    pub(crate) asking: Mutex<()>,
}

impl Prompt for Terminal {
    fn passphrase(&self, of: &Passphrase<'_>, attempt: u32) -> Option<SecretString> {
        let _one = self.asking.lock();
        if let Some(command) = &self.passphrase_command {
            // It would say the same again.
            if attempt > 0 {
                return None;
            }
            let place = match of {
                Passphrase::IdentityFile(place) | Passphrase::SshKey(place) => place,
                Passphrase::Plugin(words) => words,
                _ => "",
            };
            let printed = output_of(command, ("SELKIE_PASSPHRASE_FOR", place));
            return match printed.map(selkie_secret::SecretBytes::into_string) {
                Ok(Ok(text)) => Some(first_line(&text)),
                Ok(Err(_)) => {
                    self.show("SELKIE_PASSPHRASE_CMD printed something that is not text");
                    None
                }
                Err(reason) => {
                    self.show(&format!("SELKIE_PASSPHRASE_CMD: {reason}"));
                    None
                }
            };
        }
        let wrong = if attempt > 0 { "That was wrong. " } else { "" };
        hidden_line(&format!("{wrong}Enter {of}: ")).ok().flatten()
    }

    fn show(&self, message: &str) {
        let _ = writeln!(anstream::stderr(), "{message}");
    }

    fn confirm(&self, message: &str, yes: &str, no: Option<&str>) -> Option<bool> {
        let _one = self.asking.lock();
        let choice = match no {
            Some(no) => format!("{message} (y: {yes}, n: {no}) "),
            None => format!("{message} (y: {yes}) "),
        };
        let answer = line(&choice).ok()?;
        Some(answer.trim().eq_ignore_ascii_case("y"))
    }

    fn text(&self, description: &str) -> Option<String> {
        let _one = self.asking.lock();
        line(&format!("{description}: ")).ok()
    }
}

/// Returns the name of the terminal that this process was started from, if it has one.
pub(crate) fn name() -> Option<std::ffi::OsString> {
    use std::os::unix::ffi::OsStringExt as _;
    let name = rustix::termios::ttyname(io::stderr(), Vec::new())
        .or_else(|_| rustix::termios::ttyname(io::stdout(), Vec::new()))
        .ok()?;
    Some(std::ffi::OsString::from_vec(name.into_bytes()))
}

/// Returns whether there is a terminal to ask on.
pub(crate) fn is_there() -> bool {
    open().is_ok()
}

fn open() -> io::Result<File> {
    File::options().read(true).write(true).open("/dev/tty")
}

/// Asks for a line that is shown as it is typed. What was typed before the question does not answer it.
fn line(question: &str) -> io::Result<String> {
    let mut terminal = open()?;
    tcflush(&terminal, QueueSelector::IFlush)?;
    write!(terminal, "{question}")?;
    let mut answer = String::new();
    BufReader::new(terminal).read_line(&mut answer)?;
    Ok(answer.trim_end_matches(['\r', '\n']).to_owned())
}

/// Asks for a line that is not shown; `None` when it is cancelled with Ctrl-C or Ctrl-D.
///
/// Keys are read one by one, Ctrl-C too: a signal would end the process and leave the terminal
/// without echo.
pub(crate) fn hidden_line(question: &str) -> io::Result<Option<SecretString>> {
    let terminal = &open()?;
    let quiet = Quiet::begin(terminal)?;
    write!(&*terminal, "{question}")?;
    let mut typed = Zeroizing::new(Vec::with_capacity(MAX_PASSPHRASE));
    let mut byte = Zeroizing::new([0]);
    let entered = loop {
        if (&*terminal).read(&mut *byte)? == 0 {
            break false;
        }
        match byte[0] {
            b'\r' | b'\n' => break true,
            CTRL_C => break false,
            CTRL_D if typed.is_empty() => break false,
            CTRL_U => typed.clear(),
            BACKSPACE | DELETE => {
                // A character of UTF-8: its following bytes, then its first.
                while typed.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {}
            }
            _ if typed.len() == MAX_PASSPHRASE => {}
            byte => typed.push(byte),
        }
    };
    drop(quiet);
    writeln!(&*terminal)?;
    let text = std::str::from_utf8(&typed).ok().filter(|_| entered);
    Ok(text.map(|text| SecretString::new(text.to_owned())))
}

/// A terminal that shows nothing of what is typed, until this is dropped.
struct Quiet<'t> {
    terminal: &'t File,
    before: Termios,
}

impl<'t> Quiet<'t> {
    fn begin(terminal: &'t File) -> io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut modes = before.clone();
        modes.local_modes &= !(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
        tcsetattr(terminal, OptionalActions::Flush, &modes)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        let _ = tcsetattr(self.terminal, OptionalActions::Flush, &self.before);
    }
}

/// Returns what a command printed up to its first line end.
fn first_line(text: &SecretString) -> SecretString {
    let line = text.expose().lines().next().unwrap_or_default();
    SecretString::new(line.to_owned())
}

const MAX_PASSPHRASE: usize = 1024;
const CTRL_C: u8 = 3;
const CTRL_D: u8 = 4;
const CTRL_U: u8 = 21;
const BACKSPACE: u8 = 8;
const DELETE: u8 = 127;
