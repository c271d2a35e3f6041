//! `EXCEPT ALL` and `INTERSECT ALL` as PostgreSQL means them: by how often a row occurs.
//!
//! The engine plans both as an anti or semi join over the rows, so one row on the right removes or keeps
//! every copy on the left. Here each copy gets its number among its equals on both sides, and the numbers
//! join too: copy `n` on the left meets copy `n` on the right, or nothing.

use std::sync::Arc;

use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, JoinType, NullEquality, Result};
use datafusion::functions_window::row_number::row_number;
use datafusion::logical_expr::{Expr, ExprFunctionExt, Join, LogicalPlan, LogicalPlanBuilder};

/// The column that numbers equal rows; no user can write its name.
const COPY: &str = "\u{1}copy";

/// Rewrites every multiset operation of a plan that was just bound.
pub(super) fn count_copies(plan: LogicalPlan) -> Result<LogicalPlan> {
    Ok(plan.transform_up_with_subqueries(rewrite)?.data)
}

fn rewrite(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    match plan {
        LogicalPlan::Join(join) if is_multiset_operation(&join) => {
            numbered(join).map(Transformed::yes)
        }
        other => Ok(Transformed::no(other)),
    }
}

/// A join that a user writes never takes NULL for equal to NULL before optimization. Without duplicates on
/// the left (the form without ALL) there is nothing to count.
fn is_multiset_operation(join: &Join) -> bool {
    matches!(join.join_type, JoinType::LeftAnti | JoinType::LeftSemi)
        && join.null_equality == NullEquality::NullEqualsNull
        && join.filter.is_none()
        && !matches!(join.left.as_ref(), LogicalPlan::Distinct(_))
}

fn numbered(join: Join) -> Result<LogicalPlan> {
    let outputs: Vec<Expr> = join
        .left
        .schema()
        .columns()
        .into_iter()
        .map(Expr::Column)
        .collect();
    let left = with_copies(Arc::unwrap_or_clone(join.left))?;
    let right = with_copies(Arc::unwrap_or_clone(join.right))?;
    // The keys are every column, of one type on both sides already.
    let mut on = join.on;
    let copy = || Expr::Column(Column::new_unqualified(COPY));
    on.push((copy(), copy()));
    let joined = Join::try_new(
        Arc::new(left),
        Arc::new(right),
        on,
        None,
        join.join_type,
        join.join_constraint,
        join.null_equality,
        join.null_aware,
    )?;
    LogicalPlanBuilder::from(LogicalPlan::Join(joined))
        .project(outputs)?
        .build()
}

/// The plan's columns, and the number of each row among its equals.
fn with_copies(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut outputs: Vec<Expr> = plan
        .schema()
        .columns()
        .into_iter()
        .map(Expr::Column)
        .collect();
    let number = row_number().partition_by(outputs.clone()).build()?;
    let counted = LogicalPlanBuilder::window_plan(plan, [number.clone()])?;
    outputs.push(Expr::Column(Column::from_name(number.schema_name().to_string())).alias(COPY));
    LogicalPlanBuilder::from(counted).project(outputs)?.build()
}
