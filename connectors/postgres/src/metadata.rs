//! Schemas, tables and columns, from the source's catalogs. Asks each time and keeps nothing.

use std::future::Future;
use std::sync::Arc;

use async_trait::async_trait;
use sluice_spi::{
    ColumnMetadata, Generated, Metadata, RelColumn, Relation, Result, TableDetails, TableHandle,
    TableKind, TableMetadata, TableStatistics, TableSummary,
};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::catalog_sql::{self, Keys, first_char, keys_by_table, native_type};
use crate::details;
use crate::error::{is_connection_lost, statement_error};
use crate::facts::Facts;
use crate::pool::{Session, Source};
use crate::statistics;
use crate::types::{ColumnType, TypeMapping};

/// The catalog's names and descriptions.
pub(crate) struct CatalogMetadata {
    pub(crate) source: Arc<Source>,
    /// The catalog's file refuses what changes anything there, statistics included.
    pub(crate) read_only: bool,
}

impl CatalogMetadata {
    async fn described(&self, schema: &str, table: Option<&str>) -> Result<Vec<TableMetadata>> {
        let catalog = self.source.catalog();
        let columns_sql = catalog_sql::columns();
        let columns_sql = columns_sql.as_str();
        let (columns, keys) = ask(&self.source, |client| async move {
            let (columns, keys) = futures::try_join!(
                client.prepare_cached(columns_sql),
                client.prepare_cached(catalog_sql::KEYS)
            )?;
            let names: &[&(dyn ToSql + Sync)] = &[&schema, &table];
            futures::try_join!(client.query(&columns, names), client.query(&keys, names))
        })
        .await?;
        let broken = |e: tokio_postgres::Error| statement_error(catalog, &e);
        let mut keys = keys_by_table(&keys).map_err(broken)?;
        let mut tables = Vec::new();
        for rows in columns.chunk_by(|a, b| a.get::<_, &str>("table") == b.get::<_, &str>("table"))
        {
            let name: String = rows[0].try_get("table").map_err(broken)?;
            let keys = keys.remove(&name).unwrap_or_default();
            tables.push(describe_table(
                catalog,
                schema,
                name,
                rows,
                keys,
                self.source.mapping(),
            )?);
        }
        Ok(tables)
    }
}

#[async_trait]
impl Metadata for CatalogMetadata {
    async fn schemas(&self) -> Result<Vec<String>> {
        let rows = ask(&self.source, |client| async move {
            client
                .query(&client.prepare_cached(catalog_sql::SCHEMAS).await?, &[])
                .await
        })
        .await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    async fn tables(&self, schema: &str) -> Result<Vec<TableSummary>> {
        let rows = ask(&self.source, |client| async move {
            client
                .query(
                    &client.prepare_cached(catalog_sql::TABLES).await?,
                    &[&schema],
                )
                .await
        })
        .await?;
        Ok(rows
            .iter()
            .map(|row| TableSummary {
                name: row.get(0),
                kind: table_kind(row.get(1)),
                comment: row.get(2),
            })
            .collect())
    }

    async fn table(&self, schema: &str, table: &str) -> Result<Option<TableMetadata>> {
        Ok(self.described(schema, Some(table)).await?.pop())
    }

    async fn statistics(&self, table: &TableMetadata) -> Result<TableStatistics> {
        statistics::of(&self.source, table).await
    }

    async fn details(&self, schema: &str) -> Result<Vec<TableDetails>> {
        details::of(&self.source, schema).await
    }

    async fn analyze(&self, table: &TableMetadata) -> Result<bool> {
        if self.read_only {
            return Ok(false);
        }
        statistics::analyze(&self.source, table).await
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

/// Runs small catalog queries on a pooled connection. A connection that the server closed while it was
/// idle is replaced once.
pub(crate) async fn ask<T, F>(source: &Source, question: impl Fn(Arc<Session>) -> F) -> Result<T>
where
    F: Future<Output = std::result::Result<T, tokio_postgres::Error>>,
{
    let mut attempts = 2;
    loop {
        attempts -= 1;
        let session = source.session().await?;
        // Dropped half way (the client gave up), the session cancels what runs.
        session.run();
        let answer = question(session.clone()).await;
        session.idle();
        match answer {
            Ok(answer) => return Ok(answer),
            Err(error) if attempts > 0 && is_connection_lost(&error) => source.lost(&session),
            Err(error) => return Err(statement_error(source.catalog(), &error)),
        }
    }
}

fn describe_table(
    catalog: &str,
    schema: &str,
    name: String,
    rows: &[Row],
    keys: Keys,
    mapping: TypeMapping,
) -> Result<TableMetadata> {
    let broken = |e: tokio_postgres::Error| statement_error(catalog, &e);
    let mut columns = Vec::with_capacity(rows.len());
    let mut rel_columns = Vec::with_capacity(rows.len());
    let mut types = Vec::with_capacity(rows.len());
    let mut utf8 = true;
    for row in rows {
        let Some(column) = row.try_get::<_, Option<String>>("name").map_err(broken)? else {
            continue;
        };
        let native = native_type(row).map_err(broken)?;
        let column_type = ColumnType::of(&native, mapping);
        let not_null: bool = row.try_get("not_null").map_err(broken)?;
        let declared: String = row.try_get("declared").map_err(broken)?;
        utf8 = row.try_get("utf8").map_err(broken)?;
        let by_bytes = row
            .try_get::<_, Option<bool>>("byte_order")
            .map_err(broken)?
            .unwrap_or(true);
        let collation: Option<String> = row.try_get("collation").map_err(broken)?;
        columns.push(ColumnMetadata {
            field: Arc::new(native.field(&column_type, &column, !not_null)),
            native_type: declared.clone(),
            comment: row.try_get("comment").map_err(broken)?,
            default: row.try_get("default").map_err(broken)?,
            generated: generated(row).map_err(broken)?,
        });
        rel_columns.push(RelColumn {
            name: column,
            native_type: declared,
            collation: collation.filter(|_| !by_bytes),
            deterministic: row
                .try_get::<_, Option<bool>>("deterministic")
                .map_err(broken)?
                .unwrap_or(true),
            nullable: !not_null,
        });
        types.push(column_type);
    }
    let relation = Relation::Scan {
        schema: schema.to_owned(),
        table: name.clone(),
        columns: rel_columns,
    };
    let facts = Facts {
        columns: types,
        unique: keys.unique,
        utf8,
        leaves: Vec::new(),
    };
    Ok(TableMetadata {
        schema: schema.to_owned(),
        name,
        kind: table_kind(rows[0].try_get("kind").map_err(broken)?),
        comment: rows[0].try_get("table_comment").map_err(broken)?,
        columns,
        primary_key: keys.primary,
        handle: TableHandle::new(catalog, relation, facts.to_payload()?),
    })
}

/// pg_attribute.attgenerated and attidentity.
fn generated(row: &Row) -> std::result::Result<Generated, tokio_postgres::Error> {
    let (expression, identity): (String, String) =
        (row.try_get("generated")?, row.try_get("identity")?);
    Ok(match (expression.as_str(), identity.as_str()) {
        ("", "a") => Generated::IdentityAlways,
        ("", "d") => Generated::IdentityByDefault,
        ("", _) => Generated::No,
        _ => Generated::Expression,
    })
}

fn table_kind(relkind: &str) -> TableKind {
    match first_char(relkind) {
        'v' => TableKind::View,
        'm' => TableKind::MaterializedView,
        'f' => TableKind::ForeignTable,
        'p' => TableKind::PartitionedTable,
        _ => TableKind::Table,
    }
}
