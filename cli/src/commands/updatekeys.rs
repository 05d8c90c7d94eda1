//! `selkie updatekeys`: the keys that the rules name.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use clap::Args;
use selkie_sops::{DataKeyChange, FileStatus, KeySpec};

use crate::environment::Environment;
use crate::explain;
use crate::failure::Failure;
use crate::key_changes;
use crate::plan::{KeyFlags, Planner};
use crate::session::{Document, Session};
use crate::trees::{Outcome, TreeFlags};
use crate::ui::{Report, Ui};

/// Give files the keys that the rules of .sops.yaml name
///
/// A file whose keys are those of its rule is left alone. Where somebody loses access, alone or together
/// with others, the data key is a new one, as they may have kept the old one; sops would keep it. The
/// report says which values they could have read.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES, verbatim_doc_comment)]
pub(crate) struct UpdateKeys {
    #[command(flatten)]
    tree: TreeFlags,
    /// Say what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Keep the data key even where somebody loses access, as sops does
    #[arg(long)]
    keep_data_key: bool,
    /// Use this config file instead of the nearest .sops.yaml above each file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Change a file even when its MAC does not match
    #[arg(long)]
    ignore_mac: bool,
}

const EXAMPLES: &str = "\
Examples:
  See what would change after an edit of .sops.yaml:
    selkie updatekeys --dry-run .
  Change it:
    selkie updatekeys .
";

impl UpdateKeys {
    pub(crate) fn run(&self, ui: &Ui, environment: &Environment) -> ExitCode {
        let flags = KeyFlags {
            config: self.config.clone(),
            ..KeyFlags::default()
        };
        let prepared = Planner::new(&flags, environment).and_then(|planner| {
            let session = Session::new(environment, &environment.named_keys())?;
            Ok((Mutex::new(planner), session))
        });
        let (planner, session) = match prepared {
            Ok(prepared) => prepared,
            Err(failure) => return ExitCode::from(ui.fail(None, &failure)),
        };
        let code = self.tree.each(ui, !self.dry_run, |path, document, status| {
            self.one((path, document, status), &planner, &session)
        });
        planner
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
            .warn(ui);
        session.clients.warn(ui);
        code
    }

    fn one(
        &self,
        (path, document, status): (&Path, &Document, &FileStatus),
        planner: &Mutex<Planner<'_>>,
        session: &Session,
    ) -> Result<Outcome, Failure> {
        let mut rules = planner.lock().unwrap_or_else(PoisonError::into_inner);
        let target = rules.rule(path)?.keys;
        drop(rules);
        let changes = status.key_changes(&target);
        if changes.is_empty() {
            return Ok(Outcome::Unchanged(Report::new("up-to-date", Vec::new())));
        }
        let renew = changes.narrows() && !self.keep_data_key;
        let lines = key_changes::lines(&changes);
        let mut report = Report::new("would-update", Vec::new());
        key_changes::tell(&mut report, document, &changes, lines, renew);
        if self.dry_run {
            report.warnings.extend(document.hard_link_notice());
            return Ok(Outcome::Done(report));
        }
        document.check_replaceable()?;
        let open = document.open(session, self.ignore_mac)?;
        let change = match self.keep_data_key {
            true => DataKeyChange::Keep,
            false => DataKeyChange::RenewIfNarrowed,
        };
        let make = |spec: &KeySpec| session.make(spec);
        let rekeyed = open
            .with_keys(&target, change, &make, session.now)
            .map_err(|error| explain::rekey(&error))?;
        if let Some(rekeyed) = rekeyed {
            document.replace(&rekeyed.text)?;
        }
        report.action = "updated";
        report.warnings.extend(document.hard_link_warning());
        Ok(Outcome::Done(report))
    }
}
