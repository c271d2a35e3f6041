//! Rows into a table: INSERTs of many rows each, in one transaction.

use std::sync::Arc;
use std::time::Duration;

use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use sluice_spi::{Error, Result, TableSink};

use super::values::RowWriter;
use super::{identifier, run, writing_session};
use crate::pool::{Session, Source};

/// Bytes of an INSERT, below what the server takes: larger ones gain nothing.
const STATEMENT_BYTES: usize = 1 << 20;

/// An unfinished table that is not dropped by then is left to the next writer.
const CLEAN_UP_TIMEOUT: Duration = Duration::from_secs(30);

/// Takes the rows of one statement. Its session writes, and ends with it: so does its transaction.
pub(super) struct RowSink {
    source: Arc<Source>,
    /// `None` after the end.
    session: Option<Session>,
    /// Where rows go.
    table: String,
    /// `INSERT INTO … (…) VALUES `
    head: String,
    statement_bytes: usize,
    rows: u64,
    rename: Option<Rename>,
}

/// A new table takes its name at the end.
struct Rename {
    target: String,
    /// Where the table goes that is replaced.
    old: Option<String>,
}

impl RowSink {
    pub(super) fn new(
        source: Arc<Source>,
        mut session: Session,
        table: String,
        columns: &[String],
    ) -> Result<RowSink> {
        let names = columns
            .iter()
            .map(|name| identifier(name))
            .collect::<Result<Vec<_>>>()?;
        let statement_bytes = STATEMENT_BYTES.min(session.connection().max_allowed_packet / 2);
        Ok(RowSink {
            head: format!("INSERT INTO {table} ({}) VALUES ", names.join(", ")),
            source,
            session: Some(session),
            table,
            statement_bytes,
            rows: 0,
            rename: None,
        })
    }

    /// The rows go into an unfinished table, which takes the name `target` at the end.
    pub(super) async fn renamed_to(
        mut self,
        target: String,
        old: Option<String>,
    ) -> Result<RowSink> {
        self.rename = Some(Rename { target, old });
        self.run("START TRANSACTION").await?;
        Ok(self)
    }

    async fn run(&mut self, sql: &str) -> Result<()> {
        match &mut self.session {
            Some(session) => run(&self.source, session, sql).await,
            None => Err(Error::internal("rows were written after a statement's end")),
        }
    }
}

#[async_trait]
impl TableSink for RowSink {
    async fn write(&mut self, batch: RecordBatch) -> Result<()> {
        let writer = RowWriter::new(&batch)?;
        let mut sql = String::with_capacity(self.statement_bytes + 4_096);
        let mut row = 0;
        while row < batch.num_rows() {
            sql.clear();
            sql.push_str(&self.head);
            let first = row;
            while row < batch.num_rows() && (row == first || sql.len() < self.statement_bytes) {
                if row > first {
                    sql.push(',');
                }
                writer.write(row, &mut sql)?;
                row += 1;
            }
            self.run(&sql).await?;
        }
        self.rows += batch.num_rows() as u64;
        Ok(())
    }

    async fn commit(mut self: Box<Self>) -> Result<u64> {
        self.run("COMMIT").await?;
        if let Some(Rename { target, old }) = &self.rename {
            let table = &self.table;
            // All of them at once, or none.
            let (sql, old) = match old {
                None => (format!("RENAME TABLE {table} TO {target}"), None),
                Some(old) => (
                    format!("RENAME TABLE {target} TO {old}, {table} TO {target}"),
                    Some(old.clone()),
                ),
            };
            self.run(&sql).await?;
            self.rename = None;
            if let Some(old) = old {
                self.run(&format!("DROP TABLE {old}")).await?;
            }
        }
        self.session = None;
        Ok(self.rows)
    }
}

impl Drop for RowSink {
    fn drop(&mut self) {
        // Ends the transaction with the session.
        let session = self.session.take();
        if self.rename.is_none() {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let (source, table) = (self.source.clone(), self.table.clone());
        drop(session);
        // Not owned by anyone, since its owner is gone: bounded by CLEAN_UP_TIMEOUT instead.
        runtime.spawn(async move {
            let drop_it = async {
                let mut session = writing_session(&source).await?;
                run(
                    &source,
                    &mut session,
                    &format!("DROP TABLE IF EXISTS {table}"),
                )
                .await
            };
            match tokio::time::timeout(CLEAN_UP_TIMEOUT, drop_it).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::warn!(%error, table, "an unfinished table could not be dropped");
                }
                Err(_) => tracing::warn!(table, "an unfinished table could not be dropped in time"),
            }
        });
    }
}
