//! How many keys of a column are worth looking up.

use std::collections::BTreeMap;

use datafusion::common::Statistics;
use sluice_spi::{JoinMethod, Pushdown};

/// A look-up takes a source as long as it takes to read so many rows one after the other and to send them.
const LOOK_UP_ROWS: f64 = 3.0;

/// Keys of a column (by its index) beyond which a scan is faster without them, since the source would look each
/// one up. `whole` gives the statistics of the table, of which `rows` are left after its filters; only a source that
/// looks up is asked for them. A column that is not here has no such limit.
pub(crate) fn key_limits(
    pushdown: Option<&dyn Pushdown>,
    whole: impl FnOnce() -> Statistics,
    rows: Option<usize>,
) -> BTreeMap<usize, usize> {
    let looks_up = pushdown.is_some_and(|p| p.join_method() == JoinMethod::NestedLoop);
    let (true, Some(rows)) = (looks_up, rows) else {
        return BTreeMap::new();
    };
    let whole = whole();
    let Some(all) = whole.num_rows.get_value() else {
        return BTreeMap::new();
    };
    let columns = whole.column_statistics.iter().enumerate();
    columns
        .filter_map(|(index, column)| {
            let distinct = *column.distinct_count.get_value()?;
            // The filters are only tested on rows that were looked up.
            let rows_of_key = *all as f64 / distinct.max(1) as f64;
            let limit = rows as f64 / (rows_of_key.max(1.0) * LOOK_UP_ROWS);
            Some((index, limit as usize))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field, Schema};
    use datafusion::common::stats::Precision;

    use super::*;
    use crate::keys::tests::Takes;

    #[test]
    fn a_source_that_looks_up_is_not_sent_more_keys_than_pay() {
        let schema = Schema::new(vec![
            Field::new("customer", DataType::Int64, true),
            Field::new("comment", DataType::Utf8, true),
        ]);
        let mut orders = Statistics::new_unknown(&schema);
        orders.num_rows = Precision::Inexact(1_500_000);
        orders.column_statistics[0].distinct_count = Precision::Inexact(100_000);
        let (looks_up, hashes) = (Takes(JoinMethod::NestedLoop), Takes(JoinMethod::Hash));
        let all = key_limits(Some(&looks_up), || orders.clone(), Some(1_500_000));
        assert_eq!(all, BTreeMap::from([(0, 33_333)]));
        let filtered = key_limits(Some(&looks_up), || orders.clone(), Some(20_000));
        assert_eq!(filtered, BTreeMap::from([(0, 444)]));
        assert!(key_limits(Some(&hashes), || orders.clone(), Some(20_000)).is_empty());
        assert!(key_limits(Some(&looks_up), || orders.clone(), None).is_empty());
    }
}
