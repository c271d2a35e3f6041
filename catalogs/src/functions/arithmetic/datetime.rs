//! `extract_field`, whose result is numeric as PostgreSQL's EXTRACT's is, and `timestamp_sub`, whose result
//! is an interval of days and time.

use std::sync::Arc;

use arrow::array::timezone::Tz;
use arrow::array::{
    Array, ArrayRef, AsArray, Decimal128Array, IntervalMonthDayNanoArray, TimestampMicrosecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Field, FieldRef, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit,
    Time64MicrosecondType, TimeUnit, TimestampMicrosecondType,
};
use chrono::{DateTime, Datelike, NaiveDateTime, Timelike};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use sluice_spi::types::PG_TYPE;
use sluice_spi::{Error, SqlState};

use super::{moments, zones};

/// Digits after the point of seconds.
const SCALE: i8 = 6;
const MILLION: i128 = 1_000_000;
const DAY_MICROS: i64 = 86_400_000_000;
/// The Julian day of 1970-01-01.
const EPOCH_JULIAN_DAY: i128 = 2_440_588;

pub(super) fn functions() -> Vec<ScalarUDF> {
    let extract = |name, volatility| {
        ScalarUDF::new_from_impl(ExtractField {
            name,
            signature: Signature::user_defined(volatility),
        })
    };
    vec![
        extract("extract_field", Volatility::Immutable),
        // Of an instant, by the session's clocks.
        extract("extract_here", Volatility::Stable),
        ScalarUDF::new_from_impl(TimestampSub {
            signature: Signature::user_defined(Volatility::Immutable),
        }),
    ]
}

fn micros_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, None)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ExtractField {
    name: &'static str,
    signature: Signature,
}

impl ScalarUDFImpl for ExtractField {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Decimal128(24, SCALE))
    }

    fn return_field_from_args(&self, _args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let tag = [(PG_TYPE.to_owned(), "numeric".to_owned())];
        Ok(Arc::new(
            Field::new(self.name(), DataType::Decimal128(24, SCALE), true)
                .with_metadata(tag.into()),
        ))
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        let value = match arg_types.get(1) {
            Some(DataType::Date32 | DataType::Timestamp(_, None)) => micros_type(),
            Some(DataType::Timestamp(_, Some(zone))) => {
                DataType::Timestamp(TimeUnit::Microsecond, Some(Arc::clone(zone)))
            }
            Some(DataType::Time32(_) | DataType::Time64(_)) => {
                DataType::Time64(TimeUnit::Microsecond)
            }
            // A difference of timestamps is a duration until the planner makes an interval of it.
            Some(DataType::Interval(_) | DataType::Duration(_)) => {
                DataType::Interval(IntervalUnit::MonthDayNano)
            }
            other => {
                let given = other.map(ToString::to_string).unwrap_or_default();
                return Err(Error::new(
                    SqlState::UNDEFINED_FUNCTION,
                    format!("function extract(text, {given}) does not exist"),
                )
                .into());
            }
        };
        Ok(vec![DataType::Utf8, value])
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let field = match &args.args[0] {
            ColumnarValue::Scalar(ScalarValue::Utf8(Some(field))) => field.to_lowercase(),
            _ => return Err(Error::unsupported("EXTRACT takes the name of a field").into()),
        };
        let constant = args
            .args
            .iter()
            .all(|a| matches!(a, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let array = args.args[1].to_array(rows)?;
        let zone = zones::of_session(&args.config_options)?;
        let values = extract(&field, &array, &zone)?.with_precision_and_scale(24, SCALE)?;
        Ok(if constant {
            ColumnarValue::Scalar(ScalarValue::try_from_array(&values, 0)?)
        } else {
            ColumnarValue::Array(Arc::new(values))
        })
    }
}

fn no_such_field(field: &str, type_name: &str) -> Error {
    Error::new(
        SqlState::INVALID_PARAMETER_VALUE,
        format!("unit \"{field}\" not recognized for type {type_name}"),
    )
}

/// Values in millionths.
fn extract(field: &str, array: &ArrayRef, zone: &Tz) -> Result<Decimal128Array> {
    match array.data_type() {
        DataType::Timestamp(_, with_zone) => {
            let zone = with_zone.as_ref().map(|_| zone);
            array
                .as_primitive::<TimestampMicrosecondType>()
                .iter()
                .map(|v| {
                    v.map(|micros| of_timestamp(field, micros, zone))
                        .transpose()
                })
                .collect()
        }
        DataType::Time64(_) => array
            .as_primitive::<Time64MicrosecondType>()
            .iter()
            .map(|v| {
                v.map(|micros| {
                    of_clock(field, micros)
                        .ok_or_else(|| no_such_field(field, "time without time zone").into())
                })
                .transpose()
            })
            .collect(),
        _ => array
            .as_primitive::<IntervalMonthDayNanoType>()
            .iter()
            .map(|v| v.map(|interval| of_interval(field, interval)).transpose())
            .collect(),
    }
}

/// The fields of a time of day.
fn of_clock(field: &str, micros: i64) -> Option<i128> {
    let micros = i128::from(micros);
    Some(match field {
        "hour" | "hours" => micros / (3600 * MILLION) * MILLION,
        "minute" | "minutes" => micros / (60 * MILLION) % 60 * MILLION,
        "second" | "seconds" => micros % (60 * MILLION),
        "millisecond" | "milliseconds" => micros % (60 * MILLION) * 1000,
        "microsecond" | "microseconds" => micros % (60 * MILLION) * MILLION,
        "epoch" => micros,
        _ => return None,
    })
}

fn of_timestamp(field: &str, micros: i64, zone: Option<&Tz>) -> Result<i128> {
    if field == "epoch" {
        return Ok(i128::from(micros));
    }
    let shown = match zone {
        Some(zone) => moments::shown_in(micros, zone)?,
        None => micros,
    };
    let type_name = match zone {
        Some(_) => "timestamp with time zone",
        None => "timestamp without time zone",
    };
    // Seconds east.
    let offset = i128::from(shown - micros) / MILLION;
    match (field, zone) {
        ("timezone", Some(_)) => return Ok(offset * MILLION),
        ("timezone_hour", Some(_)) => return Ok(offset / 3600 * MILLION),
        ("timezone_minute", Some(_)) => return Ok(offset % 3600 / 60 * MILLION),
        ("timezone" | "timezone_hour" | "timezone_minute", None) => {
            let message = format!("unit \"{field}\" not supported for type {type_name}");
            return Err(Error::unsupported(message).into());
        }
        _ => {}
    }
    let moment: NaiveDateTime = DateTime::from_timestamp_micros(shown)
        .map(|moment| moment.naive_utc())
        .ok_or_else(|| Error::new(SqlState::DATETIME_OVERFLOW, "timestamp out of range"))?;
    // There is no year 0: what chrono calls 0 is 1 BC, which PostgreSQL calls -1.
    let shown = |year: i128| if year > 0 { year } else { year - 1 };
    let year = i128::from(moment.year());
    let whole = match field {
        "year" | "years" => shown(year),
        "month" | "months" => i128::from(moment.month()),
        "day" | "days" => i128::from(moment.day()),
        "quarter" => i128::from(moment.month0() / 3 + 1),
        "decade" => year.div_euclid(10),
        "century" if year > 0 => (year + 99) / 100,
        "century" => -((100 - year) / 100),
        "millennium" if year > 0 => (year + 999) / 1000,
        "millennium" => -((1000 - year) / 1000),
        "week" => i128::from(moment.iso_week().week()),
        "isoyear" => shown(i128::from(moment.iso_week().year())),
        "dow" => i128::from(moment.weekday().num_days_from_sunday()),
        "isodow" => i128::from(moment.weekday().number_from_monday()),
        "doy" => i128::from(moment.ordinal()),
        "julian" => {
            let days = i128::from(moment.date().num_days_from_ce()) - 719_163 + EPOCH_JULIAN_DAY;
            let seconds = i128::from(moment.num_seconds_from_midnight());
            return Ok(days * MILLION + seconds * MILLION / 86_400);
        }
        _ => {
            let clock = i64::from(moment.num_seconds_from_midnight()) * 1_000_000
                + i64::from(moment.nanosecond() / 1000);
            return of_clock(field, clock).ok_or_else(|| no_such_field(field, type_name).into());
        }
    };
    Ok(whole * MILLION)
}

fn of_interval(field: &str, interval: IntervalMonthDayNano) -> Result<i128> {
    let months = i128::from(interval.months);
    let micros = i128::from(interval.nanoseconds / 1000);
    let days = i128::from(interval.days);
    Ok(match field {
        "epoch" => {
            // A year is 365.25 days here, a month thirty.
            let (years, rest) = (months / 12, months % 12);
            let seconds = years * 31_557_600 + (rest * 30 + days) * 86_400;
            seconds * MILLION + micros
        }
        "year" | "years" => months / 12 * MILLION,
        "month" | "months" => months % 12 * MILLION,
        "quarter" => (months % 12 / 3 + 1) * MILLION,
        "decade" => months / 120 * MILLION,
        "century" => months / 1200 * MILLION,
        "millennium" => months / 12_000 * MILLION,
        "day" | "days" => days * MILLION,
        _ => {
            let micros = interval.nanoseconds / 1000;
            return of_clock(field, micros).ok_or_else(|| no_such_field(field, "interval").into());
        }
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct TimestampSub {
    signature: Signature,
}

impl ScalarUDFImpl for TimestampSub {
    fn name(&self) -> &str {
        "timestamp_sub"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Interval(IntervalUnit::MonthDayNano))
    }

    fn coerce_types(&self, _arg_types: &[DataType]) -> Result<Vec<DataType>> {
        Ok(vec![micros_type(), micros_type()])
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let constant = args
            .args
            .iter()
            .all(|a| matches!(a, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let column = |at: usize| -> Result<TimestampMicrosecondArray> {
            let array = cast(&args.args[at].to_array(rows)?, &micros_type())?;
            Ok(array.as_primitive::<TimestampMicrosecondType>().clone())
        };
        let (left, right) = (column(0)?, column(1)?);
        let intervals: IntervalMonthDayNanoArray = left
            .iter()
            .zip(right.iter())
            .map(|(left, right)| {
                let Some((left, right)) = left.zip(right) else {
                    return Ok(None);
                };
                let micros = left.checked_sub(right).ok_or_else(|| {
                    Error::new(SqlState::DATETIME_OVERFLOW, "interval out of range")
                })?;
                let days = i32::try_from(micros / DAY_MICROS).unwrap_or(i32::MAX);
                Ok(Some(IntervalMonthDayNano::new(
                    0,
                    days,
                    micros % DAY_MICROS * 1000,
                )))
            })
            .collect::<Result<_>>()?;
        Ok(if constant {
            ColumnarValue::Scalar(ScalarValue::try_from_array(&intervals, 0)?)
        } else {
            ColumnarValue::Array(Arc::new(intervals))
        })
    }
}
