//! Secret manifests into SealedSecret manifests, in place (sealed-secrets.md 12.3, 12.5).
//!
//! Every document that is no Secret stays byte for byte, as do the comments around a Secret;
//! comments inside one stay with the field they belong to, where the SealedSecret has that field.

mod concatenated;
pub(crate) mod identity;
pub(crate) mod nodes;
mod read;
mod write;

use selkie_text::yaml::{self, Edits, Limits, Stream};
use zeroize::Zeroizing;

use crate::{Base64Error, Certificate, Scope, SealError};
use read::{Document, SecretDocument};
use write::Tree;

/// How the Secrets of a manifest are sealed.
pub struct SealPlan<'a> {
    /// Whom they are sealed for. Whether it has expired is the caller's to check.
    pub certificate: &'a Certificate,
    /// The scope, in place of the one that a Secret's annotations name.
    pub scope: Option<Scope>,
    /// The name, in place of the Secret's own.
    pub name: Option<&'a str>,
    /// The namespace of a Secret that names none; another one in the Secret is an error.
    pub namespace: Option<&'a str>,
    /// Where else a namespace may come from, such as the current context; asked only when a Secret
    /// needs it.
    pub default_namespace: &'a dyn Fn() -> Option<String>,
    /// Whether a Secret without any value is sealed.
    pub allow_empty_data: bool,
}

/// A manifest with its Secrets sealed. Debug output holds no plaintext: there is none left.
#[derive(Debug)]
pub struct Sealing {
    /// The whole manifest.
    pub text: String,
    /// How many Secrets became SealedSecrets.
    pub secrets: usize,
    /// How many values were sealed.
    pub values: usize,
    /// How many SealedSecrets were there before, and stay as they are.
    pub already: usize,
}

/// Why a manifest is not sealed. No variant holds a value of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealManifestError {
    /// Not YAML.
    #[error(transparent)]
    Parse(#[from] yaml::ParseError),
    /// No document. The text is kubeseal's.
    #[error("no secrets found. Ensure the input is valid and UTF-8 encoded")]
    NoSecret,
    /// Documents, but no Secret among them.
    #[error("no Secret found; the file holds {kinds}")]
    OtherKind {
        /// The kinds, joined by commas.
        kinds: String,
    },
    /// Secrets inside a List would stay in clear.
    #[error("line {line}: a List with a Secret in it; write each Secret as a document of its own")]
    List {
        /// Line of the document.
        line: usize,
    },
    /// A Secret that is no document of its own, or not of apiVersion v1, would stay in clear.
    #[error(
        "line {line}: this Secret would stay in clear; write it as a document of its own with \
         `apiVersion: v1`"
    )]
    Stray {
        /// Line of the Secret.
        line: usize,
    },
    /// Ciphertext would be sealed.
    #[error("line {line}: the Secret is encrypted by SOPS")]
    Encrypted {
        /// Line of the `sops` key.
        line: usize,
    },
    /// A field that a Secret does not have, and that would be lost.
    #[error(
        "line {line}: a Secret has no field `{field}`; it has data, stringData, type and immutable"
    )]
    UnknownField {
        /// Line of the field.
        line: usize,
        /// Its name.
        field: String,
    },
    /// A key that is there twice.
    #[error("line {line}: the same key stands on line {first} already")]
    DuplicateKey {
        /// Line of the second one.
        line: usize,
        /// Line of the first one.
        first: usize,
    },
    /// A list or a scalar where a mapping has to be.
    #[error("line {line}: {path} is not a mapping")]
    NotAMapping {
        /// Line of the value.
        line: usize,
        /// Path of the value.
        path: String,
    },
    /// Something else where a list has to be.
    #[error("line {line}: {path} is not a list")]
    NotAList {
        /// Line of the value.
        line: usize,
        /// Path of the value.
        path: String,
    },
    /// Something else where a boolean has to be.
    #[error("line {line}: {path} is neither true nor false")]
    NotABoolean {
        /// Line of the value.
        line: usize,
        /// Path of the value.
        path: String,
    },
    /// An object that cannot be sealed.
    #[error("line {line}: {} cannot be sealed; only a Secret of apiVersion v1 can", told(.kind, .version, .name))]
    NotASecret {
        /// Line of the object.
        line: usize,
        /// Its kind, empty when there is none.
        kind: String,
        /// Its apiVersion, empty when there is none.
        version: String,
        /// Its name, empty when there is none.
        name: String,
    },
    /// A number, a boolean or a collection where text has to be.
    #[error("line {line}: {path} is not a string; put the value in quotes")]
    NotText {
        /// Line of the value.
        line: usize,
        /// Path of the value.
        path: String,
    },
    /// A value under `data` is not base64.
    #[error("line {line}: {path}: {source}; plain text belongs under stringData")]
    Base64 {
        /// Line of the value.
        line: usize,
        /// Path of the value.
        path: String,
        /// Where it breaks.
        source: Base64Error,
    },
    /// No value. The text is kubeseal's.
    #[error(
        "line {line}: secret.data is empty in input Secret, assuming this is an error and aborting. \
         To work with empty data, --allow-empty-data can be used"
    )]
    EmptyData {
        /// Line of the document.
        line: usize,
    },
    /// No name. The text is kubeseal's.
    #[error("line {line}: missing metadata.name in input Secret")]
    NoName {
        /// Line of the document.
        line: usize,
    },
    /// One name for several Secrets.
    #[error("one name cannot be given to {count} Secrets")]
    NameForSeveral {
        /// How many Secrets the manifest has.
        count: usize,
    },
    /// No namespace. The text is kubeseal's.
    #[error("line {line}: secret must declare a namespace")]
    NoNamespace {
        /// Line of the document.
        line: usize,
    },
    /// Two namespaces. The text is kubeseal's.
    #[error(
        "line {line}: namespace mismatch: input secret is in namespace \"{found}\" but \"{given}\" \
         was specified"
    )]
    NamespaceMismatch {
        /// Line of the document.
        line: usize,
        /// The Secret's own.
        found: String,
        /// The one of the plan.
        given: String,
    },
    /// A part that stays clear repeats a value.
    #[error("line {line}: {what} repeats the value of {path}, and would stay in clear; remove it")]
    Repeated {
        /// Line of the part.
        line: usize,
        /// "the comment", or the path of an annotation.
        what: String,
        /// Path of the value.
        path: String,
    },
    /// Aliases that multiply, or too many levels.
    #[error("line {line}: the aliases of this Secret unfold too far; write the values out")]
    TooLarge {
        /// Line of the document.
        line: usize,
    },
    /// Two Secrets stand at one place.
    #[error(transparent)]
    Overlap(#[from] yaml::OverlapError),
    /// A value cannot be encrypted.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The result would not read back: nothing is returned.
    #[error(
        "line {line}: the SealedSecret would not read back as it was meant. This is a defect of \
         Selkie: please report the layout of the file, without its values"
    )]
    SelfCheck {
        /// Line of the document.
        line: usize,
    },
}

/// An object by what it says of itself: `the ConfigMap "x" of v1`.
pub(crate) fn told(kind: &str, version: &str, name: &str) -> String {
    let mut text = match kind {
        "" => "the object without a kind".to_owned(),
        kind => format!("the {kind}"),
    };
    if !name.is_empty() {
        text.push_str(&format!(" {name:?}"));
    }
    if !version.is_empty() {
        text.push_str(&format!(" of {version}"));
    }
    text
}

/// Seals every Secret of a manifest, YAML or JSON.
///
/// A manifest with SealedSecrets and no Secret comes back as it is. Fails when there is neither,
/// and whenever one Secret cannot be sealed: all of them are, or none.
pub fn seal(source: &str, plan: &SealPlan<'_>) -> Result<Sealing, SealManifestError> {
    let Some(objects) = concatenated::objects(source) else {
        return seal_stream(source, plan).map_err(Refusal::into_error);
    };
    let mut whole = Sealing {
        text: String::with_capacity(source.len()),
        secrets: 0,
        values: 0,
        already: 0,
    };
    let mut kinds = Vec::new();
    let (mut end, mut lines) = (0, 0);
    for object in objects {
        let between = &source[end..object.start];
        whole.text.push_str(between);
        lines += between.matches('\n').count();
        let own = &source[object.clone()];
        // Blank lines before it, so that errors name its lines in the file.
        let padding = lines.min(MAX_PADDING);
        let json = concatenated::without_surrogates(own);
        let mut padded = Zeroizing::new(String::with_capacity(padding + json.len()));
        padded.extend(std::iter::repeat_n('\n', padding));
        padded.push_str(&json);
        match seal_stream(&padded, plan) {
            Ok(sealing) => {
                let same = sealing.secrets == 0;
                let text = if same { own } else { &sealing.text[padding..] };
                whole.text.push_str(text);
                whole.secrets += sealing.secrets;
                whole.values += sealing.values;
                whole.already += sealing.already;
            }
            Err(Refusal::NoSecret(of_object)) => {
                whole.text.push_str(own);
                kinds.extend(of_object);
            }
            Err(Refusal::Error(error)) => return Err(error),
        }
        lines += own.matches('\n').count();
        end = object.end;
    }
    whole.text.push_str(&source[end..]);
    match whole.secrets {
        0 if whole.already == 0 => Err(nothing_to_seal(kinds)),
        count if count > 1 && plan.name.is_some() => {
            Err(SealManifestError::NameForSeveral { count })
        }
        _ => Ok(whole),
    }
}

/// So many blank lines are put before an object; farther down, lines count from its start.
const MAX_PADDING: usize = 10_000;

/// Why one text is not sealed.
enum Refusal {
    /// It has no Secret, but these kinds.
    NoSecret(Vec<String>),
    Error(SealManifestError),
}

impl Refusal {
    fn into_error(self) -> SealManifestError {
        match self {
            Self::NoSecret(kinds) => nothing_to_seal(kinds),
            Self::Error(error) => error,
        }
    }
}

impl<E: Into<SealManifestError>> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self::Error(error.into())
    }
}

fn seal_stream(source: &str, plan: &SealPlan<'_>) -> Result<Sealing, Refusal> {
    let stream = yaml::parse(source, &Limits::default())?;
    let documents: Vec<Document> = (0..stream.documents().len())
        .map(|index| read::document(&stream, index))
        .collect::<Result<_, _>>()?;
    let already = documents
        .iter()
        .filter(|d| matches!(d, Document::SealedSecret))
        .count();
    let secrets: Vec<&SecretDocument> = documents
        .iter()
        .filter_map(|document| match document {
            Document::Secret(secret) => Some(secret),
            _ => None,
        })
        .collect();
    if secrets.is_empty() && already == 0 {
        let kinds = documents.into_iter().filter_map(|document| match document {
            Document::Other(kind) => Some(kind),
            _ => None,
        });
        return Err(Refusal::NoSecret(kinds.collect()));
    }
    if plan.name.is_some() && secrets.len() > 1 {
        let count = secrets.len();
        return Err(SealManifestError::NameForSeveral { count }.into());
    }
    let newline = if source.contains("\r\n") {
        "\r\n"
    } else {
        "\n"
    };
    let mut edits = Edits::new();
    let mut sealed = Vec::new();
    let mut values = 0;
    for secret in secrets {
        let (tree, count) = secret.seal(&stream, plan)?;
        let (span, text) = write::place(&stream, secret, &tree, newline);
        edits.replace(span, text);
        sealed.push((secret, tree));
        values += count;
    }
    let text = edits.try_apply(source)?;
    check(&stream, &text, &sealed)?;
    Ok(Sealing {
        text: text.as_str().to_owned(),
        secrets: sealed.len(),
        values,
        already,
    })
}

/// Reads the result again: as many documents, and each SealedSecret says what it was meant to say.
fn check(
    before: &Stream<'_>,
    text: &str,
    sealed: &[(&SecretDocument, Tree)],
) -> Result<(), SealManifestError> {
    let failed = |secret: &SecretDocument| SealManifestError::SelfCheck { line: secret.line };
    let Some((first, _)) = sealed.first() else {
        return Ok(());
    };
    let after = yaml::parse(text, &Limits::default()).map_err(|_| failed(first))?;
    if after.documents().len() != before.documents().len() {
        return Err(failed(first));
    }
    for (secret, tree) in sealed {
        let root = after.documents()[secret.document].root;
        if !root.is_some_and(|root| tree.reads_as(&after, root)) {
            return Err(failed(secret));
        }
    }
    Ok(())
}

fn nothing_to_seal(found: Vec<String>) -> SealManifestError {
    let mut kinds: Vec<String> = Vec::new();
    for kind in found {
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    match kinds.is_empty() {
        true => SealManifestError::NoSecret,
        false => SealManifestError::OtherKind {
            kinds: kinds.join(", "),
        },
    }
}
