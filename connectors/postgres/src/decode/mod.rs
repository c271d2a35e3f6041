//! PostgreSQL's binary formats into Arrow builders: one decoder per column, chosen once per scan.
//!
//! The formats are those of the types' `send` functions (`src/backend/utils/adt` in PostgreSQL). A value
//! that Arrow cannot hold is a [`Fault`] that names what it is: nothing is rounded, clipped or replaced.

mod list;
mod numeric;
mod row;
pub(crate) mod temporal;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder, Decimal256Builder,
    Float32Builder, Float64Builder, Int16Builder, Int32Builder, Int64Builder,
    IntervalMonthDayNanoBuilder, StringViewBuilder, Time64MicrosecondBuilder,
    TimestampMicrosecondBuilder,
};
use arrow::datatypes::{DataType, TimeUnit};
use sluice_spi::{Error, Result, SqlState};

use crate::types::ColumnType;
use list::ListDecoder;
pub(crate) use numeric::NumericReader;
pub(crate) use row::RowDecoder;

const AS_TEXT: &str =
    "Cast the column to text at the source: in a view, or in CATALOG.system.query('…').";

/// A value that cannot be taken over.
#[derive(Debug)]
pub(crate) struct Fault {
    code: SqlState,
    what: String,
    hint: Option<Cow<'static, str>>,
}

impl Fault {
    /// A value that Arrow's type cannot hold. `what` follows "value of column "x" ".
    pub(crate) fn value(code: SqlState, what: impl Into<String>) -> Fault {
        Fault {
            code,
            what: what.into(),
            hint: Some(AS_TEXT.into()),
        }
    }

    /// The same, where a key of the catalog's file helps too.
    fn or_set(mut self, key: &str) -> Fault {
        self.hint = Some(format!("Set {key} in the catalog's file. {AS_TEXT}").into());
        self
    }

    /// Bytes that are not of the type.
    fn broken(what: &str) -> Fault {
        Fault {
            code: SqlState::INVALID_BINARY_REPRESENTATION,
            what: what.to_owned(),
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

/// Infinite dates and timestamps are the extremes of their types, and no error.
pub(crate) type KeepInfinity = bool;

/// Fills one column.
pub(crate) enum Decoder {
    Bool(BooleanBuilder),
    Int2(Int16Builder),
    Int4(Int32Builder),
    Int8(Int64Builder),
    Oid(Int64Builder),
    Float4(Float32Builder),
    Float8(Float64Builder),
    Decimal128(Decimal128Builder, NumericReader),
    Decimal256(Decimal256Builder, NumericReader),
    Text(StringViewBuilder),
    Bpchar(StringViewBuilder),
    Jsonb(StringViewBuilder),
    Uuid(StringViewBuilder),
    Bytea(BinaryBuilder),
    Date(Date32Builder, KeepInfinity),
    Time(Time64MicrosecondBuilder),
    Timestamp(TimestampMicrosecondBuilder, KeepInfinity),
    Interval(IntervalMonthDayNanoBuilder),
    List(Box<ListDecoder>),
}

impl Decoder {
    /// A decoder of `column` into `data_type`, which must be the type that the column was described with.
    pub(crate) fn new(
        column: &ColumnType,
        data_type: &DataType,
        rows: usize,
        keep_infinity: KeepInfinity,
    ) -> Result<Decoder> {
        if !column.data_type().equals_datatype(data_type) {
            return Err(Error::internal(format!(
                "a scan asks for {data_type} where the source's column is {}",
                column.data_type()
            )));
        }
        Ok(match column {
            ColumnType::Bool => Decoder::Bool(BooleanBuilder::with_capacity(rows)),
            ColumnType::Int2 => Decoder::Int2(Int16Builder::with_capacity(rows)),
            ColumnType::Int4 => Decoder::Int4(Int32Builder::with_capacity(rows)),
            ColumnType::Int8 => Decoder::Int8(Int64Builder::with_capacity(rows)),
            ColumnType::Oid => Decoder::Oid(Int64Builder::with_capacity(rows)),
            ColumnType::Float4 => Decoder::Float4(Float32Builder::with_capacity(rows)),
            ColumnType::Float8 => Decoder::Float8(Float64Builder::with_capacity(rows)),
            ColumnType::Numeric { .. } | ColumnType::FreeNumeric => match data_type {
                DataType::Decimal128(precision, scale) => Decoder::Decimal128(
                    Decimal128Builder::with_capacity(rows).with_data_type(data_type.clone()),
                    NumericReader::new(*precision, *scale, *column == ColumnType::FreeNumeric),
                ),
                DataType::Decimal256(precision, scale) => Decoder::Decimal256(
                    Decimal256Builder::with_capacity(rows).with_data_type(data_type.clone()),
                    NumericReader::new(*precision, *scale, *column == ColumnType::FreeNumeric),
                ),
                other => {
                    return Err(Error::internal(format!(
                        "numeric cannot be read as {other}"
                    )));
                }
            },
            ColumnType::Text
            | ColumnType::Name
            | ColumnType::Json
            | ColumnType::Enum
            | ColumnType::AsText
            | ColumnType::AsOutput => Decoder::Text(StringViewBuilder::with_capacity(rows)),
            ColumnType::Bpchar { .. } => Decoder::Bpchar(StringViewBuilder::with_capacity(rows)),
            ColumnType::Jsonb => Decoder::Jsonb(StringViewBuilder::with_capacity(rows)),
            ColumnType::Uuid => Decoder::Uuid(StringViewBuilder::with_capacity(rows)),
            ColumnType::Bytea => Decoder::Bytea(BinaryBuilder::with_capacity(rows, 0)),
            ColumnType::Date => Decoder::Date(Date32Builder::with_capacity(rows), keep_infinity),
            ColumnType::Time => Decoder::Time(Time64MicrosecondBuilder::with_capacity(rows)),
            ColumnType::Timestamp | ColumnType::TimestampTz => {
                let zone = match data_type {
                    DataType::Timestamp(TimeUnit::Microsecond, zone) => zone.clone(),
                    _ => None,
                };
                Decoder::Timestamp(
                    TimestampMicrosecondBuilder::with_capacity(rows).with_timezone_opt(zone),
                    keep_infinity,
                )
            }
            ColumnType::Interval => {
                Decoder::Interval(IntervalMonthDayNanoBuilder::with_capacity(rows))
            }
            ColumnType::List(list) => {
                let DataType::List(field) = data_type else {
                    return Err(Error::internal(format!(
                        "an array cannot be read as {data_type}"
                    )));
                };
                let decoder = ListDecoder::new(&list.item, field.clone(), rows, keep_infinity)?;
                Decoder::List(Box::new(decoder))
            }
        })
    }

    /// Takes a value in its binary form.
    #[inline]
    pub(crate) fn append(&mut self, raw: &[u8]) -> std::result::Result<(), Fault> {
        match self {
            Decoder::Bool(builder) => match raw {
                [byte] => builder.append_value(*byte != 0),
                _ => return Err(wrong_length("boolean")),
            },
            Decoder::Int2(builder) => {
                builder.append_value(i16::from_be_bytes(fixed(raw, "smallint")?))
            }
            Decoder::Int4(builder) => {
                builder.append_value(i32::from_be_bytes(fixed(raw, "integer")?))
            }
            Decoder::Int8(builder) => {
                builder.append_value(i64::from_be_bytes(fixed(raw, "bigint")?))
            }
            Decoder::Oid(builder) => {
                builder.append_value(u32::from_be_bytes(fixed(raw, "oid")?).into())
            }
            Decoder::Float4(builder) => {
                let value = f32::from_be_bytes(fixed(raw, "real")?);
                // PostgreSQL has one NaN, greater than all else. Arrow orders NaNs by their bits, and one
                // with the sign set would come first.
                builder.append_value(if value.is_nan() { f32::NAN } else { value });
            }
            Decoder::Float8(builder) => {
                let value = f64::from_be_bytes(fixed(raw, "double precision")?);
                builder.append_value(if value.is_nan() { f64::NAN } else { value });
            }
            Decoder::Decimal128(builder, reader) => builder.append_value(reader.read_i128(raw)?),
            Decoder::Decimal256(builder, reader) => builder.append_value(reader.read_i256(raw)?),
            Decoder::Text(builder) => append_text(builder, raw)?,
            Decoder::Bpchar(builder) => append_text(builder, without_padding(raw))?,
            Decoder::Jsonb(builder) => match raw.split_first() {
                // The first byte is the version of the format.
                Some((1, text)) => append_text(builder, text)?,
                _ => return Err(Fault::broken("is jsonb of an unknown version")),
            },
            Decoder::Uuid(builder) => {
                let mut text = [0; UUID_TEXT];
                uuid_text(&fixed(raw, "uuid")?, &mut text);
                append_text(builder, &text)?;
            }
            Decoder::Bytea(builder) => builder.append_value(raw),
            Decoder::Date(builder, keep) => {
                builder.append_value(temporal::date(fixed(raw, "date")?, *keep)?)
            }
            Decoder::Time(builder) => builder.append_value(temporal::time(fixed(raw, "time")?)?),
            Decoder::Timestamp(builder, keep) => {
                builder.append_value(temporal::timestamp(fixed(raw, "timestamp")?, *keep)?)
            }
            Decoder::Interval(builder) => {
                builder.append_value(temporal::interval(fixed(raw, "interval")?)?)
            }
            Decoder::List(list) => list.append(raw)?,
        }
        Ok(())
    }

    /// Takes a NULL.
    pub(crate) fn append_null(&mut self) {
        match self {
            Decoder::Bool(builder) => builder.append_null(),
            Decoder::Int2(builder) => builder.append_null(),
            Decoder::Int4(builder) => builder.append_null(),
            Decoder::Int8(builder) | Decoder::Oid(builder) => builder.append_null(),
            Decoder::Float4(builder) => builder.append_null(),
            Decoder::Float8(builder) => builder.append_null(),
            Decoder::Decimal128(builder, _) => builder.append_null(),
            Decoder::Decimal256(builder, _) => builder.append_null(),
            Decoder::Text(builder)
            | Decoder::Bpchar(builder)
            | Decoder::Jsonb(builder)
            | Decoder::Uuid(builder) => builder.append_null(),
            Decoder::Bytea(builder) => builder.append_null(),
            Decoder::Date(builder, _) => builder.append_null(),
            Decoder::Time(builder) => builder.append_null(),
            Decoder::Timestamp(builder, _) => builder.append_null(),
            Decoder::Interval(builder) => builder.append_null(),
            Decoder::List(list) => list.append_null(),
        }
    }

    /// The column so far. The decoder starts again, empty.
    pub(crate) fn finish(&mut self) -> Result<ArrayRef> {
        Ok(match self {
            Decoder::Bool(builder) => Arc::new(builder.finish()),
            Decoder::Int2(builder) => Arc::new(builder.finish()),
            Decoder::Int4(builder) => Arc::new(builder.finish()),
            Decoder::Int8(builder) | Decoder::Oid(builder) => Arc::new(builder.finish()),
            Decoder::Float4(builder) => Arc::new(builder.finish()),
            Decoder::Float8(builder) => Arc::new(builder.finish()),
            Decoder::Decimal128(builder, _) => Arc::new(builder.finish()),
            Decoder::Decimal256(builder, _) => Arc::new(builder.finish()),
            Decoder::Text(builder)
            | Decoder::Bpchar(builder)
            | Decoder::Jsonb(builder)
            | Decoder::Uuid(builder) => Arc::new(builder.finish()),
            Decoder::Bytea(builder) => Arc::new(builder.finish()),
            Decoder::Date(builder, _) => Arc::new(builder.finish()),
            Decoder::Time(builder) => Arc::new(builder.finish()),
            Decoder::Timestamp(builder, _) => Arc::new(builder.finish()),
            Decoder::Interval(builder) => Arc::new(builder.finish()),
            Decoder::List(list) => list.finish()?,
        })
    }
}

#[inline]
fn fixed<const N: usize>(
    raw: &[u8],
    type_name: &'static str,
) -> std::result::Result<[u8; N], Fault> {
    raw.try_into().map_err(|_| wrong_length(type_name))
}

#[cold]
fn wrong_length(type_name: &str) -> Fault {
    Fault::broken(&format!("has not the length of {type_name}"))
}

#[inline]
/// char(n) without its padding: trailing blanks do not count in comparisons, and the front puts them back
/// where a value is shown.
fn without_padding(raw: &[u8]) -> &[u8] {
    let end = raw
        .iter()
        .rposition(|byte| *byte != b' ')
        .map_or(0, |last| last + 1);
    &raw[..end]
}

fn append_text(builder: &mut StringViewBuilder, raw: &[u8]) -> std::result::Result<(), Fault> {
    match std::str::from_utf8(raw) {
        Ok(text) => {
            builder.append_value(text);
            Ok(())
        }
        // A database with the encoding SQL_ASCII holds whatever was put into it.
        Err(_) => Err(Fault {
            code: SqlState::CHARACTER_NOT_IN_REPERTOIRE,
            what: "is not valid UTF-8".to_owned(),
            hint: Some(
                "Convert the column at the source: convert_from(column::bytea, 'LATIN1'), for example."
                    .into(),
            ),
        }),
    }
}

/// Characters of a uuid's text.
const UUID_TEXT: usize = 36;

fn uuid_text(bytes: &[u8; 16], text: &mut [u8; UUID_TEXT]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut at = 0;
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text[at] = b'-';
            at += 1;
        }
        text[at] = HEX[usize::from(byte >> 4)];
        text[at + 1] = HEX[usize::from(byte & 15)];
        at += 2;
    }
}
