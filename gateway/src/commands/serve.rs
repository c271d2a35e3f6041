//! `sluice serve`: opens the ports, wires the rooms together, waits, drains.

use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use sluice_catalogs::{Catalog, Catalogs, SYSTEM_CATALOG, SystemConnector};
use sluice_planner::{Planner, PlannerConfig};
use sluice_spi::{Error, Result, SqlState};
use sluice_workers::{
    Membership, RpcOptions, RpcRuntime, RpcServer, WorkerChannels, WorkerOptions, WorkerService,
    advertised_url, runtime_env,
};
use tokio_util::sync::CancellationToken;

use super::process::{Addresses, announce, build_id, runtime, watch_signals};
use super::{Failure, ProcessArgs, start_log};
use crate::config::{self, Config, PostgresConfig};
use crate::coordinator::{Coordinator, GatewayFacts, QueryRegistry, SystemSources, system_tables};
use crate::engine::Engine;
use crate::fleet::{GatewayFleet, task_session};
use crate::pgwire::{self, Auth, FrontConfig, Tls};
use crate::session::SessionRegistry;
use crate::users::Users;
use crate::{connectors, http};

/// Runs a gateway until it is told to stop.
pub(super) fn run(args: &ProcessArgs) -> std::result::Result<(), Failure> {
    start_log(args.log_format);
    let dir = config::config_dir(args.config.config.as_deref());
    let config = config::load(dir.as_deref(), &args.config.set)?;
    let membership = Membership::new(build_id());
    let catalogs = connectors::catalogs(dir.as_deref(), &membership.connections())
        .map_err(Failure::Configuration)?;
    let auth = auth(dir.as_deref(), &config.postgres)?;
    let tls = match &config.postgres.tls {
        Some(tls) => Some(Tls::load(&tls.cert, &tls.key, tls.client_ca.as_deref())?),
        None => None,
    };
    let runtime = runtime()?;
    let served = runtime.block_on(serve(
        config,
        membership,
        catalogs,
        auth,
        tls,
        args.announce.as_deref(),
    ));
    // What is left (a source that does not answer) must not hold the process.
    runtime.shutdown_background();
    served.map_err(Failure::from)
}

/// Users count where there are some; without any, clients on this machine are believed.
fn auth(dir: Option<&Path>, config: &PostgresConfig) -> Result<(Auth, Vec<String>)> {
    let users = match dir {
        Some(dir) => Users::load(&dir.join("users.toml"))?,
        None => Users::default(),
    };
    if !users.is_empty() {
        let names = users.names();
        return Ok((Auth::Scram(Arc::new(users)), names));
    }
    let open = addresses("postgres.listen", &config.listen)?
        .into_iter()
        .find(|a| !a.ip().is_loopback());
    match open {
        None => Ok((Auth::TrustLoopback, Vec::new())),
        Some(address) => Err(Error::new(
            SqlState::CONFIG_FILE_ERROR,
            format!("postgres.listen: {address} is not loopback, and there are no users"),
        )
        .with_hint("Add one with `sluice user add NAME --config DIR`, or listen on 127.0.0.1.")),
    }
}

fn addresses(key: &str, listen: &str) -> Result<Vec<SocketAddr>> {
    listen
        .to_socket_addrs()
        .map(Iterator::collect)
        .map_err(|e| {
            let message = format!("{key}: \"{listen}\" is not an address: {e}");
            Error::new(SqlState::CONFIG_FILE_ERROR, message)
        })
}

fn bind(key: &str, listen: &str) -> Result<tokio::net::TcpListener> {
    let addresses = addresses(key, listen)?;
    TcpListener::bind(addresses.as_slice())
        .and_then(|listener| {
            listener.set_nonblocking(true)?;
            tokio::net::TcpListener::from_std(listener)
        })
        .map_err(|e| {
            Error::new(
                SqlState::IO_ERROR,
                format!("could not listen on {listen} ({key}): {e}"),
            )
        })
}

fn local(listener: &tokio::net::TcpListener) -> Result<SocketAddr> {
    listener
        .local_addr()
        .map_err(|e| Error::new(SqlState::IO_ERROR, e.to_string()))
}

async fn serve(
    config: Config,
    membership: Arc<Membership>,
    mut catalogs: Catalogs,
    (auth, roles): (Auth, Vec<String>),
    tls: Option<Tls>,
    announcement: Option<&Path>,
) -> Result<()> {
    let shutdown = CancellationToken::new();
    watch_signals(shutdown.clone())?;
    let build_id = build_id();
    let runtime_env = runtime_env(&config.memory)?;
    let rpc = RpcRuntime::start()?;
    let channels = WorkerChannels::new(&rpc, config.rpc.secret.as_ref())?;
    channels.set_watcher(&membership);

    let queries = QueryRegistry::new();
    let sources = SystemSources {
        queries: queries.clone(),
        membership: membership.clone(),
        catalogs: Arc::new(OnceLock::new()),
        connectors: connectors::names(),
    };
    let system = Arc::new(SystemConnector::new(system_tables(&sources)));
    catalogs.add(Catalog::new(SYSTEM_CATALOG.to_owned(), "system", system));
    let catalogs = Arc::new(catalogs);
    let _ = sources.catalogs.set(catalogs.clone());

    let rpc_listener = sluice_workers::bind(&config.rpc)?;
    let rpc_address = rpc_listener
        .local_addr()
        .map_err(|e| Error::new(SqlState::IO_ERROR, e.to_string()))?;
    let mut embedded = None;
    let mut own_worker = None;
    if config.worker.embedded {
        let url = advertised_url(&config.rpc, rpc_address)?;
        let worker = WorkerService::new(WorkerOptions {
            id: config
                .worker
                .id
                .clone()
                .unwrap_or_else(|| "coordinator".to_owned()),
            build_id: build_id.clone(),
            runtime: runtime_env.clone(),
            channels: channels.clone(),
            customize: task_session(catalogs.clone()),
            compute: tokio::runtime::Handle::current(),
        });
        channels.set_local(url.clone(), &worker);
        membership.register_embedded(url.clone(), &worker);
        embedded = Some(url);
        own_worker = Some(worker);
    }
    let options = RpcOptions {
        membership: Some(membership.clone()),
        worker: own_worker,
        secret: config.rpc.secret.clone(),
    };
    let rpc_server = RpcServer::start(&rpc, rpc_listener, options)?;

    let postgres = bind("postgres.listen", &config.postgres.listen)?;
    let postgres_address = local(&postgres)?;
    let http_listener = bind("http.listen", &config.http.listen)?;
    let http_address = local(&http_listener)?;

    let fleet = Arc::new(GatewayFleet::new(membership.clone(), channels, embedded));
    let mut planner_config = PlannerConfig::default();
    if config.planner.target_partitions > 0 {
        planner_config.target_partitions = config.planner.target_partitions;
    }
    if let Some(above) = config.planner.distribute_above {
        planner_config.distribute_above_bytes = usize::try_from(above.0).unwrap_or(usize::MAX);
    }
    let planner = Planner::new(catalogs.clone(), fleet, runtime_env.clone(), planner_config);
    let sessions = SessionRegistry::new();
    let databases = catalogs
        .names()
        .map(str::to_owned)
        .chain(["sluice".to_owned()])
        .collect();
    let facts = Arc::new(GatewayFacts {
        sessions: sessions.clone(),
        roles,
        databases,
        listen: postgres_address,
        started: SystemTime::now(),
    });
    let coordinator = Coordinator::new(planner, membership.clone(), queries.clone(), facts);
    let engine: Arc<dyn Engine> = Arc::new(coordinator);

    let status = http::Status {
        queries,
        membership,
        catalogs,
        sessions: sessions.clone(),
        runtime: runtime_env,
        shutdown: shutdown.clone(),
    };
    let http_server = tokio::spawn(http::serve(http_listener, status));
    let front = FrontConfig {
        auth,
        tls,
        max_connections: config.postgres.max_connections,
        shutdown_grace: config.shutdown.grace_period(),
        ..FrontConfig::default()
    };
    let addresses = Addresses {
        postgres: Some(postgres_address),
        http: Some(http_address),
        rpc: rpc_address,
    };
    announce(announcement, &addresses)?;
    // Returns when the last session is gone, or the grace is over.
    pgwire::serve(postgres, front, engine, sessions, shutdown).await;
    rpc_server.stop().await;
    http_server.abort();
    tracing::info!("drained");
    Ok(())
}
