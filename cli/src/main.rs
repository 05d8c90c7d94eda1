//! `selkie`: encrypts, decrypts and seals secrets, in place.
//!
//! `main` hardens the process, parses the arguments and dispatches; each verb lives in
//! [`commands`], everything that prints in [`ui`], and everything that decides in [`plan`].

mod arguments;
mod audit;
mod batch;
mod certificate_source;
mod cluster;
mod commands;
mod config_file;
mod demands;
mod document;
mod editor;
mod environment;
mod exec;
mod explain;
mod failure;
mod file;
mod identities;
mod key_changes;
mod keys;
mod kubeconfig;
mod parallel;
mod personality;
mod plan;
mod private_folder;
mod proxy;
mod publishing;
mod services;
mod serving;
mod session;
mod shown_keys;
mod terminal;
mod trees;
mod ui;
mod variables;
mod walk;

use std::process::ExitCode;

use arguments::{Arguments, Command};
use personality::Personality;
use ui::Ui;

fn main() -> ExitCode {
    let hardened = selkie_secret::harden_process();
    if let Some(personality) = Personality::of_process() {
        return personality.run(hardened);
    }
    let arguments = match Arguments::of_process() {
        Ok(arguments) => arguments,
        Err(error) => return ui::usage(&error),
    };
    let ui = Ui::new(&arguments.output);
    if let Err(error) = hardened {
        ui.warn(None, &error.to_string());
    }
    if let Err(failure) = audit::check() {
        return ExitCode::from(ui.fail(None, &failure));
    }
    let mut environment = environment::Environment::of_process();
    match arguments.key_services.choice() {
        Ok(choice) => environment.key_services = choice,
        Err(failure) => return ExitCode::from(ui.fail(None, &failure)),
    }
    match arguments.command {
        Command::Encrypt(verb) => verb.run(&ui, &environment),
        Command::Decrypt(verb) => verb.run(&ui, &environment),
        Command::Edit(verb) => verb.run(&ui, &environment),
        Command::Set(verb) => verb.run(&ui, &environment),
        Command::Unset(verb) => verb.run(&ui, &environment),
        Command::Rotate(verb) => verb.run(&ui, &environment),
        Command::Updatekeys(verb) => verb.run(&ui, &environment),
        Command::Rekey(verb) => verb.run(&ui, &environment),
        Command::Groups(verb) => verb.run(&ui, &environment),
        Command::Exec(verb) => verb.run(&ui, &environment),
        Command::Status(verb) => verb.run(&ui, &environment),
        Command::Rules(verb) => verb.run(&ui, &environment),
        Command::Keygen(verb) => verb.run(&ui),
        Command::Keyservice(verb) => verb.run(&ui, environment),
        Command::Publish(verb) => verb.run(&ui, &environment),
        Command::Seal(verb) => verb.run(&ui),
        Command::Cert(verb) => verb.run(&ui),
        Command::Completion(verb) => verb.run(&ui),
    }
}
