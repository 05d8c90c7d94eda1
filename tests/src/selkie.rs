//! Our own programs, built from this work tree.

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, ensure};

use crate::program::Program;

/// The command-line tool `selkie`, with an empty environment.
pub fn selkie() -> Result<Program> {
    Ok(Program::new(binary("selkie-cli", "selkie")?))
}

/// Returns the path of a program of this workspace, built from the sources as they are.
///
/// `SELKIE_BIN_DIR` names a folder of built programs (the Makefile sets it); without it, cargo
/// builds the package beside this process: the first call may take as long as that build.
pub fn binary(package: &str, name: &str) -> Result<PathBuf> {
    static BUILT: Mutex<Vec<String>> = Mutex::new(Vec::new());
    if let Some(folder) = std::env::var_os("SELKIE_BIN_DIR") {
        let path = PathBuf::from(folder).join(name);
        ensure!(
            path.is_file(),
            "{}: not there (SELKIE_BIN_DIR names the folder); run `make build`",
            path.display()
        );
        return Ok(path);
    }
    let target = target_folder()?;
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    if !built.iter().any(|done| done == package) {
        let output = Command::new(env!("CARGO"))
            .args([
                "build",
                "--quiet",
                "--package",
                package,
                "--bin",
                name,
                "--target-dir",
            ])
            .arg(&target)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .context("cargo does not start")?;
        ensure!(
            output.status.success(),
            "cargo build --package {package}:\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
        built.push(package.to_owned());
    }
    Ok(target.join("debug").join(name))
}

/// The target folder that this process was built in: `TARGET/debug/deps/NAME` or
/// `TARGET/debug/NAME`.
fn target_folder() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    let marked = program
        .ancestors()
        .find(|folder| folder.join("CACHEDIR.TAG").is_file());
    Ok(marked
        .with_context(|| {
            format!(
                "{} does not lie in a cargo target folder",
                program.display()
            )
        })?
        .to_owned())
}
