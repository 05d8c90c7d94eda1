//! `selkie completion`: what a shell completes.

use std::process::ExitCode;

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::arguments::Arguments;
use crate::ui::Ui;

/// Print a completion script for a shell
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Completion {
    /// bash, elvish, fish, powershell or zsh
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

const EXAMPLES: &str = "\
Examples:
  bash, for this session:
    source <(selkie completion bash)
  fish, for good:
    selkie completion fish > ~/.config/fish/completions/selkie.fish
";

impl Completion {
    pub(crate) fn run(&self, ui: &Ui) -> ExitCode {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Arguments::command(), "selkie", &mut script);
        match ui.document(&script) {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => ExitCode::from(ui.fail(None, &failure)),
        }
    }
}
