//! Measures a run-time filter on a split's first rows.
//!
//! Testing single rows while reading pays where few pass: the other columns are then decoded for those
//! few only. Where more than a few pass, it costs more than it saves: hardly a page holds none of them, so
//! all pages are decoded anyway, and each row is hashed twice (here and in the join). TPC-H at scale 10: a
//! join's filter that keeps one row in a thousand or fewer makes Q17 and Q18 up to four times as fast; at
//! scale 1, filters that keep two to five in a hundred make Q4 twice and Q9 1.6 times as dear in CPU time,
//! and those that keep half make others 1.3 to 1.8 times as slow. So the first rows decide.

use std::sync::Arc;

use arrow::array::BooleanArray;
use datafusion::physical_expr::expressions::Literal;
use datafusion::physical_expr::utils::{collect_columns, reassign_expr_columns};
use datafusion::physical_expr_common::physical_expr::snapshot_physical_expr;
use datafusion::physical_plan::PhysicalExpr;
use futures::TryStreamExt;
use sluice_spi::Result;

use super::parquet::{ParquetReader, Pass};

/// Above this share of passing rows, rows are tested by the operator above, not here.
const MAX_PASSING: f64 = 0.002;
/// Rows looked at. One batch: sixteen of them is the most that may pass.
const SAMPLE_ROWS: usize = 8_192;
/// With fewer rows in the first piece, the sample costs what it could save.
const MIN_ROWS: u64 = 131_072;

/// True where a filter drops nearly every row, so that it is worth testing rows before decoding them.
pub(super) async fn is_selective(
    reader: &ParquetReader,
    filter: &Arc<dyn PhysicalExpr>,
) -> Result<bool> {
    let scan = reader.scan();
    let Some(piece) = scan.pieces.first() else {
        return Ok(false);
    };
    if piece.rows.is_some_and(|rows| rows < MIN_ROWS) {
        return Ok(false);
    }
    // A join fills its filter in before it first asks its probe side; a top-N much later.
    let Ok(filter) = snapshot_physical_expr(filter.clone()) else {
        return Ok(false);
    };
    if filter.downcast_ref::<Literal>().is_some() {
        return Ok(false);
    }
    let mut columns: Vec<usize> = collect_columns(&filter).iter().map(|c| c.index()).collect();
    columns.sort_unstable();
    // Without further columns there is nothing to save, and partition columns are no rows' business.
    let saves = scan.request.projection.iter().any(|i| !columns.contains(i));
    if columns.is_empty() || !saves || columns.iter().any(|i| *i >= scan.file_columns()) {
        return Ok(false);
    }
    let output = Arc::new(
        scan.request
            .schema
            .project(&columns)
            .map_err(|e| sluice_spi::Error::internal(e.to_string()))?,
    );
    let pass = Pass {
        projection: &columns,
        output: output.clone(),
        predicate: None,
        row_filter: false,
        limit: Some(SAMPLE_ROWS),
    };
    let Some(batch) = reader.pass(0, pass)?.try_next().await? else {
        return Ok(false);
    };
    // A filter that cannot be tested here is no reason to fail: the operator above applies it.
    let passing = reassign_expr_columns(filter, &output)
        .and_then(|filter| filter.evaluate(&batch))
        .and_then(|value| value.into_array(batch.num_rows()))
        .ok()
        .and_then(|array| {
            array
                .as_any()
                .downcast_ref::<BooleanArray>()
                .map(BooleanArray::true_count)
        });
    Ok(passing.is_some_and(|rows| rows as f64 <= MAX_PASSING * batch.num_rows() as f64))
}
