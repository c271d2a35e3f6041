//! Batches to `DataRow` messages: one specialised writer per column and format, chosen once per result
//! and bound once per batch; a value costs one indirect call and no allocation.
//!
//! Relies on `types` for what a column was announced as. Never touches a socket and never waits: it is
//! CPU work that runs on tasks of its own (see `rows`).

mod datetime;
mod nested;
mod number;
mod text;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::buffer::NullBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use sluice_spi::{Error, Result};

use super::types::{PgType, oid};
use crate::session::Zone;

pub(crate) use datetime::{PG_EPOCH_DAYS, PG_EPOCH_MICROS};

/// How a value travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// As `typoutput` prints it.
    Text,
    /// As `typsend` sends it.
    Binary,
}

impl Format {
    /// The code in messages.
    pub fn code(self) -> i16 {
        match self {
            Format::Text => 0,
            Format::Binary => 1,
        }
    }
}

/// The session settings that change how values print.
#[derive(Debug, Clone, PartialEq)]
pub struct Style {
    /// `TimeZone`.
    pub zone: Zone,
    /// `extra_float_digits`; above 0 the shortest digits that read back.
    pub extra_float_digits: i32,
    /// `bytea_output = escape`.
    pub bytea_escape: bool,
}

impl Default for Style {
    fn default() -> Self {
        Style {
            zone: Zone::utc(),
            extra_float_digits: 1,
            bytea_escape: false,
        }
    }
}

/// What writing a value gives. Boxed, since the result of each value passes through registers.
pub(crate) type Written = Result<(), Box<Error>>;

/// The values of one column of one batch, in one format. `write` is asked only for rows that aren't null.
pub(crate) trait Values: Send + Sync {
    /// Appends the value's bytes, without its length.
    fn write(&self, row: usize, out: &mut Vec<u8>) -> Written;
}

/// A column bound to one batch.
pub(crate) struct Column {
    nulls: Option<NullBuffer>,
    values: Box<dyn Values>,
}

impl Column {
    pub(crate) fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }

    /// The value with its four-byte length before it; -1 for NULL.
    #[inline]
    pub(crate) fn write_sized(&self, row: usize, out: &mut Vec<u8>) -> Written {
        if self.is_null(row) {
            out.extend_from_slice(&(-1i32).to_be_bytes());
            return Ok(());
        }
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        self.values.write(row, out)?;
        let length = out.len() - start - 4;
        out[start..start + 4].copy_from_slice(&(length as i32).to_be_bytes());
        Ok(())
    }
}

struct ColumnPlan {
    field: Arc<Field>,
    pg_type: PgType,
    format: Format,
}

/// Encodes the rows of one result.
pub struct RowEncoder {
    columns: Vec<ColumnPlan>,
    style: Style,
}

/// PostgreSQL's own limit on the columns of a result (`MaxTupleAttributeNumber`).
const MAX_COLUMNS: usize = 1664;

impl RowEncoder {
    /// Chooses the writers. `formats` is as in `Bind`: none (all text), one for all, or one per column.
    pub fn new(schema: &SchemaRef, formats: &[Format], style: Style) -> Result<Self> {
        let count = schema.fields().len();
        if count > MAX_COLUMNS {
            return Err(Error::new(
                sluice_spi::SqlState::from_source("54011"),
                format!("target lists can have at most {MAX_COLUMNS} entries"),
            ));
        }
        if formats.len() > 1 && formats.len() != count {
            return Err(Error::new(
                sluice_spi::SqlState::PROTOCOL_VIOLATION,
                format!(
                    "bind message has {} result formats but query has {count} columns",
                    formats.len()
                ),
            ));
        }
        let columns = schema
            .fields()
            .iter()
            .enumerate()
            .map(|(index, field)| ColumnPlan {
                field: Arc::clone(field),
                pg_type: PgType::of_field(field),
                format: format_of(formats, index),
            })
            .collect();
        Ok(RowEncoder { columns, style })
    }

    /// Appends one `DataRow` message per row.
    pub fn encode(&self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<()> {
        let mut columns = Vec::with_capacity(self.columns.len());
        for (plan, array) in self.columns.iter().zip(batch.columns()) {
            columns.push(bind(
                array,
                &plan.field,
                plan.pg_type,
                plan.format,
                &self.style,
            )?);
        }
        let count = (columns.len() as i16).to_be_bytes();
        for row in 0..batch.num_rows() {
            let start = out.len();
            out.extend_from_slice(&[b'D', 0, 0, 0, 0, count[0], count[1]]);
            for column in &columns {
                column.write_sized(row, out).map_err(|error| *error)?;
            }
            let length = i32::try_from(out.len() - start - 1).map_err(|_| {
                Error::new(
                    sluice_spi::SqlState::CONFIGURATION_LIMIT_EXCEEDED,
                    "row is larger than 2 GiB",
                )
            })?;
            out[start + 1..start + 5].copy_from_slice(&length.to_be_bytes());
        }
        Ok(())
    }
}

/// The format of one column under `Bind`'s rules.
pub fn format_of(formats: &[Format], index: usize) -> Format {
    match formats {
        [] => Format::Text,
        [one] => *one,
        many => many.get(index).copied().unwrap_or(Format::Text),
    }
}

/// Formats a schema's columns for `RowDescription`.
pub fn describe(schema: &Schema, formats: &[Format]) -> Vec<(String, PgType, Format)> {
    schema
        .fields()
        .iter()
        .enumerate()
        .map(|(index, field)| {
            (
                field.name().clone(),
                PgType::of_field(field),
                format_of(formats, index),
            )
        })
        .collect()
}

/// Chooses the writer of one array. `field` gives the tag, `pg_type` what the column was announced as.
pub(crate) fn bind(
    array: &ArrayRef,
    field: &Field,
    pg_type: PgType,
    format: Format,
    style: &Style,
) -> Result<Column> {
    let array = unwrap_encoding(array)?;
    let nulls = array.logical_nulls();
    let values = bind_values(&array, field, pg_type, format, style)?;
    Ok(Column { nulls, values })
}

/// Dictionaries, run-length encodings and list views become plain arrays.
fn unwrap_encoding(array: &ArrayRef) -> Result<ArrayRef> {
    let plain = match array.data_type() {
        DataType::Dictionary(_, values) => values.as_ref().clone(),
        DataType::RunEndEncoded(_, values) => values.data_type().clone(),
        DataType::ListView(item) => DataType::List(Arc::clone(item)),
        DataType::LargeListView(item) => DataType::LargeList(Arc::clone(item)),
        _ => return Ok(Arc::clone(array)),
    };
    let array = cast(array, &plain)
        .map_err(|error| Error::internal(format!("cannot unpack a column: {error}")))?;
    unwrap_encoding(&array)
}

fn bind_values(
    array: &ArrayRef,
    field: &Field,
    pg_type: PgType,
    format: Format,
    style: &Style,
) -> Result<Box<dyn Values>> {
    Ok(match array.data_type() {
        DataType::Null => Box::new(text::Nothing),
        DataType::Boolean => text::boolean(array.as_boolean().clone(), format),
        DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::UInt8
        | DataType::UInt16
        | DataType::UInt32
        | DataType::UInt64 => number::integer(array, pg_type, format)?,
        DataType::Float16 | DataType::Float32 | DataType::Float64 => {
            number::float(array, pg_type, format, style)?
        }
        DataType::Decimal32(..)
        | DataType::Decimal64(..)
        | DataType::Decimal128(..)
        | DataType::Decimal256(..) => {
            // A numeric without typmod carries its scale only as room for digits.
            number::decimal(array, pg_type.modifier < 0, format)?
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            text::string(array, pg_type, format)?
        }
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => {
            if pg_type.oid == oid::UUID {
                text::uuid_bytes(array, format)?
            } else {
                text::bytea(array, format, style)?
            }
        }
        DataType::Date32
        | DataType::Date64
        | DataType::Time32(_)
        | DataType::Time64(_)
        | DataType::Timestamp(..)
        | DataType::Interval(_)
        | DataType::Duration(_) => datetime::datetime(array, format, style)?,
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..) => {
            nested::list(array, field, pg_type, format, style)?
        }
        DataType::Struct(_) | DataType::Map(..) => nested::json(array, field, format, style)?,
        other => {
            return Err(Error::unsupported(format!(
                "cannot send a column of type {other}"
            )));
        }
    })
}

#[cfg(test)]
pub(crate) mod tests;
