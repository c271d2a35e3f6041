//! Correlated scalar subqueries that the engine cannot unnest, turned into joins.
//!
//! The engine handles aggregates over equality with outer columns, and those are left to it. Everything
//! else that clients ask of the catalogs (no aggregate, other comparisons, outer columns in the output,
//! `array(SELECT …)`) goes the general way of Neumann and Kemper, "Unnesting Arbitrary Queries" (BTW 2015):
//! the distinct outer values become a relation, the domain; the subquery runs once over all of them, each
//! of its rows carrying its domain values; and the result joins back. `single_value` keeps the error of a
//! subquery that returns more than one row.
//!
//! A shape that is not understood stays as it is, and the engine's own error tells.

mod push;

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, JoinType, NullEquality};
use datafusion::error::Result;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{
    Aggregate, BinaryExpr, Expr, Filter, LogicalPlan, LogicalPlanBuilder, Operator, Projection,
};

use self::push::Unnesting;
use crate::functions::single_value;

/// Rewrites every scalar subquery that needs it, innermost first.
pub(super) fn unnest_scalar_subqueries(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut names = Names::default();
    Ok(plan
        .transform_up_with_subqueries(|node| unnest_in_node(node, &mut names))?
        .data)
}

/// Numbers for the relations that the rewrite adds.
#[derive(Default)]
struct Names {
    next: usize,
}

impl Names {
    fn fresh(&mut self) -> usize {
        self.next += 1;
        self.next
    }
}

fn unnest_in_node(node: LogicalPlan, names: &mut Names) -> Result<Transformed<LogicalPlan>> {
    if !matches!(
        node,
        LogicalPlan::Projection(_) | LogicalPlan::Filter(_) | LogicalPlan::Aggregate(_)
    ) {
        return Ok(Transformed::no(node));
    }
    let mut needed = false;
    node.apply_expressions(|expr| {
        expr.apply(|e| {
            needed |= matches!(e, Expr::ScalarSubquery(s)
                if !s.outer_ref_columns.is_empty() && !engine_unnests(&s.subquery));
            Ok(if needed {
                TreeNodeRecursion::Stop
            } else {
                TreeNodeRecursion::Continue
            })
        })
    })?;
    if !needed {
        return Ok(Transformed::no(node));
    }
    // Conditions without a subquery go first: a subquery is only asked about rows that they leave.
    let node = match node {
        LogicalPlan::Filter(f) => {
            let with_subquery = |e: &Expr| e.exists(|e| Ok(matches!(e, Expr::ScalarSubquery(_))));
            let mut plain = Vec::new();
            let mut asking = Vec::new();
            for conjunct in split_conjunction(&f.predicate) {
                if with_subquery(conjunct)? {
                    asking.push(conjunct.clone())
                } else {
                    plain.push(conjunct.clone())
                }
            }
            let input = match conjunction(plain) {
                Some(plain) => LogicalPlan::Filter(Filter::try_new(plain, f.input)?),
                None => Arc::unwrap_or_clone(f.input),
            };
            match conjunction(asking) {
                Some(asking) => LogicalPlan::Filter(Filter::try_new(asking, Arc::new(input))?),
                None => return Ok(Transformed::yes(input)),
            }
        }
        other => other,
    };
    let input = node.inputs()[0].clone();
    let mut joined = input.clone();
    let preserver = NamePreserver::new(&node);
    let mut replace = |expr: Expr| -> Result<Expr> {
        let name = preserver.save(&expr);
        let replaced = expr.transform_up(|e| match &e {
            Expr::ScalarSubquery(s)
                if !s.outer_ref_columns.is_empty() && !engine_unnests(&s.subquery) =>
            {
                match attach(&joined, &input, &s.subquery, names)? {
                    Some((with_value, value)) => {
                        joined = with_value;
                        Ok(Transformed::yes(Expr::Column(value)))
                    }
                    None => Ok(Transformed::no(e)),
                }
            }
            _ => Ok(Transformed::no(e)),
        })?;
        Ok(name.restore(replaced.data))
    };
    let rewritten = match node {
        LogicalPlan::Projection(p) => {
            let exprs = p
                .expr
                .into_iter()
                .map(&mut replace)
                .collect::<Result<Vec<_>>>()?;
            LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(joined))?)
        }
        LogicalPlan::Aggregate(a) => {
            let groups = a
                .group_expr
                .into_iter()
                .map(&mut replace)
                .collect::<Result<Vec<_>>>()?;
            let values = a
                .aggr_expr
                .into_iter()
                .map(&mut replace)
                .collect::<Result<Vec<_>>>()?;
            LogicalPlan::Aggregate(Aggregate::try_new(Arc::new(joined), groups, values)?)
        }
        LogicalPlan::Filter(f) => {
            let predicate = replace(f.predicate)?;
            let columns: Vec<Expr> = input
                .schema()
                .columns()
                .into_iter()
                .map(Expr::Column)
                .collect();
            LogicalPlanBuilder::from(joined)
                .filter(predicate)?
                .project(columns)?
                .build()?
        }
        other => return Ok(Transformed::no(other)),
    };
    Ok(Transformed::yes(rewritten))
}

/// Whether the engine's own rule (ScalarSubqueryToJoin) gets this one right: one ungrouped aggregate, and
/// outer columns only in filters of the form `column = outer`.
fn engine_unnests(subquery: &LogicalPlan) -> bool {
    match subquery {
        LogicalPlan::Projection(p) => {
            !p.expr.iter().any(Expr::contains_outer) && engine_unnests(&p.input)
        }
        LogicalPlan::SubqueryAlias(a) => engine_unnests(&a.input),
        LogicalPlan::Subquery(s) => engine_unnests(&s.subquery),
        LogicalPlan::Aggregate(a) => {
            // Of no rows the engine knows what a count is, but not what an expression over an array is.
            let collects =
                |e: &Expr| matches!(e, Expr::AggregateFunction(f) if f.func.name() == "array_agg");
            a.group_expr.is_empty()
                && !a
                    .aggr_expr
                    .iter()
                    .any(|e| e.contains_outer() || collects(e))
                && plainly_filtered(&a.input)
        }
        _ => false,
    }
}

fn plainly_filtered(plan: &LogicalPlan) -> bool {
    let here = match plan {
        LogicalPlan::Filter(f) => split_conjunction(&f.predicate).into_iter().all(|conjunct| {
            let Expr::BinaryExpr(BinaryExpr {
                left,
                op: Operator::Eq,
                right,
            }) = conjunct
            else {
                return !conjunct.contains_outer();
            };
            let pair = |a: &Expr, b: &Expr| matches!(a, Expr::Column(_)) && !b.any_column_refs();
            !conjunct.contains_outer() || pair(left, right) || pair(right, left)
        }),
        LogicalPlan::Projection(_) | LogicalPlan::SubqueryAlias(_) | LogicalPlan::TableScan(_) => {
            !plan.contains_outer_reference()
        }
        LogicalPlan::Join(j) => j.join_type == JoinType::Inner && !plan.contains_outer_reference(),
        LogicalPlan::Subquery(_) => false,
        other => !mentions_outer(other),
    };
    here && plan.inputs().into_iter().all(plainly_filtered)
}

fn mentions_outer(plan: &LogicalPlan) -> bool {
    let mut found = false;
    let _ = plan.apply(|node| {
        found |= node.contains_outer_reference();
        Ok(if found {
            TreeNodeRecursion::Stop
        } else {
            TreeNodeRecursion::Continue
        })
    });
    found
}

/// Joins a subquery's value to `joined`, which holds the rows of `outer` and perhaps values of other
/// subqueries already. Answers the join and the value's column.
fn attach(
    joined: &LogicalPlan,
    outer: &LogicalPlan,
    subquery: &LogicalPlan,
    names: &mut Names,
) -> Result<Option<(LogicalPlan, Column)>> {
    let mut columns: Vec<Column> = Vec::new();
    let mut seen = HashSet::new();
    subquery.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|e| {
                if let Expr::OuterReferenceColumn(_, column) = e
                    && outer.schema().has_column(column)
                    && seen.insert(column.clone())
                {
                    columns.push(column.clone());
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    if columns.is_empty() {
        return Ok(None);
    }
    let subquery = match subquery {
        LogicalPlan::Subquery(s) => s.subquery.as_ref(),
        other => other,
    };
    let value = Column::from(subquery.schema().qualified_field(0));
    let mut unnesting = Unnesting {
        outer,
        columns: &columns,
        names,
    };
    let Some(pushed) = unnesting.push(subquery)? else {
        return Ok(None);
    };
    let number = names.fresh();
    let alias = format!("__subquery_{number}");
    let result = format!("value_{number}");
    let keys: Vec<Expr> = pushed.keys.iter().cloned().map(Expr::Column).collect();
    let value = single_value()
        .call(vec![Expr::Column(value)])
        .alias(result.as_str());
    let right = LogicalPlanBuilder::from(pushed.plan)
        .aggregate(keys, vec![value])?
        .alias(alias.as_str())?
        .build()?;
    let right_keys: Vec<Column> = pushed
        .keys
        .iter()
        .map(|k| Column::new(Some(alias.as_str()), k.name.clone()))
        .collect();
    let plan = LogicalPlanBuilder::from(joined.clone())
        .join_detailed(
            right,
            JoinType::Left,
            (columns.clone(), right_keys),
            None,
            NullEquality::NullEqualsNull,
        )?
        .build()?;
    Ok(Some((plan, Column::new(Some(alias), result))))
}
