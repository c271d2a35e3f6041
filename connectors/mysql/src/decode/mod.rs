//! Values of MySQL's binary protocol into Arrow builders: one decoder per column, chosen once per scan.
//!
//! A value that Arrow cannot hold is a [`Fault`] that names what it is: nothing is rounded, clipped or
//! replaced by another value.

mod decimal;
mod row;
mod temporal;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder, Decimal256Builder,
    Float32Builder, Float64Builder, Int8Builder, Int16Builder, Int32Builder, Int64Builder,
    IntervalMonthDayNanoBuilder, StringViewBuilder, TimestampMicrosecondBuilder, UInt64Builder,
};
use arrow::datatypes::{DataType, TimeUnit};
use mysql_async::Value;
use sluice_spi::{Error, Result, SqlState};

use crate::config::ZeroDates;
use crate::types::ColumnType;
pub(crate) use row::RowDecoder;

/// A value that cannot be taken over.
#[derive(Debug)]
pub(crate) struct Fault {
    code: SqlState,
    what: String,
    hint: Option<&'static str>,
}

impl Fault {
    /// A value that Arrow's type cannot hold. `what` follows "value of column "x" ".
    fn value(code: SqlState, what: impl Into<String>, hint: &'static str) -> Fault {
        Fault {
            code,
            what: what.into(),
            hint: Some(hint),
        }
    }

    /// Bytes that are not of the type.
    fn broken(what: impl Into<String>) -> Fault {
        Fault {
            code: SqlState::INVALID_BINARY_REPRESENTATION,
            what: what.into(),
            hint: None,
        }
    }

    /// The error for a client.
    pub(crate) fn into_error(self, column: &str) -> Error {
        let error = Error::new(
            self.code,
            format!("value of column \"{column}\" {}", self.what),
        );
        match self.hint {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    }
}

/// Fills one column.
pub(crate) enum Decoder {
    Int8(Int8Builder),
    Int16(Int16Builder),
    Int32(Int32Builder),
    Int64(Int64Builder),
    UInt64(UInt64Builder),
    Bool(BooleanBuilder),
    Float(Float32Builder),
    Double(Float64Builder),
    Decimal128(Decimal128Builder, i8),
    Decimal256(Decimal256Builder, i8),
    Text(StringViewBuilder),
    Bytes(BinaryBuilder),
    Bit(StringViewBuilder, u16),
    Date(Date32Builder, ZeroDates),
    DateTime(TimestampMicrosecondBuilder, ZeroDates),
    Time(IntervalMonthDayNanoBuilder),
}

impl Decoder {
    /// A decoder of `column` into `data_type`, which must be the type that the column was described with.
    pub(crate) fn new(
        column: &ColumnType,
        data_type: &DataType,
        zero_dates: ZeroDates,
        rows: usize,
    ) -> Result<Decoder> {
        if !column.data_type().equals_datatype(data_type) {
            return Err(Error::internal(format!(
                "a scan asks for {data_type} where the source's column is {}",
                column.data_type()
            )));
        }
        Ok(match column {
            ColumnType::Int8 => Decoder::Int8(Int8Builder::with_capacity(rows)),
            ColumnType::Int16 | ColumnType::Year => {
                Decoder::Int16(Int16Builder::with_capacity(rows))
            }
            ColumnType::Int32 => Decoder::Int32(Int32Builder::with_capacity(rows)),
            ColumnType::Int64 => Decoder::Int64(Int64Builder::with_capacity(rows)),
            ColumnType::UInt64 => Decoder::UInt64(UInt64Builder::with_capacity(rows)),
            ColumnType::Bool => Decoder::Bool(BooleanBuilder::with_capacity(rows)),
            ColumnType::Float => Decoder::Float(Float32Builder::with_capacity(rows)),
            ColumnType::Double => Decoder::Double(Float64Builder::with_capacity(rows)),
            ColumnType::Decimal { scale, .. } => match data_type {
                DataType::Decimal128(..) => Decoder::Decimal128(
                    Decimal128Builder::with_capacity(rows).with_data_type(data_type.clone()),
                    *scale,
                ),
                _ => Decoder::Decimal256(
                    Decimal256Builder::with_capacity(rows).with_data_type(data_type.clone()),
                    *scale,
                ),
            },
            ColumnType::Text(_) | ColumnType::Json | ColumnType::Uuid | ColumnType::AsText => {
                Decoder::Text(StringViewBuilder::with_capacity(rows))
            }
            ColumnType::Bytes | ColumnType::Geometry => {
                Decoder::Bytes(BinaryBuilder::with_capacity(rows, 0))
            }
            ColumnType::Bit { bits } => Decoder::Bit(StringViewBuilder::with_capacity(rows), *bits),
            ColumnType::Date => Decoder::Date(Date32Builder::with_capacity(rows), zero_dates),
            ColumnType::DateTime { .. } | ColumnType::Timestamp { .. } => {
                let zone = match data_type {
                    DataType::Timestamp(TimeUnit::Microsecond, zone) => zone.clone(),
                    _ => None,
                };
                Decoder::DateTime(
                    TimestampMicrosecondBuilder::with_capacity(rows).with_timezone_opt(zone),
                    zero_dates,
                )
            }
            ColumnType::Time => Decoder::Time(IntervalMonthDayNanoBuilder::with_capacity(rows)),
        })
    }

    /// Takes a value.
    #[inline]
    pub(crate) fn append(&mut self, value: &Value) -> std::result::Result<(), Fault> {
        if matches!(value, Value::NULL) {
            self.append_null();
            return Ok(());
        }
        match (self, value) {
            (Decoder::Int8(builder), value) => builder.append_value(integer(value, "tinyint")?),
            (Decoder::Int16(builder), value) => builder.append_value(integer(value, "smallint")?),
            (Decoder::Int32(builder), value) => builder.append_value(integer(value, "int")?),
            (Decoder::Int64(builder), value) => builder.append_value(integer(value, "bigint")?),
            (Decoder::UInt64(builder), value) => {
                builder.append_value(integer(value, "bigint unsigned")?);
            }
            (Decoder::Bool(builder), value) => {
                builder.append_value(integer::<i64>(value, "tinyint(1)")? != 0);
            }
            (Decoder::Float(builder), Value::Float(value)) => builder.append_value(*value),
            (Decoder::Double(builder), Value::Double(value)) => builder.append_value(*value),
            (Decoder::Decimal128(builder, scale), Value::Bytes(text)) => {
                builder.append_value(decimal::read_i128(text, *scale)?);
            }
            (Decoder::Decimal256(builder, scale), Value::Bytes(text)) => {
                builder.append_value(decimal::read_i256(text, *scale)?);
            }
            (Decoder::Text(builder), Value::Bytes(bytes)) => {
                // The server converts to UTF-8; text that was stored in a wrong way it hands out as it is.
                let text = std::str::from_utf8(bytes).map_err(|_| {
                    Fault::value(
                        SqlState::CHARACTER_NOT_IN_REPERTOIRE,
                        "is not valid UTF-8",
                        "Convert the column at the source: CONVERT(column USING utf8mb4), for example.",
                    )
                })?;
                builder.append_value(text);
            }
            (Decoder::Bytes(builder), Value::Bytes(bytes)) => builder.append_value(bytes),
            (Decoder::Bit(builder, bits), Value::Bytes(bytes)) => {
                builder.append_value(bit_text(bytes, *bits));
            }
            (Decoder::Date(builder, zero), Value::Date(year, month, day, ..)) => {
                match temporal::date(*year, *month, *day) {
                    Some(days) => builder.append_value(days),
                    None if *zero == ZeroDates::Null => builder.append_null(),
                    None => return Err(no_date(value)),
                }
            }
            (Decoder::DateTime(builder, zero), Value::Date(..)) => match temporal::moment(value) {
                Some(micros) => builder.append_value(micros),
                None if *zero == ZeroDates::Null => builder.append_null(),
                None => return Err(no_date(value)),
            },
            (Decoder::Time(builder), Value::Time(..)) => {
                builder.append_value(temporal::interval(value));
            }
            _ => {
                return Err(Fault::broken(
                    "is not of the type that the server announced",
                ));
            }
        }
        Ok(())
    }

    /// Takes a NULL.
    fn append_null(&mut self) {
        match self {
            Decoder::Int8(builder) => builder.append_null(),
            Decoder::Int16(builder) => builder.append_null(),
            Decoder::Int32(builder) => builder.append_null(),
            Decoder::Int64(builder) => builder.append_null(),
            Decoder::UInt64(builder) => builder.append_null(),
            Decoder::Bool(builder) => builder.append_null(),
            Decoder::Float(builder) => builder.append_null(),
            Decoder::Double(builder) => builder.append_null(),
            Decoder::Decimal128(builder, _) => builder.append_null(),
            Decoder::Decimal256(builder, _) => builder.append_null(),
            Decoder::Text(builder) | Decoder::Bit(builder, _) => builder.append_null(),
            Decoder::Bytes(builder) => builder.append_null(),
            Decoder::Date(builder, _) => builder.append_null(),
            Decoder::DateTime(builder, _) => builder.append_null(),
            Decoder::Time(builder) => builder.append_null(),
        }
    }

    /// The column so far. The decoder starts again, empty.
    pub(crate) fn finish(&mut self) -> ArrayRef {
        match self {
            Decoder::Int8(builder) => Arc::new(builder.finish()),
            Decoder::Int16(builder) => Arc::new(builder.finish()),
            Decoder::Int32(builder) => Arc::new(builder.finish()),
            Decoder::Int64(builder) => Arc::new(builder.finish()),
            Decoder::UInt64(builder) => Arc::new(builder.finish()),
            Decoder::Bool(builder) => Arc::new(builder.finish()),
            Decoder::Float(builder) => Arc::new(builder.finish()),
            Decoder::Double(builder) => Arc::new(builder.finish()),
            Decoder::Decimal128(builder, _) => Arc::new(builder.finish()),
            Decoder::Decimal256(builder, _) => Arc::new(builder.finish()),
            Decoder::Text(builder) | Decoder::Bit(builder, _) => Arc::new(builder.finish()),
            Decoder::Bytes(builder) => Arc::new(builder.finish()),
            Decoder::Date(builder, _) => Arc::new(builder.finish()),
            Decoder::DateTime(builder, _) => Arc::new(builder.finish()),
            Decoder::Time(builder) => Arc::new(builder.finish()),
        }
    }
}

/// A whole number of any width, in the one that the column was described with.
#[inline]
fn integer<T: TryFrom<i64> + TryFrom<u64>>(
    value: &Value,
    name: &str,
) -> std::result::Result<T, Fault> {
    let fits = match value {
        Value::Int(value) => T::try_from(*value).ok(),
        Value::UInt(value) => T::try_from(*value).ok(),
        _ => return Err(Fault::broken("is not a whole number")),
    };
    fits.ok_or_else(|| {
        Fault::value(
            SqlState::NUMERIC_OUT_OF_RANGE,
            format!("is out of range for {name}"),
            "The table has changed: CALL CATALOG.system.flush_metadata() and try again.",
        )
    })
}

/// The last `bits` bits, as PostgreSQL writes a bit string.
fn bit_text(bytes: &[u8], bits: u16) -> String {
    let all = bytes
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1))
        .map(|set| if set { '1' } else { '0' });
    let total = bytes.len() * 8;
    let wanted = usize::from(bits);
    let missing = wanted.saturating_sub(total);
    std::iter::repeat_n('0', missing)
        .chain(all.skip(total.saturating_sub(wanted)))
        .collect()
}

#[cold]
fn no_date(value: &Value) -> Fault {
    let text = match value {
        Value::Date(year, month, day, 0, 0, 0, 0) => format!("{year:04}-{month:02}-{day:02}"),
        Value::Date(year, month, day, hour, minute, second, _) => {
            format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
        }
        _ => String::from("it"),
    };
    Fault::value(
        SqlState::DATETIME_OVERFLOW,
        format!("is {text}, which no calendar has"),
        "Set zero_dates = \"null\" in the catalog's file to read such dates as NULL.",
    )
}
