//! Coordinators and workers for the tests, inside of the test's process or as processes of their own.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::arrow::array::{Int64Array, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::execution::SessionStateBuilder;
use datafusion::logical_expr::{ColumnarValue, Volatility, create_udf};
use datafusion::prelude::{ParquetReadOptions, SessionConfig, SessionContext};
use datafusion_distributed::{DistributedExt, SessionStateBuilderExt, WorkerResolver};
use parquet::arrow::ArrowWriter;
use sluice_spi::{Result, Secret};
use sluice_workers::{
    Agent, Membership, MemoryConfig, RpcConfig, RpcOptions, RpcRuntime, RpcServer, WorkerChannels,
    WorkerConnections, WorkerInfo, WorkerOptions, WorkerService, advertised_url, bind,
    query_headers, runtime_env,
};
use tokio_util::sync::CancellationToken;
use url::Url;

pub(crate) const BUILD: &str = "test-build";

/// Where a process of the fleet listens: a free port, with a secret or without.
pub(crate) fn rpc_config(secret: Option<&str>) -> RpcConfig {
    RpcConfig {
        listen: "127.0.0.1:0".to_owned(),
        secret: secret.map(|secret| Secret::new(secret.to_owned())),
        ..Default::default()
    }
}

pub(crate) struct Coordinator {
    pub(crate) membership: Arc<Membership>,
    pub(crate) channels: WorkerChannels,
    pub(crate) url: Url,
    pub(crate) embedded: Option<Arc<WorkerService>>,
    _server: RpcServer,
    _rpc: Arc<RpcRuntime>,
}

impl Coordinator {
    pub(crate) fn start(secret: Option<&str>, embedded: bool) -> Self {
        Self::start_on(bind(&rpc_config(secret)).unwrap(), secret, embedded)
    }

    pub(crate) fn start_on(listener: TcpListener, secret: Option<&str>, embedded: bool) -> Self {
        let config = rpc_config(secret);
        let rpc = RpcRuntime::start().unwrap();
        let url = advertised_url(&config, listener.local_addr().unwrap()).unwrap();
        let membership = Membership::new(BUILD);
        let channels = WorkerChannels::new(&rpc, config.secret.as_ref()).unwrap();
        channels.set_watcher(&membership);
        let worker = embedded.then(|| worker_service("gateway", BUILD, &channels));
        if let Some(worker) = &worker {
            channels.set_local(url.clone(), worker);
            membership.register_embedded(url.clone(), worker);
        }
        let options = RpcOptions {
            membership: Some(Arc::clone(&membership)),
            worker: worker.clone(),
            secret: config.secret.clone(),
        };
        let server = RpcServer::start(&rpc, listener, options).unwrap();
        Coordinator {
            membership,
            channels,
            url,
            embedded: worker,
            _server: server,
            _rpc: rpc,
        }
    }

    /// Waits until the workers are as wanted.
    pub(crate) async fn wait(
        &self,
        what: &str,
        wanted: impl Fn(&[WorkerInfo]) -> bool,
    ) -> Vec<WorkerInfo> {
        let started = Instant::now();
        loop {
            let workers = self.membership.workers();
            if wanted(&workers) {
                return workers;
            }
            assert!(
                started.elapsed() < Duration::from_secs(10),
                "waited for {what}: {workers:#?}"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until `count` workers can be given tasks.
    pub(crate) async fn wait_healthy(&self, count: usize) {
        let what = format!("{count} healthy workers");
        self.wait(&what, |_| self.membership.healthy_count() == count)
            .await;
    }

    /// A session that plans onto these workers and reads the table `t`.
    pub(crate) async fn session(
        &self,
        resolver: impl WorkerResolver + 'static,
        query_id: &str,
        table: &Table,
    ) -> SessionContext {
        let config = SessionConfig::new().with_target_partitions(2);
        let mut builder = SessionStateBuilder::new().with_default_features();
        add_functions(&mut builder);
        let state = builder
            .with_config(config)
            .with_runtime_env(runtime_env(&MemoryConfig::default()).unwrap())
            .with_distributed_planner()
            .with_distributed_worker_resolver(resolver)
            .with_distributed_channel_resolver(self.channels.clone())
            .with_distributed_passthrough_headers(query_headers(query_id))
            .unwrap()
            .with_distributed_file_scan_config_bytes_per_partition(1)
            .unwrap()
            .build();
        let ctx = SessionContext::new_with_state(state);
        ctx.register_parquet("t", table.path(), ParquetReadOptions::default())
            .await
            .unwrap();
        ctx
    }
}

/// A worker inside of the test's process, with its own port, connections and agent.
pub(crate) struct WorkerNode {
    pub(crate) shutdown: CancellationToken,
    pub(crate) agent: tokio::task::JoinHandle<Result<()>>,
    pub(crate) url: Url,
    _server: RpcServer,
    _rpc: Arc<RpcRuntime>,
}

impl WorkerNode {
    pub(crate) fn start(coordinator: &Url, id: &str, build: &str, secret: Option<&str>) -> Self {
        let config = rpc_config(secret);
        let rpc = RpcRuntime::start().unwrap();
        let listener = bind(&config).unwrap();
        let url = advertised_url(&config, listener.local_addr().unwrap()).unwrap();
        let channels = WorkerChannels::new(&rpc, config.secret.as_ref()).unwrap();
        let service = worker_service(id, build, &channels);
        let options = RpcOptions {
            membership: None,
            worker: Some(Arc::clone(&service)),
            secret: config.secret.clone(),
        };
        let server = RpcServer::start(&rpc, listener, options).unwrap();
        let shutdown = CancellationToken::new();
        let grace = Duration::from_secs(5);
        let agent = Agent::new(
            coordinator.clone(),
            url.clone(),
            &service,
            &rpc,
            &config,
            grace,
            &WorkerConnections::new(),
        );
        let agent = tokio::spawn(agent.run(shutdown.clone(), CancellationToken::new()));
        WorkerNode {
            shutdown,
            agent,
            url,
            _server: server,
            _rpc: rpc,
        }
    }
}

fn worker_service(id: &str, build: &str, channels: &WorkerChannels) -> Arc<WorkerService> {
    WorkerService::new(WorkerOptions {
        id: id.to_owned(),
        build_id: build.to_owned(),
        runtime: runtime_env(&MemoryConfig::default()).unwrap(),
        channels: channels.clone(),
        customize: Arc::new(|mut builder, _headers| {
            add_functions(&mut builder);
            Ok(builder)
        }),
        compute: tokio::runtime::Handle::current(),
    })
}

/// Adds `slow(bigint)`, which returns its argument after a third of a second for each batch.
fn add_functions(builder: &mut SessionStateBuilder) {
    let body = |arguments: &[ColumnarValue]| {
        std::thread::sleep(Duration::from_millis(300));
        Ok(arguments[0].clone())
    };
    let types = (vec![DataType::Int64], DataType::Int64);
    let slow = create_udf(
        "slow",
        types.0,
        types.1,
        Volatility::Volatile,
        Arc::new(body),
    );
    builder
        .scalar_functions()
        .get_or_insert_default()
        .push(Arc::new(slow));
}

/// A folder of Parquet files with the columns `k` (0 to 9) and `v` (0 to rows - 1).
pub(crate) struct Table(tempfile::TempDir);

impl Table {
    pub(crate) fn new(files: i64, rows_per_file: i64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let schema = Arc::new(Schema::new(vec![
            Field::new("k", DataType::Int64, false),
            Field::new("v", DataType::Int64, false),
        ]));
        for file in 0..files {
            let values =
                Int64Array::from_iter_values(file * rows_per_file..(file + 1) * rows_per_file);
            let keys = Int64Array::from_iter_values(values.values().iter().map(|v| v % 10));
            let batch =
                RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(keys), Arc::new(values)])
                    .unwrap();
            let target =
                std::fs::File::create(folder.path().join(format!("{file}.parquet"))).unwrap();
            let mut writer = ArrowWriter::try_new(target, Arc::clone(&schema), None).unwrap();
            writer.write(&batch).unwrap();
            writer.close().unwrap();
        }
        Table(folder)
    }

    pub(crate) fn path(&self) -> &str {
        self.0.path().to_str().unwrap()
    }
}

const COORDINATOR_VARIABLE: &str = "SLUICE_TEST_COORDINATOR";
const ID_VARIABLE: &str = "SLUICE_TEST_WORKER_ID";

/// A worker in a process of its own; it ends with this value.
pub(crate) struct WorkerProcess(Child);

impl WorkerProcess {
    pub(crate) fn start(coordinator: &Url, id: &str) -> Self {
        // The test's own program again, running only the "test" below.
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "harness::worker_process", "--nocapture"])
            .env(COORDINATOR_VARIABLE, coordinator.as_str())
            .env(ID_VARIABLE, id)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        WorkerProcess(child)
    }

    pub(crate) fn signal(&self, signal: &str) {
        let status = Command::new("kill")
            .args([signal, &self.0.id().to_string()])
            .status()
            .unwrap();
        assert!(status.success());
    }
}

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        // SIGKILL, which ends a stopped process too.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The body of a [`WorkerProcess`]; passes at once when it is run as a test.
#[tokio::test(flavor = "multi_thread")]
async fn worker_process() {
    let Ok(coordinator) = std::env::var(COORDINATOR_VARIABLE) else {
        return;
    };
    let id = std::env::var(ID_VARIABLE).unwrap();
    let node = WorkerNode::start(&Url::parse(&coordinator).unwrap(), &id, BUILD, None);
    node.agent.await.unwrap().unwrap();
}
