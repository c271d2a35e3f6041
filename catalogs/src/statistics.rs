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
