//! The words of the fleet: what is said about a worker and about a task, between processes and in
//! `system.runtime.workers` and `system.runtime.tasks`.
//!
//! Plain data. Times are microseconds since 1970, sizes are bytes.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tonic::codegen::http::{HeaderMap, HeaderName, HeaderValue};
use url::Url;
use uuid::Uuid;

/// The header that carries the gateway's id of a query to its tasks.
pub const QUERY_ID_HEADER: &str = "x-sluice-query";

/// The header that carries a task's own key; set by [`crate::WorkerChannels`].
const TASK_HEADER: &str = "x-sluice-task";

/// Headers for `with_distributed_passthrough_headers`: with them, the reports of a query's tasks bear
/// the gateway's id of the query. An id that cannot be in a header is left out.
pub fn query_headers(query_id: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_str(query_id) {
        headers.insert(HeaderName::from_static(QUERY_ID_HEADER), value);
    }
    headers
}

/// How far a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// It was planned onto the worker and has not ended.
    Running,
    /// It delivered its last row.
    Finished,
    /// It ended with an error.
    Failed,
    /// Its reader left before the last row: a LIMIT was reached, or the query was cancelled.
    Canceled,
}

impl TaskState {
    /// The word that system tables show.
    pub fn name(self) -> &'static str {
        match self {
            TaskState::Running => "running",
            TaskState::Finished => "finished",
            TaskState::Failed => "failed",
            TaskState::Canceled => "canceled",
        }
    }
}

/// One worker's share of one stage of one query.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskReport {
    /// The gateway's id of the query where it sent one ([`query_headers`]), else the plan's.
    pub query_id: String,
    /// The id of the executed plan; a statement that is retried has several.
    #[serde(with = "crate::text")]
    pub plan_id: Uuid,
    /// Number of the stage inside of the plan.
    pub stage: u64,
    /// Number of the task inside of the stage, from 0.
    pub task: u64,
    /// How many tasks the stage has.
    pub stage_tasks: u64,
    /// The worker that runs it.
    pub worker_id: String,
    /// How far it is.
    pub state: TaskState,
    /// When the plan arrived at the worker.
    pub started_micros: i64,
    /// When it ended.
    pub ended_micros: Option<i64>,
    /// Rows that left the task, before they were copied to several readers.
    pub output_rows: u64,
    /// Bytes of those rows in memory.
    pub output_bytes: u64,
    /// Rows that its scans delivered.
    pub input_rows: u64,
    /// Splits that its scans read; where a scan does not count them, its partitions.
    pub splits: u64,
    /// What went wrong, if it failed.
    pub error: Option<String>,
}

/// Whether a worker can be given tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerState {
    /// It takes tasks.
    Active,
    /// It ends the tasks that it has and takes no more.
    Draining,
    /// It left after its last task.
    Left,
    /// It is gone, or does not answer.
    Lost,
}

impl WorkerState {
    /// The word that system tables show.
    pub fn name(self) -> &'static str {
        match self {
            WorkerState::Active => "active",
            WorkerState::Draining => "draining",
            WorkerState::Left => "left",
            WorkerState::Lost => "lost",
        }
    }

    /// Whether the worker's process is believed to run.
    pub fn is_live(self) -> bool {
        matches!(self, WorkerState::Active | WorkerState::Draining)
    }
}

/// One worker as the coordinator knows it.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkerInfo {
    /// Its name.
    pub id: String,
    /// Where its RPC port is.
    pub url: Url,
    /// The build it runs; the same as the coordinator's.
    pub build_id: String,
    /// Whether it lives inside of the gateway.
    pub embedded: bool,
    /// Whether it can be given tasks.
    pub state: WorkerState,
    /// When its process started.
    pub started_micros: i64,
    /// When it was last heard.
    pub last_heartbeat_micros: i64,
    /// Its processor cores.
    pub cores: u64,
    /// Bytes that its queries may use.
    pub memory_limit_bytes: u64,
    /// Bytes that its queries use.
    pub memory_used_bytes: u64,
    /// Most bytes that its queries used at any time.
    pub memory_peak_bytes: u64,
    /// Tasks that it runs.
    pub running_tasks: u64,
}

/// Now, in microseconds since 1970.
pub(crate) fn now_micros() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
        })
}

/// Which task of which plan: the key of everything that is known about a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct TaskId {
    pub(crate) plan_id: Uuid,
    pub(crate) stage: u64,
    pub(crate) task: u64,
}

impl TaskId {
    /// The key of a report.
    pub(crate) fn of(report: &TaskReport) -> Self {
        TaskId {
            plan_id: report.plan_id,
            stage: report.stage,
            task: report.task,
        }
    }

    /// Writes the key, and how many tasks the stage has, into a request's headers.
    pub(crate) fn write(self, stage_tasks: usize, headers: &mut HeaderMap) {
        let text = format!(
            "{}/{}/{}/{stage_tasks}",
            self.plan_id, self.stage, self.task
        );
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.insert(HeaderName::from_static(TASK_HEADER), value);
        }
    }

    /// Reads what [`TaskId::write`] wrote.
    pub(crate) fn read(headers: &HeaderMap) -> Option<(Self, u64)> {
        let mut parts = headers.get(TASK_HEADER)?.to_str().ok()?.split('/');
        let plan_id = Uuid::try_parse(parts.next()?).ok()?;
        let stage = parts.next()?.parse().ok()?;
        let task = parts.next()?.parse().ok()?;
        let stage_tasks = parts.next()?.parse().ok()?;
        Some((
            TaskId {
                plan_id,
                stage,
                task,
            },
            stage_tasks,
        ))
    }
}
