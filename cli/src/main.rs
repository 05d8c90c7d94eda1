//! `selkie`: encrypts, decrypts and seals secrets, in place.
//!
//! `main` hardens the process, parses the arguments and dispatches; each verb lives in
//! [`commands`], everything that prints in [`ui`], and everything that decides in [`plan`].

mod arguments;
mod batch;
mod certificate_source;
mod cluster;
mod commands;
mod config_file;
mod environment;
mod explain;
mod failure;
mod file;
mod identities;
mod keys;
mod plan;
mod services;
mod terminal;
mod ui;

use std::process::ExitCode;

use arguments::{Arguments, Command};
use ui::Ui;

fn main() -> ExitCode {
    let hardened = selkie_secret::harden_process();
    let arguments = match Arguments::of_process() {
        Ok(arguments) => arguments,
        Err(error) => return ui::usage(&error),
    };
    let ui = Ui::new(&arguments.output);
    if let Err(error) = hardened {
        ui.warn(None, &error.to_string());
    }
    let environment = environment::Environment::of_process();
    match arguments.command {
        Command::Encrypt(verb) => verb.run(&ui, &environment),
        Command::Decrypt(verb) => verb.run(&ui, &environment),
        Command::Keygen(verb) => verb.run(&ui),
        Command::Seal(verb) => verb.run(&ui),
        Command::Cert(verb) => verb.run(&ui),
    }
}
