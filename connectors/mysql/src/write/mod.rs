//! Writing: tables appear whole, rows arrive in one transaction.
//!
//! A new table is filled under a name of its own and renamed at the end, which MySQL does at once. Rows
//! for a table that is there go into it in one transaction, so only tables of transactional engines take
//! any. Sessions that write are nobody else's, before and after.
//!
//! A process that dies half way leaves its unfinished table behind, since MySQL's definitions are not
//! transactional. Such a table is held by a named lock that ends with the session; the next writer drops
//! those whose lock is free.

mod sink;
mod types;
mod values;

use std::sync::Arc;

use async_trait::async_trait;
use mysql_async::prelude::Queryable;
use mysql_async::{Params, Row};
use sluice_spi::{Error, NewTable, Result, SqlState, TableSink, WriteTarget, Writer};

use crate::catalog_sql::{self, text};
use crate::error::statement_error;
use crate::literal::quote_identifier;
use crate::pool::{Session, Source};
use sink::RowSink;

/// Begins the names of tables that are not finished; they are in no listing.
pub(crate) const STAGING_PREFIX: &str = "_sluice_staging_";

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
            WriteTarget::Insert(target) => {
                if target.on_conflict.is_some() {
                    return Err(Error::unsupported("ON CONFLICT is not supported for MySQL")
                        .with_detail(
                            "MySQL takes a conflict of any unique key for the one that is meant.",
                        )
                        .with_source(self.source.catalog()));
                }
                self.must_take_rows(&target.schema, &target.table).await?;
                let mut session = writing_session(&self.source).await?;
                let table = qualified(&target.schema, &target.table)?;
                run(&self.source, &mut session, "START TRANSACTION").await?;
                let sink = RowSink::new(self.source.clone(), session, table, &target.columns)?;
                Ok(Box::new(sink))
            }
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
                self.execute(&sql).await?;
                Ok(true)
            }
        }
    }

    async fn create_schema(&self, schema: &str) -> Result<bool> {
        if self.has_schema(schema).await? {
            return Ok(false);
        }
        self.execute(&format!("CREATE DATABASE {}", identifier(schema)?))
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
        self.execute(&format!("DROP DATABASE {}", identifier(schema)?))
            .await?;
        Ok(true)
    }
}

impl TableWriter {
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
        self.drop_orphans(&mut session, &table.schema).await?;
        let staging = self.reserve_name(&mut session).await?;
        let place = qualified(&table.schema, &staging)?;
        run(
            &self.source,
            &mut session,
            &format!("CREATE TABLE {place} {definition}"),
        )
        .await?;
        let target = qualified(&table.schema, &table.table)?;
        let names: Vec<String> = table
            .columns
            .iter()
            .map(|column| column.field.name().clone())
            .collect();
        let sink = RowSink::new(self.source.clone(), session, place, &names)?;
        let old = match replaces {
            true => Some(qualified(&table.schema, &format!("{staging}_old"))?),
            false => None,
        };
        Ok(Box::new(sink.renamed_to(target, old).await?))
    }

    /// A name for an unfinished table, held for as long as the session lives.
    async fn reserve_name(&self, session: &mut Session) -> Result<String> {
        let sql = "SELECT CONCAT(CONNECTION_ID(), '_', LEFT(REPLACE(UUID(), '-', ''), 12))";
        let unique = ask_one(&self.source, session, sql).await?;
        let name = format!("{STAGING_PREFIX}{unique}");
        let held = ask_one(
            &self.source,
            session,
            &format!("SELECT GET_LOCK('{name}', 0)"),
        )
        .await?;
        if held != "1" {
            return Err(Error::internal("a name for an unfinished table was taken"));
        }
        Ok(name)
    }

    /// Drops what dead processes left in the schema.
    async fn drop_orphans(&self, session: &mut Session, schema: &str) -> Result<()> {
        let pattern = format!("{}%", STAGING_PREFIX.replace('_', "|_"));
        let sql = format!(
            "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = ? \
             AND TABLE_NAME LIKE '{pattern}' ESCAPE '|' \
             AND IS_FREE_LOCK(REPLACE(TABLE_NAME, '_old', '')) = 1"
        );
        session.run();
        let rows: std::result::Result<Vec<Row>, _> =
            session.conn().exec(sql, Params::from((schema,))).await;
        session.idle();
        let rows = rows.map_err(|error| statement_error(self.source.catalog(), &error))?;
        for name in rows.iter().filter_map(|row| text(row, 0)) {
            let sql = format!("DROP TABLE IF EXISTS {}", qualified(schema, &name)?);
            run(&self.source, session, &sql).await?;
            tracing::info!(
                catalog = self.source.catalog(),
                table = name,
                "dropped an unfinished table that a dead process had left"
            );
        }
        Ok(())
    }

    /// Fails where the table is none, or its engine cannot take rows back.
    async fn must_take_rows(&self, schema: &str, table: &str) -> Result<()> {
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
        let Some(row) = found else {
            return Err(Error::new(
                SqlState::UNDEFINED_TABLE,
                format!("relation \"{table}\" does not exist"),
            ));
        };
        match (text(row, 0).as_deref(), text(row, 1).as_deref()) {
            (_, Some("YES")) => Ok(()),
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

    async fn execute(&self, sql: &str) -> Result<()> {
        let mut session = writing_session(&self.source).await?;
        run(&self.source, &mut session, sql).await
    }
}

/// A session that may write, and that nobody gets after it.
async fn writing_session(source: &Source) -> Result<Session> {
    let mut session = source.session().await?;
    session.make_private();
    if session.connection().version.has_read_only() {
        run(source, &mut session, "SET SESSION TRANSACTION READ WRITE").await?;
    }
    Ok(session)
}

/// Runs a statement that returns no rows.
async fn run(source: &Source, session: &mut Session, sql: &str) -> Result<()> {
    session.run();
    let outcome = session.conn().query_drop(sql).await;
    session.idle();
    outcome.map_err(|error| statement_error(source.catalog(), &error))
}

/// The one value of a statement, as text.
async fn ask_one(source: &Source, session: &mut Session, sql: &str) -> Result<String> {
    session.run();
    let outcome: std::result::Result<Option<Option<String>>, _> =
        session.conn().query_first(sql).await;
    session.idle();
    outcome
        .map(|value| value.flatten().unwrap_or_default())
        .map_err(|error| statement_error(source.catalog(), &error))
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
