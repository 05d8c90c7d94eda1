//! Errors of the libraries in the words and with the exit codes of sops (sops-format.md 20).

use std::fmt;

use selkie_sops::{
    ConvertError, DecryptError, EditError, EncryptError, GroupError, KeyEntry, MacError,
    MetadataError, NoDataKey, RekeyError, SelectionError, SetError, TreeError, UnwrapError,
};

use super::Exit;
use crate::document::DocumentError;

/// Where the lines of long messages are broken.
const WIDTH: usize = 75;

fn exit(code: u8, message: impl fmt::Display) -> Exit {
    Exit::Message(code, message.to_string())
}

/// A clear document that is not encrypted.
pub(super) fn encrypting(error: &DocumentError) -> Exit {
    match error {
        DocumentError::NotText => exit(2, format!("Error unmarshalling file: {error}")),
        DocumentError::Encrypt(error) => encrypt(error),
        DocumentError::Convert(error) => match error {
            ConvertError::Parse(_) | ConvertError::Resolve(_) => {
                exit(2, format!("Error unmarshalling file: {error}"))
            }
            _ => exit(4, format!("Could not marshal tree: {error}")),
        },
        DocumentError::Decrypt(error) => decrypt(error, ""),
        DocumentError::Extract(error) => exit(1, error),
    }
}

fn encrypt(error: &EncryptError) -> Exit {
    match error {
        EncryptError::Parse(error) => exit(2, format!("Error unmarshalling file: {error}")),
        EncryptError::DuplicateKey { .. } => exit(2, format!("Error unmarshalling file: {error}")),
        EncryptError::Tree(TreeError::Empty) => exit(
            92,
            "File cannot be completely empty, it must contain at least one document",
        ),
        EncryptError::Tree(TreeError::TopLevel { .. }) => {
            exit(2, format!("Error unmarshalling file: {error}"))
        }
        EncryptError::Metadata(_) | EncryptError::ReservedKey { .. } => already_encrypted(),
        EncryptError::Groups(error) => groups(error),
        EncryptError::Unwritable(_) => exit(4, format!("Could not marshal tree: {error}")),
        EncryptError::Random(_) => exit(1, error),
        _ => exit(23, format!("Error encrypting tree: {error}")),
    }
}

/// The file has a `sops` entry.
pub(super) fn already_encrypted() -> Exit {
    exit(
        203,
        wrapped(
            "The file you have provided contains a top-level entry called 'sops', or for flat file \
             formats top-level entries starting with 'sops_'. This is generally due to the file \
             already being encrypted. SOPS uses a top-level entry called 'sops' to store the \
             metadata required to decrypt the file. For this reason, SOPS can not encrypt files \
             that already contain such an entry.\n\n\
             If this is an unencrypted file, rename the 'sops' entry.\n\n\
             If this is an encrypted file and you want to edit it, use the editor mode, for \
             example: `sops edit my_file.yaml`",
            WIDTH,
        ),
    )
}

pub(super) fn selecting(error: &SelectionError) -> Exit {
    match error {
        SelectionError::Conflict(..) => exit(
            8,
            "Error: cannot use more than one of encrypted_suffix, unencrypted_suffix, \
             encrypted_regex, unencrypted_regex, encrypted_comment_regex, or \
             unencrypted_comment_regex in the same file",
        ),
        _ => exit(1, format!("Error: {error}")),
    }
}

/// A data key that cannot be wrapped.
pub(super) fn no_new_data_key(error: &dyn fmt::Display) -> Exit {
    exit(1, format!("Could not generate data key: [{error}]"))
}

fn groups(error: &GroupError) -> Exit {
    no_new_data_key(error)
}

/// An encrypted document that does not open; `places` says where identities were looked for.
pub(super) fn decrypting(error: &DocumentError, places: &str) -> Exit {
    match error {
        DocumentError::Decrypt(error) => decrypt(error, places),
        DocumentError::Convert(error @ ConvertError::NoData) => no_binary_data(error),
        DocumentError::Convert(error) => exit(4, format!("Error dumping file: {error}")),
        DocumentError::Extract(error) => exit(1, format!("error truncating tree: {error}")),
        DocumentError::NotText => exit(1, format!("Error unmarshalling input: {error}")),
        DocumentError::Encrypt(error) => encrypt(error),
    }
}

/// An encrypted file that does not open.
pub(super) fn decrypt(error: &DecryptError, places: &str) -> Exit {
    match error {
        DecryptError::Parse(error) => exit(1, format!("Error unmarshalling input: {error}")),
        DecryptError::Metadata(MetadataError::NotFound) => exit(1, "sops metadata not found"),
        DecryptError::Metadata(_) => exit(1, error),
        DecryptError::NoDataKey(error) => exit(128, no_data_key(error, places)),
        DecryptError::Mac(error) => match error {
            MacError::Undecryptable(_) => exit(51, format!("Cannot decrypt MAC: {error}")),
            _ => exit(51, error),
        },
        DecryptError::NoData => no_binary_data(error),
        DecryptError::Unwritable { .. } | DecryptError::Write(_) => {
            exit(4, format!("Error dumping file: {error}"))
        }
        DecryptError::Tree(TreeError::Empty) => exit(1, "sops metadata not found"),
        _ => exit(25, format!("Error decrypting tree: {error}")),
    }
}

fn no_binary_data(error: &dyn fmt::Display) -> Exit {
    exit(
        4,
        format!(
            "Error dumping file: {error}\n\nThis is likely not an encrypted binary file? If not, \
             use --output-type to select the correct output type."
        ),
    )
}

pub(super) fn setting(error: &SetError, places: &str) -> Exit {
    match error {
        SetError::Edit(error) => editing(error, places),
        SetError::Write(_) | SetError::Entry(_) => {
            exit(4, format!("Could not marshal tree: {error}"))
        }
        _ => exit(1, error),
    }
}

pub(super) fn editing(error: &EditError, places: &str) -> Exit {
    match error {
        EditError::Open(error) => decrypt(error, places),
        EditError::Encrypt(error) => encrypt(error),
        EditError::ReservedKey { .. } => already_encrypted(),
        _ => exit(2, error),
    }
}

pub(super) fn rekeying(error: &RekeyError) -> Exit {
    match error {
        RekeyError::Groups(error) => groups(error),
        RekeyError::Write(error) => encrypt(error),
        _ => exit(1, error),
    }
}

/// Why there is no data key, with the cause for every key of every group.
fn no_data_key(error: &NoDataKey, places: &str) -> String {
    let mut text = "Failed to get the data key required to decrypt the SOPS file.\n\n".to_owned();
    let trailer = match error {
        NoDataKey::NoIdentity { attempts } => {
            text.push_str(&group(0, attempts));
            "Recovery failed because no master key was able to decrypt the file. In order for SOPS \
             to recover the file, at least one key has to be successful, but none were."
                .to_owned()
        }
        NoDataKey::Shares {
            found,
            needed,
            groups,
            ..
        } => {
            let groups = groups.iter();
            let groups = groups.map(|(number, attempts)| group(number - 1, attempts));
            text.push_str(&groups.collect::<Vec<_>>().join("\n\n"));
            format!(
                "Recovery failed because the file was encrypted with a Shamir threshold of \
                 {needed}, but only {found} part(s) were successfully recovered, one for each \
                 successful key group. In order for SOPS to recover the file, at least {needed} \
                 groups have to be successful. In order for a group to be successful, decryption \
                 has to succeed with any of the keys in that key group."
            )
        }
        other => other.to_string(),
    };
    text.push_str("\n\n");
    text.push_str(&wrapped(&trailer, WIDTH));
    if !places.is_empty() {
        text.push_str("\n\nage identities were looked for in\n");
        text.push_str(&indented(places, "  "));
    }
    text
}

fn group(number: usize, attempts: &[(KeyEntry, UnwrapError)]) -> String {
    let keys = attempts.iter().map(|(entry, error)| {
        let cause = wrapped(&error.to_string(), 60);
        let cause = indented(&cause, "    | ").replacen("    | ", "    - | ", 1);
        format!("  {}: FAILED\n{cause}", entry.id())
    });
    let keys: Vec<String> = keys.collect();
    format!("Group {number}: FAILED\n{}", keys.join("\n\n"))
}

fn indented(text: &str, by: &str) -> String {
    let lines = text.lines().map(|line| format!("{by}{line}"));
    lines.collect::<Vec<_>>().join("\n")
}

/// Breaks lines at blanks.
fn wrapped(text: &str, width: usize) -> String {
    let mut out = String::new();
    for (number, line) in text.lines().enumerate() {
        if number > 0 {
            out.push('\n');
        }
        let mut column = 0;
        for word in line.split(' ') {
            let length = word.chars().count();
            if column > 0 && column + 1 + length > width {
                out.push('\n');
                column = 0;
            } else if column > 0 {
                out.push(' ');
                column += 1;
            }
            out.push_str(word);
            column += length;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_broken_at_blanks() {
        assert_eq!(wrapped("aa bb cc\n\ndd", 5), "aa bb\ncc\n\ndd");
        assert_eq!(wrapped("a-word-too-long b", 5), "a-word-too-long\nb");
    }

    #[test]
    fn every_key_that_failed_is_told_with_its_cause() {
        let entry = KeyEntry {
            kind: selkie_sops::KeyKind::Age,
            fields: vec![("recipient".to_owned(), "age1x".to_owned())],
            context: std::collections::BTreeMap::new(),
        };
        let error = NoDataKey::NoIdentity {
            attempts: vec![(entry, UnwrapError::NotMine)],
        };
        let text = no_data_key(&error, "");
        assert!(text.starts_with(
            "Failed to get the data key required to decrypt the SOPS file.\n\n\
             Group 0: FAILED\n  age1x: FAILED\n    - | no identity fits\n\n\
             Recovery failed because no master key was able to decrypt the file."
        ));
    }
}
