//! The programs that this one stands in for when it is invoked under their names (design.md,
//! promise 1): a link or a copy named `sops` takes that tool's command line.

mod go_flags;
mod sops;

use std::env;
use std::path::Path;
use std::process::ExitCode;

/// Another program's command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Personality {
    /// `sops` 3.13 (sops-cli.md).
    Sops,
}

impl Personality {
    /// Returns whose name this process was started under, if not its own.
    pub(crate) fn of_process() -> Option<Self> {
        let name = env::args_os().next()?;
        Self::of_name(Path::new(&name))
    }

    /// `sops`, `/usr/local/bin/sops`, `sops-3.13.3`, `sops.exe`: what comes behind the name does
    /// not count, as people keep several versions side by side.
    fn of_name(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        let name = name.strip_suffix(".exe").unwrap_or(name);
        let rest = name.strip_prefix("sops")?;
        (rest.is_empty() || rest.starts_with(['-', '_', '.'])).then_some(Self::Sops)
    }

    /// Runs the other program's command line.
    pub(crate) fn run(self, hardened: Result<(), impl std::fmt::Display>) -> ExitCode {
        match self {
            Self::Sops => sops::run(hardened.err().map(|error| error.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_decides() {
        for name in ["sops", "/usr/bin/sops", "./sops-3.13.3", "sops.exe"] {
            assert_eq!(
                Personality::of_name(Path::new(name)),
                Some(Personality::Sops),
                "{name}"
            );
        }
        for name in ["selkie", "sopsx", "/opt/sops/selkie", ""] {
            assert_eq!(Personality::of_name(Path::new(name)), None, "{name}");
        }
    }
}
