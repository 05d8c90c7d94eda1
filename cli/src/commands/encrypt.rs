//! `selkie encrypt`: SOPS files, in place.

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use clap::Args;
use jiff::Timestamp;
use selkie_keys::master_key;
use selkie_secret::SecretBytes;
use selkie_sops::{
    AddClearOptions, AlreadyEncrypted, Edited, EncryptPlan, Encrypted, Encryption, Format, KeySpec,
    MasterKey, OpenFile, Selection, add_clear,
};

use crate::batch::{Batch, Destination, Request, format_of};
use crate::environment::Environment;
use crate::explain;
use crate::failure::{Failure, Kind};
use crate::file::{self, Input, Secrecy, Source};
use crate::key_changes;
use crate::keys::{Clients, Keys};
use crate::plan::{KeyFlags, Plan, Planner};
use crate::ui::{Report, Ui};
use crate::walk;

/// Encrypt values of files in place, as SOPS files: YAML, JSON, dotenv, INI, or any file as a whole
///
/// Only the values that the rule selects change, and a `sops` block is added: comments, quotes,
/// indentation and key order stay. Who can decrypt, and what is encrypted, comes from the flags,
/// then from SOPS_AGE_RECIPIENTS and SOPS_PGP_FP, then from the nearest .sops.yaml above the file.
/// A file of Kubernetes Secrets with no other rule gets `encrypted_regex: ^(data|stringData)$`; any
/// other file is encrypted but for values under keys that end in `_unencrypted`. The name tells the
/// format: .yaml, .yml, .json, .env, .ini; any other file is encrypted as a whole, into JSON.
///
/// Of a folder, the files that the path_regex of a rule names are encrypted.
///
/// A file that is encrypted already is left alone. When somebody has added a value to it in clear,
/// that is an error, and --add-clear encrypts it.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES, verbatim_doc_comment)]
pub(crate) struct Encrypt {
    /// Files, folders and patterns to encrypt; - or none reads standard input
    #[arg(value_name = "PATH")]
    files: Vec<PathBuf>,
    /// Print the result instead of changing the file
    #[arg(long, conflicts_with = "output")]
    stdout: bool,
    /// Write the result to this file
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The name that standard input is known by, for the rules of .sops.yaml
    #[arg(long, value_name = "NAME")]
    filename: Option<PathBuf>,
    /// The format of the input, instead of the one that its name tells: yaml, json, dotenv, ini, binary
    #[arg(long, value_name = "FORMAT")]
    input_type: Option<Format>,
    /// Write the result in another format; with --stdout or -o
    #[arg(long, value_name = "FORMAT")]
    output_type: Option<Format>,
    /// Say what would be encrypted, and change nothing
    #[arg(long, conflicts_with_all = ["stdout", "output"])]
    dry_run: bool,
    /// Encrypt values that were added in clear to an encrypted file; needs its private key
    #[arg(long)]
    add_clear: bool,
    /// With --add-clear: accept other changes to the file as well
    #[arg(long, requires = "add_clear")]
    ignore_mac: bool,
    #[command(flatten)]
    keys: KeyFlags,
}

/// The files that paths stand for.
#[derive(Default)]
struct Expanded {
    files: Vec<PathBuf>,
    /// Paths that stand for none.
    failures: Vec<(PathBuf, Failure)>,
}

const EXAMPLES: &str = "\
Examples:
  Encrypt a Secret manifest for one age recipient:
    selkie encrypt --age age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p secret.yaml
  Encrypt what .sops.yaml says, several files at once:
    selkie encrypt clusters/*/secrets.yaml
  Encrypt standard input to standard output:
    kubectl create secret generic db --from-file=pw --dry-run=client -o yaml |
      selkie encrypt --filename db.yaml
  Encrypt a value that was added by hand to an encrypted file:
    selkie encrypt --add-clear secret.yaml
";

impl Encrypt {
    pub(crate) fn run(&self, ui: &Ui, environment: &Environment) -> ExitCode {
        let prepared = Planner::new(&self.keys, environment).and_then(|mut planner| {
            let expanded = self.expanded(&mut planner);
            let batch = self.batch(ui, &expanded)?;
            let given = planner.given_keys()?.unwrap_or_default();
            let clients = Clients::new(environment, &given)?;
            Ok((expanded, batch, Mutex::new(planner), clients))
        });
        let (expanded, batch, planner, clients) = match prepared {
            Ok(prepared) => prepared,
            Err(failure) => return ExitCode::from(ui.fail(None, &failure)),
        };
        let hands = Hands {
            ui,
            environment,
            clients,
            keys: OnceLock::new(),
        };
        let code = batch.run_together(ui, &expanded.failures, |source, destination| {
            self.one(&hands, &planner, source, destination)
        });
        hands.clients.warn(ui);
        code
    }

    fn batch(&self, ui: &Ui, expanded: &Expanded) -> Result<Batch, Failure> {
        if expanded.files.is_empty() && !expanded.failures.is_empty() {
            // Not standard input, which no file at all stands for.
            return Ok(Batch {
                sources: Vec::new(),
                destination: Destination::InPlace,
            });
        }
        let batch = Batch::resolve(
            &Request {
                files: &expanded.files,
                filename: self.filename.as_deref(),
                stdout: self.stdout,
                in_place: false,
                output: self.output.as_deref(),
                joined: false,
            },
            ui,
        )?;
        if batch.sources.contains(&Source::Stdin(None)) {
            return Err(Failure::new(
                Kind::Conflict,
                "standard input has no name to choose a rule by",
            )
            .hint("give --filename NAME, for example --filename secret.yaml"));
        }
        Ok(batch)
    }

    /// Puts files in the place of folders and patterns.
    fn expanded(&self, planner: &mut Planner<'_>) -> Expanded {
        let mut expanded = Expanded::default();
        let Expanded { files, failures } = &mut expanded;
        for path in &self.files {
            if path.is_file() || path.as_os_str() == "-" {
                files.push(path.clone());
                continue;
            }
            let found = walk::find(std::slice::from_ref(path));
            let before = (files.len(), failures.len());
            failures.extend(found.failures);
            let is_config = |path: &PathBuf| path.file_name().is_some_and(|n| n == ".sops.yaml");
            for file in found.files {
                let wanted = match file.named {
                    true => Ok(true),
                    false if is_config(&file.path) => Ok(false),
                    false => planner.is_named_by_rule(&file.path),
                };
                match wanted {
                    Ok(true) => files.push(file.path),
                    Ok(false) => {}
                    // Once for a config, not for each file below it.
                    Err(failure) if failures.iter().any(|(_, told)| *told == failure) => {}
                    Err(failure) => failures.push((file.path, failure)),
                }
            }
            if (files.len(), failures.len()) == before {
                let message = "no rule of a .sops.yaml names a file in it by its path_regex";
                let failure = Failure::new(Kind::NoFile, message)
                    .hint("name the files themselves, or write a rule with a path_regex");
                failures.push((path.clone(), failure));
            }
        }
        // One that is named, and stands in a folder that is named, is not written twice at once.
        let mut met = HashSet::new();
        let is_first = |path: &PathBuf| {
            let is_stdin = path.as_os_str() == "-";
            is_stdin || met.insert(fs::canonicalize(path).unwrap_or_else(|_| path.clone()))
        };
        files.retain(is_first);
        expanded
    }

    fn one(
        &self,
        hands: &Hands<'_>,
        planner: &Mutex<Planner<'_>>,
        source: &Source,
        destination: &Destination,
    ) -> Result<Report, Failure> {
        let from = format_of(source, self.input_type);
        let to = self.output_type.unwrap_or(from);
        if to != from && *destination == Destination::InPlace {
            let message = format!("a file of {from} cannot be changed in place into {to}");
            return Err(Failure::new(Kind::Conflict, message).hint("use --stdout or -o FILE"));
        }
        let input = file::read(source)?;
        destination.check(&input)?;
        let clear = Clear::of(&input, from, to)?;
        let text = match clear.format {
            Format::Binary => "",
            _ => std::str::from_utf8(clear.bytes()).unwrap_or_default(),
        };
        let path = source.path().unwrap_or(source.name().as_ref()).to_owned();
        let mut planner = planner.lock().unwrap_or_else(PoisonError::into_inner);
        let planned = planner.plan(&path, text, clear.format);
        drop(planner);
        let (ui, clients) = (hands.ui, &hands.clients);
        let mut readers = None;
        let (encryption, warnings) = match planned {
            Ok(mut plan) => {
                let (groups, threshold) = (plan.groups.clone(), plan.threshold);
                if self.dry_run {
                    readers = Some(plan.readers());
                    plan = plan.for_nobody();
                }
                let encryption = plan.encrypt(&clear, clients)?;
                let is_new = matches!(encryption, Ok(Encryption::Encrypted(_)));
                let unreadable = is_new && hands.keys().surely_miss(&groups, threshold);
                let mut warnings = plan.warnings;
                warnings.extend(unreadable.then(|| NOT_MINE.to_owned()));
                (encryption, warnings)
            }
            // A file that is encrypted already needs no plan: only if it is not, the plan's
            // failure counts.
            Err(failure) => match Plan::none().encrypt(&clear, clients) {
                Ok(Ok(found @ Encryption::AlreadyEncrypted(_))) => (Ok(found), Vec::new()),
                _ => return Err(failure),
            },
        };
        match encryption.map_err(|error| explain::encrypt(&error))? {
            Encryption::Encrypted(encrypted) if self.dry_run => {
                let mut report = report("would-encrypt", &encrypted, warnings, &input);
                report.note = readers;
                Ok(report)
            }
            Encryption::Encrypted(encrypted) => {
                let written = encrypted.text.as_bytes();
                destination.write(ui, &input, written, true, Secrecy::Sealed)?;
                Ok(report("encrypted", &encrypted, warnings, &input))
            }
            Encryption::AlreadyEncrypted(found)
                if found.clear.is_empty() && self.keys.whole_mac =>
            {
                self.add_whole_mac(ui, hands.keys(), &input, from, destination)
            }
            Encryption::AlreadyEncrypted(found) if found.clear.is_empty() => {
                destination.write(ui, &input, input.bytes(), false, Secrecy::Sealed)?;
                Ok(Report {
                    action: "already-encrypted",
                    counts: vec![("recipient", found.keys.len())],
                    warnings: Vec::new(),
                    note: Some("left as it is".to_owned()),
                    details: None,
                })
            }
            Encryption::AlreadyEncrypted(found) => {
                self.add(hands, &input, &found, source, destination)
            }
        }
    }

    /// Gives a file that is encrypted already a whole-file MAC.
    fn add_whole_mac(
        &self,
        ui: &Ui,
        keys: &Keys,
        input: &Input,
        format: Format,
        destination: &Destination,
    ) -> Result<Report, Failure> {
        let file = OpenFile::open(input.text()?, format, keys, &keys.opening())
            .map_err(|error| explain::decrypt(&error, keys))?;
        let text = match file.with_whole_mac() {
            Ok(Edited::Changed(text)) => Some(text),
            Ok(Edited::Unchanged) => None,
            Err(error) => return Err(explain::encrypt(&error)),
        };
        let bytes = text.as_ref().map_or(input.bytes(), |text| text.as_bytes());
        destination.write(ui, input, bytes, text.is_some(), Secrecy::Sealed)?;
        Ok(Report {
            action: match text {
                Some(_) => "whole-mac-added",
                None => "already-encrypted",
            },
            counts: Vec::new(),
            warnings: input.hard_link_warning().into_iter().collect(),
            note: None,
            details: None,
        })
    }

    fn add(
        &self,
        hands: &Hands<'_>,
        input: &Input,
        found: &AlreadyEncrypted,
        source: &Source,
        destination: &Destination,
    ) -> Result<Report, Failure> {
        if !self.add_clear {
            return Err(explain::forgotten(found, &source.name()));
        }
        let keys = hands.keys();
        let options = AddClearOptions {
            now: Timestamp::now(),
            ignore_mac: self.ignore_mac,
            require_whole_mac: keys.opening().require_whole_mac,
        };
        let encrypted = add_clear(
            input.text()?,
            format_of(source, self.input_type),
            keys,
            &options,
        )
        .map_err(|error| explain::add_clear(&error, keys))?;
        if self.dry_run {
            return Ok(report("would-add", &encrypted, Vec::new(), input));
        }
        destination.write(
            hands.ui,
            input,
            encrypted.text.as_bytes(),
            true,
            Secrecy::Sealed,
        )?;
        Ok(report("added", &encrypted, Vec::new(), input))
    }
}

/// What the files of a run share.
struct Hands<'a> {
    ui: &'a Ui,
    environment: &'a Environment,
    clients: Arc<Clients>,
    keys: OnceLock<Keys>,
}

impl Hands<'_> {
    /// Returns what opens files, read when it is first asked for.
    fn keys(&self) -> &Keys {
        let collect = || Keys::collect(self.environment, &self.clients);
        self.keys.get_or_init(collect)
    }
}

/// Said of a file that its author cannot read.
const NOT_MINE: &str = "none of your age identities opens the file, so you cannot decrypt or change it; if \
                        you meant to, add your own recipient";

impl Plan {
    /// Says who could read the file.
    fn readers(&self) -> String {
        let keys = self.groups.iter().flatten();
        let names: Vec<String> = keys.map(key_changes::name).collect();
        format!("for {}", names.join(", "))
    }

    /// The same without its keys: what comes of it is thrown away, so no key service is asked.
    fn for_nobody(self) -> Self {
        let recipient = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";
        Self {
            groups: vec![vec![KeySpec::Age {
                recipient: recipient.to_owned(),
            }]],
            threshold: None,
            ..self
        }
    }

    /// The plan of nobody, with which only a file that is encrypted already gets anywhere.
    fn none() -> Self {
        Self {
            groups: Vec::new(),
            threshold: None,
            selection: Selection::default(),
            mac_only_encrypted: false,
            whole_mac: false,
            warnings: Vec::new(),
        }
    }

    fn encrypt(
        &self,
        clear: &Clear<'_>,
        clients: &Clients,
    ) -> Result<Result<Encryption, selkie_sops::EncryptError>, Failure> {
        self.encrypt_bytes(clear.bytes(), clear.format, clients)
    }

    /// Encrypts what becomes a new file; it may have no metadata of its own.
    pub(crate) fn encrypt_new(
        &self,
        bytes: &[u8],
        format: Format,
        clients: &Clients,
    ) -> Result<String, Failure> {
        let encryption = self.encrypt_bytes(bytes, format, clients)?;
        match encryption.map_err(|error| explain::encrypt(&error))? {
            Encryption::Encrypted(encrypted) => Ok(encrypted.text),
            Encryption::AlreadyEncrypted(_) => Err(Failure::new(
                Kind::AlreadyEncrypted,
                "the top-level key `sops` is reserved for metadata",
            )),
        }
    }

    /// Encrypts a clear file under a new data key.
    pub(crate) fn encrypt_bytes(
        &self,
        bytes: &[u8],
        format: Format,
        clients: &Clients,
    ) -> Result<Result<Encryption, selkie_sops::EncryptError>, Failure> {
        let now = Timestamp::now();
        let context = clients.context(now);
        let of_group = |group: &Vec<KeySpec>| {
            let keys = group.iter().map(|spec| master_key(spec, &context));
            keys.collect::<Result<Vec<_>, _>>()
        };
        let groups: Vec<Vec<_>> = self
            .groups
            .iter()
            .map(of_group)
            .collect::<Result<_, _>>()
            .map_err(|error| Failure::new(Kind::Other, error))?;
        let groups = groups.iter().map(|group| {
            let keys = group.iter().map(|key| key.as_ref() as &dyn MasterKey);
            keys.collect()
        });
        let plan = EncryptPlan {
            groups: groups.collect(),
            threshold: self.threshold,
            selection: self.selection.clone(),
            mac_only_encrypted: self.mac_only_encrypted,
            whole_mac: self.whole_mac,
            now,
        };
        Ok(match format {
            Format::Binary => selkie_sops::encrypt_binary(bytes, &plan),
            format => {
                let text = std::str::from_utf8(bytes);
                let text = text.map_err(|error| Failure::new(Kind::Input, error))?;
                selkie_sops::encrypt(text, format, &plan)
            }
        })
    }
}

/// What is to be encrypted, in the format that is written.
struct Clear<'i> {
    input: &'i Input,
    converted: Option<SecretBytes>,
    format: Format,
}

impl<'i> Clear<'i> {
    /// Converts the input; one that is encrypted already stays as it is.
    fn of(input: &'i Input, from: Format, to: Format) -> Result<Self, Failure> {
        let encrypted = || {
            let text = input.text();
            text.is_ok_and(|text| selkie_sops::is_encrypted(text, from))
        };
        if from != Format::Binary {
            input.text()?;
        }
        let (converted, format) = match to != from && !encrypted() {
            true => {
                let done = selkie_sops::convert(input.bytes(), from, to, None);
                (Some(done.map_err(|error| explain::convert(&error))?), to)
            }
            false => (None, from),
        };
        Ok(Self {
            input,
            converted,
            format,
        })
    }

    fn bytes(&self) -> &[u8] {
        let converted = self.converted.as_ref();
        converted.map_or(self.input.bytes(), SecretBytes::expose)
    }
}

fn report(
    action: &'static str,
    done: &Encrypted,
    mut warnings: Vec<String>,
    input: &Input,
) -> Report {
    warnings.extend(match action.starts_with("would-") {
        true => input.hard_link_notice(),
        false => input.hard_link_warning(),
    });
    Report {
        action,
        counts: vec![("value", done.values), ("comment", done.comments)],
        warnings,
        note: None,
        details: None,
    }
}
