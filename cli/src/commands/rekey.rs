//! `selkie rekey`: a repository brought to what its rules say.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use clap::Args;
use jiff::{Span, Timestamp};
use selkie_sops::{
    DataKeyChange, Edited, Encryption, FileStatus, Format, KeyChanges, KeySpec, OpenFile,
    Selection, SelectionChange, check_afresh, implied_selection, selection_change,
};
use serde_json::{Map, Value, json};

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
/// Recipients, key groups, threshold and selection become those of the rule, and a file without a MAC over
/// the whole of it gets one where .sops.yaml asks for it. A file gets a new data key
/// where somebody loses access, where its selection changes, and where the one it has is older than
/// --older-than: by the times at which keys wrapped it, and where they have none (age) by the last
/// change of a value. The report says which values somebody who lost access could have read.
///
/// A rule that names no selection is the default one: the data of Kubernetes Secrets, else all but
/// _unencrypted keys. What is encrypted stays so: a file of which the rule would put something into clear
/// is refused, and told with --plan, unless --allow-clear is given.
///
/// A file is done when it is as its rule says, so a run that was stopped is finished by the next one.
/// Every file is at any moment either the old or the new one. Meant for a scheduled pipeline: with exit
/// code 0 every file is as its rule says, or keeps, with a warning, a selection where the rule names none.
/// With --plan it says no more than that every file could be read; what is to be done, and what would
/// be put into clear or lost by it, is reported.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES, verbatim_doc_comment)]
pub(crate) struct Rekey {
    #[command(flatten)]
    tree: TreeFlags,
    /// Say what would change, and change nothing
    #[arg(long, visible_alias = "dry-run")]
    plan: bool,
    /// Put into clear what the rule does not select any more
    #[arg(long)]
    allow_clear: bool,
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
    changes: KeyChanges,
    /// The selection is another one, so that the file is encrypted afresh.
    reselect: Option<Reselect>,
    renew: bool,
    /// It gets a whole-file MAC.
    confirm: bool,
}

/// Another selection for a file, or another reach of its MAC.
struct Reselect {
    selection: Selection,
    mac_only_encrypted: bool,
    change: SelectionChange,
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
        planner
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
            .warn(ui);
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
        let mut report = Report::new("up-to-date", Vec::new());
        let reselect = reselect(document, status, &ruled, session, &mut report.warnings)?;
        let Some(work) = work(status, &ruled, reselect, limit) else {
            return Ok(Outcome::Unchanged(report));
        };
        report.details = Some(work.details());
        let new_data_key = work.has_new_data_key();
        let lines = work.reasons.clone();
        key_changes::tell(&mut report, document, &work.changes, lines, new_data_key);
        let change = work.reselect.as_ref().map(|reselect| &reselect.change);
        let shown = change.and_then(key_changes::put_into_clear);
        let kept = match work.reselect {
            Some(_) => check_afresh(document.text(), document.format),
            None => Ok(()),
        };
        if self.plan {
            let lost = kept.err().map(|error| format!("would be refused: {error}"));
            report.warnings.extend(lost);
            report.action = "would-rekey";
            let refused = match self.allow_clear {
                true => "",
                false => "; without --allow-clear the file is refused",
            };
            let shown = shown.map(|shown| format!("would be put into clear: {shown}{refused}"));
            report.warnings.extend(shown);
            report.warnings.extend(document.hard_link_notice());
            return Ok(Outcome::Done(report));
        }
        if let (Some(shown), false) = (&shown, self.allow_clear) {
            let message = format!("its rule would put into clear what is encrypted: {shown}");
            return Err(Failure::new(Kind::Encrypt, message).hint(
                "let the rule select it; or, if it is no secret, run selkie rekey --allow-clear",
            ));
        }
        kept.map_err(|error| explain::afresh(&error, &session.keys))?;
        let shown = shown.map(|shown| format!("now in clear: {shown}"));
        report.warnings.extend(shown);
        document.check_replaceable()?;
        let text = match &work.reselect {
            Some(reselect) => encrypted_afresh(document, &ruled, reselect, session)?,
            None => rekeyed(document, &ruled, &work, session)?,
        };
        document.replace(&text)?;
        report.action = "rekeyed";
        report.warnings.extend(document.hard_link_warning());
        Ok(Outcome::Done(report))
    }
}

impl Work {
    fn has_new_data_key(&self) -> bool {
        self.renew || self.reselect.is_some() || self.changes.narrows()
    }

    fn details(&self) -> Value {
        let mut reasons = self.reasons.clone();
        if self.has_new_data_key() {
            reasons.push("new data key".to_owned());
        }
        let mut details = Map::from_iter([("reasons".to_owned(), json!(reasons))]);
        if let Some(reselect) = &self.reselect {
            let change = &reselect.change;
            details.insert("made_clear".to_owned(), json!(change.made_clear));
            details.insert("made_encrypted".to_owned(), json!(change.made_encrypted));
            let comments = json!(change.comments_made_clear);
            details.insert("comments_made_clear".to_owned(), comments);
        }
        Value::Object(details)
    }
}

/// Compares what is encrypted in a file, and what its MAC covers, with the rule; `None` where it is as
/// it should be, and for a binary file, which has no parts.
fn reselect(
    document: &Document,
    status: &FileStatus,
    ruled: &Ruled,
    session: &Session,
    warnings: &mut Vec<String>,
) -> Result<Option<Reselect>, Failure> {
    let (text, format) = (document.text(), document.format);
    if format == Format::Binary {
        return Ok(None);
    }
    let mac_only_encrypted = ruled.mac_only_encrypted;
    let stays = || Reselect {
        selection: status.selection.clone(),
        mac_only_encrypted,
        change: SelectionChange::default(),
    };
    let other = |selection: Selection, change: SelectionChange| Reselect {
        selection,
        mac_only_encrypted,
        change,
    };
    let same_mac = mac_only_encrypted == status.mac_only_encrypted;
    let told = |error: selkie_sops::DecryptError| explain::decrypt(&error, &session.keys);
    let changed = match &ruled.selection {
        Some(rule) if *rule == status.selection => None,
        Some(rule) if rule.is_by_comments() => {
            // Comments may be encrypted.
            let open = document.open(session, false)?;
            let plain = std::str::from_utf8(open.plain()).map_err(|_| {
                Failure::new(
                    Kind::Input,
                    "it opens to no UTF-8 text, and its rule goes by comments",
                )
            })?;
            let change = selection_change(plain, format, &status.selection, rule);
            Some(other(rule.clone(), change.map_err(told)?))
        }
        Some(rule) => {
            let change = selection_change(text, format, &status.selection, rule);
            Some(other(rule.clone(), change.map_err(told)?))
        }
        // A rule that names none means the default; but it is no word for less than there is.
        None => match implied_selection(text, format).filter(|rule| *rule != status.selection) {
            None => None,
            Some(rule) => {
                let change = selection_change(text, format, &status.selection, &rule);
                let change = change.map_err(told)?;
                match spoiled_by(&change) {
                    Some(spoiled) => {
                        warnings.push(format!(
                            "its rule names no selection, and the file keeps its own ({}): the \
                             default ({}) would {spoiled}",
                            setting(&status.selection),
                            setting(&rule),
                        ));
                        None
                    }
                    None => Some(other(rule, change)),
                }
            }
        },
    };
    Ok(changed.or_else(|| (!same_mac).then(stays)))
}

/// Says why a selection that nobody named is not for this file.
fn spoiled_by(change: &SelectionChange) -> Option<&'static str> {
    let is_kind = |path: &String| ["apiVersion", "kind"].contains(&path.as_str());
    if change.shows() {
        Some("put something into clear")
    } else if change.made_encrypted.iter().any(is_kind) {
        // Flux and Argo CD could not tell any more what it is.
        Some("encrypt the kind of a manifest")
    } else {
        None
    }
}

/// Compares a file with its rule; `None` when it is as it should be.
fn work(
    status: &FileStatus,
    ruled: &Ruled,
    reselect: Option<Reselect>,
    limit: Option<Timestamp>,
) -> Option<Work> {
    let changes = status.key_changes(&ruled.keys);
    let mut reasons = key_changes::lines(&changes);
    if let Some(reselect) = &reselect {
        reasons.extend(reselect.reasons(status));
    }
    let confirm = ruled.whole_mac && !status.has_whole_mac;
    if confirm {
        reasons.push("MAC over the whole file".to_owned());
    }
    // The data key is no younger than its oldest wrapping, nor than the last change. What has no time
    // that can be read is taken for old: a new data key has one, or for age none.
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
    Some(Work {
        reasons,
        changes,
        reselect,
        renew: is_old,
        confirm,
    })
}

impl Reselect {
    fn reasons(&self, status: &FileStatus) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.selection != status.selection {
            let (before, after) = (setting(&status.selection), setting(&self.selection));
            reasons.push(format!("another selection of values ({before} -> {after})"));
        }
        match self.change.made_encrypted.len() {
            0 => {}
            1 => reasons.push("1 more value encrypted".to_owned()),
            count => reasons.push(format!("{count} more values encrypted")),
        }
        match (status.mac_only_encrypted, self.mac_only_encrypted) {
            (false, true) => reasons.push("MAC over encrypted values only".to_owned()),
            (true, false) => reasons.push("MAC over clear values too".to_owned()),
            _ => {}
        }
        reasons
    }
}

fn setting(selection: &Selection) -> String {
    match selection.setting() {
        Some((name, text)) => format!("{name} {text}"),
        None => "a rule that does not compile".to_owned(),
    }
}

fn rekeyed(
    document: &Document,
    ruled: &Ruled,
    work: &Work,
    session: &Session,
) -> Result<String, Failure> {
    let found = document.open(session, false)?;
    // While the file still has the keys that open it.
    let confirmed = match work.confirm {
        true => found.with_whole_mac(),
        false => Ok(Edited::Unchanged),
    };
    let confirmed = match confirmed.map_err(|error| explain::encrypt(&error))? {
        Edited::Changed(text) => Some(text),
        Edited::Unchanged => None,
    };
    let open = match &confirmed {
        Some(text) => {
            let keys = &session.keys;
            OpenFile::open(text, document.format, keys, &keys.opening())
                .map_err(|error| explain::decrypt(&error, keys))?
        }
        None => found,
    };
    let change = match work.renew {
        true => DataKeyChange::Renew,
        false => DataKeyChange::RenewIfNarrowed,
    };
    let make = |spec: &KeySpec| session.make(spec);
    let rekeyed = open
        .with_keys(&ruled.keys, change, &make, session.now)
        .map_err(|error| explain::rekey(&error))?;
    let text = rekeyed
        .map(|rekeyed| rekeyed.text)
        .or_else(|| confirmed.clone());
    Ok(text.unwrap_or_else(|| document.text().to_owned()))
}

/// Encrypts the clear text by the rule as it is now.
fn encrypted_afresh(
    document: &Document,
    ruled: &Ruled,
    reselect: &Reselect,
    session: &Session,
) -> Result<String, Failure> {
    let open = document.open(session, false)?;
    // A rule that names no threshold leaves that of the file.
    let groups = ruled.keys.groups.len();
    let kept = open.keys().threshold.map(|threshold| threshold.min(groups));
    let plan = Plan {
        threshold: ruled.keys.threshold.or(kept.filter(|_| groups > 1)),
        groups: ruled.keys.groups.clone(),
        selection: reselect.selection.clone(),
        mac_only_encrypted: reselect.mac_only_encrypted,
        whole_mac: ruled.whole_mac || open.has_whole_mac(),
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
