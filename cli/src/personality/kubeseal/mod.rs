//! `kubeseal` 0.38: its flags and environment, its output, its messages where scripts match them, and
//! its exit codes (sealed-secrets.md 12).

mod certificate;
mod flags;
mod input;
mod online;
mod output;
mod recovery;
mod sealing;

use std::cell::OnceCell;
use std::env;
use std::ffi::OsString;
use std::process::ExitCode;

use selkie_seal::Scope;

use crate::failure::Failure;
use crate::kubeconfig::{Access, Overrides};
use crate::personality::pflag::{self, FlagError, Values};
use crate::ui;
use output::{err, out};

/// The version whose command line this is.
const VERSION: &str = "v0.38.4";

/// Why a run of kubeseal ends with code 1: the text behind `error: `.
#[derive(Debug)]
struct Stop(String);

impl<E: std::fmt::Display> From<E> for Stop {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

/// A failure of a shared part, without the hint: it names flags of `selkie`.
fn stop(failure: Failure) -> Stop {
    Stop(failure.message)
}

/// One invocation.
struct Invocation {
    values: Values,
    overrides: Overrides,
    /// The namespace that the kubeconfig gives, asked for once.
    namespace: OnceCell<Option<String>>,
}

/// Runs the command line of this process.
pub(super) fn run(warning: Option<&str>) -> ExitCode {
    let mut arguments = env::args_os();
    let program = arguments
        .next()
        .unwrap_or_else(|| OsString::from("kubeseal"));
    let program = program.to_string_lossy().into_owned();
    // What is not UTF-8 can be no flag, and positional arguments have no effect.
    let arguments: Vec<String> = arguments
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    if let Some(warning) = warning {
        err(&format!("warning: {warning}\n"));
    }
    let variable = |flag: &str| env::var(flags::variable_of(flag)?).ok();
    let values = match pflag::parse(flags::FLAGS, &arguments, variable) {
        Ok(values) => values,
        Err(error) => {
            // As pflag: the flags on standard output, their heading on standard error.
            err(&format!("Usage of {program}:\n"));
            let usage = pflag::usage(flags::FLAGS);
            return match error {
                FlagError::Help => printed(&usage, 0),
                error => printed(&format!("{usage}{error}\n"), 2),
            };
        }
    };
    for notice in &values.notices {
        if out(format!("{notice}\n").as_bytes()).is_err() {
            return ExitCode::FAILURE;
        }
    }
    if values.switch("version") {
        return printed(&format!("kubeseal version: {VERSION}\n"), 0);
    }
    if values.switch("help") {
        let usage = pflag::usage(flags::FLAGS);
        return printed(&format!("Usage of {program}:\n{usage}"), 0);
    }
    let invocation = Invocation {
        overrides: flags::overrides(&values),
        values,
        namespace: OnceCell::new(),
    };
    match invocation.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(Stop(message)) => {
            err(&format!("error: {message}\n"));
            ExitCode::FAILURE
        }
    }
}

fn printed(text: &str, code: u8) -> ExitCode {
    match out(text.as_bytes()) {
        Ok(()) => ExitCode::from(code),
        Err(_) => ExitCode::FAILURE,
    }
}

impl Invocation {
    /// The order of decisions is that of sealed-secrets.md 12.2: the first mode that is given wins.
    fn run(&self) -> Result<(), Stop> {
        let values = &self.values;
        let raw = values.switch("raw");
        if !raw && !values.texts("from-file").is_empty() {
            return Err(Stop::from("--from-file requires --raw"));
        }
        let input = input::Source::open(self)?;
        let destination = output::Destination::of(self)?;
        if values.switch("recovery-unseal") {
            return self.recover(&input, &destination);
        }
        if !values.texts("recovery-private-key").is_empty() && output::stderr_is_terminal() {
            err(
                "warning: ignoring --recovery-private-key because unseal command not chosen with \
                 --recovery-unseal\n",
            );
        }
        if values.switch("validate") {
            return self.validate(&input);
        }
        if self.re_encrypts() {
            return self.re_encrypt(&input, &destination);
        }
        let certificate = self.fetch_certificate()?;
        if values.switch("fetch-cert") {
            return destination.write(&certificate);
        }
        let certificate = certificate::parse(&certificate)?;
        if !values.text("merge-into").is_empty() {
            return self.merge(&certificate, &input);
        }
        if raw {
            return self.seal_raw(&certificate, &input, &destination);
        }
        self.seal(&certificate, &input, &destination)
    }

    /// `--rotate` is another name for `--re-encrypt`, and a switch that is given as off does not
    /// turn the other one off.
    fn re_encrypts(&self) -> bool {
        self.values.switch("re-encrypt") || self.values.switch("rotate")
    }

    /// The scope that is asked for; `None` leaves it to the annotations.
    fn scope(&self) -> Option<Scope> {
        let text = self.values.text("scope");
        text.parse().ok().filter(|_| !text.is_empty())
    }

    /// The namespace of a Secret that names none; without a usable kubeconfig there is none.
    fn default_namespace(&self) -> Option<String> {
        let found = self.namespace.get_or_init(|| {
            let access = Access::load(&self.overrides).ok()?;
            Some(access.namespace().ok()?.0)
        });
        found.clone()
    }

    fn is_interactive(&self) -> bool {
        ui::stdin_is_terminal()
    }
}
