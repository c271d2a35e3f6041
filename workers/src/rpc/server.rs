//! The RPC listener of a process.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use sluice_spi::{Error, Result, SqlState};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use super::client::Secret;
use super::fleet::FleetService;
use super::guard::Guarded;
use super::runtime::RpcRuntime;
use crate::sweep::sweep_when_idle;
use crate::{Membership, WorkerService};

/// How often this end asks a connected peer for a sign of life: a coordinator or worker that hangs must
/// not leave its tasks running here.
const PING_INTERVAL: Duration = Duration::from_secs(2);

/// As long as the callers' own.
const PING_TIMEOUT: Duration = Duration::from_secs(3);

/// Streams on one connection: a query uses some dozens per pair of processes.
const STREAMS_PER_CONNECTION_MAX: u32 = 16_384;

/// How long open calls may go on after [`RpcServer::stop`]; the callers drained them before.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// What an RPC port serves.
#[derive(Default)]
pub struct RpcOptions {
    /// Serve the fleet: the process is a coordinator.
    pub membership: Option<Arc<Membership>>,
    /// Serve tasks: the process has a worker.
    pub worker: Option<Arc<WorkerService>>,
    /// What callers must show.
    pub secret: Option<sluice_spi::Secret<String>>,
}

/// A running RPC listener. Dropping it ends it at once.
pub struct RpcServer {
    local_addr: SocketAddr,
    shutdown: CancellationToken,
    serving: AbortOnDropHandle<std::result::Result<(), tonic::transport::Error>>,
    /// Held, so that they end with the server.
    _accounting: Option<AbortOnDropHandle<()>>,
    _sweeping: Option<AbortOnDropHandle<()>>,
}

impl RpcServer {
    /// Serves on a listener opened by [`crate::bind`].
    pub fn start(
        rpc: &Arc<RpcRuntime>,
        listener: TcpListener,
        options: RpcOptions,
    ) -> Result<Self> {
        let io_error =
            |e: std::io::Error| Error::new(SqlState::IO_ERROR, format!("rpc listener: {e}"));
        let local_addr = listener.local_addr().map_err(io_error)?;
        listener.set_nonblocking(true).map_err(io_error)?;
        let listener = {
            // The listener belongs to the runtime that is current when it is made.
            let _guard = rpc.handle().enter();
            tokio::net::TcpListener::from_std(listener).map_err(io_error)?
        };
        let secret = options.secret.as_ref().map(Secret::new).transpose()?;
        let shutdown = CancellationToken::new();

        let accounting = options.membership.as_ref().map(|membership| {
            let desk = Arc::clone(membership.connection_desk());
            AbortOnDropHandle::new(rpc.handle().spawn(desk.run()))
        });
        let fleet = options.membership.map(|membership| {
            Guarded::new(
                FleetService::new(membership, shutdown.child_token()),
                secret.clone(),
            )
        });
        let sweeping = options.worker.as_ref().map(|worker| {
            AbortOnDropHandle::new(rpc.handle().spawn(sweep_when_idle(Arc::clone(worker))))
        });
        let worker = options.worker.map(|worker| {
            let service = worker.worker().clone().into_worker_server();
            Guarded::worker(service, secret.clone(), worker)
        });
        let router = Server::builder()
            .http2_keepalive_interval(Some(PING_INTERVAL))
            .http2_keepalive_timeout(Some(PING_TIMEOUT))
            .max_concurrent_streams(Some(STREAMS_PER_CONNECTION_MAX))
            .add_optional_service(fleet)
            .add_optional_service(worker);
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let stop = shutdown.clone().cancelled_owned();
        let serving = rpc
            .handle()
            .spawn(router.serve_with_incoming_shutdown(incoming, stop));
        Ok(RpcServer {
            local_addr,
            shutdown,
            serving: AbortOnDropHandle::new(serving),
            _accounting: accounting,
            _sweeping: sweeping,
        })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Takes no new connections, gives open calls a moment, and ends.
    pub async fn stop(self) {
        self.shutdown.cancel();
        if let Ok(Ok(Err(e))) = tokio::time::timeout(STOP_GRACE, self.serving).await {
            tracing::warn!(error = %e, "the rpc listener ended badly");
        }
    }
}
