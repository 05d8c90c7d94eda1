//! Text by words: case, abbreviation, wrapping, as `goutils` and `xstrings` do it.
//!
//! Several of these look at bytes where they should look at characters, and text in manifests depends on it.

use crate::error::Failure;
use crate::run::Run;
use crate::text;
use crate::value::Str;

const ELLIPSIS: &[u8] = b"...";

/// Cuts to `width` bytes with an ellipsis, and to what lies behind `offset` when that is beyond the first four.
pub(super) fn abbreviate(whole: &[u8], offset: i64, width: i64) -> Vec<u8> {
    let Ok(width) = usize::try_from(width) else {
        return whole.to_vec();
    };
    if width < 4 || whole.len() <= width {
        return whole.to_vec();
    }
    let kept = width - ELLIPSIS.len();
    let all = i64::try_from(whole.len()).unwrap_or(i64::MAX);
    let kept_behind = i64::try_from(kept).unwrap_or(i64::MAX);
    let offset = offset.min(all).min(all - kept_behind.min(all));
    if offset <= 4 {
        return [&whole[..kept], ELLIPSIS].concat();
    }
    if width < 7 {
        return Vec::new();
    }
    let start = usize::try_from(offset).unwrap_or(0);
    if start + kept < whole.len() {
        let inner = i64::try_from(kept).unwrap_or(i64::MAX);
        return [ELLIPSIS, &abbreviate(&whole[start..], 0, inner)].concat();
    }
    [ELLIPSIS, &whole[whole.len() - kept..]].concat()
}

/// `strings.Title`: the first letter of each word in title case.
pub(super) fn title(whole: &[u8]) -> Vec<u8> {
    let mut before = ' ';
    text::map(whole, |c| {
        let changed = if is_separator(before) {
            text::to_title(c)
        } else {
            c
        };
        before = c;
        changed
    })
}

fn is_separator(c: char) -> bool {
    if c.is_ascii() {
        return !c.is_ascii_alphanumeric() && c != '_';
    }
    !text::is_letter(c) && !text::is_digit(c) && text::is_space(c)
}

/// The first letter of each word in lower case.
pub(super) fn uncapitalize(whole: &[u8]) -> Vec<u8> {
    let mut at_start = true;
    text::map(whole, |c| {
        if text::is_space(c) {
            at_start = true;
            c
        } else if std::mem::take(&mut at_start) {
            text::to_lower(c)
        } else {
            c
        }
    })
}

/// Upper and title case to lower, lower to upper but at the start of a word to title.
pub(super) fn swap_case(whole: &[u8]) -> Vec<u8> {
    let mut after_space = true;
    text::map(whole, |c| {
        if text::is_upper(c) || text::is_title(c) {
            after_space = false;
            text::to_lower(c)
        } else if text::is_lower(c) {
            if std::mem::take(&mut after_space) {
                text::to_title(c)
            } else {
                text::to_upper(c)
            }
        } else {
            after_space = text::is_space(c);
            c
        }
    })
}

/// Drops white space. Bytes beyond ASCII are taken for characters of Latin-1, as the original does.
pub(super) fn delete_white_space(whole: &[u8]) -> Vec<u8> {
    let mut kept = whole
        .iter()
        .map(|b| char::from(*b))
        .filter(|c| !text::is_space(*c));
    if kept.clone().count() == whole.len() {
        return whole.to_vec();
    }
    kept.by_ref().collect::<String>().into_bytes()
}

/// The first byte of each word, taken for a character of Latin-1.
pub(super) fn initials(whole: &[u8]) -> Vec<u8> {
    let mut out = String::new();
    let mut after_gap = true;
    for c in whole.iter().map(|b| char::from(*b)) {
        if text::is_space(c) {
            after_gap = true;
        } else if std::mem::take(&mut after_gap) {
            out.push(c);
        }
    }
    out.into_bytes()
}

/// Breaks lines at spaces so that they are no longer than `width` bytes.
pub(super) fn wrap(
    run: &mut Run<'_, '_>,
    whole: &[u8],
    width: i64,
    line_end: &[u8],
    break_words: bool,
) -> Result<Str, Failure> {
    let line_end = if line_end.is_empty() { b"\n" } else { line_end };
    let width = usize::try_from(width.max(1)).unwrap_or(usize::MAX);
    let mut out = run.buffer();
    let mut rest = whole;
    while rest.len() > width && !out.is_over() {
        if rest[0] == b' ' {
            rest = &rest[1..];
            continue;
        }
        let (line, after) = match text::rfind(&rest[..=width], b" ") {
            Some(space) => (&rest[..space], &rest[space + 1..]),
            None if break_words => rest.split_at(width),
            None => match text::find(&rest[width..], b" ") {
                Some(space) => (&rest[..width + space], &rest[width + space + 1..]),
                None => break,
            },
        };
        out.write(line);
        out.write(line_end);
        rest = after;
    }
    out.write(rest);
    run.finish(out)
}

/// `xstrings.ToPascalCase`.
pub(super) fn pascal(whole: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(whole.len());
    let mut chars = text::runes(whole).map(|(_, c, _)| c).peekable();
    // Connectors at the start are kept.
    let mut current = loop {
        let Some(c) = chars.next() else {
            return out;
        };
        if !is_connector(c) {
            break c;
        }
        if chars.peek().is_none() {
            text::push(&mut out, c);
            // The original writes a lone last connector twice.
            text::push(&mut out, c);
            return out;
        }
        text::push(&mut out, c);
    };
    let mut first_is_upper = text::is_upper(current);
    current = text::to_upper(current);
    for next in chars {
        let before = std::mem::replace(&mut current, next);
        if is_connector(next) && is_connector(before) {
            text::push(&mut out, before);
        } else if is_connector(before) {
            first_is_upper = text::is_upper(next);
            current = text::to_upper(next);
        } else {
            if first_is_upper {
                if text::is_upper(next) {
                    current = text::to_lower(next);
                } else {
                    first_is_upper = false;
                }
            }
            text::push(&mut out, before);
        }
    }
    text::push(&mut out, current);
    out
}

fn is_connector(c: char) -> bool {
    matches!(c, '-' | '_') || text::is_space(c)
}

/// `xstrings.ToSnakeCase` and `ToKebabCase`: words in lower case, joined by a connector.
pub(super) fn connected(whole: &[u8], connector: char) -> Vec<u8> {
    let mut out = Vec::with_capacity(whole.len() + 8);
    let mut words = Words { rest: whole };
    let Some(mut word) = words.next() else {
        return out;
    };
    while !words.rest.is_empty() {
        if word.kind != Kind::Connector {
            word.write(&mut out, connector);
        }
        let before = word;
        word = words.following();
        match before.kind {
            Kind::Number => {
                while matches!(word.kind, Kind::Letters | Kind::Number) {
                    word.write(&mut out, connector);
                    word = words.following();
                }
                if !matches!(
                    word.kind,
                    Kind::Invalid | Kind::Punctuation | Kind::Connector
                ) {
                    text::push(&mut out, connector);
                }
            }
            Kind::Connector => before.write(&mut out, connector),
            Kind::Punctuation => {}
            _ if word.kind != Kind::Number => {
                if !matches!(word.kind, Kind::Connector | Kind::Punctuation) {
                    text::push(&mut out, connector);
                }
            }
            _ if words.rest.is_empty() => {}
            _ => {
                let number = word;
                word = words.following();
                // A number belongs to the word before it, unless small letters follow.
                if word.kind != Kind::Letters {
                    number.write(&mut out, connector);
                    if !matches!(word.kind, Kind::Connector | Kind::Punctuation) {
                        text::push(&mut out, connector);
                    }
                    continue;
                }
                text::push(&mut out, connector);
                number.write(&mut out, connector);
                while matches!(word.kind, Kind::Letters | Kind::Number) {
                    word.write(&mut out, connector);
                    word = words.following();
                }
                if !matches!(
                    word.kind,
                    Kind::Invalid | Kind::Connector | Kind::Punctuation
                ) {
                    text::push(&mut out, connector);
                }
            }
        }
    }
    word.write(&mut out, connector);
    out
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Nothing, or bytes that are no UTF-8.
    Invalid,
    Number,
    /// It begins with a capital.
    Capital,
    Letters,
    Connector,
    Punctuation,
    Other,
}

#[derive(Clone, Copy)]
struct Word<'w> {
    kind: Kind,
    text: &'w [u8],
}

impl Word<'_> {
    fn write(self, out: &mut Vec<u8>, connector: char) {
        if !matches!(self.kind, Kind::Capital | Kind::Connector) {
            return out.extend_from_slice(self.text);
        }
        for (_, c, _) in text::runes(self.text) {
            let c = if is_connector(c) {
                connector
            } else if text::is_upper(c) {
                text::to_lower(c)
            } else {
                c
            };
            text::push(out, c);
        }
    }
}

struct Words<'w> {
    rest: &'w [u8],
}

impl<'w> Words<'w> {
    fn next(&mut self) -> Option<Word<'w>> {
        (!self.rest.is_empty()).then(|| self.following())
    }

    /// Takes the next word; an invalid empty one at the end.
    fn following(&mut self) -> Word<'w> {
        let (kind, length) = self.measure();
        let (text, rest) = self.rest.split_at(length);
        self.rest = rest;
        Word { kind, text }
    }

    fn measure(&self) -> (Kind, usize) {
        let text = self.rest;
        let (first, width) = valid_rune(text, char::REPLACEMENT_CHARACTER);
        if first == char::REPLACEMENT_CHARACTER {
            return (Kind::Invalid, width);
        }
        let run = |fits: &dyn Fn(char) -> bool| {
            let mut end = width;
            let mut last = first;
            while end < text.len() {
                let (c, width) = valid_rune(&text[end..], last);
                if !fits(c) {
                    break;
                }
                last = c;
                end += width;
            }
            end
        };
        if is_connector(first) {
            (Kind::Connector, run(&is_connector))
        } else if text::is_punct(first) {
            (Kind::Punctuation, run(&text::is_punct))
        } else if text::is_upper(first) {
            (Kind::Capital, capital_word(text, width, first))
        } else if is_alphabet(first) {
            (
                Kind::Letters,
                run(&|c| is_alphabet(c) && !text::is_upper(c)),
            )
        } else if text::is_number(first) {
            (Kind::Number, run(&text::is_number))
        } else {
            let ends =
                |c| is_connector(c) || is_alphabet(c) || text::is_number(c) || text::is_punct(c);
            (Kind::Other, run(&|c| !ends(c)))
        }
    }
}

/// The length of a word that begins with a capital: `HTTP` of `HTTPServer`, `Server` of `Server`.
fn capital_word(text: &[u8], first_width: usize, first: char) -> usize {
    let mut end = first_width;
    if end >= text.len() {
        return end;
    }
    let (second, width) = valid_rune(&text[end..], first);
    if text::is_upper(second) {
        let mut last_width = width;
        let mut last = second;
        end += width;
        while end < text.len() {
            let (c, width) = valid_rune(&text[end..], last);
            last = c;
            if !text::is_upper(c) {
                break;
            }
            last_width = width;
            end += width;
        }
        // The last capital begins the next word.
        if end < text.len() && is_alphabet(last) {
            end -= last_width;
        }
    } else if is_alphabet(second) {
        let mut last = second;
        end += width;
        while end < text.len() {
            let (c, width) = valid_rune(&text[end..], last);
            if !is_alphabet(c) || text::is_upper(c) {
                break;
            }
            last = c;
            end += width;
        }
    }
    end
}

/// The next valid character with the invalid bytes before it; without one, `before` and all bytes.
fn valid_rune(bytes: &[u8], before: char) -> (char, usize) {
    let mut size = 0;
    while size < bytes.len() {
        let (c, width) = text::decode(&bytes[size..]);
        size += width;
        if c != char::REPLACEMENT_CHARACTER {
            return (c, size);
        }
    }
    (before, size)
}

/// A letter that is no Chinese character, by the ranges of `xstrings`.
fn is_alphabet(c: char) -> bool {
    text::is_letter(c)
        && !matches!(c, '\u{4e00}'..='\u{9fcc}' | '\u{3400}'..='\u{4d85}' | '\u{20000}'..='\u{2b81d}')
}
