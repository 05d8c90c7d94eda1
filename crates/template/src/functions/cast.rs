//! Values as numbers and texts, by the rules of `spf13/cast` and of sprig's `strval`.

use crate::error::Failure;
use crate::printf;
use crate::run::Run;
use crate::strconv;
use crate::value::{Element, IntType, List, Str, Value};

/// `cast.ToInt64`: what is no number is 0.
pub(super) fn to_int64(value: &Value) -> i64 {
    match value {
        Value::Int(IntType::Duration, _) => 0,
        Value::Int(_, value) => *value,
        #[expect(clippy::cast_possible_wrap, reason = "Go's conversion wraps")]
        Value::Uint(_, value) => *value as i64,
        Value::Float(value) => truncated(*value),
        Value::String(text) => match strconv::parse_int(without_zero_decimals(text), 0) {
            (value, None) => value,
            _ => 0,
        },
        Value::Bool(value) => i64::from(*value),
        _ => 0,
    }
}

/// `int64(float64)` on amd64: what does not fit is the smallest integer.
pub(super) fn truncated(value: f64) -> i64 {
    const TOO_LARGE: f64 = 9_223_372_036_854_775_808.0;
    #[expect(clippy::cast_possible_truncation, reason = "checked")]
    if (-TOO_LARGE..TOO_LARGE).contains(&value) {
        value as i64
    } else {
        i64::MIN
    }
}

/// `1.00` is `1`, and `.0` is nothing.
fn without_zero_decimals(text: &[u8]) -> &[u8] {
    let digits = text.iter().rev().take_while(|byte| **byte == b'0').count();
    let point = text.len() - digits;
    if digits > 0 && point > 0 && text[point - 1] == b'.' {
        &text[..point - 1]
    } else {
        text
    }
}

/// `cast.ToFloat64`: what is no number is 0.
#[expect(clippy::cast_precision_loss, reason = "as Go converts it")]
pub(super) fn to_float(value: &Value) -> f64 {
    match value {
        Value::Int(IntType::Duration, _) => 0.0,
        Value::Int(_, value) => *value as f64,
        Value::Uint(_, value) => *value as f64,
        Value::Float(value) => *value,
        Value::String(text) => strconv::parse_float(text).unwrap_or(0.0),
        Value::Bool(value) => f64::from(u8::from(*value)),
        _ => 0.0,
    }
}

/// sprig's `strval`: text as it is, anything else as `%v` prints it.
pub(super) fn to_text(run: &mut Run<'_, '_>, value: &Value) -> Result<Str, Failure> {
    match value {
        Value::String(text) => Ok(text.clone()),
        other => printed(run, other),
    }
}

/// What `%v` prints.
pub(super) fn printed(run: &mut Run<'_, '_>, value: &Value) -> Result<Str, Failure> {
    let mut out = run.buffer();
    let value = match value {
        // At the top, fmt does not tell them apart.
        Value::Invalid => &Value::Nil,
        other => other,
    };
    printf::print(&mut out, std::slice::from_ref(value));
    run.finish(out)
}

/// sprig's `strslice`: the elements as text, without nulls; what is no list is a list of one.
pub(super) fn to_texts(run: &mut Run<'_, '_>, value: &Value) -> Result<Vec<Str>, Failure> {
    let Some(items) = items(value) else {
        if value.is_nil() {
            return Ok(Vec::new());
        }
        return Ok(vec![to_text(run, value)?]);
    };
    run.step(items.len())?;
    let items = items.iter().filter(|item| !item.is_nil());
    items.map(|item| to_text(run, item)).collect()
}

/// The elements of a slice of any type.
pub(super) fn items(value: &Value) -> Option<Vec<Value>> {
    match value {
        Value::List(list) => Some(list.items.to_vec()),
        _ => None,
    }
}

/// Makes a `[]interface{}`.
pub(super) fn list(run: &mut Run<'_, '_>, items: Vec<Value>) -> Result<Value, Failure> {
    typed_list(run, Element::Any, items)
}

/// Makes a slice.
pub(super) fn typed_list(
    run: &mut Run<'_, '_>,
    element: Element,
    items: Vec<Value>,
) -> Result<Value, Failure> {
    run.step(items.len())?;
    run.work(items.len() * crate::run::ENTRY_SIZE)?;
    Ok(List::new(element, items).into())
}

/// Makes text and counts it.
pub(super) fn text(run: &mut Run<'_, '_>, bytes: impl Into<Str>) -> Result<Value, Failure> {
    let text = bytes.into();
    run.work(text.len())?;
    Ok(Value::String(text))
}

/// A length as Go's `int`.
pub(super) fn length(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}
