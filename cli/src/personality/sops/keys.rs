//! Whom a file is encrypted for, and what opens it: flags, variables, the rule of the config
//! (sops-format.md 17.2, 18).

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use selkie_keys::master_key;
use selkie_keys::service::AddressError;
use selkie_sops::{
    CreationRule, DataKeySource, DecryptOptions, EncryptPlan, Encryption, KeyEntry, KeyKind,
    KeySpec, KmsSpec, MasterKey, Selection, SelectionSettings, UnwrapError, WrapError,
};
use zeroize::Zeroizing;

use super::target::Target;
use super::{Exit, Invocation, told};
use crate::document::{self, Shape};
use crate::keys::{Clients, Keys};
use crate::services::{KeyServices, Services};

/// The flags of the seven kinds, in the order that their keys get in a group.
const KINDS: [(KeyKind, &str); 7] = [
    (KeyKind::Kms, "kms"),
    (KeyKind::GcpKms, "gcp-kms"),
    (KeyKind::Hckms, "hckms"),
    (KeyKind::AzureKv, "azure-kv"),
    (KeyKind::Pgp, "pgp"),
    (KeyKind::HcVault, "hc-vault-transit"),
    (KeyKind::Age, "age"),
];

/// How a clear file is encrypted.
pub(super) struct Recipe {
    pub(super) groups: Vec<Vec<KeySpec>>,
    pub(super) threshold: Option<usize>,
    pub(super) selection: Selection,
    pub(super) mac_only_encrypted: bool,
}

/// What wraps and unwraps data keys in this run.
pub(super) struct Keyring {
    clients: Arc<Clients>,
    keys: Option<Keys>,
}

impl Keyring {
    /// Makes the master key that a spec names.
    pub(super) fn master_key(
        &self,
        spec: &KeySpec,
        now: Timestamp,
    ) -> Result<Box<dyn MasterKey>, WrapError> {
        let refused = |reason: String| WrapError {
            kind: spec.kind(),
            id: spec.identity(),
            reason,
        };
        match master_key(spec, &self.clients.context(now)) {
            Ok(key) => Ok(key),
            Err(error) => Err(refused(error.to_string())),
        }
    }

    /// Makes every key of some groups.
    pub(super) fn masters(
        &self,
        groups: &[Vec<KeySpec>],
        now: Timestamp,
    ) -> Result<Vec<Vec<Box<dyn MasterKey>>>, Exit> {
        let made = groups.iter().map(|group| {
            let keys = group.iter().map(|spec| self.master_key(spec, now));
            keys.collect::<Result<Vec<_>, _>>()
        });
        let made: Result<_, WrapError> = made.collect();
        made.map_err(|error| told::no_new_data_key(&error))
    }

    /// Returns the services over the network.
    pub(super) fn services(&self) -> &Services {
        self.clients.services()
    }

    /// Says what key services had to say.
    pub(super) fn warn(&self, log: super::Logger) {
        for warning in self.clients.take_warnings() {
            log.warn(&warning);
        }
    }

    /// Says where age identities were looked for.
    pub(super) fn places(&self) -> String {
        self.keys.as_ref().map(Keys::places).unwrap_or_default()
    }
}

impl DataKeySource for Keyring {
    fn fits(&self, entry: &KeyEntry) -> bool {
        self.keys.as_ref().is_some_and(|keys| keys.fits(entry))
    }

    fn unwrap_key(&self, entry: &KeyEntry) -> Result<Zeroizing<Vec<u8>>, UnwrapError> {
        match &self.keys {
            Some(keys) => keys.unwrap_key(entry),
            None => Err(UnwrapError::NotMine),
        }
    }
}

impl Invocation {
    /// Returns what wraps keys, `given` among them, whose servers are trusted.
    pub(super) fn wrapping(&self, given: &[KeySpec]) -> Result<Keyring, Exit> {
        Ok(Keyring {
            clients: Clients::under_sops_name(&self.environment, given)?,
            keys: None,
        })
    }

    /// Returns what wraps and unwraps keys.
    pub(super) fn keyring(&self, given: &[KeySpec]) -> Result<Keyring, Exit> {
        let mut ring = self.wrapping(given)?;
        ring.keys = Some(Keys::collect(&self.environment, &ring.clients));
        Ok(ring)
    }

    /// Returns which processes wrap and unwrap: a text that is no address is passed over.
    pub(super) fn key_services(&self) -> KeyServices {
        let mut remote = Vec::new();
        for text in self.own.texts("keyservice") {
            match text.parse() {
                Ok(address) => {
                    self.log.info("Connecting to key service");
                    remote.push(address);
                }
                Err(error) => {
                    let error: AddressError = error;
                    self.log.warn(&format!(
                        "Error parsing URI for keyservice, skipping: {error}"
                    ));
                }
            }
        }
        KeyServices {
            local: self.own.switch("enable-local-keyservice"),
            remote,
        }
    }

    /// Returns how files are opened.
    pub(super) fn opening(&self) -> Result<DecryptOptions, Exit> {
        let order =
            match self.own.text("decryption-order") {
                "" => None,
                order => Some(order.parse().map_err(
                    |error: selkie_sops::DecryptionOrderError| {
                        Exit::Message(112, format!("Duplicate decryption key type: {}", error.0))
                    },
                )?),
            };
        Ok(DecryptOptions {
            ignore_mac: self.own.switch("ignore-mac"),
            order,
            require_version: true,
            ..self.environment.opening()?
        })
    }

    /// Returns the rule of a file, if there is a config with rules.
    pub(super) fn rule(&self, target: &Target) -> Result<Option<&CreationRule>, Exit> {
        match self.config() {
            Ok(Some(config)) => config.rule(&target.name),
            Ok(None) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Resolves flags, variables and the rule of the config. Each of the six settings of the
    /// selection may come from either, but only one may be left.
    pub(super) fn recipe(&self, target: &Target, shape: &Shape) -> Result<Recipe, Exit> {
        let rule = self.rule(target)?;
        let selection = match shape.input {
            selkie_sops::Format::Binary => {
                self.warn_of_settings(rule);
                Selection::default()
            }
            _ => self.selection(rule)?,
        };
        let context = self.context()?;
        let groups = match self.given_keys("")? {
            Some(given) => vec![given],
            None => match rule {
                Some(rule) => rule.groups(&context),
                None => {
                    let message = "config file not found, or has no creation rules, and no keys \
                                   provided through command line options";
                    return Err(Exit::Message(1, message.to_owned()));
                }
            },
        };
        let threshold = match self.threshold()? {
            Some(threshold) => Some(threshold),
            None => rule.and_then(|rule| rule.threshold),
        };
        Ok(Recipe {
            groups,
            threshold,
            selection: selection.even_if_nothing_matches(),
            mac_only_encrypted: self.global.switch("mac-only-encrypted")
                || rule.is_some_and(|rule| rule.mac_only_encrypted),
        })
    }

    /// Encrypts by a recipe and says when nothing was selected.
    pub(super) fn encrypt_by(
        &self,
        recipe: &Recipe,
        plain: &[u8],
        shape: &Shape,
    ) -> Result<String, Exit> {
        let now = Timestamp::now();
        let ring = self.wrapping(&recipe.groups.concat())?;
        let masters = ring.masters(&recipe.groups, now)?;
        let plan = EncryptPlan {
            groups: borrowed(&masters),
            threshold: recipe.threshold,
            selection: recipe.selection.clone(),
            mac_only_encrypted: recipe.mac_only_encrypted,
            // Closed schemas of other tools refuse fields that sops does not write.
            whole_mac: false,
            now,
        };
        let encryption =
            document::encrypt(plain, shape, &plan).map_err(|error| told::encrypting(&error))?;
        ring.warn(self.log);
        let encrypted = match encryption {
            Encryption::Encrypted(encrypted) => encrypted,
            Encryption::AlreadyEncrypted(_) => return Err(told::already_encrypted()),
        };
        if encrypted.values == 0 && encrypted.comments == 0 && !plain.is_empty() {
            let (name, text) = recipe.selection.setting().unwrap_or_default();
            self.log.warn(&format!(
                "Nothing was encrypted: the rule {name}: {text:?} leaves every value of the file \
                 in clear"
            ));
        }
        Ok(encrypted.text)
    }

    /// Returns the threshold that the flag gives; 0 is none.
    pub(super) fn threshold(&self) -> Result<Option<usize>, Exit> {
        match self.own.number("shamir-secret-sharing-threshold") {
            0 => Ok(None),
            number => usize::try_from(number).map(Some).map_err(|_| {
                let message = "Error: the Shamir threshold must not be below 0";
                Exit::Message(1, message.to_owned())
            }),
        }
    }

    /// Returns the keys that flags with this prefix name, or their variables; `None` when none is
    /// given.
    pub(super) fn given_keys(&self, prefix: &str) -> Result<Option<Vec<KeySpec>>, Exit> {
        let context = self.context()?;
        let mut keys = None;
        for (kind, flag) in KINDS {
            let flag = format!("{prefix}{flag}");
            let (one, each) = (self.own.text(&flag), self.own.texts(&flag));
            let lists = Some(one).filter(|one| !one.is_empty()).into_iter();
            for list in lists.chain(each.iter().map(String::as_str)) {
                let mut parsed = KeySpec::parse_list(kind, list)
                    .map_err(|error| Exit::Message(1, format!("--{flag}: {error}")))?;
                for key in &mut parsed {
                    self.complete(key, &context);
                }
                keys.get_or_insert_with(Vec::new).extend(parsed);
            }
        }
        Ok(keys)
    }

    fn complete(&self, key: &mut KeySpec, context: &BTreeMap<String, String>) {
        if let KeySpec::Kms(kms) = key {
            kms.context.clone_from(context);
            let profile = self.own.text("aws-profile");
            kms.profile = Some(profile.to_owned()).filter(|profile| !profile.is_empty());
        }
    }

    fn context(&self) -> Result<BTreeMap<String, String>, Exit> {
        KmsSpec::parse_context(self.own.text("encryption-context"))
            .map_err(|_| Exit::Message(6, "Invalid KMS encryption context format".to_owned()))
    }

    fn selection(&self, rule: Option<&CreationRule>) -> Result<Selection, Exit> {
        let of_rule = rule.and_then(|rule| rule.selection.as_ref());
        let of_rule = of_rule.and_then(Selection::setting);
        let setting = |name: &str| {
            let flag = self.own.text(&name.replace('_', "-"));
            let ruled = of_rule.filter(|(setting, _)| *setting == name);
            let text = match flag {
                "" => ruled.map(|(_, text)| text).unwrap_or_default(),
                flag => flag,
            };
            Some(text.to_owned()).filter(|text| !text.is_empty())
        };
        let settings = SelectionSettings {
            unencrypted_suffix: setting("unencrypted_suffix"),
            encrypted_suffix: setting("encrypted_suffix"),
            unencrypted_regex: setting("unencrypted_regex"),
            encrypted_regex: setting("encrypted_regex"),
            unencrypted_comment_regex: setting("unencrypted_comment_regex"),
            encrypted_comment_regex: setting("encrypted_comment_regex"),
        };
        match settings.compile() {
            Ok(selection) => Ok(selection.unwrap_or_default()),
            Err(error) => Err(told::selecting(&error)),
        }
    }

    /// Says that a rule for parts of a file has no effect on one that is one value.
    fn warn_of_settings(&self, rule: Option<&CreationRule>) {
        let flags = [
            "unencrypted-suffix",
            "encrypted-suffix",
            "encrypted-regex",
            "unencrypted-regex",
            "encrypted-comment-regex",
        ];
        let given = flags.iter().any(|flag| !self.own.text(flag).is_empty());
        if given || rule.is_some_and(|rule| rule.selection.is_some()) {
            self.log.warn(
                "A rule for which values are encrypted does not make sense with the input store \
                 (the binary store produces one key that should always be encrypted) and will be \
                 ignored.",
            );
        }
    }
}

/// The keys of groups as a plan takes them.
pub(super) fn borrowed(masters: &[Vec<Box<dyn MasterKey>>]) -> Vec<Vec<&dyn MasterKey>> {
    let groups = masters.iter();
    groups
        .map(|group| group.iter().map(AsRef::as_ref).collect())
        .collect()
}
