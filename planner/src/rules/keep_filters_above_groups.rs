//! `KeepFiltersAboveGroups`: the engine's logical filter pushdown, kept from conditions that do not choose groups.
//!
//! The engine sends a condition below an aggregate or a window where every column in it is grouped by. A
//! condition without columns (`HAVING (SELECT max(x) FROM u) > 100`, `HAVING random() < 0.5`) has no other, and
//! goes below too: but the aggregate without groups, or with the grouping set `()`, has a row of its own even
//! where nothing comes in. A volatile condition is asked once for each row that it is above of, so it stays
//! where it was written.
//!
//! Equal: what is kept back stays above the node, where it was; the rest is the engine's.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{Aggregate, Expr, Filter, GroupingSet, LogicalPlan};
use datafusion::optimizer::OptimizerConfig;
use datafusion::optimizer::optimizer::{ApplyOrder, OptimizerRule};
use datafusion::optimizer::push_down_filter::PushDownFilter;

/// See the module. Takes the place of the engine's rule.
#[derive(Debug, Default)]
pub(super) struct KeepFiltersAboveGroups(PushDownFilter);

impl OptimizerRule for KeepFiltersAboveGroups {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.0.apply_order()
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Filter(filter) = &plan else {
            return self.0.rewrite(plan, config);
        };
        // The engine makes one filter of a pile of them before it looks below.
        let mut piled = vec![filter];
        let mut below = &filter.input;
        while let LogicalPlan::Filter(filter) = below.as_ref() {
            piled.push(filter);
            below = &filter.input;
        }
        let (kept, sent): (Vec<Expr>, Vec<Expr>) = piled
            .iter()
            .rev()
            .flat_map(|filter| split_conjunction(&filter.predicate))
            .cloned()
            .partition(|condition| stays_above(below, condition));
        let Some(kept) = conjunction(kept) else {
            return self.0.rewrite(plan, config);
        };
        let below = Arc::clone(below);
        let Some(sent) = conjunction(sent) else {
            let changed = piled.len() > 1;
            let kept = LogicalPlan::Filter(Filter::try_new(kept, below)?);
            return Ok(Transformed::new_transformed(kept, changed));
        };
        let sent = LogicalPlan::Filter(Filter::try_new(sent, below)?);
        let done = self.0.rewrite(sent, config)?;
        let moved = done.transformed || piled.len() > 1;
        let kept = LogicalPlan::Filter(Filter::try_new(kept, Arc::new(done.data))?);
        Ok(Transformed::new_transformed(kept, moved))
    }
}

/// True for a condition that means something else below `node`.
fn stays_above(node: &LogicalPlan, condition: &Expr) -> bool {
    let has_columns = !condition.column_refs().is_empty();
    match node {
        LogicalPlan::Aggregate(aggregate) => {
            condition.is_volatile() || (!has_columns && has_group_without_rows(aggregate))
        }
        LogicalPlan::Window(_) | LogicalPlan::Distinct(_) | LogicalPlan::Unnest(_) => {
            condition.is_volatile()
        }
        LogicalPlan::Join(_) => condition.is_volatile() && !has_columns,
        _ => false,
    }
}

/// True where the aggregate gives a row although its input has none.
fn has_group_without_rows(aggregate: &Aggregate) -> bool {
    match aggregate.group_expr.as_slice() {
        [] => true,
        [Expr::GroupingSet(GroupingSet::GroupingSets(sets))] => sets.iter().any(Vec::is_empty),
        [Expr::GroupingSet(_)] => true,
        _ => false,
    }
}
