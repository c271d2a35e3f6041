//! The rows of one INSERT or CREATE TABLE AS: a `COPY … FROM STDIN` inside of one transaction.
//!
//! ```text
//! batches ─► encode ─► COPY ─► the table                       usual
//!                         └──► temporary table ─► INSERT …     ON CONFLICT, views, rules, row security
//! ```
//!
//! Back-pressure is the protocol's: one piece of data waits for the socket. A row that the server refuses is
//! reported at the end of its COPY, so a long one is cut into several, all in the one transaction.

use std::pin::Pin;
use std::sync::Arc;

use arrow::datatypes::Schema;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::SinkExt;
use sluice_spi::{Error, InsertTarget, NewTable, Result, SqlState, TableSink};
use tokio_postgres::CopyInSink;

use super::encode::{CopyEncoder, Target};
use super::sql::{column, identifier, identifiers, on_conflict, qualified};
use super::transaction::WriteTransaction;
use super::types::{TypeName, column_type};
use crate::error::statement_error;
use crate::pool::Source;

/// Bytes that are handed to the socket at once: large enough that the messages' overhead is nothing,
/// small enough that encoding and sending overlap.
const PIECE_BYTES: usize = 256 << 10;

/// Bytes of one COPY. A refused row is reported after so many bytes at most; a new COPY costs one round
/// trip.
const COPY_BYTES: usize = 32 << 20;

/// The temporary table of a statement that cannot copy into its target.
const STAGING: &str = "pg_temp.\"sluice_rows\"";

/// Where a table that replaces another is made, in the same schema. The name is taken inside of one
/// transaction only; two that replace tables of one schema at once are one after the other.
const REPLACEMENT: &str = "sluice replacement";

/// How the rows get into the target.
enum Path {
    /// By COPY.
    Copy,
    /// By COPY into [`STAGING`] and this statement after it.
    Stage(String),
    /// They have no columns: only their number counts, and this statement makes that many.
    Count(String),
}

/// What is copied into.
struct Copied {
    /// The COPY statement up to its format.
    copy: String,
    targets: Vec<Target>,
}

/// Takes the rows of one statement.
pub(crate) struct CopySink {
    transaction: WriteTransaction,
    path: Path,
    columns: Copied,
    /// Chosen by the first batch.
    encoder: Option<Arc<CopyEncoder>>,
    running: Option<Pin<Box<CopyInSink<Bytes>>>>,
    buffer: BytesMut,
    /// Bytes of the running COPY.
    copied: usize,
    rows: u64,
    /// Statements that put a replacement in its place.
    at_commit: Vec<String>,
    /// The server has taken every row.
    finished: bool,
}

impl CopySink {
    /// Rows for a table that is there.
    pub(crate) async fn insert(source: &Arc<Source>, target: &InsertTarget) -> Result<CopySink> {
        let transaction = WriteTransaction::begin(source).await?;
        match CopySink::open(&transaction, target, false).await {
            Ok((columns, path)) => Ok(CopySink::new(transaction, columns, path)),
            Err(error) => {
                transaction.roll_back().await;
                Err(error)
            }
        }
    }

    /// A new table and its rows.
    pub(crate) async fn create(source: &Arc<Source>, new: &NewTable) -> Result<CopySink> {
        let transaction = WriteTransaction::begin(source).await?;
        match CopySink::open_new(&transaction, new).await {
            Ok(((columns, path), at_commit)) => Ok(CopySink {
                at_commit,
                ..CopySink::new(transaction, columns, path)
            }),
            Err(error) => {
                transaction.roll_back().await;
                Err(error)
            }
        }
    }

    fn new(transaction: WriteTransaction, columns: Copied, path: Path) -> CopySink {
        CopySink {
            transaction,
            path,
            columns,
            encoder: None,
            running: None,
            buffer: BytesMut::new(),
            copied: 0,
            rows: 0,
            at_commit: Vec::new(),
            finished: false,
        }
    }

    async fn open_new(
        transaction: &WriteTransaction,
        new: &NewTable,
    ) -> Result<((Copied, Path), Vec<String>)> {
        let mut table = new.table.clone();
        let mut at_commit = Vec::new();
        if new.replace {
            if !new.primary_key.is_empty() || !new.unique.is_empty() {
                // Their indexes would keep the replacement's name.
                return Err(Error::unsupported(
                    "CREATE OR REPLACE TABLE takes no keys at this source",
                ));
            }
            table = REPLACEMENT.to_owned();
            let old = qualified(&new.schema, &new.table)?;
            at_commit = vec![
                format!("DROP TABLE IF EXISTS {old}"),
                format!(
                    "ALTER TABLE {} RENAME TO {}",
                    qualified(&new.schema, &table)?,
                    identifier(&new.table)?
                ),
            ];
        }
        transaction
            .execute(&create_table(transaction, new, &table).await?)
            .await?;
        let target = InsertTarget {
            schema: new.schema.clone(),
            table,
            columns: new
                .columns
                .iter()
                .map(|column| column.field.name().clone())
                .collect(),
            on_conflict: None,
        };
        Ok((CopySink::open(transaction, &target, true).await?, at_commit))
    }

    /// Asks the server for the target's types, which also says what stands against writing there. The rows
    /// of a new table bring the numbers of its identity columns.
    async fn open(
        transaction: &WriteTransaction,
        target: &InsertTarget,
        is_new: bool,
    ) -> Result<(Copied, Path)> {
        let table = qualified(&target.schema, &target.table)?;
        if target.columns.is_empty() {
            let conflict = match &target.on_conflict {
                Some(conflict) => on_conflict(conflict)?,
                None => String::new(),
            };
            // Checked now, before any row is computed.
            transaction
                .prepare(&format!("INSERT INTO {table} DEFAULT VALUES"))
                .await?;
            let path = Path::Count(format!(
                "INSERT INTO {table} SELECT FROM pg_catalog.generate_series(1, $1::int8){conflict}"
            ));
            let nothing = Copied {
                copy: String::new(),
                targets: Vec::new(),
            };
            return Ok((nothing, path));
        }
        let columns = identifiers(&target.columns)?;
        let parameters: Vec<String> = (1..=target.columns.len())
            .map(|n| format!("${n}"))
            .collect();
        let statement = transaction
            .prepare(&format!(
                "INSERT INTO {table} ({columns}) {}VALUES ({})",
                if is_new {
                    "OVERRIDING SYSTEM VALUE "
                } else {
                    ""
                },
                parameters.join(", ")
            ))
            .await?;
        let targets = statement.params().iter().zip(&target.columns);
        let targets = targets
            .map(|(column_type, name)| Target {
                name: name.clone(),
                column_type: column_type.clone(),
            })
            .collect();
        let copyable = target.on_conflict.is_none() && is_copyable(transaction, target).await?;
        let (into, path) = if copyable {
            (table, Path::Copy)
        } else {
            transaction
                .execute(&format!(
                    "CREATE TEMPORARY TABLE {STAGING} ON COMMIT DROP AS SELECT {columns} FROM {table} WITH NO DATA"
                ))
                .await?;
            let conflict = match &target.on_conflict {
                Some(conflict) => on_conflict(conflict)?,
                None => String::new(),
            };
            let insert = format!(
                "INSERT INTO {table} ({columns}) SELECT {columns} FROM {STAGING}{conflict}"
            );
            // Checked now, before any row is computed.
            transaction.prepare(&insert).await?;
            (STAGING.to_owned(), Path::Stage(insert))
        };
        let copy = format!("COPY {into} ({columns}) FROM STDIN");
        Ok((Copied { copy, targets }, path))
    }

    fn failed(&self, error: &tokio_postgres::Error) -> Error {
        statement_error(self.transaction.catalog(), error)
    }

    fn encoder(&mut self, rows: &Schema) -> Result<Arc<CopyEncoder>> {
        if let Some(encoder) = &self.encoder {
            return Ok(encoder.clone());
        }
        let encoder = Arc::new(CopyEncoder::new(&self.columns.targets, rows)?);
        self.encoder = Some(encoder.clone());
        Ok(encoder)
    }

    async fn send(&mut self, encoder: &CopyEncoder) -> Result<()> {
        let mut sink = match self.running.take() {
            Some(sink) => sink,
            None => {
                let session = self.transaction.session();
                let copy = format!("{} (FORMAT {})", self.columns.copy, encoder.format());
                let sink = session.copy_in::<_, Bytes>(&copy).await;
                let mut sink = Box::pin(sink.map_err(|e| self.failed(&e))?);
                let header = Bytes::from_static(encoder.header());
                sink.feed(header).await.map_err(|e| self.failed(&e))?;
                sink
            }
        };
        let piece = self.buffer.split().freeze();
        self.copied += piece.len();
        sink.send(piece).await.map_err(|e| self.failed(&e))?;
        self.running = Some(sink);
        if self.copied >= COPY_BYTES {
            self.end_copy(encoder).await?;
        }
        Ok(())
    }

    async fn end_copy(&mut self, encoder: &CopyEncoder) -> Result<()> {
        let Some(mut sink) = self.running.take() else {
            return Ok(());
        };
        self.copied = 0;
        let trailer = Bytes::from_static(encoder.trailer());
        sink.feed(trailer).await.map_err(|e| self.failed(&e))?;
        let rows = sink.as_mut().finish().await.map_err(|e| self.failed(&e))?;
        if matches!(self.path, Path::Copy) {
            self.rows += rows;
        }
        Ok(())
    }

    async fn finish_rows(&mut self) -> Result<()> {
        if self.finished {
            return Ok(());
        }
        if let Some(encoder) = self.encoder.clone() {
            if !self.buffer.is_empty() {
                self.send(&encoder).await?;
            }
            self.end_copy(&encoder).await?;
        }
        match &self.path {
            Path::Copy => {}
            Path::Stage(insert) => self.rows = self.transaction.execute(insert).await?,
            Path::Count(insert) => {
                let rows = i64::try_from(self.rows).unwrap_or(i64::MAX);
                self.rows = self
                    .transaction
                    .session()
                    .execute(insert, &[&rows])
                    .await
                    .map_err(|e| self.failed(&e))?;
            }
        }
        for statement in &self.at_commit {
            self.transaction.execute(statement).await?;
        }
        self.finished = true;
        Ok(())
    }
}

#[async_trait]
impl TableSink for CopySink {
    async fn write(&mut self, batch: RecordBatch) -> Result<()> {
        if let Path::Count(_) = self.path {
            self.rows += batch.num_rows() as u64;
            return Ok(());
        }
        let encoder = self.encoder(&batch.schema())?;
        // A batch may be as large as its maker likes: its rows go out in pieces.
        let mut start = 0;
        while start < batch.num_rows() {
            let rows = ENCODED_ROWS.min(batch.num_rows() - start);
            encoder
                .encode(&batch.slice(start, rows), &mut self.buffer)
                .map_err(|error| error.with_source(self.transaction.catalog()))?;
            start += rows;
            if self.buffer.len() >= PIECE_BYTES {
                self.send(&encoder).await?;
            }
        }
        Ok(())
    }

    async fn finish(&mut self) -> Result<()> {
        let outcome = self.finish_rows().await;
        if outcome.is_err() {
            self.transaction.roll_back().await;
        }
        outcome
    }

    async fn commit(mut self: Box<Self>) -> Result<u64> {
        let outcome = self.finish_rows().await;
        self.transaction.end(outcome.map(|()| self.rows)).await
    }
}

/// Rows that are encoded between two looks at the buffer's length.
const ENCODED_ROWS: usize = 2_048;

/// COPY knows neither views nor rules, and refuses to work under row security.
async fn is_copyable(transaction: &WriteTransaction, target: &InsertTarget) -> Result<bool> {
    let row = transaction
        .session()
        .query_opt(
            "SELECT c.relkind IN ('r', 'p', 'f') AND NOT c.relhasrules AND NOT pg_catalog.row_security_active(c.oid)
             FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
             WHERE n.nspname = $1::text AND c.relname = $2::text",
            &[&target.schema, &target.table],
        )
        .await
        .map_err(|error| statement_error(transaction.catalog(), &error))?;
    Ok(row.is_some_and(|row| row.get(0)))
}

/// The CREATE TABLE statement, its types looked up.
async fn create_table(
    transaction: &WriteTransaction,
    new: &NewTable,
    name: &str,
) -> Result<String> {
    let mut parts = Vec::with_capacity(new.columns.len() + 1);
    for new_column in &new.columns {
        let type_name = type_name(transaction, column_type(&new_column.field)?).await?;
        parts.push(column(new_column, &type_name)?);
    }
    if !new.primary_key.is_empty() {
        parts.push(format!("PRIMARY KEY ({})", identifiers(&new.primary_key)?));
    }
    for key in &new.unique {
        parts.push(format!("UNIQUE ({})", identifiers(key)?));
    }
    Ok(format!(
        "CREATE TABLE {} ({})",
        qualified(&new.schema, name)?,
        parts.join(", ")
    ))
}

/// The type's name, in the server's own spelling where it is not one of PostgreSQL's.
pub(crate) async fn type_name(transaction: &WriteTransaction, name: TypeName) -> Result<String> {
    let (name, dimensions) = match name {
        TypeName::Known(name) => return Ok(name),
        TypeName::Ask { name, dimensions } => (name, dimensions),
    };
    let found = transaction
        .session()
        .query_opt(
            "SELECT pg_catalog.format_type(oid, NULL) FROM pg_catalog.pg_type
             WHERE pg_catalog.format_type(oid, NULL) = $1::text AND typtype <> 'p' LIMIT 1",
            &[&name],
        )
        .await
        .map_err(|error| statement_error(transaction.catalog(), &error))?;
    let spelled: String = match found {
        Some(row) => row
            .try_get(0)
            .map_err(|error| Error::new(SqlState::FDW_ERROR, error.to_string()))?,
        None => "text".to_owned(),
    };
    Ok(spelled + &"[]".repeat(dimensions))
}
