//! Keys of joins, also of those that IN, EXCEPT and INTERSECT become: one type on both sides.

use std::sync::Arc;

use datafusion::common::DFSchema;
use datafusion::common::tree_node::Transformed;
use datafusion::error::Result;
use datafusion::logical_expr::expr::InSubquery;
use datafusion::logical_expr::{Expr, Join, LogicalPlanBuilder, Operator, Subquery};
use datafusion::prelude::Column;

use super::comparisons::{Common, common, key, unlike};
use super::types::{field_of, type_of};

/// The join with one type on both sides of each key.
pub(super) fn of_one_type(mut join: Join) -> Result<Join> {
    for (left, right) in &mut join.on {
        let fields = (
            field_of(left, join.left.schema()),
            field_of(right, join.right.schema()),
        );
        let (Some(l), Some(r)) = fields else { continue };
        unlike(left, &l, Operator::Eq, right, &r)?;
        let (l, r) = (l.data_type().clone(), r.data_type().clone());
        let (Common::Made(l, r) | Common::AsTheyAre(l, r)) =
            common(std::mem::take(left), &l, std::mem::take(right), &r)?;
        (*left, *right) = (l, r);
    }
    Ok(join)
}

/// `x IN (subquery)`, likewise; it becomes a join only later.
pub(super) fn in_subquery(test: InSubquery, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let found = Arc::clone(test.subquery.subquery.schema());
    let value = type_of(&test.expr, schema).filter(|_| found.fields().len() == 1);
    let Some(value) = value else {
        return Ok(Transformed::no(Expr::InSubquery(test)));
    };
    let (qualifier, field) = found.qualified_field(0);
    let column = Expr::Column(Column::new(qualifier.cloned(), field.name()));
    if let Some(value) = field_of(&test.expr, schema) {
        unlike(&test.expr, &value, Operator::Eq, &column, field)?;
    }
    let (expr, column, made) = match common(
        test.expr.as_ref().clone(),
        &value,
        column,
        field.data_type(),
    )? {
        Common::Made(expr, column) => (expr, column, true),
        Common::AsTheyAre(expr, column) => (expr, column, false),
    };
    let (expr, column) = (key(expr, schema)?, key(column, &found)?);
    if !made && !expr.transformed && !column.transformed {
        return Ok(Transformed::no(Expr::InSubquery(test)));
    }
    let column = column
        .data
        .alias_qualified(qualifier.cloned(), field.name());
    let plan = LogicalPlanBuilder::from(test.subquery.subquery.as_ref().clone())
        .project(vec![column])?
        .build()?;
    Ok(Transformed::yes(Expr::InSubquery(InSubquery {
        expr: Box::new(expr.data),
        subquery: Subquery {
            subquery: Arc::new(plan),
            ..test.subquery
        },
        negated: test.negated,
    })))
}
