//! `age` and the functions that bring intervals into usual form (`timestamp_age`, `interval_justify_interval`), and
//! `to_timestamp` of seconds.

use std::sync::Arc;

use arrow::array::timezone::Tz;
use arrow::array::{ArrayRef, AsArray, IntervalMonthDayNanoArray, TimestampMicrosecondArray};
use arrow::datatypes::{
    DataType, Float64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, TimestampMicrosecondType,
};
use chrono::{DateTime, Datelike, NaiveDate, Timelike};
use datafusion::error::Result as EngineResult;
use datafusion::logical_expr::{ScalarUDF, Volatility};
use sluice_spi::{Error, Result, SqlState};

use super::clocks::{Clock, INTERVAL, is_text, timestamp, timestamptz};
use super::moments::{self, DAY_MICROS};

const DAY_NANOS: i64 = DAY_MICROS * 1000;
const MONTH_DAYS: i32 = 30;

pub(super) fn functions() -> Vec<ScalarUDF> {
    use Volatility::{Immutable, Stable};
    let takes = |types: &[DataType]| -> Option<Vec<DataType>> {
        matches!(types, [DataType::Interval(_) | DataType::Null]).then(|| vec![INTERVAL])
    };
    vec![
        Clock::declare(
            "age",
            Immutable,
            moments_of,
            |_| INTERVAL,
            |columns, _| ages(columns, None),
        ),
        Clock::declare(
            "age_here",
            Stable,
            |types| (types.len() == 2).then(|| vec![timestamptz(), timestamptz()]),
            |_| INTERVAL,
            |columns, zone| ages(columns, Some(zone)),
        ),
        Clock::declare(
            "justify_hours",
            Immutable,
            takes,
            |_| INTERVAL,
            |columns, _| each(columns, justify_hours),
        ),
        Clock::declare(
            "justify_days",
            Immutable,
            takes,
            |_| INTERVAL,
            |columns, _| each(columns, justify_days),
        ),
        Clock::declare(
            "justify_interval",
            Immutable,
            takes,
            |_| INTERVAL,
            |columns, _| each(columns, justify_interval),
        ),
        Clock::declare(
            "to_timestamp",
            Immutable,
            seconds,
            |_| timestamptz(),
            to_timestamp,
        ),
    ]
}

/// One or two moments. With instants among them the planner takes `age_here`, and it adds today's date to one.
fn moments_of(types: &[DataType]) -> Option<Vec<DataType>> {
    let known =
        |t: &DataType| matches!(t, DataType::Timestamp(..) | DataType::Date32) || is_text(t);
    if !matches!(types.len(), 1 | 2) || !types.iter().all(known) {
        return None;
    }
    let zoned = types
        .iter()
        .any(|t| matches!(t, DataType::Timestamp(_, Some(_))));
    Some(match zoned {
        true => types.to_vec(),
        false => vec![timestamp(); types.len()],
    })
}

fn out_of_range(what: &str) -> Error {
    Error::new(SqlState::DATETIME_OVERFLOW, format!("{what} out of range"))
}

fn ages(columns: &[ArrayRef], zone: Option<&Tz>) -> EngineResult<ArrayRef> {
    let (Some(ends), Some(begins)) = (
        columns
            .first()
            .and_then(|c| c.as_primitive_opt::<TimestampMicrosecondType>()),
        columns
            .get(1)
            .and_then(|c| c.as_primitive_opt::<TimestampMicrosecondType>()),
    ) else {
        return Err(Error::internal("age() without two moments").into());
    };
    let shown = |micros: i64| match zone {
        Some(zone) => moments::shown_in(micros, zone),
        None => Ok(micros),
    };
    let values = ends
        .iter()
        .zip(begins.iter())
        .map(|(end, begin)| {
            end.zip(begin)
                .map(|(end, begin)| age(shown(end)?, shown(begin)?, end < begin))
                .transpose()
        })
        .collect::<Result<IntervalMonthDayNanoArray>>()?;
    Ok(Arc::new(values))
}

/// The difference field by field. Days are borrowed from the month of the earlier moment.
fn age(end: i64, begin: i64, negative: bool) -> Result<IntervalMonthDayNano> {
    let moment = |micros: i64| {
        DateTime::from_timestamp_micros(micros)
            .filter(|_| !matches!(micros, i64::MIN | i64::MAX))
            .map(|at| at.naive_utc())
            .ok_or_else(|| out_of_range("timestamp"))
    };
    let (late, early) = match negative {
        true => (moment(begin)?, moment(end)?),
        false => (moment(end)?, moment(begin)?),
    };
    let clock = |at: &chrono::NaiveDateTime| {
        i64::from(at.num_seconds_from_midnight()) * 1_000_000 + i64::from(at.nanosecond() / 1000)
    };
    let mut micros = clock(&late) - clock(&early);
    let mut days = late.day() as i32 - early.day() as i32;
    let mut months = (late.year() - early.year()) * 12 + late.month() as i32 - early.month() as i32;
    if micros < 0 {
        micros += DAY_MICROS;
        days -= 1;
    }
    while days < 0 {
        days += days_of_month(early.year(), early.month());
        months -= 1;
    }
    let sign = if negative { -1 } else { 1 };
    Ok(IntervalMonthDayNano::new(
        months * sign,
        days * sign,
        micros * 1000 * i64::from(sign),
    ))
}

fn days_of_month(year: i32, month: u32) -> i32 {
    let next = match month {
        12 => NaiveDate::from_ymd_opt(year + 1, 1, 1),
        _ => NaiveDate::from_ymd_opt(year, month + 1, 1),
    };
    next.and_then(|next| next.pred_opt())
        .map_or(MONTH_DAYS, |last| last.day() as i32)
}

fn each(
    columns: &[ArrayRef],
    justified: fn(IntervalMonthDayNano) -> Option<IntervalMonthDayNano>,
) -> EngineResult<ArrayRef> {
    let values = columns[0]
        .as_primitive::<IntervalMonthDayNanoType>()
        .iter()
        .map(|interval| {
            interval
                .map(|interval| justified(interval).ok_or_else(|| out_of_range("interval")))
                .transpose()
        })
        .collect::<Result<IntervalMonthDayNanoArray>>()?;
    Ok(Arc::new(values))
}

/// Whole days of the time, and one sign for both.
fn justify_hours(interval: IntervalMonthDayNano) -> Option<IntervalMonthDayNano> {
    let mut nanos = interval.nanoseconds % DAY_NANOS;
    let whole = i32::try_from(interval.nanoseconds / DAY_NANOS).ok()?;
    let mut days = interval.days.checked_add(whole)?;
    if days > 0 && nanos < 0 {
        nanos += DAY_NANOS;
        days -= 1;
    } else if days < 0 && nanos > 0 {
        nanos -= DAY_NANOS;
        days += 1;
    }
    Some(IntervalMonthDayNano::new(interval.months, days, nanos))
}

/// Whole months of thirty days, and one sign for both.
fn justify_days(interval: IntervalMonthDayNano) -> Option<IntervalMonthDayNano> {
    let mut days = interval.days % MONTH_DAYS;
    let mut months = interval.months.checked_add(interval.days / MONTH_DAYS)?;
    if months > 0 && days < 0 {
        days += MONTH_DAYS;
        months -= 1;
    } else if months < 0 && days > 0 {
        days -= MONTH_DAYS;
        months += 1;
    }
    Some(IntervalMonthDayNano::new(
        months,
        days,
        interval.nanoseconds,
    ))
}

/// Both, and one sign for all three parts.
fn justify_interval(interval: IntervalMonthDayNano) -> Option<IntervalMonthDayNano> {
    let mut nanos = interval.nanoseconds % DAY_NANOS;
    let all_days = i64::from(interval.days) + interval.nanoseconds / DAY_NANOS;
    let mut days = (all_days % i64::from(MONTH_DAYS)) as i32;
    let whole = i32::try_from(all_days / i64::from(MONTH_DAYS)).ok()?;
    let mut months = interval.months.checked_add(whole)?;
    if months > 0 && (days < 0 || (days == 0 && nanos < 0)) {
        days += MONTH_DAYS;
        months -= 1;
    } else if months < 0 && (days > 0 || (days == 0 && nanos > 0)) {
        days -= MONTH_DAYS;
        months += 1;
    }
    if days > 0 && nanos < 0 {
        nanos += DAY_NANOS;
        days -= 1;
    } else if days < 0 && nanos > 0 {
        nanos -= DAY_NANOS;
        days += 1;
    }
    Some(IntervalMonthDayNano::new(months, days, nanos))
}

/// The form with a template is not there: the engine's own reads its template otherwise.
fn seconds(types: &[DataType]) -> Option<Vec<DataType>> {
    match types {
        [t] if t.is_numeric() || is_text(t) => Some(vec![DataType::Float64]),
        _ => None,
    }
}

/// `float8_timestamptz`.
fn to_timestamp(columns: &[ArrayRef], _: &Tz) -> EngineResult<ArrayRef> {
    /// Seconds of 294277-01-01, the first that is not a timestamp.
    const END: f64 = 9_224_318_016_000.0;
    /// Seconds of 4714-11-24 BC.
    const BEGIN: f64 = -210_866_803_200.0;
    let instant = |seconds: f64| {
        if seconds.is_infinite() {
            return Ok(if seconds > 0.0 { i64::MAX } else { i64::MIN });
        }
        if seconds.is_nan() {
            return Err(Error::new(
                SqlState::DATETIME_OVERFLOW,
                "timestamp cannot be NaN",
            ));
        }
        if !(BEGIN..END).contains(&seconds) {
            let message = format!("timestamp out of range: \"{seconds}\"");
            return Err(Error::new(SqlState::DATETIME_OVERFLOW, message));
        }
        // Counted from 2000, as PostgreSQL counts, so that the rounding is the same.
        const EPOCH_2000: i64 = 946_684_800;
        let since = ((seconds - EPOCH_2000 as f64) * 1e6).round_ties_even() as i64;
        Ok(since + EPOCH_2000 * 1_000_000)
    };
    let values = columns[0]
        .as_primitive::<Float64Type>()
        .iter()
        .map(|seconds| seconds.map(instant).transpose())
        .collect::<Result<TimestampMicrosecondArray>>()?;
    Ok(Arc::new(values.with_timezone("UTC")))
}

#[cfg(test)]
mod tests {
    use super::super::intervals::parse;
    use super::*;

    /// Taken from a real server.
    #[test]
    fn ages_are_counted_by_the_calendar() {
        for (end, begin, expected) in [
            ("2024-03-01", "2023-01-15", "1 year 1 mon 17 days"),
            ("2023-01-15", "2024-03-01", "-1 years -1 mons -17 days"),
            (
                "2024-03-31 01:00",
                "2024-02-29 02:00",
                "1 mon 1 day 23:00:00",
            ),
            ("2024-01-01", "2024-01-01", "0"),
        ] {
            let at = |text: &str| moments::timestamp(text).unwrap();
            let (end_at, begin_at) = (at(end), at(begin));
            let found = age(end_at, begin_at, end_at < begin_at).unwrap();
            assert_eq!(found, parse(expected).unwrap(), "{end} {begin}");
        }
    }

    #[test]
    fn intervals_are_justified() {
        let check =
            |f: fn(IntervalMonthDayNano) -> Option<IntervalMonthDayNano>, text, expected| {
                assert_eq!(
                    f(parse(text).unwrap()),
                    Some(parse(expected).unwrap()),
                    "{text}"
                );
            };
        check(justify_hours, "30 hours", "1 day 06:00:00");
        check(justify_hours, "-30 hours", "-1 days -06:00:00");
        check(justify_days, "40 days", "1 mon 10 days");
        check(justify_interval, "1 mon -1 hour", "29 days 23:00:00");
        check(justify_interval, "-1 mon 1 hour", "-29 days -23:00:00");
    }
}
