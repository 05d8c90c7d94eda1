//! A document on its way: read in one format, encrypted or decrypted, written in another.

use selkie_secret::SecretBytes;
use selkie_sops::{
    ConvertError, DataKeySource, DecryptError, DecryptOptions, EncryptError, EncryptPlan,
    Encryption, ExtractError, ExtractPath, Format, OpenFile, Warning,
};

/// What a document is written in, and what it goes out in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) input: Format,
    pub(crate) output: Format,
    /// Columns or blanks per level where the document is written anew; the format's own without one.
    pub(crate) indent: Option<usize>,
    /// Writes it anew even where the format stays, which loses its layout.
    pub(crate) anew: bool,
}

/// A decrypted document.
pub(crate) struct Plain {
    pub(crate) bytes: SecretBytes,
    /// What the user should know though it opened.
    pub(crate) warnings: Vec<Warning>,
}

/// Why a document does not come out as asked. No variant holds a value of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DocumentError {
    #[error("the file is not UTF-8 text; save it as UTF-8")]
    NotText,
    #[error(transparent)]
    Encrypt(#[from] EncryptError),
    #[error(transparent)]
    Decrypt(#[from] DecryptError),
    #[error(transparent)]
    Convert(#[from] ConvertError),
    #[error(transparent)]
    Extract(#[from] ExtractError),
}

impl Shape {
    /// Returns whether the file does not keep its form.
    pub(crate) fn changes(&self) -> bool {
        self.input != self.output || (self.anew && self.input != Format::Binary)
    }
}

/// Encrypts a clear document.
pub(crate) fn encrypt(
    plain: &[u8],
    shape: &Shape,
    plan: &EncryptPlan<'_>,
) -> Result<Encryption, DocumentError> {
    if shape.input == Format::Binary {
        return Ok(selkie_sops::encrypt_binary_as(plain, shape.output, plan)?);
    }
    if !shape.changes() {
        return Ok(selkie_sops::encrypt(text(plain)?, shape.input, plan)?);
    }
    // An encrypted binary file is JSON.
    let output = match shape.output {
        Format::Binary => Format::Json,
        output => output,
    };
    let plain = selkie_sops::convert(plain, shape.input, output, shape.indent)?;
    Ok(selkie_sops::encrypt(text(plain.expose())?, output, plan)?)
}

/// Decrypts a document.
pub(crate) fn decrypt(
    source: &[u8],
    shape: &Shape,
    keys: &dyn DataKeySource,
    options: &DecryptOptions,
) -> Result<Plain, DocumentError> {
    let source = text(source)?;
    let (bytes, warnings) = match shape.input {
        Format::Binary => {
            let bytes = selkie_sops::decrypt_binary(source, keys, options)?;
            (bytes, Vec::new())
        }
        format => {
            let decrypted = selkie_sops::decrypt(source, format, keys, options)?;
            (decrypted.text.into_bytes(), decrypted.warnings)
        }
    };
    let bytes = match shape.changes() {
        true => selkie_sops::convert(bytes.expose(), shape.input, shape.output, shape.indent)?,
        false => bytes,
    };
    Ok(Plain { bytes, warnings })
}

/// Takes one part out of a decrypted document, in the output format.
pub(crate) fn extract(
    plain: &[u8],
    shape: &Shape,
    path: &ExtractPath,
) -> Result<SecretBytes, DocumentError> {
    Ok(match shape.output {
        Format::Binary => selkie_sops::extract_binary(plain, path)?,
        output => selkie_sops::extract(text(plain)?, output, path)?,
    })
}

/// Encrypts an open file again in another format, for the same keys and by the same rule, under a
/// new data key. `plan` is filled in from the file but for its groups and time.
pub(crate) fn rewrite(
    file: &OpenFile<'_>,
    shape: &Shape,
    plan: EncryptPlan<'_>,
) -> Result<String, DocumentError> {
    let plan = EncryptPlan {
        selection: file.selection().clone().even_if_nothing_matches(),
        mac_only_encrypted: file.mac_only_encrypted(),
        whole_mac: file.has_whole_mac(),
        ..plan
    };
    match encrypt(file.plain(), shape, &plan)? {
        Encryption::Encrypted(encrypted) => Ok(encrypted.text),
        Encryption::AlreadyEncrypted(_) => Err(EncryptError::ReservedKey { line: 1 }.into()),
    }
}

fn text(bytes: &[u8]) -> Result<&str, DocumentError> {
    std::str::from_utf8(bytes).map_err(|_| DocumentError::NotText)
}
