//! The command line of sops: the same lines run with the real sops 3.13.3 and with ours under its
//! name, in folders of the same content. Exit codes, output and the files that are left behind
//! must be equal; where we differ on purpose the transcript says so and why.
//!
//! The transcripts stand in `tests/transcripts/sops/*.txt`; their form is told in
//! [`compat::transcript`].

mod compare;
mod play;

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, ensure};

use play::Stage;

/// One in so many transcripts is played in an everyday run.
const SAMPLE: i64 = 4;

#[test]
fn the_transcripts_of_sops_are_ours_too() -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("transcripts/sops");
    // A part of them in an everyday run, another one every day; all when they are asked for.
    let transcripts = compat::transcript::read_sample(&folder, SAMPLE)?;
    ensure!(!transcripts.is_empty(), "no transcript has this name");
    let stage = Stage::set()?;
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(2, usize::from);
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(transcript) = transcripts.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let played = play::both(&stage, transcript)
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
