//! `text_of` and `text_of_numeric`: a value as PostgreSQL's output functions print it, where Arrow prints it differently.
//!
//! Floats (`1`, not `1.0`; `1e+20`), timestamps (a space, not a `T`), bytea (`\x00ff`), and numerics without typmod (no
//! zeros at the end that are only there because a column has one scale).

use std::fmt::Write;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Float32Type, Float64Type, TimeUnit, TimestampMicrosecondType, i256,
};
use chrono::{DateTime, Datelike};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::decimal::{Decimals, magnitude, trimmed};

pub(super) fn functions() -> Vec<ScalarUDF> {
    // Two names, since the tag of a numeric without typmod does not travel to workers.
    [("text_of", false), ("text_of_numeric", true)]
        .map(|(name, free_scale)| {
            let signature = Signature::any(1, Volatility::Immutable);
            ScalarUDF::new_from_impl(TextOf {
                name,
                free_scale,
                signature,
            })
        })
        .into()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct TextOf {
    name: &'static str,
    /// The argument is a numeric without typmod.
    free_scale: bool,
    signature: Signature,
}

impl ScalarUDFImpl for TextOf {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let constant = matches!(args.args[0], ColumnarValue::Scalar(_));
        let rows = if constant { 1 } else { args.number_rows };
        let array = args.args[0].to_array(rows)?;
        let result = print(&array, self.free_scale)?;
        Ok(if constant {
            ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?)
        } else {
            ColumnarValue::Array(result)
        })
    }
}

fn print(array: &ArrayRef, free_scale: bool) -> Result<ArrayRef> {
    let texts: StringArray = match array.data_type() {
        DataType::Float64 => array
            .as_primitive::<Float64Type>()
            .iter()
            .map(|value| value.map(|v| float_text(v, &format!("{v:e}"), 15)))
            .collect(),
        DataType::Float32 => array
            .as_primitive::<Float32Type>()
            .iter()
            .map(|value| value.map(|v| float_text(f64::from(v), &format!("{v:e}"), 6)))
            .collect(),
        DataType::Timestamp(unit, None) => {
            let micros = match unit {
                TimeUnit::Microsecond => Arc::clone(array),
                _ => cast(array, &DataType::Timestamp(TimeUnit::Microsecond, None))?,
            };
            micros
                .as_primitive::<TimestampMicrosecondType>()
                .iter()
                .map(|value| value.map(timestamp_text))
                .collect()
        }
        DataType::Decimal128(..) | DataType::Decimal256(..) => match Decimals::of(array) {
            Some(decimals) => (0..array.len())
                .map(|row| {
                    decimals.get(row).map(|value| {
                        let (value, scale) = match free_scale {
                            true => trimmed(value, decimals.scale()),
                            false => (value, decimals.scale()),
                        };
                        decimal_text(value, scale)
                    })
                })
                .collect(),
            None => return Ok(cast(array, &DataType::Utf8)?),
        },
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => {
            let bytes = cast(array, &DataType::Binary)?;
            bytes
                .as_binary::<i32>()
                .iter()
                .map(|value| value.map(bytea_text))
                .collect()
        }
        DataType::List(_) => {
            let lists = array.as_list::<i32>();
            (0..lists.len())
                .map(|row| {
                    lists
                        .is_valid(row)
                        .then(|| list_text(&lists.value(row), free_scale))
                        .transpose()
                })
                .collect::<Result<_>>()?
        }
        _ => return Ok(cast(array, &DataType::Utf8)?),
    };
    Ok(Arc::new(texts))
}

/// `array_out`: an item in quotes where it would be read otherwise.
fn list_text(items: &ArrayRef, free_scale: bool) -> Result<String> {
    let nested = items.data_type().is_nested();
    let truths = items.data_type() == &DataType::Boolean;
    let texts = print(items, free_scale)?;
    let texts = texts.as_string::<i32>();
    let mut out = String::from("{");
    for (at, item) in texts.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        let special =
            |c: char| matches!(c, '{' | '}' | ',' | '"' | '\\') || c.is_ascii_whitespace();
        match item {
            None => out.push_str("NULL"),
            Some(item) if truths => out.push_str(&item[..1]),
            Some(item) if nested => out.push_str(item),
            Some(item)
                if item.is_empty()
                    || item.eq_ignore_ascii_case("null")
                    || item.contains(special) =>
            {
                out.push('"');
                for character in item.chars() {
                    if matches!(character, '"' | '\\') {
                        out.push('\\');
                    }
                    out.push(character);
                }
                out.push('"');
            }
            Some(item) => out.push_str(item),
        }
    }
    out.push('}');
    Ok(out)
}

/// Shortest digits that read back as the same number, with an exponent where PostgreSQL uses one: from
/// `wide` digits before the point, or four zeros after it. `scientific` is Rust's `1.5e20`.
fn float_text(value: f64, scientific: &str, wide: i32) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", mantissa),
    };
    let mut text = String::from(sign);
    if exponent < -4 || exponent >= wide {
        let sign = if exponent < 0 { '-' } else { '+' };
        // Writing to a string cannot fail.
        let _ = write!(text, "{mantissa}e{sign}{:02}", exponent.abs());
        return text;
    }
    let digits: String = mantissa.chars().filter(|c| *c != '.').collect();
    if exponent < 0 {
        text.push_str("0.");
        text.extend(std::iter::repeat_n('0', (-exponent - 1) as usize));
        text.push_str(&digits);
    } else {
        let before = exponent as usize + 1;
        if digits.len() <= before {
            text.push_str(&digits);
            text.extend(std::iter::repeat_n('0', before - digits.len()));
        } else {
            text.push_str(&digits[..before]);
            text.push('.');
            text.push_str(&digits[before..]);
        }
    }
    text
}

/// `bytea_out` in its `\x` form.
fn bytea_text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 + bytes.len() * 2);
    text.push_str("\\x");
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// `timestamp_out` in ISO order.
pub(super) fn timestamp_text(micros: i64) -> String {
    match micros {
        i64::MAX => return "infinity".to_owned(),
        i64::MIN => return "-infinity".to_owned(),
        _ => {}
    }
    let Some(moment) = DateTime::from_timestamp_micros(micros) else {
        return micros.to_string();
    };
    // The year before 1 is 1 BC, which chrono calls 0.
    let (year, era) = match moment.year() {
        year if year > 0 => (year, ""),
        year => (1 - year, " BC"),
    };
    let rest = moment.naive_utc().format("-%m-%d %H:%M:%S");
    let fraction = match micros.rem_euclid(1_000_000) {
        0 => String::new(),
        fraction => format!(".{fraction:06}").trim_end_matches('0').to_owned(),
    };
    format!("{year:04}{rest}{fraction}{era}")
}

fn decimal_text(value: i256, scale: i32) -> String {
    let sign = if value < i256::ZERO { "-" } else { "" };
    let digits = magnitude(value).to_string();
    let Ok(scale) = usize::try_from(scale) else {
        let zeros = "0".repeat(scale.unsigned_abs() as usize);
        return format!("{sign}{digits}{zeros}");
    };
    if scale == 0 {
        return format!("{sign}{digits}");
    }
    let digits = format!("{digits:0>width$}", width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    format!("{sign}{whole}.{fraction}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Taken from a real server.
    #[test]
    fn floats_print_like_postgresql() {
        for (value, expected) in [
            (1.0, "1"),
            (-0.0, "-0"),
            (0.1, "0.1"),
            (123_456_789_012_345.0, "123456789012345"),
            (1e15, "1e+15"),
            (1e20, "1e+20"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (1.5e-7, "1.5e-07"),
            (100.0, "100"),
        ] {
            assert_eq!(float_text(value, &format!("{value:e}"), 15), expected);
        }
    }

    #[test]
    fn decimals_print_their_scale() {
        assert_eq!(decimal_text(i256::from_i128(-5), 2), "-0.05");
        assert_eq!(decimal_text(i256::from_i128(1250), 2), "12.50");
        assert_eq!(timestamp_text(1_500_000), "1970-01-01 00:00:01.5");
        assert_eq!(
            timestamp_text(-63_517_824_000_000_000),
            "0044-03-15 00:00:00 BC"
        );
    }
}
