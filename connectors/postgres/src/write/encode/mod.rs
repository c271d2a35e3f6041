//! Arrow batches into the data of `COPY … FROM STDIN`: binary where every column has a binary form here
//! ([`binary`]), text otherwise ([`text`]), where the type's own input function reads it. So does it where
//! a value of another type comes as text, as arrays may.
//!
//! Types are the server's: it was asked for the target's columns. Never rounds and never cuts: what does
//! not fit is an error here or at the server.

mod arrays;
mod binary;
mod numeric;
mod text;
mod wire;

use arrow::datatypes::Schema;
use arrow::record_batch::RecordBatch;
use bytes::BytesMut;
use sluice_spi::{Error, Result, SqlState};
use tokio_postgres::types::Type;

use wire::Wire;

/// Signature, flags, and an extension of no bytes.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const TRAILER: &[u8] = &[0xff, 0xff];

/// A target column.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) column_type: Type,
}

/// Writes batches as COPY data.
pub(crate) enum CopyEncoder {
    /// `FORMAT binary`.
    Binary(Vec<(String, Wire)>),
    /// `FORMAT text`.
    Text(Vec<Target>),
}

impl CopyEncoder {
    /// For rows of those columns, which come with the fields of `rows`.
    pub(crate) fn new(targets: &[Target], rows: &Schema) -> Result<CopyEncoder> {
        if rows.fields().len() != targets.len() {
            return Err(Error::internal(format!(
                "rows of {} columns for a target of {}",
                rows.fields().len(),
                targets.len()
            )));
        }
        let binary: Option<Vec<(String, Wire)>> = targets
            .iter()
            .zip(rows.fields())
            .map(|(target, field)| {
                let wire = Wire::of(&target.column_type)?;
                wire.is_made_of(field.data_type())
                    .then(|| (target.name.clone(), wire))
            })
            .collect();
        Ok(match binary {
            Some(columns) => CopyEncoder::Binary(columns),
            None => CopyEncoder::Text(targets.to_vec()),
        })
    }

    /// The format's name in the COPY statement.
    pub(crate) fn format(&self) -> &'static str {
        match self {
            CopyEncoder::Binary(_) => "binary",
            CopyEncoder::Text(_) => "text",
        }
    }

    /// What stands before the first row.
    pub(crate) fn header(&self) -> &'static [u8] {
        match self {
            CopyEncoder::Binary(_) => HEADER,
            CopyEncoder::Text(_) => &[],
        }
    }

    /// What stands after the last row.
    pub(crate) fn trailer(&self) -> &'static [u8] {
        match self {
            CopyEncoder::Binary(_) => TRAILER,
            CopyEncoder::Text(_) => &[],
        }
    }

    /// Appends the rows of `batch` to `out`.
    pub(crate) fn encode(&self, batch: &RecordBatch, out: &mut BytesMut) -> Result<()> {
        match self {
            CopyEncoder::Binary(columns) => binary::encode(columns, batch, out),
            CopyEncoder::Text(columns) => text::encode(columns, batch, out),
        }
    }
}

/// A value that has no place in its column.
fn out_of_range(column: &str, what: &str) -> Error {
    Error::new(
        SqlState::NUMERIC_OUT_OF_RANGE,
        format!("value out of range for column \"{column}\": {what}"),
    )
}
