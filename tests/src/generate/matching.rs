//! Holds an output against the pieces of its source.

use std::error::Error;
use std::fmt;

use super::{Case, Piece, Role};

const CIPHERTEXT: &str = "ENC[AES256_GCM,data:";

/// Where an output leaves its source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The 1-based line of the output, metadata not counted.
    pub line: usize,
    /// The piece that did not match and its role.
    pub expected: String,
    /// What stands there.
    pub found: String,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "line {}: expected {}, found {:?}",
            self.line, self.expected, self.found
        )
    }
}

impl Error for Mismatch {}

/// Returns the text without the `sops:` blocks of block mappings, each from its key to the last line that is indented deeper, and
/// without the metadata that we put at the end of a flow mapping.
pub fn without_metadata(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut inside = None;
    for line in text.split_inclusive('\n') {
        let flow = line
            .split_once(", \"sops\": {")
            .and_then(|(before, metadata)| {
                let (_, after) = metadata.split_once("\"version\": '3.13.3'}")?;
                Some(format!("{before}{after}"))
            });
        let line = flow.as_deref().unwrap_or(line);
        let indent = line.len() - line.trim_start_matches(' ').len();
        if line.trim() == "sops:" || line.starts_with("sops: #") {
            inside = Some(indent);
        } else if inside.is_none_or(|outer| indent <= outer) {
            inside = None;
            kept.push_str(line);
        }
    }
    kept
}

pub(super) fn encrypted(case: &Case, encrypted: &str) -> Result<(), Mismatch> {
    let mut rest = without_metadata(encrypted);
    if !case.source().ends_with('\n') && rest.ends_with('\n') {
        rest.truncate(rest.trim_end_matches(['\r', '\n']).len());
    }
    run(&case.pieces, &rest, ends_encrypted)
}

pub(super) fn decrypted(case: &Case, decrypted: &str) -> Result<(), Mismatch> {
    run(&case.pieces, decrypted, ends_decrypted)
}

/// Says where a piece may end that starts at the front of the text.
type Ends = fn(&Piece, &str) -> Vec<usize>;

/// Matches all pieces in order; remembers dead ends, so that the work is bounded by pieces times bytes.
fn run(pieces: &[Piece], text: &str, ends: Ends) -> Result<(), Mismatch> {
    let mut furthest = (0, 0);
    let mut dead = std::collections::HashSet::new();
    let mut stack = vec![(0, 0)];
    while let Some((index, at)) = stack.pop() {
        if (index, at) > furthest {
            furthest = (index, at);
        }
        if index == pieces.len() {
            if at == text.len() {
                return Ok(());
            }
            continue;
        }
        if !dead.insert((index, at)) {
            continue;
        }
        let piece = &pieces[index];
        let mut candidates = if piece.role == Role::Loose {
            loose_ends(pieces.get(index + 1), &text[at..])
        } else {
            ends(piece, &text[at..])
        };
        candidates.reverse();
        stack.extend(candidates.into_iter().map(|end| (index + 1, at + end)));
    }
    let (index, at) = furthest;
    let expected = match pieces.get(index) {
        Some(piece) => format!("{:?} {:?}", piece.role, excerpt(&piece.text)),
        None => "the end".to_owned(),
    };
    let line = text[..at].matches('\n').count() + 1;
    Err(Mismatch {
        line,
        expected,
        found: excerpt(&text[at..]),
    })
}

fn ends_encrypted(piece: &Piece, text: &str) -> Vec<usize> {
    match piece.role {
        Role::Fixed => literally(&piece.text, text),
        Role::Leaf { quoted, .. } => {
            let quote = piece
                .text
                .chars()
                .next()
                .filter(|c| matches!(c, '"' | '\''));
            match quote {
                Some(quote) => in_quotes(quote, text),
                None => {
                    let mut ends: Vec<usize> = ciphertext(text).into_iter().collect();
                    if quoted {
                        ends.extend(once_plain(text));
                    }
                    ends
                }
            }
        }
        Role::Block { .. } => block(text),
        Role::Maybe { .. } => {
            let mut ends = literally(&piece.text, text);
            ends.extend(ciphertext(text));
            ends.extend(in_quotes('"', text));
            ends.extend(in_quotes('\'', text));
            ends.extend(once_plain(text));
            ends.extend(block(text));
            ends
        }
        Role::Loose => Vec::new(),
    }
}

fn ends_decrypted(piece: &Piece, text: &str) -> Vec<usize> {
    match piece.role {
        Role::Fixed => literally(&piece.text, text),
        Role::Leaf { exact, .. } | Role::Block { exact } | Role::Maybe { exact } => {
            if exact {
                literally(&piece.text, text)
            } else {
                // A canonical form stands on one line, of a like length.
                let line = text.find(['\n', '\r']).unwrap_or(text.len());
                (1..=line)
                    .filter(|&end| text.is_char_boundary(end))
                    .collect()
            }
        }
        Role::Loose => Vec::new(),
    }
}

fn literally(expected: &str, text: &str) -> Vec<usize> {
    if text.starts_with(expected) {
        vec![expected.len()]
    } else {
        Vec::new()
    }
}

/// Returns the end of one `ENC[...]` at the front of the text. Nothing in it can be a `]` but its end.
fn ciphertext(text: &str) -> Option<usize> {
    if !text.starts_with(CIPHERTEXT) {
        return None;
    }
    let end = text.find([']', '\n', ' ', '\\'])?;
    text[end..].starts_with(']').then_some(end + 1)
}

/// The last character of ciphertext that was plain inside a flow collection (0003-sops-layout.md).
const ESCAPED_END: &str = "\\x5D";

fn in_quotes(quote: char, text: &str) -> Vec<usize> {
    let inner = text.strip_prefix(quote).and_then(ciphertext);
    inner
        .filter(|&end| text[1 + end..].starts_with(quote))
        .map(|end| end + 2)
        .into_iter()
        .collect()
}

fn once_plain(text: &str) -> Option<usize> {
    let inner = text
        .strip_prefix('"')
        .filter(|inner| inner.starts_with(CIPHERTEXT))?;
    let end = inner.find([']', '\n', ' ', '\\'])?;
    let rest = inner[end..].strip_prefix(ESCAPED_END)?;
    rest.starts_with('"')
        .then_some(1 + end + ESCAPED_END.len() + 1)
}

fn block(text: &str) -> Vec<usize> {
    let start = text.len() - text.trim_start_matches([' ', '\n', '\r']).len();
    let Some(end) = ciphertext(&text[start..]) else {
        return Vec::new();
    };
    let tail = &text[start + end..];
    let blank = tail.len() - tail.trim_start_matches(['\n', '\r']).len();
    (0..=blank).map(|extra| start + end + extra).collect()
}

/// Returns every place where the next piece could begin.
fn loose_ends(next: Option<&Piece>, text: &str) -> Vec<usize> {
    match next {
        None => vec![text.len()],
        Some(Piece {
            text: fixed,
            role: Role::Fixed,
        }) => text
            .match_indices(fixed.as_str())
            .map(|(at, _)| at)
            .collect(),
        Some(_) => (0..=text.len().min(4000))
            .filter(|&at| text.is_char_boundary(at))
            .collect(),
    }
}

fn excerpt(text: &str) -> String {
    text.chars().take(120).collect()
}

#[cfg(test)]
mod tests {
    use super::super::Rule;
    use super::*;

    fn case(pieces: &[(&str, Role)]) -> Case {
        let pieces = pieces
            .iter()
            .map(|(text, role)| Piece {
                text: (*text).to_owned(),
                role: *role,
            })
            .collect();
        Case {
            seed: 0,
            rule: Rule::Default,
            mac_only_encrypted: false,
            pieces,
            comments: Vec::new(),
        }
    }

    const LEAF: Role = Role::Leaf {
        quoted: false,
        exact: true,
    };

    #[test]
    fn accepts_a_ciphertext_in_the_place_of_a_leaf() {
        let case = case(&[("a: ", Role::Fixed), ("'x'", LEAF), (" # c\n", Role::Fixed)]);
        let text =
            "a: 'ENC[AES256_GCM,data:eA==,iv:aQ==,tag:dA==,type:str]' # c\nsops:\n    mac: x\n";
        assert_eq!(case.check_encrypted(text), Ok(()));
        assert_eq!(case.check_decrypted("a: 'x' # c\n"), Ok(()));
    }

    #[test]
    fn refuses_a_leaf_left_clear_a_quote_lost_and_a_changed_comment() {
        let case = case(&[("a: ", Role::Fixed), ("'x'", LEAF), (" # c\n", Role::Fixed)]);
        for text in [
            "a: 'x' # c\n",
            "a: ENC[AES256_GCM,data:eA==,iv:aQ==,tag:dA==,type:str] # c\n",
            "a: 'ENC[AES256_GCM,data:eA==,iv:aQ==,tag:dA==,type:str]' # d\n",
            "a: 'ENC[AES256_GCM,data:eA==,iv:aQ==,tag:dA==,type:str]' # c\nb: 1\n",
        ] {
            assert!(case.check_encrypted(text).is_err(), "{text}");
        }
        assert!(case.check_decrypted("a: \"x\" # c\n").is_err());
    }

    #[test]
    fn finds_its_way_back_after_loose_text() {
        let case = case(&[
            ("a: ", Role::Fixed),
            ("*x", Role::Loose),
            ("\nb: ", Role::Fixed),
            ("1", LEAF),
            ("\n", Role::Fixed),
        ]);
        let text = "a: \n    b: y\n\nb: ENC[AES256_GCM,data:eA==,iv:aQ==,tag:dA==,type:int]\n";
        assert_eq!(case.check_encrypted(text), Ok(()));
    }
}
