//! The command line tool from the outside: verbs, reports, exit codes, and what it refuses.

#![allow(clippy::unwrap_used, reason = "a test that fails shows where")]

mod bed;
mod cluster;
mod edit;
mod exec;
mod formats;
mod guide;
mod refused;
mod trees;
mod values;
mod verbs;
mod writing;
