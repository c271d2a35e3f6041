//! Rows into batches: one decoder per column, cut by rows and by bytes.

use arrow::datatypes::SchemaRef;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use mysql_async::{Row, Value};
use sluice_spi::{Error, Result, SqlState};

use super::Decoder;
use crate::config::ZeroDates;
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
        types: &[ColumnType],
        zero_dates: ZeroDates,
        schema: SchemaRef,
        batch_rows: usize,
        expected_rows: usize,
    ) -> Result<Self> {
        let columns = types
            .iter()
            .zip(schema.fields())
            .map(|(column, field)| {
                let rows = expected_rows.min(batch_rows);
                Decoder::new(column, field.data_type(), zero_dates, rows)
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

    /// Takes a row.
    #[inline]
    pub(crate) fn row(&mut self, row: &Row) -> Result<()> {
        let mut bytes = 0;
        for (index, column) in self.columns.iter_mut().enumerate() {
            let Some(value) = row.as_ref(index) else {
                return Err(Error::internal("a row has fewer columns than its schema"));
            };
            bytes += size(value);
            if let Err(fault) = column.append(value) {
                return Err(fault.into_error(self.schema.field(index).name()));
            }
        }
        self.bytes += bytes;
        self.rows += 1;
        Ok(())
    }

    /// Bytes of the rows since the last batch, about as the wire carried them.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
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
        let columns = self.columns.iter_mut().map(Decoder::finish).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        self.rows = 0;
        self.bytes = 0;
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)
            .map(Some)
            // NULL in a column that the source said has none: the constraint went away after its
            // description here was cached.
            .map_err(|e| {
                Error::new(
                    SqlState::DATA_EXCEPTION,
                    format!("rows do not fit the table's description: {e}"),
                )
            })
    }
}

/// Bytes of a value in the binary protocol, about.
#[inline]
fn size(value: &Value) -> usize {
    match value {
        Value::NULL => 0,
        Value::Bytes(bytes) => bytes.len() + 1,
        Value::Float(_) => 4,
        Value::Int(_) | Value::UInt(_) | Value::Double(_) => 8,
        Value::Date(..) | Value::Time(..) => 8,
    }
}
