//! `selkie rekey`: a repository brought to what its rules say.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use clap::Args;
use jiff::{Span, Timestamp};
use selkie_sops::{DataKeyChange, Encryption, FileStatus, KeySpec};
use serde_json::{Value, json};

use crate::environment::Environment;
use crate::explain;
use crate::failure::{Failure, Kind};
use crate::key_changes;
use crate::plan::{KeyFlags, Plan, Planner, Ruled};
use crate::session::{Document, Session};
use crate::trees::{Outcome, TreeFlags};
use crate::ui::{Report, Ui};

/// Bring every encrypted file to what the rules of .sops.yaml say now
///
/// Recipients, key groups, threshold and selection become those of the rule. A file gets a new data key
/// where somebody loses access, where its selection changes, and where the one it has is older than
/// --older-than: by the times at which keys wrapped it, and where they have none (age) by the last
/// change of a value. The report says which values somebody who lost access could have read.
///
/// A file is done when it is as its rule says, so a run that was stopped is finished by the next one.
/// Every file is at any moment either the old or the new one. Meant for a scheduled pipeline; exit code
/// 0 says that every file is as it should be.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES, verbatim_doc_comment)]
pub(crate) struct Rekey {
    #[command(flatten)]
    tree: TreeFlags,
    /// Say what would change, and change nothing
    #[arg(long, visible_alias = "dry-run")]
    plan: bool,
    /// New data keys where they are older, as far as the file tells: 90d, 12w, 6mo, 1y
    #[arg(long, value_name = "AGE", value_parser = age)]
    older_than: Option<Span>,
    /// Use this config file instead of the nearest .sops.yaml above each file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  See what has to be done:
    selkie rekey --plan .
  Do it; a second run finishes what a stopped one left:
    selkie rekey .
  New data keys every quarter, from a pipeline:
    selkie rekey --older-than 90d --json .
";

/// What has to be done with a file.
struct Work {
    /// In words, for the report.
    reasons: Vec<String>,
    removed: Vec<KeySpec>,
    /// The selection is another one, so that the file is encrypted afresh.
    reselect: bool,
    renew: bool,
}

impl Rekey {
    pub(crate) fn run(&self, ui: &Ui, environment: &Environment) -> ExitCode {
        let flags = KeyFlags {
            config: self.config.clone(),
            ..KeyFlags::default()
        };
        let prepared = Planner::new(&flags, environment).and_then(|planner| {
            let session = Session::new(environment, &environment.named_keys())?;
            let limit = self.limit(session.now)?;
            Ok((Mutex::new(planner), session, limit))
        });
        let (planner, session, limit) = match prepared {
            Ok(prepared) => prepared,
            Err(failure) => return ExitCode::from(ui.fail(None, &failure)),
        };
        let code = self.tree.each(ui, !self.plan, |path, document, status| {
            self.one((path, document, status), &planner, &session, limit)
        });
        session.clients.warn(ui);
        code
    }

    fn limit(&self, now: Timestamp) -> Result<Option<Timestamp>, Failure> {
        let Some(age) = self.older_than else {
            return Ok(None);
        };
        let limit = now.to_zoned(jiff::tz::TimeZone::UTC).checked_sub(age);
        let limit = limit.map_err(|_| Failure::new(Kind::Other, "--older-than is too long"))?;
        Ok(Some(limit.timestamp()))
    }

    fn one(
        &self,
        (path, document, status): (&Path, &Document, &FileStatus),
        planner: &Mutex<Planner<'_>>,
        session: &Session,
        limit: Option<Timestamp>,
    ) -> Result<Outcome, Failure> {
        let mut rules = planner.lock().unwrap_or_else(PoisonError::into_inner);
        let ruled = rules.rule(path)?;
        drop(rules);
        let work = work(document, status, &ruled, limit);
        let mut report = Report {
            action: "up-to-date",
            counts: Vec::new(),
            warnings: Vec::new(),
            note: None,
            details: None,
        };
        let Some(work) = work else {
            return Ok(Outcome::Unchanged(report));
        };
        report.note = Some(work.reasons.join(", "));
        report.details = Some(work.details(document));
        let seen = key_changes::seen_values(document.text(), document.format, &work.removed);
        report.warnings.extend(seen);
        if self.plan {
            report.action = "would-rekey";
            return Ok(Outcome::Done(report));
        }
        document.check_replaceable()?;
        let text = match work.reselect {
            true => encrypted_afresh(document, ruled, session)?,
            false => rekeyed(document, &ruled, &work, session)?,
        };
        document.replace(&text)?;
        report.action = "rekeyed";
        report.warnings.extend(document.hard_link_warning());
        Ok(Outcome::Done(report))
    }
}

impl Work {
    fn details(&self, document: &Document) -> Value {
        let leaves = match self.removed.is_empty() {
            true => Vec::new(),
            false => {
                selkie_sops::encrypted_leaves(document.text(), document.format).unwrap_or_default()
            }
        };
        let removed: Vec<String> = self.removed.iter().map(key_changes::name).collect();
        let seen: Vec<&str> = leaves.iter().map(|leaf| &*leaf.path).collect();
        json!({"reasons": self.reasons, "removed": removed, "seen_by_removed": seen})
    }
}

/// Compares a file with its rule; `None` when it is as it should be.
fn work(
    document: &Document,
    status: &FileStatus,
    ruled: &Ruled,
    limit: Option<Timestamp>,
) -> Option<Work> {
    let changes = status.key_changes(&ruled.keys);
    let mut reasons = key_changes::lines(&changes);
    let is_text = document.format != selkie_sops::Format::Binary;
    let reselect = is_text
        && (ruled
            .selection
            .as_ref()
            .is_some_and(|rule| *rule != status.selection)
            || (ruled.mac_only_encrypted && !status.mac_only_encrypted));
    if reselect {
        reasons.push("another selection of values".to_owned());
    }
    // The data key is no younger than its oldest wrapping, nor than the last change. What has no time
    // that can be read is taken for old; it gets one.
    let times = status.wrapped.iter().chain([&status.last_modified]);
    let oldest = times.min_by_key(|time| time.parse::<Timestamp>().ok());
    let is_old = limit.is_some_and(|limit| {
        let oldest = oldest.and_then(|time| time.parse::<Timestamp>().ok());
        oldest.is_none_or(|oldest| oldest < limit)
    });
    if let (true, Some(oldest)) = (is_old, oldest) {
        reasons.push(format!("data key of {oldest} or before"));
    }
    if reasons.is_empty() {
        return None;
    }
    if reselect || is_old || !changes.removed.is_empty() {
        reasons.push("new data key".to_owned());
    }
    Some(Work {
        reasons,
        removed: changes.removed,
        reselect,
        renew: is_old,
    })
}

fn rekeyed(
    document: &Document,
    ruled: &Ruled,
    work: &Work,
    session: &Session,
) -> Result<String, Failure> {
    let open = document.open(session, false)?;
    let change = match work.renew {
        true => DataKeyChange::Renew,
        false => DataKeyChange::RenewIfRemoved,
    };
    let make = |spec: &KeySpec| session.make(spec);
    let rekeyed = open
        .with_keys(&ruled.keys, change, &make, session.now)
        .map_err(|error| explain::rekey(&error))?;
    Ok(rekeyed.map_or_else(|| document.text().to_owned(), |rekeyed| rekeyed.text))
}

/// Encrypts the clear text by the rule as it is now.
fn encrypted_afresh(
    document: &Document,
    ruled: Ruled,
    session: &Session,
) -> Result<String, Failure> {
    let open = document.open(session, false)?;
    let status = selkie_sops::status(document.text(), document.format)
        .map_err(|error| explain::decrypt(&error, &session.keys))?;
    // A rule that names no threshold leaves that of the file.
    let groups = ruled.keys.groups.len();
    let kept = open.keys().threshold.map(|threshold| threshold.min(groups));
    let plan = Plan {
        threshold: ruled.keys.threshold.or(kept.filter(|_| groups > 1)),
        groups: ruled.keys.groups,
        selection: ruled.selection.unwrap_or(status.selection),
        mac_only_encrypted: ruled.mac_only_encrypted || status.mac_only_encrypted,
        whole_mac: open.has_whole_mac(),
        warnings: Vec::new(),
    };
    let encryption = plan.encrypt_bytes(open.plain(), document.format, &session.clients)?;
    match encryption.map_err(|error| explain::encrypt(&error))? {
        Encryption::Encrypted(encrypted) => Ok(encrypted.text),
        Encryption::AlreadyEncrypted(_) => Err(Failure::new(
            Kind::AlreadyEncrypted,
            "the decrypted file has metadata of its own",
        )),
    }
}

/// Reads an age such as `90d`.
fn age(text: &str) -> Result<Span, String> {
    let span: Span = text
        .parse()
        .map_err(|_| "give a number with a unit: 90d, 12w, 6mo, 1y".to_owned())?;
    match span.is_negative() || span.is_zero() {
        true => Err("give an age of more than nothing".to_owned()),
        false => Ok(span),
    }
}
