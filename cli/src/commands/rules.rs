//! `selkie rules`: which rule of `.sops.yaml` applies to a file, and why.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use selkie_sops::CreationRule;
use serde_json::json;

use crate::environment::Environment;
use crate::failure::{Failure, Kind};
use crate::key_changes;
use crate::plan::{KeyFlags, Planner, hinted, misnamed};
use crate::ui::{Report, Ui};

/// Say which rule of .sops.yaml applies to files, why, and with which keys
///
/// The files need not exist. Rules that can never match are warned of; a rule that encrypting would
/// refuse is an error.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES, verbatim_doc_comment)]
pub(crate) struct Rules {
    /// Names of files
    #[arg(value_name = "FILE", required_unless_present = "schema")]
    files: Vec<PathBuf>,
    /// Use this config file instead of the nearest .sops.yaml above each file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print the JSON schema of .sops.yaml, for editors
    #[arg(long, conflicts_with_all = ["files", "config"])]
    schema: bool,
}

const EXAMPLES: &str = "\
Examples:
  selkie rules clusters/prod/db.yaml
  Let an editor check .sops.yaml (yaml-language-server):
    selkie rules --schema > .sops.schema.json
";

/// Of every field that sops 3.13 and Selkie know (sops-format.md 17).
const SCHEMA: &str = include_str!("sops-yaml.schema.json");

impl Rules {
    pub(crate) fn run(&self, ui: &Ui, environment: &Environment) -> ExitCode {
        if self.schema {
            return match ui.document(SCHEMA.as_bytes()) {
                Ok(()) => ExitCode::SUCCESS,
                Err(failure) => ExitCode::from(ui.fail(None, &failure)),
            };
        }
        let flags = KeyFlags {
            config: self.config.clone(),
            ..KeyFlags::default()
        };
        let mut planner = match Planner::new(&flags, environment) {
            Ok(planner) => planner,
            Err(failure) => return ExitCode::from(ui.fail(None, &failure)),
        };
        let mut code = None;
        for path in &self.files {
            let name = path.display().to_string();
            match one(&mut planner, path) {
                Ok(report) => ui.report(&name, &report),
                Err(failure) => {
                    let this = ui.fail(Some(&name), &failure);
                    code.get_or_insert(this);
                }
            }
        }
        ExitCode::from(code.unwrap_or_default())
    }
}

fn one(planner: &mut Planner<'_>, path: &Path) -> Result<Report, Failure> {
    let (config, not_used) = planner.config(path)?;
    let Some((file, relative)) = config else {
        let failure = Failure::new(Kind::Other, "there is no .sops.yaml above this file");
        let failure = failure.hint("write one, or name another config file with --config");
        return Err(hinted(failure, not_used.as_deref()));
    };
    let explanation = file.config.explain(&relative);
    let passed: Vec<String> = explanation
        .passed
        .iter()
        .map(|(number, line, regex)| {
            format!("rule {number} (line {line}) passed over: `{regex}` does not match {relative}")
        })
        .collect();
    let place = file.path.display().to_string();
    let Some((number, rule)) = explanation.rule else {
        let message = format!("no creation rule of {place} matches this file");
        let failure = Failure::new(Kind::Other, message);
        let failure = match passed.is_empty() {
            true => failure.hint("it has no rules"),
            false => failure.hint(passed.join("\n")),
        };
        return Err(hinted(failure, not_used.as_deref()));
    };
    let groups: Vec<Vec<String>> = planner
        .keys_of(&file, rule, not_used.as_deref())?
        .iter()
        .map(|group| group.iter().map(key_changes::name).collect())
        .collect();
    let selection = rule.selection.as_ref().and_then(|rule| rule.setting());
    let mut report = Report::with_details(
        "ruled",
        Some(in_words(&place, number, rule, &groups, &passed)),
        json!({
            "config": place,
            "rule": number,
            "line": rule.line,
            "path_regex": rule.path_regex(),
            "groups": groups,
            "threshold": rule.threshold,
            "selection": selection.map(|(setting, rule)| json!({ setting: rule })),
            "mac_only_encrypted": rule.mac_only_encrypted,
            "passed_over": passed,
        }),
    );
    let shadowed = file.config.shadowed_rules();
    let shadowed = shadowed.iter().map(|rule| format!("{place}: {rule}"));
    report.warnings.extend(not_used.map(|path| misnamed(&path)));
    report.warnings.extend(shadowed);
    Ok(report)
}

fn in_words(
    place: &str,
    number: usize,
    rule: &CreationRule,
    groups: &[Vec<String>],
    passed: &[String],
) -> String {
    let why = match rule.path_regex() {
        "" => "it matches every file".to_owned(),
        regex => format!("path_regex `{regex}` matches"),
    };
    let mut lines = vec![format!(
        "rule {number} of {place} (line {}): {why}",
        rule.line
    )];
    for (number, group) in (1..).zip(groups) {
        let name = match groups.len() {
            1 => "keys".to_owned(),
            _ => format!("group {number}"),
        };
        lines.push(format!("  {name}: {}", group.join(", ")));
    }
    if let (Some(threshold), true) = (rule.threshold, groups.len() > 1) {
        lines.push(format!(
            "  threshold: {threshold} of {} groups",
            groups.len()
        ));
    }
    if let Some((setting, rule)) = rule.selection.as_ref().and_then(|rule| rule.setting()) {
        lines.push(format!("  {setting}: {rule}"));
    }
    if rule.mac_only_encrypted {
        lines.push("  mac_only_encrypted: true".to_owned());
    }
    lines.extend(passed.iter().map(|line| format!("  {line}")));
    lines.join("\n")
}
