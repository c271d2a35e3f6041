//! Exact statistics, gathered batch by batch while rows are written.

use std::cmp::Ordering;

use arrow::array::{Array, ArrayRef};
use arrow::compute::{SortOptions, sort_to_indices};
use arrow::datatypes::DataType;
use arrow::record_batch::RecordBatch;
use sluice_spi::{ColumnStatistics, Estimate, ScalarValue, TableStatistics};

use crate::store::Table;

/// What is known about a stored batch.
#[derive(Debug)]
pub(crate) struct BatchStatistics {
    columns: Vec<BatchColumn>,
}

#[derive(Debug)]
struct BatchColumn {
    nulls: u64,
    /// Smallest and largest value; `None` where all are NULL, or the type has no order worth keeping.
    range: Option<(ScalarValue, ScalarValue)>,
}

impl BatchStatistics {
    pub(crate) fn of(batch: &RecordBatch) -> Self {
        let column = |array: &ArrayRef| BatchColumn {
            nulls: array.logical_null_count() as u64,
            range: extreme(array, false).zip(extreme(array, true)),
        };
        BatchStatistics {
            columns: batch.columns().iter().map(column).collect(),
        }
    }
}

/// Types whose order is the same everywhere. Floats are left out: their order around NaN and -0.0 is a
/// matter of the operator that asks.
fn has_order(data_type: &DataType) -> bool {
    data_type.is_integer()
        || matches!(
            data_type,
            DataType::Boolean
                | DataType::Decimal128(..)
                | DataType::Decimal256(..)
                | DataType::Date32
                | DataType::Date64
                | DataType::Time32(_)
                | DataType::Time64(_)
                | DataType::Timestamp(..)
                | DataType::Utf8
                | DataType::LargeUtf8
                | DataType::Utf8View
        )
}

fn extreme(array: &ArrayRef, descending: bool) -> Option<ScalarValue> {
    if !has_order(array.data_type()) || array.null_count() == array.len() {
        return None;
    }
    let options = SortOptions {
        descending,
        nulls_first: false,
    };
    let first = sort_to_indices(array, Some(options), Some(1)).ok()?;
    ScalarValue::try_from_array(array, first.values().first().copied()? as usize).ok()
}

/// Statistics of a whole table.
pub(crate) fn table(table: &Table) -> TableStatistics {
    TableStatistics {
        rows: Estimate::Exact(table.rows),
        bytes: Estimate::Exact(table.batches.iter().map(|stored| stored.bytes()).sum()),
        columns: (0..table.columns.fields().len())
            .map(|index| column(table, index))
            .collect(),
    }
}

fn column(table: &Table, index: usize) -> ColumnStatistics {
    let mut known = ColumnStatistics {
        nulls: Estimate::Exact(0),
        ..ColumnStatistics::unknown()
    };
    let mut nulls = 0;
    let mut range: Option<(ScalarValue, ScalarValue)> = None;
    let mut complete = has_order(table.columns.field(index).data_type());
    for stored in &table.batches {
        let Some(column) = stored.statistics.columns.get(index) else {
            return ColumnStatistics::unknown();
        };
        nulls += column.nulls;
        match (&column.range, range.take()) {
            (Some((low, high)), Some((min, max))) => {
                range = Some((
                    if low.partial_cmp(&min) == Some(Ordering::Less) {
                        low.clone()
                    } else {
                        min
                    },
                    if high.partial_cmp(&max) == Some(Ordering::Greater) {
                        high.clone()
                    } else {
                        max
                    },
                ));
            }
            (Some(first), None) => range = Some(first.clone()),
            (None, so_far) => {
                complete &= column.nulls == stored.batch.num_rows() as u64;
                range = so_far;
            }
        }
    }
    known.nulls = Estimate::Exact(nulls);
    if let (true, Some((min, max))) = (complete, range) {
        known.min = Estimate::Exact(min);
        known.max = Estimate::Exact(max);
    }
    known
}
