//! How ours grows from 1,000 to 100,000 keys, in every format that has keys.

use std::fs;
use std::io::Write;
use std::time::Duration;

use anyhow::{Context, Result};
use compat::sops_file::RECIPIENT;

use crate::cases::Tools;
use crate::documents;
use crate::measure::{Invocation, Measured, median};

/// What `--only` selects.
pub(crate) const NAME: &str = "growth, 1,000 to 100,000 keys";

/// A hundred times the keys in a hundred times the time, and half as much again: caches are outgrown, and a small case has few samples.
pub(crate) const TARGET: f64 = 1.5;

const KEYS: [u128; 3] = [1_000, 10_000, 100_000];

/// One verb on one format.
pub(crate) struct Growth {
    pub(crate) name: String,
    /// The time for each of 1,000, 10,000 and 100,000 keys, without that of a process that does nothing.
    pub(crate) times: [Duration; 3],
    pub(crate) peak_kib: i64,
}

impl Growth {
    /// The cost of a key among 100,000 as a multiple of its cost among 1,000.
    pub(crate) fn ratio(&self) -> f64 {
        self.times[2].as_secs_f64() / self.times[0].as_secs_f64() / 100.0
    }

    pub(crate) fn is_met(&self) -> bool {
        self.ratio() <= TARGET
    }
}

pub(crate) fn rows(tools: &Tools, runs: usize) -> Result<Vec<Growth>> {
    let idle = measured(
        tools,
        &Invocation::new(&tools.selkie, &["--version"]),
        3 * runs,
    )?;
    let mut rows = Vec::new();
    for (suffix, content) in [
        (
            "yaml",
            documents::yaml as fn(&mut dyn Write, u128) -> std::io::Result<()>,
        ),
        ("json", documents::json),
        ("env", documents::dotenv),
        ("ini", documents::ini),
    ] {
        let (mut encrypt, mut decrypt) = (Vec::new(), Vec::new());
        for keys in KEYS {
            let clear = tools.write(&format!("grown-{keys}.{suffix}"), |file| {
                content(file, keys)
            })?;
            let encrypting = tools.encrypt(&clear, &["--age", RECIPIENT]);
            let encrypted = tools.path(&format!("grown-{keys}.enc.{suffix}"));
            tools.print_to(&encrypting, &encrypted)?;
            // The smallest case is the divisor: more of it.
            let runs = if keys == KEYS[0] { 3 * runs } else { runs };
            encrypt.push(measured(tools, &encrypting, runs)?);
            let decrypting = Invocation::new(&tools.selkie, &["decrypt"]).file(&encrypted);
            decrypt.push(measured(tools, &decrypting, runs)?);
            fs::remove_file(clear)?;
            fs::remove_file(encrypted)?;
        }
        for (verb, measured) in [("encrypt", encrypt), ("decrypt", decrypt)] {
            let times: Vec<Duration> = measured
                .iter()
                .map(|measured| measured.time.saturating_sub(idle.time))
                .collect();
            let peak = measured.iter().map(|measured| measured.peak_kib).max();
            rows.push(Growth {
                name: format!("{verb}, {suffix}"),
                times: times.try_into().ok().context("three sizes")?,
                peak_kib: peak.unwrap_or_default(),
            });
        }
    }
    Ok(rows)
}

fn measured(tools: &Tools, invocation: &Invocation, runs: usize) -> Result<Measured> {
    let mut all = (0..runs)
        .map(|_| tools.measure(invocation))
        .collect::<Result<Vec<_>>>()?;
    Ok(median(&mut all))
}
