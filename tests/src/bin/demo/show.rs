//! What the demo prints. The only part of it that prints.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "printing is what this file is for"
)]

use std::fmt::Display;
use std::io::IsTerminal;
use std::time::Instant;

use anyhow::{Result, bail};
use compat::program::{Finished, Program};

/// The screen, and the checks so far.
pub(crate) struct Show {
    began: Instant,
    colour: bool,
    step: String,
    checks: Vec<(String, String)>,
    failure: Option<(String, String)>,
}

impl Show {
    /// An empty list of checks; the time counts from here.
    pub(crate) fn new() -> Self {
        let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self {
            began: Instant::now(),
            colour,
            step: String::new(),
            checks: Vec::new(),
            failure: None,
        }
    }

    /// Begins a step.
    pub(crate) fn step(&mut self, title: &str) {
        self.step = title.to_owned();
        println!("\n{}", self.bold(&format!("== {title} ==")));
    }

    /// Prints a remark.
    pub(crate) fn say(&self, text: impl Display) {
        println!("{text}");
    }

    /// Prints a file with its name.
    pub(crate) fn file(&self, name: &str, content: &str) {
        println!("{}", self.bold(&format!("# {name}")));
        self.output(content);
    }

    /// Prints the command, runs it, prints what it printed, and fails when its exit code is not 0.
    pub(crate) fn run(&self, line: &str, program: Program) -> Result<Finished> {
        let finished = self.run_quietly(line, program)?;
        self.output(&finished.text());
        self.output(&finished.stderr);
        Ok(finished)
    }

    /// As [`Show::run`], but does not print standard output.
    pub(crate) fn run_quietly(&self, line: &str, program: Program) -> Result<Finished> {
        println!("{}", self.bold(&format!("$ {line}")));
        program.ok()
    }

    /// Prints lines of a program or file, indented.
    pub(crate) fn output(&self, text: &str) {
        for line in text.lines() {
            println!("  {}", self.diff_colour(line));
        }
    }

    /// Says what to look at.
    pub(crate) fn look(&self, text: &str) {
        println!("  {} {text}", self.paint("36", "look:"));
    }

    /// Notes a check. A check that does not hold ends the demo.
    pub(crate) fn check(&mut self, what: &str, holds: bool) -> Result<()> {
        if !holds {
            bail!("the check does not hold: {what}");
        }
        println!("  {} {what}", self.paint("32", "ok:"));
        self.checks.push((self.step.clone(), what.to_owned()));
        Ok(())
    }

    /// Keeps the first failure, with the step it happened in.
    pub(crate) fn note(&mut self, outcome: Result<()>) {
        if let (Err(error), None) = (outcome, &self.failure) {
            let message = format!("{error:#}");
            println!("  {} {message}", self.paint("31", "FAILED:"));
            self.failure = Some((self.step.clone(), message));
        }
    }

    /// Prints the list of checks and how the demo ended.
    pub(crate) fn summary(&self) {
        println!("\n{}", self.bold("== Summary =="));
        let mut last = "";
        for (step, check) in &self.checks {
            if step != last {
                println!("{step}");
                last = step;
            }
            println!("  {} {check}", self.paint("32", "ok:"));
        }
        let seconds = self.began.elapsed().as_secs();
        let count = self.checks.len();
        match &self.failure {
            None => println!("{count} checks, all passed, in {seconds} s."),
            Some((step, message)) => {
                println!("{step}\n  {} {message}", self.paint("31", "FAILED:"));
                println!("The demo failed; {count} checks passed, in {seconds} s.");
            }
        }
    }

    /// Whether no check failed.
    pub(crate) fn all_passed(&self) -> bool {
        self.failure.is_none()
    }

    /// Prints an error that ends the program.
    pub(crate) fn error(error: &anyhow::Error) {
        eprintln!("demo: {error:#}");
    }

    fn diff_colour(&self, line: &str) -> String {
        match line.as_bytes().first() {
            Some(b'+') => self.paint("32", line),
            Some(b'-') => self.paint("31", line),
            _ => line.to_owned(),
        }
    }

    fn bold(&self, text: &str) -> String {
        self.paint("1", text)
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}
