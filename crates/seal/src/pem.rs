//! PEM blocks, found as leniently as Go finds them: text around them and broken blocks are skipped.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::value::decode_value;

/// One block. The contents may be a private key and are cleared on drop.
pub(crate) struct Block {
    /// The type, as in `BEGIN CERTIFICATE`.
    pub(crate) kind: String,
    /// Whether `Name: value` lines stand before the base64.
    pub(crate) has_headers: bool,
    /// What the base64 decodes to.
    pub(crate) contents: Zeroizing<Vec<u8>>,
}

/// Finds every whole block of the text, in order (RFC 7468).
pub(crate) fn blocks(text: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(kind) = marker(line, "-----BEGIN ") else {
            continue;
        };
        // Looked ahead on a copy: without its end, the next BEGIN is still to be found.
        let mut body = Zeroizing::new(String::new());
        let mut has_headers = false;
        let mut ahead = lines.clone();
        let closed = ahead.by_ref().find_map(|line| {
            if line.starts_with("-----") {
                return Some(marker(line, "-----END ") == Some(kind));
            }
            if line.contains(':') {
                has_headers = true;
            } else {
                body.push_str(line.trim());
            }
            None
        });
        if closed != Some(true) {
            continue;
        }
        lines = ahead;
        if let Ok(contents) = decode_value(&body) {
            found.push(Block {
                kind: kind.to_owned(),
                has_headers,
                contents,
            });
        }
    }
    found
}

/// Writes one block with lines of 64 characters, as Go does.
pub(crate) fn encode(kind: &str, contents: &[u8]) -> Zeroizing<String> {
    let body = Zeroizing::new(STANDARD.encode(contents));
    let mut text = Zeroizing::new(String::with_capacity(body.len() + body.len() / 64 + 80));
    text.push_str("-----BEGIN ");
    text.push_str(kind);
    text.push_str("-----\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = tail;
    }
    text.push_str("-----END ");
    text.push_str(kind);
    text.push_str("-----\n");
    text
}

fn marker<'a>(line: &'a str, start: &str) -> Option<&'a str> {
    line.trim_end().strip_prefix(start)?.strip_suffix("-----")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_found_among_other_text() {
        let text = format!(
            "noise\r\n{}-----BEGIN A-----\nbroken\n{}-----BEGIN C-----\nProc-Type: 4\n\nAAAA\n-----END C-----\n-----BEGIN D-----\n!!!!\n-----END D-----\n",
            encode("A", &[7; 100]).as_str(),
            encode("B", b"x").as_str(),
        );
        let found = blocks(&text);
        let kinds: Vec<_> = found.iter().map(|block| block.kind.as_str()).collect();
        assert_eq!(kinds, ["A", "B", "C"]);
        assert_eq!(*found[0].contents, [7; 100]);
        assert_eq!(
            found.iter().map(|b| b.has_headers).collect::<Vec<_>>(),
            [false, false, true]
        );
    }
}
