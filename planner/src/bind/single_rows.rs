//! A scalar subquery that returns two rows is an error (21000), also where it becomes a join.
//!
//! A plan for workers joins what a plan for one process looks up. A join would take every row of the
//! subquery and multiply the outer rows, so a subquery that may return more than one is held to it by the
//! aggregate `single_value`. So is one of a column without NULLs: of no row comes NULL all the same, which
//! the engine would not expect.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, Result};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Subquery};
use sluice_catalogs::functions::single_value;

/// Holds the uncorrelated scalar subqueries of a bound plan to one row, where the engine does not; `joined`
/// says that it will join them. Correlated ones are the engine's: it takes only those that it can prove
/// single.
pub(super) fn hold_subqueries(plan: LogicalPlan, joined: bool) -> Result<LogicalPlan> {
    let held = plan.transform_up_with_subqueries(|node| {
        node.map_expressions(|expr| {
            expr.transform_up(|expr| match expr {
                Expr::ScalarSubquery(subquery) if must_be_held(&subquery, joined) => {
                    Ok(Transformed::yes(Expr::ScalarSubquery(held(subquery)?)))
                }
                other => Ok(Transformed::no(other)),
            })
        })
    })?;
    Ok(held.data)
}

fn must_be_held(subquery: &Subquery, joined: bool) -> bool {
    let plan = subquery.subquery.as_ref();
    let [field] = plan.schema().fields().as_ref() else {
        return false;
    };
    let may_return_more = plan.max_rows().is_none_or(|rows| rows > 1);
    subquery.outer_ref_columns.is_empty()
        && !returns_one_row(plan)
        && (joined && may_return_more || !field.is_nullable())
}

/// An aggregate without groups has one row whatever it reads.
fn returns_one_row(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.is_empty(),
        LogicalPlan::Projection(projection) => returns_one_row(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => returns_one_row(&alias.input),
        LogicalPlan::EmptyRelation(empty) => empty.produce_one_row,
        _ => false,
    }
}

fn held(subquery: Subquery) -> Result<Subquery> {
    let Some((qualifier, field)) = subquery.subquery.schema().iter().next() else {
        return Ok(subquery);
    };
    let (qualifier, name) = (qualifier.cloned(), field.name().clone());
    let value = subquery
        .subquery
        .schema()
        .columns()
        .into_iter()
        .map(Expr::Column)
        .collect();
    let only = single_value().call(value);
    let column = Expr::Column(Column::from_name(only.schema_name().to_string()));
    let plan = LogicalPlanBuilder::from(Arc::unwrap_or_clone(Arc::clone(&subquery.subquery)))
        .aggregate(Vec::<Expr>::new(), vec![only])?
        .project(vec![column.alias_qualified(qualifier, name)])?
        .build()?;
    Ok(Subquery {
        subquery: Arc::new(plan),
        ..subquery
    })
}
