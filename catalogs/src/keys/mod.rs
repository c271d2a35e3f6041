//! Keys that a join learns while it runs, handed to the source before a scan asks it for rows.
//!
//! A hash join knows all keys of its build side before it reads its probe side, and leaves them in a dynamic
//! filter at the scans below. A source that reads by statements wants them in the statement: the scan waits
//! until the filter is complete ([`awaited`] says for which filters that makes sense), turns it into
//! conjuncts ([`extract`]), and offers these to the connector like any other filter. The join still tests
//! each row, so more rows than needed are never wrong; a filter that comes too late costs rows, not answers.
//!
//! Never sends a key whose comparison the connector did not accept, and never waits longer than it was told.

mod awaited;
mod extract;
mod limits;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::common::Result;
use datafusion::logical_expr::Expr;
use datafusion::physical_expr::expressions::DynamicFilterPhysicalExpr;
use datafusion::physical_plan::PhysicalExpr;
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricBuilder};
use futures::FutureExt;
use futures::future::join_all;
use parking_lot::RwLock;
use sluice_spi::{Connector, Pushed, RunTimeKeys, TableHandle};
use tokio::sync::OnceCell;

pub use awaited::await_keys;
use extract::{ColumnKeys, Reduction};
pub(crate) use limits::key_limits;

use crate::scan::ScanTarget;

/// Metric: scans that were given keys (one per task).
pub const KEYED_SCANS: &str = "keyed_scans";
/// Metric: keys that were given to scans, over all tasks.
pub const KEYS: &str = "keys";
/// Metric: scans that stopped waiting and read without keys.
pub const LATE_KEYS: &str = "late_keys";
/// Metric: how long scans waited for keys, over all tasks.
pub const KEYS_WAIT: &str = "keys_wait";

/// What a scan has to read once the keys are known.
#[derive(Debug, Clone)]
pub(crate) enum Keyed {
    /// This.
    Handle(Box<TableHandle>),
    /// Nothing: no row can matter.
    Nothing,
}

/// The keys of one scan, shared by its partitions: the first one that is polled waits for all.
#[derive(Debug, Default)]
pub(crate) struct SharedKeys {
    keyed: OnceCell<Keyed>,
    /// Ids of the filters that are worth waiting for.
    awaited: RwLock<HashSet<u64>>,
}

impl SharedKeys {
    /// From now on the scan waits for these filters.
    pub(super) fn set_awaited(&self, ids: HashSet<u64>) {
        *self.awaited.write() = ids;
    }

    /// The handle with keys inside. Safe to drop at any point: another partition takes over.
    pub(crate) async fn resolve(&self, wish: &KeyedScan) -> Result<Keyed> {
        self.keyed
            .get_or_try_init(|| wish.resolve(&self.awaited))
            .await
            .cloned()
    }
}

/// What a scan needs to know to ask for keys.
pub(crate) struct KeyedScan {
    pub(crate) connector: Arc<dyn Connector>,
    pub(crate) target: Arc<ScanTarget>,
    /// Over the target's schema.
    pub(crate) filters: Vec<Arc<dyn PhysicalExpr>>,
    pub(crate) limits: RunTimeKeys,
    /// The session's word on how long to wait.
    pub(crate) wait: Option<Duration>,
    pub(crate) metrics: ExecutionPlanMetricsSet,
    pub(crate) partition: usize,
}

impl KeyedScan {
    async fn resolve(&self, awaited: &RwLock<HashSet<u64>>) -> Result<Keyed> {
        let dynamic: Vec<&DynamicFilterPhysicalExpr> = self
            .filters
            .iter()
            .filter_map(|filter| filter.downcast_ref())
            .collect();
        let pending: Vec<_> = {
            let awaited = awaited.read();
            dynamic
                .iter()
                .filter(|filter| {
                    filter
                        .expression_id()
                        .is_some_and(|id| awaited.contains(&id))
                })
                .filter(|filter| filter.wait_complete().now_or_never().is_none())
                .map(|filter| filter.wait_complete())
                .collect()
        };
        if !pending.is_empty() {
            let began = Instant::now();
            let wait = self.wait.unwrap_or(self.limits.wait);
            if tokio::time::timeout(wait, join_all(pending)).await.is_err() {
                self.count(LATE_KEYS, 1);
            }
            MetricBuilder::new(&self.metrics)
                .subset_time(KEYS_WAIT, self.partition)
                .add_duration(began.elapsed());
        }
        // A filter that is still open may grow yet: it rules nothing out.
        let complete = dynamic
            .into_iter()
            .filter(|filter| filter.wait_complete().now_or_never().is_some());
        let mut known = Reduction::All;
        for filter in complete {
            known = known.and(Reduction::of(&filter.current()?, &self.target.schema));
        }
        Ok(self.offer(known))
    }

    /// Offers what is known to the connector, a column at a time.
    fn offer(&self, known: Reduction) -> Keyed {
        let columns = match known {
            Reduction::Nothing => {
                self.count(KEYED_SCANS, 1);
                return Keyed::Nothing;
            }
            Reduction::All => return self.unchanged(),
            Reduction::Columns(columns) => columns,
        };
        let Some(pushdown) = self.connector.pushdown() else {
            return self.unchanged();
        };
        let table = self.target.metadata();
        let mut handle = self.target.handle.clone();
        let mut sent = 0;
        let mut is_keyed = false;
        for (index, keys) in columns {
            let column = self.target.schema.field(index).name();
            for (conjunct, count) in self.wordings(index, column, &keys) {
                let answer = pushdown.apply_filter(&table, &handle, &[conjunct]);
                if matches!(
                    answer.outcome.as_slice(),
                    [Pushed::Exactly | Pushed::Superset(_)]
                ) {
                    handle = answer.handle;
                    sent += count;
                    is_keyed = true;
                    break;
                }
            }
        }
        if is_keyed {
            self.count(KEYED_SCANS, 1);
            self.count(KEYS, sent);
        }
        Keyed::Handle(Box::new(handle))
    }

    /// What to say of a column, the strongest first, each with the keys in it.
    fn wordings(&self, index: usize, column: &str, keys: &ColumnKeys) -> Vec<(Expr, usize)> {
        let worth = self.target.key_limits.get(&index);
        let limit = worth.map_or(self.limits.max_keys, |n| self.limits.max_keys.min(*n));
        let list = keys.list(column).filter(|(_, count)| *count <= limit);
        list.into_iter()
            .chain(keys.range(column).map(|range| (range, 0)))
            .collect()
    }

    fn unchanged(&self) -> Keyed {
        Keyed::Handle(Box::new(self.target.handle.clone()))
    }

    fn count(&self, name: &'static str, count: usize) {
        MetricBuilder::new(&self.metrics)
            .counter(name, self.partition)
            .add(count);
    }
}

#[cfg(test)]
mod tests;
