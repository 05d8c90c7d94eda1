//! RFC 3339 as Go's `time.Parse(time.RFC3339, ..)` reads it and as it is written back.

/// Returns the canonical form: fraction without trailing zeros, `+00:00` as `Z`.
///
/// Returns `None` for anything but `YYYY-MM-DDThh:mm:ss[.frac](Z|±hh:mm)` with a real date.
pub(crate) fn canonical(text: &str) -> Option<String> {
    let parts = Parts::parse(text)?;
    let fraction = parts.fraction.trim_end_matches('0');
    let dot = if fraction.is_empty() { "" } else { "." };
    Some(format!("{}{dot}{fraction}{}", parts.seconds, parts.offset))
}

/// Returns the form with second precision: the AAD of the MAC (sops-format.md 5.3).
pub(crate) fn to_seconds(text: &str) -> Option<String> {
    let parts = Parts::parse(text)?;
    Some(format!("{}{}", parts.seconds, parts.offset))
}

/// Returns a time as the metadata holds it: UTC, whole seconds.
pub(crate) fn of(time: jiff::Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

struct Parts<'t> {
    /// `YYYY-MM-DDThh:mm:ss`.
    seconds: &'t str,
    /// At most nine digits; more are dropped, as Go drops them.
    fraction: &'t str,
    /// `Z` or `±hh:mm`.
    offset: &'t str,
}

impl<'t> Parts<'t> {
    fn parse(text: &'t str) -> Option<Self> {
        let bytes = text.as_bytes();
        let shape = b"dddd-dd-ddTdd:dd:dd";
        if !text.is_ascii() || bytes.len() <= shape.len() {
            return None;
        }
        let fits = shape.iter().zip(bytes).all(|(want, found)| match want {
            b'd' => found.is_ascii_digit(),
            other => other == found,
        });
        let number = |from: usize, to: usize| text[from..to].parse::<u32>().ok();
        if !fits {
            return None;
        }
        let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
        let in_range = (1..=12).contains(&month)
            && (1..=days_in_month(year, month)).contains(&day)
            && number(11, 13)? < 24
            && number(14, 16)? < 60
            && number(17, 19)? < 60;
        if !in_range {
            return None;
        }
        let (seconds, mut rest) = text.split_at(shape.len());
        let mut fraction = "";
        // Go takes a comma for the decimal point as well.
        if let Some(tail) = rest.strip_prefix(['.', ',']) {
            let end = tail
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(tail.len());
            if end == 0 {
                return None;
            }
            fraction = &tail[..end.min(9)];
            rest = &tail[end..];
        }
        let offset = match rest.as_bytes() {
            b"Z" | b"+00:00" | b"-00:00" => "Z",
            [b'+' | b'-', h1, h2, b':', m1, m2]
                if [h1, h2, m1, m2].iter().all(|b| b.is_ascii_digit()) =>
            {
                let hours: u32 = rest[1..3].parse().ok()?;
                let minutes: u32 = rest[4..6].parse().ok()?;
                if hours > 24 || minutes > 60 {
                    return None;
                }
                rest
            }
            _ => return None,
        };
        Some(Self {
            seconds,
            fraction,
            offset,
        })
    }
}

fn days_in_month(year: u32, month: u32) -> u32 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => {
            29
        }
        2 => 28,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_normalised_and_nonsense_is_refused() {
        for (text, canon, seconds) in [
            (
                "2024-01-01T00:00:00Z",
                "2024-01-01T00:00:00Z",
                "2024-01-01T00:00:00Z",
            ),
            (
                "2026-01-02T03:04:05.120+00:00",
                "2026-01-02T03:04:05.12Z",
                "2026-01-02T03:04:05Z",
            ),
            (
                "2026-01-02T03:04:05.000-05:30",
                "2026-01-02T03:04:05-05:30",
                "2026-01-02T03:04:05-05:30",
            ),
            (
                "2024-02-29T23:59:59Z",
                "2024-02-29T23:59:59Z",
                "2024-02-29T23:59:59Z",
            ),
        ] {
            assert_eq!(canonical(text).as_deref(), Some(canon));
            assert_eq!(to_seconds(text).as_deref(), Some(seconds));
        }
        for text in [
            "",
            "2024-01-01",
            "2024-01-01 00:00:00Z",
            "2024-01-01T00:00:00",
            "2023-02-29T00:00:00Z",
            "2024-13-01T00:00:00Z",
            "2024-01-01T24:00:00Z",
            "2024-01-01T00:00:00.Z",
            "2024-01-01T00:00:00+0100",
            "2024-01-01t00:00:00Z",
        ] {
            assert_eq!(canonical(text), None, "{text}");
        }
    }
}
