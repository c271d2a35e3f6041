//! One read-write transaction on a connection of its own. Until it commits, the server shows nothing of
//! it; whatever ends it otherwise (an error, a drop, a crash of this process) undoes all of it.
//!
//! Sessions are read-only by default ([`crate::pool`]): only a transaction that is begun here may write.

use std::sync::Arc;

use sluice_spi::{Error, Result, SqlState};
use tokio::sync::OwnedSemaphorePermit;
use tokio_postgres::Statement;

use crate::error::{is_connection_lost, statement_error};
use crate::pool::{Session, Source};

/// A transaction that is open at the server. Dropped, it ends with its connection.
pub(crate) struct WriteTransaction {
    session: Arc<Session>,
    /// Given back with the session.
    _permit: OwnedSemaphorePermit,
    source: Arc<Source>,
}

impl WriteTransaction {
    /// Opens one. A connection that the server closed while it was idle is replaced once.
    pub(crate) async fn begin(source: &Arc<Source>) -> Result<WriteTransaction> {
        let permit = source.writer().await?;
        let mut attempts = 2;
        loop {
            attempts -= 1;
            let session = source.session().await?;
            // Until the end: dropped half way, the session cancels what runs and closes.
            session.run();
            match session.batch_execute("BEGIN READ WRITE").await {
                Ok(()) => {
                    return Ok(WriteTransaction {
                        session,
                        _permit: permit,
                        source: source.clone(),
                    });
                }
                Err(error) if attempts > 0 && is_connection_lost(&error) => source.lost(&session),
                Err(error) => return Err(statement_error(source.catalog(), &error)),
            }
        }
    }

    /// The catalog's name.
    pub(crate) fn catalog(&self) -> &str {
        self.source.catalog()
    }

    /// The connection.
    pub(crate) fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// Prepares a statement on this connection.
    pub(crate) async fn prepare(&self, sql: &str) -> Result<Statement> {
        self.session
            .prepare(sql)
            .await
            .map_err(|error| statement_error(self.catalog(), &error))
    }

    /// Runs a statement without parameters and gives the rows that it changed.
    pub(crate) async fn execute(&self, sql: &str) -> Result<u64> {
        self.session
            .execute(sql, &[])
            .await
            .map_err(|error| statement_error(self.catalog(), &error))
    }

    /// Makes everything visible.
    pub(crate) async fn commit(self) -> Result<()> {
        match self.session.batch_execute("COMMIT").await {
            Ok(()) => {
                self.session.idle();
                Ok(())
            }
            Err(error) if is_connection_lost(&error) => Err(Error::new(
                SqlState::from_source("08007"),
                format!(
                    "lost the connection to the source of catalog \"{}\" while it committed",
                    self.catalog()
                ),
            )
            .with_detail("Whether the statement took effect is not known.")
            .with_source(self.catalog())),
            // A deferred constraint. The server has rolled back already.
            Err(error) => {
                self.session.idle();
                Err(statement_error(self.catalog(), &error))
            }
        }
    }

    /// Undoes everything, and leaves the connection to others.
    pub(crate) async fn roll_back(&self) {
        // Where this fails the connection is broken, and is closed by the drop.
        if self.session.batch_execute("ROLLBACK").await.is_ok() {
            self.session.idle();
        }
    }

    /// Commits what `outcome` is the end of, or rolls it back.
    pub(crate) async fn end<T>(self, outcome: Result<T>) -> Result<T> {
        match outcome {
            Ok(value) => self.commit().await.map(|()| value),
            Err(error) => {
                self.roll_back().await;
                Err(error)
            }
        }
    }
}

/// Runs one statement in a transaction of its own.
pub(crate) async fn run_alone(source: &Arc<Source>, sql: &str) -> Result<u64> {
    let transaction = WriteTransaction::begin(source).await?;
    let outcome = transaction.execute(sql).await;
    transaction.end(outcome).await
}
