//! Reads a time by a layout, as Go's `time.ParseInLocation` does.

use std::rc::Rc;

use super::layout::{self, Offset, Part};
use super::{MONTHS, Time, WEEKDAYS, Zone, days_of_date};

/// Why a text is no time in the layout. Go's message quotes the text, which may be secret.
pub(crate) const NO_TIME: &str = "parsing time: the text does not fit the layout";

/// Reads `value` by `layout`; what names no zone is in `local`.
pub(crate) fn parse(layout: &[u8], value: &[u8], local: &Zone) -> Option<Time> {
    let mut fields = Fields::default();
    let mut layout = layout;
    let mut value = value;
    loop {
        let (before, part, after) = layout::next(layout);
        value = skip(value, before)?;
        let Some((part, _)) = part else {
            if !value.is_empty() {
                return None;
            }
            return fields.time(local);
        };
        layout = after;
        value = fields.read(part, value, layout)?;
    }
}

#[derive(Default)]
struct Fields {
    year: i64,
    month: Option<i64>,
    day: Option<i64>,
    year_day: Option<i64>,
    hour: i64,
    minute: i64,
    second: i64,
    nanoseconds: u32,
    morning: bool,
    afternoon: bool,
    utc: bool,
    offset: Option<i32>,
    zone: Option<String>,
}

impl Fields {
    /// Reads one element; returns what is left.
    fn read<'v>(&mut self, part: Part, value: &'v [u8], layout: &[u8]) -> Option<&'v [u8]> {
        let rest;
        match part {
            Part::Year => {
                let year = number(value.get(..2)?)?;
                rest = &value[2..];
                self.year = year + if year >= 69 { 1900 } else { 2000 };
            }
            Part::LongYear => {
                if !digit(value, 0) {
                    return None;
                }
                self.year = number(value.get(..4)?)?;
                rest = &value[4..];
            }
            Part::Month => {
                let (month, after) = lookup(&MONTHS, 3, value)?;
                self.month = Some(month + 1);
                rest = after;
            }
            Part::LongMonth => {
                let (month, after) = lookup(&MONTHS, usize::MAX, value)?;
                self.month = Some(month + 1);
                rest = after;
            }
            Part::NumMonth | Part::ZeroMonth => {
                let (month, after) = two_digits(value, part == Part::ZeroMonth)?;
                self.month = Some(within(month, 1, 12)?);
                rest = after;
            }
            Part::Weekday => rest = lookup(&WEEKDAYS, 3, value)?.1,
            Part::LongWeekday => rest = lookup(&WEEKDAYS, usize::MAX, value)?.1,
            Part::Day | Part::UnderDay | Part::ZeroDay => {
                let space = part == Part::UnderDay && value.first() == Some(&b' ');
                let value = &value[usize::from(space)..];
                let (day, after) = two_digits(value, part == Part::ZeroDay)?;
                self.day = Some(day);
                rest = after;
            }
            Part::UnderYearDay | Part::ZeroYearDay => {
                let (day, after) = year_day(value, part == Part::ZeroYearDay)?;
                self.year_day = Some(day);
                rest = after;
            }
            Part::Hour => {
                let (hour, after) = two_digits(value, false)?;
                self.hour = within(hour, 0, 23)?;
                rest = after;
            }
            Part::Hour12 | Part::ZeroHour12 => {
                let (hour, after) = two_digits(value, part == Part::ZeroHour12)?;
                self.hour = within(hour, 0, 12)?;
                rest = after;
            }
            Part::Minute | Part::ZeroMinute => {
                let (minute, after) = two_digits(value, part == Part::ZeroMinute)?;
                self.minute = within(minute, 0, 59)?;
                rest = after;
            }
            Part::Second | Part::ZeroSecond => {
                let (second, after) = two_digits(value, part == Part::ZeroSecond)?;
                self.second = within(second, 0, 59)?;
                rest = self.unasked_fraction(after, layout)?;
            }
            Part::UpperPm | Part::LowerPm => {
                let (am, pm): (&[u8], &[u8]) = if part == Part::UpperPm {
                    (b"AM", b"PM")
                } else {
                    (b"am", b"pm")
                };
                let word = value.get(..2)?;
                self.morning |= word == am;
                self.afternoon |= word == pm;
                if word != am && word != pm {
                    return None;
                }
                rest = &value[2..];
            }
            Part::Offset(how) => rest = self.numeric_zone(value, how)?,
            Part::ZoneName => {
                if let Some(after) = value.strip_prefix(b"UTC") {
                    self.utc = true;
                    rest = after;
                } else {
                    let length = zone_name(value)?;
                    self.zone = Some(String::from_utf8_lossy(&value[..length]).into_owned());
                    rest = &value[length..];
                }
            }
            Part::Fraction {
                digits,
                zeros: true,
                ..
            } => {
                self.nanoseconds = fraction(value.get(..=digits)?)?;
                rest = &value[digits + 1..];
            }
            Part::Fraction { .. } => {
                let present = value.len() >= 2 && point(value[0]) && digit(value, 1);
                let length = if present {
                    1 + value[1..].iter().take_while(|b| b.is_ascii_digit()).count()
                } else {
                    0
                };
                if present {
                    self.nanoseconds = fraction(&value[..length])?;
                }
                rest = &value[length..];
            }
        }
        Some(rest)
    }

    /// Reads a fraction behind the seconds that the layout does not ask for.
    fn unasked_fraction<'v>(&mut self, value: &'v [u8], layout: &[u8]) -> Option<&'v [u8]> {
        if value.len() < 2 || !point(value[0]) || !digit(value, 1) {
            return Some(value);
        }
        if matches!(layout::next(layout).1, Some((Part::Fraction { .. }, _))) {
            return Some(value);
        }
        let length = 1 + value[1..].iter().take_while(|b| b.is_ascii_digit()).count();
        self.nanoseconds = fraction(&value[..length])?;
        Some(&value[length..])
    }

    fn numeric_zone<'v>(&mut self, value: &'v [u8], how: Offset) -> Option<&'v [u8]> {
        if how.zulu && value.first() == Some(&b'Z') {
            self.utc = true;
            return Some(&value[1..]);
        }
        let colon = usize::from(how.colons);
        let mut length = 3;
        let mut parts = [0; 3];
        parts[0] = number(value.get(1..3)?)?;
        for (at, wanted) in [(1, how.minutes), (2, how.seconds)] {
            if !wanted {
                continue;
            }
            if how.colons && value.get(length) != Some(&b':') {
                return None;
            }
            length += colon;
            parts[at] = number(value.get(length..length + 2)?)?;
            length += 2;
        }
        let [hours, minutes, seconds] = parts;
        within(hours, 0, 24)?;
        within(minutes, 0, 60)?;
        within(seconds, 0, 60)?;
        let offset = i32::try_from((hours * 60 + minutes) * 60 + seconds).ok()?;
        self.offset = Some(match value[0] {
            b'+' => offset,
            b'-' => -offset,
            _ => return None,
        });
        Some(&value[length..])
    }

    fn time(mut self, local: &Zone) -> Option<Time> {
        if self.afternoon && self.hour < 12 {
            self.hour += 12;
        } else if self.morning && self.hour == 12 {
            self.hour = 0;
        }
        let (month, day) = self.date()?;
        let days = days_of_date(self.year, month, day);
        let clock = (self.hour * 60 + self.minute) * 60 + self.second;
        let at = |zone: Zone| Time::from_civil(days, clock, self.nanoseconds, zone);
        if self.utc {
            return Some(at(Zone::Utc));
        }
        let as_utc = at(Zone::Utc);
        // Go takes -1 for "no offset was read".
        if let Some(offset) = self.offset.filter(|offset| *offset != -1) {
            let seconds = as_utc.seconds - i64::from(offset);
            let (there, name) = local.at(seconds);
            let fits = there == offset && self.zone.as_ref().is_none_or(|zone| *zone == name);
            let zone = if fits {
                local.clone()
            } else {
                Zone::Fixed(offset, Rc::from(self.zone.unwrap_or_default()))
            };
            return Some(Time {
                seconds,
                nanoseconds: self.nanoseconds,
                zone,
            });
        }
        if let Some(name) = &self.zone {
            let here = at(local.clone());
            if local.at(here.seconds).1 == *name {
                return Some(here);
            }
            let hours = name
                .strip_prefix("GMT")
                .and_then(|hours| hours.parse::<i32>().ok());
            let offset = hours.unwrap_or(0) * 3600;
            // Without rules for the name, Go keeps the clock as if it were UTC.
            return Some(as_utc.in_zone(Zone::Fixed(offset, Rc::from(name.as_str()))));
        }
        Some(at(local.clone()))
    }

    /// The month and the day, from a day of the year or as they were read.
    fn date(&self) -> Option<(i64, i64)> {
        let Some(year_day) = self.year_day else {
            let month = self.month.unwrap_or(1);
            let day = self.day.unwrap_or(1);
            let length = days_of_date(self.year, month + 1, 1) - days_of_date(self.year, month, 1);
            return Some((month, within(day, 1, length)?));
        };
        let start = days_of_date(self.year, 1, 1);
        within(year_day, 1, days_of_date(self.year + 1, 1, 1) - start)?;
        let month = (1..=12)
            .rev()
            .find(|month| days_of_date(self.year, *month, 1) - start < year_day)?;
        let day = year_day - (days_of_date(self.year, month, 1) - start);
        let agrees = self.month.is_none_or(|m| m == month) && self.day.is_none_or(|d| d == day);
        agrees.then_some((month, day))
    }
}

fn within(number: i64, low: i64, high: i64) -> Option<i64> {
    (low..=high).contains(&number).then_some(number)
}

fn digit(value: &[u8], at: usize) -> bool {
    value.get(at).is_some_and(u8::is_ascii_digit)
}

fn point(byte: u8) -> bool {
    matches!(byte, b'.' | b',')
}

fn number(digits: &[u8]) -> Option<i64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn two_digits(value: &[u8], both: bool) -> Option<(i64, &[u8])> {
    if !digit(value, 0) {
        return None;
    }
    let length = if digit(value, 1) { 2 } else { 1 };
    if both && length < 2 {
        return None;
    }
    Some((number(&value[..length])?, &value[length..]))
}

fn year_day(value: &[u8], all: bool) -> Option<(i64, &[u8])> {
    let mut value = value;
    for _ in 0..2 {
        if !all && value.first() == Some(&b' ') {
            value = &value[1..];
        }
    }
    let length = value
        .iter()
        .take(3)
        .take_while(|b| b.is_ascii_digit())
        .count();
    if all && length != 3 {
        return None;
    }
    Some((number(&value[..length])?, &value[length..]))
}

/// Reads a name, whatever its case: its number and the rest.
fn lookup<'v>(names: &[&str], length: usize, value: &'v [u8]) -> Option<(i64, &'v [u8])> {
    for (at, name) in names.iter().enumerate() {
        let name = &name.as_bytes()[..length.min(name.len())];
        if value
            .get(..name.len())
            .is_some_and(|v| v.eq_ignore_ascii_case(name))
        {
            return Some((i64::try_from(at).ok()?, &value[name.len()..]));
        }
    }
    None
}

/// Reads the point and digits, at most nine of them.
fn fraction(text: &[u8]) -> Option<u32> {
    if !point(*text.first()?) {
        return None;
    }
    let digits = &text[1..text.len().min(10)];
    let value = u32::try_from(number(digits)?).ok()?;
    Some(value * 10u32.pow(u32::try_from(9 - digits.len()).ok()?))
}

/// Passes what the layout has as it is; a run of spaces fits any run, or the end.
fn skip<'v>(value: &'v [u8], text: &[u8]) -> Option<&'v [u8]> {
    let mut value = value;
    let mut text = text;
    let past_spaces = |t: &[u8]| t.iter().take_while(|b| **b == b' ').count();
    while let Some(wanted) = text.first() {
        if *wanted == b' ' {
            if value.first().is_some_and(|b| *b != b' ') {
                return None;
            }
            text = &text[past_spaces(text)..];
            value = &value[past_spaces(value)..];
            continue;
        }
        if value.first() != Some(wanted) {
            return None;
        }
        text = &text[1..];
        value = &value[1..];
    }
    Some(value)
}

/// The length of a zone's abbreviation.
fn zone_name(value: &[u8]) -> Option<usize> {
    if value.len() < 3 {
        return None;
    }
    if value.starts_with(b"ChST") || value.starts_with(b"MeST") {
        return Some(4);
    }
    if let Some(offset) = value.strip_prefix(b"GMT") {
        return Some(3 + signed_offset(offset));
    }
    if matches!(value[0], b'+' | b'-') {
        return Some(signed_offset(value)).filter(|length| *length > 0);
    }
    let upper = value
        .iter()
        .take(6)
        .take_while(|b| b.is_ascii_uppercase())
        .count();
    match upper {
        5 if value[4] == b'T' => Some(5),
        4 if value[3] == b'T' || value.starts_with(b"WITA") => Some(4),
        3 => Some(3),
        _ => None,
    }
}

fn signed_offset(value: &[u8]) -> usize {
    if !matches!(value.first(), Some(b'+' | b'-')) {
        return 0;
    }
    let digits = value[1..].iter().take_while(|b| b.is_ascii_digit()).count();
    match number(&value[1..=digits]) {
        Some(hours) if hours <= 23 => digits + 1,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_in_go() {
        for (layout, value, wanted) in [
            ("2006-01-02", "2023-11-14", "2023-11-14 00:00:00 +0000 UTC"),
            (
                "2006-01-02T15:04:05Z07:00",
                "2023-11-14T01:02:03.5+02:00",
                "2023-11-14 01:02:03.5 +0200 +0200",
            ),
            (
                "Jan _2 3:04PM 06",
                "feb  3 12:07AM 70",
                "1970-02-03 00:07:00 +0000 UTC",
            ),
            ("2006 002", "2024 060", "2024-02-29 00:00:00 +0000 UTC"),
            (
                "2006-01-02 MST",
                "2023-11-14 CET",
                "2023-11-14 00:00:00 +0000 CET",
            ),
            (
                "15:04:05.000",
                "01:02:03.456",
                "0000-01-01 01:02:03.456 +0000 UTC",
            ),
        ] {
            let time = parse(layout.as_bytes(), value.as_bytes(), &Zone::Utc).unwrap();
            assert_eq!(time.to_string(), wanted, "{layout} {value}");
        }
        for (layout, value) in [
            ("2006-01-02", "2023-02-30"),
            ("2006-01-02", "2023-1-02"),
            ("2006-01-02", "2023-01-02 "),
            ("15:04", "24:00"),
            ("MST", "cet"),
        ] {
            assert!(parse(layout.as_bytes(), value.as_bytes(), &Zone::Utc).is_none());
        }
    }
}
