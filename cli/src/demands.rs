//! What the user demands of every file that is opened (docs/format.md).
//!
//! Such a demand stands outside of any repository: in a variable, and in `selkie/config.yaml` of the
//! user's configuration folder. One is enough, and nothing takes it back: no flag, no `.sops.yaml`,
//! no field of a file.

use std::{fs, io};

use selkie_sops::DecryptOptions;
use selkie_text::{Limits, Value, yaml};

use crate::environment::Environment;
use crate::failure::{Failure, Kind};

/// The one key of the configuration.
const REQUIRE_WHOLE_MAC: &str = "require_whole_mac";

impl Environment {
    /// Returns how files are opened, with what the user demands of them. Every opening of a file
    /// of somebody else begins with these.
    ///
    /// Fails when the user's configuration cannot be read: a demand in it might be passed over.
    pub(crate) fn opening(&self) -> Result<DecryptOptions, Failure> {
        Ok(DecryptOptions {
            require_whole_mac: self.require_whole_mac || self.configured()?,
            ..DecryptOptions::default()
        })
    }

    fn configured(&self) -> Result<bool, Failure> {
        let Some(path) = &self.user_config else {
            return Ok(false);
        };
        let refused = |reason: &str| {
            let message = format!("{}: {reason}", path.display());
            Failure::new(Kind::Other, message)
                .hint(format!("it may hold one line: `{REQUIRE_WHOLE_MAC}: true`"))
        };
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                return match error.kind() {
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Ok(false),
                    _ => Err(refused(&format!("the file cannot be read: {error}"))),
                };
            }
        };
        demand(&text).map_err(|reason| refused(&reason))
    }
}

/// Reads the text of a configuration.
fn demand(text: &str) -> Result<bool, String> {
    let stream = yaml::parse(text, &Limits::default()).map_err(|error| error.to_string())?;
    if stream.documents().len() > 1 {
        return Err("it has more than one document".to_owned());
    }
    if stream.duplicate_key(0).is_some() {
        return Err("a key is there twice".to_owned());
    }
    let first = stream.documents().first().and_then(|first| first.root);
    let value = first.map(|root| stream.node_value(root)).transpose();
    let mut demand = false;
    match value.map_err(|error| error.to_string())? {
        None | Some(Value::Null) => {}
        Some(Value::Map(fields)) => {
            for (name, value) in fields {
                match value {
                    Value::Bool(value) if name == REQUIRE_WHOLE_MAC => demand = value,
                    _ if name == REQUIRE_WHOLE_MAC => {
                        return Err(format!("{name} is not true or false"));
                    }
                    _ => return Err(format!("unknown key `{name}`")),
                }
            }
        }
        Some(_) => return Err("it is not a mapping".to_owned()),
    }
    Ok(demand)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_demand_is_read_and_anything_unclear_is_refused() {
        for (text, demanded) in [
            ("", Some(false)),
            ("# nothing\n", Some(false)),
            ("require_whole_mac: true\n", Some(true)),
            ("require_whole_mac: false\n", Some(false)),
            ("require_whole_mac: yes\n", None),
            ("require_whole_mac: [/x]\n", None),
            ("require_whole_macs: true\n", None),
            ("---\n---\nrequire_whole_mac: true\n", None),
            ("require_whole_mac: true\nrequire_whole_mac: false\n", None),
            ("- a\n", None),
            ("a: [\n", None),
        ] {
            assert_eq!(demand(text).ok(), demanded, "{text}");
        }
    }

    /// No other place makes options of its own, but for texts that were written a moment before.
    #[test]
    fn every_opening_begins_with_the_demands() {
        let own_texts = ["demands.rs", "personality/sops/change.rs", "shown_keys.rs"];
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut pending = vec![root.clone()];
        let mut met = 0;
        while let Some(folder) = pending.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    pending.push(path);
                    continue;
                }
                let name = path
                    .strip_prefix(&root)
                    .unwrap()
                    .to_string_lossy()
                    .into_owned();
                let text = fs::read_to_string(&path).unwrap();
                let makes = |line: &str| {
                    line.contains("DecryptOptions::default()")
                        || (line.contains("OpenFile::open(") && line.contains("Default::default()"))
                        || line.contains("require_whole_mac: false")
                };
                let makes = text.lines().any(makes);
                assert!(
                    !makes || own_texts.contains(&&*name),
                    "{name}: see Environment::opening"
                );
                met += usize::from(makes);
            }
        }
        assert_eq!(met, own_texts.len());
    }

    #[test]
    fn a_configuration_that_cannot_be_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let of = |path: &std::path::Path| Environment {
            user_config: Some(path.to_owned()),
            ..Environment::default()
        };
        let path = folder.path().join("config.yaml");
        assert!(!of(&path).opening().unwrap().require_whole_mac);
        fs::write(&path, "require_whole_mac: true\n").unwrap();
        assert!(of(&path).opening().unwrap().require_whole_mac);
        assert!(of(folder.path()).opening().is_err());
        let variable = Environment {
            require_whole_mac: true,
            ..Environment::default()
        };
        assert!(variable.opening().unwrap().require_whole_mac);
    }
}
