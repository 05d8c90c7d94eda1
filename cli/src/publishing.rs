//! Putting files of secrets where other systems read them (sops-format.md 17.3): their values into Vault
//! or OpenBao, the encrypted files into a bucket.

use std::path::Path;
use std::time::SystemTime;

use jiff::Timestamp;
use selkie_cloud::kv::{KvSecret, Written};
use selkie_cloud::s3::S3;
use selkie_secret::SecretBytes;
use selkie_sops::{
    CreationRule, DataKeySource, DecryptOptions, Destination, EncryptPlan, Encryption, Format,
    MasterKey,
};
use selkie_text::Value;

use crate::document::{self, DocumentError, Plain, Shape};
use crate::services::Services;

/// The server of Vault's own programs where nothing names one.
const LOCAL_VAULT: &str = "https://127.0.0.1:8200";

/// Why nothing was published. No variant holds a value of the file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PublishError {
    #[error(transparent)]
    Document(#[from] DocumentError),
    #[error("{0}")]
    Values(#[from] ValuesError),
    #[cfg(not(feature = "gcp-kms"))]
    #[error("this build of Selkie was made without a client for Google Cloud Storage")]
    Gcs,
    #[error("the destination is of a kind that this version does not know")]
    Unknown,
    #[error("{0}")]
    Upload(String),
}

/// Why a document has no form as the value of a secret of Vault.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ValuesError {
    #[error("the decrypted file is not UTF-8 text, which JSON of Vault needs")]
    NotText,
    #[error("the decrypted file cannot be read: {0}")]
    Unreadable(String),
    #[error("its top level is no mapping, so its values have no names")]
    NoMapping,
    #[error("the number at {0} is not finite, which JSON has no form for")]
    NotFinite(String),
}

/// What is published of a file.
pub(crate) enum Content {
    /// The encrypted file.
    File(Vec<u8>),
    /// A JSON object of the decrypted values.
    Values(SecretBytes),
}

/// Returns the name of a file at its destination: its own, or its path below `root`, with or without
/// the last extension.
pub(crate) fn published_name(file: &Path, root: Option<&Path>, omit_extension: bool) -> String {
    let below = root.and_then(|root| file.strip_prefix(root).ok());
    let below = below.filter(|path| !path.as_os_str().is_empty());
    let name = below.unwrap_or_else(|| Path::new(file.file_name().unwrap_or_default()));
    let name = match omit_extension {
        true => name.with_extension(""),
        false => name.to_owned(),
    };
    name.to_string_lossy().into_owned()
}

/// Returns a destination as people read it.
pub(crate) fn place(destination: &Destination, name: &str, services: &Services) -> String {
    match destination {
        Destination::S3 { bucket, prefix } => format!("s3://{bucket}/{prefix}{name}"),
        Destination::Gcs { bucket, prefix } => format!("gcs://{bucket}/{prefix}{name}"),
        Destination::Vault { address, .. } => {
            let address = server(address.as_ref(), services);
            let path = secret(destination, name).map(|secret| secret.api_path());
            format!("{address}/v1/{}", path.unwrap_or_default())
        }
        _ => name.to_owned(),
    }
}

/// Opens an encrypted file and returns what goes to Vault.
pub(crate) fn values(
    source: &[u8],
    format: Format,
    keys: &dyn DataKeySource,
    options: &DecryptOptions,
) -> Result<SecretBytes, PublishError> {
    let plain = document::decrypt(source, &kept(format), keys, options)?;
    Ok(json_of(plain.bytes.expose(), format)?)
}

/// Opens an encrypted file.
pub(crate) fn opened(
    source: &[u8],
    format: Format,
    keys: &dyn DataKeySource,
    options: &DecryptOptions,
) -> Result<Plain, PublishError> {
    Ok(document::decrypt(source, &kept(format), keys, options)?)
}

/// Encrypts an open file by a rule, with every setting of it, under a new data key.
pub(crate) fn recreated(
    plain: &[u8],
    format: Format,
    rule: &CreationRule,
    groups: Vec<Vec<&dyn MasterKey>>,
    whole_mac: bool,
    now: Timestamp,
) -> Result<Vec<u8>, PublishError> {
    let selection = match format {
        Format::Binary => None,
        _ => rule.selection.clone(),
    };
    let plan = EncryptPlan {
        groups,
        threshold: rule.threshold,
        selection: selection.unwrap_or_default().even_if_nothing_matches(),
        mac_only_encrypted: rule.mac_only_encrypted,
        whole_mac,
        now,
    };
    match document::encrypt(plain, &kept(format), &plan)? {
        Encryption::Encrypted(encrypted) => Ok(encrypted.text.into_bytes()),
        Encryption::AlreadyEncrypted(_) => Err(PublishError::Document(
            selkie_sops::EncryptError::ReservedKey { line: 1 }.into(),
        )),
    }
}

/// Uploads; opens connections.
pub(crate) fn upload(
    destination: &Destination,
    name: &str,
    content: &Content,
    services: &Services,
) -> Result<Written, PublishError> {
    let failed = |error: &dyn std::fmt::Display| PublishError::Upload(error.to_string());
    match (destination, content) {
        (Destination::Vault { address, .. }, Content::Values(values)) => {
            let secret = secret(destination, name).ok_or(PublishError::Unknown)?;
            let address = server(address.as_ref(), services);
            services
                .vault
                .with_server(&address, async |vault| secret.write(vault, values).await)
                .map_err(PublishError::Upload)
        }
        (Destination::S3 { bucket, prefix }, Content::File(file)) => {
            let key = format!("{prefix}{name}");
            let put = async {
                let s3 = S3::new(services.attempt).await?;
                s3.put(bucket, &key, file, SystemTime::now()).await
            };
            let put = services.network.run(put).map_err(|error| failed(&error))?;
            put.map_err(|error| failed(&error))?;
            Ok(Written::New)
        }
        #[cfg(feature = "gcp-kms")]
        (Destination::Gcs { bucket, prefix }, Content::File(file)) => {
            let storage = services.storage().map_err(|error| failed(&error))?;
            let key = format!("{prefix}{name}");
            let put = services.network.run(storage.put(bucket, &key, file));
            put.map_err(|error| failed(&error))?
                .map_err(|error| failed(&error))?;
            Ok(Written::New)
        }
        #[cfg(not(feature = "gcp-kms"))]
        (Destination::Gcs { .. }, _) => Err(PublishError::Gcs),
        _ => Err(PublishError::Unknown),
    }
}

fn server(address: Option<&String>, services: &Services) -> String {
    let known = address.or(services.vault_address.as_ref());
    known.map_or_else(|| LOCAL_VAULT.to_owned(), Clone::clone)
}

fn secret(destination: &Destination, name: &str) -> Option<KvSecret> {
    match destination {
        Destination::Vault {
            path,
            mount,
            version,
            ..
        } => Some(KvSecret {
            mount: mount.clone(),
            path: format!("{}/{name}", path.trim_end_matches('/')),
            versioned: *version != 1,
        }),
        _ => None,
    }
}

fn kept(format: Format) -> Shape {
    Shape {
        input: format,
        output: format,
        indent: None,
        anew: false,
    }
}

/// Returns a document as one JSON object: the values of all its parts by their top-level keys, the
/// last of several with the same key. Comments are left out; what stands in lists is as it is (sops
/// writes mappings and comments in lists as objects of its own program).
fn json_of(plain: &[u8], format: Format) -> Result<SecretBytes, ValuesError> {
    let text = std::str::from_utf8(plain).map_err(|_| ValuesError::NotText)?;
    // Escapes make a text at most six times as long; nothing is copied as it grows.
    let mut json = Zeroed::with_capacity(text.len() * 6 + 1024);
    if format == Format::Binary {
        json.0.extend_from_slice(b"{\"data\":");
        json.text(text);
        json.0.push(b'}');
        return Ok(json.into_secret());
    }
    let unreadable = |error: &dyn std::fmt::Display| ValuesError::Unreadable(error.to_string());
    let stream = format.parse(text).map_err(|error| unreadable(&error))?;
    let mut entries: Vec<(String, Value)> = Vec::new();
    for number in 0..stream.documents().len() {
        let document = stream
            .to_value(number)
            .map_err(|error| unreadable(&error))?;
        let found = match document {
            None | Some(Value::Null) => continue,
            Some(Value::Map(found)) => found,
            Some(_) => return Err(ValuesError::NoMapping),
        };
        for (key, value) in found {
            match entries.iter_mut().find(|(known, _)| *known == key) {
                _ if matches!(value, Value::Comment(_)) => {}
                Some(known) => known.1 = value,
                None => entries.push((key, value)),
            }
        }
    }
    json.value(&Value::Map(entries), "")?;
    Ok(json.into_secret())
}

/// JSON that is written into memory that is cleared.
struct Zeroed(zeroize::Zeroizing<Vec<u8>>);

impl Zeroed {
    fn with_capacity(bytes: usize) -> Self {
        Self(zeroize::Zeroizing::new(Vec::with_capacity(bytes)))
    }

    fn into_secret(mut self) -> SecretBytes {
        SecretBytes::new(std::mem::take(&mut *self.0))
    }

    /// Writes a value; `at` names its place for an error.
    fn value(&mut self, value: &Value, at: &str) -> Result<(), ValuesError> {
        match value {
            Value::Map(entries) => {
                let entries = entries
                    .iter()
                    .filter(|(_, value)| !matches!(value, Value::Comment(_)));
                self.0.push(b'{');
                for (number, (key, value)) in entries.enumerate() {
                    if number > 0 {
                        self.0.push(b',');
                    }
                    self.text(key);
                    self.0.push(b':');
                    self.value(value, &format!("{at}[{key:?}]"))?;
                }
                self.0.push(b'}');
            }
            Value::Seq(items) => {
                let items = items
                    .iter()
                    .filter(|item| !matches!(item, Value::Comment(_)));
                self.0.push(b'[');
                for (number, item) in items.enumerate() {
                    if number > 0 {
                        self.0.push(b',');
                    }
                    self.value(item, &format!("{at}[{number}]"))?;
                }
                self.0.push(b']');
            }
            Value::Str(text) | Value::Raw(text) | Value::Quoted(text) | Value::Time(text) => {
                self.text(text);
            }
            Value::Int(number) => self.0.extend_from_slice(number.to_string().as_bytes()),
            Value::Float(number) if !number.is_finite() => {
                return Err(ValuesError::NotFinite(at.to_owned()));
            }
            Value::Float(number) => self.0.extend_from_slice(float(*number).as_bytes()),
            Value::Bool(true) => self.0.extend_from_slice(b"true"),
            Value::Bool(false) => self.0.extend_from_slice(b"false"),
            Value::Null | Value::Comment(_) => self.0.extend_from_slice(b"null"),
        }
        Ok(())
    }

    fn text(&mut self, text: &str) {
        // Writing to memory does not fail.
        let _ = serde_json::to_writer(&mut *self.0, text);
    }
}

/// A float as Go's `encoding/json` writes it, so that Vault keeps the same number.
fn float(number: f64) -> String {
    let size = number.abs();
    if size != 0.0 && !(1e-6..1e21).contains(&size) {
        let text = format!("{number:e}");
        return match text.split_once('e') {
            Some((digits, exponent)) if !exponent.starts_with('-') => {
                format!("{digits}e+{exponent}")
            }
            _ => text,
        };
    }
    format!("{number}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str, format: Format) -> Result<String, ValuesError> {
        let found = json_of(text.as_bytes(), format)?;
        Ok(String::from_utf8(found.expose().to_vec()).unwrap())
    }

    #[test]
    fn values_become_one_object() {
        let yaml = "# about\na: 1\nb: [x, 1.0, null, {c: true}] # behind\nf: 1e22\nd: \"q\\\"\"\n\
                    when: 2024-01-02T03:04:05Z\n---\na: 2\n---\n";
        assert_eq!(
            json(yaml, Format::Yaml).unwrap(),
            r#"{"a":2,"b":["x",1,null,{"c":true}],"f":1e+22,"d":"q\"","when":"2024-01-02T03:04:05Z"}"#
        );
        assert_eq!(json("A=1\n", Format::Dotenv).unwrap(), r#"{"A":"1"}"#);
        assert_eq!(json("x\n", Format::Binary).unwrap(), r#"{"data":"x\n"}"#);
        assert!(matches!(
            json("- a\n", Format::Yaml),
            Err(ValuesError::NoMapping)
        ));
        let Err(ValuesError::NotFinite(at)) = json("a: {b: [.inf]}\n", Format::Yaml) else {
            panic!("there is no such JSON");
        };
        assert_eq!(at, "[\"a\"][\"b\"][0]");
        assert!(json_of(b"\xff", Format::Binary).is_err());
    }

    #[test]
    fn floats_are_spelled_as_go_spells_them() {
        for (number, text) in [
            (0.0, "0"),
            (-1.5, "-1.5"),
            (3.0, "3"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (1e-6, "0.000001"),
            (1.5e-7, "1.5e-7"),
        ] {
            assert_eq!(float(number), text);
        }
    }

    #[test]
    fn names_at_the_destination() {
        let name = |file: &str, root: Option<&str>, omit| {
            published_name(Path::new(file), root.map(Path::new), omit)
        };
        assert_eq!(name("a/b/c.enc.yaml", None, false), "c.enc.yaml");
        assert_eq!(name("a/b/c.enc.yaml", None, true), "c.enc");
        assert_eq!(name("a/b/c.yaml", Some("a"), true), "b/c");
        assert_eq!(name("a/c.yaml", Some("a/c.yaml"), false), "c.yaml");
    }
}
