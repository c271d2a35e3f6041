//! Statistics: the server planner's own estimate of rows, and `pg_stats` of the columns.
//!
//! All of it is an estimate ([`Estimate::About`]); nothing here may decide what is in a result.

use std::collections::HashMap;

use arrow::datatypes::DataType;
use sluice_spi::{
    ColumnStatistics, Estimate, Relation, Result, ScalarValue, TableMetadata, TableStatistics,
};
use tokio_postgres::SimpleQueryMessage;

use crate::facts::Facts;
use crate::metadata::ask;
use crate::pool::Source;
use crate::render::{Constants, select};

/// Columns of table $2 in schema $1. The histogram leaves out the most common values, so the extremes
/// are looked for in both. Wide values are no use as bounds.
const COLUMNS: &str = "\
SELECT DISTINCT ON (attname) attname::text, null_frac, n_distinct, avg_width,
       CASE WHEN avg_width <= 32 THEN
         coalesce(most_common_vals::text::text[], '{}') ||
         coalesce((histogram_bounds::text::text[])[1:1], '{}') ||
         coalesce((histogram_bounds::text::text[])[pg_catalog.cardinality(histogram_bounds::text::text[]):], '{}')
       ELSE '{}' END
FROM pg_catalog.pg_stats WHERE schemaname = $1::text AND tablename = $2::text
ORDER BY attname, inherited DESC";

/// Statistics of a table, or of a native statement as far as the planner knows.
pub(crate) async fn of(source: &Source, table: &TableMetadata) -> Result<TableStatistics> {
    let handle = &table.handle;
    let facts = Facts::of(handle)?;
    let all: Vec<usize> = (0..facts.columns.len()).collect();
    // A table without columns is counted, which EXPLAIN takes for one row.
    let Some(scan) =
        select(&handle.relation, &facts, &all, None, Constants::Inline).filter(|_| !all.is_empty())
    else {
        return Ok(TableStatistics::unknown());
    };
    let explain = format!("EXPLAIN (FORMAT JSON) {}", scan.text);
    let is_table = matches!(handle.relation, Relation::Scan { .. });
    let explain = explain.as_str();
    let (plan, columns) = ask(source, |client| async move {
        let plan = client.simple_query(explain);
        let columns = async {
            match is_table {
                true => {
                    client
                        .query(
                            &client.prepare_cached(COLUMNS).await?,
                            &[&table.schema, &table.name],
                        )
                        .await
                }
                false => Ok(Vec::new()),
            }
        };
        futures::try_join!(plan, columns)
    })
    .await?;

    let plan: String = plan
        .iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0),
            _ => None,
        })
        .collect();
    let Some((rows, width)) = planned_rows(&plan) else {
        return Ok(TableStatistics::unknown());
    };

    let mut by_name = HashMap::new();
    for row in &columns {
        let name: String = row.get(0);
        let (null_fraction, distinct): (f32, f32) = (row.get(1), row.get(2));
        let samples: Vec<Option<String>> = row.get(4);
        by_name.insert(
            name,
            (f64::from(null_fraction), f64::from(distinct), samples),
        );
    }
    let columns = table
        .columns
        .iter()
        .map(|column| match by_name.remove(column.field.name()) {
            None => ColumnStatistics::unknown(),
            Some((null_fraction, distinct, samples)) => {
                let (min, max) = bounds(&samples, column.field.data_type());
                ColumnStatistics {
                    nulls: Estimate::About((rows * null_fraction) as u64),
                    // Negative: a share of the rows, for columns that grow with the table.
                    distinct: match distinct {
                        0.0 => Estimate::Unknown,
                        share if share < 0.0 => Estimate::About((-share * rows) as u64),
                        count => Estimate::About(count as u64),
                    },
                    min,
                    max,
                }
            }
        })
        .collect();
    Ok(TableStatistics {
        rows: Estimate::About(rows as u64),
        bytes: Estimate::About((rows * width) as u64),
        columns,
    })
}

/// Rows and bytes per row of the plan's top node.
fn planned_rows(plan: &str) -> Option<(f64, f64)> {
    let json: serde_json::Value = serde_json::from_str(plan).ok()?;
    let top = json.get(0)?.get("Plan")?;
    Some((
        top.get("Plan Rows")?.as_f64()?,
        top.get("Plan Width")?.as_f64()?,
    ))
}

/// The least and the greatest of the sampled values. Text is left out: its order there is the locale's.
fn bounds(
    samples: &[Option<String>],
    data_type: &DataType,
) -> (Estimate<ScalarValue>, Estimate<ScalarValue>) {
    let ordered =
        data_type.is_numeric() || matches!(data_type, DataType::Date32 | DataType::Timestamp(..));
    if !ordered {
        return (Estimate::Unknown, Estimate::Unknown);
    }
    let values: Vec<ScalarValue> = samples
        .iter()
        .flatten()
        .filter_map(|text| ScalarValue::try_from_string(text.clone(), data_type).ok())
        .filter(|value| !value.is_null())
        .collect();
    let pick = |wanted: std::cmp::Ordering| {
        values
            .iter()
            .cloned()
            .reduce(|best, value| {
                if value.partial_cmp(&best) == Some(wanted) {
                    value
                } else {
                    best
                }
            })
            .map_or(Estimate::Unknown, Estimate::About)
    };
    (
        pick(std::cmp::Ordering::Less),
        pick(std::cmp::Ordering::Greater),
    )
}
