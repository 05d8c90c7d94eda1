//! What sops 3.13.3 makes of a file (`goldens/record_formats.py`: encrypted, then decrypted into every
//! format) is what we read from it and write.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;

use selkie_text::{
    Limits, ParseError, Stream, Syntax, Value, dotenv, emit_documents, ini, json, yaml,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Recorded {
    recorded_with: String,
    rows: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    r#type: String,
    input: String,
    accepted: bool,
    output: BTreeMap<String, Option<String>>,
}

fn syntax(name: &str) -> Syntax {
    match name {
        "yaml" => Syntax::Yaml,
        "json" => Syntax::Json,
        "dotenv" => Syntax::Dotenv,
        _ => Syntax::Ini,
    }
}

fn parse(source: &str, syntax: Syntax) -> Result<Stream<'_>, ParseError> {
    let limits = Limits::default();
    match syntax {
        Syntax::Json => json::parse(source, &limits),
        Syntax::Dotenv => dotenv::parse(source, &limits),
        Syntax::Ini => ini::parse(source, &limits),
        Syntax::Yaml => yaml::parse(source, &limits),
    }
}

fn documents(source: &str, syntax: Syntax) -> Result<Vec<Value>, String> {
    let stream = parse(source, syntax).map_err(|error| error.to_string())?;
    (0..stream.documents().len())
        .map(|index| {
            let value = stream.to_value(index).map_err(|error| error.to_string())?;
            value.ok_or_else(|| "no document".to_owned())
        })
        .collect()
}

/// Where sops loses or breaks something.
fn differs_on_purpose(input: &str, from: &str, to: &str, written: &str) -> bool {
    let last = input
        .trim_end()
        .lines()
        .last()
        .unwrap_or_default()
        .trim_start();
    let first = input.find(['[', '=']).map_or("", |at| &input[..at]);
    // Comments at the end of an INI file are dropped.
    let dropped = last.starts_with(['#', ';']);
    // The comment of a section without keys ends in braces.
    from == "ini" && to == "yaml" && (dropped || written.contains("{\n"))
        // A value that ends in a backslash swallows the next line.
        || to == "ini" && written.lines().any(|line| line.ends_with('\\'))
        // Documents after the first are dropped.
        || from == "yaml" && to != "yaml" && input.contains("\n---\n")
        // What is too deep is written in Go's debugging form.
        || to == "ini" && (written.contains("= [") || written.contains("= {")) && from != "ini"
        // Of two comments of one section only one is kept.
        || from == "yaml" && to == "ini" && input.contains("# two")
        // A key that begins with a byte order mark is escaped further.
        || first.starts_with('\u{feff}')
}

#[test]
fn files_are_read_and_written_as_sops_does() {
    let recorded: Recorded = serde_json::from_str(include_str!("goldens/formats.json")).unwrap();
    assert!(recorded.recorded_with.starts_with("sops 3.13.3"));
    let mut refused = 0;
    let (mut compared, mut different, mut failures) = (0, 0, Vec::new());
    for row in &recorded.rows {
        let values = documents(&row.input, syntax(&row.r#type));
        if !row.accepted {
            continue;
        }
        let values = match values {
            Ok(values) => values,
            Err(error) if error.contains("this section has the same key") => {
                refused += 1;
                continue;
            }
            Err(error) => {
                failures.push(format!("{} {:?}\n  {error}", row.r#type, row.input));
                continue;
            }
        };
        for (name, expected) in &row.output {
            if let Some(expected) = expected
                && differs_on_purpose(&row.input, &row.r#type, name, expected)
            {
                different += 1;
                continue;
            }
            compared += 1;
            let written = emit_documents(&values, syntax(name), None);
            let same_values = || {
                // go-yaml escapes more in double quotes than YAML asks for.
                let (Ok(ours), Some(sops)) = (&written, expected) else {
                    return false;
                };
                name == "yaml"
                    && documents(ours, Syntax::Yaml).is_ok()
                    && documents(ours, Syntax::Yaml)
                        == documents(&sops.replace("\r\n", "\n"), Syntax::Yaml)
            };
            if written.as_ref().ok() != expected.as_ref() && !same_values() {
                failures.push(format!(
                    "{} {:?} as {name}\n  ours {written:?}\n  sops {expected:?}",
                    row.r#type, row.input
                ));
            }
        }
    }
    assert!(refused < 5);
    assert!(compared > 1_000 && different < 60, "{compared} {different}");
    assert!(
        failures.is_empty(),
        "{} of {compared} differ\n{}",
        failures.len(),
        failures.join("\n")
    );
}
