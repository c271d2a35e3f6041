//! UPDATE, DELETE and TRUNCATE: one statement at the server, over rows that were said exactly.

use async_trait::async_trait;
use sluice_spi::{
    Assigned, Error, RelColumn, Relation, Result, RowChanges, ScalarExpr, TableHandle,
    TruncateOptions,
};

use super::TableWriter;
use super::sql::{identifier, qualified};
use super::transaction::run_alone;
use crate::facts::Facts;
use crate::literal::assigned;
use crate::render::{Constants, select, value};
use crate::types::ColumnType;

#[async_trait]
impl RowChanges for TableWriter {
    async fn update(&self, rows: &TableHandle, assignments: &[(String, Assigned)]) -> Result<u64> {
        let rows = target(rows)?;
        let assignments = assignments
            .iter()
            .map(|(column, value)| {
                let column = identifier(column)?;
                Ok(format!("{column} = {}", value_of(&rows, &column, value)?))
            })
            .collect::<Result<Vec<_>>>()?;
        let sql = format!(
            "UPDATE {} SET {}{}",
            rows.table,
            assignments.join(", "),
            rows.condition
        );
        run_alone(&self.source, &sql).await
    }

    async fn delete(&self, rows: &TableHandle) -> Result<u64> {
        let rows = target(rows)?;
        let sql = format!("DELETE FROM {}{}", rows.table, rows.condition);
        run_alone(&self.source, &sql).await
    }

    async fn truncate(&self, tables: &[(String, String)], options: TruncateOptions) -> Result<()> {
        let tables = tables
            .iter()
            .map(|(schema, table)| qualified(schema, table))
            .collect::<Result<Vec<_>>>()?;
        let mut sql = format!("TRUNCATE TABLE {}", tables.join(", "));
        if options.restart_identity {
            sql.push_str(" RESTART IDENTITY");
        }
        if options.cascade {
            sql.push_str(" CASCADE");
        }
        run_alone(&self.source, &sql).await.map(|_| ())
    }
}

/// The rows of a table that a handle reads.
struct Rows {
    /// `"schema"."table"`
    table: String,
    /// ` WHERE …`, or nothing for every row.
    condition: String,
    /// The table's columns.
    columns: Vec<RelColumn>,
    types: Vec<ColumnType>,
}

fn target(rows: &TableHandle) -> Result<Rows> {
    rows_of(rows)?
        .ok_or_else(|| Error::unsupported("the rows to be changed cannot be said at the source"))
}

/// `None` where the relation is more than a filter over a table.
fn rows_of(rows: &TableHandle) -> Result<Option<Rows>> {
    let mut base = &rows.relation;
    while let Relation::Filter { input, .. } = base {
        base = input;
    }
    let Relation::Scan {
        schema,
        table,
        columns,
    } = base
    else {
        return Ok(None);
    };
    let table = qualified(schema, table)?;
    let facts = Facts::of(rows)?;
    // The renderer's SELECT of those rows, from its FROM on.
    let first = (0..columns.len().min(1)).collect::<Vec<_>>();
    let text = select(&rows.relation, &facts, &first, None, Constants::Inline);
    let from = format!(" FROM {table}");
    Ok(text.and_then(|sql| {
        let at = sql.text.find(&from)?;
        Some(Rows {
            condition: sql.text[at + from.len()..].to_owned(),
            table,
            columns: columns.clone(),
            types: facts.columns.clone(),
        })
    }))
}

fn value_of(rows: &Rows, column: &str, assigned_value: &Assigned) -> Result<String> {
    let text = match assigned_value {
        Assigned::Null => Some("NULL".to_owned()),
        Assigned::Default => Some("DEFAULT".to_owned()),
        // Read by the column's own input function, as a client's quoted constant would be.
        Assigned::Expr(ScalarExpr::Literal(literal)) => assigned(literal),
        Assigned::Expr(ScalarExpr::Column(other)) => Some(identifier(other)?),
        Assigned::Expr(expr) => value(expr, &rows.columns, &rows.types),
    };
    text.ok_or_else(|| {
        Error::unsupported(format!(
            "the value for {column} cannot be computed by the source exactly as it is here"
        ))
    })
}
