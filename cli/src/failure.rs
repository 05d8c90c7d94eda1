//! What went wrong, as the user sees it: a kind that sets the exit code, a message, the next step.

use std::fmt;

use selkie_sops::Format;

/// The exit codes as `--help` lists them; those of sops where it has one (sops-format.md 20).
pub(crate) const EXIT_CODES: &str = "\
Exit codes (with several files, that of the first that failed):
    0  done, or nothing to do
    1  configuration, recipient, certificate, cluster or usage is wrong
    2  an input cannot be read or is not valid
    3  an output cannot be written
    4  the format has no place for the change
    6  --encryption-context is not KEY:VALUE
    8  flags contradict each other, or the file
   23  the file cannot be encrypted as asked
   25  a value cannot be decrypted
   51  the MAC does not match: the file was changed
   91  --extract names no path
   92  the input has no document
  100  no such file, or no file given
  128  no identity opens the file
  203  already encrypted, but with values still in clear
";

/// The kind of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Anything without a code of its own.
    Other,
    /// The input cannot be read or parsed.
    Input,
    /// The output cannot be written.
    Output,
    /// `--encryption-context` does not parse.
    KmsContext,
    /// The output format cannot hold the file.
    Unwritable,
    /// Flags that exclude each other.
    Conflict,
    /// The tree cannot be encrypted.
    Encrypt,
    /// A value cannot be decrypted.
    Decrypt,
    /// The MAC is wrong.
    Mac,
    /// `--extract` does not parse.
    ExtractPath,
    /// No document in the input.
    Empty,
    /// No file, or not there.
    NoFile,
    /// No data key.
    NoKey,
    /// Encrypted already, and not completely; or the reserved key is taken.
    AlreadyEncrypted,
}

impl Kind {
    /// Returns the exit code.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Other => 1,
            Self::Input => 2,
            Self::Output => 3,
            Self::KmsContext => 6,
            Self::Unwritable => 4,
            Self::Conflict => 8,
            Self::Encrypt => 23,
            Self::Decrypt => 25,
            Self::Mac => 51,
            Self::ExtractPath => 91,
            Self::Empty => 92,
            Self::NoFile => 100,
            Self::NoKey => 128,
            Self::AlreadyEncrypted => 203,
        }
    }
}

/// A failure with its message. Never holds a value of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) kind: Kind,
    /// What and why, without the file's name.
    pub(crate) message: String,
    /// What to do next; may have several lines.
    pub(crate) hint: Option<String>,
}

impl Failure {
    pub(crate) fn new(kind: Kind, message: impl fmt::Display) -> Self {
        Self {
            kind,
            message: message.to_string(),
            hint: None,
        }
    }

    /// Names the format that a file was read as.
    pub(crate) fn of_format(mut self, format: Format) -> Self {
        const YAML: &str = "not valid YAML";
        if let Some(rest) = self.message.strip_prefix(YAML) {
            let name = match format {
                Format::Yaml => "YAML",
                Format::Json | Format::Binary => "JSON",
                Format::Dotenv => "dotenv",
                Format::Ini => "INI",
            };
            self.message = format!("not valid {name}{rest}");
        }
        self
    }

    /// Adds what to do next.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}
