//! sops records every use in the databases that `/etc/sops/audit.yaml` names. This program does not
//! do so, and does not pass over the wish silently.

use std::path::Path;

use crate::failure::{Failure, Kind};

/// Refuses to run where uses are to be recorded, unless `SELKIE_IGNORE_AUDIT` is 1.
pub(crate) fn check() -> Result<(), Failure> {
    let ignored = std::env::var_os("SELKIE_IGNORE_AUDIT").is_some_and(|value| value == "1");
    of_file(Path::new("/etc/sops/audit.yaml"), ignored)
}

fn of_file(path: &Path, ignored: bool) -> Result<(), Failure> {
    if ignored || !path.exists() {
        return Ok(());
    }
    let message = format!(
        "{} asks for an audit trail, which this program does not write",
        path.display()
    );
    Err(Failure::new(Kind::Other, message)
        .hint("set SELKIE_IGNORE_AUDIT=1 to work without one, or use the original sops"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_for_auditing_is_refused_unless_it_is_ignored() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let failure = of_file(file.path(), false).unwrap_err();
        assert!(failure.message.contains("audit trail"));
        assert!(failure.hint.unwrap().contains("SELKIE_IGNORE_AUDIT=1"));
        of_file(file.path(), true).unwrap();
        of_file(Path::new("/no/such/audit.yaml"), false).unwrap();
    }
}
