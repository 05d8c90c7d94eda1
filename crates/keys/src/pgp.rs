//! OpenPGP through the program gpg, with its agent, smartcards and keyrings (sops-format.md 8.2).

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{self, Read, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use selkie_sops::{DataKeySource, KeyEntry, KeyKind, KeySpec, MasterKey, UnwrapError, WrapError};
use zeroize::Zeroizing;

use crate::openpgp::Sealed;
use crate::prompt::{Prompt, printable};

/// How gpg is run.
#[derive(Debug, Clone)]
pub struct GpgSettings {
    /// `SOPS_GPG_EXEC`, else `gpg`.
    pub program: OsString,
    /// GnuPG's folder, if it is known: `GNUPGHOME`, else `~/.gnupg`. Only looked at; gpg finds it
    /// by itself.
    pub home: Option<PathBuf>,
    /// The terminal that a passphrase may be asked on, where the environment does not name one: gpg
    /// cannot find it by itself, for its standard input is not the terminal.
    pub terminal: Option<OsString>,
    /// gpg is ended when it takes longer.
    pub limit: Duration,
}

impl Default for GpgSettings {
    fn default() -> Self {
        Self {
            program: "gpg".into(),
            home: None,
            terminal: None,
            // Somebody may have to find a smartcard, but a build server must not wait for ever.
            limit: Duration::from_secs(300),
        }
    }
}

/// gpg, as a source of data keys; nothing is run before it is needed.
pub struct Gpg {
    settings: GpgSettings,
    prompt: Arc<dyn Prompt>,
}

/// An OpenPGP key that data keys are wrapped for.
pub struct PgpKey {
    fingerprint: String,
    gpg: Arc<Gpg>,
    /// `created_at` of the entries.
    now: jiff::Timestamp,
}

/// Why gpg did not do its work. Nothing that it read or wrote as data is in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GpgError {
    /// There is no such program.
    #[error(
        "the program `{0}` is not there; install GnuPG, or name its program with SOPS_GPG_EXEC"
    )]
    Missing(String),
    /// It is there and does not start.
    #[error("`{program}` cannot be run: {reason}")]
    NotRunnable {
        /// As configured.
        program: String,
        /// The operating system's words.
        reason: String,
    },
    /// It took too long and was ended.
    #[error(
        "gpg gave no answer for {} s and was ended; it may wait for a passphrase or a smartcard: \
         try `gpg -d` in this terminal", .0.as_secs()
    )]
    TimedOut(Duration),
    /// A signal ended it.
    #[error("gpg was ended by signal {0}")]
    Killed(i32),
    /// The public key is not in the keyring.
    #[error("gpg has no public key {0}; `gpg --import FILE` or `gpg --recv-keys {0}` gets it")]
    NoPublicKey(String),
    /// The key is there but cannot be used.
    #[error("gpg cannot use the key {key}: {reason}")]
    Unusable {
        /// The fingerprint.
        key: String,
        /// Expired, revoked, no encryption subkey: gpg's words.
        reason: String,
    },
    /// The private key is not in the keyring.
    #[error("gpg has no private key for it")]
    NoSecretKey,
    /// It is for another key than the one that was named.
    #[error("it is for the key {found}, and not for {named}, which was asked for")]
    OtherKey {
        /// The key that was named.
        named: String,
        /// The id of the one that it is for.
        found: String,
    },
    /// It does not say which key it is for.
    #[error(
        "it does not say which key it is for, so nobody can tell whether that is {0}, which was asked for"
    )]
    UnnamedKey(String),
    /// It is not a message as sops writes it, so whom it is for is not all that it can do.
    #[error(
        "it is not one armored OpenPGP message that is encrypted for keys and has nothing beside it, \
         as sops writes it; it is not opened"
    )]
    NotSealed,
    /// Below the encryption for the named key is something else than data.
    #[error(
        "below the encryption for {0} there is not data alone, as sops writes it, \
         but for example a message for another key; that is not opened"
    )]
    NotPlain(String),
    /// gpg does not say which key it used.
    #[error("gpg does not say which key it used; GnuPG 2.2 or newer does")]
    UntoldKey,
    /// A passphrase is needed, and the agent cannot ask for it.
    #[error(
        "gpg needs a passphrase and cannot ask for it here; \
         unlock the key first (`gpg -d` of any file for it), or run `export GPG_TTY=$(tty)`"
    )]
    NoTerminal,
    /// The passphrase was wrong, or the question was cancelled.
    #[error("gpg could not unlock the private key: {0}")]
    NotUnlocked(String),
    /// It ended well and printed nothing, as old versions do with ciphers they do not know.
    #[error("gpg decrypted it to nothing; it may be too old for the cipher (sops issue 896)")]
    Empty,
    /// Anything else.
    #[error("gpg failed ({status}){}", after(.reason))]
    Failed {
        /// How it ended.
        status: String,
        /// Its last words.
        reason: String,
    },
}

fn after(reason: &str) -> String {
    match reason.is_empty() {
        true => String::new(),
        false => format!(": {reason}"),
    }
}

impl Gpg {
    /// Describes a gpg; `prompt` is told when it takes long.
    pub fn new(settings: GpgSettings, prompt: Arc<dyn Prompt>) -> Self {
        Self { settings, prompt }
    }

    /// Encrypts for one key and returns the armored message without blanks around it. A trailing
    /// `!` of the fingerprint selects just that subkey.
    pub fn encrypt(&self, fingerprint: &str, secret: &[u8]) -> Result<String, GpgError> {
        let arguments = [
            "--no-default-recipient",
            "--yes",
            "--encrypt",
            "-a",
            "-r",
            fingerprint,
            "--trusted-key",
            last_16(fingerprint),
            "--no-encrypt-to",
        ];
        let finished = self.run(&arguments, Zeroizing::new(secret.to_vec()))?;
        if !finished.status.success() {
            return Err(why_not_encrypted(&finished, fingerprint));
        }
        let message = String::from_utf8_lossy(&finished.output).trim().to_owned();
        match message.is_empty() {
            true => Err(GpgError::Empty),
            false => Ok(message),
        }
    }

    /// Decrypts an armored message; the agent finds the key and asks for its passphrase.
    pub fn decrypt(&self, message: &str) -> Result<Zeroizing<Vec<u8>>, GpgError> {
        let input = Zeroizing::new(message.as_bytes().to_vec());
        let finished = self.run(&["-d"], input)?;
        if !finished.status.success() {
            return Err(why_not_decrypted(&finished));
        }
        match finished.output.is_empty() {
            true => Err(GpgError::Empty),
            false => Ok(finished.output),
        }
    }

    /// Decrypts a message that is for this key and for no other, with this key and with no other.
    ///
    /// A message can hold messages for other keys, and `gpg -d` opens them, too. So the layer that the
    /// named key opens is taken off by itself, after the ids on it were compared (RFC 9580 5.1), and what
    /// is below is read where gpg has no private key and no agent. Only a `try-all-secrets` in gpg.conf
    /// can have the agent try another key; nothing that it opened is returned.
    pub fn decrypt_named(
        &self,
        fingerprint: &str,
        message: &str,
    ) -> Result<Zeroizing<Vec<u8>>, GpgError> {
        let named = printable(fingerprint);
        let digits = fingerprint.replace(' ', "");
        let digits = digits.strip_suffix('!').unwrap_or(&digits);
        let is_hex = digits.len() >= 16 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        if !is_hex {
            return Err(GpgError::NoPublicKey(named));
        }
        let sealed = Sealed::parse(message).ok_or(GpgError::NotSealed)?;
        let is_hidden = |id: &String| id.bytes().all(|digit| digit == b'0');
        if sealed.key_ids.iter().any(is_hidden) {
            return Err(GpgError::UnnamedKey(named));
        }
        let own = ["--batch", "--with-colons", "--list-keys", "--", digits];
        let own = self.run(&own, Zeroizing::default())?;
        if !own.status.success() {
            return Err(GpgError::NoPublicKey(named));
        }
        let own = String::from_utf8_lossy(&own.output);
        let is_own = |id: &str| own.lines().any(|line| key_id(line) == Some(id));
        if let Some(id) = sealed.key_ids.iter().find(|id| !is_own(id)) {
            let found = printable(id);
            return Err(GpgError::OtherKey { named, found });
        }
        let inner = self.run(
            &["--status-fd", "2", "--unwrap", "-d"],
            Zeroizing::new(sealed.packets),
        )?;
        if !inner.status.success() {
            return Err(why_not_decrypted(&inner));
        }
        let used = used_key(&inner.messages).ok_or(GpgError::UntoldKey)?;
        if !own.lines().any(|line| fingerprint_in(line) == Some(used)) {
            let found = printable(used);
            return Err(GpgError::OtherKey { named, found });
        }
        self.read_plain(inner.output, named)
    }

    /// Reads what is left when the encryption is taken off, compressed or not. A signature is passed over: sops
    /// makes none, and the MAC of a file shows whether a data key is the right one.
    fn read_plain(
        &self,
        packets: Zeroizing<Vec<u8>>,
        named: String,
    ) -> Result<Zeroizing<Vec<u8>>, GpgError> {
        let mut home = tempfile::Builder::new();
        home.prefix("selkie-gpg-");
        #[cfg(unix)]
        home.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
        let no_home = |reason: &dyn fmt::Display| GpgError::NotRunnable {
            program: self.settings.program.to_string_lossy().into_owned(),
            reason: format!("it needs a temporary folder: {reason}"),
        };
        let home = home.tempdir().map_err(|error| no_home(&error))?;
        let folder = home.path().to_str();
        let folder = folder.ok_or_else(|| no_home(&"its path is not UTF-8"))?;
        let arguments = [
            &["--homedir", folder][..],
            &["--no-options", "--no-keyring", "--no-autostart"],
            &["--batch", "--trust-model", "always", "--skip-verify", "-d"],
        ];
        let plain = self.run(&arguments.concat(), packets)?;
        if !plain.status.success() {
            return Err(GpgError::NotPlain(named));
        }
        match plain.output.is_empty() {
            true => Err(GpgError::Empty),
            false => Ok(plain.output),
        }
    }

    fn run(&self, arguments: &[&str], input: Zeroizing<Vec<u8>>) -> Result<Finished, GpgError> {
        let program = &self.settings.program;
        let mut command = Command::new(program);
        command
            .args(arguments)
            // Its messages are told apart by their words; LC_CTYPE, for a passphrase, stays.
            .env("LANGUAGE", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(terminal) = &self.settings.terminal {
            command.env("GPG_TTY", terminal);
        }
        let mut child = command.spawn().map_err(|error| not_run(program, &error))?;
        // Threads of their own, not joined: a program below gpg may keep a pipe open after its end.
        if let Some(mut stdin) = child.stdin.take() {
            thread::spawn(move || {
                // gpg may end before it has read all; its status tells then.
                let _ = stdin.write_all(&input);
            });
        }
        let output = collect(child.stdout.take());
        let messages = collect(child.stderr.take());
        let status = self.wait(&mut child)?;
        let take = |from: Receiver<Zeroizing<Vec<u8>>>| {
            from.recv_timeout(AFTER_THE_END).unwrap_or_default()
        };
        let (output, messages) = (take(output), take(messages));
        Ok(Finished {
            status,
            output,
            messages: String::from_utf8_lossy(&messages).into_owned(),
        })
    }

    fn wait(&self, child: &mut Child) -> Result<ExitStatus, GpgError> {
        let began = Instant::now();
        let mut pause = Duration::from_millis(1);
        let mut told = false;
        loop {
            match child.try_wait() {
                Ok(Some(status)) => return signal(status),
                Ok(None) => {}
                Err(error) => return Err(not_run(&self.settings.program, &error)),
            }
            let passed = began.elapsed();
            if passed > self.settings.limit {
                let _ = child.kill();
                let _ = child.wait();
                return Err(GpgError::TimedOut(self.settings.limit));
            }
            if passed > TELL_AFTER && !told {
                told = true;
                self.prompt
                    .show("waiting for gpg, which may be asking for a passphrase or a smartcard");
            }
            thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }
}

/// Returns the id in a line about a key or subkey (GnuPG's doc/DETAILS: field 5).
fn key_id(line: &str) -> Option<&str> {
    let mut fields = line.split(':');
    let is_key = matches!(fields.next(), Some("pub" | "sub"));
    fields.nth(3).filter(|_| is_key)
}

/// Returns the fingerprint in a line about one (field 10).
fn fingerprint_in(line: &str) -> Option<&str> {
    let mut fields = line.split(':');
    let is_fingerprint = fields.next() == Some("fpr");
    fields.nth(8).filter(|_| is_fingerprint)
}

/// Returns the primary key of the key that gpg decrypted with, from its status (GnuPG's doc/DETAILS:
/// `DECRYPTION_KEY`). Lines that quote a message begin with `gpg: `, and line breaks in them are escaped.
fn used_key(messages: &str) -> Option<&str> {
    let mut used = messages
        .lines()
        .filter_map(|line| line.strip_prefix("[GNUPG:] DECRYPTION_KEY "))
        .map(|line| line.split(' ').nth(1));
    let first = used.next()??;
    used.all(|other| other == Some(first)).then_some(first)
}

struct Finished {
    status: ExitStatus,
    output: Zeroizing<Vec<u8>>,
    messages: String,
}

/// Reads a pipe to its end in the background.
fn collect(pipe: Option<impl Read + Send + 'static>) -> Receiver<Zeroizing<Vec<u8>>> {
    let (send, receive) = mpsc::channel();
    thread::spawn(move || {
        // With room for all from the start, so that no copy of a secret is left behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_OUTPUT));
        if let Some(pipe) = pipe {
            let _ = pipe.take(MAX_OUTPUT as u64).read_to_end(&mut bytes);
        }
        let _ = send.send(bytes);
    });
    receive
}

fn not_run(program: &OsStr, error: &io::Error) -> GpgError {
    let program = program.to_string_lossy().into_owned();
    match error.kind() {
        io::ErrorKind::NotFound => GpgError::Missing(program),
        _ => GpgError::NotRunnable {
            program,
            reason: error.to_string(),
        },
    }
}

fn signal(status: ExitStatus) -> Result<ExitStatus, GpgError> {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return Err(GpgError::Killed(signal));
    }
    Ok(status)
}

fn why_not_encrypted(finished: &Finished, fingerprint: &str) -> GpgError {
    let messages = &finished.messages;
    let has = |words: &str| messages.contains(words);
    let key = || printable(fingerprint);
    if has("Unusable public key") || has("expired") || has("revoked") {
        return GpgError::Unusable {
            key: key(),
            reason: last_words(messages),
        };
    }
    if has("No public key") || has("not found") || has("No data") {
        return GpgError::NoPublicKey(key());
    }
    failed(finished)
}

fn why_not_decrypted(finished: &Finished) -> GpgError {
    let messages = &finished.messages;
    let has = |words: &str| messages.contains(words);
    if has("Inappropriate ioctl") || has("No pinentry") || has("Screen or window too small") {
        return GpgError::NoTerminal;
    }
    if has("Operation cancelled") || has("Bad passphrase") || has("Timeout") {
        return GpgError::NotUnlocked(last_words(messages));
    }
    if has("No secret key") || has("secret key not available") {
        return GpgError::NoSecretKey;
    }
    failed(finished)
}

fn failed(finished: &Finished) -> GpgError {
    GpgError::Failed {
        status: finished.status.to_string(),
        reason: last_words(&finished.messages),
    }
}

/// Returns the last line of gpg's own about a failure: names of keys, never of what it read.
fn last_words(messages: &str) -> String {
    let mut lines = messages
        .lines()
        .filter_map(|line| line.strip_prefix("gpg: "));
    let line = lines
        .rfind(|line| !line.starts_with("encrypted with "))
        .or(messages.lines().next_back())
        .unwrap_or_default();
    printable(line).chars().take(MAX_REASON).collect()
}

/// Returns the last 16 digits, with the `!` behind them (sops-format.md 8.2).
fn last_16(fingerprint: &str) -> &str {
    let digits = fingerprint.strip_suffix('!').unwrap_or(fingerprint);
    let start = digits.char_indices().rev().nth(15).map_or(0, |(at, _)| at);
    &fingerprint[start..]
}

impl PgpKey {
    /// Names a key by its fingerprint; spaces in it are dropped. `now` is when it was configured.
    pub fn new(fingerprint: &str, gpg: &Arc<Gpg>, now: jiff::Timestamp) -> Self {
        Self {
            fingerprint: fingerprint.replace(' ', ""),
            gpg: Arc::clone(gpg),
            now,
        }
    }
}

impl MasterKey for PgpKey {
    fn kind(&self) -> KeyKind {
        KeyKind::Pgp
    }

    fn id(&self) -> &str {
        &self.fingerprint
    }

    fn wrap(&self, secret: &[u8]) -> Result<KeyEntry, WrapError> {
        let message = self.gpg.encrypt(&self.fingerprint, secret);
        let message = message.map_err(|error| WrapError {
            kind: KeyKind::Pgp,
            id: self.fingerprint.clone(),
            reason: error.to_string(),
        })?;
        let spec = KeySpec::Pgp {
            fingerprint: self.fingerprint.clone(),
        };
        Ok(spec.entry(&message, self.now))
    }
}

impl DataKeySource for Gpg {
    /// Whether it has the key shows in the attempt only. Where GnuPG has no folder it has no key
    /// either, and would make the folder.
    fn fits(&self, entry: &KeyEntry) -> bool {
        entry.kind == KeyKind::Pgp && self.settings.home.as_ref().is_none_or(|home| home.is_dir())
    }

    fn unwrap_key(&self, entry: &KeyEntry) -> Result<Zeroizing<Vec<u8>>, UnwrapError> {
        if entry.kind != KeyKind::Pgp {
            return Err(UnwrapError::Unsupported(entry.kind));
        }
        self.decrypt(entry.enc()?)
            .map_err(|error| UnwrapError::Failed(error.to_string()))
    }
}

/// gpg for those who were granted one key: it opens what is for the key that an entry names, though
/// the keyring may have the key that it is really for.
#[derive(Debug)]
pub struct NamedKey(pub Arc<Gpg>);

impl DataKeySource for NamedKey {
    fn fits(&self, entry: &KeyEntry) -> bool {
        self.0.fits(entry)
    }

    fn unwrap_key(&self, entry: &KeyEntry) -> Result<Zeroizing<Vec<u8>>, UnwrapError> {
        let KeySpec::Pgp { fingerprint } = KeySpec::of_entry(entry) else {
            return Err(UnwrapError::Unsupported(entry.kind));
        };
        self.0
            .decrypt_named(&fingerprint, entry.enc()?)
            .map_err(|error| UnwrapError::Failed(error.to_string()))
    }
}

impl fmt::Debug for Gpg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Gpg").field(&self.settings.program).finish()
    }
}

/// A wrapped key has about 1 KiB; messages of gpg are shorter than this.
const MAX_OUTPUT: usize = 64 * 1024;
const MAX_REASON: usize = 300;
/// How long its last output may take to come after it has ended.
const AFTER_THE_END: Duration = Duration::from_secs(5);
const TELL_AFTER: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::prompt::NoPrompt;

    #[test]
    fn the_trusted_key_is_the_last_16_digits() {
        let long = "FBC7B9E2A4F9289AC0C1D4843D16CEE4A27381B4";
        assert_eq!(last_16(long), "3D16CEE4A27381B4");
        assert_eq!(last_16(&format!("{long}!")), "3D16CEE4A27381B4!");
        assert_eq!(last_16("A27381B4"), "A27381B4");
        assert_eq!(last_16("ä"), "ä");
    }

    /// Runs a shell script in the place of gpg.
    fn with(script: &str, limit: Duration) -> Result<Zeroizing<Vec<u8>>, GpgError> {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("gpg");
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let settings = GpgSettings {
            program: program.into(),
            limit,
            ..GpgSettings::default()
        };
        Gpg::new(settings, Arc::new(NoPrompt)).decrypt("message")
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_gpg_that_fails_is_told_apart() {
        assert_eq!(with("cat", LONG).unwrap().as_slice(), b"message");
        assert_eq!(with("exit 0", LONG).unwrap_err(), GpgError::Empty);
        assert_eq!(with("kill -9 $$", LONG).unwrap_err(), GpgError::Killed(9));
        let no_key = "echo 'gpg: decryption failed: No secret key' >&2; exit 2";
        assert_eq!(with(no_key, LONG).unwrap_err(), GpgError::NoSecretKey);
        let no_terminal = "echo 'gpg: problem: Inappropriate ioctl for device' >&2; exit 2";
        assert_eq!(with(no_terminal, LONG).unwrap_err(), GpgError::NoTerminal);
        let other = with("echo 'gpg: a\u{1b}[2Jb' >&2; exit 2", LONG).unwrap_err();
        assert_eq!(other.to_string(), "gpg failed (exit status: 2): a [2Jb");
        let settings = GpgSettings {
            program: "/no/such/gpg".into(),
            ..GpgSettings::default()
        };
        let missing = Gpg::new(settings, Arc::new(NoPrompt)).decrypt("");
        let missing = missing.unwrap_err().to_string();
        assert!(missing.contains("install GnuPG"), "{missing}");
    }

    #[test]
    fn a_gpg_that_hangs_is_ended_even_if_its_children_hold_the_pipes() {
        let began = Instant::now();
        let error = with("sleep 30; exit 0", Duration::from_millis(300)).unwrap_err();
        assert!(matches!(error, GpgError::TimedOut(_)), "{error}");
        assert!(began.elapsed() < Duration::from_secs(10));
    }
}
