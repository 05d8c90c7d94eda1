//! Go's regular expressions (RE2 as in package `regexp`), matched by the `regex` crate.
//!
//! The dialects differ in a few places (sops-format.md 4): Go's `\d \w \s \b` are ASCII, it has
//! `\Q..\E` and octal escapes, takes `{` literally where it does not repeat, knows no class set
//! operations, and refuses `a**`. The pattern is rewritten token by token; every literal of a
//! class is written as a code point, so that nothing in it can mean something else.

use std::fmt::{self, Write as _};
use std::str::Chars;

/// A compiled pattern and its text as the user wrote it.
#[derive(Clone)]
pub struct GoRegex {
    source: String,
    compiled: regex::bytes::Regex,
    /// It has a `\B`, which also holds inside a character of several bytes.
    not_boundary: bool,
}

/// Why a pattern does not compile. The pattern is not secret and is shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the regular expression `{}` does not compile: {reason}", shown(.pattern))]
pub struct RegexError {
    /// The pattern as written.
    pub pattern: String,
    /// Why, in one line.
    pub reason: String,
    /// It may be a pattern of Go all the same: sops may be able to use it, Selkie is not.
    pub only_here: bool,
}

/// Returns a pattern for a message: one that somebody made hostile is cut.
fn shown(pattern: &str) -> String {
    match pattern.char_indices().nth(SHOWN_PATTERN) {
        Some((at, _)) => format!("{}...", &pattern[..at]),
        None => pattern.to_owned(),
    }
}

/// So many characters of a pattern are shown.
const SHOWN_PATTERN: usize = 200;
/// The longest pattern that is compiled, in bytes.
const MAX_PATTERN: usize = 64 << 10;
/// The largest compiled form, in bytes; what the crate has by default.
const SIZE_LIMIT: usize = 10 << 20;
/// The deepest nesting that Go takes (`regexp/syntax`, `maxHeight`).
const MAX_NESTING: u32 = 1000;

impl GoRegex {
    /// Compiles a pattern of Go's dialect.
    pub fn new(pattern: &str) -> Result<Self, RegexError> {
        Self::with_size_limit(pattern, SIZE_LIMIT)
    }

    /// Compiles a pattern of Go's dialect into at most so many bytes, where strangers write the pattern: the time of a
    /// search may grow with the size.
    pub fn with_size_limit(pattern: &str, size_limit: usize) -> Result<Self, RegexError> {
        let fail = |reason: String, only_here| RegexError {
            pattern: pattern.to_owned(),
            reason,
            only_here,
        };
        if pattern.len() > MAX_PATTERN {
            let reason = format!("it is longer than {MAX_PATTERN} bytes");
            return Err(fail(reason, true));
        }
        let translated = translate(pattern).map_err(|reason| fail(reason.to_owned(), false))?;
        let compiled = regex::bytes::RegexBuilder::new(&translated.text)
            .nest_limit(MAX_NESTING)
            .size_limit(size_limit)
            .build()
            .map_err(|error| fail(one_line(&error), is_limit(&error)))?;
        Ok(Self {
            source: pattern.to_owned(),
            compiled,
            not_boundary: translated.not_boundary,
        })
    }

    /// Returns whether the pattern is found anywhere in `text`.
    pub fn is_match(&self, text: &str) -> bool {
        self.is_match_bytes(text.as_bytes())
    }

    /// Returns whether the pattern is found anywhere in text that may not be UTF-8.
    pub fn is_match_bytes(&self, text: &[u8]) -> bool {
        if !self.not_boundary {
            return self.compiled.is_match(text);
        }
        // Inside a character nothing but an empty match begins: every other atom takes whole ones.
        let mut found = self.compiled.find_iter(text);
        found.any(|found| !is_inside_character(text, found.start()))
    }

    /// Finds every match that does not overlap the one before, as `FindAllSubmatchIndex` does; of text that is no UTF-8,
    /// the bytes that are none belong to no match.
    pub fn captures_iter<'r, 't>(
        &'r self,
        text: &'t [u8],
    ) -> impl Iterator<Item = regex::bytes::Captures<'t>> + use<'r, 't> {
        // Nothing but an empty match begins inside a character: every other atom takes whole ones.
        self.compiled.captures_iter(text).filter(move |captures| {
            let start = captures.get(0).map_or(0, |whole| whole.start());
            !is_inside_character(text, start)
        })
    }

    /// Returns the names of the groups, from the whole match on.
    pub fn group_names(&self) -> impl Iterator<Item = Option<&str>> {
        self.compiled.capture_names()
    }

    /// Returns the pattern as written.
    pub fn as_str(&self) -> &str {
        &self.source
    }
}

/// Whether a place is behind the first byte of a character.
fn is_inside_character(text: &[u8], at: usize) -> bool {
    let start = at.saturating_sub(3);
    (start..at).any(|first| {
        let length = match text[first] {
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            _ => return false,
        };
        let character = text.get(first..first + length);
        first + length > at && character.is_some_and(|bytes| std::str::from_utf8(bytes).is_ok())
    })
}

impl fmt::Debug for GoRegex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GoRegex({:?})", self.source)
    }
}

impl PartialEq for GoRegex {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

/// Takes the last line of the crate's message, which holds the cause without the drawing.
fn one_line(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    last.trim_start_matches("error: ").to_owned()
}

/// Whether the pattern is beyond a limit or a table of this engine, which Go may not share.
fn is_limit(error: &regex::Error) -> bool {
    match error {
        regex::Error::Syntax(text) => text.contains("nest") || text.contains("Unicode property"),
        _ => true,
    }
}

const DIGIT: &str = "0-9";
const WORD: &str = "0-9A-Za-z_";
const SPACE: &str = r"\t\n\f\r ";

/// Rewrites a pattern of Go for the `regex` crate.
fn translate(pattern: &str) -> Result<Translated, &'static str> {
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut rest = Rest::new(pattern);
    let mut not_boundary = false;
    // Go refuses an operator that directly follows another one (`a**`), Rust does not.
    let mut after_repeat = false;
    while let Some(c) = rest.next() {
        let mut repeat = false;
        match c {
            '\\' => {
                not_boundary |= rest.peek() == Some('B');
                escape(&mut rest, &mut out)?;
            }
            '[' => class(&mut rest, &mut out)?,
            '*' | '+' | '?' => {
                if after_repeat {
                    return Err("a repetition operator follows another one");
                }
                out.push(c);
                lazy(&mut rest, &mut out);
                repeat = true;
            }
            '{' => {
                if let Some(count) = counted(&rest) {
                    if after_repeat {
                        return Err("a repetition operator follows another one");
                    }
                    rest.pass_over(count.len());
                    check_count(count)?;
                    out.push('{');
                    out.push_str(count);
                    lazy(&mut rest, &mut out);
                    repeat = true;
                } else {
                    out.push_str(r"\{");
                }
            }
            '}' => out.push_str(r"\}"),
            ']' => out.push_str(r"\]"),
            '(' => {
                out.push('(');
                if rest.peek() == Some('?') {
                    group(&mut rest, &mut out)?;
                }
            }
            other => out.push(other),
        }
        after_repeat = repeat;
    }
    Ok(Translated {
        text: out,
        not_boundary,
    })
}

/// A pattern for the `regex` crate.
struct Translated {
    text: String,
    not_boundary: bool,
}

/// What is still to be read of a pattern.
#[derive(Clone)]
struct Rest<'p> {
    chars: Chars<'p>,
    /// How much is left at the last `:]` of the pattern, in bytes.
    last_class_end: Option<usize>,
}

impl<'p> Rest<'p> {
    fn new(pattern: &'p str) -> Self {
        Self {
            chars: pattern.chars(),
            last_class_end: pattern.rfind(":]").map(|at| pattern.len() - at),
        }
    }

    fn text(&self) -> &'p str {
        self.chars.as_str()
    }

    fn peek(&self) -> Option<char> {
        self.chars.clone().next()
    }

    fn next_if(&mut self, fits: impl Fn(char) -> bool) -> Option<char> {
        let next = self.peek().filter(|c| fits(*c))?;
        self.chars.next();
        Some(next)
    }

    fn next_if_eq(&mut self, wanted: char) -> Option<char> {
        self.next_if(|c| c == wanted)
    }

    fn pass_over(&mut self, bytes: usize) {
        self.chars = self.text()[bytes..].chars();
    }
}

impl Iterator for Rest<'_> {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        self.chars.next()
    }
}

fn lazy(rest: &mut Rest<'_>, out: &mut String) {
    if rest.next_if_eq('?').is_some() {
        out.push('?');
    }
}

/// Returns the text up to and with `}` when it is a repeat count: `n}`, `n,}`, `n,m}`, without
/// leading zeros, as Go reads it. Looks no further than such a count could reach.
fn counted<'p>(rest: &Rest<'p>) -> Option<&'p str> {
    let text = rest.text();
    let is_count = |c: char| c.is_ascii_digit() || c == ',';
    let end = text.find(|c| !is_count(c))?;
    if !text[end..].starts_with('}') {
        return None;
    }
    let (low, high) = text[..end].split_once(',').unwrap_or((&text[..end], ""));
    let number =
        |s: &str| s.bytes().all(|b| b.is_ascii_digit()) && (s.len() < 2 || !s.starts_with('0'));
    (!low.is_empty() && number(low) && number(high)).then(|| &text[..=end])
}

fn check_count(count: &str) -> Result<(), &'static str> {
    let numbers = count.trim_end_matches('}').split(',');
    for number in numbers.filter(|n| !n.is_empty()) {
        if number.parse::<u32>().is_ok_and(|n| n <= 1000) {
            continue;
        }
        return Err("a repeat count is above 1000");
    }
    Ok(())
}

/// Copies `?:`, `?P<name>`, `?<name>` and `?flags`; the flags x, R and u are not Go's.
fn group(rest: &mut Rest<'_>, out: &mut String) -> Result<(), &'static str> {
    out.push('?');
    rest.next();
    if matches!(rest.peek(), Some('P' | '<')) {
        let name = rest.text().trim_start_matches('P').trim_start_matches('<');
        let end = name.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        // The crate would take letters of any script.
        if end.is_some_and(|end| end == 0 || !name[end..].starts_with('>')) {
            return Err("a group has an invalid name");
        }
        return Ok(());
    }
    while let Some(c) = rest.next_if(|c| !matches!(c, ':' | ')')) {
        if !matches!(c, 'i' | 'm' | 's' | 'U' | '-') {
            return Err("a group starts with `(?` and an unknown flag");
        }
        out.push(c);
    }
    Ok(())
}

/// Rewrites an escape outside a class; the backslash is consumed.
fn escape(rest: &mut Rest<'_>, out: &mut String) -> Result<(), &'static str> {
    match rest.peek() {
        None => return Err("it ends in a backslash"),
        Some('b') => out.push_str(r"(?-u:\b)"),
        Some('B') => out.push_str(r"(?-u:\B)"),
        Some('A') => out.push_str(r"\A"),
        Some('z') => out.push_str(r"\z"),
        Some('Q') => {
            rest.next();
            quoted(rest, out);
            return Ok(());
        }
        // A lone \E is dropped, as Go drops it.
        Some('E') => {}
        Some('d') => bracketed(out, "[", DIGIT),
        Some('D') => bracketed(out, "[^", DIGIT),
        Some('w') => bracketed(out, "[", WORD),
        Some('W') => bracketed(out, "[^", WORD),
        Some('s') => bracketed(out, "[", SPACE),
        Some('S') => bracketed(out, "[^", SPACE),
        Some('p' | 'P') => return property(rest, out),
        Some(_) => {
            let c = literal_escape(rest)?;
            push_literal(out, c);
            return Ok(());
        }
    }
    rest.next();
    Ok(())
}

fn bracketed(out: &mut String, open: &str, set: &str) {
    out.push_str(open);
    out.push_str(set);
    out.push(']');
}

/// Copies the text between `\Q` and `\E` as literals.
fn quoted(rest: &mut Rest<'_>, out: &mut String) {
    while let Some(c) = rest.next() {
        if c == '\\' && rest.next_if_eq('E').is_some() {
            return;
        }
        push_literal(out, c);
    }
}

fn push_literal(out: &mut String, c: char) {
    if c.is_ascii_alphanumeric() {
        out.push(c);
    } else {
        // Writing to a String does not fail.
        let _ = write!(out, r"\x{{{:x}}}", c as u32);
    }
}

/// Copies `\pN`, `\p{Name}`; `\p{^Name}` is the negation, which only Go spells so.
fn property(rest: &mut Rest<'_>, out: &mut String) -> Result<(), &'static str> {
    let mut negated = rest.next() == Some('P');
    let mut name = String::new();
    match rest.next() {
        Some('{') => {
            let end = rest.text().find('}').ok_or("a `\\p{` is not closed")?;
            name.push_str(&rest.text()[..end]);
            rest.pass_over(end + 1);
            if let Some(inner) = name.strip_prefix('^') {
                negated = !negated;
                name = inner.to_owned();
            }
        }
        Some(c) => name.push(c),
        None => {}
    }
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Err("a Unicode class has no name");
    }
    let letter = if negated { 'P' } else { 'p' };
    let _ = write!(out, r"\{letter}{{{name}}}");
    Ok(())
}

/// Reads an escape that stands for one character; the backslash is consumed.
fn literal_escape(rest: &mut Rest<'_>) -> Result<char, &'static str> {
    let invalid = "it has an escape that is not known";
    let c = rest.next().ok_or("it ends in a backslash")?;
    let code = match c {
        'a' => 0x07,
        'f' => 0x0c,
        't' => 0x09,
        'n' => 0x0a,
        'r' => 0x0d,
        'v' => 0x0b,
        // A single digit but 0 would be a back-reference, which Go refuses.
        '1'..='7' if !rest.peek().is_some_and(|d| ('0'..='7').contains(&d)) => return Err(invalid),
        '0'..='7' => {
            let mut value = c as u32 - '0' as u32;
            for _ in 0..2 {
                let Some(d) = rest.next_if(|d| ('0'..='7').contains(&d)) else {
                    break;
                };
                value = value * 8 + (d as u32 - '0' as u32);
            }
            value
        }
        'x' => {
            let digits: String = if rest.next_if_eq('{').is_some() {
                rest.by_ref().take_while(|d| *d != '}').collect()
            } else {
                rest.by_ref().take(2).collect()
            };
            u32::from_str_radix(&digits, 16).map_err(|_| invalid)?
        }
        c if c.is_ascii() && !c.is_ascii_alphanumeric() => c as u32,
        _ => return Err(invalid),
    };
    char::from_u32(code).ok_or(invalid)
}

/// Rewrites a class; the `[` is consumed.
fn class(rest: &mut Rest<'_>, out: &mut String) -> Result<(), &'static str> {
    let open = "a `[` is not closed";
    out.push('[');
    if rest.next_if_eq('^').is_some() {
        out.push('^');
    }
    let mut first = true;
    loop {
        let c = rest.peek().ok_or(open)?;
        if c == ']' && !first {
            rest.next();
            out.push(']');
            return Ok(());
        }
        first = false;
        if c == '[' && posix_class(rest, out)? {
            continue;
        }
        if c == '\\' && class_escape(rest, out)? {
            continue;
        }
        let low = class_char(rest)?;
        let mut ahead = rest.clone();
        let is_range = ahead.next() == Some('-') && ahead.next().is_some_and(|c| c != ']');
        if !is_range {
            push_literal(out, low);
            continue;
        }
        rest.next();
        let high = class_char(rest)?;
        if high < low {
            return Err("a range of a class runs backwards");
        }
        push_literal(out, low);
        out.push('-');
        push_literal(out, high);
    }
}

/// Copies `[:name:]`, which is ASCII in both dialects; returns whether there was one.
fn posix_class(rest: &mut Rest<'_>, out: &mut String) -> Result<bool, &'static str> {
    let text = rest.text();
    let Some(inner) = text.strip_prefix("[:") else {
        return Ok(false);
    };
    // Without a `:]` anywhere behind it, Go takes the `[` for itself.
    if rest.last_class_end.is_none_or(|left| left > inner.len()) {
        return Ok(false);
    }
    let is_name = |c: char| c == '^' || c.is_ascii_lowercase();
    let name = &inner[..inner.find(|c| !is_name(c)).unwrap_or(inner.len())];
    let known = CLASSES.contains(&name.strip_prefix('^').unwrap_or(name));
    if !known || !inner[name.len()..].starts_with(":]") {
        return Err("a class name between `[:` and `:]` is not known");
    }
    let _ = write!(out, "[:{name}:]");
    rest.pass_over(name.len() + 4);
    Ok(true)
}

/// The classes that Go knows between `[:` and `:]`.
const CLASSES: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct",
    "space", "upper", "word", "xdigit",
];

/// Rewrites `\d`, `\pN` and their like inside a class; returns whether there was one.
fn class_escape(rest: &mut Rest<'_>, out: &mut String) -> Result<bool, &'static str> {
    let mut ahead = rest.clone();
    ahead.next();
    let set = match ahead.peek() {
        Some('d') => DIGIT,
        Some('w') => WORD,
        Some('s') => SPACE,
        Some(negated @ ('D' | 'W' | 'S')) => {
            let set = match negated {
                'D' => DIGIT,
                'W' => WORD,
                _ => SPACE,
            };
            bracketed(out, "[^", set);
            rest.by_ref().take(2).for_each(drop);
            return Ok(true);
        }
        Some('p' | 'P') => {
            rest.next();
            property(rest, out)?;
            return Ok(true);
        }
        _ => return Ok(false),
    };
    out.push_str(set);
    rest.by_ref().take(2).for_each(drop);
    Ok(true)
}

fn class_char(rest: &mut Rest<'_>) -> Result<char, &'static str> {
    match rest.next() {
        Some('\\') => literal_escape(rest),
        Some(c) => Ok(c),
        None => Err("a `[` is not closed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pattern, text, whether Go finds it. The third column was printed by Go's `regexp`.
    const CASES: &[(&str, &str, bool)] = &[
        ("^(data|stringData)$", "data", true),
        ("^(data|stringData)$", "metadata", false),
        ("pass", "my_password", true),
        ("pass", "PASS", false),
        ("(?i)pass", "PASS", true),
        (r"^\d+$", "٣", false),
        (r"^\d+$", "3", true),
        (r"^\w$", "é", false),
        (r"\bkey\b", "a-key-b", true),
        (r"\bkey\b", "ékeyé", true),
        (r"^\S$", "\u{a0}", true),
        (r"\Qa.b\E$", "a.b", true),
        (r"\Qa.b\E$", "axb", false),
        ("[a&&b]", "&", true),
        ("[+--b]", ",", true),
        ("[a~~b]", "~", true),
        ("[[]", "[", true),
        ("[]a]", "]", true),
        ("[^]a]", "]", false),
        ("[[:alpha:]_]+$", "ab_", true),
        ("[[:alpha:]]", "é", false),
        ("a{", "a{", true),
        ("a{,3}", "a{,3}", true),
        ("^a{2,3}$", "aaa", true),
        ("^a{2}$", "aaa", false),
        (r"\101", "A", true),
        (r"\x41\x{42}", "AB", true),
        (r"\<a\>", "<a>", true),
        (r"^[\w.-]+$", "a.b-c", true),
        (r"^[^\d]+$", "ab", true),
        (r"^[\D]$", "x", true),
        (r"\p{Greek}", "α", true),
        (r"\p{^Greek}", "α", false),
        (r"\pL", "é", true),
        ("a$", "a\n", false),
        ("(?P<n>x)y", "xy", true),
        ("}", "}", true),
        (r"^#\!\-\_$", "#!-_", true),
        ("^.$", "\n", false),
        (r"\Bass", "pass", true),
        (r"\Bass", "ass", false),
        (r"\Bass", "éass", false),
        (r"ass\B", "assé", false),
        (r"\Bé", "é", true),
        (r"^\B$", "", true),
        (r"\B", "aéb", false),
        (r"\B", "aéé", true),
        (r"^(x|\B)+", "é", true),
        ("^a{01}$", "a{01}", true),
        ("[[:x]+", "[:", true),
    ];

    #[test]
    fn patterns_find_what_go_finds() {
        for (pattern, text, found) in CASES {
            let regex = GoRegex::new(pattern).unwrap();
            assert_eq!(regex.is_match(text), *found, "{pattern} in {text}");
        }
    }

    #[test]
    fn what_go_refuses_is_refused() {
        for pattern in [
            "(",
            "[",
            "a**",
            "a+{2}",
            "*",
            r"\",
            r"\1",
            r"\y",
            "(?x)a",
            "[b-a]",
            "a{1001}",
            "[a",
            r"[\b]",
            "(?=a)",
            ")",
            r"\p{}",
            r"\p{L",
            "[[:nope:]]",
            "[[:x y:]]",
        ] {
            let error = GoRegex::new(pattern).unwrap_err();
            assert_eq!(error.pattern, pattern);
            assert!(
                !error.reason.is_empty() && !error.reason.contains('\n'),
                "{error}"
            );
            assert!(!error.only_here, "{error}");
        }
    }

    #[test]
    fn what_only_this_engine_refuses_is_told_apart() {
        let long = "a".repeat(MAX_PATTERN + 1);
        let deep = format!("{}a{}", "(".repeat(1_001), ")".repeat(1_001));
        for pattern in [
            r"\pL{1000}\pL{1000}\pL{1000}",
            r"\p{Nonsense}",
            &long,
            &deep,
        ] {
            let error = GoRegex::new(pattern).unwrap_err();
            assert!(error.only_here, "{error}");
            assert!(error.to_string().len() < 1_000);
        }
        let deep = format!("{}a{}", "(".repeat(900), ")".repeat(900));
        assert!(GoRegex::new(&deep).unwrap().is_match("xa"));
    }

    /// Each of these took time that grew with the square of the length.
    #[test]
    fn hostile_patterns_take_linear_time() {
        let start = std::time::Instant::now();
        for part in ["{", "{1", "[[:", "[[:a", r"\p{", "[a{"] {
            let pattern = part.repeat(MAX_PATTERN / part.len());
            let _ = GoRegex::new(&pattern);
        }
        assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
    }
}
