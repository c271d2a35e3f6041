//! `CATALOG.system.query('native text')`: the user's own SELECT as a table.
//!
//! The server describes the text twice and runs it never: alone, where the protocol allows one statement
//! only, so that the text cannot close the parenthesis it is put into; and as a subquery, which only
//! something like a SELECT can be. It runs later in a read-only transaction on a connection that nobody
//! uses after it.

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use sluice_spi::{
    ColumnMetadata, Error, Generated, Passthrough, RelColumn, Relation, Result, SqlState,
    TableHandle, TableKind, TableMetadata,
};

use crate::catalog_sql::{self, native_type};
use crate::error::{native_error, statement_error};
use crate::facts::Facts;
use crate::pool::Source;
use crate::types::ColumnType;

/// Makes tables of native texts.
pub(crate) struct NativeQueries {
    pub(crate) source: Arc<Source>,
}

#[async_trait]
impl Passthrough for NativeQueries {
    async fn query(&self, text: &str) -> Result<TableMetadata> {
        let catalog = self.source.catalog();
        let text = text.trim_end_matches(|c: char| c == ';' || c.is_whitespace());
        if text.contains('\0') || text.is_empty() {
            return Err(Error::new(
                SqlState::SYNTAX_ERROR,
                "the native text is empty or holds a NUL",
            )
            .with_source(catalog));
        }
        let client = self.source.session().await?;
        client.make_private();
        client.run();

        let alone = client
            .prepare(text)
            .await
            .map_err(|e| native_error(catalog, text, &e))?;
        if !alone.params().is_empty() {
            return Err(Error::new(
                SqlState::UNDEFINED_PARAMETER,
                "the native text must not have parameters",
            )
            .with_source(catalog));
        }
        if alone.columns().is_empty() {
            return Err(not_a_query(catalog));
        }
        // As the scan will run it. The text itself is right, so what fails here is its kind.
        client
            .prepare(&format!("SELECT * FROM (\n{text}\n) AS q"))
            .await
            .map_err(|error| match error.as_db_error() {
                Some(db) => {
                    not_a_query(catalog).with_detail(format!("The server says: {}.", db.message()))
                }
                None => statement_error(catalog, &error),
            })?;

        let oids: Vec<u32> = alone
            .columns()
            .iter()
            .map(|column| column.type_().oid())
            .collect();
        let typmods: Vec<i32> = alone
            .columns()
            .iter()
            .map(|column| column.type_modifier())
            .collect();
        let broken = |e: tokio_postgres::Error| statement_error(catalog, &e);
        let rows = client
            .query(&catalog_sql::types(), &[&oids, &typmods])
            .await
            .map_err(broken)?;
        let utf8 = client
            .query_one(catalog_sql::DATABASE, &[])
            .await
            .map_err(broken)?
            .get(0);
        client.idle();

        let mut taken = HashSet::new();
        let (mut columns, mut rel_columns, mut types) = (Vec::new(), Vec::new(), Vec::new());
        for (column, row) in alone.columns().iter().zip(&rows) {
            let native = native_type(row).map_err(broken)?;
            let column_type = ColumnType::of(&native, self.source.mapping());
            let name = unique_name(column.name(), &mut taken);
            columns.push(ColumnMetadata {
                field: Arc::new(native.field(&column_type, &name, true)),
                native_type: native.formatted.clone(),
                comment: None,
                default: None,
                generated: Generated::No,
            });
            rel_columns.push(RelColumn {
                name,
                native_type: native.formatted,
                // The server does not say: comparisons will name the byte order.
                collation: Some("unknown".to_owned()),
                deterministic: false,
                nullable: true,
            });
            types.push(column_type);
        }
        let relation = Relation::Native {
            text: text.to_owned(),
            columns: rel_columns,
        };
        let facts = Facts {
            columns: types,
            unique: Vec::new(),
            utf8,
            leaves: Vec::new(),
        };
        Ok(TableMetadata {
            schema: "system".to_owned(),
            name: "query".to_owned(),
            kind: TableKind::View,
            comment: None,
            columns,
            primary_key: Vec::new(),
            handle: TableHandle::new(catalog, relation, facts.to_payload()?),
        })
    }
}

fn not_a_query(catalog: &str) -> Error {
    Error::new(
        SqlState::FEATURE_NOT_SUPPORTED,
        "the native text must be a SELECT, VALUES, TABLE or WITH query",
    )
    .with_source(catalog)
}

/// A table's columns have names of their own, a statement's need not: `a`, `a_1`, `a_2`.
fn unique_name(name: &str, taken: &mut HashSet<String>) -> String {
    let name = if name.is_empty() { "column" } else { name };
    let mut candidate = name.to_owned();
    let mut number = 0;
    while !taken.insert(candidate.clone()) {
        number += 1;
        candidate = format!("{name}_{number}");
    }
    candidate
}
