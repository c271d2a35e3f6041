//! The connections of a process to the workers of its fleet.
//!
//! One connection per worker, kept over queries and shared by them. A call that fails because the
//! worker does becomes an error that says so ([`crate::worker_failed`]), the connection is thrown away,
//! and whoever watches is told. The worker of the same process is called without a socket, but with
//! its plans encoded all the same: two tasks must never share a plan's nodes.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use async_trait::async_trait;
use datafusion::arrow::array::RecordBatch;
use datafusion::common::DataFusionError;
use datafusion::error::Result as EngineResult;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion_distributed::grpc::{BoxCloneSyncChannel, create_worker_client};
use datafusion_distributed::{
    ChannelResolver, CoordinatorToWorkerMsg, ExecuteTaskRequest, GetWorkerInfoRequest,
    GetWorkerInfoResponse, MaybeEncoded, SetPlanRequest, WorkerChannel, WorkerToCoordinatorMsg,
};
use futures::StreamExt;
use futures::stream::BoxStream;
use parking_lot::Mutex;
use sluice_spi::{Error, Result};
use tokio::sync::OnceCell;
use tonic::codegen::http::HeaderMap;
use url::Url;

use crate::failure::{CallFailure, classify, failed_worker, worker_failed};
use crate::report::TaskId;
use crate::rpc::{RpcRuntime, Secret, connect};
use crate::tasks::CloseOnDrop;
use crate::{Membership, WorkerService};

/// Connections kept: more workers than a fleet has; beyond it the pool starts afresh.
const CONNECTIONS_MAX: usize = 1024;

/// Opens, keeps and watches the connections to workers. Cheap to clone; one per process.
#[derive(Clone)]
pub struct WorkerChannels(Arc<Inner>);

struct Inner {
    rpc: Arc<RpcRuntime>,
    secret: Option<Secret>,
    open: Mutex<HashMap<Url, Connection>>,
    local: Mutex<Option<(Url, Weak<WorkerService>)>>,
    watcher: Mutex<Weak<Membership>>,
}

/// Filled by the first caller, awaited by the others.
type Connection = Arc<OnceCell<BoxCloneSyncChannel>>;

impl WorkerChannels {
    /// A pool without connections.
    pub fn new(rpc: &Arc<RpcRuntime>, secret: Option<&sluice_spi::Secret<String>>) -> Result<Self> {
        Ok(WorkerChannels(Arc::new(Inner {
            rpc: Arc::clone(rpc),
            secret: secret.map(Secret::new).transpose()?,
            open: Mutex::default(),
            local: Mutex::default(),
            watcher: Mutex::default(),
        })))
    }

    /// From now on the worker at `url` is this one, called without a socket.
    pub fn set_local(&self, url: Url, worker: &Arc<WorkerService>) {
        *self.0.local.lock() = Some((url, Arc::downgrade(worker)));
    }

    /// From now on a worker whose connection fails is reported to the membership.
    pub fn set_watcher(&self, membership: &Arc<Membership>) {
        *self.0.watcher.lock() = Arc::downgrade(membership);
    }

    fn local(&self, url: &Url) -> Option<Arc<WorkerService>> {
        let local = self.0.local.lock();
        let (local_url, worker) = local.as_ref()?;
        if local_url == url {
            worker.upgrade()
        } else {
            None
        }
    }

    async fn remote(&self, url: &Url) -> Result<BoxCloneSyncChannel> {
        let connection = {
            let mut open = self.0.open.lock();
            if open.len() >= CONNECTIONS_MAX && !open.contains_key(url) {
                open.clear();
            }
            Arc::clone(open.entry(url.clone()).or_default())
        };
        let opened = connection
            .get_or_try_init(|| async {
                let channel = connect(&self.0.rpc, url, self.0.secret.clone()).await?;
                Ok::<_, String>(BoxCloneSyncChannel::new(channel))
            })
            .await;
        match opened {
            Ok(channel) => Ok(channel.clone()),
            Err(reason) => Err(self.worker_failed(url, &reason)),
        }
    }

    /// Throws the connection away, tells the watcher, and makes the error.
    fn worker_failed(&self, url: &Url, reason: &str) -> Error {
        self.0.open.lock().remove(url);
        self.suspect(url, reason);
        worker_failed(url, reason)
    }

    fn suspect(&self, url: &Url, reason: &str) {
        let watcher = self.0.watcher.lock().upgrade();
        if let Some(membership) = watcher {
            membership.suspect(url, reason);
        }
    }

    fn explain(&self, url: &Url, error: DataFusionError) -> DataFusionError {
        match classify(url, error) {
            CallFailure::Query(error) => {
                // The worker we called may be well, and tell of another one that failed.
                let told = Error::from_marked(&error.to_string());
                if let Some(error) = told
                    && let Some(failed) = failed_worker(&error)
                {
                    self.suspect(&failed, error.detail.as_deref().unwrap_or_default());
                }
                error
            }
            CallFailure::Refused(error) => error.into(),
            CallFailure::Worker(error) => self
                .worker_failed(url, error.detail.as_deref().unwrap_or_default())
                .into(),
        }
    }
}

impl std::fmt::Debug for WorkerChannels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkerChannels")
            .field("open", &self.0.open.lock().len())
            .finish()
    }
}

#[async_trait]
impl ChannelResolver for WorkerChannels {
    async fn get_worker_client_for_url(
        &self,
        url: &Url,
    ) -> EngineResult<Box<dyn WorkerChannel>, DataFusionError> {
        if let Some(worker) = self.local(url) {
            return Ok(Box::new(LocalChannel(worker)));
        }
        let channel = self.remote(url).await?;
        Ok(Box::new(RemoteChannel {
            inner: create_worker_client(channel),
            url: url.clone(),
            channels: self.clone(),
        }))
    }
}

/// Calls a worker over a connection.
struct RemoteChannel {
    inner: Box<dyn WorkerChannel>,
    url: Url,
    channels: WorkerChannels,
}

impl RemoteChannel {
    fn explained<T: 'static>(
        &self,
        stream: BoxStream<'static, EngineResult<T>>,
    ) -> BoxStream<'static, EngineResult<T>> {
        let (channels, url) = (self.channels.clone(), self.url.clone());
        stream
            .map(move |item| item.map_err(|e| channels.explain(&url, e)))
            .boxed()
    }
}

#[async_trait]
impl WorkerChannel for RemoteChannel {
    async fn coordinator_channel(
        &mut self,
        mut headers: HeaderMap,
        request: SetPlanRequest,
        says: BoxStream<'static, CoordinatorToWorkerMsg>,
        metrics: ExecutionPlanMetricsSet,
        ctx: &Arc<TaskContext>,
    ) -> EngineResult<BoxStream<'static, EngineResult<WorkerToCoordinatorMsg>>> {
        task_id(&request).write(request.task_count, &mut headers);
        let answer = self
            .inner
            .coordinator_channel(headers, request, says, metrics, ctx)
            .await;
        Ok(self.explained(answer.map_err(|e| self.channels.explain(&self.url, e))?))
    }

    async fn execute_task(
        &mut self,
        headers: HeaderMap,
        request: ExecuteTaskRequest,
        metrics: ExecutionPlanMetricsSet,
        ctx: &Arc<TaskContext>,
    ) -> EngineResult<Vec<BoxStream<'static, EngineResult<RecordBatch>>>> {
        let answer = self
            .inner
            .execute_task(headers, request, metrics, ctx)
            .await;
        let streams = answer.map_err(|e| self.channels.explain(&self.url, e))?;
        Ok(streams
            .into_iter()
            .map(|stream| self.explained(stream))
            .collect())
    }

    async fn get_worker_info(
        &mut self,
        request: GetWorkerInfoRequest,
    ) -> EngineResult<GetWorkerInfoResponse> {
        self.inner
            .get_worker_info(request)
            .await
            .map_err(|e| self.channels.explain(&self.url, e))
    }
}

/// Calls the worker of this process.
struct LocalChannel(Arc<WorkerService>);

#[async_trait]
impl WorkerChannel for LocalChannel {
    async fn coordinator_channel(
        &mut self,
        mut headers: HeaderMap,
        mut request: SetPlanRequest,
        says: BoxStream<'static, CoordinatorToWorkerMsg>,
        _metrics: ExecutionPlanMetricsSet,
        ctx: &Arc<TaskContext>,
    ) -> EngineResult<BoxStream<'static, EngineResult<WorkerToCoordinatorMsg>>> {
        let id = task_id(&request);
        id.write(request.task_count, &mut headers);
        request.plan = MaybeEncoded::Encoded(request.plan.encode(ctx)?);
        // Made before the task can begin, so that it is closed however this call ends.
        let close = CloseOnDrop(Arc::clone(self.0.tracker()), id);
        let answer = self
            .0
            .worker()
            .coordinator_channel(headers, request, says.map(Ok).boxed())
            .await?;
        Ok(answer
            .map(move |message| {
                let _ = &close;
                message
            })
            .boxed())
    }

    async fn execute_task(
        &mut self,
        _headers: HeaderMap,
        request: ExecuteTaskRequest,
        _metrics: ExecutionPlanMetricsSet,
        _ctx: &Arc<TaskContext>,
    ) -> EngineResult<Vec<BoxStream<'static, EngineResult<RecordBatch>>>> {
        let (streams, _) = self.0.worker().execute_task(request).await?;
        Ok(streams.into_iter().map(StreamExt::boxed).collect())
    }

    async fn get_worker_info(
        &mut self,
        _request: GetWorkerInfoRequest,
    ) -> EngineResult<GetWorkerInfoResponse> {
        Ok(GetWorkerInfoResponse {
            version: self.0.worker().version().to_owned(),
        })
    }
}

fn task_id(request: &SetPlanRequest) -> TaskId {
    let key = request.task_key;
    TaskId {
        plan_id: key.query_id,
        stage: key.stage_id as u64,
        task: key.task_number as u64,
    }
}
