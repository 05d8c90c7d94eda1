//! Lossless YAML: byte spans in, edits out, scalars resolved as Go resolves them
