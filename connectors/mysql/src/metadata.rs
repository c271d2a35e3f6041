//! Schemas, tables and columns, from the source's information_schema. Asks each time and keeps nothing.

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use mysql_async::{Params, Row};
use sluice_spi::{
    ColumnMetadata, Generated, Metadata, RelColumn, Relation, Result, TableHandle, TableKind,
    TableMetadata, TableStatistics, TableSummary,
};

use crate::catalog_sql::{self, ColumnRow, Keys, keys_by_table, text};
use crate::config::ZeroDates;
use crate::facts::Facts;
use crate::pool::Source;
use crate::statistics;
use crate::types::ColumnType;
use crate::write::STAGING_PREFIX;

/// The catalog's names and descriptions.
pub(crate) struct CatalogMetadata {
    pub(crate) source: Arc<Source>,
}

impl CatalogMetadata {
    async fn described(&self, schema: &str, table: Option<&str>) -> Result<Vec<TableMetadata>> {
        if !may_exist(schema, table) {
            return Ok(Vec::new());
        }
        let names: Params = match table {
            None => (schema,).into(),
            Some(table) => (schema, table).into(),
        };
        let of_one = table.is_some();
        let version = self.source.version().await?;
        let tables_sql = if of_one {
            catalog_sql::TABLE
        } else {
            catalog_sql::TABLES
        };
        let columns_sql = catalog_sql::columns(version, of_one);
        let keys_sql = catalog_sql::keys(of_one);
        let checks_sql = catalog_sql::json_checks(of_one);
        let mut questions = vec![
            (tables_sql, names.clone()),
            (columns_sql.as_str(), names.clone()),
            (keys_sql.as_str(), names.clone()),
        ];
        if version.has_json_checks() {
            questions.push((checks_sql.as_str(), names));
        }
        let answers = self.source.ask(&questions).await?.rows;
        let [tables, columns, keys, rest @ ..] = answers.as_slice() else {
            return Ok(Vec::new());
        };
        let json: HashSet<(String, String)> = rest
            .iter()
            .flatten()
            .filter_map(|row| Some((text(row, 0)?, checked_column(&text(row, 2)?)?)))
            .collect();
        let columns: Vec<ColumnRow> = columns
            .iter()
            .filter_map(ColumnRow::of)
            .map(|mut column| {
                let name = (column.table.clone(), column.name.clone());
                column.native.is_checked_json = json.contains(&name);
                column
            })
            .collect();
        let mut keys = keys_by_table(keys);
        let mut described = Vec::new();
        for row in tables {
            let Some(summary) = summary(row) else {
                continue;
            };
            if table.is_some_and(|wanted| wanted != summary.name) {
                continue;
            }
            let columns: Vec<&ColumnRow> = columns
                .iter()
                .filter(|column| column.table == summary.name)
                .collect();
            let keys = keys.remove(&summary.name).unwrap_or_default();
            described.push(self.describe(schema, summary, &columns, keys)?);
        }
        Ok(described)
    }

    fn describe(
        &self,
        schema: &str,
        summary: TableSummary,
        rows: &[&ColumnRow],
        keys: Keys,
    ) -> Result<TableMetadata> {
        let reading = &self.source.reading;
        let mut columns = Vec::with_capacity(rows.len());
        let mut rel_columns = Vec::with_capacity(rows.len());
        let mut types = Vec::with_capacity(rows.len());
        for row in rows {
            let column_type = ColumnType::of(&row.native, reading);
            // Dates that no calendar has are NULL where the catalog's file says so.
            let nullable = row.nullable
                || (column_type.is_calendar() && reading.zero_dates == ZeroDates::Null);
            columns.push(ColumnMetadata {
                field: Arc::new(column_type.field(&row.name, nullable)),
                native_type: row.native.declared.clone(),
                comment: row.comment.clone(),
                default: row.default.clone(),
                generated: generated(&row.extra),
            });
            rel_columns.push(RelColumn {
                name: row.name.clone(),
                native_type: row.native.declared.clone(),
                deterministic: match &column_type {
                    ColumnType::Text(text) => text.by_bytes,
                    _ => true,
                },
                collation: row.native.collation.clone(),
                nullable,
            });
            types.push(column_type);
        }
        let split_by = match keys.primary.as_slice() {
            [only] if summary.kind != TableKind::View => rel_columns
                .iter()
                .zip(&types)
                .find(|(column, column_type)| column.name == *only && column_type.is_integer())
                .map(|(column, _)| column.name.clone()),
            _ => None,
        };
        let relation = Relation::Scan {
            schema: schema.to_owned(),
            table: summary.name.clone(),
            columns: rel_columns,
        };
        let facts = Facts {
            columns: types,
            unique: keys.unique,
            zero_dates: reading.zero_dates,
            split_by,
            leaves: Vec::new(),
        };
        Ok(TableMetadata {
            schema: schema.to_owned(),
            name: summary.name,
            kind: summary.kind,
            comment: summary.comment,
            columns,
            primary_key: keys.primary,
            handle: TableHandle::new(self.source.catalog(), relation, facts.to_payload()?),
        })
    }
}

#[async_trait]
impl Metadata for CatalogMetadata {
    async fn schemas(&self) -> Result<Vec<String>> {
        let sql = catalog_sql::schemas();
        let answers = self.source.ask(&[(&sql, Params::Empty)]).await?;
        Ok(answers
            .rows
            .iter()
            .flatten()
            .filter_map(|row| text(row, 0))
            .collect())
    }

    async fn tables(&self, schema: &str) -> Result<Vec<TableSummary>> {
        if !may_exist(schema, None) {
            return Ok(Vec::new());
        }
        let answers = self
            .source
            .ask(&[(catalog_sql::TABLES, (schema,).into())])
            .await?;
        Ok(answers.rows.iter().flatten().filter_map(summary).collect())
    }

    async fn table(&self, schema: &str, table: &str) -> Result<Option<TableMetadata>> {
        Ok(self.described(schema, Some(table)).await?.pop())
    }

    async fn statistics(&self, table: &TableMetadata) -> Result<TableStatistics> {
        statistics::of(&self.source, table).await
    }

    async fn describe_schema(&self, schema: &str) -> Result<Vec<Arc<TableMetadata>>> {
        Ok(self
            .described(schema, None)
            .await?
            .into_iter()
            .map(Arc::new)
            .collect())
    }
}

/// False for the server's own schemas, which are not shown, and for names that nothing there can have.
fn may_exist(schema: &str, table: Option<&str>) -> bool {
    !catalog_sql::is_own(schema)
        && catalog_sql::is_name(schema)
        && table.is_none_or(catalog_sql::is_name)
}

/// A line of a listing; `None` for what is no table (MariaDB's sequences, temporary tables) or not one yet.
fn summary(row: &Row) -> Option<TableSummary> {
    let name = text(row, 0)?;
    if name.starts_with(STAGING_PREFIX) {
        return None;
    }
    let options = text(row, 3).unwrap_or_default();
    let kind = match text(row, 1)?.as_str() {
        "VIEW" | "SYSTEM VIEW" => TableKind::View,
        "SEQUENCE" | "TEMPORARY" => return None,
        _ if options.contains("partitioned") => TableKind::PartitionedTable,
        _ => TableKind::Table,
    };
    Some(TableSummary {
        name,
        kind,
        // What servers write there for views.
        comment: text(row, 2).filter(|comment| {
            !comment.is_empty() && (kind != TableKind::View || comment != "VIEW")
        }),
    })
}

/// `json_valid(`name`)`: the column's name.
fn checked_column(clause: &str) -> Option<String> {
    let name = clause.strip_prefix("json_valid(`")?.strip_suffix("`)")?;
    // Another condition beside it.
    (!name.replace("``", "").contains('`')).then(|| name.replace("``", "`"))
}

fn generated(extra: &str) -> Generated {
    let extra = extra.to_ascii_lowercase();
    if extra.contains("auto_increment") {
        Generated::IdentityByDefault
    } else if extra.contains("virtual generated") || extra.contains("stored generated") {
        Generated::Expression
    } else {
        Generated::No
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_check_of_nothing_else_makes_json() {
        assert_eq!(checked_column("json_valid(`a``b`)").as_deref(), Some("a`b"));
        assert_eq!(checked_column("json_valid(`a`) and `b` > 0"), None);
        assert_eq!(checked_column("json_valid(`a`) or json_valid(`b`)"), None);
    }

    #[test]
    fn generated_columns_are_known_by_their_extra() {
        assert_eq!(generated("auto_increment"), Generated::IdentityByDefault);
        assert_eq!(generated("STORED GENERATED"), Generated::Expression);
        assert_eq!(generated("VIRTUAL GENERATED"), Generated::Expression);
        // MySQL 8 says that of a default that is an expression.
        assert_eq!(generated("DEFAULT_GENERATED"), Generated::No);
    }
}
