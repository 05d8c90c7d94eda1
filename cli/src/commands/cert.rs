//! `selkie cert`: the certificate of a running controller.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use jiff::Timestamp;
use selkie_seal::Certificate;
use serde_json::json;

use crate::certificate_source::{self, ControllerFlags, Origin};
use crate::failure::{Failure, Kind};
use crate::file::{self, Secrecy};
use crate::ui::Ui;

/// Fetch the sealing certificate of a running controller
///
/// The certificate is public: keep it in the repository, so that `selkie seal --cert` needs no
/// cluster. Without --url it is fetched through the API server that the kubeconfig names, from the
/// Service of the controller (Selkie's, or that of Sealed Secrets).
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES, verbatim_doc_comment)]
pub(crate) struct Cert {
    /// Fetch it from this URL (http, https or file) instead of the cluster
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Write it to this file
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    controller: ControllerFlags,
}

const EXAMPLES: &str = "\
Examples:
  Fetch it from the cluster of the current context:
    selkie cert -o cert.pem
  From a controller installed by the Helm chart of Sealed Secrets:
    selkie cert --controller-name sealed-secrets --controller-namespace sealed-secrets
  From where a controller's /v1/cert.pem is published:
    selkie cert --url https://sealed-secrets.example.com/v1/cert.pem
";

impl Cert {
    pub(crate) fn run(&self, ui: &Ui) -> ExitCode {
        match self.fetch(ui) {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => ExitCode::from(ui.fail(None, &failure)),
        }
    }

    fn fetch(&self, ui: &Ui) -> Result<(), Failure> {
        let origin = match &self.url {
            Some(url) => match Origin::of(url) {
                Origin::File(_) => {
                    let message = format!("--url: `{url}` is not an http, https or file URL");
                    return Err(Failure::new(Kind::Other, message));
                }
                origin => origin,
            },
            None => Origin::Cluster,
        };
        let text = certificate_source::fetch(&origin, &self.controller)?;
        // Checked, so that nobody commits the error page of a proxy.
        let certificate = certificate_source::parse(&text, &origin)?;
        if let Err(expired) = certificate.check_not_expired(Timestamp::now()) {
            ui.warn(
                None,
                &format!("{expired}; the controller has to renew it before you can seal"),
            );
        }
        match &self.output {
            Some(path) => {
                file::write(path, text.as_bytes(), Secrecy::Sealed).map_err(|mut failure| {
                    failure.message = format!("{}: {}", path.display(), failure.message);
                    failure
                })?;
                if !ui.is_json() {
                    ui.note(&format!("{}: {}", path.display(), describe(&certificate)));
                }
            }
            None if !ui.is_json() => ui.document(text.as_bytes())?,
            None => {}
        }
        if ui.is_json() {
            ui.object(&json!({
                "path": self.output.as_ref().map(|path| path.display().to_string()),
                "action": "fetched",
                "fingerprint": certificate.fingerprint().to_string(),
                "not_before": certificate.not_before().to_string(),
                "not_after": certificate.not_after().to_string(),
                "pem": text,
            }));
        }
        Ok(())
    }
}

fn describe(certificate: &Certificate) -> String {
    let day = certificate.not_after().strftime("%Y-%m-%d").to_string();
    format!("{}, valid until {day}", certificate.fingerprint())
}
