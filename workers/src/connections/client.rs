//! A worker's end: asks its coordinator for leases, and gives them back, over the stream that makes it a
//! member.
//!
//! The pools talk to plain state; the agent carries what changed. While the coordinator is away, nobody
//! is granted anything, and the connections that are open end at once: the coordinator counts them for
//! [a while](super::account::LOST_LEASES_KEPT) only, and the queries that use them have lost their head.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Weak};

use async_trait::async_trait;
use parking_lot::Mutex;
use sluice_spi::{
    ConnectionBudget, ConnectionBudgets, ConnectionHolder, ConnectionLease, Error, Result, SqlState,
};
use tokio::sync::{Notify, oneshot, watch};

use super::{ConnectionNeeds, ConnectionOrders};

/// The connection budgets of a worker process.
pub struct WorkerConnections {
    this: Weak<WorkerConnections>,
    state: Mutex<State>,
    /// There is something to tell the coordinator.
    changed: Notify,
}

struct State {
    catalogs: BTreeMap<String, Catalog>,
    next_waiter: u64,
    /// Becomes true when the coordinator is lost; then another takes its place.
    revoked: watch::Sender<bool>,
}

#[derive(Default)]
struct Catalog {
    limit: usize,
    holder: Option<Weak<dyn ConnectionHolder>>,
    waiting: VecDeque<(u64, oneshot::Sender<Result<ConnectionLease>>)>,
    held: usize,
    /// What the coordinator was not told yet.
    asked: usize,
    withdrawn: usize,
    returned: usize,
}

impl WorkerConnections {
    /// No catalog yet.
    pub fn new() -> Arc<Self> {
        Arc::new_cyclic(|this| WorkerConnections {
            this: this.clone(),
            state: Mutex::new(State {
                catalogs: BTreeMap::new(),
                next_waiter: 0,
                revoked: watch::Sender::new(false),
            }),
            changed: Notify::new(),
        })
    }

    /// Completes when there is something to tell.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// What is held as the worker registers. From here on, changes are told.
    pub(crate) fn register(&self) -> BTreeMap<String, usize> {
        let mut state = self.state.lock();
        let mut held = BTreeMap::new();
        for (name, catalog) in &mut state.catalogs {
            catalog.asked = catalog.waiting.len();
            catalog.withdrawn = 0;
            catalog.returned = 0;
            if catalog.held > 0 {
                held.insert(name.clone(), catalog.held);
            }
        }
        self.changed.notify_one();
        held
    }

    /// The coordinator is lost: every connection ends.
    pub(crate) fn lose_coordinator(&self) {
        let mut holders = Vec::new();
        let mut state = self.state.lock();
        state.revoked.send_replace(true);
        state.revoked = watch::Sender::new(false);
        for catalog in state.catalogs.values() {
            holders.extend(catalog.holder.clone());
        }
        drop(state);
        close_idle(&holders);
    }

    /// Closes what is idle and waits until nothing is held: the worker is about to leave.
    pub(crate) async fn wind_up(&self) {
        while self.close_what_is_idle() {
            self.changed.notified().await;
        }
    }

    /// False where nothing is held any more.
    fn close_what_is_idle(&self) -> bool {
        let state = self.state.lock();
        let held: usize = state.catalogs.values().map(|c| c.held).sum();
        let holders = state.catalogs.values().filter_map(|c| c.holder.clone());
        let holders: Vec<_> = holders.collect();
        drop(state);
        close_idle(&holders);
        held > 0
    }

    /// What changed since it was last told, with what each catalog's pool holds. With `all`, catalogs
    /// whose connections are open are told again.
    pub(crate) fn needs(&self, all: bool) -> Vec<ConnectionNeeds> {
        let mut state = self.state.lock();
        let mut needs = Vec::new();
        for (name, catalog) in &mut state.catalogs {
            let changes = catalog.asked + catalog.withdrawn + catalog.returned;
            if changes == 0 && !(all && catalog.limit > 0) {
                continue;
            }
            let holder = catalog.holder.as_ref().and_then(Weak::upgrade);
            let usage = holder.map(|holder| holder.usage()).unwrap_or_default();
            needs.push(ConnectionNeeds {
                catalog: name.clone(),
                asked: std::mem::take(&mut catalog.asked),
                withdrawn: std::mem::take(&mut catalog.withdrawn),
                returned: std::mem::take(&mut catalog.returned),
                open: usage.open,
                in_use: usage.in_use,
            });
        }
        needs
    }

    /// Does what the coordinator says.
    pub(crate) fn obey(&self, orders: &ConnectionOrders) {
        let mut answers = Vec::new();
        let mut state = self.state.lock();
        let revoked = state.revoked.subscribe();
        let Some(catalog) = state.catalogs.get_mut(&orders.catalog) else {
            return;
        };
        for _ in 0..orders.granted {
            match catalog.waiting.pop_front() {
                Some((_, waiting)) => {
                    catalog.held += 1;
                    answers.push((waiting, Ok(self.lease(&orders.catalog, revoked.clone()))));
                }
                None => catalog.returned += 1,
            }
        }
        if orders.refused {
            for (_, waiting) in catalog.waiting.drain(..) {
                let message = format!("the coordinator has no catalog \"{}\"", orders.catalog);
                let error = Error::new(SqlState::INVALID_CATALOG_NAME, message)
                    .with_hint("Every process of a fleet needs the same catalog files.");
                answers.push((waiting, Err(error)));
            }
        }
        let holder = catalog.holder.as_ref().and_then(Weak::upgrade);
        drop(state);
        for (waiting, answer) in answers {
            // Who does not wait any more gives it back by dropping it.
            let _ = waiting.send(answer);
        }
        if let Some(holder) = holder {
            if orders.close_idle > 0 {
                holder.close_idle(orders.close_idle);
            }
            if orders.give_up > 0 {
                holder.yield_next(orders.give_up);
            }
        }
        self.changed.notify_one();
    }

    fn lease(&self, catalog: &str, revoked: watch::Receiver<bool>) -> ConnectionLease {
        let (this, catalog) = (self.this.clone(), catalog.to_owned());
        ConnectionLease::new(move || {
            if let Some(this) = this.upgrade() {
                this.change(&catalog, |catalog| {
                    catalog.held -= 1;
                    catalog.returned += 1;
                });
            }
        })
        .with_revocation(revoked)
    }

    fn change(&self, catalog: &str, change: impl FnOnce(&mut Catalog)) {
        let mut state = self.state.lock();
        change(state.catalogs.entry(catalog.to_owned()).or_default());
        drop(state);
        self.changed.notify_one();
    }
}

fn close_idle(holders: &[Weak<dyn ConnectionHolder>]) {
    for holder in holders.iter().filter_map(Weak::upgrade) {
        holder.close_idle(usize::MAX);
    }
}

impl ConnectionBudgets for WorkerConnections {
    fn budget(&self, catalog: &str, limit: usize) -> Arc<dyn ConnectionBudget> {
        self.change(catalog, |catalog| catalog.limit = limit);
        Arc::new(RemoteBudget {
            connections: self.this.clone(),
            catalog: catalog.to_owned(),
            limit,
        })
    }
}

impl std::fmt::Debug for WorkerConnections {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WorkerConnections")
    }
}

/// A catalog's budget in a worker's process.
#[derive(Debug)]
struct RemoteBudget {
    connections: Weak<WorkerConnections>,
    catalog: String,
    limit: usize,
}

#[async_trait]
impl ConnectionBudget for RemoteBudget {
    fn limit(&self) -> usize {
        self.limit
    }

    async fn acquire(&self) -> Result<ConnectionLease> {
        let closed = || Error::internal("the worker's connection budgets are closed");
        let connections = self.connections.upgrade().ok_or_else(closed)?;
        let (sender, receiver) = oneshot::channel();
        let id = {
            let mut state = connections.state.lock();
            state.next_waiter += 1;
            let id = state.next_waiter;
            let catalog = state.catalogs.entry(self.catalog.clone()).or_default();
            catalog.waiting.push_back((id, sender));
            catalog.asked += 1;
            id
        };
        connections.changed.notify_one();
        let _asked = Asked {
            connections: &connections,
            catalog: &self.catalog,
            id,
        };
        receiver.await.map_err(|_| closed())?
    }

    fn attach(&self, holder: Weak<dyn ConnectionHolder>) {
        if let Some(connections) = self.connections.upgrade() {
            connections.change(&self.catalog, |catalog| catalog.holder = Some(holder));
        }
    }
}

/// Takes the request back when the wait is given up.
struct Asked<'a> {
    connections: &'a WorkerConnections,
    catalog: &'a str,
    id: u64,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        let mut removed = None;
        self.connections.change(self.catalog, |catalog| {
            let at = catalog.waiting.iter().position(|(id, _)| *id == self.id);
            if let Some(at) = at {
                removed = catalog.waiting.remove(at);
                // Not told yet, or to be taken back.
                match catalog.asked.checked_sub(1) {
                    Some(fewer) => catalog.asked = fewer,
                    None => catalog.withdrawn += 1,
                }
            }
        });
    }
}
