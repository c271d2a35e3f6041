//! A scalar subquery that returns two rows is an error (21000), also where it becomes a join.
//!
//! A plan for workers joins what a plan for one process looks up. A join would take every row of the
//! subquery and multiply the outer rows, so a subquery that may return more than one is held to it by the
//! aggregate `single_value`.

use std::sync::Arc;

use datafusion::common::{Column, Result};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Subquery};
use sluice_catalogs::functions::single_value;

/// Holds every uncorrelated scalar subquery of a bound plan to one row. Correlated ones are the engine's:
/// it takes only those that it can prove single.
pub(super) fn hold_subqueries(plan: LogicalPlan) -> Result<LogicalPlan> {
    let held = plan.transform_up_with_subqueries(|node| {
        node.map_expressions(|expr| {
            expr.transform_up(|expr| match expr {
                Expr::ScalarSubquery(subquery) if may_return_more(&subquery) => {
                    Ok(Transformed::yes(Expr::ScalarSubquery(held(subquery)?)))
                }
                other => Ok(Transformed::no(other)),
            })
        })
    })?;
    Ok(held.data)
}

fn may_return_more(subquery: &Subquery) -> bool {
    subquery.outer_ref_columns.is_empty()
        && subquery.subquery.schema().fields().len() == 1
        && subquery.subquery.max_rows().is_none_or(|rows| rows > 1)
}

fn held(subquery: Subquery) -> Result<Subquery> {
    let Some((qualifier, field)) = subquery.subquery.schema().iter().next() else { return Ok(subquery) };
    let (qualifier, name) = (qualifier.cloned(), field.name().clone());
    let value = subquery.subquery.schema().columns().into_iter().map(Expr::Column).collect();
    let only = single_value().call(value);
    let column = Expr::Column(Column::from_name(only.schema_name().to_string()));
    let plan = LogicalPlanBuilder::from(Arc::unwrap_or_clone(Arc::clone(&subquery.subquery)))
        .aggregate(Vec::<Expr>::new(), vec![only])?
        .project(vec![column.alias_qualified(qualifier, name)])?
        .build()?;
    Ok(Subquery { subquery: Arc::new(plan), ..subquery })
}
