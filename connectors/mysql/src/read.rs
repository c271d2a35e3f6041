//! Reading: which way, and the stream.
//!
//! | what is asked | how |
//! | --- | --- |
//! | no column (`count(*)`) | the source counts, and only the number travels |
//! | a row by its unique key, a small LIMIT | a prepared statement that the connection keeps, constants as parameters |
//! | anything else | a prepared statement with its constants inside, decoded in a task of its own |
//!
//! All of them use the binary protocol: a float in the text protocol has lost digits. A stream asks the
//! source at its first poll, and dropping it kills what runs there.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use futures::{Stream, StreamExt, TryStreamExt, stream};
use sluice_spi::{BatchStream, Error, ReadRequest, Reader, Result, TableHandle};
use tokio::sync::mpsc;

use crate::config::ZeroDates;
use crate::facts::Facts;
use crate::pool::Source;
use crate::render::{Constants, Query, RemoteSql, select};
use crate::scan::Scan;
use crate::splits::KeyRange;
use crate::types::ColumnType;

/// Rows up to which the answer is read where it is asked for: about what one round trip carries.
const SMALL_LIMIT: usize = 1_000;

/// Parameters that a prepared statement has at most: longer lists differ from each other, and a
/// statement for each length would push the others out of the connection's cache.
const MAX_PARAMETERS: usize = 64;

/// Batches that wait between the decoding task and the engine: one that is taken, one that is ready.
const BATCHES_AHEAD: usize = 2;

/// How a read goes to the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// `SELECT count(*)`.
    Count,
    /// Few rows, read where they are asked for.
    Few,
    /// Any number of rows, decoded apart.
    Rows,
}

/// What a read will do, before any I/O.
pub(crate) struct ReadPlan {
    pub(crate) access: Access,
    /// The SELECT.
    pub(crate) sql: RemoteSql,
    /// Types of the projected columns.
    pub(crate) types: Vec<ColumnType>,
    pub(crate) zero_dates: ZeroDates,
    /// Runs the user's own text.
    pub(crate) native: bool,
}

impl ReadPlan {
    /// Plans a read of `handle`.
    pub(crate) fn new(
        handle: &TableHandle,
        projection: &[usize],
        limit: Option<usize>,
        range: Option<&KeyRange>,
    ) -> Result<ReadPlan> {
        let facts = Facts::of(handle)?;
        let relation = &handle.relation;
        let types = projection
            .iter()
            .map(|index| facts.columns.get(*index).cloned())
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| Error::internal("a projection is outside of its table"))?;
        let query = Query {
            relation,
            facts: &facts,
            projection,
            limit,
            range,
        };
        let written = |constants| {
            select(&query, constants).ok_or_else(|| {
                Error::internal("a table handle cannot be written in the source's SQL")
            })
        };
        let small = limit.is_some_and(|limit| limit <= SMALL_LIMIT)
            || facts.is_key_lookup(relation)
            || relation
                .max_rows()
                .is_some_and(|rows| rows <= SMALL_LIMIT as u64);
        let access = match (projection.is_empty(), small) {
            (true, _) => Access::Count,
            (false, true) => Access::Few,
            (false, false) => Access::Rows,
        };
        let mut sql = written(match access {
            Access::Rows => Constants::Inline,
            _ => Constants::Parameters,
        })?;
        if sql.parameters.len() > MAX_PARAMETERS {
            sql = written(Constants::Inline)?;
        }
        Ok(ReadPlan {
            access,
            sql,
            types,
            zero_dates: facts.zero_dates,
            native: relation
                .leaves()
                .iter()
                .any(|leaf| matches!(leaf, sluice_spi::Relation::Native { .. })),
        })
    }
}

/// Reads the catalog's tables.
pub(crate) struct TableReader {
    pub(crate) source: Arc<Source>,
}

impl Reader for TableReader {
    fn read(&self, request: ReadRequest) -> Result<BatchStream> {
        let schema = request.projected_schema()?;
        let range = KeyRange::of(&request.split)?;
        let plan = ReadPlan::new(
            &request.handle,
            &request.projection,
            request.limit,
            range.as_ref(),
        )?;
        let source = self.source.clone();
        let access = plan.access;
        let start = async move {
            match access {
                Access::Count => {
                    let rows = Scan::count(&source, &plan).await?;
                    Ok(row_counts(schema, rows, request.batch_rows).boxed())
                }
                Access::Few => {
                    let scan = Scan::start(&source, &plan, schema, &request).await?;
                    Ok(stream::try_unfold(scan, async |mut scan| {
                        Ok(scan.next_batch().await?.map(|batch| (batch, scan)))
                    })
                    .boxed())
                }
                Access::Rows => Ok(decoded_apart(source, plan, schema, request).boxed()),
            }
        };
        Ok(stream::once(start).try_flatten().boxed())
    }
}

/// Decodes in a task, so that the engine's work and the decoding overlap. The stream owns the task.
fn decoded_apart(
    source: Arc<Source>,
    plan: ReadPlan,
    schema: SchemaRef,
    request: ReadRequest,
) -> impl Stream<Item = Result<RecordBatch>> {
    let (sender, receiver) = mpsc::channel(BATCHES_AHEAD);
    let task = AbortOnDrop(tokio::spawn(async move {
        let run = async {
            let mut scan = Scan::start(&source, &plan, schema, &request).await?;
            while let Some(batch) = scan.next_batch().await? {
                if sender.send(Ok(batch)).await.is_err() {
                    break;
                }
            }
            Ok(())
        };
        if let Err(error) = run.await {
            // Nobody listens any more: nobody to tell.
            let _ = sender.send(Err(error)).await;
        }
    }));
    stream::try_unfold(
        (receiver, task),
        async |(mut receiver, mut task)| match receiver.recv().await {
            Some(batch) => Ok(Some((batch?, (receiver, task)))),
            // The task is over. A panic in it must not look like the end of the table.
            None => match (&mut task.0).await {
                Ok(()) => Ok(None),
                Err(e) => Err(Error::internal(format!(
                    "the task that reads the source failed: {e}"
                ))),
            },
        },
    )
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Batches without columns that have `rows` rows together.
fn row_counts(
    schema: SchemaRef,
    rows: u64,
    batch_rows: usize,
) -> impl Stream<Item = Result<RecordBatch>> {
    stream::iter(
        std::iter::successors(Some(rows), move |left| {
            left.checked_sub(batch_rows.max(1) as u64)
        })
        .map(move |left| {
            let count = usize::try_from(left)
                .unwrap_or(usize::MAX)
                .min(batch_rows.max(1));
            let options = RecordBatchOptions::new().with_row_count(Some(count));
            RecordBatch::try_new_with_options(schema.clone(), Vec::new(), &options)
                .map_err(|e| Error::internal(format!("a count does not fit its schema: {e}")))
        }),
    )
    .try_filter(|batch| std::future::ready(batch.num_rows() > 0))
}
