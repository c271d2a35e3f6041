//! Rows into a table: INSERTs of many rows each, in one transaction.

use std::sync::Arc;
use std::time::Duration;

use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use sluice_spi::{Error, Result, SqlState, TableSink};

use super::identifier;
use super::session::{commit, run, writing_session};
use super::target::Target;
use super::values::RowWriter;
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
    conflict: Conflict,
    /// The columns of the rows.
    columns: Arc<[Target]>,
    statement_bytes: usize,
    rows: u64,
    rename: Option<Rename>,
}

/// What happens to rows whose key is there already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Conflict {
    /// The statement fails.
    Fail,
    /// They are left out: this follows the rows of each INSERT.
    Skip(String),
    /// They change what is there: rows are collected in a temporary table, and this statement takes them
    /// from it at the end. A key that comes twice is an error there, as in PostgreSQL.
    Update(String),
    /// As before, and the statement has run.
    Updated,
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
        columns: Vec<Target>,
    ) -> Result<RowSink> {
        let names = columns
            .iter()
            .map(|column| identifier(&column.name))
            .collect::<Result<Vec<_>>>()?;
        let statement_bytes = STATEMENT_BYTES.min(session.connection().max_allowed_packet / 2);
        Ok(RowSink {
            head: format!("INSERT INTO {table} ({}) VALUES ", names.join(", ")),
            source,
            session: Some(session),
            table,
            conflict: Conflict::Fail,
            columns: columns.into(),
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

    /// What to do with rows whose key is there already.
    pub(super) fn on_conflict(mut self, conflict: Conflict) -> RowSink {
        self.conflict = conflict;
        self
    }

    async fn run(&mut self, sql: &str) -> Result<u64> {
        match &mut self.session {
            Some(session) => run(&self.source, session, sql).await,
            None => Err(Error::internal("rows were written after a statement's end")),
        }
    }
}

#[async_trait]
impl TableSink for RowSink {
    async fn write(&mut self, batch: RecordBatch) -> Result<()> {
        let columns = self.columns.clone();
        let writer = RowWriter::new(&batch, &columns)?;
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
            let rows = (row - first) as u64;
            self.rows += match &self.conflict {
                Conflict::Skip(tail) => {
                    sql.push_str(tail);
                    self.run(&sql).await?
                }
                Conflict::Fail => {
                    self.run(&sql).await?;
                    rows
                }
                Conflict::Update(_) | Conflict::Updated => {
                    self.run(&sql).await.map_err(met_twice)?;
                    rows
                }
            };
        }
        Ok(())
    }

    async fn finish(&mut self) -> Result<()> {
        if let Conflict::Update(insert) = &self.conflict {
            let insert = insert.clone();
            self.run(&insert).await?;
            self.conflict = Conflict::Updated;
        }
        Ok(())
    }

    async fn commit(mut self: Box<Self>) -> Result<u64> {
        self.finish().await?;
        let Some(mut session) = self.session.take() else {
            return Err(Error::internal(
                "rows were committed after a statement's end",
            ));
        };
        let committed = commit(&self.source, &mut session).await;
        self.session = Some(session);
        committed?;
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
            if let Some(old) = old
                && let Err(error) = self.run(&format!("DROP TABLE {old}")).await
            {
                // It happened all the same; the next writer drops what is left.
                tracing::warn!(%error, table = old, "a table that was replaced could not be dropped");
            }
        }
        self.session = None;
        Ok(self.rows)
    }
}

/// The error of a key that is among the rows twice.
fn met_twice(error: Error) -> Error {
    match error.code.code() == "23505" {
        true => Error::new(
            SqlState::from_source("21000"),
            "ON CONFLICT DO UPDATE command cannot affect row a second time",
        )
        .with_hint(
            "Ensure that no rows proposed for insertion within the same command have duplicate \
             constrained values.",
        ),
        false => error,
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
                Ok(Ok(_)) => {}
                Ok(Err(error)) => {
                    tracing::warn!(%error, table, "an unfinished table could not be dropped");
                }
                Err(_) => tracing::warn!(table, "an unfinished table could not be dropped in time"),
            }
        });
    }
}
