//! Durations as Go writes them (sealed-secrets.md 11, external-secrets.md 3.1).

use std::time::Duration;

/// Reads a Go duration: `None` when it is not one, `Some(None)` when it is zero or negative.
pub fn go_duration(text: &str) -> Option<Option<Duration>> {
    let (negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(None);
    }
    if rest.is_empty() {
        return None;
    }
    let mut seconds = 0.0;
    let mut rest = rest;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .filter(|end| *end > 0)?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        seconds += number * seconds_in(&rest[..unit])?;
        rest = &rest[unit..];
    }
    let duration = Duration::try_from_secs_f64(seconds).ok()?;
    // Go's range; longer ones are an overflow there.
    if duration.as_nanos() > i64::MAX.unsigned_abs().into() {
        return None;
    }
    Some(Some(duration).filter(|duration| !negative && !duration.is_zero()))
}

fn seconds_in(unit: &str) -> Option<f64> {
    Some(match unit {
        "h" => 3600.0,
        "m" => 60.0,
        "s" => 1.0,
        "ms" => 1e-3,
        "us" | "µs" | "μs" => 1e-6,
        "ns" => 1e-9,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, milliseconds) in [
            ("1h", 3_600_000),
            ("1h30m", 5_400_000),
            ("1.5s", 1500),
            ("100ms", 100),
            ("1h0m0s", 3_600_000),
            ("+2s", 2000),
        ] {
            let expected = Some(Some(Duration::from_millis(milliseconds)));
            assert_eq!(go_duration(text), expected, "{text}");
        }
        for text in ["0", "0s", "-1h", "-0"] {
            assert_eq!(go_duration(text), Some(None), "{text}");
        }
        for text in [
            "",
            "1",
            "1d",
            "h",
            "1h 2m",
            "-",
            "1..5s",
            ".s",
            "300000000h",
        ] {
            assert_eq!(go_duration(text), None, "{text}");
        }
    }
}
