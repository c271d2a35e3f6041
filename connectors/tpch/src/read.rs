//! Pieces of tables, and the streams that generate them.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use futures::StreamExt;
use futures::stream;
use serde::{Deserialize, Serialize};
use sluice_spi::{BatchStream, Error, ReadRequest, Result, ScanMetrics, Split};
use tpchgen::text::TextPool;

use crate::column::ColumnSource;
use crate::scale::Scale;
use crate::tables::{Piece, Table};

/// A piece has at least so many units (rows; orders for `lineitem`): starting a task for fewer costs
/// more than generating them.
const PIECE_UNITS_MIN: u64 = 4_096;

/// A piece has at most so many units, so that tasks that run out of work find some: a second or less.
const PIECE_UNITS_MAX: u64 = 250_000;

/// What a split says on the wire.
#[derive(Debug, Serialize, Deserialize)]
struct SplitPayload {
    index: i32,
    count: i32,
}

/// Cuts a table into pieces of equal size.
pub(crate) fn splits(table: Table, scale: Scale, parallelism: usize) -> Result<Vec<Split>> {
    let units = table.units(scale);
    let enough = units.div_ceil(PIECE_UNITS_MAX).max(parallelism as u64);
    // At SCALE_MAX this is 600,000.
    let count = i32::try_from(enough.min(units / PIECE_UNITS_MIN).max(1))
        .map_err(|_| Error::internal("too many pieces"))?;
    let rows_per_unit = match crate::statistics::rows(table, scale) {
        sluice_spi::Estimate::Exact(rows) | sluice_spi::Estimate::About(rows) => {
            rows as f64 / units as f64
        }
        sluice_spi::Estimate::Unknown => 1.0,
    };
    let row_bytes: u64 = table
        .columns()
        .iter()
        .map(|(_, kind)| kind.bytes_per_value())
        .sum();
    (0..count)
        .map(|index| {
            let rest = if index + 1 == count {
                units % count as u64
            } else {
                0
            };
            let rows = ((units / count as u64 + rest) as f64 * rows_per_unit) as u64;
            let payload = serde_json::to_vec(&SplitPayload { index, count })
                .map_err(|e| Error::internal(format!("could not write a split: {e}")))?;
            Ok(Split {
                payload,
                rows: Some(rows),
                bytes: Some(rows * row_bytes),
                label: format!("{} part {} of {count}", table.name(), index + 1),
            })
        })
        .collect()
}

/// Reads what [`splits`] wrote.
pub(crate) fn piece(split: &Split, scale: Scale) -> Result<Piece> {
    let payload: SplitPayload = serde_json::from_slice(&split.payload)
        .map_err(|e| Error::internal(format!("split of another build: {e}")))?;
    if payload.index < 0 || payload.index >= payload.count {
        return Err(Error::internal("split outside of its table"));
    }
    Ok(Piece {
        scale,
        index: payload.index,
        count: payload.count,
    })
}

/// The rows of a piece.
pub(crate) fn stream(table: Table, piece: Piece, request: &ReadRequest) -> Result<BatchStream> {
    let limit = request.limit.unwrap_or(usize::MAX);
    let batch_rows = request.batch_rows.max(1);
    let schema = request.projected_schema()?;
    if request.projection.is_empty() {
        return Ok(counts(table, piece, schema, limit, batch_rows));
    }
    let state = Generation {
        table,
        piece,
        projection: request.projection.clone(),
        schema,
        left: limit,
        batch_rows,
        metrics: request.metrics.clone(),
        source: None,
    };
    Ok(stream::try_unfold(state, Generation::next).boxed())
}

/// Batches without columns, counted and not generated.
fn counts(
    table: Table,
    piece: Piece,
    schema: SchemaRef,
    limit: usize,
    batch_rows: usize,
) -> BatchStream {
    stream::once(async move { table.rows_of(piece).min(limit as u64) as usize })
        .flat_map(move |rows| {
            let schema = schema.clone();
            let sizes =
                (0..rows.div_ceil(batch_rows)).map(move |i| batch_rows.min(rows - i * batch_rows));
            stream::iter(sizes.map(move |size| batch(schema.clone(), Vec::new(), size)))
        })
        .boxed()
}

fn batch(
    schema: SchemaRef,
    columns: Vec<arrow::array::ArrayRef>,
    rows: usize,
) -> Result<RecordBatch> {
    RecordBatch::try_new_with_options(
        schema,
        columns,
        &RecordBatchOptions::new().with_row_count(Some(rows)),
    )
    .map_err(|e| Error::internal(format!("generated columns do not fit: {e}")))
}

/// A stream in flight.
struct Generation {
    table: Table,
    piece: Piece,
    projection: Vec<usize>,
    schema: SchemaRef,
    left: usize,
    batch_rows: usize,
    metrics: Arc<dyn ScanMetrics>,
    source: Option<Box<dyn ColumnSource>>,
}

impl Generation {
    async fn next(mut self) -> Result<Option<(RecordBatch, Self)>> {
        if self.left == 0 {
            return Ok(None);
        }
        let mut source = match self.source.take() {
            Some(source) => source,
            None => {
                if self.table.needs_text(&self.projection) {
                    // Once per process, a second of work. It belongs to no query: the next one has it too.
                    tokio::task::spawn_blocking(|| TextPool::get_or_init_default().size())
                        .await
                        .map_err(|e| {
                            Error::internal(format!("could not make the text pool: {e}"))
                        })?;
                }
                self.table.open(self.piece, &self.projection)?
            }
        };
        // Generating never waits, so it says itself when others should run.
        tokio::task::consume_budget().await;
        let (rows, columns) = source.next(self.batch_rows.min(self.left))?;
        if rows == 0 {
            return Ok(None);
        }
        self.left -= rows;
        self.source = Some(source);
        let batch = batch(self.schema.clone(), columns, rows)?;
        self.metrics.add_source_bytes(batch.get_array_memory_size());
        Ok(Some((batch, self)))
    }
}
