//! The text of a sealed value: standard base64 as Go decodes it (sealed-secrets.md 1).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// Text that is not base64. Says where, never what stands there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("illegal base64 data at input byte {position}")]
pub struct Base64Error {
    /// Offset of the offending byte from the start of the text, as Go counts it.
    pub position: usize,
}

/// Encodes bytes as `spec.encryptedData` holds them: padded, in one line.
pub fn encode_value(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Decodes base64 with the tolerance of Go's standard encoding: CR and LF anywhere are skipped and
/// trailing bits ignored; padding is required; blanks and the URL alphabet are errors.
///
/// Fails with the position that Go would name. Serves a Secret's `data` too, so the result is
/// cleared on drop.
pub fn decode_value(text: &str) -> Result<Zeroizing<Vec<u8>>, Base64Error> {
    let bytes = text.as_bytes();
    let mut decoded = Zeroizing::new(Vec::with_capacity(bytes.len() / 4 * 3 + 3));
    let mut symbols = Symbols { bytes, at: 0 };
    let mut group = Zeroizing::new([0_u8; 4]);
    let mut filled = 0;
    while let Some((position, byte)) = symbols.next() {
        if let Some(bits) = sextet(byte) {
            group[filled] = bits;
            filled += 1;
            if filled == 4 {
                decoded.extend_from_slice(&join(&group));
                filled = 0;
            }
            continue;
        }
        if byte != b'=' || filled < 2 {
            return Err(Base64Error { position });
        }
        if filled == 2 {
            // A second `=` has to follow; Go names the first one when something else does.
            match symbols.next() {
                Some((_, b'=')) => {}
                Some((next, _)) => return Err(Base64Error { position: next - 1 }),
                None => {
                    let position = bytes.len();
                    return Err(Base64Error { position });
                }
            }
        }
        if let Some((position, _)) = symbols.next() {
            return Err(Base64Error { position });
        }
        group[filled..].fill(0);
        decoded.extend_from_slice(&join(&group)[..filled - 1]);
        return Ok(decoded);
    }
    if filled != 0 {
        // Go counts back over the symbols it has, not over line breaks between them.
        let position = bytes.len() - filled;
        return Err(Base64Error { position });
    }
    Ok(decoded)
}

/// The bytes that are not line breaks, each with its position.
struct Symbols<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Iterator for Symbols<'_> {
    type Item = (usize, u8);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let position = self.at;
            let byte = *self.bytes.get(position)?;
            self.at += 1;
            if byte != b'\n' && byte != b'\r' {
                return Some((position, byte));
            }
        }
    }
}

fn sextet(byte: u8) -> Option<u8> {
    Some(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    })
}

fn join(group: &[u8; 4]) -> [u8; 3] {
    let [a, b, c, d] = *group;
    [a << 2 | b >> 4, b << 4 | c >> 2, c << 6 | d]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_comes_back() {
        for length in 0..70_u8 {
            let bytes: Vec<u8> = (0..length).map(|byte| byte.wrapping_mul(37)).collect();
            assert_eq!(*decode_value(&encode_value(&bytes)).unwrap(), bytes);
        }
    }

    #[test]
    fn what_go_tolerates_is_tolerated() {
        assert_eq!(**decode_value("Zm9v\r\nYmE=\n").unwrap(), *b"fooba");
        assert_eq!(**decode_value("Zm9vYmF=").unwrap(), *b"fooba");
        assert_eq!(**decode_value("Zg=\n=\n").unwrap(), *b"f");
        assert_eq!(**decode_value("\n").unwrap(), *b"");
    }

    /// Positions printed by Go 1.26's `base64.StdEncoding.DecodeString`.
    #[test]
    fn errors_name_the_position_that_go_names() {
        for (text, position) in [
            ("Zm9v YmFy", 4),
            ("Zm9_", 3),
            ("=", 0),
            ("Z===", 1),
            ("Zg=a", 2),
            ("Zg=", 3),
            ("Zg==Zg==", 4),
            ("Zm8=x", 4),
            ("Zm8", 0),
            ("Zm9vZm", 4),
            ("Zm9vé", 4),
        ] {
            assert_eq!(
                decode_value(text).unwrap_err(),
                Base64Error { position },
                "{text}"
            );
        }
    }
}
