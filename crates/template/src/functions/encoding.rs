//! sprig: base64 and base32. Text that does not decode gives Go's message as the result, not an error.

use super::cast::text;
use super::{Args as _, Entry};

pub(super) const TABLE: &[Entry] = &[
    ("b64enc", "string", |run, a| text(run, base64(&a.str(0)))),
    ("b64dec", "string", |run, a| {
        text(
            run,
            from_base64(&a.str(0)).unwrap_or_else(|at| illegal(64, at)),
        )
    }),
    ("b32enc", "string", |run, a| text(run, base32(&a.str(0)))),
    ("b32dec", "string", |run, a| {
        text(
            run,
            from_base32(&a.str(0)).unwrap_or_else(|at| illegal(32, at)),
        )
    }),
];

fn illegal(base: u32, at: usize) -> Vec<u8> {
    format!("illegal base{base} data at input byte {at}").into_bytes()
}

const ALPHABET_64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const ALPHABET_32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// Standard base64 with padding.
pub(super) fn base64(bytes: &[u8]) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD
        .encode(bytes)
        .into_bytes()
}

fn digit_64(byte: u8) -> Option<u32> {
    let digit = match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    debug_assert_eq!(ALPHABET_64[usize::from(digit)], byte);
    Some(u32::from(digit))
}

/// Decodes as Go does: line ends are skipped, bits left over are ignored. The error is where Go says that it is.
pub(super) fn from_base64(source: &[u8]) -> Result<Vec<u8>, usize> {
    let mut out = Vec::with_capacity(source.len() / 4 * 3 + 3);
    let mut at = 0;
    let is_line_end = |at: usize| matches!(source.get(at), Some(b'\n' | b'\r'));
    while at < source.len() {
        let mut digits = [0; 4];
        let mut count = 0;
        let mut ended = false;
        while count < 4 {
            let Some(byte) = source.get(at).copied() else {
                if count == 0 {
                    return Ok(out);
                }
                return Err(at - count);
            };
            at += 1;
            if let Some(digit) = digit_64(byte) {
                digits[count] = digit;
                count += 1;
                continue;
            }
            if matches!(byte, b'\n' | b'\r') {
                continue;
            }
            if byte != b'=' || count < 2 {
                return Err(at - 1);
            }
            if count == 2 {
                while is_line_end(at) {
                    at += 1;
                }
                match source.get(at) {
                    None => return Err(source.len()),
                    Some(b'=') => at += 1,
                    Some(_) => return Err(at - 1),
                }
            }
            while is_line_end(at) {
                at += 1;
            }
            if at < source.len() {
                return Err(at);
            }
            ended = true;
            break;
        }
        let value = digits[0] << 18 | digits[1] << 12 | digits[2] << 6 | digits[3];
        out.extend_from_slice(&value.to_be_bytes()[1..count]);
        if ended {
            break;
        }
    }
    Ok(out)
}

fn base32(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len().div_ceil(5) * 8);
    for chunk in bytes.chunks(5) {
        let mut block = [0; 8];
        block[3..3 + chunk.len()].copy_from_slice(chunk);
        let value = u64::from_be_bytes(block);
        let digits = (chunk.len() * 8).div_ceil(5);
        for at in 0..8 {
            let digit = usize::try_from(value >> (35 - 5 * at) & 31).unwrap_or(0);
            out.push(if at < digits {
                ALPHABET_32[digit]
            } else {
                b'='
            });
        }
    }
    out
}

/// Decodes as Go does; the error is where Go says that it is.
fn from_base32(source: &[u8]) -> Result<Vec<u8>, usize> {
    let source: Vec<u8> = source
        .iter()
        .copied()
        .filter(|b| !matches!(b, b'\n' | b'\r'))
        .collect();
    let all = source.len();
    let mut out = Vec::with_capacity(all / 8 * 5 + 5);
    let mut at = 0;
    while at < all {
        let mut value: u64 = 0;
        let mut count = 0;
        let mut ended = false;
        while count < 8 {
            let Some(byte) = source.get(at).copied() else {
                return Err(all - count);
            };
            at += 1;
            let left = all - at;
            if byte == b'=' && count >= 2 && left < 8 {
                if left + count < 7 {
                    return Err(all);
                }
                for k in 0..7 - count {
                    if source.get(at + k).is_some_and(|byte| *byte != b'=') {
                        return Err(at + k - 1);
                    }
                }
                if matches!(count, 3 | 6) {
                    return Err(at - 1);
                }
                ended = true;
                break;
            }
            let digit = ALPHABET_32.iter().position(|b| *b == byte).ok_or(at - 1)?;
            value |= (digit as u64) << (35 - 5 * count);
            count += 1;
        }
        out.extend_from_slice(&value.to_be_bytes()[3..3 + count * 5 / 8]);
        if ended {
            break;
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base32_goes_there_and_back() {
        for length in 0..12 {
            let bytes: Vec<u8> = (0..length).map(|n: u8| n.wrapping_mul(37)).collect();
            assert_eq!(from_base32(&base32(&bytes)).unwrap(), bytes);
            assert_eq!(from_base64(&base64(&bytes)).unwrap(), bytes);
        }
        assert_eq!(base32(b"foobar"), b"MZXW6YTBOI======");
    }

    #[test]
    fn errors_are_where_go_says() {
        assert_eq!(from_base64(b"Zg"), Err(0));
        assert_eq!(from_base64(b"Zm9v!"), Err(4));
        assert_eq!(from_base64(b"Zg=="), Ok(b"f".to_vec()));
        assert_eq!(from_base64(b"Z\ng\r=\n="), Ok(b"f".to_vec()));
        assert_eq!(from_base64(b"Zg==Zg=="), Err(4));
        assert_eq!(from_base32(b"MZXQ===="), Ok(b"fo".to_vec()));
        assert_eq!(from_base32(b"mzxq===="), Err(0));
    }
}
