//! The command line of kubeseal: the same lines run with the real kubeseal 0.38.4 and with ours under
//! its name, in folders of the same content (sealed-secrets.md 12). Exit code, output, error output
//! and the files that are left behind must be equal, ciphertext by what it opens to; where we differ
//! on purpose the transcript says so and why.
//!
//! The transcripts stand in `tests/transcripts/kubeseal` and `kubeseal-online`; their form is told in
//! [`compat::transcript`].

mod generated;
mod judge;
mod online;
mod stage;

use std::path::Path;

use anyhow::Result;
use compat::counts;
use compat::transcript::{self, Transcript};
use stage::Stage;

#[test]
fn the_transcripts_of_kubeseal_are_ours_too() -> Result<()> {
    let transcripts = read("kubeseal")?;
    let stage = Stage::set()?;
    transcript::play_all(&transcripts, None, |one| stage.both(one))?;
    counts::verified(&format!(
        "kubeseal, transcripts without a cluster: {} of {0} pass",
        transcripts.len()
    ));
    Ok(())
}

/// The transcripts of a folder: a part of them in an everyday run, all when they are asked for.
fn read(folder: &str) -> Result<Vec<Transcript>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("transcripts")
        .join(folder);
    transcript::read_sample(&folder, SAMPLE)
}

/// One in so many transcripts is played in an everyday run.
const SAMPLE: i64 = 4;
