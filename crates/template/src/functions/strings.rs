//! sprig: text.

use std::collections::BTreeSet;

use super::cast::{length, printed, text, to_text, to_texts};
use super::{Args as _, Entry, words};
use crate::error::Failure;
use crate::run::Run;
use crate::strconv;
use crate::text as runes;
use crate::value::{Element, Entries, List, MapElement, Str, Value};

pub(super) const TABLE: &[Entry] = &[
    ("hello", "", |_, _| Ok(Value::string("Hello!"))),
    ("abbrev", "int string", |run, a| {
        text(run, words::abbreviate(&a.str(1), 0, a.int(0)))
    }),
    ("abbrevboth", "int int string", abbrevboth),
    ("trunc", "int string", trunc),
    ("trim", "string", |run, a| {
        text(run, runes::trim_space(&a.str(0)))
    }),
    ("upper", "string", |run, a| {
        text(run, change_case(&a.str(0), runes::to_upper))
    }),
    ("lower", "string", |run, a| {
        text(run, change_case(&a.str(0), runes::to_lower))
    }),
    ("title", "string", |run, a| {
        text(run, words::title(&a.str(0)))
    }),
    ("untitle", "string", |run, a| {
        text(run, words::uncapitalize(&a.str(0)))
    }),
    ("substr", "int int string", substr),
    ("repeat", "int string", repeat),
    ("trimall", "string string", trim_all),
    ("trimAll", "string string", trim_all),
    ("trimSuffix", "string string", |_, a| {
        let (suffix, whole) = (a.str(0), a.str(1));
        Ok(cut(&whole, whole.strip_suffix(&*suffix)))
    }),
    ("trimPrefix", "string string", |_, a| {
        let (prefix, whole) = (a.str(0), a.str(1));
        Ok(cut(&whole, whole.strip_prefix(&*prefix)))
    }),
    ("nospace", "string", |run, a| {
        text(run, words::delete_white_space(&a.str(0)))
    }),
    ("initials", "string", |run, a| {
        text(run, words::initials(&a.str(0)))
    }),
    ("swapcase", "string", |run, a| {
        text(run, words::swap_case(&a.str(0)))
    }),
    ("snakecase", "string", |run, a| {
        text(run, words::connected(&a.str(0), '_'))
    }),
    ("kebabcase", "string", |run, a| {
        text(run, words::connected(&a.str(0), '-'))
    }),
    ("camelcase", "string", |run, a| {
        text(run, words::pascal(&a.str(0)))
    }),
    ("wrap", "int string", |run, a| {
        let wrapped = words::wrap(run, &a.str(1), a.int(0), b"", false)?;
        Ok(wrapped.into())
    }),
    ("wrapWith", "int string string", |run, a| {
        let wrapped = words::wrap(run, &a.str(2), a.int(0), &a.str(1), true)?;
        Ok(wrapped.into())
    }),
    ("contains", "string string", |_, a| {
        Ok(runes::find(&a.str(1), &a.str(0)).is_some().into())
    }),
    ("hasPrefix", "string string", |_, a| {
        Ok(a.str(1).starts_with(&a.str(0)).into())
    }),
    ("hasSuffix", "string string", |_, a| {
        Ok(a.str(1).ends_with(&a.str(0)).into())
    }),
    ("quote", "...any", quote),
    ("squote", "...any", squote),
    ("cat", "...any", cat),
    ("indent", "int string", |run, a| indent(run, b"", a)),
    ("nindent", "int string", |run, a| indent(run, b"\n", a)),
    ("replace", "string string string", replace),
    ("plural", "string string int", |_, a| {
        Ok(a.str(usize::from(a.int(2) != 1)).into())
    }),
    ("toString", "any", |run, a| Ok(to_text(run, &a[0])?.into())),
    ("split", "string string", |run, a| {
        split_map(run, &a.str(1), &a.str(0), -1)
    }),
    ("splitn", "string int string", |run, a| {
        split_map(run, &a.str(2), &a.str(0), a.int(1))
    }),
    ("splitList", "string string", split_list),
    ("toStrings", "any", |run, a| {
        if let Value::List(list) = &a[0]
            && list.element == Element::String
        {
            return Ok(a[0].clone());
        }
        let texts = to_texts(run, &a[0])?;
        Ok(List::strings(texts).into())
    }),
    ("join", "string any", join),
    ("sortAlpha", "any", |run, a| {
        let mut texts = to_texts(run, &a[0])?;
        if a[0].is_nil() {
            texts.push("<nil>".into());
        }
        texts.sort_unstable();
        Ok(List::strings(texts).into())
    }),
];

type Result = std::result::Result<Value, Failure>;

fn fail<T>(message: &str) -> std::result::Result<T, Failure> {
    Err(Failure::new(message))
}

const BOUNDS: &str = "runtime error: slice bounds out of range";

fn abbrevboth(run: &mut Run<'_, '_>, a: &[Value]) -> Result {
    let (left, right, whole) = (a.int(0), a.int(1), a.str(2));
    if right < 4 || left > 0 && right < 7 {
        return Ok(whole.into());
    }
    text(run, words::abbreviate(&whole, left, right))
}

fn trunc(run: &mut Run<'_, '_>, a: &[Value]) -> Result {
    let (count, whole) = (a.int(0), a.str(1));
    let all = length(whole.len());
    let kept = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    if count < 0 && all.saturating_add(count) > 0 {
        return text(run, &whole[whole.len() - kept..]);
    }
    if count >= 0 && all > count {
        return text(run, &whole[..kept]);
    }
    Ok(whole.into())
}

fn change_case(whole: &Str, change: impl Fn(char) -> char) -> Str {
    // What needs no change is kept as it is, also where it is no UTF-8.
    if whole.is_ascii()
        && whole
            .iter()
            .all(|b| change(char::from(*b)) == char::from(*b))
    {
        return whole.clone();
    }
    runes::map(whole, change).into()
}

/// Negative starts mean "from the beginning", and an end that does not fit "to the end".
fn substr(run: &mut Run<'_, '_>, a: &[Value]) -> Result {
    let (start, end, whole) = (a.int(0), a.int(1), a.str(2));
    let all = length(whole.len());
    let range = if start < 0 {
        0..end
    } else if end < 0 || end > all {
        start..all
    } else {
        start..end
    };
    let start = usize::try_from(range.start);
    let end = usize::try_from(range.end);
    match (start, end) {
        (Ok(start), Ok(end)) if start <= end && end <= whole.len() => text(run, &whole[start..end]),
        _ => fail(BOUNDS),
    }
}

fn repeat(run: &mut Run<'_, '_>, a: &[Value]) -> Result {
    let whole = a.str(1);
    let Ok(count) = usize::try_from(a.int(0)) else {
        return fail("strings: negative Repeat count");
    };
    let bytes = whole.len().saturating_mul(count);
    run.work(bytes)?;
    Ok(Value::string(whole.repeat(count)))
}

fn trim_all(run: &mut Run<'_, '_>, a: &[Value]) -> Result {
    let (set, whole) = (a.str(0), a.str(1));
    let set: BTreeSet<char> = runes::runes(&set).map(|(_, c, _)| c).collect();
    run.step(set.len())?;
    text(run, runes::trim_matches(&whole, |c| set.contains(&c)))
}

fn cut(whole: &Str, rest: Option<&[u8]>) -> Value {
    rest.map_or_else(|| whole.clone(), Str::from).into()
}

fn quote(run: &mut Run<'_, '_>, a: &[Value]) -> Result {
    let mut out = run.buffer();
    for (at, value) in a.iter().filter(|value| !value.is_nil()).enumerate() {
        if at > 0 {
            out.push(b' ');
        }
        let plain = to_text(run, value)?;
        out.write(&zeroize::Zeroizing::new(strconv::quote(
            &plain, b'"', false,
        )));
    }
    Ok(run.finish(out)?.into())
}

fn squote(run: &mut Run<'_, '_>, a: &[Value]) -> Result {
    let mut out = run.buffer();
    for (at, value) in a.iter().filter(|value| !value.is_nil()).enumerate() {
        out.write(if at > 0 { b" '" } else { b"'" });
        out.write(&printed(run, value)?);
        out.push(b'\'');
    }
    Ok(run.finish(out)?.into())
}

fn cat(run: &mut Run<'_, '_>, a: &[Value]) -> Result {
    let mut out = run.buffer();
    for (at, value) in a.iter().filter(|value| !value.is_nil()).enumerate() {
        if at > 0 {
            out.push(b' ');
        }
        out.write(&printed(run, value)?);
    }
    Ok(run.finish(out)?.into())
}

fn indent(run: &mut Run<'_, '_>, before: &[u8], a: &[Value]) -> Result {
    let whole = a.str(1);
    let Ok(spaces) = usize::try_from(a.int(0)) else {
        return fail("strings: negative Repeat count");
    };
    let mut out = run.buffer();
    out.write(before);
    out.repeat(b' ', spaces);
    for line in whole.split_inclusive(|byte| *byte == b'\n') {
        out.write(line);
        if line.ends_with(b"\n") {
            out.repeat(b' ', spaces);
        }
    }
    Ok(run.finish(out)?.into())
}

fn replace(run: &mut Run<'_, '_>, a: &[Value]) -> Result {
    let (old, new, whole) = (a.str(0), a.str(1), a.str(2));
    let places = whole.len() / old.len().max(1) + 1;
    // At the most, so that nothing too long is made.
    if new.len().saturating_mul(places) as u64 > run.limits.work {
        let found = runes::places(&whole, &old).len();
        run.work(found.saturating_mul(new.len()))?;
    }
    text(run, runes::replace(&whole, &old, &new))
}

fn split_map(run: &mut Run<'_, '_>, whole: &[u8], separator: &[u8], limit: i64) -> Result {
    let parts = parts(run, whole, separator, limit)?;
    let entries: Entries = parts
        .into_iter()
        .enumerate()
        .map(|(at, part)| (Str::from(format!("_{at}")), Value::string(part)))
        .collect();
    Ok(run.typed_map(MapElement::String, entries)?.into())
}

fn split_list(run: &mut Run<'_, '_>, a: &[Value]) -> Result {
    let (separator, whole) = (a.str(0), a.str(1));
    let parts = parts(run, &whole, &separator, -1)?;
    let parts = parts.into_iter().map(Value::string).collect();
    Ok(List::new(Element::String, parts).into())
}

/// Cuts text; the parts are counted before they are made.
fn parts<'t>(
    run: &mut Run<'_, '_>,
    whole: &'t [u8],
    separator: &[u8],
    limit: i64,
) -> std::result::Result<Vec<&'t [u8]>, Failure> {
    let count = runes::count_parts(whole, separator);
    let count = count.min(usize::try_from(limit).unwrap_or(usize::MAX));
    run.step(count)?;
    run.work(whole.len() + count * crate::run::ENTRY_SIZE)?;
    Ok(runes::split(whole, separator, limit))
}

fn join(run: &mut Run<'_, '_>, a: &[Value]) -> Result {
    let separator = a.str(0);
    let mut out = run.buffer();
    for (at, part) in to_texts(run, &a[1])?.iter().enumerate() {
        if at > 0 {
            out.write(&separator);
        }
        out.write(part);
    }
    Ok(run.finish(out)?.into())
}
