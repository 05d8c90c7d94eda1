//! What of a foreign server's error text may reach a condition, an event or a log.

use std::error::Error;

/// The longest piece of a server's own text that a message repeats, in characters.
const LONGEST: usize = 240;

/// Returns the first line of a server's error text: bounded, printable, without request ids.
///
/// Request ids differ in every answer, and a message that differs every time is a status write and
/// an event every time (external-secrets.md 10.1).
pub(crate) fn cleaned(text: &str) -> String {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty());
    let printable: String = without_request_ids(line.unwrap_or_default())
        .chars()
        .filter(|c| !c.is_control())
        .take(LONGEST)
        .collect();
    printable.trim().to_owned()
}

/// Returns the innermost cause of an error, where the system's own words are.
pub(crate) fn root_cause(error: &dyn Error) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    cleaned(&deepest.to_string())
}

/// Returns an error code of a login server, such as `invalid_grant` (RFC 6749 5.2); `None` for a text that
/// is none. Its other words are not repeated: it got secrets, and may give them back.
#[cfg(any(feature = "gcp-kms", feature = "azure-kv"))]
pub(crate) fn code(text: &str) -> Option<&str> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    (!text.is_empty() && text.len() <= LONGEST_CODE && text.chars().all(fits)).then_some(text)
}

/// Longer than any code that is documented, and shorter than a token or a key; only a client secret of
/// Google of old has no more than 24 characters.
#[cfg(any(feature = "gcp-kms", feature = "azure-kv"))]
const LONGEST_CODE: usize = 32;

/// Cuts `RequestId: X`, `request id: X` and the like out of a line.
fn without_request_ids(line: &str) -> String {
    let mut rest = line.to_owned();
    loop {
        let lower = rest.to_ascii_lowercase();
        let Some((at, len)) = ["request id:", "requestid:", "request-id:", "request_id:"]
            .iter()
            .find_map(|mark| lower.find(mark).map(|at| (at, mark.len())))
        else {
            return rest;
        };
        let after = &rest[at + len..];
        let skipped = after.len() - after.trim_start().len();
        let end = after[skipped..]
            .find([' ', ',', ';', ')'])
            .map_or(after.len(), |end| end + skipped);
        let head = rest[..at].trim_end_matches([' ', ',', ';', '(']);
        let tail = after[end..].trim_start_matches([',', ';', ')']);
        rest = format!("{head}{tail}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_ids_go() {
        assert_eq!(
            cleaned("not found, RequestID: 1f-2a, api error X"),
            "not found api error X"
        );
        assert_eq!(
            cleaned("denied (Service: S; Request ID: abc)"),
            "denied (Service: S"
        );
        assert_eq!(cleaned("request id:"), "");
    }

    #[cfg(any(feature = "gcp-kms", feature = "azure-kv"))]
    #[test]
    fn a_code_is_one_short_word() {
        for text in ["invalid_grant", "PERMISSION_DENIED", "AADSTS7000215"] {
            assert_eq!(code(text), Some(text));
        }
        for text in ["", "two words", "a\nb", "refresh/1", &"x".repeat(33)] {
            assert_eq!(code(text), None, "{text}");
        }
    }

    #[test]
    fn one_bounded_line_stays() {
        assert_eq!(cleaned("\n first \nsecond"), "first");
        assert_eq!(cleaned(&"x".repeat(1000)).len(), LONGEST);
        assert_eq!(cleaned("a\u{7}b"), "ab");
    }
}
