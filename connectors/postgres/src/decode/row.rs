//! Rows into batches: one decoder per column, cut by rows and by bytes.

use arrow::datatypes::SchemaRef;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use sluice_spi::{Error, Result};

use super::{Decoder, KeepInfinity};
use crate::types::ColumnType;

/// Bytes of a batch at the source, after which it is handed on even with few rows: wide rows must not
/// make batches that memory limits cannot steer.
const BATCH_BYTES: usize = 8 << 20;

/// Fills batches of one schema.
pub(crate) struct RowDecoder {
    schema: SchemaRef,
    columns: Vec<Decoder>,
    batch_rows: usize,
    rows: usize,
    bytes: usize,
}

impl RowDecoder {
    /// `types` are the columns of `schema`, in order.
    pub(crate) fn new(
        types: &[&ColumnType],
        schema: SchemaRef,
        batch_rows: usize,
        expected_rows: usize,
        keep_infinity: KeepInfinity,
    ) -> Result<Self> {
        let columns = types
            .iter()
            .zip(schema.fields())
            .map(|(column, field)| {
                Decoder::new(
                    column,
                    field.data_type(),
                    expected_rows.min(batch_rows),
                    keep_infinity,
                )
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(RowDecoder {
            schema,
            columns,
            batch_rows: batch_rows.max(1),
            rows: 0,
            bytes: 0,
        })
    }

    /// Columns of a row.
    pub(crate) fn width(&self) -> usize {
        self.columns.len()
    }

    /// Takes the value of a column; the caller gives each column of a row once and then ends the row.
    #[inline]
    pub(crate) fn field(&mut self, index: usize, raw: Option<&[u8]>) -> Result<()> {
        let Some(column) = self.columns.get_mut(index) else {
            return Err(Error::internal("a row has more columns than its schema"));
        };
        match raw {
            None => column.append_null(),
            Some(raw) => {
                self.bytes += raw.len();
                if let Err(fault) = column.append(raw) {
                    return Err(fault.into_error(self.schema.field(index).name()));
                }
            }
        }
        Ok(())
    }

    /// Ends a row.
    #[inline]
    pub(crate) fn end_row(&mut self) {
        self.rows += 1;
    }

    /// Time to hand the batch on.
    pub(crate) fn is_full(&self) -> bool {
        self.rows >= self.batch_rows || self.bytes >= BATCH_BYTES
    }

    /// The rows so far, if any.
    pub(crate) fn finish(&mut self) -> Result<Option<RecordBatch>> {
        if self.rows == 0 {
            return Ok(None);
        }
        let columns = self
            .columns
            .iter_mut()
            .map(Decoder::finish)
            .collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        self.rows = 0;
        self.bytes = 0;
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)
            .map(Some)
            // NULL in a column that the source said has none: the constraint went away after its
            // description here was cached.
            .map_err(|e| {
                Error::new(
                    sluice_spi::SqlState::DATA_EXCEPTION,
                    format!("rows do not fit the table's description: {e}"),
                )
                .with_stale_plan()
            })
    }
}
