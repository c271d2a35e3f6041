//! The worker itself: takes plans, builds a session for each task, runs it, and keeps its report.
//!
//! The same service runs in `sluice worker` and embedded in `sluice serve`. What a session holds
//! (codec, functions, catalogs, settings) comes from the caller's [`SessionCustomizer`]; this module
//! adds what a task needs of the fleet: connections to other workers, and the probe.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use datafusion::error::Result as EngineResult;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion_distributed::{
    DistributedExt, Worker, WorkerPlanRewriteEvent, WorkerPlanRewriteEventResponse,
    WorkerQueryContext,
};
use tokio::runtime::Handle;
use tonic::codegen::http::HeaderMap;

use crate::memory::memory_usage;
use crate::probe::probe;
use crate::report::{QUERY_ID_HEADER, TaskId, TaskReport, WorkerState, now_micros};
use crate::rpc::{Heartbeat, Registration};
use crate::tasks::{TaskRecord, TaskTracker};
use crate::{MemoryUsage, WorkerChannels};

/// Adds to a task's session what its plan needs: the codec, the functions, the catalogs, and the
/// settings that came in the request's headers (`with_distributed_option_extension_from_headers`).
///
/// It must edit the builder's configuration, never replace it: the builder already carries the task's
/// number and its feeds.
pub type SessionCustomizer =
    Arc<dyn Fn(SessionStateBuilder, &HeaderMap) -> EngineResult<SessionStateBuilder> + Send + Sync>;

/// What a worker is made of.
pub struct WorkerOptions {
    /// Its name.
    pub id: String,
    /// The build it runs.
    pub build_id: String,
    /// Memory and spill folder of the process.
    pub runtime: Arc<RuntimeEnv>,
    /// The connections of the process.
    pub channels: WorkerChannels,
    /// What a task's session holds.
    pub customize: SessionCustomizer,
    /// The threads that run queries.
    pub compute: Handle,
}

/// A worker, standalone or embedded.
pub struct WorkerService {
    id: String,
    build_id: String,
    started_micros: i64,
    runtime: Arc<RuntimeEnv>,
    compute: Handle,
    worker: Worker,
    tracker: Arc<TaskTracker>,
    draining: AtomicBool,
    refuses_tasks: AtomicBool,
}

impl WorkerService {
    /// Makes a worker. It serves through an [`crate::RpcServer`], and in process once
    /// [`WorkerChannels::set_local`] knows it.
    pub fn new(options: WorkerOptions) -> Arc<Self> {
        let WorkerOptions {
            id,
            build_id,
            runtime,
            channels,
            customize,
            compute,
        } = options;
        let tracker = TaskTracker::new(id.clone());
        let sessions = Sessions {
            tracker: Arc::clone(&tracker),
            channels,
            customize,
        };
        let worker = Worker::from_session_builder(move |ctx: WorkerQueryContext| {
            std::future::ready(sessions.build(ctx))
        })
        .with_runtime_env(Arc::clone(&runtime))
        .with_version(build_id.clone());
        Arc::new(WorkerService {
            id,
            build_id,
            started_micros: now_micros(),
            runtime,
            compute,
            worker,
            tracker,
            draining: AtomicBool::new(false),
            refuses_tasks: AtomicBool::new(false),
        })
    }

    /// Its name.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What its queries use.
    pub fn memory_usage(&self) -> MemoryUsage {
        memory_usage(&self.runtime)
    }

    /// How many tasks run.
    pub fn running_tasks(&self) -> usize {
        self.tracker.running()
    }

    /// Its running tasks and the last ones that ended.
    pub fn tasks(&self) -> Vec<TaskReport> {
        self.tracker.changes_since(0).reports
    }

    /// Waits until no task runs.
    pub async fn idle(&self) {
        self.tracker.idle().await;
    }

    /// Says from now on that it is draining, so that the coordinator plans nothing onto it. Tasks that
    /// were planned before still arrive.
    pub fn start_draining(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Turns new tasks away.
    pub fn refuse_tasks(&self) {
        self.refuses_tasks.store(true, Ordering::Release);
    }

    pub(crate) fn refuses_tasks(&self) -> bool {
        self.refuses_tasks.load(Ordering::Acquire)
    }

    pub(crate) fn worker(&self) -> &Worker {
        &self.worker
    }

    pub(crate) fn tracker(&self) -> &Arc<TaskTracker> {
        &self.tracker
    }

    pub(crate) fn compute(&self) -> &Handle {
        &self.compute
    }

    pub(crate) fn registration(&self, url: url::Url) -> Registration {
        Registration {
            worker_id: self.id.clone(),
            url,
            build_id: self.build_id.clone(),
            started_micros: self.started_micros,
            cores: std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64),
            memory_limit_bytes: self.memory_usage().limit_bytes,
            connections: std::collections::BTreeMap::new(),
        }
    }

    /// The heartbeat after the one that ended at `ended_sequence`, and what to ask with next.
    pub(crate) fn heartbeat(&self, ended_sequence: u64, answers: u64) -> (Heartbeat, u64) {
        let changes = self.tracker.changes_since(ended_sequence);
        let memory = self.memory_usage();
        let draining = self.draining.load(Ordering::Acquire);
        let heartbeat = Heartbeat {
            state: if draining {
                WorkerState::Draining
            } else {
                WorkerState::Active
            },
            memory_used_bytes: memory.used_bytes,
            memory_peak_bytes: memory.peak_bytes,
            tasks: changes.reports,
            answers,
        };
        (heartbeat, changes.ended_sequence)
    }
}

/// Builds the session of each task.
struct Sessions {
    tracker: Arc<TaskTracker>,
    channels: WorkerChannels,
    customize: SessionCustomizer,
}

impl Sessions {
    fn build(&self, ctx: WorkerQueryContext) -> EngineResult<SessionState> {
        let WorkerQueryContext { builder, headers } = ctx;
        let mut builder = (self.customize)(builder, &headers)?
            .with_distributed_channel_resolver(self.channels.clone())
            .with_distributed_worker_plan_rewrite_handler(insert_probe);
        // A caller that is not one of our coordinators sends no key: its task runs untracked.
        if let Some((id, stage_tasks)) = TaskId::read(&headers) {
            let query_id = headers
                .get(QUERY_ID_HEADER)
                .and_then(|value| value.to_str().ok())
                .map_or_else(|| id.plan_id.to_string(), str::to_owned);
            let record = self.tracker.begin(id, query_id, stage_tasks);
            builder
                .config()
                .get_or_insert_default()
                .set_extension(record);
        }
        Ok(builder.build())
    }
}

fn insert_probe(event: WorkerPlanRewriteEvent<'_>) -> EngineResult<WorkerPlanRewriteEventResponse> {
    let plan = match event.session_config.get_extension::<TaskRecord>() {
        Some(record) => probe(event.plan, &record)?,
        None => event.plan,
    };
    Ok(WorkerPlanRewriteEventResponse::new(plan))
}
