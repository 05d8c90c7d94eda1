//! Questions on standard output, answered by lines of standard input.

use std::io::{self, BufRead as _, Write as _};

use super::Exit;

/// Asks until the answer is `y` or `n`; the end of standard input is an error, as in sops.
pub(super) fn ask(question: &str) -> Result<bool, Exit> {
    loop {
        // A reader of standard output that has gone does not keep the answer from counting.
        let _ = write!(io::stdout(), "{question}").and_then(|()| io::stdout().flush());
        let mut answer = String::new();
        match io::stdin().lock().read_line(&mut answer) {
            Ok(0) => return Err(Exit::Message(1, "EOF".to_owned())),
            Ok(_) => {}
            Err(error) => return Err(Exit::Message(1, error.to_string())),
        }
        match answer.trim() {
            "y" => return Ok(true),
            "n" => return Ok(false),
            "" => return Err(Exit::Message(1, "unexpected newline".to_owned())),
            _ => {}
        }
    }
}
