//! Pushdown beyond filters: after the engine's own optimization, one pass bottom-up.
//!
//! A subtree whose leaves are scans of one catalog is offered to its connector operation by operation, each by
//! a rule of its own file (its pattern, when it is equal, how it is offered). What the connector accepts grows a
//! [`Remote`]; where the growing stops, the remote becomes a scan if that is the cheaper way ([`cost`]), and
//! else the operators stay as they are over the scans below.
//!
//! Relies on the connector to take only what is exactly the engine's answer. Never offers anything above a
//! filter that the engine checks again, and never looks at which connector it is.

mod cost;
mod push_aggregate_into_scan;
mod push_distinct_into_scan;
mod push_filter_into_scan;
mod push_join_into_scan;
mod push_limit_into_scan;
mod push_project_into_scan;
mod push_top_n_into_scan;
mod push_union_into_scan;
mod remote;

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::datasource::source_as_provider;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{Distinct, Expr, LogicalPlan, TableScan};
use sluice_catalogs::{CatalogTable, SluiceOptions};
use sluice_spi::Reason;

use remote::Remote;

/// The optimized plan with scans of joins, aggregates and more where the source does them.
pub(crate) fn push_into_sources(state: &SessionState, plan: LogicalPlan) -> Result<LogicalPlan> {
    let options = SluiceOptions::of(state.config());
    if !options.pushdown || !has_something_to_push(&plan)? {
        return Ok(plan);
    }
    let pass = Pass { state, options };
    let subtree = pass.subtree(&plan)?;
    pass.settled(subtree)
}

/// Most statements read one table, and pay no more than this look.
fn has_something_to_push(plan: &LogicalPlan) -> Result<bool> {
    let (mut operation, mut offered) = (false, false);
    plan.apply_with_subqueries(|node| {
        match node {
            LogicalPlan::Aggregate(_)
            | LogicalPlan::Join(_)
            | LogicalPlan::Distinct(_)
            | LogicalPlan::Union(_) => operation = true,
            LogicalPlan::Sort(sort) => operation |= sort.fetch.is_some(),
            LogicalPlan::TableScan(scan) => offered |= provider_of(scan, |t| t.is_offered()),
            _ => {}
        }
        Ok(match operation && offered {
            true => TreeNodeRecursion::Stop,
            false => TreeNodeRecursion::Continue,
        })
    })?;
    Ok(operation && offered)
}

fn provider_of(scan: &TableScan, look: impl FnOnce(&CatalogTable) -> bool) -> bool {
    source_as_provider(&scan.source)
        .ok()
        .and_then(|provider| provider.downcast_ref::<CatalogTable>().map(look))
        .unwrap_or(false)
}

/// Why a node does not become part of its input's remote.
enum Refusal {
    /// Nothing was offered, or there is nothing to say about it.
    Silent,
    /// The operation, in a few words, and the reason.
    Because(String, Reason),
}

type Offer = std::result::Result<Remote, Refusal>;

/// A subtree after the pass.
struct Subtree {
    /// With the engine's own operator on top.
    plan: LogicalPlan,
    /// What running `plan` costs.
    cost: f64,
    /// Rows of it, as estimated.
    rows: f64,
    /// All of it at one source.
    remote: Option<Remote>,
    /// The one table below, where a filter that the engine checks keeps the rest from its source.
    filtered: Option<Arc<dyn TableProvider>>,
}

struct Pass<'a> {
    state: &'a SessionState,
    options: SluiceOptions,
}

impl Pass<'_> {
    fn subtree(&self, plan: &LogicalPlan) -> Result<Subtree> {
        if let LogicalPlan::TableScan(scan) = plan {
            return self.scan(scan);
        }
        let mut children = plan
            .inputs()
            .into_iter()
            .map(|input| self.subtree(input))
            .collect::<Result<Vec<_>>>()?;
        let offer = match plan {
            LogicalPlan::SubqueryAlias(_) => children[0]
                .remote
                .clone()
                .map(|remote| remote.standing_for(plan))
                .ok_or(Refusal::Silent),
            _ if holds_subquery(plan)? => Err(Refusal::Silent),
            LogicalPlan::Projection(node) => push_project_into_scan::offer(node, &children[0]),
            LogicalPlan::Filter(node) => push_filter_into_scan::offer(node, plan, &children[0]),
            LogicalPlan::Aggregate(node) => {
                push_aggregate_into_scan::offer(node, &children[0], &self.options)
            }
            LogicalPlan::Distinct(Distinct::All(_)) => {
                push_distinct_into_scan::offer(plan, &children[0], &self.options)
            }
            LogicalPlan::Sort(node) => push_top_n_into_scan::offer(node, &children[0]),
            LogicalPlan::Limit(node) => push_limit_into_scan::offer(node, plan, &children[0]),
            LogicalPlan::Join(node) => {
                push_join_into_scan::offer(node, &children[0], &children[1], &self.options)
            }
            LogicalPlan::Union(_) => push_union_into_scan::offer(plan, &children),
            _ => Err(Refusal::Silent),
        };
        let remote = match offer {
            Ok(remote) => Some(remote),
            Err(refusal) => {
                if let Refusal::Because(subject, reason) = refusal {
                    for child in &mut children {
                        child.note(&subject, &reason);
                    }
                }
                None
            }
        };
        let filtered = filtered_below(plan, &mut children, remote.is_some());
        let rows = cost::rows_of(plan, &children, remote.as_ref());
        let own = cost::of_operator(plan, &children, rows);
        let mut inputs = Vec::with_capacity(children.len());
        let mut below = 0.0;
        for child in children {
            below += child.cheapest();
            inputs.push(self.settled(child)?);
        }
        let local = self.with_inputs(plan, inputs)?;
        Ok(Subtree {
            plan: local,
            cost: own + below,
            rows,
            remote,
            filtered,
        })
    }

    /// The same node over other inputs of the same columns, its subqueries passed over too.
    fn with_inputs(&self, plan: &LogicalPlan, inputs: Vec<LogicalPlan>) -> Result<LogicalPlan> {
        let mut inputs = inputs.into_iter();
        let node = plan
            .clone()
            .map_children(|child| Ok(Transformed::yes(inputs.next().unwrap_or(child))))?
            .data;
        if !holds_subquery(&node)? {
            return Ok(node);
        }
        Ok(node
            .map_subqueries(|subquery| {
                let pushed = match subquery {
                    LogicalPlan::Subquery(mut subquery) => {
                        let subtree = self.subtree(&subquery.subquery)?;
                        subquery.subquery = Arc::new(self.settled(subtree)?);
                        LogicalPlan::Subquery(subquery)
                    }
                    other => other,
                };
                Ok(Transformed::yes(pushed))
            })?
            .data)
    }

    fn scan(&self, scan: &TableScan) -> Result<Subtree> {
        let plan = LogicalPlan::TableScan(scan.clone());
        let (mut remote, mut filtered) = (None, None);
        if let Ok(provider) = source_as_provider(&scan.source)
            && let Some(table) = provider.downcast_ref::<CatalogTable>()
            && table.is_offered()
        {
            remote = Remote::of_table(self.state, scan, &provider, table)?;
            filtered = remote.is_none().then(|| Arc::clone(&provider));
        }
        let (rows, cost) = match &remote {
            Some(remote) => (remote.rows, cost::of_reading(remote)),
            None => (cost::UNKNOWN_ROWS, cost::UNKNOWN_ROWS),
        };
        Ok(Subtree {
            plan,
            cost,
            rows,
            remote,
            filtered,
        })
    }

    /// The subtree as it will run.
    fn settled(&self, subtree: Subtree) -> Result<LogicalPlan> {
        let pays = subtree.pays();
        match subtree.remote {
            Some(remote) if pays => remote.into_scan(),
            Some(remote) => {
                // What stays behind says so at the scans that it stays over.
                if remote.is_worth_it {
                    note_scans(&subtree.plan, &remote)?;
                }
                Ok(subtree.plan)
            }
            None => Ok(subtree.plan),
        }
    }
}

impl Subtree {
    /// True where the remote is what will run.
    fn pays(&self) -> bool {
        self.remote
            .as_ref()
            .is_some_and(|remote| remote.is_worth_it && cost::pays(remote, self.cost))
    }

    fn cheapest(&self) -> f64 {
        match &self.remote {
            Some(remote) if self.pays() => cost::of_remote(remote),
            _ => self.cost,
        }
    }

    /// Notes what stays above, wherever a scan is left to say it.
    fn note(&mut self, subject: &str, reason: &Reason) {
        let Some(remote) = &mut self.remote else {
            return;
        };
        remote.refuse(subject, reason);
    }
}

/// The table whose filter keeps what is above from its source. Says so where something is.
fn filtered_below(
    plan: &LogicalPlan,
    children: &mut [Subtree],
    is_pushed: bool,
) -> Option<Arc<dyn TableProvider>> {
    let [child] = children else {
        return None;
    };
    let subject = match plan {
        _ if is_pushed => return None,
        LogicalPlan::Filter(_) => {
            let table = child.remote.as_ref().and_then(Remote::table);
            return table.or_else(|| child.filtered.take());
        }
        LogicalPlan::Projection(_) | LogicalPlan::SubqueryAlias(_) => {
            return child.filtered.take();
        }
        LogicalPlan::Aggregate(node) => push_aggregate_into_scan::subject(node),
        LogicalPlan::Sort(node) => push_top_n_into_scan::subject(node, node.fetch?),
        _ => return None,
    };
    let reason = Reason("the engine checks a filter below it".to_owned());
    child
        .filtered
        .take()?
        .downcast_ref::<CatalogTable>()?
        .add_note(remote::refused(&subject, &reason));
    None
}

/// Tells the scans below an operation that was not worth pushing.
fn note_scans(plan: &LogicalPlan, remote: &Remote) -> Result<()> {
    let Some(subject) = remote.last_operation() else {
        return Ok(());
    };
    let reason = Reason("reading its input is estimated to be cheaper".to_owned());
    plan.apply(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            provider_of(scan, |table| {
                table.add_note(remote::refused(&subject, &reason));
                true
            });
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}

/// A subquery inside of an expression is the engine's to run.
fn holds_subquery(plan: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    plan.apply_expressions(|expr| {
        found |= expr.exists(|e| {
            Ok(matches!(
                e,
                Expr::ScalarSubquery(_)
                    | Expr::InSubquery(_)
                    | Expr::Exists(_)
                    | Expr::SetComparison(_)
            ))
        })?;
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(found)
}
