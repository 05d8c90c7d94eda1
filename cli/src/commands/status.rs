//! `selkie status`: what files say about themselves; needs no key.

use std::process::ExitCode;

use clap::Args;
use selkie_sops::Format;
use serde_json::json;

use crate::environment::Environment;
use crate::failure::Failure;
use crate::key_changes;
use crate::session::Document;
use crate::trees::{self, Outcome, TreeFlags};
use crate::ui::{Report, Ui};
use crate::walk::{self, Candidate};

/// Say of files whether they are encrypted, and for whom
///
/// Needs no key, and proves nothing: `selkie decrypt --check` opens the files. With --json the keys are
/// listed one by one.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES, verbatim_doc_comment)]
pub(crate) struct Status {
    #[command(flatten)]
    tree: TreeFlags,
}

const EXAMPLES: &str = "\
Examples:
  One file:
    selkie status secret.yaml
  Who can read what in a repository:
    selkie status --json . | jq -r '.path + \" \" + .groups[][]'
";

impl Status {
    pub(crate) fn run(&self, ui: &Ui, _environment: &Environment) -> ExitCode {
        trees::each(ui, &self.tree.paths, false, |candidate| self.one(candidate))
    }

    fn one(&self, candidate: &Candidate) -> Result<Outcome, Failure> {
        let read = match candidate.named {
            true => {
                let document = Document::read(&candidate.path, self.tree.input_type)?;
                match document.status() {
                    Ok(status) => Some((document, status)),
                    // What looks encrypted and is broken is no clear file.
                    Err(_)
                        if document.format != Format::Binary
                            && walk::may_be_encrypted(&candidate.path) =>
                    {
                        document.check_encrypted()?;
                        None
                    }
                    Err(_) => None,
                }
            }
            false => match trees::encrypted(candidate, self.tree.input_type)? {
                None => return Ok(Outcome::PassedOver),
                found => found,
            },
        };
        let Some((document, status)) = read else {
            return Ok(Outcome::Done(Report::with_details(
                "not-encrypted",
                None,
                json!({"encrypted": false}),
            )));
        };
        let groups: Vec<Vec<String>> = status
            .keys
            .groups
            .iter()
            .map(|group| group.iter().map(key_changes::name).collect())
            .collect();
        let names: Vec<String> = groups.iter().map(|group| group.join(", ")).collect();
        let mut note = match &names[..] {
            [one] => format!("for {one}"),
            several => {
                let needed = status.keys.threshold.unwrap_or(several.len());
                format!(
                    "for {needed} of {} groups: {}",
                    several.len(),
                    several.join(" / ")
                )
            }
        };
        note = format!("{note}; {}", status.last_modified);
        let (setting, rule) = status.selection.setting().unwrap_or_default();
        if !setting.is_empty() {
            note = format!("{note}; {setting}: {rule}");
        }
        if !status.has_mac {
            note = format!("{note}; without a MAC");
        }
        if status.has_whole_mac {
            note = format!("{note}; whole-file MAC");
        }
        let details = json!({
            "encrypted": true,
            "format": document.format.name(),
            "groups": groups,
            "threshold": status.keys.threshold,
            "last_modified": status.last_modified,
            "selection": (!setting.is_empty()).then(|| json!({ setting: rule })),
            "mac_only_encrypted": status.mac_only_encrypted,
            "version": status.version,
            "has_mac": status.has_mac,
            "has_whole_mac": status.has_whole_mac,
        });
        Ok(Outcome::Done(Report::with_details(
            "encrypted",
            Some(note),
            details,
        )))
    }
}
