//! MySQL's types here: how each is read, and as which Arrow type.
//!
//! | MySQL | Arrow | shown as |
//! | --- | --- | --- |
//! | tinyint, smallint, mediumint, int, bigint | Int8, Int16, Int32, Int32, Int64 | smallint … bigint |
//! | the same, unsigned | Int16, Int32, Int32, Int64, UInt64 | smallint … bigint, numeric |
//! | tinyint(1) | Int8, or Boolean by the option `tinyint1` | smallint, boolean |
//! | year | Int16 | smallint |
//! | decimal(p,s) | Decimal128 to 38 digits, else Decimal256 | numeric(p,s) |
//! | float, double | Float32, Float64 | real, double precision |
//! | char(n), varchar(n) | Utf8View | character varying(n): MySQL hands out char without its padding |
//! | text, enum, set, inet4, inet6 | Utf8View | text |
//! | json, uuid | Utf8View | json, uuid |
//! | binary, varbinary, blob, geometry | Binary | bytea (geometry: 4 bytes of SRID, then WKB) |
//! | bit(n) | Utf8View of 0 and 1 | bit(n) |
//! | date, datetime, timestamp | Date32, Timestamp(µs), Timestamp(µs, UTC) | date, timestamp, timestamptz |
//! | time | Interval: it goes beyond a day, and below zero | interval |
//!
//! A type that is not known is read as the server's own text, so that no column is ever left out.

use arrow::datatypes::{DataType, Field, IntervalUnit, TimeUnit};
use mysql_async::Column;
use mysql_async::consts::{ColumnFlags, ColumnType as Wire};
use serde::{Deserialize, Serialize};
use sluice_spi::types::tagged;

use crate::config::{Reading, TinyInt1};

/// Digits that Arrow's smaller decimal has at most.
const DECIMAL128_DIGITS: u8 = 38;

/// Bytes up to which a text column is compared byte by byte at the source. A value whose bytes exceed
/// `max_allowed_packet` becomes NULL in a cast; utf8mb4 makes four bytes of one, and no server is
/// configured with less than the megabyte that this leaves room for.
const COMPARABLE_BYTES: u64 = 65_535;

/// The character set of "no text".
const BINARY: u16 = 63;

/// How a column is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ColumnType {
    Int8,
    Int16,
    Int32,
    Int64,
    UInt64,
    /// tinyint(1) where the catalog says so.
    Bool,
    Year,
    Float,
    Double,
    Decimal {
        precision: u8,
        scale: i8,
    },
    Text(TextType),
    Json,
    Uuid,
    Bytes,
    Geometry,
    Bit {
        bits: u16,
    },
    Date,
    /// datetime(fraction)
    DateTime {
        fraction: u8,
    },
    /// timestamp(fraction): a moment.
    Timestamp {
        fraction: u8,
    },
    Time,
    /// Anything else, by a cast to text at the source.
    AsText,
}

/// What decides how text is compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TextType {
    /// Characters of a varchar or char; `None` for text.
    pub(crate) length: Option<u64>,
    pub(crate) charset: Charset,
    /// The collation tells all strings apart that have different bytes, and orders them by those: a
    /// `_bin` collation that does not pad.
    pub(crate) by_bytes: bool,
    /// The collation tells characters apart by their code points, trailing blanks aside: any `_bin` one.
    pub(crate) by_code_points: bool,
    /// Long values are not compared byte by byte.
    pub(crate) is_long: bool,
    /// enum or set: compared with a constant, it may be taken for a number.
    pub(crate) is_label: bool,
}

/// Character sets whose text reads here as the bytes that a comparison at the source sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Charset {
    /// utf8mb4.
    Utf8mb4,
    /// utf8mb3: no character beyond U+FFFF.
    Utf8mb3,
    /// ascii.
    Ascii,
    /// latin1, which is Windows-1252 to MySQL.
    Latin1,
    /// Any other.
    Other,
}

impl Charset {
    fn of(name: &str) -> Charset {
        match name {
            "utf8mb4" => Charset::Utf8mb4,
            "utf8mb3" | "utf8" => Charset::Utf8mb3,
            "ascii" => Charset::Ascii,
            "latin1" => Charset::Latin1,
            _ => Charset::Other,
        }
    }

    /// True where the stored bytes are those of UTF-8.
    pub(crate) fn is_utf8(self) -> bool {
        matches!(self, Charset::Utf8mb4 | Charset::Utf8mb3 | Charset::Ascii)
    }

    /// True where every character of `text` is in the set for sure.
    pub(crate) fn holds(self, text: &str) -> bool {
        match self {
            Charset::Utf8mb4 => true,
            Charset::Utf8mb3 => text.chars().all(|c| u32::from(c) <= 0xFFFF),
            Charset::Ascii | Charset::Latin1 => text.is_ascii(),
            Charset::Other => false,
        }
    }
}

/// A column as information_schema describes it.
#[derive(Debug, Clone, Default)]
pub(crate) struct NativeType {
    /// "decimal"
    pub(crate) name: String,
    /// "decimal(10,2) unsigned"
    pub(crate) declared: String,
    pub(crate) characters: Option<u64>,
    pub(crate) octets: Option<u64>,
    pub(crate) precision: Option<u64>,
    pub(crate) scale: Option<u64>,
    pub(crate) fraction: Option<u64>,
    pub(crate) charset: Option<String>,
    pub(crate) collation: Option<String>,
    /// MariaDB's json: text under a check of its own.
    pub(crate) is_checked_json: bool,
}

impl ColumnType {
    /// How a column of that type is read.
    pub(crate) fn of(native: &NativeType, reading: &Reading) -> ColumnType {
        let unsigned = native.declared.contains("unsigned");
        match native.name.as_str() {
            "tinyint"
                if reading.tinyint1 == TinyInt1::Bool
                    && native.declared.starts_with("tinyint(1)") =>
            {
                ColumnType::Bool
            }
            "tinyint" | "smallint" | "mediumint" | "int" | "integer" | "bigint" => {
                integer(&native.name, unsigned)
            }
            "year" => ColumnType::Year,
            "float" => ColumnType::Float,
            "double" | "real" => ColumnType::Double,
            "decimal" | "numeric" => decimal(native.precision, native.scale),
            _ if native.is_checked_json => ColumnType::Json,
            "char" | "varchar" => ColumnType::Text(text(native, native.characters, false)),
            "tinytext" | "text" | "mediumtext" | "longtext" => {
                ColumnType::Text(text(native, None, false))
            }
            "enum" | "set" => ColumnType::Text(text(native, None, true)),
            "json" => ColumnType::Json,
            "uuid" => ColumnType::Uuid,
            "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => {
                ColumnType::Bytes
            }
            "geometry" | "point" | "linestring" | "polygon" | "multipoint" | "multilinestring"
            | "multipolygon" | "geometrycollection" | "geomcollection" => ColumnType::Geometry,
            "bit" => ColumnType::Bit {
                bits: native
                    .precision
                    .and_then(|bits| u16::try_from(bits).ok())
                    .unwrap_or(1),
            },
            "date" => ColumnType::Date,
            "datetime" => ColumnType::DateTime {
                fraction: fraction(native.fraction),
            },
            "timestamp" => ColumnType::Timestamp {
                fraction: fraction(native.fraction),
            },
            "time" => ColumnType::Time,
            _ => ColumnType::AsText,
        }
    }

    /// How a column of a statement's result is read, and its type in MySQL's words.
    pub(crate) fn of_result(column: &Column, reading: &Reading) -> (ColumnType, String) {
        let unsigned = column.flags().contains(ColumnFlags::UNSIGNED_FLAG);
        let is_text = column.character_set() != BINARY;
        // Lengths are in bytes of the connection's character set, four for each character.
        let characters = u64::from(column.column_length()) / 4;
        let anonymous = |length| {
            ColumnType::Text(TextType {
                length,
                charset: Charset::Utf8mb4,
                by_bytes: false,
                by_code_points: false,
                is_long: u64::from(column.column_length()) > COMPARABLE_BYTES * 4,
                // What it was made of is not said.
                is_label: true,
            })
        };
        let named = |name: &str| {
            let sign = if unsigned { " unsigned" } else { "" };
            (integer(name, unsigned), format!("{name}{sign}"))
        };
        match column.column_type() {
            Wire::MYSQL_TYPE_TINY
                if reading.tinyint1 == TinyInt1::Bool && column.column_length() == 1 =>
            {
                (ColumnType::Bool, "tinyint(1)".into())
            }
            Wire::MYSQL_TYPE_TINY => named("tinyint"),
            Wire::MYSQL_TYPE_SHORT => named("smallint"),
            Wire::MYSQL_TYPE_INT24 => named("mediumint"),
            Wire::MYSQL_TYPE_LONG => named("int"),
            Wire::MYSQL_TYPE_LONGLONG => named("bigint"),
            Wire::MYSQL_TYPE_YEAR => (ColumnType::Year, "year".into()),
            Wire::MYSQL_TYPE_FLOAT => (ColumnType::Float, "float".into()),
            Wire::MYSQL_TYPE_DOUBLE => (ColumnType::Double, "double".into()),
            Wire::MYSQL_TYPE_DECIMAL | Wire::MYSQL_TYPE_NEWDECIMAL => {
                let scale = u64::from(column.decimals());
                // The length counts the point, and the sign where there may be one.
                let precision = u64::from(column.column_length())
                    .saturating_sub(u64::from(scale > 0))
                    .saturating_sub(u64::from(!unsigned))
                    .clamp(scale.max(1), 76);
                (
                    decimal(Some(precision), Some(scale)),
                    format!("decimal({precision},{scale})"),
                )
            }
            Wire::MYSQL_TYPE_DATE | Wire::MYSQL_TYPE_NEWDATE => (ColumnType::Date, "date".into()),
            Wire::MYSQL_TYPE_DATETIME | Wire::MYSQL_TYPE_DATETIME2 => (
                ColumnType::DateTime {
                    fraction: fraction(Some(column.decimals().into())),
                },
                "datetime".into(),
            ),
            Wire::MYSQL_TYPE_TIMESTAMP | Wire::MYSQL_TYPE_TIMESTAMP2 => (
                ColumnType::Timestamp {
                    fraction: fraction(Some(column.decimals().into())),
                },
                "timestamp".into(),
            ),
            Wire::MYSQL_TYPE_TIME | Wire::MYSQL_TYPE_TIME2 => (ColumnType::Time, "time".into()),
            Wire::MYSQL_TYPE_BIT => {
                let bits = u16::try_from(column.column_length()).unwrap_or(64);
                (ColumnType::Bit { bits }, format!("bit({bits})"))
            }
            Wire::MYSQL_TYPE_JSON => (ColumnType::Json, "json".into()),
            Wire::MYSQL_TYPE_GEOMETRY => (ColumnType::Geometry, "geometry".into()),
            Wire::MYSQL_TYPE_VARCHAR | Wire::MYSQL_TYPE_VAR_STRING | Wire::MYSQL_TYPE_STRING
                if is_text =>
            {
                let is_label = column
                    .flags()
                    .intersects(ColumnFlags::ENUM_FLAG | ColumnFlags::SET_FLAG);
                let length = (!is_label && characters > 0).then_some(characters);
                match length {
                    Some(length) => (anonymous(Some(length)), format!("varchar({length})")),
                    None => (anonymous(None), "text".into()),
                }
            }
            Wire::MYSQL_TYPE_NULL => (anonymous(None), "null".into()),
            _ if is_text => (anonymous(None), "text".into()),
            _ => (ColumnType::Bytes, "blob".into()),
        }
    }

    /// The Arrow type.
    pub(crate) fn data_type(&self) -> DataType {
        match self {
            ColumnType::Int8 => DataType::Int8,
            ColumnType::Int16 | ColumnType::Year => DataType::Int16,
            ColumnType::Int32 => DataType::Int32,
            ColumnType::Int64 => DataType::Int64,
            ColumnType::UInt64 => DataType::UInt64,
            ColumnType::Bool => DataType::Boolean,
            ColumnType::Float => DataType::Float32,
            ColumnType::Double => DataType::Float64,
            ColumnType::Decimal { precision, scale } if *precision <= DECIMAL128_DIGITS => {
                DataType::Decimal128(*precision, *scale)
            }
            ColumnType::Decimal { precision, scale } => DataType::Decimal256(*precision, *scale),
            ColumnType::Bytes | ColumnType::Geometry => DataType::Binary,
            ColumnType::Date => DataType::Date32,
            ColumnType::DateTime { .. } => DataType::Timestamp(TimeUnit::Microsecond, None),
            ColumnType::Timestamp { .. } => {
                DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
            }
            ColumnType::Time => DataType::Interval(IntervalUnit::MonthDayNano),
            ColumnType::Text(_)
            | ColumnType::Json
            | ColumnType::Uuid
            | ColumnType::Bit { .. }
            | ColumnType::AsText => DataType::Utf8View,
        }
    }

    /// The Arrow field, with the PostgreSQL type where Arrow's does not say it.
    pub(crate) fn field(&self, name: &str, nullable: bool) -> Field {
        let tag = match self {
            // PostgreSQL's varchar ends there.
            ColumnType::Text(TextType {
                length: Some(length @ 1..=10_485_760),
                ..
            }) => Some(format!("character varying({length})")),
            ColumnType::Json => Some("json".to_owned()),
            ColumnType::Uuid => Some("uuid".to_owned()),
            ColumnType::Bit { bits } => Some(format!("bit({bits})")),
            _ => None,
        };
        match tag {
            Some(tag) => tagged(name, self.data_type(), nullable, tag),
            None => Field::new(name, self.data_type(), nullable),
        }
    }

    /// The column in a SELECT list. `quoted` is its name in quotes.
    pub(crate) fn select(&self, quoted: &str) -> String {
        match self {
            ColumnType::AsText => format!("CAST({quoted} AS CHAR CHARACTER SET utf8mb4)"),
            _ => quoted.to_owned(),
        }
    }

    /// A date or time that may be one that no calendar has.
    pub(crate) fn is_calendar(&self) -> bool {
        matches!(
            self,
            ColumnType::Date | ColumnType::DateTime { .. } | ColumnType::Timestamp { .. }
        )
    }

    pub(crate) fn is_integer(&self) -> bool {
        matches!(
            self,
            ColumnType::Int8
                | ColumnType::Int16
                | ColumnType::Int32
                | ColumnType::Int64
                | ColumnType::UInt64
        )
    }

    /// True where a result's column holds what this type was described with. A table that changed after
    /// its description was cached must not be read as what it was.
    pub(crate) fn reads(&self, column: &Column) -> bool {
        let wire = column.column_type();
        let is_text = column.character_set() != BINARY;
        let is_string = matches!(
            wire,
            Wire::MYSQL_TYPE_VARCHAR
                | Wire::MYSQL_TYPE_VAR_STRING
                | Wire::MYSQL_TYPE_STRING
                | Wire::MYSQL_TYPE_ENUM
                | Wire::MYSQL_TYPE_SET
                | Wire::MYSQL_TYPE_TINY_BLOB
                | Wire::MYSQL_TYPE_MEDIUM_BLOB
                | Wire::MYSQL_TYPE_LONG_BLOB
                | Wire::MYSQL_TYPE_BLOB
        );
        match self {
            ColumnType::Int8
            | ColumnType::Int16
            | ColumnType::Int32
            | ColumnType::Int64
            | ColumnType::UInt64 => matches!(
                wire,
                Wire::MYSQL_TYPE_TINY
                    | Wire::MYSQL_TYPE_SHORT
                    | Wire::MYSQL_TYPE_INT24
                    | Wire::MYSQL_TYPE_LONG
                    | Wire::MYSQL_TYPE_LONGLONG
            ),
            ColumnType::Bool => wire == Wire::MYSQL_TYPE_TINY,
            ColumnType::Year => wire == Wire::MYSQL_TYPE_YEAR,
            ColumnType::Float => wire == Wire::MYSQL_TYPE_FLOAT,
            ColumnType::Double => wire == Wire::MYSQL_TYPE_DOUBLE,
            ColumnType::Decimal { .. } => {
                matches!(wire, Wire::MYSQL_TYPE_DECIMAL | Wire::MYSQL_TYPE_NEWDECIMAL)
            }
            ColumnType::Text(_) => (is_string && is_text) || wire == Wire::MYSQL_TYPE_NULL,
            ColumnType::Json => wire == Wire::MYSQL_TYPE_JSON || is_string,
            ColumnType::Uuid | ColumnType::AsText => is_string,
            ColumnType::Bytes => is_string && !is_text,
            ColumnType::Geometry => wire == Wire::MYSQL_TYPE_GEOMETRY || (is_string && !is_text),
            ColumnType::Bit { .. } => wire == Wire::MYSQL_TYPE_BIT,
            ColumnType::Date => {
                matches!(wire, Wire::MYSQL_TYPE_DATE | Wire::MYSQL_TYPE_NEWDATE)
            }
            ColumnType::DateTime { .. } => {
                matches!(wire, Wire::MYSQL_TYPE_DATETIME | Wire::MYSQL_TYPE_DATETIME2)
            }
            ColumnType::Timestamp { .. } => {
                matches!(
                    wire,
                    Wire::MYSQL_TYPE_TIMESTAMP | Wire::MYSQL_TYPE_TIMESTAMP2
                )
            }
            ColumnType::Time => {
                matches!(wire, Wire::MYSQL_TYPE_TIME | Wire::MYSQL_TYPE_TIME2)
            }
        }
    }
}

/// The Arrow integer that holds them all.
fn integer(name: &str, unsigned: bool) -> ColumnType {
    match (name, unsigned) {
        ("tinyint", false) => ColumnType::Int8,
        ("tinyint", true) | ("smallint", false) => ColumnType::Int16,
        ("smallint", true) | ("mediumint", _) | ("int" | "integer", false) => ColumnType::Int32,
        ("bigint", true) => ColumnType::UInt64,
        _ => ColumnType::Int64,
    }
}

fn decimal(precision: Option<u64>, scale: Option<u64>) -> ColumnType {
    let precision = precision.and_then(|digits| u8::try_from(digits).ok());
    let scale = scale.and_then(|digits| i8::try_from(digits).ok());
    match (precision, scale) {
        (Some(precision @ 1..=76), Some(scale)) => ColumnType::Decimal { precision, scale },
        _ => ColumnType::AsText,
    }
}

fn fraction(digits: Option<u64>) -> u8 {
    // 31 is "not fixed": of an expression.
    digits
        .and_then(|digits| u8::try_from(digits).ok())
        .filter(|digits| *digits <= 6)
        .unwrap_or(0)
}

fn text(native: &NativeType, length: Option<u64>, is_label: bool) -> TextType {
    let collation = native.collation.as_deref().unwrap_or("");
    let by_code_points = collation.ends_with("_bin");
    let charset = native
        .charset
        .as_deref()
        .map_or(Charset::Other, Charset::of);
    TextType {
        length,
        charset,
        // NO PAD collations are known by their names: MySQL 8's 0900 ones, MariaDB's nopad ones.
        by_bytes: by_code_points
            && charset.is_utf8()
            && (collation.contains("_0900_") || collation.contains("_nopad_")),
        by_code_points,
        is_long: native.octets.is_none_or(|octets| octets > COMPARABLE_BYTES),
        is_label,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, declared: &str) -> ColumnType {
        let native = NativeType {
            name: name.into(),
            declared: declared.into(),
            precision: Some(20),
            scale: Some(0),
            ..NativeType::default()
        };
        ColumnType::of(&native, &Reading::default())
    }

    #[test]
    fn unsigned_integers_take_the_type_that_holds_them() {
        assert_eq!(of("tinyint", "tinyint(4)"), ColumnType::Int8);
        assert_eq!(of("tinyint", "tinyint(3) unsigned"), ColumnType::Int16);
        assert_eq!(of("smallint", "smallint unsigned"), ColumnType::Int32);
        assert_eq!(of("mediumint", "mediumint(8) unsigned"), ColumnType::Int32);
        assert_eq!(of("int", "int unsigned zerofill"), ColumnType::Int64);
        assert_eq!(of("bigint", "bigint unsigned"), ColumnType::UInt64);
    }

    #[test]
    fn a_type_of_tomorrow_is_read_as_text() {
        assert_eq!(of("vector", "vector(3)"), ColumnType::AsText);
    }

    #[test]
    fn only_unpadded_binary_collations_compare_bytes() {
        let text = |collation: &str| {
            let native = NativeType {
                charset: Some("utf8mb4".into()),
                collation: Some(collation.into()),
                octets: Some(40),
                ..NativeType::default()
            };
            let text = text(&native, Some(10), false);
            (text.by_bytes, text.by_code_points)
        };
        assert_eq!(text("utf8mb4_general_ci"), (false, false));
        assert_eq!(text("utf8mb4_bin"), (false, true));
        assert_eq!(text("utf8mb4_0900_bin"), (true, true));
        assert_eq!(text("utf8mb4_nopad_bin"), (true, true));
        assert_eq!(text("utf8mb4_0900_as_cs"), (false, false));
    }
}
