//! Writing: rows gather in a sink, charged to the budget as they come, and appear at commit.

use std::sync::Arc;

use arrow::compute::BatchCoalescer;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use async_trait::async_trait;
use sluice_spi::{Error, Result, SqlState, TableSink, WriteTarget, Writer, nearest};

use crate::store::{STORED_BATCH_ROWS, Store, StoredBatch};

/// Opens sinks on a store.
#[derive(Debug)]
pub(crate) struct MemoryWriter {
    pub(crate) store: Arc<Store>,
}

#[async_trait]
impl Writer for MemoryWriter {
    async fn begin(&self, target: WriteTarget) -> Result<Box<dyn TableSink>> {
        let (columns, table_id) = match &target {
            WriteTarget::Create {
                schema,
                table,
                columns,
                replace,
            } => {
                self.store.check_create(schema, table, *replace)?;
                (columns.clone(), None)
            }
            WriteTarget::Insert { schema, table } => {
                let found = self.store.table(schema, table).ok_or_else(|| {
                    let names = self.store.table_names(schema);
                    let error = Error::new(
                        SqlState::UNDEFINED_TABLE,
                        format!("relation \"{schema}.{table}\" does not exist"),
                    );
                    match nearest(table, names.iter().map(String::as_str)) {
                        Some(near) => error.with_hint(format!("Perhaps you meant \"{near}\".")),
                        None => error,
                    }
                })?;
                (found.columns.clone(), Some(found.id))
            }
        };
        Ok(Box::new(MemorySink {
            store: self.store.clone(),
            target,
            table_id,
            gathering: BatchCoalescer::new(columns.clone(), STORED_BATCH_ROWS),
            columns,
            batches: Vec::new(),
            rows: 0,
        }))
    }

    async fn drop_table(&self, schema: &str, table: &str) -> Result<bool> {
        Ok(self.store.drop_table(schema, table))
    }

    async fn create_schema(&self, schema: &str) -> Result<bool> {
        Ok(self.store.create_schema(schema))
    }

    async fn drop_schema(&self, schema: &str, cascade: bool) -> Result<bool> {
        self.store.drop_schema(schema, cascade)
    }
}

/// The rows of one statement. Dropping it gives its bytes back.
struct MemorySink {
    store: Arc<Store>,
    target: WriteTarget,
    /// The table that was there at the start, for an INSERT.
    table_id: Option<u64>,
    columns: SchemaRef,
    /// Copies rows into batches of their own: what arrives may be a small slice of large buffers.
    gathering: BatchCoalescer,
    batches: Vec<StoredBatch>,
    rows: u64,
}

impl MemorySink {
    fn keep_completed(&mut self) -> Result<()> {
        while let Some(batch) = self.gathering.next_completed_batch() {
            // A batch larger than asked for may come through as it is; NOT NULL is checked here too.
            self.batches
                .push(StoredBatch::new(batch, &self.store.budget)?);
        }
        Ok(())
    }
}

#[async_trait]
impl TableSink for MemorySink {
    async fn write(&mut self, batch: RecordBatch) -> Result<()> {
        let batch = conform(batch, &self.columns)?;
        self.rows += batch.num_rows() as u64;
        if self.columns.fields().is_empty() {
            self.batches
                .push(StoredBatch::new(batch, &self.store.budget)?);
            return Ok(());
        }
        self.gathering
            .push_batch(batch)
            .map_err(|e| Error::internal(e.to_string()))?;
        self.keep_completed()
    }

    async fn commit(mut self: Box<Self>) -> Result<u64> {
        if !self.columns.fields().is_empty() {
            self.gathering
                .finish_buffered_batch()
                .map_err(|e| Error::internal(e.to_string()))?;
            self.keep_completed()?;
        }
        let MemorySink {
            store,
            target,
            table_id,
            columns,
            batches,
            rows,
            ..
        } = *self;
        match (target, table_id) {
            (
                WriteTarget::Create {
                    schema,
                    table,
                    replace,
                    ..
                },
                _,
            ) => {
                store.create(&schema, &table, replace, columns, batches)?;
            }
            (WriteTarget::Insert { schema, table }, Some(id)) => {
                store.append(&schema, &table, id, batches)?
            }
            (WriteTarget::Insert { .. }, None) => {
                return Err(Error::internal("an insert without its table"));
            }
        }
        Ok(rows)
    }
}

/// The batch under the table's own schema, whose field metadata is kept.
fn conform(batch: RecordBatch, columns: &SchemaRef) -> Result<RecordBatch> {
    if batch.num_columns() != columns.fields().len() {
        return Err(Error::new(
            SqlState::DATATYPE_MISMATCH,
            format!(
                "{} columns for a table of {}",
                batch.num_columns(),
                columns.fields().len()
            ),
        ));
    }
    for (array, field) in batch.columns().iter().zip(columns.fields()) {
        if !array.data_type().equals_datatype(field.data_type()) {
            return Err(Error::new(
                SqlState::DATATYPE_MISMATCH,
                format!(
                    "column \"{}\" is of type {} but the rows hold {}",
                    field.name(),
                    field.data_type(),
                    array.data_type()
                ),
            ));
        }
        if !field.is_nullable() && array.logical_null_count() > 0 {
            return Err(Error::new(
                SqlState::NOT_NULL_VIOLATION,
                format!(
                    "null value in column \"{}\" violates not-null constraint",
                    field.name()
                ),
            ));
        }
    }
    let options = RecordBatchOptions::new()
        .with_row_count(Some(batch.num_rows()))
        // List items may be named differently; types are the same by the check above.
        .with_match_field_names(false);
    RecordBatch::try_new_with_options(columns.clone(), batch.columns().to_vec(), &options)
        .map_err(|e| Error::new(SqlState::DATATYPE_MISMATCH, e.to_string()))
}
