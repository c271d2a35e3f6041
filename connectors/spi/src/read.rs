//! Reading: splits, and a stream of batches for each.

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use futures::stream::BoxStream;

use crate::{PhysicalExpr, Result, SnapshotToken, Split, TableHandle};

/// Batches of one split. Dropping it ends the work at the source at once.
pub type BatchStream = BoxStream<'static, Result<RecordBatch>>;

/// What the planner knows when it asks for splits.
#[derive(Debug, Clone)]
pub struct SplitRequest {
    /// The query, for sources that keep one snapshot per query.
    pub query_id: Arc<str>,
    /// How many pieces could be read at once (partitions over all tasks). A hint.
    pub parallelism: usize,
    /// The query uses this many rows at most, so that more than one piece would read for nothing.
    pub limit: Option<usize>,
}

/// Cuts a table into splits.
#[async_trait]
pub trait SplitSource: Send + Sync {
    /// The pieces of `handle`, each row in just one of them. May ask the source. None is a legal answer
    /// for an empty table.
    async fn splits(&self, handle: &TableHandle, request: &SplitRequest) -> Result<Vec<Split>>;
}

/// A filter that a join or a top-N above learns while it runs. It only ever drops rows that the operator
/// above would drop too, so a reader may apply it, in part or not at all.
pub type DynamicFilter = Arc<dyn PhysicalExpr>;

/// How much a source takes of the keys that a join above a scan learns while it runs.
///
/// A connector that names such limits has its reads held back until the keys are known, and gets them as
/// ordinary filters ([`crate::Pushdown::apply_filter`]) inside of [`ReadRequest::handle`]. One that applies
/// [`ReadRequest::dynamic_filters`] row by row while it reads needs none of this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunTimeKeys {
    /// Keys of one column that are sent at most; of more, only the smallest and the largest are.
    pub max_keys: usize,
    /// How long a read may wait for keys that are still being collected, where the session does not say.
    pub wait: Duration,
}

/// Counts what a scan took from its source. The scan node gives one to each reader.
pub trait ScanMetrics: Send + Sync {
    /// Bytes that came from the source (over the wire, or read from files).
    fn add_source_bytes(&self, bytes: usize);
    /// A named count worth showing in EXPLAIN ANALYZE ("row groups pruned").
    fn add_count(&self, name: &'static str, count: usize);
}

/// One read of one split.
#[derive(Clone)]
pub struct ReadRequest {
    /// The query.
    pub query_id: Arc<str>,
    /// The table, pushdowns included.
    pub handle: TableHandle,
    /// The piece.
    pub split: Split,
    /// The Arrow schema of all of the handle's columns.
    pub schema: SchemaRef,
    /// Which of them to return, in order; may be empty (`count(*)`: batches carry a row count only).
    pub projection: Vec<usize>,
    /// The engine uses this many rows at most of this split, so a reader may stop there. It must not
    /// return fewer while it has more.
    pub limit: Option<usize>,
    /// Filters over `schema` (column indices into it) that may become known while the read runs.
    pub dynamic_filters: Vec<DynamicFilter>,
    /// The snapshot that all reads of the query share; `None` where this is its only statement at the
    /// source, or the source has none.
    pub snapshot: Option<SnapshotToken>,
    /// Rows per batch to aim for.
    pub batch_rows: usize,
    /// Counters.
    pub metrics: Arc<dyn ScanMetrics>,
}

impl ReadRequest {
    /// The schema of the batches to return.
    pub fn projected_schema(&self) -> Result<SchemaRef> {
        self.schema
            .project(&self.projection)
            .map(Arc::new)
            .map_err(|e| crate::Error::internal(format!("projection outside of the table: {e}")))
    }
}

/// Reads splits.
pub trait Reader: Send + Sync {
    /// Starts nothing: the source is asked at the stream's first poll. Batches have exactly the schema
    /// [`ReadRequest::projected_schema`].
    fn read(&self, request: ReadRequest) -> Result<BatchStream>;
}

/// What a scan does at the source, for EXPLAIN.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScanDescription {
    /// The statement that the source will run, where it runs one.
    pub remote_sql: Option<String>,
    /// Further lines, each a name and a value ("Files", "12 of 40 after partition pruning").
    pub facts: Vec<(String, String)>,
}
