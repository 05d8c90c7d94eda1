//! Opening SealedSecrets without a cluster (sealed-secrets.md 12.8).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use selkie_seal::PrivateKeys;
use selkie_seal::object::SealedSecret;
use selkie_secret::{SecretBytes, SecretString};
use selkie_template::{Data, Env, Functions, Limits, Template};
use zeroize::Zeroizing;

use super::input::{self, Source};
use super::output::Destination;
use super::{Invocation, Stop};

impl Invocation {
    /// Opens every SealedSecret of the input and prints the Secrets. Nothing is written when one of
    /// them does not open.
    pub(super) fn recover(&self, input: &Source, destination: &Destination) -> Result<(), Stop> {
        let mut keys = PrivateKeys::default();
        for path in self.values.texts("recovery-private-key") {
            let file = input::named_file(path)?;
            let text = file
                .text()
                .map_err(|failure| format!("{path}: {}", failure.message))?;
            keys.add(text).map_err(|error| format!("{path}: {error}"))?;
        }
        let input = input.read()?;
        let sealed = SealedSecret::read(input::text(&input)?)?;
        input::warn_of_unknown_fields(&sealed);
        let format = self.format(destination)?;
        let mut opened = Vec::with_capacity(sealed.len());
        let mut last = None;
        for secret in &sealed {
            let label = secret.label();
            let mut unsealer = keys.unsealer(&label, last);
            let clear =
                secret
                    .open(&mut unsealer, &mut render)
                    .map_err(|error| match sealed.len() {
                        1 => error.to_string(),
                        _ => format!("line {}: {}: {error}", secret.line(), secret.name()),
                    })?;
            last = unsealer.fitting();
            opened.push(clear.print(format));
        }
        let length = opened.iter().map(SecretString::len).sum();
        let mut text = Zeroizing::new(String::with_capacity(length));
        for secret in &opened {
            text.push_str(secret.expose());
        }
        destination.write(text.as_bytes())
    }
}

/// Renders a template of `spec.template.data` as the controller does.
fn render(
    key: &str,
    text: &str,
    values: &BTreeMap<String, SecretBytes>,
) -> Result<SecretBytes, String> {
    let limits = Limits::default();
    let template = Template::parse(key, text, Functions::sealed_secrets(), &limits)
        .map_err(|error| error.to_string())?;
    let began = Instant::now();
    let mut no_random = false;
    let rendered = template.render(
        &Data::texts(values),
        &mut Env {
            now: &Timestamp::now,
            expired: &|| began.elapsed() > LONGEST,
            random: &mut |bytes| no_random |= getrandom::fill(bytes).is_err(),
            local: TimeZone::system(),
            zones: jiff::tz::db().clone(),
        },
    );
    match no_random {
        true => Err("the operating system gave no random bytes".to_owned()),
        false => rendered.map_err(|error| error.to_string()),
    }
}

/// For one template.
const LONGEST: Duration = Duration::from_secs(10);
