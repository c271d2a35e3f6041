//! Text as values, by the rules and with the errors of PostgreSQL's input functions.

use arrow::datatypes::{DataType, TimeUnit, i256};
use chrono::{NaiveDate, NaiveTime, Timelike};
use datafusion::common::ScalarValue;
use sluice_spi::{Error, Result, SqlState};

use super::decimal::{magnitude, power_of_ten, rescale};

const DAY_MICROS: i64 = 86_400_000_000;

/// The value of an untyped literal as `data_type`, or `None` where the engine's own rules serve.
pub fn parse_literal(
    text: &str,
    data_type: &DataType,
    free_scale: bool,
) -> Option<Result<ScalarValue>> {
    let known = matches!(
        data_type,
        DataType::Boolean
            | DataType::Int16
            | DataType::Int32
            | DataType::Int64
            | DataType::Float32
            | DataType::Float64
            | DataType::Decimal128(..)
            | DataType::Decimal256(..)
            | DataType::Date32
            | DataType::Timestamp(TimeUnit::Microsecond, None)
            | DataType::Time64(TimeUnit::Microsecond)
    );
    known.then(|| parse(text, data_type, free_scale))
}

/// The value of `text`. `free_scale` says that a decimal stands for a numeric without typmod.
pub(super) fn parse(text: &str, data_type: &DataType, free_scale: bool) -> Result<ScalarValue> {
    Ok(match data_type {
        DataType::Boolean => ScalarValue::Boolean(Some(boolean(text)?)),
        DataType::Int16 => ScalarValue::Int16(Some(integer(text, "smallint")?)),
        DataType::Int32 => ScalarValue::Int32(Some(integer(text, "integer")?)),
        DataType::Int64 => ScalarValue::Int64(Some(integer(text, "bigint")?)),
        DataType::Float32 => {
            let value = float(text, "real")? as f32;
            if value.is_infinite() && !text.to_lowercase().contains("inf") {
                return Err(out_of_range_text(text, "real"));
            }
            ScalarValue::Float32(Some(value))
        }
        DataType::Float64 => ScalarValue::Float64(Some(float(text, "double precision")?)),
        DataType::Decimal128(p, s) => {
            let value = numeric(text, *p, *s, free_scale)?;
            ScalarValue::Decimal128(value.to_i128(), *p, *s)
        }
        DataType::Decimal256(p, s) => {
            ScalarValue::Decimal256(Some(numeric(text, *p, *s, free_scale)?), *p, *s)
        }
        DataType::Date32 => ScalarValue::Date32(Some(days(moment(text, "date")?.0))),
        DataType::Timestamp(TimeUnit::Microsecond, None) => {
            let (date, micros) = moment(text, "timestamp")?;
            let micros = i64::from(days(date))
                .checked_mul(DAY_MICROS)
                .and_then(|d| d.checked_add(micros))
                .ok_or_else(|| field_out_of_range(text))?;
            ScalarValue::TimestampMicrosecond(Some(micros), None)
        }
        DataType::Time64(TimeUnit::Microsecond) => {
            let micros = time(text.trim(), text, "time")?;
            ScalarValue::Time64Microsecond(Some(micros))
        }
        other => return Err(Error::internal(format!("no input function for {other}"))),
    })
}

fn invalid(text: &str, type_name: &str) -> Error {
    Error::new(
        SqlState::INVALID_TEXT_REPRESENTATION,
        format!("invalid input syntax for type {type_name}: \"{text}\""),
    )
}

fn invalid_moment(text: &str, type_name: &str) -> Error {
    Error::new(
        SqlState::INVALID_DATETIME_FORMAT,
        format!("invalid input syntax for type {type_name}: \"{text}\""),
    )
}

fn field_out_of_range(text: &str) -> Error {
    Error::new(
        SqlState::DATETIME_OVERFLOW,
        format!("date/time field value out of range: \"{text}\""),
    )
}

fn out_of_range_text(text: &str, type_name: &str) -> Error {
    Error::new(
        SqlState::NUMERIC_OUT_OF_RANGE,
        format!("\"{}\" is out of range for type {type_name}", text.trim()),
    )
}

/// The error of a value with too many digits for numeric(precision, scale).
pub(super) fn field_overflow(precision: u8, scale: i8) -> Error {
    Error::new(SqlState::NUMERIC_OUT_OF_RANGE, "numeric field overflow").with_detail(format!(
        "A field with precision {precision}, scale {scale} must round to an absolute value less than {}{}.",
        if i32::from(precision) == i32::from(scale) { "" } else { "10^" },
        match i32::from(precision) - i32::from(scale) {
            0 => 1,
            digits => digits,
        }
    ))
}

/// The error of a value that a numeric without typmod cannot hold here. `value` is empty, or the value in
/// quotes after a blank.
pub(super) fn too_many_digits(value: &str, scale: impl std::fmt::Display) -> Error {
    Error::new(
        SqlState::NUMERIC_OUT_OF_RANGE,
        format!("numeric{value} has more than {scale} digits after the point"),
    )
    .with_hint("Cast it to numeric(precision, scale).")
}

/// `boolin`: any unambiguous beginning of the six words, or a digit.
fn boolean(text: &str) -> Result<bool> {
    let word = text.trim().to_lowercase();
    let begins = |full: &str, least: usize| word.len() >= least && full.starts_with(&word);
    if begins("true", 1) || begins("yes", 1) || word == "on" || word == "1" {
        Ok(true)
    } else if begins("false", 1) || begins("no", 1) || begins("off", 2) || word == "0" {
        Ok(false)
    } else {
        Err(invalid(text, "boolean"))
    }
}

fn integer<T: TryFrom<i64>>(text: &str, type_name: &str) -> Result<T> {
    let trimmed = text.trim_matches(|c: char| c.is_ascii_whitespace());
    let digits = trimmed.strip_prefix(['-', '+']).unwrap_or(trimmed);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(invalid(text, type_name));
    }
    trimmed
        .parse::<i64>()
        .ok()
        .and_then(|v| T::try_from(v).ok())
        .ok_or_else(|| {
            Error::new(
                SqlState::NUMERIC_OUT_OF_RANGE,
                format!("value \"{text}\" is out of range for type {type_name}"),
            )
        })
}

fn float(text: &str, type_name: &str) -> Result<f64> {
    let trimmed = text.trim_matches(|c: char| c.is_ascii_whitespace());
    let value: f64 = trimmed.parse().map_err(|_| invalid(text, type_name))?;
    let spelled = trimmed.to_lowercase().contains("inf");
    let has_digits = trimmed
        .split(['e', 'E'])
        .next()
        .is_some_and(|mantissa| mantissa.bytes().any(|b| (b'1'..=b'9').contains(&b)));
    if (value.is_infinite() && !spelled) || (value == 0.0 && has_digits) {
        return Err(out_of_range_text(text, type_name));
    }
    Ok(value)
}

/// The unscaled value of a numeric's text at `scale`.
pub(super) fn numeric(text: &str, precision: u8, scale: i8, free_scale: bool) -> Result<i256> {
    let trimmed = text.trim_matches(|c: char| c.is_ascii_whitespace());
    let lower = trimmed.to_lowercase();
    let word = lower.trim_start_matches(['-', '+']);
    if matches!(word, "nan" | "inf" | "infinity") {
        return Err(
            Error::unsupported(format!("numeric {trimmed} is not supported"))
                .with_hint("Use double precision."),
        );
    }
    let (negative, unsigned) = match trimmed.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, trimmed.strip_prefix('+').unwrap_or(trimmed)),
    };
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(at) => {
            let exponent = unsigned[at + 1..]
                .parse::<i32>()
                .map_err(|_| invalid(text, "numeric"))?;
            (&unsigned[..at], exponent)
        }
        None => (unsigned, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut all = whole.bytes().chain(fraction.bytes());
    if (whole.is_empty() && fraction.is_empty()) || !all.all(|b| b.is_ascii_digit()) {
        return Err(invalid(text, "numeric"));
    }
    let overflow = || field_overflow(precision, scale);
    let limit = power_of_ten(i32::from(precision)).unwrap_or(i256::MAX);
    let scale = i32::from(scale);
    // Digits beyond the 75th are only looked at for rounding, where they cannot matter any more.
    let digits: String = format!("{whole}{fraction}");
    let digits = digits.trim_start_matches('0');
    let own_scale = i32::try_from(fraction.len())
        .unwrap_or(i32::MAX)
        .saturating_sub(exponent);
    let kept = digits.len().min(75);
    let own_scale =
        own_scale.saturating_sub(i32::try_from(digits.len() - kept).unwrap_or(i32::MAX));
    if kept == 0 {
        return Ok(i256::ZERO);
    }
    let value = i256::from_string(&digits[..kept]).ok_or_else(overflow)?;
    let scaled = rescale(value, own_scale, scale)
        .filter(|v| magnitude(*v) < limit)
        .ok_or_else(overflow)?;
    if free_scale && own_scale > scale && rescale(scaled, scale, own_scale) != Some(value) {
        return Err(too_many_digits(&format!(" \"{trimmed}\""), scale));
    }
    Ok(if negative {
        scaled.wrapping_neg()
    } else {
        scaled
    })
}

fn days(date: NaiveDate) -> i32 {
    date.signed_duration_since(NaiveDate::default()).num_days() as i32
}

/// Date and microseconds of the day of a date or timestamp in ISO order; a zone is read and ignored, as
/// PostgreSQL does where the type has none.
fn moment(text: &str, type_name: &str) -> Result<(NaiveDate, i64)> {
    let trimmed = text.trim();
    let bad = || invalid_moment(text, type_name);
    if trimmed.eq_ignore_ascii_case("epoch") {
        return Ok((NaiveDate::default(), 0));
    }
    if matches!(trimmed.to_lowercase().as_str(), "infinity" | "-infinity") {
        return Err(Error::unsupported(format!(
            "{type_name} {trimmed} is not supported"
        )));
    }
    let (date, rest) = match trimmed.find([' ', 'T', 't']) {
        Some(at) => (&trimmed[..at], trimmed[at + 1..].trim()),
        None => (trimmed, ""),
    };
    let parts: Vec<&str> = date.split(['-', '/']).collect();
    let number = |part: &str| match part.bytes().all(|b| b.is_ascii_digit()) {
        true => part.parse::<u32>().map_err(|_| bad()),
        false => Err(bad()),
    };
    let (year, month, day) = match parts.as_slice() {
        [year, month, day] if year.len() >= 3 && month.len() <= 2 && day.len() <= 2 => {
            (number(year)?, number(month)?, number(day)?)
        }
        [compact] if compact.len() == 8 && compact.is_ascii() => (
            number(&compact[..4])?,
            number(&compact[4..6])?,
            number(&compact[6..])?,
        ),
        _ => return Err(bad()),
    };
    let date = i32::try_from(year)
        .ok()
        .filter(|year| *year > 0)
        .and_then(|year| NaiveDate::from_ymd_opt(year, month, day))
        .ok_or_else(|| field_out_of_range(text))?;
    let micros = if rest.is_empty() {
        0
    } else {
        time(rest, text, type_name)?
    };
    if micros == DAY_MICROS {
        let next = date.succ_opt().ok_or_else(|| field_out_of_range(text))?;
        return Ok((next, 0));
    }
    Ok((date, micros))
}

/// Microseconds of `hh:mm[:ss[.fraction]]`, with a zone that is not used.
fn time(rest: &str, text: &str, type_name: &str) -> Result<i64> {
    let bad = || invalid_moment(text, type_name);
    let clock = rest
        .find(['+', 'Z', 'z', '-', ' '])
        .map_or(rest, |at| &rest[..at]);
    let zone = &rest[clock.len()..];
    if !zone
        .bytes()
        .all(|b| b.is_ascii_digit() || b"+-:Zz UTC".contains(&b))
    {
        return Err(bad());
    }
    let parts: Vec<&str> = clock.split(':').collect();
    let (hour, minute, second) = match parts.as_slice() {
        [hour, minute] => (*hour, *minute, "0"),
        [hour, minute, second] => (*hour, *minute, *second),
        _ => return Err(bad()),
    };
    let (second, fraction) = second.split_once('.').unwrap_or((second, ""));
    let number = |part: &str| match !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()) {
        true => part.parse::<u32>().map_err(|_| bad()),
        false => Err(bad()),
    };
    let (hour, minute, second) = (number(hour)?, number(minute)?, number(second)?);
    let micros = match fraction {
        "" => 0,
        digits if digits.bytes().all(|b| b.is_ascii_digit()) => {
            let value: f64 = format!("0.{digits}").parse().map_err(|_| bad())?;
            (value * 1e6).round_ties_even() as i64
        }
        _ => return Err(bad()),
    };
    let end_of_day = hour == 24 && minute == 0 && second == 0 && micros == 0;
    if !end_of_day && (hour > 23 || minute > 59 || second > 60) {
        return Err(field_out_of_range(text));
    }
    let midnight = NaiveTime::MIN.num_seconds_from_midnight();
    let seconds = i64::from(midnight + hour * 3600 + minute * 60 + second);
    Ok(seconds * 1_000_000 + micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_truth() {
        for (text, expected) in [
            ("t", true),
            (" TRUE ", true),
            ("y", true),
            ("on", true),
            ("1", true),
            ("f", false),
            ("of", false),
        ] {
            assert_eq!(boolean(text).unwrap(), expected, "{text}");
        }
        for text in ["", "o", "2", "truex"] {
            assert!(boolean(text).is_err(), "{text}");
        }
    }

    #[test]
    fn numerics_are_rounded_or_refused() {
        assert_eq!(
            numeric("1.005", 10, 2, false).unwrap(),
            i256::from_i128(101)
        );
        assert_eq!(
            numeric("-1.5e2", 10, 0, false).unwrap(),
            i256::from_i128(-150)
        );
        assert_eq!(numeric(".5", 10, 0, false).unwrap(), i256::from_i128(1));
        let error = numeric("1234", 5, 2, false).unwrap_err();
        assert_eq!(error.code, SqlState::NUMERIC_OUT_OF_RANGE);
        assert_eq!(
            error.detail.as_deref(),
            Some(
                "A field with precision 5, scale 2 must round to an absolute value less than 10^3."
            )
        );
        assert!(numeric("1.000000000000000000000000001", 76, 20, true).is_err());
        assert!(numeric("1,5", 10, 2, false).is_err());
    }

    #[test]
    fn moments_are_read_in_iso_order() {
        let at = |text: &str| {
            parse(
                text,
                &DataType::Timestamp(TimeUnit::Microsecond, None),
                false,
            )
            .map(|v| v.to_string())
        };
        assert_eq!(at("1970-01-02 00:00:01.5").unwrap(), "86401500000");
        assert_eq!(
            at("19700102T000001+02").unwrap_err().code,
            SqlState::INVALID_DATETIME_FORMAT
        );
        assert_eq!(
            at("1970-13-01").unwrap_err().code,
            SqlState::DATETIME_OVERFLOW
        );
        assert_eq!(
            at("hello").unwrap_err().code,
            SqlState::INVALID_DATETIME_FORMAT
        );
        assert_eq!(at("1970-01-01 24:00").unwrap(), "86400000000");
    }
}
