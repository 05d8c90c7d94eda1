//! Lossless text formats: byte spans in, edits out, scalars resolved as Go resolves them.
//!
//! Every format is parsed into the same tree, a [`Stream`]; it never changes. [`Edits`] collects
//! replacements of byte ranges, and every byte outside an edit stays.
//!
//! [`yaml`] is a port of go-yaml v3 (see `NOTICE` and `docs/decisions/0002-yaml-port.md`).

mod edits;
mod error;
mod tree;
mod value;
pub mod yaml;

pub use edits::{Edits, OverlapError};
pub use error::{EntryError, ExpandError, ParseError, ResolveError};
pub use tree::{
    Block, Chomping, Comment, Document, DuplicateKey, Kind, Limits, Node, NodeId, Stream, Style,
    Syntax,
};
pub use value::{Scalar, Timestamp, Value};
