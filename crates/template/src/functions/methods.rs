//! The methods that templates can call on values of Go's and sprig's own types.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::LazyLock;

use super::semver::Version;
use super::{Args as _, Entry, Function};
use crate::error::Failure;
use crate::run::Run;
use crate::time::{
    self, HOUR, MINUTE, SECOND, Time, Zone, days_of_date, duration_text, round_duration,
    truncate_duration,
};
use crate::value::{IntType, UintType, Value};

/// Finds a method of a value.
pub(crate) fn find(value: &Value, name: &str) -> Option<&'static Function> {
    type Table = LazyLock<HashMap<&'static str, Function>>;
    static TIMES: Table = LazyLock::new(|| table(TIME));
    static DURATIONS: Table = LazyLock::new(|| table(DURATION));
    static NAMED: Table = LazyLock::new(|| table(MONTH_OR_WEEKDAY));
    static VERSIONS: Table = LazyLock::new(|| table(VERSION));
    let table = match value {
        Value::Time(_) => &TIMES,
        Value::Int(IntType::Duration, _) => &DURATIONS,
        Value::Int(IntType::Month | IntType::Weekday, _) => &NAMED,
        Value::Version(version) if version.by_value && POINTER_METHODS.contains(&name) => {
            return None;
        }
        Value::Version(_) => &VERSIONS,
        _ => return None,
    };
    table.get(name)
}

fn table(entries: &'static [Entry]) -> HashMap<&'static str, Function> {
    let entries = entries.iter();
    entries
        .map(|(name, signature, body)| (*name, Function::new(signature, *body)))
        .collect()
}

const TIME: &[Entry] = &[
    ("Format", "string", |run, a| {
        let layout = a.str(1);
        run.work(layout.len() * 8)?;
        Ok(Value::string(a.time(0).format(&layout)))
    }),
    ("String", "", |_, a| {
        Ok(Value::string(a.time(0).to_string()))
    }),
    ("Unix", "", |_, a| Ok(Value::int64(a.time(0).seconds))),
    ("UnixMilli", "", |_, a| {
        Ok(Value::int64(scaled(&a.time(0), 1_000)))
    }),
    ("UnixMicro", "", |_, a| {
        Ok(Value::int64(scaled(&a.time(0), 1_000_000)))
    }),
    ("UnixNano", "", |_, a| {
        Ok(Value::int64(scaled(&a.time(0), SECOND)))
    }),
    ("Year", "", |_, a| Ok(Value::int(a.time(0).civil().year))),
    ("Month", "", |_, a| {
        Ok(Value::Int(IntType::Month, a.time(0).civil().month))
    }),
    ("Day", "", |_, a| Ok(Value::int(a.time(0).civil().day))),
    ("Hour", "", |_, a| Ok(Value::int(a.time(0).civil().hour))),
    ("Minute", "", |_, a| {
        Ok(Value::int(a.time(0).civil().minute))
    }),
    ("Second", "", |_, a| {
        Ok(Value::int(a.time(0).civil().second))
    }),
    ("Nanosecond", "", |_, a| {
        Ok(Value::int(i64::from(a.time(0).nanoseconds)))
    }),
    ("YearDay", "", |_, a| {
        Ok(Value::int(a.time(0).civil().year_day))
    }),
    ("Weekday", "", |_, a| {
        Ok(Value::Int(IntType::Weekday, a.time(0).civil().weekday))
    }),
    ("IsZero", "", |_, a| Ok(a.time(0).is_zero().into())),
    ("UTC", "", |_, a| {
        Ok(Value::Time(a.time(0).in_zone(Zone::Utc)))
    }),
    ("Local", "", |run, a| {
        let local = super::dates::local(run);
        Ok(Value::Time(a.time(0).in_zone(local)))
    }),
    ("Add", "duration", |_, a| {
        Ok(Value::Time(a.time(0).plus(a.int(1))))
    }),
    ("AddDate", "int int int", add_date),
    ("Sub", "time", |_, a| {
        Ok(Value::Int(IntType::Duration, a.time(0).since(&a.time(1))))
    }),
    ("Before", "time", |_, a| {
        Ok((order(a) == Ordering::Less).into())
    }),
    ("After", "time", |_, a| {
        Ok((order(a) == Ordering::Greater).into())
    }),
    ("Equal", "time", |_, a| {
        Ok((order(a) == Ordering::Equal).into())
    }),
    ("Compare", "time", |_, a| Ok(Value::int(order(a) as i64))),
    ("Truncate", "duration", |_, a| {
        let (time, rest) = (a.time(0), above_multiple(a));
        Ok(Value::Time(time.plus(-rest)))
    }),
    ("Round", "duration", |_, a| {
        let (time, multiple, rest) = (a.time(0), a.int(1), above_multiple(a));
        let up = multiple > 0 && rest >= multiple - rest;
        Ok(Value::Time(time.plus(if up {
            multiple - rest
        } else {
            -rest
        })))
    }),
];

fn scaled(time: &Time, per_second: i64) -> i64 {
    let part = i64::from(time.nanoseconds) / (SECOND / per_second);
    time.seconds.wrapping_mul(per_second).wrapping_add(part)
}

fn order(a: &[Value]) -> Ordering {
    let (one, two) = (a.time(0), a.time(1));
    (one.seconds, one.nanoseconds).cmp(&(two.seconds, two.nanoseconds))
}

/// How much the time is above a multiple of a duration, counted from the year 1.
fn above_multiple(a: &[Value]) -> i64 {
    let multiple = i128::from(a.int(1));
    if multiple <= 0 {
        return 0;
    }
    let (time, zero) = (a.time(0), Time::zero());
    let seconds = i128::from(time.seconds) - i128::from(zero.seconds);
    let total = seconds * i128::from(SECOND) + i128::from(time.nanoseconds);
    i64::try_from(total.rem_euclid(multiple)).unwrap_or(0)
}

fn add_date(_: &mut Run<'_, '_>, a: &[Value]) -> Result<Value, Failure> {
    let time = a.time(0);
    let civil = time.civil();
    let days = days_of_date(
        civil
            .year
            .saturating_add(a.int(1).clamp(-1_000_000, 1_000_000)),
        civil
            .month
            .saturating_add(a.int(2).clamp(-10_000_000, 10_000_000)),
        1,
    );
    let days = days.saturating_add(civil.day - 1);
    let days = days.saturating_add(a.int(3).clamp(-1_000_000_000, 1_000_000_000));
    let clock = (civil.hour * 60 + civil.minute) * 60 + civil.second;
    Ok(Value::Time(Time::from_civil(
        days,
        clock,
        time.nanoseconds,
        time.zone,
    )))
}

#[expect(clippy::cast_precision_loss, reason = "as Go computes them")]
fn in_units(value: i64, unit: i64) -> f64 {
    (value / unit) as f64 + (value % unit) as f64 / unit as f64
}

const DURATION: &[Entry] = &[
    ("String", "", |_, a| {
        Ok(Value::string(duration_text(a.int(0))))
    }),
    ("Hours", "", |_, a| Ok(in_units(a.int(0), HOUR).into())),
    ("Minutes", "", |_, a| Ok(in_units(a.int(0), MINUTE).into())),
    ("Seconds", "", |_, a| Ok(in_units(a.int(0), SECOND).into())),
    ("Milliseconds", "", |_, a| {
        Ok(Value::int64(a.int(0) / 1_000_000))
    }),
    ("Microseconds", "", |_, a| {
        Ok(Value::int64(a.int(0) / 1_000))
    }),
    ("Nanoseconds", "", |_, a| Ok(Value::int64(a.int(0)))),
    ("Abs", "", |_, a| {
        Ok(Value::Int(IntType::Duration, a.int(0).saturating_abs()))
    }),
    ("Round", "duration", |_, a| {
        Ok(Value::Int(
            IntType::Duration,
            round_duration(a.int(0), a.int(1)),
        ))
    }),
    ("Truncate", "duration", |_, a| {
        Ok(Value::Int(
            IntType::Duration,
            truncate_duration(a.int(0), a.int(1)),
        ))
    }),
];

const MONTH_OR_WEEKDAY: &[Entry] = &[("String", "", |_, a| {
    Ok(Value::string(match &a[0] {
        Value::Int(IntType::Month, month) => time::month_text(*month),
        _ => time::weekday_text(a.int(0)),
    }))
})];

/// What cannot be called on a version that is no pointer.
const POINTER_METHODS: [&str; 7] = [
    "Original",
    "Compare",
    "LessThan",
    "LessThanEqual",
    "GreaterThan",
    "GreaterThanEqual",
    "Equal",
];

const VERSION: &[Entry] = &[
    ("Major", "", |_, a| number(a, |v| v.major)),
    ("Minor", "", |_, a| number(a, |v| v.minor)),
    ("Patch", "", |_, a| number(a, |v| v.patch)),
    ("Prerelease", "", |_, a| field(a, |v| v.pre.clone())),
    ("Metadata", "", |_, a| field(a, |v| v.metadata.clone())),
    ("Original", "", |_, a| field(a, |v| v.original.clone())),
    ("String", "", |_, a| field(a, ToString::to_string)),
    ("Compare", "version", |_, a| {
        Ok(Value::int(version_order(a)? as i64))
    }),
    ("LessThan", "version", |_, a| {
        Ok((version_order(a)? == Ordering::Less).into())
    }),
    ("LessThanEqual", "version", |_, a| {
        Ok((version_order(a)? != Ordering::Greater).into())
    }),
    ("GreaterThan", "version", |_, a| {
        Ok((version_order(a)? == Ordering::Greater).into())
    }),
    ("GreaterThanEqual", "version", |_, a| {
        Ok((version_order(a)? != Ordering::Less).into())
    }),
    ("Equal", "version", |_, a| {
        Ok((version_order(a)? == Ordering::Equal).into())
    }),
    ("IncMajor", "", |_, a| {
        bumped(a, |v| v.bumped(v.major.wrapping_add(1), 0, 0))
    }),
    ("IncMinor", "", |_, a| {
        bumped(a, |v| v.bumped(v.major, v.minor.wrapping_add(1), 0))
    }),
    ("IncPatch", "", |_, a| {
        // A pre-release comes before the release of the same number.
        bumped(a, |v| {
            v.bumped(
                v.major,
                v.minor,
                v.patch.wrapping_add(u64::from(v.pre.is_empty())),
            )
        })
    }),
];

fn version(a: &[Value], at: usize) -> Result<Rc<Version>, Failure> {
    a.version(at)
        .ok_or_else(|| Failure::new("the version is missing"))
}

fn number(a: &[Value], of: fn(&Version) -> u64) -> Result<Value, Failure> {
    Ok(Value::Uint(UintType::Uint64, of(&*version(a, 0)?)))
}

fn field(a: &[Value], of: fn(&Version) -> String) -> Result<Value, Failure> {
    Ok(Value::string(of(&*version(a, 0)?)))
}

fn bumped(a: &[Value], of: fn(&Version) -> Version) -> Result<Value, Failure> {
    Ok(Value::Version(Rc::new(of(&*version(a, 0)?))))
}

fn version_order(a: &[Value]) -> Result<Ordering, Failure> {
    Ok(version(a, 0)?.compare(&*version(a, 1)?))
}
