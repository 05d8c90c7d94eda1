//! The age identities that may open a file, from every place that sops looks (sops-format.md 9.3).

use std::cell::RefCell;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use selkie_keys::age::{AgeIdentities, IdentitySource};
use selkie_secret::{SecretBytes, SecretString};
use selkie_sops::{DataKeySource, KeyEntry, KeyKind, UnwrapError};
use zeroize::Zeroizing;

use crate::environment::Environment;
use crate::shell_words;

/// The pooled identities, and the command that is asked when none of them fits.
pub(crate) struct Identities {
    pool: AgeIdentities,
    command: Option<String>,
    /// What the command gave for each recipient so far, so that it runs once per recipient.
    asked: RefCell<Vec<(String, AgeIdentities)>>,
}

impl Identities {
    /// Reads every place but the command, which runs only when it is needed.
    pub(crate) fn collect(environment: &Environment) -> Self {
        let mut sources = Vec::new();
        let mut add = |name: String, content| sources.push(IdentitySource { name, content });
        for name in &environment.unsupported_identities {
            add(
                (*name).to_owned(),
                Err("SSH keys are not supported yet".to_owned()),
            );
        }
        let key = environment.age_key.as_ref().map(SecretString::duplicate);
        add("SOPS_AGE_KEY".to_owned(), key.ok_or_else(not_set));
        match &environment.age_key_file {
            Some(path) => add(
                format!("SOPS_AGE_KEY_FILE ({})", path.display()),
                read(path),
            ),
            None => add("SOPS_AGE_KEY_FILE".to_owned(), Err(not_set())),
        }
        if let Some(path) = &environment.user_keys {
            add(path.display().to_string(), read(path));
        }
        Self {
            pool: AgeIdentities::from_sources(sources),
            command: environment.age_key_command.clone(),
            asked: RefCell::default(),
        }
    }

    /// Says, a line each, where identities were looked for and what was found.
    pub(crate) fn places(&self) -> String {
        let mut lines = Vec::new();
        let mut tell = |name: &str, pool: &AgeIdentities| {
            for report in pool.sources() {
                let found = match (report.identities, &report.problem) {
                    (0, Some(problem)) => problem.clone(),
                    (count, None) => count_identities(count),
                    (count, Some(problem)) => format!("{}; {problem}", count_identities(count)),
                };
                lines.push(format!("{name}{}: {found}", report.name));
            }
        };
        tell("", &self.pool);
        for (recipient, pool) in self.asked.borrow().iter() {
            tell(&format!("for {recipient}, "), pool);
        }
        if self.command.is_none() {
            lines.push(format!("SOPS_AGE_KEY_CMD: {}", not_set()));
        }
        lines.join("\n")
    }

    /// Asks the command for the identity of one recipient (sops 3.12 and later tell it which).
    fn ask(&self, command: &str, entry: &KeyEntry) -> Result<Zeroizing<Vec<u8>>, UnwrapError> {
        let recipient = entry.field("recipient").unwrap_or_default();
        let known = self
            .asked
            .borrow()
            .iter()
            .any(|(asked, _)| asked == recipient);
        if !known {
            let source = IdentitySource {
                name: "SOPS_AGE_KEY_CMD".to_owned(),
                content: output_of(command, recipient),
            };
            let given = AgeIdentities::from_sources(vec![source]);
            self.asked.borrow_mut().push((recipient.to_owned(), given));
        }
        let asked = self.asked.borrow();
        let given = asked.iter().find(|(asked, _)| asked == recipient);
        given.map_or(Err(UnwrapError::NotMine), |(_, pool)| {
            pool.unwrap_key(entry)
        })
    }
}

impl DataKeySource for Identities {
    fn fits(&self, entry: &KeyEntry) -> bool {
        self.pool.fits(entry)
    }

    fn unwrap_key(&self, entry: &KeyEntry) -> Result<Zeroizing<Vec<u8>>, UnwrapError> {
        let own = self.pool.unwrap_key(entry);
        match (&own, &self.command) {
            (Err(UnwrapError::NotMine), Some(command)) if entry.kind == KeyKind::Age => {
                self.ask(command, entry)
            }
            _ => own,
        }
    }
}

fn read(path: &Path) -> Result<SecretString, String> {
    let bytes = SecretBytes::new(fs::read(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => "no such file".to_owned(),
        _ => error.to_string(),
    })?);
    bytes
        .into_string()
        .map_err(|_| "not a text file".to_owned())
}

/// Runs the command without a shell and returns what it prints; it inherits standard error.
fn output_of(command: &str, recipient: &str) -> Result<SecretString, String> {
    let words = shell_words::split(command).unwrap_or_default();
    let (program, arguments) = words
        .split_first()
        .ok_or("the command is empty or has an open quote")?;
    let output = Command::new(program)
        .args(arguments)
        .env("SOPS_AGE_RECIPIENT", recipient)
        .stdin(Stdio::inherit())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("`{program}` cannot be run: {error}"))?;
    let content = SecretBytes::new(output.stdout);
    if !output.status.success() {
        return Err(format!("`{program}` failed ({})", output.status));
    }
    content
        .into_string()
        .map_err(|_| format!("`{program}` printed something that is not text"))
}

fn count_identities(count: usize) -> String {
    match count {
        1 => "1 identity, which does not fit".to_owned(),
        _ => format!("{count} identities, none of which fits"),
    }
}

fn not_set() -> String {
    "not set".to_owned()
}
