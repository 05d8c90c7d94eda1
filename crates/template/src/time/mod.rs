//! Go's package `time`: points in time, durations, layouts.

mod duration;
mod layout;
mod parse;

use std::fmt;
use std::rc::Rc;

use jiff::Timestamp;
use jiff::tz::TimeZone;

pub(crate) use duration::{
    HOUR, MINUTE, SECOND, duration_text, parse_duration, round_duration, truncate_duration,
};
pub(crate) use parse::{NO_TIME, parse};

/// A point in time and the zone it is shown in.
#[derive(Clone)]
pub(crate) struct Time {
    /// Seconds since 1970.
    pub(crate) seconds: i64,
    pub(crate) nanoseconds: u32,
    pub(crate) zone: Zone,
}

/// The zone that a time is shown in.
#[derive(Clone)]
pub(crate) enum Zone {
    Utc,
    /// A zone with rules; `Local` is one of them.
    Named(Rc<TimeZone>),
    /// An offset in seconds and the name it was read with, which may be empty.
    Fixed(i32, Rc<str>),
}

/// Midnight of 1 January of the year 1, Go's zero time, in seconds.
const ZERO_SECONDS: i64 = -62_135_596_800;
pub(crate) const DAY_SECONDS: i64 = 86_400;

impl Time {
    pub(crate) fn zero() -> Self {
        Self {
            seconds: ZERO_SECONDS,
            nanoseconds: 0,
            zone: Zone::Utc,
        }
    }

    pub(crate) fn from_seconds(seconds: i64, zone: Zone) -> Self {
        Self {
            seconds,
            nanoseconds: 0,
            zone,
        }
    }

    pub(crate) fn from_timestamp(timestamp: Timestamp, zone: Zone) -> Self {
        let nanoseconds = timestamp.as_nanosecond();
        let seconds = nanoseconds.div_euclid(1_000_000_000);
        let rest = nanoseconds.rem_euclid(1_000_000_000);
        Self {
            seconds: i64::try_from(seconds).unwrap_or(0),
            nanoseconds: u32::try_from(rest).unwrap_or(0),
            zone,
        }
    }

    /// The time of a civil date and clock in a zone, as Go's `Date` finds it.
    pub(crate) fn from_civil(days: i64, seconds_of_day: i64, nanoseconds: u32, zone: Zone) -> Self {
        let local = days
            .saturating_mul(DAY_SECONDS)
            .saturating_add(seconds_of_day);
        let (guess, _) = zone.at(local);
        let (offset, _) = zone.at(local.saturating_sub(i64::from(guess)));
        Self {
            seconds: local.saturating_sub(i64::from(offset)),
            nanoseconds,
            zone,
        }
    }

    /// Adds nanoseconds.
    pub(crate) fn plus(&self, nanoseconds: i64) -> Self {
        let sum = i64::from(self.nanoseconds) + nanoseconds.rem_euclid(SECOND);
        let seconds = nanoseconds.div_euclid(SECOND) + sum / SECOND;
        Self {
            seconds: self.seconds.saturating_add(seconds),
            nanoseconds: u32::try_from(sum % SECOND).unwrap_or(0),
            zone: self.zone.clone(),
        }
    }

    /// The nanoseconds since another time, as far as 64 bits hold them.
    pub(crate) fn since(&self, other: &Self) -> i64 {
        let whole = i128::from(self.seconds) - i128::from(other.seconds);
        let part = i128::from(self.nanoseconds) - i128::from(other.nanoseconds);
        let total = whole * i128::from(SECOND) + part;
        i64::try_from(total).unwrap_or(if total < 0 { i64::MIN } else { i64::MAX })
    }

    pub(crate) fn is_zero(&self) -> bool {
        self.seconds == ZERO_SECONDS && self.nanoseconds == 0
    }

    pub(crate) fn in_zone(&self, zone: Zone) -> Self {
        Self {
            zone,
            ..self.clone()
        }
    }

    pub(crate) fn civil(&self) -> Civil {
        let (offset, name) = self.zone.at(self.seconds);
        let local = self.seconds.saturating_add(i64::from(offset));
        let days = local.div_euclid(DAY_SECONDS);
        let of_day = local.rem_euclid(DAY_SECONDS);
        let (year, month, day) = date_of_days(days);
        Civil {
            year,
            month,
            day,
            year_day: days - days_of_date(year, 1, 1) + 1,
            weekday: (days + 4).rem_euclid(7),
            hour: of_day / 3600,
            minute: of_day / 60 % 60,
            second: of_day % 60,
            offset,
            zone: name,
        }
    }

    /// Prints by a layout.
    pub(crate) fn format(&self, layout: &[u8]) -> Vec<u8> {
        layout::format(self, layout)
    }

    pub(crate) fn is_same_moment(&self, other: &Self) -> bool {
        self.seconds == other.seconds && self.nanoseconds == other.nanoseconds
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.format(b"2006-01-02 15:04:05.999999999 -0700 MST");
        f.write_str(&String::from_utf8_lossy(&text))
    }
}

impl Zone {
    /// The offset and the abbreviation at a time.
    pub(crate) fn at(&self, seconds: i64) -> (i32, String) {
        match self {
            Self::Utc => (0, "UTC".to_owned()),
            Self::Fixed(offset, name) => (*offset, name.to_string()),
            Self::Named(zone) => {
                let range = Timestamp::MIN.as_second()..=Timestamp::MAX.as_second();
                let seconds = seconds.clamp(*range.start(), *range.end());
                let timestamp = Timestamp::from_second(seconds).unwrap_or_default();
                let info = zone.to_offset_info(timestamp);
                (info.offset().seconds(), info.abbreviation().to_owned())
            }
        }
    }
}

/// A time in parts, in its zone.
pub(crate) struct Civil {
    pub(crate) year: i64,
    pub(crate) month: i64,
    pub(crate) day: i64,
    /// From 1.
    pub(crate) year_day: i64,
    /// From Sunday, 0.
    pub(crate) weekday: i64,
    pub(crate) hour: i64,
    pub(crate) minute: i64,
    pub(crate) second: i64,
    /// Seconds east of UTC.
    pub(crate) offset: i32,
    pub(crate) zone: String,
}

/// Days since 1970 of a date in the Gregorian calendar; months beyond 1..=12 carry over into years.
pub(crate) fn days_of_date(year: i64, month: i64, day: i64) -> i64 {
    // Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", days_from_civil
    let year = year.saturating_add((month - 1).div_euclid(12));
    let month = (month - 1).rem_euclid(12) + 1;
    let shifted = if month <= 2 { year - 1 } else { year };
    let era = shifted.div_euclid(400);
    let year_of_era = shifted.rem_euclid(400);
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era.saturating_mul(146_097).saturating_add(day_of_era) - 719_468
}

fn date_of_days(days: i64) -> (i64, i64, i64) {
    // The same source, civil_from_days
    let shifted = days.saturating_add(719_468);
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

pub(crate) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
pub(crate) const WEEKDAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];

/// `time.Month.String`.
pub(crate) fn month_text(month: i64) -> String {
    let name = usize::try_from(month - 1).ok().and_then(|m| MONTHS.get(m));
    name.map_or_else(|| format!("%!Month({month})"), |name| (*name).to_owned())
}

/// `time.Weekday.String`.
pub(crate) fn weekday_text(day: i64) -> String {
    let name = usize::try_from(day).ok().and_then(|d| WEEKDAYS.get(d));
    name.map_or_else(|| format!("%!Weekday({day})"), |name| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_go_there_and_back() {
        for days in [
            -800_000, -719_468, -1, 0, 1, 59, 60, 11_016, 20_000, 3_000_000,
        ] {
            let (year, month, day) = date_of_days(days);
            assert_eq!(days_of_date(year, month, day), days);
        }
        assert_eq!(days_of_date(2000, 14, 1), days_of_date(2001, 2, 1));
    }

    #[test]
    fn times_print_as_in_go() {
        assert_eq!(Time::zero().to_string(), "0001-01-01 00:00:00 +0000 UTC");
        let time = Time::from_seconds(1_700_000_000, Zone::Utc).plus(120_000_000);
        assert_eq!(time.to_string(), "2023-11-14 22:13:20.12 +0000 UTC");
        assert_eq!(
            time.format(b"Mon Jan _2 3:04PM 06 002 .000 Z07:00 -0700 Monday January"),
            b"Tue Nov 14 10:13PM 23 318 .120 Z +0000 Tuesday November"
        );
        let far = Time::from_seconds(i64::MAX, Zone::Utc);
        assert!(!far.to_string().is_empty());
    }
}
