//! Sealing: whole Secrets, into an existing SealedSecret, and single values (sealed-secrets.md 12.5
//! to 12.7).

use selkie_seal::manifest::SealPlan;
use selkie_seal::object::{Additions, OutputFormat, PlainSecret, SealedSecret, merge_into};
use selkie_seal::{Certificate, Scope, encode_value, seal_value};
use selkie_secret::SecretBytes;

use super::input::{self, Source};
use super::output::{Destination, err};
use super::{Invocation, Stop, stop};
use crate::file::Secrecy;
use crate::kubeconfig::Access;

impl Invocation {
    /// Seals every Secret of the input. Nothing is written when one of them cannot be sealed.
    pub(super) fn seal(
        &self,
        certificate: &Certificate,
        input: &Source,
        destination: &Destination,
    ) -> Result<(), Stop> {
        let secrets = read(input)?;
        let name = self.values.text("name");
        let default_namespace = || self.default_namespace();
        let plan = SealPlan {
            certificate,
            scope: self.scope(),
            name: Some(name).filter(|name| !name.is_empty()),
            namespace: self.given_namespace(),
            default_namespace: &default_namespace,
            allow_empty_data: self.values.switch("allow-empty-data"),
        };
        let sealed = seal_all(&secrets, &plan)?;
        let format = self.format(destination)?;
        let text: String = sealed.iter().map(|secret| secret.print(format)).collect();
        destination.write(text.as_bytes())
    }

    /// Adds the values of the input to the SealedSecret of a file, which keeps its form and every
    /// byte that does not change. The file decides name, namespace and scope.
    pub(super) fn merge(&self, certificate: &Certificate, input: &Source) -> Result<(), Stop> {
        let path = self.values.text("merge-into");
        let file = input::named_file(path)?;
        let text = file
            .text()
            .map_err(|failure| format!("{path}: {}", failure.message))?;
        let mut into = SealedSecret::read(text).map_err(|error| format!("{path}: {error}"))?;
        if into.len() != 1 {
            let count = into.len();
            return Err(Stop(format!(
                "{path}: it holds {count} SealedSecrets; it has to be one"
            )));
        }
        let mut into = into.remove(0);
        let scope = into.scope();
        if let Some(given) = self.scope().filter(|given| *given != scope) {
            return Err(Stop(format!(
                "{path} is {scope}, and --scope {given} was given: a value sealed for another \
                 scope would not open there"
            )));
        }
        let mut secrets = read(input)?;
        for secret in &mut secrets {
            secret.bind(into.name(), into.namespace());
        }
        let default_namespace = || self.default_namespace();
        let plan = SealPlan {
            certificate,
            scope: Some(scope),
            name: None,
            namespace: self
                .given_namespace()
                .filter(|_| scope != Scope::ClusterWide),
            default_namespace: &default_namespace,
            allow_empty_data: self.values.switch("allow-empty-data"),
        };
        let additions = additions(&seal_all(&secrets, &plan)?)?;
        let changed = match self.converts(text)? {
            None => merge_into(text, &additions).map_err(|error| format!("{path}: {error}"))?,
            Some(format) => {
                input::warn_of_unknown_fields(std::slice::from_ref(&into));
                into.add(&additions);
                into.print(format)
            }
        };
        file.replace(changed.as_bytes(), Secrecy::Sealed)
            .map_err(stop)
    }

    /// The format that a file that is changed in place is printed anew in: only where `-o` asks for
    /// another one than it has.
    pub(super) fn converts(&self, text: &str) -> Result<Option<OutputFormat>, Stop> {
        if !self.values.is_given("format") {
            return Ok(None);
        }
        let own = match text
            .trim_start_matches('\u{feff}')
            .trim_start()
            .starts_with('{')
        {
            true => OutputFormat::Json,
            false => OutputFormat::Yaml,
        };
        let asked = self.format(&Destination::Stdout)?;
        Ok(Some(asked).filter(|asked| *asked != own))
    }

    /// Seals one value and prints it, without a line break.
    pub(super) fn seal_raw(
        &self,
        certificate: &Certificate,
        input: &Source,
        destination: &Destination,
    ) -> Result<(), Stop> {
        let scope = self.scope().unwrap_or_default();
        let name = self.values.text("name");
        let namespace = match scope {
            Scope::ClusterWide => String::new(),
            _ => Access::load(&self.overrides)?.namespace()?.0,
        };
        if scope != Scope::ClusterWide && namespace.is_empty() {
            return Err(Stop(format!(
                "must provide the --namespace flag with --raw and --scope {scope}"
            )));
        }
        if scope == Scope::Strict && name.is_empty() {
            return Err(Stop(format!(
                "must provide the --name flag with --raw and --scope {scope}"
            )));
        }
        let value = self.raw_value(input)?;
        let label = scope.label(&namespace, name);
        let sealed = seal_value(certificate, &label, value.expose())?;
        destination.write(encode_value(&sealed).as_bytes())
    }

    fn raw_value(&self, input: &Source) -> Result<SecretBytes, Stop> {
        let files = self.values.texts("from-file");
        let read = match (files.as_slice(), input.is_file()) {
            ([], _) => {
                if !input.is_file() && self.is_interactive() {
                    err("(tty detected: expecting a secret to encrypt in stdin)\n");
                }
                input.read()?
            }
            ([_], true) => {
                return Err(Stop::from(
                    "give the value either with --from-file or with --secret-file",
                ));
            }
            ([file], false) => {
                // `KEY=PATH`, as kubectl takes it.
                let path = file.split_once('=').map_or(*file, |(_, path)| path);
                input::named_file(path)?
            }
            _ => {
                return Err(Stop::from(
                    "must provide only one --from-file when encrypting a single item with --raw",
                ));
            }
        };
        Ok(SecretBytes::new(read.bytes().to_vec()))
    }

    /// The namespace of the command line or of the environment.
    fn given_namespace(&self) -> Option<&str> {
        Some(self.overrides.namespace.as_str()).filter(|namespace| !namespace.is_empty())
    }
}

fn read(input: &Source) -> Result<Vec<PlainSecret>, Stop> {
    let input = input.read()?;
    let secrets = PlainSecret::read(input::text(&input)?)?;
    if secrets.is_empty() {
        return Err(Stop::from(input::NO_SECRETS));
    }
    for secret in &secrets {
        for (line, field) in secret.unknown_fields() {
            err(&format!(
                "warning: line {line}: a Secret has no field `{field}`; it is left out\n"
            ));
        }
        for what in secret.repeated_values() {
            let line = secret.line();
            err(&format!(
                "warning: line {line}: {what} repeats a value, and stays in clear\n"
            ));
        }
    }
    Ok(secrets)
}

fn seal_all(secrets: &[PlainSecret], plan: &SealPlan<'_>) -> Result<Vec<SealedSecret>, Stop> {
    let sealed = secrets.iter().map(|secret| secret.seal(plan));
    Ok(sealed.collect::<Result<_, _>>()?)
}

/// What sealed Secrets add to another one; a key that two of them have is an error.
fn additions(sealed: &[SealedSecret]) -> Result<Additions, Stop> {
    let mut additions = Additions::default();
    for secret in sealed {
        for item in secret.items() {
            let again = additions.values.iter().any(|(key, _)| key == item.key());
            if again {
                return Err(Stop(format!(
                    "two Secrets of the input have the key {:?}; one of them would be lost",
                    item.key()
                )));
            }
            let text = item.text().unwrap_or_default().to_owned();
            additions.values.push((item.key().to_owned(), text));
        }
        additions.labels.extend(secret.template_labels());
        let annotations = secret.template_annotations().into_iter();
        // The scope is the file's own.
        let of_scope = |name: &str| {
            Scope::ALL
                .iter()
                .any(|scope| scope.annotation() == Some(name))
        };
        additions
            .annotations
            .extend(annotations.filter(|(name, _)| !of_scope(name)));
    }
    Ok(additions)
}
