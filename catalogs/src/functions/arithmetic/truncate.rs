//! `date_trunc`, of timestamps, instants and intervals (`timestamp_trunc` and its kin).
//!
//! The engine's own truncates an instant in UTC. Here `date_trunc(unit, timestamptz, zone)` is by the clocks of the
//! zone, and `date_trunc_here`, which stands for the form without a zone, by those of the session.

use std::sync::Arc;

use arrow::array::timezone::Tz;
use arrow::array::{
    Array, ArrayRef, AsArray, IntervalMonthDayNanoArray, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{
    DataType, IntervalMonthDayNano, IntervalMonthDayNanoType, TimestampMicrosecondType,
};
use chrono::{DateTime, Datelike, Duration, NaiveDate};
use datafusion::error::Result as EngineResult;
use datafusion::logical_expr::{ScalarUDF, Volatility};
use sluice_spi::{Error, Result, SqlState};

use super::clocks::{Clock, INTERVAL, Zones, is_text, timestamp, timestamptz};
use super::moments::{self, DAY_MICROS};

pub(super) fn functions() -> Vec<ScalarUDF> {
    vec![
        Clock::declare(
            "date_trunc",
            Volatility::Immutable,
            takes,
            |types| types.get(1).map_or(DataType::Null, kept),
            truncate,
        ),
        Clock::declare(
            "date_trunc_here",
            Volatility::Stable,
            |types| (types.len() == 2).then(|| vec![DataType::Utf8, timestamptz()]),
            |_| timestamptz(),
            truncate,
        ),
    ]
}

/// The type of the result: a date is an instant first.
fn kept(moment: &DataType) -> DataType {
    match moment {
        DataType::Timestamp(_, None) => timestamp(),
        DataType::Interval(_) => INTERVAL,
        _ => timestamptz(),
    }
}

fn takes(types: &[DataType]) -> Option<Vec<DataType>> {
    let (unit, moment, zone) = match types {
        [unit, moment] => (unit, moment, None),
        [unit, moment, zone] if is_text(zone) => (unit, moment, Some(DataType::Utf8)),
        _ => return None,
    };
    let known = matches!(
        moment,
        DataType::Timestamp(..) | DataType::Interval(_) | DataType::Date32 | DataType::Null
    ) || is_text(moment);
    if !is_text(unit) || !known {
        return None;
    }
    let moment = match (moment, &zone) {
        // What is no instant yet, the planner makes one of.
        (DataType::Date32, _) => DataType::Date32,
        (moment, _) if is_text(moment) => moment.clone(),
        (DataType::Timestamp(_, None) | DataType::Interval(_), Some(_)) => return None,
        (moment, _) => kept(moment),
    };
    Some([DataType::Utf8, moment].into_iter().chain(zone).collect())
}

/// A unit of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
enum Unit {
    Microsecond,
    Millisecond,
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Quarter,
    Year,
    Decade,
    Century,
    Millennium,
}

impl Unit {
    /// By PostgreSQL's names of it (`deltatktbl`).
    fn of(name: &str, type_name: &str) -> Result<Self> {
        Ok(match name.to_lowercase().as_str() {
            "us" | "usec" | "usecs" | "usecond" | "useconds" | "microsecond" | "microseconds"
            | "microsecon" => Unit::Microsecond,
            "ms" | "msec" | "msecs" | "msecond" | "mseconds" | "millisecond" | "milliseconds"
            | "millisecon" => Unit::Millisecond,
            "s" | "sec" | "secs" | "second" | "seconds" => Unit::Second,
            "m" | "min" | "mins" | "minute" | "minutes" => Unit::Minute,
            "h" | "hr" | "hrs" | "hour" | "hours" => Unit::Hour,
            "d" | "day" | "days" => Unit::Day,
            "w" | "week" | "weeks" => Unit::Week,
            "mon" | "mons" | "month" | "months" => Unit::Month,
            "qtr" | "quarter" => Unit::Quarter,
            "y" | "yr" | "yrs" | "year" | "years" => Unit::Year,
            "dec" | "decs" | "decade" | "decades" => Unit::Decade,
            "c" | "cent" | "century" | "centuries" => Unit::Century,
            "mil" | "mils" | "millennia" | "millennium" => Unit::Millennium,
            "timezone" | "timezone_h" | "timezone_hour" | "timezone_m" | "timezone_minute" => {
                let message = format!("unit \"{name}\" not supported for type {type_name}");
                return Err(Error::unsupported(message));
            }
            _ => {
                return Err(Error::new(
                    SqlState::INVALID_PARAMETER_VALUE,
                    format!("unit \"{name}\" not recognized for type {type_name}"),
                ));
            }
        })
    }

    /// Microseconds, of units of one length.
    fn length(self) -> Option<i64> {
        Some(match self {
            Unit::Microsecond => 1,
            Unit::Millisecond => 1000,
            Unit::Second => 1_000_000,
            Unit::Minute => 60_000_000,
            Unit::Hour => 3_600_000_000,
            Unit::Day => DAY_MICROS,
            _ => return None,
        })
    }
}

/// The units of a column; most columns have the same one in every row.
struct Units<'a> {
    names: &'a StringArray,
    type_name: &'static str,
    last: Option<(&'a str, Unit)>,
}

impl<'a> Units<'a> {
    fn of(column: &'a ArrayRef, type_name: &'static str) -> Self {
        Units {
            names: column.as_string::<i32>(),
            type_name,
            last: None,
        }
    }

    fn at(&mut self, row: usize) -> Result<Option<Unit>> {
        if self.names.is_null(row) {
            return Ok(None);
        }
        let name = self.names.value(row);
        if let Some((last, unit)) = self.last
            && last == name
        {
            return Ok(Some(unit));
        }
        let unit = Unit::of(name, self.type_name)?;
        self.last = Some((name, unit));
        Ok(Some(unit))
    }
}

fn truncate(columns: &[ArrayRef], session: &Tz) -> EngineResult<ArrayRef> {
    match columns[1].data_type() {
        DataType::Interval(_) => {
            let mut units = Units::of(&columns[0], "interval");
            let intervals = columns[1].as_primitive::<IntervalMonthDayNanoType>();
            let values = (0..intervals.len())
                .map(|row| {
                    let unit = units.at(row)?.filter(|_| intervals.is_valid(row));
                    unit.map(|unit| interval(unit, intervals.value(row)))
                        .transpose()
                })
                .collect::<Result<IntervalMonthDayNanoArray>>()?;
            Ok(Arc::new(values))
        }
        DataType::Timestamp(_, None) => {
            let mut units = Units::of(&columns[0], "timestamp without time zone");
            let moments = columns[1].as_primitive::<TimestampMicrosecondType>();
            let values = (0..moments.len())
                .map(|row| {
                    let unit = units.at(row)?.filter(|_| moments.is_valid(row));
                    unit.map(|unit| moment(unit, moments.value(row)))
                        .transpose()
                })
                .collect::<Result<TimestampMicrosecondArray>>()?;
            Ok(Arc::new(values))
        }
        DataType::Timestamp(..) => {
            let mut units = Units::of(&columns[0], "timestamp with time zone");
            let mut zones = columns.get(2).map(Zones::of);
            let moments = columns[1].as_primitive::<TimestampMicrosecondType>();
            let values = (0..moments.len())
                .map(|row| {
                    let zone = match &mut zones {
                        Some(zones) => zones.at(row)?,
                        None => Some(session),
                    };
                    let unit = units.at(row)?.filter(|_| moments.is_valid(row));
                    unit.zip(zone)
                        .map(|(unit, zone)| instant(unit, moments.value(row), zone))
                        .transpose()
                })
                .collect::<Result<TimestampMicrosecondArray>>()?;
            Ok(Arc::new(values.with_timezone("UTC")))
        }
        other => Err(Error::internal(format!("date_trunc over {other}")).into()),
    }
}

/// From days on, the offset of the truncated moment counts; below, that of the moment itself.
fn instant(unit: Unit, micros: i64, zone: &Tz) -> Result<i64> {
    if matches!(micros, i64::MIN | i64::MAX) {
        return Ok(micros);
    }
    let shown = moments::shown_in(micros, zone)?;
    let truncated = moment(unit, shown)?;
    if unit >= Unit::Day {
        moments::instant_in(truncated, zone)
    } else {
        Ok(truncated - (shown - micros))
    }
}

fn moment(unit: Unit, micros: i64) -> Result<i64> {
    if matches!(micros, i64::MIN | i64::MAX) {
        return Ok(micros);
    }
    if let Some(length) = unit.length() {
        return Ok(micros - micros.rem_euclid(length));
    }
    let too_far = || Error::new(SqlState::DATETIME_OVERFLOW, "timestamp out of range");
    let date = DateTime::from_timestamp_micros(micros)
        .ok_or_else(too_far)?
        .date_naive();
    let first = |year: i32, month: u32| NaiveDate::from_ymd_opt(year, month, 1);
    let year = date.year();
    // The year before 1 is 0 here.
    let begin = |length: i32| match year > 0 {
        true => (year + length - 1) / length * length - (length - 1),
        false => -((length - year) / length) * length + 1,
    };
    let truncated = match unit {
        Unit::Week => {
            let since = i64::from(date.weekday().num_days_from_monday());
            date.checked_sub_signed(Duration::days(since))
        }
        Unit::Month => first(year, date.month()),
        Unit::Quarter => first(year, date.month0() / 3 * 3 + 1),
        Unit::Year => first(year, 1),
        Unit::Decade if year > 0 => first(year / 10 * 10, 1),
        Unit::Decade => first(-((8 - (year - 1)) / 10) * 10, 1),
        Unit::Century => first(begin(100), 1),
        _ => first(begin(1000), 1),
    };
    let truncated = truncated.ok_or_else(too_far)?;
    let midnight = truncated.and_time(chrono::NaiveTime::MIN).and_utc();
    Ok(midnight.timestamp_micros())
}

fn interval(unit: Unit, interval: IntervalMonthDayNano) -> Result<IntervalMonthDayNano> {
    let years = |length: i32| interval.months / 12 / length * length * 12;
    let months = match unit {
        Unit::Millennium => years(1000),
        Unit::Century => years(100),
        Unit::Decade => years(10),
        Unit::Year => years(1),
        Unit::Quarter => interval.months / 3 * 3,
        Unit::Week => {
            let error = Error::unsupported("unit \"week\" not supported for type interval");
            return Err(error.with_detail("Months usually have fractional weeks."));
        }
        _ => interval.months,
    };
    let days = if unit <= Unit::Day { interval.days } else { 0 };
    let nanos = match unit.length() {
        Some(length) if unit < Unit::Day => {
            let length = length * 1000;
            interval.nanoseconds / length * length
        }
        _ => 0,
    };
    Ok(IntervalMonthDayNano::new(months, days, nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Taken from a real server.
    #[test]
    fn moments_are_cut_by_the_calendar() {
        let cut = |unit: &str, text: &str| {
            let unit = Unit::of(unit, "timestamp").unwrap();
            moment(unit, moments::timestamp(text).unwrap()).unwrap()
        };
        for (unit, text, expected) in [
            ("hour", "1969-12-31 23:59:59.5", "1969-12-31 23:00:00"),
            ("week", "2024-01-03 12:00", "2024-01-01 00:00:00"),
            ("quarter", "2024-05-31 12:00", "2024-04-01 00:00:00"),
            ("decade", "1999-05-31 12:00", "1990-01-01 00:00:00"),
            ("century", "2000-05-31 12:00", "1901-01-01 00:00:00"),
            ("century", "2001-05-31 12:00", "2001-01-01 00:00:00"),
            ("millennium", "2000-05-31 12:00", "1001-01-01 00:00:00"),
            ("century", "0044-03-15 12:00 BC", "0100-01-01 00:00:00 BC"),
            ("decade", "0044-03-15 12:00 BC", "0051-01-01 00:00:00 BC"),
            (
                "millennium",
                "0044-03-15 12:00 BC",
                "1000-01-01 00:00:00 BC",
            ),
        ] {
            assert_eq!(
                cut(unit, text),
                moments::timestamp(expected).unwrap(),
                "{unit} {text}"
            );
        }
        assert!(Unit::of("nope", "timestamp").is_err());
        assert_eq!(Unit::of("timezone", "x").unwrap_err().code.code(), "0A000");
    }

    #[test]
    fn instants_are_cut_by_the_clocks_of_a_zone() {
        let berlin = super::super::zones::named("Europe/Berlin").unwrap();
        let at = |text: &str| moments::timestamptz(text, None).unwrap().unwrap();
        let cut = |unit, text: &str| instant(unit, at(text), &berlin).unwrap();
        assert_eq!(
            cut(Unit::Day, "2024-06-01 23:00+00"),
            at("2024-06-01 22:00+00")
        );
        // The hour that clocks show twice.
        assert_eq!(
            cut(Unit::Hour, "2024-10-27 00:30+00"),
            at("2024-10-27 00:00+00")
        );
        assert_eq!(
            cut(Unit::Day, "2024-10-27 12:30+00"),
            at("2024-10-26 22:00+00")
        );
    }
}
