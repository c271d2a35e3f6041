//! What the front asks of the coordinator: prepare a statement, execute it, get a stream of batches.
//!
//! The front (protocol, sessions) and the coordinator (query life) meet here and nowhere else.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{FieldRef, SchemaRef};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::Statement;
use futures::stream::BoxStream;
use sluice_spi::Result;
use tokio_util::sync::CancellationToken;

/// What a session tells of itself with each statement. Cheap to clone.
#[derive(Debug, Clone)]
pub struct SessionView {
    /// The backend's process id as the client knows it; unique in this gateway.
    pub backend_pid: i32,
    /// Who is logged in.
    pub user: Arc<str>,
    /// The current database: a catalog's name, or `sluice`.
    pub database: Arc<str>,
    /// Schemas to look unqualified names up in, `pg_catalog` not included unless the user put it there.
    pub search_path: Arc<[String]>,
    /// The session's settings by lower-case name, PostgreSQL's and `sluice.*`, defaults included.
    pub settings: Arc<BTreeMap<String, String>>,
    /// Between BEGIN and COMMIT: what is committed now cannot be undone by the ROLLBACK to come.
    pub in_transaction_block: bool,
    /// The client's address, for logs and `pg_stat_activity`.
    pub client_address: Option<std::net::SocketAddr>,
    /// Every prepared statement, for `pg_prepared_statements`: name and text.
    pub prepared_statements: Arc<Vec<(String, String)>>,
}

impl SessionView {
    /// A setting's value; empty where it is not set.
    pub fn setting(&self, name: &str) -> &str {
        self.settings.get(name).map_or("", String::as_str)
    }
}

/// A planned statement. Lives as long as the client's prepared statement and may run many times.
pub trait Prepared: Send + Sync + std::any::Any {
    /// One field per parameter, `$1` first, with the PostgreSQL type tag where it has one.
    fn parameters(&self) -> &[FieldRef];
    /// The columns it returns; `None` when it returns no rows at all (`INSERT`, DDL).
    fn output(&self) -> Option<&SchemaRef>;
    /// For downcasts by the engine that made it.
    fn as_any(&self) -> &dyn std::any::Any;
}

/// What running a statement gives.
pub enum Execution {
    /// Rows. The command tag is `verb`, and for `SELECT` and `FETCH` the row count after it.
    Rows(RowStream),
    /// No rows; the whole command tag ("INSERT 0 5", "CREATE TABLE").
    Done(String),
}

/// Rows as they come. Dropping it ends the query everywhere.
pub struct RowStream {
    /// The columns.
    pub schema: SchemaRef,
    /// `SELECT`, `EXPLAIN`, `SHOW`, …
    pub verb: &'static str,
    /// The statement was planned again, since a table had changed, and has other columns now than when it
    /// was prepared.
    pub changed: bool,
    /// The batches.
    pub batches: BoxStream<'static, Result<RecordBatch>>,
}

/// The coordinator, as the front sees it.
#[async_trait]
pub trait Engine: Send + Sync {
    /// Binds and optimizes. `parameter_types` are the client's declarations, `None` where it made none;
    /// there may be fewer than the statement has parameters.
    async fn prepare(
        &self,
        session: &SessionView,
        statement: &Statement,
        text: &str,
        parameter_types: &[Option<FieldRef>],
    ) -> Result<Arc<dyn Prepared>>;

    /// A statement of that text and those declarations that was planned before and means the same in this
    /// session now; `None` where it has to be parsed and prepared.
    fn recall(
        &self,
        _session: &SessionView,
        _text: &str,
        _parameter_types: &[Option<FieldRef>],
    ) -> Option<Arc<dyn Prepared>> {
        None
    }

    /// Runs a prepared statement once. Returns when the first rows could come, not when they are all there.
    /// `cancel` ends it from outside (CancelRequest, `pg_cancel_backend`, shutdown); `statement_timeout`
    /// is the engine's own business, over the whole stream.
    async fn execute(
        &self,
        session: &SessionView,
        prepared: &Arc<dyn Prepared>,
        parameters: Vec<ScalarValue>,
        cancel: CancellationToken,
    ) -> Result<Execution>;

    /// The names a client may connect to, in `pg_database`'s order.
    fn databases(&self) -> Vec<String>;
}
