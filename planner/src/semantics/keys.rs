//! Keys of joins, also of those that IN, EXCEPT and INTERSECT become: one type on both sides.

use std::sync::Arc;

use datafusion::common::DFSchema;
use datafusion::common::tree_node::Transformed;
use datafusion::error::Result;
use datafusion::logical_expr::expr::InSubquery;
use datafusion::logical_expr::{Expr, Join, LogicalPlanBuilder, Subquery};
use datafusion::prelude::Column;

use super::operators::common_decimal;
use super::types::{as_decimal, cast_to, type_of};

/// The join with decimals of different widths made equally wide.
pub(super) fn of_one_type(mut join: Join) -> Result<Join> {
    for (left, right) in &mut join.on {
        let types = (
            type_of(left, join.left.schema()),
            type_of(right, join.right.schema()),
        );
        let (Some(l), Some(r)) = types else { continue };
        if let Some(target) = common_decimal(&l, &r) {
            for (key, data_type) in [(left, l), (right, r)] {
                if data_type != target {
                    let decimal = as_decimal(std::mem::take(key), &data_type).0;
                    *key = cast_to(decimal, target.clone());
                }
            }
        }
    }
    Ok(join)
}

/// `x IN (subquery)`, likewise.
pub(super) fn in_subquery(test: InSubquery, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let found = test.subquery.subquery.schema();
    let value = type_of(&test.expr, schema);
    let target = value
        .as_ref()
        .filter(|_| found.fields().len() == 1)
        .and_then(|value| common_decimal(value, found.field(0).data_type()));
    let (Some(value), Some(target)) = (value, target) else {
        return Ok(Transformed::no(Expr::InSubquery(test)));
    };
    let InSubquery {
        expr,
        subquery,
        negated,
    } = test;
    let (qualifier, field) = subquery.subquery.schema().qualified_field(0);
    let column = Expr::Column(Column::new(qualifier.cloned(), field.name()));
    let column = cast_to(as_decimal(column, field.data_type()).0, target.clone())
        .alias_qualified(qualifier.cloned(), field.name());
    let plan = LogicalPlanBuilder::from(subquery.subquery.as_ref().clone())
        .project(vec![column])?
        .build()?;
    Ok(Transformed::yes(Expr::InSubquery(InSubquery {
        expr: Box::new(cast_to(as_decimal(*expr, &value).0, target)),
        subquery: Subquery {
            subquery: Arc::new(plan),
            ..subquery
        },
        negated,
    })))
}
