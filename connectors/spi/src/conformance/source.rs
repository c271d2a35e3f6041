//! Reads tables the way the scan node does: splits, then a stream of each, with a limit on the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use futures::future::try_join_all;
use futures::{StreamExt, TryStreamExt};

use crate::{
    BatchStream, Connector, DynamicFilter, ReadRequest, ScanMetrics, SnapshotRead, SnapshotToken,
    Split, SplitRequest, TableHandle,
};

/// A read of a small table that takes longer hangs.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// Rows per batch where a check does not care.
const BATCH_ROWS: usize = 8_192;

/// How to read.
#[derive(Clone)]
pub(super) struct Options {
    pub(super) projection: Vec<usize>,
    pub(super) limit: Option<usize>,
    pub(super) batch_rows: usize,
    pub(super) parallelism: usize,
    pub(super) dynamic_filters: Vec<DynamicFilter>,
}

impl Options {
    /// Some columns of one split.
    pub(super) fn columns(projection: Vec<usize>) -> Self {
        Options {
            projection,
            limit: None,
            batch_rows: BATCH_ROWS,
            parallelism: 1,
            dynamic_filters: Vec::new(),
        }
    }

    /// All columns.
    pub(super) fn all(schema: &SchemaRef) -> Self {
        Options::columns((0..schema.fields().len()).collect())
    }
}

struct NoMetrics;

impl ScanMetrics for NoMetrics {
    fn add_source_bytes(&self, _bytes: usize) {}
    fn add_count(&self, _name: &'static str, _count: usize) {}
}

/// A connector under test.
pub(super) struct Source<'a> {
    pub(super) connector: &'a dyn Connector,
    queries: AtomicU64,
}

impl<'a> Source<'a> {
    pub(super) fn new(connector: &'a dyn Connector) -> Self {
        Source {
            connector,
            queries: AtomicU64::new(0),
        }
    }

    /// A query of its own for each read, as sources that keep snapshots per query expect.
    fn next_query(&self) -> Arc<str> {
        let number = self.queries.fetch_add(1, Ordering::Relaxed);
        format!("conformance-{}-{number}", std::process::id()).into()
    }

    /// The splits of a new query.
    pub(super) async fn splits(
        &self,
        handle: &TableHandle,
        parallelism: usize,
    ) -> Result<(Arc<str>, Vec<Split>), String> {
        let request = SplitRequest {
            query_id: self.next_query(),
            parallelism,
            limit: None,
        };
        let splits = timeout("splits", self.connector.splits().splits(handle, &request)).await?;
        Ok((request.query_id, splits.map_err(|e| e.to_string())?))
    }

    /// Opens one split.
    pub(super) fn open(
        &self,
        query_id: &Arc<str>,
        handle: &TableHandle,
        split: &Split,
        schema: &SchemaRef,
        options: &Options,
        snapshot: Option<SnapshotToken>,
    ) -> Result<BatchStream, String> {
        let request = ReadRequest {
            query_id: query_id.clone(),
            handle: handle.clone(),
            split: split.clone(),
            schema: schema.clone(),
            projection: options.projection.clone(),
            limit: options.limit,
            dynamic_filters: options.dynamic_filters.clone(),
            snapshot,
            batch_rows: options.batch_rows,
            metrics: Arc::new(NoMetrics),
        };
        self.connector
            .reader()
            .read(request)
            .map_err(|e| e.to_string())
    }

    /// Every batch of each split, splits read at once.
    pub(super) async fn read_splits(
        &self,
        handle: &TableHandle,
        schema: &SchemaRef,
        options: Options,
    ) -> Result<Vec<Vec<RecordBatch>>, String> {
        let (query_id, splits) = self.splits(handle, options.parallelism).await?;
        // As the coordinator does: several pieces share a snapshot where the source has one.
        let snapshot = match self.connector.snapshots() {
            Some(snapshots) if splits.len() > 1 => {
                let reads = [SnapshotRead {
                    handle,
                    splits: splits.iter().collect(),
                }];
                timeout("a snapshot", snapshots.open(&reads))
                    .await?
                    .map_err(|e| e.to_string())?
            }
            _ => None,
        };
        let token = snapshot.as_ref().map(|snapshot| snapshot.token.clone());
        let expected = Arc::new(
            schema
                .project(&options.projection)
                .map_err(|e| e.to_string())?,
        );
        let reads = splits.iter().map(|split| async {
            let stream = self.open(&query_id, handle, split, schema, &options, token.clone())?;
            let batches: Vec<RecordBatch> =
                stream.try_collect().await.map_err(|e| e.to_string())?;
            match batches.iter().find(|batch| batch.schema() != expected) {
                Some(wrong) => Err(format!(
                    "a batch of {} has the schema {:?} and not {expected:?}",
                    split.label,
                    wrong.schema()
                )),
                None => Ok(batches),
            }
        });
        timeout("a read", try_join_all(reads)).await?
    }

    /// Every batch.
    pub(super) async fn read(
        &self,
        handle: &TableHandle,
        schema: &SchemaRef,
        options: Options,
    ) -> Result<Vec<RecordBatch>, String> {
        Ok(self
            .read_splits(handle, schema, options)
            .await?
            .into_iter()
            .flatten()
            .collect())
    }

    /// Polls each split once and drops it.
    pub(super) async fn read_and_drop(
        &self,
        handle: &TableHandle,
        schema: &SchemaRef,
        options: Options,
    ) -> Result<(), String> {
        let (query_id, splits) = self.splits(handle, options.parallelism).await?;
        for split in &splits {
            let mut stream = self.open(&query_id, handle, split, schema, &options, None)?;
            timeout("the first batch", stream.next())
                .await?
                .transpose()
                .map_err(|e| e.to_string())?;
        }
        Ok(())
    }
}

async fn timeout<T>(what: &str, work: impl Future<Output = T>) -> Result<T, String> {
    tokio::time::timeout(READ_TIMEOUT, work)
        .await
        .map_err(|_| format!("{what} took longer than {} s", READ_TIMEOUT.as_secs()))
}
