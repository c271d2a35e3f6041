//! What a worker knows about its tasks: those that run, sampled when asked, and the last ones that
//! ended.
//!
//! A task begins when its plan arrives, and ends when all of its streams have ended, or else when the
//! coordinator closes the query's channel. Its plan is held weakly: a report must never keep a plan,
//! and with it connections and memory, alive.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::DataFusionError;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use datafusion_distributed::NetworkBoundaryExt;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use crate::report::{TaskId, TaskReport, TaskState, now_micros};

/// Reports of ended tasks that a worker keeps: some minutes of a busy worker, under a megabyte.
pub(crate) const ENDED_TASKS_KEPT: usize = 512;

/// Letters of an error that a report keeps: a message, not a dump of a plan.
const ERROR_LENGTH_MAX: usize = 500;

/// All tasks of one worker.
pub(crate) struct TaskTracker {
    worker_id: String,
    state: Mutex<Tracked>,
    changed: Notify,
    running: watch::Sender<usize>,
}

#[derive(Default)]
struct Tracked {
    /// Weak, so that a task whose session is gone ends even if nobody closed it.
    running: HashMap<TaskId, Weak<TaskRecord>>,
    ended: VecDeque<(u64, TaskReport)>,
    /// Number of the task that ended last.
    ended_sequence: u64,
}

/// What changed since the last heartbeat.
pub(crate) struct TaskChanges {
    /// Every running task, and every task that ended since.
    pub(crate) reports: Vec<TaskReport>,
    /// What to ask with the next time.
    pub(crate) ended_sequence: u64,
}

impl TaskTracker {
    pub(crate) fn new(worker_id: String) -> Arc<Self> {
        Arc::new(TaskTracker {
            worker_id,
            state: Mutex::new(Tracked::default()),
            changed: Notify::new(),
            running: watch::Sender::new(0),
        })
    }

    /// A task's plan is about to arrive.
    pub(crate) fn begin(
        self: &Arc<Self>,
        id: TaskId,
        query_id: String,
        stage_tasks: u64,
    ) -> Arc<TaskRecord> {
        let record = Arc::new(TaskRecord {
            id,
            query_id,
            stage_tasks,
            started_micros: now_micros(),
            output_rows: AtomicU64::new(0),
            output_bytes: AtomicU64::new(0),
            partitions_open: AtomicUsize::new(usize::MAX),
            cut_short: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            plan: OnceLock::new(),
            tracker: Arc::downgrade(self),
        });
        {
            let mut state = self.state.lock();
            state.running.insert(id, Arc::downgrade(&record));
            self.running.send_replace(state.running.len());
        }
        self.changed.notify_one();
        record
    }

    /// The coordinator closed the channel of this task: whatever has not ended by itself ends now.
    pub(crate) fn close(&self, id: TaskId) {
        let record = self.state.lock().running.get(&id).and_then(Weak::upgrade);
        if let Some(record) = record {
            // Streams that were never opened had no rows to deliver to anybody, as in a plan whose
            // LIMIT was reached elsewhere.
            let open = record.partitions_open.load(Ordering::Acquire);
            record.end(
                if open == 0 {
                    TaskState::Finished
                } else {
                    TaskState::Canceled
                },
                None,
            );
        }
    }

    /// How many tasks run.
    pub(crate) fn running(&self) -> usize {
        *self.running.borrow()
    }

    /// Waits until no task runs.
    pub(crate) async fn idle(&self) {
        let mut running = self.running.subscribe();
        // The sender lives in `self`, so waiting cannot fail.
        let _ = running.wait_for(|count| *count == 0).await;
    }

    /// Waits until a task began or ended.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Wakes whoever waits in [`TaskTracker::changed`].
    pub(crate) fn touch(&self) {
        self.changed.notify_one();
    }

    /// Every running task, and those that ended after `ended_sequence` (0: all that are kept).
    pub(crate) fn changes_since(&self, ended_sequence: u64) -> TaskChanges {
        let (running, mut reports, ended_sequence) = {
            let state = self.state.lock();
            // Dropped after the lock: the last reference to a record takes the lock again.
            let running: Vec<_> = state.running.values().filter_map(Weak::upgrade).collect();
            let ended = state
                .ended
                .iter()
                .filter(|(sequence, _)| *sequence > ended_sequence);
            (
                running,
                ended.map(|(_, report)| report.clone()).collect::<Vec<_>>(),
                state.ended_sequence,
            )
        };
        reports.extend(
            running
                .iter()
                .map(|record| record.report(&self.worker_id, TaskState::Running)),
        );
        TaskChanges {
            reports,
            ended_sequence,
        }
    }

    fn ended(&self, record: &TaskRecord, report: TaskReport) {
        {
            let mut state = self.state.lock();
            // Only this very record: a retried task has the same key only in a broken coordinator.
            state.running.remove(&record.id);
            state.ended_sequence += 1;
            let sequence = state.ended_sequence;
            if state.ended.len() == ENDED_TASKS_KEPT {
                state.ended.pop_front();
            }
            state.ended.push_back((sequence, report));
            self.running.send_replace(state.running.len());
        }
        self.changed.notify_one();
    }
}

/// One task while it runs.
pub(crate) struct TaskRecord {
    id: TaskId,
    query_id: String,
    stage_tasks: u64,
    started_micros: i64,
    output_rows: AtomicU64,
    output_bytes: AtomicU64,
    /// Streams of the task that have not ended; `usize::MAX` until the plan is known.
    partitions_open: AtomicUsize,
    /// Whether a stream was dropped before its end.
    cut_short: AtomicBool,
    ended: AtomicBool,
    plan: OnceLock<Weak<dyn ExecutionPlan>>,
    tracker: Weak<TaskTracker>,
}

impl TaskRecord {
    /// The plan was decoded.
    pub(crate) fn set_plan(&self, plan: &Arc<dyn ExecutionPlan>, partitions: usize) {
        if self.plan.set(Arc::downgrade(plan)).is_ok() {
            self.partitions_open.store(partitions, Ordering::Release);
        }
    }

    /// A batch left the task.
    pub(crate) fn add_output(&self, rows: u64, bytes: u64) {
        self.output_rows.fetch_add(rows, Ordering::Relaxed);
        self.output_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// A stream ended, at its end or before.
    pub(crate) fn partition_ended(&self, at_its_end: bool) {
        if !at_its_end {
            self.cut_short.store(true, Ordering::Release);
        }
        if self.partitions_open.fetch_sub(1, Ordering::AcqRel) == 1 {
            let cut_short = self.cut_short.load(Ordering::Acquire);
            self.end(
                if cut_short {
                    TaskState::Canceled
                } else {
                    TaskState::Finished
                },
                None,
            );
        }
    }

    /// A stream ended with an error.
    pub(crate) fn failed(&self, error: &DataFusionError) {
        let text = error.to_string();
        let message = sluice_spi::Error::from_marked(&text).map_or(text, |error| error.message);
        self.end(
            TaskState::Failed,
            Some(message.chars().take(ERROR_LENGTH_MAX).collect()),
        );
    }

    fn end(&self, state: TaskState, error: Option<String>) {
        if self.ended.swap(true, Ordering::AcqRel) {
            return;
        }
        if let Some(tracker) = self.tracker.upgrade() {
            let mut report = self.report(&tracker.worker_id, state);
            report.ended_micros = Some(now_micros());
            report.error = error;
            tracker.ended(self, report);
        }
    }

    fn report(&self, worker_id: &str, state: TaskState) -> TaskReport {
        let plan = self.plan.get().and_then(Weak::upgrade);
        let (input_rows, splits) = plan.map_or((0, 0), |plan| read_scans(&plan));
        TaskReport {
            query_id: self.query_id.clone(),
            plan_id: self.id.plan_id,
            stage: self.id.stage,
            task: self.id.task,
            stage_tasks: self.stage_tasks,
            worker_id: worker_id.to_owned(),
            state,
            started_micros: self.started_micros,
            ended_micros: None,
            output_rows: self.output_rows.load(Ordering::Relaxed),
            output_bytes: self.output_bytes.load(Ordering::Relaxed),
            input_rows,
            splits,
            error: None,
        }
    }
}

impl Drop for TaskRecord {
    fn drop(&mut self) {
        self.end(TaskState::Canceled, None);
    }
}

/// Ends a task when dropped; held by whatever lives as long as the coordinator's channel.
pub(crate) struct CloseOnDrop(pub(crate) Arc<TaskTracker>, pub(crate) TaskId);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.close(self.1);
    }
}

/// Rows and splits of a plan's scans, so far.
fn read_scans(plan: &Arc<dyn ExecutionPlan>) -> (u64, u64) {
    let (mut rows, mut splits) = (0, 0);
    // The closure never fails, and neither does the walk then.
    let _ = plan.apply(|node| {
        if node.children().is_empty() && !node.is_network_boundary() {
            let metrics = node.metrics().unwrap_or_default();
            let counted = metrics.sum(|metric| metric.value().name() == "splits");
            splits += counted.map_or_else(
                || node.output_partitioning().partition_count(),
                |value| value.as_usize(),
            );
            rows += metrics.output_rows().unwrap_or(0);
        }
        Ok(TreeNodeRecursion::Continue)
    });
    (rows as u64, splits as u64)
}
