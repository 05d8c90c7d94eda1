//! sprig: dates and durations.

use std::rc::Rc;

use super::cast::text;
use super::{Args as _, Entry};
use crate::error::Failure;
use crate::run::Run;
use crate::strconv;
use crate::time::{
    self, HOUR, MINUTE, NO_TIME, SECOND, Time, Zone, duration_text, parse_duration, round_duration,
};
use crate::value::{IntType, Str, Value};

pub(super) const TABLE: &[Entry] = &[
    ("now", "", |run, _| Ok(Value::Time(now(run)))),
    ("date", "string any", |run, a| {
        let local = local(run);
        format(run, &a.str(0), &a[1], local)
    }),
    ("dateInZone", "string any string", date_in_zone),
    ("date_in_zone", "string any string", date_in_zone),
    ("htmlDate", "any", |run, a| {
        let local = local(run);
        format(run, b"2006-01-02", &a[0], local)
    }),
    ("htmlDateInZone", "any string", |run, a| {
        let zone = zone(run, &a.str(1));
        format(run, b"2006-01-02", &a[0], zone)
    }),
    ("ago", "any", |run, a| {
        let then = moment(run, &a[0]);
        let passed = now(run).since(&then);
        text(run, duration_text(round_duration(passed, SECOND)))
    }),
    ("duration", "any", |run, a| {
        let seconds = match &a[0] {
            Value::String(digits) => strconv::parse_int(digits, 10).0,
            Value::Int(IntType::Int64, seconds) => *seconds,
            _ => 0,
        };
        text(run, duration_text(seconds.wrapping_mul(SECOND)))
    }),
    ("durationRound", "any", duration_round),
    ("dateModify", "string time", |_, a| {
        Ok(modified(a).unwrap_or_else(|_| a[1].clone()))
    }),
    ("date_modify", "string time", |_, a| {
        Ok(modified(a).unwrap_or_else(|_| a[1].clone()))
    }),
    ("mustDateModify", "string time", |_, a| modified(a)),
    ("must_date_modify", "string time", |_, a| modified(a)),
    ("toDate", "string string", |run, a| {
        let local = local(run);
        let time = time::parse(&a.str(0), &a.str(1), &local);
        Ok(Value::Time(time.unwrap_or_else(Time::zero)))
    }),
    ("mustToDate", "string string", |run, a| {
        let local = local(run);
        let time = time::parse(&a.str(0), &a.str(1), &local);
        time.map(Value::Time).ok_or_else(|| Failure::new(NO_TIME))
    }),
    ("unixEpoch", "time", |run, a| {
        text(run, a.time(0).seconds.to_string())
    }),
];

type Result = std::result::Result<Value, Failure>;

fn now(run: &Run<'_, '_>) -> Time {
    Time::from_timestamp((run.env.now)(), local(run))
}

pub(super) fn local(run: &Run<'_, '_>) -> Zone {
    Zone::Named(Rc::new(run.env.local.clone()))
}

/// A zone by name; what is not known is UTC.
fn zone(run: &Run<'_, '_>, name: &Str) -> Zone {
    match &**name {
        b"" | b"UTC" => Zone::Utc,
        b"Local" => local(run),
        name => std::str::from_utf8(name)
            .ok()
            .and_then(|name| {
                let zone = run.env.zones.get(name).ok()?;
                // Go's names are case-sensitive.
                (zone.iana_name() == Some(name)).then_some(zone)
            })
            .map_or(Zone::Utc, |zone| Zone::Named(Rc::new(zone))),
    }
}

/// A time or seconds since 1970; anything else is now.
fn moment(run: &Run<'_, '_>, value: &Value) -> Time {
    match value {
        Value::Time(time) => time.clone(),
        Value::Int(IntType::Int | IntType::Int64, seconds) => {
            Time::from_seconds(*seconds, local(run))
        }
        _ => now(run),
    }
}

fn format(run: &mut Run<'_, '_>, layout: &[u8], value: &Value, zone: Zone) -> Result {
    run.work(layout.len() * 8)?;
    let time = moment(run, value).in_zone(zone);
    text(run, time.format(layout))
}

fn date_in_zone(run: &mut Run<'_, '_>, a: &[Value]) -> Result {
    let zone = zone(run, &a.str(2));
    format(run, &a.str(0), &a[1], zone)
}

fn modified(a: &[Value]) -> Result {
    let duration = parse_duration(&a.str(0)).map_err(Failure::new)?;
    Ok(Value::Time(a.time(1).plus(duration)))
}

fn duration_round(run: &mut Run<'_, '_>, a: &[Value]) -> Result {
    let duration = match &a[0] {
        Value::String(written) => parse_duration(written).unwrap_or(0),
        Value::Int(IntType::Int64, duration) => *duration,
        Value::Time(then) => now(run).since(then),
        _ => 0,
    };
    let duration = duration.unsigned_abs();
    let day = (24 * HOUR).unsigned_abs();
    let units = [
        (365 * day, "y"),
        (30 * day, "mo"),
        (day, "d"),
        (HOUR.unsigned_abs(), "h"),
        (MINUTE.unsigned_abs(), "m"),
        (SECOND.unsigned_abs(), "s"),
    ];
    // Exactly one unit counts as several of the next smaller one.
    let unit = units.into_iter().find(|(unit, _)| duration > *unit);
    text(
        run,
        unit.map_or_else(
            || "0s".to_owned(),
            |(unit, name)| format!("{}{name}", duration / unit),
        ),
    )
}
