//! Batches in just the schema that was asked for.

use std::sync::Arc;

use arrow::array::{ArrayRef, new_null_array};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use sluice_spi::{Error, Result, ScalarValue, SqlState};

/// Relabels a batch: names, tags and nullability are the table's, not the file's.
pub(super) fn with_schema(
    batch: RecordBatch,
    schema: &SchemaRef,
    file: &str,
) -> Result<RecordBatch> {
    if batch.schema_ref() == schema {
        return Ok(batch);
    }
    let rows = batch.num_rows();
    assemble(batch.columns().to_vec(), rows, schema, file)
}

/// A batch of these columns. Fails where a column that was "not null" when the table was described holds
/// NULL in a newer file.
pub(super) fn assemble(
    columns: Vec<ArrayRef>,
    rows: usize,
    schema: &SchemaRef,
    file: &str,
) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options).map_err(|e| {
        Error::new(
            SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!("file \"{file}\" does not have the columns that the table was described with"),
        )
        .with_detail(e.to_string())
        .with_hint("Flush the catalog's metadata and run the statement again.")
    })
}

/// Where an output column of a text file comes from.
pub(super) enum Origin {
    /// The decoder's column.
    Decoded(usize),
    /// The folder.
    Partition(ScalarValue),
    /// Nowhere: this file lacks it.
    Missing,
}

/// The output columns of a decoded batch.
pub(super) fn arrange(
    decoded: &RecordBatch,
    origins: &[Origin],
    schema: &SchemaRef,
    file: &str,
) -> Result<RecordBatch> {
    let rows = decoded.num_rows();
    let columns = origins
        .iter()
        .zip(schema.fields())
        .map(|(origin, field)| match origin {
            Origin::Decoded(at) => Ok(Arc::clone(decoded.column(*at))),
            Origin::Partition(value) => value
                .to_array_of_size(rows)
                .map_err(|e| Error::internal(e.to_string())),
            Origin::Missing => Ok(new_null_array(field.data_type(), rows)),
        })
        .collect::<Result<Vec<_>>>()?;
    assemble(columns, rows, schema, file)
}
