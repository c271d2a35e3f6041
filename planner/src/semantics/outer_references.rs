//! References to columns outside of a subquery, which remember the type that the column had when it was bound.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, ExprSchema};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, LogicalPlan};

/// The subquery with the types that the columns of `outer` have by now.
pub(super) fn retyped(subquery: LogicalPlan, outer: &DFSchema) -> Result<LogicalPlan> {
    let retype = |expr: Expr| {
        let Expr::OuterReferenceColumn(field, column) = &expr else {
            return Ok(Transformed::no(expr));
        };
        Ok(match outer.field_from_column(column) {
            Ok(now) if now.data_type() != field.data_type() => {
                Transformed::yes(Expr::OuterReferenceColumn(Arc::clone(now), column.clone()))
            }
            _ => Transformed::no(expr),
        })
    };
    let retyped = subquery.transform_down_with_subqueries(|node| {
        node.map_expressions(|expr| expr.transform_up(retype))
    })?;
    // `Subquery` lists the references that it has.
    Ok(match retyped.data {
        LogicalPlan::Subquery(mut subquery) => {
            for reference in &mut subquery.outer_ref_columns {
                *reference = std::mem::take(reference).transform_up(retype)?.data;
            }
            LogicalPlan::Subquery(subquery)
        }
        other => other,
    })
}
