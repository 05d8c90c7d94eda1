//! The commands and flags of sops 3.13 (sops-cli.md 1.1, 1.2), in our own words.

use std::ffi::OsStr;

use crate::personality::go_flags::{Flag, FlagKind};

/// A command of sops.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Command {
    /// Its name.
    pub(crate) name: &'static str,
    /// One line of help.
    pub(crate) help: &'static str,
    /// Its positional arguments, for the help.
    pub(crate) arguments: &'static str,
    /// Its own flags.
    pub(crate) flags: &'static [Flag],
    /// Its subcommands; a command that has some has no flags.
    pub(crate) commands: &'static [Command],
}

impl Command {
    /// Returns the subcommand of this name.
    pub(crate) fn find(&self, name: &OsStr) -> Option<&'static Self> {
        self.commands.iter().find(|found| name == found.name)
    }
}

/// The program itself: the legacy forms, and the flags before a command.
pub(crate) const PROGRAM: Command = Command {
    name: "sops",
    help: "encrypted files with age, PGP, AWS KMS, Vault transit, GCP KMS and Azure Key Vault keys",
    arguments: "[file]",
    flags: GLOBAL,
    commands: &[
        group(
            "completion",
            "print a completion script",
            &[
                command("bash", "for bash", "", &[]),
                command("zsh", "for zsh", "", &[]),
            ],
        ),
        command(
            "exec-env",
            "run a command with the decrypted values in its environment",
            "[file to decrypt] [command to run]",
            &[
                BACKGROUND,
                PRISTINE,
                USER,
                SAME_PROCESS,
                DECRYPTION_ORDER,
                ENABLE_LOCAL_KEYSERVICE,
                KEYSERVICE,
            ],
        ),
        command(
            "exec-file",
            "run a command with the decrypted file in the place of {}",
            "[file to decrypt] [command to run]",
            &[
                BACKGROUND,
                NO_FIFO,
                USER,
                INPUT_TYPE,
                OUTPUT_TYPE,
                FILENAME,
                DECRYPTION_ORDER,
                ENABLE_LOCAL_KEYSERVICE,
                KEYSERVICE,
            ],
        ),
        command(
            "publish",
            "upload a file or a folder to the destination that the config names",
            "file",
            &[
                YES,
                OMIT_EXTENSIONS,
                RECURSIVE,
                VERBOSE,
                DECRYPTION_ORDER,
                ENABLE_LOCAL_KEYSERVICE,
                KEYSERVICE,
            ],
        ),
        command(
            "keyservice",
            "serve this machine's keys to other processes",
            "",
            &[NETWORK, ADDRESS, PROMPT, VERBOSE],
        ),
        command(
            "filestatus",
            "tell whether a file is encrypted",
            "file",
            &[INPUT_TYPE],
        ),
        group(
            "groups",
            "change the key groups of a file",
            &[
                command(
                    "add",
                    "add a key group",
                    "",
                    &[
                        FILE,
                        EACH_PGP,
                        EACH_KMS,
                        AWS_PROFILE,
                        EACH_GCP_KMS,
                        EACH_HCKMS,
                        EACH_AZURE_KV,
                        EACH_HC_VAULT_TRANSIT,
                        EACH_AGE,
                        IN_PLACE,
                        SHAMIR_SECRET_SHARING_THRESHOLD,
                        ENCRYPTION_CONTEXT,
                        ENABLE_LOCAL_KEYSERVICE,
                        KEYSERVICE,
                    ],
                ),
                command(
                    "delete",
                    "delete the key group with this index",
                    "[index]",
                    &[
                        FILE,
                        IN_PLACE,
                        SHAMIR_SECRET_SHARING_THRESHOLD,
                        ENABLE_LOCAL_KEYSERVICE,
                        KEYSERVICE,
                    ],
                ),
            ],
        ),
        command(
            "updatekeys",
            "give files the keys of their rule in the config",
            "file...",
            &[YES, INPUT_TYPE, ENABLE_LOCAL_KEYSERVICE, KEYSERVICE],
        ),
        command(
            "decrypt",
            "decrypt a file, or standard input, to standard output",
            "[file]",
            &[
                IN_PLACE,
                EXTRACT,
                OUTPUT,
                INPUT_TYPE,
                OUTPUT_TYPE,
                IGNORE_MAC,
                FILENAME_OVERRIDE,
                DECRYPTION_ORDER,
                ENABLE_LOCAL_KEYSERVICE,
                KEYSERVICE,
            ],
        ),
        command(
            "encrypt",
            "encrypt a file, or standard input, to standard output",
            "[file]",
            &[
                IN_PLACE,
                OUTPUT,
                KMS,
                AWS_PROFILE,
                GCP_KMS,
                HCKMS,
                AZURE_KV,
                HC_VAULT_TRANSIT,
                PGP,
                AGE,
                INPUT_TYPE,
                OUTPUT_TYPE,
                UNENCRYPTED_SUFFIX,
                ENCRYPTED_SUFFIX,
                UNENCRYPTED_REGEX,
                ENCRYPTED_REGEX,
                ENCRYPTION_CONTEXT,
                SHAMIR_SECRET_SHARING_THRESHOLD,
                FILENAME_OVERRIDE,
                ENABLE_LOCAL_KEYSERVICE,
                KEYSERVICE,
            ],
        ),
        command(
            "rotate",
            "encrypt a file anew under a new data key, and add or remove keys",
            "file",
            &[
                IN_PLACE,
                OUTPUT,
                INPUT_TYPE,
                OUTPUT_TYPE,
                ENCRYPTION_CONTEXT,
                ADD_GCP_KMS,
                RM_GCP_KMS,
                ADD_HCKMS,
                RM_HCKMS,
                ADD_AZURE_KV,
                RM_AZURE_KV,
                ADD_KMS,
                RM_KMS,
                ADD_HC_VAULT_TRANSIT,
                RM_HC_VAULT_TRANSIT,
                ADD_AGE,
                RM_AGE,
                ADD_PGP,
                RM_PGP,
                FILENAME_OVERRIDE,
                DECRYPTION_ORDER,
                ENABLE_LOCAL_KEYSERVICE,
                KEYSERVICE,
            ],
        ),
        command(
            "edit",
            "edit an encrypted file",
            "file",
            &[
                KMS,
                AWS_PROFILE,
                GCP_KMS,
                HCKMS,
                AZURE_KV,
                HC_VAULT_TRANSIT,
                PGP,
                AGE,
                INPUT_TYPE,
                OUTPUT_TYPE,
                UNENCRYPTED_SUFFIX,
                ENCRYPTED_SUFFIX,
                UNENCRYPTED_REGEX,
                ENCRYPTED_REGEX,
                ENCRYPTION_CONTEXT,
                SHAMIR_SECRET_SHARING_THRESHOLD,
                SHOW_MASTER_KEYS,
                IGNORE_MAC,
                DECRYPTION_ORDER,
                ENABLE_LOCAL_KEYSERVICE,
                KEYSERVICE,
            ],
        ),
        command(
            "set",
            "set what stands at a path to a JSON value",
            "file index [ value ]",
            &[
                INPUT_TYPE,
                OUTPUT_TYPE,
                VALUE_FILE,
                VALUE_STDIN,
                SHAMIR_SECRET_SHARING_THRESHOLD,
                IGNORE_MAC,
                DECRYPTION_ORDER,
                IDEMPOTENT,
                ENABLE_LOCAL_KEYSERVICE,
                KEYSERVICE,
            ],
        ),
        command(
            "unset",
            "remove what stands at a path",
            "file index",
            &[
                INPUT_TYPE,
                OUTPUT_TYPE,
                SHAMIR_SECRET_SHARING_THRESHOLD,
                IGNORE_MAC,
                DECRYPTION_ORDER,
                IDEMPOTENT,
                ENABLE_LOCAL_KEYSERVICE,
                KEYSERVICE,
            ],
        ),
    ],
};

/// The flag that every command has.
pub(crate) const HELP: Flag = flag(&["help", "h"], FlagKind::Switch, None, "print this help");

const GLOBAL: &[Flag] = &[
    DECRYPT,
    ENCRYPT,
    ROTATE,
    DISABLE_VERSION_CHECK,
    CHECK_FOR_UPDATES,
    KMS,
    AWS_PROFILE,
    GCP_KMS,
    HCKMS,
    AZURE_KV,
    HC_VAULT_TRANSIT,
    PGP,
    AGE,
    IN_PLACE,
    EXTRACT,
    INPUT_TYPE,
    OUTPUT_TYPE,
    SHOW_MASTER_KEYS,
    ADD_GCP_KMS,
    RM_GCP_KMS,
    ADD_HCKMS,
    RM_HCKMS,
    ADD_AZURE_KV,
    RM_AZURE_KV,
    ADD_KMS,
    RM_KMS,
    ADD_HC_VAULT_TRANSIT,
    RM_HC_VAULT_TRANSIT,
    ADD_AGE,
    RM_AGE,
    ADD_PGP,
    RM_PGP,
    IGNORE_MAC,
    MAC_ONLY_ENCRYPTED,
    UNENCRYPTED_SUFFIX,
    ENCRYPTED_SUFFIX,
    UNENCRYPTED_REGEX,
    ENCRYPTED_REGEX,
    UNENCRYPTED_COMMENT_REGEX,
    ENCRYPTED_COMMENT_REGEX,
    CONFIG,
    ENCRYPTION_CONTEXT,
    SET,
    SHAMIR_SECRET_SHARING_THRESHOLD,
    INDENT,
    VERBOSE,
    OUTPUT,
    FILENAME_OVERRIDE,
    DECRYPTION_ORDER,
    ENABLE_LOCAL_KEYSERVICE,
    KEYSERVICE,
    VERSION,
];

const VERSION: Flag = flag(
    &["version", "v"],
    FlagKind::Switch,
    None,
    "print the version",
);
const ENABLE_LOCAL_KEYSERVICE: Flag = flag(
    &["enable-local-keyservice"],
    FlagKind::SwitchOn,
    Some("SOPS_ENABLE_LOCAL_KEYSERVICE"),
    "wrap and unwrap keys in this process too",
);
const KEYSERVICE: Flag = flag(
    &["keyservice"],
    FlagKind::Texts,
    Some("SOPS_KEYSERVICE"),
    "key service to ask besides this process, as tcp://host:port or unix:///path; may be repeated",
);
const DECRYPTION_ORDER: Flag = flag(
    &["decryption-order"],
    FlagKind::Text,
    Some("SOPS_DECRYPTION_ORDER"),
    "types of keys to try first, separated by commas",
);
const BACKGROUND: Flag = flag(
    &["background"],
    FlagKind::Switch,
    None,
    "do not wait for the command (deprecated)",
);
const PRISTINE: Flag = flag(
    &["pristine"],
    FlagKind::Switch,
    None,
    "give the command nothing but the decrypted values",
);
const USER: Flag = flag(
    &["user"],
    FlagKind::Text,
    None,
    "run the command as this user",
);
const SAME_PROCESS: Flag = flag(
    &["same-process"],
    FlagKind::Switch,
    None,
    "become the command instead of starting it",
);
const NO_FIFO: Flag = flag(
    &["no-fifo"],
    FlagKind::Switch,
    None,
    "use a regular file instead of a FIFO",
);
const FILENAME: Flag = flag(
    &["filename"],
    FlagKind::Text,
    None,
    "name of the temporary file (default: tmp-file)",
);
const INPUT_TYPE: Flag = flag(
    &["input-type"],
    FlagKind::Text,
    None,
    "format of the input: yaml, json, dotenv, ini or binary (default: by the file's name)",
);
const OUTPUT_TYPE: Flag = flag(
    &["output-type"],
    FlagKind::Text,
    None,
    "format of the output: yaml, json, dotenv, ini or binary (default: by the file's name)",
);
const YES: Flag = flag(&["yes", "y"], FlagKind::Switch, None, "do not ask");
const OMIT_EXTENSIONS: Flag = flag(
    &["omit-extensions"],
    FlagKind::Switch,
    None,
    "leave the file's extension out of the destination",
);
const RECURSIVE: Flag = flag(
    &["recursive"],
    FlagKind::Switch,
    None,
    "publish every file of a folder",
);
const VERBOSE: Flag = flag(&["verbose"], FlagKind::Switch, None, "say more");
const NETWORK: Flag = flag(
    &["network", "net"],
    FlagKind::Text,
    None,
    "network to listen on: tcp or unix",
);
const ADDRESS: Flag = flag(
    &["address", "addr"],
    FlagKind::Text,
    None,
    "address to listen on (default: 127.0.0.1:5000)",
);
const PROMPT: Flag = flag(
    &["prompt"],
    FlagKind::Switch,
    None,
    "ask before every request",
);
const FILE: Flag = flag(
    &["file", "f"],
    FlagKind::Text,
    None,
    "the file whose groups change",
);
const IN_PLACE: Flag = flag(
    &["in-place", "i"],
    FlagKind::Switch,
    None,
    "write to the file instead of standard output",
);
const EXTRACT: Flag = flag(
    &["extract"],
    FlagKind::Text,
    None,
    "print only what stands at this path, as in '[\"key\"][0]'",
);
const OUTPUT: Flag = flag(
    &["output"],
    FlagKind::Text,
    None,
    "write to this file instead of standard output",
);
const IGNORE_MAC: Flag = flag(
    &["ignore-mac"],
    FlagKind::Switch,
    None,
    "open the file though its MAC does not match",
);
const FILENAME_OVERRIDE: Flag = flag(
    &["filename-override"],
    FlagKind::Text,
    None,
    "name that the rules and the format are chosen by",
);
const KMS: Flag = flag(
    &["kms", "k"],
    FlagKind::Text,
    Some("SOPS_KMS_ARN"),
    "ARNs of AWS KMS keys, separated by commas",
);
const AWS_PROFILE: Flag = flag(&["aws-profile"], FlagKind::Text, None, "AWS profile to use");
const GCP_KMS: Flag = flag(
    &["gcp-kms"],
    FlagKind::Text,
    Some("SOPS_GCP_KMS_IDS"),
    "resource IDs of GCP KMS keys, separated by commas",
);
const HCKMS: Flag = flag(
    &["hckms"],
    FlagKind::Text,
    Some("SOPS_HUAWEICLOUD_KMS_IDS"),
    "Huawei Cloud KMS keys as region:uuid, separated by commas",
);
const AZURE_KV: Flag = flag(
    &["azure-kv"],
    FlagKind::Text,
    Some("SOPS_AZURE_KEYVAULT_URLS"),
    "URLs of Azure Key Vault keys, separated by commas",
);
const HC_VAULT_TRANSIT: Flag = flag(
    &["hc-vault-transit"],
    FlagKind::Text,
    Some("SOPS_VAULT_URIS"),
    "URIs of Vault transit keys, separated by commas",
);
const PGP: Flag = flag(
    &["pgp", "p"],
    FlagKind::Text,
    Some("SOPS_PGP_FP"),
    "PGP fingerprints, separated by commas",
);
const AGE: Flag = flag(
    &["age", "a"],
    FlagKind::Text,
    Some("SOPS_AGE_RECIPIENTS"),
    "age recipients, separated by commas",
);
const UNENCRYPTED_SUFFIX: Flag = flag(
    &["unencrypted-suffix"],
    FlagKind::Text,
    None,
    "leave values under keys with this ending clear",
);
const ENCRYPTED_SUFFIX: Flag = flag(
    &["encrypted-suffix"],
    FlagKind::Text,
    None,
    "encrypt only values under keys with this ending",
);
const UNENCRYPTED_REGEX: Flag = flag(
    &["unencrypted-regex"],
    FlagKind::Text,
    None,
    "leave values under keys that match clear",
);
const ENCRYPTED_REGEX: Flag = flag(
    &["encrypted-regex"],
    FlagKind::Text,
    None,
    "encrypt only values under keys that match",
);
const UNENCRYPTED_COMMENT_REGEX: Flag = flag(
    &["unencrypted-comment-regex"],
    FlagKind::Text,
    None,
    "leave values behind comments that match clear",
);
const ENCRYPTED_COMMENT_REGEX: Flag = flag(
    &["encrypted-comment-regex"],
    FlagKind::Text,
    None,
    "encrypt only values behind comments that match",
);
const ENCRYPTION_CONTEXT: Flag = flag(
    &["encryption-context"],
    FlagKind::Text,
    None,
    "KMS encryption context as key:value pairs, separated by commas",
);
const SHAMIR_SECRET_SHARING_THRESHOLD: Flag = flag(
    &["shamir-secret-sharing-threshold"],
    FlagKind::Number,
    None,
    "how many key groups are needed to open the file",
);
const SHOW_MASTER_KEYS: Flag = flag(
    &["show-master-keys", "s"],
    FlagKind::Switch,
    None,
    "show the keys of the file in the editor",
);
const VALUE_FILE: Flag = flag(
    &["value-file"],
    FlagKind::Switch,
    None,
    "the value is the name of a file that holds it",
);
const VALUE_STDIN: Flag = flag(
    &["value-stdin"],
    FlagKind::Switch,
    None,
    "read the value from standard input",
);
const IDEMPOTENT: Flag = flag(
    &["idempotent"],
    FlagKind::Switch,
    None,
    "do nothing when there is nothing to change",
);
const DECRYPT: Flag = flag(
    &["decrypt", "d"],
    FlagKind::Switch,
    None,
    "decrypt the file to standard output",
);
const ENCRYPT: Flag = flag(
    &["encrypt", "e"],
    FlagKind::Switch,
    None,
    "encrypt the file to standard output",
);
const ROTATE: Flag = flag(
    &["rotate", "r"],
    FlagKind::Switch,
    None,
    "encrypt the file anew under a new data key",
);
const DISABLE_VERSION_CHECK: Flag = flag(
    &["disable-version-check"],
    FlagKind::Switch,
    Some("SOPS_DISABLE_VERSION_CHECK"),
    "do not ask for the latest version during --version",
);
const CHECK_FOR_UPDATES: Flag = flag(
    &["check-for-updates"],
    FlagKind::Switch,
    None,
    "accepted; this program never asks the network for versions",
);
const MAC_ONLY_ENCRYPTED: Flag = flag(
    &["mac-only-encrypted"],
    FlagKind::Switch,
    None,
    "let the MAC cover encrypted values only",
);
const CONFIG: Flag = flag(
    &["config"],
    FlagKind::Text,
    Some("SOPS_CONFIG"),
    "config file to use instead of the nearest .sops.yaml",
);
const SET: Flag = flag(
    &["set"],
    FlagKind::Text,
    None,
    "set a value, as in '[\"key\"][0] {\"some\": \"JSON\"}'",
);
const INDENT: Flag = flag(
    &["indent"],
    FlagKind::Number,
    None,
    "columns per level of YAML and JSON",
);
const ADD_KMS: Flag = flag(
    &["add-kms"],
    FlagKind::Text,
    None,
    "AWS KMS keys to add, separated by commas",
);
const RM_KMS: Flag = flag(
    &["rm-kms"],
    FlagKind::Text,
    None,
    "AWS KMS keys to remove, separated by commas",
);
const EACH_KMS: Flag = flag(
    &["kms"],
    FlagKind::Texts,
    None,
    "AWS KMS keys of the new group; may be repeated",
);
const ADD_PGP: Flag = flag(
    &["add-pgp"],
    FlagKind::Text,
    None,
    "PGP keys to add, separated by commas",
);
const RM_PGP: Flag = flag(
    &["rm-pgp"],
    FlagKind::Text,
    None,
    "PGP keys to remove, separated by commas",
);
const EACH_PGP: Flag = flag(
    &["pgp"],
    FlagKind::Texts,
    None,
    "PGP keys of the new group; may be repeated",
);
const ADD_GCP_KMS: Flag = flag(
    &["add-gcp-kms"],
    FlagKind::Text,
    None,
    "GCP KMS keys to add, separated by commas",
);
const RM_GCP_KMS: Flag = flag(
    &["rm-gcp-kms"],
    FlagKind::Text,
    None,
    "GCP KMS keys to remove, separated by commas",
);
const EACH_GCP_KMS: Flag = flag(
    &["gcp-kms"],
    FlagKind::Texts,
    None,
    "GCP KMS keys of the new group; may be repeated",
);
const ADD_HCKMS: Flag = flag(
    &["add-hckms"],
    FlagKind::Text,
    None,
    "Huawei Cloud KMS keys to add, separated by commas",
);
const RM_HCKMS: Flag = flag(
    &["rm-hckms"],
    FlagKind::Text,
    None,
    "Huawei Cloud KMS keys to remove, separated by commas",
);
const EACH_HCKMS: Flag = flag(
    &["hckms"],
    FlagKind::Texts,
    None,
    "Huawei Cloud KMS keys of the new group; may be repeated",
);
const ADD_AZURE_KV: Flag = flag(
    &["add-azure-kv"],
    FlagKind::Text,
    None,
    "Azure Key Vault keys to add, separated by commas",
);
const RM_AZURE_KV: Flag = flag(
    &["rm-azure-kv"],
    FlagKind::Text,
    None,
    "Azure Key Vault keys to remove, separated by commas",
);
const EACH_AZURE_KV: Flag = flag(
    &["azure-kv"],
    FlagKind::Texts,
    None,
    "Azure Key Vault keys of the new group; may be repeated",
);
const ADD_HC_VAULT_TRANSIT: Flag = flag(
    &["add-hc-vault-transit"],
    FlagKind::Text,
    None,
    "Vault transit keys to add, separated by commas",
);
const RM_HC_VAULT_TRANSIT: Flag = flag(
    &["rm-hc-vault-transit"],
    FlagKind::Text,
    None,
    "Vault transit keys to remove, separated by commas",
);
const EACH_HC_VAULT_TRANSIT: Flag = flag(
    &["hc-vault-transit"],
    FlagKind::Texts,
    None,
    "Vault transit keys of the new group; may be repeated",
);
const ADD_AGE: Flag = flag(
    &["add-age"],
    FlagKind::Text,
    None,
    "age recipients to add, separated by commas",
);
const RM_AGE: Flag = flag(
    &["rm-age"],
    FlagKind::Text,
    None,
    "age recipients to remove, separated by commas",
);
const EACH_AGE: Flag = flag(
    &["age"],
    FlagKind::Texts,
    None,
    "age recipients of the new group; may be repeated",
);

const fn flag(
    names: &'static [&'static str],
    kind: FlagKind,
    env: Option<&'static str>,
    help: &'static str,
) -> Flag {
    Flag {
        names,
        kind,
        env,
        help,
    }
}

const fn command(
    name: &'static str,
    help: &'static str,
    arguments: &'static str,
    flags: &'static [Flag],
) -> Command {
    Command {
        name,
        help,
        arguments,
        flags,
        commands: &[],
    }
}

const fn group(name: &'static str, help: &'static str, commands: &'static [Command]) -> Command {
    Command {
        name,
        help,
        arguments: "",
        flags: &[],
        commands,
    }
}
