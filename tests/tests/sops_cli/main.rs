//! The command line of sops: the same lines run with the real sops 3.13.3 and with ours under its
//! name, in folders of the same content. Exit codes, output and the files that are left behind
//! must be equal; where we differ on purpose the transcript says so and why.
//!
//! The transcripts stand in `tests/transcripts/sops/*.txt`; their form is told in
//! [`compat::transcript`].

mod compare;
mod play;

use std::path::Path;

use anyhow::{Result, ensure};
use compat::transcript;
use play::Stage;

/// One in so many transcripts is played in an everyday run.
const SAMPLE: i64 = 4;

#[test]
fn the_transcripts_of_sops_are_ours_too() -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("transcripts/sops");
    // A part of them in an everyday run, another one every day; all when they are asked for.
    let transcripts = transcript::read_sample(&folder, SAMPLE)?;
    ensure!(!transcripts.is_empty(), "no transcript has this name");
    let stage = Stage::set()?;
    transcript::play_all(&transcripts, None, |one| play::both(&stage, one))
}
