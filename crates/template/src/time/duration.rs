//! Go's durations: nanoseconds, written as `1h2m3.5s`.

pub(crate) const SECOND: i64 = 1_000_000_000;
pub(crate) const MINUTE: i64 = 60 * SECOND;
pub(crate) const HOUR: i64 = 60 * MINUTE;

/// `time.Duration.String`.
pub(crate) fn duration_text(nanoseconds: i64) -> String {
    if nanoseconds == 0 {
        return "0s".to_owned();
    }
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let total = nanoseconds.unsigned_abs();
    let second = SECOND.unsigned_abs();
    if total < second {
        let (unit, digits) = match total {
            0..1_000 => ("ns", 0),
            1_000..1_000_000 => ("µs", 3),
            _ => ("ms", 6),
        };
        return format!("{sign}{}{unit}", with_fraction(total, digits));
    }
    let seconds = with_fraction(total % (60 * second), 9);
    let minutes = total / (60 * second);
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{sign}{seconds}s"),
        (0, minutes) => format!("{sign}{minutes}m{seconds}s"),
        (hours, minutes) => format!("{sign}{hours}h{minutes}m{seconds}s"),
    }
}

/// Writes `value / 10^digits` without trailing zeros.
fn with_fraction(value: u64, digits: u32) -> String {
    let unit = 10u64.pow(digits);
    let fraction = value % unit;
    if fraction == 0 {
        return (value / unit).to_string();
    }
    let digits = digits as usize;
    let fraction = format!("{fraction:0digits$}");
    format!("{}.{}", value / unit, fraction.trim_end_matches('0'))
}

/// `time.ParseDuration`, in nanoseconds.
pub(crate) fn parse_duration(text: &[u8]) -> Result<i64, &'static str> {
    const INVALID: &str = "time: invalid duration";
    const LIMIT: u64 = 1 << 63;
    let (negative, mut rest) = match text.first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == b"0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(INVALID);
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let whole_length = digits(rest);
        let whole = number(&rest[..whole_length]).ok_or(INVALID)?;
        rest = &rest[whole_length..];
        let mut fraction: &[u8] = b"";
        if let Some(after) = rest.strip_prefix(b".") {
            let length = digits(after);
            fraction = &after[..length];
            rest = &after[length..];
        }
        if whole_length == 0 && fraction.is_empty() {
            return Err(INVALID);
        }
        let length = rest
            .iter()
            .position(|b| *b == b'.' || b.is_ascii_digit())
            .unwrap_or(rest.len());
        if length == 0 {
            return Err("time: missing unit in duration");
        }
        let unit = unit(&rest[..length]).ok_or("time: unknown unit in duration")?;
        rest = &rest[length..];
        if whole > LIMIT / unit {
            return Err(INVALID);
        }
        let value = whole * unit + part_of(unit, fraction);
        total = total
            .checked_add(value)
            .filter(|_| value <= LIMIT)
            .filter(|total| *total <= LIMIT)
            .ok_or(INVALID)?;
    }
    if negative {
        return Ok(0i64.wrapping_sub_unsigned(total));
    }
    i64::try_from(total).map_err(|_| INVALID)
}

fn digits(text: &[u8]) -> usize {
    text.iter()
        .position(|b| !b.is_ascii_digit())
        .unwrap_or(text.len())
}

/// Reads digits up to 2^63; none is 0.
fn number(text: &[u8]) -> Option<u64> {
    text.iter().try_fold(0u64, |value, digit| {
        let value = value
            .checked_mul(10)?
            .checked_add(u64::from(digit - b'0'))?;
        (value <= 1 << 63).then_some(value)
    })
}

/// The part of a unit after the decimal point, as precise as Go's.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "Go computes it in floating point; it is less than a unit"
)]
fn part_of(unit: u64, fraction: &[u8]) -> u64 {
    let mut value: u64 = 0;
    let mut scale = 1.0;
    for digit in fraction {
        if value > ((1 << 63) - 1) / 10 {
            break;
        }
        value = value * 10 + u64::from(digit - b'0');
        scale *= 10.0;
    }
    (value as f64 * (unit as f64 / scale)) as u64
}

fn unit(name: &[u8]) -> Option<u64> {
    Some(match name {
        b"ns" => 1,
        b"us" | b"\xc2\xb5s" | b"\xce\xbcs" => 1_000,
        b"ms" => 1_000_000,
        b"s" => SECOND.unsigned_abs(),
        b"m" => MINUTE.unsigned_abs(),
        b"h" => HOUR.unsigned_abs(),
        _ => return None,
    })
}

/// `time.Duration.Round`.
pub(crate) fn round_duration(value: i64, multiple: i64) -> i64 {
    if multiple <= 0 {
        return value;
    }
    let rest = value % multiple;
    let twice = rest.unsigned_abs().saturating_mul(2);
    if value < 0 {
        if twice < multiple.unsigned_abs() {
            return value - rest;
        }
        return (value - rest).checked_sub(multiple).unwrap_or(i64::MIN);
    }
    if twice < multiple.unsigned_abs() {
        return value - rest;
    }
    (value - rest).checked_add(multiple).unwrap_or(i64::MAX)
}

/// `time.Duration.Truncate`.
pub(crate) fn truncate_duration(value: i64, multiple: i64) -> i64 {
    if multiple <= 0 {
        value
    } else {
        value - value % multiple
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_print_as_in_go() {
        for (value, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_100, "1.1µs"),
            (2_200_000, "2.2ms"),
            (3_300 * 1_000_000, "3.3s"),
            (4 * MINUTE + 5 * SECOND, "4m5s"),
            (HOUR + 1_000_000, "1h0m0.001s"),
            (-SECOND, "-1s"),
            (i64::MIN, "-2562047h47m16.854775808s"),
        ] {
            assert_eq!(duration_text(value), text);
            assert_eq!(parse_duration(text.as_bytes()), Ok(value));
        }
    }

    #[test]
    fn durations_parse_as_in_go() {
        assert_eq!(parse_duration(b"1.5h"), Ok(90 * MINUTE));
        assert_eq!(parse_duration(b"-.5s"), Ok(-SECOND / 2));
        assert_eq!(parse_duration(b"+1m1s"), Ok(MINUTE + SECOND));
        for wrong in [
            "",
            "3",
            "-",
            "s",
            ".s",
            "1d",
            "3000000h",
            "1s ",
            "9223372036854775808ns",
        ] {
            assert!(parse_duration(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn halves_round_away_from_zero() {
        assert_eq!(round_duration(1_500, 1_000), 2_000);
        assert_eq!(round_duration(-1_500, 1_000), -2_000);
        assert_eq!(round_duration(1_499, 1_000), 1_000);
    }
}
