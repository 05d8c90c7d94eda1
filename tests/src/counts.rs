//! How much a generated suite runs, and what it says about it for `make verify` to sum up.

#![allow(clippy::print_stdout, reason = "the counts that `make verify` sums up")]

use crate::generate::{Case, seeds};

/// Returns whether the full counts were asked for: `SELKIE_FULL=1`.
pub fn everything() -> bool {
    std::env::var_os("SELKIE_FULL").is_some_and(|value| value == "1")
}

/// Returns the generated trees of a run: all 300, or a sample of 60.
pub fn trees() -> Vec<Case> {
    let seeds = seeds(300, 60, everything());
    seeds.into_iter().map(Case::new).collect()
}

/// Prints a line that ends up in the summary.
pub fn verified(line: &str) {
    println!("verified: {line}");
}

/// Prints how many of `total` pass.
///
/// # Panics
/// With all failures, if there are any.
pub fn report(what: &str, total: usize, failures: &[String]) {
    let passed = total - failures.len();
    verified(&format!("{what}: {passed} of {total} pass"));
    assert!(
        failures.is_empty(),
        "{what}: {} of {total} fail:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

/// Prints how many of `total` were left out, as the original gave nothing to compare with.
///
/// # Panics
/// If there are more than `percent` of a hundred.
pub fn left_out(what: &str, why: &str, count: usize, total: usize, percent: usize) {
    verified(&format!("{what}: {count} of {total} left out: {why}"));
    assert!(
        count * 100 <= percent * total,
        "{what}: {count} of {total} are left out, more than {percent} %: {why}"
    );
}
