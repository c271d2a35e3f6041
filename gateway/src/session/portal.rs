//! Prepared statements, portals and cursors: what a session keeps between messages.
//!
//! A cursor is a portal that SQL made: one namespace. Rows are pulled from the engine only when somebody
//! asks; a portal holds at most one batch that nobody took yet.

use std::sync::Arc;
use std::time::SystemTime;

use arrow::datatypes::{FieldRef, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::scalar::ScalarValue;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use sluice_spi::Result;
use tokio_util::sync::CancellationToken;

use super::utility::Utility;
use crate::engine::Prepared;

/// What a prepared statement does.
#[derive(Clone)]
pub enum Action {
    /// Nothing: an empty text.
    Empty,
    /// About the session.
    Utility(Arc<Utility>),
    /// The engine runs it.
    Query(Arc<dyn Prepared>),
    /// `DECLARE`: the engine runs the cursor's query.
    Declare(Arc<Utility>, Arc<dyn Prepared>),
}

/// A prepared statement.
pub struct PreparedStatement {
    /// Its text as the client sent it.
    pub text: Arc<str>,
    /// Characters of the client's message before it.
    pub offset: u32,
    /// What it does.
    pub action: Action,
    /// One per parameter: what the engine wants.
    pub parameters: Vec<FieldRef>,
    /// One per parameter: what the client writes in; its own declaration where it made one.
    pub wire: Vec<FieldRef>,
    /// The columns it returns.
    pub output: Option<SchemaRef>,
    /// Whether SQL made it (`pg_prepared_statements.from_sql`).
    pub from_sql: bool,
}

/// Rows that are pulled piece by piece.
pub struct RowSource {
    schema: SchemaRef,
    batches: BoxStream<'static, Result<RecordBatch>>,
    pending: Option<RecordBatch>,
    /// Given back; the last one goes first.
    returned: Vec<RecordBatch>,
    ended: bool,
    changed: bool,
}

impl RowSource {
    /// Over an engine's stream.
    pub fn new(schema: SchemaRef, batches: BoxStream<'static, Result<RecordBatch>>) -> Self {
        RowSource {
            schema,
            batches,
            pending: None,
            returned: Vec::new(),
            ended: false,
            changed: false,
        }
    }

    /// The same rows, of other columns than the prepared statement has, where `changed`.
    #[must_use]
    pub fn with_changed(mut self, changed: bool) -> Self {
        self.changed = changed;
        self
    }

    /// Whether the columns are others than the prepared statement has.
    pub fn is_changed(&self) -> bool {
        self.changed
    }

    /// Over one batch.
    pub fn of_batch(batch: RecordBatch) -> Self {
        let schema = batch.schema();
        RowSource {
            schema,
            batches: stream::empty().boxed(),
            pending: Some(batch),
            returned: Vec::new(),
            ended: false,
            changed: false,
        }
    }

    /// No more rows.
    pub fn ended(schema: SchemaRef) -> Self {
        RowSource {
            schema,
            batches: stream::empty().boxed(),
            pending: None,
            returned: Vec::new(),
            ended: true,
            changed: false,
        }
    }

    /// The columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Puts rows back that were taken too early: they come before what is still pending.
    pub fn give_back(&mut self, batch: RecordBatch) {
        self.returned.push(batch);
    }

    /// At most `limit` rows, never an empty batch; `None` at the end, and after an error. Dropping the
    /// future loses no rows.
    pub async fn next(&mut self, limit: usize) -> Option<Result<RecordBatch>> {
        if let Some(batch) = self.returned.pop() {
            if batch.num_rows() <= limit {
                return Some(Ok(batch));
            }
            self.returned
                .push(batch.slice(limit, batch.num_rows() - limit));
            return Some(Ok(batch.slice(0, limit)));
        }
        while self.pending.is_none() {
            if self.ended {
                return None;
            }
            match self.batches.next().await {
                Some(Ok(batch)) if batch.num_rows() == 0 => {}
                Some(Ok(batch)) => self.pending = Some(batch),
                Some(Err(error)) => {
                    self.end();
                    return Some(Err(error));
                }
                None => {
                    self.end();
                    return None;
                }
            }
        }
        let batch = self.pending.take()?;
        if batch.num_rows() <= limit {
            return Some(Ok(batch));
        }
        self.pending = Some(batch.slice(limit, batch.num_rows() - limit));
        Some(Ok(batch.slice(0, limit)))
    }

    /// Lets go of the query behind it.
    fn end(&mut self) {
        self.ended = true;
        self.batches = stream::empty().boxed();
    }
}

/// A result that is being read.
pub struct Rows {
    /// Where rows come from.
    pub source: RowSource,
    /// The command tag's first word.
    pub verb: &'static str,
    /// Ends the query behind it.
    pub cancel: CancellationToken,
    /// For `FETCH`: the cursor that the source belongs to.
    pub cursor: Option<String>,
    /// For `FETCH n`: how many rows are still to come.
    pub limit: Option<u64>,
    /// For `MOVE`: rows are counted and not sent.
    pub discard: bool,
}

/// Where a portal is.
pub enum PortalState {
    /// Not run yet.
    Ready,
    /// Being read.
    Open(Box<Rows>),
    /// Read to its end, or run without rows.
    Finished,
}

/// A bound statement.
pub struct Portal {
    /// What it runs.
    pub statement: Arc<PreparedStatement>,
    /// Its parameters' values.
    pub parameters: Vec<ScalarValue>,
    /// `Bind`'s result formats: 0 text, 1 binary.
    pub binary: Vec<bool>,
    /// Where it is.
    pub state: PortalState,
    /// For cursors: whether it outlives its transaction.
    pub hold: bool,
    /// Whether SQL made it.
    pub is_cursor: bool,
    /// When it was made.
    pub created: SystemTime,
}
