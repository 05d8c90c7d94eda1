//! `selkie decrypt`: SOPS files to standard output, or in place.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use selkie_secret::SecretBytes;
use selkie_sops::{
    DecryptOptions, ExtractPath, Format, convert, decrypt_binary, extract, extract_binary,
};

use crate::batch::{Batch, Destination, Request, format_of};
use crate::environment::Environment;
use crate::explain;
use crate::failure::{Failure, Kind};
use crate::file::{self, Input, Secrecy, Source};
use crate::keys::{Clients, Keys};
use crate::session::Session;
use crate::trees::{self, Outcome};
use crate::ui::{Report, Ui};

/// Decrypt SOPS files to standard output, or in place
///
/// After `selkie encrypt`, this gives back the original file byte for byte. Private keys are taken
/// from SOPS_AGE_KEY, the file SOPS_AGE_KEY_FILE, ~/.config/sops/age/keys.txt (below XDG_CONFIG_HOME
/// if set), SSH keys (SOPS_AGE_SSH_PRIVATE_KEY_FILE, ~/.ssh/id_ed25519, ~/.ssh/id_rsa) and the output
/// of the commands SOPS_AGE_KEY_CMD and SOPS_AGE_SSH_PRIVATE_KEY_CMD; OpenPGP keys from gpg. A
/// passphrase is asked for on the terminal, or printed by the command SELKIE_PASSPHRASE_CMD. AWS KMS
/// is asked with the credentials that AWS's tools find, Vault with VAULT_TOKEN or ~/.vault-token if
/// VAULT_ADDR or SOPS_HC_VAULT_ALLOWLIST names the server. Nothing is printed or written unless every
/// value decrypts and the MAC confirms the whole file.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES, verbatim_doc_comment)]
pub(crate) struct Decrypt {
    /// Files to decrypt; - or none reads standard input. Several are printed as YAML documents
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Replace each file by its plaintext
    #[arg(short, long, conflicts_with_all = ["output", "extract"])]
    in_place: bool,
    /// Write the plaintext to this file; a new one is readable by its owner alone
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Print one part only: a string as it is, anything else as YAML
    #[arg(long, value_name = "PATH")]
    extract: Option<String>,
    /// The name that standard input is known by; its ending tells the format
    #[arg(long, value_name = "NAME")]
    filename: Option<PathBuf>,
    /// The format of the input, instead of the one that its name tells: yaml, json, dotenv, ini, binary
    #[arg(long, value_name = "FORMAT")]
    input_type: Option<Format>,
    /// Write the result in another format; not in place
    #[arg(long, value_name = "FORMAT")]
    output_type: Option<Format>,
    /// Write nothing; say whether every file opens and its MAC holds. Takes folders and patterns
    #[arg(long, conflicts_with_all = ["in_place", "output", "extract", "output_type", "filename"])]
    check: bool,
    /// Open the file even when the MAC does not match
    #[arg(long)]
    ignore_mac: bool,
}

const EXAMPLES: &str = "\
Examples:
  Print the plaintext:
    selkie decrypt secret.yaml
  Apply it without leaving plaintext on the disk:
    selkie decrypt secret.yaml | kubectl apply -f -
  Apply several files:
    selkie decrypt apps/*/secret.yaml | kubectl apply -f -
  Print one value:
    selkie decrypt --extract '[\"stringData\"][\"password\"]' secret.yaml
  Check that every file of a repository opens:
    selkie decrypt --check .
  Turn several files back into plaintext:
    selkie decrypt -i a.yaml b.yaml
";

impl Decrypt {
    pub(crate) fn run(&self, ui: &Ui, environment: &Environment) -> ExitCode {
        if self.check {
            return self.check(ui, environment);
        }
        let (batch, path) = match self.prepare(ui) {
            Ok(prepared) => prepared,
            Err(failure) => return ExitCode::from(ui.fail(None, &failure)),
        };
        let clients = match Clients::new(environment, &environment.named_keys()) {
            Ok(clients) => clients,
            Err(failure) => return ExitCode::from(ui.fail(None, &failure)),
        };
        let keys = Keys::collect(environment, &clients);
        let code = self.all(ui, &keys, path.as_ref(), &batch);
        clients.warn(ui);
        code
    }

    fn all(&self, ui: &Ui, keys: &Keys, path: Option<&ExtractPath>, batch: &Batch) -> ExitCode {
        if batch.destination == Destination::Stdout {
            return self.print(ui, keys, path, &batch.sources);
        }
        batch.run_together(ui, &[], |source, destination| {
            let (input, plain, mut report) = self.open(keys, path, source)?;
            destination.write(ui, &input, plain.expose(), true, Secrecy::Clear)?;
            if *destination == Destination::InPlace {
                report.warnings.extend(input.hard_link_warning());
            }
            Ok(report)
        })
    }

    /// Prints every file; what is printed is the report, so only what is wrong is said besides.
    fn print(
        &self,
        ui: &Ui,
        keys: &Keys,
        path: Option<&ExtractPath>,
        sources: &[Source],
    ) -> ExitCode {
        let mut code = None;
        let mut ended = None;
        for source in sources {
            let printed = self.open(keys, path, source).and_then(|opened| {
                let (_, plain, report) = opened;
                let mut text = plain.expose();
                if let Some(ended) = ended {
                    // A byte order mark stands at the start of a stream only.
                    text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
                    ui.document(separator(ended, text))?;
                }
                ui.document(text)?;
                ended = Some(text.is_empty() || text.ends_with(b"\n"));
                Ok(report)
            });
            match printed {
                Ok(report) => {
                    for warning in &report.warnings {
                        ui.warn(Some(&source.name()), warning);
                    }
                }
                Err(failure) => {
                    let this = ui.fail(Some(&source.name()), &failure);
                    code.get_or_insert(this);
                }
            }
        }
        ExitCode::from(code.unwrap_or_default())
    }

    fn prepare(&self, ui: &Ui) -> Result<(Batch, Option<ExtractPath>), Failure> {
        let path = match self.extract.as_deref().map(str::parse) {
            None => None,
            Some(Ok(path)) => Some(path),
            Some(Err(error)) => return Err(Failure::new(Kind::ExtractPath, error)),
        };
        let batch = Batch::resolve(
            &Request {
                files: &self.files,
                filename: self.filename.as_deref(),
                stdout: !self.in_place && self.output.is_none(),
                in_place: self.in_place,
                output: self.output.as_deref(),
                joined: path.is_none() && self.prints_yaml(),
            },
            ui,
        )?;
        Ok((batch, path))
    }

    /// Returns whether what is printed is YAML, of which several files make one stream.
    fn prints_yaml(&self) -> bool {
        let of_file = |path: &PathBuf| {
            let source = match path.as_os_str() == "-" {
                true => Source::Stdin(self.filename.clone()),
                false => Source::File(path.clone()),
            };
            format_of(&source, self.input_type)
        };
        match self.output_type {
            Some(format) => format == Format::Yaml,
            None => self.files.iter().all(|path| of_file(path) == Format::Yaml),
        }
    }

    /// Opens every file and writes none.
    fn check(&self, ui: &Ui, environment: &Environment) -> ExitCode {
        let session = match Session::new(environment, &environment.named_keys()) {
            Ok(session) => session,
            Err(failure) => return ExitCode::from(ui.fail(None, &failure)),
        };
        let code = trees::each(ui, &self.files, false, |candidate| {
            if !candidate.named && trees::encrypted(candidate, self.input_type)?.is_none() {
                return Ok(Outcome::PassedOver);
            }
            let source = Source::File(candidate.path.clone());
            let (_, _, report) = self.open(&session.keys, None, &source)?;
            Ok(Outcome::Unchanged(Report {
                action: "opens",
                ..report
            }))
        });
        session.clients.warn(ui);
        code
    }

    /// Reads and decrypts one file; returns it, what is asked of it, and the report.
    fn open(
        &self,
        keys: &Keys,
        path: Option<&ExtractPath>,
        source: &Source,
    ) -> Result<(Input, SecretBytes, Report), Failure> {
        let from = format_of(source, self.input_type);
        let to = self.output_type.unwrap_or(from);
        if to != from && self.in_place {
            let message = format!("a file of {from} cannot be changed in place into {to}");
            return Err(Failure::new(Kind::Conflict, message).hint("print it, or use -o FILE"));
        }
        let input = file::read(source)?;
        if self.in_place {
            Destination::InPlace.check(&input)?;
        }
        let options = DecryptOptions {
            ignore_mac: self.ignore_mac,
            ..keys.opening()
        };
        let text = input.text()?;
        let failed = |error| explain::decrypt(&error, keys);
        let (plain, values, warnings) = match from {
            Format::Binary => {
                let plain = decrypt_binary(text, keys, &options).map_err(failed)?;
                let values = usize::from(!plain.is_empty());
                (plain, values, Vec::new())
            }
            _ => {
                let done = selkie_sops::decrypt(text, from, keys, &options).map_err(failed)?;
                let warnings = done.warnings.iter().map(ToString::to_string).collect();
                (done.text.into_bytes(), done.values, warnings)
            }
        };
        let plain = match to == from {
            true => plain,
            false => {
                convert(plain.expose(), from, to, None).map_err(|error| explain::convert(&error))?
            }
        };
        let report = Report {
            action: "decrypted",
            counts: vec![("value", values)],
            warnings,
            note: None,
            details: None,
        };
        let plain = match path {
            None => plain,
            Some(path) if to == Format::Binary => {
                extract_binary(plain.expose(), path).map_err(|error| explain::extract(&error))?
            }
            Some(path) => {
                let text = std::str::from_utf8(plain.expose())
                    .map_err(|_| Failure::new(Kind::Unwritable, "the file is not UTF-8 text"))?;
                extract(text, to, path).map_err(|error| explain::extract(&error))?
            }
        };
        Ok((input, plain, report))
    }
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Returns what has to stand between two files on standard output, so that they stay documents of
/// one stream. `ended` tells whether the first one ends with a line break.
fn separator(ended: bool, next: &[u8]) -> &'static [u8] {
    match (ended, next.starts_with(b"---"), next.starts_with(b"%")) {
        (true, true, _) => b"",
        (false, true, _) => b"\n",
        (true, _, true) => b"...\n",
        (false, _, true) => b"\n...\n",
        (true, ..) => b"---\n",
        (false, ..) => b"\n---\n",
    }
}

#[cfg(test)]
mod tests {
    use super::separator;

    #[test]
    fn printed_files_stay_documents() {
        for (before, next, expected) in [
            ("a: b\n", "c: d\n", "---\n"),
            ("a: b", "c: d\n", "\n---\n"),
            ("a: b\n", "---\nc: d\n", ""),
            ("a: b", "---\nc: d\n", "\n"),
            ("a: b\n", "%YAML 1.1\n---\nc: d\n", "...\n"),
        ] {
            let found = separator(before.ends_with('\n'), next.as_bytes());
            assert_eq!(found, expected.as_bytes(), "{before:?} {next:?}");
        }
    }
}
