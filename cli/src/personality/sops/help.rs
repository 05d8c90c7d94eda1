//! The help and the version, laid out as urfave/cli lays them out.

use std::ffi::OsString;
use std::io::{self, Write as _};

use super::Exit;
use super::grammar::{self, Command};
use crate::personality::go_flags::{Flag, FlagError, FlagKind};

/// Prints the help of a command; that of the program when `path` is empty.
pub(super) fn command(command: &Command, path: &[&str]) {
    print(&text(command, path));
}

/// Prints why a command line cannot be read, and the help.
pub(super) fn incorrect(command: &Command, path: &[&str], error: &FlagError) {
    let colon = if path.is_empty() { "." } else { ":" };
    print(&format!(
        "Incorrect Usage{colon} {error}\n\n{}",
        text(command, path)
    ));
}

/// Prints the version; nothing is asked of the network.
pub(super) fn version(version: &str) {
    let own = env!("CARGO_PKG_VERSION");
    print(&format!("sops {version} (selkie {own})\n"));
}

/// `help`, alone or with the name of a command.
pub(super) fn topic(names: &[OsString]) -> Result<(), Exit> {
    let Some(name) = names.first() else {
        command(&grammar::PROGRAM, &[]);
        return Ok(());
    };
    match grammar::PROGRAM.find(name) {
        Some(found) => {
            command(found, &[found.name]);
            Ok(())
        }
        None => Err(Exit::Message(
            3,
            format!("No help topic for '{}'", name.to_string_lossy()),
        )),
    }
}

fn text(command: &Command, path: &[&str]) -> String {
    let mut name = String::from("sops");
    for word in path {
        name.push(' ');
        name.push_str(word);
    }
    let mut text = format!("NAME:\n   {name} - {}\n\nUSAGE:\n   {name}", command.help);
    match (command.commands.is_empty(), path.is_empty()) {
        (true, _) => text.push_str(" [command options] "),
        (false, true) => text.push_str(" [options] "),
        (false, false) => text.push_str(" command [command options] "),
    }
    text.push_str(command.arguments);
    text.push('\n');
    if !command.commands.is_empty() {
        text.push_str("\nCOMMANDS:\n");
        let rows = command.commands.iter();
        text.push_str(&columns(
            rows.map(|row| (row.name.to_owned(), row.help.to_owned())),
        ));
    }
    let flags = command.flags.iter().chain([&grammar::HELP]);
    text.push_str("\nOPTIONS:\n");
    text.push_str(&columns(
        flags.map(|flag| (spellings(flag), explained(flag))),
    ));
    text
}

fn spellings(flag: &Flag) -> String {
    let value = match flag.kind {
        FlagKind::Switch | FlagKind::SwitchOn => "",
        FlagKind::Text | FlagKind::Texts | FlagKind::Number => " value",
    };
    let names = flag.names.iter().map(|name| match name.len() {
        1 => format!("-{name}{value}"),
        _ => format!("--{name}{value}"),
    });
    names.collect::<Vec<_>>().join(", ")
}

fn explained(flag: &Flag) -> String {
    match flag.env {
        Some(variable) => format!("{} [${variable}]", flag.help),
        None => flag.help.to_owned(),
    }
}

fn columns(rows: impl Iterator<Item = (String, String)>) -> String {
    let rows: Vec<_> = rows.collect();
    let width = rows
        .iter()
        .map(|(name, _)| name.len())
        .max()
        .unwrap_or_default();
    let lines = rows
        .iter()
        .map(|(name, help)| format!("   {name:width$}  {help}\n"));
    lines.collect()
}

fn print(text: &str) {
    // A reader that went away wants no more of it.
    let _ = io::stdout().write_all(text.as_bytes());
}
