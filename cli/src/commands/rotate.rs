//! `selkie rotate`: new data keys.

use std::process::ExitCode;

use clap::Args;
use selkie_keys::age::parse_recipients;
use selkie_sops::{KeyKind, KeySpec};

use crate::environment::Environment;
use crate::explain;
use crate::failure::{Failure, Kind};
use crate::key_changes;
use crate::session::{Document, Session};
use crate::trees::{Outcome, TreeFlags};
use crate::ui::{Report, Ui};

/// Give files new data keys: every value is encrypted anew
///
/// Layout, comments and the rule of a file stay. What somebody copied out of an older version stays
/// readable to them: replace the values themselves where that matters. Where a key goes, the report says
/// which values its holder could have read.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES, verbatim_doc_comment)]
pub(crate) struct Rotate {
    #[command(flatten)]
    tree: TreeFlags,
    /// Say what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Add age recipients to the first key group
    #[arg(long, value_name = "RECIPIENTS")]
    add_age: Vec<String>,
    /// Take age recipients out of every key group
    #[arg(long, value_name = "RECIPIENTS")]
    rm_age: Vec<String>,
    /// Add other keys to the first key group: pgp:FP, kms:ARN, gcp_kms:ID, azure_kv:URL, hc_vault:URI
    #[arg(long, value_name = "KIND:KEY", value_parser = kind_and_key)]
    add: Vec<KeySpec>,
    /// Take other keys out of every key group
    #[arg(long, value_name = "KIND:KEY", value_parser = kind_and_key)]
    rm: Vec<KeySpec>,
    /// Change a file even when its MAC does not match
    #[arg(long)]
    ignore_mac: bool,
}

const EXAMPLES: &str = "\
Examples:
  Give every file of a folder a new data key:
    selkie rotate secrets/
  Take somebody out of one file:
    selkie rotate --rm-age age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p secret.yaml
";

impl Rotate {
    pub(crate) fn run(&self, ui: &Ui, environment: &Environment) -> ExitCode {
        let prepared = self.keys().and_then(|(add, remove)| {
            let mut named = environment.named_keys();
            named.extend(add.iter().cloned());
            Ok((add, remove, Session::new(environment, &named)?))
        });
        let (add, remove, session) = match prepared {
            Ok(prepared) => prepared,
            Err(failure) => return ExitCode::from(ui.fail(None, &failure)),
        };
        let code = self.tree.each(ui, !self.dry_run, |_, document, _| {
            self.one(document, &session, &add, &remove)
        });
        session.clients.warn(ui);
        code
    }

    fn keys(&self) -> Result<(Vec<KeySpec>, Vec<KeySpec>), Failure> {
        let of = |lists: &[String], name: &str, others: &[KeySpec]| {
            let failed = |error: &dyn std::fmt::Display| {
                Failure::new(Kind::Other, format!("{name}: {error}"))
            };
            let list = lists.join(",");
            parse_recipients(&list).map_err(|error| failed(&error))?;
            let mut specs =
                KeySpec::parse_list(KeyKind::Age, &list).map_err(|error| failed(&error))?;
            specs.extend(others.iter().cloned());
            Ok(specs)
        };
        Ok((
            of(&self.add_age, "--add-age", &self.add)?,
            of(&self.rm_age, "--rm-age", &self.rm)?,
        ))
    }

    fn one(
        &self,
        document: &Document,
        session: &Session,
        add: &[KeySpec],
        remove: &[KeySpec],
    ) -> Result<Outcome, Failure> {
        if !self.dry_run {
            document.check_replaceable()?;
        }
        let open = document.open(session, self.ignore_mac)?;
        let make = |spec: &KeySpec| session.make(spec);
        let rotated = open
            .rotated(add, remove, &make, session.now)
            .map_err(|error| explain::rekey(&error))?;
        let mut report = Report::new("rotated", Vec::new());
        let gone = &rotated.changes.removed;
        let missing = remove.iter().filter(|spec| {
            let same = |other: &&KeySpec| {
                other.kind() == spec.kind() && other.identity() == spec.identity()
            };
            gone.iter().find(same).is_none()
        });
        report.warnings.extend(
            missing.map(|spec| format!("{} was not among its keys", key_changes::name(spec))),
        );
        let lines = key_changes::lines(&rotated.changes);
        if !lines.is_empty() {
            key_changes::tell(&mut report, document, &rotated.changes, lines, true);
        }
        if self.dry_run {
            report.action = "would-rotate";
            report.warnings.extend(document.hard_link_notice());
        } else {
            document.replace(&rotated.text)?;
            report.warnings.extend(document.hard_link_warning());
        }
        Ok(Outcome::Done(report))
    }
}

/// Reads `KIND:KEY`.
pub(crate) fn kind_and_key(text: &str) -> Result<KeySpec, String> {
    let kinds: Vec<&str> = KeyKind::ALL.iter().map(|kind| kind.name()).collect();
    let (kind, key) = text
        .split_once(':')
        .and_then(|(kind, key)| Some((KeyKind::of_name(kind)?, key)))
        .ok_or_else(|| format!("it begins with none of {}, and a colon", kinds.join(", ")))?;
    KeySpec::parse(kind, key).map_err(|error| error.to_string())
}
