//! UPDATE, DELETE and TRUNCATE: one transaction at the server, over rows that were said exactly.

use async_trait::async_trait;
use mysql_async::prelude::Queryable;
use sluice_spi::{
    Assigned, Error, Relation, Result, RowChanges, ScalarExpr, TableHandle, TableMetadata,
    TruncateOptions,
};

use super::session::{commit, run, writing_session};
use super::target::Target;
use super::{TableWriter, identifier, qualified};
use crate::error::statement_error;
use crate::facts::Facts;
use crate::pool::Session;
use crate::render::{Constants, Query, assigned_value, select};
use crate::types::ColumnType;

#[async_trait]
impl RowChanges for TableWriter {
    async fn update(&self, rows: &TableHandle, assignments: &[(String, Assigned)]) -> Result<u64> {
        let rows = Rows::of(rows)?;
        let table = self.must_take_rows(rows.schema, rows.table).await?;
        let assignments = rows.assignments(&table, assignments)?;
        let sql = format!(
            "UPDATE {} SET {}{}",
            qualified(rows.schema, rows.table)?,
            assignments.join(", "),
            rows.condition()?
        );
        self.change(&sql, matched).await
    }

    async fn delete(&self, rows: &TableHandle) -> Result<u64> {
        let rows = Rows::of(rows)?;
        self.must_take_rows(rows.schema, rows.table).await?;
        let sql = format!(
            "DELETE FROM {}{}",
            qualified(rows.schema, rows.table)?,
            rows.condition()?
        );
        self.change(&sql, |session| session.conn().affected_rows())
            .await
    }

    /// MySQL's own TRUNCATE ends the transaction and starts the numbers again, always: it is used for just
    /// that, and DELETE for the rest.
    async fn truncate(&self, tables: &[(String, String)], options: TruncateOptions) -> Result<()> {
        if options.cascade {
            return Err(
                Error::unsupported("TRUNCATE ... CASCADE is not supported for MySQL")
                    .with_source(self.source.catalog()),
            );
        }
        for (schema, table) in tables {
            self.must_take_rows(schema, table).await?;
        }
        let mut session = writing_session(&self.source).await?;
        if options.restart_identity {
            let [(schema, table)] = tables else {
                return Err(Error::unsupported(
                    "TRUNCATE of several tables with RESTART IDENTITY is not supported for MySQL",
                )
                .with_source(self.source.catalog()));
            };
            let sql = format!("TRUNCATE TABLE {}", qualified(schema, table)?);
            run(&self.source, &mut session, &sql).await?;
            return Ok(());
        }
        run(&self.source, &mut session, "START TRANSACTION").await?;
        for (schema, table) in tables {
            let sql = format!("DELETE FROM {}", qualified(schema, table)?);
            run(&self.source, &mut session, &sql).await?;
        }
        commit(&self.source, &mut session).await
    }
}

impl TableWriter {
    /// Runs a statement in a transaction of its own, and counts its rows by what the server said.
    async fn change(&self, sql: &str, count: impl Fn(&mut Session) -> u64) -> Result<u64> {
        let mut session = writing_session(&self.source).await?;
        run(&self.source, &mut session, "START TRANSACTION").await?;
        session.run();
        let outcome = session.conn().query_drop(sql).await;
        session.idle();
        outcome.map_err(|error| statement_error(self.source.catalog(), &error))?;
        let rows = count(&mut session);
        commit(&self.source, &mut session).await?;
        Ok(rows)
    }
}

/// `Rows matched: 3  Changed: 1  Warnings: 0`: PostgreSQL counts the rows that were found.
fn matched(session: &mut Session) -> u64 {
    let conn = session.conn();
    let info = conn.info();
    info.strip_prefix("Rows matched: ")
        .and_then(|rest| rest.split(' ').next()?.parse().ok())
        .unwrap_or_else(|| conn.affected_rows())
}

/// The rows of a table that a handle reads.
struct Rows<'a> {
    handle: &'a TableHandle,
    schema: &'a str,
    table: &'a str,
    facts: Facts,
}

impl<'a> Rows<'a> {
    fn of(handle: &'a TableHandle) -> Result<Rows<'a>> {
        let leaves = handle.relation.leaves();
        match (leaves.as_slice(), handle.relation.is_plain()) {
            ([Relation::Scan { schema, table, .. }], true) => Ok(Rows {
                handle,
                schema,
                table,
                facts: Facts::of(handle)?,
            }),
            _ => Err(Error::unsupported(
                "the rows to be changed cannot be said at the source",
            )),
        }
    }

    /// ` WHERE …`, or nothing for every row.
    fn condition(&self) -> Result<String> {
        let query = Query {
            relation: &self.handle.relation,
            facts: &self.facts,
            // Their number: the text then begins in one way only.
            projection: &[],
            limit: None,
            range: None,
        };
        let head = format!(
            "SELECT count(*) FROM {}",
            qualified(self.schema, self.table)?
        );
        select(&query, Constants::Inline)
            .and_then(|sql| sql.text.strip_prefix(&head).map(str::to_owned))
            .ok_or_else(|| {
                Error::unsupported("the rows to be changed cannot be said at the source")
            })
    }

    /// `column = value`, in an order in which no value reads a column that was changed before it: MySQL
    /// assigns from left to right, and sees what it has assigned.
    fn assignments(
        &self,
        table: &TableMetadata,
        assignments: &[(String, Assigned)],
    ) -> Result<Vec<String>> {
        let mut rest: Vec<&(String, Assigned)> = assignments.iter().collect();
        let mut written = Vec::with_capacity(rest.len());
        while !rest.is_empty() {
            let next = rest.iter().position(|(column, _)| {
                !rest
                    .iter()
                    .any(|(other, value)| other != column && reads(value, column))
            });
            let Some(next) = next else {
                return Err(Error::unsupported(
                    "columns that take each other's values are not supported for MySQL",
                )
                .with_detail("MySQL assigns one after the other, and sees what it has assigned."));
            };
            let (column, value) = rest.remove(next);
            let target = Target::of(table, column)?;
            written.push(format!(
                "{} = {}",
                identifier(column)?,
                self.value(&target, column, value)?
            ));
        }
        Ok(written)
    }

    fn value(&self, target: &Target, column: &str, value: &Assigned) -> Result<String> {
        let columns = self.handle.relation.columns();
        let type_of = |name: &str| -> Option<&ColumnType> {
            let index = columns.iter().position(|column| column.name == name)?;
            self.facts.columns.get(index)
        };
        let text = match value {
            Assigned::Null => Some("NULL".to_owned()),
            Assigned::Default => Some("DEFAULT".to_owned()),
            Assigned::Expr(ScalarExpr::Literal(literal)) => Some(target.literal(literal)?),
            Assigned::Expr(ScalarExpr::Column(other)) => match (type_of(column), type_of(other)) {
                (Some(own), Some(from)) if target.takes_all_of(own, from) => {
                    Some(identifier(other)?)
                }
                _ => None,
            },
            Assigned::Expr(expr) if target.is_plain() => {
                assigned_value(expr, columns, &self.facts.columns)
            }
            Assigned::Expr(_) => None,
        };
        text.ok_or_else(|| {
            Error::unsupported(format!(
                "the value for column \"{column}\" cannot be computed by the source exactly as it is here"
            ))
        })
    }
}

fn reads(value: &Assigned, column: &str) -> bool {
    let mut found = false;
    if let Assigned::Expr(expr) = value {
        expr.visit_columns(&mut |name| found |= name == column);
    }
    found
}
