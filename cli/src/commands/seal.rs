//! `selkie seal`: Secret manifests into SealedSecret manifests.

use std::cell::OnceCell;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use jiff::Timestamp;
use selkie_seal::manifest::{SealPlan, seal};
use selkie_seal::{Certificate, Scope};

use crate::batch::{Batch, Destination, Request, check_manifest};
use crate::certificate_source::{self, ControllerFlags, Origin};
use crate::cluster;
use crate::explain;
use crate::failure::{Failure, Kind};
use crate::file::{self, Secrecy, Source};
use crate::ui::{Report, Ui};

/// Seal Secret manifests in place, as SealedSecrets
///
/// Every Secret of a file becomes a SealedSecret that only the controller of the cluster can open;
/// other documents of the file stay byte for byte. The certificate comes from --cert, else from the
/// controller of the cluster that the kubeconfig names. No private key is needed.
///
/// A value is bound to its scope: `strict` to name and namespace, `namespace-wide` to the namespace,
/// `cluster-wide` to nothing. Without --scope, the annotations of the Secret decide.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES, verbatim_doc_comment)]
pub(crate) struct Seal {
    /// Files to seal, YAML or JSON; - or none reads standard input
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Print the result instead of changing the file
    #[arg(long, conflicts_with = "output")]
    stdout: bool,
    /// Write the result to this file
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Certificate to seal for: a file or an http, https or file URL
    #[arg(
        long,
        value_name = "FILE|URL",
        env = "SEALED_SECRETS_CERT",
        hide_env_values = true
    )]
    cert: Option<String>,
    /// Where the sealed values may be opened: strict, namespace-wide or cluster-wide
    #[arg(
        long,
        value_name = "SCOPE",
        env = "SEALED_SECRETS_SCOPE",
        hide_env_values = true
    )]
    scope: Option<Scope>,
    /// Namespace of a Secret that names none; another one in the Secret is an error
    #[arg(
        short,
        long,
        value_name = "NAMESPACE",
        env = "SEALED_SECRETS_NAMESPACE",
        hide_env_values = true
    )]
    namespace: Option<String>,
    /// Name to use instead of the Secret's own
    #[arg(
        long,
        value_name = "NAME",
        env = "SEALED_SECRETS_NAME",
        hide_env_values = true
    )]
    name: Option<String>,
    /// Seal a Secret without values
    #[arg(long)]
    allow_empty_data: bool,
    #[command(flatten)]
    controller: ControllerFlags,
}

const EXAMPLES: &str = "\
Examples:
  Seal a manifest for the cluster of the current context:
    selkie seal secret.yaml
  Seal without a cluster, with the certificate kept in the repository:
    selkie seal --cert cert.pem clusters/prod/*.yaml
  Seal what kubectl makes, to be opened anywhere in its namespace:
    kubectl create secret generic db --from-literal=user=app --dry-run=client -o yaml |
      selkie seal --cert cert.pem --scope namespace-wide -n web -o db.yaml
";

impl Seal {
    pub(crate) fn run(&self, ui: &Ui) -> ExitCode {
        let prepared = self
            .batch(ui)
            .and_then(|batch| Ok((batch, self.certificate()?)));
        let (batch, certificate) = match prepared {
            Ok(prepared) => prepared,
            Err(failure) => return ExitCode::from(ui.fail(None, &failure)),
        };
        let context: OnceCell<Option<String>> = OnceCell::new();
        let default_namespace = || {
            let found =
                context.get_or_init(|| cluster::default_namespace(&self.controller.cluster));
            found.clone()
        };
        batch.run(ui, |source, destination| {
            self.one(ui, &certificate, &default_namespace, source, destination)
        })
    }

    fn batch(&self, ui: &Ui) -> Result<Batch, Failure> {
        if self.name.is_some() && self.files.len() > 1 {
            let message = "--name takes one file, and several are given";
            return Err(Failure::new(Kind::Conflict, message));
        }
        Batch::resolve(
            &Request {
                files: &self.files,
                filename: None,
                stdout: self.stdout,
                in_place: false,
                output: self.output.as_deref(),
                joined: false,
            },
            ui,
        )
    }

    /// Loads the certificate once, before any file is touched.
    fn certificate(&self) -> Result<Certificate, Failure> {
        let origin = match self.cert.as_deref().filter(|cert| !cert.is_empty()) {
            Some(cert) => Origin::of(cert),
            None => Origin::Cluster,
        };
        let text = certificate_source::fetch(&origin, &self.controller)?;
        let certificate = certificate_source::parse(&text, &origin)?;
        certificate
            .check_not_expired(Timestamp::now())
            .map_err(|error| {
                Failure::new(Kind::Other, format!("{origin}: {error}"))
                    .hint("fetch the current one: selkie cert -o FILE")
            })?;
        Ok(certificate)
    }

    fn one(
        &self,
        ui: &Ui,
        certificate: &Certificate,
        default_namespace: &dyn Fn() -> Option<String>,
        source: &Source,
        destination: &Destination,
    ) -> Result<Report, Failure> {
        check_manifest(source)?;
        let input = file::read(source)?;
        destination.check(&input)?;
        let plan = SealPlan {
            certificate,
            scope: self.scope,
            name: self.name.as_deref().filter(|name| !name.is_empty()),
            namespace: self.namespace.as_deref().filter(|name| !name.is_empty()),
            default_namespace,
            allow_empty_data: self.allow_empty_data,
        };
        let sealing = seal(input.text()?, &plan).map_err(|error| explain::seal(&error))?;
        let changed = sealing.secrets > 0;
        destination.write(
            ui,
            &input,
            sealing.text.as_bytes(),
            changed,
            Secrecy::Sealed,
        )?;
        let mut warnings = Vec::new();
        if changed {
            warnings.extend(input.hard_link_warning());
        }
        Ok(Report {
            action: if changed { "sealed" } else { "already-sealed" },
            counts: vec![("secret", sealing.secrets), ("value", sealing.values)],
            warnings,
            note: (!changed).then(|| "left as it is".to_owned()),
            details: None,
        })
    }
}
