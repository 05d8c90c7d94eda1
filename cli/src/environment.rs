//! The environment variables that matter, read once (sops-cli.md 1.3).

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use selkie_secret::SecretString;
use selkie_sops::{KeyKind, KeySpec};

use crate::services::{KeyServices, ServiceVariables};

/// What the environment says. Variables that are empty count as not set, as in sops.
#[derive(Default)]
pub(crate) struct Environment {
    /// `SOPS_AGE_RECIPIENTS`.
    pub(crate) age_recipients: Option<String>,
    /// `SOPS_CONFIG`.
    pub(crate) config: Option<PathBuf>,
    /// `SOPS_AGE_KEY`: private keys.
    pub(crate) age_key: Option<SecretString>,
    /// `SOPS_AGE_KEY_FILE`.
    pub(crate) age_key_file: Option<PathBuf>,
    /// `SOPS_AGE_KEY_CMD`.
    pub(crate) age_key_command: Option<String>,
    /// `SOPS_AGE_SSH_PRIVATE_KEY_FILE`.
    pub(crate) ssh_key_file: Option<PathBuf>,
    /// `SOPS_AGE_SSH_PRIVATE_KEY_CMD`.
    pub(crate) ssh_key_command: Option<String>,
    /// `~/.ssh`, if the home folder is known.
    pub(crate) ssh_folder: Option<PathBuf>,
    /// `SELKIE_PASSPHRASE_CMD`: prints the passphrase of an identity, in the place of a terminal.
    pub(crate) passphrase_command: Option<String>,
    /// `SOPS_PGP_FP`.
    pub(crate) pgp_fingerprints: Option<String>,
    /// `SOPS_KMS_ARN`.
    pub(crate) kms_arns: Option<String>,
    /// `SOPS_VAULT_URIS`.
    pub(crate) vault_uris: Option<String>,
    /// `SOPS_GCP_KMS_IDS`.
    pub(crate) gcp_kms_ids: Option<String>,
    /// `SOPS_AZURE_KEYVAULT_URLS`.
    pub(crate) azure_keyvault_urls: Option<String>,
    /// `SOPS_HUAWEICLOUD_KMS_IDS`.
    pub(crate) huawei_keys: Option<String>,
    /// What key services over the network are asked with.
    pub(crate) services: ServiceVariables,
    /// Which processes wrap and unwrap. The flags or `SOPS_KEYSERVICE` and
    /// `SOPS_ENABLE_LOCAL_KEYSERVICE`, which the flags stand for, set it.
    pub(crate) key_services: KeyServices,
    /// `SOPS_GPG_EXEC`.
    pub(crate) gpg_program: Option<OsString>,
    /// `GNUPGHOME`, else `~/.gnupg`.
    pub(crate) gpg_home: Option<PathBuf>,
    /// Whether `GPG_TTY` is set.
    pub(crate) has_gpg_terminal: bool,
    /// The `keys.txt` of the user's configuration folder, if the folder is known.
    pub(crate) user_keys: Option<PathBuf>,
    /// `SELKIE_REQUIRE_WHOLE_MAC`: anything but nothing, `0`, `false` and `no`.
    pub(crate) require_whole_mac: bool,
    /// The user's own configuration of Selkie, if its folder is known.
    pub(crate) user_config: Option<PathBuf>,
    /// `XDG_RUNTIME_DIR`.
    pub(crate) runtime_folder: Option<PathBuf>,
}

impl Environment {
    /// Reads the environment of this process.
    pub(crate) fn of_process() -> Self {
        Self::read(|name| env::var_os(name))
    }

    /// Returns the keys of key services that variables name: where they stand is trusted even when no
    /// key is wrapped. A list that does not parse names none.
    pub(crate) fn named_keys(&self) -> Vec<KeySpec> {
        let lists = [
            (KeyKind::HcVault, &self.vault_uris),
            (KeyKind::AzureKv, &self.azure_keyvault_urls),
        ];
        let named = lists.into_iter().filter_map(|(kind, list)| {
            KeySpec::parse_list(kind, list.as_deref().unwrap_or_default()).ok()
        });
        named.flatten().collect()
    }

    fn read(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let text = |name: &str| set(name).map(|value| value.to_string_lossy().into_owned());
        let path = |name: &str| set(name).map(PathBuf::from);
        Self {
            require_whole_mac: text("SELKIE_REQUIRE_WHOLE_MAC")
                .is_some_and(|text| !matches!(&*text.to_ascii_lowercase(), "0" | "false" | "no")),
            user_config: configuration_folder(&path)
                .map(|folder| folder.join("selkie/config.yaml")),
            age_recipients: text("SOPS_AGE_RECIPIENTS"),
            config: path("SOPS_CONFIG"),
            age_key: text("SOPS_AGE_KEY").map(SecretString::new),
            age_key_file: path("SOPS_AGE_KEY_FILE"),
            age_key_command: text("SOPS_AGE_KEY_CMD"),
            user_keys: configuration_folder(&path).map(|folder| folder.join("sops/age/keys.txt")),
            ssh_key_file: path("SOPS_AGE_SSH_PRIVATE_KEY_FILE"),
            ssh_key_command: text("SOPS_AGE_SSH_PRIVATE_KEY_CMD"),
            ssh_folder: path("HOME").map(|home| home.join(".ssh")),
            passphrase_command: text("SELKIE_PASSPHRASE_CMD"),
            pgp_fingerprints: text("SOPS_PGP_FP"),
            kms_arns: text("SOPS_KMS_ARN"),
            vault_uris: text("SOPS_VAULT_URIS"),
            gcp_kms_ids: text("SOPS_GCP_KMS_IDS"),
            azure_keyvault_urls: text("SOPS_AZURE_KEYVAULT_URLS"),
            huawei_keys: text("SOPS_HUAWEICLOUD_KMS_IDS"),
            services: ServiceVariables::read(&set),
            key_services: KeyServices::default(),
            gpg_program: set("SOPS_GPG_EXEC"),
            gpg_home: path("GNUPGHOME").or_else(|| path("HOME").map(|home| home.join(".gnupg"))),
            has_gpg_terminal: set("GPG_TTY").is_some(),
            runtime_folder: path("XDG_RUNTIME_DIR"),
        }
    }
}

/// The user's configuration folder as Go's `os.UserConfigDir` finds it (sops-format.md 9.3).
fn configuration_folder(path: &dyn Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    // One that is not absolute is to be passed over (XDG Base Directory): it could lie in a repository.
    if let Some(folder) = path("XDG_CONFIG_HOME").filter(|folder| folder.is_absolute()) {
        return Some(folder);
    }
    let below = Path::new(match cfg!(target_os = "macos") {
        true => "Library/Application Support",
        false => ".config",
    });
    path("HOME").map(|home| home.join(below))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Environment {
        Environment::read(|name| {
            let found = variables.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn the_user_keys_follow_xdg_then_home() {
        let keys = |variables: &[_]| of(variables).user_keys;
        assert_eq!(keys(&[]), None);
        let home = ("HOME", "/home/u");
        #[cfg(not(target_os = "macos"))]
        assert_eq!(
            keys(&[home]),
            Some("/home/u/.config/sops/age/keys.txt".into())
        );
        assert_eq!(
            keys(&[home, ("XDG_CONFIG_HOME", "/x")]),
            Some("/x/sops/age/keys.txt".into())
        );
    }

    #[test]
    fn empty_variables_count_as_not_set() {
        let environment = of(&[("SOPS_AGE_KEY", ""), ("SOPS_GCP_KMS_IDS", "")]);
        assert!(environment.age_key.is_none());
        assert!(environment.gcp_kms_ids.is_none());
        let environment = of(&[("SOPS_GCP_KMS_IDS", "x"), ("SOPS_GPG_EXEC", "")]);
        assert_eq!(environment.gcp_kms_ids.as_deref(), Some("x"));
        assert!(environment.gpg_program.is_none());
    }
}
