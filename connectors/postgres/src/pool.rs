//! The source of one catalog: its pool, its sessions, and the guard that leaves no statement running.
//!
//! Relies on the contract's pool for the queue and the fleet's budget. Connects lazily, so that a source
//! that is down fails its queries only. A connection goes back to the pool only when nothing runs on it, its
//! transaction is over and its session is as it was made; anything else is cancelled and closed.

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use deadpool_postgres::ClientWrapper;
use sluice_spi::{ConnectionBudgets, ConnectionPool, Error, PoolTimes, Pooled, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::Target;
use crate::dial::Dialer;
use crate::tls::{self, TlsMode};
use crate::types::TypeMapping;

/// Prepared statements that one connection keeps. A statement costs the server some tens of kilobytes.
const STATEMENTS_PER_CONNECTION: usize = 256;

/// A cancel request that has no answer by then is given up: closing the socket ends the query too, only
/// later.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);

/// A server that shared no snapshot is asked again after this long: a replica may have become the primary, and
/// a pooler in between may have been set up otherwise.
const SNAPSHOT_RETRY: Duration = Duration::from_secs(60);

/// One catalog's server.
///
/// Connections wait for each other: one that keeps a snapshot waits for its readers, and one that writes
/// rows waits for those that read them. Readers must never wait for either, so that one connection at
/// least is never given to those (but for catalogs of one or two).
pub(crate) struct Source {
    catalog: Arc<str>,
    pool: ConnectionPool<Dialer>,
    max_connections: usize,
    wait_timeout: Duration,
    /// Connections that keep a snapshot for others: half of all at most. Only the coordinator's process opens
    /// snapshots, so that this holds over the fleet.
    exporters: Arc<Semaphore>,
    /// Connections that write.
    writers: Arc<Semaphore>,
    mapping: TypeMapping,
    /// The catalog's file lets statements of a query share a snapshot.
    may_share_snapshots: bool,
    /// When the server last refused to share one.
    snapshots_refused: Mutex<Option<Instant>>,
}

impl Source {
    /// Makes the pool. Opens nothing.
    pub(crate) fn new(
        catalog: &str,
        target: Target,
        connections: &dyn ConnectionBudgets,
    ) -> Result<Source> {
        let tls = match target.tls_mode {
            TlsMode::Disable => None,
            mode => Some(tls::connector(mode, &target.tls_files)?),
        };
        // The client's own timeout is per address; this one covers all of them and the login.
        let timeout = target.connect_timeout.saturating_mul(3);
        let dialer = Dialer::new(catalog, target.client, tls, timeout);
        let times = PoolTimes {
            wait_timeout: target.wait_timeout,
            idle_timeout: target.idle_timeout,
        };
        let budget = connections.budget(catalog, target.max_connections);
        Ok(Source {
            catalog: catalog.into(),
            pool: ConnectionPool::new(catalog, dialer, budget, times),
            max_connections: target.max_connections,
            wait_timeout: target.wait_timeout,
            mapping: target.mapping,
            exporters: Arc::new(Semaphore::new(target.max_connections / 2)),
            writers: Arc::new(Semaphore::new(
                target.max_connections.div_ceil(2).saturating_sub(1).max(1),
            )),
            may_share_snapshots: target.share_snapshots && target.max_connections > 1,
            snapshots_refused: Mutex::new(None),
        })
    }

    /// How types are read, as far as the catalog's file decides.
    pub(crate) fn mapping(&self) -> TypeMapping {
        self.mapping
    }

    /// Connections that nobody in this process uses now, open or not.
    pub(crate) fn free_connections(&self) -> usize {
        let used = self.pool.usage().in_use;
        self.max_connections.saturating_sub(used)
    }

    /// Whether the statements of a query share a snapshot. Not with a single connection, where the one that
    /// keeps it would leave none to read with; not with several hosts, where it might be another's; and not
    /// while the server is known to refuse.
    pub(crate) fn shares_snapshots(&self) -> bool {
        let refused = *self.lock_refusal();
        self.may_share_snapshots && refused.is_none_or(|at| at.elapsed() >= SNAPSHOT_RETRY)
    }

    /// The server has no snapshots to share, as far as it said now.
    pub(crate) fn refuse_snapshots(&self) {
        *self.lock_refusal() = Some(Instant::now());
    }

    fn lock_refusal(&self) -> MutexGuard<'_, Option<Instant>> {
        self.snapshots_refused
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The right to keep a connection for a snapshot.
    pub(crate) async fn exporter(&self) -> Result<OwnedSemaphorePermit> {
        self.permit(&self.exporters).await
    }

    /// The right to write on a connection.
    pub(crate) async fn writer(&self) -> Result<OwnedSemaphorePermit> {
        self.permit(&self.writers).await
    }

    async fn permit(&self, of: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit> {
        let permit = of.clone().acquire_owned();
        match tokio::time::timeout(self.wait_timeout, permit).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) => Err(Error::internal("the connections of a catalog were closed")),
            Err(_) => Err(self.pool.timed_out()),
        }
    }

    pub(crate) fn catalog(&self) -> &str {
        &self.catalog
    }

    /// A connection with nothing running on it.
    pub(crate) async fn session(&self) -> Result<Arc<Session>> {
        let connection = self.pool.get().await?;
        let statements = &connection.client.statement_cache;
        if statements.size() > STATEMENTS_PER_CONNECTION {
            statements.clear();
        }
        Ok(Arc::new(Session {
            connection: Some(connection),
            running: AtomicBool::new(false),
            transaction: AtomicBool::new(false),
            private: AtomicBool::new(false),
        }))
    }

    /// A connection turned out to be gone: a restart takes its idle neighbours along, and the client may
    /// not have noticed yet.
    pub(crate) fn lost(&self, session: &Session) {
        session.make_private();
        self.pool.forget_idle();
    }
}

/// A connection on loan. Dropped while a statement runs, it cancels the statement at the server and
/// closes the connection.
pub(crate) struct Session {
    /// `None` only inside of `drop`.
    connection: Option<Pooled<Dialer>>,
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

    /// Nobody else gets the session: it runs the user's own text, which may change settings, or it is gone.
    pub(crate) fn make_private(&self) {
        self.private.store(true, Ordering::Relaxed);
    }
}

impl Deref for Session {
    type Target = ClientWrapper;

    fn deref(&self) -> &ClientWrapper {
        let connection = self.connection.as_ref();
        &connection
            .expect("only drop takes the connection, and nothing derefs after it")
            .client
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else {
            return;
        };
        let running = self.running.load(Ordering::Relaxed);
        let private = self.private.load(Ordering::Relaxed);
        if !running && (private || !self.transaction.load(Ordering::Relaxed)) {
            if private {
                connection.close();
            }
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            // No runtime: the process is going down, and the socket with it.
            connection.close();
            return;
        };
        // Neither task is owned by anyone, since its owner is gone: bounded by CANCEL_TIMEOUT instead.
        if !running {
            runtime.spawn(async move {
                let ended = connection.client.batch_execute("ROLLBACK");
                if !matches!(
                    tokio::time::timeout(CANCEL_TIMEOUT, ended).await,
                    Ok(Ok(()))
                ) {
                    connection.close();
                }
            });
            return;
        }
        // The connection keeps its place in the pool until the server has heard of the cancel.
        runtime.spawn(async move {
            let request = connection.canceller();
            if let Ok(Err(error)) = tokio::time::timeout(CANCEL_TIMEOUT, request).await {
                tracing::debug!(%error, "cancel request to a PostgreSQL source failed");
            }
            connection.close();
        });
    }
}
