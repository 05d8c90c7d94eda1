//! What a command works on: the file or standard input, its format, and where the result goes.

use std::cell::OnceCell;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use selkie_sops::Format;

use super::config::absolute;
use super::{Exit, Invocation};
use crate::document::Shape;
use crate::file::{self, Input, Secrecy, Source};

/// The input of a command.
pub(super) struct Target {
    /// The file, absolute; `None` for standard input.
    pub(super) path: Option<PathBuf>,
    /// The absolute name that rules and formats go by; empty for standard input without one.
    pub(super) name: PathBuf,
    read: OnceCell<Input>,
}

impl Target {
    /// Reads the input, once.
    pub(super) fn bytes(&self) -> Result<&[u8], Exit> {
        if let Some(input) = self.read.get() {
            return Ok(input.bytes());
        }
        let source = match &self.path {
            Some(path) => Source::File(path.clone()),
            None => Source::Stdin(None),
        };
        let input = file::read(&source).map_err(|failure| {
            Exit::Message(2, format!("Error reading file: {}", failure.message))
        })?;
        Ok(self.read.get_or_init(|| input).bytes())
    }

    pub(super) fn exists(&self) -> bool {
        self.path.as_ref().is_none_or(|path| path.exists())
    }

    /// Puts a result in the place of the file.
    pub(super) fn replace(&self, bytes: &[u8], secrecy: Secrecy) -> Result<(), Exit> {
        let written = match (self.read.get(), &self.path) {
            (Some(input), Some(_)) => input.replace(bytes, secrecy),
            (None, Some(path)) => file::write(path, bytes, secrecy),
            (_, None) => return Ok(()),
        };
        written.map_err(|failure| {
            let message = format!(
                "Could not open in-place file for writing: {}",
                failure.message
            );
            Exit::Message(3, message)
        })
    }
}

impl Invocation {
    /// Returns the input that the first positional argument names, or standard input. Says so when
    /// there are more arguments.
    pub(super) fn target(&self) -> Target {
        self.warn_of_more_arguments();
        self.target_of(self.own.rest.first().map(Path::new))
    }

    /// Returns the input of this name.
    pub(super) fn target_of(&self, file: Option<&Path>) -> Target {
        let path = file.map(absolute);
        let name = match self.own.text("filename-override") {
            "" => path.clone().unwrap_or_default(),
            name => absolute(Path::new(name)),
        };
        Target {
            path,
            name,
            read: OnceCell::new(),
        }
    }

    /// Refuses a file that is not there.
    pub(super) fn check_exists(&self, target: &Target) -> Result<(), Exit> {
        match &target.path {
            Some(path) if !path.exists() => Err(Exit::Message(
                100,
                format!(
                    "Error: cannot operate on non-existent file {:?}",
                    path.display().to_string()
                ),
            )),
            _ => Ok(()),
        }
    }

    /// Returns the formats of a file, by the flags or by its name, and how output is laid out.
    pub(super) fn shape(&self, name: &Path) -> Result<Shape, Exit> {
        let stores = self.stores()?;
        let name = name.to_string_lossy();
        let output = format_of(self.own.text("output-type"), &name);
        let given = self.global.is_set("indent");
        let indent = match output {
            _ if given => Some(self.global.number("indent")),
            Format::Yaml => stores.yaml_indent,
            Format::Json => stores.json_indent,
            Format::Binary => stores.json_binary_indent,
            Format::Dotenv | Format::Ini => None,
        };
        let indent = match indent.map(usize::try_from) {
            Some(Err(_)) => {
                let message = "Error: the indentation must not be below 0".to_owned();
                return Err(Exit::Message(1, message));
            }
            indent => indent.and_then(Result::ok),
        };
        Ok(Shape {
            input: format_of(self.own.text("input-type"), &name),
            output,
            indent,
            anew: given && matches!(output, Format::Yaml | Format::Json),
        })
    }

    /// Writes a result in place, to `--output` or to standard output.
    pub(super) fn write(
        &self,
        target: &Target,
        bytes: &[u8],
        secrecy: Secrecy,
    ) -> Result<(), Exit> {
        if self.own.switch("in-place") {
            target.replace(bytes, secrecy)?;
            self.log.info("File written successfully");
            return Ok(());
        }
        match self.own.text("output") {
            "" => self.print(bytes),
            output => to_file(Path::new(output), bytes, secrecy),
        }
    }

    /// Writes to standard output.
    pub(super) fn print(&self, bytes: &[u8]) -> Result<(), Exit> {
        self.ui.document(bytes).map_err(Exit::from)
    }

    /// Refuses flags that name two places for the result, or a place that standard input has not.
    pub(super) fn check_outputs(&self) -> Result<(), Exit> {
        if self.own.switch("in-place") && !self.own.text("output").is_empty() {
            let message = "Error: cannot operate on both --output and --in-place";
            return Err(Exit::Message(8, message.to_owned()));
        }
        Ok(())
    }

    fn warn_of_more_arguments(&self) {
        let more = self.own.rest.get(1..).unwrap_or_default();
        if more.is_empty() {
            return;
        }
        self.log
            .warn("More than one positional argument provided. Only the first one will be used!");
        let mut texts = more.iter().map(|argument| argument.to_string_lossy());
        if let Some(flag) = texts.rfind(|text| text.starts_with('-')) {
            self.log.warn(&format!(
                "Note that one of the ignored positional argument is {flag:?}, which looks like a \
                 flag. Flags must always be provided before the first positional argument!"
            ));
        }
    }
}

/// Another name than those of the formats means binary, as in sops.
fn format_of(given: &str, name: &str) -> Format {
    match given {
        "" => Format::of_path(name),
        given => given.parse().unwrap_or(Format::Binary),
    }
}

fn to_file(path: &Path, bytes: &[u8], secrecy: Secrecy) -> Result<(), Exit> {
    let failed = |cause: &dyn std::fmt::Display| {
        Exit::Message(
            3,
            format!("Could not open output file for writing: {cause}"),
        )
    };
    // A pipe or a terminal is written to, not replaced.
    if fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir()) {
        let written = File::options().write(true).open(path);
        let written = written.and_then(|mut file| file.write_all(bytes));
        return written.map_err(|error| failed(&error));
    }
    file::write(path, bytes, secrecy).map_err(|failure| failed(&failure.message))
}
