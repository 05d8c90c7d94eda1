//! JSON: RFC 8259 as Go's decoder reads it, lossless (sops-format.md 12).
//!
//! Duplicate keys stay, lone surrogates read as U+FFFD, integers are integers within 64 bits and
//! floats beyond. What sops takes and RFC 8259 does not (text after the object, an object that is
//! cut off) is refused, and so is a byte order mark, which sops cannot read.

mod edit;
mod emit;
mod layout;
mod scan;

pub(crate) use edit::{
    append_entry, insert_entry, push_item, remove_entry, remove_item, set_scalar, set_scalar_raw,
    set_token, set_value,
};
pub(crate) use emit::emit;

use crate::{Kind, Limits, NodeId, ParseError, ResolveError, Scalar, Stream, Style, error};

/// Parses one JSON value of any kind.
///
/// Fails with the position of the first thing that is not JSON, of a number that no 64-bit float
/// holds, or that is beyond `limits`.
pub fn parse<'s>(source: &'s str, limits: &Limits) -> Result<Stream<'s>, ParseError> {
    scan::scan(source, limits)
}

/// Parses bytes; refuses UTF-16 and invalid UTF-8 with a reason that says so.
pub fn parse_bytes<'s>(source: &'s [u8], limits: &Limits) -> Result<Stream<'s>, ParseError> {
    parse(error::text_of(source)?, limits)
}

/// A string in quotes as Go's `json.Marshal` writes it, `<`, `>` and `&` as escapes.
#[must_use]
pub fn quoted_as_go(text: &str) -> String {
    emit::quoted(text, emit::Spelling::GO)
}

/// What sops 3.13.3 takes a scalar for.
pub(crate) fn resolve<'a>(stream: &'a Stream<'_>, id: NodeId) -> Result<Scalar<'a>, ResolveError> {
    let node = stream.node(id);
    if node.kind != Kind::Scalar {
        return Err(ResolveError::not_a_scalar(node));
    }
    let text = node.value.as_ref();
    if node.style != Style::Plain {
        return Ok(Scalar::Str(text.into()));
    }
    Ok(match text {
        "null" => Scalar::Null,
        "true" => Scalar::Bool(true),
        "false" => Scalar::Bool(false),
        number => match number.parse::<i64>() {
            Ok(int) => Scalar::Int(int),
            // The scanner has seen that it is a finite number.
            Err(_) => Scalar::Float(number.parse().unwrap_or(f64::NAN)),
        },
    })
}
