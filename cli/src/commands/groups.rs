//! `selkie groups`: key groups of a file, several of which are needed to open it.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use selkie_keys::age::parse_recipients;
use selkie_sops::{DataKeyChange, Format, KeyKind, KeySpec, RekeyError, Rekeyed};

use crate::commands::rotate::kind_and_key;
use crate::environment::Environment;
use crate::explain;
use crate::failure::{Failure, Kind};
use crate::key_changes;
use crate::session::{Document, Session};
use crate::ui::{Report, Ui};

/// Add a key group to a file, or take one out
///
/// With several groups the data key is split: so many of them as the threshold says are needed to open
/// the file, one key of each.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES, verbatim_doc_comment)]
pub(crate) struct Groups {
    #[command(subcommand)]
    change: Change,
}

#[derive(Debug, Subcommand)]
enum Change {
    Add(Add),
    Delete(Delete),
}

/// Add a key group
///
/// Whoever opened the file without the new group, and no longer does, may have kept the data key: it is a
/// new one then.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
struct Add {
    #[command(flatten)]
    file: FileFlags,
    /// age recipients of the group, separated by commas; may be repeated
    #[arg(long, value_name = "RECIPIENTS")]
    age: Vec<String>,
    /// Other keys of the group: pgp:FP, kms:ARN, gcp_kms:ID, azure_kv:URL, hc_vault:URI
    #[arg(long, value_name = "KIND:KEY", value_parser = kind_and_key)]
    key: Vec<KeySpec>,
}

/// Take a key group out; the file gets a new data key
#[derive(Debug, Args)]
struct Delete {
    #[command(flatten)]
    file: FileFlags,
    /// Which group, counted from 0
    #[arg(value_name = "NUMBER")]
    index: usize,
}

#[derive(Debug, Args)]
struct FileFlags {
    /// The encrypted file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// How many groups are needed to open the file; by default all if there was one group, else as
    /// before; one group has no threshold
    #[arg(
        long,
        value_name = "NUMBER",
        alias = "shamir-secret-sharing-threshold",
        value_parser = threshold
    )]
    threshold: Option<usize>,
    /// Keep the data key even where somebody loses access, as sops does
    #[arg(long)]
    keep_data_key: bool,
    /// Read the file as this format: yaml, json, dotenv, ini, binary; by its name if not given
    #[arg(long, value_name = "FORMAT")]
    input_type: Option<Format>,
    /// Change the file even when its MAC does not match
    #[arg(long)]
    ignore_mac: bool,
}

const EXAMPLES: &str = "\
Examples:
  Need a second key besides the first:
    selkie groups add secret.yaml --age age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p
  Let two of three groups be enough:
    selkie groups add secret.yaml --age age1... --threshold 2
  Take the second group out:
    selkie groups delete secret.yaml 1
";

impl Groups {
    pub(crate) fn run(&self, ui: &Ui, environment: &Environment) -> ExitCode {
        let (flags, result) = match &self.change {
            Change::Add(add) => (&add.file, add.run(environment)),
            Change::Delete(delete) => (&delete.file, delete.run(environment)),
        };
        let name = flags.file.display().to_string();
        match result {
            Ok(report) => {
                ui.report(&name, &report);
                ExitCode::SUCCESS
            }
            Err(failure) => ExitCode::from(ui.fail(Some(&name), &failure)),
        }
    }
}

impl Add {
    fn run(&self, environment: &Environment) -> Result<Report, Failure> {
        let failed =
            |error: &dyn std::fmt::Display| Failure::new(Kind::Other, format!("--age: {error}"));
        let list = self.age.join(",");
        parse_recipients(&list).map_err(|error| failed(&error))?;
        let mut group = KeySpec::parse_list(KeyKind::Age, &list).map_err(|error| failed(&error))?;
        group.extend(self.key.iter().cloned());
        if group.is_empty() {
            return Err(Failure::new(Kind::Other, "the group would have no key")
                .hint("give --age age1... or --key KIND:KEY"));
        }
        let mut named = environment.named_keys();
        named.extend(group.iter().cloned());
        let session = Session::new(environment, &named)?;
        self.file.change(&session, |open, session| {
            let make = |spec: &KeySpec| session.make(spec);
            let change = self.file.data_key();
            open.with_group(&group, self.file.threshold, change, &make, session.now)
        })
    }
}

impl Delete {
    fn run(&self, environment: &Environment) -> Result<Report, Failure> {
        let session = Session::new(environment, &environment.named_keys())?;
        let change = self.file.data_key();
        self.file.change(&session, |open, session| {
            let make = |spec: &KeySpec| session.make(spec);
            // One group has no threshold.
            let one_left = open.keys().groups.len() == 2;
            let threshold = self.file.threshold.or(one_left.then_some(1));
            open.without_group(self.index, threshold, change, &make, session.now)
        })
    }
}

impl FileFlags {
    fn data_key(&self) -> DataKeyChange {
        match self.keep_data_key {
            true => DataKeyChange::Keep,
            false => DataKeyChange::RenewIfNarrowed,
        }
    }

    fn change(
        &self,
        session: &Session,
        change: impl FnOnce(&selkie_sops::OpenFile<'_>, &Session) -> Result<Rekeyed, RekeyError>,
    ) -> Result<Report, Failure> {
        let document = Document::read(&self.file, self.input_type)?;
        document.check_encrypted()?;
        document.check_replaceable()?;
        let open = document.open(session, self.ignore_mac)?;
        let rekeyed = change(&open, session).map_err(|error| explain::rekey(&error))?;
        document.replace(&rekeyed.text)?;
        let changes = &rekeyed.changes;
        let lines = key_changes::lines(changes);
        let mut report = Report::new("updated", Vec::new());
        key_changes::tell(&mut report, &document, changes, lines, rekeyed.renewed);
        report.warnings.extend(document.hard_link_warning());
        Ok(report)
    }
}

/// Reads a number of groups. To sops 0 is none, as if the flag was not there.
fn threshold(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("no group would be needed; leave the flag out for the default".to_owned()),
        Ok(threshold) => Ok(threshold),
        Err(_) => Err("give a number of groups".to_owned()),
    }
}
