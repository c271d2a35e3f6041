//! Connection budgets: `max_connections` of a catalog, over every process of the fleet.
//!
//! A [`ConnectionLease`] is the right to hold one open connection. It is taken before the connection
//! opens and dropped when the source has closed it, so that the source never sees more connections than
//! the catalog allows. Idle connections keep their lease: a check-out from the process's own pool asks
//! nobody. When another process waits, the budget asks the [`ConnectionHolder`]s to close some.
//!
//! Only says what budgets are; `sluice-workers` keeps the account of a fleet. [`LocalConnections`] is the
//! budget of a process that belongs to none.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use async_trait::async_trait;
use tokio::sync::{Semaphore, watch};

use crate::{Error, Result};

/// The budgets of a process, one per catalog.
pub trait ConnectionBudgets: Send + Sync + fmt::Debug {
    /// The budget of `catalog`: `limit` connections at most over the fleet. Called once, when the
    /// catalog is made; does no I/O.
    fn budget(&self, catalog: &str, limit: usize) -> Arc<dyn ConnectionBudget>;
}

/// The connections of one catalog.
#[async_trait]
pub trait ConnectionBudget: Send + Sync + fmt::Debug {
    /// Most connections over the fleet.
    fn limit(&self) -> usize;

    /// Waits until one more connection may be opened. First come, first served, over the whole fleet.
    /// The caller bounds the wait: dropping the future takes the request back. Fails only where waiting
    /// is pointless.
    async fn acquire(&self) -> Result<ConnectionLease>;

    /// Makes the process's holder of connections known, so that it can be asked for idle ones.
    fn attach(&self, holder: Weak<dyn ConnectionHolder>);
}

/// What holds a process's connections to one source: its pool.
pub trait ConnectionHolder: Send + Sync {
    /// What it holds now.
    fn usage(&self) -> ConnectionUsage;

    /// Closes up to `count` connections that are idle now.
    fn close_idle(&self, count: usize);

    /// Closes the next `count` connections that become idle, even where someone in this process waits
    /// for one: another process has waited longer.
    fn yield_next(&self, count: usize);
}

/// How many connections a process holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConnectionUsage {
    /// Open, whether in use or idle.
    pub open: usize,
    /// Lent to a statement.
    pub in_use: usize,
}

/// The right to hold one open connection, given back when it is dropped.
pub struct ConnectionLease {
    give_back: Option<Box<dyn FnOnce() + Send + Sync>>,
    revoked: Option<watch::Receiver<bool>>,
}

impl ConnectionLease {
    /// A lease that calls `give_back` when it ends.
    pub fn new(give_back: impl FnOnce() + Send + Sync + 'static) -> Self {
        ConnectionLease {
            give_back: Some(Box::new(give_back)),
            revoked: None,
        }
    }

    /// A lease that ends early when `revoked` becomes true.
    #[must_use]
    pub fn with_revocation(mut self, revoked: watch::Receiver<bool>) -> Self {
        self.revoked = Some(revoked);
        self
    }

    /// Waits until the right is lost, because the process lost its coordinator: the connection must be
    /// closed at once, whatever runs on it.
    pub async fn revoked(&self) {
        if let Some(revoked) = &self.revoked {
            let mut revoked = revoked.clone();
            // Its sender is gone only when the process's end is near: nobody counts any more.
            if revoked.wait_for(|revoked| *revoked).await.is_ok() {
                return;
            }
        }
        std::future::pending().await
    }
}

impl Drop for ConnectionLease {
    fn drop(&mut self) {
        if let Some(give_back) = self.give_back.take() {
            give_back();
        }
    }
}

impl fmt::Debug for ConnectionLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ConnectionLease")
    }
}

/// Budgets that hold within this process only: for tools and tests that belong to no fleet.
#[derive(Debug, Default)]
pub struct LocalConnections {
    budgets: Mutex<HashMap<String, Arc<LocalBudget>>>,
}

impl LocalConnections {
    /// No budget yet.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }
}

impl ConnectionBudgets for LocalConnections {
    fn budget(&self, catalog: &str, limit: usize) -> Arc<dyn ConnectionBudget> {
        let mut budgets = self.budgets.lock().unwrap_or_else(PoisonError::into_inner);
        let budget = budgets.entry(catalog.to_owned()).or_insert_with(|| {
            Arc::new(LocalBudget {
                limit,
                leases: Arc::new(Semaphore::new(limit)),
            })
        });
        budget.clone()
    }
}

#[derive(Debug)]
struct LocalBudget {
    limit: usize,
    leases: Arc<Semaphore>,
}

#[async_trait]
impl ConnectionBudget for LocalBudget {
    fn limit(&self) -> usize {
        self.limit
    }

    async fn acquire(&self) -> Result<ConnectionLease> {
        let permit = self.leases.clone().acquire_owned().await;
        let permit = permit.map_err(|_| Error::internal("a connection budget was closed"))?;
        Ok(ConnectionLease::new(move || drop(permit)))
    }

    fn attach(&self, _holder: Weak<dyn ConnectionHolder>) {
        // One pool per catalog and process: nobody else waits for its connections.
    }
}
