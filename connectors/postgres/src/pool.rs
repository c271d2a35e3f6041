//! The source of one catalog: its pool, its sessions, and the guard that leaves no statement running.
//!
//! Relies on deadpool for the queue. Connects lazily, so that a source that is down fails its queries
//! only. A connection goes back to the pool only when nothing runs on it and its session is as it was
//! made; anything else is cancelled and closed.

use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use deadpool_postgres::{
    Connect, Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime, TimeoutType,
};
use sluice_spi::{Error, Result, SqlState};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio_postgres::NoTls;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::config::Target;
use crate::error::{connect_error, is_full};
use crate::tls::{self, TlsMode};
use crate::types::TypeMapping;

/// What every session is set to before its first statement. Text that crosses the wire must mean the
/// same whatever the role's own settings are, and this connector only reads.
const SESSION: &str = "\
SET TIME ZONE 'UTC'; \
SET datestyle = 'ISO, YMD'; \
SET intervalstyle = 'postgres'; \
SET extra_float_digits = 1; \
SET bytea_output = 'hex'; \
SET standard_conforming_strings = on; \
SET transform_null_equals = off; \
SET default_transaction_read_only = on";

/// Prepared statements that one connection keeps. A statement costs the server some tens of kilobytes.
const STATEMENTS_PER_CONNECTION: usize = 256;

/// A cancel request that has no answer by then is given up: closing the socket ends the query too, only
/// later.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);

/// How long to wait before a full server is asked again; twice as long each time.
const FULL_SERVER_PAUSE: Duration = Duration::from_millis(20);
const FULL_SERVER_PAUSE_MAX: Duration = Duration::from_secs(1);

/// One catalog's server.
pub(crate) struct Source {
    catalog: Arc<str>,
    pool: Pool,
    /// `None` where TLS is off.
    tls: Option<MakeRustlsConnect>,
    max_connections: usize,
    connect_timeout: Duration,
    wait_timeout: Duration,
    /// Connections that keep a snapshot for others. They wait for readers, so that readers must never wait
    /// for them: half of the connections at most.
    exporters: Arc<Semaphore>,
    mapping: TypeMapping,
    /// Statements of a query may share a snapshot.
    snapshots: AtomicBool,
}

impl Source {
    /// Makes the pool. Opens nothing.
    pub(crate) fn new(catalog: &str, target: Target) -> Result<Source> {
        let tls = match target.tls_mode {
            TlsMode::Disable => None,
            mode => Some(tls::connector(mode, &target.tls_files)?),
        };
        let manager = Manager::from_connect(
            target.client,
            Sessions { tls: tls.clone() },
            ManagerConfig {
                recycling_method: RecyclingMethod::Fast,
            },
        );
        // The client's own timeout is per address; this one covers all of them and the login.
        let create_timeout = target.connect_timeout.saturating_mul(3);
        let pool = Pool::builder(manager)
            .max_size(target.max_connections)
            .wait_timeout(Some(target.wait_timeout))
            .create_timeout(Some(create_timeout))
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|e| Error::internal(format!("could not make a connection pool: {e}")))?;
        Ok(Source {
            catalog: catalog.into(),
            pool,
            tls,
            max_connections: target.max_connections,
            connect_timeout: create_timeout,
            wait_timeout: target.wait_timeout,
            mapping: target.mapping,
            exporters: Arc::new(Semaphore::new(target.max_connections / 2)),
            snapshots: AtomicBool::new(target.share_snapshots && target.max_connections > 1),
        })
    }

    /// How types are read, as far as the catalog's file decides.
    pub(crate) fn mapping(&self) -> TypeMapping {
        self.mapping
    }

    /// Connections that nobody uses now, open or not.
    pub(crate) fn free_connections(&self) -> usize {
        let status = self.pool.status();
        let used = status.size.saturating_sub(status.available);
        self.max_connections.saturating_sub(used)
    }

    /// Whether the statements of a query share a snapshot. Not with a single connection, where the one that
    /// keeps it would leave none to read with; not with several hosts, where it might be another's; and not
    /// once the server refused.
    pub(crate) fn shares_snapshots(&self) -> bool {
        self.snapshots.load(Ordering::Relaxed)
    }

    /// The server has no snapshots to share.
    pub(crate) fn refuse_snapshots(&self) {
        self.snapshots.store(false, Ordering::Relaxed);
    }

    /// The right to keep a connection for a snapshot.
    pub(crate) async fn exporter(&self) -> Result<OwnedSemaphorePermit> {
        let permit = self.exporters.clone().acquire_owned();
        match tokio::time::timeout(self.wait_timeout, permit).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) => Err(Error::internal("the snapshots of a catalog were closed")),
            Err(_) => Err(self.exhausted()),
        }
    }

    fn exhausted(&self) -> Error {
        let catalog = &self.catalog;
        Error::new(
            SqlState::TOO_MANY_CONNECTIONS,
            format!("no connection to the source of catalog \"{catalog}\" became free in time"),
        )
        .with_detail(format!(
            "All {} connections are in use.",
            self.max_connections
        ))
        .with_hint("Raise max_connections or wait_timeout in the catalog's file.")
        .with_source(catalog.as_ref())
    }

    pub(crate) fn catalog(&self) -> &str {
        &self.catalog
    }

    /// Connections open now, in use or idle.
    pub(crate) fn open_connections(&self) -> usize {
        self.pool.status().size
    }

    /// A connection with nothing running on it.
    pub(crate) async fn session(&self) -> Result<Arc<Session>> {
        let client = self.connection().await?;
        if client.statement_cache.size() > STATEMENTS_PER_CONNECTION {
            client.statement_cache.clear();
        }
        Ok(Arc::new(Session {
            client: Some(client),
            tls: self.tls.clone(),
            running: AtomicBool::new(false),
            transaction: AtomicBool::new(false),
            private: AtomicBool::new(false),
        }))
    }

    /// A pooled connection. A server that has no room for another one is asked again for as long as one of
    /// our own would be waited for.
    async fn connection(&self) -> Result<Object> {
        let began = Instant::now();
        let mut pause = FULL_SERVER_PAUSE;
        loop {
            match self.pool.get().await {
                Ok(client) => return Ok(client),
                Err(PoolError::Backend(error))
                    if is_full(&error) && began.elapsed() + pause < self.wait_timeout =>
                {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(FULL_SERVER_PAUSE_MAX);
                }
                Err(error) => return Err(self.pool_error(error)),
            }
        }
    }

    /// A connection turned out to be gone: a restart takes its idle neighbours along, and the client may
    /// not have noticed yet.
    pub(crate) fn forget_idle(&self) {
        self.pool.retain(|_, _| false);
    }

    fn pool_error(&self, error: PoolError) -> Error {
        let catalog = &self.catalog;
        match error {
            PoolError::Backend(e) => connect_error(catalog, &e),
            PoolError::Timeout(TimeoutType::Wait) => self.exhausted(),
            PoolError::Timeout(_) => Error::new(
                SqlState::CONNECTION_FAILURE,
                format!(
                    "could not connect to the source of catalog \"{catalog}\": no answer within {:?}",
                    self.connect_timeout
                ),
            )
            .with_hint("Is the server running at the address in the catalog's file?")
            .with_source(catalog.as_ref()),
            other => Error::internal(format!("connection pool of catalog \"{catalog}\": {other}")),
        }
    }
}

/// Opens connections and makes their sessions alike.
struct Sessions {
    tls: Option<MakeRustlsConnect>,
}

type Connected =
    std::result::Result<(tokio_postgres::Client, JoinHandle<()>), tokio_postgres::Error>;

impl Connect for Sessions {
    fn connect(
        &self,
        config: &tokio_postgres::Config,
    ) -> Pin<Box<dyn Future<Output = Connected> + Send + '_>> {
        let config = config.clone();
        Box::pin(async move {
            // The pool owns the task: it ends it together with the client.
            let (client, task) = match &self.tls {
                None => {
                    let (client, connection) = config.connect(NoTls).await?;
                    (client, tokio::spawn(drive(connection)))
                }
                Some(tls) => {
                    let (client, connection) = config.connect(tls.clone()).await?;
                    (client, tokio::spawn(drive(connection)))
                }
            };
            match client.batch_execute(SESSION).await {
                Ok(()) => Ok((client, task)),
                Err(e) => {
                    task.abort();
                    Err(e)
                }
            }
        })
    }
}

async fn drive<S, T>(connection: tokio_postgres::Connection<S, T>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    if let Err(error) = connection.await {
        // The statement that runs now, or the next that asks, reports it.
        tracing::debug!(%error, "connection to a PostgreSQL source ended");
    }
}

/// A connection on loan. Dropped while a statement runs, it cancels the statement at the server and
/// closes the connection.
pub(crate) struct Session {
    /// `None` only inside of `drop`.
    client: Option<Object>,
    tls: Option<MakeRustlsConnect>,
    running: AtomicBool,
    transaction: AtomicBool,
    private: AtomicBool,
}

impl Session {
    /// A statement is about to run: until [`Session::idle`], a drop cancels it.
    pub(crate) fn run(&self) {
        self.running.store(true, Ordering::Relaxed);
    }

    /// The statement has ended, by its last row or by the server's error.
    pub(crate) fn idle(&self) {
        self.running.store(false, Ordering::Relaxed);
    }

    /// A transaction is about to begin: it ends before the connection goes back to the pool.
    pub(crate) fn begin(&self) {
        self.transaction.store(true, Ordering::Relaxed);
    }

    /// The session runs the user's own text, which may change settings: nobody else gets it.
    pub(crate) fn make_private(&self) {
        self.private.store(true, Ordering::Relaxed);
    }
}

impl Deref for Session {
    type Target = Object;

    fn deref(&self) -> &Object {
        self.client
            .as_ref()
            .expect("only drop takes the client, and nothing derefs after it")
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let Some(client) = self.client.take() else {
            return;
        };
        let running = self.running.load(Ordering::Relaxed);
        let private = self.private.load(Ordering::Relaxed);
        if !running && (private || !self.transaction.load(Ordering::Relaxed)) {
            if private {
                drop(Object::take(client));
            }
            return;
        }
        let cancel = client.cancel_token();
        let tls = self.tls.take();
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            // No runtime: the process is going down, and the socket with it.
            drop(Object::take(client));
            return;
        };
        // Neither task is owned by anyone, since its owner is gone: bounded by CANCEL_TIMEOUT instead.
        if !running {
            runtime.spawn(async move {
                let ended = client.batch_execute("ROLLBACK");
                if !matches!(
                    tokio::time::timeout(CANCEL_TIMEOUT, ended).await,
                    Ok(Ok(()))
                ) {
                    drop(Object::take(client));
                }
            });
            return;
        }
        // The connection keeps its place in the pool until the server has heard of the cancel.
        runtime.spawn(async move {
            let request = async {
                match tls {
                    None => cancel.cancel_query(NoTls).await,
                    Some(tls) => cancel.cancel_query(tls).await,
                }
            };
            if let Ok(Err(error)) = tokio::time::timeout(CANCEL_TIMEOUT, request).await {
                tracing::debug!(%error, "cancel request to a PostgreSQL source failed");
            }
            drop(Object::take(client));
        });
    }
}
