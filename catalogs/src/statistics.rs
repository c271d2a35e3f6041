//! A source's statistics in the engine's terms.
//!
//! They come from a cache, so the engine is never told that a figure is exact: it would answer
//! `count(*)` from it.

use arrow::datatypes::Schema;
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, Statistics};
use sluice_spi::{Estimate, TableStatistics};

/// The engine's statistics of a whole table.
pub(crate) fn to_engine(table: &TableStatistics, schema: &Schema) -> Statistics {
    let mut statistics = Statistics::new_unknown(schema);
    statistics.num_rows = precision(&table.rows, |rows| usize::try_from(*rows).ok());
    statistics.total_byte_size = precision(&table.bytes, |bytes| usize::try_from(*bytes).ok());
    for (column, known) in statistics.column_statistics.iter_mut().zip(&table.columns) {
        *column = ColumnStatistics::new_unknown()
            .with_null_count(precision(&known.nulls, |n| usize::try_from(*n).ok()))
            .with_distinct_count(precision(&known.distinct, |n| usize::try_from(*n).ok()))
            .with_min_value(precision(&known.min, |v| Some(v.clone())))
            .with_max_value(precision(&known.max, |v| Some(v.clone())));
    }
    if matches!(statistics.total_byte_size, Precision::Absent) {
        statistics.calculate_total_byte_size(schema);
    }
    statistics.to_inexact()
}

/// The statistics of some of a table's columns.
pub(crate) fn project(table: Statistics, schema: &Schema, projection: &[usize]) -> Statistics {
    /// Rows with text as long as this are dear to copy to every worker, however few they are.
    const WIDE_ROW_BYTES: usize = 256;
    let (mut fixed, mut all_fixed, mut texts, mut texts_taken) = (0, 0, 0, 0);
    for (i, field) in schema.fields().iter().enumerate() {
        let times = projection.iter().filter(|at| **at == i).count();
        match field.data_type().primitive_width() {
            Some(width) => {
                fixed += width * times;
                all_fixed += width;
            }
            None => {
                texts += 1;
                texts_taken += times;
            }
        }
    }
    let rows = table.num_rows;
    let row_bytes = match (
        texts_taken,
        table.total_byte_size.get_value(),
        rows.get_value(),
    ) {
        (0, ..) => Some(fixed),
        // What fixed widths leave of the table's size, shared evenly by the columns of any width.
        (_, Some(bytes), Some(rows)) => {
            let text = (bytes / (*rows).max(1)).saturating_sub(all_fixed) / texts;
            Some(fixed + text * texts_taken).filter(|bytes| *bytes >= WIDE_ROW_BYTES)
        }
        _ => None,
    };
    let mut projected = table.project(Some(&projection));
    // Without a size, the engine chooses its joins by rows, which is the better guide where text is short.
    projected.total_byte_size = row_bytes.map_or(Precision::Absent, |bytes| {
        rows.multiply(&Precision::Exact(bytes))
    });
    projected.to_inexact()
}

fn precision<A, B>(estimate: &Estimate<A>, convert: impl Fn(&A) -> Option<B>) -> Precision<B>
where
    B: std::fmt::Debug + Clone + PartialEq + Eq + PartialOrd,
{
    match estimate {
        Estimate::Exact(value) | Estimate::About(value) => {
            convert(value).map_or(Precision::Absent, Precision::Inexact)
        }
        Estimate::Unknown => Precision::Absent,
    }
}
