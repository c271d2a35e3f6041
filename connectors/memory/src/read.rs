//! Splits are ranges of a table's rows; reading one is slicing.

use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use futures::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use sluice_spi::{BatchStream, Error, ReadRequest, Result, Split, SqlState};

use crate::store::{STORED_BATCH_ROWS, Table};

/// A split has at least so many rows: starting a task for fewer costs more than reading them.
const SPLIT_ROWS_MIN: u64 = 2 * STORED_BATCH_ROWS as u64;

/// What a split says on the wire.
#[derive(Debug, Serialize, Deserialize)]
struct SplitPayload {
    table_id: u64,
    from: u64,
    to: u64,
}

/// Cuts the first `rows` rows of a table into at most `parallelism` ranges.
pub(crate) fn splits(
    table: &Table,
    name: &str,
    rows: u64,
    parallelism: usize,
) -> Result<Vec<Split>> {
    let count = (rows / SPLIT_ROWS_MIN).clamp(1, parallelism.max(1) as u64);
    // Whole stored batches, so that batches are not cut in two.
    let batch = STORED_BATCH_ROWS as u64;
    let step = rows.div_ceil(count).div_ceil(batch) * batch;
    let bytes: u64 = table.batches.iter().map(|stored| stored.bytes()).sum();
    (0..count)
        .map(|i| (i * step, ((i + 1) * step).min(rows)))
        .filter(|(from, to)| from < to)
        .map(|(from, to)| {
            let payload = serde_json::to_vec(&SplitPayload {
                table_id: table.id,
                from,
                to,
            })
            .map_err(|e| Error::internal(format!("could not write a split: {e}")))?;
            Ok(Split {
                payload,
                rows: Some(to - from),
                bytes: Some(
                    (bytes as u128 * (to - from) as u128 / table.rows.max(1) as u128) as u64,
                ),
                label: format!("{name} rows {from}..{to}"),
            })
        })
        .collect()
}

/// A range of rows that was read from a split.
pub(crate) struct Range {
    pub(crate) table_id: u64,
    from: u64,
    to: u64,
}

/// Reads what [`splits`] wrote.
pub(crate) fn range(split: &Split) -> Result<Range> {
    let payload: SplitPayload = serde_json::from_slice(&split.payload)
        .map_err(|e| Error::internal(format!("split of another build: {e}")))?;
    Ok(Range {
        table_id: payload.table_id,
        from: payload.from,
        to: payload.to,
    })
}

/// The rows of a range. The stream holds its version of the table until it ends.
pub(crate) fn stream(
    table: Arc<Table>,
    range: &Range,
    request: &ReadRequest,
) -> Result<BatchStream> {
    if request.schema.fields().len() != table.columns.fields().len() {
        return Err(Error::new(
            SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
            "the table was changed after the statement was planned",
        ));
    }
    let limit = request.limit.map_or(u64::MAX, |limit| limit as u64);
    let cursor = Cursor {
        batch_rows: request.batch_rows.max(1),
        schema: request.projected_schema()?,
        projection: request.projection.clone(),
        position: range.from,
        to: range.to.min(range.from.saturating_add(limit)),
        batch: 0,
        batch_start: 0,
        table,
    };
    let metrics = request.metrics.clone();
    let batches = stream::iter(cursor).inspect(move |batch| {
        if let Ok(batch) = batch {
            metrics.add_count("rows", batch.num_rows());
        }
    });
    Ok(batches.boxed())
}

/// Walks over stored batches.
struct Cursor {
    table: Arc<Table>,
    schema: arrow::datatypes::SchemaRef,
    projection: Vec<usize>,
    batch_rows: usize,
    position: u64,
    to: u64,
    batch: usize,
    batch_start: u64,
}

impl Iterator for Cursor {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.position >= self.to {
            return None;
        }
        loop {
            let stored = self.table.batches.get(self.batch)?;
            let end = self.batch_start + stored.batch.num_rows() as u64;
            if self.position < end {
                let rows = (end.min(self.to) - self.position).min(self.batch_rows as u64);
                let slice = stored
                    .batch
                    .project(&self.projection)
                    .map(|batch| {
                        batch.slice((self.position - self.batch_start) as usize, rows as usize)
                    })
                    // The scan's schema is the table's; its own Arc saves later comparisons.
                    .and_then(|batch| batch.with_schema(self.schema.clone()))
                    .map_err(|e| Error::internal(format!("stored columns do not fit: {e}")));
                self.position += rows;
                return Some(slice);
            }
            self.batch_start = end;
            self.batch += 1;
        }
    }
}
