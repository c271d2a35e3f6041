//! `PushSemiJoinBelowJoin`: a semi-join (or anti-join) tests rows before they are joined, not after.
//!
//! Pattern: `LeftSemi(L, S)` or `LeftAnti(L, S)` on columns of `L`, where `L` is made of inner joins, filters,
//! projections and aliases. The test moves to that input of `L` which has the keys, or columns equal to
//! them, and the fewest rows. `IN (SELECT …)` over three joined tables becomes a test of one of them.
//!
//! Equal, since the test of a row depends on its keys alone: it commutes with a filter, with a projection
//! that passes the keys on, and with an inner join whose rows all carry the same keys (or equals of them).
//! Duplicates stay as they are. Not moved: NOT IN over NULLs (null-aware, it depends on all rows), tests
//! with further conditions than equal keys, volatile expressions on the way, outer joins, limits,
//! aggregates, window functions.
//!
//! Cost test: by estimate, the input has no more rows than the join's result would have. Without
//! statistics nothing moves.

use std::sync::Arc;

use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, JoinType, NullEquality, Result};
use datafusion::logical_expr::{Expr, Join, LogicalPlan};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

use super::estimate::Estimate;
use super::semi_joins::{below, column_of, is_allowed, on_side};

/// See the module.
#[derive(Debug)]
pub(crate) struct PushSemiJoinBelowJoin;

impl OptimizerRule for PushSemiJoinBelowJoin {
    fn name(&self) -> &str {
        "push_semi_join_below_join"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        if !is_allowed(config) {
            return Ok(Transformed::no(plan));
        }
        let LogicalPlan::Join(test) = &plan else {
            return Ok(Transformed::no(plan));
        };
        let Some(keys) = movable_keys(test) else {
            return Ok(Transformed::no(plan));
        };
        let Some(here) = Estimate::of(&test.left) else {
            return Ok(Transformed::no(plan));
        };
        let Some(place) = best_place(&test.left, &keys) else {
            return Ok(Transformed::no(plan));
        };
        if place.joins_passed == 0 || place.rows > here.rows {
            return Ok(Transformed::no(plan));
        }
        place_test(&test.left, &keys, &place.path, test).map(Transformed::yes)
    }
}

/// The tested columns, where the test may be moved at all.
fn movable_keys(test: &Join) -> Option<Vec<Column>> {
    let is_test = matches!(test.join_type, JoinType::LeftSemi | JoinType::LeftAnti);
    if !is_test
        || test.null_aware
        || test.filter.is_some()
        || test.on.is_empty()
        || test.null_equality != NullEquality::NullEqualsNothing
    {
        return None;
    }
    test.on
        .iter()
        .map(|(left, _)| column_of(left).cloned())
        .collect()
}

/// Where a test could be made.
struct Place {
    /// Which input to take at each step down.
    path: Vec<usize>,
    rows: f64,
    joins_passed: usize,
}

/// The place with the fewest rows, the deepest of those.
fn best_place(plan: &LogicalPlan, keys: &[Column]) -> Option<Place> {
    let mut best = Estimate::of(plan).map(|estimate| Place {
        path: Vec::new(),
        rows: estimate.rows,
        joins_passed: 0,
    });
    let mut consider = |index: usize, input: &LogicalPlan, keys: &[Column], joins: usize| {
        let Some(mut place) = best_place(input, keys) else {
            return;
        };
        place.path.insert(0, index);
        place.joins_passed += joins;
        if best.as_ref().is_none_or(|best| place.rows <= best.rows) {
            best = Some(place);
        }
    };
    match plan {
        LogicalPlan::Filter(_) | LogicalPlan::Projection(_) | LogicalPlan::SubqueryAlias(_) => {
            let volatile = plan.expressions().iter().any(Expr::is_volatile);
            if let (false, Some(keys), [input]) =
                (volatile, below(plan, keys), plan.inputs().as_slice())
            {
                consider(0, input, &keys, 0);
            }
        }
        LogicalPlan::Join(join)
            if join.join_type == JoinType::Inner
                && !join.filter.as_ref().is_some_and(Expr::is_volatile) =>
        {
            for (index, input) in [&join.left, &join.right].into_iter().enumerate() {
                if let Some(keys) = on_side(join, keys, index == 0) {
                    consider(index, input, &keys, 1);
                }
            }
        }
        _ => {}
    }
    best
}

/// `plan` with the test made at the end of `path`.
fn place_test(
    plan: &LogicalPlan,
    keys: &[Column],
    path: &[usize],
    test: &Join,
) -> Result<LogicalPlan> {
    let Some((step, rest)) = path.split_first() else {
        let on = keys
            .iter()
            .zip(&test.on)
            .map(|(key, (_, other))| (Expr::Column(key.clone()), other.clone()))
            .collect();
        return Ok(LogicalPlan::Join(Join::try_new(
            Arc::new(plan.clone()),
            Arc::clone(&test.right),
            on,
            None,
            test.join_type,
            test.join_constraint,
            test.null_equality,
            false,
        )?));
    };
    let keys = match plan {
        LogicalPlan::Join(join) => on_side(join, keys, *step == 0),
        other => below(other, keys),
    };
    let Some(keys) = keys else {
        return datafusion::common::internal_err!("a semi-join lost its keys on the way down");
    };
    let mut inputs: Vec<LogicalPlan> = plan.inputs().into_iter().cloned().collect();
    let tested = place_test(&inputs[*step], &keys, rest, test)?;
    inputs[*step] = tested;
    plan.with_new_exprs(plan.expressions(), inputs)
}
