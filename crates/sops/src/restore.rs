//! Putting decrypted values back into JSON, dotenv and INI files (sops-format.md 12, 14, 15). What
//! YAML needs stands in `decrypt.rs`.

use selkie_text::{self as text, Edits, NodeId, Stream, Syntax};
use zeroize::Zeroizing;

use crate::value::{Value, parse_float, parse_int};

/// The format has no way to write a value.
pub(crate) struct Unwritable(pub(crate) &'static str);

/// Puts a value back in the place of its ciphertext. `spelling` is the plaintext as it was encrypted:
/// a number of JSON keeps it.
pub(crate) fn restore(
    stream: &Stream<'_>,
    edits: &mut Edits,
    node: NodeId,
    value: &Value<'_>,
    spelling: &[u8],
) -> Result<(), Unwritable> {
    let is_json = stream.syntax() == Syntax::Json;
    let raw = |edits: &mut Edits, text: &str| {
        text::set_scalar_raw(stream, edits, node, text, false);
    };
    match value {
        Value::Str(bytes) => {
            let text = std::str::from_utf8(bytes)
                .map_err(|_| Unwritable("it is not UTF-8 text, which this format cannot hold"))?;
            text::set_scalar(stream, edits, node, text, false);
        }
        Value::Time(time) => {
            // Dotenv and INI have whole seconds (14).
            let time = match is_json {
                true => time.clone(),
                false => flat(text::Value::Time(time.clone())),
            };
            text::set_scalar(stream, edits, node, &time, false);
        }
        Value::Bool(value) => raw(edits, &value.to_string()),
        Value::Int(value) => {
            let written =
                number(spelling).filter(|text| is_json && parse_int(text) == Some(*value));
            raw(edits, written.map_or(&value.to_string(), |text| text));
        }
        Value::Float(value) if is_json => {
            let same = |text: &&str| parse_float(text).map(f64::to_bits) == Some(value.to_bits());
            let written = match number(spelling).filter(same) {
                Some(text) => text.to_owned(),
                None => text::emit(&text::Value::Float(*value), Syntax::Json, None)
                    .map_err(|_| Unwritable("JSON cannot hold infinite numbers or NaN"))?,
            };
            raw(edits, written.trim_end());
        }
        Value::Float(value) => raw(edits, &flat(text::Value::Float(*value))),
    }
    Ok(())
}

/// Returns a scalar as sops writes it into dotenv and INI files.
fn flat(value: text::Value) -> String {
    let line = text::Value::Map(vec![(String::new(), value)]);
    let line = text::emit(&line, Syntax::Dotenv, None).map(Zeroizing::new);
    let line = line.as_deref().map_or("", |line| line.as_str());
    line.trim_start_matches('=').trim_end().to_owned()
}

/// Returns the text if it is a number of JSON (RFC 8259, 6).
fn number(text: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(text).ok()?;
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let exponent = exponent.map(|text| text.strip_prefix(['+', '-']).unwrap_or(text));
    let fits = digits(whole)
        && (whole == "0" || !whole.starts_with('0'))
        && fraction.is_none_or(digits)
        && exponent.is_none_or(digits);
    fits.then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_json_are_known() {
        for good in ["0", "-0", "1", "10.50", "1E5", "1e+05", "-0.0e-1"] {
            assert!(number(good.as_bytes()).is_some(), "{good}");
        }
        for bad in [
            "", "-", "01", "+1", "1.", ".5", "1e", "0x1", "1_0", "NaN", "1 ",
        ] {
            assert!(number(bad.as_bytes()).is_none(), "{bad}");
        }
    }

    #[test]
    fn scalars_become_text_as_in_sops() {
        assert_eq!(flat(text::Value::Float(1.0)), "1.0");
        assert_eq!(flat(text::Value::Float(1e6)), "1E+06");
        let time = text::Value::Time("2024-01-01T00:00:00.5Z".to_owned());
        assert_eq!(flat(time), "2024-01-01T00:00:00Z");
    }
}
