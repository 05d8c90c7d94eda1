//! Process hardening: what keeps plaintext in memory from reaching a disk or another process.

use rustix::io::Errno;

/// Why the process could not be hardened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HardenError {
    /// The kernel refused to lower the core file limit.
    #[error("core dumps cannot be turned off: {0}")]
    CoreLimit(Errno),
    /// The kernel refused to mark the process as not dumpable.
    #[error("the process cannot be marked as not dumpable: {0}")]
    Dumpable(Errno),
}

/// Turns core dumps off and keeps other processes of the same user from reading this one's memory.
///
/// Called first thing in `main`. A core file or `/proc/PID/mem` would hold decrypted values.
#[cfg(target_os = "linux")]
pub fn harden_process() -> Result<(), HardenError> {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, none).map_err(HardenError::CoreLimit)?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(HardenError::Dumpable)
}

/// Turns core dumps off.
#[cfg(all(unix, not(target_os = "linux")))]
pub fn harden_process() -> Result<(), HardenError> {
    use rustix::process::{Resource, Rlimit, setrlimit};

    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, none).map_err(HardenError::CoreLimit)
}
