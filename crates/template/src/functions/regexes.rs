//! sprig: regular expressions, in Go's dialect.

use std::borrow::Cow;
use std::rc::Rc;

use selkie_goregex::GoRegex;

use super::cast::{text, typed_list};
use super::{Args as _, Entry};
use crate::error::Failure;
use crate::limits::Limit;
use crate::run::{Buffer, Run};
use crate::text as runes;
use crate::value::{Element, List, Str, Value};

pub(super) const TABLE: &[Entry] = &[
    ("regexMatch", "string string", |run, a| {
        match compiled(run, &a.str(0)) {
            Ok(regex) => matches(run, &regex, &a.str(1)),
            Err(Failure::Message(_)) => Ok(false.into()),
            Err(limit) => Err(limit),
        }
    }),
    ("mustRegexMatch", "string string", |run, a| {
        let regex = compiled(run, &a.str(0))?;
        matches(run, &regex, &a.str(1))
    }),
    ("regexFindAll", "string string int", find_all),
    ("mustRegexFindAll", "string string int", find_all),
    ("regexFind", "string string", find),
    ("mustRegexFind", "string string", find),
    ("regexReplaceAll", "string string string", |run, a| {
        replace(run, a, true)
    }),
    ("mustRegexReplaceAll", "string string string", |run, a| {
        replace(run, a, true)
    }),
    (
        "regexReplaceAllLiteral",
        "string string string",
        |run, a| replace(run, a, false),
    ),
    (
        "mustRegexReplaceAllLiteral",
        "string string string",
        |run, a| replace(run, a, false),
    ),
    ("regexSplit", "string string int", split),
    ("mustRegexSplit", "string string int", split),
    ("regexQuoteMeta", "string", |run, a| {
        let mut quoted = Vec::new();
        for byte in a.str(0).iter() {
            if br"\.+*?()|[]{}^$".contains(byte) {
                quoted.push(b'\\');
            }
            quoted.push(*byte);
        }
        text(run, quoted)
    }),
];

type Result = std::result::Result<Value, Failure>;

/// What compiling a pattern counts as, in steps.
const COMPILING: usize = 1_000;

fn compiled(run: &mut Run<'_, '_>, pattern: &Str) -> std::result::Result<Rc<GoRegex>, Failure> {
    if let Some(regex) = run.regexes.get(pattern) {
        return Ok(Rc::clone(regex));
    }
    run.step(COMPILING)?;
    run.look()?;
    let source = std::str::from_utf8(pattern)
        .map_err(|_| Failure::new("error parsing regexp: invalid UTF-8"))?;
    // The pattern may be computed from a secret, so that only the reason is told.
    let regex =
        GoRegex::with_size_limit(source, SIZE_LIMIT).map_err(|error| match error.reason {
            // Go refuses a class that does not exist; what is only too large, it takes.
            reason if error.only_here && !reason.contains("Unicode property") => {
                Limit::Pattern.into()
            }
            reason => Failure::new(format!("error parsing regexp: {reason}")),
        })?;
    let regex = Rc::new(regex);
    run.regexes.insert(pattern.clone(), Rc::clone(&regex));
    Ok(regex)
}

/// The largest compiled form of a pattern, in bytes.
const SIZE_LIMIT: usize = 1 << 20;

/// Counts a search: at the worst it takes time by the length of the text times the size of the pattern, which a counted
/// repetition makes large.
fn count(run: &mut Run<'_, '_>, regex: &GoRegex, text: &[u8]) -> std::result::Result<(), Failure> {
    let pattern = regex.as_str();
    let repeats = if pattern.contains('{') { 64 } else { 1 };
    let for_each_byte = repeats + pattern.len() / 8;
    run.step(1 + text.len().saturating_mul(for_each_byte))
}

fn matches(run: &mut Run<'_, '_>, regex: &GoRegex, whole: &[u8]) -> Result {
    count(run, regex, whole)?;
    Ok(regex.is_match_bytes(&Subject::new(whole).text).into())
}

/// The text that is searched: where bytes are no UTF-8, each is one U+FFFD, as Go takes it.
struct Subject<'t> {
    text: Cow<'t, [u8]>,
    /// For each byte of `text`, where it comes from.
    origins: Vec<usize>,
}

impl<'t> Subject<'t> {
    fn new(whole: &'t [u8]) -> Self {
        if std::str::from_utf8(whole).is_ok() {
            return Self {
                text: Cow::Borrowed(whole),
                origins: Vec::new(),
            };
        }
        let (mut text, mut origins) = (Vec::new(), Vec::new());
        for (at, c, _) in runes::runes(whole) {
            runes::push(&mut text, c);
            origins.resize(text.len(), at);
        }
        origins.push(whole.len());
        Self {
            text: Cow::Owned(text),
            origins,
        }
    }

    /// The place in the original text.
    fn origin(&self, at: usize) -> usize {
        self.origins.get(at).copied().unwrap_or(at)
    }
}

/// Finds at most `limit` matches; a negative limit means all.
fn places(
    run: &mut Run<'_, '_>,
    regex: &GoRegex,
    whole: &[u8],
    limit: i64,
) -> std::result::Result<Vec<(usize, usize)>, Failure> {
    count(run, regex, whole)?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let subject = Subject::new(whole);
    let mut found = Vec::new();
    for captures in regex.captures_iter(&subject.text).take(limit) {
        run.step(1)?;
        let whole = captures.get(0);
        found.extend(whole.map(|m| (subject.origin(m.start()), subject.origin(m.end()))));
    }
    Ok(found)
}

fn find(run: &mut Run<'_, '_>, a: &[Value]) -> Result {
    let regex = compiled(run, &a.str(0))?;
    let whole = a.str(1);
    let found = places(run, &regex, &whole, 1)?;
    let (start, end) = found.first().copied().unwrap_or_default();
    text(run, &whole[start..end])
}

fn find_all(run: &mut Run<'_, '_>, a: &[Value]) -> Result {
    let regex = compiled(run, &a.str(0))?;
    let whole = a.str(1);
    let found = places(run, &regex, &whole, a.int(2))?;
    if found.is_empty() {
        return Ok(List::nil(Element::String).into());
    }
    run.work(whole.len())?;
    let found = found
        .into_iter()
        .map(|(start, end)| Value::string(&whole[start..end]));
    typed_list(run, Element::String, found.collect())
}

fn split(run: &mut Run<'_, '_>, a: &[Value]) -> Result {
    let regex = compiled(run, &a.str(0))?;
    let (whole, limit) = (a.str(1), a.int(2));
    if limit == 0 {
        return Ok(List::nil(Element::String).into());
    }
    if !regex.as_str().is_empty() && whole.is_empty() {
        return Ok(List::strings([""]).into());
    }
    let mut parts = Vec::new();
    let (mut start, mut end) = (0, 0);
    for (from, to) in places(run, &regex, &whole, limit)? {
        if limit > 0 && super::cast::length(parts.len()) == limit - 1 {
            break;
        }
        end = from;
        if to != 0 {
            parts.push(Value::string(&whole[start..end]));
        }
        start = to;
    }
    if end != whole.len() {
        parts.push(Value::string(&whole[start..]));
    }
    run.work(whole.len())?;
    typed_list(run, Element::String, parts)
}

fn replace(run: &mut Run<'_, '_>, a: &[Value], expands: bool) -> Result {
    let regex = compiled(run, &a.str(0))?;
    let (whole, replacement) = (a.str(1), a.str(2));
    count(run, &regex, &whole)?;
    let names: Vec<Option<String>> = regex
        .group_names()
        .map(|name| name.map(str::to_owned))
        .collect();
    let mut out = run.buffer();
    let subject = Subject::new(&whole);
    let mut copied = 0;
    for captures in regex.captures_iter(&subject.text) {
        run.step(1)?;
        let group = |at: usize| {
            let group = captures.get(at)?;
            Some((subject.origin(group.start()), subject.origin(group.end())))
        };
        let Some((start, end)) = group(0) else {
            continue;
        };
        out.write(&whole[copied..start]);
        if expands {
            let group = |at: usize| group(at).map(|(start, end)| &whole[start..end]);
            expand(&mut out, &replacement, &names, &group);
        } else {
            out.write(&replacement);
        }
        copied = end;
        out.failed()?;
    }
    out.write(&whole[copied..]);
    Ok(run.finish(out)?.into())
}

/// Writes a replacement: `$1`, `${name}` and `$$`; any other dollar sign stands for itself.
fn expand<'t>(
    out: &mut Buffer,
    replacement: &[u8],
    names: &[Option<String>],
    group: &dyn Fn(usize) -> Option<&'t [u8]>,
) {
    let mut rest = replacement;
    while let Some(dollar) = rest.iter().position(|byte| *byte == b'$') {
        out.write(&rest[..dollar]);
        rest = &rest[dollar + 1..];
        if let Some(after) = rest.strip_prefix(b"$") {
            out.push(b'$');
            rest = after;
            continue;
        }
        let Some((name, after)) = reference(rest) else {
            out.push(b'$');
            continue;
        };
        rest = after;
        let number = if name.iter().all(u8::is_ascii_digit) {
            let text = std::str::from_utf8(name).unwrap_or_default();
            let leading_zero = name.len() > 1 && name[0] == b'0';
            text.parse::<usize>().ok().filter(|_| !leading_zero)
        } else {
            let named = |at: &usize| names[*at].as_ref().is_some_and(|n| n.as_bytes() == name);
            (0..names.len())
                .filter(named)
                .find(|at| group(*at).is_some())
        };
        if let Some(text) = number.and_then(group) {
            out.write(text);
        }
    }
    out.write(rest);
}

/// Reads `name` or `{name}`: the name and the rest.
fn reference(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let (inner, braced) = match text.strip_prefix(b"{") {
        Some(inner) => (inner, true),
        None => (text, false),
    };
    let is_word = |c: char| runes::is_letter(c) || runes::is_digit(c) || c == '_';
    let end = runes::runes(inner)
        .find(|(_, c, _)| !is_word(*c))
        .map_or(inner.len(), |(at, _, _)| at);
    if end == 0 {
        return None;
    }
    let (name, rest) = inner.split_at(end);
    if braced {
        return rest.strip_prefix(b"}").map(|rest| (name, rest));
    }
    Some((name, rest))
}
