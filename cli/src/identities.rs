//! The age identities that may open a file, from every place that sops looks (sops-format.md 9.3).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use selkie_keys::age::{AgeIdentities, Effort, IdentitySource, SourceForm};
use selkie_keys::prompt::Prompt;
use selkie_secret::{SecretBytes, SecretString};
use selkie_sops::{DataKeySource, KeyEntry, KeyKind, UnwrapError};
use zeroize::Zeroizing;

use crate::environment::Environment;

/// The pooled identities. What costs time or a question is tried only when the rest does not fit:
/// first keys at hand, then commands, then plugins and passphrases.
pub(crate) struct Identities {
    keys: AgeIdentities,
    /// Read when a file is for an SSH key, or nothing else fits.
    ssh: OnceLock<AgeIdentities>,
    ssh_places: Vec<(String, PathBuf)>,
    commands: Vec<KeyCommand>,
    prompt: Arc<dyn Prompt>,
    /// Whether the recipient that an entry names decides which identity opens it.
    named_only: bool,
}

/// A command that prints an identity.
struct KeyCommand {
    variable: &'static str,
    command: String,
    form: SourceForm,
    /// What it gave for each recipient so far, so that it runs once per recipient.
    asked: Mutex<Vec<(String, Arc<AgeIdentities>)>>,
}

impl Identities {
    /// Reads every place but SSH keys and commands, which are looked at only when they are needed.
    ///
    /// `named_only`: only the identity of the recipient that an entry names may open it, for entries of
    /// those who were granted that one key.
    pub(crate) fn collect(
        environment: &Environment,
        prompt: &Arc<dyn Prompt>,
        named_only: bool,
    ) -> Self {
        let mut keys = pool(prompt, named_only);
        let mut add = |name: String, content| {
            keys.add(IdentitySource {
                name,
                content,
                form: SourceForm::Identities,
            });
        };
        let key = environment.age_key.as_ref().map(SecretString::duplicate);
        let key = key.map(SecretString::into_bytes);
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
            keys,
            ssh: OnceLock::new(),
            ssh_places: ssh_places(environment),
            commands: commands(environment),
            prompt: Arc::clone(prompt),
            named_only,
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
        tell("", &self.keys);
        tell("", self.ssh());
        for command in &self.commands {
            let asked = command.asked.lock().unwrap_or_else(PoisonError::into_inner);
            for (recipient, pool) in asked.iter() {
                tell(&format!("for {}, ", shortened(recipient)), pool);
            }
        }
        if !self.commands.iter().any(|c| c.variable == KEY_COMMAND) {
            lines.push(format!("{KEY_COMMAND}: {}", not_set()));
        }
        lines.join("\n")
    }

    /// Returns whether there are age identities and what they open is known.
    pub(crate) fn are_known(&self) -> bool {
        self.keys.are_known() && self.commands.is_empty()
    }

    fn ssh(&self) -> &AgeIdentities {
        self.ssh.get_or_init(|| {
            let mut pool = pool(&self.prompt, self.named_only);
            for (name, path) in &self.ssh_places {
                pool.add(IdentitySource {
                    name: name.clone(),
                    content: read(path),
                    form: SourceForm::SshKey,
                });
            }
            pool
        })
    }
}

impl KeyCommand {
    /// Asks the command for the identity of one recipient (sops 3.12 and later tell it which).
    fn ask(
        &self,
        recipient: &str,
        prompt: &Arc<dyn Prompt>,
        named_only: bool,
    ) -> Arc<AgeIdentities> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, known)) = asked.iter().find(|(known, _)| known == recipient) {
            return Arc::clone(known);
        }
        let mut given = pool(prompt, named_only);
        given.add(IdentitySource {
            name: self.variable.to_owned(),
            content: output_of(&self.command, ("SOPS_AGE_RECIPIENT", recipient)),
            form: self.form,
        });
        let given = Arc::new(given);
        // A key service is asked for whatever its clients name.
        if asked.len() >= MOST_REMEMBERED {
            asked.remove(0);
        }
        asked.push((recipient.to_owned(), Arc::clone(&given)));
        given
    }
}

impl DataKeySource for Identities {
    fn fits(&self, entry: &KeyEntry) -> bool {
        if entry.kind != KeyKind::Age {
            return false;
        }
        let for_ssh = entry
            .field("recipient")
            .is_some_and(|recipient| recipient.starts_with("ssh-"));
        self.keys.fits(entry)
            || (for_ssh && self.ssh().fits(entry))
            // A command is asked for this very recipient, so it will have the key.
            || !self.commands.is_empty()
    }

    fn unwrap_key(&self, entry: &KeyEntry) -> Result<Zeroizing<Vec<u8>>, UnwrapError> {
        let recipient = entry.field("recipient").unwrap_or_default();
        let mut result = self.keys.unwrap_with(entry, Effort::Silent);
        let next = |result: &mut Result<_, UnwrapError>, next: &dyn Fn() -> Result<_, _>| {
            if matches!(result, Err(UnwrapError::NotMine)) {
                *result = next();
            }
        };
        next(&mut result, &|| {
            self.ssh().unwrap_with(entry, Effort::Silent)
        });
        for command in &self.commands {
            next(&mut result, &|| {
                let given = command.ask(recipient, &self.prompt, self.named_only);
                given.unwrap_key(entry)
            });
        }
        next(&mut result, &|| {
            self.keys.unwrap_with(entry, Effort::Asking)
        });
        next(&mut result, &|| {
            self.ssh().unwrap_with(entry, Effort::Asking)
        });
        result
    }
}

fn pool(prompt: &Arc<dyn Prompt>, named_only: bool) -> AgeIdentities {
    let pool = AgeIdentities::new(Arc::clone(prompt));
    match named_only {
        true => pool.named_only(),
        false => pool,
    }
}

/// So many recipients' identities a command is not asked for again.
const MOST_REMEMBERED: usize = 64;

/// The SSH keys, by what the user calls them: the one that is named, and the usual ones if they
/// exist (sops-format.md 9.3, sources 1 and 3).
fn ssh_places(environment: &Environment) -> Vec<(String, PathBuf)> {
    let mut places = Vec::new();
    if let Some(path) = &environment.ssh_key_file {
        let name = format!("SOPS_AGE_SSH_PRIVATE_KEY_FILE ({})", path.display());
        places.push((name, path.clone()));
    }
    let folder = environment.ssh_folder.as_deref();
    let usual = ["id_ed25519", "id_rsa"].into_iter();
    for path in usual.filter_map(|name| Some(folder?.join(name))) {
        if path.exists() && !places.iter().any(|(_, known)| *known == path) {
            places.push((path.display().to_string(), path));
        }
    }
    places
}

fn commands(environment: &Environment) -> Vec<KeyCommand> {
    let known = [
        (
            "SOPS_AGE_SSH_PRIVATE_KEY_CMD",
            &environment.ssh_key_command,
            SourceForm::SshKeyOfCommand,
        ),
        (
            KEY_COMMAND,
            &environment.age_key_command,
            SourceForm::Identities,
        ),
    ];
    let set = known.into_iter().filter_map(|(variable, command, form)| {
        Some(KeyCommand {
            variable,
            command: command.clone()?,
            form,
            asked: Mutex::default(),
        })
    });
    set.collect()
}

const KEY_COMMAND: &str = "SOPS_AGE_KEY_CMD";

fn read(path: &Path) -> Result<SecretBytes, String> {
    let bytes = fs::read(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => "no such file".to_owned(),
        _ => error.to_string(),
    })?;
    Ok(SecretBytes::new(bytes))
}

/// Runs a command without a shell and returns what it prints; it inherits standard error, and is
/// told by a variable what for.
pub(crate) fn output_of(command: &str, (name, value): (&str, &str)) -> Result<SecretBytes, String> {
    let words = shlex::split(command).unwrap_or_default();
    let (program, arguments) = words
        .split_first()
        .ok_or("the command is empty or has an open quote")?;
    let output = Command::new(program)
        .args(arguments)
        .env(name, value)
        .stdin(Stdio::inherit())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("`{program}` cannot be run: {error}"))?;
    let content = SecretBytes::new(output.stdout);
    if !output.status.success() {
        return Err(format!("`{program}` failed ({})", output.status));
    }
    Ok(content)
}

fn count_identities(count: usize) -> String {
    match count {
        1 => "1 identity, which does not fit".to_owned(),
        _ => format!("{count} identities, none of which fits"),
    }
}

/// A post-quantum recipient has 1,959 characters.
fn shortened(recipient: &str) -> String {
    match recipient.char_indices().nth(80) {
        Some((end, _)) => format!("{}...", &recipient[..end]),
        None => recipient.to_owned(),
    }
}

fn not_set() -> String {
    "not set".to_owned()
}
