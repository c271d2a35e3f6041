//! Intervals: their input, and `interval_length`, by which PostgreSQL compares them.
//!
//! A month counts as thirty days and a day as 24 hours, so that `1 day` equals `24:00:00` though both print
//! as they were written (`interval_cmp_value` in timestamp.c). Arrow compares the three parts one by one.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Decimal128Array};
use arrow::datatypes::{DataType, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit};
use datafusion::common::ScalarValue;
use datafusion::error::Result as EngineResult;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use sluice_spi::{Error, Result, SqlState};

const MONTH_DAYS: i128 = 30;
const DAY_NANOS: i128 = 86_400_000_000_000;
const DAY_MICROS: f64 = 86_400_000_000.0;
const LENGTH: DataType = DataType::Decimal128(38, 0);

/// `interval_length`: nanoseconds, as a number that holds those of every interval.
pub(super) fn interval_length() -> ScalarUDF {
    let interval = DataType::Interval(IntervalUnit::MonthDayNano);
    ScalarUDF::new_from_impl(IntervalLength {
        signature: Signature::exact(vec![interval], Volatility::Immutable),
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct IntervalLength {
    signature: Signature,
}

impl ScalarUDFImpl for IntervalLength {
    fn name(&self) -> &str {
        "interval_length"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> EngineResult<DataType> {
        Ok(LENGTH)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> EngineResult<ColumnarValue> {
        if let ColumnarValue::Scalar(ScalarValue::IntervalMonthDayNano(value)) = &args.args[0] {
            return Ok(ColumnarValue::Scalar(ScalarValue::Decimal128(
                value.map(length),
                38,
                0,
            )));
        }
        let array = args.args[0].to_array(args.number_rows)?;
        let lengths: Decimal128Array = array
            .as_primitive::<IntervalMonthDayNanoType>()
            .unary(length);
        let lengths: ArrayRef = Arc::new(lengths.with_data_type(LENGTH));
        Ok(ColumnarValue::Array(lengths))
    }
}

fn length(interval: IntervalMonthDayNano) -> i128 {
    let days = i128::from(interval.months) * MONTH_DAYS + i128::from(interval.days);
    days * DAY_NANOS + i128::from(interval.nanoseconds)
}

/// `interval_in`: `1 year 2 mons -3 days 04:05:06.789`, `1.5 h ago`, `1-2`, `P1Y2M3DT4H`.
pub(super) fn parse(text: &str) -> Result<IntervalMonthDayNano> {
    let mut sum = Sum::default();
    let read = match text.trim().strip_prefix('P') {
        Some(designated) => iso(designated, &mut sum),
        None => words(text, &mut sum),
    };
    match read {
        Some(()) => sum.interval().ok_or_else(|| {
            Error::new(
                SqlState::from_source("22015"),
                format!("interval field value out of range: \"{text}\""),
            )
        }),
        None => Err(Error::new(
            SqlState::INVALID_DATETIME_FORMAT,
            format!("invalid input syntax for type interval: \"{text}\""),
        )),
    }
}

/// The parts of an interval while they are added up. A sum beyond 64 bits is found at the end.
#[derive(Default)]
struct Sum {
    months: i128,
    days: i128,
    micros: i128,
}

/// A number as it is written: its whole part, and the fraction with the sign of the number.
#[derive(Clone, Copy)]
struct Number {
    whole: i128,
    fraction: f64,
}

impl Sum {
    fn interval(&self) -> Option<IntervalMonthDayNano> {
        Some(IntervalMonthDayNano::new(
            i32::try_from(self.months).ok()?,
            i32::try_from(self.days).ok()?,
            i64::try_from(self.micros.checked_mul(1000)?).ok()?,
        ))
    }

    fn micros(&mut self, number: Number, unit: i128) {
        self.micros += number.whole * unit;
        self.micros += (number.fraction * unit as f64).round_ties_even() as i128;
    }

    fn days(&mut self, number: Number, unit: i128) {
        let rest = number.fraction * unit as f64;
        self.days += number.whole * unit + rest.trunc() as i128;
        self.micros += (rest.fract() * DAY_MICROS).round_ties_even() as i128;
    }

    fn months(&mut self, number: Number) {
        self.months += number.whole;
        let days = Number {
            whole: 0,
            fraction: number.fraction,
        };
        self.days(days, MONTH_DAYS);
    }

    /// Years and longer: what is left of them is rounded to months.
    fn years(&mut self, number: Number, unit: i128) {
        self.months += number.whole * unit * 12;
        self.months += (number.fraction * unit as f64 * 12.0).round_ties_even() as i128;
    }

    fn add(&mut self, number: Number, unit: &str) -> Option<()> {
        match unit {
            "us" | "usec" | "usecs" | "usecond" | "useconds" | "microsecond" | "microseconds" => {
                self.micros(number, 1);
            }
            "ms" | "msec" | "msecs" | "msecond" | "mseconds" | "millisecond" | "milliseconds" => {
                self.micros(number, 1000);
            }
            "s" | "sec" | "secs" | "second" | "seconds" => self.micros(number, 1_000_000),
            "m" | "min" | "mins" | "minute" | "minutes" => self.micros(number, 60_000_000),
            "h" | "hr" | "hrs" | "hour" | "hours" => self.micros(number, 3_600_000_000),
            "d" | "day" | "days" => self.days(number, 1),
            "w" | "week" | "weeks" => self.days(number, 7),
            "mon" | "mons" | "month" | "months" => self.months(number),
            "y" | "yr" | "yrs" | "year" | "years" => self.years(number, 1),
            "dec" | "decs" | "decade" | "decades" => self.years(number, 10),
            "c" | "cent" | "century" | "centuries" => self.years(number, 100),
            "mil" | "mils" | "millennium" | "millennia" => self.years(number, 1000),
            _ => return None,
        }
        Some(())
    }
}

/// The longest run of `text` that `of` allows, and the rest.
fn run(text: &str, of: impl Fn(char) -> bool) -> (&str, &str) {
    let end = text.find(|c| !of(c)).unwrap_or(text.len());
    text.split_at(end)
}

/// Digits that no field of an interval needs.
const TOO_MANY_DIGITS: usize = 30;

/// `[+-]12.5`, where one of both sides of the point may be missing.
fn number(sign: i128, digits: &str) -> Option<Number> {
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if whole.len() + fraction.len() == 0
        || whole.len() > TOO_MANY_DIGITS
        || !all_digits(whole)
        || !all_digits(fraction)
    {
        return None;
    }
    let whole: i128 = format!("0{whole}").parse().ok()?;
    let fraction: f64 = format!("0.{fraction}0").parse().ok()?;
    Some(Number {
        whole: sign * whole,
        fraction: sign as f64 * fraction,
    })
}

/// Numbers with units, a time of day, years and months; each has its own sign, and `ago` turns them all.
fn words(text: &str, sum: &mut Sum) -> Option<()> {
    let lower = text.to_ascii_lowercase();
    let mut rest = lower.trim();
    rest = rest.strip_prefix('@').unwrap_or(rest).trim_start();
    if rest.is_empty() {
        return None;
    }
    // A number whose unit has not been read yet.
    let mut pending: Option<Number> = None;
    let mut ago = false;
    while !rest.is_empty() {
        if ago {
            return None;
        }
        let (word, after) = run(rest, char::is_alphabetic);
        if !word.is_empty() {
            rest = after.trim_start_matches([' ', '\t', '\n', ',']);
            match (pending.take(), word) {
                (Some(number), unit) => sum.add(number, unit)?,
                (None, "ago") => ago = true,
                (None, _) => return None,
            }
            continue;
        }
        let (sign, unsigned) = match rest.strip_prefix('-') {
            Some(unsigned) => (-1, unsigned),
            None => (1, rest.strip_prefix('+').unwrap_or(rest)),
        };
        let (digits, after) = run(unsigned, |c| c.is_ascii_digit() || matches!(c, '.' | ':'));
        if digits.contains(':') {
            // A number before a time of day counts days.
            if let Some(days) = pending.take() {
                sum.add(days, "day")?;
            }
            clock(sign, digits, sum)?;
            rest = after.trim_start();
            continue;
        }
        if pending.is_some() {
            return None;
        }
        if let Some(tail) = after.strip_prefix('-')
            && tail.starts_with(|c: char| c.is_ascii_digit())
        {
            let (months, after) = run(tail, |c| c.is_ascii_digit());
            let months = number(sign, months).filter(|months| months.whole.abs() < 12)?;
            sum.add(number(sign, digits)?, "year")?;
            sum.add(months, "month")?;
            rest = after.trim_start();
            continue;
        }
        pending = Some(number(sign, digits)?);
        rest = after.trim_start();
    }
    if let Some(seconds) = pending {
        sum.add(seconds, "second")?;
    }
    if ago {
        (sum.months, sum.days, sum.micros) = (-sum.months, -sum.days, -sum.micros);
    }
    Some(())
}

/// `hh:mm[:ss[.fraction]]`, or `mm:ss.fraction`.
fn clock(sign: i128, text: &str, sum: &mut Sum) -> Option<()> {
    let parts: Vec<&str> = text.split(':').collect();
    let (hours, minutes, seconds) = match parts.as_slice() {
        [minutes, seconds] if seconds.contains('.') => ("0", *minutes, *seconds),
        [hours, minutes] => (*hours, *minutes, "0"),
        [hours, minutes, seconds] => (*hours, *minutes, *seconds),
        _ => return None,
    };
    if hours.contains('.') || minutes.contains('.') {
        return None;
    }
    let (minutes, seconds) = (number(sign, minutes)?, number(sign, seconds)?);
    if minutes.whole.abs() > 59 || seconds.whole.abs() > 60 {
        return None;
    }
    sum.micros(number(sign, hours)?, 3_600_000_000);
    sum.micros(minutes, 60_000_000);
    sum.micros(seconds, 1_000_000);
    Some(())
}

/// ISO 8601 with designators, after its `P`.
fn iso(text: &str, sum: &mut Sum) -> Option<()> {
    let (mut rest, mut in_time, mut any) = (text, false, false);
    while !rest.is_empty() {
        if let Some(time) = rest.strip_prefix('T').filter(|_| !in_time) {
            (rest, in_time) = (time, true);
            continue;
        }
        let (sign, unsigned) = match rest.strip_prefix('-') {
            Some(unsigned) => (-1, unsigned),
            None => (1, rest.strip_prefix('+').unwrap_or(rest)),
        };
        let (digits, after) = run(unsigned, |c| c.is_ascii_digit() || c == '.');
        let unit = match (after.chars().next()?, in_time) {
            ('Y', false) => "year",
            ('M', false) => "month",
            ('W', false) => "week",
            ('D', false) => "day",
            ('H', true) => "hour",
            ('M', true) => "minute",
            ('S', true) => "second",
            _ => return None,
        };
        sum.add(number(sign, digits)?, unit)?;
        (rest, any) = (&after[1..], true);
    }
    any.then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Taken from a real server.
    #[test]
    fn intervals_are_read_like_postgresql() {
        for (text, months, days, micros) in [
            ("1 day", 0, 1, 0),
            ("1 day 02:00", 0, 1, 7_200_000_000),
            ("1 2:03", 0, 1, 7_380_000_000),
            ("1 year 2 mons -3 days 04:05:06.789", 14, -3, 14_706_789_000),
            ("-1 mon +1 day -00:00:01", -1, 1, -1_000_000),
            ("1.5 months", 1, 15, 0),
            ("1.5 years", 18, 0, 0),
            ("1.5 weeks", 0, 10, 43_200_000_000),
            ("1-2", 14, 0, 0),
            ("-1-2", -14, 0, 0),
            ("@ 1 minute ago", 0, 0, -60_000_000),
            ("1h30m", 0, 0, 5_400_000_000),
            ("5", 0, 0, 5_000_000),
            ("04:05.5", 0, 0, 245_500_000),
            ("P1Y2M3DT4H5M6.5S", 14, 3, 14_706_500_000),
            ("P-1W", 0, -7, 0),
        ] {
            assert_eq!(
                parse(text).unwrap(),
                IntervalMonthDayNano::new(months, days, micros * 1000),
                "{text}"
            );
        }
        for text in [
            "",
            "day",
            "1 fortnight",
            "1 2 days",
            "P",
            "1 day ago 1",
            "::",
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!(error.code, SqlState::INVALID_DATETIME_FORMAT, "{text}");
        }
        assert_eq!(parse("99999999999 days").unwrap_err().code.code(), "22015");
    }

    #[test]
    fn lengths_are_equal_across_parts() {
        let of = |text: &str| length(parse(text).unwrap());
        assert_eq!(of("1 day"), of("24 hours"));
        assert_eq!(of("1 mon"), of("30 days"));
        assert!(of("1 mon") < of("40 days"));
        assert!(of("-178000000 years") < of("0"));
    }
}
