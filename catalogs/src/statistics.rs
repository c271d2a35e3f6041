//! A source's statistics in the engine's terms.
//!
//! They come from a cache, so the engine is never told that a figure is exact: it would answer
//! `count(*)` from it.

use arrow::datatypes::Schema;
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, Statistics};
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
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

/// The share of rows that a bound keeps, where nothing is known of the column; PostgreSQL guesses the same.
const BOUND_KEEPS: f64 = 1.0 / 3.0;

/// Takes out the bounds (`column < constant` and the like) on columns whose extremes are not known, which the engine
/// would estimate to keep every row; says what share of the rows they keep together.
pub(crate) fn split_guessed(
    filters: Vec<Expr>,
    schema: &Schema,
    whole: &Statistics,
) -> (Vec<Expr>, f64) {
    let is_unknown = |filter: &Expr| {
        let Expr::BinaryExpr(BinaryExpr { left, op, right }) = filter else {
            return false;
        };
        let column = match (left.as_ref(), right.as_ref()) {
            (Expr::Column(column), Expr::Literal(..))
            | (Expr::Literal(..), Expr::Column(column)) => column,
            _ => return false,
        };
        let known = schema
            .index_of(&column.name)
            .ok()
            .and_then(|index| whole.column_statistics.get(index));
        matches!(
            op,
            Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq
        ) && known.is_some_and(|column| {
            column.min_value.get_value().is_none() || column.max_value.get_value().is_none()
        })
    };
    let (guessed, known): (Vec<Expr>, Vec<Expr>) = filters.into_iter().partition(is_unknown);
    (known, BOUND_KEEPS.powi(guessed.len() as i32))
}

/// The statistics with a share of the rows.
pub(crate) fn thinned(mut statistics: Statistics, share: f64) -> Statistics {
    if share < 1.0 {
        let of =
            |figure: Precision<usize>| figure.map(|figure| (figure as f64 * share).ceil() as usize);
        statistics.num_rows = of(statistics.num_rows);
        statistics.total_byte_size = of(statistics.total_byte_size);
        for column in &mut statistics.column_statistics {
            column.null_count = of(column.null_count);
            column.distinct_count = column.distinct_count.min(&statistics.num_rows);
        }
    }
    statistics
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
