//! `x IN (subquery)` and `EXISTS (subquery)` with SQL's third truth value.
//!
//! At the top of a WHERE clause, where unknown and false are the same, the engine's joins are right. Below
//! OR it marks each row as found or not, and `NOT found` is true where PostgreSQL says unknown: of a NULL
//! on either side. There, and wherever else the difference shows, membership is spelled out:
//!
//! ```text
//! CASE WHEN x IN (subquery) THEN true
//!      WHEN the subquery is empty THEN false
//!      WHEN x IS NULL OR the subquery holds a NULL THEN NULL
//!      ELSE false END
//! ```
//!
//! An aggregate without GROUP BY is one row whatever it reads, also where nothing matches the row outside: it
//! exists, and membership in it is equality. The engine's joins would find nothing there.
//!
//! What a subquery selects twice, or at all for EXISTS, makes no difference to either, and every row is in
//! some group; the engine's joins take fewer shapes than that, so it goes.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, Result};
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::logical_expr::expr::{Exists, InSubquery};
use datafusion::logical_expr::{
    BinaryExpr, Distinct, Expr, Filter, LogicalPlan, LogicalPlanBuilder, Operator, Projection,
    Subquery, lit, when,
};
use datafusion::scalar::ScalarValue;

/// Rewrites every membership test of a plan that was just bound.
pub(super) fn keep_unknown(plan: LogicalPlan) -> Result<LogicalPlan> {
    let plan = plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Filter(filter) if has_subquery(&filter.predicate)? => {
            let predicate = rewrite(filter.predicate, Place::Top)?;
            Filter::try_new(predicate, filter.input)
                .map(|filter| Transformed::yes(LogicalPlan::Filter(filter)))
        }
        other => Ok(Transformed::no(other)),
    })?;
    Ok(plan.data)
}

fn has_subquery(expr: &Expr) -> Result<bool> {
    expr.exists(|e| Ok(matches!(e, Expr::InSubquery(_) | Expr::Exists(_))))
}

/// Where in a WHERE clause an expression stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// It is a conjunct.
    Top,
    /// Below AND and OR only: unknown counts as false still.
    Monotone,
    /// Unknown and false make a difference.
    Anywhere,
}

fn rewrite(expr: Expr, place: Place) -> Result<Expr> {
    Ok(match expr {
        Expr::BinaryExpr(BinaryExpr {
            left,
            op: op @ (Operator::And | Operator::Or),
            right,
        }) if place != Place::Anywhere => {
            let below = if op == Operator::And {
                place
            } else {
                Place::Monotone
            };
            Expr::BinaryExpr(BinaryExpr::new(
                Box::new(rewrite(*left, below)?),
                op,
                Box::new(rewrite(*right, below)?),
            ))
        }
        Expr::Not(inner) => match *inner {
            Expr::InSubquery(test) => rewrite(
                Expr::InSubquery(InSubquery {
                    negated: !test.negated,
                    ..test
                }),
                place,
            )?,
            Expr::Exists(test) => rewrite(
                Expr::Exists(Exists {
                    negated: !test.negated,
                    ..test
                }),
                place,
            )?,
            other => Expr::Not(Box::new(rewrite(other, Place::Anywhere)?)),
        },
        Expr::Exists(test) if is_one_row(&test.subquery.subquery) => lit(!test.negated),
        Expr::Exists(test) => Expr::Exists(Exists {
            subquery: with_plan(test.subquery, without_values)?,
            ..test
        }),
        Expr::InSubquery(test) => {
            let expr = rewrite(*test.expr, Place::Anywhere)?;
            if is_one_row(&test.subquery.subquery) && !test.subquery.outer_ref_columns.is_empty() {
                let op = match test.negated {
                    true => Operator::NotEq,
                    false => Operator::Eq,
                };
                let value = Expr::ScalarSubquery(test.subquery);
                return Ok(Expr::BinaryExpr(BinaryExpr::new(
                    Box::new(expr),
                    op,
                    Box::new(value),
                )));
            }
            let test = InSubquery {
                expr: Box::new(expr),
                subquery: with_plan(test.subquery, without_distinct)?,
                ..test
            };
            let differs = match place {
                // The engine would look for a constant among the subquery's rows, and miss its NULLs.
                Place::Top => test.negated && !test.expr.any_column_refs(),
                Place::Monotone => test.negated,
                Place::Anywhere => true,
            };
            if differs {
                spelled_out(test)?
            } else {
                Expr::InSubquery(test)
            }
        }
        other => {
            other
                .map_children(|child| rewrite(child, Place::Anywhere).map(Transformed::yes))?
                .data
        }
    })
}

fn is_one_row(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.is_empty(),
        LogicalPlan::Projection(Projection { input, .. }) => is_one_row(input),
        LogicalPlan::SubqueryAlias(alias) => is_one_row(&alias.input),
        LogicalPlan::Sort(sort) => sort.fetch.is_none() && is_one_row(&sort.input),
        LogicalPlan::Distinct(Distinct::All(input)) => is_one_row(input),
        _ => false,
    }
}

fn with_plan(
    subquery: Subquery,
    change: impl Fn(LogicalPlan) -> Result<LogicalPlan>,
) -> Result<Subquery> {
    let plan = change(Arc::unwrap_or_clone(subquery.subquery))?;
    Ok(Subquery {
        subquery: Arc::new(plan),
        ..subquery
    })
}

fn without_distinct(plan: LogicalPlan) -> Result<LogicalPlan> {
    Ok(match plan {
        LogicalPlan::Distinct(Distinct::All(input)) => Arc::unwrap_or_clone(input),
        other => other,
    })
}

fn without_values(plan: LogicalPlan) -> Result<LogicalPlan> {
    Ok(match without_distinct(plan)? {
        LogicalPlan::Projection(Projection { input, .. }) => {
            LogicalPlanBuilder::from(without_groups(Arc::unwrap_or_clone(input)))
                .project(vec![lit(1_i32).alias("one")])?
                .build()?
        }
        other => other,
    })
}

fn without_groups(plan: LogicalPlan) -> LogicalPlan {
    let sets = |e: &Expr| matches!(e, Expr::GroupingSet(_));
    match plan {
        LogicalPlan::Aggregate(aggregate)
            if !aggregate.group_expr.is_empty() && !aggregate.group_expr.iter().any(sets) =>
        {
            Arc::unwrap_or_clone(aggregate.input)
        }
        other => other,
    }
}

/// What the subquery holds: 0 no row, 1 rows without NULL, 2 NULLs too.
fn contents(subquery: &Subquery) -> Result<Expr> {
    let plan = subquery.subquery.as_ref().clone();
    let value = Expr::Column(Column::from(plan.schema().qualified_field(0)));
    let (rows, values) = (count(lit(1_i64)), count(value));
    let names = [rows.clone(), values.clone()]
        .map(|e| Expr::Column(Column::from_name(e.schema_name().to_string())));
    let [rows_column, values_column] = names;
    let held = when(rows_column.clone().eq(lit(0_i64)), lit(0_i64))
        .when(rows_column.gt(values_column), lit(2_i64))
        .otherwise(lit(1_i64))?
        .alias("contents");
    let plan = LogicalPlanBuilder::from(plan)
        .aggregate(Vec::<Expr>::new(), vec![rows, values])?
        .project(vec![held])?
        .build()?;
    Ok(Expr::ScalarSubquery(Subquery {
        subquery: Arc::new(plan),
        ..subquery.clone()
    }))
}

fn spelled_out(test: InSubquery) -> Result<Expr> {
    let contents = contents(&test.subquery)?;
    let unknown = Expr::Literal(ScalarValue::Boolean(None), None);
    let (value, negated) = (test.expr.as_ref().clone(), test.negated);
    let found = Expr::InSubquery(InSubquery {
        negated: false,
        ..test
    });
    when(found, lit(!negated))
        .when(contents.clone().eq(lit(0_i64)), lit(negated))
        .when(value.is_null().or(contents.eq(lit(2_i64))), unknown)
        .otherwise(lit(negated))
}
