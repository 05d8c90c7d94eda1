//! Flags, environment and `.sops.yaml` resolved into one plan; only the plan reaches a library.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use selkie_keys::age::{AgeRecipient, RecipientError, parse_recipients};
use selkie_sops::{
    CreationRule, EncryptError, Format, KeyKind, KeySpec, KeyTarget, KmsSpec, Selection,
    SelectionSettings, check_groups, manifest,
};

use crate::config_file::{ConfigFile, ConfigFiles, absolute};
use crate::environment::Environment;
use crate::explain;
use crate::failure::{Failure, Kind};
use crate::ui::Ui;

/// The flags that say for whom and what is encrypted.
#[derive(Debug, Default, Args)]
pub(crate) struct KeyFlags {
    /// age recipients (age1..., ssh-...), separated by commas; may be repeated
    #[arg(short, long, value_name = "RECIPIENTS", help_heading = "Keys")]
    pub(crate) age: Vec<String>,
    /// OpenPGP fingerprints, separated by commas; may be repeated
    #[arg(short, long, value_name = "FINGERPRINTS", help_heading = "Keys")]
    pub(crate) pgp: Vec<String>,
    /// ARNs of AWS KMS keys, separated by commas, each with +ROLE_ARN for a role to assume; may be
    /// repeated
    #[arg(short, long, value_name = "ARNS", help_heading = "Keys")]
    pub(crate) kms: Vec<String>,
    /// Profile of the AWS config to use for the keys of --kms
    #[arg(long, value_name = "PROFILE", help_heading = "Keys")]
    pub(crate) aws_profile: Option<String>,
    /// Encryption context for the keys of --kms: KEY:VALUE, separated by commas
    #[arg(long, value_name = "PAIRS", help_heading = "Keys")]
    pub(crate) encryption_context: Option<String>,
    /// Transit keys of Vault or OpenBao (https://HOST:8200/v1/ENGINE/keys/NAME), separated by commas;
    /// may be repeated
    #[arg(long, value_name = "URIS", help_heading = "Keys")]
    pub(crate) hc_vault_transit: Vec<String>,
    /// Keys of Google Cloud KMS (projects/P/locations/L/keyRings/R/cryptoKeys/K), separated by
    /// commas; may be repeated
    #[arg(long, value_name = "IDS", help_heading = "Keys")]
    pub(crate) gcp_kms: Vec<String>,
    /// Keys of Azure Key Vault (https://VAULT/keys/NAME, with /VERSION for another than the newest),
    /// separated by commas; may be repeated
    #[arg(long, value_name = "URLS", help_heading = "Keys")]
    pub(crate) azure_kv: Vec<String>,
    /// Huawei Cloud KMS keys, as sops takes them; refused, as there is no client for them
    #[arg(long, value_name = "KEYS", help_heading = "Keys", hide = true)]
    pub(crate) hckms: Vec<String>,
    /// Use this config file instead of the nearest .sops.yaml above the file
    #[arg(long, value_name = "FILE", help_heading = "Keys")]
    pub(crate) config: Option<PathBuf>,
    /// Encrypt only values under keys that match
    #[arg(
        long,
        value_name = "REGEX",
        help_heading = "What is encrypted (at most one)"
    )]
    pub(crate) encrypted_regex: Option<String>,
    /// Encrypt all values but those under keys that match
    #[arg(
        long,
        value_name = "REGEX",
        help_heading = "What is encrypted (at most one)"
    )]
    pub(crate) unencrypted_regex: Option<String>,
    /// Encrypt only values under keys with this ending
    #[arg(
        long,
        value_name = "TEXT",
        help_heading = "What is encrypted (at most one)"
    )]
    pub(crate) encrypted_suffix: Option<String>,
    /// Encrypt all values but those under keys with this ending
    #[arg(
        long,
        value_name = "TEXT",
        help_heading = "What is encrypted (at most one)"
    )]
    pub(crate) unencrypted_suffix: Option<String>,
    /// Encrypt only values that follow a comment that matches
    #[arg(
        long,
        value_name = "REGEX",
        help_heading = "What is encrypted (at most one)"
    )]
    pub(crate) encrypted_comment_regex: Option<String>,
    /// Encrypt all values but those that follow a comment that matches
    #[arg(
        long,
        value_name = "REGEX",
        help_heading = "What is encrypted (at most one)"
    )]
    pub(crate) unencrypted_comment_regex: Option<String>,
    /// Let the MAC cover encrypted values only, so that the rest may be edited
    #[arg(long)]
    pub(crate) mac_only_encrypted: bool,
    /// Add a MAC over the whole file, which sops passes over and Selkie checks: keys, types,
    /// comments and metadata as well; to a file that is encrypted already, too
    #[arg(long)]
    pub(crate) whole_mac: bool,
}

impl KeyFlags {
    /// Refuses flags that count for a new file only, as there is one already.
    pub(crate) fn check_unused(&self) -> Result<(), Failure> {
        let lists = [
            ("--age", &self.age),
            ("--pgp", &self.pgp),
            ("--kms", &self.kms),
            ("--hc-vault-transit", &self.hc_vault_transit),
            ("--gcp-kms", &self.gcp_kms),
            ("--azure-kv", &self.azure_kv),
            ("--hckms", &self.hckms),
        ];
        let texts = [
            ("--aws-profile", &self.aws_profile),
            ("--encryption-context", &self.encryption_context),
            ("--encrypted-regex", &self.encrypted_regex),
            ("--unencrypted-regex", &self.unencrypted_regex),
            ("--encrypted-suffix", &self.encrypted_suffix),
            ("--unencrypted-suffix", &self.unencrypted_suffix),
            ("--encrypted-comment-regex", &self.encrypted_comment_regex),
            (
                "--unencrypted-comment-regex",
                &self.unencrypted_comment_regex,
            ),
        ];
        let others = [
            ("--config", self.config.is_some()),
            ("--mac-only-encrypted", self.mac_only_encrypted),
            ("--whole-mac", self.whole_mac),
        ];
        let lists = lists.iter().map(|(flag, list)| (*flag, !list.is_empty()));
        let texts = texts.iter().map(|(flag, text)| (*flag, text.is_some()));
        let mut given = lists.chain(texts).chain(others).filter(|(_, given)| *given);
        let Some((flag, _)) = given.next() else {
            return Ok(());
        };
        let message = format!("{flag} counts for a new file only, and this one exists");
        Err(Failure::new(Kind::Conflict, message).hint(
            "keys of a file are changed with selkie rotate --add-age and the like, or by its rule: selkie rekey",
        ))
    }
}

/// How one file is encrypted.
#[derive(Debug)]
pub(crate) struct Plan {
    /// What the data key is wrapped for, group by group.
    pub(crate) groups: Vec<Vec<KeySpec>>,
    /// How many groups are needed to decrypt; all of them where it is absent.
    pub(crate) threshold: Option<usize>,
    pub(crate) selection: Selection,
    pub(crate) mac_only_encrypted: bool,
    /// Whether the file gets a whole-file MAC.
    pub(crate) whole_mac: bool,
    /// What the user should look at.
    pub(crate) warnings: Vec<String>,
}

/// What a rule says about a file.
pub(crate) struct Ruled {
    pub(crate) keys: KeyTarget,
    /// Absent where the rule sets none.
    pub(crate) selection: Option<Selection>,
    pub(crate) mac_only_encrypted: bool,
    /// Whether the config asks for a whole-file MAC.
    pub(crate) whole_mac: bool,
}

/// The config of a file, with the file's path as the rules see it; and a config with a wrong name that
/// is nearer.
pub(crate) type Governed = (Option<(Arc<ConfigFile>, String)>, Option<PathBuf>);

/// Says first of a config with a wrong name that it is not used: it may have been meant.
pub(crate) fn hinted(failure: Failure, not_used: Option<&Path>) -> Failure {
    let Some(path) = not_used else {
        return failure;
    };
    let hints: Vec<String> = [misnamed(path)]
        .into_iter()
        .chain(failure.hint.clone())
        .collect();
    failure.hint(hints.join("\n"))
}

pub(crate) fn misnamed(path: &Path) -> String {
    format!("{} is not used; the name is .sops.yaml", path.display())
}

fn no_recipient(file: Option<&ConfigFile>, not_used: Option<&Path>) -> Failure {
    let message = match file {
        Some(file) => format!(
            "no recipient is given, and {} names none for this file",
            file.path.display()
        ),
        None => "no recipient is given, and there is no .sops.yaml above this file".to_owned(),
    };
    let failure = Failure::new(Kind::Other, message).hint(
        "give --age age1..., set SOPS_AGE_RECIPIENTS, or write a .sops.yaml;\n\
         `selkie keygen` makes a key",
    );
    hinted(failure, not_used)
}

/// Makes plans for the files of one run.
pub(crate) struct Planner<'a> {
    flags: &'a KeyFlags,
    environment: &'a Environment,
    selection: Option<Selection>,
    configs: ConfigFiles,
    /// Config files with a wrong name that were met on the way to rules.
    misnamed: BTreeSet<PathBuf>,
}

impl<'a> Planner<'a> {
    /// Checks what holds for every file: flags that contradict each other, a regex that does not
    /// compile, a recipient that does not parse.
    pub(crate) fn new(flags: &'a KeyFlags, environment: &'a Environment) -> Result<Self, Failure> {
        let settings = SelectionSettings {
            unencrypted_suffix: flags.unencrypted_suffix.clone(),
            encrypted_suffix: flags.encrypted_suffix.clone(),
            unencrypted_regex: flags.unencrypted_regex.clone(),
            encrypted_regex: flags.encrypted_regex.clone(),
            unencrypted_comment_regex: flags.unencrypted_comment_regex.clone(),
            encrypted_comment_regex: flags.encrypted_comment_regex.clone(),
        };
        let selection = settings
            .compile()
            .map_err(|error| explain::selection(&error))?;
        let planner = Self {
            flags,
            environment,
            selection,
            configs: ConfigFiles::new(flags.config.clone().or_else(|| environment.config.clone())),
            misnamed: BTreeSet::new(),
        };
        planner.given_keys()?;
        Ok(planner)
    }

    /// Resolves the plan for one file with this content.
    ///
    /// Keys: flags and variables, of each kind the flag before the variable; else the rule.
    /// Selection: flags, else the rule, else the one for Kubernetes Secrets, else everything but `_unencrypted` keys.
    pub(crate) fn plan(
        &mut self,
        path: &Path,
        text: &str,
        format: Format,
    ) -> Result<Plan, Failure> {
        let path = absolute(path);
        let file = self.configs.for_file(&path)?;
        let rule = match &file {
            Some(file) => file.rule_for(&path)?,
            None => None,
        };
        let given = self.given_keys()?;
        let (groups, threshold) = match (given, rule, &file) {
            (Some(given), _, _) => (vec![given], None),
            (None, Some(rule), Some(file)) => (self.groups_of(file, rule)?, rule.threshold),
            _ => (Vec::new(), None),
        };
        if groups.is_empty() {
            let not_used = self.configs.misnamed.take();
            return Err(no_recipient(file.as_deref(), not_used.as_deref()));
        }
        let ruled = rule.and_then(|rule| rule.selection.clone());
        let selection = match self.selection.clone().or(ruled) {
            Some(selection) => selection,
            None => manifest::default_selection(text, format)
                .map_err(|error| explain::manifest(&error, &path))?
                .unwrap_or_default(),
        };
        let not_used = self.configs.misnamed.take();
        Ok(Plan {
            groups,
            threshold,
            selection,
            mac_only_encrypted: self.flags.mac_only_encrypted
                || rule.is_some_and(|rule| rule.mac_only_encrypted),
            whole_mac: self.flags.whole_mac
                || file.as_ref().is_some_and(|file| file.asks_whole_mac(&path)),
            warnings: not_used.iter().map(|path| misnamed(path)).collect(),
        })
    }

    /// Returns the keys that a rule names for a file, if encrypting would take them. `not_used` is the
    /// config with a wrong name that [`Self::config`] met.
    pub(crate) fn keys_of(
        &self,
        file: &ConfigFile,
        rule: &CreationRule,
        not_used: Option<&Path>,
    ) -> Result<Vec<Vec<KeySpec>>, Failure> {
        let groups = self.groups_of(file, rule)?;
        if groups.is_empty() {
            return Err(no_recipient(Some(file), not_used));
        }
        check_groups(&groups, rule.threshold)
            .map_err(|error| explain::encrypt(&EncryptError::from(error)))?;
        Ok(groups)
    }

    fn groups_of(
        &self,
        file: &ConfigFile,
        rule: &CreationRule,
    ) -> Result<Vec<Vec<KeySpec>>, Failure> {
        let groups = rule.groups(&self.kms_context()?);
        check_recipients(groups.iter().flatten()).map_err(|error| {
            let place = file.path.display();
            let message = format!("{place}: the rule on line {}: {error}", rule.line);
            Failure::new(Kind::Other, message)
        })?;
        Ok(groups)
    }

    /// Returns what the rule for a file says, whatever flags and variables say, as `sops updatekeys`
    /// has it.
    pub(crate) fn rule(&mut self, path: &Path) -> Result<Ruled, Failure> {
        let path = absolute(path);
        let file = self.configs.for_file(&path)?;
        let not_used = self.configs.misnamed.take();
        let no_rule = |message: String| {
            let failure = Failure::new(Kind::Other, message);
            let failure =
                failure.hint("write a rule for it, or name another config file with --config");
            hinted(failure, not_used.as_deref())
        };
        let Some(file) = file else {
            return Err(no_rule("there is no .sops.yaml above this file".to_owned()));
        };
        let place = file.path.display().to_string();
        let rule = file.rule_for(&path);
        let Some(rule) = rule.map_err(|failure| hinted(failure, not_used.as_deref()))? else {
            return Err(no_rule(format!("{place} has no creation rules")));
        };
        let groups = rule.groups(&self.kms_context()?);
        let on_line = |error: String| {
            let message = format!("{place}: the rule on line {}: {error}", rule.line);
            Failure::new(Kind::Other, message)
        };
        check_recipients(groups.iter().flatten()).map_err(|error| on_line(error.to_string()))?;
        if groups.iter().all(Vec::is_empty) {
            return Err(on_line("it names no keys".to_owned()));
        }
        self.misnamed.extend(not_used);
        Ok(Ruled {
            keys: KeyTarget {
                groups,
                threshold: rule.threshold,
            },
            selection: rule.selection.clone(),
            mac_only_encrypted: rule.mac_only_encrypted,
            whole_mac: file.asks_whole_mac(&path),
        })
    }

    /// Tells of every config file with a wrong name that [`Self::rule`] met, once.
    pub(crate) fn warn(&self, ui: &Ui) {
        for path in &self.misnamed {
            ui.warn(None, &misnamed(path));
        }
    }

    /// Returns whether a rule names files like this one: not one for every file. Fails where nobody can
    /// tell, as the config does not parse.
    pub(crate) fn is_named_by_rule(&mut self, path: &Path) -> Result<bool, Failure> {
        let path = absolute(path);
        let Some(file) = self.configs.for_file(&path)? else {
            return Ok(false);
        };
        let rule = file.rule_for(&path).ok().flatten();
        Ok(rule.is_some_and(|rule| !["", ".*", ".", "^.*$"].contains(&rule.path_regex())))
    }

    /// Returns the config of a file, and one with a wrong name.
    pub(crate) fn config(&mut self, path: &Path) -> Result<Governed, Failure> {
        let path = absolute(path);
        let file = self.configs.for_file(&path)?;
        let not_used = self.configs.misnamed.take();
        let config = file.map(|file| {
            let relative = file.relative(&path).to_string_lossy().into_owned();
            (file, relative)
        });
        Ok((config, not_used))
    }

    /// Returns the keys that flags and variables name, or `None` when there is neither.
    pub(crate) fn given_keys(&self) -> Result<Option<Vec<KeySpec>>, Failure> {
        let (flags, environment) = (self.flags, self.environment);
        let kinds = [
            (
                KeyKind::Age,
                (&flags.age, "--age"),
                (&environment.age_recipients, "SOPS_AGE_RECIPIENTS"),
            ),
            (
                KeyKind::Pgp,
                (&flags.pgp, "--pgp"),
                (&environment.pgp_fingerprints, "SOPS_PGP_FP"),
            ),
            (
                KeyKind::Kms,
                (&flags.kms, "--kms"),
                (&environment.kms_arns, "SOPS_KMS_ARN"),
            ),
            (
                KeyKind::HcVault,
                (&flags.hc_vault_transit, "--hc-vault-transit"),
                (&environment.vault_uris, "SOPS_VAULT_URIS"),
            ),
            (
                KeyKind::GcpKms,
                (&flags.gcp_kms, "--gcp-kms"),
                (&environment.gcp_kms_ids, "SOPS_GCP_KMS_IDS"),
            ),
            (
                KeyKind::AzureKv,
                (&flags.azure_kv, "--azure-kv"),
                (&environment.azure_keyvault_urls, "SOPS_AZURE_KEYVAULT_URLS"),
            ),
            (
                KeyKind::Hckms,
                (&flags.hckms, "--hckms"),
                (&environment.huawei_keys, "SOPS_HUAWEICLOUD_KMS_IDS"),
            ),
        ];
        let mut keys = None;
        for (kind, flag, variable) in kinds {
            let (list, name) = match (&flag.0[..], variable.0) {
                ([], None) => continue,
                ([], Some(list)) => (list.clone(), variable.1),
                (flags, _) => (flags.join(","), flag.1),
            };
            let parsed = match kind {
                KeyKind::Age => age_keys(&list),
                _ => KeySpec::parse_list(kind, &list).map_err(|error| error.to_string()),
            };
            let mut parsed =
                parsed.map_err(|error| Failure::new(Kind::Other, format!("{name}: {error}")))?;
            self.complete(&mut parsed)?;
            if parsed.is_empty() {
                let message = format!("{name}: no recipient in the list");
                return Err(Failure::new(Kind::Other, message));
            }
            keys.get_or_insert_with(Vec::new).extend(parsed);
        }
        Ok(keys)
    }

    /// Adds profile and encryption context to the keys of AWS KMS.
    fn complete(&self, keys: &mut [KeySpec]) -> Result<(), Failure> {
        let context = self.kms_context()?;
        for key in keys {
            if let KeySpec::Kms(kms) = key {
                kms.context.clone_from(&context);
                kms.profile.clone_from(&self.flags.aws_profile);
            }
        }
        Ok(())
    }

    fn kms_context(&self) -> Result<BTreeMap<String, String>, Failure> {
        let text = self.flags.encryption_context.as_deref();
        KmsSpec::parse_context(text.unwrap_or_default()).map_err(|error| {
            Failure::new(Kind::KmsContext, format!("--encryption-context: {error}"))
        })
    }
}

/// Checks the age recipients of a rule: its parser looks at their prefix only.
fn check_recipients<'s>(specs: impl Iterator<Item = &'s KeySpec>) -> Result<(), RecipientError> {
    for spec in specs {
        if let KeySpec::Age { recipient } = spec {
            recipient.parse::<AgeRecipient>()?;
        }
    }
    Ok(())
}

/// Parses age recipients wholly, so that a malformed one is told before any file is read.
fn age_keys(list: &str) -> Result<Vec<KeySpec>, String> {
    let recipients = parse_recipients(list).map_err(|error| error.to_string())?;
    let spec = |recipient: &dyn ToString| KeySpec::Age {
        recipient: recipient.to_string(),
    };
    Ok(recipients.iter().map(|one| spec(one)).collect())
}
