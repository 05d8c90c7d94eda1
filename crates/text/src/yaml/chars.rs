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

/// Whether it is printable ASCII that means nothing inside a plain scalar: no blank, no indicator.
const fn is_ordinary(b: u8) -> bool {
    // No branches: a whole chunk is one run of vector instructions.
    b.is_ascii_graphic()
        & (b != b'#')
        & (b != b',')
        & (b != b':')
        & (b != b'?')
        & (b != b'[')
        & (b != b']')
        & (b != b'{')
        & (b != b'}')
}

const ORDINARY: [bool; 256] = {
    let mut table = [false; 256];
    let mut b = 0;
    while b < table.len() {
        table[b] = is_ordinary(b as u8);
        b += 1;
    }
    table
};

/// Counts the ordinary bytes at the front: most of every file, passed without a closer look.
pub(super) fn ordinary_run(bytes: &[u8]) -> usize {
    let (chunks, _) = bytes.as_chunks::<16>();
    let whole = chunks
        .iter()
        .take_while(|chunk| chunk.iter().fold(true, |all, b| all & is_ordinary(*b)))
        .count();
    let from = whole * 16;
    let special = bytes[from..]
        .iter()
        .position(|b| !ORDINARY[usize::from(*b)]);
    special.map_or(bytes.len(), |at| from + at)
}

/// Counts the bytes at the front, in whole chunks, that are printable ASCII or a line feed.
fn printable_run(bytes: &[u8]) -> usize {
    let (chunks, _) = bytes.as_chunks::<32>();
    let printable = |b: u8| (b == b'\n') | (b.wrapping_sub(b' ') <= b'~' - b' ');
    let whole = chunks
        .iter()
        .take_while(|chunk| chunk.iter().fold(true, |all, b| all & printable(*b)))
        .count();
    whole * 32
}

/// The offset of the first character that go-yaml's reader refuses (readerc.go).
pub(super) fn first_forbidden(source: &str) -> Option<usize> {
    let bytes = source.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        at += printable_run(&bytes[at..]);
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
