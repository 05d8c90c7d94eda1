//! `selkie decrypt`: SOPS files to standard output, or in place.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use selkie_secret::SecretBytes;
use selkie_sops::{DecryptOptions, ExtractPath, extract};

use crate::batch::{Batch, Destination, Request, check_format};
use crate::environment::Environment;
use crate::explain;
use crate::failure::{Failure, Kind};
use crate::file::{self, Secrecy, Source};
use crate::identities::Identities;
use crate::ui::{Report, Ui};

/// Decrypt SOPS files to standard output, or in place
///
/// After `selkie encrypt`, this gives back the original file byte for byte. Private keys are taken
/// from SOPS_AGE_KEY, the file SOPS_AGE_KEY_FILE, ~/.config/sops/age/keys.txt (below XDG_CONFIG_HOME
/// if set) and the output of the command SOPS_AGE_KEY_CMD. Nothing is printed or written unless
/// every value decrypts and the MAC confirms the whole file.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES, verbatim_doc_comment)]
pub(crate) struct Decrypt {
    /// Files to decrypt; - or none reads standard input. Several need --in-place
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
  Print one value:
    selkie decrypt --extract '[\"stringData\"][\"password\"]' secret.yaml
  Turn several files back into plaintext:
    selkie decrypt -i a.yaml b.yaml
";

impl Decrypt {
    pub(crate) fn run(&self, ui: &Ui, environment: &Environment) -> ExitCode {
        let (batch, path) = match self.prepare(ui) {
            Ok(prepared) => prepared,
            Err(failure) => return ExitCode::from(ui.fail(None, &failure)),
        };
        let identities = Identities::collect(environment);
        if batch.destination == Destination::Stdout {
            // The document is the report: only what is wrong is said besides.
            let [source] = &batch.sources[..] else {
                return ExitCode::FAILURE;
            };
            return match self.one(ui, &identities, path.as_ref(), source, &batch.destination) {
                Ok(report) => {
                    for warning in &report.warnings {
                        ui.warn(Some(&source.name()), warning);
                    }
                    ExitCode::SUCCESS
                }
                Err(failure) => ExitCode::from(ui.fail(Some(&source.name()), &failure)),
            };
        }
        batch.run(ui, |source, destination| {
            self.one(ui, &identities, path.as_ref(), source, destination)
        })
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
            },
            ui,
        )?;
        Ok((batch, path))
    }

    fn one(
        &self,
        ui: &Ui,
        identities: &Identities,
        path: Option<&ExtractPath>,
        source: &Source,
        destination: &Destination,
    ) -> Result<Report, Failure> {
        check_format(source, &[])?;
        let input = file::read(source)?;
        destination.check(&input)?;
        let options = DecryptOptions {
            ignore_mac: self.ignore_mac,
        };
        let decrypted = selkie_sops::decrypt(input.text.expose(), identities, &options)
            .map_err(|error| explain::decrypt(&error, identities))?;
        let mut warnings: Vec<String> =
            decrypted.warnings.iter().map(ToString::to_string).collect();
        let plain: SecretBytes = match path {
            None => decrypted.text.into_bytes(),
            Some(path) => {
                extract(decrypted.text.expose(), path).map_err(|error| explain::extract(&error))?
            }
        };
        destination.write(ui, &input, plain.expose(), true, Secrecy::Clear)?;
        if *destination == Destination::InPlace {
            warnings.extend(input.hard_link_warning());
        }
        Ok(Report {
            action: "decrypted",
            counts: vec![("value", decrypted.values)],
            warnings,
            note: None,
        })
    }
}
