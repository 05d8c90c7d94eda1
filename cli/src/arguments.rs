//! What can be typed: the verbs and the flags that all of them take.

use std::env;

use clap::builder::{BoolishValueParser, Resettable};
use clap::{ArgAction, Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::commands::{
    cert, completion, decrypt, edit, encrypt, exec, groups, keygen, keyservice, publish, rekey,
    rotate, rules, seal, set, status, updatekeys,
};
use crate::failure::{EXIT_CODES, Failure, Kind};
use crate::services::KeyServices;

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "selkie",
    version,
    about = "Encrypts, decrypts and seals Kubernetes secrets in place",
    after_long_help = format!("{EXAMPLES}\n{EXIT_CODES}"),
    after_help = "Run `selkie help VERB` for examples, `selkie --help` for the exit codes.",
    arg_required_else_help = true,
    max_term_width = 100
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) output: OutputFlags,
    #[command(flatten)]
    pub(crate) key_services: KeyServiceFlags,
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Arguments {
    /// Parses the arguments of this process. An environment variable that is empty counts as not
    /// set.
    pub(crate) fn of_process() -> Result<Self, clap::Error> {
        let command = without_empty_variables(Self::command());
        let mut matches = command.try_get_matches()?;
        Self::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut Self::command()))
    }
}

fn without_empty_variables(command: clap::Command) -> clap::Command {
    let command = command.mut_args(|argument| {
        let variable = argument.get_env().and_then(env::var_os);
        match variable.is_some_and(|value| value.is_empty()) {
            true => argument.env(Resettable::Reset),
            false => argument,
        }
    });
    command.mut_subcommands(without_empty_variables)
}

/// How a run reports what it does.
#[derive(Debug, Args)]
pub(crate) struct OutputFlags {
    /// Print nothing but errors
    #[arg(short, long, global = true, help_heading = "Reports")]
    pub(crate) quiet: bool,
    /// Print one JSON object per file on standard output
    #[arg(long, global = true, help_heading = "Reports")]
    pub(crate) json: bool,
}

/// Who wraps and unwraps data keys.
#[derive(Debug, Args)]
pub(crate) struct KeyServiceFlags {
    /// Ask this key service, too, for keys: unix:///PATH or tcp://HOST:PORT; may be repeated
    #[arg(
        long,
        global = true,
        value_name = "ADDRESS",
        env = "SOPS_KEYSERVICE",
        value_delimiter = ',',
        help_heading = "Key services"
    )]
    keyservice: Vec<String>,
    /// Whether this process uses keys itself, before any key service
    #[arg(
        long,
        global = true,
        value_name = "true|false",
        env = "SOPS_ENABLE_LOCAL_KEYSERVICE",
        default_value = "true",
        default_missing_value = "true",
        num_args = 0..=1,
        require_equals = true,
        value_parser = BoolishValueParser::new(),
        action = ArgAction::Set,
        hide_default_value = true,
        hide_possible_values = true,
        help_heading = "Key services"
    )]
    enable_local_keyservice: bool,
}

impl KeyServiceFlags {
    /// Reads the addresses.
    pub(crate) fn choice(&self) -> Result<KeyServices, Failure> {
        let addresses = self.keyservice.iter().filter(|text| !text.is_empty());
        let addresses = addresses.map(|text| text.parse());
        let remote = addresses
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| Failure::new(Kind::Other, format!("--keyservice: {error}")))?;
        Ok(KeyServices {
            local: self.enable_local_keyservice,
            remote,
        })
    }
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Encrypt(encrypt::Encrypt),
    Decrypt(decrypt::Decrypt),
    Edit(edit::Edit),
    Set(set::Set),
    Unset(set::Unset),
    Rotate(rotate::Rotate),
    Updatekeys(updatekeys::UpdateKeys),
    Rekey(rekey::Rekey),
    Groups(groups::Groups),
    Exec(exec::Exec),
    Status(status::Status),
    Rules(rules::Rules),
    Keygen(keygen::Keygen),
    Keyservice(keyservice::KeyService),
    Publish(publish::Publish),
    Seal(seal::Seal),
    Cert(cert::Cert),
    Completion(completion::Completion),
}

const EXAMPLES: &str = "\
Examples:
  selkie keygen -o ~/.config/sops/age/keys.txt
  selkie encrypt --age age1... secret.yaml
  selkie decrypt secret.yaml
  selkie seal --cert cert.pem secret.yaml
";
