//! Character classes of libyaml (yamlprivateh.go) over a byte slice; beyond the end is NUL.

/// The byte at `at`, NUL beyond the end. NUL itself is never in the input.
pub(super) fn byte(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or(0)
}

pub(super) fn is_alpha(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_' || b == b'-'
}

pub(super) fn is_blank(b: u8) -> bool {
    b == b' ' || b == b'\t'
}

/// CR, LF, NEL, LS or PS.
pub(super) fn is_break(bytes: &[u8], at: usize) -> bool {
    match byte(bytes, at) {
        b'\r' | b'\n' => true,
        0xc2 => byte(bytes, at + 1) == 0x85,
        0xe2 => byte(bytes, at + 1) == 0x80 && matches!(byte(bytes, at + 2), 0xa8 | 0xa9),
        _ => false,
    }
}

pub(super) fn is_break_or_end(bytes: &[u8], at: usize) -> bool {
    byte(bytes, at) == 0 || is_break(bytes, at)
}

pub(super) fn is_blank_or_end(bytes: &[u8], at: usize) -> bool {
    is_blank(byte(bytes, at)) || is_break_or_end(bytes, at)
}

/// The number of bytes of the character that begins with `b`.
pub(super) fn width(b: u8) -> usize {
    match b {
        0x00..=0x7f => 1,
        0xc0..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf7 => 4,
        _ => 0,
    }
}

/// Printable ASCII that means nothing inside a plain scalar: no blank and no indicator.
const ORDINARY: [bool; 256] = {
    let mut table = [false; 256];
    let mut b = b'!';
    while b <= b'~' {
        table[b as usize] = !matches!(b, b'#' | b',' | b':' | b'?' | b'[' | b']' | b'{' | b'}');
        b += 1;
    }
    table
};

/// Counts the ordinary bytes at the front: most of every file, passed without a closer look.
pub(super) fn ordinary_run(bytes: &[u8]) -> usize {
    let special = bytes.iter().position(|b| !ORDINARY[usize::from(*b)]);
    special.unwrap_or(bytes.len())
}

/// The offset of the first character that go-yaml's reader refuses (readerc.go).
pub(super) fn first_forbidden(source: &str) -> Option<usize> {
    let bytes = source.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        at += ordinary_run(&bytes[at..]);
        let Some(&b) = bytes.get(at) else { break };
        if b < 0x80 {
            if !matches!(b, b'\t' | b'\n' | b'\r' | 0x20..=0x7e) {
                return Some(at);
            }
            at += 1;
            continue;
        }
        let c = source[at..].chars().next()?;
        let allowed =
            matches!(c, '\u{85}' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
        if !allowed {
            return Some(at);
        }
        at += c.len_utf8();
    }
    None
}
