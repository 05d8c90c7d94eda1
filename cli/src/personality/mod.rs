//! The programs that this one stands in for when it is invoked under their names (design.md,
//! promise 1): a link or a copy named `sops` or `kubeseal` takes that tool's command line.

mod go_flags;
mod kubeseal;
mod pflag;
mod sops;

use std::env;
use std::path::Path;
use std::process::ExitCode;

/// Another program's command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Personality {
    /// `sops` 3.13 (sops-cli.md).
    Sops,
    /// `kubeseal` 0.38 (sealed-secrets.md 12).
    Kubeseal,
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
        [("sops", Self::Sops), ("kubeseal", Self::Kubeseal)]
            .into_iter()
            .find(|(known, _)| {
                name.strip_prefix(known)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '_', '.']))
            })
            .map(|(_, personality)| personality)
    }

    /// Runs the other program's command line.
    pub(crate) fn run(self, hardened: Result<(), impl std::fmt::Display>) -> ExitCode {
        match self {
            Self::Sops => sops::run(hardened.err().map(|error| error.to_string())),
            Self::Kubeseal => {
                kubeseal::run(hardened.err().map(|error| error.to_string()).as_deref())
            }
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
        for name in [
            "kubeseal",
            "/usr/bin/kubeseal",
            "kubeseal-0.38.4",
            "kubeseal.exe",
        ] {
            assert_eq!(
                Personality::of_name(Path::new(name)),
                Some(Personality::Kubeseal),
                "{name}"
            );
        }
        for name in ["selkie", "sopsx", "kubesealed", "/opt/sops/selkie", ""] {
            assert_eq!(Personality::of_name(Path::new(name)), None, "{name}");
        }
    }
}
