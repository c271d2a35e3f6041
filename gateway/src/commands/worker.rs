//! `sluice worker`: joins a fleet, runs tasks, drains and leaves.

use std::sync::Arc;

use sluice_spi::{ConnectionBudgets, Error, SqlState};
use sluice_workers::{
    Agent, RpcOptions, RpcRuntime, RpcServer, WorkerChannels, WorkerConnections, WorkerOptions,
    WorkerService, advertised_url, runtime_env,
};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::process::{Addresses, announce, build_id, runtime, watch_signals};
use super::{Failure, ProcessArgs, start_log};
use crate::config::{self, Config};
use crate::connectors;
use crate::fleet::task_session;
use sluice_catalogs::Catalogs;

/// Where a worker listens unless told otherwise: a free port, so that many fit on one machine.
const WORKER_LISTEN: &str = "rpc.listen=127.0.0.1:0";

/// Runs a worker until it is told to stop.
pub(super) fn run(coordinator: Url, args: &ProcessArgs) -> Result<(), Failure> {
    start_log(args.log_format);
    let dir = config::config_dir(args.config.config.as_deref());
    // The folder is the gateway's own: its rpc.listen is the gateway's address, not this one's.
    let mut set = vec![WORKER_LISTEN.to_owned()];
    set.extend(args.config.set.iter().cloned());
    let config = config::load(dir.as_deref(), &set)?;
    let connections = WorkerConnections::new();
    let budgets: Arc<dyn ConnectionBudgets> = connections.clone();
    let catalogs =
        connectors::catalogs(dir.as_deref(), &budgets).map_err(Failure::Configuration)?;
    let runtime = runtime()?;
    let served = runtime.block_on(serve(coordinator, config, catalogs, connections, args));
    runtime.shutdown_background();
    served
}

async fn serve(
    coordinator: Url,
    config: Config,
    catalogs: Catalogs,
    connections: Arc<WorkerConnections>,
    args: &ProcessArgs,
) -> Result<(), Failure> {
    let shutdown = CancellationToken::new();
    watch_signals(shutdown.clone())?;
    let runtime_env = runtime_env(&config.memory)?;
    let rpc = RpcRuntime::start()?;
    let channels = WorkerChannels::new(&rpc, config.rpc.secret.as_ref())?;
    let listener = sluice_workers::bind(&config.rpc)?;
    let address = listener
        .local_addr()
        .map_err(|e| Error::new(SqlState::IO_ERROR, e.to_string()))?;
    let worker = WorkerService::new(WorkerOptions {
        id: config.worker.id_or_random(),
        build_id: build_id(),
        runtime: runtime_env,
        channels,
        customize: task_session(Arc::new(catalogs)),
        compute: tokio::runtime::Handle::current(),
    });
    let options = RpcOptions {
        membership: None,
        worker: Some(worker.clone()),
        secret: config.rpc.secret.clone(),
    };
    let server = RpcServer::start(&rpc, listener, options)?;
    let url = advertised_url(&config.rpc, address)?;
    let grace = config.shutdown.grace_period();
    let agent = Agent::new(
        coordinator,
        url,
        &worker,
        &rpc,
        &config.rpc,
        grace,
        &connections,
    );
    let joined = CancellationToken::new();
    let membership = agent.run(shutdown.clone(), joined.clone());
    tokio::pin!(membership);
    // Ready means: the coordinator knows this worker.
    tokio::select! {
        ended = &mut membership => {
            ended?;
            return Ok(());
        }
        () = joined.cancelled() => {}
    }
    let addresses = Addresses {
        postgres: None,
        http: None,
        rpc: address,
    };
    announce(args.announce.as_deref(), &addresses)?;
    membership.await?;
    server.stop().await;
    tracing::info!("drained");
    Ok(())
}
