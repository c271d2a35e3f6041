//! The coordinator's end: keeps the accounts of all catalogs, answers its own process directly and the
//! workers over their seats.
//!
//! One mutex guards the accounts. It is held for arithmetic only: leases are handed over, and pools are
//! asked to close connections, after it is released.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use parking_lot::Mutex;
use sluice_spi::{
    ConnectionBudget, ConnectionBudgets, ConnectionHolder, ConnectionLease, ConnectionUsage, Error,
    Result,
};
use tokio::sync::{Notify, oneshot};

use super::account::{Account, HERE, Process, Step};
use super::{ConnectionNeeds, ConnectionOrders, ConnectionReport};

/// How often accounts with someone waiting are looked at without anything having happened.
const TICK: Duration = Duration::from_millis(100);

/// The coordinator's name in reports.
const COORDINATOR: &str = "coordinator";

/// The accounts of a coordinator.
pub(crate) struct ConnectionDesk {
    this: Weak<ConnectionDesk>,
    books: Mutex<Books>,
    /// Somebody began to wait.
    wake: Notify,
}

#[derive(Default)]
struct Books {
    accounts: BTreeMap<String, CatalogAccount>,
    workers: BTreeMap<Process, Worker>,
    /// Names of those that were lost, for reports and for those that come back.
    lost: BTreeMap<Process, Identity>,
    next_waiter: u64,
}

struct CatalogAccount {
    account: Account,
    /// This process's waiting pools, the oldest first.
    here: VecDeque<(u64, oneshot::Sender<ConnectionLease>)>,
    holder: Option<Weak<dyn ConnectionHolder>>,
}

/// Which process a worker is: a worker that was started again has another start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) worker_id: String,
    pub(crate) started_micros: i64,
}

struct Worker {
    identity: Identity,
    usage: BTreeMap<String, ConnectionUsage>,
    orders: BTreeMap<String, ConnectionOrders>,
    notify: Arc<Notify>,
}

/// What is done once the books are closed again.
#[derive(Default)]
struct Deeds {
    granted: Vec<(oneshot::Sender<ConnectionLease>, ConnectionLease)>,
    close_idle: Vec<(Weak<dyn ConnectionHolder>, usize)>,
    yields: Vec<(Weak<dyn ConnectionHolder>, usize)>,
}

impl ConnectionDesk {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new_cyclic(|this| ConnectionDesk {
            this: this.clone(),
            books: Mutex::default(),
            wake: Notify::new(),
        })
    }

    /// Looks after those who wait. Runs as long as the coordinator serves its fleet.
    pub(crate) async fn run(self: Arc<Self>) {
        loop {
            let waiting = {
                let books = self.books.lock();
                books.accounts.values().any(|a| a.account.is_waiting())
            };
            if waiting {
                tokio::time::sleep(TICK).await;
            } else {
                self.wake.notified().await;
            }
            self.change(|_, _| {});
        }
    }

    /// A worker comes in; `held` are connections that it has already. The orders for it are announced
    /// through the answer.
    pub(crate) fn join(
        &self,
        process: Process,
        identity: Identity,
        held: &BTreeMap<String, usize>,
    ) -> Arc<Notify> {
        let notify = Arc::new(Notify::new());
        let worker = Worker {
            identity: identity.clone(),
            usage: BTreeMap::new(),
            orders: BTreeMap::new(),
            notify: notify.clone(),
        };
        self.change(|books, _| {
            let before = books
                .lost
                .iter()
                .find(|(_, lost)| **lost == identity)
                .map(|(process, _)| *process);
            for (catalog, account) in &mut books.accounts {
                let held = held.get(catalog).copied().unwrap_or(0);
                account.account.adopt(process, before, held);
            }
            books.workers.insert(process, worker);
        });
        notify
    }

    /// A worker tells what it wants, and what it gives back.
    pub(crate) fn hear(&self, process: Process, needs: Vec<ConnectionNeeds>) {
        self.change(|books, now| {
            let Some(worker) = books.workers.get_mut(&process) else {
                return;
            };
            for need in needs {
                match books.accounts.get_mut(&need.catalog) {
                    Some(CatalogAccount { account, .. }) => {
                        account.give_back(process, need.returned);
                        account.withdraw(process, need.withdrawn);
                        account.ask(process, need.asked, now);
                        account.tell_idle(process, need.open.saturating_sub(need.in_use));
                    }
                    None if need.asked > 0 => {
                        worker.order(&need.catalog).refused = true;
                    }
                    None => {}
                }
                let usage = ConnectionUsage {
                    open: need.open,
                    in_use: need.in_use,
                };
                worker.usage.insert(need.catalog, usage);
            }
        });
    }

    /// What a worker is to do, once.
    pub(crate) fn take_orders(&self, process: Process) -> Vec<ConnectionOrders> {
        let mut books = self.books.lock();
        let orders = books
            .workers
            .get_mut(&process)
            .map(|w| std::mem::take(&mut w.orders));
        orders.into_iter().flat_map(BTreeMap::into_values).collect()
    }

    /// A worker is gone.
    pub(crate) fn lose(&self, process: Process) {
        self.change(|books, now| {
            let Some(worker) = books.workers.remove(&process) else {
                return;
            };
            for account in books.accounts.values_mut() {
                account.account.lose(process, now);
            }
            books.lost.insert(process, worker.identity);
        });
    }

    /// Who holds what.
    pub(crate) fn reports(&self) -> Vec<ConnectionReport> {
        let books = self.books.lock();
        let mut reports = Vec::new();
        for (catalog, account) in &books.accounts {
            let limit = account.account.limit();
            let report = |process: &str, state, usage: ConnectionUsage| ConnectionReport {
                catalog: catalog.clone(),
                process: process.to_owned(),
                state,
                open: usage.open,
                in_use: usage.in_use,
                limit,
            };
            let holder = account.holder.as_ref().and_then(Weak::upgrade);
            let usage = holder.map(|holder| holder.usage()).unwrap_or_default();
            reports.push(report(COORDINATOR, "active", usage));
            for worker in books.workers.values() {
                let usage = worker.usage.get(catalog).copied().unwrap_or_default();
                reports.push(report(&worker.identity.worker_id, "active", usage));
            }
            for (process, count) in account.account.lost() {
                let name = books
                    .lost
                    .get(&process)
                    .map_or("", |lost| lost.worker_id.as_str());
                let usage = ConnectionUsage {
                    open: count,
                    in_use: 0,
                };
                reports.push(report(name, "lost", usage));
            }
        }
        reports
    }

    /// Changes the books, settles every account, and does what follows.
    fn change<T>(&self, change: impl FnOnce(&mut Books, Instant) -> T) -> T {
        let mut deeds = Deeds::default();
        let now = Instant::now();
        let mut books = self.books.lock();
        let result = change(&mut books, now);
        books.settle(&self.this, now, &mut deeds);
        let waiting = books.accounts.values().any(|a| a.account.is_waiting());
        drop(books);
        if waiting {
            self.wake.notify_one();
        }
        deeds.execute();
        result
    }

    fn give_back(&self, catalog: &str) {
        self.change(|books, _| {
            if let Some(account) = books.accounts.get_mut(catalog) {
                account.account.give_back(HERE, 1);
            }
        });
    }
}

impl Books {
    fn settle(&mut self, desk: &Weak<ConnectionDesk>, now: Instant, deeds: &mut Deeds) {
        for (catalog, entry) in &mut self.accounts {
            let CatalogAccount {
                account,
                here,
                holder,
            } = entry;
            if account.is_waiting()
                && let Some(holder) = holder.as_ref().and_then(Weak::upgrade)
            {
                let usage = holder.usage();
                account.tell_idle(HERE, usage.open.saturating_sub(usage.in_use));
            }
            for step in account.steps(now) {
                match step {
                    Step::Grant(HERE) => {
                        let (desk, catalog) = (desk.clone(), catalog.clone());
                        let lease = ConnectionLease::new(move || {
                            if let Some(desk) = desk.upgrade() {
                                desk.give_back(&catalog);
                            }
                        });
                        match here.pop_front() {
                            Some((_, waiting)) => deeds.granted.push((waiting, lease)),
                            // Withdrawn in the same moment: it goes back with the deeds.
                            None => deeds.granted.push((oneshot::channel().0, lease)),
                        }
                    }
                    Step::CloseIdle(HERE) => {
                        deeds.close_idle.extend(holder.clone().map(|h| (h, 1)))
                    }
                    Step::Yield(HERE) => deeds.yields.extend(holder.clone().map(|h| (h, 1))),
                    Step::Grant(process) | Step::CloseIdle(process) | Step::Yield(process) => {
                        let Some(worker) = self.workers.get_mut(&process) else {
                            continue;
                        };
                        let order = worker.order(catalog);
                        match step {
                            Step::Grant(_) => order.granted += 1,
                            Step::CloseIdle(_) => order.close_idle += 1,
                            Step::Yield(_) => order.give_up += 1,
                        }
                    }
                }
            }
        }
        let accounts = &self.accounts;
        self.lost.retain(|process, _| {
            accounts
                .values()
                .any(|a| a.account.lost().any(|(lost, _)| lost == *process))
        });
    }
}

impl Worker {
    fn order(&mut self, catalog: &str) -> &mut ConnectionOrders {
        self.notify.notify_one();
        self.orders
            .entry(catalog.to_owned())
            .or_insert_with(|| ConnectionOrders {
                catalog: catalog.to_owned(),
                ..Default::default()
            })
    }
}

impl Deeds {
    fn execute(self) {
        for (waiting, lease) in self.granted {
            // Who does not wait any more gives it back by dropping it.
            let _ = waiting.send(lease);
        }
        for (holder, count) in self.close_idle {
            if let Some(holder) = holder.upgrade() {
                holder.close_idle(count);
            }
        }
        for (holder, count) in self.yields {
            if let Some(holder) = holder.upgrade() {
                holder.yield_next(count);
            }
        }
    }
}

impl ConnectionBudgets for ConnectionDesk {
    fn budget(&self, catalog: &str, limit: usize) -> Arc<dyn ConnectionBudget> {
        let entry = CatalogAccount {
            account: Account::new(limit),
            here: VecDeque::new(),
            holder: None,
        };
        self.books.lock().accounts.insert(catalog.to_owned(), entry);
        Arc::new(OwnBudget {
            desk: self.this.clone(),
            catalog: catalog.to_owned(),
            limit,
        })
    }
}

impl std::fmt::Debug for ConnectionDesk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ConnectionDesk")
    }
}

/// A catalog's budget in the coordinator's own process.
#[derive(Debug)]
struct OwnBudget {
    desk: Weak<ConnectionDesk>,
    catalog: String,
    limit: usize,
}

#[async_trait]
impl ConnectionBudget for OwnBudget {
    fn limit(&self) -> usize {
        self.limit
    }

    async fn acquire(&self) -> Result<ConnectionLease> {
        let closed = || Error::internal("the fleet's connection accounts are closed");
        let desk = self.desk.upgrade().ok_or_else(closed)?;
        let (sender, receiver) = oneshot::channel();
        let id = desk.change(|books, now| {
            books.next_waiter += 1;
            let id = books.next_waiter;
            if let Some(entry) = books.accounts.get_mut(&self.catalog) {
                entry.here.push_back((id, sender));
                entry.account.ask(HERE, 1, now);
            }
            id
        });
        let _asked = Asked {
            desk: &desk,
            catalog: &self.catalog,
            id,
        };
        receiver.await.map_err(|_| closed())
    }

    fn attach(&self, holder: Weak<dyn ConnectionHolder>) {
        if let Some(desk) = self.desk.upgrade()
            && let Some(entry) = desk.books.lock().accounts.get_mut(&self.catalog)
        {
            entry.holder = Some(holder);
        }
    }
}

/// Takes the request back when the wait is given up.
struct Asked<'a> {
    desk: &'a ConnectionDesk,
    catalog: &'a str,
    id: u64,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        let removed = self.desk.change(|books, _| {
            let entry = books.accounts.get_mut(self.catalog)?;
            let at = entry.here.iter().position(|(id, _)| *id == self.id)?;
            entry.account.withdraw(HERE, 1);
            entry.here.remove(at)
        });
        drop(removed);
    }
}
