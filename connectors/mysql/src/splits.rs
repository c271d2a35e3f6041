//! Splits: one for a table, so that one statement reads it as it was at one moment; ranges of the primary
//! key where the catalog's file says that this is not needed (`consistency = "relaxed"`).

use std::sync::Arc;

use async_trait::async_trait;
use mysql_async::{Params, Value};
use serde::{Deserialize, Serialize};
use sluice_spi::{
    Error, Relation, Result, Split, SplitRequest, SplitSource, SqlState, TableHandle,
};

use crate::config::Consistency;
use crate::facts::Facts;
use crate::literal::quote_identifier;
use crate::pool::Source;

/// Keys that a range spans at least: below it, another connection costs more than it saves.
const KEYS_PER_RANGE_MIN: u64 = 50_000;

/// Ranges per connection that may read them: gaps in the keys make ranges of uneven length, and the
/// shorter ones make up for it.
const RANGES_PER_READER: usize = 2;

/// Keys from `low` (included) to `high` (not included); the first and the last range are open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeyRange {
    pub(crate) column: String,
    pub(crate) low: Option<i128>,
    pub(crate) high: Option<i128>,
}

impl KeyRange {
    /// The range of a split; `None` where it is the whole table.
    pub(crate) fn of(split: &Split) -> Result<Option<KeyRange>> {
        if split.payload.is_empty() {
            return Ok(None);
        }
        serde_json::from_slice(&split.payload)
            .map(Some)
            .map_err(|e| Error::internal(format!("a split could not be read: {e}")))
    }

    /// As a condition.
    pub(crate) fn sql(&self) -> Option<String> {
        let column = quote_identifier(&self.column)?;
        Some(match (self.low, self.high) {
            (Some(low), Some(high)) => format!("{column} >= {low} AND {column} < {high}"),
            (Some(low), None) => format!("{column} >= {low}"),
            (None, Some(high)) => format!("{column} < {high}"),
            (None, None) => "1 = 1".to_owned(),
        })
    }
}

/// Cuts the catalog's tables.
pub(crate) struct TableSplits {
    pub(crate) source: Arc<Source>,
}

#[async_trait]
impl SplitSource for TableSplits {
    async fn splits(&self, handle: &TableHandle, request: &SplitRequest) -> Result<Vec<Split>> {
        let label = handle.relation.to_string();
        let relaxed = self.source.reading.consistency == Consistency::Relaxed;
        let readers = request.parallelism.min(self.source.max_connections());
        let leaves = handle.relation.leaves();
        let [Relation::Scan { schema, table, .. }] = leaves.as_slice() else {
            return Ok(vec![whole(label)]);
        };
        // Nothing is asked for small answers.
        if !relaxed || readers < 2 || request.limit.is_some() || !handle.relation.is_plain() {
            return Ok(vec![whole(label)]);
        }
        let Some(column) = Facts::of(handle)?.split_by else {
            return Ok(vec![whole(label)]);
        };
        let Some((least, greatest)) = self.bounds(schema, table, &column).await? else {
            return Ok(vec![whole(label)]);
        };
        Ok(
            ranges(&column, least, greatest, readers * RANGES_PER_READER)
                .into_iter()
                .map(|range| {
                    let label = match range.sql() {
                        Some(sql) => format!("{label} where {sql}"),
                        None => label.clone(),
                    };
                    let payload = serde_json::to_vec(&range).map_err(|e| {
                        Error::internal(format!("a split could not be written: {e}"))
                    })?;
                    Ok(Split {
                        payload,
                        rows: None,
                        bytes: None,
                        label,
                    })
                })
                .collect::<Result<Vec<_>>>()?,
        )
    }
}

impl TableSplits {
    /// The least and the greatest key: two probes of its index.
    async fn bounds(
        &self,
        schema: &str,
        table: &str,
        column: &str,
    ) -> Result<Option<(i128, i128)>> {
        let quoted = |name: &str| {
            quote_identifier(name).ok_or_else(|| {
                Error::new(
                    SqlState::UNDEFINED_TABLE,
                    format!("\"{name}\" is not a name"),
                )
            })
        };
        let sql = format!(
            "SELECT min({column}), max({column}) FROM {}.{}",
            quoted(schema)?,
            quoted(table)?,
            column = quoted(column)?,
        );
        let answers = self.source.ask(&[(&sql, Params::Empty)]).await?;
        let row = answers.rows.first().and_then(|rows| rows.first());
        let value = |index| match row?.as_ref(index)? {
            Value::Int(value) => Some(i128::from(*value)),
            Value::UInt(value) => Some(i128::from(*value)),
            _ => None,
        };
        Ok(value(0).zip(value(1)))
    }
}

fn whole(label: String) -> Split {
    Split {
        payload: Vec::new(),
        rows: None,
        bytes: None,
        label,
    }
}

/// Ranges of equal width that cover all keys, whatever is inserted meanwhile.
fn ranges(column: &str, least: i128, greatest: i128, wanted: usize) -> Vec<KeyRange> {
    let span = u128::try_from(greatest - least).unwrap_or(0) + 1;
    let most = span / u128::from(KEYS_PER_RANGE_MIN);
    let count = most.clamp(1, wanted.max(1) as u128);
    let width = span.div_ceil(count);
    let bound = |index: u128| least + i128::try_from(index * width).unwrap_or(i128::MAX / 2);
    (0..count)
        .map(|index| KeyRange {
            column: column.to_owned(),
            low: (index > 0).then(|| bound(index)),
            high: (index + 1 < count).then(|| bound(index + 1)),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_cover_every_key_once() {
        for (least, greatest, wanted) in [
            (1, 1_000_000, 8),
            (i128::from(i64::MIN), i128::from(i64::MAX), 7),
            (0, i128::from(u64::MAX), 3),
            (5, 5, 4),
        ] {
            let ranges = ranges("id", least, greatest, wanted);
            assert!(ranges.len() <= wanted);
            assert_eq!((ranges[0].low, ranges[ranges.len() - 1].high), (None, None));
            for pair in ranges.windows(2) {
                assert_eq!(pair[0].high, pair[1].low);
                assert!(pair[0].high.is_some());
            }
        }
        assert_eq!(ranges("id", 1, 10, 8).len(), 1, "too few keys to cut");
    }

    #[test]
    fn a_range_is_a_condition() {
        let range = KeyRange {
            column: "i`d".into(),
            low: Some(-5),
            high: Some(7),
        };
        assert_eq!(range.sql().as_deref(), Some("`i``d` >= -5 AND `i``d` < 7"));
    }
}
