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

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, Result, ensure};
use compat::counts;
use compat::transcript::{self, Transcript};
use stage::Stage;

#[test]
fn the_transcripts_of_kubeseal_are_ours_too() -> Result<()> {
    let transcripts = read("kubeseal")?;
    let stage = Stage::set()?;
    play(&stage, &transcripts, 0)?;
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

/// Plays them with both programs and fails with all that differs. `threads`: 0 for as many as the
/// machine has.
fn play(stage: &Stage, transcripts: &[Transcript], threads: usize) -> Result<()> {
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        let threads = match threads {
            0 => std::thread::available_parallelism().map_or(2, usize::from),
            threads => threads,
        };
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(transcript) = transcripts.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let played = stage
                        .both(transcript)
                        .with_context(|| format!("{} cannot be played", transcript.name));
                    let told = match played {
                        Ok(differences) if differences.is_empty() => continue,
                        Ok(differences) => differences.join("\n"),
                        Err(error) => format!("{error:#}"),
                    };
                    if let Ok(mut failures) = failures.lock() {
                        failures.push((transcript.name.clone(), told));
                    }
                }
            });
        }
    });
    let mut failures = failures.into_inner().unwrap_or_default();
    failures.sort();
    let mut report = String::new();
    for (name, told) in &failures {
        writeln!(report, "\n=== {name}\n{told}")?;
    }
    ensure!(
        failures.is_empty(),
        "{} of {} transcripts differ:{report}",
        failures.len(),
        transcripts.len()
    );
    Ok(())
}
