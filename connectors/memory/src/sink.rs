//! Writing: rows gather in a sink, charged to the budget as they come, and appear at commit.

use std::sync::Arc;

use arrow::array::{Array, new_null_array};
use arrow::compute::BatchCoalescer;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use async_trait::async_trait;
use sluice_spi::{
    Error, InsertTarget, NewTable, Result, SqlState, TableSink, WriteTarget, Writer, nearest,
};

use crate::store::{STORED_BATCH_ROWS, Store, StoredBatch, Table};

/// Opens sinks on a store.
#[derive(Debug)]
pub(crate) struct MemoryWriter {
    pub(crate) store: Arc<Store>,
}

#[async_trait]
impl Writer for MemoryWriter {
    async fn begin(&self, target: WriteTarget) -> Result<Box<dyn TableSink>> {
        let (columns, source, place) = match target {
            WriteTarget::Create(new) => {
                if new.has_keys_or_defaults() {
                    return Err(Error::unsupported(
                        "tables in memory have no keys and no defaults",
                    ));
                }
                self.store
                    .check_create(&new.schema, &new.table, new.replace)?;
                let columns = new.arrow_schema();
                let source = (0..columns.fields().len()).map(Some).collect();
                (columns, source, Place::Create(new))
            }
            WriteTarget::Insert(insert) => {
                let found = self.existing(&insert.schema, &insert.table)?;
                if insert.on_conflict.is_some() {
                    return Err(Error::unsupported(
                        "ON CONFLICT needs a key, and tables in memory have none",
                    ));
                }
                let columns = found.columns.clone();
                let source = sources(&columns, &insert)?;
                (columns, source, Place::Append(insert, found.id))
            }
        };
        Ok(Box::new(MemorySink {
            store: self.store.clone(),
            place,
            source,
            gathering: BatchCoalescer::new(columns.clone(), STORED_BATCH_ROWS),
            columns,
            batches: Vec::new(),
            rows: 0,
        }))
    }

    async fn drop_table(&self, schema: &str, table: &str, _cascade: bool) -> Result<bool> {
        Ok(self.store.drop_table(schema, table))
    }

    async fn create_schema(&self, schema: &str) -> Result<bool> {
        Ok(self.store.create_schema(schema))
    }

    async fn drop_schema(&self, schema: &str, cascade: bool) -> Result<bool> {
        self.store.drop_schema(schema, cascade)
    }
}

impl MemoryWriter {
    fn existing(&self, schema: &str, table: &str) -> Result<Arc<Table>> {
        self.store.table(schema, table).ok_or_else(|| {
            let names = self.store.table_names(schema);
            let error = Error::new(
                SqlState::UNDEFINED_TABLE,
                format!("relation \"{schema}.{table}\" does not exist"),
            );
            match nearest(table, names.iter().map(String::as_str)) {
                Some(near) => error.with_hint(format!("Perhaps you meant \"{near}\".")),
                None => error,
            }
        })
    }
}

/// For each column of the table, which of the row's values it gets; NULL for `None`.
fn sources(columns: &SchemaRef, insert: &InsertTarget) -> Result<Vec<Option<usize>>> {
    let mut sources = vec![None; columns.fields().len()];
    for (place, name) in insert.columns.iter().enumerate() {
        let index = columns.index_of(name).map_err(|_| {
            Error::new(
                SqlState::UNDEFINED_COLUMN,
                format!(
                    "column \"{name}\" of relation \"{}\" does not exist",
                    insert.table
                ),
            )
        })?;
        sources[index] = Some(place);
    }
    Ok(sources)
}

/// Where the rows of a sink go.
enum Place {
    /// To a new table.
    Create(NewTable),
    /// To the table that had that id at the start.
    Append(InsertTarget, u64),
}

/// The rows of one statement. Dropping it gives its bytes back.
struct MemorySink {
    store: Arc<Store>,
    place: Place,
    columns: SchemaRef,
    /// As [`sources`] says.
    source: Vec<Option<usize>>,
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
        let batch = conform(batch, &self.columns, &self.source)?;
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
            place,
            columns,
            batches,
            rows,
            ..
        } = *self;
        match place {
            Place::Create(new) => {
                store.create(&new.schema, &new.table, new.replace, columns, batches)?;
            }
            Place::Append(insert, id) => {
                store.append(&insert.schema, &insert.table, id, batches)?;
            }
        }
        Ok(rows)
    }
}

/// The batch under the table's own schema, whose field metadata is kept.
fn conform(
    batch: RecordBatch,
    columns: &SchemaRef,
    source: &[Option<usize>],
) -> Result<RecordBatch> {
    let brought = source.iter().flatten().count();
    if batch.num_columns() != brought {
        return Err(Error::new(
            SqlState::DATATYPE_MISMATCH,
            format!("{} columns for {brought}", batch.num_columns()),
        ));
    }
    let mut arrays = Vec::with_capacity(source.len());
    for (from, field) in source.iter().zip(columns.fields()) {
        let array = match from {
            Some(from) => batch.column(*from).clone(),
            None => new_null_array(field.data_type(), batch.num_rows()),
        };
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
        arrays.push(array);
    }
    let options = RecordBatchOptions::new()
        .with_row_count(Some(batch.num_rows()))
        // List items may be named differently; types are the same by the check above.
        .with_match_field_names(false);
    RecordBatch::try_new_with_options(columns.clone(), arrays, &options)
        .map_err(|e| Error::new(SqlState::DATATYPE_MISMATCH, e.to_string()))
}
