//! ALTER TABLE and views. MySQL's definitions are no part of a transaction, but one statement happens whole:
//! a list of changes becomes one ALTER TABLE, or is refused.

use std::collections::HashSet;

use async_trait::async_trait;
use sluice_spi::{
    ColumnDefault, Definitions, Error, NewView, Result, SqlState, TableChange, TableMetadata,
};

use super::session::run_alone;
use super::types::{column_definition, default_value};
use super::{TableWriter, identifier, qualified};
use crate::facts::Facts;
use crate::render::{Constants, Query, select};
use crate::version::Version;

#[async_trait]
impl Definitions for TableWriter {
    async fn alter_table(
        &self,
        schema: &str,
        table: &str,
        changes: &[TableChange],
    ) -> Result<bool> {
        let Some(found) = self.described(schema, table).await? else {
            return Ok(false);
        };
        let version = self.source.version().await?;
        let alter = Alter::new(&found, version);
        let actions = alter
            .actions(changes)
            .map_err(|error| error.with_source(self.source.catalog()))?;
        if !actions.is_empty() {
            let sql = format!(
                "ALTER TABLE {} {}",
                qualified(schema, table)?,
                actions.join(", ")
            );
            run_alone(&self.source, &sql).await?;
        }
        Ok(true)
    }

    async fn create_view(&self, view: NewView<'_>) -> Result<()> {
        let cannot = || {
            Error::unsupported("the view's query cannot be said at the source")
                .with_source(self.source.catalog())
        };
        let facts = Facts::of(view.query)?;
        let query = Query {
            relation: &view.query.relation,
            facts: &facts,
            projection: view.projection,
            limit: None,
            range: None,
        };
        let query = select(&query, Constants::Inline).ok_or_else(cannot)?;
        // A column that is read in another form would have that form in the view.
        let columns = view.query.relation.columns();
        let shown = view
            .projection
            .iter()
            .map(|index| identifier(&columns.get(*index).ok_or_else(cannot)?.name))
            .collect::<Result<Vec<_>>>()?
            .join(", ");
        if shown.is_empty() || !query.text.starts_with(&format!("SELECT {shown} FROM ")) {
            return Err(cannot());
        }
        let kind = self.kind_of(view.schema, view.view).await?;
        if kind.is_some_and(|kind| !view.replace || kind != "VIEW") {
            return Err(Error::new(
                SqlState::DUPLICATE_TABLE,
                format!("relation \"{}\" already exists", view.view),
            ));
        }
        let names = view
            .names
            .iter()
            .map(|name| identifier(name))
            .collect::<Result<Vec<_>>>()?
            .join(", ");
        let replace = if view.replace { "OR REPLACE " } else { "" };
        let sql = format!(
            "CREATE {replace}VIEW {} ({names}) AS {}",
            qualified(view.schema, view.view)?,
            query.text
        );
        run_alone(&self.source, &sql).await.map(|_| ())
    }

    async fn drop_view(&self, schema: &str, view: &str, _cascade: bool) -> Result<bool> {
        match self.kind_of(schema, view).await?.as_deref() {
            None => Ok(false),
            Some("VIEW") => {
                let sql = format!("DROP VIEW {}", qualified(schema, view)?);
                run_alone(&self.source, &sql).await.map(|_| true)
            }
            Some(_) => Err(Error::new(
                SqlState::WRONG_OBJECT_TYPE,
                format!("\"{view}\" is not a view"),
            )
            .with_hint("Use DROP TABLE to remove a table.")),
        }
    }
}

/// A table as its changes find it.
struct Alter<'a> {
    table: &'a TableMetadata,
    version: Version,
}

impl<'a> Alter<'a> {
    fn new(table: &'a TableMetadata, version: Version) -> Self {
        Alter { table, version }
    }

    fn actions(&self, changes: &[TableChange]) -> Result<Vec<String>> {
        let mut touched = HashSet::new();
        let mut actions = Vec::with_capacity(changes.len());
        for change in changes {
            let names: &[&str] = match change {
                TableChange::AddColumn { column, .. } => &[column.field.name()],
                TableChange::RenameColumn { from, to } => &[from, to],
                TableChange::DropColumn { column, .. }
                | TableChange::SetNullable { column, .. }
                | TableChange::SetDefault { column, .. } => &[column],
                TableChange::SetType { column } => &[column.name()],
                TableChange::RenameTable { .. } => &[],
            };
            // All clauses of a statement see the table as it was.
            if !names.iter().all(|name| touched.insert((*name).to_owned())) {
                return Err(Error::unsupported(
                    "several changes of one column in a statement are not supported for MySQL",
                ));
            }
            actions.extend(self.action(change)?);
        }
        Ok(actions)
    }

    /// `None` where there is nothing to do.
    fn action(&self, change: &TableChange) -> Result<Option<String>> {
        Ok(Some(match change {
            TableChange::AddColumn {
                column,
                if_not_exists,
            } => {
                if *if_not_exists && self.has(column.field.name()) {
                    return Ok(None);
                }
                format!(
                    "ADD COLUMN {}",
                    column_definition(column, false, self.version)?
                )
            }
            TableChange::DropColumn {
                column, if_exists, ..
            } => {
                if *if_exists && !self.has(column) {
                    return Ok(None);
                }
                format!("DROP COLUMN {}", identifier(column)?)
            }
            TableChange::RenameColumn { from, to } => {
                if !self.version.has_rename_column() {
                    return Err(Error::unsupported(format!(
                        "{} cannot rename a column",
                        self.version
                    )));
                }
                format!("RENAME COLUMN {} TO {}", identifier(from)?, identifier(to)?)
            }
            TableChange::RenameTable { to } => {
                format!("RENAME TO {}", qualified(&self.table.schema, to)?)
            }
            TableChange::SetDefault { column, default } => {
                self.default(column, default.as_ref())?
            }
            TableChange::SetNullable { .. } | TableChange::SetType { .. } => {
                return Err(Error::unsupported(
                    "changing a column's type or NOT NULL is not supported for MySQL",
                )
                .with_detail("MySQL takes a whole new definition of the column there.")
                .with_hint("Change it at the source."));
            }
        }))
    }

    fn default(&self, column: &str, default: Option<&ColumnDefault>) -> Result<String> {
        let found = self
            .table
            .columns
            .iter()
            .find(|found| found.field.name() == column);
        let Some(found) = found else {
            return Err(Error::new(
                SqlState::UNDEFINED_COLUMN,
                format!(
                    "column \"{column}\" of relation \"{}\" does not exist",
                    self.table.name
                ),
            ));
        };
        let name = identifier(column)?;
        Ok(match default {
            Some(default) => {
                let value = default_value(default, &found.field, self.version)?;
                format!("ALTER COLUMN {name} SET DEFAULT {value}")
            }
            // Without any, a row would have to bring a value.
            None if found.field.is_nullable() => {
                format!("ALTER COLUMN {name} SET DEFAULT NULL")
            }
            None => format!("ALTER COLUMN {name} DROP DEFAULT"),
        })
    }

    fn has(&self, column: &str) -> bool {
        self.table
            .columns
            .iter()
            .any(|found| found.field.name() == column)
    }
}
