//! Entries and items of every YAML text in the recorded suite are replaced, added and taken out: the
//! new text has exactly that change and no other.
#![allow(clippy::unwrap_used, missing_docs)]

use selkie_text::yaml::parse;
use selkie_text::{
    Edits, Kind, Limits, NodeId, Scalar, Stream, Value, WriteError, insert_entry, push_item,
    remove_item, set_value,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Answer {
    input: String,
}

fn inputs() -> Vec<String> {
    let answers: Vec<Answer> = serde_json::from_str(include_str!("goldens/trees.json")).unwrap();
    answers
        .into_iter()
        .map(|answer| answer.input)
        .filter(|input| parse(input, &Limits::default()).is_ok())
        // go-yaml takes a line of blanks with a tab behind a plain scalar only.
        .filter(|input| !input.contains(" \t \n"))
        .collect()
}

/// What is to be different.
enum Change<'a> {
    Nothing,
    Set(NodeId, &'a Value),
    Insert(NodeId, &'a str, &'a Value),
    Push(NodeId, &'a Value),
    Remove(NodeId),
}

fn describe(value: &Value, out: &mut String) {
    match value {
        Value::Map(entries) => {
            out.push('{');
            for (key, value) in entries {
                out.push_str(&format!("{key:?}: "));
                describe(value, out);
                out.push_str(", ");
            }
            out.push('}');
        }
        Value::Seq(items) => {
            out.push('[');
            for item in items {
                describe(item, out);
                out.push_str(", ");
            }
            out.push(']');
        }
        Value::Str(text) => out.push_str(&format!("{text:?}")),
        Value::Int(value) => out.push_str(&value.to_string()),
        Value::Bool(value) => out.push_str(&value.to_string()),
        Value::Null => out.push_str("null"),
        _ => out.push('?'),
    }
}

/// All documents in one line, without comments, with a change.
fn tree(stream: &Stream<'_>, change: &Change<'_>) -> String {
    let mut out = String::new();
    for document in stream.documents() {
        write(stream, document.content, change, &mut out);
        out.push_str(" --- ");
    }
    out
}

fn write(stream: &Stream<'_>, id: NodeId, change: &Change<'_>, out: &mut String) {
    if let Change::Set(node, value) = change
        && *node == id
    {
        return describe(value, out);
    }
    let id = stream.target(id);
    if let Change::Set(node, value) = change
        && *node == id
    {
        return describe(value, out);
    }
    let node = stream.node(id);
    match node.kind {
        Kind::Mapping => {
            out.push('{');
            for (key, value) in stream.entries(id) {
                if matches!(change, Change::Remove(node) if *node == value) {
                    continue;
                }
                write_key(stream, key, change, out);
                out.push_str(": ");
                write(stream, value, change, out);
                out.push_str(", ");
            }
            if let Change::Insert(node, key, value) = change
                && *node == id
            {
                out.push_str(&format!("{key:?}: "));
                describe(value, out);
                out.push_str(", ");
            }
            out.push('}');
        }
        Kind::Sequence => {
            out.push('[');
            for item in &node.children {
                if matches!(change, Change::Remove(node) if node == item) {
                    continue;
                }
                write(stream, *item, change, out);
                out.push_str(", ");
            }
            if let Change::Push(node, value) = change
                && *node == id
            {
                describe(value, out);
                out.push_str(", ");
            }
            out.push(']');
        }
        _ => match stream.resolve(id) {
            Ok(Scalar::Null) => out.push_str("null"),
            Ok(Scalar::Bool(value)) => out.push_str(&value.to_string()),
            Ok(Scalar::Int(value)) => out.push_str(&value.to_string()),
            Ok(Scalar::Str(text)) => out.push_str(&format!("{text:?}")),
            _ => out.push_str(&format!("other {:?}", node.value)),
        },
    }
}

fn write_key(stream: &Stream<'_>, key: NodeId, change: &Change<'_>, out: &mut String) {
    let target = stream.target(key);
    if let Change::Set(node, Value::Str(text)) = change
        && *node == target
    {
        return out.push_str(&format!("{text:?}"));
    }
    match stream.node(stream.target(key)).kind {
        Kind::Scalar => out.push_str(&format!("{:?}", stream.node(stream.target(key)).value)),
        _ => write(stream, key, &Change::Nothing, out),
    }
}

fn values() -> Vec<Value> {
    let text = |text: &str| Value::Str(text.to_owned());
    let entry = |key: &str, value: Value| (key.to_owned(), value);
    vec![
        text("plain"),
        text("two\nlines\n"),
        text("- # tricky: "),
        text(""),
        Value::Int(42),
        Value::Null,
        Value::Map(vec![]),
        Value::Seq(vec![]),
        Value::Map(vec![
            entry("x", text("a: b")),
            entry(
                "y",
                Value::Map(vec![entry(
                    "z",
                    Value::Seq(vec![Value::Bool(true), text("l\nm\n")]),
                )]),
            ),
        ]),
        Value::Seq(vec![
            Value::Seq(vec![text("1"), Value::Int(1)]),
            Value::Map(vec![entry("k", text("v")), entry("w", text("a\nb"))]),
        ]),
    ]
}

/// Makes every possible change of one kind; returns how many were made.
///
/// Every tenth text is taken, beginning with `part`.
fn check(
    what: &str,
    part: usize,
    mut attempt: impl FnMut(&Stream<'_>, NodeId, &mut Edits) -> Option<(Result<(), WriteError>, String)>,
) {
    let (mut made, mut refused, mut failures) = (0, 0, Vec::new());
    for input in inputs().into_iter().skip(part).step_by(10) {
        let stream = parse(&input, &Limits::default()).unwrap();
        let ids: Vec<NodeId> = stream.nodes().map(|(id, _)| id).collect();
        // What such a key repeats changes with it.
        let is_alias = |id: &NodeId| stream.node(*id).kind == Kind::Alias;
        if ids.iter().any(|id| is_alias(id) && is_key(&stream, *id)) {
            continue;
        }
        for id in ids {
            let mut edits = Edits::new();
            let Some((result, expected)) = attempt(&stream, id, &mut edits) else {
                continue;
            };
            if result.is_err() {
                refused += 1;
                continue;
            }
            made += 1;
            let applied = edits.try_apply(&input);
            let new = applied.as_ref().map_or("", |text| text.as_str());
            let found = match (&applied, parse(new, &Limits::default())) {
                (Ok(_), Ok(again)) => tree(&again, &Change::Nothing),
                (Ok(_), Err(error)) => error.to_string(),
                (Err(error), _) => error.to_string(),
            };
            if found != expected {
                failures.push(format!(
                    "{what} {input:?} node {id:?}\n gives {new:?}\n found {found}\n wants {expected}"
                ));
            }
        }
    }
    assert!(
        failures.is_empty(),
        "{what}: {} of {made} wrong, {refused} refused\n{}",
        failures.len(),
        failures[..failures.len().min(40)].join("\n")
    );
    assert!(
        made > 150 && refused * 10 < made,
        "{what}: {made} made, {refused} refused"
    );
}

fn is_key(stream: &Stream<'_>, id: NodeId) -> bool {
    let parent = stream.node(id).parent;
    parent.is_some_and(|parent| stream.entries(parent).any(|(key, _)| key == id))
}

/// A node within a key: what is edited are values.
fn in_key(stream: &Stream<'_>, mut id: NodeId) -> bool {
    loop {
        if is_key(stream, id) {
            return true;
        }
        match stream.node(id).parent {
            Some(parent) => id = parent,
            None => return false,
        }
    }
}

#[test]
fn values_are_replaced() {
    for (part, value) in values().into_iter().enumerate() {
        check("set", part, |stream, id, edits| {
            if in_key(stream, id) {
                return None;
            }
            let result = set_value(stream, edits, id, &value, 4);
            Some((result, tree(stream, &Change::Set(id, &value))))
        });
    }
}

#[test]
fn entries_and_items_are_added() {
    for (part, value) in values().into_iter().enumerate() {
        check("add", part, |stream, id, edits| {
            if in_key(stream, id) {
                return None;
            }
            match stream.node(id).kind {
                Kind::Mapping => {
                    let result = insert_entry(stream, edits, id, "a new: key", &value, None, 4);
                    Some((
                        result,
                        tree(stream, &Change::Insert(id, "a new: key", &value)),
                    ))
                }
                Kind::Sequence => {
                    let result = push_item(stream, edits, id, &value, 4);
                    Some((result, tree(stream, &Change::Push(id, &value))))
                }
                _ => None,
            }
        });
    }
}

#[test]
fn entries_and_items_are_taken_out() {
    for part in 0..10 {
        check("remove", part, |stream, id, edits| {
            if in_key(stream, id) || stream.node(id).parent.is_none() {
                return None;
            }
            let result = remove_item(stream, edits, id, 4);
            Some((result, tree(stream, &Change::Remove(id))))
        });
    }
}

#[test]
fn layout_stays() {
    let source = "# top\na:\n  # in a\n  b: 1 # one\n  c: [x, y] # two\n\n# list\nl:\n- p: 1\n  q: 2\n- r # three\n\nsops:\n  mac: x\n";
    let stream = parse(source, &Limits::default()).unwrap();
    let at = |path: &[&str]| {
        path.iter().fold(stream.documents()[0].content, |id, step| {
            match stream.node(id).kind {
                Kind::Sequence => stream.node(id).children[step.parse::<usize>().unwrap()],
                _ => {
                    let mut entries = stream.entries(id);
                    entries
                        .find(|(key, _)| stream.node(*key).value == *step)
                        .unwrap()
                        .1
                }
            }
        })
    };
    let mut edits = Edits::new();
    let map = Value::Map(vec![("k".to_owned(), Value::Int(1))]);
    set_value(&stream, &mut edits, at(&["a", "b"]), &map, 2).unwrap();
    push_item(
        &stream,
        &mut edits,
        at(&["a", "c"]),
        &Value::Str("z, z".to_owned()),
        2,
    )
    .unwrap();
    remove_item(&stream, &mut edits, at(&["l", "0", "p"]), 2).unwrap();
    push_item(&stream, &mut edits, at(&["l"]), &map, 2).unwrap();
    insert_entry(
        &stream,
        &mut edits,
        at(&[]),
        "new",
        &Value::Str("new".to_owned()),
        Some("sops"),
        2,
    )
    .unwrap();
    assert_eq!(
        edits.try_apply(source).unwrap().as_str(),
        "# top\na:\n  # in a\n  b: # one\n    k: 1\n  c: [x, y, \"z, z\"] # two\n\n# list\nl:\n- q: 2\n- r # three\n- k: 1\nnew: new\n\nsops:\n  mac: x\n"
    );
}
