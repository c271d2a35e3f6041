//! The one place where constants become SQL. Security-critical: it stands between a user's text and the
//! source's parser.
//!
//! Text is written so that it means the same under every SQL mode and character set: as `'…'` where each
//! character is plain ASCII without quotes and backslashes, as hexadecimal bytes with an introducer
//! otherwise. What has no exact constant (NaN, a date outside of the server's calendar, a number that a
//! column's index would round) is `None` and not pushed.
//!
//! `tests/source/literals.rs` sends thousands of them through a real server and back.

use std::fmt::Write as _;

use mysql_async::Value;
use sluice_spi::Literal;

use crate::types::ColumnType;

/// Microseconds in a day.
const DAY_MICROS: i64 = 86_400_000_000;

/// A constant of a column's type.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SqlValue {
    /// Inside of a statement.
    pub(crate) inline: String,
    /// As a parameter, where the server takes it for the same.
    pub(crate) parameter: Option<Value>,
}

impl SqlValue {
    /// `literal` as a constant that a column of that type is compared with; `None` where it is of another
    /// kind or has no exact text.
    pub(crate) fn new(literal: &Literal, column: &ColumnType) -> Option<SqlValue> {
        let inline = match (literal, column) {
            (Literal::Int(value), column) if column.is_integer() => {
                return Some(SqlValue {
                    inline: value.to_string(),
                    parameter: Some(Value::Int(*value)),
                });
            }
            (Literal::UInt(value), column) if column.is_integer() => {
                return Some(SqlValue {
                    inline: value.to_string(),
                    parameter: Some(Value::UInt(*value)),
                });
            }
            (Literal::Text(text), ColumnType::Text(column)) => {
                if !column.charset.holds(text) {
                    return None;
                }
                return Some(SqlValue {
                    inline: quote_text(text),
                    parameter: Some(Value::Bytes(text.clone().into_bytes())),
                });
            }
            // A number below 100 stands for a year of this or the last century there.
            (Literal::Int(value), ColumnType::Year) if (1901..=2155).contains(value) => {
                value.to_string()
            }
            (Literal::Boolean(value), ColumnType::Bool) => {
                if *value { "1" } else { "0" }.to_owned()
            }
            (
                Literal::Decimal {
                    unscaled, scale, ..
                },
                ColumnType::Decimal {
                    precision,
                    scale: column_scale,
                },
            ) => decimal(*unscaled, *scale, *precision, *column_scale)?,
            // Rust prints the shortest text that reads back as the same bits. The exponent makes it a
            // double to MySQL, not a decimal.
            (Literal::Float64(value), ColumnType::Double) if value.is_finite() => {
                format!("{value:e}")
            }
            (Literal::Bytes(bytes), ColumnType::Bytes) => hex(bytes),
            (Literal::Date(days), ColumnType::Date) => format!("DATE'{}'", date((*days).into())?),
            (Literal::Timestamp(micros), ColumnType::DateTime { fraction }) => {
                timestamp(*micros, *fraction)?
            }
            (Literal::TimestampTz(micros), ColumnType::Timestamp { fraction })
                if MOMENTS.contains(micros) =>
            {
                timestamp(*micros, *fraction)?
            }
            _ => return None,
        };
        Some(SqlValue {
            inline,
            parameter: None,
        })
    }

    /// The bytes of a text, to be compared with a column's bytes.
    pub(crate) fn bytes(text: &str) -> SqlValue {
        SqlValue {
            inline: hex(text.as_bytes()),
            parameter: None,
        }
    }
}

/// `timestamp` holds moments from the second after 1970 began to 2038-01-19 03:14:07 UTC. Beyond them a
/// server may convert the constant, and end elsewhere.
const MOMENTS: std::ops::Range<i64> = 1_000_000..2_147_483_647_000_000;

/// Text in quotes, or as bytes.
pub(crate) fn quote_text(text: &str) -> String {
    let plain = text
        .bytes()
        .all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'\'' | b'\\'));
    if plain {
        format!("'{text}'")
    } else {
        format!("_utf8mb4 {}", hex(text.as_bytes()))
    }
}

/// `x'…'`: a binary string where a string is wanted.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(3 + bytes.len() * 2);
    text.push_str("x'");
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text.push('\'');
    text
}

/// `` `name` `` with backticks doubled; `None` for a name that no MySQL object can have.
pub(crate) fn quote_identifier(name: &str) -> Option<String> {
    (!name.is_empty() && !name.contains('\0')).then(|| format!("`{}`", name.replace('`', "``")))
}

/// A decimal that a column of that precision and scale can hold. Others are compared without a cast too,
/// but bounds of an index are rounded to the column's own digits.
fn decimal(mut unscaled: i128, mut scale: i8, precision: u8, column_scale: i8) -> Option<String> {
    while scale > column_scale {
        if unscaled % 10 != 0 {
            return None;
        }
        unscaled /= 10;
        scale -= 1;
    }
    let sign = if unscaled < 0 { "-" } else { "" };
    let mut digits = unscaled.unsigned_abs().to_string();
    if scale < 0 {
        if unscaled != 0 {
            digits.push_str(&"0".repeat(scale.unsigned_abs().into()));
        }
        scale = 0;
    }
    let scale = usize::try_from(scale).ok()?;
    let digits = format!("{digits:0>width$}", width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let whole_digits = whole.trim_start_matches('0').len();
    let room = usize::try_from(i32::from(precision) - i32::from(column_scale)).ok()?;
    if whole_digits > room {
        return None;
    }
    Some(if fraction.is_empty() {
        format!("{sign}{whole}")
    } else {
        format!("{sign}{whole}.{fraction}")
    })
}

/// A day, counted from 1970-01-01, in the years that MySQL documents.
pub(crate) fn date(days: i64) -> Option<String> {
    let (year, month, day) = civil(days);
    (1..=9999)
        .contains(&year)
        .then(|| format!("{year:04}-{month:02}-{day:02}"))
}

fn timestamp(micros: i64, fraction: u8) -> Option<String> {
    // Finer than the column: a bound of an index would be rounded.
    let unit = 10_i64.pow(6 - u32::from(fraction.min(6)));
    if micros % unit != 0 {
        return None;
    }
    let date = date(micros.div_euclid(DAY_MICROS))?;
    Some(format!(
        "TIMESTAMP'{date} {}'",
        clock(micros.rem_euclid(DAY_MICROS))
    ))
}

/// Time of day.
pub(crate) fn clock(micros: i64) -> String {
    let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
    let text = format!(
        "{:02}:{:02}:{:02}",
        seconds / 3_600,
        seconds / 60 % 60,
        seconds % 60
    );
    if fraction == 0 {
        text
    } else {
        format!("{text}.{fraction:06}")
    }
}

/// Year, month and day of a day counted from 1970-01-01, in the proleptic Gregorian calendar (Howard
/// Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let cycle = days.div_euclid(146_097);
    let day_of_cycle = days.rem_euclid(146_097);
    let year_of_cycle = (day_of_cycle - day_of_cycle / 1_460 + day_of_cycle / 36_524
        - day_of_cycle / 146_096)
        / 365;
    let day_of_year =
        day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_cycle + cycle * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Charset, TextType};

    fn text(charset: Charset) -> ColumnType {
        ColumnType::Text(TextType {
            length: None,
            charset,
            by_bytes: false,
            by_code_points: false,
            is_long: false,
            is_label: false,
        })
    }

    fn inline(literal: Literal, column: &ColumnType) -> Option<String> {
        SqlValue::new(&literal, column).map(|value| value.inline)
    }

    #[test]
    fn text_cannot_leave_its_quotes() {
        let column = text(Charset::Utf8mb4);
        let text = |text: &str| inline(Literal::Text(text.into()), &column);
        assert_eq!(text("plain -- text").as_deref(), Some("'plain -- text'"));
        assert_eq!(
            text("x' OR '1'='1").as_deref(),
            Some("_utf8mb4 x'7827204f52202731273d2731'")
        );
        assert_eq!(text("\\").as_deref(), Some("_utf8mb4 x'5c'"));
        assert_eq!(text("é").as_deref(), Some("_utf8mb4 x'c3a9'"));
        assert_eq!(text("a\0").as_deref(), Some("_utf8mb4 x'6100'"));
        assert_eq!(
            quote_identifier("a`; DROP TABLE b; --").as_deref(),
            Some("`a``; DROP TABLE b; --`")
        );
        assert_eq!(quote_identifier(""), None);
    }

    #[test]
    fn a_character_set_gets_no_characters_that_it_lacks() {
        let value = |charset, value: &str| {
            SqlValue::new(&Literal::Text(value.into()), &text(charset)).is_some()
        };
        assert!(value(Charset::Latin1, "abc") && !value(Charset::Latin1, "日"));
        assert!(value(Charset::Utf8mb3, "日") && !value(Charset::Utf8mb3, "😀"));
        assert!(!value(Charset::Other, "abc"));
    }

    #[test]
    fn every_constant_is_of_its_columns_type() {
        let money = ColumnType::Decimal {
            precision: 10,
            scale: 2,
        };
        let price = |unscaled, scale| Literal::Decimal {
            unscaled,
            precision: 38,
            scale,
        };
        for (literal, column, sql) in [
            (
                Literal::Int(i64::MIN),
                &ColumnType::Int8,
                Some("-9223372036854775808"),
            ),
            (
                Literal::UInt(u64::MAX),
                &ColumnType::UInt64,
                Some("18446744073709551615"),
            ),
            (Literal::Int(5), &ColumnType::Double, None),
            (Literal::Int(5), &ColumnType::Year, None),
            (Literal::Int(2024), &ColumnType::Year, Some("2024")),
            (price(-5, 2), &money, Some("-0.05")),
            (price(150, 3), &money, Some("0.15")),
            (price(155, 3), &money, None),
            (price(12, -3), &money, Some("12000")),
            (price(9_999_999_999, 2), &money, Some("99999999.99")),
            (price(10_000_000_000, 2), &money, None),
            (Literal::Float64(0.1), &ColumnType::Double, Some("1e-1")),
            (
                Literal::Float64(-1.5e300),
                &ColumnType::Double,
                Some("-1.5e300"),
            ),
            (Literal::Float64(f64::NAN), &ColumnType::Double, None),
            (Literal::Float32(0.1), &ColumnType::Float, None),
            (
                Literal::Bytes(vec![0, 0xff]),
                &ColumnType::Bytes,
                Some("x'00ff'"),
            ),
            (
                Literal::Date(-719_162),
                &ColumnType::Date,
                Some("DATE'0001-01-01'"),
            ),
            (Literal::Date(-719_163), &ColumnType::Date, None),
            (
                Literal::Timestamp(-1),
                &ColumnType::DateTime { fraction: 6 },
                Some("TIMESTAMP'1969-12-31 23:59:59.999999'"),
            ),
            (
                Literal::Timestamp(-1),
                &ColumnType::DateTime { fraction: 3 },
                None,
            ),
            (
                Literal::TimestampTz(0),
                &ColumnType::Timestamp { fraction: 0 },
                None,
            ),
            (
                Literal::TimestampTz(1_000_000_000),
                &ColumnType::Timestamp { fraction: 0 },
                Some("TIMESTAMP'1970-01-01 00:16:40'"),
            ),
        ] {
            assert_eq!(
                inline(literal.clone(), column).as_deref(),
                sql,
                "{literal:?}"
            );
        }
    }
}
