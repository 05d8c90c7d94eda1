//! Lossless YAML: what go-yaml v3.0.4 reads, with the byte span of everything.
//!
//! [`parse`] accepts and refuses what go-yaml accepts and refuses and attributes comments as it
//! does. A [`Stream`] never changes: [`Edits`] collects replacements of byte ranges, and
//! [`Edits::apply`] writes the new text; every byte outside an edit stays.
//!
//! Order of calls for one file, all into one `Edits` on one parsed stream:
//! - encrypting: [`set_token`] for each leaf, [`set_comment`] for each comment, then
//!   [`append_entry`] (it looks at the edits made so far);
//! - decrypting: [`remove_entry`] first, then [`set_scalar`] or [`set_scalar_raw`] and
//!   [`set_comment`] (they look at what is being removed after them);
//! - aliases to expand: [`expand_alias`] on its own, apply, parse again.
//!
//! Parts of this module are a Rust port of go-yaml v3 (MIT and Apache-2.0, see `NOTICE`).

pub(crate) mod append;
mod block_text;
mod chars;
mod compose;
pub(crate) mod edit;
mod emit;
pub(crate) mod entries;
mod event;
mod expand;
mod place;
mod quote;
mod resolve;
mod scan_comment;
mod scan_scalar;
mod scan_tag;
mod scanner;
pub(crate) mod structure;
mod timestamp;

pub use crate::edit::{
    append_entry, remove_entry, set_comment, set_scalar, set_scalar_raw, set_token,
};
pub use crate::edits::{EditError, EditError as OverlapError, Edits};
pub use crate::error::{EntryError, ExpandError, ParseError, ResolveError};
pub use crate::tree::{
    Block, Chomping, Comment, Document, DuplicateKey, Kind, Limits, Node, NodeId, Stream, Style,
    Syntax,
};
pub use crate::value::{Scalar, Timestamp, Value};
pub use edit::item_to_comment;
pub use emit::{emit, emit_float, emit_scalar};
pub use expand::expand_alias;
pub use quote::is_old_word;
pub(crate) use resolve::resolve;
pub use resolve::resolve_plain;

/// Parses a YAML stream of any number of documents.
///
/// A leading UTF-8 byte order mark is skipped. Fails with the position of the first thing that
/// go-yaml v3.0.4 would refuse, or that is beyond `limits`.
pub fn parse<'s>(source: &'s str, limits: &Limits) -> Result<Stream<'s>, ParseError> {
    compose::compose(source, limits)
}

/// Parses bytes; refuses UTF-16 and invalid UTF-8 with a reason that says so.
pub fn parse_bytes<'s>(source: &'s [u8], limits: &Limits) -> Result<Stream<'s>, ParseError> {
    parse(crate::error::text_of(source)?, limits)
}
