//! `selkie publish`: files where the rules of `.sops.yaml` say.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use clap::Args;
use selkie_cloud::kv::Written;
use selkie_sops::{Destination, KeySpec};
use serde_json::json;

use crate::config_file::{ConfigFiles, absolute};
use crate::document::DocumentError;
use crate::environment::Environment;
use crate::explain;
use crate::failure::{Failure, Kind};
use crate::publishing::{self, Content, PublishError};
use crate::session::{Document, Session};
use crate::terminal;
use crate::trees::{Outcome, TreeFlags};
use crate::ui::{Report, Ui};

/// Upload encrypted files to where destination_rules of .sops.yaml say
///
/// To Vault or OpenBao (`vault_path`) go the decrypted values, as one secret of a key-value engine; a
/// secret that has them already is left alone. To a bucket of S3 or Google (`s3_bucket`, `gcs_bucket`)
/// goes the encrypted file: as it is, or, where the rule has a `recreation_rule`, encrypted anew by it
/// under a new data key. The first rule whose path_regex matches the path below the config's folder
/// counts.
///
/// A file is known by its name at the destination; --below keeps the folders in front of it. Vault
/// gets VAULT_TOKEN only if VAULT_ADDR or SOPS_HC_VAULT_ALLOWLIST names the server.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES, verbatim_doc_comment)]
pub(crate) struct Publish {
    #[command(flatten)]
    tree: TreeFlags,
    /// Say what would be uploaded, and upload nothing
    #[arg(long)]
    dry_run: bool,
    /// Upload without asking
    #[arg(short, long)]
    yes: bool,
    /// Leave the extension out of the names at the destination
    #[arg(long)]
    omit_extensions: bool,
    /// Name the files by their paths below this folder
    #[arg(long, value_name = "FOLDER")]
    below: Option<PathBuf>,
    /// Use this config file instead of the nearest .sops.yaml above each file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  A .sops.yaml that publishes what lies in vault/ to Vault and the rest to a bucket:
    destination_rules:
    - path_regex: ^vault/
      vault_path: apps
      omit_extensions: true
    - s3_bucket: team-secrets
      s3_prefix: prod/
      recreation_rule:
        kms: arn:aws:kms:eu-west-1:111122223333:key/0000
  Say where files would go:
    selkie publish --dry-run .
  One file, after a question on the terminal:
    selkie publish vault/db.yaml
  A folder, with its folders, in a pipeline:
    selkie publish --yes --below vault vault
";

/// What is the same for every file.
struct Run {
    session: Session,
    configs: Mutex<ConfigFiles>,
}

impl Publish {
    pub(crate) fn run(&self, ui: &Ui, environment: &Environment) -> ExitCode {
        if !self.yes && !self.dry_run && !terminal::is_there() {
            let failure = Failure::new(Kind::Conflict, "there is no terminal to ask on");
            let failure = failure.hint("give --yes to upload without asking");
            return ExitCode::from(ui.fail(None, &failure));
        }
        let session = match Session::new(environment, &environment.named_keys()) {
            Ok(session) => session,
            Err(failure) => return ExitCode::from(ui.fail(None, &failure)),
        };
        let given = self.config.clone().or_else(|| environment.config.clone());
        let run = Run {
            session,
            configs: Mutex::new(ConfigFiles::new(given)),
        };
        let code = self.tree.each(ui, false, |path, document, _| {
            self.one(path, document, &run)
        });
        run.session.clients.warn(ui);
        code
    }

    fn one(&self, path: &Path, document: &Document, run: &Run) -> Result<Outcome, Failure> {
        let whole = absolute(path);
        let config = {
            let mut configs = run.configs.lock().unwrap_or_else(PoisonError::into_inner);
            configs.for_file(&whole)?
        };
        let Some(config) = config else {
            return Err(
                Failure::new(Kind::Other, "there is no .sops.yaml above this file")
                    .hint("write one with destination_rules, or name it with --config"),
            );
        };
        let below_config = config.relative(&whole).to_string_lossy().into_owned();
        let Some(rule) = config.config.destination_for(&below_config) else {
            let message = format!(
                "no destination rule of {} matches this file",
                config.path.display()
            );
            return Err(Failure::new(Kind::Other, message).hint(format!(
                "add a rule whose path_regex matches {below_config}"
            )));
        };
        let on_line = |reason: &dyn std::fmt::Display| {
            let place = config.path.display();
            let message = format!("{place}: the rule on line {}: {reason}", rule.line);
            Failure::new(Kind::Other, message)
        };
        let Some(destination) = &rule.destination else {
            return Err(on_line(&"it names no destination")
                .hint("give it vault_path, s3_bucket or gcs_bucket"));
        };
        let below = self.below.as_deref().map(absolute);
        let name = publishing::published_name(
            &whole,
            below.as_deref(),
            self.omit_extensions || rule.omit_extensions,
        );
        let services = run.session.clients.services();
        let place = publishing::place(destination, &name, services);
        let report = |action| {
            Report::with_details(action, Some(place.clone()), json!({"destination": place}))
        };
        if self.dry_run {
            return Ok(Outcome::Done(report("would-publish")));
        }
        let groups = rule.recreation.as_ref();
        let groups = groups.map(|rule| rule.groups(&Default::default()));
        let groups = groups.filter(|groups| !groups.concat().is_empty());
        let content = match (destination, &rule.recreation, groups) {
            (Destination::Vault { .. }, ..) => {
                let options = run.session.keys.opening();
                let source = document.text().as_bytes();
                let values =
                    publishing::values(source, document.format, &run.session.keys, &options);
                Content::Values(values.map_err(|error| told(error, document, run))?)
            }
            (_, Some(recreation), Some(groups)) => {
                // What the config names is for wrapping alone: it gets no trust by that.
                let make = |spec: &KeySpec| run.session.make(spec);
                let masters = groups
                    .iter()
                    .map(|group| group.iter().map(make).collect::<Result<Vec<_>, _>>());
                let masters: Vec<_> = masters
                    .collect::<Result<_, _>>()
                    .map_err(|error| on_line(&error))?;
                let masters = masters.iter().map(|group| {
                    let keys = group.iter().map(AsRef::as_ref);
                    keys.collect()
                });
                let options = run.session.keys.opening();
                let source = document.text().as_bytes();
                let keys = &run.session.keys;
                let plain = publishing::opened(source, document.format, keys, &options)
                    .map_err(|error| told(error, document, run))?;
                let written = publishing::recreated(
                    plain.bytes.expose(),
                    document.format,
                    recreation,
                    masters.collect(),
                    config.asks_whole_mac(&whole),
                    run.session.now,
                );
                Content::File(written.map_err(|error| told(error, document, run))?)
            }
            _ => Content::File(document.input.bytes().to_vec()),
        };
        if !self.yes {
            let question = format!("Upload {} to {place}?", path.display());
            let prompt = run.session.clients.prompt();
            if prompt.confirm(&question, "upload", Some("skip")) != Some(true) {
                return Ok(Outcome::Unchanged(report("skipped")));
            }
        }
        let written = publishing::upload(destination, &name, &content, services)
            .map_err(|error| told(error, document, run))?;
        Ok(match written {
            Written::New => Outcome::Done(report("published")),
            Written::UpToDate => Outcome::Unchanged(report("up-to-date")),
        })
    }
}

fn told(error: PublishError, document: &Document, run: &Run) -> Failure {
    match error {
        PublishError::Document(DocumentError::Decrypt(error)) => {
            explain::decrypt(&error, &run.session.keys).of_format(document.format)
        }
        PublishError::Document(DocumentError::Encrypt(error)) => {
            explain::encrypt(&error).of_format(document.format)
        }
        other => Failure::new(Kind::Other, other),
    }
}
