//! Streams of readers that get their batches by asking for the next one.
//!
//! What every source that is read by statements needs, and none should write again: the decoding beside the
//! engine's own work, the answer of a source that only counts, and the error of a table that is no longer so.

use std::future::Future;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use futures::{StreamExt, TryStreamExt, stream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::{BatchStream, Error, Result, SqlState};

/// Batches that wait between the decoding task and the engine: one that is taken, one that is ready.
const BATCHES_AHEAD: usize = 2;

/// A running read. Dropping it ends what runs at the source.
pub trait BatchSource: Send + 'static {
    /// The next batch, or `None` after the last one.
    fn next_batch(&mut self) -> impl Future<Output = Result<Option<RecordBatch>>> + Send;
}

/// Asks for each batch where it is wanted: for few rows.
pub fn stream_here(source: impl BatchSource) -> BatchStream {
    stream::try_unfold(source, async |mut source| {
        Ok(source.next_batch().await?.map(|batch| (batch, source)))
    })
    .boxed()
}

/// Starts the read and decodes in a task, so that the engine's work and the decoding overlap. The stream owns the
/// task.
pub fn stream_apart<S: BatchSource>(
    start: impl Future<Output = Result<S>> + Send + 'static,
) -> BatchStream {
    let (sender, receiver) = mpsc::channel(BATCHES_AHEAD);
    let task = AbortOnDrop(tokio::spawn(async move {
        let run = async {
            let mut source = start.await?;
            while let Some(batch) = source.next_batch().await? {
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
    .boxed()
}

struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Batches without columns that have `rows` rows together.
pub fn stream_of_counts(schema: SchemaRef, rows: u64, batch_rows: usize) -> BatchStream {
    let batch_rows = batch_rows.max(1);
    stream::iter(
        std::iter::successors(Some(rows), move |left| left.checked_sub(batch_rows as u64)).map(
            move |left| {
                let count = usize::try_from(left).unwrap_or(usize::MAX).min(batch_rows);
                let options = RecordBatchOptions::new().with_row_count(Some(count));
                RecordBatch::try_new_with_options(schema.clone(), Vec::new(), &options)
                    .map_err(|e| Error::internal(format!("a count does not fit its schema: {e}")))
            },
        ),
    )
    .try_filter(|batch| std::future::ready(batch.num_rows() > 0))
    .boxed()
}

/// What a user can do where the source has changed since it was described.
const FLUSH: &str = "The table has changed: CALL CATALOG.system.flush_metadata() and try again.";

impl Error {
    /// The source has changed since it was described (`message`); the statement is planned again, once.
    pub fn changed(message: String) -> Error {
        Error::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message).because_of_change()
    }

    /// The error is one of a source that has changed since it was described.
    #[must_use]
    pub fn because_of_change(self) -> Error {
        match self.hint {
            None => self.with_hint(FLUSH).with_stale_plan(),
            Some(_) => self.with_stale_plan(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::Schema;

    use super::*;

    struct Panics;

    impl BatchSource for Panics {
        async fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
            panic!("while it decodes")
        }
    }

    #[tokio::test]
    async fn a_count_is_cut_into_batches() {
        let counts = |rows, batch_rows| async move {
            let stream = stream_of_counts(Arc::new(Schema::empty()), rows, batch_rows);
            let batches: Vec<RecordBatch> = stream.try_collect().await.unwrap();
            batches
                .iter()
                .map(RecordBatch::num_rows)
                .collect::<Vec<_>>()
        };
        assert_eq!(counts(7, 3).await, [3, 3, 1]);
        assert_eq!(counts(6, 3).await, [3, 3]);
        assert!(counts(0, 3).await.is_empty());
    }

    #[tokio::test]
    async fn a_panic_is_not_the_end_of_the_table() {
        let mut stream = stream_apart(async { Ok(Panics) });
        let error = stream.next().await.unwrap().unwrap_err();
        assert!(error.message.contains("failed"), "{}", error.message);
    }
}
