//! Dates, times, timestamps and intervals, as `date_out`, `timestamptz_out` and `interval_out` print them.
//!
//! All clocks are microseconds here: finer units are cut. Arrow counts from 1970, the binary format from
//! 2000. The extremes of the Arrow types stand for `infinity`, as in PostgreSQL.

use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Date64Type, DurationMicrosecondType,
    DurationMillisecondType, DurationNanosecondType, DurationSecondType, IntervalDayTimeType,
    IntervalMonthDayNanoType, IntervalUnit, IntervalYearMonthType, Time32MillisecondType,
    Time32SecondType, Time64MicrosecondType, Time64NanosecondType, TimeUnit,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType,
};
use sluice_spi::{Error, Result, SqlState};

use super::{Format, Style, Values, Written};
use crate::session::Zone;

/// Days from 1970-01-01 to 2000-01-01.
pub(crate) const PG_EPOCH_DAYS: i32 = 10_957;
/// Microseconds from 1970-01-01 to 2000-01-01.
pub(crate) const PG_EPOCH_MICROS: i64 = PG_EPOCH_DAYS as i64 * MICROS_PER_DAY;

const MICROS_PER_SECOND: i64 = 1_000_000;
const MICROS_PER_DAY: i64 = 86_400 * MICROS_PER_SECOND;

/// Chooses the writer of a date, time, timestamp, interval or duration column.
pub(super) fn datetime(array: &ArrayRef, format: Format, style: &Style) -> Result<Box<dyn Values>> {
    Ok(match array.data_type() {
        DataType::Date32 => Box::new(Date {
            array: array.as_primitive::<Date32Type>().clone(),
            format,
        }),
        DataType::Date64 => {
            let days = array
                .as_primitive::<Date64Type>()
                .unary(|ms| ms.div_euclid(86_400_000) as i32);
            Box::new(Date {
                array: days,
                format,
            })
        }
        DataType::Time32(TimeUnit::Second) => {
            time::<Time32SecondType>(array, Scale::SECONDS, format)
        }
        DataType::Time32(_) => time::<Time32MillisecondType>(array, Scale::MILLIS, format),
        DataType::Time64(TimeUnit::Nanosecond) => {
            time::<Time64NanosecondType>(array, Scale::NANOS, format)
        }
        DataType::Time64(_) => time::<Time64MicrosecondType>(array, Scale::MICROS, format),
        DataType::Timestamp(unit, zone) => {
            let zone = zone.as_ref().map(|_| style.zone.clone());
            match unit {
                TimeUnit::Second => {
                    timestamp::<TimestampSecondType>(array, Scale::SECONDS, zone, format)
                }
                TimeUnit::Millisecond => {
                    timestamp::<TimestampMillisecondType>(array, Scale::MILLIS, zone, format)
                }
                TimeUnit::Microsecond => {
                    timestamp::<TimestampMicrosecondType>(array, Scale::MICROS, zone, format)
                }
                TimeUnit::Nanosecond => {
                    timestamp::<TimestampNanosecondType>(array, Scale::NANOS, zone, format)
                }
            }
        }
        DataType::Duration(unit) => match unit {
            TimeUnit::Second => duration::<DurationSecondType>(array, Scale::SECONDS, format),
            TimeUnit::Millisecond => {
                duration::<DurationMillisecondType>(array, Scale::MILLIS, format)
            }
            TimeUnit::Microsecond => {
                duration::<DurationMicrosecondType>(array, Scale::MICROS, format)
            }
            TimeUnit::Nanosecond => duration::<DurationNanosecondType>(array, Scale::NANOS, format),
        },
        DataType::Interval(IntervalUnit::YearMonth) => {
            let array = array.as_primitive::<IntervalYearMonthType>().clone();
            Box::new(Interval {
                format,
                parts: move |row| Ok((array.value(row), 0, 0)),
            })
        }
        DataType::Interval(IntervalUnit::DayTime) => {
            let array = array.as_primitive::<IntervalDayTimeType>().clone();
            Box::new(Interval {
                format,
                parts: move |row| {
                    let value = array.value(row);
                    Ok((0, value.days, i64::from(value.milliseconds) * 1000))
                },
            })
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            let array = array.as_primitive::<IntervalMonthDayNanoType>().clone();
            Box::new(Interval {
                format,
                parts: move |row| {
                    let value = array.value(row);
                    Ok((value.months, value.days, value.nanoseconds / 1000))
                },
            })
        }
        other => {
            return Err(Error::internal(format!(
                "{other} is not a date or time type"
            )));
        }
    })
}

/// How a unit becomes microseconds.
#[derive(Clone, Copy)]
struct Scale {
    multiply: i64,
    divide: i64,
}

impl Scale {
    const SECONDS: Scale = Scale {
        multiply: MICROS_PER_SECOND,
        divide: 1,
    };
    const MILLIS: Scale = Scale {
        multiply: 1000,
        divide: 1,
    };
    const MICROS: Scale = Scale {
        multiply: 1,
        divide: 1,
    };
    const NANOS: Scale = Scale {
        multiply: 1,
        divide: 1000,
    };

    #[inline]
    fn micros(self, value: i64, what: &str) -> Result<i64, Box<Error>> {
        if self.divide > 1 {
            return Ok(value.div_euclid(self.divide));
        }
        value.checked_mul(self.multiply).ok_or_else(|| {
            Box::new(Error::new(
                SqlState::DATETIME_OVERFLOW,
                format!("{what} out of range"),
            ))
        })
    }
}

struct Date {
    array: PrimitiveArray<Date32Type>,
    format: Format,
}

impl Values for Date {
    #[inline]
    fn write(&self, row: usize, out: &mut Vec<u8>) -> Written {
        let days = self.array.value(row);
        match (self.format, days) {
            (Format::Binary, i32::MAX | i32::MIN) => out.extend_from_slice(&days.to_be_bytes()),
            (Format::Binary, _) => {
                let days = days.checked_sub(PG_EPOCH_DAYS).ok_or_else(|| {
                    Box::new(Error::new(SqlState::DATETIME_OVERFLOW, "date out of range"))
                })?;
                out.extend_from_slice(&days.to_be_bytes());
            }
            (Format::Text, i32::MAX) => out.extend_from_slice(b"infinity"),
            (Format::Text, i32::MIN) => out.extend_from_slice(b"-infinity"),
            (Format::Text, _) => {
                if write_date(i64::from(days), out) {
                    out.extend_from_slice(b" BC");
                }
            }
        }
        Ok(())
    }
}

fn time<T: ArrowPrimitiveType>(array: &ArrayRef, scale: Scale, format: Format) -> Box<dyn Values>
where
    T::Native: Into<i64>,
{
    Box::new(Time {
        array: array.as_primitive::<T>().clone(),
        scale,
        format,
    })
}

struct Time<T: ArrowPrimitiveType> {
    array: PrimitiveArray<T>,
    scale: Scale,
    format: Format,
}

impl<T: ArrowPrimitiveType> Values for Time<T>
where
    T::Native: Into<i64>,
{
    fn write(&self, row: usize, out: &mut Vec<u8>) -> Written {
        let micros = self.scale.micros(self.array.value(row).into(), "time")?;
        match self.format {
            Format::Binary => out.extend_from_slice(&micros.to_be_bytes()),
            Format::Text => write_clock(micros.unsigned_abs(), out),
        }
        Ok(())
    }
}

fn timestamp<T>(
    array: &ArrayRef,
    scale: Scale,
    zone: Option<Zone>,
    format: Format,
) -> Box<dyn Values>
where
    T: ArrowPrimitiveType<Native = i64>,
{
    Box::new(Timestamp {
        array: array.as_primitive::<T>().clone(),
        scale,
        zone,
        format,
    })
}

struct Timestamp<T: ArrowPrimitiveType> {
    array: PrimitiveArray<T>,
    scale: Scale,
    zone: Option<Zone>,
    format: Format,
}

impl<T: ArrowPrimitiveType<Native = i64>> Values for Timestamp<T> {
    #[inline]
    fn write(&self, row: usize, out: &mut Vec<u8>) -> Written {
        let value = self.array.value(row);
        if value == i64::MAX || value == i64::MIN {
            match self.format {
                Format::Binary => out.extend_from_slice(&value.to_be_bytes()),
                Format::Text if value == i64::MAX => out.extend_from_slice(b"infinity"),
                Format::Text => out.extend_from_slice(b"-infinity"),
            }
            return Ok(());
        }
        let micros = self.scale.micros(value, "timestamp")?;
        match self.format {
            Format::Binary => {
                let micros = micros.checked_sub(PG_EPOCH_MICROS).ok_or_else(|| {
                    Box::new(Error::new(
                        SqlState::DATETIME_OVERFLOW,
                        "timestamp out of range",
                    ))
                })?;
                out.extend_from_slice(&micros.to_be_bytes());
            }
            Format::Text => write_timestamp(micros, self.zone.as_ref(), b' ', out),
        }
        Ok(())
    }
}

fn duration<T>(array: &ArrayRef, scale: Scale, format: Format) -> Box<dyn Values>
where
    T: ArrowPrimitiveType<Native = i64>,
{
    let array = array.as_primitive::<T>().clone();
    Box::new(Interval {
        format,
        parts: move |row| Ok((0, 0, scale.micros(array.value(row), "interval")?)),
    })
}

struct Interval<F> {
    format: Format,
    /// Months, days and microseconds of a row.
    parts: F,
}

impl<F: Fn(usize) -> Result<(i32, i32, i64), Box<Error>> + Send + Sync> Values for Interval<F> {
    fn write(&self, row: usize, out: &mut Vec<u8>) -> Written {
        let (months, days, micros) = (self.parts)(row)?;
        match self.format {
            Format::Binary => {
                out.extend_from_slice(&micros.to_be_bytes());
                out.extend_from_slice(&days.to_be_bytes());
                out.extend_from_slice(&months.to_be_bytes());
            }
            Format::Text => write_interval(months, days, micros, out),
        }
        Ok(())
    }
}

#[inline]
fn push_two(value: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(&[b'0' + (value / 10 % 10) as u8, b'0' + (value % 10) as u8]);
}

/// `YYYY-MM-DD`, at least four digits of year; true for years before 1, which want a ` BC` at the very end.
fn write_date(days: i64, out: &mut Vec<u8>) -> bool {
    // Howard Hinnant's days_from_civil, inverted ("chrono-Compatible Low-Level Date Algorithms").
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let before_christ = year <= 0;
    let year = if before_christ { 1 - year } else { year } as u64;
    if year < 10_000 {
        push_two(year / 100, out);
        push_two(year % 100, out);
    } else {
        out.extend_from_slice(itoa::Buffer::new().format(year).as_bytes());
    }
    out.push(b'-');
    push_two(month as u64, out);
    out.push(b'-');
    push_two(day as u64, out);
    before_christ
}

/// `HH:MM:SS[.ffffff]`, no trailing zeros. Hours may have more than two digits.
fn write_clock(micros: u64, out: &mut Vec<u8>) {
    let seconds = micros / MICROS_PER_SECOND as u64;
    let hours = seconds / 3600;
    if hours < 100 {
        push_two(hours, out);
    } else {
        out.extend_from_slice(itoa::Buffer::new().format(hours).as_bytes());
    }
    out.push(b':');
    push_two(seconds / 60 % 60, out);
    out.push(b':');
    push_two(seconds % 60, out);
    let mut fraction = micros % MICROS_PER_SECOND as u64;
    if fraction != 0 {
        out.push(b'.');
        let mut unit = 100_000;
        while fraction != 0 {
            out.push(b'0' + (fraction / unit) as u8);
            fraction %= unit;
            unit /= 10;
        }
    }
}

/// A timestamp; with a zone, in its local time and with its offset. `separator` is a space, or `T` in JSON.
pub(super) fn write_timestamp(micros: i64, zone: Option<&Zone>, separator: u8, out: &mut Vec<u8>) {
    let offset = zone.map(|zone| zone.offset_seconds(micros));
    let local = micros.saturating_add(i64::from(offset.unwrap_or(0)) * MICROS_PER_SECOND);
    let before_christ = write_date(local.div_euclid(MICROS_PER_DAY), out);
    out.push(separator);
    write_clock(local.rem_euclid(MICROS_PER_DAY) as u64, out);
    if let Some(offset) = offset {
        out.push(if offset < 0 { b'-' } else { b'+' });
        let offset = u64::from(offset.unsigned_abs());
        push_two(offset / 3600, out);
        if offset % 3600 != 0 || (separator == b'T') {
            out.push(b':');
            push_two(offset / 60 % 60, out);
        }
        if offset % 60 != 0 {
            out.push(b':');
            push_two(offset % 60, out);
        }
    }
    if before_christ {
        out.extend_from_slice(b" BC");
    }
}

/// `IntervalStyle = postgres` (`EncodeInterval` in PostgreSQL's datetime.c).
fn write_interval(months: i32, days: i32, micros: i64, out: &mut Vec<u8>) {
    let mut first = true;
    let mut negative_before = false;
    let mut field = |value: i32, unit: &str, out: &mut Vec<u8>| {
        if value == 0 {
            return;
        }
        if !first {
            out.push(b' ');
        }
        if negative_before && value > 0 {
            out.push(b'+');
        }
        out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
        out.push(b' ');
        out.extend_from_slice(unit.as_bytes());
        if value != 1 {
            out.push(b's');
        }
        negative_before = value < 0;
        first = false;
    };
    field(months / 12, "year", out);
    field(months % 12, "mon", out);
    field(days, "day", out);
    if first || micros != 0 {
        if !first {
            out.push(b' ');
        }
        if micros < 0 {
            out.push(b'-');
        } else if negative_before {
            out.push(b'+');
        }
        write_clock(micros.unsigned_abs(), out);
    }
}
