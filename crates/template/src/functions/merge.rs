//! sprig's `merge` and its like, which are `dario.cat/mergo`: maps merge into maps, anything else replaces or stays.

use super::Args as _;
use crate::error::Failure;
use crate::limits::Limit;
use crate::run::Run;
use crate::value::{Map, MapElement, Value};

/// Merges the other arguments into the first one. An error gives "" unless `must`.
pub(super) fn merge(
    run: &mut Run<'_, '_>,
    a: &[Value],
    overwrite: bool,
    must: bool,
) -> Result<Value, Failure> {
    let mut target = a.map(0);
    for at in 1..a.len() {
        let source = a.map(at);
        if target.entries.is_none() && source.entries.is_some() {
            target = run.map(crate::value::Entries::new())?;
        }
        match into(run, &target, &source, overwrite, 0)? {
            Ok(()) => {}
            Err(Stopped::Panic(message)) => return Err(Failure::new(message)),
            Err(Stopped::Error(message)) if must => return Err(Failure::new(message)),
            Err(Stopped::Error(_)) => return Ok(Value::string("")),
        }
    }
    Ok(target.into())
}

/// How the original gives up.
enum Stopped {
    Error(&'static str),
    Panic(&'static str),
}

fn into(
    run: &mut Run<'_, '_>,
    target: &Map,
    source: &Map,
    overwrite: bool,
    depth: u32,
) -> Result<Result<(), Stopped>, Failure> {
    if depth > run.limits.depth {
        return Err(Limit::Depth.into());
    }
    let Some(entries) = &target.entries else {
        // A nil map inside another one is left alone.
        return Ok(Ok(()));
    };
    for (key, new) in source.snapshot() {
        run.step(1)?;
        run.work(crate::run::ENTRY_SIZE)?;
        let old = target.get(&key);
        let put = |value: Value| {
            if target.element == MapElement::String && source.element != MapElement::String {
                return Err(Stopped::Panic(
                    "reflect.Value.SetMapIndex: value is not assignable",
                ));
            }
            entries.borrow_mut().insert(key.clone(), value);
            Ok(())
        };
        if source.element == MapElement::Any && new.is_nil() {
            if overwrite && let Err(stopped) = put(Value::Nil) {
                return Ok(Err(stopped));
            }
            continue;
        }
        match (&old, &new) {
            (Some(Value::Map(old)), Value::Map(new)) => {
                if let Err(stopped) = into(run, old, new, overwrite, depth + 1)? {
                    return Ok(Err(stopped));
                }
            }
            (Some(Value::Version(_)), Value::Map(_) | Value::Time(_) | Value::Certificate(_))
                if !overwrite =>
            {
                return Ok(Err(Stopped::Error("src and dst must be of same type")));
            }
            (Some(Value::Certificate(_)), Value::Map(_) | Value::Version(_)) => {
                return Ok(Err(Stopped::Panic(
                    "reflect: call of reflect.Value.Field on a value that is no struct",
                )));
            }
            _ => {}
        }
        // Looked at after the merge: a map that was empty may have been filled.
        let empty = old.as_ref().is_none_or(is_empty);
        if !empty {
            match (&old, &new) {
                (_, Value::List(_)) => {
                    if overwrite && let Err(stopped) = put(new) {
                        return Ok(Err(stopped));
                    }
                    continue;
                }
                (Some(Value::Map(_)), Value::Map(_)) => continue,
                _ => {}
            }
        }
        if (overwrite || empty)
            && let Err(stopped) = put(new)
        {
            return Ok(Err(stopped));
        }
    }
    Ok(Ok(()))
}

/// mergo's `isEmptyValue`: a struct is not empty.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Complex(..) => false,
        other => !other.is_true(),
    }
}
