//! Statistics: the server planner's own estimate of rows, and `pg_stats` of the columns.
//!
//! All of it is an estimate ([`Estimate::About`]); nothing here may decide what is in a result.

use std::collections::HashMap;

use arrow::datatypes::DataType;
use sluice_spi::{
    ColumnStatistics, Estimate, Relation, Result, ScalarValue, TableMetadata, TableStatistics,
};

use tokio_postgres::types::ToSql;

use crate::facts::Facts;
use crate::literal::quote_identifier;
use crate::metadata::ask;
use crate::pool::Source;
use crate::source_plan;
use crate::splits::text_of;

/// Columns of table $2 in schema $1 and of its children, which is all there is of a partitioned table that
/// nobody analyzed by its own name (the server does not by itself). The histogram leaves out the most common
/// values, so the extremes are looked for in both. Wide values are no use as bounds.
const COLUMNS: &str = "\
WITH RECURSIVE family (oid, top) AS (
    SELECT c.oid, true FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = $1::text AND c.relname = $2::text
    UNION
    SELECT i.inhrelid, false FROM family JOIN pg_catalog.pg_inherits i ON i.inhparent = family.oid
)
SELECT s.attname::text, s.null_frac, s.n_distinct,
       CASE WHEN s.avg_width <= 32 THEN
         coalesce(s.most_common_vals::text::text[], '{}') ||
         coalesce((s.histogram_bounds::text::text[])[1:1], '{}') ||
         coalesce((s.histogram_bounds::text::text[])[pg_catalog.cardinality(s.histogram_bounds::text::text[]):], '{}')
       ELSE '{}' END,
       greatest(c.reltuples, 0)::float8, family.top, s.inherited
FROM family JOIN pg_catalog.pg_class c ON c.oid = family.oid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_stats s ON s.schemaname = n.nspname AND s.tablename = c.relname
WHERE family.top OR NOT s.inherited";

/// Whether the server would analyze table $2 of schema $1 for this role; it only warns where it would not. A
/// standby cannot, a view has no rows, and whether a foreign table has statistics is its wrapper's affair.
const MAY_ANALYZE: &str = "\
SELECT c.relkind IN ('r', 'p', 'm') AND NOT pg_catalog.pg_is_in_recovery()
       AND (pg_catalog.pg_has_role(c.relowner, 'USAGE') OR pg_catalog.pg_has_role(d.datdba, 'USAGE')
            OR CASE WHEN pg_catalog.current_setting('server_version_num')::int >= 170000
                    THEN pg_catalog.has_table_privilege(c.oid, 'MAINTAIN') ELSE false END)
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_database d ON d.datname = pg_catalog.current_database()
WHERE n.nspname = $1::text AND c.relname = $2::text";

/// What `pg_stats` says of one column of one relation.
struct Known {
    null_fraction: f64,
    /// Negative: a share of the rows, for columns that grow with the table.
    distinct: f64,
    samples: Vec<Option<String>>,
    /// Rows of the relation.
    rows: f64,
    /// Of the table itself.
    top: bool,
    /// Of the table with all of its children.
    inherited: bool,
}

impl Known {
    /// Distinct values among `rows`; `None` where the server does not know.
    fn distinct_of(&self, rows: f64) -> Option<f64> {
        match self.distinct {
            0.0 => None,
            share if share < 0.0 => Some(-share * rows),
            count => Some(count),
        }
    }
}

/// Statistics of a table, or of a native statement as far as the planner knows.
pub(crate) async fn of(source: &Source, table: &TableMetadata) -> Result<TableStatistics> {
    let handle = &table.handle;
    let facts = Facts::of(handle)?;
    let Some(explain) = source_plan::question(handle, &facts) else {
        return Ok(TableStatistics::unknown());
    };
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

    let Some(plan) = source_plan::answer(&text_of(&plan)) else {
        return Ok(TableStatistics::unknown());
    };
    let (rows, width) = (plan.rows, plan.width);

    let mut by_name: HashMap<String, Vec<Known>> = HashMap::new();
    for row in &columns {
        let (null_fraction, distinct): (f32, f32) = (row.get(1), row.get(2));
        by_name.entry(row.get(0)).or_default().push(Known {
            null_fraction: f64::from(null_fraction),
            distinct: f64::from(distinct),
            samples: row.get(3),
            rows: row.get(4),
            top: row.get(5),
            inherited: row.get(6),
        });
    }
    let columns = table
        .columns
        .iter()
        .map(|column| match by_name.remove(column.field.name()) {
            None => ColumnStatistics::unknown(),
            Some(known) => of_column(known, rows, column.field.data_type()),
        })
        .collect();
    Ok(TableStatistics {
        rows: Estimate::About(rows as u64),
        bytes: Estimate::About((rows * width) as u64),
        columns,
    })
}

/// Has the server analyze a table, where it may. A read-only session may ask for it: no row changes.
pub(crate) async fn analyze(source: &Source, table: &TableMetadata) -> Result<bool> {
    let (Some(schema), Some(name)) = (
        quote_identifier(&table.schema),
        quote_identifier(&table.name),
    ) else {
        return Ok(false);
    };
    let statement = format!("ANALYZE {schema}.{name}");
    let statement = statement.as_str();
    ask(source, |client| async move {
        let may = client.prepare_cached(MAY_ANALYZE).await?;
        let names: &[&(dyn ToSql + Sync)] = &[&table.schema, &table.name];
        let may = match client.query_opt(&may, names).await? {
            Some(row) => row.try_get(0)?,
            None => false,
        };
        if may {
            client.batch_execute(statement).await?;
        }
        Ok(may)
    })
    .await
}

/// What is known of a column in a table of `rows` rows: of the whole family at once where the server has
/// that, else summed up over its members.
fn of_column(mut known: Vec<Known>, rows: f64, data_type: &DataType) -> ColumnStatistics {
    if let Some(whole) = known.iter().position(|one| one.inherited) {
        known = vec![known.swap_remove(whole)];
    }
    let (nulls, distinct) = match known.as_slice() {
        [only] if only.top || only.inherited => (rows * only.null_fraction, only.distinct_of(rows)),
        members => {
            let counted: f64 = members.iter().map(|one| one.rows).sum();
            let nulls: f64 = members.iter().map(|one| one.rows * one.null_fraction).sum();
            let fraction = if counted > 0.0 { nulls / counted } else { 0.0 };
            (rows * fraction, distinct_over(members))
        }
    };
    let samples: Vec<Option<String>> = known.into_iter().flat_map(|one| one.samples).collect();
    let (min, max) = bounds(&samples, data_type);
    ColumnStatistics {
        nulls: Estimate::About(nulls as u64),
        distinct: distinct.map_or(Estimate::Unknown, |count| Estimate::About(count as u64)),
        min,
        max,
    }
}

/// Distinct values over several relations: their sum where each column grows with its table, like a key, and
/// those of the largest where the values repeat everywhere.
fn distinct_over(members: &[Known]) -> Option<f64> {
    let counts = members
        .iter()
        .map(|one| one.distinct_of(one.rows))
        .collect::<Option<Vec<f64>>>()?;
    Some(if members.iter().all(|one| one.distinct < 0.0) {
        counts.iter().sum()
    } else {
        counts.iter().copied().fold(0.0, f64::max)
    })
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
