//! age keys of every type: the public test vectors, and files that go both ways between ours, the
//! original age and the real sops 3.13.3 (issue 4, "Must show" 4).

#![allow(clippy::print_stdout, reason = "the counts that `make verify` sums up")]

#[path = "keys_age/fixtures.rs"]
mod fixtures;
#[path = "keys_age/interop.rs"]
mod interop;
#[path = "keys_age/plugins.rs"]
mod plugins;
#[path = "keys_age/sources.rs"]
mod sources;
#[path = "keys_age/terminal.rs"]
mod terminal;
#[path = "keys_age/vectors.rs"]
mod vectors;
