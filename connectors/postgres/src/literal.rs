//! The one place where constants become SQL. Security-critical: `COPY` takes no parameters, so this is
//! what stands between a user's text and the source's parser.
//!
//! A constant is a [`SqlValue`]: the text that the type's input function reads, and the type. It is
//! written as `'text'::type` with quotes doubled, or sent as a parameter. Every session has
//! `standard_conforming_strings` on, so a backslash is a character like any other. What has no exact
//! text (NUL, a date outside of PostgreSQL's range) is `None` and not pushed; the extremes of dates and
//! timestamps are `infinity`.
//!
//! `tests/literals.rs` sends thousands of them through a real server and back.

use sluice_spi::Literal;

use crate::decode::temporal::{DAY_MICROS, EPOCH_DAYS, EPOCH_MICROS};
use crate::types::ColumnType;

/// Types that constants are written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Bool,
    Int2,
    Int4,
    Int8,
    Numeric,
    Float4,
    Float8,
    Text,
    Bpchar,
    Uuid,
    Bytea,
    Date,
    Time,
    Timestamp,
    TimestampTz,
}

impl Class {
    /// The class that a column is compared in; `None` where it is compared by the engine only.
    pub(crate) fn of(column: &ColumnType) -> Option<Class> {
        Some(match column {
            ColumnType::Bool => Class::Bool,
            ColumnType::Int2 => Class::Int2,
            ColumnType::Int4 => Class::Int4,
            ColumnType::Int8 | ColumnType::Oid => Class::Int8,
            ColumnType::Numeric { .. } | ColumnType::FreeNumeric => Class::Numeric,
            ColumnType::Float4 => Class::Float4,
            ColumnType::Float8 => Class::Float8,
            ColumnType::Text | ColumnType::Name | ColumnType::Enum => Class::Text,
            ColumnType::Bpchar { .. } => Class::Bpchar,
            ColumnType::Uuid => Class::Uuid,
            ColumnType::Bytea => Class::Bytea,
            ColumnType::Date => Class::Date,
            ColumnType::Time => Class::Time,
            ColumnType::Timestamp => Class::Timestamp,
            ColumnType::TimestampTz => Class::TimestampTz,
            ColumnType::Interval
            | ColumnType::Json
            | ColumnType::Jsonb
            | ColumnType::List(_)
            | ColumnType::AsText
            | ColumnType::AsOutput => return None,
        })
    }

    /// Compares without a cast of the column: the widths of one kind are one class.
    pub(crate) fn is_comparable(self, other: Class) -> bool {
        self == other || (self.is_integer() && other.is_integer())
    }

    pub(crate) fn is_integer(self) -> bool {
        matches!(self, Class::Int2 | Class::Int4 | Class::Int8)
    }

    pub(crate) fn is_text(self) -> bool {
        self == Class::Text
    }

    /// An exact number.
    pub(crate) fn is_number(self) -> bool {
        self.is_integer() || self == Class::Numeric
    }

    fn sql(self) -> &'static str {
        match self {
            Class::Bool => "bool",
            Class::Int2 => "int2",
            Class::Int4 => "int4",
            Class::Int8 => "int8",
            Class::Numeric => "numeric",
            Class::Float4 => "float4",
            Class::Float8 => "float8",
            Class::Text => "text",
            Class::Bpchar => "bpchar",
            Class::Uuid => "uuid",
            Class::Bytea => "bytea",
            Class::Date => "date",
            Class::Time => "time",
            Class::Timestamp => "timestamp",
            Class::TimestampTz => "timestamptz",
        }
    }
}

/// A constant as its type's input function reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SqlValue {
    pub(crate) text: String,
    class: Class,
    is_array: bool,
}

impl SqlValue {
    /// `literal` as a constant of `class`; `None` where it is of another kind or has no exact text.
    pub(crate) fn new(literal: &Literal, class: Class) -> Option<SqlValue> {
        let (text, class) = match (literal, class) {
            (Literal::Boolean(value), Class::Bool) => (value.to_string(), class),
            (Literal::Int(value), class) if class.is_integer() => {
                (value.to_string(), width(*value, class))
            }
            (Literal::UInt(value), class) if class.is_integer() => {
                let value = i64::try_from(*value).ok()?;
                (value.to_string(), width(value, class))
            }
            (
                Literal::Decimal {
                    unscaled, scale, ..
                },
                Class::Numeric,
            ) => (decimal(*unscaled, *scale), class),
            (Literal::Float32(value), Class::Float4) => {
                (float(f64::from(*value), value.to_string()), class)
            }
            (Literal::Float64(value), Class::Float8) => {
                (float(*value, format!("{value:?}")), class)
            }
            (Literal::Text(text), Class::Text | Class::Bpchar) => (text.clone(), class),
            (Literal::Text(text), Class::Uuid) if is_canonical_uuid(text) => (text.clone(), class),
            (Literal::Bytes(bytes), Class::Bytea) => (hex(bytes), class),
            (Literal::Date(days), Class::Date) => (date(*days)?, class),
            (Literal::Time(micros), Class::Time) => (time(*micros)?, class),
            (Literal::Timestamp(micros), Class::Timestamp) => (timestamp(*micros, "")?, class),
            (Literal::TimestampTz(micros), Class::TimestampTz) => {
                (timestamp(*micros, "+00")?, class)
            }
            _ => return None,
        };
        // PostgreSQL's text holds no NUL, and a statement would end there.
        (!text.contains('\0')).then_some(SqlValue {
            text,
            class,
            is_array: false,
        })
    }

    /// The array of some constants of one kind; `None` for none, or where kinds are mixed. Every element is
    /// quoted, so that no text in it (`NULL`, a comma, a brace) means anything to the array's input function.
    pub(crate) fn array(values: &[SqlValue]) -> Option<SqlValue> {
        // Integers of several widths make an array of the widest.
        let class = values.iter().map(|value| value.class).reduce(|a, b| {
            if a == Class::Int8 || b == Class::Int8 {
                Class::Int8
            } else {
                a
            }
        })?;
        let fits = |value: &SqlValue| {
            !value.is_array
                && (value.class == class || (class == Class::Int8 && value.class.is_integer()))
        };
        if !values.iter().all(fits) {
            return None;
        }
        let mut text = String::with_capacity(values.iter().map(|v| v.text.len() + 3).sum());
        text.push('{');
        for (index, value) in values.iter().enumerate() {
            if index > 0 {
                text.push(',');
            }
            if class.is_integer() {
                text.push_str(&value.text);
                continue;
            }
            text.push('"');
            for c in value.text.chars() {
                if matches!(c, '"' | '\\') {
                    text.push('\\');
                }
                text.push(c);
            }
            text.push('"');
        }
        text.push('}');
        Some(SqlValue {
            text,
            class,
            is_array: true,
        })
    }

    fn sql_type(&self) -> String {
        let brackets = if self.is_array { "[]" } else { "" };
        format!("{}{brackets}", self.class.sql())
    }

    /// The constant inside of a statement.
    pub(crate) fn inline(&self) -> String {
        format!("{}::{}", quote_text(&self.text), self.sql_type())
    }

    /// The constant as parameter `number` of a statement.
    pub(crate) fn parameter(&self, number: usize) -> String {
        format!("${number}::{}", self.sql_type())
    }
}

/// A constant as the input function of its own type reads it; `None` where it has no exact text.
pub(crate) fn input_text(literal: &Literal) -> Option<String> {
    let class = match literal {
        Literal::Boolean(_) => Class::Bool,
        Literal::Int(_) => Class::Int8,
        Literal::UInt(value) => return Some(value.to_string()),
        Literal::Float32(_) => Class::Float4,
        Literal::Float64(_) => Class::Float8,
        Literal::Decimal { .. } => Class::Numeric,
        Literal::Text(_) => Class::Text,
        Literal::Bytes(_) => Class::Bytea,
        Literal::Date(_) => Class::Date,
        Literal::Time(_) => Class::Time,
        Literal::Timestamp(_) => Class::Timestamp,
        Literal::TimestampTz(_) => Class::TimestampTz,
    };
    SqlValue::new(literal, class).map(|value| value.text)
}

/// A constant for a column: its type's input function reads it, as it reads a client's quoted constant.
pub(crate) fn assigned(literal: &Literal) -> Option<String> {
    input_text(literal).map(|text| quote_text(&text))
}

/// `'text'` with quotes doubled. The text must hold no NUL.
fn quote_text(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// `"name"` with quotes doubled; `None` for a name that no PostgreSQL object can have.
pub(crate) fn quote_identifier(name: &str) -> Option<String> {
    (!name.is_empty() && !name.contains('\0')).then(|| format!("\"{}\"", name.replace('"', "\"\"")))
}

/// The column's own width where the value fits it, so that its index is used, and bigint otherwise.
fn width(value: i64, column: Class) -> Class {
    let fits = match column {
        Class::Int2 => i16::try_from(value).is_ok(),
        Class::Int4 => i32::try_from(value).is_ok(),
        _ => false,
    };
    if fits { column } else { Class::Int8 }
}

fn decimal(unscaled: i128, scale: i8) -> String {
    let sign = if unscaled < 0 { "-" } else { "" };
    let digits = unscaled.unsigned_abs().to_string();
    match usize::try_from(scale) {
        Err(_) if unscaled == 0 => "0".to_owned(),
        Err(_) => format!("{sign}{digits}{}", "0".repeat(scale.unsigned_abs().into())),
        Ok(0) => format!("{sign}{digits}"),
        Ok(scale) => {
            let digits = format!("{digits:0>width$}", width = scale + 1);
            let (whole, fraction) = digits.split_at(digits.len() - scale);
            format!("{sign}{whole}.{fraction}")
        }
    }
}

/// Rust prints the shortest text that reads back as the same bits, like PostgreSQL does.
fn float(value: f64, text: String) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned()
    } else {
        text
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(2 + bytes.len() * 2);
    text.push_str("\\x");
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// 8-4-4-4-12 in lower case: the only spelling that the engine, which compares text, finds equal.
pub(crate) fn is_canonical_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        })
}

/// PostgreSQL's dates: from Julian day 0 (24 November 4714 BC) to the end of year 5874897
/// (`datatype/timestamp.h`), counted from 2000-01-01.
const DATES: std::ops::Range<i64> = -2_451_545..2_145_031_949;
/// PostgreSQL's timestamps: to the end of year 294276.
const TIMESTAMPS: std::ops::Range<i64> = -211_813_488_000_000_000..9_223_371_331_200_000_000;

/// The extremes of dates and timestamps are infinity, as the decoder and the binary writer have them.
const INFINITY: &str = "infinity";
const MINUS_INFINITY: &str = "-infinity";

fn date(days: i32) -> Option<String> {
    match days {
        i32::MAX => return Some(INFINITY.to_owned()),
        i32::MIN => return Some(MINUS_INFINITY.to_owned()),
        _ => {}
    }
    let days = i64::from(days);
    DATES.contains(&(days - i64::from(EPOCH_DAYS))).then(|| {
        let (text, era) = civil(days);
        format!("{text}{era}")
    })
}

fn time(micros: i64) -> Option<String> {
    (0..DAY_MICROS).contains(&micros).then(|| clock(micros))
}

fn timestamp(micros: i64, zone: &str) -> Option<String> {
    match micros {
        i64::MAX => return Some(INFINITY.to_owned()),
        i64::MIN => return Some(MINUS_INFINITY.to_owned()),
        _ => {}
    }
    TIMESTAMPS
        .contains(&micros.checked_sub(EPOCH_MICROS)?)
        .then(|| {
            let (date, era) = civil(micros.div_euclid(DAY_MICROS));
            format!("{date} {}{zone}{era}", clock(micros.rem_euclid(DAY_MICROS)))
        })
}

/// Year, month and day of a day counted from 1970-01-01, in the proleptic Gregorian calendar (Howard
/// Hinnant, "chrono-Compatible Low-Level Date Algorithms"), and the era. The year before 1 is 1 BC.
fn civil(days: i64) -> (String, &'static str) {
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
    let (year, era) = if year > 0 {
        (year, "")
    } else {
        (1 - year, " BC")
    };
    (format!("{year:04}-{month:02}-{day:02}"), era)
}

fn clock(micros: i64) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn inline(literal: Literal, class: Class) -> Option<String> {
        SqlValue::new(&literal, class).map(|value| value.inline())
    }

    #[test]
    fn text_cannot_leave_its_quotes() {
        let text = |text: &str| inline(Literal::Text(text.into()), Class::Text);
        assert_eq!(
            text("x' OR '1'='1").as_deref(),
            Some("'x'' OR ''1''=''1'::text")
        );
        assert_eq!(text(r"\' --").as_deref(), Some(r"'\'' --'::text"));
        assert_eq!(text("a\0b"), None);
        assert_eq!(
            quote_identifier(r#"a"; DROP TABLE b; --"#).as_deref(),
            Some(r#""a""; DROP TABLE b; --""#)
        );
        assert_eq!(quote_identifier(""), None);
    }

    #[test]
    fn every_constant_says_its_type() {
        for (literal, class, sql) in [
            (Literal::Int(5), Class::Int4, "'5'::int4"),
            (
                Literal::Int(i64::MIN),
                Class::Int4,
                "'-9223372036854775808'::int8",
            ),
            (
                Literal::Decimal {
                    unscaled: -5,
                    precision: 10,
                    scale: 3,
                },
                Class::Numeric,
                "'-0.005'::numeric",
            ),
            (
                Literal::Decimal {
                    unscaled: 12,
                    precision: 10,
                    scale: -3,
                },
                Class::Numeric,
                "'12000'::numeric",
            ),
            (
                Literal::Float64(f64::NEG_INFINITY),
                Class::Float8,
                "'-Infinity'::float8",
            ),
            (Literal::Float32(0.1), Class::Float4, "'0.1'::float4"),
            (
                Literal::Bytes(vec![0, 0xff]),
                Class::Bytea,
                r"'\x00ff'::bytea",
            ),
            (
                Literal::Date(-719_163),
                Class::Date,
                "'0001-12-31 BC'::date",
            ),
            (Literal::Time(1), Class::Time, "'00:00:00.000001'::time"),
            (
                Literal::TimestampTz(-1),
                Class::TimestampTz,
                "'1969-12-31 23:59:59.999999+00'::timestamptz",
            ),
            (Literal::Date(i32::MAX), Class::Date, "'infinity'::date"),
            (
                Literal::Timestamp(i64::MAX),
                Class::Timestamp,
                "'infinity'::timestamp",
            ),
            (
                Literal::TimestampTz(i64::MIN),
                Class::TimestampTz,
                "'-infinity'::timestamptz",
            ),
        ] {
            assert_eq!(inline(literal, class).as_deref(), Some(sql));
        }
        assert_eq!(inline(Literal::Int(5), Class::Text), None);
        assert_eq!(inline(Literal::Date(i32::MAX - 1), Class::Date), None);
        assert_eq!(
            inline(Literal::Timestamp(i64::MIN + 1), Class::Timestamp),
            None
        );
        assert_eq!(inline(Literal::UInt(u64::MAX), Class::Int8), None);
        assert_eq!(
            inline(
                Literal::Text("A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11".into()),
                Class::Uuid
            ),
            None
        );
    }
}
