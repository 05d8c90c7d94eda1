//! Numeric constants: every type that can hold one, as Go's ideal constants.

use super::node::Number;
use crate::lexer::Kind;
use crate::strconv::{self, NumberError, Unit};

/// Reads a constant; the error is Go's message.
pub(super) fn parse(source: &str, kind: Kind) -> Result<Number, String> {
    let number = Number {
        source: source.to_owned(),
        ..Number::default()
    };
    match kind {
        Kind::CharConstant => character(source, number),
        Kind::Complex => complex(source, number),
        _ => plain(source, number),
    }
}

fn character(source: &str, mut number: Number) -> Result<Number, String> {
    let (unit, rest) = strconv::unquote_char(&source[1..], '\'').ok_or("invalid syntax")?;
    if rest != "'" {
        return Err(format!("malformed character constant: {source}"));
    }
    let code = match unit {
        Unit::Byte(byte) => u32::from(byte),
        Unit::Char(c) => c as u32,
    };
    number.int = Some(i64::from(code));
    number.uint = Some(u64::from(code));
    number.float = Some(f64::from(code));
    Ok(number)
}

/// Reads `1+2i`.
fn complex(source: &str, mut number: Number) -> Result<Number, String> {
    let inner = source.trim_end_matches('i');
    let bytes = inner.as_bytes();
    // The sign of the imaginary part is the last one that does not belong to an exponent.
    let split = (1..bytes.len()).rev().find(|at| {
        matches!(bytes[*at], b'+' | b'-') && !matches!(bytes[at - 1], b'e' | b'E' | b'p' | b'P')
    });
    let parts = split.map(|at| (float(&inner[..at]), float(&inner[at..])));
    let Some((Some(real), Some(imaginary))) = parts else {
        return Err("syntax error scanning complex number".to_owned());
    };
    set_complex(&mut number, real, imaginary);
    Ok(number)
}

fn float(text: &str) -> Option<f64> {
    strconv::parse_float(text.as_bytes()).ok()
}

fn set_complex(number: &mut Number, real: f64, imaginary: f64) {
    number.complex = Some((real, imaginary));
    if imaginary == 0.0 {
        number.float = Some(real);
        from_float(number, real);
    }
}

/// Adds the integers that equal a floating-point constant.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::float_cmp,
    reason = "the round trip is the test"
)]
fn from_float(number: &mut Number, value: f64) {
    const TOO_LARGE: f64 = 9_223_372_036_854_775_808.0;
    if number.int.is_none() && value.abs() < TOO_LARGE && (value as i64) as f64 == value {
        number.int = Some(value as i64);
    }
    let fits = (0.0..TOO_LARGE * 2.0).contains(&value);
    if number.uint.is_none() && fits && (value as u64) as f64 == value {
        number.uint = Some(value as u64);
    }
}

fn plain(source: &str, mut number: Number) -> Result<Number, String> {
    let bytes = source.as_bytes();
    if let Some(value) = source.strip_suffix('i').and_then(float) {
        set_complex(&mut number, 0.0, value);
        return Ok(number);
    }
    if let (value, None) = strconv::parse_uint(bytes, 0) {
        number.uint = Some(value);
    }
    if let (value, None) = strconv::parse_int(bytes, 0) {
        number.int = Some(value);
        if value == 0 {
            // -0
            number.uint = Some(0);
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "as Go converts it")]
    let whole = number
        .int
        .map(|int| int as f64)
        .or(number.uint.map(|uint| uint as f64));
    if whole.is_some() {
        number.float = whole;
        return Ok(number);
    }
    match strconv::parse_float(bytes) {
        Ok(value) => {
            if !source.contains(['.', 'e', 'E', 'p', 'P']) {
                return Err(format!("integer overflow: {}", quoted(source)));
            }
            number.float = Some(value);
            from_float(&mut number, value);
            Ok(number)
        }
        Err(NumberError::Syntax | NumberError::Range) => {
            Err(format!("illegal number syntax: {}", quoted(source)))
        }
    }
}

fn quoted(text: &str) -> String {
    String::from_utf8_lossy(&strconv::quote(text.as_bytes(), b'"', false)).into_owned()
}
