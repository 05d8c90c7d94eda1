//! The SOPS file format: selection, values, MAC, metadata, creation rules
