//! Dates and times as Go's time.Parse reads them in go-yaml's four layouts.

/// Parses a timestamp (resolve.go, `parseTimestamp`) and writes it as `time.RFC3339Nano`.
pub(super) fn parse_timestamp(text: &str) -> Option<String> {
    // All layouts start with a year of four digits.
    let bytes = text.as_bytes();
    if bytes.len() < 5 || bytes[4] != b'-' || !bytes[..4].iter().all(u8::is_ascii_digit) {
        return None;
    }
    let year: u32 = text[..4].parse().ok()?;
    let mut rest = &text[5..];
    let month = number(&mut rest)?;
    rest = rest.strip_prefix('-')?;
    let day = number(&mut rest)?;
    if !(1..=12).contains(&month) || day < 1 || day > days_in(month, year) {
        return None;
    }
    let date = format!("{year:04}-{month:02}-{day:02}");
    if rest.is_empty() {
        return Some(format!("{date}T00:00:00Z"));
    }
    if let Some(time) = rest.strip_prefix(['T', 't']) {
        rest = time;
        let time = clock(&mut rest)?;
        let zone = zone(rest)?;
        return Some(format!("{date}T{time}{zone}"));
    }
    // Space separated, without a zone.
    let trimmed = rest.trim_start_matches(' ');
    if trimmed.len() == rest.len() {
        return None;
    }
    rest = trimmed;
    let time = clock(&mut rest)?;
    rest.is_empty().then(|| format!("{date}T{time}Z"))
}

/// One or two digits.
fn number(rest: &mut &str) -> Option<u32> {
    let digits = rest.bytes().take(2).take_while(u8::is_ascii_digit).count();
    let value = rest[..digits].parse().ok()?;
    *rest = &rest[digits..];
    Some(value)
}

/// `15:4:5.999999999`, the fraction optional and cut after nine digits.
fn clock(rest: &mut &str) -> Option<String> {
    let hour = number(rest).filter(|hour| *hour < 24)?;
    *rest = rest.strip_prefix(':')?;
    let minute = number(rest).filter(|minute| *minute < 60)?;
    *rest = rest.strip_prefix(':')?;
    let second = number(rest).filter(|second| *second < 60)?;
    let mut time = format!("{hour:02}:{minute:02}:{second:02}");
    if let Some(fraction) = rest.strip_prefix(['.', ',']) {
        let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
        if digits > 0 {
            let kept = fraction[..digits.min(9)].trim_end_matches('0');
            if !kept.is_empty() {
                time.push('.');
                time.push_str(kept);
            }
            *rest = &fraction[digits..];
        }
    }
    Some(time)
}

/// `Z07:00`.
fn zone(text: &str) -> Option<String> {
    if text == "Z" {
        return Some(text.to_owned());
    }
    let bytes = text.as_bytes();
    let digits = [1, 2, 4, 5]
        .iter()
        .all(|at| bytes.get(*at).is_some_and(u8::is_ascii_digit));
    if bytes.len() != 6 || bytes[3] != b':' || !digits {
        return None;
    }
    let (hours, minutes): (u32, u32) = (text[1..3].parse().ok()?, text[4..6].parse().ok()?);
    if hours > 24 || minutes > 60 {
        return None;
    }
    let total = hours * 60 + minutes;
    match bytes[0] {
        b'+' | b'-' if total == 0 => Some("Z".to_owned()),
        sign @ (b'+' | b'-') => Some(format!(
            "{}{:02}:{:02}",
            char::from(sign),
            total / 60,
            total % 60
        )),
        _ => None,
    }
}

fn days_in(month: u32, year: u32) -> u32 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}
