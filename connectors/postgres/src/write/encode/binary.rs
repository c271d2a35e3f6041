//! COPY's binary format: each row is its number of values, each value its length and its bytes.

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryViewArray, BooleanArray, Date32Array, Decimal128Array,
    Decimal256Array, Float32Array, Float64Array, Int16Array, Int32Array, Int64Array,
    IntervalMonthDayNanoArray, StringViewArray, Time64MicrosecondArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Decimal256Type, Float32Type, Float64Type, Int16Type,
    Int32Type, Int64Type, IntervalMonthDayNanoType, Time64MicrosecondType,
    TimestampMicrosecondType,
};
use arrow::record_batch::RecordBatch;
use bytes::{BufMut, BytesMut};
use sluice_spi::{Error, Result, SqlState};

use super::arrays::ArrayValues;
use super::numeric::{put_i128, put_i256, put_text};
use super::wire::Wire;
use crate::decode::temporal::{EPOCH_DAYS, EPOCH_MICROS};

/// Appends the rows of `batch` to `out`.
pub(super) fn encode(
    columns: &[(String, Wire)],
    batch: &RecordBatch,
    out: &mut BytesMut,
) -> Result<()> {
    let count = i16::try_from(columns.len()).map_err(|_| {
        Error::new(
            SqlState::from_source("54011"),
            "a table can have at most 1600 columns",
        )
    })?;
    let columns = columns
        .iter()
        .zip(batch.columns())
        .map(|((name, wire), values)| Column::new(name, wire, values))
        .collect::<Result<Vec<_>>>()?;
    // A guess that is right for numbers: the buffer grows by doubling where it is not.
    out.reserve(batch.num_rows() * (2 + columns.len() * 12));
    for row in 0..batch.num_rows() {
        out.put_i16(count);
        for column in &columns {
            column.put(row, out)?;
        }
    }
    Ok(())
}

/// A column's values, typed once per batch.
pub(super) struct Column<'a> {
    name: &'a str,
    nulls: Option<arrow::buffer::NullBuffer>,
    values: Values,
}

enum Values {
    Bool(BooleanArray),
    Int2(Int16Array),
    Int4(Int32Array),
    Int8(Int64Array),
    Oid(Int64Array),
    Float4(Float32Array),
    Float8(Float64Array),
    Decimal128(Decimal128Array, i8),
    Decimal256(Decimal256Array, i8),
    NumericText(StringViewArray),
    Text(StringViewArray),
    Jsonb(StringViewArray),
    Uuid(StringViewArray),
    Bytea(BinaryViewArray),
    Date(Date32Array),
    Time(Time64MicrosecondArray),
    Timestamp(TimestampMicrosecondArray),
    Interval(IntervalMonthDayNanoArray),
    Array(ArrayValues),
}

impl<'a> Column<'a> {
    pub(super) fn new(name: &'a str, wire: &Wire, values: &ArrayRef) -> Result<Column<'a>> {
        let values = wire.prepared(name, values)?;
        Ok(Column {
            name,
            nulls: values.logical_nulls(),
            values: Values::new(wire, &values)?,
        })
    }

    /// Appends the length and the bytes of one value.
    #[inline]
    pub(super) fn put(&self, row: usize, out: &mut BytesMut) -> Result<()> {
        if self.is_null(row) {
            out.put_i32(-1);
            return Ok(());
        }
        match &self.values {
            Values::Bool(values) => {
                out.put_i32(1);
                out.put_u8(values.value(row).into());
            }
            Values::Int2(values) => {
                out.put_i32(2);
                out.put_i16(values.value(row));
            }
            Values::Int4(values) => {
                out.put_i32(4);
                out.put_i32(values.value(row));
            }
            Values::Int8(values) => {
                out.put_i32(8);
                out.put_i64(values.value(row));
            }
            Values::Oid(values) => {
                let value = values.value(row);
                let oid = u32::try_from(value)
                    .map_err(|_| super::out_of_range(self.name, &value.to_string()))?;
                out.put_i32(4);
                out.put_u32(oid);
            }
            Values::Float4(values) => {
                out.put_i32(4);
                out.put_f32(values.value(row));
            }
            Values::Float8(values) => {
                out.put_i32(8);
                out.put_f64(values.value(row));
            }
            Values::Decimal128(values, scale) => {
                framed(out, |out| put_i128(values.value(row), *scale, out))?;
            }
            Values::Decimal256(values, scale) => {
                framed(out, |out| put_i256(values.value(row), *scale, out))?;
            }
            Values::NumericText(values) => {
                framed(out, |out| put_text(values.value(row), out))?;
            }
            Values::Text(values) => self.bytes(values.value(row).as_bytes(), out)?,
            Values::Jsonb(values) => {
                let text = values.value(row).as_bytes();
                out.put_i32(self.length(text.len() + 1)?);
                out.put_u8(1);
                out.put_slice(text);
            }
            Values::Uuid(values) => {
                out.put_i32(16);
                out.put_u128(uuid(values.value(row))?);
            }
            Values::Bytea(values) => self.bytes(values.value(row), out)?,
            Values::Date(values) => {
                let days = match values.value(row) {
                    // The extremes are infinity on both sides.
                    extreme @ (i32::MAX | i32::MIN) => extreme,
                    days => days
                        .checked_sub(EPOCH_DAYS)
                        .ok_or_else(|| overflow(self.name))?,
                };
                out.put_i32(4);
                out.put_i32(days);
            }
            Values::Time(values) => {
                out.put_i32(8);
                out.put_i64(values.value(row));
            }
            Values::Timestamp(values) => {
                let micros = match values.value(row) {
                    extreme @ (i64::MAX | i64::MIN) => extreme,
                    micros => micros
                        .checked_sub(EPOCH_MICROS)
                        .ok_or_else(|| overflow(self.name))?,
                };
                out.put_i32(8);
                out.put_i64(micros);
            }
            Values::Interval(values) => {
                let value = values.value(row);
                // The server has no place for less than a microsecond, and nothing is rounded here.
                if value.nanoseconds % 1_000 != 0 {
                    return Err(overflow(self.name));
                }
                out.put_i32(16);
                out.put_i64(value.nanoseconds / 1_000);
                out.put_i32(value.days);
                out.put_i32(value.months);
            }
            Values::Array(values) => framed(out, |out| values.put(self.name, row, out))?,
        }
        Ok(())
    }

    #[inline]
    fn bytes(&self, value: &[u8], out: &mut BytesMut) -> Result<()> {
        out.put_i32(self.length(value.len())?);
        out.put_slice(value);
        Ok(())
    }

    /// True for a NULL.
    #[inline]
    pub(super) fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }

    #[inline]
    fn length(&self, length: usize) -> Result<i32> {
        i32::try_from(length).map_err(|_| {
            Error::new(
                SqlState::from_source("54000"),
                format!("a value of column \"{}\" is longer than 1 GB", self.name),
            )
        })
    }
}

impl Values {
    fn new(wire: &Wire, values: &ArrayRef) -> Result<Values> {
        Ok(match wire {
            Wire::Bool => Values::Bool(values.as_boolean().clone()),
            Wire::Int2 => Values::Int2(values.as_primitive::<Int16Type>().clone()),
            Wire::Int4 => Values::Int4(values.as_primitive::<Int32Type>().clone()),
            Wire::Int8 => Values::Int8(values.as_primitive::<Int64Type>().clone()),
            Wire::Oid => Values::Oid(values.as_primitive::<Int64Type>().clone()),
            Wire::Float4 => Values::Float4(values.as_primitive::<Float32Type>().clone()),
            Wire::Float8 => Values::Float8(values.as_primitive::<Float64Type>().clone()),
            Wire::Numeric => match values.data_type() {
                DataType::Decimal256(_, scale) => {
                    Values::Decimal256(values.as_primitive::<Decimal256Type>().clone(), *scale)
                }
                DataType::Decimal128(_, scale) => {
                    Values::Decimal128(values.as_primitive::<Decimal128Type>().clone(), *scale)
                }
                DataType::Utf8View => Values::NumericText(values.as_string_view().clone()),
                other => return Err(Error::internal(format!("numeric from {other}"))),
            },
            Wire::Text => Values::Text(values.as_string_view().clone()),
            Wire::Jsonb => Values::Jsonb(values.as_string_view().clone()),
            Wire::Uuid => Values::Uuid(values.as_string_view().clone()),
            Wire::Bytea => Values::Bytea(values.as_binary_view().clone()),
            Wire::Date => Values::Date(values.as_primitive::<Date32Type>().clone()),
            Wire::Time => Values::Time(values.as_primitive::<Time64MicrosecondType>().clone()),
            Wire::Timestamp => {
                Values::Timestamp(values.as_primitive::<TimestampMicrosecondType>().clone())
            }
            Wire::Interval => {
                Values::Interval(values.as_primitive::<IntervalMonthDayNanoType>().clone())
            }
            Wire::Array { item, oid } => Values::Array(ArrayValues::new(item, *oid, values)?),
        })
    }
}

/// A value whose length is known only after it is written.
#[inline]
fn framed(out: &mut BytesMut, put: impl FnOnce(&mut BytesMut) -> Result<()>) -> Result<()> {
    let at = out.len();
    out.put_i32(0);
    put(out)?;
    let length = i32::try_from(out.len() - at - 4).map_err(|_| {
        Error::new(
            SqlState::from_source("54000"),
            "a value is longer than 1 GB",
        )
    })?;
    out[at..at + 4].copy_from_slice(&length.to_be_bytes());
    Ok(())
}

fn overflow(column: &str) -> Error {
    Error::new(
        SqlState::DATETIME_OVERFLOW,
        format!("date or time out of range for column \"{column}\""),
    )
}

/// The bytes of a uuid, in any of the spellings that PostgreSQL reads.
fn uuid(text: &str) -> Result<u128> {
    let inner = text
        .strip_prefix('{')
        .and_then(|text| text.strip_suffix('}'))
        .unwrap_or(text);
    let (mut value, mut digits) = (0u128, 0);
    for (place, character) in inner.char_indices() {
        match character.to_digit(16) {
            Some(digit) => {
                value = (value << 4) | u128::from(digit);
                digits += 1;
            }
            // A hyphen after every group of four digits is fine.
            None if character == '-' && place > 0 && digits % 4 == 0 => {}
            None => return Err(not_a_uuid(text)),
        }
        if digits > 32 {
            return Err(not_a_uuid(text));
        }
    }
    if digits == 32 && !inner.ends_with('-') {
        Ok(value)
    } else {
        Err(not_a_uuid(text))
    }
}

fn not_a_uuid(text: &str) -> Error {
    Error::new(
        SqlState::INVALID_TEXT_REPRESENTATION,
        format!("invalid input syntax for type uuid: \"{text}\""),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_are_read_as_postgresql_reads_them() {
        let value = 0xa0ee_bc99_9c0b_4ef8_bb6d_6bb9_bd38_0a11;
        for text in [
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
            "{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}",
            "a0eebc999c0b4ef8bb6d6bb9bd380a11",
            "a0ee-bc99-9c0b-4ef8-bb6d-6bb9-bd38-0a11",
        ] {
            assert_eq!(uuid(text).unwrap(), value, "{text}");
        }
        for text in [
            "",
            "a0eebc99",
            "g0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a112",
            "-a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        ] {
            assert_eq!(uuid(text).unwrap_err().code.code(), "22P02", "{text}");
        }
    }
}
