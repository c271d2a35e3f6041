//! Text as values, by the rules and with the errors of PostgreSQL's input functions.

use arrow::datatypes::{DataType, IntervalUnit, TimeUnit, i256};
use datafusion::common::ScalarValue;
use sluice_spi::{Error, Result, SqlState};

use super::decimal::{magnitude, power_of_ten, rescale};
use super::{intervals, moments};

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
            | DataType::Interval(IntervalUnit::MonthDayNano)
            | DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
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
        DataType::Date32 => ScalarValue::Date32(Some(moments::date(text)?)),
        DataType::Timestamp(TimeUnit::Microsecond, None) => {
            ScalarValue::TimestampMicrosecond(Some(moments::timestamp(text)?), None)
        }
        DataType::Time64(TimeUnit::Microsecond) => {
            ScalarValue::Time64Microsecond(Some(moments::time(text)?))
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            ScalarValue::IntervalMonthDayNano(Some(intervals::parse(text)?))
        }
        DataType::Binary => ScalarValue::Binary(Some(bytea(text)?)),
        DataType::LargeBinary => ScalarValue::LargeBinary(Some(bytea(text)?)),
        DataType::BinaryView => ScalarValue::BinaryView(Some(bytea(text)?)),
        other => return Err(Error::internal(format!("no input function for {other}"))),
    })
}

fn invalid(text: &str, type_name: &str) -> Error {
    Error::new(
        SqlState::INVALID_TEXT_REPRESENTATION,
        format!("invalid input syntax for type {type_name}: \"{text}\""),
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

/// `bytea_in`: the `\x` form, or the older one, where a backslash stands before another or before three octal
/// digits.
fn bytea(text: &str) -> Result<Vec<u8>> {
    let invalid_digits = |message: String| Error::new(SqlState::INVALID_PARAMETER_VALUE, message);
    if let Some(digits) = text.strip_prefix("\\x") {
        let digits: Vec<char> = digits
            .chars()
            .filter(|c| !c.is_ascii_whitespace())
            .collect();
        if let Some(wrong) = digits.iter().find(|c| !c.is_ascii_hexdigit()) {
            let message = format!("invalid hexadecimal digit: \"{wrong}\"");
            return Err(invalid_digits(message));
        }
        if digits.len() % 2 == 1 {
            let message = "invalid hexadecimal data: odd number of digits";
            return Err(invalid_digits(message.to_owned()));
        }
        let nibble = |digit: char| digit.to_digit(16).unwrap_or_default() as u8;
        return Ok(digits
            .chunks_exact(2)
            .map(|pair| nibble(pair[0]) << 4 | nibble(pair[1]))
            .collect());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let (byte, tail) = match (byte, tail) {
            (b'\\', [b'\\', tail @ ..]) => (b'\\', tail),
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', tail @ ..]) => {
                ((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'), tail)
            }
            (b'\\', _) => return Err(invalid(text, "bytea")),
            plain => plain,
        };
        bytes.push(byte);
        rest = tail;
    }
    Ok(bytes)
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
    fn byteas_are_bytes() {
        assert_eq!(bytea(r"\xDE ad").unwrap(), [0xde, 0xad]);
        assert_eq!(bytea(r"a\\\001").unwrap(), b"a\\\x01");
        assert_eq!(bytea(r"\x5c").unwrap(), b"\\");
        assert_eq!(
            bytea(r"\xz").unwrap_err().message,
            "invalid hexadecimal digit: \"z\""
        );
        assert_eq!(
            bytea(r"\x0").unwrap_err().code,
            SqlState::INVALID_PARAMETER_VALUE
        );
        assert_eq!(
            bytea(r"\9").unwrap_err().code,
            SqlState::INVALID_TEXT_REPRESENTATION
        );
    }
}
