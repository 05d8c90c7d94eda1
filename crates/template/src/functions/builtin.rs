//! The functions that Go's `text/template` has itself, but for `slice`, in whose place sprig's stands.

use std::cmp::Ordering;

use super::cast::{length, text};
use super::{Args as _, Entry};
use crate::error::Failure;
use crate::printf;
use crate::run::Run;
use crate::text as runes;
use crate::value::{MapElement, Str, UintType, Value};

pub(super) const TABLE: &[Entry] = &[
    // The executor evaluates these two itself, no further than it must.
    ("and", "value ...value", |_, _| Ok(Value::Invalid)),
    ("or", "value ...value", |_, _| Ok(Value::Invalid)),
    ("not", "value", |_, args| Ok((!args[0].is_true()).into())),
    ("call", "value ...value", call),
    ("index", "value ...value", index),
    ("len", "value", len),
    ("print", "...any", print),
    ("printf", "string ...any", printf),
    ("println", "...any", println),
    ("html", "...any", html),
    ("js", "...any", js),
    ("urlquery", "...any", urlquery),
    ("eq", "value ...value", eq),
    ("ne", "value value", ne),
    ("lt", "value value", lt),
    ("le", "value value", le),
    ("gt", "value value", gt),
    ("ge", "value value", ge),
];

type Result = std::result::Result<Value, Failure>;

fn fail<T>(message: impl Into<String>) -> std::result::Result<T, Failure> {
    Err(Failure::new(message))
}

/// No value of a template is a function.
fn call(_: &mut Run<'_, '_>, args: &[Value]) -> Result {
    if args[0].is_nil() {
        return fail("call of nil");
    }
    fail(format!("non-function of type {}", args[0].type_name()))
}

fn index(_: &mut Run<'_, '_>, args: &[Value]) -> Result {
    let mut item = args[0].clone();
    if item.is_nil() {
        return fail("index of untyped nil");
    }
    for index in args.rest(1) {
        item = match &item {
            Value::Invalid | Value::Nil => return fail("index of nil pointer"),
            Value::List(list) => {
                let at = position(index, list.items.len())?;
                list.items[at].clone()
            }
            Value::String(bytes) => {
                let at = position(index, bytes.len())?;
                Value::Uint(UintType::Uint8, u64::from(bytes[at]))
            }
            Value::Map(map) => match index {
                Value::String(key) => map.get(key).unwrap_or(match map.element {
                    MapElement::Any => Value::Nil,
                    MapElement::String => Value::string(""),
                }),
                Value::Invalid | Value::Nil => {
                    return fail("value is nil; should be of type string");
                }
                other => {
                    let name = other.type_name();
                    return fail(format!("value has type {name}; should be string"));
                }
            },
            other => return fail(format!("can't index item of type {}", other.type_name())),
        };
    }
    Ok(item)
}

fn position(index: &Value, length: usize) -> std::result::Result<usize, Failure> {
    let at = match index {
        Value::Int(_, at) => usize::try_from(*at).ok(),
        Value::Uint(_, at) => usize::try_from(*at).ok(),
        Value::Invalid | Value::Nil => return fail("cannot index slice/array with nil"),
        other => {
            let name = other.type_name();
            return fail(format!("cannot index slice/array with type {name}"));
        }
    };
    at.filter(|at| *at < length)
        .ok_or_else(|| Failure::new("index out of range"))
}

fn len(_: &mut Run<'_, '_>, args: &[Value]) -> Result {
    let count = match &args[0] {
        Value::Invalid => return fail("reflect: call of reflect.Value.Type on zero Value"),
        Value::Nil => return fail("len of nil pointer"),
        Value::List(list) => list.items.len(),
        Value::Map(map) => map.len(),
        Value::String(bytes) => bytes.len(),
        other => return fail(format!("len of type {}", other.type_name())),
    };
    Ok(Value::int(length(count)))
}

fn print(run: &mut Run<'_, '_>, args: &[Value]) -> Result {
    let mut out = run.buffer();
    printf::print(&mut out, args);
    Ok(run.finish(out)?.into())
}

fn println(run: &mut Run<'_, '_>, args: &[Value]) -> Result {
    let mut out = run.buffer();
    printf::println(&mut out, args);
    Ok(run.finish(out)?.into())
}

fn printf(run: &mut Run<'_, '_>, args: &[Value]) -> Result {
    let mut out = run.buffer();
    printf::printf(&mut out, &args.str(0), args.rest(1));
    Ok(run.finish(out)?.into())
}

/// The arguments as one text, nothing as a template prints it.
fn as_text(run: &mut Run<'_, '_>, args: &[Value]) -> std::result::Result<Str, Failure> {
    if let [Value::String(text)] = args {
        return Ok(text.clone());
    }
    let args: Vec<Value> = args
        .iter()
        .map(|arg| {
            if arg.is_nil() {
                Value::string("<no value>")
            } else {
                arg.clone()
            }
        })
        .collect();
    let mut out = run.buffer();
    printf::print(&mut out, &args);
    run.finish(out)
}

fn html(run: &mut Run<'_, '_>, args: &[Value]) -> Result {
    let plain = as_text(run, args)?;
    let mut out = run.buffer();
    for byte in plain.iter() {
        match byte {
            0 => out.write("\u{fffd}".as_bytes()),
            b'"' => out.write(b"&#34;"),
            b'\'' => out.write(b"&#39;"),
            b'&' => out.write(b"&amp;"),
            b'<' => out.write(b"&lt;"),
            b'>' => out.write(b"&gt;"),
            _ => out.push(*byte),
        }
    }
    Ok(run.finish(out)?.into())
}

fn js(run: &mut Run<'_, '_>, args: &[Value]) -> Result {
    let plain = as_text(run, args)?;
    let mut out = run.buffer();
    for (at, c, width) in runes::runes(&plain) {
        match c {
            '\\' => out.write(br"\\"),
            '\'' => out.write(br"\'"),
            '"' => out.write(br#"\""#),
            '<' | '>' | '&' | '=' => out.write_str(&format!("\\u{:04X}", c as u32)),
            c if c < ' ' => out.write_str(&format!("\\u{:04X}", c as u32)),
            c if c.is_ascii() || runes::is_print(c) => out.write(&plain[at..at + width]),
            c => out.write_str(&format!("\\u{:04X}", c as u32)),
        }
    }
    Ok(run.finish(out)?.into())
}

fn urlquery(run: &mut Run<'_, '_>, args: &[Value]) -> Result {
    let plain = as_text(run, args)?;
    text(run, super::url::query_escape(&plain))
}

// ---- comparison ----

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    None,
    Bool,
    Complex,
    Int,
    Float,
    String,
    Uint,
}

fn kind(value: &Value) -> Kind {
    match value {
        Value::Bool(_) => Kind::Bool,
        Value::Int(..) => Kind::Int,
        Value::Uint(..) => Kind::Uint,
        Value::Float(_) => Kind::Float,
        Value::Complex(..) => Kind::Complex,
        Value::String(_) => Kind::String,
        _ => Kind::None,
    }
}

const BAD_TYPE: &str = "invalid type for comparison";

fn incompatible<T>(one: &Value, two: &Value) -> std::result::Result<T, Failure> {
    fail(format!(
        "incompatible types for comparison: {} and {}",
        one.type_name(),
        two.type_name()
    ))
}

fn eq(_: &mut Run<'_, '_>, args: &[Value]) -> Result {
    if args.len() < 2 {
        return fail("missing argument for comparison");
    }
    for other in args.rest(1) {
        if equal(&args[0], other)? {
            return Ok(true.into());
        }
    }
    Ok(false.into())
}

fn equal(one: &Value, two: &Value) -> std::result::Result<bool, Failure> {
    #[expect(clippy::float_cmp, reason = "the language compares so")]
    Ok(match (one, two) {
        (Value::Bool(one), Value::Bool(two)) => one == two,
        (Value::Int(_, one), Value::Int(_, two)) => one == two,
        (Value::Uint(_, one), Value::Uint(_, two)) => one == two,
        (Value::Int(_, int), Value::Uint(_, uint)) | (Value::Uint(_, uint), Value::Int(_, int)) => {
            u64::try_from(*int).is_ok_and(|int| int == *uint)
        }
        (Value::Float(one), Value::Float(two)) => one == two,
        (Value::Complex(a, b), Value::Complex(c, d)) => a == c && b == d,
        (Value::String(one), Value::String(two)) => one == two,
        _ if kind(one) != kind(two) => {
            if !one.is_nil() && !two.is_nil() {
                return incompatible(one, two);
            }
            false
        }
        _ => return same(one, two),
    })
}

/// Compares two values of no basic kind.
fn same(one: &Value, two: &Value) -> std::result::Result<bool, Failure> {
    if one.kind_name() != two.kind_name() && !one.is_nil() && !two.is_nil() {
        let (one, two) = (one.type_name(), two.type_name());
        return fail(format!("non-comparable types {one}, {two}"));
    }
    if one.is_nil_of_its_type() || two.is_nil_of_its_type() {
        return Ok(one.is_nil_of_its_type() == two.is_nil_of_its_type());
    }
    match (one, two) {
        (_, Value::List(_) | Value::Map(_)) => {
            fail(format!("non-comparable type {}", two.type_name()))
        }
        // Go compares the zone's address too: one and the same kind of zone here.
        (Value::Time(one), Value::Time(two)) => Ok(one.is_same_moment(two)
            && std::mem::discriminant(&one.zone) == std::mem::discriminant(&two.zone)),
        (Value::Version(one), Value::Version(two)) => {
            Ok(std::rc::Rc::ptr_eq(one, two) || one.by_value && one == two)
        }
        (Value::Certificate(one), Value::Certificate(two)) => {
            Ok(one.cert == two.cert && one.key == two.key)
        }
        _ => Ok(false),
    }
}

fn ne(_: &mut Run<'_, '_>, args: &[Value]) -> Result {
    Ok((!equal(&args[0], &args[1])?).into())
}

fn less(one: &Value, two: &Value) -> std::result::Result<bool, Failure> {
    if kind(one) == Kind::None || kind(two) == Kind::None {
        return fail(BAD_TYPE);
    }
    Ok(match (one, two) {
        (Value::Int(_, one), Value::Int(_, two)) => one < two,
        (Value::Uint(_, one), Value::Uint(_, two)) => one < two,
        (Value::Int(_, int), Value::Uint(_, uint)) => {
            u64::try_from(*int).map_or(true, |int| int < *uint)
        }
        (Value::Uint(_, uint), Value::Int(_, int)) => {
            u64::try_from(*int).is_ok_and(|int| *uint < int)
        }
        (Value::Float(one), Value::Float(two)) => one.partial_cmp(two) == Some(Ordering::Less),
        (Value::String(one), Value::String(two)) => one < two,
        _ if kind(one) != kind(two) => return incompatible(one, two),
        _ => return fail(BAD_TYPE),
    })
}

fn lt(_: &mut Run<'_, '_>, args: &[Value]) -> Result {
    Ok(less(&args[0], &args[1])?.into())
}

fn at_most(args: &[Value]) -> std::result::Result<bool, Failure> {
    Ok(less(&args[0], &args[1])? || equal(&args[0], &args[1])?)
}

fn le(_: &mut Run<'_, '_>, args: &[Value]) -> Result {
    Ok(at_most(args)?.into())
}

/// The opposite of `le`, also for what has no order: `gt` of two NaN is true.
fn gt(_: &mut Run<'_, '_>, args: &[Value]) -> Result {
    Ok((!at_most(args)?).into())
}

fn ge(_: &mut Run<'_, '_>, args: &[Value]) -> Result {
    Ok((!less(&args[0], &args[1])?).into())
}
