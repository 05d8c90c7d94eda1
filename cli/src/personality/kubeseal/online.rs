//! What kubeseal asks the controller: its certificate, whether values open, and new ciphertext
//! (sealed-secrets.md 10, 12.9, 12.10).

use http::StatusCode;
use selkie_seal::object::{EditManifestError, OutputFormat, SealedSecret, replace_values};
use serde_json::Value;

use super::input::{self, Source};
use super::output::Destination;
use super::{Invocation, Stop, flags, stop};
use crate::cluster::{self, Controller, ControllerProblem};

impl Invocation {
    pub(super) fn controller_certificate(&self) -> Result<Vec<u8>, Stop> {
        self.block_on(async {
            let controller = self.controller().await?;
            controller
                .certificate()
                .await
                .map_err(|problem| Stop(format!("cannot fetch certificate: {problem}")))
        })
    }

    /// Asks the controller about every SealedSecret of the input.
    pub(super) fn validate(&self, input: &Source) -> Result<(), Stop> {
        self.block_on(async {
            let controller = self.controller().await?;
            let input = input.read()?;
            let sealed = SealedSecret::read(input::text(&input)?)
                .map_err(|error| format!("cannot validate sealed secret: {error}"))?;
            for secret in &sealed {
                let asked = controller
                    .post("/v1/verify", &secret.print(OutputFormat::Json))
                    .await;
                asked.map_err(|problem| match problem {
                    ControllerProblem::Answer {
                        status: Some(StatusCode::CONFLICT),
                        ..
                    } => format!("unable to decrypt sealed secret: {}", secret.name()),
                    problem => format!("cannot validate sealed secret: {problem}"),
                })?;
            }
            Ok(())
        })
    }

    /// Has the controller seal every value anew. Only values change: metadata, templates, comments
    /// and layout stay, whatever the controller makes of them.
    pub(super) fn re_encrypt(&self, input: &Source, destination: &Destination) -> Result<(), Stop> {
        let printed = self.block_on(async {
            let controller = self.controller().await?;
            let read = input.read()?;
            let text = input::text(&read)?;
            let mut sealed = SealedSecret::read(text)?;
            let mut answers = Vec::with_capacity(sealed.len());
            for secret in &sealed {
                let asked = controller
                    .post("/v1/rotate", &secret.print(OutputFormat::Json))
                    .await;
                let answer = asked.map_err(|problem| match problem {
                    ControllerProblem::Answer {
                        status: Some(StatusCode::CONFLICT),
                        ..
                    } => "unable to rotate secret".to_owned(),
                    problem => format!("cannot re-encrypt secret: {problem}"),
                })?;
                answers.push(Answer::parse(&answer, secret)?);
            }
            for (secret, answer) in sealed.iter_mut().zip(&answers) {
                secret.replace(|key| answer.of(key));
                refuse_broken(secret)?;
            }
            let in_place = destination.is_in_place() && self.converts(text)?.is_none();
            if in_place {
                let changed = replace_values::<EditManifestError>(text, |secret, item| {
                    let answer = answers.get(secret.position());
                    Ok(answer.and_then(|answer| answer.of(item.key())))
                })?;
                read.replace(changed.text.as_bytes(), crate::file::Secrecy::Sealed)
                    .map_err(stop)?;
                return Ok(None);
            }
            Ok(Some(sealed))
        })?;
        let Some(sealed) = printed else { return Ok(()) };
        input::warn_of_unknown_fields(&sealed);
        let format = match destination.is_in_place() {
            true => self.format(&Destination::Stdout)?,
            false => self.format(destination)?,
        };
        let text: String = sealed
            .into_iter()
            .map(|secret| secret.without_server_fields().print(format))
            .collect();
        destination.write(text.as_bytes())
    }

    async fn controller(&self) -> Result<Controller, Stop> {
        let (name, namespace) = (
            self.or_default("controller-name", "sealed-secrets-controller"),
            self.or_default("controller-namespace", "kube-system"),
        );
        let limit = flags::request_timeout(self.values.text("request-timeout"))?;
        let found = Controller::connect(&self.overrides, name, namespace, limit).await;
        found.map_err(|problem| match problem {
            ControllerProblem::Service(reason) => Stop(format!(
                "cannot get sealed secret service: {reason}.\nPlease, use the flag \
                 --controller-name and --controller-namespace to set up the name and namespace of \
                 the sealed secrets controller"
            )),
            problem => Stop::from(problem),
        })
    }

    fn or_default(&self, flag: &str, default: &'static str) -> &str {
        match self.values.is_given(flag) {
            true => self.values.text(flag),
            false => default,
        }
    }

    fn block_on<T>(&self, future: impl Future<Output = Result<T, Stop>>) -> Result<T, Stop> {
        cluster::block_on(future).map_err(stop)?
    }
}

/// Refuses values that no controller could have meant: they would take the place of good ones.
fn refuse_broken(secret: &SealedSecret) -> Result<(), Stop> {
    let problems = secret.problems(None);
    let is_of_value = |path: &str| path.starts_with("spec.encryptedData.");
    let broken = problems
        .iter()
        .find(|problem| problem.is_fatal && is_of_value(&problem.path));
    broken.map_or(Ok(()), |problem| {
        Err(Stop(format!(
            "cannot re-encrypt secret: in the controller's answer for {}, {}: {}",
            secret.name(),
            problem.path,
            problem.what
        )))
    })
}

/// The new values of one SealedSecret.
struct Answer(serde_json::Map<String, Value>);

impl Answer {
    /// Reads an answer of `/v1/rotate`, which may lack kind and apiVersion (sealed-secrets.md 9.4).
    /// It has to have every value that was asked for.
    fn parse(bytes: &[u8], asked: &SealedSecret) -> Result<Self, Stop> {
        let wrong = |what: &str| {
            let name = asked.name();
            Stop(format!(
                "cannot re-encrypt secret: the controller's answer for {name} {what}"
            ))
        };
        let mut answer: Value = serde_json::from_slice(bytes).map_err(|_| wrong("is not JSON"))?;
        let values = match answer.pointer_mut("/spec/encryptedData").map(Value::take) {
            Some(Value::Object(values)) => values,
            None if asked.items().is_empty() => serde_json::Map::new(),
            _ => return Err(wrong("has no values")),
        };
        let missing = asked
            .items()
            .iter()
            .find(|item| !values.get(item.key()).is_some_and(Value::is_string));
        match missing {
            Some(item) => Err(wrong(&format!("lacks the value {:?}", item.key()))),
            None => Ok(Self(values)),
        }
    }

    fn of(&self, key: &str) -> Option<String> {
        self.0.get(key)?.as_str().map(str::to_owned)
    }
}
