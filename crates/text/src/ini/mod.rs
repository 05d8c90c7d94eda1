//! INI files as gopkg.in/ini.v1 1.67.3 reads them with sops's options (sops-format.md 15), lossless.
//!
//! The root is a mapping of sections, each a mapping of strings. The first section is `DEFAULT`: what
//! stands before any header, possibly nothing. Section names may repeat. A key that repeats within a
//! section is refused: sops keeps the last value and drops the others, and a value that is in no tree
//! would stay in clear.
//!
//! The comment of a section is in the `head` of its mapping, that of a key in the `foot` of the
//! key, which is where sops has them. What stands above a key and behind its value is one comment.
//! Comments behind the last key are foot comments of the document (sops drops them); so that they
//! stay there, the metadata section goes before them.

mod comment;
mod edit;
mod emit;
mod read;
mod value;

pub(crate) use comment::{comment_text, set_comment};
pub(crate) use edit::{append_entry, insert_entry, remove_entry, remove_item, set_value};
pub(crate) use emit::emit;
pub(crate) use value::{set_scalar, set_scalar_raw, set_token};

use crate::{Limits, ParseError, Stream, error};

/// What messages call the format.
const FORMAT: &str = "an INI file";

/// Parses an INI file.
///
/// Fails with the position of the first line that ini.v1 would refuse, of a key that repeats, or
/// that is beyond `limits`.
pub fn parse<'s>(source: &'s str, limits: &Limits) -> Result<Stream<'s>, ParseError> {
    read::read(source, limits)
}

/// Parses bytes; refuses UTF-16 and invalid UTF-8 with a reason that says so.
pub fn parse_bytes<'s>(source: &'s [u8], limits: &Limits) -> Result<Stream<'s>, ParseError> {
    parse(error::text_of(source)?, limits)
}

fn bom(source: &str) -> usize {
    if source.starts_with('\u{feff}') { 3 } else { 0 }
}

/// The first byte of the line that `at` is in, a byte order mark left out.
fn line_start(source: &str, at: usize) -> usize {
    source[..at].rfind('\n').map_or(bom(source), |at| at + 1)
}

/// The first byte after the line that `at` is in.
fn line_after(source: &str, at: usize) -> usize {
    source[at..]
        .find('\n')
        .map_or(source.len(), |found| at + found + 1)
}

/// The line break of the file's first line.
fn line_end(source: &str) -> &'static str {
    match source.find('\n') {
        Some(at) if source[..at].ends_with('\r') => "\r\n",
        _ => "\n",
    }
}
