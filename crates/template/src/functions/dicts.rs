//! sprig: dictionaries. They are changed in place, as Go's maps are.

use super::cast::{list, to_text};
use super::merge::merge;
use super::{Args as _, Entry};
use crate::error::Failure;
use crate::run::Run;
use crate::value::{Entries, List, Map, Str, Value};

pub(super) const TABLE: &[Entry] = &[
    ("dict", "...any", dict),
    ("get", "map string", |_, a| {
        Ok(a.map(0).get(&a.str(1)).unwrap_or_else(|| Value::string("")))
    }),
    ("set", "map string any", set),
    ("unset", "map string", |_, a| {
        if let Some(entries) = &a.map(0).entries {
            entries.borrow_mut().remove(&*a.str(1));
        }
        Ok(a[0].clone())
    }),
    ("hasKey", "map string", |_, a| {
        Ok(a.map(0).get(&a.str(1)).is_some().into())
    }),
    ("pluck", "string ...map", |run, a| {
        let key = a.str(0);
        let found = (1..a.len()).filter_map(|at| a.map(at).get(&key)).collect();
        list(run, found)
    }),
    // Go's order is random, ours sorted.
    ("keys", "...map", |run, a| {
        let mut keys = Vec::new();
        for at in 0..a.len() {
            let entries = a.map(at).snapshot();
            run.step(entries.len())?;
            keys.extend(entries.into_iter().map(|(key, _)| key));
        }
        run.work(keys.len() * crate::run::ENTRY_SIZE)?;
        Ok(List::strings(keys).into())
    }),
    ("values", "map", |run, a| {
        let values = a.map(0).snapshot().into_iter().map(|(_, value)| value);
        list(run, values.collect())
    }),
    ("pick", "map ...string", |run, a| {
        let map = a.map(0);
        let wanted = (1..a.len()).map(|at| a.str(at));
        let picked = wanted.filter_map(|key| map.get(&key).map(|value| (key, value)));
        Ok(run.map(picked.collect())?.into())
    }),
    ("omit", "map ...string", |run, a| {
        let mut entries: Entries = a.map(0).snapshot().into_iter().collect();
        for at in 1..a.len() {
            entries.remove(&*a.str(at));
        }
        Ok(run.map(entries)?.into())
    }),
    ("merge", "map ...map", |run, a| merge(run, a, false, false)),
    ("mustMerge", "map ...map", |run, a| {
        merge(run, a, false, true)
    }),
    ("mergeOverwrite", "map ...map", |run, a| {
        merge(run, a, true, false)
    }),
    ("mustMergeOverwrite", "map ...map", |run, a| {
        merge(run, a, true, true)
    }),
    ("dig", "...any", dig),
];

type Result = std::result::Result<Value, Failure>;

fn dict(run: &mut Run<'_, '_>, a: &[Value]) -> Result {
    let mut entries = Entries::new();
    for pair in a.chunks(2) {
        let key = to_text(run, &pair[0])?;
        let value = pair.get(1).cloned().unwrap_or_else(|| Value::string(""));
        entries.insert(key, value);
    }
    Ok(run.map(entries)?.into())
}

fn set(run: &mut Run<'_, '_>, a: &[Value]) -> Result {
    run.work(crate::run::ENTRY_SIZE)?;
    let Some(entries) = a.map(0).entries else {
        return Err(Failure::new("assignment to entry in nil map"));
    };
    entries.borrow_mut().insert(a.str(1), a[2].clone());
    Ok(a[0].clone())
}

/// `dig "a" "b" default dict`.
fn dig(_: &mut Run<'_, '_>, a: &[Value]) -> Result {
    let [path @ .., default, dict] = a else {
        return Err(Failure::new("dig needs at least three arguments"));
    };
    if path.is_empty() {
        return Err(Failure::new("dig needs at least three arguments"));
    }
    let mut found = dict.clone();
    // Go takes the dictionary and all keys before it looks anything up.
    let mut dict = as_map(&found)?;
    let keys = path
        .iter()
        .map(as_key)
        .collect::<std::result::Result<Vec<_>, _>>()?;
    for (at, key) in keys.iter().enumerate() {
        if at > 0 {
            dict = as_map(&found)?;
        }
        match dict.get(key) {
            Some(value) => found = value,
            None => return Ok(default.clone()),
        }
    }
    Ok(found)
}

fn as_map(value: &Value) -> std::result::Result<Map, Failure> {
    match value {
        Value::Map(map) if super::Type::Map.takes(value) => Ok(map.clone()),
        other => Err(wrong("map[string]interface {}", other)),
    }
}

fn as_key(value: &Value) -> std::result::Result<Str, Failure> {
    match value {
        Value::String(key) => Ok(key.clone()),
        other => Err(wrong("string", other)),
    }
}

fn wrong(wanted: &str, value: &Value) -> Failure {
    let name = if value.is_nil() {
        "nil"
    } else {
        value.type_name()
    };
    Failure::new(format!(
        "interface conversion: interface {{}} is {name}, not {wanted}"
    ))
}
