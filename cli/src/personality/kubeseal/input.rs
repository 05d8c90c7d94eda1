//! What kubeseal reads.

use std::path::Path;

use selkie_seal::object::SealedSecret;

use super::output::err;
use super::{Invocation, Stop, stop};
use crate::file::{self, Input};
use crate::kubeconfig::as_go;

/// The input, opened and not read yet.
pub(super) struct Source(file::Source);

impl Source {
    /// `-f`, else standard input. A file that is not there is an error before anything is done.
    pub(super) fn open(invocation: &Invocation) -> Result<Self, Stop> {
        let values = &invocation.values;
        let path = values.text("secret-file");
        if !path.is_empty() {
            std::fs::File::open(path)
                .map_err(|_| "Could not read file specified with --secret-file")?;
            return Ok(Self(file::Source::File(path.into())));
        }
        let waits = !values.switch("raw") && !values.switch("fetch-cert");
        if waits && invocation.is_interactive() {
            err("(tty detected: expecting json/yaml k8s resource in stdin)\n");
        }
        Ok(Self(file::Source::Stdin(None)))
    }

    pub(super) fn is_file(&self) -> bool {
        matches!(self.0, file::Source::File(_))
    }

    pub(super) fn read(&self) -> Result<Input, Stop> {
        file::read(&self.0).map_err(stop)
    }
}

/// The text of an input; what is not UTF-8 has no Secret that could be read.
pub(super) fn text(input: &Input) -> Result<&str, Stop> {
    input
        .text()
        .map_err(|failure| Stop(format!("{}; {NO_SECRETS}", failure.message)))
}

/// Tells the fields of SealedSecrets that have no place in what is printed.
pub(super) fn warn_of_unknown_fields(sealed: &[SealedSecret]) {
    for (line, field) in sealed.iter().flat_map(SealedSecret::unknown_fields) {
        err(&format!(
            "warning: line {line}: a SealedSecret has no field `{field}`; it is left out\n"
        ));
    }
}

pub(super) const NO_SECRETS: &str = "no secrets found. Ensure the input is valid and UTF-8 encoded";

/// Reads a file that a flag names; the error is worded as Go words it.
pub(super) fn named_file(path: &str) -> Result<Input, Stop> {
    let opened = std::fs::File::open(Path::new(path));
    opened.map_err(|error| format!("open {path}: {}", as_go(&error)))?;
    file::read(&file::Source::File(path.into()))
        .map_err(|failure| Stop(format!("read {path}: {}", failure.message)))
}
