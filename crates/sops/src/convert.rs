//! A clear file in another format (sops-format.md 16).

use selkie_secret::SecretBytes;
use selkie_text::{self as text, Value};
use zeroize::Zeroizing;

use crate::format::Format;

/// Why a file is not converted. Holds no value of the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConvertError {
    /// The file is not of the format that it is said to be.
    #[error(transparent)]
    Parse(#[from] text::ParseError),
    /// A value does not fit its tag.
    #[error(transparent)]
    Resolve(#[from] text::ResolveError),
    /// The other format cannot hold the tree.
    #[error(transparent)]
    Write(#[from] text::WriteError),
    /// The bytes are no text.
    #[error("the file is not UTF-8 text, so {0} cannot hold it")]
    NotText(Format),
    /// A binary file is one text under `data`.
    #[error(
        "a binary file needs one text under the key `data` at the top; \
         give another output type"
    )]
    NoData,
}

/// Writes a clear file in another format, in the layout of sops; a binary file is the text under
/// `data`. Comments come along where the format has them, aliases as copies. `indent`: columns per
/// level in YAML, blanks per level in JSON; `None` is the default of sops.
pub fn convert(
    plain: &[u8],
    from: Format,
    to: Format,
    indent: Option<usize>,
) -> Result<SecretBytes, ConvertError> {
    let source = std::str::from_utf8(plain).map_err(|_| ConvertError::NotText(to))?;
    if from == Format::Binary {
        let data = Value::Str(source.to_owned());
        let tree = Value::Map(vec![("data".to_owned(), data)]);
        return write(&[tree], to, indent);
    }
    let stream = from.parse(source)?;
    let mut documents = Vec::new();
    while let Some(document) = stream.to_value(documents.len())? {
        documents.push(document);
    }
    write(&documents, to, indent)
}

fn write(
    documents: &[Value],
    to: Format,
    indent: Option<usize>,
) -> Result<SecretBytes, ConvertError> {
    if to != Format::Binary {
        let text = text::emit_documents(documents, to.syntax(), indent)?;
        return Ok(SecretBytes::new(text.into_bytes()));
    }
    let Some(Value::Map(fields)) = documents.first() else {
        return Err(ConvertError::NoData);
    };
    let data = fields.iter().find_map(|(key, value)| match value {
        Value::Str(text) if key == "data" => Some(Zeroizing::new(text.clone())),
        _ => None,
    });
    let data = data.ok_or(ConvertError::NoData)?;
    Ok(SecretBytes::new(data.as_bytes().to_vec()))
}
