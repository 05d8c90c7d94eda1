//! Errors of the libraries as the user sees them: a kind, which sets the exit code, and the next
//! step. The one place where advice is added.

use std::path::Path;

use selkie_seal::manifest::SealManifestError;
use selkie_sops::manifest::ManifestError;
use selkie_sops::{
    AddClearError, AfreshError, AlreadyEncrypted, ConvertError, DecryptError, EditError,
    EncryptError, ExtractError, GroupError, KeyKind, MacError, MetadataError, NoDataKey,
    RekeyError, SelectionError, SetError, TreeError, WholeMacError,
};
use selkie_text::yaml::ParseError;

use crate::failure::{Failure, Kind};
use crate::keys::Keys;

pub(crate) fn selection(error: &SelectionError) -> Failure {
    let kind = match error {
        SelectionError::Conflict(..) => Kind::Conflict,
        _ => Kind::Other,
    };
    Failure::new(kind, error)
}

/// Why the file gets no rule by itself; the rule to write goes into the hint, for this `file`.
pub(crate) fn manifest(error: &ManifestError, file: &Path) -> Failure {
    match error {
        ManifestError::Parse(error) => parse(error),
        ManifestError::Tree(error) => tree(error, Kind::Encrypt),
        _ => {
            let text = error.to_string();
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            match text.split_once("\n\n") {
                Some((message, rule)) => {
                    let rule = rule.replace("{FILE}", &path_regex(&name));
                    Failure::new(Kind::Encrypt, message).hint(rule)
                }
                None => Failure::new(Kind::Encrypt, text),
            }
        }
    }
}

pub(crate) fn convert(error: &ConvertError) -> Failure {
    match error {
        ConvertError::Parse(error) => parse(error),
        _ => Failure::new(Kind::Unwritable, error),
    }
}

pub(crate) fn encrypt(error: &EncryptError) -> Failure {
    match error {
        EncryptError::Parse(error) => parse(error),
        EncryptError::Tree(error) => tree(error, Kind::Encrypt),
        EncryptError::Metadata(_) => Failure::new(Kind::AlreadyEncrypted, error)
            .hint("rename the key, or decrypt the file with the tool that wrote it"),
        EncryptError::ReservedKey { .. } => Failure::new(Kind::AlreadyEncrypted, error).hint(
            "metadata is read from the first document of a file: if an encrypted document was put \
             behind\na clear one, give each a file of its own; else rename the key",
        ),
        EncryptError::NothingSelected { .. } => Failure::new(Kind::Encrypt, error)
            .hint("correct the rule in .sops.yaml or the flag; the file is untouched"),
        EncryptError::Groups(GroupError::None) => {
            Failure::new(Kind::Other, error).hint("give --age age1...")
        }
        EncryptError::Groups(_) | EncryptError::Random(_) => Failure::new(Kind::Other, error),
        _ => Failure::new(Kind::Encrypt, error),
    }
}

/// Why a file that another rule encrypts anew stays as it is.
pub(crate) fn afresh(error: &AfreshError, keys: &Keys) -> Failure {
    match error {
        AfreshError::Open(error) => decrypt(error, keys),
        _ => Failure::new(Kind::Encrypt, error).hint(
            "take it out of the metadata first, if nothing needs it; else leave the rule as the file has it",
        ),
    }
}

/// Values that somebody added to an encrypted file and that are still in clear.
pub(crate) fn forgotten(found: &AlreadyEncrypted, file: &str) -> Failure {
    let mut places: Vec<String> = found
        .clear
        .iter()
        .take(SHOWN_LEAVES)
        .map(|leaf| format!("{} (line {})", leaf.path, leaf.line))
        .collect();
    if found.clear.len() > SHOWN_LEAVES {
        places.push(format!("{} more", found.clear.len() - SHOWN_LEAVES));
    }
    let message = format!(
        "already encrypted, but in clear although the file's own rule selects it: {}",
        places.join(", ")
    );
    Failure::new(Kind::AlreadyEncrypted, message).hint(format!(
        "selkie encrypt --add-clear {file} encrypts it with the file's own key"
    ))
}

pub(crate) fn add_clear(error: &AddClearError, keys: &Keys) -> Failure {
    match error {
        AddClearError::Open(error) => decrypt(error, keys),
        AddClearError::Mac(MacError::Whole(cause)) => whole_mac(cause),
        AddClearError::Mac(_) => Failure::new(Kind::Mac, error),
        AddClearError::Tree(error) => tree(error, Kind::Encrypt),
        AddClearError::Random(_) => Failure::new(Kind::Other, error),
        _ => Failure::new(Kind::Encrypt, error),
    }
}

pub(crate) fn decrypt(error: &DecryptError, keys: &Keys) -> Failure {
    match error {
        DecryptError::Parse(error) => parse(error),
        DecryptError::Tree(error) => tree(error, Kind::Decrypt),
        DecryptError::NoDataKey(cause) => no_data_key(cause, keys),
        DecryptError::Mac(MacError::Whole(cause)) => whole_mac(cause),
        DecryptError::Mac(_) => Failure::new(Kind::Mac, error).hint(
            "look at what changed since the last good version (git diff);\n\
             --ignore-mac opens the file all the same",
        ),
        DecryptError::Metadata(_) => Failure::new(Kind::Other, error),
        DecryptError::NotFirst { .. } => Failure::new(Kind::Other, error)
            .hint("an encrypted document was put behind a clear one: give each a file of its own"),
        DecryptError::NoData | DecryptError::NotText | DecryptError::Unwritable { .. } => {
            Failure::new(Kind::Unwritable, error)
        }
        _ => Failure::new(Kind::Decrypt, error),
    }
}

fn whole_mac(error: &WholeMacError) -> Failure {
    let failure = Failure::new(Kind::Mac, error);
    match error {
        WholeMacError::Absent => failure.hint(
            "compare it with the last version that had one (git log -p). Only if you trust it as it \
             is: run\n`selkie encrypt --whole-mac FILE` once without the demand \
             (SELKIE_REQUIRE_WHOLE_MAC, selkie/config.yaml)",
        ),
        WholeMacError::Newer(_) => failure,
        _ => failure.hint(
            "look at what changed since the last good version (git diff);\n\
             --ignore-mac opens the file all the same, unless you demand a whole-file MAC",
        ),
    }
}

/// Why a file is not taken for an encrypted one.
pub(crate) fn not_encrypted(error: &DecryptError) -> Failure {
    match error {
        DecryptError::Parse(error) => parse(error),
        DecryptError::Tree(error) => tree(error, Kind::Decrypt),
        DecryptError::Metadata(MetadataError::NotFound) => {
            Failure::new(Kind::Other, error).hint("encrypt it first: selkie encrypt FILE")
        }
        _ => Failure::new(Kind::Other, error),
    }
}

fn no_data_key(error: &NoDataKey, keys: &Keys) -> Failure {
    let failure = Failure::new(Kind::NoKey, error);
    match error {
        NoDataKey::NoIdentity { attempts }
            if !attempts.iter().any(|(entry, _)| entry.kind == KeyKind::Age) =>
        {
            failure
        }
        _ => failure.hint(format!("identities were looked for in\n{}", keys.places())),
    }
}

/// Why a changed file is not written.
pub(crate) fn edit(error: &EditError, keys: &Keys) -> Failure {
    match error {
        EditError::Open(error) => decrypt(error, keys),
        EditError::Encrypt(error) => encrypt(error),
        EditError::ReservedKey { .. } => Failure::new(Kind::AlreadyEncrypted, error),
        _ => Failure::new(Kind::Input, error),
    }
}

/// Why a value is not set or taken out.
pub(crate) fn set(error: &SetError, keys: &Keys) -> Failure {
    match error {
        SetError::Edit(error) => edit(error, keys),
        SetError::NoPath | SetError::NoKey { .. } | SetError::NoIndex { .. } => {
            Failure::new(Kind::ExtractPath, error)
        }
        SetError::Clear { .. } => Failure::new(Kind::Other, error)
            .hint("set it under a key that the rule encrypts, or give --clear if it is no secret"),
        _ => Failure::new(Kind::Other, error),
    }
}

/// Why a file does not get other keys.
pub(crate) fn rekey(error: &RekeyError) -> Failure {
    match error {
        RekeyError::Write(error) => encrypt(error),
        RekeyError::ThresholdStays { .. } => {
            Failure::new(Kind::Other, error).hint("give --threshold NUMBER")
        }
        _ => Failure::new(Kind::Other, error),
    }
}

pub(crate) fn extract(error: &ExtractError) -> Failure {
    match error {
        ExtractError::Parse(error) => parse(error),
        _ => Failure::new(Kind::Other, error),
    }
}

pub(crate) fn seal(error: &SealManifestError) -> Failure {
    match error {
        SealManifestError::Parse(error) => parse(error),
        SealManifestError::NoSecret => Failure::new(Kind::Empty, error),
        SealManifestError::EmptyData { .. } => {
            Failure::new(Kind::Other, error).hint("give --allow-empty-data")
        }
        SealManifestError::NoName { .. } => {
            Failure::new(Kind::Other, error).hint("add metadata.name, or give --name")
        }
        SealManifestError::NoNamespace { .. } => {
            Failure::new(Kind::Other, error).hint("add metadata.namespace, or give --namespace")
        }
        SealManifestError::OtherKind { .. } => Failure::new(Kind::Other, error)
            .hint("only Secrets are sealed; other documents are left alone beside one"),
        SealManifestError::Encrypted { .. } => {
            Failure::new(Kind::Other, error).hint("decrypt it first: selkie decrypt -i FILE")
        }
        _ => Failure::new(Kind::Other, error),
    }
}

fn parse(error: &ParseError) -> Failure {
    Failure::new(Kind::Input, format!("not valid YAML: {error}"))
}

fn tree(error: &TreeError, kind: Kind) -> Failure {
    match error {
        TreeError::Empty => Failure::new(Kind::Empty, error),
        _ => Failure::new(kind, error),
    }
}

/// A file name as a `path_regex` that matches it at the end of a path.
fn path_regex(name: &str) -> String {
    let mut text = String::new();
    for c in name.chars() {
        if r"\.+*?()|[]{}^$".contains(c) {
            text.push('\\');
        }
        text.push(c);
    }
    text.push('$');
    text
}

/// So many forgotten values are named; the others are counted.
const SHOWN_LEAVES: usize = 5;
