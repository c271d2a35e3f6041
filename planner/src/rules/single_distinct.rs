//! `SingleDistinct`: the engine's rule for `count(DISTINCT x)`, kept from sums that change their type.
//!
//! The engine groups by `x` first and aggregates what else there is twice. A sum of integers is a bigint and
//! a sum of bigints a numeric, so that a sum of sums is of another type than the sum it stands for. Equal
//! where it applies: every other aggregate that the engine takes may be applied twice.

use datafusion::common::Result;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::{Aggregate, Expr, ExprSchemable, LogicalPlan};
use datafusion::optimizer::OptimizerConfig;
use datafusion::optimizer::optimizer::{ApplyOrder, OptimizerRule};
use datafusion::optimizer::single_distinct_to_groupby::SingleDistinctToGroupBy;

/// See the module. Takes the place of the engine's rule.
#[derive(Debug, Default)]
pub(super) struct SingleDistinct(SingleDistinctToGroupBy);

impl OptimizerRule for SingleDistinct {
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
        if let LogicalPlan::Aggregate(aggregate) = &plan
            && !may_be_applied_twice(aggregate)?
        {
            return Ok(Transformed::no(plan));
        }
        self.0.rewrite(plan, config)
    }
}

fn may_be_applied_twice(aggregate: &Aggregate) -> Result<bool> {
    let schema = aggregate.input.schema();
    for expr in &aggregate.aggr_expr {
        let Expr::AggregateFunction(AggregateFunction { params, .. }) = expr else {
            return Ok(false);
        };
        if params.distinct {
            continue;
        }
        let [arg] = params.args.as_slice() else {
            return Ok(false);
        };
        if arg.get_type(schema)? != expr.get_type(schema)? {
            return Ok(false);
        }
    }
    Ok(true)
}
