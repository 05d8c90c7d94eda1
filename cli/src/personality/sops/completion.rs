//! `sops completion`: scripts for shells, made from the table of commands and flags.

use super::grammar::{self, Command};
use super::{Exit, Invocation};

impl Invocation {
    /// Prints the script for bash.
    pub(super) fn completion_bash(&self) -> Result<(), Exit> {
        self.print(bash().as_bytes())
    }

    /// Prints the script for zsh, which runs that of bash.
    pub(super) fn completion_zsh(&self) -> Result<(), Exit> {
        let text = format!(
            "#compdef sops\nautoload -U +X bashcompinit && bashcompinit\n{}",
            bash()
        );
        self.print(text.as_bytes())
    }
}

fn bash() -> String {
    let mut cases = String::new();
    add(&mut cases, "", &grammar::PROGRAM);
    format!(
        "_sops() {{\n\
         \x20   local word words= path= current=\"${{COMP_WORDS[COMP_CWORD]}}\"\n\
         \x20   for word in \"${{COMP_WORDS[@]:1:COMP_CWORD-1}}\"; do\n\
         \x20       case \"$path $word\" in\n{}\
         \x20       esac\n\
         \x20   done\n\
         \x20   case \"$path\" in\n{cases}\
         \x20   esac\n\
         \x20   COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))\n\
         }}\n\
         complete -o bashdefault -o default -F _sops sops\n",
        steps("", &grammar::PROGRAM),
    )
}

/// The words that lead from one command to another.
fn steps(path: &str, command: &Command) -> String {
    let mut text = String::new();
    for inner in command.commands {
        let deeper = format!("{path} {}", inner.name);
        text.push_str(&format!("        '{deeper}') path='{deeper}' ;;\n"));
        text.push_str(&steps(&deeper, inner));
    }
    text
}

/// The words that may follow each command.
fn add(cases: &mut String, path: &str, command: &Command) {
    let names = command.commands.iter().map(|inner| inner.name.to_owned());
    let flags = command.flags.iter().chain([&grammar::HELP]);
    let flags = flags
        .flat_map(|flag| flag.names)
        .map(|name| match name.len() {
            1 => format!("-{name}"),
            _ => format!("--{name}"),
        });
    let words: Vec<String> = names.chain(flags).collect();
    cases.push_str(&format!("    '{path}') words='{}' ;;\n", words.join(" ")));
    for inner in command.commands {
        add(cases, &format!("{path} {}", inner.name), inner);
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    #[test]
    fn commands_and_flags_are_completed() {
        let complete = |words: &[&str]| {
            let script = format!(
                "{}\nCOMP_WORDS=({}); COMP_CWORD={}; _sops; echo \"${{COMPREPLY[*]}}\"",
                super::bash(),
                words.join(" "),
                words.len() - 1
            );
            let output = Command::new("bash").args(["-c", &script]).output().unwrap();
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        };
        assert_eq!(complete(&["sops", "dec"]), "decrypt");
        assert_eq!(complete(&["sops", "decrypt", "--ext"]), "--extract");
        assert_eq!(complete(&["sops", "groups", "d"]), "delete");
    }
}
