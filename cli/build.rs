//! Link settings of the binary.

use std::env;
use std::process::Command;

/// The first glibc whose loader knows packed relocations.
const PACKED_SINCE: (u32, u32) = (2, 36);

/// The clients of every cloud bring 45,000 relative relocations. Packed (DT_RELR), the loader reads 10 kB
/// of them instead of 1 MB at every start, which is half of the time that a small file takes.
///
/// Such a program starts only with the glibc of this machine or a later one, as far back as 2.36;
/// `SELKIE_PACKED_RELOCATIONS=0` builds one for older systems.
fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=SELKIE_PACKED_RELOCATIONS");
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|found| found == value);
    let gnu = is("CARGO_CFG_TARGET_OS", "linux") && is("CARGO_CFG_TARGET_ENV", "gnu");
    let native = env::var("HOST").is_ok_and(|host| is("TARGET", &host));
    if gnu && native && !is("SELKIE_PACKED_RELOCATIONS", "0") && glibc() >= Some(PACKED_SINCE) {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// Returns the version of this machine's glibc, `None` where nobody tells.
fn glibc() -> Option<(u32, u32)> {
    let told = Command::new("getconf")
        .arg("GNU_LIBC_VERSION")
        .output()
        .ok()?;
    let text = String::from_utf8(told.stdout).ok()?;
    let (major, minor) = text.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
