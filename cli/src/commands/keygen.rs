//! `selkie keygen`: a new age key pair.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use jiff::Timestamp;
use selkie_keys::age::GeneratedKey;
use serde_json::json;

use crate::failure::{Failure, Kind};
use crate::file;
use crate::ui::{self, Ui};

/// Make an age key pair
///
/// The private key goes to standard output, or with -o to a new file that only its owner can read;
/// an existing file is never overwritten. The public key, to encrypt for, is shown on standard error
/// and stands in a comment of the file.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES, verbatim_doc_comment)]
pub(crate) struct Keygen {
    /// Write the private key to this new file
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Make a post-quantum key (ML-KEM-768 and X25519), which needs age 1.3 or sops 3.12 elsewhere
    #[arg(long)]
    pq: bool,
}

const EXAMPLES: &str = "\
Examples:
  Make a key where selkie and sops look for it:
    mkdir -p ~/.config/sops/age
    selkie keygen -o ~/.config/sops/age/keys.txt
  Print a key:
    selkie keygen
  Make a key that a quantum computer does not break:
    selkie keygen --pq -o keys.txt
";

impl Keygen {
    pub(crate) fn run(&self, ui: &Ui) -> ExitCode {
        match self.make(ui) {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => {
                let path = self.output.as_ref().map(|path| path.display().to_string());
                ExitCode::from(ui.fail(path.as_deref(), &failure))
            }
        }
    }

    fn make(&self, ui: &Ui) -> Result<(), Failure> {
        let key = match self.pq {
            false => GeneratedKey::generate(),
            true => GeneratedKey::generate_post_quantum().map_err(|_| {
                Failure::new(Kind::Other, "the operating system gave no random bytes")
            })?,
        };
        let content = key.file(Timestamp::now());
        let Some(path) = &self.output else {
            ui.refuse_json()?;
            ui.document(content.expose().as_bytes())?;
            // On a terminal the comment in the output shows it already.
            if !ui::stdout_is_terminal() {
                ui.note(&format!("Public key: {}", key.public_key()));
            }
            return Ok(());
        };
        if path.is_dir() {
            return Err(
                Failure::new(Kind::Output, "this is a directory, not a file").hint(format!(
                    "selkie keygen -o {}",
                    path.join("keys.txt").display()
                )),
            );
        }
        file::create_private(path, content.expose().as_bytes())?;
        if ui.is_json() {
            let path = path.display().to_string();
            ui.object(
                &json!({"path": path, "action": "generated", "public_key": key.public_key()}),
            );
        } else {
            ui.note(&format!("Public key: {}", key.public_key()));
        }
        Ok(())
    }
}
