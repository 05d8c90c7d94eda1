//! sprig: lists. A list of any type goes in, mostly a `[]interface{}` comes out.

use super::cast::{items, list, to_int64, truncated, typed_list};
use super::defaults::{deep_equal, is_empty};
use super::{Args as _, Entry};
use crate::error::Failure;
use crate::run::Run;
use crate::value::{Element, List, Value};

pub(super) const TABLE: &[Entry] = &[
    ("list", "...any", |run, a| list(run, a.to_vec())),
    ("tuple", "...any", |run, a| list(run, a.to_vec())),
    ("append", "any any", push),
    ("push", "any any", push),
    ("mustAppend", "any any", push),
    ("mustPush", "any any", push),
    ("prepend", "any any", prepend),
    ("mustPrepend", "any any", prepend),
    ("first", "any", first),
    ("mustFirst", "any", first),
    ("last", "any", last),
    ("mustLast", "any", last),
    ("rest", "any", rest),
    ("mustRest", "any", rest),
    ("initial", "any", initial),
    ("mustInitial", "any", initial),
    ("reverse", "any", reverse),
    ("mustReverse", "any", reverse),
    ("compact", "any", compact),
    ("mustCompact", "any", compact),
    ("uniq", "any", uniq),
    ("mustUniq", "any", uniq),
    ("without", "any ...any", without),
    ("mustWithout", "any ...any", without),
    ("has", "any any", has),
    ("mustHas", "any any", has),
    ("slice", "any ...any", slice),
    ("mustSlice", "any ...any", slice),
    ("concat", "...any", concat),
    ("chunk", "int any", chunk),
    ("mustChunk", "int any", chunk),
];

type Result = std::result::Result<Value, Failure>;

/// The elements, or Go's message for what is no list.
fn elements(
    run: &mut Run<'_, '_>,
    value: &Value,
    what: &str,
) -> std::result::Result<Vec<Value>, Failure> {
    if value.is_nil() {
        return Err(Failure::new(NIL));
    }
    let Some(items) = items(value) else {
        let kind = value.kind_name();
        return Err(Failure::new(format!("{what} {kind}")));
    };
    run.step(items.len())?;
    Ok(items)
}

const NIL: &str = "runtime error: invalid memory address or nil pointer dereference";

fn nil_list() -> Value {
    List::nil(Element::Any).into()
}

fn push(run: &mut Run<'_, '_>, a: &[Value]) -> Result {
    let mut items = elements(run, &a[0], "Cannot push on type")?;
    items.push(a[1].clone());
    list(run, items)
}

fn prepend(run: &mut Run<'_, '_>, a: &[Value]) -> Result {
    let mut items = elements(run, &a[0], "Cannot prepend on type")?;
    items.insert(0, a[1].clone());
    list(run, items)
}

fn first(run: &mut Run<'_, '_>, a: &[Value]) -> Result {
    let items = elements(run, &a[0], "Cannot find first on type")?;
    Ok(items.into_iter().next().unwrap_or(Value::Nil))
}

fn last(run: &mut Run<'_, '_>, a: &[Value]) -> Result {
    let items = elements(run, &a[0], "Cannot find last on type")?;
    Ok(items.into_iter().last().unwrap_or(Value::Nil))
}

fn rest(run: &mut Run<'_, '_>, a: &[Value]) -> Result {
    let mut items = elements(run, &a[0], "Cannot find rest on type")?;
    if items.is_empty() {
        return Ok(nil_list());
    }
    items.remove(0);
    list(run, items)
}

fn initial(run: &mut Run<'_, '_>, a: &[Value]) -> Result {
    let mut items = elements(run, &a[0], "Cannot find initial on type")?;
    if items.pop().is_none() {
        return Ok(nil_list());
    }
    list(run, items)
}

fn reverse(run: &mut Run<'_, '_>, a: &[Value]) -> Result {
    let mut items = elements(run, &a[0], "Cannot find reverse on type")?;
    items.reverse();
    list(run, items)
}

fn compact(run: &mut Run<'_, '_>, a: &[Value]) -> Result {
    let mut items = elements(run, &a[0], "Cannot compact on type")?;
    items.retain(|item| !is_empty(item));
    list(run, items)
}

fn uniq(run: &mut Run<'_, '_>, a: &[Value]) -> Result {
    let items = elements(run, &a[0], "Cannot find uniq on type")?;
    let mut kept: Vec<Value> = Vec::new();
    for item in items {
        if !contains(run, &kept, &item)? {
            kept.push(item);
        }
    }
    list(run, kept)
}

fn contains(
    run: &mut Run<'_, '_>,
    items: &[Value],
    wanted: &Value,
) -> std::result::Result<bool, Failure> {
    for item in items {
        if deep_equal(run, wanted, item)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn without(run: &mut Run<'_, '_>, a: &[Value]) -> Result {
    let items = elements(run, &a[0], "Cannot find without on type")?;
    let mut kept = Vec::new();
    for item in items {
        if !contains(run, a.rest(1), &item)? {
            kept.push(item);
        }
    }
    list(run, kept)
}

fn has(run: &mut Run<'_, '_>, a: &[Value]) -> Result {
    if a[1].is_nil() {
        return Ok(false.into());
    }
    let items = elements(run, &a[1], "Cannot find has on type")?;
    Ok(contains(run, &items, &a[0])?.into())
}

/// Keeps the type of the list. Beyond the end Go may find room that an `append` left; here it is an error.
fn slice(run: &mut Run<'_, '_>, a: &[Value]) -> Result {
    let items = elements(run, &a[0], "list should be type of slice or array but")?;
    if items.is_empty() {
        return Ok(Value::Nil);
    }
    let start = a
        .get(1)
        .map_or(Some(0), |start| usize::try_from(to_int64(start)).ok());
    let end = match a.get(2) {
        Some(end) => usize::try_from(to_int64(end)).ok(),
        None => Some(items.len()),
    };
    let part = match (start, end) {
        (Some(start), Some(end)) => items.get(start..end),
        _ => None,
    };
    let Some(part) = part else {
        return Err(Failure::new(
            "reflect.Value.Slice: slice index out of bounds",
        ));
    };
    let part = part.to_vec();
    match &a[0] {
        Value::List(whole) => typed_list(run, whole.element, part),
        _ => list(run, part),
    }
}

fn concat(run: &mut Run<'_, '_>, a: &[Value]) -> Result {
    let mut all = Vec::new();
    for part in a {
        if part.is_nil() {
            return Err(Failure::new(NIL));
        }
        let Some(items) = items(part) else {
            let kind = part.kind_name();
            return Err(Failure::new(format!("Cannot concat type {kind} as list")));
        };
        run.work(items.len() * crate::run::ENTRY_SIZE)?;
        all.extend(items);
    }
    if all.is_empty() {
        return Ok(nil_list());
    }
    list(run, all)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "the original computes in floating point"
)]
fn chunk(run: &mut Run<'_, '_>, a: &[Value]) -> Result {
    let items = elements(run, &a[1], "Cannot chunk type")?;
    let size = a.int(0);
    let all = items.len() as f64;
    let negative = || Failure::new("runtime error: makeslice: len out of range");
    let count = truncated(((all - 1.0) / size as f64).floor() + 1.0);
    let count = usize::try_from(count).map_err(|_| negative())?;
    let mut chunks = Vec::new();
    let mut items = items.into_iter();
    for at in 0..count {
        let mut length = size;
        if at + 1 == count {
            length = truncated((all % size as f64).floor());
            if length == 0 {
                length = size;
            }
        }
        let length = usize::try_from(length).map_err(|_| negative())?;
        let chunk: Vec<Value> = items.by_ref().take(length).collect();
        if chunk.len() < length {
            return Err(Failure::new("reflect: slice index out of range"));
        }
        chunks.push(list(run, chunk)?);
    }
    typed_list(run, Element::List, chunks)
}
