//! ALTER TABLE and views: one transaction each, so that a list of changes happens whole.

use async_trait::async_trait;
use sluice_spi::{Definitions, Error, NewView, Result, TableChange};

use super::sink::type_name;
use super::sql::{column, default_value, identifier, identifiers, qualified};
use super::transaction::{WriteTransaction, run_alone};
use super::types::column_type;
use super::{TableWriter, tail, unless};
use crate::facts::Facts;
use crate::render::{Constants, select};

#[async_trait]
impl Definitions for TableWriter {
    async fn alter_table(
        &self,
        schema: &str,
        table: &str,
        changes: &[TableChange],
    ) -> Result<bool> {
        let transaction = WriteTransaction::begin(&self.source).await?;
        let mut name = table.to_owned();
        let mut outcome = Ok(0);
        for change in changes {
            outcome = match statement(&transaction, schema, &name, change).await {
                Ok(sql) => transaction.execute(&sql).await,
                Err(error) => Err(error),
            };
            if outcome.is_err() {
                break;
            }
            if let TableChange::RenameTable { to } = change {
                name.clone_from(to);
            }
        }
        // No such table, no such schema.
        unless(transaction.end(outcome).await, &["42P01", "3F000"])
    }

    async fn create_view(&self, view: NewView<'_>) -> Result<()> {
        let cannot = || Error::unsupported("the view's query cannot be said at the source");
        let facts = Facts::of(view.query)?;
        let query = select(
            &view.query.relation,
            &facts,
            view.projection,
            None,
            Constants::Inline,
        )
        .ok_or_else(cannot)?;
        // A column that is read as text would be text in the view.
        let columns = view.query.relation.columns();
        let shown = view
            .projection
            .iter()
            .map(|index| columns.get(*index).map(|column| column.name.clone()))
            .collect::<Option<Vec<_>>>()
            .filter(|shown| !shown.is_empty())
            .ok_or_else(cannot)?;
        if !query
            .text
            .starts_with(&format!("SELECT {} FROM ", identifiers(&shown)?))
        {
            return Err(cannot());
        }
        let replace = if view.replace { "OR REPLACE " } else { "" };
        let sql = format!(
            "CREATE {replace}VIEW {} ({}) AS {}",
            qualified(view.schema, view.view)?,
            identifiers(view.names)?,
            query.text
        );
        run_alone(&self.source, &sql).await.map(|_| ())
    }

    async fn drop_view(&self, schema: &str, view: &str, cascade: bool) -> Result<bool> {
        let sql = format!("DROP VIEW {}{}", qualified(schema, view)?, tail(cascade));
        unless(run_alone(&self.source, &sql).await, &["42P01", "3F000"])
    }
}

async fn statement(
    transaction: &WriteTransaction,
    schema: &str,
    table: &str,
    change: &TableChange,
) -> Result<String> {
    let action = match change {
        TableChange::AddColumn {
            column: new,
            if_not_exists,
        } => {
            let type_name = type_name(transaction, column_type(&new.field)?).await?;
            let if_not_exists = if *if_not_exists { "IF NOT EXISTS " } else { "" };
            format!("ADD COLUMN {if_not_exists}{}", column(new, &type_name)?)
        }
        TableChange::DropColumn {
            column,
            if_exists,
            cascade,
        } => {
            let if_exists = if *if_exists { "IF EXISTS " } else { "" };
            let column = identifier(column)?;
            format!("DROP COLUMN {if_exists}{column}{}", tail(*cascade))
        }
        TableChange::RenameColumn { from, to } => {
            format!("RENAME COLUMN {} TO {}", identifier(from)?, identifier(to)?)
        }
        TableChange::RenameTable { to } => format!("RENAME TO {}", identifier(to)?),
        TableChange::SetNullable { column, nullable } => {
            let word = if *nullable { "DROP" } else { "SET" };
            format!("ALTER COLUMN {} {word} NOT NULL", identifier(column)?)
        }
        TableChange::SetDefault { column, default } => {
            let column = identifier(column)?;
            match default {
                Some(default) => {
                    format!(
                        "ALTER COLUMN {column} SET DEFAULT {}",
                        default_value(default)?
                    )
                }
                None => format!("ALTER COLUMN {column} DROP DEFAULT"),
            }
        }
        TableChange::SetType { column } => {
            let type_name = type_name(transaction, column_type(column)?).await?;
            format!(
                "ALTER COLUMN {} TYPE {type_name}",
                identifier(column.name())?
            )
        }
    };
    Ok(format!(
        "ALTER TABLE {} {action}",
        qualified(schema, table)?
    ))
}
