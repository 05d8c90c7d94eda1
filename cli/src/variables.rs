//! The values of a document as environment variables (sops-cli.md 1.4).

use selkie_secret::SecretString;
use selkie_sops::{ExtractPath, Format};
use selkie_text::Value;
use zeroize::Zeroizing;

/// Why a document gives no variables. No variant holds a value of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum VariablesError {
    #[error("the decrypted file is not UTF-8 text")]
    NotText,
    #[error("Error unmarshalling input: {0}")]
    Parse(String),
    #[error("{0}")]
    Tree(String),
    #[error("the document has no such part")]
    NoPart,
    #[error("cannot use complex value in environment; offending key {0}")]
    Complex(String),
    #[error("cannot use keys with '=' in environment: {0}")]
    Name(String),
}

/// Returns the single values at the top of the first document, or of the mapping at `path` in it. A
/// binary file is one, `data`. `null` stands for a value that is none.
pub(crate) fn variables(
    plain: &[u8],
    format: Format,
    path: Option<&ExtractPath>,
    null: &str,
) -> Result<Vec<(String, SecretString)>, VariablesError> {
    let text = std::str::from_utf8(plain).map_err(|_| VariablesError::NotText)?;
    if format == Format::Binary {
        let value = SecretString::new(text.to_owned());
        return Ok(vec![("data".to_owned(), value)]);
    }
    let stream = format
        .parse(text)
        .map_err(|error| VariablesError::Parse(error.to_string()))?;
    let document = stream
        .to_value(0)
        .map_err(|error| VariablesError::Tree(error.to_string()))?;
    let part = match path {
        Some(path) => document.and_then(|document| path.take(document)),
        None => document,
    };
    let entries = match part {
        Some(Value::Map(entries)) => entries,
        _ if path.is_some() => return Err(VariablesError::NoPart),
        _ => return Ok(Vec::new()),
    };
    let mut variables = Vec::new();
    for (key, value) in entries {
        let mut text = match value {
            Value::Comment(_) => continue,
            Value::Map(_) | Value::Seq(_) => return Err(VariablesError::Complex(key)),
            Value::Str(text) | Value::Raw(text) | Value::Quoted(text) | Value::Time(text) => {
                Zeroizing::new(text)
            }
            Value::Int(number) => Zeroizing::new(number.to_string()),
            Value::Float(number) => Zeroizing::new(float(number)),
            Value::Bool(switch) => Zeroizing::new(switch.to_string()),
            Value::Null => Zeroizing::new(null.to_owned()),
        };
        if key.contains('=') {
            return Err(VariablesError::Name(key));
        }
        variables.push((key, SecretString::new(std::mem::take(&mut *text))));
    }
    Ok(variables)
}

/// Go's `FormatFloat(f, 'G', -1, 64)`, with `.0` where it would look like an integer.
fn float(number: f64) -> String {
    if !number.is_finite() {
        return match number {
            number if number.is_nan() => "NaN".to_owned(),
            number if number > 0.0 => "+Inf".to_owned(),
            _ => "-Inf".to_owned(),
        };
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if !(-4..SHORTEST).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}E{sign}{:02}", exponent.abs());
    }
    let plain = format!("{number}");
    match plain.contains('.') {
        true => plain,
        false => format!("{number:.1}"),
    }
}

/// From this exponent on Go writes the shortest form with an exponent.
const SHORTEST: i32 = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_spelled_as_go_spells_them() {
        for (number, text) in [
            (1.5, "1.5"),
            (2.0, "2.0"),
            (123_456.0, "123456.0"),
            (1_234_567.0, "1.234567E+06"),
            (1e10, "1E+10"),
            (-0.0001, "-0.0001"),
            (0.00001, "1E-05"),
            (f64::INFINITY, "+Inf"),
        ] {
            assert_eq!(float(number), text);
        }
    }

    #[test]
    fn single_values_become_variables() {
        let text = "A: x\nN: 42\nB: true\nZ: null\n# comment\nF: 1.5\n";
        let found = variables(text.as_bytes(), Format::Yaml, None, "<nil>").unwrap();
        let found: Vec<(&str, &str)> = found
            .iter()
            .map(|(name, value)| (name.as_str(), value.expose()))
            .collect();
        let expected = [
            ("A", "x"),
            ("N", "42"),
            ("B", "true"),
            ("Z", "<nil>"),
            ("F", "1.5"),
        ];
        assert_eq!(found, expected);
        for (text, message) in [
            ("a: [1]\n", "offending key a"),
            ("a=b: 1\n", "keys with '='"),
        ] {
            let refused = variables(text.as_bytes(), Format::Yaml, None, "").unwrap_err();
            assert!(refused.to_string().contains(message), "{refused}");
        }
    }

    #[test]
    fn a_part_is_a_mapping() {
        let text = "kind: Secret\nstringData:\n  # why\n  A: x\nlist:\n  - B: y\n";
        let of = |path: &str| {
            let path: ExtractPath = path.parse().unwrap();
            variables(text.as_bytes(), Format::Yaml, Some(&path), "")
        };
        for (path, name) in [(r#"["stringData"]"#, "A"), (r#"["list"][0]"#, "B")] {
            assert_eq!(of(path).unwrap()[0].0, name);
        }
        for path in [
            r#"["kind"]"#,
            r#"["list"]"#,
            r#"["list"][1]"#,
            r#"["none"]"#,
        ] {
            assert!(matches!(of(path), Err(VariablesError::NoPart)), "{path}");
        }
    }
}
