//! sprig: defaults, JSON, copies and `fail`.

use super::{Args as _, Entry};
use crate::error::Failure;
use crate::json;
use crate::limits::Limit;
use crate::run::Run;
use crate::value::{Entries, List, Value};

pub(super) const TABLE: &[Entry] = &[
    ("default", "any ...any", |_, a| {
        Ok(match a.get(1) {
            Some(given) if !is_empty(given) => given.clone(),
            _ => a[0].clone(),
        })
    }),
    ("empty", "any", |_, a| Ok(is_empty(&a[0]).into())),
    ("coalesce", "...any", |_, a| {
        Ok(a.iter()
            .find(|value| !is_empty(value))
            .cloned()
            .unwrap_or(Value::Nil))
    }),
    ("all", "...any", |_, a| Ok((!a.iter().any(is_empty)).into())),
    ("any", "...any", |_, a| {
        Ok(a.iter().any(|value| !is_empty(value)).into())
    }),
    ("ternary", "any any bool", |_, a| {
        Ok(a[usize::from(!a.bool(2))].clone())
    }),
    ("fail", "string", |_, a| {
        Err(Failure::new(a.str(0).shown().unwrap_or_else(|| {
            "the template says so; its message is not shown, for it was computed".to_owned()
        })))
    }),
    ("fromJson", "string", |run, a| {
        Ok(json::decode(run, &a.str(0))?.unwrap_or(Value::Nil))
    }),
    (
        "mustFromJson",
        "string",
        |run, a| match json::decode_strictly(run, &a.str(0))? {
            Some(value) => Ok(value),
            None => Err(Failure::new("the text is no JSON")),
        },
    ),
    ("toJson", "any", |run, a| {
        or_empty(json::encode(run, &a[0], json::Style::Html)?)
    }),
    ("toPrettyJson", "any", |run, a| {
        or_empty(json::encode(run, &a[0], json::Style::Pretty)?)
    }),
    ("mustToJson", "any", |run, a| {
        or_fail(json::encode(run, &a[0], json::Style::Html)?)
    }),
    ("mustToPrettyJson", "any", |run, a| {
        or_fail(json::encode(run, &a[0], json::Style::Pretty)?)
    }),
    ("toRawJson", "any", |run, a| {
        or_fail(json::encode(run, &a[0], json::Style::Raw)?)
    }),
    ("mustToRawJson", "any", |run, a| {
        or_fail(json::encode(run, &a[0], json::Style::Raw)?)
    }),
    ("deepCopy", "any", copy),
    ("mustDeepCopy", "any", copy),
];

type Result = std::result::Result<Value, Failure>;

fn or_empty(text: std::result::Result<crate::value::Str, String>) -> Result {
    Ok(Value::String(text.unwrap_or_else(|_| "".into())))
}

fn or_fail(text: std::result::Result<crate::value::Str, String>) -> Result {
    text.map(Value::String).map_err(Failure::new)
}

/// sprig's `empty`: the zero value of its type; a struct or a pointer is never empty.
pub(super) fn is_empty(value: &Value) -> bool {
    !value.is_true()
}

/// `reflect.DeepEqual`.
pub(super) fn deep_equal(
    run: &mut Run<'_, '_>,
    one: &Value,
    two: &Value,
) -> std::result::Result<bool, Failure> {
    equal(run, one, two, 0)
}

fn equal(
    run: &mut Run<'_, '_>,
    one: &Value,
    two: &Value,
    depth: u32,
) -> std::result::Result<bool, Failure> {
    if depth > run.limits.depth {
        return Err(Limit::Depth.into());
    }
    run.step(1)?;
    if one.type_name() != two.type_name() {
        return Ok(false);
    }
    #[expect(clippy::float_cmp, reason = "Go compares so")]
    Ok(match (one, two) {
        (Value::Bool(one), Value::Bool(two)) => one == two,
        (Value::Int(_, one), Value::Int(_, two)) => one == two,
        (Value::Uint(_, one), Value::Uint(_, two)) => one == two,
        (Value::Float(one), Value::Float(two)) => one == two,
        (Value::Complex(a, b), Value::Complex(c, d)) => a == c && b == d,
        (Value::String(one), Value::String(two)) => one == two,
        (Value::List(one), Value::List(two)) => {
            if one.nil != two.nil || one.items.len() != two.items.len() {
                return Ok(false);
            }
            if std::rc::Rc::ptr_eq(&one.items, &two.items) {
                return Ok(true);
            }
            for (one, two) in one.items.iter().zip(two.items.iter()) {
                if !equal(run, one, two, depth + 1)? {
                    return Ok(false);
                }
            }
            true
        }
        (Value::Map(one), Value::Map(two)) => {
            if one.is_same(two) {
                return Ok(true);
            }
            if one.entries.is_none() != two.entries.is_none() || one.len() != two.len() {
                return Ok(false);
            }
            for (key, item) in one.snapshot() {
                let Some(other) = two.get(&key) else {
                    return Ok(false);
                };
                if !equal(run, &item, &other, depth + 1)? {
                    return Ok(false);
                }
            }
            true
        }
        (Value::Time(one), Value::Time(two)) => {
            one.is_same_moment(two) && {
                std::mem::discriminant(&one.zone) == std::mem::discriminant(&two.zone)
            }
        }
        (Value::Version(one), Value::Version(two)) => one == two,
        (Value::Certificate(one), Value::Certificate(two)) => {
            one.cert == two.cert && one.key == two.key
        }
        _ => one.is_nil() && two.is_nil(),
    })
}

fn copy(run: &mut Run<'_, '_>, a: &[Value]) -> Result {
    if a[0].is_nil() {
        return Err(Failure::new(
            "reflect: call of reflect.Value.Type on zero Value",
        ));
    }
    deep_copy(run, &a[0], 0)
}

fn deep_copy(run: &mut Run<'_, '_>, value: &Value, depth: u32) -> Result {
    if depth > run.limits.depth {
        return Err(Limit::Depth.into());
    }
    run.step(1)?;
    match value {
        Value::List(list) if !list.nil => {
            run.work(list.items.len() * crate::run::ENTRY_SIZE)?;
            let items = list
                .items
                .iter()
                .map(|item| deep_copy(run, item, depth + 1));
            let items = items.collect::<std::result::Result<Vec<_>, _>>()?;
            Ok(List::new(list.element, items).into())
        }
        Value::Map(map) if map.entries.is_some() => {
            let mut entries = Entries::new();
            for (key, item) in map.snapshot() {
                entries.insert(key, deep_copy(run, &item, depth + 1)?);
            }
            Ok(run.typed_map(map.element, entries)?.into())
        }
        other => Ok(other.clone()),
    }
}
