//! Moments by the clocks of a zone: `AT TIME ZONE`, and what a `timestamptz` is in the session's zone.
//!
//! | function | what it gives |
//! | --- | --- |
//! | `timezone(zone, timestamptz)` | the timestamp that clocks of the zone show |
//! | `timezone(zone, timestamp)`, which becomes `instant_at` | the instant at which they show it |
//! | `local_timestamp(timestamptz)` | the timestamp that the session's clocks show |
//! | `text_of_timestamptz` | its text, with the offset of the session's zone |
//! | `timestamptz_shift` | a sum with an interval, whose days and months are those of the session's calendar |
//!
//! What depends on the session's zone is stable and not immutable: a kept plan must not hold its answer.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::timezone::Tz;
use arrow::array::{Array, ArrayRef, AsArray, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{
    DataType, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit, TimeUnit,
    TimestampMicrosecondType,
};
use chrono::{DateTime, Days, Months};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use sluice_spi::{Error, SqlState};

use super::{moments, output, zones};

/// A `timestamp`.
pub(super) fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, None)
}

/// A `timestamptz`.
pub(super) fn timestamptz() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

pub(super) const INTERVAL: DataType = DataType::Interval(IntervalUnit::MonthDayNano);

/// A function over columns of moments.
pub(super) struct Clock {
    pub(super) name: &'static str,
    /// The types that arguments are cast to; `None` where there is no such function.
    pub(super) takes: fn(&[DataType]) -> Option<Vec<DataType>>,
    pub(super) returns: fn(&[DataType]) -> DataType,
    /// Columns of one length, and the session's zone.
    pub(super) body: fn(&[ArrayRef], &Tz) -> Result<ArrayRef>,
    signature: Signature,
}

impl Clock {
    pub(super) fn declare(
        name: &'static str,
        volatility: Volatility,
        takes: fn(&[DataType]) -> Option<Vec<DataType>>,
        returns: fn(&[DataType]) -> DataType,
        body: fn(&[ArrayRef], &Tz) -> Result<ArrayRef>,
    ) -> ScalarUDF {
        ScalarUDF::new_from_impl(Clock {
            name,
            takes,
            returns,
            body,
            signature: Signature::user_defined(volatility),
        })
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clock({})", self.name)
    }
}

impl PartialEq for Clock {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Clock {}

impl Hash for Clock {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for Clock {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        Ok((self.returns)(arg_types))
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        (self.takes)(arg_types).ok_or_else(|| super::no_such_function(self.name, arg_types).into())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let constant = args
            .args
            .iter()
            .all(|a| matches!(a, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let columns = args
            .args
            .iter()
            .map(|a| a.to_array(rows))
            .collect::<Result<Vec<_>>>()?;
        let zone = zones::of_session(&args.config_options)?;
        let result = (self.body)(&columns, &zone)?;
        Ok(if constant {
            ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?)
        } else {
            ColumnarValue::Array(result)
        })
    }
}

pub(super) fn functions() -> Vec<ScalarUDF> {
    use Volatility::{Immutable, Stable};
    vec![
        Clock::declare("timezone", Immutable, zone_and_moment, other_kind, at_zone),
        // Another name: the engine takes constants of both kinds for equal, and two calls of one function over
        // equal constants for one.
        Clock::declare(
            "instant_at",
            Immutable,
            zone_and_moment,
            other_kind,
            at_zone,
        ),
        Clock::declare("local_timestamp", Stable, instant, |_| timestamp(), local),
        Clock::declare(
            "text_of_timestamptz",
            Stable,
            instant,
            |_| DataType::Utf8,
            text,
        ),
        Clock::declare(
            "timestamptz_shift",
            Stable,
            |types| (types.len() == 2).then(|| vec![timestamptz(), INTERVAL]),
            |_| timestamptz(),
            shift,
        ),
    ]
}

pub(super) fn is_text(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null
    )
}

fn instant(types: &[DataType]) -> Option<Vec<DataType>> {
    (types.len() == 1).then(|| vec![timestamptz()])
}

fn zone_and_moment(types: &[DataType]) -> Option<Vec<DataType>> {
    let [zone, moment] = types else { return None };
    let zone = match zone {
        zone if is_text(zone) => DataType::Utf8,
        DataType::Interval(_) => INTERVAL,
        _ => return None,
    };
    let moment = match moment {
        DataType::Timestamp(_, None) => timestamp(),
        // What is no instant yet, the planner makes one of.
        DataType::Timestamp(_, Some(_)) | DataType::Null => timestamptz(),
        other if is_text(other) || other == &DataType::Date32 => other.clone(),
        _ => return None,
    };
    Some(vec![zone, moment])
}

fn other_kind(types: &[DataType]) -> DataType {
    match types.get(1) {
        Some(DataType::Timestamp(_, None)) => timestamptz(),
        _ => timestamp(),
    }
}

fn at_zone(columns: &[ArrayRef], _: &Tz) -> Result<ArrayRef> {
    let Some(moments) = columns[1].as_primitive_opt::<TimestampMicrosecondType>() else {
        return Err(Error::internal("timezone() without a moment").into());
    };
    let is_instant = matches!(columns[1].data_type(), DataType::Timestamp(_, Some(_)));
    let mut zones = Zones::of(&columns[0]);
    let values = (0..moments.len())
        .map(|row| {
            let Some(zone) = zones.at(row)? else {
                return Ok(None);
            };
            if moments.is_null(row) {
                return Ok(None);
            }
            let micros = moments.value(row);
            match is_instant {
                true => moments::shown_in(micros, zone).map(Some),
                false => moments::instant_in(micros, zone).map(Some),
            }
        })
        .collect::<sluice_spi::Result<TimestampMicrosecondArray>>()?;
    Ok(match is_instant {
        true => Arc::new(values),
        false => Arc::new(values.with_timezone("UTC")),
    })
}

/// The zones of a column of names or of intervals. Most columns have the same one in every row.
pub(super) struct Zones<'a> {
    column: &'a ArrayRef,
    last: Option<(String, Tz)>,
}

impl<'a> Zones<'a> {
    pub(super) fn of(column: &'a ArrayRef) -> Self {
        Zones { column, last: None }
    }

    pub(super) fn at(&mut self, row: usize) -> sluice_spi::Result<Option<&Tz>> {
        if self.column.is_null(row) {
            return Ok(None);
        }
        let name = match self.column.as_string_opt::<i32>() {
            Some(names) => names.value(row).to_owned(),
            None => {
                let zone = offset(
                    self.column
                        .as_primitive::<IntervalMonthDayNanoType>()
                        .value(row),
                )?;
                return Ok(Some(&self.last.insert((String::new(), zone)).1));
            }
        };
        let known = matches!(&self.last, Some((last, _)) if *last == name);
        if !known {
            let zone = zones::named(&name)?;
            self.last = Some((name, zone));
        }
        Ok(self.last.as_ref().map(|(_, zone)| zone))
    }
}

/// An interval as a zone: hours east.
fn offset(interval: IntervalMonthDayNano) -> sluice_spi::Result<Tz> {
    if interval.months != 0 || interval.days != 0 {
        return Err(Error::new(
            SqlState::INVALID_PARAMETER_VALUE,
            "interval time zone must not include months or days",
        ));
    }
    let seconds = interval.nanoseconds / 1_000_000_000;
    zones::fixed(i32::try_from(seconds).unwrap_or(i32::MAX), "interval")
}

fn instants(column: &ArrayRef) -> &TimestampMicrosecondArray {
    column.as_primitive::<TimestampMicrosecondType>()
}

fn local(columns: &[ArrayRef], zone: &Tz) -> Result<ArrayRef> {
    let values = instants(&columns[0])
        .iter()
        .map(|at| at.map(|at| moments::shown_in(at, zone)).transpose())
        .collect::<sluice_spi::Result<TimestampMicrosecondArray>>()?;
    Ok(Arc::new(values))
}

fn text(columns: &[ArrayRef], zone: &Tz) -> Result<ArrayRef> {
    let texts = instants(&columns[0])
        .iter()
        .map(|at| at.map(|at| instant_text(at, zone)).transpose())
        .collect::<sluice_spi::Result<StringArray>>()?;
    Ok(Arc::new(texts))
}

/// `timestamptz_out`: the era stands behind the offset.
fn instant_text(micros: i64, zone: &Tz) -> sluice_spi::Result<String> {
    let shown = moments::shown_in(micros, zone)?;
    let text = output::timestamp_text(shown);
    if matches!(micros, i64::MIN | i64::MAX) {
        return Ok(text);
    }
    let offset = offset_text((shown - micros) / 1_000_000);
    Ok(match text.strip_suffix(" BC") {
        Some(text) => format!("{text}{offset} BC"),
        None => format!("{text}{offset}"),
    })
}

/// `+02`, `-03:30`, `+00:53:28`.
pub(super) fn offset_text(seconds: i64) -> String {
    let sign = if seconds < 0 { '-' } else { '+' };
    let seconds = seconds.abs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (minutes, seconds) {
        (0, 0) => format!("{sign}{hours:02}"),
        (_, 0) => format!("{sign}{hours:02}:{minutes:02}"),
        _ => format!("{sign}{hours:02}:{minutes:02}:{seconds:02}"),
    }
}

fn shift(columns: &[ArrayRef], zone: &Tz) -> Result<ArrayRef> {
    let intervals = columns[1].as_primitive::<IntervalMonthDayNanoType>();
    let values = instants(&columns[0])
        .iter()
        .zip(intervals.iter())
        .map(|(at, interval)| {
            at.zip(interval)
                .map(|(at, interval)| shifted(at, interval, zone))
                .transpose()
        })
        .collect::<sluice_spi::Result<TimestampMicrosecondArray>>()?;
    Ok(Arc::new(values.with_timezone("UTC")))
}

/// `timestamptz_pl_interval`: months, then days, each by the calendar of the zone, then the time.
fn shifted(micros: i64, interval: IntervalMonthDayNano, zone: &Tz) -> sluice_spi::Result<i64> {
    if matches!(micros, i64::MIN | i64::MAX) {
        return Ok(micros);
    }
    let too_far = || Error::new(SqlState::DATETIME_OVERFLOW, "timestamp out of range");
    let mut at = micros;
    if interval.months != 0 {
        let shown = DateTime::from_timestamp_micros(moments::shown_in(at, zone)?);
        let months = Months::new(interval.months.unsigned_abs());
        let moved = match interval.months > 0 {
            true => shown.and_then(|shown| shown.checked_add_months(months)),
            false => shown.and_then(|shown| shown.checked_sub_months(months)),
        };
        let moved = moved.ok_or_else(too_far)?;
        at = moments::instant_in(moved.timestamp_micros(), zone)?;
    }
    if interval.days != 0 {
        let shown = DateTime::from_timestamp_micros(moments::shown_in(at, zone)?);
        let days = Days::new(u64::from(interval.days.unsigned_abs()));
        let moved = match interval.days > 0 {
            true => shown.and_then(|shown| shown.checked_add_days(days)),
            false => shown.and_then(|shown| shown.checked_sub_days(days)),
        };
        let moved = moved.ok_or_else(too_far)?;
        at = moments::instant_in(moved.timestamp_micros(), zone)?;
    }
    at.checked_add(interval.nanoseconds / 1000)
        .ok_or_else(too_far)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000_000;

    fn at(text: &str) -> i64 {
        moments::timestamptz(text, None).unwrap().unwrap()
    }

    /// Taken from a real server.
    #[test]
    fn days_are_those_of_the_calendar() {
        let berlin = zones::named("Europe/Berlin").unwrap();
        let day = IntervalMonthDayNano::new(0, 1, 0);
        let hours = IntervalMonthDayNano::new(0, 0, 24 * HOUR * 1000);
        let noon = at("2024-03-30 12:00+01");
        assert_eq!(
            shifted(noon, day, &berlin).unwrap(),
            at("2024-03-31 12:00+02")
        );
        assert_eq!(
            shifted(noon, hours, &berlin).unwrap(),
            at("2024-03-31 13:00+02")
        );
        let month = IntervalMonthDayNano::new(1, 0, 0);
        let end = at("2024-01-31 12:00+01");
        assert_eq!(
            shifted(end, month, &berlin).unwrap(),
            at("2024-02-29 12:00+01")
        );
    }

    #[test]
    fn texts_have_the_offset_of_their_moment() {
        let berlin = zones::named("Europe/Berlin").unwrap();
        for (text, shown) in [
            ("2024-06-01 00:00:01+00", "2024-06-01 02:00:01+02"),
            ("2024-01-01 00:00:00.5+00", "2024-01-01 01:00:00.5+01"),
            ("1800-01-01 00:00:00+00", "1800-01-01 00:53:28+00:53:28"),
            (
                "0044-03-15 00:00:00+00 BC",
                "0044-03-15 00:53:28+00:53:28 BC",
            ),
            ("infinity", "infinity"),
        ] {
            assert_eq!(instant_text(at(text), &berlin).unwrap(), shown);
        }
    }
}
