//! The rows of a running query, with everything that can end them: cancel, timeout, a lost worker.
//!
//! Nothing is collected: a batch is asked for when the client takes one. Dropping the stream drops the
//! plan's, and with it every task, connection and remote statement below.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::record_batch::RecordBatch;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::EmptyRecordBatchStream;
use futures::stream::BoxStream;
use futures::{Future, StreamExt};
use sluice_planner::{PhysicalStatement, Placement, engine_error};
use sluice_spi::{Error, Result, SqlState};
use sluice_workers::{Membership, WorkerLost, failed_worker};
use tokio_util::sync::CancellationToken;

use super::queries::QueryGuard;
use super::snapshots::SnapshotGuards;

/// A query while it runs.
pub(super) struct Running {
    batches: SendableRecordBatchStream,
    /// After the batches: what reads under a snapshot ends before the snapshot does.
    snapshots: SnapshotGuards,
    /// What [`Running::meet_source`] took.
    first: Option<Option<Result<RecordBatch>>>,
    guard: Arc<QueryGuard>,
    cancel: CancellationToken,
    /// What is left of `statement_timeout`; time in which nobody asks for rows does not count.
    patience: Option<Duration>,
    lost: Option<Pin<Box<dyn Future<Output = WorkerLost> + Send>>>,
    membership: Arc<Membership>,
    ended: bool,
}

impl Running {
    /// Starts a plan.
    pub(super) fn start(
        statement: &PhysicalStatement,
        snapshots: SnapshotGuards,
        guard: Arc<QueryGuard>,
        cancel: CancellationToken,
        patience: Option<Duration>,
        membership: &Arc<Membership>,
    ) -> Result<Running> {
        let batches = datafusion::physical_plan::execute_stream(
            statement.plan.clone(),
            statement.context.clone(),
        )
        .map_err(engine_error)
        .inspect_err(|error| guard.fail(error))?;
        let lost = match &statement.placement {
            Placement::Coordinator(_) => None,
            Placement::Workers(urls) => {
                let (membership, urls) = (membership.clone(), urls.clone());
                let lost: Pin<Box<dyn Future<Output = WorkerLost> + Send>> =
                    Box::pin(async move { membership.lost(&urls).await });
                Some(lost)
            }
        };
        let membership = membership.clone();
        Ok(Running {
            batches,
            snapshots,
            first: None,
            guard,
            cancel,
            patience,
            lost,
            membership,
            ended: false,
        })
    }

    /// The query's place in the registry.
    pub(super) fn guard(&self) -> &QueryGuard {
        &self.guard
    }

    /// Waits for the first batch, which [`Running::next`] then gives. Fails where the source says that the
    /// plan was made for what it is no more, so that another plan can be made before any row has left; any
    /// other error comes with the rows.
    pub(super) async fn meet_source(&mut self) -> Result<()> {
        match self.next().await {
            Some(Err(error)) if error.stale_plan => Err(error),
            first => {
                self.first = Some(first);
                Ok(())
            }
        }
    }

    /// The next batch; `None` after the last one, and after an error.
    pub(super) async fn next(&mut self) -> Option<Result<RecordBatch>> {
        if let Some(first) = self.first.take() {
            return first;
        }
        if self.ended {
            return None;
        }
        let began = Instant::now();
        let answer = self.wait().await;
        if let Some(patience) = &mut self.patience {
            *patience = patience.saturating_sub(began.elapsed());
        }
        match &answer {
            Some(Ok(batch)) => self.guard.add_rows(batch.num_rows()),
            Some(Err(error)) => {
                // What still reads elsewhere ends before its snapshot does.
                self.batches = Box::pin(EmptyRecordBatchStream::new(self.batches.schema()));
                self.end();
                self.guard.fail(error);
            }
            None => {
                self.end();
                self.guard.finish();
            }
        }
        answer
    }

    /// Frees the snapshots now: a client may keep an ended portal for long.
    fn end(&mut self) {
        self.ended = true;
        self.snapshots.clear();
    }

    async fn wait(&mut self) -> Option<Result<RecordBatch>> {
        let Running {
            batches,
            cancel,
            patience,
            lost,
            membership,
            ..
        } = self;
        let lost = async {
            match lost {
                Some(lost) => lost.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = cancel.cancelled() => Some(Err(cancelled())),
            batch = batches.next() => batch.map(|b| b.map_err(|error| {
                let error = engine_error(error);
                if let Some(url) = failed_worker(&error) {
                    membership.suspect(&url, &error.message);
                }
                error
            })),
            () = deadline_passes(patience.map(|left| Instant::now() + left)) => Some(Err(timed_out())),
            worker = lost => Some(Err(worker.into())),
        }
    }

    /// The batches as one stream.
    pub(super) fn into_stream(self) -> BoxStream<'static, Result<RecordBatch>> {
        futures::stream::unfold(self, |mut running| async move {
            running.next().await.map(|batch| (batch, running))
        })
        .boxed()
    }
}

/// PostgreSQL's words for a CancelRequest.
pub(super) fn cancelled() -> Error {
    Error::new(
        SqlState::QUERY_CANCELED,
        "canceling statement due to user request",
    )
}

/// PostgreSQL's words for the end of `statement_timeout`.
pub(super) fn timed_out() -> Error {
    Error::new(
        SqlState::QUERY_CANCELED,
        "canceling statement due to statement timeout",
    )
}

/// Waits for that end; for ever where there is none.
pub(super) async fn deadline_passes(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
