//! Layouts: the reference time `Mon Jan 2 15:04:05 MST 2006` in the form that is wanted.

use super::{Civil, MONTHS, Time, WEEKDAYS};

/// One element of a layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    LongMonth,
    Month,
    NumMonth,
    ZeroMonth,
    LongWeekday,
    Weekday,
    Day,
    UnderDay,
    ZeroDay,
    UnderYearDay,
    ZeroYearDay,
    Hour,
    Hour12,
    ZeroHour12,
    Minute,
    ZeroMinute,
    Second,
    ZeroSecond,
    LongYear,
    Year,
    UpperPm,
    LowerPm,
    ZoneName,
    Offset(Offset),
    /// Digits; kept zeros (`.000`) or not (`.999`).
    Fraction {
        digits: usize,
        zeros: bool,
        comma: bool,
    },
}

/// How a numeric zone is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Offset {
    /// `Z` stands for no offset.
    pub(super) zulu: bool,
    pub(super) colons: bool,
    pub(super) minutes: bool,
    pub(super) seconds: bool,
}

/// Finds the next element: the text before it, the element, its length, the rest.
pub(super) fn next(layout: &[u8]) -> (&[u8], Option<(Part, usize)>, &[u8]) {
    for at in 0..layout.len() {
        if let Some((part, skip, length)) = part_at(layout, at) {
            let start = at + skip;
            return (
                &layout[..start],
                Some((part, length)),
                &layout[start + length..],
            );
        }
    }
    (layout, None, b"")
}

/// The element that begins at `at`: itself, what stands before it, its length.
fn part_at(layout: &[u8], at: usize) -> Option<(Part, usize, usize)> {
    let rest = &layout[at..];
    let starts = |text: &str| rest.starts_with(text.as_bytes());
    let whole = |part, length| Some((part, 0, length));
    let no_lower_after = |length: usize| !rest.get(length).is_some_and(u8::is_ascii_lowercase);
    match rest[0] {
        b'J' if starts("January") => whole(Part::LongMonth, 7),
        b'J' if starts("Jan") && no_lower_after(3) => whole(Part::Month, 3),
        b'M' if starts("Monday") => whole(Part::LongWeekday, 6),
        b'M' if starts("Mon") && no_lower_after(3) => whole(Part::Weekday, 3),
        b'M' if starts("MST") => whole(Part::ZoneName, 3),
        b'0' if starts("01") => whole(Part::ZeroMonth, 2),
        b'0' if starts("02") => whole(Part::ZeroDay, 2),
        b'0' if starts("03") => whole(Part::ZeroHour12, 2),
        b'0' if starts("04") => whole(Part::ZeroMinute, 2),
        b'0' if starts("05") => whole(Part::ZeroSecond, 2),
        b'0' if starts("06") => whole(Part::Year, 2),
        b'0' if starts("002") => whole(Part::ZeroYearDay, 3),
        b'1' if starts("15") => whole(Part::Hour, 2),
        b'1' => whole(Part::NumMonth, 1),
        b'2' if starts("2006") => whole(Part::LongYear, 4),
        b'2' => whole(Part::Day, 1),
        b'_' if starts("_2006") => Some((Part::LongYear, 1, 4)),
        b'_' if starts("__2") => whole(Part::UnderYearDay, 3),
        b'_' if starts("_2") => whole(Part::UnderDay, 2),
        b'3' => whole(Part::Hour12, 1),
        b'4' => whole(Part::Minute, 1),
        b'5' => whole(Part::Second, 1),
        b'P' if starts("PM") => whole(Part::UpperPm, 2),
        b'p' if starts("pm") => whole(Part::LowerPm, 2),
        b'-' | b'Z' => offset(rest),
        b'.' | b',' => fraction(rest),
        _ => None,
    }
}

fn offset(rest: &[u8]) -> Option<(Part, usize, usize)> {
    let zulu = rest[0] == b'Z';
    for (text, colons, minutes, seconds) in [
        ("070000", false, true, true),
        ("07:00:00", true, true, true),
        ("0700", false, true, false),
        ("07:00", true, true, false),
        ("07", false, false, false),
    ] {
        if rest[1..].starts_with(text.as_bytes()) {
            let offset = Offset {
                zulu,
                colons,
                minutes,
                seconds,
            };
            return Some((Part::Offset(offset), 0, text.len() + 1));
        }
    }
    None
}

fn fraction(rest: &[u8]) -> Option<(Part, usize, usize)> {
    let digit = *rest.get(1).filter(|b| matches!(b, b'0' | b'9'))?;
    let digits = rest[1..].iter().take_while(|b| **b == digit).count();
    // Further digits mean that it is no fraction.
    if rest.get(1 + digits).is_some_and(u8::is_ascii_digit) {
        return None;
    }
    let part = Part::Fraction {
        digits,
        zeros: digit == b'0',
        comma: rest[0] == b',',
    };
    Some((part, 0, digits + 1))
}

pub(super) fn format(time: &Time, layout: &[u8]) -> Vec<u8> {
    let civil = time.civil();
    let mut out = Vec::with_capacity(layout.len() + 10);
    let mut rest = layout;
    loop {
        let (before, part, after) = next(rest);
        out.extend_from_slice(before);
        let Some((part, _)) = part else {
            return out;
        };
        write(&mut out, part, time, &civil);
        rest = after;
    }
}

fn write(out: &mut Vec<u8>, part: Part, time: &Time, civil: &Civil) {
    let name = |names: &[&str], at: i64| {
        let name = usize::try_from(at)
            .ok()
            .and_then(|at| names.get(at).copied());
        name.unwrap_or_default().to_owned()
    };
    let hour12 = match civil.hour % 12 {
        0 => 12,
        hour => hour,
    };
    let afternoon = civil.hour >= 12;
    let text = match part {
        Part::LongMonth => name(&MONTHS, civil.month - 1),
        Part::Month => name(&MONTHS, civil.month - 1)[..3].to_owned(),
        Part::NumMonth => civil.month.to_string(),
        Part::ZeroMonth => padded(civil.month, 2),
        Part::LongWeekday => name(&WEEKDAYS, civil.weekday),
        Part::Weekday => name(&WEEKDAYS, civil.weekday)[..3].to_owned(),
        Part::Day => civil.day.to_string(),
        Part::UnderDay => format!("{:2}", civil.day),
        Part::ZeroDay => padded(civil.day, 2),
        Part::UnderYearDay => format!("{:3}", civil.year_day),
        Part::ZeroYearDay => padded(civil.year_day, 3),
        Part::Hour => padded(civil.hour, 2),
        Part::Hour12 => hour12.to_string(),
        Part::ZeroHour12 => padded(hour12, 2),
        Part::Minute => civil.minute.to_string(),
        Part::ZeroMinute => padded(civil.minute, 2),
        Part::Second => civil.second.to_string(),
        Part::ZeroSecond => padded(civil.second, 2),
        Part::LongYear => padded(civil.year, 4),
        Part::Year => padded(civil.year.abs() % 100, 2),
        Part::UpperPm => if afternoon { "PM" } else { "AM" }.to_owned(),
        Part::LowerPm => if afternoon { "pm" } else { "am" }.to_owned(),
        Part::ZoneName if !civil.zone.is_empty() => civil.zone.clone(),
        Part::ZoneName => offset_text(
            civil.offset,
            Offset {
                zulu: false,
                colons: false,
                minutes: true,
                seconds: false,
            },
        ),
        Part::Offset(offset) => offset_text(civil.offset, offset),
        Part::Fraction {
            digits,
            zeros,
            comma,
        } => fraction_text(time.nanoseconds, digits, zeros, comma),
    };
    out.extend_from_slice(text.as_bytes());
}

/// A number with leading zeros; the sign stands before them and does not count.
fn padded(number: i64, width: usize) -> String {
    let sign = if number < 0 { "-" } else { "" };
    format!("{sign}{:0width$}", number.unsigned_abs())
}

fn offset_text(offset: i32, how: Offset) -> String {
    if offset == 0 && how.zulu {
        return "Z".to_owned();
    }
    let minutes = offset / 60;
    let sign = if minutes < 0 { '-' } else { '+' };
    let minutes = minutes.abs();
    let colon = if how.colons { ":" } else { "" };
    let mut out = format!("{sign}{:02}", minutes / 60);
    if how.minutes {
        out.push_str(&format!("{colon}{:02}", minutes % 60));
    }
    if how.seconds {
        out.push_str(&format!("{colon}{:02}", offset.abs() % 60));
    }
    out
}

fn fraction_text(nanoseconds: u32, digits: usize, zeros: bool, comma: bool) -> String {
    let all = format!("{nanoseconds:09}");
    let mut kept = all[..digits.min(9)].to_owned();
    if !zeros {
        kept.truncate(kept.trim_end_matches('0').len());
        if kept.is_empty() {
            return String::new();
        }
    }
    format!("{}{kept}", if comma { ',' } else { '.' })
}
