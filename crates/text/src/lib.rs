//! Lossless text formats: byte spans in, edits out, scalars resolved as Go resolves them.
//!
//! Every format is parsed into the same tree, a [`Stream`]; it never changes. [`Edits`] collects
//! replacements of byte ranges, and every byte outside an edit stays. The functions that record
//! edits ([`set_token`], [`insert_entry`], ...) are the same for every format: they know the
//! [`Syntax`] of the stream. [`emit`] writes a [`Value`] as a whole file, in the layout of sops.
//!
//! [`yaml`] is a port of go-yaml v3 (see `NOTICE` and `docs/decisions/0002-yaml-port.md`).

mod convert;
pub mod dotenv;
mod edit;
mod edits;
mod error;
mod float;
pub mod ini;
pub mod json;
mod tree;
mod value;
pub mod yaml;

pub use edit::{
    append_entry, emit, emit_documents, insert_entry, push_item, remove_entry, remove_item,
    set_comment, set_scalar, set_scalar_raw, set_token, set_value,
};
pub use edits::{EditError, EditError as OverlapError, Edits};
pub use error::{EntryError, ExpandError, ParseError, ResolveError, WriteError};
pub use tree::{
    Block, Chomping, Comment, Document, DuplicateKey, Kind, Limits, Node, NodeId, Stream, Style,
    Syntax,
};
pub use value::{Scalar, Timestamp, Value};
