//! `sops`: its commands, its legacy forms, its messages where scripts match them and its exit codes
//! (sops-cli.md, sops-format.md 20).

mod change;
mod completion;
mod config;
mod crypt;
mod edit;
mod grammar;
mod help;
mod keys;
mod keyservice;
mod legacy;
mod log;
mod publish;
mod question;
mod running;
mod target;
mod told;
mod updatekeys;

use std::ffi::OsString;
use std::process::ExitCode;
use std::{env, fmt};

use crate::audit;
use crate::environment::Environment;
use crate::failure::Failure;
use crate::personality::go_flags::{self, FlagError, Values};
use crate::ui::Ui;
use config::Lookup;
use grammar::Command;
use log::Logger;

/// The version that `--version` claims: that of the format and of the command line.
const VERSION: &str = selkie_sops::FORMAT_VERSION;

/// How a command of sops ends when it fails.
#[derive(Debug)]
enum Exit {
    /// A message on standard error as it is, and a code.
    Message(u8, String),
    /// A `level=fatal` line of the log, and code 1.
    Fatal(String),
    /// A rule of the config cannot be read: a message on standard error, and code 1.
    Rule(String),
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message(_, message) | Self::Fatal(message) | Self::Rule(message) => {
                f.write_str(message)
            }
        }
    }
}

impl From<Failure> for Exit {
    fn from(failure: Failure) -> Self {
        let message = match &failure.hint {
            Some(hint) => format!("{}\n{hint}", failure.message),
            None => failure.message,
        };
        Self::Message(failure.kind.code(), message)
    }
}

/// One invocation: the flags before the command, and the command's own.
struct Invocation {
    global: Values,
    /// The flags of the command; those before it in the legacy form.
    own: Values,
    environment: Environment,
    ui: Ui,
    log: Logger,
    lookup: Lookup,
}

/// Runs the command line of this process.
pub(super) fn run(warning: Option<String>) -> ExitCode {
    let arguments: Vec<OsString> = env::args_os().skip(1).collect();
    let log = Logger::new();
    if let Some(warning) = warning {
        log.warn(&warning);
    }
    match dispatch(&arguments, log) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Exit::Rule(message)) => {
            log::plain(&message);
            ExitCode::FAILURE
        }
        Err(Exit::Message(code, message)) => {
            log::plain(&message);
            ExitCode::from(code)
        }
        Err(Exit::Fatal(message)) => {
            log::fatal(&message);
            ExitCode::FAILURE
        }
    }
}

fn dispatch(arguments: &[OsString], log: Logger) -> Result<(), Exit> {
    let program = &grammar::PROGRAM;
    let global = read(program, &[], arguments, false)?;
    if global.switch("help") {
        help::command(program, &[]);
        return Ok(());
    }
    if global.switch("version") {
        help::version(VERSION);
        return Ok(());
    }
    let (mut path, mut command, mut rest) = (Vec::new(), program, global.rest.clone());
    while let Some(found) = rest.first().and_then(|name| command.find(name)) {
        path.push(found.name);
        command = found;
        let behind = rest.split_off(1);
        if found.commands.is_empty() {
            let own = read(found, &path, &behind, true)?;
            if own.switch("help") {
                help::command(found, &path);
                return Ok(());
            }
            return Invocation::new(global, own, log).run(&path);
        }
        let own = read(found, &path, &behind, false)?;
        rest = own.rest;
    }
    if path.is_empty() {
        if rest
            .first()
            .is_some_and(|name| name == "help" || name == "h")
        {
            return help::topic(&rest[1..]);
        }
        let own = global.clone();
        return Invocation::new(global, own, log).run(&[]);
    }
    help::command(command, &path);
    Ok(())
}

/// Reads the flags of a command; one that cannot be read is said as urfave/cli says it: with the
/// help on standard output and a fatal line.
fn read(
    command: &'static Command,
    path: &[&str],
    arguments: &[OsString],
    reorder: bool,
) -> Result<Values, Exit> {
    let mut flags = command.flags.to_vec();
    flags.push(grammar::HELP);
    let read = go_flags::parse(&flags, arguments, &|name| env::var_os(name), reorder);
    read.map_err(|error| {
        if !matches!(error, FlagError::Environment { .. }) {
            help::incorrect(command, path, &error);
        }
        Exit::Fatal(error.to_string())
    })
}

impl Invocation {
    fn new(global: Values, own: Values, log: Logger) -> Self {
        Self {
            global,
            own,
            environment: Environment::of_process(),
            ui: Ui::plain(),
            log,
            lookup: Lookup::default(),
        }
    }

    fn run(mut self, path: &[&str]) -> Result<(), Exit> {
        audit::check()?;
        if self.own.switch("verbose") {
            self.log = self.log.verbose();
        }
        // The service itself asks nobody else.
        if path != ["keyservice"] {
            self.environment.key_services = self.key_services();
        }
        match path {
            [] => self.legacy(),
            ["encrypt"] => self.encrypt(),
            ["decrypt"] => self.decrypt(),
            ["edit"] => self.edit(),
            ["rotate"] => self.rotate(),
            ["set"] => self.set(),
            ["unset"] => self.unset(),
            ["updatekeys"] => self.updatekeys(),
            ["groups", "add"] => self.groups_add(),
            ["groups", "delete"] => self.groups_delete(),
            ["exec-env"] => self.exec_env(),
            ["exec-file"] => self.exec_file(),
            ["filestatus"] => self.filestatus(),
            ["keyservice"] => self.keyservice(),
            ["publish"] => self.publish(),
            ["completion", "bash"] => self.completion_bash(),
            ["completion", "zsh"] => self.completion_zsh(),
            path => Err(Exit::Message(
                1,
                format!(
                    "Error: `sops {}` is not supported yet; use the original sops for it",
                    path.join(" ")
                ),
            )),
        }
    }
}
