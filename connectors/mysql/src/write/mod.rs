//! Writing: tables appear whole, rows arrive and change in one transaction.
//!
//! | file | holds |
//! | --- | --- |
//! | `session` | sessions that write, and how they end |
//! | `sink` | INSERT and CREATE TABLE AS; `conflict`: ON CONFLICT |
//! | `staging` | tables that are not finished |
//! | `target`, `values` | what columns take, and values as constants |
//! | `types` | Arrow fields to column types |
//! | `change` | UPDATE, DELETE, TRUNCATE |
//! | `define` | ALTER TABLE, views |
//!
//! A new table is filled under a name of its own and renamed at the end, which MySQL does at once. Rows
//! for a table that is there go into it in one transaction, so only tables of transactional engines take
//! any. Sessions that write are nobody else's, before and after.
//!
//! A process that dies half way leaves its unfinished table behind, since MySQL's definitions are not
//! transactional. Such a table is held by a named lock that ends with the session; the next writer drops
//! those whose lock is free.

mod change;
mod conflict;
mod define;
mod session;
mod sink;
mod staging;
mod target;
mod types;
mod values;

use std::sync::Arc;

use async_trait::async_trait;
use mysql_async::Params;
use mysql_async::prelude::Queryable;
use sluice_spi::{
    Definitions, Error, InsertTarget, Metadata, NativeStatements, NewTable, Result, RowChanges,
    SqlState, TableMetadata, TableSink, WriteTarget, Writer,
};

use crate::catalog_sql::{self, text};
use crate::error::statement_error;
use crate::literal::quote_identifier;
use crate::metadata::CatalogMetadata;
use crate::pool::Source;
use session::{run, run_alone, writing_session};
use sink::RowSink;
pub(crate) use staging::STAGING_PREFIX;
use staging::{REPLACED_SUFFIX, drop_orphans, reserve_name};
use target::Target;

/// Writes the catalog's tables.
pub(crate) struct TableWriter {
    pub(crate) source: Arc<Source>,
}

#[async_trait]
impl Writer for TableWriter {
    fn read_only(&self) -> bool {
        self.source.read_only
    }

    async fn begin(&self, target: WriteTarget) -> Result<Box<dyn TableSink>> {
        match target {
            WriteTarget::Create(table) => self.create(table).await,
            WriteTarget::Insert(target) => self.insert(target).await,
        }
    }

    async fn drop_table(&self, schema: &str, table: &str, _cascade: bool) -> Result<bool> {
        match self.kind_of(schema, table).await? {
            None => Ok(false),
            Some(kind) if kind == "VIEW" => Err(Error::new(
                SqlState::WRONG_OBJECT_TYPE,
                format!("\"{table}\" is not a table"),
            )
            .with_hint("Use DROP VIEW to remove a view.")),
            Some(_) => {
                let sql = format!("DROP TABLE {}", qualified(schema, table)?);
                run_alone(&self.source, &sql).await?;
                Ok(true)
            }
        }
    }

    async fn create_schema(&self, schema: &str) -> Result<bool> {
        if self.has_schema(schema).await? {
            return Ok(false);
        }
        run_alone(
            &self.source,
            &format!("CREATE DATABASE {}", identifier(schema)?),
        )
        .await?;
        Ok(true)
    }

    async fn drop_schema(&self, schema: &str, cascade: bool) -> Result<bool> {
        if catalog_sql::is_own(schema) || !self.has_schema(schema).await? {
            return Ok(false);
        }
        let sql = "SELECT count(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = ?";
        let answers = self.source.ask(&[(sql, (schema,).into())]).await?;
        let tables: u64 = answers
            .rows
            .first()
            .and_then(|rows| catalog_sql::number(rows.first()?, 0))
            .unwrap_or(0);
        if tables > 0 && !cascade {
            return Err(Error::new(
                SqlState::from_source("2BP01"),
                format!("cannot drop schema {schema} because other objects depend on it"),
            )
            .with_detail(format!("It holds {tables} tables."))
            .with_hint("Use DROP ... CASCADE to drop the dependent objects too."));
        }
        run_alone(
            &self.source,
            &format!("DROP DATABASE {}", identifier(schema)?),
        )
        .await?;
        Ok(true)
    }

    fn definitions(&self) -> Option<&dyn Definitions> {
        Some(self)
    }

    fn row_changes(&self) -> Option<&dyn RowChanges> {
        Some(self)
    }

    fn native(&self) -> Option<&dyn NativeStatements> {
        self.source.allow_execute.then_some(self)
    }
}

#[async_trait]
impl NativeStatements for TableWriter {
    async fn execute(&self, text: &str) -> Result<()> {
        if text.contains('\0') {
            return Err(Error::new(
                SqlState::SYNTAX_ERROR,
                "the native text holds a NUL",
            ));
        }
        let mut session = writing_session(&self.source).await?;
        session.run();
        // The protocol's way for one statement only.
        let outcome = session.conn().exec_drop(text, Params::Empty).await;
        session.idle();
        outcome.map_err(|error| statement_error(self.source.catalog(), &error))
    }
}

impl TableWriter {
    async fn insert(&self, target: InsertTarget) -> Result<Box<dyn TableSink>> {
        let table = self.must_take_rows(&target.schema, &target.table).await?;
        let columns = target
            .columns
            .iter()
            .map(|name| Target::of(&table, name))
            .collect::<Result<Vec<_>>>()?;
        let source = &self.source;
        conflict::check(source, &target, &table).await?;
        let mut session = writing_session(source).await?;
        let (place, conflict) = conflict::prepare(source, &mut session, &target, &table).await?;
        run(source, &mut session, "START TRANSACTION").await?;
        let sink = RowSink::new(source.clone(), session, place, columns)?;
        Ok(Box::new(sink.on_conflict(conflict)))
    }

    async fn create(&self, table: NewTable) -> Result<Box<dyn TableSink>> {
        if !self.has_schema(&table.schema).await? {
            return Err(Error::new(
                SqlState::INVALID_SCHEMA_NAME,
                format!("schema \"{}\" does not exist", table.schema),
            ));
        }
        let existing = self.kind_of(&table.schema, &table.table).await?;
        let replaces = match (existing.as_deref(), table.replace) {
            (None, _) => false,
            (Some("VIEW"), _) | (Some(_), false) => {
                return Err(Error::new(
                    SqlState::DUPLICATE_TABLE,
                    format!("relation \"{}\" already exists", table.table),
                ));
            }
            (Some(_), true) => true,
        };
        let version = self.source.version().await?;
        let definition = types::definition(&table, version)?;
        let mut session = writing_session(&self.source).await?;
        drop_orphans(&self.source, &mut session, &table.schema).await?;
        let staging = reserve_name(&self.source, &mut session).await?;
        let place = qualified(&table.schema, &staging)?;
        run(
            &self.source,
            &mut session,
            &format!("CREATE TABLE {place} {definition}"),
        )
        .await?;
        let target = qualified(&table.schema, &table.table)?;
        let columns = table
            .columns
            .iter()
            .map(|column| Target::made(column.field.name()))
            .collect();
        let sink = RowSink::new(self.source.clone(), session, place, columns)?;
        let old = match replaces {
            true => Some(qualified(
                &table.schema,
                &format!("{staging}{REPLACED_SUFFIX}"),
            )?),
            false => None,
        };
        Ok(Box::new(sink.renamed_to(target, old).await?))
    }

    /// Fails where the table is none, or its engine cannot take rows back.
    async fn must_take_rows(&self, schema: &str, table: &str) -> Result<TableMetadata> {
        let sql = "SELECT t.TABLE_TYPE, e.TRANSACTIONS, t.ENGINE, t.TABLE_NAME \
                   FROM information_schema.TABLES t \
                   LEFT JOIN information_schema.ENGINES e ON e.ENGINE = t.ENGINE \
                   WHERE t.TABLE_SCHEMA = ? AND t.TABLE_NAME = ?";
        let answers = self.source.ask(&[(sql, (schema, table).into())]).await?;
        let found = answers
            .rows
            .iter()
            .flatten()
            .find(|row| text(row, 3).as_deref() == Some(table));
        let described = self.described(schema, table).await?;
        let (Some(row), Some(described)) = (found, described) else {
            return Err(Error::new(
                SqlState::UNDEFINED_TABLE,
                format!("relation \"{table}\" does not exist"),
            ));
        };
        match (text(row, 0).as_deref(), text(row, 1).as_deref()) {
            (_, Some("YES")) => Ok(described),
            (Some("VIEW"), _) => Err(Error::unsupported(format!(
                "\"{table}\" is a view, and rows go into tables only"
            ))),
            _ => Err(Error::unsupported(format!(
                "table \"{table}\" cannot take back the rows of a failed statement"
            ))
            .with_detail(format!(
                "Its engine is {}.",
                text(row, 2).unwrap_or_else(|| "unknown".into())
            ))
            .with_hint("ALTER TABLE … ENGINE = InnoDB at the source.")),
        }
    }

    /// `BASE TABLE`, `VIEW`, …; `None` where there is nothing of that name.
    async fn kind_of(&self, schema: &str, table: &str) -> Result<Option<String>> {
        if !catalog_sql::is_name(schema) || !catalog_sql::is_name(table) {
            return Ok(None);
        }
        let answers = self
            .source
            .ask(&[(catalog_sql::TABLE, (schema, table).into())])
            .await?;
        Ok(answers
            .rows
            .iter()
            .flatten()
            .find(|row| text(row, 0).as_deref() == Some(table))
            .and_then(|row| text(row, 1)))
    }

    async fn has_schema(&self, schema: &str) -> Result<bool> {
        if !catalog_sql::is_name(schema) {
            return Ok(false);
        }
        let sql = "SELECT SCHEMA_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = ?";
        let answers = self.source.ask(&[(sql, (schema,).into())]).await?;
        Ok(answers
            .rows
            .iter()
            .flatten()
            .any(|row| text(row, 0).as_deref() == Some(schema)))
    }

    async fn described(&self, schema: &str, table: &str) -> Result<Option<TableMetadata>> {
        let metadata = CatalogMetadata {
            source: self.source.clone(),
        };
        metadata.table(schema, table).await
    }
}

fn identifier(name: &str) -> Result<String> {
    quote_identifier(name).ok_or_else(|| {
        Error::new(
            SqlState::from_source("42602"),
            format!("\"{name}\" is not a name that MySQL takes"),
        )
    })
}

fn qualified(schema: &str, table: &str) -> Result<String> {
    Ok(format!("{}.{}", identifier(schema)?, identifier(table)?))
}
