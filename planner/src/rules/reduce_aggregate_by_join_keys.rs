//! `ReduceAggregateByJoinKeys`: an aggregate that is joined on its group key computes only the groups that
//! the join asks for.
//!
//! Pattern: a join of `L` with an aggregate on (some of) its group keys, with projections, aliases and
//! filters between; every correlated scalar subquery becomes one. The keys of `L` come from some part `K` of
//! it; the rows that the aggregate reads are semi-joined with `K` first.
//!
//! Equal, since a group is made of the rows with its key, all of them or none: a group that is left out has a
//! key that no row of `L` has, and the join does nothing with it (inner, and the right side of a left, semi
//! or plain anti join). NULL keys equal nothing, so their group is left out rightly. Not done: keys that are
//! computed, NULL-aware joins or joins where NULL equals NULL, volatile expressions in either part (`K` is
//! computed a second time), grouping sets, parts of `L` that are more than scans, filters and joins; and scans of
//! sources that may have other rows when they are read a second time: a row of `L` that came in between would
//! not find its group.
//!
//! Cost test: by estimate, `K` names few of the groups, and reading it again costs little next to the
//! aggregate's own input. Only where workers take part: in one process, the join's run-time filter does the
//! same without reading `K` twice.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, JoinType, NullEquality, Result};
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::{
    Expr, Join, JoinConstraint, LogicalPlan, LogicalPlanBuilder, TableScan,
};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};
use sluice_catalogs::{CatalogTable, SluiceOptions};

use super::estimate::Estimate;
use super::semi_joins::{Origin, below, column_of, is_allowed, is_volatile, origins};

/// Aliases of the keys start so; an aggregate that reads one was reduced before.
const KEYS_ALIAS: &str = "__reduced_by_keys";

/// Of the groups, the share that is asked for, above which it is not worth while.
const WORTHWHILE_SHARE: f64 = 0.3;

/// Rows read for the keys, as a share of those that the aggregate reads.
const AFFORDABLE_SHARE: f64 = 0.3;

/// See the module.
#[derive(Debug)]
pub(crate) struct ReduceAggregateByJoinKeys;

impl OptimizerRule for ReduceAggregateByJoinKeys {
    fn name(&self) -> &str {
        "reduce_aggregate_by_join_keys"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let options = config.options();
        let in_stages = options
            .extensions
            .get::<SluiceOptions>()
            .is_some_and(|options| options.workers > 0);
        let is_filtered = options.optimizer.enable_join_dynamic_filter_pushdown && !in_stages;
        let LogicalPlan::Join(join) = &plan else {
            return Ok(Transformed::no(plan));
        };
        if is_filtered || !is_allowed(config) {
            return Ok(Transformed::no(plan));
        }
        let sides: &[bool] = match join.join_type {
            JoinType::Inner => &[false, true],
            JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti => &[false],
            _ => &[],
        };
        if join.null_aware || join.null_equality != NullEquality::NullEqualsNothing {
            return Ok(Transformed::no(plan));
        }
        for aggregate_is_left in sides {
            if let Some(reduced) = reduce(join, *aggregate_is_left, config)? {
                return Ok(Transformed::yes(LogicalPlan::Join(reduced)));
            }
        }
        Ok(Transformed::no(plan))
    }
}

fn reduce(join: &Join, left: bool, config: &dyn OptimizerConfig) -> Result<Option<Join>> {
    let (grouped, other) = if left {
        (&join.left, &join.right)
    } else {
        (&join.right, &join.left)
    };
    let mut best: Option<(Vec<usize>, Column, Origin<'_>, f64)> = None;
    for (l, r) in &join.on {
        let (group, key) = if left { (l, r) } else { (r, l) };
        let (Some(group), Some(key)) = (column_of(group), column_of(key)) else {
            continue;
        };
        let Some((depth, column, input)) = grouped_by(grouped, group.clone()) else {
            continue;
        };
        let Some((origin, share)) = affordable_keys(other, key.clone(), input, &column) else {
            continue;
        };
        if best.as_ref().is_none_or(|(.., least)| share < *least) {
            best = Some((vec![0; depth], column, origin, share));
        }
    }
    let Some((path, column, origin, _)) = best else {
        return Ok(None);
    };
    if is_volatile(grouped) || is_volatile(origin.plan) {
        return Ok(None);
    }
    let Some(key) = origin.columns.first() else {
        return Ok(None);
    };
    let alias = config.alias_generator().next(KEYS_ALIAS);
    let keys = LogicalPlanBuilder::from(origin.plan.clone())
        .project([Expr::Column(key.clone())])?
        .alias(alias.as_str())?
        .build()?;
    let reduced = with_keys(grouped, &path, &column, &keys)?;
    let mut changed = join.clone();
    if left {
        changed.left = Arc::new(reduced);
    } else {
        changed.right = Arc::new(reduced);
    }
    Ok(Some(changed))
}

/// How deep below `plan` an aggregate groups by `column`, as what its input calls the column, and that input.
fn grouped_by(plan: &LogicalPlan, column: Column) -> Option<(usize, Column, &LogicalPlan)> {
    match plan {
        LogicalPlan::Aggregate(aggregate) => {
            let grouping_sets = aggregate
                .group_expr
                .iter()
                .any(|key| matches!(key, Expr::GroupingSet(_)));
            let position = aggregate.schema.maybe_index_of_column(&column)?;
            let key = column_of(aggregate.group_expr.get(position)?)?.clone();
            (!grouping_sets).then_some((0, key, aggregate.input.as_ref()))
        }
        LogicalPlan::Filter(_) | LogicalPlan::Projection(_) | LogicalPlan::SubqueryAlias(_) => {
            let column = below(plan, std::slice::from_ref(&column))?.pop()?;
            let inputs = plan.inputs();
            let (depth, key, input) = grouped_by(inputs.first().copied()?, column)?;
            Some((depth + 1, key, input))
        }
        _ => None,
    }
}

/// The cheapest part of `plan` to take the keys of `key` from, and the share of the groups that it names.
fn affordable_keys<'a>(
    plan: &'a LogicalPlan,
    key: Column,
    input: &LogicalPlan,
    group: &Column,
) -> Option<(Origin<'a>, f64)> {
    if is_reduced(input) {
        return None;
    }
    let read = Estimate::of(input)?;
    let groups = read.distinct(group)?;
    let mut found = Vec::new();
    origins(plan, vec![key], &mut found);
    found
        .into_iter()
        .filter(|origin| is_simple(origin.plan))
        .filter(|origin| origin.estimate.scanned <= AFFORDABLE_SHARE * read.scanned)
        .filter_map(|origin| {
            let named = origin
                .columns
                .first()
                .and_then(|column| origin.estimate.distinct(column))
                .unwrap_or(origin.estimate.rows);
            let share = named / groups;
            (share <= WORTHWHILE_SHARE).then_some((origin, share))
        })
        .min_by(|(a, _), (b, _)| a.estimate.scanned.total_cmp(&b.estimate.scanned))
}

/// Made of what is cheap to compute twice, gives the same rows both times, and whose rows do not depend on each
/// other.
fn is_simple(plan: &LogicalPlan) -> bool {
    !plan
        .exists(|node| {
            Ok(match node {
                LogicalPlan::TableScan(scan) => scan.fetch.is_some() || !reads_agree(scan),
                LogicalPlan::Filter(_)
                | LogicalPlan::Projection(_)
                | LogicalPlan::SubqueryAlias(_)
                | LogicalPlan::Join(_) => false,
                _ => true,
            })
        })
        .unwrap_or(true)
}

/// True where the table has the same rows for each read of a query.
fn reads_agree(scan: &TableScan) -> bool {
    source_as_provider(&scan.source).is_ok_and(|provider| {
        provider
            .downcast_ref::<CatalogTable>()
            .is_some_and(|table| table.catalog().connector().reads_agree())
    })
}

fn is_reduced(plan: &LogicalPlan) -> bool {
    plan.exists(|node| {
        Ok(matches!(node, LogicalPlan::SubqueryAlias(alias)
            if alias.alias.table().starts_with(KEYS_ALIAS)))
    })
    .unwrap_or(true)
}

/// `plan` with the input of its aggregate, at the end of `path`, semi-joined with `keys`.
fn with_keys(
    plan: &LogicalPlan,
    path: &[usize],
    column: &Column,
    keys: &LogicalPlan,
) -> Result<LogicalPlan> {
    let mut inputs: Vec<LogicalPlan> = plan.inputs().into_iter().cloned().collect();
    let input = &inputs[0];
    let reduced = match path.split_first() {
        Some((_, rest)) => with_keys(input, rest, column, keys)?,
        None => {
            let key = Expr::Column(Column::from(keys.schema().qualified_field(0)));
            LogicalPlan::Join(Join::try_new(
                Arc::new(input.clone()),
                Arc::new(keys.clone()),
                vec![(Expr::Column(column.clone()), key)],
                None,
                JoinType::LeftSemi,
                JoinConstraint::On,
                NullEquality::NullEqualsNothing,
                false,
            )?)
        }
    };
    inputs[0] = reduced;
    plan.with_new_exprs(plan.expressions(), inputs)
}
