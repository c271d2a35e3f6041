//! Statistics: the server's own estimate of rows, the cardinality of its indexes, and histograms where
//! there are some (MariaDB: `mysql.column_stats`; MySQL 8: `information_schema.column_statistics`).
//!
//! All of it is an estimate ([`Estimate::About`]); nothing here may decide what is in a result.

use std::collections::HashMap;

use arrow::datatypes::DataType;
use mysql_async::{Params, Row, Value};
use sluice_spi::{
    ColumnStatistics, Estimate, Relation, Result, ScalarValue, TableMetadata, TableStatistics,
};

use crate::catalog_sql::{number, text};
use crate::pool::Source;

const TABLE: &str = "\
SELECT TABLE_ROWS, DATA_LENGTH FROM information_schema.TABLES
WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? AND TABLE_TYPE <> 'VIEW'";

/// Cardinality of the first column of each index.
const INDEXES: &str = "\
SELECT COLUMN_NAME, max(CARDINALITY) FROM information_schema.STATISTICS
WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? AND SEQ_IN_INDEX = 1 AND SUB_PART IS NULL
GROUP BY COLUMN_NAME";

const MARIADB: &str = "\
SELECT column_name, nulls_ratio, avg_frequency, min_value, max_value FROM mysql.column_stats
WHERE db_name = ? AND table_name = ?";

const MYSQL: &str = "\
SELECT COLUMN_NAME, HISTOGRAM FROM information_schema.COLUMN_STATISTICS
WHERE SCHEMA_NAME = ? AND TABLE_NAME = ?";

/// What a histogram says of a column.
#[derive(Debug, Default, Clone, PartialEq)]
struct Histogram {
    /// Share of the rows.
    nulls: Option<f64>,
    distinct: Option<f64>,
    least: Option<String>,
    greatest: Option<String>,
}

/// Statistics of a table. Views and native statements have none.
pub(crate) async fn of(source: &Source, table: &TableMetadata) -> Result<TableStatistics> {
    let Relation::Scan {
        schema,
        table: name,
        ..
    } = &table.handle.relation
    else {
        return Ok(TableStatistics::unknown());
    };
    let names: Params = (schema.as_str(), name.as_str()).into();
    let answers = source
        .ask(&[(TABLE, names.clone()), (INDEXES, names.clone())])
        .await?;
    let [about, indexes] = answers.rows.as_slice() else {
        return Ok(TableStatistics::unknown());
    };
    let Some(rows) = about.first().and_then(|row| number(row, 0)) else {
        return Ok(TableStatistics::unknown());
    };
    let bytes = about.first().and_then(|row| number(row, 1));
    let indexes: HashMap<String, u64> = indexes
        .iter()
        .filter_map(|row| Some((text(row, 0)?, number(row, 1)?)))
        .collect();
    let histograms = histograms(source, answers.version, names, rows as f64).await;

    let columns = table
        .columns
        .iter()
        .map(|column| {
            let name = column.field.name();
            let histogram = histograms.get(name).cloned().unwrap_or_default();
            let distinct = indexes
                .get(name)
                .copied()
                .or(histogram.distinct.map(|count| count as u64));
            let data_type = column.field.data_type();
            ColumnStatistics {
                nulls: match histogram.nulls {
                    Some(share) => Estimate::About((share * rows as f64) as u64),
                    None if !column.field.is_nullable() => Estimate::About(0),
                    None => Estimate::Unknown,
                },
                // An index counts NULL as a value, and may count before the rows do.
                distinct: distinct
                    .map_or(Estimate::Unknown, |count| Estimate::About(count.min(rows))),
                min: bound(histogram.least, data_type),
                max: bound(histogram.greatest, data_type),
            }
        })
        .collect();
    Ok(TableStatistics {
        rows: Estimate::About(rows),
        bytes: bytes.map_or(Estimate::Unknown, Estimate::About),
        columns,
    })
}

/// Histograms by column. A user who may not read them does without.
async fn histograms(
    source: &Source,
    version: crate::version::Version,
    names: Params,
    rows: f64,
) -> HashMap<String, Histogram> {
    let sql = if version.has_column_stats() {
        MARIADB
    } else if version.has_histograms() {
        MYSQL
    } else {
        return HashMap::new();
    };
    let answers = match source.ask(&[(sql, names)]).await {
        Ok(answers) => answers,
        Err(error) => {
            tracing::debug!(%error, "a MySQL source's histograms cannot be read");
            return HashMap::new();
        }
    };
    answers
        .rows
        .iter()
        .flatten()
        .filter_map(|row| {
            let histogram = match sql {
                MARIADB => of_mariadb(row, rows),
                _ => of_mysql(&text(row, 1)?)?,
            };
            Some((text(row, 0)?, histogram))
        })
        .collect()
}

fn of_mariadb(row: &Row, rows: f64) -> Histogram {
    let nulls = float(row, 1);
    let frequency = float(row, 2).filter(|rows_per_value| *rows_per_value > 0.0);
    Histogram {
        nulls,
        distinct: frequency.map(|frequency| rows * (1.0 - nulls.unwrap_or(0.0)) / frequency),
        least: text(row, 3),
        greatest: text(row, 4),
    }
}

/// The JSON of MySQL 8: buckets `[value, share]` (singleton) or `[least, greatest, share, distinct]`.
fn of_mysql(json: &str) -> Option<Histogram> {
    let json: serde_json::Value = serde_json::from_str(json).ok()?;
    let buckets = json.get("buckets")?.as_array()?;
    let printed = |value: &serde_json::Value| match value {
        serde_json::Value::String(text) => Some(text.clone()),
        serde_json::Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let (first, last) = (buckets.first()?.as_array()?, buckets.last()?.as_array()?);
    let is_singleton = first.len() == 2;
    let distinct = if is_singleton {
        buckets.len() as f64
    } else {
        buckets
            .iter()
            .filter_map(|bucket| bucket.get(3)?.as_f64())
            .sum()
    };
    Some(Histogram {
        nulls: json.get("null-values").and_then(serde_json::Value::as_f64),
        distinct: Some(distinct),
        least: printed(first.first()?),
        greatest: printed(last.get(usize::from(!is_singleton))?),
    })
}

fn float(row: &Row, index: usize) -> Option<f64> {
    match row.as_ref(index)? {
        Value::Bytes(bytes) => std::str::from_utf8(bytes).ok()?.parse().ok(),
        Value::Double(value) => Some(*value),
        Value::Float(value) => Some(f64::from(*value)),
        Value::Int(value) => Some(*value as f64),
        _ => None,
    }
}

/// A bound in the column's type. Text is left out: its order there is the collation's.
fn bound(text: Option<String>, data_type: &DataType) -> Estimate<ScalarValue> {
    let ordered =
        data_type.is_numeric() || matches!(data_type, DataType::Date32 | DataType::Timestamp(..));
    text.filter(|_| ordered)
        .and_then(|text| ScalarValue::try_from_string(text, data_type).ok())
        .filter(|value| !value.is_null())
        .map_or(Estimate::Unknown, Estimate::About)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histograms_of_mysql_are_read() {
        let singleton = r#"{"buckets": [[1, 0.25], [7, 0.75]], "null-values": 0.25}"#;
        assert_eq!(
            of_mysql(singleton).unwrap(),
            Histogram {
                nulls: Some(0.25),
                distinct: Some(2.0),
                least: Some("1".into()),
                greatest: Some("7".into()),
            }
        );
        let heights = r#"{"buckets": [["2020-01-01", "2020-02-01", 0.5, 3], ["2020-02-02", "2021-01-01", 1.0, 9]],
                          "null-values": 0.0, "histogram-type": "equi-height"}"#;
        let heights = of_mysql(heights).unwrap();
        assert_eq!(heights.distinct, Some(12.0));
        assert_eq!(heights.greatest.as_deref(), Some("2021-01-01"));
        assert_eq!(
            bound(heights.least, &DataType::Date32),
            Estimate::About(ScalarValue::Date32(Some(18_262)))
        );
    }
}
