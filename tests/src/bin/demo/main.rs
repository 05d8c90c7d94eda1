//! `make demo`: the product's main job, step by step, on real servers.
//!
//! Every step shows the command, says what to look at and checks it. The first check that fails
//! ends the demo with exit code 1. Nothing is left running, unless `--keep` asks for it.

mod keep;
mod show;
mod steps;

use std::process::ExitCode;

use anyhow::{Result, anyhow};

use crate::show::Show;
use crate::steps::Demo;

fn main() -> ExitCode {
    let argument = std::env::args().nth(1);
    let result = match argument.as_deref() {
        None => run(false),
        Some("--keep") => keep::start(),
        Some("--kept") => run(true),
        Some("--stop") => keep::stop(),
        Some(other) => Err(anyhow!(
            "{other}: no such argument; there are --keep and --stop"
        )),
    };
    result.unwrap_or_else(|error| {
        Show::error(&error);
        ExitCode::FAILURE
    })
}

/// Runs the steps. With `keep`, stays until a signal ends the process, so that the servers stay
/// too.
#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn run(keep: bool) -> Result<ExitCode> {
    let mut show = Show::new();
    let mut demo = Demo::start(&mut show).await?;
    let outcome = demo.run(&mut show).await;
    show.note(outcome);
    if !(keep && show.all_passed()) {
        let ended = demo.end(&mut show);
        show.note(ended);
    }
    show.summary();
    if !show.all_passed() {
        return Ok(ExitCode::FAILURE);
    }
    if keep {
        demo.print_how_to_use(&mut show)?;
        keep::stay().await?;
        demo.end(&mut show)?;
    }
    Ok(ExitCode::SUCCESS)
}
