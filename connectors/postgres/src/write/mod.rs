//! Writing: rows by COPY, definitions and row changes as statements, each in one read-write transaction.
//!
//! | file | holds |
//! | --- | --- |
//! | `transaction` | the transaction, and how it ends |
//! | `sink` | INSERT and CREATE TABLE AS |
//! | `encode/` | Arrow to COPY data |
//! | `types` | Arrow fields to column types |
//! | `sql` | names, defaults, ON CONFLICT |
//! | `define` | ALTER TABLE, views |
//! | `change` | UPDATE, DELETE, TRUNCATE |
//!
//! Grants, constraints and triggers are the server's business: its errors reach the client with its
//! SQLSTATE, its message and the catalog's name.

mod change;
mod define;
mod encode;
mod sink;
mod sql;
mod transaction;
mod types;

use std::sync::Arc;

use async_trait::async_trait;
use sluice_spi::{
    Definitions, Error, NativeStatements, Result, RowChanges, SqlState, TableSink, WriteTarget,
    Writer,
};

use crate::error::{native_error, statement_error};
use crate::pool::Source;
use sink::CopySink;
use sql::{identifier, qualified};
use transaction::run_alone;

/// Writes to one catalog's server.
pub(crate) struct TableWriter {
    pub(crate) source: Arc<Source>,
    /// The catalog's file says `read_only`.
    pub(crate) read_only: bool,
    /// The catalog's file says `allow_execute`.
    pub(crate) allow_execute: bool,
}

#[async_trait]
impl Writer for TableWriter {
    fn read_only(&self) -> bool {
        self.read_only
    }

    async fn begin(&self, target: WriteTarget) -> Result<Box<dyn TableSink>> {
        Ok(Box::new(match &target {
            WriteTarget::Create(new) => CopySink::create(&self.source, new).await?,
            WriteTarget::Insert(insert) => CopySink::insert(&self.source, insert).await?,
        }))
    }

    async fn drop_table(&self, schema: &str, table: &str, cascade: bool) -> Result<bool> {
        let sql = format!("DROP TABLE {}{}", qualified(schema, table)?, tail(cascade));
        // No such table, no such schema.
        unless(run_alone(&self.source, &sql).await, &["42P01", "3F000"])
    }

    async fn create_schema(&self, schema: &str) -> Result<bool> {
        let sql = format!("CREATE SCHEMA {}", identifier(schema)?);
        unless(run_alone(&self.source, &sql).await, &["42P06"])
    }

    async fn drop_schema(&self, schema: &str, cascade: bool) -> Result<bool> {
        let sql = format!("DROP SCHEMA {}{}", identifier(schema)?, tail(cascade));
        unless(run_alone(&self.source, &sql).await, &["3F000"])
    }

    fn definitions(&self) -> Option<&dyn Definitions> {
        Some(self)
    }

    fn row_changes(&self) -> Option<&dyn RowChanges> {
        Some(self)
    }

    fn native(&self) -> Option<&dyn NativeStatements> {
        self.allow_execute.then_some(self)
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
        let _permit = self.source.writer().await?;
        let session = self.source.session().await?;
        // The text may change settings: nobody else gets the session after it.
        session.make_private();
        session.run();
        let catalog = self.source.catalog();
        session
            .batch_execute("SET default_transaction_read_only = off")
            .await
            .map_err(|error| statement_error(catalog, &error))?;
        // Not in a transaction block, which some statements refuse; and by the protocol's way for one
        // statement only, which is then whole or not at all.
        let done = session
            .execute_raw(text, std::iter::empty::<&str>())
            .await
            .map_err(|error| native_error(catalog, text, &error));
        session.idle();
        done.map(|_| ())
    }
}

fn tail(cascade: bool) -> &'static str {
    if cascade { " CASCADE" } else { "" }
}

/// False where the statement failed with one of those codes, which say that there was nothing to do.
fn unless(outcome: Result<u64>, codes: &[&str]) -> Result<bool> {
    match outcome {
        Ok(_) => Ok(true),
        Err(error) if codes.contains(&error.code.code()) => Ok(false),
        Err(error) => Err(error),
    }
}
