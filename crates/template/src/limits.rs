//! What one rendering may use. Templates come from manifests that strangers may write: none may stop a worker.

/// Bounds for parsing and rendering one template. The time is bounded by [`Env::expired`](crate::Env::expired).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Length of the source, in bytes.
    pub source: usize,
    /// Nested blocks, parentheses, template calls and values.
    pub depth: u32,
    /// Nodes walked, functions called and elements handled.
    pub steps: u64,
    /// Bytes that functions may make altogether, kept or not.
    pub work: u64,
    /// Length of the output, in bytes.
    pub output: usize,
}

impl Default for Limits {
    /// Enough for anything that fits into a Secret (1 MiB), small enough for a worker's memory.
    fn default() -> Self {
        Self {
            source: 1 << 20,
            depth: 100,
            steps: 5_000_000,
            work: 16 << 20,
            output: 2 << 20,
        }
    }
}

/// Which bound a template ran into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Limit {
    /// [`Limits::source`].
    #[error("the template is longer than allowed")]
    Source,
    /// [`Limits::depth`].
    #[error("it nests deeper than allowed")]
    Depth,
    /// [`Limits::steps`].
    #[error("it takes more steps than allowed")]
    Steps,
    /// [`Limits::work`].
    #[error("its functions make more data than allowed")]
    Work,
    /// A regular expression that Go may compile is too large for one that a stranger may have written.
    #[error("a regular expression in it is larger than allowed")]
    Pattern,
    /// [`Limits::output`].
    #[error("its output is longer than allowed")]
    Output,
    /// [`Env::expired`](crate::Env::expired).
    #[error("it takes longer than allowed")]
    Time,
}
