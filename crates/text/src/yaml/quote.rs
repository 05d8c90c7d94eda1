//! How a text is written in one line so that it reads back as the same string: the rules of
//! go-yaml's emitter (emitterc.go, `yaml_emitter_analyze_scalar`; sops-format.md 11.5).

use super::chars::{first_forbidden, is_blank, ordinary_run};
use super::resolve::resolve_plain;
use super::{Kind, Limits, Scalar, Style};

/// Where a scalar stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// The document itself.
    Root,
    /// A key or value of a block mapping.
    Entry,
    /// An item of a block sequence.
    Item,
    /// Within brackets or braces.
    Flow,
}

/// What go-yaml's emitter allows for a text.
struct Analysis {
    plain_in_block: bool,
    plain_in_flow: bool,
    single_quoted: bool,
    block: bool,
}

/// go-yaml's canonical style in one line: plain, single-quoted or double-quoted.
pub(super) fn canonical(text: &str, flow: bool) -> String {
    let analysis = analyze(text);
    let is_string = matches!(resolve_plain(text), Scalar::Str(_));
    // go-yaml leaves the other line breaks raw in single quotes; escaped they stay what they are when
    // the text is written again.
    let breaks = text.contains(['\n', '\u{85}', '\u{2028}', '\u{2029}']);
    if !is_string || breaks || is_old_word(text) {
        return double_quoted(text);
    }
    if if flow {
        analysis.plain_in_flow
    } else {
        analysis.plain_in_block
    } {
        text.to_owned()
    } else if analysis.single_quoted {
        single_quoted(text)
    } else {
        double_quoted(text)
    }
}

/// Whether go-yaml's encoder writes the text as a literal block.
pub(super) fn literal_allowed(text: &str) -> bool {
    text.contains('\n') && !text.contains(['\u{85}', '\u{2028}', '\u{2029}']) && analyze(text).block
}

/// Whether the text, written without quotes at this place, reads back as this string. Says so by
/// reading it. `tagged`: an explicit tag makes any plain text a string.
pub(super) fn reads_back_plain(text: &str, place: Place, tagged: bool) -> bool {
    if text.is_empty() || text.contains(['\n', '\r']) {
        return false;
    }
    if !tagged && !matches!(resolve_plain(text), Scalar::Str(_) | Scalar::Merge) {
        return false;
    }
    if is_plainly_plain(text.as_bytes(), place) {
        return true;
    }
    let (before, after) = match place {
        Place::Root => ("--- ", "\n"),
        Place::Entry => ("k: ", "\n"),
        Place::Item => ("- ", "\n"),
        Place::Flow => ("[", "]\n"),
    };
    let source = format!("{before}{text}{after}");
    let Ok(stream) = super::parse(&source, &Limits::default()) else {
        return false;
    };
    let [document] = stream.documents() else {
        return false;
    };
    let root = stream.node(document.content);
    let scalar = match (place, &root.children[..]) {
        (Place::Root, _) => root,
        (Place::Entry, [_, value]) => stream.node(*value),
        (Place::Item | Place::Flow, [item]) => stream.node(*item),
        _ => return false,
    };
    scalar.kind == Kind::Scalar
        && scalar.style == Style::Plain
        && scalar.properties.is_none()
        && scalar.value == text
}

/// The common case, told without reading the text back: printable ASCII that begins with a letter,
/// without anything that ends a plain scalar.
fn is_plainly_plain(bytes: &[u8], place: Place) -> bool {
    let flow = place == Place::Flow;
    let ends = |at: usize| matches!(bytes.get(at), None | Some(b' '));
    if !bytes[0].is_ascii_alphabetic() || bytes.ends_with(b" ") {
        return false;
    }
    let mut at = 0;
    loop {
        at += ordinary_run(&bytes[at..]);
        let Some(&b) = bytes.get(at) else { return true };
        let allowed = match b {
            b'#' => bytes[at - 1] != b' ',
            b':' => !flow && !ends(at + 1),
            b',' | b'?' | b'[' | b']' | b'{' | b'}' => !flow,
            _ => b == b' ',
        };
        if !allowed {
            return false;
        }
        at += 1;
    }
}

/// Whether the text can be in single quotes on one line.
pub(super) fn single_quotes_allowed(text: &str) -> bool {
    !needs_escapes(text)
}

pub(super) fn single_quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// In double quotes, without escapes where none is needed, else with go-yaml's escapes.
pub(super) fn double_quoted(text: &str) -> String {
    if needs_escapes(text) || text.contains(['"', '\\']) {
        escaped(text)
    } else {
        format!("\"{text}\"")
    }
}

/// As JSON writes it, which is YAML too.
pub(super) fn json_quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            ' '..='~' | '\u{a0}'..='\u{2027}' | '\u{202a}'..='\u{fefe}' => quoted.push(c),
            '\u{ff00}'..='\u{fffd}' | '\u{10000}'.. => quoted.push(c),
            _ => quoted.push_str(&format!("\\u{:04x}", c as u32)),
        }
    }
    quoted.push('"');
    quoted
}

fn escaped(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '\0' => quoted.push_str("\\0"),
            '\x07' => quoted.push_str("\\a"),
            '\x08' => quoted.push_str("\\b"),
            '\t' => quoted.push_str("\\t"),
            '\n' => quoted.push_str("\\n"),
            '\x0b' => quoted.push_str("\\v"),
            '\x0c' => quoted.push_str("\\f"),
            '\r' => quoted.push_str("\\r"),
            '\x1b' => quoted.push_str("\\e"),
            '"' | '\\' => quoted.extend(['\\', c]),
            '\u{85}' => quoted.push_str("\\N"),
            '\u{2028}' => quoted.push_str("\\L"),
            '\u{2029}' => quoted.push_str("\\P"),
            ' '..='~' => quoted.push(c),
            '\0'..='\u{9f}' => quoted.push_str(&format!("\\x{:02X}", c as u32)),
            '\u{feff}' | '\u{fffe}' | '\u{ffff}' => {
                quoted.push_str(&format!("\\u{:04X}", c as u32));
            }
            _ => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Whether something in the text cannot stand raw between quotes on one line.
fn needs_escapes(text: &str) -> bool {
    text.contains(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}', '\u{feff}'])
        || first_forbidden(text).is_some()
}

fn is_old_bool(text: &str) -> bool {
    matches!(
        text,
        "y" | "Y"
            | "yes"
            | "Yes"
            | "YES"
            | "on"
            | "On"
            | "ON"
            | "n"
            | "N"
            | "no"
            | "No"
            | "NO"
            | "off"
            | "Off"
            | "OFF"
    )
}

/// Returns whether a text is a string to go-yaml, yet a boolean or a base-60 number to readers of
/// YAML 1.1, so that go-yaml's encoder puts it in quotes (sops-format.md 11.5).
#[must_use]
pub fn is_old_word(text: &str) -> bool {
    is_old_bool(text) || is_base_60(text)
}

/// `^[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?$`
fn is_base_60(text: &str) -> bool {
    let text = text.strip_prefix(['-', '+']).unwrap_or(text);
    let mut parts = text.split(':');
    let first = parts.next().unwrap_or_default();
    if !first.starts_with(|c: char| c.is_ascii_digit())
        || !first.bytes().all(|b| b.is_ascii_digit() || b == b'_')
    {
        return false;
    }
    let rest: Vec<&str> = parts.collect();
    let Some((last, middle)) = rest.split_last() else {
        return false;
    };
    let sixtieth = |part: &str| match part.as_bytes() {
        [one] => one.is_ascii_digit(),
        [ten, one] => matches!(ten, b'0'..=b'5') && one.is_ascii_digit(),
        _ => false,
    };
    let (last, fraction) = last.split_once('.').unwrap_or((last, ""));
    middle.iter().all(|part| sixtieth(part))
        && sixtieth(last)
        && fraction.bytes().all(|b| b.is_ascii_digit() || b == b'_')
}

fn analyze(text: &str) -> Analysis {
    if text.is_empty() {
        return Analysis {
            plain_in_block: true,
            plain_in_flow: false,
            single_quoted: true,
            block: false,
        };
    }
    let mut block_indicator = text.starts_with("---") || text.starts_with("...");
    let mut flow_indicator = block_indicator;
    let (mut line_break, mut special, mut tab) = (false, false, false);
    let (mut break_space, mut space_break) = (false, false);
    let (mut previous_space, mut previous_break, mut preceded) = (false, false, true);
    let mut chars = text.chars().peekable();
    let mut first = true;
    while let Some(c) = chars.next() {
        let followed = chars.peek().is_none_or(|next| matches!(next, ' ' | '\t'));
        match c {
            '#' | ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%'
            | '@' | '`'
                if first =>
            {
                (flow_indicator, block_indicator) = (true, true);
            }
            ',' | '?' | '[' | ']' | '{' | '}' if !(first && c == '?') => flow_indicator = true,
            '?' | ':' => {
                flow_indicator = true;
                block_indicator |= followed;
            }
            '-' if first && followed => (flow_indicator, block_indicator) = (true, true),
            '#' if preceded => (flow_indicator, block_indicator) = (true, true),
            _ => {}
        }
        tab |= c == '\t';
        special |= c != '\t' && !is_printable(c);
        let is_break = matches!(c, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}');
        if c == ' ' {
            break_space |= previous_break;
        } else if is_break {
            line_break = true;
            space_break |= previous_space;
        }
        previous_space = c == ' ';
        previous_break = is_break;
        preceded = is_break || c.is_ascii() && is_blank(c as u8);
        first = false;
    }
    let edge = |c: Option<char>| {
        c.is_some_and(|c| matches!(c, ' ' | '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}'))
    };
    let at_edge = edge(text.chars().next()) || edge(text.chars().next_back());
    let quoted_only = at_edge || break_space || space_break || tab || special || line_break;
    Analysis {
        plain_in_block: !quoted_only && !block_indicator,
        plain_in_flow: !quoted_only && !flow_indicator,
        single_quoted: !(break_space || space_break || tab || special),
        block: !(text.ends_with(' ') || space_break || special),
    }
}

/// yamlprivateh.go, `is_printable`: characters beyond the basic plane are not.
fn is_printable(c: char) -> bool {
    matches!(c, '\n' | ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}')
        && c != '\u{feff}'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_style_is_go_yamls() {
        for (text, written) in [
            ("", "\"\""),
            ("a b", "a b"),
            ("yes", "\"yes\""),
            ("12", "\"12\""),
            ("12:30:45", "\"12:30:45\""),
            ("12:60", "12:60"),
            ("a: b", "'a: b'"),
            ("a #b", "'a #b'"),
            ("- a", "'- a'"),
            ("-a", "-a"),
            ("it's", "it's"),
            ("'a", "'''a'"),
            (" a", "' a'"),
            ("a\tb", "\"a\tb\""),
            ("---x", "'---x'"),
            ("a\u{7}", "\"a\\a\""),
            ("a\u{85}b\u{2028}c\u{2029}", "\"a\\Nb\\Lc\\P\""),
        ] {
            assert_eq!(canonical(text, false), written);
        }
        assert_eq!(canonical("a,b", true), "'a,b'");
        assert_eq!(canonical("a,b", false), "a,b");
    }
}
